//! The formats of logs, and the open batch of a table that has any of them.

use std::collections::BTreeMap;

use fluss_proto::record::{ChangeType, LOG_V0, SealedBatch, open_log_record};

use super::ahead::Ahead;
use super::arrow::APPEND_ONLY;
use super::arrow::Packer;
use super::pool::{KEPT_BYTES, finish};
use super::room::{Room, Wanted};
use super::{ArrowBatchBuilder, ArrowBatchOptions, ArrowRows, BatchError, Push};
use crate::row::{Row, RowError, RowLayout, Schema, compacted, indexed};

/// Most rows have no more bytes than these.
const MOST_ROWS: usize = 512;

/// The format of a log, the table's property `table.log.format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// ARROW, the default: columns.
    #[default]
    Arrow,
    /// INDEXED: rows whose fields can be reached one by one.
    Indexed,
    /// COMPACTED: rows as small as they get.
    Compacted,
}

/// A table's `table.log.format` that is none of the three.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log format {0} is unknown: it is ARROW, INDEXED or COMPACTED")]
pub struct UnknownLogFormat(String);

impl LogFormat {
    /// The format that a table's properties name, in any case of letters; ARROW if none.
    ///
    /// # Errors
    /// A name that is none of the three.
    pub fn of_property(value: Option<&str>) -> Result<Self, UnknownLogFormat> {
        match value {
            None => Ok(Self::Arrow),
            Some(name) if name.eq_ignore_ascii_case("ARROW") => Ok(Self::Arrow),
            Some(name) if name.eq_ignore_ascii_case("INDEXED") => Ok(Self::Indexed),
            Some(name) if name.eq_ignore_ascii_case("COMPACTED") => Ok(Self::Compacted),
            Some(name) => Err(UnknownLogFormat(name.chars().take(64).collect())),
        }
    }
}

/// The columns of a log table that its batches have statistics of, in order; none where they have
/// no statistics at all.
///
/// The property `table.statistics.columns` names them, or is `*` for each column whose type has
/// statistics. Its presence is what tells that the server takes batches of version 1: servers
/// before 1.0, which do not, refuse the property. Names of no column, and of columns whose types
/// have no statistics, count for nothing.
#[must_use]
pub fn statistics_columns(
    schema: &Schema,
    properties: &BTreeMap<String, String>,
) -> Option<Vec<usize>> {
    let names = properties.get("table.statistics.columns")?;
    let has = |at: &usize| {
        let column = schema.columns().get(*at);
        column.is_some_and(|column| super::arrow::has_statistics(&column.data_type.kind))
    };
    if names.trim() == "*" {
        return Some((0..schema.columns().len()).filter(has).collect());
    }
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    Some(names.filter_map(|name| schema.index_of(name)).filter(has).collect())
}

/// An open batch of a log table. It outlives its batches: [`seal`](Self::seal) leaves it empty.
#[derive(Debug)]
pub struct LogBatchBuilder(Kind);

#[derive(Debug)]
enum Kind {
    Arrow(Box<ArrowBatchBuilder>),
    Rows(RowBatch),
}

/// Rows of an INDEXED or COMPACTED log, as they will be sent.
#[derive(Debug)]
struct RowBatch {
    layout: RowLayout,
    indexed: bool,
    room: Room,
    max_row_bytes: usize,
    /// Finished rows, and behind them what one left whose code panicked.
    records: Vec<u8>,
    ahead: Ahead,
    /// Where the finished ones end.
    end: usize,
    count: u32,
}

impl LogBatchBuilder {
    /// A builder for rows of this schema. The compression of the options counts for ARROW only.
    ///
    /// # Errors
    /// As for [`ArrowBatchBuilder::new`].
    pub fn new(
        format: LogFormat,
        schema: Schema,
        options: ArrowBatchOptions,
    ) -> Result<Self, BatchError> {
        if format == LogFormat::Arrow {
            let builder = ArrowBatchBuilder::new(schema, options)?;
            return Ok(Self(Kind::Arrow(Box::new(builder))));
        }
        if schema.columns().is_empty() {
            return Err(BatchError::NoColumns);
        }
        super::arrow::check_limits(&options, LOG_V0.header_size + 1)?;
        Ok(Self(Kind::Rows(RowBatch {
            // Readers of logs see columns: what has no place there could not be read again.
            layout: RowLayout::new(&schema).within_arrow().strict(),
            indexed: format == LogFormat::Indexed,
            room: Room::new(options.max_bytes),
            max_row_bytes: options.max_row_bytes,
            records: Vec::new(),
            ahead: Ahead::default(),
            end: 0,
            count: 0,
        })))
    }

