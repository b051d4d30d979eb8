//! Log batches in the ARROW format: rows become columns as they arrive.

mod bits;
mod body;
mod builder;
pub(super) mod column;
mod compress;
pub(super) mod convert;
mod extend;
mod held;
mod ipc;
pub(super) mod nested;
mod parts;
mod shrink;
mod statistics;
mod stretch;
mod writer;

pub(super) use builder::{APPEND_ONLY, check_limits};
pub use builder::{ArrowBatchBuilder, ArrowBatchOptions};
pub use compress::{ArrowCompression, Packer};
pub(super) use statistics::has_statistics;
