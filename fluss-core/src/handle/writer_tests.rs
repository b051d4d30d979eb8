use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::super::testkit::{Stage, events};
use crate::AppendWriter;
use crate::config::Config;
use crate::error::{Error, WriteError};
use crate::row::{Row, RowSink};
use crate::testing::cluster::{ClusterOptions, FakeCluster};
use crate::time::Duration;

fn writer(stage: &mut Stage) -> AppendWriter {
    events(stage, 1).appender().build().expect("a writer")
}

fn small(limit: u64) -> Stage {
    Stage::configured(ClusterOptions::default(), |c: Config| c.memory_limit(limit))
}

fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

#[test]
fn calls_on_a_closed_client_end_at_once() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let closing = stage.fluss.close(Duration::from_secs(1));
    assert_eq!(stage.run(closing), Ok(0));
    let mut opening = stage.fluss.table("shop.events");
    assert!(matches!(stage.poll(&mut opening), Poll::Ready(Err(Error::Closed(_)))));
    assert!(matches!(table.appender().build(), Err(Error::Closed(_))));
    let fluss = stage.into_fluss();
    assert_eq!(fluss.close(Duration::ZERO).wait(), Ok(0));
    assert!(matches!(fluss.table("shop.events").wait(), Err(Error::Closed(_))));
}

#[test]
fn calls_end_when_the_driver_is_dropped() {
    let mut stage = Stage::new();
    let writer = writer(&mut stage);
    let ticket = writer.try_append(&(1i64, "a")).expect("room");
    let mut flush = writer.flush();
    assert!(stage.poll(&mut flush).is_pending());
    let fluss = stage.into_fluss();
    assert!(matches!(ticket.wait(), Err(WriteError::NotWritten(_))));
    let failed = flush.wait().expect_err("a row was not written");
    assert_eq!((failed.not_written, failed.unknown), (1, 0));
    assert!(matches!(fluss.table("shop.events").wait(), Err(Error::Closed(_))));
}

#[test]
fn whoever_closes_again_waits_for_the_end_too() {
    let mut stage = Stage::new();
    let writer = writer(&mut stage);
    stage.cluster(|c: &mut FakeCluster| {
        c.servers().collect::<Vec<_>>().into_iter().for_each(|s| c.stop(s))
    });
    let ticket = writer.try_append(&(1i64, "a")).expect("room");
    let mut first = stage.fluss.close(Duration::from_secs(60));
    assert!(stage.poll(&mut first).is_pending());
    let second = stage.fluss.close(Duration::from_secs(1));
    assert_eq!(stage.run(second), Ok(1));
    assert_eq!(stage.run(first), Ok(1));
    assert!(matches!(ticket.outcome(), Some(Err(WriteError::NotWritten(_)))));
    assert_eq!(stage.fluss.memory_used(), 0);
}

#[test]
fn rows_of_open_batches_are_counted_when_a_close_ends_them() {
    let mut stage = Stage::new();
    let writer = writer(&mut stage);
    let tickets = [1i64, 2, 3].map(|id| writer.try_append(&(id, "a")).expect("room"));
    let closing = stage.fluss.close(Duration::ZERO);
    assert_eq!(stage.run(closing), Ok(1));
    assert!(tickets.iter().all(|t| matches!(t.outcome(), Some(Err(_)))));
    assert!(matches!(writer.try_append(&(4i64, "a")), Err(Error::Closed(_))));
    let failed = stage.run(writer.flush()).expect_err("three rows failed");
    assert_eq!(failed.not_written, 3);
}

/// A row whose code panics when it is written for the second time.
struct Bomb(AtomicUsize);

impl Row for Bomb {
    fn arity(&self) -> usize {
        2
    }

    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        assert_eq!(self.0.fetch_add(1, Ordering::Relaxed), 0, "written again");
        (1i64, "a").write(sink)
    }
}

#[test]
fn a_row_that_panics_costs_no_memory_and_no_other_row() {
    let mut stage = Stage::new();
    let writer = writer(&mut stage);
    let bomb = Bomb(AtomicUsize::new(0));
    let before = writer.try_append(&bomb).expect("room");
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = writer.try_append(&bomb);
    }));
    assert!(caught.is_err());
    let after = writer.try_append(&(2i64, "b")).expect("room");
    assert_eq!(stage.run(before).expect("written").offset, Some(0));
    assert_eq!(stage.run(after).expect("written").offset, Some(1));
    assert_eq!(stage.fluss.memory_used(), 0);
}

#[test]
fn a_grant_is_given_back_when_its_row_panics() {
    let mut stage = small(4096);
    let table = events(&mut stage, 1);
    let first = table.appender().batch_bytes(4096).build().expect("a writer");
    let second = table.appender().batch_bytes(4096).build().expect("a writer");
    let mut tickets = Vec::new();
    while let Ok(ticket) = first.try_append(&(1i64, text(900))) {
        tickets.push(ticket);
    }
    let bomb = Bomb(AtomicUsize::new(1));
    let mut waiting = second.append(&bomb);
    assert!(stage.poll(&mut waiting).is_pending());
    for ticket in tickets {
        stage.run(ticket).expect("written");
    }
    let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = stage.poll(&mut waiting);
    }));
    assert!(polled.is_err());
    drop(waiting);
    let flush = second.flush();
    let _ = stage.run(flush);
    assert_eq!(stage.fluss.memory_used(), 0);
}

#[test]
fn rows_of_a_slow_iterator_are_sent_while_it_waits_for_the_next() {
    let mut stage = Stage::new();
    let writer = writer(&mut stage);
    let stage = std::cell::RefCell::new(stage);
    let mut left = 3i64;
    let slow = std::iter::from_fn(|| {
        // Far longer than the linger: what was handed in before must be out by now.
        let mut stage = stage.borrow_mut();
        stage.pass(Duration::from_secs(5));
        assert_eq!(stage.cluster(|c| c.rows_appended()), (3 - left) as u64);
        left -= 1;
        (left >= 0).then_some((left, "a"))
    });
    let mut all = writer.append_all(slow);
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(ticket)) = std::pin::Pin::new(&mut all).poll(&mut context) else {
        panic!("there is room")
    };
    drop(all);
    assert_eq!(stage.into_inner().run(ticket).len(), 3);
}

#[test]
fn rows_without_a_key_go_to_the_next_bucket_when_a_batch_is_full() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 4);
    let writer = table.appender().batch_bytes(1024).build().expect("a writer");
    let tickets: Vec<_> =
        (0..80i64).map(|id| writer.try_append(&(id, text(100))).expect("room")).collect();
    let mut rows = [0; 4];
    for ticket in tickets {
        rows[stage.run(ticket).expect("written").bucket as usize] += 1;
    }
    assert!(rows.iter().all(|rows| (10..=30).contains(rows)), "{rows:?}");
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_ticket_polled_with_ever_new_wakers_keeps_only_the_last() {
    let mut stage = Stage::new();
    let writer = writer(&mut stage);
    let mut ticket = writer.try_append(&(1i64, "a")).expect("room");
    let counts: Vec<_> = (0..10).map(|_| Arc::new(Count(AtomicUsize::new(0)))).collect();
    for count in &counts {
        let waker = Waker::from(Arc::clone(count));
        let polled = std::pin::Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    }
    stage.run(writer.flush()).expect("written");
    let woken: Vec<usize> = counts.iter().map(|c| c.0.load(Ordering::Relaxed)).collect();
    assert_eq!(woken, [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
}
