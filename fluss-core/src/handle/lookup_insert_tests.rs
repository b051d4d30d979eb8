use std::collections::{BTreeMap, BTreeSet};

use super::super::testkit::Stage;
use super::tests::{open, put, users};
use crate::error::Error;
use crate::rng::Rng;
use crate::row::{DataType, Datum, OwnedRow, Schema, TableDescriptor};
use crate::testing::cluster::{ClusterOptions, Fault, Faults, LogRow, On};
use crate::time::Duration;
use crate::{ChangeType, ErrorCode, Table};

const LOOKUP: i16 = 1017;

/// A table whose server makes the values of `number`.
fn numbered(stage: &mut Stage, buckets: u32, number: DataType) -> Table {
    let schema = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("number", number)
        .column("name", DataType::STRING)
        .primary_key(["id"])
        .auto_increment("number")
        .build()
        .expect("a sound schema");
    let mut table = TableDescriptor::new(schema);
    table.bucket_count = Some(buckets);
    open(stage, &table)
}

fn number(row: &OwnedRow) -> i64 {
    row.datum(1).and_then(Datum::as_i64).expect("the server makes a number")
}

#[test]
fn the_server_numbers_new_rows_and_keeps_the_numbers_of_those_that_there_are() {
    for of in [DataType::INT, DataType::BIGINT] {
        let mut stage = Stage::new();
        let table = numbered(&mut stage, 2, of);
        assert!(table.upserter().build().is_err(), "the server makes the numbers");
        let writer = table.upserter().columns(["id", "name"]).build().expect("a writer");
        let lookuper = table.lookuper().expect("a primary-key table");
        for (id, name) in [(1_i64, "Ann"), (2, "Bob"), (1, "Eve")] {
            let ticket = writer.try_upsert(&(id, name)).expect("room");
            let flush = writer.flush();
            stage.run(flush).expect("written");
            stage.run(ticket).expect("written");
        }
        let mut numbers = BTreeMap::new();
        for id in 1..40_i64 {
            let row = stage.run(lookuper.lookup_or_insert(&(id,))).expect("a row").expect("a row");
            assert_eq!(row.datum(0).and_then(Datum::as_i64), Some(id));
            let name = [None, Some("Eve"), Some("Bob")].get(id as usize).copied().flatten();
            assert_eq!(row.datum(2).and_then(Datum::as_str), name, "{id}");
            let again = stage.run(lookuper.lookup_or_insert(&(id,)));
            assert_eq!(again, Ok(Some(row.clone())), "{id} is there now");
            assert_eq!(stage.run(lookuper.lookup(&(id,))), Ok(Some(row.clone())));
            numbers.insert(id, number(&row));
        }
        let different: BTreeSet<i64> = numbers.values().copied().collect();
        assert_eq!(different.len(), numbers.len(), "{numbers:?}");
        assert_eq!(different.first(), Some(&1));
        assert!(different.contains(&100_001), "each bucket draws a block of its own: {numbers:?}");
    }
}

#[test]
fn one_missing_key_that_is_looked_up_twice_at_once_is_inserted_once() {
    let mut stage = Stage::new();
    let table = numbered(&mut stage, 1, DataType::BIGINT);
    let lookuper = table.lookuper().expect("a primary-key table");
    let asked: Vec<_> = [5_i64, 5, 6, 5].map(|id| lookuper.lookup_or_insert(&(id,))).into();
    let rows: Vec<OwnedRow> =
        asked.into_iter().map(|row| stage.run(row).expect("a row").expect("a row")).collect();
    assert_eq!(rows[0], rows[1]);
    assert_eq!(rows[0], rows[3]);
    let changes = stage.cluster(|c| c.rows(table.info().bucket(0))).expect("rows");
    assert_eq!(changes.len(), 2, "{changes:?}");
}

