//! The logs at the end of a run, against the outcomes.

use std::collections::BTreeMap;

use super::{Checker, End};
use crate::config::Acks;
use crate::ids::{BucketKey, LaneId};
use crate::testing::cluster::FakeCluster;
use crate::testing::sim::wire;

impl Checker {
    /// Compares the logs with the outcomes.
    pub(in crate::testing::sim) fn finish(&mut self, cluster: &FakeCluster) {
        let mut buckets: Vec<BucketKey> = self.batches.iter().map(|b| b.bucket).collect();
        buckets.sort_unstable();
        buckets.dedup();
        for bucket in buckets {
            self.finish_bucket(cluster, bucket);
        }
    }

    /// Nothing happened that a batch cannot survive.
    pub(in crate::testing::sim) fn check_survived(&mut self) {
        for number in 0..self.batches.len() {
            let batch = &self.batches[number];
            let (end, must) = (batch.end, batch.idempotent && batch.sealed);
            let failed = matches!(end, Some(End::NotWritten | End::Unknown));
            self.rule("I15", !(must && failed), || format!("batch {number}: {end:?}"));
        }
    }

    fn finish_bucket(&mut self, cluster: &FakeCluster, bucket: BucketKey) {
        let alive = cluster.truth(bucket).is_some();
        let mut found: BTreeMap<u64, (i64, u32)> = BTreeMap::new();
        for stored in cluster.log(bucket) {
            let payload = if stored.rows > 0 {
                wire::last_payload(&stored.bytes)
            } else {
                let stamp = (bucket, stored.writer_id, stored.sequence);
                self.stamps.get(&stamp).copied().unwrap_or(u64::MAX)
            };
            let entry = found.entry(payload).or_insert((stored.base_offset, 0));
            entry.1 += 1;
        }
        let mut last: BTreeMap<LaneId, i64> = BTreeMap::new();
        for number in 0..self.batches.len() {
            let batch = &self.batches[number];
            if batch.bucket != bucket {
                continue;
            }
            let (lane, idempotent, end) = (batch.lane, batch.idempotent, batch.end);
            let lost = batch.lost;
            let exempt = !alive || batch.lost || batch.acks != Acks::All;
            let at = found.get(&(number as u64)).copied();
            let told = batch.places.first().map(|(base, _)| *base);
            let times = at.map_or(0, |(_, times)| times);
            self.rule("I1", times < 2 || !idempotent, || format!("batch {number} x {times}"));
            self.rule("I5", end.is_some(), || format!("batch {number} never ended"));
            if end == Some(End::Written) && !exempt {
                self.rule("I2", at.is_some(), || format!("batch {number} is missing in {bucket}"));
                let same = !idempotent || at.map(|(base, _)| base) == told;
                self.rule("I2", same, || format!("batch {number} moved: {at:?}, {told:?}"));
            }
            self.rule("I3", end != Some(End::NotWritten) || at.is_none(), || {
                format!("batch {number} is in the log")
            });
            if let (Some((base, _)), true, Some(End::Written)) = (at, idempotent && !lost, end) {
                let before = last.insert(lane, base);
                self.rule("I4", before.is_none_or(|before| before < base), || {
                    format!("batch {number} at {base}, an earlier one at {before:?}")
                });
            }
        }
    }
}
