use super::*;
use crate::batch::LogDecoder;
use crate::row;
use crate::row::{DataType, Datum, Decimal, OwnedDatum, RowSink, Timestamp, TypeKind};
use fluss_proto::record::{Check, LogBatch, Stamp};

fn schema() -> Schema {
    Schema::builder()
        .column("a", DataType::INT.not_null())
        .column("b", DataType::STRING)
        .build()
        .expect("a schema")
}

fn builder(format: LogFormat, max_bytes: usize, max_row_bytes: usize) -> LogBatchBuilder {
    let options = ArrowBatchOptions { max_bytes, max_row_bytes, ..ArrowBatchOptions::default() };
    LogBatchBuilder::new(format, schema(), options).expect("the limits work")
}

#[test]
fn a_batch_of_rows_is_full_at_its_limit_and_not_before() {
    // A record: four bytes of length, the change type, null bits, the number, the text's length.
    let mut builder = builder(LogFormat::Compacted, 48 + 22, 100);
    assert_eq!(builder.try_push(&row![1, "abc"]), Ok(Push::Pushed(0)));
    assert_eq!(builder.size_in_bytes(), 59);
    assert_eq!(builder.try_push(&row![1, "abcd"]), Ok(Push::Full));
    assert_eq!((builder.len(), builder.size_in_bytes()), (1, 59));
    assert_eq!(builder.try_push(&row![1, "abc"]), Ok(Push::Pushed(1)));
    let sealed = builder.seal(1, Vec::new()).expect("two rows");
    assert_eq!((sealed.size(), sealed.record_count()), (70, 2));
    assert!(builder.is_empty());
    assert!(matches!(builder.seal(1, Vec::new()), Err(BatchError::Empty)));
}

#[test]
fn the_first_row_may_exceed_the_batch_but_not_the_row_limit() {
    let mut builder = builder(LogFormat::Indexed, 60, 80);
    assert_eq!(builder.try_push(&row![1, "0123456789abcdef"]), Ok(Push::Pushed(0)));
    assert_eq!(builder.try_push(&row![1, "0123456789abcdef"]), Ok(Push::Full));
    let error = builder.try_push(&row![1, "0123456789abcdefghi"]);
    assert_eq!(error, Err(RowError::too_large(81, 80)));
    assert_eq!(builder.len(), 1);
    builder.clear();
    assert_eq!((builder.len(), builder.size_in_bytes()), (0, 48));
}

#[test]
fn a_refused_row_leaves_no_trace_in_any_format() {
    for format in [LogFormat::Arrow, LogFormat::Indexed, LogFormat::Compacted] {
        let mut builder = builder(format, 1000, 1000);
        builder.try_push(&row![1, "a"]).expect("a row that fits");
        let size = builder.size_in_bytes();
        let error = builder.try_push(&row![Datum::Null, "a"]).expect_err("null in NOT NULL");
        assert!(error.to_string().contains("`a`: INT NOT NULL"), "{error}");
        assert_eq!((builder.len(), builder.size_in_bytes()), (1, size));
        let sealed = builder.seal(1, vec![1; 9]).expect("a row");
        let bytes = [&sealed.stamp(Stamp::NONE)[..], &sealed.payload()[..]].concat();
        let batch = LogBatch::new_checked(bytes.into(), Check::Crc).expect("a sound batch");
        assert_eq!(batch.record_count(), 1);
    }
}

/// A row whose code panics behind its first value.
struct Bomb;

impl Row for Bomb {
    fn arity(&self) -> usize {
        2
    }

    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.put_i32(7)?;
        panic!("the row's own panic")
    }
}

#[test]
fn a_row_that_panics_leaves_no_trace_in_any_format() {
    for format in [LogFormat::Arrow, LogFormat::Indexed, LogFormat::Compacted] {
        for behind in [0, 1] {
            let mut builder = builder(format, 1000, 1000);
            builder.try_push(&row![1, "a"]).expect("a row that fits");
            let caught = std::panic::AssertUnwindSafe(|| builder.try_push(&Bomb));
            assert!(std::panic::catch_unwind(caught).is_err());
            for _ in 0..behind {
                builder.try_push(&row![2, "b"]).expect("a row that fits");
            }
            let size = builder.size_in_bytes();
            let sealed = builder.seal(1, Vec::new()).expect("a row");
            assert!(sealed.size() <= size, "{format:?}: {} of {size}", sealed.size());
            let bytes = [&sealed.stamp(Stamp::NONE)[..], &sealed.payload()[..]].concat();
            let batch = LogBatch::new_checked(bytes.into(), Check::Crc).expect("a sound batch");
            let schema = schema();
            let rows = LogDecoder::new(format, &schema, &[0, 1]).expect("columns to read");
            let rows = rows.decode_rows(&batch).expect("rows that decode");
            let first = rows.iter().map(|row| row.value(0).map(OwnedDatum::from));
            let expected = [OwnedDatum::Int32(1), OwnedDatum::Int32(2)];
            let first: Vec<OwnedDatum> = first.map(|value| value.expect("a value")).collect();
            assert_eq!(first, expected[..=behind], "{format:?}");
        }
    }
}

#[test]
fn formats_are_named_in_any_case_and_unknown_ones_refused() {
    let of = |name| LogFormat::of_property(name).map_err(|error| error.to_string());
    assert_eq!(of(None), Ok(LogFormat::Arrow));
    assert_eq!(of(Some("indexed")), Ok(LogFormat::Indexed));
    assert_eq!(of(Some("COMPACTED")), Ok(LogFormat::Compacted));
    assert!(of(Some("AVRO")).is_err_and(|text| text.contains("AVRO is unknown")));
}

