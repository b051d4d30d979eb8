//! Appending rows to log tables.

use std::sync::Arc;

use arrow_array::RecordBatch;
use fluss_proto::record::{Check, LogBatch, LogBatches, SealedBatch, Stamp};

use super::assign::{Assigner, BucketAssigner, Placing};
use super::dead_letter::Letters;
use super::hand_in::{HandIn, HandInAll};
use super::hand_in_batch::AppendBatch;
use super::lane::{Format, Many, Op, Progress, Pushed, Run};
use super::packers::Packers;
use super::pending::Pending;
use super::reroute::{Dealer, Rerouted, whole};
use super::slots::Target;
use super::table::{Table, TableInfo};
use super::ticket::Ticket;
use super::writer::{WriterCore, writer_settings};
use crate::batch::{
    ArrowBatchOptions, ArrowCompression, BodyPool, DecodeError, LogBatchBuilder, LogDecoder,
    LogFormat, RowView, Wanted, statistics_columns,
};
use crate::config::{NoKeyAssigner, WriterConfig};
use crate::error::{Error, Result};
use crate::row::hash::BucketFunction;
use crate::row::key::{KeyEncoder, KeyRules};
use crate::row::partition::PartitionNamer;
use crate::row::{Columns, OwnedDatum, OwnedRow, Row, RowError};
use crate::writer::{WaiterId, WriterKind};

/// Settings of an [`AppendWriter`]; made by [`Table::appender`].
#[derive(Clone, Debug)]
#[must_use = "nothing happens until `build`"]
pub struct AppendBuilder {
    table: Table,
    config: WriterConfig,
    letters: Letters,
    assigner: Option<Assigner>,
}

writer_settings!(AppendBuilder);

impl AppendBuilder {
    pub(crate) fn new(table: Table) -> Self {
        Self { table, config: WriterConfig::default(), letters: Letters::default(), assigner: None }
    }

    /// Where rows go in a table without a bucket key. Default [`NoKeyAssigner::Sticky`].
    pub fn no_key_assigner(mut self, assigner: NoKeyAssigner) -> Self {
        self.config.no_key_assigner = assigner;
        self
    }

    /// Chooses the buckets of rows itself, see [`BucketAssigner`]. Default: the table's own rule, a
    /// hash of the bucket key, or [`no_key_assigner`](Self::no_key_assigner) where there is none.
    ///
    /// Readers that count on the bucket key, as engines that join or tier by bucket do, do not find
    /// rows placed elsewhere.
    pub fn bucket_assigner(mut self, assigner: impl BucketAssigner) -> Self {
        self.assigner = Some(Assigner::new(assigner));
        self
    }

    /// The writer. It has a writer id and sequences of its own.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a table with a primary key or a log format that cannot be written,
    /// [`Error::Config`] for settings against the rules, [`Error::Closed`] after a close.
    pub fn build(self) -> Result<AppendWriter> {
        let info = self.table.info();
        if info.has_primary_key() {
            return Err(Error::misuse(format!(
                "{} has a primary key: rows are upserted, not appended; use `upserter()`",
                info.path
            )));
        }
        let mut format =
            AppendFormat::new(Arc::clone(self.table.shared_info()), &self.config, &self.table)?;
        if let Some(assigner) = self.assigner {
            format.assign_by(assigner)?;
        }
        let (table, config, letters) = (self.table, self.config, self.letters);
        let core = WriterCore::open(table, WriterKind::Append, config, format, letters)?;
        Ok(AppendWriter { core })
    }
}

/// How rows of a log table become batches.
#[derive(Debug)]
pub struct AppendFormat {
    info: Arc<TableInfo>,
    format: LogFormat,
    options: ArrowBatchOptions,
    /// The columns that batches have statistics of, where they have any.
    statistics: Option<Vec<usize>>,
    /// Encodes the bucket key, or what an assigner sees; None for tables without a bucket key.
    key: Option<KeyEncoder>,
    placing: Placing,
    /// Rows without a key go to the next bucket each.
    spread: bool,
    /// Names the partition of a row, in partitioned tables.
    namer: Option<PartitionNamer>,
    buckets: i32,
    packers: Packers,
}

/// What a compressor of Zstandard takes at the usual level.
const ZSTD_BYTES: u64 = 1_300_000;

/// Buffers for the keys of rows.
#[derive(Debug, Default)]
pub struct LogScratch {
    key: Vec<u8>,
    partition: String,
}

