//! The log of one bucket.

use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet};

use super::Rule;
use super::batch::LogBatch;
use super::tier::Segment;
use super::window::{Stamp, Verdict, Writers};

/// A stored batch.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) base_offset: i64,
    pub(super) timestamp: i64,
    pub(super) batch: LogBatch,
}

impl Entry {
    pub(super) fn next_offset(&self) -> i64 {
        self.base_offset + i64::from(self.batch.last_offset_delta) + 1
    }

    /// The batch's bytes with offset and timestamp in place.
    pub(super) fn stamped(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.batch.bytes.len());
        self.batch.write(self.base_offset, self.timestamp, &mut out);
        out.freeze()
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            sequence: self.batch.sequence,
            base_offset: self.base_offset,
            last_offset: self.next_offset() - 1,
            timestamp: self.timestamp,
        }
    }
}

/// Batches, how far they are replicated, and who wrote last.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) entries: Vec<Entry>,
    /// The first offset that can be read.
    pub(super) start: i64,
    /// The next offset.
    pub(super) end: i64,
    /// What is replicated; clients see nothing at or above it.
    pub(super) high_watermark: i64,
    pub(super) max_timestamp: i64,
    pub(super) writers: Writers,
    /// What is in remote storage, in order; its batches are not served from here.
    pub(super) moved: Vec<Segment>,
    /// Offsets at which a new segment of the leader began. One read never goes beyond its segment.
    rolls: Vec<i64>,
    /// The same for followers.
    followers_rolls: BTreeMap<i32, Vec<i64>>,
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) base_offset: i64,
    pub(super) last_offset: i64,
    pub(super) duplicate: bool,
}

impl Log {
    /// Whether the batch is new, known or out of turn.
    pub(super) fn judge(&self, batch: &LogBatch, off: &BTreeSet<Rule>) -> Verdict {
        self.writers.judge(batch.writer_id, batch.sequence, off)
    }

    /// The place of a duplicate: where the first copy went.
    pub(super) fn duplicate(&self, stamp: Stamp, off: &BTreeSet<Rule>) -> Place {
        if off.contains(&Rule::DuplicateOffsets) {
            return Place { base_offset: self.end, last_offset: self.end - 1, duplicate: true };
        }
        let Stamp { base_offset, last_offset, .. } = stamp;
        Place { base_offset, last_offset, duplicate: true }
    }

    /// Appends a batch that was judged new. `keep` false only moves the offsets.
    pub(super) fn append(&mut self, batch: LogBatch, now_ms: i64, keep: bool) -> Place {
        let timestamp = self.max_timestamp.max(now_ms);
        let entry = Entry { base_offset: self.end, timestamp, batch };
        let stamp = entry.stamp();
        self.max_timestamp = timestamp;
        self.end = entry.next_offset();
        self.writers.push(entry.batch.writer_id, stamp);
        if keep {
            self.entries.push(entry);
        }
        let Stamp { base_offset, last_offset, .. } = stamp;
        Place { base_offset, last_offset, duplicate: false }
    }

    /// The index of the entry that holds `offset`, or of the first one behind it.
    pub(super) fn index_of(&self, offset: i64) -> usize {
        self.entries.partition_point(|entry| entry.next_offset() <= offset)
    }

    /// Begins a new segment, as servers do when they open a log that was not closed.
    pub(super) fn roll(&mut self) {
        if self.rolls.last().copied().unwrap_or(0) < self.end {
            self.rolls.push(self.end);
        }
    }

    /// A follower was killed: it begins a new segment once it is back.
    pub(super) fn roll_follower(&mut self, follower: i32) {
        // Segments begin with a batch, which the high watermark need not do.
        let next = self.entries.get(self.index_of(self.high_watermark));
        let end = next.map_or(self.end, |entry| entry.base_offset);
        let rolls = self.followers_rolls.entry(follower).or_default();
        if rolls.last().copied().unwrap_or(0) < end {
            rolls.push(end);
        }
    }

    /// Reads from the segments of another leader from here on.
    pub(super) fn change_leader(&mut self, old: i32, new: i32) {
        let new = self.followers_rolls.remove(&new).unwrap_or_default();
        let rolls = std::mem::replace(&mut self.rolls, new);
        self.followers_rolls.insert(old, rolls);
    }

    /// The entries that one read from this offset can reach.
    pub(super) fn segment(&self, offset: i64) -> &[Entry] {
        let first = self.index_of(offset);
        let from = self.entries.get(first).map_or(self.end, |entry| entry.base_offset);
        let next = self.rolls.iter().find(|roll| **roll > from);
        let end = next.map_or(self.entries.len(), |roll| self.index_of(*roll));
        &self.entries[first..end]
    }

    /// Cuts the log at `end` (a batch boundary is found at or below it) and rebuilds what is known
    /// of the writers from what is left.
    pub(super) fn truncate(&mut self, end: i64) {
        let keep = self.entries.partition_point(|entry| entry.next_offset() <= end);
        self.entries.truncate(keep);
        self.end = self.entries.last().map_or(0, Entry::next_offset);
        self.start = self.start.min(self.end);
        self.moved.retain(|segment| segment.end <= self.end);
        self.high_watermark = self.high_watermark.min(self.end);
        self.max_timestamp = self.entries.last().map_or(0, |entry| entry.timestamp);
        let followers = self.followers_rolls.values_mut();
        std::iter::once(&mut self.rolls).chain(followers).for_each(|rolls| {
            rolls.retain(|roll| *roll <= self.end);
        });
        self.rebuild();
    }

    /// Learns the writers again from the log, as a replay after an unclean stop does.
    pub(super) fn rebuild(&mut self) {
        let mut writers = Writers::default();
        for entry in &self.entries {
            writers.push(entry.batch.writer_id, entry.stamp());
        }
        self.writers = writers;
    }

    /// The first offset with a timestamp not below `timestamp`; the high watermark without one.
    pub(super) fn offset_at(&self, timestamp: i64) -> i64 {
        let at = self.entries.partition_point(|entry| entry.timestamp < timestamp);
        self.entries.get(at).map_or(self.high_watermark, |entry| entry.base_offset)
    }
}
