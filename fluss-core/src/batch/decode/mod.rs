//! Fetched batches become Arrow record batches, and those become rows.
//!
//! The bytes come from a peer. They are checked before anything is allocated or handed out; the
//! columns then lie in the frame's own memory wherever their alignment allows it.

mod array;
mod error;
mod get;
mod inflate;
mod lz4;
mod message;
mod nested;
mod records;
mod rows;
mod values;

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use bytes::Bytes;
use fluss_proto::record::LogBatch;

pub use error::DecodeError;
pub use get::FromColumn;
pub(crate) use inflate::Unpacker;
pub use records::LogDecoder;
pub use rows::{LogRows, RowView, ValueError};
pub(crate) use values::ValueReader;

use self::message::{Counts, Message};
use super::arrow_schema_of;
use crate::row::{Column, Schema};

/// What a single batch may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Memory for the inflated buffers of one batch, in bytes. Default 256 MiB.
    pub max_batch_bytes: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { max_batch_bytes: 256 << 20 }
    }
}

/// Decodes the batches of one schema of one ARROW log.
#[derive(Clone, Debug)]
pub struct ArrowDecoder {
    /// What the batches hold, and for each column whether it is wanted.
    stored: Vec<StoredColumn>,
    counts: Counts,
    schema: Schema,
    arrow: SchemaRef,
    limits: DecodeLimits,
}

#[derive(Clone, Debug)]
struct StoredColumn {
    counts: Counts,
    /// The column's place in the result, if it is wanted.
    place: Option<usize>,
}

impl ArrowDecoder {
    /// A decoder of batches that hold exactly these columns. When the server projects, `schema` is
    /// the projected one.
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        let arrow = arrow_schema_of(schema);
        let stored: Vec<_> = arrow
            .fields()
            .iter()
            .enumerate()
            .map(|(i, field)| StoredColumn { counts: array::counts(field), place: Some(i) })
            .collect();
        let counts = stored.iter().fold(Counts::default(), |sum, column| Counts {
            nodes: sum.nodes + column.counts.nodes,
            buffers: sum.buffers + column.counts.buffers,
        });
        let limits = DecodeLimits::default();
        Self { stored, counts, schema: schema.clone(), arrow, limits }
    }

    /// A decoder of batches that hold the columns of `schema`, of which only these are decoded, in
    /// this order: the projection of batches the server did not project.
    ///
    /// # Errors
    /// An index is not that of a column, or occurs twice.
    pub fn with_projection(schema: &Schema, columns: &[usize]) -> Result<Self, DecodeError> {
        let mut decoder = Self::new(schema);
        decoder.stored.iter_mut().for_each(|column| column.place = None);
        let mut projected: Vec<Column> = Vec::with_capacity(columns.len());
        for (place, &index) in columns.iter().enumerate() {
            let Some(stored) = decoder.stored.get_mut(index) else {
                return Err(DecodeError::NoColumn { index, columns: schema.columns().len() });
            };
            if stored.place.replace(place).is_some() {
                return Err(DecodeError::RepeatedColumn { index });
            }
            projected.push(schema.columns()[index].clone());
        }
        decoder.schema = Schema::new(projected, vec![]);
        decoder.arrow = arrow_schema_of(&decoder.schema);
        Ok(decoder)
    }

    /// The same decoder with these limits.
    #[must_use]
    pub fn with_limits(self, limits: DecodeLimits) -> Self {
        Self { limits, ..self }
    }

    /// The columns of the result.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The Arrow schema of the result.
    #[must_use]
    pub fn arrow_schema(&self) -> &SchemaRef {
        &self.arrow
    }

    /// The columns of a batch. A batch without records gives none, whatever its payload.
    ///
    /// The arrays keep the batch's memory alive, and with it the whole frame it came in.
    ///
    /// # Errors
    /// The batch is damaged or needs more memory than allowed.
    pub fn decode(&self, batch: &LogBatch) -> Result<RecordBatch, DecodeError> {
        self.decode_with(batch, &mut Unpacker::default())
    }

    /// Like [`decode`](Self::decode), with what the batch before was unpacked with.
    fn decode_with(
        &self,
        batch: &LogBatch,
        unpacker: &mut Unpacker,
    ) -> Result<RecordBatch, DecodeError> {
        if batch.record_count() == 0 {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.arrow)));
        }
        self.decode_message(&batch.body()?, batch.record_count() as usize, unpacker)
    }

    /// The rows of a batch, with their offsets and change types.
    ///
    /// # Errors
    /// As for [`decode`](Self::decode), and when a change type is unknown or a time of day lies
    /// outside the day.
    pub fn decode_rows(&self, batch: &LogBatch) -> Result<LogRows, DecodeError> {
        let columns = self.decode(batch)?;
        LogRows::new(&self.schema, &columns, batch, batch.change_types()?)
    }

    fn decode_message(
        &self,
        bytes: &Bytes,
        rows: usize,
        unpacker: &mut Unpacker,
    ) -> Result<RecordBatch, DecodeError> {
        let mut message = Message::parse(bytes, rows, self.counts, &self.limits, unpacker)?;
        let mut arrays = vec![None; self.schema.columns().len()];
        for stored in &self.stored {
            match stored.place {
                Some(place) => {
                    let field = self.arrow.field(place);
                    arrays[place] = Some(array::array(&mut message, field, rows)?);
                }
                None => message.skip(stored.counts),
            }
        }
        let arrays = arrays.into_iter().flatten().collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.arrow), arrays, &options)
            .map_err(|error| DecodeError::message(error.to_string()))
    }
}
