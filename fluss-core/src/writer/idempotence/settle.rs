//! Decisions that wait until no copy is open: holes, unknown outcomes, lost sessions.
//!
//! Two of them also wait for something that may never come, for the time of one request each:
//!
//! - Before a session with batches in doubt is given up, the cluster is asked for a newer leader.
//!   A cluster that tells nothing for so long is not waited for until the batches' deadlines. The
//!   leader that was known has refused the floor and every probe, so all that could still be
//!   learnt is whether there is another one; meanwhile the whole bucket would stand still. The
//!   batches in doubt end as unknown, which is what they are then.
//! - The outcome of a doomed floor may be learnt from a batch that still is in the bucket's queue.
//!   If that one runs out of time there, nobody tells: the queue is not the manager's. The search
//!   then ends with its own time, within the bound that every outcome has.

use super::pick::{Choice, Given};
use super::session::{Bucket, Held, Once, Slot};
use super::{Counters, Env, Mutation, RefreshReason};

impl Bucket {
    /// Decides what can be decided; run after every input.
    pub(super) fn settle(&mut self, has_fresh: bool, env: &mut Env<'_>) {
        // Each round ends at least the lowest slot.
        while self.settle_floor(has_fresh, env) {}
    }

    fn settle_floor(&mut self, has_fresh: bool, env: &mut Env<'_>) -> bool {
        let Some(front) = self.slots.front() else { return false };
        if front.open.is_some() {
            return false;
        }
        let ambiguous = front.ambiguous && !env.config.forgets_copies(front.doomed);
        match front.doomed {
            Some(_) if ambiguous => self.settle_unknown(has_fresh, env),
            Some(_) => self.settle_hole(env),
            None if self.genuine.is_some() => self.settle_broken(env),
            None => false,
        }
    }

    /// The floor is not in the log and never will be.
    fn settle_hole(&mut self, env: &mut Env<'_>) -> bool {
        env.sink.counters.fired.rule(13);
        let fence = self.rest().any(|slot| slot.ambiguous) && !env.config.forgets_fence();
        let wait = !fence && !env.config.breaks(Mutation::InPlaceWithoutWaiting);
        if wait && self.rest().any(|slot| slot.open.is_some()) {
            return false;
        }
        let mut back = Vec::with_capacity(self.slots.len());
        for (i, slot) in std::mem::take(&mut self.slots).into_iter().enumerate() {
            if i == 0 || slot.doomed.is_some() {
                env.finish_not_written(slot.held, slot.doomed);
            } else {
                back.push(slot.held);
            }
        }
        self.take_back(back, env);
        if fence {
            // No copy behind the hole can ever be appended, but some may still be under way: they
            // keep their stamps, the batches get others.
            self.end_session(|c| &mut c.rotations_fence, env);
        } else {
            self.skip_sequence(env);
            self.forget_window();
        }
        true
    }

    /// The floor is doomed and may be in the log.
    fn settle_unknown(&mut self, has_fresh: bool, env: &mut Env<'_>) -> bool {
        let awaited = !env.config.breaks(Mutation::UpwardIsNotAwaited);
        if awaited && self.rest().any(|slot| slot.open.is_some()) {
            return false;
        }
        if self.upward == Once::NotYet {
            env.sink.counters.fired.rule(14);
            self.upward = Once::Until(env.now + env.config.request_deadline);
            // Probes refused before the floor was doomed are no news about it.
            self.slots.iter_mut().for_each(|slot| slot.probe_rejected = false);
        }
        let given = Given { config: env.config, spare: None, now: env.now, conn: None, has_fresh };
        if self.choose_upward(given) != Choice::Nothing {
            return false;
        }
        self.give_up(|c| &mut c.rotations_unknown, env);
        true
    }

    /// The server refuses the floor although all before it are committed.
    fn settle_broken(&mut self, env: &mut Env<'_>) -> bool {
        let undecided = |s: &Slot| s.ambiguous && !s.probe_rejected && s.doomed.is_none();
        let probing = !env.config.breaks(Mutation::NoProbe) && self.rest().any(undecided);
        if probing || self.opens().next().is_some() {
            return false;
        }
        if self.slots.iter().any(|slot| slot.ambiguous) {
            match self.confirm {
                Once::NotYet => {
                    self.confirm = Once::Until(env.now + env.config.request_deadline);
                    self.refresh(env, RefreshReason::Confirm);
                    return false;
                }
                Once::Until(_) => return false,
                Once::Over => {}
            }
        }
        env.sink.counters.fired.rule(11);
        self.give_up(|c| &mut c.rotations_broken, env);
        true
    }

    /// Ends the session with whatever is known about its batches.
    fn give_up(&mut self, counter: fn(&mut Counters) -> &mut u64, env: &mut Env<'_>) {
        let mut back: Vec<Held> = Vec::with_capacity(self.slots.len());
        for slot in std::mem::take(&mut self.slots) {
            if slot.ambiguous && !env.config.breaks(Mutation::RestampAmbiguous) {
                env.finish_unknown(slot.held, slot.doomed);
            } else if slot.doomed.is_some() {
                env.finish_not_written(slot.held, slot.doomed);
            } else {
                back.push(slot.held);
            }
        }
        self.take_back(back, env);
        self.end_session(counter, env);
        self.unlearn_id(env);
    }

    fn rest(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().skip(1)
    }
}
