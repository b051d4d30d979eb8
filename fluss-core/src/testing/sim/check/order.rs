//! The order in which the batches of one handle lie in a bucket.

use std::collections::BTreeMap;

use super::{Batch, Checker};
use crate::ids::{BucketKey, LaneId};

/// The batches of each handle in each bucket that are known to be written, by their numbers and
/// with their first offsets. A table that is dropped keeps them.
#[derive(Debug, Default)]
pub(super) struct Orders(BTreeMap<(BucketKey, LaneId), Vec<(u64, i64)>>);

impl Orders {
    /// Takes a batch that is known to be written; returns the earlier one and the later one next
    /// to it, as far as they lie on the wrong side of it.
    fn take(&mut self, batch: u64, entry: &Batch, base: i64) -> Option<[Option<(u64, i64)>; 2]> {
        let known = self.0.entry((entry.bucket, entry.lane)).or_default();
        let at = known.partition_point(|(other, _)| *other < batch);
        let before = at.checked_sub(1).and_then(|at| known.get(at)).copied();
        let before = before.filter(|(_, other)| *other >= base);
        let behind = known.get(at).copied().filter(|(_, other)| *other <= base);
        known.insert(at, (batch, base));
        (before.is_some() || behind.is_some()).then_some([before, behind])
    }

    /// The log of a bucket ends here now: what lay behind is not written any more.
    pub(super) fn truncated(&mut self, bucket: BucketKey, end: i64) {
        let lanes = (bucket, LaneId(0))..=(bucket, LaneId(u64::MAX));
        for (_, known) in self.0.range_mut(lanes) {
            known.retain(|(_, base)| *base < end);
        }
    }
}

impl Checker {
    /// A batch is told as written: those of its handle lie in its bucket as they were opened.
    pub(super) fn check_order_of(&mut self, batch: u64) {
        let Some(entry) = self.batches.get(batch as usize) else { return };
        // Without idempotence copies may overtake each other; what a leader lost may come later.
        let counts = entry.idempotent && !entry.lost;
        let Some((base, _)) = entry.places.first().copied().filter(|_| counts) else { return };
        let wrong = self.orders.take(batch, entry, base);
        self.rule("I4", wrong.is_none(), || {
            let [before, behind] = wrong.unwrap_or_default();
            format!("batch {batch} at {base}, an earlier one at {before:?}, a later at {behind:?}")
        });
    }
}
