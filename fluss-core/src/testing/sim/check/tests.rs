//! The checks can fail: each is shown what it must not let pass, and what it must.

use bytes::Bytes;
use fluss_proto::ApiKey;
use fluss_proto::message::{ErrorResponse, PbProduceLogRespForBucket, ProduceLogResponse};
use prost::Message;

use super::*;
use crate::ids::TableId;
use crate::output::{BatchOutcome, Written};

const WRITER: WriterKey = WriterKey(0);
const CONN: ConnId = ConnId(1);
const NOW: Instant = Instant::from_millis(1000);

fn bucket(number: i32) -> BucketKey {
    BucketKey { table: TableId(1), partition: None, bucket: number }
}

fn window(number: i32, session: Option<(i64, i64)>, slots: usize) -> Window {
    Window {
        bucket: bucket(number),
        session,
        slots,
        probing: false,
        leader: None,
        throttled_until: Instant::ZERO,
        backs_off_until: Instant::ZERO,
        returned: 0,
        late: 0,
    }
}

/// A checker that knows so many batches of the first bucket, which end now at the latest.
fn checker(batches: usize) -> Checker {
    let mut check = Checker::new();
    for _ in 0..batches {
        check.opened(Batch { bound: NOW, ..Batch::new(WRITER, LaneId(0), bucket(0)) });
    }
    check
}

fn broken(check: &Checker) -> Option<&'static str> {
    check.broken.as_ref().map(|violation| violation.invariant)
}

/// A batch leaves under this stamp, in the request of this number.
fn send(check: &mut Checker, conn: ConnId, id: i32, payload: u64, stamp: (i64, i32)) {
    let (writer_id, sequence) = stamp;
    let copy = Copy { bucket: bucket(0), payload, writer_id, sequence, alone: true };
    let sent = Sent { id, api: ApiKey::ProduceLog.number(), copies: vec![copy] };
    check.transmitted((conn, ServerId::Tablet(0)), sent, NOW);
}

fn frame(kind: u8, id: i32, body: &[u8]) -> Bytes {
    let mut frame = vec![kind];
    frame.extend_from_slice(&id.to_be_bytes());
    frame.extend_from_slice(body);
    frame.into()
}

/// The request is answered: its batch is written.
fn written(check: &mut Checker, id: i32) {
    let part = PbProduceLogRespForBucket { base_offset: Some(0), ..Default::default() };
    let answer = ProduceLogResponse { buckets_resp: vec![part] };
    assert!(!check.answered(CONN, &frame(0, id, &answer.encode_to_vec()), NOW));
}

/// The request is answered: its batch is out of sequence.
fn refused(check: &mut Checker, id: i32) {
    let answer = ErrorResponse { error_code: 31, ..Default::default() };
    assert!(!check.answered(CONN, &frame(1, id, &answer.encode_to_vec()), NOW));
}

/// A leader takes a batch of one row under this stamp.
fn appended(payload: u64, (writer_id, sequence): (i64, i32), at: i64) -> Appended {
    let bytes = payload.to_be_bytes().to_vec().into();
    let (base_offset, last_offset, duplicate) = (at, at, false);
    let bucket = bucket(0);
    Appended { bucket, writer_id, sequence, rows: 1, base_offset, last_offset, duplicate, bytes }
}

/// A batch that is told as written, without its offset.
fn inferred() -> BatchOutcome {
    let (base_offset, log_end_offset) = (None, None);
    let bucket = bucket(0);
    let written = Written { bucket, base_offset, log_end_offset, inferred: true, attempts: None };
    BatchOutcome::Written(written)
}

/// The outcome of a batch comes.
fn told(check: &mut Checker, batch: u64, outcome: &BatchOutcome) {
    check.outcome(batch, outcome, NOW, false);
}

