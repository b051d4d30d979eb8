//! Answers that no server gives: they cost the connection, and reach nobody.

use super::request::RequestError;
use super::testkit::*;
use crate::output::Action;

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
