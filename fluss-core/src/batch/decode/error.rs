//! What can be wrong with a fetched batch.

use fluss_proto::record::RecordError;

/// A batch that could not be decoded. Nothing of it was handed out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The batch around the Arrow message is damaged.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The Arrow message is damaged, or is not the one the schema announces.
    #[error("the Arrow message is damaged: {what}")]
    Message {
        /// What is wrong with it.
        what: String,
    },
    /// A column is damaged.
    #[error("column `{column}` is damaged: {what}")]
    Column {
        /// The column, or the path of a nested field.
        column: String,
        /// What is wrong with it.
        what: String,
    },
    /// The batch would need more memory than allowed. It may be intact.
    #[error("the batch needs {needed} bytes of memory or more, {limit} are allowed per batch")]
    TooLarge {
        /// Bytes it claims to need up to the point where the limit was passed.
        needed: u64,
        /// The limit.
        limit: u64,
    },
    /// A projection names a column that the schema lacks.
    #[error("column {index} does not exist, the schema has {columns}")]
    NoColumn {
        /// The index asked for.
        index: usize,
        /// The number of columns.
        columns: usize,
    },
    /// A projection names a column twice.
    #[error("the projection names column {index} twice")]
    RepeatedColumn {
        /// The column's index.
        index: usize,
    },
}

impl DecodeError {
    pub(crate) fn message(what: impl Into<String>) -> Self {
        Self::Message { what: what.into() }
    }

    pub(super) fn column(column: &str, what: impl ToString) -> Self {
        Self::Column { column: column.to_owned(), what: what.to_string() }
    }

    /// Whether the bytes themselves are at fault, rather than a limit or the caller.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        match self {
            Self::Record(error) => error.is_corrupt(),
            Self::Message { .. } | Self::Column { .. } => true,
            Self::TooLarge { .. } | Self::NoColumn { .. } | Self::RepeatedColumn { .. } => false,
        }
    }
}
