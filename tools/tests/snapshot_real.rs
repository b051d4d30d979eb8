//! The rows of primary-key tables of a real cluster as they are now, and what changes them after
//! that, on every runtime and by the command line.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fluss_embedded::config::Config;
use fluss_embedded::rng::Rng;
use fluss_embedded::row::{DataType, Datum, Schema, TableDescriptor};
use fluss_embedded::{
    ChangeType, Fluss, Pending, Result, ScanEvent, SnapshotBatch, SnapshotChanges, SnapshotEvent,
    SnapshotPosition, SnapshotReader, Table,
};
use fluss_tools::cluster::{ClusterOptions, RealCluster, TableLosses, real_cluster_or_skip};
use fluss_tools::main_job::nothing_held;
use serde_json::Value;

const BUCKETS: u32 = 3;
const KEYS: u64 = 2_000;
const SEED: u64 = 20_261_121;
static LOSSES: TableLosses = TableLosses::new();

/// Rows by their keys.
type Rows = BTreeMap<i64, (String, Option<i32>)>;
type Start<'a> = &'a dyn Fn(Config) -> Result<Fluss>;

/// How a runtime waits.
trait Waits {
    fn build<T>(&self, call: Pending<T>) -> T;
    fn batch(&self, reader: &mut SnapshotReader) -> Option<SnapshotBatch>;
    fn event(&self, reader: &mut SnapshotChanges) -> SnapshotEvent;
}

struct Tokio<'a>(&'a tokio::runtime::Runtime);
struct Smol;
struct Blocking;

impl Waits for Tokio<'_> {
    fn build<T>(&self, call: Pending<T>) -> T {
        self.0.block_on(call).expect("a reader")
    }

    fn batch(&self, reader: &mut SnapshotReader) -> Option<SnapshotBatch> {
        self.0.block_on(reader.next_batch()).expect("rows")
    }

    fn event(&self, reader: &mut SnapshotChanges) -> SnapshotEvent {
        self.0.block_on(reader.next_event()).expect("no error").expect("no end")
    }
}

impl Waits for Smol {
    fn build<T>(&self, call: Pending<T>) -> T {
        smol::block_on(call).expect("a reader")
    }

    fn batch(&self, reader: &mut SnapshotReader) -> Option<SnapshotBatch> {
        smol::block_on(reader.next_batch()).expect("rows")
    }

    fn event(&self, reader: &mut SnapshotChanges) -> SnapshotEvent {
        smol::block_on(reader.next_event()).expect("no error").expect("no end")
    }
}

impl Waits for Blocking {
    fn build<T>(&self, call: Pending<T>) -> T {
        call.wait().expect("a reader")
    }

    fn batch(&self, reader: &mut SnapshotReader) -> Option<SnapshotBatch> {
        reader.next_batch().wait().expect("rows")
    }

    fn event(&self, reader: &mut SnapshotChanges) -> SnapshotEvent {
        reader.next_event().wait().expect("no error").expect("no end")
    }
}

fn config(cluster: &RealCluster) -> Config {
    let seed = fluss_embedded::random_seed();
    Config::new(&cluster.bootstrap().join(",")).expect("addresses").seed(seed)
}

/// `id BIGINT, name STRING, n INT`, by `id`.
fn make(cluster: &RealCluster, fluss: &Fluss, name: &str, properties: &[(&str, &str)]) -> Table {
    let schema = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("name", DataType::STRING)
        .column("n", DataType::INT)
        .primary_key(["id"])
        .build()
        .expect("a schema");
    let mut table = TableDescriptor::new(schema);
    table.bucket_count = Some(BUCKETS);
    for (key, value) in properties {
        table.properties.insert((*key).to_owned(), (*value).to_owned());
    }
    let made = LOSSES.open(cluster, fluss, &format!("fluss.{name}"), &table, None);
    made.expect("a table with leaders")
}

