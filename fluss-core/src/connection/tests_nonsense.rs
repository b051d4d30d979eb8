//! Answers that no server gives: they cost the connection, and reach nobody. Requests that nobody
//! sends: they cost nothing.

use fluss_proto::ApiKey;

use super::request::{Owner, RequestError};
use super::testkit::*;
use crate::output::Action;
use crate::time::Duration;

#[test]
fn an_answer_that_comes_twice_or_to_no_request_costs_the_connection() {
    // The first of the handshake's own, the one that is answered, and two that nobody asked for.
    for (name, again) in [("handshake", Some(0)), ("answered", None), ("never", Some(12345))]
        .into_iter()
        .chain([("negative", Some(-1))])
    {
        let mut b = Bench::new("host:9123");
        let conn = b.ready(BOOT);
        b.ask(BOOT, 1);
        b.ask(BOOT, 2);
        let asked = b.written(conn);
        b.frame(conn, success(asked[0].id, b""));
        assert_eq!(b.replies().len(), 1, "{name}");
        b.actions();
        b.frame(conn, success(again.unwrap_or(asked[0].id), b"again"));
        assert_eq!(b.actions(), [Action::Disconnect { conn }], "{name}");
        let replies = b.replies();
        assert_eq!(replies.len(), 1, "{name}: the open request is over, the answered one was");
        let Err(RequestError::Lost(error)) = &replies[0].result else { panic!("{replies:?}") };
        assert!(error.to_string().contains("twice or unasked"), "{name}: {error}");
        assert_eq!(b.net.dropped_answers(), 1, "{name}");
    }
}

#[test]
fn an_error_without_a_code_is_neither_success_nor_refusal() {
    for body in [&b""[..], &[8, 0], &[18, 1, b'x']] {
        let mut b = Bench::new("host:9123");
        let conn = b.ready(BOOT);
        b.ask(BOOT, 1);
        let asked = b.written(conn);
        b.frame(conn, answer(1, Some(asked[0].id), body));
        let replies = b.replies();
        let [reply] = &replies[..] else { panic!("{body:?}: {replies:?}") };
        assert!(lost(reply).to_string().contains("without a code"), "{body:?}: {reply:?}");
    }
}

#[test]
fn a_request_that_is_taken_back_is_neither_overdue_nor_lost() {
    for withdrawn in [true, false] {
        let mut b = Bench::new("host:9123");
        let conn = b.ready(BOOT);
        let deadline = b.now + b.config.request_deadline;
        let begun = b
            .run(|net, cx| net.begin(cx, conn, ApiKey::ProduceLog, Owner::Write(9), deadline))
            .expect("a ready connection");
        if withdrawn {
            b.net.withdraw(conn, begun);
        }
        b.pass(Duration::from_secs(600));
        assert_eq!(b.replies().is_empty(), withdrawn);
        assert_eq!(b.actions().is_empty(), withdrawn, "its deadline closes the connection");
    }
}

#[test]
fn a_connection_goes_on_after_a_request_that_was_taken_back() {
    let mut b = Bench::new("host:9123");
    let conn = b.ready(BOOT);
    let deadline = b.now + b.config.request_deadline;
    let begun = b
        .run(|net, cx| net.begin(cx, conn, ApiKey::ProduceLog, Owner::Write(9), deadline))
        .expect("a ready connection");
    b.net.withdraw(conn, begun);
    b.run(|net, cx| net.want_flush(cx, BOOT));
    assert_eq!(b.actions(), [Action::Flush { conn }]);
    assert!(b.written(conn).is_empty());
    b.ask(BOOT, 1);
    assert_eq!(b.actions(), [Action::Flush { conn }]);
}
