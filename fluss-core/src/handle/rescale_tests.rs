//! Tables whose number of buckets is changed while clients hold them. No published server has such;
//! the fake cluster stands in for the servers to come.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::testkit::{Stage, users};
use crate::ErrorCode;
use crate::error::WriteError;
use crate::handle::{AppendWriter, OffsetSpec, RowToAssign, RunTicket, Table, Ticket};
use crate::ids::BucketKey;
use crate::row;
use crate::row::hash::BucketFunction;
use crate::row::{DataType, OwnedDatum, Schema, TableDescriptor};
use crate::testing::cluster::{ClusterOptions, FakeCluster, Fault, Faults, On};
use crate::time::{Duration, Instant};

#[cfg(test)]
#[path = "rescale_random_tests.rs"]
mod random_tests;

const PATH: &str = "shop.scaled";
const LIST_PARTITIONS: i16 = 1009;
const INIT_WRITER: i16 = 1026;

/// The log table that [`table`] makes, placed by its id, in a log format.
fn log_table(stage: &mut Stage, format: &str) -> Table {
    let schema = Schema::builder()
        .column("p", DataType::STRING.not_null())
        .column("id", DataType::BIGINT.not_null());
    let mut table = TableDescriptor::new(schema.build().expect("a sound schema"));
    table.partition_key = vec![0];
    table.bucket_key = vec![1];
    table.bucket_count = Some(2);
    table.properties.insert("table.log.format".to_owned(), format.to_owned());
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    stage.run(admin.create_table(PATH, &table, false)).expect("a table");
    open(stage)
}

/// `p STRING, id BIGINT`, partitioned by the first; two buckets at first.
fn table(stage: &mut Stage, keyed: bool) -> Table {
    let schema = Schema::builder()
        .column("p", DataType::STRING.not_null())
        .column("id", DataType::BIGINT.not_null());
    let schema = if keyed { schema.primary_key(["p", "id"]) } else { schema };
    let mut table = TableDescriptor::new(schema.build().expect("a sound schema"));
    table.partition_key = vec![0];
    table.bucket_count = Some(2);
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    stage.run(admin.create_table(PATH, &table, false)).expect("a table");
    open(stage)
}

fn open(stage: &mut Stage) -> Table {
    let opening = stage.fluss.table(PATH);
    stage.run(opening).expect("it is there")
}

fn rescale(stage: &Stage, table: &Table, buckets: i32) {
    assert!(stage.cluster(|cluster| cluster.rescale(&table.info().path, buckets)));
}

/// The buckets of rows in a partition, by their ids.
fn places(stage: &mut Stage, table: &Table, partition: &str) -> Vec<(i64, i32)> {
    let listed = stage.run(stage.fluss.admin().list_partitions(PATH)).expect("a list");
    let id = listed.iter().find(|p| &*p.name == partition).expect("it is there").id;
    let mut found = Vec::new();
    stage.cluster(|cluster| {
        let keys: Vec<BucketKey> = cluster.buckets(table.info().id).collect();
        for key in keys.into_iter().filter(|key| key.partition == Some(id)) {
            for row in cluster.rows(key).expect("rows that decode") {
                let OwnedDatum::Int64(id) = row.values.values()[1] else { panic!("no id") };
                found.push((id, key.bucket));
            }
        }
    });
    found.sort_unstable();
    found
}

