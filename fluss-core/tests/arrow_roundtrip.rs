//! Random schemas and rows, through builder, header and decoder and back.

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use bytes::Bytes;
use fluss_core::batch::{
    ArrowBatchBuilder, ArrowBatchOptions, ArrowCompression, ArrowDecoder, BodyPool, DecodeLimits,
    Push,
};
use fluss_core::rng::Rng;
use fluss_core::row::{Column, DataType, Datum, Decimal, OwnedDatum, Schema, Timestamp, TypeKind};
use fluss_proto::record::{Check, LogBatch, SealedBatch, Stamp};

const SEEDS: u64 = 150;

fn pick<T: Clone>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.below(from.len() as u64) as usize].clone()
}

fn type_kind(rng: &mut Rng) -> TypeKind {
    let precision = rng.below(10) as u8;
    match rng.below(16) {
        0 => TypeKind::Boolean,
        1 => TypeKind::TinyInt,
        2 => TypeKind::SmallInt,
        3 => TypeKind::Int,
        4 => TypeKind::BigInt,
        5 => TypeKind::Float,
        6 => TypeKind::Double,
        7 => {
            let precision = 1 + rng.below(38) as u8;
            TypeKind::Decimal { precision, scale: rng.below(u64::from(precision) + 1) as u8 }
        }
        8 => TypeKind::Char(1 + rng.below(5) as u32),
        9 => TypeKind::String,
        10 => TypeKind::Binary(1 + rng.below(40) as u32),
        11 => TypeKind::Bytes,
        12 => TypeKind::Date,
        13 => TypeKind::Time(precision),
        14 => TypeKind::Timestamp(precision),
        _ => TypeKind::TimestampLtz(precision),
    }
}

fn schema(rng: &mut Rng) -> Schema {
    let columns = 1 + rng.below(20);
    let column = |i| {
        let data_type = DataType { kind: type_kind(rng), nullable: !rng.one_in(3) };
        Column::new(format!("c{i}"), data_type)
    };
    Schema::new((0..columns).map(column).collect(), vec![])
}

fn integer(rng: &mut Rng, bits: u32) -> i64 {
    let (low, high) = (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits));
    match rng.below(4) {
        0 => low,
        1 => high,
        2 => rng.below(3) as i64 - 1,
        _ => (rng.next_u64() as i64) >> (64 - bits),
    }
}

fn text(rng: &mut Rng) -> String {
    let length = pick(rng, &[0, 1, 3, 7, 8, 30, 200]);
    let letters = ["a", "b", "é", "漢", "🦀", "\0"];
    (0..length).map(|_| pick(rng, &letters)).collect()
}

fn bytes(rng: &mut Rng, length: usize) -> Vec<u8> {
    (0..length).map(|_| rng.next_u64() as u8).collect()
}

/// A number without the last decimal digits.
fn rounded(value: i64, digits: u8) -> i64 {
    let unit = 10_i64.pow(digits.into());
    value / unit * unit
}

/// A point in time that a column of this precision holds without loss.
fn timestamp(rng: &mut Rng, precision: u8) -> Timestamp {
    match precision {
        0 => Timestamp::from_millis(integer(rng, 54) * 1_000),
        1..=3 => Timestamp::from_millis(rounded(integer(rng, 64), 3 - precision)),
        4..=6 => Timestamp::from_micros(rounded(integer(rng, 64), 6 - precision)),
        _ => Timestamp::from_nanos(rounded(integer(rng, 64), 9 - precision)),
    }
}

fn decimal(rng: &mut Rng, precision: u8, scale: u8) -> Decimal {
    let bound = 10_i128.pow(u32::from(precision));
    let random = (i128::from(rng.next_u64() as i64) << 64) | i128::from(rng.next_u64());
    let unscaled = match rng.below(4) {
        0 => bound - 1,
        1 => 1 - bound,
        _ => random % bound,
    };
    Decimal::new(unscaled, scale)
}

