//! Upserting and deleting rows of primary-key tables.

mod keys;
mod merge_mode;
use keys::{KeyReader, Namers};
pub use merge_mode::MergeMode;

use std::sync::Arc;

use fluss_proto::record::{Check, KvBatch, KvRecord, SealedBatch, Stamp};

use super::assign::{Assigner, BucketAssigner, Placing};
use super::dead_letter::Letters;
use super::hand_in::{HandIn, HandInAll};
use super::lane::{Format, Many, Op, Progress, Pushed, Run};
use super::pending::Pending;
use super::reroute::{Dealer, Rerouted, whole};
use super::slots::Target;
use super::table::{Table, TableInfo};
use super::ticket::Ticket;
use super::writer::{WriterCore, writer_settings};
use crate::batch::{
    BatchError, BodyPool, KvBatchBuilder, KvBatchOptions, KvFormat, KvRowEncoder, KvScratch, Wanted,
};
use crate::config::WriterConfig;
use crate::error::{Error, Result};
use crate::row::key::{KeyEncoder, KeyFormat, KeyRules};
use crate::row::partition::values_of;
use crate::row::{
    Column, Columns, OwnedDatum, OwnedRow, Row, RowDecodeError, RowError, RowLayout, Schema,
    compacted,
};
use crate::writer::{WaiterId, WriterKind};

/// Settings of an [`UpsertWriter`]; made by [`Table::upserter`].
#[derive(Clone, Debug)]
#[must_use = "nothing happens until `build`"]
pub struct UpsertBuilder {
    table: Table,
    config: WriterConfig,
    columns: Option<Targets>,
    merge_mode: MergeMode,
    letters: Letters,
    assigner: Option<Assigner>,
}

/// The columns to write.
#[derive(Clone, Debug)]
enum Targets {
    Names(Vec<String>),
    Indexes(Vec<usize>),
}

impl Targets {
    fn indexes(&self, info: &TableInfo) -> Result<Vec<usize>> {
        let schema = info.schema();
        match self {
            Self::Names(names) => schema
                .indexes_of("columns to write", names)
                .map_err(|e| Error::misuse(format!("{}: {e}", info.path))),
            Self::Indexes(indexes) => {
                let count = schema.columns().len();
                match indexes.iter().find(|index| **index >= count) {
                    None => Ok(indexes.clone()),
                    Some(index) => Err(Error::misuse(format!(
                        "{}: there is no column {index} to write, the table has {count}, from 0",
                        info.path
                    ))),
                }
            }
        }
    }
}

writer_settings!(UpsertBuilder);

impl UpsertBuilder {
    pub(crate) fn new(table: Table) -> Self {
        let (config, merge_mode) = (WriterConfig::default(), MergeMode::Default);
        let (letters, assigner) = (Letters::default(), None);
        Self { table, config, columns: None, merge_mode, letters, assigner }
    }

    /// Chooses the buckets of rows and deletes itself, see [`BucketAssigner`]. Default: the table's
    /// own rule, a hash of the bucket key.
    ///
    /// Use it only where nobody else reads or writes by key: lookups, other writers and the table's
    /// data lake go by the table's own rule. They do not find rows in other buckets, and an upsert
    /// of theirs is a second row with the same key. The assigner must always answer the same for a
    /// key, or its rows double likewise.
    pub fn bucket_assigner(mut self, assigner: impl BucketAssigner) -> Self {
        self.assigner = Some(Assigner::new(assigner));
        self
    }

    /// How rows meet those that are there. Default [`MergeMode::Default`].
    pub fn merge_mode(mut self, mode: MergeMode) -> Self {
        self.merge_mode = mode;
        self
    }

    /// Writes only these columns: rows have their values, in this order, and the others stay as
    /// they are; a delete makes these columns null, and the row goes with the last of its values.
    ///
    /// The primary key must be among them, the auto-increment column must not, and all columns
    /// outside the key must allow null: the server accepts what breaks these rules and stores
    /// nonsense, so [`build`](Self::build) refuses it. So it does where the table has the merge
    /// engine `first_row` or `versioned`, of whose rows servers write no parts.
    pub fn columns<I: IntoIterator<Item: Into<String>>>(mut self, names: I) -> Self {
        self.columns = Some(Targets::Names(names.into_iter().map(Into::into).collect()));
        self
    }

