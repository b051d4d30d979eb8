//! Rows, keys and KV batches against bytes that the Java classes made.
//!
//! The all-types row has 25 fields of which five are nested; those five and the nested end of the
//! key vector wait for ARRAY, MAP and ROW in the row formats. Until then the scalar fields are
//! compared, all of them, where they stand in the vectors.

use bytes::Bytes;
use fluss_core::batch::{KvBatchBuilder, KvBatchOptions, KvFormat, KvRowEncoder, KvScratch};
use fluss_core::row::key::KeyEncoder;
use fluss_core::row::{
    DataType, Datum, Decimal, OwnedDatum, RowLayout, Schema, Timestamp, compacted, indexed,
};
use fluss_core::{batch::Push, row};
use fluss_proto::record::{Check, KvBatch, SealedBatch, Stamp};

/// Scalar fields before the nested ones.
const SCALARS: usize = 19;
/// Nested fields.
const NESTED: std::ops::Range<usize> = 19..24;

fn vector(name: &str) -> Vec<u8> {
    let root = env!("CARGO_MANIFEST_DIR");
    let path = format!("{root}/../fluss-proto/tests/vectors/{name}.hex");
    let text = std::fs::read_to_string(&path).expect("the vector is there");
    let digits = text.trim();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}

fn schema(types: &[&str]) -> Schema {
    let builder = types.iter().enumerate().fold(Schema::builder(), |builder, (index, text)| {
        let data_type: DataType = text.parse().expect("a type");
        builder.column(format!("c{index}"), data_type)
    });
    builder.build().expect("a schema")
}

const ALL_TYPES: [&str; 25] = [
    "BOOLEAN NOT NULL",
    "TINYINT NOT NULL",
    "SMALLINT NOT NULL",
    "INT NOT NULL",
    "BIGINT NOT NULL",
    "FLOAT NOT NULL",
    "DOUBLE NOT NULL",
    "DATE NOT NULL",
    "TIME(0) NOT NULL",
    "BINARY(20) NOT NULL",
    "BYTES NOT NULL",
    "CHAR(2) NOT NULL",
    "STRING NOT NULL",
    "DECIMAL(5,2) NOT NULL",
    "DECIMAL(20,0) NOT NULL",
    "TIMESTAMP(1) NOT NULL",
    "TIMESTAMP(5) NOT NULL",
    "TIMESTAMP_LTZ(1) NOT NULL",
    "TIMESTAMP_LTZ(5) NOT NULL",
    "ARRAY<INT> NOT NULL",
    "ARRAY<FLOAT NOT NULL> NOT NULL",
    "ARRAY<ARRAY<STRING>> NOT NULL",
    "MAP<INT NOT NULL, STRING> NOT NULL",
    "ROW<u1 INT, u2 ROW<v1 INT>, u3 STRING>",
    "STRING",
];

/// The scalar values of the all-types row; the key vector has no nanoseconds.
fn scalars(nanos: u32) -> Vec<OwnedDatum> {
    let millis = Timestamp::from_millis(1_698_235_273_182);
    let time = Timestamp { nanos, ..millis };
    vec![
        OwnedDatum::Bool(true),
        OwnedDatum::Int8(2),
        OwnedDatum::Int16(10),
        OwnedDatum::Int32(100),
        OwnedDatum::Int64(-6_101_065_172_474_983_726),
        OwnedDatum::Float32(13.2),
        OwnedDatum::Float64(15.21),
        OwnedDatum::Date(19_655),
        OwnedDatum::Time(34_200_000),
        OwnedDatum::Bytes(b"1234567890".to_vec()),
        OwnedDatum::Bytes(b"20".to_vec()),
        OwnedDatum::Str("1".to_owned()),
        OwnedDatum::Str("hello".to_owned()),
        OwnedDatum::Decimal(Decimal::new(9, 2)),
        OwnedDatum::Decimal(Decimal::new(10, 0)),
        OwnedDatum::Timestamp(millis),
        OwnedDatum::Timestamp(time),
        OwnedDatum::TimestampLtz(millis),
        OwnedDatum::TimestampLtz(time),
    ]
}

fn datums(values: &[OwnedDatum]) -> Vec<Datum<'_>> {
    values.iter().map(OwnedDatum::as_datum).collect()
}

#[test]
fn the_sample_row_is_the_servers() {
    let layout = RowLayout::new(&schema(&["INT", "STRING"]));
    let bytes = vector("generated/row_compacted_sample");
    let mut written = Vec::new();
    compacted::encode(&layout, &(300, "abc"), &mut written).expect("the row fits");
    assert_eq!(written, bytes);
    let read = compacted::decode(&layout, &bytes).expect("a sound row");
    assert_eq!(datums(read.values()), row![300, "abc"]);
}

#[test]
fn every_scalar_of_the_compacted_all_types_row_is_the_servers() {
    let bytes = vector("generated/row_compacted_all_types");
    let values = scalars(45_600);
    let layout = RowLayout::new(&schema(&ALL_TYPES[..SCALARS]));
    let mut written = Vec::new();
    compacted::encode(&layout, &datums(&values), &mut written).expect("the row fits");
    let body = &written[SCALARS.div_ceil(8)..];
    let nulls = ALL_TYPES.len().div_ceil(8);
    assert_eq!(&bytes[nulls..nulls + body.len()], body);
    assert_eq!(bytes[3], 1, "only the 25th field is null");

    let whole = RowLayout::new(&schema(&ALL_TYPES));
    let mut reader = compacted::CompactedReader::new(&whole, &bytes).expect("long enough");
    for value in &values {
        let read = reader.next_datum().expect("a sound value");
        assert_eq!(read.map(OwnedDatum::from).as_ref(), Some(value));
    }
    // Waits for nested types: the error is typed and names the column.
    let error = reader.next_datum().expect_err("an ARRAY");
    assert_eq!(error.column, NESTED.start);
}

