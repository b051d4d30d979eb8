//! Bounded scans whose servers fall silent: at the start, in the middle, while connecting. They end
//! with an error at [`Config::command_deadline`], behind all data that came before, and go on when
//! the servers answer again.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;

use super::testkit::{Cut, Stage, events};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::ids::BucketKey;
use crate::testing::cluster::ClusterOptions;
use crate::time::{Duration, Instant};
use crate::{AppendWriter, LogScanner, ScanBatch, Table};

const BUCKETS: u32 = 3;
const ROWS: i64 = 60;
/// What the end may be off: nothing happens in between that would move it further.
const TOLERANCE: Duration = Duration::from_millis(1);

type Rows = BTreeMap<BucketKey, Vec<(i64, i64)>>;

fn append(stage: &mut Stage, writer: &AppendWriter, ids: std::ops::Range<i64>) {
    for id in ids {
        let row = (id, "x");
        let ticket = stage.run(writer.append(&row)).expect("room");
        // Each row is a batch of its own, so that an answer does not hold them all.
        stage.run(ticket).expect("written");
    }
}

/// A table with rows in all buckets, and a client whose commands end after this long.
fn stage(deadline: Duration) -> (Stage, Table, AppendWriter) {
    let settings = |config: Config| config.command_deadline(deadline);
    let mut stage = Stage::configured(ClusterOptions::default(), settings);
    let table = events(&mut stage, BUCKETS);
    let writer = table.appender().build().expect("a writer");
    append(&mut stage, &writer, 0..ROWS);
    (stage, table, writer)
}

/// Those of the log.
fn stored(stage: &Stage, table: &Table) -> Rows {
    let rows = |number: u32| {
        let bucket = table.info().bucket(i32::try_from(number).expect("small"));
        let rows = stage.cluster(|c| c.rows(bucket)).expect("rows that decode");
        let id = |row: &crate::testing::cluster::LogRow| match row.values.values()[0] {
            crate::row::OwnedDatum::Int64(id) => id,
            ref other => panic!("{other:?}"),
        };
        (bucket, rows.iter().map(|row| (row.offset, id(row))).collect::<Vec<_>>())
    };
    (0..BUCKETS).map(rows).filter(|(_, rows)| !rows.is_empty()).collect()
}

fn add(found: &mut Rows, batch: &ScanBatch) {
    let ids = batch.record_batch().column(0).as_primitive::<Int64Type>().values().to_vec();
    found.entry(batch.bucket()).or_default().extend((batch.base_offset()..).zip(ids));
}

/// Reads until each bucket that is not at its end has said why; the errors, and when they came.
fn read_until_all_fail(
    stage: &mut Stage,
    scanner: &mut LogScanner,
    found: &mut Rows,
    buckets: usize,
) -> Vec<(Instant, Error)> {
    let mut errors = Vec::new();
    while errors.len() < buckets {
        match stage.run(scanner.next_batch()) {
            Ok(Some(batch)) => add(found, &batch),
            Ok(None) => panic!("the end, after {errors:?}"),
            Err(error) => errors.push((stage.now(), error)),
        }
    }
    errors
}

fn read_to_the_end(stage: &mut Stage, scanner: &mut LogScanner, found: &mut Rows) -> Result<()> {
    while let Some(batch) = stage.run(scanner.next_batch())? {
        add(found, &batch);
    }
    assert!(scanner.is_finished());
    Ok(())
}

/// Each bucket says at the deadline what was waited for, and where.
fn check(stage: &Stage, errors: &[(Instant, Error)], since: Instant, deadline: Duration) {
    let within = format!("no answer within {} ms", deadline.as_millis());
    for (at, error) in errors {
        let took = at.saturating_since(since);
        let late = took.saturating_sub(deadline);
        assert!(took >= deadline && late <= TOLERANCE, "after {took:?} of {deadline:?}: {error}");
        let Error::Scan(scan) = error else { panic!("{error}") };
        assert!(matches!(&*scan.cause, Error::Unavailable { after, .. } if *after == deadline));
        let text = error.to_string();
        assert!(text.contains(&within) && text.contains("reading shop.events"), "{text}");
        assert!(text.contains(&format!("{} at offset", scan.bucket)), "{text}");
        assert!(stage.names_a_server(&text), "{text}");
    }
}

/// The servers answer again: the scan goes on where it was, and all else works as well.
fn go_on(
    stage: &mut Stage,
    (table, writer): (&Table, &AppendWriter),
    scanner: &mut LogScanner,
    mut found: Rows,
) {
    let expected = stored(stage, table);
    for (bucket, rows) in &found {
        assert!(expected[bucket].starts_with(rows), "{bucket} before the error: {rows:?}");
    }
    stage.cut(Cut::Never);
    for (bucket, position) in scanner.positions().clone() {
        scanner.seek(bucket, position).expect("a bucket that is read");
    }
    read_to_the_end(stage, scanner, &mut found).expect("the servers answer");
    assert_eq!(found, expected, "each row once, in order");
    append(stage, writer, ROWS..ROWS + 5);
    let building = table.scanner().bounded().build();
    let mut again = stage.run(building).expect("a scanner");
    let mut found = Rows::new();
    read_to_the_end(stage, &mut again, &mut found).expect("the servers answer");
    assert_eq!(found, stored(stage, table));
}

