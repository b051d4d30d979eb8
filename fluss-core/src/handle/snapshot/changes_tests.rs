//! State and changes: no gap, nothing twice, whatever happens, and from every checkpoint on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::task::Poll::Ready;

use super::super::scan::policy::ScanEvent;
use super::super::signal::lock;
use super::super::testkit::Stage;
use super::testkit::*;
use super::{SnapshotChanges, SnapshotEvent, SnapshotPosition};
use crate::ids::BucketKey;
use crate::rng::Rng;
use crate::row::{DataType, OwnedDatum, Schema, TableDescriptor};
use crate::testing::cluster::{Fault, Faults, On, Release};
use crate::time::Duration;
use crate::{Error, ScanBatch, Table};

const RELEASES: [Release; 2] = [Release::V0_9, Release::V1_0];

/// Who keeps the rows of a table by what a reader tells.
#[derive(Clone, Default)]
struct Copy {
    rows: BTreeMap<BucketKey, Rows>,
    positions: BTreeMap<BucketKey, SnapshotPosition>,
    begun: u32,
}

impl Copy {
    fn take(&mut self, event: SnapshotEvent) {
        match event {
            SnapshotEvent::StateBegins { bucket } => {
                self.begun += 1;
                self.rows.insert(bucket, Rows::new());
            }
            SnapshotEvent::State(batch) => {
                let bucket = self.rows.get_mut(&batch.bucket()).expect("it has begun");
                for row in rows_of(&batch) {
                    assert_eq!(bucket.insert(key_of(&row), row), None, "a row twice");
                }
            }
            SnapshotEvent::StateEnds { .. } => {}
            SnapshotEvent::Changes(batch) => {
                let bucket = self.rows.get_mut(&batch.bucket()).expect("it has begun");
                for (change, row) in changes_of(&batch) {
                    apply(bucket, change, row);
                }
            }
        }
    }
}

fn changes_of(batch: &ScanBatch) -> Vec<(crate::ChangeType, crate::row::OwnedRow)> {
    let rows = batch.rows().expect("readable");
    let owned = rows.iter().map(|row| {
        let values = 0..batch.schema().columns().len();
        let values = values.map(|i| OwnedDatum::from(row.value(i).expect("a value"))).collect();
        (row.change_type(), values)
    });
    owned.collect()
}

/// The next event, if there is one soon: offsets without a change move positions and nothing else.
fn next(stage: &mut Stage, reader: &mut SnapshotChanges) -> Result<Option<SnapshotEvent>, Error> {
    if let Ready(next) = stage.poll(&mut reader.next_event()) {
        return next.map(|event| Some(event.expect("it has no end")));
    }
    stage.pass(Duration::from_millis(20));
    Ok(None)
}

/// Where each bucket is, if it is past its state.
fn offset(positions: &BTreeMap<BucketKey, SnapshotPosition>, bucket: BucketKey) -> Option<i64> {
    match positions.get(&bucket)? {
        SnapshotPosition::Offset(offset) => Some(*offset),
        SnapshotPosition::State => None,
    }
}

fn check(stage: &Stage, copy: &Copy, seed: u64) {
    for (bucket, rows) in &copy.rows {
        if let Some(offset) = offset(&copy.positions, *bucket) {
            assert_eq!(rows, &state_at(stage, *bucket, offset), "seed {seed} {bucket} at {offset}");
        }
    }
}

/// Whether all buckets were read up to what is there.
fn is_through(stage: &mut Stage, table: &Table, copy: &Copy) -> bool {
    let buckets = stage.run(table.buckets()).expect("buckets");
    buckets.into_iter().all(|bucket| {
        let end = stage.cluster(|cluster| cluster.truth(bucket)).expect("it exists").log_end;
        offset(&copy.positions, bucket).is_some_and(|at| at >= end)
    })
}

