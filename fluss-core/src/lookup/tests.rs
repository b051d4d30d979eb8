use bytes::Bytes;
use fluss_proto::message::{LookupResponse, PbLookupRespForBucket, PbValue};
use fluss_proto::{ApiKey, ErrorCode};
use prost::Message;

use super::testkit::{Bench, ONE, TWO, answer, bucket, refusal};
use super::{LookupKind, MAX_BYTES, MAX_KEYS};
use crate::config::{Acks, Config};
use crate::connection::request::RequestError;
use crate::error::Error;
use crate::ids::PartitionId;
use crate::output::CommandAnswer;
use crate::time::{Duration, Instant};
use crate::wish::ReadWish;

const INSERT: LookupKind =
    LookupKind::InsertIfNotExists { acks: Acks::All, timeout: Duration::from_secs(3) };

fn value(bytes: &'static [u8]) -> CommandAnswer {
    CommandAnswer::Value(Some(Bytes::from_static(bytes)))
}

fn lost() -> RequestError {
    RequestError::Lost(Error::misuse("the connection broke"))
}

#[test]
fn keys_of_one_server_and_table_share_a_request() {
    let mut bench = Bench::new();
    bench.leaders = [(bucket(5, 0), ONE), (bucket(5, 1), TWO), (bucket(5, 2), ONE)].into();
    let a = bench.ask(bucket(5, 0), b"a");
    let b = bench.ask(bucket(5, 2), b"b");
    let c = bench.ask(bucket(5, 0), b"c");
    let d = bench.ask(bucket(5, 1), b"d");
    assert_eq!(bench.wishes(), [ReadWish::Flush(ONE), ReadWish::Flush(TWO)]);
    let asked = bench.request(ONE).expect("a request");
    assert_eq!((asked.api, asked.table, asked.insert), (ApiKey::Lookup, 5, None));
    assert_eq!(
        asked.buckets,
        [(None, 0, vec!["a".into(), "c".into()]), (None, 2, vec!["b".into()])]
    );
    assert_eq!(bench.request(ONE), None);
    bench.reply(asked.token, Ok(answer(&asked, |k| (k != "c").then(|| k.clone()))));
    assert_eq!(
        bench.done(),
        [(a, Ok(value(b"a"))), (c, Ok(CommandAnswer::Value(None))), (b, Ok(value(b"b")))]
    );
    let asked = bench.request(TWO).expect("a request");
    bench.echo(&asked);
    assert_eq!(bench.done(), [(d, Ok(value(b"d")))]);
    assert_eq!(bench.lookups.poll_timeout(), None);
    assert!(bench.lookups.lanes.is_empty() && bench.lookups.servers.is_empty());
}

#[test]
fn kinds_and_tables_go_in_requests_of_their_own() {
    let mut bench = Bench::new();
    let mut partitioned = bucket(6, 0);
    partitioned.partition = Some(PartitionId(40));
    bench.leaders = [(bucket(5, 0), ONE), (partitioned, ONE)].into();
    let get = bench.ask(bucket(5, 0), b"get");
    let prefix = bench.ask_as(LookupKind::Prefix, bucket(5, 0), b"prefix");
    let insert = bench.ask_as(INSERT, bucket(5, 0), b"insert");
    let other = bench.ask(partitioned, b"other");
    let mut seen = Vec::new();
    while let Some(asked) = bench.request(ONE) {
        bench.echo(&asked);
        let keys = asked.keys().concat();
        let partition = asked.buckets[0].0;
        seen.push((asked.api, asked.table, partition, asked.insert, Bytes::from(keys)));
    }
    assert_eq!(
        seen,
        [
            (ApiKey::Lookup, 5, None, None, "get".into()),
            (ApiKey::Lookup, 6, Some(40), None, "other".into()),
            (ApiKey::PrefixLookup, 5, None, None, "prefix".into()),
            (ApiKey::Lookup, 5, None, Some((-1, 3000)), "insert".into()),
        ]
    );
    let list = CommandAnswer::Values(vec![Bytes::from_static(b"prefix")]);
    assert_eq!(
        bench.done(),
        [
            (get, Ok(value(b"get"))),
            (other, Ok(value(b"other"))),
            (prefix, Ok(list)),
            (insert, Ok(value(b"insert"))),
        ]
    );
}

