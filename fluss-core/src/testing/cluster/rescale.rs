//! Tables whose number of buckets was changed, as servers after the published one have them: the
//! partitions that exist keep theirs, new ones get the new number, and a request that was routed by
//! another number than its partition's is refused with 74.

use super::catalog::Descriptor;
use super::{Answer, Failure, FakeCluster, api::code};
use crate::ids::{BucketKey, TablePath};

impl FakeCluster {
    /// Changes the number of buckets that new partitions of a table get. False if there is no such
    /// table, or it has no partitions.
    pub fn rescale(&mut self, path: &TablePath, buckets: i32) -> bool {
        let table = self.catalog.tables.get_mut(path).filter(|table| table.partitioned());
        let Some(table) = table else { return false };
        table.buckets = buckets.max(1);
        let mut descriptor = table.descriptor.value().clone();
        descriptor["bucket_count"] = table.buckets.into();
        table.descriptor = Descriptor::new(descriptor);
        table.epoch += 1;
        true
    }

    /// Whether a request for a bucket was routed by the right number, as the leader sees it.
    pub(super) fn routed(&self, key: BucketKey, by: Option<i32>) -> Answer<()> {
        let table = self.catalog.table_by_id(key.table.0);
        let rescaled = table.is_some_and(|table| table.epoch > 0);
        let by = by.filter(|count| *count > 0);
        let sound = match by {
            // Cheaper than to count.
            Some(count) => {
                let there =
                    |bucket| self.catalog.buckets.contains_key(&BucketKey { bucket, ..key });
                there(count - 1) && !there(count)
            }
            None => !rescaled,
        };
        if sound || !self.catalog.buckets.contains_key(&key) {
            return Ok(());
        }
        let actual = self.catalog.bucket_count(key).unwrap_or(0);
        let message = format!("{key} has {actual} buckets beside it, the request says {by:?}");
        Err(Failure::new(code::INVALID_BUCKET_ROUTING, message))
    }
}
