use super::*;
use fluss_proto::record::{Check, LogBatches};

#[test]
fn writer_ids_start_at_zero_and_differ() {
    let mut talk = Talk::new(ClusterOptions::default());
    for expected in 0..3 {
        let server = ServerId::Tablet(expected as i32);
        let answer: InitWriterResponse =
            talk.ask(server, key::INIT_WRITER, &InitWriterRequest::default());
        assert_eq!(answer.writer_id, expected);
    }
}

#[test]
fn sequences_follow_and_duplicates_get_the_offsets_of_the_first_copy() {
    let mut talk = Talk::new(ClusterOptions::default());
    let bucket = talk.log_table();
    assert_eq!(talk.offset(bucket, (5, 1)), Err(31), "an unknown writer begins at 0");
    for sequence in 0..8 {
        assert_eq!(talk.offset(bucket, (5, sequence)), Ok(i64::from(sequence) * 2));
    }
    for sequence in 3..8 {
        assert_eq!(talk.offset(bucket, (5, sequence)), Ok(i64::from(sequence) * 2), "again");
    }
    assert_eq!(talk.offset(bucket, (5, 2)), Err(31), "older than the last five");
    assert_eq!(talk.offset(bucket, (5, 9)), Err(31), "a gap");
    assert_eq!(talk.offset(bucket, (5, -1)), Err(31));
    assert_eq!(talk.offset(bucket, (-1, -1)), Ok(16), "no stamp, no check");
    let truth = talk.cluster.truth(bucket).expect("the bucket");
    assert_eq!((truth.log_end, truth.rows, truth.duplicates), (18, 18, 5));
}

#[test]
fn what_was_appended_is_read_back_with_offset_and_timestamp() {
    let mut talk = Talk::new(ClusterOptions::default());
    let bucket = talk.log_table();
    talk.wait(5);
    talk.produce(bucket, (1, 0));
    talk.produce(bucket, (1, 1));
    let read = talk.fetch(bucket, 1);
    assert_eq!((read.error_code, read.high_watermark), (None, Some(4)));
    let records = read.records.expect("records");
    let batches: Vec<_> = LogBatches::new(records).check(Check::Crc).map(Result::unwrap).collect();
    assert_eq!(batches.len(), 2);
    assert_eq!(batches[0].base_offset(), 0, "the batch that holds offset 1");
    assert_eq!((batches[1].base_offset(), batches[1].next_offset()), (2, 4));
    assert_eq!(batches[1].commit_timestamp(), talk.cluster.options().epoch_ms + 5);
    assert_eq!(talk.fetch(bucket, 4).records, Some(Bytes::new()), "at the end: empty, no error");
    assert_eq!(talk.fetch(bucket, 5).error_code, Some(19));
    let rows = talk.cluster.rows(bucket).expect("rows that decode");
    let seen: Vec<_> =
        rows.iter().map(|row| (row.offset, row.values.datum(0).and_then(|d| d.as_i32()))).collect();
    assert_eq!(seen, [(0, Some(0)), (1, Some(1)), (2, Some(0)), (3, Some(1))]);
    assert_eq!(rows[3].values.datum(1).and_then(|datum| datum.as_str()), Some("row"));
    assert_eq!(talk.fetch(bucket, -2).records.map(|r| r.len()), Some(batches[0].size() * 2));
}

#[test]
fn only_the_first_batch_is_whole_when_bytes_run_out() {
    let mut talk = Talk::new(ClusterOptions::default());
    let bucket = talk.log_table();
    (0..3).for_each(|sequence| drop(talk.produce(bucket, (1, sequence))));
    let size = batch((1, 0), 2).len();
    let leader = talk.leader(bucket);
    for (max, expected) in [(1, size), (size as i32 + 10, size + 10), (1 << 20, size * 3)] {
        let request = fetch_request(bucket, 0, max);
        let answer: FetchLogResponse = talk.ask(leader, key::FETCH_LOG, &request);
        let records = answer.tables_resp[0].buckets_resp[0].records.clone();
        assert_eq!(records.map(|r| r.len()), Some(expected), "max_bytes {max}");
    }
}

