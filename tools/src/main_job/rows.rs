//! The job for rows as applications have them: structs, rows by name, rows of some columns, values
//! beyond their types; in a log table and in a primary-key table.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fluss_core::row::{ByName, DataType, Datum, OwnedDatum, OwnedRow, Schema, Timestamp};
use fluss_core::row::{Column, Decimal, Field, TableDescriptor};
use fluss_core::{Fluss, Table, named_row};
use serde::Serialize;

use super::{Waits, must, nothing_held};
use crate::cluster::{RealCluster, TableLosses};

const ROWS: i64 = 500;
/// When every writer of a table knows of its columns at the latest.
const HEARD_WITHIN: Duration = Duration::from_secs(30);

#[derive(Serialize)]
struct Place<'a> {
    zip: i32,
    city: &'a str,
}

/// Fields in another order than the columns, one of which it lacks.
#[derive(Serialize)]
struct Order<'a> {
    price: Decimal,
    id: i64,
    tags: Vec<&'a str>,
    at: Timestamp,
    day: &'a str,
    counts: BTreeMap<&'a str, i64>,
    place: Option<Place<'a>>,
}

fluss_core::row_by_name!(Order<'_>);

fn order(id: i64) -> Order<'static> {
    Order {
        price: Decimal::new(i128::from(id), 2),
        id,
        tags: vec!["new", "red"],
        at: Timestamp::from_millis(id),
        day: "2026-11-21",
        counts: BTreeMap::from([("seen", id)]),
        place: (id % 2 == 0).then_some(Place { zip: 89_073, city: "Ulm" }),
    }
}

/// What is to be read back of it.
fn stored(id: i64) -> OwnedRow {
    let text = |text: &str| OwnedDatum::Str(text.to_owned());
    let place = OwnedDatum::Row(vec![text("Ulm"), OwnedDatum::Int32(89_073)]);
    OwnedRow::new(vec![
        OwnedDatum::Int64(id),
        OwnedDatum::Date(20_778),
        OwnedDatum::Timestamp(Timestamp::from_millis(id)),
        OwnedDatum::Decimal(Decimal::new(i128::from(id), 2)),
        OwnedDatum::Array(vec![text("new"), text("red")]),
        OwnedDatum::Map(vec![(text("seen"), OwnedDatum::Int64(id))]),
        if id % 2 == 0 { place } else { OwnedDatum::Null },
        OwnedDatum::Null,
    ])
}

fn schema(keyed: bool) -> Schema {
    let place = vec![Field::new("city", DataType::STRING), Field::new("zip", DataType::INT)];
    let builder = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("day", DataType::DATE)
        .column("at", DataType::timestamp(3))
        .column("price", DataType::decimal(12, 2))
        .column("tags", DataType::array(DataType::STRING))
        .column("counts", DataType::map(DataType::STRING, DataType::BIGINT))
        .column("place", DataType::row(place))
        .column("note", DataType::STRING);
    must("a schema", if keyed { builder.primary_key(["id"]) } else { builder }.build())
}

/// Does the job on a log table and on a primary-key table, and checks its result.
///
/// # Panics
/// Whenever something is not as it should be.
pub fn run(cluster: &RealCluster, fluss: &Fluss, waits: &impl Waits, name: &str) {
    let losses = TableLosses::new();
    let make = |kind: &str, keyed: bool, property: Option<(&str, &str)>| {
        let mut description = TableDescriptor::new(schema(keyed));
        description.bucket_count = Some(1);
        let property = property.map(|(key, value)| (key.to_owned(), value.to_owned()));
        description.properties.extend(property);
        let path = format!("fluss.{name}_orders_{kind}");
        must("making a table", losses.open(cluster, fluss, &path, &description, None))
    };
    log(&make("log", false, None), waits);
    keyed(&make("pk", true, None), waits);
    kept(&make("kept", true, Some(("table.delete.behavior", "DISABLE"))), waits);
    grown(&make("grown_log", false, None), waits);
    grown(&make("grown_pk", true, None), waits);
    nothing_held(fluss);
}

fn log(table: &Table, waits: &impl Waits) {
    let writer = must("a writer", table.appender().build());
    let orders = (0..ROWS).map(order);
    let run = must("a run of structs", writer.append_all(orders).wait());
    assert!(run.wait().iter().all(|part| part.outcome.is_ok()), "a struct was not written");
    let fine = Timestamp { millis: 0, nanos: 1 };
    let rows = [(ROWS, Timestamp::from_millis(0)), (-1, fine), (ROWS + 1, fine), (-2, fine)];
    let rows = rows.map(|(id, at)| named_row! { "at" => at, "id" => id });
    // TIMESTAMP(3): only the first row has as few digits.
    let parts = must("a run of pairs", writer.append_all(rows).wait()).wait();
    let written: u64 = parts.iter().filter(|p| p.outcome.is_ok()).map(|p| p.rows.end).sum();
    assert_eq!(written, 1, "rows beyond their types are refused, others written: {parts:?}");
    let mut found = BTreeMap::new();
    let scanner = table.scanner().from_earliest().bounded().build();
    let mut scanner = must("a scanner", waits.pending(scanner));
    while let Some(batch) = must("a batch", waits.next(&mut scanner)) {
        for view in must("rows", batch.rows()).iter() {
            let values =
                (0..view.schema().columns().len()).map(|at| must("a value", view.value(at)));
            let row: OwnedRow = values.map(OwnedDatum::from).collect();
            found.insert(row.datum(0).and_then(Datum::as_i64), row);
        }
    }
    assert_eq!(found.len() as i64, ROWS + 1, "rows in the log");
    for id in 0..ROWS {
        assert_eq!(found[&Some(id)], stored(id), "row {id}");
    }
}

