//! Order, windows, and the ways an answer can be late, missing or out of date.

use super::world::{Found, World, bucket, lost, rejected, settings};
use crate::ids::ConnId;
use crate::writer::idempotence::outcome::Outcome;
use crate::writer::idempotence::{Answer, Kind, Mutation, Sendable};

fn world(max_in_flight: usize, batches: usize) -> World {
    let mut w = World::new(settings(max_in_flight), 1, 1);
    for _ in 0..batches {
        w.append(0);
    }
    w
}

#[test]
fn the_first_write_asks_for_one_id_and_takes_sequence_zero() {
    let mut w = world(5, 1);
    assert_eq!(w.sendable(bucket(0)), Sendable::NeedsWriterId);
    let ids = w.send_all(0);
    assert_eq!((w.ids_asked, w.stamps()), (1, vec![(7, 0)]));
    w.serve(ids[0]);
    w.finish();
    assert_eq!(w.results(), "o");
}

#[test]
fn five_batches_travel_at_once_and_the_sixth_follows_the_first_answer() {
    let mut w = world(5, 8);
    let ids = w.send_all(0);
    assert_eq!(w.stamps(), (0..5).map(|s| (7, s)).collect::<Vec<_>>());
    assert_eq!(w.sendable(bucket(0)), Sendable::No);
    w.serve(ids[0]);
    assert_eq!(w.send_all(0).len(), 1);
    assert_eq!(w.stamps()[5], (7, 5));
    w.finish();
    assert_eq!(w.log(0), (0..8).collect::<Vec<_>>());
}

#[test]
fn an_answer_proves_all_batches_before_its_own() {
    let mut w = world(5, 3);
    let ids = w.send_all(0);
    ids.iter().for_each(|id| w.execute(*id));
    w.deliver(ids[1]);
    assert_eq!(w.results(), "io-");
    w.deliver(ids[0]);
    w.deliver(ids[2]);
    w.finish();
    assert_eq!((w.results().as_str(), w.log(0)), ("ioo", vec![0, 1, 2]));
}

#[test]
fn a_lost_answer_that_later_ones_prove_needs_no_resend() {
    let mut w = world(5, 6);
    let ids = w.send_all(0);
    ids.iter().for_each(|id| w.execute(*id));
    ids[1..].iter().for_each(|id| w.deliver(*id));
    let next = w.send_all(0);
    w.serve(next[0]);
    w.finish();
    assert_eq!(w.results(), "iooooo");
    assert_eq!(w.stamps().len(), 6);
    assert_eq!(w.manager.counters().resends_sequence, 0);
}

#[test]
fn a_lost_answer_is_retried_with_the_same_stamp_and_gets_the_original_offset() {
    let mut w = world(5, 1);
    let ids = w.send_all(0);
    w.execute(ids[0]);
    w.close_of(ids[0]);
    assert!(matches!(w.sendable(bucket(0)), Sendable::At(_)));
    w.wait();
    w.send_all(0);
    w.finish();
    assert_eq!(w.stamps(), [(7, 0), (7, 0)]);
    assert_eq!(w.log(0), [0]);
    let (_, outcome) = &w.outcomes[&0];
    assert!(matches!(outcome, Outcome::Written { base_offset: Some(0), inferred: false, .. }));
}

#[test]
fn a_whole_window_of_lost_answers_is_resent_in_order() {
    for n in 1..=5 {
        let mut w = world(n, n);
        let ids = w.send_all(0);
        ids.iter().for_each(|id| w.execute(*id));
        w.close_of(ids[0]);
        w.wait();
        w.send_all(0);
        let sent: Vec<i32> = w.stamps()[n..].iter().map(|s| s.1).collect();
        assert_eq!(sent, (0..n as i32).collect::<Vec<_>>());
        w.finish();
        assert_eq!((w.results(), w.log(0).len()), ("o".repeat(n), n));
    }
}

