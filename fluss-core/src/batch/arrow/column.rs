//! The buffers one column of an open batch grows in.
//!
//! Every type has its own variant with its own typed buffer, so that taking a value is one match
//! and one push. The buffers outlive the batch: sealing copies them out and clears them.

use arrow_buffer::ToByteSlice;

use super::bits::{Bits, Validity};
use super::convert::{self, Grain, WRONG_TYPE};
use super::shrink::Buffer;
use crate::row::{CHARACTERS, DataType, Datum, Deep, TypeKind, is_longer};

/// Why a column does not take a value.
#[derive(Debug)]
pub(in crate::batch) enum Refusal {
    /// Null in a NOT NULL column.
    Null,
    /// Anything else.
    Value(&'static str),
    /// A value within a nested one.
    Deep(Box<Deep>),
    /// It takes more bytes than are allowed.
    TooLarge,
}

impl From<&'static str> for Refusal {
    fn from(reason: &'static str) -> Self {
        Self::Value(reason)
    }
}

/// One column.
#[derive(Debug)]
pub(in crate::batch) struct Column {
    pub(super) values: Values,
    pub(super) validity: Validity,
    nullable: bool,
}

/// The values of one column. Null values take their place too, as zeros.
#[derive(Debug)]
pub(super) enum Values {
    Bool(Bits),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal {
        unscaled: Vec<i128>,
        precision: u8,
        scale: u8,
    },
    Text(Variable),
    Bytes(Variable),
    Fixed {
        bytes: Vec<u8>,
        width: usize,
    },
    Date(Vec<i32>),
    Time32(Vec<i32>, Grain),
    Time64(Vec<i64>, Grain),
    Timestamp(Vec<i64>, Grain),
    TimestampLtz(Vec<i64>, Grain),
    /// ARRAY: where each one's elements end, behind a leading zero, and all elements.
    List {
        offsets: Vec<i32>,
        element: Box<Column>,
    },
    /// MAP: likewise, with all keys and all values.
    Map {
        offsets: Vec<i32>,
        key: Box<Column>,
        value: Box<Column>,
    },
    /// ROW: a column for each field.
    Struct(Box<[Column]>),
}

/// Values of varying length, one behind the other.
#[derive(Debug)]
pub(super) struct Variable {
    /// Where each value ends, behind a leading zero.
    pub(super) offsets: Vec<i32>,
    pub(super) data: Vec<u8>,
    /// The most characters of a value; beyond all texts where there is no such limit.
    pub(super) characters: u32,
}

impl Variable {
    fn new(characters: u32) -> Self {
        Self { offsets: vec![0], data: Vec::new(), characters }
    }

    /// Whether each value is to be looked at, as only so many characters are allowed.
    pub(super) fn is_limited(&self) -> bool {
        self.characters != u32::MAX
    }

    /// Takes a value. The batch's limits keep the sum of all lengths below 2 GiB.
    #[inline]
    pub(super) fn push(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.offsets.push(self.data.len() as i32);
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.data.truncate(end_of(&self.offsets));
    }
}

/// What one value of a type adds to a batch, besides its validity bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footprint {
    /// Bytes of each value.
    pub(super) bytes: usize,
    /// Bits of each value.
    pub(super) bits: usize,
    /// Buffers, the validity bitmap included.
    pub(super) buffers: usize,
}

impl Column {
    /// The column of this type.
    pub(in crate::batch) fn new(data_type: &DataType) -> Self {
        let values = match data_type.kind {
            TypeKind::Boolean => Values::Bool(Bits::default()),
            TypeKind::TinyInt => Values::Int8(Vec::new()),
            TypeKind::SmallInt => Values::Int16(Vec::new()),
            TypeKind::Int => Values::Int32(Vec::new()),
            TypeKind::BigInt => Values::Int64(Vec::new()),
            TypeKind::Float => Values::Float32(Vec::new()),
            TypeKind::Double => Values::Float64(Vec::new()),
            TypeKind::Decimal { precision, scale } => {
                Values::Decimal { unscaled: Vec::new(), precision, scale }
            }
            TypeKind::Char(length) => Values::Text(Variable::new(length)),
            TypeKind::String => Values::Text(Variable::new(u32::MAX)),
            TypeKind::Bytes => Values::Bytes(Variable::new(u32::MAX)),
            TypeKind::Binary(length) => Values::Fixed { bytes: Vec::new(), width: length as usize },
            TypeKind::Date => Values::Date(Vec::new()),
            TypeKind::Time(precision @ 0..=3) => {
                Values::Time32(Vec::new(), Grain::of_precision(precision))
            }
            TypeKind::Time(precision) => Values::Time64(Vec::new(), Grain::of_precision(precision)),
            TypeKind::Timestamp(precision) => {
                Values::Timestamp(Vec::new(), Grain::of_precision(precision))
            }
            TypeKind::TimestampLtz(precision) => {
                Values::TimestampLtz(Vec::new(), Grain::of_precision(precision))
            }
            TypeKind::Array(ref element) => {
                Values::List { offsets: vec![0], element: Box::new(Self::new(element)) }
            }
            TypeKind::Map(ref key, ref value) => {
                let mut key = Self::new(key);
                key.nullable = false;
                let (key, value) = (Box::new(key), Box::new(Self::new(value)));
                Values::Map { offsets: vec![0], key, value }
            }
            TypeKind::Row(ref fields) => {
                Values::Struct(fields.iter().map(|field| Self::new(&field.data_type)).collect())
            }
        };
        Self { values, validity: Validity::default(), nullable: data_type.nullable }
    }

