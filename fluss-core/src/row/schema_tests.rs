use super::*;

fn error(builder: SchemaBuilder) -> String {
    builder.build().expect_err("must be refused").to_string()
}

fn two() -> SchemaBuilder {
    Schema::builder().column("a", DataType::BIGINT).column("b", DataType::STRING)
}

#[test]
fn key_columns_become_not_null() {
    let schema = two().primary_key(["b", "a"]).build().unwrap();
    assert_eq!(schema.primary_key(), [1, 0]);
    assert!(schema.columns().iter().all(|c| !c.data_type.nullable));
    assert_eq!(schema, two().primary_key(["b", "a"]).build().unwrap());
}

#[test]
fn a_wrong_schema_says_what_to_do() {
    let bigint = DataType::BIGINT;
    let agg = |name: &str| two().primary_key(["a"]).aggregation(AggFunction::new(name));
    for (builder, part) in [
        (two().column("a", bigint.clone()), "`a` is given twice"),
        (two().column(" ", bigint.clone()), "column 2 has a blank name"),
        (two().column("__offset", bigint.clone()), "is reserved"),
        (two().primary_key(["id"]), "it has: a, b"),
        (two().primary_key(["a", "a"]), "names `a` twice"),
        (two().column("d", DataType::decimal(5, 6)), "the type of column `d` is invalid"),
        (two().auto_increment("a"), "only a table with a primary key"),
        (two().primary_key(["a"]).auto_increment("a"), "part of the primary key"),
        (two().primary_key(["a"]).auto_increment("b"), "must be INT or BIGINT"),
        (
            two().column("c", bigint.clone().not_null()).primary_key(["a"]).auto_increment("c"),
            "declare it nullable",
        ),
        (agg("sum"), "does not work on the column's type"),
        (agg("median"), "no server knows it"),
        (
            Schema::builder()
                .column("a", bigint.clone())
                .aggregation(AggFunction::new("sum"))
                .primary_key(["a"]),
            "cannot be aggregated",
        ),
        (two().push(Column { id: Some(3), ..Column::new("c", bigint) }, None), "`a` has no id"),
    ] {
        let error = error(builder);
        assert!(error.contains(part), "{error} should contain {part}");
    }
}

#[test]
fn ids_are_given_in_pre_order_and_existing_ones_stay() {
    let nested = DataType::row(vec![
        Field::new("x", DataType::array(DataType::row(vec![Field::new("y", DataType::INT)]))),
        Field::new("z", DataType::INT),
    ]);
    let schema = Schema::builder()
        .column("a", DataType::INT)
        .column("b", nested)
        .column("c", DataType::INT)
        .build()
        .unwrap();
    assert_eq!(schema.columns()[0].id, None);
    let with_ids = schema.with_field_ids();
    assert_eq!(with_ids.highest_field_id(), 5);
    let ids: Vec<_> = with_ids.columns().iter().map(|c| c.id).collect();
    assert_eq!(ids, [Some(0), Some(1), Some(5)]);
    let mut seen = Vec::new();
    walk_ids(with_ids.columns(), &mut |id| seen.push(id));
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    assert_eq!(with_ids.with_field_ids(), with_ids);
}

#[test]
fn columns_are_found_by_name() {
    let schema = two().build().unwrap();
    assert_eq!(schema.indexes_of("projection", &["b", "a"]), Ok(vec![1, 0]));
    assert_eq!(schema.column("b").map(|c| &c.data_type), Some(&DataType::STRING));
    assert_eq!(schema.index_of("c"), None);
}
