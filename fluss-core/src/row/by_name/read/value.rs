//! One value of a column, as what its field asks for.

use std::fmt::Write as _;

use serde_core::de::value::BorrowedStrDeserializer;
use serde_core::de::{
    self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};

use super::{Fields, Names, Pass, RowReadError, Values};
use crate::row::by_name::types::{Raw, decimal_bytes, timestamp_bytes};
use crate::row::by_name::value::ShortText;
use crate::row::text::{write_date, write_time, write_timestamp};
use crate::row::{DataType, Datum, Entries, Items, Timestamp, TypeKind};

const TOO_LONG: &str = "a value with too many digits";

type Read<T> = Result<T, RowReadError>;

/// A value and the type of its column.
#[derive(Clone, Copy)]
pub(super) struct ValueReader<'a> {
    pub(super) datum: Datum<'a>,
    pub(super) kind: &'a TypeKind,
}

fn of<'a>(datum: Datum<'a>, data_type: &'a DataType) -> ValueReader<'a> {
    ValueReader { datum, kind: &data_type.kind }
}

impl<'a> ValueReader<'a> {
    /// The value for whatever takes something of its kind.
    fn scalar<V: Visitor<'a>>(self, visitor: V) -> Read<V::Value> {
        match self.datum {
            Datum::Null => Err(de::Error::invalid_type(Unexpected::Other("null"), &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    /// For fields that are integers.
    fn integer<V: Visitor<'a>>(self, visitor: V) -> Read<V::Value> {
        match self.datum {
            Datum::Date(value) | Datum::Time(value) => visitor.visit_i32(value),
            _ => self.scalar(visitor),
        }
    }

    fn row(self, items: &'a dyn Items) -> Option<Pass<'a>> {
        let TypeKind::Row(fields) = self.kind else { return None };
        let fields = Fields { names: Names::Fields(fields), values: Values::Items(items) };
        Some(Pass { fields, at: 0 })
    }
}

/// A value as a text that nobody keeps.
fn text<'a, V: Visitor<'a>>(
    visitor: V,
    write: impl FnOnce(&mut ShortText) -> std::fmt::Result,
) -> Read<V::Value> {
    let mut text = ShortText::default();
    let written = write(&mut text).ok().and_then(|()| text.as_str());
    visitor.visit_str(written.ok_or_else(|| <RowReadError as de::Error>::custom(TOO_LONG))?)
}

macro_rules! as_whatever_it_is {
    ($by:ident: $($method:ident)*) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Read<V::Value> {
            self.$by(visitor)
        }
    )*};
}

impl<'a> Deserializer<'a> for ValueReader<'a> {
    type Error = RowReadError;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Read<V::Value> {
        match self.datum {
            Datum::Null => visitor.visit_unit(),
            Datum::Bool(value) => visitor.visit_bool(value),
            Datum::Int8(value) => visitor.visit_i8(value),
            Datum::Int16(value) => visitor.visit_i16(value),
            Datum::Int32(value) => visitor.visit_i32(value),
            Datum::Int64(value) => visitor.visit_i64(value),
            Datum::Float32(value) => visitor.visit_f32(value),
            Datum::Float64(value) => visitor.visit_f64(value),
            Datum::Decimal(value) => text(visitor, |out| write!(out, "{value}")),
            Datum::Str(value) => visitor.visit_borrowed_str(value),
            Datum::Bytes(value) => visitor.visit_borrowed_bytes(value),
            Datum::Date(days) => text(visitor, |out| write_date(out, days.into())),
            Datum::Time(millis) => text(visitor, |out| write_time(out, millis.into(), 0)),
            Datum::Timestamp(value) => text(visitor, |out| write_timestamp(out, value)),
            Datum::TimestampLtz(value) => text(visitor, |out| {
                write_timestamp(out, value)?;
                out.write_char('Z')
            }),
            Datum::Array(_) => self.deserialize_seq(visitor),
            Datum::Map(_) | Datum::Row(_) => self.deserialize_map(visitor),
        }
    }

    as_whatever_it_is! { scalar:
        deserialize_bool deserialize_f32 deserialize_f64 deserialize_char deserialize_str
        deserialize_string deserialize_bytes deserialize_byte_buf deserialize_identifier
    }

