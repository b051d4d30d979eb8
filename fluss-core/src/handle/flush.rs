//! Flushes, and what failed since the one before.
//!
//! A flush is about the rows of all handles of a writer, so each handle has to hear of every
//! failure, whoever handed the rows in and whoever flushed meanwhile. What fails is rare: it is
//! noted for each handle. A flush tells what no other of its handle has told, and what others have
//! told since it began.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use super::cell::BatchCell;
use super::pending::CommandFuture;
use super::shared::Shared;
use super::signal::lock_in;
use crate::error::{Error, Result, WriteError};

/// How many batches of failed rows are named.
const NAMED: usize = 32;

/// Rows that did not get an `Ok` between two flushes of a handle. Those of a run or of a record
/// batch that did not fit the table are among them; a row that was handed in by itself is not, as
/// it was refused there and then.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "{not_written} rows not written, {unknown} rows with an unknown outcome{}",
    .first.first().map(|f| format!("; first: {}", f.error)).into_iter()
        .chain(.stopped.as_ref().map(|e| format!("; nothing was waited for: {e}")))
        .collect::<String>()
)]
#[non_exhaustive]
pub struct FlushError {
    /// Set where nothing was waited for, so that the numbers say nothing: in the child of a fork,
    /// and within a row or an iterator of rows that is being handed in through the same handle.
    pub stopped: Option<Error>,
    /// Rows that are not in the log and never will be.
    pub not_written: u64,
    /// Rows of which nobody can tell.
    pub unknown: u64,
    /// The batches of the first failed rows, at most 32.
    pub first: Vec<FailedRows>,
}

/// The rows of a failed batch.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FailedRows {
    /// Their number.
    pub rows: u64,
    /// They are among the rows with these numbers, counted from 0 as they were handed in through
    /// one handle, refused rows of a run included: the batch's first and last row.
    pub between: (u64, u64),
    /// Why.
    pub error: WriteError,
}

/// A flush on its way: await it, or [`Flush::wait`] for it. Dropping it cancels nothing, and what
/// it would have told, the next one of the same handle does.
#[must_use = "awaiting it tells whether all rows made it"]
pub struct Flush {
    /// Err: nothing can be waited for.
    future: Result<CommandFuture>,
    told: Told,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Flush {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flush").finish_non_exhaustive()
    }
}

impl Flush {
    pub(super) fn new(future: Result<CommandFuture>, told: Told, shared: Arc<Shared>) -> Self {
        Self { future, told, shared }
    }

    /// Blocks this thread until the flush is done.
    ///
    /// # Errors
    /// [`FlushError`] for rows of the writer without an `Ok` since this handle's last flush.
    pub fn wait(self) -> std::result::Result<(), FlushError> {
        let shared = Arc::clone(&self.shared);
        shared.block_on(self).unwrap_or_else(|error| Err(FlushError::stopped(error)))
    }
}

impl Future for Flush {
    type Output = std::result::Result<(), FlushError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = match &mut self.future {
            Ok(future) => future,
            Err(error) => return Poll::Ready(Err(FlushError::stopped(error.clone()))),
        };
        Pin::new(future).poll(cx).map(|done| match done {
            Err(error @ Error::Forked { .. }) => Err(FlushError::stopped(error)),
            // A client that was closed has given all its rows an outcome.
            Ok(_) | Err(_) => self.told.tell().map_or(Ok(()), Err),
        })
    }
}

impl FlushError {
    fn stopped(error: Error) -> Self {
        Self { stopped: Some(error), not_written: 0, unknown: 0, first: Vec::new() }
    }

    fn add(&mut self, other: &Self) {
        self.not_written += other.not_written;
        self.unknown += other.unknown;
        let room = NAMED.saturating_sub(self.first.len());
        self.first.extend(other.first.iter().take(room).cloned());
    }

    fn add_to(known: &mut Option<Self>, other: &Option<Self>) {
        match (known, other) {
            (_, None) => {}
            (Some(known), Some(other)) => known.add(other),
            (known, other) => known.clone_from(other),
        }
    }
}

impl From<FailedRows> for FlushError {
    fn from(failed: FailedRows) -> Self {
        let (not_written, unknown) = match failed.error {
            WriteError::NotWritten(_) => (failed.rows, 0),
            WriteError::OutcomeUnknown(_) => (0, failed.rows),
        };
        Self { stopped: None, not_written, unknown, first: vec![failed] }
    }
}

