//! Keys in partitions that were not looked for before.

use super::super::testkit::Stage;
use super::Lookuper;
use super::tests::{open, put, users};
use crate::error::Error;
use crate::testing::cluster::{ClusterOptions, Fault, On};
use crate::time::Duration;

const LIST_PARTITIONS: i16 = 1009;
const LOOKUP: i16 = 1017;
const KEYS: i64 = 300;

fn stage() -> (Stage, Lookuper) {
    with(Stage::new())
}

/// Users in the partitions `eu` and `us`, and a lookuper that has looked for none of them.
fn with(mut stage: Stage) -> (Stage, Lookuper) {
    let mut partitioned = users();
    (partitioned.partition_key, partitioned.bucket_key) = (vec![1], Vec::new());
    let table = open(&mut stage, &partitioned);
    let names = ["eu", "us"];
    let rows: Vec<(&str, &str, i64)> =
        (0..KEYS).map(|id| ("somebody", names[(id % 2) as usize], id)).collect();
    put(&mut stage, &table, &rows);
    let lookuper = table.lookuper().expect("a primary-key table");
    (stage, lookuper)
}

fn asked(stage: &Stage, api: i16) -> u64 {
    stage.cluster(|cluster| cluster.requests().get(&api).copied()).unwrap_or(0)
}

#[test]
fn each_partition_of_many_keys_is_asked_for_once() {
    let (mut stage, lookuper) = stage();
    let before = (asked(&stage, LIST_PARTITIONS), asked(&stage, LOOKUP));
    let keys: Vec<(&str, i64)> =
        (0..KEYS).map(|id| (["eu", "us", "asia"][(id % 3) as usize], id)).collect();
    let rows = stage.run(lookuper.lookup_all(&keys)).expect("answers");
    let there = |(region, id): &(&str, i64)| ["eu", "us"][(id % 2) as usize] == *region;
    for (key, row) in keys.iter().zip(&rows) {
        assert_eq!(row.is_some(), there(key), "{key:?}");
    }
    assert_eq!(asked(&stage, LIST_PARTITIONS) - before.0, 3);
    assert!(asked(&stage, LOOKUP) - before.1 < 20, "together, and not one by one");
}

#[test]
fn lookups_that_were_made_together_share_their_questions() {
    let (mut stage, lookuper) = stage();
    let before = (asked(&stage, LIST_PARTITIONS), asked(&stage, LOOKUP));
    let lookups: Vec<_> = (0..KEYS)
        .flat_map(|id| [("eu", id), ("asia", id)])
        .map(|key| (key, lookuper.lookup(&key)))
        .collect();
    stage.pass(Duration::from_secs(1));
    assert_eq!(asked(&stage, LIST_PARTITIONS) - before.0, 2, "though nobody waits yet");
    for ((region, id), lookup) in lookups {
        let row = stage.run(lookup).expect("an answer");
        assert_eq!(row.is_some(), region == "eu" && id % 2 == 0, "{region} {id}");
    }
    let questions = asked(&stage, LIST_PARTITIONS) - before.0;
    assert!(questions <= 3, "{questions}: of a partition that is not there once more");
    assert!(asked(&stage, LOOKUP) - before.1 < 20, "together, and not one by one");
}

#[test]
fn what_was_written_before_a_lookup_is_found_though_an_older_question_found_nothing() {
    let (mut stage, lookuper) = stage();
    let fault = Fault::DelayAnswer(Duration::from_secs(2));
    stage.cluster(|cluster| cluster.inject(On::Api(LIST_PARTITIONS), 0, fault));
    let early = lookuper.lookup(&("asia", 7_i64));
    let earlier_keys = [("asia", 7_i64), ("asia", 8)];
    let early_all = lookuper.lookup_all(&earlier_keys);
    stage.pass(Duration::from_millis(500));
    let table = lookuper.table().clone();
    put(&mut stage, &table, &[("Kim", "asia", 7)]);
    // Its question was answered, but has not come yet.
    let late = lookuper.lookup(&("asia", 7_i64));
    let late_all = lookuper.lookup_all(&[("asia", 7_i64), ("asia", 8)]);
    assert!(stage.run(late).expect("an answer").is_some());
    let rows = stage.run(late_all).expect("answers");
    assert_eq!(rows.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
    stage.run(early).expect("either is right");
    stage.run(early_all).expect("either is right");
}

#[test]
fn rows_of_a_partition_that_was_made_again_are_found_together() {
    let (mut stage, lookuper) = stage();
    let keys: Vec<(&str, i64)> = (0..KEYS).step_by(2).map(|id| ("eu", id)).collect();
    let rows = stage.run(lookuper.lookup_all(&keys)).expect("answers");
    assert!(rows.iter().all(Option::is_some));
    let admin = stage.fluss.admin();
    stage.run(admin.drop_partition("shop.users", &[("region", "eu")], false)).expect("dropped");
    let table = lookuper.table().clone();
    // The first row learns that the partition is gone, the next ones make it again.
    let writer = table.upserter().build().expect("a writer");
    let first = stage.run(writer.upsert(&("Ann", "eu", 0_i64))).expect("room");
    stage.run(first).expect_err("its partition was dropped");
    put(&mut stage, &table, &[("Ann", "eu", 0), ("Bob", "eu", 2)]);
    let before = (asked(&stage, LIST_PARTITIONS), stage.now());
    let rows = stage.run(lookuper.lookup_all(&keys)).expect("answers");
    assert_eq!(rows.iter().filter(|row| row.is_some()).count(), 2);
    assert!(rows[0].is_some() && rows[1].is_some());
    let questions = asked(&stage, LIST_PARTITIONS) - before.0;
    assert!(questions <= 4, "{questions} questions");
    assert!(stage.now().saturating_since(before.1) < Duration::from_secs(5));
}

#[test]
fn keys_that_wait_for_their_partition_take_room() {
    let limited = Stage::configured(ClusterOptions::default(), |c| c.lookup_limit(4));
    let (mut stage, lookuper) = with(limited);
    let mut taken = Vec::new();
    let full = loop {
        match lookuper.try_lookup(&("eu", taken.len() as i64)) {
            Ok(lookup) => taken.push(lookup),
            Err(error) => break error,
        }
        assert!(taken.len() <= 4, "no end");
    };
    assert!(matches!(full, Error::LookupsFull { lookups: 4, .. }), "{full}");
    drop(taken.pop());
    taken.push(lookuper.try_lookup(&("eu", 3_i64)).expect("room again"));
    for (id, lookup) in taken.into_iter().enumerate() {
        assert_eq!(stage.run(lookup).expect("an answer").is_some(), id % 2 == 0, "{id}");
    }
    drop(lookuper.try_lookup(&("asia", 3_i64)).expect("all room is free"));
}

#[test]
fn questions_that_nobody_waits_for_end_and_those_who_still_wait_have_their_answer() {
    let (mut stage, lookuper) = stage();
    let first = lookuper.lookup(&("us", 1_i64));
    let second = lookuper.lookup(&("us", 3_i64));
    drop(first);
    assert!(stage.run(second).expect("an answer").is_some());
    let gone = lookuper.lookup(&("asia", 1_i64));
    drop((gone, lookuper));
    let close = stage.fluss.close(Duration::from_secs(5));
    stage.run(close).expect("nothing is left open");
}
