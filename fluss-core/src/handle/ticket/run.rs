//! What a caller holds for a run of rows.
//!
//! Neighbours of a run mostly go to different buckets where a key places them. So what is kept of a
//! row is one number at most: that of its source, which is a batch from one index on. Which of the
//! source's rows it is, follows from their order.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{Ack, ack};
use crate::error::{Error, WriteError};
use crate::handle::cell::{BatchCell, Place, Settled};

/// Consecutive rows of a run that share an outcome.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RunPart {
    /// Their positions in the run.
    pub rows: Range<u64>,
    /// Where they are: the [`Ack`] of the first; the following rows have the following offsets.
    pub outcome: Result<Ack, WriteError>,
}

/// The number of a source that there is not.
const NONE: u32 = u32::MAX;

/// Rows that are in a batch one behind the other: so many, from this index on.
#[derive(Debug)]
struct InBatch {
    cell: Arc<BatchCell>,
    first: u32,
    count: u32,
}

/// What became of rows in a batch. Some of them were told: so many.
#[derive(Debug)]
enum End {
    /// The outcome of the first one.
    Known { outcome: Result<Ack, WriteError>, told: u32 },
    /// The batch was dealt out to others. For each row the number of the source it has now.
    Dealt { to: Vec<u32>, told: usize },
}

/// Sources from here on are refused rows, those before it are batches.
const REFUSED: u32 = 1 << 30;
/// Words from here on say how many more rows the source before has.
const MORE: u32 = 1 << 31;

/// The source of each row: its number, and behind it how many more rows follow of the same one.
#[derive(Debug)]
struct Order {
    words: Vec<u32>,
    /// The last rows, which are no words yet.
    source: u32,
    count: u32,
}

impl Default for Order {
    fn default() -> Self {
        Self { words: Vec::new(), source: NONE, count: 0 }
    }
}

impl Order {
    #[inline]
    fn push(&mut self, source: u32, count: u32) {
        // Batches have fewer rows than `MORE`.
        if source == self.source && count <= MORE - self.count {
            self.count += count;
            return;
        }
        self.end();
        (self.source, self.count) = (source, count);
    }

    #[inline]
    fn end(&mut self) {
        if self.count > 0 {
            self.words.push(self.source);
        }
        if self.count > 1 {
            self.words.push(MORE + (self.count - 1));
        }
    }

    fn into_words(mut self) -> Vec<u32> {
        self.end();
        self.words
    }
}

/// The claim to the outcomes of a run of rows: await it, or [`RunTicket::wait`] for it.
#[derive(Debug, Default)]
#[must_use = "the rows are on their way; without the ticket their outcome is only known to flush"]
pub struct RunTicket {
    order: Order,
    batches: Vec<InBatch>,
    /// What became of the first of them.
    ends: Vec<End>,
    refused: Vec<Error>,
    /// The waker's place in the batch that is waited for.
    place: Place,
}

impl RunTicket {
    /// Notes where the next rows went: `count` of them, the last one at index `last` of this batch,
    /// those before it in front of it. `hint` is the batch's number, if the run has given it one;
    /// whoever has it keeps it for the next rows of the batch.
    #[inline]
    pub(crate) fn push(&mut self, hint: &mut u32, count: u32, cell: &Arc<BatchCell>, last: u32) {
        let first = last + 1 - count;
        match self.batches.get_mut(*hint as usize) {
            Some(batch) if batch.goes_on(cell, first) => batch.count += count,
            _ => *hint = self.number(cell, first, count),
        }
        self.order.push(*hint, count);
    }

    /// Notes where the next row went, which was put by itself.
    pub(crate) fn push_lone(&mut self, cell: &Arc<BatchCell>, index: u32) {
        let mut hint = self.order.source;
        self.push(&mut hint, 1, cell, index);
    }

    /// The number of a batch whose number is not known.
    #[cold]
    fn number(&mut self, cell: &Arc<BatchCell>, first: u32, count: u32) -> u32 {
        // A row that was put by itself has left no hint.
        match self.batches.get_mut(self.order.source as usize) {
            Some(batch) if batch.goes_on(cell, first) => {
                batch.count += count;
                self.order.source
            }
            _ => self.add(InBatch { cell: Arc::clone(cell), first, count }),
        }
    }

    fn add(&mut self, batch: InBatch) -> u32 {
        // There is no memory for `REFUSED` of them.
        let number = self.batches.len() as u32;
        self.batches.push(batch);
        number
    }

    #[cold]
    pub(crate) fn refuse(&mut self, error: Error) {
        self.order.push(REFUSED + self.refused.len() as u32, 1);
        self.refused.push(error);
    }

    /// Blocks until all outcomes are known.
    #[must_use]
    pub fn wait(mut self) -> Vec<RunPart> {
        self.block();
        self.tell(true)
    }