#[test]
fn keys_gather_while_the_cap_of_requests_is_reached() {
    let mut bench = Bench::with(Config::new("h:1").expect("an address").lookup_in_flight(1));
    bench.leaders = [(bucket(5, 0), ONE)].into();
    bench.ask(bucket(5, 0), b"a");
    let first = bench.request(ONE).expect("the first leaves at once");
    bench.wishes();
    bench.ask(bucket(5, 0), b"b");
    bench.ask(bucket(5, 0), b"c");
    assert_eq!(bench.wishes(), []);
    assert_eq!(bench.request(ONE), None);
    bench.echo(&first);
    assert_eq!(bench.wishes(), [ReadWish::Flush(ONE)]);
    let second = bench.request(ONE).expect("both others");
    assert_eq!(second.keys(), [b"b", b"c"]);
}

#[test]
fn requests_are_bounded_and_every_bucket_gets_its_turn() {
    let mut bench = Bench::new();
    bench.leaders = [(bucket(5, 0), ONE), (bucket(5, 1), ONE)].into();
    for _ in 0..=MAX_KEYS {
        bench.ask(bucket(5, 0), b"x");
    }
    bench.ask(bucket(5, 1), b"y");
    let first = bench.request(ONE).expect("a full request");
    assert_eq!(first.keys().len(), MAX_KEYS);
    let second = bench.request(ONE).expect("the rest");
    assert_eq!(second.buckets[0], (None, 1, vec!["y".into()]));
    assert_eq!(second.buckets[1], (None, 0, vec!["x".into()]));
    assert_eq!(bench.request(ONE), None);
}

#[test]
fn long_keys_share_a_request_only_within_its_bytes() {
    let mut bench = Bench::new();
    bench.leaders = [(bucket(5, 0), ONE), (bucket(5, 1), ONE)].into();
    let long = vec![1; MAX_BYTES + 1];
    bench.ask(bucket(5, 0), b"x");
    bench.ask(bucket(5, 1), &long);
    bench.ask(bucket(5, 0), b"z");
    let sizes: Vec<usize> = std::iter::from_fn(|| bench.request(ONE))
        .map(|asked| asked.keys().concat().len())
        .collect();
    assert_eq!(sizes, [2, MAX_BYTES + 1]);
}

#[test]
fn a_key_too_long_for_any_request_is_refused_at_once() {
    let mut config = Config::new("h:1").expect("an address");
    config.max_request_bytes = 1024;
    let mut bench = Bench::with(config);
    let id = bench.ask(bucket(5, 0), &[0; 1000]);
    let done = bench.done();
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].0, id);
    assert!(matches!(&done[0].1, Err(Error::Misuse(text)) if text.contains("1000 bytes")));
    assert_eq!(bench.lookups.poll_timeout(), None);
}

#[test]
fn keys_wait_for_their_leader_to_be_found() {
    let mut bench = Bench::new();
    let id = bench.ask(bucket(5, 0), b"a");
    assert_eq!(bench.wishes(), [ReadWish::Leader(bucket(5, 0))]);
    bench.ask(bucket(5, 0), b"b");
    assert_eq!(bench.wishes(), []);
    bench.metadata();
    assert_eq!(bench.wishes(), [ReadWish::Leader(bucket(5, 0))]);
    bench.lead(bucket(5, 0), TWO);
    assert_eq!(bench.wishes(), [ReadWish::Flush(TWO)]);
    bench.lead(bucket(5, 0), ONE);
    assert_eq!(bench.wishes(), [ReadWish::Flush(ONE)]);
    assert_eq!(bench.request(TWO), None);
    let asked = bench.request(ONE).expect("a request to the new leader");
    bench.echo(&asked);
    assert_eq!(bench.done()[0], (id, Ok(value(b"a"))));
}

