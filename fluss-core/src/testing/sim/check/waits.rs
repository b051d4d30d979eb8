//! How long buckets are left alone, and that no copy outlives the servers' memory.

use super::super::wire::{Copy, Part, Said};
use super::{Checker, Seen};
use crate::config::WriterConfig;
use crate::ids::{BucketKey, ConnId, ServerId};
use crate::testing::sim::plan::{EXPIRY, IDLE_ROTATE};
use crate::time::{Duration, Instant};

/// What the settings of a batch's writer promise about time.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::testing::sim) struct Patience {
    /// The shortest wait after a copy that was lost or refused for now.
    backoff: Duration,
    /// The wait after a copy that was refused for the storage's load.
    throttle: Duration,
    /// Deadlines and sessions are short enough for servers to know the writer of every copy.
    remembered: bool,
}

impl Patience {
    pub(in crate::testing::sim) fn new(config: &WriterConfig, request_deadline: Duration) -> Self {
        Self {
            // Jitter takes a fifth at most.
            backoff: config.retry_backoff.initial.mul_f64(0.8),
            throttle: config.max_throttle,
            remembered: config.idempotence
                && config.idle_rotate <= IDLE_ROTATE
                && (config.delivery_timeout + request_deadline) * 2 < EXPIRY,
        }
    }
}

/// Instants are whole microseconds.
const ROUNDING: Duration = Duration::from_micros(2);

impl Seen {
    /// Whether the bucket is left alone for longer than the answers to its session asked for.
    #[inline]
    pub(super) fn is_put_off(&self, until: Instant) -> bool {
        until > self.rests_until && until > self.rests_until + ROUNDING
    }
}

impl Checker {
    /// A copy leaves: its batch must have waited for as long as answers before asked for, and goes
    /// to the leader.
    pub(super) fn check_waited(&mut self, copy: &Copy, server: ServerId, now: Instant) {
        let Some(batch) = self.batches.get(copy.payload as usize) else { return };
        let seen = self.seen.get(&(batch.writer, copy.bucket));
        let leader = seen.and_then(Seen::leader);
        let throttled = seen.map_or(Instant::ZERO, |seen| seen.throttled_until);
        let until = batch.again_at.max(throttled);
        let waited = !batch.idempotent || now + ROUNDING >= until;
        self.rule("R24", waited, || {
            format!("to be left alone until {} us: {copy:?}", until.as_micros())
        });
        let leads = leader.is_none_or(|leader| leader == server);
        self.rule("R22", leads, || format!("to {server}, {leader:?} leads: {copy:?}"));
    }

    /// A copy got this answer, or none.
    ///
    /// Only the first failure since the floor moved has a wait that is known from outside; a later
    /// one may come towards the end of a longer wait, and adds nothing to it.
    pub(super) fn close_copy(&mut self, copy: &Copy, conn: ConnId, part: Part, now: Instant) {
        let Some(batch) = self.batches.get_mut(copy.payload as usize) else { return };
        let Patience { backoff, throttle, .. } = batch.patience;
        let seen = self.seen.of((batch.writer, copy.bucket));
        batch.again_at = Instant::ZERO;
        // Answers to copies of sessions that ended are ignored.
        let counts = seen.session().is_some_and(|(id, _)| id == copy.writer_id);
        if counts {
            seen.close(copy.sequence, conn);
        }
        if counts && part.said == Said::Committed {
            seen.prove(copy.sequence);
        }
        match part.said {
            Said::Committed => {
                let pressure = part.pressure.clamp(0.0, 1.0);
                let until = now + throttle.mul_f64(pressure * pressure);
                seen.throttled_until = seen.throttled_until.max(until);
                seen.rests_until = seen.rests_until.max(until);
            }
            Said::Throttled if counts => {
                batch.again_at = now + throttle;
                seen.rests_until = seen.rests_until.max(now + throttle);
            }
            Said::RefusedForNow | Said::Open => {
                if counts && !seen.failed {
                    batch.again_at = now + backoff;
                }
                seen.failed = true;
            }
            Said::Refused => seen.failed = true,
            Said::OutOfSequence | Said::Throttled => {}
        }
    }

    /// A copy came to a leader that had forgotten its writer for its age.
    pub(in crate::testing::sim) fn forgotten(&mut self, bucket: BucketKey, writer: i64, seq: i32) {
        let payload = self.stamps.get(&(bucket, writer, seq)).copied();
        let batch = payload.and_then(|payload| self.batches.get(payload as usize));
        let remembered = batch.is_some_and(|batch| batch.patience.remembered);
        self.rule("A4", !remembered, || {
            format!("batch {payload:?}: ({writer}, {seq}) came to {bucket} after its writer's time")
        });
    }
}
