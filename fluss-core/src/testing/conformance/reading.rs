//! What scanners hand out: metadata columns, whole changes, true ends, fair shares, and what they
//! do about trouble.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMillisecondType};
use serde_core::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::Harness;
use super::stage::{Stage, keyed_table};
use crate::error::Error;
use crate::handle::{
    Fluss, LogScanner, OffsetSpec, OnCorruptBatch, OnOutOfRange, Recorder, ScanEvent, Table,
};
use crate::ids::BucketKey;
use crate::row;
use crate::row::{DataType, Datum, Schema, TableDescriptor};
use crate::scanner::{EARLIEST, MetadataColumn, ScanBatch};
use crate::testing::cluster::ClusterOptions;
use crate::testing::loopback::LoopbackOptions;
use crate::time::Duration;
use fluss_proto::record::ChangeType;

/// A log table of `id BIGINT, text STRING` with so many buckets, that is placed by `id`.
pub(super) async fn log_of(fluss: &Fluss, path: &str, buckets: u32) -> Table {
    let schema = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("text", DataType::STRING)
        .build();
    let mut table = TableDescriptor::new(schema.expect("a schema"));
    table.bucket_key = vec![0];
    table.bucket_count = Some(buckets);
    let codec = ("table.log.arrow.compression.type", "NONE");
    table.properties.insert(codec.0.to_owned(), codec.1.to_owned());
    fluss.admin().create_table(path, &table, false).await.expect("a table");
    fluss.table(path).await.expect("it is there")
}

/// Appends rows of these ids to the bucket `id % buckets`, each in a batch of its own.
pub(super) async fn append_ids(table: &Table, ids: impl IntoIterator<Item = i64>, text: &str) {
    let place = |row: &crate::RowToAssign<'_>| u32::from(row.key[0]) % row.buckets;
    let writer = table.appender().linger(Duration::ZERO).bucket_assigner(place).build();
    let writer = writer.expect("a writer");
    for id in ids {
        writer.append(&row![id, text]).await.expect("it fits").await.expect("written");
    }
}

/// The ids in a batch, in order.
pub(super) fn ids(batch: &ScanBatch) -> Vec<i64> {
    batch.record_batch().column(0).as_primitive::<Int64Type>().values().to_vec()
}

/// All ids until the end of a bounded scan.
async fn rest(scanner: &mut LogScanner) -> Vec<i64> {
    let mut all = Vec::new();
    while let Some(batch) = scanner.next_batch().await.expect("readable") {
        all.extend(ids(&batch));
    }
    assert!(scanner.is_finished());
    all
}

/// A primary-key table with `+I`; `-U +U`; `-D`; `+I`, one write each.
async fn changed<H: Harness>(stage: &Stage<H>) -> Table {
    let table = keyed_table(stage).await;
    let writer = table.upserter().linger(Duration::ZERO).build().expect("a writer");
    for text in [Some("new"), Some("changed"), None, Some("again")] {
        let ticket = match text {
            Some(text) => writer.upsert(&row![7_i64, text]).await,
            None => writer.delete(&row![7_i64]).await,
        };
        ticket.expect("it fits").await.expect("written");
    }
    table
}

const CHANGES: [&str; 5] = ["+I", "-U", "+U", "-D", "+I"];

/// Record batches tell of each row what rows tell: change type, offset and time.
pub fn record_batches_tell_change_offset_and_time<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let table = changed(stage).await;
        let all = [MetadataColumn::Offset, MetadataColumn::ChangeType, MetadataColumn::Timestamp];
        let builder = table.scanner().with_metadata_columns(all).columns(["text"]).bounded();
        let mut scanner = builder.build().await.expect("a scanner");
        let schema = scanner.arrow_schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["text", "_log_offset", "_change_type", "_commit_timestamp"]);
        assert_eq!(scanner.schema().columns().len(), 1);
        let mut seen = Vec::new();
        while let Some(batch) = scanner.next_batch().await.expect("readable") {
            let columns = batch.record_batch();
            assert_eq!(columns.schema(), schema);
            let offsets = columns.column(1).as_primitive::<Int64Type>();
            let changes = columns.column(2).as_string::<i32>();
            let times = columns.column(3).as_primitive::<TimestampMillisecondType>();
            let rows = batch.rows().expect("rows");
            assert_eq!(rows.iter().count(), columns.num_rows());
            for (at, row) in rows.iter().enumerate() {
                assert_eq!(offsets.value(at), row.offset());
                assert_eq!(changes.value(at), row.change_type().symbol());
                assert_eq!(times.value(at), row.timestamp());
                seen.push(changes.value(at).to_owned());
            }
        }
        assert_eq!(seen, CHANGES);
        let log = table.scanner().with_metadata_columns([MetadataColumn::Offset; 2]);
        let error = log.build().await.expect_err("twice");
        assert!(matches!(error, Error::Misuse(_)), "{error}");
    });
}

