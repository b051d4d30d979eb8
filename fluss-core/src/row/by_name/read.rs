//! Rows read into applications' own structs: fields find their columns by name.
//!
//! The visitor of a struct is shown the columns in their order, each with its name, so nothing is
//! searched for and nothing is copied: texts and bytes are borrowed from the batch.

mod value;

use std::fmt::{self, Display, Formatter};

use serde_core::de::value::BorrowedStrDeserializer;
use serde_core::de::{
    self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor,
};
use serde_core::forward_to_deserialize_any;

use crate::batch::RowView;
use crate::row::error::shorten;
use crate::row::{Column, Datum, Field, Items, OwnedRow, Schema, TypeKind};
use value::ValueReader;

/// Why a row does not become a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowReadError {
    column: String,
    reason: String,
}

impl RowReadError {
    /// The column, which is also the name of the field; the path to the value within a column of
    /// several values, as `place.city`; empty if it is about the row as a whole.
    #[must_use]
    pub fn column(&self) -> &str {
        &self.column
    }

    /// What is wrong with it.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The error as it is seen from outside: this step before it.
    #[cold]
    fn below(mut self, step: &str) -> Self {
        let point = if self.column.is_empty() || self.column.starts_with('[') { "" } else { "." };
        self.column.insert_str(0, point);
        self.column.insert_str(0, step);
        self
    }
}

impl Display for RowReadError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.column.is_empty() {
            write!(f, "column `{}`: ", self.column)?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for RowReadError {}

impl de::Error for RowReadError {
    fn custom<T: Display>(reason: T) -> Self {
        Self { column: String::new(), reason: reason.to_string() }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format_args!("there is no column for the field `{field}`"))
    }
}

impl<'a> RowView<'a> {
    /// The row as a struct, or whatever else is `Deserialize`: a struct's fields and a map's keys
    /// are columns, by name; a tuple has the columns in their order. Texts and bytes can be
    /// borrowed from the batch, and nothing is allocated but what the value owns.
    ///
    /// | column | fits |
    /// |---|---|
    /// | BOOLEAN | `bool` |
    /// | TINYINT, SMALLINT, INT, BIGINT | every integer type that the value fits |
    /// | FLOAT, DOUBLE | `f32`, `f64` |
    /// | DECIMAL | [`Decimal`](crate::row::Decimal); what reads a text like `"-12.30"` |
    /// | CHAR, STRING | `&str`, `String`, `char`, enums without data |
    /// | BINARY, BYTES | `&[u8]`, `serde_bytes`; `Vec<u8>` |
    /// | DATE | what reads a text like `"2026-11-20"`; an integer: days since 1970-01-01 |
    /// | TIME | what reads a text like `"10:00:00.5"`; an integer: milliseconds of the day |
    /// | TIMESTAMP | [`Timestamp`](crate::row::Timestamp); a text like `"2026-11-20T10:00:00.5"` |
    /// | TIMESTAMP_LTZ | the same, with a `Z` behind the text |
    /// | ARRAY | a list |
    /// | MAP | a map, a list of pairs |
    /// | ROW | a struct or a map, by name; a tuple, by position |
    /// | any of these, null | `Option`, `()` |
    ///
    /// ```
    /// use fluss_core::row::{Decimal, OwnedDatum, OwnedRow, Schema, DataType};
    /// use serde::Deserialize;
    ///
    /// #[derive(Deserialize, Debug, PartialEq)]
    /// struct Order<'a> {
    ///     customer: &'a str,
    ///     id: i32,
    ///     note: Option<&'a str>,
    /// }
    ///
    /// // for row in batch.rows()?.iter() { let order: Order<'_> = row.to()?; }, or as here:
    /// let schema = Schema::builder()
    ///     .column("id", DataType::BIGINT)
    ///     .column("customer", DataType::STRING)
    ///     .build()?;
    /// let row = OwnedRow::new(vec![OwnedDatum::Int64(7), OwnedDatum::Str("ada".into())]);
    /// let order: Order<'_> = row.to(&schema)?;
    /// assert_eq!(order, Order { customer: "ada", id: 7, note: None });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// With the column: a value that its field does not take, null for a field that is no `Option`.
    /// A field that has no column, unless it is an `Option` or has a default.
    pub fn to<T: Deserialize<'a>>(&self) -> Result<T, RowReadError> {
        let row =
            Fields { names: Names::Columns(self.schema().columns()), values: Values::View(*self) };
        T::deserialize(row).map_err(|error| row.explain(error))
    }
}

