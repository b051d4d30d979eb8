//! All rows of a table as they are now, from servers with and without a way to send them.

use std::collections::BTreeMap;
use std::task::Poll::{Pending, Ready};

use super::super::testkit::Stage;
use super::SnapshotReader;
use super::testkit::*;
use crate::ids::{BucketKey, ServerId};
use crate::rng::Rng;
use crate::row::{DataType, OwnedDatum, Schema, TableDescriptor};
use crate::testing::cluster::{ClusterOptions, Fault, Faults, On, Release};
use crate::time::Duration;
use crate::{Error, ErrorCode, Table};

const RELEASES: [Release; 2] = [Release::V0_9, Release::V1_0];

/// Reads to the end; the rows of each bucket with their offset.
fn read(
    stage: &mut Stage,
    reader: &mut SnapshotReader,
) -> Result<BTreeMap<BucketKey, (Option<i64>, Rows)>, Error> {
    let mut found = BTreeMap::new();
    let mut over: Option<BucketKey> = None;
    while let Some(batch) = stage.run(reader.next_batch())? {
        let bucket = batch.bucket();
        assert!(over.is_none_or(|before| before <= bucket), "buckets come one after the other");
        over = Some(bucket);
        let (offset, rows): &mut (Option<i64>, Rows) =
            found.entry(bucket).or_insert((batch.log_offset(), Rows::new()));
        assert_eq!(*offset, batch.log_offset(), "one moment for each bucket");
        for row in rows_of(&batch) {
            assert_eq!(rows.insert(key_of(&row), row), None, "a row twice");
        }
    }
    assert!(stage.run(reader.next_batch())?.is_none(), "an end stays an end");
    Ok(found)
}

fn all_rows(found: BTreeMap<BucketKey, (Option<i64>, Rows)>) -> Rows {
    found.into_values().flat_map(|(_, rows)| rows).collect()
}

fn now(stage: &mut Stage, table: &Table) -> Rows {
    let buckets = stage.run(table.buckets()).expect("buckets");
    buckets.into_iter().flat_map(|bucket| state_at(stage, bucket, i64::MAX)).collect()
}

#[test]
fn all_rows_come_from_servers_of_both_kinds() {
    for release in RELEASES {
        let mut stage = Stage::with(cluster(release, 1));
        let table = users(&mut stage, 3);
        let mut empty = stage.run(table.snapshot().build()).expect("a reader");
        assert!(read(&mut stage, &mut empty).expect("nothing").is_empty());
        let writer = table.upserter().build().expect("a writer");
        fill(&mut stage, &writer, 0..200, 1);
        fill(&mut stage, &writer, 50..100, 2);
        for id in 150..200_i64 {
            drop(stage.run(writer.delete(&(id,))).expect("taken"));
        }
        stage.run(writer.flush()).expect("written");
        let builder = table.snapshot().fetch_bytes(256);
        let mut reader = stage.run(builder.build()).expect("a reader");
        let found = read(&mut stage, &mut reader).expect("rows");
        assert_eq!(found.len(), 3);
        for (bucket, (offset, rows)) in &found {
            let end = stage.cluster(|c| c.truth(*bucket)).expect("it exists").high_watermark;
            assert_eq!(*offset, Some(end));
            assert_eq!(rows, &state_at(&stage, *bucket, end));
        }
        assert_eq!(all_rows(found), now(&mut stage, &table));
        let asked = |api| stage.cluster(|c| c.requests().get(&api).copied().unwrap_or(0));
        match release {
            Release::V0_9 => assert_eq!((asked(SCAN_KV), asked(LIMIT_SCAN)), (0, 0)),
            Release::V1_0 => assert_eq!((asked(FETCH_LOG), asked(LIMIT_SCAN)), (0, 0)),
        }
        assert_eq!(stage.cluster(|c| c.scan_sessions()), 0, "sessions end with their rows");
    }
}

