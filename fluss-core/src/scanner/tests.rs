use super::testkit::*;
use super::*;
use crate::time::Duration;
use fluss_proto::ErrorCode;

const MS: Duration = Duration::from_millis(1);

#[test]
fn buckets_of_a_server_share_one_long_poll_that_ends_before_the_request_does() {
    let mut b = Bench::new(&[(0, S1), (1, S1), (2, S2)]);
    b.open(Bench::options(), &[(0, 5), (1, EARLIEST), (2, 0)]);
    let sent = b.fetch(S1);
    assert_eq!(sent.asked(), [(0, 5), (1, -2)]);
    assert_eq!(sent.request.max_wait_ms, Some(500));
    assert_eq!(sent.request.min_bytes, Some(1));
    assert!(sent.deadline > b.now + Duration::from_millis(500));
    assert!(b.poll(S1).is_none(), "one fetch per server");
}

#[test]
fn the_position_moves_with_what_is_taken_and_with_nothing_else() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(Bench::options(), &[(0, 12)]);
    let sent = b.fetch(S1);
    let records = [batch(10, 5, 0, 40), batch(15, 0, 0, 0), batch(16, 4, 2, 40)].concat();
    b.reply(&sent, vec![part(0, 30, &records)]);
    assert_eq!((b.ready, b.position(key, 0)), (1, 12));
    let one = TakeLimits { max_batches: 1, max_bytes: 1 };
    let taken = b.take_at_most(key, one);
    let first = &taken.batches[0];
    assert_eq!((first.batch.base_offset(), first.start_offset, first.next_offset), (10, 12, 15));
    assert_eq!(first.high_watermark, Some(30));
    assert_eq!(b.position(key, 0), 15);
    let taken = b.take(key);
    assert_eq!(places(&taken), [(0, 15), (0, 16)]);
    assert_eq!(taken.batches[0].batch.record_count(), 0, "an empty batch moves the position too");
    assert_eq!(b.position(key, 0), 22, "offsets without records are passed");
    let progress = b.scanners.progress(key, bucket(0)).expect("subscribed");
    assert_eq!(progress.lag(), Some(8));
    assert!(b.take(key).is_empty());
    assert_eq!(b.scanners.buffered(key), 0);
}

#[test]
fn waiting_data_does_not_stop_the_next_fetch_until_a_share_of_it_waits() {
    let mut b = Bench::new(&[(0, S1)]);
    let mut options = Bench::options();
    options.max_bytes_per_bucket = 1000;
    let key = b.open(options, &[(0, 0)]);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![part(0, 100, &batch(0, 1, 0, 500))]);
    let sent = b.fetch(S1);
    assert_eq!(sent.asked(), [(0, 1)]);
    b.reply(&sent, vec![part(0, 100, &batch(1, 1, 0, 500))]);
    assert!(b.poll(S1).is_none(), "1096 bytes wait");
    b.take_at_most(key, TakeLimits { max_batches: 1, max_bytes: 1 });
    assert_eq!(b.fetch(S1).asked(), [(0, 2)]);
    assert_eq!(b.ready, 1, "told once until the taker found nothing");
}

#[test]
fn a_bucket_with_waiting_data_is_not_locked_out_by_a_long_poll_of_the_others() {
    let mut b = Bench::new(&[(0, S1), (1, S1)]);
    let mut options = Bench::options();
    options.max_bytes_per_bucket = 100;
    let key = b.open(options, &[(0, 0), (1, 0)]);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![part(0, 9, &batch(0, 1, 0, 200)), part(1, 0, &[])]);
    let probe = b.fetch(S1);
    assert_eq!(probe.asked(), [(1, 0)]);
    assert_eq!((probe.request.min_bytes, probe.request.max_wait_ms), (None, None));
    b.reply(&probe, vec![part(1, 0, &[])]);
    assert!(b.poll(S1).is_none(), "no busy loop around the idle bucket");
    let at = b.timeout().expect("it is asked for again");
    assert!(at > b.now && at < b.now + 30 * MS);
    b.take(key);
    assert_eq!(b.fetch(S1).asked(), [(0, 1), (1, 0)]);
}

