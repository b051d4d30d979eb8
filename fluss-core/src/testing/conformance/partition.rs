//! Partitions: created by the rows that need them, from any thread, and dropped under way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Harness;
use super::stage::Stage;
use crate::error::WriteError;
use crate::handle::{Fluss, Table};
use crate::ids::{BucketKey, PartitionId};
use crate::row;
use crate::row::{DataType, OwnedDatum, Schema, TableDescriptor};
use fluss_proto::ErrorCode;

const CREATE_PARTITION: i16 = 1036;
const REGIONS: i64 = 3;

/// `id BIGINT, region INT, text STRING`, partitioned by `region`, two buckets each.
async fn by_region(fluss: &Fluss, path: &str, keyed: bool) -> Table {
    let schema = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("region", DataType::INT.not_null())
        .column("text", DataType::STRING);
    let schema = if keyed { schema.primary_key(["region", "id"]) } else { schema };
    let mut table = TableDescriptor::new(schema.build().expect("a schema"));
    table.partition_key = vec![1];
    table.bucket_count = Some(2);
    fluss.admin().create_table(path, &table, false).await.expect("a table");
    fluss.table(path).await.expect("it is there")
}

/// The numbers of the partitions by what they are for.
async fn regions(fluss: &Fluss, path: &str) -> BTreeMap<PartitionId, i64> {
    let listed = fluss.admin().list_partitions(path).await.expect("a list");
    listed.into_iter().map(|p| (p.id, p.name.parse().expect("a number"))).collect()
}

/// Two threads write into partitions that do not exist: each is created once, and each row is there
/// once, in its partition, where its acknowledgement says.
pub fn rows_of_two_threads_create_their_partitions<H: Harness>() {
    Stage::<H>::run(async |stage| {
        const PATH: &str = "fluss.regions";
        let fluss = stage.client();
        let table = by_region(&fluss, PATH, false).await;
        let mut told = Vec::new();
        let mut threads = Vec::new();
        for thread in 0..2_i64 {
            let writer = table.appender().linger(Duration::ZERO).build().expect("a writer");
            threads.push(stage.aside(move || {
                let ids = (0..600_i64).filter(|id| id % 2 == thread);
                let rows = ids.map(|id| row![id, (id % REGIONS) as i32, "from a thread"]);
                let run = writer.append_all(rows).wait().expect("they fit");
                run.wait()
            }));
        }
        for (thread, running) in (0..).zip(threads) {
            for part in running.await {
                let ack = part.outcome.expect("written");
                for row in part.rows.clone() {
                    let offset = ack.offset.map(|o| o + (row - part.rows.start) as i64);
                    told.push((row as i64 * 2 + thread, ack.partition, ack.bucket, offset));
                }
            }
        }
        let regions = regions(&fluss, PATH).await;
        let values: BTreeSet<i64> = regions.values().copied().collect();
        assert_eq!((regions.len(), values), (3, BTreeSet::from([0, 1, 2])));
        assert_eq!(stage.requests(CREATE_PARTITION), REGIONS as u64, "one for each partition");
        let mut found = Vec::new();
        stage.with(|cluster| {
            for key in cluster.buckets(table.info().id) {
                for row in cluster.rows(key).expect("rows that decode") {
                    let OwnedDatum::Int64(id) = row.values.values()[0] else { panic!("no id") };
                    let region = regions.get(&key.partition.expect("a partition"));
                    assert_eq!(region, Some(&(id % REGIONS)), "row {id} is in {key}");
                    found.push((id, key.partition, key.bucket, Some(row.offset)));
                }
            }
        });
        told.sort();
        found.sort();
        assert_eq!(told.len(), 600);
        assert_eq!(told, found);
    });
}

/// Rows of a primary-key table are put into, found in and deleted from their own partition.
pub fn keyed_rows_are_found_in_their_partitions<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let fluss = stage.client();
        let table = by_region(&fluss, "fluss.regions_pk", true).await;
        let writer = table.upserter().linger(Duration::ZERO).build().expect("a writer");
        let rows = (0..90_i64).map(|id| row![id, (id % REGIONS) as i32, "keyed"]);
        let run = writer.upsert_all(rows).await.expect("they fit");
        assert!(run.await.iter().all(|part| part.outcome.is_ok()));
        // The key has the region first.
        let gone = writer.delete(&row![1_i32, 4_i64]).await.expect("it fits");
        let gone = gone.await.expect("written");
        assert!(gone.partition.is_some() && gone.log_end_offset.is_some(), "{gone:?}");
        let lookuper = table.lookuper().expect("a primary-key table");
        for id in 0..90_i64 {
            let region = (id % REGIONS) as i32;
            let found = lookuper.lookup(&row![region, id]).await.expect("an answer");
            assert_eq!(found.is_some(), id != 4, "row {id}");
            let other = lookuper.lookup(&row![region + 1, id]).await.expect("an answer");
            assert_eq!(other, None, "row {id} elsewhere");
        }
    });
}

/// A partition is dropped while it is written to: its rows end with that reason, all others are
/// written, and the next row creates it anew.
pub fn a_dropped_partition_ends_its_own_rows_only<H: Harness>() {
    Stage::<H>::run(async |stage| {
        const PATH: &str = "fluss.regions";
        let fluss = stage.client();
        let table = by_region(&fluss, PATH, false).await;
        let writer = table.appender().linger(Duration::ZERO).build().expect("a writer");
        let mut first = Vec::new();
        for region in 0..2_i32 {
            let ticket = writer.append(&row![0_i64, region, "first"]).await.expect("it fits");
            first.push(ticket.await.expect("written"));
        }
        fluss.admin().drop_partition(PATH, &[("region", "1")], false).await.expect("dropped");
        let lost = writer.append(&row![1_i64, 1_i32, "lost"]).await.expect("it fits");
        let kept = writer.append(&row![1_i64, 0_i32, "kept"]).await.expect("it fits");
        let kept = kept.await.expect("another partition");
        assert_eq!(kept.partition, first[0].partition);
        match lost.await {
            Err(error @ (WriteError::NotWritten(_) | WriteError::OutcomeUnknown(_))) => {
                assert_eq!(error.code(), Some(ErrorCode::PARTITION_NOT_EXISTS), "{error}");
            }
            Ok(ack) => panic!("written at {ack:?}"),
        }
        let again = writer.append(&row![2_i64, 1_i32, "again"]).await.expect("it fits");
        let again = again.await.expect("written");
        assert!(again.partition > first[1].partition, "it was made anew: {again:?}");
        let key = BucketKey { partition: again.partition, ..table.info().bucket(again.bucket) };
        let rows = stage.with(|cluster| cluster.rows(key)).expect("rows that decode");
        assert_eq!(rows.len(), 1);
    });
}
