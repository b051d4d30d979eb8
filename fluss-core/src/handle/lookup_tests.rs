use super::super::testkit::Stage;
use crate::error::Error;
use crate::ids::ServerId;
use crate::row;
use crate::row::{DataType, OwnedDatum, OwnedRow, Schema, TableDescriptor};
use crate::testing::cluster::{Fault, On};
use crate::{ErrorCode, Table};

pub(super) fn users() -> TableDescriptor {
    let schema = Schema::builder()
        .column("name", DataType::STRING)
        .column("region", DataType::STRING.not_null())
        .column("id", DataType::BIGINT.not_null())
        .primary_key(["region", "id"])
        .build()
        .expect("a sound schema");
    let mut table = TableDescriptor::new(schema);
    table.bucket_count = Some(4);
    table.bucket_key = vec![1];
    table
}

pub(super) fn open(stage: &mut Stage, table: &TableDescriptor) -> Table {
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    stage.run(admin.create_table("shop.users", table, false)).expect("a table");
    let opening = stage.fluss.table("shop.users");
    stage.run(opening).expect("it is there")
}

pub(super) fn put(stage: &mut Stage, table: &Table, rows: &[(&str, &str, i64)]) {
    let writer = table.upserter().build().expect("a writer");
    for row in rows {
        let ticket = stage.run(writer.upsert(row)).expect("room");
        stage.run(ticket).expect("written");
    }
}

fn user(name: &str, region: &str, id: i64) -> OwnedRow {
    let text = |s: &str| OwnedDatum::Str(s.to_owned());
    OwnedRow::new(vec![text(name), text(region), OwnedDatum::Int64(id)])
}

const ROWS: [(&str, &str, i64); 4] =
    [("Ann", "eu", 1), ("Bob", "eu", 2), ("Cid", "us", 1), ("Dee", "eu", 3)];

#[test]
fn a_lookup_right_after_opening_finds_rows_and_none() {
    let mut stage = Stage::new();
    let table = open(&mut stage, &users());
    let lookuper = table.lookuper().expect("a primary-key table");
    let nobody = lookuper.lookup(&("eu", 1_i64));
    assert_eq!(stage.run(nobody), Ok(None));
    put(&mut stage, &table, &ROWS);
    let ann = lookuper.lookup(&("eu", 1_i64));
    let nobody = lookuper.lookup(&("eu", 9_i64));
    let cid = lookuper.lookup(&("us", 1_i64));
    assert_eq!(stage.run(cid), Ok(Some(user("Cid", "us", 1))));
    assert_eq!(stage.run(ann), Ok(Some(user("Ann", "eu", 1))));
    assert_eq!(stage.run(nobody), Ok(None));
}

#[test]
fn a_prefix_finds_all_rows_that_begin_with_it() {
    let mut stage = Stage::new();
    let table = open(&mut stage, &users());
    put(&mut stage, &table, &ROWS);
    let lookuper = table.lookuper().expect("a primary-key table");
    let rows = stage.run(lookuper.lookup_prefix(&("eu",)));
    assert_eq!(rows, Ok(vec![user("Ann", "eu", 1), user("Bob", "eu", 2), user("Dee", "eu", 3)]));
    assert_eq!(stage.run(lookuper.lookup_prefix(&("asia",))), Ok(Vec::new()));
}

#[test]
fn many_keys_come_back_in_their_order_with_few_requests() {
    let mut stage = Stage::new();
    let table = open(&mut stage, &users());
    put(&mut stage, &table, &ROWS);
    let lookuper = table.lookuper().expect("a primary-key table");
    let keys: Vec<(String, i64)> =
        (0..200).map(|i| (if i % 2 == 0 { "eu" } else { "us" }.to_owned(), i / 2)).collect();
    let lookups: Vec<_> = keys.iter().map(|(region, id)| row![region.as_str(), *id]).collect();
    let rows = stage.run(lookuper.lookup_all(&lookups)).expect("answers");
    assert_eq!(rows.len(), 200);
    assert_eq!(rows[2], Some(user("Ann", "eu", 1)));
    assert_eq!(rows[3], Some(user("Cid", "us", 1)));
    assert_eq!(rows.iter().flatten().count(), 4);
    let requests = stage.cluster(|c| c.requests().get(&1017).copied());
    assert!(requests.is_some_and(|n| n <= 8), "{requests:?} requests for 200 keys");
}

