//! Many keys in one call: the same answers as one by one, and one wake-up.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use super::super::testkit::{Stage, users};
use super::tests;
use crate::Table;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::rng::Rng;
use crate::row::{Column, DataType, OwnedDatum, OwnedRow};
use crate::testing::cluster::{ClusterOptions, Fault, On};
use crate::time::Duration;

const REGIONS: [&str; 3] = ["eu", "us", "asia"];

fn user(name: &str, region: &str, id: i64) -> OwnedRow {
    let text = |s: &str| OwnedDatum::Str(s.to_owned());
    OwnedRow::new(vec![text(name), text(region), OwnedDatum::Int64(id)])
}

fn gauges(stage: &Stage) -> (usize, u64, usize) {
    let Metrics { lookups, lookup_memory_used, lookup_waiters, .. } = stage.fluss.metrics();
    (lookups, lookup_memory_used, lookup_waiters)
}

/// A writer takes notice that a partition was dropped when it is told so.
fn put(stage: &mut Stage, table: &Table, row: (&str, &str, i64)) {
    let written = (0..5).any(|_| {
        let writer = table.upserter().build().expect("a writer");
        let ticket = stage.run(writer.upsert(&row)).expect("room");
        stage.run(ticket).is_ok()
    });
    assert!(written, "{row:?}");
}

fn disturb(stage: &mut Stage, rng: &mut Rng) {
    let fault = match rng.below(6) {
        0 => Fault::LoseAnswer,
        1 => Fault::DelayAnswer(Duration::from_millis(30)),
        2 => Fault::ErrorBefore(12),
        3 => return stage.cluster(|c| c.move_leaders_away(1)),
        4 => return stage.cluster(|c| c.cut_connections(None)),
        _ => return,
    };
    let nth = rng.below(3);
    stage.cluster(|c| c.inject(On::Lookup, nth, fault));
}

fn run(seed: u64) {
    let mut rng = Rng::new(seed);
    let (keys, bytes) = (1 + rng.below(12) as usize, 1024 + rng.below(2000));
    let settings = |c: crate::config::Config| c.lookup_limit(keys).lookup_memory_limit(bytes);
    let mut stage = Stage::configured(ClusterOptions::default(), settings);
    let mut table = tests::users();
    let partitioned = rng.one_in(2);
    if partitioned {
        (table.partition_key, table.bucket_key) = (vec![1], Vec::new());
    }
    let table = tests::open(&mut stage, &table);
    let lookuper = table.lookuper().expect("a primary-key table");
    let mut rows: BTreeMap<(&str, i64), OwnedRow> = BTreeMap::new();
    for round in 0..12 {
        let (region, id) = (REGIONS[rng.below(2) as usize], rng.below(10).cast_signed());
        let name = format!("{round:0>width$}", width = rng.below(400) as usize);
        put(&mut stage, &table, (name.as_str(), region, id));
        rows.insert((region, id), user(&name, region, id));
        if partitioned && rng.one_in(4) {
            let region = REGIONS[rng.below(2) as usize];
            let drop =
                stage.fluss.admin().drop_partition("shop.users", &[("region", region)], true);
            stage.run(drop).expect("dropped");
            rows.retain(|(of, _), _| *of != region);
        }
        let wanted: Vec<(&str, i64)> = (0..rng.below(40))
            .map(|_| (REGIONS[rng.below(3) as usize], rng.below(10).cast_signed()))
            .collect();
        disturb(&mut stage, &mut rng);
        let mut all = lookuper.lookup_all(&wanted);
        if rng.one_in(5) {
            let _ = stage.poll(&mut all);
            drop(all);
            continue;
        }
        let found = stage.run(all).unwrap_or_else(|e| panic!("seed {seed} round {round}: {e}"));
        let expected: Vec<_> = wanted.iter().map(|key| rows.get(key).cloned()).collect();
        assert_eq!(found, expected, "seed {seed} round {round}");
    }
    stage.settle();
    assert_eq!(gauges(&stage), (0, 0, 0), "seed {seed}: every place is given back");
}

#[test]
fn many_keys_bring_what_each_of_them_has_whatever_happens_on_the_way() {
    (0..60).for_each(run);
}

