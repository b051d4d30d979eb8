use prost::Message;

use super::testkit::{naive, random_filter};
use super::{Bound, Filter, MAX_DEPTH, col};
use crate::batch::record_batch;
use crate::error::Error;
use crate::rng::Rng;
use crate::row;
use crate::row::{Column, Datum, Decimal, OwnedDatum, OwnedRow, Schema, Timestamp};
use crate::testing::random::{self, Shape};

/// Columns `c0`, `c1` and so on of these types, with ids.
fn schema(types: &[&str]) -> Schema {
    let parse = |text: &&str| text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    let columns = types
        .iter()
        .map(parse)
        .zip(0..)
        .map(|(data_type, id)| Column { id: Some(id), ..Column::new(format!("c{id}"), data_type) });
    Schema::new(columns.collect(), vec![])
}

fn refused(filter: &Filter, schema: &Schema) -> String {
    let error = filter.bind(schema).expect_err("it does not fit");
    assert!(matches!(error, Error::Misuse(_)), "{error}");
    error.to_string()
}

/// Which of the rows pass.
fn passing(bound: &Bound, schema: &Schema, rows: &[OwnedRow]) -> Vec<bool> {
    let batch = record_batch(schema, rows).expect("rows that fit");
    let columns: Vec<_> = bound.columns().iter().map(|at| batch.column(*at).clone()).collect();
    bound.judge(&columns, rows.len()).expect("arrays of the columns").iter().collect()
}

/// How many of these values of one column pass.
fn of_values(data_type: &str, values: &[OwnedDatum], filter: Filter) -> Vec<bool> {
    let schema = schema(&[data_type]);
    let bound = filter.bind(&schema).expect("it fits");
    let row = |value: &OwnedDatum| OwnedRow::new(vec![value.clone()]);
    passing(&bound, &schema, &values.iter().map(row).collect::<Vec<_>>())
}

fn wire(filter: Filter, schema: &Schema) -> Option<String> {
    let bound = filter.bind(schema).expect("it fits");
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bound.wire().map(|predicate| hex(predicate.encode_to_vec()))
}

#[test]
fn servers_are_told_a_condition_in_the_bytes_of_the_java_client() {
    let schema = schema(&["INT", "BIGINT", "STRING", "BYTES"]);
    let told = |filter| wire(filter, &schema).expect("servers can be told");
    assert_eq!(told(col("c1").gt(30)), "0800120c080410011a0608041000281e");
    assert_eq!(told(col("c3").is_null()), "0800120408061003");
    assert_eq!(
        told(col("c2").starts_with("A").and(col("c0").is_in([1, 2]))),
        "08011a2f080012110800120d080810021a0708081000420141121808001214080b10001a0608031000200\
         11a06080310002002"
    );
}

/// A column of each type, and the two forms of DECIMAL.
const TYPES: [&str; 17] = [
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INT",
    "BIGINT",
    "FLOAT",
    "DOUBLE",
    "CHAR(3)",
    "STRING",
    "DECIMAL(5, 2)",
    "DATE",
    "TIME(3)",
    "TIMESTAMP(6)",
    "TIMESTAMP_LTZ(9)",
    "BINARY(2)",
    "BYTES",
    "DECIMAL(20, 1)",
];