#[test]
fn old_and_new_partitions_of_a_rescaled_table_are_written_looked_up_and_read() {
    let mut stage = Stage::new();
    let old = table(&mut stage, true);
    let writer = old.upserter().build().expect("a writer");
    for id in 0..20_i64 {
        let _ticket = stage.run(writer.upsert(&row!["old", id])).expect("it fits");
    }
    stage.run(writer.flush()).expect("written");
    rescale(&stage, &old, 5);
    // One that holds the old picture, one that holds the new.
    let new = open(&mut stage);
    let fresh = new.upserter().build().expect("a writer");
    for id in 20..40_i64 {
        let _ticket = stage.run(writer.upsert(&row!["old", id])).expect("it fits");
        let _ticket = stage.run(fresh.upsert(&row!["new", id])).expect("it fits");
    }
    stage.run(writer.flush()).expect("written");
    stage.run(fresh.flush()).expect("written");
    let buckets =
        |places: &[(i64, i32)]| places.iter().map(|place| place.1).collect::<BTreeSet<_>>();
    let (first, second) = (places(&mut stage, &old, "old"), places(&mut stage, &old, "new"));
    assert_eq!((first.len(), buckets(&first)), (40, (0..2).collect()));
    assert_eq!((second.len(), buckets(&second)), (20, (0..5).collect()));
    for table in [&old, &new] {
        let lookuper = table.lookuper().expect("a primary-key table");
        for id in 0..40_i64 {
            let found = stage.run(lookuper.lookup(&row!["old", id])).expect("an answer");
            assert!(found.is_some(), "{id}");
            let found = stage.run(lookuper.lookup(&row!["new", id])).expect("an answer");
            assert_eq!(found.is_some(), id >= 20, "{id}");
        }
        let keys = stage.run(table.buckets()).expect("an answer");
        assert_eq!(keys.len(), 7);
        let mut rows = 0;
        for key in keys {
            rows += stage.run(lookuper.first_rows(key, 1000)).expect("rows").len();
        }
        assert_eq!(rows, 60);
        let offsets = stage.run(table.offsets(OffsetSpec::Latest)).expect("offsets");
        assert_eq!(offsets.iter().map(|at| at.offset).sum::<i64>(), 60);
        let scanner = table.scanner().bounded().build();
        let mut scanner = stage.run(scanner).expect("a scanner");
        let mut rows = 0;
        while let Some(batch) = stage.run(scanner.next_batch()).expect("an answer") {
            rows += batch.num_rows();
        }
        assert_eq!(rows, 60);
    }
}

#[test]
fn rows_that_may_go_to_any_bucket_go_to_a_new_partition_with_another_number_of_buckets() {
    let mut stage = Stage::new();
    for buckets in [1, 5] {
        let table = table(&mut stage, false);
        let writer = table.appender().build().expect("a writer");
        rescale(&stage, &table, buckets);
        let mut tickets = Vec::new();
        for id in 0..20_i64 {
            tickets.push(stage.run(writer.append(&row!["new", id])).expect("it fits"));
        }
        for ticket in tickets {
            assert!(stage.run(ticket).expect("written").bucket < buckets);
        }
        stage.run(stage.fluss.admin().drop_table(PATH, false)).expect("dropped");
    }
}

/// Ids with the bucket and offset of each, as the cluster has them, and as tickets tell them.
type Offsets = Vec<(i64, i32, Option<i64>)>;

fn held(stage: &Stage, table: &Table) -> Offsets {
    let mut found = Vec::new();
    stage.cluster(|cluster| {
        let keys: Vec<BucketKey> = cluster.buckets(table.info().id).collect();
        for key in keys {
            for row in cluster.rows(key).expect("rows that decode") {
                let OwnedDatum::Int64(id) = row.values.values()[1] else { panic!("no id") };
                found.push((id, key.bucket, Some(row.offset)));
            }
        }
    });
    found.sort_unstable();
    found
}

