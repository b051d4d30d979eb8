//! Reading a real cluster on tokio, smol and blocking threads: metadata columns, structs, buckets
//! added and paused under way, columns left out by the server and here, rows chosen by their
//! values, bounded scans, wake-ups, Arrow readers and streams, partitions that come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMillisecondType};
use fluss_core::config::Config;
use fluss_core::ids::BucketKey;
use fluss_core::row::{Column, DataType, OwnedDatum, OwnedRow, Schema, TableDescriptor};
use fluss_core::{
    EARLIEST, Error, Filter, Fluss, LogScanner, MetadataColumn, OffsetSpec, OnOutOfRange, Pending,
    RowToAssign, ScanBatch, ScanBuilder, ScanEvent, Table, col, row,
};
use fluss_tools::cluster::{ClusterOptions, RealCluster, TableLosses, real_cluster_or_skip};
use fluss_tools::main_job::nothing_held;
use serde::Deserialize;

static LOSSES: TableLosses = TableLosses::new();
/// Far above what any step takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A runtime, by how its threads wait.
enum Runtime {
    Tokio(tokio::runtime::Runtime),
    Smol,
    Blocking,
}

/// Waits for a future of this client.
macro_rules! wait {
    ($runtime:expr, $future:expr) => {
        match $runtime {
            Runtime::Tokio(runtime) => runtime.block_on($future),
            Runtime::Smol => smol::block_on($future),
            Runtime::Blocking => $future.wait(),
        }
    };
}

impl Runtime {
    fn name(&self) -> &'static str {
        match self {
            Self::Tokio(_) => "tokio",
            Self::Smol => "smol",
            Self::Blocking => "blocking",
        }
    }

    fn connect(&self, bootstrap: &str) -> Fluss {
        let config = Config::new(bootstrap).expect("addresses");
        let fluss = match self {
            Self::Tokio(runtime) => runtime.block_on(fluss_tokio::start(config)),
            Self::Smol => smol::block_on(fluss_smol::start(config)),
            Self::Blocking => fluss_embedded::start(config),
        };
        fluss.expect("a client")
    }

    fn call<T>(&self, call: Pending<T>) -> T {
        wait!(self, call).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The next batch, of a scan that has not ended.
    fn next(&self, scanner: &mut LogScanner) -> ScanBatch {
        wait!(self, scanner.next_batch()).expect("readable").expect("no end")
    }

    /// Nothing comes for a while.
    fn is_quiet(&self, scanner: &mut LogScanner) {
        let next = scanner.next_batch().wait_timeout(Duration::from_millis(700));
        assert!(next.expect("readable").is_none(), "nothing was to come");
    }

    /// So many different rows.
    fn read(&self, scanner: &mut LogScanner, count: usize) -> BTreeSet<i64> {
        let mut seen = BTreeSet::new();
        while seen.len() < count {
            let batch = self.next(scanner);
            assert!(ids(&batch).into_iter().all(|id| seen.insert(id)), "a row comes twice");
        }
        seen
    }

    fn rest(&self, scanner: &mut LogScanner) -> Vec<i64> {
        let mut all = Vec::new();
        while let Some(batch) = wait!(self, scanner.next_batch()).expect("readable") {
            all.extend(ids(&batch));
        }
        assert!(scanner.is_finished());
        all
    }
}

/// What runs on one runtime.
struct Stage<'a> {
    cluster: &'a RealCluster,
    runtime: &'a Runtime,
    fluss: Fluss,
}

fn ids(batch: &ScanBatch) -> Vec<i64> {
    batch.record_batch().column(0).as_primitive::<Int64Type>().values().to_vec()
}

