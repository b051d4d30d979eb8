//! The state of each bucket, then every change after it.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use super::batch::SnapshotBatch;
use super::reader::{Item, SnapshotReader};
use crate::error::{Error, Result};
use crate::handle::pending::Pending;
use crate::handle::scan::LogScanner;
use crate::handle::scan::places::Partitions;
use crate::handle::scan::policy::{Listener, ScanEvent};
use crate::handle::scan_builder::ScanBuilder;
use crate::ids::BucketKey;
use crate::row::Schema;
use crate::scanner::ScanBatch;
use crate::time::Duration;

/// How far a bucket was read by [`SnapshotChanges`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SnapshotPosition {
    /// Its state was not handed out, or not all of it. Going on means to read it from its
    /// beginning, as of another moment: what was handed out of it is void.
    State,
    /// Its state was handed out, and all changes before this offset.
    Offset(i64),
}

/// What [`SnapshotChanges`] tells.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SnapshotEvent {
    /// The state of a bucket begins. What is known of the rows of this bucket is void: if there is
    /// anything, it is from an earlier reader, or of a moment of which the rest could not be had.
    StateBegins {
        /// The bucket.
        bucket: BucketKey,
    },
    /// Rows of the state of a bucket.
    State(SnapshotBatch),
    /// The state of a bucket is complete.
    StateEnds {
        /// The bucket.
        bucket: BucketKey,
        /// Where its changes go on.
        offset: i64,
    },
    /// Changes of a bucket whose state was handed out.
    Changes(ScanBatch),
}

type Opening = Pending<LogScanner>;

/// Who is told of partitions that are gone before their state was told, and their names.
#[derive(Debug)]
pub(super) struct Dropped {
    pub(super) listener: Listener,
    pub(super) partitions: Partitions,
}

/// All rows of a primary-key table as they are now, and then every change after that; made by
/// [`Table::snapshot_then_changes`](crate::Table::snapshot_then_changes).
///
/// First the state of each bucket is told, bucket after bucket: [`SnapshotEvent::StateBegins`], its
/// rows, [`SnapshotEvent::StateEnds`] with the offset that it belongs to. When all states were
/// told, the changes of all buckets follow, of each from that offset on: none is left out, none is
/// in the state already. Servers of the 1.0 line tell the offset with the rows; of older ones the
/// changelog is replayed from its first record on, and where that is gone, it is an error.
/// Partitions that are found later begin with a state without rows, right before their changes.
///
/// Whoever keeps a bucket's rows by their keys, forgets them at `StateBegins`, puts the rows of
/// `State` and then applies the changes, has the rows of the table at every
/// [`high watermark`](crate::BucketProgress::high_watermark) that it reaches. A state of which the
/// rest was lost with its server begins anew, with another `StateBegins`.
///
/// After every event [`SnapshotChanges::positions`] tells where to go on. Everything a call was in
/// the middle of stays in the reader: dropping the future of [`SnapshotChanges::next_event`] loses
/// nothing.
pub struct SnapshotChanges {
    states: SnapshotReader,
    dropped: Dropped,
    states_over: bool,
    positions: BTreeMap<BucketKey, SnapshotPosition>,
    /// How the changes are read.
    scanner: ScanBuilder,
    ends: Option<BTreeMap<BucketKey, i64>>,
    opening: Option<Opening>,
    changes: Option<LogScanner>,
    /// Set when the scanner has found a partition.
    found: Arc<AtomicBool>,
    /// The beginnings and ends of the states of found partitions, to be told next.
    begun: VecDeque<SnapshotEvent>,
}

impl std::fmt::Debug for SnapshotChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotChanges")
            .field("states", &self.states)
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}

impl SnapshotChanges {
    pub(super) fn new(
        (states, dropped): (SnapshotReader, Dropped),
        positions: BTreeMap<BucketKey, SnapshotPosition>,
        scanner: ScanBuilder,
        (ends, found): (Option<BTreeMap<BucketKey, i64>>, Arc<AtomicBool>),
    ) -> Self {
        Self {
            states,
            dropped,
            states_over: false,
            positions,
            scanner,
            ends,
            opening: None,
            changes: None,
            found,
            begun: VecDeque::new(),
        }
    }

