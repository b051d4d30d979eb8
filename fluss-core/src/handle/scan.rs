//! The log scanner.
//!
//! | room | what it holds |
//! |---|---|
//! | [`places`] | which buckets there are, where they begin and end |
//! | [`subscribe`] | buckets added, taken away, paused under way |
//! | [`discovery`] | partitions that come and go |
//! | [`policy`] | what is done about trouble, and who is told |
//! | [`waker`] | ending a wait from elsewhere |
//! | [`record_batches`] | a scan as Arrow's source of batches, and as a stream |

mod discovery;
pub(super) mod places;
pub(super) mod policy;
mod record_batches;
#[cfg(feature = "testing")]
pub(super) mod recorder;
#[cfg(feature = "stream")]
mod stream;
mod subscribe;
mod waker;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow_schema::SchemaRef;
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

use discovery::Discovery;
use places::{Partitions, Until};
use policy::{OnCorruptBatch, OnOutOfRange, Policy, ScanEvent};

pub use record_batches::ScanRecordBatches;
pub use subscribe::Subscribe;
pub use waker::ScanWaker;

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
///
/// The `-U` and the `+U` of a change are in one batch: a server stores all changes of a write as
/// one batch, and a batch is handed out whole. Only a start or an end that lies between the two
/// parts them: each hands out exactly the rows from it on, or before it. A
/// [filter](super::ScanBuilder::filter) may leave out the one and not the other.
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
    /// Where buckets that are subscribed later end.
    until: Option<Until>,
    /// Buckets of a bounded scan that begin behind the ends of their logs as they were told. Only a
    /// fetch tells whether such an offset is theirs: an end may be told too low for a moment after
    /// a leader went, and a log may have lost its end.
    beyond: BTreeSet<BucketKey>,
    paused: BTreeSet<BucketKey>,
    failed: BTreeMap<BucketKey, ScanError>,
    partitions: Partitions,
    discovery: Option<Discovery>,
    policy: Policy,
    /// Whether servers pass over offsets in the middle of a log.
    passes_over: bool,
    waker: ScanWaker,
    /// A stored schema that was asked for.
    schema_call: Option<(i16, CommandFuture)>,
    /// The true range of a bucket whose position lies outside of it.
    range_call: Option<(ScanError, RangeFuture)>,
    /// Positions that were refused although the range holds them, and how often.
    refused: BTreeMap<BucketKey, (i64, u32)>,
}

/// How often a position is asked for that its servers refuse although the range holds it.
const REFUSALS: u32 = 10;

/// What a builder found out.
pub(super) struct Opening {
    pub(super) options: ScannerOptions,
    pub(super) reader: BatchReader,
    pub(super) starts: BTreeMap<BucketKey, i64>,
    /// Where a bounded scan ends, and how that was said.
    pub(super) ends: Option<(BTreeMap<BucketKey, i64>, Until)>,
    pub(super) partitions: Partitions,
    /// How often new partitions are looked for.
    /// How often new partitions are looked for, and from where they are read.
    pub(super) discovery: Option<(Duration, i64)>,
    pub(super) policy: Policy,
}

