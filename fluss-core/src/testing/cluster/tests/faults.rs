use super::*;
use std::time::Duration;

/// A cluster with a log table of one bucket.
fn table() -> (Talk, BucketKey, ServerId) {
    let mut talk = Talk::new(ClusterOptions::default());
    let bucket = talk.log_table();
    let leader = talk.leader(bucket);
    (talk, bucket, leader)
}

fn append(talk: &mut Talk, bucket: BucketKey, server: ServerId, sequence: i32) -> i32 {
    let request = produce_request(bucket, -1, vec![batch((1, sequence), 1)]);
    talk.send(server, key::PRODUCE_LOG, 0, &request.encode_to_vec())
}

fn end(talk: &Talk, bucket: BucketKey) -> i64 {
    talk.cluster.truth(bucket).expect("the bucket").log_end
}

fn code(talk: &mut Talk, server: ServerId) -> Option<i32> {
    let Some(Got::Answer(_, body)) = talk.take(server) else { panic!("no answer") };
    ProduceLogResponse::decode(body).expect("an answer").buckets_resp[0].error_code
}

#[test]
fn each_fault_on_the_wire_does_what_its_name_says() {
    // Fault, whether the write is applied, frames that arrive, whether the connection ends.
    let cases = [
        (Fault::CutRequest, false, 0, true),
        (Fault::DropRequest, false, 0, false),
        (Fault::LoseAnswer, true, 0, true),
        (Fault::CutAnswer, true, 1, true),
        (Fault::SwallowAnswer, true, 0, false),
        (Fault::GarbageBody, true, 1, false),
        (Fault::GarbageFrame, true, 1, false),
        (Fault::DuplicateAnswer, true, 2, false),
        (Fault::ForeignBucket, true, 1, false),
        (Fault::RepeatedBucket, true, 1, false),
        (Fault::MissingBucket, true, 1, false),
        (Fault::NegativeOffset, true, 1, false),
        (Fault::UnaskedAnswer, true, 2, false),
        (Fault::Silence, false, 0, false),
        (Fault::RestartClean, false, 0, true),
        (Fault::RestartUnclean, false, 0, true),
    ];
    for (fault, applied, frames, closed) in cases {
        let (mut talk, bucket, leader) = table();
        let conn = talk.conn(leader);
        talk.cluster.inject(On::Write, 0, fault);
        append(&mut talk, bucket, leader, 0);
        assert_eq!(end(&talk, bucket), i64::from(applied), "{fault:?}");
        let got = std::iter::from_fn(|| talk.cluster.poll_output(conn)).count();
        assert_eq!(got, frames, "{fault:?}");
        assert_eq!(talk.cluster.is_closed(conn), closed, "{fault:?}");
        assert_eq!(talk.cluster.faults().count(fault.kind()), 1, "{fault:?}");
    }
}

#[test]
fn a_lost_answer_is_counted_and_its_write_is_a_duplicate_later() {
    let (mut talk, bucket, leader) = table();
    talk.cluster.inject(On::Write, 1, Fault::LoseAnswer);
    append(&mut talk, bucket, leader, 0);
    assert_eq!(code(&mut talk, leader), None);
    append(&mut talk, bucket, leader, 1);
    assert_eq!(talk.cluster.lost_write_answers(), 1);
    append(&mut talk, bucket, leader, 1);
    assert_eq!(code(&mut talk, leader), None);
    talk.cluster.inject(On::Write, 0, Fault::LoseAnswer);
    append(&mut talk, bucket, leader, 1);
    assert_eq!(talk.cluster.lost_write_answers(), 1, "a duplicate has no effect to be lost");
    assert_eq!(end(&talk, bucket), 2);
}

#[test]
fn codes_are_injected_before_and_after_the_append() {
    let (mut talk, bucket, leader) = table();
    talk.cluster.inject(On::Write, 0, Fault::ErrorBefore(12));
    talk.cluster.inject(On::Write, 0, Fault::ErrorAfter(25));
    append(&mut talk, bucket, leader, 0);
    assert_eq!((code(&mut talk, leader), end(&talk, bucket)), (Some(12), 0));
    append(&mut talk, bucket, leader, 0);
    assert_eq!((code(&mut talk, leader), end(&talk, bucket)), (Some(25), 1));
    talk.cluster.inject(On::Write, 0, Fault::ErrorBefore(70));
    let id = append(&mut talk, bucket, leader, 1);
    assert!(
        matches!(talk.take(leader), Some(Got::Error(got, e)) if got == id && e.error_code == 70)
    );
}

