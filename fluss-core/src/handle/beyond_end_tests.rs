//! Bounded scans that begin behind the ends of their logs: never a success without a word.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::signal::lock;
use super::testkit::{Stage, events};
use crate::ids::BucketKey;
use crate::{AppendWriter, Error, LogScanner, OnOutOfRange, ScanEvent, Table};

fn append(stage: &mut Stage, writer: &AppendWriter, ids: std::ops::Range<i64>) {
    for id in ids {
        let ticket = stage.run(writer.append(&(id, "x"))).expect("room");
        stage.run(ticket).expect("written");
    }
}

/// A table with eight rows in its bucket.
fn stage() -> (Stage, Table, AppendWriter, BucketKey) {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = table.appender().build().expect("a writer");
    append(&mut stage, &writer, 0..8);
    let bucket = table.info().bucket(0);
    (stage, table, writer, bucket)
}

/// The rows up to the end, or the error in front of it.
fn read(stage: &mut Stage, scanner: &mut LogScanner) -> Result<u32, Error> {
    let mut rows = 0;
    while let Some(batch) = stage.run(scanner.next_batch())? {
        rows += batch.num_rows() as u32;
    }
    assert!(scanner.is_finished());
    Ok(rows)
}

#[test]
fn a_position_whose_rows_a_log_has_lost_is_an_error_with_the_range() {
    let (mut stage, table, writer, bucket) = stage();
    let mut first = stage.run(table.scanner().bounded().build()).expect("a scanner");
    assert_eq!(read(&mut stage, &mut first), Ok(8));
    let positions: BTreeMap<BucketKey, i64> = first.positions().clone();
    stage.cluster(|c| c.truncate_log(bucket, 4));
    let again = table.scanner().from_offsets(positions.clone()).bounded();
    let mut second = stage.run(again.clone().build()).expect("a scanner");
    for _ in 0..2 {
        let Err(Error::Scan(error)) = read(&mut stage, &mut second) else { panic!("no error") };
        assert_eq!((error.position, error.range), (8, Some((0, 4))));
        assert_eq!(second.positions(), &positions, "it stays where it is");
    }
    second.seek(bucket, 9).expect("an offset");
    assert!(read(&mut stage, &mut second).is_err(), "no better");
    second.seek(bucket, 4).expect("an offset");
    assert_eq!(read(&mut stage, &mut second), Ok(0));
    // What is written now has offsets that were read before: a scan that begins there is told so
    // by nobody, which is why the one above has to tell.
    append(&mut stage, &writer, 100..106);
    let mut third = stage.run(again.build()).expect("a scanner");
    assert_eq!(read(&mut stage, &mut third), Ok(2));
}

#[test]
fn a_bounded_scan_behind_the_end_goes_on_as_its_policy_says() {
    for (policy, rows, to) in [(OnOutOfRange::Earliest, 8, 0), (OnOutOfRange::Latest, 0, 8)] {
        let (mut stage, table, _writer, bucket) = stage();
        let told = Arc::new(Mutex::new(Vec::new()));
        let events = Arc::clone(&told);
        let builder = table.scanner().from_offsets([(bucket, 5_000)]).bounded();
        let builder = builder.on_out_of_range(policy);
        let builder = builder.on_event(move |event| lock(&events).push(event.clone()));
        let mut scanner = stage.run(builder.build()).expect("a scanner");
        assert_eq!(read(&mut stage, &mut scanner), Ok(rows), "{policy:?}");
        assert_eq!(scanner.positions()[&bucket], 8, "{policy:?}");
        let range = (0, 8);
        assert_eq!(*lock(&told), [ScanEvent::PositionReset { bucket, from: 5_000, to, range }]);
    }
}

#[test]
fn a_bucket_that_is_subscribed_behind_its_end_is_an_error_too() {
    let (mut stage, table, _writer, bucket) = stage();
    let mut scanner = stage.run(table.scanner().bounded().build()).expect("a scanner");
    assert_eq!(read(&mut stage, &mut scanner), Ok(8));
    stage.run(scanner.subscribe([(bucket, 9)])).expect("a bucket");
    let Err(Error::Scan(error)) = read(&mut stage, &mut scanner) else { panic!("no error") };
    assert_eq!((error.position, error.range), (9, Some((0, 8))));
    stage.run(scanner.subscribe([(bucket, 8)])).expect("a bucket");
    assert_eq!(read(&mut stage, &mut scanner), Ok(0));
}

#[test]
fn nothing_is_read_from_a_position_behind_an_end_that_was_asked_for() {
    let (mut stage, table, _writer, bucket) = stage();
    let until = table.scanner().from_offsets([(bucket, 6)]).until_offsets([(bucket, 3)]);
    let mut scanner = stage.run(until.build()).expect("a scanner");
    assert_eq!(read(&mut stage, &mut scanner), Ok(0));
    assert_eq!(scanner.positions()[&bucket], 6);
}
