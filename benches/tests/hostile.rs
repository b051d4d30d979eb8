//! Damaged batches cost no more memory than they are allowed to, whatever sizes they claim: 10,000
//! of them, of all formats, versions and compressions, decoded as scanners decode them.
//!
//! The counts are those of this thread.

use allocation_counter::measure;
use fluss_core::batch::{DecodeLimits, LogDecoder, LogFormat};
use fluss_core::rng::Rng;
use fluss_core::row::{OwnedRow, Schema};
use fluss_core::testing::hostile;
use fluss_core::testing::random::{self, Shape};
use fluss_proto::record::LogBatches;

const SEEDS: u64 = 200;
const EACH: u64 = 50;
/// What a batch may be inflated to.
const LIMIT: usize = 1 << 20;
/// Beside it: for what is announced and bounded by the bytes that came.
const PER_BYTE: u64 = 32;
const BESIDE: u64 = 64 << 10;

/// Says the seed when a test body panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("failed with seed {}", self.0);
        }
    }
}

/// Reads all there is; whether it was sound.
fn read(decoder: &LogDecoder, bytes: Vec<u8>) -> bool {
    LogBatches::new(bytes.into()).max_batch_size(LIMIT).all(|batch| {
        let Ok(batch) = batch else { return false };
        let Ok(rows) = decoder.decode_rows(&batch) else { return false };
        rows.iter().for_each(|row| {
            (0..row.schema().columns().len()).for_each(|column| drop(row.value(column)));
        });
        true
    })
}

fn table(rng: &mut Rng) -> (Schema, Vec<OwnedRow>) {
    let schema = Shape { columns: 6, ..Shape::default() }.schema(rng);
    let rows = (0..20).map(|_| random::row(rng, &schema)).collect();
    (schema, rows)
}

#[test]
fn ten_thousand_damaged_batches_take_no_more_memory_than_they_may() {
    let (mut sound, mut refused, mut most) = (0, 0, 0);
    for seed in 0..SEEDS {
        let _named = Seed(seed);
        let mut rng = Rng::new(seed);
        let (schema, rows) = table(&mut rng);
        let formats =
            [LogFormat::Arrow, LogFormat::Arrow, LogFormat::Indexed, LogFormat::Compacted];
        let format = formats[(seed % 4) as usize];
        let columns: Vec<usize> = (0..schema.columns().len()).collect();
        let decoder = LogDecoder::new(format, &schema, &columns).expect("all columns");
        let decoder = decoder.with_limits(DecodeLimits { max_batch_bytes: LIMIT });
        let batch = hostile::log_batch(&mut rng, format, &schema, &rows);
        assert!(read(&decoder, batch.clone()), "it is sound");
        for _ in 0..EACH {
            let damaged = hostile::damaged_log(&mut rng, &batch);
            let length = damaged.len() as u64;
            let mut outcome = true;
            let info = measure(|| outcome = read(&decoder, damaged));
            if outcome {
                sound += 1;
            } else {
                refused += 1;
            }
            most = most.max(info.bytes_max);
            let allowed = LIMIT as u64 + PER_BYTE * length + BESIDE;
            assert!(info.bytes_max <= allowed, "{} bytes for {length}: {info:?}", info.bytes_max);
        }
    }
    println!("{sound} read, {refused} refused, at most {most} bytes");
    assert!(refused > 5_000, "only {refused} were refused");
}
