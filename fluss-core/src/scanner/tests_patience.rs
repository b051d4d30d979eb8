//! Servers that fall silent under a bounded scan.

use super::testkit::*;
use super::{ScanError, ScannerOptions, TakeLimits};
use crate::connection::request::RequestError;
use crate::error::Error;
use crate::ids::ScannerKey;
use crate::storage::{StorageError, StorageErrorKind};
use crate::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// What servers are given here.
const PATIENCE: Duration = Duration::from_secs(10);

fn impatient() -> ScannerOptions {
    let mut options = Bench::options();
    options.patience = Some(PATIENCE);
    options
}

/// Lets time pass from timer to timer until buckets stop: when that is, and what they say.
fn end(b: &mut Bench, key: ScannerKey) -> (Instant, Vec<ScanError>) {
    for _ in 0..1000 {
        let errors = b.take(key).errors;
        if !errors.is_empty() {
            return (b.now, errors);
        }
        let at = b.timeout().expect("a timer that ends it");
        let wait = at - b.now;
        b.pass(wait);
    }
    panic!("it comes to no end");
}

/// Lets time pass in steps, as where there is something else to do.
fn pass(b: &mut Bench, time: Duration) {
    let until = b.now + time;
    while b.now < until {
        let step = (until - b.now).min(Duration::from_millis(100));
        b.pass(step);
    }
}

fn live_bytes(b: &Bench, key: ScannerKey) -> u64 {
    b.scanners.scanners[&key].live_bytes()
}

#[test]
fn a_fetch_without_an_answer_ends_with_patience_and_its_late_answer_is_nobodys() {
    let mut b = Bench::new(&[(0, S1), (1, S1)]);
    let key = b.open(impatient(), &[(0, 3), (1, 0)]);
    let start = b.now;
    let sent = b.fetch(S1);
    let bytes = live_bytes(&b, key);
    let (at, errors) = end(&mut b, key);
    assert_eq!((at, errors.len()), (start + PATIENCE, 2), "within the deadline of the fetch");
    let text = errors[0].to_string();
    for part in ["bucket 0 at offset 3", "reading shop.events", "no answer within 10000 ms"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(text.contains("FETCH_LOG at tablet server 1: no answer within 10000 ms"), "{text}");
    assert_eq!(live_bytes(&b, key), bytes, "its answer may still come");
    // Subscribed again, a bucket does not wait for that.
    b.run(|s, _| s.subscribe(key, bucket(0), 3)).expect("open");
    let again = b.fetch(S1);
    assert_eq!(again.asked(), [(0, 3)]);
    assert_eq!(live_bytes(&b, key), 2 * bytes);
    b.reply(&sent, vec![part(0, 9, &batch(3, 1, 0, 10)), part(1, 9, &batch(0, 1, 0, 10))]);
    assert!(b.take(key).is_empty(), "a late answer");
    assert_eq!((live_bytes(&b, key), b.scanners.buffered(key)), (bytes, 0));
    b.run(|s, _| s.subscribe(key, bucket(1), 0)).expect("open");
    assert!(b.poll(S1).is_none(), "the other fetch is still on its way");
    b.reply(&again, vec![part(0, 4, &batch(3, 1, 0, 10))]);
    assert_eq!(places(&b.take(key)), [(0, 3)]);
    assert!(b.take(key).is_empty());
    assert_eq!(live_bytes(&b, key), 0);
    let mut next = b.fetch(S1).asked();
    next.sort_unstable();
    assert_eq!(next, [(0, 4), (1, 0)]);
}

#[test]
fn a_fetch_that_was_given_up_and_fails_late_delays_nothing() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(impatient(), &[(0, 0)]);
    let sent = b.fetch(S1);
    end(&mut b, key);
    b.result(&sent, Err(RequestError::Lost(Error::Closed("connection"))));
    b.run(|s, _| s.subscribe(key, bucket(0), 0)).expect("open");
    let again = b.fetch(S1);
    b.reply(&again, vec![part(0, 1, &batch(0, 1, 0, 10))]);
    assert_eq!(places(&b.take(key)), [(0, 0)]);
}