#[test]
fn every_literal_has_the_code_and_the_field_of_its_column() {
    let schema = schema(&TYPES);
    let time = Timestamp { millis: -5, nanos: 7_000 };
    let decimal = Decimal::new(125, 1);
    let literals = row![
        true,
        1,
        2,
        3,
        4,
        0.5,
        1.5_f32,
        "ab",
        "cd",
        &decimal,
        Datum::Date(6),
        Datum::Time(7),
        time,
        Datum::TimestampLtz(time),
        b"x",
        b"yz",
        -300_i64,
    ];
    for (at, literal) in literals.into_iter().enumerate() {
        let bound = col(format!("c{at}")).eq(literal).bind(&schema).expect("it fits");
        let leaf = bound.wire().and_then(|wire| wire.leaf.clone()).expect("a leaf");
        let [found] = &leaf.literals[..] else { panic!("{leaf:?}") };
        assert_eq!((found.is_null, leaf.field_id), (false, at as i32));
        assert_eq!(found.literal_type, if at == 16 { 9 } else { at as i32 });
        let time = (found.timestamp_millis_value, found.timestamp_nano_of_millis_value);
        let matches = match at {
            0 => found.boolean_value == Some(true),
            1..=3 => found.int_value == Some(at as i32),
            4 => found.bigint_value == Some(4),
            5 => found.float_value == Some(0.5),
            6 => found.double_value == Some(1.5),
            7 => found.string_value.as_deref() == Some("ab"),
            8 => found.string_value.as_deref() == Some("cd"),
            9 => found.decimal_value == Some(1250),
            10 => found.bigint_value == Some(6),
            11 => found.int_value == Some(7),
            12 | 13 => time == (Some(-5), Some(7_000)),
            14 => found.binary_value.as_deref() == Some(b"x"),
            15 => found.binary_value.as_deref() == Some(b"yz"),
            // -3000 in as few bytes as there can be.
            _ => found.decimal_bytes.as_deref() == Some(&[0xf4, 0x48]),
        };
        assert!(matches, "{}: {found:?}", TYPES[at]);
        let null = col(format!("c{at}")).ne(Datum::Null).bind(&schema).expect("it fits");
        let leaf = null.wire().and_then(|wire| wire.leaf.clone()).expect("a leaf");
        let null = fluss_proto::message::PbLiteralValue {
            literal_type: found.literal_type,
            is_null: true,
            ..Default::default()
        };
        assert_eq!(leaf.literals, [null]);
    }
}

#[test]
fn servers_are_told_no_more_than_they_can_know() {
    let known = schema(&["INT", "STRING"]);
    let (one, far) = (|| col("c0").eq(1), || col("c1").starts_with("a\u{e000}"));
    // An end of an `and` can be left out, and an end of an `or` cannot.
    assert_eq!(wire(one().and(far()), &known), wire(one(), &known));
    assert_eq!(wire(one().or(far()), &known), None);
    assert_eq!(wire(far().and(far()), &known), None);
    assert!(wire(one().or(col("c1").contains("\u{e000}")), &known).is_some());
    assert!(wire(col("c1").starts_with("\u{d7ff}"), &known).is_some());
    // Columns without ids, as servers before 0.9 tell them, and lists without end.
    let nameless = Schema::new(vec![Column::new("c0", "INT".parse().expect("a type"))], vec![]);
    assert_eq!(wire(one(), &nameless), None);
    assert_eq!(wire(col("c0").is_in(0..20_000), &known), None);
    assert!(wire(col("c0").is_in(0..2_000), &known).is_some());
}