    /// Whether each value has its place in this column alone.
    pub(super) fn is_flat(&self) -> bool {
        !matches!(self.values, Values::List { .. } | Values::Map { .. } | Values::Struct(_))
    }

    pub(super) fn footprint(&self) -> Footprint {
        let (bytes, bits, buffers) = match &self.values {
            Values::Bool(_) => (0, 1, 2),
            Values::Int8(_) => (1, 0, 2),
            Values::Int16(_) => (2, 0, 2),
            Values::Int32(_) | Values::Float32(_) | Values::Date(_) | Values::Time32(..) => {
                (4, 0, 2)
            }
            Values::Int64(_)
            | Values::Float64(_)
            | Values::Time64(..)
            | Values::Timestamp(..)
            | Values::TimestampLtz(..) => (8, 0, 2),
            Values::Decimal { .. } => (16, 0, 2),
            Values::Fixed { width, .. } => (*width, 0, 2),
            Values::Text(_) | Values::Bytes(_) => (4, 0, 3),
            Values::List { .. } | Values::Map { .. } => (4, 0, 2),
            Values::Struct(_) => (0, 0, 1),
        };
        Footprint { bytes, bits, buffers }
    }

    /// Takes any value that fits, after the typed fast paths of the row writer did not apply.
    ///
    /// Strings and bytes come with the caller's promise that their length was accounted for.
    pub(super) fn put(&mut self, row: usize, datum: Datum<'_>) -> Result<(), Refusal> {
        if matches!(datum, Datum::Null) {
            return self.put_null(row);
        }
        match (&mut self.values, datum) {
            (Values::Bool(values), Datum::Bool(value)) => values.push(value),
            (Values::Int8(values), datum) => values.push(convert::narrow(datum)?),
            (Values::Int16(values), datum) => values.push(convert::narrow(datum)?),
            (Values::Int32(values), datum) => values.push(convert::narrow(datum)?),
            (Values::Int64(values), datum) => values.push(convert::integer(datum)?),
            (Values::Float32(values), Datum::Float32(value)) => values.push(value),
            (Values::Float64(values), Datum::Float32(value)) => values.push(value.into()),
            (Values::Float64(values), Datum::Float64(value)) => values.push(value),
            (Values::Decimal { unscaled, precision, scale }, Datum::Decimal(value)) => {
                unscaled.push(convert::decimal(*value, *precision, *scale)?);
            }
            (Values::Text(values), Datum::Str(value)) => {
                if is_longer(value, values.characters) {
                    return Err(CHARACTERS.into());
                }
                values.push(value.as_bytes());
            }
            (Values::Bytes(values), Datum::Bytes(value)) => values.push(value),
            (Values::Fixed { bytes, width }, Datum::Bytes(value)) => {
                if value.len() != *width {
                    return Err("it must have exactly the column's length".into());
                }
                bytes.extend_from_slice(value);
            }
            (Values::Date(values), Datum::Date(value)) => values.push(value),
            (Values::Time32(values, grain), Datum::Time(value)) => {
                values.push(convert::time32(value, *grain)?);
            }
            (Values::Time64(values, grain), Datum::Time(value)) => {
                values.push(convert::time64(value, *grain)?);
            }
            (Values::Timestamp(values, grain), Datum::Timestamp(value))
            | (Values::TimestampLtz(values, grain), Datum::TimestampLtz(value)) => {
                values.push(convert::timestamp(value, *grain)?);
            }
            _ => return Err(WRONG_TYPE.into()),
        }
        self.validity.push_valid();
        Ok(())
    }

    pub(super) fn put_null(&mut self, row: usize) -> Result<(), Refusal> {
        if !self.nullable {
            return Err(Refusal::Null);
        }
        self.put_absent(row);
        Ok(())
    }