#[test]
fn retriable_codes_pause_the_bucket_and_ask_for_its_leader() {
    for code in [12, 21, 44, 25] {
        let mut bench = Bench::new();
        bench.leaders = [(bucket(5, 0), ONE)].into();
        let id = bench.ask(bucket(5, 0), b"a");
        bench.wishes();
        for factor in [1, 2, 4] {
            let asked = bench.request(ONE).expect("an attempt");
            bench.reply(asked.token, Ok(refusal(&asked, code)));
            assert_eq!(bench.wishes(), [ReadWish::Leader(bucket(5, 0))], "code {code}");
            assert_eq!(bench.request(ONE), None);
            let wait = bench.lookups.poll_timeout().expect("a pause").0 - bench.now;
            let usual = Duration::from_millis(20 * factor);
            assert!(wait >= usual * 4 / 5 && wait <= usual * 6 / 5, "{wait:?} for {usual:?}");
            bench.pass(wait);
            assert_eq!(bench.wishes(), [ReadWish::Flush(ONE)]);
        }
        let asked = bench.request(ONE).expect("the last attempt");
        bench.echo(&asked);
        assert_eq!(bench.done(), [(id, Ok(value(b"a")))]);
    }
}

#[test]
fn a_broken_connection_is_no_end() {
    let mut bench = Bench::new();
    bench.leaders = [(bucket(5, 0), ONE)].into();
    let id = bench.ask_as(INSERT, bucket(5, 0), b"a");
    let asked = bench.request(ONE).expect("an attempt");
    bench.reply(asked.token, Err(lost()));
    bench.leaders = [(bucket(5, 0), TWO)].into();
    bench.pass(Duration::from_millis(24));
    let asked = bench.request(TWO).expect("another attempt");
    assert_eq!(asked.insert, Some((-1, 3000)));
    bench.echo(&asked);
    assert_eq!(bench.done(), [(id, Ok(value(b"a")))]);
}

#[test]
fn other_codes_end_the_keys_of_their_bucket_only() {
    let mut bench = Bench::new();
    bench.leaders = [(bucket(5, 0), ONE), (bucket(5, 1), ONE)].into();
    let a = bench.ask(bucket(5, 0), b"a");
    let b = bench.ask(bucket(5, 1), b"b");
    let asked = bench.request(ONE).expect("a request");
    let refused = PbLookupRespForBucket {
        bucket_id: 0,
        error_code: Some(48),
        error_message: Some("not yours".into()),
        ..Default::default()
    };
    let found = PbLookupRespForBucket {
        bucket_id: 1,
        values: vec![PbValue { values: Some("b".into()) }],
        ..Default::default()
    };
    let body = LookupResponse { buckets_resp: vec![found, refused] }.encode_to_vec();
    bench.reply(asked.token, Ok(body.into()));
    let error = Error::Rejected {
        what: "LOOKUP shop.users".into(),
        code: ErrorCode(48),
        message: "not yours".into(),
    };
    // What was found is told first.
    assert_eq!(bench.done(), [(b, Ok(value(b"b"))), (a, Err(error))]);
}

#[test]
fn a_refused_request_ends_or_repeats_by_its_code() {
    for (code, again) in [(12, true), (3, true), (20, false), (4711, false)] {
        let mut bench = Bench::new();
        bench.leaders = [(bucket(5, 0), ONE)].into();
        bench.ask(bucket(5, 0), b"a");
        let asked = bench.request(ONE).expect("a request");
        let error = RequestError::Rejected { code: ErrorCode(code), message: "no".into() };
        bench.reply(asked.token, Err(error));
        assert_eq!(bench.done().is_empty(), again, "code {code}");
    }
}

