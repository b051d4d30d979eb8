//! Writer ids, waits, offsets, the end of buckets and writers, and writing without idempotence.

use super::model::Replica;
use super::world::{Queue, World, bucket, rejected, settings};
use crate::connection::request::RequestError;
use crate::error::{Error, WriteError};
use crate::ids::{BatchId, BucketKey, PartitionId, WriterId};
use crate::time::{Duration, Instant};
use crate::writer::idempotence::outcome::Outcome;
use crate::writer::idempotence::{Answer, Fresh, Sendable, Stamp, Want};
use fluss_proto::ErrorCode;

fn world(batches: usize) -> World {
    let mut w = World::new(settings(5), 2, 1);
    for _ in 0..batches {
        w.append(0);
    }
    w
}

fn refused(code: i32) -> RequestError {
    RequestError::Rejected { code: ErrorCode(code), message: "no".into() }
}

/// It must not share the id of the first one.
fn let_the_second_bucket_wait_for_an_id(w: &mut World) {
    w.manager.ids.spare = None;
    w.auto_id = false;
    w.append(1);
    w.send_all(1);
}

#[test]
fn a_forbidden_id_fails_only_the_batches_that_wait_for_it() {
    for code in [46, 48] {
        let mut w = world(1);
        w.drain();
        w.append(0);
        let under_way = w.send_all(0);
        let_the_second_bucket_wait_for_an_id(&mut w);
        w.fail_id(refused(code));
        assert_eq!(w.results(), "o-n", "code {code}");
        w.serve(under_way[0]);
        assert_eq!(w.results(), "oon", "code {code}");
        // Later appends ask again, after a pause.
        w.append(1);
        w.send_all(1);
        assert_eq!(w.ids_asked, 2);
        w.wait();
        assert_eq!(w.ids_asked, 3);
        w.give_id();
        w.finish();
        assert_eq!(w.results(), "oono", "code {code}");
    }
}

#[test]
fn a_failed_id_is_asked_for_again_after_a_pause() {
    let mut w = world(1);
    w.auto_id = false;
    w.send_all(0);
    let gone = Error::Closed("connection");
    for (asked, error) in
        [refused(-1), RequestError::Lost(gone.clone()), RequestError::NotSent(gone)]
            .into_iter()
            .enumerate()
    {
        assert_eq!(w.ids_asked, asked as u32 + 1);
        w.fail_id(error);
        assert_eq!(w.send_all(0), Vec::<u64>::new());
        assert_eq!(w.ids_asked, asked as u32 + 1, "no second request without a pause");
        assert!(w.manager.poll_timeout().is_some());
        w.wait();
    }
    // A negative id is none.
    w.call(|m, cx| m.handle_writer_id(cx, Ok(WriterId(-1))));
    w.wait();
    w.give_id();
    w.finish();
    assert_eq!((w.results().as_str(), w.stamps()[0]), ("o", (7, 0)));
}

#[test]
fn a_failed_id_leaves_what_is_under_way_in_other_buckets_alone() {
    let mut w = world(1);
    w.drain();
    w.append(0);
    w.append(0);
    let under_way = w.send_all(0);
    let_the_second_bucket_wait_for_an_id(&mut w);
    let before = w.manager.buckets[&bucket(0)].clone();
    let gone = Error::Closed("connection");
    for error in [refused(-1), RequestError::Lost(gone.clone()), RequestError::NotSent(gone)] {
        w.fail_id(error);
        assert_eq!(w.manager.buckets[&bucket(0)], before);
        assert_eq!((w.send_all(0), w.send_all(1)), (Vec::new(), Vec::new()));
        w.wait();
        assert_eq!((w.results().as_str(), &w.manager.buckets[&bucket(0)]), ("o---", &before));
    }
    assert_eq!(w.ids_asked, 5, "the first, one for the second bucket, and again for each failure");
    under_way.iter().for_each(|id| w.serve(*id));
    assert_eq!(w.results(), "ooo-");
    w.give_id();
    w.finish();
    assert_eq!(w.results(), "oooo");
    assert_eq!(w.stamps(), [(7, 0), (7, 1), (7, 2), (8, 0)]);
}

#[test]
fn an_idle_bucket_takes_a_new_id_before_it_writes_again() {
    let mut w = world(1);
    w.drain();
    w.pass(Duration::from_secs(24 * 3600 + 1));
    w.append(0);
    w.finish();
    assert_eq!(w.stamps(), [(7, 0), (8, 0)]);
    assert_eq!(w.manager.counters().rotations_idle, 1);
    assert_eq!(w.manager.counters().genuine_refusals, 0);
}

