//! ARRAY, MAP and ROW columns: values within values, each in the column of its own part.

use arrow_array::{ArrayRef, make_array};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_schema::{ArrowError, DataType as ArrowType, Field};

use super::column::{Column, Refusal, Values, end_of};
use super::convert::{WRONG_TYPE, floor_time32, floor_timestamp};
use crate::row::{Datum, Deep, Entries, FIELDS, Items, Step, Why};

/// What values within a row may take, in bytes. It keeps all offsets within 32 bits.
#[derive(Debug)]
pub(in crate::batch) struct Room {
    used: usize,
    limit: usize,
    pad: bool,
}

impl Room {
    pub(in crate::batch) fn new(used: usize, limit: usize) -> Self {
        Self { used, limit, pad: false }
    }

    /// For what is read from a log of rows: fills short BINARY values up with zero bytes, as
    /// formats have it that strip them, and takes texts and times as they are stored.
    pub(in crate::batch) fn padding(self) -> Self {
        Self { pad: true, ..self }
    }

    pub(in crate::batch) fn used(&self) -> usize {
        self.used
    }

    pub(in crate::batch) fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.limit { Err(Refusal::TooLarge) } else { Ok(()) }
    }
}

impl Refusal {
    /// The refusal as the value around the refused one sees it.
    #[cold]
    fn below(self, step: Step, datum: Datum<'_>) -> Self {
        let deep = match self {
            Self::Null => Deep::new(Why::Null, datum),
            Self::Value(reason) => Deep::new(Why::Reason(reason), datum),
            Self::Deep(deep) => deep,
            Self::TooLarge => return self,
        };
        Self::Deep(deep.below(step))
    }
}

impl Column {
    /// Bytes that one more value adds, without what it holds of varying length. Bits count as a
    /// byte, since an ARRAY may have one element.
    pub(in crate::batch) fn unit(&self) -> usize {
        let own = self.footprint().bytes + 1;
        match &self.values {
            Values::Struct(fields) => own + fields.iter().map(Self::unit).sum::<usize>(),
            _ => own,
        }
    }

    /// Takes any value as the one with this index, counting what it needs before it is copied. For
    /// the values of rows, [`unit`](Self::unit) is accounted for by the caller.
    pub(in crate::batch) fn put_deep(
        &mut self,
        at: usize,
        datum: Datum<'_>,
        room: &mut Room,
    ) -> Result<(), Refusal> {
        match (&mut self.values, datum) {
            (Values::List { offsets, element }, Datum::Array(items)) => {
                put_items(offsets, element, items, room)?;
            }
            (Values::Map { offsets, key, value }, Datum::Map(entries)) => {
                put_entries(offsets, (key, value), entries, room)?;
            }
            (Values::Struct(fields), Datum::Row(items)) => put_fields(fields, at, items, room)?,
            (Values::List { .. } | Values::Map { .. } | Values::Struct(_), datum)
                if !datum.is_null() =>
            {
                return Err(WRONG_TYPE.into());
            }
            (Values::Fixed { bytes, width }, Datum::Bytes(value))
                if room.pad && value.len() < *width =>
            {
                bytes.extend_from_slice(value);
                bytes.resize(bytes.len() + *width - value.len(), 0);
            }
            (Values::Text(values), Datum::Str(value)) => {
                room.take(value.len())?;
                if !room.pad {
                    return self.put(at, datum);
                }
                values.push(value.as_bytes());
            }
            // What is stored finer than its type is read as far as the column goes.
            (Values::Time32(values, grain), Datum::Time(value)) if room.pad => {
                values.push(floor_time32(value, *grain)?);
            }
            (Values::Timestamp(values, grain), Datum::Timestamp(value))
            | (Values::TimestampLtz(values, grain), Datum::TimestampLtz(value))
                if room.pad =>
            {
                values.push(floor_timestamp(value, *grain)?);
            }
            (Values::Bytes(_), Datum::Bytes(value)) => {
                room.take(value.len())?;
                return self.put(at, datum);
            }
            _ => return self.put(at, datum),
        }
        self.validity.push_valid();
        Ok(())
    }

    /// The column as an array of this Arrow type.
    pub(in crate::batch) fn into_array(
        self,
        field: &Field,
        length: usize,
    ) -> Result<ArrayRef, ArrowError> {
        self.into_data(field.data_type(), length).map(make_array)
    }