#[test]
fn columns_buckets_and_limits_are_kept_to() {
    for release in RELEASES {
        let mut stage = Stage::with(cluster(release, 1));
        let table = users(&mut stage, 3);
        let writer = table.upserter().build().expect("a writer");
        fill(&mut stage, &writer, 0..100, 1);
        let all = now(&mut stage, &table);
        for limit in [0, 1, 7, 60, 100, 1000] {
            let builder = table.snapshot().limit(limit).fetch_bytes(100).max_rows(50);
            let mut reader = stage.run(builder.build()).expect("a reader");
            let rows = all_rows(read(&mut stage, &mut reader).expect("rows"));
            assert_eq!(rows.len() as u64, limit.min(100), "{release:?} {limit}");
            assert!(rows.iter().all(|(key, row)| all.get(key) == Some(row)));
            drop(reader);
            stage.settle();
            assert_eq!(stage.cluster(|c| c.scan_sessions()), 0);
        }
        let one = table.info().bucket(1);
        let builder = table.snapshot().columns(["n", "id"]).buckets([one, one]);
        let mut reader = stage.run(builder.build()).expect("a reader");
        let names: Vec<_> =
            reader.schema().columns().iter().map(|column| column.name.clone()).collect();
        assert_eq!(names, ["n", "id"]);
        let mut count = 0;
        while let Some(batch) = stage.run(reader.next_batch()).expect("rows") {
            assert_eq!(batch.bucket(), one);
            for row in rows_of(&batch) {
                assert_eq!((row.values().len(), &row.values()[0]), (2, &OwnedDatum::Int32(1)));
                count += 1;
            }
        }
        assert_eq!(count, state_at(&stage, one, i64::MAX).len());
    }
}

#[test]
fn wrong_use_is_refused_by_name() {
    let mut stage = Stage::new();
    let events = super::super::testkit::events(&mut stage, 1);
    let error = stage.run(events.snapshot().build()).expect_err("a log");
    assert!(error.to_string().contains("primary key"), "{error}");
    let table = users(&mut stage, 2);
    let error = stage.run(table.snapshot().columns(["nobody"]).build()).expect_err("unknown");
    assert!(error.to_string().contains("nobody"), "{error}");
    let none: [&str; 0] = [];
    assert!(stage.run(table.snapshot().columns(none).build()).is_err());
    let strange = table.info().bucket(2);
    assert!(stage.run(table.snapshot().buckets([strange]).build()).is_err());
    assert!(stage.run(table.snapshot().partitions([crate::ids::PartitionId(1)]).build()).is_err());
    let bad = table.snapshot().fetch_bytes(0).buffer_limit(1).buckets_at_once(0).max_rows(0);
    let Err(Error::Config(problems)) = stage.run(bad.build()) else { panic!("accepted") };
    assert_eq!(problems.len(), 4, "{problems:?}");
}

#[test]
fn partitions_are_read_alone_or_together() {
    for release in RELEASES {
        let mut stage = Stage::with(cluster(release, 1));
        let schema = Schema::builder()
            .column("day", DataType::STRING.not_null())
            .column("id", DataType::BIGINT.not_null())
            .primary_key(["day", "id"]);
        let mut descriptor = TableDescriptor::new(schema.build().expect("a schema"));
        descriptor.partition_key = vec![0];
        descriptor.bucket_count = Some(2);
        let admin = stage.fluss.admin();
        stage.run(admin.create_database("shop", true)).expect("a database");
        stage.run(admin.create_table("shop.days", &descriptor, false)).expect("a table");
        let table = stage.run(stage.fluss.table("shop.days")).expect("it is there");
        let writer = table.upserter().build().expect("a writer");
        for id in 0..60_i64 {
            let day = format!("day{}", id % 3);
            drop(stage.run(writer.upsert(&(day, id))).expect("taken"));
        }
        stage.run(writer.flush()).expect("written");
        let listed = stage.run(admin.list_partitions("shop.days")).expect("a list");
        let count = |stage: &mut Stage, builder: super::SnapshotBuilder| {
            let mut reader = stage.run(builder.build()).expect("a reader");
            let mut count = 0;
            while let Some(batch) = stage.run(reader.next_batch()).expect("rows") {
                count += batch.num_rows();
            }
            count
        };
        assert_eq!(count(&mut stage, table.snapshot()), 60);
        assert_eq!(count(&mut stage, table.snapshot().partitions([listed[1].id])), 20);
    }
}

