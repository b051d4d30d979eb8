//! Handles used against all reason: settings at their ends, futures polled after theirs, several
//! ends at once. Nothing panics, nothing hangs, no row is doubled, and the budget is whole.

use std::task::Poll;

use super::testkit::{Stage, events};
use crate::backoff::BackoffConfig;
use crate::config::{Config, WriterConfig};
use crate::error::{Error, WriteError};
use crate::testing::cluster::{ClusterOptions, Fault, On};
use crate::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Settings as long as anybody may ask for.
fn endless(config: Config) -> Config {
    let mut config = config.connect_timeout(Duration::MAX).command_deadline(Duration::MAX);
    config.request_deadline = Duration::MAX;
    config.ack_timeout = Duration::MAX - Duration::from_nanos(1);
    config.reconnect_backoff = BackoffConfig::new(Duration::from_micros(1), Duration::MAX);
    config.memory_limit = u64::MAX;
    config
}

#[test]
fn settings_without_an_end_connect_and_write_all_the_same() {
    let mut stage = Stage::configured(ClusterOptions::default(), endless);
    stage.run(stage.fluss.ready()).expect("a server answers");
    let table = events(&mut stage, 1);
    // No delivery timeout has room for a request that may take for ever.
    let refused = table.appender().build().expect_err("a request longer than a day");
    assert!(refused.to_string().contains("request_deadline"), "{refused}");
    let close = stage.fluss.close(Duration::MAX);
    assert_eq!(stage.run(close), Ok(0));
}

#[test]
fn the_longest_times_that_are_taken_end_in_time_and_the_shortest_at_once() {
    let long = |config: Config| {
        let mut config = config.request_deadline(DAY - Duration::from_secs(1));
        config.reconnect_backoff = BackoffConfig::new(Duration::from_secs(1), Duration::MAX);
        config
    };
    let mut stage = Stage::configured(ClusterOptions::default(), long);
    let table = events(&mut stage, 1);
    let config = WriterConfig {
        linger: Duration::from_secs(1),
        delivery_timeout: DAY,
        max_throttle: DAY,
        retry_backoff: BackoffConfig::new(DAY * 2, Duration::MAX),
        batch_bytes: usize::MAX,
        ..WriterConfig::default()
    };
    let writer = table.appender().config(config).build().expect("just allowed");
    stage.cluster(|c| c.inject(On::Write, 0, Fault::ErrorBefore(29)));
    let start = stage.now();
    let ticket = writer.try_append(&(1_i64, "a")).expect("room");
    let error = stage.run(ticket).expect_err("the wait is longer than its time");
    assert!(matches!(error, WriteError::NotWritten(_)), "{error}");
    let took = stage.now().saturating_since(start);
    assert!(took <= DAY + Duration::from_secs(1), "{took:?}");

    let short = |config: Config| {
        let mut config = config.request_deadline(Duration::from_micros(1));
        config.ack_timeout = Duration::ZERO;
        config
    };
    let mut stage = Stage::configured(ClusterOptions::default(), short);
    let table = {
        let path = crate::ids::TablePath::new("shop", "events");
        let schema = crate::row::Schema::builder().column("id", crate::row::DataType::BIGINT);
        let table = crate::row::TableDescriptor::new(schema.build().expect("a schema"));
        stage.cluster(|c| {
            c.add_database("shop").expect("a database");
            c.add_table(&path, &table.to_json()).expect("a table")
        });
        let opening = stage.fluss.table("shop.events");
        stage.run(opening)
    };
    // Whether anything can be done within a microsecond is up to the clock; it ends either way.
    let Ok(table) = table else { return };
    let config = WriterConfig {
        linger: Duration::ZERO,
        delivery_timeout: Duration::from_micros(1),
        ..WriterConfig::default()
    };
    let writer = table.appender().config(config).build().expect("just allowed");
    let ticket = writer.try_append(&(1_i64,)).expect("room");
    let _either = stage.run(ticket);
}

#[test]
fn a_row_whose_future_is_polled_after_its_end_is_handed_in_once() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = table.appender().build().expect("a writer");
    let row = (1_i64, "a");
    let mut handing = writer.append(&row);
    assert!(matches!(stage.poll(&mut handing), Poll::Ready(Ok(_))));
    assert!(matches!(stage.poll(&mut handing), Poll::Ready(Err(Error::Misuse(_)))));
    stage.run(writer.flush()).expect("written");
    assert_eq!(stage.cluster(|c| c.rows_appended()), 1);
}

#[test]
fn a_callback_that_panics_keeps_nobody_waiting() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let builder = table.appender().dead_letter(|letter| panic!("{letter:?}"));
    let writer = builder.linger(Duration::ZERO).build().expect("a writer");
    // On the driver's side, as a server refuses the batch.
    stage.cluster(|c| c.inject(On::Write, 0, Fault::ErrorBefore(48)));
    let refused = writer.try_append(&(1_i64, "a")).expect("room");
    assert!(matches!(stage.run(refused), Err(WriteError::NotWritten(_))));
    // On the side of whoever hands rows in.
    let before = writer.try_append(&(2_i64, "b")).expect("room");
    assert!(matches!(writer.try_append(&(3_i64,)), Err(Error::Row(_))));
    assert!(stage.run(before).is_ok());
}

