//! Errors for good: holes, fences, and outcomes that must be found out.

use super::world::{World, bucket, settings};
use crate::error::{Error, WriteError};
use crate::time::Duration;
use crate::writer::idempotence::outcome::Outcome;
use crate::writer::idempotence::{Copy, Kind, Sendable};

fn world(max_in_flight: usize, batches: usize) -> World {
    let mut w = World::new(settings(max_in_flight), 1, 1);
    for _ in 0..batches {
        w.append(0);
    }
    w
}

/// Serves one copy at a time, refusing each copy of batch 0.
fn refuse_batch_0(w: &mut World, code: i32) {
    for _ in 0..40 {
        w.wait();
        for id in w.send_all(0) {
            if w.requests[&id].copies[0].batch.0 == 0 {
                w.refuse(id, code);
            } else {
                w.serve(id);
            }
        }
        w.confirm();
    }
    w.finish();
}

#[test]
fn a_refused_batch_alone_leaves_its_sequence_to_the_next() {
    let mut w = world(5, 1);
    let ids = w.send_all(0);
    w.refuse(ids[0], 57);
    assert_eq!(w.results(), "n");
    w.append(0);
    w.finish();
    assert_eq!((w.results().as_str(), w.ids_asked), ("no", 1));
    assert_eq!(w.stamps(), [(7, 0), (7, 0)]);
}

#[test]
fn batches_behind_a_hole_are_stamped_anew_under_the_same_id() {
    for n in 2..=5 {
        let mut w = world(n, 3);
        let mut ids = w.send_all(0);
        w.serve(ids[0]);
        ids.extend(w.send_all(0));
        assert_eq!(ids.len(), 3);
        w.refuse(ids[1], 57);
        assert_eq!(w.results(), "o--", "the copy behind the hole is open");
        w.serve(ids[2]);
        assert_eq!(w.results(), "on-");
        w.finish();
        assert_eq!((w.results().as_str(), w.ids_asked), ("ono", 1));
        assert_eq!(w.stamps()[3..], [(7, 1)]);
    }
}

#[test]
fn a_hole_fences_off_open_copies_behind_it() {
    for n in 2..=5 {
        let mut w = world(n, 3);
        let mut ids = w.send_all(0);
        w.serve(ids[0]);
        ids.extend(w.send_all(0));
        assert_eq!(ids.len(), 3);
        w.refuse(ids[1], 57);
        w.close_of(ids[2]);
        assert_eq!(w.results(), "on-");
        w.wait();
        let again = w.send_all(0);
        assert_eq!(w.stamps().last(), Some(&(8, 0)));
        w.serve(again[0]);
        // The queued copy under the old id is refused.
        w.execute(ids[2]);
        w.requests.clear();
        w.finish();
        assert_eq!((w.results().as_str(), w.log(0)), ("ono", vec![0, 2]));
        assert_eq!(w.manager.counters().rotations_fence, 1);
    }
}

#[test]
fn a_batch_behind_proves_that_a_refused_one_was_written_before() {
    for written in [true, false] {
        let mut w = world(5, 1);
        let ids = w.send_all(0);
        if written {
            w.execute(ids[0]);
        }
        w.close_of(ids[0]);
        w.requests.clear();
        for confirmation in 0..3 {
            w.wait();
            let again = w.send_all(0)[0];
            if confirmation == 2 {
                w.append(0);
            }
            w.refuse(again, 57);
        }
        assert_eq!(w.results(), "--");
        w.wait();
        let probe = w.send(&[bucket(0)]).expect("a probe");
        assert_eq!(w.sent.last().map(|c| (c.kind, c.stamp.sequence)), Some((Kind::Probe, 1)));
        w.serve(probe);
        let (expected, log) = if written { ("io", vec![0, 1]) } else { ("uo", vec![1]) };
        w.finish();
        assert_eq!((w.results().as_str(), w.log(0)), (expected, log));
        assert_eq!(w.manager.counters().resends_confirm, 2);
    }
}

#[test]
fn a_refused_batch_that_a_later_one_does_not_prove_is_of_unknown_outcome() {
    let mut w = world(5, 1);
    let ids = w.send_all(0);
    w.close_of(ids[0]);
    w.requests.clear();
    w.append(0);
    refuse_batch_0(&mut w, 57);
    assert_eq!((w.results().as_str(), w.log(0)), ("uo", vec![1]));
    assert_eq!(w.stamps().last(), Some(&(8, 0)));
}

