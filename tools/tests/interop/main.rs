//! Tables of a real cluster that this client and the published Java client write together: each
//! reads what the other wrote, and puts rows where the other looks for them.
//!
//! Every table is random: its columns, its rows, which client writes first. Formats, compression,
//! keys and partitions go through all combinations; [`plan`] tells which and what is left out.
//!
//! Both clients read all columns of each table, then one alone and then some in a random order.
//! This one reads them as rows and as Arrow, once as the server leaves columns out, where it does,
//! and once choosing them by itself. Each record has to be equal in bucket, offset, change type and
//! values to what was written and to what the other client reads.
//!
//! | variable | meaning |
//! |---|---|
//! | `FLUSS_INTEROP_TABLES` | how many tables, 66 unless told |
//! | `FLUSS_INTEROP_SEED` | the first seed, 1 unless told |

mod arrow;
mod compare;
mod java;
mod plan;
mod read;
mod runtime;
mod text;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Instant;

use compare::{Expected, Record};
use fluss_core::batch::record_batch;
use fluss_core::ids::PartitionId;
use fluss_core::rng::Rng;
use fluss_core::row::{DataType, OwnedRow, Schema, TableDescriptor};
use fluss_core::{Error, Fluss, Table, row};
use fluss_tools::cluster::{ClusterOptions, RealCluster, TableLosses, real_cluster_or_skip};
use fluss_tools::main_job::nothing_held;
use java::Java;
use plan::Plan;
use read::Columns;
use runtime::Runtime;

const DATABASE: &str = "interop";
/// Rows of a table. Two thirds of them are written again or deleted where there is a key.
const ROWS: i64 = 100;
static LOSSES: TableLosses = TableLosses::new();

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is a number")),
        Err(_) => default,
    }
}

