//! One subscribed bucket.

use std::collections::VecDeque;

use super::patience::Silence;
use super::remote::Remote;
use super::types::{BucketProgress, EARLIEST, FetchedBatch};
use crate::backoff::{Backoff, BackoffConfig};
use crate::cx::Cx;
use crate::error::Error;
use crate::ids::ServerId;
use crate::time::{Duration, Instant};

/// Waits after a failed or fruitless fetch.
const RETRY: BackoffConfig = BackoffConfig::new(Duration::from_millis(20), Duration::from_secs(1));
/// Waits between questions for the leader; metadata limits its own rate besides.
const ASK: BackoffConfig = BackoffConfig::new(Duration::from_millis(50), Duration::from_secs(1));

/// A fetched batch and the frame it keeps alive.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) fetched: FetchedBatch,
    pub(super) frame: u64,
}

#[derive(Debug)]
pub(super) struct Bucket {
    /// Tells this subscription from earlier ones of the same bucket.
    pub(super) generation: u64,
    /// Next offset to hand out.
    pub(super) position: i64,
    /// Next offset to fetch.
    pub(super) fetch_offset: i64,
    pub(super) high_watermark: Option<i64>,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) waiting_bytes: u64,
    /// Told when the waiting batches are taken.
    pub(super) error: Option<Error>,
    /// Not fetched any more.
    pub(super) stopped: bool,
    /// The request it is in.
    pub(super) in_flight: Option<u64>,
    pub(super) leader: Option<ServerId>,
    /// The number of buckets beside it, as far as known; newer servers want to hear it.
    pub(super) of: Option<i32>,
    /// What is known of the leader may be out of date.
    pub(super) stale: bool,
    /// Not fetched before.
    pub(super) not_before: Instant,
    /// The size of the next batch, if it does not fit into the usual share of an answer.
    pub(super) needed: usize,
    /// Whether the request it is in asks for the wanted columns only.
    pub(super) projected: bool,
    /// Fetched with all columns: its next batches are older than one of the wanted ones.
    pub(super) whole: bool,
    /// Asked for beside no other bucket with data: its next batch comes in one piece or not at all,
    /// and how large it is cannot be told.
    pub(super) alone: bool,
    /// Where the next records are if the server has moved them.
    pub(super) remote: Option<Box<Remote>>,
    /// Times in a row that they were not there.
    pub(super) missing: u32,
    /// When data came last, in the scanner's count; the lowest is served first.
    pub(super) served: u64,
    /// Answers in a row that brought nothing although something is there.
    pub(super) fruitless: u32,
    /// Answers in a row with an error that names no cause.
    pub(super) unexplained: u32,
    /// For how long it has been asked for since its last good answer.
    pub(super) silence: Silence,
    /// Why the last fetch failed, if it did.
    pub(super) last: Option<Error>,
    backoff: Backoff,
    asking: Backoff,
    ask_at: Instant,
}

impl Bucket {
    pub(super) fn new(
        generation: u64,
        offset: i64,
        served: u64,
        patience: Option<Duration>,
    ) -> Self {
        Self {
            generation,
            position: offset,
            fetch_offset: offset,
            high_watermark: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            error: None,
            stopped: false,
            in_flight: None,
            leader: None,
            of: None,
            stale: false,
            not_before: Instant::ZERO,
            needed: 0,
            projected: false,
            whole: false,
            alone: false,
            remote: None,
            missing: 0,
            served,
            fruitless: 0,
            unexplained: 0,
            silence: Silence::new(patience),
            last: None,
            backoff: Backoff::default(),
            asking: Backoff::default(),
            ask_at: Instant::ZERO,
        }
    }

    /// Whether there is something to take.
    pub(super) fn is_ready(&self) -> bool {
        !self.waiting.is_empty() || self.error.is_some()
    }

    /// Whether it could be fetched if its leader is known and its backoff over.
    pub(super) fn is_idle(&self) -> bool {
        self.remote.is_none() && self.waits()
    }

    /// Whether it is to be read and nothing is on its way.
    pub(super) fn waits(&self) -> bool {
        let reading = self.remote.as_ref().is_some_and(|remote| remote.is_reading());
        !self.stopped && self.in_flight.is_none() && !reading
    }

    /// Whether the server is known to have more.
    pub(super) fn has_more(&self) -> bool {
        // Where the earliest offset is, only the server knows; it may be the end of the log.
        self.fetch_offset != EARLIEST
            && self.high_watermark.is_some_and(|hw| hw > self.fetch_offset)
    }

    /// Ends fetching; the error is told behind the data.
    pub(super) fn fail(&mut self, error: Error) {
        self.stopped = true;
        self.in_flight = None;
        self.remote = None;
        self.error = Some(error);
    }

    /// To be fetched again, later each time.
    pub(super) fn retry(&mut self, cx: &mut Cx<'_>) {
        self.silence.trouble(cx.now);
        self.not_before = cx.now + self.backoff.next(RETRY, cx.rng);
    }

    /// Some other server may be responsible: asks for the leader and tries again.
    pub(super) fn retry_elsewhere(&mut self, cx: &mut Cx<'_>) {
        self.leader = None;
        self.stale = true;
        self.retry(cx);
    }

    /// An answer without an error came.
    pub(super) fn succeeded(&mut self) {
        self.unexplained = 0;
        self.silence.end();
        self.last = None;
        self.asking.reset();
        self.ask_at = Instant::ZERO;
    }

    /// Data came.
    pub(super) fn progressed(&mut self) {
        self.fruitless = 0;
        self.backoff.reset();
    }

    /// Whether the leader is to be asked for now; else when, if at all.
    pub(super) fn wants_leader(&mut self, cx: &mut Cx<'_>) -> (bool, Option<Instant>) {
        if self.leader.is_some() && !self.stale {
            return (false, None);
        }
        let due = self.ask_at <= cx.now;
        if due {
            self.ask_at = cx.now + self.asking.next(ASK, cx.rng);
            self.stale = false;
        }
        (due, (self.leader.is_none() || self.stale).then_some(self.ask_at))
    }

    pub(super) fn push(&mut self, fetched: FetchedBatch, frame: u64) {
        self.waiting_bytes += fetched.batch.size() as u64;
        self.fetch_offset = fetched.next_offset;
        self.waiting.push_back(Waiting { fetched, frame });
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        self.waiting_bytes -= waiting.fetched.batch.size() as u64;
        self.position = waiting.fetched.next_offset;
        Some(waiting)
    }

    /// Everything up to here was looked at by the server and holds nothing wanted.
    pub(super) fn skip_to(&mut self, offset: i64) {
        if offset <= self.fetch_offset {
            return;
        }
        self.fetch_offset = offset;
        match self.waiting.back_mut() {
            Some(last) => last.fetched.next_offset = offset,
            None => self.position = offset,
        }
    }

    pub(super) fn progress(&self) -> BucketProgress {
        BucketProgress {
            position: self.position,
            high_watermark: self.high_watermark,
            buffered_bytes: self.waiting_bytes,
            stopped: self.stopped,
            paused: false,
        }
    }

    /// The first offset wanted; for [`EARLIEST`] any.
    pub(super) fn first_wanted(&self) -> i64 {
        if self.fetch_offset == EARLIEST { 0 } else { self.fetch_offset }
    }
}