    /// Like [`columns`](Self::columns), by their places in the table, from 0.
    pub fn columns_at<I: IntoIterator<Item = usize>>(mut self, indexes: I) -> Self {
        self.columns = Some(Targets::Indexes(indexes.into_iter().collect()));
        self
    }

    /// The writer. It has a writer id and sequences of its own.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a table without a primary key or columns that cannot be written,
    /// [`Error::Config`] for settings against the rules, [`Error::Closed`] after a close.
    pub fn build(self) -> Result<UpsertWriter> {
        let info = Arc::clone(self.table.shared_info());
        let targets = self.columns.as_ref().map(|targets| targets.indexes(&info)).transpose()?;
        if targets.is_some() {
            self.merge_mode.check_partial(&info)?;
        }
        let wire = targets.as_ref().map(|t| t.iter().map(|i| *i as i32).collect());
        let merge_mode = match self.merge_mode {
            MergeMode::Default => None,
            MergeMode::Overwrite => Some(1),
        };
        let kind = WriterKind::Upsert { target_columns: wire, merge_mode };
        let mut format = RowFormat::new(info, &self.config, &self.table, targets.as_deref())?;
        if let Some(assigner) = self.assigner {
            format.assign_by(assigner, targets.as_deref())?;
        }
        let core = WriterCore::open(self.table, kind, self.config, format, self.letters)?;
        Ok(UpsertWriter { core })
    }
}

/// How rows of a primary-key table become batches.
#[derive(Debug)]
pub struct RowFormat {
    info: Arc<TableInfo>,
    options: KvBatchOptions,
    encoder: KvRowEncoder,
    partitions: Option<Namers>,
    placing: Placing,
    /// What an assigner sees, from a row and from a key; None: the bucket key.
    seen: Option<(KeyEncoder, KeyEncoder)>,
    buckets: u32,
}

/// Buffers for a row's encoding and the name of its partition.
#[derive(Debug, Default)]
pub struct RowScratch {
    kv: KvScratch,
    partition: String,
    seen: Vec<u8>,
}

impl RowFormat {
    fn new(
        info: Arc<TableInfo>,
        config: &WriterConfig,
        table: &Table,
        targets: Option<&[usize]>,
    ) -> Result<Self> {
        let encoder = kv_encoder(&info, targets)?;
        let named = targets.map_or(0, <[usize]>::len);
        let max_row_bytes = table.fluss().config(|c| c.largest_batch(named));
        let max_bytes = config.batch_bytes.min(max_row_bytes);
        let options = KvBatchOptions { max_bytes, max_row_bytes };
        let partitions = Namers::new(&info, targets)?;
        let buckets = info.buckets().unsigned_abs();
        let rules = KeyRules::of(&info.descriptor).map_err(|e| Error::misuse(e.to_string()))?;
        let placing = Placing { function: rules.function, assigner: None };
        Ok(Self { info, options, encoder, partitions, placing, seen: None, buckets })
    }

    /// What makes the bytes that place a row of those of its key; None: they are the same.
    fn key_reader(&self) -> Result<Option<KeyReader>> {
        let (table, schema) = (&self.info.descriptor, self.info.schema());
        let rules = KeyRules::of(table).map_err(|e| Error::misuse(e.to_string()))?;
        let physical = table.physical_primary_key();
        let (columns, format) = (table.effective_bucket_key(), rules.bucket_key);
        if columns == physical && format == rules.key {
            return Ok(None);
        }
        if rules.key != KeyFormat::Compacted {
            return Err(Error::misuse("the columns that place its rows cannot be read from keys"));
        }
        let of_key: Vec<Column> = physical.iter().map(|at| schema.columns()[*at].clone()).collect();
        let layout = RowLayout::new(&Schema::new(of_key, Vec::new()));
        let encoder = KeyEncoder::for_values(schema, &columns, &physical)?.with_format(format)?;
        Ok(Some(KeyReader { layout, encoder }))
    }

