//! What is counted and noted in known courses of events: all of it, and nothing else.

use super::world::{World, bucket, rejected, settings};
use crate::time::{Duration, Instant};
use crate::writer::idempotence::{Counters, Fired, Kind, Window};

fn world(max_in_flight: usize, batches: usize) -> World {
    let mut w = World::new(settings(max_in_flight), 1, 1);
    for _ in 0..batches {
        w.append(0);
    }
    w
}

/// The rules that decided something.
fn noted(w: &World) -> Vec<u32> {
    let bits = w.manager.counters().fired.bits();
    (0..32).filter(|rule| bits >> rule & 1 == 1).collect()
}

fn counted(w: &World) -> Counters {
    Counters { fired: Fired::default(), ..w.manager.counters().clone() }
}

#[test]
fn batches_that_are_written_at_once_are_counted_and_nothing_is_noted() {
    let mut w = world(5, 2);
    w.send_all(0).into_iter().for_each(|id| w.serve(id));
    assert_eq!(counted(&w), Counters { copies: 2, ..Counters::default() });
    assert_eq!(noted(&w), Vec::<u32>::new());
}

#[test]
fn a_full_window_is_noted_only_where_more_batches_wait() {
    let mut exact = world(2, 2);
    exact.send_all(0);
    assert_eq!(noted(&exact), Vec::<u32>::new());
    let mut more = world(2, 3);
    more.send_all(0);
    assert_eq!(noted(&more), [3]);
}

#[test]
fn an_answer_that_proves_lower_batches_is_noted_and_they_are_counted() {
    let mut w = world(5, 3);
    let ids = w.send_all(0);
    ids.iter().for_each(|id| w.execute(*id));
    w.deliver(ids[2]);
    assert_eq!(counted(&w), Counters { copies: 3, inferred_commits: 2, ..Counters::default() });
    assert_eq!(noted(&w), [4]);
    w.deliver(ids[0]);
    assert_eq!(w.manager.counters().orphan_answers, 1);
    assert_eq!(noted(&w), [4, 5]);
}

#[test]
fn refusals_behind_a_floor_that_moved_are_resent_without_the_gate() {
    let mut w = world(5, 3);
    let ids = w.send_all(0);
    w.serve(ids[0]);
    w.refuse(ids[1], 29);
    w.serve(ids[2]);
    let expected =
        Counters { copies: 3, resends_transient: 1, resends_sequence: 1, ..Counters::default() };
    assert_eq!((counted(&w), noted(&w)), (expected, vec![6]));
    w.wait();
    w.send_all(0);
    assert_eq!((w.manager.counters().copies, noted(&w)), (5, vec![6, 7]));
}

#[test]
fn a_refusal_in_the_floors_own_generation_is_held_by_the_gate() {
    let mut w = world(5, 2);
    let ids = w.send_all(0);
    w.refuse(ids[0], 29);
    w.serve(ids[1]);
    assert_eq!(noted(&w), [6, 8]);
}

#[test]
fn a_stale_refusal_of_the_floor_is_counted_as_one() {
    let mut w = world(5, 2);
    let ids = w.send_all(0);
    // Refused behind a hole that is filled before the answer comes.
    w.execute(ids[1]);
    w.serve(ids[0]);
    w.deliver(ids[1]);
    let expected =
        Counters { copies: 2, stale_refusals: 1, resends_sequence: 1, ..Counters::default() };
    assert_eq!((counted(&w), noted(&w)), (expected, vec![6, 9]));
}

#[test]
fn a_refusal_by_a_former_leader_is_stale_and_held_by_no_gate() {
    let mut w = world(5, 1);
    w.lead(0, 0, Some(0));
    w.send_all(0);
    w.lead(0, 0, Some(1));
    w.answer(w.sent[0].token, rejected(31));
    assert_eq!((w.manager.counters().stale_refusals, noted(&w)), (1, vec![6, 9]));
}

#[test]
fn lost_answers_and_copies_that_never_left_are_counted_apart() {
    let mut w = world(5, 1);
    let id = w.send_all(0)[0];
    w.execute(id);
    w.close_of(id);
    assert_eq!(counted(&w), Counters { copies: 1, resends_ambiguous: 1, ..Counters::default() });
    let mut w = world(5, 1);
    let id = w.send_all(0)[0];
    w.refuse(id, 29);
    assert_eq!(counted(&w), Counters { copies: 1, resends_transient: 1, ..Counters::default() });
}

