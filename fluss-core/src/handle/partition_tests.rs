use std::collections::BTreeMap;

use super::testkit::Stage;
use crate::error::{Error, WriteError};
use crate::handle::Table;
use crate::ids::{BucketKey, PartitionId};
use crate::row;
use crate::row::{DataType, OwnedDatum, OwnedRow, Schema, TableDescriptor};
use crate::testing::cluster::{ClusterOptions, Fault, On, Release};
use crate::time::{Duration, Instant};
use crate::{Ack, ErrorCode};

const CREATE_PARTITION: i16 = 1036;
const LIST_PARTITIONS: i16 = 1009;

/// `dt STRING, region INT, id BIGINT`, partitioned by the first two.
fn by_day(stage: &mut Stage, keyed: bool, buckets: u32) -> Table {
    let schema = Schema::builder()
        .column("dt", DataType::STRING.not_null())
        .column("region", DataType::INT.not_null())
        .column("id", DataType::BIGINT.not_null());
    let schema = if keyed { schema.primary_key(["dt", "region", "id"]) } else { schema };
    let mut table = TableDescriptor::new(schema.build().expect("a sound schema"));
    table.partition_key = vec![0, 1];
    table.bucket_count = Some(buckets);
    make(stage, &table)
}

fn make(stage: &mut Stage, table: &TableDescriptor) -> Table {
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    stage.run(admin.create_table("shop.days", table, false)).expect("a table");
    let opening = stage.fluss.table("shop.days");
    stage.run(opening).expect("it is there")
}

fn requests(stage: &Stage, api: i16) -> u64 {
    stage.cluster(|cluster| cluster.requests().get(&api).copied().unwrap_or(0))
}

/// The names of the partitions by id.
fn names(stage: &mut Stage) -> BTreeMap<PartitionId, String> {
    let listed = stage.run(stage.fluss.admin().list_partitions("shop.days"));
    listed.expect("a list").into_iter().map(|p| (p.id, p.name.to_string())).collect()
}

