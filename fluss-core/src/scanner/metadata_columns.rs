//! What the log tells about a row, as columns beside the table's own.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray, TimestampMillisecondArray};
use arrow_schema::{DataType as ArrowType, Field, Schema as ArrowSchema, SchemaRef};
use fluss_proto::record::{ChangeTypes, LogBatch};

use crate::batch::arrow_type_of;
use crate::error::{Error, Result};
use crate::row::TypeKind;

/// What the log tells about a row: a column that record batches can have beside those of the
/// table. None of them is ever null. They have the names that Fluss gives them in its own changelog
/// tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MetadataColumn {
    /// `_change_type`, a text: what the row did to its table, `+A` in a log table, `+I`, `-U`, `+U`
    /// or `-D` in the changelog of a primary-key table.
    ChangeType,
    /// `_log_offset`, 64 bits signed: the row's offset in its bucket.
    Offset,
    /// `_commit_timestamp`, a timestamp in milliseconds, UTC: when the server stored the row; equal
    /// for all rows of a record batch.
    Timestamp,
}

impl MetadataColumn {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::ChangeType, Self::Offset, Self::Timestamp];

    /// The name of the column.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChangeType => "_change_type",
            Self::Offset => "_log_offset",
            Self::Timestamp => "_commit_timestamp",
        }
    }

    fn arrow_type(self) -> ArrowType {
        match self {
            Self::ChangeType => ArrowType::Utf8,
            Self::Offset => ArrowType::Int64,
            Self::Timestamp => arrow_type_of(&TypeKind::TimestampLtz(3)),
        }
    }

    /// The column of a batch of so many rows.
    pub(super) fn array(self, batch: &LogBatch, changes: &ChangeTypes, rows: usize) -> ArrayRef {
        match self {
            Self::ChangeType => {
                let symbol = |row| changes.get(row).map_or("", |change| change.symbol());
                Arc::new(StringArray::from_iter_values((0..rows).map(symbol)))
            }
            Self::Offset => {
                // A checked batch's offsets do not overflow.
                let base = batch.base_offset();
                Arc::new(Int64Array::from_iter_values((0..rows).map(|row| base + row as i64)))
            }
            Self::Timestamp => {
                let at = batch.commit_timestamp();
                Arc::new(TimestampMillisecondArray::from_value(at, rows))
            }
        }
    }
}

/// The table's columns and these behind them.
///
/// # Errors
/// [`Error::Misuse`] if a column of the table has the name of one of them, or one is named twice.
pub(super) fn with_metadata(table: &SchemaRef, columns: &[MetadataColumn]) -> Result<SchemaRef> {
    let mut fields: Vec<_> = table.fields().iter().cloned().collect();
    for (at, column) in columns.iter().enumerate() {
        let name = column.name();
        if table.fields().iter().any(|field| field.name() == name) {
            return Err(Error::misuse(format!(
                "the table has a column `{name}` of its own, so the batches cannot have the \
                 metadata column of this name; leave out the one or the other"
            )));
        }
        if columns[..at].contains(column) {
            return Err(Error::misuse(format!("the metadata column `{name}` is asked for twice")));
        }
        fields.push(Arc::new(Field::new(name, column.arrow_type(), false)));
    }
    Ok(Arc::new(ArrowSchema::new(fields)))
}
