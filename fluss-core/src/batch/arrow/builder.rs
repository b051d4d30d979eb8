//! An open batch of an ARROW log: takes rows, then becomes a body.

mod many;
mod seal;

use std::ops::Range;

use arrow_ipc::CompressionType;

use super::column::{Column, Values};
use super::compress::{ArrowCompression, Packer};
use super::held::{Held, MaxKept};
use super::ipc::{self, MetadataWriter};
use super::shrink::Shrunk;
use super::statistics::Statistics;
use super::writer::{Rest, RowWriter};
use crate::batch::room::{Room, Wanted};
use crate::batch::{ArrowRows, BatchError, Push};
use crate::row::{Row, RowError, Schema};

/// The header of a V0 log batch.
const HEADER_BYTES: usize = 48;

/// What a header of version 1 has more.
const STATISTICS_LENGTH_BYTES: usize = 4;

/// No batch and no row may exceed this, so that two of them still have 32-bit offsets.
const MAX_BYTES: usize = 1 << 30;

/// No batch takes more rows than this, however small they are.
const MAX_ROWS: usize = 1 << 24;

/// Rows taken from a record batch at once: enough for long copies, few enough that a bad row among
/// them costs little.
const MAX_EXTEND: usize = 1024;

/// The size to which a batch may grow at once, however small it is.
const FIRST_EXTEND: usize = 16 << 10;

/// How many times the size of a full batch a record batch may keep alive that is held, and all of
/// them together.
const MAX_KEPT: (usize, usize) = (4, 8);

/// Limits and compression of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrowBatchOptions {
    /// The size above which a batch takes no further row, in bytes before compression, header
    /// included. Default 2 MiB.
    pub max_bytes: usize,
    /// The size a batch of a single row may have, in bytes. Not below `max_bytes`; default 16 MiB.
    pub max_row_bytes: usize,
    /// The table's compression.
    pub compression: ArrowCompression,
}

impl Default for ArrowBatchOptions {
    fn default() -> Self {
        Self {
            max_bytes: 2 << 20,
            max_row_bytes: 16 << 20,
            compression: ArrowCompression::default(),
        }
    }
}

/// Bit 0 of a batch's attributes: every record is an append.
pub(in crate::batch) const APPEND_ONLY: u8 = 1;

/// What the size of a batch is made of.
#[derive(Clone, Copy, Debug, Default)]
struct Layout {
    /// Header, metadata, and the most padding there can be.
    base: usize,
    /// Bytes of each row in columns of fixed width, and offsets.
    row_bytes: usize,
    /// Bitmaps: one per column for nulls, one more per BOOLEAN.
    bitmaps: usize,
    /// Columns, and columns within them.
    nodes: usize,
    buffers: usize,
    metadata: usize,
}

impl Layout {
    /// Counts a column, which has a value for each row unless it lies within a list.
    fn add(&mut self, column: &Column, for_each_row: bool) {
        let footprint = column.footprint();
        self.nodes += 1;
        self.buffers += footprint.buffers;
        if for_each_row {
            self.row_bytes += footprint.bytes;
            self.bitmaps += 1 + footprint.bits;
        }
        match &column.values {
            // The leading zero of the offsets.
            Values::Text(_) | Values::Bytes(_) => self.base += 4,
            Values::List { element, .. } => {
                self.base += 4;
                self.add(element, false);
            }
            Values::Map { key, value, .. } => {
                self.base += 4;
                // The entries of which keys and values are made, with a bitmap.
                self.nodes += 1;
                self.buffers += 1;
                self.add(key, false);
                self.add(value, false);
            }
            Values::Struct(fields) => fields.iter().for_each(|f| self.add(f, for_each_row)),
            _ => {}
        }
    }

    #[inline]
    fn size(&self, rows: usize, variable: usize) -> usize {
        self.base + rows * self.row_bytes + rows.div_ceil(8) * self.bitmaps + variable
    }
}

