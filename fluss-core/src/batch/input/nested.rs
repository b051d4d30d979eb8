//! ARRAY, MAP and ROW columns of a record batch, as values: each is laid out once for the batch.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType as ArrowType;

use super::column::{Misfit, Source};
use crate::row::{Field, OwnedDatum, TypeKind};

/// The values of a nested column. Nulls and what is within them are not looked at again.
pub(super) fn values(kind: &TypeKind, array: &ArrayRef) -> Result<Vec<OwnedDatum>, Misfit> {
    match (kind, array.data_type()) {
        (TypeKind::Array(element), ArrowType::List(_)) => {
            let list = array.as_list::<i32>();
            let items = each(&element.kind, list.values())?;
            let ends = list.value_offsets().iter().map(|&offset| offset as usize);
            Ok(deal(ends, &items, OwnedDatum::Array))
        }
        (TypeKind::Array(element), ArrowType::LargeList(_)) => {
            let list = array.as_list::<i64>();
            let items = each(&element.kind, list.values())?;
            let ends = list.value_offsets().iter().map(|&offset| offset as usize);
            Ok(deal(ends, &items, OwnedDatum::Array))
        }
        (TypeKind::Array(element), ArrowType::FixedSizeList(..)) => {
            let list = array.as_fixed_size_list();
            let items = each(&element.kind, list.values())?;
            let ends = (0..=list.len()).map(|row| list.value_offset_at(row));
            Ok(deal(ends, &items, OwnedDatum::Array))
        }
        (TypeKind::Map(key, value), ArrowType::Map(..)) => {
            let map = array.as_map();
            let keys = each(&key.kind, map.keys())?.into_iter();
            let entries: Vec<_> = keys.zip(each(&value.kind, map.values())?).collect();
            let ends = map.value_offsets().iter().map(|&offset| offset as usize);
            Ok(deal(ends, &entries, OwnedDatum::Map))
        }
        (TypeKind::Row(fields), ArrowType::Struct(_)) => rows(fields, array),
        _ => Err(Misfit::Type),
    }
}

/// The fields of a ROW are found by their names, as the columns of the batch are.
fn rows(fields: &[Field], array: &ArrayRef) -> Result<Vec<OwnedDatum>, Misfit> {
    let given = array.as_struct();
    if given.num_columns() != fields.len() {
        return Err(Misfit::Type);
    }
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        let column = given.column_by_name(&field.name).ok_or(Misfit::Type)?;
        columns.push(each(&field.data_type.kind, column)?.into_iter());
    }
    let row = |_| OwnedDatum::Row(columns.iter_mut().filter_map(Iterator::next).collect());
    Ok((0..array.len()).map(row).collect())
}

/// Every value of an array.
fn each(kind: &TypeKind, array: &ArrayRef) -> Result<Vec<OwnedDatum>, Misfit> {
    let source = Source::new(kind, array)?;
    let nulls = array.logical_nulls();
    let value = |row| match &nulls {
        Some(nulls) if nulls.is_null(row) => OwnedDatum::Null,
        _ => source.datum(row).into(),
    };
    Ok((0..array.len()).map(value).collect())
}

/// Deals items out to the lists they belong to. Arrow has checked that the ends do not decrease and
/// lie within the items.
fn deal<T: Clone>(
    ends: impl Iterator<Item = usize>,
    items: &[T],
    list: impl Fn(Vec<T>) -> OwnedDatum,
) -> Vec<OwnedDatum> {
    let mut start = None;
    let mut lists = Vec::new();
    for end in ends {
        if let Some(start) = start {
            lists.push(list(items.get(start..end).unwrap_or_default().to_vec()));
        }
        start = Some(end);
    }
    lists
}
