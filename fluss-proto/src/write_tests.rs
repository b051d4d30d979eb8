use bytes::Buf;

use super::*;
use crate::message::{
    PbProduceLogReqForBucket, PbPutKvReqForBucket, ProduceLogRequest, PutKvRequest,
};
use crate::record::{LogFields, crc32c};
use crate::request::encode_request;

/// A small generator, so that a failing case can be repeated from its seed.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Numbers of every length, negative ones among them.
    fn long(&mut self) -> i64 {
        let shift = self.below(64);
        (self.next() >> shift) as i64
    }

    fn int(&mut self) -> i32 {
        self.long() as i32
    }

    fn sometimes<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.next().is_multiple_of(2) { Some(make(self)) } else { None }
    }

    fn bucket(&mut self, names: &'static [&'static str], log: bool) -> BucketBatch<'static> {
        let sizes = [0, 1, 60, 100, 127, 128, COPY_UP_TO, COPY_UP_TO + 1, 16_340, 16_350, 70_000];
        let size = sizes[self.below(sizes.len())] + self.below(40);
        let payload: Bytes = (0..size).map(|i| i as u8).collect();
        let sealed = if log {
            SealedBatch::log_v0(1, 1, 1, 0, payload)
        } else {
            SealedBatch::kv_v0(1, 0, 1, payload)
        };
        let stamp = Stamp { writer_id: self.long(), sequence: self.int() };
        let mut bucket = BucketBatch::new(self.int(), &sealed.unwrap(), stamp);
        bucket.partition_id = self.sometimes(Self::long);
        bucket.original_partition_name = self.sometimes(|rng| names[rng.below(names.len())]);
        bucket.routing_bucket_count = self.sometimes(Self::int);
        bucket
    }

    fn buckets(&mut self, log: bool) -> Vec<BucketBatch<'static>> {
        let names = &["", "p", "2024$eu", "a name that is longer than all of the others here"];
        (0..self.below(6)).map(|_| self.bucket(names, log)).collect()
    }
}

fn records(bucket: &BucketBatch<'_>) -> Bytes {
    [&bucket.head[..], &bucket.payload.to_bytes()].concat().into()
}

fn check(wire: Segments, wire_bytes: usize, expected: &Bytes, seed: u64) {
    assert_eq!(wire.remaining(), expected.len(), "seed {seed}");
    assert_eq!(wire_bytes, expected.len(), "seed {seed}");
    assert!(wire.into_bytes() == *expected, "seed {seed}");
}

#[test]
fn produce_log_equals_the_protobuf_encoding() {
    for seed in 0..300 {
        let mut rng = Rng(seed);
        let buckets = rng.buckets(true);
        let (acks, table_id, timeout_ms) = (rng.int(), rng.long(), rng.int());
        let request = ProduceLog { acks, table_id, timeout_ms, buckets: &buckets };
        let message = ProduceLogRequest {
            acks,
            table_id,
            timeout_ms,
            buckets_req: buckets
                .iter()
                .map(|bucket| PbProduceLogReqForBucket {
                    partition_id: bucket.partition_id,
                    bucket_id: bucket.bucket_id,
                    records: records(bucket),
                    original_partition_name: bucket.original_partition_name.map(str::to_owned),
                    routing_bucket_count: bucket.routing_bucket_count,
                })
                .collect(),
        };
        let request_id = rng.int();
        let expected = encode_request(request_id, 1, &message).unwrap();
        check(request.encode(request_id, 1).unwrap(), request.wire_bytes(), &expected, seed);
    }
}

#[test]
fn put_kv_equals_the_protobuf_encoding() {
    for seed in 1000..1300 {
        let mut rng = Rng(seed);
        let buckets = rng.buckets(false);
        let columns: Vec<i32> = (0..rng.below(5)).map(|_| rng.int()).collect();
        let request = PutKv {
            acks: rng.int(),
            table_id: rng.long(),
            timeout_ms: rng.int(),
            target_columns: &columns,
            buckets: &buckets,
            agg_mode: rng.sometimes(Rng::int),
        };
        let message = PutKvRequest {
            acks: request.acks,
            table_id: request.table_id,
            timeout_ms: request.timeout_ms,
            target_columns: columns.clone(),
            agg_mode: request.agg_mode,
            buckets_req: buckets
                .iter()
                .map(|bucket| PbPutKvReqForBucket {
                    partition_id: bucket.partition_id,
                    bucket_id: bucket.bucket_id,
                    records: records(bucket),
                    original_partition_name: bucket.original_partition_name.map(str::to_owned),
                    routing_bucket_count: bucket.routing_bucket_count,
                })
                .collect(),
        };
        let request_id = rng.int();
        let expected = encode_request(request_id, 3, &message).unwrap();
        check(request.encode(request_id, 3).unwrap(), request.wire_bytes(), &expected, seed);
    }
}

fn sealed(size: usize) -> SealedBatch {
    SealedBatch::kv_v0(1, 0, 1, Bytes::from(vec![1; size])).unwrap()
}

