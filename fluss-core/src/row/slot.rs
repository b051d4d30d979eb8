//! From a datum to what the binary formats store, once for all of them.

use super::datum::{Datum, Decimal, Timestamp};
use super::error::RowError;
use super::inner::{Deep, Inner};
use super::types::{DataType, TypeKind};

/// The largest precision at which a decimal is stored as an `i64`.
pub(super) const COMPACT_DECIMAL: u8 = 18;
/// The largest precision at which a timestamp is stored without its nanoseconds.
const COMPACT_TIMESTAMP: u8 = 3;
/// Milliseconds of a day.
const DAY: i32 = 86_400_000;

/// A column as the encoders see it; small, so that a row's columns share few cache lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) kind: SlotKind,
    pub(super) nullable: bool,
    /// Whether a BINARY value must have the length of its type.
    pub(super) exact: bool,
    /// Whether a BINARY value may not end in a zero byte.
    pub(super) solid: bool,
    /// The unit in which Arrow must hold a TIMESTAMP.
    span: Span,
    /// The most characters of a CHAR, or bytes of a BINARY.
    pub(super) longest: u32,
    /// Nanoseconds of the last digit of a TIME or TIMESTAMP.
    pub(super) grain: u32,
}

/// How closely values must keep to their types.
///
/// The formats themselves hold any text as a CHAR, and drop digits of a second for which they have
/// no room; servers never look. Tables are written with the strict rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// A BINARY must have the length of its type, and a TIMESTAMP must fit the 64 bits that Arrow
    /// has for it.
    pub(super) columnar: bool,
    /// A BINARY of an INDEXED row must not end in a zero byte, as servers take it for padding.
    pub(super) solid: bool,
    /// A CHAR and a BINARY may not be longer than their type, nor a second's fraction.
    pub(super) strict: bool,
}

/// The nanoseconds of the last digit at this precision.
pub(crate) fn grain_of(precision: u8) -> u32 {
    10_u32.pow(u32::from(9 - precision.min(9)))
}

/// How far the times of a column may be from 1970. A byte and no number of milliseconds, so that
/// slots stay small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Span {
    /// As far as milliseconds go.
    Any,
    /// As far as 64 bits of microseconds go.
    Micros,
    /// As far as 64 bits of nanoseconds go.
    Nanos,
}

impl Span {
    fn of(kind: &TypeKind, rules: Rules) -> Self {
        match kind {
            TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p) if rules.columnar => match p {
                0..=COMPACT_TIMESTAMP => Self::Any,
                4..=6 => Self::Micros,
                _ => Self::Nanos,
            },
            _ => Self::Any,
        }
    }

    /// Whether a time is beyond it.
    #[inline]
    fn is_passed_by(self, value: Timestamp) -> bool {
        let (per_milli, nanos) = match self {
            Self::Any => return false,
            Self::Micros => (1_000, 1_000),
            Self::Nanos => (1_000_000, 1),
        };
        // Whatever is nearer than the last whole millisecond fits.
        value.millis.unsigned_abs() >= i64::MAX.unsigned_abs() / per_milli
            && is_too_far(value, per_milli, nanos)
    }
}

/// The sum is formed in 128 bits, as a time right before the farthest would overflow on the way.
#[cold]
fn is_too_far(value: Timestamp, per_milli: u64, nanos: u32) -> bool {
    let whole = i128::from(value.millis) * i128::from(per_milli);
    i64::try_from(whole + i128::from(value.nanos / nanos)).is_err()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotKind {
    Bool,
    I8,
    I16,
    I32,
    I64,
    F32,
    F64,
    Decimal { precision: u8, scale: u8 },
    Char(u32),
    Str,
    Binary(u32),
    Bytes,
    Date,
    Time,
    Timestamp { nanos: bool },
    TimestampLtz { nanos: bool },
    Nested,
}

impl Slot {
    pub(super) fn new(data_type: &DataType, rules: Rules) -> Self {
        let kind = match data_type.kind {
            TypeKind::Boolean => SlotKind::Bool,
            TypeKind::TinyInt => SlotKind::I8,
            TypeKind::SmallInt => SlotKind::I16,
            TypeKind::Int => SlotKind::I32,
            TypeKind::BigInt => SlotKind::I64,
            TypeKind::Float => SlotKind::F32,
            TypeKind::Double => SlotKind::F64,
            TypeKind::Decimal { precision, scale } => SlotKind::Decimal { precision, scale },
            TypeKind::Char(n) => SlotKind::Char(n),
            TypeKind::String => SlotKind::Str,
            TypeKind::Binary(n) => SlotKind::Binary(n),
            TypeKind::Bytes => SlotKind::Bytes,
            TypeKind::Date => SlotKind::Date,
            TypeKind::Time(_) => SlotKind::Time,
            TypeKind::Timestamp(p) => SlotKind::Timestamp { nanos: p > COMPACT_TIMESTAMP },
            TypeKind::TimestampLtz(p) => SlotKind::TimestampLtz { nanos: p > COMPACT_TIMESTAMP },
            TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_) => SlotKind::Nested,
        };
        let longest = match data_type.kind {
            TypeKind::Char(n) | TypeKind::Binary(n) if rules.strict => n,
            _ => u32::MAX,
        };
        let grain = match data_type.kind {
            TypeKind::Time(p) | TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p)
                if rules.strict =>
            {
                grain_of(p)
            }
            _ => 1,
        };
        let span = Span::of(&data_type.kind, rules);
        let Rules { columnar: exact, solid, .. } = rules;
        Self { kind, nullable: data_type.nullable, exact, solid, span, longest, grain }
    }

    /// Whether a text has more characters than the type.
    #[inline]
    fn is_too_long(self, text: &str) -> bool {
        is_longer(text, self.longest)
    }
}