fn fall_silent(stage: &mut Stage) -> Instant {
    stage.cut(Cut::Silent(0));
    stage.now()
}

#[test]
fn a_scan_of_servers_that_are_silent_from_the_start_ends_at_the_deadline() {
    for deadline in [60, 5].map(Duration::from_secs) {
        let (mut stage, table, writer) = stage(deadline);
        let ends: BTreeMap<_, _> =
            stored(&stage, &table).iter().map(|(b, rows)| (*b, rows.len() as i64)).collect();
        let since = fall_silent(&mut stage);
        let starts = ends.keys().map(|bucket| (*bucket, 0));
        let building = table.scanner().from_offsets(starts).until_offsets(ends.clone()).build();
        let mut scanner = stage.run(building).expect("nothing has to be asked");
        let mut found = Rows::new();
        let errors = read_until_all_fail(&mut stage, &mut scanner, &mut found, ends.len());
        check(&stage, &errors, since, deadline);
        assert!(found.is_empty());
        go_on(&mut stage, (&table, &writer), &mut scanner, found);
    }
}

/// A scan in the middle of its table.
fn half_read(stage: &mut Stage, table: &Table) -> (LogScanner, Rows) {
    let building = table.scanner().max_bytes_per_bucket(512).bounded().build();
    let mut scanner = stage.run(building).expect("a scanner");
    let mut found = Rows::new();
    for _ in 0..10 {
        let batch = stage.run(scanner.next_batch()).expect("rows").expect("there are more");
        add(&mut found, &batch);
    }
    (scanner, found)
}

fn fail_in_the_middle(deadline: Duration, silence: impl FnOnce(&mut Stage)) {
    let (mut stage, table, writer) = stage(deadline);
    let (mut scanner, mut found) = half_read(&mut stage, &table);
    let before: usize = found.values().map(Vec::len).sum();
    silence(&mut stage);
    let since = stage.now();
    let buckets = stored(&stage, &table).len();
    let errors = read_until_all_fail(&mut stage, &mut scanner, &mut found, buckets);
    check(&stage, &errors, since, deadline);
    let after: usize = found.values().map(Vec::len).sum();
    assert!(before < after && after < ROWS as usize, "{before} rows, then {after} of {ROWS}");
    go_on(&mut stage, (&table, &writer), &mut scanner, found);
}

#[test]
fn servers_that_fall_silent_in_the_middle_end_a_scan_at_the_deadline_behind_its_data() {
    for deadline in [60, 5].map(Duration::from_secs) {
        fail_in_the_middle(deadline, |stage| _ = fall_silent(stage));
        // They take no more bytes either.
        fail_in_the_middle(deadline, |stage| {
            stage.cut(Cut::Deaf(0));
        });
    }
}

#[test]
fn servers_that_are_silent_while_they_are_connected_to_end_a_scan_at_the_deadline() {
    for deadline in [60, 5].map(Duration::from_secs) {
        for cut in [Cut::Silent, Cut::Unreached, Cut::Gone] {
            fail_in_the_middle(deadline, |stage| {
                stage.cluster(|cluster| cluster.cut_connections(None));
                assert!(!stage.settle());
                stage.cut(cut(0));
            });
        }
    }
}

#[test]
fn a_log_without_news_is_waited_at_though_its_polls_outlast_the_deadline() {
    let deadline = Duration::from_secs(5);
    let (mut stage, table, writer) = stage(deadline);
    let ends = stored(&stage, &table);
    let ends = ends.iter().map(|(bucket, rows)| (*bucket, rows.len() as i64 + 1));
    let ends: BTreeMap<_, _> = ends.collect();
    let starts = ends.keys().map(|bucket| (*bucket, 0));
    let builder = table.scanner().from_offsets(starts).until_offsets(ends.clone());
    let building = builder.max_wait(Duration::from_secs(15)).build();
    let mut scanner = stage.run(building).expect("a scanner");
    let mut found = Rows::new();
    while found.values().map(Vec::len).sum::<usize>() < ROWS as usize {
        let batch = stage.run(scanner.next_batch()).expect("rows").expect("there are more");
        add(&mut found, &batch);
    }
    let fetches = |stage: &Stage| stage.cluster(|c| c.requests()[&1015]);
    let before = fetches(&stage);
    let mut next = scanner.next_batch();
    for _ in 0..300 {
        assert!(stage.poll(&mut next).is_pending(), "nothing new is no silence");
        stage.pass(Duration::from_secs(1));
    }
    let asked = fetches(&stage) - before;
    let most = 300 * u64::from(BUCKETS) / 2 + 10;
    assert!((10..=most).contains(&asked), "{asked} fetches in 300 s");
    append(&mut stage, &writer, ROWS..ROWS + 1);
    add(&mut found, &stage.run(next).expect("a row").expect("it is there"));
    // And silence is one, beside the bucket that has come to its end.
    let since = fall_silent(&mut stage);
    let left = ends.len() - 1;
    let errors = read_until_all_fail(&mut stage, &mut scanner, &mut found, left);
    for (at, error) in &errors {
        // A poll may have been on its way for a while.
        let took = at.saturating_since(since);
        assert!(took <= deadline + TOLERANCE && took >= deadline / 2, "after {took:?}: {error}");
    }
    assert_eq!(found, stored(&stage, &table));
}
