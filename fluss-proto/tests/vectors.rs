//! Byte vectors of the record formats, from `tests/vectors`: what must be read, what must be
//! written, and what must be refused.
//!
//! This crate knows headers, checksums and record boundaries. Files whose point lies deeper, in
//! Arrow messages, rows or statistics, are checked by the crate that decodes those; each file is in
//! one of the tables below, or in both when its header is checked here and its content there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fluss_proto::record::ChangeType::{Delete, Insert, UpdateAfter, UpdateBefore};
use fluss_proto::record::{
    ChangeType, Check, KvBatch, LogBatch, LogBatchParts, LogBatches, LogFields, LogVersion,
    RecordError, SealedBatch, Stamp, ValueBatch, encode_value_batch, push_kv_record,
    push_log_record, with_projected_body, write_append_position,
};

/// Files with a test here.
const CHECKED_HERE: &[&str] = &[
    "generated/fetch_truncated_tail.hex",
    "generated/kv_v0_compacted.hex",
    "generated/kv_v0_indexed.hex",
    "generated/log_v0_arrow_all_types.hex",
    "generated/log_v0_arrow_append.hex",
    "generated/log_v0_arrow_changelog.hex",
    "generated/log_v0_arrow_lz4.hex",
    "generated/log_v0_arrow_zstd.hex",
    "generated/log_v0_compacted_append.hex",
    "generated/log_v0_empty.hex",
    "generated/log_v0_indexed_append.hex",
    "generated/log_v1_arrow_append_nostats.hex",
    "generated/log_v1_arrow_append_stats.hex",
    "generated/log_v1_arrow_append_stats_stored.hex",
    "generated/log_v1_arrow_projected_col1.hex",
    "generated/log_v1_empty.hex",
    "generated/log_v2_arrow_append_nostats.hex",
    "generated/log_v2_arrow_changelog_stats.hex",
    "generated/log_v2_empty.hex",
    "generated/value_batch.hex",
    "generated/value_batch_empty.hex",
    "hostile/change_type_9.hex",
    "hostile/compacted_record_len_negative.hex",
    "hostile/crc_mismatch.hex",
    "hostile/length_below_header.hex",
    "hostile/length_negative.hex",
    "hostile/record_count_negative.hex",
    "hostile/stats_len_negative.hex",
    "hostile/stats_len_past_end.hex",
    "hostile/unknown_magic.hex",
    "hostile/value_batch_count.hex",
    "hostile/value_record_len_negative.hex",
];

/// Files whose content needs Arrow messages, rows or statistics: `fluss-core` has their tests.
const CHECKED_IN_CORE: &[&str] = &[
    "fixtures/encoded_key.hex",
    "fixtures/statistics_block.hex",
    "fixtures/statistics_block_17col.hex",
    "generated/fetch_truncated_tail.hex",
    "generated/kv_v0_compacted.hex",
    "generated/kv_v0_indexed.hex",
    "generated/log_v0_arrow_all_types.hex",
    "generated/log_v0_arrow_append.hex",
    "generated/log_v0_arrow_changelog.hex",
    "generated/log_v0_arrow_lz4.hex",
    "generated/log_v0_arrow_zstd.hex",
    "generated/log_v0_compacted_append.hex",
    "generated/log_v0_indexed_append.hex",
    "generated/log_v1_arrow_append_nostats.hex",
    "generated/log_v1_arrow_append_stats.hex",
    "generated/log_v1_arrow_append_stats_stored.hex",
    "generated/log_v1_arrow_projected_col1.hex",
    "generated/log_v2_arrow_append_nostats.hex",
    "generated/log_v2_arrow_changelog_stats.hex",
    "generated/row_compacted_all_types.hex",
    "generated/row_compacted_sample.hex",
    "generated/row_indexed_all_types.hex",
    "generated/value_batch.hex",
    "hostile/arrow_body_len.hex",
    "hostile/arrow_buffer_oob.hex",
    "hostile/arrow_metadata_len.hex",
    "hostile/arrow_no_continuation.hex",
    "hostile/arrow_node_length.hex",
    "hostile/arrow_null_count.hex",
    "hostile/arrow_offsets_decreasing.hex",
    "hostile/indexed_var_len.hex",
    "hostile/record_count_mismatch.hex",
    "hostile/zstd_claimed_size.hex",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn load(name: &str) -> Bytes {
    assert!(CHECKED_HERE.contains(&name) || CHECKED_IN_CORE.contains(&name), "{name}: unlisted");
    let text = std::fs::read_to_string(root().join(name))
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let text = text.trim();
    let bytes = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16));
    bytes.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn log(name: &str) -> LogBatch {
    LogBatch::new_checked(load(name), Check::Crc).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn is_arrow_message(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff; 4])
}

