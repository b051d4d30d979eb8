//! Reading the tables back, past the proxy.

use std::collections::BTreeSet;
use std::time::Duration;

use fluss_core::{Error, Table};

use super::check::{Line, Record, row_of_owned, row_of_view};
use crate::main_job::RowOf;

/// How long a scan may bring nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// Keys looked up in one call.
const KEYS: usize = 500;

/// All records of a table.
pub(super) fn records(table: &Table) -> Result<Vec<Record>, Error> {
    let mut scanner = table.scanner().from_earliest().bounded().build().wait()?;
    let mut records = Vec::new();
    while !scanner.is_finished() {
        let Some(batch) = scanner.next_batch().wait_timeout(SILENCE)? else {
            if scanner.is_finished() {
                break;
            }
            let text = format!("the scan stands still at {:?}", scanner.positions());
            return Err(Error::misuse(text));
        };
        let bucket = batch.bucket().bucket;
        records.extend(batch.rows()?.iter().map(|row| Record {
            bucket,
            offset: row.offset(),
            change: row.change_type(),
            row: row_of_view(&row),
        }));
    }
    Ok(records)
}

/// Looks up every key that was written, and one that was not.
pub(super) fn lookups(table: &Table, lines: &[Line]) -> Result<Vec<(i64, Option<RowOf>)>, Error> {
    let written: BTreeSet<i64> =
        lines.iter().flat_map(|line| &line.ops).map(|op| op.row.id).collect();
    let keys: Vec<(i64,)> = written.into_iter().chain([-1]).map(|key| (key,)).collect();
    let lookuper = table.lookuper()?;
    let mut looked_up = Vec::new();
    for keys in keys.chunks(KEYS) {
        let found = lookuper.lookup_all(keys).wait()?;
        for ((key,), row) in keys.iter().zip(found) {
            // A row that is not one of ours must not look like none.
            let foreign = RowOf { id: i64::MIN, version: 0 };
            let row = row.map(|row| row_of_owned(&row).unwrap_or(foreign));
            looked_up.push((*key, row));
        }
    }
    Ok(looked_up)
}
