//! Random applications on a random cluster: whatever is done to futures, handles, servers and time,
//! every row has one outcome and the logs agree with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Poll;

use arrow_array::{ArrayRef, Int8Array, Int32Array, Int64Array, RecordBatch, StringArray};

use super::super::testkit::Stage;
use crate::error::WriteError;
use crate::ids::{BucketKey, PartitionId, ServerId};
use crate::rng::Rng;
use crate::row::{Column, DataType, OwnedDatum, OwnedRow, Schema, TableDescriptor};
use crate::testing::cluster::{Bug, ClusterOptions, Fault, Faults, On};
use crate::time::Duration;
use crate::{Ack, AppendWriter, Interrupted, RunTicket, Table, Ticket};

const SEEDS: u64 = 320;
const BUCKETS: i32 = 3;

/// What the application knows of a row at the end.
#[derive(Debug)]
enum Known {
    Outcome(Result<Ack, WriteError>),
    /// It was handed in and its ticket dropped, or lost with a future.
    Dropped,
    /// It was never handed in.
    Never,
}

struct App {
    seed: u64,
    stage: Stage,
    rng: Rng,
    table: Table,
    /// The memory budget.
    limit: u64,
    /// Handles with the number of their writer, and their own.
    writers: Vec<(u64, u64, AppendWriter)>,
    opened: u64,
    handles: u64,
    /// The table was to get a column, which rows may have from then on.
    wide: bool,
    /// Of each row the handle it was handed in through, and which one of all rows it was.
    handed_in: BTreeMap<i64, (u64, u64)>,
    next: i64,
    /// Rows, the numbers of their writers, their tickets.
    tickets: Vec<(i64, u64, Ticket)>,
    runs: Vec<(i64, i64, RunTicket)>,
    known: BTreeMap<i64, Known>,
    /// Partitions that were dropped, with what was in them.
    gone: BTreeSet<PartitionId>,
}

/// The value of the partition column, where there is one.
fn region_of(id: i64) -> i8 {
    // Runs of rows and single rows, in a few partitions.
    (id / 7 % 3) as i8 + (id % 16 / 15 * 10) as i8
}

/// A row of the application, perhaps with the column that came under way.
type RowOf = (i64, String, i8, Option<i32>);

fn values(row: &RowOf) -> OwnedRow {
    let (id, text, region, more) = row;
    let first = [OwnedDatum::Int64(*id), OwnedDatum::Str(text.clone()), OwnedDatum::Int8(*region)];
    first.into_iter().chain(more.map(OwnedDatum::Int32)).collect()
}

fn faults(seed: u64, n: u64) -> Faults {
    let time = Duration::from_millis(700);
    Faults::new(seed)
        .one_in(n, On::Write, Fault::LoseAnswer)
        .one_in(n, On::Write, Fault::CutRequest)
        .one_in(n, On::Write, Fault::MoveLeader)
        .one_in(n, On::Write, Fault::MoveLeaderAfter)
        .one_in(n, On::Write, Fault::ErrorBefore(12))
        .one_in(n, On::Any, Fault::CutAnswer)
        .one_in(n, On::Any, Fault::DelayAnswer(time))
        .one_in(n, On::Any, Fault::DelayRequest(time))
        .one_in(2 * n, On::Any, Fault::SwallowAnswer)
        .one_in(2 * n, On::Any, Fault::DropRequest)
        .one_in(2 * n, On::Any, Fault::DuplicateAnswer)
        .one_in(4 * n, On::Any, Fault::GarbageFrame)
        .one_in(4 * n, On::Any, Fault::GarbageBody)
        .one_in(4 * n, On::Any, Fault::RestartClean)
        .one_in(4 * n, On::Any, Fault::RestartUnclean)
        .one_in(4 * n, On::Any, Fault::Silence)
}

