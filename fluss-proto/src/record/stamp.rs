use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use super::checksum::{AppendZeros, crc32c};
use super::layout::{KV_V0, LOG_OVERHEAD, MAX_HEADER, set};
use super::{LogVersion, Payload, RecordError};

/// Writer id and sequence: what tells a server that it has seen a batch before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Id the server gave to the writer.
    pub writer_id: i64,
    /// Number of the batch within this writer and bucket, from 0 on.
    pub sequence: i32,
}

impl Stamp {
    /// For batches that are not deduplicated: both numbers -1.
    pub const NONE: Self = Self { writer_id: -1, sequence: -1 };
}

/// The fields of a log batch header that its builder knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFields {
    /// Schema the rows were encoded with.
    pub schema_id: i16,
    /// Bit 0: append-only, always set for log tables.
    pub attributes: u8,
    /// Number of records.
    pub record_count: u32,
    /// Offset of the last record minus that of the first: `record_count - 1`, or 0 without records.
    pub last_offset_delta: u32,
    /// `None` writes version 0. `Some(n)` writes version 1, whose payload begins with a statistics
    /// block of `n` bytes (possibly none).
    pub statistics_length: Option<u32>,
}

/// A batch whose payload is final while its writer id and sequence are not.
///
/// The checksum of the payload is computed once. Each [`stamp`](Self::stamp) then writes a header
/// and combines the checksums in time that does not depend on the payload, so a batch can be
/// renumbered any number of times without touching it. Cloning shares the payload.
///
/// ```
/// use bytes::Bytes;
/// use fluss_proto::record::{Check, KvBatch, SealedBatch, Stamp, push_kv_record};
///
/// let mut records = Vec::new();
/// push_kv_record(&mut records, b"key", Some(b"\0row"))?;
/// let sealed = SealedBatch::kv_v0(1, 0, 1, Bytes::from(records))?;
///
/// let head = sealed.stamp(Stamp { writer_id: 100, sequence: 3 });
/// let wire = [&head[..], &sealed.payload()[..]].concat();
/// assert_eq!(wire.len(), sealed.size());
/// assert!(KvBatch::new_checked(Bytes::from(wire), Check::Crc).is_ok());
/// # Ok::<(), fluss_proto::record::RecordError>(())
/// ```
#[derive(Clone)]
pub struct SealedBatch {
    // The header with everything but stamp and checksum.
    head: StampedHead,
    places: Places,
    payload_crc: u32,
    append_payload: AppendZeros,
    record_count: u32,
    payload: Payload,
}

/// Where a stamp goes. Twelve bytes from `stamp` on hold writer id and sequence in all formats.
#[derive(Clone, Copy, Debug)]
struct Places {
    crc: usize,
    stamp: usize,
}

impl SealedBatch {
    /// A log batch of version 0.
    ///
    /// # Errors
    /// When the batch is larger than 2 GiB, or the numbers contradict each other.
    pub fn log_v0(
        schema_id: i16,
        attributes: u8,
        record_count: u32,
        last_offset_delta: u32,
        payload: Bytes,
    ) -> Result<Self, RecordError> {
        let fields = LogFields {
            schema_id,
            attributes,
            record_count,
            last_offset_delta,
            statistics_length: None,
        };
        let payload_crc = crc32c(&payload);
        Self::log_with_crc(fields, payload, payload_crc)
    }

    /// A log batch of version 0 or 1.
    ///
    /// # Errors
    /// As for [`log_v0`](Self::log_v0).
    pub fn log(fields: LogFields, payload: Bytes) -> Result<Self, RecordError> {
        Self::log_in_pieces(fields, payload.into())
    }

    /// A log batch of version 0 or 1 whose payload may lie in several pieces. They stay where they
    /// are.
    ///
    /// # Errors
    /// As for [`log_v0`](Self::log_v0).
    pub fn log_in_pieces(fields: LogFields, payload: Payload) -> Result<Self, RecordError> {
        let payload_crc = payload.crc32c();
        Self::log_of(fields, payload, payload_crc)
    }

    /// A log batch whose payload's CRC-32C is known already. A wrong one is not noticed here: the
    /// server answers that the record is corrupt.
    ///
    /// # Errors
    /// As for [`log_v0`](Self::log_v0).
    pub fn log_with_crc(
        fields: LogFields,
        payload: Bytes,
        payload_crc: u32,
    ) -> Result<Self, RecordError> {
        Self::log_of(fields, payload.into(), payload_crc)
    }

    fn log_of(fields: LogFields, payload: Payload, payload_crc: u32) -> Result<Self, RecordError> {
        check_log_fields(&fields, payload.len())?;
        let version = match fields.statistics_length {
            None => LogVersion::V0,
            Some(_) => LogVersion::V1,
        };
        let layout = version.layout();
        let length = length_field(layout.header_size - LOG_OVERHEAD, payload.len())?;
        let mut head = StampedHead { bytes: [0; MAX_HEADER], len: layout.header_size as u8 };
        let bytes = &mut head.bytes;
        set(bytes, &layout.length, &length.to_le_bytes());
        set(bytes, &layout.magic, &[layout.magic_value]);
        set(bytes, &layout.schema_id, &fields.schema_id.to_le_bytes());
        set(bytes, &layout.attributes, &[fields.attributes]);
        set(bytes, &layout.last_offset_delta, &fields.last_offset_delta.to_le_bytes());
        set(bytes, &layout.record_count, &fields.record_count.to_le_bytes());
        if let (Some(range), Some(value)) = (&layout.statistics_length, fields.statistics_length) {
            set(bytes, range, &value.to_le_bytes());
        }
        let places = Places { crc: layout.crc.start, stamp: layout.writer_id.start };
        Ok(Self {
            head,
            places,
            payload_crc,
            append_payload: AppendZeros::new(payload.len() as u64),
            record_count: fields.record_count,
            payload,
        })
    }

