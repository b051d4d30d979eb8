//! Where rows go on a real cluster: tables whose keys follow a data lake, rows that an assigner of
//! the user's places, two hundred partitions that the rows themselves create.
//!
//! `hudi` is left out: the published server does not know it.

use std::collections::{BTreeMap, BTreeSet};

use fluss_embedded::config::Config;
use fluss_embedded::row::hash::BucketFunction;
use fluss_embedded::row::key::{KeyEncoder, KeyRules};
use fluss_embedded::row::{DataType, Schema, SchemaBuilder, TableDescriptor};
use fluss_embedded::{Fluss, Result, RowToAssign, Table, row};
use fluss_tools::cluster::{ClusterOptions, RealCluster, TableLosses, real_cluster_or_skip};
use fluss_tools::main_job::nothing_held;

const BUCKETS: u32 = 3;
const ROWS: i32 = 120;
const PARTITIONS: i32 = 200;
static LOSSES: TableLosses = TableLosses::new();

fn config(cluster: &RealCluster) -> Config {
    let seed = fluss_embedded::random_seed();
    Config::new(&cluster.bootstrap().join(",")).expect("addresses").seed(seed)
}

type Start<'a> = &'a dyn Fn(Config) -> Result<Fluss>;

struct Bench<'a> {
    cluster: &'a RealCluster,
    fluss: Fluss,
    runtime: &'a str,
}

impl Bench<'_> {
    fn make(&self, name: &str, table: &TableDescriptor, partition: Option<(&str, &str)>) -> Table {
        let path = format!("fluss.{}_{name}", self.runtime);
        let made = LOSSES.open(self.cluster, &self.fluss, &path, table, partition);
        made.expect("a table with leaders")
    }
}

/// `a INT, b STRING, n BIGINT`
fn columns() -> SchemaBuilder {
    Schema::builder()
        .column("a", DataType::INT.not_null())
        .column("b", DataType::STRING.not_null())
        .column("n", DataType::BIGINT)
}

fn descriptor(schema: SchemaBuilder, bucket_key: &[usize], lake: Option<&str>) -> TableDescriptor {
    let mut table = TableDescriptor::new(schema.build().expect("a schema"));
    table.bucket_key = bucket_key.to_vec();
    table.bucket_count = Some(BUCKETS);
    if let Some(lake) = lake {
        table.properties.insert("table.datalake.format".to_owned(), lake.to_owned());
    }
    table
}

fn text(a: i32) -> String {
    format!("the text of number {a}")
}

/// Where a row with this `a` belongs by the table's own rule.
fn expected(table: &Table, a: i32) -> i32 {
    let rules = KeyRules::of(&table.info().descriptor).expect("known properties");
    let encoder = KeyEncoder::for_values(table.info().schema(), &[0], &[0]);
    let encoder = encoder.and_then(|encoder| encoder.with_format(rules.bucket_key));
    let mut key = Vec::new();
    encoder.expect("a key of one INT").encode(&(a,), &mut key).expect("it fits");
    rules.function.bucket_of(&key, BUCKETS).expect("a bucket") as i32
}

/// The buckets in which a scan finds rows, by their `a`.
fn scanned(table: &Table) -> BTreeMap<i32, BTreeSet<i32>> {
    let mut scanner = table.scanner().from_earliest().bounded().build().wait().expect("a scanner");
    let mut found: BTreeMap<i32, BTreeSet<i32>> = BTreeMap::new();
    for batch in scanner.blocking_iter() {
        let batch = batch.expect("a batch that decodes");
        for row in batch.rows().expect("rows that decode").iter() {
            let a = row.value(0).expect("a column").as_i64().expect("a number") as i32;
            found.entry(a).or_default().insert(batch.bucket().bucket);
        }
    }
    found
}

fn lake_log(bench: &Bench<'_>, lake: &str) {
    let table = bench.make(&format!("log_{lake}"), &descriptor(columns(), &[0], Some(lake)), None);
    let writer = table.appender().build().expect("a writer");
    let rows = (0..ROWS).map(|a| (a, text(a), i64::from(a)));
    let ticket = writer.append_all(rows).wait().expect("they fit");
    writer.flush().wait().expect("written");
    assert!(ticket.wait().iter().all(|part| part.outcome.is_ok()));
    let found = scanned(&table);
    let wanted = (0..ROWS).map(|a| (a, BTreeSet::from([expected(&table, a)]))).collect();
    assert_eq!(found, wanted, "{lake}");
}

