//! Abstractions of the clients that exist (§4.2), to show that the checks find what is wrong with
//! them: one writer id for all buckets, acknowledgement batch by batch, a failed batch whose
//! sequence the next ones take over, and a reset of everything when the server refuses a sequence.

use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use super::Setup;
use super::client::{Client, End, Renamed, View};
use super::network::{BatchNo, BucketNo, Reply, Sent};

/// Which of them.
pub(super) trait Variant: Clone + std::fmt::Debug {
    /// A refused sequence that is not above the highest acknowledged one counts as written (T8).
    const LOW_IS_WRITTEN: bool = true;
    /// Sending a batch again clears its mark of a changed sequence (T3).
    const SENDING_CLEARS: bool = true;
    /// A refusal is out of date if the acknowledged sequence moved since the copy was sent (T9).
    const KNOWS_STALE: bool = false;
    /// A batch that may be sent again gives its sequence away (the proposal, scenario 2).
    const RETRY_SHIFTS: bool = false;
    /// Later batches take over the sequence of one that failed for good (T14).
    const FAILURE_SHIFTS: bool = true;
    /// A bucket keeps what it knows over a reset, until nothing of it is in flight.
    const RESET_WAITS: bool = false;
    /// A batch has its sequence from when it is handed in.
    const STAMPED_AT_APPEND: bool = false;
    /// How often a batch may be sent again; the last failure leaves its sequence unused (T15).
    const RETRIES: u8 = u8::MAX;
}

/// The Java client.
#[derive(Clone, Debug)]
pub(super) struct Java;
impl Variant for Java {}

/// The Java client before it took low sequences for written. Also scenario 1 of the proposal to the
/// letter: each batch is acknowledged for itself, and nothing follows for lower ones.
#[derive(Clone, Debug)]
pub(super) struct EarlyJava;
impl Variant for EarlyJava {
    const LOW_IS_WRITTEN: bool = false;
}

/// fluss-rs 1.0.0.
#[derive(Clone, Debug)]
pub(super) struct FlussRs;
impl Variant for FlussRs {
    const SENDING_CLEARS: bool = false;
    const KNOWS_STALE: bool = true;
}

/// The Java client when it is told to retry once.
#[derive(Clone, Debug)]
pub(super) struct JavaOnce;
impl Variant for JavaOnce {
    const RETRIES: u8 = 1;
}

// The text of the idempotent-writes proposal, where it differs from what clients do (§4.4).

/// What it says of Java: sequences are given when rows are handed in.
#[derive(Clone, Debug)]
pub(super) struct AtAppend;
impl Variant for AtAppend {
    const STAMPED_AT_APPEND: bool = true;
}

/// Scenario 2: a failure that may pass takes a batch out, and the later ones move up.
#[derive(Clone, Debug)]
pub(super) struct Scenario2;
impl Variant for Scenario2 {
    const RETRY_SHIFTS: bool = true;
}

/// Scenario 3: a failure for good moves nothing up; the next batch is retried until its turn comes.
#[derive(Clone, Debug)]
pub(super) struct Scenario3;
impl Variant for Scenario3 {
    const FAILURE_SHIFTS: bool = false;
}

/// Scenario 4: after a reset a bucket begins at 0 only once nothing of it is in flight.
#[derive(Clone, Debug)]
pub(super) struct Scenario4;
impl Variant for Scenario4 {
    const RESET_WAITS: bool = true;
}

/// A batch with a stamp and without an end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Stamped {
    batch: BatchNo,
    writer: i64,
    seq: i32,
    /// Its sequence was changed.
    reopened: bool,
    /// In the queue, to be sent again.
    waits: bool,
    /// Not counted as in flight any more, after a reset.
    forgotten: bool,
    acked_at_send: i32,
    retries: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Lane {
    writer: Option<i64>,
    next: i32,
    acked: i32,
    stamped: Vec<Stamped>,
    /// Batches that lost their stamp.
    again: Vec<BatchNo>,
}

/// A client of this kind.
#[derive(Clone, Debug)]
pub(super) struct Legacy<V> {
    writer: Option<i64>,
    next_id: i64,
    in_flight: usize,
    lanes: Vec<Lane>,
    ended: Vec<(BatchNo, End)>,
    next_serial: u32,
    variant: PhantomData<V>,
}