#[test]
fn batches_of_a_handle_that_lie_in_the_wrong_order_break_i4_once_they_are_told() {
    // The offsets of three batches in the order in which they were opened, and in which they are
    // told. The one in the middle is told last, so both of its neighbours are known.
    let story = |places: [i64; 3], middle: Batch| {
        let mut check = checker(1);
        check.opened(middle);
        check.opened(check.batches[0].clone());
        for (batch, at) in (0..3).zip(places) {
            check.appended(&appended(batch, (7, batch as i32), at));
        }
        told(&mut check, 2, &inferred());
        told(&mut check, 0, &inferred());
        assert_eq!(broken(&check), None, "{places:?}");
        // Its table may be gone meanwhile.
        check.outcome(1, &inferred(), NOW, true);
        broken(&check)
    };
    let same = checker(1).batches[0].clone();
    for (places, breaks) in [
        ([0, 1, 2], None),
        ([4, 7, 9], None),
        ([1, 0, 2], Some("I4")),
        ([0, 2, 1], Some("I4")),
        ([0, 0, 1], Some("I4")),
        ([0, 1, 1], Some("I4")),
    ] {
        assert_eq!(story(places, same.clone()), breaks, "{places:?}");
    }
    let behind = [0, 2, 1];
    // Of other handles, of other buckets and without idempotence there is no order.
    assert_eq!(story(behind, Batch { lane: LaneId(1), ..same.clone() }), None);
    assert_eq!(story(behind, Batch { bucket: bucket(1), ..same.clone() }), None);
    assert_eq!(story(behind, Batch { idempotent: false, ..same.clone() }), None);
    // What was lost is no neighbour any more.
    for (end, breaks) in [(1, None), (2, Some("I4"))] {
        let mut check = checker(2);
        check.appended(&appended(1, (7, 1), 1));
        told(&mut check, 1, &inferred());
        check.truncated(bucket(0), end, true);
        check.appended(&appended(0, (8, 0), 2));
        told(&mut check, 0, &inferred());
        assert_eq!(broken(&check), breaks, "up to {end}");
    }
}

#[test]
fn a_floor_that_is_not_what_the_answers_proved_breaks_i12() {
    for (floor, breaks) in [(0, Some("I12")), (1, None), (2, Some("I12"))] {
        let mut check = checker(2);
        check.look(WRITER, 5, NOW, window(0, Some((7, 0)), 2));
        send(&mut check, CONN, 1, 0, (7, 0));
        send(&mut check, CONN, 2, 1, (7, 1));
        written(&mut check, 1);
        check.look(WRITER, 5, NOW, window(0, Some((7, floor)), 1));
        assert_eq!(broken(&check), breaks, "floor {floor}");
    }
    // An answer that nobody acted on is found although nothing changed.
    let mut check = checker(1);
    let as_before = window(0, Some((7, 0)), 1);
    check.look(WRITER, 5, NOW, as_before);
    send(&mut check, CONN, 1, 0, (7, 0));
    written(&mut check, 1);
    check.look(WRITER, 5, NOW, as_before);
    assert_eq!(broken(&check), Some("I12"));
}

#[test]
fn whatever_an_answer_changes_in_another_bucket_breaks_i19_and_one_to_nothing_i17() {
    let plain = window(1, Some((8, 0)), 1);
    let later = NOW + Duration::from_millis(1);
    let changes = [
        Window { session: None, ..plain },
        Window { slots: 0, ..plain },
        Window { probing: true, ..plain },
        Window { leader: Some((ServerId::Tablet(1), None)), ..plain },
        Window { backs_off_until: later, ..plain },
        Window { returned: 1, ..plain },
        Window { late: 1, ..plain },
    ];
    for changed in changes {
        for (id, rule) in [(1, "I19"), (9, "I17")] {
            let mut check = checker(1);
            check.look(WRITER, 5, NOW, window(0, Some((7, 0)), 1));
            check.look(WRITER, 5, NOW, plain);
            send(&mut check, CONN, 1, 0, (7, 0));
            let answer = ErrorResponse { error_code: 31, ..Default::default() };
            let costs = check.answered(CONN, &frame(1, id, &answer.encode_to_vec()), NOW);
            assert_eq!(costs, id == 9);
            check.look(WRITER, 5, NOW, plain);
            assert_eq!(broken(&check), None);
            check.look(WRITER, 5, NOW, changed);
            assert_eq!(broken(&check), Some(rule), "{changed:?}");
        }
    }
    // The same bucket of another writer is another one, too.
    let mut check = checker(1);
    let other = WriterKey(1);
    check.look(WRITER, 5, NOW, window(0, Some((7, 0)), 1));
    check.look(other, 5, NOW, window(0, Some((8, 0)), 1));
    send(&mut check, CONN, 1, 0, (7, 0));
    refused(&mut check, 1);
    check.look(WRITER, 5, NOW, Window { probing: true, ..window(0, Some((7, 0)), 1) });
    assert_eq!(broken(&check), None);
    check.look(other, 5, NOW, Window { probing: true, ..window(0, Some((8, 0)), 1) });
    assert_eq!(broken(&check), Some("I19"));
}