#[test]
fn a_delayed_request_is_applied_after_its_connection_is_gone() {
    let (mut talk, bucket, leader) = table();
    talk.cluster.inject(On::Write, 0, Fault::DelayRequest(Duration::from_millis(50)));
    append(&mut talk, bucket, leader, 0);
    append(&mut talk, bucket, leader, 1);
    assert_eq!(end(&talk, bucket), 0, "the second one waits behind the first");
    let conn = talk.conn(leader);
    talk.cluster.close(conn);
    talk.wait(50);
    assert_eq!(end(&talk, bucket), 2);
    assert!(talk.cluster.is_closed(conn));
}

#[test]
fn a_delayed_answer_comes_behind_later_ones() {
    let (mut talk, bucket, leader) = table();
    talk.cluster.inject(On::Write, 0, Fault::DelayAnswer(Duration::from_millis(50)));
    let first = append(&mut talk, bucket, leader, 0);
    let second = append(&mut talk, bucket, leader, 1);
    assert!(matches!(talk.take(leader), Some(Got::Answer(id, _)) if id == second));
    talk.wait(50);
    assert!(matches!(talk.take(leader), Some(Got::Answer(id, _)) if id == first));
}

/// The leader and its epoch that a server names.
fn named(talk: &mut Talk, server: ServerId) -> (ServerId, Option<i32>) {
    let wanted = MetadataRequest { table_path: vec![path("t")], ..Default::default() };
    let metadata: MetadataResponse = talk.ask(server, key::GET_METADATA, &wanted);
    let bucket = metadata.table_metadata[0].bucket_metadata[0].clone();
    (ServerId::Tablet(bucket.leader_id.expect("a leader")), bucket.leader_epoch)
}

fn lagging(leader_epochs: bool) -> Talk {
    let metadata_lag = Duration::from_millis(100);
    Talk::new(ClusterOptions { metadata_lag, leader_epochs, ..ClusterOptions::default() })
}

#[test]
fn servers_that_tell_no_epochs_name_the_old_and_the_new_leader_alike() {
    let mut talk = lagging(false);
    let bucket = talk.log_table();
    let old = talk.leader(bucket);
    let new = ServerId::Tablet(talk.cluster.move_leader(bucket, None).expect("another server"));
    assert_eq!(named(&mut talk, new), (new, None));
    assert_eq!(named(&mut talk, old), (old, None), "stale");
    talk.wait(100);
    assert_eq!(named(&mut talk, old), (new, None));
}

#[test]
fn a_moved_leader_keeps_log_and_window_and_others_learn_of_it_late() {
    let mut talk = lagging(true);
    let bucket = talk.log_table();
    let old = talk.leader(bucket);
    talk.cluster.inject(On::Write, 1, Fault::MoveLeader);
    append(&mut talk, bucket, old, 0);
    assert_eq!(code(&mut talk, old), None);
    append(&mut talk, bucket, old, 1);
    assert_eq!(code(&mut talk, old), Some(12));
    let new = talk.leader(bucket);
    assert_eq!(named(&mut talk, new), (new, Some(1)));
    assert_eq!(named(&mut talk, old), (old, Some(0)), "stale");
    talk.wait(100);
    assert_eq!(named(&mut talk, old), (new, Some(1)));
    assert_eq!(talk.offset(bucket, (1, 0)), Ok(0), "a duplicate for the new leader too");
}

#[test]
fn a_leader_moved_after_the_append_answers_12_for_what_is_there() {
    let (mut talk, bucket, leader) = table();
    talk.cluster.inject(On::Write, 0, Fault::MoveLeaderAfter);
    append(&mut talk, bucket, leader, 0);
    assert_eq!((code(&mut talk, leader), end(&talk, bucket)), (Some(12), 1));
    assert_ne!(talk.leader(bucket), leader);
}

#[test]
fn a_clean_restart_leaves_one_sequence_and_an_unclean_one_five() {
    for (fault, fourth) in [(Fault::RestartClean, Err(31)), (Fault::RestartUnclean, Ok(6))] {
        let (mut talk, bucket, _) = table();
        (0..5).for_each(|sequence| drop(talk.produce(bucket, (1, sequence))));
        let leader = talk.leader(bucket);
        talk.cluster.inject(On::Write, 0, fault);
        append(&mut talk, bucket, leader, 5);
        assert_eq!(talk.offset(bucket, (1, 4)), Ok(8), "{fault:?}");
        assert_eq!(talk.offset(bucket, (1, 3)), fourth, "{fault:?}");
        assert_eq!(talk.offset(bucket, (1, 5)), Ok(10), "{fault:?}");
    }
}

