use std::fmt;

use bytes::Bytes;

use super::checksum::crc32c;
use super::layout::{LOG_OVERHEAD, LOG_V0, field};
use super::log_records::LogRecords;
use super::{ChangeTypes, LogVersion, RecordError, Stamp};

const WHAT: &str = "log batch";

/// How far a batch is checked when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The fields of the header and the checksum of the whole batch.
    Crc,
    /// The fields of the header only; the payload is not touched. For batches that a server
    /// projected, which keep the checksum of the full batch, and for callers that check later.
    Structure,
}

/// A log batch of any version whose header has been checked: offsets, counts and regions are
/// sensible. The payload is a slice of the bytes it was read from.
#[derive(Clone, PartialEq, Eq)]
pub struct LogBatch {
    bytes: Bytes,
    version: LogVersion,
    record_count: u32,
    last_offset_delta: u32,
    statistics_length: usize,
}

/// What the first bytes of a batch say about it.
pub(super) struct Extent {
    /// Bytes of the whole batch, which may be more than there are.
    pub(super) size: usize,
    magic: u8,
}

impl Extent {
    /// Reads length and version of the batch at the start of `bytes`; `None` when the bytes end
    /// before the length does.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, RecordError> {
        if bytes.len() < LOG_OVERHEAD {
            return Ok(None);
        }
        let length = i32::from_le_bytes(field(bytes, &LOG_V0.length));
        // Without a version byte the smallest header is what every batch must have.
        let magic = bytes.get(LOG_OVERHEAD).copied().unwrap_or(LOG_V0.magic_value);
        // A batch of an unknown version at least holds that version.
        let header = LogVersion::from_magic(magic)
            .map_or(LOG_OVERHEAD + 1, |version| version.layout().header_size);
        let min = (header - LOG_OVERHEAD) as i64;
        if i64::from(length) < min {
            return Err(out_of_range("length", LOG_V0.length.start, length.into(), min));
        }
        Ok(Some(Self { size: LOG_OVERHEAD + length as usize, magic }))
    }

    pub(super) fn version(&self) -> Result<LogVersion, RecordError> {
        let magic = self.magic;
        LogVersion::from_magic(magic).ok_or(RecordError::UnsupportedVersion {
            what: WHAT,
            at: 0,
            magic,
        })
    }
}

fn out_of_range(what: &'static str, at: usize, value: i64, min: i64) -> RecordError {
    let max = i64::from(i32::MAX);
    RecordError::OutOfRange { what, at, value, min, max }
}

impl LogBatch {
    /// Reads `bytes` as exactly one batch.
    ///
    /// # Errors
    /// When the version is unknown, the bytes are not one whole batch, the checksum is wrong (with
    /// [`Check::Crc`]), or a header field makes no sense.
    pub fn new_checked(bytes: Bytes, check: Check) -> Result<Self, RecordError> {
        let available = bytes.len() as u64;
        let truncated = |needed| RecordError::Truncated { what: WHAT, at: 0, needed, available };
        let Some(extent) = Extent::read(&bytes)? else {
            return Err(truncated(LOG_V0.header_size as u64));
        };
        let version = extent.version()?;
        let size = extent.size;
        if size > bytes.len() {
            return Err(truncated(size as u64));
        }
        if size < bytes.len() {
            let count = (bytes.len() - size) as u64;
            return Err(RecordError::TrailingBytes { what: WHAT, at: size, count });
        }
        Self::framed(bytes, version, check)
    }

    /// Checks a batch whose size and version are known to be right.
    pub(super) fn framed(
        bytes: Bytes,
        version: LogVersion,
        check: Check,
    ) -> Result<Self, RecordError> {
        let mut batch =
            Self { bytes, version, record_count: 0, last_offset_delta: 0, statistics_length: 0 };
        // The checksum goes first: when it is wrong, the other fields are only symptoms.
        if check == Check::Crc {
            batch.verify_checksum()?;
        }
        batch.check_fields()?;
        Ok(batch)
    }

    fn check_fields(&mut self) -> Result<(), RecordError> {
        let layout = self.version.layout();
        let count = i32::from_le_bytes(field(&self.bytes, &layout.record_count));
        self.record_count = u32::try_from(count).map_err(|_| {
            out_of_range("record_count", layout.record_count.start, count.into(), 0)
        })?;
        let delta = i32::from_le_bytes(field(&self.bytes, &layout.last_offset_delta));
        let min = (i64::from(count) - 1).max(0);
        if i64::from(delta) < min {
            let at = layout.last_offset_delta.start;
            return Err(out_of_range("last_offset_delta", at, delta.into(), min));
        }
        self.last_offset_delta = delta as u32;
        let base = self.base_offset();
        // The next offset must exist as well.
        let max = i64::MAX - 1 - i64::from(delta);
        if base < 0 || base > max {
            return Err(RecordError::OutOfRange {
                what: "base_offset",
                at: layout.base_offset.start,
                value: base,
                min: 0,
                max,
            });
        }
        if let Some(range) = &layout.statistics_length {
            let length = i32::from_le_bytes(field(&self.bytes, range));
            let room = self.bytes.len() - layout.header_size;
            self.statistics_length = usize::try_from(length)
                .ok()
                .filter(|length| *length <= room)
                .ok_or(RecordError::OutOfRange {
                    what: "statistics_length",
                    at: range.start,
                    value: length.into(),
                    min: 0,
                    max: room as i64,
                })?;
        }
        Ok(())
    }