#[test]
fn probes_of_idle_buckets_become_rare_while_nothing_is_taken() {
    let mut b = Bench::new(&[(0, S1), (1, S1)]);
    let mut options = Bench::options();
    options.max_bytes_per_bucket = 100;
    b.open(options, &[(0, 0), (1, 0)]);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![part(0, 9, &batch(0, 1, 0, 200)), part(1, 0, &[])]);
    let mut probes = 0;
    for _ in 0..10_000 {
        if let Some(sent) = b.poll(S1) {
            probes += 1;
            b.reply(&sent, vec![part(1, 0, &[])]);
        }
        b.pass(MS);
    }
    assert!((15..40).contains(&probes), "{probes} in 10 s");
}

#[test]
fn batches_are_handed_out_in_turn_whatever_their_sizes() {
    let mut b = Bench::new(&[(0, S1), (1, S1), (2, S1)]);
    let key = b.open(Bench::options(), &[(0, 0), (1, 0), (2, 0)]);
    let sent = b.fetch(S1);
    let many: Vec<u8> = (0..6).flat_map(|i| batch(i, 1, 0, 10)).collect();
    b.reply(&sent, vec![part(0, 9, &many), part(1, 9, &batch(0, 1, 0, 5000)), part(2, 9, &many)]);
    let taken = b.take_at_most(key, TakeLimits { max_batches: 4, max_bytes: usize::MAX });
    assert_eq!(places(&taken), [(0, 0), (1, 0), (2, 0), (0, 1)]);
    let taken = b.take_at_most(key, TakeLimits { max_batches: 2, max_bytes: usize::MAX });
    assert_eq!(places(&taken), [(2, 1), (0, 2)]);
}

#[test]
fn buckets_with_data_take_turns_in_requests_and_all_that_is_asked_for_fits() {
    let mut b = Bench::new(&[(0, S1), (1, S1), (2, S1), (3, S1)]);
    let mut options = Bench::options();
    (options.max_bytes, options.max_bytes_per_bucket) = (2000, 1000);
    let key = b.open(options, &[(0, 0), (1, 0), (2, 0), (3, 0)]);
    let sent = b.fetch(S1);
    b.reply(&sent, (0..4).map(|n| part(n, 1000, &[])).collect());
    b.pass(30 * MS);
    let mut served = BTreeMap::<i32, u32>::new();
    let mut offsets = [0; 4];
    for _ in 0..20 {
        let sent = b.fetch(S1);
        let asked = sent.asked();
        assert_eq!(asked.len(), 2, "as many as surely fit: {asked:?}");
        let parts = asked.iter().map(|(n, offset)| {
            offsets[*n as usize] = offset + 1;
            *served.entry(*n).or_default() += 1;
            part(*n, 1000, &batch(*offset, 1, 0, 800))
        });
        let parts = parts.collect();
        b.reply(&sent, parts);
        b.take(key);
    }
    assert_eq!(served.into_values().collect::<Vec<_>>(), [10, 10, 10, 10]);
    assert_eq!(offsets, [10; 4]);
}

#[test]
fn a_batch_larger_than_its_share_is_asked_for_by_its_size() {
    let mut b = Bench::new(&[(0, S1), (1, S1)]);
    let mut options = Bench::options();
    (options.max_bytes, options.max_bytes_per_bucket) = (4000, 1000);
    let key = b.open(options, &[(0, 0), (1, 0)]);
    let sent = b.fetch(S1);
    let big = batch(1, 3, 0, 9000);
    let cut = [&batch(0, 1, 0, 100)[..], &big[..700]].concat();
    b.reply(&sent, vec![part(0, 4, &cut), part(1, 4, &big[..5])]);
    assert_eq!(places(&b.take(key)), [(0, 0)], "the cut batch is left out without an error");
    let sent = b.fetch(S1);
    assert_eq!(sent.limits(), [(1, 1000)], "of bucket 1 not even the size is known");
    b.reply(&sent, vec![part(1, 4, &big[..1000])]);
    let sent = b.fetch(S1);
    assert_eq!(sent.limits(), [(1, 9048)]);
    assert_eq!(sent.request.max_bytes, 9048);
    b.reply(&sent, vec![part(1, 4, &big)]);
    assert_eq!(b.fetch(S1).limits(), [(0, 9048)]);
}

