//! Random rows of random schemas, encoded and decoded again in every format: logs of ARROW, with
//! and without statistics and each compression, of INDEXED and COMPACTED rows, and batches of
//! INDEXED and COMPACTED rows with keys.
//!
//! `FLUSS_ROW_RUNS` is the number of rows that go through each of them, 20,000 by default:
//!
//! ```console
//! $ FLUSS_ROW_RUNS=1000000 \
//!     cargo test --profile heavy -p fluss-core --features testing --test random_rows
//! ```

use fluss_core::batch::{
    ArrowBatchOptions, ArrowCompression, ArrowRows, DecodeLimits, KvBatchBuilder, KvBatchOptions,
    KvFormat, KvRowEncoder, KvScratch, LogBatchBuilder, LogDecoder, LogFormat, Push, record_batch,
};
use fluss_core::rng::Rng;
use fluss_core::row::{
    Column, DataType, Datum, OwnedDatum, OwnedRow, Row, RowDecodeError, RowError, RowLayout,
    RowSink, Schema, TypeKind, compacted, indexed,
};
use fluss_core::testing::random::{self, Shape, same};
use fluss_proto::record::{Check, KvBatch, LogBatch, SealedBatch, Stamp};

const FORMATS: [LogFormat; 3] = [LogFormat::Arrow, LogFormat::Indexed, LogFormat::Compacted];
/// Rows of one schema.
const ROWS: u64 = 25;

type Decode = fn(&RowLayout, &[u8]) -> Result<OwnedRow, RowDecodeError>;

fn runs() -> u64 {
    match std::env::var("FLUSS_ROW_RUNS") {
        Ok(text) => text.parse().expect("FLUSS_ROW_RUNS is a number of rows"),
        Err(_) => 20_000,
    }
}

/// Says the seed when a test body panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("failed with seed {}", self.0);
        }
    }
}

/// Most schemas are wide, some are deep.
fn shape(rng: &mut Rng) -> Shape {
    if rng.one_in(10) {
        Shape { columns: 2, depth: 12, ..Shape::default() }
    } else {
        Shape::default()
    }
}

fn schema_and_rows(rng: &mut Rng) -> (Schema, Vec<OwnedRow>) {
    let schema = shape(rng).schema(rng);
    let rows = (0..ROWS).map(|_| random::row(rng, &schema)).collect();
    (schema, rows)
}

fn assert_same(found: impl Fn(usize) -> OwnedDatum, row: &OwnedRow, what: &str) {
    for (column, expected) in row.values().iter().enumerate() {
        let found = found(column);
        let equal = same(found.as_datum(), expected.as_datum());
        assert!(equal, "{what}, column {column}: {found:?} instead of {expected:?}");
    }
}

fn encode(layout: &RowLayout, row: &OwnedRow) -> [(Vec<u8>, Decode); 2] {
    let (mut compact, mut index) = (Vec::new(), Vec::new());
    compacted::encode(layout, row, &mut compact).expect("the row fits");
    indexed::encode(layout, row, &mut index).expect("the row fits");
    [(compact, compacted::decode), (index, indexed::decode)]
}

fn wire(sealed: &SealedBatch) -> LogBatch {
    let head = sealed.stamp(Stamp { writer_id: 9, sequence: 4 });
    let bytes = [&head[..], &sealed.payload()[..]].concat();
    LogBatch::new_checked(bytes.into(), Check::Crc).expect("the batch's own checksum")
}

fn compression(rng: &mut Rng) -> ArrowCompression {
    match rng.below(3) {
        0 => ArrowCompression::None,
        1 => ArrowCompression::Lz4Frame,
        _ => ArrowCompression::Zstd { level: 1 + rng.below(4) as i32 },
    }
}

