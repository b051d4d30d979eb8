//! One of several servers falls silent, takes no more, or goes away, after each byte of what is
//! said between it and the client, while the others go on: everything that was asked for ends in
//! its time, and what concerns the other servers alone succeeds.

use std::collections::BTreeSet;

use super::cut_off_tests::{Heard, Rows, cut_everywhere, end, within};
use super::testkit::{Cut, Stage};
use crate::ids::{BucketKey, ServerId};
use crate::row::{DataType, Schema, TableDescriptor};
use crate::testing::cluster::ClusterOptions;
use crate::time::Duration;
use crate::{BucketAssigner, OffsetSpec, RowToAssign, Table, Ticket};

const TABLETS: u16 = 3;
const IDS: std::ops::Range<i64> = 0..8;

/// Short, so that little time passes in each of thousands of conversations; long enough to go on
/// with another server where one does not answer.
const REQUEST: Duration = Duration::from_secs(2);
const DELIVERY: Duration = Duration::from_secs(20);
/// Limit of a command, with a second for its last wait.
const COMMAND: Duration = Duration::from_secs(6 + 1);
/// Delivery timeout, request deadline, and a second.
const WRITE: Duration = Duration::from_secs(20 + 2 + 1);

/// Each row goes to the bucket of its id, so that two come to each server.
struct ById;

impl BucketAssigner for ById {
    fn columns(&self) -> Option<Vec<String>> {
        Some(vec!["id".to_owned()])
    }

    fn assign(&self, row: &RowToAssign<'_>) -> u32 {
        row.key.iter().map(|byte| u32::from(*byte)).sum::<u32>() % row.buckets
    }
}

fn descriptor(keyed: bool) -> TableDescriptor {
    let schema = Schema::builder().column("id", DataType::BIGINT.not_null());
    let schema = if keyed { schema.primary_key(["id"]) } else { schema };
    let mut table = TableDescriptor::new(schema.build().expect("sound"));
    table.bucket_count = Some(TABLETS.into());
    table
}

/// Makes a table and opens it; the coordinator is asked for the former.
fn open(stage: &mut Stage, keyed: bool) -> Option<Table> {
    let path = if keyed { "shop.users" } else { "shop.events" };
    let admin = stage.fluss.admin();
    let _ = within(stage, "create", COMMAND, admin.create_table(path, &descriptor(keyed), true));
    let opening = stage.fluss.table(path);
    within(stage, "open", COMMAND, opening).ok()
}

/// The bucket of a row, and the server that leads it.
fn home(stage: &Stage, table: &Table, bucket: i32) -> (BucketKey, ServerId) {
    let bucket = table.info().bucket(bucket);
    let truth = stage.cluster(|cluster| cluster.truth(bucket)).expect("a bucket of the table");
    (bucket, ServerId::Tablet(truth.leader))
}

/// Every row's outcome is true; rows of servers that were not cut off are written.
fn check(stage: &mut Stage, cut_off: ServerId, table: &Table, tickets: Vec<(i64, i32, Ticket)>) {
    let start = stage.now();
    for (id, bucket, ticket) in tickets {
        let outcome = stage.run(ticket);
        let (bucket, leader) = home(stage, table, bucket);
        if leader != cut_off {
            let ack = outcome.as_ref();
            let ack = ack.unwrap_or_else(|e| panic!("row {id} of {leader}, {cut_off} is cut: {e}"));
            assert_eq!(ack.bucket, bucket.bucket);
        }
        Rows { bucket, outcomes: vec![(id, outcome)] }.check(stage);
    }
    assert!(stage.now().saturating_since(start) <= WRITE, "tickets");
}

/// Questions to each server by itself, and some to all.
fn read(stage: &mut Stage, cut_off: ServerId, events: &Table, users: &Table, homes: &[i32]) {
    let lookuper = users.lookuper().expect("a primary-key table");
    // A key of each bucket.
    for bucket in 0..TABLETS.into() {
        let (_, leader) = home(stage, users, bucket);
        let id = homes.iter().position(|home| *home == bucket).expect("each has one") as i64;
        let found = within(stage, "lookup", COMMAND, lookuper.lookup(&(id,)));
        let found = found.map(|row| row.is_some());
        assert!(leader == cut_off || found == Ok(true), "{id} of {leader}, {cut_off}: {found:?}");
    }
    let admin = stage.fluss.admin();
    let offsets = admin.list_offsets(events.info(), None, &[], OffsetSpec::Latest);
    let _ = within(stage, "list offsets", COMMAND, offsets);
    let scan = events.scanner().from_earliest().bounded().build();
    let Ok(mut scanner) = within(stage, "open a scan", 2 * COMMAND, scan) else { return };
    let mut rows = 0;
    while let Ok(Some(batch)) = within(stage, "read", 2 * COMMAND, scanner.next_batch()) {
        rows += batch.num_rows();
    }
    assert!(rows <= IDS.count());
}

