use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::handle::testkit::{Stage, events};
use crate::rng::Rng;
use crate::row;
use crate::row::{DataType, Datum, OwnedDatum, OwnedRow, Schema, TableDescriptor};
use crate::testing::cluster::LogRow;

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
    let failed = stage.run(flush).expect_err("some rows were refused");
    assert_eq!((failed.not_written, failed.unknown), (52, 0));
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

/// What the buckets of a table hold after these keys were deleted, and which keys were refused.
fn deleted(keys: &[OwnedRow], columns: &[usize], in_a_run: bool) -> (Vec<Vec<LogRow>>, Vec<u64>) {
    let mut stage = Stage::new();
    let schema = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("name", DataType::STRING.not_null())
        .primary_key(["id", "name"])
        .build();
    let mut table = TableDescriptor::new(schema.expect("a sound schema"));
    (table.bucket_count, table.bucket_key) = (Some(3), columns.to_vec());
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    stage.run(admin.create_table("shop.pairs", &table, false)).expect("a table");
    let opening = stage.fluss.table("shop.pairs");
    let table = stage.run(opening).expect("it is there");
    let writer = table.upserter().batch_bytes(700).build().expect("a writer");
    drop(stage.run(writer.upsert_all(keys)).expect("handed in"));
    // Some of the keys fit no column.
    let flush = writer.flush();
    drop(stage.run(flush));
    let mut refused = Vec::new();
    if in_a_run {
        let run = stage.run(writer.delete_all(keys)).expect("handed in");
        let flush = writer.flush();
        drop(stage.run(flush));
        let parts = stage.run(run);
        assert_eq!(parts.last().map(|part| part.rows.end), Some(keys.len() as u64));
        let failed = parts.into_iter().filter(|part| part.outcome.is_err());
        refused.extend(failed.flat_map(|part| part.rows));
    } else {
        for (at, key) in (0..).zip(keys) {
            if stage.run(writer.delete(key)).is_err() {
                refused.push(at);
            }
        }
        let flush = writer.flush();
        drop(stage.run(flush));
    }
    let rows = |bucket| stage.cluster(|c| c.rows(table.info().bucket(bucket)).expect("sound"));
    ((0..3).map(rows).collect(), refused)
}

#[test]
fn a_run_of_deletes_does_what_its_deletes_do_one_by_one() {
    for (seed, columns) in [(1, vec![0, 1]), (2, vec![0]), (3, vec![1]), (4, vec![0, 1])] {
        let mut rng = Rng::new(seed);
        let keys: Vec<OwnedRow> = (0..300)
            .map(|at| {
                let most = [10, 40, 300][at % 3];
                let name = "n".repeat(1 + rng.below(most) as usize);
                let id = OwnedDatum::Int64(rng.next_u64() as i64 >> rng.below(64));
                match rng.below(40) {
                    0 => [OwnedDatum::Null, OwnedDatum::Str(name)].into_iter().collect(),
                    1 => [id].into_iter().collect(),
                    _ => [id, OwnedDatum::Str(name)].into_iter().collect(),
                }
            })
            .collect();
        let (rows, refused) = deleted(&keys, &columns, true);
        assert!(rows.iter().all(|bucket| bucket.len() > 100), "seed {seed}");
        assert!(!refused.is_empty(), "seed {seed}");
        assert_eq!((rows, refused), deleted(&keys, &columns, false), "seed {seed}");
    }
}
