//! The sink a row writes itself into: one cursor over the columns of an open batch.

use super::column::{Column, Refusal, Values};
use super::nested::Room;
use crate::row::{CHARACTERS, Columns, Datum, RowError, RowSink, Schema, is_longer};

/// Takes the values of one row, each into its column.
///
/// After an error the columns hold a part of the row; whoever made the writer rolls them back.
pub(super) struct RowWriter<'a> {
    columns: std::slice::IterMut<'a, Column>,
    schema: &'a Schema,
    /// The index of the row.
    row: usize,
    /// Bytes of this row's strings and byte arrays.
    variable: usize,
    limit: usize,
    /// The first error. A row that goes on after one must not get through.
    failed: Option<RowError>,
}

impl<'a> RowWriter<'a> {
    /// A writer for row `row` whose strings and byte arrays have at most `limit` bytes.
    pub(super) fn new(
        columns: &'a mut [Column],
        schema: &'a Schema,
        row: usize,
        limit: usize,
    ) -> Self {
        Self { columns: columns.iter_mut(), schema, row, variable: 0, limit, failed: None }
    }

    /// The bytes of the row's strings and byte arrays, once every column has its value.
    ///
    /// By reference, as a writer that is moved is read in other pieces than it was just written in,
    /// for which processors wait.
    #[inline]
    pub(super) fn finish(&mut self) -> Result<usize, RowError> {
        if self.failed.is_none() && self.columns.len() == 0 {
            return Ok(self.variable);
        }
        Err(self.unfinished())
    }

    #[cold]
    fn unfinished(&mut self) -> RowError {
        self.failed.take().unwrap_or_else(|| {
            let expected = self.schema.columns().len();
            RowError::arity(expected, expected - self.columns.len())
        })
    }

    /// Everything the typed paths below do not cover: null, widening, times, wrong types.
    #[inline(never)]
    fn put_any(&mut self, column: &mut Column, datum: Datum<'_>) -> Result<(), RowError> {
        column.put(self.row, datum).map_err(|refusal| self.refuse(refusal, datum))
    }

    /// A value within which there are others; they are accounted for as they are copied.
    #[inline(never)]
    fn put_nested(&mut self, datum: Datum<'_>) -> Result<(), RowError> {
        let column = self.column()?;
        let mut room = Room::new(self.variable, self.limit);
        let put = column.put_deep(self.row, datum, &mut room);
        self.variable = room.used();
        put.map_err(|refusal| self.refuse(refusal, datum))
    }

    /// The column a value goes to, or the error that there is none.
    #[inline]
    fn column(&mut self) -> Result<&'a mut Column, RowError> {
        match self.columns.next() {
            Some(column) => Ok(column),
            None => Err(self.no_column()),
        }
    }

    #[cold]
    fn no_column(&mut self) -> RowError {
        let expected = self.schema.columns().len();
        self.failed.get_or_insert_with(|| RowError::arity(expected, expected + 1)).clone()
    }

    #[cold]
    fn refuse(&mut self, refusal: Refusal, datum: Datum<'_>) -> RowError {
        let index = self.schema.columns().len() - self.columns.len() - 1;
        let column = &self.schema.columns()[index];
        let error = match refusal {
            Refusal::Null => RowError::null(&column.name, &column.data_type),
            Refusal::Value(why) => RowError::value(&column.name, datum, &column.data_type, why),
            Refusal::Deep(deep) => deep.error(&column.name, &column.data_type),
            Refusal::TooLarge => RowError::too_large(self.variable, self.limit),
        };
        self.fail(error)
    }

    #[cold]
    fn too_large(&mut self) -> RowError {
        self.fail(RowError::too_large(self.variable, self.limit))
    }

    /// Remembers the error and takes no further value.
    fn fail(&mut self, error: RowError) -> RowError {
        self.columns = [].iter_mut();
        self.failed = Some(error.clone());
        error
    }

    /// Counts a string or byte array before it is copied.
    #[inline]
    fn account(&mut self, length: usize) -> Result<(), RowError> {
        self.variable = self.variable.saturating_add(length);
        if self.variable > self.limit { Err(self.too_large()) } else { Ok(()) }
    }
}

/// One typed path: a push when the column has exactly this type, else the general one.
macro_rules! typed {
    ($method:ident, $type:ty, $values:ident, $datum:ident) => {
        #[inline]
        fn $method(&mut self, value: $type) -> Result<(), RowError> {
            let column = self.column()?;
            if let Values::$values(values) = &mut column.values {
                values.push(value);
                column.validity.push_valid();
                return Ok(());
            }
            self.put_any(column, Datum::$datum(value))
        }
    };
}

impl RowSink for RowWriter<'_> {
    type Error = RowError;

    #[inline]
    fn columns(&self) -> Option<Columns<'_>> {
        Some(Columns::all(self.schema))
    }

    #[inline]
    fn put(&mut self, datum: Datum<'_>) -> Result<(), RowError> {
        match datum {
            Datum::Int32(value) => self.put_i32(value),
            Datum::Int64(value) => self.put_i64(value),
            Datum::Float64(value) => self.put_f64(value),
            Datum::Str(value) => self.put_str(value),
            Datum::Bytes(value) => self.put_bytes(value),
            Datum::Array(_) | Datum::Map(_) | Datum::Row(_) => self.put_nested(datum),
            other => {
                let column = self.column()?;
                self.put_any(column, other)
            }
        }
    }

    typed!(put_i32, i32, Int32, Int32);
    typed!(put_i64, i64, Int64, Int64);
    typed!(put_f64, f64, Float64, Float64);

    #[inline]
    fn put_str(&mut self, value: &str) -> Result<(), RowError> {
        let column = self.column()?;
        if let Values::Text(values) = &mut column.values {
            if is_longer(value, values.characters) {
                return Err(self.refuse(CHARACTERS.into(), Datum::Str(value)));
            }
            self.account(value.len())?;
            values.push(value.as_bytes());
            column.validity.push_valid();
            return Ok(());
        }
        self.put_any(column, Datum::Str(value))
    }

    #[inline]
    fn put_bytes(&mut self, value: &[u8]) -> Result<(), RowError> {
        let column = self.column()?;
        if let Values::Bytes(values) = &mut column.values {
            self.account(value.len())?;
            values.push(value);
            column.validity.push_valid();
            return Ok(());
        }
        self.put_any(column, Datum::Bytes(value))
    }
}