/// A window of three of which the server remembers the last, and the floor just refused.
fn genuine() -> World {
    let mut w = world(5, 3);
    let ids = w.send_all(0);
    ids.iter().for_each(|id| w.execute(*id));
    w.close_of(ids[0]);
    w.replicas.get_mut(&bucket(0)).expect("known").shrink();
    w.wait();
    let floor = w.send(&[bucket(0)]).expect("the floor");
    w.serve(floor);
    w
}

#[test]
fn probes_behind_a_refused_floor_are_noted_and_counted() {
    let mut w = genuine();
    assert_eq!(w.manager.counters().genuine_refusals, 1);
    assert_eq!(noted(&w), [6, 7, 9]);
    w.send(&[bucket(0)]).expect("a probe");
    assert_eq!(w.manager.counters().probes, 1);
    assert_eq!(noted(&w), [6, 7, 9, 10]);
}

#[test]
fn a_probe_that_ends_in_doubt_is_followed_by_another_probe() {
    let mut w = genuine();
    let probe = w.send(&[bucket(0)]).expect("a probe");
    w.fail_after(probe, 25);
    w.wait();
    w.send(&[bucket(0)]).expect("a probe");
    let kinds: Vec<Kind> = w.sent[4..].iter().map(|copy| copy.kind).collect();
    assert_eq!(kinds, [Kind::Probe, Kind::Probe]);
}

#[test]
fn behind_a_new_connection_the_floor_is_asked_for_before_the_probes() {
    let mut w = genuine();
    let probe = w.send(&[bucket(0)]).expect("a probe");
    w.close_of(probe);
    w.wait();
    let floor = w.send(&[bucket(0)]).expect("the floor");
    w.serve(floor);
    assert_eq!(w.manager.counters().genuine_refusals, 2);
    w.send(&[bucket(0)]).expect("a probe");
    let kinds: Vec<Kind> = w.sent[4..].iter().map(|copy| copy.kind).collect();
    assert_eq!(kinds, [Kind::Probe, Kind::Normal, Kind::Probe]);
}

#[test]
fn a_batch_out_of_time_behind_a_refused_floor_stops_no_probe() {
    let mut w = world(5, 2);
    w.append_until(0, w.now + Duration::from_secs(6));
    let ids = w.send_all(0);
    ids.iter().for_each(|id| w.execute(*id));
    w.close_of(ids[0]);
    w.replicas.get_mut(&bucket(0)).expect("known").shrink();
    w.wait();
    let floor = w.send(&[bucket(0)]).expect("the floor");
    w.serve(floor);
    w.pass(Duration::from_secs(3));
    w.send(&[bucket(0)]).expect("a probe");
    let last = w.sent.last().expect("sent");
    assert_eq!((last.kind, last.stamp.sequence), (Kind::Probe, 1));
}

#[test]
fn a_probe_above_a_doomed_floor_is_none_behind_a_refused_one() {
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
    let probe = w.send_all(0);
    assert_eq!((probe.len(), w.manager.counters().probes), (1, 1));
    assert_eq!(noted(&w), [6, 7, 14]);
}

#[test]
fn a_batch_that_is_sent_to_learn_about_a_doomed_one_below_is_no_probe_of_a_window() {
    let mut config = settings(5);
    config.fatal_confirm = 0;
    let mut w = World::new(config, 1, 1);
    w.append(0);
    w.append(0);
    let ids = w.send_all(0);
    w.execute(ids[0]);
    w.close_of(ids[0]);
    w.wait();
    let again = w.send_all(0);
    w.refuse(again[0], 57);
    w.refuse(again[1], 29);
    w.wait();
    w.send_all(0);
    let last = w.sent.last().expect("sent");
    assert_eq!((last.kind, last.stamp.sequence, w.sent.len()), (Kind::Probe, 1, 5));
    assert!(!noted(&w).contains(&10), "{:?}", noted(&w));
}

