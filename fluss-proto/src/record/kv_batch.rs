use bytes::Bytes;

use super::checksum::crc32c;
use super::cursor::{Cursor, OpenRecord};
use super::layout::{KV_V0, field};
use super::varint::{put_varint32, read_varint32, varint32_len};
use super::{Check, RecordError, Stamp};

const WHAT: &str = "KV batch";

/// Bytes that a record takes in a batch; a delete has no row.
#[must_use]
pub fn kv_record_size(key_len: usize, row_len: Option<usize>) -> usize {
    // A key too long for its length field is refused when it is written.
    let prefix = varint32_len(u32::try_from(key_len).unwrap_or(u32::MAX));
    4 + prefix + key_len + row_len.unwrap_or(0)
}

/// Starts a record: append the row to `out`, or nothing for a delete, then finish the record.
///
/// # Errors
/// When the key is longer than a record can be.
pub fn open_kv_record(out: &mut Vec<u8>, key: &[u8]) -> Result<OpenRecord, RecordError> {
    let max = i32::MAX as u32;
    let Some(len) = u32::try_from(key.len()).ok().filter(|len| *len <= max) else {
        let value = key.len() as u64;
        return Err(RecordError::TooLarge { what: "key", value, max: max.into() });
    };
    let open = OpenRecord::start(out);
    put_varint32(out, len);
    out.extend_from_slice(key);
    Ok(open)
}

/// Appends an upsert of `row`, or a delete without one; returns the bytes the record takes.
///
/// # Errors
/// When the record is too long, or the row is empty: no bytes mean a delete, and every row has at
/// least a byte of null bits.
pub fn push_kv_record(
    out: &mut Vec<u8>,
    key: &[u8],
    row: Option<&[u8]>,
) -> Result<usize, RecordError> {
    if row.is_some_and(<[u8]>::is_empty) {
        return Err(RecordError::Misuse("an empty row would be a delete; pass None for deletes"));
    }
    let open = open_kv_record(out, key)?;
    out.extend_from_slice(row.unwrap_or_default());
    open.finish(out)
}

/// A KV batch whose header has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvBatch {
    bytes: Bytes,
    record_count: u32,
}

impl KvBatch {
    /// Reads `bytes` as exactly one batch.
    ///
    /// # Errors
    /// When the version is unknown, the bytes are not one whole batch, the checksum is wrong (with
    /// [`Check::Crc`]), or the record count is negative.
    pub fn new_checked(bytes: Bytes, check: Check) -> Result<Self, RecordError> {
        exact_frame(&bytes, WHAT, KV_V0.header_size)?;
        if check == Check::Crc {
            let stored = u32::from_le_bytes(field(&bytes, &KV_V0.crc));
            let computed = crc32c(&bytes[KV_V0.crc.end..]);
            if stored != computed {
                return Err(RecordError::Checksum { what: WHAT, at: 0, stored, computed });
            }
        }
        let record_count = record_count(&bytes, KV_V0.record_count.start)?;
        Ok(Self { bytes, record_count })
    }

    /// Schema of the rows.
    #[must_use]
    pub fn schema_id(&self) -> i16 {
        i16::from_le_bytes(field(&self.bytes, &KV_V0.schema_id))
    }

    /// The attributes byte.
    #[must_use]
    pub fn attributes(&self) -> u8 {
        let [attributes] = field(&self.bytes, &KV_V0.attributes);
        attributes
    }

    /// Writer id and sequence.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp {
            writer_id: i64::from_le_bytes(field(&self.bytes, &KV_V0.writer_id)),
            sequence: i32::from_le_bytes(field(&self.bytes, &KV_V0.sequence)),
        }
    }

    /// Number of records the header announces.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    /// The whole batch.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The records.
    #[must_use]
    pub fn records(&self) -> KvRecords {
        KvRecords(Cursor {
            what: "KV record",
            bytes: self.bytes.clone(),
            at: KV_V0.header_size,
            left: self.record_count,
            min: 1,
        })
    }
}

/// One record of a KV batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvRecord {
    /// The encoded key.
    pub key: Bytes,
    /// The row to upsert; `None` is a delete.
    pub row: Option<Bytes>,
}

/// The records of a KV batch; ends after the first error.
#[derive(Clone, Debug)]
pub struct KvRecords(Cursor);

impl Iterator for KvRecords {
    type Item = Result<KvRecord, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.0.advance()?.and_then(|(at, content)| kv_record(at, &content));
        if record.is_err() {
            self.0.stop();
        }
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl std::iter::FusedIterator for KvRecords {}

fn kv_record(at: usize, content: &Bytes) -> Result<KvRecord, RecordError> {
    let (len, prefix) = read_varint32(content).map_err(|source| RecordError::Varint {
        what: "key length",
        at,
        source,
    })?;
    let rest = content.len() - prefix;
    if len as usize > rest {
        return Err(RecordError::OutOfRange {
            what: "key length",
            at,
            value: len.into(),
            min: 0,
            max: rest as i64,
        });
    }
    let key_end = prefix + len as usize;
    let row = (key_end < content.len()).then(|| content.slice(key_end..));
    Ok(KvRecord { key: content.slice(prefix..key_end), row })
}

/// Checks that `bytes` are one batch that starts with its length and a version byte of 0, as KV and
/// value batches do, and that the header is there.
pub(super) fn exact_frame(
    bytes: &[u8],
    what: &'static str,
    header_size: usize,
) -> Result<(), RecordError> {
    let available = bytes.len() as u64;
    if bytes.len() < header_size {
        let needed = header_size as u64;
        return Err(RecordError::Truncated { what, at: 0, needed, available });
    }
    let magic = bytes[KV_V0.magic.start];
    if magic != 0 {
        return Err(RecordError::UnsupportedVersion { what, at: 0, magic });
    }
    let length = i32::from_le_bytes(field(bytes, &KV_V0.length));
    let size = i64::from(length) + KV_V0.length.end as i64;
    if size < header_size as i64 {
        return Err(RecordError::OutOfRange {
            what: "length",
            at: 0,
            value: length.into(),
            min: (header_size - KV_V0.length.end) as i64,
            max: i32::MAX.into(),
        });
    }
    let size = size as u64;
    if size > available {
        return Err(RecordError::Truncated { what, at: 0, needed: size, available });
    }
    if size < available {
        let count = available - size;
        return Err(RecordError::TrailingBytes { what, at: size as usize, count });
    }
    Ok(())
}

pub(super) fn record_count(bytes: &[u8], at: usize) -> Result<u32, RecordError> {
    let count = i32::from_le_bytes(field(bytes, &(at..at + 4)));
    u32::try_from(count).map_err(|_| RecordError::OutOfRange {
        what: "record_count",
        at,
        value: count.into(),
        min: 0,
        max: i32::MAX.into(),
    })
}
