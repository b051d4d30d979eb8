//! What append and upsert writers share.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::{Context, Poll};

use super::cell::{BatchCell, Failures};
use super::dead_letter::Letters;
use super::lane::{Format, Lane, Op, Pushed};
use super::pending::CommandFuture;
use super::shared::{SealOnDemand, Shared};
use super::signal::lock;
use super::table::{Table, TableInfo};
use super::ticket::Ticket;
use crate::config::WriterConfig;
use crate::error::{Error, Result, WriteError};
use crate::ids::{LaneId, WriterKey};
use crate::row::Row;
use crate::writer::{WaiterId, WriterKind};

/// Methods for the settings of a writer, the same for all writers.
macro_rules! writer_settings {
    ($builder:ident) => {
        impl $builder {
            /// How long a batch may wait for more rows. Default 100 ms.
            pub fn linger(mut self, linger: crate::time::Duration) -> Self {
                self.config.linger = linger;
                self
            }

            /// Size at which a batch is full, in bytes before compression. Default 2 MiB.
            pub fn batch_bytes(mut self, bytes: usize) -> Self {
                self.config.batch_bytes = bytes;
                self
            }

            /// How many replicas must have a row. Default all.
            pub fn acks(mut self, acks: crate::config::Acks) -> Self {
                self.config.acks = acks;
                self
            }

            /// Whether the server drops copies of rows. Default true; without it retries may double
            /// rows.
            pub fn idempotence(mut self, on: bool) -> Self {
                self.config.idempotence = on;
                self
            }

            /// From append to the last attempt. Default 120 s, at most 24 h. The outcome is there
            /// one [`Config::request_deadline`](crate::config::Config::request_deadline) and a
            /// second later at the latest.
            pub fn delivery_timeout(mut self, limit: crate::time::Duration) -> Self {
                self.config.delivery_timeout = limit;
                self
            }

            /// Whether a row for a partition that does not exist creates it. Default true; without
            /// it such rows are not written, code 36.
            pub fn dynamic_partition_creation(mut self, on: bool) -> Self {
                self.config.dynamic_partition_creation = on;
                self
            }

            /// Who gets the rows back that did not make it, each with its error: those that do not
            /// fit the table, and those of batches that failed.
            ///
            /// The callback runs on a thread that hands rows in or on the driver's, before the
            /// outcome is told to who waits for it: it must not block. It may hand rows in with the
            /// `try_` methods of another writer. While rows are written, it costs a reference to
            /// each batch; only those of failed batches are read back and copied.
            ///
            /// ```no_run
            /// # fn f(table: &fluss_core::Table) -> fluss_core::Result<()> {
            /// let (dead, letters) = std::sync::mpsc::channel();
            /// let writer = table.appender().dead_letter(move |letter| drop(dead.send(letter)));
            /// let writer = writer.build()?;
            /// # drop((writer, letters));
            /// # Ok(())
            /// # }
            /// ```
            pub fn dead_letter(
                mut self,
                callback: impl Fn(crate::handle::DeadLetter) + Send + Sync + 'static,
            ) -> Self {
                self.letters = crate::handle::dead_letter::Letters::to(callback);
                self
            }

            /// All settings at once; the methods above change single ones.
            pub fn config(mut self, config: WriterConfig) -> Self {
                self.config = config;
                self
            }
        }
    };
}
pub(crate) use writer_settings;

/// One writer, shared by its handles.
#[derive(Debug)]
struct Inner {
    table: Table,
    key: WriterKey,
    failures: Arc<Failures>,
    letters: Letters,
}

/// A handle of a writer: its lane, and what it shares with its clones.
#[derive(Debug)]
pub(crate) struct WriterCore<F: Format> {
    inner: Arc<Inner>,
    lane: Arc<Lane<F>>,
    format: Arc<F>,
    /// Who takes the rows since the table has more columns; see [`grown`](super::grown).
    pub(super) next: OnceLock<Box<Self>>,
    /// The numbers of columns that it had before.
    pub(super) earlier: Box<[usize]>,
}