    fn into_data(self, data_type: &ArrowType, length: usize) -> Result<ArrayData, ArrowError> {
        let nulls = self
            .validity
            .bitmap()
            .map(|bitmap| NullBuffer::new(BooleanBuffer::new(Buffer::from(bitmap), 0, length)));
        let data = ArrayData::builder(data_type.clone()).len(length).nulls(nulls);
        let data = match (self.values, data_type) {
            (Values::List { offsets, element }, ArrowType::List(field)) => {
                let elements = element.into_data(field.data_type(), end_of(&offsets))?;
                data.add_buffer(Buffer::from_vec(offsets)).add_child_data(elements)
            }
            (Values::Map { offsets, key, value }, ArrowType::Map(field, _)) => {
                let count = end_of(&offsets);
                let entries = entries(field.data_type(), count, *key, *value)?;
                data.add_buffer(Buffer::from_vec(offsets)).add_child_data(entries)
            }
            (Values::Struct(columns), ArrowType::Struct(fields)) => {
                let children = columns.into_iter().zip(fields);
                let children = children.map(|(c, field)| c.into_data(field.data_type(), length));
                data.child_data(children.collect::<Result<_, _>>()?)
            }
            (Values::Bool(bits), _) => data.add_buffer(Buffer::from(bits.as_bytes())),
            (Values::Int8(values), _) => data.add_buffer(Buffer::from_vec(values)),
            (Values::Int16(values), _) => data.add_buffer(Buffer::from_vec(values)),
            (Values::Int32(values) | Values::Date(values) | Values::Time32(values, _), _) => {
                data.add_buffer(Buffer::from_vec(values))
            }
            (
                Values::Int64(values)
                | Values::Time64(values, _)
                | Values::Timestamp(values, _)
                | Values::TimestampLtz(values, _),
                _,
            ) => data.add_buffer(Buffer::from_vec(values)),
            (Values::Float32(values), _) => data.add_buffer(Buffer::from_vec(values)),
            (Values::Float64(values), _) => data.add_buffer(Buffer::from_vec(values)),
            (Values::Decimal { unscaled, .. }, _) => data.add_buffer(Buffer::from_vec(unscaled)),
            (Values::Fixed { bytes, .. }, _) => data.add_buffer(Buffer::from_vec(bytes)),
            (Values::Text(values) | Values::Bytes(values), _) => data
                .add_buffer(Buffer::from_vec(values.offsets))
                .add_buffer(Buffer::from_vec(values.data)),
            (_, other) => {
                return Err(ArrowError::SchemaError(format!("{other} is not the column's type")));
            }
        };
        data.build()
    }
}

/// The pairs of a MAP, as Arrow has them between the map and its keys and values.
fn entries(
    data_type: &ArrowType,
    count: usize,
    key: Column,
    value: Column,
) -> Result<ArrayData, ArrowError> {
    let ArrowType::Struct(fields) = data_type else {
        return Err(ArrowError::SchemaError(format!("{data_type} are no entries of a MAP")));
    };
    let children = [key, value].into_iter().zip(fields);
    let children = children.map(|(column, field)| column.into_data(field.data_type(), count));
    let children = children.collect::<Result<_, _>>()?;
    ArrayData::builder(data_type.clone()).len(count).child_data(children).build()
}

fn put_items(
    offsets: &mut Vec<i32>,
    element: &mut Column,
    items: &dyn Items,
    room: &mut Room,
) -> Result<(), Refusal> {
    let (first, count) = (end_of(offsets), items.count());
    room.take(count.saturating_mul(element.unit()))?;
    for at in 0..count {
        let item = items.item(at);
        let put = element.put_deep(first + at, item, room);
        put.map_err(|refusal| refusal.below(Step::Element(at), item))?;
    }
    // The room keeps the sum of all elements below 2^31.
    offsets.push((first + count) as i32);
    Ok(())
}

fn put_entries(
    offsets: &mut Vec<i32>,
    (keys, values): (&mut Column, &mut Column),
    entries: &dyn Entries,
    room: &mut Room,
) -> Result<(), Refusal> {
    let (first, count) = (end_of(offsets), entries.count());
    // One more for the bitmap of the entries.
    room.take(count.saturating_mul(keys.unit() + values.unit() + 1))?;
    for at in 0..count {
        let (key, value) = entries.entry(at);
        let put = keys.put_deep(first + at, key, room);
        put.map_err(|refusal| refusal.below(Step::Key(at), key))?;
        let put = values.put_deep(first + at, value, room);
        put.map_err(|refusal| refusal.below(Step::Value(at), value))?;
    }
    offsets.push((first + count) as i32);
    Ok(())
}

fn put_fields(
    fields: &mut [Column],
    row: usize,
    items: &dyn Items,
    room: &mut Room,
) -> Result<(), Refusal> {
    if items.count() != fields.len() {
        return Err(FIELDS.into());
    }
    for (at, field) in fields.iter_mut().enumerate() {
        let item = items.item(at);
        let put = field.put_deep(row, item, room);
        put.map_err(|refusal| refusal.below(Step::Field(at), item))?;
    }
    Ok(())
}