#[test]
fn a_fetch_waits_until_there_is_something_or_its_time_is_up() {
    let mut talk = Talk::new(ClusterOptions::default());
    let bucket = talk.log_table();
    let leader = talk.leader(bucket);
    let mut request = fetch_request(bucket, 0, 1 << 20);
    request.min_bytes = Some(1);
    request.max_wait_ms = Some(500);
    let waiting = talk.send(leader, key::FETCH_LOG, 0, &request.encode_to_vec());
    assert_eq!(talk.take(leader), None);
    let produce = produce_request(bucket, -1, vec![batch((1, 0), 2)]);
    talk.send(leader, key::PRODUCE_LOG, 0, &produce.encode_to_vec());
    let first = talk.take(leader);
    assert!(matches!(first, Some(Got::Answer(id, _)) if id == waiting), "{first:?}");
    assert!(talk.take(leader).is_some(), "the write's answer");
    request.tables_req[0].buckets_req[0].fetch_offset = 2;
    talk.send(leader, key::FETCH_LOG, 0, &request.encode_to_vec());
    talk.wait(499);
    assert_eq!(talk.take(leader), None);
    talk.wait(1);
    assert!(talk.take(leader).is_some(), "empty after 500 ms");
    assert_eq!(talk.cluster.poll_timeout(), None, "nothing waits any more");
}

#[test]
fn a_server_that_does_not_lead_says_12_and_a_wrong_bucket_21() {
    let mut talk = Talk::new(ClusterOptions::default());
    let bucket = talk.log_table();
    let leader = talk.leader(bucket);
    let other = talk.cluster.servers().find(|s| *s != leader && *s != ServerId::Coordinator);
    let other = other.expect("three servers");
    let request = produce_request(bucket, -1, vec![batch((1, 0), 1)]);
    let answer: ProduceLogResponse = talk.ask(other, key::PRODUCE_LOG, &request);
    assert_eq!(answer.buckets_resp[0].error_code, Some(12));
    assert_eq!(answer.buckets_resp[0].base_offset, None);
    let answer: FetchLogResponse = talk.ask(other, key::FETCH_LOG, &fetch_request(bucket, 0, 1000));
    assert_eq!(answer.tables_resp[0].buckets_resp[0].error_code, Some(12));
    for wrong in [
        BucketKey { bucket: 1, ..bucket },
        BucketKey { table: TableId(99), ..bucket },
        BucketKey { partition: Some(crate::ids::PartitionId(0)), ..bucket },
    ] {
        let request = produce_request(wrong, -1, vec![batch((1, 0), 1)]);
        let answer: ProduceLogResponse = talk.ask(leader, key::PRODUCE_LOG, &request);
        assert_eq!(answer.buckets_resp[0].error_code, Some(21), "{wrong}");
    }
}

#[test]
fn a_damaged_batch_is_14_or_nothing_and_wrong_acks_are_18() {
    let mut talk = Talk::new(ClusterOptions::default());
    let bucket = talk.log_table();
    let leader = talk.leader(bucket);
    let good = batch((1, 0), 1).to_vec();
    // Content, sign of the length, a longer length, a magic not offered, one that does not exist.
    let cases = [
        (60, 0x40, Some(14)),
        (11, 0x80, Some(14)),
        (9, 0x40, None),
        (12, 1, Some(14)),
        (12, 0x40, Some(-1)),
    ];
    for (at, flip, code) in cases {
        let mut bad = good.clone();
        bad[at] ^= flip;
        let request = produce_request(bucket, -1, vec![bad.into()]);
        let answer: ProduceLogResponse = talk.ask(leader, key::PRODUCE_LOG, &request);
        assert_eq!(answer.buckets_resp[0].error_code, code, "byte {at}");
        let offset = answer.buckets_resp[0].base_offset;
        assert_eq!(offset, code.is_none().then_some(-1), "byte {at}");
    }
    let request = produce_request(bucket, 2, vec![good.into()]);
    assert_eq!(talk.refused(leader, key::PRODUCE_LOG, &request), 18);
}

