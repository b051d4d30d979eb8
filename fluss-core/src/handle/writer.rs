//! What append and upsert writers share.

use std::sync::{Arc, OnceLock, Weak};

use super::dead_letter::Letters;
use super::flush::{Failures, Flush, Listener};
use super::lane::{Format, Lane, Op, Pushed};
use super::pending::CommandFuture;
use super::shared::{SealOnDemand, Shared};
use super::table::{Table, TableInfo};
use super::ticket::Ticket;
use crate::config::WriterConfig;
use crate::error::{Error, Result};
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

            /// How many replicas must have a row. Default all. With fewer, which idempotence does
            /// not allow, an acknowledged row is lost with its leader.
            pub fn acks(mut self, acks: crate::config::Acks) -> Self {
                self.config.acks = acks;
                self
            }

            /// Whether the server drops copies of rows. Default true; without it retries may double
            /// rows and change their order.
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

            /// Whether a row that the answer to a later batch proves written waits for the answer
            /// to its own batch, and so for its offset, as long as that may still come. Default:
            /// for primary-key tables yes, for log tables no; then its acknowledgement comes at
            /// once, [`inferred`](crate::Ack::inferred) and without an offset.
            pub fn track_offsets(mut self, on: bool) -> Self {
                self.config.track_offsets = Some(on);
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
    /// Hears of what fails, for the flushes of this handle.
    listener: Arc<Listener>,
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
        let failures = Failures::new(Arc::clone(shared));
        let listener = Listener::new(&failures);
        let inner = Arc::new(Inner { table, key, failures, letters });
        Ok(Self::with_lane(inner, Arc::new(format), listener, lane, max_bytes, [].into()))
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
        let (format, listener) = (Arc::new(format), Arc::clone(&self.listener));
        Ok(Self::with_lane(inner, format, listener, id, self.lane.max_bytes(), earlier))
    }

    fn with_lane(
        inner: Arc<Inner>,
        format: Arc<F>,
        listener: Arc<Listener>,
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
        Self { inner, lane, format, listener, next: OnceLock::new(), earlier }
    }

    /// A clone that hears of failures there, and so do those after it: they are one handle.
    fn clone_with(&self, listener: &Arc<Listener>) -> Self {
        let opened = self.shared().with(|core, _| core.client.open_lane(self.inner.key));
        let id = opened.unwrap_or(LaneId(u64::MAX));
        let (inner, format) = (Arc::clone(&self.inner), Arc::clone(&self.format));
        let (max_bytes, earlier) = (self.lane.max_bytes(), self.earlier.clone());
        let clone = Self::with_lane(inner, format, Arc::clone(listener), id, max_bytes, earlier);
        if let Some(next) = self.next.get() {
            let _ = clone.next.set(Box::new(next.clone_with(listener)));
        }
        clone
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
        // From here on it hears of failures, so of all that come before it is done.
        let told = self.listener.flush();
        Flush::new(refusal.map_or_else(|| Ok(flush()), Err), told, Arc::clone(self.shared()))
    }
}

impl<F: Format> Clone for WriterCore<F> {
    /// Another lane of the same writer. After a close it takes no rows, like the original.
    fn clone(&self) -> Self {
        self.clone_with(&Listener::new(&self.inner.failures))
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

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "random_tests.rs"]
mod random_tests;
