//! What to read of a table as it is now, and within which limits.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::bucket::Job;
use super::reader::SnapshotReader;
use super::replay::StateBudget;
use crate::batch::KvFormat;
use crate::batch::decode::ValueReader;
use crate::error::{Error, Result};
use crate::handle::pending::Pending;
use crate::handle::scan::places::Partitions;
use crate::handle::table::Table;
use crate::ids::{BucketKey, PartitionId};

/// A read of all rows that is being set up; see [`Table::snapshot`].
#[derive(Clone, Debug)]
#[must_use = "nothing is read until it is built"]
pub struct SnapshotBuilder {
    pub(super) table: Table,
    pub(super) columns: Option<Vec<String>>,
    pub(super) buckets: Option<Vec<BucketKey>>,
    pub(super) partitions: Option<Vec<PartitionId>>,
    limit: Option<u64>,
    fetch_bytes: usize,
    pub(super) buffer_limit: u64,
    at_once: usize,
    max_rows: u32,
    max_state_bytes: u64,
}

impl Table {
    /// All rows of a primary-key table as they are now.
    ///
    /// Servers of the 1.0 line send each bucket as it is at one moment, piece by piece (SCAN_KV).
    /// Older servers cannot; of those, the changelog of each bucket is replayed in memory, if it is
    /// still whole. If it is not, or cannot be read, the rows come in one answer (LIMIT_SCAN), and
    /// it is an error when that might not be all of them. With a [limit](SnapshotBuilder::limit)
    /// that one answer can hold, it is asked for at once.
    ///
    /// ```no_run
    /// # async fn f(table: fluss_core::Table) -> fluss_core::Result<()> {
    /// let mut reader = table.snapshot().columns(["id", "name"]).build().await?;
    /// while let Some(batch) = reader.next_batch().await? {
    ///     println!("{} rows of {}", batch.num_rows(), batch.bucket());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn snapshot(&self) -> SnapshotBuilder {
        SnapshotBuilder {
            table: self.clone(),
            columns: None,
            buckets: None,
            partitions: None,
            limit: None,
            fetch_bytes: 4 << 20,
            buffer_limit: 64 << 20,
            at_once: 4,
            max_rows: 1_000_000,
            max_state_bytes: 1 << 30,
        }
    }
}

impl SnapshotBuilder {
    /// Only these columns, in this order. By default all.
    pub fn columns<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.columns = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Only these buckets, in the order of their numbers. By default all there are when the reader
    /// is built.
    pub fn buckets(mut self, buckets: impl IntoIterator<Item = BucketKey>) -> Self {
        self.buckets = Some(buckets.into_iter().collect());
        self
    }

