//! Which tables a lookup may insert missing rows into.

use super::table::TableInfo;
use crate::error::{Error, Result};

/// An error where the server could not make the row that a key stands for.
pub(super) fn check(info: &TableInfo) -> Result<()> {
    let refuse = |why: String| {
        let path = &info.path;
        Err(Error::misuse(format!("{path}: a missing row cannot be inserted by a lookup, {why}")))
    };
    // The bytes of a key leave out the partition columns, but servers read them as if all columns
    // of the primary key were there (KeyRecordBatch with all key columns, in 0.9.1 and still in the
    // sources after 1.0). Most keys end with code -1 then; one whose bytes happen to make sense
    // that way would be kept with other values than those that were asked for.
    if !info.descriptor.partition_key.is_empty() {
        let names = info.partition_columns().join(", ");
        return refuse(format!(
            "as the table is partitioned (by {names}): servers read the key of the new row wrongly \
             there, and fail or keep a row with other values; look it up, and upsert it if it is \
             not there"
        ));
    }
    // The row is written as one of some columns, which these engines do not merge.
    let engine = info.descriptor.properties.get("table.merge-engine");
    let whole = |engine: &&String| {
        ["first_row", "versioned"].iter().any(|name| engine.eq_ignore_ascii_case(name))
    };
    if let Some(engine) = engine.filter(whole) {
        return refuse(format!("as the merge engine {engine} takes whole rows only; upsert it"));
    }
    let schema = info.schema();
    let mut columns = schema.columns().iter().enumerate();
    // The first column that a server cannot fill by itself.
    let unfillable = columns.find(|(index, column)| {
        !column.data_type.nullable
            && !schema.primary_key().contains(index)
            && schema.auto_increment() != Some(*index)
    });
    match unfillable {
        None => Ok(()),
        Some((_, column)) => {
            refuse(format!("the column `{}` must not be null; upsert it", column.name))
        }
    }
}