/// An open batch: rows go in one by one and are laid out by column at once.
///
/// The builder outlives its batches. [`seal`](Self::seal) leaves it empty, with its memory and its
/// compressor kept for the next batch.
///
/// ```
/// use fluss_core::batch::{ArrowBatchBuilder, ArrowBatchOptions, Push};
/// use fluss_core::row::{Column, DataType, Row, RowSink, Schema, TypeKind};
///
/// struct Reading(i64, &'static str);
/// impl Row for Reading {
///     fn arity(&self) -> usize {
///         2
///     }
///     fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
///         sink.put_i64(self.0)?;
///         sink.put_str(self.1)
///     }
/// }
///
/// let column = |name: &str, kind| Column {
///     name: name.to_owned(),
///     data_type: DataType { kind, nullable: false },
///     comment: None,
///     id: None,
/// };
/// let columns = vec![column("id", TypeKind::BigInt), column("name", TypeKind::String)];
/// let schema = Schema::new(columns, vec![]);
/// let mut builder = ArrowBatchBuilder::new(schema, ArrowBatchOptions::default())?;
/// assert_eq!(builder.try_push(&Reading(1, "one"))?, Push::Pushed(0));
/// let schema_id = 1;
/// let sealed = builder.seal(schema_id, Vec::new())?;
/// assert_eq!(sealed.record_count(), 1);
/// assert!(builder.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ArrowBatchBuilder {
    schema: Schema,
    options: ArrowBatchOptions,
    room: Room,
    /// Those of the finished rows, of the last ones without their values if those are held.
    columns: Vec<Column>,
    held: Held,
    layout: Layout,
    rows: usize,
    /// Bytes of all strings, byte arrays and elements of the finished rows.
    variable: usize,
    /// The size of the batch if it were sealed now.
    size: usize,
    /// A row is being written. Still set when a row begins if the last one panicked half-way.
    half_written: bool,
    /// A bit for each column that got values which are not as usual in this batch.
    slow: u32,
    /// From the first batch on, unless it was handed on.
    packer: Option<Packer>,
    shrunk: Shrunk,
    metadata: MetadataWriter,
    ones: Vec<u8>,
    /// Batches of version 1, with these statistics; none for version 0.
    statistics: Option<Statistics>,
}

impl ArrowBatchBuilder {
    /// A builder for rows of this schema.
    ///
    /// # Errors
    /// There is no column, a limit cannot hold a single row or exceeds
    /// 1 GiB, or the compression level does not exist.
    pub fn new(schema: Schema, options: ArrowBatchOptions) -> Result<Self, BatchError> {
        let columns: Vec<Column> =
            schema.columns().iter().map(|column| Column::new(&column.data_type)).collect();
        if columns.is_empty() {
            return Err(BatchError::NoColumns);
        }
        let codec = match options.compression {
            ArrowCompression::None => None,
            ArrowCompression::Lz4Frame => Some(CompressionType::LZ4_FRAME),
            ArrowCompression::Zstd { level } => {
                if !(1..=22).contains(&level) {
                    let value = usize::try_from(level).unwrap_or(0);
                    return Err(limit("the compression level", value, 1, 22));
                }
                Some(CompressionType::ZSTD)
            }
        };
        let mut metadata = MetadataWriter::new(codec);
        let layout = layout(&columns, &mut metadata, codec.is_some());
        check_limits(&options, layout.size(1, 0))?;
        Ok(Self {
            schema,
            room: Room::new(options.max_bytes),
            options,
            columns,
            held: Held::default(),
            layout,
            rows: 0,
            variable: 0,
            size: layout.size(0, 0),
            half_written: false,
            slow: 0,
            packer: None,
            shrunk: Shrunk::default(),
            metadata,
            ones: Vec::new(),
            statistics: None,
        })
    }

    /// Makes batches of version 1 with statistics of the columns at these positions, as far as
    /// their types have any: see [`statistics_columns`](crate::batch::statistics_columns), which
    /// reads from a table's properties whether it takes such batches. The published server 0.9.1
    /// refuses them with code 14.
    ///
    /// Statistics are made when a batch is sealed. Texts longer than 128 bytes are no bounds.
    ///
    /// # Errors
    /// The limits of the options cannot hold a row beside the statistics.
    pub fn with_statistics(mut self, columns: &[usize]) -> Result<Self, BatchError> {
        let statistics = Statistics::new(&self.schema, columns);
        self.layout.base += STATISTICS_LENGTH_BYTES + statistics.max_bytes();
        self.statistics = Some(statistics);
        check_limits(&self.options, self.layout.size(1, 0))?;
        self.clear();
        Ok(self)
    }

    /// Takes a row, as a whole or not at all.
    ///
    /// [`Push::Full`] means that the batch has rows already and would exceed `max_bytes`. The first
    /// row of a batch may exceed it, up to `max_row_bytes`.
    ///
    /// # Errors
    /// A value does not fit its column, or the row has the wrong number of values, or it alone
    /// exceeds `max_row_bytes`. The batch is as it was before.
    pub fn try_push<R: Row + ?Sized>(&mut self, row: &R) -> Result<Push, RowError> {
        if self.half_written || !self.held.is_empty() {
            self.settle();
        }
        self.half_written = true;
        let limit = self.options.max_row_bytes;
        let mut rest = Rest::new(&self.schema, self.rows, limit);
        let mut writer = RowWriter::new(&mut self.columns, &mut rest);
        let written = match row.write(&mut writer) {
            Ok(()) => writer.finish(),
            Err(error) => Err(error),
        };
        match written {
            Ok(variable) => {
                let size = self.layout.size(self.rows + 1, self.variable + variable);
                if size > self.room.end() || self.rows >= MAX_ROWS {
                    return self.push_beyond(variable);
                }
                Ok(self.keep(variable, size))
            }
            Err(error) => {
                self.roll_back();
                Err(error)
            }
        }
    }