#[test]
fn a_moved_leader_and_a_cut_connection_do_not_show() {
    let mut stage = Stage::new();
    let table = open(&mut stage, &users());
    put(&mut stage, &table, &ROWS);
    let lookuper = table.lookuper().expect("a primary-key table");
    for round in 0..6 {
        match round % 3 {
            0 => stage.cluster(|c| c.move_leaders_away(round / 3)),
            1 => stage.cluster(|c| c.cut_connections(None)),
            _ => stage.cluster(|c| c.inject(On::Lookup, 0, Fault::LoseAnswer)),
        }
        let ann = stage.run(lookuper.lookup(&("eu", 1_i64)));
        assert_eq!(ann, Ok(Some(user("Ann", "eu", 1))), "round {round}");
    }
}

#[test]
fn partitions_are_found_and_missing_ones_have_no_rows() {
    let mut stage = Stage::new();
    let mut partitioned = users();
    partitioned.partition_key = vec![1];
    partitioned.bucket_key = Vec::new();
    let table = open(&mut stage, &partitioned);
    let lookuper = table.lookuper().expect("a primary-key table");
    assert_eq!(stage.run(lookuper.lookup(&("eu", 1_i64))), Ok(None));
    let admin = stage.fluss.admin();
    let create = admin.create_partition("shop.users", &[("region", "eu")], false);
    stage.run(create).expect("a partition");
    // Its leader may not be known yet, and it has no rows.
    assert_eq!(stage.run(lookuper.lookup(&("eu", 1_i64))), Ok(None));
    stage.run(admin.drop_partition("shop.users", &[("region", "eu")], false)).expect("dropped");
    assert_eq!(stage.run(lookuper.lookup(&("eu", 1_i64))), Ok(None));
}

#[test]
fn misuse_is_told_with_advice() {
    let mut stage = Stage::new();
    let mut plain = users();
    plain.bucket_key = Vec::new();
    let table = open(&mut stage, &plain);
    let lookuper = table.lookuper().expect("a primary-key table");
    let wrong = stage.run(lookuper.lookup(&(1_i64,)));
    assert!(matches!(wrong, Err(Error::Row(_))), "{wrong:?}");
    let wrong = stage.run(lookuper.lookup_prefix(&("eu", 1_i64)));
    assert!(matches!(&wrong, Err(Error::Misuse(text)) if text.contains("`lookup`")), "{wrong:?}");
    let schema = Schema::builder().column("a", DataType::INT).build().expect("a schema");
    let log = TableDescriptor::new(schema);
    let admin = stage.fluss.admin();
    stage.run(admin.create_table("shop.log", &log, false)).expect("a table");
    let opening = stage.fluss.table("shop.log");
    let log = stage.run(opening).expect("it is there").lookuper();
    assert!(matches!(&log, Err(Error::Misuse(text)) if text.contains("scan it")), "{log:?}");
}

#[test]
fn lookups_in_a_dropped_table_end_with_its_code() {
    let mut stage = Stage::new();
    let table = open(&mut stage, &users());
    let lookuper = table.lookuper().expect("a primary-key table");
    assert_eq!(stage.run(lookuper.lookup(&("eu", 1_i64))), Ok(None));
    stage.run(stage.fluss.admin().drop_table("shop.users", false)).expect("dropped");
    let gone = stage.run(lookuper.lookup(&("eu", 1_i64))).expect_err("no table");
    assert_eq!(gone.code(), Some(ErrorCode::TABLE_NOT_EXIST), "{gone}");
}

#[test]
fn a_server_that_stopped_is_waited_for_within_the_deadline() {
    let mut stage = Stage::new();
    let table = open(&mut stage, &users());
    let lookuper = table.lookuper().expect("a primary-key table");
    assert_eq!(stage.run(lookuper.lookup(&("eu", 1_i64))), Ok(None));
    stage.cluster(|c| {
        let servers: Vec<ServerId> = c.servers().collect();
        servers.into_iter().for_each(|server| c.stop(server));
    });
    let error = stage.run(lookuper.lookup(&("eu", 1_i64))).expect_err("nobody is there");
    assert!(matches!(&error, Error::Unavailable { last: Some(_), .. }), "{error}");
}

#[test]
fn a_server_that_answers_a_lookup_with_nonsense_is_named_with_its_address() {
    let mut stage = Stage::new();
    let table = open(&mut stage, &users());
    let lookuper = table.lookuper().expect("a primary-key table");
    stage.cluster(|c| c.inject(On::Lookup, 0, Fault::GarbageBody));
    let error = stage.run(lookuper.lookup(&("eu", 1_i64))).expect_err("nonsense").to_string();
    assert!(stage.names_a_server(&error), "{error}");
}
