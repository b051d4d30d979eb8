//! Logs whose older segments were moved to remote storage.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Harness;
use super::reading::{append_ids, ids, log_of};
use super::stage::{PATIENCE, PRODUCE_LOG, Stage, keyed_table, poll_once, requests};
use crate::config::{ObjectPart, Storage, StorageError, Store};
use crate::handle::LogScanner;
use crate::ids::BucketKey;
use crate::row;
use crate::row::Datum;
use crate::testing::loopback::Loopback;
use crate::testing::store::store_of;
use crate::time::Duration;

const SECURITY_TOKEN: i16 = 1025;

/// The ids in each bucket, offsets without gaps from 0 on.
async fn rest(scanner: &mut LogScanner) -> BTreeMap<BucketKey, Vec<i64>> {
    let mut all: BTreeMap<BucketKey, Vec<i64>> = BTreeMap::new();
    while let Some(batch) = scanner.next_batch().await.expect("readable") {
        let bucket = all.entry(batch.bucket()).or_default();
        assert_eq!(batch.base_offset(), bucket.len() as i64, "{}", batch.bucket());
        bucket.extend(ids(&batch));
    }
    all
}

/// A storage that fails, denies and cuts now and then; whole rows and some columns of them.
pub fn segments_in_remote_storage_are_read_and_then_the_live_log<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let table = log_of(&stage.client(), "fluss.moved", 3).await;
        append_ids(&table, 0..120, &"x".repeat(50)).await;
        let buckets = [0, 1, 2].map(|bucket| table.info().bucket(bucket));
        for (bucket, ends) in buckets.into_iter().zip([[10, 30], [25, 26], [40, 40]]) {
            for end in ends {
                stage.with(|cluster| cluster.move_to_remote(bucket, end));
            }
        }
        stage.with(|cluster| cluster.disturb_remote(7, 3));
        let store = store_of(&stage.shared_fake());
        let table = stage.client_with(stage.config().store(store)).table("fluss.moved").await;
        let table = table.expect("it is there");
        for columns in [&["id", "text"][..], &["id"]] {
            let builder = table.scanner().columns(columns.iter().copied()).bounded();
            let builder = builder.max_bytes_per_bucket(700).buffer_limit(4_096);
            let all = rest(&mut builder.build().await.expect("a scanner")).await;
            for (bucket, first) in buckets.into_iter().zip(0..) {
                let expected: Vec<i64> = (0..40).map(|at| first + 3 * at).collect();
                assert_eq!(all[&bucket], expected, "{bucket}");
            }
        }
        assert!(stage.with(|cluster| cluster.remote_reads()) > 20);
    });
}

/// The rows of a primary-key table whose changelog is in remote storage for the most part.
pub fn a_moved_changelog_is_replayed<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let table = keyed_table(stage).await;
        let writer = table.upserter().linger(Duration::ZERO).build().expect("a writer");
        for id in 0..20_i64 {
            let text = format!("text {id}");
            let ticket = writer.upsert(&row![id % 7, text.as_str()]).await;
            ticket.expect("it fits").await.expect("written");
        }
        let bucket = table.info().bucket(0);
        let moved = stage.with(|cluster| {
            let end = cluster.truth(bucket).expect("it is there").log_end;
            cluster.move_to_remote(bucket, end - 4)
        });
        assert!(moved);
        let store = store_of(&stage.shared_fake());
        let path = table.info().path.to_string();
        let fluss = stage.client_with(stage.config().store(store));
        let table = fluss.table(&path).await.expect("it is there");
        let mut reader = table.snapshot().build().await.expect("a reader");
        let mut found = BTreeMap::new();
        while let Some(batch) = reader.next_batch().await.expect("rows") {
            for row in batch.rows().expect("readable").iter() {
                let (Ok(Datum::Int64(id)), Ok(Datum::Str(text))) = (row.value(0), row.value(1))
                else {
                    panic!("not what was written")
                };
                found.insert(id, text.to_owned());
            }
        }
        let expected = (13..20).map(|id| (id % 7, format!("text {id}")));
        assert_eq!(found, expected.collect());
        assert!(stage.with(|cluster| cluster.remote_reads()) > 0);
    });
}

/// Takes the keys of the readers back with every fifth read.
struct Strict {
    fake: Arc<Loopback>,
    store: Store,
}

impl Storage for Strict {
    fn read(&self, part: &ObjectPart) -> Result<Bytes, StorageError> {
        self.fake.with(|cluster| {
            if cluster.remote_reads() % 5 == 4 {
                cluster.revoke_keys();
            }
        });
        self.store.read(part)
    }
}

/// Tokens that are good for a few reads only.
pub fn segments_are_read_with_the_tokens_of_the_servers<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let table = log_of(&stage.client(), "fluss.moved", 2).await;
        append_ids(&table, 0..40, &"x".repeat(50)).await;
        stage.with(|cluster| {
            cluster.set_remote_root("s3://lake/fluss");
            cluster.give_keys(Some(Duration::from_secs(3600)));
            for number in [0, 1] {
                assert!(cluster.move_to_remote(table.info().bucket(number), 17));
            }
        });
        let fake = stage.shared_fake();
        let store = Store::new(Strict { store: store_of(&fake), fake });
        let fluss = stage.client_with(stage.config().store(store));
        let table = fluss.table("fluss.moved").await.expect("it is there");
        let builder = table.scanner().bounded().max_bytes_per_bucket(700);
        let all = rest(&mut builder.build().await.expect("a scanner")).await;
        for (number, first) in [(0, 0), (1, 1)] {
            let expected: Vec<i64> = (0..20).map(|at| first + 2 * at).collect();
            assert_eq!(all[&table.info().bucket(number)], expected);
        }
        assert!(stage.requests(SECURITY_TOKEN) > 1);
    });
}

/// Reads nothing before the servers got another write.
struct Waiting {
    fake: Arc<Loopback>,
    store: Store,
    writes: u64,
}

impl Storage for Waiting {
    fn read(&self, part: &ObjectPart) -> Result<Bytes, StorageError> {
        let before = self.writes;
        self.fake.wait_for(PATIENCE, move |cluster| requests(cluster, PRODUCE_LOG) > before);
        self.store.read(part)
    }
}

/// A storage that blocks keeps nobody else from going on.
pub fn a_read_from_remote_storage_blocks_nothing_else<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let table = log_of(&stage.client(), "fluss.moved", 1).await;
        append_ids(&table, 0..20, "moved").await;
        let bucket = table.info().bucket(0);
        assert!(stage.with(|cluster| cluster.move_to_remote(bucket, 12)));
        let (fake, writes) = (stage.shared_fake(), stage.requests(PRODUCE_LOG));
        let store = Store::new(Waiting { store: store_of(&fake), fake, writes });
        let fluss = stage.client_with(stage.config().store(store));
        let table = fluss.table("fluss.moved").await.expect("it is there");
        let mut scanner = table.scanner().build().await.expect("a scanner");
        let mut waiting = scanner.next_batch();
        assert!(poll_once(&mut waiting).await.is_pending(), "the storage does not answer yet");
        append_ids(&table, [20], "live").await;
        let mut found = Vec::new();
        found.extend(ids(&waiting.await.expect("readable").expect("no end")));
        while found.len() < 21 {
            found.extend(ids(&scanner.next_batch().await.expect("readable").expect("no end")));
        }
        assert!(found.into_iter().eq(0..21));
    });
}
