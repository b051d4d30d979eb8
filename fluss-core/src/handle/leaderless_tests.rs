//! Servers that cannot say for a while what a table is or who leads its buckets.

use fluss_proto::ErrorCode;

use super::testkit::{Stage, events, users};
use crate::error::WriteError;
use crate::ids::ServerId;
use crate::testing::cluster::{Fault, On};
use crate::time::Duration;
use crate::{AppendWriter, OffsetSpec, Table};

const GET_TABLE_INFO: i16 = 1007;

/// The next question for metadata is answered with this code, and so is the one whether the table
/// exists.
fn in_trouble(stage: &Stage, code: i32) {
    stage.cluster(|cluster| {
        cluster.inject(On::Metadata, 0, Fault::ErrorBefore(code));
        cluster.inject(On::Api(GET_TABLE_INFO), 0, Fault::ErrorBefore(code));
    });
}

fn eager(table: &Table) -> AppendWriter {
    table.appender().linger(Duration::ZERO).build().expect("a writer")
}

#[test]
fn rows_for_a_table_that_servers_could_not_describe_at_first_are_written() {
    for code in [-1, 4711] {
        let mut stage = Stage::new();
        let writer = eager(&events(&mut stage, 1));
        in_trouble(&stage, code);
        let start = stage.now();
        for id in 0..3_i64 {
            let ticket = writer.try_append(&(id, "a")).expect("room");
            let ack = stage.run(ticket).unwrap_or_else(|error| panic!("{code}, row {id}: {error}"));
            assert_eq!(ack.offset, Some(id), "{code}");
        }
        let took = stage.now().saturating_since(start);
        assert!(took < Duration::from_secs(5), "{code}: {took:?}");
    }
}

#[test]
fn a_leader_that_was_asked_for_in_vain_is_asked_for_again() {
    for code in [-1, 48, 4711] {
        let mut stage = Stage::new();
        let table = events(&mut stage, 1);
        let writer = eager(&table);
        let ticket = writer.try_append(&(0_i64, "a")).expect("room");
        stage.run(ticket).expect("written");
        let bucket = table.info().bucket(0);
        let leader = stage.cluster(|cluster| cluster.truth(bucket)).expect("a bucket").leader;
        stage.cluster(|cluster| cluster.stop(ServerId::Tablet(leader)));
        let start = stage.now();
        let ticket = writer.try_append(&(1_i64, "b")).expect("room");
        stage.pass(Duration::from_secs(1));
        in_trouble(&stage, code);
        stage.pass(Duration::from_secs(2));
        assert_eq!(ticket.outcome(), None, "{code}: it has no leader");
        stage.cluster(|cluster| cluster.move_leaders_away(leader));
        stage.run(ticket).unwrap_or_else(|error| panic!("{code}: {error}"));
        let took = stage.now().saturating_since(start);
        assert!(took < Duration::from_secs(6), "{code}: {took:?}");
    }
}

#[test]
fn rows_for_a_table_that_must_not_be_seen_end_with_that_and_those_after_it_may_are_written() {
    let mut stage = Stage::new();
    let writer = eager(&events(&mut stage, 1));
    for _ in 0..2 {
        stage.cluster(|cluster| cluster.inject(On::Metadata, 0, Fault::ErrorBefore(48)));
        let ticket = writer.try_append(&(0_i64, "a")).expect("room");
        let error = stage.run(ticket).expect_err("it is forbidden");
        assert!(matches!(error, WriteError::NotWritten(_)), "{error}");
        assert_eq!(error.code(), Some(ErrorCode(48)), "{error}");
    }
    let ticket = writer.try_append(&(1_i64, "b")).expect("room");
    assert_eq!(stage.run(ticket).expect("it is allowed").offset, Some(0));
}

#[test]
fn whoever_waits_in_vain_for_a_leader_is_told_so() {
    let mut stage = Stage::new();
    let log = events(&mut stage, 1);
    let keyed = users(&mut stage);
    let lookuper = keyed.lookuper().expect("a lookuper");
    for table in [&log, &keyed] {
        let bucket = table.info().bucket(0);
        let leader = stage.cluster(|cluster| cluster.truth(bucket)).expect("a bucket").leader;
        stage.cluster(|cluster| cluster.stop(ServerId::Tablet(leader)));
    }
    let offsets = log.offsets(OffsetSpec::Latest);
    let told = [
        stage.run(offsets).expect_err("no leader"),
        stage.run(lookuper.lookup(&(1_i64,))).expect_err("no leader"),
        stage.run(lookuper.first_rows(keyed.info().bucket(0), 1)).expect_err("no leader"),
        stage.run(log.scanner().bounded().build()).map(drop).expect_err("no leader"),
    ];
    for error in told {
        assert!(error.to_string().contains("no leader is known"), "{error}");
    }
}