impl App {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        // Now and then there is room for record batches that are held as they are.
        let limit = if rng.one_in(4) { 8 << 20 } else { 4096 << rng.below(4) };
        let options = ClusterOptions { seed, ..ClusterOptions::default() };
        let mut stage = Stage::configured(options, |c| {
            let mut c = c.memory_limit(limit);
            c = c.ack_timeout(Duration::from_secs(3)).request_deadline(Duration::from_secs(4));
            c.seed = seed;
            c
        });
        let schema = Schema::builder()
            .column("id", DataType::BIGINT)
            .column("text", DataType::STRING)
            .column("region", DataType::TINYINT.not_null())
            .build()
            .expect("a sound schema");
        let mut table = TableDescriptor::new(schema);
        table.bucket_count = Some(BUCKETS as u32);
        table.bucket_key = if rng.one_in(2) { vec![0] } else { Vec::new() };
        table.partition_key = if rng.one_in(2) { vec![2] } else { Vec::new() };
        if rng.one_in(2) {
            let none = ("table.log.arrow.compression.type".to_owned(), "NONE".to_owned());
            table.properties.extend([none]);
        }
        let admin = stage.fluss.admin();
        stage.run(admin.create_database("shop", true)).expect("a database");
        stage.run(admin.create_table("shop.events", &table, false)).expect("a table");
        let opening = stage.fluss.table("shop.events");
        let table = stage.run(opening).expect("it is there");
        let mut app = Self {
            seed,
            stage,
            rng,
            table,
            limit,
            writers: Vec::new(),
            opened: 0,
            handles: 0,
            wide: false,
            handed_in: BTreeMap::new(),
            next: 0,
            tickets: Vec::new(),
            runs: Vec::new(),
            known: BTreeMap::new(),
            gone: BTreeSet::new(),
        };
        app.open_writer();
        let often = 4 + app.rng.below(40);
        app.stage.cluster(|c| c.set_faults(faults(seed, often)));
        app
    }

    fn open_writer(&mut self) {
        let bytes = if self.rng.one_in(3) { 64 << 10 } else { 512 << self.rng.below(3) };
        let building = self.table.appender().batch_bytes(bytes);
        let building = building.delivery_timeout(Duration::from_secs(5 + self.rng.below(60)));
        self.writers.push((self.opened, self.handles, building.build().expect("a writer")));
        self.opened += 1;
        self.handles += 1;
    }

    fn writer(&mut self) -> (u64, u64, AppendWriter) {
        // A clone is another lane; half of the time the lane itself is wanted.
        let at = self.rng.below(self.writers.len() as u64) as usize;
        if self.rng.one_in(8) {
            let (number, _, writer) = &self.writers[at];
            let clone = (*number, self.handles, writer.clone());
            self.handles += 1;
            self.writers.push(clone);
        }
        self.writers.swap_remove(at)
    }

    fn row(&mut self) -> RowOf {
        let id = self.next;
        self.next += 1;
        let more = (self.wide && self.rng.one_in(2)).then_some(7);
        (id, "x".repeat(self.rng.below(120) as usize), region_of(id), more)
    }

    /// These rows are the next ones that were handed in, as far as they were.
    fn count(&mut self, handle: u64, ids: std::ops::Range<i64>) {
        for id in ids {
            let at = self.handed_in.len() as u64;
            self.handed_in.insert(id, (handle, at));
        }
    }

    /// The table gets a column; if it is refused or nobody can tell, rows with it may be refused.
    fn add_column(&mut self) {
        let column = Column::new("more", DataType::INT);
        let adding = self.stage.fluss.admin().add_columns("shop.events", &[column]);
        let _ = self.stage.run(adding);
        self.wide = true;
    }

    fn step(&mut self) {
        match self.rng.below(13) {
            12 if self.rng.one_in(2) => self.add_column(),
            0..=1 => self.append(),
            2..=3 if self.rng.one_in(2) => self.append_batch(),
            2..=3 => self.append_all(),
            4..=5 => self.try_append(),
            6 => {
                let time = Duration::from_millis(self.rng.below(400));
                self.stage.pass(time);
            }
            7 if self.rng.one_in(4) => {
                let time = Duration::from_secs(self.rng.below(50));
                self.stage.pass(time);
            }
            8 => self.flush(),
            9 => self.change_handles(),
            10 => self.disturb(),
            _ => {
                self.stage.settle();
            }
        }
    }

    fn append(&mut self) {
        let (row, (number, handle, writer)) = (self.row(), self.writer());
        let fields = values(&row);
        let mut handing = writer.append(&fields);
        let polled = match self.stage.poll(&mut handing) {
            Poll::Pending if self.rng.one_in(2) => {
                self.stage.settle();
                self.stage.poll(&mut handing)
            }
            polled => polled,
        };
        drop(handing);
        match polled {
            Poll::Ready(Ok(ticket)) => self.keep(row.0, number, ticket),
            Poll::Ready(Err(error)) => self.refused(&row, &error),
            Poll::Pending => drop(self.known.insert(row.0, Known::Never)),
        }
        self.count(handle, row.0..row.0 + 1);
        self.writers.push((number, handle, writer));
    }

    /// A row was refused, which one with more columns may be until the client hears of them.
    fn refused(&mut self, row: &RowOf, error: &crate::Error) {
        let fits = row.3.is_none() || !matches!(error, crate::Error::Row(_));
        assert!(!fits || matches!(error, crate::Error::Full { .. }), "{error}");
        self.known.insert(row.0, Known::Never);
    }

    fn keep(&mut self, id: i64, number: u64, ticket: Ticket) {
        if self.rng.one_in(4) {
            self.known.insert(id, Known::Dropped);
        } else {
            self.tickets.push((id, number, ticket));
        }
    }

    fn try_append(&mut self) {
        let (number, handle, writer) = self.writer();
        let count = self.rng.below(100);
        self.try_some(number, handle, &writer, count);
        self.writers.push((number, handle, writer));
    }

    fn try_some(&mut self, number: u64, handle: u64, writer: &AppendWriter, count: u64) {
        for _ in 0..count {
            let row = self.row();
            self.count(handle, row.0..row.0 + 1);
            match writer.try_append(&values(&row)) {
                Ok(ticket) => self.keep(row.0, number, ticket),
                Err(error) => {
                    self.refused(&row, &error);
                    break;
                }
            }
        }
    }

    fn append_all(&mut self) {
        let (number, handle, writer) = self.writer();
        let first = self.next;
        let count = self.rng.below(300);
        let rows: Vec<_> = (0..count).map(|_| self.row()).collect();
        let lazy = self.rng.one_in(2);
        // Of known length and not: they are read in different ways.
        let rows = rows.iter().map(values).collect::<Vec<_>>().into_iter();
        let rows: Box<dyn Iterator<Item = OwnedRow>> = match lazy {
            true => Box::new(rows.filter(|_| true)),
            false => Box::new(rows),
        };
        let by = (number, handle, &writer);
        self.follow(first, by, writer.append_all(rows), |handing| handing.handed_in());
        self.writers.push((number, handle, writer));
    }

    fn append_batch(&mut self) {
        let (number, handle, writer) = self.writer();
        let first = self.next;
        // More than one poll takes, at times.
        let most = if self.rng.one_in(8) { 9000 } else { 300 };
        let rows: Vec<_> = (0..self.rng.below(most)).map(|_| self.row()).collect();
        let ids = Int64Array::from_iter_values(rows.iter().map(|row| row.0));
        let texts = StringArray::from_iter_values(rows.iter().map(|row| &row.1));
        // Some rows do not fit.
        let regions: Int8Array = rows.iter().map(|row| (row.0 % 29 > 0).then_some(row.2)).collect();
        let more = Int32Array::from_iter(rows.iter().map(|row| row.3));
        let mut columns: Vec<(&str, ArrayRef, bool)> = vec![
            ("region", Arc::new(regions), true),
            ("id", Arc::new(ids), false),
            ("text", Arc::new(texts), false),
        ];
        if self.wide && self.rng.one_in(2) {
            columns.push(("more", Arc::new(more), true));
        }
        let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("equal lengths");
        let by = (number, handle, &writer);
        self.follow(first, by, writer.append_batch(&batch), |handing| handing.handed_in());
        self.writers.push((number, handle, writer));
    }

    /// Polls a run that begins with row `first` some times, then drops it. In between, the handle
    /// takes other rows.
    fn follow<F>(
        &mut self,
        first: i64,
        (number, handle, writer): (u64, u64, &AppendWriter),
        mut handing: F,
        handed_in: impl Fn(&F) -> u64,
    ) where
        F: Future<Output = Result<RunTicket, Interrupted>> + Unpin,
    {
        let (mut ticket, mut taken, end) = (None, 0, self.next);
        for _ in 0..self.rng.below(6) {
            if self.rng.one_in(4) {
                let count = self.rng.below(20);
                self.try_some(number, handle, writer, count);
            }
            let polled = self.stage.poll(&mut handing);
            let before = std::mem::replace(&mut taken, handed_in(&handing) as i64);
            self.count(handle, first + before..first + taken);
            match polled {
                Poll::Pending => drop(self.stage.settle()),
                Poll::Ready(Ok(done)) => {
                    ticket = Some(done);
                    break;
                }
                Poll::Ready(Err(early)) => {
                    // A record batch with a column that the client has not heard of.
                    let misfit = self.wide && matches!(early.error, crate::Error::Misuse(_));
                    assert!(misfit && early.handed_in == 0, "{early}");
                    break;
                }
            }
        }
        drop(handing);
        for id in first..end {
            match (&ticket, id < first + taken) {
                (Some(_), true) => {}
                (None, true) => drop(self.known.insert(id, Known::Dropped)),
                (_, false) => drop(self.known.insert(id, Known::Never)),
            }
        }
        self.runs.extend(ticket.map(|ticket| (first, taken, ticket)));
    }

    fn flush(&mut self) {
        let (number, handle, writer) = self.writer();
        let mut flush = writer.flush();
        if self.rng.one_in(3) {
            let _ = self.stage.poll(&mut flush);
        } else {
            let _ = self.stage.run(flush);
            let open = |t: &&(i64, u64, Ticket)| t.1 == number && t.2.outcome().is_none();
            let open = self.tickets.iter().filter(open).count();
            assert_eq!(open, 0, "seed {}: flushed without an outcome", self.seed);
        }
        self.writers.push((number, handle, writer));
    }

    fn change_handles(&mut self) {
        if self.writers.len() > 3 || (self.writers.len() > 1 && self.rng.one_in(2)) {
            drop(self.writer());
        }
        if self.writers.is_empty() || self.rng.one_in(3) {
            self.open_writer();
        }
    }

    fn disturb(&mut self) {
        let server = ServerId::Tablet(self.rng.below(3) as i32);
        let buckets = self.buckets();
        if buckets.is_empty() {
            return;
        }
        let bucket = buckets[self.rng.below(buckets.len() as u64) as usize];
        let what = self.rng.below(6);
        if what == 0 && self.rng.one_in(4) {
            self.gone.extend(bucket.partition.filter(|id| self.drop_partition(*id)));
            return;
        }
        let clean = self.rng.one_in(2);
        self.stage.cluster(|c| match what {
            0 => drop(c.move_leader(bucket, None)),
            1 => c.restart(server, clean),
            2 => c.cut_connections(None),
            3 => c.silence(server),
            4 => c.stop(server),
            _ => (0..3).for_each(|id| c.start(ServerId::Tablet(id))),
        });
    }

    fn buckets(&self) -> Vec<BucketKey> {
        let table = self.table.info().id;
        self.stage.cluster(|c| c.buckets(table).collect())
    }

    fn drop_partition(&self, id: PartitionId) -> bool {
        let path = &self.table.info().path;
        self.stage.cluster(|c| {
            let name = c.partition_name(id);
            name.is_some_and(|name| c.remove_partition_at(path, &name))
        })
    }

    fn finish(mut self) {
        let seed = self.seed;
        self.stage.cluster(|c| (0..3).for_each(|id| c.start(ServerId::Tablet(id))));
        if self.rng.one_in(2) {
            self.stage.cluster(|c| c.heal());
        }
        if self.rng.one_in(2) {
            self.writers.clear();
        }
        let closing = self.stage.fluss.close(Duration::from_secs(self.rng.below(100)));
        self.stage.run(closing).expect("an answer");
        assert_eq!(self.stage.fluss.memory_used(), 0, "seed {seed}");
        for (id, _, ticket) in std::mem::take(&mut self.tickets) {
            let outcome = ticket.outcome();
            let outcome = outcome.unwrap_or_else(|| panic!("seed {seed}: row {id} has no outcome"));
            self.known.insert(id, Known::Outcome(outcome));
        }
        for (first, count, mut ticket) in std::mem::take(&mut self.runs) {
            let Poll::Ready(parts) = self.stage.poll(&mut ticket) else {
                panic!("seed {seed}: the run from row {first} has no outcome")
            };
            let mut next = 0;
            for part in parts {
                assert_eq!(part.rows.start, next, "seed {seed}: a run with a gap");
                next = part.rows.end;
                for at in part.rows.clone() {
                    let outcome = part.outcome.clone().map(|mut ack| {
                        ack.offset = ack.offset.map(|o| o + (at - part.rows.start) as i64);
                        ack
                    });
                    self.known.insert(first + at as i64, Known::Outcome(outcome));
                }
            }
            assert_eq!(next, count as u64, "seed {seed}: a run that lacks rows");
        }
        assert_eq!(self.known.len() as i64, self.next, "seed {seed}: rows without an account");
        self.compare();
    }

    /// Holds what is known against the logs.
    fn compare(mut self) {
        let seed = self.seed;
        // What still travels arrives.
        self.stage.pass(Duration::from_secs(5));
        let mut found: BTreeMap<i64, Vec<(BucketKey, i64)>> = BTreeMap::new();
        let mut last_of: BTreeMap<(BucketKey, u64), u64> = BTreeMap::new();
        let names = |id| self.stage.cluster(|c| c.partition_name(id));
        for key in self.buckets() {
            for row in self.stage.cluster(|c| c.rows(key)).expect("rows that decode") {
                let Some(OwnedDatum::Int64(id)) = row.values.values().first().cloned() else {
                    panic!("seed {seed}: a row without its id")
                };
                let partition = key.partition.map(names);
                let right = partition.is_none_or(|p| p == Some(region_of(id).to_string()));
                assert!(right, "seed {seed}: row {id} lies in {key}");
                found.entry(id).or_default().push((key, row.offset));
                // A row that nobody knows of may have come after its writer gave it up.
                let known = matches!(self.known.get(&id), Some(Known::Outcome(Ok(_))));
                if let Some((handle, at)) = self.handed_in.get(&id).filter(|_| known) {
                    let before = last_of.insert((key, *handle), *at);
                    assert!(before <= Some(*at), "seed {seed}: row {id} lies too late in {key}");
                }
            }
        }
        for (id, known) in &self.known {
            let places = found.remove(id).unwrap_or_default();
            let right = match known {
                Known::Outcome(Ok(ack))
                    if ack.partition.is_some_and(|p| self.gone.contains(&p)) =>
                {
                    places.is_empty()
                }
                Known::Outcome(Ok(ack)) => {
                    places.len() == 1
                        && (places[0].0.partition, places[0].0.bucket)
                            == (ack.partition, ack.bucket)
                        && ack.offset.is_none_or(|offset| offset == places[0].1)
                }
                Known::Outcome(Err(WriteError::NotWritten(_))) | Known::Never => places.is_empty(),
                Known::Outcome(Err(WriteError::OutcomeUnknown(_))) | Known::Dropped => {
                    places.len() <= 1
                }
            };
            assert!(right, "seed {seed}: row {id} is {known:?} and lies at {places:?}");
        }
        assert!(found.is_empty(), "seed {seed}: rows nobody wrote: {found:?}");
    }
}

#[test]
fn every_row_of_a_random_application_has_one_true_outcome() {
    let only = std::env::var("FLUSS_SEED").ok().and_then(|s| s.parse().ok());
    let seeds = only.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let caught = std::panic::catch_unwind(|| {
            let mut app = App::new(seed);
            for _ in 0..25 {
                app.step();
                let used = app.stage.fluss.memory_used();
                assert!(used <= app.limit, "seed {seed}: {used} of {} bytes", app.limit);
            }
            app.finish();
        });
        if let Err(panic) = caught {
            eprintln!("seed {seed} failed; FLUSS_SEED={seed} runs it alone");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_cluster_that_lies_is_noticed() {
    for bug in [Bug::LoseAcknowledged, Bug::DoubleAppend] {
        let caught = std::panic::catch_unwind(|| {
            let mut app = App::new(0);
            app.stage.cluster(|c| {
                c.heal();
                c.misbehave(0, bug);
            });
            (0..5).for_each(|_| app.try_append());
            app.stage.pass(Duration::from_secs(1));
            app.finish();
        });
        assert!(caught.is_err(), "{bug:?} went unnoticed");
    }
}
