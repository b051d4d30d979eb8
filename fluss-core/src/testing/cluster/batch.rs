//! What a server reads from the batches it is sent, and what it stamps into them.

use bytes::{BufMut, Bytes, BytesMut};
use fluss_proto::record::crc32c;

use super::api::code;
use super::{Failure, Release, words};
use crate::ids::BucketKey;

const LENGTH_AT: usize = 8;
const MAGIC_AT: usize = 12;
const TIMESTAMP_AT: usize = 13;
const TIMESTAMP_END: usize = 21;

/// A log batch as sent: its bytes and the header fields that the server needs.
#[derive(Clone, Debug)]
pub(super) struct LogBatch {
    pub(super) bytes: Bytes,
    pub(super) magic: u8,
    pub(super) schema_id: i16,
    pub(super) append_only: bool,
    pub(super) last_offset_delta: i32,
    pub(super) writer_id: i64,
    pub(super) sequence: i32,
    pub(super) count: i32,
    /// Where the statistics end and the records begin.
    pub(super) body_at: usize,
}

fn le<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    le(bytes, at).map(i32::from_le_bytes)
}

/// A batch whose checksum is wrong, or whose length is, so that the checksum must be.
fn corrupt(records: &[u8], crc_at: usize, key: BucketKey) -> Failure {
    let stored = i32_at(records, crc_at).unwrap_or_default();
    Failure::new(code::CORRUPT_RECORD, words::corrupt(stored, key))
}

impl LogBatch {
    /// Reads one batch from the front of `records` and leaves the rest. A batch that is not whole
    /// ends the records: servers take it for the tail of a cut-off read and say nothing.
    pub(super) fn split(
        records: &mut Bytes,
        key: BucketKey,
        release: Release,
        check_crc: bool,
    ) -> Result<Option<Self>, Failure> {
        let Some(length) = i32_at(records, LENGTH_AT) else { return Ok(None) };
        if usize::try_from(length).is_ok_and(|length| length > records.len() - MAGIC_AT) {
            return Ok(None);
        }
        let magic = *records.get(MAGIC_AT).ok_or_else(|| corrupt(records, 21, key))?;
        let crc_at = match (magic, release) {
            (0, _) | (1, Release::V1_0) => 21,
            (2, Release::V1_0) => 25,
            // The older release has another layout in mind, with the checksum elsewhere.
            (1, _) => return Err(corrupt(records, 25, key)),
            _ => return Err(Failure::new(code::UNKNOWN, words::unknown_magic(magic))),
        };
        let header = crc_at + 27 + if magic == 0 { 0 } else { 4 };
        let size = usize::try_from(length).ok().and_then(|l| l.checked_add(12));
        let size = size.filter(|&size| size >= header && size <= records.len());
        let size = size.ok_or_else(|| corrupt(records, crc_at, key))?;
        let bytes = records.split_to(size);
        let read = |at: usize| i32_at(&bytes, crc_at + at).unwrap_or_default();
        if check_crc && crc32c(&bytes[crc_at + 4..]) != read(0) as u32 {
            return Err(corrupt(&bytes, crc_at, key));
        }
        let statistics = if magic == 0 { 0 } else { read(27) };
        let body_at = usize::try_from(statistics).ok().map(|s| header + s);
        let body_at = body_at.filter(|&at| at <= size);
        Ok(Some(Self {
            magic,
            schema_id: le(&bytes, crc_at + 4).map(i16::from_le_bytes).unwrap_or_default(),
            append_only: bytes[crc_at + 6] & 1 == 1,
            last_offset_delta: read(7),
            writer_id: le(&bytes, crc_at + 11).map(i64::from_le_bytes).unwrap_or(-1),
            sequence: read(19),
            count: read(23),
            body_at: body_at.ok_or_else(|| corrupt(&bytes, crc_at, key))?,
            bytes,
        }))
    }

    /// A batch of which only stamp and count are known and whose content nobody will ask for.
    pub(super) fn bare((writer_id, sequence, count): (i64, i32, i32)) -> Self {
        Self {
            bytes: Bytes::new(),
            magic: 0,
            schema_id: 0,
            append_only: false,
            last_offset_delta: (count - 1).max(0),
            writer_id,
            sequence,
            count,
            body_at: 0,
        }
    }

    /// Writes the batch as it is stored: with its offset and the server's timestamp.
    pub(super) fn write(&self, base_offset: i64, timestamp: i64, out: &mut BytesMut) {
        out.put_i64_le(base_offset);
        out.put_slice(&self.bytes[LENGTH_AT..TIMESTAMP_AT]);
        out.put_i64_le(timestamp);
        out.put_slice(&self.bytes[TIMESTAMP_END..]);
    }
}

/// A KV batch as sent. Neither length nor checksum are looked at, as by real servers.
#[derive(Clone, Debug)]
pub(super) struct KvBatch {
    pub(super) schema_id: i16,
    pub(super) writer_id: i64,
    pub(super) sequence: i32,
    pub(super) records: Vec<KvRecord>,
}

/// A key with its new row; no row deletes it.
#[derive(Clone, Debug)]
pub(super) struct KvRecord {
    pub(super) key: Bytes,
    pub(super) row: Option<Bytes>,
}

const KV_HEADER: usize = 28;

impl KvBatch {
    /// The stamp and the record count, without reading the records.
    pub(super) fn header(batch: &[u8]) -> Option<(i64, i32, i32)> {
        Some((
            i64::from_le_bytes(le(batch, 12)?),
            i32_at(batch, 20)?,
            i32_at(batch, 24).filter(|&n| n >= 0)?,
        ))
    }

    /// Reads the one batch of a bucket's entry.
    pub(super) fn read(bytes: &Bytes) -> Result<Self, Failure> {
        let broken = || Failure::new(code::UNKNOWN, "the KV batch does not parse");
        let (writer_id, sequence, count) = Self::header(bytes).ok_or_else(broken)?;
        let schema_id = le(bytes, 9).map(i16::from_le_bytes).ok_or_else(broken)?;
        let mut rest = bytes.slice(KV_HEADER.min(bytes.len())..);
        let mut records = Vec::with_capacity((count as usize).min(rest.len() / 6));
        for _ in 0..count {
            records.push(KvRecord::split(&mut rest).ok_or_else(broken)?);
        }
        Ok(Self { schema_id, writer_id, sequence, records })
    }
}

impl KvRecord {
    fn split(rest: &mut Bytes) -> Option<Self> {
        let length = usize::try_from(i32_at(rest, 0)?).ok()?;
        if rest.len() - 4 < length {
            return None;
        }
        let mut record = rest.split_to(4 + length).slice(4..);
        let mut key_len = 0_usize;
        for i in 0..5 {
            let byte = *record.get(i)?;
            key_len |= usize::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                let start = i + 1;
                let end = start.checked_add(key_len).filter(|&end| end <= record.len())?;
                let row = record.split_off(end);
                return Some(Self {
                    key: record.slice(start..),
                    row: (!row.is_empty()).then_some(row),
                });
            }
        }
        None
    }
}