fn sealed(rng: &mut Rng, format: LogFormat, schema: &Schema, rows: &[OwnedRow]) -> LogBatch {
    let options =
        ArrowBatchOptions { compression: compression(rng), ..ArrowBatchOptions::default() };
    let mut builder = LogBatchBuilder::new(format, schema.clone(), options).expect("valid options");
    if rng.one_in(3) {
        let all: Vec<usize> = (0..schema.columns().len()).collect();
        builder = builder.with_statistics(&all).expect("room for statistics");
    }
    for (at, row) in rows.iter().enumerate() {
        assert_eq!(builder.try_push(row), Ok(Push::Pushed(at as u32)));
        if rng.one_in(5) {
            // A row that is refused half-way leaves nothing behind.
            let mut bad = row.clone().into_values();
            let column = rng.below(bad.len() as u64) as usize;
            bad[column] = misfit(&schema.columns()[column].data_type, &bad[column]);
            let error = builder.try_push(&OwnedRow::new(bad)).expect_err("a wrong value");
            assert!(error.to_string().contains(&format!("`c{column}")), "{error}");
        }
    }
    let bound = builder.size_in_bytes();
    let sealed = builder.seal(1, Vec::new()).expect("rows to seal");
    assert!(sealed.size() <= bound, "{} bytes, {bound} were counted", sealed.size());
    wire(&sealed)
}

/// A value that no column of this type takes, wrong as deep inside as the value goes.
fn misfit(data_type: &DataType, value: &OwnedDatum) -> OwnedDatum {
    match (&data_type.kind, value) {
        (TypeKind::Array(element), OwnedDatum::Array(items)) if !items.is_empty() => {
            let mut items = items.clone();
            let last = items.len() - 1;
            items[last] = misfit(element, &items[last]);
            OwnedDatum::Array(items)
        }
        (TypeKind::Row(fields), OwnedDatum::Row(values)) => {
            let mut values = values.clone();
            let last = values.len() - 1;
            values[last] = misfit(&fields[last].data_type, &values[last]);
            OwnedDatum::Row(values)
        }
        (TypeKind::Map(_, of), OwnedDatum::Map(entries)) if !entries.is_empty() => {
            let mut entries = entries.clone();
            let last = entries.len() - 1;
            entries[last].1 = misfit(of, &entries[last].1);
            OwnedDatum::Map(entries)
        }
        (TypeKind::Boolean, _) => OwnedDatum::Str("true".to_owned()),
        _ => OwnedDatum::Bool(true),
    }
}

/// The rows with one more column, a random key, in batches of both formats; some are deleted.
fn assert_same_with_keys(rng: &mut Rng, schema: &Schema, rows: &[OwnedRow]) {
    let mut columns = schema.columns().to_vec();
    let key = Shape { depth: 0, ..Shape::default() }.data_type(rng).not_null();
    columns.push(Column::new("key", key.clone()));
    let at = columns.len() - 1;
    let schema = Schema::new(columns, vec![at]);
    let layout = RowLayout::new(&schema);
    let with_key = |row: &OwnedRow| -> OwnedRow {
        let key = random::value(rng, &key);
        row.values().iter().cloned().chain([key]).collect()
    };
    let rows: Vec<OwnedRow> = rows.iter().map(with_key).collect();
    for (format, decode) in
        [(KvFormat::Compacted, compacted::decode as Decode), (KvFormat::Indexed, indexed::decode)]
    {
        let encoder = KvRowEncoder::new(&schema, &[], &[], format).expect("a scalar key");
        let mut scratch = KvScratch::default();
        let options = KvBatchOptions::default();
        let mut builder = KvBatchBuilder::new(options, Vec::new()).expect("the limits work");
        let mut expected = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            let delete = number % 7 == 3;
            let pushed = if delete {
                encoder.encode_delete_row(row, &mut scratch).expect("the key fits");
                builder.try_push_delete(scratch.key())
            } else {
                encoder.encode(row, &mut scratch).expect("the row fits");
                builder.try_push_upsert(scratch.key(), scratch.row())
            };
            assert_eq!(pushed, Ok(Push::Pushed(number as u32)));
            expected.push((scratch.key().to_vec(), (!delete).then_some(row)));
        }
        let sealed = builder.seal(1, Vec::new()).expect("rows to seal");
        let head = sealed.stamp(Stamp { writer_id: 9, sequence: 4 });
        let bytes = [&head[..], &sealed.payload()[..]].concat();
        let batch = KvBatch::new_checked(bytes.into(), Check::Crc).expect("its own checksum");
        assert_eq!(batch.records().count(), rows.len());
        for (record, (key, row)) in batch.records().zip(expected) {
            let record = record.expect("a sound record");
            assert_eq!(record.key, key, "{format:?}");
            assert_eq!(record.row.is_some(), row.is_some(), "{format:?}");
            if let (Some(bytes), Some(row)) = (record.row, row) {
                let read = decode(&layout, &bytes).expect("what was written reads back");
                assert_same(|column| read.values()[column].clone(), row, "row with a key");
            }
        }
    }
}