#[test]
fn the_budget_bounds_what_waits_and_taking_frees_it() {
    let mut b = Bench::new(&[(0, S1), (1, S1), (2, S2)]);
    let mut options = Bench::options();
    options.buffer_limit = 10_000;
    (options.max_bytes, options.max_bytes_per_bucket) = (100_000, 100_000);
    let key = b.open(options, &[(0, 0), (1, 0), (2, 0)]);
    let (one, two) = (b.fetch(S1), b.fetch(S2));
    assert_eq!((one.request.max_bytes, two.request.max_bytes), (2500, 2500));
    b.reply(&one, vec![part(0, 99, &batch(0, 1, 0, 2400)), part(1, 99, &batch(0, 1, 0, 20))]);
    b.reply(&two, vec![part(2, 99, &batch(0, 1, 0, 2450))]);
    assert!(b.poll(S1).is_none() && b.poll(S2).is_none());
    let held = b.scanners.buffered(key);
    assert!((4900..6000).contains(&held), "{held}");
    b.take_at_most(key, TakeLimits { max_batches: 1, max_bytes: 1 });
    assert_eq!(b.scanners.buffered(key), held, "the frame lives as long as one of its batches");
    b.take(key);
    assert_eq!(b.scanners.buffered(key), held, "and as long as somebody works on what was taken");
    assert!(b.poll(S1).is_none() && b.poll(S2).is_none());
    assert!(b.take(key).is_empty());
    assert_eq!(b.scanners.buffered(key), 0);
    assert!(b.poll(S1).is_some() && b.poll(S2).is_some());
}

#[test]
fn an_alarm_is_reported_once_at_its_time_and_can_be_taken_back() {
    let mut b = Bench::new(&[]);
    let key = b.open(Bench::options(), &[]);
    let at = b.now + Duration::from_secs(3600);
    b.run(|s, _| s.set_alarm(key, Some(at)));
    assert_eq!(b.timeout(), Some(at));
    b.pass(Duration::from_secs(3599));
    assert_eq!(b.ready, 0);
    b.pass(Duration::from_secs(1));
    assert_eq!((b.ready, b.timeout()), (1, None));
    let later = b.now + Duration::from_secs(5);
    b.run(|s, _| s.set_alarm(key, Some(later)));
    b.run(|s, _| s.set_alarm(key, None));
    b.pass(Duration::from_secs(10));
    assert_eq!(b.ready, 1);
}

#[test]
fn a_moved_leader_is_asked_for_and_followed() {
    let mut b = Bench::new(&[(0, S1), (1, S1)]);
    let key = b.open(Bench::options(), &[(0, 3), (1, 3)]);
    for code in [12, 21, 24, 44] {
        let sent = b.fetch(S1);
        b.reply(&sent, vec![failed(0, code), part(1, 3, &[])]);
        let wishes = b.take_wishes();
        assert!(wishes.contains(&bucket(0)), "{code}: {wishes:?}");
        assert!(!wishes.contains(&bucket(1)));
        b.pass(Duration::from_secs(2));
    }
    b.leaders.insert(bucket(0), S2);
    let leaders = b.leaders.clone();
    b.run(|s, _| s.handle_metadata(&leaders));
    assert_eq!(b.fetch(S2).asked(), [(0, 3)]);
    assert!(b.take(key).is_empty(), "nothing to bother the caller with");
}

#[test]
fn a_bucket_in_backoff_shortens_the_long_poll_of_the_others() {
    let mut b = Bench::new(&[(0, S1), (1, S1)]);
    b.open(Bench::options(), &[(0, 3), (1, 3)]);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![failed(0, 44), part(1, 3, &[])]);
    let sent = b.fetch(S1);
    assert_eq!(sent.asked(), [(1, 3)]);
    let wait = sent.request.max_wait_ms.expect("a long poll");
    assert!((16..=24).contains(&wait), "{wait}");
}