    fn assign_by(&mut self, assigner: Assigner, targets: Option<&[usize]>) -> Result<()> {
        let schema = self.info.schema();
        if let Some(names) = assigner.columns() {
            let misuse = |what: &dyn std::fmt::Display| {
                Error::misuse(format!("{}: the bucket assigner: {what}", self.info.path))
            };
            let columns = schema.indexes_of("columns", &names).map_err(|e| misuse(&e))?;
            let primary = schema.primary_key();
            if let Some(&other) = columns.iter().find(|column| !primary.contains(column)) {
                let name = &schema.columns()[other].name;
                return Err(misuse(&format_args!(
                    "`{name}` is not part of the primary key, so deletes do not have it"
                )));
            }
            let all: Vec<usize> = (0..schema.columns().len()).collect();
            let of_row = KeyEncoder::for_values(schema, &columns, targets.unwrap_or(&all))?;
            self.seen = Some((of_row, KeyEncoder::for_values(schema, &columns, primary)?));
        }
        self.placing.assigner = Some(assigner);
        Ok(())
    }
}

impl RowFormat {
    /// The same for the table as it is now.
    fn for_table(&self, info: Arc<TableInfo>) -> Result<Self> {
        let targets = self.encoder.targets();
        let encoder = kv_encoder(&info, targets)?;
        let partitions = Namers::new(&info, targets)?;
        let buckets = info.buckets().unsigned_abs();
        let options = self.options;
        let placing = Placing { function: self.placing.function, assigner: None };
        let mut made = Self { info, options, encoder, partitions, placing, seen: None, buckets };
        if let Some(assigner) = self.placing.assigner.clone() {
            made.assign_by(assigner, targets)?;
        }
        Ok(made)
    }

    /// The values of the primary key in a key, of partition columns those in the partition's name.
    fn key_of(
        &self,
        key: &[u8],
        partition: Option<&str>,
    ) -> std::result::Result<OwnedRow, RowDecodeError> {
        let (schema, table) = (self.info.schema(), &self.info.descriptor);
        let physical = table.physical_primary_key();
        let mut values = vec![OwnedDatum::Null; schema.columns().len()];
        let types = self.info.partition_types();
        let of_name = partition.map(|name| values_of(name, &types)).unwrap_or_default();
        for (column, value) in table.partition_key.iter().zip(of_name) {
            values[*column] = value;
        }
        if KeyRules::of(table).is_ok_and(|rules| rules.key == KeyFormat::Compacted) {
            let columns = physical.iter().map(|index| schema.columns()[*index].clone()).collect();
            let layout = RowLayout::new(&Schema::new(columns, vec![]));
            // A key is a COMPACTED row without null bits.
            let mut bytes = vec![0; physical.len().div_ceil(8)];
            bytes.extend_from_slice(key);
            let of_key = compacted::decode(&layout, &bytes)?.into_values();
            for (column, value) in physical.iter().zip(of_key) {
                values[*column] = value;
            }
        }
        Ok(schema.primary_key().iter().map(|column| values[*column].clone()).collect())
    }
}

/// The encoder of a table's rows and keys.
pub(crate) fn kv_encoder(info: &TableInfo, targets: Option<&[usize]>) -> Result<KvRowEncoder> {
    let misuse = |e: &dyn std::fmt::Display| Error::misuse(format!("{}: {e}", info.path));
    let schema = info.schema();
    let properties = &info.descriptor.properties;
    let format = match properties.get("table.kv.format").map(String::as_str) {
        None => KvFormat::Compacted,
        Some(name) if name.eq_ignore_ascii_case("COMPACTED") => KvFormat::Compacted,
        Some(name) if name.eq_ignore_ascii_case("INDEXED") => KvFormat::Indexed,
        Some(other) => return Err(misuse(&format_args!("the KV format {other} is unknown"))),
    };
    let rules = KeyRules::of(&info.descriptor).map_err(|e| misuse(&e))?;
    let partition = &info.descriptor.partition_key;
    let bucket = &info.descriptor.bucket_key;
    let encoder = match targets {
        None => KvRowEncoder::new(schema, partition, bucket, format),
        Some(targets) => KvRowEncoder::partial(schema, partition, bucket, format, targets),
    };
    let encoder = encoder.and_then(|encoder| encoder.with_keys(&rules));
    let encoder = encoder.map_err(|e| misuse(&e))?.strict().within_arrow();
    let changelog = properties.get("table.log.format");
    let arrow = changelog.is_none_or(|format| format.eq_ignore_ascii_case("ARROW"));
    let cut = format == KvFormat::Indexed && arrow;
    Ok(if cut { encoder.with_solid_binary() } else { encoder })
}

