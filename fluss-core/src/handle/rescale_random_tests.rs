//! Random applications that write to partitions with other numbers of buckets than their writers
//! believe, and hand rows in while others are dealt out anew.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::super::testkit::Stage;
use crate::error::WriteError;
use crate::handle::{Ack, AppendWriter, RunTicket, Table, Ticket};
use crate::ids::{BucketKey, PartitionId};
use crate::rng::Rng;
use crate::row;
use crate::row::{DataType, OwnedDatum, Schema, TableDescriptor};
use crate::testing::cluster::{ClusterOptions, Fault, Faults, On};
use crate::time::Duration;

const INIT_WRITER: i16 = 1026;
const REQUEST: Duration = Duration::from_secs(4);

/// A random application.
struct App {
    rng: Rng,
    stage: Stage,
    table: Table,
    delivery: Duration,
    /// Those that are not busy, each with its number.
    handles: Vec<(u64, AppendWriter)>,
    opened: u64,
    /// The partition that most rows go to.
    partition: u64,
    /// The handle of each row that was handed in.
    rows: Vec<u64>,
    tickets: Vec<(i64, Ticket)>,
    /// Tickets of runs, with the rows of each.
    runs: Vec<(Vec<i64>, RunTicket)>,
    known: BTreeMap<i64, Result<Ack, WriteError>>,
    gone: BTreeSet<PartitionId>,
    /// Runs within runs.
    depth: u32,
}

/// What hits requests by chance.
fn faults(seed: u64, n: u64) -> Faults {
    let late = Fault::DelayAnswer(Duration::from_millis(300));
    Faults::new(seed)
        .one_in(n, On::Write, Fault::LoseAnswer)
        .one_in(n, On::Write, Fault::CutRequest)
        .one_in(n, On::Write, Fault::MoveLeader)
        .one_in(2 * n, On::Any, Fault::DropRequest)
        .one_in(2 * n, On::Any, Fault::CutAnswer)
        .one_in(n / 2, On::Any, late)
}

