//! Keys: the bytes of some columns of a row, which place it in a bucket and name it there.
//!
//! The compacted key holds the values as a COMPACTED row does, without null bits. Every value's
//! bytes end where they say, so the bytes of the first key columns are a prefix of the whole key
//! and of no other: prefix look-ups rest on that.

use super::compacted::put_value;
use super::datum::Datum;
use super::error::RowError;
use super::slot::{Misfit, Slot, SlotKind};
use super::{Columns, Row, RowSink, Schema};

/// A table whose keys this client cannot encode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the table's keys follow table.datalake.format={format}, which this client cannot encode: use \
     a table without that property or with lance"
)]
pub struct UnsupportedKeyFormat {
    /// The value of `table.datalake.format`.
    pub format: String,
}

/// Checks that a table's keys and buckets are those of Fluss itself and not of a data lake.
/// `datalake_format` is the table's property `table.datalake.format`, which counts even when the
/// lake is switched off.
///
/// # Errors
/// The format is `paimon`, `iceberg`, `hudi` or unknown.
pub fn check_key_format(datalake_format: Option<&str>) -> Result<(), UnsupportedKeyFormat> {
    match datalake_format {
        None => Ok(()),
        Some(format) if format.eq_ignore_ascii_case("lance") => Ok(()),
        Some(format) => Err(UnsupportedKeyFormat { format: super::error::shorten(format) }),
    }
}

/// Encodes the compacted key of rows of one shape.
///
/// ```
/// use fluss_core::row::key::KeyEncoder;
/// use fluss_core::row::{DataType, Schema, hash};
///
/// let schema = Schema::builder()
///     .column("id", DataType::BIGINT)
///     .column("name", DataType::STRING)
///     .primary_key(["id"])
///     .build()
///     .unwrap();
/// let encoder = KeyEncoder::new(&schema, schema.primary_key()).unwrap();
/// let mut key = Vec::new();
/// encoder.encode(&(300_i64, "x"), &mut key).unwrap();
/// assert_eq!(key, [0xac, 0x02]);
/// assert_eq!(hash::bucket_of(&key, 3), Some(1));
/// ```
#[derive(Clone, Debug)]
pub struct KeyEncoder {
    schema: Schema,
    parts: Box<[Part]>,
    /// The number of values a row hands in, and of which columns; None for all in order.
    arity: usize,
    given: Option<Box<[usize]>>,
    /// Whether one pass over the row meets the parts in key order.
    ascending: bool,
}

/// One column of a key.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Its position among the values handed in.
    position: usize,
    /// Its position in the schema.
    column: usize,
    slot: Slot,
}

impl KeyEncoder {
    /// Encodes `columns` of full rows: one value for each column of the schema.
    ///
    /// # Errors
    /// A key column is an ARRAY, MAP or ROW.
    ///
    /// # Panics
    /// If a position is none of the schema's.
    pub fn new(schema: &Schema, columns: &[usize]) -> Result<Self, RowError> {
        let all: Vec<usize> = (0..schema.columns().len()).collect();
        Self::for_values(schema, columns, &all)
    }

    /// Encodes `columns` of rows that hold the values of the columns `given`, in that order; a key
    /// column that is not given is left out of the key.
    ///
    /// # Errors
    /// A key column is an ARRAY, MAP or ROW.
    ///
    /// # Panics
    /// If a position is none of the schema's.
    pub fn for_values(
        schema: &Schema,
        columns: &[usize],
        given: &[usize],
    ) -> Result<Self, RowError> {
        let mut parts = Vec::with_capacity(columns.len());
        for &column in columns {
            let described = &schema.columns()[column];
            let slot = Slot::from(&described.data_type);
            if slot.kind == SlotKind::Nested {
                let advice = "a key column must be a scalar, choose another";
                return Err(RowError::unsupported(&described.name, &described.data_type, advice));
            }
            if let Some(position) = given.iter().position(|&other| other == column) {
                parts.push(Part { position, column, slot });
            }
        }
        let ascending = parts.is_sorted_by(|a, b| a.position < b.position);
        let parts = parts.into_boxed_slice();
        let (schema, arity, given) = (schema.clone(), given.len(), chosen(schema, given));
        Ok(Self { schema, parts, arity, given, ascending })
    }

    /// The number of values a row must have.
    #[must_use]
    pub fn arity(&self) -> usize {
        self.arity
    }

    /// Appends the key of a row.
    ///
    /// # Errors
    /// The row has too few or too many values, or the value of a key column is null or does not
    /// fit; the buffer is then as it was.
    pub fn encode<R: Row + ?Sized>(&self, row: &R, out: &mut Vec<u8>) -> Result<(), RowError> {
        let start = out.len();
        let result = if self.ascending {
            self.pass(row, &self.parts, out)
        } else {
            // Rare: the key's order is not the row's. A pass for each column needs no memory.
            self.parts.chunks(1).try_for_each(|part| self.pass(row, part, out))
        };
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn pass<R: Row + ?Sized>(
        &self,
        row: &R,
        parts: &[Part],
        out: &mut Vec<u8>,
    ) -> Result<(), RowError> {
        let given = self.given.as_deref();
        let mut picker = Picker { schema: &self.schema, given, parts, out, position: 0 };
        row.write(&mut picker)?;
        if picker.position == self.arity {
            Ok(())
        } else {
            Err(RowError::arity(self.arity, picker.position))
        }
    }
}

/// The columns that rows hand in; None if that is all of them in their order.
pub(super) fn chosen(schema: &Schema, given: &[usize]) -> Option<Box<[usize]>> {
    let all = given.iter().copied().eq(0..schema.columns().len());
    (!all).then(|| given.into())
}

/// Takes the wanted values out of a row and lets the others pass.
struct Picker<'a> {
    schema: &'a Schema,
    given: Option<&'a [usize]>,
    parts: &'a [Part],
    out: &'a mut Vec<u8>,
    position: usize,
}

impl RowSink for Picker<'_> {
    type Error = RowError;

    #[inline]
    fn columns(&self) -> Option<Columns<'_>> {
        Some(Columns::among(self.schema, self.given))
    }

    #[inline]
    fn put(&mut self, datum: Datum<'_>) -> Result<(), RowError> {
        if let Some((part, rest)) = self.parts.split_first()
            && part.position == self.position
        {
            let put = if datum.is_null() {
                Err(Misfit::Null)
            } else {
                put_value(part.slot, datum, self.out)
            };
            if let Err(misfit) = put {
                return Err(self.refuse(part.column, misfit, datum));
            }
            self.parts = rest;
        }
        self.position += 1;
        Ok(())
    }
}

impl Picker<'_> {
    #[cold]
    fn refuse(&self, column: usize, misfit: Misfit, datum: Datum<'_>) -> RowError {
        let column = &self.schema.columns()[column];
        let data_type = column.data_type.clone().not_null();
        misfit.error(&column.name, &data_type, datum)
    }
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