impl Stage<'_> {
    fn table(&self, name: &str, descriptor: &TableDescriptor, probe: Option<&str>) -> Table {
        let path = format!("fluss.{}_{name}", self.runtime.name());
        let probe = probe.map(|day| ("day", day));
        let made = LOSSES.open(self.cluster, &self.fluss, &path, descriptor, probe);
        made.expect("a table with leaders")
    }

    /// `id BIGINT, text STRING`, rows placed by `id % buckets`.
    fn log(&self, name: &str, buckets: u32) -> Table {
        let schema = Schema::builder()
            .column("id", DataType::BIGINT.not_null())
            .column("text", DataType::STRING);
        let mut table = TableDescriptor::new(schema.build().expect("a schema"));
        table.bucket_key = vec![0];
        table.bucket_count = Some(buckets);
        self.table(name, &table, None)
    }

    fn append(&self, table: &Table, ids: impl IntoIterator<Item = i64>) {
        let place = |row: &RowToAssign<'_>| u32::from(row.key[0]) % row.buckets;
        let writer = table.appender().linger(Duration::ZERO).bucket_assigner(place).build();
        let writer = writer.expect("a writer");
        for id in ids {
            let ticket = wait!(self.runtime, writer.append(&(id, format!("text {id}"))));
            wait!(self.runtime, ticket.expect("it fits")).expect("written");
        }
    }
}

#[derive(Debug, PartialEq, Deserialize)]
struct Order<'a> {
    text: Option<&'a str>,
    id: i64,
}

/// The changelog of a primary-key table: each change whole, in record batches, rows and structs.
fn changes(stage: &Stage<'_>) {
    const ROWS: i64 = 400;
    let schema = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("text", DataType::STRING)
        .primary_key(["id"]);
    let mut descriptor = TableDescriptor::new(schema.build().expect("a schema"));
    descriptor.bucket_count = Some(2);
    let table = stage.table("changes", &descriptor, None);
    let builder = table.upserter().linger(Duration::from_millis(1)).batch_bytes(4 << 10);
    let writer = builder.build().expect("a writer");
    for version in 0..2 {
        let rows = (0..ROWS).map(|id| (id, format!("{version} {id}")));
        let run = wait!(stage.runtime, writer.upsert_all(rows)).expect("handed in");
        drop(run);
        wait!(stage.runtime, writer.flush()).expect("written");
    }
    // Every tenth goes, and then many that are not there: batches without a record.
    for keys in [(0..ROWS / 10).map(|id| id * 10).collect::<Vec<_>>(), (ROWS..ROWS + 50).collect()]
    {
        let run = wait!(stage.runtime, writer.delete_all(keys.into_iter().map(|id| row![id])));
        drop(run.expect("handed in"));
        wait!(stage.runtime, writer.flush()).expect("written");
    }
    let builder = table.scanner().with_metadata_columns(MetadataColumn::ALL).bounded();
    let mut scanner = stage.runtime.call(builder.build());
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    let mut last: BTreeMap<BucketKey, i64> = BTreeMap::new();
    while let Some(batch) = wait!(stage.runtime, scanner.next_batch()).expect("readable") {
        let columns = batch.record_batch();
        assert_eq!(columns.schema(), scanner.arrow_schema());
        let changes = columns.column(2).as_string::<i32>();
        let offsets = columns.column(3).as_primitive::<Int64Type>();
        let times = columns.column(4).as_primitive::<TimestampMillisecondType>();
        let rows = batch.rows().expect("rows");
        let orders = rows.deserialize::<Order<'_>>().map(|order| order.expect("an order"));
        for (at, (row, order)) in rows.iter().zip(orders).enumerate() {
            let told = (offsets.value(at), changes.value(at), times.value(at));
            assert_eq!(told, (row.offset(), row.change_type().symbol(), row.timestamp()));
            assert_eq!(row.to::<(i64, Option<&str>)>(), Ok((order.id, order.text)));
            let version = if matches!(told.1, "+I" | "-U") { 0 } else { 1 };
            assert_eq!(order.text, Some(&*format!("{version} {}", order.id)), "{told:?}");
            if told.1 == "-U" {
                assert!(at + 1 < columns.num_rows(), "-U is the last of its batch");
                assert_eq!(changes.value(at + 1), "+U");
                assert_eq!(ids(&batch)[at + 1], order.id);
            }
            *counts.entry(told.1.to_owned()).or_default() += 1;
        }
        let before = last.insert(batch.bucket(), batch.base_offset() + rows.iter().count() as i64);
        assert!(before.is_none_or(|end| end <= batch.base_offset()));
    }
    let expected = [("+I", ROWS), ("+U", ROWS), ("-D", ROWS / 10), ("-U", ROWS)];
    assert_eq!(counts, expected.map(|(change, count)| (change.to_owned(), count)).into());
    let ends = stage.runtime.call(table.offsets(OffsetSpec::Latest));
    let positions = ends.iter().map(|end| (end.bucket, end.offset)).collect::<BTreeMap<_, _>>();
    assert_eq!(*scanner.positions(), positions, "the ends are reached");
    assert!(last.iter().any(|(key, end)| *end < positions[key]), "no offset without a record");
}