#[test]
fn rows_that_wait_for_a_partition_with_another_number_of_buckets_are_placed_anew_in_order() {
    for (format, buckets) in [("ARROW", 6), ("INDEXED", 4), ("COMPACTED", 4), ("ARROW", 2)] {
        let mut stage = Stage::new();
        let table = log_table(&mut stage, format);
        let linger = Duration::from_millis(1);
        let writer = table.appender().linger(linger).build().expect("a writer");
        let other = writer.clone();
        rescale(&stage, &table, buckets);
        // Several batches wait, of two lanes, when the partition gets its id.
        let late = Fault::DelayAnswer(Duration::from_secs(20));
        stage.cluster(|cluster| cluster.inject(On::Api(LIST_PARTITIONS), 0, late));
        let mut tickets = Vec::new();
        for id in 0..60_i64 {
            let writer = if id % 2 == 0 { &writer } else { &other };
            tickets.push((id, stage.run(writer.append(&row!["new", id])).expect("it fits")));
            if id % 8 == 0 {
                stage.pass(Duration::from_millis(3));
            }
        }
        let run = (60..90_i64).map(|id| row!["new", id]);
        let run = stage.run(writer.append_all(run)).expect("they fit");
        let flush = writer.flush();
        let mut told = Offsets::new();
        stage.run(flush).expect("all written");
        for (id, ticket) in tickets {
            let known = ticket.outcome().expect("the flush waited for it").expect("written");
            let ack = stage.run(ticket).expect("written");
            assert_eq!(known, ack);
            told.push((id, ack.bucket, ack.offset));
        }
        for part in stage.run(run) {
            let ack = part.outcome.expect("written");
            for row in part.rows.clone() {
                let offset = ack.offset.map(|offset| offset + (row - part.rows.start) as i64);
                told.push((60 + row as i64, ack.bucket, offset));
            }
        }
        let found = held(&stage, &table);
        assert_eq!(told, found, "{format}");
        let place = |id: i64| BucketFunction::Fluss.bucket_of(&[id as u8], buckets as u32);
        for (id, bucket, _) in &found {
            assert_eq!(place(*id), Some(*bucket as u32), "{format}: {id}");
        }
        // Each lane's rows are in each bucket in their order.
        for bucket in 0..buckets {
            for lane in 0..2 {
                let of = |&&(id, at, _): &&(i64, i32, Option<i64>)| {
                    at == bucket && (if id < 60 { id % 2 } else { 0 }) == lane
                };
                let offsets: Vec<_> = found.iter().filter(of).map(|place| place.2).collect();
                assert!(offsets.is_sorted(), "{format}, bucket {bucket}: {offsets:?}");
            }
        }
        assert_eq!(stage.fluss.memory_used(), 0);
    }
}

#[test]
fn upserts_and_deletes_that_wait_are_placed_anew_by_the_columns_that_place_them() {
    for bucket_key in [&[1][..], &[2], &[]] {
        let mut stage = Stage::new();
        let schema = Schema::builder()
            .column("p", DataType::STRING.not_null())
            .column("a", DataType::STRING.not_null())
            .column("b", DataType::INT.not_null())
            .column("n", DataType::INT)
            .primary_key(["p", "a", "b"]);
        let mut table = TableDescriptor::new(schema.build().expect("a sound schema"));
        table.partition_key = vec![0];
        table.bucket_key = bucket_key.to_vec();
        table.bucket_count = Some(2);
        let admin = stage.fluss.admin();
        stage.run(admin.create_database("shop", true)).expect("a database");
        stage.run(admin.create_table(PATH, &table, false)).expect("a table");
        let table = open(&mut stage);
        let writer = table.upserter().build().expect("a writer");
        rescale(&stage, &table, 6);
        let name = |b: i32| format!("a{}", b % 10);
        for round in 0..2 {
            for b in 0..40 {
                let row = ("new", name(b), b, round);
                let _ticket = stage.run(writer.upsert(&row)).expect("it fits");
            }
        }
        for b in 0..10 {
            let _ticket = stage.run(writer.delete(&row!["new", &*name(b), b])).expect("it fits");
        }
        stage.run(writer.flush()).expect("all written");
        let lookuper = table.lookuper().expect("a primary-key table");
        for b in 0..40 {
            let found = stage.run(lookuper.lookup(&row!["new", &*name(b), b])).expect("an answer");
            let last = found.map(|row| row.values()[3].clone());
            let expected = (b >= 10).then_some(OwnedDatum::Int32(1));
            assert_eq!(last, expected, "{bucket_key:?}: {b}");
        }
    }
}

