//! One value on its way to its column, or to its place within a nested value.

use std::fmt::{self, Display, Write as _};
use std::marker::PhantomData;

use serde_core::ser::{Impossible, Serialize, Serializer};

use super::Fail;
use super::parts::Parts;
use super::types::{self, Raw};
use crate::row::error::RowErrorKind;
use crate::row::{DataType, Datum, Decimal, OwnedDatum, RowSink, TypeKind, text};

/// Where a value goes.
pub(super) trait Target: Sized {
    type Ok;
    /// The error of the sink in the end.
    type Error;

    fn data_type(&self) -> Option<&DataType>;
    fn put(self, datum: Datum<'_>) -> Result<Self::Ok, Fail<Self::Error>>;

    #[cold]
    fn refuse(&self, datum: Datum<'_>, reason: &'static str) -> Fail<Self::Error> {
        match self.data_type() {
            Some(expected) => Fail::value(datum, expected, reason),
            None => Fail::nameless(),
        }
    }
}

/// A column of the sink.
pub(super) struct ColumnTarget<'s, S> {
    pub(super) sink: &'s mut S,
    pub(super) at: usize,
}

impl<S: RowSink> Target for ColumnTarget<'_, S> {
    type Ok = ();
    type Error = S::Error;

    #[inline]
    fn data_type(&self) -> Option<&DataType> {
        let columns = self.sink.columns()?;
        columns.column(self.at).map(|column| &column.data_type)
    }

    #[inline]
    fn put(self, datum: Datum<'_>) -> Result<(), Fail<S::Error>> {
        self.sink.put(datum).map_err(Fail::Sink)
    }
}

/// A place within a nested value, which is checked as a whole by the sink.
pub(super) struct Within<'t, E> {
    data_type: &'t DataType,
    error: PhantomData<E>,
}

impl<'t, E> Within<'t, E> {
    pub(super) fn new(data_type: &'t DataType) -> Self {
        Self { data_type, error: PhantomData }
    }
}

impl<E> Target for Within<'_, E> {
    type Ok = OwnedDatum;
    type Error = E;

    fn data_type(&self) -> Option<&DataType> {
        Some(self.data_type)
    }

    fn put(self, datum: Datum<'_>) -> Result<OwnedDatum, Fail<E>> {
        Ok(datum.into())
    }
}

pub(super) struct ValueSerializer<T> {
    target: T,
    /// The bytes of a type of ours are expected, see [`types`].
    raw: Option<Raw>,
}

const RANGE: &str = "the number is out of the type's range";
const ENUM: &str = "an enum variant with data has no column type";
const TYPE: &str = "give a value of the column's type";

impl<T: Target> ValueSerializer<T> {
    pub(super) fn new(target: T) -> Self {
        Self { target, raw: None }
    }

    #[inline]
    fn kind(&self) -> Option<&TypeKind> {
        self.target.data_type().map(|data_type| &data_type.kind)
    }

    #[inline]
    fn integer(self, datum: Datum<'_>, value: i64) -> Result<T::Ok, Fail<T::Error>> {
        let narrow = i32::try_from(value);
        match (self.kind(), narrow) {
            (Some(TypeKind::Date), Ok(days)) => self.target.put(Datum::Date(days)),
            (Some(TypeKind::Time(_)), Ok(millis)) => self.target.put(Datum::Time(millis)),
            (Some(TypeKind::Date | TypeKind::Time(_)), Err(_)) => {
                Err(self.target.refuse(datum, RANGE))
            }
            (Some(TypeKind::Decimal { .. }), _) => {
                self.target.put(Datum::Decimal(&Decimal::new(value.into(), 0)))
            }
            _ => self.target.put(datum),
        }
    }

    fn wide(self, value: i128) -> Result<T::Ok, Fail<T::Error>> {
        let decimal = Decimal::new(value, 0);
        match (self.kind(), i64::try_from(value)) {
            (Some(TypeKind::Decimal { .. }), _) => self.target.put(Datum::Decimal(&decimal)),
            (_, Ok(value)) => self.integer(Datum::Int64(value), value),
            (_, Err(_)) => Err(self.target.refuse(Datum::Decimal(&decimal), RANGE)),
        }
    }

