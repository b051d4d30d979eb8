//! What an answer does.

use std::sync::Arc;

use super::outcome::{AttemptEnd, Outcome};
use super::session::{Bucket, Doom, Held, Late, Open, rejected};
use super::{
    Answer, Env, IdempotenceConfig, IdempotenceManager, Mutation, RefreshReason, Token, plain,
};
use crate::cx::Cx;
use crate::ids::ConnId;
use crate::writer::retry::{Class, Verdict, View, refresh_after, verdict};

/// The offsets of a success.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offsets {
    pub(super) base: Option<i64>,
    pub(super) end: Option<i64>,
}

impl Offsets {
    pub(super) fn outcome(self) -> Outcome {
        Outcome::Written { base_offset: self.base, log_end_offset: self.end, inferred: false }
    }
}

/// An answer, classified.
pub(super) struct Read {
    pub(super) class: Class,
    pub(super) refresh: Option<RefreshReason>,
    pub(super) offsets: Offsets,
    pub(super) pressure: Option<f64>,
    pub(super) end: Option<AttemptEnd>,
}

impl Read {
    fn new(answer: Answer, config: &IdempotenceConfig) -> Self {
        let read = |class, refresh, end| Self {
            class,
            refresh,
            offsets: Offsets::default(),
            pressure: None,
            end,
        };
        match answer {
            Answer::Written { base_offset, log_end_offset, pressure } => Self {
                class: Class::Committed,
                refresh: None,
                offsets: Offsets { base: base_offset, end: log_end_offset },
                pressure: pressure.filter(|p| !p.is_nan()).map(|p| f64::from(p).clamp(0.0, 1.0)),
                end: None,
            },
            Answer::Rejected { code, message } => {
                let end = rejected(code, &Arc::clone(&message));
                read(config.class_of(code), refresh_after(code), Some(end))
            }
            Answer::Lost(error) => {
                read(Class::Ambiguous, Some(RefreshReason::Leader), Some(AttemptEnd::Lost(error)))
            }
            Answer::NotSent(error) => read(Class::NotSent, None, Some(AttemptEnd::NotSent(error))),
        }
    }
}

impl IdempotenceManager {
    /// Takes the answer to a copy. `has_fresh` tells whether the bucket's queue has a batch, which
    /// may be used to find out about one of unknown outcome.
    pub(crate) fn handle_answer(
        &mut self,
        cx: &mut Cx<'_>,
        token: Token,
        answer: Answer,
        has_fresh: bool,
    ) {
        let Some(bucket) = self.buckets.get_mut(&token.bucket) else {
            self.sink.counters.orphan_answers += 1;
            self.sink.counters.fired.rule(5);
            return;
        };
        let mut env = Env {
            config: &self.config,
            sink: &mut self.sink,
            now: cx.now,
            rng: cx.rng,
            key: token.bucket,
        };
        let read = Read::new(answer, env.config);
        if self.config.enabled {
            bucket.answer(token, read, has_fresh, &mut env);
        } else {
            plain::answer(bucket, token, read, &mut env);
        }
        self.spread_wrongly(token.bucket);
        self.rearm(token.bucket);
    }
}

impl Bucket {
    pub(super) fn open_slot(&self, token: Token, env: &Env<'_>) -> Option<(usize, Open)> {
        let by_batch = env.config.breaks(Mutation::AnswerByBatch);
        self.slots.iter().enumerate().find_map(|(i, slot)| {
            let own = |open: &Open| {
                open.serial == token.serial || by_batch && slot.held.batch == token.batch
            };
            let open = slot.open.filter(own)?;
            Some((i, open))
        })
    }

    fn answer(&mut self, token: Token, read: Read, has_fresh: bool, env: &mut Env<'_>) {
        if let Some(pressure) = read.pressure {
            self.throttle(env, pressure * pressure);
        }
        if let Some((i, open)) = self.open_slot(token, env) {
            self.close(i, open, read, env);
        } else if let Some(i) = self.late.iter().position(|late| late.serial == token.serial) {
            let held = self.late.remove(i).held;
            if read.class == Class::Committed {
                env.finish(held, read.offsets.outcome());
            } else {
                env.finish_inferred(held);
            }
        } else {
            self.orphan(token, &read, env);
        }
        self.settle(has_fresh, env);
    }

    /// An answer to a copy that was closed before. Only a success can still matter.
    fn orphan(&mut self, token: Token, read: &Read, env: &mut Env<'_>) {
        env.sink.counters.orphan_answers += 1;
        env.sink.counters.fired.rule(5);
        self.throttle_wrongly(read.class, env);
        if read.class != Class::Committed {
            return;
        }
        let own = self.slots.iter().position(|slot| slot.held.batch == token.batch);
        match own {
            Some(i) if self.stamp(i) == token.stamp => self.commit(i, read.offsets, env),
            // It was stamped anew although a copy of the old stamp could be appended.
            Some(_) => env.sink.counters.invariant_violation += 1,
            None if self.returned.iter().any(|held| held.batch == token.batch) => {
                env.sink.counters.invariant_violation += 1;
            }
            None => {}
        }
    }

