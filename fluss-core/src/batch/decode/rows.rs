//! Rows as views over decoded columns.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, RecordBatch, StringArray,
};
use arrow_buffer::{ArrowNativeType, NullBuffer, ScalarBuffer};
use fluss_proto::record::{ChangeType, ChangeTypes, LogBatch};

use super::DecodeError;
use super::get::{FromColumn, Slot};
use super::nested::{self, MAX_NESTED_BYTES};
use crate::batch::arrow::convert::Unit;
use crate::batch::arrow_type_of;
use crate::row::{Datum, Decimal, OwnedDatum, Row, RowSink, Schema, Timestamp, TypeKind};

/// Milliseconds of a day.
const DAY_MILLIS: i64 = 86_400_000;

/// The rows of a batch. Each row is a view: values are read where they lie in the columns.
#[derive(Clone, Debug)]
pub struct LogRows {
    schema: Schema,
    columns: Vec<(Values, Option<NullBuffer>)>,
    rows: usize,
    base_offset: i64,
    /// From one row's offset to the next: 1, and 0 where all rows are of one moment.
    step: i64,
    /// The places in the batch of these rows, ascending, where some were left out.
    kept: Option<Arc<[u32]>>,
    timestamp: i64,
    change_types: ChangeTypes,
}

/// A column with its type resolved once per batch instead of once per value.
#[derive(Clone, Debug)]
pub(super) enum Values {
    Bool(BooleanArray),
    Int8(ScalarBuffer<i8>),
    Int16(ScalarBuffer<i16>),
    Int32(ScalarBuffer<i32>),
    Int64(ScalarBuffer<i64>),
    Float32(ScalarBuffer<f32>),
    Float64(ScalarBuffer<f64>),
    /// `Datum` borrows its decimals, so they are laid out once per batch.
    Decimal(Vec<Decimal>),
    Text(StringArray),
    Bytes(BinaryArray),
    Fixed(FixedSizeBinaryArray),
    Date(ScalarBuffer<i32>),
    Time32(ScalarBuffer<i32>, Unit),
    Time64(ScalarBuffer<i64>, Unit),
    Timestamp(ScalarBuffer<i64>, Unit),
    TimestampLtz(ScalarBuffer<i64>, Unit),
    /// ARRAY, MAP or ROW, taken out of the columns once per batch.
    Nested(Vec<OwnedDatum>),
}

/// Why a value of a row cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// There is no such column.
    #[error("column {index} does not exist, the row has {columns}")]
    NoColumn {
        /// The index asked for.
        index: usize,
        /// The number of columns.
        columns: usize,
    },
    /// There is no column of this name.
    #[error("there is no column `{name}`; the row has: {columns}")]
    NoName {
        /// The name asked for.
        name: String,
        /// The names there are.
        columns: String,
    },
    /// The column has another type.
    #[error("column `{column}` is {found}, which cannot be had as {wanted}")]
    Type {
        /// The column.
        column: String,
        /// The type asked for.
        wanted: &'static str,
        /// The type it has.
        found: String,
    },
    /// The value is null.
    #[error("column `{column}` is null; take it as Option<{wanted}>")]
    Null {
        /// The column.
        column: String,
        /// The type asked for.
        wanted: &'static str,
    },
}

impl LogRows {
    /// The rows of `columns`, which were decoded from `batch`.
    pub(crate) fn new(
        schema: &Schema,
        columns: &RecordBatch,
        batch: &LogBatch,
        change_types: ChangeTypes,
    ) -> Result<Self, DecodeError> {
        let place = (batch.base_offset(), 1, batch.commit_timestamp());
        Self::placed(schema, columns, place, change_types)
    }

    /// The same where `columns` and `change_types` are those of the rows at these places of the
    /// batch only.
    pub(crate) fn kept(self, places: Option<Arc<[u32]>>) -> Self {
        Self { kept: places, ..self }
    }

