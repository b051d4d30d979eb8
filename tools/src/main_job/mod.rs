//! The main job, on a real cluster and on any runtime: rows in, rows back, exactly once each.
//!
//! Two threads append to a log table of four buckets and upsert to a primary-key table of four
//! buckets, a tenth of the keys twice. Everything is read back and held against what the writers
//! were told: every row is there once with its content, every acknowledged offset holds its row,
//! the changelog has one `+I` per key and one `-U +U` per second write, and every upsert's record
//! lies below the log end offset it was answered with.

mod check;
pub mod partitions;
pub mod rows;

use std::fmt::Debug;
use std::time::{Duration, Instant};

use fluss_core::row::{DataType, Schema, TableDescriptor};
use fluss_core::{
    Ack, AppendWriter, Error, Fluss, LogScanner, Lookuper, Pending, ScanBatch, Table, Ticket,
    UpsertWriter, WriteError,
};

use crate::cluster::{RealCluster, TableLosses};

/// How a runtime waits. Each method blocks its thread; an async runtime blocks on the future.
pub trait Waits: Sync {
    /// Waits for a call.
    fn pending<T>(&self, call: Pending<T>) -> Result<T, Error>;
    /// Hands a row in.
    fn append(&self, writer: &AppendWriter, row: &RowOf) -> Result<Ticket, Error>;
    /// Hands a row in.
    fn upsert(&self, writer: &UpsertWriter, row: &RowOf) -> Result<Ticket, Error>;
    /// Waits for an outcome.
    fn ticket(&self, ticket: Ticket) -> Result<Ack, WriteError>;
    /// Waits for the next batch.
    fn next(&self, scanner: &mut LogScanner) -> Result<Option<ScanBatch>, Error>;
    /// Looks a key up.
    fn lookup(
        &self,
        lookuper: &Lookuper,
        id: i64,
    ) -> Result<Option<fluss_core::row::OwnedRow>, Error>;
}

/// A row of the job: its number, and which write of that number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowOf {
    /// The key.
    pub id: i64,
    /// 0 for the first write, 1 for the second.
    pub version: i32,
}

impl RowOf {
    /// Its 16-byte text.
    #[must_use]
    pub fn name(self) -> String {
        format!("row-{:012}", self.id)
    }

    /// Its DOUBLE.
    #[must_use]
    pub fn b(self) -> f64 {
        self.id as f64 / 2.0 + f64::from(self.version)
    }
}

impl fluss_core::row::Row for RowOf {
    fn arity(&self) -> usize {
        4
    }

    fn write<S: fluss_core::row::RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        use std::io::Write as _;
        let mut name = [0u8; 16];
        // Sixteen bytes hold the text of any number below 10^12.
        let written = write!(&mut name[..], "row-{:012}", self.id);
        debug_assert!(written.is_ok());
        sink.put_i64(self.id)?;
        sink.put_str(std::str::from_utf8(&name).unwrap_or_default())?;
        sink.put_i32(self.version)?;
        sink.put_f64(self.b())
    }
}

/// How much to do.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Rows appended to the log table, and keys upserted to the primary-key table.
    pub rows: i64,
    /// Writing threads.
    pub threads: i64,
    /// Keys looked up afterwards.
    pub lookups: i64,
}

impl Job {
    /// The size from the environment variable `FLUSS_MAIN_JOB_ROWS`, by default `rows`.
    #[must_use]
    pub fn sized(rows: i64) -> Self {
        let asked = std::env::var("FLUSS_MAIN_JOB_ROWS").ok().and_then(|text| text.parse().ok());
        Self { rows: asked.unwrap_or(rows), threads: 2, lookups: 10_000 }
    }
}

/// What a run took.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// From the first append to the last acknowledgement.
    pub append: Duration,
    /// From the first upsert to the last acknowledgement.
    pub upsert: Duration,
    /// Reading both tables back.
    pub read: Duration,
    /// The lookups, one after another.
    pub lookup: Duration,
}

fn schema(primary_key: &[&str]) -> Schema {
    const INT: DataType = DataType::INT;
    let builder = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("name", DataType::STRING)
        .column("a", if primary_key.contains(&"a") { INT.not_null() } else { INT })
        .column("b", DataType::DOUBLE);
    let keyed = !primary_key.is_empty();
    let builder = if keyed { builder.primary_key(primary_key.to_vec()) } else { builder };
    must("a valid schema", builder.build())
}

