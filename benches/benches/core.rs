//! What one batch costs under the client's lock, from open to acknowledgement.
//!
//! Encoding, compression and the payload's checksum are not in it: they happen outside. Combining
//! that checksum with the header's is. At most 5 µs, whatever the batch's size.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use fluss_benches::sim::Sim;
use fluss_benches::{schema, tuple};
use fluss_core::batch::{ArrowBatchBuilder, ArrowBatchOptions, ArrowCompression, Push};
use fluss_proto::record::SealedBatch;

/// What a batch may cost.
const BOUND: Duration = Duration::from_micros(5);

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
    for (name, bytes) in [("1 kB", 1 << 10), ("64 kB", 64 << 10), ("2 MB", 2 << 20)] {
        let sealed = sealed(bytes);
        let mut sim = Sim::new();
        sim.batch(sealed.clone());
        let mut lowest = Duration::MAX;
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                let spent = (0..rounds).map(|_| sim.batch(sealed.clone())).sum::<Duration>();
                lowest = lowest.min(spent / u32::try_from(rounds).unwrap_or(u32::MAX));
                spent
            });
        });
        let verdict = if lowest <= BOUND { "met" } else { "MISSED" };
        println!("{name}: {lowest:?} per batch, at most {BOUND:?}: {verdict}");
    }
    group.finish();
}

criterion_group!(benches, batches);
criterion_main!(benches);
