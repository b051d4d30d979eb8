use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Wake, Waker};

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};

use super::super::testkit::{Stage, events, users};
use crate::AppendWriter;
use crate::error::Error;
use crate::row::{Column, DataType, OwnedDatum, OwnedRow};
use crate::time::Duration;
use crate::{named_row, row};

/// The API key of requests for what is known of tables.
const METADATA: i16 = 1012;

fn add(stage: &mut Stage, path: &str, column: &str) {
    let column = Column::new(column, DataType::INT);
    let adding = stage.fluss.admin().add_columns(path, &[column]);
    stage.run(adding).expect("it is added");
}

/// All rows of a table as it is now.
fn rows(stage: &mut Stage, path: &str) -> Vec<OwnedRow> {
    let opening = stage.fluss.table(path);
    let table = stage.run(opening).expect("it is there");
    let mut scanner = stage.run(table.scanner().bounded().build()).expect("a scanner");
    let mut found = Vec::new();
    while let Some(batch) = stage.run(scanner.next_batch()).expect("a batch that decodes") {
        for view in batch.rows().expect("rows").iter() {
            let columns = 0..view.schema().columns().len();
            let value = |at| OwnedDatum::from(view.value(at).expect("a column"));
            found.push(columns.map(value).collect::<OwnedRow>());
        }
    }
    found
}

fn values(id: i64, text: Option<&str>, more: &[Option<i32>]) -> OwnedRow {
    let text = text.map_or(OwnedDatum::Null, |text| OwnedDatum::Str(text.to_owned()));
    let more = more.iter().map(|value| value.map_or(OwnedDatum::Null, OwnedDatum::Int32));
    [OwnedDatum::Int64(id), text].into_iter().chain(more).collect()
}

/// Rows that have the columns of a table at first, or one more.
fn batch(ids: impl IntoIterator<Item = i64>, b: Option<i32>) -> RecordBatch {
    let ids = Int64Array::from_iter_values(ids);
    let count = arrow_array::Array::len(&ids);
    let id: ArrayRef = Arc::new(ids);
    let text: ArrayRef = Arc::new(StringArray::from(vec!["batch"; count]));
    let mut columns = vec![("id", id), ("text", text)];
    columns.extend(b.map(|b| ("b", Arc::new(Int32Array::from(vec![b; count])) as ArrayRef)));
    RecordBatch::try_from_iter(columns).expect("a batch")
}

/// A writer of small batches that go when they are full, whose table has got a column. The client
/// knows of it, and no row with it was taken so far.
fn told(stage: &mut Stage) -> AppendWriter {
    let building = events(stage, 1).appender().batch_bytes(1000).linger(Duration::from_secs(20));
    let writer = building.build().expect("a writer");
    stage.pass(Duration::from_secs(5));
    add(stage, "shop.events", "b");
    writer.try_append(&row![-1_i64, "wide", 7]).expect_err("nobody has told the client so far");
    stage.pass(Duration::from_secs(5));
    writer
}

/// More rows go in, which fill some batches; then all rows lie as they were handed in.
fn assert_order(stage: &mut Stage, writer: &AppendWriter, before: impl IntoIterator<Item = i64>) {
    let more = 100_000..100_200;
    for id in more.clone() {
        drop(writer.try_append(&row![id, "wide", 7]).expect("room"));
    }
    stage.settle();
    let flush = writer.flush();
    assert_eq!(stage.run(flush), Ok(()));
    let ids: Vec<_> = rows(stage, "shop.events").iter().map(|r| r.values()[0].clone()).collect();
    let expected: Vec<_> = before.into_iter().chain(more).map(OwnedDatum::Int64).collect();
    assert_eq!(ids, expected);
    assert_eq!(stage.fluss.memory_used(), 0);
}

