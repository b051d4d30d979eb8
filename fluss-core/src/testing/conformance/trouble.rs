//! Requests and connections that fail on the way: everything is written once, whatever was lost.

use super::Harness;
use super::stage::{LOG, PATIENCE, PRODUCE_LOG, Stage};
use crate::error::Error;
use crate::row;
use crate::testing::cluster::{Fault, FaultKind, Faults, On};
use crate::time::Duration;

/// A deadline that a silent server lets pass.
const SOON: Duration = Duration::from_millis(250);

const GET_TABLE_INFO: i16 = 1007;

/// A write that is neither applied nor answered is sent again after the request deadline.
pub fn a_write_that_is_dropped_silently_is_sent_again<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let config = stage.config().ack_timeout(SOON / 2).request_deadline(SOON);
        let writer = stage.writer_with(config, |b| b).await;
        stage.inject(On::Write, 0, Fault::DropRequest);
        let ticket = writer.append(&row![0_i64, "twice sent"]).await.expect("it fits");
        assert_eq!(stage.acked(0, ticket).await.offset, Some(0));
        assert!(stage.requests(PRODUCE_LOG) >= 2);
    });
}

/// A write that is applied and not answered is not doubled by being sent again.
pub fn a_write_whose_answer_never_comes_is_there_once<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let config = stage.config().ack_timeout(SOON / 2).request_deadline(SOON);
        let writer = stage.writer_with(config, |b| b).await;
        stage.inject(On::Write, 0, Fault::SwallowAnswer);
        let ticket = writer.append(&row![0_i64, "once there"]).await.expect("it fits");
        assert_eq!(stage.acked(0, ticket).await.offset, Some(0));
        let bucket = stage.bucket();
        let truth = stage.with(|cluster| cluster.truth(bucket)).expect("the bucket exists");
        assert_eq!((truth.rows, truth.duplicates), (1, 1));
    });
}

/// A call that may be repeated is, within its own limit.
pub fn a_call_that_is_dropped_silently_is_repeated<H: Harness>() {
    Stage::<H>::run(async |stage| {
        stage.inject(On::Other, 0, Fault::DropRequest);
        let config = stage.config().ack_timeout(SOON / 2).request_deadline(SOON);
        let fluss = stage.client_with(config);
        fluss.table(LOG).await.expect("the second attempt is answered");
        assert_eq!(stage.requests(GET_TABLE_INFO), 2);
    });
}

/// A server that goes silent: the call ends at its deadline and says what was asked.
pub fn a_silent_server_ends_a_call_at_its_deadline<H: Harness>() {
    Stage::<H>::run(async |stage| {
        stage.with(|cluster| cluster.set_faults(Faults::new(0).one_in(1, On::Other, SILENT)));
        let fluss = stage.client_with(stage.config().command_deadline(SOON));
        let error = fluss.table(LOG).await.expect_err("nobody answers");
        assert!(matches!(error, Error::Unavailable { after, .. } if after == SOON), "{error}");
        assert!(error.to_string().contains(LOG), "{error}");
        stage.with(|cluster| cluster.heal());
        stage.let_go();
        fluss.ready().await.expect("usable as before");
        let table = stage.client().table(LOG).await.expect("answered");
        assert_eq!(table.info().path.to_string(), LOG);
    });
}

const SILENT: Fault = Fault::Silence;

/// Connections are cut before, within and after the answer to a write.
pub fn a_cut_within_a_frame_loses_and_doubles_nothing<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = stage.writer().await;
        let cuts = [Fault::CutRequest, Fault::LoseAnswer, Fault::CutAnswer];
        for (id, cut) in (0..).zip(cuts) {
            stage.inject(On::Write, 0, cut);
            let ticket = writer.append(&row![id, "cut"]).await.expect("it fits");
            assert_eq!(stage.acked(id, ticket).await.offset, Some(id), "{cut:?}");
            assert_eq!(stage.with(|cluster| cluster.faults().count(cut.kind())), 1);
        }
        stage.inject(On::Other, 0, Fault::CutAnswer);
        writer.table().fluss().table(LOG).await.expect("asked again");
    });
}

/// The client connects again by itself and goes on.
pub fn the_client_reconnects_while_rows_are_on_their_way<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = stage.writer().await;
        for id in 0..5_i64 {
            let before = stage.requests(PRODUCE_LOG);
            // The first one makes the connection that the next one finds.
            if id > 0 {
                stage.hold();
            }
            let ticket = writer.append(&row![id, "held"]).await.expect("it fits");
            stage.until_requests(PRODUCE_LOG, before + 1).await;
            if id > 0 {
                stage.let_go();
            }
            assert_eq!(stage.acked(id, ticket).await.offset, Some(id));
            let copies = stage.requests(PRODUCE_LOG) - before;
            assert!(copies > u64::from(id > 0), "row {id}: {copies} copies");
        }
    });
}