    /// Makes batches of version 1 with statistics of these columns; see
    /// [`ArrowBatchBuilder::with_statistics`]. The formats of rows have none and stay as they are.
    ///
    /// # Errors
    /// As for [`ArrowBatchBuilder::with_statistics`].
    pub fn with_statistics(self, columns: &[usize]) -> Result<Self, BatchError> {
        Ok(match self.0 {
            Kind::Arrow(builder) => Self(Kind::Arrow(Box::new(builder.with_statistics(columns)?))),
            rows => Self(rows),
        })
    }

    /// Takes a row, as a whole or not at all; see [`ArrowBatchBuilder::try_push`].
    ///
    /// # Errors
    /// A value does not fit its column, or the row has the wrong number of values, or it alone
    /// exceeds `max_row_bytes`. The batch is as it was before.
    #[inline]
    pub fn try_push<R: Row + ?Sized>(&mut self, row: &R) -> Result<Push, RowError> {
        match &mut self.0 {
            Kind::Arrow(builder) => builder.try_push(row),
            Kind::Rows(batch) => batch.try_push(row),
        }
    }

    /// Takes rows until there are so many of them, or no more; one that does not go in comes back.
    #[inline]
    pub(crate) fn push_many<R: Row>(
        &mut self,
        rows: &mut impl Iterator<Item = R>,
        most: usize,
    ) -> Option<R> {
        match &mut self.0 {
            Kind::Arrow(builder) => builder.push_many(rows, most),
            Kind::Rows(batch) => {
                rows.take(most).find(|row| !matches!(batch.try_push(row), Ok(Push::Pushed(_))))
            }
        }
    }

    /// Takes rows of a record batch from `from` on; see [`ArrowBatchBuilder::extend`]. None where
    /// rows stay rows.
    pub fn extend(&mut self, rows: &ArrowRows, from: usize) -> usize {
        match &mut self.0 {
            Kind::Arrow(builder) => builder.extend(rows, from),
            Kind::Rows(_) => 0,
        }
    }