#[test]
fn a_refused_batch_alone_that_may_be_written_is_of_unknown_outcome() {
    let mut w = world(5, 1);
    let ids = w.send_all(0);
    w.execute(ids[0]);
    w.close_of(ids[0]);
    refuse_batch_0(&mut w, 57);
    assert_eq!((w.results().as_str(), w.log(0)), ("u", vec![0]));
    let (_, outcome) = &w.outcomes[&0];
    let Outcome::Failed(error @ WriteError::OutcomeUnknown(_)) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(error.cause().code().map(|code| code.0), Some(57));
    assert_eq!(w.done[0].attempts.len(), 4);
}

#[test]
fn with_one_in_flight_no_probe_is_sent() {
    let mut w = world(1, 2);
    let ids = w.send_all(0);
    assert_eq!(ids.len(), 1);
    w.close_of(ids[0]);
    w.requests.clear();
    refuse_batch_0(&mut w, 57);
    assert_eq!(w.results(), "uo");
    assert_eq!(w.manager.counters().probes, 0);
}

#[test]
fn with_one_in_flight_each_trouble_is_over_before_the_next_batch_is_sent() {
    let mut w = world(1, 5);
    for trouble in 0..5 {
        let ids = w.send_all(0);
        assert_eq!(ids.len(), 1, "trouble {trouble}");
        match trouble {
            0 => {
                w.execute(ids[0]);
                w.close_of(ids[0]);
            }
            1 => w.refuse(ids[0], 57),
            2 => w.refuse(ids[0], 29),
            3 => {
                // A clean restart: what is remembered is just the batch in doubt.
                w.execute(ids[0]);
                w.replicas.get_mut(&bucket(0)).expect("known").shrink();
                w.close_of(ids[0]);
            }
            _ => w.serve(ids[0]),
        }
        w.wait();
        if [0, 2, 3].contains(&trouble) {
            let again = w.send_all(0);
            assert_eq!(again.len(), 1, "trouble {trouble}");
            w.serve(again[0]);
        }
    }
    assert_eq!((w.results().as_str(), w.log(0)), ("onooo", vec![0, 2, 3, 4]));
    let sequences: Vec<i32> = w.stamps().iter().map(|stamp| stamp.1).collect();
    assert_eq!((sequences, w.ids_asked), (vec![0, 0, 1, 1, 1, 2, 2, 3], 1));
    let counters = w.manager.counters();
    assert_eq!((counters.probes, counters.genuine_refusals), (0, 0));
    w.finish();
}

#[test]
fn a_corrupt_batch_fails_after_three_answers_and_the_others_go_on() {
    let mut w = world(5, 2);
    refuse_batch_0(&mut w, 14);
    assert_eq!(w.results(), "no");
    assert_eq!(w.sent.iter().filter(|c| c.batch.0 == 0).count(), 3);
}

#[test]
fn an_error_of_the_whole_request_counts_for_each_of_its_buckets() {
    for (code, expected) in [(70, "ooo"), (48, "nnn")] {
        let mut w = World::new(settings(5), 3, 1);
        for number in 0..3 {
            w.append(number);
        }
        w.call(|m, cx| m.want_writer_id(cx, bucket(0)));
        let id = w.send(&[bucket(0), bucket(1), bucket(2)]).expect("sent");
        let request = w.requests.get_mut(&id).expect("sent");
        request.before = (0..3).map(|i| (i, code)).collect();
        w.serve(id);
        if code == 70 {
            // Nothing is sent before each bucket has waited.
            for number in 0..3 {
                let Sendable::At(at) = w.sendable(bucket(number)) else { panic!("no wait") };
                assert!(at > w.now, "bucket {number}");
                assert_eq!(w.send_all(number), Vec::<u64>::new());
            }
            w.wait();
            assert!((0..3).all(|number| w.sendable(bucket(number)) == Sendable::Now));
        } else {
            assert_eq!(w.results(), expected, "at once");
            for batch in 0..3 {
                let Outcome::Failed(error) = &w.outcomes[&batch].1 else { panic!("{batch}") };
                assert_eq!(error.cause().code().map(|code| code.0), Some(48), "batch {batch}");
            }
        }
        w.finish();
        assert_eq!(w.results(), expected);
        assert_eq!(w.sent.len(), if code == 70 { 6 } else { 3 });
        assert!((0..3).all(|number| w.log(number).len() == usize::from(code == 70)));
    }
}

