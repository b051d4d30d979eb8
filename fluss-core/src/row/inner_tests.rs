//! Layouts byte for byte, refusals that name the path, and hostile bytes.

use super::super::decode::DecodeReason;
use super::super::{DataType, OwnedDatum, Row, RowLayout, Schema, compacted, indexed};
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

fn encoded<R: Row>(data_type: &str, row: &R) -> Vec<u8> {
    let mut bytes = Vec::new();
    compacted::encode(&layout(&[data_type]), row, &mut bytes).expect("the row fits");
    bytes
}

#[test]
fn arrays_maps_and_rows_have_the_servers_layout() {
    let ints = [Some(1), None, Some(-1)];
    let bytes = encoded("ARRAY<INT>", &row![Datum::Array(&ints)]);
    let array = "03000000020000000100000000000000ffffffff00000000";
    assert_eq!(hex(&bytes), format!("0018{array}"));

    let texts = ["abcdefgh", "abc"];
    let array =
        concat!("0200000000000000", "0800000018000000", "6162630000000083", "6162636465666768");
    assert_eq!(hex(&encoded("ARRAY<STRING>", &row![Datum::Array(&texts)])), format!("0020{array}"));

    let empty: Vec<i32> = Vec::new();
    assert_eq!(hex(&encoded("ARRAY<INT>", &row![&empty])), "00080000000000000000");

    let map = [(1, "a")];
    let bytes = encoded("MAP<INT, STRING>", &row![Datum::Map(&map)]);
    let keys = "01000000000000000100000000000000";
    let values = "01000000000000006100000000000081";
    assert_eq!(hex(&bytes), format!("002410000000{keys}{values}"));

    let place = row![1, None::<&str>];
    assert_eq!(hex(&encoded("ROW<a INT, b STRING>", &row![Datum::Row(&place)])), "00020201");
    let mut bytes = Vec::new();
    let layout = layout(&["ROW<a INT, b STRING>"]);
    indexed::encode(&layout, &row![Datum::Row(&place)], &mut bytes).expect("the row fits");
    assert_eq!(hex(&bytes), "0009000000020000000001000000");
}

#[test]
fn a_refused_value_is_named_by_its_path() {
    let lists = [vec![Some(1)], vec![Some(2), None]];
    let lines = [row!["a", 1], row!["b", 300]];
    let rows = [Datum::Row(&lines[0]), Datum::Row(&lines[1])];
    let labels = [("x", None), ("y", Some("z"))];
    let short = row![1];
    let inner = [row![Datum::Null]];
    for (data_type, value, expected) in [
        ("ARRAY<ARRAY<INT NOT NULL>>", Datum::Array(&lists), "`c0[1][1]`: INT NOT NULL does not"),
        (
            "ARRAY<ROW<name STRING, n TINYINT>>",
            Datum::Array(&rows),
            "`c0[1].n`: 300 does not fit TINYINT: the number is out of the type's range",
        ),
        (
            "MAP<STRING, STRING NOT NULL>",
            Datum::Map(&labels),
            "`c0[0].value`: STRING NOT NULL does not allow null",
        ),
        ("MAP<INT, STRING>", Datum::Map(&labels), "`c0[0].key`: \"x\" does not fit INT"),
        ("ROW<a INT, b INT>", Datum::Row(&short), "`c0`: a ROW of 1 fields does not fit ROW<"),
        ("ROW<a INT>", Datum::Array(&short), "`c0`: an ARRAY of 1 elements does not fit"),
        (
            "ARRAY<ROW<a INT NOT NULL> NOT NULL>",
            Datum::Array(&inner),
            "`c0[0]`: an ARRAY of 1 elements does not fit ROW<",
        ),
    ] {
        let layout = layout(&[data_type]);
        let mut bytes = vec![7];
        let compact = compacted::encode(&layout, &[value], &mut bytes).expect_err("refused");
        let index = indexed::encode(&layout, &[value], &mut bytes).expect_err("refused");
        assert!(compact.to_string().contains(expected), "{compact}");
        assert_eq!(compact, index);
        assert_eq!(bytes, [7], "nothing is left of a refused row");
    }
}