#[test]
fn a_writer_goes_on_with_the_columns_that_its_table_gets() {
    let mut stage = Stage::new();
    let writer = events(&mut stage, 1).appender().build().expect("a writer");
    stage.pass(Duration::from_secs(5));
    add(&mut stage, "shop.events", "b");
    drop(writer.try_append(&row![0_i64, "old"]).expect("room"));
    // Nobody has told the client so far: it asks.
    let error = writer.try_append(&row![1_i64, "wide", 7]).expect_err("too many values");
    assert!(matches!(error, Error::Row(_)), "{error}");
    assert_eq!(writer.table().info().schema().columns().len(), 2);
    stage.pass(Duration::from_secs(5));

    drop(writer.try_append(&row![1_i64, "old"]).expect("room"));
    drop(writer.try_append(&row![2_i64, "wide", 7]).expect("room"));
    assert_eq!(writer.table().info().schema().columns().len(), 3);
    drop(writer.try_append(&row![3_i64, "old"]).expect("room"));
    drop(writer.try_append(&named_row! { "b" => 8, "id" => 4_i64 }).expect("room"));
    let both = [values(5, Some("run"), &[]), values(6, Some("run"), &[Some(9)])];
    drop(stage.run(writer.append_all(&both)).expect("handed in"));
    drop(stage.run(writer.append_batch(&batch([7, 8], None))).expect("handed in"));
    drop(stage.run(writer.append_batch(&batch([9, 10], Some(1)))).expect("handed in"));
    for wrong in [row![9_i64].to_vec(), row![9_i64, "x", 1, 2].to_vec()] {
        let error = writer.try_append(&wrong[..]).expect_err("neither as before nor as now");
        assert!(matches!(error, Error::Row(_)), "{error}");
    }
    let flush = writer.flush();
    assert_eq!(stage.run(flush), Ok(()));
    let expected = [
        values(0, Some("old"), &[None]),
        values(1, Some("old"), &[None]),
        values(2, Some("wide"), &[Some(7)]),
        values(3, Some("old"), &[None]),
        values(4, None, &[Some(8)]),
        values(5, Some("run"), &[None]),
        values(6, Some("run"), &[Some(9)]),
        values(7, Some("batch"), &[None]),
        values(8, Some("batch"), &[None]),
        values(9, Some("batch"), &[Some(1)]),
        values(10, Some("batch"), &[Some(1)]),
    ];
    assert_eq!(rows(&mut stage, "shop.events"), expected);
    assert_eq!(stage.fluss.memory_used(), 0);
}

#[test]
fn a_second_change_is_picked_up_within_a_run_and_by_clones_and_batches() {
    let mut stage = Stage::new();
    let writer = events(&mut stage, 1).appender().build().expect("a writer");
    let clone = writer.clone();
    stage.pass(Duration::from_secs(5));
    for (column, wide) in
        [("b", values(0, Some("b"), &[Some(1)])), ("c", values(1, None, &[None; 2]))]
    {
        add(&mut stage, "shop.events", column);
        clone.try_append(&wide).expect_err("nobody has told the client so far");
        stage.pass(Duration::from_secs(5));
        let run = [values(2, None, &[]), wide, values(3, Some("old"), &[])];
        let ticket = stage.run(writer.append_all(run.iter())).expect("handed in");
        let flush = writer.flush();
        assert_eq!(stage.run(flush), Ok(()));
        assert!(stage.run(ticket).iter().all(|part| part.outcome.is_ok()));
    }
    // As many columns as at first, then, and now; by a handle that has seen no row yet.
    let third = writer.clone();
    assert_eq!(third.table().info().schema().columns().len(), 4);
    drop(third.try_append(&values(4, None, &[])).expect("room"));
    drop(third.try_append(&values(5, None, &[Some(5)])).expect("room"));
    drop(third.try_append(&values(6, None, &[None, Some(6)])).expect("room"));
    drop(stage.run(clone.append_batch(&batch([7, 8], Some(1)))).expect("handed in"));
    for writer in [&third, &clone] {
        let flush = writer.flush();
        assert_eq!(stage.run(flush), Ok(()));
    }
    let found = rows(&mut stage, "shop.events");
    assert_eq!(found.len(), 11);
    assert!(found.contains(&values(3, Some("old"), &[None, None])));
    assert!(found.contains(&values(5, None, &[Some(5), None])));
    assert!(found.contains(&values(6, None, &[None, Some(6)])));
    assert!(found.contains(&values(8, Some("batch"), &[Some(1), None])));
    drop((writer, clone, third));
    assert_eq!(stage.fluss.memory_used(), 0);
}

