//! What flushes tell of the rows of all handles of a writer.

use super::testkit::{Stage, events};
use crate::testing::cluster::{ClusterOptions, Fault, On};
use crate::{AppendWriter, Table, WriteError};

fn stage() -> (Stage, Table) {
    let mut stage = Stage::with(ClusterOptions::default());
    let table = events(&mut stage, 1);
    (stage, table)
}

/// The next `count` writes are refused for good.
fn refuse(stage: &Stage, count: usize) {
    stage.cluster(|c| (0..count).for_each(|_| c.inject(On::Write, 0, Fault::ErrorBefore(48))));
}

/// A row that will be refused, in a batch of its own.
fn refused_row(stage: &mut Stage, writer: &AppendWriter) {
    refuse(stage, 1);
    let ticket = writer.try_append(&(1_i64, "a")).expect("room");
    let flush = writer.flush();
    drop(flush);
    let refused = stage.run(ticket).expect_err("it is refused");
    assert!(matches!(refused, WriteError::NotWritten(_)), "{refused:?}");
}

fn not_written(stage: &mut Stage, writer: &AppendWriter) -> u64 {
    match stage.run(writer.flush()) {
        Ok(()) => 0,
        Err(failed) => {
            assert_eq!((failed.unknown, &failed.stopped), (0, &None));
            assert_eq!(failed.first.iter().map(|f| f.rows).sum::<u64>(), failed.not_written);
            failed.not_written
        }
    }
}

#[test]
fn flushes_of_two_handles_under_way_at_once_both_tell_what_failed_in_either() {
    let (mut stage, table) = stage();
    let writer = table.appender().build().expect("a writer");
    let clone = writer.clone();
    refuse(&stage, 2);
    let tickets = [&writer, &clone].map(|w| w.try_append(&(1_i64, "a")).expect("room"));
    let (mut one, mut other) = (writer.flush(), clone.flush());
    assert!(stage.poll(&mut one).is_pending() && stage.poll(&mut other).is_pending());
    let told = [stage.run(one), stage.run(other)].map(|t| t.expect_err("both failed").not_written);
    assert_eq!(told, [2, 2]);
    assert!(tickets.iter().all(|t| matches!(t.outcome(), Some(Err(_)))));
    assert_eq!([&writer, &clone].map(|w| not_written(&mut stage, w)), [0, 0], "told once");
}

#[test]
fn a_flush_of_one_handle_takes_nothing_from_those_of_others() {
    let (mut stage, table) = stage();
    let writer = table.appender().build().expect("a writer");
    let clone = writer.clone();
    refused_row(&mut stage, &writer);
    assert_eq!(not_written(&mut stage, &clone), 1);
    let late = writer.clone();
    assert_eq!(not_written(&mut stage, &late), 0, "it was not there when the row failed");
    drop(clone);
    assert_eq!(not_written(&mut stage, &writer), 1);
    assert_eq!(not_written(&mut stage, &writer), 0);
    refused_row(&mut stage, &late);
    drop(late);
    assert_eq!(not_written(&mut stage, &writer), 1, "rows of a dropped handle count");
}

#[test]
fn two_flushes_of_one_handle_both_tell_what_fails_while_they_are_under_way() {
    let (mut stage, table) = stage();
    let writer = table.appender().build().expect("a writer");
    refuse(&stage, 1);
    let ticket = writer.try_append(&(1_i64, "a")).expect("room");
    let (mut one, other) = (writer.flush(), writer.flush());
    assert!(stage.poll(&mut one).is_pending());
    assert_eq!(stage.run(one).expect_err("a row failed").not_written, 1);
    assert_eq!(stage.run(other).expect_err("the same row").not_written, 1);
    assert!(matches!(ticket.outcome(), Some(Err(_))));
    assert_eq!(not_written(&mut stage, &writer), 0);
}

#[test]
fn a_flush_takes_nothing_from_a_later_one_before_it_is_done() {
    let (mut stage, table) = stage();
    let writer = table.appender().build().expect("a writer");
    // Made, and looked at only in the end.
    let early = writer.flush();
    refused_row(&mut stage, &writer);
    assert_eq!(not_written(&mut stage, &writer), 1);
    refused_row(&mut stage, &writer);
    let (dropped, late) = (writer.flush(), writer.flush());
    drop(dropped);
    assert_eq!(stage.run(late).expect_err("a row failed").not_written, 1);
    assert_eq!(stage.run(early).expect_err("two rows failed since it was made").not_written, 2);
    assert_eq!(not_written(&mut stage, &writer), 0);
}

#[test]
fn what_was_told_is_not_told_again_after_another_flush_is_dropped() {
    let (mut stage, table) = stage();
    let writer = table.appender().build().expect("a writer");
    let early = writer.flush();
    refused_row(&mut stage, &writer);
    assert_eq!(not_written(&mut stage, &writer), 1);
    drop(early);
    assert_eq!(not_written(&mut stage, &writer), 0);
}

#[test]
fn what_a_dropped_flush_would_have_told_the_next_one_tells() {
    let (mut stage, table) = stage();
    let writer = table.appender().build().expect("a writer");
    refuse(&stage, 1);
    let ticket = writer.try_append(&(1_i64, "a")).expect("room");
    let mut dropped = writer.flush();
    assert!(stage.poll(&mut dropped).is_pending());
    drop(stage.run(ticket).expect_err("it is refused"));
    drop(dropped);
    assert_eq!(not_written(&mut stage, &writer), 1);

    // A flush may live longer than its handle.
    refuse(&stage, 1);
    drop(writer.try_append(&(1_i64, "a")).expect("room"));
    let flush = writer.flush();
    drop(writer);
    assert_eq!(stage.run(flush).expect_err("a row failed").not_written, 1);
}

#[test]
fn many_failures_are_all_counted_and_the_first_ones_named() {
    let (mut stage, table) = stage();
    let writer = table.appender().build().expect("a writer");
    for _ in 0..40 {
        refused_row(&mut stage, &writer);
    }
    let failed = stage.run(writer.flush()).expect_err("rows failed");
    assert_eq!((failed.not_written, failed.first.len()), (40, 32));
}

#[test]
fn a_flush_tells_the_rows_of_runs_and_record_batches_that_did_not_fit() {
    let (mut stage, table) = stage();
    let writer = table.appender().build().expect("a writer");
    let long = "x".repeat(100 << 20);
    let rows = [(0_i64, "a"), (1, long.as_str()), (2, "c")];
    let ticket = stage.run(writer.append_all(rows)).expect("handed in");
    let failed = stage.run(writer.flush()).expect_err("a row did not fit");
    assert_eq!((failed.not_written, failed.unknown, failed.first.len()), (1, 0, 1));
    assert_eq!((failed.first[0].rows, failed.first[0].between), (1, (1, 1)));
    assert!(matches!(&failed.first[0].error, WriteError::NotWritten(_)), "{failed}");
    let outcomes: Vec<bool> = stage.run(ticket).iter().map(|part| part.outcome.is_ok()).collect();
    assert_eq!(outcomes, [true, false, true]);
    assert_eq!(not_written(&mut stage, &writer), 0, "told once");
    // A row by itself was refused there and then.
    assert!(stage.run(writer.append(&(3_i64, long.as_str()))).is_err());
    assert_eq!(not_written(&mut stage, &writer), 0);
}
