//! What a caller holds for rows it handed in.

mod run;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

pub use run::{RunFailures, RunPart, RunTicket};

use super::cell::{BatchCell, Place, Settled};
use crate::error::{Attempt, WriteError};
use crate::ids::PartitionId;
use crate::output::BatchOutcome;
use crate::time::Duration;

/// Where a row is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Ack {
    /// The partition, for partitioned tables.
    pub partition: Option<PartitionId>,
    /// The bucket.
    pub bucket: i32,
    /// The row's offset in the bucket's log. None for upserts and deletes, and where the commit was
    /// inferred from a later answer.
    pub offset: Option<i64>,
    /// For upserts and deletes: the exclusive end of the row's batch in the changelog. The row's
    /// own record lies below it.
    pub log_end_offset: Option<i64>,
    /// True where no answer of its own proved the commit; the row is in the log all the same.
    pub inferred: bool,
    attempts: Option<Arc<[Attempt]>>,
}

impl Ack {
    /// The copies of the row's batch that did not end in success before it was known to be written,
    /// oldest first; the last 8 of them. Empty where the first copy was acknowledged.
    ///
    /// ```no_run
    /// # async fn f(ticket: fluss_core::Ticket) -> Result<(), fluss_core::WriteError> {
    /// let ack = ticket.await?;
    /// for attempt in ack.attempts() {
    ///     println!("bucket {}, {attempt}", ack.bucket);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        self.attempts.as_deref().unwrap_or_default()
    }

    /// That of the row so many rows behind this one in its batch.
    #[inline]
    fn behind(self, rows: u32) -> Self {
        Self { offset: self.offset.map(|offset| offset + i64::from(rows)), ..self }
    }
}

/// The claim to one row's outcome: await it, or [`Ticket::wait`] for it. Dropping it cancels
/// nothing.
///
/// It costs no allocation: a reference to the batch and the row's index in it.
#[derive(Debug)]
#[must_use = "the row is on its way; without its ticket its outcome is only known to flush"]
pub struct Ticket {
    cell: Arc<BatchCell>,
    index: u32,
    place: Place,
}

impl Ticket {
    pub(crate) fn new(cell: Arc<BatchCell>, index: u32) -> Self {
        Self { cell, index, place: Place::default() }
    }

    pub(crate) fn into_parts(self) -> (Arc<BatchCell>, u32) {
        (self.cell, self.index)
    }

    /// The outcome, if it is known already.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<Ack, WriteError>> {
        let (mut cell, mut index) = (Arc::clone(&self.cell), self.index);
        loop {
            match cell.peek(index)? {
                Settled::Done(outcome) => return Some(ack(&outcome, index)),
                Settled::Moved(to, at) => (cell, index) = (to, at),
            }
        }
    }

    /// Blocks this thread until the outcome is known: at most the writer's delivery timeout and the
    /// request deadline.
    ///
    /// # Errors
    /// [`WriteError`]: the row is not written, or nobody can tell.
    pub fn wait(self) -> Result<Ack, WriteError> {
        let shared = Arc::clone(self.cell.shared());
        shared.block_on(self).unwrap_or_else(|e| Err(WriteError::OutcomeUnknown(e.into())))
    }

    /// Blocks at most this long; the ticket comes back if the outcome is not known by then.
    ///
    /// # Errors
    /// The ticket, to wait again.
    pub fn wait_timeout(mut self, limit: Duration) -> Result<Result<Ack, WriteError>, Self> {
        let shared = Arc::clone(self.cell.shared());
        match shared.block_for(&mut self, limit) {
            Ok(outcome) => outcome.ok_or(self),
            Err(error) => Ok(Err(WriteError::OutcomeUnknown(error.into()))),
        }
    }
}

impl Future for Ticket {
    type Output = Result<Ack, WriteError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { cell, index, place } = &mut *self;
        loop {
            match cell.poll(place, *index, cx.waker()) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Settled::Done(outcome)) => return Poll::Ready(ack(&outcome, *index)),
                Poll::Ready(Settled::Moved(to, at)) => {
                    (*cell, *index, *place) = (to, at, Place::default());
                }
            }
        }
    }
}

fn ack(outcome: &BatchOutcome, index: u32) -> Result<Ack, WriteError> {
    match outcome {
        BatchOutcome::Written(w) => Ok(Ack {
            partition: w.bucket.partition,
            bucket: w.bucket.bucket,
            offset: w.base_offset.map(|base| base + i64::from(index)),
            log_end_offset: w.log_end_offset,
            inferred: w.inferred,
            attempts: w.attempts.clone(),
        }),
        BatchOutcome::Failed(error) => Err(error.clone()),
    }
}
