use std::sync::{Arc, Mutex};

use arrow_array::{
    ArrayRef, Date64Array, Int64Array, RecordBatch, TimestampNanosecondArray, TimestampSecondArray,
};

use super::super::testkit::{Stage, events};
use super::DeadLetter;
use crate::error::{Error, WriteError};
use crate::row::{DataType, Datum, OwnedDatum, OwnedRow, Schema, TableDescriptor, Timestamp};
use crate::testing::cluster::{Fault, On};
use crate::time::Duration;
use crate::{Table, TableInfo, named_row, row};

const AUTHORIZATION: i32 = 48;

/// What a callback was given.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<DeadLetter>>>);

impl Told {
    fn take(&self) -> std::vec::IntoIter<DeadLetter> {
        std::mem::take(&mut *self.0.lock().expect("no callback panicked")).into_iter()
    }
}

fn letters() -> (impl Fn(DeadLetter) + Send + Sync + 'static, Told) {
    let told = Told::default();
    let to = told.clone();
    (move |letter| to.0.lock().expect("no callback panicked").push(letter), told)
}

fn values(values: impl IntoIterator<Item = OwnedDatum>) -> OwnedRow {
    values.into_iter().collect()
}

fn text(text: &str) -> OwnedDatum {
    OwnedDatum::Str(text.to_owned())
}

fn make(stage: &mut Stage, schema: Schema, properties: &[(&str, &str)], days: &[usize]) -> Table {
    let mut table = TableDescriptor::new(schema);
    table.bucket_count = Some(1);
    table.partition_key = days.to_vec();
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    table.properties.extend(properties.iter().map(owned));
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    stage.run(admin.create_table("shop.letters", &table, false)).expect("a table");
    let opening = stage.fluss.table("shop.letters");
    stage.run(opening).expect("it is there")
}

#[test]
fn rows_of_a_refused_batch_come_back_as_they_were_in_every_log_format() {
    for format in ["ARROW", "INDEXED", "COMPACTED"] {
        let mut stage = Stage::new();
        let schema = Schema::builder()
            .column("id", DataType::BIGINT)
            .column("text", DataType::STRING)
            .column("list", DataType::array(DataType::INT))
            .build()
            .expect("a schema");
        let table = make(&mut stage, schema, &[("table.log.format", format)], &[]);
        let (callback, told) = letters();
        let writer = table.appender().dead_letter(callback).build().expect("a writer");
        let ticket = writer.try_append(&row![0_i64, "fine", &vec![1]]).expect("room");
        let flush = writer.flush();
        stage.run(flush).expect("written");
        stage.run(ticket).expect("written");
        stage.cluster(|c| c.inject(On::Write, 0, Fault::ErrorBefore(AUTHORIZATION)));
        for id in 1..4_i64 {
            drop(writer.try_append(&row![id, "lost", &vec![1, 2]]).expect("room"));
        }
        let flush = writer.flush();
        let failed = stage.run(flush).expect_err("refused");
        let told: Vec<DeadLetter> = told.take().collect();
        assert_eq!(told.len(), 3, "{format}");
        for (id, letter) in (1..).zip(told) {
            let list = OwnedDatum::Array(vec![OwnedDatum::Int32(1), OwnedDatum::Int32(2)]);
            assert_eq!(letter.row, values([OwnedDatum::Int64(id), text("lost"), list]));
            assert!(!letter.delete && letter.error == failed.first[0].error, "{letter:?}");
            assert_eq!(letter.error.code().map(|code| code.0), Some(AUTHORIZATION));
        }
    }
}