#[test]
fn what_does_not_fit_a_column_is_refused_with_column_value_and_reason() {
    let time = Timestamp { millis: 0, nanos: 1_000 };
    let nested = ["ARRAY<INT>", "MAP<INT, INT>", "ROW<a INT>"];
    for (data_type, filter, value, why) in [
        ("INT", col("id").gt(1), "`id`", "c0"),
        ("TINYINT", col("c0").eq(128), "128", "out of the type's range"),
        ("SMALLINT", col("c0").is_in([1, -32_769]), "-32769", "out of the type's range"),
        ("INT", col("c0").ne(1_i64 << 31), "2147483648", "out of the type's range"),
        ("INT", col("c0").lt("7"), "\"7\"", "value of the column's type"),
        ("BIGINT", col("c0").lt(1.0), "1", "value of the column's type"),
        ("BOOLEAN", col("c0").eq(1), "1", "value of the column's type"),
        ("STRING", col("c0").eq(5), "5", "value of the column's type"),
        ("BYTES", col("c0").eq("x"), "\"x\"", "value of the column's type"),
        ("DATE", col("c0").eq(5), "5", "value of the column's type"),
        ("FLOAT", col("c0").le(0.1), "0.1", "only one near it"),
        ("FLOAT", col("c0").le(16_777_217), "16777217", "only one near it"),
        ("DOUBLE", col("c0").le(i64::MAX), "9223372036854775807", "only one near it"),
        ("DECIMAL(4, 1)", col("c0").eq(&Decimal::new(125, 2)), "1.25", "after the point"),
        ("DECIMAL(4, 1)", col("c0").eq(1000), "1000", "more digits than the type"),
        ("TIME(0)", col("c0").eq(Datum::Time(1)), "1 ms", "digits of a second"),
        ("TIME(3)", col("c0").eq(Datum::Time(86_400_000)), "86400000", "of the day"),
        ("TIMESTAMP(3)", col("c0").eq(time), "1970-01-01", "digits of a second"),
        ("TIMESTAMP_LTZ(6)", col("c0").eq(time), "1970-01-01", "Datum::TimestampLtz"),
        ("INT", col("c0").starts_with("1"), "INT", "CHAR and STRING"),
        ("BYTES", col("c0").contains("1"), "BYTES", "CHAR and STRING"),
        (nested[0], col("c0").is_null(), "ARRAY", "scalar columns"),
        (nested[1], col("c0").is_not_null(), "MAP", "scalar columns"),
        (nested[2], col("c0").eq(Datum::Null), "ROW", "scalar columns"),
    ] {
        let text = refused(&filter, &schema(&[data_type]));
        assert!(text.contains(value) && text.contains(why), "{data_type}: {text}");
        assert!(text.contains("filter") && text.contains("c0"), "{data_type}: {text}");
        // And so wherever it stands.
        let within = col("c1").is_null().or(col("c1").eq(1).and(filter));
        assert!(refused(&within, &schema(&[data_type, "INT"])).contains(why));
    }
}

#[test]
fn conditions_nested_without_end_are_refused_and_chains_without_end_are_not() {
    let schema = schema(&["INT"]);
    let leaf = || col("c0").eq(1);
    let (mut chain, mut deep, mut most) = (leaf(), leaf(), leaf());
    for at in 0..100_000 {
        chain = chain.and(leaf());
        deep = if at % 2 == 0 { deep.and(leaf()) } else { leaf().or(deep) };
        if at < MAX_DEPTH {
            most = if at % 2 == 0 { most.and(leaf()) } else { leaf().or(most) };
        }
    }
    assert!(chain.bind(&schema).is_ok());
    assert!(refused(&deep, &schema).contains("32 levels"));
    let wire = most.bind(&schema).expect("not too deep").wire().cloned();
    // Whoever decodes it within a request puts up with it.
    let table = fluss_proto::message::PbFetchLogReqForTable {
        filter_predicate: wire,
        ..Default::default()
    };
    let request =
        fluss_proto::message::FetchLogRequest { tables_req: vec![table], ..Default::default() };
    let bytes = request.encode_to_vec();
    assert_eq!(fluss_proto::message::FetchLogRequest::decode(&*bytes), Ok(request));
    assert!(refused(&most.and(leaf()).or(leaf()), &schema).contains("32 levels"));
}

#[test]
fn a_null_passes_is_null_only_and_a_null_literal_nothing() {
    let values = [OwnedDatum::Int32(1), OwnedDatum::Null, OwnedDatum::Int32(2)];
    let of = |filter| of_values("INT", &values, filter);
    assert_eq!(of(col("c0").is_null()), [false, true, false]);
    assert_eq!(of(col("c0").is_not_null()), [true, false, true]);
    assert_eq!(of(col("c0").ne(1)), [false, false, true]);
    assert_eq!(of(col("c0").le(1)), [true, false, false]);
    assert_eq!(of(col("c0").not_in([1])), [false, false, true]);
    assert_eq!(of(col("c0").is_in([Some(1), None])), [true, false, false]);
    assert_eq!(of(col("c0").is_in([0; 0])), [false; 3]);
    assert_eq!(of(col("c0").not_in([0; 0])), [true, false, true]);
    for nothing in [
        col("c0").eq(Datum::Null),
        col("c0").ne(None::<i32>),
        col("c0").ge(Datum::Null),
        col("c0").not_in([Some(7), None]),
    ] {
        assert_eq!(of(nothing), [false; 3]);
    }
    assert_eq!(of(col("c0").eq(Datum::Null).or(col("c0").eq(2))), [false, false, true]);
}

