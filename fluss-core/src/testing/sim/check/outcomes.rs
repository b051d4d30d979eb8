//! What the client says of batches.

use super::{Checker, End};
use crate::config::Acks;
use crate::ids::ConnId;
use crate::output::{BatchOutcome, Written};
use crate::time::Instant;

impl Checker {
    pub(in crate::testing::sim) fn outcome(
        &mut self,
        batch: u64,
        outcome: &BatchOutcome,
        now: Instant,
        gone: bool,
    ) {
        let Some(entry) = self.batches.get(batch as usize) else {
            return self.rule("I5", false, || format!("an outcome of the unknown batch {batch}"));
        };
        let bound = entry.bound + self.paused.saturating_sub(entry.paused);
        let (again, late) = (entry.end, now > bound);
        self.rule("I5", again.is_none(), || format!("batch {batch} ended twice: {outcome:?}"));
        if again.is_some() {
            return;
        }
        self.rule("I5", !late, || {
            format!("batch {batch} ended at {} us, bound {} us", now.as_micros(), bound.as_micros())
        });
        let end = match outcome {
            BatchOutcome::Written(written) => {
                self.check_written(batch, written, gone);
                self.check_order_of(batch);
                End::Written
            }
            BatchOutcome::Failed(crate::WriteError::NotWritten(_)) => {
                let appended = self.batches[batch as usize].appended;
                self.rule("I3", !appended, || format!("batch {batch} was appended: {outcome:?}"));
                End::NotWritten
            }
            BatchOutcome::Failed(crate::WriteError::OutcomeUnknown(_)) => {
                self.check_unknown(batch, outcome);
                End::Unknown
            }
        };
        self.ended(batch as usize, end);
    }

    fn check_written(&mut self, batch: u64, written: &Written, gone: bool) {
        let entry = &self.batches[batch as usize];
        if entry.acks != Acks::All || entry.lost || gone {
            return;
        }
        let here = !entry.places.is_empty();
        let base = written.base_offset;
        let end = written.log_end_offset;
        let placed = entry.places.iter().any(|(first, last)| {
            base.is_none_or(|base| base == *first) && end.is_none_or(|end| end == *last + 1)
        });
        let invariant = if written.inferred { "I13" } else { "I2" };
        self.rule(invariant, here, || format!("batch {batch} is not in the log: {written:?}"));
        let entry = &self.batches[batch as usize];
        let places = entry.places.clone();
        self.rule("I2", placed || !here, || {
            format!("batch {batch} is elsewhere in the log: {places:?}, told {written:?}")
        });
        if written.inferred && self.batches[batch as usize].idempotent {
            let own = base.is_none() && end.is_none();
            self.rule("I13", own, || format!("batch {batch}: an inferred commit has offsets"));
        }
    }

    fn check_unknown(&mut self, batch: u64, outcome: &BatchOutcome) {
        let entry = &self.batches[batch as usize];
        let open = entry.ambiguous || entry.open > 0;
        let higher = match (entry.stamp, entry.idempotent) {
            (Some((writer, sequence)), true) => {
                self.acked.get(&(entry.bucket, writer)).is_some_and(|acked| *acked >= sequence)
            }
            _ => false,
        };
        self.rule("I14", open, || format!("batch {batch} has no copy in doubt: {outcome:?}"));
        self.rule("I14", !higher, || format!("batch {batch} was proved written: {outcome:?}"));
    }

    /// The connection with a copy of this batch that has no answer.
    pub(in crate::testing::sim) fn open_on(&self, batch: u64) -> Option<ConnId> {
        let batch = self.batches.get(batch as usize)?;
        batch.conn.filter(|_| batch.open > 0)
    }

    /// A batch is told as written since a later one is. `unheard`: nobody will hear an answer to
    /// its own copy.
    pub(in crate::testing::sim) fn inferred(&mut self, batch: u64, now: Instant, unheard: bool) {
        let Some(entry) = self.batches.get(batch as usize) else { return };
        if !entry.idempotent || !entry.asks_offset {
            return;
        }
        let waited = entry.open == 0 || unheard || now >= entry.deadline;
        let answered = entry.answered;
        self.rule("R27", waited, || format!("batch {batch} did not wait for its offset"));
        self.rule("R27", !answered, || format!("batch {batch} is told without its offset"));
    }
}
