//! What to read, and from where to where.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::offsets::{OffsetSpec, list_offsets};
use super::pending::Pending;
use super::scan::places::{Partitions, Until, ends_of, is_partitioned, without_earliest};
use super::scan::policy::{Listener, OnCorruptBatch, OnOutOfRange, Policy, ScanEvent};
use super::scan::{LogScanner, Opening};
use super::table::Table;
use crate::batch::{LogFormat, statistics_columns};
use crate::error::{Error, Result};
use crate::filter::{Bound, Filter, ServerFilter};
use crate::ids::BucketKey;
use crate::scanner::{BatchReader, EARLIEST, MetadataColumn, ScannerOptions};
use crate::time::Duration;

/// How often new partitions are looked for, unless told otherwise.
pub(super) const DISCOVERY: Duration = Duration::from_secs(10);

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
    until: Option<Until>,
    columns: Option<Vec<String>>,
    filter: Option<Filter>,
    verify_always: bool,
    metadata: Vec<MetadataColumn>,
    buckets: Option<Vec<BucketKey>>,
    /// As it was set; None if it was not.
    discovery: Option<Option<Duration>>,
    /// From where new partitions are read.
    new_from: i64,
    policy: Policy,
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
            until: None,
            columns: None,
            filter: None,
            verify_always: false,
            metadata: Vec::new(),
            buckets: None,
            discovery: None,
            new_from: EARLIEST,
            policy: Policy::default(),
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

    /// Only these columns, in this order. By default all.
    ///
    /// Of an ARROW log, servers then send no others, as far as the stored batches have them; what
    /// they send has no checksum that could be verified, see
    /// [`verify_always`](Self::verify_always).
    pub fn columns<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.columns = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Only rows of which this is true; called again, those of which both are. [`Filter`] tells
    /// what a condition is and what it makes of nulls.
    ///
    /// ```
    /// # use fluss_core::{LogScanner, Result, Table, col};
    /// # async fn large(table: &Table) -> Result<LogScanner> {
    /// table.scanner().columns(["id"]).filter(col("price").ge(1000)).build().await
    /// # }
    /// ```
    ///
    /// Each record is judged by its own values. Of a change in the log of a primary-key table, the
    /// `-U` is handed out where the row was wanted before it, and the `+U` where it is after it:
    /// either may come without the other. A record that is older than a column has null there.
    ///
    /// Offsets, times and change types are those of the rows as they are stored, so the offsets of
    /// a batch have gaps. Positions move over what is left out.
    ///
    /// Servers from 1.0 on are told the condition where the batches of an ARROW log tell statistics
    /// of a column in it (`table.statistics.columns`), and then do not send batches without a row
    /// that could be wanted. What they send is looked at here all the same, so the rows are those
    /// that they would be without.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(match self.filter.take() {
            Some(before) => before.and(filter),
            None => filter,
        });
        self
    }

    /// Whether servers send all columns also where only some are wanted: each batch is then
    /// verified with its checksum, whole, and the columns are chosen here, for the price of the
    /// bytes of the others.
    ///
    /// Default false: where a server leaves columns out, the checksum that it sends is that of the
    /// batch as it is stored. The structure of what is left is looked at, so nothing leads outside
    /// of it, but a value that was damaged on its way or in storage comes as it is. Scans of all
    /// columns, INDEXED and COMPACTED logs, and batches that are older than one of the columns are
    /// verified in any case.
    ///
    /// ```
    /// # use fluss_core::{LogScanner, Result, Table};
    /// # async fn prices(table: &Table) -> Result<LogScanner> {
    /// table.scanner().columns(["id", "price"]).verify_always(true).build().await
    /// # }
    /// ```
    pub fn verify_always(mut self, always: bool) -> Self {
        self.verify_always = always;
        self
    }

    /// Adds columns to the record batches, behind those of the table, that tell change type, offset
    /// and time of each row. By default there are none; rows tell all three in any case.
    pub fn with_metadata_columns(
        mut self,
        columns: impl IntoIterator<Item = MetadataColumn>,
    ) -> Self {
        self.metadata = columns.into_iter().collect();
        self
    }

    /// Until the end of each bucket's log as it is when the scanner is built.
    pub fn bounded(mut self) -> Self {
        self.until = Some(Until::At(OffsetSpec::Latest));
        self
    }

    /// Until the first record of each bucket that was stored at this time or later, in milliseconds
    /// since 1970, without it; where there is none, until the end of the log as it is when the
    /// scanner is built.
    pub fn until_timestamp(mut self, millis: i64) -> Self {
        self.until = Some(Until::At(OffsetSpec::Timestamp(millis)));
        self
    }

    /// Until the record at this offset of each bucket, without it; waits for records that are still
    /// to come. Every bucket that is read needs an offset.
    pub fn until_offsets(mut self, offsets: impl IntoIterator<Item = (BucketKey, i64)>) -> Self {
        self.until = Some(Until::Offsets(offsets.into_iter().collect()));
        self
    }

    /// Reads new partitions from this offset on: without the record there, they are an error.
    pub(super) fn new_partitions_from(mut self, offset: i64) -> Self {
        self.new_from = offset;
        self
    }

    /// Until these ends of the logs.
    pub(super) fn until_ends(mut self, ends: BTreeMap<BucketKey, i64>) -> Self {
        self.until = Some(Until::Ends(ends));
        self
    }

    /// How often new partitions are looked for, which are then read from their earliest record on;
    /// None for never. Partitions that are dropped are read no more, without an error; both are
    /// told by [`on_event`](Self::on_event). Asked for only while somebody waits for a batch.
    ///
    /// Default 10 s for scans without an end of all buckets of a partitioned table, and never for
    /// others. With [`from_offsets`](Self::from_offsets), partitions without an offset are new.
    pub fn discover_partitions(mut self, interval: Option<Duration>) -> Self {
        self.discovery = Some(interval);
        self
    }

    /// What to do about a bucket whose position is not in its log; an error by default.
    pub fn on_out_of_range(mut self, action: OnOutOfRange) -> Self {
        self.policy.out_of_range = action;
        self
    }

    /// What to do about a damaged batch; an error by default.
    pub fn on_corrupt_batch(mut self, action: OnCorruptBatch) -> Self {
        self.policy.corrupt = action;
        self
    }

    /// Who is told what the scanner does by itself. It is called while the next batch is waited
    /// for, by whoever waits, with no lock held. Without one, a line in the log says so.
    pub fn on_event(mut self, listener: impl Fn(&ScanEvent) + Send + Sync + 'static) -> Self {
        self.policy.listener = Listener::new(listener);
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
    /// [`Error::Misuse`] for an unknown column or bucket, a filter that does not fit a column (told
    /// with its name and the value), a metadata column with the name of a column, an offset that is
    /// none, new partitions where there can be none, and tables whose log format cannot be read;
    /// [`Error::Config`] for settings against the rules; and those of [`Table::offsets`].
    pub fn build(self) -> Pending<LogScanner> {
        let fluss = self.table.fluss().clone();
        Pending::new(&fluss, self.open())
    }

    async fn open(mut self) -> Result<LogScanner> {
        let table = self.table.clone();
        let (fluss, info) = (table.fluss().clone(), table.info());
        let reader = self.reader()?.with_metadata(&self.metadata)?;
        let discovery = self.discovery_interval()?.map(|interval| (interval, self.new_from));
        let explicit = match (&self.buckets, &self.start) {
            (_, Start::Offsets(offsets)) => Some(offsets.keys().copied().collect()),
            (keys, _) => keys.clone(),
        };
        if let Some(keys) = &explicit {
            // What is wrong without looking is told without looking.
            Partitions::default().check(info, keys)?;
        }
        let partitions = Partitions::list(&fluss, info).await?;
        let keys = explicit.clone().unwrap_or_else(|| partitions.buckets(info));
        partitions.check(info, &keys)?;
        if let Some(Until::Offsets(offsets)) = &self.until {
            partitions.check(info, offsets.keys())?;
        }
        let ends = match &self.until {
            Some(until) => Some((ends_of(&fluss, info, &keys, until).await?, until.clone())),
            None => None,
        };
        let starts = match (&self.start, &ends) {
            (Start::Offsets(offsets), _) => offsets.clone(),
            (Start::Offset(offset), _) => keys.iter().map(|key| (*key, *offset)).collect(),
            (Start::At(OffsetSpec::Earliest), _) => {
                keys.iter().map(|key| (*key, EARLIEST)).collect()
            }
            // Both are the same; asked for again, the latest offset might have moved on.
            (Start::At(OffsetSpec::Latest), Some((ends, Until::At(OffsetSpec::Latest)))) => {
                ends.clone()
            }
            (Start::At(at), _) => list_offsets(&fluss, info, &keys, *at).await?,
        };
        let starts = match ends {
            Some(_) => without_earliest(&fluss, info, starts).await?,
            None => starts,
        };
        // Partitions that are new since the offsets were told have to be found.
        let resumed = discovery.is_some() && explicit.is_some();
        let partitions = if resumed { partitions.of_buckets(&keys) } else { partitions };
        let (mut options, policy) = (self.options, self.policy);
        if ends.is_some() {
            options.patience = Some(fluss.config(|config| config.command_deadline));
        }
        let opening = Opening { options, reader, starts, ends, partitions, discovery, policy };
        LogScanner::open(&table, opening)
    }

    fn discovery_interval(&self) -> Result<Option<Duration>> {
        let (bounded, partitioned) = (self.until.is_some(), is_partitioned(self.table.info()));
        match self.discovery {
            Some(Some(interval)) => {
                check_discovery(bounded, partitioned, self.buckets.is_some())?;
                Ok(Some(interval.max(Duration::from_millis(1))))
            }
            Some(None) => Ok(None),
            None => {
                let all = self.buckets.is_none() && !matches!(self.start, Start::Offsets(_));
                Ok((partitioned && !bounded && all).then_some(DISCOVERY))
            }
        }
    }

    /// Also says in the options what the server is to send.
    fn reader(&mut self) -> Result<BatchReader> {
        let info = self.table.info();
        let format = info.descriptor.properties.get("table.log.format").map(String::as_str);
        let format = LogFormat::of_property(format)
            .map_err(|error| Error::misuse(format!("{}: {error}", info.path)))?;
        let mut columns: Vec<usize> = match &self.columns {
            None => (0..info.schema().columns().len()).collect(),
            Some(names) if names.is_empty() => {
                return Err(Error::misuse("a projection must name at least one column"));
            }
            Some(names) => info
                .schema()
                .indexes_of("projection", names)
                .map_err(|error| Error::misuse(error.to_string()))?,
        };
        let (schema, id) = (info.schema(), info.wire_schema_id()?);
        let bound = self.filter.as_ref().map(|filter| filter.bind(schema)).transpose()?;
        let wanted = columns.len();
        for column in bound.iter().flat_map(Bound::columns) {
            if !columns.contains(column) {
                columns.push(*column);
            }
        }
        let mut reader = BatchReader::new(format, schema, id, &columns)?;
        let fewer = columns.len() < schema.columns().len();
        if format == LogFormat::Arrow && fewer && !self.verify_always {
            let mut places: Vec<i32> = columns.iter().map(|place| *place as i32).collect();
            places.sort_unstable();
            let places: Arc<[i32]> = places.into();
            reader = reader.with_projection(id, schema, Arc::clone(&places))?;
            (self.options.projection, self.options.projection_schema) = (Some(places), id);
        }
        if let Some(bound) = bound {
            // Servers leave out by what batches tell of their columns, if any do. Those before 1.0
            // do not know of it, and refuse the property.
            let told = statistics_columns(schema, &info.descriptor.properties).unwrap_or_default();
            let tells = bound.columns().iter().any(|column| told.contains(column));
            let wire = bound.wire().filter(|_| format == LogFormat::Arrow && tells);
            let wire = wire.map(|predicate| ServerFilter::new(predicate.clone(), id));
            self.options.filter = wire.transpose()?;
            let place = |column: &usize| columns.iter().position(|at| at == column);
            let places = bound.columns().iter().filter_map(place).collect();
            reader = reader.with_filter(bound, places, wanted);
        }
        let kv_format = info.descriptor.properties.get("table.kv.format");
        let indexed = kv_format.is_some_and(|format| format.eq_ignore_ascii_case("INDEXED"));
        Ok(if indexed && info.has_primary_key() { reader.of_padded_rows() } else { reader })
    }
}

/// Why looking for partitions does not go with these settings.
pub(super) fn check_discovery(bounded: bool, partitioned: bool, buckets: bool) -> Result<()> {
    let why = match (bounded, partitioned, buckets) {
        (true, ..) => "a bounded scan ends with the partitions it began with",
        (_, false, _) => "the table has no partitions",
        (.., true) => "only these buckets are to be read",
        _ => return Ok(()),
    };
    Err(Error::misuse(format!("new partitions cannot be looked for: {why}")))
}
