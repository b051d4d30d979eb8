//! The checks can fail: each is shown what it must not let pass, and what it must.

use bytes::Bytes;
use fluss_proto::ApiKey;
use fluss_proto::message::{ErrorResponse, PbProduceLogRespForBucket, ProduceLogResponse};
use prost::Message;

use super::*;
use crate::error::WriteFailure;
use crate::ids::TableId;
use crate::output::{BatchOutcome, Written};
use crate::{Error, WriteError};

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

/// A failure that says so much of its batch.
fn failed(kind: fn(WriteFailure) -> WriteError) -> BatchOutcome {
    BatchOutcome::Failed(kind(Error::Closed("test").into()))
}

#[test]
fn a_flush_that_ends_early_or_twice_breaks_i23() {
    let flush = CommandId(1);
    for (left, breaks) in [(true, Some("I23")), (false, None)] {
        let mut check = checker(2);
        check.flush(flush, WRITER);
        // What is opened later, or by another writer, is not waited for.
        check.opened(check.batches[0].clone());
        check.batches[1].writer = WriterKey(1);
        if !left {
            told(&mut check, 0, &failed(WriteError::NotWritten));
        }
        check.flushed(flush);
        assert_eq!(broken(&check), breaks, "left: {left}");
        check.flushed(flush);
        assert_eq!(broken(&check), Some("I23"), "twice");
    }
}

#[test]
fn an_unknown_outcome_that_could_be_known_breaks_i14() {
    let open = || {
        let mut check = checker(2);
        check.look(WRITER, 5, NOW, window(0, Some((7, 0)), 2));
        send(&mut check, CONN, 1, 0, (7, 0));
        send(&mut check, CONN, 2, 1, (7, 1));
        check
    };
    let end = |check: &mut Checker, batch| {
        told(check, batch, &failed(WriteError::OutcomeUnknown));
        check.broken.as_ref().map(|violation| (violation.invariant, violation.text.clone()))
    };
    let says = |broken: Option<(&str, String)>, words| {
        broken.is_some_and(|(rule, text)| rule == "I14" && text.contains(words))
    };
    // Its copy is under way, or its connection broke: nobody knows.
    assert_eq!(end(&mut open(), 0), None);
    let mut check = open();
    check.disconnected(CONN, NOW);
    assert_eq!(end(&mut check, 0), None);
    // Its only copy was refused, or it never had one.
    let mut check = open();
    refused(&mut check, 1);
    assert!(says(end(&mut check, 0), "no copy in doubt"));
    assert!(says(end(&mut checker(1), 0), "no copy in doubt"));
    // What is proved written proves what is below, and not what is above.
    let mut check = open();
    written(&mut check, 2);
    assert!(says(end(&mut check, 0), "was proved written"));
    let mut check = open();
    written(&mut check, 1);
    assert_eq!(end(&mut check, 1), None);
}

#[test]
fn a_session_with_a_writer_id_that_its_bucket_had_before_breaks_i10() {
    for (id, number, breaks) in [(7, 0, Some("I10")), (8, 0, None), (7, 1, None)] {
        let mut check = checker(1);
        check.look(WRITER, 5, NOW, window(0, Some((7, 0)), 1));
        send(&mut check, CONN, 1, 0, (7, 0));
        check.look(WRITER, 5, NOW, window(0, None, 0));
        let later = NOW + Duration::from_secs(1);
        check.look(WRITER, 5, later, window(number, Some((id, 0)), 0));
        assert_eq!(broken(&check), breaks, "{id} in bucket {number}");
    }
}

/// A story that goes wrong, or does not.
type Scene = fn(&mut Checker, bool);

