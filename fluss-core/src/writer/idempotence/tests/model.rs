//! The server, as far as writers can tell: append validation, windows, replication, leadership.

use std::collections::{BTreeMap, VecDeque};

use crate::writer::idempotence::Stamp;

/// One appended batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) stamp: Stamp,
    pub(super) payload: u64,
}

/// The leader's replica of one bucket. What followers have is the part below `hw`.
#[derive(Clone, Debug, Default)]
pub(super) struct Replica {
    pub(super) log: Vec<Entry>,
    /// Entries every later leader has.
    pub(super) hw: usize,
    /// Per writer the last sequences with their offsets, oldest first.
    windows: BTreeMap<i64, VecDeque<(i32, usize)>>,
    /// Everything a leader ever appended, also what a failover dropped.
    pub(super) ever: Vec<Entry>,
    pub(super) leader: i32,
    pub(super) epoch: i32,
    /// It lost what it had acknowledged, or forgot a writer.
    pub(super) harmed: bool,
}

/// Batches a window remembers.
pub(super) const WINDOW: usize = 5;

impl Replica {
    /// Validates and appends as the leader does: the offset, or the code.
    pub(super) fn append(&mut self, stamp: Stamp, payload: u64) -> Result<usize, i32> {
        let Stamp { writer_id, sequence } = stamp;
        if writer_id != -1 {
            let window = self.windows.entry(writer_id).or_default();
            if let Some((_, at)) = window.iter().find(|(s, _)| *s == sequence) {
                return Ok(*at);
            }
            let last = window.back().map_or(-1, |(s, _)| i64::from(*s));
            let after = i64::from(sequence) == last + 1;
            let wrapped = sequence == 0 && last == i64::from(i32::MAX);
            if !after && !wrapped {
                return Err(31);
            }
            if window.len() == WINDOW {
                window.pop_front();
            }
            window.push_back((sequence, self.log.len()));
        }
        self.log.push(Entry { stamp, payload });
        self.ever.push(Entry { stamp, payload });
        Ok(self.log.len() - 1)
    }

    /// A clean restart: every window keeps its last batch.
    pub(super) fn shrink(&mut self) {
        for window in self.windows.values_mut() {
            while window.len() > 1 {
                window.pop_front();
            }
        }
    }

    /// Forgets a writer.
    pub(super) fn expire(&mut self, writer_id: i64) {
        self.windows.remove(&writer_id);
        self.harmed = true;
    }

    /// Drops all entries from this offset on and rebuilds the windows from the log.
    pub(super) fn truncate(&mut self, end: usize) {
        self.harmed |= end < self.hw;
        self.log.truncate(end);
        self.hw = self.hw.min(end);
        self.windows.clear();
        for (at, entry) in self.log.iter().enumerate() {
            let window = self.windows.entry(entry.stamp.writer_id).or_default();
            if window.len() == WINDOW {
                window.pop_front();
            }
            window.push_back((entry.stamp.sequence, at));
        }
    }

    /// Starts a writer at this sequence, as if all before had been written.
    pub(super) fn set_last(&mut self, writer_id: i64, sequence: i32) {
        self.windows.insert(writer_id, VecDeque::from([(sequence, 0)]));
    }

    /// Whether a payload is in the log.
    pub(super) fn has(&self, payload: u64) -> bool {
        self.log.iter().any(|entry| entry.payload == payload)
    }
}
