//! Exponential backoff with jitter, as a value.

use crate::rng::Rng;
use crate::time::Duration;

/// The bounds of a backoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffConfig {
    /// The first wait, before jitter.
    pub initial: Duration,
    /// The longest wait, before jitter.
    pub max: Duration,
}

impl BackoffConfig {
    /// Waits from `initial`, doubling up to `max`.
    #[must_use]
    pub const fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max }
    }
}

/// How often something failed in a row, and so how long to wait before it is tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait before the next attempt: doubles with each call, ±20 % jitter so that clients that
    /// failed together do not come back together.
    pub fn next(&mut self, config: BackoffConfig, rng: &mut Rng) -> Duration {
        let factor = 1u32 << self.failures.min(20);
        self.failures = self.failures.saturating_add(1);
        let base = config.initial.saturating_mul(factor).min(config.max);
        // A quarter of all time, so that the jitter does not go beyond it.
        let micros = u64::try_from(base.as_micros()).unwrap_or(u64::MAX).min(u64::MAX / 4);
        let fifth = micros / 5;
        Duration::from_micros(micros - fifth + rng.below(2 * fifth + 1))
    }

    /// Forgets past failures; called on success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The number of failures since the last success.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn waits_double_up_to_the_cap_and_start_over_after_a_success() {
        let config = BackoffConfig::new(Duration::from_millis(20), Duration::from_secs(1));
        let mut rng = Rng::new(1);
        let mut backoff = Backoff::default();
        for expected in [20u64, 40, 80, 160, 320, 640, 1000, 1000] {
            let wait = backoff.next(config, &mut rng).as_micros() as u64;
            assert!((expected * 800..=expected * 1200).contains(&wait), "{wait} for {expected}");
        }
        backoff.reset();
        assert!(backoff.next(config, &mut rng) <= Duration::from_millis(24));
    }

    #[test]
    fn clients_that_failed_together_come_back_at_moments_of_their_own() {
        let config = BackoffConfig::new(Duration::from_millis(20), Duration::from_secs(1));
        let first = |seed| Backoff::default().next(config, &mut Rng::new(seed));
        let waits: BTreeSet<Duration> = (0..20).map(first).collect();
        assert_eq!(waits.len(), 20, "{waits:?}");
        let within = Duration::from_millis(16)..=Duration::from_millis(24);
        assert!(waits.iter().all(|wait| within.contains(wait)), "{waits:?}");
        let below = waits.iter().filter(|wait| **wait < config.initial).count();
        assert!((5..=15).contains(&below), "{below} of 20 waits are shorter: {waits:?}");
    }

    #[test]
    fn waits_without_a_sensible_bound_do_not_overflow() {
        let mut rng = Rng::new(1);
        for most in [Duration::from_micros(u64::MAX), Duration::MAX, Duration::ZERO] {
            let mut backoff = Backoff::default();
            for _ in 0..50 {
                let wait = backoff.next(BackoffConfig::new(most, most), &mut rng);
                assert!(wait <= most.saturating_mul(2));
            }
        }
    }
}