/// Buckets under way, ends, wake-ups, positions out of range.
fn buckets(stage: &Stage<'_>) {
    let (runtime, table) = (stage.runtime, stage.log("buckets", 3));
    stage.append(&table, 0..12);
    let bucket = |number: i32| table.info().bucket(number);
    let mut scanner = runtime.call(table.scanner().buckets([bucket(0)]).build());
    let read = |scanner: &mut LogScanner, count: usize| runtime.read(scanner, count);
    assert_eq!(read(&mut scanner, 4), BTreeSet::from([0, 3, 6, 9]));
    let more = [(bucket(1), 2), (bucket(2), EARLIEST)];
    wait!(runtime, scanner.subscribe(more)).expect("subscribed");
    assert_eq!(read(&mut scanner, 6), BTreeSet::from([7, 10, 2, 5, 8, 11]));
    let error = wait!(runtime, scanner.subscribe([(bucket(3), 0)])).expect_err("no such bucket");
    assert!(error.to_string().contains("3 buckets"), "{error}");
    scanner.pause(bucket(0)).expect("it is read");
    assert!(scanner.unsubscribe(bucket(1)));
    stage.append(&table, 12..15);
    assert_eq!(read(&mut scanner, 1), BTreeSet::from([14]));
    runtime.is_quiet(&mut scanner);
    scanner.resume(bucket(0)).expect("it is read");
    assert_eq!(read(&mut scanner, 1), BTreeSet::from([12]));
    let progress = scanner.progress(bucket(0)).expect("it is read");
    assert_eq!((progress.position, progress.paused), (5, false));

    let waker = scanner.waker();
    let other = thread::spawn(move || waker.wake());
    let woken = scanner.next_batch().wait_timeout(PATIENCE).expect("readable");
    assert!(woken.is_none() && !scanner.is_finished());
    other.join().expect("no panic");
    stage.append(&table, [17]);
    assert_eq!(read(&mut scanner, 1), BTreeSet::from([17]));

    ends(stage, &table);
    out_of_range(stage, &table);
}

/// Where scans of the table with 16 rows end.
fn ends(stage: &Stage<'_>, table: &Table) {
    let runtime = stage.runtime;
    let bucket = |number: i32| table.info().bucket(number);
    let ends = [(bucket(0), 2), (bucket(1), 0), (bucket(2), 1)];
    let mut bounded = runtime.call(table.scanner().until_offsets(ends).build());
    let found: BTreeSet<i64> = runtime.rest(&mut bounded).into_iter().collect();
    assert_eq!(found, BTreeSet::from([0, 3, 2]));
    let mut at = runtime.call(table.scanner().bounded().build());
    let mut times: Vec<(i64, i64)> = Vec::new();
    while let Some(batch) = wait!(runtime, at.next_batch()).expect("readable") {
        times.extend(ids(&batch).into_iter().map(|id| (batch.timestamp(), id)));
    }
    assert_eq!(times.len(), 16);
    times.sort_unstable();
    let (middle, _) = times[8];
    let mut until = runtime.call(table.scanner().until_timestamp(middle).build());
    let found: BTreeSet<i64> = runtime.rest(&mut until).into_iter().collect();
    let before = times.iter().filter(|(at, _)| *at < middle).map(|(_, id)| *id);
    assert_eq!(found, before.collect::<BTreeSet<i64>>());
}

