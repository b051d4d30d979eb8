//! A row handed in costs no allocation, nor does one read into a struct that borrows. Batches do:
//! when they open, grow and are sealed.
//!
//! The counts are those of the calling thread alone. A batch of two megabytes holds about 50,000
//! rows; its memory grows at one megabyte and its columns at 32,768 rows for the last time, so the
//! rows measured here, from 34,000 on, meet neither the opening nor the growth of a batch.

use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use fluss_benches::{NAME, fake, tuple};
use fluss_core::ids::TablePath;
use fluss_core::row::{ByName, DataType, Schema, TableDescriptor};
use fluss_core::testing::cluster::{ClusterOptions, FakeCluster};
use fluss_core::testing::loopback::{Loopback, LoopbackOptions};
use fluss_core::{named_row, row};
use fluss_tokio::config::Config;
use fluss_tokio::{AppendWriter, Fluss, Ticket, UpsertWriter};
use tokio::runtime::Runtime;

/// Rows that bring a batch beyond its last growth.
const BEFORE: u64 = 34_000;
/// Rows measured.
const MEASURED: u64 = 10_000;
/// Long enough that the driver seals nothing meanwhile.
const LINGER: Duration = Duration::from_secs(60);

/// A client with its runtime and its server.
struct World {
    fluss: Fluss,
    runtime: Runtime,
    _fake: Loopback,
}

impl World {
    fn new() -> Self {
        Self::with(1)
    }

    fn with(buckets: u32) -> Self {
        let fake = fake::loopback(buckets);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let config = Config::new(&fake.bootstrap()).expect("an address");
        let fluss = runtime.block_on(fluss_tokio::start(config)).expect("a client");
        Self { fluss, runtime, _fake: fake }
    }

    fn appender(&self) -> AppendWriter {
        let table = self.fluss.table(fake::LOG).wait().expect("the log table");
        table.appender().linger(LINGER).build().expect("a writer")
    }

    fn upserter(&self) -> UpsertWriter {
        let table = self.fluss.table(fake::KEYED).wait().expect("the primary-key table");
        table.upserter().linger(LINGER).build().expect("a writer")
    }
}

/// Each test ends with a flush.
impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.fluss.memory_used(), 0, "bytes of the budget in use at the end");
        }
    }
}

/// Counts what `put` allocates in the middle of a batch.
fn allocations(put: impl Fn(u64) -> fluss_tokio::Result<Ticket>) -> AllocationInfo {
    let rows = |from: u64, to: u64| {
        for index in from..to {
            drop(put(index).expect("memory for the row"));
        }
    };
    rows(0, BEFORE);
    measure(|| rows(BEFORE, BEFORE + MEASURED))
}

#[test]
fn the_counter_counts() {
    let info = measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(info.count_total, 1, "otherwise the other tests prove nothing");
}

#[test]
fn an_appended_row_costs_no_allocation() {
    let world = World::new();
    let writer = world.appender();
    let info =
        allocations(|index| writer.append(&row![index as i64, NAME, index as i32, 0.5]).wait());
    assert_eq!(info.count_total, 0, "{info:?} for {MEASURED} rows");
    writer.flush().wait().expect("all rows acknowledged");
}

#[test]
fn an_appended_tuple_costs_no_allocation() {
    let world = World::new();
    let writer = world.appender();
    let info = allocations(|index| writer.append(&tuple(index)).wait());
    assert_eq!(info.count_total, 0, "{info:?} for {MEASURED} rows");
    writer.flush().wait().expect("all rows acknowledged");
}

#[test]
fn a_row_that_may_wait_for_a_while_costs_no_allocation_where_it_need_not() {
    let world = World::new();
    let writer = world.appender();
    let limit = Duration::from_secs(60);
    let info = allocations(|index| writer.append(&tuple(index)).wait_timeout(limit));
    assert_eq!(info.count_total, 0, "{info:?} for {MEASURED} rows");
    writer.flush().wait().expect("all rows acknowledged");
}

/// A row as applications have it.
#[derive(serde::Serialize)]
struct Reading {
    id: i64,
    name: &'static str,
    a: Option<i32>,
    b: f64,
}