#[test]
fn upserts_and_deletes_go_on_likewise_and_writers_of_some_columns_with_those() {
    let mut stage = Stage::new();
    let table = users(&mut stage);
    let writer = table.upserter().build().expect("a writer");
    let some = table.upserter().columns(["name", "id"]).build().expect("a writer");
    add(&mut stage, "shop.users", "b");
    for _ in 0..2 {
        let _ = writer.try_upsert(&row![0_i64, "first", 7]);
        some.try_upsert(&row!["x", 0_i64, 7]).expect_err("it writes two columns");
        stage.pass(Duration::from_secs(5));
    }
    drop(writer.try_upsert(&row![1_i64, "wide", 8]).expect("room"));
    drop(writer.try_upsert(&row![2_i64, "gone", 9]).expect("room"));
    drop(writer.try_upsert(&row![3_i64, "old"]).expect("room"));
    drop(writer.try_delete(&row![2_i64]).expect("room"));
    writer.try_delete(&row![3_i64, "old"]).expect_err("no key");
    let flush = writer.flush();
    assert_eq!(stage.run(flush), Ok(()));
    drop(some.try_upsert(&row!["part", 1_i64]).expect("room"));
    let flush = some.flush();
    assert_eq!(stage.run(flush), Ok(()));
    let opening = stage.fluss.table("shop.users");
    let now = stage.run(opening).expect("it is there");
    let lookuper = now.lookuper().expect("a primary-key table");
    for (id, expected) in [
        (0, Some(values(0, Some("first"), &[Some(7)]))),
        (1, Some(values(1, Some("part"), &[Some(8)]))),
        (2, None),
        (3, Some(values(3, Some("old"), &[None]))),
    ] {
        let found = stage.run(lookuper.lookup(&row![id])).expect("an answer");
        assert_eq!(found, expected, "{id}");
    }
    assert_eq!(stage.fluss.memory_used(), 0);
}

#[test]
fn columns_that_nobody_added_are_refused_and_the_servers_are_asked_in_bounds() {
    let mut stage = Stage::new();
    let writer = events(&mut stage, 1).appender().build().expect("a writer");
    stage.pass(Duration::from_secs(5));
    let said = stage.said();
    let wrong = (0..10_000_i64).map(|id| row![id, "text", 7]);
    let ticket = stage.run(writer.append_all(wrong)).expect("handed in");
    stage.pass(Duration::from_secs(5));
    let parts = stage.run(ticket);
    assert!(parts.iter().all(|part| part.outcome.is_err()));
    assert_eq!(parts.iter().map(|part| part.rows.end - part.rows.start).sum::<u64>(), 10_000);
    let answers = stage.said() - said;
    assert!(answers < 100_000, "{answers} bytes of answers");
    assert_eq!(stage.fluss.memory_used(), 0);
}

#[test]
fn a_row_that_waits_for_its_handle_while_it_gets_columns_is_in_front_of_those_after_it() {
    let one = || std::iter::once(row![1_i64, "old"]);
    let ways: [&(dyn Fn(&AppendWriter) + Sync); 4] = [
        &|writer| drop(writer.append(&row![1_i64, "old"]).wait().expect("room")),
        &|writer| drop(writer.append_all(one()).wait().expect("room")),
        &|writer| drop(writer.append_all(one().filter(|_| true)).wait().expect("room")),
        &|writer| drop(writer.append_batch(&batch([1], None)).wait().expect("room")),
    ];
    for hand_in in ways {
        let mut stage = Stage::new();
        let writer = told(&mut stage);
        drop(writer.try_append(&row![0_i64, "old"]).expect("room"));
        let next = Box::new(writer.core.grown().expect("one column more"));
        let mut held = writer.core.lane().run();
        let locks = stage.lane_locks();
        let writer = &writer;
        std::thread::scope(|scope| {
            scope.spawn(move || hand_in(writer));
            while stage.lane_locks() == locks {
                std::thread::yield_now();
            }
            assert!(writer.core.go_on_with(&mut held, next).is_none());
            drop(held);
        });
        assert_order(&mut stage, writer, 0..2);
    }
}

