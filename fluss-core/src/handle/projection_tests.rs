//! Some columns of a log: left out by the server, or here, where everything is to be verified.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};

use super::scan_builder::ScanBuilder;
use super::table::Table;
use super::testkit::{Stage, events};
use crate::error::Error;
use crate::rng::Rng;
use crate::row;
use crate::row::{Column, DataType, TableDescriptor};
use crate::testing::cluster::{ClusterOptions, On, Release};
use crate::testing::random::{self, Shape};
use crate::time::Duration;

const FORMAT: &str = "table.log.format";
const COMPRESSION: &str = "table.log.arrow.compression.type";

/// All batches of a scan, and the bytes that servers sent for it.
fn read(stage: &mut Stage, builder: ScanBuilder) -> (Vec<RecordBatch>, u64) {
    let before = stage.said();
    let mut scanner = stage.run(builder.bounded().build()).expect("a scanner");
    let mut batches = Vec::new();
    while let Some(batch) = stage.run(scanner.next_batch()).expect("readable") {
        batches.push(batch.record_batch());
    }
    (batches, stage.said() - before)
}

/// Appends rows of these ids, each in a batch of its own.
fn append(stage: &mut Stage, table: &Table, ids: std::ops::Range<i64>, text: &str) {
    let writer = table.appender().linger(Duration::ZERO).build().expect("a writer");
    let wide = table.info().schema().columns().len() > 2;
    for id in ids {
        let ticket = match wide {
            true => writer.try_append(&row![id, text, id as i32]),
            false => writer.try_append(&row![id, text]),
        };
        stage.run(ticket.expect("room")).expect("written");
    }
}

/// A text that cannot be made much shorter.
fn text(length: usize) -> String {
    let mut rng = Rng::new(length as u64);
    (0..length).map(|_| char::from(b' ' + rng.below(95) as u8)).collect()
}

/// The setting is tried beside its default on tables of random columns.
#[test]
fn columns_chosen_by_the_server_and_here_are_equal_in_every_format_and_compression() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let release = if rng.one_in(2) { Release::V0_9 } else { Release::V1_0 };
        let mut stage = Stage::with(ClusterOptions { release, ..ClusterOptions::default() });
        let schema = Shape { columns: 8, ..Shape::default() }.schema(&mut rng);
        let rows: Vec<_> = (0..30).map(|_| random::row(&mut rng, &schema)).collect();
        let count = schema.columns().len();
        let mut order: Vec<usize> = (0..count).collect();
        for at in 1..count {
            order.swap(at, rng.below(at as u64 + 1) as usize);
        }
        order.truncate(1 + rng.below(count as u64) as usize);
        let names: Vec<&str> = order.iter().map(|at| schema.columns()[*at].name.as_str()).collect();
        let mut table = TableDescriptor::new(schema.clone());
        table.bucket_count = Some(1);
        let admin = stage.fluss.admin();
        stage.run(admin.create_database("shop", true)).expect("a database");
        let logs = [
            (COMPRESSION, "NONE"),
            (COMPRESSION, "LZ4_FRAME"),
            (COMPRESSION, "ZSTD"),
            (FORMAT, "INDEXED"),
            (FORMAT, "COMPACTED"),
        ];
        for (key, value) in logs {
            table.properties = [(key.to_owned(), value.to_owned())].into();
            let path = format!("shop.{}", value.to_lowercase());
            let made = stage.run(admin.create_table(&path, &table, false));
            made.unwrap_or_else(|error| panic!("seed {seed}, {value}: {error}"));
            let opening = stage.fluss.table(&path);
            let table = stage.run(opening).expect("it is there");
            let writer = table.appender().linger(Duration::ZERO).build().expect("a writer");
            for rows in rows.chunks(11) {
                drop(stage.run(writer.append_all(rows)).expect("room"));
                assert_eq!(stage.run(writer.flush()), Ok(()), "seed {seed}, {value}");
            }
            let scan = || table.scanner().columns(names.iter().copied());
            let (by_server, _) = read(&mut stage, scan());
            let (here, _) = read(&mut stage, scan().verify_always(true));
            assert_eq!(by_server, here, "seed {seed}, {value}, {names:?}");
            let count: usize = here.iter().map(RecordBatch::num_rows).sum();
            assert_eq!((count, here[0].num_columns()), (30, names.len()), "seed {seed}");
        }
    }
}