fluss_core::row_by_name!(Reading);

/// The same with its fields in another order, and one that the row lacks.
#[derive(serde::Serialize)]
struct Shuffled {
    b: f64,
    name: &'static str,
    id: i64,
}

#[test]
fn an_appended_struct_costs_no_allocation() {
    let world = World::new();
    let writer = world.appender();
    let info = allocations(|index| {
        let (id, a, b) = (index as i64, Some(index as i32), 0.5);
        writer.append(&Reading { id, name: NAME, a, b }).wait()
    });
    assert_eq!(info.count_total, 0, "{info:?} for {MEASURED} rows");
    writer.flush().wait().expect("all rows acknowledged");
}

#[test]
fn an_upserted_struct_costs_no_allocation() {
    let world = World::new();
    let writer = world.upserter();
    let info = allocations(|index| {
        writer.upsert(&ByName(Shuffled { b: 0.5, name: NAME, id: index as i64 })).wait()
    });
    assert_eq!(info.count_total, 0, "{info:?} for {MEASURED} rows");
    writer.flush().wait().expect("all rows acknowledged");
}

#[test]
fn a_row_built_by_name_costs_no_allocation() {
    let world = World::new();
    let writer = world.appender();
    let row = std::cell::RefCell::new(writer.table().row());
    let info = allocations(|index| {
        let mut row = row.borrow_mut();
        row.clear().set("name", NAME)?.set("id", index as i64)?.set("b", 0.5)?;
        drop(writer.append(&*row).wait()?);
        writer.append(&named_row! { "b" => 0.5, "name" => NAME, "id" => index as i64 }).wait()
    });
    assert_eq!(info.count_total, 0, "{info:?} for {MEASURED} rows");
    writer.flush().wait().expect("all rows acknowledged");
}

#[test]
fn an_awaited_append_costs_no_allocation() {
    let world = World::new();
    let writer = world.appender();
    let append = |from: u64, to: u64| {
        world.runtime.block_on(async {
            for index in from..to {
                drop(writer.append(&tuple(index)).await.expect("memory for the row"));
            }
        });
    };
    append(0, BEFORE);
    // Entering the runtime allocates a little by itself.
    let entering = measure(|| append(0, 0)).count_total;
    let info = measure(|| append(BEFORE, BEFORE + MEASURED));
    assert_eq!(info.count_total, entering, "{info:?} for {MEASURED} rows");
    writer.flush().wait().expect("all rows acknowledged");
}

#[test]
fn a_row_of_a_run_costs_no_allocation() {
    let world = World::new();
    let writer = world.appender();
    let append_all = |from: u64, to: u64| {
        drop(writer.append_all((from..to).map(tuple)).wait().expect("memory for the rows"));
    };
    append_all(0, BEFORE);
    let of_one = measure(|| append_all(BEFORE, BEFORE + 1)).count_total;
    let of_many = measure(|| append_all(BEFORE, BEFORE + MEASURED)).count_total;
    assert_eq!(of_many, of_one, "a call costs {of_one} allocations, however many rows it has");
    assert!(of_one <= 4, "{of_one} allocations for a call");
    writer.flush().wait().expect("all rows acknowledged");
}

/// Counts what calls with one row and with many allocate, whose rows go to four buckets in turn.
fn check_placed(put_all: impl Fn(u64, u64)) {
    const ALL_BEFORE: u64 = 4 * (BEFORE + 4000);
    put_all(0, ALL_BEFORE);
    let of_one = measure(|| put_all(ALL_BEFORE, ALL_BEFORE + 1)).count_total;
    let of_many = measure(|| put_all(ALL_BEFORE, ALL_BEFORE + MEASURED)).count_total;
    // The ticket has a number for each row, in memory that doubles: from 4 to 16,384 of them.
    assert!(of_many <= of_one + 13, "{of_many} allocations for many rows, {of_one} for one");
    assert!(of_one <= 4, "{of_one} allocations for a call");
}