/// Every record of every batch, as a reader would meet it, whatever the log format is.
fn drain(bytes: Bytes, rows: bool, check: Check) -> Result<(), RecordError> {
    for batch in LogBatches::new(bytes).check(check) {
        let batch = batch?;
        if rows {
            batch.records().try_for_each(|record| record.map(drop))?;
        } else {
            batch.change_types()?;
            batch.body()?;
        }
    }
    Ok(())
}

#[test]
fn every_vector_file_is_in_a_table_and_every_entry_is_a_file() {
    let mut files = BTreeSet::new();
    for folder in ["fixtures", "generated", "hostile"] {
        for entry in std::fs::read_dir(root().join(folder)).expect("vectors are checked in") {
            let name = entry.expect("a readable folder").file_name();
            files.insert(format!("{folder}/{}", name.to_string_lossy()));
        }
    }
    let listed: BTreeSet<String> =
        CHECKED_HERE.iter().chain(CHECKED_IN_CORE).map(|name| (*name).to_owned()).collect();
    assert_eq!(files, listed);
    for table in [CHECKED_HERE, CHECKED_IN_CORE] {
        assert!(table.is_sorted_by(|left, right| left < right), "sorted, without duplicates");
    }
}

#[test]
fn every_entry_of_the_first_table_is_named_by_a_test() {
    let source = include_str!("vectors.rs");
    for name in CHECKED_HERE {
        let uses = source.matches(&format!("\"{name}\"")).count();
        let elsewhere = usize::from(CHECKED_IN_CORE.contains(name));
        assert!(uses > 1 + elsewhere, "{name} is listed but not tested");
    }
}

struct Expected {
    name: &'static str,
    version: LogVersion,
    records: u32,
    sequence: i32,
    statistics: usize,
}

const fn expect(
    name: &'static str,
    version: LogVersion,
    records: u32,
    sequence: i32,
    statistics: usize,
) -> Expected {
    Expected { name, version, records, sequence, statistics }
}

/// Append-only batches as clients send them (and one of version 2, which only servers could).
const APPENDS: &[Expected] = &[
    expect("generated/log_v0_arrow_append.hex", LogVersion::V0, 3, 7, 0),
    expect("generated/log_v0_arrow_zstd.hex", LogVersion::V0, 100, 7, 0),
    expect("generated/log_v0_arrow_lz4.hex", LogVersion::V0, 100, 7, 0),
    expect("generated/log_v0_arrow_all_types.hex", LogVersion::V0, 3, 7, 0),
    expect("generated/log_v0_indexed_append.hex", LogVersion::V0, 2, 7, 0),
    expect("generated/log_v0_compacted_append.hex", LogVersion::V0, 2, 7, 0),
    expect("generated/log_v1_arrow_append_nostats.hex", LogVersion::V1, 3, 7, 0),
    expect("generated/log_v1_arrow_append_stats.hex", LogVersion::V1, 3, 7, 71),
    expect("generated/log_v2_arrow_append_nostats.hex", LogVersion::V2, 3, 7, 0),
];

#[test]
fn append_batches_are_read_as_described() {
    for expected in APPENDS {
        let name = expected.name;
        let batch = log(name);
        assert_eq!(batch.version(), expected.version, "{name}");
        assert_eq!(batch.record_count(), expected.records, "{name}");
        assert_eq!(batch.stamp(), Stamp { writer_id: 100, sequence: expected.sequence }, "{name}");
        assert_eq!(batch.statistics().len(), expected.statistics, "{name}");
        assert_eq!((batch.base_offset(), batch.commit_timestamp()), (0, 0), "{name}");
        assert_eq!(batch.next_offset(), i64::from(expected.records), "{name}");
        assert_eq!((batch.schema_id(), batch.attributes()), (1, 1), "{name}");
        let epoch = (expected.version == LogVersion::V2).then_some(-1);
        assert_eq!(batch.leader_epoch(), epoch, "{name}");
        let types = batch.change_types().expect(name);
        assert!(types.is_append_only(), "{name}");
        assert_eq!(types.len(), expected.records as usize, "{name}");
        if name.contains("arrow") {
            assert!(is_arrow_message(&batch.body().expect(name)), "{name}");
        }
    }
}

