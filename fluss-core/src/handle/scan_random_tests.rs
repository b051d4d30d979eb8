//! Random readers on a random cluster: rows come in while leaders move, servers die, logs are cut,
//! expire or move to remote storage, answers are late, lost or rubbish, and while the reader gives
//! up waiting, pauses, leaves, comes back and begins anew from a checkpoint. Each row is handed out
//! once, in order.
//!
//! ```console
//! $ FLUSS_READER_SEEDS=100000 cargo test --profile heavy -p fluss-core --lib a_random_reader
//! ```

mod setting;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;

use self::setting::{descriptor, faults, scanner};
use self::wanted::Wanted;
use super::signal::lock;
use super::testkit::Stage;
use crate::error::Error;
use crate::ids::{BucketKey, ServerId};
use crate::rng::Rng;
use crate::row::OwnedDatum;
use crate::testing::cluster::{ClusterOptions, FaultKind, Release};
use crate::time::Duration;
use crate::{AppendWriter, EARLIEST, LogScanner, OnOutOfRange, ScanBatch, ScanEvent, Table};

const SEEDS: u64 = 1000;
const STEPS: u64 = 60;

/// How often something came up.
#[derive(Debug, Default)]
struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    fn add(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }
}

/// What lay in a bucket, ever.
#[derive(Debug, Default)]
struct Lay {
    /// The ids of the rows at an offset: more than one where a log was cut and grew again.
    at: BTreeMap<i64, BTreeSet<i64>>,
    /// Where the log began.
    starts: BTreeSet<i64>,
    /// Whether it was cut: it may have grown again before anybody asks how far it goes.
    cut: bool,
}

struct Reader {
    stage: Stage,
    rng: Rng,
    table: Table,
    writer: AppendWriter,
    scanner: LogScanner,
    events: Arc<Mutex<Vec<ScanEvent>>>,
    policy: OnOutOfRange,
    columns: Vec<&'static str>,
    wanted: Wanted,
    /// The offset of the row that must come next.
    next: BTreeMap<BucketKey, i64>,
    lay: BTreeMap<BucketKey, Lay>,
    next_id: i64,
    woken: bool,
    counts: Counts,
}

