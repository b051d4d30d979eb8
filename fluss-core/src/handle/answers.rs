//! Answers to commands, kept until their futures take them.
//!
//! What a lookup found counts against the client's budget as long as it is kept.

use std::collections::BTreeMap;
use std::ops::Range;
use std::task::{Poll, Waker};

use super::shared::{Core, Wake, replace_waker};
use super::signal::lock;
use crate::Metrics;
use crate::error::{Error, Result};
use crate::ids::{ByOwnId, CommandId};
use crate::output::CommandAnswer;
use crate::time::Instant;

/// Answers to commands, under a lock of their own: whoever takes one that has come does not wait
/// for the driver, which has the core's lock while it works on the next ones.
#[derive(Debug, Default)]
pub(super) struct Kept {
    answers: ByOwnId<CommandId, CommandAnswer>,
    /// Of commands that ended without one; apart, as an error is larger.
    errors: ByOwnId<CommandId, Error>,
    /// Bytes of what was taken, of which the core has not heard.
    taken: u64,
    /// Lookups stand in line, perhaps for those bytes.
    in_line: bool,
    /// Answers that were taken since one came.
    streak: usize,
}

/// Who takes so many answers before another one comes gives way once: the driver may share the
/// thread, and servers with nothing to do wait for what it has to send.
const STREAK: usize = 256;

/// What becomes of who looks for an answer that has come.
pub(super) enum Taken {
    /// The answer. True: the core is to hear of it at once.
    Answer(Result<CommandAnswer>, bool),
    /// Others have their turn before it is taken.
    GivesWay,
}

impl Kept {
    /// Takes an answer, if it has come.
    pub(super) fn take(&mut self, command: CommandId) -> Option<Taken> {
        if self.streak >= STREAK && self.has(command) {
            self.streak = 0;
            return Some(Taken::GivesWay);
        }
        let answer = match self.answers.remove(&command) {
            Some(answer) => Ok(answer),
            None => Err(self.errors.remove(&command)?),
        };
        self.streak += 1;
        self.taken += row_bytes(&answer);
        Some(Taken::Answer(answer, self.in_line))
    }

    fn has(&self, command: CommandId) -> bool {
        self.answers.contains_key(&command) || self.errors.contains_key(&command)
    }

    fn forget(&mut self, command: CommandId) {
        let answer = self.answers.remove(&command);
        self.taken += answer.as_ref().map_or(0, CommandAnswer::row_bytes);
        self.errors.remove(&command);
    }
}

fn row_bytes(result: &Result<CommandAnswer>) -> u64 {
    result.as_ref().map_or(0, CommandAnswer::row_bytes)
}

/// One run's key, counted from its first, and its answer.
pub(crate) type RunAnswer = (usize, Result<CommandAnswer>);

/// The part of the budget of answers that those of one run fill before they are taken.
const SHARE: u64 = 16;

/// The answers to lookups that were handed in together.
#[derive(Debug, Default)]
pub(super) struct Run {
    end: u64,
    left: usize,
    ready: Vec<RunAnswer>,
    bytes: u64,
    waker: Option<Waker>,
}

/// Runs by their first id.
pub(super) type Runs = BTreeMap<u64, Run>;

/// Makes room for an answer of a run, if the command belongs to one.
fn run_of(runs: &mut Runs, id: CommandId) -> Option<(usize, &mut Run)> {
    let (first, run) = runs.range_mut(..=id.0).next_back()?;
    (id.0 < run.end).then(|| ((id.0 - first) as usize, run))
}

impl Core {
    /// Gathers the answers to these commands.
    pub(super) fn watch_run(&mut self, ids: &Range<u64>) {
        let left = (ids.end - ids.start) as usize;
        if left > 0 {
            self.runs.insert(ids.start, Run { end: ids.end, left, ..Run::default() });
        }
    }

    /// Takes what has come of a run. Ready: that was the last of it. True: it gives way to others
    /// before that, and is polled again at once.
    pub(super) fn poll_run(
        &mut self,
        first: u64,
        waker: &Waker,
        into: &mut Vec<RunAnswer>,
    ) -> (Poll<()>, bool) {
        let Some(run) = self.runs.get_mut(&first) else { return (Poll::Ready(()), false) };
        if run.left == 0 && self.run_streak >= STREAK {
            self.run_streak = 0;
            return (Poll::Pending, true);
        }
        std::mem::swap(&mut run.ready, into);
        self.run_streak += into.len();
        self.client.take_answer(std::mem::take(&mut run.bytes));
        if run.left == 0 {
            self.runs.remove(&first);
            return (Poll::Ready(()), false);
        }
        replace_waker(&mut run.waker, waker);
        (Poll::Pending, false)
    }