#[test]
fn what_cannot_be_placed_anew_in_its_order_is_not_written_and_the_next_rows_are() {
    let mut stage = Stage::new();
    let table = log_table(&mut stage, "ARROW");
    let last = |row: &RowToAssign<'_>| {
        assert_eq!(row.partition, Some("new"));
        row.buckets - 1
    };
    let assigned = table.appender().bucket_assigner(last).build().expect("a writer");
    let gone = table.appender().build().expect("a writer");
    let hashed = table.appender().build().expect("a writer");
    for buckets in [4, 5] {
        rescale(&stage, &table, buckets);
        let refused = |stage: &mut Stage, ticket: Ticket| {
            let error = stage.run(ticket).expect_err("it cannot be placed");
            assert!(matches!(error, WriteError::NotWritten(_)), "{error}");
            assert_eq!(error.code(), Some(ErrorCode::INVALID_BUCKET_ROUTING), "{error}");
        };
        if buckets == 4 {
            // Nobody knows the order of what an assigner placed, and a handle that is gone knows
            // nothing.
            let lost = stage.run(assigned.append(&row!["new", 1_i64])).expect("it fits");
            let left = stage.run(gone.append(&row!["new", 2_i64])).expect("it fits");
            drop(gone.clone());
            refused(&mut stage, lost);
            stage.run(left).expect("its handle is there");
            let ticket = stage.run(assigned.append(&row!["new", 1_i64])).expect("it fits");
            assert_eq!(stage.run(ticket).expect("written").bucket, 3);
        } else {
            // Rows of two buckets would meet in one.
            let other = stage.run(hashed.append(&row!["other", 3_i64])).expect("it fits");
            refused(&mut stage, other);
            let ticket = stage.run(hashed.append(&row!["other", 3_i64])).expect("it fits");
            let bucket = BucketFunction::Fluss.bucket_of(&[3], 5).map(|bucket| bucket as i32);
            assert_eq!(Some(stage.run(ticket).expect("written").bucket), bucket);
        }
    }
    // The handle of a row that waits is dropped.
    rescale(&stage, &table, 10);
    let lost = stage.run(gone.append(&row!["third", 4_i64])).expect("it fits");
    drop(gone);
    let error = stage.run(lost).expect_err("its handle is gone");
    assert_eq!(error.code(), Some(ErrorCode::INVALID_BUCKET_ROUTING), "{error}");
}

#[test]
fn rows_that_were_placed_anew_and_cannot_be_sent_in_time_are_not_written() {
    let mut stage = Stage::new();
    let table = log_table(&mut stage, "ARROW");
    let time = Duration::from_secs(50);
    let writer = table.appender().delivery_timeout(time).build().expect("a writer");
    rescale(&stage, &table, 4);
    let nobody = |cluster: &mut FakeCluster| {
        (0..1000).for_each(|nth| cluster.inject(On::Api(INIT_WRITER), nth, Fault::DropRequest));
    };
    stage.cluster(nobody);
    for id in 0..8_i64 {
        let _ticket = stage.run(writer.append(&row!["new", id])).expect("it fits");
    }
    let ticket = stage.run(writer.append(&row!["new", 8_i64])).expect("it fits");
    let error = stage.run(ticket).expect_err("nobody gives a writer id out");
    assert!(matches!(error, WriteError::NotWritten(_)), "{error}");
    assert!(error.to_string().contains("no writer id was assigned"), "{error}");
    stage.run(writer.flush()).expect_err("none is written");
    assert!(stage.now() < Instant::ZERO + time + Duration::from_secs(9), "{:?}", stage.now());
    assert_eq!(stage.fluss.memory_used(), 0);
}

