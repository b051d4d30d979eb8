//! What servers do to log batches, for the server of tests and for checks of recorded traffic.

use super::batch_view::Extent;
use super::checksum::crc32c;
use super::layout::{LOG_OVERHEAD, LOG_V0, set};
use super::stamp::{count_field, length_field};
use super::{ChangeType, LogBatch, LogVersion, RecordError, Stamp};

/// Writes what a server sets when it appends a batch: base offset, commit timestamp
/// (milliseconds since the epoch) and, in version 2 only, the leader epoch. None of them is covered
/// by the checksum, so it stays valid. `batch` may have more bytes behind the batch.
///
/// # Errors
/// When `batch` does not start with a log batch's header.
pub fn write_append_position(
    batch: &mut [u8],
    base_offset: i64,
    commit_timestamp: i64,
    leader_epoch: i32,
) -> Result<(), RecordError> {
    let available = batch.len() as u64;
    let truncated = |needed: usize| RecordError::Truncated {
        what: "log batch header",
        at: 0,
        needed: needed as u64,
        available,
    };
    let extent = Extent::read(batch)?.ok_or_else(|| truncated(LOG_V0.header_size))?;
    let layout = extent.version()?.layout();
    if batch.len() < layout.header_size {
        return Err(truncated(layout.header_size));
    }
    set(batch, &layout.base_offset, &base_offset.to_le_bytes());
    set(batch, &layout.commit_timestamp, &commit_timestamp.to_le_bytes());
    if let Some(range) = &layout.leader_epoch {
        set(batch, range, &leader_epoch.to_le_bytes());
    }
    Ok(())
}

/// The batch as a server returns it under projection: statistics dropped, length rewritten, the
/// Arrow message replaced by `body`, and everything else kept, the checksum included, which
/// therefore no longer fits.
///
/// # Errors
/// When the batch's change types are cut off, or the new batch is larger than 2 GiB.
pub fn with_projected_body(batch: &LogBatch, body: &[u8]) -> Result<Vec<u8>, RecordError> {
    let layout = batch.version().layout();
    let change_types = batch.change_types()?;
    let codes = change_types.codes().unwrap_or_default();
    let payload = codes.len() + body.len();
    let length = length_field(layout.header_size - LOG_OVERHEAD, payload)?;
    let mut out = Vec::with_capacity(layout.header_size + payload);
    out.extend_from_slice(&batch.bytes()[..layout.header_size]);
    set(&mut out, &layout.length, &length.to_le_bytes());
    if let Some(range) = &layout.statistics_length {
        set(&mut out, range, &[0; 4]);
    }
    out.extend_from_slice(codes);
    out.extend_from_slice(body);
    Ok(out)
}

/// A complete log batch of any version, as a server stores it: for changelogs, and for batches
/// that clients only read.
#[derive(Clone, Copy, Debug)]
pub struct LogBatchParts<'a> {
    /// Version of the format.
    pub version: LogVersion,
    /// Offset of the first record.
    pub base_offset: i64,
    /// Milliseconds since the epoch.
    pub commit_timestamp: i64,
    /// Written in version 2 only.
    pub leader_epoch: i32,
    /// Schema of the rows.
    pub schema_id: i16,
    /// Bit 0 of the attributes.
    pub append_only: bool,
    /// Writer id and sequence.
    pub stamp: Stamp,
    /// Number of records; the last offset follows from it.
    pub record_count: u32,
    /// One per record for ARROW changelogs; none for append-only batches and for the row formats,
    /// whose records carry their own.
    pub change_types: &'a [ChangeType],
    /// Statistics block; only versions 1 and 2 have room for one.
    pub statistics: &'a [u8],
    /// Arrow message or records.
    pub body: &'a [u8],
}

impl Default for LogBatchParts<'_> {
    /// An empty changelog batch of version 0 at offset 0 without a stamp.
    fn default() -> Self {
        Self {
            version: LogVersion::V0,
            base_offset: 0,
            commit_timestamp: 0,
            leader_epoch: -1,
            schema_id: 1,
            append_only: false,
            stamp: Stamp::NONE,
            record_count: 0,
            change_types: &[],
            statistics: &[],
            body: &[],
        }
    }
}

impl LogBatchParts<'_> {
    /// The bytes of the batch.
    ///
    /// # Errors
    /// When the parts contradict each other, or are larger than the format can say.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        self.check()?;
        let layout = self.version.layout();
        let payload = self.statistics.len() + self.change_types.len() + self.body.len();
        let length = length_field(layout.header_size - LOG_OVERHEAD, payload)?;
        let last_offset_delta = self.record_count.saturating_sub(1);
        let mut out = vec![0; layout.header_size];
        set(&mut out, &layout.length, &length.to_le_bytes());
        set(&mut out, &layout.magic, &[layout.magic_value]);
        set(&mut out, &layout.schema_id, &self.schema_id.to_le_bytes());
        set(&mut out, &layout.attributes, &[u8::from(self.append_only)]);
        set(&mut out, &layout.last_offset_delta, &last_offset_delta.to_le_bytes());
        set(&mut out, &layout.writer_id, &self.stamp.writer_id.to_le_bytes());
        set(&mut out, &layout.sequence, &self.stamp.sequence.to_le_bytes());
        set(&mut out, &layout.record_count, &self.record_count.to_le_bytes());
        if let Some(range) = &layout.statistics_length {
            // It fits: the length of the whole batch does.
            set(&mut out, range, &(self.statistics.len() as u32).to_le_bytes());
        }
        out.extend_from_slice(self.statistics);
        out.extend(self.change_types.iter().map(|change_type| change_type.code()));
        out.extend_from_slice(self.body);
        let crc = crc32c(&out[layout.crc.end..]);
        set(&mut out, &layout.crc, &crc.to_le_bytes());
        let epoch = self.leader_epoch;
        write_append_position(&mut out, self.base_offset, self.commit_timestamp, epoch)?;
        Ok(out)
    }

    fn check(&self) -> Result<(), RecordError> {
        count_field(self.record_count)?;
        let types = self.change_types.len();
        if types != 0 && (self.append_only || types != self.record_count as usize) {
            let reason = "change types are one per record, and none in an append-only batch";
            return Err(RecordError::Misuse(reason));
        }
        if self.version == LogVersion::V0 && !self.statistics.is_empty() {
            return Err(RecordError::Misuse("version 0 has no room for statistics"));
        }
        if self.record_count == 0 && !(self.body.is_empty() && self.statistics.is_empty()) {
            return Err(RecordError::Misuse("a log batch without records must have no payload"));
        }
        Ok(())
    }
}
