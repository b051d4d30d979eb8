//! Rows that are large in one way: 200 columns, 10 levels, texts of 1 MiB.

use super::testkit::Stage;
use crate::config::{NoKeyAssigner, WriterConfig};
use crate::rng::Rng;
use crate::row::{Column, DataType, Field, OwnedDatum, OwnedRow, Schema, TableDescriptor};
use crate::testing::cluster::ClusterOptions;
use crate::testing::random::{self, Shape, same};

const ROWS: i64 = 6;

/// Ten levels of ARRAY, MAP and ROW.
fn deep() -> DataType {
    (0..10).fold(DataType::STRING, |inner, level| match level % 3 {
        0 => DataType::array(inner),
        1 => DataType::map(DataType::STRING, inner),
        _ => DataType::row(vec![Field::new("v", inner), Field::new("n", DataType::BIGINT)]),
    })
}

/// The columns besides the key, and rows of them.
fn large(what: &str) -> (Schema, Vec<OwnedRow>) {
    let mut rng = Rng::new(1);
    let types: Vec<DataType> = match what {
        "columns" => {
            (0..199).map(|_| Shape { depth: 1, ..Shape::default() }.data_type(&mut rng)).collect()
        }
        "levels" => vec![deep()],
        _ => vec![DataType::STRING],
    };
    let mut columns = vec![Column::new("id", DataType::BIGINT.not_null())];
    columns.extend(types.into_iter().enumerate().map(|(at, t)| Column::new(format!("c{at}"), t)));
    let schema = Schema::new(columns, vec![]);
    let row = |id| {
        let mut values = random::row(&mut rng, &schema).into_values();
        values[0] = OwnedDatum::Int64(id);
        if what == "text" {
            values[1] = OwnedDatum::Str(format!("{id}{}", "x".repeat(1 << 20)));
        }
        OwnedRow::new(values)
    };
    let rows = (0..ROWS).map(row).collect();
    (schema, rows)
}

fn assert_same(found: &OwnedRow, expected: &OwnedRow, what: &str) {
    assert_eq!(found.values().len(), expected.values().len(), "{what}");
    for (column, (found, expected)) in found.values().iter().zip(expected.values()).enumerate() {
        assert!(same(found.as_datum(), expected.as_datum()), "{what}, column {column}");
    }
}

