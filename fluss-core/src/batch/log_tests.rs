use super::*;
use crate::row;
use crate::row::{DataType, Datum};
use fluss_proto::record::{Check, LogBatch, Stamp};

fn builder(format: LogFormat, max_bytes: usize, max_row_bytes: usize) -> LogBatchBuilder {
    let schema = Schema::builder()
        .column("a", DataType::INT.not_null())
        .column("b", DataType::STRING)
        .build()
        .expect("a schema");
    let options = ArrowBatchOptions { max_bytes, max_row_bytes, ..ArrowBatchOptions::default() };
    LogBatchBuilder::new(format, schema, options).expect("the limits work")
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

#[test]
fn formats_are_named_in_any_case_and_unknown_ones_refused() {
    let of = |name| LogFormat::of_property(name).map_err(|error| error.to_string());
    assert_eq!(of(None), Ok(LogFormat::Arrow));
    assert_eq!(of(Some("indexed")), Ok(LogFormat::Indexed));
    assert_eq!(of(Some("COMPACTED")), Ok(LogFormat::Compacted));
    assert!(of(Some("AVRO")).is_err_and(|text| text.contains("AVRO is unknown")));
}
