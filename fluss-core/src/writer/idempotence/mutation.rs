//! Rules that tests break on purpose, to prove that the checks notice.

use fluss_proto::ErrorCode;

use super::pick::{Choice, Given};
use super::session::{Bucket, Doom};
use super::{Env, IdempotenceConfig, IdempotenceManager, Kind};
use crate::cx::Cx;
use crate::error::Error;
use crate::ids::BucketKey;
use crate::writer::retry::{Class, classify};

/// A way to get a rule wrong; named after the rules of the specification (`idempotence.md` §8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// R2: a bucket that failed puts off all buckets of its writer.
    BackoffSpreads,
    /// R3: fresh batches are stamped whatever is unresolved.
    UnlimitedWindow,
    /// R3: fresh batches are stamped while a lower one must be sent again.
    StampBeforeResend,
    /// R4: a success proves the batches above its own too.
    CommitAll,
    /// R5: an answer acts on whatever copy its batch has now.
    AnswerByBatch,
    /// R5: a refusal for the storage's load counts whatever became of the copy.
    OldRefusalThrottles,
    /// R6: a timeout while replicating counts as a refusal.
    TimeoutIsRefusal,
    /// R6: a server that does not lead counts as one that never did.
    NotLeaderIsRefusal,
    /// R7: what must be sent again does not wait for what is below.
    ResendInAnyOrder,
    /// R7, the idempotent-writes proposal taken literally: a batch that may be sent again gives its
    /// sequence to the next one and gets a fresh one.
    ShiftOnRetry,
    /// R8: batches behind the floor are resent after each refusal.
    NoGenerationGate,
    /// R9: a refusal from before the floor moved counts like one from after.
    StaleIsGenuine,
    /// R10: a refused floor ends the session without a look at what is above.
    NoProbe,
    /// R10: probes sent before the floor was refused count.
    AcceptOldProbeAnswers,
    /// R11: what was refused over a former connection counts with what is refused over the next.
    FormerConnectionIsEvidence,
    /// R11: the next session takes the id of the broken one.
    KeepBrokenId,
    /// R12: batches that may have been appended lose their stamp like others.
    RestampAmbiguous,
    /// R13: a hole is closed while copies behind it are open.
    InPlaceWithoutWaiting,
    /// R13: what is behind a hole is stamped anew under the same id although it may be appended.
    NoFence,
    /// R13: a hole keeps its sequence, and the next batches stay behind it.
    HoleStays,
    /// R14: a fatal answer is believed whatever earlier copies did.
    FatalIsNotWritten,
    /// R14: the batch that is to prove a doomed one is not waited for.
    UpwardIsNotAwaited,
    /// R15: a batch out of time is called not written.
    LateIsNotWritten,
    /// R16: a bucket writes on a second connection while it waits for answers on the first.
    SecondConnection,
    /// R17: a bucket takes the id of its last session again.
    ReuseId,
    /// R18: a session goes on however long it was idle.
    NoIdleRotation,
    /// R19: sequences go on behind the highest one.
    PastTheLastSequence,
    /// R20: without a writer id nothing is called written, whatever is under way.
    NoIdFailsAll,
    /// R21: what is open when its table is gone is called not written.
    GoneIsNotWritten,
    /// R22: what a former leader refused counts for the next one too.
    FormerLeaderIsEvidence,
    /// R22: who was said to lead last is believed, also under an older epoch. Broken in the
    /// client's picture of the cluster, not here.
    #[cfg(test)]
    OlderLeader,
    /// R23: a request takes a second batch of the same bucket.
    TwoOfOneBucket,
    /// R24: what was lost or refused for now is sent again at once.
    NoBackoff,
    /// R24: a server under pressure is not left alone.
    NoThrottle,
    /// R25: what is open when the client is closed is called not written.
    AbortIsNotWritten,
    /// R27: what waits for its own offset is forgotten.
    ForgetLate,
    /// R27: what could wait for its own offset is told at once without it.
    NoWaitForOffset,
    /// Bytes that somebody stands in line for count as held. Broken in the budget, not here.
    #[cfg(test)]
    CountLine,
    /// Whoever is first in line for memory is forgotten when its turn comes. Broken in the budget.
    #[cfg(test)]
    ForgetWaiter,
}

impl IdempotenceConfig {
    /// Whether this rule is broken; never outside tests.
    #[cfg(not(test))]
    pub(super) const fn breaks(&self, _: Mutation) -> bool {
        false
    }

    /// Whether this rule is broken.
    #[cfg(test)]
    pub(super) fn breaks(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }
}

