//! The log scanner.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use fluss_proto::message::{GetTableSchemaRequest, GetTableSchemaResponse};
use fluss_proto::{ApiKey, ErrorCode};
use prost::Message;

use super::fluss::{Fluss, decode, pb_path};
use super::offsets::{OffsetSpec, list_offsets};
use super::pending::CommandFuture;
use super::table::{Table, TableInfo};
use crate::command::{Call, Target};
use crate::error::{Error, Result};
use crate::ids::{BucketKey, ScannerKey};
use crate::row::Schema;
use crate::scanner::{
    BatchReader, BucketProgress, FetchedBatch, ScanBatch, ScanError, ScannerOptions, TakeLimits,
};
use crate::time::Duration;

type RangeFuture = Pin<Box<dyn Future<Output = Option<(i64, i64)>> + Send>>;

/// Reads the log of a table, all its buckets in turn; made by [`Table::scanner`].
///
/// Fetched data waits within a byte budget until it is taken, so the next batches are on their way
/// while these are worked on. Everything a call was in the middle of stays in the scanner: dropping
/// the future of [`LogScanner::next_batch`] loses nothing.
///
/// An error of one bucket is returned once, as [`Error::Scan`], and stops this bucket only; the
/// next call goes on with the others, and [`LogScanner::seek`] sets it going again. When nothing
/// else is left, the error is returned again and again instead of an end that would look like
/// success.
pub struct LogScanner {
    fluss: Fluss,
    info: Arc<TableInfo>,
    key: ScannerKey,
    reader: BatchReader,
    fetched: VecDeque<FetchedBatch>,
    errors: VecDeque<ScanError>,
    /// What was handed out, per bucket.
    positions: BTreeMap<BucketKey, i64>,
    /// Buckets of a bounded scan that have not reached their ends.
    ends: Option<BTreeMap<BucketKey, i64>>,
    failed: BTreeMap<BucketKey, ScanError>,
    /// A stored schema that was asked for.
    schema_call: Option<(i16, CommandFuture)>,
    /// The true range of a bucket whose position lies outside of it.
    range_call: Option<(ScanError, RangeFuture)>,
}

