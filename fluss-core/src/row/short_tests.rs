use super::*;
use crate::rng::Rng;
use crate::row;
use crate::row::{DataType, Decimal, OwnedDatum, OwnedRow, Schema, Timestamp, compacted};

const LONG: u64 = 1 << 20;

/// What the general way makes of a row, and its key; None where it refuses the row.
fn generally(
    layout: &RowLayout,
    keys: (usize, usize),
    row: &OwnedRow,
) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::new();
    compacted::encode(layout, row, &mut bytes).ok()?;
    let columns: Vec<usize> = (keys.0..keys.1).collect();
    let encoder = row::key::KeyEncoder::new(layout.schema(), &columns).ok()?;
    let mut key = Vec::new();
    encoder.encode(row, &mut key).ok()?;
    Some((bytes, key))
}

fn text(rng: &mut Rng, most: u64) -> String {
    let length = rng.below(most.max(1));
    (0..length).map(|_| ['a', 'ö', '猫'][rng.below(3) as usize]).collect()
}

/// A number of any length in bits, with either sign.
fn number(rng: &mut Rng) -> i64 {
    let bits = rng.below(65);
    let value = rng.below(u64::MAX).checked_shr(64 - bits as u32).unwrap_or(0);
    value.cast_signed()
}

fn value(rng: &mut Rng, column: usize) -> OwnedDatum {
    let most = if rng.below(20) == 0 { 400 } else { 12 };
    match column {
        0 => OwnedDatum::Int64(number(rng)),
        1 => OwnedDatum::Str(text(rng, most)),
        _ if rng.below(8) == 0 => OwnedDatum::Null,
        2 => OwnedDatum::Int32(number(rng) as i32),
        3 => OwnedDatum::Float64(f64::from_bits(rng.below(u64::MAX))),
        4 => OwnedDatum::Bytes(text(rng, most).into_bytes()),
        5 => OwnedDatum::Bool(rng.below(2) == 0),
        6 => OwnedDatum::Timestamp(Timestamp::from_micros(number(rng) / LONG.cast_signed())),
        7 => OwnedDatum::Decimal(Decimal::new(i128::from(number(rng)) * 1000, 2)),
        8 => OwnedDatum::Date(number(rng) as i32),
        9 => OwnedDatum::Int16(number(rng) as i16),
        _ => OwnedDatum::Str(text(rng, 2 * most)),
    }
}

fn schema() -> Schema {
    Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("name", DataType::STRING.not_null())
        .column("n", DataType::INT)
        .column("x", DataType::DOUBLE)
        .column("raw", DataType::BYTES)
        .column("yes", DataType::BOOLEAN)
        .column("at", DataType::timestamp(6))
        .column("price", DataType::decimal(30, 2))
        .column("day", DataType::DATE)
        .column("wide", DataType::BIGINT)
        .column("code", DataType::char(9))
        .build()
        .expect("a schema")
}

#[test]
fn short_rows_have_the_bytes_that_the_general_way_makes_and_others_go_that_way() {
    let layout = RowLayout::new(&schema()).strict();
    assert!(layout.may_be_short());
    let mut short = ShortRow::default();
    let mut seen = [0_u32; 3];
    for seed in 0..20_000 {
        let mut rng = Rng::new(seed);
        let row: OwnedRow = (0..11).map(|column| value(&mut rng, column)).collect();
        let keys = [(0, 1), (1, 2), (0, 2)][rng.below(3) as usize];
        let expected = generally(&layout, keys, &row);
        match (short.write(&layout, keys, &row), expected) {
            (Some(short), Some((bytes, key))) => {
                assert_eq!(short.key, key, "seed {seed}");
                assert_eq!(short.hash, hash::of_key(&key), "seed {seed}");
                let mut whole = Vec::new();
                fluss_proto::record::push_kv_record(&mut whole, &key, Some(&bytes)).expect("a row");
                assert_eq!(short.record, whole, "seed {seed}");
                seen[0] += 1;
            }
            (None, Some((bytes, key))) => {
                assert!(bytes.len() + 20 > ROOM - HEAD || key.len() > HEAD - 5, "seed {seed}");
                seen[1] += 1;
            }
            (None, None) => seen[2] += 1,
            (Some(_), None) => panic!("seed {seed}: {row:?} is refused the general way"),
        }
    }
    assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
}

#[test]
fn rows_with_too_few_or_too_many_values_are_none_of_these() {
    let schema = Schema::builder().column("a", DataType::INT).column("b", DataType::INT);
    let layout = RowLayout::new(&schema.build().expect("a schema"));
    let mut short = ShortRow::default();
    let whole = short.write(&layout, (0, 1), &row![1, 2]);
    assert_eq!(whole.map(|short| short.record), Some(&[5, 0, 0, 0, 1, 1, 0, 1, 2][..]));
    assert!(short.write(&layout, (0, 1), &row![1]).is_none());
    assert!(short.write(&layout, (0, 1), &row![1, 2, 3]).is_none());
}

/// Passes over each error of the sink.
struct Stubborn;

impl Row for Stubborn {
    fn arity(&self) -> usize {
        2
    }

    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let _ = sink.put_str(&"x".repeat(600));
        sink.put_str("a")?;
        sink.put_str("b")
    }
}

#[test]
fn a_value_that_finds_no_room_leaves_nothing_behind() {
    let schema = Schema::builder().column("a", DataType::STRING).column("b", DataType::STRING);
    let layout = RowLayout::new(&schema.build().expect("a schema"));
    let mut short = ShortRow::default();
    let written = short.write(&layout, (0, 1), &Stubborn);
    let record = [8, 0, 0, 0, 2, 1, b'a', 0, 1, b'a', 1, b'b'];
    assert_eq!(written.map(|short| short.record), Some(&record[..]));
}