#[test]
fn a_window_that_shrank_to_its_last_batch_is_found_by_a_probe() {
    for n in 2..=5 {
        let mut w = world(n, n);
        w.lead(0, 0, Some(0));
        let ids = w.send_all(0);
        ids.iter().for_each(|id| w.execute(*id));
        w.close_of(ids[0]);
        w.replicas.get_mut(&bucket(0)).expect("known").shrink();
        w.wait();
        let again = w.send(&[bucket(0)]).expect("the floor");
        w.serve(again);
        assert_eq!(w.manager.counters().genuine_refusals, 1);
        w.finish();
        assert!(!w.results().contains(['n', 'u']), "{}", w.results());
        assert_eq!((w.ids_asked, w.log(0).len()), (1, n));
        assert!(w.manager.counters().probes > 0);
    }
}

#[test]
fn batches_behind_a_shrunken_window_are_appended_behind_what_it_holds() {
    let mut w = world(5, 5);
    let ids = w.send_all(0);
    ids[..3].iter().for_each(|id| w.execute(*id));
    w.close_of(ids[3]);
    ids[3..].iter().for_each(|id| drop(w.requests.remove(id)));
    w.replicas.get_mut(&bucket(0)).expect("known").shrink();
    w.wait();
    // The window holds the third batch alone: the first is refused, and so is the probe of the
    // second, that of the third is a copy, and the two behind it are new.
    let again = w.send(&[bucket(0)]).expect("the floor");
    w.execute(again);
    let found = |w: &World, id: u64| w.requests[&id].found.clone();
    assert_eq!(found(&w, again), Some(vec![Found::Code(31)]));
    w.deliver(again);
    let probes = w.send_all(0);
    probes.iter().for_each(|id| w.execute(*id));
    let expected = [Found::Code(31), Found::At(2), Found::At(3), Found::At(4)];
    assert!(probes.iter().map(|id| found(&w, *id)).eq(expected.map(|found| Some(vec![found]))));
    probes.iter().for_each(|id| w.deliver(*id));
    let counters = w.manager.counters();
    assert_eq!((counters.genuine_refusals, counters.probes), (1, 4));
    w.finish();
    assert_eq!(w.log(0), [0, 1, 2, 3, 4]);
    assert_eq!((w.results().as_str(), w.ids_asked), ("iiooo", 1));
}

#[test]
fn a_transient_refusal_in_the_middle_keeps_all_stamps() {
    let mut w = world(5, 3);
    let ids = w.send_all(0);
    w.serve(ids[0]);
    w.refuse(ids[1], 29);
    w.serve(ids[2]);
    w.wait();
    w.send_all(0);
    w.finish();
    assert_eq!(w.stamps(), [(7, 0), (7, 1), (7, 2), (7, 1), (7, 2)]);
    assert_eq!((w.results().as_str(), w.log(0)), ("ooo", vec![0, 1, 2]));
}

#[test]
fn a_refusal_from_before_the_floor_moved_is_only_resent() {
    let mut w = world(5, 3);
    let ids = w.send_all(0);
    w.serve(ids[0]);
    w.refuse(ids[1], 29);
    w.execute(ids[2]);
    w.wait();
    let again = w.send(&[bucket(0)]).expect("batch 1");
    w.serve(again);
    // The answer of batch 2 was held back by another bucket of its request.
    w.deliver(ids[2]);
    assert_eq!(w.manager.counters().stale_refusals, 1);
    assert_eq!(w.manager.counters().genuine_refusals, 0);
    w.finish();
    assert_eq!((w.results().as_str(), w.ids_asked), ("ooo", 1));
}

#[test]
fn errors_that_follow_an_append_are_resent_until_the_server_confirms() {
    for code in [25, 28, -1, 10, 11, 12, 21, 26, 1, 4711] {
        let mut w = world(5, 1);
        let ids = w.send_all(0);
        w.fail_after(ids[0], code);
        w.finish();
        assert_eq!((w.results().as_str(), w.log(0)), ("o", vec![0]), "code {code}");
        assert_eq!(w.stamps(), [(7, 0), (7, 0)]);
        assert_eq!(w.done[0].attempts.len(), 1);
    }
}

