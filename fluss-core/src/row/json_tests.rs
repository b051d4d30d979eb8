use super::*;

const EXAMPLE: &str = concat!(
    r#"{"version":1,"columns":["#,
    r#"{"name":"id","data_type":{"type":"BIGINT","nullable":false},"id":0},"#,
    r#"{"name":"addr","data_type":{"type":"ROW","fields":["#,
    r#"{"name":"city","field_type":{"type":"STRING"},"field_id":2},"#,
    r#"{"name":"zip","field_type":{"type":"CHAR","length":5},"description":"postal code","#,
    r#""field_id":3}]},"comment":"home address","id":1},"#,
    r#"{"name":"hits","data_type":{"type":"BIGINT"},"agg_function":{"type":"sum"},"id":4},"#,
    r#"{"name":"tags","data_type":{"type":"STRING"},"#,
    r#""agg_function":{"type":"listagg","parameters":{"delimiter":";"}},"id":5},"#,
    r#"{"name":"seq","data_type":{"type":"INTEGER"},"id":6}],"#,
    r#""primary_key":["id"],"auto_increment_column":["seq"],"highest_field_id":6}"#,
);

#[test]
fn the_schema_of_the_protocol_reads_and_writes_unchanged() {
    let schema = Schema::from_json(EXAMPLE.as_bytes()).unwrap();
    assert_eq!(schema.primary_key(), [0]);
    assert_eq!(schema.auto_increment(), Some(4));
    assert_eq!(schema.aggregation(2), Some(&AggFunction::new("SUM")));
    assert_eq!(schema.aggregation(3), Some(&AggFunction::new("listagg").with("delimiter", ";")));
    assert_eq!(schema.columns()[1].comment.as_deref(), Some("home address"));
    assert_eq!(schema.to_json(), EXAMPLE);
}

#[test]
fn every_type_reads_and_writes_unchanged() {
    for (text, json) in [
        ("DECIMAL(15, 5) NOT NULL", {
            r#"{"type":"DECIMAL","nullable":false,"precision":15,"scale":5}"#
        }),
        ("MAP<STRING, INT>", {
            concat!(
                r#"{"type":"MAP","key_type":{"type":"STRING","nullable":false},"#,
                r#""value_type":{"type":"INTEGER"}}"#
            )
        }),
        ("TIME(3)", r#"{"type":"TIME_WITHOUT_TIME_ZONE","precision":3}"#),
        ("TIMESTAMP(6)", r#"{"type":"TIMESTAMP_WITHOUT_TIME_ZONE","precision":6}"#),
        ("TIMESTAMP_LTZ(9)", r#"{"type":"TIMESTAMP_WITH_LOCAL_TIME_ZONE","precision":9}"#),
        ("BINARY(7)", r#"{"type":"BINARY","length":7}"#),
        ("ARRAY<DOUBLE>", r#"{"type":"ARRAY","element_type":{"type":"DOUBLE"}}"#),
        ("ROW<a DATE>", {
            r#"{"type":"ROW","fields":[{"name":"a","field_type":{"type":"DATE"},"field_id":-1}]}"#
        }),
    ] {
        let data_type: DataType = text.parse().unwrap();
        assert_eq!(data_type.to_json(), json);
        assert_eq!(DataType::from_json(json.as_bytes()).unwrap(), data_type);
    }
}

#[test]
fn unknown_keys_are_ignored_and_a_nullable_key_column_becomes_not_null() {
    let json = r#"{"columns":[{"name":"a","data_type":{"type":"INTEGER","x":1},"y":[]}],
        "primary_key":["a"],"auto_increment_column":null,"z":{}}"#;
    let schema = Schema::from_json(json.as_bytes()).unwrap();
    assert!(!schema.columns()[0].data_type.nullable);
    assert_eq!(schema.columns()[0].id, None);
}

#[test]
fn malformed_json_is_refused_with_the_place_named() {
    for (json, part) in [
        ("{", "EOF"),
        ("[]", "the schema must be an object, found []"),
        ("{}", "the schema lacks `columns`"),
        (r#"{"columns":[{"name":7}]}"#, "`name` of a column must be a string, found 7"),
        (r#"{"columns":[{"name":"a"}]}"#, "column `a`: a column lacks `data_type`"),
        (r#"{"columns":[{"name":"a","data_type":{"type":"CHAR"}}]}"#, "`a`: a type lacks `length`"),
        (r#"{"columns":[{"name":"a","data_type":{"type":"BLOB"}}]}"#, "`a`: the type `BLOB` is un"),
        (
            r#"{"columns":[{"name":"a","data_type":{"type":"INTEGER"},"id":"x"}]}"#,
            "column `a`: `id` of a column must be a 32-bit integer",
        ),
        (
            r#"{"columns":[{"name":"a","data_type":{"type":"INTEGER"},"agg_function":{}}]}"#,
            "column `a`: an agg_function lacks `type`",
        ),
        (
            r#"{"columns":[{"name":"a","data_type":{"type":"DECIMAL","precision":99,"scale":0}}]}"#,
            "the type of column `a` is invalid: DECIMAL precision 99",
        ),
        (r#"{"columns":[],"primary_key":["a"]}"#, "names `a`, which is no column"),
        (r#"{"columns":[],"highest_field_id":4294967296}"#, "must be a 32-bit integer"),
    ] {
        let error = Schema::from_json(json.as_bytes()).unwrap_err().to_text();
        assert!(error.contains(part), "{json}: {error}");
    }
}

#[test]
fn a_type_nested_without_end_is_refused() {
    let json = r#"{"type":"ARRAY","element_type":"#.repeat(100_000);
    assert!(matches!(DataType::from_json(json.as_bytes()), Err(SchemaError::Json(_))));
}

#[test]
fn a_table_not_yet_created_is_written_with_ids() {
    let schema = Schema::builder().column("a", DataType::INT).build().unwrap();
    assert!(schema.to_json().contains(r#""id":0}],"highest_field_id":0}"#));
}
