use bytes::Bytes;

use super::*;

/// A small generator, so that a failing case can be repeated from its seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

fn append_batch(records: u32, payload: &[u8]) -> Vec<u8> {
    let delta = records.saturating_sub(1);
    let payload = Bytes::copy_from_slice(payload);
    let sealed = SealedBatch::log_v0(1, 1, records, delta, payload).expect("a batch");
    [&sealed.stamp(Stamp::NONE)[..], &sealed.payload()].concat()
}

fn at_offset(offset: i64, records: u32) -> Vec<u8> {
    let mut batch = append_batch(records, b"payload");
    write_append_position(&mut batch, offset, 0, 0).expect("a header");
    batch
}

#[test]
fn the_checksum_is_castagnoli() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c_append(crc32c(b"1234"), b"56789"), 0xe306_9283);
}

#[test]
fn combined_checksums_are_those_of_the_whole_for_any_lengths() {
    let seed = 0x5eed_0001;
    let mut numbers = Numbers(seed);
    for round in 0..400 {
        let (left, right) = (numbers.next() % 300, numbers.next() % 5000);
        let left = numbers.bytes(left as usize);
        let right = numbers.bytes(right as usize);
        let whole = crc32c(&[&left[..], &right[..]].concat());
        let operator = AppendZeros::new(right.len() as u64);
        let combined = operator.combine(crc32c(&left), crc32c(&right));
        assert_eq!(combined, whole, "seed {seed:#x}, round {round}");
    }
}

#[test]
fn operators_of_lengths_that_cannot_be_recomputed_multiply_like_powers() {
    let seed = 0x5eed_0002;
    let mut numbers = Numbers(seed);
    for round in 0..200 {
        let (left, right) = (numbers.next() >> 1, numbers.next() >> 1);
        let crc = numbers.next() as u32;
        let both = AppendZeros::new(left + right).combine(crc, 0);
        let after = AppendZeros::new(right).combine(AppendZeros::new(left).combine(crc, 0), 0);
        assert_eq!(both, after, "seed {seed:#x}, round {round}");
    }
    // Multiplication by x^(8·0) leaves everything as it is; the order of x divides 2^31 - 1, the
    // polynomial being (x + 1) times a primitive one of degree 31.
    assert_eq!(AppendZeros::new(0).combine(0x1234_5678, 0), 0x1234_5678);
    assert_eq!(AppendZeros::new((1 << 31) - 1), AppendZeros::new(0));
}

#[test]
fn every_stamp_of_a_batch_has_the_checksum_of_a_recomputation() {
    let seed = 0x5eed_0003;
    let mut numbers = Numbers(seed);
    for len in [1, 2, 7, 8, 63, 64, 1000, 100_000] {
        let payload = Bytes::from(numbers.bytes(len));
        let log_v0 = SealedBatch::log_v0(3, 1, 1, 0, payload.clone()).expect("a batch");
        let fields = LogFields {
            schema_id: 3,
            attributes: 1,
            record_count: 1,
            last_offset_delta: 0,
            statistics_length: Some(1),
        };
        let known = crc32c(&payload);
        let log_v1 = SealedBatch::log_with_crc(fields, payload.clone(), known).expect("a batch");
        let kv = SealedBatch::kv_v0_with_crc(3, 0, 1, payload.clone(), known).expect("a batch");
        for round in 0..20 {
            let stamp = Stamp { writer_id: numbers.next() as i64, sequence: numbers.next() as i32 };
            for sealed in [&log_v0, &log_v1] {
                let wire = [&sealed.stamp(stamp)[..], &sealed.payload()].concat();
                assert_eq!(wire.len(), sealed.size());
                let batch = LogBatch::new_checked(Bytes::from(wire), Check::Crc);
                let found = batch.map(|batch| batch.stamp());
                assert_eq!(found, Ok(stamp), "seed {seed:#x}, {len} bytes, round {round}");
            }
            let wire = [&kv.stamp(stamp)[..], &kv.payload()].concat();
            assert_eq!(wire.len(), kv.size());
            let found = KvBatch::new_checked(Bytes::from(wire), Check::Crc).map(|kv| kv.stamp());
            assert_eq!(found, Ok(stamp), "seed {seed:#x}, {len} bytes, round {round}");
        }
    }
}

