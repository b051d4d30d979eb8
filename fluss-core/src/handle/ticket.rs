//! What a caller holds for rows it handed in.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::cell::{BatchCell, Place, Settled};
use crate::error::{Attempt, Error, WriteError};
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

/// Consecutive rows of a run that share an outcome.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RunPart {
    /// Their positions in the run.
    pub rows: Range<u64>,
    /// Where they are: the [`Ack`] of the first; the following rows have the following offsets.
    pub outcome: Result<Ack, WriteError>,
}

#[derive(Debug)]
enum Part {
    Batch { rows: Range<u64>, cell: Arc<BatchCell>, index: u32 },
    Refused { row: u64, error: Error },
}

/// The claim to the outcomes of a run of rows.
#[derive(Debug, Default)]
#[must_use = "the rows are on their way; without the ticket their outcome is only known to flush"]
pub struct RunTicket {
    parts: Vec<Part>,
    next: usize,
    /// The waker's place in the batch of the part that is waited for.
    place: Place,
    done: Vec<RunPart>,
}

impl RunTicket {
    /// Notes where the next rows went: `count` of them from `row` on, the last one at index `last`
    /// of its batch, those before it in front of it.
    pub(crate) fn push(&mut self, row: u64, count: u32, cell: &Arc<BatchCell>, last: u32) {
        let index = last + 1 - count;
        let end = row + u64::from(count);
        if let Some(Part::Batch { rows, cell: same, index: first }) = self.parts.last_mut()
            && Arc::ptr_eq(same, cell)
            && rows.end == row
            && u64::from(*first) + (rows.end - rows.start) == u64::from(index)
        {
            rows.end = end;
            return;
        }
        let cell = Arc::clone(cell);
        self.parts.push(Part::Batch { rows: row..end, cell, index });
    }

    pub(crate) fn refuse(&mut self, row: u64, error: Error) {
        self.parts.push(Part::Refused { row, error });
    }

    /// Blocks until all outcomes are known.
    #[must_use]
    pub fn wait(mut self) -> Vec<RunPart> {
        let shared = self.parts.iter().find_map(|p| match p {
            Part::Batch { cell, .. } => Some(Arc::clone(cell.shared())),
            Part::Refused { .. } => None,
        });
        let untold = match shared.map(|shared| shared.block_on(&mut self)) {
            Some(Ok(parts)) => return parts,
            Some(Err(error)) => error,
            // Not one row was taken, so there is nothing to wait for.
            None => Error::Closed("client"),
        };
        let rest = self.parts[self.next..].iter().map(|part| part.untold(&untold));
        self.done.into_iter().chain(rest).collect()
    }
}

impl Part {
    /// The part if no outcome can be learnt any more.
    fn untold(&self, why: &Error) -> RunPart {
        match self {
            Self::Refused { row, error } => refused(*row, error),
            Self::Batch { rows, .. } => {
                let outcome = Err(WriteError::OutcomeUnknown(why.clone().into()));
                RunPart { rows: rows.clone(), outcome }
            }
        }
    }
}

/// Where the rows of a part are whose batch was dealt out to others.
fn follow(rows: Range<u64>, cell: &BatchCell, index: u32) -> Vec<Part> {
    let mut moved = RunTicket::default();
    for (row, index) in rows.zip(index..) {
        match cell.peek(index) {
            Some(Settled::Moved(to, at)) => moved.push(row, 1, &to, at),
            _ => moved.refuse(row, Error::Closed("writer")),
        }
    }
    moved.parts
}

fn refused(row: u64, error: &Error) -> RunPart {
    let outcome = Err(WriteError::NotWritten(error.clone().into()));
    RunPart { rows: row..row + 1, outcome }
}

impl Future for RunTicket {
    /// All rows of the run in order, in as few parts as their outcomes allow.
    type Output = Vec<RunPart>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        while let Some(part) = this.parts.get(this.next) {
            let part = match part {
                Part::Batch { rows, cell, index } => {
                    match cell.poll(&mut this.place, *index, cx.waker()) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Settled::Done(outcome)) => {
                            RunPart { rows: rows.clone(), outcome: ack(&outcome, *index) }
                        }
                        Poll::Ready(Settled::Moved(..)) => {
                            let moved = follow(rows.clone(), cell, *index);
                            this.parts.splice(this.next..=this.next, moved);
                            this.place = Place::default();
                            continue;
                        }
                    }
                }
                Part::Refused { row, error } => refused(*row, error),
            };
            this.done.push(part);
            this.next += 1;
            this.place = Place::default();
        }
        Poll::Ready(std::mem::take(&mut this.done))
    }
}