#[test]
fn state_and_changes_make_the_table_at_every_event() {
    for release in RELEASES {
        let mut stage = Stage::with(cluster(release, 1));
        let table = users(&mut stage, 3);
        let writer = table.upserter().build().expect("a writer");
        let mut rng = Rng::new(7);
        fill(&mut stage, &writer, 0..100, 1);
        let builder = table.snapshot_then_changes().fetch_bytes(300);
        let mut reader = stage.run(builder.build()).expect("a reader");
        let mut copy = Copy::default();
        for _ in 0..40 {
            change_some(&mut stage, &writer, &mut rng, 100);
            let event = stage.run(reader.next_event()).expect("no error").expect("no end");
            copy.take(event);
            copy.positions = reader.positions();
            check(&stage, &copy, 7);
        }
        while !is_through(&mut stage, &table, &copy) {
            let event = next(&mut stage, &mut reader).expect("no error");
            event.into_iter().for_each(|event| copy.take(event));
            copy.positions = reader.positions();
        }
        check(&stage, &copy, 7);
        assert_eq!((copy.begun, copy.rows.len()), (3, 3));
        assert!(reader.changes().is_some());
    }
}

#[test]
fn a_bounded_reader_ends_where_the_changelog_ended_when_it_was_built() {
    for release in RELEASES {
        let mut stage = Stage::with(cluster(release, 1));
        let table = users(&mut stage, 2);
        let writer = table.upserter().build().expect("a writer");
        fill(&mut stage, &writer, 0..50, 1);
        let builder = table.snapshot_then_changes().bounded().columns(["id"]);
        let mut reader = stage.run(builder.build()).expect("a reader");
        let ends: Vec<i64> = (0..2)
            .map(|n| stage.cluster(|c| c.truth(table.info().bucket(n))).expect("it").log_end)
            .collect();
        let mut events = 0;
        while let Some(event) = stage.run(reader.next_event()).expect("no error") {
            fill(&mut stage, &writer, 0..5, 2);
            if let SnapshotEvent::StateEnds { bucket, offset } = event {
                assert!(offset >= ends[usize::try_from(bucket.bucket).expect("small")]);
            }
            if let SnapshotEvent::State(batch) = &event {
                assert_eq!(batch.schema().columns().len(), 1);
            }
            events += 1;
        }
        assert!(events >= 6, "{events}");
        assert!(stage.run(reader.next_event()).expect("no error").is_none());
        assert!(reader.is_finished());
        assert!(reader.positions().len() == 2);
    }
}

#[test]
fn a_state_whose_server_is_gone_begins_anew() {
    let mut stage = Stage::with(cluster(Release::V1_0, 1));
    let table = users(&mut stage, 1);
    let writer = table.upserter().build().expect("a writer");
    fill(&mut stage, &writer, 0..100, 1);
    let builder = table.snapshot_then_changes().fetch_bytes(300);
    let mut reader = stage.run(builder.build()).expect("a reader");
    let mut copy = Copy::default();
    stage.cluster(|cluster| cluster.inject(On::Api(SCAN_KV), 4, Fault::MoveLeader));
    let mut ended = false;
    while !ended {
        fill(&mut stage, &writer, [1000 + i64::from(copy.begun)].into_iter(), 1);
        let event = stage.run(reader.next_event()).expect("no error").expect("no end");
        ended = matches!(event, SnapshotEvent::StateEnds { .. });
        copy.take(event);
        copy.positions = reader.positions();
        assert_eq!(ended, offset(&copy.positions, table.info().bucket(0)).is_some());
    }
    assert_eq!(copy.begun, 2, "it began anew, once");
    check(&stage, &copy, 0);
}

#[test]
fn positions_that_make_no_sense_are_refused() {
    let mut stage = Stage::new();
    let table = users(&mut stage, 1);
    let bucket = table.info().bucket(0);
    let build = |positions: Vec<(BucketKey, SnapshotPosition)>| {
        table.snapshot_then_changes().from_positions(positions).build()
    };
    assert!(stage.run(build(vec![(bucket, SnapshotPosition::Offset(-1))])).is_err());
    let strange = BucketKey { bucket: 1, ..bucket };
    assert!(stage.run(build(vec![(strange, SnapshotPosition::State)])).is_err());
    let both = table.snapshot_then_changes().buckets([bucket]);
    let both = both.from_positions([(bucket, SnapshotPosition::State)]);
    assert!(stage.run(both.build()).is_err());
}

