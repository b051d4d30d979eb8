//! What scanners read, changed under way: buckets added, taken away and paused, partitions that
//! come and go, waits that are ended from elsewhere or dropped.

use std::collections::BTreeMap;

use super::Harness;
use super::reading::{append_ids, ids, log_of};
use super::stage::{PATIENCE, Stage, poll_once, requests};
use crate::error::Error;
use crate::handle::{LogScanner, Recorder, ScanEvent};
use crate::ids::{BucketKey, PartitionId};
use crate::rng::Rng;
use crate::row;
use crate::row::{DataType, Schema, TableDescriptor};
use crate::scanner::EARLIEST;
use crate::time::Duration;

const FETCH_LOG: i16 = 1015;

/// Reads so many rows; their ids by bucket, in order.
async fn read(scanner: &mut LogScanner, count: usize) -> BTreeMap<i32, Vec<i64>> {
    let mut seen: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    let mut rows = 0;
    while rows < count {
        let batch = scanner.next_batch().await.expect("readable").expect("no end");
        let end = batch.base_offset() + batch.num_rows() as i64;
        assert_eq!(scanner.positions()[&batch.bucket()], end);
        rows += batch.num_rows();
        seen.entry(batch.bucket().bucket).or_default().extend(ids(&batch));
    }
    assert_eq!(rows, count, "rows that nobody wrote: {seen:?}");
    seen
}

/// Buckets are subscribed and unsubscribed while others are read; one that does not exist is
/// refused.
pub fn buckets_are_added_and_taken_away_under_way<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let fluss = stage.client();
        let table = log_of(&fluss, "fluss.some", 3).await;
        append_ids(&table, 0..9, "x").await;
        let bucket = |number: i32| table.info().bucket(number);
        let mut scanner = table.scanner().buckets([bucket(0)]).build().await.expect("a scanner");
        assert_eq!(read(&mut scanner, 3).await, BTreeMap::from([(0, vec![0, 3, 6])]));
        scanner.subscribe([(bucket(1), 1), (bucket(2), EARLIEST)]).await.expect("subscribed");
        let seen = read(&mut scanner, 5).await;
        assert_eq!(seen, BTreeMap::from([(1, vec![4, 7]), (2, vec![2, 5, 8])]));
        for wrong in
            [bucket(3), bucket(-1), BucketKey { partition: Some(PartitionId(1)), ..bucket(0) }]
        {
            let error = scanner.subscribe([(bucket(0), 0), (wrong, 0)]).await;
            let error = error.expect_err("no such bucket");
            assert!(matches!(error, Error::Misuse(_)), "{error}");
            assert!(error.to_string().contains("3 buckets"), "{error}");
        }
        let error = scanner.subscribe([(bucket(0), -7)]).await.expect_err("no offset");
        assert!(error.to_string().contains("-7"), "{error}");
        assert_eq!(scanner.positions().values().copied().collect::<Vec<_>>(), [3, 3, 3]);

        assert!(scanner.unsubscribe(bucket(1)) && !scanner.unsubscribe(bucket(1)));
        assert!(scanner.progress(bucket(1)).is_none());
        append_ids(&table, 9..15, "later").await;
        let seen = read(&mut scanner, 4).await;
        assert_eq!(seen, BTreeMap::from([(0, vec![9, 12]), (2, vec![11, 14])]));
        // Subscribed again, also one that is read already.
        let again = [(bucket(1), 3), (bucket(0), 4)];
        scanner.subscribe(again).await.expect("subscribed");
        let seen = read(&mut scanner, 3).await;
        assert_eq!(seen, BTreeMap::from([(0, vec![12]), (1, vec![10, 13])]));
        for number in 0..3 {
            assert!(scanner.unsubscribe(bucket(number)));
        }
        assert!(poll_once(&mut scanner.next_batch()).await.is_pending(), "nothing is read");
        // A bounded scan asks for the ends of buckets that come later.
        let builder = table.scanner().buckets([bucket(0)]).bounded();
        let mut scanner = builder.build().await.expect("a scanner");
        append_ids(&table, [15, 16], "later").await;
        scanner.subscribe([(bucket(1), 4)]).await.expect("subscribed");
        let seen = read(&mut scanner, 7).await;
        assert_eq!(seen, BTreeMap::from([(0, vec![0, 3, 6, 9, 12]), (1, vec![13, 16])]));
        assert!(scanner.next_batch().await.expect("readable").is_none());
        assert!(scanner.is_finished());
    });
}

