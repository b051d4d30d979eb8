use bytes::Bytes;

use super::testkit::{Asked, Bench, ONE, TWO, bucket};
use super::{LookupKind, LookupRequest};
use crate::config::Config;
use crate::error::Error;
use crate::ids::{CommandId, TablePath};
use crate::time::{Duration, Instant};

/// A bench whose bucket 5.0 has a leader.
fn bench(settings: impl FnOnce(Config) -> Config) -> Bench {
    let mut bench = Bench::with(settings(Config::new("h:1").expect("an address")));
    bench.leaders = [(bucket(5, 0), ONE)].into();
    bench
}

fn ask(bench: &mut Bench, key: &str) -> CommandId {
    bench.ask(bucket(5, 0), key.as_bytes())
}

fn next(bench: &mut Bench) -> (Asked, Vec<String>) {
    let asked = bench.request(ONE).expect("a request");
    let text = |key: &&[u8]| String::from_utf8_lossy(key).into_owned();
    let keys = asked.keys().iter().map(text).collect();
    (asked, keys)
}

#[test]
fn keys_beyond_the_limit_go_in_their_order_when_others_have_their_answers() {
    let mut bench = bench(|c| c.lookup_limit(2));
    for key in ["a", "b", "c", "d", "e"] {
        ask(&mut bench, key);
    }
    assert_eq!(bench.gauges(), (2, 2, 3));
    let (asked, keys) = next(&mut bench);
    assert_eq!(keys, ["a", "b"]);
    assert_eq!(bench.request(ONE), None, "no more than two are on their way");
    bench.wishes();
    bench.echo(&asked);
    assert_eq!(bench.gauges(), (2, 2, 1));
    assert!(!bench.wishes().is_empty(), "the server is told of the next two");
    let (asked, keys) = next(&mut bench);
    assert_eq!(keys, ["c", "d"]);
    bench.echo(&asked);
    let (asked, keys) = next(&mut bench);
    assert_eq!(keys, ["e"]);
    bench.echo(&asked);
    assert!(bench.done().iter().all(|(_, result)| result.is_ok()));
    assert_eq!(bench.gauges(), (0, 0, 0));
    assert_eq!(bench.lookups.poll_timeout(), None);
}

#[test]
fn a_long_key_in_line_is_not_overtaken_by_short_ones() {
    let mut bench = bench(|c| c.lookup_memory_limit(10));
    ask(&mut bench, "123456");
    ask(&mut bench, "a long one");
    ask(&mut bench, "x");
    assert_eq!(bench.gauges(), (1, 6, 2));
    let (asked, _) = next(&mut bench);
    bench.echo(&asked);
    assert_eq!(bench.gauges(), (1, 10, 1));
    let (asked, keys) = next(&mut bench);
    assert_eq!(keys, ["a long one"]);
    bench.echo(&asked);
    assert_eq!(next(&mut bench).1, ["x"]);
}

#[test]
fn a_cancelled_key_gives_its_place_back_on_its_way_and_in_line() {
    let mut bench = bench(|c| c.lookup_limit(1));
    let [flying, second, third] = ["a", "b", "c"].map(|key| ask(&mut bench, key));
    let (asked, _) = next(&mut bench);
    bench.lookups.cancel(second);
    assert!(!bench.lookups.is_due(&bench.config), "the place is taken");
    bench.lookups.cancel(flying);
    assert!(bench.lookups.is_due(&bench.config));
    bench.run(|_, _| ());
    let (asked_last, keys) = next(&mut bench);
    assert_eq!(keys, ["c"]);
    // What comes to nobody gives nothing back a second time.
    bench.echo(&asked);
    assert_eq!(bench.gauges(), (1, 1, 0));
    bench.echo(&asked_last);
    let done: Vec<CommandId> = bench.done().into_iter().map(|(id, _)| id).collect();
    assert_eq!((done, bench.gauges()), (vec![third], (0, 0, 0)));
}

