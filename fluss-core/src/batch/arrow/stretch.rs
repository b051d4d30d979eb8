//! The places of the next rows in the columns of an open batch, made before the rows are known.
//!
//! What a column checks for each value (its type, its room, whether it has nulls) is checked once
//! for a stretch of rows here. A value of a column's own type is then one store. Whatever is not
//! as usual ends the stretch: its row goes in by itself, which has an answer to everything.

use super::column::{Column, Values, Variable};
use super::convert::{self, Grain};
use super::nested::Room;
use crate::row::{Columns, Datum, RowError, RowSink, Schema, is_longer};

/// Rows of a stretch. A power of two, so that no index into it is checked.
pub(super) const ROWS: usize = 64;

/// Columns of a batch whose rows come in stretches: more than these have no place on the stack.
pub(super) const COLUMNS: usize = 16;

/// One column.
#[derive(Debug, Default)]
pub(super) enum Stretch<'a> {
    /// There is no such column.
    #[default]
    None,
    Int32(&'a mut [i32; ROWS]),
    Int64(&'a mut [i64; ROWS]),
    Float64(&'a mut [f64; ROWS]),
    Text(Texts<'a>),
    Int8(&'a mut [i8; ROWS]),
    Int16(&'a mut [i16; ROWS]),
    Float32(&'a mut [f32; ROWS]),
    Date(&'a mut [i32; ROWS]),
    Time32(&'a mut [i32; ROWS], Grain),
    Time64(&'a mut [i64; ROWS], Grain),
    Timestamp(&'a mut [i64; ROWS], Grain),
    TimestampLtz(&'a mut [i64; ROWS], Grain),
    /// Takes its values one by one.
    Other(&'a mut Column),
}

/// Values of varying length.
#[derive(Debug)]
pub(super) struct Texts<'a> {
    ends: &'a mut [i32; ROWS],
    data: &'a mut Vec<u8>,
    characters: u32,
    /// Whether they are bytes.
    bytes: bool,
}

impl<'a> Stretch<'a> {
    /// Makes room for the next rows. A column that is known to be slow takes them one by one.
    pub(super) fn new(column: &'a mut Column, slow: bool) -> Self {
        if slow || column.validity.nulls() > 0 || !is_stretched(&column.values) {
            return Self::Other(column);
        }
        let bytes = matches!(column.values, Values::Bytes(_));
        let stretch = match &mut column.values {
            Values::Int8(values) => places(values).map(Self::Int8),
            Values::Int16(values) => places(values).map(Self::Int16),
            Values::Int32(values) => places(values).map(Self::Int32),
            Values::Int64(values) => places(values).map(Self::Int64),
            Values::Float32(values) => places(values).map(Self::Float32),
            Values::Float64(values) => places(values).map(Self::Float64),
            Values::Date(values) => places(values).map(Self::Date),
            Values::Time32(values, grain) => places(values).map(|to| Self::Time32(to, *grain)),
            Values::Time64(values, grain) => places(values).map(|to| Self::Time64(to, *grain)),
            Values::Timestamp(values, grain) => {
                places(values).map(|to| Self::Timestamp(to, *grain))
            }
            Values::TimestampLtz(values, grain) => {
                places(values).map(|to| Self::TimestampLtz(to, *grain))
            }
            Values::Text(values) | Values::Bytes(values) => {
                let Variable { offsets, data, characters } = values;
                places(offsets)
                    .map(|ends| Self::Text(Texts { ends, data, characters: *characters, bytes }))
            }
            _ => None,
        };
        stretch.unwrap_or_default()
    }
}

/// Whether the values of a column of this type are stored as they come, or nearly so.
fn is_stretched(values: &Values) -> bool {
    !matches!(
        values,
        Values::Bool(_)
            | Values::Decimal { .. }
            | Values::Fixed { .. }
            | Values::List { .. }
            | Values::Map { .. }
            | Values::Struct(_)
    )
}

/// The places of the next values.
fn places<T: Copy + Default>(values: &mut Vec<T>) -> Option<&mut [T; ROWS]> {
    values.extend_from_slice(&[T::default(); ROWS]);
    values.last_chunk_mut()
}

/// The row has to go in by itself.
#[derive(Debug)]
pub(super) struct Alone;

impl From<RowError> for Alone {
    fn from(_: RowError) -> Self {
        Self
    }
}

/// What is needed for values that are not as usual.
pub(super) struct Aside<'a> {
    pub(super) schema: &'a Schema,
    /// The index of the stretch's first row.
    pub(super) first: usize,
    /// How many bytes the strings, byte arrays and elements of the stretch may have.
    pub(super) limit: usize,
    /// A bit for each column that got what its stretch does not take.
    pub(super) slow: &'a mut u32,
    /// A row must not get through any more.
    pub(super) failed: bool,
}

impl Aside<'_> {
    /// So many columns are left behind this one. The answer is what the rows take with the value.
    #[inline(never)]
    fn put(
        &mut self,
        left: usize,
        to: &mut Stretch<'_>,
        (at, variable): (usize, usize),
        datum: Datum<'_>,
    ) -> Result<usize, Alone> {
        let mut room = Room::new(variable, self.limit);
        match to {
            Stretch::Other(column) => {
                if column.put_deep(self.first + at, datum, &mut room).is_ok() {
                    return Ok(room.used());
                }
            }
            _ => *self.slow |= 1 << (self.schema.columns().len() - left - 1),
        }
        self.fail()
    }

    #[cold]
    fn fail<T>(&mut self) -> Result<T, Alone> {
        self.failed = true;
        Err(Alone)
    }
}

/// Takes the values of one row of a stretch, in registers as [`RowWriter`] does.
///
/// [`RowWriter`]: super::writer::RowWriter
pub(super) struct StretchWriter<'s, 'a, 'r> {
    columns: std::slice::IterMut<'s, Stretch<'a>>,
    at: usize,
    /// Bytes of the strings and byte arrays of this row and those before it.
    variable: usize,
    aside: &'r mut Aside<'a>,
}

impl<'s, 'a, 'r> StretchWriter<'s, 'a, 'r> {
    /// For the row with this index in the stretch, behind rows that take so many bytes.
    #[inline(always)]
    pub(super) fn new(
        columns: &'s mut [Stretch<'a>],
        aside: &'r mut Aside<'a>,
        at: usize,
        variable: usize,
    ) -> Self {
        Self { columns: columns.iter_mut(), at: at % ROWS, variable, aside }
    }

    /// What the rows take with this one, if every column has its value.
    #[inline(always)]
    pub(super) fn finish(self) -> Option<usize> {
        (self.columns.len() == 0 && !self.aside.failed).then_some(self.variable)
    }

    #[inline(always)]
    fn column(&mut self) -> Result<&'s mut Stretch<'a>, Alone> {
        match self.columns.next() {
            Some(column) => Ok(column),
            None => self.aside.fail(),
        }
    }

    #[inline(always)]
    fn any(&mut self, to: &mut Stretch<'a>, datum: Datum<'_>) -> Result<(), Alone> {
        self.variable = self.aside.put(self.columns.len(), to, (self.at, self.variable), datum)?;
        Ok(())
    }

    /// Takes a value of one of the types that come less often.
    #[inline]
    fn put_other(&mut self, datum: Datum<'_>) -> Result<(), Alone> {
        let at = self.at % ROWS;
        // What a column has no unit for goes in alone, which has the words for it.
        match (self.column()?, datum) {
            (Stretch::Int8(values), Datum::Int8(value)) => values[at] = value,
            (Stretch::Int16(values), Datum::Int16(value)) => values[at] = value,
            (Stretch::Float32(values), Datum::Float32(value)) => values[at] = value,
            (Stretch::Date(values), Datum::Date(value)) => values[at] = value,
            (Stretch::Time32(values, grain), Datum::Time(value)) => {
                values[at] = convert::time32(value, *grain).or_else(|_| self.aside.fail())?;
            }
            (Stretch::Time64(values, grain), Datum::Time(value)) => {
                values[at] = convert::time64(value, *grain).or_else(|_| self.aside.fail())?;
            }
            (Stretch::Timestamp(values, grain), Datum::Timestamp(value))
            | (Stretch::TimestampLtz(values, grain), Datum::TimestampLtz(value)) => {
                values[at] = convert::timestamp(value, *grain).or_else(|_| self.aside.fail())?;
            }
            (other, datum) => return self.any(other, datum),
        }
        Ok(())
    }

    #[inline(always)]
    fn text(&mut self, to: &mut Texts<'a>, value: &[u8]) -> Result<(), Alone> {
        // Neither is more than memory holds, so that this does not overflow.
        self.variable += value.len();
        if self.variable > self.aside.limit {
            return self.aside.fail();
        }
        to.data.extend_from_slice(value);
        // The batch's limits keep the sum of all lengths below 2 GiB.
        to.ends[self.at % ROWS] = to.data.len() as i32;
        Ok(())
    }
}

/// One store when the column has exactly this type, else the general way.
macro_rules! typed {
    ($method:ident, $type:ty, $variant:ident) => {
        #[inline(always)]
        fn $method(&mut self, value: $type) -> Result<(), Alone> {
            match self.column()? {
                Stretch::$variant(values) => {
                    values[self.at % ROWS] = value;
                    Ok(())
                }
                other => self.any(other, Datum::$variant(value)),
            }
        }
    };
}

impl RowSink for StretchWriter<'_, '_, '_> {
    type Error = Alone;

    #[inline]
    fn columns(&self) -> Option<Columns<'_>> {
        Some(Columns::all(self.aside.schema))
    }

    #[inline(always)]
    fn put(&mut self, datum: Datum<'_>) -> Result<(), Alone> {
        match datum {
            Datum::Int32(value) => self.put_i32(value),
            Datum::Int64(value) => self.put_i64(value),
            Datum::Float64(value) => self.put_f64(value),
            Datum::Str(value) => self.put_str(value),
            Datum::Bytes(value) => self.put_bytes(value),
            other => self.put_other(other),
        }
    }

    typed!(put_i32, i32, Int32);
    typed!(put_i64, i64, Int64);
    typed!(put_f64, f64, Float64);

    #[inline(always)]
    fn put_str(&mut self, value: &str) -> Result<(), Alone> {
        match self.column()? {
            Stretch::Text(to) if !to.bytes => {
                if is_longer(value, to.characters) {
                    return self.aside.fail();
                }
                self.text(to, value.as_bytes())
            }
            other => self.any(other, Datum::Str(value)),
        }
    }

    #[inline(always)]
    fn put_bytes(&mut self, value: &[u8]) -> Result<(), Alone> {
        match self.column()? {
            Stretch::Text(to) if to.bytes => self.text(to, value),
            other => self.any(other, Datum::Bytes(value)),
        }
    }
}