#[test]
fn random_rows_come_back_as_they_were_from_every_format() {
    for seed in 0..runs().div_ceil(ROWS) {
        let _named = Seed(seed);
        let mut rng = Rng::new(seed);
        let (schema, rows) = schema_and_rows(&mut rng);
        let layout = RowLayout::new(&schema);
        for row in &rows {
            for (bytes, decode) in encode(&layout, row) {
                let read = decode(&layout, &bytes).expect("what was written reads back");
                assert_same(|column| read.values()[column].clone(), row, "row");
            }
        }
        assert_same_with_keys(&mut rng, &schema, &rows);
        let columns: Vec<usize> = (0..schema.columns().len()).collect();
        for format in FORMATS {
            let batch = sealed(&mut rng, format, &schema, &rows);
            let decoder = LogDecoder::new(format, &schema, &columns).expect("all columns");
            let read = decoder.decode_rows(&batch).expect("what was written reads back");
            assert_eq!(read.len(), rows.len());
            for (view, row) in read.iter().zip(&rows) {
                let value = |column| view.value(column).expect("a column").into();
                assert_same(value, row, "log record");
            }
        }
    }
    println!("{} rows in each of five formats", runs().div_ceil(ROWS) * ROWS);
}

#[test]
fn a_projection_gives_the_columns_asked_for_from_every_format() {
    for seed in 0..100 {
        let _named = Seed(seed);
        let mut rng = Rng::new(seed);
        let (schema, rows) = schema_and_rows(&mut rng);
        let mut columns: Vec<usize> = (0..schema.columns().len()).rev().collect();
        columns.retain(|_| !rng.one_in(3));
        let batches = FORMATS.map(|format| {
            let batch = sealed(&mut rng, format, &schema, &rows);
            let decoder = LogDecoder::new(format, &schema, &columns).expect("such columns");
            decoder.decode(&batch).expect("what was written reads back").0
        });
        assert_eq!(batches[0].num_columns(), columns.len());
        assert_eq!(batches[0], batches[1], "INDEXED gives what ARROW gives");
        assert_eq!(batches[0], batches[2], "COMPACTED gives what ARROW gives");
    }
}

/// The number of values in a value, itself included.
fn values_in(datum: Datum<'_>) -> usize {
    if let Some(items) = datum.as_items() {
        return 1 + (0..items.count()).map(|at| values_in(items.item(at))).sum::<usize>();
    }
    let Some(entries) = datum.as_entries() else { return 1 };
    let entry = |at| {
        let (key, value) = entries.entry(at);
        values_in(key) + values_in(value)
    };
    1 + (0..entries.count()).map(entry).sum::<usize>()
}

fn types_in(data_type: &DataType) -> usize {
    match &data_type.kind {
        TypeKind::Array(element) => 1 + types_in(element),
        TypeKind::Map(key, value) => 1 + types_in(key) + types_in(value),
        TypeKind::Row(fields) => 1 + fields.iter().map(|f| types_in(&f.data_type)).sum::<usize>(),
        _ => 1,
    }
}

