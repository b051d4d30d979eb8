//! The rows that a changelog leads to, read from its first record on.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use fluss_proto::record::ChangeType;

use crate::error::{Error, Result};
use crate::handle::fluss::Fluss;
use crate::handle::pending::CommandFuture;
use crate::handle::table::{Table, TableInfo};
use crate::ids::BucketKey;
use crate::row::key::{KeyEncoder, KeyRules};
use crate::row::{Row, RowLayout, compacted};
use crate::scanner::ScanBatch;

/// What an entry of the map takes besides the bytes of key and row.
const OVERHEAD: u64 = 64;

/// Bytes of the states of all buckets of one read, and the most there may be.
#[derive(Debug)]
pub(super) struct StateBudget {
    used: AtomicU64,
    limit: u64,
}

impl StateBudget {
    pub(super) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), limit })
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// The rows of a bucket by their encoded keys, in the order of the keys; each a COMPACTED row of
/// the table as it was opened.
#[derive(Debug)]
pub(super) struct State {
    rows: BTreeMap<Box<[u8]>, Box<[u8]>>,
    budget: Arc<StateBudget>,
    bytes: u64,
}

impl State {
    pub(super) fn new(budget: &Arc<StateBudget>) -> Self {
        Self { rows: BTreeMap::new(), budget: Arc::clone(budget), bytes: 0 }
    }

    fn put(&mut self, key: &[u8], row: &[u8]) -> Result<()> {
        match self.rows.get_mut(key) {
            Some(old) if old.len() == row.len() => old.copy_from_slice(row),
            Some(old) => {
                let before = old.len();
                *old = row.into();
                self.give_back(before as u64);
                self.charge(row.len() as u64)?;
            }
            None => {
                self.charge((key.len() + row.len()) as u64 + OVERHEAD)?;
                self.rows.insert(key.into(), row.into());
            }
        }
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(row) = self.rows.remove(key) {
            self.give_back((key.len() + row.len()) as u64 + OVERHEAD);
        }
    }

    /// The row with the smallest key.
    pub(super) fn pop(&mut self) -> Option<Box<[u8]>> {
        let (key, row) = self.rows.pop_first()?;
        self.give_back((key.len() + row.len()) as u64 + OVERHEAD);
        Some(row)
    }

    fn charge(&mut self, bytes: u64) -> Result<()> {
        self.bytes += bytes;
        let used = self.budget.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let limit = self.budget.limit;
        if used <= limit {
            return Ok(());
        }
        Err(Error::misuse(format!(
            "the rows of the buckets being read take more than {limit} bytes, and the server has \
             no way to send them piece by piece; raise max_state_bytes, or read fewer buckets at \
             once"
        )))
    }