    /// Takes the place of a value that is not there: null, or a field of a ROW that is null.
    pub(super) fn put_absent(&mut self, row: usize) {
        match &mut self.values {
            Values::Bool(values) => values.push(false),
            Values::Int8(values) => values.push(0),
            Values::Int16(values) => values.push(0),
            Values::Int32(values) | Values::Date(values) | Values::Time32(values, _) => {
                values.push(0);
            }
            Values::Int64(values)
            | Values::Time64(values, _)
            | Values::Timestamp(values, _)
            | Values::TimestampLtz(values, _) => values.push(0),
            Values::Float32(values) => values.push(0.0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal { unscaled, .. } => unscaled.push(0),
            Values::Text(values) | Values::Bytes(values) => values.push(&[]),
            Values::Fixed { bytes, width } => bytes.resize(bytes.len() + *width, 0),
            Values::List { offsets, .. } | Values::Map { offsets, .. } => {
                offsets.push(end_of(offsets) as i32);
            }
            Values::Struct(fields) => fields.iter_mut().for_each(|field| field.put_absent(row)),
        }
        self.validity.push_null(row);
    }

    /// Forgets everything behind the first `rows` rows.
    pub(super) fn roll_back(&mut self, rows: usize) {
        self.validity.roll_back(rows);
        self.truncate(rows);
    }

    /// All buffers of the column, always in this order.
    pub(super) fn each_buffer(&mut self, act: &mut dyn FnMut(&mut dyn Buffer)) {
        act(self.validity.buffer());
        match &mut self.values {
            Values::Bool(values) => act(values.buffer()),
            Values::Int8(values) => act(values),
            Values::Int16(values) => act(values),
            Values::Int32(values) | Values::Date(values) | Values::Time32(values, _) => act(values),
            Values::Int64(values)
            | Values::Time64(values, _)
            | Values::Timestamp(values, _)
            | Values::TimestampLtz(values, _) => act(values),
            Values::Float32(values) => act(values),
            Values::Float64(values) => act(values),
            Values::Decimal { unscaled, .. } => act(unscaled),
            Values::Text(values) | Values::Bytes(values) => {
                act(&mut values.offsets);
                act(&mut values.data);
            }
            Values::Fixed { bytes, .. } => act(bytes),
            Values::List { offsets, element } => {
                act(offsets);
                element.each_buffer(act);
            }
            Values::Map { offsets, key, value } => {
                act(offsets);
                key.each_buffer(act);
                value.each_buffer(act);
            }
            Values::Struct(fields) => fields.iter_mut().for_each(|field| field.each_buffer(act)),
        }
    }

    /// Forgets all rows and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.validity.clear();
        self.truncate(0);
    }

    fn truncate(&mut self, rows: usize) {
        match &mut self.values {
            Values::Bool(values) => values.truncate(rows),
            Values::Int8(values) => values.truncate(rows),
            Values::Int16(values) => values.truncate(rows),
            Values::Int32(values) | Values::Date(values) | Values::Time32(values, _) => {
                values.truncate(rows);
            }
            Values::Int64(values)
            | Values::Time64(values, _)
            | Values::Timestamp(values, _)
            | Values::TimestampLtz(values, _) => values.truncate(rows),
            Values::Float32(values) => values.truncate(rows),
            Values::Float64(values) => values.truncate(rows),
            Values::Decimal { unscaled, .. } => unscaled.truncate(rows),
            Values::Text(values) | Values::Bytes(values) => values.truncate(rows),
            Values::Fixed { bytes, width } => bytes.truncate(rows * *width),
            Values::List { offsets, element } => {
                offsets.truncate(rows + 1);
                element.roll_back(end_of(offsets));
            }
            Values::Map { offsets, key, value } => {
                offsets.truncate(rows + 1);
                key.roll_back(end_of(offsets));
                value.roll_back(end_of(offsets));
            }
            Values::Struct(fields) => fields.iter_mut().for_each(|field| field.roll_back(rows)),
        }
    }

    /// The value buffers in the order of the Arrow layout, behind the validity bitmap and before
    /// those of nested columns. Arrow is little-endian, and so is every machine arrow runs on.
    pub(super) fn buffers(&self) -> (Option<&[u8]>, Option<&[u8]>) {
        let only = match &self.values {
            Values::Bool(values) => values.as_bytes(),
            Values::Int8(values) => values.to_byte_slice(),
            Values::Int16(values) => values.to_byte_slice(),
            Values::Int32(values) | Values::Date(values) | Values::Time32(values, _) => {
                values.to_byte_slice()
            }
            Values::Int64(values)
            | Values::Time64(values, _)
            | Values::Timestamp(values, _)
            | Values::TimestampLtz(values, _) => values.to_byte_slice(),
            Values::Float32(values) => values.to_byte_slice(),
            Values::Float64(values) => values.to_byte_slice(),
            Values::Decimal { unscaled, .. } => unscaled.to_byte_slice(),
            Values::Fixed { bytes, .. } => bytes,
            Values::Text(values) | Values::Bytes(values) => {
                return (Some(values.offsets.to_byte_slice()), Some(&values.data));
            }
            Values::List { offsets, .. } | Values::Map { offsets, .. } => offsets.to_byte_slice(),
            Values::Struct(_) => return (None, None),
        };
        (Some(only), None)
    }
}

/// Where the last value of a list ends; an offset was made from a length, so it is not negative.
pub(super) fn end_of(offsets: &[i32]) -> usize {
    offsets.last().map_or(0, |&end| end as usize)
}
