//! Tables of all types and formats on a real cluster: what this client writes comes back equal, by
//! scans, by look-ups, and as a changelog that the server made of it.
//!
//! Left out, because the published server cannot: INDEXED values with an INDEXED changelog, CHAR
//! within an ARRAY or MAP where the server writes the Arrow.

use std::collections::BTreeMap;

use fluss_core::rng::Rng;
use fluss_core::row::{
    Column, DataType, Datum, Field, OwnedDatum, OwnedRow, Schema, TableDescriptor,
};
use fluss_core::testing::random::{self, Shape, same};
use fluss_core::{ChangeType, Fluss, Table};
use fluss_tools::cluster::{ClusterOptions, RealCluster, TableLosses, real_cluster_or_skip};
use fluss_tools::main_job::nothing_held;

const ROWS: i64 = 150;
/// Random schemas for each combination of formats, beside the one of all types.
const SCHEMAS: u64 = 2;
const DATABASE: &str = "formats";
static LOSSES: TableLosses = TableLosses::new();

/// Properties of a log table.
const LOGS: [&[(&str, &str)]; 6] = [
    &[("table.log.format", "ARROW"), (COMPRESSION, "NONE")],
    &[("table.log.format", "ARROW"), (COMPRESSION, "LZ4_FRAME")],
    &[("table.log.format", "ARROW"), (COMPRESSION, "ZSTD"), (LEVEL, "1")],
    &[(COMPRESSION, "ZSTD"), (LEVEL, "12")],
    &[("table.log.format", "INDEXED")],
    &[("table.log.format", "COMPACTED")],
];
/// Properties of a primary-key table.
const KEYED: [&[(&str, &str)]; 6] = [
    &[("table.kv.format", "COMPACTED"), (COMPRESSION, "NONE")],
    &[(COMPRESSION, "LZ4_FRAME")],
    &[("table.log.format", "ARROW"), (COMPRESSION, "ZSTD"), (LEVEL, "5")],
    &[("table.log.format", "COMPACTED")],
    &[("table.kv.format", "INDEXED"), ("table.log.format", "ARROW")],
    &[("table.kv.format", "INDEXED"), ("table.log.format", "COMPACTED")],
];
const COMPRESSION: &str = "table.log.arrow.compression.type";
const LEVEL: &str = "table.log.arrow.compression.zstd.level";

struct Bench {
    cluster: RealCluster,
    fluss: Fluss,
}

impl Bench {
    fn make(&self, name: &str, schema: Schema, properties: &[(&str, &str)]) -> Table {
        let mut descriptor = TableDescriptor::new(schema);
        descriptor.bucket_count = Some(2);
        for (key, value) in properties {
            descriptor.properties.insert((*key).to_owned(), (*value).to_owned());
        }
        let path = format!("{DATABASE}.{name}");
        let made = LOSSES.open(&self.cluster, &self.fluss, &path, &descriptor, None);
        made.expect("a table with leaders")
    }
}

/// `id`, then a column of each type there is, then one of 12 levels.
fn all_types(rng: &mut Rng, shape: Shape) -> Vec<Column> {
    const TYPES: &str = "BOOLEAN;TINYINT;SMALLINT;INT;BIGINT;FLOAT;DOUBLE;DECIMAL(18, 4);\
        DECIMAL(38, 10);STRING;BINARY(5);BYTES;DATE;TIME(0);TIME(3);TIME(9);TIMESTAMP(0);\
        TIMESTAMP(3);TIMESTAMP(6);TIMESTAMP(9);TIMESTAMP_LTZ(3);TIMESTAMP_LTZ(6);ARRAY<INT>;\
        ARRAY<STRING NOT NULL> NOT NULL;MAP<STRING, BIGINT>;ROW<a INT, b ROW<c STRING>>";
    let mut types: Vec<DataType> =
        TYPES.split(';').map(|text| text.trim().parse().expect("a type")).collect();
    if shape.char {
        types.push(DataType::char(6));
    }
    let deep = (0..12).fold(DataType::INT, |inner, level| match level % 3 {
        0 => DataType::array(inner),
        1 => DataType::map(DataType::STRING, inner),
        _ => DataType::row(vec![
            Field::new("v", inner),
            Field::new("n", Shape { depth: 0, ..shape }.data_type(rng)),
        ]),
    });
    types.push(deep);
    types.into_iter().enumerate().map(|(at, t)| Column::new(format!("c{at}"), t)).collect()
}

