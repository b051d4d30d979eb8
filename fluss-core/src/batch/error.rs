//! What can be wrong with a batch before the server sees it.

/// Why a batch builder could not be made, or a batch not be sealed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// A limit cannot work for this table.
    #[error("{what} is {value}, it must be between {min} and {max}")]
    Limit {
        /// Which one.
        what: &'static str,
        /// Its value.
        value: usize,
        /// The smallest value possible for this table.
        min: usize,
        /// The largest value possible.
        max: usize,
    },
    /// The schema has no columns.
    #[error("the table has no columns")]
    NoColumns,
    /// A batch without rows was to be sealed; drop it instead.
    #[error("the batch has no rows, so there is nothing to send")]
    Empty,
    /// The compressor failed.
    #[error("compression failed: {reason}")]
    Compression {
        /// What it said.
        reason: String,
    },
    /// The description of the batch did not fit the room that was computed for it.
    #[error("the batch's metadata has {got} bytes where {expected} were computed")]
    Metadata {
        /// Bytes it has.
        got: usize,
        /// Bytes there was room for.
        expected: usize,
    },
    /// The batch cannot be described by a header.
    #[error(transparent)]
    Record(#[from] fluss_proto::record::RecordError),
}

impl From<std::io::Error> for BatchError {
    fn from(error: std::io::Error) -> Self {
        Self::Compression { reason: error.to_string() }
    }
}