/// A change of a row, as in `+A`.
type Change = (&'static str, OwnedRow);

/// A verb and the rows that it touches.
type Step = (&'static str, fn(i64) -> bool);

/// A table with both clients.
struct Bench<'a> {
    plan: &'a Plan,
    name: String,
    fluss: &'a Fluss,
    runtime: &'a Runtime,
    java: &'a mut Java,
    /// Whether Java goes first.
    java_first: bool,
    /// Records that some columns were read of, by either client.
    records_of_some: usize,
}

/// Makes the table and its partitions, some through Java; answers its name.
fn make(
    cluster: &RealCluster,
    fluss: &Fluss,
    java: &mut Java,
    plan: &Plan,
    by_java: bool,
) -> String {
    let partition = |name: &str, values: &[plan::Value], java: Option<&mut Java>| {
        let columns = plan.descriptor.schema.columns();
        let pairs: Vec<(&str, &str)> = values
            .iter()
            .map(|(column, _, text)| (columns[*column].name.as_str(), *text))
            .collect();
        match java {
            None => {
                fluss.admin().create_partition(&format!("{DATABASE}.{name}"), &pairs, false).wait()
            }
            Some(java) => {
                let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
                java.ok(&format!("partition {DATABASE} {name} {}", pairs.join(",")));
                Ok(())
            }
        }
    };
    let others = Cell::new(false);
    let java = std::cell::RefCell::new(java);
    let create = |name: &str| {
        others.set(false);
        if by_java {
            let json = plan.descriptor.to_json();
            java.borrow_mut().ok(&format!("create {DATABASE} {name} {json}"));
        } else {
            let path = format!("{DATABASE}.{name}");
            fluss.admin().create_table(&path, &plan.descriptor, false).wait()?;
        }
        if let Some(first) = plan.partitions.first() {
            // Where the server lost the table this fails, and its leaders never come.
            let _lost = partition(name, first, None);
        }
        Ok(())
    };
    let led = |name: &str, (): &()| {
        let led = |partition: Option<String>| {
            cluster.has_leaders(DATABASE, name, partition.as_deref()).unwrap_or(false)
        };
        let Some(first) = plan.partitions.first() else { return Ok(led(None)) };
        if !led(Some(plan::name_of(first))) {
            return Ok(false);
        }
        for (at, values) in (1..).zip(&plan.partitions[1..]) {
            if !others.get() {
                partition(name, values, (at % 2 == 1).then_some(*java.borrow_mut()))?;
            }
        }
        others.set(true);
        Ok::<bool, Error>(plan.partitions.iter().all(|values| led(Some(plan::name_of(values)))))
    };
    LOSSES.make(cluster, &plan.name, create, led).expect("a table with leaders").0
}

impl Bench<'_> {
    fn table(&self) -> Table {
        let path = format!("{DATABASE}.{}", self.name);
        self.runtime.pending(self.fluss.table(&path)).expect("a table")
    }

    fn expected(&self, changes: &BTreeMap<i64, Vec<Change>>, sorted: bool) -> Expected {
        let keyed = !self.plan.descriptor.effective_bucket_key().is_empty();
        let text = |(change, row): &Change| (*change, text::row(row, sorted));
        let changes = changes.iter().map(|(id, list)| {
            let list = list.iter().map(text).collect();
            (id.to_string(), (self.plan.partition_name(*id), list))
        });
        Expected { changes: changes.collect(), id: self.plan.id, keyed }
    }

    /// The partitions of the table.
    fn partitions(&self) -> BTreeMap<PartitionId, String> {
        let mut names: BTreeMap<PartitionId, String> = BTreeMap::new();
        if !self.plan.partitions.is_empty() {
            let path = format!("{DATABASE}.{}", self.name);
            let list = self.runtime.pending(self.fluss.admin().list_partitions(&path));
            names.extend(list.expect("a list").into_iter().map(|p| (p.id, p.name.to_string())));
            assert_eq!(names.len(), self.plan.partitions.len(), "nobody made others: {names:?}");
        }
        names
    }

    /// Both clients read the table; both have to find this. Then they read some of its columns,
    /// and have to find those of what they found.
    fn check(
        &mut self,
        rng: &mut Rng,
        table: &Table,
        changes: &BTreeMap<i64, Vec<Change>>,
    ) -> Vec<Record> {
        let names = self.partitions();
        let ours = read::read(self.runtime, table, &names, None);
        let javas = self.java.scan();
        let name = self.name.clone();
        let must = |who: &str, found: Result<(), String>| {
            found.unwrap_or_else(|why| panic!("{who} of {name}: {why}"));
        };
        must("this client's scan", compare::records(&ours.rows, &self.expected(changes, false)));
        must("Java's scan", compare::records(&javas, &self.expected(changes, true)));
        must("this client's and Java's scan", compare::equal(&ours.sorted, &javas));
        must("this client's and Java's scan, as Arrow", compare::equal(&ours.arrow, &javas));
        for places in self.plan.projections(rng) {
            let by_name = rng.one_in(2);
            let whole = read::choose(&javas, &places);
            let javas = self.java.scan_columns(&places, by_name);
            let must = |who: &str, found| must(&format!("{who}, columns {places:?}"), found);
            must("Java's scans", compare::equal(&javas, &whole));
            for here in [false, true] {
                let columns = Columns { places: places.clone(), here };
                let some = read::read(self.runtime, table, &names, Some(&columns));
                let must = |who: &str, found| must(&format!("{who}, chosen here: {here}"), found);
                must("this client's and Java's scan", compare::equal(&some.sorted, &javas));
                must("the same as Arrow", compare::equal(&some.arrow, &javas));
                let whole = read::choose(&ours.rows, &places);
                must("this client's scans", compare::equal(&some.rows, &whole));
                self.records_of_some += some.rows.len();
            }
            self.records_of_some += javas.len();
        }
        ours.rows
    }

    /// Both clients append the same rows. With a bucket key both have to put them into the same
    /// bucket, with partitions into the same partition.
    fn log(&mut self, rng: &mut Rng) {
        let table = self.table();
        let rows: Vec<OwnedRow> = (0..ROWS).map(|id| self.plan.row(rng, id)).collect();
        let as_batch = self.plan.rules.arrow && rng.one_in(2);
        for javas in [self.java_first, !self.java_first] {
            let writer = table.appender().build().expect("a writer");
            if javas {
                let texts = texts(&rows);
                self.java.write("append", &texts);
            } else if as_batch {
                let batch = record_batch(table.info().schema(), &rows).expect("the rows fit");
                self.runtime.append_batch(&writer, &batch);
            } else {
                self.runtime.append(&writer, &rows);
            }
        }
        let twice = |(id, row): (i64, &OwnedRow)| (id, vec![("+A", row.clone()); 2]);
        let records = self.check(rng, &table, &(0..).zip(&rows).map(twice).collect());
        compare::order(&records, self.plan.id).unwrap_or_else(|why| panic!("{why}"));
    }

    /// Both clients upsert, update and delete, each also what the other wrote, and look everything
    /// up. A key that one of them puts elsewhere shows as a row that lacks, or is there twice.
    fn keyed(&mut self, rng: &mut Rng) {
        let table = self.table();
        let writer = table.upserter().build().expect("a writer");
        let mut rows: BTreeMap<i64, OwnedRow> = BTreeMap::new();
        let mut gone: Vec<OwnedRow> = Vec::new();
        let mut changes: BTreeMap<i64, Vec<Change>> = BTreeMap::new();
        let mut turn = self.java_first;
        // Each step is one client's; no row is touched twice in one.
        let steps: [Step; 6] = [
            ("upsert", |id| id % 2 == 0),
            ("upsert", |id| id % 2 == 1),
            ("upsert", |id| id % 3 == 1),
            ("upsert", |id| id % 5 == 2),
            ("delete", |id| id % 7 == 3),
            ("delete", |id| id % 7 == 4),
        ];
        for (verb, touches) in steps {
            let mut step = Vec::new();
            for id in (0..ROWS).filter(|id| touches(*id)) {
                let list = changes.entry(id).or_default();
                let before = rows.remove(&id);
                let change = if verb == "upsert" { "-U" } else { "-D" };
                list.extend(before.iter().map(|row| (change, row.clone())));
                if verb == "delete" {
                    gone.extend(before.iter().map(|row| self.plan.key(row)));
                    step.extend(before);
                    continue;
                }
                let row = match &before {
                    Some(row) => self.plan.again(rng, row, id),
                    None => self.plan.row(rng, id),
                };
                list.push((if before.is_some() { "+U" } else { "+I" }, row.clone()));
                step.push(row.clone());
                rows.insert(id, row);
            }
            if turn {
                let texts = texts(&step);
                self.java.write(verb, &texts);
            } else if verb == "delete" {
                let keys: Vec<OwnedRow> = step.iter().map(|row| self.plan.key(row)).collect();
                self.runtime.delete(&writer, &keys);
            } else {
                self.runtime.upsert(&writer, &step);
            }
            turn = !turn;
        }
        gone.extend((ROWS..ROWS + 6).map(|id| self.plan.key(&self.plan.row(rng, id))));
        let mut keys: Vec<(OwnedRow, Option<OwnedRow>)> =
            rows.into_values().map(|row| (self.plan.key(&row), Some(row))).collect();
        keys.extend(gone.into_iter().map(|key| (key, None)));
        self.look_up(&table, &keys);
        self.check(rng, &table, &changes);
    }

    fn look_up(&mut self, table: &Table, keys: &[(OwnedRow, Option<OwnedRow>)]) {
        let lookuper = table.lookuper().expect("a lookuper");
        let rows = keys.iter().map(|(key, _)| key);
        let ours = self.runtime.pending(lookuper.lookup_all(rows)).expect("answers that decode");
        let texts: Vec<String> = keys.iter().map(|(key, _)| text::row(key, false)).collect();
        let javas = self.java.lookup(&texts);
        for (((key, expected), ours), javas) in keys.iter().zip(ours).zip(javas) {
            let expected = expected.as_ref().map(|row| text::row(row, false));
            let ours = ours.as_ref().map(|row| text::row(row, false));
            for (who, found) in [("this client", ours), ("Java", javas)] {
                let why = match (&found, &expected) {
                    (Some(found), Some(expected)) => compare::rows(found, expected).err(),
                    (None, None) => None,
                    _ => Some(format!("{found:?} instead of {expected:?}")),
                };
                assert_eq!(why, None, "{who} looked {key:?} up");
            }
        }
    }
}

