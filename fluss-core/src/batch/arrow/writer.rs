//! The sink a row writes itself into: one cursor over the columns of an open batch.

use super::column::{Column, Refusal, Values};
use super::nested::Room;
use crate::row::{CHARACTERS, Columns, Datum, RowError, RowSink, Schema, is_longer};

/// Takes the values of one row, each into its column.
///
/// After an error the columns hold a part of the row; whoever made the writer rolls them back.
///
/// What a call is handed by reference has to lie in memory from its beginning on. So nothing gets
/// a reference to a writer but what becomes part of its caller, and the rest lies elsewhere: column
/// and size then stay in registers from value to value (a quarter of the instructions of a row).
pub(super) struct RowWriter<'a, 'r> {
    columns: std::slice::IterMut<'a, Column>,
    /// Bytes of this row's strings and byte arrays.
    variable: usize,
    rest: &'r mut Rest<'a>,
}

/// What a writer needs for values that are not as usual.
pub(super) struct Rest<'a> {
    schema: &'a Schema,
    /// The index of the row.
    row: usize,
    limit: usize,
    /// The first error. A row that goes on after one must not get through.
    failed: Option<RowError>,
}

impl<'a> Rest<'a> {
    /// For row `row` whose strings and byte arrays have at most `limit` bytes.
    pub(super) fn new(schema: &'a Schema, row: usize, limit: usize) -> Self {
        Self { schema, row, limit, failed: None }
    }

    /// Everything the typed paths do not cover: null, widening, times, wrong types. So many columns
    /// are left behind this one.
    #[inline(never)]
    fn put_any(&mut self, left: usize, to: &mut Column, datum: Datum<'_>) -> Result<(), RowError> {
        to.put(self.row, datum).map_err(|refusal| self.refuse(left, refusal, datum))
    }

    /// A value within which there are others; they are accounted for as they are copied. The answer
    /// is the size of the row with it.
    #[inline(never)]
    fn put_nested(
        &mut self,
        left: usize,
        to: &mut Column,
        datum: Datum<'_>,
        variable: usize,
    ) -> Result<usize, RowError> {
        let mut room = Room::new(variable, self.limit);
        match to.put_deep(self.row, datum, &mut room) {
            Ok(()) => Ok(room.used()),
            Err(Refusal::TooLarge) => Err(self.too_large(room.used())),
            Err(refusal) => Err(self.refuse(left, refusal, datum)),
        }
    }

    #[cold]
    fn unfinished(&mut self, left: usize) -> RowError {
        self.failed.take().unwrap_or_else(|| {
            let expected = self.schema.columns().len();
            RowError::arity(expected, expected - left)
        })
    }

    #[cold]
    fn no_column(&mut self) -> RowError {
        let expected = self.schema.columns().len();
        self.failed.get_or_insert_with(|| RowError::arity(expected, expected + 1)).clone()
    }

    #[cold]
    fn refuse(&mut self, left: usize, refusal: Refusal, datum: Datum<'_>) -> RowError {
        let index = self.schema.columns().len() - left - 1;
        let column = &self.schema.columns()[index];
        let error = match refusal {
            Refusal::Null => RowError::null(&column.name, &column.data_type),
            Refusal::Value(why) => RowError::value(&column.name, datum, &column.data_type, why),
            Refusal::Deep(deep) => deep.error(&column.name, &column.data_type),
            Refusal::TooLarge => RowError::too_large(self.limit, self.limit),
        };
        self.fail(error)
    }

    #[cold]
    fn too_large(&mut self, size: usize) -> RowError {
        self.fail(RowError::too_large(size, self.limit))
    }

    #[cold]
    fn fail(&mut self, error: RowError) -> RowError {
        self.failed = Some(error.clone());
        error
    }
}

impl<'a, 'r> RowWriter<'a, 'r> {
    pub(super) fn new(columns: &'a mut [Column], rest: &'r mut Rest<'a>) -> Self {
        Self { columns: columns.iter_mut(), variable: 0, rest }
    }

