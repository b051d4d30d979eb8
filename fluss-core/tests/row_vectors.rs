//! Rows, keys and KV batches against bytes that the Java classes made.

use bytes::Bytes;
use fluss_core::batch::{
    ArrowBatchOptions, KvBatchBuilder, KvBatchOptions, KvFormat, KvRowEncoder, KvScratch,
    LogBatchBuilder, LogDecoder, LogFormat,
};
use fluss_core::row::key::KeyEncoder;
use fluss_core::row::{
    DataType, Datum, Decimal, OwnedDatum, OwnedRow, RowLayout, Schema, Timestamp, compacted,
    indexed,
};
use fluss_core::{batch::Push, row};
use fluss_proto::record::{ChangeType, Check, KvBatch, LogBatch, LogBatches, SealedBatch, Stamp};

/// Scalar fields before the nested ones.
const SCALARS: usize = 19;
/// Fields of the row that is a key in the vectors: all but the last two.
const KEY: usize = 23;

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

fn array(items: impl IntoIterator<Item = OwnedDatum>) -> OwnedDatum {
    OwnedDatum::Array(items.into_iter().collect())
}

fn text(text: &str) -> OwnedDatum {
    OwnedDatum::Str(text.to_owned())
}

/// The whole all-types row.
fn all_values(nanos: u32) -> Vec<OwnedDatum> {
    use OwnedDatum::{Float32, Int32, Null};
    let int = |value: Option<i32>| value.map_or(Null, Int32);
    let numbers = [1, 2, 3, 4, 5, -11].map(Some);
    let numbers = numbers.into_iter().chain([None, Some(444), Some(102_234)]);
    let floats = [0.1, 1.1, -0.5, 6.6, f32::MAX, f32::from_bits(1)];
    let lists = [array([text("a"), Null, text("c")]), Null, array([text("hello"), text("world")])];
    let map = [(0, Null), (1, text("1")), (2, text("2"))];
    let mut values = scalars(nanos);
    values.extend([
        array(numbers.map(int)),
        array(floats.map(Float32)),
        array(lists),
        OwnedDatum::Map(map.map(|(key, value)| (Int32(key), value)).into()),
        OwnedDatum::Row(vec![Int32(123), OwnedDatum::Row(vec![Int32(22)]), text("Test")]),
        Null,
    ]);
    values
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
fn the_all_types_rows_are_the_servers() {
    let layout = RowLayout::new(&schema(&ALL_TYPES));
    let mut values = all_values(45_600);
    let row = OwnedRow::new(values.clone());
    let mut written = Vec::new();
    compacted::encode(&layout, &row, &mut written).expect("the row fits");
    let bytes = vector("generated/row_compacted_all_types");
    assert_eq!(written, bytes);
    assert_eq!(compacted::decode(&layout, &bytes).expect("a sound row").values(), values);

    written.clear();
    indexed::encode(&layout, &row, &mut written).expect("the row fits");
    let bytes = vector("generated/row_indexed_all_types");
    assert_eq!(written, bytes);
    // Filled up where it is written, a BINARY comes back with the length of its type.
    values[9] = OwnedDatum::Bytes(b"1234567890\0\0\0\0\0\0\0\0\0\0".to_vec());
    let read = indexed::decode(&layout, &bytes).expect("a sound row");
    assert_eq!(read.values(), values);
}

#[test]
fn all_fields_of_the_encoded_key_are_the_servers() {
    let bytes = vector("fixtures/encoded_key");
    let layout = RowLayout::new(&schema(&ALL_TYPES[..KEY]));
    let values = all_values(0)[..KEY].to_vec();
    let mut written = Vec::new();
    compacted::encode(&layout, &OwnedRow::new(values), &mut written).expect("the row fits");
    let (nulls, fields) = written.split_at(KEY.div_ceil(8));
    assert_eq!((nulls, fields), (&[0; 3][..], &bytes[..]), "a key has no null bits");

    // Keys of tables have no nested fields; the others stand in front here.
    let schema = schema(&ALL_TYPES[..SCALARS]);
    let columns: Vec<usize> = (0..SCALARS).collect();
    let encoder = KeyEncoder::new(&schema, &columns).expect("scalar columns");
    let mut key = Vec::new();
    encoder.encode(&datums(&scalars(0)), &mut key).expect("the row fits");
    assert_eq!(&bytes[..key.len()], key);
}

#[derive(Clone, Copy)]
enum Format {
    Compacted,
    Indexed,
}

/// Encodes a row to these bytes, and decodes it again.
fn check_row(format: Format, types: &[&str], row: &[Datum<'_>], expected: &str) {
    let layout = RowLayout::new(&schema(types));
    let mut bytes = Vec::new();
    let (written, read) = match format {
        Format::Compacted => {
            let written = compacted::encode(&layout, row, &mut bytes);
            (written, compacted::decode(&layout, &bytes))
        }
        Format::Indexed => {
            let written = indexed::encode(&layout, row, &mut bytes);
            (written, indexed::decode(&layout, &bytes))
        }
    };
    written.expect("the row fits");
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expected, "{types:?}");
    assert_eq!(datums(read.expect("a sound row").values()), row, "{types:?}");
}

#[test]
fn compacted_arrays_are_those_of_the_java_classes() {
    let wide = Decimal::new(10, 0);
    let time = Timestamp { millis: 1000, nanos: 1 };
    let pair = row![1, "a"];
    let pair = [Datum::Row(&pair)];
    check_row(
        Format::Compacted,
        &["ARRAY<INT>"],
        &row![Datum::Array(&[Some(1), None, Some(3)])],
        "0018030000000200000001000000000000000300000000000000",
    );
    check_row(
        Format::Compacted,
        &["ARRAY<STRING>"],
        &row![Datum::Array(&[Some("a"), Some("longer text"), None])],
        "0030030000000400000061000000000000810b0000002000000000000000000000006c6f\
             6e67657220746578740000000000",
    );
    check_row(
        Format::Compacted,
        &["ARRAY<BOOLEAN>"],
        &row![Datum::Array(&[true, false, true])],
        "001003000000000000000100010000000000",
    );
    check_row(
        Format::Compacted,
        &["ARRAY<SMALLINT>"],
        &row![Datum::Array(&[1_i16, -1])],
        "001002000000000000000100ffff00000000",
    );
    check_row(
        Format::Compacted,
        &["ARRAY<DECIMAL(20,0)>"],
        &row![Datum::Array(&[Some(wide), None])],
        "00280200000002000000010000001800000000000000000000000a000000000000000000\
             000000000000",
    );
    check_row(
        Format::Compacted,
        &["ARRAY<TIMESTAMP(6)>"],
        &row![Datum::Array(&[time])],
        "001801000000000000000100000010000000e803000000000000",
    );
    check_row(
        Format::Compacted,
        &["ARRAY<ARRAY<INT>>"],
        &row![Datum::Array(&[[7]])],
        "00200100000000000000100000001000000001000000000000000700000000000000",
    );
    check_row(
        Format::Compacted,
        &["ARRAY<ROW<a INT, b STRING>>"],
        &row![Datum::Array(&pair)],
        "0018010000000000000004000000100000000001016100000000",
    );
    check_row(
        Format::Compacted,
        &["ARRAY<STRING>"],
        &row![Datum::Array(&[None::<&str>])],
        "001001000000010000000000000000000000",
    );
}

#[test]
fn compacted_maps_and_rows_are_those_of_the_java_classes() {
    let wide = Decimal::new(10, 0);
    check_row(
        Format::Compacted,
        &["MAP<INT, STRING>"],
        &row![Datum::Map(&[(1, "a"), (2, "b")])],
        "002c10000000020000000000000001000000020000000200000000000000610000000000\
             00816200000000000081",
    );
    check_row(
        Format::Compacted,
        &["MAP<STRING, INT>"],
        &row![Datum::Map(&[("k1", Some(10)), ("k2", None), ("k3", Some(30))])],
        "003c2000000003000000000000006b310000000000826b320000000000826b3300000000\
             008203000000020000000a000000000000001e00000000000000",
    );
    check_row(
        Format::Compacted,
        &["MAP<INT, DECIMAL(20,0)>"],
        &row![Datum::Map(&[(1, wide)])],
        "003410000000010000000000000001000000000000000100000000000000010000001000\
             00000a000000000000000000000000000000",
    );
    check_row(
        Format::Compacted,
        &["ROW<a INT, b STRING>"],
        &row![Datum::Row(&row![42, "hello"])],
        "0008002a0568656c6c6f",
    );
    check_row(
        Format::Compacted,
        &["INT", "ROW<a INT, b STRING>"],
        &row![Datum::Int32(1), Datum::Row(&row![Datum::Null, "z"])],
        "00010301017a",
    );
}

#[test]
fn indexed_nested_values_are_those_of_the_java_classes() {
    check_row(
        Format::Indexed,
        &["ARRAY<INT>", "INT"],
        &row![Datum::Array(&[Some(1), None, Some(3)]), Datum::Int32(9)],
        "001800000003000000020000000100000000000000030000000000000009000000",
    );
    check_row(
        Format::Indexed,
        &["MAP<INT, INT>"],
        &row![Datum::Map(&[(1, 2)])],
        "002400000010000000010000000000000001000000000000000100000000000000020000\
             0000000000",
    );
    check_row(
        Format::Indexed,
        &["ROW<a INT, b STRING>"],
        &row![Datum::Row(&row![5, "q"])],
        "000a00000000010000000500000071",
    );
}

#[test]
fn what_a_used_java_encoder_leaves_in_the_slot_of_a_null_is_not_looked_at() {
    let nulls = [0, 16, 1, 0, 0, 0, 1, 0, 0, 0];
    let bytes = [&nulls[..], b"abc\0\0\0\0\x83"].concat();
    let layout = RowLayout::new(&schema(&["ARRAY<STRING>"]));
    let row = compacted::decode(&layout, &bytes).expect("a sound row");
    assert_eq!(row.values(), [array([OwnedDatum::Null])]);
}

fn log_batch(name: &str) -> LogBatch {
    LogBatch::new_checked(vector(name).into(), Check::Crc).expect("a sound header")
}

#[test]
fn log_batches_of_rows_are_the_servers() {
    let schema = schema(&["INT", "STRING"]);
    let options = ArrowBatchOptions::default();
    for (format, name, rows) in [
        (
            LogFormat::Indexed,
            "generated/log_v0_indexed_append",
            [row![10, "abc"], row![Datum::Null, "é"]],
        ),
        (
            LogFormat::Compacted,
            "generated/log_v0_compacted_append",
            [row![300, "abc"], row![-1, Datum::Null]],
        ),
    ] {
        let mut builder = LogBatchBuilder::new(format, schema.clone(), options).expect("limits");
        for (index, row) in (0..).zip(&rows) {
            assert_eq!(builder.try_push(row), Ok(Push::Pushed(index)));
        }
        let batch = builder.seal(1, Vec::new()).expect("two rows");
        let stamp = Stamp { writer_id: 100, sequence: 7 };
        assert_eq!(stamped(&batch, stamp), vector(name));

        let decoder = LogDecoder::new(format, &schema, &[0, 1]).expect("all columns");
        let read = decoder.decode_rows(&log_batch(name)).expect("a sound batch");
        for (view, row) in read.iter().zip(rows) {
            assert_eq!([view.value(0), view.value(1)], row.map(Ok));
            assert_eq!(view.change_type(), ChangeType::Append);
        }
        assert_eq!(read.iter().map(|row| row.offset()).collect::<Vec<_>>(), [0, 1]);
    }
}

#[test]
fn rows_of_a_fetched_answer_are_read_up_to_its_cut() {
    let schema = schema(&["INT", "STRING"]);
    let decoder = LogDecoder::new(LogFormat::Compacted, &schema, &[0, 1]).expect("all columns");
    let mut batches = LogBatches::new(vector("generated/fetch_truncated_tail").into());
    let mut rows = Vec::new();
    let mut next = 0;
    for batch in &mut batches {
        let batch = batch.expect("a sound batch");
        next = batch.next_offset();
        let read = decoder.decode_rows(&batch).expect("a sound batch");
        rows.extend(
            read.iter().map(|row| (row.offset(), row.value(0).expect("a column").as_i64())),
        );
    }
    assert_eq!(rows, [(40, Some(300)), (41, Some(-1))]);
    assert_eq!((next, batches.rest().len()), (43, 30));
}

#[test]
fn a_hostile_length_within_a_record_is_a_typed_error() {
    let schema = schema(&["INT", "STRING"]);
    let decoder = LogDecoder::new(LogFormat::Indexed, &schema, &[0, 1]).expect("all columns");
    let error = decoder.decode(&log_batch("hostile/indexed_var_len")).expect_err("2 GiB of text");
    assert!(error.is_corrupt(), "{error}");
    assert!(error.to_string().contains("column `c1` is damaged: the bytes end"), "{error}");
    let decoder = LogDecoder::new(LogFormat::Compacted, &schema, &[0, 1]).expect("all columns");
    let error = decoder.decode(&log_batch("hostile/compacted_record_len_negative"));
    assert!(error.expect_err("a negative length").is_corrupt());
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
