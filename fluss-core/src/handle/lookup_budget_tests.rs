//! Lookups beyond the budget: they wait in line or are given back, and every place is given back.

use std::task::Poll;

use super::super::testkit::{Stage, users};
use super::Lookuper;
use super::tests;
use crate::config::Config;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::rng::Rng;
use crate::row::{OwnedDatum, OwnedRow};
use crate::testing::cluster::{ClusterOptions, Fault, On};
use crate::time::Duration;

const SOON: Duration = Duration::from_millis(30);

/// Rows with these ids, whose names are so long.
fn stage(
    rows: i64,
    name_bytes: usize,
    settings: impl FnOnce(Config) -> Config,
) -> (Stage, Lookuper) {
    let mut stage = Stage::configured(ClusterOptions::default(), settings);
    let table = users(&mut stage);
    let writer = table.upserter().linger(Duration::ZERO).build().expect("a writer");
    for id in 0..rows {
        let name = name(id, name_bytes);
        let ticket = stage.run(writer.upsert(&(id, name.as_str()))).expect("room");
        stage.run(ticket).expect("written");
    }
    let lookuper = table.lookuper().expect("a primary-key table");
    (stage, lookuper)
}

fn name(id: i64, bytes: usize) -> String {
    format!("{id:0>bytes$}")
}

fn row(id: i64, name_bytes: usize) -> Option<OwnedRow> {
    Some(OwnedRow::new(vec![OwnedDatum::Int64(id), OwnedDatum::Str(name(id, name_bytes))]))
}

fn gauges(stage: &Stage) -> (usize, u64, usize) {
    let Metrics { lookups, lookup_memory_used, lookup_waiters, .. } = stage.fluss.metrics();
    (lookups, lookup_memory_used, lookup_waiters)
}

fn hold_the_next_answer(stage: &Stage) {
    stage.cluster(|c| c.inject(On::Lookup, 0, Fault::DelayAnswer(SOON)));
}

#[test]
fn beyond_the_limit_a_try_gives_the_key_back_and_a_lookup_waits() {
    let (mut stage, lookuper) = stage(4, 10, |c| c.lookup_limit(2));
    hold_the_next_answer(&stage);
    let first = lookuper.try_lookup(&(0_i64,)).expect("room");
    let second = lookuper.try_lookup(&(1_i64,)).expect("room");
    let key = (2_i64,);
    let full = lookuper.try_lookup(&key).expect_err("two are on their way");
    let expected = Error::LookupsFull {
        lookups: 2,
        max_lookups: 2,
        needed: 1,
        used: 2,
        limit: stage.fluss.metrics().lookup_memory_limit,
    };
    assert_eq!((full.name(), full), ("LOOKUPS_FULL", expected));
    let mut third = lookuper.lookup(&key);
    assert!(stage.poll(&mut third).is_pending());
    assert_eq!(gauges(&stage), (2, 2, 1));
    assert_eq!(stage.run(third), Ok(row(2, 10)));
    let again = lookuper.try_lookup(&(3_i64,)).expect("the others have their answers");
    assert_eq!(stage.run(again), Ok(row(3, 10)));
    assert_eq!(stage.run(first), Ok(row(0, 10)));
    assert_eq!(stage.run(second), Ok(row(1, 10)));
    assert_eq!(gauges(&stage), (0, 0, 0));
}

#[test]
fn a_try_for_a_prefix_gives_it_back_too() {
    let mut stage = Stage::configured(ClusterOptions::default(), |c| c.lookup_limit(1));
    let table = tests::open(&mut stage, &tests::users());
    tests::put(&mut stage, &table, &[("Ann", "eu", 1), ("Bob", "eu", 2)]);
    let lookuper = table.lookuper().expect("a primary-key table");
    let flying = lookuper.try_lookup_prefix(&("eu",)).expect("room");
    let full = lookuper.try_lookup_prefix(&("eu",)).expect_err("one is on its way");
    assert!(matches!(full, Error::LookupsFull { max_lookups: 1, .. }), "{full}");
    let wrong = lookuper.try_lookup_prefix(&(5_i64,)).expect_err("no text");
    assert!(matches!(wrong, Error::Row(_)), "{wrong}");
    let rows = stage.run(flying).expect("an answer");
    assert_eq!(rows.len(), 2);
    let rows = lookuper.try_lookup_prefix(&("eu",)).expect("room again");
    assert_eq!(stage.run(rows).map(|rows| rows.len()), Ok(2));
}

