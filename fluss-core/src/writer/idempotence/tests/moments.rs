//! Exact moments, and answers that come after their copy was closed.

use super::world::{World, bucket, rejected, settings, written};
use crate::error::Error;
use crate::ids::WriterId;
use crate::time::{Duration, Instant};
use crate::writer::idempotence::{Answer, Sendable, Want};
use crate::writer::retry::RefreshReason;

fn world(batches: usize) -> World {
    let mut w = World::new(settings(5), 2, 1);
    for _ in 0..batches {
        w.append(0);
    }
    w
}

#[test]
fn a_success_that_comes_after_the_connection_was_given_up_counts() {
    let mut w = world(2);
    let ids = w.send_all(0);
    ids.iter().for_each(|id| w.execute(*id));
    w.close_of(ids[0]);
    let token = w.sent[1].token;
    w.answer(token, written(1));
    assert_eq!(w.results(), "io");
    w.finish();
    assert_eq!(w.sent.len(), 2, "nothing is sent again");
}

#[test]
fn a_refusal_of_a_copy_that_was_closed_says_nothing_about_the_next_one() {
    let mut w = world(1);
    let first = w.send_all(0)[0];
    w.close_of(first);
    w.wait();
    w.send_all(0);
    w.answer(w.sent[0].token, rejected(57));
    assert_eq!((w.results().as_str(), w.manager.counters().orphan_answers), ("-", 1));
    w.finish();
    assert_eq!(w.results(), "o");
}

#[test]
fn a_success_for_a_stamp_the_batch_no_longer_has_is_an_alarm_and_no_success() {
    let mut w = world(2);
    let ids = w.send_all(0);
    w.refuse(ids[0], 57);
    w.serve(ids[1]);
    w.send_all(0);
    let (old, new) = (w.sent[1], w.sent[2]);
    assert_eq!((old.batch, old.stamp.sequence, new.stamp.sequence), (new.batch, 1, 0));
    w.let_off = true;
    w.answer(old.token, written(0));
    assert_eq!((w.results().as_str(), w.manager.counters().invariant_violation), ("n-", 1));
    assert!(w.broken.is_some(), "the alarm breaks a rule of its own");
}

#[test]
fn an_outcome_nobody_can_prove_is_told_after_one_request_though_the_probe_never_left() {
    let mut config = settings(5);
    config.fatal_confirm = 0;
    let mut w = World::new(config, 1, 1);
    w.append(0);
    let id = w.send_all(0)[0];
    w.execute(id);
    w.close_of(id);
    w.wait();
    let again = w.send_all(0)[0];
    w.append(0);
    w.refuse(again, 57);
    w.pass(Duration::from_secs(39));
    assert_eq!(w.results(), "--");
    w.pass(Duration::from_secs(1));
    assert_eq!(w.results(), "u-");
}

#[test]
fn the_timer_is_that_of_the_batch_with_the_earliest_deadline() {
    let mut w = world(0);
    w.append_until(0, Instant::from_millis(100_000));
    w.send_all(0);
    w.append_until(0, Instant::from_millis(10_000));
    w.send_all(0);
    let at = w.manager.poll_timeout().map(|(at, _)| at);
    assert_eq!(at, Some(Instant::from_millis(10_000)));
}

#[test]
fn a_new_epoch_of_the_same_leader_costs_no_connection() {
    let mut w = world(1);
    w.lead(0, 0, Some(0));
    w.send_all(0);
    w.lead(0, 0, Some(1));
    w.wants.clear();
    w.pass(Duration::from_secs(5));
    let closed = w.wants.iter().any(|want| matches!(want, Want::CloseConnection { .. }));
    assert!(!closed, "{:?}", w.wants);
}

#[test]
fn the_next_session_begins_at_the_very_moment_that_was_told() {
    let mut w = world(1);
    let first = w.send_all(0)[0];
    w.refuse(first, 31);
    for _ in 0..50 {
        w.confirm();
        match w.sendable(bucket(0)) {
            Sendable::At(at) => {
                w.now = at;
                assert!(!matches!(w.sendable(bucket(0)), Sendable::At(_)), "again a wait");
            }
            Sendable::No => w.wait(),
            _ => {}
        }
        for id in w.send_all(0) {
            w.refuse(id, 31);
        }
    }
    let ids: std::collections::BTreeSet<i64> = w.stamps().iter().map(|s| s.0).collect();
    assert!(ids.len() > 3, "sessions: {ids:?}");
}

#[test]
fn a_negative_writer_id_is_asked_for_again_after_a_pause() {
    let mut w = world(1);
    w.auto_id = false;
    assert!(w.send_all(0).is_empty());
    w.call(|m, cx| m.handle_writer_id(cx, Ok(WriterId(-1))));
    assert_eq!((w.ids_asked, w.sendable(bucket(0))), (1, Sendable::NeedsWriterId));
    w.wait();
    assert_eq!(w.ids_asked, 2);
    w.give_id();
    w.finish();
    assert_eq!(w.results(), "o");
}