    /// Nobody waits for this run any more.
    pub(super) fn drop_run(&mut self, ids: Range<u64>, now: Instant) {
        if let Some(run) = self.runs.remove(&ids.start) {
            self.client.take_answer(run.bytes);
            self.client.cancel_all(ids, now);
        }
    }

    /// Keeps an answer of a run, and wakes who waits for it when it is the last one, or when those
    /// that were kept take up so much that others may stand in line for their place.
    fn finish_in_run(&mut self, id: CommandId, result: Result<CommandAnswer>, wake: &mut Wake) {
        let bytes = row_bytes(&result);
        let Some((at, run)) = run_of(&mut self.runs, id) else { return };
        self.client.keep_answer(bytes);
        self.run_streak = 0;
        run.ready.push((at, result));
        run.bytes += bytes;
        run.left = run.left.saturating_sub(1);
        if run.left == 0 || run.bytes > self.client.config().lookup_memory_limit / SHARE {
            wake.wakers.extend(run.waker.take());
        }
    }

    pub(crate) fn watch_command(&mut self, command: CommandId) {
        self.commands.insert(command, None);
    }

    /// Registers who waits for a command. False: nobody has to, it has ended.
    pub(super) fn await_command(&mut self, command: CommandId, waker: &Waker) -> bool {
        let slot = self.commands.value_mut(command);
        slot.map(|slot| replace_waker(slot, waker)).is_some()
    }

    /// Nobody waits for this command any more.
    pub(crate) fn drop_command(&mut self, command: CommandId, now: Instant) {
        if self.commands.remove(command).is_some() {
            self.client.cancel(command, now);
        } else {
            lock(&self.kept).forget(command);
            self.serve_lookups(now);
        }
    }

    pub(super) fn finish_command(
        &mut self,
        id: CommandId,
        result: Result<CommandAnswer>,
        wake: &mut Wake,
    ) {
        if let Some(waker) = self.commands.remove(id) {
            self.client.keep_answer(row_bytes(&result));
            wake.wakers.extend(waker);
            match result {
                Ok(answer) => self.finished.push((id, answer)),
                Err(error) => self.failed.push((id, error)),
            }
        } else if !self.runs.is_empty() {
            self.finish_in_run(id, result, wake);
        }
    }

    /// [`Core::finish_command`] of lookups that found something, which stays where it is: it is
    /// moved as a whole, and by [`Core::hand_over`].
    pub(super) fn finish_found(&mut self, wake: &mut Wake) {
        let mut found = std::mem::take(&mut self.finished);
        let mut known = found.len();
        self.client.take_found(&mut found);
        found.retain_mut(|(id, answer)| {
            if known > 0 {
                known -= 1;
                return true;
            }
            if let Some(waker) = self.commands.remove(*id) {
                self.client.keep_answer(answer.row_bytes());
                wake.wakers.extend(waker);
                return true;
            }
            if !self.runs.is_empty() {
                let answer = std::mem::replace(answer, CommandAnswer::Done);
                self.finish_in_run(*id, Ok(answer), wake);
            }
            false
        });
        self.finished = found;
    }

    /// Hands over what has ended, all at once, and hears what was taken. While lookups stand in
    /// line, whoever takes an answer from then on tells it.
    pub(super) fn hand_over(&mut self) {
        let in_line = self.client.has_lookups_in_line();
        let any = !self.finished.is_empty() || !self.failed.is_empty();
        if !any && !in_line && !self.told_of_line {
            return;
        }
        let mut kept = lock(&self.kept);
        if any {
            kept.streak = 0;
        }
        kept.answers.extend(self.finished.drain(..));
        kept.errors.extend(self.failed.drain(..));
        kept.in_line = in_line;
        self.told_of_line = in_line;
        self.client.take_answer(std::mem::take(&mut kept.taken));
    }

    /// Hears what was taken.
    pub(crate) fn count_taken(&mut self) {
        let taken = std::mem::take(&mut lock(&self.kept).taken);
        self.client.take_answer(taken);
    }

    /// What the client counts, of answers those that were not taken.
    pub(crate) fn metrics(&mut self) -> Metrics {
        self.count_taken();
        self.client.metrics()
    }

    /// Sends lookups in line on their way, if there is room without the answers that were taken.
    pub(super) fn serve_lookups(&mut self, now: Instant) {
        self.count_taken();
        self.client.serve_lookups(now);
    }

    /// The client is closed: no answer comes any more.
    pub(super) fn end_commands(&mut self, wake: &mut Wake) {
        while let Some(id) = self.commands.first() {
            self.finish_command(id, Err(Error::Closed("client")), wake);
        }
        for run in self.runs.values_mut() {
            // What has no answer is found to have none.
            run.left = 0;
            wake.wakers.extend(run.waker.take());
        }
    }
}
