//! Lists, maps and structs within a row: put together first, as serde shows each part for a moment
//! only.

use serde_core::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple, SerializeTupleStruct,
};

use super::Fail;
use super::value::{Name, Target, ValueSerializer, Within};
use crate::row::error::RowErrorKind;
use crate::row::{DataType, Datum, Field, OwnedDatum, TypeKind};

/// Memory is set aside for this many parts at most, whatever a value claims to have.
const MAX_AHEAD: usize = 1024;
const PAIRS: &str = "a MAP has pairs of a key and a value";
/// What an element of a list of bytes is read as.
const BYTE: DataType = DataType::SMALLINT;

/// A nested value in the making.
pub(super) struct Parts<T> {
    target: T,
    /// Elements, or fields that were given by position.
    items: Vec<OwnedDatum>,
    bytes: Vec<u8>,
    entries: Vec<(OwnedDatum, OwnedDatum)>,
    /// The key whose value comes next.
    key: OwnedDatum,
    /// The field whose value comes next, and which ones came.
    field: Option<usize>,
    seen: Vec<bool>,
    /// Whether fields of a ROW come by name, and not by position.
    named: bool,
}

impl<T: Target> Parts<T> {
    pub(super) fn new(target: T, length: usize, named: bool) -> Self {
        let ahead = length.min(MAX_AHEAD);
        let mut parts = Self {
            target,
            items: Vec::new(),
            bytes: Vec::new(),
            entries: Vec::new(),
            key: OwnedDatum::Null,
            field: None,
            seen: Vec::new(),
            named,
        };
        match parts.kind() {
            Some(TypeKind::Map(..)) => parts.entries.reserve(ahead),
            Some(TypeKind::Bytes | TypeKind::Binary(_)) => parts.bytes.reserve(ahead),
            _ => parts.items.reserve(ahead),
        }
        parts
    }

    fn kind(&self) -> Option<&TypeKind> {
        self.target.data_type().map(|data_type| &data_type.kind)
    }

    fn fields(&self) -> &[Field] {
        if let Some(TypeKind::Row(fields)) = self.kind() { fields } else { &[] }
    }

    fn item<V: Serialize + ?Sized>(&mut self, value: &V) -> Result<(), Fail<T::Error>> {
        let at = self.items.len();
        let data_type = match self.kind() {
            Some(TypeKind::Array(element)) => &**element,
            Some(TypeKind::Row(fields)) => match fields.get(at) {
                Some(field) => &field.data_type,
                None => return Err(self.too_many(at)),
            },
            Some(TypeKind::Map(..)) => return self.pair(value),
            _ => return self.byte(value),
        };
        let item = value.serialize(ValueSerializer::new(Within::new(data_type)));
        let item = item.map_err(|fail: Fail<T::Error>| match self.fields().get(at) {
            Some(field) => fail.below(&format!(".{}", field.name)),
            None => fail.below(&format!("[{at}]")),
        })?;
        self.items.push(item);
        Ok(())
    }

    #[cold]
    fn too_many(&self, at: usize) -> Fail<T::Error> {
        self.target.refuse(Datum::Row(&vec![Datum::Null; at + 1]), crate::row::FIELDS)
    }

    fn byte<V: Serialize + ?Sized>(&mut self, value: &V) -> Result<(), Fail<T::Error>> {
        let at = self.bytes.len();
        let item = value.serialize(ValueSerializer::new(Within::new(&BYTE)));
        let item = item.map_err(|fail: Fail<T::Error>| fail.below(&format!("[{at}]")))?;
        let byte = item.as_datum().as_i64().and_then(|value| u8::try_from(value).ok());
        let Some(byte) = byte else {
            let fail = self.target.refuse(item.as_datum(), "a list of bytes has 0 to 255");
            return Err(fail.below(&format!("[{at}]")));
        };
        self.bytes.push(byte);
        Ok(())
    }

    /// An entry of a MAP that is a list of pairs.
    fn pair<V: Serialize + ?Sized>(&mut self, value: &V) -> Result<(), Fail<T::Error>> {
        let Some(TypeKind::Map(key, of_value)) = self.kind() else { return Err(Fail::nameless()) };
        let fields = vec![
            Field::new("key", DataType::clone(key)),
            Field::new("value", DataType::clone(of_value)),
        ];
        let pair = DataType::row(fields);
        let at = self.entries.len();
        let item = value.serialize(ValueSerializer::new(Within::new(&pair)));
        let item = item.map_err(|fail: Fail<T::Error>| fail.below(&format!("[{at}]")))?;
        let mut parts = match item {
            OwnedDatum::Row(parts) => parts.into_iter(),
            other => {
                let fail = self.target.refuse(other.as_datum(), PAIRS);
                return Err(fail.below(&format!("[{at}]")));
            }
        };
        let (Some(key), Some(value), None) = (parts.next(), parts.next(), parts.next()) else {
            let (field, reason) = (format!("[{at}]"), PAIRS.to_owned());
            return Err(Fail::Row(RowErrorKind::Unserializable { field, reason }));
        };
        self.entries.push((key, value));
        Ok(())
    }

