//! ARRAY, MAP and ROW columns as values.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType as ArrowType;

use super::rows::Values;
use crate::row::{OwnedDatum, TypeKind};

/// Memory that the values of nested columns of one batch may take, in bytes: an element of a few
/// bits becomes a value of many bytes.
pub(super) const MAX_NESTED_BYTES: usize = 256 << 20;

/// The number of values in an array, those within them included.
pub(super) fn count(array: &ArrayRef) -> usize {
    let below = match array.data_type() {
        ArrowType::List(_) => count(array.as_list::<i32>().values()),
        ArrowType::Map(..) => {
            let map = array.as_map();
            count(map.keys()) + count(map.values())
        }
        ArrowType::Struct(_) => array.as_struct().columns().iter().map(count).sum(),
        _ => 0,
    };
    array.len() + below
}

/// The values of an array, whose type has been checked.
pub(super) fn values(kind: &TypeKind, array: &ArrayRef) -> Result<Vec<OwnedDatum>, String> {
    match kind {
        TypeKind::Array(element) => {
            let list = array.as_list::<i32>();
            let elements = values(&element.kind, list.values())?;
            Ok(cut(array, list.value_offsets(), elements, OwnedDatum::Array))
        }
        TypeKind::Map(key, value) => {
            let map = array.as_map();
            let keys = values(&key.kind, map.keys())?.into_iter();
            let entries = keys.zip(values(&value.kind, map.values())?).collect();
            Ok(cut(array, map.value_offsets(), entries, OwnedDatum::Map))
        }
        TypeKind::Row(fields) => {
            let columns = array.as_struct().columns().iter().zip(fields);
            let columns = columns.map(|(column, field)| values(&field.data_type.kind, column));
            let mut columns: Vec<_> =
                columns.map(|column| column.map(Vec::into_iter)).collect::<Result<_, _>>()?;
            let row = |at| {
                let fields = columns.iter_mut().filter_map(Iterator::next).collect();
                if array.is_null(at) { OwnedDatum::Null } else { OwnedDatum::Row(fields) }
            };
            Ok((0..array.len()).map(row).collect())
        }
        scalar => {
            let column = Values::of(scalar, array)?;
            let value = |at| {
                if array.is_null(at) { OwnedDatum::Null } else { column.get(at).into() }
            };
            Ok((0..array.len()).map(value).collect())
        }
    }
}

/// Deals the elements out to the lists they belong to. Offsets do not decrease.
fn cut<T>(
    array: &ArrayRef,
    offsets: &[i32],
    elements: Vec<T>,
    list: impl Fn(Vec<T>) -> OwnedDatum,
) -> Vec<OwnedDatum> {
    let mut elements = elements.into_iter();
    let mut taken = 0;
    let mut one = |at: usize| {
        let bounds = offsets.get(at).zip(offsets.get(at + 1));
        // Arrow has checked that offsets are not negative and lie within the elements.
        let (start, end) = bounds.map_or((0, 0), |(&start, &end)| (start as usize, end as usize));
        elements.by_ref().take(start.saturating_sub(taken)).for_each(drop);
        taken = end.max(taken);
        let items = elements.by_ref().take(end.saturating_sub(start)).collect();
        if array.is_null(at) { OwnedDatum::Null } else { list(items) }
    };
    (0..array.len()).map(&mut one).collect()
}
