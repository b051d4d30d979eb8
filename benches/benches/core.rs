//! What one batch costs under the client's lock, from open to acknowledgement.
//!
//! Encoding, compression and the payload's checksum are not in it: they happen outside. Combining
//! that checksum with the header's is. At most 5 µs, whatever the batch's size:
//!
//! ```console
//! $ cargo bench -p fluss-benches --bench core -- --check
//! ```
//!
//! fails above that, by the median of many repetitions, so that neither a lucky one nor one that
//! was interrupted decides. On a machine that does other work at the same time it says nothing:
//! shared caches alone make it three times as much. Judged are the verbs of the core, each with the
//! lock that handles take for it. What a batch costs through the handles as a whole, with tickets,
//! wakers and the driver's turns, which are not under that lock, is printed beside (see
//! [`fluss_benches::handles`]). Without `--check` there is also what a snapshot of the metrics
//! costs.

use std::process::ExitCode;
use std::time::Duration;

use criterion::{Criterion, criterion_group};
use fluss_benches::handles::Handles;
use fluss_benches::sim::Sim;
use fluss_benches::{schema, tuple};
use fluss_core::batch::{ArrowBatchBuilder, ArrowBatchOptions, ArrowCompression, Push};
use fluss_proto::record::SealedBatch;

/// What a batch may cost.
const BOUND: Duration = Duration::from_micros(5);
/// Repetitions of which the median is judged, and the batches of each by their size.
const REPETITIONS: usize = 41;
const SIZES: [(&str, usize, u32); 3] =
    [("1 kB", 1 << 10, 1000), ("64 kB", 64 << 10, 200), ("2 MB", 2 << 20, 20)];

fn sealed(bytes: usize) -> SealedBatch {
    let compression = ArrowCompression::None;
    let options = ArrowBatchOptions { max_bytes: bytes, compression, ..Default::default() };
    let mut builder = ArrowBatchBuilder::new(schema(false), options).expect("valid options");
    for index in 0.. {
        if builder.try_push(&tuple(index)).expect("a row of the table") == Push::Full {
            break;
        }
    }
    builder.seal(1, Vec::new()).expect("rows to seal")
}

fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core per batch");
    for (name, bytes, _) in SIZES {
        let sealed = sealed(bytes);
        let mut sim = Sim::new();
        sim.batch(sealed.clone());
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| (0..rounds).map(|_| sim.batch(sealed.clone())).sum());
        });
    }
    group.finish();
    let mut sim = Sim::new();
    sim.batch(sealed(1 << 10));
    criterion.bench_function("metrics", |bencher| bencher.iter(|| sim.metrics()));
}

/// The median of the repetitions' means, and the highest of them.
fn repeated(count: u32, mut batch: impl FnMut() -> Duration) -> (Duration, Duration) {
    let mean = |_| (0..count).map(|_| batch()).sum::<Duration>() / count;
    let mut means: Vec<Duration> = (0..REPETITIONS).map(mean).collect();
    means.sort_unstable();
    (means[REPETITIONS / 2], means[REPETITIONS - 1])
}

fn check() -> ExitCode {
    println!("a batch, median (highest) of {REPETITIONS} repetitions, at most {BOUND:?}");
    let mut missed = 0;
    for (name, bytes, count) in SIZES {
        let sealed = sealed(bytes);
        let (mut sim, mut handles) = (Sim::new(), Handles::new(bytes));
        sim.batch(sealed.clone());
        let locked = repeated(count, || sim.batch(sealed.clone()));
        let through = repeated(count, || handles.batch());
        let is_met = locked.0 <= BOUND;
        missed += usize::from(!is_met);
        let verdict = if is_met { "met" } else { "MISSED" };
        println!(
            "{name:>6}: {:.2?} ({:.2?}) under the lock, {verdict}; by handles {:.2?} ({:.2?})",
            locked.0, locked.1, through.0, through.1,
        );
    }
    if missed > 0 {
        println!("{missed} above {BOUND:?}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

criterion_group!(benches, batches);

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--check") {
        return check();
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
    ExitCode::SUCCESS
}