#[test]
fn sessions_in_which_nothing_is_written_and_that_follow_each_other_too_soon_break_i25() {
    let waits = [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 24_000, 24_000];
    for early in 0..waits.len() {
        let (mut check, mut now) = (checker(0), NOW);
        check.look(WRITER, 5, now, window(0, Some((0, 0)), 0));
        for (id, wait) in waits.iter().enumerate() {
            assert_eq!(broken(&check), None, "before session {id} of {early}");
            check.look(WRITER, 5, now, window(0, None, 0));
            now = now + Duration::from_millis(*wait);
            let short = if id == early { Duration::from_micros(1) } else { Duration::ZERO };
            let begin = Instant::from_micros(now.as_micros() - short.as_micros() as u64);
            check.look(WRITER, 5, begin, window(0, Some((id as i64 + 1, 0)), 0));
            if id == early {
                break;
            }
        }
        assert_eq!(broken(&check), Some("I25"), "session {early}");
    }
    // After one in which something was written, the shortest wait is enough.
    let mut check = checker(1);
    let at = |millis| Instant::from_millis(millis);
    check.look(WRITER, 5, at(0), window(0, Some((6, 0)), 0));
    check.look(WRITER, 5, at(100), window(0, Some((7, 0)), 1));
    send(&mut check, CONN, 1, 0, (7, 0));
    written(&mut check, 1);
    check.look(WRITER, 5, at(101), window(0, Some((7, 1)), 0));
    check.anything_may_change();
    check.look(WRITER, 5, at(200), window(0, Some((8, 0)), 0));
    assert_eq!(broken(&check), None);
}

#[test]
fn the_lowest_copy_on_a_second_connection_breaks_r16_while_others_are_open_on_the_first() {
    for answered in [false, true] {
        let mut check = checker(2);
        check.look(WRITER, 5, NOW, window(0, Some((7, 0)), 2));
        send(&mut check, CONN, 1, 0, (7, 0));
        send(&mut check, CONN, 2, 1, (7, 1));
        refused(&mut check, 1);
        if answered {
            refused(&mut check, 2);
        }
        send(&mut check, ConnId(2), 3, 0, (7, 0));
        assert_eq!(broken(&check), (!answered).then_some("R16"));
    }
    // What is open of a batch that is known to be written can do no harm any more.
    let mut check = checker(3);
    check.look(WRITER, 5, NOW, window(0, Some((7, 0)), 2));
    send(&mut check, CONN, 1, 0, (7, 0));
    send(&mut check, CONN, 2, 1, (7, 1));
    written(&mut check, 2);
    check.look(WRITER, 5, NOW, window(0, Some((7, 2)), 0));
    send(&mut check, ConnId(2), 3, 2, (7, 2));
    assert_eq!(broken(&check), None);
}

#[test]
fn an_upsert_told_without_its_offset_breaks_r27_while_its_answer_may_come() {
    let open = || {
        let mut check = checker(2);
        check.batches.iter_mut().for_each(|batch| {
            (batch.asks_offset, batch.deadline) = (true, NOW + Duration::from_millis(1));
        });
        check.look(WRITER, 5, NOW, window(0, Some((7, 0)), 2));
        send(&mut check, CONN, 1, 0, (7, 0));
        send(&mut check, CONN, 2, 1, (7, 1));
        written(&mut check, 2);
        assert_eq!(check.open_on(0), Some(CONN));
        check
    };
    let late = NOW + Duration::from_millis(1);
    for (now, unheard, breaks) in
        [(NOW, false, Some("R27")), (late, false, None), (NOW, true, None)]
    {
        let mut check = open();
        check.inferred(0, now, unheard);
        assert_eq!(broken(&check), breaks, "{now:?}, {unheard}");
    }
    let mut check = open();
    refused(&mut check, 1);
    check.inferred(0, NOW, false);
    assert_eq!(broken(&check), None, "its answer had no offset");
    let mut check = open();
    written(&mut check, 1);
    check.inferred(0, NOW, false);
    assert_eq!(broken(&check), Some("R27"), "its answer had the offset");
    let mut check = open();
    check.batches[0].asks_offset = false;
    check.inferred(0, NOW, false);
    assert_eq!(broken(&check), None, "nobody asked");
}
