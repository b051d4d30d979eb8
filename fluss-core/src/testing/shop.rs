//! The cluster of the examples: what they talk to when they are run as tests.

use fluss_proto::message::CreateDatabaseRequest;
use fluss_proto::request::encode_request;

use super::cluster::{ClusterOptions, FakeCluster};
use crate::ids::{ServerId, TablePath};
use crate::row::{DataType, Schema, SchemaBuilder, TableDescriptor};
use crate::time::Instant;

/// A cluster with the log table `shop.events` (BIGINT, STRING, INT, DOUBLE) and the primary-key
/// table `shop.users` (BIGINT as the key, STRING), each of two buckets.
///
/// # Panics
/// If the fake cluster refuses one of them.
#[must_use]
pub fn shop() -> FakeCluster {
    let mut cluster = FakeCluster::new(ClusterOptions::default());
    let conn = cluster.open(ServerId::Coordinator).expect("it is up");
    let request = CreateDatabaseRequest {
        database_name: "shop".to_owned(),
        ignore_if_exists: false,
        database_json: None,
    };
    let frame = encode_request(0, 0, &request).expect("a short request");
    cluster.handle_bytes(conn, &frame, Instant::ZERO);
    cluster.close(conn);
    let events = Schema::builder()
        .column("id", DataType::BIGINT)
        .column("name", DataType::STRING)
        .column("count", DataType::INT)
        .column("price", DataType::DOUBLE);
    let users = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("name", DataType::STRING)
        .primary_key(["id"]);
    add(&mut cluster, "events", events);
    add(&mut cluster, "users", users);
    cluster
}

fn add(cluster: &mut FakeCluster, name: &str, schema: SchemaBuilder) {
    let mut table = TableDescriptor::new(schema.build().expect("a schema"));
    table.bucket_count = Some(2);
    cluster.add_table(&TablePath::new("shop", name), &table.to_json()).expect("a table");
}
