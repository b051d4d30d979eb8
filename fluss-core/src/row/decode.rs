//! What can be wrong with the bytes of a row, and how they are taken apart safely.

/// The bytes of a row cannot be read as a row of the schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column} of an encoded row is corrupt: {reason}")]
pub struct RowDecodeError {
    /// The position of the column at which it showed.
    pub column: usize,
    /// What is wrong.
    pub reason: DecodeReason,
}

/// What is wrong with the bytes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeReason {
    /// The bytes end inside a value.
    #[error("the bytes end inside the value")]
    Truncated,
    /// A variable-length number that does not end.
    #[error("a variable-length number is too long")]
    Varint,
    /// A length that is negative.
    #[error("a length is negative")]
    Length,
    /// Text that is not UTF-8.
    #[error("the text is not UTF-8")]
    Utf8,
    /// A decimal of no bytes or more than 16.
    #[error("a decimal has no bytes or more than 16")]
    Decimal,
    /// Nanoseconds outside a millisecond.
    #[error("the nanoseconds are not within a millisecond")]
    Nanos,
    /// Bytes left over after the last column.
    #[error("bytes are left after the last column; the schema may be the wrong one")]
    Trailing,
    /// An ARRAY or MAP that claims to have more elements than its bytes can hold, or fewer than
    /// none, or a MAP of more keys than values or fewer.
    #[error("the number of elements is impossible")]
    Count,
    /// Values within an ARRAY that share bytes.
    #[error("values within the value overlap")]
    Overlap,
    /// An ARRAY, MAP or ROW of more values than there may be memory for, which is 256 MiB.
    #[error("the value has so many values within it that they would take more than 256 MiB")]
    TooLarge,
    /// ARRAY, MAP or ROW.
    #[error("an ARRAY, MAP or ROW stands where a scalar belongs")]
    Nested,
}

/// Takes `length` bytes off the front.
#[inline]
pub(super) fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], DecodeReason> {
    let (taken, left) = rest.split_at_checked(length).ok_or(DecodeReason::Truncated)?;
    *rest = left;
    Ok(taken)
}

/// Takes an array off the front.
#[inline]
pub(super) fn bytes_of<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], DecodeReason> {
    let (taken, left) = rest.split_first_chunk().ok_or(DecodeReason::Truncated)?;
    *rest = left;
    Ok(*taken)
}
