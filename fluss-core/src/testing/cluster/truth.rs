//! What the cluster really holds: the oracle of tests.

use bytes::Bytes;

use super::FakeCluster;
use crate::ids::{BucketKey, TableId};

/// What one bucket has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketTruth {
    /// The next offset.
    pub log_end: i64,
    /// The offset below which clients read.
    pub high_watermark: i64,
    /// Batches in the log.
    pub batches: usize,
    /// Rows appended, as the batch headers count them; changelog rows for a primary-key table.
    pub rows: u64,
    /// Batches that were recognised as duplicates.
    pub duplicates: u64,
    /// The tablet server that leads.
    pub leader: i32,
    /// The leader's epoch.
    pub leader_epoch: i32,
}

/// A batch as it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBatch {
    /// The offset of its first row.
    pub base_offset: i64,
    /// Its number of rows.
    pub rows: i32,
    /// The schema that its rows are encoded with.
    pub schema_id: i16,
    /// The writer that stamped it; -1 for none.
    pub writer_id: i64,
    /// The writer's sequence; -1 for none.
    pub sequence: i32,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// All its bytes, offset and timestamp in place.
    pub bytes: Bytes,
}

impl FakeCluster {
    /// The buckets of a table, those of all its partitions included.
    pub fn buckets(&self, table: TableId) -> impl Iterator<Item = BucketKey> + '_ {
        self.catalog.buckets.keys().filter(move |key| key.table == table).copied()
    }

    /// What a bucket has seen.
    #[must_use]
    pub fn truth(&self, key: BucketKey) -> Option<BucketTruth> {
        let bucket = self.catalog.buckets.get(&key)?;
        Some(BucketTruth {
            log_end: bucket.log.end,
            high_watermark: bucket.log.high_watermark,
            batches: bucket.log.entries.len(),
            rows: bucket.rows_appended,
            duplicates: bucket.duplicates,
            leader: bucket.leader.server,
            leader_epoch: bucket.leader.epoch,
        })
    }

    /// The log of a bucket, in order of offset; empty for an unknown bucket.
    pub fn log(&self, key: BucketKey) -> impl Iterator<Item = StoredBatch> + '_ {
        let entries = self.catalog.buckets.get(&key).into_iter();
        entries.flat_map(|bucket| &bucket.log.entries).map(|entry| StoredBatch {
            base_offset: entry.base_offset,
            rows: entry.batch.count,
            schema_id: entry.batch.schema_id,
            writer_id: entry.batch.writer_id,
            sequence: entry.batch.sequence,
            timestamp: entry.timestamp,
            bytes: entry.stamped(),
        })
    }

    /// The live rows of a bucket of a primary-key table by encoded key: two bytes of schema id,
    /// then the row as it was sent.
    pub fn kv_rows(&self, key: BucketKey) -> impl Iterator<Item = (Bytes, Bytes)> + '_ {
        let kv = self.catalog.buckets.get(&key).and_then(|bucket| bucket.kv.as_ref());
        kv.into_iter().flat_map(|kv| kv.iter()).map(|(key, row)| (key.clone(), row.value()))
    }

    /// All rows appended in all buckets, duplicates not counted.
    #[must_use]
    pub fn rows_appended(&self) -> u64 {
        self.catalog.buckets.values().map(|bucket| bucket.rows_appended).sum()
    }

    /// Answers to writes with an effect that faults kept from the client.
    #[must_use]
    pub fn lost_write_answers(&self) -> u64 {
        self.lost_writes
    }

    /// What API_VERSIONS answers from now on instead of the release's own table: API keys with
    /// their highest version.
    pub fn offer_only(&mut self, versions: Vec<(i16, i16)>) {
        self.offers = Some(versions);
    }
}
