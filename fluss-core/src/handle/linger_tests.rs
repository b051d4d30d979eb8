//! Linger that holds under load: however steadily rows come from several handles, a batch goes when
//! its linger is over, counted from its first row, not later and not earlier.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::signal::Signal;
use super::testkit::Stage;
use crate::Table;
use crate::Ticket;
use crate::error::Result;
use crate::ids::BucketKey;
use crate::rng::Rng;
use crate::row::{DataType, Datum, OwnedDatum, Row, RowSink, Schema, TableDescriptor};
use crate::testing::cluster::{ClusterOptions, FakeCluster};
use crate::time::{Duration, Instant};

const LINGER: Duration = Duration::from_millis(20);
/// For how many lingers rows come.
const LINGERS: u32 = 100;
/// How often is looked for what came to the servers: the clock of these tests.
const STEP: Duration = Duration::from_micros(250);
/// The longest that a handle is in use for a single row, by the application's own code. A batch
/// that is due meanwhile is sealed when the handle is free.
const SLOW: Duration = Duration::from_millis(1);
const HANDLES: usize = 4;
const BUCKETS: i32 = 3;

/// A client under load, and when which batch came to its leader: bucket, first and last offset.
struct Load {
    stage: Stage,
    calls: Arc<Signal>,
    came: Vec<(Instant, BucketKey, i64, i64)>,
}

impl Load {
    /// Lets a moment pass and notes what came to the servers in it.
    fn step(&mut self) {
        self.stage.pass_called(STEP, &self.calls);
        let now = self.stage.now();
        while let Some(batch) = self.stage.cluster(FakeCluster::poll_append) {
            assert!(!batch.duplicate, "{batch:?}");
            self.came.push((now, batch.bucket, batch.base_offset, batch.last_offset));
        }
    }
}

/// A row whose values take time to be found, during which its handle is in use.
struct SlowRow<'a> {
    load: &'a RefCell<Load>,
    steps: Cell<u64>,
    values: [Datum<'a>; 2],
}

impl Row for SlowRow<'_> {
    fn arity(&self) -> usize {
        2
    }

    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        (0..self.steps.take()).for_each(|_| self.load.borrow_mut().step());
        self.values.iter().try_for_each(|datum| sink.put(*datum))
    }
}

/// A table of several buckets, by key or not.
fn table(stage: &mut Stage, keyed: bool) -> Table {
    let schema = Schema::builder().column("id", DataType::BIGINT.not_null());
    let schema = schema.column("text", DataType::STRING);
    let schema = if keyed { schema.primary_key(["id"]) } else { schema };
    let mut table = TableDescriptor::new(schema.build().expect("a sound schema"));
    table.bucket_count = Some(BUCKETS as u32);
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    stage.run(admin.create_table("shop.things", &table, false)).expect("a table");
    let opening = stage.fluss.table("shop.things");
    stage.run(opening).expect("it is there")
}