impl Reader {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let wanted = Wanted::random(&mut rng);
        Self::wanting(wanted, seed, rng)
    }

    fn wanting(wanted: Wanted, seed: u64, mut rng: Rng) -> Self {
        // Those of the 1.0 line pass over batches by their statistics.
        let release = if wanted.is_all() { Release::V0_9 } else { Release::V1_0 };
        let options = ClusterOptions { seed, release, ..ClusterOptions::default() };
        let mut stage = Stage::configured(options, |c| {
            let mut c = c.ack_timeout(Duration::from_secs(3));
            c = c.request_deadline(Duration::from_secs(4));
            c.seed = seed;
            c
        });
        let table = descriptor(&mut rng, wanted);
        let arrow = table.properties["table.log.format"] == "ARROW";
        let admin = stage.fluss.admin();
        stage.run(admin.create_database("shop", true)).expect("a database");
        stage.run(admin.create_table("shop.events", &table, false)).expect("a table");
        let opening = stage.fluss.table("shop.events");
        let table = stage.run(opening).expect("it is there");
        let building = table.appender().batch_bytes(256 << rng.below(5));
        let building = building.linger(Duration::from_millis(rng.below(20)));
        let writer = building.delivery_timeout(Duration::from_secs(20)).build();
        let writer = writer.expect("a writer");
        let policies = [OnOutOfRange::Fail, OnOutOfRange::Earliest, OnOutOfRange::Latest];
        let policy = policies[rng.below(3) as usize];
        let columns = [vec!["id", "text"], vec!["id"], vec!["text", "id"]];
        let columns = columns[if arrow { rng.below(3) as usize } else { 0 }].clone();
        let buckets = stage.cluster(|c| c.buckets(table.info().id).collect::<Vec<_>>());
        let next: BTreeMap<_, _> = buckets.into_iter().map(|key| (key, EARLIEST)).collect();
        let events = Arc::default();
        let building = scanner(&table, &next, (&columns, wanted), policy, &events, &mut rng);
        let scanner = stage.run(building).expect("a scanner");
        let starts = || Lay { starts: [0].into(), ..Lay::default() };
        let lay = next.keys().map(|key| (*key, starts())).collect();
        let often = 4 + rng.below(60);
        stage.cluster(|c| c.set_faults(faults(seed, often)));
        stage.cluster(|c| c.disturb_remote(seed, often.div_ceil(4)));
        if rng.one_in(2) {
            // Of somebody else, who wants to see tokens.
            stage.cluster(|c| c.set_remote_root("s3://lake/fluss"));
            stage.cluster(|c| c.give_keys(Some(Duration::from_millis(200 << rng.below(8)))));
        }
        Self {
            stage,
            rng,
            table,
            writer,
            scanner,
            events,
            policy,
            columns,
            wanted,
            next,
            lay,
            next_id: 0,
            woken: false,
            counts: Counts::default(),
        }
    }

    fn step(&mut self) {
        match self.rng.below(16) {
            0..=3 => self.append(),
            4..=9 => self.read(),
            10 => {
                let time = Duration::from_millis(self.rng.below(400));
                self.stage.pass(time);
            }
            11 if self.rng.one_in(6) => {
                let time = Duration::from_secs(self.rng.below(20));
                self.stage.pass(time);
            }
            12 => self.disturb(),
            13 => self.change_mind(),
            14 if self.rng.one_in(2) => self.move_away(),
            14 if self.rng.one_in(4) => self.lose_rows(),
            15 if self.rng.one_in(6) => self.begin_anew(),
            _ => {
                self.stage.settle();
            }
        }
    }

    fn append(&mut self) {
        for _ in 0..self.rng.below(40) {
            let id = self.next_id;
            self.next_id += 1;
            let text = "x".repeat(self.rng.below(60) as usize);
            // What becomes of it the logs will tell.
            drop(self.writer.try_append(&(id, text)));
        }
    }

    /// Waits for a batch for a while, or gives up.
    fn read(&mut self) {
        let mut waiting = self.scanner.next_batch();
        let mut got = Poll::Pending;
        for _ in 0..=self.rng.below(4) {
            got = self.stage.poll(&mut waiting);
            if got.is_ready() {
                break;
            }
            if self.rng.one_in(3) {
                let time = Duration::from_millis(self.rng.below(100));
                self.stage.pass(time);
            } else {
                self.stage.settle();
            }
        }
        drop(waiting);
        self.follow_events();
        match got {
            Poll::Pending => self.counts.add("given up", 1),
            Poll::Ready(Ok(Some(batch))) => self.check(&batch),
            Poll::Ready(Ok(None)) => assert!(std::mem::take(&mut self.woken), "an end"),
            Poll::Ready(Err(error)) => self.stopped(&error),
        }
        if !self.wanted.is_all() {
            for (key, position) in self.scanner.positions().clone() {
                self.pass_over(key, position);
            }
        }
    }

    /// A filter left everything out up to here.
    fn pass_over(&mut self, key: BucketKey, to: i64) {
        let next = std::mem::replace(self.next.get_mut(&key).expect("it is read"), to);
        if next == to {
            return;
        }
        assert!(next < to, "{key} went back to {to}");
        self.look_at(key);
        let lay = &self.lay[&key];
        let from = next.max(lay.starts.last().copied().unwrap_or(0));
        for offset in from..to {
            let unwanted = |ids: &BTreeSet<i64>| ids.iter().any(|id| !self.wanted.holds(*id));
            let left_out = lay.at.get(&offset).is_none_or(unwanted);
            assert!(left_out, "{key}: {:?} at {offset} is wanted", lay.at.get(&offset));
        }
        self.counts.add("rows left out", (from..to).count() as u64);
    }

    /// Looks at what the servers have now, before they may lose a part of it.
    fn look(&mut self) {
        let keys: Vec<_> = self.lay.keys().copied().collect();
        keys.into_iter().for_each(|key| self.look_at(key));
    }

    fn look_at(&mut self, key: BucketKey) {
        let lay = self.lay.get_mut(&key).expect("one of them");
        for row in self.stage.cluster(|c| c.rows(key)).expect("rows that decode") {
            let Some(OwnedDatum::Int64(id)) = row.values.values().first().cloned() else {
                panic!("a row without its id")
            };
            lay.at.entry(row.offset).or_default().insert(id);
        }
    }

    fn check(&mut self, batch: &ScanBatch) {
        let key = batch.bucket();
        self.look_at(key);
        let lay = &self.lay[&key];
        let base = batch.offset(0).expect("a row");
        match self.next[&key] {
            // A filter may leave out its first rows.
            _ if !self.wanted.is_all() => {}
            EARLIEST => {
                // The batch that a log begins in is there as a whole.
                let last = lay.starts.last().is_some_and(|start| base <= *start);
                assert!(last, "{key} begins at {base}: {:?}", lay.starts);
            }
            next => assert_eq!(base, next, "{key}: what comes next"),
        }
        let records = batch.record_batch();
        assert_eq!(records.num_columns(), self.columns.len());
        let ids = records.column_by_name("id").expect("it was asked for");
        let ids = ids.as_primitive::<Int64Type>().values().to_vec();
        for (row, id) in ids.iter().enumerate() {
            let offset = batch.offset(row).expect("a row");
            let is_laid = self.lay[&key].at.get(&offset).is_some_and(|ids| ids.contains(id));
            assert!(is_laid, "{key}: row {id} was never stored at {offset}");
            assert!(self.wanted.holds(*id), "{key}: row {id} is not wanted");
            match self.wanted.is_all() {
                true => assert_eq!(offset, base + row as i64),
                false => self.pass_over(key, offset),
            }
            self.next.insert(key, offset + 1);
        }
        let position = self.scanner.positions()[&key];
        if !self.wanted.is_all() {
            self.pass_over(key, position);
        }
        assert_eq!(position, self.next[&key]);
        self.counts.add("rows", ids.len() as u64);
    }

    /// The scanner went on elsewhere by itself.
    fn follow_events(&mut self) {
        let events = std::mem::take(&mut *lock(&self.events));
        for event in events {
            let ScanEvent::PositionReset { bucket, from, to, range } = event else {
                panic!("{event:?}")
            };
            if !self.wanted.is_all() {
                self.pass_over(bucket, from);
            }
            let next = self.next.get_mut(&bucket).expect("a bucket that is read");
            assert_eq!(from, *next, "{bucket} was somewhere else");
            let outside = from < range.0 || from > range.1 || self.lay[&bucket].cut;
            assert!(outside, "{from} is within {range:?}");
            let expected = match self.policy {
                OnOutOfRange::Earliest => range.0,
                _ => range.1,
            };
            assert_eq!(to, expected, "{:?} with {range:?}", self.policy);
            *next = to;
            self.counts.add("resets", 1);
        }
    }

    /// A bucket stopped: the reader decides where it goes on.
    fn stopped(&mut self, error: &Error) {
        let Error::Scan(error) = error else { panic!("{error}") };
        if !self.wanted.is_all() {
            self.pass_over(error.bucket, error.position);
        }
        let next = self.next[&error.bucket];
        assert_eq!(error.position, next, "{error}");
        let to = match error.range {
            Some((start, end)) => {
                assert_eq!(self.policy, OnOutOfRange::Fail, "{error}");
                let outside = next < start || next > end || self.lay[&error.bucket].cut;
                assert!(outside, "{error}");
                if self.rng.one_in(2) { start } else { end }
            }
            // An answer was rubbish, or nobody could tell the range: the reader tries again.
            None => {
                self.counts.add("tried again", 1);
                next
            }
        };
        self.scanner.seek(error.bucket, to).expect("a bucket that is read");
        self.next.insert(error.bucket, to);
        self.counts.add("stops", 1);
    }

    fn any_bucket(&mut self) -> BucketKey {
        let at = self.rng.below(self.next.len() as u64) as usize;
        *self.next.keys().nth(at).expect("one of them")
    }

    fn disturb(&mut self) {
        self.look();
        let server = ServerId::Tablet(self.rng.below(3) as i32);
        let bucket = self.any_bucket();
        let (what, clean) = (self.rng.below(6), self.rng.one_in(2));
        self.stage.cluster(|c| match what {
            0 => drop(c.move_leader(bucket, None)),
            1 => c.restart(server, clean),
            2 => c.cut_connections(None),
            3 => c.silence(server),
            4 => c.stop(server),
            _ => (0..3).for_each(|id| c.start(ServerId::Tablet(id))),
        });
        self.counts.add("disturbances", 1);
    }

    fn change_mind(&mut self) {
        let key = self.any_bucket();
        let next = self.next[&key];
        match self.rng.below(6) {
            0 => self.scanner.pause(key).expect("a bucket that is read"),
            1 => self.scanner.resume(key).expect("a bucket that is read"),
            2 => {
                let to = if next > 0 { self.rng.below(next as u64 + 1) as i64 } else { EARLIEST };
                self.scanner.seek(key, to).expect("a bucket that is read");
                self.next.insert(key, to);
                self.counts.add("steps back", 1);
            }
            3 => {
                assert!(self.scanner.unsubscribe(key), "{key} was read");
                self.stage.settle();
                let again = self.scanner.subscribe([(key, next)]);
                self.stage.run(again).expect("a bucket of the table");
                self.counts.add("came back", 1);
            }
            4 => {
                self.scanner.waker().wake();
                self.woken = true;
            }
            _ => {
                let found = self.scanner.progress(key).expect("a bucket that is read");
                assert_eq!(found.position, next);
            }
        }
    }

    /// The older part of a log goes to remote storage.
    fn move_away(&mut self) {
        let key = self.any_bucket();
        let Some(truth) = self.stage.cluster(|c| c.truth(key)) else { return };
        let end = self.rng.below(truth.log_end.cast_unsigned() + 1) as i64;
        if self.stage.cluster(|c| c.move_to_remote(key, end)) {
            self.counts.add("segments moved", 1);
        }
    }

    /// A log is cut at its end, or expires at its beginning.
    fn lose_rows(&mut self) {
        self.look();
        let key = self.any_bucket();
        let Some(truth) = self.stage.cluster(|c| c.truth(key)) else { return };
        let at = self.rng.below(truth.log_end.cast_unsigned() + 1) as i64;
        let lay = self.lay.get_mut(&key).expect("one of them");
        if self.rng.one_in(2) {
            let at = at.max(truth.log_end - 60).max(lay.starts.last().copied().unwrap_or(0));
            self.stage.cluster(|c| c.truncate_log(key, at));
            lay.cut = true;
            self.counts.add("logs cut", 1);
        } else {
            self.stage.cluster(|c| c.expire_log(key, at));
            lay.starts.insert(at.min(truth.high_watermark));
            self.counts.add("logs expired", 1);
        }
    }

    /// Another scanner goes on where this one is.
    fn begin_anew(&mut self) {
        let positions = self.scanner.positions().clone();
        assert_eq!(positions, self.next);
        let (table, next) = (&self.table, &self.next);
        let what = (&self.columns[..], self.wanted);
        let building = scanner(table, next, what, self.policy, &self.events, &mut self.rng);
        self.scanner = self.stage.run(building).expect("a scanner");
        self.woken = false;
        self.counts.add("begun anew", 1);
    }

    /// All trouble ends: what is there must be read to its end.
    fn finish(mut self) -> Counts {
        self.stage.cluster(|c| {
            (0..3).for_each(|id| c.start(ServerId::Tablet(id)));
            c.heal();
        });
        let keys: Vec<_> = self.next.keys().copied().collect();
        for key in keys {
            self.scanner.resume(key).expect("a bucket that is read");
        }
        self.append();
        drop(self.stage.run(self.writer.flush()));
        for _ in 0..3000 {
            self.read();
            if self.is_at_the_end() {
                break;
            }
            let time = Duration::from_millis(20);
            self.stage.pass(time);
        }
        assert!(self.is_at_the_end(), "it stopped at {:?} of {:?}", self.next, self.counts);
        self.compare();
        for (what, kind) in [
            ("cuts", FaultKind::CutAnswer),
            ("silence", FaultKind::Silence),
            ("rubbish", FaultKind::GarbageBody),
        ] {
            let count = self.stage.cluster(|c| c.faults().count(kind));
            self.counts.add(what, count);
        }
        self.counts.add("remote reads", self.stage.cluster(|c| c.remote_reads()));
        let tokens = self.stage.cluster(|c| c.requests().get(&1025).copied());
        self.counts.add("tokens", tokens.unwrap_or_default());
        self.counts
    }

    fn is_at_the_end(&self) -> bool {
        self.next.iter().all(|(key, next)| {
            let truth = self.stage.cluster(|c| c.truth(*key)).expect("it is there");
            // Where all rows expired, nothing comes that would tell where the log begins.
            let empty = truth.log_end == *self.lay[key].starts.last().expect("its first");
            *next == truth.log_end || (*next == EARLIEST && empty)
        })
    }

    /// A bounded scan finds what is there, no more and no less.
    fn compare(&mut self) {
        let building = self.table.scanner().bounded().columns(["id"]).build();
        let mut scanner = self.stage.run(building).expect("a scanner");
        let mut found: BTreeMap<BucketKey, Vec<(i64, i64)>> = BTreeMap::new();
        while let Some(batch) = self.stage.run(scanner.next_batch()).expect("nothing is amiss") {
            let records = batch.record_batch();
            let ids = records.column(0).as_primitive::<Int64Type>().values().to_vec();
            found.entry(batch.bucket()).or_default().extend((batch.base_offset()..).zip(ids));
        }
        assert!(scanner.is_finished());
        for (key, lay) in &self.lay {
            let rows = self.stage.cluster(|c| c.rows(*key)).expect("rows that decode");
            let found = found.remove(key).unwrap_or_default();
            let first = found.first().map_or(rows.len() as i64, |row| row.0);
            let begins = lay.starts.last().is_some_and(|start| first <= *start);
            assert!(found.is_empty() || begins, "{key} begins at {first}: {:?}", lay.starts);
            let rows = rows.into_iter().skip_while(|row| !found.is_empty() && row.offset < first);
            let there: Vec<_> = rows
                .map(|row| match row.values.values().first() {
                    Some(OwnedDatum::Int64(id)) => (row.offset, *id),
                    other => panic!("{other:?}"),
                })
                .collect();
            if !found.is_empty() {
                assert_eq!(found, there, "{key}");
            }
        }
    }
}