/// This is a check: what goes wrong ends it with a text that says where.
fn must<T, E: Debug>(what: &str, result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error:?}"),
    }
}

/// Does the job and checks its result.
///
/// # Panics
/// Whenever something is not as it should be.
pub fn run(
    cluster: &RealCluster,
    fluss: &Fluss,
    waits: &impl Waits,
    name: &str,
    job: Job,
) -> Times {
    let losses = TableLosses::new();
    let log = make(cluster, fluss, &losses, &format!("fluss.{name}_log"), false);
    let pk = make(cluster, fluss, &losses, &format!("fluss.{name}_pk"), true);

    let start = Instant::now();
    let appended = append(&log, waits, job);
    let append = start.elapsed();

    let start = Instant::now();
    let upserted = upsert(&pk, waits, job);
    let upsert = start.elapsed();

    let start = Instant::now();
    check::log(&log, waits, &appended, job);
    check::changelog(&pk, waits, &upserted, job);
    let read = start.elapsed();

    let start = Instant::now();
    check::lookups(&pk, waits, job);
    let lookup = start.elapsed();

    let counters = fluss.counters();
    assert_eq!(counters.invariant_violations, 0, "{counters:?}");
    nothing_held(fluss);
    let times = Times { append, upsert, read, lookup };
    println!("{name}: {} rows a table, {} threads: {times:?}, {counters:?}", job.rows, job.threads);
    times
}

fn make(
    cluster: &RealCluster,
    fluss: &Fluss,
    losses: &TableLosses,
    path: &str,
    primary_key: bool,
) -> Table {
    let mut description = TableDescriptor::new(schema(if primary_key { &["id"] } else { &[] }));
    description.bucket_count = Some(4);
    must("making a table", losses.open(cluster, fluss, path, &description, None))
}

/// For the end of a test: all rows that this client took have their outcomes.
///
/// # Panics
/// If the client still holds memory for some.
pub fn nothing_held(fluss: &Fluss) {
    assert_eq!(fluss.memory_used(), 0, "all outcomes are there, but memory is still held");
}

/// What a writer was told of a row.
type Told = (RowOf, Ack);

/// Rows in flight per thread before the oldest outcome is awaited.
const WINDOW: usize = 200_000;

fn append(table: &Table, waits: &impl Waits, job: Job) -> Vec<Told> {
    let writer = must("an append writer", table.appender().build());
    on_threads(job.threads, |thread| {
        let writer = writer.clone();
        let rows = (0..job.rows).filter(|id| id % job.threads == thread);
        let rows = rows.map(|id| RowOf { id, version: 0 });
        hand_in(waits, rows, |row| waits.append(&writer, row))
    })
}

fn upsert(table: &Table, waits: &impl Waits, job: Job) -> Vec<Told> {
    let writer = must("an upsert writer", table.upserter().build());
    on_threads(job.threads, |thread| {
        let writer = writer.clone();
        let mine = move |id: &i64| id % job.threads == thread;
        let first = (0..job.rows).filter(mine).map(|id| RowOf { id, version: 0 });
        // Every tenth key a second time, through the same handle, hence after the first.
        let second = (0..job.rows).step_by(10).filter(mine).map(|id| RowOf { id, version: 1 });
        hand_in(waits, first.chain(second), |row| waits.upsert(&writer, row))
    })
}

fn on_threads(threads: i64, act: impl Fn(i64) -> Vec<Told> + Sync) -> Vec<Told> {
    let act = &act;
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|t| scope.spawn(move || act(t))).collect();
        running
            .into_iter()
            .flat_map(|handle| match handle.join() {
                Ok(told) => told,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    })
}

fn hand_in(
    waits: &impl Waits,
    rows: impl Iterator<Item = RowOf>,
    put: impl Fn(&RowOf) -> Result<Ticket, Error>,
) -> Vec<Told> {
    let mut told = Vec::new();
    let mut open = std::collections::VecDeque::new();
    let mut settle = |(row, ticket): (RowOf, Ticket)| {
        told.push((row, must(&format!("the outcome of {row:?}"), waits.ticket(ticket))));
    };
    for row in rows {
        open.push_back((row, must("handing a row in", put(&row))));
        if open.len() > WINDOW
            && let Some(oldest) = open.pop_front()
        {
            settle(oldest);
        }
    }
    open.into_iter().for_each(settle);
    told
}