#[test]
fn a_payload_in_pieces_makes_the_batch_of_the_whole() {
    let seed = 0x5eed_0007;
    let mut numbers = Numbers(seed);
    let fields = LogFields {
        schema_id: 3,
        attributes: 1,
        record_count: 1,
        last_offset_delta: 0,
        statistics_length: None,
    };
    let stamp = Stamp { writer_id: 7, sequence: 9 };
    for round in 0..50_usize {
        let cut = |numbers: &mut Numbers| {
            let len = numbers.next() as usize % 2000;
            Bytes::from(numbers.bytes(len))
        };
        let pieces: Vec<Bytes> = (0..1 + round % 7).map(|_| cut(&mut numbers)).collect();
        let whole = Bytes::from(pieces.concat());
        let expected = SealedBatch::log(fields, whole.clone()).expect("a batch");
        let payload = Payload::in_pieces(pieces.clone(), round);
        let sealed = SealedBatch::log_in_pieces(fields, payload).expect("a batch");
        assert_eq!(sealed.stamp(stamp), expected.stamp(stamp), "seed {seed:#x}, round {round}");
        assert_eq!((sealed.payload(), sealed.size()), (whole, expected.size()), "round {round}");
        assert_eq!(sealed.memory(), expected.memory() + round);
        let places = |pieces: &[Bytes]| pieces.iter().map(|p| p.as_ptr()).collect::<Vec<_>>();
        assert_eq!(places(sealed.clone().pieces()), places(&pieces), "nothing is copied");
    }
    let none = SealedBatch::log_in_pieces(fields, Payload::in_pieces(Vec::new(), 0));
    assert_eq!(none.map(|none| none.payload()), Ok(Bytes::new()));
    let empty = LogFields { record_count: 0, ..fields };
    let pieces = Payload::in_pieces(vec![Bytes::new(), Bytes::from_static(b"x")], 0);
    let refused = SealedBatch::log_in_pieces(empty, pieces);
    assert!(matches!(refused, Err(RecordError::Misuse(_))), "{refused:?}");
}

#[test]
fn header_sizes_and_checksum_positions_are_those_of_the_format() {
    let sizes = [LOG_V0, LOG_V1, LOG_V2].map(|layout| (layout.header_size, layout.crc.start));
    assert_eq!(sizes, [(48, 21), (52, 21), (56, 25)]);
    assert_eq!(LogVersion::V2.layout(), &LOG_V2);
    assert_eq!(LogVersion::from_magic(3), None);
}

