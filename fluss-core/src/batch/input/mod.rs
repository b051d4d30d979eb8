//! Arrow record batches as rows to write: columns found by name, types widened, values read where
//! they lie.
//!
//! Checked once for a batch: that the columns are those of the table, and that each array's type
//! holds nothing but values a column of that type may take. What depends on the value (a length,
//! a range, a null) fails its row alone: it is checked by whoever encodes the row, or, where rows
//! have no such value at all, remembered when the column is looked at.

mod column;
mod nested;

use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_buffer::NullBuffer;

use crate::row::{Datum, Row, RowError, RowErrorKind, RowSink, Schema};
pub(super) use column::Source;

/// How many times its own size a record batch may keep alive to be held.
const MAX_KEPT: usize = 2;

/// Why a record batch cannot be written to a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ColumnsError {
    /// A column of the table is not in the batch.
    #[error(
        "the batch has no column `{column}`; it has: {given}. Add it, filled with nulls where the \
         table allows them"
    )]
    Missing {
        /// The table's column.
        column: String,
        /// The columns of the batch.
        given: String,
    },
    /// A column of the batch is not in the table.
    #[error("the table has no column `{column}`; it has: {expected}")]
    Unknown {
        /// The column of the batch.
        column: String,
        /// The columns to write.
        expected: String,
    },
    /// The batch has several columns of one name.
    #[error("the batch has the column `{column}` more than once")]
    Doubled {
        /// The name.
        column: String,
    },
    /// Values of the array's type do not fit the column.
    #[error("column `{column}` of type {expected} does not take an Arrow array of type {got}")]
    Type {
        /// The column's name.
        column: String,
        /// The column's type, as in SQL.
        expected: String,
        /// The array's type.
        got: String,
    },
}

/// The rows of an Arrow record batch, in the column order of a table. Each row is a view: nothing
/// is copied but decimals and nested values, which are laid out once for the batch.
///
/// Made by [`Table::rows_of`](crate::Table::rows_of); [`iter`](Self::iter) yields what every writer
/// takes.
///
/// The columns of the batch are found by their names, whatever their order. Taken are arrays of the
/// column's own type, narrower integers and floats, unsigned integers that fit, decimals of up to
/// 128 bits whose scale is not negative, strings and bytes with large offsets or as views, dates
/// and times in any unit, dictionaries of all these, and lists, maps and structs of them; the
/// fields of a struct are found by their names too.
#[derive(Clone, Debug)]
pub struct ArrowRows {
    columns: Arc<[(Source, Option<NullBuffer>)]>,
    rows: usize,
    /// The rows and columns with a value that no row can hold; sorted.
    bad: Vec<(usize, usize, RowError)>,
    /// The bytes that are kept alive with the rows, if that is little more than they take.
    kept: Option<usize>,
}

impl ArrowRows {
    /// The rows of `batch` as rows of all columns of `schema`.
    ///
    /// # Errors
    /// A column is missing, unknown or doubled, or its type does not fit; the first one found.
    pub fn new(schema: &Schema, batch: &RecordBatch) -> Result<Self, ColumnsError> {
        let all: Vec<usize> = (0..schema.columns().len()).collect();
        Self::of_columns(schema, &all, batch)
    }

