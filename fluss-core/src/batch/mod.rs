//! Batches: rows for one bucket on their way to the server, and fetched batches on their way to
//! rows.

pub mod arrow;
mod error;
mod pool;

pub use arrow::{ArrowBatchBuilder, ArrowBatchOptions, ArrowCompression};
pub use error::BatchError;
pub use pool::BodyPool;

/// What became of a row that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// It is in the batch, at this index.
    Pushed(u32),
    /// It would make the batch too large and was taken back. Seal the batch and push the row into
    /// the next one.
    Full,
}
