use super::*;
use std::time::Duration;

/// Three servers with a replica each, two of which have to be in sync, and a log table.
fn replicated(replica_timeout: Duration) -> (Talk, BucketKey, ServerId) {
    let options = ClusterOptions {
        replication: 3,
        min_in_sync: 2,
        replica_timeout: Some(replica_timeout),
        ..Default::default()
    };
    let mut talk = Talk::new(options);
    let bucket = talk.log_table();
    let leader = talk.leader(bucket);
    (talk, bucket, leader)
}

fn followers(talk: &Talk, leader: ServerId) -> Vec<ServerId> {
    let all = talk.cluster.servers();
    all.filter(|id| *id != leader && *id != ServerId::Coordinator).collect()
}

/// The code of an append with acks -1 that may take 100 ms.
fn brief(talk: &mut Talk, bucket: BucketKey, sequence: i32) -> Option<i32> {
    let mut request = produce_request(bucket, -1, vec![batch((1, sequence), 1)]);
    request.timeout_ms = 100;
    let leader = talk.leader(bucket);
    talk.send(leader, key::PRODUCE_LOG, 0, &request.encode_to_vec());
    talk.wait(100);
    let Some(Got::Answer(_, body)) = talk.take(leader) else { panic!("no answer") };
    ProduceLogResponse::decode(body).expect("an answer").buckets_resp[0].error_code
}

fn ends(talk: &Talk, bucket: BucketKey) -> (i64, i64) {
    let truth = talk.cluster.truth(bucket).expect("the bucket");
    (truth.high_watermark, truth.log_end)
}

#[test]
fn a_dead_follower_stops_the_high_watermark_as_long_as_it_counts_as_in_sync() {
    let (mut talk, bucket, leader) = replicated(Duration::from_secs(4));
    let followers = followers(&talk, leader);
    talk.cluster.stop(followers[0]);
    assert_eq!(brief(&mut talk, bucket, 0), Some(25));
    assert_eq!(ends(&talk, bucket), (0, 1));
    talk.wait(3_900);
    assert_eq!(ends(&talk, bucket), (1, 1), "two are left, and both have it");
    assert_eq!(talk.offset(bucket, (1, 0)), Ok(0), "the write that timed out is a duplicate");
    talk.cluster.stop(followers[1]);
    assert_eq!(brief(&mut talk, bucket, 1), Some(25));
    talk.wait(4_000);
    assert_eq!(talk.offset(bucket, (1, 2)), Err(29), "nobody is left but the leader");
    assert_eq!(ends(&talk, bucket), (1, 2));
    talk.cluster.start(followers[0]);
    assert_eq!(ends(&talk, bucket), (2, 2));
    assert_eq!(talk.offset(bucket, (1, 1)), Ok(1));
}

#[test]
fn a_follower_that_is_back_in_time_stays_in_sync() {
    let (mut talk, bucket, leader) = replicated(Duration::from_secs(4));
    let ServerId::Tablet(follower) = followers(&talk, leader)[0] else { panic!("no follower") };
    talk.cluster.stop_following(follower);
    talk.wait(3_000);
    talk.cluster.follow_again(follower);
    talk.cluster.stop_following(follower);
    talk.wait(3_000);
    assert_eq!(brief(&mut talk, bucket, 0), Some(25), "the second absence is no longer than 4 s");
    assert!(talk.cluster.is_up(ServerId::Tablet(follower)));
    talk.cluster.follow_again(follower);
    assert_eq!(ends(&talk, bucket), (1, 1));
}

#[test]
fn a_follower_that_is_in_sync_takes_over() {
    let (mut talk, bucket, leader) = replicated(Duration::ZERO);
    let followers = followers(&talk, leader);
    assert_eq!(talk.offset(bucket, (1, 0)), Ok(0));
    talk.cluster.stop(followers[0]);
    talk.cluster.stop(leader);
    assert_eq!(talk.cluster.move_leader(bucket, None).map(ServerId::Tablet), Some(followers[1]));
    assert_eq!(talk.offset(bucket, (1, 1)), Err(29), "it is alone");
    talk.cluster.start(leader);
    assert_eq!(talk.offset(bucket, (1, 1)), Ok(2));
    assert_eq!(talk.offset(bucket, (1, 0)), Ok(0));
}

#[test]
fn lookups_see_rows_below_the_high_watermark() {
    let (mut talk, _, _) = replicated(Duration::from_secs(4));
    let table = talk.create("kv", &descriptor(&["a"], 1, "{}"));
    let bucket = BucketKey { table, partition: None, bucket: 0 };
    let leader = talk.leader(bucket);
    for follower in followers(&talk, leader) {
        talk.cluster.stop_following(write::tablet(follower));
    }
    let row = compacted_row(1, "one");
    let mut body = Vec::new();
    fluss_proto::record::push_kv_record(&mut body, b"key", Some(&row)).expect("a record");
    let sealed = fluss_proto::record::SealedBatch::kv_v0(1, 0, 1, body.into()).expect("a batch");
    let head = sealed.stamp(Stamp { writer_id: 1, sequence: 0 });
    let records = [head.as_ref(), &sealed.payload()].concat().into();
    let entry = PbPutKvReqForBucket { bucket_id: 0, records, ..Default::default() };
    let put = PutKvRequest {
        acks: 1,
        table_id: table.0,
        timeout_ms: 1000,
        buckets_req: vec![entry],
        ..Default::default()
    };
    let answer: PutKvResponse = talk.ask(leader, key::PUT_KV, &put);
    assert_eq!(answer.buckets_resp[0].log_end_offset, Some(1));
    let keys = vec![Bytes::from_static(b"key")];
    let entry = PbLookupReqForBucket { bucket_id: 0, keys, ..Default::default() };
    let lookup =
        LookupRequest { table_id: table.0, buckets_req: vec![entry], ..Default::default() };
    let found = |talk: &mut Talk| {
        let answer: LookupResponse = talk.ask(leader, key::LOOKUP, &lookup);
        answer.buckets_resp[0].values[0].values.is_some()
    };
    assert!(!found(&mut talk), "no follower has it");
    for follower in followers(&talk, leader) {
        talk.cluster.follow_again(write::tablet(follower));
    }
    assert!(found(&mut talk));
}

fn compacted_row(a: i32, b: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let layout = crate::row::RowLayout::new(&schema());
    crate::row::compacted::encode(&layout, &crate::row![a, b], &mut bytes).expect("a row");
    bytes
}
