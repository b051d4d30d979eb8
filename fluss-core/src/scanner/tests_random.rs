//! Logs that grow, leaders that move, answers that are cut, late, lost or wrong, and a reader that
//! gives up and comes back, while older batches move to remote storage, which fails and cuts what
//! it sends: every batch is handed out once, in order, within the budget. Half of the readers give
//! buckets up that nobody answers for, and begin them anew.

use std::collections::BTreeMap;

use bytes::Bytes;
use fluss_proto::message::PbFetchLogRespForBucket;

use super::testkit::*;
use super::{EARLIEST, FetchedBatch, ScanError, ScannerOptions, TakeLimits};
use crate::connection::request::RequestError;
use crate::error::Error;
use crate::ids::{ScannerKey, ServerId};
use crate::rng::Rng;
use crate::storage::{StorageError, StorageErrorKind};
use crate::time::Duration;

const SERVERS: [ServerId; 3] = [S1, S2, ServerId::Tablet(3)];

/// A stored batch and the offset after it.
#[derive(Clone, Debug)]
struct Stored {
    base: i64,
    next: i64,
    bytes: Vec<u8>,
}

struct World {
    b: Bench,
    rng: Rng,
    key: ScannerKey,
    options: ScannerOptions,
    logs: BTreeMap<i32, Vec<Stored>>,
    leaders: BTreeMap<i32, ServerId>,
    /// The next offset the reader wants, per bucket.
    expected: BTreeMap<i32, i64>,
    on_the_way: Vec<Sent>,
    calm: bool,
    taken: u64,
    /// Segments in remote storage: the offset after each, per bucket.
    moved: BTreeMap<i32, Vec<i64>>,
    read: u64,
    given_up: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let count = 1 + rng.below(6) as i32;
        let mut options = Bench::options();
        options.max_bytes = 500 + rng.below(4000) as usize;
        options.max_bytes_per_bucket = 200 + rng.below(300) as usize;
        options.buffer_limit = 4000 + rng.below(20_000);
        options.patience = rng.one_in(2).then(|| Duration::from_millis(50 + rng.below(1000)));
        let mut b = Bench::new(&[]);
        b.rng = rng.fork();
        let leaders: BTreeMap<_, _> =
            (0..count).map(|n| (n, SERVERS[rng.below(3) as usize])).collect();
        b.leaders = leaders.iter().map(|(n, s)| (bucket(*n), *s)).collect();
        let at: Vec<_> = (0..count).map(|n| (n, EARLIEST)).collect();
        let key = b.open(options.clone(), &at);
        Self {
            b,
            rng,
            key,
            options,
            logs: (0..count).map(|n| (n, Vec::new())).collect(),
            leaders,
            expected: (0..count).map(|n| (n, 0)).collect(),
            on_the_way: Vec::new(),
            calm: false,
            taken: 0,
            moved: (0..count).map(|n| (n, Vec::new())).collect(),
            read: 0,
            given_up: 0,
        }
    }

    fn any_bucket(&mut self) -> i32 {
        self.rng.below(self.logs.len() as u64) as i32
    }

    fn append(&mut self) {
        let number = self.any_bucket();
        let rows = self.rng.below(5) as u32;
        let gap = self.rng.below(3) as u32;
        let size = match self.rng.below(20) {
            0 => 3000,
            n => 20 * n as usize,
        };
        let log = self.logs.get_mut(&number).expect("a bucket");
        let base = log.last().map_or(0, |s| s.next);
        let bytes = batch(base, rows, gap, if rows == 0 { 0 } else { size });
        let next = base + i64::from((rows + gap).max(1));
        log.push(Stored { base, next, bytes });
    }

    fn move_leader(&mut self) {
        let number = self.any_bucket();
        let server = SERVERS[self.rng.below(3) as usize];
        self.leaders.insert(number, server);
        if self.rng.one_in(2) {
            self.learn();
        }
    }

    fn learn(&mut self) {
        self.b.leaders = self.leaders.iter().map(|(n, s)| (bucket(*n), *s)).collect();
        let leaders = self.b.leaders.clone();
        self.b.run(|s, _| s.handle_metadata(&leaders));
    }

    /// The answer of a server that serves buckets in an order of its own.
    fn serve(&mut self, sent: &Sent) -> Vec<PbFetchLogRespForBucket> {
        let mut asked = sent.request.tables_req[0].buckets_req.clone();
        for i in (1..asked.len()).rev() {
            asked.swap(i, self.rng.below(i as u64 + 1) as usize);
        }
        let mut left = sent.request.max_bytes as usize;
        let mut first = true;
        let mut parts = Vec::new();
        for ask in asked {
            if self.leaders[&ask.bucket_id] != sent.server {
                parts.push(failed(ask.bucket_id, 12));
                continue;
            }
            if !self.calm && self.rng.one_in(40) {
                let code = [-1, 26, 44, 24, 21][self.rng.below(5) as usize];
                parts.push(failed(ask.bucket_id, code));
                continue;
            }
            let log = &self.logs[&ask.bucket_id];
            let hw = log.last().map_or(0, |s| s.next);
            let offset = ask.fetch_offset.max(0);
            if self.moved[&ask.bucket_id].last().is_some_and(|end| offset < *end) {
                parts.push(self.elsewhere(ask.bucket_id, hw, offset));
                continue;
            }
            let wanted = log.iter().skip_while(|s| s.next <= offset);
            let mut bytes: Vec<u8> = wanted.flat_map(|s| s.bytes.clone()).collect();
            let mut limit = left.min(ask.max_fetch_bytes as usize);
            if first && !bytes.is_empty() {
                let size = log.iter().find(|s| s.next > offset).map_or(0, |s| s.bytes.len());
                limit = limit.max(size);
                first = false;
            }
            bytes.truncate(limit);
            left = left.saturating_sub(bytes.len());
            parts.push(part(ask.bucket_id, hw, &bytes));
        }
        parts
    }

    /// The batches from one offset to another.
    fn segment(&self, number: i32, start: i64, end: i64) -> Vec<u8> {
        let within = self.logs[&number].iter().filter(|s| s.base >= start && s.next <= end);
        within.flat_map(|s| s.bytes.clone()).collect()
    }

    /// Where an offset is, from one of the batches before it on.
    fn elsewhere(&mut self, number: i32, hw: i64, offset: i64) -> PbFetchLogRespForBucket {
        let (mut start, mut segments, mut first_at) = (0, Vec::new(), 0);
        for end in self.moved[&number].clone() {
            if end > offset {
                let size = self.segment(number, start, end).len();
                if segments.is_empty() {
                    let log = self.logs[&number].iter().filter(|s| s.base >= start);
                    let before: Vec<_> = log.take_while(|s| s.base <= offset).collect();
                    let skipped = self.rng.below(before.len() as u64) as usize;
                    first_at = before[..skipped].iter().map(|s| s.bytes.len()).sum();
                }
                segments.push((start, end, size));
            }
            start = end;
        }
        let few = 1 + self.rng.below(segments.len() as u64) as usize;
        moved(number, hw, i32::try_from(first_at).expect("small"), &segments[..few])
    }

    /// Moves older batches to remote storage.
    fn move_away(&mut self) {
        let number = self.any_bucket();
        let done = self.moved[&number].last().copied().unwrap_or(0);
        let left = self.logs[&number].iter().filter(|s| s.next > done).map(|s| s.next);
        let left: Vec<i64> = left.collect();
        if left.len() > 2 {
            let at = self.rng.below(left.len() as u64 - 1) as usize;
            self.moved.get_mut(&number).expect("a bucket").push(left[at]);
        }
    }

    fn end_a_read(&mut self) {
        if self.b.reads.is_empty() {
            return;
        }
        let index = self.rng.below(self.b.reads.len() as u64) as usize;
        self.b.reads.swap(0, index);
        let part = self.b.reads[0].1.clone();
        let mut names = part.object.split('/').skip(2);
        let number: i32 = names.next().and_then(|n| n.parse().ok()).expect("a bucket");
        let start: i64 = names.next().and_then(|n| n[1..].parse().ok()).expect("an offset");
        let end = self.moved[&number].iter().find(|end| **end > start).copied().expect("a segment");
        if !self.calm && self.rng.one_in(8) {
            let kind = [StorageErrorKind::Unavailable, StorageErrorKind::Denied];
            let kind = kind[self.rng.below(2) as usize];
            return self.b.end_read(Err(StorageError::new(&part, kind, "injected")));
        }
        let bytes = self.segment(number, start, end);
        let from = part.from as usize;
        assert!(from < bytes.len() && from + part.len <= bytes.len(), "{part:?}");
        let mut len = part.len;
        if !self.calm && self.rng.one_in(4) {
            len = self.rng.below(len as u64 + 1) as usize;
        }
        self.read += len as u64;
        self.b.end_read(Ok(Bytes::copy_from_slice(&bytes[from..from + len])));
    }

    fn answer_one(&mut self) {
        if self.on_the_way.is_empty() {
            return;
        }
        let index = self.rng.below(self.on_the_way.len() as u64) as usize;
        let sent = self.on_the_way.swap_remove(index);
        if !self.calm && self.rng.one_in(15) {
            let lost = self.rng.one_in(2);
            let error =
                Error::Disconnected { server: "s".into(), what: "reset".into(), sent: lost };
            let error = if lost { RequestError::Lost(error) } else { RequestError::NotSent(error) };
            return self.b.result(&sent, Err(error));
        }
        let parts = self.serve(&sent);
        self.b.reply(&sent, parts);
    }

    fn poll_all(&mut self) {
        for server in SERVERS {
            self.on_the_way.extend(self.b.poll(server));
        }
        let half = self.options.buffer_limit as usize / 2;
        // The first answer over half of the budget, one batch that fits into no answer per server.
        // A part of a segment may be finished by a larger batch, and the rest of one be held.
        let bound = half + half.max(1024) + (3 + 4) * 4096;
        let held = self.b.scanners.buffered(self.key);
        assert!(held as usize <= bound, "{held} bytes wait, {bound} may");
    }

    fn take(&mut self) {
        let limits = TakeLimits {
            max_batches: 1 + self.rng.below(5) as usize,
            max_bytes: self.rng.below(2000) as usize,
        };
        let taken = self.b.take_at_most(self.key, limits);
        taken.batches.iter().for_each(|batch| self.check(batch));
        taken.errors.iter().for_each(|error| self.begin_anew(error));
    }

    /// Nobody answered for a bucket; it goes on where it was.
    fn begin_anew(&mut self, error: &ScanError) {
        let Error::Unavailable { after, .. } = &*error.cause else { panic!("{error}") };
        assert_eq!(Some(*after), self.options.patience);
        assert_eq!(error.position.max(0), self.expected[&error.bucket.bucket]);
        let key = self.key;
        self.b.run(|s, _| s.subscribe(key, error.bucket, error.position)).expect("open");
        self.given_up += 1;
    }

    fn check(&mut self, fetched: &FetchedBatch) {
        let number = fetched.bucket.bucket;
        let expected = self.expected.get_mut(&number).expect("a subscribed bucket");
        let stored = self.logs[&number].iter().find(|s| s.next > *expected).expect("stored");
        assert_eq!(fetched.batch.bytes()[..], stored.bytes[..], "bucket {number} at {expected}");
        assert_eq!(fetched.start_offset.max(stored.base), (*expected).max(stored.base));
        assert_eq!(fetched.next_offset, stored.next);
        *expected = stored.next;
        self.taken += 1;
    }

    /// The reader leaves a bucket, comes back to where it was, or goes back.
    fn change_mind(&mut self) {
        let number = self.any_bucket();
        let key = self.key;
        let at = self.expected[&number];
        let offset = match self.rng.below(4) {
            0 => self.rng.below(at as u64 + 1) as i64,
            _ => at,
        };
        if self.rng.one_in(2) {
            self.b.run(|s, _| s.unsubscribe(key, bucket(number)));
        }
        self.expected.insert(number, offset);
        self.b.run(|s, _| s.subscribe(key, bucket(number), offset)).expect("open");
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..30 => self.append(),
            30..32 => self.move_leader(),
            32 => self.move_away(),
            33..36 => self.learn(),
            36..38 => self.change_mind(),
            38..40 => {
                let server = SERVERS[self.rng.below(3) as usize];
                let error = Error::misuse("it is away");
                self.b.run(|s, _| s.handle_unreachable(server, &error));
            }
            40..60 => self.answer_one(),
            60..65 => self.end_a_read(),
            65..85 => self.take(),
            _ => {
                let time = Duration::from_millis(self.rng.below(60));
                self.b.pass(time);
            }
        }
        self.poll_all();
    }

    fn finish(&mut self) {
        self.calm = true;
        self.learn();
        for _ in 0..20_000 {
            let done = self.logs.iter().all(|(n, log)| {
                self.expected[n] == log.last().map_or(self.expected[n], |s| s.next)
            });
            if done {
                return;
            }
            self.answer_one();
            self.end_a_read();
            self.take();
            let time = Duration::from_millis(5);
            self.b.pass(time);
            self.poll_all();
        }
        panic!("not everything was read: {:?}", self.expected);
    }
}

#[test]
fn every_batch_is_handed_out_once_and_in_order_whatever_happens_between() {
    let (mut taken, mut read, mut given_up) = (0, 0, 0);
    for seed in 0..150 {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            (0..600).for_each(|_| world.step());
            world.finish();
            (world.taken, world.read, world.given_up)
        });
        match outcome {
            Ok((count, bytes, buckets)) => {
                (taken, read, given_up) = (taken + count, read + bytes, given_up + buckets);
            }
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(taken > 8_000, "the test read {taken} batches only");
    assert!(read > 500_000, "the test read {read} bytes from remote storage only");
    assert!(given_up > 300, "the test gave buckets up {given_up} times only");
}
