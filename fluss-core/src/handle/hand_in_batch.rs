//! Handing in a record batch: as rows that go in by the column wherever they may go to any bucket.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::append::AppendFormat;
use super::hand_in::{InLine, Interrupted, ROWS_PER_POLL, ends_runs};
use super::lane::{Format, Op, Pushed, Run};
use super::ticket::RunTicket;
use super::writer::WriterCore;
use crate::batch::{ArrowRows, Push};
use crate::error::{Error, Result};
use crate::writer::WaiterId;

/// A record batch being appended: await it, or [`AppendBatch::wait`] for it; its output is one
/// ticket for all its rows.
///
/// Dropped before its end, it has handed in the first [`AppendBatch::handed_in`] rows.
#[must_use = "the rows are handed in when this is awaited or waited for"]
pub struct AppendBatch<'a> {
    writer: &'a WriterCore<AppendFormat>,
    /// Err: the batch does not fit the table.
    rows: Result<ArrowRows>,
    line: Option<InLine>,
    ticket: RunTicket,
    taken: usize,
}

impl std::fmt::Debug for AppendBatch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppendBatch").field("handed_in", &self.taken).finish_non_exhaustive()
    }
}

impl<'a> AppendBatch<'a> {
    pub(super) fn new(writer: &'a WriterCore<AppendFormat>, rows: Result<ArrowRows>) -> Self {
        Self { writer, rows, line: None, ticket: RunTicket::default(), taken: 0 }
    }

    /// Rows that were handed in so far, those that did not fit the table included.
    #[must_use]
    pub fn handed_in(&self) -> u64 {
        self.taken as u64
    }

    /// Blocks this thread until all rows are handed in.
    ///
    /// # Errors
    /// [`Interrupted`] with [`Error::Misuse`], and no row handed in, if the batch does not fit the
    /// table, or with [`Error::Closed`] if the client was closed meanwhile.
    pub fn wait(mut self) -> Result<RunTicket, Interrupted> {
        let shared = Arc::clone(self.writer.shared());
        match shared.block_on(&mut self) {
            Ok(result) => result,
            Err(error) => Err(self.interrupt(error)),
        }
    }

    fn interrupt(&mut self, error: Error) -> Interrupted {
        let ticket = Box::new(std::mem::take(&mut self.ticket));
        Interrupted { error, handed_in: self.taken as u64, ticket }
    }

    /// Puts rows until one must wait for memory, or enough were put for one poll. True at the end.
    fn run(&mut self) -> Result<bool> {
        let Self { writer, rows, line, ticket, taken } = self;
        let rows = rows.as_mut().map_err(|error| error.clone())?;
        let run = loop {
            let run = writer.lane().run();
            if writer.next.get().is_none() {
                break run;
            }
            drop(run);
            // The handle has got columns since the call, or since the last poll.
            *writer = writer.newest();
            *rows = rows.with_nulls(writer.table().info().schema().columns().len());
        };
        Self::put_rows(writer, run, rows, line, ticket, taken)
    }

    fn put_rows(
        writer: &WriterCore<AppendFormat>,
        mut run: Run<'_, AppendFormat>,
        rows: &ArrowRows,
        line: &mut Option<InLine>,
        ticket: &mut RunTicket,
        taken: &mut usize,
    ) -> Result<bool> {
        let until = taken.saturating_add(ROWS_PER_POLL as usize).min(rows.len());
        while *taken < until {
            let place = line.take();
            let granted = place.as_ref().map(|place| place.waiter);
            let put = writer.format().put_columns(&mut run, rows, *taken, granted);
            if let (Ok(_), Some(place)) = (&put, place) {
                place.use_up();
            }
            match put {
                Ok((Pushed::In(at, last), count)) => {
                    run.note(at, count as u32, last, ticket)?;
                    *taken += count;
                }
                Ok((Pushed::Wait(waiter), _)) => {
                    *line = Some(InLine::new(writer.shared(), waiter));
                    return Ok(false);
                }
                // Whoever routes rows does not give up there.
                Ok((Pushed::Rebucketed, _)) => return Err(Error::Closed("writer")),
                Err(error) if ends_runs(&error) => return Err(error),
                Err(error) => {
                    let error = match rows.without_bad(*taken) {
                        Some(row) => run.refuse(Op::Append, &row, error),
                        None => error,
                    };
                    run.count_refused(&error);
                    ticket.refuse(error);
                    *taken += 1;
                }
            }
        }
        Ok(*taken == rows.len())
    }
}

impl AppendFormat {
    /// Puts rows of a record batch from `from` on, at least one; how many, and where
    /// the last one is.
    fn put_columns(
        &self,
        run: &mut Run<'_, Self>,
        rows: &ArrowRows,
        from: usize,
        granted: Option<WaiterId>,
    ) -> Result<(Pushed, usize)> {
        let Some(row) = rows.row(from) else { return Err(Error::Closed("batch")) };
        let Some(target) = self.target_of_all() else {
            // Each row has a bucket of its own.
            return Ok((self.put(run, Op::Append, &row, granted)?, 1));
        };
        let mut count = 0;
        let (_, mut batches) = run.parts()?;
        let pushed = batches.push(target, 0, granted, |batch| {
            count = batch.extend(rows, from);
            if count > 0 {
                // At most MAX_ROWS, which fits.
                return Ok(Push::Pushed(batch.len() as u32 - 1));
            }
            count = 1;
            if batch.wanted().is_some() {
                // More memory first, then as many rows as it is for.
                return Ok(Push::Full);
            }
            if batch.is_full_for(rows, from) {
                return Ok(Push::Full);
            }
            batch.try_push(&row)
        })?;
        Ok((pushed, count))
    }
}

impl Future for AppendBatch<'_> {
    type Output = Result<RunTicket, Interrupted>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(place) = &this.line
            && place.poll_granted(cx).is_pending()
        {
            return Poll::Pending;
        }
        match this.run() {
            Ok(true) => Poll::Ready(Ok(std::mem::take(&mut this.ticket))),
            Ok(false) => {
                // In line, or other tasks are to have a turn.
                match &this.line {
                    Some(place) if place.poll_granted(cx).is_pending() => {}
                    _ => cx.waker().wake_by_ref(),
                }
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(this.interrupt(error))),
        }
    }
}