    /// The rows of a state, which all have the offset that the state belongs to.
    pub(crate) fn of_state(
        schema: &Schema,
        columns: &RecordBatch,
        offset: i64,
    ) -> Result<Self, DecodeError> {
        let inserts = std::iter::repeat_n(ChangeType::Insert, columns.num_rows()).collect();
        Self::placed(schema, columns, (offset, 0, -1), inserts)
    }

    fn placed(
        schema: &Schema,
        columns: &RecordBatch,
        (base_offset, step, timestamp): (i64, i64, i64),
        change_types: ChangeTypes,
    ) -> Result<Self, DecodeError> {
        let nested = schema.columns().iter().zip(columns.columns());
        let nested = nested.filter(|(column, _)| !column.data_type.kind.is_scalar());
        let count: usize = nested.map(|(_, array)| nested::count(array)).sum();
        let needed = count.saturating_mul(size_of::<OwnedDatum>());
        if needed > MAX_NESTED_BYTES {
            let (needed, limit) = (needed as u64, MAX_NESTED_BYTES as u64);
            return Err(DecodeError::TooLarge { needed, limit });
        }
        let mut values = Vec::with_capacity(columns.num_columns());
        for (column, array) in schema.columns().iter().zip(columns.columns()) {
            let read = Values::of(&column.data_type.kind, array);
            let read = read.map_err(|what| DecodeError::column(&column.name, what))?;
            values.push((read, array.nulls().cloned()));
        }
        Ok(Self {
            schema: schema.clone(),
            columns: values,
            rows: columns.num_rows(),
            base_offset,
            step,
            kept: None,
            timestamp,
            change_types,
        })
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

    /// The columns of each row.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The row at this index of the batch.
    #[must_use]
    pub fn row(&self, index: usize) -> Option<RowView<'_>> {
        (index < self.rows).then_some(RowView { rows: self, index })
    }

    /// The rows from the first to the last.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RowView<'_>> {
        (0..self.rows).map(|index| RowView { rows: self, index })
    }

    /// The rows from this offset on; a fetched batch may begin before the offset asked for.
    pub fn iter_from(&self, offset: i64) -> impl ExactSizeIterator<Item = RowView<'_>> {
        let skipped = usize::try_from(offset.saturating_sub(self.base_offset)).unwrap_or(0);
        let skipped = match &self.kept {
            Some(kept) => kept.partition_point(|place| (*place as usize) < skipped),
            None => skipped,
        };
        (skipped.min(self.rows)..self.rows).map(|index| RowView { rows: self, index })
    }
}

/// One row, borrowed from the batch it is in.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    rows: &'a LogRows,
    index: usize,
}