#[test]
fn a_row_of_a_run_that_its_key_places_costs_no_allocation() {
    let world = World::with(4);
    let table = world.fluss.table(fake::PLACED).wait().expect("the table with a bucket key");
    let writer = table.appender().linger(LINGER).build().expect("a writer");
    check_placed(|from, to| {
        drop(writer.append_all((from..to).map(tuple)).wait().expect("memory for the rows"));
    });
    writer.flush().wait().expect("all rows acknowledged");
    let writer = world.upserter();
    check_placed(|from, to| {
        drop(writer.upsert_all((from..to).map(tuple)).wait().expect("memory for the rows"));
    });
    writer.flush().wait().expect("all rows acknowledged");
}

#[test]
fn an_upserted_row_costs_no_allocation() {
    let world = World::new();
    let writer = world.upserter();
    let info = allocations(|index| writer.upsert(&tuple(index)).wait());
    assert_eq!(info.count_total, 0, "{info:?} for {MEASURED} rows");
    writer.flush().wait().expect("all rows acknowledged");
}

#[test]
fn a_row_of_a_partition_costs_no_allocation() {
    let world = World::new();
    let table = world.fluss.table(fake::DAYS).wait().expect("the partitioned table");
    let writer = table.appender().linger(LINGER).build().expect("a writer");
    // In turn, so that none is the partition of the row before.
    let put = |index: u64| {
        let region = (index % 3) as i32;
        drop(writer.append(&row![index as i64, "2026-11-21", region, 0.125]).wait()?);
        Ok::<_, fluss_tokio::Error>(())
    };
    let rows = |from: u64, to: u64| {
        (from..to).for_each(|index| put(index).expect("memory for the row"));
    };
    rows(0, 3 * BEFORE);
    let info = measure(|| rows(3 * BEFORE, 3 * BEFORE + MEASURED));
    assert_eq!(info.count_total, 0, "{info:?} for {MEASURED} rows");
    writer.flush().wait().expect("all rows acknowledged");
}

#[test]
fn over_many_batches_only_a_few_rows_of_each_allocate() {
    let world = World::new();
    let writer = world.appender();
    let mut allocating = 0;
    for index in 0..400_000 {
        let put = || {
            drop(writer.append(&tuple(index)).wait().expect("memory for the row"));
        };
        allocating += u64::from(measure(put).count_total > 0);
    }
    // At least seven batches; opening, growing eight times, buffers that double, sealing.
    assert!(allocating <= 8 * 40, "{allocating} rows allocated");
    writer.flush().wait().expect("all rows acknowledged");
}

#[derive(Debug, serde::Deserialize)]
struct Read<'a> {
    name: &'a str,
    id: i64,
}

#[test]
fn a_row_read_into_a_struct_costs_no_allocation() {
    let schema = Schema::builder().column("id", DataType::BIGINT).column("name", DataType::STRING);
    let mut table = TableDescriptor::new(schema.build().expect("a schema"));
    table.bucket_count = Some(1);
    let mut cluster = FakeCluster::new(ClusterOptions::default());
    cluster.add_table(&TablePath::new("fluss", "kept"), &table.to_json()).expect("a table");
    let fake = Loopback::start(cluster, LoopbackOptions::default()).expect("loopback ports");
    let runtime = Runtime::new().expect("a runtime");
    let config = Config::new(&fake.bootstrap()).expect("an address");
    let fluss = runtime.block_on(fluss_tokio::start(config)).expect("a client");
    let table = fluss.table("fluss.kept").wait().expect("the table");
    let writer = table.appender().linger(LINGER).build().expect("a writer");
    let rows = (0..MEASURED as i64).map(|id| row![id, NAME]);
    drop(writer.append_all(rows).wait().expect("memory for the rows"));
    writer.flush().wait().expect("all rows acknowledged");
    let mut scanner = table.scanner().bounded().build().wait().expect("a scanner");
    let mut next = 0;
    while let Some(batch) = scanner.next_batch().wait().expect("readable") {
        let rows = batch.rows().expect("rows");
        let info = measure(|| {
            for read in rows.deserialize::<Read<'_>>() {
                let read = read.expect("it fits");
                assert_eq!((read.id, read.name), (next, NAME));
                next += 1;
            }
        });
        assert_eq!(info.count_total, 0, "{info:?}");
    }
    assert_eq!(next, MEASURED as i64);
}