fn value(rng: &mut Rng, data_type: &DataType) -> OwnedDatum {
    if data_type.nullable && rng.one_in(4) {
        return OwnedDatum::Null;
    }
    match data_type.kind {
        TypeKind::Boolean => OwnedDatum::Bool(rng.one_in(2)),
        TypeKind::TinyInt => OwnedDatum::Int8(integer(rng, 8) as i8),
        TypeKind::SmallInt => OwnedDatum::Int16(integer(rng, 16) as i16),
        TypeKind::Int => OwnedDatum::Int32(integer(rng, 32) as i32),
        TypeKind::BigInt => OwnedDatum::Int64(integer(rng, 64)),
        TypeKind::Float => {
            let value = pick(rng, &[0.0, -0.0, 1.5, f32::MIN, f32::INFINITY, f32::MIN_POSITIVE]);
            OwnedDatum::Float32(value)
        }
        TypeKind::Double => {
            let value = pick(rng, &[0.0, -0.0, 1.5, f64::MIN, f64::INFINITY, f64::MIN_POSITIVE]);
            OwnedDatum::Float64(value)
        }
        TypeKind::Decimal { precision, scale } => {
            OwnedDatum::Decimal(decimal(rng, precision, scale))
        }
        TypeKind::Char(length) => {
            OwnedDatum::Str(text(rng).chars().take(length as usize).collect())
        }
        TypeKind::String => OwnedDatum::Str(text(rng)),
        TypeKind::Binary(length) => OwnedDatum::Bytes(bytes(rng, length as usize)),
        TypeKind::Bytes => {
            let length = pick(rng, &[0, 1, 8, 100]);
            OwnedDatum::Bytes(bytes(rng, length))
        }
        TypeKind::Date => OwnedDatum::Date(integer(rng, 32) as i32),
        TypeKind::Time(0) => OwnedDatum::Time(rng.below(86_400) as i32 * 1_000),
        TypeKind::Time(precision) => {
            let millis = rng.below(86_400_000) as i64;
            OwnedDatum::Time(rounded(millis, 3_u8.saturating_sub(precision)) as i32)
        }
        TypeKind::Timestamp(precision) => OwnedDatum::Timestamp(timestamp(rng, precision)),
        TypeKind::TimestampLtz(precision) => OwnedDatum::TimestampLtz(timestamp(rng, precision)),
        ref other => panic!("{other:?} is not generated"),
    }
}

/// A value that no column of this type takes.
fn misfit(kind: &TypeKind) -> Datum<'static> {
    match kind {
        TypeKind::Boolean => Datum::Str("true"),
        _ => Datum::Bool(true),
    }
}

fn compression(rng: &mut Rng) -> ArrowCompression {
    match rng.below(3) {
        0 => ArrowCompression::None,
        1 => ArrowCompression::Lz4Frame,
        _ => ArrowCompression::Zstd { level: 1 + rng.below(5) as i32 },
    }
}

/// Pushes rows until the batch is full or has as many as wanted. Returns those that are in it.
fn fill(builder: &mut ArrowBatchBuilder, rng: &mut Rng, wanted: usize) -> Vec<Vec<OwnedDatum>> {
    let schema = builder.schema().clone();
    let mut rows: Vec<Vec<OwnedDatum>> = Vec::new();
    while rows.len() < wanted {
        let row: Vec<_> =
            schema.columns().iter().map(|column| value(rng, &column.data_type)).collect();
        if rng.one_in(5) {
            let mut bad: Vec<Datum<'_>> = row.iter().map(OwnedDatum::as_datum).collect();
            let at = rng.below(bad.len() as u64) as usize;
            bad[at] = misfit(&schema.columns()[at].data_type.kind);
            let error = builder.try_push(&bad).expect_err("a value of the wrong type");
            assert!(error.to_string().contains(&format!("`c{at}`")), "{error}");
        }
        let datums: Vec<Datum<'_>> = row.iter().map(OwnedDatum::as_datum).collect();
        match builder.try_push(&datums).expect("a row that fits") {
            Push::Pushed(index) => assert_eq!(index as usize, rows.len()),
            Push::Full => break,
        }
        rows.push(row);
    }
    assert_eq!(builder.len(), rows.len());
    rows
}

fn wire(sealed: &SealedBatch) -> LogBatch {
    let head = sealed.stamp(Stamp { writer_id: 9, sequence: 4 });
    let bytes: Bytes = [&head[..], &sealed.payload()[..]].concat().into();
    LogBatch::new_checked(bytes, Check::Crc).expect("the batch's own checksum")
}

fn check(decoder: &ArrowDecoder, batch: &LogBatch, rows: &[Vec<OwnedDatum>]) {
    let decoded = decoder.decode_rows(batch).expect("the batch's own encoding");
    assert_eq!(decoded.len(), rows.len());
    for (view, row) in decoded.iter().zip(rows) {
        for (i, expected) in row.iter().enumerate() {
            let got = view.value(i).expect("a scalar");
            assert_eq!(got, expected.as_datum(), "row {}, column {i}", view.offset());
        }
    }
}

