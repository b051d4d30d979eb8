//! Scans with a filter: exactly the rows that the rules say, at their offsets, from whatever format
//! and wherever they are stored.

use std::collections::BTreeMap;
use std::task::Poll;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMillisecondType};

use super::scan_builder::ScanBuilder;
use super::table::Table;
use super::testkit::{Stage, events, users};
use crate::batch::record_batch;
use crate::error::Error;
use crate::filter::testkit::{naive, random_filter};
use crate::ids::{BucketKey, ServerId};
use crate::rng::Rng;
use crate::row;
use crate::row::{Column, DataType, Datum, OwnedDatum, OwnedRow, Schema, TableDescriptor};
use crate::scanner::MetadataColumn;
use crate::testing::cluster::{ClusterOptions, Release};
use crate::testing::random::{self, Shape, same};
use crate::time::Duration;
use crate::{EARLIEST, Filter, col};

const FORMAT: &str = "table.log.format";
const STATISTICS: &str = "table.statistics.columns";
const COMPRESSION: &str = "table.log.arrow.compression.type";

/// Change type, time and values of a row.
type Row = (&'static str, i64, OwnedRow);

/// The rows of a scan at their places, and where it came to.
#[derive(Debug, Default)]
struct Read {
    rows: BTreeMap<(BucketKey, i64), Row>,
    positions: BTreeMap<BucketKey, i64>,
    batches: usize,
}

/// Reads to the end; batches, their rows and their metadata columns have to say the same.
fn read(stage: &mut Stage, builder: ScanBuilder) -> Read {
    let builder = builder.with_metadata_columns(MetadataColumn::ALL);
    let mut scanner = stage.run(builder.build()).expect("a scanner");
    let mut read = Read::default();
    while let Some(batch) = stage.run(scanner.next_batch()).expect("readable") {
        let columns = batch.record_batch();
        assert_eq!(
            (columns.schema(), columns.num_rows()),
            (scanner.arrow_schema(), batch.num_rows())
        );
        let own = columns.num_columns() - 3;
        let changes = columns.column(own).as_string::<i32>();
        let offsets = columns.column(own + 1).as_primitive::<Int64Type>();
        let times = columns.column(own + 2).as_primitive::<TimestampMillisecondType>();
        let rows = batch.rows().expect("rows");
        let mut values = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let change = row.change_type();
            assert_eq!((offsets.value(at), changes.value(at)), (row.offset(), change.symbol()));
            assert_eq!(
                (batch.offset(at), batch.change_type(at)),
                (Some(row.offset()), Some(change))
            );
            assert_eq!((times.value(at), batch.timestamp()), (row.timestamp(), row.timestamp()));
            let owned: OwnedRow =
                (0..own).map(|at| OwnedDatum::from(row.value(at).expect("a column"))).collect();
            values.push(owned.clone());
            let kept = (change.symbol(), row.timestamp(), owned);
            let before = read.rows.insert((batch.bucket(), row.offset()), kept);
            assert!(before.is_none(), "a row comes twice");
        }
        assert_eq!((values.len(), batch.offset(values.len())), (batch.num_rows(), None));
        assert_eq!(batch.offset(0), Some(batch.base_offset()));
        let first: Vec<usize> = (0..own).collect();
        let made = record_batch(scanner.schema(), &values).expect("rows of these columns");
        assert_eq!(columns.project(&first).expect("the first columns"), made);
        read.batches += 1;
    }
    assert!(scanner.is_finished());
    read.positions = scanner.positions().clone();
    read
}

fn assert_same(found: &Read, expected: &Read, what: &str) {
    let places = |read: &Read| read.rows.keys().copied().collect::<Vec<_>>();
    assert_eq!(places(found), places(expected), "{what}");
    for (place, (change, time, row)) in &found.rows {
        let (expected_change, expected_time, expected_row) = &expected.rows[place];
        assert_eq!((change, time), (expected_change, expected_time), "{what}");
        let pairs = row.values().iter().zip(expected_row.values());
        let equal = |(a, b): (&OwnedDatum, &OwnedDatum)| same(a.as_datum(), b.as_datum());
        assert!(pairs.into_iter().all(equal), "{what}: {row:?}, {expected_row:?}");
    }
    assert_eq!(found.positions, expected.positions, "{what}");
}

fn any_columns(rng: &mut Rng, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for at in 1..count {
        order.swap(at, rng.below(at as u64 + 1) as usize);
    }
    order.truncate(1 + rng.below(count as u64) as usize);
    order
}