/// A position beyond all there are.
fn out_of_range(stage: &Stage<'_>, table: &Table) {
    let runtime = stage.runtime;
    let bucket = |number: i32| table.info().bucket(number);
    let far = || table.scanner().from_offsets([(bucket(0), 1 << 40)]);
    let error =
        wait!(runtime, runtime.call(far().build()).next_batch()).expect_err("no such offset");
    let Error::Scan(error) = error else { panic!("{error}") };
    assert_eq!((error.position, error.range), (1 << 40, Some((0, 5))));
    let events: Arc<Mutex<Vec<ScanEvent>>> = Arc::default();
    let list = Arc::clone(&events);
    let builder = far().on_out_of_range(OnOutOfRange::Earliest);
    let builder = builder.on_event(move |event| list.lock().expect("no panic").push(event.clone()));
    let mut scanner = runtime.call(builder.build());
    assert_eq!(runtime.read(&mut scanner, 5), BTreeSet::from([0, 3, 6, 9, 12]));
    let (from, to, range) = (1 << 40, 0, (0, 5));
    let reset = ScanEvent::PositionReset { bucket: bucket(0), from, to, range };
    assert_eq!(*events.lock().expect("no panic"), [reset]);
}

/// The same rows as Arrow's source of batches, as a stream, and from waits that are dropped.
fn ways(stage: &Stage<'_>) {
    let (runtime, table) = (stage.runtime, stage.log("ways", 2));
    stage.append(&table, 0..40);
    let all: BTreeSet<i64> = (0..40).collect();
    let reader = runtime.call(table.scanner().bounded().build()).into_record_batches();
    let read = thread::spawn(move || {
        let batches = reader.map(|batch| batch.expect("readable"));
        batches.flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
    });
    let found: Vec<i64> = read.join().expect("no panic");
    assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>()), (40, all.clone()));
    let mut scanner = runtime.call(table.scanner().max_bytes(1 << 10).bounded().build());
    let mut found = Vec::new();
    loop {
        // Given up almost at once, each time.
        let next = scanner.next_batch().wait_timeout(Duration::from_micros(50));
        match next.expect("readable") {
            Some(batch) => found.extend(ids(&batch)),
            None if scanner.is_finished() => break,
            None => {}
        }
    }
    assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>()), (40, all));
    let mut scanner = runtime.call(table.scanner().bounded().build());
    let mut stream = std::pin::pin!(std::future::poll_fn(|cx| scanner.poll_next_batch(cx)));
    let first = match runtime {
        Runtime::Tokio(tokio) => tokio.block_on(&mut stream),
        Runtime::Smol => smol::block_on(&mut stream),
        Runtime::Blocking => return,
    };
    assert!(first.expect("readable").is_some());
}

/// The values of each row at its place.
fn values(stage: &Stage<'_>, builder: ScanBuilder) -> BTreeMap<(BucketKey, i64), Vec<OwnedDatum>> {
    let mut scanner = stage.runtime.call(builder.bounded().build());
    let mut found = BTreeMap::new();
    while let Some(batch) = wait!(stage.runtime, scanner.next_batch()).expect("readable") {
        for row in batch.rows().expect("rows").iter() {
            let columns = 0..row.schema().columns().len();
            let values = columns.map(|at| row.value(at).expect("a column").into()).collect();
            let before = found.insert((batch.bucket(), row.offset()), values);
            assert!(before.is_none(), "a row comes twice");
        }
    }
    found
}

