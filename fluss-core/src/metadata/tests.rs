use fluss_proto::message::{MetadataResponse, PbBucketMetadata};
use fluss_proto::{ApiKey, ErrorCode};

use super::testkit::*;
use super::*;

#[test]
fn the_first_question_goes_to_a_bootstrap_address_and_its_answer_names_the_servers() {
    let mut b = Bench::new("dead:1,alive:2");
    assert!(b.ask().is_none() && b.m.poll_timeout().is_none(), "nobody wants anything");
    b.run(|m, cx| m.want_servers(cx));
    assert_eq!(b.m.poll_timeout(), Some((Instant::ZERO, TimerReason::Metadata)));
    let q = b.asked();
    assert_eq!((q.server, q.api), (ServerId::Bootstrap(0), ApiKey::GetMetadata));
    assert_eq!(q.deadline, Instant::from_millis(10_000), "silence is not waited out for long");
    b.fail(&q);
    let q = b.asked();
    assert_eq!(q.server, ServerId::Bootstrap(1), "the next address, at once");
    b.answer(&q, &cluster(&[1, 2]));
    assert_eq!(b.events(), [MetadataEvent::Updated]);
    let servers = b.m.cluster().servers();
    assert_eq!(servers[&ServerId::Coordinator].to_string(), "h100:9100");
    assert_eq!(servers[&ServerId::Tablet(2)].to_string(), "h2:9002");
    assert!(matches!(b.run(|m, cx| m.any_tablet(cx)), ServerId::Tablet(1 | 2)));
}

#[test]
fn a_round_without_help_is_reported_and_the_next_begins_after_a_growing_pause() {
    let mut b = Bench::new("a:1,b:2");
    b.run(|m, cx| m.want_servers(cx));
    let mut pauses = Vec::new();
    for _ in 0..5 {
        for _ in 0..2 {
            let q = b.asked();
            b.fail(&q);
        }
        let events = b.events();
        let [MetadataEvent::Unreachable { error }] = &events[..] else { panic!("{events:?}") };
        assert!(error.to_string().contains("cannot connect to bootstrap"), "{error}");
        assert!(b.ask().is_none());
        pauses.push(b.wait());
    }
    assert!(pauses[0] >= Duration::from_millis(80) && pauses[1] > pauses[0], "{pauses:?}");
    assert!(pauses[4] <= Duration::from_millis(1200), "{pauses:?}");
    assert!(b.m.last_error.is_some() && b.m.last_success.is_none());
}

#[test]
fn when_all_tablet_servers_are_gone_the_bootstrap_addresses_help_and_tables_stay_known() {
    let mut b = Bench::started();
    b.want("events");
    let q = b.asked();
    b.answer(&q, &table("events", 7, PLAIN, vec![bucket(0, 1, Some(3)), bucket(1, 2, Some(3))]));
    assert_eq!(b.m.cluster().leader(key(7, 0)), Some(ServerId::Tablet(1)));
    b.now = Instant::from_millis(5000);
    b.run(|m, cx| m.want_leader(cx, key(7, 0), Some(3)));
    let mut asked = Vec::new();
    for _ in 0..3 {
        let q = b.asked();
        asked.push(q.server);
        if q.server == ServerId::Bootstrap(0) {
            assert!(b.m.cluster().table(&path("events")).is_some(), "tables stay");
            let buckets = vec![bucket(0, 5, Some(4)), bucket(1, 6, Some(4))];
            let moved = MetadataResponse {
                tablet_servers: vec![node(5), node(6)],
                ..table("events", 7, PLAIN, buckets)
            };
            b.answer(&q, &moved);
        } else {
            b.fail(&q);
        }
    }
    asked.sort();
    let all = [ServerId::Tablet(1), ServerId::Tablet(2), ServerId::Bootstrap(0)];
    assert_eq!(asked, all, "each server once, the bootstrap address last");
    assert_eq!(b.m.cluster().leader(key(7, 1)), Some(ServerId::Tablet(6)));
}