impl Format for RowFormat {
    type Builder = KvBatchBuilder;
    type Scratch = RowScratch;

    fn renewed(&self, info: Arc<TableInfo>) -> Result<Self> {
        self.for_table(info)
    }

    fn builder(&self) -> Result<Self::Builder> {
        Ok(KvBatchBuilder::new(self.options, Vec::new())?)
    }

    fn size(builder: &Self::Builder) -> usize {
        builder.size_in_bytes()
    }

    fn shrink(&self, builder: &mut Self::Builder) {
        builder.shrink();
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
        Ok(builder.seal(self.info.wire_schema_id()?, bodies.take(Self::size(builder)))?)
    }

    fn seal_to_read(builder: &mut Self::Builder) -> Result<SealedBatch> {
        Ok(builder.seal(0, Vec::new())?)
    }

    fn clear(builder: &mut Self::Builder) {
        builder.clear();
    }

    fn columns(&self, op: Op) -> Columns<'_> {
        let schema = self.info.schema();
        match (op, self.encoder.targets()) {
            (Op::Delete, _) => Columns::among(schema, Some(schema.primary_key())),
            (_, Some(targets)) => Columns::all(schema).only(targets),
            (_, None) => Columns::all(schema),
        }
    }

    fn rows_of(
        &self,
        sealed: &SealedBatch,
        partition: Option<&str>,
    ) -> Result<Vec<(bool, OwnedRow)>> {
        let bytes = [&sealed.stamp(Stamp::NONE)[..], &sealed.payload()[..]].concat();
        let batch = KvBatch::new_checked(bytes.into(), Check::Structure);
        let batch = batch.map_err(BatchError::from)?;
        let misuse = |e: RowDecodeError| Error::misuse(e.to_string());
        let mut rows = Vec::with_capacity(batch.record_count() as usize);
        for record in batch.records() {
            let record = record.map_err(BatchError::from)?;
            rows.push(match &record.row {
                Some(row) => (false, self.encoder.decode(row).map_err(misuse)?),
                None => (true, self.key_of(&record.key, partition).map_err(misuse)?),
            });
        }
        Ok(rows)
    }

    fn reroute(&self, sealed: &SealedBatch, partition: &str, buckets: i32) -> Result<Rerouted> {
        self.placing.check_reroute()?;
        let reader = self.key_reader()?;
        let (mut dealer, mut seen) = (Dealer::new(self), Vec::new());
        let batch =
            KvBatch::new_checked(whole(sealed), Check::Structure).map_err(RowError::from)?;
        for record in batch.records() {
            let KvRecord { key, row } = record.map_err(RowError::from)?;
            let placing = match &reader {
                None => &key[..],
                Some(reader) => {
                    seen.clear();
                    reader.read(&key, &mut seen)?;
                    &seen
                }
            };
            let count = buckets.unsigned_abs();
            let bucket = self.placing.bucket(placing, Some(partition), count)?;
            dealer.put(bucket, |builder| match &row {
                Some(row) => builder.try_push_upsert(&key, row),
                None => builder.try_push_delete(&key),
            })?;
        }
        dealer.finish()
    }

    fn put<R: Row + ?Sized>(
        &self,
        run: &mut Run<'_, Self>,
        op: Op,
        row: &R,
        granted: Option<WaiterId>,
    ) -> Result<Pushed> {
        let (RowScratch { kv, partition, seen }, mut batches) = run.parts()?;
        if op != Op::Delete
            && self.partitions.is_none()
            && self.seen.is_none()
            && let Some(short) = self.encoder.encode_short(row, kv)
        {
            // Most rows.
            self.options.check_record(short.record.len())?;
            let bucket = self.placing.bucket_by(short.hash, short.key, self.buckets)?;
            let target = Target::Bucket(self.info.bucket(bucket));
            let push = |batch: &mut KvBatchBuilder| batch.try_push_record(short.record);
            return batches.push(target, short.record.len(), granted, push);
        }
        match op {
            Op::Append | Op::Upsert => self.encoder.encode(row, kv)?,
            Op::Delete => self.encoder.encode_delete(row, kv)?,
        }
        let hint = kv.key().len() + kv.row().len();
        // Before it asks for memory, of which there can never be enough for it.
        self.options.check(kv.key(), kv.row())?;
        let push = |batch: &mut KvBatchBuilder| match op {
            Op::Append | Op::Upsert => batch.try_push_upsert(kv.key(), kv.row()),
            Op::Delete => batch.try_push_delete(kv.key()),
        };
        let key = match &self.seen {
            None => kv.bucket_key(),
            Some((of_row, of_key)) => {
                seen.clear();
                match op {
                    Op::Append | Op::Upsert => of_row.encode(row, seen)?,
                    Op::Delete => of_key.encode(row, seen)?,
                }
                seen
            }
        };
        let Some(namers) = &self.partitions else {
            let bucket = self.placing.bucket(key, None, self.buckets)?;
            let target = Target::Bucket(self.info.bucket(bucket));
            return batches.push(target, hint, granted, push);
        };
        match op {
            Op::Append | Op::Upsert => namers.of_row.name(row, partition)?,
            Op::Delete => namers.of_key.name(row, partition)?,
        }
        let bucket = |buckets: i32| {
            self.placing.bucket(key, Some(&**partition), buckets.unsigned_abs()).map(Some)
        };
        batches.push_to_partition(partition, bucket, hint, granted, push)
    }

    fn put_many<I: Iterator<Item: Row>>(
        &self,
        run: &mut Run<'_, Self>,
        op: Op,
        rows: &mut I,
        most: usize,
        progress: &mut Progress,
    ) -> Many<I::Item> {
        let Ok((RowScratch { kv, .. }, mut batches)) = run.parts() else {
            return Many::none(rows);
        };
        // An assigner is asked once for each row, also for one that finds its batch full.
        if self.partitions.is_some() || self.placing.assigner.is_some() {
            return Many::none(rows);
        }
        if op == Op::Delete {
            return Many::put(rows, most, |key| {
                let encoded = self.encoder.encode_delete(key, kv);
                let place = |()| self.placing.bucket(kv.bucket_key(), None, self.buckets);
                let Ok(bucket) = encoded.and_then(place) else { return false };
                let push = |batch: &mut KvBatchBuilder| batch.try_push_delete(kv.key());
                batches.push_next(self.info.bucket(bucket), progress, push)
            });
        }
        Many::put(rows, most, |row| {
            let Some(short) = self.encoder.encode_short(row, kv) else { return false };
            let Ok(bucket) = self.placing.bucket_by(short.hash, short.key, self.buckets) else {
                return false;
            };
            let push = |batch: &mut KvBatchBuilder| batch.try_push_record(short.record);
            batches.push_next(self.info.bucket(bucket), progress, push)
        })
    }
}

