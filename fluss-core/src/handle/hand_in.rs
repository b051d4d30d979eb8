//! Handing rows in, as futures: they wait for memory and for nothing else.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::grown::wants_more;
use super::lane::{Format, Many, Op, Progress, Pushed, Run};
use super::shared::Shared;
use super::ticket::{RunTicket, Ticket};
use super::writer::WriterCore;
use crate::error::{Error, Result};
use crate::row::Row;
use crate::time::Duration;
use crate::writer::WaiterId;

/// Rows per hold of the lane's lock: enough to make the lock cheap, few enough that the driver can
/// seal in between.
const RUN: usize = 64;
/// Rows per poll, so that a long run does not keep an executor's thread for itself.
pub(super) const ROWS_PER_POLL: u64 = 64 * RUN as u64;

/// A place in the line for memory; dropping it gives the place, or the granted bytes, back.
pub(super) struct InLine {
    shared: Arc<Shared>,
    pub(super) waiter: WaiterId,
    /// The grant was used.
    used: bool,
}

impl InLine {
    pub(super) fn new(shared: &Arc<Shared>, waiter: WaiterId) -> Self {
        Self { shared: Arc::clone(shared), waiter, used: false }
    }

    /// The grant is part of a batch now.
    pub(super) fn use_up(mut self) {
        self.used = true;
    }

    pub(super) fn poll_granted(&self, cx: &mut Context<'_>) -> Poll<()> {
        let granted = self.shared.with(|core, _| core.poll_memory(self.waiter, cx.waker()));
        if granted { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        if !self.used {
            self.shared.with(|core, now| core.drop_memory(self.waiter, now));
        }
    }
}

/// One attempt to put a row, waiting for memory in between.
fn poll_put<F: Format, R: Row + ?Sized>(
    writer: &WriterCore<F>,
    op: Op,
    row: &R,
    line: &mut Option<InLine>,
    cx: &mut Context<'_>,
) -> Poll<Result<Ticket>> {
    loop {
        if let Some(place) = line
            && place.poll_granted(cx).is_pending()
        {
            return Poll::Pending;
        }
        // Whatever becomes of the row, an error or even a panic in its code: a grant that the batch
        // did not take over is given back.
        let place = line.take();
        let granted = place.as_ref().map(|place| place.waiter);
        let put = writer.put(op, row, granted)?;
        if let Some(place) = place {
            place.use_up();
        }
        match put {
            Ok(ticket) => return Poll::Ready(Ok(ticket)),
            Err(waiter) => *line = Some(InLine::new(writer.shared(), waiter)),
        }
    }
}

/// A row being handed in: await it, or [`HandIn::wait`] for it; its output is the row's ticket.
#[must_use = "the row is handed in when this is awaited or waited for"]
pub struct HandIn<'a, F: Format, R: ?Sized> {
    writer: &'a WriterCore<F>,
    op: Op,
    row: &'a R,
    line: Option<InLine>,
    /// Its end was told. Polled once more, it must not hand the row in twice.
    over: bool,
}

impl<F: Format, R: ?Sized> std::fmt::Debug for HandIn<'_, F, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandIn").field("op", &self.op).finish_non_exhaustive()
    }
}

impl<'a, F: Format, R: Row + ?Sized> HandIn<'a, F, R> {
    pub(crate) fn new(writer: &'a WriterCore<F>, op: Op, row: &'a R) -> Self {
        Self { writer, op, row, line: None, over: false }
    }

    /// Blocks this thread until there is memory for the row.
    ///
    /// # Errors
    /// [`Error::Row`], [`Error::Closed`].
    #[inline]
    pub fn wait(self) -> Result<Ticket> {
        match self.writer.put(self.op, self.row, None)? {
            Ok(ticket) => Ok(ticket),
            Err(waiter) => {
                let (shared, rest) = self.in_line(waiter);
                shared.block_on(rest)?
            }
        }
    }

    /// Most rows go straight in; the blocking machinery is for those that do not.
    #[cold]
    fn in_line(self, waiter: WaiterId) -> (Arc<Shared>, Self) {
        let shared = Arc::clone(self.writer.shared());
        let line = Some(InLine::new(&shared, waiter));
        (shared, Self { line, ..self })
    }