#[test]
fn what_was_refused_for_its_route_is_not_written_and_what_may_have_been_appended_is_unknown() {
    let mut stage = Stage::new();
    let table = table(&mut stage, true);
    let writer = table.upserter().build().expect("a writer");
    let first = stage.run(writer.upsert(&row!["p", 1_i64])).expect("it fits");
    stage.run(first).expect("written");
    stage.cluster(|cluster| cluster.inject(On::Write, 0, Fault::ErrorBefore(74)));
    let refused = stage.run(writer.upsert(&row!["p", 2_i64])).expect("it fits");
    let error = stage.run(refused).expect_err("refused");
    assert!(matches!(error, WriteError::NotWritten(_)), "{error}");
    assert_eq!(error.code(), Some(ErrorCode::INVALID_BUCKET_ROUTING), "{error}");
    // The first copy is appended and its answer lost: what comes later proves nothing.
    stage.cluster(|cluster| {
        cluster.inject(On::Write, 0, Fault::LoseAnswer);
        (1..20).for_each(|nth| cluster.inject(On::Write, nth, Fault::ErrorBefore(74)));
    });
    let unknown = stage.run(writer.upsert(&row!["p", 3_i64])).expect("it fits");
    let error = stage.run(unknown).expect_err("nobody can tell");
    assert!(matches!(error, WriteError::OutcomeUnknown(_)), "{error}");
    assert_eq!(places(&mut stage, &table, "p").len(), 2);
}

/// Hands in rows with these ids and this partition, in one run. Between the first and the second,
/// something happens; what the first is in can be sealed by nobody then.
fn append_with_a_pause(
    writer: &AppendWriter,
    partition: &str,
    ids: impl IntoIterator<Item = i64>,
    mut pause: impl FnMut(),
) -> RunTicket {
    let ids: Vec<i64> = ids.into_iter().collect();
    let rows = ids.iter().enumerate().map(|(nth, id)| {
        if nth == 1 {
            pause();
        }
        row![partition, *id]
    });
    match pin!(writer.append_all(rows)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(run) => run.expect("they fit"),
        Poll::Pending => panic!("there is memory for these rows"),
    }
}

/// Writer ids are given to nobody.
fn give_no_ids(cluster: &mut FakeCluster) {
    (0..1000).for_each(|nth| cluster.inject(On::Api(INIT_WRITER), nth, Fault::DropRequest));
}

#[test]
fn rows_that_are_placed_anew_stay_before_those_that_their_handle_took_meanwhile() {
    for (lanes, buckets) in [(1, 4), (1, 6), (2, 4)] {
        let mut stage = Stage::new();
        let table = log_table(&mut stage, "ARROW");
        let linger = Duration::from_secs(10);
        let writer = table.appender().linger(linger).batch_bytes(512).build().expect("a writer");
        let other = writer.clone();
        rescale(&stage, &table, buckets);
        let stage = RefCell::new(stage);
        // The first row's batch was placed among two buckets, and is sealed when many others wait
        // behind it, the last of which is open for long.
        let mut between = Vec::new();
        let run = append_with_a_pause(&writer, "new", 0..300, || {
            stage.borrow_mut().pass(Duration::from_secs(2));
            for id in 300..300 * lanes {
                between.push(other.try_append(&row!["new", id]).expect("there is memory"));
            }
        });
        let mut stage = stage.into_inner();
        stage.pass(Duration::from_secs(2));
        let last: Vec<_> = (600..640_i64).map(|id| writer.try_append(&row!["new", id])).collect();
        let written = stage.run(writer.flush());
        written.expect("all are written");
        assert!(
            between
                .into_iter()
                .chain(last.into_iter().flatten())
                .all(|ticket| { ticket.outcome().expect("the flush waited for it").is_ok() })
        );
        for part in stage.run(run) {
            part.outcome.expect("written");
        }
        let found = held(&stage, &table);
        assert_eq!(found.len() as i64, 300 * lanes + 40);
        for bucket in 0..buckets {
            for lane in 0..2 {
                let of = |&&(id, at, _): &&(i64, i32, Option<i64>)| {
                    at == bucket && i64::from((300..600).contains(&id)) == lane
                };
                let offsets: Vec<_> = found.iter().filter(of).map(|place| place.2).collect();
                assert!(offsets.is_sorted(), "bucket {bucket} of {buckets}: {offsets:?}");
            }
        }
    }
}

