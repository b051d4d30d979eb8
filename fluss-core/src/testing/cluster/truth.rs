//! What the cluster really holds: the oracle of tests.

use bytes::Bytes;
use fluss_proto::record::{ChangeType, Check, LogBatch};

use super::FakeCluster;
use super::decode::{RowFormat, arrow_rows, record_rows};
use crate::ids::{BucketKey, ServerId, TableId};
use crate::row::{OwnedRow, RowLayout, Schema};

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

/// What a leader did with a batch it did not refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The bucket.
    pub bucket: BucketKey,
    /// The writer that stamped it; -1 for none.
    pub writer_id: i64,
    /// The writer's sequence; -1 for none.
    pub sequence: i32,
    /// Its number of rows; changelog rows for a primary-key table.
    pub rows: i32,
    /// The offset of its first row, or of the first copy's.
    pub base_offset: i64,
    /// The offset of its last row, or of the first copy's.
    pub last_offset: i64,
    /// It was taken for a copy of what is in the log already, and not appended.
    pub duplicate: bool,
    /// The batch as it came, or the changelog batch made of it.
    pub bytes: Bytes,
}

/// A row of a log, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRow {
    /// Its offset.
    pub offset: i64,
    /// What it says about the row; append only in a log table.
    pub change: ChangeType,
    /// Its values, in the order of the table's columns.
    pub values: OwnedRow,
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

    /// Writer id and sequence of each batch in all logs, bucket after bucket, in order of offset.
    #[cfg(test)]
    pub(crate) fn stamps(&self) -> impl Iterator<Item = (BucketKey, i64, i32)> + '_ {
        self.catalog.buckets.iter().flat_map(|(key, bucket)| {
            let batches = bucket.log.entries.iter().map(|entry| &entry.batch);
            batches.map(|batch| (*key, batch.writer_id, batch.sequence))
        })
    }

    /// All rows of a bucket's log, decoded with the schema they were written with, those above the
    /// high watermark included.
    ///
    /// # Errors
    /// What cannot be decoded: a batch that is broken.
    pub fn rows(&self, key: BucketKey) -> Result<Vec<LogRow>, String> {
        let table = self.catalog.table_by_id(key.table.0).ok_or("no such table")?;
        let format = table.property("table.log.format");
        let mut rows = Vec::new();
        for stored in self.log(key) {
            let schema = table.schema_of(stored.schema_id.into()).unwrap_or(&table.schema);
            let batch = LogBatch::new_checked(stored.bytes, Check::Crc);
            let batch = batch.map_err(|error| error.to_string())?;
            let decoded = match format {
                _ if batch.record_count() == 0 => Vec::new(),
                None | Some("ARROW") => arrow_log_rows(schema, &batch)?,
                Some(name) => {
                    let format = RowFormat::by_name(name);
                    let format = format.ok_or_else(|| format!("there is no log format {name}"))?;
                    record_rows(format, schema, &batch)?
                }
            };
            let offsets = batch.base_offset()..;
            rows.extend(offsets.zip(decoded).map(|(offset, (change, values))| LogRow {
                offset,
                change,
                values,
            }));
        }
        Ok(rows)
    }

    /// The live rows of a bucket of a primary-key table, decoded, in the order of their keys.
    ///
    /// # Errors
    /// What cannot be decoded.
    pub fn live_rows(&self, key: BucketKey) -> Result<Vec<OwnedRow>, String> {
        let table = self.catalog.table_by_id(key.table.0).ok_or("no such table")?;
        let format = table.kv_format();
        let decode = |(_, value): (Bytes, Bytes)| {
            let id = i32::from(i16::from_le_bytes([value[0], value[1]]));
            let schema = table.schema_of(id).unwrap_or(&table.schema);
            format.decode(&RowLayout::new(schema), &value[2..])
        };
        self.kv_rows(key).map(decode).collect()
    }

    /// The live rows of a bucket of a primary-key table by encoded key: two bytes of schema id,
    /// then the row as it was sent.
    pub fn kv_rows(&self, key: BucketKey) -> impl Iterator<Item = (Bytes, Bytes)> + '_ {
        let kv = self.catalog.buckets.get(&key).and_then(|bucket| bucket.kv.as_ref());
        kv.into_iter().flat_map(|kv| kv.iter()).map(|(key, row)| (key.clone(), row.value()))
    }

    /// From now on [`poll_append`](Self::poll_append) tells of each batch that leaders take.
    pub fn watch_appends(&mut self) {
        self.journal.get_or_insert_default();
    }

    /// What a leader did with the next batch, oldest first.
    pub fn poll_append(&mut self) -> Option<Appended> {
        self.journal.as_mut()?.pop_front()
    }

    /// The bucket, writer id and sequence of the next batch, oldest first, for which a leader had
    /// remembered its writer for as long as it does, and no longer; told from
    /// [`watch_appends`](Self::watch_appends) on.
    pub fn poll_forgotten(&mut self) -> Option<(BucketKey, i64, i32)> {
        self.forgotten.pop_front()
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

    /// As [`FakeCluster::offer_only`], for one server.
    pub fn offer_only_at(&mut self, server: ServerId, versions: Vec<(i16, i16)>) {
        self.offers_of.insert(server, versions);
    }
}

fn arrow_log_rows(
    schema: &Schema,
    batch: &LogBatch,
) -> Result<Vec<(ChangeType, OwnedRow)>, String> {
    let types = batch.change_types().map_err(|error| error.to_string())?;
    let body = batch.body().map_err(|error| error.to_string())?;
    let rows = arrow_rows(schema, &body)?;
    if rows.len() != types.len() {
        return Err(format!("{} rows in a batch of {}", rows.len(), types.len()));
    }
    Ok(types.iter().zip(rows).collect())
}