#[test]
fn a_flush_outlives_its_writer() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 2);
    let writer = table.appender().build().expect("a writer");
    let clone = writer.clone();
    let tickets = [
        writer.try_append(&(1_i64, "a")).expect("room"),
        clone.try_append(&(2_i64, "b")).expect("room"),
    ];
    let mut flush = clone.flush();
    let dropped = writer.flush();
    assert!(stage.poll(&mut flush).is_pending());
    drop((writer, dropped, clone, table));
    stage.run(flush).expect("written");
    assert!(tickets.iter().all(|ticket| matches!(ticket.outcome(), Some(Ok(_)))));
}

#[test]
fn everything_that_waits_ends_when_the_client_is_closed_at_once() {
    let mut stage = Stage::configured(ClusterOptions::default(), |c| c.memory_limit(4096));
    let table = events(&mut stage, 1);
    let build = || table.appender().batch_bytes(usize::MAX).build().expect("a writer");
    let (writer, other) = (build(), build());
    stage.cluster(|c| c.servers().collect::<Vec<_>>().into_iter().for_each(|s| c.stop(s)));
    let text = "x".repeat(500);
    let mut tickets = Vec::new();
    while let Ok(ticket) = writer.try_append(&(1_i64, text.as_str())) {
        tickets.push(ticket);
    }
    let row = (2_i64, text.as_str());
    let (mut first, mut second) = (other.append(&row), writer.append(&row));
    let mut all = other.append_all((0..9_i64).map(|id| (id, text.as_str())));
    let (mut flush, mut flushed) = (writer.flush(), other.flush());
    assert!(stage.poll(&mut first).is_pending() && stage.poll(&mut second).is_pending());
    assert!(stage.poll(&mut all).is_pending() && stage.poll(&mut flush).is_pending());
    let _ = stage.poll(&mut flushed);
    let closing = [(); 3].map(|()| stage.fluss.close(Duration::ZERO));
    for close in closing {
        assert!(stage.run(close).expect("it ends") <= tickets.len());
    }
    assert!(matches!(stage.poll(&mut first), Poll::Ready(Err(Error::Closed(_)))));
    assert!(matches!(stage.poll(&mut second), Poll::Ready(Err(Error::Closed(_)))));
    assert!(matches!(stage.poll(&mut all), Poll::Ready(Err(_))));
    let failed = match stage.poll(&mut flush) {
        Poll::Ready(Err(failed)) => failed,
        other => panic!("{other:?}"),
    };
    assert_eq!(failed.not_written, tickets.len() as u64);
    for ticket in tickets {
        assert!(matches!(ticket.outcome(), Some(Err(WriteError::NotWritten(_)))));
    }
    assert_eq!(stage.fluss.memory_used(), 0);
}

#[test]
fn the_smallest_budgets_take_a_row_without_a_wait() {
    for limit in [1024, 4096, (16 << 10) - 1] {
        let mut stage = Stage::configured(ClusterOptions::default(), |c| c.memory_limit(limit));
        let writer = events(&mut stage, 1).appender().build().expect("a writer");
        let ticket = writer.try_append(&(1_i64, "a")).expect("nothing is in use");
        assert!(stage.fluss.memory_used() <= limit, "{limit}");
        stage.run(ticket).expect("written");
    }
}

#[test]
fn a_row_that_only_just_fits_the_budget_is_written_and_the_next_waits_for_it() {
    let mut stage = Stage::configured(ClusterOptions::default(), |c| c.memory_limit(1024));
    let table = events(&mut stage, 3);
    let writer = table.appender().batch_bytes(64).build().expect("a writer");
    let clone = writer.clone();
    let (mut longest, mut written) = (0, 0);
    for length in 0..1100 {
        let text = "x".repeat(length);
        let handle = if length % 2 == 0 { &writer } else { &clone };
        match stage.run(handle.append(&(1_i64, text.as_str()))) {
            Ok(ticket) => {
                longest = length;
                written += 1;
                if length % 3 == 0 {
                    stage.run(ticket).expect("written");
                }
            }
            Err(error) => assert!(matches!(error, Error::Row(_)), "{length}: {error}"),
        }
        assert!(stage.fluss.memory_used() <= 1024 + 512, "{length}");
    }
    stage.run(writer.flush()).expect("written");
    assert!(longest > 500, "{longest}");
    assert_eq!(stage.cluster(|c| c.rows_appended()), written);
    assert_eq!(stage.fluss.memory_used(), 0);
}

#[test]
fn ten_thousand_writers_that_come_and_go_leave_nothing_behind() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    for round in 0..10_000_i64 {
        let writer = table.appender().build().expect("a writer");
        let clone = writer.clone();
        if round % 1000 == 0 {
            let ticket = clone.try_append(&(round, "a")).expect("room");
            drop((writer, clone));
            stage.run(ticket).expect("written");
        }
    }
    stage.settle();
    let seen = stage.fluss.metrics();
    assert_eq!((seen.writers, seen.batches, seen.requests_in_flight), (0, 0, 0));
}
