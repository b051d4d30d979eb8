//! Rows made of applications' own structs, through serde: fields find their columns by name.
//!
//! A field is written the moment serde shows it, straight into the open batch. A struct whose
//! fields stand in the order of the columns is looked at once; for every field that stands
//! elsewhere, and once for columns that it lacks, the struct is looked at again.
//! A DECIMAL or a point in time is recognised by the name of its type, see [`types`]; lists, maps
//! and structs within a row are put together in memory first, see [`parts`].
//!
//! The way back, from rows to structs, is [`read`].

mod parts;
mod read;
mod row;
mod types;
mod value;

pub use read::RowReadError;

use std::fmt::{self, Debug, Display, Formatter};

use serde_core::ser::{self, Serialize};

use super::columns::nameless;
use super::datum::Datum;
use super::error::{RowError, RowErrorKind};
use super::{Row, RowSink};

/// Lets structs that are `Serialize` be handed in as rows, their fields found by name:
///
/// ```
/// use fluss_core::row::{DataType, RowLayout, Schema, compacted};
/// use serde::Serialize;
///
/// #[derive(Serialize)]
/// struct Order<'a> {
///     customer: &'a str,
///     id: i32,
///     note: Option<&'a str>,
/// }
/// fluss_core::row_by_name!(Order<'_>);
///
/// // writer.append(&order).await?, or as here:
/// let schema = Schema::builder()
///     .column("id", DataType::INT)
///     .column("customer", DataType::STRING)
///     .column("note", DataType::STRING)
///     .build()?;
/// let order = Order { customer: "a", id: 7, note: None };
/// let mut bytes = Vec::new();
/// compacted::encode(&RowLayout::new(&schema), &order, &mut bytes)?;
/// assert_eq!(bytes, [0b100, 7, 1, b'a']);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// For a type of another crate, or for once, there is [`ByName`](crate::row::ByName).
#[macro_export]
macro_rules! row_by_name {
    ($($type:ty),+ $(,)?) => {$(
        impl $crate::row::Row for $type {
            fn arity(&self) -> usize {
                $crate::row::Row::arity(&$crate::row::ByName(self))
            }

            fn write<S: $crate::row::RowSink>(
                &self,
                sink: &mut S,
            ) -> ::std::result::Result<(), S::Error> {
                $crate::row::Row::write(&$crate::row::ByName(self), sink)
            }
        }
    )+};
}

/// A row made of anything that is `Serialize` as a struct or a map with texts as keys:
/// `writer.append(&ByName(&order))`.
///
/// In an upsert of some columns, it has fields for those; in a delete or a lookup, fields of
/// columns outside the key do not count. What fits which column:
///
/// | column | taken |
/// |---|---|
/// | BOOLEAN | `bool` |
/// | TINYINT, SMALLINT, INT, BIGINT | every integer whose value fits |
/// | FLOAT, DOUBLE | `f32`; `f64` for DOUBLE |
/// | DECIMAL | [`Decimal`](super::Decimal); every integer; a text like `"-12.30"` |
/// | CHAR, STRING | texts, `char`, the names of enum variants without data |
/// | BINARY, BYTES | bytes (`serde_bytes`, borrowed); a list of `u8`, which is copied first |
/// | DATE | a text like `"2026-11-20"`; an integer: days since 1970-01-01 |
/// | TIME | a text like `"10:00:00.5"`; an integer: milliseconds of the day |
/// | TIMESTAMP | [`Timestamp`](super::Timestamp); a text like `"2026-11-20T10:00:00.5"` |
/// | TIMESTAMP_LTZ | [`Timestamp`](super::Timestamp); a text like `"2026-11-20T10:00:00.5Z"`, UTC |
/// | ARRAY | a list |
/// | MAP | a map, a list of pairs |
/// | ROW | a struct or a map, by name; a tuple, by position |
/// | any of these, null | `None`, `()`, or no such field, where null is allowed |
///
/// The texts are those that chrono, rust_decimal and their like serialize to. A row costs no
/// allocation but for values of ARRAY, MAP and ROW, and lists of `u8`. Fields in the order of the
/// columns are looked at once.
#[derive(Clone, Copy, Debug)]
pub struct ByName<T>(pub T);

impl<T: Serialize> Row for ByName<T> {
    /// Not known before it is written.
    fn arity(&self) -> usize {
        usize::MAX
    }

    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        row::write(&self.0, sink).map_err(|fail| match fail {
            Fail::Sink(error) => error,
            Fail::Row(kind) => RowError::from(kind).into(),
        })
    }
}

/// Why a value was not written.
enum Fail<E> {
    /// The sink says why.
    Sink(E),
    /// It never came to the sink. Names are paths from where the failure is seen.
    Row(RowErrorKind),
}

impl<E> Fail<E> {
    #[cold]
    fn not_a_row(what: &str) -> Self {
        Self::Row(RowErrorKind::NotARow(what.to_owned()))
    }

    #[cold]
    fn nameless() -> Self {
        Self::of(nameless())
    }

    #[cold]
    fn of(error: RowError) -> Self {
        Self::Row(error.into_kind())
    }

    /// A value that its column does not take, seen from the value.
    #[cold]
    fn value(datum: Datum<'_>, expected: &super::DataType, reason: &'static str) -> Self {
        Self::of(RowError::value("", datum, expected, reason))
    }

    /// The failure as it is seen from outside: this step before it.
    #[cold]
    fn below(mut self, step: &str) -> Self {
        if let Self::Row(
            RowErrorKind::Value { column: path, .. }
            | RowErrorKind::Null { column: path, .. }
            | RowErrorKind::Missing { column: path, .. }
            | RowErrorKind::UnknownField { field: path, .. }
            | RowErrorKind::Unserializable { field: path, .. }
            | RowErrorKind::DoubledField(path),
        ) = &mut self
        {
            path.insert_str(0, step);
        }
        // Seen from outside it is a value, and which one counts.
        if let Self::Row(RowErrorKind::NotARow(reason)) = &mut self {
            let (field, reason) = (step.to_owned(), std::mem::take(reason));
            return Self::Row(RowErrorKind::Unserializable { field, reason });
        }
        self
    }
}

impl<E> Debug for Fail<E> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// Seen only by types that look at the errors of their own fields.
impl<E> Display for Fail<E> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sink(_) => f.write_str("the row does not fit the table"),
            Self::Row(kind) => Display::fmt(kind, f),
        }
    }
}

impl<E> std::error::Error for Fail<E> {}

impl<E> ser::Error for Fail<E> {
    fn custom<T: Display>(reason: T) -> Self {
        let (field, reason) = (String::new(), super::error::shorten(&reason.to_string()));
        Self::Row(RowErrorKind::Unserializable { field, reason })
    }
}

#[cfg(test)]
mod tests;
