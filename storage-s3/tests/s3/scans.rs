//! Scans on every runtime whose segments are in S3: a fake cluster tells where they are and gives
//! the keys, the S3 server of these tests serves the bytes, and things go wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use fluss_core::config::{Config, Store};
use fluss_core::ids::BucketKey;
use fluss_core::row::{DataType, Schema, TableDescriptor};
use fluss_core::testing::cluster::FakeCluster;
use fluss_core::testing::loopback::{Loopback, within};
use fluss_core::{Fluss, LogScanner, Pending, Result, ScanBatch, ScanBuilder};
use fluss_storage_s3::S3Storage;

use super::loopback::S3Server;

const REGION: &str = "eu-test-1";
const TABLE: &str = "fluss.moved";
const SECURITY_TOKEN: i16 = 1025;
const BUCKETS: u32 = 4;
const ROWS: i64 = 400;
/// Bytes of a bucket that are read at once, some rows.
const PART: usize = 2 << 10;
const BUFFER: u64 = 32 << 10;
/// No case takes nearly as long.
const LIMIT: Duration = Duration::from_secs(120);

/// How a runtime starts a client and waits.
trait Runtime {
    fn start(&self, config: Config) -> Fluss;
    fn wait<T>(&self, call: Pending<T>) -> Result<T>;
    fn batch(&self, scanner: &mut LogScanner) -> Result<Option<ScanBatch>>;
}

struct Tokio(tokio::runtime::Runtime);
struct Smol;
struct Blocking;

impl Runtime for Tokio {
    fn start(&self, config: Config) -> Fluss {
        self.0.block_on(fluss_tokio::start(config)).expect("a client")
    }

    fn wait<T>(&self, call: Pending<T>) -> Result<T> {
        self.0.block_on(call)
    }

    fn batch(&self, scanner: &mut LogScanner) -> Result<Option<ScanBatch>> {
        self.0.block_on(scanner.next_batch())
    }
}

impl Runtime for Smol {
    fn start(&self, config: Config) -> Fluss {
        smol::block_on(fluss_smol::start(config)).expect("a client")
    }

    fn wait<T>(&self, call: Pending<T>) -> Result<T> {
        smol::block_on(call)
    }

    fn batch(&self, scanner: &mut LogScanner) -> Result<Option<ScanBatch>> {
        smol::block_on(scanner.next_batch())
    }
}

impl Runtime for Blocking {
    fn start(&self, config: Config) -> Fluss {
        fluss_embedded::start(config).expect("a client")
    }

    fn wait<T>(&self, call: Pending<T>) -> Result<T> {
        call.wait()
    }

    fn batch(&self, scanner: &mut LogScanner) -> Result<Option<ScanBatch>> {
        scanner.next_batch().wait()
    }
}

/// A cluster whose rows were moved to S3 but for the last ones of each bucket, and that S3.
struct Stage {
    fake: Arc<Loopback>,
    s3: S3Server,
}

impl Stage {
    /// `runtime` writes the rows.
    fn new(runtime: &impl Runtime) -> Self {
        let fake = Arc::new(Loopback::new().expect("loopback ports"));
        let column = Schema::builder().column("id", DataType::BIGINT);
        let schema = column.column("text", DataType::STRING).build().expect("a schema");
        let mut table = TableDescriptor::new(schema);
        table.bucket_count = Some(BUCKETS);
        let plain = ("table.log.arrow.compression.type".to_owned(), "NONE".to_owned());
        table.properties.extend([plain]);
        fake.create_table(TABLE, &table).expect("a table");
        let stage = Self { s3: serve(&fake), fake };
        let fluss = runtime.start(stage.config());
        let table = runtime.wait(fluss.table(TABLE)).expect("it is there");
        let writer = table.appender().linger(Duration::ZERO).build().expect("a writer");
        let text = "x".repeat(100);
        for id in 0..ROWS {
            drop(writer.append(&(id, &*text)).wait().expect("room"));
            // Batches of a few rows.
            if id % 20 == 19 {
                writer.flush().wait().expect("written");
            }
        }
        let endpoint = stage.s3.endpoint();
        stage.fake.with(|cluster| {
            cluster.set_remote_root("s3://lake/fluss data");
            cluster.give_keys(Some(Duration::from_secs(3600)));
            cluster.add_token_setting("fs.s3a.endpoint", &endpoint);
            cluster.add_token_setting("fs.s3a.region", REGION);
            let buckets: Vec<BucketKey> = cluster.buckets(table.info().id).collect();
            for bucket in buckets {
                let end = cluster.truth(bucket).expect("it is there").log_end;
                for end in [end / 4, end / 2, end - 5] {
                    cluster.move_to_remote(bucket, end);
                }
                assert!(cluster.moved_segments(bucket) > 0);
            }
        });
        stage
    }

    fn config(&self) -> Config {
        let config = Config::new(&self.fake.bootstrap()).expect("an address");
        config.store(Store::new(S3Storage::new()))
    }

