//! How things end: close, and what is dropped without one.

use super::Harness;
use super::stage::{LOG, NEVER, PATIENCE, PRODUCE_LOG, Stage};
use crate::error::{Error, WriteError};
use crate::handle::{AppendBuilder, Ticket};
use crate::row;
use crate::time::Duration;

const SOON: Duration = Duration::from_millis(250);

fn patient(builder: AppendBuilder) -> AppendBuilder {
    builder.linger(NEVER).delivery_timeout(2 * NEVER)
}

/// A close delivers what was handed in, and afterwards nothing is taken any more.
pub fn a_close_delivers_what_was_handed_in<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = stage.writer_with(stage.config(), patient).await;
        let mut tickets = Vec::new();
        for id in 0..10 {
            tickets.push(writer.append(&row![id, "last words"]).await.expect("it fits"));
        }
        let fluss = writer.table().fluss().clone();
        assert_eq!(fluss.close(PATIENCE).await, Ok(0));
        for (id, ticket) in (0..).zip(tickets) {
            assert_eq!(stage.acked(id, ticket).await.offset, Some(id));
        }
        let refused = writer.append(&row![10_i64, "too late"]).await;
        assert!(matches!(refused, Err(Error::Closed(_))), "{refused:?}");
        let refused = writer.try_append(&row![10_i64, "too late"]);
        assert!(matches!(refused, Err(Error::Closed(_))), "{refused:?}");
        let refused = fluss.table(LOG).await;
        assert!(matches!(refused, Err(Error::Closed(_))), "{refused:?}");
        let refused = writer.table().appender().build();
        assert!(matches!(refused, Err(Error::Closed(_))), "{refused:?}");
        stage.note_never(10);
    });
}

/// A close whose time is over ends what is left, and says so truly.
pub fn a_close_that_runs_out_of_time_tells_true_outcomes<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = stage.writer_with(stage.config(), |b| b.batch_bytes(512)).await;
        let ticket = writer.append(&row![0_i64, "written"]).await.expect("it fits");
        stage.acked(0, ticket).await;
        stage.hold();
        // More than may be in flight: some of it is never sent.
        let mut tickets = Vec::new();
        for id in 1..100 {
            tickets.push(writer.append(&row![id, "on its way"]).await.expect("it fits"));
        }
        stage.until_requests(PRODUCE_LOG, 2).await;
        let left = writer.table().fluss().close(SOON).await.expect("it ends");
        assert!(left > 0, "nothing was left");
        let mut fates = (0, 0);
        for (id, ticket) in (1..).zip(tickets) {
            let outcome = ticket.await;
            match &outcome {
                Err(WriteError::OutcomeUnknown(_)) => fates.0 += 1,
                Err(WriteError::NotWritten(_)) => fates.1 += 1,
                Ok(ack) => panic!("nobody said so: {ack:?}"),
            }
            stage.note(id, &outcome);
        }
        assert!(fates.0 > 0 && fates.1 > 0, "unknown and not written: {fates:?}");
    });
}

/// Dropping the last handle of a writer seals what is open, and the client delivers it.
pub fn dropping_the_last_writer_delivers_its_rows<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = stage.writer_with(stage.config(), patient).await;
        let clone = writer.clone();
        let first = writer.append(&row![0_i64, "one lane"]).await.expect("it fits");
        let second = clone.append(&row![1_i64, "another"]).await.expect("it fits");
        drop(writer);
        drop(clone);
        stage.acked(0, first).await;
        stage.acked(1, second).await;
    });
}

/// Rows on their way and rows in an open batch, in this order.
async fn outstanding<H: Harness>(stage: &Stage<H>, fluss: &crate::Fluss) -> [Ticket; 2] {
    let table = fluss.table(LOG).await.expect("the table exists");
    let hasty = table.appender().linger(Duration::ZERO).build().expect("a writer");
    let ticket = hasty.append(&row![0_i64, "written"]).await.expect("it fits");
    stage.acked(0, ticket).await;
    stage.hold();
    let sent = hasty.append(&row![1_i64, "on its way"]).await.expect("it fits");
    stage.until_requests(PRODUCE_LOG, 2).await;
    let slow = patient(table.appender()).build().expect("a writer");
    let open = slow.append(&row![2_i64, "in an open batch"]).await.expect("it fits");
    [sent, open]
}

async fn end<H: Harness>(stage: &Stage<H>, [sent, open]: [Ticket; 2]) {
    let sent = sent.await;
    assert!(matches!(sent, Err(WriteError::OutcomeUnknown(_))), "{sent:?}");
    stage.note(1, &sent);
    let open = open.await;
    assert!(matches!(open, Err(WriteError::NotWritten(_))), "{open:?}");
    stage.note(2, &open);
}

/// Dropping the client without a close ends everything, each ticket with a true outcome.
pub fn dropping_the_client_gives_every_ticket_an_outcome<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let fluss = stage.harness.start(stage.config()).expect("a client");
        stage.watch_what_is_left(&fluss);
        let tickets = outstanding(stage, &fluss).await;
        drop(fluss);
        end(stage, tickets).await;
    });
}

/// So does dropping its driver, and the handles that are left say that they are closed.
pub fn dropping_the_driver_gives_every_ticket_an_outcome<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let started = stage.harness.start_stoppable(stage.config());
        let (fluss, stop) = started.expect("a client");
        stage.watch(&fluss);
        let table = fluss.table(LOG).await.expect("the table exists");
        let tickets = outstanding(stage, &fluss).await;
        stop();
        end(stage, tickets).await;
        let refused = fluss.ready().await;
        assert!(matches!(refused, Err(Error::Closed(_))), "{refused:?}");
        let refused = table.appender().build();
        assert!(matches!(refused, Err(Error::Closed(_))), "{refused:?}");
    });
}
