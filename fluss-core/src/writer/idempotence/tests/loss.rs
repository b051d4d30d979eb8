//! Leaders that change, and servers that forget.

use super::model::Replica;
use super::world::{World, bucket, settings};
use crate::ids::ConnId;
use crate::time::Duration;
use crate::writer::idempotence::{Kind, Sendable, Stamp, Want};
use crate::writer::retry::RefreshReason;

fn world(batches: usize) -> World {
    let mut w = World::new(settings(5), 1, 1);
    w.auto_replicate = false;
    w.lead(0, 0, Some(0));
    for _ in 0..batches {
        w.append(0);
    }
    w
}

fn replica(w: &mut World) -> &mut Replica {
    w.replicas.get_mut(&bucket(0)).expect("known")
}

/// Node 1 leads with the first `kept` entries.
fn fail_over(w: &mut World, kept: usize) {
    let replica = replica(w);
    replica.truncate(kept);
    (replica.leader, replica.epoch) = (1, replica.epoch + 1);
}

#[test]
fn a_new_leader_that_has_the_batch_answers_with_its_offset() {
    let mut w = world(1);
    let ids = w.send_all(0);
    w.fail_after(ids[0], 12);
    fail_over(&mut w, 1);
    w.finish();
    assert_eq!((w.results().as_str(), w.log(0), w.ids_asked), ("o", vec![0], 1));
}

#[test]
fn a_new_leader_that_lacks_the_batch_appends_it() {
    let mut w = world(1);
    let ids = w.send_all(0);
    w.fail_after(ids[0], 12);
    fail_over(&mut w, 0);
    w.finish();
    assert_eq!((w.results().as_str(), w.log(0), w.ids_asked), ("o", vec![0], 1));
}

#[test]
fn a_new_leader_that_has_a_part_takes_the_rest() {
    let mut w = world(3);
    let ids = w.send_all(0);
    ids.iter().for_each(|id| w.execute(*id));
    fail_over(&mut w, 1);
    w.close_of(ids[0]);
    w.finish();
    assert_eq!((w.results().as_str(), w.log(0), w.ids_asked), ("ooo", vec![0, 1, 2], 1));
}

#[test]
fn a_restarted_new_leader_with_a_short_memory_is_probed() {
    let mut w = world(3);
    let ids = w.send_all(0);
    ids.iter().for_each(|id| w.execute(*id));
    fail_over(&mut w, 3);
    replica(&mut w).shrink();
    w.close_of(ids[0]);
    w.lead(0, 1, Some(1));
    w.wait();
    let floor = w.send(&[bucket(0)]).expect("the floor");
    w.serve(floor);
    w.finish();
    assert_eq!((w.results().as_str(), w.log(0), w.ids_asked), ("iio", vec![0, 1, 2], 1));
}

#[test]
fn an_older_leader_epoch_is_ignored() {
    let mut w = world(1);
    assert!(w.lead(0, 1, Some(4)));
    w.send_all(0);
    assert!(w.lead(0, 1, Some(4)));
    assert!(!w.lead(0, 0, Some(3)));
    assert!(w.lead(0, 0, None), "without an epoch the last word counts");
    assert!(w.lead(0, 2, Some(5)));
    (replica(&mut w).leader, replica(&mut w).epoch) = (2, 5);
}

/// Node 1 took over from node 0 with batch 0, wrote batch 1, and has batches 2 and 3, whose answers
/// are lost; batch 4 waits on the broken connection. Then what node 0 has, which still believes
/// that it leads: the first `behind` batches.
fn taken_over(tells_epochs: bool, behind: usize) -> (World, Replica) {
    let mut w = World::new(settings(5), 1, 1);
    (w.auto_replicate, w.tells_epochs) = (false, tells_epochs);
    let epoch = |epoch: i32| tells_epochs.then_some(epoch);
    assert!(w.lead(0, 0, epoch(0)));
    w.append(0);
    w.drain();
    let mut stale = replica(&mut w).clone();
    fail_over(&mut w, 1);
    assert!(w.lead(0, 1, epoch(1)));
    for _ in 0..4 {
        w.append(0);
    }
    let ids = w.send_all(0);
    ids[..3].iter().for_each(|id| w.execute(*id));
    replica(&mut w).hw = 2;
    w.deliver(ids[0]);
    w.close_of(ids[1]);
    assert_eq!(w.results(), "oo---");
    if behind == 2 {
        let second = replica(&mut w).log[1];
        stale.append(second.stamp, second.payload).expect("the next sequence");
    }
    assert_eq!(stale.log.len(), behind);
    (w, stale)
}

