use bytes::Bytes;
use fluss_proto::{ApiKey, ErrorCode};

use super::request::{Owner, RequestError};
use super::testkit::*;
use super::{Begun, ConnectionEvent};
use crate::error::Error;
use crate::ids::{ConnId, ServerId};
use crate::output::{Action, TimerReason};
use crate::time::{Duration, Instant};

const TABLET: ServerId = ServerId::Tablet(3);

#[test]
fn a_request_connects_negotiates_and_is_answered_with_a_slice_of_the_frame() {
    let mut b = Bench::new("host:9123");
    b.ask(BOOT, 7);
    let conn = b.connect_asked();
    assert!(b.written(conn).is_empty(), "nothing before the socket is connected");
    b.connected(conn);
    let hello = b.written(conn);
    assert_eq!((hello[0].api, hello[0].version, hello[0].id), (1000, 0, 0));
    assert!(b.written(conn).is_empty(), "one greeting, then patience");

    b.frame(conn, success(0, &versions(1)));
    assert_eq!(b.events(), [ConnectionEvent::Ready { server: BOOT, conn }]);
    assert_eq!(b.actions(), [Action::Flush { conn }]);
    let sent = b.written(conn);
    assert_eq!((sent[0].api, sent[0].version, &sent[0].body[..]), (1012, 0, &b"body"[..]));

    let frame = success(sent[0].id, &vec![5; 1 << 20]);
    b.frame(conn, frame.clone());
    let replies = b.replies();
    assert_eq!(replies[0].owner, Owner::Lookup(7));
    let body = replies[0].result.as_ref().expect("a body");
    assert_eq!(body.as_ptr(), frame[5..].as_ptr(), "the body must not be copied");
}

#[test]
fn pipelined_requests_leave_in_order_one_frame_each_and_are_told_apart_by_id() {
    let mut b = Bench::new("host:9123");
    let conn = b.ready(BOOT);
    for number in 1..=3 {
        b.ask(BOOT, number);
    }
    assert_eq!(b.actions(), [Action::Flush { conn }], "one edge, not one for each request");
    let sent = b.written(conn);
    assert_eq!(sent.len(), 3);
    b.frame(conn, success(sent[2].id, b"c"));
    b.frame(conn, error(sent[0].id, 7, "no such table"));
    b.frame(conn, success(sent[1].id, b"b"));
    let replies = b.replies();
    let owners: Vec<Owner> = replies.iter().map(|r| r.owner).collect();
    assert_eq!(owners, [Owner::Lookup(3), Owner::Lookup(1), Owner::Lookup(2)]);
    let Err(RequestError::Rejected { code, message }) = &replies[1].result else {
        panic!("{:?}", replies[1])
    };
    assert_eq!((code.0, &**message), (7, "no such table"));
    b.ask(BOOT, 4);
    assert_eq!(b.actions(), [Action::Flush { conn }], "the edge is armed again");
}

#[test]
fn a_connection_closed_while_idle_is_remade_at_the_next_request_without_failing_it() {
    let mut b = Bench::new("host:9123");
    let first = b.ready(BOOT);
    b.run(|net, cx| net.handle_closed(cx, first, "end of stream"));
    assert!(matches!(b.events()[..], [ConnectionEvent::Lost { .. }]));
    assert!(b.actions().is_empty(), "nobody needs a connection now");
    b.pass(Duration::from_secs(3600));
    assert!(b.actions().is_empty());
    b.ask(BOOT, 1);
    let second = b.connect_asked();
    assert_ne!(first, second);
    b.make_ready(second, 2);
    assert_eq!(b.written(second).len(), 1);
    assert!(b.replies().is_empty());
}

#[test]
fn what_was_written_is_lost_with_its_connection_and_what_was_not_waits_for_the_next() {
    let mut b = Bench::new("host:9123");
    let conn = b.ready(BOOT);
    b.ask(BOOT, 1);
    b.ask(BOOT, 2);
    b.run(|net, cx| net.poll_transmit(cx, conn)).expect("the first request");
    b.actions();
    b.run(|net, cx| net.handle_closed(cx, conn, "reset"));
    let replies = b.replies();
    assert_eq!(replies.len(), 1);
    assert_eq!(replies[0].owner, Owner::Lookup(1));
    let text = lost(&replies[0]).to_string();
    assert!(text.contains("bootstrap server host:9123") && text.contains("reset"), "{text}");

    assert!(b.actions().is_empty(), "reconnecting waits for its backoff");
    let (at, reason) = b.net.poll_timeout().expect("a retry");
    assert_eq!(reason, TimerReason::Reconnect);
    assert!((40..=60).contains(&(at.as_micros() / 1000)), "{at:?}");
    b.pass(Duration::from_millis(61));
    let next = b.connect_asked();
    b.make_ready(next, 2);
    assert_eq!(b.written(next).len(), 1);
    b.frame(next, success(1, b"answer"));
    assert_eq!(b.replies()[0].owner, Owner::Lookup(2));
}

