//! What may be sent now. One pure decision serves both `can_send` and `pick`.

use super::session::{Bucket, Held, MAX_SEQUENCE, Once, Open, Session, Slot, usable};
use super::{
    Copy, FreshBatches, IdempotenceConfig, IdempotenceManager, Kind, Mutation, Sendable, Stamp,
    Token, plain,
};
use crate::cx::Cx;
use crate::ids::{BucketKey, ConnId, WriterId};
use crate::time::Instant;

/// The next step of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Nothing,
    Wait(Instant),
    NeedId,
    /// Begin a session with this id, then choose again.
    Open(WriterId),
    /// Send the batch of this slot.
    Send(usize, Kind),
    /// Stamp the next batch and send it.
    Stamp(Kind),
}

/// What a choice depends on besides the bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    pub(super) config: &'a IdempotenceConfig,
    pub(super) spare: Option<WriterId>,
    pub(super) now: Instant,
    /// The connection to the leader; None asks for any.
    pub(super) conn: Option<ConnId>,
    pub(super) has_fresh: bool,
}

impl Bucket {
    pub(super) fn choose(&self, given: Given<'_>) -> Choice {
        let choice = if given.config.enabled {
            self.choose_stamped(given)
        } else {
            plain::choose(self, given)
        };
        match choice {
            Choice::Send(..) | Choice::Stamp(_) => {
                // Copies on two connections could overtake each other.
                let one = !given.config.breaks(Mutation::SecondConnection);
                if given.conn.is_some_and(|c| one && self.opens().any(|open| open.conn != c)) {
                    return Choice::Nothing;
                }
                self.after_waits(given.now, choice)
            }
            Choice::Open(_) => self.after_waits(given.now, choice),
            other => other,
        }
    }

    fn after_waits(&self, now: Instant, choice: Choice) -> Choice {
        let until = self.backoff_until.max(self.throttle_until);
        if now < until { Choice::Wait(until) } else { choice }
    }

    pub(super) fn opens(&self) -> impl Iterator<Item = &Open> {
        self.slots.iter().filter_map(|slot| slot.open.as_ref())
    }

    pub(super) fn has_queued(&self, has_fresh: bool) -> bool {
        has_fresh || !self.returned.is_empty()
    }

    fn choose_stamped(&self, given: Given<'_>) -> Choice {
        if !usable(self, given.config, given.now) {
            return self.choose_id(given);
        }
        let Some(front) = self.slots.front() else {
            return self.choose_fresh(given);
        };
        if front.doomed.is_some() && front.ambiguous && front.open.is_none() {
            return self.choose_upward(given);
        }
        if self.is_refused_on(given) {
            return self.choose_probe();
        }
        if let Some(choice) = self.choose_wrongly(given) {
            return choice;
        }
        for (i, slot) in self.slots.iter().enumerate() {
            if slot.doomed.is_some() {
                return Choice::Nothing;
            }
            if slot.open.is_none() {
                let gate = !given.config.breaks(Mutation::NoGenerationGate);
                let wait = i > 0 && slot.sent_in_gen && gate;
                let send = slot.needs_send && !wait;
                return if send { Choice::Send(i, Kind::Normal) } else { Choice::Nothing };
            }
        }
        self.choose_fresh(given)
    }

    pub(super) fn choose_fresh(&self, given: Given<'_>) -> Choice {
        let unlimited = given.config.breaks(Mutation::UnlimitedWindow);
        let endless = given.config.breaks(Mutation::PastTheLastSequence);
        let room = (self.slots.len() < given.config.max_in_flight || unlimited)
            && self.next_sequence().is_some_and(|next| next <= MAX_SEQUENCE || endless);
        if room && self.has_queued(given.has_fresh) {
            Choice::Stamp(Kind::Normal)
        } else {
            Choice::Nothing
        }
    }

