use super::*;
use crate::row::{OwnedRow, RowLayout, Timestamp, compacted};
use fluss_proto::record::{Check, LogBatch, LogBatches, SealedBatch, ValueBatch, push_kv_record};

/// The key and the compacted row of `(a, b)`; the key is simply `a` in one byte.
fn record(out: &mut Vec<u8>, a: i32, b: Option<Option<&str>>) {
    let row = b.map(|b| {
        let b = b.map_or(crate::row::OwnedDatum::Null, |b| crate::row::OwnedDatum::Str(b.into()));
        encode(&[crate::row::OwnedDatum::Int32(a), b])
    });
    push_kv_record(out, &[a as u8], row.as_deref()).expect("a record");
}

fn layout() -> RowLayout {
    let schema = Schema::builder().column("a", DataType::INT).column("b", DataType::STRING);
    RowLayout::new(&schema.primary_key(["a"]).build().expect("a schema"))
}

fn encode(values: &[crate::row::OwnedDatum]) -> Vec<u8> {
    let mut bytes = Vec::new();
    compacted::encode(&layout(), &OwnedRow::new(values.to_vec()), &mut bytes).expect("a row");
    bytes
}

type Rec<'a> = (i32, Option<Option<&'a str>>);

fn kv_batch(stamp: (i64, i32), records: &[Rec<'_>]) -> Bytes {
    let mut body = Vec::new();
    records.iter().for_each(|(a, b)| record(&mut body, *a, *b));
    let sealed = SealedBatch::kv_v0(1, 0, records.len() as u32, body.into()).expect("a batch");
    let head = sealed.stamp(Stamp { writer_id: stamp.0, sequence: stamp.1 });
    [head.as_ref(), &sealed.payload()].concat().into()
}

pub(super) struct Kv {
    pub(super) talk: Talk,
    pub(super) bucket: BucketKey,
    targets: Vec<i32>,
}

impl Kv {
    pub(super) fn new(properties: &str) -> Self {
        Self::with(ClusterOptions::default(), properties)
    }

    pub(super) fn with(options: ClusterOptions, properties: &str) -> Self {
        let mut talk = Talk::new(options);
        let table = talk.create("t", &descriptor(&["a"], 1, properties));
        let bucket = BucketKey { table, partition: None, bucket: 0 };
        Self { talk, bucket, targets: Vec::new() }
    }

    fn send(&mut self, records: Bytes) -> Result<i64, i32> {
        let request = PutKvRequest {
            acks: -1,
            table_id: self.bucket.table.0,
            timeout_ms: 1000,
            target_columns: self.targets.clone(),
            buckets_req: vec![PbPutKvReqForBucket { records, ..Default::default() }],
            agg_mode: None,
        };
        let leader = self.talk.leader(self.bucket);
        let answer: PutKvResponse = self.talk.ask(leader, key::PUT_KV, &request);
        let bucket = &answer.buckets_resp[0];
        bucket.error_code.map_or(Ok(bucket.log_end_offset.unwrap_or(-9)), Err)
    }

    pub(super) fn put(&mut self, stamp: (i64, i32), records: &[Rec<'_>]) -> Result<i64, i32> {
        self.send(kv_batch(stamp, records))
    }

    fn lookup(&mut self, keys: &[i32]) -> Vec<Option<Bytes>> {
        let keys = keys.iter().map(|key| Bytes::from(vec![*key as u8])).collect();
        let request = LookupRequest {
            table_id: self.bucket.table.0,
            buckets_req: vec![PbLookupReqForBucket { keys, ..Default::default() }],
            ..Default::default()
        };
        let leader = self.talk.leader(self.bucket);
        let answer: LookupResponse = self.talk.ask(leader, key::LOOKUP, &request);
        assert_eq!(answer.buckets_resp[0].error_code, None);
        answer.buckets_resp[0].values.iter().map(|value| value.values.clone()).collect()
    }

    fn changelog(&mut self, from: i64) -> Vec<LogBatch> {
        let records = self.talk.fetch(self.bucket, from).records.expect("records");
        LogBatches::new(records).check(Check::Crc).map(Result::unwrap).collect()
    }

    fn changes(&mut self, from: i64) -> String {
        let batches = self.changelog(from);
        let types = batches.iter().flat_map(|batch| {
            let types = batch.change_types().expect("change types");
            types.iter().map(|change| change.symbol()).collect::<Vec<_>>()
        });
        types.collect::<Vec<_>>().join(" ")
    }
}

fn value(a: i32, b: &str) -> Bytes {
    let row = encode(&[crate::row::OwnedDatum::Int32(a), crate::row::OwnedDatum::Str(b.into())]);
    [&[1, 0][..], &row].concat().into()
}

#[test]
fn upserts_and_deletes_leave_rows_and_a_changelog() {
    let mut kv = Kv::new("{}");
    assert_eq!(kv.put((1, 0), &[(1, Some(Some("x"))), (2, Some(Some("y")))]), Ok(2));
    assert_eq!(kv.put((1, 1), &[(1, Some(Some("z"))), (2, None), (3, None)]), Ok(5));
    assert_eq!(kv.changes(0), "+I +I -U +U -D");
    assert_eq!(kv.lookup(&[1, 2, 9]), [Some(value(1, "z")), None, None]);
    let batches = kv.changelog(0);
    assert_eq!(batches.len(), 2, "one changelog batch for each KV batch");
    assert_eq!(batches[1].stamp(), Stamp { writer_id: 1, sequence: 1 });
    assert!(!batches[1].is_append_only());
    let rows = kv.talk.cluster.rows(kv.bucket).expect("ZSTD bodies that decode");
    let b: Vec<_> = rows.iter().map(|row| row.values.datum(1).and_then(|d| d.as_str())).collect();
    assert_eq!(b, [Some("x"), Some("y"), Some("x"), Some("z"), Some("y")]);
    assert_eq!(kv.talk.cluster.live_rows(kv.bucket).map(|rows| rows.len()), Ok(1));
}

#[test]
fn a_batch_without_effect_takes_one_offset_and_its_sequence() {
    let mut kv = Kv::new("{}");
    assert_eq!(kv.put((1, 0), &[(1, None)]), Ok(1));
    assert_eq!(kv.put((1, 1), &[(1, Some(Some("x")))]), Ok(2));
    let batches = kv.changelog(0);
    assert_eq!((batches[0].record_count(), batches[0].size()), (0, 48));
    assert_eq!(batches[1].base_offset(), 1);
}

#[test]
fn a_duplicate_changes_nothing_and_gets_the_first_answer() {
    let mut kv = Kv::new("{}");
    assert_eq!(kv.put((1, 0), &[(1, Some(Some("x")))]), Ok(1));
    assert_eq!(kv.put((1, 1), &[(1, Some(Some("y")))]), Ok(3));
    assert_eq!(kv.put((1, 0), &[(1, Some(Some("x")))]), Ok(1));
    assert_eq!(kv.put((1, 3), &[(1, Some(Some("q")))]), Err(31));
    assert_eq!(kv.lookup(&[1]), [Some(value(1, "y"))]);
    assert_eq!(kv.changes(0), "+I -U +U");
}

#[test]
fn the_second_write_of_a_key_within_a_batch_sees_the_first() {
    let mut kv = Kv::new("{}");
    let both = [(1, Some(Some("x"))), (1, Some(Some("y"))), (1, None), (1, Some(Some("z")))];
    assert_eq!(kv.put((1, 0), &both), Ok(5));
    assert_eq!(kv.changes(0), "+I -U +U -D +I");
}

#[test]
fn the_image_wal_has_no_update_before_and_no_insert() {
    let mut kv = Kv::new(r#"{"table.changelog.image":"wal"}"#);
    let records = [(1, Some(Some("x"))), (1, Some(Some("y"))), (1, None)];
    assert_eq!(kv.put((1, 0), &records), Ok(3));
    assert_eq!(kv.changes(0), "+U +U -D");
}

#[test]
fn changelogs_come_in_the_codecs_and_formats_of_the_table() {
    for properties in [
        r#"{"table.log.arrow.compression.type":"NONE"}"#,
        r#"{"table.log.arrow.compression.type":"lz4_frame"}"#,
        r#"{"table.log.arrow.compression.zstd.level":"7"}"#,
        r#"{"table.log.format":"COMPACTED"}"#,
    ] {
        let mut kv = Kv::new(properties);
        let long = "long enough to be worth a compressor's while ".repeat(20);
        assert_eq!(kv.put((1, 0), &[(1, Some(Some(&long))), (2, Some(None))]), Ok(2));
        let rows = kv.talk.cluster.rows(kv.bucket).expect("rows that decode");
        assert_eq!(rows[0].values.datum(1).and_then(|d| d.as_str()), Some(&long[..]));
        assert!(rows[1].values.datum(1).is_some_and(|datum| datum.is_null()), "{properties}");
    }
}

#[test]
fn deletes_can_be_ignored_or_forbidden() {
    let mut kv = Kv::new(r#"{"table.delete.behavior":"IGNORE"}"#);
    assert_eq!(kv.put((1, 0), &[(1, Some(Some("x"))), (1, None)]), Ok(1));
    assert_eq!(kv.lookup(&[1]), [Some(value(1, "x"))]);
    let mut kv = Kv::new(r#"{"table.delete.behavior":"disable"}"#);
    assert_eq!(kv.put((1, 0), &[(1, Some(Some("x"))), (1, None)]), Err(57));
    assert_eq!(kv.lookup(&[1]), [None], "all of the batch or nothing");
    assert_eq!(kv.put((1, 0), &[(1, Some(Some("x")))]), Ok(1), "the sequence was not used");
}

#[test]
fn merge_engines_keep_the_first_row_or_the_newest_version() {
    let mut kv = Kv::new(r#"{"table.merge-engine":"first_row"}"#);
    assert_eq!(kv.put((1, 0), &[(1, Some(Some("x"))), (1, Some(Some("y")))]), Ok(1));
    assert_eq!(kv.put((1, 1), &[(1, Some(Some("z"))), (1, None)]), Ok(2), "no effect");
    assert_eq!(kv.lookup(&[1]), [Some(value(1, "x"))]);
}

#[test]
fn partial_updates_keep_the_other_columns() {
    let mut kv = Kv::new("{}");
    assert_eq!(kv.put((1, 0), &[(1, Some(Some("x")))]), Ok(1));
    kv.targets = vec![0];
    assert_eq!(kv.put((1, 1), &[(1, Some(None)), (2, Some(Some("ignored")))]), Ok(4));
    assert_eq!(kv.changes(1), "-U +U +I");
    assert_eq!(kv.lookup(&[1])[0], Some(value(1, "x")));
    kv.targets = vec![1];
    assert_eq!(kv.put((1, 2), &[(1, Some(Some("y")))]), Err(35), "without the primary key");
    kv.targets = vec![-1];
    assert_eq!(kv.put((1, 2), &[(1, Some(Some("y")))]), Err(-1));
    kv.targets = vec![0, 1];
    assert_eq!(kv.put((1, 2), &[(1, None)]), Ok(5), "all columns: a whole delete");
    assert_eq!(kv.lookup(&[1]), [None]);
}

#[test]
fn broken_batches_and_wrong_schemas_have_codes() {
    let mut kv = Kv::new("{}");
    let good = kv_batch((1, 0), &[(1, Some(Some("x")))]).to_vec();
    let mut wrong_crc = good.clone();
    wrong_crc[5] ^= 1;
    let mut wrong_schema = good.clone();
    wrong_schema[9] = 2;
    let mut broken = good.clone();
    broken[28] = 0xff;
    assert_eq!(kv.send(wrong_schema.into()), Err(9));
    assert_eq!(kv.send(broken.into()), Err(-1));
    assert_eq!(kv.send(Bytes::from_static(b"short")), Err(-1));
    assert_eq!(kv.send(wrong_crc.into()), Ok(1), "nobody checks it");
    let log = kv.talk.create("log", &descriptor(&[], 1, "{}"));
    kv.bucket = BucketKey { table: log, ..kv.bucket };
    assert_eq!(kv.send(good.into()), Err(-1));
}

#[test]
fn prefixes_and_limits_read_in_key_order() {
    let mut kv = Kv::new("{}");
    kv.put((1, 0), &[(3, Some(Some("c"))), (1, Some(Some("a"))), (2, Some(Some("b")))]).unwrap();
    let leader = kv.talk.leader(kv.bucket);
    let keys = vec![Bytes::new(), Bytes::from_static(&[2]), Bytes::from_static(&[2, 0])];
    let request = PrefixLookupRequest {
        table_id: kv.bucket.table.0,
        buckets_req: vec![PbPrefixLookupReqForBucket { keys, ..Default::default() }],
    };
    let answer: PrefixLookupResponse = kv.talk.ask(leader, key::PREFIX_LOOKUP, &request);
    let lists: Vec<usize> =
        answer.buckets_resp[0].value_lists.iter().map(|list| list.values.len()).collect();
    assert_eq!(lists, [3, 1, 0]);
    let scan = LimitScanRequest { table_id: kv.bucket.table.0, limit: 2, ..Default::default() };
    let answer: LimitScanResponse = kv.talk.ask(leader, key::LIMIT_SCAN, &scan);
    assert_eq!(answer.is_log_table, Some(false));
    let rows = ValueBatch::new_checked(answer.records.expect("rows")).expect("a value batch");
    assert_eq!(rows.record_count(), 2);
    let first = rows.values().next().expect("a row").expect("well formed");
    assert_eq!(first.row[..], value(1, "a")[2..]);
    let wrong = LimitScanRequest { table_id: 99, limit: 2, ..Default::default() };
    let answer: LimitScanResponse = kv.talk.ask(leader, key::LIMIT_SCAN, &wrong);
    assert_eq!(answer.error_code, Some(21), "in the body");
}

#[test]
fn a_lookup_in_a_log_table_is_20() {
    let mut kv = Kv::new("{}");
    let log = kv.talk.create("log", &descriptor(&[], 1, "{}"));
    let bucket = BucketKey { table: log, ..kv.bucket };
    let leader = kv.talk.leader(bucket);
    let request = LookupRequest {
        table_id: log.0,
        buckets_req: vec![PbLookupReqForBucket::default()],
        ..Default::default()
    };
    let answer: LookupResponse = kv.talk.ask(leader, key::LOOKUP, &request);
    assert_eq!(answer.buckets_resp[0].error_code, Some(20));
}

#[test]
fn without_the_look_at_old_values_every_upsert_is_an_insert() {
    let mut kv = Kv::new("{}");
    kv.talk.cluster.switch_off(Rule::OldValueLookup);
    kv.put((1, 0), &[(1, Some(Some("x"))), (1, Some(Some("y")))]).unwrap();
    assert_eq!(kv.changes(0), "+I +I");
}

#[test]
fn a_binary_value_of_another_length_fails_the_whole_batch_where_the_changelog_is_arrow() {
    let table = |format: &str| {
        let properties = format!("{{\"table.log.format\":\"{format}\"}}");
        let plain = descriptor(&["a"], 1, &properties);
        let binary = plain.replace("\"STRING\"", "\"BINARY\",\"length\":2");
        assert_ne!(plain, binary);
        binary
    };
    for (format, answers) in [("ARROW", [Err(-1), Ok(1)]), ("COMPACTED", [Ok(2), Ok(3)])] {
        let mut talk = Talk::new(ClusterOptions::default());
        let id = talk.create("t", &table(format));
        let bucket = BucketKey { table: id, partition: None, bucket: 0 };
        let mut kv = Kv { talk, bucket, targets: Vec::new() };
        // Strings and bytes are encoded alike.
        let wrong = kv.put((-1, -1), &[(1, Some(Some("xy"))), (2, Some(Some("z")))]);
        let sound = kv.put((-1, -1), &[(3, Some(Some("xy")))]);
        assert_eq!([wrong, sound], answers, "{format}");
        let found = kv.lookup(&[1, 3]);
        assert_eq!([found[0].is_some(), found[1].is_some()], [format != "ARROW", true]);
    }
}

#[test]
fn a_time_beyond_an_arrow_changelog_goes_round_there_and_stays_what_it_is_in_the_table() {
    let mut talk = Talk::new(ClusterOptions::default());
    let plain = descriptor(&["a"], 1, "{}");
    let of_times = "\"TIMESTAMP_WITHOUT_TIME_ZONE\",\"precision\":9";
    let table = talk.create("t", &plain.replace("\"STRING\"", of_times));
    let mut kv =
        Kv { talk, bucket: BucketKey { table, partition: None, bucket: 0 }, targets: Vec::new() };
    let schema = Schema::builder().column("a", DataType::INT).column("b", DataType::timestamp(9));
    let layout = RowLayout::new(&schema.primary_key(["a"]).build().expect("a schema"));
    // 64 bits of nanoseconds end in 2262.
    let beyond = Timestamp { millis: 9_223_372_036_854, nanos: 775_808 };
    let (mut row, mut body) = (Vec::new(), Vec::new());
    let values = (1, crate::row::OwnedDatum::Timestamp(beyond));
    compacted::encode(&layout, &values, &mut row).expect("the format has room for it");
    push_kv_record(&mut body, &[1], Some(&row)).expect("a record");
    let sealed = SealedBatch::kv_v0(1, 0, 1, body.into()).expect("a batch");
    let head = sealed.stamp(Stamp { writer_id: -1, sequence: -1 });
    assert_eq!(kv.send([head.as_ref(), &sealed.payload()].concat().into()), Ok(1));
    let rows = kv.talk.cluster.rows(kv.bucket).expect("a changelog");
    let expected = crate::row::OwnedDatum::Timestamp(Timestamp::from_nanos(i64::MIN));
    assert_eq!(rows[0].values.values()[1], expected);
    assert_eq!(kv.lookup(&[1]), [Some([&[1, 0][..], &row].concat().into())]);
}