/// Some columns, left out by the server and here: the same rows from every format and compression,
/// also where batches are older than a column, and from a changelog.
fn projections(stage: &Stage<'_>) {
    let schema = |key: bool| {
        let schema = Schema::builder()
            .column("id", DataType::BIGINT.not_null())
            .column("text", DataType::STRING)
            .column("list", "ARRAY<ROW<a INT, b STRING>>".parse::<DataType>().expect("a type"));
        let schema = if key { schema.primary_key(["id"]) } else { schema };
        schema.build().expect("a schema")
    };
    let mut tables = Vec::new();
    for (name, key, properties) in [
        ("none", false, [("table.log.arrow.compression.type", "NONE")]),
        ("lz4", false, [("table.log.arrow.compression.type", "LZ4_FRAME")]),
        ("zstd", false, [("table.log.arrow.compression.type", "ZSTD")]),
        ("indexed", false, [("table.log.format", "INDEXED")]),
        ("compacted", false, [("table.log.format", "COMPACTED")]),
        ("keyed", true, [("table.log.format", "ARROW")]),
    ] {
        let mut descriptor = TableDescriptor::new(schema(key));
        descriptor.bucket_count = Some(6);
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        descriptor.properties = properties.map(owned).into();
        let table = stage.table(&format!("some_{name}"), &descriptor, None);
        tables.push((table, key));
    }
    for (table, key) in tables {
        let path = table.info().path.to_string();
        fill(stage, &table, key, None);
        let scan = |table: &Table, names: &[&str]| table.scanner().columns(names.iter().copied());
        for names in [&["text"][..], &["list", "id"], &["list"]] {
            let by_server = values(stage, scan(&table, names));
            let here = values(stage, scan(&table, names).verify_always(true));
            assert!(by_server.len() >= 60, "{path}: {} rows", by_server.len());
            assert_eq!(by_server, here, "{path} {names:?}");
        }
        let number = Column::new("number", DataType::INT);
        stage.runtime.call(stage.fluss.admin().add_columns(&path, &[number]));
        let newer = stage.runtime.call(stage.fluss.table(&path));
        fill(stage, &newer, key, Some(7));
        let by_server = values(stage, scan(&newer, &["number", "id"]));
        let here = values(stage, scan(&newer, &["number", "id"]).verify_always(true));
        assert_eq!(by_server, here, "{path}: batches older than a column");
        let null = by_server.values().filter(|row| row[0] == OwnedDatum::Null).count();
        assert!(null >= 60 && by_server.len() >= null + 60, "{path}: {null} of {by_server:?}");
        // Without an end, buckets with such batches are fetched beside those without.
        let mut scanner = stage.runtime.call(scan(&newer, &["number", "id"]).build());
        let mut count = 0;
        while count < by_server.len() {
            count += stage.runtime.next(&mut scanner).num_rows();
        }
        assert_eq!(count, by_server.len(), "{path}");
    }
}

/// Sixty rows, in several batches, and the deletion of rows that are not there: a batch without
/// one.
fn fill(stage: &Stage<'_>, table: &Table, key: bool, number: Option<i32>) {
    let first = 1000 * i64::from(number.is_some());
    for round in 0..3 {
        let rows = (0..20).map(|at| {
            let id = first + 20 * round + at;
            let text = format!("text {id} {}", "of some length ".repeat(9));
            let item = OwnedDatum::Row(vec![OwnedDatum::Int32(at as i32), OwnedDatum::Null]);
            let list = OwnedDatum::Array(vec![item, OwnedDatum::Null]);
            let row = [OwnedDatum::Int64(id), OwnedDatum::Str(text), list];
            row.into_iter().chain(number.map(OwnedDatum::Int32)).collect::<OwnedRow>()
        });
        if key {
            let writer = table.upserter().build().expect("a writer");
            drop(wait!(stage.runtime, writer.upsert_all(rows)).expect("handed in"));
            let nothing = (0..4).map(|id| row![-1 - id]);
            drop(wait!(stage.runtime, writer.delete_all(nothing)).expect("handed in"));
            wait!(stage.runtime, writer.flush()).expect("written");
        } else {
            let writer = table.appender().build().expect("a writer");
            drop(wait!(stage.runtime, writer.append_all(rows)).expect("handed in"));
            wait!(stage.runtime, writer.flush()).expect("written");
        }
    }
}