fn schema(rng: &mut Rng, number: u64, shape: Shape, keyed: bool) -> Schema {
    let columns = match number {
        0 => all_types(rng, shape),
        _ => shape.schema(rng).columns().to_vec(),
    };
    let id = Schema::builder().column("id", DataType::BIGINT.not_null());
    let builder = columns.into_iter().fold(id, |b, column| b.column(column.name, column.data_type));
    let builder = if keyed { builder.primary_key(["id"]) } else { builder };
    builder.build().expect("a schema")
}

fn row(rng: &mut Rng, schema: &Schema, id: i64) -> OwnedRow {
    let mut values = random::row(rng, schema).into_values();
    values[0] = OwnedDatum::Int64(id);
    OwnedRow::new(values)
}

fn assert_same(found: &OwnedRow, expected: &OwnedRow, what: &str) {
    assert_eq!(found.values().len(), expected.values().len(), "{what}");
    for (column, (found, expected)) in found.values().iter().zip(expected.values()).enumerate() {
        let equal = same(found.as_datum(), expected.as_datum());
        assert!(equal, "{what}: column {column}: {found:?} instead of {expected:?}");
    }
}

/// All records of a table by the value of `id`, each key's in their order.
fn scan(table: &Table) -> BTreeMap<i64, Vec<(ChangeType, OwnedRow)>> {
    let mut scanner = table.scanner().from_earliest().bounded().build().wait().expect("a scanner");
    let mut found: BTreeMap<i64, Vec<_>> = BTreeMap::new();
    while let Some(batch) = scanner.next_batch().wait().expect("a batch that decodes") {
        for view in batch.rows().expect("rows that decode").iter() {
            let values = 0..view.schema().columns().len();
            let row: OwnedRow =
                values.map(|at| OwnedDatum::from(view.value(at).expect("a column"))).collect();
            let id = row.datum(0).and_then(Datum::as_i64).expect("a key");
            found.entry(id).or_default().push((view.change_type(), row));
        }
    }
    found
}

fn check_log(table: &Table, rng: &mut Rng, what: &str) {
    let writer = table.appender().build().expect("a writer");
    let schema = table.info().schema().clone();
    let rows: Vec<OwnedRow> = (0..ROWS).map(|id| row(rng, &schema, id)).collect();
    for row in &rows {
        drop(writer.append(row).wait().unwrap_or_else(|error| panic!("{what}: {error}")));
    }
    writer.flush().wait().unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = scan(table);
    assert_eq!(found.len(), rows.len(), "{what}");
    for (row, (id, found)) in rows.iter().zip(found) {
        let [(ChangeType::Append, found)] = &found[..] else { panic!("{what}: {found:?}") };
        assert_same(found, row, &format!("{what}, row {id}"));
    }
}