#[test]
fn rows_that_do_not_fit_come_back_with_their_own_error_and_hide_no_other() {
    let mut stage = Stage::new();
    let schema = Schema::builder().column("id", DataType::BIGINT.not_null());
    let schema = schema.column("at", DataType::timestamp(3)).build().expect("a schema");
    let table = make(&mut stage, schema, &[], &[]);
    let (callback, told) = letters();
    let writer = table.appender().dead_letter(callback).build().expect("a writer");
    let at = |nanos| Timestamp::from_nanos(nanos);
    let rows = [(1_i64, at(0)), (2, at(1)), (3, at(1_000_000)), (4, at(5))];
    let run = stage.run(writer.append_all(rows)).expect("handed in");
    writer.try_append(&named_row! { "id" => 5_i64, "colour" => "red" }).expect_err("no column");
    let ids = Arc::new(Int64Array::from(vec![6, 7]));
    let times = Arc::new(TimestampNanosecondArray::from(vec![7, 0]));
    let columns = [("id", ids as ArrayRef), ("at", times)];
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    let of_batch = stage.run(writer.append_batch(&batch)).expect("handed in");
    let flush = writer.flush();
    let refused = stage.run(flush).expect_err("some rows of the run and of the batch did not fit");
    assert_eq!((refused.not_written, refused.unknown), (3, 0));
    let written = |parts: &[crate::RunPart]| -> u64 {
        let good = parts.iter().filter(|part| part.outcome.is_ok());
        good.map(|part| part.rows.end - part.rows.start).sum()
    };
    assert_eq!((written(&stage.run(run)), written(&stage.run(of_batch))), (2, 1));
    let told: Vec<DeadLetter> = told.take().collect();
    let id = |letter: &DeadLetter| letter.row.datum(0).and_then(|id| id.as_i64());
    let ids: Vec<_> = told.iter().map(id).collect();
    assert_eq!(ids, [Some(2), Some(4), None, Some(6)]);
    let stamped = OwnedDatum::Timestamp(at(5));
    assert_eq!(told[1].row, values([OwnedDatum::Int64(4), stamped]));
    for letter in &told {
        let WriteError::NotWritten(_) = &letter.error else { panic!("{letter:?}") };
        assert!(matches!(letter.error.cause(), Error::Row(_)), "{letter:?}");
    }
}

#[test]
fn a_row_of_a_record_batch_with_a_value_that_no_row_holds_comes_back_with_its_other_values() {
    let mut stage = Stage::new();
    let schema = Schema::builder().column("at", DataType::timestamp(3));
    let schema = schema.column("id", DataType::BIGINT.not_null());
    let schema = schema.column("day", DataType::DATE).build().expect("a schema");
    let table = make(&mut stage, schema, &[], &[]);
    let (callback, told) = letters();
    let writer = table.appender().dead_letter(callback).build().expect("a writer");
    let times: ArrayRef = Arc::new(TimestampSecondArray::from(vec![i64::MAX, 0, i64::MIN]));
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![6, 7, 8]));
    let days: ArrayRef = Arc::new(Date64Array::from(vec![86_400_000, 0, 1]));
    let columns = [("at", times), ("id", ids), ("day", days)];
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    let ticket = stage.run(writer.append_batch(&batch)).expect("handed in");
    let outcomes: Vec<bool> = stage.run(ticket).iter().map(|part| part.outcome.is_ok()).collect();
    assert_eq!(outcomes, [false, true, false]);
    let told: Vec<DeadLetter> = told.take().collect();
    let rows: Vec<&OwnedRow> = told.iter().map(|letter| &letter.row).collect();
    let without_time = |id, day| values([OwnedDatum::Null, OwnedDatum::Int64(id), day]);
    let expected = [without_time(6, OwnedDatum::Date(1)), without_time(8, OwnedDatum::Null)];
    assert_eq!(rows, expected.iter().collect::<Vec<_>>());
    assert!(told.iter().all(|letter| letter.error.to_string().contains("`at`")), "{told:?}");
}

/// A table whose key is not its first column.
fn keyed_in_the_middle() -> Schema {
    Schema::builder()
        .column("text", DataType::STRING)
        .column("day", DataType::STRING)
        .column("id", DataType::BIGINT)
        .primary_key(["day", "id"])
        .build()
        .expect("a schema")
}

#[test]
fn upserts_and_deletes_come_back_as_they_were_handed_in() {
    for format in ["COMPACTED", "INDEXED"] {
        let mut stage = Stage::new();
        let schema = keyed_in_the_middle();
        let table = make(&mut stage, schema, &[("table.kv.format", format)], &[1]);
        let (callback, told) = letters();
        let whole = table.upserter().dead_letter(callback).build().expect("a writer");
        let done = whole.try_upsert(&row!["fine", "mon", 0_i64]).expect("room");
        stage.run(done).expect("written");
        stage.cluster(|c| c.inject(On::Write, 0, Fault::ErrorBefore(AUTHORIZATION)));
        drop(whole.try_upsert(&row!["lost", "mon", 1_i64]).expect("room"));
        drop(whole.try_delete(&row!["mon", 2_i64]).expect("room"));
        let flush = whole.flush();
        stage.run(flush).expect_err("refused");
        let found: Vec<_> = told.take().map(|letter| (letter.delete, letter.row)).collect();
        let upsert = values([text("lost"), text("mon"), OwnedDatum::Int64(1)]);
        // The partition stands in no key, but in its name.
        let delete = values([text("mon"), OwnedDatum::Int64(2)]);
        assert_eq!(found, [(false, upsert), (true, delete)], "{format}");

        let (callback, told) = letters();
        let some = table.upserter().columns(["id", "day"]).dead_letter(callback);
        let some = some.build().expect("a writer");
        stage.cluster(|c| c.inject(On::Write, 0, Fault::ErrorBefore(AUTHORIZATION)));
        drop(some.try_upsert(&row![3_i64, "mon"]).expect("room"));
        let flush = some.flush();
        stage.run(flush).expect_err("refused");
        let found: Vec<_> = told.take().map(|letter| letter.row).collect();
        assert_eq!(found, [values([OwnedDatum::Int64(3), text("mon")])], "{format}");
    }
}

