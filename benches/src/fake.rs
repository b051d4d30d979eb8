//! Fake clusters: most only acknowledge.

use fluss_core::ids::{ServerId, TablePath};
use fluss_core::row::{DataType, Schema, TableDescriptor};
use fluss_core::testing::cluster::{ClusterOptions, FakeCluster};
use fluss_core::testing::loopback::{Loopback, LoopbackOptions};
use fluss_core::{ApiKey, Instant};
use fluss_proto::message::{CreateTableRequest, PbTablePath};
use prost::Message;

/// The log table of [`cluster`].
pub const LOG: &str = "fluss.log";
/// The primary-key table of [`cluster`].
pub const KEYED: &str = "fluss.keyed";
/// Like [`LOG`], with ZSTD as servers have it by default.
pub const ZSTD: &str = "fluss.zstd";
/// Like [`LOG`], with its rows placed by their id.
pub const PLACED: &str = "fluss.placed";
/// A log table of [`times_schema`](crate::times_schema).
pub const TIMES: &str = "fluss.times";
/// The partitioned log table of [`cluster`]: a BIGINT; by STRING, INT and DOUBLE.
pub const DAYS: &str = "fluss.days";

/// A cluster of one tablet server that acknowledges writes and keeps nothing, with three log
/// tables and a primary-key table of [`schema`](crate::schema) with this many buckets, one of the
/// log tables with ZSTD and the others uncompressed, a log table of times, and a partitioned one.
///
/// # Panics
/// If the fake cluster refuses one of them.
#[must_use]
pub fn cluster(buckets: u32) -> FakeCluster {
    filled(true, buckets)
}

/// The same, but it keeps what is written.
///
/// # Panics
/// If the fake cluster refuses one of the tables.
#[must_use]
pub fn stored(buckets: u32) -> FakeCluster {
    filled(false, buckets)
}

fn filled(ack_only: bool, buckets: u32) -> FakeCluster {
    let options = ClusterOptions { tablet_servers: 1, ack_only, ..Default::default() };
    let mut cluster = FakeCluster::new(options);
    for (path, schema, codec) in [
        (LOG, crate::schema(false), "NONE"),
        (KEYED, crate::schema(true), "NONE"),
        (ZSTD, crate::schema(false), "ZSTD"),
        (PLACED, crate::schema(false), "NONE"),
        (TIMES, crate::times_schema(), "NONE"),
    ] {
        let mut descriptor = TableDescriptor::new(schema);
        if path == PLACED {
            descriptor.bucket_key = vec![0];
        }
        descriptor.bucket_count = Some(buckets);
        let codec = ("table.log.arrow.compression.type".to_owned(), codec.to_owned());
        descriptor.properties.extend([codec]);
        create(&mut cluster, path, &descriptor);
    }
    let days = Schema::builder()
        .column("id", DataType::BIGINT)
        .column("dt", DataType::STRING.not_null())
        .column("region", DataType::INT.not_null())
        .column("fraction", DataType::DOUBLE.not_null());
    let mut days = TableDescriptor::new(days.build().expect("a schema"));
    days.partition_key = vec![1, 2, 3];
    days.bucket_count = Some(buckets);
    create(&mut cluster, DAYS, &days);
    cluster
}

/// The same behind loopback ports.
///
/// # Panics
/// If no port can be opened.
#[must_use]
pub fn loopback(buckets: u32) -> Loopback {
    Loopback::start(cluster(buckets), LoopbackOptions::default()).expect("loopback ports")
}

fn create(cluster: &mut FakeCluster, path: &str, descriptor: &TableDescriptor) {
    let path = TablePath::parse(path).expect("a path");
    let (database, table) = (path.database.to_string(), path.table.to_string());
    let request = CreateTableRequest {
        table_path: PbTablePath { database_name: database, table_name: table },
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
    assert!(cluster.table_id(&path).is_some(), "the table was created");
}