fn check_keyed(table: &Table, rng: &mut Rng, what: &str) {
    let writer = table.upserter().build().expect("a writer");
    let schema = table.info().schema().clone();
    let mut expected: BTreeMap<i64, Vec<(ChangeType, OwnedRow)>> = BTreeMap::new();
    for id in 0..ROWS {
        let first = row(rng, &schema, id);
        drop(writer.upsert(&first).wait().unwrap_or_else(|error| panic!("{what}: {error}")));
        expected.entry(id).or_default().push((ChangeType::Insert, first));
    }
    writer.flush().wait().unwrap_or_else(|error| panic!("{what}: {error}"));
    for id in (0..ROWS).step_by(3) {
        let second = row(rng, &schema, id);
        drop(writer.upsert(&second).wait().expect("memory for a row"));
        let changes = expected.entry(id).or_default();
        let first = changes[0].1.clone();
        changes.push((ChangeType::UpdateBefore, first));
        changes.push((ChangeType::UpdateAfter, second));
    }
    for id in (0..ROWS).step_by(7) {
        drop(writer.delete(&fluss_core::row![id]).wait().expect("memory for a key"));
        let changes = expected.entry(id).or_default();
        let last = changes[changes.len() - 1].1.clone();
        changes.push((ChangeType::Delete, last));
    }
    writer.flush().wait().unwrap_or_else(|error| panic!("{what}: {error}"));

    let keys: Vec<_> = (0..ROWS).map(|id| fluss_core::row![id]).collect();
    let lookuper = table.lookuper().expect("a lookuper");
    let found = lookuper.lookup_all(&keys).wait().expect("answers that decode");
    for ((id, changes), found) in expected.iter().zip(found) {
        match (&changes[changes.len() - 1], found) {
            ((ChangeType::Delete, _), None) => {}
            ((_, last), Some(found)) => assert_same(&found, last, &format!("{what}, key {id}")),
            (last, found) => panic!("{what}, key {id}: {found:?} instead of {last:?}"),
        }
    }
    let found = scan(table);
    assert_eq!(found.len(), expected.len(), "{what}");
    for ((id, expected), found) in expected.iter().zip(found.values()) {
        let kinds = |changes: &[(ChangeType, OwnedRow)]| {
            changes.iter().map(|(change, _)| *change).collect::<Vec<_>>()
        };
        assert_eq!(kinds(found), kinds(expected), "{what}, changes of key {id}");
        for (found, expected) in found.iter().zip(expected) {
            assert_same(&found.1, &expected.1, &format!("{what}, {} of key {id}", found.0));
        }
    }
}

/// BINARY values with zero bytes at their end: whole wherever they are taken, and refused by
/// themselves where the server would give up on their batch.
fn check_ends_of_binary(bench: &Bench) {
    for (at, properties) in KEYED.iter().enumerate() {
        let what = format!("binary_{at}");
        let columns = vec![
            Column::new("id", DataType::BIGINT.not_null()),
            Column::new("b", DataType::binary(3)),
        ];
        let table = bench.make(&what, Schema::new(columns, vec![0]).with_field_ids(), properties);
        let writer = table.upserter().build().expect("a writer");
        let row = |id: i64, last: u8| {
            OwnedRow::new(vec![OwnedDatum::Int64(id), OwnedDatum::Bytes(vec![1, 0, last])])
        };
        drop(writer.upsert(&row(0, 1)).wait().expect("a row that fits"));
        let cut = writer.upsert(&row(1, 0)).wait().map(drop);
        let refused = properties.contains(&("table.kv.format", "INDEXED"))
            && properties.contains(&("table.log.format", "ARROW"));
        assert_eq!(cut.is_err(), refused, "{what} {properties:?}: {cut:?}");
        writer.flush().wait().unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut rows = vec![row(0, 1)];
        rows.extend((!refused).then(|| row(1, 0)));
        let keys: Vec<_> = (0..rows.len() as i64).map(|id| fluss_core::row![id]).collect();
        let lookuper = table.lookuper().expect("a lookuper");
        let found = lookuper.lookup_all(&keys).wait().expect("answers that decode");
        let changes = scan(&table);
        assert_eq!(changes.len(), rows.len(), "{what}");
        for ((row, found), changes) in rows.iter().zip(&found).zip(changes.values()) {
            assert_same(found.as_ref().expect("a row"), row, &what);
            assert_same(&changes[0].1, row, &what);
        }
    }
}

