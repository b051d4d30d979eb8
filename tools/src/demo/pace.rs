//! How far the threads that write may run ahead of the one that does harm.
//!
//! Without it a busy machine decides how much of the plan a tenth of the run sees: while the thread
//! that watches waits for a processor, the others could write that tenth to its end in peace.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Rows handed in by all threads together, and how many there may be by now.
#[derive(Debug, Default)]
pub(super) struct Pace {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    handed: u64,
    allowed: u64,
    stopped: bool,
}

impl Pace {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere has its own report.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the threads hand in so many rows, in all.
    pub(super) fn allow(&self, rows: u64) {
        let mut state = self.lock();
        if rows > state.allowed {
            state.allowed = rows;
            self.wake.notify_all();
        }
    }

    /// Ends the work of all threads.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.wake.notify_all();
    }

    /// Waits until `rows` more may be handed in; false if the work is to end.
    pub(super) fn take(&self, rows: u64) -> bool {
        let mut state = self.lock();
        while !state.stopped && state.handed + rows > state.allowed {
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.handed += rows;
        !state.stopped
    }
}
