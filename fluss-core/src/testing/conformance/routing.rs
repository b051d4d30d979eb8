//! Where rows go: tables whose keys follow a data lake, and rows that the user's assigner places.

use std::time::Duration;

use super::Harness;
use super::stage::Stage;
use crate::error::Error;
use crate::handle::{Fluss, RowToAssign, Table};
use crate::row::hash::BucketFunction;
use crate::row::{DataType, Schema, TableDescriptor};
use crate::testing::cluster::{ClusterOptions, Release};
use crate::testing::loopback::LoopbackOptions;

const BUCKETS: u32 = 4;

/// `a INT, b STRING`, keyed by both and placed by the first.
async fn keyed(fluss: &Fluss, path: &str, lake: &str) -> Table {
    let schema = Schema::builder()
        .column("a", DataType::INT)
        .column("b", DataType::STRING)
        .primary_key(["a", "b"]);
    let mut table = TableDescriptor::new(schema.build().expect("a schema"));
    table.bucket_key = vec![0];
    table.bucket_count = Some(BUCKETS);
    table.properties.insert("table.datalake.format".to_owned(), lake.to_owned());
    fluss.admin().create_table(path, &table, false).await.expect("a table");
    fluss.table(path).await.expect("it is there")
}

/// Keys of tables with a lake format lie where the lake has them, and are found there.
pub fn keys_of_lake_tables_are_found_where_the_lake_places_them<H: Harness>() {
    // The published release does not know Hudi.
    let cluster = ClusterOptions { release: Release::V1_0, ..ClusterOptions::default() };
    Stage::<H>::run_with(cluster, LoopbackOptions::default(), async |stage| {
        let fluss = stage.client();
        for (lake, function, key) in [
            (
                "paimon",
                BucketFunction::Paimon,
                &[0, 0, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0][..],
            ),
            ("iceberg", BucketFunction::Iceberg, &[42, 0, 0, 0, 0, 0, 0, 0]),
            ("hudi", BucketFunction::Hudi, &[0, 0, 6, 0x9d]),
            ("lance", BucketFunction::Fluss, &[42]),
        ] {
            let table = keyed(&fluss, &format!("fluss.{lake}"), lake).await;
            let writer = table.upserter().linger(Duration::ZERO).build().expect("a writer");
            for a in [42, 43] {
                let ticket = writer.upsert(&(a, "b")).await.expect("it fits");
                let ack = ticket.await.expect("written");
                let bucket = function.bucket_of(key, BUCKETS).map(|bucket| bucket as i32);
                assert!(a != 42 || Some(ack.bucket) == bucket, "{lake}: {ack:?}");
            }
            let gone = writer.delete(&(43, "b")).await.expect("it fits");
            gone.await.expect("written");
            let lookuper = table.lookuper().expect("a primary-key table");
            for (a, there) in [(42, true), (43, false)] {
                let found = lookuper.lookup(&(a, "b")).await.expect("an answer");
                assert_eq!(found.is_some(), there, "{lake} {a}");
                let found = lookuper.lookup_prefix(&(a,)).await.expect("an answer");
                assert_eq!(found.len(), usize::from(there), "{lake} {a}");
            }
        }
    });
}

/// An assigner of the user's is asked for each row, and its mistakes cost that row alone.
pub fn an_assigner_places_rows_and_its_mistakes_cost_one_row_each<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let fluss = stage.client();
        let mut table = TableDescriptor::new(
            Schema::builder().column("a", DataType::INT).build().expect("a schema"),
        );
        table.bucket_key = vec![0];
        table.bucket_count = Some(BUCKETS);
        fluss.admin().create_table("fluss.placed", &table, false).await.expect("a table");
        let table = fluss.table("fluss.placed").await.expect("it is there");
        let by_key = |row: &RowToAssign<'_>| u32::from(row.key[0]);
        let writer = table.appender().linger(Duration::ZERO).bucket_assigner(by_key).build();
        let writer = writer.expect("a writer");
        for a in 0..2 * BUCKETS as i32 {
            match writer.append(&(a,)).await {
                Ok(ticket) => assert_eq!(ticket.await.expect("written").bucket, a),
                Err(Error::Row(error)) => {
                    assert!(a >= BUCKETS as i32, "{error}");
                    assert!(error.to_string().contains(&format!("bucket {a},")), "{error}");
                }
                Err(error) => panic!("{error}"),
            }
        }
    });
}