#[test]
fn floating_point_numbers_are_ordered_as_java_does_it() {
    let values = [f64::NEG_INFINITY, -0.0, 0.0, f64::INFINITY, f64::NAN, -f64::NAN];
    let singles = values.map(|value| OwnedDatum::Float32(value as f32));
    let doubles = values.map(OwnedDatum::Float64);
    for (data_type, values) in [("FLOAT", singles), ("DOUBLE", doubles)] {
        let of = |filter| of_values(data_type, &values, filter);
        assert_eq!(of(col("c0").eq(0.0)), [false, false, true, false, false, false]);
        assert_eq!(of(col("c0").eq(0)), [false, false, true, false, false, false]);
        assert_eq!(of(col("c0").lt(0.0)), [true, true, false, false, false, false]);
        assert_eq!(of(col("c0").gt(f64::INFINITY)), [false, false, false, false, true, true]);
        assert_eq!(of(col("c0").eq(f32::NAN)), [false, false, false, false, true, true]);
        assert_eq!(of(col("c0").not_in([f64::NAN, -0.0])), [true, false, true, true, false, false]);
    }
}

#[test]
fn texts_and_bytes_are_ordered_by_their_bytes_and_searched_for_theirs() {
    let texts = ["", "a", "Ab", "é", "\u{ffff}", "🌊"].map(|text| OwnedDatum::Str(text.to_owned()));
    let of = |filter| of_values("STRING", &texts, filter);
    assert_eq!(of(col("c0").gt("é")), [false, false, false, false, true, true]);
    assert_eq!(of(col("c0").lt("a")), [true, false, true, false, false, false]);
    assert_eq!(of(col("c0").gt("\u{ffff}")), [false, false, false, false, false, true]);
    assert_eq!(of(col("c0").starts_with("")), [true; 6]);
    assert_eq!(of(col("c0").starts_with("A")), [false, false, true, false, false, false]);
    assert_eq!(of(col("c0").ends_with("b")), [false, false, true, false, false, false]);
    assert_eq!(of(col("c0").contains("b")), [false, false, true, false, false, false]);
    let bytes = [vec![0x7f], vec![0x80], vec![0x80, 0]].map(OwnedDatum::Bytes);
    assert_eq!(of_values("BYTES", &bytes, col("c0").gt(b"\x7f")), [false, true, true]);
    assert_eq!(of_values("BYTES", &bytes, col("c0").le(b"\x80")), [true, true, false]);
}

/// Columns of all types, conditions of all kinds.
#[test]
fn random_conditions_choose_the_rows_that_the_rules_say() {
    let (mut passed, mut left_out, mut seen) = (0, 0, 0);
    for seed in 0..1500 {
        let mut rng = Rng::new(seed);
        let schema = Shape::default().schema(&mut rng);
        let rows: Vec<_> = (0..rng.below(30)).map(|_| random::row(&mut rng, &schema)).collect();
        let Some(filter) = random_filter(&mut rng, &schema, &rows, 3) else { continue };
        let bound = filter.bind(&schema).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let found = passing(&bound, &schema, &rows);
        for (row, found) in rows.iter().zip(found) {
            let expected = naive(&filter, &schema, row) == Some(true);
            assert_eq!(found, expected, "seed {seed}: {filter:?} of {row:?}");
            *(if found { &mut passed } else { &mut left_out }) += 1;
        }
        seen += 1;
    }
    assert!(seen > 1000 && passed > 3000 && left_out > 3000, "{seen}: {passed}, {left_out}");
}