/// Upserts and deletes rows of a primary-key table.
///
/// Cloning it makes another lane: a series of open batches of its own, so that clones on several
/// threads do not slow each other down; they share writer id and settings. Rows handed in through
/// one handle reach a bucket in that order.
///
/// Dropping the last clone seals what is open; the client goes on delivering it.
///
/// Of partitioned tables, of columns added under way (but for writers of some columns, which go on
/// with those) and of changed numbers of buckets the same is true as for
/// [`AppendWriter`](super::AppendWriter).
#[derive(Clone, Debug)]
pub struct UpsertWriter {
    core: WriterCore<RowFormat>,
}

/// Rows being upserted or deleted; see [`HandInAll`].
pub type UpsertAll<'a, I> = HandInAll<'a, RowFormat, I>;

impl UpsertWriter {
    /// Hands a row in that is inserted, or replaces the row with its key. The outcome tells the end
    /// of its batch in the changelog, as servers tell no more. It waits, and may be dropped, as
    /// [`AppendWriter::append`](super::AppendWriter::append).
    ///
    /// # Errors
    /// [`Error::Row`] for a row that does not fit the table, [`Error::Closed`] after a close.
    pub fn upsert<'a, R: Row + ?Sized>(&'a self, row: &'a R) -> HandIn<'a, RowFormat, R> {
        HandIn::new(&self.core, Op::Upsert, row)
    }

