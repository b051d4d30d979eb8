//! Records that servers moved to remote storage.

use bytes::Bytes;

use super::testkit::*;
use super::{EARLIEST, ScannerOptions, TakeLimits};
use crate::error::Error;
use crate::storage::{StorageError, StorageErrorKind};
use crate::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// A segment with these offsets, one record of 40 bytes each.
fn segment(offsets: std::ops::Range<i64>) -> Bytes {
    offsets.flat_map(|base| batch(base, 1, 0, 40)).collect::<Vec<u8>>().into()
}

fn error(b: &Bench, kind: StorageErrorKind) -> Result<Bytes, StorageError> {
    Err(StorageError::new(&b.reads[0].1, kind, "injected"))
}

fn small() -> ScannerOptions {
    let mut options = Bench::options();
    options.max_bytes_per_bucket = 250;
    options
}

#[test]
fn segments_are_read_in_order_and_then_the_live_log_from_the_next_offset() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(Bench::options(), &[(0, 2)]);
    let (first, second) = (segment(0..4), segment(4..6));
    let one = first.len() / 4;
    let sent = b.fetch(S1);
    let at = i32::try_from(one).expect("small");
    b.reply(&sent, vec![moved(0, 9, at, &[(0, 4, first.len()), (4, 6, second.len())])]);
    assert_eq!(b.read(), (object(0, 0), one as u64, 3 * one));
    assert!(b.poll(S1).is_none(), "the log is not fetched meanwhile");
    b.end_read(Ok(first.slice(one..)));
    assert_eq!(b.read(), (object(0, 4), 0, 2 * one), "what waits does not stop the next one");
    let taken = b.take(key);
    assert_eq!(places(&taken), [(0, 2), (0, 3)], "offset 1 was not asked for");
    assert!(taken.batches.iter().all(|batch| !batch.projected));
    assert_eq!(taken.batches[0].high_watermark, Some(9));
    b.end_read(Ok(second));
    assert_eq!(places(&b.take(key)), [(0, 4), (0, 5)]);
    assert_eq!(b.fetch(S1).asked(), [(0, 6)]);
    assert!(b.reads.is_empty());
}

#[test]
fn the_earliest_offset_may_be_in_remote_storage() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(Bench::options(), &[(0, EARLIEST)]);
    let sent = b.fetch(S1);
    let bytes = segment(7..9);
    b.reply(&sent, vec![moved(0, 9, 0, &[(7, 9, bytes.len())])]);
    b.end_read(Ok(bytes));
    assert_eq!(places(&b.take(key)), [(0, 7), (0, 8)]);
    assert_eq!(b.fetch(S1).asked(), [(0, 9)]);
}

#[test]
fn a_part_that_comes_short_is_gone_on_with_where_it_ended() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(small(), &[(0, 0)]);
    let bytes = [segment(0..3), Bytes::from(batch(3, 1, 0, 900)), segment(4..6)].concat();
    let (bytes, size) = (Bytes::from(bytes), segment(0..1).len());
    let sent = b.fetch(S1);
    b.reply(&sent, vec![moved(0, 6, 0, &[(0, 6, bytes.len())])]);
    let mut at = 0;
    let mut lens = Vec::new();
    let mut found = Vec::new();
    while !b.reads.is_empty() {
        let (_, from, len) = b.read();
        assert_eq!(from as usize, at, "from where the last one ended");
        // Every second one is cut.
        let came = if lens.len() % 2 == 0 { len } else { len.div_ceil(2) };
        lens.push(len);
        b.end_read(Ok(bytes.slice(at..at + came)));
        at += came;
        found.extend(places(&b.take(key)).into_iter().map(|(_, base)| base));
    }
    assert_eq!(found, [0, 1, 2, 3, 4, 5]);
    assert_eq!(at, bytes.len(), "no byte is read twice");
    assert_eq!(lens[0], 250);
    assert!(lens.iter().any(|len| *len > 500), "a large batch is asked for as a whole: {lens:?}");
    assert!(size < 250);
    assert_eq!(b.fetch(S1).asked(), [(0, 6)]);
}

