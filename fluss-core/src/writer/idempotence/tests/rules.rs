//! The rules that must hold in every state of a world, and at the end of its run.

use std::fmt::Write as _;

use super::model::Entry;
use super::world::World;
use crate::error::WriteError;
use crate::ids::BucketKey;
use crate::writer::idempotence::outcome::{Attempt, AttemptEnd, Done, Outcome};
use crate::writer::idempotence::{Copy, Kind, Stamp};
use crate::writer::retry::{Class, classify};

impl World {
    pub(super) fn completed(&mut self, done: Done) {
        let payload = done.batch.0;
        let replica = &self.replicas[&done.bucket];
        let ever = replica.ever.iter().any(|e| e.payload == payload);
        let here = replica.has(payload);
        let lost = self.lost.contains(&payload);
        let text = format!("{done:?}");
        match &done.outcome {
            Outcome::Written { inferred, .. } => {
                let rule = if *inferred { "I13" } else { "I2" };
                self.rule(here || lost, || format!("{rule}: not in the log: {text}"));
            }
            Outcome::Failed(WriteError::NotWritten(_)) => {
                self.rule(!ever, || format!("I3: was appended: {text}"));
            }
            Outcome::Failed(WriteError::OutcomeUnknown(_)) => {}
        }
        let old = self.outcomes.insert(payload, (done.bucket, done.outcome.clone()));
        self.rule(old.is_none(), || format!("I5: completed twice: {text}"));
        self.done.push(done);
    }

    pub(super) fn check_state(&mut self) {
        let limit = self.manager.config.max_in_flight;
        let mut broken = None;
        for (key, state) in &self.manager.buckets {
            if state.slots.len() > limit && self.manager.config.enabled {
                broken = Some(format!("I6: {} unresolved in {key}", state.slots.len()));
            }
            let Some(session) = state.session else { continue };
            if let Some((id, floor)) = self.floors.get(key)
                && *id == session.id
                && session.floor < *floor
            {
                broken = Some(format!("I12: floor of {key} fell"));
            }
            if self.floors.insert(*key, (session.id, session.floor))
                != Some((session.id, session.floor))
            {
                *self.generation.entry(*key).or_default() += 1;
            }
        }
        if self.manager.counters().invariant_violation > 0 {
            broken = Some("invariant_violation was counted".into());
        }
        if let Some(text) = broken {
            self.rule(false, || text);
        }
    }

    pub(super) fn check_copy(&mut self, key: BucketKey, copy: &Copy) {
        self.sent.push(*copy);
        if !self.manager.config.enabled {
            return;
        }
        let Stamp { writer_id, sequence } = copy.stamp;
        self.rule(writer_id >= 0 && sequence >= 0, || format!("I20: {copy:?}"));
        let highest = self.highest.entry((key, writer_id)).or_insert(-1);
        let gap = sequence > highest.saturating_add(1);
        *highest = sequence.max(*highest);
        self.rule(!gap, || format!("I7: gap before {copy:?}"));
        let log = &self.replicas[&key].log;
        let anew = log.iter().any(|e| e.payload == copy.batch.0 && e.stamp != copy.stamp);
        let meant = |e: &Entry| e.stamp != copy.stamp || e.payload == copy.batch.0;
        let truthful = log.iter().all(meant)
            && self.requests.values().filter(|r| r.found.is_none()).all(|r| {
                r.copies.iter().all(|c| {
                    c.token.bucket() != key || c.stamp != copy.stamp || c.batch == copy.batch
                })
            });
        self.rule(truthful, || format!("I8: stamp has another payload: {copy:?}"));
        let twice = self.awaited.keys().any(|id| {
            self.requests[id].copies.iter().any(|c| c.batch == copy.batch && c.stamp == copy.stamp)
        });
        self.rule(!twice, || format!("I18: two open copies: {copy:?}"));
        self.rule(!anew, || format!("I11: appended under another stamp: {copy:?}"));
        let floor = self.manager.buckets[&key].session.map_or(0, |s| s.floor);
        let generation = self.generation.entry(key).or_default();
        if i64::from(sequence) == floor {
            *generation += 1;
        } else if copy.kind == Kind::Normal {
            let at = (*generation, floor);
            let old = self.sent_in.insert((copy.batch, copy.stamp), at);
            self.rule(old != Some(at), || format!("I16: twice in a generation: {copy:?}"));
        }
    }

    pub(super) fn appended(&mut self, copy: &Copy, again: bool, same: bool) {
        if !self.manager.config.enabled {
            return;
        }
        self.rule(!again, || format!("I1: appended twice: {copy:?}"));
        self.rule(same, || format!("I8: swallowed by another payload: {copy:?}"));
        if let Some((_, Outcome::Failed(WriteError::NotWritten(e)))) =
            self.outcomes.get(&copy.batch.0)
        {
            let text = format!("I3: appended after {e}: {copy:?}");
            self.rule(false, || text);
        }
    }

    /// The rules about the end of a run.
    pub(super) fn check_end(&mut self) {
        for batch in 0..self.next_batch {
            self.rule(self.outcomes.contains_key(&batch), || format!("I5: {batch} never ended"));
        }
        let mut broken = String::new();
        for (payload, (key, outcome)) in &self.outcomes {
            let here = self.replicas[key].has(*payload);
            let lost = self.lost.contains(payload);
            match outcome {
                Outcome::Written { .. } if !here && !lost => {
                    let _ = write!(broken, "I2: {payload} is missing; ");
                }
                Outcome::Failed(WriteError::NotWritten(_)) if here => {
                    let _ = write!(broken, "I3: {payload} is in the log; ");
                }
                _ => {}
            }
        }
        for done in &self.done {
            let open_end = |a: &Attempt| match &a.end {
                AttemptEnd::Lost(_) => true,
                AttemptEnd::Rejected { code, .. } => classify(*code) == Class::Ambiguous,
                AttemptEnd::NotSent(_) => false,
            };
            // Of long histories only the end is kept.
            let proved = done.attempts.len() < 8 && !done.attempts.iter().any(open_end);
            if proved && matches!(done.outcome, Outcome::Failed(WriteError::OutcomeUnknown(_))) {
                let _ = write!(broken, "I14: every copy of {} was refused; ", done.batch);
            }
        }
        for (key, replica) in &self.replicas {
            let known = |p: u64| {
                !matches!(self.outcomes.get(&p), Some((_, Outcome::Failed(_))))
                    && !self.lost.contains(&p)
            };
            let order: Vec<u64> =
                replica.log.iter().map(|e| e.payload).filter(|p| known(*p)).collect();
            if !order.windows(2).all(|pair| pair[0] < pair[1]) {
                let _ = write!(broken, "I1/I4: order in {key} is {order:?}; ");
            }
        }
        self.rule(broken.is_empty(), || broken);
    }
}