    /// Deletes the row with this key: the values of the primary key's columns, in key order.
    ///
    /// # Errors
    /// As [`upsert`](Self::upsert).
    pub fn delete<'a, R: Row + ?Sized>(&'a self, key: &'a R) -> HandIn<'a, RowFormat, R> {
        HandIn::new(&self.core, Op::Delete, key)
    }

    /// Like [`UpsertWriter::upsert`], but [`Error::Full`] instead of a wait.
    ///
    /// # Errors
    /// As `upsert`, and [`Error::Full`].
    pub fn try_upsert<R: Row + ?Sized>(&self, row: &R) -> Result<Ticket> {
        self.core.try_put(Op::Upsert, row)
    }

    /// Like [`UpsertWriter::delete`], but [`Error::Full`] instead of a wait.
    ///
    /// # Errors
    /// As `delete`, and [`Error::Full`].
    pub fn try_delete<R: Row + ?Sized>(&self, key: &R) -> Result<Ticket> {
        self.core.try_put(Op::Delete, key)
    }

    /// Upserts many rows, with one ticket for all; see
    /// [`AppendWriter::append_all`](super::AppendWriter::append_all).
    ///
    /// # Errors
    /// [`Error::Closed`] after a close. A row that does not fit the table fails in the ticket.
    pub fn upsert_all<I>(&self, rows: I) -> UpsertAll<'_, I::IntoIter>
    where
        I: IntoIterator,
        I::Item: Row,
    {
        HandInAll::new(&self.core, Op::Upsert, rows.into_iter())
    }

    /// Deletes the rows with these keys, with one ticket for all.
    ///
    /// # Errors
    /// As [`upsert_all`](Self::upsert_all).
    pub fn delete_all<I>(&self, keys: I) -> UpsertAll<'_, I::IntoIter>
    where
        I: IntoIterator,
        I::Item: Row,
    {
        HandInAll::new(&self.core, Op::Delete, keys.into_iter())
    }

    /// Seals what is open and waits until all rows handed in before have an outcome; see
    /// [`AppendWriter::flush`](super::AppendWriter::flush).
    ///
    /// # Errors
    /// [`FlushError`](super::FlushError) names rows without an `Ok` since the handle's last flush.
    pub fn flush(&self) -> super::Flush {
        self.core.flush()
    }

    /// The same writer for the table as it is now: another handle, whose rows have the columns that
    /// were added since this one was made, and whose [`table`](Self::table) tells them. It asks for
    /// them, where this handle goes by what the client heard of the table: see
    /// [`AppendWriter`](super::AppendWriter#columns-added-under-way). Rows of both are in one
    /// log, under one writer id.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the table was dropped and made anew, [`Error::Closed`] after a close,
    /// and those of [`Fluss::table`](super::Fluss::table).
    pub fn with_current_schema(&self) -> Pending<Self> {
        let core = self.core.clone();
        Pending::new(self.table().fluss(), async move {
            let core = core.with_current_schema(RowFormat::for_table).await?;
            Ok(Self { core })
        })
    }

    /// The table, with the columns that this handle writes by now.
    #[must_use]
    pub fn table(&self) -> &Table {
        self.core.newest().table()
    }
}
