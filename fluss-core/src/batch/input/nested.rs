//! ARRAY, MAP and ROW columns of a record batch, as values: each is laid out once for the batch.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType as ArrowType;

use super::column::{Bad, Source, WrongType};
use crate::row::{Field, OwnedDatum, TypeKind};

/// The values of a nested column. Nulls and what is within them are not looked at again.
pub(super) fn values(
    kind: &TypeKind,
    array: &ArrayRef,
    bad: &mut Vec<Bad>,
) -> Result<Vec<OwnedDatum>, WrongType> {
    match (kind, array.data_type()) {
        (TypeKind::Array(element), ArrowType::List(_)) => {
            let list = array.as_list::<i32>();
            let ends = list.value_offsets().iter().map(|&offset| offset as usize).collect();
            lists(&element.kind, list.values(), ends, bad)
        }
        (TypeKind::Array(element), ArrowType::LargeList(_)) => {
            let list = array.as_list::<i64>();
            let ends = list.value_offsets().iter().map(|&offset| offset as usize).collect();
            lists(&element.kind, list.values(), ends, bad)
        }
        (TypeKind::Array(element), ArrowType::FixedSizeList(..)) => {
            let list = array.as_fixed_size_list();
            let ends = (0..=list.len()).map(|row| list.value_offset_at(row)).collect();
            lists(&element.kind, list.values(), ends, bad)
        }
        (TypeKind::Map(key, value), ArrowType::Map(..)) => {
            let map = array.as_map();
            let mut ends: Vec<_> = map.value_offsets().iter().map(|&end| end as usize).collect();
            let used = used(&mut ends);
            let mut inner = Vec::new();
            let mut part = |array: &ArrayRef, kind| {
                each(kind, &array.slice(used.start, used.len()), &mut inner)
            };
            let keys = part(map.keys(), &key.kind)?.into_iter();
            let entries: Vec<_> = keys.zip(part(map.values(), &value.kind)?).collect();
            in_lists(inner, &ends, bad);
            Ok(deal(&ends, &entries, OwnedDatum::Map))
        }
        (TypeKind::Row(fields), ArrowType::Struct(_)) => rows(fields, array, bad),
        _ => Err(WrongType),
    }
}

/// The fields of a ROW are found by their names, as the columns of the batch are.
fn rows(
    fields: &[Field],
    array: &ArrayRef,
    bad: &mut Vec<Bad>,
) -> Result<Vec<OwnedDatum>, WrongType> {
    let given = array.as_struct();
    if given.num_columns() != fields.len() {
        return Err(WrongType);
    }
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        let column = given.column_by_name(&field.name).ok_or(WrongType)?;
        columns.push(each(&field.data_type.kind, column, bad)?.into_iter());
    }
    let row = |_| OwnedDatum::Row(columns.iter_mut().filter_map(Iterator::next).collect());
    Ok((0..array.len()).map(row).collect())
}

/// Every value of an array.
fn each(
    kind: &TypeKind,
    array: &ArrayRef,
    bad: &mut Vec<Bad>,
) -> Result<Vec<OwnedDatum>, WrongType> {
    let mut found = Vec::new();
    let source = Source::new(kind, array, &mut found)?;
    let nulls = array.logical_nulls();
    // What lies behind a null does not count.
    found.retain(|bad| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(bad.row)));
    bad.append(&mut found);
    let value = |row| match &nulls {
        Some(nulls) if nulls.is_null(row) => OwnedDatum::Null,
        _ => source.datum(row).into(),
    };
    Ok((0..array.len()).map(value).collect())
}

/// Lists that end at these places of `values`.
fn lists(
    element: &TypeKind,
    values: &ArrayRef,
    mut ends: Vec<usize>,
    bad: &mut Vec<Bad>,
) -> Result<Vec<OwnedDatum>, WrongType> {
    let used = used(&mut ends);
    let mut inner = Vec::new();
    let items = each(element, &values.slice(used.start, used.len()), &mut inner)?;
    in_lists(inner, &ends, bad);
    Ok(deal(&ends, &items, OwnedDatum::Array))
}

/// Which items the lists have that end at these places, which are counted from the first of them
/// then: a slice of a batch has the items of the whole one behind it. Arrow has checked that the
/// ends do not decrease and lie within the items.
fn used(ends: &mut [usize]) -> Range<usize> {
    let start = ends.first().copied().unwrap_or(0);
    ends.iter_mut().for_each(|end| *end -= start);
    start..start + ends.last().copied().unwrap_or(0)
}

/// Names the lists, which have these ends, instead of the items within them.
fn in_lists(items: Vec<Bad>, ends: &[usize], bad: &mut Vec<Bad>) {
    bad.extend(items.into_iter().map(|item| {
        let list = ends.partition_point(|end| *end <= item.row).saturating_sub(1);
        Bad { row: list, ..item }
    }));
}

/// Deals items out to the lists they belong to.
fn deal<T: Clone>(
    ends: &[usize],
    items: &[T],
    list: impl Fn(Vec<T>) -> OwnedDatum,
) -> Vec<OwnedDatum> {
    let bounds = ends.iter().zip(ends.iter().skip(1));
    bounds.map(|(&start, &end)| list(items[start..end].to_vec())).collect()
}