#[test]
fn rows_that_are_placed_anew_while_others_come_and_cannot_be_sent_have_an_outcome_in_time() {
    let mut stage = Stage::new();
    let table = log_table(&mut stage, "ARROW");
    let (linger, time) = (Duration::from_millis(1), Duration::from_secs(50));
    let building = table.appender().linger(linger).delivery_timeout(time);
    let writer = building.build().expect("a writer");
    let other = writer.clone();
    rescale(&stage, &table, 4);
    stage.cluster(give_no_ids);
    let stage = RefCell::new(stage);
    let mut tickets = Vec::new();
    let mut run = append_with_a_pause(&writer, "new", 0..2, || {
        stage.borrow_mut().pass(Duration::from_secs(2));
        for id in 10..40_i64 {
            tickets.push(other.try_append(&row!["new", id]).expect("there is memory"));
        }
    });
    let mut stage = stage.into_inner();
    // Who waits for rows that are to be dealt out anew waits for the parts then.
    let mut flush = writer.flush();
    assert!(stage.poll(&mut flush).is_pending());
    stage.pass(Duration::from_secs(20));
    tickets.push(other.try_append(&row!["new", 40_i64]).expect("there is memory"));
    stage.pass(time - Duration::from_secs(20));
    let Poll::Ready(parts) = stage.poll(&mut run) else { panic!("the run has no outcome") };
    for part in parts {
        let error = part.outcome.expect_err("nobody gives a writer id out");
        assert!(matches!(error, WriteError::NotWritten(_)), "{error}");
    }
    assert!(tickets.pop().is_some_and(|last| last.outcome().is_none()));
    assert!(tickets.iter().all(|ticket| matches!(ticket.outcome(), Some(Err(_)))));
    let Poll::Ready(flushed) = stage.poll(&mut flush) else { panic!("the flush waits for ever") };
    assert_eq!(flushed.expect_err("none is written").not_written, 32);
    stage.pass(Duration::from_secs(20));
    assert_eq!(stage.fluss.memory_used(), 0);
}

#[test]
fn what_was_placed_anew_while_others_came_gives_its_memory_back_to_those_in_line() {
    const LIMIT: usize = 1 << 20;
    let mut stage = Stage::configured(ClusterOptions::default(), |c| c.memory_limit(LIMIT as u64));
    let (table, users) = (log_table(&mut stage, "INDEXED"), users(&mut stage));
    let (linger, time) = (Duration::from_millis(1), Duration::from_secs(50));
    let building = table.appender().linger(linger).batch_bytes(8 << 10).delivery_timeout(time);
    let writer = building.build().expect("a writer");
    let large = users.upserter().build().expect("a writer");
    let other = writer.clone();
    rescale(&stage, &table, 4);
    stage.cluster(give_no_ids);
    let stage = RefCell::new(stage);
    let name = "n".repeat(100);
    // All of them are from one of two buckets, hence in the first one's batch.
    let of_one = (0..64).filter(|id| BucketFunction::Fluss.bucket_of(&[*id as u8], 2) == Some(0));
    let _run = append_with_a_pause(&writer, &name, of_one, || {
        stage.borrow_mut().pass(Duration::from_secs(2));
        for id in 64..100_i64 {
            let _ticket = other.try_append(&row![&*name, id]).expect("there is memory");
        }
    });
    let mut stage = stage.into_inner();
    stage.pass(Duration::from_secs(1));
    // There is room for this one when nearly nothing is left of the others.
    let text = "x".repeat(LIMIT - 1000);
    let row = row![1_i64, &*text];
    let mut handing = large.upsert(&row);
    assert!(stage.poll(&mut handing).is_pending());
    stage.pass(time);
    let Poll::Ready(handed_in) = stage.poll(&mut handing) else { panic!("it is in line for ever") };
    stage.cluster(|cluster| cluster.set_faults(Faults::new(0)));
    stage.run(handed_in.expect("it fits")).expect("written");
    stage.run(writer.flush()).expect_err("nobody gave a writer id out");
    assert_eq!(stage.fluss.memory_used(), 0);
}
