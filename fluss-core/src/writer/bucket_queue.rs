//! The batches of one bucket that wait to be sent for the first time.
//!
//! A batch takes its place when it opens, before any row is encoded, so a thread that seals slowly
//! cannot be overtaken by a later batch of its own: an unsealed batch blocks the later batches of
//! its lane, and of its lane only.
//!
//! The order is that in which the rows were handed in, which is not that in which batches come
//! here: one whose partition has no id yet comes later, and one whose rows are dealt out anew makes
//! way for parts, whose ids are younger than those of the batches behind them.

use std::collections::VecDeque;

use crate::ids::{BatchId, LaneId};

/// Where a batch stands among those of its client: by when the first of its rows could be handed
/// in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// The batch that took its rows from the application: itself, or the one it is a part of.
    taken_by: BatchId,
    pub(crate) batch: BatchId,
}

impl Rank {
    /// Of a batch that the application fills.
    pub(crate) fn of(batch: BatchId) -> Self {
        Self { taken_by: batch, batch }
    }

    /// Of a part, to which rows of this one were dealt out.
    pub(crate) fn of_part(self, part: BatchId) -> Self {
        Self { batch: part, ..self }
    }

    /// Whether it has rows that were handed in before the batch with this id was opened.
    pub(crate) fn is_before(self, next: BatchId) -> bool {
        self.taken_by < next
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    rank: Rank,
    lane: LaneId,
}

/// The queue of one bucket of one writer, sorted by rank.
#[derive(Clone, Debug, Default)]
pub(crate) struct BucketQueue {
    entries: VecDeque<Entry>,
    /// Those of the entries that are not sealed: at most a few per lane.
    unsealed: Vec<Entry>,
}

impl BucketQueue {
    pub(crate) fn open(&mut self, rank: Rank, lane: LaneId) {
        let at = match self.entries.back() {
            Some(last) if last.rank > rank => self.entries.partition_point(|e| e.rank < rank),
            _ => self.entries.len(),
        };
        self.entries.insert(at, Entry { rank, lane });
        self.unsealed.push(Entry { rank, lane });
    }

    /// Marks a batch as sealed; false if it is not here, or sealed already.
    pub(crate) fn seal(&mut self, batch: BatchId) -> bool {
        match self.unsealed.iter().position(|e| e.rank.batch == batch) {
            Some(at) => {
                self.unsealed.remove(at);
                true
            }
            None => false,
        }
    }

    /// Takes a batch out: abandoned, expired, or its table gone.
    pub(crate) fn remove(&mut self, rank: Rank) -> bool {
        self.seal(rank.batch);
        let at = self.entries.binary_search_by_key(&rank, |e| e.rank);
        at.is_ok_and(|at| self.entries.remove(at).is_some())
    }

    /// The batch that may be sent next.
    pub(crate) fn peek(&self) -> Option<BatchId> {
        self.next_sendable().map(|at| self.entries[at].rank.batch)
    }

    /// Takes the batch that may be sent next.
    pub(crate) fn pop(&mut self) -> Option<BatchId> {
        let at = self.next_sendable()?;
        self.entries.remove(at).map(|e| e.rank.batch)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Rank> + '_ {
        self.entries.iter().map(|e| e.rank)
    }