#[test]
fn letters_of_partitions_have_the_values_of_their_names() {
    for lake in [None, Some("paimon")] {
        let mut stage = Stage::new();
        let schema = Schema::builder()
            .column("id", DataType::BIGINT)
            .column("region", DataType::STRING)
            .column("day", DataType::DATE)
            .column("n", DataType::INT)
            .primary_key(["id", "day", "region"])
            .build()
            .expect("a schema");
        let lake: Vec<_> = lake.map(|lake| ("table.datalake.format", lake)).into_iter().collect();
        let table = make(&mut stage, schema, &lake, &[2, 1]);
        let (callback, told) = letters();
        let writer = table.upserter().dead_letter(callback).build().expect("a writer");
        // It waits for its partition, which is not to be, and ends before it is sent.
        stage.cluster(|c| c.servers().collect::<Vec<_>>().into_iter().for_each(|s| c.stop(s)));
        let day = Datum::Date(20_235);
        drop(writer.try_upsert(&row![7_i64, "eu_1", day, 5]).expect("room"));
        drop(writer.try_delete(&row![8_i64, day, "eu_1"]).expect("room"));
        drop(writer.try_delete(&row![9_i64, day, "us"]).expect("room"));
        stage.pass(Duration::from_secs(1));
        stage.fluss.shared().abort(stage.now(), "the end");
        drop(writer);
        let mut found: Vec<_> = told.take().map(|letter| (letter.delete, letter.row)).collect();
        found.sort_by_key(|(delete, row)| (*delete, format!("{row:?}")));
        let day = || OwnedDatum::Date(20_235);
        // A key of the lake's is not read back.
        let id = |id| if lake.is_empty() { OwnedDatum::Int64(id) } else { OwnedDatum::Null };
        let n = OwnedDatum::Int32(5);
        let expected = [
            (false, values([OwnedDatum::Int64(7), text("eu_1"), day(), n])),
            (true, values([id(8), day(), text("eu_1")])),
            (true, values([id(9), day(), text("us")])),
        ];
        assert_eq!(found, expected, "{lake:?}");
    }
}

#[test]
fn rows_that_no_server_heard_of_come_back_sealed_or_not() {
    let mut stage = Stage::new();
    let (callback, told) = letters();
    let table = events(&mut stage, 1);
    let writer = table.appender().dead_letter(callback).build().expect("a writer");
    stage.cluster(|c| c.servers().collect::<Vec<_>>().into_iter().for_each(|s| c.stop(s)));
    drop(writer.try_append(&(1_i64, "sealed")).expect("room"));
    stage.pass(Duration::from_secs(1));
    drop(writer.try_append(&(2_i64, "open")).expect("room"));
    stage.fluss.shared().abort(stage.now(), "the end");
    drop(writer);
    let found: Vec<_> = told.take().map(|letter| letter.row).collect();
    let row = |id, what: &str| values([OwnedDatum::Int64(id), text(what)]);
    assert_eq!(found, [row(1, "sealed"), row(2, "open")]);
}

#[test]
fn a_callback_may_hand_the_row_to_another_writer_and_may_even_panic() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let second = table.appender().linger(Duration::ZERO).build().expect("a writer");
    let again = second.clone();
    let writer = table.appender().dead_letter(move |letter| {
        drop(again.try_append(&letter.row).expect("room"));
        panic!("enough");
    });
    let writer = writer.build().expect("a writer");
    stage.cluster(|c| c.inject(On::Write, 0, Fault::ErrorBefore(AUTHORIZATION)));
    let ticket = writer.try_append(&(1_i64, "twice")).expect("room");
    stage.run(ticket).expect_err("refused");
    let flush = second.flush();
    stage.run(flush).expect("written by the other one");
    let rows = stage.cluster(|c| c.rows(table.info().bucket(0))).expect("rows that decode");
    assert_eq!(rows.len(), 1);
}

