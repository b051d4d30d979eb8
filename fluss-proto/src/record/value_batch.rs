use bytes::Bytes;

use super::RecordError;
use super::cursor::{Cursor, OpenRecord};
use super::kv_batch::{exact_frame, record_count};
use super::layout::{VALUE_BATCH, set};
use super::stamp::{count_field, length_field};

/// A stored row of a primary-key table, with the schema it was written with: the value of a lookup,
/// or a record of a value batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Schema the row was encoded with; rows of one batch may have different ones.
    pub schema_id: i16,
    /// The row in the encoding of the table.
    pub row: Bytes,
}

impl Value {
    /// Reads the value of a lookup or prefix lookup.
    ///
    /// # Errors
    /// When the bytes end before the schema id does.
    pub fn parse(bytes: &Bytes) -> Result<Self, RecordError> {
        let Some((schema_id, _)) = bytes.split_first_chunk::<2>() else {
            return Err(RecordError::Truncated {
                what: "value",
                at: 0,
                needed: 2,
                available: bytes.len() as u64,
            });
        };
        Ok(Self { schema_id: i16::from_le_bytes(*schema_id), row: bytes.slice(2..) })
    }
}

/// A value batch whose header has been checked: the answer of a limit scan or a KV scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueBatch {
    bytes: Bytes,
    record_count: u32,
}

impl ValueBatch {
    /// Reads `bytes` as exactly one batch. There is no checksum.
    ///
    /// # Errors
    /// When the version is unknown, the bytes are not one whole batch, or the record count is
    /// negative.
    pub fn new_checked(bytes: Bytes) -> Result<Self, RecordError> {
        exact_frame(&bytes, "value batch", VALUE_BATCH.header_size)?;
        let record_count = record_count(&bytes, VALUE_BATCH.record_count.start)?;
        Ok(Self { bytes, record_count })
    }

    /// Number of records the header announces. It is the peer's claim: do not allocate by it.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    /// The records.
    #[must_use]
    pub fn values(&self) -> Values {
        Values(Cursor {
            what: "value record",
            bytes: self.bytes.clone(),
            at: VALUE_BATCH.header_size,
            left: self.record_count,
            min: 2,
        })
    }
}

/// The records of a value batch; ends after the first error.
#[derive(Clone, Debug)]
pub struct Values(Cursor);

impl Iterator for Values {
    type Item = Result<Value, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.0.advance()?;
        Some(
            record.and_then(|(at, content)| {
                Value::parse(&content).map_err(|error| error.shifted(at))
            }),
        )
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl std::iter::FusedIterator for Values {}

/// The value of a lookup answer.
#[must_use]
pub fn encode_value(schema_id: i16, row: &[u8]) -> Vec<u8> {
    [&schema_id.to_le_bytes()[..], row].concat()
}

/// A value batch of rows, each with the schema it was encoded with.
///
/// # Errors
/// When the batch is larger than 2 GiB.
pub fn encode_value_batch<'a>(
    values: impl IntoIterator<Item = (i16, &'a [u8])>,
) -> Result<Vec<u8>, RecordError> {
    let mut out = vec![0; VALUE_BATCH.header_size];
    let mut count = 0_u32;
    for (schema_id, row) in values {
        let open = OpenRecord::start(&mut out);
        out.extend_from_slice(&schema_id.to_le_bytes());
        out.extend_from_slice(row);
        open.finish(&mut out)?;
        count = count.saturating_add(1);
        count_field(count)?;
    }
    let length = length_field(0, out.len() - VALUE_BATCH.length.end)?;
    set(&mut out, &VALUE_BATCH.length, &length.to_le_bytes());
    set(&mut out, &VALUE_BATCH.record_count, &count.to_le_bytes());
    Ok(out)
}
