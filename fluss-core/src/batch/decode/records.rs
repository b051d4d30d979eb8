//! Batches of INDEXED and COMPACTED logs: rows one behind the other, brought into columns.

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use fluss_proto::record::{ChangeTypes, LogBatch};

use super::{ArrowDecoder, DecodeError, DecodeLimits, LogRows, Unpacker};
use crate::batch::arrow::column::{Column as Growing, Refusal};
use crate::batch::arrow::nested::Room;
use crate::batch::{LogFormat, arrow_schema_of};
use crate::row::compacted::CompactedReader;
use crate::row::indexed::IndexedReader;
use crate::row::{Column, Datum, RowDecodeError, RowError, RowLayout, Schema};

/// Decodes the batches of one schema of one log, whatever its format.
#[derive(Clone, Debug)]
pub struct LogDecoder(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Arrow(ArrowDecoder),
    Rows(RowDecoder),
}

impl LogDecoder {
    /// A decoder of batches that hold the columns of `schema`, of which only these are decoded, in
    /// this order.
    ///
    /// # Errors
    /// An index is not that of a column, or occurs twice.
    pub fn new(format: LogFormat, schema: &Schema, columns: &[usize]) -> Result<Self, DecodeError> {
        // It checks the projection, whatever the format.
        let arrow = ArrowDecoder::with_projection(schema, columns)?;
        Ok(Self(match format {
            LogFormat::Arrow => Kind::Arrow(arrow),
            LogFormat::Indexed => Kind::Rows(RowDecoder::new(true, schema, columns)),
            LogFormat::Compacted => Kind::Rows(RowDecoder::new(false, schema, columns)),
        }))
    }

    /// The same decoder with these limits.
    #[must_use]
    pub fn with_limits(self, limits: DecodeLimits) -> Self {
        Self(match self.0 {
            Kind::Arrow(decoder) => Kind::Arrow(decoder.with_limits(limits)),
            Kind::Rows(decoder) => Kind::Rows(RowDecoder { limits, ..decoder }),
        })
    }

    /// The Arrow schema of the result.
    #[must_use]
    pub fn arrow_schema(&self) -> &SchemaRef {
        match &self.0 {
            Kind::Arrow(decoder) => decoder.arrow_schema(),
            Kind::Rows(decoder) => &decoder.arrow,
        }
    }

    /// The columns of a batch, and what each row did to its table.
    ///
    /// # Errors
    /// The batch is damaged or needs more memory than allowed.
    pub fn decode(&self, batch: &LogBatch) -> Result<(RecordBatch, ChangeTypes), DecodeError> {
        self.decode_with(batch, &mut Unpacker::default())
    }

    /// Like [`decode`](Self::decode), with what the batch before was unpacked with.
    pub(crate) fn decode_with(
        &self,
        batch: &LogBatch,
        unpacker: &mut Unpacker,
    ) -> Result<(RecordBatch, ChangeTypes), DecodeError> {
        match &self.0 {
            Kind::Arrow(decoder) => {
                Ok((decoder.decode_with(batch, unpacker)?, batch.change_types()?))
            }
            Kind::Rows(decoder) => decoder.decode(batch),
        }
    }

    /// The rows of a batch, with their offsets and change types.
    ///
    /// # Errors
    /// As for [`decode`](Self::decode), and when a time of day lies outside the day.
    pub fn decode_rows(&self, batch: &LogBatch) -> Result<LogRows, DecodeError> {
        let (columns, changes) = self.decode(batch)?;
        let schema = match &self.0 {
            Kind::Arrow(decoder) => decoder.schema(),
            Kind::Rows(decoder) => &decoder.schema,
        };
        LogRows::new(schema, &columns, batch, changes)
    }
}

#[derive(Clone, Debug)]
struct RowDecoder {
    rows: StoredRows,
    schema: Schema,
    arrow: SchemaRef,
    limits: DecodeLimits,
}

/// How rows of one stored schema are read.
#[derive(Clone, Debug)]
pub(super) struct StoredRows {
    pub(super) layout: RowLayout,
    pub(super) indexed: bool,
    /// For each stored column its place in the result, if it is wanted.
    pub(super) places: Vec<Option<usize>>,
}

