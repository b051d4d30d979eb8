//! Rows by name, rows of some columns, and values beyond their types.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use serde_core::ser::{Serialize, SerializeStruct, Serializer};

use super::Harness;
use super::stage::{LOG, Stage};
use crate::error::{Error, WriteError};
use crate::handle::{AppendBuilder, DeadLetter, Fluss, Table};
use crate::row::{
    ByName, Column, DataType, OwnedDatum, OwnedRow, Schema, TableDescriptor, Timestamp,
};
use crate::testing::cluster::{Fault, On};
use crate::time::Duration;
use crate::{named_row, row};

const AUTHORIZATION: i32 = 48;

/// What `#[derive(Serialize)]` makes, in another order than the table's.
struct Event<'a> {
    text: Option<&'a str>,
    id: i64,
}

impl Serialize for Event<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Event", 2)?;
        fields.serialize_field("text", &self.text)?;
        fields.serialize_field("id", &self.id)?;
        fields.end()
    }
}

crate::row_by_name!(Event<'_>);

async fn make(fluss: &Fluss, path: &str, schema: Schema) -> Table {
    let mut table = TableDescriptor::new(schema);
    table.bucket_count = Some(1);
    fluss.admin().create_table(path, &table, false).await.expect("a table");
    fluss.table(path).await.expect("it is there")
}

/// Structs, names and values, and a row builder write the same rows; what is wrong with a name is
/// told, and nothing else happens.
pub fn rows_by_name_reach_their_columns<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = stage.writer().await;
        let ticket = writer.append(&Event { text: Some("struct"), id: 0 }).await.expect("it fits");
        stage.acked(0, ticket).await;
        let nameless = Event { text: None, id: 1 };
        let ticket = writer.append(&ByName(&nameless)).await.expect("it fits");
        stage.acked(1, ticket).await;
        let pairs = named_row! { "text" => "pairs", "id" => 2_i64 };
        let ticket = writer.append(&pairs).await.expect("it fits");
        stage.acked(2, ticket).await;
        let mut row = writer.table().row();
        row.set("text", "built").expect("a column").set("id", 3_i64).expect("a column");
        let ticket = writer.append(&row).await.expect("it fits");
        stage.acked(3, ticket).await;
        let events = (4..40_i64).map(|id| Event { text: Some("run"), id });
        let run = writer.append_all(events).await.expect("they fit").await;
        stage.note_run(4, &run);

        let error = writer.append(&named_row! { "id" => 40_i64, "colour" => "red" }).await;
        let error = error.expect_err("no such column");
        assert!(matches!(error, Error::Row(_)), "{error:?}");
        assert!(error.to_string().contains("`colour`; there are: id, text"), "{error}");
        stage.note_never(40);
        assert_eq!(stage.ids(), (0..40).collect::<Vec<_>>());
        let texts: BTreeMap<i64, OwnedDatum> = stage.with(|cluster| {
            let key = writer.table().info().bucket(0);
            let rows = cluster.rows(key).expect("rows that decode").into_iter();
            rows.map(|row| {
                let mut values = row.values.into_values();
                let id = values[0].as_datum().as_i64().expect("an id");
                (id, values.remove(1))
            })
            .collect()
        });
        for (id, text) in [(0, "struct"), (2, "pairs"), (3, "built"), (39, "run")] {
            assert_eq!(texts[&id], OwnedDatum::Str(text.to_owned()), "row {id} of {LOG}");
        }
        assert_eq!(texts[&1], OwnedDatum::Null);
    });
}

/// Some columns are upserted, and deleted, by their names or by their places; a row by name gives
/// just those.
pub fn some_columns_are_written_by_names_and_by_places<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let fluss = stage.client();
        let schema = Schema::builder()
            .column("id", DataType::BIGINT)
            .column("a", DataType::INT)
            .column("b", DataType::STRING)
            .primary_key(["id"]);
        let table = make(&fluss, "fluss.parts", schema.build().expect("a schema")).await;
        let all = table.upserter().linger(Duration::ZERO).build().expect("a writer");
        let done = all.upsert(&row![1_i64, 1, "one"]).await.expect("it fits");
        done.await.expect("written");
        let some = table.upserter().linger(Duration::ZERO);
        let named = some.clone().columns(["b", "id"]).build().expect("a writer");
        let done = named.upsert(&row!["two", 1_i64]).await.expect("it fits");
        done.await.expect("written");
        let lookuper = table.lookuper().expect("a primary-key table");
        let expect = async |expected: [OwnedDatum; 2]| {
            let found = lookuper.lookup(&named_row! { "id" => 1_i64 }).await.expect("an answer");
            let [a, b] = expected;
            let expected = OwnedRow::new(vec![OwnedDatum::Int64(1), a, b]);
            assert_eq!(found, Some(expected));
        };
        expect([OwnedDatum::Int32(1), OwnedDatum::Str("two".into())]).await;
        let placed = some.clone().columns_at([0, 1]).build().expect("a writer");
        let done = placed.upsert(&named_row! { "a" => 7, "id" => 1_i64 }).await.expect("it fits");
        done.await.expect("written");
        expect([OwnedDatum::Int32(7), OwnedDatum::Str("two".into())]).await;
        let other = placed.upsert(&named_row! { "id" => 1_i64, "b" => "no" }).await;
        let other = other.expect_err("not to be written").to_string();
        assert!(other.contains("`b`; there are: id, a"), "{other}");
        let done = placed.delete(&named_row! { "id" => 1_i64, "a" => 7 }).await.expect("it fits");
        done.await.expect("written");
        expect([OwnedDatum::Null, OwnedDatum::Str("two".into())]).await;
        let error = some.clone().columns_at([0, 3]).build().expect_err("no such column");
        assert!(error.to_string().contains("no column 3"), "{error}");
        let error = some.columns(["a"]).build().expect_err("the key is missing");
        assert!(error.to_string().contains("`id`"), "{error}");
    });
}

