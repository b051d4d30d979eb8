//! Batches: rows for one bucket on their way to the server, and fetched batches on their way to
//! rows.

mod ahead;
pub mod arrow;
mod collect;
pub mod decode;
mod error;
mod input;
mod kv;
mod kv_row;
mod log;
mod pool;
mod room;
mod schema;

pub(crate) use arrow::Packer;
pub use arrow::{ArrowBatchBuilder, ArrowBatchOptions, ArrowCompression};
pub use collect::record_batch;
pub(crate) use decode::Unpacker;
pub use decode::{
    ArrowDecoder, DecodeError, DecodeLimits, FromColumn, LogDecoder, LogRows, RowView,
};
pub use error::BatchError;
pub use input::{ArrowRow, ArrowRowIter, ArrowRows, ColumnsError};
pub use kv::{KvBatchBuilder, KvBatchOptions};
pub use kv_row::{KvEncoderError, KvFormat, KvRowEncoder, KvScratch};
pub use log::{LogBatchBuilder, LogFormat, UnknownLogFormat, statistics_columns};
pub use pool::BodyPool;
pub(crate) use room::Wanted;
pub use schema::{arrow_schema_of, arrow_type_of, data_type_of};

/// What became of a row that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// It is in the batch, at this index.
    Pushed(u32),
    /// It would make the batch too large and was taken back. Seal the batch and push the row into
    /// the next one.
    Full,
}