/// 200 columns, and texts of 1 MiB: the rows come back from a log and from a table with a key.
fn check_large(bench: &Bench) {
    let mut rng = Rng::new(4);
    let shape = Shape { nested_char: false, depth: 1, ..Shape::default() };
    let id = Column::new("id", DataType::BIGINT.not_null());
    let wide = (0..199).map(|at| Column::new(format!("c{at}"), shape.data_type(&mut rng)));
    let wide: Vec<Column> = [id.clone()].into_iter().chain(wide).collect();
    let long = vec![id, Column::new("text", DataType::STRING)];
    for (name, columns, rows) in [("wide", wide, 40), ("long", long, 6)] {
        for (kind, key, properties) in [
            ("arrow", vec![], LOGS[2]),
            ("compacted", vec![], LOGS[5]),
            ("pk", vec![0], KEYED[0]),
            ("pk_indexed", vec![0], KEYED[5]),
        ] {
            let keyed = !key.is_empty();
            let schema = Schema::new(columns.clone(), key).with_field_ids();
            let what = format!("{name}_{kind}");
            let table = bench.make(&what, schema.clone(), properties);
            let rows: Vec<OwnedRow> = (0..rows)
                .map(|id| match name {
                    "long" => OwnedRow::new(vec![
                        OwnedDatum::Int64(id),
                        OwnedDatum::Str(format!("{id}{}", "x".repeat(1 << 20))),
                    ]),
                    _ => row(&mut rng, &schema, id),
                })
                .collect();
            if keyed {
                let writer = table.upserter().build().expect("a writer");
                drop(writer.upsert_all(&rows).wait().expect("memory for the rows"));
                writer.flush().wait().unwrap_or_else(|error| panic!("{what}: {error}"));
                let keys: Vec<_> = (0..rows.len() as i64).map(|id| fluss_core::row![id]).collect();
                let lookuper = table.lookuper().expect("a lookuper");
                let found = lookuper.lookup_all(&keys).wait().expect("answers that decode");
                for (found, row) in found.iter().zip(&rows) {
                    assert_same(found.as_ref().expect("a row"), row, &what);
                }
            } else {
                let writer = table.appender().build().expect("a writer");
                drop(writer.append_all(&rows).wait().expect("memory for the rows"));
                writer.flush().wait().unwrap_or_else(|error| panic!("{what}: {error}"));
            }
            let found = scan(&table);
            assert_eq!(found.len(), rows.len(), "{what}");
            for (row, records) in rows.iter().zip(found.values()) {
                let [(_, found)] = &records[..] else { panic!("{what}: {records:?}") };
                assert_same(found, row, &what);
            }
        }
    }
}

#[test]
fn tables_of_all_types_and_formats_come_back_equal() {
    if !real_cluster_or_skip("tables_of_all_types_and_formats_come_back_equal") {
        return;
    }
    let cluster = RealCluster::start(ClusterOptions::default()).expect("a cluster");
    let fluss = fluss_embedded::connect(&cluster.bootstrap().join(",")).expect("a client");
    fluss.admin().create_database(DATABASE, true).wait().expect("a database");
    let bench = Bench { cluster, fluss };
    for number in 0..=SCHEMAS {
        for (at, properties) in LOGS.iter().enumerate() {
            let mut rng = Rng::new(number * 100 + at as u64);
            let schema = schema(&mut rng, number, Shape::default(), false);
            let what = format!("log table {at}, schema {number}, {properties:?}");
            let table = bench.make(&format!("log_{at}_{number}"), schema, properties);
            check_log(&table, &mut rng, &what);
        }
        for (at, properties) in KEYED.iter().enumerate() {
            let mut rng = Rng::new(number * 100 + 50 + at as u64);
            let arrow = !properties.contains(&("table.log.format", "COMPACTED"));
            let shape = Shape { nested_char: !arrow, ..Shape::default() };
            let schema = schema(&mut rng, number, shape, true);
            let what = format!("primary-key table {at}, schema {number}, {properties:?}");
            let table = bench.make(&format!("pk_{at}_{number}"), schema, properties);
            check_keyed(&table, &mut rng, &what);
        }
    }
    check_large(&bench);
    check_ends_of_binary(&bench);
    nothing_held(&bench.fluss);
    let tables = (SCHEMAS + 1) as usize * (LOGS.len() + KEYED.len());
    println!("{tables} tables of {ROWS} rows are equal; {} lost at creation", LOSSES.lost());
}