#[test]
fn contradicting_batches_are_refused_before_they_are_sent() {
    let payload = || Bytes::from_static(b"payload");
    let misuse = |result: Result<SealedBatch, RecordError>| match result {
        Err(RecordError::Misuse(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert!(misuse(SealedBatch::log_v0(1, 1, 3, 1, payload())).contains("last_offset_delta"));
    assert!(misuse(SealedBatch::log_v0(1, 1, 0, 0, payload())).contains("without records"));
    let fields = LogFields {
        schema_id: 1,
        attributes: 1,
        record_count: 1,
        last_offset_delta: 0,
        statistics_length: Some(8),
    };
    assert!(misuse(SealedBatch::log(fields, payload())).contains("statistics"));
    let many = SealedBatch::kv_v0(1, 0, 1 << 31, payload());
    assert!(matches!(many, Err(RecordError::TooLarge { value: 0x8000_0000, .. })), "{many:?}");
    assert!(push_kv_record(&mut Vec::new(), b"key", Some(b"")).is_err());

    let types = [ChangeType::Insert];
    let parts = LogBatchParts { change_types: &types, record_count: 2, ..Default::default() };
    assert!(matches!(parts.encode(), Err(RecordError::Misuse(_))));
    let parts = LogBatchParts { statistics: b"s", record_count: 1, ..Default::default() };
    assert!(matches!(parts.encode(), Err(RecordError::Misuse(_))));
}

#[test]
fn a_batch_needs_exactly_its_own_bytes() {
    let whole = append_batch(1, b"row");
    let read = |bytes: &[u8]| LogBatch::new_checked(Bytes::copy_from_slice(bytes), Check::Crc);
    assert!(read(&whole).is_ok());
    for cut in 0..whole.len() {
        let error = read(&whole[..cut]).expect_err("cut");
        assert!(matches!(error, RecordError::Truncated { at: 0, .. }), "{cut}: {error}");
    }
    let longer = [&whole[..], b"xy"].concat();
    let expected = RecordError::TrailingBytes { what: "log batch", at: whole.len(), count: 2 };
    assert_eq!(read(&longer), Err(expected));
}

#[test]
fn offsets_that_would_overflow_are_refused() {
    let read = |offset| LogBatch::new_checked(Bytes::from(at_offset(offset, 3)), Check::Crc);
    assert_eq!(read(i64::MAX - 3).map(|batch| batch.next_offset()), Ok(i64::MAX));
    for offset in [i64::MAX - 2, i64::MAX, -1, i64::MIN] {
        let error = read(offset).expect_err("no next offset");
        assert!(matches!(error, RecordError::OutOfRange { at: 0, value, .. } if value == offset));
    }
}

#[test]
fn a_last_offset_before_the_last_record_is_refused() {
    let mut batch = append_batch(3, b"rows");
    for (delta, fine) in [(-1, false), (0, false), (1, false), (2, true), (9, true)] {
        batch[28..32].copy_from_slice(&i32::to_le_bytes(delta));
        let read = LogBatch::new_checked(Bytes::from(batch.clone()), Check::Structure);
        match read {
            Ok(batch) => assert!(fine && batch.next_offset() == i64::from(delta) + 1),
            Err(error) => {
                assert!(!fine);
                assert!(matches!(error, RecordError::OutOfRange { at: 28, min: 2, .. }), "{error}");
            }
        }
    }
}

#[test]
fn batches_before_the_wanted_offset_are_left_out_and_the_first_may_contain_it() {
    let bytes: Vec<u8> = [at_offset(0, 5), at_offset(5, 5), at_offset(20, 2)].concat();
    let from = |offset| -> Vec<i64> {
        LogBatches::new(Bytes::from(bytes.clone()))
            .starting_at(offset)
            .map(|batch| batch.expect("a batch").base_offset())
            .collect()
    };
    assert_eq!(from(0), [0, 5, 20]);
    assert_eq!(from(4), [0, 5, 20]);
    assert_eq!(from(7), [5, 20]);
    assert_eq!(from(10), [20]);
    assert_eq!(from(22), Vec::<i64>::new());
}

#[test]
fn overlapping_batches_are_an_error_and_end_the_walk() {
    let bytes = Bytes::from([at_offset(0, 5), at_offset(3, 5), at_offset(8, 1)].concat());
    let mut batches = LogBatches::new(bytes.clone()).starting_at(2);
    assert!(matches!(batches.next(), Some(Ok(_))));
    let expected = RecordError::Overlap { at: 55, base_offset: 3, expected: 5 };
    assert_eq!(batches.next(), Some(Err(expected)));
    assert_eq!(batches.next(), None);
    assert_eq!(batches.consumed(), 55);
    // Without a position, what a client sent is read as it is: all its base offsets are zero.
    assert_eq!(LogBatches::new(bytes).filter(Result::is_ok).count(), 3);
}

#[test]
fn a_repeated_batch_is_left_out() {
    let bytes = Bytes::from([at_offset(0, 5), at_offset(0, 5), at_offset(5, 1)].concat());
    let found: Result<Vec<i64>, RecordError> = LogBatches::new(bytes)
        .starting_at(0)
        .map(|batch| batch.map(|batch| batch.base_offset()))
        .collect();
    assert_eq!(found, Ok(vec![0, 5]));
}

#[test]
fn a_fault_in_a_later_batch_is_placed_in_the_whole_answer() {
    let first = append_batch(1, b"row");
    let mut second = append_batch(1, b"row");
    second[49] ^= 1;
    let bytes = Bytes::from([&first[..], &second[..]].concat());
    let mut batches = LogBatches::new(bytes).check(Check::Crc);
    assert!(matches!(batches.next(), Some(Ok(_))));
    let Some(Err(RecordError::Checksum { at, stored, computed, .. })) = batches.next() else {
        panic!("a wrong checksum goes unnoticed");
    };
    assert_eq!(at, first.len());
    assert_ne!(stored, computed);
}

#[test]
fn a_batch_beyond_the_limit_is_an_error_although_it_is_incomplete() {
    let mut bytes = append_batch(1, b"row");
    bytes[8..12].copy_from_slice(&i32::MAX.to_le_bytes());
    let bytes = Bytes::from(bytes);
    assert_eq!(LogBatches::new(bytes.clone()).count(), 0);
    let error = LogBatches::new(bytes).max_batch_size(1 << 20).next().expect("an item");
    let size = i64::from(i32::MAX) + 12;
    assert!(matches!(error, Err(RecordError::OutOfRange { value, .. }) if value == size));
}

#[test]
fn an_incomplete_batch_of_an_unknown_version_is_a_tail_like_any_other() {
    let mut bytes = append_batch(1, b"row");
    bytes[12] = 9;
    let cut = Bytes::copy_from_slice(&bytes[..30]);
    assert_eq!(LogBatches::new(cut).count(), 0);
    let error = LogBatches::new(Bytes::from(bytes)).next().expect("an item");
    assert!(matches!(error, Err(RecordError::UnsupportedVersion { magic: 9, .. })));
}

#[test]
fn a_payload_behind_zero_records_is_ignored() {
    let mut batch = append_batch(1, b"junk");
    batch[44..48].fill(0);
    let batch = LogBatch::new_checked(Bytes::from(batch), Check::Structure).expect("a batch");
    assert!(batch.payload().is_empty());
    assert_eq!(batch.body(), Ok(Bytes::new()));
    assert_eq!(batch.records().count(), 0);
    assert_eq!(batch.next_offset(), 1);
}

#[test]
fn a_claimed_record_count_costs_nothing() {
    let mut batch = append_batch(1, b"junk");
    batch[27] = 0;
    batch[28..32].copy_from_slice(&(i32::MAX - 1).to_le_bytes());
    batch[44..48].copy_from_slice(&i32::MAX.to_le_bytes());
    let batch = LogBatch::new_checked(Bytes::from(batch), Check::Structure).expect("a batch");
    let expected = RecordError::Truncated {
        what: "change types",
        at: 48,
        needed: i32::MAX as u64,
        available: 4,
    };
    assert_eq!(batch.change_types(), Err(expected.clone()));
    assert_eq!(batch.body(), Err(expected));
    assert!(batch.records().size_hint().1.expect("a bound") <= 2);
}

#[test]
fn bytes_after_the_last_record_are_an_error() {
    let mut records = Vec::new();
    push_log_record(&mut records, ChangeType::Delete, b"row").expect("a record");
    records.push(0);
    let batch = Bytes::from(append_batch(1, &records));
    let batch = LogBatch::new_checked(batch, Check::Crc).expect("a batch");
    let found: Vec<_> = batch.records().collect();
    assert!(matches!(&found[0], Ok(record) if record.change_type == ChangeType::Delete));
    let expected = RecordError::TrailingBytes { what: "log record", at: 56, count: 1 };
    assert_eq!(found[1..], [Err(expected)]);
}

#[test]
fn a_record_without_its_change_type_and_one_with_an_unknown_code_are_errors() {
    for (records, at) in [(&[0, 0, 0, 0][..], 48), (&[1, 0, 0, 0, 5][..], 52)] {
        let batch = Bytes::from(append_batch(1, records));
        let batch = LogBatch::new_checked(batch, Check::Crc).expect("a batch");
        let mut found = batch.records();
        let error = found.next().expect("an item").expect_err("a bad record");
        match error {
            RecordError::OutOfRange { at: place, value: 0, min: 1, .. }
            | RecordError::ChangeType { at: place, record: 0, code: 5 } => assert_eq!(place, at),
            other => panic!("{other}"),
        }
        assert_eq!(found.next(), None);
    }
}

#[test]
fn kv_records_with_a_key_beyond_their_end_are_errors() {
    let kv = |records: &[u8]| {
        let sealed = SealedBatch::kv_v0(1, 0, 1, Bytes::copy_from_slice(records)).expect("a batch");
        let wire = [&sealed.stamp(Stamp::NONE)[..], &sealed.payload()].concat();
        let batch = KvBatch::new_checked(Bytes::from(wire), Check::Crc).expect("a batch");
        batch.records().next().expect("an item")
    };
    let error = kv(&[2, 0, 0, 0, 9, 1]).expect_err("a key of nine bytes in one");
    assert!(matches!(error, RecordError::OutOfRange { at: 32, value: 9, max: 1, .. }), "{error}");
    let error = kv(&[1, 0, 0, 0, 0x80]).expect_err("an open number");
    let expected = VarintError::Truncated(1);
    assert!(matches!(error, RecordError::Varint { at: 32, source, .. } if source == expected));
    let empty = kv(&[1, 0, 0, 0, 0]).expect("an empty key is for the server to judge");
    assert_eq!(empty, KvRecord { key: Bytes::new(), row: None });
}

#[test]
fn kv_batches_check_version_size_and_checksum() {
    let mut records = Vec::new();
    let size = push_kv_record(&mut records, &[7; 130], Some(b"row")).expect("a record");
    assert_eq!((size, records.len()), (139, 139));
    assert_eq!(kv_record_size(130, Some(3)), 139);
    let sealed = SealedBatch::kv_v0(1, 0, 1, Bytes::from(records)).expect("a batch");
    let wire = [&sealed.stamp(Stamp::NONE)[..], &sealed.payload()].concat();
    let read = |at: usize, value: u8, check| {
        let mut wire = wire.clone();
        wire[at] = value;
        KvBatch::new_checked(Bytes::from(wire), check)
    };
    assert!(matches!(read(4, 1, Check::Crc), Err(RecordError::UnsupportedVersion { .. })));
    assert!(matches!(read(0, 255, Check::Crc), Err(RecordError::Truncated { .. })));
    assert!(matches!(read(0, 100, Check::Crc), Err(RecordError::TrailingBytes { .. })));
    assert!(matches!(read(0, 3, Check::Crc), Err(RecordError::OutOfRange { .. })));
    assert!(matches!(read(3, 0x80, Check::Crc), Err(RecordError::OutOfRange { .. })));
    assert!(matches!(read(60, 0, Check::Crc), Err(RecordError::Checksum { .. })));
    assert!(read(60, 0, Check::Structure).is_ok());
    assert!(matches!(read(27, 0x80, Check::Structure), Err(RecordError::OutOfRange { .. })));
}

#[test]
fn an_open_record_can_be_given_up() {
    let mut out = b"before".to_vec();
    open_kv_record(&mut out, b"key").expect("a record").abandon(&mut out);
    assert_eq!(out, b"before");
    let open = open_log_record(&mut out, ChangeType::Insert);
    out.clear();
    assert!(matches!(open.finish(&mut out), Err(RecordError::Misuse(_))));
}

#[test]
fn lookup_values_carry_their_schema() {
    let bytes = Bytes::from(encode_value(7, b"row"));
    let value = Value::parse(&bytes).expect("a value");
    assert_eq!(value, Value { schema_id: 7, row: Bytes::from_static(b"row") });
    let error = Value::parse(&bytes.slice(..1)).expect_err("half a schema id");
    assert!(matches!(error, RecordError::Truncated { needed: 2, available: 1, .. }));
}

#[test]
fn leader_epochs_are_written_in_version_2_only_and_leave_checksums_valid() {
    for version in [LogVersion::V0, LogVersion::V1, LogVersion::V2] {
        let parts = LogBatchParts { version, leader_epoch: 4, ..LogBatchParts::default() };
        let mut bytes = parts.encode().expect("a batch");
        write_append_position(&mut bytes, 9, 10, 11).expect("a header");
        let batch = LogBatch::new_checked(Bytes::from(bytes), Check::Crc).expect("a batch");
        assert_eq!((batch.base_offset(), batch.commit_timestamp()), (9, 10));
        assert_eq!(batch.leader_epoch(), (version == LogVersion::V2).then_some(11));
    }
    let error = write_append_position(&mut [0; 20], 0, 0, 0).expect_err("no header");
    assert!(matches!(error, RecordError::OutOfRange { .. }), "{error}");
    let mut cut = append_batch(1, b"row");
    cut.truncate(40);
    let error = write_append_position(&mut cut, 0, 0, 0).expect_err("half a header");
    assert!(matches!(error, RecordError::Truncated { needed: 48, available: 40, .. }), "{error}");
}

#[test]
fn projected_changelogs_keep_their_change_types() {
    let types = [ChangeType::Insert, ChangeType::Delete];
    let parts = LogBatchParts {
        version: LogVersion::V1,
        record_count: 2,
        change_types: &types,
        statistics: b"statistics",
        body: b"all columns",
        ..LogBatchParts::default()
    };
    let whole = Bytes::from(parts.encode().expect("a batch"));
    let whole = LogBatch::new_checked(whole, Check::Crc).expect("a batch");
    let bytes = Bytes::from(with_projected_body(&whole, b"one").expect("a batch"));
    let batch = LogBatch::new_checked(bytes, Check::Structure).expect("a batch");
    assert!(batch.verify_checksum().is_err());
    assert_eq!(batch.body(), Ok(Bytes::from_static(b"one")));
    assert!(batch.statistics().is_empty());
    assert!(batch.change_types().expect("two codes").iter().eq(types));
}

#[test]
fn change_types_of_unknown_index_are_absent() {
    let appends = ChangeTypes::append_only(2);
    assert_eq!((appends.get(1), appends.get(2)), (Some(ChangeType::Append), None));
    let codes = ChangeTypes::checked(Bytes::from_static(&[1, 4]), 48).expect("known codes");
    assert_eq!((codes.get(1), codes.get(2)), (Some(ChangeType::Delete), None));
    assert_eq!(codes.codes(), Some(&[1, 4][..]));
    let symbols: Vec<String> = codes.iter().map(|change| change.to_string()).collect();
    assert_eq!(symbols, ["+I", "-D"]);
}

#[test]
fn variable_length_numbers_round_trip_and_stop_at_their_width() {
    for value in [0, 1, 127, 128, 300, 16_383, 16_384, u32::MAX - 1, u32::MAX] {
        let mut out = Vec::new();
        put_varint32(&mut out, value);
        assert_eq!(out.len(), varint32_len(value));
        assert!(out.len() <= MAX_VARINT32_LEN);
        out.push(0xff);
        assert_eq!(read_varint32(&out), Ok((value, out.len() - 1)));
    }
    for shift in 0..64 {
        let value = u64::MAX >> shift;
        let mut out = Vec::new();
        put_varint64(&mut out, value);
        assert_eq!(out.len(), varint64_len(value));
        assert!(out.len() <= MAX_VARINT64_LEN);
        assert_eq!(read_varint64(&out), Ok((value, out.len())));
        let last = out.len() - 1;
        assert_eq!(read_varint64(&out[..last]), Err(VarintError::Truncated(last)));
    }
    let mut minus_one = Vec::new();
    put_varint32(&mut minus_one, -1_i32 as u32);
    assert_eq!(minus_one, [0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert_eq!(read_varint32(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(VarintError::Overflow(32)));
    assert_eq!(read_varint32(&[0x80, 0x80, 0x80, 0x80, 0x80]), Err(VarintError::Overflow(32)));
    let mut ten = [0xff; 10];
    ten[9] = 2;
    assert_eq!(read_varint64(&ten), Err(VarintError::Overflow(64)));
    assert_eq!(read_varint32(&[0x81, 0x00]), Ok((1, 2)));
}