impl AppendFormat {
    fn new(info: Arc<TableInfo>, config: &WriterConfig, table: &Table) -> Result<Self> {
        let properties = &info.descriptor.properties;
        let format = properties.get("table.log.format").map(String::as_str);
        let format = LogFormat::of_property(format)
            .map_err(|error| Error::misuse(format!("{}: {error}", info.path)))?;
        let compression = ArrowCompression::from_properties(properties)?;
        let spread = config.no_key_assigner == NoKeyAssigner::RoundRobin;
        let max_row_bytes = table.fluss().config(|c| c.largest_batch(0));
        let options = ArrowBatchOptions {
            max_bytes: config.batch_bytes.min(max_row_bytes),
            max_row_bytes,
            compression,
        };
        Self::with(info, format, options, spread)
    }

    /// All that follows from the table. Nothing but its own rules places its rows.
    fn with(
        info: Arc<TableInfo>,
        format: LogFormat,
        options: ArrowBatchOptions,
        spread: bool,
    ) -> Result<Self> {
        let (key, function) = bucket_key_encoder(&info)?;
        Ok(Self {
            format,
            options,
            statistics: statistics_columns(info.schema(), &info.descriptor.properties),
            key,
            placing: Placing { function, assigner: None },
            spread,
            namer: namer(&info)?,
            buckets: info.buckets(),
            packers: Packers::default(),
            info,
        })
    }

    /// The same for the table as it is now.
    fn for_table(&self, info: Arc<TableInfo>) -> Result<Self> {
        let mut made = Self::with(info, self.format, self.options, self.spread)?;
        if let Some(assigner) = self.placing.assigner.clone() {
            made.assign_by(assigner)?;
        }
        Ok(made)
    }

    /// Where rows without a key go.
    fn any_bucket(&self) -> Target {
        Target::Any { buckets: self.buckets, first: self.info.bucket(0) }
    }

    /// Whether a row may follow the one before, wherever that went.
    #[inline]
    fn takes_any(&self) -> bool {
        !self.is_placed() && !self.spread && self.namer.is_none()
    }

    /// Where all rows of this table may go, if they need not be looked at for that.
    pub(super) fn target_of_all(&self) -> Option<Target> {
        self.takes_any().then(|| self.any_bucket())
    }

    /// Whether a row belongs into one bucket and no other.
    fn is_placed(&self) -> bool {
        self.key.is_some() || self.placing.assigner.is_some()
    }

    fn assign_by(&mut self, assigner: Assigner) -> Result<()> {
        if let Some(names) = assigner.columns() {
            let schema = self.info.schema();
            let columns = schema.indexes_of("columns of the bucket assigner", &names);
            let columns = columns.map_err(|e| Error::misuse(format!("{}: {e}", self.info.path)))?;
            self.key = Some(KeyEncoder::new(schema, &columns)?);
        }
        self.placing.assigner = Some(assigner);
        Ok(())
    }

    /// The bucket of a row with this key; None: any.
    #[inline]
    fn bucket(
        &self,
        key: &[u8],
        partition: Option<&str>,
        buckets: i32,
    ) -> Result<Option<i32>, RowError> {
        if !self.is_placed() {
            return Ok(None);
        }
        self.placing.bucket(key, partition, buckets.unsigned_abs()).map(Some)
    }
}

/// What names the partitions of a table's rows, if it has any.
fn namer(info: &TableInfo) -> Result<Option<PartitionNamer>> {
    let partition_key = &info.descriptor.partition_key;
    Ok(match partition_key.is_empty() {
        true => None,
        false => Some(PartitionNamer::new(info.schema(), partition_key)?.for_new()),
    })
}

/// The encoder of the columns that place a row in a bucket, and what makes a bucket of the bytes.
fn bucket_key_encoder(info: &TableInfo) -> Result<(Option<KeyEncoder>, BucketFunction)> {
    let columns = info.descriptor.effective_bucket_key();
    if columns.is_empty() {
        return Ok((None, BucketFunction::Fluss));
    }
    let rules = KeyRules::of(&info.descriptor);
    let rules = rules.map_err(|e| Error::misuse(format!("{}: {e}", info.path)))?;
    let encoder = KeyEncoder::new(info.schema(), &columns)?.with_format(rules.bucket_key)?;
    Ok((Some(encoder), rules.function))
}

impl Format for AppendFormat {
    type Builder = LogBatchBuilder;
    type Scratch = LogScratch;

    fn renewed(&self, info: Arc<TableInfo>) -> Result<Self> {
        self.for_table(info)
    }

