//! Rows that wait for memory while their server falls silent, takes no more, or goes away, after
//! each byte of the conversation: the rows before them end in their time, then they are served, or
//! told that the client is closed; no byte of the budget is left in use.

use std::task::Poll;

use super::cut_off_tests::{
    CLOSE, COMMAND, Heard, Rows, WRITE, column, cut_everywhere, end, outcomes, within,
};
use super::testkit::{Cut, Stage};
use crate::Table;
use crate::error::Error;
use crate::row::{DataType, Schema};
use crate::testing::cluster::ClusterOptions;

/// So small that each batch asks for all of it.
const BUDGET: u64 = 4 << 10;

fn open(stage: &mut Stage, keyed: bool) -> Option<Table> {
    let schema = Schema::builder().column("id", DataType::BIGINT.not_null());
    let schema = schema.column("text", DataType::STRING);
    let schema = if keyed { schema.primary_key(["id"]) } else { schema };
    let path = if keyed { "shop.users" } else { "shop.events" };
    let table = column(schema.build().expect("sound"));
    let admin = stage.fluss.admin();
    let _ = within(stage, "create", COMMAND, admin.create_table(path, &table, true));
    let opening = stage.fluss.table(path);
    within(stage, "open", COMMAND, opening).ok()
}

/// One row takes the whole budget; others wait in line for it, and at last for a close.
fn converse(cut: Cut) -> Heard {
    let options = ClusterOptions { tablet_servers: 1, ..ClusterOptions::default() };
    let mut stage = Stage::configured(options, |config| config.memory_limit(BUDGET));
    stage.cut(cut);
    let s = &mut stage;
    let admin = s.fluss.admin();
    let _ = within(s, "create", COMMAND, admin.create_database("shop", true));
    let (Some(events), Some(users)) = (open(s, false), open(s, true)) else { return end(stage) };
    let rows: Vec<(i64, &str)> = (0..6).map(|id| (id, "a short text")).collect();
    let appender = events.appender().build().expect("a writer");
    let upserter = users.upserter().build().expect("a writer");
    let (clone, other) = (appender.clone(), appender.clone());

    let first = appender.try_append(&rows[0]).expect("room");
    let mut second = clone.append(&rows[1]);
    let mut third = upserter.upsert(&rows[2]);
    let mut fourth = other.append(&rows[3]);
    assert!(s.poll(&mut second).is_pending(), "the budget is used up");
    assert!(s.poll(&mut third).is_pending() && s.poll(&mut fourth).is_pending());
    // Each is served when the one before it has an outcome, whatever that is.
    let second = within(s, "an append in line", WRITE, second).expect("served");
    let third = within(s, "an upsert in line", WRITE, third).expect("served");
    let fourth = within(s, "an append in line", WRITE, fourth).expect("served");
    let flushes = (appender.flush(), upserter.flush());
    let _ = within(s, "flush", WRITE, flushes.0);
    let _ = within(s, "flush", WRITE, flushes.1);
    let mut appended = outcomes(s, vec![(0, first), (1, second), (3, fourth)]);
    let upserted = outcomes(s, vec![(2, third)]);
    assert_eq!(s.fluss.memory_used(), 0);

    let mut last = appender.try_append(&rows[4]).expect("room");
    let mut told = clone.append(&rows[5]);
    assert!(s.poll(&mut told).is_pending());
    let closing = s.fluss.close(CLOSE);
    let _ = within(s, "close", CLOSE, closing);
    let Poll::Ready(told) = s.poll(&mut told) else { panic!("a wait outlives the client") };
    assert!(matches!(told, Err(Error::Closed(_))), "{told:?}");
    let Poll::Ready(last) = s.poll(&mut last) else { panic!("a row outlives the client") };
    appended.push((4, last));
    assert_eq!(s.fluss.memory_used(), 0);
    Rows { bucket: events.info().bucket(0), outcomes: appended }.check(s);
    Rows { bucket: users.info().bucket(0), outcomes: upserted }.check(s);
    end(stage)
}

#[test]
fn rows_that_wait_for_memory_outlive_no_server_and_are_served_or_told() {
    cut_everywhere(converse);
}