/// Its answer is lost, or tells that too few replicas have it; then too few are in sync.
#[test]
fn refusals_of_what_was_committed_are_retried_until_replicas_are_back() {
    for (keyed, code) in [(false, None), (true, None), (false, Some(28)), (true, Some(28))] {
        let mut config = settings(5);
        config.track_offsets = keyed;
        let mut w = World::new(config, 1, 1);
        w.append(0);
        let ids = w.send_all(0);
        if let Some(code) = code {
            w.fail_after(ids[0], code);
        } else {
            w.execute(ids[0]);
            w.close_of(ids[0]);
        }
        for _ in 0..3 {
            w.wait();
            let again = w.send(&[bucket(0)]).expect("resent");
            w.refuse(again, 29);
            assert_eq!(w.results(), "-");
        }
        w.finish();
        assert_eq!((w.results().as_str(), w.log(0)), ("o", vec![0]));
        assert_eq!(w.stamps(), [(7, 0); 5]);
    }
}

#[test]
fn a_bucket_missing_in_a_response_is_asked_for_again() {
    let mut w = world(5, 1);
    let ids = w.send_all(0);
    w.execute(ids[0]);
    let token = w.requests[&ids[0]].copies[0].token;
    w.awaited.remove(&ids[0]);
    w.requests.remove(&ids[0]);
    w.answer(token, lost());
    w.finish();
    assert_eq!((w.results().as_str(), w.log(0)), ("o", vec![0]));
}

#[test]
fn second_answers_and_answers_for_strange_buckets_are_counted_and_ignored() {
    let mut w = World::new(settings(5), 2, 1);
    w.append(0);
    w.append(0);
    let ids = w.send_all(0);
    let token = w.requests[&ids[0]].copies[0].token;
    w.serve(ids[0]);
    assert_eq!(w.results(), "o-");
    // What was said first counts; nothing was ever sent to the second bucket. Neither moves the
    // batch that is still under way.
    let before = w.manager.buckets.clone();
    for token in [token, token.in_bucket(bucket(1))] {
        for answer in [rejected(57), rejected(31), lost(), super::world::written(9)] {
            w.answer(token, answer);
            assert_eq!(w.manager.buckets, before);
        }
    }
    assert_eq!((w.manager.counters().orphan_answers, w.results()), (8, "o-".to_owned()));
    let (_, outcome) = &w.outcomes[&0];
    assert!(matches!(outcome, Outcome::Written { base_offset: Some(0), inferred: false, .. }));
    w.finish();
    assert_eq!((w.results().as_str(), w.log(0)), ("oo", vec![0, 1]));
}

#[test]
fn a_copy_that_never_left_is_not_ambiguous() {
    let mut w = world(5, 1);
    let ids = w.send_all(0);
    let token = w.requests.remove(&ids[0]).expect("sent").copies[0].token;
    w.awaited.clear();
    w.answer(token, Answer::NotSent(crate::error::Error::Closed("connection")));
    assert!(!w.manager.buckets[&bucket(0)].slots[0].ambiguous);
    assert_eq!(w.sendable(bucket(0)), Sendable::Now);
    w.finish();
    assert_eq!(w.results(), "o");
}

#[test]
fn a_queued_copy_of_a_dead_connection_is_a_duplicate_or_out_of_order() {
    for later in [0, 5] {
        let mut w = world(5, 1);
        let ids = w.send_all(0);
        w.close_of(ids[0]);
        w.wait();
        let again = w.send_all(0);
        w.serve(again[0]);
        for _ in 0..later {
            w.append(0);
            let id = w.send_all(0)[0];
            w.serve(id);
        }
        w.execute(ids[0]);
        w.requests.clear();
        w.finish();
        assert_eq!(w.log(0).iter().filter(|p| **p == 0).count(), 1);
    }
}

#[test]
fn batches_behind_the_floor_are_resent_once_per_floor_copy() {
    let mut w = world(3, 3);
    let ids = w.send_all(0);
    w.refuse(ids[0], 29);
    w.serve(ids[1]);
    w.serve(ids[2]);
    w.wait();
    let again = w.send_all(0);
    assert_eq!(again.len(), 3);
    // The floor's answer is delayed; the two behind it bounce.
    w.requests.get_mut(&again[0]).expect("sent").before.insert(0, 29);
    for id in &again {
        w.execute(*id);
    }
    w.deliver(again[1]);
    w.deliver(again[2]);
    assert_eq!(w.send_all(0), Vec::<u64>::new());
    w.deliver(again[0]);
    w.finish();
    assert_eq!((w.results().as_str(), w.log(0)), ("ooo", vec![0, 1, 2]));
}

