//! Rows as an Arrow record batch.

use arrow_array::RecordBatch;
use fluss_proto::record::{Check, LogBatch, Stamp};

use super::arrow::{ArrowBatchBuilder, ArrowBatchOptions, ArrowCompression};
use super::{ArrowDecoder, DecodeError, Push, arrow_schema_of};
use crate::error::{Error, Result};
use crate::row::{Row, RowError, Schema};

/// The most bytes that a record batch made here has.
const MAX_BYTES: usize = 1 << 30;

/// The rows as an Arrow record batch of all columns of `schema`, for whoever has rows and wants
/// columns; [`ArrowRows`](super::ArrowRows) is the way back.
///
/// ```
/// use fluss_core::batch::record_batch;
/// use fluss_core::row;
/// use fluss_core::row::{DataType, Schema};
///
/// let schema =
///     Schema::builder().column("id", DataType::BIGINT).column("name", DataType::STRING).build()?;
/// let batch = record_batch(&schema, [row![1_i64, "ada"], row![2_i64, "bob"]])?;
/// assert_eq!((batch.num_rows(), batch.num_columns()), (2, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::Row`] for the first row that does not fit the schema, or when there are more than 1 GiB
/// of them; [`Error::Batch`] for a schema without columns.
pub fn record_batch<R: Row>(
    schema: &Schema,
    rows: impl IntoIterator<Item = R>,
) -> Result<RecordBatch> {
    let options = ArrowBatchOptions {
        max_bytes: MAX_BYTES,
        max_row_bytes: MAX_BYTES,
        compression: ArrowCompression::None,
    };
    let mut builder = ArrowBatchBuilder::new(schema.clone(), options)?;
    for row in rows {
        if let Push::Full = builder.try_push(&row)? {
            return Err(Error::Row(RowError::too_large(builder.size_in_bytes(), MAX_BYTES)));
        }
    }
    if builder.is_empty() {
        return Ok(RecordBatch::new_empty(arrow_schema_of(schema)));
    }
    // The way of a batch to a server and back, so that there is one writer and one reader of it.
    let sealed = builder.seal(0, Vec::new())?;
    let head = sealed.stamp(Stamp::NONE);
    let bytes = [&head[..], &sealed.payload()].concat();
    let batch = LogBatch::new_checked(bytes.into(), Check::Structure).map_err(DecodeError::from)?;
    Ok(ArrowDecoder::new(schema).decode(&batch)?)
}
