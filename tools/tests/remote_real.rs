//! Logs of a real cluster whose older segments were moved to remote storage, a directory here: a
//! scan from the earliest offset crosses from there to the live log, on every runtime.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fluss_embedded::config::{Config, ObjectPart, Storage, StorageError, StorageErrorKind, Store};
use fluss_embedded::ids::{BucketKey, PartitionId};
use fluss_embedded::rng::Rng;
use fluss_embedded::row::{Column, DataType, Datum, Schema, TableDescriptor};
use fluss_embedded::{
    ChangeType, Fluss, LogScanner, Pending, Result, ScanBatch, ScanBuilder, Table,
};
use fluss_tools::cluster::{ClusterOptions, RealCluster, TableLosses, real_cluster_or_skip};
use fluss_tools::main_job::nothing_held;

const BUCKETS: u32 = 2;
/// Rows of a table or, of a partitioned one, of each partition.
const ROWS: i64 = 4_000;
const DAYS: [&str; 3] = ["2026-11-21", "2026-11-22", "2026-11-23"];
const SEED: u64 = 20_261_122;
/// How long servers may take to move segments away.
const PATIENCE: Duration = Duration::from_secs(120);
static LOSSES: TableLosses = TableLosses::new();

type Start<'a> = &'a dyn Fn(Config) -> Result<Fluss>;

/// What kind of table.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// With a primary key, whose changelog is read.
    keyed: bool,
    /// With a partition for each of [`DAYS`].
    days: bool,
}

impl Kind {
    fn of(path: &str) -> Self {
        Self { keyed: path.contains("keyed"), days: path.contains("days") }
    }

    fn partitions(self) -> usize {
        if self.days { DAYS.len() } else { 1 }
    }

    fn rows(self) -> i64 {
        ROWS * self.partitions() as i64
    }
}

fn day(id: i64) -> &'static str {
    DAYS[id as usize % DAYS.len()]
}

/// How a runtime waits.
trait Waits {
    fn build(&self, call: Pending<LogScanner>) -> LogScanner;
    fn batch(&self, scanner: &mut LogScanner) -> Result<Option<ScanBatch>>;
}

struct Tokio<'a>(&'a tokio::runtime::Runtime);
struct Smol;
struct Blocking;

impl Waits for Tokio<'_> {
    fn build(&self, call: Pending<LogScanner>) -> LogScanner {
        self.0.block_on(call).expect("a scanner")
    }

    fn batch(&self, scanner: &mut LogScanner) -> Result<Option<ScanBatch>> {
        self.0.block_on(scanner.next_batch())
    }
}

impl Waits for Smol {
    fn build(&self, call: Pending<LogScanner>) -> LogScanner {
        smol::block_on(call).expect("a scanner")
    }

    fn batch(&self, scanner: &mut LogScanner) -> Result<Option<ScanBatch>> {
        smol::block_on(scanner.next_batch())
    }
}

impl Waits for Blocking {
    fn build(&self, call: Pending<LogScanner>) -> LogScanner {
        call.wait().expect("a scanner")
    }

    fn batch(&self, scanner: &mut LogScanner) -> Result<Option<ScanBatch>> {
        scanner.next_batch().wait()
    }
}

/// Counts the bytes that are read; with `troubled`, every other read fails or is cut.
struct Counted {
    files: Store,
    bytes: Arc<AtomicU64>,
    reads: AtomicU64,
    troubled: bool,
}

