//! One value of one column, borrowed from whoever holds it.

/// A decimal number: `unscaled / 10^scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    /// The digits as an integer.
    pub unscaled: i128,
    /// The number of digits after the point.
    pub scale: u8,
}

/// A point in time: milliseconds since 1970-01-01T00:00:00 and the nanoseconds within that
/// millisecond (0 to 999,999). For TIMESTAMP_LTZ the epoch is UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    /// Milliseconds since the epoch, negative before it.
    pub millis: i64,
    /// Nanoseconds within the millisecond, 0 to 999,999.
    pub nanos: u32,
}

/// One value. `Copy`, 24 bytes, nothing owned.
///
/// An integer may go into any integer column that can hold it without loss, an `f32` into a DOUBLE
/// column; everything else must match the column's type.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Datum<'a> {
    /// No value.
    Null,
    /// BOOLEAN.
    Bool(bool),
    /// TINYINT.
    Int8(i8),
    /// SMALLINT.
    Int16(i16),
    /// INT.
    Int32(i32),
    /// BIGINT.
    Int64(i64),
    /// FLOAT.
    Float32(f32),
    /// DOUBLE.
    Float64(f64),
    /// DECIMAL; boxed by reference so that the enum stays small.
    Decimal(&'a Decimal),
    /// CHAR and STRING.
    Str(&'a str),
    /// BINARY and BYTES.
    Bytes(&'a [u8]),
    /// DATE: days since 1970-01-01.
    Date(i32),
    /// TIME: milliseconds of the day.
    Time(i32),
    /// TIMESTAMP, without a time zone.
    Timestamp(Timestamp),
    /// TIMESTAMP_LTZ, in UTC.
    TimestampLtz(Timestamp),
}