impl<F: Format> WriterCore<F> {
    pub(crate) fn open(
        table: Table,
        kind: WriterKind,
        config: WriterConfig,
        format: F,
        letters: Letters,
    ) -> Result<Self> {
        let shared = table.fluss().shared();
        let path = table.info().path.clone();
        let max_bytes = config.batch_bytes;
        let opened = shared.with(|core, now| {
            let key = core.client.open_writer(path, kind, config, now)?;
            core.client.writer_table(key, table.info(), now);
            Ok::<_, Error>((key, core.client.open_lane(key)?))
        });
        let (key, lane) = opened.map_err(|error| shared.explain(error))?;
        let inner = Arc::new(Inner { table, key, failures: Arc::default(), letters });
        Ok(Self::with_lane(inner, Arc::new(format), lane, max_bytes, [].into()))
    }

    /// The same writer for its table as it is now: a lane of its own, with batches of the current
    /// schema.
    pub(crate) async fn with_current_schema(
        self,
        format: impl FnOnce(&F, Arc<TableInfo>) -> Result<F>,
    ) -> Result<Self> {
        let fluss = self.table().fluss().clone();
        let before = self.newest().table().info();
        let info = fluss.table_info(&before.path).await?;
        if info.id != before.id {
            return Err(Error::misuse(format!(
                "{} was dropped and made anew: it needs a new writer",
                before.path
            )));
        }
        let table = Table::new(fluss, info);
        let format = format(&self.format, Arc::clone(table.shared_info()))?;
        self.followed_by(table, format, [].into())
    }

    /// The same writer for the table as it is now: a lane of its own, with batches of this format.
    pub(super) fn followed_by(
        &self,
        table: Table,
        format: F,
        earlier: Box<[usize]>,
    ) -> Result<Self> {
        let Inner { key, failures, letters, .. } = &*self.inner;
        let (key, failures, letters) = (*key, Arc::clone(failures), letters.clone());
        let id = self.shared().with(|core, _| core.client.open_lane(key));
        let id = id.map_err(|error| self.shared().explain(error))?;
        let inner = Arc::new(Inner { table, key, failures, letters });
        Ok(Self::with_lane(inner, Arc::new(format), id, self.lane.max_bytes(), earlier))
    }

    fn with_lane(
        inner: Arc<Inner>,
        format: Arc<F>,
        id: LaneId,
        max_bytes: usize,
        earlier: Box<[usize]>,
    ) -> Self {
        let shared = Arc::clone(inner.table.fluss().shared());
        let failures = Arc::clone(&inner.failures);
        let (shared_format, letters) = (Arc::clone(&format), inner.letters.clone());
        let lane = Lane::new(id, Arc::clone(&shared), shared_format, failures, letters, max_bytes);
        let lane = Arc::new(lane);
        let holder: Weak<dyn SealOnDemand> = Arc::downgrade(&lane) as Weak<dyn SealOnDemand>;
        shared.with(|core, _| core.add_holder(id, holder));
        Self { inner, lane, format, next: OnceLock::new(), earlier }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.inner.table.fluss().shared()
    }

    pub(crate) fn lane(&self) -> &Lane<F> {
        &self.lane
    }

    pub(crate) fn format(&self) -> &F {
        &self.format
    }

    /// The table, with the schema that this one writes.
    pub(crate) fn table(&self) -> &Table {
        &self.inner.table
    }

    /// Puts a row, or stands in line for memory. The lane's lock is free again when this returns:
    /// the batch that is waited for may be one of its own.
    #[inline]
    pub(crate) fn put<R: Row + ?Sized>(
        &self,
        op: Op,
        row: &R,
        granted: Option<WaiterId>,
    ) -> Result<std::result::Result<Ticket, WaiterId>> {
        let mut run = self.lane.run();
        // Under the lock, under which it is set: no row may follow it here.
        if self.next.get().is_some() {
            drop(run);
            return self.put_newest(op, row, granted);
        }
        match self.format.put(&mut run, op, row, granted) {
            Ok(Pushed::In(at, index)) => Ok(Ok(Ticket::new(Arc::clone(run.cell(at)?), index))),
            Ok(Pushed::Wait(waiter)) => Ok(Err(waiter)),
            Ok(Pushed::Rebucketed) => Err(Error::Closed("writer")),
            Err(error) => {
                drop(run);
                self.put_grown(op, row, granted, error)
            }
        }
    }