#[test]
fn sealed_batches_with_a_stamp_are_the_vectors_byte_for_byte() {
    for expected in APPENDS.iter().filter(|expected| expected.version != LogVersion::V2) {
        let whole = load(expected.name);
        let header = expected.version.layout().header_size;
        let statistics = (expected.version == LogVersion::V1).then_some(expected.statistics as u32);
        let fields = LogFields {
            schema_id: 1,
            attributes: 1,
            record_count: expected.records,
            last_offset_delta: expected.records - 1,
            statistics_length: statistics,
        };
        let sealed = SealedBatch::log(fields, whole.slice(header..)).expect(expected.name);
        let head = sealed.stamp(Stamp { writer_id: 100, sequence: expected.sequence });
        assert_eq!([&head[..], &sealed.payload()].concat(), whole, "{}", expected.name);
        assert_eq!(sealed.size(), whole.len(), "{}", expected.name);
    }
}

#[test]
fn changelog_batches_are_read_and_written_as_described() {
    let v0 = log("generated/log_v0_arrow_changelog.hex");
    let types: Vec<ChangeType> = v0.change_types().expect("four codes").iter().collect();
    assert_eq!(types, [Insert, UpdateBefore, UpdateAfter, Delete]);
    assert_eq!(v0.stamp(), Stamp { writer_id: 100, sequence: 8 });
    assert!(!v0.is_append_only());
    let body = v0.body().expect("a message");
    assert!(is_arrow_message(&body));
    let parts = LogBatchParts {
        stamp: v0.stamp(),
        record_count: 4,
        change_types: &types,
        body: &body,
        ..LogBatchParts::default()
    };
    assert_eq!(parts.encode().expect("a batch"), *v0.bytes());

    let v2 = log("generated/log_v2_arrow_changelog_stats.hex");
    let types: Vec<ChangeType> = v2.change_types().expect("three codes").iter().collect();
    assert_eq!(types, [Insert, UpdateBefore, UpdateAfter]);
    assert_eq!(v2.statistics(), log("generated/log_v1_arrow_append_stats.hex").statistics());
    let body = v2.body().expect("a message");
    assert_eq!(body, log("generated/log_v0_arrow_append.hex").body().expect("a message"));
    let parts = LogBatchParts {
        version: LogVersion::V2,
        stamp: v2.stamp(),
        record_count: 3,
        change_types: &types,
        statistics: &v2.statistics(),
        body: &body,
        ..LogBatchParts::default()
    };
    assert_eq!(parts.encode().expect("a batch"), *v2.bytes());
}

#[test]
fn empty_batches_take_one_offset() {
    for (name, version) in [
        ("generated/log_v0_empty.hex", LogVersion::V0),
        ("generated/log_v1_empty.hex", LogVersion::V1),
        ("generated/log_v2_empty.hex", LogVersion::V2),
    ] {
        let batch = log(name);
        assert_eq!((batch.record_count(), batch.next_offset()), (0, 1), "{name}");
        assert_eq!(batch.stamp(), Stamp { writer_id: 100, sequence: 9 }, "{name}");
        assert!(batch.body().expect(name).is_empty(), "{name}");
        assert!(batch.change_types().expect(name).is_empty(), "{name}");
        assert_eq!(batch.records().count(), 0, "{name}");
        let parts = LogBatchParts { version, stamp: batch.stamp(), ..LogBatchParts::default() };
        assert_eq!(parts.encode().expect(name), *batch.bytes(), "{name}");
    }
}

#[test]
fn a_server_stamps_offset_and_time_without_touching_the_checksum() {
    let mut sent = load("generated/log_v1_arrow_append_stats.hex").to_vec();
    write_append_position(&mut sent, 1000, 1_761_955_200_000, 5).expect("a header");
    let stored = log("generated/log_v1_arrow_append_stats_stored.hex");
    assert_eq!(sent, *stored.bytes());
    assert_eq!((stored.base_offset(), stored.last_offset()), (1000, 1002));
    assert_eq!(stored.commit_timestamp(), 1_761_955_200_000);
}

#[test]
fn a_projected_batch_keeps_a_checksum_that_does_not_fit() {
    let whole = log("generated/log_v1_arrow_append_stats_stored.hex");
    let bytes = load("generated/log_v1_arrow_projected_col1.hex");
    let refused = LogBatch::new_checked(bytes.clone(), Check::Crc);
    assert!(matches!(refused, Err(RecordError::Checksum { .. })), "{refused:?}");

    let batch = LogBatch::new_checked(bytes.clone(), Check::Structure).expect("a batch");
    assert_eq!(batch.stored_checksum(), whole.stored_checksum());
    assert_eq!((batch.base_offset(), batch.record_count()), (1000, 3));
    assert!(batch.statistics().is_empty());
    let body = batch.body().expect("a message");
    assert!(is_arrow_message(&body));
    assert_eq!(with_projected_body(&whole, &body).expect("a batch"), bytes);
}