    /// The first entry without an unsealed one of its lane at or before it.
    fn next_sendable(&self) -> Option<usize> {
        if self.unsealed.is_empty() {
            return if self.entries.is_empty() { None } else { Some(0) };
        }
        let blocked =
            |e: &Entry| self.unsealed.iter().any(|u| u.lane == e.lane && u.rank <= e.rank);
        self.entries.iter().position(|e| !blocked(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const A: LaneId = LaneId(1);
    const B: LaneId = LaneId(2);

    #[test]
    fn a_slow_sealer_blocks_its_own_lane_only() {
        let mut queue = BucketQueue::default();
        for (id, lane) in [(1, A), (2, B), (3, A)] {
            queue.open(Rank::of(BatchId(id)), lane);
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
            queue.open(Rank::of(BatchId(id)), A);
            assert!(queue.seal(BatchId(id)) && !queue.seal(BatchId(id)));
        }
        let second = Rank::of(BatchId(2));
        assert!(queue.remove(second) && !queue.remove(second));
        assert_eq!((queue.pop(), queue.pop()), (Some(BatchId(1)), Some(BatchId(3))));
    }
    #[test]
    fn parts_go_before_what_was_opened_while_they_were_dealt_out() {
        let whole = Rank::of(BatchId(1));
        let (part, full, open) = (whole.of_part(BatchId(20)), BatchId(11), BatchId(12));
        for part_comes_last in [false, true] {
            let mut queue = BucketQueue::default();
            if !part_comes_last {
                queue.open(part, A);
            }
            queue.open(Rank::of(full), A);
            queue.open(Rank::of(open), A);
            if part_comes_last {
                queue.open(part, A);
            }
            assert!(queue.peek().is_none());
            assert!(queue.seal(full) && queue.peek().is_none(), "the part is before it");
            assert!(queue.seal(part.batch));
            assert_eq!((queue.pop(), queue.pop()), (Some(part.batch), Some(full)));
            assert!(queue.pop().is_none() && queue.seal(open));
            assert_eq!((queue.pop(), queue.is_empty()), (Some(open), true));
        }
    }

    #[test]
    fn a_part_blocks_what_is_behind_it_and_is_found_wherever_it_stands() {
        let (first, second) = (Rank::of(BatchId(1)), Rank::of(BatchId(3)));
        let (early, late) = (first.of_part(BatchId(30)), second.of_part(BatchId(31)));
        assert!(early < Rank::of(BatchId(2)) && Rank::of(BatchId(2)) < late);
        // A flush waits for what has rows from before it, however young its batch is.
        assert!(early.is_before(BatchId(2)) && !late.is_before(BatchId(3)));
        let mut queue = BucketQueue::default();
        for (rank, lane) in [(early, A), (Rank::of(BatchId(2)), B), (late, A)] {
            queue.open(rank, lane);
        }
        for rank in [Rank::of(BatchId(4)), Rank::of(BatchId(5))] {
            queue.open(rank, A);
            queue.seal(rank.batch);
        }
        queue.seal(early.batch);
        assert_eq!((queue.pop(), queue.pop()), (Some(early.batch), None), "both lanes are held up");
        assert!(queue.remove(Rank::of(BatchId(4))) && queue.remove(late) && !queue.remove(late));
        assert_eq!(queue.pop(), Some(BatchId(5)));
        assert!(queue.remove(Rank::of(BatchId(2))) && queue.is_empty());
    }

    /// What the queue should be: in the order of rank, each with its lane and whether it is sealed.
    type Model = Vec<(Rank, LaneId, bool)>;

    fn sendable(model: &Model) -> Option<BatchId> {
        let free = |at: &usize| {
            let lane = model[*at].1;
            model[..=*at].iter().all(|(_, other, sealed)| *other != lane || *sealed)
        };
        (0..model.len()).find(free).map(|at| model[at].0.batch)
    }

    #[test]
    fn whatever_comes_in_whatever_order_goes_in_the_order_in_which_its_rows_came() {
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            let (mut queue, mut model) = (BucketQueue::default(), Model::new());
            for id in 0..80 {
                let lane = LaneId(rng.below(3));
                let rank = match Rank::of(BatchId(id)) {
                    // Rows of one batch come to a bucket once.
                    own if rng.one_in(3) => {
                        let whole = Rank::of(BatchId(rng.below(id + 1)));
                        let known = model.iter().any(|(rank, ..)| rank.taken_by == whole.batch);
                        if known { own } else { whole.of_part(BatchId(id)) }
                    }
                    own => own,
                };
                queue.open(rank, lane);
                model.insert(model.partition_point(|entry| entry.0 < rank), (rank, lane, false));
                for _ in 0..rng.below(4) {
                    let Some(entry) = model.len().checked_sub(1) else { break };
                    let at = rng.below(entry as u64 + 1) as usize;
                    match rng.below(6) {
                        0 => assert!(queue.remove(model.remove(at).0), "seed {seed}"),
                        1..=3 => {
                            assert_eq!(queue.seal(model[at].0.batch), !model[at].2, "seed {seed}");
                            model[at].2 = true;
                        }
                        _ => {
                            let next = sendable(&model);
                            model.retain(|(rank, ..)| Some(rank.batch) != next);
                            assert_eq!(queue.pop(), next, "seed {seed}");
                        }
                    }
                }
                assert_eq!(queue.peek(), sendable(&model), "seed {seed}");
                assert!(queue.iter().eq(model.iter().map(|entry| entry.0)), "seed {seed}");
            }
        }
    }
}
