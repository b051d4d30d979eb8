//! What a search needs of a client, and the real one.

use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::Setup;
use super::network::{BatchNo, BucketNo, Reply, Sent};
use crate::config::Config;
use crate::cx::Cx;
use crate::error::WriteError;
use crate::ids::{BatchId, ConnId, ServerId, WriterId};
use crate::rng::Rng;
use crate::time::Instant;
use crate::writer::idempotence::outcome::{History, Outcome};
use crate::writer::idempotence::session::{Bucket, Held, Once, Session, Slot};
use crate::writer::idempotence::tests::world::{broken, bucket, lost, rejected, settings, written};
use crate::writer::idempotence::{
    Answer, Fresh, FreshBatches, IdempotenceManager, Kind, Sendable, Stamp, Token, Want,
};

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum End {
    /// Reported as written, at this offset if it got an answer of its own.
    Ok { offset: Option<u8>, inferred: bool },
    /// Reported as not in the log, now and for ever.
    NotWritten,
    /// Reported as undecided.
    Unknown,
}

/// What a bucket's session looks like from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) writer: i64,
    /// The lowest sequence without outcome.
    pub(super) floor: i64,
    /// The unresolved batches, with the serial and the connection of an open copy.
    pub(super) slots: Vec<(BatchNo, Option<(u32, u8)>)>,
    /// Some batch has an open copy or one that may have been appended.
    pub(super) undecided: bool,
}

/// Something that happens to a client without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Timer {
    /// The look for a newer leader took too long.
    Confirm,
    /// The search for the outcome of a doomed batch took too long.
    Upward,
    /// Copies on a former leader's connection were waited for long enough.
    Moved,
    /// A doomed batch waited for its outcome for as long as one request may take.
    Tell,
    /// The session was idle for longer than allowed.
    Idle,
}

/// Names of serials and connections after they were counted anew.
pub(super) struct Renamed<'a> {
    pub(super) serials: &'a [u32],
    pub(super) conns: &'a [Option<u8>],
}

impl Renamed<'_> {
    fn serial(&self, old: u64) -> u64 {
        self.serials.iter().position(|s| u64::from(*s) == old).map_or(u64::MAX, |i| i as u64)
    }

    fn conn(&self, old: ConnId) -> ConnId {
        ConnId(self.conns.get(old.0 as usize).copied().flatten().map_or(u64::MAX, u64::from))
    }
}

/// A writer's logic. Batches come from the queues and go through it to exactly one end.
pub(super) trait Client: Clone + Debug {
    fn new(setup: &Setup) -> Self;
    /// Whether the next [`pick`](Self::pick) would give a copy.
    fn can_send(&self, bucket: BucketNo, conn: u8, queue: &[BatchNo]) -> bool;
    /// The next copy.
    fn pick(&mut self, bucket: BucketNo, conn: u8, queue: &mut Vec<BatchNo>) -> Option<Sent>;
    /// The answer to a copy.
    fn answer(&mut self, copy: &Sent, reply: Reply, queue: &[BatchNo]);
    /// Batches that ended since the last call.
    fn ended(&mut self) -> Vec<(BatchNo, End)>;
    /// The bucket's session.
    fn view(&self, bucket: BucketNo) -> Option<View>;
    /// The bucket's writer, if no copy of it can still be appended.
    fn resting_writer(&self, bucket: BucketNo) -> Option<i64> {
        self.view(bucket).filter(|v| !v.undecided).map(|v| v.writer)
    }
    /// Whether it makes a difference to the client if this connection is used again, though nothing
    /// is under way on it.
    fn remembers(&self, _conn: u8) -> bool {
        false
    }
    /// Whether two clients have the same state in a bucket.
    fn same(&self, other: &Self, bucket: BucketNo) -> bool;
    /// Adds the state to a hash.
    fn fingerprint(&self, hasher: &mut impl Hasher);
    /// Makes states that differ in names and times only the same.
    fn rename(&mut self, names: &Renamed<'_>);
    /// Whether the timer is set.
    fn has_timer(&self, _: BucketNo, _: Timer) -> bool {
        false
    }
    /// Lets a timer fire. True: the connections of the bucket's open copies are to be closed.
    fn fire(&mut self, _: BucketNo, _: Timer, _: &[BatchNo]) -> bool {
        false
    }
    /// Whether the deadline of a batch could pass in the client.
    fn holds(&self, _: BucketNo, _: BatchNo) -> bool {
        false
    }
    /// The deadline of a batch passes.
    fn give_up(&mut self, _: BucketNo, _: BatchNo, _: &[BatchNo]) {}
    /// Metadata names the leader.
    fn lead(&mut self, _: BucketNo, _: (u8, u8), _: &[BatchNo]) {}
    /// Everything in the client ends.
    fn abort(&mut self) -> bool {
        false
    }
    /// A bucket of the same writer that is not part of the world loses its session.
    fn reset_elsewhere(&mut self) {}
    /// Set when something happened that the client itself calls impossible.
    fn alarm(&self) -> bool {
        false
    }
}

/// The manager of this crate.
#[derive(Clone, Debug)]
pub(super) struct Ours {
    manager: IdempotenceManager,
    next_id: i64,
    client: Arc<Config>,
}

/// All that happens, happens now; waits are over at once, since the search decides when to send.
const NOW: Instant = Instant::from_millis(1_000_000_000);

struct Queue<'a>(&'a mut Vec<BatchNo>);