    /// Notes which field's value comes next.
    fn expect(&mut self, name: &str) -> Result<(), Fail<T::Error>> {
        let fields = self.fields();
        let count = fields.len();
        let Some(at) = fields.iter().position(|field| field.name == name) else {
            let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            let (field, columns) = (format!(".{name}"), names.join(", "));
            return Err(Fail::Row(RowErrorKind::UnknownField { field, columns }));
        };
        if self.seen.is_empty() {
            self.seen = vec![false; count];
            self.items = vec![OwnedDatum::Null; count];
        }
        if std::mem::replace(&mut self.seen[at], true) {
            return Err(Fail::Row(RowErrorKind::DoubledField(format!(".{name}"))));
        }
        self.field = Some(at);
        Ok(())
    }

    fn field<V: Serialize + ?Sized>(&mut self, value: &V) -> Result<(), Fail<T::Error>> {
        let Some(at) = self.field.take() else { return Ok(()) };
        let field = &self.fields()[at];
        let item = value.serialize(ValueSerializer::new(Within::new(&field.data_type)));
        let item = item.map_err(|fail: Fail<T::Error>| fail.below(&format!(".{}", field.name)))?;
        self.items[at] = item;
        Ok(())
    }

    fn finish(mut self) -> Result<T::Ok, Fail<T::Error>> {
        let fields = self.fields();
        if let Some(TypeKind::Row(_)) = self.kind()
            && self.named
            && self.items.is_empty()
        {
            // No field was named: all of them are missing.
            self.items = vec![OwnedDatum::Null; fields.len()];
            self.seen = vec![false; self.items.len()];
        }
        for (seen, field) in self.seen.iter().zip(self.fields()) {
            if !seen && !field.data_type.nullable {
                let column = format!(".{}", field.name);
                let expected = field.data_type.to_string();
                return Err(Fail::Row(RowErrorKind::Missing { column, expected }));
            }
        }
        let Self { target, items, bytes, entries, .. } = self;
        match target.data_type().map(|data_type| &data_type.kind) {
            Some(TypeKind::Map(..)) => target.put(Datum::Map(&entries)),
            Some(TypeKind::Row(_)) => target.put(Datum::Row(&items)),
            Some(TypeKind::Array(_)) => target.put(Datum::Array(&items)),
            _ => target.put(Datum::Bytes(&bytes)),
        }
    }
}

macro_rules! lists {
    ($($list:ident, $method:ident;)*) => {$(
        impl<T: Target> $list for Parts<T> {
            type Ok = T::Ok;
            type Error = Fail<T::Error>;

            fn $method<V: Serialize + ?Sized>(&mut self, value: &V) -> Result<(), Self::Error> {
                self.item(value)
            }

            fn end(self) -> Result<T::Ok, Self::Error> {
                self.finish()
            }
        }
    )*};
}

lists! {
    SerializeSeq, serialize_element;
    SerializeTuple, serialize_element;
    SerializeTupleStruct, serialize_field;
}

impl<T: Target> SerializeMap for Parts<T> {
    type Ok = T::Ok;
    type Error = Fail<T::Error>;

    fn serialize_key<V: Serialize + ?Sized>(&mut self, key: &V) -> Result<(), Self::Error> {
        let Some(TypeKind::Map(data_type, _)) = self.kind() else {
            return key.serialize(Name(|name: &str| self.expect(name)));
        };
        let read = key.serialize(ValueSerializer::new(Within::new(data_type)));
        let at = self.entries.len();
        self.key = read.map_err(|fail: Fail<T::Error>| fail.below(&format!("[{at}].key")))?;
        Ok(())
    }

    fn serialize_value<V: Serialize + ?Sized>(&mut self, value: &V) -> Result<(), Self::Error> {
        let Some(TypeKind::Map(_, data_type)) = self.kind() else { return self.field(value) };
        let read = value.serialize(ValueSerializer::new(Within::new(data_type)));
        let at = self.entries.len();
        let value = read.map_err(|fail: Fail<T::Error>| fail.below(&format!("[{at}].value")))?;
        let key = std::mem::replace(&mut self.key, OwnedDatum::Null);
        self.entries.push((key, value));
        Ok(())
    }

    fn end(self) -> Result<T::Ok, Self::Error> {
        self.finish()
    }
}

impl<T: Target> SerializeStruct for Parts<T> {
    type Ok = T::Ok;
    type Error = Fail<T::Error>;

    fn serialize_field<V: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &V,
    ) -> Result<(), Self::Error> {
        self.expect(name)?;
        self.field(value)
    }

    fn end(self) -> Result<T::Ok, Self::Error> {
        self.finish()
    }
}
