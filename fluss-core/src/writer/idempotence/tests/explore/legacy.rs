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
}

/// The Java client.
#[derive(Clone, Debug)]
pub(super) struct Java;
impl Variant for Java {}

/// The Java client before it took low sequences for written.
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

/// The text of the idempotent-writes proposal.
#[derive(Clone, Debug)]
pub(super) struct Proposal;
impl Variant for Proposal {
    const RETRY_SHIFTS: bool = true;
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
        self.next -= 1;
        for s in self.stamped.iter_mut().filter(|s| !s.forgotten && s.seq > from) {
            s.seq -= 1;
            s.reopened = true;
        }
    }
}

impl<V: Variant> Legacy<V> {
    fn retry(&mut self, bucket: BucketNo, i: usize) {
        let lane = &mut self.lanes[bucket];
        if self.writer != Some(lane.stamped[i].writer) {
            let gone = lane.stamped.remove(i);
            self.ended.push((gone.batch, End::NotWritten));
        } else if V::RETRY_SHIFTS {
            let gone = lane.stamped.remove(i);
            lane.shift(gone.seq);
            // What failed goes to the head of the queue, as in both clients.
            lane.again.insert(0, gone.batch);
        } else {
            lane.stamped[i].waits = true;
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
        let later = s.reopened || s.seq != lane.acked + 1 || stale;
        if self.writer.is_some() && later {
            return self.retry(bucket, i);
        }
        let gone = lane.stamped.remove(i);
        self.ended.push((gone.batch, End::NotWritten));
        self.writer = None;
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
}

impl<V: Variant> Client for Legacy<V> {
    fn new(setup: &Setup) -> Self {
        Self {
            writer: None,
            next_id: 7,
            in_flight: setup.in_flight,
            lanes: vec![Lane { acked: -1, ..Lane::default() }; setup.buckets],
            ended: Vec::new(),
            next_serial: 0,
            variant: PhantomData,
        }
    }

    fn can_send(&self, bucket: BucketNo, _: u8, queue: &[BatchNo]) -> bool {
        !matches!(self.lanes[bucket].choose(self.in_flight, queue), Choice::Nothing)
    }

    fn pick(&mut self, bucket: BucketNo, _: u8, queue: &mut Vec<BatchNo>) -> Option<Sent> {
        let writer = *self.writer.get_or_insert_with(|| {
            self.next_id += 1;
            self.next_id - 1
        });
        let lane = &mut self.lanes[bucket];
        let i = match lane.choose(self.in_flight, queue) {
            Choice::Nothing => return None,
            Choice::Again(i) => i,
            Choice::Fresh => {
                if lane.writer != Some(writer) {
                    (lane.writer, lane.next, lane.acked) = (Some(writer), 0, -1);
                }
                let from = if lane.again.is_empty() { queue } else { &mut lane.again };
                let batch = from.remove(0);
                lane.stamped.push(Stamped {
                    batch,
                    writer,
                    seq: lane.next,
                    reopened: false,
                    waits: true,
                    forgotten: false,
                    acked_at_send: -1,
                });
                lane.next += 1;
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
                if !gone.forgotten {
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

    fn fingerprint(&self, hasher: &mut impl Hasher) {
        (self.writer, self.next_id, &self.lanes).hash(hasher);
    }

    fn rename(&mut self, names: &Renamed<'_>) {
        self.next_serial = names.serials.len() as u32;
    }
}