/// Whether the server takes tables whose batches tell statistics of their columns. The published
/// one does not know the property; from a newer one the rows have to come back.
fn statistics(fluss: &Fluss) {
    let path = format!("{DATABASE}.statistics");
    let schema = Schema::builder().column("a", DataType::INT).column("b", DataType::STRING);
    let mut descriptor = TableDescriptor::new(schema.build().expect("a schema"));
    descriptor.properties.insert("table.statistics.columns".to_owned(), "*".to_owned());
    match fluss.admin().create_table(&path, &descriptor, false).wait() {
        Err(error) => {
            println!("statistics: {error}");
            assert!(error.to_string().contains("table.statistics.columns"), "{error}");
            assert_eq!(error.code().map(|code| code.0), Some(39), "{error}");
        }
        Ok(()) => {
            let table = fluss.table(&path).wait().expect("a table");
            let writer = table.appender().build().expect("a writer");
            for a in 0..10 {
                drop(writer.append(&row![a, "text"]).wait().expect("memory for a row"));
            }
            writer.flush().wait().expect("a server that takes batches of version 1");
            let building = table.scanner().from_earliest().bounded().build();
            let mut scanner = building.wait().expect("a scanner");
            let batches = scanner.blocking_iter().map(|batch| batch.expect("a batch").num_rows());
            assert_eq!(batches.sum::<usize>(), 10);
        }
    }
}

