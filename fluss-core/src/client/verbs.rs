//! What applications, or the handles on their behalf, want from the client.

use std::sync::Arc;

use fluss_proto::record::SealedBatch;

use super::Client;
use crate::command::Call;
use crate::config::WriterConfig;
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::ids::{
    BatchId, BucketKey, CommandId, LaneId, PartitionKey, ScannerKey, TableId, TablePath, WriterKey,
};
use crate::lookup::{Ask, LookupRequest};
use crate::scanner::{BucketProgress, ScannerOptions, TakeLimits, Taken};
use crate::table_info::TableInfo;
use crate::time::{Duration, Instant};
use crate::writer::{Open, OpenIn, PartitionPlace, Reserve, WaiterId, WriterKind};

/// Commands: one request, one answer.
impl Client {
    /// Starts a call; [`Event::CommandDone`](crate::Event::CommandDone) reports its end.
    pub fn call(&mut self, call: Call, now: Instant) -> CommandId {
        self.step(now, |client, cx| client.commands.start(cx, call))
    }

    /// Reports with [`Event::CommandDone`](crate::Event::CommandDone) that so much time has passed.
    pub fn alarm(&mut self, after: Duration, now: Instant) -> CommandId {
        self.step(now, |client, cx| client.commands.alarm(cx, after))
    }

    /// Forgets a command nobody waits for; what was sent of it may still happen.
    pub fn cancel(&mut self, command: CommandId, now: Instant) {
        self.commands.cancel(command);
        self.lookups.cancel(command);
        self.serve_lookups(now);
    }
}

/// Tables: what to keep an eye on.
impl Client {
    /// Asks any server for a table's id, schema and settings;
    /// [`TableInfo::from_answer`](crate::TableInfo::from_answer) reads the answer that
    /// [`Event::CommandDone`](crate::Event::CommandDone) brings. Ends within
    /// [`Config::command_deadline`](crate::config::Config::command_deadline).
    pub fn describe_table(&mut self, path: &TablePath, now: Instant) -> CommandId {
        let mut call = crate::table_info::describe(path);
        call.limit = self.config.command_deadline;
        self.call(call, now)
    }

    /// Asks for the leaders of the table at this path ahead of the first request that needs one.
    /// From now on the path tells where to ask for the table with this id.
    pub fn watch_table(&mut self, path: &TablePath, id: TableId, now: Instant) {
        self.step(now, |client, cx| {
            client.opened.insert(id, path.clone());
            client.metadata.want_table(cx, path);
        });
    }
}

/// Partitions.
impl Client {
    /// Asks for a partition by its name, so that [`Client::cluster`] knows it and its leaders.
    pub fn watch_partition(&mut self, path: &TablePath, name: &str, now: Instant) {
        self.step(now, |client, cx| client.metadata.want_partition(cx, path, name));
    }
}

/// Writers: `open_writer`, `open_lane`, then per batch `open_batch` and `submit_batch`, or
/// `write_batch` for both.
impl Client {
    /// A new writer of a table, with sequences of its own.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for settings against the rules,
    /// [`Error::Closed`](crate::Error::Closed) after a close.
    pub fn open_writer(
        &mut self,
        path: TablePath,
        kind: WriterKind,
        config: WriterConfig,
        now: Instant,
    ) -> Result<WriterKey> {
        self.step(now, |client, cx| client.writers.open_writer(cx, path, kind, config))
    }

    /// A lane of a writer: the open batches of one handle.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed) if the writer ended.
    pub fn open_lane(&mut self, writer: WriterKey) -> Result<LaneId> {
        self.writers.open_lane(writer)
    }

    /// The handle of this lane is gone. Its open batches are to be sealed and will be delivered.
    pub fn close_lane(&mut self, lane: LaneId, now: Instant) {
        self.step(now, |client, _| client.writers.close_lane(lane));
    }

    /// Opens a batch: gives it its place in the bucket's order, starts its linger and its delivery
    /// deadline, and reserves memory; or puts the caller in line for the memory.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed) after a close of the client or the lane.
    pub fn open_batch(
        &mut self,
        lane: LaneId,
        bucket: BucketKey,
        reserve: Reserve,
        now: Instant,
    ) -> Result<Open> {
        self.step(now, |client, _| client.writers.open_batch(now, lane, bucket, reserve))
    }

    /// Tells what the table of this writer is. The number of buckets, from which the caller
    /// chooses, goes with its batches to servers that want to know; and if the table is
    /// partitioned, batches are opened with [`Client::open_partition_batch`] from then on.
    pub fn writer_table(&mut self, writer: WriterKey, info: &TableInfo, now: Instant) {
        self.step(now, |client, _| client.writers.writer_table(writer, info));
    }