#[test]
fn damaged_rows_end_in_errors_or_in_rows_no_larger_than_their_bytes() {
    let mut refused = 0_u64;
    for seed in 0..runs().div_ceil(ROWS) {
        let _named = Seed(seed);
        let mut rng = Rng::new(seed ^ 0xda3a6e);
        let schema = shape(&mut rng).schema(&mut rng);
        let types: usize = schema.columns().iter().map(|c| types_in(&c.data_type)).sum();
        let layout = RowLayout::new(&schema);
        let row = random::row(&mut rng, &schema);
        for (intact, decode) in encode(&layout, &row) {
            let cut = rng.below(intact.len() as u64) as usize;
            assert!(decode(&layout, &intact[..cut]).is_err(), "cut after {cut} bytes");
            for _ in 0..30 {
                let mut bytes = intact.clone();
                for _ in 0..=rng.below(3) {
                    let at = rng.below(bytes.len() as u64) as usize;
                    bytes[at] = match rng.below(4) {
                        0 => 0xff,
                        1 => 0,
                        2 => bytes[at].wrapping_add(8),
                        _ => rng.next_u64() as u8,
                    };
                }
                match decode(&layout, &bytes) {
                    Err(_) => refused += 1,
                    Ok(row) => {
                        let values: usize =
                            row.values().iter().map(|value| values_in(value.as_datum())).sum();
                        assert!(values <= types * (1 + bytes.len()), "{values} values");
                    }
                }
            }
        }
    }
    assert!(refused > runs() / 10, "only {refused} damaged rows were noticed");
}

#[test]
fn damaged_log_batches_never_lead_to_a_panic() {
    let limits = DecodeLimits { max_batch_bytes: 1 << 20 };
    let mut refused = 0_u64;
    for seed in 0..runs().div_ceil(ROWS * 8) {
        let _named = Seed(seed);
        let mut rng = Rng::new(seed ^ 0xbad_ba7c4);
        let (schema, rows) = schema_and_rows(&mut rng);
        let columns: Vec<usize> = (0..schema.columns().len()).collect();
        for format in FORMATS {
            let decoder = LogDecoder::new(format, &schema, &columns).expect("all columns");
            let decoder = decoder.with_limits(limits);
            let intact = sealed(&mut rng, format, &schema, &rows).bytes().to_vec();
            for _ in 0..30 {
                let mut bytes = intact.clone();
                for _ in 0..=rng.below(3) {
                    let at = 48 + rng.below(bytes.len() as u64 - 48) as usize;
                    bytes[at] = rng.next_u64() as u8;
                }
                let Ok(batch) = LogBatch::new_checked(bytes.into(), Check::Structure) else {
                    continue;
                };
                match decoder.decode_rows(&batch) {
                    Err(_) => refused += 1,
                    Ok(rows) => rows.iter().for_each(|row| {
                        columns.iter().for_each(|column| drop(row.value(*column)));
                    }),
                }
            }
        }
    }
    assert!(refused > runs() / 20, "only {refused} damaged batches were noticed");
}

/// Collects what a row puts.
#[derive(Default)]
struct Collected(Vec<OwnedDatum>);

impl RowSink for Collected {
    type Error = RowError;

    fn put(&mut self, datum: Datum<'_>) -> Result<(), RowError> {
        self.0.push(datum.into());
        Ok(())
    }
}

#[test]
fn rows_come_back_out_of_the_record_batch_that_was_made_of_them() {
    for seed in 0..runs() / ROWS {
        let told = Seed(seed);
        let mut rng = Rng::new(told.0);
        let (schema, rows) = schema_and_rows(&mut rng);
        let batch = record_batch(&schema, &rows).expect("rows that fit");
        let from = rng.below(ROWS) as usize;
        let back = ArrowRows::new(&schema, &batch.slice(from, rows.len() - from));
        let back = back.expect("columns of the schema");
        assert_eq!(back.len(), rows.len() - from);
        for (found, row) in back.iter().zip(&rows[from..]) {
            let mut values = Collected::default();
            found.write(&mut values).expect("it takes everything");
            assert_same(|column| values.0[column].clone(), row, "through columns");
        }
    }
}