#[test]
fn a_deadline_of_a_batch_that_was_only_refused_leaves_no_hole() {
    let mut w = world(5, 0);
    let soon = w.now + Duration::from_secs(10);
    w.append_until(0, soon);
    w.append(0);
    for _ in 0..4 {
        for id in w.send_all(0) {
            w.refuse(id, 29);
        }
        w.wait();
    }
    assert_eq!(w.results(), "n-");
    w.finish();
    assert_eq!((w.results().as_str(), w.log(0), w.ids_asked), ("no", vec![1], 1));
    let (_, outcome) = &w.outcomes[&0];
    let Outcome::Failed(error @ WriteError::NotWritten(_)) = outcome else { panic!("{outcome:?}") };
    let Error::Unavailable { last, .. } = error.cause() else { panic!("{error}") };
    assert_eq!(last.as_ref().and_then(|e| e.code()).map(|c| c.0), Some(29));
}

#[test]
fn a_deadline_of_a_batch_without_answers_is_an_unknown_outcome_and_a_late_copy_harms_nobody() {
    let mut w = world(5, 0);
    let soon = w.now + Duration::from_secs(10);
    w.append_until(0, soon);
    let ids = w.send_all(0);
    w.close_of(ids[0]);
    w.pass(Duration::from_secs(11));
    assert_eq!(w.results(), "u");
    w.append(0);
    let next = w.send_all(0);
    w.serve(next[0]);
    w.execute(ids[0]);
    w.requests.clear();
    w.append(0);
    w.finish();
    assert_eq!((w.results().as_str(), w.log(0)), ("uoo", vec![1, 0, 2]));
}

#[test]
fn a_deadline_with_an_open_copy_waits_for_its_answer() {
    for (code, expected) in [(None, "o"), (Some(29), "n"), (Some(25), "u")] {
        let mut w = world(5, 0);
        let soon = w.now + Duration::from_secs(1);
        w.append_until(0, soon);
        let id = w.send_all(0)[0];
        w.pass(Duration::from_secs(2));
        assert_eq!(w.results(), "-");
        match code {
            None => w.serve(id),
            Some(code) => w.refuse(id, code),
        }
        assert_eq!(w.results(), expected);
        w.finish();
    }
}

#[test]
fn used_up_retries_end_like_a_deadline() {
    for (code, expected) in [(29, "n"), (25, "u")] {
        let mut config = settings(5);
        config.retries = 2;
        let mut w = World::new(config, 1, 1);
        w.append(0);
        for _ in 0..3 {
            let id = w.send(&[bucket(0)]).or_else(|| w.send_all(0).first().copied());
            w.refuse(id.expect("sent"), code);
            w.wait();
        }
        assert_eq!(w.results(), expected);
        w.finish();
    }
}

#[test]
fn what_became_of_a_batch_without_retries_left_shows_by_the_one_behind_it() {
    for (appended, results, log) in [(true, "oio", vec![0, 1, 2]), (false, "ouo", vec![0, 2])] {
        let mut config = settings(5);
        config.retries = 2;
        let mut w = World::new(config, 1, 1);
        w.append(0);
        w.drain();
        w.append(0);
        for tries_left in (0..3).rev() {
            let id = w.send(&[bucket(0)]).expect("sent");
            if tries_left == 0 {
                // It waits, and is the only one who can tell.
                w.append(0);
            }
            if appended {
                w.fail_after(id, 25);
            } else {
                w.refuse(id, 25);
            }
            w.wait();
        }
        assert_eq!(w.results(), "o--", "appended: {appended}");
        w.finish();
        assert_eq!((w.results().as_str(), w.log(0)), (results, log));
        // What follows a hole that may be none needs an id of its own.
        assert_eq!(w.ids_asked, if appended { 1 } else { 2 });
    }
}

#[test]
fn a_refusal_for_good_behind_a_shrunken_window_ends() {
    let mut w = world(2, 2);
    let ids = w.send_all(0);
    ids.iter().for_each(|id| w.execute(*id));
    w.close_of(ids[0]);
    w.replicas.get_mut(&bucket(0)).expect("known").shrink();
    refuse_batch_0(&mut w, 57);
    assert_eq!((w.results().as_str(), w.log(0)), ("io", vec![0, 1]));
}