    /// A partition of the table, by its name as
    /// [`PartitionNamer`](crate::row::partition::PartitionNamer) makes it, and the number of its
    /// buckets: as it is, or for a partition that is not known yet, as it most likely will be. The
    /// same name has the same key as long as the table has writers.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed) after a close of the client or the lane,
    /// [`Error::Misuse`](crate::Error::Misuse) without a call of [`Client::writer_table`].
    pub fn writer_partition(
        &mut self,
        lane: LaneId,
        name: &str,
        now: Instant,
    ) -> Result<(PartitionKey, i32)> {
        self.step(now, |client, _| client.writers.partition(lane, name, client.metadata.cluster()))
    }

    /// Like [`Client::open_batch`], for a partition. If it does not exist, it is created while the
    /// batch is filled, unless
    /// [`dynamic_partition_creation`](WriterConfig::dynamic_partition_creation) is off.
    ///
    /// # Errors
    /// As [`Client::open_batch`].
    pub fn open_partition_batch(
        &mut self,
        lane: LaneId,
        at: PartitionPlace,
        reserve: Reserve,
        now: Instant,
    ) -> Result<OpenIn> {
        self.step(now, |client, cx| {
            let cluster = client.metadata.cluster();
            client.writers.open_partition_batch(cx, cluster, lane, at, reserve)
        })
    }

    /// Reserves `extra` more bytes for an open batch. False: the budget is used up, seal what is
    /// there.
    pub fn grow_batch(&mut self, batch: BatchId, extra: u64) -> bool {
        self.writers.grow_batch(batch, extra)
    }

    /// Leaves the line for memory, or gives back what was granted.
    pub fn cancel_wait(&mut self, waiter: WaiterId, now: Instant) {
        self.step(now, |client, _| client.writers.cancel_wait(waiter));
    }

    /// Hands in the bytes of an opened batch. If the batch ended meanwhile (deadline, close), its
    /// outcome was reported and the bytes are dropped.
    pub fn submit_batch(&mut self, batch: BatchId, sealed: SealedBatch, now: Instant) {
        self.step(now, |client, _| client.writers.submit_batch(batch, sealed));
    }

    /// The bytes of a batch whose rows are to be dealt out anew, and the name of its partition.
    /// None if it has ended.
    #[must_use]
    pub fn batch_to_reroute(&self, batch: BatchId) -> Option<(SealedBatch, Arc<str>)> {
        self.writers.batch_to_reroute(batch)
    }

    /// Puts parts in the place of a batch, as [`Event::Reroute`](crate::Event::Reroute) asked: each
    /// a bucket, among the `of` that the event told, with its rows in their order. The answer has
    /// the ids of the parts, in their order, each of which has an end of its own; the batch has
    /// none any more. Without parts it ends as not written (code 74), and the answer is empty, as
    /// it is if the batch ended meanwhile or is to be dealt out once more.
    pub fn reroute_batch(
        &mut self,
        batch: BatchId,
        of: i32,
        parts: Option<Vec<(i32, SealedBatch)>>,
        now: Instant,
    ) -> Vec<BatchId> {
        self.step(now, |client, _| client.writers.reroute_batch(batch, of, parts))
    }

    /// Opens a batch and submits it at once, for callers that have sealed it already;
    /// [`Event::BatchDone`](crate::Event::BatchDone) reports its end.
    ///
    /// # Errors
    /// As [`Client::open_batch`], and [`Error::Full`](crate::Error::Full) when the memory budget
    /// has no room for it: then nothing was handed in.
    pub fn write_batch(
        &mut self,
        lane: LaneId,
        bucket: BucketKey,
        sealed: SealedBatch,
        now: Instant,
    ) -> Result<BatchId> {
        let needed = u64::try_from(sealed.memory()).unwrap_or(u64::MAX);
        match self.open_batch(lane, bucket, Reserve::Now { step: needed, full: needed }, now)? {
            Open::Granted { batch, .. } => {
                self.submit_batch(batch, sealed, now);
                Ok(batch)
            }
            Open::Wait(waiter) => {
                let (used, limit) = (self.memory_used(), self.config.memory_limit);
                self.cancel_wait(waiter, now);
                Err(Error::Full { needed, used, limit })
            }
        }
    }

    /// The memory of a batch that is done, to be used for the next one.
    pub fn take_body(&mut self) -> Option<bytes::Bytes> {
        self.writers.take_body()
    }

    /// Gives up an opened batch that holds no rows. One that was submitted stays, and ends with its
    /// outcome.
    pub fn abandon_batch(&mut self, batch: BatchId, now: Instant) {
        self.step(now, |client, _| client.writers.abandon_batch(batch));
    }