/// A probe is refused, its answer held; then queued copies are appended and the floor is refused.
fn old_probe_answer(mutation: Option<Mutation>) -> World {
    let mut config = settings(5);
    config.mutation = mutation;
    let mut w = World::new(config, 1, 1);
    w.lead(0, 0, Some(0));
    for _ in 0..5 {
        w.append(0);
    }
    let first = w.send_all(0);
    w.serve(first[0]);
    w.close(ConnId(0));
    w.execute(first[1]);
    w.execute(first[2]);
    w.replicas.get_mut(&bucket(0)).expect("known").shrink();
    w.wait();
    let floor = w.send(&[bucket(0)]).expect("the floor");
    w.serve(floor);
    let probes = w.send_all(0);
    assert!(w.sent.iter().rev().take(3).all(|c| c.kind == Kind::Probe));
    w.serve(probes[0]);
    w.refuse(probes[1], 29);
    w.execute(probes[2]);
    w.execute(first[3]);
    w.execute(first[4]);
    w.requests.retain(|id, _| *id == probes[2]);
    w.replicas.get_mut(&bucket(0)).expect("known").shrink();
    w.wait();
    let floor = w.send(&[bucket(0)]).expect("the new floor");
    w.serve(floor);
    w.deliver(probes[2]);
    w.drain();
    w.check_end();
    w
}

#[test]
fn a_probe_answer_older_than_the_refused_floor_is_no_evidence() {
    let w = old_probe_answer(None);
    assert_eq!((w.broken.as_deref(), w.ids_asked), (None, 1));
    assert!(!w.results().contains(['n', 'u']), "{}", w.results());
}

#[test]
fn the_checks_notice_when_old_probe_answers_count() {
    let w = old_probe_answer(Some(Mutation::AcceptOldProbeAnswers));
    assert!(w.results().contains('u'), "{}", w.results());
}

#[test]
fn answers_that_a_request_held_back_for_one_bucket_leave_the_other_alone() {
    let mut w = World::new(settings(5), 2, 1);
    let x0 = w.append(0);
    let x1 = w.append(0);
    let y0 = w.append(1);
    w.call(|m, cx| m.want_writer_id(cx, bucket(0)));
    let first = w.send(&[bucket(0)]).expect("x0");
    let second = w.send(&[bucket(0), bucket(1)]).expect("x1 and y0");
    // The first copy of x0 is refused for the moment, so that of x1 is out of order. Its answer is
    // held back by the one for y0, until x0 is written.
    w.requests.get_mut(&first).expect("sent").before.insert(0, 29);
    w.execute(first);
    w.execute(second);
    w.deliver(first);
    w.wait();
    let again = w.send(&[bucket(0)]).expect("x0 again");
    w.serve(again);
    assert_eq!(w.results(), "o--");
    w.deliver(second);
    let counters = w.manager.counters();
    assert_eq!((counters.stale_refusals, counters.genuine_refusals), (1, 0));
    w.finish();
    assert_eq!((w.log(0), w.log(1)), (vec![x0, x1], vec![y0]));
    assert_eq!(w.ids_asked, 1);
}

#[test]
fn each_bucket_of_a_request_gets_what_its_own_code_demands() {
    let mut w = World::new(settings(5), 3, 1);
    for number in 0..3 {
        w.append(number);
    }
    w.call(|m, cx| m.want_writer_id(cx, bucket(0)));
    let id = w.send(&[bucket(0), bucket(1), bucket(2)]).expect("sent");
    let request = w.requests.get_mut(&id).expect("sent");
    request.before.insert(1, 29);
    request.before.insert(2, 57);
    w.serve(id);
    assert_eq!(w.results(), "o-n");
    w.finish();
    assert_eq!(w.results(), "oon");
}
