//! The rules that must hold in every state of a world, and at the end of its run.
//!
//! Every test that has a [`World`] is held to all of them, also where it looks at one thing only:
//! when the world is dropped, what is left is served, and the end of the run is checked. Only what
//! is broken on purpose is let off.
//!
//! | rule | where it is looked for |
//! |---|---|
//! | I1, I3, I8 | each append; I3 also when a batch ends, I8 when a copy leaves |
//! | I2, I13, I14 | when a batch ends; I2 and I3 again at the end |
//! | I4, I15 | the end; I15 unless something grave happened |
//! | I5 | when a batch ends and when a copy leaves; the end |
//! | I6, I10, I12, I25 | the windows, after each input |
//! | I7, I9, I11, I18, I20, I21, R16 | when a copy leaves |
//! | I16 | when a copy leaves; what is left comes to an end |
//! | I17, I19 | each answer; I19 also when a leader moves and when a bucket is gone |
//! | I24 | when a copy leaves: it goes to the bucket that its batch was handed in for |
//!
//! What a single manager knows nothing of is checked where it happens, each time by the simulator
//! as well (see `testing/sim`):
//!
//! | rule | why not here | where instead |
//! |---|---|---|
//! | I16, that no states repeat | needs all ways on from a state | `explore`: the graph of states |
//! | I18, one batch of a bucket in a request | requests are built by the sender | T71 |
//! | I22 | the budget is the accumulator's | T75, T73; `handle`: each test, when its stage ends |
//! | I23 | flushes are the writers' | T74, T73 |
//! | I24, that a new table has another key | tables are looked up by metadata | T61 to T64 |
//!
//! `scenarios.md` has the tests by these numbers.

use std::fmt::Write as _;

use super::model::Entry;
use super::world::{Queue, World, lost};
use crate::error::{Error, WriteError};
use crate::ids::{BucketKey, ConnId};
use crate::writer::idempotence::outcome::{Done, Outcome};
use crate::writer::idempotence::{Copy, Fresh, Kind, Stamp};

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
            Outcome::Failed(WriteError::OutcomeUnknown(_)) => self.check_unknown(done.batch),
        }
        let old = self.outcomes.insert(payload, (done.bucket, done.outcome.clone()));
        self.rule(old.is_none(), || format!("I5: completed twice: {text}"));
        self.done.push(done);
    }

    pub(super) fn check_state(&mut self) {
        let limit = self.manager.config.max_in_flight;
        let mut seen = Vec::new();
        for (key, state) in &self.manager.buckets {
            let unresolved = state.slots.len();
            seen.push((*key, state.session.map(|s| (s.id.0, s.floor)), unresolved));
        }
        for (key, session, unresolved) in seen {
            let few = unresolved <= limit || !self.manager.config.enabled;
            self.rule(few, || format!("I6: {unresolved} unresolved in {key}"));
            self.check_session(key, session);
        }
        let alarms = self.manager.counters().invariant_violation;
        self.rule(alarms == 0, || "invariant_violation was counted".into());
    }

    pub(super) fn check_copy(&mut self, key: BucketKey, conn: ConnId, copy: &Copy) {
        self.check_leaving(key, conn, copy);
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
        let harmed = self.replicas.values().any(|replica| replica.harmed);
        let grave = self.watch.grave || harmed || !self.lost.is_empty();
        let failed = |done: &&Done| matches!(done.outcome, Outcome::Failed(_));
        if let Some(done) = self.done.iter().find(failed).filter(|_| !grave) {
            let _ = write!(broken, "I15: nothing grave happened: {done:?}; ");
        }
        // Without idempotence retries may double rows, and overtake each other.
        let stamped = self.manager.config.enabled;
        for (key, replica) in self.replicas.iter().filter(|_| stamped) {
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

    /// Serves what is left and checks all rules; the outcomes of the scenario follow.
    pub(super) fn finish(&mut self) {
        self.come_to_rest();
        assert_eq!(self.broken, None);
    }

    /// Serves what is left, and looks at the end of the run.
    fn come_to_rest(&mut self) {
        self.auto_id = true;
        if self.id_due {
            self.give_id();
        }
        // Whoever waits for an answer to what is nowhere any more will hear that it is lost.
        let held = |w: &Self, c: &Copy| w.requests.values().any(|r| r.copies.contains(c));
        let left: Vec<Copy> = self.watch.open().filter(|c| !held(self, c)).copied().collect();
        left.iter().for_each(|copy| self.answer(copy.token, lost()));
        if self.manager.closed {
            self.end_queues();
        }
        self.drain();
        self.check_end();
    }

    /// Ends what is in no manager's hands, as the owner of one that is closed does.
    fn end_queues(&mut self) {
        for (bucket, queue) in std::mem::take(&mut self.queues) {
            self.queues.insert(bucket, Queue::default());
            for Fresh { batch, .. } in queue.0 {
                let failed = WriteError::NotWritten(Error::Closed("writer").into());
                let (outcome, attempts) = (Outcome::Failed(failed), Vec::new());
                self.completed(Done { bucket, batch, outcome, attempts });
            }
        }
    }
}

/// Whatever a test did with it and looked at: what is left is served, and every rule holds.
impl Drop for World {
    fn drop(&mut self) {
        if !self.let_off && !std::thread::panicking() {
            self.come_to_rest();
            assert_eq!(self.broken, None);
        }
    }
}