impl BatchCell {
    pub(crate) fn failed(&self, rows: u32, error: &WriteError) {
        let (rows, between) = (u64::from(rows), self.between());
        self.failures().add(FailedRows { rows, between, error: error.clone() });
    }
}

/// Who hears of what fails in a writer.
#[derive(Debug)]
pub(crate) struct Failures {
    shared: Arc<Shared>,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    next: u64,
    by_handle: BTreeMap<u64, ByHandle>,
}

#[derive(Debug, Default)]
struct ByHandle {
    /// What no flush of it has told so far.
    untold: Option<FlushError>,
    /// Those under way, and what others have told since each of them began.
    flushes: BTreeMap<u64, Option<FlushError>>,
    /// The handle is no more; its flushes may be.
    dropped: bool,
}

impl Failures {
    pub(super) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared, heard: Mutex::default() })
    }

    /// None in the child of a fork, where it may never be free.
    fn lock(&self) -> Option<MutexGuard<'_, Heard>> {
        lock_in(&self.heard, || self.shared.is_foreign())
    }

    /// The row with this number in its handle did not fit, in a run whose other rows go on.
    pub(super) fn refused(&self, number: u64, error: &Error) {
        let error = WriteError::NotWritten(error.clone().into());
        self.add(FailedRows { rows: 1, between: (number, number), error });
    }

    fn add(&self, failed: FailedRows) {
        let failed = Some(FlushError::from(failed));
        let Some(mut heard) = self.lock() else { return };
        for handle in heard.by_handle.values_mut() {
            FlushError::add_to(&mut handle.untold, &failed);
        }
    }
}

impl Heard {
    /// A flush is over. None if it was before.
    fn end(&mut self, handle: u64, flush: u64) -> Option<Option<FlushError>> {
        let by_handle = self.by_handle.get_mut(&handle)?;
        let told = by_handle.flushes.remove(&flush);
        if by_handle.dropped && by_handle.flushes.is_empty() {
            self.by_handle.remove(&handle);
        }
        told
    }
}

/// The place of one handle among those who hear of failures.
#[derive(Debug)]
pub(super) struct Listener {
    failures: Arc<Failures>,
    handle: u64,
}

impl Listener {
    pub(super) fn new(failures: &Arc<Failures>) -> Arc<Self> {
        let handle = failures.lock().map_or(u64::MAX, |mut heard| {
            let handle = heard.next;
            heard.next += 1;
            heard.by_handle.insert(handle, ByHandle::default());
            handle
        });
        Arc::new(Self { failures: Arc::clone(failures), handle })
    }

    /// A flush begins. From here on it hears of whatever is told.
    pub(super) fn flush(&self) -> Told {
        let mut id = u64::MAX;
        if let Some(mut heard) = self.failures.lock() {
            id = heard.next;
            heard.next += 1;
            if let Some(handle) = heard.by_handle.get_mut(&self.handle) {
                handle.flushes.insert(id, None);
            }
        }
        Told { failures: Arc::clone(&self.failures), handle: self.handle, flush: id }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Some(mut heard) = self.failures.lock() else { return };
        let Some(handle) = heard.by_handle.get_mut(&self.handle) else { return };
        handle.dropped = true;
        if handle.flushes.is_empty() {
            heard.by_handle.remove(&self.handle);
        }
    }
}

/// What one flush tells in the end.
#[derive(Debug)]
pub(super) struct Told {
    failures: Arc<Failures>,
    handle: u64,
    flush: u64,
}

impl Told {
    /// The flush is done: all that has failed is told by it.
    fn tell(&self) -> Option<FlushError> {
        let mut heard = self.failures.lock()?;
        let by_handle = heard.by_handle.get_mut(&self.handle)?;
        // A future that is polled after it was ready takes nothing from the others.
        by_handle.flushes.get(&self.flush)?;
        let untold = by_handle.untold.take();
        for told in by_handle.flushes.values_mut() {
            FlushError::add_to(told, &untold);
        }
        heard.end(self.handle, self.flush).flatten()
    }
}

impl Drop for Told {
    /// What it has not told is still to be told by another.
    fn drop(&mut self) {
        if let Some(mut heard) = self.failures.lock() {
            heard.end(self.handle, self.flush);
        }
    }
}