    /// Closes a copy and does what its answer demands.
    fn close(&mut self, i: usize, open: Open, read: Read, env: &mut Env<'_>) {
        let sequence = self.stamp(i).sequence;
        let Some(floor) = self.session.map(|s| s.floor) else { return };
        let slot = &mut self.slots[i];
        slot.open = None;
        if let Some(end) = read.end {
            slot.held.history.push(env.attempt(open.conn, sequence, end));
        }
        if let Class::RejectLimited(_) = read.class {
            slot.held.limited = slot.held.limited.saturating_add(1);
        }
        env.sink.counters.fired.rule_if(6, read.class != Class::Committed);
        let view = View {
            doomed: slot.doomed.is_some(),
            ambiguous: slot.ambiguous,
            floor: i == 0,
            sent_at_floor: open.floor_at_send == floor && open.evidence
                || env.config.breaks(Mutation::StaleIsGenuine),
            probe: open.probe,
            confirms_left: slot.fatal_answers < env.config.fatal_confirm,
            tries_left: !matches!(read.class, Class::RejectLimited(n) if slot.held.limited >= n),
            retries_left: slot.held.resends < env.config.retries,
        };
        if read.class == Class::Ambiguous {
            slot.ambiguous = true;
            slot.probe_rejected = false;
        }
        if let Some(reason) = read.refresh {
            self.refresh(env, reason);
        }
        match verdict(read.class, view) {
            Verdict::Commit => self.commit(i, read.offsets, env),
            Verdict::Close => {}
            Verdict::Resend => {
                env.sink.counters.stale_refusals += u64::from(i == 0);
                let fired = &mut env.sink.counters.fired;
                fired.rule_if(9, i == 0);
                // It was sent in this generation already: the gate holds it back now.
                fired.rule_if(8, i > 0 && self.slots[i].sent_in_gen);
                self.resend(i, env);
            }
            Verdict::Genuine => self.refused(open.conn, env),
            Verdict::ProbeRejected => {
                let old = env.config.breaks(Mutation::AcceptOldProbeAnswers);
                self.slots[i].probe_rejected = open.evidence || old;
                self.resend(i, env);
            }
            Verdict::Retry if env.config.breaks(Mutation::ShiftOnRetry) => self.shift_out(i),
            Verdict::Retry => self.retry(i, read.class, env),
            Verdict::Confirm => {
                env.sink.counters.fired.rule(14);
                self.slots[i].fatal_answers += 1;
                self.slots[i].needs_send = true;
                env.sink.counters.resends_confirm += 1;
                self.back_off(env);
            }
            Verdict::Fail | Verdict::GiveUp => self.doom(i, Doom::LastAttempt),
        }
    }

    fn resend(&mut self, i: usize, env: &mut Env<'_>) {
        env.sink.counters.resends_sequence += 1;
        self.slots[i].needs_send = true;
    }

    /// The floor was refused although all before it are committed: from now on only answers to
    /// later probes count.
    fn refused(&mut self, conn: ConnId, env: &mut Env<'_>) {
        env.sink.counters.genuine_refusals += 1;
        env.sink.counters.fired.rule(9);
        self.genuine = Some(conn);
        self.slots[0].needs_send = true;
        for slot in &mut self.slots {
            slot.probe_rejected = false;
            if let Some(open) = &mut slot.open {
                open.evidence = false;
            }
        }
    }

    pub(super) fn retry(&mut self, i: usize, class: Class, env: &mut Env<'_>) {
        let slot = &mut self.slots[i];
        slot.needs_send = true;
        if class == Class::Ambiguous {
            env.sink.counters.resends_ambiguous += 1;
        } else {
            env.sink.counters.resends_transient += 1;
        }
        if class != Class::NotSent {
            slot.held.resends = slot.held.resends.saturating_add(1);
        }
        match class {
            Class::RejectThrottled => self.throttle(env, 1.0),
            // What never left was not refused by anybody; the next connection may take it at once.
            Class::NotSent => {}
            _ => self.back_off(env),
        }
    }

    /// No further copy of this slot's batch will be sent.
    pub(super) fn doom(&mut self, i: usize, doom: Doom) {
        self.slots[i].doomed = Some(doom);
        self.slots[i].needs_send = false;
        if i == 0 {
            self.genuine = None;
        }
    }

    /// Slot `i` is in the log, so all before it are.
    fn commit(&mut self, i: usize, offsets: Offsets, env: &mut Env<'_>) {
        let Some(session) = &mut self.session else { return };
        let all = env.config.breaks(Mutation::CommitAll);
        let i = if all { self.slots.len() - 1 } else { i };
        session.floor += i as i64 + 1;
        env.sink.counters.fired.rule_if(4, i > 0);
        for k in 0..=i {
            let Some(slot) = self.slots.pop_front() else { break };
            if k == i {
                env.finish(slot.held, offsets.outcome());
                continue;
            }
            match slot.open {
                Some(_) if env.config.breaks(Mutation::ForgetLate) => {}
                Some(open) if env.config.waits_for_offset() => {
                    self.late.push(Late { held: slot.held, serial: open.serial });
                }
                _ => env.finish_inferred(slot.held),
            }
        }
        for slot in &mut self.slots {
            slot.sent_in_gen = false;
            slot.probe_rejected = false;
        }
        self.forget_window();
        self.failures.reset();
        self.rotations.reset();
        self.last_activity = env.now;
    }
}

impl Held {
    /// Whether its deadline has come.
    pub(super) fn is_late(&self, now: crate::time::Instant) -> bool {
        self.deadline <= now
    }
}
