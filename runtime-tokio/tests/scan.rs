//! Scans over loopback: everything that was written comes back once, in order.

use std::collections::BTreeMap;
use std::time::Duration;

use fluss_core::ids::{BucketKey, ServerId, TablePath};
use fluss_core::row::{Column, DataType, Schema, TableDescriptor, TypeKind};
use fluss_core::testing::cluster::{ClusterOptions, FakeCluster};
use fluss_core::testing::loopback::{Loopback, LoopbackOptions};
use fluss_core::time::Instant;
use fluss_core::{Fluss, LogScanner, OffsetSpec, ScanBatch};
use fluss_proto::message::{CreateTableRequest, PbTablePath};
use fluss_proto::record::ChangeType;
use fluss_proto::request::encode_request;
use fluss_tools::main_job::nothing_held;

fn column(name: &str, kind: TypeKind) -> Column {
    Column::new(name, DataType { kind, nullable: true })
}

/// A cluster with the table `fluss.t` of 3 buckets.
fn cluster(primary_key: Vec<usize>) -> Loopback {
    let columns = vec![column("id", TypeKind::BigInt), column("name", TypeKind::String)];
    let mut descriptor = TableDescriptor::new(Schema::new(columns, primary_key));
    descriptor.bucket_count = Some(3);
    let mut cluster = FakeCluster::new(ClusterOptions::default());
    let conn = cluster.open(ServerId::Coordinator).expect("it is up");
    let request = CreateTableRequest {
        table_path: PbTablePath { database_name: "fluss".into(), table_name: "t".into() },
        table_json: descriptor.to_json().into_bytes().into(),
        ignore_if_exists: false,
    };
    let frame = encode_request(0, 0, &request).expect("small");
    cluster.handle_bytes(conn, &frame, Instant::ZERO);
    assert!(cluster.table_id(&TablePath::new("fluss", "t")).is_some(), "not created");
    Loopback::start(cluster, LoopbackOptions::default()).expect("ports")
}

async fn connect(loopback: &Loopback) -> Fluss {
    let server = loopback.address(ServerId::Tablet(0)).expect("it is up").to_string();
    fluss_tokio::connect(&server).await.expect("a connection")
}

/// Ids in the order of each bucket.
#[derive(Debug, Default)]
struct Seen {
    ids: Vec<i64>,
    next: BTreeMap<BucketKey, i64>,
}

impl Seen {
    fn add(&mut self, batch: &ScanBatch) {
        let rows = batch.rows().expect("rows");
        for row in rows.iter() {
            let next = self.next.entry(batch.bucket()).or_insert_with(|| row.offset());
            assert_eq!(row.offset(), *next, "a gap or a repetition in {}", batch.bucket());
            *next += 1;
            match row.value_of("id").expect("a column") {
                fluss_core::row::Datum::Int64(id) => self.ids.push(id),
                other => panic!("{other:?}"),
            }
        }
    }

    fn sorted(mut self) -> Vec<i64> {
        self.ids.sort_unstable();
        self.ids
    }
}

async fn read_all(scanner: &mut LogScanner) -> Seen {
    let mut seen = Seen::default();
    while let Some(batch) = scanner.next_batch().await.expect("readable") {
        seen.add(&batch);
    }
    assert!(scanner.is_finished());
    seen
}

async fn append(fluss: &Fluss, ids: std::ops::Range<i64>) {
    let table = fluss.table("fluss.t").await.expect("the table");
    let writer = table.appender().linger(Duration::ZERO).build().expect("a writer");
    for id in ids {
        drop(writer.append(&(id, format!("name {id}"))).await.expect("taken"));
    }
    writer.flush().await.expect("written");
    nothing_held(fluss);
}

#[tokio::test]
async fn a_bounded_scan_reads_every_row_once_and_ends() {
    let loopback = cluster(vec![]);
    let fluss = connect(&loopback).await;
    let table = fluss.table("fluss.t").await.expect("the table");
    let mut empty = table.scanner().bounded().build().await.expect("a scanner");
    assert!(empty.next_batch().await.expect("an end").is_none());

    append(&fluss, 0..5000).await;
    let mut scanner = table.scanner().bounded().build().await.expect("a scanner");
    let seen = read_all(&mut scanner).await;
    assert_eq!(seen.sorted(), (0..5000).collect::<Vec<_>>());
    let ends = table.offsets(OffsetSpec::Latest).await.expect("offsets");
    assert_eq!(ends.iter().map(|end| end.offset).sum::<i64>(), 5000);
    for end in &ends {
        assert_eq!(scanner.positions()[&end.bucket], end.offset);
    }

    // From the middle, one column, and only what a scanner has not seen yet.
    let starts = ends.iter().map(|end| (end.bucket, end.offset / 2));
    let builder = table.scanner().from_offsets(starts).columns(["id"]).bounded();
    let mut half = builder.build().await.expect("a scanner");
    assert_eq!(half.schema().columns().len(), 1);
    let expected: i64 = ends.iter().map(|end| end.offset - end.offset / 2).sum();
    assert_eq!(read_all(&mut half).await.ids.len() as i64, expected);
}

