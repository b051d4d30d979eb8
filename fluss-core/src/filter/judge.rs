//! Which rows of decoded columns pass.

use std::cmp::Ordering;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{BooleanBuffer, NullBuffer};

use super::Test;
use super::bind::{Bound, Branch, Question};
use super::literal::{Literals, order_f32, order_f64};
use crate::row::{Timestamp, TypeKind};

/// An array that is not what its column's type says.
type Misfit = String;

impl Bound {
    /// Which rows pass. `columns` are those of [`Bound::columns`], in this order, with so many
    /// rows.
    ///
    /// # Errors
    /// An array has another type than its column.
    pub(crate) fn judge(&self, columns: &[ArrayRef], rows: usize) -> Result<BooleanBuffer, Misfit> {
        self.root.judge(columns, rows)
    }
}

impl Branch {
    fn judge(&self, columns: &[ArrayRef], rows: usize) -> Result<BooleanBuffer, Misfit> {
        let (parts, all) = match self {
            Self::Leaf(question) => {
                let array = columns.get(question.column);
                let array = array.filter(|array| array.len() == rows);
                let array = array.ok_or_else(|| "a column of the filter is missing".to_owned())?;
                return question.judge(array);
            }
            Self::And(parts) => (parts, true),
            Self::Or(parts) => (parts, false),
        };
        let mut sum: Option<BooleanBuffer> = None;
        for part in parts {
            let settled = if all { 0 } else { rows };
            if sum.as_ref().is_some_and(|sum| sum.count_set_bits() == settled) {
                break;
            }
            let passed = part.judge(columns, rows)?;
            sum = Some(match sum {
                None => passed,
                Some(sum) if all => &sum & &passed,
                Some(sum) => &sum | &passed,
            });
        }
        Ok(sum.unwrap_or_else(|| if all { BooleanBuffer::new_set(rows) } else { unset(rows) }))
    }
}

fn unset(rows: usize) -> BooleanBuffer {
    BooleanBuffer::new_unset(rows)
}

impl Question {
    fn judge(&self, array: &ArrayRef) -> Result<BooleanBuffer, Misfit> {
        let (rows, nulls) = (array.len(), array.nulls());
        match self.test {
            Test::IsNull => return Ok(nulls.map_or_else(|| unset(rows), |nulls| !nulls.inner())),
            Test::IsNotNull => {
                let valid = nulls.map(|nulls| nulls.inner().clone());
                return Ok(valid.unwrap_or_else(|| BooleanBuffer::new_set(rows)));
            }
            _ if self.never => return Ok(unset(rows)),
            _ => {}
        }
        match &self.literals {
            Literals::Ints(list) => self.ints(array, list),
            Literals::Floats(list) => {
                let values = scalars::<Float32Type>(array)?;
                Ok(self.compare(array, list, |row, literal| order_f32(values[row], *literal)))
            }
            Literals::Doubles(list) => {
                let values = scalars::<Float64Type>(array)?;
                Ok(self.compare(array, list, |row, literal| order_f64(values[row], *literal)))
            }
            Literals::Decimals(list) => {
                let values = scalars::<Decimal128Type>(array)?;
                Ok(self.compare(array, list, |row, literal| values[row].cmp(literal)))
            }
            Literals::Bytes(list) => self.bytes(array, list),
            Literals::Instants(list) => self.instants(array, list),
        }
    }

    fn ints(&self, array: &ArrayRef, list: &[i64]) -> Result<BooleanBuffer, Misfit> {
        match self.kind {
            TypeKind::Boolean => {
                let values = array.as_boolean_opt().ok_or_else(|| misfit(array))?.values();
                let order = |row, literal: &i64| i64::from(values.value(row)).cmp(literal);
                Ok(self.compare(array, list, order))
            }
            TypeKind::TinyInt => self.numbers::<Int8Type>(array, list, i64::from),
            TypeKind::SmallInt => self.numbers::<Int16Type>(array, list, i64::from),
            TypeKind::Int => self.numbers::<Int32Type>(array, list, i64::from),
            TypeKind::Date => self.numbers::<Date32Type>(array, list, i64::from),
            TypeKind::Time(0) => {
                self.numbers::<Time32SecondType>(array, list, |value| i64::from(value) * 1_000)
            }
            TypeKind::Time(1..=3) => self.numbers::<Time32MillisecondType>(array, list, i64::from),
            TypeKind::Time(4..=6) => {
                self.numbers::<Time64MicrosecondType>(array, list, |value| value / 1_000)
            }
            TypeKind::Time(_) => {
                self.numbers::<Time64NanosecondType>(array, list, |value| value / 1_000_000)
            }
            _ => self.numbers::<Int64Type>(array, list, |value| value),
        }
    }

    fn numbers<T: ArrowPrimitiveType>(
        &self,
        array: &ArrayRef,
        list: &[i64],
        number: impl Fn(T::Native) -> i64,
    ) -> Result<BooleanBuffer, Misfit> {
        let values = scalars::<T>(array)?;
        Ok(self.compare(array, list, |row, literal| number(values[row]).cmp(literal)))
    }