#[test]
fn ten_levels_of_nesting_come_back() {
    let mut text = String::from("INT");
    let mut value = OwnedDatum::Int32(7);
    for level in 0..12 {
        (text, value) = match level % 3 {
            0 => (format!("ARRAY<{text}>"), OwnedDatum::Array(vec![value.clone(), value])),
            1 => {
                let key = OwnedDatum::Str(format!("a key of level {level}"));
                (format!("MAP<STRING, {text}>"), OwnedDatum::Map(vec![(key, value)]))
            }
            _ => (format!("ROW<f {text}, g BIGINT>"), {
                OwnedDatum::Row(vec![value, OwnedDatum::Null])
            }),
        };
    }
    let layout = layout(&[&text]);
    let row = [value.as_datum()];
    let (mut compact, mut index) = (Vec::new(), Vec::new());
    compacted::encode(&layout, &row, &mut compact).expect("the row fits");
    indexed::encode(&layout, &row, &mut index).expect("the row fits");
    let compact = compacted::decode(&layout, &compact).expect("what was written reads back");
    let index = indexed::decode(&layout, &index).expect("what was written reads back");
    assert_eq!(compact.values(), std::slice::from_ref(&value));
    assert_eq!(index.values(), [value]);
}

#[test]
fn impossible_counts_lengths_and_offsets_give_typed_errors() {
    let head = |count: i32| count.to_le_bytes().to_vec();
    let slot = |offset: i32, length: i32| [length.to_le_bytes(), offset.to_le_bytes()].concat();
    let one = |slot: Vec<u8>| [head(1), vec![0; 4], slot].concat();
    for (data_type, array, reason) in [
        ("ARRAY<INT>", head(-1), DecodeReason::Count),
        ("ARRAY<BOOLEAN>", head(i32::MAX), DecodeReason::Count),
        ("ARRAY<STRING>", one(slot(16, 8)), DecodeReason::Truncated),
        ("ARRAY<STRING>", one(slot(-5, -8)), DecodeReason::Truncated),
        ("ARRAY<STRING>", one(slot(0, -1)), DecodeReason::Length),
        ("ARRAY<BYTES>", one(slot(0, 16)), DecodeReason::Overlap),
        ("ARRAY<ARRAY<INT>>", one(slot(-1, 8)), DecodeReason::Length),
        ("ARRAY<TIMESTAMP(6)>", one(slot(8, 1_000_000)), DecodeReason::Overlap),
        ("MAP<INT, INT>", head(-1), DecodeReason::Length),
        ("MAP<INT, INT>", [head(8), one(slot(0, 0)), head(0)].concat(), DecodeReason::Count),
        ("ROW<a INT>", vec![0, 1, 2], DecodeReason::Trailing),
    ] {
        let layout = layout(&[data_type]);
        let compact = [vec![0, array.len() as u8], array.clone()].concat();
        let error = compacted::decode(&layout, &compact).expect_err(data_type);
        assert_eq!((error.column, error.reason), (0, reason), "{data_type}");
    }
}

#[test]
fn values_that_share_bytes_do_not_multiply() {
    // Sixteen arrays deep, each with 64 slots that all point to the same next array.
    const LEVELS: usize = 16;
    let text = format!("{}TINYINT{}", "ARRAY<".repeat(LEVELS), ">".repeat(LEVELS));
    let head = [64_u32.to_le_bytes().as_slice(), &[0; 8]].concat();
    let mut bytes = [head.clone(), vec![0; 68]].concat();
    for _ in 1..LEVELS {
        let slot = (524_u64 << 32 | bytes.len() as u64).to_le_bytes();
        let slots: Vec<u8> = (0..64).flat_map(|_| slot).collect();
        bytes = [head.clone(), slots, bytes].concat();
    }
    let layout = layout(&[&text]);
    let mut row = vec![0];
    compacted::put_varint(&mut row, bytes.len() as u64);
    row.extend(bytes);
    let error = compacted::decode(&layout, &row).expect_err("64 to the 16th values");
    assert_eq!(error.reason, DecodeReason::Overlap);
}

#[test]
fn a_value_of_more_values_than_memory_is_allowed_for_is_refused() {
    let allowed = (256 << 20) / size_of::<OwnedDatum>();
    let bytes = |count: usize| {
        let length = array_head(count) + count;
        let mut bytes = vec![0];
        compacted::put_varint(&mut bytes, length as u64);
        bytes.extend_from_slice(&(count as i32).to_le_bytes());
        bytes.resize(bytes.len() + length - 4, 0);
        bytes
    };
    let layout = layout(&["ARRAY<BOOLEAN>"]);
    let read = |count| compacted::decode(&layout, &bytes(count)).map(drop).map_err(|e| e.reason);
    assert_eq!(read(1_000), Ok(()));
    assert_eq!(read(allowed + 1), Err(DecodeReason::TooLarge));
}