impl FreshBatches for Queue<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn pop(&mut self) -> Option<Fresh> {
        (!self.0.is_empty()).then(|| Fresh {
            batch: BatchId(u64::from(self.0.remove(0))),
            deadline: Instant::FAR_FUTURE,
        })
    }
}

impl Ours {
    fn call<R>(&mut self, f: impl FnOnce(&mut IdempotenceManager, &mut Cx<'_>) -> R) -> R {
        let mut rng = Rng::new(1);
        let client = Arc::clone(&self.client);
        f(&mut self.manager, &mut Cx { now: NOW, rng: &mut rng, config: &client })
    }

    fn give_id(&mut self) {
        let id = WriterId(self.next_id);
        self.next_id += 1;
        self.call(|m, cx| m.handle_writer_id(cx, Ok(id)));
    }

    fn state(&self, no: BucketNo) -> Option<&Bucket> {
        self.manager.buckets.get(&bucket(no as i32))
    }

    fn state_mut(&mut self, no: BucketNo) -> Option<&mut Bucket> {
        self.manager.buckets.get_mut(&bucket(no as i32))
    }

    fn timeout(&mut self, no: BucketNo, queue: &[BatchNo]) {
        self.manager.rearm(bucket(no as i32));
        self.call(|m, cx| m.handle_timeout(cx, |_| !queue.is_empty()));
    }
}

impl Client for Ours {
    fn new(setup: &Setup) -> Self {
        let mut config = settings(setup.in_flight);
        config.fatal_confirm = setup.fatal_confirm;
        config.track_offsets = setup.track_offsets;
        config.mutation = setup.mutation;
        let manager = IdempotenceManager::new(config);
        let client = Arc::new(Config::new("a:1").expect("valid"));
        let mut ours = Self { manager, next_id: 7, client };
        for no in 0..setup.buckets {
            ours.lead(no, (0, 0), &[]);
            if let (Some(floor), Some(state)) = (setup.first_sequence, ours.state_mut(no)) {
                let id = WriterId(6);
                state.session = Some(Session { id, floor: i64::from(floor) });
                state.last_id = Some(id);
                state.last_activity = NOW;
            }
        }
        ours
    }

    fn can_send(&self, no: BucketNo, conn: u8, queue: &[BatchNo]) -> bool {
        let conn = Some(ConnId(u64::from(conn)));
        let can = self.manager.can_send(NOW, bucket(no as i32), conn, !queue.is_empty());
        matches!(can, Sendable::Now | Sendable::NeedsWriterId)
    }

    fn pick(&mut self, no: BucketNo, conn: u8, queue: &mut Vec<BatchNo>) -> Option<Sent> {
        let (key, conn) = (bucket(no as i32), ConnId(u64::from(conn)));
        let can = self.manager.can_send(NOW, key, Some(conn), !queue.is_empty());
        if can == Sendable::NeedsWriterId {
            self.call(|m, cx| m.want_writer_id(cx, key));
            self.give_id();
        }
        let copy = self.call(|m, cx| m.pick(cx, key, conn, &mut Queue(queue)))?;
        Some(Sent {
            bucket: no as u8,
            batch: copy.batch.0 as u8,
            writer: copy.stamp.writer_id,
            seq: copy.stamp.sequence,
            serial: copy.token.serial as u32,
            probe: copy.kind == Kind::Probe,
        })
    }

    fn answer(&mut self, copy: &Sent, reply: Reply, queue: &[BatchNo]) {
        let token = Token {
            bucket: bucket(i32::from(copy.bucket)),
            batch: BatchId(u64::from(copy.batch)),
            stamp: Stamp { writer_id: copy.writer, sequence: copy.seq },
            serial: u64::from(copy.serial),
        };
        let answer = match reply {
            Reply::Written(at) => written(i64::from(at)),
            Reply::Code(code) => rejected(code),
            Reply::Lost => lost(),
            Reply::NotSent => Answer::NotSent(broken()),
        };
        self.call(|m, cx| m.handle_answer(cx, token, answer, !queue.is_empty()));
    }

    fn ended(&mut self) -> Vec<(BatchNo, End)> {
        let mut ended = Vec::new();
        while let Some(done) = self.manager.poll_done() {
            let end = match done.outcome {
                Outcome::Written { base_offset, inferred, .. } => {
                    End::Ok { offset: base_offset.map(|o| o as u8), inferred }
                }
                Outcome::Failed(WriteError::NotWritten(_)) => End::NotWritten,
                Outcome::Failed(WriteError::OutcomeUnknown(_)) => End::Unknown,
            };
            ended.push((done.batch.0 as u8, end));
        }
        ended
    }