/// `shop.days`: `day STRING, id BIGINT`, by both, a partition for each day.
fn days(stage: &mut Stage) -> Table {
    let schema = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("day", DataType::STRING.not_null())
        .primary_key(["day", "id"])
        .build()
        .expect("a sound schema");
    let mut table = TableDescriptor::new(schema);
    (table.bucket_count, table.partition_key) = (Some(2), vec![1]);
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    stage.run(admin.create_table("shop.days", &table, false)).expect("a table");
    let opening = stage.fluss.table("shop.days");
    stage.run(opening).expect("it is there")
}

/// Reads until so many rows came, of states or of changes; which buckets began.
fn rows_until(stage: &mut Stage, reader: &mut SnapshotChanges, rows: usize) -> Vec<BucketKey> {
    let (mut begun, mut ended, mut count) = (Vec::new(), Vec::new(), 0);
    while count < rows || begun.len() > ended.len() {
        let event = stage.run(reader.next_event()).expect("no faults").expect("it has no end");
        match event {
            SnapshotEvent::StateBegins { bucket } => begun.push(bucket),
            SnapshotEvent::State(batch) => count += batch.num_rows(),
            SnapshotEvent::StateEnds { bucket, .. } => ended.push(bucket),
            SnapshotEvent::Changes(batch) => {
                let bucket = batch.bucket();
                assert!(begun.is_empty() || ended.contains(&bucket) || !begun.contains(&bucket));
                count += batch.num_rows();
            }
        }
    }
    assert_eq!(begun, ended, "each state ends before the next one begins");
    begun
}

#[test]
fn partitions_that_come_later_begin_with_an_empty_state_and_dropped_ones_are_left() {
    let mut stage = Stage::new();
    let table = days(&mut stage);
    let writer = table.upserter().build().expect("a writer");
    let put = |stage: &mut Stage, day: &str, ids: std::ops::Range<i64>| {
        for id in ids {
            drop(stage.run(writer.upsert(&(id, day))).expect("taken"));
        }
        stage.run(writer.flush()).expect("written");
    };
    put(&mut stage, "1", 0..20);
    let mut reader = stage.run(table.snapshot_then_changes().build()).expect("a reader");
    assert_eq!(rows_until(&mut stage, &mut reader, 20).len(), 2);
    put(&mut stage, "2", 0..30);
    put(&mut stage, "1", 20..25);
    let begun = rows_until(&mut stage, &mut reader, 35);
    assert_eq!(begun.len(), 2, "the buckets of the new partition: {begun:?}");
    let admin = stage.fluss.admin();
    stage.run(admin.drop_partition("shop.days", &[("day", "1")], false)).expect("dropped");
    put(&mut stage, "3", 0..7);
    assert_eq!(rows_until(&mut stage, &mut reader, 7).len(), 2);
    put(&mut stage, "2", 30..31);
    assert_eq!(rows_until(&mut stage, &mut reader, 1).len(), 0);
    let positions = reader.positions();
    assert_eq!(positions.len(), 4, "those of two partitions: {positions:?}");

    // Going on elsewhere, with a partition that nobody has seen yet.
    drop(reader);
    put(&mut stage, "4", 0..9);
    put(&mut stage, "3", 7..8);
    let again = || table.snapshot_then_changes().from_positions(positions.clone());
    let interval = Some(Duration::from_secs(1));
    let mut reader = stage.run(again().discover_partitions(interval).build()).expect("a reader");
    assert_eq!(rows_until(&mut stage, &mut reader, 10).len(), 2, "the state of the new one");
    let mut reader = stage.run(again().build()).expect("a reader");
    assert_eq!(rows_until(&mut stage, &mut reader, 1).len(), 0, "these and no others");
    assert_eq!(reader.positions().len(), 4);
    let bounded = table.snapshot_then_changes().bounded().discover_partitions(interval);
    assert!(matches!(stage.run(bounded.build()), Err(Error::Misuse(_))));
}

