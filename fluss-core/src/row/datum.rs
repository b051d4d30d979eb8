//! One value of one column, borrowed from whoever holds it.

use super::nested::{AsDatum, Entries, Items};

/// A decimal number: `unscaled / 10^scale`.
///
/// ```
/// use fluss_core::row::Decimal;
///
/// let price: Decimal = "-12.3".parse().unwrap();
/// assert_eq!(price, Decimal::new(-123, 1));
/// assert_eq!(price.rescaled(2), Some(Decimal::new(-1230, 2)));
/// assert_eq!(Decimal::new(125, 2).rounded(1), Decimal::new(13, 1));
/// ```
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
/// column; everything else must match the column's type. What ARRAY, MAP and ROW borrow is told by
/// [`Items`] and [`Entries`].
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
    /// ARRAY: a vector, for instance, `Datum::Array(&tags)`.
    Array(&'a dyn Items),
    /// MAP: a vector of pairs, for instance.
    Map(&'a dyn Entries),
    /// ROW: another row, for instance, `Datum::Row(&row!["Ulm", 48.4])`.
    Row(&'a dyn Items),
}

impl Decimal {
    /// A decimal of these digits, `scale` of them after the point.
    #[must_use]
    pub const fn new(unscaled: i128, scale: u8) -> Self {
        Self { unscaled, scale }
    }

    /// The same number with `scale` digits after the point; None if digits would be lost or there
    /// are too many.
    #[must_use]
    pub fn rescaled(self, scale: u8) -> Option<Self> {
        if scale >= self.scale {
            let factor = 10_i128.checked_pow(u32::from(scale - self.scale))?;
            return Some(Self { unscaled: self.unscaled.checked_mul(factor)?, scale });
        }
        if self.unscaled == 0 {
            return Some(Self { unscaled: 0, scale });
        }
        let factor = 10_i128.checked_pow(u32::from(self.scale - scale))?;
        (self.unscaled % factor == 0).then(|| Self { unscaled: self.unscaled / factor, scale })
    }

    /// The number with at most `scale` digits after the point, rounded half away from zero as SQL
    /// does; unchanged if it has no more.
    #[must_use]
    pub fn rounded(self, scale: u8) -> Self {
        if scale >= self.scale {
            return self;
        }
        let Some(factor) = 10_i128.checked_pow(u32::from(self.scale - scale)) else {
            // A divisor beyond all i128 leaves nothing.
            return Self { unscaled: 0, scale };
        };
        let (quotient, rest) = (self.unscaled / factor, self.unscaled % factor);
        let up = rest.unsigned_abs() >= factor.unsigned_abs().div_ceil(2);
        Self { unscaled: quotient + if up { self.unscaled.signum() } else { 0 }, scale }
    }
}

impl Timestamp {
    /// A point in time from milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self { millis, nanos: 0 }
    }

    /// A point in time from microseconds since the epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        let nanos = micros.rem_euclid(1_000) * 1_000;
        // In 0 to 999,000.
        Self { millis: micros.div_euclid(1_000), nanos: nanos as u32 }
    }

    /// Whether it has digits below so many nanoseconds, a power of ten up to a second.
    #[inline]
    pub(crate) fn is_finer_than(self, grain: u32) -> bool {
        let below = !self.nanos.is_multiple_of(grain.clamp(1, 1_000_000));
        // Most columns keep whole milliseconds.
        below || grain > 1_000_000 && self.millis.rem_euclid(i64::from(grain / 1_000_000)) != 0
    }

    /// A point in time from nanoseconds since the epoch.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        // In 0 to 999,999.
        let rest = nanos.rem_euclid(1_000_000) as u32;
        Self { millis: nanos.div_euclid(1_000_000), nanos: rest }
    }
}

impl<'a> Datum<'a> {
    /// Whether this is [`Datum::Null`].
    #[must_use]
    pub fn is_null(self) -> bool {
        matches!(self, Self::Null)
    }

