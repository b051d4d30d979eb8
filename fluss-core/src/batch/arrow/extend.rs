//! Columns that grow by many rows at once, where the rows are columns already.
//!
//! A run of values without nulls in a column of its own type is one copy. Everything else goes
//! value by value; what does not fit makes the whole run fail, and whoever asked takes the columns
//! back and tries a shorter one, down to the row to blame. Columns of nested types take rows one by
//! one.

use std::ops::Range;

use arrow_array::GenericByteArray;
use arrow_array::types::ByteArrayType;
use arrow_buffer::NullBuffer;

use super::column::{Column, Refusal, Values, Variable};
use crate::batch::input::Source;
use crate::row::Datum;

impl Column {
    /// The bytes that these values add to those of fixed width, in a column that is not nested.
    pub(super) fn variable_bytes(
        &self,
        source: &Source,
        nulls: Option<&NullBuffer>,
        rows: Range<usize>,
    ) -> usize {
        match (&self.values, source) {
            (Values::Text(_), Source::Text(array)) if !has_null(nulls, &rows) => {
                span(array, rows).len()
            }
            (Values::Bytes(_), Source::Bytes(array)) if !has_null(nulls, &rows) => {
                span(array, rows).len()
            }
            (Values::Text(_) | Values::Bytes(_), _) => {
                let length = |row| match source.datum(row) {
                    Datum::Str(value) => value.len(),
                    Datum::Bytes(value) => value.len(),
                    _ => 0,
                };
                let valid = |row: &usize| nulls.is_none_or(|nulls| nulls.is_valid(*row));
                rows.filter(valid).map(length).sum()
            }
            _ => 0,
        }
    }

    /// Takes the values of `rows`. The column has `row` values so far, and has more of them, but
    /// not all, after an error.
    pub(super) fn extend(
        &mut self,
        row: usize,
        source: &Source,
        nulls: Option<&NullBuffer>,
        rows: Range<usize>,
    ) -> Result<(), Refusal> {
        if has_null(nulls, &rows) || !self.values.copy(source, rows.clone()) {
            let first = rows.start;
            for from in rows {
                match nulls {
                    Some(nulls) if nulls.is_null(from) => self.put_null(row + from - first)?,
                    _ => self.put(row + from - first, source.datum(from))?,
                }
            }
            return Ok(());
        }
        self.validity.push_valid_many(rows.len());
        Ok(())
    }
}

impl Values {
    /// Copies a run of values of the same type; false if the types differ, and nothing is copied.
    pub(super) fn copy(&mut self, source: &Source, rows: Range<usize>) -> bool {
        match (self, source) {
            (Self::Int8(to), Source::Int8(from)) => to.extend_from_slice(&from[rows]),
            (Self::Int16(to), Source::Int16(from)) => to.extend_from_slice(&from[rows]),
            (Self::Int32(to), Source::Int32(from)) => to.extend_from_slice(&from[rows]),
            (Self::Int64(to), Source::Int64(from)) => to.extend_from_slice(&from[rows]),
            (Self::Float32(to), Source::Float32(from)) => to.extend_from_slice(&from[rows]),
            (Self::Float64(to), Source::Float64(from)) => to.extend_from_slice(&from[rows]),
            (Self::Date(to), Source::Date(from)) => to.extend_from_slice(&from[rows]),
            // Each text of a CHAR is looked at.
            (Self::Text(to), Source::Text(from)) if !to.is_limited() => {
                to.copy(from, rows);
            }
            (Self::Bytes(to), Source::Bytes(from)) => to.copy(from, rows),
            _ => return false,
        }
        true
    }
}

impl Variable {
    /// Copies a run of values; the batch's limits keep the sum of all lengths below 2 GiB.
    fn copy<T: ByteArrayType<Offset = i32>>(
        &mut self,
        from: &GenericByteArray<T>,
        rows: Range<usize>,
    ) {
        let ends = ends(from, rows.clone());
        let (start, end) = (ends[0], self.data.len() as i32);
        self.data.extend_from_slice(&from.value_data()[span(from, rows)]);
        self.offsets.extend(ends[1..].iter().map(|offset| offset - start + end));
    }
}

/// Where these values end, behind where the first begins.
pub(super) fn ends<T: ByteArrayType<Offset = i32>>(
    array: &GenericByteArray<T>,
    rows: Range<usize>,
) -> &[i32] {
    &array.value_offsets()[rows.start..=rows.end]
}

/// Where the bytes of these values lie. Arrow has checked that offsets are not negative.
pub(super) fn span<T: ByteArrayType<Offset = i32>>(
    array: &GenericByteArray<T>,
    rows: Range<usize>,
) -> Range<usize> {
    let offsets = array.value_offsets();
    offsets[rows.start] as usize..offsets[rows.end] as usize
}

pub(super) fn has_null(nulls: Option<&NullBuffer>, rows: &Range<usize>) -> bool {
    nulls.is_some_and(|nulls| nulls.slice(rows.start, rows.len()).null_count() > 0)
}

#[cfg(test)]
#[path = "extend_tests.rs"]
mod tests;
