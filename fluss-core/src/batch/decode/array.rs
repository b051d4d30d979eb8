//! Nodes and buffers become arrays, after everything about them was checked.

use arrow_array::{ArrayRef, Decimal128Array, StringArray, make_array};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_data::ArrayData;
use arrow_schema::{DataType, Field};

use super::DecodeError;
use super::message::{Counts, Message, Node};

/// How many nodes and buffers a field takes in a message.
pub(super) fn counts(field: &Field) -> Counts {
    let (buffers, children): (usize, Vec<&Field>) = match field.data_type() {
        DataType::Utf8 | DataType::Binary => (3, vec![]),
        DataType::List(child) | DataType::Map(child, _) => (2, vec![child]),
        DataType::Struct(fields) => (1, fields.iter().map(AsRef::as_ref).collect()),
        _ => (2, vec![]),
    };
    children.into_iter().map(counts).fold(Counts { nodes: 1, buffers }, |sum, child| Counts {
        nodes: sum.nodes + child.nodes,
        buffers: sum.buffers + child.buffers,
    })
}

/// The array of a column.
pub(super) fn array(
    message: &mut Message<'_>,
    field: &Field,
    rows: usize,
) -> Result<ArrayRef, DecodeError> {
    Ok(make_array(data(message, field, field.name(), Some(rows))?))
}

/// The data of a field; `length` is what its parent demands. Recursion is as deep as the schema.
fn data(
    message: &mut Message<'_>,
    field: &Field,
    path: &str,
    length: Option<usize>,
) -> Result<ArrayData, DecodeError> {
    let node = message.next_node()?;
    if let Some(expected) = length.filter(|&expected| expected != node.length) {
        let what = format!("it has {} values, {expected} are expected", node.length);
        return Err(DecodeError::column(path, what));
    }
    let nulls = validity(message, path, node)?;
    if *field.data_type() == DataType::Utf8 {
        return text(message, path, node, nulls);
    }
    let mut builder = ArrayData::builder(field.data_type().clone()).len(node.length).nulls(nulls);
    match field.data_type() {
        DataType::Binary => {
            builder = builder.add_buffer(offsets(message, path, node)?);
            builder = builder.add_buffer(message.next_buffer(path)?);
        }
        DataType::List(child) | DataType::Map(child, _) => {
            builder = builder.add_buffer(offsets(message, path, node)?);
            let path = format!("{path}.{}", child.name());
            builder = builder.add_child_data(data(message, child, &path, None)?);
        }
        DataType::Struct(fields) => {
            for child in fields {
                let path = format!("{path}.{}", child.name());
                builder = builder.add_child_data(data(message, child, &path, Some(node.length))?);
            }
        }
        data_type => {
            let needed = fixed_size(data_type, node.length)
                .ok_or_else(|| DecodeError::column(path, "its type is not supported"))?;
            let values = exact(message.next_buffer(path)?, needed, "values", path)?;
            builder = builder.add_buffer(values);
        }
    }
    // A frame starts anywhere in memory; what is not aligned for its type is copied here.
    let data = builder.align_buffers(true).build();
    let data = data.map_err(|error| DecodeError::column(path, error))?;
    if let DataType::Decimal128(precision, _) = field.data_type() {
        let checked = Decimal128Array::from(data.clone()).validate_decimal_precision(*precision);
        checked.map_err(|error| DecodeError::column(path, error))?;
    }
    Ok(data)
}

/// The data of texts. Checked here and by the array itself, which is quicker about it than the
/// checks of any [`ArrayData`].
fn text(
    message: &mut Message<'_>,
    path: &str,
    node: Node,
    nulls: Option<NullBuffer>,
) -> Result<ArrayData, DecodeError> {
    let mut offsets = offsets(message, path, node)?;
    if offsets.as_ptr().align_offset(align_of::<i32>()) != 0 {
        offsets = Buffer::from_slice_ref(offsets.as_slice());
    }
    let values = message.next_buffer(path)?;
    let offsets: ScalarBuffer<i32> = offsets.into();
    // Without a way out in between, so that the compiler compares several at once.
    let next = offsets.iter().skip(1);
    let falls = offsets.iter().zip(next).fold(false, |falls, (one, next)| falls | (one > next));
    if falls || offsets.first().is_none_or(|first| *first < 0) {
        return Err(DecodeError::column(path, "its offsets are negative or fall"));
    }
    let array = StringArray::try_new(OffsetBuffer::new(offsets), values, nulls);
    Ok(array.map_err(|error| DecodeError::column(path, error))?.into())
}

/// Bytes of this many values of a type of fixed width.
fn fixed_size(data_type: &DataType, length: usize) -> Option<u64> {
    let length = length as u64;
    match data_type {
        DataType::Boolean => Some(length.div_ceil(8)),
        DataType::FixedSizeBinary(width) => length.checked_mul(u64::try_from(*width).ok()?),
        other => length.checked_mul(other.primitive_width()? as u64),
    }
}

/// The validity of a node: None where nothing is null.
fn validity(
    message: &mut Message<'_>,
    path: &str,
    node: Node,
) -> Result<Option<NullBuffer>, DecodeError> {
    let bitmap = message.next_buffer(path)?;
    if bitmap.is_empty() {
        if node.nulls == 0 {
            return Ok(None);
        }
        // Some writers leave the bitmap out too when nothing is valid.
        if node.nulls == node.length {
            message.budget.charge(node.length.div_ceil(8) as u64)?;
            return Ok(Some(NullBuffer::new_null(node.length)));
        }
        let what =
            format!("{} of {} values are null, but which is not said", node.nulls, node.length);
        return Err(DecodeError::column(path, what));
    }
    if bitmap.len() < node.length.div_ceil(8) {
        let what = format!("{} bytes of validity for {} values", bitmap.len(), node.length);
        return Err(DecodeError::column(path, what));
    }
    let nulls = NullBuffer::new(BooleanBuffer::new(bitmap, 0, node.length));
    if nulls.null_count() != node.nulls {
        let what = format!("{} values are null, {} announced", nulls.null_count(), node.nulls);
        return Err(DecodeError::column(path, what));
    }
    Ok((node.nulls > 0).then_some(nulls))
}

/// The offsets of a node with values of varying length.
fn offsets(message: &mut Message<'_>, path: &str, node: Node) -> Result<Buffer, DecodeError> {
    let offsets = message.next_buffer(path)?;
    if node.length == 0 && offsets.len() < size_of::<i32>() {
        // Java writes no offsets at all where there are no values.
        return Ok(Buffer::from_vec(vec![0_i32]));
    }
    let needed = (node.length as u64 + 1) * size_of::<i32>() as u64;
    exact(offsets, needed, "offsets", path)
}

/// The part of a buffer that holds values. Whatever may follow them is cut off: the arrow crate
/// panics on a buffer that is no whole number of values.
fn exact(buffer: Buffer, needed: u64, what: &str, path: &str) -> Result<Buffer, DecodeError> {
    match usize::try_from(needed) {
        Ok(length) if length <= buffer.len() => Ok(buffer.slice_with_length(0, length)),
        _ => {
            let got = buffer.len();
            Err(DecodeError::column(path, format!("{got} bytes of {what}, {needed} are needed")))
        }
    }
}