    fn choose_id(&self, given: Given<'_>) -> Choice {
        match given.spare {
            _ if !self.has_queued(given.has_fresh) => Choice::Nothing,
            Some(id) if self.last_id != Some(id) || given.config.breaks(Mutation::ReuseId) => {
                if given.now < self.open_at {
                    Choice::Wait(self.open_at)
                } else {
                    Choice::Open(id)
                }
            }
            _ => Choice::NeedId,
        }
    }

    /// Whether the floor was refused over this connection. A refusal over one before is of a server
    /// that may have started again since: a probe refused by that one now would prove nothing about
    /// the floor, which is sent again first.
    fn is_refused_on(&self, given: Given<'_>) -> bool {
        let any = given.config.breaks(Mutation::FormerConnectionIsEvidence);
        self.genuine.is_some_and(|on| any || given.conn.is_none_or(|conn| conn == on))
    }

    /// The first slot behind a refused floor that may have been appended.
    fn choose_probe(&self) -> Choice {
        let mut slots = self.slots.iter().enumerate().skip(1);
        slots
            .find(|(_, s)| {
                s.ambiguous && !s.probe_rejected && s.open.is_none() && s.doomed.is_none()
            })
            .map_or(Choice::Nothing, |(i, _)| Choice::Send(i, Kind::Probe))
    }

    /// The slot behind a doomed floor whose acceptance would prove the floor's.
    pub(super) fn choose_upward(&self, given: Given<'_>) -> Choice {
        if self.upward == Once::Over {
            return Choice::Nothing;
        }
        match self.slots.get(1) {
            Some(next) => {
                let ask = next.doomed.is_none() && next.open.is_none() && !next.probe_rejected;
                if ask { Choice::Send(1, Kind::Probe) } else { Choice::Nothing }
            }
            None => match self.choose_fresh(given) {
                Choice::Stamp(_) => Choice::Stamp(Kind::Probe),
                _ => Choice::Nothing,
            },
        }
    }

    /// Marks the copy of a slot as sent.
    fn send(&mut self, i: usize, open: Open) {
        if i == 0 {
            if self.genuine.take().is_some() {
                self.confirm = Once::NotYet;
            }
            self.slots.iter_mut().for_each(|slot| slot.sent_in_gen = false);
        }
        let slot = &mut self.slots[i];
        slot.open = Some(open);
        slot.needs_send = false;
        slot.sent_in_gen = true;
        self.moved_until = None;
    }
}

