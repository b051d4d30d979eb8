//! One batch's outcome, shared by its tickets.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use super::dead_letter::{Delivery, Kept};
use super::flush::Failures;
use super::shared::{Shared, Wake};
use super::signal::{lock, lock_in};
use crate::error::{Error, WriteError};
use crate::output::BatchOutcome;

#[derive(Debug)]
enum State {
    /// Who waits, each at the place that its first poll was given.
    Pending(Vec<Option<Waker>>),
    /// The outcome, and for how many rows a failure was counted.
    Done(BatchOutcome, u32),
    /// The rows were dealt out to these batches; for each row which one, and its index there.
    Moved(Vec<Arc<BatchCell>>, Box<[(u32, u32)]>),
}

/// What became of a row's batch.
#[derive(Debug)]
pub(crate) enum Settled {
    /// Its outcome.
    Done(BatchOutcome),
    /// The row is in another batch now, with this index.
    Moved(Arc<BatchCell>, u32),
}

/// Where a ticket's waker is among those of its batch.
#[derive(Debug)]
pub(crate) struct Place(u32);

impl Default for Place {
    /// None yet.
    fn default() -> Self {
        Self(u32::MAX)
    }
}

/// Where the outcome of a batch appears.
#[derive(Debug)]
pub(crate) struct BatchCell {
    state: Mutex<State>,
    done: AtomicBool,
    /// Rows in the batch so far.
    rows: AtomicU32,
    /// The numbers of its first and last row among those of its lane.
    first: AtomicU64,
    last: AtomicU64,
    /// Its rows, for whoever wants them if they fail.
    kept: Mutex<Option<Kept>>,
    shared: Arc<Shared>,
    failures: Arc<Failures>,
}

impl State {
    /// What is known of a row's batch; nothing is while it is pending.
    fn settled(&self, index: u32) -> Settled {
        const LOST: Error = Error::Closed("writer");
        match self {
            Self::Done(outcome, _) => Settled::Done(outcome.clone()),
            Self::Moved(cells, places) => {
                let place = places.get(index as usize);
                let moved = place.and_then(|(part, at)| Some((cells.get(*part as usize)?, *at)));
                match moved {
                    Some((cell, at)) => Settled::Moved(Arc::clone(cell), at),
                    // No row of the batch has this number.
                    None => {
                        Settled::Done(BatchOutcome::Failed(WriteError::NotWritten(LOST.into())))
                    }
                }
            }
            Self::Pending(_) => {
                Settled::Done(BatchOutcome::Failed(WriteError::OutcomeUnknown(LOST.into())))
            }
        }
    }
}

impl BatchCell {
    pub(crate) fn new(shared: Arc<Shared>, failures: Arc<Failures>, first: u64) -> Self {
        Self {
            state: Mutex::new(State::Pending(Vec::new())),
            done: AtomicBool::new(false),
            rows: AtomicU32::new(0),
            first: AtomicU64::new(first),
            last: AtomicU64::new(first),
            kept: Mutex::new(None),
            shared,
            failures,
        }
    }