/// `-U` and `+U` come in one batch; a start or an end between them is kept to exactly.
pub fn a_change_comes_whole_but_where_the_reader_itself_parts_it<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let table = changed(stage).await;
        let read = async |start: i64, end: i64| {
            let key = table.info().bucket(0);
            let builder = table.scanner().from_offsets([(key, start)]).until_offsets([(key, end)]);
            let mut scanner = builder.build().await.expect("a scanner");
            let mut seen = Vec::new();
            while let Some(batch) = scanner.next_batch().await.expect("readable") {
                let types = |row| batch.change_type(row).expect("a row");
                let changes: Vec<ChangeType> = (0..batch.num_rows()).map(types).collect();
                assert_eq!(batch.base_offset(), start + seen.len() as i64);
                let open = changes.last() == Some(&ChangeType::UpdateBefore);
                assert!(!open || end == 2, "-U without its +U: {changes:?}");
                seen.extend(changes.iter().map(|change| change.symbol()));
            }
            assert_eq!(scanner.positions()[&key], end);
            seen
        };
        assert_eq!(read(0, 5).await, CHANGES);
        assert_eq!(read(2, 5).await, CHANGES[2..]);
        assert_eq!(read(0, 2).await, CHANGES[..2]);
        assert_eq!(read(2, 3).await, ["+U"]);
    });
}

/// Scans end at offsets and at times, also where the last offsets carry no record.
pub fn bounded_scans_end_at_offsets_and_times<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let fluss = stage.client();
        let table = log_of(&fluss, "fluss.ends", 2).await;
        append_ids(&table, 0..10, "x").await;
        let keys = table.buckets().await.expect("buckets");
        let ends = [(keys[0], 3), (keys[1], 0)];
        let builder = table.scanner().until_offsets(ends);
        assert_eq!(rest(&mut builder.build().await.expect("a scanner")).await, [0, 2, 4]);
        let error = table.scanner().until_offsets([(keys[0], 3)]).build().await;
        let error = error.expect_err("an end for one of two buckets");
        assert!(error.to_string().contains(&keys[1].to_string()), "{error}");
        // An end that is still to come.
        let builder = table.scanner().until_offsets([(keys[0], 6), (keys[1], 5)]);
        let mut scanner = builder.build().await.expect("a scanner");
        let mut seen = 0;
        while seen < 10 {
            seen += scanner.next_batch().await.expect("readable").expect("no end").num_rows();
        }
        assert!(!scanner.is_finished());
        append_ids(&table, [10, 12], "later").await;
        assert_eq!(rest(&mut scanner).await, [10]);
        // Before all times, and after.
        for (millis, count) in [(0, 0), (i64::MAX, 12)] {
            let builder = table.scanner().until_timestamp(millis);
            let mut scanner = builder.build().await.expect("a scanner");
            assert_eq!(rest(&mut scanner).await.len(), count, "{millis}");
        }
        // A write that changes nothing is a batch without a record.
        let table = changed(stage).await;
        let writer = table.upserter().linger(Duration::ZERO).build().expect("a writer");
        let nothing = writer.delete(&row![1000_i64]).await.expect("it fits");
        nothing.await.expect("written");
        let end = table.offsets(OffsetSpec::Latest).await.expect("offsets")[0];
        assert!(end.offset > CHANGES.len() as i64, "no offset without a record: {end:?}");
        let mut scanner = table.scanner().bounded().build().await.expect("a scanner");
        assert_eq!(rest(&mut scanner).await.len(), CHANGES.len());
        assert_eq!(scanner.positions()[&end.bucket], end.offset);
    });
}