    /// Like [`HandIn::wait`], at most this long.
    ///
    /// # Errors
    /// As `wait`, and [`Error::Unavailable`] when there was no memory in time; then nothing was
    /// handed in.
    #[inline]
    pub fn wait_timeout(self, limit: Duration) -> Result<Ticket> {
        match self.writer.put(self.op, self.row, None)? {
            Ok(ticket) => Ok(ticket),
            Err(waiter) => {
                let (shared, rest) = self.in_line(waiter);
                shared.block_for(rest, limit)?.unwrap_or_else(|| {
                    let what = "memory for the row".into();
                    Err(Error::Unavailable { what, after: limit, last: None })
                })
            }
        }
    }
}

impl<F: Format, R: Row + ?Sized> Future for HandIn<'_, F, R> {
    type Output = Result<Ticket>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(Err(Error::misuse("this future was polled after its end")));
        }
        let polled = poll_put(this.writer, this.op, this.row, &mut this.line, cx);
        this.over = polled.is_ready();
        polled
    }
}

/// A run of rows that was not handed in to its end, as the client was closed meanwhile: what is
/// known of the rows that were, and where to go on.
///
/// ```no_run
/// # fn f(writer: &fluss_core::AppendWriter, rows: Vec<(i64, &str)>) {
/// if let Err(early) = writer.append_all(rows.iter().copied()).wait() {
///     println!("{early}");
///     let not_handed_in = &rows[early.handed_in as usize..];
///     let outcomes = early.ticket.wait(); // of all rows before
/// #   drop((not_handed_in, outcomes));
/// }
/// # }
/// ```
///
/// With `?` it becomes its [`Error`] where a [`Result`] of this crate is returned; the outcomes of
/// the rows are then known to flush only.
#[derive(Debug, thiserror::Error)]
#[error("{error}; {handed_in} rows of the run were handed in before")]
#[non_exhaustive]
pub struct Interrupted {
    /// Why.
    pub error: Error,
    /// Rows handed in, those that did not fit the table included. The row with this number, from 0,
    /// was taken from the iterator and not handed in.
    pub handed_in: u64,
    /// The claim to the outcomes of the rows handed in.
    pub ticket: Box<RunTicket>,
}

impl From<Interrupted> for Error {
    fn from(early: Interrupted) -> Self {
        early.error
    }
}

/// Whether no further row will be taken either.
pub(super) fn ends_runs(error: &Error) -> bool {
    matches!(error, Error::Closed(_) | Error::Forked { .. })
}

/// Many rows being handed in: await it, or [`HandInAll::wait`] for it; its output is one ticket for
/// all of them.
///
/// Dropped before its end, it has handed in the first [`HandInAll::handed_in`] rows; to know that
/// number, poll it by reference.
#[must_use = "the rows are handed in when this is awaited or waited for"]
pub struct HandInAll<'a, F: Format, I: Iterator> {
    writer: &'a WriterCore<F>,
    op: Op,
    rows: I,
    /// The row that is to be put by itself, as it waits for memory for instance.
    held: Option<I::Item>,
    line: Option<InLine>,
    progress: Progress,
}

impl<F: Format, I: Iterator> Unpin for HandInAll<'_, F, I> {}

impl<F: Format, I: Iterator> std::fmt::Debug for HandInAll<'_, F, I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandInAll").field("handed_in", &self.progress.taken).finish_non_exhaustive()
    }
}