#[test]
fn a_hole_with_nothing_behind_it_gives_nothing_back() {
    let mut alone = world(5, 1);
    let id = alone.send_all(0)[0];
    alone.refuse(id, 57);
    assert_eq!(noted(&alone), [6, 13]);
    assert_eq!(alone.manager.counters().not_written, 1);
    let mut two = world(5, 2);
    let ids = two.send_all(0);
    two.refuse(ids[0], 57);
    two.serve(ids[1]);
    assert!(noted(&two).contains(&12), "{:?}", noted(&two));
}

#[test]
fn every_batch_that_was_refused_for_good_ends_with_the_hole() {
    let mut w = world(5, 3);
    let ids = w.send_all(0);
    w.refuse(ids[1], 57);
    w.refuse(ids[0], 57);
    w.serve(ids[2]);
    assert_eq!(w.results(), "nn-");
    w.finish();
    assert_eq!((w.results().as_str(), w.sent.len()), ("nno", 4));
}

#[test]
fn a_bucket_that_is_gone_is_noted_only_with_batches_under_way_and_before_the_end() {
    let error = crate::error::Error::Closed("table");
    let mut busy = world(5, 1);
    busy.send_all(0);
    busy.gone(bucket(0), &error);
    assert_eq!(noted(&busy), [21]);
    let mut idle = world(5, 1);
    let id = idle.send_all(0)[0];
    idle.serve(id);
    idle.gone(bucket(0), &error);
    assert_eq!(noted(&idle), Vec::<u32>::new());
    let mut aborted = world(5, 1);
    aborted.send_all(0);
    aborted.abort(&error);
    assert_eq!(noted(&aborted), Vec::<u32>::new());
}

#[test]
fn a_session_with_one_sequence_left_is_idle_and_not_used_up() {
    let mut w = world(5, 1);
    let id = w.send_all(0)[0];
    w.serve(id);
    assert!(w.skip_sequences(bucket(0), i32::MAX));
    w.append(0);
    w.pass(Duration::from_secs(25 * 3600));
    w.give_id();
    w.send_all(0);
    let counters = w.manager.counters();
    assert_eq!((counters.rotations_idle, counters.rotations_exhausted), (1, 0));
    assert_eq!(noted(&w), [17, 18]);
}

#[test]
fn what_is_noted_in_two_places_is_joined() {
    let (mut one, mut two) = (world(2, 3), world(5, 1));
    one.send_all(0);
    let id = two.send_all(0)[0];
    two.refuse(id, 29);
    let mut all = Fired::default();
    all.join(one.manager.counters().fired);
    all.join(two.manager.counters().fired);
    assert_eq!(all.bits(), 1 << 3 | 1 << 6);
}

#[test]
fn simulations_see_the_window_as_it_is() {
    let mut w = world(3, 2);
    assert_eq!(w.manager.window_limit(), Some(3));
    let ids = w.send_all(0);
    w.serve(ids[0]);
    let window = |slots, floor, probing| {
        let (bucket, session) = (bucket(0), Some((7, floor)));
        vec![Window {
            bucket,
            session,
            slots,
            probing,
            leader: None,
            throttled_until: Instant::ZERO,
            backs_off_until: Instant::ZERO,
            returned: 0,
            late: 0,
        }]
    };
    assert_eq!(w.manager.windows().collect::<Vec<_>>(), window(1, 1, false));
    assert!(!w.skip_sequences(bucket(0), 100), "a batch is under way");
    w.serve(ids[1]);
    assert!(w.skip_sequences(bucket(0), 100));
    assert_eq!(w.manager.windows().collect::<Vec<_>>(), window(0, 100, false));
    let refused = genuine();
    assert!(refused.manager.windows().all(|w| w.probing));
    // A doomed floor whose follower is still open waits, and is a reason to probe too.
    let mut doomed = world(5, 2);
    let ids = doomed.send_all(0);
    doomed.answer(doomed.sent[0].token, rejected(57));
    assert!(doomed.manager.windows().all(|w| w.probing && w.slots == 2), "{ids:?}");
    let mut config = settings(3);
    config.enabled = false;
    assert_eq!(World::new(config, 1, 1).manager.window_limit(), None);
}
