use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, LargeStringArray, RecordBatch, StringArray};
use arrow_schema::{DataType as ArrowType, Field, Schema as ArrowSchema};

use super::super::testkit::{Stage, events};
use crate::row::{DataType, OwnedDatum, Schema, TableDescriptor};
use crate::testing::cluster::ClusterOptions;
use crate::{RunPart, Table, row};

/// `id BIGINT NOT NULL, name STRING`, with the key `id` if asked for.
fn open(stage: &mut Stage, key: bool) -> Table {
    let schema = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("name", DataType::STRING);
    let schema = if key { schema.primary_key(["id"]) } else { schema };
    let mut table = TableDescriptor::new(schema.build().expect("a sound schema"));
    table.bucket_count = Some(2);
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    stage.run(admin.create_table("shop.rows", &table, false)).expect("a table");
    let opening = stage.fluss.table("shop.rows");
    stage.run(opening).expect("it is there")
}

/// Columns in another order and of other types than the table's; row 2 has no id.
fn batch() -> RecordBatch {
    let fields =
        [Field::new("name", ArrowType::LargeUtf8, true), Field::new("id", ArrowType::Int32, true)];
    let names = LargeStringArray::from(vec![Some("a"), None, Some("c"), Some("d")]);
    let ids = Int32Array::from(vec![Some(1), Some(2), None, Some(4)]);
    let schema = Arc::new(ArrowSchema::new(fields.to_vec()));
    RecordBatch::try_new(schema, vec![Arc::new(names), Arc::new(ids)]).expect("a batch")
}

#[test]
fn a_record_batch_is_appended_and_its_one_bad_row_fails_alone() {
    let mut stage = Stage::new();
    let table = open(&mut stage, false);
    let writer = table.appender().build().expect("a writer");
    let ticket = stage.run(writer.append_batch(&batch())).expect("handed in");
    let refused = stage.run(writer.flush()).expect_err("a row did not fit, the others are written");
    assert_eq!((refused.not_written, refused.unknown), (1, 0));
    let parts = stage.run(ticket);
    let told: Vec<_> = parts.iter().map(|p| (p.rows.clone(), p.outcome.is_ok())).collect();
    assert_eq!(told, [(0..2, true), (2..3, false), (3..4, true)]);
    let refusal = parts[1].outcome.as_ref().expect_err("null").to_string();
    assert!(refusal.contains("`id`") && refusal.contains("null"), "{refusal}");
    let offsets: Vec<_> =
        parts.iter().filter_map(|p| p.outcome.as_ref().ok()).map(|ack| ack.offset).collect();
    assert_eq!(offsets, [Some(0), Some(2)]);
}

#[test]
fn a_record_batch_is_upserted_and_its_keys_alone_are_deleted() {
    let mut stage = Stage::new();
    let table = open(&mut stage, true);
    let writer = table.upserter().build().expect("a writer");
    let good = batch().slice(0, 2);
    let rows = table.rows_of(&good).expect("columns that fit");
    drop(stage.run(writer.upsert_all(&rows)).expect("handed in"));
    stage.run(writer.flush()).expect("written");
    let lookuper = table.lookuper().expect("a key");
    let key = row![1_i64];
    let found = stage.run(lookuper.lookup(&key)).expect("an answer").expect("a row");
    assert_eq!(found.values()[1], OwnedDatum::Str("a".into()));

    let ids = good.project(&[1]).expect("the ids");
    let keys = table.rows_of_columns(&["id"], &ids).expect("the key");
    drop(stage.run(writer.delete_all(&keys)).expect("handed in"));
    stage.run(writer.flush()).expect("deleted");
    assert!(stage.run(lookuper.lookup(&key)).expect("an answer").is_none());
}

#[test]
fn a_record_batch_that_does_not_fit_is_refused_with_table_and_column() {
    let mut stage = Stage::new();
    let table = open(&mut stage, false);
    let text = Arc::new(StringArray::from(vec!["1"]));
    let fields =
        vec![Field::new("id", ArrowType::Utf8, true), Field::new("name", ArrowType::Utf8, true)];
    let schema = Arc::new(ArrowSchema::new(fields));
    let wrong = RecordBatch::try_new(schema, vec![text.clone(), text]).expect("a batch");
    let refused = table.rows_of(&wrong).expect_err("text is no number").to_string();
    let expected = "shop.rows: column `id` of type BIGINT NOT NULL does not take an Arrow array of \
                    type Utf8";
    assert_eq!(refused, expected);
    let writer = table.appender().build().expect("a writer");
    let early = stage.run(writer.append_batch(&wrong)).expect_err("text is no number");
    assert_eq!((early.handed_in, early.error.to_string().as_str()), (0, expected));
    let nobody = table.rows_of_columns(&["nobody"], &wrong).expect_err("no such column");
    assert!(nobody.to_string().contains("`nobody`"), "{nobody}");
}

#[test]
fn a_record_batch_of_four_times_the_budget_goes_in_piece_by_piece_in_order() {
    let limit = 32 << 10;
    let mut stage = Stage::configured(ClusterOptions::default(), |c| c.memory_limit(limit));
    let writer = events(&mut stage, 1).appender().build().expect("a writer");
    let count = 6_000;
    let ids = Int64Array::from_iter_values(0..count);
    let text = StringArray::from_iter_values((0..count).map(|id| format!("text {id:06}")));
    let columns: [(&str, ArrayRef); 2] = [("id", Arc::new(ids)), ("text", Arc::new(text))];
    let batch = RecordBatch::try_from_iter(columns).expect("equal lengths");
    assert!(batch.get_array_memory_size() as u64 > 4 * limit);
    let ticket = stage.run(writer.append_batch(&batch)).expect("handed in");
    stage.run(writer.flush()).expect("written");
    let mut next = 0;
    for part in stage.run(ticket) {
        let ack = part.outcome.expect("written");
        assert_eq!((part.rows.start, ack.offset), (next, Some(next as i64)));
        next = part.rows.end;
    }
    assert_eq!(next, count as u64);
    assert_eq!(stage.fluss.memory_used(), 0);
}

#[test]
fn a_record_batch_of_a_table_with_a_bucket_key_is_dealt_out_row_by_row() {
    let mut stage = Stage::new();
    let schema = Schema::builder().column("id", DataType::BIGINT).build().expect("a sound schema");
    let mut table = TableDescriptor::new(schema);
    table.bucket_key = vec![0];
    table.bucket_count = Some(3);
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    stage.run(admin.create_table("shop.keyed", &table, false)).expect("a table");
    let opening = stage.fluss.table("shop.keyed");
    let writer = stage.run(opening).expect("it is there").appender().build().expect("a writer");
    let ids: Vec<i64> = (0..100).collect();
    let array: ArrayRef = Arc::new(Int64Array::from(ids.clone()));
    let batch = RecordBatch::try_from_iter([("id", array)]).expect("a batch");
    let by_column = stage.run(writer.append_batch(&batch)).expect("handed in");
    let by_row = stage.run(writer.append_all(ids.iter().map(|id| row![*id]))).expect("handed in");
    stage.run(writer.flush()).expect("written");
    let buckets = |parts: Vec<RunPart>| -> Vec<i32> {
        let of = |part: RunPart| {
            let bucket = part.outcome.expect("written").bucket;
            part.rows.map(move |_| bucket)
        };
        parts.into_iter().flat_map(of).collect()
    };
    let (one, other) = (stage.run(by_column), stage.run(by_row));
    let buckets_of_batch = buckets(one);
    assert_eq!(buckets_of_batch, buckets(other));
    assert_eq!(buckets_of_batch.len(), 100);
}