    /// Takes rows of a record batch from index `from` on, column by column; how many it took.
    ///
    /// Fewer than there are, as many as fit and a bounded number at most: whoever accounts for the
    /// size of a batch sees it double at worst. Rows may be left where they lie until the batch is
    /// sealed, which keeps their record batches alive. None are taken if not even the next one fits
    /// below `max_bytes`, or if it does not fit its columns: [`try_push`] tells which, and why.
    ///
    /// [`try_push`]: Self::try_push
    pub fn extend(&mut self, rows: &ArrowRows, from: usize) -> usize {
        if self.half_written {
            self.settle();
        }
        let flat = self.columns.iter().all(Column::is_flat);
        if !flat || rows.columns().len() != self.columns.len() {
            return 0;
        }
        let left = rows.sound_from(from);
        self.room.forget_wish();
        let mut limit = self.options.max_bytes.min(self.size.saturating_mul(2).max(FIRST_EXTEND));
        if self.rows == 0 {
            limit = limit.min(self.room.reserved());
        }
        let mut count = left.min(MAX_EXTEND).min(MAX_ROWS.saturating_sub(self.rows));
        while count > 0 {
            let range = from..from + count;
            let variable = self.variable_bytes(rows, range.clone());
            let size = self.layout.size(self.rows + count, self.variable + variable);
            if size <= limit && size > self.room.reserved() {
                // Many rows at once are worth more memory; how many come of less, the next batch
                // decides.
                let alone = self.layout.size(1, self.variable_bytes(rows, from..from + 1));
                self.room.takes(Wanted { batch: size, alone }, false);
                return 0;
            }
            if size <= limit
                && (self.hold(rows, range.clone(), size) || self.extend_by(rows, range.clone()))
            {
                self.variable += variable;
                self.size = size;
                self.rows += count;
                return count;
            }
            count /= 2;
        }
        0
    }

    /// Whether the row at this index of a record batch is too much for the rows that are there.
    #[must_use]
    pub fn is_full_for(&self, rows: &ArrowRows, at: usize) -> bool {
        let flat = self.columns.iter().all(Column::is_flat);
        if self.rows == 0 || !flat || rows.sound_from(at) == 0 {
            return false;
        }
        let variable = self.variable + self.variable_bytes(rows, at..at + 1);
        self.rows >= MAX_ROWS || self.layout.size(self.rows + 1, variable) > self.options.max_bytes
    }

    /// Takes all these rows by reference, which makes the batch this large, or none of them.
    fn hold(&mut self, rows: &ArrowRows, range: Range<usize>, size: usize) -> bool {
        // Compressors and statistics want a column in one piece.
        if self.packs() || self.statistics.is_some() {
            return false;
        }
        let count = range.len();
        let full = self.options.max_bytes;
        let max =
            MaxKept { each: full.saturating_mul(MAX_KEPT.0), all: full.saturating_mul(MAX_KEPT.1) };
        let taken = self.held.take(&self.columns, rows, range, size - self.size, max);
        if taken {
            self.columns.iter_mut().for_each(|column| column.validity.push_valid_many(count));
        }
        taken
    }

    fn variable_bytes(&self, rows: &ArrowRows, range: Range<usize>) -> usize {
        let columns = self.columns.iter().zip(rows.columns());
        columns
            .map(|(to, (from, nulls))| to.variable_bytes(from, nulls.as_ref(), range.clone()))
            .sum()
    }

    /// Takes all these rows, or none and says false, as one of them does not fit its columns.
    fn extend_by(&mut self, rows: &ArrowRows, range: Range<usize>) -> bool {
        if !self.held.is_empty() {
            self.settle();
        }
        self.half_written = true;
        for (to, (from, nulls)) in self.columns.iter_mut().zip(rows.columns()) {
            if to.extend(self.rows, from, nulls.as_ref(), range.clone()).is_err() {
                self.roll_back();
                return false;
            }
        }
        self.half_written = false;
        true
    }

    /// Decides about a row that makes the batch larger than it should be.
    #[cold]
    fn push_beyond(&mut self, variable: usize) -> Result<Push, RowError> {
        let alone = self.layout.size(1, variable);
        if alone > self.options.max_row_bytes {
            self.roll_back();
            return Err(RowError::too_large(alone, self.options.max_row_bytes));
        }
        let full = self.rows >= MAX_ROWS;
        let size = self.layout.size(self.rows + 1, self.variable + variable);
        let with_row = Wanted { batch: if full { usize::MAX } else { size }, alone };
        if !self.room.takes(with_row, self.rows == 0) {
            self.roll_back();
            return Ok(Push::Full);
        }
        Ok(self.keep(variable, size))
    }