    /// Waits for all outcomes, like the ticket itself, and tells only the rows that are not known
    /// to be written: mostly none. Where a key places the rows, nearly each of them is a part of
    /// its own, and those that are written need not be made.
    ///
    /// ```no_run
    /// # async fn f(writer: fluss_core::UpsertWriter, rows: Vec<(i64, &str)>)
    /// # -> fluss_core::Result<()> {
    /// let run = writer.upsert_all(rows).await?;
    /// for part in run.failures().await {
    ///     println!("{:?}: {:?}", part.rows, part.outcome);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn failures(self) -> RunFailures {
        RunFailures(self)
    }

    /// Blocks until it is known what became of all batches, or will never be.
    fn block(&mut self) {
        let Some(batch) = self.batches.first() else { return };
        let shared = Arc::clone(batch.cell.shared());
        if let Err(error) = shared.block_on(poll_fn(|cx| self.poll_ends(cx))) {
            let outcome = Err(WriteError::OutcomeUnknown(error.into()));
            let untold = || End::Known { outcome: outcome.clone(), told: 0 };
            self.ends.resize_with(self.batches.len(), untold);
        }
    }

    /// Waits until it is known what became of all batches.
    fn poll_ends(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(InBatch { cell, first, count }) = self.batches.get(self.ends.len()) {
            let end = match cell.poll(&mut self.place, *first, cx.waker()) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Settled::Done(outcome)) => {
                    End::Known { outcome: ack(&outcome, *first), told: 0 }
                }
                Poll::Ready(Settled::Moved(..)) => {
                    let (cell, indexes) = (Arc::clone(cell), *first..*first + *count);
                    self.follow(&cell, indexes)
                }
            };
            self.ends.push(end);
            self.place = Place::default();
        }
        Poll::Ready(())
    }

    /// Finds the rows of a batch that was dealt out to others.
    #[cold]
    fn follow(&mut self, cell: &BatchCell, indexes: Range<u32>) -> End {
        let mut numbers: HashMap<*const BatchCell, u32> = HashMap::new();
        let to = indexes.map(|index| {
            let Some(Settled::Moved(now, at)) = cell.peek(index) else {
                self.refused.push(Error::Closed("writer"));
                return REFUSED + (self.refused.len() as u32 - 1);
            };
            let number = numbers.entry(Arc::as_ptr(&now)).or_insert(NONE);
            match self.batches.get_mut(*number as usize) {
                Some(batch) if batch.goes_on(&now, at) => batch.count += 1,
                _ => *number = self.add(InBatch { cell: now, first: at, count: 1 }),
            }
            *number
        });
        End::Dealt { to: to.collect(), told: 0 }
    }

    /// Where the next rows of a source are, and how many of `count` are there.
    fn leaf(&mut self, mut number: u32, mut count: u32) -> (u32, u32) {
        while let Some(End::Dealt { to, told }) = self.ends.get_mut(number as usize) {
            // They have later numbers than the batch that was dealt out.
            let Some(now) = to.get(*told).copied().filter(|now| *now > number) else { break };
            *told += 1;
            (number, count) = (now, 1);
        }
        (number, count)
    }

    /// The outcome of the next rows of a source, so many, of which the first is told.
    fn outcome(&mut self, number: u32, count: u32) -> Result<Ack, WriteError> {
        if let Some(error) =
            number.checked_sub(REFUSED).and_then(|at| self.refused.get(at as usize))
        {
            return Err(WriteError::NotWritten(error.clone().into()));
        }
        match self.ends.get_mut(number as usize) {
            Some(End::Known { outcome, told }) => {
                let before = *told;
                *told += count;
                outcome.clone().map(|first| first.behind(before))
            }
            // What was dealt out was followed, and all that was waited for is known.
            _ => Err(WriteError::OutcomeUnknown(Error::Closed("writer").into())),
        }
    }

    /// Whether all rows are known to be written.
    fn is_written(&self) -> bool {
        let failed = |end: &End| matches!(end, End::Known { outcome: Err(_), .. });
        self.refused.is_empty() && !self.ends.iter().any(failed)
    }

    /// The rows with their outcomes, which are known: all of them, or those that are not written.
    fn tell(&mut self, all: bool) -> Vec<RunPart> {
        let words = std::mem::take(&mut self.order).into_words();
        if !all && self.is_written() {
            return Vec::new();
        }
        let mut parts: Vec<RunPart> = Vec::new();
        if all {
            parts.reserve_exact(words.iter().filter(|word| **word < MORE).count());
        }
        let (mut row, mut source, mut before) = (0, NONE, NONE);
        for word in words {
            let mut left = match word.checked_sub(MORE) {
                Some(more) => more,
                None => {
                    source = word;
                    1
                }
            };
            while left > 0 {
                let (number, count) = self.leaf(source, left);
                let rows = row..row + u64::from(count);
                (row, left) = (rows.end, left - count);
                let outcome = self.outcome(number, count);
                match parts.last_mut() {
                    Some(part) if number == before && part.rows.end == rows.start => {
                        part.rows.end = row;
                    }
                    _ if all || outcome.is_err() => parts.push(RunPart { rows, outcome }),
                    _ => {}
                }
                before = number;
            }
        }
        parts
    }
}

impl InBatch {
    /// Whether the row at this index of this batch is the next one.
    #[inline]
    fn goes_on(&self, cell: &Arc<BatchCell>, index: u32) -> bool {
        Arc::ptr_eq(&self.cell, cell) && self.first + self.count == index
    }
}

impl Future for RunTicket {
    /// All rows of the run in order, in as few parts as their outcomes allow.
    type Output = Vec<RunPart>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_ends(cx).map(|()| self.tell(true))
    }
}

/// The claim to what failed of a run; see [`RunTicket::failures`].
#[derive(Debug)]
#[must_use = "nothing is told until this is awaited or waited for"]
pub struct RunFailures(RunTicket);

impl RunFailures {
    /// Blocks until all outcomes are known.
    #[must_use]
    pub fn wait(self) -> Vec<RunPart> {
        let Self(mut run) = self;
        run.block();
        run.tell(false)
    }
}

impl Future for RunFailures {
    /// The rows in order that are not known to be written.
    type Output = Vec<RunPart>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self(run) = &mut *self;
        run.poll_ends(cx).map(|()| run.tell(false))
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