#[test]
fn partitions_that_are_dropped_before_their_state_was_told_are_left() {
    for (release, dropped) in RELEASES.into_iter().flat_map(|r| [(r, "1"), (r, "2"), (r, "3")]) {
        let mut stage = Stage::with(cluster(release, 1));
        let table = days(&mut stage);
        let writer = table.upserter().build().expect("a writer");
        for (id, day) in (0..40).flat_map(|id| [(id, "1"), (id, "2"), (id, "3")]) {
            drop(stage.run(writer.upsert(&(id, day))).expect("taken"));
        }
        stage.run(writer.flush()).expect("written");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let builder = table.snapshot_then_changes().buckets_at_once(1).fetch_bytes(50);
        let told = Arc::clone(&heard);
        let building = builder.on_event(move |event| lock(&told).push(event.clone())).build();
        let mut reader = stage.run(building).expect("a reader");
        let [mut rows, mut ends] = [0; 2];
        // In the middle of the state of the first partition one is dropped, perhaps that one.
        while reader.changes().is_none() {
            match next(&mut stage, &mut reader).expect("no error") {
                Some(SnapshotEvent::State(batch)) => {
                    if rows == 0 {
                        let admin = stage.fluss.admin();
                        let gone = [("day", dropped)];
                        stage.run(admin.drop_partition("shop.days", &gone, false)).expect("gone");
                    }
                    rows += batch.num_rows();
                }
                Some(SnapshotEvent::StateEnds { .. }) => ends += 1,
                None | Some(SnapshotEvent::StateBegins { .. }) => {}
                Some(other) => panic!("{release:?} {dropped}: {other:?}"),
            }
        }
        let told = lock(&heard).clone();
        let [ScanEvent::PartitionDropped { name, .. }] = &told[..] else {
            panic!("{release:?} {dropped}: {told:?}");
        };
        assert_eq!(**name, *dropped, "{release:?}");
        assert!(rows >= 80 && (4..=5).contains(&ends), "{release:?} {dropped}: {rows} {ends}");
        assert_eq!(reader.positions().len(), 4, "{release:?} {dropped}");
        drop(stage.run(writer.upsert(&(40, "4"))).expect("taken"));
        stage.run(writer.flush()).expect("written");
        assert_eq!(rows_until(&mut stage, &mut reader, 1).len(), 2);
    }
}

#[test]
fn a_position_behind_the_changelog_is_an_error_and_no_end() {
    let mut stage = Stage::new();
    let table = users(&mut stage, 1);
    let bucket = table.info().bucket(0);
    let builder = table.snapshot_then_changes().bounded();
    let builder = builder.from_positions([(bucket, SnapshotPosition::Offset(1_000))]);
    let mut reader = stage.run(builder.build()).expect("a reader");
    let told = stage.run(reader.next_event());
    assert!(matches!(&told, Err(Error::Scan(error)) if error.position == 1_000), "{told:?}");
}

fn faults(seed: u64) -> Faults {
    Faults::new(seed)
        .one_in(12, On::Api(SCAN_KV), Fault::LoseAnswer)
        .one_in(12, On::Api(SCAN_KV), Fault::MoveLeader)
        .one_in(12, On::Api(SCAN_KV), Fault::ErrorBefore(67))
        .one_in(20, On::Fetch, Fault::MoveLeader)
        .one_in(20, On::Fetch, Fault::LoseAnswer)
        .one_in(60, On::Any, Fault::CutAnswer)
        .one_in(60, On::Any, Fault::DelayAnswer(Duration::from_millis(300)))
        .one_in(80, On::Any, Fault::RestartUnclean)
}

