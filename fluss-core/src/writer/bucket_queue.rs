//! The batches of one bucket that wait to be sent for the first time.
//!
//! A batch takes its place when it opens, before any row is encoded, so a thread that seals slowly
//! cannot be overtaken by a later batch of its own: an unsealed batch blocks the later batches of
//! its lane, and of its lane only.

use std::collections::VecDeque;

use crate::ids::{BatchId, LaneId};

#[derive(Clone, Copy, Debug)]
struct Entry {
    batch: BatchId,
    lane: LaneId,
}

/// The queue of one bucket of one writer. Sorted by batch id, as batches are opened in that order.
#[derive(Clone, Debug, Default)]
pub(crate) struct BucketQueue {
    entries: VecDeque<Entry>,
    /// Those of the entries that are not sealed: at most a few per lane.
    unsealed: Vec<Entry>,
}

impl BucketQueue {
    pub(crate) fn open(&mut self, batch: BatchId, lane: LaneId) {
        debug_assert!(self.entries.back().is_none_or(|e| e.batch < batch));
        self.entries.push_back(Entry { batch, lane });
        self.unsealed.push(Entry { batch, lane });
    }

    /// Marks a batch as sealed; false if it is not here, or sealed already.
    pub(crate) fn seal(&mut self, batch: BatchId) -> bool {
        match self.unsealed.iter().position(|e| e.batch == batch) {
            Some(at) => {
                self.unsealed.remove(at);
                true
            }
            None => false,
        }
    }

    /// Takes a batch out: abandoned, expired, or its table gone.
    pub(crate) fn remove(&mut self, batch: BatchId) -> bool {
        self.seal(batch);
        let at = self.entries.binary_search_by_key(&batch, |e| e.batch);
        at.is_ok_and(|at| self.entries.remove(at).is_some())
    }

    /// The batch that may be sent next.
    pub(crate) fn peek(&self) -> Option<BatchId> {
        self.next_sendable().map(|at| self.entries[at].batch)
    }

    /// Takes the batch that may be sent next.
    pub(crate) fn pop(&mut self) -> Option<BatchId> {
        let at = self.next_sendable()?;
        self.entries.remove(at).map(|e| e.batch)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = BatchId> + '_ {
        self.entries.iter().map(|e| e.batch)
    }

    /// The first entry without an unsealed one of its lane at or before it.
    fn next_sendable(&self) -> Option<usize> {
        if self.unsealed.is_empty() {
            return if self.entries.is_empty() { None } else { Some(0) };
        }
        let blocked =
            |e: &Entry| self.unsealed.iter().any(|u| u.lane == e.lane && u.batch <= e.batch);
        self.entries.iter().position(|e| !blocked(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: LaneId = LaneId(1);
    const B: LaneId = LaneId(2);

    #[test]
    fn a_slow_sealer_blocks_its_own_lane_only() {
        let mut queue = BucketQueue::default();
        for (id, lane) in [(1, A), (2, B), (3, A)] {
            queue.open(BatchId(id), lane);
        }
        assert!(queue.seal(BatchId(3)) && queue.peek().is_none());
        assert!(queue.seal(BatchId(2)));
        assert_eq!(queue.pop(), Some(BatchId(2)));
        assert_eq!(queue.pop(), None, "batch 3 must wait for batch 1 of its lane");
        assert!(queue.seal(BatchId(1)));
        assert_eq!((queue.pop(), queue.pop()), (Some(BatchId(1)), Some(BatchId(3))));
    }

    #[test]
    fn a_batch_taken_out_of_the_middle_leaves_the_others_in_order() {
        let mut queue = BucketQueue::default();
        for id in 1..=3 {
            queue.open(BatchId(id), A);
            assert!(queue.seal(BatchId(id)) && !queue.seal(BatchId(id)));
        }
        assert!(queue.remove(BatchId(2)) && !queue.remove(BatchId(2)));
        assert_eq!((queue.pop(), queue.pop()), (Some(BatchId(1)), Some(BatchId(3))));
    }
}