    fn give_back(&mut self, bytes: u64) {
        self.bytes -= bytes;
        self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// From changes to the state.
struct Replay {
    keys: KeyEncoder,
    layout: RowLayout,
    state: State,
    key: Vec<u8>,
    row: Vec<u8>,
}

impl Replay {
    fn new(info: &TableInfo, budget: &Arc<StateBudget>) -> Result<Self> {
        let rules = KeyRules::of(&info.descriptor);
        let rules = rules.map_err(|e| Error::misuse(format!("{}: {e}", info.path)))?;
        let keys = KeyEncoder::new(info.schema(), &info.descriptor.physical_primary_key())?;
        Ok(Self {
            keys: keys.with_format(rules.key)?,
            layout: RowLayout::new(info.schema()),
            state: State::new(budget),
            key: Vec::new(),
            row: Vec::new(),
        })
    }

    fn apply(&mut self, batch: &ScanBatch) -> Result<()> {
        for row in batch.rows()?.iter() {
            self.change(row.change_type(), &row)?;
        }
        Ok(())
    }

    fn change<R: Row>(&mut self, change: ChangeType, row: &R) -> Result<()> {
        // What was there before an update goes with what comes after it.
        if change == ChangeType::UpdateBefore {
            return Ok(());
        }
        self.key.clear();
        self.keys.encode(row, &mut self.key)?;
        if change == ChangeType::Delete {
            self.state.remove(&self.key);
            return Ok(());
        }
        self.row.clear();
        compacted::encode(&self.layout, row, &mut self.row)?;
        self.state.put(&self.key, &self.row)
    }
}

/// Reads the changelog of a bucket, which must be whole, up to its end as it is now. The answer is
/// the state and that end.
///
/// # Errors
/// [`Error::Scan`] for a log that cannot be read, [`Error::Misuse`] when the state does not fit
/// into the budget, [`Error::Unavailable`] when nothing comes within
/// [`Config::command_deadline`](crate::config::Config::command_deadline), with the bucket's last
/// error, if it had one.
pub(super) async fn replay(
    table: &Table,
    bucket: BucketKey,
    buffer_limit: u64,
    budget: &Arc<StateBudget>,
) -> Result<(State, i64)> {
    let mut replay = Replay::new(table.info(), budget)?;
    let scanner = table.scanner().from_offsets([(bucket, 0)]).bounded();
    let mut scanner = scanner.buffer_limit(buffer_limit).build().await?;
    let what = format!("reading the changelog of {bucket}");
    loop {
        let next = within(table.fluss(), &what, scanner.next_batch()).await;
        let next = next.map_err(|late| explained(late, scanner.trouble(bucket)))?;
        match next.map_err(|error| of_the_changelog(error, &what))? {
            Some(batch) => replay.apply(&batch)?,
            None => break,
        }
    }
    let end = scanner.positions().get(&bucket).copied().unwrap_or_default();
    Ok((replay.state, end.max(0)))
}

/// An error that the time is over, with what went wrong meanwhile.
fn explained(error: Error, trouble: Option<Error>) -> Error {
    match error {
        Error::Unavailable { what, after, last: None } => {
            Error::Unavailable { what, after, last: trouble.map(Box::new) }
        }
        other => other,
    }
}

/// The scan may be the first to say that the time is over.
fn of_the_changelog(error: Error, what: &str) -> Error {
    if let Error::Scan(scan) = &error
        && let Error::Unavailable { after, last, .. } = &*scan.cause
    {
        return Error::Unavailable { what: what.into(), after: *after, last: last.clone() };
    }
    error
}

/// What comes of a future, unless it takes longer than a command may.
async fn within<F: Future>(fluss: &Fluss, what: &str, future: F) -> Result<F::Output> {
    let limit = fluss.config(|config| config.command_deadline);
    let mut alarm = CommandFuture::watch(fluss.shared(), |core, now| core.client.alarm(limit, now));
    let mut future = pin!(future);
    std::future::poll_fn(move |cx: &mut Context<'_>| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut alarm).poll(cx).map(|rung| {
            rung.and_then(|_| {
                Err(Error::Unavailable { what: what.into(), after: limit, last: None })
            })
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{TableId, TablePath};
    use crate::row::{DataType, Schema, TableDescriptor};

    fn info() -> TableInfo {
        let schema = Schema::builder()
            .column("id", DataType::INT)
            .column("text", DataType::STRING)
            .primary_key(["id"])
            .build()
            .expect("a schema");
        TableInfo {
            path: TablePath::new("shop", "users"),
            id: TableId(1),
            schema_id: 1,
            descriptor: TableDescriptor::new(schema),
            created_ms: 0,
            modified_ms: 0,
        }
    }

    #[test]
    fn changes_of_every_kind_lead_to_the_state_and_its_bytes_are_counted() {
        use ChangeType::{Append, Delete, Insert, UpdateAfter, UpdateBefore};
        let budget = StateBudget::new(1000);
        let mut replay = Replay::new(&info(), &budget).expect("sound keys");
        let changes = [
            (Insert, 3, "c"),
            (Insert, 1, "a"),
            (UpdateBefore, 1, "a"),
            (UpdateAfter, 1, "longer"),
            // What logs without old rows have in the place of an insert.
            (UpdateAfter, 2, "b"),
            (Delete, 3, "c"),
            (Delete, 9, "never there"),
            (Append, 4, "d"),
            (UpdateAfter, 4, "D"),
        ];
        for (change, id, text) in changes {
            replay.change(change, &(id, text)).expect("fits");
        }
        let mut state = replay.state;
        assert_eq!(budget.used(), 3 * OVERHEAD + 3 + (2 + 7) + (2 + 2) + (2 + 2));
        let texts: Vec<Vec<u8>> =
            std::iter::from_fn(|| state.pop()).map(|row| row[3..].to_vec()).collect();
        assert_eq!(texts, [b"longer".to_vec(), b"b".to_vec(), b"D".to_vec()]);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_state_beyond_its_budget_is_an_error_and_gives_all_back() {
        let budget = StateBudget::new(OVERHEAD + 10);
        let mut replay = Replay::new(&info(), &budget).expect("sound keys");
        replay.change(ChangeType::Insert, &(1, "a")).expect("fits");
        let error = replay.change(ChangeType::Insert, &(2, "b")).expect_err("too much");
        assert!(error.to_string().contains("max_state_bytes"), "{error}");
        drop(replay);
        assert_eq!(budget.used(), 0);
    }
}