impl OwnedRow {
    /// The row as a struct, see [`RowView::to`]; `schema` has its columns: for rows that were
    /// looked up, that of their table.
    ///
    /// # Errors
    /// As for [`RowView::to`].
    pub fn to<'a, T: Deserialize<'a>>(&'a self, schema: &'a Schema) -> Result<T, RowReadError> {
        let row = Fields { names: Names::Columns(schema.columns()), values: Values::Owned(self) };
        T::deserialize(row).map_err(|error| row.explain(error))
    }
}

/// The names and types of a row's values.
#[derive(Clone, Copy)]
enum Names<'a> {
    Columns(&'a [Column]),
    Fields(&'a [Field]),
}

/// The values of a row.
#[derive(Clone, Copy)]
enum Values<'a> {
    View(RowView<'a>),
    Owned(&'a OwnedRow),
    Items(&'a dyn Items),
}

/// A row, or a ROW within one.
#[derive(Clone, Copy)]
struct Fields<'a> {
    names: Names<'a>,
    values: Values<'a>,
}

impl<'a> Fields<'a> {
    fn count(&self) -> usize {
        match self.names {
            Names::Columns(columns) => columns.len(),
            Names::Fields(fields) => fields.len(),
        }
    }

    fn name(&self, at: usize) -> Option<(&'a str, &'a TypeKind)> {
        match self.names {
            Names::Columns(columns) => columns.get(at).map(|c| (&*c.name, &c.data_type.kind)),
            Names::Fields(fields) => fields.get(at).map(|f| (&*f.name, &f.data_type.kind)),
        }
    }

    fn value(&self, at: usize) -> Datum<'a> {
        match self.values {
            Values::View(row) => row.value(at).unwrap_or(Datum::Null),
            Values::Owned(row) => row.datum(at).unwrap_or(Datum::Null),
            Values::Items(items) if at < items.count() => items.item(at),
            Values::Items(_) => Datum::Null,
        }
    }

    /// What is wrong with the row as a whole is told with the columns that there are.
    #[cold]
    fn explain(&self, mut error: RowReadError) -> RowReadError {
        if error.column.is_empty() {
            let names: Vec<&str> =
                (0..self.count()).filter_map(|at| self.name(at)).map(|n| n.0).collect();
            error.reason = format!("{}; the row has: {}", error.reason, shorten(&names.join(", ")));
        }
        error
    }
}

impl<'de> Deserializer<'de> for Fields<'de> {
    type Error = RowReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowReadError> {
        visitor.visit_map(Pass { fields: self, at: 0 })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowReadError> {
        visitor.visit_seq(Pass { fields: self, at: 0 })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, RowReadError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, RowReadError> {
        self.deserialize_seq(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct map struct enum identifier ignored_any
    }
}

/// One pass over the fields.
struct Pass<'a> {
    fields: Fields<'a>,
    at: usize,
}

impl<'a> Pass<'a> {
    fn next<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>, RowReadError> {
        let Some((name, kind)) = self.fields.name(self.at) else { return Ok(None) };
        let datum = self.fields.value(self.at);
        self.at += 1;
        let read = seed.deserialize(ValueReader { datum, kind });
        read.map(Some).map_err(|error| error.below(name))
    }
}

impl<'a> MapAccess<'a> for Pass<'a> {
    type Error = RowReadError;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, RowReadError> {
        let Some((name, _)) = self.fields.name(self.at) else { return Ok(None) };
        seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'a>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, RowReadError> {
        self.next(seed)?.ok_or_else(|| de::Error::custom("a value was asked for behind the last"))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.fields.count().saturating_sub(self.at))
    }
}

impl<'a> SeqAccess<'a> for Pass<'a> {
    type Error = RowReadError;

    fn next_element_seed<S: DeserializeSeed<'a>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, RowReadError> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.fields.count().saturating_sub(self.at))
    }
}

#[cfg(test)]
mod tests;