#[test]
fn a_bucket_without_a_leader_asks_again_with_backoff_until_there_is_one() {
    let mut b = Bench::new(&[]);
    b.open(Bench::options(), &[(0, 0)]);
    let mut asked = 0;
    for _ in 0..5000 {
        asked += b.take_wishes().len();
        b.pass(MS);
    }
    assert!((5..=12).contains(&asked), "{asked} times in 5 s");
    b.leaders.insert(bucket(0), S1);
    let leaders = b.leaders.clone();
    b.run(|s, _| s.handle_metadata(&leaders));
    assert_eq!(b.fetch(S1).asked(), [(0, 0)]);
}

#[test]
fn an_error_of_one_bucket_is_told_once_behind_its_data_and_stops_no_other() {
    let mut b = Bench::new(&[(0, S1), (1, S1)]);
    let key = b.open(Bench::options(), &[(0, 0), (1, 0)]);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![part(0, 9, &batch(0, 2, 0, 10)), part(1, 9, &batch(0, 1, 0, 10))]);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![failed(0, 19), part(1, 9, &batch(1, 1, 0, 10))]);
    let taken = b.take(key);
    assert_eq!(places(&taken), [(0, 0), (1, 0), (1, 1)]);
    let [error] = taken.errors.as_slice() else { panic!("{:?}", taken.errors) };
    assert_eq!((error.bucket, error.position), (bucket(0), 2));
    assert_eq!(error.cause.code(), Some(ErrorCode::LOG_OFFSET_OUT_OF_RANGE_EXCEPTION));
    let text = error.to_string();
    assert!(text.contains("bucket 0 at offset 2") && text.contains("shop.events"), "{text}");
    assert_eq!(b.fetch(S1).asked(), [(1, 2)]);
    assert!(b.take(key).is_empty());
    b.run(|s, _| s.subscribe(key, bucket(0), EARLIEST)).expect("open");
    b.pass(Duration::from_secs(1));
    assert!(!b.scanners.progress(key, bucket(0)).expect("subscribed").stopped);
}

#[test]
fn damaged_batches_are_an_error_behind_the_good_ones_before_them() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(Bench::options(), &[(0, 0)]);
    let sent = b.fetch(S1);
    let mut bad = batch(2, 1, 0, 10);
    bad[8..12].copy_from_slice(&(-5i32).to_le_bytes());
    b.reply(&sent, vec![part(0, 9, &[batch(0, 2, 0, 10), bad].concat())]);
    let taken = b.take(key);
    assert_eq!(places(&taken), [(0, 0)]);
    assert_eq!((taken.errors.len(), taken.errors[0].position), (1, 2));
    assert!(b.poll(S1).is_none(), "no fetch that would bring the same bytes");
}

#[test]
fn answers_that_make_no_sense_are_errors_that_say_so() {
    let mut b = Bench::new(&[(0, S1), (1, S1)]);
    let key = b.open(Bench::options(), &[(0, 0), (1, 0)]);
    let sent = b.fetch(S1);
    b.result(&sent, Ok(Bytes::from_static(b"\xff\xff\xff")));
    let errors = b.take(key).errors;
    assert_eq!(errors.len(), 2);
    assert!(errors[0].to_string().contains("does not parse"), "{}", errors[0]);

    let key = b.open(Bench::options(), &[(0, 0), (1, 0)]);
    for _ in 0..12 {
        let Some(sent) = b.poll(S1) else { break };
        let asked: Vec<_> = sent.asked();
        // Bucket 0 is left out of the answers; bucket 5 was never asked for; 1 comes twice.
        let mut parts = vec![part(5, 9, &batch(0, 1, 0, 10))];
        if let Some((_, offset)) = asked.iter().find(|(n, _)| *n == 1) {
            parts.push(part(1, 99, &batch(*offset, 1, 0, 10)));
            parts.push(part(1, 99, &batch(*offset, 1, 0, 10)));
        }
        b.reply(&sent, parts);
        b.pass(Duration::from_secs(3));
    }
    let taken = b.take(key);
    let offsets: Vec<i64> = taken.batches.iter().map(|b| b.batch.base_offset()).collect();
    assert_eq!(offsets, (0..offsets.len() as i64).collect::<Vec<_>>());
    assert!(taken.errors[0].to_string().contains("leaves out"), "{}", taken.errors[0]);
}