/// Whether a text has more characters than these.
#[inline]
pub(crate) fn is_longer(text: &str, characters: u32) -> bool {
    text.len() > characters as usize && has_more(text, characters)
}

/// Kept apart, as counting takes many instructions and almost no text needs it.
#[inline(never)]
fn has_more(text: &str, characters: u32) -> bool {
    text.chars().count() > characters as usize
}

impl From<&DataType> for Slot {
    /// By the rules of the formats.
    fn from(data_type: &DataType) -> Self {
        Self::new(data_type, Rules::default())
    }
}

/// A value in the shape in which it is stored, checked against its column.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stored<'a> {
    U8(u8),
    I16(i16),
    I32(i32),
    I64(i64),
    F32(f32),
    F64(f64),
    Bytes(&'a [u8]),
    /// A decimal of more than 18 digits.
    Wide(i128),
    /// Milliseconds, and nanoseconds within them.
    Instant(i64, i32),
}

/// Why a value does not fit, before the error with all its texts is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    Null,
    Type,
    Zone,
    Range,
    DecimalScale,
    DecimalPrecision,
    Nanos,
    TimeOfDay,
    Fraction,
    Span,
    Characters,
    FixedLength,
    ExactLength,
    Padding,
    Size,
    /// A key of no bytes, which has no bucket.
    EmptyKey,
    /// A text that Hudi cannot tell from its own marks.
    HudiText,
    /// A column that is nested: to be written by its parts.
    Nested,
}

pub(crate) const FRACTION: &str = "it has more digits of a second than the type";
pub(crate) const CHARACTERS: &str = "it has more characters than the type";
pub(crate) const TIMESTAMP_RANGE: &str = "the time does not fit 64 bits in the column's unit";

impl Misfit {
    /// The full error; kept out of the hot path.
    #[cold]
    #[inline(never)]
    pub(super) fn error(self, column: &str, data_type: &DataType, datum: Datum<'_>) -> RowError {
        if self == Self::Null {
            return RowError::null(column, data_type);
        }
        RowError::value(column, datum, data_type, self.reason())
    }

    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Null => "null is not allowed",
            Self::Type | Self::Nested => "give a value of the column's type",
            Self::Zone => "give Datum::Timestamp for TIMESTAMP, Datum::TimestampLtz for the other",
            Self::Range => "the number is out of the type's range",
            Self::DecimalScale => "it would lose digits, round it with Decimal::rounded first",
            Self::DecimalPrecision => "it has more digits than the type",
            Self::Nanos => "the nanoseconds within a millisecond are 0 to 999999",
            Self::TimeOfDay => "a time is 0 to 86399999 milliseconds of the day",
            Self::Fraction => FRACTION,
            Self::Span => TIMESTAMP_RANGE,
            Self::Characters => CHARACTERS,
            Self::FixedLength => "it is longer than the fixed length of the type",
            Self::ExactLength => "its length is not that of the type",
            Self::Padding => {
                "it ends in a zero byte: with INDEXED rows and an ARROW changelog the server cuts \
                 it off and can then apply no row of the batch; use COMPACTED for either, or BYTES"
            }
            Self::Size => "it is larger than 2 GiB",
            Self::EmptyKey => "an Iceberg bucket key cannot be empty",
            Self::HudiText => {
                "a Hudi bucket key of several columns has no comma, __null__ or __empty__"
            }
        }
    }
}

