use std::fmt;

use bytes::Bytes;

use super::{LOG_V0, LOG_V1, LOG_V2, LogLayout, RecordError};

/// Version of the log batch format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogVersion {
    /// What clients and servers normally write.
    V0,
    /// With room for statistics; servers know it from 1.0 on.
    V1,
    /// With a leader epoch. Only ever read.
    V2,
}

impl LogVersion {
    /// The version with this number.
    #[must_use]
    pub const fn from_magic(magic: u8) -> Option<Self> {
        match magic {
            0 => Some(Self::V0),
            1 => Some(Self::V1),
            2 => Some(Self::V2),
            _ => None,
        }
    }

    /// Where the header fields of this version stand.
    #[must_use]
    pub fn layout(self) -> &'static LogLayout {
        static LAYOUTS: [LogLayout; 3] = [LOG_V0, LOG_V1, LOG_V2];
        &LAYOUTS[self as usize]
    }
}

/// What a record of a log did to its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ChangeType {
    /// A row was appended to a log table.
    Append = 0,
    /// A row was inserted.
    Insert = 1,
    /// The row before an update; the row after it follows.
    UpdateBefore = 2,
    /// The row after an update.
    UpdateAfter = 3,
    /// A row was deleted; the record holds the row as it was.
    Delete = 4,
}

impl ChangeType {
    /// The change type with this code, 0 to 4.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Append),
            1 => Some(Self::Insert),
            2 => Some(Self::UpdateBefore),
            3 => Some(Self::UpdateAfter),
            4 => Some(Self::Delete),
            _ => None,
        }
    }

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// `+A`, `+I`, `-U`, `+U` or `-D`.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Append => "+A",
            Self::Insert => "+I",
            Self::UpdateBefore => "-U",
            Self::UpdateAfter => "+U",
            Self::Delete => "-D",
        }
    }
}

impl fmt::Display for ChangeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.symbol())
    }
}

/// The change types of one batch of Arrow records: a checked slice of its bytes, or the remark that
/// every record is an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeTypes {
    len: usize,
    // Absent for append-only batches, which store no codes.
    codes: Option<Bytes>,
}

impl ChangeTypes {
    pub(super) fn append_only(len: usize) -> Self {
        Self { len, codes: None }
    }

    /// Checks every code; `at` is where the first stands in the batch.
    pub(super) fn checked(codes: Bytes, at: usize) -> Result<Self, RecordError> {
        if let Some(index) = codes.iter().position(|code| ChangeType::from_code(*code).is_none()) {
            let record = u32::try_from(index).unwrap_or(u32::MAX);
            return Err(RecordError::ChangeType { at: at + index, record, code: codes[index] });
        }
        Ok(Self { len: codes.len(), codes: Some(codes) })
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the batch has no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the batch stores no codes, so that every record is [`ChangeType::Append`].
    #[must_use]
    pub fn is_append_only(&self) -> bool {
        self.codes.is_none()
    }

    /// The stored codes, all of them 0 to 4; nothing for append-only batches.
    #[must_use]
    pub fn codes(&self) -> Option<&[u8]> {
        self.codes.as_deref()
    }

    /// The change type of a record by its index in the batch.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<ChangeType> {
        match &self.codes {
            Some(codes) => codes.get(index).and_then(|code| ChangeType::from_code(*code)),
            None => (index < self.len).then_some(ChangeType::Append),
        }
    }

    /// The change types in record order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ChangeType> + '_ {
        (0..self.len).map(|index| self.get(index).unwrap_or(ChangeType::Append))
    }
}

/// The change types of records that each carry their own, as in INDEXED and COMPACTED batches.
impl FromIterator<ChangeType> for ChangeTypes {
    fn from_iter<I: IntoIterator<Item = ChangeType>>(types: I) -> Self {
        let codes: Vec<u8> = types.into_iter().map(ChangeType::code).collect();
        let appends = codes.iter().all(|code| *code == ChangeType::Append.code());
        Self { len: codes.len(), codes: (!appends).then(|| codes.into()) }
    }
}
