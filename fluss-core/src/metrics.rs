//! What a client looks like from outside: one snapshot of counters, gauges and latencies.
//!
//! `Fluss::metrics` takes it, or [`Client::metrics`](crate::Client::metrics) in a loop of one's
//! own. It copies a few hundred numbers under the client's lock, and its cost grows with the
//! writers and servers, not with rows or batches: to be called as often as a monitoring system
//! asks.

use crate::output::Counters;
use crate::time::Duration;

/// A client at one moment. Bytes are bytes, numbers are numbers of things; what only grows is in
/// [`Metrics::counters`], all else goes up and down.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
    /// What was counted since the start.
    pub counters: Counters,
    /// Bytes of the memory budget in use by rows without an outcome.
    pub memory_used: u64,
    /// The budget, in bytes.
    pub memory_limit: u64,
    /// Appends that wait for memory.
    pub memory_waiters: usize,
    /// Writers that are not over, handles that are dropped but have rows on their way included.
    pub writers: usize,
    /// Batches without an outcome: open, queued, in flight, waiting for a retry.
    pub batches: usize,
    /// Bytes of those that are sealed, as they travel.
    pub sealed_bytes: u64,
    /// Write requests without an answer.
    pub requests_in_flight: usize,
    /// Batches in those.
    pub batches_in_flight: usize,
    /// Bytes of those batches. What `sealed_bytes` has more waits for its turn.
    pub bytes_in_flight: u64,
    /// Lookups on their way: keys without an answer. Those in line for the budget are not in it.
    pub lookups: usize,
    /// How many may be.
    pub lookup_limit: usize,
    /// Bytes of the keys on their way, and of answers that nobody has taken.
    pub lookup_memory_used: u64,
    /// The budget for those, in bytes.
    pub lookup_memory_limit: u64,
    /// Lookups in line for the budget.
    pub lookup_waiters: usize,
    /// Connections that requests can go over now.
    pub connections: usize,
    /// From handing a write request to the socket until its answer; requests without an answer are
    /// not in it.
    pub answer_latency: Latency,
    /// From the first row of a batch until the batch was acknowledged, linger included; batches
    /// that ended otherwise are not in it.
    pub delivery_latency: Latency,
}

/// Buckets of a [`Latency`].
const BUCKETS: usize = 24;
/// The upper bound of the first.
const FIRST: Duration = Duration::from_micros(64);

/// Durations that were observed since the start: how many, their sum and extremes, and a histogram
/// with 24 buckets, each twice as wide as the one before, from 64 µs to 9 minutes.
///
/// ```
/// use fluss_core::Latency;
/// use std::time::Duration;
///
/// let mut latency = Latency::default();
/// for millis in [1, 2, 3, 90] {
///     latency.record(Duration::from_millis(millis));
/// }
/// assert_eq!(latency.count(), 4);
/// assert_eq!(latency.mean(), Some(Duration::from_millis(24)));
/// assert_eq!(latency.max(), Some(Duration::from_millis(90)));
/// // At most as exact as the buckets: 2 ms lies below 2.048 ms.
/// assert_eq!(latency.quantile(0.5), Some(Duration::from_micros(2048)));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latency {
    sum: Duration,
    min: Option<Duration>,
    max: Option<Duration>,
    buckets: [u64; BUCKETS],
}

impl Latency {
    /// Adds one observation.
    pub fn record(&mut self, took: Duration) {
        self.sum = self.sum.saturating_add(took);
        self.min = Some(self.min.map_or(took, |min| min.min(took)));
        self.max = self.max.max(Some(took));
        let steps = took.as_micros().div_ceil(FIRST.as_micros()).max(1);
        let bucket = (steps - 1).checked_ilog2().map_or(0, |log| log as usize + 1);
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// The shortest; None before the first.
    #[must_use]
    pub fn min(&self) -> Option<Duration> {
        self.min
    }

    /// The longest; None before the first.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        self.max
    }

    /// The mean; None before the first.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        let nanos = self.sum.as_nanos().checked_div(u128::from(self.count()))?;
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// The buckets: the longest duration that falls into each, and how many did. The last takes
    /// what is longer, too.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        (0..).map(|at| FIRST * (1 << at)).zip(self.buckets.iter().copied())
    }

    /// The upper bound of the bucket that this part of all observations, 0 to 1, does not exceed,
    /// or the longest one where that is less; None before the first.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let rank = (self.count() as f64 * part.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        let mut below = 0;
        let found = self.buckets().find(|(_, count)| {
            below += count;
            below >= rank
        });
        let longest = self.max?;
        Some(found.map_or(longest, |(bound, _)| bound.min(longest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_can_hold_it() {
        for (micros, bucket) in
            [(0, 0), (1, 0), (64, 0), (65, 1), (128, 1), (129, 2), (256, 2), (257, 3)]
        {
            let mut latency = Latency::default();
            latency.record(Duration::from_micros(micros));
            let found = latency.buckets().position(|(_, count)| count == 1);
            assert_eq!(found, Some(bucket), "{micros} µs");
            let bound = latency.buckets().nth(bucket).expect("a bucket").0;
            assert!(Duration::from_micros(micros) <= bound, "{micros} µs above {bound:?}");
        }
    }

    #[test]
    fn what_is_longer_than_all_buckets_is_counted_and_the_longest_is_exact() {
        let mut latency = Latency::default();
        assert_eq!((latency.quantile(0.5), latency.mean(), latency.min()), (None, None, None));
        let hour = Duration::from_secs(3600);
        latency.record(hour);
        latency.record(Duration::MAX);
        assert_eq!((latency.count(), latency.min()), (2, Some(hour)));
        assert_eq!(latency.max(), Some(Duration::MAX));
        assert_eq!(latency.buckets().last().map(|(_, count)| count), Some(2));
    }

    #[test]
    fn quantiles_grow_with_their_part_and_end_at_the_longest() {
        let mut latency = Latency::default();
        (1..=1000).for_each(|ms| latency.record(Duration::from_millis(ms)));
        let parts = [0.0, 0.1, 0.5, 0.9, 0.99, 1.0];
        let quantiles = parts.map(|part| latency.quantile(part).expect("observations"));
        assert!(quantiles.is_sorted(), "{quantiles:?}");
        assert!(quantiles[2] >= Duration::from_millis(500));
        assert_eq!(quantiles[5], Duration::from_secs(1));
    }
}
