//! End to end: rows from a caller to an acknowledging server behind a loopback port, in the same
//! process, per runtime. Server and client share the processor; `versus` tells them apart.

use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fluss_benches::{fake, tuple};
use fluss_core::config::Config;
use fluss_core::{AppendWriter, Fluss, UpsertWriter};

/// Rows per measured round, acknowledged at its end.
const ROWS: u64 = 100_000;

fn append(writer: &AppendWriter, rows: u64) {
    for index in 0..rows {
        drop(writer.append(&tuple(index)).wait().expect("memory for the row"));
    }
    writer.flush().wait().expect("all rows acknowledged");
}

fn append_all(writer: &AppendWriter, rows: u64) {
    drop(writer.append_all((0..rows).map(tuple)).wait().expect("memory for the rows"));
    writer.flush().wait().expect("all rows acknowledged");
}

fn upsert(writer: &UpsertWriter, rows: u64) {
    for index in 0..rows {
        drop(writer.upsert(&tuple(index)).wait().expect("memory for the row"));
    }
    writer.flush().wait().expect("all rows acknowledged");
}

fn measure(criterion: &mut Criterion, runtime: &str, fluss: &Fluss) {
    let log = fluss.table(fake::LOG).wait().expect("the log table");
    let keyed = fluss.table(fake::KEYED).wait().expect("the primary-key table");
    let appender = log.appender().build().expect("a writer");
    let upserter = keyed.upserter().build().expect("a writer");
    let mut group = criterion.benchmark_group(runtime);
    group.sample_size(10).throughput(Throughput::Elements(ROWS));
    let mut case = |name: &str, run: &dyn Fn()| {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                let start = Instant::now();
                (0..rounds).for_each(|_| run());
                start.elapsed()
            });
        });
    };
    case("append", &|| append(&appender, ROWS));
    case("append_all", &|| append_all(&appender, ROWS));
    case("upsert", &|| upsert(&upserter, ROWS));
    group.throughput(Throughput::Elements(1));
    group.bench_function("append one row and wait", |b| b.iter(|| append(&appender, 1)));
    group.finish();
}

fn runtimes(criterion: &mut Criterion) {
    let fake = fake::loopback(4);
    let config = || Config::new(&fake.bootstrap()).expect("an address");

    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let fluss = tokio.block_on(fluss_tokio::start(config())).expect("a client on tokio");
    measure(criterion, "tokio", &fluss);
    drop(fluss);

    let fluss = smol::block_on(fluss_smol::start(config()));
    measure(criterion, "smol", &fluss.expect("a client on smol"));

    let fluss = fluss_embedded::start(config()).expect("a blocking client");
    measure(criterion, "embedded", &fluss);
}

criterion_group!(benches, runtimes);
criterion_main!(benches);
