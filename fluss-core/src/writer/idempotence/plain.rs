//! Without idempotence: batches carry no stamp, retries may double or reorder rows.
//!
//! With `max_in_flight` 1 a bucket has one copy open and a retry goes before anything else, so the
//! order is kept. A batch whose outcome is open when its retries or its time run out is reported as
//! such, at once: there is nothing that could tell.

use super::answer::Read;
use super::pick::{Choice, Given};
use super::session::{Bucket, Doom};
use super::{Env, Kind, Token};
use crate::writer::retry::{Class, Verdict, View, verdict};

pub(super) fn choose(bucket: &Bucket, given: Given<'_>) -> Choice {
    let limit = given.config.max_in_flight.max(1);
    if bucket.opens().count() >= limit {
        return Choice::Nothing;
    }
    let waiting = bucket.slots.iter().position(|s| s.open.is_none());
    match waiting {
        Some(i) => Choice::Send(i, Kind::Normal),
        None if bucket.has_queued(given.has_fresh) => Choice::Stamp(Kind::Normal),
        None => Choice::Nothing,
    }
}

pub(super) fn answer(bucket: &mut Bucket, token: Token, read: Read, env: &mut Env<'_>) {
    if let Some(pressure) = read.pressure {
        bucket.throttle(env, pressure * pressure);
    }
    let Some((i, open)) = bucket.open_slot(token, env) else {
        env.sink.counters.orphan_answers += 1;
        return;
    };
    let slot = &mut bucket.slots[i];
    slot.open = None;
    let refused = read.end.is_some();
    if let Some(end) = read.end {
        slot.held.history.push(env.attempt(open.conn, -1, end));
    }
    if let Class::RejectLimited(_) = read.class {
        slot.held.limited = slot.held.limited.saturating_add(1);
    }
    // A sequence that was seen before makes no sense without a stamp: who knows what was seen.
    let seen = read.class == Class::Committed && refused;
    slot.ambiguous |= read.class == Class::Ambiguous || seen;
    let view = View {
        // No stamp, so no answer can confirm what became of earlier copies: none is asked for.
        tries_left: !matches!(read.class, Class::RejectLimited(n) if slot.held.limited >= n),
        retries_left: slot.held.resends < env.config.retries,
        ..View::default()
    };
    if let Some(reason) = read.refresh {
        bucket.refresh(env, reason);
    }
    match (read.class, verdict(read.class, view)) {
        (_, Verdict::Commit) if !seen => {
            let Some(slot) = bucket.slots.remove(i) else { return };
            env.finish(slot.held, read.offsets.outcome());
            bucket.failures.reset();
            bucket.last_activity = env.now;
        }
        (class, Verdict::Retry) => bucket.retry(i, class, env),
        // A refused sequence makes no sense without a stamp; it is an error like any other.
        _ => {
            bucket.slots[i].doomed = Some(Doom::LastAttempt);
            bucket.end_doomed(env);
        }
    }
}

impl Bucket {
    /// Completes the doomed batches; a copy without an answer leaves the outcome open.
    pub(super) fn end_doomed(&mut self, env: &mut Env<'_>) {
        for slot in std::mem::take(&mut self.slots) {
            if slot.doomed.is_none() {
                self.slots.push_back(slot);
            } else if slot.ambiguous || slot.open.is_some() {
                env.finish_unknown(slot.held, slot.doomed);
            } else {
                env.finish_not_written(slot.held, slot.doomed);
            }
        }
    }
}