#[test]
fn lost_fetches_are_repeated_from_the_same_offset_with_backoff() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(Bench::options(), &[(0, 4)]);
    let lost = || RequestError::Lost(Error::Closed("connection"));
    let mut sent_count = 0;
    for _ in 0..10_000 {
        if let Some(sent) = b.poll(S1) {
            assert_eq!(sent.asked(), [(0, 4)]);
            sent_count += 1;
            b.result(&sent, Err(lost()));
        }
        b.pass(MS);
    }
    assert!((8..30).contains(&sent_count), "{sent_count} in 10 s");
    assert!(b.take(key).is_empty());
}

#[test]
fn late_answers_after_unsubscribing_or_seeking_are_dropped() {
    let mut b = Bench::new(&[(0, S1), (1, S1)]);
    let key = b.open(Bench::options(), &[(0, 0), (1, 0)]);
    let sent = b.fetch(S1);
    b.run(|s, _| s.unsubscribe(key, bucket(0)));
    b.run(|s, _| s.subscribe(key, bucket(1), 5)).expect("open");
    b.reply(&sent, vec![part(0, 9, &batch(0, 9, 0, 10)), part(1, 9, &batch(0, 9, 0, 10))]);
    assert!(b.take(key).is_empty());
    assert_eq!((b.scanners.buffered(key), b.ready), (0, 0));
    assert_eq!(b.fetch(S1).asked(), [(1, 5)]);
}

#[test]
fn a_seek_drops_what_waited_and_a_closed_scanner_everything() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(Bench::options(), &[(0, 0)]);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![part(0, 9, &batch(0, 9, 0, 10))]);
    assert!(b.scanners.buffered(key) > 0);
    b.run(|s, _| s.subscribe(key, bucket(0), 3)).expect("open");
    assert_eq!(b.scanners.buffered(key), 0);
    let sent = b.fetch(S1);
    b.run(|s, _| s.close_scanner(key));
    b.reply(&sent, vec![part(0, 9, &batch(0, 9, 0, 10))]);
    assert_eq!(b.scanners.take(key, TakeLimits::default()), Err(Error::Closed("scanner")));
}

#[test]
fn a_stopped_bucket_stays_where_its_reader_failed() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(Bench::options(), &[(0, 0)]);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![part(0, 9, &[batch(0, 2, 0, 10), batch(2, 2, 0, 10)].concat())]);
    b.take_at_most(key, TakeLimits { max_batches: 1, max_bytes: 1 });
    b.run(|s, _| s.stop(key, bucket(0), 0));
    assert!(b.take(key).is_empty() && b.poll(S1).is_none());
    assert_eq!(b.position(key, 0), 0);
}

#[test]
fn data_that_never_comes_is_an_error_in_the_end_and_no_busy_loop() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(Bench::options(), &[(0, 3)]);
    let mut sent_count = 0;
    for _ in 0..20_000 {
        if let Some(sent) = b.poll(S1) {
            sent_count += 1;
            b.reply(&sent, vec![part(0, 9, &[])]);
        }
        b.pass(MS);
    }
    assert_eq!(sent_count, 11);
    let errors = b.take(key).errors;
    assert!(errors[0].to_string().contains("up to offset 9"), "{}", errors[0]);
}

#[test]
fn the_end_of_a_log_and_an_empty_log_are_waited_at_without_an_error() {
    let mut b = Bench::new(&[(0, S1), (1, S1)]);
    let key = b.open(Bench::options(), &[(0, 9), (1, EARLIEST)]);
    for _ in 0..50 {
        let sent = b.fetch(S1);
        assert_eq!(sent.request.max_wait_ms, Some(500));
        b.pass(Duration::from_millis(500));
        b.reply(&sent, vec![part(0, 9, &[]), part(1, 5, &[])]);
    }
    assert!(b.take(key).is_empty());
}