    fn view(&self, no: BucketNo) -> Option<View> {
        let state = self.state(no)?;
        let session = state.session?;
        let slot =
            |s: &Slot| (s.held.batch.0 as u8, s.open.map(|o| (o.serial as u32, o.conn.0 as u8)));
        Some(View {
            writer: session.id.0,
            floor: session.floor,
            slots: state.slots.iter().map(slot).collect(),
            undecided: state.slots.iter().any(|s| s.open.is_some() || s.ambiguous),
        })
    }

    fn remembers(&self, conn: u8) -> bool {
        let conn = Some(ConnId(u64::from(conn)));
        self.manager.buckets.values().any(|state| state.genuine == conn)
    }

    fn same(&self, other: &Self, no: BucketNo) -> bool {
        let without_timer = |state: &Bucket| Bucket { timer: None, ..state.clone() };
        let (own, other) = (self.state(no), other.state(no));
        own == other || own.map(without_timer) == other.map(without_timer)
    }

    fn fingerprint(&self, hasher: &mut impl Hasher) {
        self.manager.buckets.hash(hasher);
        self.manager.ids.hash(hasher);
        self.manager.closed.hash(hasher);
        self.next_id.hash(hasher);
    }

    fn rename(&mut self, names: &Renamed<'_>) {
        let m = &mut self.manager;
        while m.poll_want().is_some() {}
        m.timers.clear();
        m.next_serial = names.serials.len() as u64;
        for state in m.buckets.values_mut() {
            state.timer = None;
            state.genuine = state.genuine.map(|conn| names.conn(conn));
            state.open_at = Instant::ZERO;
            state.backoff_until = Instant::ZERO;
            state.throttle_until = Instant::ZERO;
            state.rotations.reset();
            state.failures.reset();
            if state.last_activity != Instant::ZERO {
                state.last_activity = NOW;
            }
            for slot in &mut state.slots {
                forget(&mut slot.held);
                if let Some(open) = &mut slot.open {
                    open.serial = names.serial(open.serial);
                    open.conn = names.conn(open.conn);
                }
            }
            state.returned.iter_mut().for_each(forget);
            for late in &mut state.late {
                forget(&mut late.held);
                late.serial = names.serial(late.serial);
            }
        }
    }

    fn has_timer(&self, no: BucketNo, timer: Timer) -> bool {
        self.state(no).is_some_and(|state| match timer {
            Timer::Confirm => matches!(state.confirm, Once::Until(_)),
            Timer::Upward => matches!(state.upward, Once::Until(_)),
            Timer::Moved => state.moved_until.is_some(),
            Timer::Tell => state.slots.iter().any(|s| s.doomed.is_some() && !s.held.told),
            Timer::Idle => {
                state.session.is_some()
                    && state.slots.is_empty()
                    && state.last_activity != Instant::ZERO
            }
        })
    }

    fn fire(&mut self, no: BucketNo, timer: Timer, queue: &[BatchNo]) -> bool {
        let Some(state) = self.state_mut(no) else { return false };
        match timer {
            Timer::Confirm => state.confirm = Once::Until(NOW),
            Timer::Upward => state.upward = Once::Until(NOW),
            Timer::Moved => state.moved_until = Some(NOW),
            Timer::Tell => {
                let doomed = state.slots.iter_mut().filter(|s| s.doomed.is_some());
                doomed.for_each(|s| s.held.deadline = Instant::ZERO);
            }
            Timer::Idle => {
                state.last_activity = Instant::ZERO;
                return false;
            }
        }
        self.timeout(no, queue);
        let mut close = false;
        while let Some(want) = self.manager.poll_want() {
            close |= matches!(want, Want::CloseConnection { .. });
        }
        close
    }

    fn holds(&self, no: BucketNo, batch: BatchNo) -> bool {
        let id = BatchId(u64::from(batch));
        self.state(no).is_some_and(|state| {
            state.slots.iter().any(|s| s.held.batch == id && s.doomed.is_none())
                || state.returned.iter().any(|h| h.batch == id)
        })
    }

    fn give_up(&mut self, no: BucketNo, batch: BatchNo, queue: &[BatchNo]) {
        let id = BatchId(u64::from(batch));
        let Some(state) = self.state_mut(no) else { return };
        let slots = state.slots.iter_mut().map(|s| &mut s.held);
        for held in slots.chain(&mut state.returned).filter(|h| h.batch == id) {
            held.deadline = NOW;
        }
        self.timeout(no, queue);
    }

    fn lead(&mut self, no: BucketNo, (node, epoch): (u8, u8), queue: &[BatchNo]) {
        let leader = (ServerId::Tablet(i32::from(node)), Some(i32::from(epoch)));
        let key = bucket(no as i32);
        self.call(|m, cx| m.handle_leader(cx, key, leader, !queue.is_empty()));
    }

    fn abort(&mut self) -> bool {
        self.call(|m, cx| m.abort(cx, &broken()));
        true
    }

    fn alarm(&self) -> bool {
        self.manager.counters().invariant_violation > 0
    }
}

/// Forgets what a batch keeps for people and for waits.
fn forget(held: &mut Held) {
    held.resends = 0;
    held.history = History::default();
    held.deadline = Instant::FAR_FUTURE;
}
