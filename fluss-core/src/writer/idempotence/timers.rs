//! Time, leadership, and ends that come from outside: deadlines, dropped tables, close.

use super::outcome::Outcome;
use super::session::{Bucket, Doom, Once};
use super::{Env, IdempotenceManager, Mutation, Want};
use crate::cx::Cx;
use crate::error::{Error, WriteError};
use crate::ids::{BatchId, BucketKey, ServerId};
use crate::output::TimerReason;
use crate::time::Instant;

impl IdempotenceManager {
    /// Registers the bucket's next timer. A timer that is too early stays: a stream of batches with
    /// growing deadlines then costs one registration per delivery timeout, not one per batch.
    pub(super) fn rearm(&mut self, key: BucketKey) {
        let Some(bucket) = self.buckets.get_mut(&key) else { return };
        let next = bucket.next_timer(&self.config);
        let keep = match (bucket.timer, next) {
            (Some(old), Some(new)) => old <= new,
            (old, new) => old == new,
        };
        if keep {
            return;
        }
        if let Some(old) = bucket.timer {
            self.timers.remove(&(old, key));
        }
        if let Some(new) = next {
            self.timers.insert((new, key));
        }
        bucket.timer = next;
    }

    /// When `handle_timeout` must be called. Retry waits are not part of it, `can_send` has them.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, TimerReason)> {
        let delivery = self.timers.first().map(|(at, _)| (*at, TimerReason::Delivery));
        let id = self.ids.next_timer().map(|at| (at, TimerReason::Retry));
        match (delivery, id) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Does what is due. `has_fresh` tells whether a bucket's queue has a batch.
    pub(crate) fn handle_timeout(
        &mut self,
        cx: &mut Cx<'_>,
        has_fresh: impl Fn(BucketKey) -> bool,
    ) {
        self.ask_for_id(cx.now);
        // Timers are registered again only afterwards, so that this loop ends whatever they say.
        let mut ran = Vec::new();
        while let Some(&(at, key)) = self.timers.first() {
            if at > cx.now {
                break;
            }
            self.timers.pop_first();
            ran.push(key);
            if let Some(bucket) = self.buckets.get_mut(&key) {
                bucket.timer = None;
                let mut env = Env {
                    config: &self.config,
                    sink: &mut self.sink,
                    now: cx.now,
                    rng: cx.rng,
                    key,
                };
                bucket.expire(has_fresh(key), &mut env);
            }
        }
        for key in ran {
            self.rearm(key);
            self.sink.want(Want::Ready(key));
        }
    }

    /// Whether no batch of this bucket is under way, and no answer outstanding.
    pub(crate) fn is_idle(&self, key: BucketKey) -> bool {
        self.buckets.get(&key).is_none_or(Bucket::is_idle)
    }

    /// The batches of this bucket that were sent before and may be sent again.
    pub(crate) fn unanswered(&self, key: BucketKey) -> impl Iterator<Item = BatchId> + '_ {
        self.buckets.get(&key).into_iter().flat_map(|bucket| {
            let slots = bucket.slots.iter().filter(|slot| slot.open.is_none());
            slots.map(|slot| slot.held.batch).chain(bucket.returned.front().map(|h| h.batch))
        })
    }

    /// Takes the leader of a bucket that has batches as metadata has it, also when it did not
    /// change: before the first `pick`, then after each look. False: older than what is known, to
    /// be ignored.
    pub(crate) fn handle_leader(
        &mut self,
        cx: &mut Cx<'_>,
        key: BucketKey,
        leader: (ServerId, Option<i32>),
        has_fresh: bool,
    ) -> bool {
        if self.closed {
            return false;
        }
        let bucket = self.buckets.entry(key).or_default();
        let mut env =
            Env { config: &self.config, sink: &mut self.sink, now: cx.now, rng: cx.rng, key };
        let accepted = bucket.lead(leader, has_fresh, &mut env);
        if accepted {
            self.rearm(key);
            self.sink.want(Want::Ready(key));
        }
        accepted
    }

    /// The bucket is gone with its table or partition: all its batches are over. Those in its queue
    /// are the queue's to complete.
    pub(crate) fn handle_bucket_gone(&mut self, cx: &mut Cx<'_>, key: BucketKey, error: &Error) {
        self.end_bucket(cx, key, error, self.config.forgets_doubt(self.closed));
    }

    /// Completes all batches of a bucket; those in doubt as such, unless `known`.
    pub(super) fn end_bucket(
        &mut self,
        cx: &mut Cx<'_>,
        key: BucketKey,
        error: &Error,
        known: bool,
    ) {
        let Some(mut bucket) = self.buckets.remove(&key) else { return };
        // It may turn out to be there after all.
        self.ids.forget_used_in(&bucket);
        // After an abort it is the close that ends the batches.
        self.sink.counters.fired.rule_if(21, !self.closed && !bucket.is_idle());
        if let Some(at) = bucket.timer {
            self.timers.remove(&(at, key));
        }
        let mut env =
            Env { config: &self.config, sink: &mut self.sink, now: cx.now, rng: cx.rng, key };
        bucket.end(error, known, &mut env);
    }

    /// Ends everything: close that ran out of time, or abort. Nothing is sent or wanted afterwards;
    /// the batches of the queues are the queues' to complete.
    pub(crate) fn abort(&mut self, cx: &mut Cx<'_>, error: &Error) {
        self.closed = true;
        while let Some(key) = self.buckets.keys().next().copied() {
            self.handle_bucket_gone(cx, key, error);
        }
        self.sink.wants.clear();
    }
}