#[test]
fn row_log_records_have_offsets_and_change_types() {
    for (name, rows) in [
        (
            "generated/log_v0_indexed_append.hex",
            [&b"\x00\x03\0\0\0\x0a\0\0\0abc"[..], b"\x01\x02\0\0\0\xc3\xa9"],
        ),
        (
            "generated/log_v0_compacted_append.hex",
            [b"\x00\xac\x02\x03abc", b"\x02\xff\xff\xff\xff\x0f"],
        ),
    ] {
        let batch = log(name);
        let mut written = Vec::new();
        let mut count = 0;
        for (record, row) in batch.records().zip(rows) {
            let record = record.expect(name);
            assert_eq!((record.offset, record.change_type), (count, ChangeType::Append), "{name}");
            assert_eq!(record.row, row, "{name}");
            push_log_record(&mut written, record.change_type, row).expect(name);
            count += 1;
        }
        assert_eq!(count, 2, "{name}");
        assert_eq!(batch.records().count(), 2, "{name}");
        let sealed = SealedBatch::log_v0(1, 1, 2, 1, Bytes::from(written)).expect(name);
        let head = sealed.stamp(Stamp { writer_id: 100, sequence: 7 });
        assert_eq!([&head[..], &sealed.payload()].concat(), *batch.bytes(), "{name}");
    }
}

#[test]
fn a_truncated_tail_is_left_for_the_next_fetch() {
    let mut batches = LogBatches::new(load("generated/fetch_truncated_tail.hex")).check(Check::Crc);
    let found: Vec<LogBatch> = batches.by_ref().map(|batch| batch.expect("two batches")).collect();
    let offsets: Vec<(i64, i64, usize)> = found
        .iter()
        .map(|batch| (batch.base_offset(), batch.next_offset(), batch.records().count()))
        .collect();
    assert_eq!(offsets, [(40, 42, 2), (42, 43, 0)]);
    assert_eq!((batches.consumed(), batches.rest().len()), (119, 30));
}

#[test]
fn kv_batches_are_read_and_written_as_described() {
    let long_key = [0x61; 200];
    for (name, stamp, upsert, delete) in [
        (
            "generated/kv_v0_compacted.hex",
            Stamp { writer_id: 100, sequence: 3 },
            &b"\0\x01\x03one"[..],
            &[2][..],
        ),
        ("generated/kv_v0_indexed.hex", Stamp::NONE, b"\0\x03\0\0\0\x01\0\0\0one", &long_key),
    ] {
        let batch = KvBatch::new_checked(load(name), Check::Crc).expect(name);
        assert_eq!((batch.stamp(), batch.schema_id(), batch.attributes()), (stamp, 1, 0), "{name}");
        let records: Vec<(Bytes, Option<Bytes>)> = batch
            .records()
            .map(|record| record.map(|record| (record.key, record.row)).expect(name))
            .collect();
        let expected = [
            (Bytes::from_static(&[1]), Some(Bytes::copy_from_slice(upsert))),
            (Bytes::copy_from_slice(delete), None),
        ];
        assert_eq!(records, expected, "{name}");

        let mut written = Vec::new();
        push_kv_record(&mut written, &[1], Some(upsert)).expect(name);
        push_kv_record(&mut written, delete, None).expect(name);
        let sealed = SealedBatch::kv_v0(1, 0, 2, Bytes::from(written)).expect(name);
        assert_eq!(
            [&sealed.stamp(stamp)[..], &sealed.payload()].concat(),
            *batch.bytes(),
            "{name}"
        );
    }
}

#[test]
fn value_batches_are_read_and_written_as_described() {
    let rows = [(1, &b"\0\x01\x03one"[..]), (2, &b"\x02\x02"[..])];
    for (name, rows) in
        [("generated/value_batch.hex", &rows[..]), ("generated/value_batch_empty.hex", &[])]
    {
        let bytes = load(name);
        let batch = ValueBatch::new_checked(bytes.clone()).expect(name);
        assert_eq!(batch.record_count() as usize, rows.len(), "{name}");
        let values: Vec<_> = batch.values().map(|value| value.expect(name)).collect();
        assert_eq!(values.len(), rows.len(), "{name}");
        for (value, row) in values.iter().zip(rows) {
            assert_eq!((value.schema_id, &value.row[..]), *row, "{name}");
        }
        assert_eq!(encode_value_batch(rows.iter().copied()).expect(name), bytes, "{name}");
    }
}