#[test]
fn a_server_that_failed_is_passed_over_for_a_while_though_others_call_it_alive() {
    let mut b = Bench::started();
    let error = Error::misuse("connection refused");
    b.run(|m, cx| m.mark_unavailable(cx, ServerId::Tablet(1), &error));
    for _ in 0..20 {
        b.now = b.now + Duration::from_millis(400);
        b.run(|m, cx| m.want_servers(cx));
        if let Some(q) = b.ask() {
            assert_eq!(q.server, ServerId::Tablet(2));
            b.answer(&q, &cluster(&[1, 2]));
        }
    }
    b.now = b.now + Duration::from_secs(20);
    b.run(|m, cx| m.want_servers(cx));
    let q = b.asked();
    b.answer(&q, &cluster(&[1, 2]));
    let picks: BTreeSet<ServerId> = (0..50).map(|_| b.run(|m, cx| m.any_tablet(cx))).collect();
    assert_eq!(picks.len(), 2, "back in use");
}

#[test]
fn the_same_wish_is_asked_once_and_keeps_its_distance_while_nothing_changes() {
    let mut b = Bench::started();
    b.want("events");
    b.want("events");
    let q = b.asked();
    assert_eq!(q.tables, ["shop.events"]);
    let same = table("events", 7, PLAIN, vec![bucket(0, 0, None)]);
    b.answer(&q, &same);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        b.want("events");
        b.want("events");
        assert!(b.ask().is_none(), "not at once again");
        pauses.push(b.wait().as_millis());
        let q = b.asked();
        b.answer(&q, &same);
    }
    assert_eq!(pauses, [50, 50, 100, 200, 400, 800, 1000]);
    b.want("events");
    b.wait();
    let q = b.asked();
    b.answer(&q, &table("events", 7, PLAIN, vec![bucket(0, 1, None)]));
    b.want("events");
    assert!(b.wait() <= Duration::from_secs(1));
    let q = b.asked();
    b.answer(&q, &same);
    b.want("events");
    assert_eq!(b.wait().as_millis(), 50, "news shorten the distance");
    b.now = b.now + Duration::from_secs(60);
    let q = b.asked();
    b.answer(&q, &same);
    b.now = b.now + Duration::from_secs(60);
    b.want("events");
    assert!(b.ask().is_some(), "the first attempt after a rest is immediate");
}

#[test]
fn a_wish_while_the_request_is_on_its_way_is_asked_again_unless_the_answer_brings_news() {
    let leaderless = table("events", 7, PLAIN, vec![bucket(0, 0, None)]);
    let led = table("events", 7, PLAIN, vec![bucket(0, 1, None)]);
    for (second, again) in [(leaderless.clone(), true), (led, false)] {
        let mut b = Bench::started();
        b.want("events");
        let q = b.asked();
        b.answer(&q, &leaderless);
        b.now = Instant::from_millis(500);
        b.want("events");
        let q = b.asked();
        b.want("events");
        b.answer(&q, &second);
        b.now = Instant::from_millis(900);
        assert_eq!(b.ask().is_some(), again);
    }
}

#[test]
fn leader_epochs_never_go_backwards() {
    let mut b = Bench::started();
    let mut next = |buckets: Vec<PbBucketMetadata>| {
        b.now = b.now + Duration::from_secs(5);
        b.want("events");
        let q = b.asked();
        b.answer(&q, &table("events", 7, PLAIN, buckets));
        let bucket = b.m.cluster().bucket(key(7, 0)).copied().expect("known");
        (bucket.leader, bucket.epoch)
    };
    assert_eq!(next(vec![bucket(0, 1, Some(4))]), (Some(1), Some(4)));
    assert_eq!(next(vec![bucket(0, 2, Some(3))]), (Some(1), Some(4)), "a lagging server");
    assert_eq!(next(vec![bucket(0, 0, Some(3))]), (Some(1), Some(4)), "even without a leader");
    assert_eq!(next(vec![bucket(0, 2, Some(5))]), (Some(2), Some(5)));
    assert_eq!(next(vec![bucket(0, -1, Some(5))]), (None, Some(5)), "no leader just now");
    assert_eq!(next(vec![bucket(0, 1, None)]), (Some(1), Some(5)), "a server without epochs");
    assert_eq!(next(vec![]), (None, Some(5)), "left out");
    assert_eq!(next(vec![bucket(0, 2, Some(4))]), (None, Some(5)), "and still not backwards");
}

#[test]
fn a_leader_that_is_newer_than_the_stale_one_needs_no_question() {
    let mut b = Bench::started();
    b.want("events");
    let q = b.asked();
    b.answer(&q, &table("events", 7, PLAIN, vec![bucket(0, 1, Some(4)), bucket(1, 9, Some(4))]));
    b.now = Instant::from_millis(5000);
    b.run(|m, cx| m.want_leader(cx, key(7, 0), Some(3)));
    assert!(b.ask().is_none());
    assert_eq!(b.m.cluster().leader(key(7, 1)), None, "server 9 is not alive");
    b.run(|m, cx| m.want_leader(cx, key(7, 1), None));
    assert_eq!(b.asked().tables, ["shop.events"]);
}

