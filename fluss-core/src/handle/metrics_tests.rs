//! What the client shows of itself: numbers, and lines in the log.

use std::sync::{Mutex, MutexGuard, Once};

use super::signal::lock;
use super::testkit::{Stage, events};
use crate::metrics::Metrics;
use crate::testing::cluster::{ClusterOptions, Fault, On};
use crate::time::Duration;

#[test]
fn a_snapshot_follows_a_batch_from_open_to_acknowledged() {
    let mut stage = Stage::new();
    let linger = Duration::from_millis(50);
    let writer = events(&mut stage, 1).appender().linger(linger).build().expect("a writer");
    let before = stage.fluss.metrics();
    assert_eq!((before.batches, before.memory_used, before.writers), (0, 0, 1));
    let ticket = writer.try_append(&(1i64, "a")).expect("room");
    let open = stage.fluss.metrics();
    assert_eq!((open.batches, open.sealed_bytes, open.requests_in_flight), (1, 0, 0));
    assert!(open.memory_used > 0 && open.memory_used <= open.memory_limit, "{open:?}");
    stage.cluster(|c| c.inject(On::Write, 0, Fault::DelayAnswer(Duration::from_millis(30))));
    stage.pass(Duration::from_millis(60));
    let sent = stage.fluss.metrics();
    let flying = (sent.batches, sent.requests_in_flight, sent.batches_in_flight);
    assert_eq!(flying, (1, 1, 1), "{sent:?}");
    assert!(sent.bytes_in_flight == sent.sealed_bytes && sent.sealed_bytes > 0, "{sent:?}");
    assert!(sent.connections > 0, "{sent:?}");
    stage.run(ticket).expect("written");
    let done = stage.fluss.metrics();
    let gone = Metrics { memory_used: 0, batches: 0, sealed_bytes: 0, ..done.clone() };
    assert_eq!(done, gone);
    assert_eq!((done.requests_in_flight, done.bytes_in_flight), (0, 0));
    let answers = &done.answer_latency;
    assert_eq!((answers.count(), answers.max()), (1, Some(Duration::from_millis(30))));
    assert_eq!(done.delivery_latency.max(), Some(Duration::from_millis(80)));
    assert_eq!((done.counters.copies, done.counters.retries), (1, 0));
    assert!(done.counters.connections_made > 0 && done.counters.connections_lost == 0);
}

#[test]
fn a_batch_that_cannot_be_sent_is_queued_and_not_in_flight() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = table.appender().linger(Duration::ZERO).build().expect("a writer");
    let tablets: Vec<_> = stage.cluster(|c| c.servers().skip(1).collect());
    stage.cluster(|c| tablets.iter().for_each(|server| c.stop(*server)));
    let ticket = writer.try_append(&(1i64, "a")).expect("room");
    stage.pass(Duration::from_secs(1));
    let queued = stage.fluss.metrics();
    assert_eq!((queued.batches, queued.batches_in_flight, queued.bytes_in_flight), (1, 0, 0));
    assert!(queued.sealed_bytes > 0, "{queued:?}");
    stage.cluster(|c| {
        c.inject(On::Write, 0, Fault::DelayAnswer(Duration::from_secs(1)));
        tablets.iter().for_each(|server| c.start(*server));
    });
    for _ in 0..100 {
        if stage.fluss.metrics().batches_in_flight == 0 {
            stage.pass(Duration::from_millis(100));
        }
    }
    let sent = stage.fluss.metrics();
    assert_eq!((sent.batches, sent.batches_in_flight), (1, 1), "{sent:?}");
    assert_eq!((sent.sealed_bytes, sent.bytes_in_flight), (queued.sealed_bytes, sent.sealed_bytes));
    stage.run(ticket).expect("written");
    let done = stage.fluss.metrics();
    assert_eq!((done.batches, done.batches_in_flight), (0, 0));
    assert_eq!((done.sealed_bytes, done.bytes_in_flight), (0, 0));
}