impl App {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let limit = if rng.one_in(4) { 16 << 10 << rng.below(4) } else { 64 << 20 };
        let options = ClusterOptions { seed, ..ClusterOptions::default() };
        let mut stage = Stage::configured(options, |c| {
            let mut c = c.memory_limit(limit);
            c = c.ack_timeout(Duration::from_secs(3)).request_deadline(REQUEST);
            c.seed = seed;
            c
        });
        let schema = Schema::builder()
            .column("p", DataType::STRING.not_null())
            .column("id", DataType::BIGINT.not_null());
        let mut table = TableDescriptor::new(schema.build().expect("a sound schema"));
        table.partition_key = vec![0];
        table.bucket_key = if rng.one_in(8) { Vec::new() } else { vec![1] };
        table.bucket_count = Some(1 + rng.below(3) as u32);
        let format = ["ARROW", "INDEXED", "COMPACTED"][rng.below(3) as usize];
        table.properties.insert("table.log.format".to_owned(), format.to_owned());
        let admin = stage.fluss.admin();
        stage.run(admin.create_database("shop", true)).expect("a database");
        stage.run(admin.create_table("shop.scaled", &table, false)).expect("a table");
        let opening = stage.fluss.table("shop.scaled");
        let table = stage.run(opening).expect("it is there");
        let delivery = Duration::from_secs(6 + rng.below(40));
        let building = table.appender().batch_bytes(512 << rng.below(4)).delivery_timeout(delivery);
        let linger = Duration::from_millis([0, 1, 30, 1500][rng.below(4) as usize]);
        let writer = building.linger(linger).build().expect("a writer");
        let mut app = Self {
            rng,
            stage,
            table,
            delivery,
            handles: vec![(0, writer)],
            opened: 1,
            partition: 0,
            rows: Vec::new(),
            tickets: Vec::new(),
            runs: Vec::new(),
            known: BTreeMap::new(),
            gone: BTreeSet::new(),
            depth: 0,
        };
        app.rescale();
        let (often, silent) = (6 + app.rng.below(40), app.rng.below(4));
        app.stage.cluster(|c| {
            c.set_faults(faults(seed, often));
            if silent == 0 {
                (0..400).for_each(|n| c.inject(On::Api(INIT_WRITER), n, Fault::DropRequest));
            }
        });
        app
    }

    /// Partitions to come have another number of buckets, mostly a multiple of the old one.
    fn rescale(&mut self) {
        let before = self.table.info().buckets();
        let times = 1 + self.rng.below(4) as i32;
        let buckets = if self.rng.one_in(8) { times } else { before * times };
        let path = &self.table.info().path;
        assert!(self.stage.cluster(|c| c.rescale(path, buckets)));
        self.partition += 1;
    }

    /// The next row, of this handle.
    fn row(&mut self, handle: u64) -> (String, i64) {
        let id = self.rows.len() as i64;
        self.rows.push(handle);
        let back = if self.rng.one_in(6) { self.rng.below(3) } else { 0 };
        (format!("p{}", self.partition.saturating_sub(back)), id)
    }

    fn handle(&mut self) -> Option<(u64, AppendWriter)> {
        let at = self.rng.below(self.handles.len().max(1) as u64) as usize;
        (at < self.handles.len()).then(|| self.handles.swap_remove(at))
    }

    /// What also happens while a handle is busy.
    fn step(&mut self) {
        match self.rng.below(9) {
            0..=1 => self.try_some(),
            2..=4 if self.depth < 3 => self.run(),
            5 if self.rng.one_in(12) => {
                let time = Duration::from_secs(self.rng.below(20));
                self.stage.pass(time);
            }
            5 | 6 => {
                let time = Duration::from_millis(self.rng.below(300));
                self.stage.pass(time);
            }
            7 if self.rng.one_in(2) => self.rescale(),
            7 if self.handles.len() < 4 => {
                let Some(handle) = self.handle() else { return };
                self.handles.push((self.opened, handle.1.clone()));
                self.opened += 1;
                self.handles.push(handle);
            }
            7 if self.handles.len() > 1 => drop(self.handle()),
            _ => drop(self.stage.settle()),
        }
    }

    fn try_some(&mut self) {
        let Some((number, writer)) = self.handle() else { return };
        for _ in 0..self.rng.below(30) {
            let (p, id) = self.row(number);
            match writer.try_append(&row![&*p, id]) {
                Ok(ticket) => self.tickets.push((id, ticket)),
                Err(error) => {
                    assert!(matches!(error, crate::Error::Full { .. }), "{error}");
                    break;
                }
            }
        }
        self.handles.push((number, writer));
    }

    /// A run of rows, during which anything happens: its handle is busy then.
    fn run(&mut self) {
        let Some((number, writer)) = self.handle() else { return };
        self.depth += 1;
        let mut ids = Vec::new();
        let count = self.rng.below(60);
        let mut handing = writer.append_all((0..count).map(|_| {
            if self.rng.one_in(12) {
                self.step();
            }
            let row = self.row(number);
            ids.push(row.1);
            row
        }));
        let polled = Pin::new(&mut handing).poll(&mut Context::from_waker(Waker::noop()));
        let taken = handing.handed_in() as usize;
        drop(handing);
        self.depth -= 1;
        // Without memory the rest is given up, and what was handed in has nobody who asks.
        if let Poll::Ready(run) = polled {
            ids.truncate(taken);
            self.runs.push((ids, run.expect("they fit")));
        }
        self.handles.push((number, writer));
    }

    fn flush(&mut self) {
        let Some(handle) = self.handle() else { return };
        let flush = handle.1.flush();
        let _ = self.stage.run(flush);
        let open = self.tickets.iter().filter(|(_, ticket)| ticket.outcome().is_none()).count();
        assert_eq!(open, 0, "flushed without an outcome");
        self.handles.push(handle);
    }

    fn buckets(&self) -> Vec<BucketKey> {
        let table = self.table.info().id;
        self.stage.cluster(|c| c.buckets(table).collect())
    }

    fn drop_partition(&mut self) {
        let buckets = self.buckets();
        let at = self.rng.below(buckets.len().max(1) as u64) as usize;
        let Some(id) = buckets.get(at).and_then(|bucket| bucket.partition) else { return };
        let path = &self.table.info().path;
        let dropped = self.stage.cluster(|c| {
            let name = c.partition_name(id);
            name.is_some_and(|name| c.remove_partition_at(path, &name))
        });
        self.gone.extend(dropped.then_some(id));
    }

    /// Everything has an outcome in time, and nothing is held any more.
    fn finish(&mut self) {
        if self.rng.one_in(2) {
            self.handles.clear();
        }
        self.stage.pass(self.delivery + REQUEST + Duration::from_secs(1));
        assert_eq!(self.stage.fluss.memory_used(), 0, "bytes are held for nothing");
        for (id, ticket) in std::mem::take(&mut self.tickets) {
            let outcome = ticket.outcome();
            self.known.insert(id, outcome.unwrap_or_else(|| panic!("row {id} has no outcome")));
        }
        for (ids, mut ticket) in std::mem::take(&mut self.runs) {
            let Poll::Ready(parts) = self.stage.poll(&mut ticket) else {
                panic!("the run from row {:?} has no outcome", ids.first())
            };
            for part in parts {
                for at in part.rows.clone() {
                    let behind = (at - part.rows.start) as i64;
                    let outcome = part.outcome.clone().map(|mut ack| {
                        ack.offset = ack.offset.map(|offset| offset + behind);
                        ack
                    });
                    self.known.insert(ids[at as usize], outcome);
                }
            }
        }
        for handle in &self.handles {
            let mut flush = handle.1.flush();
            assert!(self.stage.poll(&mut flush).is_ready(), "a flush waits for nothing");
        }
        self.stage.cluster(|c| c.set_faults(Faults::new(0)));
        self.stage.pass(Duration::from_secs(5));
    }

    /// Holds what is known against the logs; the number of rows that were written.
    fn compare(&self) -> usize {
        let mut found: BTreeMap<i64, Vec<(BucketKey, i64)>> = BTreeMap::new();
        let mut last: BTreeMap<(BucketKey, u64), i64> = BTreeMap::new();
        for key in self.buckets() {
            for row in self.stage.cluster(|c| c.rows(key)).expect("rows that decode") {
                let OwnedDatum::Int64(id) = row.values.values()[1] else { panic!("no id") };
                found.entry(id).or_default().push((key, row.offset));
                // One that nobody knows of may have come after its writer gave it up.
                if matches!(self.known.get(&id), Some(Ok(_))) {
                    let before = last.insert((key, self.rows[id as usize]), id);
                    assert!(before < Some(id), "row {id} lies behind {before:?} in {key}");
                }
            }
        }
        let mut written = 0;
        for (id, known) in &self.known {
            let places = found.get(id).map_or(&[][..], |places| places);
            let right = match known {
                Ok(ack) if ack.partition.is_some_and(|p| self.gone.contains(&p)) => true,
                Ok(ack) => {
                    written += 1;
                    places.len() == 1
                        && places[0].0.partition == ack.partition
                        && places[0].0.bucket == ack.bucket
                        && ack.offset.is_none_or(|offset| offset == places[0].1)
                }
                Err(WriteError::NotWritten(_)) => places.is_empty(),
                Err(WriteError::OutcomeUnknown(_)) => places.len() <= 1,
            };
            assert!(right, "row {id} is {known:?} and lies at {places:?}");
        }
        assert!(found.values().all(|places| places.len() == 1), "a row lies twice");
        written
    }
}

/// Runs one application; the number of rows that were written, and of all.
fn life(seed: u64) -> (usize, usize) {
    let mut app = App::new(seed);
    for _ in 0..24 {
        match app.rng.below(16) {
            0 => app.flush(),
            1 => app.drop_partition(),
            2 => app.rescale(),
            _ => app.step(),
        }
    }
    app.finish();
    (app.compare(), app.rows.len())
}

/// `FLUSS_RESCALE_RUNS` has more of them run, `FLUSS_SEED` one alone.
#[test]
fn rows_on_their_way_to_rescaled_partitions_keep_their_order_and_end_in_time() {
    let of = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = match of("FLUSS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..of("FLUSS_RESCALE_RUNS").unwrap_or(300),
    };
    let (mut written, mut all) = (0, 0);
    for seed in seeds.clone() {
        match std::panic::catch_unwind(|| life(seed)) {
            Ok((of_these, rows)) => (written, all) = (written + of_these, all + rows),
            Err(panic) => {
                eprintln!("seed {seed} failed; FLUSS_SEED={seed} runs it alone");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{} applications: {written} of {all} rows were written", seeds.end - seeds.start);
    assert!(written * 2 > all || seeds.end - seeds.start < 100, "{written} of {all}");
}
