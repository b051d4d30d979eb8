//! The memory budget: who waits, who gets a place, and what a dropped wait leaves behind.

use std::task::Poll;

use super::Harness;
use super::stage::{PRODUCE_LOG, Stage, both, poll_once};
use crate::config::Config;
use crate::error::Error;
use crate::handle::{AppendWriter, Ticket};
use crate::row;
use crate::time::Duration;

const BUDGET: u64 = 64 << 10;
/// The text of rows of which 64 are as large as the budget.
fn text() -> String {
    "x".repeat(1 << 10)
}

fn small(config: Config) -> Config {
    config.memory_limit(BUDGET)
}

/// A writer whose rows are held by the server after the first one.
async fn held_writer<H: Harness>(stage: &Stage<H>) -> AppendWriter {
    let set = |b: crate::AppendBuilder| b.batch_bytes(8 << 10);
    let writer = stage.writer_with(small(stage.config()), set).await;
    let ticket = writer.append(&row![0_i64, "first"]).await.expect("it fits");
    stage.acked(0, ticket).await;
    stage.hold();
    writer
}

/// Appends rows with ids from 1 on until a blocked append is not served any more.
async fn fill<H: Harness>(stage: &Stage<H>, writer: &AppendWriter) -> Vec<Ticket> {
    let writer = writer.clone();
    stage
        .aside(move || {
            let (mut tickets, text) = (Vec::new(), text());
            for id in 1_i64.. {
                let row = row![id, &text];
                match writer.append(&row).wait_timeout(Duration::from_millis(150)) {
                    Ok(ticket) => tickets.push(ticket),
                    Err(Error::Unavailable { .. }) => break,
                    Err(error) => panic!("row {id}: {error}"),
                }
                assert!(id < 200, "more rows than the budget holds");
            }
            tickets
        })
        .await
}

async fn note_all<H: Harness>(stage: &Stage<H>, first: i64, tickets: Vec<Ticket>) {
    for (id, ticket) in (first..).zip(tickets) {
        stage.acked(id, ticket).await;
    }
}

/// A run four times the budget waits for memory, and goes on when the server answers.
pub fn a_run_larger_than_the_budget_waits_for_memory<H: Harness>() {
    const ROWS: i64 = 256;
    Stage::<H>::run(async |stage| {
        let writer = held_writer(stage).await;
        let text = text();
        let mut run = writer.append_all((1..=ROWS).map(|id| row![id, &text]));
        assert!(poll_once(&mut run).await.is_pending(), "all that in a quarter of the memory");
        let taken = run.handed_in();
        assert!((1..ROWS as u64).contains(&taken), "{taken} rows handed in");
        stage.until_requests(PRODUCE_LOG, 2).await;
        stage.let_go();
        let parts = run.await.expect("handed in").await;
        stage.note_run(1, &parts);
        assert!(parts.iter().all(|part| part.outcome.is_ok()), "{parts:?}");
        assert_eq!(stage.ids(), (0..=ROWS).collect::<Vec<i64>>());
    });
}

/// Tasks on one thread, among them the driver, share a budget that is far too small.
pub fn tasks_on_one_executor_share_a_small_budget_without_deadlock<H: Harness>() {
    const ROWS: i64 = 150;
    Stage::<H>::run(async |stage| {
        // An hour of linger: only the need for memory makes open batches go.
        let set = |b: crate::AppendBuilder| {
            let hour = Duration::from_secs(3600);
            b.linger(hour).delivery_timeout(2 * hour).batch_bytes(16 << 10)
        };
        let writer = stage.writer_with(small(stage.config()), set).await;
        let task = async |first: i64| {
            let lane = writer.clone();
            let mut tickets = Vec::new();
            for id in first..first + ROWS {
                tickets.push(lane.append(&row![id, &text()]).await.expect("it fits"));
            }
            tickets
        };
        let four = both(both(task(0), task(ROWS)), both(task(2 * ROWS), task(3 * ROWS)));
        let (eight, four) = both(both(task(4 * ROWS), task(5 * ROWS)), four).await;
        writer.flush().await.expect("all written");
        let ((a, b), (c, d)) = four;
        for (first, tickets) in (0..).map(|task| task * ROWS).zip([a, b, c, d, eight.0, eight.1]) {
            note_all(stage, first, tickets).await;
        }
    });
}

/// Blocked threads wait for memory and are served.
pub fn blocked_threads_wait_for_memory<H: Harness>() {
    const ROWS: i64 = 256;
    Stage::<H>::run(async |stage| {
        let writer = held_writer(stage).await;
        let threads = [1, 1 + ROWS].map(|first| {
            let lane = writer.clone();
            stage.aside(move || {
                let text = text();
                let put = |id| lane.append(&row![id, &text]).wait().expect("it fits");
                (first..first + ROWS).map(put).collect::<Vec<Ticket>>()
            })
        });
        stage.until_requests(PRODUCE_LOG, 2).await;
        stage.let_go();
        for (thread, first) in threads.into_iter().zip([1, 1 + ROWS]) {
            note_all(stage, first, thread.await).await;
        }
    });
}

/// Without memory, a blocked append ends with its own limit, and `try_append` at once; neither has
/// handed anything in.
pub fn without_memory_a_limit_or_a_try_gives_the_row_back<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = held_writer(stage).await;
        let tickets = fill(stage, &writer).await;
        let next = 1 + tickets.len() as i64;
        stage.note_never(next);
        let error = writer.try_append(&row![1000_i64, &text()]).expect_err("there is no memory");
        assert!(matches!(error, Error::Full { limit: BUDGET, .. }), "{error:?}");
        stage.note_never(1000);
        stage.let_go();
        note_all(stage, 1, tickets).await;
        let ticket = writer.append(&row![1001_i64, "room again"]).await.expect("it fits");
        stage.acked(1001, ticket).await;
    });
}

/// An append that is dropped while it waits for memory has handed in nothing, and whoever stands
/// behind it is served.
pub fn a_dropped_append_gives_its_place_back<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = held_writer(stage).await;
        let tickets = fill(stage, &writer).await;
        let (text, behind) = (text(), writer.clone());
        let (first, second) = (row![1000_i64, &text], row![1001_i64, &text]);
        let mut dropped = writer.append(&first);
        assert!(poll_once(&mut dropped).await.is_pending(), "there is no memory");
        let mut behind = behind.append(&second);
        assert!(poll_once(&mut behind).await.is_pending(), "there is no memory");
        drop(dropped);
        stage.note_never(1000);
        stage.note_never(1 + tickets.len() as i64);
        stage.let_go();
        let ticket = behind.await.expect("served");
        stage.acked(1001, ticket).await;
        note_all(stage, 1, tickets).await;
    });
}

/// A run that is dropped has handed in the prefix it tells.
pub fn a_dropped_run_has_handed_in_the_prefix_it_tells<H: Harness>() {
    const ROWS: i64 = 256;
    Stage::<H>::run(async |stage| {
        let writer = held_writer(stage).await;
        let text = text();
        let mut run = writer.append_all((1..=ROWS).map(|id| row![id, &text]));
        let Poll::Pending = poll_once(&mut run).await else {
            panic!("all that in a quarter of it")
        };
        let taken = i64::try_from(run.handed_in()).expect("small");
        drop(run);
        stage.let_go();
        writer.flush().await.expect("all written");
        assert_eq!(stage.ids(), (0..=taken).collect::<Vec<i64>>());
        let ticket = writer.append(&row![1000_i64, "goes on"]).await.expect("it fits");
        stage.acked(1000, ticket).await;
    });
}
