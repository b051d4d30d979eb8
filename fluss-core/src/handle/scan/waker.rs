//! Waking a reader from another thread.

use std::sync::{Arc, Mutex};
use std::task::Waker;

use crate::handle::signal::lock;

#[derive(Debug, Default)]
struct Cell {
    woken: bool,
    /// Who waits for a batch.
    waiting: Option<Waker>,
}

/// Ends a wait for the next batch from another thread or task; made by
/// [`LogScanner::waker`](super::LogScanner::waker).
///
/// ```no_run
/// # fn example(mut scanner: fluss_core::LogScanner) -> fluss_core::Result<()> {
/// let waker = scanner.waker();
/// std::thread::spawn(move || waker.wake());
/// while let Some(batch) = scanner.next_batch().wait()? {
///     println!("{} rows", batch.num_rows());
/// }
/// // Woken. The next call goes on where this one was.
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ScanWaker(Arc<Mutex<Cell>>);

impl ScanWaker {
    /// Makes the present wait for a batch end without one, or else the next one. Several wakes
    /// before it count once. Nothing is lost: what was fetched is handed out by the calls after.
    pub fn wake(&self) {
        let waiting = {
            let mut cell = lock(&self.0);
            cell.woken = true;
            cell.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Whether it was woken since the last call.
    pub(super) fn take(&self) -> bool {
        std::mem::take(&mut lock(&self.0).woken)
    }

    /// Registers whom to wake; true if it was woken already.
    pub(super) fn watch(&self, waker: &Waker) -> bool {
        let mut cell = lock(&self.0);
        if !cell.woken && !cell.waiting.as_ref().is_some_and(|w| w.will_wake(waker)) {
            cell.waiting = Some(waker.clone());
        }
        std::mem::take(&mut cell.woken)
    }
}
