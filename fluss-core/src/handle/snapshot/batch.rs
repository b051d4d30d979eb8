//! Rows of a state.

use arrow_array::RecordBatch;

use crate::batch::{LogRows, RowView};
use crate::error::Result;
use crate::ids::BucketKey;
use crate::row::Schema;

/// Some rows of one bucket as they were at one moment, as columns and as rows.
#[derive(Clone, Debug)]
pub struct SnapshotBatch {
    pub(super) bucket: BucketKey,
    pub(super) schema: Schema,
    pub(super) columns: RecordBatch,
    pub(super) log_offset: Option<i64>,
    /// Bytes of the rows as they came.
    pub(super) bytes: u64,
}

impl SnapshotBatch {
    /// Where the rows are stored.
    #[must_use]
    pub fn bucket(&self) -> BucketKey {
        self.bucket
    }

    /// Number of rows, at least 1.
    #[must_use]
    pub fn num_rows(&self) -> usize {
        self.columns.num_rows()
    }

    /// The rows' columns.
    #[must_use]
    pub fn record_batch(&self) -> RecordBatch {
        self.columns.clone()
    }

    /// What the columns are.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The offset in the bucket's changelog that the rows belong to: all changes before it are in
    /// them, and none from it on. Equal for all batches of a bucket. None where the server does not
    /// tell it, as older ones do not for buckets whose changelog is no longer whole.
    #[must_use]
    pub fn log_offset(&self) -> Option<i64> {
        self.log_offset
    }

    /// The rows one by one, as inserts at the offset that they belong to; -1 where it is not known.
    ///
    /// # Errors
    /// [`Error::Decode`](crate::Error::Decode) for values that Arrow has and the table's types have
    /// not.
    pub fn rows(&self) -> Result<SnapshotRows> {
        let offset = self.log_offset.unwrap_or(-1);
        Ok(SnapshotRows { rows: LogRows::of_state(&self.schema, &self.columns, offset)? })
    }
}

/// The rows of a [`SnapshotBatch`].
#[derive(Clone, Debug)]
pub struct SnapshotRows {
    rows: LogRows,
}

impl SnapshotRows {
    /// The rows in order; nothing is copied. Their timestamp is -1: when a row was stored is told
    /// by the changelog only.
    pub fn iter(&self) -> impl Iterator<Item = RowView<'_>> {
        self.rows.iter()
    }
}
