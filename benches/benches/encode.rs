//! What a row and a batch cost the caller of an append.
//!
//! The row is `id BIGINT, name STRING (16 bytes), a INT, b DOUBLE`, without nulls.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fluss_benches::schema;
use fluss_core::batch::{ArrowBatchBuilder, ArrowBatchOptions, ArrowCompression, BodyPool, Push};
use fluss_core::row;
use fluss_core::row::Row;

const ROWS: i32 = 8_192;

fn builder(compression: ArrowCompression) -> ArrowBatchBuilder {
    let options = ArrowBatchOptions { compression, ..ArrowBatchOptions::default() };
    ArrowBatchBuilder::new(schema(false), options).expect("valid options")
}

fn push(builder: &mut ArrowBatchBuilder, row: &impl Row) {
    let pushed = builder.try_push(row).expect("a row of the table");
    assert!(matches!(pushed, Push::Pushed(_)), "the batch holds all rows of a round");
}

fn rows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("row");
    group.throughput(Throughput::Elements(ROWS as u64));
    let name = "sixteen bytes ok";
    let mut builder = builder(ArrowCompression::None);
    group.bench_function("tuple", |bencher| {
        bencher.iter(|| {
            builder.clear();
            for i in 0..ROWS {
                push(&mut builder, &(i64::from(i), black_box(name), i, f64::from(i)));
            }
        });
    });
    group.bench_function("datums", |bencher| {
        bencher.iter(|| {
            builder.clear();
            for i in 0..ROWS {
                push(&mut builder, &row![i64::from(i), black_box(name), i, f64::from(i)]);
            }
        });
    });
    group.finish();
}

fn seals(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, compression) in [
        ("none", ArrowCompression::None),
        ("lz4", ArrowCompression::Lz4Frame),
        ("zstd3", ArrowCompression::default()),
    ] {
        let mut builder = builder(compression);
        let mut pool = BodyPool::new(1, 4 << 20);
        // The rows are pushed again in every round: subtract `row/tuple`.
        group.bench_function(format!("push and seal {name}"), |bencher| {
            bencher.iter(|| {
                for i in 0..ROWS {
                    push(&mut builder, &(i64::from(i), "sixteen bytes ok", i, f64::from(i)));
                }
                let body = pool.take(builder.body_capacity());
                let sealed = builder.seal(1, body).expect("rows to seal");
                let payload = black_box(&sealed).payload();
                drop(sealed);
                assert!(pool.give(payload), "the body is used again");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, rows, seals);
criterion_main!(benches);