#[test]
fn a_partition_made_anew_is_found_also_when_the_drop_was_heard_of_before() {
    let mut stage = Stage::new();
    let mut table = tests::users();
    (table.partition_key, table.bucket_key) = (vec![1], Vec::new());
    let table = tests::open(&mut stage, &table);
    let lookuper = table.lookuper().expect("a primary-key table");
    put(&mut stage, &table, ("Ann", "eu", 1));
    assert_eq!(stage.run(lookuper.lookup(&("eu", 1_i64))), Ok(Some(user("Ann", "eu", 1))));
    let drop = stage.fluss.admin().drop_partition("shop.users", &[("region", "eu")], true);
    stage.run(drop).expect("dropped");
    // Its writer is told that the partition is gone.
    put(&mut stage, &table, ("Bob", "eu", 2));
    let found = stage.run(lookuper.lookup_all(&[("eu", 1_i64), ("eu", 2)]));
    assert_eq!(found, Ok(vec![None, Some(user("Bob", "eu", 2))]));
    assert_eq!(stage.run(lookuper.lookup(&("eu", 2_i64))), Ok(Some(user("Bob", "eu", 2))));
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn who_waits_for_many_keys_is_woken_once() {
    let mut stage = Stage::configured(ClusterOptions::default(), |c| c.lookup_in_flight(1));
    let table = users(&mut stage);
    let lookuper = table.lookuper().expect("a primary-key table");
    let keys: Vec<(i64,)> = (0..3000).map(|id| (id,)).collect();
    let mut all = lookuper.lookup_all(&keys);
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    assert!(Pin::new(&mut all).poll(&mut Context::from_waker(&waker)).is_pending());
    stage.settle();
    assert_eq!(count.0.load(Ordering::Relaxed), 1, "of several answers the last one");
    assert_eq!(stage.run(all).map(|rows| rows.len()), Ok(3000));
    let none: [(i64,); 0] = [];
    assert_eq!(stage.run(lookuper.lookup_all(&none)), Ok(Vec::new()));
}

#[test]
fn of_many_keys_the_first_without_an_answer_says_why() {
    let mut stage = Stage::configured(ClusterOptions::default(), |c| c.lookup_memory_limit(1024));
    let table = tests::open(&mut stage, &tests::users());
    tests::put(&mut stage, &table, &[("Ann", "eu", 1)]);
    let lookuper = table.lookuper().expect("a primary-key table");
    let key =
        |region: &str, id: OwnedDatum| OwnedRow::new(vec![OwnedDatum::Str(region.to_owned()), id]);
    let (fits, long) =
        (key("eu", OwnedDatum::Int64(1)), key(&"x".repeat(1025), OwnedDatum::Int64(1)));
    let wrong = key("eu", OwnedDatum::Bool(true));
    let keys = [fits.clone(), wrong.clone(), long.clone()];
    let error = stage.run(lookuper.lookup_all(&keys)).expect_err("no BIGINT");
    assert!(matches!(error, Error::Row(_)), "{error}");
    let error = stage.run(lookuper.lookup_all(&[fits.clone(), long, wrong])).expect_err("long");
    assert!(matches!(error, Error::Misuse(_)), "{error}");
    assert_eq!(stage.run(lookuper.lookup_all(&[fits])), Ok(vec![Some(user("Ann", "eu", 1))]));
    stage.settle();
    assert_eq!(gauges(&stage), (0, 0, 0));
}

#[test]
fn rows_of_a_schema_that_is_new_are_read_as_the_table_was_opened() {
    let mut stage = Stage::new();
    let table = tests::open(&mut stage, &tests::users());
    let lookuper = table.lookuper().expect("a primary-key table");
    tests::put(&mut stage, &table, &[("Ann", "eu", 1)]);
    let add = stage.fluss.admin().add_columns("shop.users", &[Column::new("more", DataType::INT)]);
    stage.run(add).expect("a column");
    let opening = stage.fluss.table("shop.users");
    let grown = stage.run(opening).expect("it is there");
    let writer = grown.upserter().build().expect("a writer");
    let ticket = stage.run(writer.upsert(&("Bob", "eu", 2_i64, 7))).expect("room");
    stage.run(ticket).expect("written");
    let found = stage.run(lookuper.lookup_all(&[("eu", 2_i64), ("eu", 1), ("eu", 3)]));
    let expected = vec![Some(user("Bob", "eu", 2)), Some(user("Ann", "eu", 1)), None];
    assert_eq!(found, Ok(expected));
}
