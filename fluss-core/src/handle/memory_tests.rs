//! Rows and the memory budget.

use std::sync::Arc;
use std::task::Poll;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};

use super::testkit::{Stage, events, users};
use crate::error::Error;
use crate::ids::ServerId;
use crate::rng::Rng;
use crate::row::{DataType, RowErrorKind, Schema, TableDescriptor};
use crate::testing::cluster::ClusterOptions;
use crate::time::Duration;

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

/// A text that no compression makes shorter than a half.
fn noise(bytes: usize) -> String {
    let mut rng = Rng::new(7);
    (0..bytes / 16).map(|_| format!("{:016x}", rng.next_u64())).collect()
}

/// Rows far larger than what open batches began with: each clone has a batch with a small row open.
#[test]
fn rows_put_into_open_batches_never_exceed_the_budget() {
    const BUDGET: u64 = 8 << 20;
    const CLONES: i64 = 64;
    let mut stage = Stage::configured(ClusterOptions::default(), |c| c.memory_limit(BUDGET));
    let (large, small) = (noise(1900 << 10), "small".to_owned());
    let log = events(&mut stage, 1).appender().linger(Duration::from_secs(60));
    let keyed = users(&mut stage).upserter().linger(Duration::from_secs(60));
    let (log, keyed) = (log.build().expect("a writer"), keyed.build().expect("a writer"));
    let clones: Vec<_> = (0..CLONES).map(|_| (log.clone(), keyed.clone())).collect();
    let mut tickets = Vec::new();
    let mut full = 0;
    for text in [&small, &large] {
        for (at, (log, keyed)) in (0..).zip(&clones) {
            let row = (at, text.as_str());
            for put in [log.try_append(&row), keyed.try_upsert(&row)] {
                match put {
                    Ok(ticket) => tickets.push(ticket),
                    Err(Error::Full { .. }) => full += 1,
                    Err(error) => panic!("{error}"),
                }
                let used = stage.fluss.memory_used();
                assert!(used <= BUDGET, "{used} of {BUDGET}");
            }
        }
    }
    assert!(full > CLONES, "{full} were turned down, so the budget was not used up");
    assert!(tickets.len() > CLONES as usize, "{} rows taken", tickets.len());
    let taken = tickets.len() as i64 + full;
    assert_eq!(taken, 4 * CLONES, "each row was taken or turned down");
    for ticket in tickets {
        assert!(stage.run(ticket).is_ok());
    }
    assert_eq!(stage.fluss.memory_used(), 0);
}

#[test]
fn record_batches_with_large_rows_never_exceed_the_budget() {
    const BUDGET: u64 = 8 << 20;
    let mut stage = Stage::configured(ClusterOptions::default(), |c| c.memory_limit(BUDGET));
    let writer = events(&mut stage, 1).appender().build().expect("a writer");
    let text = noise(1900 << 10);
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..20));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..20).map(|_| &text)));
    let batch = RecordBatch::try_from_iter([("id", ids), ("text", texts)]).expect("a batch");
    let mut handing = writer.append_batch(&batch);
    let ticket = loop {
        let polled = stage.poll(&mut handing);
        let used = stage.fluss.memory_used();
        assert!(used <= BUDGET, "{used} of {BUDGET}");
        match polled {
            Poll::Ready(ticket) => break ticket.expect("it fits the table"),
            Poll::Pending => drop(stage.settle()),
        }
    };
    assert!(stage.run(ticket).iter().all(|part| part.outcome.is_ok()));
    assert_eq!(stage.fluss.memory_used(), 0);
}

/// Only the linger would end a batch that was opened with what was released for it.
#[test]
fn who_waits_for_memory_behind_another_does_not_wait_for_its_linger() {
    const LINGER: Duration = Duration::from_secs(60);
    let mut stage = Stage::configured(ClusterOptions::default(), |c| c.memory_limit(LIMIT as u64));
    let writer = events(&mut stage, 1).appender().linger(LINGER).build().expect("a writer");
    let clones = [writer.clone(), writer.clone(), writer];
    let text = noise(10_000);
    let start = stage.now();
    let rows = [(0i64, text.as_str()), (1, text.as_str()), (2, text.as_str())];
    let mut puts: Vec<_> = clones.iter().zip(&rows).map(|(w, row)| w.append(row)).collect();
    for put in &mut puts {
        // All of them stand in line before any is served.
        let _ = stage.poll(put);
    }
    let waiting = puts.split_off(1);
    for put in waiting {
        drop(stage.run(put).expect("memory comes"));
    }
    let took = stage.now().saturating_since(start);
    assert!(took < LINGER / 2, "{took:?}");
}

#[test]
fn who_waits_for_memory_learns_of_a_close_at_once() {
    const CLOSE: Duration = Duration::from_secs(60);
    let mut stage = Stage::configured(ClusterOptions::default(), |c| c.memory_limit(LIMIT as u64));
    let writer = events(&mut stage, 1).appender().build().expect("a writer");
    stage.cluster(|cluster| cluster.silence(ServerId::Tablet(0)));
    stage.cluster(|cluster| cluster.silence(ServerId::Tablet(1)));
    stage.cluster(|cluster| cluster.silence(ServerId::Tablet(2)));
    let text = noise(10_000);
    let row = (0i64, text.as_str());
    drop(writer.try_append(&row).expect("room"));
    let mut waiting = writer.append(&row);
    assert!(stage.poll(&mut waiting).is_pending());
    let start = stage.now();
    let mut closing = stage.fluss.close(CLOSE);
    assert!(stage.poll(&mut closing).is_pending());
    let error = stage.run(waiting).expect_err("nothing is taken any more");
    assert!(matches!(error, Error::Closed(_)), "{error}");
    let took = stage.now().saturating_since(start);
    assert!(took < CLOSE / 10, "{took:?}");
    let _ = stage.run(closing);
}