#[test]
fn a_row_of_whoever_is_woken_while_the_handle_gets_columns_is_in_front_of_those_after_it() {
    struct Woken(Arc<AppendWriter>, AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            if self.1.swap(false, Ordering::SeqCst) {
                drop(self.0.try_append(&row![1_i64, "old"]).expect("room"));
            }
        }
    }
    let mut stage = Stage::new();
    let writer = Arc::new(told(&mut stage));
    drop(writer.try_append(&row![0_i64, "old"]).expect("room"));
    stage.settle();
    let woken = Arc::new(Woken(Arc::clone(&writer), AtomicBool::new(false)));
    stage.poll_driver(&Waker::from(Arc::clone(&woken)));
    woken.1.store(true, Ordering::SeqCst);
    drop(writer.try_append(&row![2_i64, "wide", 7]).expect("room"));
    assert!(!woken.1.load(Ordering::SeqCst), "the driver is to send what was sealed");
    assert_order(&mut stage, &writer, 0..3);
}

#[test]
fn a_record_batch_goes_where_its_handle_is_when_its_rows_are_handed_in() {
    // Polled for the first time when the handle has got columns.
    let mut stage = Stage::new();
    let writer = told(&mut stage);
    let later = writer.append_batch(&batch([1, 2], None));
    drop(writer.try_append(&row![0_i64, "wide", 7]).expect("room"));
    drop(stage.run(later).expect("handed in"));
    assert_order(&mut stage, &writer, 0..3);

    // In the middle, as a poll takes so many rows and no more.
    let mut stage = Stage::new();
    let writer = told(&mut stage);
    let mut long = writer.append_batch(&batch(0..6000, None));
    assert!(matches!(stage.poll(&mut long), Poll::Pending));
    let taken = long.handed_in() as i64;
    assert!((1..6000).contains(&taken), "{taken} rows");
    drop(writer.try_append(&row![-1_i64, "wide", 7]).expect("room"));
    drop(stage.run(long).expect("handed in"));
    assert_order(&mut stage, &writer, (0..taken).chain([-1]).chain(taken..6000));
}

#[test]
fn the_numbers_of_failed_rows_go_on_over_a_change_of_columns() {
    let mut stage = Stage::new();
    let writer = told(&mut stage);
    let old = (0..3_i64).map(|id| row![id, "old"]);
    drop(stage.run(writer.append_all(old)).expect("handed in"));
    drop(writer.try_append(&row![3_i64, "wide", 7]).expect("room"));
    let flush = writer.flush();
    assert_eq!(stage.run(flush), Ok(()));
    drop(writer.try_append(&row![4_i64, "wide", 7]).expect("room"));
    drop(writer.try_append(&row![5_i64, "old"]).expect("room"));
    stage.fluss.shared().abort(stage.now(), "the test wants it");
    let flush = writer.flush();
    let error = stage.run(flush).expect_err("two rows were lost");
    let between: Vec<_> = error.first.iter().map(|failed| failed.between).collect();
    assert_eq!(between, [(4, 5)]);
}

#[test]
fn record_batches_without_the_new_columns_do_not_make_the_client_ask_for_the_table() {
    let mut stage = Stage::new();
    let writer = told(&mut stage);
    drop(writer.try_append(&row![0_i64, "wide", 7]).expect("room"));
    stage.pass(Duration::from_secs(5));
    let asked = |stage: &Stage| stage.cluster(|c| c.requests().get(&METADATA).copied());
    let before = asked(&stage);
    for id in 1..20 {
        drop(stage.run(writer.append_batch(&batch([id], None))).expect("handed in"));
        stage.pass(Duration::from_secs(2));
    }
    assert_eq!(asked(&stage), before);
    assert_order(&mut stage, &writer, 0..20);
}