    /// A KV batch; `attributes` is 0 today.
    ///
    /// # Errors
    /// When the batch is larger than 2 GiB or has too many records.
    pub fn kv_v0(
        schema_id: i16,
        attributes: u8,
        record_count: u32,
        payload: Bytes,
    ) -> Result<Self, RecordError> {
        let payload_crc = crc32c(&payload);
        Self::kv_v0_with_crc(schema_id, attributes, record_count, payload, payload_crc)
    }

    /// A KV batch whose payload's CRC-32C is known already. A wrong one is not noticed by anyone:
    /// servers do not check KV batches.
    ///
    /// # Errors
    /// As for [`kv_v0`](Self::kv_v0).
    pub fn kv_v0_with_crc(
        schema_id: i16,
        attributes: u8,
        record_count: u32,
        payload: Bytes,
        payload_crc: u32,
    ) -> Result<Self, RecordError> {
        count_field(record_count)?;
        let length = length_field(KV_V0.header_size - KV_V0.length.end, payload.len())?;
        let mut head = StampedHead { bytes: [0; MAX_HEADER], len: KV_V0.header_size as u8 };
        let bytes = &mut head.bytes;
        set(bytes, &KV_V0.length, &length.to_le_bytes());
        set(bytes, &KV_V0.schema_id, &schema_id.to_le_bytes());
        set(bytes, &KV_V0.attributes, &[attributes]);
        set(bytes, &KV_V0.record_count, &record_count.to_le_bytes());
        Ok(Self {
            head,
            places: Places { crc: KV_V0.crc.start, stamp: KV_V0.writer_id.start },
            payload_crc,
            append_payload: AppendZeros::new(payload.len() as u64),
            record_count,
            payload: payload.into(),
        })
    }

    /// The header with this stamp and the checksum that goes with it. Header and
    /// [`pieces`](Self::pieces) one after the other are the batch.
    #[must_use]
    pub fn stamp(&self, stamp: Stamp) -> StampedHead {
        let mut head = self.head;
        let Places { crc, stamp: at } = self.places;
        head.bytes[at..at + 8].copy_from_slice(&stamp.writer_id.to_le_bytes());
        head.bytes[at + 8..at + 12].copy_from_slice(&stamp.sequence.to_le_bytes());
        let covered = crc32c(&head[crc + 4..]);
        let whole = self.append_payload.combine(covered, self.payload_crc);
        head.bytes[crc..crc + 4].copy_from_slice(&whole.to_le_bytes());
        head
    }

    /// Everything behind the header, as one byte string: for whoever wants it whole. This copies if
    /// there are several pieces.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.payload.to_bytes()
    }

    /// Everything behind the header, where it lies.
    #[must_use]
    pub fn pieces(&self) -> &[Bytes] {
        self.payload.pieces()
    }

    pub(crate) fn shared_payload(&self) -> Payload {
        self.payload.clone()
    }

    /// Bytes of the whole batch, header included.
    #[must_use]
    pub fn size(&self) -> usize {
        self.head.len() + self.payload.len()
    }

    /// Bytes of memory that the batch takes: those of [`size`](Self::size), and what its pieces
    /// keep beyond them.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.size() + self.payload.surplus()
    }

    /// Bytes of the header.
    #[must_use]
    pub fn head_size(&self) -> usize {
        self.head.len()
    }

    /// Number of records.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.record_count
    }
}

impl fmt::Debug for SealedBatch {
    // The payload may be megabytes; its size is enough.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedBatch")
            .field("record_count", &self.record_count)
            .field("size", &self.size())
            .field("payload_crc", &format_args!("{:#010x}", self.payload_crc))
            .finish_non_exhaustive()
    }
}

/// A finished header, held inline.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StampedHead {
    bytes: [u8; MAX_HEADER],
    len: u8,
}

impl Deref for StampedHead {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl AsRef<[u8]> for StampedHead {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for StampedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StampedHead").field(&&self[..]).finish()
    }
}

fn check_log_fields(fields: &LogFields, payload: usize) -> Result<(), RecordError> {
    count_field(fields.record_count)?;
    count_field(fields.last_offset_delta)?;
    if fields.record_count.saturating_sub(1) > fields.last_offset_delta {
        return Err(RecordError::Misuse("last_offset_delta is smaller than record_count - 1"));
    }
    if fields.record_count == 0 && payload != 0 {
        // Servers recognise an empty batch by its size.
        return Err(RecordError::Misuse("a log batch without records must have no payload"));
    }
    if fields.statistics_length.is_some_and(|length| length as usize > payload) {
        return Err(RecordError::Misuse("the statistics block is longer than the payload"));
    }
    Ok(())
}

pub(super) fn count_field(value: u32) -> Result<(), RecordError> {
    if value > i32::MAX as u32 {
        let value = u64::from(value);
        return Err(RecordError::TooLarge { what: "record count", value, max: i32::MAX as u64 });
    }
    Ok(())
}

/// The `length` of a batch: header bytes behind the field, plus the payload.
pub(super) fn length_field(head: usize, payload: usize) -> Result<i32, RecordError> {
    let value = head as u64 + payload as u64;
    i32::try_from(value).map_err(|_| RecordError::TooLarge {
        what: "batch size",
        value,
        max: i32::MAX as u64,
    })
}