#[test]
fn answers_count_until_they_are_taken() {
    let (mut stage, lookuper) = stage(4, 600, |c| c.lookup_memory_limit(1024));
    let mut first = lookuper.lookup(&(0_i64,));
    let second = lookuper.lookup(&(1_i64,));
    stage.settle();
    let (lookups, used, waiting) = gauges(&stage);
    assert_eq!((lookups, waiting), (0, 0));
    assert!(used > 1200, "two rows of 600 bytes: {used}");
    let full = lookuper.try_lookup(&(2_i64,)).expect_err("answers fill the budget");
    assert!(matches!(full, Error::LookupsFull { lookups: 0, limit: 1024, .. }), "{full}");
    let Poll::Ready(found) = stage.poll(&mut first) else { panic!("its answer is there") };
    assert_eq!(found, Ok(row(0, 600)));
    let third = lookuper.try_lookup(&(2_i64,)).expect("one was taken");
    drop(second);
    assert_eq!(stage.run(third), Ok(row(2, 600)));
    assert_eq!(gauges(&stage), (0, 0, 0));
}

#[test]
fn lookups_that_are_awaited_from_the_last_to_the_first_come_to_an_end() {
    let (mut stage, lookuper) = stage(20, 600, |c| c.lookup_memory_limit(1024).lookup_limit(3));
    let lookups: Vec<_> = (0..20_i64).map(|id| lookuper.lookup(&(id,))).collect();
    assert_eq!(gauges(&stage).2, 17);
    let begun = stage.now();
    for (id, lookup) in (0..20).rev().zip(lookups.into_iter().rev()) {
        assert_eq!(stage.run(lookup), Ok(row(id, 600)), "row {id}");
    }
    assert!(stage.now().saturating_since(begun) < Duration::from_secs(1), "a deadline helped");
    assert_eq!(gauges(&stage), (0, 0, 0));
}

#[test]
fn taking_an_answer_lets_the_next_one_go() {
    let (mut stage, lookuper) = stage(4, 2000, |c| c.lookup_memory_limit(1024));
    let mut first = lookuper.lookup(&(0_i64,));
    stage.settle();
    hold_the_next_answer(&stage);
    let alone = lookuper.lookup(&(1_i64,));
    let last = lookuper.lookup(&(2_i64,));
    stage.settle();
    assert_eq!((gauges(&stage).0, gauges(&stage).2), (1, 1));
    assert!(stage.poll(&mut first).is_ready());
    assert_eq!((gauges(&stage).0, gauges(&stage).2), (2, 0), "there is room without that answer");
    assert_eq!(stage.run(last), Ok(row(2, 2000)));
    assert_eq!(stage.run(alone), Ok(row(1, 2000)));
}

#[test]
fn a_dropped_lookup_gives_its_place_to_the_next_one_wherever_it_is() {
    let (mut stage, lookuper) = stage(4, 10, |c| c.lookup_limit(1));
    hold_the_next_answer(&stage);
    let begun = stage.now();
    let mut flying = lookuper.lookup(&(0_i64,));
    assert!(stage.poll(&mut flying).is_pending());
    stage.settle();
    let in_line = lookuper.lookup(&(1_i64,));
    let last = lookuper.lookup(&(2_i64,));
    assert_eq!(gauges(&stage), (1, 1, 2));
    drop(in_line);
    assert_eq!(gauges(&stage), (1, 1, 1));
    drop(flying);
    assert_eq!(gauges(&stage), (1, 1, 0));
    assert_eq!(stage.run(last), Ok(row(2, 10)));
    assert!(stage.now().saturating_since(begun) < SOON, "it waited for an answer to nobody");
    stage.pass(2 * SOON);
    assert_eq!(gauges(&stage), (0, 0, 0));
}

#[test]
fn a_lookup_in_line_ends_at_its_deadline_and_tells_that_it_never_went() {
    let limit = Duration::from_secs(2);
    let (mut stage, lookuper) = stage(4, 10, |c| c.lookup_limit(1).command_deadline(limit));
    stage.cluster(|c| c.inject(On::Lookup, 0, Fault::DropRequest));
    let flying = lookuper.lookup(&(0_i64,));
    let in_line = lookuper.lookup(&(1_i64,));
    let begun = stage.now();
    let error = stage.run(in_line).expect_err("its turn never came");
    assert_eq!(stage.now().saturating_since(begun), limit);
    let Error::Unavailable { after, last: Some(last), .. } = &error else { panic!("{error}") };
    assert_eq!(*after, limit);
    assert!(matches!(&**last, Error::LookupsFull { lookups: 1, .. }), "{last}");
    assert!(matches!(stage.run(flying), Err(Error::Unavailable { .. })));
    assert_eq!(stage.run(lookuper.lookup(&(2_i64,))), Ok(row(2, 10)));
}