/// The batch as the reader of the arrow-ipc crate sees it.
fn read_by_arrow_ipc(decoder: &ArrowDecoder, batch: &LogBatch) -> RecordBatch {
    let body = batch.body().expect("a checked batch");
    let length = i32::from_le_bytes(body[4..8].try_into().expect("four bytes")) as usize;
    let message = arrow_ipc::root_as_message(&body[8..8 + length]).expect("valid metadata");
    assert_eq!(message.bodyLength() as usize, body.len() - 8 - length);
    let header = message.header_as_record_batch().expect("a record batch");
    let buffer = Buffer::from(&body[8 + length..]);
    let schema = decoder.arrow_schema().clone();
    let version = &message.version();
    let none = std::collections::HashMap::new();
    arrow_ipc::reader::read_record_batch(&buffer, header, schema, &none, None, version)
        .expect("readable by others")
}

fn round_trip(seed: u64) {
    let mut rng = Rng::new(seed);
    let compression = compression(&mut rng);
    let schema = schema(&mut rng);
    let max_bytes = pick(&mut rng, &[20_000, 1 << 20]);
    let options = ArrowBatchOptions { max_bytes, compression, ..ArrowBatchOptions::default() };
    let mut builder = ArrowBatchBuilder::new(schema.clone(), options).expect("valid options");
    let decoder = ArrowDecoder::new(&schema);
    let mut pool = BodyPool::new(2, 4 << 20);
    // The builder is used again: nothing of one batch may show in the next.
    for _ in 0..3 {
        let wanted = pick(&mut rng, &[1, 7, 8, 9, 64, 200]);
        let rows = fill(&mut builder, &mut rng, wanted);
        let bound = builder.size_in_bytes();
        assert!(bound <= max_bytes || rows.len() == 1);
        let body = pool.take(builder.body_capacity());
        let address = body.as_ptr();
        let sealed = builder.seal(1, body).expect("rows to seal");
        // What compression leaves is known only afterwards.
        if compression == ArrowCompression::None {
            assert_eq!(sealed.payload().as_ptr(), address, "the body did not have to be enlarged");
        }
        assert!(sealed.size() <= bound, "{} > {bound}", sealed.size());
        let batch = wire(&sealed);
        check(&decoder, &batch, &rows);
        if compression == ArrowCompression::None {
            let other = read_by_arrow_ipc(&decoder, &batch);
            assert_eq!(other, decoder.decode(&batch).expect("decoded before"));
        }
        let payload = sealed.payload();
        drop(sealed);
        assert!(pool.give(payload), "the last holder gives the memory back");
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

#[test]
fn random_rows_come_back_as_they_were() {
    for seed in 0..SEEDS {
        let named = Seed(seed);
        round_trip(seed);
        drop(named);
    }
}

#[test]
fn random_damage_never_leads_to_a_panic() {
    let limits = DecodeLimits { max_batch_bytes: 4 << 20 };
    for seed in 0..SEEDS {
        let _named = Seed(seed);
        let mut rng = Rng::new(seed ^ 0xda3a6e);
        let options = ArrowBatchOptions {
            compression: compression(&mut rng),
            ..ArrowBatchOptions::default()
        };
        let schema = schema(&mut rng);
        let decoder = ArrowDecoder::new(&schema).with_limits(limits);
        let mut builder = ArrowBatchBuilder::new(schema, options).expect("valid options");
        let rows = pick(&mut rng, &[1, 9, 60]);
        fill(&mut builder, &mut rng, rows);
        let sealed = builder.seal(1, Vec::new()).expect("rows to seal");
        let intact = wire(&sealed).bytes().to_vec();
        for _ in 0..50 {
            let mut bytes = intact.clone();
            for _ in 0..1 + rng.below(3) {
                let at = 48 + rng.below(bytes.len() as u64 - 48) as usize;
                bytes[at] = rng.next_u64() as u8;
            }
            let Ok(batch) = LogBatch::new_checked(bytes.into(), Check::Structure) else { continue };
            if let Ok(rows) = decoder.decode_rows(&batch) {
                let columns = rows.schema().columns().len();
                rows.iter().for_each(|row| (0..columns).for_each(|i| drop(row.value(i))));
            }
        }
    }
}