impl<'a> RowView<'a> {
    /// The value of a column.
    ///
    /// # Errors
    /// There is no such column.
    #[inline]
    pub fn value(&self, column: usize) -> Result<Datum<'a>, ValueError> {
        self.get(column)
    }

    /// The value of a column as this type; [`FromColumn`] has the list of them. The quickest way
    /// to the values of many rows.
    ///
    /// ```
    /// # fn example(rows: &fluss_core::ScanRows) -> Result<(), Box<dyn std::error::Error>> {
    /// for row in rows.iter() {
    ///     let (id, name): (i64, Option<&str>) = (row.get(0)?, row.get(1)?);
    ///     println!("{id}: {}", name.unwrap_or("nobody"));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// There is no such column, it has another type, or the value is null and `T` is no [`Option`].
    #[inline]
    pub fn get<T: FromColumn<'a>>(&self, column: usize) -> Result<T, ValueError> {
        let Some((values, nulls)) = self.rows.columns.get(column) else {
            return Err(self.cannot::<T>(column, false));
        };
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(self.index)) {
            return T::null().ok_or_else(|| self.cannot::<T>(column, true));
        }
        T::take(Slot { values, row: self.index }).ok_or_else(|| self.cannot::<T>(column, false))
    }

    #[cold]
    fn cannot<T>(&self, index: usize, null: bool) -> ValueError {
        let schema = &self.rows.schema;
        let Some(column) = schema.columns().get(index) else {
            return ValueError::NoColumn { index, columns: schema.columns().len() };
        };
        let (column, wanted) = (column.name.clone(), std::any::type_name::<T>());
        match null {
            true => ValueError::Null { column, wanted },
            false => {
                let found = schema.columns()[index].data_type.to_string();
                ValueError::Type { column, wanted, found }
            }
        }
    }

    /// The value of the column with this name. Looking the name up costs a comparison per column:
    /// in a loop over many rows, use `schema().index_of(name)` once and [`value`](Self::value).
    ///
    /// # Errors
    /// As for [`value`](Self::value).
    pub fn value_of(&self, name: &str) -> Result<Datum<'a>, ValueError> {
        match self.rows.schema.index_of(name) {
            Some(column) => self.value(column),
            None => {
                let names: Vec<_> =
                    self.rows.schema.columns().iter().map(|c| c.name.as_str()).collect();
                Err(ValueError::NoName { name: name.to_owned(), columns: names.join(", ") })
            }
        }
    }

    /// What the record did to its table.
    #[must_use]
    pub fn change_type(&self) -> ChangeType {
        // There are as many change types as rows.
        self.rows.change_types.get(self.index).unwrap_or(ChangeType::Append)
    }

    /// The record's offset in its bucket.
    #[must_use]
    pub fn offset(&self) -> i64 {
        // A checked batch's offsets do not overflow.
        let place = match &self.rows.kept {
            Some(kept) => kept.get(self.index).map_or(0, |place| i64::from(*place)),
            None => self.rows.step * self.index as i64,
        };
        self.rows.base_offset + place
    }

    /// When the server committed the batch, in milliseconds since 1970; equal for all its rows.
    #[must_use]
    pub fn timestamp(&self) -> i64 {
        self.rows.timestamp
    }

    /// The row's columns.
    #[must_use]
    pub fn schema(&self) -> &'a Schema {
        &self.rows.schema
    }
}

/// A row read from one table can be written to another.
impl Row for RowView<'_> {
    fn arity(&self) -> usize {
        self.rows.columns.len()
    }

    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        (0..self.arity()).try_for_each(|i| sink.put(self.value(i).unwrap_or(Datum::Null)))
    }
}

impl Values {
    pub(super) fn of(kind: &TypeKind, array: &ArrayRef) -> Result<Self, String> {
        if array.data_type() != &arrow_type_of(kind) {
            return Err(format!("its array has the type {}", array.data_type()));
        }
        Ok(match kind {
            TypeKind::Boolean => Self::Bool(array.as_boolean().clone()),
            TypeKind::TinyInt => Self::Int8(scalars(array)),
            TypeKind::SmallInt => Self::Int16(scalars(array)),
            TypeKind::Int => Self::Int32(scalars(array)),
            TypeKind::BigInt => Self::Int64(scalars(array)),
            TypeKind::Float => Self::Float32(scalars(array)),
            TypeKind::Double => Self::Float64(scalars(array)),
            TypeKind::Decimal { scale, .. } => {
                let of = |&unscaled: &i128| Decimal { unscaled, scale: *scale };
                Self::Decimal(scalars::<i128>(array).iter().map(of).collect())
            }
            TypeKind::Char(_) | TypeKind::String => Self::Text(array.as_string().clone()),
            TypeKind::Bytes => Self::Bytes(array.as_binary().clone()),
            TypeKind::Binary(_) => Self::Fixed(array.as_fixed_size_binary().clone()),
            TypeKind::Date => Self::Date(scalars(array)),
            TypeKind::Time(precision) => match Unit::of_precision(*precision) {
                unit @ (Unit::Second | Unit::Millisecond) => {
                    let values: ScalarBuffer<i32> = scalars(array);
                    within_day(array, values.iter().map(|&value| value.into()), unit)?;
                    Self::Time32(values, unit)
                }
                unit => {
                    let values: ScalarBuffer<i64> = scalars(array);
                    within_day(array, values.iter().copied(), unit)?;
                    Self::Time64(values, unit)
                }
            },
            TypeKind::Timestamp(precision) => {
                let unit = Unit::of_precision(*precision);
                Self::Timestamp(timestamps(array, unit)?, unit)
            }
            TypeKind::TimestampLtz(precision) => {
                let unit = Unit::of_precision(*precision);
                Self::TimestampLtz(timestamps(array, unit)?, unit)
            }
            TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_) => {
                Self::Nested(nested::values(kind, array)?)
            }
        })
    }

    #[inline]
    pub(super) fn get(&self, row: usize) -> Datum<'_> {
        match self {
            Self::Bool(values) => Datum::Bool(values.value(row)),
            Self::Int8(values) => Datum::Int8(values[row]),
            Self::Int16(values) => Datum::Int16(values[row]),
            Self::Int32(values) => Datum::Int32(values[row]),
            Self::Int64(values) => Datum::Int64(values[row]),
            Self::Float32(values) => Datum::Float32(values[row]),
            Self::Float64(values) => Datum::Float64(values[row]),
            Self::Decimal(values) => Datum::Decimal(&values[row]),
            Self::Text(values) => Datum::Str(values.value(row)),
            Self::Bytes(values) => Datum::Bytes(values.value(row)),
            Self::Fixed(values) => Datum::Bytes(values.value(row)),
            Self::Date(values) => Datum::Date(values[row]),
            Self::Time32(values, unit) => Datum::Time(millis_of_time(values[row].into(), *unit)),
            Self::Time64(values, unit) => Datum::Time(millis_of_time(values[row], *unit)),
            Self::Timestamp(values, unit) => Datum::Timestamp(timestamp_of(values[row], *unit)),
            Self::TimestampLtz(values, unit) => {
                Datum::TimestampLtz(timestamp_of(values[row], *unit))
            }
            Self::Nested(values) => values[row].as_datum(),
        }
    }
}