    /// The rows of `batch` as rows of some columns of `schema`, in the order of `targets`: for
    /// keys, and for writers of some columns. An index beyond the schema is passed over.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn of_columns(
        schema: &Schema,
        targets: &[usize],
        batch: &RecordBatch,
    ) -> Result<Self, ColumnsError> {
        let wanted = || targets.iter().filter_map(|&index| schema.columns().get(index));
        let arrow = batch.schema_ref();
        for (index, field) in arrow.fields().iter().enumerate() {
            let name = field.name();
            if !wanted().any(|column| column.name == *name) {
                let expected = wanted().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
                return Err(ColumnsError::Unknown { column: name.clone(), expected });
            }
            if arrow.fields()[..index].iter().any(|earlier| earlier.name() == name) {
                return Err(ColumnsError::Doubled { column: name.clone() });
            }
        }
        let mut columns = Vec::with_capacity(targets.len());
        let mut bad_rows = Vec::new();
        for column in wanted() {
            let Some((index, _)) = arrow.column_with_name(&column.name) else {
                let names: Vec<_> = arrow.fields().iter().map(|f| f.name().as_str()).collect();
                let given = names.join(", ");
                return Err(ColumnsError::Missing { column: column.name.clone(), given });
            };
            let array = batch.column(index);
            let mut bad = Vec::new();
            let source = Source::new(&column.data_type.kind, array, &mut bad)
                .map_err(|wrong| wrong.at(&column.name, &column.data_type, array.data_type()))?;
            // A dictionary has nulls among its values as well.
            let nulls = array.logical_nulls();
            for bad in bad.into_iter().filter(|bad| is_valid(nulls.as_ref(), bad.row)) {
                let (name, expected) = (column.name.clone(), column.data_type.to_string());
                let (value, reason) = (bad.value, bad.reason);
                let error = RowErrorKind::Value { column: name, value, expected, reason };
                bad_rows.push((bad.row, columns.len(), RowError::from(error)));
            }
            columns.push((source, nulls));
        }
        bad_rows.sort_by_key(|(row, column, _)| (*row, *column));
        let kept = kept_bytes(batch).filter(|_| bad_rows.is_empty());
        Ok(Self { columns: columns.into(), rows: batch.num_rows(), bad: bad_rows, kept })
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The same rows with null in more columns, so that there are so many.
    pub(crate) fn with_nulls(&self, columns: usize) -> Self {
        let missing = columns.saturating_sub(self.columns.len());
        let nulls = (Source::Null, Some(NullBuffer::new_null(self.rows)));
        let columns = self.columns.iter().cloned().chain(std::iter::repeat_n(nulls, missing));
        Self { columns: columns.collect(), ..self.clone() }
    }

    /// The columns in the table's order, each with its nulls.
    pub(super) fn columns(&self) -> &[(Source, Option<NullBuffer>)] {
        &self.columns
    }

    /// How many rows from this one on have values that rows can hold.
    pub(super) fn sound_from(&self, row: usize) -> usize {
        self.bad_from(row).first().map_or(self.rows, |(bad, ..)| *bad).saturating_sub(row)
    }

    fn bad_from(&self, row: usize) -> &[(usize, usize, RowError)] {
        &self.bad[self.bad.partition_point(|(bad, ..)| *bad < row)..]
    }

    /// What is wrong with a row by itself: its first such value.
    #[cold]
    fn check(&self, row: usize) -> Result<(), RowError> {
        match self.bad_from(row).first() {
            Some((bad, _, error)) if *bad == row => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// The row at this index, with null for what no row can hold.
    pub(crate) fn without_bad(&self, index: usize) -> Option<impl Row + '_> {
        (index < self.rows).then_some(WithoutBad { rows: self, index })
    }

    /// The bytes that these rows keep alive, their own among them. None where that is much more
    /// than their own, as for a small slice of a large batch.
    pub(super) fn kept_bytes(&self) -> Option<usize> {
        self.kept
    }

    /// Whether both are the same rows of the same record batch.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.columns, &other.columns)
    }

    /// The row at this index.
    #[must_use]
    pub fn row(&self, index: usize) -> Option<ArrowRow<'_>> {
        (index < self.rows).then_some(ArrowRow { rows: self, index })
    }

    /// The rows from the first to the last.
    pub fn iter(&self) -> ArrowRowIter<'_> {
        ArrowRowIter { rows: self, next: 0 }
    }
}

fn kept_bytes(batch: &RecordBatch) -> Option<usize> {
    let kept = batch.get_array_memory_size();
    let own = batch.columns().iter().map(|array| array.to_data().get_slice_memory_size());
    let own: usize = own.map(|size| size.unwrap_or(0)).sum();
    (kept <= own.saturating_mul(MAX_KEPT)).then_some(kept)
}

impl<'a> IntoIterator for &'a ArrowRows {
    type Item = ArrowRow<'a>;
    type IntoIter = ArrowRowIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The rows of a batch, one after the other.
#[derive(Clone, Debug)]
pub struct ArrowRowIter<'a> {
    rows: &'a ArrowRows,
    next: usize,
}

impl<'a> Iterator for ArrowRowIter<'a> {
    type Item = ArrowRow<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let index = self.next;
        if index == self.rows.rows {
            return None;
        }
        self.next += 1;
        Some(ArrowRow { rows: self.rows, index })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.rows.rows - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for ArrowRowIter<'_> {}

/// One row of a batch.
#[derive(Clone, Copy, Debug)]
pub struct ArrowRow<'a> {
    rows: &'a ArrowRows,
    index: usize,
}

impl Row for ArrowRow<'_> {
    fn arity(&self) -> usize {
        self.rows.columns.len()
    }

    #[inline]
    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        if !self.rows.bad.is_empty() {
            self.rows.check(self.index)?;
        }
        for column in &*self.rows.columns {
            put(column, self.index, sink)?;
        }
        Ok(())
    }
}

#[inline]
fn put<S: RowSink>(
    (source, nulls): &(Source, Option<NullBuffer>),
    row: usize,
    sink: &mut S,
) -> Result<(), S::Error> {
    match nulls {
        Some(nulls) if nulls.is_null(row) => sink.put(Datum::Null),
        _ => source.put(row, sink),
    }
}

/// A row of a batch for whoever gets it back.
struct WithoutBad<'a> {
    rows: &'a ArrowRows,
    index: usize,
}

impl Row for WithoutBad<'_> {
    fn arity(&self) -> usize {
        self.rows.columns.len()
    }

    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let bad = self.rows.bad_from(self.index);
        for (at, column) in self.rows.columns.iter().enumerate() {
            match bad.binary_search_by_key(&(self.index, at), |(row, column, _)| (*row, *column)) {
                Ok(_) => sink.put(Datum::Null)?,
                Err(_) => put(column, self.index, sink)?,
            }
        }
        Ok(())
    }
}

fn is_valid(nulls: Option<&NullBuffer>, row: usize) -> bool {
    nulls.is_none_or(|nulls| nulls.is_valid(row))
}

#[cfg(test)]
mod tests;