impl<'a, F: Format, I: Iterator> HandInAll<'a, F, I>
where
    I::Item: Row,
{
    pub(crate) fn new(writer: &'a WriterCore<F>, op: Op, rows: I) -> Self {
        Self { writer, op, rows, held: None, line: None, progress: Progress::default() }
    }

    /// Rows that were handed in so far, those that did not fit the table included.
    #[must_use]
    pub fn handed_in(&self) -> u64 {
        self.progress.taken
    }

    /// Blocks this thread until all rows are handed in.
    ///
    /// # Errors
    /// [`Interrupted`] if the client was closed meanwhile.
    pub fn wait(mut self) -> Result<RunTicket, Interrupted> {
        let shared = Arc::clone(self.writer.shared());
        match shared.block_on(&mut self) {
            Ok(result) => result,
            Err(error) => Err(self.interrupt(error)),
        }
    }

    /// Ends the run early with what was handed in so far.
    fn interrupt(&mut self, error: Error) -> Interrupted {
        let ticket = Box::new(std::mem::take(&mut self.progress.ticket));
        Interrupted { error, handed_in: self.progress.taken, ticket }
    }

    /// Puts up to [`RUN`] rows under one hold of the lane's lock. False when there are no more.
    ///
    /// An iterator that does not know its length may wait for each row (a channel, a file): rows
    /// handed in before must be sent meanwhile, so its rows are taken without the lock.
    fn run(&mut self) -> Result<bool> {
        let writer = self.writer;
        let known = self.rows.size_hint().0.min(RUN);
        if known == 0 {
            let Some(row) = self.rows.next() else { return Ok(false) };
            let mut run = writer.lane().run();
            match writer.next.get() {
                None => drop(self.put(&mut run, row)?),
                Some(_) => self.held = Some(row),
            }
            return Ok(true);
        }
        let mut run = writer.lane().run();
        if writer.next.get().is_some() {
            drop(run);
            self.held = self.rows.next();
            return Ok(self.held.is_some());
        }
        let until = self.progress.taken + known as u64;
        while self.progress.taken < until {
            let Self { op, rows, progress, .. } = self;
            let most = (until - progress.taken) as usize;
            match writer.format().put_many(&mut run, *op, rows, most, progress) {
                Many::Ended => return Ok(false),
                Many::Taken => {}
                Many::Left(row) => {
                    if !self.put(&mut run, row)? {
                        break;
                    }
                }
            }
        }
        Ok(true)
    }

    /// Puts a row; false if it is held, as it must wait for memory or wants another schema.
    fn put(&mut self, run: &mut Run<'_, F>, row: I::Item) -> Result<bool> {
        match self.writer.format().put(run, self.op, &row, None) {
            Ok(Pushed::In(at, index)) => {
                run.note(at, 1, index, &mut self.progress.ticket)?;
            }
            // Whoever routes rows does not give up there.
            Ok(Pushed::Rebucketed) => return Err(Error::Closed("writer")),
            Ok(Pushed::Wait(waiter)) => {
                self.held = Some(row);
                self.line = Some(InLine::new(self.writer.shared(), waiter));
                return Ok(false);
            }
            Err(error) if ends_runs(&error) => return Err(error),
            Err(error) if wants_more(&error) => {
                self.held = Some(row);
                return Ok(false);
            }
            Err(error) => {
                let error = run.refuse(self.op, &row, error);
                run.count_refused(&error);
                self.progress.ticket.refuse(error);
            }
        }
        self.progress.taken += 1;
        Ok(true)
    }

    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(row) = self.held.take() else { return Poll::Ready(Ok(())) };
        match poll_put(self.writer, self.op, &row, &mut self.line, cx) {
            Poll::Pending => {
                self.held = Some(row);
                return Poll::Pending;
            }
            Poll::Ready(Ok(ticket)) => {
                let (cell, index) = ticket.into_parts();
                self.progress.ticket.push_lone(&cell, index);
            }
            Poll::Ready(Err(error)) if ends_runs(&error) => return Poll::Ready(Err(error)),
            Poll::Ready(Err(error)) => {
                self.writer.newest().lane().run().count_refused(&error);
                self.progress.ticket.refuse(error);
            }
        }
        self.progress.taken += 1;
        Poll::Ready(Ok(()))
    }
}

impl<F: Format, I: Iterator> Future for HandInAll<'_, F, I>
where
    I::Item: Row,
{
    type Output = Result<RunTicket, Interrupted>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let until = this.progress.taken + ROWS_PER_POLL;
        while this.progress.taken < until {
            match this.poll_held(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(this.interrupt(error))),
            }
            match this.run() {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(Ok(std::mem::take(&mut this.progress.ticket))),
                Err(error) => return Poll::Ready(Err(this.interrupt(error))),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
