//! A hand-fed metadata machine and the answers of a server.

use bytes::Bytes;
use fluss_proto::message::{
    MetadataRequest, MetadataResponse, PbBucketMetadata, PbPartitionMetadata, PbServerNode,
    PbTableMetadata, PbTablePath,
};
use fluss_proto::{ApiKey, ErrorCode};
use prost::Message;

use super::*;
use crate::rng::Rng;

pub(super) const PLAIN: &[u8] = br#"{"bucket_count":2,"partition_key":[]}"#;
pub(super) const PARTITIONED: &[u8] = br#"{"bucket_count":4,"partition_key":["dt"]}"#;

pub(super) struct Bench {
    pub(super) config: Config,
    pub(super) rng: Rng,
    pub(super) m: Metadata,
    pub(super) now: Instant,
}

/// What the machine asked, taken apart.
pub(super) struct Question {
    pub(super) server: ServerId,
    pub(super) api: ApiKey,
    pub(super) token: u64,
    pub(super) deadline: Instant,
    pub(super) tables: Vec<String>,
    pub(super) names: Vec<String>,
    pub(super) ids: Vec<i64>,
}

impl Bench {
    pub(super) fn new(bootstrap: &str) -> Self {
        let config = Config::new(bootstrap).expect("valid");
        let m = Metadata::new(&config);
        Self { config, rng: Rng::new(1), m, now: Instant::ZERO }
    }

    /// Knows tablet servers 1 and 2.
    pub(super) fn started() -> Self {
        let mut b = Self::new("boot:1");
        b.run(|m, cx| m.want_servers(cx));
        let q = b.asked();
        b.answer(&q, &cluster(&[1, 2]));
        b.events();
        b
    }

    pub(super) fn run<R>(&mut self, f: impl FnOnce(&mut Metadata, &mut Cx<'_>) -> R) -> R {
        f(&mut self.m, &mut Cx { now: self.now, rng: &mut self.rng, config: &self.config })
    }

    pub(super) fn ask(&mut self) -> Option<Question> {
        let (server, out) = self.run(|m, cx| m.poll_request(cx))?;
        let Owner::Metadata(token) = out.owner else { panic!("{:?}", out.owner) };
        let request = match out.api {
            ApiKey::GetMetadata => MetadataRequest::decode(out.body).expect("a request"),
            _ => MetadataRequest::default(),
        };
        let name = |p: &PbTablePath| format!("{}.{}", p.database_name, p.table_name);
        Some(Question {
            server,
            api: out.api,
            token,
            deadline: out.deadline,
            tables: request.table_path.iter().map(name).collect(),
            names: request.partitions_path.into_iter().filter_map(|p| p.partition_name).collect(),
            ids: request.partitions_id,
        })
    }

    pub(super) fn asked(&mut self) -> Question {
        let question = self.ask().expect("a question");
        assert!(self.ask().is_none(), "one question at a time");
        question
    }

    pub(super) fn answer(&mut self, q: &Question, message: &impl Message) {
        let body = Bytes::from(message.encode_to_vec());
        self.run(|m, cx| m.handle_reply(cx, q.token, Ok(body)));
    }

    pub(super) fn reject(&mut self, q: &Question, code: i32) {
        let error = RequestError::Rejected { code: ErrorCode(code), message: "because".into() };
        self.run(|m, cx| m.handle_reply(cx, q.token, Err(error)));
    }

    pub(super) fn fail(&mut self, q: &Question) {
        let what = format!("cannot connect to {}", q.server);
        let error = RequestError::NotSent(Error::misuse(what));
        self.run(|m, cx| m.handle_reply(cx, q.token, Err(error)));
    }

    pub(super) fn events(&mut self) -> Vec<MetadataEvent> {
        std::iter::from_fn(|| self.m.poll_event()).collect()
    }

    pub(super) fn want(&mut self, name: &str) {
        let path = path(name);
        self.run(|m, cx| m.want_table(cx, &path));
    }

    /// Moves to the next moment at which there is something to do.
    pub(super) fn wait(&mut self) -> Duration {
        let (at, reason) = self.m.poll_timeout().expect("a timer");
        assert_eq!(reason, TimerReason::Metadata);
        let waited = at - self.now;
        self.now = self.now.max(at);
        self.run(|m, cx| m.handle_timeout(cx));
        waited
    }
}

pub(super) fn path(name: &str) -> TablePath {
    TablePath::new("shop", name)
}

pub(super) fn node(id: i32) -> PbServerNode {
    PbServerNode { node_id: id, host: format!("h{id}"), port: 9000 + id, ..Default::default() }
}

pub(super) fn cluster(tablets: &[i32]) -> MetadataResponse {
    MetadataResponse {
        coordinator_server: Some(node(100)),
        tablet_servers: tablets.iter().map(|id| node(*id)).collect(),
        ..Default::default()
    }
}

pub(super) fn bucket(bucket: i32, leader: i32, epoch: Option<i32>) -> PbBucketMetadata {
    PbBucketMetadata {
        bucket_id: bucket,
        leader_id: (leader != 0).then_some(leader),
        leader_epoch: epoch,
        ..Default::default()
    }
}

pub(super) fn table(
    name: &str,
    id: i64,
    json: &[u8],
    buckets: Vec<PbBucketMetadata>,
) -> MetadataResponse {
    let table = PbTableMetadata {
        table_path: PbTablePath { database_name: "shop".into(), table_name: name.into() },
        table_id: id,
        schema_id: 1,
        table_json: Bytes::copy_from_slice(json),
        bucket_metadata: buckets,
        ..Default::default()
    };
    MetadataResponse { table_metadata: vec![table], ..cluster(&[1, 2]) }
}

pub(super) fn partition(table: i64, name: &str, id: i64, leader: i32) -> MetadataResponse {
    let partition = PbPartitionMetadata {
        table_id: table,
        partition_name: name.into(),
        partition_id: id,
        bucket_metadata: vec![bucket(0, leader, Some(1))],
        bucket_count: Some(8),
    };
    MetadataResponse { partition_metadata: vec![partition], ..cluster(&[1, 2]) }
}

pub(super) fn key(table: i64, bucket: i32) -> BucketKey {
    BucketKey { table: TableId(table), partition: None, bucket }
}
