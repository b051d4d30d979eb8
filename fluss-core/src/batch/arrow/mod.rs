//! Log batches in the ARROW format: rows become columns as they arrive.

mod bits;
mod builder;
mod column;
mod compress;
pub(super) mod convert;
mod ipc;
mod writer;

pub use builder::{ArrowBatchBuilder, ArrowBatchOptions};
pub use compress::ArrowCompression;
