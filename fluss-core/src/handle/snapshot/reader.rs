//! Several buckets on their way, rows handed out bucket after bucket.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use fluss_proto::ErrorCode;

use super::batch::SnapshotBatch;
use super::bucket::{BucketRead, Job, Step};
use crate::error::{Error, Result};
use crate::ids::{BucketKey, PartitionId};
use crate::row::Schema;

/// How often a bucket is begun anew.
const RESTARTS: u32 = 5;

type Work = Pin<Box<dyn Future<Output = (BucketRead, Result<Step>)> + Send>>;

/// All rows of a primary-key table as they are now, bucket after bucket; made by
/// [`Table::snapshot`](crate::Table::snapshot).
///
/// The rows of one bucket are those of one moment, told by [`SnapshotBatch::log_offset`]; the
/// moments of buckets differ. While a bucket is handed out, the next ones are on their way, within
/// a byte budget. Everything a call was in the middle of stays in the reader: dropping the future
/// of [`SnapshotReader::next_batch`] loses nothing.
///
/// A server that fails, or stops leading, while nothing of a bucket was handed out costs time only.
/// Later, the rest of that moment is gone: then there is an error, and the bucket has to be read
/// again from its beginning. After an error the reader is over and repeats it.
pub struct SnapshotReader {
    job: Arc<Job>,
    schema: Schema,
    /// Buckets that were not begun, each with the number of those beside it.
    waiting: VecDeque<(BucketKey, Option<i32>)>,
    /// The first one is being handed out.
    slots: VecDeque<Slot>,
    at_once: usize,
    /// Rows still wanted.
    left: Option<u64>,
    /// Whether the caller can forget what it has of a bucket.
    forgets: bool,
    /// Whether partitions that are dropped are told and left; they are an error else.
    leaves_dropped: bool,
    failed: Option<Error>,
}

impl std::fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotReader")
            .field("table", &self.job.table.info().path)
            .field("waiting", &self.waiting.len())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// What a reader says.
#[derive(Debug)]
pub(super) enum Item {
    /// Rows of this bucket come, all from its beginning.
    Begin(BucketKey),
    Rows(SnapshotBatch),
    End(BucketKey, Option<i64>),
    /// Nothing more comes of this partition: it is gone, and with it what was told of its rows.
    Dropped(PartitionId),
}

/// A bucket on its way.
struct Slot {
    bucket: BucketKey,
    /// None while it is working.
    read: Option<BucketRead>,
    work: Option<Work>,
    ready: VecDeque<SnapshotBatch>,
    end: Option<Option<i64>>,
    error: Option<Error>,
    restarts: u32,
    /// Whether its beginning was told, and whether rows of it were handed out since.
    begun: bool,
    given: u64,
}

impl Slot {
    fn new(read: BucketRead, bucket: BucketKey) -> Self {
        Self {
            bucket,
            read: Some(read),
            work: None,
            ready: VecDeque::new(),
            end: None,
            error: None,
            restarts: 0,
            begun: false,
            given: 0,
        }
    }

    /// Batches that should be there before the first one is given away: with the second one, it is
    /// known that a session which waited for its turn is still alive.
    fn is_settled(&self) -> bool {
        self.given > 0 || self.ready.len() > 1 || self.end.is_some()
    }

    fn wants_more(&self, is_first: bool) -> bool {
        let enough = if is_first && self.given == 0 { 2 } else { 1 };
        self.end.is_none() && self.error.is_none() && self.ready.len() < enough
    }

    fn bytes(&self) -> u64 {
        self.ready.iter().map(|batch| batch.bytes).sum()
    }

    fn finish(&mut self, read: BucketRead, step: Result<Step>, forgets: bool) {
        self.read = Some(read);
        match step {
            Ok(Step::Rows(batch)) => self.ready.push_back(batch),
            Ok(Step::End(offset)) => self.end = Some(offset),
            Ok(Step::Lost(error)) => self.restart(error, forgets),
            Err(error) => self.error = Some(error),
        }
    }

    fn restart(&mut self, error: Error, forgets: bool) {
        if self.restarts >= RESTARTS {
            self.error = Some(error);
        } else if self.given > 0 && !forgets {
            self.error = Some(interrupted(error, self.given));
        } else {
            self.restarts += 1;
            self.ready.clear();
            (self.begun, self.given) = (false, 0);
            if let Some(read) = &mut self.read {
                read.restart();
            }
        }
    }
}

/// The error of a bucket of which rows were handed out.
fn interrupted(error: Error, rows: u64) -> Error {
    let note = |what: &str| -> Arc<str> {
        format!(
            "{what}: {rows} rows of the bucket were handed out, and the rest of that moment is \
             gone; read it again from its beginning"
        )
        .into()
    };
    match error {
        Error::Rejected { what, code, message } => {
            Error::Rejected { what: note(&what), code, message }
        }
        Error::Disconnected { server, what, sent } => {
            Error::Disconnected { server, what: note(&what), sent }
        }
        Error::Unavailable { what, after, last } => {
            Error::Unavailable { what: note(&what), after, last }
        }
        other => other,
    }
}

impl SnapshotReader {
    pub(super) fn new(
        job: Job,
        buckets: Vec<(BucketKey, Option<i32>)>,
        at_once: usize,
        limit: Option<u64>,
    ) -> Self {
        let (forgets, schema) = (job.with_offset, job.replayed.schema().clone());
        Self {
            schema,
            forgets,
            job: Arc::new(job),
            waiting: buckets.into(),
            slots: VecDeque::new(),
            // With a limit it is not known how much the next bucket has to bring.
            at_once: if limit.is_some() { 1 } else { at_once },
            left: limit,
            leaves_dropped: false,
            failed: None,
        }
    }

