//! The KV half of a write: merge each record with the old row and build the changelog batch.

use bytes::Bytes;
use std::collections::BTreeSet;

use fluss_proto::record::{ChangeType, LogBatchParts, Stamp, push_log_record};

use super::api::code;
use super::around::gone_round;
use super::batch::{KvBatch, KvRecord, LogBatch};
use super::catalog::Table;
use super::decode::RowFormat;
use super::kv::{Kv, Row};
use super::log::Place;
use super::write::{KvWrite, WriteRequest, unknown_bucket};
use super::{Answer, Failure, FakeCluster, Release, Rule, words};
use crate::batch::{ArrowBatchBuilder, ArrowBatchOptions, ArrowCompression, Push};
use crate::ids::BucketKey;
use crate::row::{OwnedDatum, OwnedRow, RowLayout, TypeKind};

/// Larger than any batch a request can bring, so that a changelog batch is never split.
const MAX_CHANGELOG: usize = 1 << 29;

/// What the table says about merging.
#[derive(Debug)]
struct Merge {
    layout: RowLayout,
    kv_format: RowFormat,
    schema_id: i16,
    /// Columns that a partial update sets; none for a full row.
    /// The layouts before this one, that of schema 1 first.
    older: Vec<RowLayout>,
    /// The schema of the rows sent.
    sent: i16,
    targets: Option<Vec<usize>>,
    primary_key: Vec<usize>,
    engine: Engine,
    deletes: Deletes,
    /// -U is written before +U, and inserts are +I.
    full_image: bool,
    old_values: bool,
    /// The auto-increment column, and how many of its values a bucket draws at once.
    numbered: Option<(usize, i64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    None,
    FirstRow,
    Versioned(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deletes {
    Allowed,
    Ignored,
    Disabled,
}

/// A change as it goes to the changelog.
type Change = (ChangeType, Row);

fn failed(message: impl Into<String>) -> Failure {
    Failure::new(code::UNKNOWN, message)
}

impl FakeCluster {
    pub(super) fn append_kv(
        &mut self,
        write: &WriteRequest,
        key: BucketKey,
        kv: &KvWrite,
        records: &Bytes,
    ) -> Answer<Place> {
        self.check_write(write, key)?;
        if self.options.ack_only {
            let header = KvBatch::header(records).ok_or_else(|| failed("no KV header"))?;
            return self.append(key, vec![LogBatch::bare(header)]);
        }
        self.append_rows(key, kv, &KvBatch::read(records)?)
    }

    pub(super) fn append_rows(
        &mut self,
        key: BucketKey,
        kv: &KvWrite,
        batch: &KvBatch,
    ) -> Answer<Place> {
        let table = self.catalog.table_by_id(key.table.0).ok_or_else(|| unknown_bucket(key))?;
        if !(0..=table.schema_id).contains(&i32::from(batch.schema_id)) {
            let message = words::unknown_schema(batch.schema_id, table.schema_id);
            return Err(Failure::new(code::SCHEMA_NOT_EXIST, message));
        }
        let merge = Merge::new(table, kv, batch.schema_id, self.enforces(Rule::OldValueLookup))?;
        let format = table.property("table.log.format").and_then(RowFormat::by_name);
        let compression = match format {
            Some(_) => ArrowCompression::None,
            None => compression(table),
        };
        let mut blocks = table.blocks;
        let bucket = self.catalog.buckets.get_mut(&key).ok_or_else(|| unknown_bucket(key))?;
        let Some(rows) = bucket.kv.as_mut() else {
            return Err(failed(words::NO_KV_TABLET));
        };
        let mut undo = Vec::with_capacity(batch.records.len());
        let merged = merge.apply(rows, batch, &mut undo, &mut blocks);
        if let Some(table) = self.catalog.table_by_id_mut(key.table.0) {
            table.blocks = blocks;
        }
        let result = merged
            .and_then(|changes| match format {
                Some(format) => merge.record_changelog(batch, &changes, format),
                None => merge.arrow_changelog(batch, &changes, compression),
            })
            .and_then(|bytes| LogBatch::split(&mut Bytes::from(bytes), key, Release::V0_9, false))
            .and_then(|changelog| changelog.ok_or_else(|| failed("an empty changelog")))
            .and_then(|changelog| self.append(key, vec![changelog]));
        let Some(bucket) = self.catalog.buckets.get_mut(&key) else { return result };
        let Some(rows) = &mut bucket.kv else { return result };
        match result {
            Ok(Place { duplicate: false, last_offset, .. }) => {
                if last_offset >= bucket.log.high_watermark {
                    rows.hide(last_offset + 1, undo);
                }
            }
            // A duplicate must not change rows twice, and an error not at all.
            _ => undo.into_iter().rev().for_each(|(key, old)| rows.set(key, old)),
        }
        result
    }
}

impl Merge {
    fn new(table: &Table, write: &KvWrite, sent: i16, old_values: bool) -> Answer<Self> {
        let property = |name: &str| table.property(name);
        let engine = match property("table.merge-engine") {
            _ if write.overwrite => Engine::None,
            None => Engine::None,
            Some("FIRST_ROW") => Engine::FirstRow,
            Some("VERSIONED") => {
                let properties = &table.descriptor.value()["properties"];
                let column = properties["table.merge-engine.versioned.ver-column"].as_str();
                let column = column.and_then(|name| table.schema.index_of(name));
                Engine::Versioned(column.ok_or_else(|| failed("no version column"))?)
            }
            Some(other) => return Err(failed(format!("the fake has no merge engine {other}"))),
        };
        let deletes = match property("table.delete.behavior") {
            _ if write.overwrite => Deletes::Allowed,
            Some("IGNORE") => Deletes::Ignored,
            Some("DISABLE") => Deletes::Disabled,
            _ => Deletes::Allowed,
        };
        Ok(Self {
            layout: RowLayout::new(&table.schema),
            kv_format: table.kv_format(),
            schema_id: i16::try_from(table.schema_id).unwrap_or(i16::MAX),
            older: table.older.iter().map(RowLayout::new).collect(),
            sent,
            targets: targets_of(table, &write.target_columns, engine)?,
            primary_key: table.schema.primary_key().to_vec(),
            engine,
            deletes,
            full_image: property("table.changelog.image") != Some("WAL"),
            old_values,
            numbered: table.numbered(),
        })
    }

    /// Applies a batch to the rows. `undo` gets what each key had before.
    fn apply(
        &self,
        rows: &mut Kv,
        batch: &KvBatch,
        undo: &mut Vec<(Bytes, Option<Row>)>,
        blocks: &mut i64,
    ) -> Answer<Vec<Change>> {
        let mut changes = Vec::with_capacity(batch.records.len());
        for record in &batch.records {
            let old = rows.get(&record.key).cloned();
            let new = match &record.row {
                Some(row) => self.upsert(old.as_ref(), row)?.map(Some),
                None => self.delete(old.as_ref())?,
            };
            // None: the record has no effect.
            let Some(mut new) = new else { continue };
            if let (None, Some(row), Some((column, length))) = (&old, &mut new, self.numbered) {
                let number = rows.numbers.take(blocks, length);
                *row = self.numbered_row(row, column, number)?;
            }
            self.log(old.as_ref(), new.as_ref(), &mut changes);
            let KvRecord { key, .. } = record;
            undo.push((key.clone(), old));
            rows.set(key.clone(), new);
        }
        Ok(changes)
    }

    fn log(&self, old: Option<&Row>, new: Option<&Row>, changes: &mut Vec<Change>) {
        let old = old.filter(|_| self.old_values || new.is_none());
        match (old, new) {
            (Some(old), Some(new)) => {
                if self.full_image {
                    changes.push((ChangeType::UpdateBefore, old.clone()));
                }
                changes.push((ChangeType::UpdateAfter, new.clone()));
            }
            (None, Some(new)) => {
                let blind = self.engine == Engine::None && self.targets.is_none();
                let change = match self.full_image || !blind {
                    true => ChangeType::Insert,
                    false => ChangeType::UpdateAfter,
                };
                changes.push((change, new.clone()));
            }
            (Some(old), None) => changes.push((ChangeType::Delete, old.clone())),
            (None, None) => {}
        }
    }

    /// The row to store; none if the engine keeps the old one.
    fn upsert(&self, old: Option<&Row>, row: &Bytes) -> Answer<Option<Row>> {
        let new = match usize::try_from(self.sent) {
            // Rows of an older schema are kept as rows of the latest one.
            Ok(sent) if (1..=self.older.len()).contains(&sent) => {
                let row = Row { schema_id: self.sent, bytes: row.clone() };
                self.encode(self.decode(&row)?)?
            }
            _ => Row { schema_id: self.schema_id, bytes: row.clone() },
        };
        match (self.engine, old) {
            (Engine::FirstRow, Some(_)) => return Ok(None),
            (Engine::Versioned(column), old) => {
                let version = self.version(&new, column)?;
                let held = old.map(|old| self.version(old, column)).transpose()?.flatten();
                if version.is_none() && old.is_some() || version < held {
                    return Ok(None);
                }
            }
            _ => {}
        }
        let Some(targets) = &self.targets else { return Ok(Some(new)) };
        let mut values = self.decode(&new)?;
        if let Some(old) = old {
            let kept = self.decode(old)?;
            for (at, value) in kept.into_iter().enumerate() {
                if !targets.contains(&at) {
                    values[at] = value;
                }
            }
        } else {
            for (at, value) in values.iter_mut().enumerate() {
                if !targets.contains(&at) {
                    *value = OwnedDatum::Null;
                }
            }
        }
        self.encode(values).map(Some)
    }

    fn numbered_row(&self, row: &Row, column: usize, number: i64) -> Answer<Row> {
        let mut values = self.decode(row)?;
        let columns = self.layout.schema().columns();
        values[column] = match columns[column].data_type.kind {
            TypeKind::Int => OwnedDatum::Int32(i32::try_from(number).map_err(|_| {
                failed(format!("the values of {} are used up", columns[column].name))
            })?),
            _ => OwnedDatum::Int64(number),
        };
        self.encode(values)
    }

    /// What is left of the row: `Some(None)` nothing, `None` no effect.
    fn delete(&self, old: Option<&Row>) -> Answer<Option<Option<Row>>> {
        match self.deletes {
            Deletes::Disabled => {
                return Err(Failure::new(code::DELETION_DISABLED, words::DELETES_DISABLED));
            }
            Deletes::Ignored => return Ok(None),
            Deletes::Allowed => {}
        }
        let (Some(old), Some(targets)) = (old, &self.targets) else {
            return Ok(old.map(|_| None));
        };
        // A partial delete empties its columns, and takes the row once all of them are empty.
        let mut values = self.decode(old)?;
        for &at in targets.iter().filter(|at| !self.primary_key.contains(at)) {
            values[at] = OwnedDatum::Null;
        }
        let left = (0..values.len())
            .any(|at| !self.primary_key.contains(&at) && values[at] != OwnedDatum::Null);
        if left { self.encode(values).map(|row| Some(Some(row))) } else { Ok(Some(None)) }
    }

    fn version(&self, row: &Row, column: usize) -> Answer<Option<(i64, u32)>> {
        let row = OwnedRow::new(self.decode(row)?);
        let Some(datum) = row.datum(column) else { return Ok(None) };
        let time = datum.as_timestamp().map(|time| (time.millis, time.nanos));
        Ok(datum.as_i64().map(|version| (version, 0)).or(time))
    }

    fn decode(&self, row: &Row) -> Answer<Vec<OwnedDatum>> {
        self.row(row).map(OwnedRow::into_values)
    }

    fn row(&self, row: &Row) -> Answer<OwnedRow> {
        let id = usize::try_from(row.schema_id).unwrap_or(0);
        let older = id.checked_sub(1).and_then(|before| self.older.get(before));
        let layout = older.unwrap_or(&self.layout);
        let mut values = self.kv_format.decode(layout, &row.bytes).map_err(failed)?.into_values();
        values.resize(self.layout.arity(), OwnedDatum::Null);
        Ok(OwnedRow::new(values))
    }

    fn encode(&self, values: Vec<OwnedDatum>) -> Answer<Row> {
        let row = OwnedRow::new(values);
        let bytes = self.kv_format.encode(&self.layout, &row).map_err(failed)?;
        Ok(Row { schema_id: self.schema_id, bytes: bytes.into() })
    }

    fn arrow_changelog(
        &self,
        batch: &KvBatch,
        changes: &[Change],
        compression: ArrowCompression,
    ) -> Answer<Vec<u8>> {
        if changes.is_empty() {
            return self.changelog(batch, 0, &[], &[]);
        }
        let options = ArrowBatchOptions {
            max_bytes: MAX_CHANGELOG,
            max_row_bytes: MAX_CHANGELOG,
            compression,
        };
        let mut builder = ArrowBatchBuilder::new(self.layout.schema().clone(), options)
            .map_err(|error| failed(error.to_string()))?;
        let mut types = Vec::with_capacity(changes.len());
        for (change, row) in changes {
            let row = gone_round(self.layout.schema(), self.row(row)?);
            let pushed = builder.try_push(&row);
            match pushed.map_err(|error| failed(error.to_string()))? {
                Push::Pushed(_) => types.push(*change),
                Push::Full => return Err(failed("the changelog batch is too large")),
            }
        }
        let sealed =
            builder.seal(self.schema_id, Vec::new()).map_err(|error| failed(error.to_string()))?;
        self.changelog(batch, sealed.record_count(), &types, &sealed.payload())
    }

    fn record_changelog(
        &self,
        batch: &KvBatch,
        changes: &[Change],
        format: RowFormat,
    ) -> Answer<Vec<u8>> {
        // As the published server: it wants a row there that it can cut into fields.
        if (self.kv_format, format) == (RowFormat::Indexed, RowFormat::Indexed) {
            return Err(failed("the log needs an indexed row"));
        }
        let mut body = Vec::new();
        for (change, row) in changes {
            let values = self.row(row)?;
            let pushed = if self.kv_format == format {
                push_log_record(&mut body, *change, &row.bytes)
            } else {
                let row = format.encode(&self.layout, &values).map_err(failed)?;
                push_log_record(&mut body, *change, &row)
            };
            pushed.map_err(|error| failed(error.to_string()))?;
        }
        self.changelog(batch, u32::try_from(changes.len()).unwrap_or(u32::MAX), &[], &body)
    }

    fn changelog(
        &self,
        batch: &KvBatch,
        record_count: u32,
        change_types: &[ChangeType],
        body: &[u8],
    ) -> Answer<Vec<u8>> {
        let parts = LogBatchParts {
            schema_id: self.schema_id,
            stamp: Stamp { writer_id: batch.writer_id, sequence: batch.sequence },
            record_count,
            change_types,
            body,
            ..Default::default()
        };
        parts.encode().map_err(|error| failed(error.to_string()))
    }
}

/// The columns of a partial update; none if the whole row is written.
fn targets_of(table: &Table, targets: &[i32], engine: Engine) -> Answer<Option<Vec<usize>>> {
    let columns = table.schema.columns();
    let refused = |message: String| Failure::new(code::INVALID_TARGET_COLUMN, message);
    if let Some((at, _)) = table.numbered() {
        let name = &columns[at].name;
        if targets.is_empty() {
            return Err(refused(words::numbers_without_targets(name)));
        }
        if targets.iter().any(|target| usize::try_from(*target) == Ok(at)) {
            return Err(refused(words::numbers_among_targets(name, at)));
        }
    }
    if targets.is_empty() {
        return Ok(None);
    }
    let position = |&at: &i32| at.try_into().map_err(|_| failed(words::negative_column(at)));
    let mut positions = targets.iter().map(position).collect::<Answer<BTreeSet<usize>>>()?;
    // Columns that the table does not have are no error.
    positions.retain(|&at| at < columns.len());
    let positions: Vec<usize> = positions.into_iter().collect();
    let primary_key = table.schema.primary_key();
    if primary_key.iter().any(|at| !positions.contains(at)) {
        let names = |positions: &[usize]| -> Vec<&str> {
            positions.iter().map(|&at| &*columns[at].name).collect()
        };
        return Err(refused(words::key_not_among_targets(&names(&positions), &names(primary_key))));
    }
    if positions.len() == columns.len() {
        return Ok(None);
    }
    let strict = |(at, column): (usize, &crate::row::Column)| {
        !column.data_type.nullable
            && !primary_key.contains(&at)
            && table.schema.auto_increment() != Some(at)
    };
    if let Some(column) = columns.iter().enumerate().find(|&(at, column)| strict((at, column))) {
        return Err(refused(words::column_not_null(&column.1.name)));
    }
    match engine {
        Engine::None => Ok(Some(positions)),
        Engine::FirstRow => Err(failed(words::no_partial_update("first_row"))),
        Engine::Versioned(_) => Err(failed(words::no_partial_update("versioned"))),
    }
}

/// The table's compression of Arrow buffers.
pub(super) fn compression(table: &Table) -> ArrowCompression {
    match table.property("table.log.arrow.compression.type") {
        Some("NONE") => ArrowCompression::None,
        Some("LZ4_FRAME") => ArrowCompression::Lz4Frame,
        _ => {
            let level = table.property("table.log.arrow.compression.zstd.level");
            ArrowCompression::Zstd { level: level.and_then(|l| l.parse().ok()).unwrap_or(3) }
        }
    }
}