    /// The next rows, or the beginning or end of a state; None at the end of a bounded reader.
    ///
    /// # Errors
    /// Until all states were told those of
    /// [`SnapshotReader::next_batch`](super::SnapshotReader::next_batch), after which the reader is
    /// over; then those of [`LogScanner::next_batch`].
    pub fn next_event(&mut self) -> NextSnapshotEvent<'_> {
        NextSnapshotEvent { reader: self }
    }

    /// All events of a bounded reader, or without end; blocks this thread.
    ///
    /// # Errors
    /// Each item may be an error of [`next_event`](Self::next_event).
    pub fn blocking_iter(&mut self) -> impl Iterator<Item = Result<SnapshotEvent>> + '_ {
        std::iter::from_fn(|| self.next_event().wait().transpose())
    }

    /// The columns of the batches.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        self.states.schema()
    }

    /// How far each bucket was read, by what was handed out: given to
    /// [`SnapshotChangesBuilder::from_positions`](super::SnapshotChangesBuilder::from_positions),
    /// reading goes on there.
    #[must_use]
    pub fn positions(&self) -> BTreeMap<BucketKey, SnapshotPosition> {
        let Some(changes) = &self.changes else { return self.positions.clone() };
        let offsets = changes.positions().iter();
        offsets.map(|(key, at)| (*key, SnapshotPosition::Offset(*at))).collect()
    }

    /// The scanner of the changes, when all states were told.
    #[must_use]
    pub fn changes(&self) -> Option<&LogScanner> {
        self.changes.as_ref()
    }

    /// Whether a bounded reader has told everything.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.changes.as_ref().is_some_and(LogScanner::is_finished)
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<SnapshotEvent>>> {
        while !self.states_over {
            let item = ready!(self.states.poll_item(cx))?;
            if let Some(event) = self.event_of(item)? {
                return Poll::Ready(Ok(Some(event)));
            }
        }
        loop {
            if let Some(event) = self.begun.pop_front() {
                return Poll::Ready(Ok(Some(event)));
            }
            if let Some(changes) = &mut self.changes {
                let batch = Pin::new(&mut changes.next_batch()).poll(cx);
                // What came with the finding is of other buckets: new ones are asked for later.
                self.begin_found();
                if batch.is_pending() && !self.begun.is_empty() {
                    continue;
                }
                return Poll::Ready(Ok(ready!(batch)?.map(SnapshotEvent::Changes)));
            }
            if self.opening.is_none() {
                self.opening = Some(self.open());
            }
            if let Some(opening) = &mut self.opening {
                let opened = ready!(Pin::new(opening).poll(cx));
                self.opening = None;
                self.changes = Some(opened?);
            }
        }
    }

    /// The empty states of the partitions that were found since.
    fn begin_found(&mut self) {
        let Some(changes) = self.changes.as_ref().filter(|_| self.found.swap(false, Relaxed))
        else {
            return;
        };
        for bucket in changes.positions().keys() {
            let at = SnapshotPosition::Offset(0);
            if self.positions.insert(*bucket, at).is_none() {
                self.begun.push_back(SnapshotEvent::StateBegins { bucket: *bucket });
                self.begun.push_back(SnapshotEvent::StateEnds { bucket: *bucket, offset: 0 });
            }
        }
    }

    fn event_of(&mut self, item: Option<Item>) -> Result<Option<SnapshotEvent>> {
        Ok(Some(match item {
            None => {
                self.states_over = true;
                return Ok(None);
            }
            Some(Item::Begin(bucket)) => SnapshotEvent::StateBegins { bucket },
            Some(Item::Rows(batch)) => SnapshotEvent::State(batch),
            Some(Item::Dropped(partition)) => {
                self.positions.retain(|key, _| key.partition != Some(partition));
                let name = self.dropped.partitions.name(partition);
                self.dropped.listener.tell(&ScanEvent::PartitionDropped { partition, name });
                return Ok(None);
            }
            Some(Item::End(bucket, Some(offset))) => {
                self.positions.insert(bucket, SnapshotPosition::Offset(offset));
                SnapshotEvent::StateEnds { bucket, offset }
            }
            Some(Item::End(bucket, None)) => {
                let text = format!("{bucket}: a state without the offset that it belongs to");
                return Err(Error::misuse(text));
            }
        }))
    }

    fn open(&self) -> Opening {
        let offsets = self.positions.iter().filter_map(|(key, position)| match position {
            SnapshotPosition::Offset(offset) => Some((*key, *offset)),
            SnapshotPosition::State => None,
        });
        let scanner = self.scanner.clone().from_offsets(offsets);
        match &self.ends {
            Some(ends) => scanner.until_ends(ends.clone()).build(),
            None => scanner.build(),
        }
    }
}

/// The next event of a [`SnapshotChanges`]: await it, or wait for it. Dropping it loses nothing.
#[derive(Debug)]
#[must_use = "nothing is read until it is awaited or waited for"]
pub struct NextSnapshotEvent<'a> {
    reader: &'a mut SnapshotChanges,
}

impl NextSnapshotEvent<'_> {
    /// Blocks this thread until there is an event; None at the end of a bounded reader.
    ///
    /// # Errors
    /// As for [`SnapshotChanges::next_event`].
    pub fn wait(self) -> Result<Option<SnapshotEvent>> {
        let shared = Arc::clone(self.reader.states.table().fluss().shared());
        shared.block_on(self)?
    }

    /// Blocks this thread until there is an event, at most about this long. None when the time
    /// passed and at the end of a bounded reader; [`SnapshotChanges::is_finished`] tells which.
    ///
    /// # Errors
    /// As for [`SnapshotChanges::next_event`].
    pub fn wait_timeout(self, limit: Duration) -> Result<Option<SnapshotEvent>> {
        let shared = Arc::clone(self.reader.states.table().fluss().shared());
        shared.block_for(self, limit)?.unwrap_or(Ok(None))
    }
}

impl Future for NextSnapshotEvent<'_> {
    type Output = Result<Option<SnapshotEvent>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.reader.poll_event(cx)
    }
}