    /// Tells of partitions that are dropped, and goes on with the others.
    pub(super) fn leave_dropped(&mut self) {
        self.leaves_dropped = true;
    }

    /// The next rows of any bucket; None when all were there.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a bucket that this server cannot send whole, [`Error::Rejected`] with
    /// the server's code, [`Error::Unavailable`] without an answer within
    /// [`Config::command_deadline`](crate::config::Config::command_deadline),
    /// [`Error::Disconnected`] where a connection took the rest of a bucket with it,
    /// [`Error::Closed`] after the client was closed.
    pub fn next_batch(&mut self) -> NextSnapshotBatch<'_> {
        NextSnapshotBatch { reader: self }
    }

    /// All batches; blocks this thread.
    ///
    /// # Errors
    /// The last item may be an error of [`next_batch`](Self::next_batch).
    pub fn blocking_iter(&mut self) -> impl Iterator<Item = Result<SnapshotBatch>> + '_ {
        let mut over = false;
        std::iter::from_fn(move || {
            let next = (!over).then(|| self.next_batch().wait().transpose()).flatten();
            over |= matches!(next, Some(Err(_)));
            next
        })
    }

    /// The columns of the batches.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(super) fn table(&self) -> &crate::Table {
        &self.job.table
    }

    pub(super) fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Item>>> {
        if let Some(error) = &self.failed {
            return Poll::Ready(Err(error.clone()));
        }
        if self.left == Some(0) {
            self.slots.clear();
            self.waiting.clear();
        }
        self.pump(cx);
        let Some(front) = self.slots.front_mut() else { return Poll::Ready(Ok(None)) };
        if let Some(error) = front.error.take() {
            let gone = error.code() == Some(ErrorCode::PARTITION_NOT_EXISTS);
            if let (true, true, Some(partition)) =
                (self.leaves_dropped, gone, front.bucket.partition)
            {
                self.slots.retain(|slot| slot.bucket.partition != Some(partition));
                self.waiting.retain(|(bucket, _)| bucket.partition != Some(partition));
                return Poll::Ready(Ok(Some(Item::Dropped(partition))));
            }
            self.slots.clear();
            self.failed = Some(error.clone());
            return Poll::Ready(Err(error));
        }
        if !front.is_settled() {
            return Poll::Pending;
        }
        if !front.begun {
            front.begun = true;
            return Poll::Ready(Ok(Some(Item::Begin(front.bucket))));
        }
        if let Some(batch) = front.ready.pop_front() {
            let rows = batch.num_rows() as u64;
            front.given += rows;
            self.left = self.left.map(|left| left.saturating_sub(rows));
            // What comes next is asked for before these rows are looked at.
            self.pump(cx);
            return Poll::Ready(Ok(Some(Item::Rows(batch))));
        }
        let Some(offset) = front.end else { return Poll::Pending };
        let bucket = front.bucket;
        self.slots.pop_front();
        Poll::Ready(Ok(Some(Item::End(bucket, offset))))
    }

    /// Lets every bucket do what it can do now.
    fn pump(&mut self, cx: &mut Context<'_>) {
        loop {
            self.begin_more();
            let mut moved = false;
            for index in 0..self.slots.len() {
                let allowed = index == 0 || self.has_room();
                let slot = &mut self.slots[index];
                if slot.work.is_none()
                    && slot.wants_more(index == 0)
                    && allowed
                    && let Some(read) = slot.read.take()
                {
                    slot.work = Some(Box::pin(read.next()));
                }
                if let Some(work) = &mut slot.work
                    && let Poll::Ready((read, step)) = work.as_mut().poll(cx)
                {
                    slot.work = None;
                    slot.finish(read, step, self.forgets);
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn begin_more(&mut self) {
        while self.slots.len() < self.at_once {
            let Some((bucket, of)) = self.waiting.pop_front() else { return };
            let read = BucketRead::new(&self.job, bucket, of, self.left);
            self.slots.push_back(Slot::new(read, bucket));
        }
    }

    /// Whether one more answer fits into the budget.
    fn has_room(&self) -> bool {
        let fetch = self.job.fetch_bytes as u64;
        let coming = self.slots.iter().filter(|slot| slot.work.is_some()).count() as u64;
        let there: u64 = self.slots.iter().map(Slot::bytes).sum();
        there + (coming + 1) * fetch <= self.job.buffer_limit
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<SnapshotBatch>>> {
        loop {
            match ready!(self.poll_item(cx))? {
                None => return Poll::Ready(Ok(None)),
                Some(Item::Rows(batch)) => return Poll::Ready(Ok(Some(batch))),
                Some(Item::Begin(_) | Item::End(..) | Item::Dropped(_)) => {}
            }
        }
    }
}

/// The next batch of a [`SnapshotReader`]: await it, or wait for it. Dropping it loses nothing.
#[derive(Debug)]
#[must_use = "nothing is read until it is awaited or waited for"]
pub struct NextSnapshotBatch<'a> {
    reader: &'a mut SnapshotReader,
}

impl NextSnapshotBatch<'_> {
    /// Blocks this thread until there is a batch; None when all were there.
    ///
    /// # Errors
    /// As for [`SnapshotReader::next_batch`].
    pub fn wait(self) -> Result<Option<SnapshotBatch>> {
        let shared = Arc::clone(self.reader.job.table.fluss().shared());
        shared.block_on(self)?
    }
}

impl Future for NextSnapshotBatch<'_> {
    type Output = Result<Option<SnapshotBatch>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.reader.poll_batch(cx)
    }
}