impl Slot {
    /// Brings a value that is not null into the column's stored shape.
    #[inline]
    pub(super) fn store(self, datum: Datum<'_>) -> Result<Stored<'_>, Misfit> {
        use {Datum as D, SlotKind as K};
        match (self.kind, datum) {
            (K::I64, D::Int64(value)) => Ok(Stored::I64(value)),
            (K::I32, D::Int32(value)) | (K::Date, D::Date(value)) => Ok(Stored::I32(value)),
            (K::F64, D::Float64(value)) => Ok(Stored::F64(value)),
            (K::F64, D::Float32(value)) => Ok(Stored::F64(f64::from(value))),
            (K::F32, D::Float32(value)) => Ok(Stored::F32(value)),
            (K::Str, D::Str(value)) => Ok(Stored::Bytes(value.as_bytes())),
            (K::Char(_), D::Str(value)) if self.is_too_long(value) => Err(Misfit::Characters),
            (K::Char(_), D::Str(value)) => Ok(Stored::Bytes(value.as_bytes())),
            (K::Binary(width), D::Bytes(value)) if self.exact && value.len() != width as usize => {
                Err(Misfit::ExactLength)
            }
            (K::Binary(_), D::Bytes(value)) if self.solid && value.last() == Some(&0) => {
                Err(Misfit::Padding)
            }
            (K::Binary(_), D::Bytes(value)) if value.len() > self.longest as usize => {
                Err(Misfit::FixedLength)
            }
            (K::Bytes | K::Binary(_), D::Bytes(value)) => Ok(Stored::Bytes(value)),
            (K::Bool, D::Bool(value)) => Ok(Stored::U8(u8::from(value))),
            (K::Time, D::Time(value)) if !(0..DAY).contains(&value) => Err(Misfit::TimeOfDay),
            (K::Time, D::Time(value)) => {
                match Timestamp::from_millis(i64::from(value)).is_finer_than(self.grain) {
                    false => Ok(Stored::I32(value)),
                    true => Err(Misfit::Fraction),
                }
            }
            (K::Timestamp { nanos }, D::Timestamp(value))
            | (K::TimestampLtz { nanos }, D::TimestampLtz(value)) => {
                match i32::try_from(value.nanos).ok().filter(|nanos| *nanos < 1_000_000) {
                    None => Err(Misfit::Nanos),
                    Some(_) if value.is_finer_than(self.grain) => Err(Misfit::Fraction),
                    Some(_) if self.span.is_passed_by(value) => Err(Misfit::Span),
                    Some(rest) if nanos => Ok(Stored::Instant(value.millis, rest)),
                    Some(_) => Ok(Stored::I64(value.millis)),
                }
            }
            (K::Decimal { precision, scale }, D::Decimal(value)) => {
                store_decimal(*value, precision, scale)
            }
            (K::Nested, _) => Err(Misfit::Nested),
            (kind, datum) => store_other(kind, datum),
        }
    }
}

fn store_decimal<'a>(value: Decimal, precision: u8, scale: u8) -> Result<Stored<'a>, Misfit> {
    let unscaled = if value.scale == scale {
        value.unscaled
    } else if let Some(rescaled) = value.rescaled(scale) {
        rescaled.unscaled
    } else if scale < value.scale {
        return Err(Misfit::DecimalScale);
    } else {
        return Err(Misfit::DecimalPrecision);
    };
    let limit = 10_u128.checked_pow(u32::from(precision));
    if limit.is_some_and(|limit| unscaled.unsigned_abs() >= limit) {
        return Err(Misfit::DecimalPrecision);
    }
    match i64::try_from(unscaled) {
        Ok(compact) if precision <= COMPACT_DECIMAL => Ok(Stored::I64(compact)),
        _ => Ok(Stored::Wide(unscaled)),
    }
}

/// Integers of another width than the column's, and all that does not fit.
fn store_other<'a>(kind: SlotKind, datum: Datum<'_>) -> Result<Stored<'a>, Misfit> {
    use SlotKind as K;
    if matches!(kind, K::I8 | K::I16 | K::I32 | K::I64)
        && let Some(value) = datum.as_i64()
    {
        let stored = match kind {
            K::I8 => i8::try_from(value).ok().map(|v| Stored::U8(v.cast_unsigned())),
            K::I16 => i16::try_from(value).ok().map(Stored::I16),
            K::I32 => i32::try_from(value).ok().map(Stored::I32),
            _ => Some(Stored::I64(value)),
        };
        return stored.ok_or(Misfit::Range);
    }
    match (kind, datum) {
        (_, Datum::Null) => Err(Misfit::Null),
        (K::Timestamp { .. }, Datum::TimestampLtz(_))
        | (K::TimestampLtz { .. }, Datum::Timestamp(_)) => Err(Misfit::Zone),
        _ => Err(Misfit::Type),
    }
}

/// The shortest big-endian two's complement of a number, at the end of the 16 bytes; the second
/// part of the result says where it starts.
pub(crate) fn minimal_be(value: i128) -> ([u8; 16], usize) {
    let bytes = value.to_be_bytes();
    let spare = if value < 0 { value.leading_ones() } else { value.leading_zeros() };
    // One bit of the sign must stay.
    (bytes, (spare.saturating_sub(1) / 8) as usize)
}

