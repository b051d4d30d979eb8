use super::super::{DataType, Schema};
use super::*;
use crate::row;

fn layout(types: &[&str]) -> RowLayout {
    let builder = types.iter().enumerate().fold(Schema::builder(), |builder, (index, text)| {
        let data_type: DataType = text.parse().expect("a type");
        builder.column(format!("c{index}"), data_type)
    });
    RowLayout::new(&builder.build().expect("a schema"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Encodes, compares, and decodes again.
fn check<R: Row>(types: &[&str], row: R, expected: &str) {
    let layout = layout(types);
    let mut bytes = vec![0xee];
    encode(&layout, &row, &mut bytes).expect("the row fits");
    assert_eq!(hex(&bytes[1..]), expected, "{types:?}");
    let decoded = decode(&layout, &bytes[1..]).expect("what was written reads back");
    let mut again = Vec::new();
    encode(&layout, &decoded, &mut again).expect("what was read writes again");
    assert_eq!(hex(&again), expected, "{types:?}");
    for end in 0..bytes.len() - 1 {
        assert!(decode(&layout, &bytes[1..=end]).is_err(), "cut after {end} bytes");
    }
}

#[test]
fn rows_are_those_of_the_server() {
    check(&["INT", "STRING"], (1, "a"), "00010161");
    check(&["INT", "STRING"], (1, None::<&str>), "0201");
    check(
        &["INT NOT NULL", "STRING", "BIGINT", "BOOLEAN"],
        (42, "Alice", -1_i64, true),
        "002a05416c696365ffffffffffffffffff0101",
    );
    let nulls = row![Datum::Null, 1, 2, 3, 4, 5, 6, 7, Datum::Null];
    check(&["INT"; 9], nulls, "010101020304050607");
    check(
        &["BOOLEAN", "TINYINT", "SMALLINT", "INT", "BIGINT", "FLOAT", "DOUBLE", "STRING", "BYTES"],
        (true, 1, 100, 1000, 10_000, 1.5_f32, 2.5, "Hello World", [1_u8, 2, 3, 4, 5]),
        concat!(
            "000001016400e807904e0000c03f00000000000004400b48656c6c6f20576f726c64",
            "050102030405"
        ),
    );
    let time = Timestamp { millis: 1000, nanos: 1 };
    check(
        &["DECIMAL(10,2)", "DECIMAL(28,0)", "TIMESTAMP(6)"],
        (Decimal::new(12_345, 2), Decimal::new(12_345, 0), time),
        "00b960023039e80701",
    );
    let before = Timestamp { millis: -1, nanos: 999_999 };
    check(
        &["CHAR(3)", "BINARY(4)", "DATE", "TIME", "TIMESTAMP_LTZ(6)"],
        row!["x", b"\x01\x02", Datum::Date(-1), Datum::Time(0), Datum::TimestampLtz(before)],
        "000178020102ffffffff0f00ffffffffffffffffff01bf843d",
    );
    check(&["FLOAT"], (f32::from_bits(0x7fc0_0001),), "000100c07f");
}

#[test]
fn a_compact_timestamp_drops_its_nanoseconds() {
    check(&["TIMESTAMP(3)"], (Timestamp { millis: 5, nanos: 7 },), "0005");
}

#[test]
fn values_of_other_widths_are_taken_when_nothing_is_lost() {
    check(&["BIGINT", "TINYINT", "DOUBLE"], (1_i8, 2_i64, 0.5_f32), "000102000000000000e03f");
    check(&["DECIMAL(5,3)"], (Decimal::new(15, 1),), "00dc0b");
}

#[test]
fn a_refused_row_leaves_the_buffer_as_it_was_and_names_column_and_value() {
    let layout = layout(&[
        "INT NOT NULL",
        "STRING",
        "TINYINT",
        "DECIMAL(3,1)",
        "TIME",
        "TIMESTAMP(9)",
        "ARRAY<INT>",
    ]);
    let null = Datum::Null;
    let (fine, wide) = (Decimal::new(123, 2), Decimal::new(1000, 1));
    let nanos = Timestamp { millis: 0, nanos: 1_000_000 };
    for (row, part) in [
        (row![null, null, null, null, null, null, null], "`c0`: INT NOT NULL does not allow null"),
        (row!["x", null, null, null, null, null, null], "column `c0`: \"x\" does not fit INT"),
        (row![1, 2, null, null, null, null, null], "column `c1`: 2 does not fit STRING"),
        (row![1, null, 128, null, null, null, null], "out of the type's range"),
        (row![1, null, null, &fine, null, null, null], "round it with Decimal::rounded"),
        (row![1, null, null, &wide, null, null, null], "more digits than the type"),
        (row![1, null, null, null, Datum::Time(86_400_000), null, null], "0 to 86399999"),
        (row![1, null, null, null, Datum::Int32(5), null, null], "value of the column's type"),
        (row![1, null, null, null, null, nanos, null], "0 to 999999"),
        (
            row![1, null, null, null, null, Datum::TimestampLtz(nanos), null],
            "give Datum::Timestamp for TIMESTAMP",
        ),
        (row![1, null, null, null, null, null, 1], "column `c6`: 1 does not fit ARRAY<INT>"),
    ] {
        let mut bytes = vec![7];
        let error = encode(&layout, &row, &mut bytes).expect_err("must be refused").to_string();
        assert!(error.contains(part), "{error} should contain {part}");
        assert_eq!(bytes, [7]);
    }
    let mut bytes = Vec::new();
    assert_eq!(encode(&layout, &row![1], &mut bytes), Err(RowError::arity(7, 1)));
}

#[test]
fn a_value_too_many_is_refused() {
    let layout = layout(&["INT"]);
    assert_eq!(encode(&layout, &(1, 2), &mut Vec::new()), Err(RowError::arity(1, 2)));
}

#[test]
fn hostile_bytes_give_typed_errors() {
    for (data_type, bytes, reason) in [
        ("STRING", &[0, 0xff, 0xff, 0xff, 0xff, 0x0f][..], DecodeReason::Length),
        ("STRING", &[0, 0xff, 0xff, 0xff, 0xff, 0x07], DecodeReason::Truncated),
        ("STRING", &[0, 1, 0xff], DecodeReason::Utf8),
        ("INT", &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], DecodeReason::Varint),
        ("BIGINT", &[0; 1], DecodeReason::Truncated),
        ("DECIMAL(20,0)", &[0, 0], DecodeReason::Decimal),
        ("DECIMAL(20,0)", &[0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], {
            DecodeReason::Decimal
        }),
        ("TIMESTAMP(6)", &[0, 1, 0xc0, 0x84, 0x3d], DecodeReason::Nanos),
        ("INT", &[0, 1, 2], DecodeReason::Trailing),
        ("INT", &[1, 2], DecodeReason::Trailing),
        ("ARRAY<INT>", &[0, 0], DecodeReason::Truncated),
        ("INT", &[], DecodeReason::Truncated),
    ] {
        let error = decode(&layout(&[data_type]), bytes).expect_err("corrupt");
        assert_eq!(error.reason, reason, "{data_type} {bytes:?}");
    }
}

#[test]
fn the_null_bit_of_a_not_null_column_counts_for_nothing() {
    let row = decode(&layout(&["INT NOT NULL"]), &[1, 9]).expect("readable");
    assert_eq!(row.datum(0), Some(Datum::Int32(9)));
}
