//! A server that answers nonsense costs a connection, never a wrong outcome.
//!
//! Answers to writes carry no sequence of a batch: what can come from the future in them is the
//! number of the request that they answer, or an offset. The offset of a success cannot be checked
//! against anything the client knows, as others write to the bucket too; a negative one can.

use super::testkit::{Stage, events};
use crate::ids::TablePath;
use crate::row::OwnedDatum;
use crate::testing::cluster::{Fault, On};
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
    let faults = crate::testing::cluster::Faults::new(1);
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
