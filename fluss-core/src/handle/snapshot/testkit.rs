//! A table, who writes to it, and what it must look like at an offset.

use std::collections::BTreeMap;

use super::super::testkit::Stage;
use super::SnapshotBatch;
use crate::ChangeType;
use crate::ids::BucketKey;
use crate::rng::Rng;
use crate::row::{DataType, OwnedDatum, OwnedRow, Schema, TableDescriptor};
use crate::testing::cluster::{ClusterOptions, Release};
use crate::{Table, UpsertWriter};

pub(super) const SCAN_KV: i16 = 1061;
pub(super) const LIMIT_SCAN: i16 = 1033;
pub(super) const FETCH_LOG: i16 = 1015;

/// Rows by their keys.
pub(super) type Rows = BTreeMap<i64, OwnedRow>;

/// A cluster that imitates this release.
pub(super) fn cluster(release: Release, seed: u64) -> ClusterOptions {
    ClusterOptions { release, seed, ..ClusterOptions::default() }
}

/// `shop.users`: `id BIGINT, name STRING, n INT`, by `id`.
pub(super) fn users(stage: &mut Stage, buckets: u32) -> Table {
    let schema = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("name", DataType::STRING)
        .column("n", DataType::INT)
        .primary_key(["id"])
        .build()
        .expect("a sound schema");
    let mut table = TableDescriptor::new(schema);
    table.bucket_count = Some(buckets);
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    stage.run(admin.create_table("shop.users", &table, false)).expect("a table");
    let opening = stage.fluss.table("shop.users");
    stage.run(opening).expect("it is there")
}

/// Upserts rows with these keys and waits for them.
pub(super) fn fill(
    stage: &mut Stage,
    writer: &UpsertWriter,
    keys: impl Iterator<Item = i64>,
    n: i32,
) {
    for id in keys {
        drop(stage.run(writer.upsert(&(id, name(id), n))).expect("taken"));
    }
    stage.run(writer.flush()).expect("written");
}

pub(super) fn name(id: i64) -> String {
    format!("name {id} {}", "x".repeat(usize::try_from(id % 50).expect("small")))
}

/// One to ten changes, written when this returns.
pub(super) fn change_some(stage: &mut Stage, writer: &UpsertWriter, rng: &mut Rng, keys: u64) {
    for _ in 0..=rng.below(10) {
        let id = rng.below(keys) as i64;
        let ticket = if rng.one_in(3) {
            stage.run(writer.delete(&(id,)))
        } else {
            stage.run(writer.upsert(&(id, name(id), rng.below(1000) as i32)))
        };
        drop(ticket.expect("taken"));
    }
    stage.run(writer.flush()).expect("written");
}

pub(super) fn key_of(row: &OwnedRow) -> i64 {
    match row.values()[0] {
        OwnedDatum::Int64(id) => id,
        ref other => panic!("{other:?} is no key"),
    }
}

/// Applies a change as a changelog tells it.
pub(super) fn apply(rows: &mut Rows, change: ChangeType, row: OwnedRow) {
    let key = key_of(&row);
    match change {
        ChangeType::UpdateBefore | ChangeType::Delete => {
            assert_eq!(rows.remove(&key), Some(row), "not the row that was there: {change:?}");
        }
        ChangeType::Insert | ChangeType::UpdateAfter | ChangeType::Append => {
            assert_eq!(rows.insert(key, row), None, "it was there already: {change:?}");
        }
    }
}

/// What the log of a bucket says about its rows at an offset.
pub(super) fn state_at(stage: &Stage, bucket: BucketKey, offset: i64) -> Rows {
    let log = stage.cluster(|cluster| cluster.rows(bucket)).expect("rows that decode");
    let mut rows = Rows::new();
    for row in log.into_iter().filter(|row| row.offset < offset) {
        apply(&mut rows, row.change, row.values);
    }
    rows
}

/// The rows of a batch, from the rows and from the columns.
pub(super) fn rows_of(batch: &SnapshotBatch) -> Vec<OwnedRow> {
    let rows = batch.rows().expect("readable");
    let owned: Vec<OwnedRow> = rows
        .iter()
        .map(|row| {
            assert_eq!(row.change_type(), ChangeType::Insert);
            assert_eq!(row.offset(), batch.log_offset().unwrap_or(-1));
            let arity = batch.schema().columns().len();
            (0..arity).map(|i| OwnedDatum::from(row.value(i).expect("a value"))).collect()
        })
        .collect();
    assert_eq!(owned.len(), batch.record_batch().num_rows());
    assert!(!owned.is_empty(), "a batch without rows");
    owned
}