#[test]
fn endless_refusals_need_no_new_ids() {
    let mut w = world(5, 0);
    for _ in 0..10 {
        for _ in 0..5 {
            w.append(0);
        }
        let ids = w.send_all(0);
        assert_eq!(ids.len(), 5);
        ids.into_iter().for_each(|id| w.refuse(id, 57));
    }
    assert_eq!((w.results(), w.ids_asked), ("n".repeat(50), 1));
    // All of them had the first five sequences: each refused batch left its own to the next.
    assert!(w.stamps().iter().all(|(id, sequence)| *id == 7 && *sequence < 5));
    w.append(0);
    w.finish();
    assert_eq!(w.log(0), [50]);
}

#[test]
fn a_committed_batch_whose_retry_is_refused_is_never_called_not_written() {
    for (keyed, followed, expected) in
        [(false, false, "u"), (true, false, "u"), (false, true, "io"), (true, true, "io")]
    {
        let mut config = settings(5);
        config.track_offsets = keyed;
        let mut w = World::new(config, 1, 1);
        w.append(0);
        let ids = w.send_all(0);
        w.execute(ids[0]);
        w.close_of(ids[0]);
        if followed {
            w.append(0);
        }
        refuse_batch_0(&mut w, 57);
        assert_eq!(w.results(), expected, "keyed: {keyed}");
    }
}

#[test]
fn refusals_of_the_sequence_under_another_name_are_handled_alike() {
    let mut w = world(5, 2);
    let ids = w.send_all(0);
    w.refuse(ids[0], 33);
    w.refuse(ids[1], 33);
    w.finish();
    assert_eq!((w.results().as_str(), w.log(0)), ("oo", vec![0, 1]));
}

#[test]
fn a_writer_id_that_is_said_to_be_unknown_is_probed_or_replaced_in_its_bucket_alone() {
    for (probes_refused, expected, ids_asked) in [(false, "iooooo", 1), (true, "uuuooo", 2)] {
        let mut w = World::new(settings(5), 2, 1);
        w.lead(0, 0, Some(0));
        w.replicas.get_mut(&bucket(1)).expect("known").leader = 1;
        w.lead(1, 1, Some(0));
        for number in [0, 0, 0, 1, 1] {
            w.append(number);
        }
        let ids = w.send_all(0);
        let others = w.send_all(1);
        ids.iter().for_each(|id| w.execute(*id));
        w.close_of(ids[0]);
        w.wait();
        let other = w.manager.buckets[&bucket(1)].clone();
        // At the floor and behind it.
        let again = w.send_all(0);
        assert_eq!(again.len(), 3);
        again.iter().for_each(|id| w.refuse(*id, 33));
        assert_eq!(w.manager.counters().genuine_refusals, 1);
        let probes = w.send_all(0);
        assert_eq!((probes.len(), w.manager.counters().probes), (2, 2));
        for id in probes {
            if probes_refused {
                w.refuse(id, 33);
            } else {
                w.serve(id);
            }
        }
        w.confirm();
        w.append(0);
        w.wait();
        w.send_all(0).into_iter().for_each(|id| w.serve(id));
        let open = format!("{}--o", &expected[..3]);
        assert_eq!((w.results(), w.ids_asked), (open, ids_asked));
        assert_eq!(w.manager.buckets[&bucket(1)], other, "it waits for its answers as before");
        others.iter().for_each(|id| w.serve(*id));
        w.finish();
        assert_eq!((w.results().as_str(), w.log(0)), (expected, vec![0, 1, 2, 5]));
        let of_other = |copy: &&Copy| copy.token.bucket() == bucket(1);
        let stamps: Vec<i64> =
            w.sent.iter().filter(of_other).map(|copy| copy.stamp.writer_id).collect();
        assert_eq!(stamps, [7, 7]);
    }
}

#[test]
fn a_duplicate_answer_is_a_success_without_offset() {
    let mut w = world(5, 1);
    let ids = w.send_all(0);
    w.execute(ids[0]);
    w.requests.get_mut(&ids[0]).expect("sent").found = Some(vec![super::world::Found::Code(32)]);
    w.deliver(ids[0]);
    let (_, outcome) = &w.outcomes[&0];
    assert!(matches!(outcome, Outcome::Written { base_offset: None, .. }));
}