impl RowDecoder {
    /// The columns have been checked.
    fn new(indexed: bool, stored: &Schema, columns: &[usize]) -> Self {
        let wanted: Vec<Column> =
            columns.iter().filter_map(|index| stored.columns().get(*index)).cloned().collect();
        let place = |index| columns.iter().position(|wanted| *wanted == index);
        let places = (0..stored.columns().len()).map(place).collect();
        let schema = Schema::new(wanted, vec![]);
        let arrow = arrow_schema_of(&schema);
        let limits = DecodeLimits::default();
        let rows = StoredRows { layout: RowLayout::new(stored), indexed, places };
        Self { rows, schema, arrow, limits }
    }

    fn decode(&self, batch: &LogBatch) -> Result<(RecordBatch, ChangeTypes), DecodeError> {
        let mut columns: Vec<Growing> =
            self.schema.columns().iter().map(|column| Growing::new(&column.data_type)).collect();
        // Offsets have 32 bits, however much memory there is.
        let limit = self.limits.max_batch_bytes.min(i32::MAX as usize);
        let mut room = Room::new(0, limit).padding();
        let unit = columns.iter().map(Growing::unit).sum();
        let mut changes = Vec::new();
        for record in batch.records() {
            let record = record?;
            room.take(unit).map_err(|_| too_large(&room, limit))?;
            self.rows.read(&record.row, changes.len(), &mut columns, &mut room, limit)?;
            changes.push(record.change_type);
        }
        let columns = finish(columns, changes.len(), &self.arrow)?;
        Ok((columns, changes.into_iter().collect()))
    }
}

/// The columns as they are when all rows are in.
pub(super) fn finish(
    columns: Vec<Growing>,
    rows: usize,
    arrow: &SchemaRef,
) -> Result<RecordBatch, DecodeError> {
    let arrays = columns.into_iter().zip(arrow.fields()).map(|(column, field)| {
        let array = column.into_array(field, rows);
        array.map_err(|error| DecodeError::column(field.name(), error))
    });
    let arrays = arrays.collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(arrow), arrays, &options)
        .map_err(|error| DecodeError::message(error.to_string()))
}

impl StoredRows {
    pub(super) fn read(
        &self,
        bytes: &[u8],
        row: usize,
        columns: &mut [Growing],
        room: &mut Room,
        limit: usize,
    ) -> Result<(), DecodeError> {
        let mut put = |stored: usize, datum: Datum<'_>| {
            let Some(place) = self.places[stored] else { return Ok(()) };
            columns[place].put_deep(row, datum, room).map_err(|refusal| {
                let column = &self.layout.schema().columns()[stored];
                let what = match refusal {
                    Refusal::TooLarge => return too_large(room, limit),
                    Refusal::Null => format!("row {row} is null, the type does not allow it"),
                    Refusal::Value(reason) => {
                        RowError::value(&column.name, datum, &column.data_type, reason).to_string()
                    }
                    Refusal::Deep(deep) => deep.error(&column.name, &column.data_type).to_string(),
                };
                DecodeError::column(&column.name, what)
            })
        };
        let damaged = |error: RowDecodeError| {
            let column = self.layout.schema().columns().get(error.column);
            let name = column.map_or("", |column| column.name.as_str());
            DecodeError::column(name, format!("{} in row {row}", error.reason))
        };
        let mut stored = 0;
        if self.indexed {
            let mut reader = IndexedReader::new(&self.layout, bytes).map_err(damaged)?;
            while let Some(datum) = reader.next_datum().map_err(damaged)? {
                put(stored, datum)?;
                stored += 1;
            }
        } else {
            let mut reader = CompactedReader::new(&self.layout, bytes).map_err(damaged)?;
            while let Some(datum) = reader.next_datum().map_err(damaged)? {
                put(stored, datum)?;
                stored += 1;
            }
        }
        Ok(())
    }
}

pub(super) fn too_large(room: &Room, limit: usize) -> DecodeError {
    DecodeError::TooLarge { needed: room.used() as u64, limit: limit as u64 }
}