    fn builder(&self) -> Result<Self::Builder> {
        let schema = self.info.schema().clone();
        let builder = LogBatchBuilder::new(self.format, schema, self.options)?;
        Ok(match &self.statistics {
            Some(columns) => builder.with_statistics(columns)?,
            None => builder,
        })
    }

    fn shrink(&self, builder: &mut Self::Builder) {
        builder.shrink();
        self.packers.spare();
    }

    fn size(builder: &Self::Builder) -> usize {
        builder.size_in_bytes()
    }

    #[inline]
    fn memory(builder: &Self::Builder) -> usize {
        builder.memory_in_bytes()
    }

    fn beside(&self) -> u64 {
        match self.options.compression {
            ArrowCompression::Zstd { .. } => ZSTD_BYTES,
            _ => 0,
        }
    }

    fn let_go(builder: &mut Self::Builder) {
        builder.let_go();
    }

    fn reserve(builder: &mut Self::Builder, bytes: usize) {
        builder.reserve(bytes);
    }

    fn wanted(builder: &Self::Builder) -> Option<Wanted> {
        builder.wanted()
    }

    fn rows(builder: &Self::Builder) -> u32 {
        builder.len() as u32
    }

    fn seal(&self, builder: &mut Self::Builder, bodies: &mut BodyPool) -> Result<SealedBatch> {
        let schema_id = self.info.wire_schema_id()?;
        builder.lend(self.packers.take());
        let sealed = builder.seal_with(schema_id, |bytes| bodies.take(bytes));
        self.packers.keep(builder.take_packer());
        Ok(sealed?)
    }

    fn seal_to_read(builder: &mut Self::Builder) -> Result<SealedBatch> {
        Ok(builder.seal_to_read()?)
    }

    fn reroute(&self, sealed: &SealedBatch, partition: &str, buckets: i32) -> Result<Rerouted> {
        self.placing.check_reroute()?;
        let unread = |error: &dyn std::fmt::Display| Error::misuse(error.to_string());
        let all: Vec<usize> = (0..self.info.schema().columns().len()).collect();
        let decoder = LogDecoder::new(self.format, self.info.schema(), &all);
        let decoder = decoder.map_err(|e| unread(&e))?;
        let (mut dealer, mut key) = (Dealer::new(self), Vec::new());
        for batch in LogBatches::new(whole(sealed)) {
            let rows =
                decoder.decode_rows(&batch.map_err(RowError::from)?).map_err(|e| unread(&e))?;
            for view in rows.iter() {
                let value = |at| view.value(at).map(OwnedDatum::from).map_err(|e| unread(&e));
                let row: OwnedRow = all.iter().map(|at| value(*at)).collect::<Result<_>>()?;
                key.clear();
                if let Some(encoder) = &self.key {
                    encoder.encode(&row, &mut key)?;
                }
                let bucket = self.bucket(&key, Some(partition), buckets)?.unwrap_or(0);
                dealer.put(bucket, |builder| builder.try_push(&row))?;
            }
        }
        dealer.finish()
    }

    fn spreads_rows(&self) -> bool {
        self.spread
    }

    fn clear(builder: &mut Self::Builder) {
        builder.clear();
    }