/// A paused bucket costs nothing and goes on where it was.
pub fn a_paused_bucket_is_neither_fetched_nor_handed_out<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let fluss = stage.client();
        let table = log_of(&fluss, "fluss.paused", 2).await;
        append_ids(&table, 0..10, "x").await;
        let bucket = |number: i32| table.info().bucket(number);
        let mut scanner = table.scanner().build().await.expect("a scanner");
        let first = scanner.next_batch().await.expect("readable").expect("no end");
        let at = scanner.positions()[&bucket(0)].max(0);
        // Some of it is fetched already.
        scanner.pause(bucket(0)).expect("it is read");
        scanner.pause(bucket(0)).expect("once more");
        assert_eq!(scanner.paused().collect::<Vec<_>>(), [bucket(0)]);
        let progress = scanner.progress(bucket(0)).expect("it is read");
        assert!(progress.paused && !progress.stopped && progress.buffered_bytes == 0);
        let of_other = if first.bucket().bucket == 1 { 5 - first.num_rows() } else { 5 };
        let seen = read(&mut scanner, of_other).await;
        assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [1]);
        append_ids(&table, [10, 11], "later").await;
        assert_eq!(read(&mut scanner, 1).await, BTreeMap::from([(1, vec![11])]));
        assert_eq!(scanner.positions()[&bucket(0)].max(0), at);
        scanner.pause(bucket(1)).expect("it is read");
        // The fetch on its way ends, and no other follows.
        append_ids(&table, [12, 13], "later").await;
        let fetches = stage.requests(FETCH_LOG);
        append_ids(&table, [14, 15], "later").await;
        assert!(poll_once(&mut scanner.next_batch()).await.is_pending(), "all is paused");
        assert!(stage.requests(FETCH_LOG) <= fetches + 1, "paused buckets are fetched");
        scanner.resume(bucket(0)).expect("it is read");
        scanner.resume(bucket(0)).expect("once more");
        let rest: Vec<i64> = (0..16).step_by(2).skip(at as usize).collect();
        assert_eq!(read(&mut scanner, rest.len()).await, BTreeMap::from([(0, rest)]));
        // Sought while it is paused.
        scanner.seek(bucket(1), 7).expect("it is read");
        assert!(poll_once(&mut scanner.next_batch()).await.is_pending(), "it is paused");
        scanner.resume(bucket(1)).expect("it is read");
        assert_eq!(read(&mut scanner, 1).await, BTreeMap::from([(1, vec![15])]));
        let error = scanner.pause(bucket(7)).expect_err("it is not read");
        assert!(matches!(error, Error::Misuse(_)), "{error}");
    });
}

