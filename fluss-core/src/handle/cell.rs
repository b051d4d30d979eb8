//! One batch's outcome, shared by its tickets.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use super::shared::Shared;
use super::signal::lock;
use super::writer::FailureSlot;
use crate::output::BatchOutcome;

/// What failed in a writer since its last flush.
#[derive(Debug, Default)]
pub(crate) struct Failures(pub(super) FailureSlot);

#[derive(Debug)]
enum State {
    Pending(Vec<Waker>),
    Done(BatchOutcome),
}

/// Where the outcome of a batch appears.
#[derive(Debug)]
pub struct BatchCell {
    state: Mutex<State>,
    /// Rows in the batch; set when it is sealed.
    rows: AtomicU32,
    /// The numbers of its first and last row among those of its lane.
    first: AtomicU64,
    last: AtomicU64,
    shared: Arc<Shared>,
    failures: Arc<Failures>,
}

impl BatchCell {
    pub(crate) fn new(shared: Arc<Shared>, failures: Arc<Failures>, first: u64) -> Self {
        Self {
            state: Mutex::new(State::Pending(Vec::new())),
            rows: AtomicU32::new(0),
            first: AtomicU64::new(first),
            last: AtomicU64::new(first),
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

    /// Notes what is in the batch, when it is sealed.
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
    pub(crate) fn complete(&self, outcome: BatchOutcome, wakers: &mut Vec<Waker>) {
        let mut state = lock(&self.state);
        if let State::Pending(waiting) = &mut *state {
            wakers.append(waiting);
            if let BatchOutcome::Failed(error) = &outcome {
                self.failed(error);
            }
            *state = State::Done(outcome);
        }
    }

    /// The outcome, if it is there.
    pub(crate) fn peek(&self) -> Option<BatchOutcome> {
        match &*lock(&self.state) {
            State::Done(outcome) => Some(outcome.clone()),
            State::Pending(_) => None,
        }
    }

    /// The outcome, or a wake-up when it comes.
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<BatchOutcome> {
        match &mut *lock(&self.state) {
            State::Done(outcome) => Poll::Ready(outcome.clone()),
            State::Pending(waiting) => {
                if !waiting.iter().any(|w| w.will_wake(waker)) {
                    waiting.push(waker.clone());
                }
                Poll::Pending
            }
        }
    }
}