#[test]
fn the_time_runs_from_the_first_question_on_whatever_is_waited_for() {
    // For a leader.
    let mut b = Bench::new(&[]);
    let key = b.open(impatient(), &[(0, 0)]);
    let start = b.now;
    let (at, errors) = end(&mut b, key);
    assert_eq!(at, start + PATIENCE);
    assert!(errors[0].to_string().contains("no leader is known"), "{}", errors[0]);

    // For a connection.
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(impatient(), &[(0, 0)]);
    let start = b.now;
    let (at, errors) = end(&mut b, key);
    assert_eq!(at, start + PATIENCE);
    let text = errors[0].to_string();
    assert!(text.contains("tablet server 1: no connection to it so far"), "{text}");

    // For all of it, one after the other, and for an attempt that failed.
    let mut b = Bench::new(&[]);
    let key = b.open(impatient(), &[(0, 0)]);
    let start = b.now;
    pass(&mut b, 2 * SECOND);
    b.leaders.insert(bucket(0), S1);
    let leaders = b.leaders.clone();
    b.run(|s, _| s.handle_metadata(&leaders));
    pass(&mut b, 2 * SECOND);
    let error = Error::misuse("it is away");
    b.run(|s, _| s.handle_unreachable(S1, &error));
    pass(&mut b, 2 * SECOND);
    let sent = b.fetch(S1);
    pass(&mut b, SECOND);
    b.result(&sent, Err(RequestError::Lost(error)));
    pass(&mut b, 2 * SECOND);
    b.fetch(S1);
    let (at, errors) = end(&mut b, key);
    assert_eq!(at, start + PATIENCE);
    assert!(errors[0].to_string().contains("it is away"), "{}", errors[0]);
}

#[test]
fn refusals_end_it_as_silence_does_and_a_good_answer_begins_it_anew() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(impatient(), &[(0, 5)]);
    let refuse = |b: &mut Bench, time: Duration| {
        let until = b.now + time;
        while b.now < until {
            if let Some(sent) = b.poll(S1) {
                b.reply(&sent, vec![failed(0, 12)]);
            }
            b.pass(Duration::from_millis(100));
        }
    };
    let sent = b.fetch(S1);
    pass(&mut b, 4 * SECOND);
    b.reply(&sent, vec![failed(0, 12)]);
    refuse(&mut b, 5 * SECOND);
    while b.flushes.is_empty() {
        b.pass(Duration::from_millis(10));
    }
    let sent = b.fetch(S1);
    b.reply(&sent, vec![part(0, 5, &[])]);
    let since = b.now;
    refuse(&mut b, 9 * SECOND);
    assert!(b.take(key).is_empty());
    refuse(&mut b, SECOND);
    let errors = b.take(key).errors;
    let text = errors[0].to_string();
    assert!(text.contains("NOT_LEADER_OR_FOLLOWER"), "{text}");
    assert!(b.now - since <= PATIENCE + Duration::from_millis(100));
}

#[test]
fn trouble_that_is_over_is_not_told_as_the_cause_of_a_later_silence() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(impatient(), &[(0, 5)]);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![failed(0, 12)]);
    pass(&mut b, SECOND);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![part(0, 5, &[])]);
    b.fetch(S1);
    let text = end(&mut b, key).1[0].to_string();
    assert!(text.contains("FETCH_LOG at tablet server 1") && !text.contains("LEADER"), "{text}");
}

/// A server that answers as late as it may has nothing new for a long time.
fn idle_for_long(max_wait: Duration, patience: Duration) -> u32 {
    let mut b = Bench::new(&[(0, S1), (1, S1)]);
    let mut options = impatient();
    (options.max_wait, options.patience) = (max_wait, Some(patience));
    let key = b.open(options, &[(0, 5), (1, 0)]);
    let start = b.now;
    let mut fetches = 0;
    while b.now < start + 30 * patience {
        fetches += 1;
        let sent = b.fetch(S1);
        let wait = sent.request.max_wait_ms.expect("a long poll");
        // And a while for the way there and back.
        pass(&mut b, Duration::from_millis(wait as u64) + patience / 4);
        assert!(b.take(key).is_empty(), "an idle log is none that is silent");
        b.reply(&sent, vec![part(0, 5, &[]), part(1, 0, &[])]);
    }
    let sent = b.fetch(S1);
    let rows = batch(5, 1, 0, 10);
    b.reply(&sent, vec![part(0, 6, &rows), part(1, 0, &[])]);
    assert_eq!(places(&b.take(key)), [(0, 5)]);
    fetches
}

#[test]
fn a_healthy_bucket_without_news_never_fails_however_long_its_polls_are() {
    for (max_wait, patience) in [(20, 5), (20, 20), (20, 21), (1, 60), (0, 5)] {
        let (max_wait, patience) = (max_wait * SECOND, patience * SECOND);
        let fetches = idle_for_long(max_wait, patience);
        // Polls are cut to half of the patience and no further.
        let each = max_wait.min(patience / 2) + patience / 4;
        let most = (30 * patience).as_millis() / each.as_millis() + 2;
        assert!(u128::from(fetches) <= most, "{fetches} fetches of {most}");
    }
}