    fn columns(&self, _op: Op) -> Columns<'_> {
        Columns::all(self.info.schema())
    }

    fn rows_of(
        &self,
        sealed: &SealedBatch,
        _partition: Option<&str>,
    ) -> Result<Vec<(bool, OwnedRow)>> {
        let bytes = [&sealed.stamp(Stamp::NONE)[..], &sealed.payload()[..]].concat();
        let batch = LogBatch::new_checked(bytes.into(), Check::Structure);
        let batch = batch.map_err(DecodeError::from)?;
        let schema = self.info.schema();
        let all: Vec<usize> = (0..schema.columns().len()).collect();
        let rows = LogDecoder::new(self.format, schema, &all)?.decode_rows(&batch)?;
        let value = |view: &RowView<'_>, at| view.value(at).map_or(OwnedDatum::Null, Into::into);
        let row = |view: RowView<'_>| all.iter().map(|at| value(&view, *at)).collect();
        Ok(rows.iter().map(|view| (false, row(view))).collect())
    }

    fn put<R: Row + ?Sized>(
        &self,
        run: &mut Run<'_, Self>,
        _op: Op,
        row: &R,
        granted: Option<WaiterId>,
    ) -> Result<Pushed> {
        let (LogScratch { key, partition }, mut batches) = run.parts()?;
        if granted.is_none()
            && self.takes_any()
            && let Some(pushed) = batches.push_any(|batch| batch.try_push(row))
        {
            // Most rows.
            return Ok(pushed);
        }
        key.clear();
        if let Some(encoder) = &self.key {
            encoder.encode(row, key)?;
        }
        let Some(namer) = &self.namer else {
            let target = match self.bucket(key, None, self.buckets)? {
                None => self.any_bucket(),
                Some(bucket) => Target::Bucket(self.info.bucket(bucket)),
            };
            return batches.push(target, 0, granted, |batch| batch.try_push(row));
        };
        namer.name(row, partition)?;
        let bucket = |buckets: i32| self.bucket(key, Some(&**partition), buckets);
        let push = |batch: &mut LogBatchBuilder| batch.try_push(row);
        batches.push_to_partition(partition, bucket, 0, granted, push)
    }

    fn put_many<I: Iterator<Item: Row>>(
        &self,
        run: &mut Run<'_, Self>,
        _op: Op,
        rows: &mut I,
        most: usize,
        progress: &mut Progress,
    ) -> Many<I::Item> {
        let Ok((LogScratch { key, .. }, mut batches)) = run.parts() else {
            return Many::none(rows);
        };
        if self.takes_any() {
            return batches.push_many(rows, most, progress, LogBatchBuilder::push_many);
        }
        // An assigner is asked once for each row, also for one that finds its batch full.
        let placed = (&self.key, &self.namer, &self.placing.assigner);
        let (Some(encoder), None, None) = placed else { return Many::none(rows) };
        Many::put(rows, most, |row| {
            key.clear();
            if encoder.encode(row, key).is_err() {
                return false;
            }
            let Ok(Some(bucket)) = self.bucket(key, None, self.buckets) else { return false };
            batches.push_next(self.info.bucket(bucket), progress, |batch| batch.try_push(row))
        })
    }
}

/// Appends rows to a log table.
///
/// Cloning it makes another lane: a series of open batches of its own, so that clones on several
/// threads do not slow each other down; they share writer id and settings. Rows handed in through
/// one handle reach a bucket in that order.
///
/// Dropping the last clone seals what is open; the client goes on delivering it.
///
/// # Partitions
/// In a partitioned table a row goes to the partition of its values, told in
/// [`Ack::partition`](super::Ack::partition). A partition that does not exist is created, once
/// however many rows wait for it; they wait in batches, which count against the memory budget and
/// have their delivery timeout, and hold up no rows of other partitions. A creation that the server
/// refuses ends them as not written, with its code. So does, with code 36, a missing partition when
/// [`dynamic_partition_creation`](AppendBuilder::dynamic_partition_creation) is off. When a
/// partition is dropped, rows on their way there end as not written, or with an unknown outcome
/// where a copy may have been appended before; the next ones create it again.
///
/// # Columns added under way
/// A row with more columns than the handle knows makes it go on with the newest schema that the
/// client has heard of. If the client has heard of none, that row is refused, the client asks a
/// server, and rows after its answer are taken;
/// [`with_current_schema`](Self::with_current_schema) waits for the answer. Rows and record batches
/// of as many columns as before stay welcome: they have null in the new ones.
///
/// # Tables whose number of buckets was changed
/// No published server has such tables yet, so this is tested with the fake cluster only. Each
/// partition keeps the number of buckets with which it was created, and requests tell the server
/// from how many a row's bucket was chosen. Rows that wait for a partition, batched by the number
/// that was expected, are placed anew once its real number is known, if that is a multiple: the
/// rows of each bucket then stay in their order. Nothing is kept for it but the batches themselves;
/// rows are read back from them, and only until they are sent for the first time. With code 74 end
/// as not written: rows that wait where the number is no multiple, where an assigner of the
/// application's own placed them or where their handle is gone, and rows that a server refuses for
/// their bucket. Handed in again they go where they belong. If an earlier copy of them may have
/// been appended, their outcome is unknown.
#[derive(Clone, Debug)]
pub struct AppendWriter {
    pub(super) core: WriterCore<AppendFormat>,
}

/// Rows being appended; see [`HandInAll`].
pub type AppendAll<'a, I> = HandInAll<'a, AppendFormat, I>;