    /// The boolean, if it is one.
    #[must_use]
    pub fn as_bool(self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(value) } else { None }
    }

    /// The integer, of whatever width.
    #[must_use]
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Self::Int8(value) => Some(i64::from(value)),
            Self::Int16(value) => Some(i64::from(value)),
            Self::Int32(value) => Some(i64::from(value)),
            Self::Int64(value) => Some(value),
            _ => None,
        }
    }

    /// The integer, of whatever width, if it fits 32 bits.
    #[must_use]
    pub fn as_i32(self) -> Option<i32> {
        self.as_i64().and_then(|value| i32::try_from(value).ok())
    }

    /// The floating-point number, of whatever width.
    #[must_use]
    pub fn as_f64(self) -> Option<f64> {
        match self {
            Self::Float32(value) => Some(f64::from(value)),
            Self::Float64(value) => Some(value),
            _ => None,
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_str(self) -> Option<&'a str> {
        if let Self::Str(value) = self { Some(value) } else { None }
    }

    /// The bytes, if it is bytes.
    #[must_use]
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        if let Self::Bytes(value) = self { Some(value) } else { None }
    }

    /// The decimal, if it is one.
    #[must_use]
    pub fn as_decimal(self) -> Option<Decimal> {
        if let Self::Decimal(value) = self { Some(*value) } else { None }
    }

    /// The point in time of a TIMESTAMP or TIMESTAMP_LTZ.
    #[must_use]
    pub fn as_timestamp(self) -> Option<Timestamp> {
        match self {
            Self::Timestamp(value) | Self::TimestampLtz(value) => Some(value),
            _ => None,
        }
    }

    /// The days since 1970-01-01 of a DATE.
    #[must_use]
    pub fn as_date(self) -> Option<i32> {
        if let Self::Date(days) = self { Some(days) } else { None }
    }

    /// The milliseconds of the day of a TIME.
    #[must_use]
    pub fn as_time(self) -> Option<i32> {
        if let Self::Time(millis) = self { Some(millis) } else { None }
    }

    /// The elements of an ARRAY or the fields of a ROW.
    #[must_use]
    pub fn as_items(self) -> Option<&'a dyn Items> {
        if let Self::Array(items) | Self::Row(items) = self { Some(items) } else { None }
    }

    /// The entries of a MAP.
    #[must_use]
    pub fn as_entries(self) -> Option<&'a dyn Entries> {
        if let Self::Map(entries) = self { Some(entries) } else { None }
    }
}

macro_rules! datum_from {
    ($($type:ty => |$value:ident| $datum:expr;)*) => {$(
        impl<'a> From<$type> for Datum<'a> {
            #[inline]
            fn from($value: $type) -> Self {
                $datum
            }
        }
    )*};
}

datum_from! {
    bool => |value| Datum::Bool(value);
    i8 => |value| Datum::Int8(value);
    i16 => |value| Datum::Int16(value);
    i32 => |value| Datum::Int32(value);
    i64 => |value| Datum::Int64(value);
    u8 => |value| Datum::Int16(i16::from(value));
    u16 => |value| Datum::Int32(i32::from(value));
    u32 => |value| Datum::Int64(i64::from(value));
    f32 => |value| Datum::Float32(value);
    f64 => |value| Datum::Float64(value);
    &'a str => |value| Datum::Str(value);
    &'a String => |value| Datum::Str(value);
    &'a [u8] => |value| Datum::Bytes(value);
    &'a Vec<u8> => |value| Datum::Bytes(value);
    &'a Decimal => |value| Datum::Decimal(value);
    Timestamp => |value| Datum::Timestamp(value);
    &'a OwnedDatum => |value| value.as_datum();
}

impl<'a, const N: usize> From<&'a [u8; N]> for Datum<'a> {
    #[inline]
    fn from(value: &'a [u8; N]) -> Self {
        Datum::Bytes(value)
    }
}

/// An ARRAY.
impl<'a, T: AsDatum> From<&'a Vec<T>> for Datum<'a> {
    #[inline]
    fn from(value: &'a Vec<T>) -> Self {
        Datum::Array(value)
    }
}

impl<'a, T> From<Option<T>> for Datum<'a>
where
    Datum<'a>: From<T>,
{
    #[inline]
    fn from(value: Option<T>) -> Self {
        value.map_or(Datum::Null, Datum::from)
    }
}

