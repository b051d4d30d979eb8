//! The example `std_net` does what it says, against the fake cluster on loopback ports.
#![cfg(feature = "testing")]

// Its `main` is not used here.
#[path = "../examples/std_net.rs"]
#[expect(dead_code, reason = "only `run` is wanted of the example")]
mod example;

use fluss_core::ids::{ServerId, TablePath};
use fluss_core::row::{DataType, Schema, TableDescriptor};
use fluss_core::testing::cluster::{ClusterOptions, FakeCluster};
use fluss_core::testing::loopback::{Loopback, LoopbackOptions};
use fluss_core::{ApiKey, Instant};
use fluss_proto::message::{CreateTableRequest, PbTablePath};
use prost::Message;

#[test]
fn the_example_appends_rows() {
    let mut cluster = FakeCluster::new(ClusterOptions::default());
    let columns = [DataType::BIGINT, DataType::STRING, DataType::INT, DataType::DOUBLE];
    let schema = ["id", "name", "count", "price"]
        .into_iter()
        .zip(columns)
        .fold(Schema::builder(), |schema, (name, data_type)| schema.column(name, data_type));
    let request = CreateTableRequest {
        table_path: PbTablePath { database_name: "fluss".into(), table_name: "events".into() },
        table_json: TableDescriptor::new(schema.build().unwrap()).to_json().into(),
        ignore_if_exists: false,
    };
    let body = request.encode_to_vec();
    let mut frame = u32::try_from(8 + body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(ApiKey::CreateTable.number().to_be_bytes());
    frame.extend([0; 6]);
    frame.extend(body);
    let conn = cluster.open(ServerId::Coordinator).unwrap();
    cluster.handle_bytes(conn, &frame, Instant::ZERO);
    cluster.close(conn);
    assert!(cluster.table_id(&TablePath::new("fluss", "events")).is_some());

    let fake = Loopback::start(cluster, LoopbackOptions::default()).unwrap();
    let bootstrap = fake.address(ServerId::Tablet(0)).unwrap().to_string();
    assert_eq!(example::run(&bootstrap, "fluss.events").unwrap(), 0);
    assert_eq!(example::run(&bootstrap, "fluss.events").unwrap(), 3);
    assert_eq!(fake.with(|cluster| cluster.rows_appended()), 6);
    assert!(example::run(&bootstrap, "fluss.nothing").is_err());
}