impl std::fmt::Debug for LogScanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogScanner")
            .field("table", &self.info.path)
            .field("positions", &self.positions)
            .field("paused", &self.paused)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl LogScanner {
    pub(super) fn open(table: &Table, opening: Opening) -> Result<Self> {
        let fluss = table.fluss().clone();
        let shared = fluss.shared();
        let passes_over = opening.options.filter.is_some();
        let opened = shared.with(|core, now| core.client.open_scanner(opening.options, now));
        let key = opened.map_err(|error| shared.explain(error))?;
        let now = shared.now();
        let (ends, until) = opening.ends.unzip();
        let mut scanner = Self {
            fluss,
            info: Arc::clone(table.shared_info()),
            key,
            reader: opening.reader,
            fetched: VecDeque::new(),
            errors: VecDeque::new(),
            positions: opening.starts,
            ends: None,
            until,
            beyond: BTreeSet::new(),
            paused: BTreeSet::new(),
            failed: BTreeMap::new(),
            partitions: opening.partitions,
            discovery: opening
                .discovery
                .map(|(interval, start)| Discovery::new(interval, start, now)),
            policy: opening.policy,
            passes_over,
            waker: ScanWaker::default(),
            schema_call: None,
            range_call: None,
            refused: BTreeMap::new(),
        };
        scanner.ends = ends.map(|mut ends| {
            ends.retain(|key, end| {
                let start = scanner.positions.get(key).copied().unwrap_or(0);
                scanner.has_to_read(*key, start.max(0), *end)
            });
            ends
        });
        scanner.subscribe_all()?;
        Ok(scanner)
    }

    /// Whether anything is to be fetched of a bucket of a bounded scan that begins here.
    fn has_to_read(&mut self, bucket: BucketKey, start: i64, end: i64) -> bool {
        self.beyond.remove(&bucket);
        if start > end && self.until.as_ref().is_some_and(Until::is_end_of_log) {
            self.beyond.insert(bucket);
        }
        start < end || self.beyond.contains(&bucket)
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

    /// The next rows of any bucket; None at the end of a bounded scan, and when the scanner is
    /// [woken](Self::waker); [`is_finished`](Self::is_finished) tells which.
    ///
    /// # Errors
    /// [`Error::Scan`] for a bucket that stopped, [`Error::Closed`] after the client was closed;
    /// where new partitions are looked for, why the servers do not list them. A bucket whose
    /// servers are silent or out of reach is asked for again and again, and so is remote storage
    /// for segments that were moved there. In a bounded scan it stops, behind what came before,
    /// when [`Config::command_deadline`](crate::config::Config::command_deadline) has passed since
    /// it was asked for first and no good answer came; of remote storage, since the first read
    /// failed, and at the end of the read that is on its way then.
    pub fn next_batch(&mut self) -> NextBatch<'_> {
        NextBatch { scanner: self }
    }

    /// The same for implementations of `Future` and `Stream`: ready when [`next_batch`] is; else
    /// the task is woken when it is worth another look. With `futures-lite`, for one, a stream is
    /// `stream::poll_fn(|cx| scanner.poll_next_batch(cx).map(Result::transpose))`; with the feature
    /// `stream`, a scanner is one itself.
    ///
    /// # Errors
    /// As for [`next_batch`].
    ///
    /// [`next_batch`]: Self::next_batch
    pub fn poll_next_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<ScanBatch>>> {
        if self.waker.take() {
            return Poll::Ready(Ok(None));
        }
        let polled = self.poll_next(cx);
        if polled.is_pending() && self.waker.watch(cx.waker()) {
            return Poll::Ready(Ok(None));
        }
        polled
    }

    /// What ends a wait for the next batch from another thread or task.
    #[must_use]
    pub fn waker(&self) -> ScanWaker {
        self.waker.clone()
    }

    /// All batches of a bounded scan, or without end, until it is [woken](Self::waker); blocks this
    /// thread.
    ///
    /// # Errors
    /// Each item may be an error of [`next_batch`](Self::next_batch).
    pub fn blocking_iter(&mut self) -> impl Iterator<Item = Result<ScanBatch>> + '_ {
        std::iter::from_fn(|| self.next_batch().wait().transpose())
    }

    /// The columns of the table in the batches.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        self.reader.schema()
    }

    /// The columns of the record batches, metadata columns included.
    #[must_use]
    pub fn arrow_schema(&self) -> SchemaRef {
        Arc::clone(self.reader.arrow_schema())
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
        progress.paused = self.paused.contains(&bucket);
        progress.stopped &= !progress.paused;
        Some(progress)
    }

    /// Why nothing comes of a bucket, if its last fetch failed.
    pub(super) fn trouble(&self, bucket: BucketKey) -> Option<Error> {
        self.fluss.shared().with(|core, _| core.client.scan_trouble(self.key, bucket))
    }

    /// Whether a bounded scan has reached all its ends.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.fetched.is_empty() && self.ends.as_ref().is_some_and(BTreeMap::is_empty)
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
        self.discover(cx)?;
        let mut taken = false;
        loop {
            if let Some((error, call)) = &mut self.range_call {
                error.range = ready!(call.as_mut().poll(cx));
                let error = error.clone();
                self.range_call = None;
                self.reset_or_fail(error)?;
            }
            while let Some(front) = self.fetched.front() {
                let id = front.batch.schema_id();
                if front.batch.record_count() > 0
                    && !self.reader.knows(id)
                    && let Err(cause) = ready!(self.poll_schema(cx, id))
                {
                    return Poll::Ready(Err(self.fail_front(cause)));
                }
                if let Some(batch) = self.read_front()? {
                    return Poll::Ready(Ok(Some(batch)));
                }
            }
            if let Some(error) = self.errors.pop_front() {
                // Of what lies beyond the end, nothing matters.
                let at_end = |ends: &BTreeMap<_, _>| !ends.contains_key(&error.bucket);
                if self.ends.as_ref().is_some_and(at_end) || self.drop_partition_of(&error) {
                    continue;
                }
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
            if taken && self.reader.is_filtered() {
                // Whoever else runs on this thread is not to wait until a row is wanted.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            ready!(self.poll_take(cx))?;
            taken = true;
        }
    }

    /// What is done about a position out of range, as far as the range is known.
    fn reset_or_fail(&mut self, error: ScanError) -> Result<()> {
        let (bucket, from) = (error.bucket, error.position);
        let to = match (self.policy.out_of_range, error.range) {
            (OnOutOfRange::Earliest, Some((earliest, _))) => earliest,
            (OnOutOfRange::Latest, Some((_, latest))) => latest,
            _ => return Err(self.fail(error)),
        };
        let Some(range) = error.range.filter(|_| to != from || self.may_ask_again(bucket, from))
        else {
            return Err(self.fail(error));
        };
        self.read_from(bucket, to)?;
        if self.ends.as_ref().and_then(|ends| ends.get(&bucket)).is_some_and(|end| to >= *end) {
            self.advance(bucket, to);
        }
        self.policy.listener.tell(&ScanEvent::PositionReset { bucket, from, to, range });
        Ok(())
    }

    /// Whether a position that is in the range is worth another try. A log that was cut and has
    /// grown again since then holds it; servers that call it theirs and go on refusing it are not
    /// asked for ever.
    fn may_ask_again(&mut self, bucket: BucketKey, position: i64) -> bool {
        let (at, times) = self.refused.entry(bucket).or_insert((position, 0));
        if *at != position {
            (*at, *times) = (position, 0);
        }
        *times += 1;
        *times < REFUSALS
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

    /// Stops the bucket of the first fetched batch, which cannot be read.
    fn fail_front(&mut self, cause: Error) -> Error {
        let Some(fetched) = self.fetched.pop_front() else { return cause };
        self.stop_at(fetched.bucket, fetched.batch.base_offset().max(fetched.start_offset), cause)
    }

    fn stop_at(&mut self, bucket: BucketKey, position: i64, cause: Error) -> Error {
        self.forget(bucket);
        self.fluss.shared().with(|core, now| {
            core.client.stop_bucket(self.key, bucket, position, now);
        });
        self.fail(ScanError::new(bucket, position, cause))
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
                let damaged = matches!(cause, Error::Decode(_));
                if damaged && self.policy.corrupt == OnCorruptBatch::Skip {
                    let (from, to) = (position, fetched.next_offset);
                    self.advance(bucket, to);
                    let event = ScanEvent::BatchSkipped { bucket, from, to, cause };
                    self.policy.listener.tell(&event);
                    return Ok(None);
                }
                Err(self.stop_at(bucket, position, cause))
            }
        }
    }

    fn advance(&mut self, bucket: BucketKey, next: i64) {
        let end = self.ends.as_ref().and_then(|ends| ends.get(&bucket)).copied();
        let before = self.positions.get(&bucket).copied().unwrap_or(0);
        self.positions.insert(bucket, end.map_or(next, |end| next.min(end.max(before))));
        if end.is_some_and(|end| next >= end)
            && let Some(ends) = &mut self.ends
        {
            ends.remove(&bucket);
            self.fluss.shared().with(|core, now| core.client.unsubscribe(self.key, bucket, now));
        }
    }

    /// Ready when something was taken or a position moved.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let alarm = self.alarm();
        let polled = self.fluss.shared().with(|core, now| {
            let taken = core.client.take(self.key, TakeLimits::default(), now)?;
            let (mut moved, mut passed) = (Vec::new(), Vec::new());
            if taken.is_empty() {
                // The server may have passed over the last offsets without a batch.
                for (bucket, end) in self.ends.iter().flatten() {
                    let progress = core.client.progress(self.key, *bucket);
                    let answered = |p: &BucketProgress| !p.stopped && p.high_watermark.is_some();
                    let at_end = |p: &BucketProgress| {
                        p.position >= *end && (!self.beyond.contains(bucket) || answered(p))
                    };
                    moved.extend(progress.filter(at_end).map(|_| *bucket));
                }
                core.watch_scanner(self.key, cx.waker());
                if alarm.is_some() {
                    core.client.set_scan_alarm(self.key, alarm, now);
                }
            }
            if self.passes_over {
                let taken =
                    |key: &BucketKey| taken.batches.iter().any(|batch| batch.bucket == *key);
                for (key, position) in &self.positions {
                    let at = core.client.progress(self.key, *key).map_or(*position, |p| p.position);
                    if at > *position && !taken(key) && !moved.contains(key) {
                        passed.push((*key, at));
                    }
                }
            }
            Ok::<_, Error>((taken, moved, passed))
        });
        let (taken, moved, passed) = polled.map_err(|error| self.fluss.shared().explain(error))?;
        for (bucket, position) in passed {
            self.advance(bucket, position);
        }
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
            what: format!("{what}: a schema that does not parse: {}", e.to_text()).into(),
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
    /// Blocks this thread until there is a batch; None at the end of a bounded scan and when the
    /// scanner is woken.
    ///
    /// # Errors
    /// As for [`LogScanner::next_batch`].
    pub fn wait(self) -> Result<Option<ScanBatch>> {
        let shared = Arc::clone(self.scanner.fluss.shared());
        shared.block_on(self)?
    }

    /// Blocks this thread until there is a batch, at most about this long. None when the time
    /// passed, when the scanner is woken, and at the end of a bounded scan, which
    /// [`LogScanner::is_finished`] tells.
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
        self.scanner.poll_next_batch(cx)
    }
}