fn open(
    stage: &mut Stage,
    table: &Table,
    rng: &mut Rng,
    copy: &Copy,
) -> Result<SnapshotChanges, Error> {
    let builder = table
        .snapshot_then_changes()
        .fetch_bytes(1 + rng.below(400) as usize)
        .buckets_at_once(1 + rng.below(3) as usize)
        .from_positions(copy.positions.clone());
    stage.run(builder.build())
}

#[test]
fn readers_that_die_and_go_on_from_checkpoints_lose_nothing_and_double_nothing() {
    let mut restarts = 0;
    for seed in 0..80 {
        let mut rng = Rng::new(seed);
        let mut options = cluster(RELEASES[(seed % 2) as usize], seed);
        options.replication_delay = Duration::from_millis([0, 5, 50][(seed % 3) as usize]);
        let mut stage = Stage::with(options);
        let table = users(&mut stage, 1 + rng.below(3) as u32);
        let writer = table.upserter().build().expect("a writer");
        fill(&mut stage, &writer, 0..40, 1);
        let mut copy = Copy::default();
        for bucket in stage.run(table.buckets()).expect("buckets") {
            copy.positions.insert(bucket, SnapshotPosition::State);
        }
        // What was stored last, together with its positions.
        let mut checkpoint = copy.clone();
        let mut reader = open(&mut stage, &table, &mut rng, &copy).expect("no faults yet");
        for step in 0..2000 {
            let changing = step < 150;
            if changing && rng.one_in(3) {
                stage.cluster(|cluster| cluster.set_faults(Faults::new(0)));
                change_some(&mut stage, &writer, &mut rng, 60);
            }
            if changing && seed % 4 >= 2 {
                stage.cluster(|cluster| cluster.set_faults(faults(seed + step)));
            } else {
                stage.cluster(|cluster| cluster.set_faults(Faults::new(0)));
            }
            if !changing && is_through(&mut stage, &table, &copy) {
                break;
            }
            let next = next(&mut stage, &mut reader);
            // A reader is over, or a bucket is, or whoever reads dies: it begins again from what
            // was stored last.
            let mut again = changing && rng.one_in(20);
            match next {
                Ok(event) => {
                    event.into_iter().for_each(|event| copy.take(event));
                    copy.positions = reader.positions();
                    check(&stage, &copy, seed);
                    if rng.one_in(3) {
                        checkpoint = copy.clone();
                    }
                }
                Err(_) => again = true,
            }
            if again {
                restarts += 1;
                copy = checkpoint.clone();
                stage.cluster(|cluster| cluster.set_faults(Faults::new(0)));
                reader = open(&mut stage, &table, &mut rng, &copy).expect("no faults now");
            }
        }
        assert!(is_through(&mut stage, &table, &copy), "seed {seed}: it came to no end");
        check(&stage, &copy, seed);
    }
    assert!(restarts > 100, "only {restarts} restarts");
}

#[test]
fn changes_are_verified_whole_where_that_is_asked_for() {
    for verify in [false, true] {
        let mut stage = Stage::with(cluster(Release::V1_0, 1));
        let table = users(&mut stage, 1);
        let key = table.info().bucket(0);
        let writer = table.upserter().build().expect("a writer");
        fill(&mut stage, &writer, 0..10, 1);
        let builder = table.snapshot_then_changes().columns(["id"]).verify_always(verify);
        let mut reader = stage.run(builder.build()).expect("a reader");
        let end = loop {
            let event = stage.run(reader.next_event()).expect("no error").expect("no end");
            if let SnapshotEvent::StateEnds { offset, .. } = event {
                break offset;
            }
        };
        fill(&mut stage, &writer, 10..11, 1);
        // A byte of a column that is not wanted.
        assert!(stage.cluster(|c| c.damage_log(key, end)), "a batch is there");
        match stage.run(reader.next_event()) {
            Ok(Some(SnapshotEvent::Changes(batch))) => {
                assert_eq!((verify, batch.num_rows()), (false, 1));
            }
            Err(error) => {
                assert!(verify && error.to_string().contains("checksum"), "{verify}: {error}");
            }
            other => panic!("{verify}: {other:?}"),
        }
    }
}