/// Rows come from all handles, each of them many times in a linger, but for a pause now and then.
/// Returns when each was handed in, by its id.
fn write<W>(
    load: &RefCell<Load>,
    rng: &mut Rng,
    handles: &[W],
    put: impl Fn(&W, &SlowRow<'_>) -> Result<Ticket>,
) -> Vec<Instant> {
    let now = || load.borrow().stage.now();
    let end = now() + LINGER * LINGERS;
    let mut next = vec![now(); handles.len()];
    let (mut handed_in, mut tickets) = (Vec::new(), Vec::new());
    while now() < end {
        for (handle, at) in handles.iter().zip(&mut next) {
            if *at <= now() {
                let id = handed_in.len() as i64;
                let steps = (SLOW.as_micros() / STEP.as_micros()) as u64;
                let steps = Cell::new(if rng.one_in(50) { rng.below(steps + 1) } else { 0 });
                let values = [Datum::Int64(id), Datum::Str("a short text")];
                tickets.push(put(handle, &SlowRow { load, steps, values }).expect("room"));
                handed_in.push(now());
                *at = now() + Duration::from_micros(rng.below(2_000));
            }
        }
        if rng.one_in(1_000) {
            // All of them fall silent, and begin again.
            next.iter_mut().for_each(|at| *at = *at + LINGER * 3);
        }
        load.borrow_mut().step();
    }
    // No row comes any more; what is open goes by its linger, too.
    while now() < end + LINGER * 2 {
        load.borrow_mut().step();
    }
    for ticket in tickets {
        assert!(matches!(ticket.outcome(), Some(Ok(_))), "{:?}", ticket.outcome());
    }
    handed_in
}

/// Every batch went when its linger was over.
fn check(load: &Load, table: &Table, handed_in: &[Instant], case: &str) {
    let mut ids = BTreeMap::new();
    for bucket in load.stage.cluster(|c| c.buckets(table.info().id).collect::<Vec<_>>()) {
        for row in load.stage.cluster(|c| c.rows(bucket)).expect("rows of the table") {
            let OwnedDatum::Int64(id) = row.values.values()[0] else { panic!("{row:?}") };
            ids.insert((bucket, row.offset), id as usize);
        }
    }
    assert_eq!(ids.len(), handed_in.len(), "{case}");
    let mut rows = 0;
    for (at, bucket, first, last) in &load.came {
        let of_batch =
            ids.range((*bucket, *first)..=(*bucket, *last)).map(|(_, id)| handed_in[*id]);
        let oldest = of_batch.min().expect("a batch has rows");
        let age = at.saturating_since(oldest);
        assert!(age <= LINGER + SLOW + STEP, "{case}: {bucket} {first}..={last} after {age:?}");
        assert!(age + SLOW >= LINGER, "{case}: {bucket} {first}..={last} after {age:?} only");
        rows += last - first + 1;
    }
    assert_eq!(rows, handed_in.len() as i64, "{case}");
    // Each handle has a batch for each bucket at most: more rows came in a linger than that.
    assert!(load.came.len() * 3 < handed_in.len(), "{case}: {} batches", load.came.len());
}

/// Begins to note what comes to the servers, and what calls the driver.
fn begin(mut stage: Stage) -> Load {
    let calls = Arc::new(Signal::default());
    stage.cluster(FakeCluster::watch_appends);
    stage.pass_called(STEP, &calls);
    Load { stage, calls, came: Vec::new() }
}

fn stage() -> Stage {
    // An acknowledgement takes its time.
    let replication_delay = Duration::from_millis(2);
    Stage::with(ClusterOptions { replication_delay, ..ClusterOptions::default() })
}

#[test]
fn steady_appends_of_several_handles_keep_no_batch_beyond_its_linger() {
    for seed in 0..8 {
        let mut stage = stage();
        let table = table(&mut stage, false);
        let writer = table.appender().linger(LINGER).build().expect("a writer");
        let handles = vec![writer; HANDLES];
        let load = RefCell::new(begin(stage));
        let put = |writer: &crate::AppendWriter, row: &SlowRow<'_>| writer.try_append(row);
        let handed_in = write(&load, &mut Rng::new(seed), &handles, put);
        check(&load.borrow(), &table, &handed_in, &format!("seed {seed}"));
    }
}

#[test]
fn steady_upserts_of_several_handles_keep_no_batch_beyond_its_linger() {
    for seed in 0..8 {
        let mut stage = stage();
        let table = table(&mut stage, true);
        let writer = table.upserter().linger(LINGER).build().expect("a writer");
        let handles = vec![writer; HANDLES];
        let load = RefCell::new(begin(stage));
        let put = |writer: &crate::UpsertWriter, row: &SlowRow<'_>| writer.try_upsert(row);
        let handed_in = write(&load, &mut Rng::new(seed), &handles, put);
        check(&load.borrow(), &table, &handed_in, &format!("seed {seed}"));
    }
}