#[test]
fn sequences_never_wrap() {
    let mut w = world(1);
    w.drain();
    assert!(w.skip_sequences(bucket(0), i32::MAX - 1));
    for _ in 0..4 {
        w.append(0);
    }
    assert_eq!(w.send_all(0).len(), 2);
    w.finish();
    assert_eq!(w.stamps()[1..], [(7, i32::MAX - 1), (7, i32::MAX), (8, 0), (8, 1)]);
    assert_eq!(w.manager.counters().rotations_exhausted, 1);
}

#[test]
fn a_forgotten_idle_bucket_comes_back_with_an_id_it_never_used() {
    let mut w = world(1);
    w.drain();
    w.now = w.now + Duration::from_secs(24 * 3600 + 1);
    w.manager.forget_idle(w.now);
    assert!(w.manager.buckets.is_empty());
    w.append(0);
    w.finish();
    assert_eq!(w.stamps(), [(7, 0), (8, 0)]);
}

#[test]
fn a_bucket_that_only_seemed_gone_begins_again_with_an_id_it_never_used() {
    let mut w = world(1);
    w.drain();
    w.gone(bucket(0), &Error::Closed("table"));
    // As long as its sessions are apart; whoever looks the table up again takes longer.
    w.pass(Duration::from_millis(100));
    w.append(0);
    w.finish();
    assert_eq!((w.stamps(), w.log(0)), (vec![(7, 0), (8, 0)], vec![0, 1]));
    // Others still share the newest id.
    w.append(1);
    w.finish();
    assert_eq!((w.stamps()[2], w.ids_asked), ((8, 0), 2));
}

#[test]
fn buckets_share_an_id_with_sequences_of_their_own() {
    let mut w = world(2);
    w.append(1);
    w.send_all(0);
    w.send_all(1);
    assert_eq!((w.stamps(), w.ids_asked), (vec![(7, 0), (7, 1), (7, 0)], 1));
    w.finish();
}

#[test]
fn full_storage_pressure_rests_the_bucket_for_the_whole_window() {
    let mut w = world(1);
    let ids = w.send_all(0);
    w.refuse(ids[0], 72);
    assert_eq!(w.sendable(bucket(0)), Sendable::At(w.now + Duration::from_secs(3)));
    w.pass(Duration::from_millis(2999));
    assert_eq!(w.send_all(0), Vec::<u64>::new());
    w.pass(Duration::from_millis(1));
    assert_eq!(w.sendable(bucket(0)), Sendable::Now);
    w.finish();
    assert_eq!(w.stamps(), [(7, 0), (7, 0)]);
    assert_eq!((w.results().as_str(), w.log(0)), ("o", vec![0]));
}

#[test]
fn partial_storage_pressure_rests_only_its_bucket_for_its_square() {
    for (pressure, share) in [(0.5, 0.25), (1.0, 1.0), (7.0, 1.0), (-1.0, 0.0), (f32::NAN, 0.0)] {
        let mut w = world(2);
        let ids = w.send_all(0);
        let token = w.requests[&ids[0]].copies[0].token;
        w.execute(ids[0]);
        w.awaited.remove(&ids[0]);
        w.requests.remove(&ids[0]);
        let (base_offset, pressure) = (Some(0), Some(pressure));
        w.answer(token, Answer::Written { base_offset, log_end_offset: None, pressure });
        w.append(0);
        let until = w.now + Duration::from_secs(3).mul_f64(share);
        let expected = if share == 0.0 { Sendable::Now } else { Sendable::At(until) };
        assert_eq!(w.sendable(bucket(0)), expected);
        w.append(1);
        assert_eq!(w.sendable(bucket(1)), Sendable::Now);
        w.finish();
    }
}

#[test]
fn waits_grow_once_per_event_and_start_over_after_a_success() {
    let mut w = world(5);
    let ids = w.send_all(0);
    w.close_of(ids[0]);
    // Five lost copies are one failure.
    let Sendable::At(first) = w.sendable(bucket(0)) else { panic!("no wait") };
    assert!(first <= w.now + Duration::from_millis(24));
    w.wait();
    let again = w.send_all(0);
    w.close_of(again[0]);
    let Sendable::At(second) = w.sendable(bucket(0)) else { panic!("no wait") };
    assert!(second >= w.now + Duration::from_millis(32));
    w.finish();
    assert_eq!(w.manager.buckets[&bucket(0)].failures.failures(), 0);
}

