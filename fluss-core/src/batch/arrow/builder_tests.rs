use bytes::Bytes;

use super::*;
use fluss_proto::record::Stamp;

use crate::row::{Column, DataType, Datum, Decimal, RowErrorKind, RowSink, Timestamp, TypeKind};

/// A row of values, as the tests find handy.
struct Values<'a>(&'a [Datum<'a>]);

impl Row for Values<'_> {
    fn arity(&self) -> usize {
        self.0.len()
    }

    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        self.0.iter().try_for_each(|&datum| sink.put(datum))
    }
}

fn schema(types: &[(TypeKind, bool)]) -> Schema {
    let columns = types.iter().enumerate().map(|(i, (kind, nullable))| Column {
        name: format!("c{i}"),
        data_type: DataType { kind: kind.clone(), nullable: *nullable },
        comment: None,
        id: None,
    });
    Schema::new(columns.collect(), vec![])
}

fn options(compression: ArrowCompression) -> ArrowBatchOptions {
    ArrowBatchOptions { compression, ..ArrowBatchOptions::default() }
}

fn builder(types: &[(TypeKind, bool)]) -> ArrowBatchBuilder {
    ArrowBatchBuilder::new(schema(types), options(ArrowCompression::None)).unwrap()
}

fn payload(builder: &mut ArrowBatchBuilder) -> Bytes {
    builder.seal(1, Vec::new()).unwrap().payload()
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.trim();
    let byte = |i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[test]
fn the_body_equals_the_one_of_the_java_client() {
    let vector =
        include_str!("../../../../fluss-proto/tests/vectors/generated/log_v0_arrow_append.hex");
    let mut builder = builder(&[(TypeKind::Int, true), (TypeKind::String, true)]);
    for (a, b) in [(1, Datum::Str("a")), (2, Datum::Null), (3, Datum::Str("ccc"))] {
        builder.try_push(&Values(&[Datum::Int32(a), b])).unwrap();
    }
    let sealed = builder.seal(1, Vec::new()).unwrap();
    let head = sealed.stamp(Stamp { writer_id: 100, sequence: 7 });
    assert_eq!([&head[..], &sealed.payload()].concat(), hex(vector));
}

#[test]
fn the_metadata_has_the_size_the_server_computes() {
    for (codec, constant) in
        [(None, 88), (Some(CompressionType::ZSTD), 112), (Some(CompressionType::LZ4_FRAME), 104)]
    {
        for (nodes, buffers) in [(1, 2), (1, 3), (2, 5), (7, 15), (300, 700)] {
            let length = MetadataWriter::new(codec).length(nodes, buffers);
            assert_eq!(length, 16 * (nodes + buffers) + constant, "{codec:?} {nodes} {buffers}");
        }
    }
}

#[test]
fn a_refused_row_leaves_the_batch_as_it_was() {
    let types = [
        (TypeKind::Boolean, true),
        (TypeKind::String, true),
        (TypeKind::Decimal { precision: 20, scale: 0 }, true),
        (TypeKind::Binary(2), true),
        (TypeKind::Int, false),
    ];
    let ten = Decimal { unscaled: 10, scale: 0 };
    let good = [
        Datum::Bool(true),
        Datum::Str("x"),
        Datum::Decimal(&ten),
        Datum::Bytes(&[1, 2]),
        Datum::Int32(7),
    ];
    let mut bad = good;
    bad[..4].fill(Datum::Null);
    bad[4] = Datum::Null;
    let (mut with, mut without) = (builder(&types), builder(&types));
    for batch in 0..2 {
        for _ in 0..9 {
            let error = with.try_push(&Values(&bad)).unwrap_err();
            assert_eq!(
                error.kind(),
                &RowErrorKind::Null { column: "c4".into(), expected: "INT NOT NULL".into() }
            );
            with.try_push(&Values(&good)).unwrap();
            without.try_push(&Values(&good)).unwrap();
            assert_eq!(with.size_in_bytes(), without.size_in_bytes());
        }
        assert_eq!(payload(&mut with), payload(&mut without), "batch {batch}");
    }
}

#[test]
fn the_number_of_values_must_be_right() {
    let mut builder = builder(&[(TypeKind::Int, false), (TypeKind::Int, false)]);
    let short = builder.try_push(&Values(&[Datum::Int32(1)])).unwrap_err();
    assert_eq!(short.kind(), &RowErrorKind::Arity { expected: 2, got: 1 });
    let long = builder.try_push(&Values(&[Datum::Int32(1); 4])).unwrap_err();
    assert_eq!(long.kind(), &RowErrorKind::Arity { expected: 2, got: 3 });
    assert_eq!(builder.try_push(&Values(&[Datum::Int32(1); 2])), Ok(Push::Pushed(0)));
}

/// Goes on after an error, which the contract of `Row` forbids.
struct Stubborn;

impl Row for Stubborn {
    fn arity(&self) -> usize {
        2
    }

    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let _ = sink.put_str("not an integer");
        let _ = sink.put_i32(1);
        Ok(())
    }
}

