//! A server that answers nonsense costs a connection, never a wrong outcome.
//!
//! Answers to writes carry no sequence of a batch: what can come from the future in them is the
//! number of the request that they answer, or an offset. The offset of a success cannot be checked
//! against anything the client knows, as others write to the bucket too; a negative one can.

use super::testkit::{Stage, events};
use crate::ids::TablePath;
use crate::row::OwnedDatum;
use crate::testing::cluster::{ClusterOptions, Fault, Faults, On, Release};
use crate::time::Duration;

/// The ids in the table, in order of their offsets.
fn ids(stage: &Stage) -> Vec<i64> {
    stage.cluster(|cluster| {
        let table = cluster.table_id(&TablePath::new("shop", "events")).expect("the table");
        let bucket = cluster.buckets(table).next().expect("a bucket");
        let rows = cluster.rows(bucket).expect("rows that decode");
        let id = |row: &crate::testing::cluster::LogRow| match row.values.values()[0] {
            OwnedDatum::Int64(id) => id,
            ref other => panic!("{other:?} is no id"),
        };
        rows.iter().map(id).collect()
    })
}

#[test]
fn each_kind_of_nonsense_costs_a_connection_and_every_row_is_written_once() {
    for fault in [
        Fault::ForeignBucket,
        Fault::RepeatedBucket,
        Fault::MissingBucket,
        Fault::NegativeOffset,
        Fault::UnaskedAnswer,
        Fault::DuplicateAnswer,
        Fault::GarbageBody,
        Fault::GarbageFrame,
    ] {
        let mut stage = Stage::new();
        let writer = events(&mut stage, 1).appender().linger(Duration::ZERO).build();
        let writer = writer.expect("a writer");
        for id in 0..10i64 {
            if id == 4 {
                stage.cluster(|c| c.inject(On::Write, 0, fault));
            }
            let ticket = writer.try_append(&(id, "a")).expect("room");
            let ack = stage.run(ticket).unwrap_or_else(|error| panic!("{fault:?} {id}: {error}"));
            assert!(ack.offset.is_none_or(|offset| offset == id), "{fault:?} {id}: {ack:?}");
            // A second answer may be read only after the first has told the row's outcome.
            stage.settle();
        }
        assert_eq!(stage.cluster(|c| c.faults().count(fault.kind())), 1, "{fault:?}");
        assert_eq!(ids(&stage), (0..10).collect::<Vec<i64>>(), "{fault:?}");
        let counters = stage.fluss.counters();
        assert_eq!(counters.connections_lost, 1, "{fault:?}");
        assert_eq!((counters.unknown, counters.invariant_violations), (0, 0), "{fault:?}");
    }
}

#[test]
fn a_server_that_only_talks_nonsense_ends_in_an_unknown_outcome_that_names_it() {
    let mut stage = Stage::new();
    let writer = events(&mut stage, 1).appender().build().expect("a writer");
    let faults = Faults::new(1);
    stage.cluster(|c| c.set_faults(faults.one_in(1, On::Write, Fault::NegativeOffset)));
    let ticket = writer.try_append(&(1i64, "a")).expect("room");
    let error = stage.run(ticket).expect_err("no answer could be believed");
    assert!(matches!(error, crate::WriteError::OutcomeUnknown(_)), "{error}");
    assert!(error.to_string().contains("a success at offset -1"), "{error}");
    assert_eq!(ids(&stage).len(), 1, "and yet it is there once");
}

#[test]
fn a_server_that_answers_a_fetch_with_nonsense_is_named_with_its_address() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = table.appender().build().expect("a writer");
    let ticket = stage.run(writer.append(&(1_i64, "a"))).expect("room");
    stage.run(ticket).expect("written");
    stage.cluster(|c| c.inject(On::Fetch, 0, Fault::GarbageBody));
    let mut scanner = stage.run(table.scanner().from_earliest().bounded().build()).expect("built");
    let error = stage.run(scanner.next_batch()).expect_err("nonsense").to_string();
    assert!(error.contains("FETCH_LOG") && stage.names_a_server(&error), "{error}");
}

/// A writer whose rows go out at once, each as a batch of its own.
fn eager(table: &crate::Table) -> crate::AppendWriter {
    table.appender().linger(Duration::ZERO).build().expect("a writer")
}

fn stamps(stage: &Stage, table: &crate::Table) -> Vec<(i64, i32)> {
    let bucket = table.info().bucket(0);
    stage.cluster(|c| c.log(bucket).map(|batch| (batch.writer_id, batch.sequence)).collect())
}