/// Buckets with large batches and buckets with small ones are read in turn.
pub fn every_bucket_with_data_moves_whatever_the_sizes_of_batches<H: Harness>() {
    const EACH: i64 = 12;
    let one_server = ClusterOptions { tablet_servers: 1, ..ClusterOptions::default() };
    Stage::<H>::run_with(one_server, LoopbackOptions::default(), async |stage| {
        let fluss = stage.client();
        let table = log_of(&fluss, "fluss.sizes", 3).await;
        let large = "large ".repeat(8 << 10);
        let ids_of = |bucket: i64| (0..EACH).map(move |n| n * 3 + bucket);
        append_ids(&table, ids_of(0), &large).await;
        append_ids(&table, ids_of(1), "small").await;
        append_ids(&table, ids_of(2), "small too").await;
        // A batch of the first bucket fills an answer by itself.
        let builder = table.scanner().max_bytes(16 << 10).bounded();
        let mut scanner = builder.build().await.expect("a scanner");
        let mut counts = [0; 3];
        while let Some(batch) = scanner.next_batch().await.expect("readable") {
            let bucket = batch.bucket().bucket as usize;
            counts[bucket] += batch.num_rows();
            let [large, small, too] = counts;
            assert!(
                large <= 3 || small > 0 && too > 0,
                "the large one is served alone: {counts:?}"
            );
            let both = small + too == 2 * EACH as usize;
            assert!(large > 0 || !both, "the large one waits until all others are done");
        }
        assert_eq!(counts, [EACH as usize; 3]);
    });
}

/// A position that is not in the log is an error with the range, or reading goes on as it is told.
pub fn a_position_out_of_range_is_dealt_with_as_told<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = stage.writer().await;
        let append = async |id: i64| {
            let ticket = writer.append(&row![id, "x"]).await.expect("it fits");
            stage.acked(id, ticket).await;
        };
        for id in 0..3 {
            append(id).await;
        }
        let key = stage.bucket();
        let table = writer.table();
        let mut scanner = table.scanner().from_offset(100).build().await.expect("a scanner");
        let error = scanner.next_batch().await.expect_err("out of range");
        let Error::Scan(error) = error else { panic!("{error}") };
        assert_eq!((error.bucket, error.position, error.range), (key, 100, Some((0, 3))));
        assert_eq!(scanner.progress(key).map(|p| p.stopped), Some(true));
        for (action, to, first) in [(OnOutOfRange::Earliest, 0, 0), (OnOutOfRange::Latest, 3, 3)] {
            let recorder = Recorder::default();
            let builder = table.scanner().from_offset(100).on_out_of_range(action);
            let builder = builder.on_event(recorder.listener());
            let mut scanner = builder.build().await.expect("a scanner");
            recorder.wake(scanner.waker());
            let mut batch = scanner.next_batch().await.expect("readable");
            if action == OnOutOfRange::Latest {
                assert!(batch.is_none(), "nothing is there, but it is woken");
                append(3).await;
            }
            // The wake may count for the call after the one in which it happened.
            let batch = loop {
                match batch {
                    Some(batch) => break batch,
                    None => batch = scanner.next_batch().await.expect("readable"),
                }
            };
            assert_eq!(batch.base_offset(), first);
            let reset = ScanEvent::PositionReset { bucket: key, from: 100, to, range: (0, 3) };
            assert_eq!(recorder.events(), [reset]);
        }
    });
}

/// A damaged batch stops its bucket, or is passed over and reported.
pub fn a_damaged_batch_is_dealt_with_as_told<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let fluss = stage.client();
        let table = log_of(&fluss, "fluss.damaged", 1).await;
        append_ids(&table, 0..5, "x").await;
        let key: BucketKey = table.info().bucket(0);
        assert!(stage.with(|cluster| cluster.damage_log(key, 2)), "a batch is there");
        let mut scanner = table.scanner().bounded().build().await.expect("a scanner");
        for id in 0..2 {
            let batch = scanner.next_batch().await.expect("readable").expect("no end");
            assert_eq!(ids(&batch), [id]);
        }
        let error = scanner.next_batch().await.expect_err("damaged");
        let Error::Scan(error) = error else { panic!("{error}") };
        assert_eq!((error.bucket, error.position), (key, 2));
        assert!(error.to_string().contains("checksum"), "{error}");
        let recorder = Recorder::default();
        let builder = table.scanner().bounded().on_corrupt_batch(OnCorruptBatch::Skip);
        let mut scanner = builder.on_event(recorder.listener()).build().await.expect("a scanner");
        assert_eq!(rest(&mut scanner).await, [0, 1, 3, 4]);
        let events = recorder.events();
        let [ScanEvent::BatchSkipped { bucket, from: 2, to: 3, cause }] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(*bucket, key);
        assert!(matches!(cause, Error::Decode(_)), "{cause}");
    });
}

