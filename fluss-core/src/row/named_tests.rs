use super::*;
use crate::batch::{KvFormat, KvRowEncoder, KvScratch};
use crate::row::{DataType, Decimal, OwnedRow, RowLayout, compacted};

fn schema() -> Schema {
    Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("name", DataType::STRING)
        .column("price", DataType::decimal(10, 2))
        .build()
        .expect("a schema")
}

fn encoded<R: Row>(row: &R) -> Result<OwnedRow, RowError> {
    let (layout, mut bytes) = (RowLayout::new(&schema()), Vec::new());
    compacted::encode(&layout, row, &mut bytes)?;
    Ok(compacted::decode(&layout, &bytes).expect("what was encoded"))
}

fn text(error: RowError) -> String {
    error.to_string()
}

#[test]
fn values_go_to_their_columns_in_whatever_order_they_come() {
    let price = Decimal::new(1250, 2);
    let expected = OwnedRow::new(vec![
        OwnedDatum::Int64(7),
        OwnedDatum::Str("ada".into()),
        OwnedDatum::Decimal(price),
    ]);
    let row = named_row! { "price" => &price, "id" => 7_i64, "name" => "ada" };
    assert_eq!(encoded(&row), Ok(expected.clone()));
    let mut row = NamedRow::new(&schema());
    for _ in 0..2 {
        row.clear().set("name", "ada").unwrap().set("price", &price).unwrap();
        row.set("id", 7_i64).unwrap();
        assert_eq!(encoded(&row), Ok(expected.clone()));
    }
    row.clear().set("id", 8_i64).unwrap();
    let values = encoded(&row).unwrap();
    assert_eq!(values.values()[1..], [OwnedDatum::Null, OwnedDatum::Null], "nothing is left over");
    assert_eq!((row.value("id"), row.value("name")), (Some(Datum::Int64(8)), None));
}

#[test]
fn what_is_wrong_with_a_name_is_told() {
    let unknown = "there is no column for `colour`; there are: id, name, price";
    assert_eq!(text(encoded(&named_row! { "id" => 1, "colour" => "red" }).unwrap_err()), unknown);
    let mut row = NamedRow::new(&schema());
    assert_eq!(text(row.set("colour", "red").unwrap_err()), unknown);
    let doubled = "the field `id` is there twice";
    assert_eq!(text(encoded(&named_row! { "id" => 1, "id" => 2 }).unwrap_err()), doubled);
    row.set("id", 1).unwrap();
    assert_eq!(text(row.set("id", 2).unwrap_err()), doubled);
    assert_eq!(row.value("id"), Some(Datum::Int32(1)), "the first one stays");
    let missing = "column `id`: the row has no value for it, and BIGINT NOT NULL does not allow \
                   null";
    assert_eq!(text(encoded(&named_row! { "name" => "x" }).unwrap_err()), missing);
    row.clear().set("name", "x").unwrap();
    assert_eq!(text(encoded(&row).unwrap_err()), missing);
    row.clear().set("id", "seven").unwrap();
    let misfit = text(encoded(&row).unwrap_err());
    assert!(misfit.contains("`id`") && misfit.contains("\"seven\""), "{misfit}");
}

#[test]
fn a_partial_row_names_the_columns_to_write_and_a_delete_may_name_more_than_the_key() {
    let schema = Schema::builder()
        .column("name", DataType::STRING)
        .column("id", DataType::BIGINT)
        .column("age", DataType::INT)
        .primary_key(["id"])
        .build()
        .expect("a schema");
    for targets in [[1, 2], [2, 1]] {
        let encoder =
            KvRowEncoder::partial(&schema, &[], &[], KvFormat::Compacted, &targets).unwrap();
        let mut scratch = KvScratch::default();
        encoder.encode(&named_row! { "id" => 7_i64, "age" => 36 }, &mut scratch).unwrap();
        assert_eq!((scratch.key(), scratch.row()), (&[7][..], &[0b001, 7, 36][..]));
        let error = encoder.encode(&named_row! { "id" => 7, "name" => "x" }, &mut scratch);
        let names = targets.map(|at| schema.columns()[at].name.as_str()).join(", ");
        let expected = format!("there is no column for `name`; there are: {names}");
        assert_eq!(text(error.unwrap_err()), expected);
        let mut row = NamedRow::new(&schema);
        row.set("id", 7_i64).unwrap().set("age", 36).unwrap();
        encoder.encode(&row, &mut scratch).unwrap();
        assert_eq!((scratch.key(), scratch.row()), (&[7][..], &[0b001, 7, 36][..]));
        encoder.encode_delete(&row, &mut scratch).unwrap();
        assert_eq!(scratch.key(), [7]);
        let error = encoder.encode_delete(&named_row! { "id" => 7, "x" => 1 }, &mut scratch);
        assert_eq!(text(error.unwrap_err()), "there is no column for `x`; there are: id");
    }
}

#[test]
fn a_sink_without_names_is_told_of() {
    struct Nameless;
    impl RowSink for Nameless {
        type Error = RowError;
        fn put(&mut self, _: Datum<'_>) -> Result<(), RowError> {
            Ok(())
        }
    }
    let error = named_row! { "id" => 1 }.write(&mut Nameless).unwrap_err();
    assert!(matches!(error.kind(), RowErrorKind::NotARow(_)), "{error}");
    let error = NamedRow::new(&schema()).write(&mut Nameless).unwrap_err();
    assert!(matches!(error.kind(), RowErrorKind::NotARow(_)), "{error}");
}
