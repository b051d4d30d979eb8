//! What is to be asked, and when: each thing once, and not too often.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{PartitionId, TableId, TablePath};
use crate::time::{Duration, Instant};

/// The longest pause between two questions about one thing while nothing changes.
const MAX_INTERVAL: Duration = Duration::from_secs(1);
/// Questions in one request; more wait for the next.
const MAX_TARGETS: usize = 100;

/// Something that a metadata request can be about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// The list of servers, which comes with every answer.
    Servers,
    /// A table with the leaders of its buckets.
    Table(TablePath),
    /// A partition by its name.
    PartitionName(TablePath, Arc<str>),
    /// A partition by its id.
    PartitionId(TableId, PartitionId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Nobody wants it now.
    No,
    /// It stands in the queue.
    Queued(Instant),
    /// A request about it is on its way; `again` when it was wanted once more meanwhile.
    Asked { again: bool },
}

#[derive(Clone, Copy, Debug)]
struct State {
    wanted: Wanted,
    /// It is not asked for again before this.
    not_before: Instant,
    interval: Duration,
    /// Answers in a row that settled nothing.
    failures: u32,
}

/// The questions.
#[derive(Debug, Default)]
pub(super) struct Refresh {
    states: BTreeMap<Target, State>,
    queue: BTreeSet<(Instant, Target)>,
    /// Something was queued since the last look.
    asked: bool,
}

impl Refresh {
    pub(super) fn was_asked(&mut self) -> bool {
        std::mem::take(&mut self.asked)
    }

    /// Somebody wants to know. The first time is now; later ones keep their distance.
    pub(super) fn want(&mut self, target: Target, now: Instant, min: Duration) {
        let state = self.states.entry(target.clone()).or_insert(State {
            wanted: Wanted::No,
            not_before: now,
            interval: min,
            failures: 0,
        });
        match &mut state.wanted {
            Wanted::Queued(_) => {}
            Wanted::Asked { again } => *again = true,
            Wanted::No => {
                if now.saturating_since(state.not_before) > MAX_INTERVAL {
                    state.interval = min;
                }
                let at = state.not_before.max(now);
                state.wanted = Wanted::Queued(at);
                self.queue.insert((at, target));
                self.asked = true;
            }
        }
    }

    /// Whether a question about it waits for its time.
    pub(super) fn is_queued(&self, target: &Target) -> bool {
        let state = self.states.get(target);
        state.is_some_and(|state| matches!(state.wanted, Wanted::Queued(_)))
    }

    /// When the next question is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes what is due, as far as it fits one request.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Target> {
        let mut due = Vec::new();
        while due.len() < MAX_TARGETS
            && self.queue.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, target)) = self.queue.pop_first()
        {
            if let Some(state) = self.states.get_mut(&target) {
                state.wanted = Wanted::Asked { again: false };
                state.not_before = now + state.interval;
            }
            due.push(target);
        }
        due
    }

    /// An answer said what there is to say. Who wanted it while the request was on its way looks at
    /// the answer first, if it brought news; else it is asked once more, and this is true.
    pub(super) fn settle(
        &mut self,
        target: &Target,
        changed: bool,
        now: Instant,
        min: Duration,
    ) -> bool {
        let Some(state) = self.states.get_mut(target) else { return false };
        let old = std::mem::replace(&mut state.wanted, Wanted::No);
        if let Wanted::Queued(at) = old {
            self.queue.remove(&(at, target.clone()));
        }
        state.failures = 0;
        state.interval = if changed { min } else { (state.interval * 2).min(MAX_INTERVAL) };
        let again = old == (Wanted::Asked { again: true }) && !changed;
        if again {
            self.want(target.clone(), now, min);
        }
        again
    }

    /// An answer settled nothing: asks again after a growing pause. Returns how often in a row.
    pub(super) fn retry(&mut self, target: &Target, now: Instant, min: Duration) -> u32 {
        let Some(state) = self.states.get_mut(target) else { return 0 };
        state.failures += 1;
        state.interval = (state.interval * 2).min(MAX_INTERVAL);
        state.not_before = now + state.interval;
        state.wanted = Wanted::No;
        let failures = state.failures;
        self.want(target.clone(), now, min);
        failures
    }

    /// It cannot be known now: who wants it nevertheless asks after a pause.
    pub(super) fn put_off(&mut self, target: &Target, now: Instant) {
        let Some(state) = self.states.get_mut(target) else { return };
        if let Wanted::Queued(at) = std::mem::replace(&mut state.wanted, Wanted::No) {
            self.queue.remove(&(at, target.clone()));
        }
        state.failures = 0;
        state.interval = (state.interval * 2).min(MAX_INTERVAL);
        state.not_before = now + state.interval;
    }

    /// It does not exist any more.
    pub(super) fn forget(&mut self, target: &Target) {
        if let Some(State { wanted: Wanted::Queued(at), .. }) = self.states.remove(target) {
            self.queue.remove(&(at, target.clone()));
        }
    }

    /// Drops what nobody has wanted for a while.
    pub(super) fn prune(&mut self, now: Instant) {
        self.states.retain(|_, state| {
            state.wanted != Wanted::No || now.saturating_since(state.not_before) <= MAX_INTERVAL
        });
    }
}