#[test]
fn a_row_that_ignores_an_error_is_refused_all_the_same() {
    let mut builder = builder(&[(TypeKind::Int, false), (TypeKind::Int, false)]);
    let error = builder.try_push(&Stubborn).unwrap_err();
    assert!(matches!(error.kind(), RowErrorKind::Value { column, .. } if column == "c0"));
    assert!(builder.is_empty());
}

/// Panics after the first value.
struct Panicking;

impl Row for Panicking {
    fn arity(&self) -> usize {
        2
    }

    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.put_i32(1)?;
        panic!("a broken row")
    }
}

#[test]
fn a_panic_in_a_row_does_not_shift_the_columns() {
    let types = [(TypeKind::Int, true), (TypeKind::Int, true)];
    let (mut with, mut without) = (builder(&types), builder(&types));
    let push = std::panic::AssertUnwindSafe(|| with.try_push(&Panicking));
    assert!(std::panic::catch_unwind(push).is_err());
    for builder in [&mut with, &mut without] {
        builder.try_push(&Values(&[Datum::Int32(2), Datum::Null])).unwrap();
    }
    assert_eq!(payload(&mut with), payload(&mut without));
}

#[test]
fn a_full_batch_takes_the_row_back_and_the_next_one_takes_it() {
    let options = ArrowBatchOptions {
        max_bytes: 2_000,
        max_row_bytes: 10_000,
        compression: ArrowCompression::None,
    };
    let mut builder = ArrowBatchBuilder::new(schema(&[(TypeKind::String, true)]), options).unwrap();
    let text = "x".repeat(600);
    assert_eq!(builder.try_push(&Values(&[Datum::Str(&text)])), Ok(Push::Pushed(0)));
    assert_eq!(builder.try_push(&Values(&[Datum::Str(&text)])), Ok(Push::Pushed(1)));
    let before = builder.size_in_bytes();
    assert_eq!(builder.try_push(&Values(&[Datum::Str(&text)])), Ok(Push::Full));
    assert_eq!((builder.len(), builder.size_in_bytes()), (2, before));

    let large = "y".repeat(9_000);
    assert_eq!(builder.try_push(&Values(&[Datum::Str(&large)])), Ok(Push::Full));
    builder.seal(1, Vec::new()).unwrap();
    assert_eq!(builder.try_push(&Values(&[Datum::Str(&large)])), Ok(Push::Pushed(0)));

    let too_large = "z".repeat(10_000);
    let error = builder.try_push(&Values(&[Datum::Str(&too_large)])).unwrap_err();
    assert!(
        matches!(error.kind(), RowErrorKind::TooLarge { size, limit: 10_000, .. } if *size > 10_000)
    );
    assert_eq!(builder.len(), 1);
}

#[test]
fn the_size_is_an_upper_bound_for_every_compression() {
    let noise = "qW8#kz.1Lp!v";
    for compression in
        [ArrowCompression::None, ArrowCompression::Lz4Frame, ArrowCompression::Zstd { level: 1 }]
    {
        let types =
            [(TypeKind::Boolean, true), (TypeKind::String, true), (TypeKind::TinyInt, true)];
        let mut builder = ArrowBatchBuilder::new(schema(&types), options(compression)).unwrap();
        for rows in 1..200 {
            for row in 0..rows {
                let text = Datum::Str(&noise[..row % noise.len()]);
                builder.try_push(&Values(&[Datum::Null, text, Datum::Int8(row as i8)])).unwrap();
            }
            let (bound, capacity) = (builder.size_in_bytes(), builder.body_capacity());
            let body = payload(&mut builder);
            assert!(HEADER_BYTES + body.len() <= bound, "{compression:?}, {rows} rows");
            if compression == ArrowCompression::None {
                assert!(body.len() <= capacity, "{rows} rows");
            }
        }
    }
}