#[test]
fn a_wrong_checksum_is_an_error_only_while_checksums_are_checked() {
    let bytes = load("hostile/crc_mismatch.hex");
    let error = drain(bytes.clone(), false, Check::Crc).expect_err("a wrong checksum");
    assert!(matches!(error, RecordError::Checksum { at: 0, .. }), "{error}");
    assert_eq!(drain(bytes, false, Check::Structure), Ok(()));
}

#[test]
fn an_unknown_version_is_unsupported_rather_than_corrupt() {
    for check in [Check::Crc, Check::Structure] {
        let error = drain(load("hostile/unknown_magic.hex"), false, check).expect_err("magic 3");
        let expected = RecordError::UnsupportedVersion { what: "log batch", at: 0, magic: 3 };
        assert_eq!(error, expected);
        assert!(error.is_unsupported() && !error.is_corrupt());
    }
}

#[test]
fn hostile_log_batches_name_the_field_that_is_wrong() {
    for (name, rows, at, value) in [
        ("hostile/length_negative.hex", false, 8, -12),
        ("hostile/length_below_header.hex", false, 8, 35),
        ("hostile/record_count_negative.hex", false, 44, -1),
        ("hostile/stats_len_past_end.hex", false, 48, 100_000),
        ("hostile/stats_len_negative.hex", false, 48, -1),
        ("hostile/compacted_record_len_negative.hex", true, 48, -5),
    ] {
        for check in [Check::Crc, Check::Structure] {
            let error = drain(load(name), rows, check).expect_err(name);
            let RecordError::OutOfRange { at: found, value: number, .. } = error else {
                panic!("{name}: {error}");
            };
            assert_eq!((found, number), (at, value), "{name}");
        }
    }
    for check in [Check::Crc, Check::Structure] {
        let error = drain(load("hostile/change_type_9.hex"), false, check).expect_err("code 9");
        assert_eq!(error, RecordError::ChangeType { at: 49, record: 1, code: 9 });
    }
}

#[test]
fn hostile_value_batches_end_in_an_error_without_allocating_by_the_claimed_count() {
    let batch = ValueBatch::new_checked(load("hostile/value_batch_count.hex")).expect("a header");
    assert_eq!(batch.record_count(), 1_000_000);
    assert!(batch.values().size_hint().1.expect("a bound") < 10);
    let values: Vec<_> = batch.values().collect();
    assert_eq!(values.len(), 3, "two values and the error");
    assert!(matches!(
        values[2],
        Err(RecordError::Truncated { at: 29, needed: 4, available: 0, .. })
    ));

    let bytes = load("hostile/value_record_len_negative.hex");
    let values: Vec<_> = ValueBatch::new_checked(bytes).expect("a header").values().collect();
    assert_eq!(values.len(), 1);
    assert!(matches!(values[0], Err(RecordError::OutOfRange { at: 9, value: -1, min: 2, .. })));
}

#[test]
fn hostile_content_passes_this_layer_with_sound_boundaries() {
    // Their headers are fine; whoever decodes the content must find the fault.
    for name in CHECKED_IN_CORE.iter().filter(|name| name.starts_with("hostile/")) {
        let rows = name.contains("indexed");
        assert_eq!(drain(load(name), rows, Check::Crc), Ok(()), "{name}");
    }
}

#[test]
fn every_vector_cut_anywhere_or_with_any_byte_changed_never_panics() {
    for name in CHECKED_HERE {
        let whole = load(name);
        for cut in 0..whole.len() {
            exercise(whole.slice(..cut));
        }
        // The header and some of what follows; deeper bytes are not interpreted here.
        for at in 0..whole.len().min(140) {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = whole.to_vec();
                changed[at] = value;
                exercise(Bytes::from(changed));
            }
        }
    }
}

fn exercise(bytes: Bytes) {
    let items = bytes.len() + 1;
    assert!(LogBatches::new(bytes.clone()).starting_at(1).count() <= items);
    for batch in LogBatches::new(bytes.clone()).flatten() {
        assert!(batch.records().count() <= items);
        let types = batch.change_types().map_or(0, |types| types.codes().map_or(0, <[u8]>::len));
        assert!(types <= items);
        assert!(batch.body().map_or(0, |body| body.len()) <= items);
        assert!(batch.next_offset() > batch.base_offset());
    }
    if let Ok(batch) = KvBatch::new_checked(bytes.clone(), Check::Structure) {
        assert!(batch.records().count() <= items);
    }
    if let Ok(batch) = ValueBatch::new_checked(bytes) {
        assert!(batch.values().count() <= items);
    }
}
