//! The bodies of a script's requests.

use bytes::Bytes;
use fluss_proto::message::*;
use prost::Message;

use super::data::Shape;
use super::must;
use super::normal::Symbols;
use super::step::{Batch, Damage, Fetch, Right, Step, Write, Writer, plain};
use super::wire::At;

/// A table id that nobody has.
const STRANGE_TABLE: i64 = 987_654_321;
/// The resource type of a table in access control entries.
const TABLE: i32 = 4;
/// The permission type of an access control entry that allows something.
const ALLOW: i32 = 2;
/// What a filter says where anything fits.
const ANY: i32 = 1;

impl Symbols {
    /// The path of the script's table, or of the other one that a request is about.
    pub(super) fn path(&self) -> PbTablePath {
        let own =
            || PbTablePath { database_name: "fluss".into(), table_name: self.table_name.clone() };
        self.about.clone().unwrap_or_else(own)
    }

    fn shape(&self) -> &Shape {
        must("a table", self.shape.as_ref().ok_or("no shape"))
    }

    /// API key, server and body of a request that a script's step stands for.
    ///
    /// # Panics
    /// If the step is not a request.
    pub(super) fn request(&self, step: &Step) -> (i16, At, Vec<u8>) {
        let leader = At::Tablet(self.leader as usize);
        match step {
            Step::Drop | Step::DropIfThere => {
                let ignore_if_not_exists = matches!(step, Step::DropIfThere);
                let request = DropTableRequest { table_path: self.path(), ignore_if_not_exists };
                (1006, At::Coordinator, request.encode_to_vec())
            }
            Step::Init => {
                let request = InitWriterRequest { table_path: vec![self.path()] };
                (1026, leader, request.encode_to_vec())
            }
            Step::InitNothing => (1026, leader, InitWriterRequest::default().encode_to_vec()),
            Step::Produce(write) => (1014, leader, self.produce(write).encode_to_vec()),
            Step::Put(write) => (1016, leader, self.put(write).encode_to_vec()),
            Step::Fetch(fetch) => (1015, leader, self.fetch(fetch, None).encode_to_vec()),
            Step::Raw(api, bytes) => (*api, leader, bytes.to_vec()),
            Step::Info => {
                let request = GetTableInfoRequest { table_path: self.path() };
                (1007, At::Coordinator, request.encode_to_vec())
            }
            Step::Schema(schema_id) => {
                let (table_path, schema_id) = (self.path(), *schema_id);
                let request = GetTableSchemaRequest { table_path, schema_id };
                (1011, At::Coordinator, request.encode_to_vec())
            }
            Step::Exists => {
                let request = TableExistsRequest { table_path: self.path() };
                (1010, At::Coordinator, request.encode_to_vec())
            }
            other => self.naming(other, leader).unwrap_or_else(|| {
                let (api, body) = self.reading(other);
                (api, leader, body)
            }),
        }
    }

    /// The requests that read from a tablet server.
    fn reading(&self, step: &Step) -> (i16, Vec<u8>) {
        let table_id = self.table;
        match step {
            Step::Lookup(bucket, keys) => {
                let keys = keys.iter().map(|(a, b)| self.shape().key(*a, b)).collect();
                (1017, lookup(table_id, *bucket, keys))
            }
            Step::LookupBytes(bucket, key) => {
                (1017, lookup(table_id, *bucket, vec![Bytes::from_static(key)]))
            }
            Step::Insert(bucket, keys, acks) => {
                let keys = keys.iter().map(|(a, b)| self.shape().key(*a, b)).collect();
                (1017, insert(table_id, *bucket, keys, *acks))
            }
            Step::InsertStranger => (1017, insert(STRANGE_TABLE, 0, vec![Bytes::new()], Some(-1))),
            Step::InsertBytes(bucket, key) => {
                (1017, insert(table_id, *bucket, vec![Bytes::from_static(key)], Some(-1)))
            }
            Step::LookupStranger => (1017, lookup(STRANGE_TABLE, 0, vec![Bytes::new()])),
            Step::Prefix(bucket, keys) => {
                let keys = keys.iter().map(|a| self.shape().prefix(*a)).collect();
                let entry =
                    PbPrefixLookupReqForBucket { bucket_id: *bucket, keys, ..Default::default() };
                let request = PrefixLookupRequest { table_id, buckets_req: vec![entry] };
                (1034, request.encode_to_vec())
            }
            Step::Scan(bucket, limit) => (1033, scan(table_id, *bucket, *limit)),
            Step::ScanStranger => (1033, scan(STRANGE_TABLE, 0, 1)),
            Step::Offsets(kind, buckets, ago) => {
                let request = ListOffsetsRequest {
                    follower_server_id: -1,
                    offset_type: *kind,
                    table_id,
                    bucket_id: buckets.clone(),
                    start_timestamp: ago.map(|ago| self.now_ms + ago),
                    ..Default::default()
                };
                (1021, request.encode_to_vec())
            }
            Step::EndOffset(bucket) => {
                let request = ListOffsetsRequest {
                    follower_server_id: 0,
                    offset_type: 1,
                    table_id,
                    bucket_id: vec![*bucket],
                    ..Default::default()
                };
                (1021, request.encode_to_vec())
            }
            Step::Metadata => (1012, metadata(self.path())),
            Step::MetadataStranger => {
                let table_name = "nobody_made_it".to_owned();
                (1012, metadata(PbTablePath { table_name, ..self.path() }))
            }
            other => panic!("{other:?} is no request"),
        }
    }