/// Eight buckets with data, of which two fit into an answer.
fn crowd() -> (Bench, ScannerKey) {
    let buckets: Vec<i32> = (0..8).collect();
    let mut b = Bench::new(&buckets.iter().map(|n| (*n, S1)).collect::<Vec<_>>());
    let mut options = impatient();
    (options.max_bytes, options.max_bytes_per_bucket) = (2000, 1000);
    let key = b.open(options, &buckets.iter().map(|n| (*n, 0)).collect::<Vec<_>>());
    let sent = b.fetch(S1);
    b.reply(&sent, buckets.iter().map(|n| part(*n, 1000, &[])).collect());
    pass(&mut b, Duration::from_millis(30));
    (b, key)
}

#[test]
fn a_bucket_that_stands_in_line_at_a_slow_server_waits_for_its_turn_without_an_error() {
    let (mut b, key) = crowd();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let sent = b.fetch(S1);
        assert_eq!(sent.asked().len(), 2);
        // A turn takes all of them longer than patience lasts.
        pass(&mut b, 3 * SECOND);
        let asked = sent.asked().into_iter();
        let parts = asked.map(|(n, at)| part(n, 1000, &batch(at, 1, 0, 800))).collect();
        b.reply(&sent, parts);
        let taken = b.take(key);
        assert_eq!(taken.errors, []);
        seen.extend(places(&taken).into_iter().map(|(n, _)| n));
        // What was taken counts until the next time.
        b.take(key);
    }
    assert_eq!(seen.len(), 8);
}

#[test]
fn all_buckets_of_a_silent_server_end_together_also_those_that_stand_in_line() {
    let (mut b, key) = crowd();
    let start = b.now;
    assert_eq!(b.fetch(S1).asked().len(), 2);
    let (at, errors) = end(&mut b, key);
    assert!(at - start <= PATIENCE, "{:?}", at - start);
    assert_eq!(errors.len(), 8);
}

#[test]
fn a_bucket_that_comes_to_a_silent_server_later_ends_later_whatever_is_before_it_in_line() {
    let mut b = Bench::new(&[(0, S1), (1, S1)]);
    let key = b.open(impatient(), &[(0, 0)]);
    let start = b.now;
    b.fetch(S1);
    pass(&mut b, 4 * SECOND);
    b.run(|s, _| s.subscribe(key, bucket(1), 0)).expect("open");
    for (number, after) in [(0, PATIENCE), (1, PATIENCE + 4 * SECOND)] {
        let (at, errors) = end(&mut b, key);
        assert_eq!((at - start, errors[0].bucket), (after, bucket(number)));
        b.poll(S1);
    }
}

#[test]
fn a_fetch_that_nobody_announced_is_waited_for_no_longer() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(impatient(), &[(0, 0)]);
    // The server is asked less often while it answers at once, and its connection calls by itself.
    while let Some(sent) = b.poll(S1) {
        b.reply(&sent, vec![part(0, 0, &[])]);
    }
    b.now = b.now + SECOND;
    let sent = b.run(|s, cx| s.poll_request(cx, S1));
    assert!(sent.is_some());
    let since = b.now;
    let (at, errors) = end(&mut b, key);
    assert_eq!((at - since, errors.len()), (PATIENCE, 1));
}

#[test]
fn a_fetch_goes_on_for_the_buckets_that_still_have_time() {
    let mut b = Bench::new(&[(0, S1), (1, S1)]);
    let key = b.open(impatient(), &[(0, 0), (1, 0)]);
    let start = b.now;
    let sent = loop {
        b.pass(Duration::from_millis(10));
        let Some(sent) = b.poll(S1) else { continue };
        let both = sent.asked().len() == 2;
        if both && b.now - start > 8 * SECOND {
            break sent;
        }
        let parts = [failed(0, 12), part(1, 0, &[])];
        b.reply(&sent, parts[usize::from(!both)..].to_vec());
    };
    let (at, errors) = end(&mut b, key);
    assert!(at - start <= PATIENCE + Duration::from_millis(10), "{:?}", at - start);
    assert_eq!((errors.len(), errors[0].bucket), (1, bucket(0)));
    pass(&mut b, SECOND);
    b.run(|s, _| s.subscribe(key, bucket(0), 0)).expect("open");
    assert!(b.poll(S1).is_none(), "bucket 1 waits for the fetch");
    b.reply(&sent, vec![part(0, 1, &batch(0, 1, 0, 10)), part(1, 1, &batch(0, 1, 0, 10))]);
    assert_eq!(places(&b.take(key)), [(1, 0)]);
    let mut next = b.fetch(S1).asked();
    next.sort_unstable();
    assert_eq!(next, [(0, 0), (1, 1)]);
}

