//! Rows and the memory budget.

use super::testkit::{Stage, events};
use crate::error::Error;
use crate::row::{DataType, RowErrorKind, Schema, TableDescriptor};
use crate::testing::cluster::ClusterOptions;

const LIMIT: usize = 16 << 10;

fn sizes(error: &Error) -> (usize, usize) {
    let Error::Row(row) = error else { panic!("{error}") };
    let RowErrorKind::TooLarge { size, limit } = *row.kind() else { panic!("{error}") };
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