impl AppendWriter {
    /// Hands a row in: encodes it into an open batch. Waits for memory only, never for a server;
    /// and where threads share a handle, for the rows, 64 at most, that another one is putting.
    /// Give each a clone.
    ///
    /// Nothing happens before it is polled or waited for; dropped before its end, it has handed in
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Row`] for a row that does not fit the table, [`Error::Closed`] after a close.
    pub fn append<'a, R: Row + ?Sized>(&'a self, row: &'a R) -> HandIn<'a, AppendFormat, R> {
        HandIn::new(&self.core, Op::Append, row)
    }

    /// Like [`AppendWriter::append`], but [`Error::Full`] instead of a wait; the row stays with the
    /// caller.
    ///
    /// # Errors
    /// As `append`, and [`Error::Full`].
    pub fn try_append<R: Row + ?Sized>(&self, row: &R) -> Result<Ticket> {
        self.core.try_put(Op::Append, row)
    }

    /// Hands many rows in, with one ticket for all. The rows may be far more than the memory budget
    /// holds; a row that does not fit the table fails alone, in the ticket.
    ///
    /// An iterator that knows its length is read under the handle's lock: it must not block, and
    /// what it hands in through the same handle is refused with [`Error::Misuse`]; give it a clone.
    /// Any other is read without the lock.
    pub fn append_all<I>(&self, rows: I) -> AppendAll<'_, I::IntoIter>
    where
        I: IntoIterator,
        I::Item: Row,
    {
        HandInAll::new(&self.core, Op::Append, rows.into_iter())
    }

    /// Hands an Arrow record batch in, with one ticket for all its rows: columns are found by their
    /// names and widened where nothing is lost (see [`ArrowRows`](crate::batch::ArrowRows)). Rows
    /// that may go to any bucket are copied column by column, at the latest when their batch is
    /// sealed. Until then the buffers of the record batch may be kept, up to eight times
    /// [`batch_bytes`](AppendBuilder::batch_bytes) for each open batch of the writer; they count
    /// against the memory budget, and where it is short, rows are copied at once.
    ///
    /// Values of numbers, dates, strings and bytes are not even copied then if the table's batches
    /// have neither compression nor statistics, a run of rows has no nulls and at least 4 KiB of
    /// them, and their buffer holds little else: the socket gets them from there. Such a buffer is
    /// kept until the rows have an outcome; what else it holds counts against the budget, too, and
    /// is, for all of a batch, at most a quarter of its size.
    ///
    /// ```no_run
    /// # async fn f(writer: &fluss_core::AppendWriter, batch: arrow_array::RecordBatch) {
    /// match writer.append_batch(&batch).await {
    ///     Ok(ticket) => {
    ///         for part in ticket.await {
    ///             println!("rows {:?} of the batch: {:?}", part.rows, part.outcome);
    ///         }
    ///     }
    ///     Err(early) => println!("{early}"),
    /// }
    /// # }
    /// ```
    ///
    /// A value that does not fit its column fails its row alone, in the ticket; a column that is
    /// missing, unknown, there twice or of another type fails the call, and no row is handed in.
    pub fn append_batch(&self, batch: &RecordBatch) -> AppendBatch<'_> {
        let (core, rows) = self.core.rows_of(batch);
        AppendBatch::new(core, rows)
    }

    /// Partitions that this handle remembers.
    #[cfg(test)]
    pub(super) fn routes(&self) -> usize {
        self.core.lane().routes()
    }

    /// Seals what is open and waits until all rows handed in before, through this handle or its
    /// clones, have an outcome.
    ///
    /// # Errors
    /// [`FlushError`](super::FlushError) names the rows, handed in through this handle or its
    /// clones, without an `Ok` since the last flush of this handle. Each handle is told of all.
    pub fn flush(&self) -> super::Flush {
        self.core.flush()
    }

    /// The same writer for the table as it is now: another handle, whose rows have the columns that
    /// were added since this one was made, and whose [`table`](Self::table) tells them. It asks for
    /// them, where this handle goes by what the client heard of the table: see
    /// [columns added](Self#columns-added-under-way). Rows of both are in one
    /// log, under one writer id.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the table was dropped and made anew, [`Error::Closed`] after a close,
    /// and those of [`Fluss::table`](super::Fluss::table).
    pub fn with_current_schema(&self) -> Pending<Self> {
        let core = self.core.clone();
        Pending::new(self.table().fluss(), async move {
            let core = core.with_current_schema(AppendFormat::for_table).await?;
            Ok(Self { core })
        })
    }

    /// The table, with the columns that this handle writes by now.
    #[must_use]
    pub fn table(&self) -> &Table {
        self.core.newest().table()
    }
}

#[cfg(test)]
#[path = "append_tests.rs"]
mod tests;
