//! Scans with a filter: only the rows of which it is true, whatever servers make of it.

use std::collections::BTreeMap;
use std::task::Poll;

use super::Harness;
use super::reading::{append_ids, ids};
use super::stage::{Stage, keyed_table, poll_once};
use crate::error::Error;
use crate::handle::{Fluss, LogScanner, Table};
use crate::row;
use crate::row::{DataType, Schema, TableDescriptor};
use crate::testing::cluster::{ClusterOptions, Fault, On, Release};
use crate::testing::loopback::LoopbackOptions;
use crate::time::Duration;
use crate::{MetadataColumn, col};

/// Runs a case with servers that know of filters, and with servers that do not.
fn on_both<H: Harness>(case: impl AsyncFnOnce(&Stage<H>, Release) + Clone + Send + 'static) {
    for release in [Release::V0_9, Release::V1_0] {
        let cluster = ClusterOptions { release, ..ClusterOptions::default() };
        let case = case.clone();
        Stage::<H>::run_with(cluster, LoopbackOptions::default(), async move |stage: &Stage<H>| {
            case(stage, release).await;
        });
    }
}

/// `id BIGINT, text STRING` in two buckets, whose batches tell what is in them where servers know
/// of that.
async fn log(fluss: &Fluss, release: Release) -> Table {
    let schema = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("text", DataType::STRING)
        .build();
    let mut table = TableDescriptor::new(schema.expect("a schema"));
    table.bucket_key = vec![0];
    table.bucket_count = Some(2);
    if release == Release::V1_0 {
        table.properties.insert("table.statistics.columns".to_owned(), "id".to_owned());
    }
    fluss.admin().create_table("fluss.filtered", &table, false).await.expect("a table");
    fluss.table("fluss.filtered").await.expect("it is there")
}

/// All ids until the end of a bounded scan, in order.
async fn rest(scanner: &mut LogScanner) -> Vec<i64> {
    let mut all = Vec::new();
    while let Some(batch) = scanner.next_batch().await.expect("readable") {
        all.extend(ids(&batch));
    }
    all.sort_unstable();
    all
}

/// Batches and rows have the same rows left, at their offsets, and positions reach the end.
pub fn a_filtered_scan_has_the_wanted_rows_at_their_offsets<H: Harness>() {
    on_both::<H>(async |stage, release| {
        let table = log(&stage.client(), release).await;
        append_ids(&table, 0..60, "x").await;
        let wanted = || col("id").is_in([4, 31, 58]).or(col("id").lt(3).and(col("text").ne("y")));
        let scan = table.scanner().filter(wanted()).with_metadata_columns(MetadataColumn::ALL);
        let mut scanner = scan.bounded().build().await.expect("a scanner");
        let mut found = BTreeMap::new();
        while let Some(batch) = scanner.next_batch().await.expect("readable") {
            let rows = batch.rows().expect("rows");
            for (row, id) in rows.iter().zip(ids(&batch)) {
                assert_eq!(row.get::<i64>(0).expect("an id"), id);
                found.insert(id, (batch.bucket().bucket, row.offset()));
            }
        }
        let place = |id: i64| (id, ((id % 2) as i32, id / 2));
        assert_eq!(found, [0, 1, 2, 4, 31, 58].map(place).into());
        assert!(scanner.positions().values().all(|position| *position == 30));
        // A column that is asked and not wanted, cuts under way, and nothing at all.
        stage.inject(On::Fetch, 1, Fault::CutAnswer);
        let scan = table.scanner().columns(["text"]).filter(wanted()).max_bytes(1 << 10).bounded();
        let mut scanner = scan.build().await.expect("a scanner");
        let mut count = 0;
        while let Some(batch) = scanner.next_batch().await.expect("readable") {
            assert_eq!(batch.record_batch().num_columns(), 1);
            count += batch.num_rows();
        }
        assert_eq!(count, 6);
        let scan = table.scanner().filter(col("id").gt(1000)).bounded();
        let mut scanner = scan.build().await.expect("a scanner");
        assert_eq!(rest(&mut scanner).await, [0_i64; 0]);
        assert!(scanner.is_finished());
        let error = table.scanner().filter(col("id").contains("1")).build().await;
        let error = error.expect_err("it is no text");
        assert!(matches!(error, Error::Misuse(_)) && error.to_string().contains("`id`"), "{error}");
    });
}

/// A scan that follows moves over what it leaves out, and has what comes later.
pub fn a_filtered_scan_moves_over_what_it_leaves_out<H: Harness>() {
    on_both::<H>(async |stage, release| {
        let table = log(&stage.client(), release).await;
        let keys = [0, 1].map(|bucket| table.info().bucket(bucket));
        let mut scanner = table.scanner().filter(col("id").ge(100)).build().await.expect("built");
        for first in [0, 20, 40] {
            append_ids(&table, first..first + 20, "x").await;
            append_ids(&table, [100 + first], "y").await;
            let batch = scanner.next_batch().await.expect("readable").expect("no end");
            assert_eq!((ids(&batch), batch.bucket()), (vec![100 + first], keys[0]));
        }
        let is_through = |scanner: &LogScanner| {
            let lag = |key| scanner.progress(key).and_then(|progress| progress.lag());
            keys.into_iter().all(|key| lag(key) == Some(0))
        };
        // Whoever waits for a row is called also where there is none.
        std::future::poll_fn(|cx| {
            assert!(scanner.poll_next_batch(cx).is_pending(), "no row is wanted");
            if is_through(&scanner) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        assert_eq!(scanner.positions().values().copied().collect::<Vec<_>>(), [33, 30]);
        // Given up and asked for again.
        for id in [101, 103, 105] {
            assert!(poll_once(&mut scanner.next_batch()).await.is_pending(), "nothing is there");
            append_ids(&table, [id], "z").await;
            let batch = scanner.next_batch().await.expect("readable").expect("no end");
            assert_eq!((ids(&batch), batch.offset(0)), (vec![id], Some(30 + (id - 101) / 2)));
        }
    });
}

/// In the changelog of a primary-key table each record is judged by its own values.
pub fn records_of_a_changelog_are_chosen_one_by_one<H: Harness>() {
    on_both::<H>(async |stage, _| {
        let table = keyed_table(stage).await;
        let writer = table.upserter().linger(Duration::ZERO).build().expect("a writer");
        for text in [Some("a"), Some("b"), Some("b"), Some("a"), None] {
            let ticket = match text {
                Some(text) => writer.upsert(&row![7_i64, text]).await,
                None => writer.delete(&row![7_i64]).await,
            };
            ticket.expect("it fits").await.expect("written");
        }
        let scan = table.scanner().filter(col("text").eq("b")).bounded();
        let mut scanner = scan.build().await.expect("a scanner");
        let mut changes = Vec::new();
        while let Some(batch) = scanner.next_batch().await.expect("readable") {
            for row in batch.rows().expect("rows").iter() {
                changes.push((row.change_type().symbol(), row.offset()));
            }
        }
        assert_eq!(changes, [("+U", 2), ("-U", 3), ("+U", 4), ("-U", 5)]);
    });
}