#[test]
fn filtered_ends_move_positions_never_backwards_nor_past_the_high_watermark() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(Bench::options(), &[(0, 3)]);
    let mut filtered = part(0, 9, &[]);
    filtered.filtered_end_offset = Some(7);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![filtered.clone()]);
    assert_eq!((b.position(key, 0), b.ready), (7, 1));
    let sent = b.fetch(S1);
    filtered.filtered_end_offset = Some(2);
    b.reply(&sent, vec![filtered.clone()]);
    assert_eq!(b.position(key, 0), 7);
    b.pass(Duration::from_secs(1));
    let sent = b.fetch(S1);
    filtered.filtered_end_offset = Some(100);
    b.reply(&sent, vec![filtered]);
    assert_eq!(b.position(key, 0), 9);
}

#[test]
fn a_dropped_table_and_a_close_reach_whoever_waits() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(Bench::options(), &[(0, 3)]);
    let sent = b.fetch(S1);
    let gone = Error::misuse("the table was dropped");
    b.run(|s, _| s.handle_gone(|k| k.table.0 == 7, &gone));
    b.reply(&sent, vec![part(0, 9, &batch(3, 1, 0, 10))]);
    let taken = b.take(key);
    assert!(taken.batches.is_empty() && *taken.errors[0].cause == gone);
    assert_eq!(b.ready, 1);
    b.run(|s, _| s.abort(&Error::Closed("client")));
    assert_eq!(b.ready, 2);
    assert_eq!(b.scanners.take(key, TakeLimits::default()), Err(Error::Closed("client")));
    let again = b.run(|s, cx| s.open_scanner(cx, Bench::options()));
    assert_eq!(again, Err(Error::Closed("client")));
}

#[test]
fn misuse_is_refused_with_a_hint() {
    let mut b = Bench::new(&[]);
    let key = b.open(Bench::options(), &[]);
    let mut options = Bench::options();
    (options.max_bytes, options.max_wait) = (0, Duration::from_secs(30));
    options.projection = Some([3, 1].into());
    let refused = b.run(|s, cx| s.open_scanner(cx, options));
    let Err(Error::Config(problems)) = refused else { panic!("{refused:?}") };
    assert_eq!(problems.len(), 5, "{problems:?}");
    let other = BucketKey { table: crate::ids::TableId(8), partition: None, bucket: 0 };
    assert!(b.scanners.subscribe(key, other, 0).is_err());
    let error = b.scanners.subscribe(key, bucket(0), -1).expect_err("no offset");
    assert!(error.to_string().contains("-2 for the earliest"), "{error}");
}

#[test]
fn two_scanners_of_one_server_each_get_their_fetch() {
    let mut b = Bench::new(&[(0, S1)]);
    let first = b.open(Bench::options(), &[(0, 1)]);
    let second = b.open(Bench::options(), &[(0, 2)]);
    let one = b.fetch(S1);
    let two = b.fetch(S1);
    assert_eq!([one.key, two.key], [first, second]);
    assert_ne!(one.token, two.token);
    b.reply(&two, vec![part(0, 9, &batch(2, 1, 0, 10))]);
    assert!(b.take(first).is_empty());
    assert_eq!(places(&b.take(second)), [(0, 2)]);
}

#[test]
fn a_server_that_answers_at_once_with_nothing_new_is_asked_less_and_less_often() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(Bench::options(), &[(0, 0)]);
    let old = batch(0, 3, 0, 10);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![part(0, 3, &old)]);
    b.take(key);
    let start = b.now;
    for (count, records) in [&old[..], &[]].iter().cycle().enumerate().take(40) {
        while b.flushes.is_empty() {
            assert!(count >= 3, "a few are put up with");
            let at = b.timeout().expect("it is asked again");
            b.pass((at - b.now).max(Duration::from_micros(1)));
        }
        let sent = b.fetch(S1);
        b.reply(&sent, vec![part(0, 3, records)]);
    }
    assert!(b.now - start > Duration::from_secs(20), "40 times in {:?}", b.now - start);
    // Something new ends it.
    let at = b.timeout().expect("it is asked again");
    b.pass(at - b.now);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![part(0, 6, &batch(3, 3, 0, 10))]);
    assert_eq!(places(&b.take(key)), [(0, 3)]);
    b.fetch(S1);
}
