//! Record batches: what the `records` fields of the protocol carry.
//!
//! Three formats live here, all little-endian: the log batch (versions 0, 1 and 2), the KV batch of
//! upserts and deletes, and the value batch of scans over a primary-key table. This module knows
//! headers, checksums and record boundaries; the content of Arrow messages and rows is decoded a
//! layer above.
//!
//! Readers take bytes of a peer: they never panic, and they never allocate by a claimed count.

mod batch_view;
mod checksum;
mod cursor;
mod error;
mod kv_batch;
mod layout;
mod log_batch;
mod log_records;
mod payload;
mod server;
mod stamp;
mod types;
mod value_batch;
mod varint;

pub use batch_view::{Check, LogBatch};
pub use checksum::{AppendZeros, crc32c, crc32c_append};
pub use cursor::OpenRecord;
pub use error::RecordError;
pub use kv_batch::{KvBatch, KvRecord, KvRecords, kv_record_size, open_kv_record, push_kv_record};
pub use layout::{KV_V0, KvLayout, LOG_V0, LOG_V1, LOG_V2, LogLayout, VALUE_BATCH, ValueLayout};
pub use log_batch::LogBatches;
pub use log_records::{LogRecord, LogRecords, open_log_record, push_log_record};
pub use payload::Payload;
pub use server::{LogBatchParts, with_projected_body, write_append_position};
pub use stamp::{LogFields, SealedBatch, Stamp, StampedHead};
pub use types::{ChangeType, ChangeTypes, LogVersion};
pub use value_batch::{Value, ValueBatch, Values, encode_value, encode_value_batch};
pub use varint::{
    MAX_VARINT32_LEN, MAX_VARINT64_LEN, VarintError, put_varint32, put_varint64, read_varint32,
    read_varint64, varint32_len, varint64_len,
};

#[cfg(test)]
mod tests;