#[test]
fn of_two_entries_for_a_bucket_the_last_one_counts() {
    let mut talk = Talk::new(ClusterOptions::default());
    let bucket = talk.log_table();
    let leader = talk.leader(bucket);
    let request = produce_request(bucket, -1, vec![batch((1, 0), 1), batch((2, 0), 3)]);
    let answer: ProduceLogResponse = talk.ask(leader, key::PRODUCE_LOG, &request);
    assert_eq!(answer.buckets_resp.len(), 1);
    assert_eq!(talk.cluster.truth(bucket).expect("bucket").log_end, 3);
}

#[test]
fn one_duplicate_swallows_the_whole_entry() {
    let mut talk = Talk::new(ClusterOptions::default());
    let bucket = talk.log_table();
    let leader = talk.leader(bucket);
    assert_eq!(talk.offset(bucket, (1, 0)), Ok(0));
    let both = [batch((1, 0), 2), batch((1, 1), 2)].concat();
    let request = produce_request(bucket, -1, vec![both.into()]);
    let answer: ProduceLogResponse = talk.ask(leader, key::PRODUCE_LOG, &request);
    assert_eq!(answer.buckets_resp[0].base_offset, Some(0));
    assert_eq!(talk.cluster.truth(bucket).expect("bucket").log_end, 2);
}

#[test]
fn acks_all_waits_for_the_high_watermark_and_others_do_not() {
    let delay = std::time::Duration::from_millis(10);
    let options = ClusterOptions { replication_delay: delay, ..ClusterOptions::default() };
    let mut talk = Talk::new(options);
    let bucket = talk.log_table();
    let leader = talk.leader(bucket);
    let all = produce_request(bucket, -1, vec![batch((1, 0), 1)]);
    talk.send(leader, key::PRODUCE_LOG, 0, &all.encode_to_vec());
    assert_eq!(talk.take(leader), None);
    assert_eq!(talk.fetch(bucket, 0).records, Some(Bytes::new()), "not visible yet");
    let one = produce_request(bucket, 1, vec![batch((-1, -1), 1)]);
    let _: ProduceLogResponse = talk.ask(leader, key::PRODUCE_LOG, &one);
    talk.wait(10);
    assert!(talk.take(leader).is_some());
    assert_eq!(talk.fetch(bucket, 0).high_watermark, Some(2));
}

#[test]
fn too_few_in_sync_replicas_mean_29_before_and_25_or_28_after_the_append() {
    let delay = std::time::Duration::from_millis(10);
    let options = ClusterOptions {
        replication: 3,
        min_in_sync: 2,
        replication_delay: delay,
        ..ClusterOptions::default()
    };
    let mut talk = Talk::new(options);
    let bucket = talk.log_table();
    let leader = talk.leader(bucket);
    let mut request = produce_request(bucket, -1, vec![batch((1, 0), 1)]);
    request.timeout_ms = 100;
    talk.send(leader, key::PRODUCE_LOG, 0, &request.encode_to_vec());
    talk.cluster.set_in_sync(bucket, 1);
    talk.wait(100);
    let Some(Got::Answer(_, body)) = talk.take(leader) else { panic!("no answer") };
    let answer = ProduceLogResponse::decode(body).expect("an answer");
    assert_eq!(answer.buckets_resp[0].error_code, Some(25));
    assert_eq!(talk.offset(bucket, (1, 1)), Err(29));
    assert_eq!(talk.cluster.truth(bucket).map(|t| (t.log_end, t.high_watermark)), Some((1, 0)));
    talk.cluster.set_in_sync(bucket, 2);
    assert_eq!(talk.offset(bucket, (1, 0)), Ok(0), "the timed-out write is a duplicate now");
}

#[test]
fn one_answer_for_all_buckets_when_the_slowest_is_done() {
    let delay = std::time::Duration::from_millis(10);
    let options =
        ClusterOptions { replication_delay: delay, tablet_servers: 1, ..ClusterOptions::default() };
    let mut talk = Talk::new(options);
    let table = talk.create("two", &descriptor(&[], 2, "{}"));
    let bucket = |bucket| BucketKey { table, partition: None, bucket };
    let mut request = produce_request(bucket(0), -1, vec![batch((1, 0), 1)]);
    request.buckets_req.extend(produce_request(bucket(1), -1, vec![batch((1, 4), 1)]).buckets_req);
    let server = ServerId::Tablet(0);
    talk.send(server, key::PRODUCE_LOG, 0, &request.encode_to_vec());
    assert_eq!(talk.take(server), None, "the refused bucket waits with the other one");
    talk.wait(10);
    let Some(Got::Answer(_, body)) = talk.take(server) else { panic!("no answer") };
    let answer = ProduceLogResponse::decode(body).expect("an answer");
    let codes: Vec<_> = answer.buckets_resp.iter().map(|b| b.error_code).collect();
    assert_eq!(codes, [None, Some(31)]);
}