/// A table of random columns in this format with 40 random rows, some of them in remote storage.
/// Where servers know statistics, all batches have them, in several segments.
fn random_table(
    stage: &mut Stage,
    rng: &mut Rng,
    property: (&str, &str),
    statistics: bool,
) -> (Table, Vec<OwnedRow>) {
    let schema = Shape { columns: 6, ..Shape::default() }.schema(rng);
    let rows: Vec<_> = (0..40).map(|_| random::row(rng, &schema)).collect();
    let mut table = TableDescriptor::new(schema);
    table.bucket_count = Some(1 + rng.below(2) as u32);
    table.properties.insert(property.0.to_owned(), property.1.to_owned());
    if statistics {
        table.properties.insert(STATISTICS.to_owned(), "*".to_owned());
    }
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    let path = format!("shop.{}", property.1.to_lowercase());
    stage.run(admin.create_table(&path, &table, false)).expect("a table");
    let opening = stage.fluss.table(&path);
    let table = stage.run(opening).expect("it is there");
    let writer = table.appender().linger(Duration::ZERO).build().expect("a writer");
    for rows in rows.chunks(1 + rng.below(7) as usize) {
        drop(stage.run(writer.append_all(rows)).expect("room"));
        assert_eq!(stage.run(writer.flush()), Ok(()));
        if statistics && rng.one_in(6) {
            stage.cluster(|c| (0..3).for_each(|id| c.restart(ServerId::Tablet(id), false)));
        }
    }
    if rng.one_in(3) {
        let key = table.info().bucket(0);
        stage.cluster(|cluster| cluster.move_to_remote(key, rng.below(30) as i64));
    }
    (table, rows)
}

#[test]
fn a_filtered_scan_has_the_rows_of_a_whole_one_that_the_rules_choose() {
    let (mut kept, mut left_out, mut unread) = (0, 0, 0);
    for seed in 0..150 {
        let mut rng = Rng::new(seed);
        let release = if rng.one_in(2) { Release::V0_9 } else { Release::V1_0 };
        let mut stage = Stage::with(ClusterOptions { release, ..ClusterOptions::default() });
        let property = [
            (COMPRESSION, "NONE"),
            (COMPRESSION, "ZSTD"),
            (FORMAT, "INDEXED"),
            (FORMAT, "COMPACTED"),
        ][rng.below(4) as usize];
        let statistics = release == Release::V1_0;
        let (table, rows) = random_table(&mut stage, &mut rng, property, statistics);
        let schema = table.info().schema().clone();
        let all = read(&mut stage, table.scanner().bounded());
        assert_eq!(all.rows.len(), rows.len());
        let columns = any_columns(&mut rng, schema.columns().len());
        let names: Vec<&str> =
            columns.iter().map(|at| schema.columns()[*at].name.as_str()).collect();
        for _ in 0..4 {
            let Some(filter) = random_filter(&mut rng, &schema, &rows, 2) else { continue };
            let start = if rng.one_in(2) { 0 } else { rng.below(15) as i64 };
            let end = if rng.one_in(2) { i64::MAX } else { start + rng.below(12) as i64 };
            let mut expected = Read { positions: all.positions.clone(), ..Read::default() };
            let mut ends = BTreeMap::new();
            for (bucket, last) in &mut expected.positions {
                *last = end.min(*last).max(start.min(*last));
                ends.insert(*bucket, *last);
            }
            for ((bucket, offset), (change, time, row)) in &all.rows {
                if (start..end).contains(offset) {
                    if naive(&filter, &schema, row) == Some(true) {
                        let row = columns.iter().map(|at| row.values()[*at].clone()).collect();
                        expected.rows.insert((*bucket, *offset), (*change, *time, row));
                        kept += 1;
                    } else {
                        left_out += 1;
                    }
                }
            }
            let starts = all.positions.iter().map(|(bucket, last)| (*bucket, start.min(*last)));
            let scan = table.scanner().columns(names.iter().copied()).filter(filter.clone());
            let scan = scan.verify_always(rng.one_in(2)).from_offsets(starts).until_offsets(ends);
            let what = format!("seed {seed}, {property:?}, {names:?}, {start}..{end}, {filter:?}");
            let found = read(&mut stage, scan);
            assert_same(&found, &expected, &what);
            unread += usize::from(found.batches == 0);
        }
    }
    assert!(kept > 1000 && left_out > 1000 && unread > 20, "{kept}, {left_out}, {unread}");
}