fn keyed(table: &Table, waits: &impl Waits) {
    let writer = must("a writer", table.upserter().build());
    let orders = (0..ROWS).map(order);
    let run = must("a run of structs", writer.upsert_all(orders).wait());
    assert!(run.wait().iter().all(|part| part.outcome.is_ok()), "a struct was not written");
    // A struct tells its key among other fields.
    let gone = must("a delete", writer.delete(&ByName(order(3))).wait());
    must("a delete", waits.ticket(gone));
    let some = must("a writer", table.upserter().columns(["note", "id"]).build());
    let note = named_row! { "id" => 4_i64, "note" => "later" };
    must("a partial upsert", waits.ticket(must("a row", some.upsert(&note).wait())));
    let places = must("a writer", table.upserter().columns_at([0, 6]).build());
    let key = named_row! { "id" => 6_i64 };
    must("a partial delete", waits.ticket(must("a key", places.delete(&key).wait())));
    let lookuper = must("a lookuper", table.lookuper());
    for id in 0..ROWS {
        let mut expected = stored(id).into_values();
        match id {
            4 => expected[7] = OwnedDatum::Str("later".to_owned()),
            6 => expected[6] = OwnedDatum::Null,
            _ => {}
        }
        let expected = (id != 3).then(|| OwnedRow::new(expected));
        assert_eq!(must("a lookup", waits.lookup(&lookuper, id)), expected, "row {id}");
    }
    let missing = must("an insert", lookuper.lookup_or_insert(&(ROWS,)).wait());
    assert!(missing.is_some_and(|row| row.values()[1..].iter().all(|v| *v == OwnedDatum::Null)));
}

/// The server refuses deletes: they come back, and upserts are written.
fn kept(table: &Table, waits: &impl Waits) {
    let (dead, letters) = std::sync::mpsc::channel();
    let writer = table.upserter().dead_letter(move |letter| drop(dead.send(letter))).build();
    let writer = must("a writer", writer);
    must("an upsert", waits.ticket(must("a row", writer.upsert(&order(1)).wait())));
    let refused = waits.ticket(must("a key", writer.delete(&(1_i64,)).wait()));
    let Err(refused) = refused else { panic!("a delete that the table forbids: {refused:?}") };
    let letter = letters.try_iter().next();
    let letter = letter.unwrap_or_else(|| panic!("no letter for {refused}"));
    assert_eq!(letter.row.values(), [OwnedDatum::Int64(1)], "{letter:?}");
    assert!(letter.delete && letter.error == refused, "{letter:?}");
    let lookuper = must("a lookuper", table.lookuper());
    assert_eq!(must("a lookup", waits.lookup(&lookuper, 1)), Some(stored(1)));
}

/// A column is added while a writer lives, which goes on, and writes it when it is asked to or has
/// heard of it.
fn grown(table: &Table, waits: &impl Waits) {
    let path = table.info().path.to_string();
    let keyed = table.info().has_primary_key();
    let (fluss, column) = (table.fluss(), Column::new("more", DataType::INT));
    let wide = |id| named_row! { "more" => 7, "id" => id };
    let upserter = keyed.then(|| must("a writer", table.upserter().build()));
    let appender = (!keyed).then(|| must("a writer", table.appender().build()));
    let put = |old: i64, new: Option<i64>| {
        let mut tickets = Vec::new();
        if let Some(writer) = &upserter {
            tickets.push(must("a row", writer.upsert(&order(old)).wait()));
            let now = must("the same table", waits.pending(writer.with_current_schema()));
            tickets.extend(new.map(|id| must("a row", now.upsert(&wide(id)).wait())));
        }
        if let Some(writer) = &appender {
            tickets.push(must("a row", writer.append(&order(old)).wait()));
            let now = must("the same table", waits.pending(writer.with_current_schema()));
            tickets.extend(new.map(|id| must("a row", now.append(&wide(id)).wait())));
        }
        for ticket in tickets {
            must("a write", waits.ticket(ticket));
        }
    };
    put(0, None);
    must("a column", waits.pending(fluss.admin().add_columns(&path, &[column])));
    put(1, Some(2));
    let until = Instant::now() + HEARD_WITHIN;
    let ticket = loop {
        let ticket = match (&upserter, &appender) {
            (Some(writer), _) => writer.upsert(&wide(3)).wait(),
            (None, Some(writer)) => writer.append(&wide(3)).wait(),
            (None, None) => panic!("one of them is there"),
        };
        match ticket {
            Ok(ticket) => break ticket,
            Err(error) => assert!(Instant::now() < until, "nobody heard of it: {error}"),
        }
        // Time goes by.
        must("the table", waits.pending(fluss.table(&path)));
    };
    must("a write", waits.ticket(ticket));
    put(4, None);
    let table = must("the table", waits.pending(fluss.table(&path)));
    let scanner = table.scanner().from_earliest().bounded().build();
    let mut scanner = must("a scanner", waits.pending(scanner));
    let mut found = Vec::new();
    while let Some(batch) = must("a batch", waits.next(&mut scanner)) {
        for view in must("rows", batch.rows()).iter() {
            let more = must("a value", view.value(8)).as_i64();
            found.push((must("a value", view.value(0)).as_i64(), more));
        }
    }
    // There is no order between handles.
    found.sort();
    let more = |id| (id == 2 || id == 3).then_some(7);
    let expected: Vec<_> = (0..5).map(|id| (Some(id), more(id))).collect();
    assert_eq!(found, expected, "{path}");
}