/// The rows go into a table and come back by a scan and, where there is a key, by look-ups.
fn through(what: &str, property: (&str, &str), keyed: bool) {
    let (schema, rows) = large(what);
    let key = if keyed { vec![0] } else { vec![] };
    let schema = Schema::new(schema.columns().to_vec(), key).with_field_ids();
    let mut descriptor = TableDescriptor::new(schema);
    descriptor.properties.insert(property.0.to_owned(), property.1.to_owned());
    let what = format!("{what}, {property:?}");
    let mut stage = Stage::new();
    let admin = stage.fluss.admin();
    stage.run(admin.create_table("fluss.large", &descriptor, false)).expect("a table");
    let opening = stage.fluss.table("fluss.large");
    let table = stage.run(opening).expect("it is there");
    let ticket = if keyed {
        let writer = table.upserter().build().expect("a writer");
        stage.run(writer.upsert_all(&rows)).expect("memory for the rows")
    } else {
        let writer = table.appender().build().expect("a writer");
        stage.run(writer.append_all(&rows)).expect("memory for the rows")
    };
    for part in stage.run(ticket) {
        part.outcome.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    assert_eq!(stage.fluss.memory_used(), 0, "{what}");
    let building = table.scanner().bounded().build();
    let mut scanner = stage.run(building).expect("a scanner");
    let mut found = Vec::new();
    while let Some(batch) = stage.run(scanner.next_batch()).expect("a batch that decodes") {
        for view in batch.rows().expect("rows").iter() {
            let columns = 0..view.schema().columns().len();
            let value = |at| OwnedDatum::from(view.value(at).expect("a column"));
            found.push(columns.map(value).collect::<OwnedRow>());
        }
    }
    if keyed {
        let keys: Vec<_> = (0..ROWS).map(|id| crate::row![id]).collect();
        let looking = table.lookuper().expect("a lookuper").lookup_all(&keys);
        let there = stage.run(looking).expect("answers that decode");
        found.extend(there.into_iter().map(|row| row.expect("a row")));
    }
    assert_eq!(found.len(), rows.len() * if keyed { 2 } else { 1 }, "{what}");
    for (found, row) in found.iter().zip(rows.iter().cycle()) {
        assert_same(found, row, &what);
    }
}

fn through_every_format(what: &str) {
    for format in ["ARROW", "INDEXED", "COMPACTED"] {
        through(what, ("table.log.format", format), false);
    }
    for format in ["COMPACTED", "INDEXED"] {
        through(what, ("table.kv.format", format), true);
    }
}

#[test]
fn rows_of_200_columns_come_back_from_every_format() {
    through_every_format("columns");
}

#[test]
fn rows_of_10_levels_come_back_from_every_format() {
    through_every_format("levels");
}

#[test]
fn texts_of_a_mebibyte_come_back_from_every_format() {
    through_every_format("text");
}

/// The largest request of the server.
const LIMIT: usize = 16 << 10;

/// A cluster of one server that takes small requests only.
fn of_one_server() -> Stage {
    let mut options = ClusterOptions::default();
    (options.max_request_bytes, options.tablet_servers) = (LIMIT, 1);
    Stage::configured(options, |mut config| {
        config.max_request_bytes = LIMIT - 4;
        config
    })
}

/// Settings with which a batch, or the batches of a request together, would fill a request to its
/// last byte: what stands beside them has to fit, too, or servers refuse it without end.
fn fills_requests(batch_bytes: usize, buckets: u32, keyed: bool) {
    let mut stage = of_one_server();
    let schema = Schema::builder().column("id", DataType::BIGINT.not_null());
    let schema = if keyed { schema.primary_key(["id"]) } else { schema };
    let mut table = TableDescriptor::new(schema.build().expect("a schema"));
    table.bucket_count = Some(buckets);
    let none = ("table.log.arrow.compression.type".to_owned(), "NONE".to_owned());
    table.properties.extend([none]);
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("fluss", true)).expect("a database");
    stage.run(admin.create_table("fluss.full", &table, false)).expect("a table");
    let opening = stage.fluss.table("fluss.full");
    let table = stage.run(opening).expect("it is there");
    let mut config = WriterConfig::default();
    (config.batch_bytes, config.request_bytes) = (batch_bytes, LIMIT - 4);
    let rows: Vec<_> = (0..20_000_i64).map(|id| (id,)).collect();
    let ticket = if keyed {
        let writer = table.upserter().config(config).build().expect("a writer");
        stage.run(writer.upsert_all(&rows)).expect("memory for the rows")
    } else {
        let writer = table.appender().config(config).build().expect("a writer");
        stage.run(writer.append_all(&rows)).expect("memory for the rows")
    };
    let what = format!("{batch_bytes}, {buckets}, {keyed}");
    for part in stage.run(ticket) {
        part.outcome.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    let counters = stage.fluss.counters();
    assert_eq!((counters.connections_lost, counters.retries), (0, 0), "{what}");
}

#[test]
fn full_batches_and_full_requests_are_not_too_long_for_servers() {
    for keyed in [false, true] {
        for (batch_bytes, buckets) in [(1 << 20, 1), (LARGE, 1), (4095, 8), (2047, 16)] {
            fills_requests(batch_bytes, buckets, keyed);
        }
    }
}

/// As large as a batch may be set.
const LARGE: usize = usize::MAX;

/// A row that nearly fills a request, and one beside it in another bucket at the same time.
fn goes_alone(texts: [usize; 2]) {
    let mut stage = of_one_server();
    let schema = Schema::builder().column("text", DataType::STRING).build().expect("a schema");
    let mut table = TableDescriptor::new(schema);
    table.bucket_count = Some(2);
    let none = ("table.log.arrow.compression.type".to_owned(), "NONE".to_owned());
    table.properties.extend([none]);
    let admin = stage.fluss.admin();
    stage.run(admin.create_table("fluss.texts", &table, false)).expect("a table");
    let opening = stage.fluss.table("fluss.texts");
    let table = stage.run(opening).expect("it is there");
    let mut config = WriterConfig::default();
    (config.batch_bytes, config.request_bytes) = (2 << 10, LIMIT - 4);
    config.no_key_assigner = NoKeyAssigner::RoundRobin;
    let writer = table.appender().config(config).build().expect("a writer");
    let rows = texts.map(|length| ("x".repeat(length),));
    let tickets = rows.map(|row| writer.try_append(&row).expect("room"));
    for ticket in tickets {
        stage.run(ticket).unwrap_or_else(|error| panic!("{texts:?}: {error}"));
    }
    let counters = stage.fluss.counters();
    assert_eq!((counters.connections_lost, counters.retries), (0, 0), "{texts:?}");
}

#[test]
fn a_row_that_fills_a_request_goes_alone_whatever_stands_in_line_before_it() {
    goes_alone([1_000, 15_000]);
    goes_alone([15_000, 1_000]);
}