/// One scan as Arrow's source of record batches, as a stream, and by polling.
pub fn a_scan_is_a_stream_and_an_arrow_reader<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let fluss = stage.client();
        let table = log_of(&fluss, "fluss.stream", 1).await;
        append_ids(&table, 0..20, "x").await;
        let build = async || {
            let builder = table.scanner().from_earliest().bounded();
            builder.with_metadata_columns([MetadataColumn::Offset]).build().await.expect("built")
        };
        let mut scanner = build().await;
        let mut seen = Vec::new();
        let next = |scanner: &mut LogScanner, cx: &mut std::task::Context<'_>| {
            let stream = std::pin::Pin::new(scanner);
            futures_core::Stream::poll_next(stream, cx)
        };
        while let Some(batch) = std::future::poll_fn(|cx| next(&mut scanner, cx)).await {
            seen.extend(ids(&batch.expect("readable")));
        }
        assert_eq!(seen, (0..20).collect::<Vec<i64>>());
        let reader = build().await.into_record_batches();
        let batches = stage.aside(move || read_arrow(reader)).await;
        assert_eq!(batches, (0..20).collect::<Vec<i64>>());
        let mut at = build().await;
        at.seek(table.info().bucket(0), EARLIEST).expect("it is read");
        assert_eq!(rest(&mut at).await.len(), 20);
    });
}

/// Takes whatever is Arrow's.
fn read_arrow(reader: impl arrow_array::RecordBatchReader + Send + 'static) -> Vec<i64> {
    let schema = reader.schema();
    assert_eq!(schema.fields().len(), 3);
    let mut seen = Vec::new();
    for batch in reader {
        let batch = batch.expect("readable");
        assert_eq!(batch.schema(), schema);
        seen.extend_from_slice(batch.column(2).as_primitive::<Int64Type>().values());
    }
    seen
}

/// What `#[derive(Deserialize)]` makes, in another order than the table's.
#[derive(Debug, PartialEq)]
struct Event<'a> {
    text: Option<&'a str>,
    id: u8,
}

impl<'de: 'a, 'a> Deserialize<'de> for Event<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Event<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an event")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event<'de>, A::Error> {
                let mut event = Event { text: None, id: u8::MAX };
                while let Some(column) = map.next_key::<&str>()? {
                    match column {
                        "id" => event.id = map.next_value()?,
                        "text" => event.text = map.next_value()?,
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(event)
            }
        }

        deserializer.deserialize_struct("Event", &["text", "id"], Fields)
    }
}

/// Rows are read into structs by the names of their columns, texts borrowed; a value that does not
/// fit is told with its column, and the others follow.
pub fn rows_become_structs<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = stage.writer().await;
        for (id, text) in [(0, Some("a")), (1, None), (2000, Some("c")), (3, Some("d"))] {
            let ticket = writer.append(&row![id, text]).await.expect("it fits");
            stage.acked(id, ticket).await;
        }
        let mut scanner = writer.table().scanner().bounded().build().await.expect("a scanner");
        let mut seen = Vec::new();
        while let Some(batch) = scanner.next_batch().await.expect("readable") {
            let rows = batch.rows().expect("rows");
            let texts = rows.deserialize().map(|event| match event {
                Ok(Event { text, id }) => format!("{id} {text:?}"),
                Err(error) => error.to_string(),
            });
            seen.extend(texts);
            let first = rows.iter().next().expect("a row");
            let by_name = first.value_of("id").expect("a column");
            assert_eq!(
                first.to().map(|(id, _): (i64, Option<&str>)| Datum::Int64(id)),
                Ok(by_name)
            );
        }
        assert_eq!((&*seen[0], &*seen[1], &*seen[3]), ("0 Some(\"a\")", "1 None", "3 Some(\"d\")"));
        assert!(seen[2].starts_with("column `id`: ") && seen[2].contains("2000"), "{}", seen[2]);
    });
}