#[test]
fn a_refused_connection_is_tried_again_with_growing_jittered_pauses_until_the_deadline() {
    let mut b = Bench::new("host:9123");
    b.ask(BOOT, 1);
    let mut pauses = Vec::new();
    while b.replies().is_empty() {
        if let Some(Action::Connect { conn, .. }) = b.actions().first().cloned() {
            b.run(|net, cx| net.handle_connect_failed(cx, conn, "connection refused"));
            assert!(b.actions().is_empty(), "no socket, nothing to drop");
        }
        let (at, _) = b.net.poll_timeout().expect("a timer while something waits");
        pauses.push(at - b.now);
        b.pass(at - b.now);
        if b.now >= Instant::ZERO + b.config.request_deadline {
            break;
        }
    }
    assert!(pauses[1] > pauses[0] && pauses[2] > pauses[1], "{pauses:?}");
    assert!(pauses.iter().all(|p| *p <= Duration::from_secs(6)), "{pauses:?}");
    let replies = b.replies();
    let text = not_sent(&replies[0]).to_string();
    for part in ["GET_METADATA", "bootstrap server host:9123", "40000 ms", "connection refused"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    assert!(b.net.poll_timeout().is_none(), "idle: no timer");
}

#[test]
fn requests_that_any_server_can_serve_come_back_at_once_from_one_that_is_dead() {
    let mut b = Bench::new("dead:1,alive:2");
    b.ask_as(BOOT, Owner::Metadata(1), ApiKey::GetMetadata);
    let conn = b.connect_asked();
    b.run(|net, cx| net.handle_connect_failed(cx, conn, "no route to host"));
    let replies = b.replies();
    let text = not_sent(&replies[0]).to_string();
    assert!(text.contains("dead:1") && text.contains("no route to host"), "{text}");
    b.ask_as(BOOT, Owner::Metadata(2), ApiKey::GetMetadata);
    assert_eq!(
        b.replies()[0].owner,
        Owner::Metadata(2),
        "not tried again before its pause is over"
    );
    b.ask_as(ServerId::Bootstrap(1), Owner::Metadata(3), ApiKey::GetMetadata);
    assert!(matches!(&b.actions()[..], [Action::Connect { address, .. }] if address.port == 2));
    b.pass(Duration::from_millis(100));
    b.ask_as(BOOT, Owner::Metadata(4), ApiKey::GetMetadata);
    b.connect_asked();
}

#[test]
fn a_server_that_is_silent_in_the_handshake_is_given_up_after_the_connect_timeout() {
    for connect in [false, true] {
        let mut b = Bench::new("host:9123");
        b.ask(BOOT, 1);
        let conn = b.connect_asked();
        if connect {
            b.connected(conn);
            b.written(conn);
        }
        let (at, _) = b.net.poll_timeout().expect("a deadline");
        assert_eq!(at, Instant::ZERO + b.config.connect_timeout);
        b.pass(at - b.now);
        let text = b.failure(conn).to_string();
        let stage = if connect { "API_VERSIONS at" } else { "connecting to" };
        assert!(text.contains(stage) && text.contains("host:9123"), "{text}");
        assert!(text.contains("10000 ms"), "{text}");
    }
}

#[test]
fn servers_that_are_no_fluss_servers_are_named_with_what_they_said() {
    let cases: [(Bytes, &str); 5] = [
        (Bytes::from_static(b"HTTP/1.1 400 Bad Request"), "unknown kind 72"),
        (Bytes::new(), "0 bytes"),
        (Bytes::from_static(b"\0\0"), "2 bytes, but its header needs 5"),
        (success(0, b"\xff\xff\xff"), "does not parse"),
        (success(99, &versions(2)), "request 99"),
    ];
    for (frame, expected) in cases {
        let mut b = Bench::new("host:9123");
        b.ask(BOOT, 1);
        let conn = b.connect_asked();
        b.connected(conn);
        b.written(conn);
        b.frame(conn, frame);
        let error = b.failure(conn);
        assert!(matches!(error, Error::Peer { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains("Fluss server"), "{text}");
        assert!(text.contains("bootstrap server host:9123"), "{text}");
        assert!(b.replies().is_empty(), "the request keeps its chance until its deadline");
    }
}

#[test]
fn a_frame_of_two_gibibytes_closes_the_connection_with_its_length() {
    let mut b = Bench::new("host:9123");
    let conn = b.ready(BOOT);
    b.ask(BOOT, 1);
    b.written(conn);
    b.actions();
    let reason = "a frame of 2147483647 bytes exceeds the limit of 268435456";
    b.run(|net, cx| net.handle_protocol_error(cx, conn, reason));
    assert_eq!(b.actions(), [Action::Disconnect { conn }]);
    let error = lost(&b.replies()[0]);
    assert!(error.to_string().contains("2147483647"), "{error}");
    assert!(matches!(error, Error::Peer { .. }));
}

#[test]
fn a_server_failure_ends_the_connection_and_its_requests_with_the_servers_words() {
    let mut b = Bench::new("host:9123");
    let conn = b.ready(BOOT);
    b.ask(BOOT, 1);
    b.written(conn);
    b.actions();
    // The example of the protocol description: code -1 without a text.
    b.frame(conn, Bytes::from_static(b"\x02\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
    assert_eq!(b.actions(), [Action::Disconnect { conn }]);
    let error = lost(&b.replies()[0]);
    assert!(error.to_string().contains("gave up the connection"), "{error}");
}

#[test]
fn an_error_answer_that_does_not_parse_fails_its_request_alone() {
    let mut b = Bench::new("host:9123");
    let conn = b.ready(BOOT);
    b.ask(BOOT, 1);
    b.ask(BOOT, 2);
    let sent = b.written(conn);
    b.frame(conn, answer(1, Some(sent[0].id), b"\xff"));
    b.frame(conn, success(sent[1].id, b""));
    let replies = b.replies();
    assert!(lost(&replies[0]).to_string().contains("its answer to GET_METADATA"));
    assert!(replies[1].result.is_ok());
    assert!(b.net.is_ready(BOOT));
}

#[test]
fn no_version_in_common_fails_all_that_waits_at_once() {
    let offer = fluss_proto::message::ApiVersionsResponse {
        api_versions: vec![fluss_proto::message::PbApiVersion {
            api_key: 1012,
            min_version: 7,
            max_version: 9,
        }],
        server_type: Some(2),
    };
    let mut b = Bench::new("host:9123");
    b.ask(BOOT, 1);
    b.ask(BOOT, 2);
    let conn = b.connect_asked();
    b.connected(conn);
    b.written(conn);
    b.frame(conn, success(0, &prost::Message::encode_to_vec(&offer)));
    let error = b.failure(conn);
    assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
    assert_eq!((error.code(), error.name()), (None, "NO_VERSION_IN_COMMON"));
    let text = error.to_string();
    assert!(text.contains("no API version in common") && text.contains("7 to 9"), "{text}");
    assert!(text.contains("bootstrap server host:9123") && !text.contains("answered"), "{text}");
    assert_eq!(b.replies().iter().map(not_sent).collect::<Vec<_>>(), [error.clone(), error]);
    b.pass(Duration::from_secs(60));
    assert!(b.actions().is_empty(), "nobody asks, nobody connects");
    b.ask(BOOT, 3);
    b.connect_asked();
}

#[test]
fn an_api_that_this_server_does_not_offer_fails_its_request_alone_and_sends_nothing() {
    let mut b = Bench::new("host:9123");
    let conn = b.ready(BOOT);
    b.ask_as(BOOT, Owner::Lookup(1), ApiKey::CreateTable);
    b.ask(BOOT, 2);
    assert_eq!(b.written(conn).len(), 1);
    let replies = b.replies();
    let Err(RequestError::Unsupported(error)) = &replies[0].result else {
        panic!("{:?}", replies[0])
    };
    let text = error.to_string();
    assert!(text.starts_with("bootstrap server host:9123: no API version"), "{text}");
    assert!(text.contains("CREATE_TABLE") && !text.contains("answered"), "{text}");
    assert_eq!(b.net.version(conn, ApiKey::CreateTable), None);
    assert_eq!(b.net.version(conn, ApiKey::PutKv), Some(1));
}

#[test]
fn plain_login_sends_user_and_password_and_is_complete_with_the_first_success() {
    let mut b =
        Bench::with(crate::config::Config::new("host:9123").expect("valid").credentials("u", "p"));
    b.ask(BOOT, 1);
    let conn = b.connect_asked();
    b.connected(conn);
    b.written(conn);
    b.frame(conn, success(0, &versions(2)));
    assert_eq!(b.actions(), [Action::Flush { conn }]);
    let login = b.written(conn);
    assert_eq!((login.len(), login[0].api, login[0].version), (1, 1038, 0));
    assert_eq!(&login[0].body[..], b"\x0a\x05PLAIN\x12\x04\0u\0p");
    assert!(!b.net.is_ready(BOOT));
    b.frame(conn, success(login[0].id, b"\x0a\x00"));
    assert!(b.net.is_ready(BOOT));
    let sent = b.written(conn);
    assert_eq!((sent.len(), sent[0].api), (1, 1012));
}

#[test]
fn a_wrong_password_fails_all_that_waits_and_names_the_user_but_not_the_password() {
    let config = crate::config::Config::new("host:9123").expect("valid");
    let mut b = Bench::with(config.credentials("ada", "secret"));
    b.ask(BOOT, 1);
    b.run(|net, cx| net.want_flush(cx, BOOT));
    let conn = b.connect_asked();
    b.connected(conn);
    b.written(conn);
    b.frame(conn, success(0, &versions(2)));
    b.actions();
    let login = b.written(conn);
    b.frame(conn, error(login[0].id, 46, "Authentication failed: Invalid username or password"));
    let error = b.failure(conn);
    assert_eq!(error.code(), Some(ErrorCode::AUTHENTICATE_EXCEPTION));
    let text = error.to_string();
    assert!(text.contains("`ada` at bootstrap server host:9123"), "{text}");
    assert!(text.contains("Invalid username") && !text.contains("secret"), "{text}");
    assert_eq!(not_sent(&b.replies()[0]), error);
    b.pass(Duration::from_secs(60));
    assert!(b.actions().is_empty(), "no hammering with a wrong password");
}

#[test]
fn a_server_that_asks_to_log_in_later_is_asked_again_on_the_same_connection_for_a_while() {
    let config = crate::config::Config::new("host:9123").expect("valid");
    let mut b = Bench::with(config.credentials("ada", "secret"));
    b.ask(BOOT, 1);
    let conn = b.connect_asked();
    b.connected(conn);
    b.written(conn);
    b.frame(conn, success(0, &versions(2)));
    b.actions();
    let mut logins = 0;
    while b.net.server_of(conn).is_some() {
        for login in b.written(conn) {
            logins += 1;
            b.frame(conn, error(login.id, 51, "try again later"));
        }
        let (at, _) = b.net.poll_timeout().expect("a timer");
        b.pass(at - b.now);
        if logins < 3 {
            assert_eq!(b.actions(), [Action::Flush { conn }]);
        }
    }
    assert_eq!(b.now, Instant::ZERO + b.config.connect_timeout);
    assert!((5..=9).contains(&logins), "{logins} logins in 10 s");
    let events = b.events();
    let [ConnectionEvent::Failed { error, .. }] = &events[..] else { panic!("{events:?}") };
    assert!(error.to_string().contains("try again later"), "{error}");
}

#[test]
fn a_listener_that_wants_credentials_is_told_apart() {
    let mut b = Bench::new("host:9123");
    let conn = b.ready(BOOT);
    b.ask(BOOT, 1);
    let sent = b.written(conn);
    b.frame(conn, error(sent[0].id, 46, "not authenticated"));
    let replies = b.replies();
    let Err(RequestError::Rejected { code, message }) = &replies[0].result else {
        panic!("{:?}", replies[0])
    };
    assert_eq!(*code, ErrorCode::AUTHENTICATE_EXCEPTION);
    assert!(message.contains("wants credentials") && message.contains("host:9123"), "{message}");
}

#[test]
fn a_server_of_the_wrong_role_is_not_used() {
    for (server, is, text) in [
        (TABLET, 1, "a coordinator answers where metadata named a tablet server"),
        (ServerId::Coordinator, 2, "a tablet server answers where metadata named a coordinator"),
    ] {
        let mut b = Bench::new("host:9123");
        b.learn(&[(server, 9124)]);
        b.ask(server, 1);
        let conn = b.connect_asked();
        b.connected(conn);
        b.written(conn);
        b.frame(conn, success(0, &versions(is)));
        let error = b.failure(conn).to_string();
        assert!(error.contains(text), "{error}");
        assert!(b.replies().is_empty());
    }
}

#[test]
fn a_deadline_answers_the_request_and_its_late_answer_is_dropped() {
    let mut b = Bench::new("host:9123");
    let conn = b.ready(BOOT);
    b.ask(BOOT, 1);
    let old = b.written(conn)[0].id;
    b.pass(Duration::from_secs(20));
    b.ask(BOOT, 2);
    let young = b.written(conn)[0].id;
    b.frame(conn, success(young, b""));
    assert_eq!(b.replies().len(), 1);
    b.actions();
    b.pass(Duration::from_secs(20));
    let error = lost(&b.replies()[0]);
    assert!(error.to_string().contains("GET_METADATA at bootstrap server host:9123"), "{error}");
    assert!(b.actions().is_empty(), "the server answers others: the connection stays");
    b.frame(conn, success(old, b"late"));
    assert!(b.replies().is_empty());
    assert_eq!(b.net.dropped_answers(), 1);
    assert!(b.net.is_ready(BOOT));
}

#[test]
fn a_deadline_on_a_silent_connection_closes_it_and_fails_the_rest() {
    let mut b = Bench::new("host:9123");
    let conn = b.ready(BOOT);
    b.ask(BOOT, 1);
    b.pass(Duration::from_secs(1));
    b.ask(BOOT, 2);
    b.written(conn);
    b.actions();
    b.pass(Duration::from_secs(39));
    assert_eq!(b.actions(), [Action::Disconnect { conn }]);
    let replies = b.replies();
    assert_eq!(replies.len(), 2);
    assert!(matches!(lost(&replies[0]), Error::Unavailable { .. }));
    assert!(matches!(lost(&replies[1]), Error::Disconnected { sent: true, .. }));
}

#[test]
fn an_overdue_write_closes_its_connection_even_where_others_are_answered() {
    let mut b = Bench::new("host:9123");
    b.learn(&[(TABLET, 9124)]);
    let conn = b.ready(TABLET);
    let deadline = b.now + Duration::from_secs(40);
    let begun = b
        .run(|net, cx| net.begin(cx, conn, ApiKey::ProduceLog, Owner::Write(9), deadline))
        .expect("ready");
    b.ask(TABLET, 1);
    let sent = b.written(conn);
    assert_eq!(sent[0].id, begun.request_id + 1, "one counter for all requests");
    b.frame(conn, success(sent[0].id, b""));
    b.replies();
    b.actions();
    b.pass(Duration::from_secs(40));
    assert_eq!(b.actions(), [Action::Disconnect { conn }]);
    let replies = b.replies();
    assert_eq!((replies.len(), replies[0].owner), (1, Owner::Write(9)));
}

#[test]
fn late_bound_requests_begin_only_on_ready_connections_and_offered_apis() {
    let mut b = Bench::new("host:9123");
    b.learn(&[(TABLET, 9124)]);
    b.run(|net, cx| net.want_flush(cx, TABLET));
    let conn = b.connect_asked();
    let far = Instant::from_millis(40_000);
    let begin = |b: &mut Bench, conn: ConnId, api| {
        b.run(|net, cx| net.begin(cx, conn, api, Owner::Write(1), far))
    };
    let early = begin(&mut b, conn, ApiKey::ProduceLog);
    assert!(matches!(early, Err(RequestError::NotSent(_))), "{early:?}");
    b.connected(conn);
    b.written(conn);
    b.frame(conn, success(0, &versions(2)));
    assert_eq!(b.actions(), [Action::Flush { conn }], "the wish is remembered");
    let unknown = begin(&mut b, conn, ApiKey::CreateTable);
    assert!(matches!(unknown, Err(RequestError::Unsupported(_))), "{unknown:?}");
    let begun = begin(&mut b, conn, ApiKey::ProduceLog);
    assert_eq!(begun, Ok(Begun { request_id: 1, version: 0 }));
    b.frame(conn, success(1, b"ack"));
    assert_eq!(b.replies()[0].owner, Owner::Write(1));
}

#[test]
fn a_wish_to_write_outlives_a_lost_connection() {
    let mut b = Bench::new("host:9123");
    let conn = b.ready(BOOT);
    b.run(|net, cx| net.want_flush(cx, BOOT));
    b.run(|net, cx| net.handle_closed(cx, conn, "reset"));
    assert!(b.actions().is_empty(), "a flush for a dead connection is taken back");
    b.pass(Duration::from_millis(61));
    let next = b.connect_asked();
    b.run(|net, cx| net.handle_connect_failed(cx, next, "refused"));
    b.pass(Duration::from_millis(121));
    let third = b.connect_asked();
    b.connected(third);
    b.written(third);
    b.frame(third, success(0, &versions(2)));
    assert_eq!(b.actions(), [Action::Flush { conn: third }]);
}

#[test]
fn servers_that_move_or_vanish_lose_their_connections() {
    let mut b = Bench::new("host:9123");
    b.learn(&[(TABLET, 1), (ServerId::Tablet(4), 2)]);
    let (moved, gone) = (b.ready(TABLET), b.ready(ServerId::Tablet(4)));
    for (server, number) in [(TABLET, 1), (ServerId::Tablet(4), 2)] {
        b.ask(server, number);
    }
    b.written(moved);
    b.actions();
    b.ask(TABLET, 3);
    b.learn(&[(TABLET, 7)]);
    let replies = b.replies();
    let owners: Vec<Owner> = replies.iter().map(|r| r.owner).collect();
    assert_eq!(owners, [Owner::Lookup(1), Owner::Lookup(2)]);
    assert!(lost(&replies[0]).to_string().contains("moved to 10.0.0.1:7"));
    assert!(not_sent(&replies[1]).to_string().contains("tablet server 4 10.0.0.1:2"));
    let actions = b.actions();
    let [
        Action::Disconnect { conn: a },
        Action::Connect { conn, address },
        Action::Disconnect { conn: c },
    ] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!((*a, *c, address.port), (moved, gone, 7));
    b.make_ready(*conn, 2);
    assert_eq!(b.written(*conn).len(), 1, "what waited goes to the new address");
    b.ask(ServerId::Tablet(4), 5);
    assert!(not_sent(&b.replies()[0]).to_string().contains("address is not known"));
}

#[test]
fn an_idle_bootstrap_connection_is_given_up_for_named_servers() {
    let mut b = Bench::new("host:9123");
    let conn = b.ready(BOOT);
    b.ask(BOOT, 1);
    b.written(conn);
    b.actions();
    b.learn(&[(TABLET, 1)]);
    assert!(b.actions().is_empty(), "it is in use");
    b.frame(conn, success(1, b""));
    b.learn(&[(TABLET, 1)]);
    assert_eq!(b.actions(), [Action::Disconnect { conn }]);
    assert!(b.events().is_empty());
}

#[test]
fn closing_answers_everything_and_takes_nothing_more() {
    let mut b = Bench::new("a:1,b:2");
    let conn = b.ready(BOOT);
    b.ask(BOOT, 1);
    b.written(conn);
    b.ask(BOOT, 2);
    b.ask(ServerId::Bootstrap(1), 3);
    b.actions();
    b.run(|net, cx| net.close_all(cx));
    let replies = b.replies();
    assert_eq!(replies.len(), 3);
    assert_eq!(not_sent(&replies[0]), Error::Closed("client"));
    assert_eq!(lost(&replies[1]), Error::Closed("client"));
    assert_eq!(b.actions().len(), 2, "both sockets are dropped");
    b.ask(BOOT, 4);
    assert_eq!(not_sent(&b.replies()[0]), Error::Closed("client"));
    assert!(b.actions().is_empty() && b.net.poll_timeout().is_none());
}

#[test]
fn a_request_above_the_limit_is_refused_before_it_is_sent() {
    let mut b = Bench::new("host:9123");
    b.config.max_request_bytes = 11;
    b.ask(BOOT, 1);
    let text = not_sent(&b.replies()[0]).to_string();
    assert!(text.contains("max_request_bytes (11)"), "{text}");
    assert!(b.actions().is_empty());
}

#[test]
fn inputs_for_connections_that_are_over_change_nothing() {
    let mut b = Bench::new("host:9123");
    let conn = b.ready(BOOT);
    b.run(|net, cx| net.handle_closed(cx, conn, "reset"));
    b.events();
    for stale in [conn, ConnId(77)] {
        b.frame(stale, success(0, b""));
        b.run(|net, cx| {
            net.handle_connected(cx, stale);
            net.handle_connect_failed(cx, stale, "x");
            net.handle_closed(cx, stale, "x");
            net.handle_protocol_error(cx, stale, "x");
            assert!(net.poll_transmit(cx, stale).is_none());
        });
    }
    assert!(b.events().is_empty() && b.replies().is_empty() && b.actions().is_empty());
}
