//! Rules of the fake, one by one, over real bytes.

mod acls;
mod admin;
mod faults;
mod kv;
mod log;
mod protocol;
mod replicas;
mod scan_kv;
mod tier;

use bytes::{BufMut, Bytes};
use fluss_proto::message::*;
use fluss_proto::record::Stamp;
use prost::Message;

use super::api::key;
use super::*;
use crate::batch::{ArrowBatchBuilder, ArrowBatchOptions, ArrowCompression};
use crate::ids::{TableId, TablePath};
use crate::row::{DataType, Schema};

/// A frame from the server.
#[derive(Debug, PartialEq)]
enum Got {
    Answer(i32, Bytes),
    Error(i32, ErrorResponse),
    Failure(ErrorResponse),
}

/// A client of one cluster: a connection to each server, request ids, a clock.
struct Talk {
    cluster: FakeCluster,
    conns: BTreeMap<ServerId, ConnId>,
    now: Instant,
    next_id: i32,
}

impl Talk {
    fn new(options: ClusterOptions) -> Self {
        let mut cluster = FakeCluster::new(options);
        let servers: Vec<ServerId> = cluster.servers().collect();
        let conns = servers.iter().map(|&s| (s, cluster.open(s).expect("up"))).collect();
        Self { cluster, conns, now: Instant::ZERO, next_id: 0 }
    }

    fn conn(&mut self, server: ServerId) -> ConnId {
        let conn = self.conns[&server];
        if self.cluster.is_closed(conn) {
            self.cluster.close(conn);
            let fresh = self.cluster.open(server).expect("the server is up");
            self.conns.insert(server, fresh);
        }
        self.conns[&server]
    }

    /// Sends a request and returns its id.
    fn send(&mut self, server: ServerId, api: i16, version: i16, body: &[u8]) -> i32 {
        let conn = self.conn(server);
        self.next_id += 1;
        let mut frame = Vec::new();
        frame.put_i32(8 + body.len() as i32);
        frame.put_i16(api);
        frame.put_i16(version);
        frame.put_i32(self.next_id);
        frame.put_slice(body);
        self.cluster.handle_bytes(conn, &frame, self.now);
        self.next_id
    }

    /// The next frame from this server.
    fn take(&mut self, server: ServerId) -> Option<Got> {
        let frame = self.cluster.poll_output(self.conns[&server])?;
        let body = frame.slice(5..);
        Some(match frame[4] {
            2 => Got::Failure(ErrorResponse::decode(body).expect("an error body")),
            kind => {
                let id = i32::from_be_bytes(frame[5..9].try_into().expect("four bytes"));
                match kind {
                    0 => Got::Answer(id, frame.slice(9..)),
                    _ => Got::Error(id, ErrorResponse::decode(frame.slice(9..)).expect("error")),
                }
            }
        })
    }

    fn ask<A: Message + Default>(&mut self, server: ServerId, api: i16, q: &impl Message) -> A {
        let id = self.send(server, api, 0, &q.encode_to_vec());
        match self.take(server) {
            Some(Got::Answer(got, body)) if got == id => A::decode(body).expect("the answer"),
            other => panic!("api {api}: {other:?}"),
        }
    }

    /// The code of the error frame that answers this request.
    fn refused(&mut self, server: ServerId, api: i16, q: &impl Message) -> i32 {
        let id = self.send(server, api, 0, &q.encode_to_vec());
        match self.take(server) {
            Some(Got::Error(got, error)) if got == id => error.error_code,
            other => panic!("api {api}: {other:?}"),
        }
    }

    fn wait(&mut self, millis: u64) {
        self.now = self.now + std::time::Duration::from_millis(millis);
        self.cluster.handle_timeout(self.now);
    }

    fn create(&mut self, name: &str, json: &str) -> TableId {
        let request = CreateTableRequest {
            table_path: path(name),
            table_json: json.to_owned().into(),
            ignore_if_exists: false,
        };
        let _: CreateTableResponse = self.ask(ServerId::Coordinator, key::CREATE_TABLE, &request);
        self.cluster.table_id(&TablePath::new("fluss", name)).expect("created")
    }

    /// A table `t` with columns a INT and b STRING, and its single bucket.
    fn log_table(&mut self) -> BucketKey {
        let table = self.create("t", &descriptor(&[], 1, "{}"));
        BucketKey { table, partition: None, bucket: 0 }
    }