impl std::fmt::Debug for LogScanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogScanner")
            .field("table", &self.info.path)
            .field("positions", &self.positions)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl LogScanner {
    pub(super) fn open(
        table: &Table,
        options: ScannerOptions,
        reader: BatchReader,
        starts: BTreeMap<BucketKey, i64>,
        ends: Option<BTreeMap<BucketKey, i64>>,
    ) -> Result<Self> {
        let fluss = table.fluss().clone();
        let shared = fluss.shared();
        let opened = shared.with(|core, now| core.client.open_scanner(options, now));
        let key = opened.map_err(|error| shared.explain(error))?;
        let mut scanner = Self {
            fluss,
            info: Arc::clone(table.shared_info()),
            key,
            reader,
            fetched: VecDeque::new(),
            errors: VecDeque::new(),
            positions: starts,
            ends,
            failed: BTreeMap::new(),
            schema_call: None,
            range_call: None,
        };
        if let Some(ends) = &mut scanner.ends {
            ends.retain(|key, end| scanner.positions.get(key).copied().unwrap_or(0).max(0) < *end);
        }
        scanner.subscribe_all()?;
        Ok(scanner)
    }

    fn subscribe_all(&self) -> Result<()> {
        self.fluss.shared().with(|core, now| {
            for (bucket, offset) in &self.positions {
                if self.ends.as_ref().is_none_or(|ends| ends.contains_key(bucket)) {
                    core.client.subscribe(self.key, *bucket, *offset, now)?;
                }
            }
            Ok(())
        })
    }

    /// The next rows of any bucket; None at the end of a bounded scan.
    ///
    /// # Errors
    /// [`Error::Scan`] for a bucket that stopped, [`Error::Closed`] after the client was closed.
    pub fn next_batch(&mut self) -> NextBatch<'_> {
        NextBatch { scanner: self }
    }

    /// All batches of a bounded scan, or without end; blocks this thread.
    ///
    /// # Errors
    /// Each item may be an error of [`next_batch`](Self::next_batch).
    pub fn blocking_iter(&mut self) -> impl Iterator<Item = Result<ScanBatch>> + '_ {
        std::iter::from_fn(|| self.next_batch().wait().transpose())
    }

    /// The columns of the batches.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        self.reader.schema()
    }

    /// The next offset of each bucket, as far as rows were handed out: given to
    /// [`ScanBuilder::from_offsets`](super::ScanBuilder::from_offsets), reading goes on there. -2
    /// is the earliest offset, until something was read.
    #[must_use]
    pub fn positions(&self) -> &BTreeMap<BucketKey, i64> {
        &self.positions
    }

    /// Position, high watermark and lag of a bucket; None if it is not being read.
    #[must_use]
    pub fn progress(&self, bucket: BucketKey) -> Option<BucketProgress> {
        let mut progress =
            self.fluss.shared().with(|core, _| core.client.progress(self.key, bucket))?;
        progress.position = *self.positions.get(&bucket)?;
        Some(progress)
    }

    /// Whether a bounded scan has reached all its ends.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.fetched.is_empty() && self.ends.as_ref().is_some_and(BTreeMap::is_empty)
    }

    /// Goes on at another offset of a bucket ([`EARLIEST`](crate::EARLIEST) for the earliest), also
    /// of one that stopped because of an error. A bounded scan keeps its end, and leaves alone a
    /// bucket that has reached it.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a bucket this scanner does not read, or an offset that is none.
    pub fn seek(&mut self, bucket: BucketKey, offset: i64) -> Result<()> {
        let mut resume = true;
        match (self.positions.get(&bucket), &mut self.ends) {
            (None, _) => {
                return Err(Error::misuse(format!("{bucket} is not read by this scanner")));
            }
            (Some(_), Some(ends)) => resume = ends.contains_key(&bucket),
            (Some(_), None) => {}
        }
        if resume {
            self.fluss
                .shared()
                .with(|core, now| core.client.subscribe(self.key, bucket, offset, now))?;
            self.forget(bucket);
            self.positions.insert(bucket, offset);
        }
        Ok(())
    }

    /// Drops what was fetched of a bucket and its errors.
    fn forget(&mut self, bucket: BucketKey) {
        self.fetched.retain(|batch| batch.bucket != bucket);
        self.errors.retain(|error| error.bucket != bucket);
        self.failed.remove(&bucket);
        if self.range_call.as_ref().is_some_and(|(error, _)| error.bucket == bucket) {
            self.range_call = None;
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<ScanBatch>>> {
        loop {
            if let Some((error, call)) = &mut self.range_call {
                error.range = ready!(call.as_mut().poll(cx));
                let error = error.clone();
                self.range_call = None;
                return Poll::Ready(Err(self.fail(error)));
            }
            while let Some(front) = self.fetched.front() {
                let id = front.batch.schema_id();
                if front.batch.record_count() > 0 && !self.reader.knows(id) {
                    ready!(self.poll_schema(cx, id))?;
                }
                if let Some(batch) = self.read_front()? {
                    return Poll::Ready(Ok(Some(batch)));
                }
            }
            if let Some(error) = self.errors.pop_front() {
                if error.cause.code() == Some(ErrorCode::LOG_OFFSET_OUT_OF_RANGE_EXCEPTION) {
                    let call = range_of(self.fluss.clone(), Arc::clone(&self.info), error.bucket);
                    self.range_call = Some((error, Box::pin(call)));
                    continue;
                }
                return Poll::Ready(Err(self.fail(error)));
            }
            if let Some(outcome) = self.outcome() {
                return Poll::Ready(outcome);
            }
            ready!(self.poll_take(cx))?;
        }
    }

    /// What to say when nothing can come any more.
    fn outcome(&self) -> Option<Result<Option<ScanBatch>>> {
        let open = match &self.ends {
            Some(ends) => ends.keys().any(|bucket| !self.failed.contains_key(bucket)),
            None => self.positions.is_empty() || self.failed.len() < self.positions.len(),
        };
        if open {
            return None;
        }
        let failed = self.failed.values().next();
        Some(failed.map_or(Ok(None), |error| Err(Error::Scan(error.clone()))))
    }

    fn fail(&mut self, error: ScanError) -> Error {
        self.failed.insert(error.bucket, error.clone());
        Error::Scan(error)
    }

    /// Rows of the first fetched batch; None if it holds none that are wanted.
    fn read_front(&mut self) -> Result<Option<ScanBatch>> {
        let Some(fetched) = self.fetched.pop_front() else { return Ok(None) };
        let bucket = fetched.bucket;
        let end = match &self.ends {
            Some(ends) => match ends.get(&bucket) {
                Some(end) => Some(*end),
                // Fetched beyond the end before the fetching was stopped.
                None => return Ok(None),
            },
            None => None,
        };
        match self.reader.read(&fetched, end) {
            Ok(batch) => {
                self.advance(bucket, fetched.next_offset);
                Ok(batch)
            }
            Err(cause) => {
                let position = fetched.batch.base_offset().max(fetched.start_offset);
                self.forget(bucket);
                self.fluss.shared().with(|core, now| {
                    core.client.stop_bucket(self.key, bucket, position, now);
                });
                Err(self.fail(ScanError::new(bucket, position, cause)))
            }
        }
    }

    fn advance(&mut self, bucket: BucketKey, next: i64) {
        let end = self.ends.as_ref().and_then(|ends| ends.get(&bucket)).copied();
        self.positions.insert(bucket, end.map_or(next, |end| next.min(end)));
        if end.is_some_and(|end| next >= end)
            && let Some(ends) = &mut self.ends
        {
            ends.remove(&bucket);
            self.fluss.shared().with(|core, now| core.client.unsubscribe(self.key, bucket, now));
        }
    }

    /// Ready when something was taken or a position moved.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = self.fluss.shared().with(|core, now| {
            let taken = core.client.take(self.key, TakeLimits::default(), now)?;
            let mut moved = Vec::new();
            if taken.is_empty() {
                // The server may have passed over the last offsets without a batch.
                for (bucket, end) in self.ends.iter().flatten() {
                    let progress = core.client.progress(self.key, *bucket);
                    moved.extend(progress.filter(|p| p.position >= *end).map(|_| *bucket));
                }
                core.watch_scanner(self.key, cx.waker());
            }
            Ok::<_, Error>((taken, moved))
        });
        let (taken, moved) = polled.map_err(|error| self.fluss.shared().explain(error))?;
        if taken.is_empty() && moved.is_empty() {
            return Poll::Pending;
        }
        self.fetched.extend(taken.batches);
        self.errors.extend(taken.errors);
        for bucket in moved {
            self.advance(bucket, i64::MAX);
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when batches of this stored schema can be read.
    fn poll_schema(&mut self, cx: &mut Context<'_>, id: i16) -> Poll<Result<()>> {
        let what = format!("GET_TABLE_SCHEMA {} schema {id}", self.info.path);
        if self.schema_call.as_ref().is_none_or(|(asked, _)| *asked != id) {
            let request = GetTableSchemaRequest {
                table_path: pb_path(&self.info.path),
                schema_id: Some(i32::from(id)),
            };
            let body = request.encode_to_vec().into();
            let mut call = Call::new(ApiKey::GetTableSchema, body, Target::AnyServer, &what)
                .answered_by::<GetTableSchemaResponse>();
            call.limit = self.fluss.config(|c| c.command_deadline);
            self.schema_call = Some((id, CommandFuture::start(self.fluss.shared(), call)));
        }
        let Some((_, call)) = &mut self.schema_call else { return Poll::Pending };
        let answer = ready!(Pin::new(call).poll(cx));
        self.schema_call = None;
        let answer: GetTableSchemaResponse = decode(answer?, &what)?;
        let schema = Schema::from_json(&answer.schema_json).map_err(|e| Error::Peer {
            server: "server".into(),
            what: format!("{what}: a schema that does not parse: {e}").into(),
        })?;
        Poll::Ready(self.reader.learn(id, &schema))
    }
}