    /// Asks for everything open of a writer to be sealed;
    /// [`Event::FlushDone`](crate::Event::FlushDone) reports that all batches opened before now
    /// have outcomes.
    pub fn flush(&mut self, writer: WriterKey, now: Instant) -> CommandId {
        let command = self.commands.next_id();
        self.step(now, |client, _| client.writers.flush(writer, command));
        command
    }
}

/// Lookups: one key, one answer.
impl Client {
    /// Looks a key up; [`Event::CommandDone`](crate::Event::CommandDone) with
    /// [`CommandAnswer::Value`](crate::CommandAnswer::Value) or `Values` reports its end. Beyond
    /// [`Config::lookup_limit`](crate::config::Config::lookup_limit) and
    /// [`Config::lookup_memory_limit`](crate::config::Config::lookup_memory_limit) it waits in
    /// line, at most as long as its own limit.
    pub fn lookup(&mut self, request: LookupRequest, now: Instant) -> CommandId {
        self.ask(request.ask(), now)
    }

    /// [`Client::lookup`] of a key that the caller keeps.
    pub(crate) fn ask(&mut self, ask: Ask<'_>, now: Instant) -> CommandId {
        self.join(&ask, now).unwrap_or_else(|| {
            let id = self.commands.next_id();
            self.step(now, |client, cx| client.lookups.lookup(cx, id, ask));
            id
        })
    }

    /// [`Client::ask`] where the key only waits with others, so that no other machine would hear of
    /// it. None: it does more, and nothing was done.
    pub(crate) fn join(&mut self, ask: &Ask<'_>, now: Instant) -> Option<CommandId> {
        let Self { lookups, commands, rng, config, .. } = self;
        lookups.join(&Cx { now, rng, config }, ask, || commands.next_id())
    }

    /// Somebody waits for the answer of a lookup that was handed in as one nobody waits for.
    #[cfg(feature = "handle")]
    pub(crate) fn urge_lookup(&mut self, id: CommandId, now: Instant) {
        self.step(now, |client, cx| client.lookups.urge(cx, id));
    }

    /// Whether [`Client::urge_lookup`] would have an effect.
    #[cfg(feature = "handle")]
    pub(crate) fn is_gathering(&self, id: CommandId) -> bool {
        self.lookups.is_gathering(id)
    }

    /// Looks many keys up; each has an answer and an id of its own, one after the other from the
    /// first one on.
    #[cfg(feature = "handle")]
    pub(crate) fn ask_all<'a>(
        &mut self,
        asks: impl Iterator<Item = Ask<'a>>,
        now: Instant,
    ) -> std::ops::Range<u64> {
        let first = self.commands.upcoming_id().0;
        self.step(now, |client, cx| {
            for ask in asks {
                if client.lookups.join(cx, &ask, || client.commands.next_id()).is_none() {
                    let id = client.commands.next_id();
                    client.lookups.lookup(cx, id, ask);
                }
            }
        });
        first..self.commands.upcoming_id().0
    }

    /// Forgets commands nobody waits for; see [`Client::cancel`].
    #[cfg(feature = "handle")]
    pub(crate) fn cancel_all(&mut self, commands: std::ops::Range<u64>, now: Instant) {
        commands.for_each(|id| self.lookups.cancel(CommandId(id)));
        self.serve_lookups(now);
    }

    /// Like [`Client::lookup`], but never waits in line.
    ///
    /// # Errors
    /// [`Error::LookupsFull`] when the budget has no room, [`Error::Misuse`] for a key that is
    /// larger than the budget, [`Error::Closed`] after a close: then nothing was sent.
    pub fn try_lookup(&mut self, request: LookupRequest, now: Instant) -> Result<CommandId> {
        self.try_ask(request.ask(), now)
    }

    /// [`Client::try_lookup`] of a key that the caller keeps.
    pub(crate) fn try_ask(&mut self, ask: Ask<'_>, now: Instant) -> Result<CommandId> {
        self.room_for_lookup(ask.what, ask.key.len())?;
        Ok(self.ask(ask, now))
    }

    /// Whether a key of this length could go now.
    ///
    /// # Errors
    /// As [`Client::try_lookup`].
    pub(crate) fn room_for_lookup(&self, what: &str, key_len: usize) -> Result<()> {
        self.lookups.check_room(&self.config, what, key_len)
    }

    /// A key of this length waits for its partition to be found.
    #[cfg(feature = "handle")]
    pub(crate) fn seek_partition(&mut self, key_len: usize) {
        self.lookups.seek(key_len);
    }

    /// The opposite of [`Client::seek_partition`].
    #[cfg(feature = "handle")]
    pub(crate) fn end_seeking(&mut self, key_len: usize) {
        self.lookups.end_seeking(key_len);
    }

    /// An answer of this many bytes is kept for its caller, and counts until it is taken.
    #[cfg(feature = "handle")]
    pub(crate) fn keep_answer(&mut self, bytes: u64) {
        self.lookups.keep_answer(bytes);
    }

    /// The opposite of [`Client::keep_answer`]; [`Client::has_due_lookups`] may be true then.
    #[cfg(feature = "handle")]
    pub(crate) fn take_answer(&mut self, bytes: u64) {
        self.lookups.take_answer(bytes);
    }

    /// Whether lookups stand in line.
    #[cfg(feature = "handle")]
    pub(crate) fn has_lookups_in_line(&self) -> bool {
        self.lookups.has_line()
    }

    /// Whether this one would, too.
    #[cfg(feature = "handle")]
    pub(crate) fn would_stand_in_line(&self, ask: &Ask<'_>) -> bool {
        self.lookups.would_wait(&self.config, ask)
    }

    /// Whether there is room for the first lookup in line.
    pub(crate) fn has_due_lookups(&self) -> bool {
        self.lookups.is_due(&self.config)
    }

    /// Sends lookups in line on their way, if there is room.
    pub(crate) fn serve_lookups(&mut self, now: Instant) {
        if self.has_due_lookups() {
            self.step(now, |_, _| ());
        }
    }
}

