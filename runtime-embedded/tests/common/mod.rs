//! A fake cluster on loopback ports with one table.

use fluss_core::ids::{BucketKey, ServerId, TableId, TablePath};
use fluss_core::row::{DataType, Schema, TableDescriptor};
use fluss_core::testing::cluster::{ClusterOptions, FakeCluster};
use fluss_core::testing::loopback::{Loopback, LoopbackOptions};

/// The table's name.
pub(crate) const TABLE: &str = "fluss.t";

/// A log table of two columns, INT and STRING, and two buckets.
pub(crate) fn table() -> TableDescriptor {
    let columns = Schema::builder().column("a", DataType::INT).column("b", DataType::STRING);
    let mut descriptor = TableDescriptor::new(columns.build().expect("a schema"));
    descriptor.bucket_count = Some(2);
    descriptor
}

/// A fake cluster with that table.
pub(crate) fn cluster() -> (Loopback, TableId) {
    let mut cluster = FakeCluster::new(ClusterOptions::default());
    let path = TablePath::new("fluss", "t");
    let table = cluster.add_table(&path, &table().to_json()).expect("a table");
    (Loopback::start(cluster, LoopbackOptions::default()).expect("loopback ports"), table)
}

/// Rows the cluster holds.
pub(crate) fn rows(fake: &Loopback, table: TableId) -> u64 {
    fake.with(|cluster| {
        let keys: Vec<BucketKey> = cluster.buckets(table).collect();
        keys.into_iter().filter_map(|key| cluster.truth(key)).map(|truth| truth.rows).sum()
    })
}

/// A tablet server's address.
pub(crate) fn bootstrap(fake: &Loopback) -> String {
    fake.address(ServerId::Tablet(0)).expect("a tablet server").to_string()
}