/// A value beyond its type fails its row alone, row by row, in a run and in a record batch.
pub fn a_value_beyond_its_type_fails_its_row_alone<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let fluss = stage.client();
        let schema = Schema::builder()
            .column("id", DataType::BIGINT.not_null())
            .column("word", DataType::char(3))
            .column("at", DataType::timestamp(3));
        let table = make(&fluss, "fluss.limits", schema.build().expect("a schema")).await;
        let writer = table.appender().linger(Duration::ZERO).build().expect("a writer");
        let error = writer.append(&row![0_i64, "long", Timestamp::from_millis(0)]).await;
        let error = error.expect_err("four characters").to_string();
        assert!(error.contains("`word`: \"long\" does not fit CHAR(3)"), "{error}");
        let times = [0_i64, 1_000_000, 1, 2_000_000];
        let rows = (0_i64..).zip(times);
        let rows = rows.map(|(id, nanos)| row![id, "öäü", Timestamp::from_nanos(nanos)]);
        let parts = writer.append_all(rows).await.expect("handed in").await;
        let failed = |parts: &[crate::handle::RunPart]| {
            let failed = parts.iter().filter(|part| part.outcome.is_err());
            let [part] = failed.collect::<Vec<_>>()[..] else { panic!("{parts:?}") };
            let Err(WriteError::NotWritten(_)) = &part.outcome else { panic!("{part:?}") };
            part.rows.clone()
        };
        assert_eq!(failed(&parts), 2..3);
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![4, 5, 6, 7]));
        let words: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c", "d"]));
        let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![0, 999, 1_000_000, 0]));
        let batch = [("at", times), ("id", ids.clone()), ("word", words.clone())];
        let batch = RecordBatch::try_from_iter(batch).expect("a batch");
        let parts = writer.append_batch(&batch).await.expect("handed in").await;
        assert_eq!(failed(&parts), 1..2);
        let doubled = [("id", ids.clone()), ("id", ids), ("word", words)];
        let doubled = RecordBatch::try_from_iter(doubled).expect("a batch");
        let error = writer.append_batch(&doubled).await.expect_err("no such table").to_string();
        assert!(error.contains("`id` more than once"), "{error}");
        let ids: Vec<i64> = stage.with(|cluster| {
            let rows = cluster.rows(table.info().bucket(0)).expect("rows that decode").into_iter();
            rows.filter_map(|row| row.values.datum(0).and_then(|id| id.as_i64())).collect()
        });
        assert_eq!(ids, [0, 1, 3, 4, 6, 7]);
    });
}

/// Rows that do not fit, and rows of a batch that a server refuses, come back with their errors,
/// before their outcome is told.
pub fn rows_that_did_not_make_it_come_back<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let schema = Schema::builder()
            .column("id", DataType::BIGINT)
            .column("values", DataType::INT)
            .column("delete", DataType::BOOLEAN)
            .column("code", DataType::INT);
        let fluss = stage.client();
        let dead = make(&fluss, "fluss.dead", schema.build().expect("a schema")).await;
        let letters = dead.appender().linger(Duration::ZERO).build().expect("a writer");
        let to = letters.clone();
        let callback = move |letter: DeadLetter| {
            let id = letter.row.datum(0).and_then(|id| id.as_i64());
            let code = letter.error.code().map(|code| code.0);
            let row = row![id, letter.row.values().len() as i32, letter.delete, code];
            drop(to.try_append(&row).expect("room"));
        };
        let settings = |builder: AppendBuilder| builder.dead_letter(callback);
        let writer = stage.writer_with(stage.config(), settings).await;
        writer.append(&row![0_i64, 7_i64]).await.expect_err("7 is no STRING");
        stage.note_never(0);
        // The fault is for a row, not for the letter.
        letters.flush().await.expect("written");
        stage.inject(On::Write, 0, Fault::ErrorBefore(AUTHORIZATION));
        let ticket = writer.append(&row![1_i64, "refused"]).await.expect("it fits");
        let refused = ticket.await;
        stage.note(1, &refused);
        let refused = refused.expect_err("the server says so");
        let ticket = writer.append(&row![2_i64, "fine"]).await.expect("it fits");
        stage.acked(2, ticket).await;
        // It was handed in before the outcome was told.
        letters.flush().await.expect("written");
        let told = stage.with(|cluster| cluster.rows(dead.info().bucket(0))).expect("they decode");
        let told: Vec<_> = told.into_iter().map(|row| row.values.into_values()).collect();
        let letter = |id, code| {
            vec![OwnedDatum::Int64(id), OwnedDatum::Int32(2), OwnedDatum::Bool(false), code]
        };
        let code = OwnedDatum::Int32(AUTHORIZATION);
        assert_eq!(told, [letter(0, OwnedDatum::Null), letter(1, code)]);
        assert_eq!(refused.code().map(|code| code.0), Some(AUTHORIZATION));
    });
}

