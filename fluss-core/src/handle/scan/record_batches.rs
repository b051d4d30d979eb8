//! A scan as Arrow sees a source of record batches.

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};

use super::LogScanner;

impl LogScanner {
    /// The record batches of this scanner, one after another, for whatever takes an Arrow
    /// [`RecordBatchReader`]. Each call blocks its thread until there is a batch. It ends with a
    /// bounded scan, or when it is [woken](Self::waker).
    #[must_use]
    pub fn into_record_batches(self) -> ScanRecordBatches {
        ScanRecordBatches { schema: self.arrow_schema(), scanner: self }
    }
}

/// The record batches of a [`LogScanner`]; see [`LogScanner::into_record_batches`].
///
/// An error of the scanner is an [`ArrowError::ExternalError`] with the [`Error`](crate::Error)
/// within. It concerns one bucket; the next call goes on with the others, as
/// [`LogScanner::next_batch`] does.
#[derive(Debug)]
pub struct ScanRecordBatches {
    scanner: LogScanner,
    schema: SchemaRef,
}

impl ScanRecordBatches {
    /// The scanner, for its positions and for changes under way.
    pub fn scanner(&mut self) -> &mut LogScanner {
        &mut self.scanner
    }

    /// The scanner back.
    #[must_use]
    pub fn into_scanner(self) -> LogScanner {
        self.scanner
    }
}

impl Iterator for ScanRecordBatches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.scanner.next_batch().wait();
        let next = next.map_err(|error| ArrowError::ExternalError(Box::new(error))).transpose()?;
        Some(next.map(|batch| batch.record_batch()))
    }
}

impl RecordBatchReader for ScanRecordBatches {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }
}
