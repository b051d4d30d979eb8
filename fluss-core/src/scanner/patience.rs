//! When a bounded scan gives a bucket up: it was asked for, and nobody answered for too long.
//!
//! The time runs from the first question on: who leads the bucket, a connection, a fetch. It ends
//! with a good answer, and stands still while nothing is wanted of the bucket. So that silence can
//! be told from a log that has nothing new, servers are asked to answer within half of what is left
//! of the time.

use super::bucket::Bucket;
use super::scanner::Scanner;
use super::{Leaders, Outputs};
use crate::error::Error;
use crate::ids::{BucketKey, Labels, ScannerKey, ServerId, label_of};
use crate::time::{Duration, Instant};

/// How often it is looked whether anybody listens, in the time that servers are given.
const LOOKS: u32 = 4;
/// How late such a look may be until it shows that nobody listened.
const LATE: Duration = Duration::from_secs(1);

/// For how long a bucket is asked for without a good answer. Without patience, nothing is counted.
#[derive(Debug)]
pub(super) struct Silence {
    patience: Option<Duration>,
    /// What is left of it while the bucket is not asked for.
    left: Duration,
    /// When it ends, while the bucket is asked for.
    until: Option<Instant>,
    /// Whether the bucket met trouble of its own, so that answers about others say nothing of it.
    troubled: bool,
    /// Whether it was begun anew because nobody listened.
    excused: bool,
}

impl Silence {
    pub(super) fn new(patience: Option<Duration>) -> Self {
        let left = patience.unwrap_or(Duration::MAX);
        Self { patience, left, until: None, troubled: false, excused: false }
    }

    /// The bucket is asked for, if it was not already.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.patience.is_some() {
            self.until.get_or_insert(now + self.left);
        }
    }

    /// The bucket has trouble of its own.
    pub(super) fn trouble(&mut self, now: Instant) {
        self.begin(now);
        self.troubled = true;
    }

    /// Nothing is wanted of the bucket for now.
    pub(super) fn rest(&mut self, now: Instant) {
        if let Some(until) = self.until.take() {
            self.left = until - now;
        }
    }

    /// A good answer came.
    pub(super) fn end(&mut self) {
        *self = Self::new(self.patience);
    }

    /// Nobody listened for a while, so nobody knows what the servers said. That is put up with once
    /// until an answer comes: a host that looks too seldom must not wait for ever.
    fn excuse(&mut self, now: Instant) {
        if let (Some(until), Some(patience), false) = (&mut self.until, self.patience, self.excused)
        {
            *until = now + patience;
            self.excused = true;
        }
    }

    /// What is left of it, while the bucket is asked for.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until - now)
    }
}

impl Bucket {
    /// When patience with it ends. A read from remote storage has a limit of its own.
    fn patience_ends(&self) -> Option<Instant> {
        let waits = self.waits() || (!self.stopped && self.in_flight.is_some());
        self.silence.until.filter(|_| waits)
    }
}

impl Scanner {
    /// Buckets that can be fetched are asked for while their servers are.
    pub(super) fn begin_silences(&mut self, now: Instant) {
        if self.options.patience.is_none() {
            return;
        }
        let share = self.share();
        let due = |bucket: &&mut Bucket| {
            bucket.is_idle() && bucket.waiting_bytes < share && bucket.not_before <= now
        };
        for bucket in self.buckets.values_mut().filter(due) {
            let server = bucket.leader.and_then(|leader| self.servers.get(&leader));
            if server.is_some_and(|server| server.asked) {
                bucket.silence.begin(now);
            }
        }
    }

    /// A server answered: buckets that stand in line there, without trouble of their own, wait for
    /// their turn and not for the server.
    pub(super) fn end_silences(&mut self, server: ServerId, answered: impl Fn(&BucketKey) -> bool) {
        if self.options.patience.is_none() {
            return;
        }
        for (key, bucket) in &mut self.buckets {
            if bucket.leader == Some(server) && !bucket.silence.troubled && !answered(key) {
                bucket.silence.end();
            }
        }
    }