fn texts(rows: &[OwnedRow]) -> Vec<String> {
    rows.iter().map(|row| text::row(row, false)).collect()
}

#[test]
fn tables_that_both_clients_write_are_equal_for_both() {
    if !real_cluster_or_skip("tables_that_both_clients_write_are_equal_for_both") {
        return;
    }
    let begin = Instant::now();
    let tables = number("FLUSS_INTEROP_TABLES", 66);
    let first = number("FLUSS_INTEROP_SEED", 1);
    let cluster = RealCluster::start(ClusterOptions::default()).expect("a cluster");
    let runtimes = Runtime::all();
    let clients = runtimes.each_ref().map(|runtime| runtime.connect(&cluster.bootstrap()));
    clients[2].admin().create_database(DATABASE, true).wait().expect("a database");
    statistics(&clients[2]);
    let mut java = Java::start(&cluster);
    let plans: Vec<(u64, Rng, Plan)> = (0..tables)
        .map(|at| {
            let mut rng = Rng::new(first.wrapping_mul(1_000_003).wrapping_add(at));
            let plan = Plan::new(at, &mut rng);
            (at, rng, plan)
        })
        .collect();
    let mut names = Vec::new();
    for (at, _, plan) in &plans {
        println!("making table {at} of seed {first}: {}", plan.descriptor.to_json());
        names.push(make(&cluster, &clients[2], &mut java, plan, at % 6 == 3));
    }
    let (made, mut some) = (begin.elapsed(), 0);
    for ((at, mut rng, plan), name) in plans.into_iter().zip(names) {
        let client = at as usize % runtimes.len();
        let (fluss, runtime) = (&clients[client], &runtimes[client]);
        println!("table {at} of seed {first}, {name}, on {}", runtime.name());
        java.ok(&format!("open {DATABASE} {name}"));
        let java = &mut java;
        let java_first = rng.one_in(2);
        let mut bench =
            Bench { plan: &plan, name, fluss, runtime, java, java_first, records_of_some: 0 };
        match plan.descriptor.schema.primary_key() {
            [] => bench.log(&mut rng),
            _ => bench.keyed(&mut rng),
        }
        some += bench.records_of_some;
    }
    java.end();
    clients.iter().for_each(nothing_held);
    let (all, lost) = (begin.elapsed().as_secs(), LOSSES.lost());
    println!(
        "{tables} tables of seed {first} in {all} s, {lost} lost; made in {} s; of {some} records \
         only some columns were read",
        made.as_secs()
    );
}
