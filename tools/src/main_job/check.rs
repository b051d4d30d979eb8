//! What was read back, against what the writers were told.

use std::collections::HashMap;

use fluss_core::ChangeType;
use fluss_core::Table;
use fluss_core::batch::RowView;
use fluss_core::ids::BucketKey;

use super::{Job, RowOf, Told, Waits, must};

/// Reads a whole table; `each` gets bucket, offset, change and row.
pub(super) fn read(
    table: &Table,
    waits: &impl Waits,
    mut each: impl FnMut(BucketKey, i64, ChangeType, RowOf),
) {
    let mut scanner = must("a scanner", waits.pending(table.scanner().bounded().build()));
    while let Some(batch) = must("reading back", waits.next(&mut scanner)) {
        let rows = must("the rows of a batch", batch.rows());
        for row in rows.iter() {
            each(batch.bucket(), row.offset(), row.change_type(), content(&row));
        }
    }
}

/// The row's number and version; its other columns must follow from them.
fn content(view: &RowView<'_>) -> RowOf {
    let value = |column| must("a value", view.value(column));
    let row = RowOf {
        id: value(0).as_i64().expect("an id"),
        version: value(2).as_i32().expect("a version"),
    };
    assert_eq!(value(1).as_str(), Some(row.name().as_str()), "the text of {row:?}");
    assert_eq!(value(3).as_f64(), Some(row.b()), "the number of {row:?}");
    row
}

pub(super) fn log(table: &Table, waits: &impl Waits, told: &[Told], job: Job) {
    let mut found: HashMap<i64, (i32, i64)> = HashMap::new();
    read(table, waits, |bucket, offset, change, row| {
        assert_eq!(change, ChangeType::Append, "{row:?}");
        let before = found.insert(row.id, (bucket.bucket, offset));
        assert_eq!(before, None, "{row:?} is in the log twice");
    });
    assert_eq!(found.len() as i64, job.rows, "rows in the log");
    assert_eq!(told.len() as i64, job.rows, "acknowledgements");
    for (row, ack) in told {
        let place = found.get(&row.id).copied();
        let offset = ack.offset.or_else(|| ack.inferred.then(|| place.map(|p| p.1)).flatten());
        assert_eq!(place, offset.map(|o| (ack.bucket, o)), "{row:?} was acknowledged as {ack:?}");
    }
}

pub(super) fn changelog(table: &Table, waits: &impl Waits, told: &[Told], job: Job) {
    let mut changes: HashMap<i64, Vec<(ChangeType, i32, i32, i64)>> = HashMap::new();
    read(table, waits, |bucket, offset, change, row| {
        let entry = (change, row.version, bucket.bucket, offset);
        changes.entry(row.id).or_default().push(entry);
    });
    assert_eq!(changes.len() as i64, job.rows, "keys in the changelog");
    for (id, list) in &changes {
        let kinds: Vec<(ChangeType, i32)> = list.iter().map(|c| (c.0, c.1)).collect();
        let insert = (ChangeType::Insert, 0);
        if id % 10 == 0 {
            let update = [(ChangeType::UpdateBefore, 0), (ChangeType::UpdateAfter, 1)];
            assert_eq!(kinds, [insert, update[0], update[1]], "key {id}");
        } else {
            assert_eq!(kinds, [insert], "key {id}");
        }
    }
    let writes = job.rows + (job.rows + 9) / 10;
    assert_eq!(told.len() as i64, writes, "acknowledgements");
    for (row, ack) in told {
        let list = &changes[&row.id];
        let written = |c: &&(ChangeType, i32, i32, i64)| {
            c.1 == row.version && c.0 != ChangeType::UpdateBefore
        };
        let (.., bucket, offset) = list.iter().find(written).expect("checked above");
        assert_eq!(*bucket, ack.bucket, "{row:?}");
        let below = ack.log_end_offset.is_none_or(|end| *offset < end);
        assert!(below, "{row:?} is at {offset} but was acknowledged as {ack:?}");
        assert!(ack.log_end_offset.is_some() || ack.inferred, "{row:?}: {ack:?}");
    }
}

pub(super) fn lookups(table: &Table, waits: &impl Waits, job: Job) {
    let lookuper = must("a lookuper", table.lookuper());
    let step = (job.rows / job.lookups.max(1)).max(1) as usize;
    // An odd step meets keys that were written once and keys that were written twice.
    for id in (0..job.rows).step_by(step.saturating_sub(1) | 1) {
        let row = must("a lookup", waits.lookup(&lookuper, id));
        let row = row.unwrap_or_else(|| panic!("key {id} is not found"));
        let version = i32::from(id % 10 == 0);
        let expected = RowOf { id, version };
        let value = |column: usize| row.datum(column);
        assert_eq!(value(0).and_then(|d| d.as_i64()), Some(id));
        assert_eq!(value(1).and_then(|d| d.as_str()), Some(&*expected.name()), "key {id}");
        assert_eq!(value(2).and_then(|d| d.as_i32()), Some(version), "key {id}");
        assert_eq!(value(3).and_then(|d| d.as_f64()), Some(expected.b()), "key {id}");
    }
    assert_eq!(must("a lookup", waits.lookup(&lookuper, -1)), None, "a key that nobody wrote");
}