/// A cluster of a release that tells of pressure.
fn newer() -> Stage {
    Stage::with(ClusterOptions { release: Release::V1_0, ..ClusterOptions::default() })
}

const INIT_WRITER: i16 = 1026;

fn ids_asked_for(stage: &Stage) -> u64 {
    stage.cluster(|c| c.requests().get(&INIT_WRITER).copied().unwrap_or(0))
}

#[test]
fn a_writer_id_that_was_given_out_before_is_not_used_again() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let first = eager(&table);
    let ticket = first.try_append(&(0_i64, "a")).expect("room");
    stage.run(ticket).expect("written");
    // With the first writer's id, the row would be taken for a copy of the one before.
    stage.cluster(|c| c.inject(On::InitWriter, 0, Fault::WriterId(0)));
    let second = eager(&table);
    let ticket = second.try_append(&(1_i64, "b")).expect("room");
    assert_eq!(stage.run(ticket).expect("written").offset, Some(1));
    // The same where one writer needs another id, twice.
    for row in 2..4_i64 {
        stage.cluster(|c| {
            c.inject(On::Write, 0, Fault::ExpireWriters);
            c.inject(On::InitWriter, 0, Fault::WriterId(0));
            c.inject(On::InitWriter, 1, Fault::WriterId(row - 1));
        });
        let ticket = second.try_append(&(row, "c")).expect("room");
        assert_eq!(stage.run(ticket).expect("written").offset, Some(row));
    }
    assert_eq!(stamps(&stage, &table), [(0, 0), (1, 0), (2, 0), (3, 0)]);
    assert_eq!(ids(&stage), [0, 1, 2, 3]);
}

#[test]
fn a_cluster_that_gives_no_usable_writer_id_is_asked_with_pauses_until_the_deadline() {
    for (id, written) in [(-1, 0), (i64::MIN, 0), (0, 1), (i64::MAX, 1)] {
        let mut stage = Stage::new();
        let table = events(&mut stage, 1);
        let faults = Faults::new(1);
        stage.cluster(|c| c.set_faults(faults.one_in(1, On::InitWriter, Fault::WriterId(id))));
        for row in 0..2 {
            // Each has an id of its own, or should.
            let ticket = eager(&table).try_append(&(row, "a")).expect("room");
            let outcome = stage.run(ticket);
            let is_written = row < written;
            assert_eq!(outcome.is_ok(), is_written, "{id}, row {row}: {outcome:?}");
            if let Err(error) = outcome {
                assert!(matches!(error, crate::WriteError::NotWritten(_)), "{id}: {error}");
            }
        }
        assert_eq!(ids(&stage).len() as i64, written, "{id}");
        // 120 s for each of the rows that waited, with a second between the attempts in the end.
        let asked = ids_asked_for(&stage);
        assert!(asked < 300, "{id}: {asked} times");
    }
}

#[test]
fn pressure_that_makes_no_sense_rests_a_bucket_for_the_whole_window_at_most() {
    for pressure in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, 1e30, f32::MAX] {
        let mut stage = newer();
        let users = super::testkit::users(&mut stage);
        let writer = users.upserter().linger(Duration::ZERO).build().expect("a writer");
        stage.cluster(|c| c.inject(On::Write, 0, Fault::Pressure(pressure)));
        for id in 0..2_i64 {
            let start = stage.now();
            let ticket = writer.try_upsert(&(id, "a")).expect("room");
            stage.run(ticket).expect("written");
            let took = stage.now().saturating_since(start);
            assert!(took <= Duration::from_millis(3001), "{pressure}, row {id}: {took:?}");
        }
    }
}

#[test]
fn a_server_that_throttles_for_ever_is_left_alone_between_attempts_and_the_row_ends_in_time() {
    let mut stage = newer();
    let users = super::testkit::users(&mut stage);
    let writer = users.upserter().linger(Duration::ZERO).build().expect("a writer");
    let faults = Faults::new(1);
    stage.cluster(|c| c.set_faults(faults.one_in(1, On::Write, Fault::Throttle)));
    let start = stage.now();
    let ticket = writer.try_upsert(&(1_i64, "a")).expect("room");
    let error = stage.run(ticket).expect_err("it is never taken");
    let took = stage.now().saturating_since(start);
    assert!(matches!(error, crate::WriteError::NotWritten(_)), "{error}");
    let limit = Duration::from_secs(120);
    assert!((limit..=limit + Duration::from_secs(1)).contains(&took), "{took:?}");
    let asked = stage.cluster(|c| c.requests().get(&1016).copied().unwrap_or(0));
    assert!((35..=42).contains(&asked), "{asked} times in 120 s, with 3 s between");
}