#[test]
fn writers_expire_by_fault_and_by_time() {
    let expiry = Duration::from_secs(10);
    let options = ClusterOptions { writer_expiry: expiry, ..ClusterOptions::default() };
    let mut talk = Talk::new(options);
    let bucket = talk.log_table();
    assert_eq!(talk.offset(bucket, (1, 0)), Ok(0));
    talk.wait(10_000);
    assert_eq!(talk.offset(bucket, (1, 1)), Ok(2), "ten seconds are not more than ten");
    talk.wait(10_001);
    assert_eq!(talk.offset(bucket, (1, 2)), Err(31));
    assert_eq!(talk.offset(bucket, (1, 0)), Ok(4), "doubled: nobody remembers");
    talk.cluster.inject(On::Write, 0, Fault::ExpireWriters);
    assert_eq!(talk.offset(bucket, (1, 1)), Err(31));
}

#[test]
fn a_recreated_table_has_another_id_and_no_rows() {
    let (mut talk, bucket, leader) = table();
    assert_eq!(talk.offset(bucket, (1, 0)), Ok(0));
    talk.cluster.inject(On::Write, 0, Fault::RecreateTable);
    append(&mut talk, bucket, leader, 1);
    assert_eq!(code(&mut talk, leader), Some(21));
    let table = talk.cluster.table_id(&TablePath::new("fluss", "t")).expect("again");
    assert_ne!(table, bucket.table);
    assert_eq!(end(&talk, BucketKey { table, ..bucket }), 0);
}

#[test]
fn a_stopped_server_cuts_and_refuses_until_it_starts() {
    let (mut talk, _, leader) = table();
    let conn = talk.conn(leader);
    talk.cluster.stop(leader);
    assert!(talk.cluster.is_closed(conn));
    assert_eq!(talk.cluster.open(leader), None);
    let metadata: MetadataResponse =
        talk.ask(ServerId::Coordinator, key::GET_METADATA, &MetadataRequest::default());
    assert_eq!(metadata.tablet_servers.len(), 2);
    talk.cluster.start(leader);
    assert!(talk.cluster.open(leader).is_some());
}

#[test]
fn chance_repeats_with_its_seed_and_ends_when_healed() {
    let run = |seed| {
        let (mut talk, bucket, leader) = table();
        talk.cluster.set_faults(Faults::new(seed).one_in(4, On::Write, Fault::LoseAnswer));
        for sequence in 0..100 {
            append(&mut talk, bucket, leader, sequence);
            while talk.take(leader).is_some() {}
        }
        let count = talk.cluster.faults().count(FaultKind::LoseAnswer);
        talk.cluster.heal();
        append(&mut talk, bucket, leader, 100);
        assert_eq!(talk.cluster.faults().count(FaultKind::LoseAnswer), count);
        assert_eq!(end(&talk, bucket), 101, "every write was applied");
        count
    };
    let count = run(1);
    assert!((10..45).contains(&count), "{count} of 100 at one in four");
    assert_eq!(count, run(1));
}

#[test]
fn the_two_lies_are_visible_in_the_log() {
    let (mut talk, bucket, _) = table();
    talk.cluster.misbehave(1, Bug::LoseAcknowledged);
    talk.cluster.misbehave(3, Bug::DoubleAppend);
    for sequence in 0..4 {
        assert!(talk.offset(bucket, (1, sequence)).is_ok());
    }
    let bases: Vec<i64> = talk.cluster.log(bucket).map(|batch| batch.base_offset).collect();
    assert_eq!(bases, [0, 4, 6, 8], "2 is lost, 6 is there twice");
}

#[test]
fn switched_off_rules_change_what_clients_see() {
    let (mut talk, bucket, leader) = table();
    let other = ServerId::Tablet((write::tablet(leader) + 1) % 3);
    talk.cluster.switch_off(Rule::LeaderCheck);
    append(&mut talk, bucket, other, 0);
    assert_eq!(code(&mut talk, other), None);
    talk.cluster.switch_off(Rule::DuplicateOffsets);
    assert_eq!(talk.offset(bucket, (1, 0)), Ok(1), "not the offset of the first copy");
    talk.cluster.switch_off(Rule::WindowCheck);
    assert_eq!(talk.offset(bucket, (1, 0)), Err(31));
    talk.cluster.switch_off(Rule::SequenceContinuity);
    assert_eq!(talk.offset(bucket, (1, 7)), Ok(1));
    assert_eq!(Rule::ALL.map(|rule| Rule::by_name(rule.name())), Rule::ALL.map(Some));
}
