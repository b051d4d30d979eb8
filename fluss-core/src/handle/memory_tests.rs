//! Rows and the memory budget.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};

use super::testkit::{Stage, events};
use crate::error::Error;
use crate::row::{DataType, RowErrorKind, Schema, TableDescriptor};
use crate::testing::cluster::ClusterOptions;

const LIMIT: usize = 16 << 10;

fn sizes(error: &Error) -> (usize, usize) {
    let Error::Row(row) = error else { panic!("{error}") };
    let RowErrorKind::TooLarge { size, limit, largest } = row.kind() else { panic!("{error}") };
    let (size, limit) = (*size, *limit);
    let largest = largest.as_ref().expect("the row is at hand");
    assert_eq!((&*largest.column, largest.bytes), ("text", LIMIT), "{error}");
    assert!(
        error.to_string().contains(&size.to_string())
            && error.to_string().contains(&limit.to_string()),
        "{error}"
    );
    (size, limit)
}

#[test]
fn a_row_larger_than_the_budget_is_refused_at_once_with_both_numbers() {
    let mut stage = Stage::configured(ClusterOptions::default(), |c| c.memory_limit(LIMIT as u64));
    let writer = events(&mut stage, 1).appender().build().expect("a writer");
    let text = "x".repeat(LIMIT);
    let row = (1i64, text.as_str());
    let refused =
        [writer.try_append(&row), writer.append(&row).wait()].map(|r| r.expect_err("too large"));
    let all = writer.append_all([(0i64, "fits"), row, (2i64, "fits")]).wait().expect("open");
    for error in &refused {
        let (size, limit) = sizes(error);
        assert!(size > LIMIT && limit == LIMIT, "{error}");
    }
    let parts = stage.run(all);
    let failed: Vec<_> = parts.iter().filter(|part| part.outcome.is_err()).collect();
    assert_eq!(failed.len(), 1, "{parts:?}");
    assert_eq!(failed[0].rows, 1..2);
    sizes(failed[0].outcome.as_ref().expect_err("too large").cause());
    assert_eq!(stage.fluss.memory_used(), 0);
}

#[test]
fn an_upsert_larger_than_the_budget_is_refused_at_once_too() {
    let mut stage = Stage::configured(ClusterOptions::default(), |c| c.memory_limit(LIMIT as u64));
    drop(events(&mut stage, 1));
    let schema = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("text", DataType::STRING)
        .primary_key(["id"]);
    let table = TableDescriptor::new(schema.build().expect("a sound schema"));
    let admin = stage.fluss.admin();
    stage.run(admin.create_table("shop.users", &table, false)).expect("a table");
    let opening = stage.fluss.table("shop.users");
    let writer = stage.run(opening).expect("it is there").upserter().build().expect("a writer");
    let text = "x".repeat(LIMIT);
    let error = writer.try_upsert(&(1i64, text.as_str())).expect_err("too large");
    let (size, limit) = sizes(&error);
    assert!(size > LIMIT && limit == LIMIT, "{error}");
    let ticket = writer.try_upsert(&(1i64, "fits")).expect("room");
    stage.run(ticket).expect("written");
}

#[test]
fn record_batches_kept_alive_count_and_rows_are_copied_where_memory_is_short() {
    for (limit, counts) in [(64 << 20, true), (300 << 10, false)] {
        let mut stage = Stage::configured(ClusterOptions::default(), |c| c.memory_limit(limit));
        drop(events(&mut stage, 1));
        let schema = Schema::builder().column("id", DataType::BIGINT).build().expect("a schema");
        let mut table = TableDescriptor::new(schema);
        let property = "table.log.arrow.compression.type".to_owned();
        table.properties.insert(property, "NONE".to_owned());
        let admin = stage.fluss.admin();
        stage.run(admin.create_table("shop.numbers", &table, false)).expect("a table");
        let opening = stage.fluss.table("shop.numbers");
        let writer = stage.run(opening).expect("it is there").appender().build().expect("a writer");
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100_000));
        let batch = RecordBatch::try_from_iter([("id", ids)]).expect("a batch");
        let mut handing = writer.append_batch(&batch);
        assert!(stage.poll(&mut handing).is_pending(), "others are to have a turn");
        let handed_in = handing.handed_in();
        drop(handing);
        let used = stage.fluss.memory_used();
        assert_eq!(used >= batch.get_array_memory_size() as u64, counts, "{used} of {limit}");
        assert!(used >= 8 * handed_in && used <= limit, "{used} of {limit}");
        let flush = writer.flush();
        assert_eq!(stage.run(flush), Ok(()));
        assert_eq!(stage.fluss.memory_used(), 0);
        assert_eq!(stage.cluster(|c| c.rows_appended()), handed_in);
    }
}