#[test]
fn trouble_of_the_storage_is_tried_again_and_other_buckets_go_on() {
    let mut b = Bench::new(&[(0, S1), (1, S1)]);
    let key = b.open(Bench::options(), &[(0, 0), (1, 0)]);
    let bytes = segment(0..2);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![moved(0, 2, 0, &[(0, 2, bytes.len())]), part(1, 1, &batch(0, 1, 0, 40))]);
    for kind in [StorageErrorKind::Unavailable, StorageErrorKind::Denied] {
        let failure = error(&b, kind);
        b.end_read(failure);
        assert!(b.reads.is_empty(), "not at once");
        b.pass(Duration::from_secs(1));
        assert_eq!(b.read(), (object(0, 0), 0, bytes.len()));
    }
    assert_eq!(places(&b.take(key)), [(1, 0)]);
    // The server is asked not to wait for bucket 1 alone: bucket 0 is back soon.
    let sent = b.fetch(S1);
    assert_eq!((sent.asked(), sent.request.max_wait_ms), (vec![(1, 1)], None));
    b.end_read(Ok(bytes));
    assert_eq!(places(&b.take(key)), [(0, 0), (0, 1)]);
}

#[test]
fn a_read_without_an_answer_is_given_up_and_made_again() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(Bench::options(), &[(0, 0)]);
    let bytes = segment(0..2);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![moved(0, 2, 0, &[(0, 2, bytes.len())])]);
    let late = b.reads[0].clone();
    assert_eq!(late.1.limit, b.config.request_deadline);
    b.pass(b.config.request_deadline - MS);
    assert_eq!(b.reads[..], *std::slice::from_ref(&late));
    b.pass(MS);
    assert!(b.reads.is_empty(), "it was given up");
    b.run(|s, cx| s.handle_read(cx, late.0, &Ok(bytes.clone())));
    assert!(b.take(key).is_empty(), "a late answer is nobody's");
    b.pass(Duration::from_secs(1));
    b.end_read(Ok(bytes));
    assert_eq!(places(&b.take(key)), [(0, 0), (0, 1)]);
}

#[test]
fn a_bounded_wait_for_the_storage_ends_with_its_last_error() {
    let mut b = Bench::new(&[(0, S1)]);
    let mut options = Bench::options();
    options.patience = Some(Duration::from_secs(10));
    let key = b.open(options, &[(0, 0)]);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![moved(0, 2, 0, &[(0, 2, 100)])]);
    for _ in 0..20 {
        if !b.reads.is_empty() {
            let failure = error(&b, StorageErrorKind::Unavailable);
            b.end_read(failure);
        }
        b.pass(Duration::from_secs(1));
    }
    let errors = b.take(key).errors;
    let text = errors[0].to_string();
    assert!(matches!(*errors[0].cause, Error::Unavailable { .. }), "{text}");
    assert!(text.contains("injected") && text.contains(&object(0, 0)), "{text}");
    assert_eq!(errors[0].position, 0);
}

#[test]
fn the_server_is_asked_again_for_objects_that_are_not_there_but_not_for_ever() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(Bench::options(), &[(0, 0)]);
    for round in 0.. {
        let sent = b.fetch(S1);
        b.reply(&sent, vec![moved(0, 2, 0, &[(0, 2, 100)])]);
        let failure = error(&b, StorageErrorKind::NotFound);
        b.end_read(failure);
        if round == 3 {
            break;
        }
        assert!(b.take(key).errors.is_empty());
        b.pass(Duration::from_secs(1));
    }
    let errors = b.take(key).errors;
    assert!(matches!(&*errors[0].cause, Error::Storage(e) if e.kind == StorageErrorKind::NotFound));
}

#[test]
fn storage_that_nothing_here_can_read_stops_the_bucket_at_once() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(Bench::options(), &[(0, 0)]);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![moved(0, 2, 0, &[(0, 2, 100)])]);
    let failure = error(&b, StorageErrorKind::Unsupported);
    b.end_read(failure);
    assert_eq!(b.take(key).errors[0].cause.name(), "REMOTE_STORAGE");
}

#[test]
fn objects_that_are_not_what_the_server_told_of_are_errors_and_no_lost_rows() {
    let cut = segment(0..2).len() + 10;
    for (bytes, size, text) in [
        ([segment(0..1), segment(2..4)].concat(), None, "offsets 1 to 2 (exclusive) are missing"),
        (segment(0..3).to_vec(), Some(cut), "within a batch that begins at"),
        (vec![0xff; 200], None, "length at byte 8 is -1"),
        (Vec::new(), Some(100), "ends at byte 0"),
    ] {
        let mut b = Bench::new(&[(0, S1)]);
        let key = b.open(Bench::options(), &[(0, 0)]);
        let sent = b.fetch(S1);
        let size = size.unwrap_or(bytes.len());
        b.reply(&sent, vec![moved(0, 4, 0, &[(0, 4, size)])]);
        let mut errors = Vec::new();
        for _ in 0..20 {
            if !b.reads.is_empty() {
                let (_, from, len) = b.read();
                let end = bytes.len().min(from as usize + len);
                b.end_read(Ok(Bytes::copy_from_slice(&bytes[from as usize..end])));
            }
            errors.extend(b.take(key).errors);
            b.pass(Duration::from_secs(1));
        }
        assert!(errors[0].to_string().contains(text), "{text}: {}", errors[0]);
        assert!(b.reads.is_empty());
    }
}