/// The rows of a table, which has so many columns by now.
async fn all_rows(fluss: &Fluss, path: &str, columns: usize) -> Vec<Vec<OwnedDatum>> {
    let now = fluss.table(path).await.expect("it is there");
    assert_eq!(now.info().schema().columns().len(), columns);
    let mut scanner = now.scanner().from_earliest().bounded().build().await.expect("one");
    let mut rows = Vec::new();
    while let Some(batch) = scanner.next_batch().await.expect("a batch") {
        for view in batch.rows().expect("rows").iter() {
            let value = |at| view.value(at).map_or(OwnedDatum::Null, Into::into);
            rows.push((0..columns).map(value).collect());
        }
    }
    rows
}

async fn add_column(fluss: &Fluss, path: &str) {
    let not_null = Column::new("b", DataType::INT.not_null());
    let error = fluss.admin().add_columns(path, &[not_null]).await;
    assert!(matches!(error, Err(Error::Misuse(text)) if text.contains("INT NOT NULL")));
    let column = Column::new("b", DataType::INT);
    fluss.admin().add_columns(path, &[column]).await.expect("it is added");
}

/// Columns are added while writers live: they go on, and take rows of the new schema when they are
/// asked to, or when they have heard of it.
pub fn writers_outlive_a_new_column<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let fluss = stage.client();
        for keyed in [false, true] {
            let path = format!("fluss.grows_{keyed}");
            let schema = Schema::builder()
                .column("id", DataType::BIGINT.not_null())
                .column("a", DataType::STRING);
            let schema = if keyed { schema.primary_key(["id"]) } else { schema };
            let table = make(&fluss, &path, schema.build().expect("a schema")).await;
            let upserter =
                keyed.then(|| table.upserter().linger(Duration::ZERO).build().expect("a writer"));
            let appender =
                (!keyed).then(|| table.appender().linger(Duration::ZERO).build().expect("one"));
            let put = async |grown: bool, id: i64| {
                let row = row![id, "old"];
                let wide = named_row! { "b" => 7, "id" => id };
                let mut tickets = Vec::new();
                if let Some(old) = &upserter {
                    let new = old.with_current_schema().await.expect("the same table");
                    let ticket =
                        if grown { new.upsert(&wide).await } else { old.upsert(&row).await };
                    tickets.push(ticket.expect("it fits"));
                }
                if let Some(old) = &appender {
                    let new = old.with_current_schema().await.expect("the same table");
                    let ticket =
                        if grown { new.append(&wide).await } else { old.append(&row).await };
                    tickets.push(ticket.expect("it fits"));
                }
                for ticket in tickets {
                    ticket.await.expect("written");
                }
            };
            put(false, 0).await;
            add_column(&fluss, &path).await;
            put(false, 1).await;
            put(true, 2).await;
            let wide = named_row! { "b" => 8, "id" => 3_i64 };
            let mut tries = 0;
            let ticket = loop {
                let ticket = match &upserter {
                    Some(upserter) => upserter.upsert(&wide).await,
                    None => appender.as_ref().expect("one of them").append(&wide).await,
                };
                match ticket {
                    Ok(ticket) => break ticket,
                    Err(error) => assert!(tries < 100_000, "{error}"),
                }
                tries += 1;
                // Time goes by.
                fluss.table(&path).await.expect("it is there");
            };
            ticket.await.expect("written");
            put(false, 4).await;
            let text = |text: &str| OwnedDatum::Str(text.to_owned());
            let rows = all_rows(&fluss, &path, 3).await;
            let of = |id, a, b| vec![OwnedDatum::Int64(id), a, b];
            let expected = [
                of(0, text("old"), OwnedDatum::Null),
                of(1, text("old"), OwnedDatum::Null),
                of(2, OwnedDatum::Null, OwnedDatum::Int32(7)),
                of(3, OwnedDatum::Null, OwnedDatum::Int32(8)),
                of(4, text("old"), OwnedDatum::Null),
            ];
            assert_eq!(rows, expected, "{path}");
        }
    });
}