/// Random upserts and deletes, written when this returns; `rows` follows.
fn change(table: &Table, rng: &mut Rng, rows: &mut Rows, count: usize) {
    let writer = table.upserter().build().expect("a writer");
    for _ in 0..count {
        let id = rng.below(KEYS) as i64;
        let ticket = if rng.one_in(4) {
            rows.remove(&id);
            writer.delete(&(id,)).wait()
        } else {
            let n = (!rng.one_in(8)).then(|| rng.below(1 << 20) as i32);
            let name = format!("name {}", rng.below(1 << 30));
            rows.insert(id, (name.clone(), n));
            writer.upsert(&(id, name, n)).wait()
        };
        drop(ticket.expect("taken"));
    }
    writer.flush().wait().expect("written");
    nothing_held(table.fluss());
}

/// Takes one row as a change of what is known.
fn apply(rows: &mut Rows, change: ChangeType, values: [Datum<'_>; 3]) {
    let [Datum::Int64(id), Datum::Str(name), n] = values else { panic!("{values:?}") };
    let n = match n {
        Datum::Null => None,
        Datum::Int32(n) => Some(n),
        other => panic!("{other:?}"),
    };
    let row = (name.to_owned(), n);
    match change {
        ChangeType::UpdateBefore | ChangeType::Delete => {
            assert_eq!(rows.remove(&id), Some(row), "not what was there: {change:?} {id}");
        }
        _ => assert_eq!(rows.insert(id, row), None, "it was there already: {change:?} {id}"),
    }
}

macro_rules! apply_all {
    ($rows:expr, $batch:expr) => {
        for row in $batch.rows().expect("readable").iter() {
            let value = |column| row.value(column).expect("a value");
            apply($rows, row.change_type(), [value(0), value(1), value(2)]);
        }
    };
}

fn read(waits: &impl Waits, table: &Table) -> Rows {
    let mut reader = waits.build(table.snapshot().build());
    let mut rows = Rows::new();
    while let Some(batch) = waits.batch(&mut reader) {
        assert!(batch.log_offset().is_some(), "its changelog is whole");
        apply_all!(&mut rows, batch);
    }
    rows
}

/// By one answer for each bucket, where all rows fit it.
fn read_by_limit(waits: &impl Waits, table: &Table, limit: u64) -> Rows {
    let mut reader = waits.build(table.snapshot().limit(limit).build());
    let mut rows = Rows::new();
    while let Some(batch) = waits.batch(&mut reader) {
        apply_all!(&mut rows, batch);
    }
    rows
}

fn on_runtime(cluster: &RealCluster, runtime: &str, start: Start<'_>, waits: &impl Waits) {
    let fluss = start(config(cluster)).expect("a client");
    let mut rng = Rng::new(SEED);
    let formats: [&[(&str, &str)]; 4] = [
        &[],
        &[("table.kv.format", "INDEXED")],
        &[("table.log.format", "COMPACTED")],
        &[("table.changelog.image", "WAL")],
    ];
    for (number, properties) in formats.into_iter().enumerate() {
        let name = format!("{runtime}_snapshot_{number}");
        let table = make(cluster, &fluss, &name, properties);
        assert!(read(waits, &table).is_empty());
        let mut rows = Rows::new();
        change(&table, &mut rng, &mut rows, 5_000);
        assert_eq!(read(waits, &table), rows, "seed {SEED}: {name}");
        assert_eq!(read_by_limit(waits, &table, KEYS), rows, "seed {SEED}: {name}");
        let some = read_by_limit(waits, &table, 100);
        assert_eq!(some.len(), 100, "{name}");
        assert!(some.iter().all(|(id, row)| rows.get(id) == Some(row)), "{name}");
        if !name.ends_with('3') {
            // Logs without old rows cannot be held against what they change.
            follow(waits, &table, &mut rng, &mut rows);
        }
    }
    follow_days(cluster, &fluss, &format!("{runtime}_days"), waits);
}

/// A primary-key table with a partition for each day.
fn days(cluster: &RealCluster, fluss: &Fluss, name: &str) -> Table {
    let schema = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("name", DataType::STRING)
        .column("n", DataType::INT)
        .column("day", DataType::STRING.not_null())
        .primary_key(["id", "day"])
        .build()
        .expect("a schema");
    let mut table = TableDescriptor::new(schema);
    (table.bucket_count, table.partition_key) = (Some(BUCKETS), vec![3]);
    let made = LOSSES.open(cluster, fluss, &format!("fluss.{name}"), &table, Some(("day", "0")));
    made.expect("a table with leaders")
}

/// Partitions that are made and dropped while their table is followed.
fn follow_days(cluster: &RealCluster, fluss: &Fluss, name: &str, waits: &impl Waits) {
    let table = days(cluster, fluss, name);
    let writer = table.upserter().build().expect("a writer");
    let mut rows = Rows::new();
    let mut put = |day: &str, ids: std::ops::Range<i64>| {
        for id in ids {
            let name = format!("name {id}");
            rows.insert(id, (name.clone(), Some(1)));
            drop(writer.upsert(&(id, name, 1, day)).wait().expect("taken"));
        }
        writer.flush().wait().expect("written");
        rows.clone()
    };
    put("1", 0..200);
    let interval = Some(fluss_embedded::time::Duration::from_millis(200));
    let (path, left) = (table.info().path.to_string(), Arc::new(AtomicBool::new(false)));
    fluss.admin().create_partition(&path, &[("day", "4")], false).wait().expect("made");
    let heard = Arc::clone(&left);
    let builder = table.snapshot_then_changes().buckets_at_once(1).discover_partitions(interval);
    let builder = builder.on_event(move |event| {
        if matches!(event, ScanEvent::PartitionDropped { name, .. } if **name == *"4") {
            heard.store(true, Ordering::Relaxed);
        }
    });
    let mut reader = waits.build(builder.build());
    // Before any state was told: most likely it is gone when it is its turn.
    fluss.admin().drop_partition(&path, &[("day", "4")], false).wait().expect("dropped");
    let (mut copies, mut begun, mut ended) = (BTreeMap::<_, Rows>::new(), 0, 0);
    let mut until = |expected: &Rows, waits: &_| loop {
        let all: Rows = copies.values().flat_map(Rows::clone).collect();
        if all == *expected && ended == begun {
            return begun;
        }
        match Waits::event(waits, &mut reader) {
            SnapshotEvent::StateBegins { bucket } => {
                begun += 1;
                assert!(copies.insert(bucket, Rows::new()).is_none(), "{bucket} begins again");
            }
            SnapshotEvent::State(batch) => {
                apply_all!(copies.get_mut(&batch.bucket()).expect("begun"), batch);
            }
            SnapshotEvent::Changes(batch) => {
                apply_all!(copies.get_mut(&batch.bucket()).expect("begun"), batch);
            }
            SnapshotEvent::StateEnds { .. } => ended += 1,
            other => panic!("{other:?}"),
        }
    };
    let before = until(&put("1", 200..210), waits);
    let found = until(&put("2", 300..500), waits);
    assert_eq!(found - before, BUCKETS, "each bucket of the new partition begins");
    fluss.admin().drop_partition(&path, &[("day", "1")], false).wait().expect("dropped");
    until(&put("3", 600..650), waits);
    until(&put("2", 500..510), waits);
    for id in 510..800 {
        if left.load(Ordering::Relaxed) {
            return;
        }
        until(&put("2", id..id + 1), waits);
    }
    panic!("nothing was told of a partition that was dropped before its state was");
}

/// The state, then changes, with a reader that dies in the middle of both.
fn follow(waits: &impl Waits, table: &Table, rng: &mut Rng, rows: &mut Rows) {
    let mut copies: BTreeMap<_, Rows> = BTreeMap::new();
    let mut positions: Option<BTreeMap<_, SnapshotPosition>> = None;
    let mut left = 6;
    loop {
        let mut builder = table.snapshot_then_changes().fetch_bytes(4_096);
        if let Some(positions) = positions.take() {
            builder = builder.from_positions(positions);
        }
        let mut reader = waits.build(builder.build());
        for event in 0.. {
            let all: Rows = copies.values().flat_map(Rows::clone).collect();
            let is_state = reader.changes().is_none();
            if left == 0 && !is_state && all == *rows {
                return;
            }
            if left > 0 && event % 4 == 3 {
                left -= 1;
                change(table, rng, rows, 300);
                if left % 2 == 0 {
                    break;
                }
            }
            if left > 0 && !is_state && all == *rows {
                left -= 1;
                change(table, rng, rows, 300);
            }
            match waits.event(&mut reader) {
                SnapshotEvent::StateBegins { bucket } => drop(copies.insert(bucket, Rows::new())),
                SnapshotEvent::State(batch) => {
                    apply_all!(copies.get_mut(&batch.bucket()).expect("begun"), batch);
                }
                SnapshotEvent::Changes(batch) => {
                    apply_all!(copies.get_mut(&batch.bucket()).expect("begun"), batch);
                }
                _ => {}
            }
        }
        positions = Some(reader.positions());
    }
}

#[test]
fn rows_as_they_are_now_and_what_changes_them_come_from_a_real_cluster_on_every_runtime() {
    let name =
        "rows_as_they_are_now_and_what_changes_them_come_from_a_real_cluster_on_every_runtime";
    if !real_cluster_or_skip(name) {
        return;
    }
    let cluster = RealCluster::start(ClusterOptions::default()).expect("a cluster");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let tokio: Start<'_> = &|config| runtime.block_on(fluss_tokio::start(config));
    on_runtime(&cluster, "tokio", tokio, &Tokio(&runtime));
    let smol: Start<'_> = &|config| smol::block_on(fluss_smol::start(config));
    on_runtime(&cluster, "smol", smol, &Smol);
    on_runtime(&cluster, "embedded", &fluss_embedded::start, &Blocking);
}

/// Runs the command line; the lines it printed.
fn fluss(cluster: &RealCluster, arguments: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_fluss"))
        .args(arguments)
        .args(["--bootstrap", &cluster.bootstrap().join(",")])
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn row_of(value: &Value) -> (i64, (String, Option<i32>)) {
    let n = value["n"].as_i64().map(|n| i32::try_from(n).expect("an INT"));
    let name = value["name"].as_str().expect("a name").to_owned();
    (value["id"].as_i64().expect("a key"), (name, n))
}

#[test]
fn scan_and_consume_with_a_snapshot_print_the_rows_of_a_real_cluster() {
    let name = "scan_and_consume_with_a_snapshot_print_the_rows_of_a_real_cluster";
    if !real_cluster_or_skip(name) {
        return;
    }
    let cluster = RealCluster::start(ClusterOptions::default()).expect("a cluster");
    let client = fluss_embedded::start(config(&cluster)).expect("a client");
    let table = make(&cluster, &client, "cli_snapshot", &[]);
    let path = table.info().path.to_string();
    let (mut rng, mut rows) = (Rng::new(SEED), Rows::new());
    change(&table, &mut rng, &mut rows, 6_000);
    let scanned = fluss(&cluster, &["scan", &path]);
    assert_eq!(scanned.len(), rows.len());
    assert_eq!(scanned.iter().map(row_of).collect::<Rows>(), rows);
    let some = fluss(&cluster, &["scan", &path, "--limit=30", "--columns=n,id"]);
    assert_eq!(some.len(), 30);
    assert!(some.iter().all(|row| row.as_object().is_some_and(|row| row.len() == 2)));
    let ends = fluss(&cluster, &["offsets", &path]);
    let end = |bucket: &Value| {
        ends.iter().find(|end| end["bucket"] == *bucket).expect("a bucket")["offset"].clone()
    };
    let records = fluss(&cluster, &["consume", &path, "--snapshot"]);
    assert_eq!(records.len(), rows.len());
    for record in &records {
        assert_eq!((&record["change"], &record["offset"]), (&"+I".into(), &end(&record["bucket"])));
    }
    assert_eq!(records.iter().map(|record| row_of(&record["row"])).collect::<Rows>(), rows);
}
