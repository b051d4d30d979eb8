//! Rows as users hand them in and read them back, and the schema they belong to.
//!
//! A [`Row`] writes itself, column by column, into a [`RowSink`]. The sinks are the column builders
//! of an Arrow batch, the compacted encoder of a primary-key table and the key encoder; none of
//! them allocates per row. The `row!` macro and tuples are the two usual rows: the macro makes an
//! array of [`Datum`] on the stack, the tuple writes each field with its own type. An ARRAY, MAP or
//! ROW within a row is borrowed from whatever holds it, see [`Items`] and [`Entries`].

#[cfg(feature = "serde")]
mod by_name;
mod calendar;
mod columns;
pub mod compacted;
mod datum;
mod decimal;
mod decode;
mod error;
pub mod hash;
pub mod indexed;
mod inner;
mod inner_read;
mod java;
mod json;
pub mod key;
mod largest;
mod named;
mod nested;
pub mod partition;
mod schema;
pub(crate) mod short;
mod slot;
mod table;
pub mod text;
mod type_text;
mod types;
mod value;

#[cfg(feature = "serde")]
pub use by_name::{ByName, RowReadError};
pub use columns::Columns;
pub use datum::{Datum, Decimal, OwnedDatum, OwnedRow, Timestamp};
pub use decimal::ParseDecimalError;
pub use decode::{DecodeReason, RowDecodeError};
pub use error::{RowError, RowErrorKind};
pub(crate) use inner::{Deep, FIELDS, Step, Why};
pub use largest::LargestValue;
pub use named::{Named, NamedRow};
pub use nested::{AsDatum, Entries, Items};
pub use schema::{AggFunction, Column, Schema, SchemaBuilder, SchemaError};
pub use slot::RowLayout;
pub(crate) use slot::{CHARACTERS, FRACTION, TIMESTAMP_RANGE, grain_of, is_longer, minimal_be};
pub use table::{TableDescriptor, TableError};
pub use type_text::ParseTypeError;
pub use types::{DataType, Field, TypeError, TypeKind};
pub use value::Value;

/// A sink for the values of one row, in column order.
///
/// The sink knows the column it expects next and its type; a value that does not fit is refused
/// with an error that names the column and the value, and the row is taken back as a whole by
/// whoever started it.
pub trait RowSink {
    /// What the sink reports when a value does not fit, or when the row by itself is wrong.
    type Error: From<RowError>;

    /// The columns that the row's values are for, which rows by name ask for; None if the sink
    /// takes values without names only.
    fn columns(&self) -> Option<Columns<'_>> {
        None
    }

    /// Takes the value of the next column.
    fn put(&mut self, datum: Datum<'_>) -> Result<(), Self::Error>;

    /// Takes a value that is known to be an `i32`; the same as `put(Datum::Int32(v))`, without the
    /// detour over the enum. Likewise the methods below.
    #[inline]
    fn put_i32(&mut self, value: i32) -> Result<(), Self::Error> {
        self.put(Datum::Int32(value))
    }

    /// Takes an `i64`.
    #[inline]
    fn put_i64(&mut self, value: i64) -> Result<(), Self::Error> {
        self.put(Datum::Int64(value))
    }

    /// Takes an `f64`.
    #[inline]
    fn put_f64(&mut self, value: f64) -> Result<(), Self::Error> {
        self.put(Datum::Float64(value))
    }

    /// Takes a string.
    #[inline]
    fn put_str(&mut self, value: &str) -> Result<(), Self::Error> {
        self.put(Datum::Str(value))
    }

    /// Takes bytes.
    #[inline]
    fn put_bytes(&mut self, value: &[u8]) -> Result<(), Self::Error> {
        self.put(Datum::Bytes(value))
    }
}

/// A row that can write itself into a sink, once or several times.
///
/// `write` must put one value for each column, the same ones at every call: a row is written a
/// second time when its first destination turned out to be full.
pub trait Row {
    /// The number of values this row writes; of a row by name, those it holds at most.
    fn arity(&self) -> usize;

    /// Puts all values in column order and stops at the first error.
    ///
    /// # Errors
    /// The sink's own error, unchanged.
    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error>;
}