#[test]
fn offsets_are_listed_by_every_server() {
    let mut talk = Talk::new(ClusterOptions::default());
    let bucket = talk.log_table();
    talk.wait(100);
    talk.produce(bucket, (1, 0));
    talk.wait(100);
    let epoch = talk.cluster.options().epoch_ms;
    let list = |offset_type, start_timestamp| ListOffsetsRequest {
        follower_server_id: -1,
        offset_type,
        table_id: bucket.table.0,
        partition_id: None,
        bucket_id: vec![0, 0, 7],
        start_timestamp,
        routing_bucket_count: None,
    };
    for (kind, time, expected) in [
        (0, None, Ok(0)),
        (1, None, Ok(2)),
        (2, Some(epoch), Ok(0)),
        (2, Some(epoch + 101), Ok(2)),
        (2, Some(epoch + 201), Err(38)),
        (2, None, Err(-1)),
    ] {
        for server in 0..3 {
            let answer: ListOffsetsResponse =
                talk.ask(ServerId::Tablet(server), key::LIST_OFFSETS, &list(kind, time));
            let [own, wrong] = &answer.buckets_resp[..] else { panic!("{answer:?}") };
            assert_eq!(wrong.error_code, Some(21));
            assert_eq!(own.error_code.map_or(own.offset.ok_or(0), Err), expected);
        }
    }
}

#[test]
fn a_projected_batch_keeps_its_checksum_and_loses_columns() {
    let mut talk = Talk::new(ClusterOptions::default());
    let none = r#"{"table.log.arrow.compression.type":"NONE"}"#;
    let table = talk.create("t", &descriptor(&[], 1, none));
    let bucket = BucketKey { table, partition: None, bucket: 0 };
    talk.produce(bucket, (1, 0));
    let leader = talk.leader(bucket);
    let whole = talk.fetch(bucket, 0).records.expect("records");
    let mut request = fetch_request(bucket, 0, 1 << 20);
    request.tables_req[0].projection_pushdown_enabled = true;
    let mut ask = |fields: &[i32]| {
        request.tables_req[0].projected_fields = fields.to_vec();
        let answer: FetchLogResponse = talk.ask(leader, key::FETCH_LOG, &request);
        answer.tables_resp[0].buckets_resp[0].clone()
    };
    let both = ask(&[0, 1]).records.expect("records");
    assert_eq!(both[48..], whole[48..], "all columns: the same message");
    let first = ask(&[0]).records.expect("records");
    assert!(first.len() < whole.len());
    assert_eq!(first[12..48], whole[12..48], "the header, checksum included");
    let length = i32::from_le_bytes(first[8..12].try_into().expect("four bytes"));
    assert_eq!(length as usize, first.len() - 12);
    for bad in [&[1, 0][..], &[0, 0], &[2], &[-1]] {
        assert_eq!(ask(bad).error_code, Some(34), "{bad:?}");
    }
    assert_eq!(ask(&[]).error_code, Some(-1), "0.9 has no code for an empty projection");
}

#[test]
fn ack_only_counts_and_keeps_nothing() {
    let options = ClusterOptions { ack_only: true, ..ClusterOptions::default() };
    let mut talk = Talk::new(options);
    let bucket = talk.log_table();
    for sequence in 0..10 {
        assert_eq!(talk.offset(bucket, (1, sequence)), Ok(i64::from(sequence) * 2));
    }
    assert_eq!(talk.offset(bucket, (1, 9)), Ok(18), "duplicates are still duplicates");
    assert_eq!(talk.cluster.rows_appended(), 20);
    assert_eq!(talk.cluster.log(bucket).count(), 0);
}