#[test]
fn answers_that_do_not_fit_the_question_are_errors() {
    let bucket_with = |bucket_id, values: usize| PbLookupRespForBucket {
        bucket_id,
        values: vec![PbValue::default(); values],
        ..Default::default()
    };
    for (answers, text) in [
        (vec![bucket_with(0, 1)], "1 values for 2 keys"),
        (vec![bucket_with(0, 3)], "3 values for 2 keys"),
        (vec![bucket_with(1, 2)], "no answer for 2 keys"),
        (vec![], "no answer for 2 keys"),
    ] {
        let mut bench = Bench::new();
        bench.leaders = [(bucket(5, 0), ONE)].into();
        bench.ask(bucket(5, 0), b"a");
        bench.ask(bucket(5, 0), b"b");
        let asked = bench.request(ONE).expect("a request");
        let body = LookupResponse { buckets_resp: answers }.encode_to_vec();
        bench.reply(asked.token, Ok(body.into()));
        let error = Error::Peer {
            server: "tablet server 1".into(),
            what: format!("LOOKUP (1017) of table 5 bucket 0: {text}").into(),
        };
        let errors: Vec<_> = bench.done().into_iter().map(|(_, result)| result).collect();
        assert_eq!(errors, [Err(error.clone()), Err(error)]);
    }
}

#[test]
fn an_answer_that_does_not_parse_ends_its_keys() {
    let mut bench = Bench::new();
    bench.leaders = [(bucket(5, 0), ONE)].into();
    bench.ask(bucket(5, 0), b"a");
    let asked = bench.request(ONE).expect("a request");
    bench.reply(asked.token, Ok(Bytes::from_static(&[0x0a, 0xff])));
    let done = bench.done();
    assert!(matches!(&done[0].1, Err(Error::Peer { what, .. }) if what.contains("does not parse")));
}

#[test]
fn a_deadline_ends_a_key_wherever_it_is_and_tells_the_last_reason() {
    let mut bench = Bench::new();
    bench.leaders = [(bucket(5, 1), ONE)].into();
    let waiting = bench.ask(bucket(5, 0), b"a");
    let flying = bench.ask(bucket(5, 1), b"b");
    let first = bench.request(ONE).expect("an attempt");
    bench.reply(first.token, Ok(refusal(&first, 12)));
    bench.pass(Duration::from_millis(24));
    let asked = bench.request(ONE).expect("another attempt");
    assert_eq!(asked.deadline, Instant::from_millis(10_000));
    bench.pass(Duration::from_secs(10));
    let done = bench.done();
    let end = |more: &str, last: Option<Error>| Error::Unavailable {
        what: format!("LOOKUP shop.users{more}").into(),
        after: Duration::from_secs(10),
        last: last.map(Box::new),
    };
    let last = Error::Rejected {
        what: "LOOKUP shop.users".into(),
        code: ErrorCode(12),
        message: ErrorCode(12).info().expect("a known code").meaning.into(),
    };
    let leaderless = end(", of which no leader is known", None);
    assert_eq!(done, [(waiting, Err(leaderless)), (flying, Err(end("", Some(last))))]);
    bench.echo(&asked);
    assert_eq!(bench.done(), []);
    assert!(bench.lookups.lanes.is_empty() && bench.lookups.servers.is_empty());
}

#[test]
fn a_cancelled_key_leaves_no_trace() {
    let mut bench = Bench::new();
    bench.leaders = [(bucket(5, 0), ONE)].into();
    let flying = bench.ask(bucket(5, 0), b"a");
    let asked = bench.request(ONE).expect("a request");
    let waiting = bench.ask(bucket(5, 0), b"b");
    bench.lookups.cancel(flying);
    bench.lookups.cancel(waiting);
    assert_eq!(bench.request(ONE), None);
    assert_eq!(bench.lookups.poll_timeout(), None);
    bench.echo(&asked);
    assert_eq!(bench.done(), []);
    assert!(bench.lookups.lanes.is_empty() && bench.lookups.servers.is_empty());
}