    #[inline]
    fn keep(&mut self, variable: usize, size: usize) -> Push {
        self.half_written = false;
        self.variable += variable;
        self.size = size;
        // At most MAX_ROWS, which fits.
        let index = self.rows as u32;
        self.rows += 1;
        Push::Pushed(index)
    }

    /// Makes the columns those of the finished rows: drops what an interrupted one left, and takes
    /// in what is held.
    #[cold]
    fn settle(&mut self) {
        if self.half_written {
            self.roll_back();
        }
        self.held.settle(&mut self.columns);
    }

    #[cold]
    fn roll_back(&mut self) {
        for column in &mut self.columns {
            column.roll_back(self.rows);
        }
        self.half_written = false;
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The size of the batch, header included, if it were sealed now: never less than the sealed
    /// size, and without compression at most a few bytes per column more, and for each element of
    /// an ARRAY or MAP at most a byte for each of its parts.
    #[inline]
    #[must_use]
    pub fn size_in_bytes(&self) -> usize {
        self.size
    }

    /// The bytes of memory that the rows take: those of [`size_in_bytes`](Self::size_in_bytes),
    /// and what record batches keep alive beyond the rows that were taken of them. That is at most
    /// eight times `max_bytes`, and nothing once [`let_go`](Self::let_go) was called.
    pub(crate) fn memory_in_bytes(&self) -> usize {
        self.size + self.held.surplus()
    }

    fn packs(&self) -> bool {
        self.options.compression != ArrowCompression::None
    }

    /// What the next batches are compressed with; None: something new.
    pub(crate) fn lend(&mut self, packer: Option<Packer>) {
        self.packer = packer;
    }

    /// What the last batch was compressed with, if it was.
    pub(crate) fn take_packer(&mut self) -> Option<Packer> {
        self.packer.take().filter(|_| self.packs())
    }

    /// So many bytes of memory are reserved for the open batch: a row that needs more is sent back
    /// with [`Push::Full`], and [`wanted`](Self::wanted) tells how much.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.room.reserve(bytes);
        if bytes >= self.options.max_bytes {
            self.shrunk.regrow(&mut self.columns);
        }
    }

    /// What was missing where a row was sent back for want of memory.
    pub(crate) fn wanted(&self) -> Option<Wanted> {
        self.room.wanted()
    }

    /// Gives the memory back that no row is in.
    pub(crate) fn shrink(&mut self) {
        self.shrunk.shrink(&mut self.columns);
    }

    /// Copies what is left where it lay, so that no record batch is kept alive any more.
    pub(crate) fn let_go(&mut self) {
        if !self.held.is_empty() {
            self.settle();
        }
    }

    /// The schema of the rows.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The capacity a body buffer should have so that [`seal`](Self::seal) can use it. 0 with
    /// compression: only sealing shows what is left of the rows.
    #[must_use]
    pub fn body_capacity(&self) -> usize {
        if self.packs() { 0 } else { self.written_bytes() }
    }

    #[cfg(test)]
    pub(super) fn held_rows(&self) -> usize {
        self.held.rows()
    }

    /// Forgets all rows and keeps the memory.
    pub fn clear(&mut self) {
        self.columns.iter_mut().for_each(Column::clear);
        self.held.clear();
        self.rows = 0;
        self.variable = 0;
        self.size = self.layout.size(0, 0);
        self.half_written = false;
        self.slow = 0;
    }
}

fn layout(columns: &[Column], metadata: &mut MetadataWriter, compressed: bool) -> Layout {
    let mut layout = Layout::default();
    columns.iter().for_each(|column| layout.add(column, true));
    layout.metadata = metadata.length(layout.nodes, layout.buffers);
    let per_buffer = ipc::ALIGNMENT - 1 + if compressed { 8 } else { 0 };
    layout.base += HEADER_BYTES + ipc::head_length(layout.metadata) + per_buffer * layout.buffers;
    layout
}

/// Checks the limits of a batch whose smallest row takes this many bytes, header included.
pub(in crate::batch) fn check_limits(
    options: &ArrowBatchOptions,
    smallest: usize,
) -> Result<(), BatchError> {
    for (what, value, min) in [
        ("max_bytes", options.max_bytes, 1),
        ("max_row_bytes", options.max_row_bytes, smallest.max(options.max_bytes)),
    ] {
        if value < min || value > MAX_BYTES {
            return Err(limit(what, value, min, MAX_BYTES));
        }
    }
    Ok(())
}

fn limit(what: &'static str, value: usize, min: usize, max: usize) -> BatchError {
    BatchError::Limit { what, value, min, max }
}

#[cfg(test)]
#[path = "builder_tests.rs"]
mod tests;