#[test]
fn a_leader_that_is_named_again_under_an_older_epoch_gets_no_copy() {
    let (mut w, _) = taken_over(true, 1);
    assert!(!w.lead(0, 0, Some(0)));
    w.wait();
    let again = w.send_all(0);
    assert_eq!(again.len(), 3);
    assert!(again.iter().all(|id| w.conns[&w.requests[id].conn].node == 1));
    w.append(0);
    w.finish();
    assert_eq!((w.results().as_str(), w.log(0)), ("oooooo", vec![0, 1, 2, 3, 4, 5]));
    assert_eq!(w.ids_asked, 1);
}

/// Metadata without epochs names the former leader again. It refuses what does not follow its log,
/// and takes what does, but none of that will ever be replicated.
#[test]
fn without_epochs_a_former_leader_with_less_of_the_log_loses_and_doubles_nothing() {
    for (behind, named_in_time, expected) in
        [(1, true, "oooooo"), (1, false, "oouuuo"), (2, true, "oooooo"), (2, false, "oooooo")]
    {
        let (mut w, mut other) = taken_over(false, behind);
        assert!(w.lead(0, 0, None), "the last word counts");
        std::mem::swap(replica(&mut w), &mut other);
        for _ in 0..4 {
            w.wait();
            for id in w.send_all(0) {
                assert_eq!(w.conns[&w.requests[&id].conn].node, 0);
                w.fail_after(id, 12);
            }
        }
        assert_eq!(w.results(), "oo---");
        let asks = |want: &Want| {
            matches!(want, Want::Refresh { reason: RefreshReason::Confirm, epoch: None, .. })
        };
        assert_eq!(w.wants.iter().any(asks), behind == 1, "{:?}", w.wants);
        w.append(0);
        if !named_in_time {
            // The session may end for that, and what is in doubt with it.
            w.lead(0, 0, None);
            w.wait();
            w.send_all(0).into_iter().for_each(|id| w.fail_after(id, 12));
        }
        std::mem::swap(replica(&mut w), &mut other);
        w.finish();
        assert_eq!(w.results(), expected, "{behind}, {named_in_time}");
        assert_eq!(w.log(0), [0, 1, 2, 3, 4, 5], "{behind}, {named_in_time}");
    }
}

#[test]
fn copies_on_a_former_leaders_connection_keep_the_bucket_from_the_new_one() {
    let mut w = world(6);
    let ids = w.send_all(0);
    w.lead(0, 1, Some(1));
    assert_eq!(w.sendable(bucket(0)), Sendable::No);
    assert_eq!(w.send_all(0), Vec::<u64>::new());
    w.wants.clear();
    w.pass(Duration::from_secs(4));
    let close = Want::CloseConnection { conn: ConnId(0), bucket: bucket(0) };
    assert!(w.wants.contains(&close), "{:?}", w.wants);
    fail_over(&mut w, 0);
    w.close_of(ids[0]);
    w.wait();
    let again = w.send_all(0);
    assert_eq!(again.len(), 5);
    assert_eq!(w.requests[&again[0]].conn, ConnId(1));
    w.finish();
    assert_eq!(w.log(0), (0..6).collect::<Vec<_>>());
}

#[test]
fn answers_on_a_former_leaders_connection_open_the_bucket_to_the_new_one() {
    let mut w = world(6);
    let ids = w.send_all(0);
    ids.iter().for_each(|id| w.execute(*id));
    replica(&mut w).hw = 5;
    w.lead(0, 1, Some(1));
    for id in &ids {
        assert_eq!(w.send_all(0), Vec::<u64>::new(), "a copy is open there");
        w.deliver(*id);
    }
    fail_over(&mut w, 5);
    let next = w.send_all(0);
    assert_eq!((w.results().as_str(), next.len()), ("ooooo-", 1));
    assert_eq!(w.requests[&next[0]].conn, ConnId(1));
    w.finish();
    assert_eq!((w.log(0), w.ids_asked), ((0..6).collect(), 1));
}

#[test]
fn a_session_is_not_given_up_while_a_newer_leader_may_know_it() {
    let mut w = world(2);
    let ids = w.send_all(0);
    ids.iter().for_each(|id| w.execute(*id));
    replica(&mut w).hw = 2;
    w.deliver(ids[0]);
    w.close_of(ids[1]);
    // The old leader lost everything; the new one has both.
    let whole = replica(&mut w).clone();
    replica(&mut w).truncate(0);
    w.wait();
    let floor = w.send(&[bucket(0)]).expect("the floor");
    w.serve(floor);
    assert_eq!(w.results(), "o-");
    *replica(&mut w) = whole;
    (replica(&mut w).leader, replica(&mut w).epoch) = (1, 1);
    w.finish();
    assert_eq!((w.results().as_str(), w.ids_asked), ("oo", 1));
}

#[test]
fn a_server_that_forgot_an_acknowledged_tail_ends_the_session_and_loses_nothing_else() {
    let mut w = world(3);
    w.auto_replicate = true;
    let ids = w.send_all(0);
    ids.iter().for_each(|id| w.serve(*id));
    replica(&mut w).truncate(2);
    w.lost.push(2);
    w.append(0);
    w.append(0);
    w.finish();
    assert_eq!((w.results().as_str(), w.log(0)), ("ooooo", vec![0, 1, 3, 4]));
    assert_eq!((w.ids_asked, w.manager.counters().rotations_broken), (2, 1));
}