/// The row at an acknowledged place, as the cluster has it.
fn row_at(stage: &Stage, table: &Table, ack: &Ack) -> (String, i32, i64) {
    let key = BucketKey { partition: ack.partition, ..table.info().bucket(ack.bucket) };
    let rows = stage.cluster(|cluster| cluster.rows(key)).expect("rows that decode");
    let found = rows.iter().find(|row| Some(row.offset) == ack.offset).expect("the row");
    match found.values.values() {
        [OwnedDatum::Str(dt), OwnedDatum::Int32(region), OwnedDatum::Int64(id)] => {
            (dt.clone(), *region, *id)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_go_to_the_partitions_of_their_values_which_are_created_once() {
    let mut stage = Stage::new();
    let table = by_day(&mut stage, false, 2);
    let writer = table.appender().build().expect("a writer");
    let mut tickets = Vec::new();
    for id in 0..1000_i64 {
        let (dt, region) = (["2026-01-01", "2026-01-02"][(id % 2) as usize], (id % 3) as i32);
        tickets.push((
            dt,
            region,
            id,
            stage.run(writer.append(&row![dt, region, id])).expect("fits"),
        ));
    }
    stage.run(writer.flush()).expect("all written");
    let names = names(&mut stage);
    assert_eq!(names.len(), 6);
    for (dt, region, id, ticket) in tickets {
        let ack = stage.run(ticket).expect("written");
        assert_eq!(row_at(&stage, &table, &ack), (dt.to_owned(), region, id));
        let name = &names[&ack.partition.expect("a partition")];
        assert_eq!(*name, format!("{dt}${region}"));
    }
    assert_eq!(requests(&stage, CREATE_PARTITION), 6, "one for each, however many rows wait");
}

#[test]
fn keyed_rows_are_found_in_their_partitions_and_deleted_there() {
    let mut stage = Stage::new();
    let table = by_day(&mut stage, true, 3);
    let writer = table.upserter().build().expect("a writer");
    for id in 0..60_i64 {
        let _ticket = stage.run(writer.upsert(&row!["d", (id % 3) as i32, id])).expect("it fits");
    }
    let _gone = stage.run(writer.delete(&row!["d", 1, 4_i64])).expect("it fits");
    stage.run(writer.flush()).expect("all written");
    let lookuper = table.lookuper().expect("a primary-key table");
    for id in 0..60_i64 {
        for region in 0..3 {
            let found = stage.run(lookuper.lookup(&row!["d", region, id])).expect("an answer");
            let there = i64::from(region) == id % 3 && id != 4;
            assert_eq!(found.is_some(), there, "region {region}, id {id}");
        }
    }
}

#[test]
fn a_value_no_partition_may_have_is_refused_before_anything_is_sent() {
    let mut stage = Stage::new();
    let table = by_day(&mut stage, false, 1);
    let writer = table.appender().build().expect("a writer");
    let before = requests(&stage, LIST_PARTITIONS);
    for value in ["", "a b", "a$b", "__mine"] {
        let error = stage.run(writer.append(&row![value, 1, 1_i64])).expect_err("refused");
        let text = error.to_string();
        assert!(text.contains("column `dt`") && text.contains(&format!("{value:?}")), "{text}");
    }
    stage.run(writer.flush()).expect("nothing to flush");
    assert_eq!(requests(&stage, LIST_PARTITIONS), before);
    let nulls = OwnedRow::new(vec![OwnedDatum::Null, OwnedDatum::Int32(1), OwnedDatum::Int64(1)]);
    assert!(stage.run(writer.append(&nulls)).is_err());
}

#[test]
fn without_dynamic_creation_rows_for_missing_partitions_are_not_written() {
    let mut stage = Stage::new();
    let table = by_day(&mut stage, false, 1);
    let admin = stage.fluss.admin();
    let there = [("dt", "there"), ("region", "1")];
    stage.run(admin.create_partition("shop.days", &there, false)).expect("a partition");
    let writer = table.appender().dynamic_partition_creation(false).build().expect("a writer");
    let there = stage.run(writer.append(&row!["there", 1, 1_i64])).expect("it fits");
    let missing = stage.run(writer.append(&row!["missing", 1, 2_i64])).expect("it fits");
    let error = stage.run(missing).expect_err("it does not exist");
    assert!(matches!(error, WriteError::NotWritten(_)), "{error}");
    assert_eq!(error.code(), Some(ErrorCode::PARTITION_NOT_EXISTS));
    let text = error.to_string();
    let setting = "client.writer.dynamic-create-partition.enabled";
    assert!(text.contains("missing$1") && text.contains(setting), "{text}");
    stage.run(there).expect("written");
    // Another writer of the same client creates it for both.
    let other = table.appender().build().expect("a writer");
    let ticket = stage.run(other.append(&row!["missing", 1, 3_i64])).expect("it fits");
    stage.run(ticket).expect("written");
    let ticket = stage.run(writer.append(&row!["missing", 1, 4_i64])).expect("it fits");
    stage.run(ticket).expect("written, as it exists now");
    assert_eq!(requests(&stage, CREATE_PARTITION), 2);
}

#[test]
fn a_refused_creation_ends_the_rows_that_waited_for_it_and_no_others() {
    let mut stage = Stage::new();
    let table = by_day(&mut stage, false, 2);
    let writer = table.appender().build().expect("a writer");
    let too_many = Fault::ErrorBefore(45);
    stage.cluster(|cluster| cluster.inject(On::Api(CREATE_PARTITION), 0, too_many));
    let mut waiting = Vec::new();
    for id in 0..100_i64 {
        waiting.push(stage.run(writer.append(&row!["one", 1, id])).expect("it fits"));
    }
    let other = stage.run(writer.append(&row!["two", 1, 0_i64])).expect("it fits");
    for ticket in waiting {
        let error = stage.run(ticket).expect_err("there are too many partitions");
        assert!(matches!(error, WriteError::NotWritten(_)), "{error}");
        assert_eq!(error.code().map(|code| code.0), Some(45), "{error}");
        assert!(error.to_string().contains("one$1"), "{error}");
    }
    stage.run(other).expect("written");
    let again = stage.run(writer.append(&row!["one", 1, 7_i64])).expect("it fits");
    stage.run(again).expect("the next attempt is made");
}

#[test]
fn rows_wait_for_their_partition_in_order_and_hold_nobody_up() {
    let mut stage = Stage::new();
    let table = by_day(&mut stage, false, 1);
    let writer = table.appender().linger(Duration::from_millis(1)).build().expect("a writer");
    let late = Fault::DelayAnswer(Duration::from_secs(20));
    stage.cluster(|cluster| cluster.inject(On::Api(LIST_PARTITIONS), 0, late));
    let mut waiting = Vec::new();
    for id in 0..50_i64 {
        waiting.push(stage.run(writer.append(&row!["slow", 1, id])).expect("it fits"));
        stage.pass(Duration::from_millis(2));
    }
    let unpartitioned = super::testkit::events(&mut stage, 1).appender().build().expect("ok");
    let quick = stage.run(unpartitioned.append(&row![1_i64, "x"])).expect("it fits");
    stage.run(quick).expect("written");
    assert!(stage.now() < Instant::ZERO + Duration::from_secs(10), "{:?}", stage.now());
    assert!(stage.fluss.memory_used() > 0, "what waits counts");
    for (id, ticket) in waiting.into_iter().enumerate() {
        let ack = stage.run(ticket).expect("written");
        assert_eq!(ack.offset, Some(id as i64));
    }
}

#[test]
fn rows_whose_partition_never_comes_end_at_their_delivery_timeout() {
    let mut stage = Stage::new();
    let table = by_day(&mut stage, false, 1);
    let limit = Duration::from_secs(70);
    let writer = table.appender().delivery_timeout(limit).build().expect("a writer");
    for nth in 0..100 {
        let never = Fault::DropRequest;
        stage.cluster(|cluster| cluster.inject(On::Api(CREATE_PARTITION), nth, never));
    }
    let begun = stage.now();
    let ticket = stage.run(writer.append(&row!["never", 1, 1_i64])).expect("it fits");
    let error = stage.run(ticket).expect_err("nobody answers");
    assert!(matches!(error, WriteError::NotWritten(_)), "{error}");
    assert!(error.to_string().contains("partition never$1 of table shop.days"), "{error}");
    assert_eq!(stage.now().saturating_since(begun), limit);
}

#[test]
fn rows_for_a_dropped_partition_end_with_the_reason_and_the_next_ones_create_it_again() {
    let mut stage = Stage::new();
    let table = by_day(&mut stage, false, 2);
    let writer = table.appender().build().expect("a writer");
    let mut first = BTreeMap::new();
    for dt in ["kept", "dropped"] {
        let ticket = stage.run(writer.append(&row![dt, 1, 1_i64])).expect("it fits");
        first.insert(dt, stage.run(ticket).expect("written").partition);
    }
    let values = [("dt", "dropped"), ("region", "1")];
    let admin = stage.fluss.admin();
    let dropped = stage.run(admin.drop_partition("shop.days", &values, false));
    dropped.expect("dropped");
    // The first goes out alone and is refused with a code that proves nothing; by the time the
    // partition is known to be gone, the second one is still open in the other bucket.
    let sent = stage.run(writer.append(&row!["dropped", 1, 2_i64])).expect("it fits");
    stage.pass(Duration::from_millis(99));
    let kept = stage.run(writer.append(&row!["kept", 1, 2_i64])).expect("it fits");
    let other = table.appender().linger(Duration::from_secs(30)).build().expect("a writer");
    let open = stage.run(other.append(&row!["dropped", 1, 3_i64])).expect("it fits");
    let error = stage.run(sent).expect_err("its partition is gone");
    assert!(matches!(error, WriteError::OutcomeUnknown(_)), "{error}");
    assert_eq!(error.code(), Some(ErrorCode::PARTITION_NOT_EXISTS), "{error}");
    let error = stage.run(open).expect_err("its partition is gone");
    assert!(matches!(error, WriteError::NotWritten(_)), "{error}");
    assert_eq!(error.code(), Some(ErrorCode::PARTITION_NOT_EXISTS), "{error}");
    let kept = stage.run(kept).expect("other partitions go on");
    assert_eq!(kept.partition, first["kept"]);
    let again = stage.run(writer.append(&row!["dropped", 1, 3_i64])).expect("it fits");
    let again = stage.run(again).expect("written");
    assert!(again.partition > first["dropped"], "another partition: {again:?}");
    assert_eq!(again.offset, Some(0));
}

#[test]
fn a_row_that_may_be_in_a_dropped_partition_has_an_unknown_outcome() {
    let mut stage = Stage::new();
    let table = by_day(&mut stage, false, 1);
    let writer = table.appender().build().expect("a writer");
    let first = stage.run(writer.append(&row!["d", 1, 1_i64])).expect("it fits");
    let first = stage.run(first).expect("written");
    // It is appended, and the answer is lost; by the time it is sent again, the partition is gone.
    stage.cluster(|cluster| cluster.inject(On::Write, 0, Fault::LoseAnswer));
    let ticket = stage.run(writer.append(&row!["d", 1, 2_i64])).expect("it fits");
    let key = BucketKey { partition: first.partition, ..table.info().bucket(0) };
    while stage.cluster(|cluster| cluster.rows(key).map(|rows| rows.len())) != Ok(2) {
        stage.pass(Duration::from_millis(1));
    }
    assert_eq!(ticket.outcome(), None);
    // By another client, as this one's connections are down.
    stage.cluster(|cluster| cluster.remove_partition_at(&table.info().path, "d$1"));
    let error = stage.run(ticket).expect_err("nobody can tell");
    assert!(matches!(error, WriteError::OutcomeUnknown(_)), "{error}");
    assert_eq!(error.code(), Some(ErrorCode::PARTITION_NOT_EXISTS), "{error}");
}

#[test]
fn a_fraction_goes_to_the_partition_with_its_value_however_that_is_written() {
    let mut stage = Stage::new();
    let schema = Schema::builder().column("v", DataType::DOUBLE.not_null());
    let schema = schema.column("id", DataType::BIGINT).build().expect("a sound schema");
    let mut table = TableDescriptor::new(schema);
    table.partition_key = vec![0];
    table.bucket_count = Some(1);
    let table = make(&mut stage, &table);
    let admin = stage.fluss.admin();
    // As Java wrote 2.0E-3 before version 19, with a digit that is not needed.
    let java = stage.run(admin.create_partition("shop.days", &[("v", "0_0020")], false));
    java.expect("a partition");
    let writer = table.appender().build().expect("a writer");
    let mut found = Vec::new();
    for value in [0.002, 0.5] {
        let ticket = stage.run(writer.append(&row![value, 1_i64])).expect("it fits");
        found.push(stage.run(ticket).expect("written").partition.expect("a partition"));
    }
    let names = names(&mut stage);
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!((&*names[&found[0]], &*names[&found[1]]), ("0_0020", "0_5"));
}

#[test]
fn keys_are_found_in_the_partition_with_their_value_however_that_is_written() {
    let mut stage = Stage::new();
    let schema = Schema::builder()
        .column("v", DataType::FLOAT.not_null())
        .column("id", DataType::BIGINT.not_null())
        .primary_key(["v", "id"]);
    let mut table = TableDescriptor::new(schema.build().expect("a sound schema"));
    table.partition_key = vec![0];
    table.bucket_count = Some(2);
    let table = make(&mut stage, &table);
    let admin = stage.fluss.admin();
    // As Java wrote 2.0E-3 before version 19, and a number that is not this one.
    for name in ["0_0020", "0_0021"] {
        let java = stage.run(admin.create_partition("shop.days", &[("v", name)], false));
        java.expect("a partition");
    }
    let lookuper = table.lookuper().expect("a primary-key table");
    let nothing = stage.run(lookuper.lookup(&(0.002_f32, 1_i64))).expect("an answer");
    assert_eq!(nothing, None);
    let writer = table.upserter().build().expect("a writer");
    let mut found = Vec::new();
    for value in [0.002_f32, 0.5] {
        let ticket = stage.run(writer.upsert(&(value, 1_i64))).expect("it fits");
        found.push(stage.run(ticket).expect("written").partition.expect("a partition"));
    }
    let names = names(&mut stage);
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!((&*names[&found[0]], &*names[&found[1]]), ("0_0020", "0_5"));
    let again = table.lookuper().expect("a primary-key table");
    for value in [0.002_f32, 0.5] {
        for lookuper in [&lookuper, &again] {
            let row = stage.run(lookuper.lookup(&(value, 1_i64))).expect("an answer");
            assert!(row.is_some(), "{value}");
        }
    }
    // Scans go by the partitions that there are.
    let keys = stage.run(table.buckets()).expect("an answer");
    assert!(keys.iter().any(|key| key.partition == Some(found[0])));
    let scanner = table.scanner().bounded().build();
    let mut scanner = stage.run(scanner).expect("a scanner");
    let mut rows = BTreeMap::new();
    while let Some(batch) = stage.run(scanner.next_batch()).expect("an answer") {
        *rows.entry(batch.bucket().partition).or_insert(0) += batch.num_rows();
    }
    assert_eq!(rows, found.iter().map(|id| (Some(*id), 1)).collect());
}

#[test]
fn what_waits_for_a_partition_is_not_written_when_the_table_goes_or_the_client_ends() {
    for ending in ["drop", "abort"] {
        let mut stage = Stage::new();
        let table = by_day(&mut stage, false, 1);
        let writer = table.appender().build().expect("a writer");
        for nth in 0..100 {
            let never = Fault::DropRequest;
            stage.cluster(|cluster| cluster.inject(On::Api(CREATE_PARTITION), nth, never));
        }
        let ticket = stage.run(writer.append(&row!["never", 1, 1_i64])).expect("it fits");
        stage.pass(Duration::from_secs(1));
        match ending {
            "drop" => {
                let dropped = stage.run(stage.fluss.admin().drop_table("shop.days", false));
                dropped.expect("dropped");
                stage.cluster(|cluster| cluster.cut_connections(None));
            }
            _ => stage.fluss.shared().abort(stage.now(), "the test says so"),
        }
        let error = stage.run(ticket).expect_err("there is no such partition");
        assert!(matches!(error, WriteError::NotWritten(_)), "{ending}: {error}");
    }
}

#[test]
fn names_without_a_partition_are_forgotten_and_what_waits_is_not() {
    let mut stage = Stage::new();
    let table = by_day(&mut stage, false, 2);
    let writer = table.appender().dynamic_partition_creation(false).build().expect("a writer");
    let late = table.appender().build().expect("a writer");
    let there = [("dt", "there"), ("region", "1")];
    let made = stage.run(stage.fluss.admin().create_partition("shop.days", &there, true));
    made.expect("a partition");
    // One that waits meanwhile, as nobody answers at first.
    stage.cluster(|cluster| cluster.inject(On::Api(CREATE_PARTITION), 0, Fault::DropRequest));
    let waiting = stage.run(late.append(&row!["waits", 1, 1_i64])).expect("it fits");
    stage.pass(Duration::from_secs(1));
    for round in 0..10 {
        let mut tickets = Vec::new();
        for n in 0..500 {
            let name = format!("r{round}n{n}");
            tickets.push(stage.run(writer.append(&row![&*name, 1, 1_i64])).expect("it fits"));
        }
        for ticket in tickets {
            let error = stage.run(ticket).expect_err("there is no such partition");
            assert_eq!(error.code(), Some(ErrorCode::PARTITION_NOT_EXISTS));
        }
        let there = stage.run(writer.append(&row!["there", 1, round])).expect("it fits");
        stage.run(there).expect("written");
        // An old name that was forgotten meanwhile is asked for again.
        let old = stage.run(writer.append(&row!["r0n0", 1, 1_i64])).expect("it fits");
        assert!(stage.run(old).is_err());
    }
    let remembered = stage.fluss.shared().with(|core, _| core.client.partitions_remembered());
    assert!((2..1010).contains(&remembered), "{remembered}");
    assert!(writer.routes() < 2050, "{}", writer.routes());
    stage.run(waiting).expect("written at last");
}

/// Writes two rows into each of so many partitions, then once more into each.
fn many(count: i32) {
    let mut stage = Stage::new();
    let table = by_day(&mut stage, false, 1);
    let writer = table.appender().build().expect("a writer");
    for round in 0..2_i64 {
        let rows = (0..2 * count).map(|row| row!["many", row % count, i64::from(row) + round]);
        let run = stage.run(writer.append_all(rows)).expect("they fit");
        let parts = stage.run(run);
        let written: u64 = parts.iter().map(|part| part.rows.end - part.rows.start).sum();
        assert_eq!(written, 2 * count as u64);
        for part in parts {
            part.outcome.expect("written");
        }
        assert_eq!(stage.fluss.memory_used(), 0);
    }
    assert_eq!(requests(&stage, CREATE_PARTITION), count as u64);
    let rows = stage.cluster(|cluster| cluster.rows_appended());
    assert_eq!(rows, 4 * count as u64);
    // Lists are for all names that wait at once, and metadata is asked for a hundred at a time.
    assert!(requests(&stage, LIST_PARTITIONS) <= 2 + count as u64 / 50);
}

/// `FLUSS_PARTITIONS` asks for another number, to see how time and memory grow.
#[test]
fn ten_thousand_partitions_work() {
    let asked = std::env::var("FLUSS_PARTITIONS").ok().and_then(|text| text.parse().ok());
    many(asked.unwrap_or(10_000));
}

#[test]
fn no_lookup_inserts_a_row_into_a_partition_as_servers_would_keep_a_wrong_one() {
    const LOOKUP: i16 = 1017;
    for release in [Release::V0_9, Release::V1_0] {
        let mut stage = Stage::with(ClusterOptions { release, ..ClusterOptions::default() });
        let table = by_day(&mut stage, true, 2);
        let writer = table.upserter().build().expect("a writer");
        let ticket = stage.run(writer.upsert(&("2026-01-01", 1, 5_i64))).expect("fits");
        stage.run(ticket).expect("written");
        let lookuper = table.lookuper().expect("a primary-key table");
        let asked = (requests(&stage, LOOKUP), requests(&stage, LIST_PARTITIONS));
        for key in [row!["2026-01-01", 1, 5_i64], row!["2026-01-02", 1, 5_i64]] {
            let refused = stage.run(lookuper.lookup_or_insert(&key)).expect_err("wrong rows");
            let text = refused.to_string();
            assert!(matches!(refused, Error::Misuse(_)), "{text}");
            for part in ["shop.days", "partitioned (by dt, region)", "upsert it"] {
                assert!(text.contains(part), "{text}");
            }
        }
        assert_eq!((requests(&stage, LOOKUP), requests(&stage, LIST_PARTITIONS)), asked);
        let found = stage.run(lookuper.lookup(&("2026-01-01", 1, 5_i64))).expect("an answer");
        assert!(found.is_some());
        assert_eq!(requests(&stage, LOOKUP), asked.0 + 1, "a plain lookup is sent");
    }
}