// What a rule broken by more than one condition does instead. All of it is the identity, and is
// compiled to nothing, outside tests.

impl IdempotenceConfig {
    /// Whether a slot of which a copy may be appended is taken for any other.
    pub(super) fn forgets_fence(&self) -> bool {
        self.breaks(Mutation::NoFence) || self.breaks(Mutation::RestampAmbiguous)
    }

    /// The class of a server's code.
    pub(super) fn class_of(&self, code: ErrorCode) -> Class {
        let wrong = match code.0 {
            25 => self.breaks(Mutation::TimeoutIsRefusal),
            12 => self.breaks(Mutation::NotLeaderIsRefusal),
            _ => false,
        };
        if wrong { Class::RejectTransient } else { classify(code) }
    }

    /// Whether batches that end from outside are called not written although they may be.
    pub(super) fn forgets_doubt(&self, closed: bool) -> bool {
        let wrong = if closed { Mutation::AbortIsNotWritten } else { Mutation::GoneIsNotWritten };
        self.breaks(wrong)
    }

    /// Whether a commit proved by a later answer waits for the batch's own.
    pub(super) fn waits_for_offset(&self) -> bool {
        self.track_offsets && !self.breaks(Mutation::NoWaitForOffset)
    }

    /// Whether a bucket that has something left stands in line again for the same request.
    pub(super) fn crowds_requests(&self) -> bool {
        self.breaks(Mutation::TwoOfOneBucket)
    }

    /// Whether a doomed batch is taken for one of which no copy can be in the log.
    pub(super) fn forgets_copies(&self, doomed: Option<Doom>) -> bool {
        match doomed {
            _ if self.breaks(Mutation::RestampAmbiguous) => true,
            Some(Doom::LastAttempt) => self.breaks(Mutation::FatalIsNotWritten),
            Some(Doom::Deadline) => self.breaks(Mutation::LateIsNotWritten),
            None => false,
        }
    }
}

impl IdempotenceManager {
    /// Takes the wait of one bucket for one of all of them.
    pub(super) fn spread_wrongly(&mut self, key: BucketKey) {
        if self.config.breaks(Mutation::BackoffSpreads)
            && let Some(until) = self.buckets.get(&key).map(|bucket| bucket.backoff_until)
        {
            for bucket in self.buckets.values_mut() {
                bucket.backoff_until = bucket.backoff_until.max(until);
            }
        }
    }

    /// Ends everything that is under way because of an id that was not to be had.
    pub(super) fn fail_all_wrongly(&mut self, cx: &mut Cx<'_>) {
        if self.config.breaks(Mutation::NoIdFailsAll) {
            let keys: Vec<BucketKey> = self.buckets.keys().copied().collect();
            let error = Error::Closed("writer id");
            keys.into_iter().for_each(|key| self.end_bucket(cx, key, &error, true));
        }
    }
}

impl Bucket {
    /// The choice against the order of sequences.
    pub(super) fn choose_wrongly(&self, given: Given<'_>) -> Option<Choice> {
        if given.config.breaks(Mutation::StampBeforeResend) {
            let fresh = self.choose_fresh(given);
            return (fresh != Choice::Nothing).then_some(fresh);
        }
        if given.config.breaks(Mutation::ResendInAnyOrder) {
            let last = self.slots.iter().rposition(|s| s.needs_send && s.open.is_none());
            return last.map(|i| Choice::Send(i, Kind::Normal));
        }
        None
    }

    /// Believes what was said to a copy that is closed.
    pub(super) fn throttle_wrongly(&mut self, class: Class, env: &Env<'_>) {
        if env.config.breaks(Mutation::OldRefusalThrottles) && class == Class::RejectThrottled {
            self.throttle(env, 1.0);
        }
    }

    /// Takes a batch out of the window to be stamped again behind all others.
    pub(super) fn shift_out(&mut self, i: usize) {
        let out = self.slots.remove(i).map(|slot| slot.held);
        self.returned.extend(out);
    }

    /// Leaves a hole's sequence behind.
    pub(super) fn skip_sequence(&mut self, env: &Env<'_>) {
        let hole = i64::from(env.config.breaks(Mutation::HoleStays));
        self.session.iter_mut().for_each(|session| session.floor += hole);
    }

    /// Forgets which id the last session had.
    pub(super) fn unlearn_id(&mut self, env: &Env<'_>) {
        if env.config.breaks(Mutation::KeepBrokenId) {
            self.last_id = None;
        }
    }
}
