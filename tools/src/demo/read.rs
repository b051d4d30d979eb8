//! Reading everything back: through the client, and from the fake's own records.

use fluss_core::ids::{BucketKey, TableId};
use fluss_core::testing::loopback::Loopback;
use fluss_core::{Error, Table};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::rows::Content;
use super::verify::Check;

/// How long a scan may bring nothing before its rows count as lost.
const SILENCE: Duration = Duration::from_secs(10);
/// Keys that are looked up.
const LOOKUPS: usize = 10_000;

/// Why not everything was read.
#[derive(Debug)]
pub(super) enum Early {
    /// The caller wanted no more.
    Interrupted,
    Client(Error),
}

impl From<Error> for Early {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

fn go_on(interrupted: &AtomicBool) -> Result<(), Early> {
    if interrupted.load(Ordering::SeqCst) { Err(Early::Interrupted) } else { Ok(()) }
}

/// Scans the table to its end, and looks keys up. Answers why buckets could not be read to their
/// ends: whatever was beyond is missing then, which the check tells row by row.
pub(super) fn through_client(
    check: &mut Check,
    table: &Table,
    interrupted: &AtomicBool,
) -> Result<Vec<String>, Early> {
    let mut scanner = table.scanner().from_earliest().bounded().build().wait()?;
    let mut stopped: BTreeMap<BucketKey, String> = BTreeMap::new();
    while !scanner.is_finished() {
        go_on(interrupted)?;
        let batch = match scanner.next_batch().wait_timeout(SILENCE) {
            Ok(Some(batch)) => batch,
            Ok(None) => {
                if !scanner.is_finished() {
                    let at = scanner.positions().clone();
                    check.wrong(|| format!("the scan stands still at {at:?}"));
                }
                break;
            }
            // The other buckets go on; at their end the error comes again.
            Err(Error::Scan(error)) => {
                let (bucket, text) = (error.bucket, format!("reading stopped: {error}"));
                if stopped.insert(bucket, text).is_some() {
                    break;
                }
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let rows = batch.rows()?;
        for (at, row) in rows.iter().enumerate() {
            let content = Content::read(|column| row.value(column).ok());
            let offset = batch.base_offset() + at as i64;
            match batch.change_type(at) {
                Some(change) => {
                    check.record(batch.bucket().bucket, offset, change, content.as_ref());
                }
                None => check.wrong(|| format!("offset {offset} has no change type")),
            }
        }
    }
    if table.info().has_primary_key() {
        look_up(check, table, interrupted)?;
    }
    Ok(stopped.into_values().collect())
}

/// Looks up a sample of all keys, and one that was never written.
pub(super) fn look_up(
    check: &mut Check,
    table: &Table,
    interrupted: &AtomicBool,
) -> Result<(), Early> {
    let lookuper = table.lookuper()?;
    let step = (check.keys() / LOOKUPS).max(1);
    let keys: Vec<(i64,)> =
        (0..check.keys()).step_by(step).chain([usize::MAX >> 1]).map(|key| (key as i64,)).collect();
    for keys in keys.chunks(1000) {
        go_on(interrupted)?;
        let found = lookuper.lookup_all(keys).wait()?;
        for ((key,), row) in keys.iter().zip(found) {
            check.looked_up(*key, row.as_ref());
        }
    }
    Ok(())
}

/// Decodes what the servers hold, without the client.
pub(super) fn from_the_servers(check: &mut Check, fake: &Loopback, table: TableId) {
    fake.with(|cluster| {
        let buckets: Vec<_> = cluster.buckets(table).collect();
        for bucket in buckets {
            match cluster.rows(bucket) {
                Ok(rows) => {
                    for row in rows {
                        let content = Content::read(|column| row.values.datum(column));
                        check.record(bucket.bucket, row.offset, row.change, content.as_ref());
                    }
                }
                Err(error) => check.wrong(|| format!("{bucket} cannot be read: {error}")),
            }
        }
    });
}