    as_whatever_it_is! { integer:
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    as_whatever_it_is! { deserialize_any: deserialize_unit }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Read<V::Value> {
        if self.datum.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Read<V::Value> {
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Read<V::Value> {
        match (Raw::of(name), self.datum) {
            (None, _) => visitor.visit_newtype_struct(self),
            (Some(Raw::Decimal), Datum::Decimal(value)) => {
                visitor.visit_bytes(&decimal_bytes(*value))
            }
            (Some(Raw::Timestamp), Datum::Timestamp(value) | Datum::TimestampLtz(value)) => {
                let value: Timestamp = value;
                visitor.visit_bytes(&timestamp_bytes(value))
            }
            (Some(_), _) => self.scalar(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Read<V::Value> {
        match (self.datum, self.kind) {
            (Datum::Array(items), TypeKind::Array(element)) => {
                visitor.visit_seq(Elements { items, element, at: 0 })
            }
            (Datum::Map(entries), TypeKind::Map(key, value)) => {
                visitor.visit_seq(Pairs { entries, types: (key, value), at: 0 })
            }
            (Datum::Bytes(bytes), _) => {
                visitor.visit_seq(de::value::SeqDeserializer::new(bytes.iter().copied()))
            }
            (Datum::Row(items), _) => match self.row(items) {
                Some(pass) => visitor.visit_seq(pass),
                None => self.scalar(visitor),
            },
            (Datum::Array(_) | Datum::Map(_), _) => Err(de::Error::custom("of another type")),
            _ => self.scalar(visitor),
        }
    }

    /// A value with more parts than it is asked for would be cut without a word.
    fn deserialize_tuple<V: Visitor<'a>>(self, wanted: usize, visitor: V) -> Read<V::Value> {
        let parts = match self.datum {
            Datum::Array(items) | Datum::Row(items) => items.count(),
            Datum::Map(entries) => entries.count(),
            Datum::Bytes(bytes) => bytes.len(),
            _ => wanted,
        };
        if parts > wanted {
            return Err(de::Error::invalid_length(parts, &visitor));
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        wanted: usize,
        visitor: V,
    ) -> Read<V::Value> {
        self.deserialize_tuple(wanted, visitor)
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Read<V::Value> {
        match (self.datum, self.kind) {
            (Datum::Map(entries), TypeKind::Map(key, value)) => {
                visitor.visit_map(Pairs { entries, types: (key, value), at: 0 })
            }
            (Datum::Row(items), _) => match self.row(items) {
                Some(pass) => visitor.visit_map(pass),
                None => Err(de::Error::custom("of another type")),
            },
            (Datum::Map(_), _) => Err(de::Error::custom("of another type")),
            _ => self.scalar(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Read<V::Value> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Read<V::Value> {
        match self.datum {
            Datum::Str(name) => visitor.visit_enum(BorrowedStrDeserializer::new(name)),
            _ => self.scalar(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Read<V::Value> {
        visitor.visit_unit()
    }
}

/// The elements of an ARRAY.
struct Elements<'a> {
    items: &'a dyn Items,
    element: &'a DataType,
    at: usize,
}

impl<'a> SeqAccess<'a> for Elements<'a> {
    type Error = RowReadError;

    fn next_element_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Read<Option<S::Value>> {
        if self.at >= self.items.count() {
            return Ok(None);
        }
        let at = self.at;
        self.at += 1;
        let read = seed.deserialize(of(self.items.item(at), self.element));
        read.map(Some).map_err(|error| error.below(&format!("[{at}]")))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.count().saturating_sub(self.at))
    }
}

/// The entries of a MAP: as entries, or as pairs.
struct Pairs<'a> {
    entries: &'a dyn Entries,
    types: (&'a DataType, &'a DataType),
    at: usize,
}

impl<'a> Pairs<'a> {
    fn next(&mut self) -> Option<Pair<'a>> {
        if self.at >= self.entries.count() {
            return None;
        }
        let (key, value) = self.entries.entry(self.at);
        self.at += 1;
        Some(Pair { left: 2, key: of(key, self.types.0), value: of(value, self.types.1) })
    }
}

impl<'a> MapAccess<'a> for Pairs<'a> {
    type Error = RowReadError;

    fn next_key_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Read<Option<S::Value>> {
        if self.at >= self.entries.count() {
            return Ok(None);
        }
        let at = self.at;
        let read = seed.deserialize(of(self.entries.entry(at).0, self.types.0));
        read.map(Some).map_err(|error| error.below(&format!("[{at}]")))
    }

    fn next_value_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Read<S::Value> {
        let at = self.at;
        let pair = self.next();
        let pair = pair.ok_or_else(|| <RowReadError as de::Error>::custom("no such entry"))?;
        seed.deserialize(pair.value).map_err(|error| error.below(&format!("[{at}]")))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.count().saturating_sub(self.at))
    }
}

impl<'a> SeqAccess<'a> for Pairs<'a> {
    type Error = RowReadError;

    fn next_element_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Read<Option<S::Value>> {
        let at = self.at;
        let Some(pair) = self.next() else { return Ok(None) };
        let read = seed.deserialize(de::value::SeqAccessDeserializer::new(pair));
        read.map(Some).map_err(|error| error.below(&format!("[{at}]")))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.count().saturating_sub(self.at))
    }
}

/// Key and value of an entry.
struct Pair<'a> {
    left: usize,
    key: ValueReader<'a>,
    value: ValueReader<'a>,
}

impl<'a> SeqAccess<'a> for Pair<'a> {
    type Error = RowReadError;

    fn next_element_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Read<Option<S::Value>> {
        let next = match self.left {
            2 => self.key,
            1 => self.value,
            _ => return Ok(None),
        };
        self.left -= 1;
        seed.deserialize(next).map(Some)
    }
}