#[test]
fn a_server_without_tablet_servers_is_only_starting() {
    let mut b = Bench::new("a:1");
    b.run(|m, cx| m.want_servers(cx));
    let q = b.asked();
    b.answer(&q, &cluster(&[]));
    assert!(b.m.cluster().coordinator.is_some());
    let events = b.events();
    let Some(MetadataEvent::Unreachable { error }) = events.last() else { panic!("{events:?}") };
    assert!(
        error.to_string().contains("bootstrap server a:1: it knows no tablet server"),
        "{error}"
    );
    b.wait();
    let q = b.asked();
    b.answer(&q, &cluster(&[1]));
    assert!(b.m.last_success.is_some() && b.m.last_error.is_none());
}

#[test]
fn a_standby_coordinator_a_closed_door_and_a_retriable_error_send_the_question_on() {
    for code in [65, 46, 44, 1] {
        let mut b = Bench::new("a:1,b:2");
        b.want("events");
        let q = b.asked();
        b.reject(&q, code);
        let q = b.asked();
        assert_eq!((q.server, q.tables.len()), (ServerId::Bootstrap(1), 1), "code {code}");
        b.reject(&q, code);
        let events = b.events();
        let [MetadataEvent::Unreachable { error }] = &events[..] else { panic!("{events:?}") };
        assert_eq!(error.code(), Some(ErrorCode(code)));
    }
}

#[test]
fn an_old_list_of_servers_is_asked_for_again() {
    let mut b = Bench::started();
    assert_eq!(b.wait(), b.config.metadata_max_age);
    let q = b.asked();
    assert!(q.tables.is_empty());
    b.answer(&q, &cluster(&[1, 2]));
    assert_eq!(b.wait(), b.config.metadata_max_age, "idle: one request in five minutes");
}

#[test]
fn an_old_list_whose_next_question_has_to_wait_keeps_nobody_busy() {
    let mut b = Bench::started();
    // It is old now, and asked for together with a table that cannot be described.
    b.wait();
    b.want("events");
    let q = b.asked();
    b.reject(&q, -1);
    let q = b.asked();
    b.reject(&q, 7);
    assert!(b.ask().is_none(), "the question keeps its distance");
    let waited = b.wait();
    assert!(waited >= b.config.metadata_min_interval, "it is looked at again after {waited:?}");
    assert!(b.asked().tables.is_empty(), "the list of servers");
}

#[test]
fn answers_to_questions_that_are_over_change_nothing() {
    let mut b = Bench::started();
    b.want("events");
    let q = b.asked();
    b.answer(&q, &table("events", 7, PLAIN, vec![]));
    b.events();
    let version = b.m.cluster().version;
    b.answer(&q, &table("events", 8, PLAIN, vec![]));
    assert_eq!((b.m.cluster().version, b.events().len()), (version, 0));
}

#[test]
fn an_answer_tells_what_it_was_about_unless_somebody_asked_after_its_question_had_left() {
    let mut b = Bench::started();
    b.want("events");
    let answer = table("events", 7, PLAIN, vec![bucket(0, 1, Some(3))]);
    let events = Described::from([(TableId(7), None)]);
    let q = b.asked();
    b.answer(&q, &answer);
    assert_eq!((b.m.take_described(), b.m.take_described()), (events.clone(), Described::new()));
    b.run(|m, cx| m.want_servers(cx));
    b.wait();
    let q = b.asked();
    b.answer(&q, &cluster(&[1, 2]));
    assert_eq!(b.m.take_described(), Described::new());
    // A server that knows no other one answers nothing.
    b.want("events");
    b.wait();
    let q = b.asked();
    let alone = MetadataResponse { tablet_servers: Vec::new(), ..answer.clone() };
    b.answer(&q, &alone);
    assert_eq!(b.m.take_described(), Described::new());
    let q = b.asked();
    b.want("events");
    b.answer(&q, &answer);
    assert_eq!(b.m.take_described(), Described::new());
    b.wait();
    let q = b.asked();
    b.answer(&q, &answer);
    assert_eq!(b.m.take_described(), events);
}