impl Storage for Counted {
    fn read(&self, part: &ObjectPart) -> Result<Bytes, StorageError> {
        let number = self.reads.fetch_add(1, Ordering::Relaxed);
        if self.troubled && number % 4 == 1 {
            return Err(StorageError::new(part, StorageErrorKind::Unavailable, "injected"));
        }
        let mut bytes = self.files.read(part)?;
        if self.troubled && number % 4 == 3 {
            bytes.truncate(1 + bytes.len() / 3);
        }
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

fn counted(troubled: bool) -> (Store, Arc<AtomicU64>) {
    let bytes = Arc::<AtomicU64>::default();
    let files = Store::of_files(|path| File::open(path));
    let reads = AtomicU64::new(0);
    (Store::new(Counted { files, bytes: Arc::clone(&bytes), reads, troubled }), bytes)
}

fn config(cluster: &RealCluster) -> Config {
    let seed = fluss_embedded::random_seed();
    Config::new(&cluster.bootstrap().join(",")).expect("addresses").seed(seed)
}

/// Servers that move segments away as soon as they are full, which is soon. A changelog stays where
/// it is until a snapshot of the rows covers it.
fn options() -> ClusterOptions {
    ClusterOptions::default()
        .set("log.segment.file-size", "64kb")
        .set("log.index.file-size", "16kb")
        .set("remote.log.task-interval-duration", "1s")
        .set("kv.snapshot.interval", "2s")
}

/// `id BIGINT, text STRING, n INT`, and the day where that is the partition.
fn make(cluster: &RealCluster, fluss: &Fluss, name: &str, format: &str) -> Table {
    let kind = Kind::of(name);
    let schema = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("text", DataType::STRING)
        .column("n", DataType::INT);
    let schema = match kind.days {
        true => schema.column("day", DataType::STRING.not_null()),
        false => schema,
    };
    let schema = match (kind.keyed, kind.days) {
        (false, _) => schema,
        (true, false) => schema.primary_key(["id"]),
        (true, true) => schema.primary_key(["id", "day"]),
    };
    let mut table = TableDescriptor::new(schema.build().expect("a schema"));
    table.bucket_count = Some(BUCKETS);
    table.properties.insert("table.log.format".to_owned(), format.to_owned());
    let mut probe = None;
    if kind.days {
        table.partition_key = vec![3];
        probe = Some(("day", DAYS[0]));
    }
    let made = LOSSES.open(cluster, fluss, &format!("fluss.{name}"), &table, probe);
    made.expect("a table with leaders")
}

fn text(id: i64) -> String {
    let mut rng = Rng::new(SEED ^ id.cast_unsigned());
    (0..8).map(|_| format!("{:016x}", rng.below(u64::MAX))).collect()
}

/// Rows with all ids, each once.
fn fill(table: &Table, kind: Kind) {
    let n = |id: i64| (id % 7 != 0).then_some(i32::try_from(id % 1_000).expect("small"));
    let ids = 0..kind.rows();
    let (plain, of_day) = (|id| (id, text(id), n(id)), |id| (id, text(id), n(id), day(id)));
    if kind.keyed {
        let writer = table.upserter().batch_bytes(8 << 10).build().expect("a writer");
        let taken = match kind.days {
            true => writer.upsert_all(ids.map(of_day)).wait(),
            false => writer.upsert_all(ids.map(plain)).wait(),
        };
        drop(taken.expect("taken"));
        return writer.flush().wait().expect("written");
    }
    let writer = table.appender().batch_bytes(8 << 10).build().expect("a writer");
    let taken = match kind.days {
        true => writer.append_all(ids.map(of_day)).wait(),
        false => writer.append_all(ids.map(plain)).wait(),
    };
    drop(taken.expect("taken"));
    writer.flush().wait().expect("written");
}

/// All rows from the earliest offset to what is the end now: each id once, offsets without gaps.
fn check(waits: &impl Waits, builder: ScanBuilder, columns: [usize; 2], kind: Kind) {
    let mut scanner = waits.build(builder.bounded().build());
    let mut next: BTreeMap<BucketKey, i64> = BTreeMap::new();
    let mut ids: BTreeMap<i64, BucketKey> = BTreeMap::new();
    let [id_at, text_at] = columns;
    while let Some(batch) = waits.batch(&mut scanner).expect("rows") {
        let bucket = batch.bucket();
        let next = next.entry(bucket).or_default();
        assert_eq!(batch.base_offset(), *next, "{bucket}");
        for row in batch.rows().expect("readable").iter() {
            let change = if kind.keyed { ChangeType::Insert } else { ChangeType::Append };
            assert_eq!((row.offset(), row.change_type()), (*next, change), "{bucket}");
            let Ok(Datum::Int64(id)) = row.value(id_at) else { panic!("no id") };
            assert_eq!(row.value(text_at), Ok(Datum::Str(&text(id))), "{bucket}: row {id}");
            assert_eq!(ids.insert(id, bucket), None, "{bucket}: row {id} came twice");
            *next += 1;
        }
    }
    assert_eq!(ids.len() as i64, kind.rows(), "all rows");
    assert!(ids.keys().copied().eq(0..kind.rows()));
    assert_eq!(next.len(), BUCKETS as usize * kind.partitions());
    if kind.days {
        let mut days: BTreeMap<Option<PartitionId>, &str> = BTreeMap::new();
        for (id, bucket) in ids {
            let found = *days.entry(bucket.partition).or_insert(day(id));
            assert_eq!(found, day(id), "{bucket}: row {id}");
        }
        assert_eq!(days.len(), DAYS.len());
    }
}

/// Reads until all buckets have segments in remote storage, to which the reader is sent.
fn await_remote(cluster: &RealCluster, table: &Table, kind: Kind) {
    let until = Instant::now() + PATIENCE;
    let path = table.info().path.to_string();
    let buckets = table.buckets().wait().expect("its buckets");
    assert_eq!(buckets.len(), BUCKETS as usize * kind.partitions());
    for bucket in buckets {
        // A client for each, as one may still read of a bucket that nobody waits for any more.
        let (store, bytes) = counted(false);
        let fluss = fluss_embedded::start(config(cluster).store(store)).expect("a client");
        let table = waits_for_table(&fluss, &path);
        while bytes.load(Ordering::Relaxed) == 0 {
            assert!(Instant::now() < until, "no segment of {bucket} was moved");
            let mut scanner = table.scanner().buckets([bucket]).build().wait().expect("a scanner");
            scanner.next_batch().wait().expect("rows");
        }
    }
    check(&Blocking, table.scanner(), [0, 1], kind);
}

fn on_runtime(cluster: &RealCluster, path: &str, start: Start<'_>, waits: &impl Waits) {
    let kind = Kind::of(path);
    // With what the adapter brings.
    let fluss = start(config(cluster)).expect("a client");
    let table = waits_for_table(&fluss, path);
    check(waits, table.scanner(), [0, 1], kind);
    // Some columns only, which the servers cannot pick out of segments, and one that is newer.
    check(waits, table.scanner().columns(["text", "extra", "id"]), [2, 0], kind);
    check(waits, table.scanner().columns(["id", "text"]), [0, 1], kind);
    // By a store that fails now and then, in parts that cut batches, within a small budget.
    let (store, bytes) = counted(true);
    let fluss = start(config(cluster).store(store)).expect("a client");
    let table = waits_for_table(&fluss, path);
    let small = table.scanner().max_bytes_per_bucket(5_000).buffer_limit(64 << 10);
    check(waits, small, [0, 1], kind);
    let remote = bytes.load(Ordering::Relaxed);
    assert!(remote > 100 << 10, "{path}: only {remote} bytes from remote storage");
}

fn waits_for_table(fluss: &Fluss, path: &str) -> Table {
    fluss.table(path).wait().expect("a table")
}

#[test]
fn a_scan_crosses_from_remote_storage_to_the_live_log_of_a_real_cluster_on_every_runtime() {
    let name =
        "a_scan_crosses_from_remote_storage_to_the_live_log_of_a_real_cluster_on_every_runtime";
    if !real_cluster_or_skip(name) {
        return;
    }
    let cluster = RealCluster::start(options()).expect("a cluster");
    let fluss = fluss_embedded::start(config(&cluster)).expect("a client");
    let tables = [
        ("remote_arrow", "ARROW"),
        ("remote_indexed", "INDEXED"),
        ("remote_compacted", "COMPACTED"),
        ("remote_keyed", "ARROW"),
        ("remote_days", "ARROW"),
        ("remote_keyed_days", "ARROW"),
    ];
    let tables = tables.map(|(name, format)| {
        let table = make(&cluster, &fluss, name, format);
        fill(&table, Kind::of(name));
        table
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let tokio: Start<'_> = &|config| runtime.block_on(fluss_tokio::start(config));
    let smol: Start<'_> = &|config| smol::block_on(fluss_smol::start(config));
    for table in tables {
        await_remote(&cluster, &table, Kind::of(&table.info().path.table));
        let path = table.info().path.to_string();
        let extra = Column::new("extra", DataType::INT);
        fluss.admin().add_columns(&path, &[extra]).wait().expect("a column more");
        on_runtime(&cluster, &path, tokio, &Tokio(&runtime));
        on_runtime(&cluster, &path, smol, &Smol);
        on_runtime(&cluster, &path, &fluss_embedded::start, &Blocking);
    }
    nothing_held(&fluss);
}