/// Where a lookup is answered, its row is there for good, and with that number, however often the
/// client had to ask and whatever became of the servers.
#[test]
fn rows_that_lookups_insert_through_faults_have_one_number_for_ever() {
    let (mut inserted, mut failed) = (0, 0);
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let options = ClusterOptions {
            replication_delay: Duration::from_millis([0, 5, 50][(seed % 3) as usize]),
            ..ClusterOptions::default()
        };
        let mut stage = Stage::with(options);
        let table = numbered(&mut stage, 3, DataType::BIGINT);
        let lookuper = table.lookuper().expect("a primary-key table");
        let mut known: BTreeMap<i64, OwnedRow> = BTreeMap::new();
        let faults = Faults::new(seed)
            .one_in(6, On::Api(LOOKUP), Fault::LoseAnswer)
            .one_in(8, On::Api(LOOKUP), Fault::ErrorAfter(12))
            .one_in(40, On::Api(LOOKUP), Fault::ErrorAfter(-1))
            .one_in(8, On::Api(LOOKUP), Fault::ErrorBefore(12))
            .one_in(8, On::Api(LOOKUP), Fault::MoveLeader)
            .one_in(8, On::Api(LOOKUP), Fault::MoveLeaderAfter)
            .one_in(20, On::Any, Fault::CutAnswer)
            .one_in(30, On::Any, Fault::RestartUnclean);
        stage.cluster(|cluster| cluster.set_faults(faults));
        for _ in 0..40 {
            let ids: Vec<i64> = (0..1 + rng.below(5)).map(|_| rng.below(30) as i64).collect();
            let asked: Vec<_> = ids.iter().map(|id| lookuper.lookup_or_insert(&(*id,))).collect();
            for (id, row) in ids.into_iter().zip(asked) {
                let Ok(row) = stage.run(row) else {
                    failed += 1;
                    continue;
                };
                let row = row.unwrap_or_else(|| panic!("seed {seed}: {id} is not there"));
                let before = known.entry(id).or_insert_with(|| row.clone());
                assert_eq!(*before, row, "seed {seed}: {id} has changed");
            }
        }
        stage.cluster(|cluster| cluster.set_faults(Faults::new(0)));
        let numbers: BTreeSet<i64> = known.values().map(number).collect();
        assert_eq!(numbers.len(), known.len(), "seed {seed}: a number twice: {known:?}");
        for (id, row) in &known {
            let found = stage.run(lookuper.lookup(&(*id,)));
            assert_eq!(found.as_ref(), Ok(&Some(row.clone())), "seed {seed}");
        }
        let logs = (0..3).map(|bucket| table.info().bucket(bucket));
        let changes: Vec<LogRow> =
            logs.flat_map(|key| stage.cluster(|c| c.rows(key)).expect("rows")).collect();
        let made = changes.iter().filter(|change| change.change == ChangeType::Insert);
        let made: Vec<i64> =
            made.filter_map(|change| change.values.datum(0).and_then(Datum::as_i64)).collect();
        let different: BTreeSet<&i64> = made.iter().collect();
        assert_eq!(different.len(), made.len(), "seed {seed}: inserted twice: {made:?}");
        inserted += made.len();
    }
    assert!(inserted > 1000 && failed < 600, "{inserted} inserted, {failed} failed");
}

#[test]
fn a_missing_row_is_not_asked_for_where_the_server_could_not_fill_it() {
    let mut stage = Stage::new();
    let schema = Schema::builder()
        .column("id", DataType::INT.not_null())
        .column("name", DataType::STRING.not_null())
        .primary_key(["id"])
        .build()
        .expect("a sound schema");
    let table = open(&mut stage, &TableDescriptor::new(schema));
    let lookuper = table.lookuper().expect("a primary-key table");
    let wrong = stage.run(lookuper.lookup_or_insert(&(5,)));
    assert!(matches!(&wrong, Err(Error::Misuse(text)) if text.contains("`name`")), "{wrong:?}");
    assert_eq!(stage.run(lookuper.lookup(&(5,))), Ok(None));
}

#[test]
fn the_code_of_a_refused_insert_is_kept() {
    let mut stage = Stage::new();
    let table = open(&mut stage, &users());
    put(&mut stage, &table, &[("Ann", "eu", 1)]);
    let lookuper = table.lookuper().expect("a primary-key table");
    stage.cluster(|c| c.inject(On::Api(LOOKUP), 0, Fault::ErrorBefore(48)));
    let refused = stage.run(lookuper.lookup_or_insert(&("eu", 5_i64))).expect_err("refused");
    assert_eq!(refused.code(), Some(ErrorCode(48)), "{refused}");
}

#[test]
fn a_missing_row_is_not_asked_for_where_the_merge_engine_takes_whole_rows_only() {
    for engine in ["first_row", "VERSIONED"] {
        let mut stage = Stage::new();
        let mut table = users();
        table.properties.insert("table.merge-engine".into(), engine.into());
        let version = "table.merge-engine.versioned.ver-column";
        table.properties.insert(version.into(), "id".into());
        let table = open(&mut stage, &table);
        let lookuper = table.lookuper().expect("a primary-key table");
        let wrong = stage.run(lookuper.lookup_or_insert(&("eu", 5_i64)));
        assert!(matches!(&wrong, Err(Error::Misuse(text)) if text.contains(engine)), "{wrong:?}");
    }
}