#[tokio::test]
async fn a_following_scan_loses_nothing_although_its_futures_are_dropped() {
    let loopback = cluster(vec![]);
    let fluss = connect(&loopback).await;
    append(&fluss, 0..10).await;
    let table = fluss.table("fluss.t").await.expect("the table");
    let mut scanner = table.scanner().from_latest().build().await.expect("a scanner");
    let writes = tokio::spawn({
        let fluss = fluss.clone();
        async move { append(&fluss, 10..2010).await }
    });
    let mut seen = Seen::default();
    let mut dropped = 0;
    while seen.ids.len() < 2000 {
        tokio::select! {
            biased;
            batch = scanner.next_batch() => {
                seen.add(&batch.expect("readable").expect("no end"));
            }
            () = tokio::task::yield_now() => dropped += 1,
        }
    }
    assert!(dropped > 0);
    assert_eq!(seen.sorted(), (10..2010).collect::<Vec<_>>());
    writes.await.expect("written");
}

#[tokio::test]
async fn a_changelog_tells_what_happened() {
    let loopback = cluster(vec![0]);
    let fluss = connect(&loopback).await;
    let table = fluss.table("fluss.t").await.expect("the table");
    let writer = table.upserter().build().expect("a writer");
    for name in ["a", "b"] {
        drop(writer.upsert(&(1_i64, name)).await.expect("taken"));
        writer.flush().await.expect("written");
    }
    let mut scanner = table.scanner().bounded().build().await.expect("a scanner");
    let mut changes = Vec::new();
    while let Some(batch) = scanner.next_batch().await.expect("readable") {
        changes.extend((0..batch.num_rows()).filter_map(|row| batch.change_type(row)));
    }
    use ChangeType::{Insert, UpdateAfter, UpdateBefore};
    assert_eq!(changes, [Insert, UpdateBefore, UpdateAfter]);
    nothing_held(&fluss);
}

#[tokio::test]
async fn a_position_out_of_range_is_an_error_with_the_range_and_others_go_on() {
    let loopback = cluster(vec![]);
    let fluss = connect(&loopback).await;
    append(&fluss, 0..300).await;
    let table = fluss.table("fluss.t").await.expect("the table");
    let ends = table.offsets(OffsetSpec::Latest).await.expect("offsets");
    let fullest = ends.iter().max_by_key(|end| end.offset).copied().expect("buckets");
    let starts = ends.iter().map(|e| (e.bucket, if *e == fullest { 1000 } else { 0 }));
    let mut scanner = table.scanner().from_offsets(starts).build().await.expect("a scanner");
    let (mut errors, mut rows) = (Vec::new(), 0);
    let expected: i64 = ends.iter().filter(|e| **e != fullest).map(|e| e.offset).sum();
    while rows < expected || errors.is_empty() {
        match scanner.next_batch().await {
            Ok(batch) => rows += batch.expect("no end").num_rows() as i64,
            Err(error) => errors.push(error.to_string()),
        }
    }
    assert_eq!(errors.len(), 1);
    let range = format!("offsets 0 to {} (exclusive)", fullest.offset);
    assert!(errors[0].contains("at offset 1000") && errors[0].contains(&range), "{}", errors[0]);
    scanner.seek(fullest.bucket, 0).expect("a bucket of it");
    let batch = scanner.next_batch().await.expect("readable").expect("no end");
    assert_eq!((batch.bucket(), batch.base_offset()), (fullest.bucket, 0));
}

#[tokio::test]
async fn unknown_columns_and_buckets_are_refused_by_name() {
    let loopback = cluster(vec![]);
    let fluss = connect(&loopback).await;
    let table = fluss.table("fluss.t").await.expect("the table");
    let error = table.scanner().columns(["id", "nme"]).build().await.expect_err("no such column");
    assert!(error.to_string().contains("nme"), "{error}");
    let bucket = BucketKey { table: table.info().id, partition: None, bucket: 3 };
    let error = table.scanner().buckets([bucket]).build().await.expect_err("no such bucket");
    assert!(error.to_string().contains("3 buckets"), "{error}");
}