    /// How often tokens were asked for.
    fn tokens(&self) -> u64 {
        let asked = |cluster: &mut FakeCluster| cluster.requests().get(&SECURITY_TOKEN).copied();
        self.fake.with(asked).unwrap_or_default()
    }

    /// Reads to the end, from S3 and on in the live log: every row once, in the order of its
    /// bucket.
    fn read_all(&self, runtime: &impl Runtime, scan: impl FnOnce(ScanBuilder) -> ScanBuilder) {
        let fluss = runtime.start(self.config());
        let table = runtime.wait(fluss.table(TABLE)).expect("it is there");
        let scanner = table.scanner().bounded().max_bytes_per_bucket(PART).buffer_limit(BUFFER);
        let mut scanner = runtime.wait(scan(scanner).build()).expect("a scanner");
        let mut found: BTreeMap<BucketKey, Vec<i64>> = BTreeMap::new();
        while let Some(batch) = runtime.batch(&mut scanner).expect("readable") {
            let ids = found.entry(batch.bucket()).or_default();
            assert_eq!(batch.base_offset(), ids.len() as i64, "{}", batch.bucket());
            let records = batch.record_batch();
            let column = records.column_by_name("id").expect("a column");
            ids.extend(column.as_primitive::<Int64Type>().values());
        }
        assert!(scanner.is_finished());
        assert!(found.values().all(|ids| ids.is_sorted()), "out of order: {found:?}");
        let mut ids: Vec<i64> = found.into_values().flatten().collect();
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0..ROWS), "rows are missing or come twice");
    }
}

/// An S3 server of what the cluster has in remote storage, for the keys that it gave out.
fn serve(fake: &Arc<Loopback>) -> S3Server {
    let (objects, keys) = (Arc::clone(fake), Arc::clone(fake));
    let object =
        move |name: &str| objects.with(|cluster| cluster.object_bytes(&format!("s3://{name}")));
    let keys = move |id: &str| keys.with(|cluster| cluster.issued_keys(id));
    S3Server::start(REGION, object, Some(Box::new(keys)))
}

/// Keys that are good for a few reads only, and a server that fails by chance.
fn everything_goes_wrong(runtime: &impl Runtime, seed: u64) {
    eprintln!("seed {seed}");
    let stage = Stage::new(runtime);
    stage.s3.disturb(seed, 5);
    stage.s3.expire_after(12);
    stage.read_all(runtime, |scan| scan);
    stage.read_all(runtime, |scan| scan.columns(["id"]));
    let seen = stage.s3.seen();
    eprintln!("{seen:?}, {} tokens", stage.tokens());
    assert!(seen.refused["ExpiredToken"] > 0, "no keys expired: {seen:?}");
    assert_eq!(seen.refused.len(), 1, "the signatures are good: {seen:?}");
    assert!(seen.keys.len() > 2 && stage.tokens() >= seen.keys.len() as u64, "{seen:?}");
    assert!(seen.faults.values().sum::<usize>() > 5, "{seen:?}");
}

/// Reads beside each other, within the budget, with one token, over kept connections.
fn reads_go_beside_each_other(runtime: &impl Runtime) {
    let stage = Stage::new(runtime);
    stage.s3.wait_for(3);
    stage.read_all(runtime, |scan| scan);
    let seen = stage.s3.seen();
    assert!((3..=4).contains(&seen.most), "{seen:?}");
    assert!(seen.most_bytes <= BUFFER / 2, "{seen:?}");
    assert!(seen.requests > 3 * seen.connections, "{seen:?}");
    assert_eq!((stage.tokens(), seen.keys.len()), (1, 1));
    assert!(seen.refused.is_empty(), "{seen:?}");
}

fn tokio() -> Tokio {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    Tokio(runtime.worker_threads(2).enable_all().build().expect("a runtime"))
}

#[test]
fn a_scan_from_s3_has_each_row_once_whatever_goes_wrong_on_tokio() {
    within(LIMIT, || everything_goes_wrong(&tokio(), 11));
}

#[test]
fn a_scan_from_s3_has_each_row_once_whatever_goes_wrong_on_smol() {
    within(LIMIT, || everything_goes_wrong(&Smol, 12));
}

#[test]
fn a_scan_from_s3_has_each_row_once_whatever_goes_wrong_on_blocking_threads() {
    within(LIMIT, || everything_goes_wrong(&Blocking, 13));
}

#[test]
fn segments_in_s3_are_read_beside_each_other_within_the_budget_on_tokio() {
    within(LIMIT, || reads_go_beside_each_other(&tokio()));
}

#[test]
fn segments_in_s3_are_read_beside_each_other_within_the_budget_on_smol() {
    within(LIMIT, || reads_go_beside_each_other(&Smol));
}

#[test]
fn segments_in_s3_are_read_beside_each_other_within_the_budget_on_blocking_threads() {
    within(LIMIT, || reads_go_beside_each_other(&Blocking));
}
