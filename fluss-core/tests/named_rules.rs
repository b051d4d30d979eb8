//! What the exchange of tables with the published Java client leaves out, as that client or its
//! server gets it wrong: here this client alone has to get it right. Each test begins with the name
//! of its rule.

use fluss_core::batch::{ArrowBatchOptions, LogBatchBuilder, LogDecoder, LogFormat, Push};
use fluss_core::row::{Column, OwnedDatum as D, OwnedRow, RowLayout, Schema, Timestamp};
use fluss_core::row::{compacted, indexed};
use fluss_core::testing::random::same;
use fluss_proto::record::{Check, LogBatch, Stamp};

const FORMATS: [LogFormat; 3] = [LogFormat::Arrow, LogFormat::Indexed, LogFormat::Compacted];

fn schema(data_type: &str) -> Schema {
    Schema::new(vec![Column::new("c", data_type.parse().expect("a type"))], vec![])
}

/// The value after a log batch of this format was written and read.
fn through_log(format: LogFormat, data_type: &str, value: &D) -> D {
    let schema = schema(data_type);
    let options = ArrowBatchOptions::default();
    let mut builder = LogBatchBuilder::new(format, schema.clone(), options).expect("options");
    let row = OwnedRow::new(vec![value.clone()]);
    assert_eq!(builder.try_push(&row), Ok(Push::Pushed(0)), "{data_type}");
    let sealed = builder.seal(1, Vec::new()).expect("a row to seal");
    let head = sealed.stamp(Stamp::NONE);
    let wire = [&head[..], &sealed.payload()[..]].concat();
    let batch = LogBatch::new_checked(wire.into(), Check::Crc).expect("a sound batch");
    let decoder = LogDecoder::new(format, &schema, &[0]).expect("one column");
    let rows = decoder.decode_rows(&batch).expect("what was written reads back");
    let view = rows.row(0).expect("a row");
    view.value(0).expect("a column").into()
}

/// The value after a row of a KV format was written and read.
fn through_rows(data_type: &str, value: &D) -> [D; 2] {
    let layout = RowLayout::new(&schema(data_type));
    let row = OwnedRow::new(vec![value.clone()]);
    let (mut compact, mut index) = (Vec::new(), Vec::new());
    compacted::encode(&layout, &row, &mut compact).expect("the row fits");
    indexed::encode(&layout, &row, &mut index).expect("the row fits");
    let compact = compacted::decode(&layout, &compact).expect("a row").into_values().remove(0);
    let index = indexed::decode(&layout, &index).expect("a row").into_values().remove(0);
    [compact, index]
}

fn comes_back(data_type: &str, value: &D) {
    let mut found = FORMATS.map(|format| through_log(format, data_type, value)).to_vec();
    found.extend(through_rows(data_type, value));
    for found in found {
        assert!(same(found.as_datum(), value.as_datum()), "{data_type}: {found:?}, not {value:?}");
    }
}

#[test]
fn map_order_the_entries_of_a_map_keep_their_order_in_every_format() {
    let entry = |key: i32| (D::Int32(key), D::Str(format!("value {key}")));
    comes_back("MAP<INT, STRING>", &D::Map([7, -1, 3, 0].map(entry).to_vec()));
}

#[test]
fn nested_char_elements_shorter_than_their_type_come_back_in_every_format() {
    let texts = ["a", "abcd", "", "é"].map(|text| D::Str(text.to_owned()));
    comes_back("ARRAY<CHAR(4)>", &D::Array(texts.to_vec()));
    let entry = (texts[0].clone(), texts[3].clone());
    comes_back("MAP<CHAR(4) NOT NULL, CHAR(4)>", &D::Map(vec![entry]));
}

#[test]
fn before_1970_parts_of_a_millisecond_come_back_in_every_format() {
    for nanos in [1_000, 999_000] {
        for millis in [-1, -1_748_662_955_428] {
            comes_back("TIMESTAMP(6)", &D::Timestamp(Timestamp { millis, nanos }));
            comes_back("TIMESTAMP_LTZ(9)", &D::TimestampLtz(Timestamp { millis, nanos }));
        }
    }
}

#[test]
fn full_binary_a_value_shorter_than_its_type_is_refused_by_every_log() {
    for format in FORMATS {
        let options = ArrowBatchOptions::default();
        let schema = schema("BINARY(4)");
        let mut builder = LogBatchBuilder::new(format, schema, options).expect("options");
        let error = builder.try_push(&OwnedRow::new(vec![D::Bytes(vec![1, 2, 3])]));
        let text = error.expect_err("three bytes").to_string();
        assert!(text.contains("`c`") && text.contains("length"), "{text}");
    }
}

#[test]
fn last_byte_zeros_at_the_end_of_bytes_come_back_in_every_format() {
    comes_back("BYTES", &D::Bytes(vec![1, 0, 0]));
    comes_back("ARRAY<BYTES>", &D::Array(vec![D::Bytes(vec![0; 9])]));
    // Java's readers take those of an INDEXED row for padding; here a BINARY has its whole length.
    comes_back("BINARY(2)", &D::Bytes(vec![1, 0]));
}

#[test]
fn one_nan_every_nan_keeps_its_bits_in_every_format() {
    for bits in [0x7fc0_0001, 0xffc0_0000, 0x7f80_0001] {
        let value = D::Float32(f32::from_bits(bits));
        comes_back("FLOAT", &value);
        comes_back("ARRAY<FLOAT>", &D::Array(vec![value]));
    }
    comes_back("DOUBLE", &D::Float64(f64::from_bits(0x7ff8_0000_0000_0042)));
}