/// Which rows a condition leaves, with what Rust makes of it.
type Case = (Filter, fn(i64, Option<i32>, Option<&str>) -> bool);

/// A condition on the rows of every format and of a changelog: exactly those of a whole scan of
/// which it is true, where they are in it.
fn filters(stage: &Stage<'_>) {
    let schema = |key: bool| {
        let schema = Schema::builder()
            .column("id", DataType::BIGINT.not_null())
            .column("amount", DataType::INT)
            .column("city", DataType::STRING);
        let schema = if key { schema.primary_key(["id"]) } else { schema };
        schema.build().expect("a schema")
    };
    for (format, key) in
        [("ARROW", false), ("INDEXED", false), ("COMPACTED", false), ("ARROW", true)]
    {
        let mut descriptor = TableDescriptor::new(schema(key));
        descriptor.bucket_count = Some(3);
        descriptor.properties.insert("table.log.format".to_owned(), format.to_owned());
        let name = format!("chosen_{}_{key}", format.to_lowercase());
        let table = stage.table(&name, &descriptor, None);
        for round in 0..4_i64 {
            let rows = (0..40_i64).map(|at| {
                let id = if key { at } else { 40 * round + at };
                let amount = (id % 5 != 0).then_some((id * 7 % 50) as i32 + round as i32);
                let city = ["Ulm", "Bonn", "Köln"].get(((id + round) % 4) as usize).copied();
                row![id, amount, city]
            });
            if key {
                let writer = table.upserter().build().expect("a writer");
                drop(wait!(stage.runtime, writer.upsert_all(rows)).expect("handed in"));
                wait!(stage.runtime, writer.flush()).expect("written");
            } else {
                let writer = table.appender().batch_bytes(1 << 10).build().expect("a writer");
                drop(wait!(stage.runtime, writer.append_all(rows)).expect("handed in"));
                wait!(stage.runtime, writer.flush()).expect("written");
            }
        }
        let all = values(stage, table.scanner());
        assert_eq!(all.len(), if key { 280 } else { 160 });
        let cases: [Case; 6] = [
            (col("id").ge(20), |id, _, _| id >= 20),
            (col("amount").is_null(), |_, amount, _| amount.is_none()),
            (col("amount").lt(20).and(col("city").ne("Ulm")), |_, amount, city| {
                amount.is_some_and(|amount| amount < 20) && city.is_some_and(|city| city != "Ulm")
            }),
            (
                col("city").is_in(["Bonn", "Kiel"]).or(col("city").starts_with("Kö")),
                |_, _, city| matches!(city, Some("Bonn" | "Köln")),
            ),
            (col("amount").not_in([1, 8, 15]), |_, amount, _| {
                amount.is_some_and(|amount| ![1, 8, 15].contains(&amount))
            }),
            (col("id").lt(0), |_, _, _| false),
        ];
        for (filter, wanted) in cases {
            let is_wanted = |row: &[OwnedDatum]| {
                let [id, amount, city] = row else { panic!("{row:?}") };
                let [id, amount, city] = [id, amount, city].map(OwnedDatum::as_datum);
                wanted(id.as_i64().expect("an id"), amount.as_i32(), city.as_str())
            };
            let expected = all.iter().filter(|(_, row)| is_wanted(row));
            let expected: BTreeMap<_, _> = expected.map(|(at, row)| (*at, row.clone())).collect();
            let found = values(stage, table.scanner().filter(filter.clone()));
            assert_eq!(found, expected, "{name}: {filter:?}");
            let found = values(stage, table.scanner().columns(["city"]).filter(filter.clone()));
            let cities = expected.into_iter().map(|(at, row)| (at, vec![row[2].clone()]));
            assert_eq!(found, cities.collect(), "{name}: {filter:?}");
        }
    }
}