#[test]
fn each_record_of_a_changelog_is_judged_alone() {
    let mut stage = Stage::new();
    let table = users(&mut stage);
    let writer = table.upserter().linger(Duration::ZERO).build().expect("a writer");
    for (id, name) in [(1, Some("a")), (2, Some("b")), (1, Some("b")), (2, Some("a")), (1, None)] {
        let ticket = match name {
            Some(name) => writer.try_upsert(&row![id as i64, name]),
            None => writer.try_delete(&row![id as i64]),
        };
        stage.run(ticket.expect("room")).expect("written");
    }
    let scan = table.scanner().bounded().columns(["id"]).filter(col("name").eq("b"));
    let found = read(&mut stage, scan);
    let changes: Vec<_> = found
        .rows
        .iter()
        .map(|((_, offset), (change, _, row))| (*offset, *change, row.values()[0].clone()))
        .collect();
    let (one, two) = (OwnedDatum::Int64(1), OwnedDatum::Int64(2));
    let expected = [(1, "+I", two.clone()), (3, "+U", one.clone()), (4, "-U", two), (6, "-D", one)];
    assert_eq!(changes, expected);
    assert_eq!(found.positions[&table.info().bucket(0)], 7);
}

#[test]
fn records_older_than_a_column_have_null_there() {
    let mut stage = Stage::new();
    let old = events(&mut stage, 1);
    let append = |stage: &mut Stage, table: &Table, row: &[Datum<'_>]| {
        let writer = table.appender().linger(Duration::ZERO).build().expect("a writer");
        let ticket = writer.try_append(row).expect("room");
        stage.run(ticket).expect("written");
    };
    (0..3).for_each(|id| append(&mut stage, &old, &row![id as i64, "x"]));
    let more = stage.fluss.admin().add_columns("shop.events", &[Column::new("n", DataType::INT)]);
    stage.run(more).expect("it is added");
    let opening = stage.fluss.table("shop.events");
    let table = stage.run(opening).expect("it is there");
    for n in [Some(1), None, Some(2)] {
        append(&mut stage, &table, &row![9_i64, "y", n]);
    }
    let offsets = |stage: &mut Stage, filter| {
        let found = read(stage, table.scanner().bounded().columns(["id"]).filter(filter));
        found.rows.into_keys().map(|(_, offset)| offset).collect::<Vec<_>>()
    };
    assert_eq!(offsets(&mut stage, col("n").is_null()), [0, 1, 2, 4]);
    assert_eq!(offsets(&mut stage, col("n").ge(2)), [5]);
    assert_eq!(offsets(&mut stage, col("n").ge(2).or(col("text").eq("x"))), [0, 1, 2, 5]);
    let error = stage.run(old.scanner().filter(col("n").is_null()).build());
    let error = error.expect_err("it was not there when the table was opened");
    assert!(error.to_string().contains("`n`"), "{error}");
}

#[test]
fn a_filter_that_does_not_fit_is_refused_before_anything_is_asked() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    stage.pass(Duration::from_secs(1));
    let told = stage.told();
    for (filter, what) in [
        (col("nobody").eq(1), "`nobody`"),
        (col("text").gt(1), "`text`"),
        (col("id").gt("1"), "\"1\""),
    ] {
        let error = stage.run(table.scanner().filter(filter).build()).expect_err("it does not fit");
        assert!(matches!(error, Error::Misuse(_)), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
    assert_eq!(stage.told(), told);
}

#[test]
fn a_scan_that_leaves_everything_out_moves_on_and_a_second_filter_counts_too() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = table.appender().linger(Duration::ZERO).build().expect("a writer");
    for id in 0..200_i64 {
        let ticket = writer.try_append(&row![id, "x"]).expect("room");
        stage.run(ticket).expect("written");
    }
    let key = table.info().bucket(0);
    let scan = table.scanner().filter(col("id").ge(200)).max_bytes_per_bucket(1 << 10).build();
    let mut scanner = stage.run(scan).expect("a scanner");
    let mut polls = 0;
    while scanner.progress(key).and_then(|progress| progress.lag()) != Some(0) {
        // Each poll ends, whatever there is to leave out.
        assert!(stage.poll(&mut scanner.next_batch()).is_pending(), "no row is wanted");
        stage.settle();
        polls += 1;
        assert!(polls < 1000, "it stays at {:?}", scanner.positions());
    }
    assert!(polls > 3, "all of it in {polls} polls");
    assert_eq!(scanner.positions()[&key], 200);
    let ticket = writer.try_append(&row![200_i64, "y"]).expect("room");
    stage.run(ticket).expect("written");
    let batch = stage.run(scanner.next_batch()).expect("readable").expect("no end");
    assert_eq!((batch.base_offset(), batch.num_rows()), (200, 1));
    let both = table.scanner().filter(col("id").ge(3)).filter(col("id").le(4)).bounded();
    let found = read(&mut stage, both);
    assert_eq!(found.rows.into_keys().map(|(_, offset)| offset).collect::<Vec<_>>(), [3, 4]);
}

