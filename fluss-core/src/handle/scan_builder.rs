//! What to read, and from where to where.

use std::collections::BTreeMap;

use super::offsets::{OffsetSpec, buckets, list_offsets};
use super::pending::Pending;
use super::scan::LogScanner;
use super::table::Table;
use crate::batch::LogFormat;
use crate::error::{Error, Result};
use crate::ids::BucketKey;
use crate::scanner::{BatchReader, EARLIEST, ScannerOptions};
use crate::time::Duration;

/// Where reading begins.
#[derive(Clone, Debug)]
enum Start {
    At(OffsetSpec),
    Offset(i64),
    Offsets(BTreeMap<BucketKey, i64>),
}

/// A log scanner that is being set up; see [`Table::scanner`].
#[derive(Clone, Debug)]
#[must_use = "nothing is read until it is built"]
pub struct ScanBuilder {
    table: Table,
    start: Start,
    bounded: bool,
    ends: Option<BTreeMap<BucketKey, i64>>,
    columns: Option<Vec<String>>,
    buckets: Option<Vec<BucketKey>>,
    options: ScannerOptions,
}

impl Table {
    /// Reads the table's log: the rows of a log table, the changes of a primary-key table. All
    /// buckets from the earliest record on, and then what comes, unless told otherwise.
    pub fn scanner(&self) -> ScanBuilder {
        let info = self.info();
        ScanBuilder {
            table: self.clone(),
            start: Start::At(OffsetSpec::Earliest),
            bounded: false,
            ends: None,
            columns: None,
            buckets: None,
            options: ScannerOptions::new(info.id, info.path.clone()),
        }
    }
}

impl ScanBuilder {
    /// From the earliest record there is; the default.
    pub fn from_earliest(mut self) -> Self {
        self.start = Start::At(OffsetSpec::Earliest);
        self
    }

    /// Only what comes after the scanner was built.
    pub fn from_latest(mut self) -> Self {
        self.start = Start::At(OffsetSpec::Latest);
        self
    }

    /// From the first record of each bucket that was stored at this time or later, in milliseconds
    /// since 1970.
    pub fn from_timestamp(mut self, millis: i64) -> Self {
        self.start = Start::At(OffsetSpec::Timestamp(millis));
        self
    }

    /// Every bucket from this offset on.
    pub fn from_offset(mut self, offset: i64) -> Self {
        self.start = Start::Offset(offset);
        self
    }

    /// These buckets and no others, each from its offset on ([`EARLIEST`] for all there is): the
    /// positions of an earlier scanner.
    pub fn from_offsets(mut self, offsets: impl IntoIterator<Item = (BucketKey, i64)>) -> Self {
        self.start = Start::Offsets(offsets.into_iter().collect());
        self
    }

    /// Only these buckets.
    pub fn buckets(mut self, buckets: impl IntoIterator<Item = BucketKey>) -> Self {
        self.buckets = Some(buckets.into_iter().collect());
        self
    }

    /// Only these columns, in this order.
    pub fn columns<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.columns = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Until the end of each bucket's log as it is when the scanner is built.
    pub fn bounded(mut self) -> Self {
        self.bounded = true;
        self
    }

    /// Until the record at this offset of each bucket, without it.
    pub(super) fn until_offsets(
        mut self,
        offsets: impl IntoIterator<Item = (BucketKey, i64)>,
    ) -> Self {
        self.ends = Some(offsets.into_iter().collect());
        self
    }