#[test]
fn a_forgotten_writer_gets_a_new_id_and_the_caller_sees_no_error() {
    let mut w = World::new(settings(5), 2, 1);
    for _ in 0..3 {
        w.append(0);
    }
    w.drain();
    for _ in 0..3 {
        w.append(1);
    }
    let others = w.send_all(1);
    replica(&mut w).expire(7);
    w.append(0);
    let id = w.send_all(0)[0];
    w.serve(id);
    w.wait();
    w.send_all(0);
    assert_eq!(w.stamps().last(), Some(&(8, 0)));
    // The other bucket keeps its id and its copies.
    others.iter().for_each(|id| w.serve(*id));
    w.append(1);
    w.finish();
    assert_eq!(w.results(), "oooooooo");
    let ids: Vec<i64> = w
        .sent
        .iter()
        .filter(|c| c.token.bucket() == bucket(1))
        .map(|c| c.stamp.writer_id)
        .collect();
    assert_eq!(ids, [7; 4]);
}

#[test]
fn a_bucket_whose_new_ids_are_refused_waits_longer_each_time_and_ends_at_the_deadline() {
    let mut w = World::new(settings(5), 1, 1);
    let deadline = w.now + Duration::from_secs(60);
    w.append_until(0, deadline);
    for _ in 0..2000 {
        for id in w.send_all(0) {
            w.refuse(id, 31);
        }
        w.pass(Duration::from_millis(50));
    }
    assert_eq!(w.results(), "n");
    assert!(w.ids_asked < 14, "{} ids", w.ids_asked);
    w.finish();
}

#[test]
fn the_server_model_takes_zero_after_the_highest_sequence_and_nothing_negative() {
    let mut replica = Replica::default();
    replica.set_last(7, i32::MAX - 1);
    let stamp = |sequence| Stamp { writer_id: 7, sequence };
    assert!(replica.append(stamp(i32::MAX), 0).is_ok());
    assert_eq!(replica.append(stamp(i32::MIN), 1), Err(31));
    assert!(replica.append(stamp(0), 2).is_ok());
}

#[test]
fn probes_go_out_in_ascending_order_and_only_for_batches_that_may_be_written() {
    let mut w = world(5);
    w.auto_replicate = true;
    let ids = w.send_all(0);
    w.serve(ids[0]);
    ids[1..4].iter().for_each(|id| w.execute(*id));
    w.refuse(ids[4], 29);
    w.close_of(ids[1]);
    replica(&mut w).shrink();
    w.wait();
    let floor = w.send(&[bucket(0)]).expect("the floor");
    w.serve(floor);
    w.send_all(0);
    let probes: Vec<i32> =
        w.sent.iter().filter(|c| c.kind == Kind::Probe).map(|c| c.stamp.sequence).collect();
    assert_eq!(probes, [2, 3]);
    w.finish();
    assert_eq!(w.log(0), [0, 1, 2, 3, 4]);
}

#[test]
fn a_refusal_by_a_former_leader_is_no_evidence_about_the_new_one() {
    let mut w = world(2);
    let ids = w.send_all(0);
    ids.iter().for_each(|id| w.execute(*id));
    w.close_of(ids[0]);
    replica(&mut w).shrink();
    w.wait();
    let floor = w.send(&[bucket(0)]).expect("the floor");
    w.execute(floor);
    // Nothing of it was replicated; the client learns of the new leader before the refusal comes.
    fail_over(&mut w, 0);
    w.lead(0, 1, Some(1));
    w.deliver(floor);
    assert_eq!(w.manager.counters().genuine_refusals, 0);
    w.finish();
    assert_eq!((w.results().as_str(), w.log(0), w.ids_asked), ("oo", vec![0, 1], 1));
}

#[test]
fn what_was_refused_over_a_former_connection_is_asked_again_over_the_next() {
    let mut w = world(2);
    let ids = w.send_all(0);
    ids.iter().for_each(|id| w.execute(*id));
    w.close_of(ids[0]);
    replica(&mut w).shrink();
    w.wait();
    let floor = w.send(&[bucket(0)]).expect("the floor");
    let conn = w.requests[&floor].conn;
    w.serve(floor);
    assert_eq!(w.manager.counters().genuine_refusals, 1);
    // Before the probe leaves, the leader starts again without what it had not replicated.
    replica(&mut w).truncate(0);
    w.close(conn);
    w.finish();
    assert_eq!((w.results().as_str(), w.log(0), w.ids_asked), ("oo", vec![0, 1], 1));
    assert_eq!(w.manager.counters().probes, 0);
}
