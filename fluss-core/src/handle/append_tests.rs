use std::task::Poll;

use super::super::testkit::Stage;
use crate::ids::TablePath;
use crate::row;
use crate::row::{Column, DataType, Datum, Row, RowSink, Schema, TableDescriptor};
use crate::time::Duration;

#[test]
fn a_row_right_after_connecting_to_a_coordinator_gets_its_offset() {
    // The first bootstrap address may be the coordinator, which gives no writer ids. The table is
    // made on the server itself, so that nothing has asked for the servers before the first row.
    let mut stage = Stage::new();
    let schema = Schema::builder().column("id", DataType::BIGINT).build().expect("a sound schema");
    let description = TableDescriptor::new(schema).to_json();
    let path = TablePath::new("fluss", "events");
    stage.cluster(|c| c.add_table(&path, &description)).expect("a table");
    let opening = stage.fluss.table("fluss.events");
    let table = stage.run(opening).expect("it is there");
    assert!(stage.fluss.shared().with(|core, _| core.client.cluster().tablets.is_empty()));
    let writer = table.appender().build().expect("a writer");
    let ticket = writer.try_append(&row![7_i64]).expect("room");
    // Seals at once: the writer id is wanted before the driver has had a turn.
    let flush = writer.flush();
    assert_eq!(stage.run(ticket).expect("written").offset, Some(0));
    assert_eq!(stage.run(flush), Ok(()));
    assert_eq!(stage.fluss.memory_used(), 0);
}

/// A table of one bucket, opened.
fn open(stage: &mut Stage) -> crate::Table {
    let schema = Schema::builder().column("id", DataType::BIGINT).build().expect("a sound schema");
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    let table = TableDescriptor::new(schema);
    stage.run(admin.create_table("shop.events", &table, false)).expect("a table");
    let opening = stage.fluss.table("shop.events");
    stage.run(opening).expect("it is there")
}

#[test]
fn a_batch_that_is_due_while_its_lane_is_busy_is_sealed_when_the_lane_is_free() {
    let mut stage = Stage::new();
    let writer = open(&mut stage).appender().linger(Duration::ZERO).build().expect("a writer");
    let ticket = writer.try_append(&row![1_i64]).expect("room");
    let busy = writer.core.lane().run();
    stage.pass(Duration::from_millis(20));
    assert_eq!(ticket.outcome(), None, "nobody can seal it");
    drop(busy);
    stage.settle();
    assert!(matches!(ticket.outcome(), Some(Ok(_))), "its holder sealed it");
}

#[test]
fn a_wish_that_the_holder_of_a_busy_lane_overlooked_is_repeated() {
    let mut stage = Stage::new();
    let writer = open(&mut stage).appender().linger(Duration::ZERO).build().expect("a writer");
    let ticket = writer.try_append(&row![1_i64]).expect("room");
    let busy = writer.core.lane().run();
    stage.pass(Duration::from_millis(20));
    writer.core.lane().overlook();
    drop(busy);
    stage.pass(Duration::from_millis(2));
    assert!(matches!(ticket.outcome(), Some(Ok(_))));
}

#[test]
fn keyless_rows_of_each_clone_fill_one_batch_after_the_other() {
    let mut stage = Stage::new();
    let schema = Schema::builder().column("id", DataType::BIGINT).build().expect("a sound schema");
    let mut table = TableDescriptor::new(schema);
    table.bucket_count = Some(4);
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    stage.run(admin.create_table("shop.events", &table, false)).expect("a table");
    let opening = stage.fluss.table("shop.events");
    let table = stage.run(opening).expect("it is there");
    let first = table.appender().build().expect("a writer");
    let second = first.clone();
    let mut tickets = Vec::new();
    for id in 0..100_i64 {
        for writer in [&first, &second] {
            tickets.push(writer.try_append(&row![id]).expect("room"));
        }
    }
    let (one, two) = (first.flush(), second.flush());
    stage.run(one).expect("all written");
    stage.run(two).expect("all written");
    let buckets: std::collections::BTreeSet<i32> =
        tickets.iter().map(|t| t.outcome().expect("an outcome").expect("written").bucket).collect();
    assert_eq!(buckets.len(), 2, "two clones, two batches: {buckets:?}");
}

#[test]
fn an_iterator_that_uses_the_handle_it_is_read_by_is_told_so_and_a_clone_is_free_to_use() {
    let mut stage = Stage::new();
    let writer = open(&mut stage).appender().build().expect("a writer");
    let (clone, mut others) = (writer.clone(), Vec::new());
    let rows = (0..100_i64).map(|id| {
        let error = writer.try_append(&row![-1_i64]).expect_err("it takes this very row");
        assert!(matches!(&error, crate::Error::Misuse(why) if why.contains("clone")), "{error}");
        assert_eq!(writer.append(&row![-1_i64]).wait().err(), Some(error.clone()));
        let within = writer.append_all([row![-1_i64]]).wait().expect("one refused row");
        let within = within.wait();
        assert!(matches!(&within[..], [part] if part.outcome.is_err()), "{within:?}");
        let flushed = writer.flush().wait().expect_err("nothing can be waited for");
        assert_eq!(flushed.stopped, Some(error));
        others.push(clone.try_append(&row![id]).expect("room"));
        row![id]
    });
    let all = stage.run(writer.append_all(rows)).expect("handed in");
    stage.run(writer.flush()).expect("all written");
    let parts = stage.run(all);
    assert!(parts.iter().all(|part| part.outcome.is_ok()), "{parts:?}");
    assert!(others.iter().all(|ticket| matches!(ticket.outcome(), Some(Ok(_)))));
    let written = stage.cluster(|cluster| cluster.rows_appended());
    assert_eq!(written, 200, "the rows and those of the clone, and no other");
}

#[test]
fn a_flush_within_a_row_that_the_handle_takes_is_refused_also_when_it_has_got_columns() {
    /// A row that flushes the handle that takes it.
    struct Flushes<'a>(&'a Stage, &'a crate::AppendWriter, [Datum<'a>; 2]);
    impl Row for Flushes<'_> {
        fn arity(&self) -> usize {
            2
        }

        fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
            let mut flush = self.1.flush();
            let Poll::Ready(Err(error)) = self.0.poll(&mut flush) else {
                panic!("a flush that waits for its own row, or for none")
            };
            assert!(matches!(error.stopped, Some(crate::Error::Misuse(_))), "{error}");
            self.2.iter().try_for_each(|datum| sink.put(*datum))
        }
    }
    let mut stage = Stage::new();
    let writer = open(&mut stage).appender().build().expect("a writer");
    stage.pass(Duration::from_secs(5));
    let columns = [Column::new("b", DataType::INT)];
    let adding = stage.fluss.admin().add_columns("shop.events", &columns);
    stage.run(adding).expect("it is added");
    writer.try_append(&row![0_i64, 7]).expect_err("nobody has told the client so far");
    stage.pass(Duration::from_secs(5));
    for id in 0..3 {
        let row = Flushes(&stage, &writer, [Datum::Int64(id), Datum::Int32(7)]);
        drop(writer.try_append(&row).expect("room"));
    }
    let flush = writer.flush();
    assert_eq!(stage.run(flush), Ok(()));
    assert_eq!(stage.cluster(|cluster| cluster.rows_appended()), 3);
}