fn put(buckets: &[BucketBatch<'_>], version: i16) -> Result<Segments, EncodeError> {
    let put = PutKv {
        acks: -1,
        table_id: 1,
        timeout_ms: 1,
        target_columns: &[],
        buckets,
        agg_mode: None,
    };
    put.encode(0, version)
}

#[test]
fn large_payloads_are_shared_and_small_ones_join_the_rest() {
    let (small, large) = (sealed(COPY_UP_TO), sealed(COPY_UP_TO + 1));
    let buckets =
        [&small, &large, &small, &large].map(|batch| BucketBatch::new(0, batch, Stamp::NONE));
    let wire = put(&buckets, 0).unwrap();
    let address = large.payload().as_ptr();
    let shared: Vec<bool> = wire.iter().map(|part| part.as_ptr() == address).collect();
    assert_eq!(shared, [false, true, false, true]);
    assert_eq!(put(&buckets[..1], 0).unwrap().count(), 1);
}

#[test]
fn each_piece_of_a_payload_is_shared_also_when_it_is_sent_again() {
    let pieces: Vec<Bytes> = [COPY_UP_TO + 1, 8, COPY_UP_TO, 0, 5000, 6000]
        .map(|len| Bytes::from(vec![len as u8; len]))
        .into();
    let fields = LogFields {
        schema_id: 1,
        attributes: 1,
        record_count: 1,
        last_offset_delta: 0,
        statistics_length: None,
    };
    let payload = Payload::in_pieces(pieces.clone(), 0);
    let sealed = SealedBatch::log_in_pieces(fields, payload).unwrap();
    let whole = SealedBatch::log(fields, sealed.payload()).unwrap();
    let encode = |batch: &SealedBatch| {
        let buckets = [BucketBatch::new(0, batch, Stamp::NONE)];
        let request = ProduceLog { acks: -1, table_id: 1, timeout_ms: 1, buckets: &buckets };
        request.encode(0, 1).unwrap()
    };
    for _ in 0..2 {
        let wire = encode(&sealed);
        assert_eq!(wire, encode(&whole));
        // What is before each of the large ones, and two that lie side by side.
        assert_eq!(wire.count(), 1 + 1 + 1 + 2);
        for large in [0, 4, 5] {
            let address = pieces[large].as_ptr();
            assert!(wire.iter().any(|part| part.as_ptr() == address), "piece {large}");
        }
    }
}

#[test]
fn rows_of_a_historical_partition_need_a_server_that_keeps_them_apart() {
    let mut bucket = BucketBatch::new(0, &sealed(1), Stamp::NONE);
    bucket.original_partition_name = Some("2020");
    let error = put(std::slice::from_ref(&bucket), 2).unwrap_err();
    let expected = EncodeError::NeedsVersion {
        api: ApiKey::PutKv,
        field: "original_partition_name",
        needed: 3,
        version: 2,
    };
    assert_eq!(error, expected);
    assert!(put(std::slice::from_ref(&bucket), 3).is_ok());

    let log = SealedBatch::log_v0(1, 1, 1, 0, Bytes::from_static(b"x")).unwrap();
    let mut bucket = BucketBatch::new(0, &log, Stamp::NONE);
    bucket.original_partition_name = Some("2020");
    let request =
        ProduceLog { acks: -1, table_id: 1, timeout_ms: 1, buckets: std::slice::from_ref(&bucket) };
    assert!(matches!(request.encode(0, 0), Err(EncodeError::NeedsVersion { needed: 1, .. })));
    assert!(request.encode(0, 1).is_ok());
}

#[test]
fn a_request_beyond_the_protocol_is_refused_before_it_is_built() {
    // The same payload many times: more than 2 GiB on the wire, 16 MiB in memory.
    let large = sealed(16 << 20);
    let buckets = vec![BucketBatch::new(0, &large, Stamp::NONE); 128];
    assert!(matches!(put(&buckets, 0), Err(EncodeError::TooLong { .. })));
    assert_eq!(put(&buckets[..127], 0).unwrap().count(), 2 * 127);
}

#[test]
fn a_payload_goes_by_reference_and_is_not_read_when_its_batch_is_stamped() {
    let payload = Bytes::from(vec![7; 2 << 20]);
    let (attributes, record_count, last_offset_delta) = (1, 3, 2);
    let fields = LogFields {
        schema_id: 1,
        attributes,
        record_count,
        last_offset_delta,
        statistics_length: None,
    };
    for log in [true, false] {
        // The checksum of the payload is taken on trust. One that is wrong shows: were the payload
        // read for the stamp, the batch would have the right one.
        let sealed = |crc| {
            let payload = payload.clone();
            if log {
                SealedBatch::log_with_crc(fields, payload, crc).unwrap()
            } else {
                SealedBatch::kv_v0_with_crc(1, 0, 1, payload, crc).unwrap()
            }
        };
        let stamp = Stamp { writer_id: 1, sequence: 2 };
        let (right, wrong) = (sealed(crc32c(&payload)), sealed(!crc32c(&payload)));
        assert_ne!(right.stamp(stamp)[..], wrong.stamp(stamp)[..], "log: {log}");

        let buckets = [BucketBatch::new(0, &wrong, stamp)];
        let (acks, table_id, timeout_ms) = (-1, 1, 1_000);
        let wire = if log {
            ProduceLog { acks, table_id, timeout_ms, buckets: &buckets }.encode(1, 1)
        } else {
            let (target_columns, agg_mode) = (&[][..], None);
            let buckets = &buckets[..];
            PutKv { acks, table_id, timeout_ms, target_columns, buckets, agg_mode }.encode(1, 1)
        };
        let wire = wire.unwrap();
        let mut slices = [std::io::IoSlice::new(&[]); 8];
        let used = wire.chunks_vectored(&mut slices);
        let same = slices[..used].iter().any(|slice| slice.as_ptr() == payload.as_ptr());
        assert!(same, "log: {log}: the payload was copied");
    }
}