/// The table `shop.told` on a server of the 1.0 line, whose batches tell statistics.
fn told(stage: &mut Stage) -> Table {
    let schema =
        Schema::builder().column("id", DataType::BIGINT).column("text", DataType::STRING).build();
    let mut table = TableDescriptor::new(schema.expect("a sound schema"));
    table.bucket_count = Some(1);
    table.properties.insert(STATISTICS.to_owned(), "*".to_owned());
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    stage.run(admin.create_table("shop.told", &table, false)).expect("a table");
    let opening = stage.fluss.table("shop.told");
    stage.run(opening).expect("it is there")
}

fn newest(options: ClusterOptions) -> Stage {
    Stage::with(ClusterOptions { release: Release::V1_0, ..options })
}

#[test]
fn servers_leave_batches_out_that_hold_no_row_that_is_wanted() {
    let mut stage = newest(ClusterOptions::default());
    let table = told(&mut stage);
    let writer = table.appender().linger(Duration::ZERO).build().expect("a writer");
    let mut rng = Rng::new(1);
    for id in 0..100_i64 {
        let text: String = (0..1000).map(|_| char::from(b' ' + rng.below(95) as u8)).collect();
        let ticket = writer.try_append(&row![id, text.as_str()]).expect("room");
        stage.run(ticket).expect("written");
    }
    let mut bytes_of = |filter: Filter, rows: usize, columns: &[&str]| {
        let before = stage.said();
        let scan = table.scanner().columns(columns.iter().copied()).filter(filter).bounded();
        let found = read(&mut stage, scan);
        assert_eq!(found.rows.len(), rows);
        assert_eq!(found.positions[&table.info().bucket(0)], 100);
        stage.said() - before
    };
    let both = &["id", "text"][..];
    let all = bytes_of(col("id").ge(0), 100, both);
    for (filter, rows) in [
        (col("id").is_in([3, 50]), 2),
        (col("id").lt(2), 2),
        (col("id").gt(1000), 0),
        (col("text").is_null(), 0),
        (col("id").eq(99).and(col("text").contains("")), 1),
        (col("id").eq(99).and(col("text").starts_with("").or(col("id").is_null())), 1),
    ] {
        for columns in [both, &["text"]] {
            let some = bytes_of(filter.clone(), rows, columns);
            assert!(some * 10 < all, "{some} of {all} bytes: {filter:?}");
        }
    }
    // What servers cannot decide they send.
    let some = bytes_of(col("text").contains("nowhere to be found"), 0, both);
    assert!(some > all / 2, "{some} of {all} bytes");
}

#[test]
fn texts_that_servers_order_in_another_way_than_their_statistics_are_found() {
    let mut stage = newest(ClusterOptions::default());
    let table = told(&mut stage);
    let writer = table.appender().linger(Duration::from_secs(1)).build().expect("a writer");
    let texts = ["\u{ff5e} wide", "\u{1f30a} wave"];
    let rows: Vec<_> = texts.iter().map(|text| row![1_i64, *text]).collect();
    drop(stage.run(writer.append_all(&rows)).expect("room"));
    assert_eq!(stage.run(writer.flush()), Ok(()));
    let key = table.info().bucket(0);
    assert_eq!(stage.cluster(|c| c.log(key).count()), 1, "batches");
    for (start, offset) in [("\u{ff5e}", 0), ("\u{1f30a}", 1)] {
        let scan = table.scanner().filter(col("text").starts_with(start)).bounded();
        let found: Vec<_> = read(&mut stage, scan).rows.into_keys().collect();
        assert_eq!(found, [(key, offset)], "{start:?}");
    }
}

