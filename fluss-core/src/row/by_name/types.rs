//! The value types of this crate as serde sees them: texts for people, a few bytes for others.
//!
//! A DECIMAL and a point in time go into a row as these bytes, recognised by the name of the type.

use serde_core::de::{self, Deserialize, Deserializer, Visitor};
use serde_core::ser::{Serialize, Serializer};

use crate::row::{Datum, Decimal, Timestamp, TypeKind, text};

const TIMESTAMP: &str = "fluss::Timestamp";
const DECIMAL: &str = "fluss::Decimal";

/// Which type the bytes are of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Raw {
    Timestamp,
    Decimal,
}

/// What the bytes mean.
pub(super) enum Read<'a> {
    Decimal(Decimal),
    Datum(Datum<'a>),
}

impl Raw {
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            TIMESTAMP => Some(Self::Timestamp),
            DECIMAL => Some(Self::Decimal),
            _ => None,
        }
    }

    /// Reads the bytes for a column of this type.
    pub(super) fn read<'a>(self, kind: Option<&TypeKind>, bytes: &'a [u8]) -> Read<'a> {
        let read = match self {
            Self::Timestamp => timestamp_of(bytes).map(|point| match kind {
                Some(TypeKind::TimestampLtz(_)) => Read::Datum(Datum::TimestampLtz(point)),
                _ => Read::Datum(Datum::Timestamp(point)),
            }),
            Self::Decimal => decimal_of(bytes).map(Read::Decimal),
        };
        read.unwrap_or(Read::Datum(Datum::Bytes(bytes)))
    }
}

/// How a text for a column of this type is to be written.
pub(super) fn example(kind: Option<&TypeKind>) -> &'static str {
    match kind {
        Some(TypeKind::Date) => "write it like 2026-11-20",
        Some(TypeKind::Time(_)) => "write it like 23:59:59.123",
        Some(TypeKind::Timestamp(_)) => "write it like 2026-11-20T10:00:00.123",
        Some(TypeKind::TimestampLtz(_)) => "write it like 2026-11-20T10:00:00.123Z, in UTC",
        _ => "give a value of the column's type",
    }
}

fn timestamp_of(bytes: &[u8]) -> Option<Timestamp> {
    let (millis, nanos) = bytes.split_first_chunk::<8>()?;
    let nanos = u32::from_le_bytes(nanos.try_into().ok()?);
    Some(Timestamp { millis: i64::from_le_bytes(*millis), nanos })
}

fn decimal_of(bytes: &[u8]) -> Option<Decimal> {
    let (unscaled, rest) = bytes.split_first_chunk::<16>()?;
    let &[scale] = rest else { return None };
    Some(Decimal::new(i128::from_le_bytes(*unscaled), scale))
}

/// What [`timestamp_of`] reads.
pub(super) fn timestamp_bytes(point: Timestamp) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&point.millis.to_le_bytes());
    bytes[8..].copy_from_slice(&point.nanos.to_le_bytes());
    bytes
}

/// What [`decimal_of`] reads.
pub(super) fn decimal_bytes(decimal: Decimal) -> [u8; 17] {
    let mut bytes = [0; 17];
    bytes[..16].copy_from_slice(&decimal.unscaled.to_le_bytes());
    bytes[16] = decimal.scale;
    bytes
}

/// The bytes, or the text, in the newtype around them.
struct Form<'a, T>(&'a T);

impl Serialize for Form<'_, Timestamp> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(&text::format_timestamp(*self.0));
        }
        serializer.serialize_bytes(&timestamp_bytes(*self.0))
    }
}

impl Serialize for Form<'_, Decimal> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self.0);
        }
        serializer.serialize_bytes(&decimal_bytes(*self.0))
    }
}

/// For people a text like `2026-11-20T10:00:00.5`; otherwise 12 bytes, milliseconds and
/// nanoseconds, little-endian.
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(TIMESTAMP, &Form(self))
    }
}

/// For people a text like `-12.30`; otherwise 17 bytes, the digits as a little-endian integer and
/// the scale.
impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(DECIMAL, &Form(self))
    }
}

/// Reads either form of a type.
struct FormVisitor<T> {
    expected: &'static str,
    of_text: fn(&str) -> Option<T>,
    of_bytes: fn(&[u8]) -> Option<T>,
}

impl<'de, T> Visitor<'de> for FormVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.of_text)(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<T, E> {
        (self.of_bytes)(bytes).ok_or_else(|| E::invalid_value(de::Unexpected::Bytes(bytes), &self))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<T, D::Error> {
        if inner.is_human_readable() {
            inner.deserialize_str(self)
        } else {
            inner.deserialize_bytes(self)
        }
    }
}

/// Reads what is written; a text may end in `Z`.
impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let of_text = |text: &str| {
            let local = text.strip_suffix('Z').unwrap_or(text);
            text::parse_timestamp(local).ok()
        };
        let expected = "a timestamp like 2026-11-20T10:00:00.5";
        let visitor = FormVisitor { expected, of_text, of_bytes: timestamp_of };
        deserializer.deserialize_newtype_struct(TIMESTAMP, visitor)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let of_text = |text: &str| text.parse().ok();
        let expected = "a decimal number like \"-12.30\"";
        let visitor = FormVisitor { expected, of_text, of_bytes: decimal_of };
        deserializer.deserialize_newtype_struct(DECIMAL, visitor)
    }
}