    fn bytes(&self, array: &ArrayRef, list: &[Vec<u8>]) -> Result<BooleanBuffer, Misfit> {
        let nulls = array.nulls();
        match self.kind {
            TypeKind::Binary(_) => {
                let values = array.as_fixed_size_binary_opt().ok_or_else(|| misfit(array))?;
                let order = |row, literal: &Vec<u8>| values.value(row).cmp(literal.as_slice());
                Ok(self.compare(array, list, order))
            }
            TypeKind::Bytes => {
                let values = array.as_binary_opt::<i32>().ok_or_else(|| misfit(array))?;
                let order = |row, literal: &Vec<u8>| values.value(row).cmp(literal.as_slice());
                Ok(self.compare(array, list, order))
            }
            _ => {
                let values = array.as_string_opt::<i32>().ok_or_else(|| misfit(array))?;
                let bytes = |row| values.value(row).as_bytes();
                // It was a text.
                let text = list.first().map_or(&[][..], |text| text.as_slice());
                let inner = std::str::from_utf8(text).unwrap_or_default();
                Ok(match self.test {
                    Test::StartsWith => passed(array, nulls, |row| bytes(row).starts_with(text)),
                    Test::EndsWith => passed(array, nulls, |row| bytes(row).ends_with(text)),
                    Test::Contains => passed(array, nulls, |row| values.value(row).contains(inner)),
                    _ => {
                        let order = |row, literal: &Vec<u8>| bytes(row).cmp(literal.as_slice());
                        self.compare(array, list, order)
                    }
                })
            }
        }
    }

    fn instants(&self, array: &ArrayRef, list: &[Timestamp]) -> Result<BooleanBuffer, Misfit> {
        let (TypeKind::Timestamp(precision) | TypeKind::TimestampLtz(precision)) = self.kind else {
            return Err(misfit(array));
        };
        match precision {
            0 => {
                // Nobody can have a literal that is so far away that the difference would count.
                let time = |value: i64| Timestamp::from_millis(value.saturating_mul(1_000));
                self.times::<TimestampSecondType>(array, list, time)
            }
            1..=3 => self.times::<TimestampMillisecondType>(array, list, Timestamp::from_millis),
            4..=6 => self.times::<TimestampMicrosecondType>(array, list, Timestamp::from_micros),
            _ => self.times::<TimestampNanosecondType>(array, list, Timestamp::from_nanos),
        }
    }

    fn times<T: ArrowPrimitiveType<Native = i64>>(
        &self,
        array: &ArrayRef,
        list: &[Timestamp],
        time: impl Fn(i64) -> Timestamp,
    ) -> Result<BooleanBuffer, Misfit> {
        let values = scalars::<T>(array)?;
        Ok(self.compare(array, list, |row, literal| time(values[row]).cmp(literal)))
    }

    /// `order`: how a row's value stands to a literal.
    fn compare<L>(
        &self,
        array: &ArrayRef,
        list: &[L],
        order: impl Fn(usize, &L) -> Ordering,
    ) -> BooleanBuffer {
        let nulls = array.nulls();
        let among = |row| list.binary_search_by(|literal| order(row, literal).reverse()).is_ok();
        match (self.test, list) {
            (Test::In, _) => passed(array, nulls, among),
            (Test::NotIn, _) => passed(array, nulls, |row| !among(row)),
            (Test::Equal, [than]) => passed(array, nulls, |row| order(row, than).is_eq()),
            (Test::NotEqual, [than]) => passed(array, nulls, |row| order(row, than).is_ne()),
            (Test::Less, [than]) => passed(array, nulls, |row| order(row, than).is_lt()),
            (Test::LessOrEqual, [than]) => passed(array, nulls, |row| order(row, than).is_le()),
            (Test::Greater, [than]) => passed(array, nulls, |row| order(row, than).is_gt()),
            (Test::GreaterOrEqual, [than]) => passed(array, nulls, |row| order(row, than).is_ge()),
            // Each of the other comparisons has one literal.
            _ => unset(array.len()),
        }
    }
}

/// The rows that are not null and pass.
fn passed(
    array: &ArrayRef,
    nulls: Option<&NullBuffer>,
    test: impl Fn(usize) -> bool,
) -> BooleanBuffer {
    let passed = BooleanBuffer::collect_bool(array.len(), test);
    match nulls {
        Some(nulls) => &passed & nulls.inner(),
        None => passed,
    }
}

fn scalars<T: ArrowPrimitiveType>(array: &ArrayRef) -> Result<&[T::Native], Misfit> {
    Ok(array.as_primitive_opt::<T>().ok_or_else(|| misfit(array))?.values())
}

fn misfit(array: &ArrayRef) -> Misfit {
    format!("a column of the filter has the type {}", array.data_type())
}