#[test]
fn a_filtered_scan_that_follows_loses_nothing_and_doubles_nothing() {
    let (mut rows, mut moved) = (0, 0);
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let replication_delay = Duration::from_millis(rng.below(40));
        let mut stage = newest(ClusterOptions { replication_delay, ..ClusterOptions::default() });
        let table = told(&mut stage);
        let key = table.info().bucket(0);
        let building = table.appender().batch_bytes(256 << rng.below(3));
        let writer = building.linger(Duration::from_millis(1)).build().expect("a writer");
        let low = rng.below(300) as i64;
        let filter = col("id").ge(low).and(col("id").lt(low + 20)).or(col("id").gt(380));
        let scan = table.scanner().filter(filter).max_bytes_per_bucket(512 << rng.below(4));
        let mut scanner = stage.run(scan.build()).expect("a scanner");
        let (mut found, mut id) = (Vec::new(), 0_i64);
        let mut next = |stage: &mut Stage| {
            while let Poll::Ready(batch) = stage.poll(&mut scanner.next_batch()) {
                let batch = batch.expect("readable").expect("no end");
                found.extend((0..batch.num_rows()).filter_map(|row| batch.offset(row)));
            }
            let progress = scanner.progress(key).expect("it is read");
            (found.clone(), progress.position)
        };
        let mut at = EARLIEST;
        while id < 400 {
            for _ in 0..rng.below(30) {
                drop(writer.try_append(&row![id, "a text"]).expect("room"));
                id += 1;
            }
            let time = Duration::from_millis(rng.below(30));
            stage.pass(time);
            if rng.one_in(12) {
                let clean = rng.one_in(2);
                stage.cluster(|c| (0..3).for_each(|id| c.restart(ServerId::Tablet(id), clean)));
            }
            let position = next(&mut stage).1;
            assert!(position >= at, "seed {seed}: from {at} back to {position}");
            let truth = stage.cluster(|c| c.truth(key)).expect("it is there");
            assert!(position <= truth.high_watermark, "seed {seed}: {position} of {truth:?}");
            moved += u64::from(position > at);
            at = position;
        }
        assert_eq!(stage.run(writer.flush()), Ok(()), "seed {seed}");
        let stored = stage.cluster(|c| c.rows(key)).expect("rows that decode");
        for _ in 0..2000 {
            let time = Duration::from_millis(20);
            stage.pass(time);
            if next(&mut stage).1 == stored.len() as i64 {
                break;
            }
        }
        let wanted = |id: i64| (low..low + 20).contains(&id) || id > 380;
        let expected = stored
            .iter()
            .filter(|row| matches!(row.values.values()[0], OwnedDatum::Int64(id) if wanted(id)));
        let expected: Vec<i64> = expected.map(|row| row.offset).collect();
        let (found, position) = next(&mut stage);
        assert_eq!((found, position), (expected, stored.len() as i64), "seed {seed}");
        rows += stored.len();
    }
    assert!(rows > 20_000 && moved > 300, "{rows} rows, moved {moved} times");
}

#[test]
fn rows_of_a_later_segment_are_not_read_before_they_are_replicated() {
    let replication_delay = Duration::from_secs(5);
    let mut stage = newest(ClusterOptions { replication_delay, ..ClusterOptions::default() });
    let table = told(&mut stage);
    let key = table.info().bucket(0);
    let writer = table.appender().linger(Duration::ZERO).build().expect("a writer");
    let ticket = writer.try_append(&row![0_i64, "x"]).expect("room");
    stage.run(ticket).expect("written");
    stage.cluster(|c| (0..3).for_each(|id| c.restart(ServerId::Tablet(id), false)));
    stage.pass(Duration::from_secs(1));
    let ticket = writer.try_append(&row![1_i64, "y"]).expect("room");
    stage.pass(Duration::from_secs(1));
    let truth = stage.cluster(|c| c.truth(key)).expect("it is there");
    assert_eq!((truth.high_watermark, truth.log_end), (1, 2), "it is stored and not replicated");
    let scan = table.scanner().filter(col("id").ge(1)).build();
    let mut scanner = stage.run(scan).expect("a scanner");
    for _ in 0..3 {
        assert!(stage.poll(&mut scanner.next_batch()).is_pending(), "it is not replicated");
        stage.settle();
    }
    assert_eq!(scanner.positions()[&key], 1);
    let batch = stage.run(scanner.next_batch()).expect("readable").expect("no end");
    assert_eq!((batch.base_offset(), batch.num_rows()), (1, 1));
    stage.run(ticket).expect("written");
}