#[test]
fn a_sealed_batch_keeps_no_memory_beyond_what_compression_left_of_it() {
    for compression in
        [ArrowCompression::None, ArrowCompression::Lz4Frame, ArrowCompression::Zstd { level: 1 }]
    {
        let types = [(TypeKind::String, true)];
        let mut builder = ArrowBatchBuilder::new(schema(&types), options(compression)).unwrap();
        let text = "compressible ".repeat(100);
        // Then few rows after many, in the memory that the many had.
        for rows in [600, 500, 1] {
            for _ in 0..rows {
                builder.try_push(&Values(&[Datum::Str(&text)])).unwrap();
            }
            let body = Vec::with_capacity(builder.body_capacity());
            let sealed = builder.seal(1, body).unwrap();
            let bytes = sealed.payload();
            drop(sealed);
            let (len, memory) = (bytes.len(), Vec::from(bytes.try_into_mut().unwrap()).capacity());
            assert!(memory <= 2 * len + (64 << 10), "{compression:?}: {memory} for {len} bytes");
            if compression != ArrowCompression::None {
                assert_eq!(memory, len, "{compression:?}");
            }
        }
    }
}

#[test]
fn an_integer_goes_where_it_fits_and_nowhere_else() {
    let mut tiny = builder(&[(TypeKind::TinyInt, true)]);
    assert_eq!(tiny.try_push(&Values(&[Datum::Int64(127)])), Ok(Push::Pushed(0)));
    assert!(tiny.try_push(&Values(&[Datum::Int64(128)])).is_err());
    assert!(tiny.try_push(&Values(&[Datum::Float32(1.0)])).is_err());
    let mut big = builder(&[(TypeKind::BigInt, true)]);
    assert_eq!(big.try_push(&Values(&[Datum::Int8(-1)])), Ok(Push::Pushed(0)));
    let mut double = builder(&[(TypeKind::Double, true)]);
    assert_eq!(double.try_push(&Values(&[Datum::Float32(1.5)])), Ok(Push::Pushed(0)));
    assert!(double.try_push(&Values(&[Datum::Int32(1)])).is_err());
    let mut float = builder(&[(TypeKind::Float, true)]);
    assert!(float.try_push(&Values(&[Datum::Float64(1.5)])).is_err());
}

#[test]
fn a_timestamp_does_not_go_into_a_column_with_a_time_zone() {
    let mut builder = builder(&[(TypeKind::TimestampLtz(3), true)]);
    let at = Timestamp { millis: 1, nanos: 0 };
    assert!(builder.try_push(&Values(&[Datum::Timestamp(at)])).is_err());
    assert_eq!(builder.try_push(&Values(&[Datum::TimestampLtz(at)])), Ok(Push::Pushed(0)));
}

#[test]
fn impossible_options_are_refused_with_the_limits() {
    let int = || schema(&[(TypeKind::Int, true)]);
    let defaults = ArrowBatchOptions::default();
    let new = |schema, options| ArrowBatchBuilder::new(schema, options).map(|_| ()).unwrap_err();
    let level = ArrowBatchOptions { compression: ArrowCompression::Zstd { level: 23 }, ..defaults };
    assert_eq!(new(int(), level), limit("the compression level", 23, 1, 22));
    let row = ArrowBatchOptions { max_bytes: 100, max_row_bytes: 99, ..defaults };
    assert!(matches!(new(int(), row), BatchError::Limit { what: "max_row_bytes", .. }));
    let wide = schema(&[(TypeKind::Binary(u32::MAX >> 1), true)]);
    assert!(matches!(new(wide, defaults), BatchError::Limit { what: "max_row_bytes", .. }));
    assert_eq!(new(schema(&[]), defaults), BatchError::NoColumns);
}

#[test]
fn an_empty_batch_is_not_sealed() {
    let sealed = builder(&[(TypeKind::Int, true)]).seal(1, Vec::new());
    assert_eq!(sealed.unwrap_err(), BatchError::Empty);
}