enum Choice {
    Again(usize),
    Fresh,
    Nothing,
}

impl Lane {
    fn choose(&self, limit: usize, queue: &[BatchNo]) -> Choice {
        let tracked = |s: &&Stamped| !s.forgotten;
        let lowest = self.stamped.iter().filter(tracked).map(|s| (s.writer, s.seq)).min();
        let head = self.stamped.iter().enumerate().filter(|(_, s)| s.waits);
        if let Some((i, head)) = head.min_by_key(|(_, s)| (s.writer, s.seq)) {
            let first = lowest.is_none_or(|low| low == (head.writer, head.seq));
            return if first || head.forgotten { Choice::Again(i) } else { Choice::Nothing };
        }
        let count = self.stamped.iter().filter(tracked).count();
        let any = !queue.is_empty() || !self.again.is_empty();
        if any && count < limit { Choice::Fresh } else { Choice::Nothing }
    }

    /// Later batches move up into the place of a batch that left.
    fn shift(&mut self, from: i32) {
        self.next = self.next.wrapping_sub(1);
        for s in self.stamped.iter_mut().filter(|s| !s.forgotten && s.seq > from) {
            s.seq -= 1;
            s.reopened = true;
        }
    }
}

impl<V: Variant> Legacy<V> {
    fn choose(&self, bucket: BucketNo, queue: &[BatchNo]) -> Choice {
        let lane = &self.lanes[bucket];
        let choice = lane.choose(self.in_flight, queue);
        let of_old = |s: &Stamped| Some(s.writer) != self.writer;
        let waits = V::RESET_WAITS && lane.stamped.iter().any(of_old);
        if waits && matches!(choice, Choice::Fresh) { Choice::Nothing } else { choice }
    }

    fn retry(&mut self, bucket: BucketNo, i: usize) {
        let lane = &mut self.lanes[bucket];
        let tired = lane.stamped[i].retries == V::RETRIES;
        if tired || self.writer != Some(lane.stamped[i].writer) {
            let gone = lane.stamped.remove(i);
            self.ended.push((gone.batch, End::NotWritten));
        } else if V::RETRY_SHIFTS {
            let gone = lane.stamped.remove(i);
            lane.shift(gone.seq);
            // What failed goes to the head of the queue, as in both clients.
            lane.again.insert(0, gone.batch);
        } else {
            lane.stamped[i].waits = true;
            // Counted only where it matters, so that states come back.
            lane.stamped[i].retries += u8::from(V::RETRIES < u8::MAX);
        }
    }

    /// The writer gets a new id, in all its buckets.
    fn reset(&mut self) {
        self.writer = None;
        if V::RESET_WAITS {
            return;
        }
        for lane in &mut self.lanes {
            let stamped = std::mem::take(&mut lane.stamped);
            let forgotten = stamped.into_iter().map(|s| Stamped { forgotten: true, ..s });
            *lane = Lane {
                stamped: forgotten.collect(),
                again: std::mem::take(&mut lane.again),
                acked: -1,
                ..Lane::default()
            };
        }
    }

    fn refused(&mut self, bucket: BucketNo, i: usize) {
        let lane = &mut self.lanes[bucket];
        let s = &lane.stamped[i];
        if V::LOW_IS_WRITTEN && s.seq <= lane.acked {
            let gone = lane.stamped.remove(i);
            self.ended.push((gone.batch, End::Ok { offset: None, inferred: true }));
            return;
        }
        let stale = V::KNOWS_STALE && lane.acked > s.acked_at_send;
        let later = s.reopened || s.seq != lane.acked.wrapping_add(1) || stale;
        if self.writer.is_some() && later {
            return self.retry(bucket, i);
        }
        let gone = lane.stamped.remove(i);
        self.ended.push((gone.batch, End::NotWritten));
        self.reset();
    }
}

