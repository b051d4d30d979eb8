//! What the writers look like from outside: counters, gauges, latencies.

use super::{Writers, idempotence};
use crate::metrics::Metrics;
use crate::output::Counters;

impl Writers {
    pub(crate) fn counters(&self) -> Counters {
        let ended = self.ended_counters.clone();
        self.writers.values().fold(ended, |sum, w| add(sum, w.sender.manager.counters()))
    }

    /// Fills in what the writers know.
    pub(crate) fn measure(&self, metrics: &mut Metrics) {
        let memory = self.accumulator.memory();
        metrics.memory_used = memory.used();
        metrics.memory_waiters = memory.waiting();
        metrics.writers = self.writers.len();
        metrics.batches = self.accumulator.len();
        metrics.sealed_bytes = self.accumulator.sealed_bytes();
        metrics.requests_in_flight = self.requests.len();
        metrics.batches_in_flight = self.requests.batches;
        metrics.bytes_in_flight = self.requests.bytes;
        metrics.answer_latency = self.answer_latency.clone();
        metrics.delivery_latency = self.delivery_latency.clone();
    }
}

pub(super) fn add(mut sum: Counters, one: &idempotence::Counters) -> Counters {
    sum.copies += one.copies;
    sum.probes += one.probes;
    sum.resends_sequence += one.resends_sequence;
    sum.resends_transient += one.resends_transient;
    sum.resends_ambiguous += one.resends_ambiguous;
    sum.resends_confirm += one.resends_confirm;
    sum.retries += one.resends_sequence
        + one.resends_transient
        + one.resends_ambiguous
        + one.resends_confirm
        + one.probes;
    sum.inferred_commits += one.inferred_commits;
    sum.stale_refusals += one.stale_refusals;
    sum.genuine_refusals += one.genuine_refusals;
    sum.rotations_broken += one.rotations_broken;
    sum.rotations_fence += one.rotations_fence;
    sum.rotations_unknown += one.rotations_unknown;
    sum.rotations_idle += one.rotations_idle;
    sum.rotations_exhausted += one.rotations_exhausted;
    sum.rotations += one.rotations_broken
        + one.rotations_fence
        + one.rotations_unknown
        + one.rotations_idle
        + one.rotations_exhausted;
    sum.not_written += one.not_written;
    sum.unknown += one.unknown;
    sum.orphan_answers += one.orphan_answers;
    sum.invariant_violations += one.invariant_violation;
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_of_a_writer_is_seen_under_its_own_name_and_added_to_those_of_others() {
        let one = idempotence::Counters {
            copies: 1,
            probes: 1 << 1,
            resends_sequence: 1 << 2,
            resends_transient: 1 << 3,
            resends_ambiguous: 1 << 4,
            resends_confirm: 1 << 5,
            inferred_commits: 1 << 6,
            stale_refusals: 1 << 7,
            genuine_refusals: 1 << 8,
            rotations_broken: 1 << 9,
            rotations_fence: 1 << 10,
            rotations_unknown: 1 << 11,
            rotations_idle: 1 << 12,
            rotations_exhausted: 1 << 13,
            not_written: 1 << 14,
            unknown: 1 << 15,
            orphan_answers: 1 << 16,
            invariant_violation: 1 << 17,
            fired: idempotence::Counters::default().fired,
        };
        let twice = |shift: u32| 2 << shift;
        let expected = Counters {
            copies: twice(0),
            retries: (1..=5).map(twice).sum(),
            probes: twice(1),
            resends_sequence: twice(2),
            resends_transient: twice(3),
            resends_ambiguous: twice(4),
            resends_confirm: twice(5),
            inferred_commits: twice(6),
            stale_refusals: twice(7),
            genuine_refusals: twice(8),
            rotations: (9..=13).map(twice).sum(),
            rotations_broken: twice(9),
            rotations_fence: twice(10),
            rotations_unknown: twice(11),
            rotations_idle: twice(12),
            rotations_exhausted: twice(13),
            not_written: twice(14),
            unknown: twice(15),
            orphan_answers: twice(16),
            invariant_violations: twice(17),
            ..Counters::default()
        };
        assert_eq!(add(add(Counters::default(), &one), &one), expected);
    }
}