/// Reads what [`minimal_be`] wrote; longer than necessary is accepted. None for no bytes or more
/// than 16.
pub(super) fn from_be(bytes: &[u8]) -> Option<i128> {
    let first = *bytes.first()?;
    let start = 16_usize.checked_sub(bytes.len())?;
    let mut wide = [if first & 0x80 == 0 { 0 } else { 0xff }; 16];
    wide[start..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

/// The columns of a row as the encoders and decoders of all binary formats see them.
#[derive(Clone, Debug)]
pub struct RowLayout {
    schema: super::Schema,
    rules: Rules,
    pub(super) slots: Box<[Slot]>,
    /// The parts of the nested columns; empty if no column is.
    inner: Box<[Option<Inner>]>,
}

impl RowLayout {
    /// The layout of a schema's rows.
    #[must_use]
    pub fn new(schema: &super::Schema) -> Self {
        Self::with_rules(schema.clone(), Rules::default())
    }

    fn with_rules(schema: super::Schema, rules: Rules) -> Self {
        let slot = |column: &super::Column| Slot::new(&column.data_type, rules);
        let slots = schema.columns().iter().map(slot).collect();
        let inner = inner(&schema, rules);
        Self { schema, rules, slots, inner }
    }

    /// The same layout for rows that end in Arrow, be it a server's or a reader's: BINARY values
    /// must have the length of their type, and a TIMESTAMP must fit the 64 bits that it has there.
    /// The formats of rows take any, which then cannot be read as columns.
    #[must_use]
    pub(crate) fn within_arrow(self) -> Self {
        let rules = Rules { columnar: true, ..self.rules };
        Self::with_rules(self.schema, rules)
    }

    /// The same layout for INDEXED rows that a server reads and then has to write down in Arrow:
    /// none of their BINARY values may end in a zero byte, which it takes for padding.
    #[must_use]
    pub(crate) fn with_solid_binary(self) -> Self {
        let rules = Rules { solid: true, ..self.rules };
        Self::with_rules(self.schema, rules)
    }

    /// The same layout for rows of tables: a CHAR or BINARY value may not be longer than its type,
    /// and a TIME or TIMESTAMP may not have more digits of a second. The formats take them, or drop
    /// them silently.
    #[must_use]
    pub(crate) fn strict(self) -> Self {
        let rules = Rules { strict: true, ..self.rules };
        Self::with_rules(self.schema, rules)
    }

    /// The parts of a nested column, None for a scalar.
    pub(super) fn inner(&self, column: usize) -> Option<&Inner> {
        self.inner.get(column)?.as_ref()
    }

    /// The schema the rows have.
    #[must_use]
    pub fn schema(&self) -> &super::Schema {
        &self.schema
    }

    /// The number of columns.
    #[must_use]
    pub fn arity(&self) -> usize {
        self.slots.len()
    }

    /// The number of bytes of null bits in front of a row.
    pub(super) fn null_bytes(&self) -> usize {
        self.slots.len().div_ceil(8)
    }

    #[cold]
    pub(super) fn misfit(&self, column: usize, misfit: Misfit, datum: Datum<'_>) -> RowError {
        let column = &self.schema.columns()[column];
        misfit.error(&column.name, &column.data_type, datum)
    }

    #[cold]
    pub(super) fn deep(&self, column: usize, deep: &Deep) -> RowError {
        let column = &self.schema.columns()[column];
        deep.error(&column.name, &column.data_type)
    }

    #[cold]
    pub(super) fn arity_error(&self, got: usize) -> RowError {
        RowError::arity(self.arity(), got)
    }
}

fn inner(schema: &super::Schema, rules: Rules) -> Box<[Option<Inner>]> {
    if schema.columns().iter().all(|column| column.data_type.kind.is_scalar()) {
        return Box::default();
    }
    schema.columns().iter().map(|column| Inner::new(&column.data_type, rules)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_decimals_take_as_few_bytes_as_their_sign_allows() {
        for (value, hex) in [
            (0_i128, &[0_u8][..]),
            (-1, &[0xff]),
            (127, &[0x7f]),
            (128, &[0, 0x80]),
            (-128, &[0x80]),
            (-129, &[0xff, 0x7f]),
            (i128::MAX, &i128::MAX.to_be_bytes()),
            (i128::MIN, &i128::MIN.to_be_bytes()),
        ] {
            let (bytes, start) = minimal_be(value);
            assert_eq!(&bytes[start..], hex, "{value}");
            assert_eq!(from_be(hex), Some(value));
        }
        assert_eq!(from_be(&[]), None);
        assert_eq!(from_be(&[0; 17]), None);
        assert_eq!(from_be(&[0xff, 0xff, 0xfe]), Some(-2), "not the shortest, but readable");
    }
}