    pub(crate) fn try_put<R: Row + ?Sized>(&self, op: Op, row: &R) -> Result<Ticket> {
        match self.put(op, row, None)? {
            Ok(ticket) => Ok(ticket),
            Err(waiter) => Err(self.shared().with(|core, now| {
                core.drop_memory(waiter, now);
                let (used, limit) = (core.client.memory_used(), core.client.config().memory_limit);
                Error::Full { needed: self.lane.full_step(), used, limit }
            })),
        }
    }

    pub(crate) fn flush(&self) -> Flush {
        let refusal = self.refusal().or_else(|| self.seal_lanes());
        let key = self.inner.key;
        let flush = || CommandFuture::watch(self.shared(), |core, now| core.client.flush(key, now));
        let future = refusal.map_or_else(|| Ok(flush()), Err);
        Flush {
            future,
            failures: Arc::clone(&self.inner.failures),
            shared: Arc::clone(self.shared()),
        }
    }
}

impl<F: Format> Clone for WriterCore<F> {
    /// Another lane of the same writer. After a close it takes no rows, like the original.
    fn clone(&self) -> Self {
        let opened = self.shared().with(|core, _| core.client.open_lane(self.inner.key));
        let id = opened.unwrap_or(LaneId(u64::MAX));
        let (inner, format) = (Arc::clone(&self.inner), Arc::clone(&self.format));
        let clone = Self::with_lane(inner, format, id, self.lane.max_bytes(), self.earlier.clone());
        if let Some(next) = self.next.get() {
            let _ = clone.next.set(next.clone());
        }
        clone
    }
}

impl<F: Format> Drop for WriterCore<F> {
    fn drop(&mut self) {
        self.lane.run().seal_all();
        let id = self.lane.id;
        self.shared().with(|core, now| {
            core.remove_holder(id);
            core.client.close_lane(id, now);
        });
    }
}

/// Rows that did not get an `Ok` between two flushes.
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
    /// one handle: the batch's first and last row.
    pub between: (u64, u64),
    /// Why.
    pub error: WriteError,
}

/// A flush on its way: await it, or [`Flush::wait`] for it. Dropping it cancels nothing.
#[must_use = "awaiting it tells whether all rows made it"]
pub struct Flush {
    /// Err: nothing can be waited for.
    future: Result<CommandFuture>,
    failures: Arc<Failures>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Flush {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flush").finish_non_exhaustive()
    }
}

impl Flush {
    /// Blocks this thread until the flush is done.
    ///
    /// # Errors
    /// [`FlushError`] for rows without an `Ok` since the last flush.
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
            Ok(_) | Err(_) => self.failures.take(),
        })
    }
}

impl FlushError {
    fn stopped(error: Error) -> Self {
        Self { stopped: Some(error), not_written: 0, unknown: 0, first: Vec::new() }
    }
}

impl BatchCell {
    pub(crate) fn failed(&self, rows: u32, error: &WriteError) {
        let (rows, between) = (u64::from(rows), self.between());
        self.failures().add(FailedRows { rows, between, error: error.clone() });
    }
}

impl Failures {
    fn add(&self, failed: FailedRows) {
        const KEPT: usize = 32;
        let mut known = lock(&self.0);
        let known = known.get_or_insert_with(|| FlushError {
            stopped: None,
            not_written: 0,
            unknown: 0,
            first: Vec::new(),
        });
        match failed.error {
            WriteError::NotWritten(_) => known.not_written += failed.rows,
            WriteError::OutcomeUnknown(_) => known.unknown += failed.rows,
        }
        if known.first.len() < KEPT {
            known.first.push(failed);
        }
    }

    fn take(&self) -> std::result::Result<(), FlushError> {
        lock(&self.0).take().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "random_tests.rs"]
mod random_tests;

/// A place for the failures of a writer.
pub(crate) type FailureSlot = Mutex<Option<FlushError>>;
