//! Segments of logs that were moved to remote storage, and the storage itself.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fluss_proto::message::{PbRemoteLogFetchInfo, PbRemoteLogSegment};

use super::FakeCluster;
use super::log::{Entry, Log};
use crate::ids::BucketKey;
use crate::rng::Rng;
use crate::storage::{ObjectPart, StorageError, StorageErrorKind};

/// Bytes between two entries of a segment's index, as servers have it.
const INDEX_INTERVAL: usize = 4 << 10;

/// A segment in remote storage.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    id: String,
    start: i64,
    /// Exclusive.
    pub(super) end: i64,
    bytes: Bytes,
    /// Last offsets of some batches, and where these begin.
    index: Vec<(i64, usize)>,
}

impl Segment {
    fn of(id: String, entries: &[Entry]) -> Option<Self> {
        let (mut bytes, mut index, mut since) = (BytesMut::new(), Vec::new(), 0);
        for entry in entries {
            if since > INDEX_INTERVAL {
                index.push((entry.next_offset() - 1, bytes.len()));
                since = 0;
            }
            let before = bytes.len();
            entry.batch.write(entry.base_offset, entry.timestamp, &mut bytes);
            since += bytes.len() - before;
        }
        let (start, end) = (entries.first()?.base_offset, entries.last()?.next_offset());
        Some(Self { id, start, end, bytes: bytes.freeze(), index })
    }

    /// Where a batch begins that is not behind this offset; often not the last one.
    fn position_of(&self, offset: i64) -> usize {
        let before = self.index.iter().rev().find(|(last, _)| *last <= offset);
        before.map_or(0, |(_, at)| *at)
    }

    fn object(&self, dir: &str) -> String {
        format!("{dir}/{}/{:020}.log", self.id, self.start)
    }
}

/// The remote storage, but for what is in it.
#[derive(Debug)]
pub(super) struct Remote {
    /// How all names of objects begin.
    pub(super) root: String,
    /// Segments that were ever moved.
    segments: u64,
    reads: u64,
    denied: u64,
    /// What goes wrong: by this chance, one in so many reads.
    faults: Option<(Rng, u64)>,
}

impl Default for Remote {
    fn default() -> Self {
        Self { root: "/remote".to_owned(), segments: 0, reads: 0, denied: 0, faults: None }
    }
}

impl Log {
    /// The first offset that is not in remote storage only.
    pub(super) fn local_start(&self) -> i64 {
        self.moved.last().map_or(0, |segment| segment.end)
    }

    /// Where the records from this offset on are, in a directory; None if they are here.
    pub(super) fn moved_from(&self, offset: i64, dir: String) -> Option<PbRemoteLogFetchInfo> {
        let segments = self.moved.iter().filter(|segment| segment.end > offset);
        let remote_log_segments = segments.clone().map(|segment| PbRemoteLogSegment {
            remote_log_segment_id: segment.id.clone(),
            remote_log_start_offset: segment.start,
            remote_log_end_offset: segment.end,
            segment_size_in_bytes: i32::try_from(segment.bytes.len()).unwrap_or(i32::MAX),
            ..PbRemoteLogSegment::default()
        });
        let first = segments.clone().next()?;
        Some(PbRemoteLogFetchInfo {
            remote_log_tablet_dir: dir,
            partition_name: None,
            first_start_pos: i32::try_from(first.position_of(offset)).ok(),
            remote_log_segments: remote_log_segments.collect(),
        })
    }
}

impl FakeCluster {
    /// Moves the batches below `end`, as far as they are replicated, to remote storage as a segment
    /// of their own: whoever fetches them is told where they are, and reads them by
    /// [`FakeCluster::read_object`]. False if there is none to move.
    pub fn move_to_remote(&mut self, key: BucketKey, end: i64) -> bool {
        self.remote.segments += 1;
        let id = format!("00000000-0000-4000-8000-{:012x}", self.remote.segments);
        let Some(bucket) = self.catalog.buckets.get_mut(&key) else { return false };
        let log = &mut bucket.log;
        let (start, end) = (log.local_start().max(log.start), end.min(log.high_watermark));
        let first = log.index_of(start);
        let last = log.entries.partition_point(|entry| entry.next_offset() <= end);
        let Some(entries) = log.entries.get(first..last) else { return false };
        let segment = Segment::of(id, entries);
        let moved = segment.is_some();
        log.moved.extend(segment);
        moved
    }