/// Servers close idle connections: no harm done.
pub fn a_connection_closed_while_idle_is_made_anew_when_needed<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = stage.writer().await;
        for id in 0..3_i64 {
            let ticket = writer.append(&row![id, "then idle"]).await.expect("it fits");
            stage.acked(id, ticket).await;
            stage.let_go();
        }
    });
}

/// Leaders move while rows are written.
pub fn rows_follow_a_leader_that_moves<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = stage.writer().await;
        for (id, fault) in (0..).zip([Fault::MoveLeader, Fault::MoveLeaderAfter]) {
            stage.inject(On::Write, 0, fault);
            let ticket = writer.append(&row![id, "moved"]).await.expect("it fits");
            stage.acked(id, ticket).await;
            assert_eq!(stage.with(|cluster| cluster.faults().count(fault.kind())), 1);
        }
    });
}

/// Answers that are rubbish are as good as lost, and say so where that is all there is to say.
pub fn an_answer_that_does_not_parse_is_reported_or_made_good<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = stage.writer().await;
        for (id, garbage) in (0..).zip([Fault::GarbageBody, Fault::GarbageFrame]) {
            stage.inject(On::Write, 0, garbage);
            let ticket = writer.append(&row![id, "garbled"]).await.expect("it fits");
            assert_eq!(stage.acked(id, ticket).await.offset, Some(id), "{garbage:?}");
        }
        let fluss = writer.table().fluss();
        stage.inject(On::Metadata, 0, Fault::GarbageBody);
        stage.inject(On::Other, 0, Fault::GarbageBody);
        let error = fluss.table(LOG).await.expect_err("the answer is rubbish");
        assert!(matches!(error, Error::Peer { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("GET_TABLE_INFO") && text.contains("parse"), "{text}");
        let named = stage.with(|cluster| {
            cluster.servers().any(|s| {
                cluster.address(s).is_some_and(|address| text.contains(&address.to_string()))
            })
        });
        assert!(named, "no server's address: {text}");
        fluss.table(LOG).await.expect("usable as before");
    });
}

/// Two thousand rows while everything goes wrong by chance.
pub fn everything_goes_wrong_by_chance_and_each_row_is_there_once<H: Harness>() {
    const ROWS: i64 = 2000;
    Stage::<H>::run(async |stage| {
        let config = stage.config().ack_timeout(SOON / 2).request_deadline(SOON);
        let writer = stage.writer_with(config, |b| b.batch_bytes(512)).await;
        let faults = Faults::new(11)
            .one_in(20, On::Write, Fault::LoseAnswer)
            .one_in(20, On::Any, Fault::CutRequest)
            .one_in(20, On::Any, Fault::CutAnswer)
            .one_in(40, On::Write, Fault::MoveLeader)
            .one_in(200, On::Write, Fault::SwallowAnswer)
            .one_in(20, On::Write, Fault::DelayAnswer(Duration::from_millis(5)))
            .one_in(40, On::Write, Fault::GarbageBody)
            .one_in(20, On::Write, Fault::DuplicateAnswer);
        stage.with(|cluster| cluster.set_faults(faults));
        let rows = (0..ROWS).map(|id| row![id, "storm"]);
        let run = writer.append_all(rows).await.expect("handed in");
        let parts = run.await;
        stage.with(|cluster| cluster.heal());
        stage.note_run(0, &parts);
        assert!(parts.iter().all(|part| part.outcome.is_ok()), "seed 11: {parts:?}");
        assert_eq!(stage.ids(), (0..ROWS).collect::<Vec<i64>>(), "seed 11");
        let lost = stage.with(|cluster| cluster.faults().count(FaultKind::LoseAnswer));
        assert!(lost > 0, "seed 11 loses no answer");
    });
}

/// Retries end with the writer's delivery timeout, and the outcome is a true one.
pub fn a_row_that_cannot_be_delivered_ends_with_a_true_outcome<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let brief = |b: crate::AppendBuilder| b.delivery_timeout(SOON);
        // What was sent is waited for until the request deadline.
        let config = stage.config().ack_timeout(SOON / 2).request_deadline(SOON);
        let writer = stage.writer_with(config, brief).await;
        // The first row makes sure of id and leader.
        let ticket = writer.append(&row![0_i64, "written"]).await.expect("it fits");
        let first = ticket.await;
        stage.note(0, &first);
        stage.hold();
        let ticket = writer.append(&row![1_i64, "held"]).await.expect("it fits");
        let outcome = ticket.await;
        assert!(outcome.is_err(), "{outcome:?}");
        stage.note(1, &outcome);
        let error = writer.flush().await.expect_err("one row has no ok");
        // On a busy machine the first row may be late, too.
        let failed = 1 + u64::from(first.is_err());
        assert_eq!(error.not_written + error.unknown, failed, "{error}");
        stage.let_go();
        let patient =
            writer.table().appender().linger(Duration::ZERO).delivery_timeout(2 * PATIENCE);
        let patient = patient.build().expect("another writer");
        let ticket = patient.append(&row![2_i64, "after"]).await.expect("it fits");
        stage.acked(2, ticket).await;
    });
}