    /// Checks the checksum. Batches that a server projected keep that of the full batch, so they
    /// fail here although nothing is wrong with them.
    ///
    /// # Errors
    /// [`RecordError::Checksum`] with both values.
    pub fn verify_checksum(&self) -> Result<(), RecordError> {
        let stored = self.stored_checksum();
        let computed = crc32c(&self.bytes[self.version.layout().crc.end..]);
        if stored != computed {
            return Err(RecordError::Checksum { what: WHAT, at: 0, stored, computed });
        }
        Ok(())
    }

    /// Checksum in the header.
    #[must_use]
    pub fn stored_checksum(&self) -> u32 {
        u32::from_le_bytes(field(&self.bytes, &self.version.layout().crc))
    }

    /// Version of the format.
    #[must_use]
    pub fn version(&self) -> LogVersion {
        self.version
    }

    /// Offset of the first record.
    #[must_use]
    pub fn base_offset(&self) -> i64 {
        i64::from_le_bytes(field(&self.bytes, &self.version.layout().base_offset))
    }

    /// Offset of the last record; the base offset if there are no records, since an empty batch
    /// takes one offset too.
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset() + i64::from(self.last_offset_delta)
    }

    /// The offset to go on from once this batch is consumed. Not to be derived from the number of
    /// records.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// When the server appended the batch, in milliseconds since the epoch.
    #[must_use]
    pub fn commit_timestamp(&self) -> i64 {
        i64::from_le_bytes(field(&self.bytes, &self.version.layout().commit_timestamp))
    }

    /// Epoch of the leader that appended the batch; only version 2 has it, and servers leave -1.
    #[must_use]
    pub fn leader_epoch(&self) -> Option<i32> {
        let range = self.version.layout().leader_epoch.as_ref()?;
        Some(i32::from_le_bytes(field(&self.bytes, range)))
    }

    /// Writer id, -1 for none.
    #[must_use]
    pub fn writer_id(&self) -> i64 {
        i64::from_le_bytes(field(&self.bytes, &self.version.layout().writer_id))
    }

    /// Sequence of the batch, -1 for none.
    #[must_use]
    pub fn sequence(&self) -> i32 {
        i32::from_le_bytes(field(&self.bytes, &self.version.layout().sequence))
    }

    /// Writer id and sequence.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp { writer_id: self.writer_id(), sequence: self.sequence() }
    }

    /// Schema the rows were encoded with.
    #[must_use]
    pub fn schema_id(&self) -> i16 {
        i16::from_le_bytes(field(&self.bytes, &self.version.layout().schema_id))
    }

    /// The attributes byte; readers ignore all bits but the lowest.
    #[must_use]
    pub fn attributes(&self) -> u8 {
        let [attributes] = field(&self.bytes, &self.version.layout().attributes);
        attributes
    }

    /// Whether an Arrow batch stores no change types because every record is an append.
    #[must_use]
    pub fn is_append_only(&self) -> bool {
        self.attributes() & 1 == 1
    }

    /// Number of records.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Bytes of the whole batch.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The whole batch.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The statistics block; empty if the batch has none.
    #[must_use]
    pub fn statistics(&self) -> Bytes {
        let start = self.version.layout().header_size;
        self.bytes.slice(start..start + self.statistics_length)
    }

    /// Everything behind header and statistics, whatever the log format; empty without records.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(self.payload_start()..)
    }

    /// The change types of an ARROW batch. Records of the other formats carry their own.
    ///
    /// # Errors
    /// When there are fewer codes than records, or a code is unknown.
    pub fn change_types(&self) -> Result<ChangeTypes, RecordError> {
        if self.is_append_only() {
            return Ok(ChangeTypes::append_only(self.record_count as usize));
        }
        let start = self.payload_start();
        let end = self.change_types_end()?;
        ChangeTypes::checked(self.bytes.slice(start..end), start)
    }

    /// The encapsulated Arrow message of an ARROW batch; empty without records. It starts at any
    /// alignment.
    ///
    /// # Errors
    /// When the payload is shorter than the change types before the message.
    pub fn body(&self) -> Result<Bytes, RecordError> {
        if self.is_append_only() {
            return Ok(self.payload());
        }
        Ok(self.bytes.slice(self.change_types_end()?..))
    }

    /// The records of an INDEXED or COMPACTED batch.
    #[must_use]
    pub fn records(&self) -> LogRecords {
        // A payload behind zero records is ignored, as servers and other clients do.
        let start = self.payload_start();
        LogRecords::new(self.bytes.clone(), start, self.record_count, self.base_offset())
    }

    fn payload_start(&self) -> usize {
        if self.record_count == 0 {
            return self.bytes.len();
        }
        self.version.layout().header_size + self.statistics_length
    }

    fn change_types_end(&self) -> Result<usize, RecordError> {
        let start = self.payload_start();
        let available = self.bytes.len() - start;
        if self.record_count as usize > available {
            return Err(RecordError::Truncated {
                what: "change types",
                at: start,
                needed: self.record_count.into(),
                available: available as u64,
            });
        }
        Ok(start + self.record_count as usize)
    }
}

impl fmt::Debug for LogBatch {
    // The payload may be megabytes; the header says what matters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogBatch")
            .field("version", &self.version)
            .field("base_offset", &self.base_offset())
            .field("last_offset", &self.last_offset())
            .field("commit_timestamp", &self.commit_timestamp())
            .field("schema_id", &self.schema_id())
            .field("attributes", &self.attributes())
            .field("stamp", &self.stamp())
            .field("record_count", &self.record_count)
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}
