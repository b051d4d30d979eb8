//! The state of one bucket.

use std::collections::VecDeque;
use std::sync::Arc;

use super::outcome::{Attempt, AttemptEnd, Done, History, Outcome, last_error, timed_out};
use super::{Counters, Env, IdempotenceConfig, Mutation, RefreshReason, Want};
use crate::backoff::Backoff;
use crate::error::{Error, WriteError};
use crate::ids::{BatchId, ConnId, ServerId, WriterId};
use crate::time::{Instant, earliest};

/// The highest sequence the server takes before it would have to wrap.
pub(super) const MAX_SEQUENCE: i64 = i32::MAX as i64;

/// A writer id in one bucket. Slot `i` of the bucket has the sequence `floor + i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Session {
    pub(super) id: WriterId,
    /// The lowest sequence not known to be committed; up to one past [`MAX_SEQUENCE`].
    pub(super) floor: i64,
}

/// A batch the manager answers for, with what it keeps when it loses its stamp.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Held {
    pub(super) batch: BatchId,
    pub(super) deadline: Instant,
    /// Resends after ambiguous and transient answers.
    pub(super) resends: u32,
    /// Limited rejections.
    pub(super) limited: u8,
    /// Its outcome was told already, when it could not wait any longer.
    pub(super) told: bool,
    pub(super) history: History,
}

/// A copy without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Open {
    pub(super) serial: u64,
    pub(super) conn: ConnId,
    pub(super) probe: bool,
    /// Whether its refusal would be news: false once the floor was refused, or the leader changed,
    /// after it was sent.
    pub(super) evidence: bool,
    pub(super) floor_at_send: i64,
}

/// Why a batch will not be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Doom {
    /// Its last attempt was refused for good, or was one too many.
    LastAttempt,
    /// Its deadline passed.
    Deadline,
}

/// A stamped batch without outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub(super) held: Held,
    pub(super) open: Option<Open>,
    /// Some copy of it may have been appended.
    pub(super) ambiguous: bool,
    pub(super) needs_send: bool,
    pub(super) sent_in_gen: bool,
    /// A probe of it was refused after the floor was.
    pub(super) probe_rejected: bool,
    /// Fatal answers it got while its outcome was open.
    pub(super) fatal_answers: u32,
    pub(super) doomed: Option<Doom>,
}

impl Slot {
    pub(super) fn new(held: Held) -> Self {
        Self {
            held,
            open: None,
            ambiguous: false,
            needs_send: true,
            sent_in_gen: false,
            probe_rejected: false,
            fatal_answers: 0,
            doomed: None,
        }
    }
}

/// A batch known to be committed whose own answer, with its offset, is still on the way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Late {
    pub(super) held: Held,
    pub(super) serial: u64,
}

/// A wait that happens once per floor and has an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Once {
    #[default]
    NotYet,
    Until(Instant),
    Over,
}

impl Once {
    /// Ends it when its time has come.
    pub(super) fn expire(&mut self, now: Instant) {
        if matches!(self, Self::Until(at) if *at <= now) {
            *self = Self::Over;
        }
    }

    fn timer(self) -> Option<Instant> {
        match self {
            Self::Until(at) => Some(at),
            Self::NotYet | Self::Over => None,
        }
    }
}

/// One bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Bucket {
    pub(super) session: Option<Session>,
    pub(super) slots: VecDeque<Slot>,
    /// Batches that lost their stamp, in order; all before those of the queue.
    pub(super) returned: VecDeque<Held>,
    pub(super) late: Vec<Late>,
    /// The connection over which the lowest slot was refused for its sequence although all before
    /// it are committed. Its server answers for what it has in its log as long as that connection
    /// lasts and it leads; behind the next one it may have started again with less. That it did not
    /// lead in between is what the last look for a newer leader is for.
    pub(super) genuine: Option<ConnId>,
    /// The look for a newer leader before the session is given up.
    pub(super) confirm: Once,
    /// The search for the outcome of a doomed lowest slot.
    pub(super) upward: Once,
    /// The id of the last session; the current one's while there is one.
    pub(super) last_id: Option<WriterId>,
    /// When the next session may begin.
    pub(super) open_at: Instant,
    pub(super) rotations: Backoff,
    pub(super) failures: Backoff,
    pub(super) backoff_until: Instant,
    pub(super) throttle_until: Instant,
    pub(super) last_activity: Instant,
    pub(super) leader: Option<(ServerId, Option<i32>)>,
    /// When the connection of a former leader is closed.
    pub(super) moved_until: Option<Instant>,
    /// The timer registered for this bucket; never later than needed.
    pub(super) timer: Option<Instant>,
}

impl Bucket {
    /// The sequence the next fresh batch gets.
    pub(super) fn next_sequence(&self) -> Option<i64> {
        self.session.map(|s| s.floor + self.slots.len() as i64)
    }

    /// No decision about a doomed batch may keep its caller waiting for longer than one request.
    pub(super) fn tell_late(&mut self, env: &mut Env<'_>) {
        let limit = env.config.request_deadline;
        // Whoever is that late is doomed.
        for slot in self.slots.iter_mut().filter(|s| !s.held.told) {
            if slot.held.deadline + limit <= env.now {
                env.tell(slot);
            }
        }
    }

    /// Whether nothing is left to wait for or to send.
    pub(super) fn is_idle(&self) -> bool {
        self.slots.is_empty() && self.returned.is_empty() && self.late.is_empty()
    }