/// One value that owns what it holds.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum OwnedDatum {
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
    /// DECIMAL.
    Decimal(Decimal),
    /// CHAR and STRING.
    Str(String),
    /// BINARY and BYTES.
    Bytes(Vec<u8>),
    /// DATE: days since 1970-01-01.
    Date(i32),
    /// TIME: milliseconds of the day.
    Time(i32),
    /// TIMESTAMP, without a time zone.
    Timestamp(Timestamp),
    /// TIMESTAMP_LTZ, in UTC.
    TimestampLtz(Timestamp),
    /// ARRAY: its elements.
    Array(Vec<OwnedDatum>),
    /// MAP: its entries in order.
    Map(Vec<(OwnedDatum, OwnedDatum)>),
    /// ROW: its fields in the order of the type.
    Row(Vec<OwnedDatum>),
}

impl OwnedDatum {
    /// The value borrowed; all accessors are there, `owned.as_datum().as_i64()`.
    #[must_use]
    pub fn as_datum(&self) -> Datum<'_> {
        match self {
            Self::Null => Datum::Null,
            Self::Bool(value) => Datum::Bool(*value),
            Self::Int8(value) => Datum::Int8(*value),
            Self::Int16(value) => Datum::Int16(*value),
            Self::Int32(value) => Datum::Int32(*value),
            Self::Int64(value) => Datum::Int64(*value),
            Self::Float32(value) => Datum::Float32(*value),
            Self::Float64(value) => Datum::Float64(*value),
            Self::Decimal(value) => Datum::Decimal(value),
            Self::Str(value) => Datum::Str(value),
            Self::Bytes(value) => Datum::Bytes(value),
            Self::Date(value) => Datum::Date(*value),
            Self::Time(value) => Datum::Time(*value),
            Self::Timestamp(value) => Datum::Timestamp(*value),
            Self::TimestampLtz(value) => Datum::TimestampLtz(*value),
            Self::Array(items) => Datum::Array(items),
            Self::Map(entries) => Datum::Map(entries),
            Self::Row(fields) => Datum::Row(fields),
        }
    }
}

impl From<Datum<'_>> for OwnedDatum {
    fn from(datum: Datum<'_>) -> Self {
        match datum {
            Datum::Null => Self::Null,
            Datum::Bool(value) => Self::Bool(value),
            Datum::Int8(value) => Self::Int8(value),
            Datum::Int16(value) => Self::Int16(value),
            Datum::Int32(value) => Self::Int32(value),
            Datum::Int64(value) => Self::Int64(value),
            Datum::Float32(value) => Self::Float32(value),
            Datum::Float64(value) => Self::Float64(value),
            Datum::Decimal(value) => Self::Decimal(*value),
            Datum::Str(value) => Self::Str(value.to_owned()),
            Datum::Bytes(value) => Self::Bytes(value.to_vec()),
            Datum::Date(value) => Self::Date(value),
            Datum::Time(value) => Self::Time(value),
            Datum::Timestamp(value) => Self::Timestamp(value),
            Datum::TimestampLtz(value) => Self::TimestampLtz(value),
            Datum::Array(items) => Self::Array(owned(items)),
            Datum::Map(entries) => {
                let entry = |at| {
                    let (key, value) = entries.entry(at);
                    (key.into(), value.into())
                };
                Self::Map((0..entries.count()).map(entry).collect())
            }
            Datum::Row(fields) => Self::Row(owned(fields)),
        }
    }
}

fn owned(items: &dyn Items) -> Vec<OwnedDatum> {
    (0..items.count()).map(|at| items.item(at).into()).collect()
}

/// A row read back, all its values owned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnedRow {
    values: Vec<OwnedDatum>,
}

impl OwnedRow {
    /// A row of these values.
    #[must_use]
    pub fn new(values: Vec<OwnedDatum>) -> Self {
        Self { values }
    }

    /// The values in column order.
    #[must_use]
    pub fn values(&self) -> &[OwnedDatum] {
        &self.values
    }

    /// The values in column order, taken out.
    #[must_use]
    pub fn into_values(self) -> Vec<OwnedDatum> {
        self.values
    }

    /// The value of a column; None beyond the last.
    #[must_use]
    pub fn datum(&self, column: usize) -> Option<Datum<'_>> {
        self.values.get(column).map(OwnedDatum::as_datum)
    }
}

impl FromIterator<OwnedDatum> for OwnedRow {
    fn from_iter<I: IntoIterator<Item = OwnedDatum>>(values: I) -> Self {
        Self { values: values.into_iter().collect() }
    }
}