    #[inline]
    fn text(self, text: &str) -> Result<T::Ok, Fail<T::Error>> {
        let read = match self.kind() {
            Some(TypeKind::Date) => text::parse_date(text).ok().map(Datum::Date),
            Some(TypeKind::Time(_)) => text::parse_time(text).ok().map(Datum::Time),
            Some(TypeKind::Timestamp(_)) => text::parse_timestamp(text).ok().map(Datum::Timestamp),
            Some(TypeKind::TimestampLtz(_)) => {
                text::parse_timestamp_ltz(text).ok().map(Datum::TimestampLtz)
            }
            Some(TypeKind::Decimal { .. }) => {
                return match text.parse::<Decimal>() {
                    Ok(decimal) => self.target.put(Datum::Decimal(&decimal)),
                    Err(_) => Err(self.target.refuse(Datum::Str(text), "write it like -12.30")),
                };
            }
            _ => return self.target.put(Datum::Str(text)),
        };
        match read {
            Some(datum) => self.target.put(datum),
            None => Err(self.target.refuse(Datum::Str(text), types::example(self.kind()))),
        }
    }

    /// A list, map or struct, or the reason why the column takes none.
    fn parts(
        self,
        (length, named): (usize, bool),
        given: &'static str,
        fits: impl Fn(&TypeKind) -> bool,
    ) -> Result<Parts<T>, Fail<T::Error>> {
        match self.kind() {
            Some(kind) if fits(kind) => Ok(Parts::new(self.target, length, named)),
            // There is no value yet that could be shown.
            _ => Err(self.target.refuse(Datum::Str(given), TYPE)),
        }
    }
}

macro_rules! integers {
    ($($method:ident, $type:ty;)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<T::Ok, Self::Error> {
            self.integer(Datum::from(value), i64::from(value))
        }
    )*};
}

impl<T: Target> Serializer for ValueSerializer<T> {
    type Ok = T::Ok;
    type Error = Fail<T::Error>;
    type SerializeSeq = Parts<T>;
    type SerializeTuple = Parts<T>;
    type SerializeTupleStruct = Parts<T>;
    type SerializeTupleVariant = Impossible<T::Ok, Self::Error>;
    type SerializeMap = Parts<T>;
    type SerializeStruct = Parts<T>;
    type SerializeStructVariant = Impossible<T::Ok, Self::Error>;

    integers! {
        serialize_i8, i8;
        serialize_i16, i16;
        serialize_i32, i32;
        serialize_i64, i64;
        serialize_u8, u8;
        serialize_u16, u16;
        serialize_u32, u32;
    }

    fn serialize_bool(self, value: bool) -> Result<T::Ok, Self::Error> {
        self.target.put(Datum::Bool(value))
    }

    fn serialize_u64(self, value: u64) -> Result<T::Ok, Self::Error> {
        self.wide(value.into())
    }

    fn serialize_i128(self, value: i128) -> Result<T::Ok, Self::Error> {
        self.wide(value)
    }

    fn serialize_u128(self, value: u128) -> Result<T::Ok, Self::Error> {
        match (i128::try_from(value), self.target.data_type()) {
            (Ok(value), _) => self.wide(value),
            // No column type has so many digits, and no datum that could be shown.
            (Err(_), Some(expected)) => {
                let (column, value) = (String::new(), value.to_string());
                let (expected, reason) = (expected.to_string(), RANGE);
                Err(Fail::Row(RowErrorKind::Value { column, value, expected, reason }))
            }
            (Err(_), None) => Err(Fail::nameless()),
        }
    }