#[test]
fn a_key_larger_than_the_budget_is_refused_at_once_with_both_numbers() {
    let mut bench = bench(|c| c.lookup_memory_limit(2000));
    let fits = bench.ask(bucket(5, 0), &[0; 2000]);
    let large = bench.ask(bucket(5, 0), &[0; 2001]);
    let done = bench.done();
    assert_eq!(done.len(), 1, "{fits} is on its way");
    assert_eq!(done[0].0, large);
    let Err(Error::Misuse(text)) = &done[0].1 else { panic!("{done:?}") };
    assert!(text.contains("2001 bytes") && text.contains("allows 2000 bytes"), "{text}");
    assert!(text.contains("lookup_memory_limit"), "{text}");
    assert_eq!(bench.gauges(), (1, 2000, 0));
    let tried = bench.lookups.check_room(&bench.config, "LOOKUP shop.users", 2001);
    assert!(matches!(tried, Err(Error::Misuse(_))), "{tried:?}");
}

#[test]
fn the_deadline_of_a_key_in_line_ends_it_and_tells_why_it_never_went() {
    let mut bench = bench(|c| c.lookup_limit(1));
    let early = ask(&mut bench, "a");
    bench.pass(Duration::from_secs(4));
    let path = TablePath::new("shop", "users");
    let key = Bytes::from_static(b"bcd");
    let mut request = LookupRequest::new(LookupKind::Lookup, path, bucket(5, 0), key);
    request.limit = Duration::from_secs(1);
    let hurried = CommandId(1000);
    bench.run(|lookups, cx| lookups.lookup(cx, hurried, request.ask()));
    assert_eq!(bench.lookups.poll_timeout().map(|(at, _)| at), Some(Instant::from_millis(5000)));
    bench.pass(Duration::from_secs(1));
    let full =
        Error::LookupsFull { lookups: 1, max_lookups: 1, needed: 3, used: 1, limit: 16 << 20 };
    let error = Error::Unavailable {
        what: "LOOKUP shop.users".into(),
        after: Duration::from_secs(1),
        last: Some(Box::new(full)),
    };
    assert_eq!(bench.done(), [(hurried, Err(error.clone()))]);
    let text = error.to_string();
    assert!(text.contains("1 of 1 on their way, 1 of 16777216 bytes in use, 3 more"), "{text}");
    let (asked, _) = next(&mut bench);
    bench.echo(&asked);
    assert_eq!(bench.done()[0].0, early);
    assert_eq!(bench.gauges(), (0, 0, 0));
}

#[test]
fn a_dropped_table_ends_its_keys_in_line_only() {
    let mut bench = bench(|c| c.lookup_limit(1));
    bench.leaders.insert(bucket(6, 0), TWO);
    let flying = bench.ask(bucket(6, 0), b"a");
    let gone = ask(&mut bench, "b");
    let other = bench.ask(bucket(6, 0), b"c");
    let error = Error::misuse("the table was dropped");
    bench.run(|lookups, _| lookups.handle_gone(|b| b.table.0 == 5, &error));
    assert_eq!(bench.done(), [(gone, Err(error))]);
    for id in [flying, other] {
        let asked = bench.request(TWO).expect("a request");
        bench.echo(&asked);
        assert_eq!(bench.done()[0].0, id);
    }
    assert_eq!(bench.gauges(), (0, 0, 0));
}

#[test]
fn after_an_abort_nobody_is_on_the_way_or_in_line() {
    let mut bench = bench(|c| c.lookup_limit(1));
    let ids = ["a", "b", "c"].map(|key| ask(&mut bench, key));
    let error = Error::Closed("client");
    bench.run(|lookups, _| lookups.abort(&error));
    assert_eq!(bench.done(), ids.map(|id| (id, Err(error.clone()))));
    assert_eq!(bench.gauges(), (0, 0, 0));
    assert_eq!(bench.lookups.poll_timeout(), None);
    let tried = bench.lookups.check_room(&bench.config, "it", 1);
    assert_eq!(tried, Err(error));
}
