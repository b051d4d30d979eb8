//! SCAN_KV as servers of the 1.0 line have it.

use std::time::Duration;

use fluss_proto::record::ValueBatch;

use super::kv::Kv;
use super::*;
use crate::ids::BucketKey;

struct Scan {
    kv: Kv,
    leader: ServerId,
}

impl Scan {
    /// A bucket with so many rows.
    fn of(rows: i32) -> Self {
        let options = ClusterOptions { release: Release::V1_0, ..ClusterOptions::default() };
        let mut kv = Kv::with(options, "{}");
        for (sequence, a) in (0..rows).enumerate() {
            kv.put((1, sequence as i32), &[(a, Some(Some("x")))]).expect("written");
        }
        let leader = kv.talk.leader(kv.bucket);
        Self { kv, leader }
    }

    fn ask(&mut self, request: &ScanKvRequest) -> ScanKvResponse {
        self.kv.talk.ask(self.leader, key::SCAN_KV, request)
    }

    fn open(&mut self, size: i32, limit: Option<i64>) -> ScanKvResponse {
        let request = self.opening(size, limit);
        self.ask(&request)
    }

    fn opening(&self, size: i32, limit: Option<i64>) -> ScanKvRequest {
        ScanKvRequest {
            bucket_scan_req: Some(PbScanReqForBucket {
                table_id: self.kv.bucket.table.0,
                limit,
                ..PbScanReqForBucket::default()
            }),
            call_seq_id: Some(0),
            batch_size_bytes: Some(size),
            ..ScanKvRequest::default()
        }
    }

    fn next(&mut self, id: &Bytes, call: i32) -> ScanKvResponse {
        self.ask(&ScanKvRequest {
            scanner_id: Some(id.clone()),
            call_seq_id: Some(call),
            batch_size_bytes: Some(1),
            ..ScanKvRequest::default()
        })
    }

    fn close(&mut self, id: &Bytes) -> ScanKvResponse {
        self.ask(&ScanKvRequest {
            scanner_id: Some(id.clone()),
            close_scanner: Some(true),
            ..ScanKvRequest::default()
        })
    }
}

fn rows(answer: &ScanKvResponse) -> usize {
    assert_eq!(answer.error_code, None);
    let records = answer.records.clone().unwrap_or_default();
    if records.is_empty() {
        return 0;
    }
    let batch = ValueBatch::new_checked(records).expect("a batch");
    batch.values().filter(|value| value.as_ref().is_ok()).count()
}

#[test]
fn rows_come_piece_by_piece_as_of_one_moment() {
    let mut scan = Scan::of(3);
    let first = scan.open(1, None);
    let id = first.scanner_id.clone().expect("a session");
    assert_eq!((rows(&first), first.has_more_results), (1, Some(true)));
    assert_eq!(first.log_offset, Some(3));
    scan.kv.put((1, 3), &[(9, Some(Some("later")))]).expect("written");
    let second = scan.next(&id, 1);
    assert_eq!((rows(&second), second.has_more_results, second.log_offset), (1, Some(true), None));
    let third = scan.next(&id, 2);
    assert_eq!((rows(&third), third.has_more_results), (1, Some(false)));
    assert_eq!(scan.next(&id, 3).error_code, Some(67), "it ended by itself");
    let all = scan.open(1 << 20, None);
    assert_eq!((rows(&all), all.has_more_results, all.log_offset), (4, Some(false), Some(4)));
    let some = scan.open(1 << 20, Some(2));
    assert_eq!((rows(&some), some.has_more_results), (2, Some(false)));
    let mut empty = Scan::of(0);
    let answer = empty.open(1, None);
    assert_eq!((rows(&answer), answer.has_more_results), (0, Some(false)));
    assert_eq!((answer.scanner_id, answer.log_offset), (None, Some(0)));
}

#[test]
fn any_error_ends_a_session() {
    let mut scan = Scan::of(5);
    let open = |scan: &mut Scan| scan.open(1, None).scanner_id.expect("a session");
    let id = open(&mut scan);
    assert_eq!(scan.next(&id, 2).error_code, Some(68), "a wrong number");
    assert_eq!(scan.next(&id, 1).error_code, Some(67));
    let id = open(&mut scan);
    scan.kv.talk.wait(600_000);
    assert_eq!(scan.next(&id, 1).error_code, Some(66));
    assert_eq!(scan.next(&id, 1).error_code, Some(67));
    let id = open(&mut scan);
    assert_eq!(scan.close(&id).error_code, None);
    assert_eq!(scan.close(&id).error_code, None, "of an unknown session");
    assert_eq!(scan.next(&id, 1).error_code, Some(67));
    let id = open(&mut scan);
    let bucket = scan.kv.bucket;
    scan.kv.talk.cluster.move_leader(bucket, None).expect("another one");
    assert_eq!(scan.next(&id, 1).error_code, Some(12));
    assert_eq!(scan.open(1, None).error_code, Some(12));
    assert_eq!(scan.kv.talk.cluster.scan_sessions(), 0);
}

#[test]
fn what_cannot_be_scanned_is_told_in_the_body() {
    let mut scan = Scan::of(3);
    for _ in 0..8 {
        assert_eq!(rows(&scan.open(1, None)), 1);
    }
    assert_eq!(scan.open(1, None).error_code, Some(69));
    scan.kv.talk.wait(600_000);
    assert_eq!(rows(&scan.open(1, None)), 1, "sessions expire");
    let mut request = scan.opening(1, None);
    request.call_seq_id = Some(1);
    assert_eq!(scan.ask(&request).error_code, Some(68));
    assert_eq!(scan.ask(&scan.opening(0, None)).error_code, Some(68));
    assert_eq!(scan.ask(&ScanKvRequest::default()).error_code, Some(68));
    let mut both = scan.opening(1, None);
    both.scanner_id = Some(Bytes::from_static(b"x"));
    assert_eq!(scan.ask(&both).error_code, Some(68));
    let mut strange = scan.opening(1, None);
    strange.bucket_scan_req.get_or_insert_default().bucket_id = 7;
    assert_eq!(scan.ask(&strange).error_code, Some(21));
    let table = scan.kv.talk.create("l", &descriptor(&[], 1, "{}"));
    let log = BucketKey { table, partition: None, bucket: 0 };
    let leader = scan.kv.talk.leader(log);
    let mut of_log = scan.opening(1, None);
    of_log.bucket_scan_req.get_or_insert_default().table_id = table.0;
    let answer: ScanKvResponse = scan.kv.talk.ask(leader, key::SCAN_KV, &of_log);
    assert_eq!(answer.error_code, Some(20));
}

#[test]
fn a_server_that_restarts_forgets_its_sessions_and_older_ones_have_none() {
    let mut scan = Scan::of(3);
    let id = scan.open(1, None).scanner_id.expect("a session");
    scan.kv.talk.cluster.restart(scan.leader, true);
    assert_eq!(scan.next(&id, 1).error_code, Some(67));
    let mut old = Kv::new("{}");
    old.put((1, 0), &[(1, Some(Some("x")))]).expect("written");
    let leader = old.talk.leader(old.bucket);
    let request = scan.opening(1, None);
    old.talk.send(leader, key::SCAN_KV, 0, &request.encode_to_vec());
    assert_eq!(old.talk.take(leader), None, "dropped without an answer");
    assert_eq!(ClusterOptions::default().scan_ttl, Duration::from_secs(600));
}
