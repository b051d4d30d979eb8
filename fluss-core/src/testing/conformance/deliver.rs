//! Rows reach the log: offsets, linger, full batches, flush, tickets that nobody keeps.

use std::collections::BTreeSet;

use super::Harness;
use super::stage::{LOG, NEVER, PRODUCE_LOG, Stage, keyed_table};
use crate::error::WriteError;
use crate::row;
use crate::testing::cluster::{Fault, On};
use crate::time::Duration;

/// Each ticket tells bucket and offset of its row.
pub fn each_row_is_acknowledged_at_its_offset<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = stage.writer().await;
        for id in 0..3 {
            let ticket = writer.append(&row![id, "ada"]).await.expect("it fits");
            let ack = stage.acked(id, ticket).await;
            assert_eq!((ack.bucket, ack.offset, ack.inferred), (0, Some(id), false));
        }
        let rows = (3..1003).map(|id| row![id, "grace"]);
        let run = writer.append_all(rows).await.expect("handed in");
        let parts = run.await;
        stage.note_run(3, &parts);
        assert_eq!(parts.iter().map(|part| part.rows.end - part.rows.start).sum::<u64>(), 1000);
        assert_eq!(stage.ids(), (0..1003).collect::<Vec<i64>>());
    });
}

/// A batch that is not full goes when its linger is over, and not before.
pub fn a_row_lingers_and_then_goes_by_itself<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let patient = stage.writer_with(stage.config(), |b| lingering(b, NEVER)).await;
        let held = patient.append(&row![0_i64, "waits"]).await.expect("it fits");
        let brief = Duration::from_millis(5);
        let brief = stage.writer_with(stage.config(), |b| lingering(b, brief)).await;
        let ticket = brief.append(&row![1_i64, "goes"]).await.expect("it fits");
        stage.acked(1, ticket).await;
        assert_eq!((held.outcome(), stage.requests(PRODUCE_LOG)), (None, 1));
        patient.flush().await.expect("all written");
        assert_eq!(stage.acked(0, held).await.offset, Some(1));
    });
}

fn lingering(builder: crate::AppendBuilder, linger: Duration) -> crate::AppendBuilder {
    builder.linger(linger).delivery_timeout(2 * NEVER)
}

/// A full batch does not wait for its linger.
pub fn a_full_batch_goes_without_waiting_for_its_linger<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let set = |b| lingering(b, NEVER).batch_bytes(4 << 10);
        let writer = stage.writer_with(stage.config(), set).await;
        let mut tickets = Vec::new();
        for id in 0..10 {
            tickets.push(writer.append(&row![id, &"x".repeat(1 << 10)]).await.expect("it fits"));
        }
        let last = tickets.pop().expect("ten tickets");
        let first = tickets.remove(0);
        assert_eq!(stage.acked(0, first).await.offset, Some(0));
        assert_eq!(last.outcome(), None, "its batch is not full");
        writer.flush().await.expect("all written");
        for (id, ticket) in (1..).zip(tickets) {
            stage.acked(id, ticket).await;
        }
        stage.acked(9, last).await;
    });
}

/// A flush tells which rows did not make it, once, and the writer goes on.
pub fn a_flush_names_the_rows_that_did_not_make_it<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = stage.writer_with(stage.config(), |b| lingering(b, NEVER)).await;
        const TOO_LARGE: i32 = 13;
        stage.inject(On::Write, 0, Fault::ErrorBefore(TOO_LARGE));
        let mut tickets = Vec::new();
        for id in 0..3 {
            tickets.push(writer.append(&row![id, "lost"]).await.expect("it fits"));
        }
        let error = writer.flush().await.expect_err("the server refused them");
        assert_eq!((error.not_written, error.unknown), (3, 0), "{error}");
        let [failed] = &error.first[..] else { panic!("{error:?}") };
        assert_eq!((failed.rows, failed.between), (3, (0, 2)));
        assert!(matches!(failed.error, WriteError::NotWritten(_)), "{error}");
        assert_eq!(failed.error.code().map(|code| code.0), Some(TOO_LARGE), "{error}");
        for (id, ticket) in (0..).zip(tickets) {
            stage.note(id, &ticket.await);
        }
        writer.flush().await.expect("told once");
        let ticket = writer.append(&row![3_i64, "kept"]).await.expect("it fits");
        writer.flush().await.expect("all written");
        assert_eq!(stage.acked(3, ticket).await.offset, Some(0));
    });
}