#[test]
fn nobody_waits_for_an_id_that_was_forbidden() {
    let mut w = world(1);
    w.auto_id = false;
    w.send_all(0);
    w.fail_id(crate::connection::request::RequestError::Rejected {
        code: fluss_proto::ErrorCode(48),
        message: "no".into(),
    });
    assert_eq!((w.results().as_str(), w.manager.poll_timeout()), ("n", None));
}

#[test]
fn no_id_is_asked_for_without_idempotence_or_after_the_end() {
    let mut config = settings(5);
    config.enabled = false;
    let mut plain = World::new(config, 1, 1);
    plain.call(|m, cx| m.want_writer_id(cx, bucket(0)));
    let mut over = world(1);
    over.abort(&Error::Closed("writer"));
    over.call(|m, cx| m.want_writer_id(cx, bucket(0)));
    assert_eq!((plain.ids_asked, over.ids_asked), (0, 0));
}

#[test]
fn buckets_are_forgotten_after_the_limit_and_their_ids_only_with_them() {
    let mut w = world(1);
    let id = w.send_all(0)[0];
    w.serve(id);
    let start = w.now;
    let limit = Duration::from_secs(24 * 3600);
    // Just used, then idle for exactly as long as allowed: known, and its id serves others.
    w.manager.forget_idle(start);
    w.manager.forget_idle(start + limit);
    assert_eq!(w.manager.buckets.len(), 1);
    w.append(1);
    let other = w.send_all(1)[0];
    assert_eq!((w.ids_asked, w.stamps()[1]), (1, (7, 0)));
    // Under way for longer: not idle, so neither it nor its id is forgotten.
    w.manager.forget_idle(start + limit + limit);
    assert_eq!((w.manager.buckets.len(), w.manager.ids.spare), (1, None));
    w.serve(other);
    w.give_id();
    w.manager.forget_idle(start + limit + limit);
    assert_eq!((w.manager.buckets.len(), w.manager.ids.spare), (0, Some(WriterId(8))));
}

/// A world without idempotence.
fn plain() -> World {
    let mut config = settings(5);
    config.enabled = false;
    let mut w = World::new(config, 1, 1);
    w.append(0);
    w
}

#[test]
fn without_idempotence_a_corrupt_batch_is_tried_three_times() {
    let mut w = plain();
    for expected in ["-", "-", "n"] {
        let id = w.send_all(0)[0];
        w.refuse(id, 14);
        assert_eq!(w.results(), expected);
        w.wait();
    }
    assert_eq!(w.stamps(), [(-1, -1); 3]);
    let attempts = &w.done[0].attempts;
    assert_eq!(attempts.len(), 3);
    assert!(attempts.iter().all(|attempt| attempt.sequence == -1));
}

#[test]
fn without_idempotence_storage_pressure_rests_the_bucket_for_its_square() {
    let mut w = plain();
    w.append(0);
    w.manager.config.max_in_flight = 1;
    w.send_all(0);
    let (base_offset, log_end_offset) = (None, Some(1));
    let pressure = Some(0.5);
    let token = w.sent[0].token;
    w.execute(0);
    w.answer(token, Answer::Written { base_offset, log_end_offset, pressure });
    // A quarter of the full window of 3 s.
    let rest = w.now + Duration::from_millis(750);
    assert_eq!(w.sendable(bucket(0)), Sendable::At(rest));
}

#[test]
fn a_cluster_that_tells_nothing_is_asked_once_and_waited_for_as_long_as_for_a_request() {
    let mut w = world(3);
    let ids = w.send_all(0);
    w.serve(ids[0]);
    ids[1..].iter().for_each(|id| w.execute(*id));
    w.close_of(ids[1]);
    w.replicas.get_mut(&bucket(0)).expect("known").expire(7);
    w.wait();
    // The floor is refused, then the probe of the batch behind it.
    for _ in 0..2 {
        let id = w.send(&[bucket(0)]).expect("a copy");
        w.serve(id);
    }
    let confirms = |w: &World| {
        let confirm =
            |want: &&Want| matches!(want, Want::Refresh { reason: RefreshReason::Confirm, .. });
        w.wants.iter().filter(confirm).count()
    };
    assert_eq!((confirms(&w), w.results().as_str()), (1, "o--"));
    w.pass(Duration::from_secs(39));
    assert_eq!(w.results(), "o--");
    w.pass(Duration::from_secs(1));
    assert_eq!((confirms(&w), w.results().as_str()), (1, "ouu"));
}