#[test]
fn time_in_which_nothing_is_wanted_does_not_count() {
    let mut b = Bench::new(&[(0, S1), (1, S2)]);
    let mut options = impatient();
    options.buffer_limit = 10_000;
    let key = b.open(options, &[(0, 0), (1, 0)]);
    let (one, two) = (b.fetch(S1), b.fetch(S2));
    pass(&mut b, 3 * SECOND);
    b.reply(&two, vec![part(1, 9, &batch(0, 1, 0, 6000))]);
    b.result(&one, Err(RequestError::Lost(Error::Closed("connection"))));
    assert!(b.scanners.buffered(key) > 5000, "no room for more");
    // The reader takes nothing for longer than patience lasts.
    pass(&mut b, 6 * PATIENCE);
    assert_eq!(places(&b.take(key)), [(1, 0)]);
    assert!(b.take(key).is_empty(), "and no error, as nobody was asked");
    let since = b.now;
    let (one, _) = (b.fetch(S1), b.fetch(S2));
    assert_eq!(one.asked(), [(0, 0)]);
    let (at, errors) = end(&mut b, key);
    assert_eq!((at - since, errors[0].bucket), (7 * SECOND, bucket(0)), "after 3 s before");
}

#[test]
fn silence_while_nobody_listens_is_put_up_with_once() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(impatient(), &[(0, 0)]);
    // The process was stopped, or its loop busy: what servers said lies in the sockets.
    for _ in 0..3 {
        let sent = b.fetch(S1);
        b.pass(6 * PATIENCE);
        assert!(b.take(key).is_empty());
        b.reply(&sent, vec![part(0, 0, &[])]);
    }
    b.fetch(S1);
    b.pass(6 * PATIENCE);
    let since = b.now;
    let (at, errors) = end(&mut b, key);
    assert_eq!((at - since, errors.len()), (PATIENCE, 1));
    // A host that always looks too late does not wait for ever.
    b.run(|s, _| s.subscribe(key, bucket(0), 0)).expect("open");
    b.fetch(S1);
    let late = (0..10).position(|_| {
        b.pass(PATIENCE / 2);
        !b.take(key).errors.is_empty()
    });
    assert!(late.is_some_and(|count| count <= 4), "{late:?}");
}

#[test]
fn many_answers_need_few_timers_and_a_scan_without_an_end_needs_none() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(impatient(), &[(0, 0)]);
    for offset in 0..1000 {
        let sent = b.fetch(S1);
        pass(&mut b, Duration::from_millis(20));
        b.reply(&sent, vec![part(0, 2000, &batch(offset, 1, 0, 10))]);
        b.take(key);
        assert!(b.scanners.out.timers.len() <= 3, "{:?}", b.scanners.out.timers);
    }

    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(Bench::options(), &[(0, 0)]);
    b.fetch(S1);
    assert_eq!(b.timeout(), None);
    b.pass(3600 * SECOND);
    assert!(b.take(key).is_empty());
}

#[test]
fn data_that_came_before_the_silence_is_handed_out_first() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(impatient(), &[(0, 0)]);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![part(0, 9, &[batch(0, 1, 0, 10), batch(1, 1, 0, 10)].concat())]);
    b.fetch(S1);
    pass(&mut b, PATIENCE);
    let one = TakeLimits { max_batches: 1, max_bytes: 1 };
    for offset in 0..2 {
        let taken = b.take_at_most(key, one);
        assert_eq!((places(&taken), taken.errors), (vec![(0, offset)], vec![]));
    }
    let errors = b.take_at_most(key, one).errors;
    assert_eq!((errors.len(), errors[0].position), (1, 2));
}

#[test]
fn a_read_from_remote_storage_has_a_limit_of_its_own() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(impatient(), &[(0, 0)]);
    let bytes = batch(0, 1, 0, 40);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![moved(0, 1, 0, &[(0, 1, bytes.len())])]);
    let failure = StorageError::new(&b.reads[0].1, StorageErrorKind::Unavailable, "injected");
    b.end_read(Err(failure));
    pass(&mut b, SECOND);
    pass(&mut b, 2 * PATIENCE);
    assert!(b.take(key).is_empty());
    b.end_read(Ok(bytes.into()));
    assert_eq!(places(&b.take(key)), [(0, 0)]);
    // Behind it the live log is asked, and is silent.
    let since = b.now;
    b.fetch(S1);
    let (at, errors) = end(&mut b, key);
    assert_eq!((at - since, errors.len()), (PATIENCE, 1));
}
