//! Keys that nobody waits for yet gather while a request is on its way, and for no longer.

use super::GATHERED;
use super::testkit::{Asked, Bench, ONE, TWO, bucket, refusal};
use crate::time::Duration;
use crate::wish::ReadWish;

const FLUSH: [ReadWish; 1] = [ReadWish::Flush(ONE)];

/// A bench with a request on its way to the first server, which leads two buckets.
fn bench() -> (Bench, Asked) {
    let mut bench = Bench::new();
    bench.leaders = [(bucket(5, 0), ONE), (bucket(5, 1), ONE), (bucket(5, 2), TWO)].into();
    bench.ask_lazily(bucket(5, 0), b"first");
    assert_eq!(bench.wishes(), FLUSH, "a key alone leaves at once");
    let first = bench.request(ONE).expect("a request");
    (bench, first)
}

#[test]
fn keys_nobody_waits_for_leave_with_the_next_answer() {
    let (mut bench, first) = bench();
    for (at, key) in [(0, b"a"), (1, b"b"), (0, b"c")] {
        bench.ask_lazily(bucket(5, at), key);
        assert_eq!(bench.wishes(), []);
    }
    bench.ask_lazily(bucket(5, 2), b"d");
    assert_eq!(bench.wishes(), [ReadWish::Flush(TWO)], "nothing is on its way to that one");
    bench.echo(&first);
    assert_eq!(bench.wishes(), FLUSH);
    let mut keys = bench.request(ONE).expect("all of them").keys().concat();
    keys.sort_unstable();
    assert_eq!(keys, b"abc");
}

#[test]
fn a_key_that_somebody_waits_for_takes_the_others_along() {
    let (mut bench, _) = bench();
    bench.ask_lazily(bucket(5, 0), b"a");
    let late = bench.ask_lazily(bucket(5, 1), b"b");
    assert!(bench.lookups.is_gathering(late));
    bench.urge(late);
    assert!(!bench.lookups.is_gathering(late));
    assert_eq!(bench.wishes(), FLUSH);
    assert_eq!(bench.request(ONE).expect("both").keys().len(), 2);
    // One that is awaited from the beginning, as those of other callers are.
    bench.ask_lazily(bucket(5, 0), b"c");
    assert_eq!(bench.wishes(), []);
    bench.ask(bucket(5, 0), b"d");
    assert_eq!(bench.wishes(), FLUSH);
    assert_eq!(bench.request(ONE).expect("both").keys(), [b"c", b"d"]);
}

#[test]
fn many_keys_leave_though_nobody_waits_for_them() {
    let (mut bench, _) = bench();
    for count in 1..GATHERED {
        bench.ask_lazily(bucket(5, (count % 2) as i32), b"x");
        assert_eq!(bench.wishes(), [], "{count}");
    }
    bench.ask_lazily(bucket(5, 0), b"x");
    assert_eq!(bench.wishes(), FLUSH);
    assert_eq!(bench.request(ONE).expect("all").keys().len(), GATHERED);
    // From the beginning again.
    let last = bench.ask_lazily(bucket(5, 0), b"x");
    assert_eq!(bench.wishes(), []);
    assert!(bench.lookups.is_gathering(last));
}

#[test]
fn keys_gather_for_no_request_that_failed_or_whose_leader_is_gone() {
    let (mut bench, first) = bench();
    bench.ask_lazily(bucket(5, 1), b"a");
    bench.reply(first.token, Ok(refusal(&first, 12)));
    let wishes = bench.wishes();
    assert!(wishes.contains(&ReadWish::Flush(ONE)), "{wishes:?}");
    let second = bench.request(ONE).expect("a request");
    assert_eq!(second.keys(), [b"a"]);
    // The refused key, after its pause, does not wait for that one.
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.wishes(), FLUSH);
    assert_eq!(bench.request(ONE).expect("a request").keys(), [b"first"]);
    // The leader moves to a server without a request on its way.
    bench.ask_lazily(bucket(5, 1), b"b");
    assert_eq!(bench.wishes(), []);
    bench.lead(bucket(5, 1), TWO);
    assert_eq!(bench.wishes(), [ReadWish::Flush(TWO)]);
    assert_eq!(bench.request(TWO).expect("a request").keys(), [b"b"]);
}

#[test]
fn keys_that_were_dropped_while_they_gathered_count_no_more() {
    let (mut bench, first) = bench();
    let dropped: Vec<_> = (1..GATHERED).map(|_| bench.ask_lazily(bucket(5, 0), b"x")).collect();
    dropped.into_iter().for_each(|id| bench.run(|lookups, _| lookups.cancel(id)));
    for _ in 1..GATHERED {
        bench.ask_lazily(bucket(5, 0), b"y");
    }
    assert_eq!(bench.wishes(), []);
    bench.echo(&first);
    assert_eq!(bench.wishes(), FLUSH);
}