    fn serialize_f32(self, value: f32) -> Result<T::Ok, Self::Error> {
        self.target.put(Datum::Float32(value))
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<T::Ok, Self::Error> {
        self.target.put(Datum::Float64(value))
    }

    fn serialize_char(self, value: char) -> Result<T::Ok, Self::Error> {
        self.text(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<T::Ok, Self::Error> {
        self.text(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<T::Ok, Self::Error> {
        match self.raw {
            None => self.target.put(Datum::Bytes(value)),
            Some(raw) => match raw.read(self.kind(), value) {
                types::Read::Decimal(decimal) => self.target.put(Datum::Decimal(&decimal)),
                types::Read::Datum(datum) => self.target.put(datum),
            },
        }
    }

    fn serialize_none(self) -> Result<T::Ok, Self::Error> {
        self.target.put(Datum::Null)
    }

    #[inline]
    fn serialize_some<V: Serialize + ?Sized>(self, value: &V) -> Result<T::Ok, Self::Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<T::Ok, Self::Error> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<T::Ok, Self::Error> {
        self.serialize_none()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<T::Ok, Self::Error> {
        self.text(variant)
    }

    fn serialize_newtype_struct<V: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &V,
    ) -> Result<T::Ok, Self::Error> {
        value.serialize(Self { raw: Raw::of(name), ..self })
    }

    fn serialize_newtype_variant<V: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: &V,
    ) -> Result<T::Ok, Self::Error> {
        Err(self.target.refuse(Datum::Str(variant), ENUM))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Parts<T>, Self::Error> {
        self.parts((length.unwrap_or(0), false), "a list", |kind| {
            !kind.is_scalar() || matches!(kind, TypeKind::Bytes | TypeKind::Binary(_))
        })
    }

    fn serialize_tuple(self, length: usize) -> Result<Parts<T>, Self::Error> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        length: usize,
    ) -> Result<Parts<T>, Self::Error> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Self::Error> {
        Err(self.target.refuse(Datum::Str(variant), ENUM))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Parts<T>, Self::Error> {
        let fits = |kind: &TypeKind| matches!(kind, TypeKind::Map(..) | TypeKind::Row(_));
        self.parts((length.unwrap_or(0), true), "a map", fits)
    }

    fn serialize_struct(self, name: &'static str, length: usize) -> Result<Parts<T>, Self::Error> {
        self.parts((length, true), name, |kind| matches!(kind, TypeKind::Row(_)))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Self::Error> {
        Err(self.target.refuse(Datum::Str(variant), ENUM))
    }

    fn collect_str<V: Display + ?Sized>(self, value: &V) -> Result<T::Ok, Self::Error> {
        let mut text = ShortText::default();
        match write!(text, "{value}").ok().and_then(|()| text.as_str()) {
            Some(text) => self.text(text),
            None => self.text(&value.to_string()),
        }
    }

    fn is_human_readable(&self) -> bool {
        self.raw.is_none()
    }
}

/// A text of a few bytes, enough for every time, number and id.
pub(super) struct ShortText {
    bytes: [u8; 64],
    length: usize,
}

impl Default for ShortText {
    fn default() -> Self {
        Self { bytes: [0; 64], length: 0 }
    }
}

impl ShortText {
    pub(super) fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes.get(..self.length)?).ok()
    }
}

impl fmt::Write for ShortText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let room = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Reads the key of a map's entry where it is the name of a column or field.
pub(super) struct Name<F>(pub(super) F);

macro_rules! no_names {
    ($($method:ident($($type:ty),*);)*) => {$(
        fn $method(self, $(_: $type),*) -> Result<Self::Ok, Self::Error> {
            Err(Fail::not_a_row(NO_NAME))
        }
    )*};
}

const NO_NAME: &str = "the keys of a map that is a row are texts";

impl<R, E, F: FnOnce(&str) -> Result<R, Fail<E>>> Serializer for Name<F> {
    type Ok = R;
    type Error = Fail<E>;
    type SerializeSeq = Impossible<R, Fail<E>>;
    type SerializeTuple = Impossible<R, Fail<E>>;
    type SerializeTupleStruct = Impossible<R, Fail<E>>;
    type SerializeTupleVariant = Impossible<R, Fail<E>>;
    type SerializeMap = Impossible<R, Fail<E>>;
    type SerializeStruct = Impossible<R, Fail<E>>;
    type SerializeStructVariant = Impossible<R, Fail<E>>;

    no_names! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
    }

    fn serialize_char(self, name: char) -> Result<R, Fail<E>> {
        (self.0)(name.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, name: &str) -> Result<R, Fail<E>> {
        (self.0)(name)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<R, Fail<E>> {
        (self.0)(variant)
    }

    fn serialize_some<V: Serialize + ?Sized>(self, name: &V) -> Result<R, Fail<E>> {
        name.serialize(self)
    }

    fn serialize_newtype_struct<V: Serialize + ?Sized>(
        self,
        _: &'static str,
        name: &V,
    ) -> Result<R, Fail<E>> {
        name.serialize(self)
    }

    fn serialize_newtype_variant<V: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &V,
    ) -> Result<R, Fail<E>> {
        Err(Fail::not_a_row(NO_NAME))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Fail<E>> {
        Err(Fail::not_a_row(NO_NAME))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Fail<E>> {
        Err(Fail::not_a_row(NO_NAME))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Fail<E>> {
        Err(Fail::not_a_row(NO_NAME))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Fail<E>> {
        Err(Fail::not_a_row(NO_NAME))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Fail<E>> {
        Err(Fail::not_a_row(NO_NAME))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Fail<E>> {
        Err(Fail::not_a_row(NO_NAME))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Fail<E>> {
        Err(Fail::not_a_row(NO_NAME))
    }
}
