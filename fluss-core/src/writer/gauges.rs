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
