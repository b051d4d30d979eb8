//! A fake cluster on loopback ports with one table.

use fluss_core::ids::{BucketKey, ServerId, TableId, TablePath};
use fluss_core::row::{DataType, Schema, TableDescriptor};
use fluss_core::testing::cluster::{ClusterOptions, FakeCluster};
use fluss_core::testing::loopback::{Loopback, LoopbackOptions};
use fluss_core::{ApiKey, Instant};
use fluss_proto::message::{CreateTableRequest, PbTablePath};
use prost::Message;

/// The table's name.
pub(crate) const TABLE: &str = "fluss.t";

/// A cluster with a log table of two columns, INT and STRING, and two buckets.
pub(crate) fn cluster() -> (Loopback, TableId) {
    let mut cluster = FakeCluster::new(ClusterOptions::default());
    let columns = Schema::builder().column("a", DataType::INT).column("b", DataType::STRING);
    let mut descriptor = TableDescriptor::new(columns.build().expect("a schema"));
    descriptor.bucket_count = Some(2);
    let request = CreateTableRequest {
        table_path: PbTablePath { database_name: "fluss".into(), table_name: "t".into() },
        table_json: descriptor.to_json().into(),
        ignore_if_exists: false,
    };
    let body = request.encode_to_vec();
    let mut frame = u32::try_from(8 + body.len()).expect("a short request").to_be_bytes().to_vec();
    frame.extend(ApiKey::CreateTable.number().to_be_bytes());
    frame.extend([0; 6]);
    frame.extend(body);
    let conn = cluster.open(ServerId::Coordinator).expect("it is up");
    cluster.handle_bytes(conn, &frame, Instant::ZERO);
    cluster.close(conn);
    let table = cluster.table_id(&TablePath::new("fluss", "t")).expect("created");
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