#[test]
fn a_server_out_of_reach_makes_its_keys_look_elsewhere() {
    let mut bench = Bench::new();
    bench.leaders = [(bucket(5, 0), ONE)].into();
    let id = bench.ask(bucket(5, 0), b"a");
    bench.wishes();
    let error = Error::misuse("never used");
    bench.run(|lookups, cx| lookups.handle_unreachable(cx, TWO, &error));
    assert_eq!(bench.wishes(), []);
    let error = Error::Disconnected { server: "s".into(), what: "refused".into(), sent: false };
    bench.run(|lookups, cx| lookups.handle_unreachable(cx, ONE, &error));
    assert_eq!(bench.wishes(), [ReadWish::Leader(bucket(5, 0))]);
    bench.leaders = [(bucket(5, 0), TWO)].into();
    bench.pass(Duration::from_millis(24));
    let asked = bench.request(TWO).expect("a request");
    bench.echo(&asked);
    assert_eq!(bench.done(), [(id, Ok(value(b"a")))]);
}

#[test]
fn a_server_that_refuses_the_password_ends_its_keys() {
    let mut bench = Bench::new();
    bench.leaders = [(bucket(5, 0), ONE)].into();
    let id = bench.ask(bucket(5, 0), b"a");
    let error = Error::Rejected {
        what: "logging in".into(),
        code: ErrorCode(46),
        message: "wrong password".into(),
    };
    bench.run(|lookups, cx| lookups.handle_unreachable(cx, ONE, &error));
    assert_eq!(bench.done(), [(id, Err(error))]);
}

#[test]
fn a_dropped_table_ends_its_keys_also_those_on_their_way() {
    let mut bench = Bench::new();
    bench.leaders = [(bucket(5, 0), ONE), (bucket(6, 0), ONE)].into();
    let flying = bench.ask(bucket(5, 0), b"a");
    let asked = bench.request(ONE).expect("a request");
    let waiting = bench.ask(bucket(5, 1), b"b");
    let other = bench.ask(bucket(6, 0), b"c");
    let error = Error::misuse("the table was dropped");
    bench.run(|lookups, _| lookups.handle_gone(|b| b.table.0 == 5, &error));
    assert_eq!(bench.done(), [(waiting, Err(error.clone())), (flying, Err(error))]);
    bench.reply(asked.token, Ok(refusal(&asked, 21)));
    let asked = bench.request(ONE).expect("the other table is served");
    bench.echo(&asked);
    assert_eq!(bench.done(), [(other, Ok(value(b"c")))]);
    assert_eq!(bench.lookups.poll_timeout(), None);
}

#[test]
fn after_an_abort_every_key_ends_at_once() {
    let mut bench = Bench::new();
    bench.leaders = [(bucket(5, 0), ONE)].into();
    let flying = bench.ask(bucket(5, 0), b"a");
    let asked = bench.request(ONE).expect("a request");
    let waiting = bench.ask(bucket(5, 1), b"b");
    let error = Error::Closed("client");
    bench.run(|lookups, _| lookups.abort(&error));
    bench.reply(asked.token, Err(lost()));
    let late = bench.ask(bucket(5, 0), b"c");
    let ends = [flying, waiting, late].map(|id| (id, Err(error.clone())));
    assert_eq!(bench.done(), ends);
    assert_eq!(bench.lookups.poll_timeout(), None);
}

#[test]
fn what_was_found_before_the_end_is_told_before_it() {
    let mut bench = Bench::new();
    bench.leaders = [(bucket(5, 0), ONE)].into();
    let found = bench.ask(bucket(5, 0), b"a");
    let asked = bench.request(ONE).expect("a request");
    let late = bench.ask(bucket(5, 0), b"b");
    bench.echo(&asked);
    bench.lookups.abort(&Error::Closed("client"));
    assert!(!bench.lookups.has_found(), "it stands among the events");
    let ends = [(found, Ok(value(b"a"))), (late, Err(Error::Closed("client")))];
    assert_eq!(bench.done(), ends);
}