#[test]
fn every_scalar_of_the_indexed_all_types_row_is_the_servers() {
    let bytes = vector("generated/row_indexed_all_types");
    let values = scalars(45_600);
    let layout = RowLayout::new(&schema(&ALL_TYPES[..SCALARS]));
    let mut written = Vec::new();
    indexed::encode(&layout, &datums(&values), &mut written).expect("the row fits");
    // Three of the scalars have lengths: BYTES, STRING, DECIMAL(20,0).
    let (nulls, lengths) = (SCALARS.div_ceil(8), 3 * 4);
    let body = &written[nulls + lengths..];
    // In the whole row, the null bits are four bytes and six more lengths follow: those of the
    // five nested values and the place of the null STRING.
    let at = ALL_TYPES.len().div_ceil(8);
    assert_eq!(&bytes[at..at + lengths], &written[nulls..nulls + lengths]);
    let values_at = at + lengths + (NESTED.len() + 1) * 4;
    assert_eq!(&bytes[values_at..values_at + body.len()], body);

    let whole = RowLayout::new(&schema(&ALL_TYPES));
    let mut reader = indexed::IndexedReader::new(&whole, &bytes).expect("long enough");
    for value in &values {
        let read = reader.next_datum().expect("a sound value");
        assert_eq!(read.map(OwnedDatum::from).as_ref(), Some(value));
    }
}

#[test]
fn every_scalar_of_the_encoded_key_is_the_servers() {
    let bytes = vector("fixtures/encoded_key");
    let schema = schema(&ALL_TYPES[..SCALARS]);
    let columns: Vec<usize> = (0..SCALARS).collect();
    let encoder = KeyEncoder::new(&schema, &columns).expect("scalar columns");
    let mut key = Vec::new();
    encoder.encode(&datums(&scalars(0)), &mut key).expect("the row fits");
    assert_eq!(&bytes[..key.len()], key);
    // What follows is the first nested field: 48 bytes, an array of nine elements.
    assert_eq!(&bytes[key.len()..key.len() + 2], [48, 9]);
}

fn stamped(batch: &SealedBatch, stamp: Stamp) -> Vec<u8> {
    [&batch.stamp(stamp)[..], &batch.payload()[..]].concat()
}

#[test]
fn compacted_kv_batches_are_the_servers() {
    let schema = Schema::builder()
        .column("a", DataType::INT)
        .column("b", DataType::STRING)
        .primary_key(["a"])
        .build()
        .expect("a schema");
    let encoder = KvRowEncoder::new(&schema, &[], &[], KvFormat::Compacted).expect("an encoder");
    let options = KvBatchOptions::default();
    let mut builder = KvBatchBuilder::new(options, Vec::new()).expect("the limits work");
    let mut scratch = KvScratch::default();
    encoder.encode(&(1, "one"), &mut scratch).expect("the row fits");
    let pushed = builder.try_push_upsert(scratch.key(), scratch.row());
    assert_eq!(pushed, Ok(Push::Pushed(0)));
    encoder.encode_delete(&(2,), &mut scratch).expect("the key fits");
    assert_eq!(builder.try_push_delete(scratch.key()), Ok(Push::Pushed(1)));
    assert_eq!(builder.size_in_bytes(), 46);
    let batch = builder.seal(1, Vec::new()).expect("two records");
    let stamp = Stamp { writer_id: 100, sequence: 3 };
    assert_eq!(stamped(&batch, stamp), vector("generated/kv_v0_compacted"));
}

#[test]
fn indexed_kv_batches_are_the_servers() {
    let layout = RowLayout::new(&schema(&["INT", "STRING"]));
    let mut row = Vec::new();
    indexed::encode(&layout, &(1, "one"), &mut row).expect("the row fits");
    let options = KvBatchOptions::default();
    let mut builder = KvBatchBuilder::new(options, Vec::new()).expect("the limits work");
    assert_eq!(builder.try_push_upsert(&[1], &row), Ok(Push::Pushed(0)));
    assert_eq!(builder.try_push_delete(&[0x61; 200]), Ok(Push::Pushed(1)));
    let batch = builder.seal(1, Vec::new()).expect("two records");
    let bytes = vector("generated/kv_v0_indexed");
    assert_eq!(stamped(&batch, Stamp::NONE), bytes);

    let read = KvBatch::new_checked(Bytes::from(bytes), Check::Crc).expect("a sound batch");
    let first = read.records().next().expect("two records").expect("a sound record");
    let row = indexed::decode(&layout, &first.row.expect("an upsert")).expect("a sound row");
    assert_eq!(datums(row.values()), row![1, "one"]);
}

#[test]
fn rows_of_a_value_batch_read_by_their_own_schema() {
    use fluss_proto::record::ValueBatch;
    let layout = RowLayout::new(&schema(&["INT", "STRING"]));
    let bytes = Bytes::from(vector("generated/value_batch"));
    let batch = ValueBatch::new_checked(bytes).expect("a sound batch");
    let mut rows = Vec::new();
    for value in batch.values() {
        let value = value.expect("a sound value");
        let row = compacted::decode(&layout, &value.row).expect("a sound row");
        rows.push((value.schema_id, row));
    }
    assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(datums(rows[0].1.values()), row![1, "one"]);
    assert_eq!(datums(rows[1].1.values()), row![2, Datum::Null]);
    let empty = Bytes::from(vector("generated/value_batch_empty"));
    assert_eq!(ValueBatch::new_checked(empty).expect("a sound batch").values().count(), 0);
}
