//! Batches of version 1: what they say about their columns, byte for byte as the Java classes, and
//! never more than is true.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use fluss_core::batch::{
    ArrowBatchBuilder, ArrowBatchOptions, ArrowCompression, LogDecoder, LogFormat, Push,
    statistics_columns,
};
use fluss_core::rng::Rng;
use fluss_core::row::{Column, Decimal, OwnedDatum as D, OwnedRow, Schema, Timestamp, TypeKind};
use fluss_core::testing::random::{self, Shape, same};
use fluss_proto::record::{Check, LogBatch, LogVersion, Stamp};

fn vector(name: &str) -> Vec<u8> {
    let path = format!("{}/../fluss-proto/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let text = text.trim();
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn schema(types: &[&str]) -> Schema {
    let parse = |text: &&str| text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    let columns = types.iter().map(parse).enumerate();
    Schema::new(columns.map(|(at, t)| Column::new(format!("c{at}"), t)).collect(), vec![])
}

fn wire(schema: &Schema, columns: &[usize], rows: &[OwnedRow], of: ArrowCompression) -> Vec<u8> {
    let options = ArrowBatchOptions { compression: of, ..ArrowBatchOptions::default() };
    let builder = ArrowBatchBuilder::new(schema.clone(), options).expect("options");
    let mut builder = builder.with_statistics(columns).expect("room for statistics");
    for (index, row) in (0..).zip(rows) {
        assert_eq!(builder.try_push(row), Ok(Push::Pushed(index)));
    }
    let bound = builder.size_in_bytes();
    let sealed = builder.seal(1, Vec::new()).expect("rows to seal");
    assert!(sealed.size() <= bound, "{} bytes, {bound} were counted", sealed.size());
    let head = sealed.stamp(Stamp { writer_id: 100, sequence: 7 });
    [&head[..], &sealed.payload()[..]].concat()
}

fn batch(schema: &Schema, columns: &[usize], rows: &[OwnedRow]) -> LogBatch {
    let bytes = wire(schema, columns, rows, ArrowCompression::None);
    let batch = LogBatch::new_checked(bytes.into(), Check::Crc).expect("a sound batch");
    assert_eq!(batch.version(), LogVersion::V1);
    batch
}

/// The 19 columns of the fixtures, in three rows.
fn fixture() -> (Schema, Vec<OwnedRow>) {
    const TYPES: [&str; 19] = [
        "BOOLEAN",
        "TINYINT",
        "SMALLINT",
        "INT",
        "BIGINT",
        "FLOAT",
        "DOUBLE",
        "STRING",
        "DECIMAL(5, 2)",
        "DECIMAL(20, 3)",
        "DATE",
        "TIME(0)",
        "TIMESTAMP(3)",
        "TIMESTAMP(6)",
        "TIMESTAMP_LTZ(3)",
        "TIMESTAMP_LTZ(6)",
        "STRING",
        "FLOAT",
        "DOUBLE",
    ];
    let millis = [1_700_000_000_123, 1_600_000_000_000, 1_800_000_000_999];
    let nanos = [456_000, 1_000, 999_000];
    let row = |at: usize| {
        let (time, fine) = (
            Timestamp::from_millis(millis[at]),
            Timestamp { millis: millis[at], nanos: nanos[at] },
        );
        vec![
            D::Bool(at != 1),
            D::Int8([1, -3, 7][at]),
            D::Int16([100, 200, -50][at]),
            [D::Int32(10), D::Null, D::Int32(30)][at].clone(),
            D::Int64([1000, -2000, 3000][at]),
            D::Float32([1.5, -2.5, 0.5][at]),
            D::Float64([3.25, 1.25, 9.75][at]),
            D::Str(["banana", "apple", "cherry"][at].to_owned()),
            D::Decimal(Decimal::new([12_345, 6_789, 50_000][at], 2)),
            D::Decimal(Decimal::new([12_345_678_901, 1_234, 99_999_999_999_999_999][at], 3)),
            D::Date([19_000, 18_000, 20_000][at]),
            D::Time([3_600_000, 7_200_000, 1_800_000][at]),
            D::Timestamp(time),
            D::Timestamp(fine),
            D::TimestampLtz(time),
            D::TimestampLtz(fine),
            D::Null,
            D::Float32([-0.0, f32::from_bits(0xffc0_0000), 0.0][at]),
            D::Float64([0.0, -0.0, f64::from_bits(0xfff8_0000_0000_0000)][at]),
        ]
    };
    (schema(&TYPES), (0..3).map(|at| OwnedRow::new(row(at))).collect())
}

#[test]
fn statistics_are_those_of_the_java_classes_byte_for_byte() {
    let (schema, rows) = fixture();
    for (name, count) in
        [("fixtures/statistics_block.hex", 19), ("fixtures/statistics_block_17col.hex", 17)]
    {
        let columns: Vec<usize> = (0..count).collect();
        let found = batch(&schema, &columns, &rows).statistics();
        assert_eq!(found, vector(name), "{name}");
    }
}

#[test]
fn a_batch_with_statistics_is_that_of_the_java_client_byte_for_byte() {
    let schema = schema(&["INT", "STRING"]);
    let row = |a, b: Option<&str>| {
        OwnedRow::new(vec![D::Int32(a), b.map_or(D::Null, |b| D::Str(b.to_owned()))])
    };
    let rows = [row(1, Some("a")), row(2, None), row(3, Some("ccc"))];
    let found = wire(&schema, &[0, 1], &rows, ArrowCompression::None);
    assert_eq!(found, vector("generated/log_v1_arrow_append_stats.hex"));
    let found = wire(&schema, &[], &rows, ArrowCompression::None);
    assert_eq!(found, vector("generated/log_v1_arrow_append_nostats.hex"));
}

/// A column of a statistics block, with its bounds as eight bytes and what stands behind them.
#[derive(Debug)]
struct Told {
    column: usize,
    nulls: i32,
    bounds: Option<[(u64, Vec<u8>); 2]>,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("so many bytes")
}

fn read(block: &[u8]) -> Vec<Told> {
    if block.is_empty() {
        return Vec::new();
    }
    assert_eq!(block[0], 1, "version");
    let arity = i16::from_le_bytes(number(block, 1)) as usize;
    let min_at = 3 + arity * 6;
    let row = |at: usize| &block[at + 4..at + 4 + i32::from_le_bytes(number(block, at)) as usize];
    let rows = [row(min_at), row(min_at + 4 + row(min_at).len())];
    assert_eq!(min_at + 8 + rows[0].len() + rows[1].len(), block.len(), "nothing behind");
    let slots = (arity + 71) / 64 * 8;
    let told = |at: usize| {
        let bound = |row: &[u8]| {
            let null = row[(8 + at) / 8] & (1 << ((8 + at) % 8)) != 0;
            let slot = u64::from_le_bytes(number(row, slots + at * 8));
            let behind = row.get((slot >> 32) as usize..).unwrap_or_default().to_vec();
            (!null).then_some((slot, behind))
        };
        Told {
            column: i16::from_le_bytes(number(block, 3 + at * 2)) as usize,
            nulls: i32::from_le_bytes(number(block, 3 + arity * 2 + at * 4)),
            bounds: match rows.map(bound) {
                [Some(min), Some(max)] => Some([min, max]),
                [None, None] => None,
                one => panic!("one bound without the other: {one:?}"),
            },
        }
    };
    (0..arity).map(told).collect()
}

/// The bound as a value of the column.
fn value(kind: &TypeKind, (slot, behind): &(u64, Vec<u8>)) -> D {
    let length = (*slot & 0xffff_ffff) as usize;
    let time = || match kind {
        TypeKind::Timestamp(0..=3) | TypeKind::TimestampLtz(0..=3) => {
            Timestamp::from_millis(*slot as i64)
        }
        _ => Timestamp { millis: i64::from_le_bytes(number(behind, 0)), nanos: length as u32 },
    };
    match kind {
        TypeKind::Boolean => D::Bool(*slot == 1),
        TypeKind::TinyInt => D::Int8(*slot as i8),
        TypeKind::SmallInt => D::Int16(*slot as i16),
        TypeKind::Int => D::Int32(*slot as i32),
        TypeKind::BigInt => D::Int64(*slot as i64),
        TypeKind::Float => D::Float32(f32::from_bits(*slot as u32)),
        TypeKind::Double => D::Float64(f64::from_bits(*slot)),
        TypeKind::Date => D::Date(*slot as i32),
        TypeKind::Time(_) => D::Time(*slot as i32),
        TypeKind::Timestamp(_) => D::Timestamp(time()),
        TypeKind::TimestampLtz(_) => D::TimestampLtz(time()),
        TypeKind::Decimal { precision: 0..=18, scale } => {
            D::Decimal(Decimal::new((*slot as i64).into(), *scale))
        }
        TypeKind::Decimal { scale, .. } => {
            let sign = if behind[0] & 0x80 == 0 { 0 } else { -1 };
            let unscaled = behind[..length].iter().fold(sign, |n, b| n << 8 | i128::from(*b));
            D::Decimal(Decimal::new(unscaled, *scale))
        }
        TypeKind::String if slot >> 63 == 1 => {
            let inline = slot.to_le_bytes();
            let length = usize::from(inline[7] & 0x7f);
            D::Str(String::from_utf8(inline[..length].to_vec()).expect("UTF-8"))
        }
        TypeKind::String => D::Str(String::from_utf8(behind[..length].to_vec()).expect("UTF-8")),
        other => panic!("no statistics are kept of {other:?}"),
    }
}

fn order(left: &D, right: &D) -> Ordering {
    let float = |a: f64, b: f64| match (a.is_nan(), b.is_nan()) {
        (false, false) => a.total_cmp(&b),
        (a, b) => a.cmp(&b),
    };
    match (left, right) {
        (D::Bool(a), D::Bool(b)) => a.cmp(b),
        (D::Int8(a), D::Int8(b)) => a.cmp(b),
        (D::Int16(a), D::Int16(b)) => a.cmp(b),
        (D::Int32(a), D::Int32(b)) | (D::Date(a), D::Date(b)) | (D::Time(a), D::Time(b)) => {
            a.cmp(b)
        }
        (D::Int64(a), D::Int64(b)) => a.cmp(b),
        (D::Float32(a), D::Float32(b)) => float((*a).into(), (*b).into()),
        (D::Float64(a), D::Float64(b)) => float(*a, *b),
        (D::Decimal(a), D::Decimal(b)) => a.unscaled.cmp(&b.unscaled),
        (D::Str(a), D::Str(b)) => a.as_bytes().cmp(b.as_bytes()),
        (D::Timestamp(a), D::Timestamp(b)) | (D::TimestampLtz(a), D::TimestampLtz(b)) => {
            (a.millis, a.nanos).cmp(&(b.millis, b.nanos))
        }
        other => panic!("not of one type: {other:?}"),
    }
}

#[test]
fn bounds_of_random_rows_are_the_smallest_and_largest_values_or_unknown() {
    let mut bounds = 0;
    for seed in 0..1_500 {
        let mut rng = Rng::new(seed);
        let schema = Shape { columns: 20, ..Shape::default() }.schema(&mut rng);
        let rows: Vec<OwnedRow> =
            (0..1 + rng.below(12)).map(|_| random::row(&mut rng, &schema)).collect();
        let properties = BTreeMap::from([("table.statistics.columns".to_owned(), "*".to_owned())]);
        let columns = statistics_columns(&schema, &properties).expect("the property is there");
        let batch = batch(&schema, &columns, &rows);
        let told = read(&batch.statistics());
        assert!(told.iter().map(|told| told.column).eq(columns.iter().copied()), "seed {seed}");
        for Told { column, nulls, bounds: found } in &told {
            let kind = &schema.columns()[*column].data_type.kind;
            let all = rows.iter().map(|row| &row.values()[*column]);
            let values: Vec<&D> = all.filter(|value| !matches!(value, D::Null)).collect();
            let what = format!("seed {seed}, column {column}: {values:?}");
            assert_eq!(*nulls as usize, rows.len() - values.len(), "{what}");
            let Some(found) = found else {
                let long = values.iter().any(|v| matches!(v, D::Str(text) if text.len() > 128));
                assert!(values.is_empty() || long || matches!(kind, TypeKind::Char(_)), "{what}");
                continue;
            };
            bounds += 1;
            let [min, max] = found.each_ref().map(|bound| value(kind, bound));
            let is = |bound: &D| values.iter().any(|v| same(v.as_datum(), bound.as_datum()));
            assert!(is(&min) && is(&max), "{what}: {min:?} to {max:?}");
            let within = |v: &D| order(&min, v).is_le() && order(v, &max).is_le();
            assert!(values.iter().all(|v| within(v)), "{what}: {min:?} to {max:?}");
        }
    }
    assert!(bounds > 5_000, "only {bounds} bounds");
}

#[test]
fn rows_behind_statistics_come_back_under_every_compression() {
    let zstd = ArrowCompression::Zstd { level: 3 };
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let schema = Shape::default().schema(&mut rng);
        let rows: Vec<OwnedRow> = (0..25).map(|_| random::row(&mut rng, &schema)).collect();
        let all: Vec<usize> = (0..schema.columns().len()).collect();
        for compression in [ArrowCompression::None, ArrowCompression::Lz4Frame, zstd] {
            let bytes = wire(&schema, &all, &rows, compression);
            let batch = LogBatch::new_checked(bytes.into(), Check::Crc).expect("a sound batch");
            let decoder = LogDecoder::new(LogFormat::Arrow, &schema, &all).expect("all columns");
            let read = decoder.decode_rows(&batch).expect("what was written reads back");
            for (view, row) in read.iter().zip(&rows) {
                for (column, expected) in row.values().iter().enumerate() {
                    let found = view.value(column).expect("a column");
                    assert!(same(found, expected.as_datum()), "seed {seed}, column {column}");
                }
            }
        }
    }
}

#[test]
fn long_texts_and_chars_are_counted_but_bound_nothing() {
    let schema = schema(&["STRING", "CHAR(3)", "BYTES", "STRING"]);
    let text = |length: usize| D::Str("x".repeat(length));
    let row = |first: D, last: D| OwnedRow::new(vec![first, text(2), D::Bytes(vec![1]), last]);
    let rows = [row(text(128), text(129)), row(text(3), text(1)), row(D::Null, D::Null)];
    let told = read(&batch(&schema, &[0, 1, 2, 3, 9], &rows).statistics());
    let columns: Vec<(usize, i32, bool)> =
        told.iter().map(|told| (told.column, told.nulls, told.bounds.is_some())).collect();
    assert_eq!(columns, [(0, 1, true), (1, 0, false), (3, 1, false)]);
}

#[test]
fn the_property_tells_which_columns_have_statistics_and_in_which_order() {
    let schema = schema(&["INT", "BYTES", "STRING", "ARRAY<INT>", "TIMESTAMP(6)"]);
    let columns = |text: &str| {
        let name = "table.statistics.columns".to_owned();
        statistics_columns(&schema, &BTreeMap::from([(name, text.to_owned())]))
    };
    assert_eq!(statistics_columns(&schema, &BTreeMap::new()), None);
    assert_eq!(columns("*"), Some(vec![0, 2, 4]));
    assert_eq!(columns(" c4 ,c0,, c1,nobody"), Some(vec![4, 0]));
    assert_eq!(columns(""), Some(vec![]));
}

#[test]
fn a_batch_too_small_for_its_statistics_is_refused() {
    let schema = schema(&["STRING"; 100]);
    let options =
        ArrowBatchOptions { max_bytes: 20_000, max_row_bytes: 20_000, ..Default::default() };
    let builder = ArrowBatchBuilder::new(schema.clone(), options).expect("room for a row");
    let columns: Vec<usize> = (0..100).collect();
    let error = builder.with_statistics(&columns).expect_err("no room for 200 texts");
    assert!(error.to_string().contains("max_row_bytes"), "{error}");
}