impl<V: Variant> Client for Legacy<V> {
    fn new(setup: &Setup) -> Self {
        let lane = match setup.first_sequence {
            Some(next) => Lane { writer: Some(6), next, acked: next - 1, ..Lane::default() },
            None => Lane { acked: -1, ..Lane::default() },
        };
        Self {
            writer: lane.writer,
            next_id: 7,
            in_flight: setup.in_flight,
            lanes: vec![lane; setup.buckets],
            ended: Vec::new(),
            next_serial: 0,
            variant: PhantomData,
        }
    }

    fn can_send(&self, bucket: BucketNo, _: u8, queue: &[BatchNo]) -> bool {
        !matches!(self.choose(bucket, queue), Choice::Nothing)
    }

    fn pick(&mut self, bucket: BucketNo, _: u8, queue: &mut Vec<BatchNo>) -> Option<Sent> {
        let writer = *self.writer.get_or_insert_with(|| {
            self.next_id += 1;
            self.next_id - 1
        });
        let choice = self.choose(bucket, queue);
        let buckets = self.lanes.len();
        let lane = &mut self.lanes[bucket];
        let i = match choice {
            Choice::Nothing => return None,
            Choice::Again(i) => i,
            Choice::Fresh => {
                if lane.writer != Some(writer) {
                    (lane.writer, lane.next, lane.acked) = (Some(writer), 0, -1);
                }
                let from = if lane.again.is_empty() { queue } else { &mut lane.again };
                let batch = from.remove(0);
                if V::STAMPED_AT_APPEND {
                    lane.next = (usize::from(batch) / buckets) as i32;
                }
                lane.stamped.push(Stamped {
                    batch,
                    writer,
                    seq: lane.next,
                    reopened: false,
                    waits: true,
                    forgotten: false,
                    acked_at_send: -1,
                    retries: 0,
                });
                lane.next = lane.next.wrapping_add(1);
                lane.stamped.len() - 1
            }
        };
        let acked = lane.acked;
        let s = &mut lane.stamped[i];
        s.waits = false;
        s.acked_at_send = acked;
        s.reopened &= !V::SENDING_CLEARS;
        self.next_serial += 1;
        Some(Sent {
            bucket: bucket as u8,
            batch: s.batch,
            writer: s.writer,
            seq: s.seq,
            serial: self.next_serial - 1,
            probe: false,
        })
    }

    fn answer(&mut self, copy: &Sent, reply: Reply, _: &[BatchNo]) {
        let bucket = usize::from(copy.bucket);
        let lane = &mut self.lanes[bucket];
        let own = |s: &Stamped| s.batch == copy.batch && !s.waits;
        let Some(i) = lane.stamped.iter().position(own) else { return };
        match reply {
            Reply::Written(at) => {
                let gone = lane.stamped.remove(i);
                if self.writer == Some(gone.writer) {
                    lane.acked = lane.acked.max(gone.seq);
                }
                self.ended.push((gone.batch, End::Ok { offset: Some(at), inferred: false }));
            }
            Reply::Code(31) => self.refused(bucket, i),
            Reply::Code(57) => {
                let gone = lane.stamped.remove(i);
                if V::FAILURE_SHIFTS && !gone.forgotten {
                    lane.shift(gone.seq);
                }
                self.ended.push((gone.batch, End::NotWritten));
            }
            Reply::Code(_) | Reply::Lost | Reply::NotSent => self.retry(bucket, i),
        }
    }

    fn ended(&mut self) -> Vec<(BatchNo, End)> {
        std::mem::take(&mut self.ended)
    }

    fn view(&self, _: BucketNo) -> Option<View> {
        None
    }

    fn resting_writer(&self, bucket: BucketNo) -> Option<i64> {
        self.writer.filter(|_| self.lanes[bucket].stamped.is_empty())
    }

    fn same(&self, other: &Self, bucket: BucketNo) -> bool {
        self.lanes[bucket] == other.lanes[bucket]
    }

    fn reset_elsewhere(&mut self) {
        self.reset();
    }

    fn fingerprint(&self, hasher: &mut impl Hasher) {
        (self.writer, self.next_id, &self.lanes).hash(hasher);
    }

    fn rename(&mut self, names: &Renamed<'_>) {
        self.next_serial = names.serials.len() as u32;
    }
}