/// Making tables, writing to every server by both kinds of writers, reading. `homes`: the buckets
/// of the keys.
fn converse(cut_off: ServerId, cut: Cut, homes: &[i32]) -> Heard {
    let mut stage = stage();
    stage.cut_one(cut_off, cut);
    let s = &mut stage;
    let admin = s.fluss.admin();
    let _ = within(s, "create", COMMAND, admin.create_database("shop", true));
    let (Some(events), Some(users)) = (open(s, false), open(s, true)) else {
        assert_eq!(cut_off, ServerId::Coordinator, "nothing but it is needed so far");
        return end(stage);
    };
    let appender = events.appender().bucket_assigner(ById).delivery_timeout(DELIVERY);
    let appender = appender.build().expect("a writer");
    let upserter = users.upserter().delivery_timeout(DELIVERY).build().expect("a writer");
    let (mut appended, mut upserted) = (Vec::new(), Vec::new());
    for (id, home) in IDS.zip(homes) {
        let (row, bucket) = ((id,), (id % i64::from(TABLETS)) as i32);
        let ticket = within(s, "append", COMMAND, appender.append(&row)).expect("room");
        appended.push((id, bucket, ticket));
        let ticket = within(s, "upsert", COMMAND, upserter.upsert(&row)).expect("room");
        upserted.push((id, *home, ticket));
    }
    let (first, second) = (appender.flush(), upserter.flush());
    let _ = within(s, "flush", WRITE, first);
    let _ = within(s, "flush", WRITE, second);
    check(s, cut_off, &events, appended);
    check(s, cut_off, &users, upserted);
    read(s, cut_off, &events, &users, homes);
    end(stage)
}

fn stage() -> Stage {
    let options = ClusterOptions { tablet_servers: TABLETS, ..ClusterOptions::default() };
    Stage::configured(options, |config| {
        let config = config.connect_timeout(Duration::from_secs(1)).request_deadline(REQUEST);
        let command = COMMAND.saturating_sub(Duration::from_secs(1));
        config.ack_timeout(Duration::from_secs(1)).command_deadline(command)
    })
}

/// The bucket of each key, as a cluster without trouble tells; there is one for each server.
fn homes() -> Vec<i32> {
    let mut stage = stage();
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    let users = open(&mut stage, true).expect("a table");
    let writer = users.upserter().build().expect("a writer");
    let tickets: Vec<Ticket> = IDS.map(|id| writer.try_upsert(&(id,)).expect("room")).collect();
    let homes: Vec<i32> =
        tickets.into_iter().map(|t| stage.run(t).expect("written").bucket).collect();
    let leaders: BTreeSet<ServerId> =
        (0..TABLETS.into()).map(|bucket| home(&stage, &users, bucket).1).collect();
    assert_eq!(leaders.len(), usize::from(TABLETS));
    let distinct: BTreeSet<&i32> = homes.iter().collect();
    assert_eq!(distinct.len(), usize::from(TABLETS), "{homes:?}");
    homes
}

fn cut_off(server: ServerId) {
    let homes = homes();
    cut_everywhere(|cut| converse(server, cut, &homes));
}

#[test]
fn without_its_coordinator_a_client_goes_on_with_its_tablet_servers() {
    cut_off(ServerId::Coordinator);
}

#[test]
fn without_the_first_tablet_server_a_client_goes_on_with_the_others() {
    cut_off(ServerId::Tablet(0));
}

#[test]
fn without_the_second_tablet_server_a_client_goes_on_with_the_others() {
    cut_off(ServerId::Tablet(1));
}

#[test]
fn without_the_third_tablet_server_a_client_goes_on_with_the_others() {
    cut_off(ServerId::Tablet(2));
}
