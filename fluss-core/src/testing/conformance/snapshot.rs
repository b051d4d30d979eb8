//! All rows of a table as they are now, and what changes after that, from servers with a way to
//! send them and without.

use std::collections::BTreeMap;

use super::Harness;
use super::stage::{Stage, keyed_table, poll_once};
use crate::ChangeType;
use crate::batch::RowView;
use crate::handle::{SnapshotChanges, SnapshotEvent, SnapshotPosition, Table};
use crate::row;
use crate::row::Datum;
use crate::testing::cluster::{ClusterOptions, Fault, On, Release};
use crate::testing::loopback::LoopbackOptions;

const SCAN_KV: i16 = 1061;
/// Bytes asked for at once: a fraction of the rows.
const PIECE: usize = 300;

/// Runs a case with servers of each release.
fn on_both<H: Harness>(case: impl AsyncFnOnce(&Stage<H>) + Clone + Send + 'static) {
    for release in [Release::V0_9, Release::V1_0] {
        let cluster = ClusterOptions { release, ..ClusterOptions::default() };
        Stage::<H>::run_with(cluster, LoopbackOptions::default(), case.clone());
    }
}

/// Rows with the ids below `count`, then every third one written anew and every fifth one deleted.
async fn fill(table: &Table, count: i64) {
    let writer = table.upserter().build().expect("a writer");
    for id in 0..count {
        drop(writer.upsert(&row![id, "old"]).await.expect("it fits"));
    }
    for id in (0..count).step_by(3) {
        drop(writer.upsert(&row![id, "new"]).await.expect("it fits"));
    }
    for id in (0..count).step_by(5) {
        drop(writer.delete(&row![id]).await.expect("it fits"));
    }
    writer.flush().await.expect("written");
}

/// What [`fill`] leaves.
fn filled(count: i64) -> BTreeMap<i64, String> {
    let text = |id: i64| if id % 3 == 0 { "new" } else { "old" };
    (0..count).filter(|id| id % 5 != 0).map(|id| (id, text(id).to_owned())).collect()
}

fn values(row: RowView<'_>) -> (i64, String) {
    match (row.value_of("id"), row.value_of("text")) {
        (Ok(Datum::Int64(id)), Ok(Datum::Str(text))) => (id, text.to_owned()),
        other => panic!("{other:?}"),
    }
}

fn apply(rows: &mut BTreeMap<i64, String>, row: RowView<'_>) {
    let (id, text) = values(row);
    match row.change_type() {
        ChangeType::UpdateBefore | ChangeType::Delete => {
            assert_eq!(rows.remove(&id), Some(text), "not what was there");
        }
        _ => assert_eq!(rows.insert(id, text), None, "it was there already"),
    }
}

/// All rows of a table of which some were written anew and some deleted.
pub fn all_rows_of_a_table_are_read_as_they_are_now<H: Harness>() {
    on_both::<H>(async |stage| {
        let table = keyed_table(stage).await;
        fill(&table, 200).await;
        let builder = table.snapshot().fetch_bytes(PIECE);
        let mut reader = builder.clone().build().await.expect("a reader");
        let mut rows = BTreeMap::new();
        while let Some(batch) = reader.next_batch().await.expect("rows") {
            batch.rows().expect("readable").iter().for_each(|row| apply(&mut rows, row));
        }
        assert_eq!(rows, filled(200));
        let blocking = stage.aside(move || {
            let mut reader = builder.limit(50).build().wait().expect("a reader");
            reader.blocking_iter().map(|batch| batch.expect("rows").num_rows()).sum::<usize>()
        });
        assert_eq!(blocking.await, 50);
    });
}

/// A reader whose waits are dropped all the time gets every row once.
pub fn a_dropped_wait_for_rows_of_a_snapshot_loses_none<H: Harness>() {
    on_both::<H>(async |stage| {
        let table = keyed_table(stage).await;
        fill(&table, 200).await;
        let builder = table.snapshot().fetch_bytes(PIECE);
        let mut reader = builder.build().await.expect("a reader");
        let mut rows = BTreeMap::new();
        loop {
            let early = poll_once(&mut reader.next_batch()).await;
            let next = match early {
                std::task::Poll::Ready(next) => next,
                std::task::Poll::Pending => reader.next_batch().await,
            };
            let Some(batch) = next.expect("rows") else { break };
            batch.rows().expect("readable").iter().for_each(|row| apply(&mut rows, row));
        }
        assert_eq!(rows, filled(200));
    });
}

/// Cuts and moves before rows were handed out cost time only; later they are told.
pub fn a_lost_session_begins_anew_or_is_told<H: Harness>() {
    for fault in [Fault::LoseAnswer, Fault::MoveLeader, Fault::ErrorBefore(66)] {
        for (skip, is_told) in [(1, false), (2, true)] {
            let cluster = ClusterOptions { release: Release::V1_0, ..ClusterOptions::default() };
            Stage::<H>::run_with(cluster, LoopbackOptions::default(), async move |stage| {
                let table = keyed_table(stage).await;
                fill(&table, 200).await;
                stage.inject(On::Api(SCAN_KV), skip, fault);
                let builder = table.snapshot().fetch_bytes(PIECE);
                let mut reader = builder.build().await.expect("a reader");
                let mut rows = BTreeMap::new();
                let end = loop {
                    match reader.next_batch().await {
                        Ok(Some(batch)) => {
                            let batch = batch.rows().expect("readable");
                            batch.iter().for_each(|row| apply(&mut rows, row));
                        }
                        Ok(None) => break None,
                        Err(error) => break Some(error),
                    }
                };
                assert_eq!(end.is_some(), is_told, "{fault:?}: {end:?}");
                assert!(is_told || rows == filled(200), "{fault:?}");
            });
        }
    }
}

/// Takes events until the rows are those that are expected.
async fn until_rows(
    reader: &mut SnapshotChanges,
    rows: &mut BTreeMap<i64, String>,
    expected: &BTreeMap<i64, String>,
) {
    while rows != expected {
        match reader.next_event().await.expect("no error").expect("no end") {
            SnapshotEvent::StateBegins { .. } => rows.clear(),
            SnapshotEvent::State(batch) => {
                batch.rows().expect("readable").iter().for_each(|row| apply(rows, row));
            }
            SnapshotEvent::Changes(batch) => {
                batch.rows().expect("readable").iter().for_each(|row| apply(rows, row));
            }
            SnapshotEvent::StateEnds { .. } => {}
        }
    }
}

/// The state, what changes after it, and the same from a checkpoint on.
pub fn a_state_and_its_changes_have_no_gap_and_nothing_twice<H: Harness>() {
    on_both::<H>(async |stage| {
        let table = keyed_table(stage).await;
        fill(&table, 100).await;
        let builder = table.snapshot_then_changes().fetch_bytes(PIECE);
        let mut reader = builder.clone().build().await.expect("a reader");
        let mut rows = BTreeMap::new();
        until_rows(&mut reader, &mut rows, &filled(100)).await;
        fill(&table, 120).await;
        until_rows(&mut reader, &mut rows, &filled(120)).await;
        let positions = reader.positions();
        assert!(positions.values().all(|at| matches!(at, SnapshotPosition::Offset(_))));
        drop(reader);
        fill(&table, 140).await;
        let mut reader = builder.from_positions(positions).build().await.expect("a reader");
        until_rows(&mut reader, &mut rows, &filled(140)).await;
    });
}
