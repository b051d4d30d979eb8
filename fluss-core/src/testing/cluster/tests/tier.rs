use super::*;
use crate::config::{ObjectPart, StorageErrorKind, StorageToken};
use std::sync::Arc;
use std::time::Duration;

fn part(object: &str, from: u64, len: usize) -> ObjectPart {
    ObjectPart::new(object, from, len, Duration::from_secs(1))
}

#[test]
fn what_was_moved_is_told_of_and_read_as_it_was_stored() {
    let mut talk = Talk::new(ClusterOptions::default());
    let bucket = talk.log_table();
    (0..60).for_each(|sequence| drop(talk.produce(bucket, (1, sequence))));
    let stored: Vec<_> = talk.cluster.log(bucket).map(|batch| batch.bytes).collect();
    let size = stored[0].len();
    assert!(talk.cluster.move_to_remote(bucket, 91));
    assert!(talk.cluster.move_to_remote(bucket, 100));
    assert!(!talk.cluster.move_to_remote(bucket, 101), "half a batch is none");
    assert_eq!(talk.cluster.moved_segments(bucket), 2);
    let read = talk.fetch(bucket, 80);
    assert_eq!((read.error_code, read.records, read.high_watermark), (None, None, Some(120)));
    let info = read.remote_log_fetch_info.expect("it was moved");
    let segments = &info.remote_log_segments;
    let ranges = segments.iter().map(|s| (s.remote_log_start_offset, s.remote_log_end_offset));
    assert_eq!(ranges.collect::<Vec<_>>(), [(0, 90), (90, 100)]);
    let at = usize::try_from(info.first_start_pos.expect("a position")).expect("positive");
    assert!(at > 0 && at % size == 0 && at <= 40 * size, "a batch at or before the offset: {at}");
    let dir = &info.remote_log_tablet_dir;
    assert_eq!(*dir, format!("/remote/log/fluss/t-{}/0", bucket.table));
    let object = format!("{dir}/{}/{:020}.log", segments[1].remote_log_segment_id, 90);
    let (_, found) = talk.cluster.read_object(&part(&object, 0, 1 << 20));
    assert_eq!(found.expect("it is there"), stored[45..50].concat());
    let (_, found) = talk.cluster.read_object(&part(&object, size as u64, 5));
    assert_eq!(found.expect("it is there"), stored[46].slice(..5));
    let earliest = talk.fetch(bucket, -2);
    assert_eq!(earliest.remote_log_fetch_info.expect("moved").remote_log_segments.len(), 2);
    let live = talk.fetch(bucket, 100);
    assert!(live.remote_log_fetch_info.is_none());
    assert_eq!(live.records.map(|records| records.len()), Some(10 * size));
    talk.cluster.expire_log(bucket, 95);
    assert_eq!(talk.fetch(bucket, 80).error_code, Some(19));
    assert!(talk.fetch(bucket, 95).remote_log_fetch_info.is_some());
    let first = format!("{dir}/{}/{:020}.log", segments[0].remote_log_segment_id, 0);
    let (_, gone) = talk.cluster.read_object(&part(&first, 0, 1));
    assert_eq!(gone.expect_err("expired").kind, StorageErrorKind::NotFound);
}

#[test]
fn reads_from_remote_storage_fail_are_cut_and_slow_by_chance() {
    let mut talk = Talk::new(ClusterOptions::default());
    let bucket = talk.log_table();
    (0..4).for_each(|sequence| drop(talk.produce(bucket, (1, sequence))));
    assert!(talk.cluster.move_to_remote(bucket, 8));
    let info = talk.fetch(bucket, 0).remote_log_fetch_info.expect("it was moved");
    let id = &info.remote_log_segments[0].remote_log_segment_id;
    let object = format!("{}/{id}/{:020}.log", info.remote_log_tablet_dir, 0);
    let whole = usize::try_from(info.remote_log_segments[0].segment_size_in_bytes).expect("small");
    talk.cluster.disturb_remote(3, 2);
    let (mut failed, mut cut, mut slow) = (0, 0, 0);
    for _ in 0..200 {
        let (time, read) = talk.cluster.read_object(&part(&object, 0, whole));
        slow += u32::from(time > Duration::ZERO);
        failed += u32::from(read.is_err());
        cut += u32::from(read.is_ok_and(|bytes| bytes.len() < whole));
    }
    assert!(failed > 20 && cut > 5 && slow > 20, "{failed} failed, {cut} cut, {slow} slow");
    assert_eq!(talk.cluster.remote_reads(), 200);
    talk.cluster.heal();
    let (time, read) = talk.cluster.read_object(&part(&object, 0, whole));
    assert_eq!((time, read.map(|bytes| bytes.len())), (Duration::ZERO, Ok(whole)));
}