/// The values of an array of fixed width, whatever its logical type.
fn scalars<T: ArrowNativeType>(array: &ArrayRef) -> ScalarBuffer<T> {
    let data = array.to_data();
    ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len())
}

/// Units of a column within a second.
fn per_second(unit: Unit) -> i64 {
    match unit {
        Unit::Second => 1,
        Unit::Millisecond => 1_000,
        Unit::Microsecond => 1_000_000,
        Unit::Nanosecond => 1_000_000_000,
    }
}

/// Checks that every time that is not null lies within a day.
fn within_day(
    array: &ArrayRef,
    values: impl Iterator<Item = i64>,
    unit: Unit,
) -> Result<(), String> {
    let end = per_second(unit) * (DAY_MILLIS / 1_000);
    for (row, value) in values.enumerate() {
        if !(0..end).contains(&value) && array.is_valid(row) {
            return Err(format!("{value} in row {row} is no time of day"));
        }
    }
    Ok(())
}

/// Timestamps whose milliseconds fit 64 bits, which only seconds can fail to do.
fn timestamps(array: &ArrayRef, unit: Unit) -> Result<ScalarBuffer<i64>, String> {
    let values: ScalarBuffer<i64> = scalars(array);
    if unit == Unit::Second {
        for (row, value) in values.iter().enumerate() {
            if value.checked_mul(1_000).is_none() && array.is_valid(row) {
                return Err(format!("{value} s in row {row} is out of range"));
            }
        }
    }
    Ok(values)
}

/// The milliseconds of a day; [`within_day`] has checked the value.
fn millis_of_time(value: i64, unit: Unit) -> i32 {
    let millis = match unit {
        Unit::Second => value * 1_000,
        Unit::Millisecond => value,
        Unit::Microsecond => value / 1_000,
        Unit::Nanosecond => value / 1_000_000,
    };
    millis as i32
}

/// The point in time; [`timestamps`] has checked the value. Rounds down, also before 1970.
fn timestamp_of(value: i64, unit: Unit) -> Timestamp {
    match unit {
        Unit::Second => Timestamp::from_millis(value * 1_000),
        Unit::Millisecond => Timestamp::from_millis(value),
        Unit::Microsecond => Timestamp::from_micros(value),
        Unit::Nanosecond => Timestamp::from_nanos(value),
    }
}
