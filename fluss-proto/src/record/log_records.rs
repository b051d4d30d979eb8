use bytes::Bytes;

use super::cursor::{Cursor, OpenRecord};
use super::{ChangeType, RecordError};

/// One record of an INDEXED or COMPACTED log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Offset in the bucket's log.
    pub offset: i64,
    /// What the record did.
    pub change_type: ChangeType,
    /// The row in the encoding of the table, a slice of the batch.
    pub row: Bytes,
}

/// The records of an INDEXED or COMPACTED log batch; see
/// [`LogBatch::records`](super::LogBatch::records). Ends after the first error.
#[derive(Clone, Debug)]
pub struct LogRecords {
    cursor: Cursor,
    base_offset: i64,
    index: u32,
}

impl LogRecords {
    pub(super) fn new(bytes: Bytes, at: usize, count: u32, base_offset: i64) -> Self {
        let cursor = Cursor { what: "log record", bytes, at, left: count, min: 1 };
        Self { cursor, base_offset, index: 0 }
    }

    fn record(&self, at: usize, content: &Bytes) -> Result<LogRecord, RecordError> {
        let code = content[0];
        let change_type = ChangeType::from_code(code).ok_or(RecordError::ChangeType {
            at,
            record: self.index,
            code,
        })?;
        // No overflow: the batch's last offset was checked to fit, and so was the count.
        let offset = self.base_offset + i64::from(self.index);
        Ok(LogRecord { offset, change_type, row: content.slice(1..) })
    }
}

impl Iterator for LogRecords {
    type Item = Result<LogRecord, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.cursor.advance()?.and_then(|(at, content)| self.record(at, &content));
        match record {
            Ok(_) => self.index += 1,
            Err(_) => self.cursor.stop(),
        }
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.cursor.size_hint()
    }
}

impl std::iter::FusedIterator for LogRecords {}

/// Starts a log record: append the row to `out`, then finish the record.
pub fn open_log_record(out: &mut Vec<u8>, change_type: ChangeType) -> OpenRecord {
    let open = OpenRecord::start(out);
    out.push(change_type.code());
    open
}

/// Appends a log record; returns the bytes it takes.
///
/// # Errors
/// When the row is longer than a record's length can say.
pub fn push_log_record(
    out: &mut Vec<u8>,
    change_type: ChangeType,
    row: &[u8],
) -> Result<usize, RecordError> {
    let open = open_log_record(out, change_type);
    out.extend_from_slice(row);
    open.finish(out)
}