    /// The bytes of the row's strings and byte arrays, once every column has its value.
    #[inline]
    pub(super) fn finish(self) -> Result<usize, RowError> {
        if self.rest.failed.is_none() && self.columns.len() == 0 {
            return Ok(self.variable);
        }
        Err(self.rest.unfinished(self.columns.len()))
    }

    /// The column a value goes to, or the error that there is none.
    #[inline]
    fn column(&mut self) -> Result<&'a mut Column, RowError> {
        match self.columns.next() {
            Some(column) => Ok(column),
            None => Err(self.rest.no_column()),
        }
    }

    /// Takes no further value after an error.
    #[inline]
    fn sound<T>(&mut self, result: Result<T, RowError>) -> Result<T, RowError> {
        if result.is_err() {
            self.columns = [].iter_mut();
        }
        result
    }

    #[inline]
    fn any(&mut self, column: &mut Column, datum: Datum<'_>) -> Result<(), RowError> {
        let put = self.rest.put_any(self.columns.len(), column, datum);
        self.sound(put)
    }

    #[inline]
    fn nested(&mut self, datum: Datum<'_>) -> Result<(), RowError> {
        let column = self.column()?;
        let put = self.rest.put_nested(self.columns.len(), column, datum, self.variable);
        self.variable = self.sound(put)?;
        Ok(())
    }

    /// Counts a string or byte array before it is copied.
    #[inline]
    fn account(&mut self, length: usize) -> Result<(), RowError> {
        self.variable = self.variable.saturating_add(length);
        if self.variable > self.rest.limit {
            let error = Err(self.rest.too_large(self.variable));
            return self.sound(error);
        }
        Ok(())
    }
}

/// One typed path: a push when the column has exactly this type, else the general one.
macro_rules! typed {
    ($method:ident, $type:ty, $values:ident, $datum:ident) => {
        #[inline(always)]
        fn $method(&mut self, value: $type) -> Result<(), RowError> {
            let column = self.column()?;
            if let Values::$values(values) = &mut column.values {
                values.push(value);
                column.validity.push_valid();
                return Ok(());
            }
            self.any(column, Datum::$datum(value))
        }
    };
}

impl RowSink for RowWriter<'_, '_> {
    type Error = RowError;

    #[inline]
    fn columns(&self) -> Option<Columns<'_>> {
        Some(Columns::all(self.rest.schema))
    }

    #[inline(always)]
    fn put(&mut self, datum: Datum<'_>) -> Result<(), RowError> {
        match datum {
            Datum::Int32(value) => self.put_i32(value),
            Datum::Int64(value) => self.put_i64(value),
            Datum::Float64(value) => self.put_f64(value),
            Datum::Str(value) => self.put_str(value),
            Datum::Bytes(value) => self.put_bytes(value),
            Datum::Array(_) | Datum::Map(_) | Datum::Row(_) => self.nested(datum),
            other => {
                let column = self.column()?;
                self.any(column, other)
            }
        }
    }

    typed!(put_i32, i32, Int32, Int32);
    typed!(put_i64, i64, Int64, Int64);
    typed!(put_f64, f64, Float64, Float64);

    #[inline(always)]
    fn put_str(&mut self, value: &str) -> Result<(), RowError> {
        let column = self.column()?;
        if let Values::Text(values) = &mut column.values {
            if is_longer(value, values.characters) {
                let left = self.columns.len();
                let error = Err(self.rest.refuse(left, CHARACTERS.into(), Datum::Str(value)));
                return self.sound(error);
            }
            self.account(value.len())?;
            values.push(value.as_bytes());
            column.validity.push_valid();
            return Ok(());
        }
        self.any(column, Datum::Str(value))
    }

    #[inline(always)]
    fn put_bytes(&mut self, value: &[u8]) -> Result<(), RowError> {
        let column = self.column()?;
        if let Values::Bytes(values) = &mut column.values {
            self.account(value.len())?;
            values.push(value);
            column.validity.push_valid();
            return Ok(());
        }
        self.any(column, Datum::Bytes(value))
    }
}