fn lake_keyed(bench: &Bench<'_>, lake: &str, key: &[&str], bucket_key: &[usize]) {
    let name = format!("kv_{lake}_{}", key.len());
    let schema = columns().primary_key(key.to_vec());
    let table = bench.make(&name, &descriptor(schema, bucket_key, Some(lake)), None);
    // The server adds the version of the key's format.
    let version = table.info().descriptor.properties.get("table.kv.format-version");
    assert_eq!(version.map(String::as_str), Some("2"), "{name}");
    let writer = table.upserter().build().expect("a writer");
    for a in 0..ROWS {
        drop(writer.upsert(&(a, text(a), i64::from(a))).wait().expect("it fits"));
    }
    for a in 0..ROWS / 2 {
        let deleted = match key.len() {
            1 => writer.delete(&(a,)).wait(),
            _ => writer.delete(&(a, text(a))).wait(),
        };
        drop(deleted.expect("it fits"));
    }
    writer.flush().wait().expect("written");
    let lookuper = table.lookuper().expect("a primary-key table");
    for a in 0..ROWS {
        let found = match key.len() {
            1 => lookuper.lookup(&(a,)).wait(),
            _ => lookuper.lookup(&(a, text(a))).wait(),
        };
        assert_eq!(found.expect("an answer").is_some(), a >= ROWS / 2, "{name}: {a}");
        if key.len() > 1 {
            let found = lookuper.lookup_prefix(&(a,)).wait().expect("an answer");
            assert_eq!(found.len(), usize::from(a >= ROWS / 2), "{name}: {a}");
        }
    }
    let found = scanned(&table);
    let wanted = (0..ROWS).map(|a| (a, BTreeSet::from([expected(&table, a)]))).collect();
    assert_eq!(found, wanted, "{name}");
}

fn assigned(bench: &Bench<'_>) {
    let table = bench.make("assigned", &descriptor(columns(), &[0], None), None);
    let last = |row: &RowToAssign<'_>| u32::from(row.key[0]) % (row.buckets + 1);
    let writer = table.appender().bucket_assigner(last).build().expect("a writer");
    for a in 0..30_i32 {
        let wrong = a % 4 == 3;
        match writer.append(&(a, text(a), 0_i64)).wait() {
            Ok(ticket) => {
                assert!(!wrong, "{a}");
                assert_eq!(ticket.wait().expect("written").bucket, a % 4);
            }
            Err(error) => assert!(wrong && error.to_string().contains("bucket 3"), "{error}"),
        }
    }
}

#[test]
fn rows_of_lake_tables_and_of_assigners_are_found_where_they_belong_on_every_runtime() {
    let name = "rows_of_lake_tables_and_of_assigners_are_found_where_they_belong_on_every_runtime";
    if !real_cluster_or_skip(name) {
        return;
    }
    let cluster = RealCluster::start(ClusterOptions::default()).expect("a cluster");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let starts: [(&str, Start<'_>); 3] = [
        ("tokio", &|config| runtime.block_on(fluss_tokio::start(config))),
        ("smol", &|config| smol::block_on(fluss_smol::start(config))),
        ("embedded", &fluss_embedded::start),
    ];
    for (runtime, start) in starts {
        let fluss = start(config(&cluster)).expect("a client");
        let bench = Bench { cluster: &cluster, fluss, runtime };
        for lake in ["paimon", "iceberg", "lance"] {
            lake_log(&bench, lake);
            lake_keyed(&bench, lake, &["a"], &[]);
            lake_keyed(&bench, lake, &["a", "b"], &[0]);
        }
        assigned(&bench);
        nothing_held(&bench.fluss);
    }
}

#[test]
fn two_hundred_partitions_are_created_by_their_rows_and_each_row_is_in_its_bucket() {
    let name = "two_hundred_partitions_are_created_by_their_rows_and_each_row_is_in_its_bucket";
    if !real_cluster_or_skip(name) {
        return;
    }
    let cluster = RealCluster::start(ClusterOptions::default()).expect("a cluster");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let fluss = runtime.block_on(fluss_tokio::start(config(&cluster))).expect("a client");
    let schema = Schema::builder()
        .column("region", DataType::INT.not_null())
        .column("id", DataType::BIGINT.not_null());
    let mut table = descriptor(schema, &[1], None);
    table.partition_key = vec![0];
    table.bucket_count = Some(2);
    let bench = Bench { cluster: &cluster, fluss, runtime: "tokio" };
    let table = bench.make("regions", &table, Some(("region", "0")));
    let writer = table.appender().build().expect("a writer");
    let rows = (0..10_i64).flat_map(|id| (0..PARTITIONS).map(move |region| row![region, id]));
    let ticket = writer.append_all(rows).wait().expect("they fit");
    writer.flush().wait().expect("written");
    for part in ticket.wait() {
        assert!(part.outcome.is_ok(), "{part:?}");
    }
    nothing_held(&bench.fluss);
    let path = table.info().path.to_string();
    let listed = bench.fluss.admin().list_partitions(&path).wait().expect("a list");
    assert_eq!(listed.len(), PARTITIONS as usize);
    let names: BTreeMap<_, i32> =
        listed.into_iter().map(|p| (Some(p.id), p.name.parse().expect("a number"))).collect();
    let mut scanner = table.scanner().from_earliest().bounded().build().wait().expect("a scanner");
    let mut found = BTreeSet::new();
    for batch in scanner.blocking_iter() {
        let batch = batch.expect("a batch that decodes");
        let at = batch.bucket();
        for row in batch.rows().expect("rows that decode").iter() {
            let number = |column| row.value(column).expect("a column").as_i64().expect("a number");
            let (region, id) = (number(0), number(1));
            assert_eq!(i64::from(names[&at.partition]), region, "row {id}");
            let bucket = BucketFunction::Fluss.bucket_of(&[id as u8], 2);
            assert_eq!(bucket, Some(at.bucket as u32), "row {id} of {region}");
            assert!(found.insert((region, id)), "row {id} of {region} is there twice");
        }
    }
    assert_eq!(found.len(), 10 * PARTITIONS as usize);
}