/// Log scanners: `open_scanner`, `subscribe`, then `take` whenever
/// [`Event::ScanReady`](crate::Event::ScanReady) was reported.
impl Client {
    /// A scanner of a table, without subscriptions.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for options against the rules,
    /// [`Error::Closed`](crate::Error::Closed) after a close.
    pub fn open_scanner(&mut self, options: ScannerOptions, now: Instant) -> Result<ScannerKey> {
        self.step(now, |client, cx| client.scanners.open_scanner(cx, options))
    }

    /// Reads a bucket from an offset on ([`EARLIEST`](crate::EARLIEST) for the first there is). A
    /// bucket that is subscribed already is read from the new position on.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed) for a scanner that is gone.
    pub fn subscribe(
        &mut self,
        scanner: ScannerKey,
        bucket: BucketKey,
        offset: i64,
        now: Instant,
    ) -> Result<()> {
        self.step(now, |client, _| client.scanners.subscribe(scanner, bucket, offset))
    }

    /// Stops reading a bucket; what is buffered of it is dropped.
    pub fn unsubscribe(&mut self, scanner: ScannerKey, bucket: BucketKey, now: Instant) {
        self.step(now, |client, _| client.scanners.unsubscribe(scanner, bucket));
    }

    /// Stops reading a bucket at this position, but keeps its progress.
    pub fn stop_bucket(
        &mut self,
        scanner: ScannerKey,
        bucket: BucketKey,
        position: i64,
        now: Instant,
    ) {
        self.step(now, |client, _| client.scanners.stop(scanner, bucket, position));
    }

    /// Reports [`Event::ScanReady`](crate::Event::ScanReady) at this time, once, whatever else
    /// happens; None takes that back.
    pub fn set_scan_alarm(&mut self, scanner: ScannerKey, at: Option<Instant>, now: Instant) {
        self.step(now, |client, _| client.scanners.set_alarm(scanner, at));
    }

    /// Ends a scanner; what is buffered is dropped.
    pub fn close_scanner(&mut self, scanner: ScannerKey, now: Instant) {
        self.step(now, |client, _| client.scanners.close_scanner(scanner));
    }

    /// Takes fetched batches. Positions move with what is handed out here, never before. The
    /// batches count as buffered until the next call, as their memory is in use until then.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed) for a scanner that is gone.
    pub fn take(&mut self, scanner: ScannerKey, limits: TakeLimits, now: Instant) -> Result<Taken> {
        self.step(now, |client, _| client.scanners.take(scanner, limits))
    }

    /// Position and high watermark of a subscribed bucket.
    #[must_use]
    pub fn progress(&self, scanner: ScannerKey, bucket: BucketKey) -> Option<BucketProgress> {
        self.scanners.progress(scanner, bucket)
    }

    /// Why the last fetch of a subscribed bucket brought nothing, if it failed.
    #[cfg(feature = "handle")]
    pub(crate) fn scan_trouble(&self, scanner: ScannerKey, bucket: BucketKey) -> Option<Error> {
        self.scanners.trouble(scanner, bucket)
    }

    /// Bytes fetched and not taken, those taken last included.
    #[must_use]
    pub fn buffered(&self, scanner: ScannerKey) -> u64 {
        self.scanners.buffered(scanner)
    }
}