    fn leader(&self, bucket: BucketKey) -> ServerId {
        ServerId::Tablet(self.cluster.truth(bucket).expect("the bucket").leader)
    }

    fn produce(&mut self, bucket: BucketKey, stamp: (i64, i32)) -> PbProduceLogRespForBucket {
        let request = produce_request(bucket, -1, vec![batch(stamp, 2)]);
        let leader = self.leader(bucket);
        let mut answer: ProduceLogResponse = self.ask(leader, key::PRODUCE_LOG, &request);
        assert_eq!(answer.buckets_resp.len(), 1);
        answer.buckets_resp.remove(0)
    }

    /// The base offset, or the error code.
    fn offset(&mut self, bucket: BucketKey, stamp: (i64, i32)) -> Result<i64, i32> {
        let answer = self.produce(bucket, stamp);
        match answer.error_code {
            Some(code) => Err(code),
            None => Ok(answer.base_offset.expect("a base offset")),
        }
    }

    fn fetch(&mut self, bucket: BucketKey, offset: i64) -> PbFetchLogRespForBucket {
        let request = fetch_request(bucket, offset, 1 << 20);
        let leader = self.leader(bucket);
        let answer: FetchLogResponse = self.ask(leader, key::FETCH_LOG, &request);
        answer.tables_resp[0].buckets_resp[0].clone()
    }
}

fn path(name: &str) -> PbTablePath {
    PbTablePath { database_name: "fluss".into(), table_name: name.into() }
}

fn schema() -> Schema {
    let columns = Schema::builder().column("a", DataType::INT).column("b", DataType::STRING);
    columns.build().expect("a schema")
}

/// Columns a and b, with this primary key, these buckets and properties.
fn descriptor(primary_key: &[&str], buckets: i32, properties: &str) -> String {
    let mut schema: serde_json::Value =
        serde_json::from_str(&schema().to_json()).expect("our own JSON");
    if !primary_key.is_empty() {
        schema["primary_key"] = primary_key.to_vec().into();
    }
    format!(
        r#"{{"version":1,"schema":{schema},"partition_key":[],"bucket_key":[],
            "bucket_count":{buckets},"properties":{properties},"custom_properties":{{}}}}"#
    )
}

/// An Arrow batch of so many rows `(i, "row")`.
fn batch(stamp: (i64, i32), rows: i32) -> Bytes {
    let options =
        ArrowBatchOptions { compression: ArrowCompression::None, ..ArrowBatchOptions::default() };
    let mut builder = ArrowBatchBuilder::new(schema(), options).expect("a builder");
    for row in 0..rows {
        builder.try_push(&crate::row![row, "row"]).expect("a row");
    }
    let sealed = builder.seal(1, Vec::new()).expect("a batch");
    let head = sealed.stamp(Stamp { writer_id: stamp.0, sequence: stamp.1 });
    [head.as_ref(), &sealed.payload()].concat().into()
}

fn produce_request(bucket: BucketKey, acks: i32, batches: Vec<Bytes>) -> ProduceLogRequest {
    let entry = |records| PbProduceLogReqForBucket {
        partition_id: bucket.partition.map(|p| p.0),
        bucket_id: bucket.bucket,
        records,
        ..Default::default()
    };
    ProduceLogRequest {
        acks,
        table_id: bucket.table.0,
        timeout_ms: 30_000,
        buckets_req: batches.into_iter().map(entry).collect(),
    }
}

fn fetch_request(bucket: BucketKey, offset: i64, max_bytes: i32) -> FetchLogRequest {
    FetchLogRequest {
        follower_server_id: -1,
        max_bytes,
        tables_req: vec![PbFetchLogReqForTable {
            table_id: bucket.table.0,
            projection_pushdown_enabled: false,
            buckets_req: vec![PbFetchLogReqForBucket {
                partition_id: bucket.partition.map(|p| p.0),
                bucket_id: bucket.bucket,
                fetch_offset: offset,
                max_fetch_bytes: max_bytes,
                routing_bucket_count: None,
            }],
            ..Default::default()
        }],
        max_wait_ms: None,
        min_bytes: None,
        read_preference: None,
    }
}