/// Partitions that are made and dropped while their table is read.
fn partitions(stage: &Stage<'_>) {
    let runtime = stage.runtime;
    let schema = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("day", DataType::STRING.not_null());
    let mut descriptor = TableDescriptor::new(schema.build().expect("a schema"));
    descriptor.partition_key = vec![1];
    descriptor.bucket_count = Some(2);
    let table = stage.table("days", &descriptor, Some("mon"));
    let writer = table.appender().linger(Duration::ZERO).build().expect("a writer");
    let append = |id: i64, day: &str| {
        let ticket = wait!(runtime, writer.append(&row![id, day])).expect("it fits");
        wait!(runtime, ticket).expect("written").partition.expect("a partition")
    };
    let events: Arc<Mutex<Vec<String>>> = Arc::default();
    let list = Arc::clone(&events);
    let builder = table.scanner().discover_partitions(Some(Duration::from_millis(50)));
    let builder = builder.on_event(move |event| {
        list.lock().expect("no panic").push(match event {
            ScanEvent::PartitionFound { name, .. } => format!("found {name}"),
            ScanEvent::PartitionDropped { name, .. } => format!("dropped {name}"),
            other => format!("{other:?}"),
        });
    });
    let mut scanner = runtime.call(builder.build());
    let old = append(0, "mon");
    assert_eq!(ids(&runtime.next(&mut scanner)), [0]);
    append(1, "tue");
    assert_eq!(ids(&runtime.next(&mut scanner)), [1]);
    let path = table.info().path.to_string();
    runtime.call(stage.fluss.admin().drop_partition(&path, &[("day", "mon")], false));
    let told = |what: &str| events.lock().expect("no panic").iter().any(|event| event == what);
    let mut waits = 0;
    while !told("dropped mon") {
        let next = scanner.next_batch().wait_timeout(Duration::from_millis(100));
        assert!(next.expect("no error").is_none(), "nothing was written");
        waits += 1;
        assert!(waits < 600, "the end of a partition goes unnoticed: {events:?}");
    }
    assert!(scanner.positions().keys().all(|key| key.partition != Some(old)));
    append(2, "tue");
    assert_eq!(ids(&runtime.next(&mut scanner)), [2]);
    append(3, "wed");
    assert_eq!(ids(&runtime.next(&mut scanner)), [3]);
    assert!(told("found tue") && told("found wed"), "{events:?}");
}

#[test]
fn readers_change_what_they_read_under_way_and_end_where_they_should() {
    if !real_cluster_or_skip("readers change what they read under way and end where they should") {
        return;
    }
    let cluster = RealCluster::start(ClusterOptions::default()).expect("a cluster");
    let bootstrap = cluster.bootstrap().join(",");
    let tokio = tokio::runtime::Runtime::new().expect("a runtime");
    for runtime in [Runtime::Tokio(tokio), Runtime::Smol, Runtime::Blocking] {
        let fluss = runtime.connect(&bootstrap);
        let stage = Stage { cluster: &cluster, runtime: &runtime, fluss };
        changes(&stage);
        buckets(&stage);
        ways(&stage);
        projections(&stage);
        filters(&stage);
        partitions(&stage);
        assert_eq!(stage.fluss.counters().invariant_violations, 0);
        nothing_held(&stage.fluss);
        runtime.call(stage.fluss.close(Duration::from_secs(10)));
    }
}