    fn writer_id(&self, batch: &Batch) -> i64 {
        match batch.writer {
            Writer::None => -1,
            Writer::Got(index) => *must("a writer", self.writers.get(index).ok_or("no Init")),
        }
    }

    fn table_of(&self, stranger: bool) -> i64 {
        if stranger { STRANGE_TABLE } else { self.table }
    }

    /// A write that appends nothing: it is refused for its checksum, or before that with 29.
    pub(super) fn probe(&self) -> Vec<u8> {
        let probe = plain(1).damage(Damage::Payload).timeout_ms(1000);
        self.produce(&probe).encode_to_vec()
    }

    fn produce(&self, write: &Write) -> ProduceLogRequest {
        let entry = |batch: &Batch| PbProduceLogReqForBucket {
            partition_id: write.partition,
            bucket_id: batch.bucket,
            records: self.shape().log_batch(batch, self.writer_id(batch)),
            ..Default::default()
        };
        ProduceLogRequest {
            acks: write.acks,
            table_id: self.table_of(write.stranger),
            timeout_ms: write.timeout_ms,
            buckets_req: write.batches.iter().map(entry).collect(),
        }
    }

    fn put(&self, write: &Write) -> PutKvRequest {
        let entry = |batch: &Batch| PbPutKvReqForBucket {
            partition_id: write.partition,
            bucket_id: batch.bucket,
            records: self.shape().kv_batch(batch, self.writer_id(batch)),
            ..Default::default()
        };
        PutKvRequest {
            acks: write.acks,
            table_id: self.table_of(write.stranger),
            timeout_ms: write.timeout_ms,
            target_columns: write.targets.clone(),
            buckets_req: write.batches.iter().map(entry).collect(),
            agg_mode: write.mode,
        }
    }

    /// A fetch, of another bucket if one is named.
    pub(super) fn fetch(&self, fetch: &Fetch, bucket: Option<i32>) -> FetchLogRequest {
        let entry = |(bucket_id, fetch_offset): &(i32, i64)| PbFetchLogReqForBucket {
            partition_id: None,
            bucket_id: bucket.unwrap_or(*bucket_id),
            fetch_offset: *fetch_offset,
            max_fetch_bytes: fetch.bucket_bytes,
            routing_bucket_count: None,
        };
        let table = PbFetchLogReqForTable {
            table_id: self.table_of(fetch.stranger),
            projection_pushdown_enabled: fetch.projection.is_some(),
            projected_fields: fetch.projection.clone().unwrap_or_default(),
            buckets_req: fetch.from.iter().map(entry).collect(),
            ..Default::default()
        };
        FetchLogRequest {
            follower_server_id: fetch.follower,
            max_bytes: fetch.max_bytes,
            tables_req: vec![table],
            max_wait_ms: fetch.wait.map(|(_, millis)| millis),
            min_bytes: fetch.wait.map(|(bytes, _)| bytes),
            read_preference: None,
        }
    }

    fn resource(&self) -> String {
        format!("fluss.{}", self.table_name)
    }

    /// Grants a user something on the script's table.
    pub(super) fn grant(&self, user: &str, right: Right) -> Vec<u8> {
        let acl = PbAclInfo {
            resource_name: self.resource(),
            resource_type: TABLE,
            principal_name: user.to_owned(),
            principal_type: "User".to_owned(),
            host: "*".to_owned(),
            operation_type: right as i32,
            permission_type: ALLOW,
        };
        CreateAclsRequest { acl: vec![acl] }.encode_to_vec()
    }

    /// Takes it back.
    pub(super) fn revoke(&self, user: &str, right: Right) -> Vec<u8> {
        let filter = PbAclFilter {
            resource_name: Some(self.resource()),
            resource_type: TABLE,
            principal_name: Some(user.to_owned()),
            principal_type: Some("User".to_owned()),
            host: None,
            operation_type: right as i32,
            permission_type: ANY,
        };
        DropAclsRequest { acl_filter: vec![filter] }.encode_to_vec()
    }
}

pub(super) fn metadata(path: PbTablePath) -> Vec<u8> {
    MetadataRequest { table_path: vec![path], ..Default::default() }.encode_to_vec()
}

fn scan(table_id: i64, bucket_id: i32, limit: i32) -> Vec<u8> {
    LimitScanRequest { table_id, bucket_id, limit, ..Default::default() }.encode_to_vec()
}

fn lookup(table_id: i64, bucket_id: i32, keys: Vec<Bytes>) -> Vec<u8> {
    let entry = PbLookupReqForBucket { bucket_id, keys, ..Default::default() };
    let request = LookupRequest { table_id, buckets_req: vec![entry], ..Default::default() };
    request.encode_to_vec()
}

fn insert(table_id: i64, bucket_id: i32, keys: Vec<Bytes>, acks: Option<i32>) -> Vec<u8> {
    let entry = PbLookupReqForBucket { bucket_id, keys, ..Default::default() };
    let request = LookupRequest {
        table_id,
        buckets_req: vec![entry],
        insert_if_not_exists: Some(true),
        acks,
        timeout_ms: acks.map(|_| 30_000),
    };
    request.encode_to_vec()
}