/// What the checker must name, and what it is shown. It knows two batches, whose bucket stands at
/// the beginning of a session of writer 7.
const SCENES: [(&str, &str, Scene); 22] = [
    ("I5", "an outcome comes twice", |check, wrong| {
        told(check, 0, &failed(WriteError::NotWritten));
        told(check, u64::from(!wrong), &failed(WriteError::NotWritten));
    }),
    ("I5", "an outcome comes late", |check, wrong| {
        let now = NOW + Duration::from_micros(u64::from(wrong));
        check.outcome(0, &failed(WriteError::NotWritten), now, false);
    }),
    ("I5", "an outcome of nothing", |check, wrong| {
        told(check, if wrong { 2 } else { 1 }, &failed(WriteError::NotWritten));
    }),
    ("I5", "no outcome at all", |check, wrong| {
        told(check, 0, &failed(WriteError::NotWritten));
        check.check_bounds(NOW + Duration::from_micros(u64::from(wrong)));
    }),
    ("I5", "sent after its end", |check, wrong| {
        told(check, u64::from(!wrong), &failed(WriteError::NotWritten));
        send(check, CONN, 1, 0, (7, 0));
    }),
    ("I6", "too many under way", |check, wrong| {
        check.look(WRITER, 5, NOW, window(0, Some((7, 0)), 5 + usize::from(wrong)));
    }),
    ("I7", "a session that begins above 0", |check, wrong| {
        send(check, CONN, 1, 0, (7, i32::from(wrong)));
    }),
    ("I7", "a gap", |check, wrong| {
        send(check, CONN, 1, 0, (7, 0));
        send(check, CONN, 2, 1, (7, 1 + i32::from(wrong)));
    }),
    ("I8", "the stamp of an open batch", |check, wrong| {
        send(check, CONN, 1, 0, (7, 0));
        if !wrong {
            refused(check, 1);
        }
        send(check, CONN, 2, 1, (7, 0));
    }),
    ("I8", "the stamp of a batch in doubt", |check, wrong| {
        send(check, CONN, 1, 0, (7, 0));
        if wrong {
            check.disconnected(CONN, NOW)
        } else {
            refused(check, 1)
        }
        send(check, CONN, 2, 1, (7, 0));
    }),
    ("I8", "the stamp of a batch in the log", |check, wrong| {
        send(check, CONN, 1, 0, (7, 0));
        refused(check, 1);
        if wrong {
            check.appended(&appended(0, (7, 0), 0));
        }
        send(check, CONN, 2, 1, (7, 0));
    }),
    ("I8", "a batch that nobody handed in leaves", |check, wrong| {
        send(check, CONN, 1, if wrong { 2 } else { 1 }, (7, 0));
    }),
    ("I8", "a batch that nobody handed in arrives", |check, wrong| {
        check.appended(&appended(if wrong { 2 } else { 1 }, (7, 0), 0));
    }),
    ("I8", "a batch is taken for another one", |check, wrong| {
        check.appended(&appended(0, (7, 0), 0));
        let copy = appended(u64::from(wrong), (7, 0), 0);
        check.appended(&Appended { duplicate: true, ..copy });
    }),
    ("I9", "the id of another session", |check, wrong| {
        send(check, CONN, 1, 0, (7 + i64::from(wrong), 0));
    }),
    ("I13", "concluded, and not in the log", |check, wrong| {
        check.appended(&appended(u64::from(wrong), (7, 0), 0));
        told(check, 0, &inferred());
    }),
    ("I13", "concluded, and with an offset", |check, wrong| {
        check.appended(&appended(0, (7, 0), 0));
        let BatchOutcome::Written(written) = inferred() else { return };
        let base_offset = wrong.then_some(0);
        told(check, 0, &BatchOutcome::Written(Written { base_offset, ..written }));
    }),
    ("I15", "not written", |check, wrong| {
        check.resized(0, 0, wrong);
        told(check, 0, &failed(WriteError::NotWritten));
        check.check_survived();
    }),
    ("I15", "of unknown outcome", |check, wrong| {
        check.resized(0, 0, true);
        send(check, CONN, 1, 0, (7, 0));
        if wrong {
            told(check, 0, &failed(WriteError::OutcomeUnknown));
        } else {
            check.appended(&appended(0, (7, 0), 0));
            told(check, 0, &inferred());
        }
        check.check_survived();
    }),
    ("I20", "no stamp", |check, wrong| {
        check.batches[0].idempotent = wrong;
        send(check, CONN, 1, 0, (-1, -1));
    }),
    ("I20", "a stamp of a writer without idempotence", |check, wrong| {
        check.batches[0].idempotent = !wrong;
        send(check, CONN, 1, 0, (7, 0));
    }),
    ("I24", "to another bucket than its own", |check, wrong| {
        check.batches[0].bucket = bucket(i32::from(wrong));
        send(check, CONN, 1, 0, (7, 0));
    }),
];

#[test]
fn each_scene_that_goes_wrong_breaks_its_invariant_and_none_when_it_goes_right() {
    for (rule, what, scene) in SCENES {
        for wrong in [true, false] {
            let mut check = checker(2);
            check.look(WRITER, 5, NOW, window(0, Some((7, 0)), 2));
            scene(&mut check, wrong);
            assert_eq!(broken(&check), wrong.then_some(rule), "{what}: {:?}", check.broken);
        }
    }
}

#[test]
fn an_answer_that_makes_no_sense_and_costs_no_connection_breaks_i17() {
    let part = |bucket_id, base_offset| PbProduceLogRespForBucket {
        bucket_id,
        base_offset: Some(base_offset),
        ..Default::default()
    };
    let error = ErrorResponse { error_code: 31, ..Default::default() };
    let body = |buckets_resp| ProduceLogResponse { buckets_resp }.encode_to_vec();
    for (what, frame, nonsense) in [
        ("as it should be", frame(0, 1, &body(vec![part(0, 0)])), false),
        ("an error", frame(1, 1, &error.encode_to_vec()), false),
        ("to nothing", frame(0, 2, &body(vec![part(0, 0)])), true),
        ("no answer", frame(2, 1, &body(vec![part(0, 0)])), true),
        ("too short", Bytes::from_static(&[0, 0]), true),
        ("rubbish", frame(0, 1, &[0xff]), true),
        ("of another bucket", frame(0, 1, &body(vec![part(1, 0)])), true),
        ("of one more", frame(0, 1, &body(vec![part(0, 0), part(1, 0)])), true),
        ("twice", frame(0, 1, &body(vec![part(0, 0), part(0, 0)])), true),
        ("of none", frame(0, 1, &body(Vec::new())), true),
        ("below zero", frame(0, 1, &body(vec![part(0, -1)])), true),
    ] {
        for used in [true, false] {
            let mut check = checker(1);
            check.look(WRITER, 5, NOW, window(0, Some((7, 0)), 1));
            send(&mut check, CONN, 1, 0, (7, 0));
            let costs = check.answered(CONN, &frame, NOW);
            check.heard(CONN, costs, used);
            assert_eq!(broken(&check), (nonsense && used).then_some("I17"), "{what}, {used}");
        }
    }
    // The second answer to the same request is one to nothing.
    let mut check = checker(1);
    send(&mut check, CONN, 1, 0, (7, 0));
    written(&mut check, 1);
    assert!(check.answered(CONN, &frame(0, 1, &body(vec![part(0, 0)])), NOW));
}