/// Dropping a ticket cancels nothing.
pub fn a_row_whose_ticket_is_dropped_is_written<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = stage.writer().await;
        for id in 0..10 {
            drop(writer.append(&row![id, "unwatched"]).await.expect("it fits"));
        }
        writer.flush().await.expect("all written");
        assert_eq!(stage.ids(), (0..10).collect::<Vec<i64>>());
    });
}

/// Threads that know nothing of the runtime hand rows in and wait for them.
pub fn foreign_threads_wake_an_idle_driver<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = stage.writer().await;
        for round in 0..20_i64 {
            let lane = writer.clone();
            let outcome = stage
                .aside(move || {
                    let ticket = lane.append(&row![round, "from afar"]).wait().expect("it fits");
                    ticket.wait()
                })
                .await;
            stage.note(round, &outcome);
            assert_eq!(outcome.map(|ack| ack.offset), Ok(Some(round)));
        }
    });
}

/// Where the driver runs by itself, the thread that runs futures may block as well.
pub fn a_thread_may_block_in_the_middle_of_a_future<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = stage.writer().await;
        for id in 0..20_i64 {
            let row = row![id, "in place"];
            let ticket = if H::BLOCKING_ALONE {
                let outcome = writer.append(&row).wait().expect("it fits").wait();
                stage.note(id, &outcome);
                writer.flush().wait().expect("all written");
                continue;
            } else {
                // Here only handing in may block, which it does not as long as there is memory.
                writer.append(&row).wait().expect("it fits")
            };
            stage.acked(id, ticket).await;
        }
        assert_eq!(stage.ids(), (0..20).collect::<Vec<i64>>());
    });
}

/// Two threads with a lane each; each lane's rows keep their order.
pub fn rows_of_each_handle_keep_their_order<H: Harness>() {
    const ROWS: i64 = 500;
    Stage::<H>::run(async |stage| {
        let writer = stage.writer_with(stage.config(), |b| b.batch_bytes(1 << 10)).await;
        let threads = [0, ROWS].map(|first| {
            let lane = writer.clone();
            stage.aside(move || {
                let rows = (first..first + ROWS).map(|id| row![id, "in order"]);
                lane.append_all(rows).wait().expect("handed in").wait()
            })
        });
        for (thread, first) in threads.into_iter().zip([0, ROWS]) {
            stage.note_run(first, &thread.await);
        }
        let ids = stage.ids();
        let (low, high): (Vec<i64>, Vec<i64>) = ids.into_iter().partition(|id| *id < ROWS);
        assert_eq!((low, high), ((0..ROWS).collect(), (ROWS..2 * ROWS).collect()));
    });
}

/// Two writers of one table are two writers to the servers; a clone is the same one.
pub fn two_writers_have_different_writer_ids<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let table = stage.client().table(LOG).await.expect("the table exists");
        let build = || table.appender().linger(Duration::ZERO).build().expect("a writer");
        let (one, two) = (build(), build());
        let clone = one.clone();
        for (id, writer) in [(0, &one), (1, &two), (2, &clone)] {
            let ticket = writer.append(&row![id, "by whom"]).await.expect("it fits");
            stage.acked(id, ticket).await;
        }
        let bucket = stage.bucket();
        let ids: Vec<i64> =
            stage.with(|cluster| cluster.log(bucket).map(|batch| batch.writer_id).collect());
        assert!(ids.iter().all(|id| *id >= 0), "{ids:?}");
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 2, "{ids:?}");
        assert_eq!(ids[0], ids[2], "a clone is another lane of the same writer");
    });
}

/// Upserts and deletes answer with the end of their batch in the changelog.
pub fn upserts_and_deletes_answer_with_the_log_end_offset<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let table = keyed_table(stage).await;
        let writer = table.upserter().linger(Duration::ZERO).build().expect("a writer");
        // +I; then -U and +U; then -D.
        for (text, end) in [(Some("new"), 1), (Some("changed"), 3), (None, 4)] {
            let ticket = match text {
                Some(text) => writer.upsert(&row![7_i64, text]).await,
                None => writer.delete(&row![7_i64]).await,
            };
            let ack = ticket.expect("it fits").await.expect("written");
            assert_eq!((ack.bucket, ack.offset, ack.log_end_offset), (0, None, Some(end)));
        }
        let rows = (0..100_i64).map(|id| row![id, "many"]);
        let parts = writer.upsert_all(rows).await.expect("handed in").await;
        assert!(parts.iter().all(|part| part.outcome.is_ok()), "{parts:?}");
        let users = stage.table_id(super::stage::TABLE);
        let live = stage.with(|cluster| {
            let bucket = cluster.buckets(users).next().expect("one bucket");
            cluster.live_rows(bucket).expect("rows that decode").len()
        });
        assert_eq!(live, 100);
    });
}