/// Values beyond the limits of their types, and what the refusal names.
fn beyond() -> Vec<(DataType, OwnedDatum, &'static str)> {
    let at = |nanos| OwnedDatum::Timestamp(Timestamp::from_nanos(nanos));
    let zoned = |nanos| OwnedDatum::TimestampLtz(Timestamp::from_nanos(nanos));
    let text = |text: &str| OwnedDatum::Str(text.to_owned());
    let decimal = |unscaled, scale| OwnedDatum::Decimal(Decimal::new(unscaled, scale));
    vec![
        (DataType::timestamp(3), at(1), "more digits of a second"),
        (DataType::timestamp(0), at(1_000_000), "more digits of a second"),
        (DataType::timestamp(4), at(10_000), "more digits of a second"),
        (DataType::timestamp(6), at(-1), "more digits of a second"),
        (DataType::timestamp_ltz(3), zoned(999), "more digits of a second"),
        (DataType::time(0), OwnedDatum::Time(1), "more digits of a second"),
        (DataType::time(2), OwnedDatum::Time(11), "more digits of a second"),
        (DataType::time(3), OwnedDatum::Time(86_400_000), "milliseconds"),
        (DataType::char(2), text("äöü"), "more characters"),
        (DataType::decimal(4, 2), decimal(10_000, 2), "more digits"),
        (DataType::decimal(4, 2), decimal(1, 3), "digits"),
        (DataType::decimal(38, 0), decimal(i128::MAX, 0), "more digits"),
        (TypeKind::Binary(2).nullable(), OwnedDatum::Bytes(vec![1; 3]), "length"),
        (TypeKind::Binary(2).nullable(), OwnedDatum::Bytes(vec![1]), "length"),
        (DataType::TINYINT, OwnedDatum::Int32(128), "range"),
        (DataType::INT.not_null(), OwnedDatum::Null, "does not allow null"),
    ]
}

/// The column itself, and within an ARRAY, a MAP and a ROW.
fn nested(inner: &DataType, value: &OwnedDatum) -> Vec<(DataType, OwnedDatum, &'static str)> {
    let list = OwnedDatum::Array(vec![value.clone()]);
    let map = OwnedDatum::Map(vec![(OwnedDatum::Int32(1), value.clone())]);
    let row = OwnedDatum::Row(vec![value.clone()]);
    let fields = vec![row::Field::new("f", inner.clone())];
    vec![
        (inner.clone(), value.clone(), "`c`"),
        (DataType::array(inner.clone()), list, "`c[0]`"),
        (DataType::map(DataType::INT, inner.clone()), map, "`c[0].value`"),
        (DataType::row(fields), row, "`c.f`"),
    ]
}

#[test]
fn a_value_beyond_its_type_is_refused_in_every_format_and_depth_and_the_rest_is_written() {
    for (inner, value, reason) in beyond() {
        for (data_type, value, path) in nested(&inner, &value) {
            let schema = Schema::builder().column("id", DataType::INT).column("c", data_type);
            let schema = schema.build().expect("a schema");
            for format in [LogFormat::Arrow, LogFormat::Indexed, LogFormat::Compacted] {
                let mut builder =
                    LogBatchBuilder::new(format, schema.clone(), ArrowBatchOptions::default())
                        .expect("the limits work");
                let what = format!("{inner} in {path} of {format:?}");
                let row = [Datum::Int32(1), value.as_datum()];
                let error = builder.try_push(&row).expect_err(&what).to_string();
                assert!(error.contains(path) && error.contains(reason), "{what}: {error}");
                assert!(error.contains(&inner.to_string()), "{what}: {error} names no limit");
                assert_eq!(builder.len(), 0, "{what}");
            }
        }
    }
}

#[test]
fn a_char_is_measured_in_characters() {
    for format in [LogFormat::Arrow, LogFormat::Compacted] {
        let schema = Schema::builder().column("c", DataType::char(3)).build().expect("a schema");
        let mut builder = LogBatchBuilder::new(format, schema, ArrowBatchOptions::default())
            .expect("the limits work");
        assert_eq!(builder.try_push(&row!["äöü"]), Ok(Push::Pushed(0)), "{format:?}");
    }
}

#[test]
fn rows_of_a_record_batch_with_values_beyond_their_types_fail_alone() {
    use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampNanosecondArray};
    let schema = Schema::builder()
        .column("c", DataType::char(2))
        .column("at", DataType::timestamp(3))
        .build()
        .expect("a schema");
    let texts: ArrayRef = std::sync::Arc::new(StringArray::from(vec!["ab", "abc", "äö", "a", "b"]));
    let times = vec![1_000_000, 0, 1, 0, 2_000_000];
    let times: ArrayRef = std::sync::Arc::new(TimestampNanosecondArray::from(times));
    let batch = RecordBatch::try_from_iter([("c", texts), ("at", times)]).expect("a batch");
    let rows = ArrowRows::new(&schema, &batch).expect("columns of the table");
    let mut builder =
        LogBatchBuilder::new(LogFormat::Arrow, schema, ArrowBatchOptions::default()).expect("fits");
    let (mut refused, mut at) = (Vec::new(), 0);
    while at < rows.len() {
        let taken = builder.extend(&rows, at);
        if taken == 0
            && let Err(error) = builder.try_push(&rows.row(at).expect("a row"))
        {
            refused.push((at, error.to_string()));
        }
        at += taken.max(1);
    }
    assert_eq!(builder.len(), 3);
    let [(1, text), (2, time)] = &refused[..] else { panic!("{refused:?}") };
    assert!(text.contains("`c`: \"abc\" does not fit CHAR(2)"), "{text}");
    assert!(time.contains("`at`: 1970-01-01T00:00:00.000000001"), "{time}");
}