#[test]
fn rows_of_older_and_newer_schemas_come_as_the_table_was_opened() {
    for release in RELEASES {
        let mut stage = Stage::with(cluster(release, 1));
        let old = users(&mut stage, 1);
        let writer = old.upserter().build().expect("a writer");
        fill(&mut stage, &writer, 0..10, 1);
        let column = crate::row::Column::new("more", DataType::STRING);
        let admin = stage.fluss.admin();
        stage.run(admin.add_columns("shop.users", &[column])).expect("added");
        let new = stage.run(stage.fluss.table("shop.users")).expect("opened");
        let newer = new.upserter().build().expect("a writer");
        for id in 5..15_i64 {
            let row = (id, name(id), 2, "more");
            drop(stage.run(newer.upsert(&row)).expect("taken"));
        }
        stage.run(newer.flush()).expect("written");
        for (table, columns) in [(&old, 3), (&new, 4)] {
            let mut reader = stage.run(table.snapshot().build()).expect("a reader");
            let rows = all_rows(read(&mut stage, &mut reader).expect("rows"));
            assert_eq!(rows.len(), 15);
            for (id, row) in rows {
                assert_eq!(row.values().len(), columns);
                assert_eq!(row.values()[1], OwnedDatum::Str(name(id)));
                let more = (id >= 5).then(|| OwnedDatum::Str("more".to_owned()));
                let more = more.unwrap_or(OwnedDatum::Null);
                assert!(columns == 3 || row.values()[3] == more, "{row:?}");
            }
        }
    }
}

#[test]
fn a_bucket_that_may_be_cut_is_an_error_and_never_a_shorter_answer() {
    let mut stage = Stage::with(cluster(Release::V0_9, 1));
    let table = users(&mut stage, 1);
    let writer = table.upserter().build().expect("a writer");
    fill(&mut stage, &writer, 0..100, 1);
    let bucket = table.info().bucket(0);
    stage.cluster(|cluster| cluster.expire_log(bucket, 30));
    let with = |stage: &mut Stage, rows| {
        let mut reader = stage.run(table.snapshot().max_rows(rows).build()).expect("a reader");
        read(stage, &mut reader)
    };
    let found = with(&mut stage, 100).expect("all fit");
    assert_eq!(found[&bucket].0, None, "nobody knows the moment");
    assert_eq!(all_rows(found), now(&mut stage, &table));
    let error = with(&mut stage, 99).expect_err("one too many");
    assert!(error.to_string().contains("max_rows"), "{error}");
    // Where the state without its offset is of no use.
    let mut reader = stage.run(table.snapshot_then_changes().build()).expect("a reader");
    let error = stage.run(reader.next_event()).expect_err("no way");
    assert!(error.to_string().contains("offset 30"), "{error}");
}

#[test]
fn a_state_beyond_its_memory_is_an_error() {
    let mut stage = Stage::with(cluster(Release::V0_9, 1));
    let table = users(&mut stage, 2);
    let writer = table.upserter().build().expect("a writer");
    fill(&mut stage, &writer, 0..100, 1);
    let mut reader = stage.run(table.snapshot().max_state_bytes(2000).build()).expect("a reader");
    let error = stage.run(reader.next_batch()).expect_err("too much");
    assert!(error.to_string().contains("max_state_bytes"), "{error}");
    assert_eq!(stage.run(reader.next_batch()).expect_err("it stays"), error);
}

#[test]
fn too_many_sessions_are_waited_for_within_the_deadline() {
    let mut stage = Stage::with(cluster(Release::V1_0, 1));
    let table = users(&mut stage, 1);
    let writer = table.upserter().build().expect("a writer");
    fill(&mut stage, &writer, 0..100, 1);
    let builder = table.snapshot().fetch_bytes(100);
    let mut open = Vec::new();
    for _ in 0..8 {
        let mut reader = stage.run(builder.clone().build()).expect("a reader");
        assert!(stage.run(reader.next_batch()).expect("rows").is_some());
        open.push(reader);
    }
    let mut ninth = stage.run(builder.clone().build()).expect("a reader");
    let error = stage.run(ninth.next_batch()).expect_err("nobody ends");
    let Error::Unavailable { last: Some(last), .. } = &error else { panic!("{error}") };
    assert_eq!(last.code(), Some(ErrorCode::TOO_MANY_SCANNERS));
    let mut tenth = stage.run(builder.build()).expect("a reader");
    assert!(stage.poll(&mut tenth.next_batch()).is_pending());
    stage.pass(Duration::from_secs(1));
    drop(open.pop());
    let found = read(&mut stage, &mut tenth).expect("there is room again");
    assert_eq!(all_rows(found).len(), 100);
}