    /// The earliest moment at which something is due.
    pub(super) fn next_timer(&self, config: &IdempotenceConfig) -> Option<Instant> {
        let slots = self.slots.iter().filter(|s| !s.held.told).map(|s| match s.doomed {
            None => s.held.deadline,
            Some(_) => s.held.deadline + config.request_deadline,
        });
        let returned = self.returned.iter().map(|h| h.deadline);
        let late = self.late.iter().map(|l| l.held.deadline);
        let batches = slots.chain(returned).chain(late).min();
        let decisions = earliest(self.upward.timer(), self.confirm.timer());
        let waits = earliest(decisions, self.moved_until);
        earliest(batches, waits).filter(|at| *at != Instant::FAR_FUTURE)
    }

    /// Waits longer after each failure. Answers that come while it waits, such as those of the
    /// same lost connection, do not count again.
    pub(super) fn back_off(&mut self, env: &mut Env<'_>) {
        if env.config.breaks(Mutation::NoBackoff) {
            return;
        }
        if self.failures.failures() == 0 || env.now >= self.backoff_until {
            self.backoff_until = env.now + self.failures.next(env.config.retry_backoff, env.rng);
        }
    }

    /// Leaves the bucket alone for a share of the full window.
    pub(super) fn throttle(&mut self, env: &Env<'_>, share: f64) {
        if env.config.breaks(Mutation::NoThrottle) {
            return;
        }
        let wait = env.config.max_throttle.mul_f64(share);
        self.throttle_until = self.throttle_until.max(env.now + wait);
    }

    /// Asks for a look at the cluster.
    pub(super) fn refresh(&self, env: &mut Env<'_>, reason: RefreshReason) {
        let epoch = self.leader.and_then(|(_, epoch)| epoch);
        env.sink.want(Want::Refresh { bucket: env.key, reason, epoch });
    }

    /// Ends the session; the next one needs another id. What is in the slots must have been taken.
    pub(super) fn end_session(
        &mut self,
        counter: fn(&mut Counters) -> &mut u64,
        env: &mut Env<'_>,
    ) {
        if self.session.take().is_some() {
            *counter(&mut env.sink.counters) += 1;
        }
        self.forget_window();
    }

    /// Clears the marks that belong to the present floor.
    pub(super) fn forget_window(&mut self) {
        self.genuine = None;
        self.confirm = Once::NotYet;
        self.upward = Once::NotYet;
    }

    /// Puts batches back to be stamped anew, before all others.
    pub(super) fn take_back(&mut self, batches: Vec<Held>, env: &mut Env<'_>) {
        env.sink.counters.fired.rule_if(12, !batches.is_empty());
        for held in batches.into_iter().rev() {
            self.returned.push_front(held);
        }
    }
}

impl Env<'_> {
    pub(super) fn attempt(&self, conn: ConnId, sequence: i32, end: AttemptEnd) -> Attempt {
        Attempt { at: self.now, conn, sequence, end }
    }

    /// Completes a batch.
    pub(super) fn finish(&mut self, held: Held, outcome: Outcome) {
        if held.told {
            return;
        }
        match &outcome {
            Outcome::Failed(WriteError::NotWritten(_)) => self.sink.counters.not_written += 1,
            Outcome::Failed(WriteError::OutcomeUnknown(_)) => self.sink.counters.unknown += 1,
            Outcome::Written { inferred, .. } => {
                self.sink.counters.inferred_commits += u64::from(*inferred);
            }
        }
        let Held { batch, history, .. } = held;
        let attempts = history.into_attempts();
        self.sink.done.push_back(Done { bucket: self.key, batch, outcome, attempts });
    }

    /// Completes a batch whose commit a later answer proved.
    pub(super) fn finish_inferred(&mut self, held: Held) {
        let outcome = Outcome::Written { base_offset: None, log_end_offset: None, inferred: true };
        self.finish(held, outcome);
    }

    /// Completes a batch that is not in the log and never will be.
    pub(super) fn finish_not_written(&mut self, held: Held, doom: Option<Doom>) {
        let error = self.error(&held, doom);
        self.finish(held, Outcome::Failed(WriteError::NotWritten(error.into())));
    }

    /// Completes a batch nobody can tell about.
    pub(super) fn finish_unknown(&mut self, held: Held, doom: Option<Doom>) {
        let error = self.error(&held, doom);
        self.finish(held, Outcome::Failed(WriteError::OutcomeUnknown(error.into())));
    }

    /// Tells the outcome of a doomed batch as far as it is known now; its slot stays, as those
    /// behind it depend on it.
    fn tell(&mut self, slot: &mut Slot) {
        let held = slot.held.clone();
        slot.held.told = true;
        if slot.open.is_some() || slot.ambiguous {
            self.finish_unknown(held, slot.doomed);
        } else {
            self.finish_not_written(held, slot.doomed);
        }
    }

    fn error(&self, held: &Held, doom: Option<Doom>) -> Error {
        let after = self.config.delivery_timeout;
        match doom {
            Some(Doom::Deadline) => timed_out(self.key, after, &held.history),
            Some(Doom::LastAttempt) | None => last_error(self.key, after, &held.history),
        }
    }
}

/// Whether a session can take one more batch now, or must be replaced first.
pub(super) fn usable(bucket: &Bucket, config: &IdempotenceConfig, now: Instant) -> bool {
    bucket.session.is_some_and(|s| {
        !bucket.slots.is_empty()
            || (s.floor <= MAX_SEQUENCE
                && (now.saturating_since(bucket.last_activity) <= config.idle_rotate
                    || config.breaks(Mutation::NoIdleRotation)))
    })
}

/// The text of an end, shared by all copies of one answer.
pub(super) fn rejected(code: fluss_proto::ErrorCode, message: &Arc<str>) -> AttemptEnd {
    AttemptEnd::Rejected { code, message: Arc::clone(message) }
}