    /// See [`ArrowBatchBuilder::is_full_for`]; false where rows go in one by one.
    pub(crate) fn is_full_for(&self, rows: &ArrowRows, at: usize) -> bool {
        match &self.0 {
            Kind::Arrow(builder) => builder.is_full_for(rows, at),
            Kind::Rows(_) => false,
        }
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Kind::Arrow(builder) => builder.len(),
            Kind::Rows(batch) => batch.count as usize,
        }
    }

    /// Whether there is no row yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The size of the batch, header included, if it were sealed now; with compression an upper
    /// bound.
    #[inline]
    #[must_use]
    pub fn size_in_bytes(&self) -> usize {
        match &self.0 {
            Kind::Arrow(builder) => builder.size_in_bytes(),
            Kind::Rows(batch) => LOG_V0.header_size + batch.end,
        }
    }

    /// The bytes of memory that the rows take, which may be more than their size.
    pub(crate) fn memory_in_bytes(&self) -> usize {
        match &self.0 {
            Kind::Arrow(builder) => builder.memory_in_bytes(),
            Kind::Rows(_) => self.size_in_bytes(),
        }
    }

    /// About the capacity that `body` should have for [`seal`](Self::seal).
    #[must_use]
    pub fn body_capacity(&self) -> usize {
        match &self.0 {
            Kind::Arrow(builder) => builder.body_capacity(),
            Kind::Rows(_) => self.size_in_bytes(),
        }
    }

    /// Gives the memory back that no row is in.
    pub(crate) fn shrink(&mut self) {
        match &mut self.0 {
            Kind::Arrow(builder) => builder.shrink(),
            Kind::Rows(batch) => batch.records.shrink_to(KEPT_BYTES),
        }
    }

    /// What the next batches are compressed with; None: something new.
    pub(crate) fn lend(&mut self, packer: Option<Packer>) {
        if let Kind::Arrow(builder) = &mut self.0 {
            builder.lend(packer);
        }
    }

    /// What the last batch was compressed with, if it was.
    pub(crate) fn take_packer(&mut self) -> Option<Packer> {
        match &mut self.0 {
            Kind::Arrow(builder) => builder.take_packer(),
            Kind::Rows(_) => None,
        }
    }

    /// So many bytes of memory are reserved for the open batch; see
    /// [`ArrowBatchBuilder::reserve`].
    pub(crate) fn reserve(&mut self, bytes: usize) {
        match &mut self.0 {
            Kind::Arrow(builder) => builder.reserve(bytes),
            Kind::Rows(batch) => batch.room.reserve(bytes),
        }
    }

    /// What was missing where a row was sent back for want of memory.
    pub(crate) fn wanted(&self) -> Option<Wanted> {
        match &self.0 {
            Kind::Arrow(builder) => builder.wanted(),
            Kind::Rows(batch) => batch.room.wanted(),
        }
    }

    /// Makes the memory that the rows take no more than their size.
    pub(crate) fn let_go(&mut self) {
        if let Kind::Arrow(builder) = &mut self.0 {
            builder.let_go();
        }
    }

    /// Forgets all rows and keeps the memory.
    pub fn clear(&mut self) {
        match &mut self.0 {
            Kind::Arrow(builder) => builder.clear(),
            Kind::Rows(batch) => {
                batch.records.clear();
                (batch.end, batch.count) = (0, 0);
            }
        }
    }

    /// Turns the rows into a batch and leaves the builder empty. The memory of `body` is used, for
    /// this batch or for the next; its content is dropped.
    ///
    /// # Errors
    /// The batch has no rows, or the compressor failed; then the rows are still there.
    pub fn seal(&mut self, schema_id: i16, body: Vec<u8>) -> Result<SealedBatch, BatchError> {
        self.seal_with(schema_id, |_| body)
    }

    /// Like [`seal`](Self::seal), but the buffer is asked for when it is known how many bytes will
    /// be in it.
    pub(crate) fn seal_with(
        &mut self,
        schema_id: i16,
        buffer: impl FnOnce(usize) -> Vec<u8>,
    ) -> Result<SealedBatch, BatchError> {
        let size = self.size_in_bytes();
        match &mut self.0 {
            Kind::Arrow(builder) => builder.seal_with(schema_id, buffer),
            Kind::Rows(batch) => batch.seal(schema_id, buffer(size)),
        }
    }

    /// See [`ArrowBatchBuilder::seal_to_read`].
    pub(crate) fn seal_to_read(&mut self) -> Result<SealedBatch, BatchError> {
        match &mut self.0 {
            Kind::Arrow(builder) => builder.seal_to_read(),
            Kind::Rows(batch) => batch.seal(0, Vec::new()),
        }
    }
}

impl RowBatch {
    fn try_push<R: Row + ?Sized>(&mut self, row: &R) -> Result<Push, RowError> {
        let start = self.end;
        self.records.truncate(start);
        self.ahead.reach(&mut self.records, MOST_ROWS);
        let open = open_log_record(&mut self.records, ChangeType::Append);
        let encoded = if self.indexed {
            indexed::encode(&self.layout, row, &mut self.records)
        } else {
            compacted::encode(&self.layout, row, &mut self.records)
        };
        if let Err(error) = encoded {
            open.abandon(&mut self.records);
            return Err(error);
        }
        let bytes = open.finish(&mut self.records)?;
        let size = LOG_V0.header_size + self.records.len();
        if size > self.room.end() {
            let alone = LOG_V0.header_size + bytes;
            if alone > self.max_row_bytes {
                self.records.truncate(start);
                return Err(RowError::too_large(alone, self.max_row_bytes));
            }
            if !self.room.takes(Wanted { batch: size, alone }, self.count == 0) {
                self.records.truncate(start);
                return Ok(Push::Full);
            }
        }
        let index = self.count;
        // A record has at least five bytes and a batch at most 2^30.
        self.count += 1;
        self.end = self.records.len();
        Ok(Push::Pushed(index))
    }

    fn seal(&mut self, schema_id: i16, mut next: Vec<u8>) -> Result<SealedBatch, BatchError> {
        if self.count == 0 {
            return Err(BatchError::Empty);
        }
        next.clear();
        self.records.truncate(self.end);
        let records = finish(&mut self.records, next);
        let count = std::mem::take(&mut self.count);
        self.ahead.restart();
        self.end = 0;
        Ok(SealedBatch::log_v0(schema_id, APPEND_ONLY, count, count - 1, records)?)
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
