//! Where the fields of batch headers stand.

use std::ops::Range;

/// Field positions of a log batch header, counted from the first byte of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLayout {
    /// Version of the format.
    pub magic_value: u8,
    /// Offset of the first record, written by the server.
    pub base_offset: Range<usize>,
    /// Bytes behind this field.
    pub length: Range<usize>,
    /// The version byte.
    pub magic: Range<usize>,
    /// Milliseconds since the epoch, written by the server.
    pub commit_timestamp: Range<usize>,
    /// Only in version 2, where it stands before the checksum and is not covered by it.
    pub leader_epoch: Option<Range<usize>>,
    /// CRC-32C of everything behind this field.
    pub crc: Range<usize>,
    /// Schema of the rows.
    pub schema_id: Range<usize>,
    /// Bit 0: append-only.
    pub attributes: Range<usize>,
    /// Offset of the last record minus the base offset.
    pub last_offset_delta: Range<usize>,
    /// Writer id, -1 for none.
    pub writer_id: Range<usize>,
    /// Sequence of the batch within its writer and bucket, -1 for none.
    pub sequence: Range<usize>,
    /// Number of records.
    pub record_count: Range<usize>,
    /// From version 1 on: bytes of the statistics block behind the header.
    pub statistics_length: Option<Range<usize>>,
    /// Size of the fixed header.
    pub header_size: usize,
}

/// Header of a log batch, version 0.
pub const LOG_V0: LogLayout = log(0);
/// Header of a log batch, version 1: statistics added at the end.
pub const LOG_V1: LogLayout = log(1);
/// Header of a log batch, version 2: a leader epoch added before the checksum.
pub const LOG_V2: LogLayout = log(2);

/// Bytes of a log batch up to and including its length field; `length` does not count them.
pub(super) const LOG_OVERHEAD: usize = LOG_V0.length.end;
/// The largest header of all versions.
pub(super) const MAX_HEADER: usize = LOG_V2.header_size;

const fn log(magic_value: u8) -> LogLayout {
    let shift = if magic_value >= 2 { 4 } else { 0 };
    let statistics = magic_value >= 1;
    LogLayout {
        magic_value,
        base_offset: 0..8,
        length: 8..12,
        magic: 12..13,
        commit_timestamp: 13..21,
        leader_epoch: if shift == 4 { Some(21..25) } else { None },
        crc: 21 + shift..25 + shift,
        schema_id: 25 + shift..27 + shift,
        attributes: 27 + shift..28 + shift,
        last_offset_delta: 28 + shift..32 + shift,
        writer_id: 32 + shift..40 + shift,
        sequence: 40 + shift..44 + shift,
        record_count: 44 + shift..48 + shift,
        statistics_length: if statistics { Some(48 + shift..52 + shift) } else { None },
        header_size: 48 + shift + if statistics { 4 } else { 0 },
    }
}

/// Field positions of a KV batch header, counted from the first byte of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvLayout {
    /// Bytes behind this field.
    pub length: Range<usize>,
    /// The version byte, 0.
    pub magic: Range<usize>,
    /// CRC-32C of everything behind this field.
    pub crc: Range<usize>,
    /// Schema of the rows.
    pub schema_id: Range<usize>,
    /// Always 0.
    pub attributes: Range<usize>,
    /// Writer id, -1 for none.
    pub writer_id: Range<usize>,
    /// Sequence of the batch within its writer and bucket, -1 for none.
    pub sequence: Range<usize>,
    /// Number of records.
    pub record_count: Range<usize>,
    /// Size of the header.
    pub header_size: usize,
}

/// Header of a KV batch, version 0.
pub const KV_V0: KvLayout = KvLayout {
    length: 0..4,
    magic: 4..5,
    crc: 5..9,
    schema_id: 9..11,
    attributes: 11..12,
    writer_id: 12..20,
    sequence: 20..24,
    record_count: 24..28,
    header_size: 28,
};

/// Field positions of a value batch header, counted from the first byte of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueLayout {
    /// Bytes behind this field.
    pub length: Range<usize>,
    /// The version byte, 0.
    pub magic: Range<usize>,
    /// Number of records.
    pub record_count: Range<usize>,
    /// Size of the header.
    pub header_size: usize,
}

/// Header of a value batch.
pub const VALUE_BATCH: ValueLayout =
    ValueLayout { length: 0..4, magic: 4..5, record_count: 5..9, header_size: 9 };

/// Bytes of a field. The caller has checked that the header is there, and each field's width is
/// fixed above.
pub(super) fn field<const N: usize>(bytes: &[u8], range: &Range<usize>) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[range.clone()]);
    out
}

pub(super) fn set(bytes: &mut [u8], range: &Range<usize>, value: &[u8]) {
    bytes[range.clone()].copy_from_slice(value);
}