#[test]
fn resends_are_counted_by_their_reason_and_waiters_while_they_wait() {
    let mut stage = Stage::configured(ClusterOptions::default(), |c| c.memory_limit(8 << 10));
    let table = events(&mut stage, 1);
    let writer = table.appender().batch_bytes(1 << 10).build().expect("a writer");
    stage.cluster(|c| c.inject(On::Write, 0, Fault::LoseAnswer));
    let text = "x".repeat(200);
    let rows: Vec<_> = (0..1000i64).map(|id| (id, text.as_str())).collect();
    let mut all = writer.append_all(rows);
    assert!(stage.poll(&mut all).is_pending());
    assert_eq!(stage.fluss.metrics().memory_waiters, 1);
    let run = stage.run(all).expect("the client is open");
    assert!(stage.run(run).iter().all(|part| part.outcome.is_ok()));
    let metrics = stage.fluss.metrics();
    assert_eq!((metrics.memory_waiters, metrics.memory_used), (0, 0));
    let c = &metrics.counters;
    assert!(c.resends_ambiguous >= 1, "{c:?}");
    let by_reason = [c.resends_sequence, c.resends_transient, c.resends_confirm, c.probes];
    assert_eq!(c.retries, c.resends_ambiguous + by_reason.iter().sum::<u64>(), "{c:?}");
    assert_eq!(c.connections_lost, 1, "{c:?}");
}

/// Keeps what is logged. There is one logger for all tests, so lines are looked for, not counted.
struct Keeper(Mutex<Vec<(log::Level, String)>>);

static KEEPER: Keeper = Keeper(Mutex::new(Vec::new()));

impl log::Log for Keeper {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}", record.target(), record.args());
        lock(&self.0).push((record.level(), line));
    }

    fn flush(&self) {}
}

fn kept() -> MutexGuard<'static, Vec<(log::Level, String)>> {
    static SET: Once = Once::new();
    SET.call_once(|| {
        log::set_logger(&KEEPER).expect("no other logger in these tests");
        log::set_max_level(log::LevelFilter::Trace);
    });
    lock(&KEEPER.0)
}

#[test]
fn lost_connections_and_ended_rows_are_logged_and_the_password_never_is() {
    drop(kept());
    const PASSWORD: &str = "correct-horse-17";
    let options = ClusterOptions {
        users: vec![("ada".to_owned(), PASSWORD.to_owned())],
        ..ClusterOptions::default()
    };
    let mut stage = Stage::configured(options, |c| c.credentials("ada", PASSWORD));
    let writer = events(&mut stage, 1).appender().build().expect("a writer");
    let ticket = writer.try_append(&(1i64, "a")).expect("room");
    stage.run(ticket).expect("written");
    stage.cluster(|c| c.cut_connections(None));
    stage.pass(Duration::from_secs(1));
    drop(writer.try_append(&(2i64, "b")).expect("room"));
    let config = stage.fluss.config(|c| format!("{c:?} {:?}", c.credentials));
    assert!(!config.contains(PASSWORD) && config.contains("ada"), "{config}");
    drop((writer, stage));
    // Another client has the wrong password, which the error must not repeat either.
    let options = ClusterOptions {
        users: vec![("ada".to_owned(), "another".to_owned())],
        ..ClusterOptions::default()
    };
    let mut wrong = Stage::configured(options, |c| c.credentials("ada", PASSWORD));
    let ready = wrong.fluss.ready();
    let error = wrong.run(ready).expect_err("the wrong password").to_string();
    assert!(!error.contains(PASSWORD), "{error}");
    drop(wrong);
    let kept = kept();
    let has = |level, text: &str| kept.iter().any(|(l, line)| *l == level && line.contains(text));
    assert!(has(log::Level::Debug, "fluss connected to tablet server"), "{kept:?}");
    assert!(has(log::Level::Info, "the connection was lost"), "{kept:?}");
    assert!(has(log::Level::Warn, "1 batches with 1 rows had no outcome yet"), "{kept:?}");
    assert!(!kept.iter().any(|(_, line)| line.contains(PASSWORD)), "a password in the log");
}