fn run(seed: u64) -> Counts {
    let mut reader = Reader::new(seed);
    for _ in 0..STEPS {
        reader.step();
    }
    reader.finish()
}

#[test]
fn a_random_reader_gets_every_row_once_and_in_order() {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let count = number("FLUSS_READER_SEEDS").unwrap_or(SEEDS);
    let seeds = number("FLUSS_SEED").map_or(0..count, |seed| seed..seed + 1);
    let mut all = Counts::default();
    for seed in seeds.clone() {
        match std::panic::catch_unwind(|| run(seed)) {
            Ok(counts) => counts.0.into_iter().for_each(|(what, count)| all.add(what, count)),
            Err(panic) => {
                eprintln!("seed {seed} failed; FLUSS_SEED={seed} runs it alone");
                std::panic::resume_unwind(panic);
            }
        }
    }
    eprintln!("{} seeds: {:?}", seeds.end - seeds.start, all.0);
    if seeds.end - seeds.start >= SEEDS {
        for what in [
            "rows",
            "rows left out",
            "given up",
            "resets",
            "stops",
            "tried again",
            "disturbances",
            "steps back",
            "came back",
            "logs cut",
            "logs expired",
            "begun anew",
            "segments moved",
            "remote reads",
            "tokens",
            "rubbish",
            "silence",
            "cuts",
        ] {
            assert!(all.0.get(what).is_some_and(|count| *count >= 50), "{what} hardly ever");
        }
    }
}

#[test]
fn a_row_that_is_left_out_or_comes_twice_is_noticed() {
    let all_by_filter = Wanted::Within(0, 1 << 20);
    for (wanted, by) in
        [(Wanted::All, -1), (Wanted::All, 1), (all_by_filter, -1), (all_by_filter, 1)]
    {
        let caught = std::panic::catch_unwind(|| {
            let mut reader = Reader::wanting(wanted, 0, Rng::new(0));
            reader.stage.cluster(|c| c.heal());
            (0..20).for_each(|_| reader.append());
            drop(reader.stage.run(reader.writer.flush()));
            let (key, next) = loop {
                reader.read();
                let at = reader.next.iter().find(|(_, next)| **next > 0);
                if let Some((key, next)) = at {
                    break (*key, *next);
                }
                let time = Duration::from_millis(20);
                reader.stage.pass(time);
            };
            reader.scanner.seek(key, next + by).expect("a bucket that is read");
            reader.finish()
        });
        assert!(caught.is_err(), "{by} of {wanted:?} went unnoticed");
    }
}
