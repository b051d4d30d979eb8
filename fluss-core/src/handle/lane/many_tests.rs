use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::handle::testkit::{Stage, events};
use crate::row;
use crate::row::Datum;

#[test]
fn wrong_rows_of_a_run_fail_alone_and_all_others_are_in_their_order() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = table.appender().batch_bytes(1000).build().expect("a writer");
    let wrong = |id: i64| id % 97 == 50;
    let rows = (0..5000).map(|id| match wrong(id) {
        true => row!["none", "text"],
        false => row![id, "text"],
    });
    let run = stage.run(writer.append_all(rows)).expect("an open client");
    let flush = writer.flush();
    assert_eq!(stage.run(flush), Ok(()));
    let (mut next, mut offset, mut refused) = (0, 0, 0);
    let parts = stage.run(run);
    for part in &parts {
        assert_eq!(part.rows.start, next, "{part:?}");
        next = part.rows.end;
        match &part.outcome {
            Ok(ack) => {
                assert_eq!(ack.offset, Some(offset), "{part:?}");
                offset += (part.rows.end - part.rows.start) as i64;
                assert!(!part.rows.clone().any(|row| wrong(row as i64)), "{part:?}");
            }
            Err(_) => {
                refused += 1;
                assert!(part.rows.clone().all(|row| wrong(row as i64)), "{part:?}");
            }
        }
    }
    assert_eq!((next, offset, refused), (5000, 5000 - refused, 52));
    assert!(parts.len() > 100, "{} parts: the rows are in one batch", parts.len());
}

#[test]
fn rows_in_front_of_one_that_panics_are_handed_in_and_those_behind_it_may_follow() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = table.appender().build().expect("a writer");
    let rows = (0..100_i64).map(|id| {
        assert!(id != 40, "the iterator's own panic");
        [Datum::Int64(id), Datum::Str("text")]
    });
    let mut all = writer.append_all(rows);
    let caught = catch_unwind(AssertUnwindSafe(|| stage.poll(&mut all)));
    assert!(caught.is_err());
    assert_eq!(all.handed_in(), 40);
    let run = stage.run(&mut all).expect("an open client");
    assert_eq!(all.handed_in(), 99, "all but the one that was never made");
    let flush = writer.flush();
    assert_eq!(stage.run(flush), Ok(()));
    let parts = stage.run(run);
    assert_eq!(parts.len(), 1, "{parts:?}");
    assert_eq!(
        (parts[0].rows.clone(), parts[0].outcome.clone().map(|ack| ack.offset)),
        (0..99, Ok(Some(0)))
    );
}

#[test]
fn a_batch_that_the_client_ends_meanwhile_takes_no_more_rows_of_a_run() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = table.appender().build().expect("a writer");
    let rows = |from: i64| (from..from + 10).map(|id| row![id, "text"]);
    let before = stage.run(writer.append_all(rows(0))).expect("an open client");
    stage.fluss.shared().abort(stage.now(), "the test wants it");
    let early = stage.run(writer.append_all(rows(10))).expect_err("the client is closed");
    assert_eq!(early.handed_in, 0);
    assert!(stage.run(before).iter().all(|part| part.outcome.is_err()));
    let flush = writer.flush();
    let error = stage.run(flush).expect_err("ten rows were lost");
    assert_eq!(error.not_written + error.unknown, 10);
}
