//! What an application learns about rows that did not make it.

use std::task::Poll;

use super::testkit::{Stage, events};
use crate::config::WriterConfig;
use crate::error::{AttemptEnd, Error, WriteError};
use crate::ids::ServerId;
use crate::testing::cluster::{ClusterOptions, Fault, On};
use crate::time::Duration;

const AUTHORIZATION: i32 = 48;
const NOT_LEADER: i32 = 12;

#[test]
fn a_refused_row_tells_the_servers_code_and_which_server_said_it() {
    let mut stage = Stage::new();
    let writer = events(&mut stage, 1).appender().build().expect("a writer");
    stage.cluster(|c| c.inject(On::Write, 0, Fault::ErrorBefore(AUTHORIZATION)));
    let error = writer.try_append(&(1i64, "a")).map(|t| stage.run(t)).expect("room");
    let error = error.expect_err("it was refused");
    assert!(matches!(error, WriteError::NotWritten(_)), "{error}");
    assert_eq!(error.code().map(|c| c.0), Some(AUTHORIZATION));
    let [attempt] = error.attempts() else { panic!("{error}") };
    assert!(matches!(attempt.server, Some(ServerId::Tablet(_))), "{attempt:?}");
    assert_eq!(attempt.sequence, Some(0));
    // It lingered, and then was refused at once.
    assert_eq!(attempt.after, WriterConfig::default().linger);
    assert!(matches!(&attempt.end, AttemptEnd::Rejected { code, .. } if code.0 == AUTHORIZATION));
    assert!(error.to_string().contains("tablet server"), "{error}");
}

#[test]
fn an_acknowledged_row_tells_the_attempts_before_and_most_rows_had_none() {
    let mut stage = Stage::new();
    let writer = events(&mut stage, 1).appender().build().expect("a writer");
    let ticket = writer.try_append(&(1i64, "a")).expect("room");
    assert_eq!(stage.run(ticket).expect("written").attempts(), []);
    stage.cluster(|c| c.inject(On::Write, 0, Fault::LoseAnswer));
    stage.cluster(|c| c.inject(On::Write, 1, Fault::ErrorBefore(NOT_LEADER)));
    let ticket = writer.try_append(&(2i64, "a")).expect("room");
    let ack = stage.run(ticket).expect("written at last");
    assert_eq!(ack.offset, Some(1));
    let [lost, refused] = ack.attempts() else { panic!("{:?}", ack.attempts()) };
    assert!(matches!(&lost.end, AttemptEnd::Lost(_)), "{lost:?}");
    assert!(matches!(&refused.end, AttemptEnd::Rejected { code, .. } if code.0 == NOT_LEADER));
    assert_eq!((lost.sequence, refused.sequence), (Some(1), Some(1)));
    assert!(lost.after <= refused.after && lost.server.is_some(), "{lost:?} {refused:?}");
}

#[test]
fn an_unknown_outcome_tells_the_last_eight_attempts_however_many_there_were() {
    let mut stage = Stage::new();
    let writer = events(&mut stage, 1).appender().build().expect("a writer");
    for skip in 0..200 {
        stage.cluster(|c| c.inject(On::Write, skip, Fault::CutRequest));
    }
    let ticket = writer.try_append(&(1i64, "a")).expect("room");
    let error = stage.run(ticket).expect_err("nothing was ever answered");
    assert!(matches!(error, WriteError::OutcomeUnknown(_)), "{error}");
    assert_eq!((error.attempts().len(), error.code()), (8, None));
    assert!(error.attempts().is_sorted_by_key(|attempt| attempt.after), "{error}");
    assert!(error.attempts().iter().all(|a| matches!(a.end, AttemptEnd::Lost(_))), "{error}");
    let flushed = stage.run(writer.flush()).expect_err("one row failed");
    assert_eq!((flushed.unknown, &flushed.first[0].error), (1, &error));
}

#[test]
fn a_row_that_was_never_sent_has_no_attempts_and_tells_why_nothing_was_sent() {
    let mut stage = Stage::new();
    let writer = events(&mut stage, 1).appender().build().expect("a writer");
    stage.cluster(|c| c.servers().collect::<Vec<_>>().into_iter().for_each(|s| c.stop(s)));
    let ticket = writer.try_append(&(1i64, "a")).expect("room");
    let error = stage.run(ticket).expect_err("there is no server");
    assert!(matches!(error, WriteError::NotWritten(_)) && error.attempts().is_empty(), "{error}");
    let Error::Unavailable { last: Some(last), .. } = error.cause() else { panic!("{error}") };
    assert!(matches!(**last, Error::Disconnected { .. }), "{last}");
}

#[test]
fn a_run_that_meets_a_close_gives_its_ticket_back_with_the_error() {
    let mut stage = Stage::configured(ClusterOptions::default(), |c| c.memory_limit(16 << 10));
    let settings = |table: crate::Table| table.appender().batch_bytes(1 << 10).build();
    let writer = settings(events(&mut stage, 1)).expect("a writer");
    stage.cluster(|c| c.servers().collect::<Vec<_>>().into_iter().for_each(|s| c.stop(s)));
    let text = "x".repeat(200);
    let mut all = writer.append_all((0..1000i64).map(|id| (id, text.as_str())));
    assert!(stage.poll(&mut all).is_pending(), "there is no memory for all of it");
    let taken = all.handed_in();
    assert!(taken > 0);
    let closing = stage.fluss.close(Duration::from_secs(1));
    assert!(stage.run(closing).expect("it ends") > 0);
    let Poll::Ready(Err(early)) = stage.poll(&mut all) else { panic!("the client is closed") };
    assert_eq!((early.handed_in, &early.error), (taken, &Error::Closed("client")));
    assert!(early.to_string().contains(&format!("{taken} rows")), "{early}");
    let parts = stage.run(early.ticket);
    assert_eq!(parts.iter().map(|part| part.rows.end - part.rows.start).sum::<u64>(), taken);
    assert!(parts.iter().all(|part| matches!(part.outcome, Err(WriteError::NotWritten(_)))));
}
