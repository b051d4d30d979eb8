//! Handles in the child of a fork, one step at a time: the process is a number that the clock
//! tells, and a test lets it change. Real forks, among busy threads, are in `tools/tests/fork.rs`.

use std::task::Poll;

use super::testkit::{Stage, events};
use crate::error::{Error, WriteError};
use crate::time::Duration;

const FORKED: Error = Error::Forked { owner: 1 };

fn unknown() -> WriteError {
    WriteError::OutcomeUnknown(FORKED.into())
}

#[test]
fn every_call_in_a_forked_child_ends_with_an_error_that_names_the_owner() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = table.appender().build().expect("a writer");
    let mut started = writer.flush();
    stage.fork(true);
    assert_eq!(writer.try_append(&(1i64, "a")).err(), Some(FORKED));
    assert_eq!(writer.append(&(1i64, "a")).wait().err(), Some(FORKED));
    let all = writer.append_all([(1i64, "a")]).wait().expect_err("not here");
    assert_eq!((all.handed_in, all.error), (0, FORKED));
    assert!(matches!(stage.poll(&mut started), Poll::Ready(Err(_))));
    let flushed = writer.flush().wait().expect_err("nothing was waited for");
    assert_eq!(flushed.stopped, Some(FORKED));
    assert!(flushed.to_string().contains("belongs to process 1"), "{flushed}");
    assert_eq!(table.appender().build().err(), Some(FORKED));
    assert_eq!(stage.fluss.table("shop.events").wait().err(), Some(FORKED));
    assert_eq!(stage.fluss.close(Duration::ZERO).wait(), Err(FORKED));
    stage.fork(false);
    let ticket = writer.try_append(&(2i64, "b")).expect("the parent goes on");
    assert_eq!(stage.run(ticket).map(|ack| ack.offset), Ok(Some(0)));
}

#[test]
fn a_ticket_in_a_forked_child_says_that_nothing_can_be_known_and_the_parents_row_is_written() {
    let mut stage = Stage::new();
    let writer = events(&mut stage, 1).appender().build().expect("a writer");
    let before = [1i64, 2].map(|id| writer.try_append(&(id, "a")).expect("room"));
    let mut awaited = writer.try_append(&(4i64, "a")).expect("room");
    stage.fork(true);
    assert_eq!(stage.poll(&mut awaited), Poll::Ready(Err(unknown())));
    assert_eq!(awaited.outcome(), None);
    // It goes into the child's copy of the open batch, which nobody sends.
    let within = writer.try_append(&(3i64, "a")).expect("room");
    assert_eq!(within.wait(), Err(unknown()));
    let [first, second] = before;
    assert_eq!(first.wait(), Err(unknown()));
    assert_eq!(second.wait_timeout(Duration::from_secs(1)).expect("an answer"), Err(unknown()));
}

#[test]
fn what_a_forked_child_drops_changes_nothing_for_the_parent() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = table.appender().build().expect("a writer");
    let ticket = writer.try_append(&(1i64, "a")).expect("room");
    stage.fork(true);
    // A real child has copies of its own; what is dropped here must not reach the client.
    drop((writer.clone(), table.clone(), stage.fluss.table("shop.events")));
    assert!(stage.settle(), "a driver has nothing to do in a forked child");
    stage.fork(false);
    assert_eq!(stage.run(ticket).map(|ack| ack.offset), Ok(Some(0)));
    assert_eq!(stage.fluss.counters().not_written, 0);
}