impl IdempotenceManager {
    fn given(&self, now: Instant, conn: Option<ConnId>, has_fresh: bool) -> Given<'_> {
        let spare = self.ids.spare;
        Given { config: &self.config, spare, now, conn, has_fresh }
    }

    /// Whether [`pick`](Self::pick) would give a copy. `conn` is the connection to the bucket's
    /// leader; without one the answer tells whether one is needed.
    pub(crate) fn can_send(
        &self,
        now: Instant,
        bucket: BucketKey,
        conn: Option<ConnId>,
        has_fresh: bool,
    ) -> Sendable {
        if self.closed {
            return Sendable::No;
        }
        let given = self.given(now, conn, has_fresh);
        let choice = match self.buckets.get(&bucket) {
            Some(state) => state.choose(given),
            None => Bucket::default().choose(given),
        };
        match choice {
            Choice::Nothing => Sendable::No,
            Choice::Wait(at) => Sendable::At(at),
            Choice::NeedId => Sendable::NeedsWriterId,
            Choice::Open(_) | Choice::Send(..) | Choice::Stamp(_) => Sendable::Now,
        }
    }

    /// The next copy of this bucket to write into a request on `conn`, the connection to its
    /// leader. Called until None, each time for another request.
    pub(crate) fn pick(
        &mut self,
        cx: &mut Cx<'_>,
        bucket: BucketKey,
        conn: ConnId,
        fresh: &mut impl FreshBatches,
    ) -> Option<Copy> {
        if self.closed {
            return None;
        }
        if fresh.is_empty() && !self.buckets.contains_key(&bucket) {
            return None;
        }
        self.buckets.entry(bucket).or_default();
        let choice = self.choose_open(cx, bucket, conn, !fresh.is_empty());
        let state = self.buckets.get_mut(&bucket)?;
        let (i, kind) = match choice {
            Choice::Send(i, kind) => {
                let fired = &mut self.sink.counters.fired;
                fired.rule_if(7, kind == Kind::Normal);
                fired.rule_if(10, kind == Kind::Probe && state.genuine.is_some());
                (i, kind)
            }
            Choice::Stamp(kind) => {
                let held = match state.returned.pop_front() {
                    Some(held) => held,
                    None => fresh.pop().map(Held::from)?,
                };
                state.slots.push_back(Slot::new(held));
                if state.slots.len() == self.config.max_in_flight
                    && state.has_queued(!fresh.is_empty())
                {
                    self.sink.counters.fired.rule(3);
                }
                (state.slots.len() - 1, kind)
            }
            Choice::NeedId => {
                self.want_writer_id(cx, bucket);
                return None;
            }
            Choice::Nothing | Choice::Wait(_) | Choice::Open(_) => return None,
        };
        let serial = self.next_serial;
        self.next_serial += 1;
        let floor_at_send = state.session.map_or(0, |s| s.floor);
        let probe = kind == Kind::Probe;
        state.send(i, Open { serial, conn, probe, evidence: true, floor_at_send });
        state.last_activity = cx.now;
        let stamp = state.stamp(i);
        let batch = state.slots[i].held.batch;
        self.sink.counters.copies += 1;
        self.sink.counters.probes += u64::from(probe);
        self.rearm(bucket);
        Some(Copy { batch, stamp, token: Token { bucket, batch, stamp, serial }, kind })
    }

    /// The choice after a session was begun where one is missing.
    fn choose_open(
        &mut self,
        cx: &mut Cx<'_>,
        bucket: BucketKey,
        conn: ConnId,
        has_fresh: bool,
    ) -> Choice {
        let given = self.given(cx.now, Some(conn), has_fresh);
        let choice = self.buckets.get(&bucket).map_or(Choice::Nothing, |b| b.choose(given));
        let Choice::Open(id) = choice else { return choice };
        let Some(state) = self.buckets.get_mut(&bucket) else { return Choice::Nothing };
        let counters = &mut self.sink.counters;
        if state.last_id.is_some() {
            counters.fired.rule(17);
        }
        if let Some(old) = state.session {
            if old.floor > MAX_SEQUENCE {
                counters.rotations_exhausted += 1;
                counters.fired.rule(19);
            } else {
                counters.rotations_idle += 1;
                counters.fired.rule(18);
            }
        }
        state.forget_window();
        state.session = Some(Session { id, floor: 0 });
        state.last_id = Some(id);
        state.last_activity = cx.now;
        state.open_at = cx.now + state.rotations.next(self.config.rotation_backoff, cx.rng);
        let given = self.given(cx.now, Some(conn), has_fresh);
        self.buckets.get(&bucket).map_or(Choice::Nothing, |b| b.choose(given))
    }
}

impl Bucket {
    /// The stamp of a slot.
    pub(super) fn stamp(&self, i: usize) -> Stamp {
        match self.session {
            Some(session) => Stamp {
                writer_id: session.id.0,
                // Only sequences up to the highest one are given out.
                sequence: i32::try_from(session.floor + i as i64).unwrap_or(i32::MAX),
            },
            None => Stamp::NONE,
        }
    }
}

impl From<super::Fresh> for Held {
    fn from(fresh: super::Fresh) -> Self {
        Self {
            batch: fresh.batch,
            deadline: fresh.deadline,
            resends: 0,
            limited: 0,
            told: false,
            history: super::outcome::History::default(),
        }
    }
}