    /// Stops buckets that nobody answers for, also while a fetch is on its way: its answer, should
    /// it come, is nobody's then.
    pub(super) fn lose_patience(
        &mut self,
        now: Instant,
        key: ScannerKey,
        leaders: &impl Leaders,
        out: &mut Outputs,
    ) {
        let Some(patience) = self.options.patience else { return };
        let late = LATE.min(patience / LOOKS);
        if self.patience_timer.is_some_and(|at| at + late < now) {
            self.buckets.values_mut().for_each(|bucket| bucket.silence.excuse(now));
        }
        let over = |bucket: &Bucket| bucket.patience_ends().is_some_and(|at| at <= now);
        let over: Vec<BucketKey> =
            self.buckets.iter().filter(|(_, b)| over(b)).map(|(name, _)| *name).collect();
        if over.is_empty() {
            return;
        }
        let labels = leaders.labels();
        for name in over {
            let Some(bucket) = self.buckets.get(&name) else { continue };
            let error = self.silence_of(bucket, patience, now, &labels);
            self.buckets.entry(name).and_modify(|bucket| bucket.fail(error));
            self.line_up(name);
        }
        self.free_servers();
        self.tell(key, out);
    }

    /// What to say of a bucket that nobody answers for.
    fn silence_of(&self, bucket: &Bucket, after: Duration, now: Instant, labels: &Labels) -> Error {
        let last = bucket.last.clone().or_else(|| self.waited_for(bucket, now, labels));
        let mut what = format!("reading {}", self.options.path);
        if bucket.leader.is_none() && last.is_none() {
            what.push_str(", of which no leader is known");
        } else if bucket.remote.is_some() && last.is_none() {
            what.push_str(": a token for its remote storage was asked for");
        }
        Error::Unavailable { what: what.into(), after, last: last.map(Box::new) }
    }

    /// What a bucket waits for that has met no trouble yet.
    fn waited_for(&self, bucket: &Bucket, now: Instant, labels: &Labels) -> Option<Error> {
        if let Some(fetch) = bucket.in_flight.and_then(|token| self.fetches.get(&token)) {
            let what = format!("FETCH_LOG at {}", label_of(labels, fetch.server)).into();
            return Some(Error::Unavailable { what, after: now - fetch.since, last: None });
        }
        let called = |id: &ServerId| self.servers.get(id).is_some_and(|s| s.flush_wanted);
        let server = bucket.leader.filter(|id| bucket.is_idle() && called(id))?;
        let (server, what) = (label_of(labels, server), "no connection to it so far".into());
        Some(Error::Disconnected { server, what, sent: false })
    }

    /// Lets servers be asked again whose fetches nobody waits for any more. The bytes of their
    /// answers stay counted until these come or their time is over.
    fn free_servers(&mut self) {
        for server in self.servers.values_mut() {
            let waits = |bucket: &Bucket| bucket.in_flight == server.in_flight;
            if server.in_flight.is_some() && !self.buckets.values().any(waits) {
                server.in_flight = None;
            }
        }
    }

    /// Sees to it that patience ends in time: with one timer for all buckets, as most of them have
    /// an answer long before.
    pub(super) fn time_patience(&mut self, now: Instant, key: ScannerKey, out: &mut Outputs) {
        let Some(patience) = self.options.patience else { return };
        let timer = self.patience_timer.filter(|at| *at > now);
        let first = self.buckets.values().filter_map(Bucket::patience_ends).min();
        let look = now + (patience / LOOKS).max(Duration::from_millis(1));
        let at = first.map(|first| first.min(look)).filter(|at| timer.is_none_or(|set| *at < set));
        out.timers.extend(at.map(|at| (at, key)));
        self.patience_timer = at.or(timer);
    }
}