#[test]
fn a_key_larger_than_the_budget_is_refused_with_both_numbers() {
    let mut stage = Stage::configured(ClusterOptions::default(), |c| c.lookup_memory_limit(1024));
    let table = tests::open(&mut stage, &tests::users());
    let lookuper = table.lookuper().expect("a primary-key table");
    let long = "x".repeat(3000);
    let key = (long.as_str(), 1_i64);
    let waited = stage.run(lookuper.lookup(&key)).expect_err("it can never go");
    let tried = lookuper.try_lookup(&key).expect_err("it can never go");
    assert_eq!(waited, tried);
    let Error::Misuse(text) = &tried else { panic!("{tried}") };
    assert!(text.contains("lookup_memory_limit allows 1024 bytes"), "{text}");
    assert!(text.contains("LOOKUP shop.users: the key has 30"), "{text}");
}

#[test]
fn a_try_in_a_partition_that_was_not_looked_for_needs_room_too() {
    let mut stage = Stage::configured(ClusterOptions::default(), |c| c.lookup_limit(1));
    let mut partitioned = tests::users();
    partitioned.partition_key = vec![1];
    partitioned.bucket_key = Vec::new();
    let table = tests::open(&mut stage, &partitioned);
    tests::put(&mut stage, &table, &[("Ann", "eu", 1), ("Bob", "us", 2)]);
    let lookuper = table.lookuper().expect("a primary-key table");
    let ann = lookuper.try_lookup(&("eu", 1_i64)).expect("room");
    assert!(stage.run(ann).expect("an answer").is_some());
    let flying = lookuper.try_lookup(&("eu", 1_i64)).expect("room");
    for region in ["eu", "us"] {
        let full = lookuper.try_lookup(&(region, 2_i64)).expect_err("one is on its way");
        assert!(matches!(full, Error::LookupsFull { .. }), "{region}: {full}");
    }
    assert!(stage.run(flying).expect("an answer").is_some());
    let bob = lookuper.try_lookup(&("us", 2_i64)).expect("room");
    assert!(stage.run(bob).expect("an answer").is_some());
}

#[test]
fn a_try_with_a_closed_client_or_in_a_child_says_so() {
    let (mut stage, lookuper) = stage(1, 10, |c| c);
    stage.fork(true);
    let forked = lookuper.try_lookup(&(0_i64,)).expect_err("the parent's");
    assert!(matches!(forked, Error::Forked { .. }), "{forked}");
    stage.fork(false);
    let close = stage.fluss.close(Duration::from_secs(1));
    stage.run(close).expect("closed");
    let closed = lookuper.try_lookup(&(0_i64,)).expect_err("closed");
    assert_eq!(closed, Error::Closed("client"));
}

#[test]
fn whatever_is_awaited_tried_and_dropped_each_lookup_ends_with_its_own_row() {
    const ROWS: i64 = 12;
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let (count, bytes) = (1 + rng.below(6) as usize, 1024 + rng.below(4096));
        let (mut stage, lookuper) =
            stage(ROWS, 500, |c| c.lookup_limit(count).lookup_memory_limit(bytes));
        let begun = stage.now();
        let mut lookups = Vec::new();
        for step in 0..150 {
            let id = rng.below(ROWS as u64) as i64;
            match rng.below(6) {
                0 | 1 => lookups.push((id, lookuper.lookup(&(id,)))),
                2 => match lookuper.try_lookup(&(id,)) {
                    Ok(lookup) => lookups.push((id, lookup)),
                    Err(Error::LookupsFull { .. }) => {}
                    Err(error) => panic!("seed {seed}: {error}"),
                },
                3 if !lookups.is_empty() => {
                    let at = rng.below(lookups.len() as u64) as usize;
                    let (id, lookup) = lookups.swap_remove(at);
                    assert_eq!(stage.run(lookup), Ok(row(id, 500)), "seed {seed} step {step}");
                }
                4 if !lookups.is_empty() => {
                    let at = rng.below(lookups.len() as u64) as usize;
                    drop(lookups.swap_remove(at));
                }
                5 if rng.one_in(4) => hold_the_next_answer(&stage),
                _ => drop(stage.settle()),
            }
            assert!(gauges(&stage).0 <= count, "seed {seed}");
        }
        for (id, lookup) in lookups {
            assert_eq!(stage.run(lookup), Ok(row(id, 500)), "seed {seed}");
        }
        assert!(stage.now().saturating_since(begun) < Duration::from_secs(30), "seed {seed}");
        assert_eq!(gauges(&stage), (0, 0, 0), "seed {seed}");
    }
}