    /// How many segments of a bucket are in remote storage.
    #[must_use]
    pub fn moved_segments(&self, key: BucketKey) -> usize {
        self.catalog.buckets.get(&key).map_or(0, |bucket| bucket.log.moved.len())
    }

    /// Lets every `one_in`th read from remote storage fail on average, or be denied, cut or slow;
    /// 0 for none.
    pub fn disturb_remote(&mut self, seed: u64, one_in: u64) {
        self.remote.faults = (one_in > 0).then(|| (Rng::new(seed), one_in));
    }

    /// Reads an object in remote storage: how long that takes, and what comes of it.
    ///
    /// # Errors
    /// Of the kind `NotFound` for objects that are not or no longer there, others as
    /// [`FakeCluster::disturb_remote`] wants.
    pub fn read_object(&mut self, part: &ObjectPart) -> (Duration, Result<Bytes, StorageError>) {
        self.remote.reads += 1;
        let allowed = self.check_token(part);
        self.remote.denied += u64::from(allowed.is_err());
        let found = allowed.and_then(|()| self.object(part));
        let Some((rng, one_in)) = &mut self.remote.faults else { return (Duration::ZERO, found) };
        if !rng.one_in(*one_in) {
            return (Duration::ZERO, found);
        }
        let injected = |kind| Err(StorageError::new(part, kind, "injected"));
        match rng.below(5) {
            0 => (Duration::ZERO, injected(StorageErrorKind::Unavailable)),
            1 => (Duration::ZERO, injected(StorageErrorKind::Denied)),
            2 => (Duration::from_millis(rng.below(1_000)), found),
            // For longer than anybody waits.
            3 => (Duration::from_secs(3_600), found),
            _ => {
                let cut = |bytes: Bytes| bytes.slice(..rng.below(bytes.len() as u64 + 1) as usize);
                (Duration::ZERO, found.map(cut))
            }
        }
    }

    /// How many reads from remote storage were answered.
    #[must_use]
    pub fn remote_reads(&self) -> u64 {
        self.remote.reads
    }

    /// How many of them were denied for want of a good token.
    #[must_use]
    pub fn denied_reads(&self) -> u64 {
        self.remote.denied
    }

    pub(super) fn object(&self, part: &ObjectPart) -> Result<Bytes, StorageError> {
        let segments = self.catalog.buckets.iter().flat_map(|(key, bucket)| {
            let dir = self.remote_dir(*key);
            bucket.log.moved.iter().map(move |segment| (segment.object(&dir), segment))
        });
        let found = segments.into_iter().find(|(name, _)| **name == *part.object);
        let missing = || StorageError::new(part, StorageErrorKind::NotFound, "no such object");
        let (_, segment) = found.ok_or_else(missing)?;
        let size = segment.bytes.len();
        let from = usize::try_from(part.from).map_or(size, |from| from.min(size));
        Ok(segment.bytes.slice(from..size.min(from.saturating_add(part.len))))
    }

    /// Where the segments of a bucket are.
    pub(super) fn remote_dir(&self, key: BucketKey) -> String {
        let Some(table) = self.catalog.table_by_id(key.table.0) else { return String::new() };
        let partition = key.partition.and_then(|id| {
            let (_, name) = self.catalog.partition(id.0)?;
            Some(format!("{name}-p{id}/"))
        });
        let (path, partition) = (&table.path, partition.unwrap_or_default());
        let (database, name) = (&path.database, &path.table);
        let root = &self.remote.root;
        format!("{root}/log/{database}/{name}-{}/{partition}{}", table.id, key.bucket)
    }
}