#[test]
fn a_callback_that_holds_the_last_writer_of_another_table_goes_without_a_deadlock() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let other = table.appender().build().expect("a writer");
    let writer = table.appender().dead_letter(move |letter| {
        drop(other.try_append(&letter.row));
    });
    let writer = writer.build().expect("a writer");
    let ticket = writer.try_append(&(1_i64, "fine")).expect("room");
    // Its batch is all that keeps the callback, and it is let go of when the answer comes.
    drop(writer);
    stage.run(ticket).expect("written");
    assert_eq!(stage.fluss.memory_used(), 0);
}

/// The table, as if its schema had been changed so often that no batch can name it.
fn unsealable(stage: &Stage, table: &Table, properties: &[(&str, &str)]) -> Table {
    let mut info = TableInfo { schema_id: 40_000, ..table.info().clone() };
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    info.descriptor.properties.extend(properties.iter().map(owned));
    Table::new(stage.fluss.clone(), info)
}

#[test]
fn rows_of_a_batch_that_cannot_be_sealed_come_back_in_every_log_format() {
    let compressed = |codec| ("table.log.arrow.compression.type", codec);
    for setting in [
        compressed("NONE"),
        compressed("LZ4_FRAME"),
        compressed("ZSTD"),
        ("table.statistics.columns", "*"),
        ("table.log.format", "INDEXED"),
        ("table.log.format", "COMPACTED"),
    ] {
        let mut stage = Stage::new();
        let schema = Schema::builder()
            .column("id", DataType::BIGINT)
            .column("text", DataType::STRING)
            .column("list", DataType::array(DataType::INT))
            .build()
            .expect("a schema");
        let table = make(&mut stage, schema, &[], &[]);
        let table = unsealable(&stage, &table, &[setting]);
        let (callback, told) = letters();
        let writer = table.appender().dead_letter(callback).build().expect("a writer");
        for id in 1..4_i64 {
            let lost = "lost ".repeat(50);
            drop(writer.try_append(&row![id, &lost[..], &vec![1, 2]]).expect("room"));
            let flush = writer.flush();
            let failed = stage.run(flush).expect_err("it cannot be sealed");
            let list = OwnedDatum::Array(vec![OwnedDatum::Int32(1), OwnedDatum::Int32(2)]);
            let row = values([OwnedDatum::Int64(id), text(&lost), list]);
            let error = failed.first[0].error.clone();
            assert!(matches!(error, WriteError::NotWritten(_)), "{error}");
            let expected = [DeadLetter { row, delete: false, error }];
            assert_eq!(told.take().as_slice(), expected, "{setting:?}");
        }
        assert_eq!(stage.fluss.memory_used(), 0);
    }
}

#[test]
fn upserts_and_deletes_of_a_batch_that_cannot_be_sealed_come_back() {
    let mut stage = Stage::new();
    let schema = keyed_in_the_middle();
    let table = make(&mut stage, schema, &[], &[1]);
    let table = unsealable(&stage, &table, &[]);
    let (callback, told) = letters();
    let writer = table.upserter().dead_letter(callback).build().expect("a writer");
    drop(writer.try_upsert(&row!["lost", "mon", 1_i64]).expect("room"));
    drop(writer.try_delete(&row!["mon", 2_i64]).expect("room"));
    let flush = writer.flush();
    stage.run(flush).expect_err("it cannot be sealed");
    let found: Vec<_> = told.take().map(|letter| (letter.delete, letter.row)).collect();
    let upsert = values([text("lost"), text("mon"), OwnedDatum::Int64(1)]);
    let delete = values([text("mon"), OwnedDatum::Int64(2)]);
    assert_eq!(found, [(false, upsert), (true, delete)]);
}

#[test]
fn rows_of_a_batch_that_ended_open_and_could_not_be_sealed_come_back_too() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let table = unsealable(&stage, &table, &[]);
    let (callback, told) = letters();
    let writer = table.appender().dead_letter(callback).build().expect("a writer");
    drop(writer.try_append(&(2_i64, "open")).expect("room"));
    stage.fluss.shared().abort(stage.now(), "the end");
    drop(writer);
    let found: Vec<_> = told.take().map(|letter| letter.row).collect();
    assert_eq!(found, [values([OwnedDatum::Int64(2), text("open")])]);
}