    /// Sets [`ScannerOptions::max_bytes`]; also lowers the share of a bucket to it.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.options.max_bytes = bytes;
        self.options.max_bytes_per_bucket = self.options.max_bytes_per_bucket.min(bytes);
        self
    }

    /// Sets [`ScannerOptions::max_bytes_per_bucket`].
    pub fn max_bytes_per_bucket(mut self, bytes: usize) -> Self {
        self.options.max_bytes_per_bucket = bytes;
        self
    }

    /// Sets [`ScannerOptions::min_bytes`].
    pub fn min_bytes(mut self, bytes: usize) -> Self {
        self.options.min_bytes = bytes;
        self
    }

    /// Sets [`ScannerOptions::max_wait`].
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.options.max_wait = wait;
        self
    }

    /// Sets [`ScannerOptions::buffer_limit`], in bytes.
    pub fn buffer_limit(mut self, bytes: u64) -> Self {
        self.options.buffer_limit = bytes;
        self
    }

    /// Asks for the offsets and begins to fetch.
    ///
    /// # Errors
    /// [`Error::Misuse`] for an unknown column or bucket, an offset that is none, and tables whose
    /// log format cannot be read; [`Error::Config`] for settings against the rules; and those of
    /// [`Table::offsets`].
    pub fn build(self) -> Pending<LogScanner> {
        let fluss = self.table.fluss().clone();
        Pending::new(&fluss, self.open())
    }

    async fn open(self) -> Result<LogScanner> {
        let (fluss, info) = (self.table.fluss().clone(), self.table.info());
        let reader = self.reader()?;
        let keys = match (&self.buckets, &self.start) {
            (_, Start::Offsets(offsets)) => offsets.keys().copied().collect(),
            (Some(keys), _) => keys.clone(),
            (None, _) => buckets(&fluss, info).await?,
        };
        self.check_buckets(&keys)?;
        let ends = match self.bounded {
            _ if self.ends.is_some() => self.ends.clone(),
            true => Some(list_offsets(&fluss, info, &keys, OffsetSpec::Latest).await?),
            false => None,
        };
        let starts = match &self.start {
            Start::Offsets(offsets) => offsets.clone(),
            Start::Offset(offset) => keys.iter().map(|key| (*key, *offset)).collect(),
            Start::At(OffsetSpec::Earliest) => keys.iter().map(|key| (*key, EARLIEST)).collect(),
            // Both are the same; asked for again, the latest offset might have moved on.
            Start::At(OffsetSpec::Latest) if ends.is_some() => ends.clone().unwrap_or_default(),
            Start::At(at) => list_offsets(&fluss, info, &keys, *at).await?,
        };
        let starts = if self.bounded { self.resolve_earliest(starts).await? } else { starts };
        LogScanner::open(&self.table, self.options, reader, starts, ends)
    }

    /// The end of a log whose records all expired is reached by no fetch from its earliest offset,
    /// so a bounded scan begins at true offsets.
    async fn resolve_earliest(
        &self,
        mut starts: BTreeMap<BucketKey, i64>,
    ) -> Result<BTreeMap<BucketKey, i64>> {
        let unknown: Vec<_> =
            starts.iter().filter(|(_, at)| **at == EARLIEST).map(|(key, _)| *key).collect();
        let (fluss, info) = (self.table.fluss(), self.table.info());
        starts.extend(list_offsets(fluss, info, &unknown, OffsetSpec::Earliest).await?);
        Ok(starts)
    }

    fn reader(&self) -> Result<BatchReader> {
        let info = self.table.info();
        let format = info.descriptor.properties.get("table.log.format").map(String::as_str);
        let format = LogFormat::of_property(format)
            .map_err(|error| Error::misuse(format!("{}: {error}", info.path)))?;
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
        let reader = BatchReader::new(format, info.schema(), info.wire_schema_id()?, &columns)?;
        let kv_format = info.descriptor.properties.get("table.kv.format");
        let indexed = kv_format.is_some_and(|format| format.eq_ignore_ascii_case("INDEXED"));
        Ok(if indexed && info.has_primary_key() { reader.of_padded_rows() } else { reader })
    }

    fn check_buckets(&self, keys: &[BucketKey]) -> Result<()> {
        let info = self.table.info();
        let partitioned = !info.descriptor.partition_key.is_empty();
        // Partitions may have other numbers of buckets than their table.
        let count = if partitioned { i32::MAX } else { info.buckets() };
        let fits = |key: &BucketKey| {
            key.table == info.id
                && key.partition.is_some() == partitioned
                && (0..count).contains(&key.bucket)
        };
        match keys.iter().find(|key| !fits(key)) {
            None => Ok(()),
            Some(key) => Err(Error::misuse(format!(
                "{key} is no bucket of {} (table {}, {} buckets)",
                info.path,
                info.id,
                info.buckets()
            ))),
        }
    }
}