#[test]
fn an_asked_for_offset_waits_for_the_batchs_own_answer() {
    let mut config = settings(5);
    config.track_offsets = true;
    let mut w = World::new(config, 1, 1);
    for _ in 0..3 {
        w.append(0);
    }
    let ids = w.send_all(0);
    ids.iter().for_each(|id| w.execute(*id));
    w.deliver(ids[2]);
    assert_eq!(w.results(), "--o");
    w.deliver(ids[0]);
    assert_eq!(w.results(), "o-o");
    w.close_of(ids[1]);
    assert_eq!(w.results(), "oio");
    w.finish();
    let end = |batch: u64| match &w.outcomes[&batch].1 {
        Outcome::Written { log_end_offset, .. } => *log_end_offset,
        Outcome::Failed(e) => panic!("{e}"),
    };
    assert_eq!((end(0), end(1), end(2)), (Some(1), None, Some(3)));
}

#[test]
fn an_asked_for_offset_is_not_waited_for_beyond_the_deadline() {
    let mut config = settings(5);
    config.track_offsets = true;
    let mut w = World::new(config, 1, 1);
    let deadline = w.now + Duration::from_secs(1);
    w.append_until(0, deadline);
    w.append(0);
    let ids = w.send_all(0);
    ids.iter().for_each(|id| w.execute(*id));
    w.deliver(ids[1]);
    w.pass(Duration::from_secs(2));
    assert_eq!(w.results(), "io");
    w.finish();
}

/// One batch per state: committed, refused, ambiguous, open; one in the queue is not ours.
fn mixed() -> World {
    let mut w = world(4);
    let ids = w.send_all(0);
    w.serve(ids[0]);
    w.refuse(ids[1], 29);
    let token = w.requests.remove(&ids[2]).expect("sent").copies[0].token;
    w.awaited.remove(&ids[2]);
    w.answer(token, rejected(25));
    w
}

#[test]
fn an_abort_tells_for_each_batch_what_is_known() {
    let mut w = mixed();
    w.abort(&Error::Closed("writer"));
    assert_eq!(w.results(), "onuu");
    let (_, outcome) = &w.outcomes[&1];
    assert_eq!(*outcome, Outcome::Failed(WriteError::NotWritten(Error::Closed("writer").into())));
    w.append(0);
    assert_eq!(w.sendable(bucket(0)), Sendable::No);
    assert_eq!(w.send_all(0), Vec::<u64>::new());
    assert_eq!((w.manager.poll_timeout(), w.broken.as_deref()), (None, None));
}

#[test]
fn a_dropped_table_ends_its_batches_and_no_others() {
    let mut w = mixed();
    w.append(1);
    let other = w.send_all(1);
    let gone = Error::Rejected {
        what: "write".into(),
        code: ErrorCode(7),
        message: "the table is gone".into(),
    };
    w.gone(bucket(0), &gone);
    assert_eq!(w.results(), "onuu-");
    for batch in 1..4 {
        let (_, Outcome::Failed(error)) = &w.outcomes[&batch] else { panic!("batch {batch}") };
        assert_eq!(error.cause().code(), Some(ErrorCode::TABLE_NOT_EXIST), "batch {batch}");
    }
    w.serve(other[0]);
    assert_eq!(w.results(), "onuuo");
    // The answer to the copy that was open comes too late.
    let id = *w.awaited.keys().next().expect("open");
    w.serve(id);
    assert_eq!(w.manager.counters().orphan_answers, 1);
    assert_eq!(w.broken, None);
}

#[test]
fn a_dropped_partition_ends_its_batches_and_no_others() {
    let key = |partition| BucketKey { partition: Some(PartitionId(partition)), ..bucket(0) };
    let mut w = World::new(settings(5), 1, 1);
    for partition in 0..2 {
        let (batch, deadline) = (BatchId(partition as u64), Instant::FAR_FUTURE);
        w.watch.handed_in(batch, key(partition), deadline);
        let fresh = Fresh { batch, deadline };
        w.queues.insert(key(partition), Queue([fresh].into()));
        w.replicas.insert(key(partition), Replica::default());
        w.view.insert(key(partition), 0);
    }
    w.next_batch = 2;
    w.call(|m, cx| m.want_writer_id(cx, key(0)));
    let sent = [0, 1].map(|partition| w.send(&[key(partition)]).expect("sent"));
    let gone = Error::Rejected {
        what: "write".into(),
        code: ErrorCode(36),
        message: "the partition is gone".into(),
    };
    w.gone(key(0), &gone);
    assert_eq!(w.results(), "u-");
    w.serve(sent[1]);
    assert_eq!((w.results().as_str(), w.broken.as_deref()), ("uo", None));
}

#[test]
fn an_error_about_the_tables_identity_asks_for_it_and_retries() {
    for code in [7, 21, 36] {
        let mut w = world(1);
        let ids = w.send_all(0);
        w.wants.clear();
        w.refuse(ids[0], code);
        let want = Want::Refresh {
            bucket: bucket(0),
            reason: crate::writer::retry::RefreshReason::Identity,
            epoch: None,
        };
        assert_eq!(w.wants, [want]);
        w.finish();
        assert_eq!(w.results(), "o");
    }
}