#[test]
fn a_session_that_expired_before_its_turn_begins_anew_unnoticed() {
    let mut stage = Stage::with(cluster(Release::V1_0, 1));
    let table = users(&mut stage, 3);
    let writer = table.upserter().build().expect("a writer");
    fill(&mut stage, &writer, 0..100, 1);
    let mut reader = stage.run(table.snapshot().fetch_bytes(100).build()).expect("a reader");
    let first = stage.run(reader.next_batch()).expect("rows").expect("some");
    stage.settle();
    assert!(stage.cluster(|c| c.scan_sessions()) > 1, "others are on their way");
    fill(&mut stage, &writer, 0..100, 2);
    let mut rows: Vec<_> = rows_of(&first);
    // The first bucket's own session is kept alive, those that wait are not.
    let mut buckets = 1;
    let mut last = first.bucket();
    for _ in 0..1000 {
        stage.pass(Duration::from_secs(599));
        let Some(batch) = stage.run(reader.next_batch()).expect("no error") else { break };
        buckets += i32::from(batch.bucket() != last);
        last = batch.bucket();
        rows.extend(rows_of(&batch));
    }
    assert_eq!((buckets, rows.len()), (3, 100));
    let later = rows.iter().filter(|row| row.values()[2] == OwnedDatum::Int32(2)).count();
    assert!(later > 0, "no bucket was read anew");
}

#[test]
fn what_ends_a_session_of_which_rows_were_handed_out_is_told() {
    for (fault, code) in [
        (Fault::MoveLeader, Some(12)),
        (Fault::ErrorBefore(66), Some(66)),
        (Fault::ErrorBefore(67), Some(67)),
        (Fault::ErrorBefore(68), Some(68)),
        (Fault::LoseAnswer, None),
        (Fault::CutAnswer, None),
        (Fault::RestartClean, None),
    ] {
        let mut stage = Stage::with(cluster(Release::V1_0, 1));
        let table = users(&mut stage, 1);
        let writer = table.upserter().build().expect("a writer");
        fill(&mut stage, &writer, 0..100, 1);
        let builder = table.snapshot().fetch_bytes(200);
        // The first two answers are there before rows are handed out.
        stage.cluster(|cluster| cluster.inject(On::Api(SCAN_KV), 1, fault));
        let mut reader = stage.run(builder.clone().build()).expect("a reader");
        let found = read(&mut stage, &mut reader).unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        assert_eq!(all_rows(found).len(), 100, "{fault:?}");
        stage.cluster(|cluster| cluster.inject(On::Api(SCAN_KV), 2, fault));
        let mut reader = stage.run(builder.build()).expect("a reader");
        let error = read(&mut stage, &mut reader).expect_err("the rest is gone");
        assert_eq!(error.code().map(|code| code.0), code, "{fault:?}: {error}");
        assert!(error.to_string().contains("were handed out"), "{fault:?}: {error}");
    }
}

#[test]
fn dropped_readers_close_their_sessions() {
    let mut stage = Stage::with(cluster(Release::V1_0, 1));
    let table = users(&mut stage, 3);
    let writer = table.upserter().build().expect("a writer");
    fill(&mut stage, &writer, 0..100, 1);
    for polls in 0..30 {
        let building = table.snapshot().fetch_bytes(100).build();
        let mut reader = stage.run(building).expect("a reader");
        for _ in 0..polls {
            let _ = stage.poll(&mut reader.next_batch());
            stage.settle();
        }
        drop(reader);
        stage.settle();
        // An answer that was on its way when its reader was dropped may have opened one.
        assert!(stage.cluster(|c| c.scan_sessions()) <= 3, "{polls}");
        stage.pass(Duration::from_secs(601));
    }
}

fn faults(seed: u64) -> Faults {
    let time = Duration::from_millis(300);
    Faults::new(seed)
        .one_in(20, On::Api(SCAN_KV), Fault::LoseAnswer)
        .one_in(20, On::Api(SCAN_KV), Fault::CutRequest)
        .one_in(20, On::Api(SCAN_KV), Fault::MoveLeader)
        .one_in(20, On::Api(SCAN_KV), Fault::ErrorBefore(66))
        .one_in(20, On::Api(SCAN_KV), Fault::ErrorBefore(69))
        .one_in(20, On::Fetch, Fault::MoveLeader)
        .one_in(40, On::Any, Fault::CutAnswer)
        .one_in(40, On::Any, Fault::DelayAnswer(time))
        .one_in(80, On::Any, Fault::SwallowAnswer)
        .one_in(80, On::Any, Fault::RestartUnclean)
}