#[test]
fn a_server_sends_all_columns_only_where_they_are_wanted_or_to_be_verified() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let text = text(4000);
    append(&mut stage, &table, 0..20, &text);
    let ids = || table.scanner().columns(["id"]);
    let (batches, few) = read(&mut stage, ids());
    let (same, many) = read(&mut stage, ids().verify_always(true));
    assert_eq!(batches, same);
    assert!(few < 10_000 && many > 20_000, "{few} and {many} bytes");
    let (_, all) = read(&mut stage, table.scanner().columns(["text", "id"]));
    assert!(all >= many, "{all} bytes, of batches that are verified");
}

#[test]
fn a_damaged_byte_is_found_where_everything_is_verified() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    append(&mut stage, &table, 0..5, "x");
    let key = table.info().bucket(0);
    assert!(stage.cluster(|cluster| cluster.damage_log(key, 2)), "a batch is there");
    let ids = || table.scanner().columns(["id"]);
    // The byte is in another column.
    let (batches, _) = read(&mut stage, ids());
    assert_eq!(batches.len(), 5);
    let mut scanner = stage.run(ids().verify_always(true).build()).expect("a scanner");
    for id in 0..2 {
        let batch = stage.run(scanner.next_batch()).expect("readable").expect("no end");
        assert_eq!(batch.record_batch().column(0).as_primitive::<Int64Type>().value(0), id);
    }
    let error = stage.run(scanner.next_batch()).expect_err("damaged");
    let Error::Scan(error) = error else { panic!("{error}") };
    assert_eq!((error.bucket, error.position), (key, 2));
    assert!(error.to_string().contains("checksum"), "{error}");
}

#[test]
fn batches_older_than_a_wanted_column_come_whole_and_later_ones_do_not() {
    let mut stage = Stage::new();
    let old = events(&mut stage, 1);
    let text = text(1000);
    append(&mut stage, &old, 0..20, &text);
    let more = stage.fluss.admin().add_columns("shop.events", &[Column::new("n", DataType::INT)]);
    stage.run(more).expect("it is added");
    let opening = stage.fluss.table("shop.events");
    let table = stage.run(opening).expect("it is there");
    append(&mut stage, &table, 20..60, &text);
    let scan = || table.scanner().columns(["n", "id"]).max_bytes_per_bucket(2 << 10);
    let (batches, few) = read(&mut stage, scan());
    let (same, many) = read(&mut stage, scan().verify_always(true));
    assert_eq!(batches, same);
    assert!(few * 4 < many * 3, "{few} of {many} bytes: newer ones came whole, too");
    let numbers = batches.iter().flat_map(|batch| {
        let ids = batch.column(1).as_primitive::<Int64Type>().iter();
        batch.column(0).as_primitive::<Int32Type>().iter().zip(ids).collect::<Vec<_>>()
    });
    let expected = (0..60).map(|id| ((id >= 20).then_some(id as i32), Some(id)));
    assert!(numbers.eq(expected));
    // Whoever opened the table before knows nothing of the column, and needs no batch whole.
    let (batches, bytes) = read(&mut stage, old.scanner().columns(["id"]));
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 60);
    assert!(bytes * 3 < many, "{bytes} of {many} bytes");
}

#[test]
fn an_answer_of_a_server_that_cannot_project_is_the_reason_given() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    append(&mut stage, &table, 0..1, "x");
    let refused = crate::testing::cluster::Fault::ErrorBefore(34);
    stage.cluster(|cluster| cluster.inject(On::Fetch, 0, refused));
    stage.cluster(|cluster| cluster.inject(On::Fetch, 1, refused));
    let scan = table.scanner().columns(["id"]).build();
    let mut scanner = stage.run(scan).expect("a scanner");
    let error = stage.run(scanner.next_batch()).expect_err("refused twice");
    assert!(matches!(error, Error::Scan(_)), "{error}");
    assert_eq!(error.code().map(|code| code.0), Some(34), "{error}");
}