#[test]
fn a_success_for_a_stamp_that_was_taken_away_is_counted_and_changes_nothing() {
    let mut w = world(2);
    let ids = w.send_all(0);
    let token = w.requests[&ids[1]].copies[0].token;
    w.refuse(ids[0], 57);
    w.serve(ids[1]);
    let held = w.manager.buckets[&bucket(0)].clone();
    let mut m = w.manager.clone();
    let mut rng = crate::rng::Rng::new(1);
    let config = crate::config::Config::new("a:1").expect("valid");
    let mut cx = crate::cx::Cx { now: w.now, rng: &mut rng, config: &config };
    m.handle_answer(&mut cx, token, super::world::written(0), false);
    assert_eq!(m.counters().invariant_violation, 1);
    assert_eq!(m.buckets[&bucket(0)], held);
}

#[test]
fn deadlines_are_the_only_timers_of_a_healthy_writer_and_end_with_its_batches() {
    let mut w = world(0);
    let deadline = w.now + Duration::from_secs(120);
    w.append_until(0, deadline);
    let ids = w.send_all(0);
    assert_eq!(w.manager.poll_timeout().map(|t| t.0), Some(deadline));
    w.serve(ids[0]);
    assert_eq!(w.manager.poll_timeout(), None);
    w.finish();
}

/// A world without idempotence.
fn plain(max_in_flight: usize, retries: u32, batches: usize) -> World {
    let mut config = settings(max_in_flight);
    config.enabled = false;
    config.retries = retries;
    let mut w = World::new(config, 1, 1);
    for _ in 0..batches {
        w.append(0);
    }
    w
}

#[test]
fn without_idempotence_nothing_is_stamped_and_a_retry_may_double_a_batch() {
    let mut w = plain(5, u32::MAX, 7);
    let ids = w.send_all(0);
    assert_eq!(ids.len(), 5);
    assert!(w.sent.iter().all(|c| c.stamp == Stamp::NONE));
    w.execute(ids[0]);
    w.close_of(ids[0]);
    w.drain();
    assert_eq!((w.results().as_str(), w.ids_asked, w.broken.as_deref()), ("ooooooo", 0, None));
    assert_eq!(w.log(0).iter().filter(|p| **p == 0).count(), 2);
}

#[test]
fn without_idempotence_one_in_flight_keeps_the_order_over_retries() {
    let mut w = plain(1, u32::MAX, 3);
    for code in [29, 25, 12] {
        let ids = w.send_all(0);
        assert_eq!(ids.len(), 1);
        w.refuse(ids[0], code);
        w.wait();
    }
    w.drain();
    assert_eq!((w.results().as_str(), w.log(0)), ("ooo", vec![0, 1, 2]));
}

#[test]
fn without_idempotence_the_end_of_retries_tells_what_is_known() {
    let known = [([29, 29], "n"), ([29, 57], "n")];
    let open = [([25, 29], "u"), ([29, 25], "u"), ([25, 57], "u")];
    // A sequence that was seen before: which one, without a stamp?
    let absurd = [([29, 32], "u")];
    for (codes, expected) in known.into_iter().chain(open).chain(absurd) {
        let mut w = plain(5, 1, 1);
        for code in codes {
            let id = w.send_all(0)[0];
            w.refuse(id, code);
            w.wait();
        }
        assert_eq!(w.results(), expected, "{codes:?}");
    }
}

#[test]
fn without_idempotence_a_deadline_with_an_open_copy_is_an_unknown_outcome() {
    let mut w = plain(5, 1, 0);
    w.append_until(0, Instant::from_millis(100));
    let ids = w.send_all(0);
    w.pass(Duration::from_millis(100));
    assert_eq!(w.results(), "u");
    w.serve(ids[0]);
    assert_eq!(w.manager.counters().orphan_answers, 1);
}

#[test]
fn an_outcome_comes_within_one_request_of_its_deadline_though_a_probe_is_open() {
    let mut w = World::new(settings(5), 1, 1);
    w.append_until(0, w.now + Duration::from_secs(1));
    let first = w.send_all(0)[0];
    w.close_of(first);
    w.append(0);
    w.pass(Duration::from_secs(20));
    let probe = w.send_all(0);
    assert_eq!((probe.len(), w.results()), (1, "--".to_owned()));
    w.pass(Duration::from_secs(21));
    assert_eq!(w.results(), "u-", "deadline 1 s and a request's 40 s have passed");
    w.finish();
    assert_eq!(w.results(), "uo");
}