#[test]
fn segments_that_hold_less_than_they_should_are_not_read_for_ever() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(Bench::options(), &[(0, 3)]);
    let bytes = segment(0..2);
    let mut fetches = 0;
    let errors = loop {
        if let Some(sent) = b.poll(S1) {
            fetches += 1;
            b.reply(&sent, vec![moved(0, 9, 0, &[(0, 4, bytes.len())])]);
            b.end_read(Ok(bytes.clone()));
        }
        let errors = b.take(key).errors;
        if !errors.is_empty() {
            break errors;
        }
        b.pass(Duration::from_secs(1));
    };
    assert_eq!(fetches, 11);
    assert!(errors[0].to_string().contains("brought none"), "{}", errors[0]);
}

#[test]
fn segments_that_do_not_hold_the_offset_are_no_answer() {
    for segments in
        [&[][..], &[(0, 3, 100)], &[(6, 9, 100)], &[(4, 6, 100), (7, 9, 100)], &[(4, 9, 0)]]
    {
        let mut b = Bench::new(&[(0, S1)]);
        let key = b.open(Bench::options(), &[(0, 5)]);
        let mut answers = 0;
        let errors = loop {
            if let Some(sent) = b.poll(S1) {
                b.reply(&sent, vec![moved(0, 9, 0, segments)]);
                answers += 1;
            }
            assert!(b.reads.is_empty(), "{segments:?}");
            let errors = b.take(key).errors;
            if !errors.is_empty() {
                break errors;
            }
            b.pass(Duration::from_secs(1));
        };
        assert_eq!(answers, 11, "{segments:?}");
        assert!(errors[0].to_string().contains("do not hold offset 5"), "{}", errors[0]);
    }
}

#[test]
fn reads_keep_to_their_half_of_the_budget_and_the_live_log_to_the_other() {
    let mut b = Bench::new(&(0..9).map(|n| (n, S1)).collect::<Vec<_>>());
    let mut options = small();
    options.max_bytes = 4000;
    options.buffer_limit = 16_000;
    options.max_bytes_per_bucket = 3000;
    let key = b.open(options, &(0..9).map(|n| (n, 0)).collect::<Vec<_>>());
    let bytes = segment(0..1000);
    let sent = b.fetch(S1);
    let parts = (0..8).map(|n| moved(n, 1000, 0, &[(0, 1000, bytes.len())]));
    b.reply(&sent, parts.chain([part(8, 1000, &[])]).collect());
    let mut seen = std::collections::BTreeSet::new();
    let mut live = 0;
    for _ in 0..200 {
        let coming: usize = b.reads.iter().map(|(_, part)| part.len).sum();
        assert!(coming <= 8_000 && b.reads.len() <= 4, "{coming}");
        while let Some((_, part)) = b.reads.first().cloned() {
            let from = part.from as usize;
            b.end_read(Ok(bytes.slice(from..from + part.len)));
            let held = b.scanners.buffered(key);
            assert!(held <= 8_000 + 4_000, "{held} bytes wait");
        }
        b.pass(Duration::from_millis(500));
        if let Some(sent) = b.poll(S1) {
            assert_eq!(sent.asked().len(), 1);
            assert!(sent.request.max_bytes <= 4_000);
            b.reply(&sent, vec![part(8, 1000, &batch(live, 1, 0, 500))]);
            live += 1;
        }
        let taken = b.take_at_most(key, TakeLimits { max_batches: 30, max_bytes: 1 << 20 });
        seen.extend(places(&taken).into_iter().map(|(number, _)| number));
    }
    assert_eq!(seen.len(), 9, "every bucket moved: {seen:?}");
    assert!(live > 50, "the live log moved on: {live}");
}

#[test]
fn whoever_is_unsubscribed_or_closed_gets_nothing_and_holds_nothing() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(Bench::options(), &[(0, 0)]);
    let bytes = segment(0..2);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![moved(0, 2, 0, &[(0, 2, bytes.len())])]);
    b.run(|s, _| s.subscribe(key, bucket(0), 1)).expect("open");
    b.end_read(Ok(bytes.clone()));
    assert!(b.take(key).is_empty(), "it was for the subscription before");
    let sent = b.fetch(S1);
    b.reply(&sent, vec![moved(0, 2, 0, &[(0, 2, bytes.len())])]);
    assert_eq!(b.reads.len(), 1);
    b.run(|s, _| s.close_scanner(key));
    assert!(b.reads.is_empty(), "given up");
}