    /// Only these partitions. By default all.
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = PartitionId>) -> Self {
        self.partitions = Some(partitions.into_iter().collect());
        self
    }

    /// At most so many rows: the first ones of the first buckets that have any. Buckets are then
    /// read one after the other. By default all.
    pub fn limit(mut self, rows: u64) -> Self {
        self.limit = Some(rows);
        self
    }

    /// Bytes that a server is asked for at once, of one bucket: from 1 to 2147483647. Servers send
    /// less if their own limit is lower. Default 4 MiB.
    pub fn fetch_bytes(mut self, bytes: usize) -> Self {
        self.fetch_bytes = bytes;
        self
    }

    /// Budget for rows that were fetched and not handed out yet, in bytes as they are stored; two
    /// answers of the bucket that is handed out may exceed it. At least 1024. Default 64 MiB.
    pub fn buffer_limit(mut self, bytes: u64) -> Self {
        self.buffer_limit = bytes;
        self
    }

    /// Buckets on their way at once, at least 1. Default 4.
    pub fn buckets_at_once(mut self, buckets: usize) -> Self {
        self.at_once = buckets;
        self
    }

    /// The most rows of a bucket that are asked for in one answer, where the server has no other
    /// way: at least 1, at most 2147483646. A bucket with more rows is an error. All rows of the
    /// bucket have to fit [`Config::max_frame_bytes`](crate::config::Config::max_frame_bytes).
    /// Default 1,000,000.
    pub fn max_rows(mut self, rows: u32) -> Self {
        self.max_rows = rows;
        self
    }

    /// The most bytes of rows and keys that replays of changelogs keep in memory, over all buckets
    /// on their way at once. Beyond it there is an error. Default 1 GiB.
    pub fn max_state_bytes(mut self, bytes: u64) -> Self {
        self.max_state_bytes = bytes;
        self
    }

    /// Asks for the buckets. Rows are asked for when the first ones are wanted.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a table without primary key, an unknown column, bucket or partition;
    /// [`Error::Config`] for settings against the rules; and those of [`Table::buckets`].
    pub fn build(self) -> Pending<SnapshotReader> {
        let fluss = self.table.fluss().clone();
        Pending::new(&fluss, async move {
            let (keys, _) = self.keys().await?;
            self.reader(&keys, false)
        })
    }

    pub(super) fn reader(&self, keys: &[BucketKey], with_offset: bool) -> Result<SnapshotReader> {
        let job = self.job(with_offset)?;
        // All buckets beside it are there, unless some were chosen.
        let mut counts: BTreeMap<Option<PartitionId>, i32> = BTreeMap::new();
        for key in keys {
            *counts.entry(key.partition).or_default() += 1;
        }
        let of = |key: &BucketKey| counts.get(&key.partition).copied();
        let of = |key: &BucketKey| self.buckets.is_none().then(|| of(key)).flatten();
        let keys = keys.iter().map(|key| (*key, of(key))).collect();
        Ok(SnapshotReader::new(job, keys, self.at_once, self.limit))
    }

    /// The buckets to be read, in order, and the partitions that there are.
    pub(super) async fn keys(&self) -> Result<(Vec<BucketKey>, Partitions)> {
        self.check()?;
        let (fluss, info) = (self.table.fluss(), self.table.info());
        let there = Partitions::list(fluss, info).await?;
        let all = there.buckets(info);
        let mut keys = match &self.buckets {
            None => all.clone(),
            Some(keys) => keys.clone(),
        };
        if let Some(key) = keys.iter().find(|key| !all.contains(key)) {
            return Err(Error::misuse(format!("{key} is no bucket of {}", info.path)));
        }
        if let Some(partitions) = &self.partitions {
            let is_there = |id: &&PartitionId| all.iter().any(|key| key.partition == Some(**id));
            if let Some(id) = partitions.iter().find(|id| !is_there(id)) {
                return Err(Error::misuse(format!("{} has no partition {id}", info.path)));
            }
            keys.retain(|key| key.partition.is_some_and(|id| partitions.contains(&id)));
        }
        keys.sort_unstable();
        keys.dedup();
        Ok((keys, there))
    }

    fn check(&self) -> Result<()> {
        let info = self.table.info();
        if !info.has_primary_key() {
            return Err(Error::misuse(format!(
                "{} has no primary key, so it has no rows that are there now; scan its log",
                info.path
            )));
        }
        let mut problems = Vec::new();
        let mut rule = |ok: bool, text: &str| {
            if !ok {
                problems.push(text.to_owned());
            }
        };
        let wire = 1..=i32::MAX as usize;
        rule(wire.contains(&self.fetch_bytes), "fetch_bytes must be between 1 and 2147483647");
        rule(self.buffer_limit >= 1 << 10, "buffer_limit must be at least 1024");
        rule(self.at_once >= 1, "buckets_at_once must be at least 1");
        let rows = 1..i32::MAX.unsigned_abs();
        rule(rows.contains(&self.max_rows), "max_rows must be between 1 and 2147483646");
        if problems.is_empty() { Ok(()) } else { Err(Error::Config(problems.into())) }
    }

    fn job(&self, with_offset: bool) -> Result<Job> {
        let info = self.table.info();
        let columns = match &self.columns {
            None => (0..info.schema().columns().len()).collect(),
            Some(names) if names.is_empty() => {
                return Err(Error::misuse("a projection must name at least one column"));
            }
            Some(names) => info
                .schema()
                .indexes_of("projection", names)
                .map_err(|error| Error::misuse(error.to_string()))?,
        };
        let indexed = kv_format(&self.table)? == KvFormat::Indexed;
        let mut stored = ValueReader::new(info.schema(), &columns, indexed);
        stored.learn(info.wire_schema_id()?, info.schema())?;
        let mut replayed = ValueReader::new(info.schema(), &columns, false);
        replayed.learn(Job::OWN, info.schema())?;
        Ok(Job {
            table: self.table.clone(),
            fetch_bytes: self.fetch_bytes,
            buffer_limit: self.buffer_limit,
            max_rows: self.max_rows,
            with_offset,
            budget: StateBudget::new(self.max_state_bytes),
            stored: Mutex::new(stored),
            replayed,
        })
    }
}

fn kv_format(table: &Table) -> Result<KvFormat> {
    match table.info().descriptor.properties.get("table.kv.format").map(String::as_str) {
        None => Ok(KvFormat::Compacted),
        Some(name) if name.eq_ignore_ascii_case("COMPACTED") => Ok(KvFormat::Compacted),
        Some(name) if name.eq_ignore_ascii_case("INDEXED") => Ok(KvFormat::Indexed),
        Some(other) => {
            let path = &table.info().path;
            Err(Error::misuse(format!("{path}: the KV format {other} is unknown")))
        }
    }
}
