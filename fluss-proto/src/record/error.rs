/// Why bytes could not be read as a batch, or why a batch could not be written.
///
/// `at` is a byte position counted from the start of the bytes given to the reader that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The bytes end before the thing they should hold.
    #[error("{what} at byte {at} needs {needed} bytes, but only {available} are left")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Position of its first byte.
        at: usize,
        /// Bytes it needs.
        needed: u64,
        /// Bytes there are from `at` on.
        available: u64,
    },
    /// A batch of a version this library does not know. Nothing behind the version was interpreted.
    #[error("{what} at byte {at} has version {magic}, which this client cannot read")]
    UnsupportedVersion {
        /// Kind of batch.
        what: &'static str,
        /// Position of the batch.
        at: usize,
        /// The version byte.
        magic: u8,
    },
    /// The stored checksum is not that of the bytes.
    #[error("{what} at byte {at} stores checksum {stored:#010x}, its bytes give {computed:#010x}")]
    Checksum {
        /// Kind of batch.
        what: &'static str,
        /// Position of the batch.
        at: usize,
        /// Checksum in the header.
        stored: u32,
        /// Checksum of the bytes.
        computed: u32,
    },
    /// A number outside the range that makes sense where it stands.
    #[error("{what} at byte {at} is {value}, expected {min} to {max}")]
    OutOfRange {
        /// Name of the field.
        what: &'static str,
        /// Position of the field.
        at: usize,
        /// Value found.
        value: i64,
        /// Smallest value allowed.
        min: i64,
        /// Largest value allowed.
        max: i64,
    },
    /// A change type code other than 0 to 4.
    #[error("change type of record {record} at byte {at} is {code}, expected 0 to 4")]
    ChangeType {
        /// Position of the code.
        at: usize,
        /// Index of the record in its batch.
        record: u32,
        /// Code found.
        code: u8,
    },
    /// A variable-length number that does not end, or is too big for its type.
    #[error("{what} at byte {at}: {source}")]
    Varint {
        /// What was being read.
        what: &'static str,
        /// Position of its first byte.
        at: usize,
        /// What is wrong with it.
        source: super::VarintError,
    },
    /// All announced records were read and bytes are left over.
    #[error("{count} bytes are left at byte {at} after the last {what}")]
    TrailingBytes {
        /// What was being read.
        what: &'static str,
        /// Position of the first byte too many.
        at: usize,
        /// How many there are.
        count: u64,
    },
    /// A log batch starts before the end of the one before it.
    #[error("log batch at byte {at} starts at offset {base_offset}, but {expected} comes next")]
    Overlap {
        /// Position of the batch.
        at: usize,
        /// Its base offset.
        base_offset: i64,
        /// Smallest base offset allowed.
        expected: i64,
    },
    /// Something to write is bigger than the format can say.
    #[error("{what} of {value} is more than the format holds ({max}); make batches smaller")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size or count.
        value: u64,
        /// The largest one that fits.
        max: u64,
    },
    /// A batch to write contradicts itself.
    #[error("cannot write the batch: {0}")]
    Misuse(&'static str),
}

impl RecordError {
    /// Whether the bytes may be fine but this library is too old for them.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::UnsupportedVersion { .. })
    }

    /// Whether the bytes of the peer are damaged (neither a newer format nor our own misuse).
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        !matches!(self, Self::UnsupportedVersion { .. } | Self::TooLarge { .. } | Self::Misuse(_))
    }

    /// The same error, for a reader whose bytes begin `by` bytes earlier.
    pub(super) fn shifted(mut self, by: usize) -> Self {
        match &mut self {
            Self::Truncated { at, .. }
            | Self::UnsupportedVersion { at, .. }
            | Self::Checksum { at, .. }
            | Self::OutOfRange { at, .. }
            | Self::ChangeType { at, .. }
            | Self::Varint { at, .. }
            | Self::TrailingBytes { at, .. }
            | Self::Overlap { at, .. } => *at += by,
            Self::TooLarge { .. } | Self::Misuse(_) => {}
        }
        self
    }
}