/// New partitions are found and read from their first row on; a dropped one is the end of its
/// buckets and of nothing else.
pub fn partitions_are_found_and_dropped_under_way<H: Harness>() {
    Stage::<H>::run(async |stage| {
        const PATH: &str = "fluss.days";
        let fluss = stage.client();
        let schema = Schema::builder()
            .column("id", DataType::BIGINT.not_null())
            .column("day", DataType::STRING.not_null());
        let mut table = TableDescriptor::new(schema.build().expect("a schema"));
        table.partition_key = vec![1];
        table.bucket_count = Some(2);
        fluss.admin().create_table(PATH, &table, false).await.expect("a table");
        let table = fluss.table(PATH).await.expect("it is there");
        let writer = table.appender().linger(Duration::ZERO).build().expect("a writer");
        let append = async |id: i64, day: &str| {
            writer.append(&row![id, day]).await.expect("it fits").await.expect("written")
        };
        append(0, "mon").await;
        let recorder = Recorder::default();
        let often = Some(Duration::from_millis(5));
        let builder =
            table.scanner().from_latest().discover_partitions(often).on_event(recorder.listener());
        let mut scanner = builder.build().await.expect("a scanner");
        let old = append(1, "mon").await.partition.expect("a partition");
        let new = append(2, "tue").await.partition.expect("a partition");
        let mut seen = Vec::new();
        while seen.len() < 2 {
            seen.extend(ids(&scanner.next_batch().await.expect("readable").expect("no end")));
        }
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
        let name = |event: &ScanEvent| match event {
            ScanEvent::PartitionFound { partition, name } => (true, *partition, name.to_string()),
            ScanEvent::PartitionDropped { partition, name } => {
                (false, *partition, name.to_string())
            }
            other => panic!("{other:?}"),
        };
        let told = || recorder.events().iter().map(name).collect::<Vec<_>>();
        assert_eq!(told(), [(true, new, "tue".to_owned())]);
        let of = |partition| BucketKey { partition: Some(partition), ..table.info().bucket(2) };
        let error = scanner.subscribe([(of(new), 0)]).await.expect_err("no such bucket");
        assert!(error.to_string().contains("partition tue"), "{error}");

        fluss.admin().drop_partition(PATH, &[("day", "mon")], false).await.expect("dropped");
        let later = append(3, "wed").await.partition.expect("a partition");
        let mut seen = Vec::new();
        while seen.is_empty() {
            seen.extend(ids(&scanner.next_batch().await.expect("readable").expect("no end")));
        }
        assert_eq!(seen, [3]);
        let dropped = (false, old, "mon".to_owned());
        let waker = scanner.waker();
        while !told().contains(&dropped) {
            // It is told while somebody waits.
            assert!(poll_once(&mut scanner.next_batch()).await.is_pending(), "nothing else comes");
            let before = stage.requests(FETCH_LOG);
            stage.until("a fetch", move |cluster| requests(cluster, FETCH_LOG) > before).await;
        }
        drop(waker);
        assert!(scanner.positions().keys().all(|key| key.partition != Some(old)));
        append(4, "tue").await;
        let batch = scanner.next_batch().await.expect("readable").expect("no end");
        assert_eq!((ids(&batch), batch.bucket().partition), (vec![4], Some(new)));
        assert!(told().contains(&(true, later, "wed".to_owned())), "{:?}", told());
        assert_eq!(scanner.unsubscribe_partition(new), 2);
        let builder = table.scanner().bounded().discover_partitions(often);
        let error = builder.build().await.expect_err("it ends");
        assert!(matches!(error, Error::Misuse(_)), "{error}");
    });
}

/// A blocked reader is woken from another thread, or a reader before it waits, and goes on.
pub fn a_waker_ends_a_wait_and_loses_nothing<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let fluss = stage.client();
        let table = log_of(&fluss, "fluss.woken", 1).await;
        let mut scanner = table.scanner().build().await.expect("a scanner");
        let waker = scanner.waker();
        for id in 0..10 {
            let blocked = stage.aside(move || {
                let woken = scanner.next_batch().wait_timeout(PATIENCE).map(|b| b.is_none());
                (scanner, woken)
            });
            waker.clone().wake();
            let (reader, woken) = blocked.await;
            (scanner, _) = (reader, assert_eq!(woken, Ok(true)));
            assert!(!scanner.is_finished());
            append_ids(&table, [id], "x").await;
            waker.wake();
            waker.wake();
            assert!(scanner.next_batch().await.expect("readable").is_none(), "woken, once");
            let batch = scanner.next_batch().await.expect("readable").expect("no end");
            assert_eq!(ids(&batch), [id]);
        }
        waker.wake();
        assert_eq!(scanner.blocking_iter().count(), 0, "a wake ends it");
    });
}

/// Waits are dropped after a random number of looks, also in the middle of what a call does.
pub fn waits_dropped_at_random_lose_nothing<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let seed = 7;
        let mut rng = Rng::new(seed);
        let fluss = stage.client();
        let table = log_of(&fluss, "fluss.dropped", 3).await;
        let mut scanner = table.scanner().max_bytes(1 << 10).build().await.expect("a scanner");
        let mut seen: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        let mut written = 0;
        while written < 90 {
            let more = 1 + rng.below(6) as i64;
            append_ids(&table, written..written + more, "some text").await;
            written += more;
            for _ in 0..rng.below(8) {
                let mut wait = scanner.next_batch();
                for _ in 0..=rng.below(3) {
                    if let std::task::Poll::Ready(batch) = poll_once(&mut wait).await {
                        let batch = batch.expect("readable").expect("no end");
                        seen.entry(batch.bucket().bucket).or_default().extend(ids(&batch));
                        break;
                    }
                }
            }
        }
        let so_far: usize = seen.values().map(Vec::len).sum();
        for (bucket, more) in read(&mut scanner, written as usize - so_far).await {
            seen.entry(bucket).or_default().extend(more);
        }
        for (bucket, found) in seen {
            let all: Vec<i64> = (0..written).filter(|id| id % 3 == i64::from(bucket)).collect();
            assert_eq!(found, all, "bucket {bucket}, seed {seed}");
        }
    });
}