#[test]
fn random_tables_that_change_while_they_are_read_are_read_as_of_one_moment_each_bucket() {
    let mut whole = 0;
    for seed in 0..120 {
        let mut rng = Rng::new(seed);
        let release = RELEASES[(seed % 2) as usize];
        let mut options = cluster(release, seed);
        options.replication_delay = Duration::from_millis([0, 5, 50][(seed % 3) as usize]);
        let mut stage = Stage::with(ClusterOptions { tablet_servers: 3, ..options });
        let table = users(&mut stage, 1 + rng.below(4) as u32);
        let writer = table.upserter().build().expect("a writer");
        for _ in 0..rng.below(20) {
            change_some(&mut stage, &writer, &mut rng, 60);
        }
        let faulty = seed % 4 >= 2;
        if faulty {
            stage.cluster(|cluster| cluster.set_faults(faults(seed)));
        }
        let builder = table
            .snapshot()
            .fetch_bytes(1 + rng.below(500) as usize)
            .buckets_at_once(1 + rng.below(4) as usize)
            .buffer_limit(1024 + rng.below(2000));
        let Ok(mut reader) = stage.run(builder.build()) else { continue };
        let mut found: BTreeMap<BucketKey, (Option<i64>, Rows)> = BTreeMap::new();
        let end = loop {
            if rng.one_in(3) && !faulty {
                change_some(&mut stage, &writer, &mut rng, 60);
            }
            // A future that is dropped at any time loses nothing.
            let early = if rng.one_in(3) { stage.poll(&mut reader.next_batch()) } else { Pending };
            stage.settle();
            let next = match early {
                Ready(next) => next,
                Pending => stage.run(reader.next_batch()),
            };
            match next {
                Ok(Some(batch)) => {
                    let (_, rows) = found
                        .entry(batch.bucket())
                        .or_insert_with(|| (batch.log_offset(), Rows::new()));
                    for row in rows_of(&batch) {
                        let again = rows.insert(key_of(&row), row);
                        assert_eq!(again, None, "seed {seed}: a row twice");
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        stage.cluster(|cluster| cluster.set_faults(Faults::new(0)));
        match end {
            Ok(()) => {
                whole += 1;
                for bucket in stage.run(table.buckets()).expect("buckets") {
                    let Some((offset, rows)) = found.get(&bucket) else { continue };
                    let offset = offset.expect("both kinds tell it");
                    assert_eq!(rows, &state_at(&stage, bucket, offset), "seed {seed} {bucket}");
                }
            }
            Err(error) => assert!(faulty, "seed {seed}: {error}"),
        }
    }
    assert!(whole > 60, "only {whole} runs came to their end");
}

#[test]
fn a_leader_that_moves_before_the_scan_costs_time_only() {
    for release in RELEASES {
        let mut stage = Stage::with(cluster(release, 1));
        let table = users(&mut stage, 3);
        let writer = table.upserter().build().expect("a writer");
        fill(&mut stage, &writer, 0..100, 1);
        stage.cluster(|cluster| {
            for server in 0..3 {
                cluster.move_leaders_away(server);
            }
            cluster.cut_connections(None);
            cluster.stop(ServerId::Coordinator);
        });
        let mut reader = stage.run(table.snapshot().build()).expect("a reader");
        let found = read(&mut stage, &mut reader).expect("rows");
        assert_eq!(all_rows(found).len(), 100);
    }
}

#[test]
fn a_changelog_that_stops_coming_ends_at_the_deadline() {
    let mut stage = Stage::with(cluster(Release::V0_9, 1));
    let table = users(&mut stage, 2);
    let writer = table.upserter().build().expect("a writer");
    fill(&mut stage, &writer, 0..100, 1);
    let silent = Faults::new(1).one_in(1, On::Fetch, Fault::DropRequest);
    stage.cluster(|cluster| cluster.set_faults(silent));
    let mut reader = stage.run(table.snapshot().build()).expect("a reader");
    let since = stage.now();
    let error = stage.run(reader.next_batch()).expect_err("nobody answers");
    assert!(matches!(error, Error::Unavailable { last: Some(_), .. }), "{error}");
    assert_eq!(stage.now() - since, Duration::from_secs(60));
    let refusing = Faults::new(1).one_in(1, On::Fetch, Fault::ErrorBefore(12));
    stage.cluster(|cluster| cluster.set_faults(refusing));
    let mut reader = stage.run(table.snapshot().build()).expect("a reader");
    let error = stage.run(reader.next_batch()).expect_err("nobody leads");
    assert!(error.to_string().contains("NOT_LEADER_OR_FOLLOWER (12)"), "{error}");
}