#[test]
fn tokens_are_new_each_time_and_the_storage_takes_those_that_are_good() {
    const TOKEN: i16 = key::GET_FILESYSTEM_SECURITY_TOKEN;
    let request = GetFileSystemSecurityTokenRequest {};
    let mut talk = Talk::new(ClusterOptions::default());
    let bucket = talk.log_table();
    (0..4).for_each(|sequence| drop(talk.produce(bucket, (1, sequence))));
    // As a real server of files answers, tablet server or coordinator.
    for server in [ServerId::Coordinator, ServerId::Tablet(1)] {
        let none: GetFileSystemSecurityTokenResponse = talk.ask(server, TOKEN, &request);
        assert_eq!((&*none.schema, none.token.len(), none.expiration_time), ("file", 0, None));
        assert_eq!(none.addition_info, []);
    }
    talk.cluster.set_remote_root("s3://lake");
    assert!(talk.cluster.move_to_remote(bucket, 8));
    let info = talk.fetch(bucket, 0).remote_log_fetch_info.expect("it was moved");
    assert!(info.remote_log_tablet_dir.starts_with("s3://lake/log/fluss/t-"));
    let id = &info.remote_log_segments[0].remote_log_segment_id;
    let object = format!("{}/{id}/{:020}.log", info.remote_log_tablet_dir, 0);
    talk.cluster.give_keys(Some(Duration::from_secs(10)));
    talk.cluster.add_token_setting("fs.s3a.region", "eu-1");
    let tokens = [0, 1].map(|_| {
        let answer: GetFileSystemSecurityTokenResponse =
            talk.ask(ServerId::Tablet(0), TOKEN, &request);
        assert_eq!(answer.expiration_time, Some(talk.cluster.options().epoch_ms + 10_000));
        assert_eq!((&*answer.schema, answer.addition_info.len()), ("s3", 1));
        answer.token
    });
    assert_ne!(tokens[0], tokens[1]);
    let read = |talk: &mut Talk, token: &Bytes| {
        let token = Arc::new(StorageToken::new("s3", token.clone()));
        let (_, read) = talk.cluster.read_object(&part(&object, 0, 5).token(Some(token)));
        read.map(|bytes| bytes.len()).map_err(|error| error.kind)
    };
    let denied = Err(StorageErrorKind::Denied);
    assert_eq!(read(&mut talk, &Bytes::new()), denied);
    assert_eq!(read(&mut talk, &tokens[0]), Ok(5));
    talk.wait(9_999);
    assert_eq!(read(&mut talk, &tokens[1]), Ok(5));
    talk.wait(1);
    assert_eq!(read(&mut talk, &tokens[1]), denied);
    talk.cluster.give_keys(None);
    let lasting: GetFileSystemSecurityTokenResponse =
        talk.ask(ServerId::Tablet(0), TOKEN, &request);
    assert_eq!(lasting.expiration_time, None);
    talk.wait(1 << 40);
    assert_eq!(read(&mut talk, &lasting.token), Ok(5));
    talk.cluster.revoke_keys();
    assert_eq!(read(&mut talk, &lasting.token), denied);
    assert_eq!(talk.cluster.denied_reads(), 3);
    let keys = talk.cluster.issued_keys("ASIA0000000000000002").expect("the last ones");
    assert!(keys.expired && lasting.token.ends_with(format!("{}\"}}", keys.session).as_bytes()));
    assert_eq!(talk.cluster.issued_keys("ASIA9"), None);
    assert!(talk.cluster.object_bytes(&object).is_some_and(|bytes| bytes.len() > 5));
}