    /// The client it belongs to, whose adapter knows how to block.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn failures(&self) -> &Failures {
        &self.failures
    }

    /// Notes what is in the batch.
    pub(crate) fn set_rows(&self, rows: u32, last: u64) {
        self.rows.store(rows, Ordering::Relaxed);
        self.last.store(last, Ordering::Relaxed);
    }

    pub(crate) fn rows(&self) -> u32 {
        self.rows.load(Ordering::Relaxed)
    }

    pub(crate) fn between(&self) -> (u64, u64) {
        (self.first.load(Ordering::Relaxed), self.last.load(Ordering::Relaxed))
    }

    /// Stores the outcome; the first one counts. Whoever waits is to be woken after all locks.
    pub(crate) fn complete(&self, outcome: BatchOutcome, wake: &mut Wake) {
        let mut state = lock(&self.state);
        if let State::Pending(waiting) = &mut *state {
            wake.wakers.extend(waiting.drain(..).flatten());
            if let Some(kept) = lock(&self.kept).take() {
                wake.deliveries.push(match &outcome {
                    BatchOutcome::Failed(error) => kept.fail(error),
                    // With it may go what the callback holds, a writer for instance.
                    BatchOutcome::Written(_) => kept.forget(),
                });
            }
            let rows = self.rows();
            if let BatchOutcome::Failed(error) = &outcome {
                self.failed(rows, error);
            }
            *state = State::Done(outcome, rows);
            self.done.store(true, Ordering::Release);
        }
    }

    /// Keeps the rows until the outcome is there.
    pub(super) fn keep(&self, kept: Option<Kept>) {
        if kept.is_some() {
            *lock(&self.kept) = kept;
        }
    }

    /// What is to be told of rows that were kept when the outcome was there already.
    pub(super) fn kept_too_late(&self) -> Option<Delivery> {
        if !self.is_done() {
            return None;
        }
        let kept = lock(&self.kept).take()?;
        match &*lock(&self.state) {
            State::Done(BatchOutcome::Failed(error), _) => Some(kept.fail(error)),
            _ => None,
        }
    }

    /// Says where the rows are now. Whoever waits is to be woken after all locks, and looks there.
    pub(crate) fn move_rows(
        &self,
        cells: Vec<Arc<Self>>,
        places: Box<[(u32, u32)]>,
        wakers: &mut Vec<Waker>,
    ) {
        let mut state = lock(&self.state);
        if let State::Pending(waiting) = &mut *state {
            wakers.extend(waiting.drain(..).flatten());
            *state = State::Moved(cells, places);
            // The other batches keep them.
            *lock(&self.kept) = None;
            self.done.store(true, Ordering::Release);
        }
    }

    /// Whether the outcome is there, or where else it will be.
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Counts the rows that were put into the batch while it was being ended.
    pub(crate) fn count_late_rows(&self) {
        if let State::Done(BatchOutcome::Failed(error), counted) = &mut *lock(&self.state) {
            let rows = self.rows();
            if rows > *counted {
                self.failed(rows - *counted, error);
                *counted = rows;
            }
        }
    }

    /// The child of a fork hears nothing of a batch: it is the parent's.
    #[cold]
    fn forked(&self) -> Settled {
        let error = self.shared.explain(Error::Closed("client"));
        Settled::Done(BatchOutcome::Failed(WriteError::OutcomeUnknown(error.into())))
    }

    /// What became of the batch of this row, if it is known.
    pub(crate) fn peek(&self, index: u32) -> Option<Settled> {
        let Some(state) = lock_in(&self.state, || self.shared.is_foreign()) else {
            return Some(self.forked());
        };
        match &*state {
            State::Pending(_) => None,
            state => Some(state.settled(index)),
        }
    }

    /// What became of the batch of this row, or a wake-up when that is known. Each ticket keeps its
    /// place, so that however many wait for one batch, a poll costs the same, and a new waker takes
    /// the place of the old one.
    pub(crate) fn poll(&self, place: &mut Place, index: u32, waker: &Waker) -> Poll<Settled> {
        // Dropping a waker may run code of the application: not under the lock.
        let mut old = None;
        let Some(mut state) = lock_in(&self.state, || self.shared.is_foreign()) else {
            return Poll::Ready(self.forked());
        };
        match &mut *state {
            state @ (State::Done(..) | State::Moved(..)) => {
                return Poll::Ready(state.settled(index));
            }
            State::Pending(waiting) => match waiting.get_mut(place.0 as usize) {
                Some(Some(known)) if known.will_wake(waker) => return Poll::Pending,
                Some(slot) => old = slot.replace(waker.clone()),
                None => {
                    place.0 = waiting.len() as u32;
                    waiting.push(Some(waker.clone()));
                }
            },
        }
        drop(state);
        drop(old);
        // Asked for with each waker, not with each poll: it costs a system call.
        if self.shared.is_foreign() { Poll::Ready(self.forked()) } else { Poll::Pending }
    }
}