impl Bucket {
    fn expire(&mut self, has_fresh: bool, env: &mut Env<'_>) {
        let now = env.now;
        let returned = std::mem::take(&mut self.returned);
        for held in returned {
            if held.is_late(now) {
                env.sink.counters.fired.rule(15);
                env.finish_not_written(held, Some(Doom::Deadline));
            } else {
                self.returned.push_back(held);
            }
        }
        let mut late = std::mem::take(&mut self.late);
        late.retain(|late| {
            let over = late.held.is_late(now);
            if over {
                env.finish_inferred(late.held.clone());
            }
            !over
        });
        self.late = late;
        for i in 0..self.slots.len() {
            if self.slots[i].doomed.is_none() && self.slots[i].held.is_late(now) {
                env.sink.counters.fired.rule(15);
                self.doom(i, Doom::Deadline);
            }
        }
        self.confirm.expire(now);
        self.upward.expire(now);
        if self.moved_until.is_some_and(|until| until <= now) {
            self.moved_until = None;
            let mut conns: Vec<_> = self.opens().map(|open| open.conn).collect();
            conns.dedup();
            for conn in conns {
                env.sink.want(Want::CloseConnection { conn, bucket: env.key });
            }
        }
        if env.config.enabled {
            self.settle(has_fresh, env);
        } else {
            self.end_doomed(env);
        }
        self.tell_late(env);
    }

    fn lead(&mut self, new: (ServerId, Option<i32>), has_fresh: bool, env: &mut Env<'_>) -> bool {
        let known = self.leader;
        if let (Some((_, Some(known))), (_, Some(new))) = (known, new)
            && new < known
        {
            env.sink.counters.fired.rule(22);
            return false;
        }
        self.leader = Some(new);
        let moved = known.is_none_or(|known| known != new);
        let elsewhere = known.is_some_and(|known| known.0 != new.0);
        if elsewhere && self.opens().next().is_some() {
            env.sink.counters.fired.rule(22);
            self.moved_until = Some(env.now + env.config.moved_grace);
        }
        if moved && !env.config.breaks(Mutation::FormerLeaderIsEvidence) {
            // What a former leader refused or will refuse says nothing about this one, which may
            // have less of the log, or remember more of it: the floor is asked for first.
            self.genuine = None;
            self.confirm = Once::NotYet;
            for slot in &mut self.slots {
                slot.probe_rejected = false;
                if let Some(open) = &mut slot.open {
                    open.evidence = false;
                }
            }
        } else if let Once::Until(_) = self.confirm {
            self.confirm = Once::Over;
        }
        if env.config.enabled {
            self.settle(has_fresh, env);
        }
        true
    }

    /// Completes everything with this error.
    fn end(&mut self, error: &Error, known: bool, env: &mut Env<'_>) {
        for late in std::mem::take(&mut self.late) {
            env.finish_inferred(late.held);
        }
        for slot in std::mem::take(&mut self.slots) {
            let error = error.clone();
            let outcome = if (slot.open.is_some() || slot.ambiguous) && !known {
                WriteError::OutcomeUnknown(error.into())
            } else {
                WriteError::NotWritten(error.into())
            };
            env.finish(slot.held, Outcome::Failed(outcome));
        }
        for held in std::mem::take(&mut self.returned) {
            env.finish(held, Outcome::Failed(WriteError::NotWritten(error.clone().into())));
        }
    }
}
