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

mod lake;
mod rules;

pub use rules::{KeyRules, UnsupportedKeys};

/// How the values of key columns become bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyFormat {
    /// Fluss' own: the values one after the other as in a COMPACTED row.
    #[default]
    Compacted,
    /// A row of Paimon's. Null is allowed where the column allows it.
    Paimon,
    /// What Iceberg's bucket transform hashes, of one column.
    Iceberg,
    /// The hash that Hudi makes of the values' texts: 4 bytes, not to be read back. Null is
    /// allowed where the column allows it. Of FLOAT and DOUBLE the text is that of JDK 19 and
    /// later, which has fewer digits than earlier ones for some values.
    Hudi,
}

/// Encodes keys of rows of one shape.
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
    format: KeyFormat,
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
        let format = KeyFormat::Compacted;
        Ok(Self { schema, parts, format, arity, given, ascending })
    }

    /// The same columns in another format.
    ///
    /// # Errors
    /// The format has no bytes for the type of a column, or takes one column only.
    pub fn with_format(self, format: KeyFormat) -> Result<Self, RowError> {
        lake::check(format, &self.schema, &self.parts)?;
        Ok(Self { format, ..self })
    }

    /// The format of the keys.
    #[must_use]
    pub fn format(&self) -> KeyFormat {
        self.format
    }

    /// Bytes of a key in which no value stands behind the slots of the columns; only of Paimon
    /// keys is that a number.
    pub(crate) fn fixed_bytes(&self) -> Option<usize> {
        let columns = self.parts.len();
        (self.format == KeyFormat::Paimon).then(|| lake::paimon_fixed(columns))
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
    /// fit, or its bytes would be none at all; the buffer is then as it was.
    pub fn encode<R: Row + ?Sized>(&self, row: &R, out: &mut Vec<u8>) -> Result<(), RowError> {
        let start = out.len();
        let result = if self.format != KeyFormat::Compacted {
            self.encode_lake(row, out)
        } else if self.ascending {
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

    fn encode_lake<R: Row + ?Sized>(&self, row: &R, out: &mut Vec<u8>) -> Result<(), RowError> {
        let mut key = lake::LakeKey::begin(self.format, self.parts.len(), out);
        let step = if self.ascending { self.parts.len().max(1) } else { 1 };
        for (round, parts) in self.parts.chunks(step).enumerate() {
            let given = self.given.as_deref();
            let picker = Picker { schema: &self.schema, given, parts, out, position: 0 };
            let of = self.parts.len();
            let mut picker = LakePicker { picker, key: &mut key, index: round * step, of };
            row.write(&mut picker)?;
            if picker.picker.position != self.arity {
                return Err(RowError::arity(self.arity, picker.picker.position));
            }
        }
        key.finish(out);
        Ok(())
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

/// The same for keys of a lake.
struct LakePicker<'a, 'k> {
    picker: Picker<'a>,
    key: &'k mut lake::LakeKey,
    /// The number of the next part within the key, of so many.
    index: usize,
    of: usize,
}

impl RowSink for LakePicker<'_, '_> {
    type Error = RowError;

    fn columns(&self) -> Option<Columns<'_>> {
        self.picker.columns()
    }

    fn put(&mut self, datum: Datum<'_>) -> Result<(), RowError> {
        let Self { picker, key, index, of } = self;
        if let Some((part, rest)) = picker.parts.split_first()
            && part.position == picker.position
        {
            if let Err(misfit) = key.put((*index, *of), part.slot, datum, picker.out) {
                return Err(picker.refuse(part.column, misfit, datum));
            }
            picker.parts = rest;
            *index += 1;
        }
        picker.position += 1;
        Ok(())
    }
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