/// Earliest and latest offset, if the servers tell.
async fn range_of(fluss: Fluss, info: Arc<TableInfo>, bucket: BucketKey) -> Option<(i64, i64)> {
    let earliest = list_offsets(&fluss, &info, &[bucket], OffsetSpec::Earliest).await.ok()?;
    let latest = list_offsets(&fluss, &info, &[bucket], OffsetSpec::Latest).await.ok()?;
    Some((*earliest.get(&bucket)?, *latest.get(&bucket)?))
}

impl Drop for LogScanner {
    fn drop(&mut self) {
        self.fluss.shared().with(|core, now| {
            core.drop_scanner(self.key);
            core.client.close_scanner(self.key, now);
        });
    }
}

/// The next batch of a [`LogScanner`]: await it, or wait for it. Dropping it loses nothing.
#[derive(Debug)]
#[must_use = "nothing is read until it is awaited or waited for"]
pub struct NextBatch<'a> {
    scanner: &'a mut LogScanner,
}

impl NextBatch<'_> {
    /// Blocks this thread until there is a batch; None at the end of a bounded scan.
    ///
    /// # Errors
    /// As for [`LogScanner::next_batch`].
    pub fn wait(self) -> Result<Option<ScanBatch>> {
        let shared = Arc::clone(self.scanner.fluss.shared());
        shared.block_on(self)?
    }

    /// Blocks this thread until there is a batch, at most about this long. None when the time
    /// passed and at the end of a bounded scan; [`LogScanner::is_finished`] tells which.
    ///
    /// # Errors
    /// As for [`LogScanner::next_batch`].
    pub fn wait_timeout(self, limit: Duration) -> Result<Option<ScanBatch>> {
        let shared = Arc::clone(self.scanner.fluss.shared());
        shared.block_for(self, limit)?.unwrap_or(Ok(None))
    }
}

impl Future for NextBatch<'_> {
    type Output = Result<Option<ScanBatch>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.scanner.poll_next(cx)
    }
}
