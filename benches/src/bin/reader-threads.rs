//! What a second reader thread brings: two scanners of two buckets each, whose batches all wait in
//! memory already, decoded by one thread, one scanner after the other, and by two threads at once.
//! The server is a function call (see [`fluss_benches::local`]) and has nothing to say meanwhile.
//!
//! ```console
//! $ cargo run --release -p fluss-benches --bin reader-threads -- [ROWS [ROUNDS]]
//! ```
//!
//! What counts is the clock: run it where two processors have nothing else to do, or it says
//! nothing. Beside it stands, from the same rounds, what two threads bring whose scanners are of
//! two clients, and so share neither lock nor memory: where these bring no more, that is not what
//! costs the rest.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use fluss_benches::{fake, local, schema, tuple};
use fluss_core::batch::{ArrowBatchOptions, ArrowCompression, LogBatchBuilder, LogFormat};
use fluss_core::ids::{BucketKey, TablePath};
use fluss_core::testing::cluster::FakeCluster;
use fluss_core::{Fluss, LogScanner};
use fluss_proto::message::{PbProduceLogReqForBucket, ProduceLogRequest};
use fluss_proto::record::Stamp;

/// What two threads must bring.
const BOUND: f64 = 1.8;
const BUCKETS: u32 = 4;
const BATCH_ROWS: u64 = 8192;
/// More than a bucket holds.
const ROOM: usize = 256 << 20;

/// Stores so many rows, the same in every bucket.
fn fill(cluster: &mut FakeCluster, path: &str, compression: ArrowCompression, rows: u64) {
    let path = TablePath::parse(path).expect("a path");
    let table = cluster.table_id(&path).expect("the table");
    let options = ArrowBatchOptions { compression, max_bytes: 8 << 20, ..Default::default() };
    let builder = LogBatchBuilder::new(LogFormat::Arrow, schema(false), options);
    let mut builder = builder.expect("sound options");
    let mut written = 0;
    while written < rows / u64::from(BUCKETS) {
        for row in written..written + BATCH_ROWS {
            builder.try_push(&tuple(row)).expect("it fits");
        }
        written += BATCH_ROWS;
        let sealed = builder.seal(1, Vec::new()).expect("rows");
        let batch = [&sealed.stamp(Stamp::NONE)[..], &sealed.payload()[..]].concat();
        let bucket = |bucket_id| PbProduceLogReqForBucket {
            bucket_id,
            records: batch.clone().into(),
            ..Default::default()
        };
        let request = ProduceLogRequest {
            acks: 1,
            table_id: table.0,
            timeout_ms: 10_000,
            buckets_req: (0..BUCKETS as i32).map(bucket).collect(),
        };
        local::store(cluster, &request);
    }
}

/// A scanner of these buckets that has all of their batches in memory.
fn filled(fluss: &Fluss, path: &str, buckets: &[BucketKey], rows: u64) -> LogScanner {
    let table = fluss.table(path).wait().expect("the table");
    let builder = table.scanner().buckets(buckets.iter().copied()).bounded();
    let builder = builder.buffer_limit(8 * ROOM as u64).max_bytes(16 << 20);
    let builder = builder.max_bytes_per_bucket(16 << 20).max_wait(Duration::from_secs(5));
    let scanner = builder.build().wait().expect("a scanner");
    let mut seen = (0, Instant::now());
    // All is there when nothing more comes.
    while seen.0 == 0 || seen.1.elapsed() < Duration::from_millis(300) {
        let bytes = |key: &BucketKey| scanner.progress(*key).map_or(0, |p| p.buffered_bytes);
        let now = buckets.iter().map(bytes).sum::<u64>();
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        thread::sleep(Duration::from_millis(5));
    }
    assert!(seen.0 > rows, "{} bytes of {rows} rows", seen.0);
    scanner
}

/// Decodes everything; returns the number of rows.
fn drain(mut scanner: LogScanner, one_by_one: bool) -> u64 {
    let mut rows = 0;
    while let Some(batch) = scanner.next_batch().wait().expect("readable") {
        rows += batch.num_rows() as u64;
        black_box(batch.record_batch());
        if one_by_one {
            for row in batch.rows().expect("rows").iter() {
                let values = (row.get::<i64>(0), row.get::<&str>(1), row.get::<f64>(3));
                drop(black_box(values));
            }
        }
    }
    rows
}

/// Seconds for all rows.
fn measure(scanners: [LogScanner; 2], threads: usize, one_by_one: bool) -> (f64, u64) {
    let start = Instant::now();
    let [first, second] = scanners;
    let rows = if threads == 1 {
        drain(first, one_by_one) + drain(second, one_by_one)
    } else {
        let other = thread::spawn(move || drain(first, one_by_one));
        drain(second, one_by_one) + other.join().expect("it reads")
    };
    (start.elapsed().as_secs_f64(), rows)
}

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let rows = numbers.first().copied().unwrap_or(2_000_000);
    let rounds = numbers.get(1).copied().unwrap_or(7).max(1);
    let start = || {
        let mut cluster = fake::stored(BUCKETS);
        fill(&mut cluster, fake::LOG, ArrowCompression::None, rows);
        fill(&mut cluster, fake::ZSTD, ArrowCompression::Zstd { level: 3 }, rows);
        local::start_with(cluster, |config| config)
    };
    let (fluss, apart) = (start(), start());
    println!("nanoseconds per row by the clock, lowest of {rounds} rounds of about {rows} rows");
    println!("{:<17} | {:>7} {:>7} faster | two clients faster |", "", "1", "2");
    for (name, path, one_by_one) in [
        ("Arrow", fake::LOG, false),
        ("Arrow, ZSTD", fake::ZSTD, false),
        ("rows", fake::LOG, true),
        ("rows, ZSTD", fake::ZSTD, true),
    ] {
        let table = fluss.table(path).wait().expect("the table");
        let keys = table.buckets().wait().expect("buckets");
        let mut lowest = [f64::INFINITY; 3];
        let cases = [(1, &fluss), (2, &fluss), (2, &apart)];
        for _ in 0..rounds {
            for ((threads, other), lowest) in cases.into_iter().zip(&mut lowest) {
                let scanners = [(&fluss, &keys[..2]), (other, &keys[2..])];
                let scanners = scanners.map(|(client, half)| filled(client, path, half, rows));
                let (seconds, rows) = measure(scanners, threads, one_by_one);
                *lowest = lowest.min(seconds * 1e9 / rows as f64);
            }
        }
        let [one, two, own] = lowest;
        let (faster, at_best) = (one / two, one / own);
        let verdict = if faster >= BOUND { "met" } else { "MISSED" };
        println!(
            "{name:<17} | {one:7.1} {two:7.1} {faster:6.2} | {own:11.1} {at_best:6.2} | at least \
             {BOUND}: {verdict}"
        );
    }
    for client in [fluss, apart] {
        client.close(Duration::from_secs(10)).wait().expect("a client that closes");
    }
}
