//! Hand-fed lookups: a cluster as a table of leaders, requests read as a server reads them.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fluss_proto::ApiKey;
use fluss_proto::message::{
    LookupResponse, PbLookupRespForBucket, PbPrefixLookupRespForBucket, PbValue, PbValueList,
    PrefixLookupRequest, PrefixLookupResponse,
};
use prost::Message;

use super::{Ask, Leaders, LookupKind, LookupRequest, Lookups};
use crate::config::Config;
use crate::connection::request::{Outgoing, Owner, RequestError};
use crate::cx::Cx;
use crate::error::Error;
use crate::ids::{BucketKey, CommandId, ServerId, TableId, TablePath};
use crate::metrics::Metrics;
use crate::output::{CommandAnswer, Event};
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::wish::ReadWish;

pub(super) type Map = BTreeMap<BucketKey, ServerId>;

impl Leaders for Map {
    fn leader(&self, bucket: BucketKey) -> Option<ServerId> {
        self.get(&bucket).copied()
    }
}

pub(super) const ONE: ServerId = ServerId::Tablet(1);
pub(super) const TWO: ServerId = ServerId::Tablet(2);

pub(super) fn bucket(table: i64, bucket: i32) -> BucketKey {
    BucketKey { table: TableId(table), partition: None, bucket }
}

/// A request as the server reads it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) token: u64,
    pub(super) api: ApiKey,
    pub(super) table: i64,
    /// Partition, bucket and keys.
    pub(super) buckets: Vec<(Option<i64>, i32, Vec<Bytes>)>,
    pub(super) insert: Option<(i32, i32)>,
    pub(super) deadline: Instant,
}

impl Asked {
    pub(super) fn keys(&self) -> Vec<&[u8]> {
        self.buckets.iter().flat_map(|(_, _, keys)| keys).map(|k| &k[..]).collect()
    }
}

pub(super) struct Bench {
    pub(super) config: Config,
    pub(super) rng: Rng,
    pub(super) lookups: Lookups,
    pub(super) leaders: Map,
    pub(super) now: Instant,
    next: u64,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(Config::new("127.0.0.1:9123").expect("a valid address"))
    }

    pub(super) fn with(config: Config) -> Self {
        Self {
            config,
            rng: Rng::new(7),
            lookups: Lookups::new(),
            leaders: Map::new(),
            now: Instant::ZERO,
            next: 0,
        }
    }

    /// Runs one input and then resolves leaders, as the client does.
    pub(super) fn run<R>(&mut self, f: impl FnOnce(&mut Lookups, &mut Cx<'_>) -> R) -> R {
        let mut cx = Cx { now: self.now, rng: &mut self.rng, config: &self.config };
        let result = f(&mut self.lookups, &mut cx);
        self.lookups.update(&cx, &self.leaders);
        result
    }

    pub(super) fn ask_as(&mut self, kind: LookupKind, bucket: BucketKey, key: &[u8]) -> CommandId {
        self.take(kind, bucket, key, false)
    }

    /// A key that nobody waits for yet.
    pub(super) fn ask_lazily(&mut self, bucket: BucketKey, key: &[u8]) -> CommandId {
        self.take(LookupKind::Lookup, bucket, key, true)
    }

    fn take(&mut self, kind: LookupKind, bucket: BucketKey, key: &[u8], lazy: bool) -> CommandId {
        let path = TablePath::new("shop", "users");
        let mut request = LookupRequest::new(kind, path, bucket, Bytes::copy_from_slice(key));
        request.limit = Duration::from_secs(10);
        let id = CommandId(self.next);
        self.next += 1;
        let ask = Ask { lazy, ..request.ask() };
        // As the client does, that asks nobody else then.
        let cx = Cx { now: self.now, rng: &mut self.rng, config: &self.config };
        if self.lookups.join(&cx, &ask, || id).is_none() {
            self.run(|lookups, cx| lookups.lookup(cx, id, ask));
        }
        id
    }

    pub(super) fn urge(&mut self, id: CommandId) {
        self.run(|lookups, cx| lookups.urge(cx, id));
    }

    pub(super) fn ask(&mut self, bucket: BucketKey, key: &[u8]) -> CommandId {
        self.ask_as(LookupKind::Lookup, bucket, key)
    }

    pub(super) fn metadata(&mut self) {
        let leaders = self.leaders.clone();
        self.run(|lookups, _| lookups.handle_metadata(&leaders));
    }

    pub(super) fn lead(&mut self, bucket: BucketKey, server: ServerId) {
        self.leaders.insert(bucket, server);
        self.metadata();
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.run(|lookups, cx| lookups.handle_timeout(cx));
    }

    pub(super) fn request(&mut self, server: ServerId) -> Option<Asked> {
        let out = self.run(|lookups, cx| lookups.poll_request(cx, server))?;
        Some(read(out))
    }

    pub(super) fn reply(&mut self, token: u64, result: Result<Bytes, RequestError>) {
        self.run(|lookups, cx| lookups.handle_reply(cx, token, result));
    }

    /// Answers each key with itself as its value.
    pub(super) fn echo(&mut self, asked: &Asked) {
        let body = answer(asked, |key| Some(key.clone()));
        self.reply(asked.token, Ok(body));
    }

    /// Keys on their way, bytes of the budget in use, and keys in line.
    pub(super) fn gauges(&self) -> (usize, u64, usize) {
        let mut metrics = Metrics::default();
        self.lookups.measure(&self.config, &mut metrics);
        (metrics.lookups, metrics.lookup_memory_used, metrics.lookup_waiters)
    }

    pub(super) fn wishes(&mut self) -> Vec<ReadWish> {
        std::iter::from_fn(|| self.lookups.poll_wish()).collect()
    }

    pub(super) fn done(&mut self) -> Vec<(CommandId, Result<CommandAnswer, Error>)> {
        let mut events = VecDeque::new();
        self.lookups.end_found(&mut events);
        self.lookups.move_events(&mut events);
        let end = |event| match event {
            Event::CommandDone { command, result } => (command, result),
            other => panic!("lookups never report {other:?}"),
        };
        events.into_iter().map(end).collect()
    }
}

fn read(out: Outgoing) -> Asked {
    let Owner::Lookup(token) = out.owner else { panic!("asked in the name of {:?}", out.owner) };
    let (table, insert, buckets) = match out.api {
        ApiKey::PrefixLookup => {
            let request = PrefixLookupRequest::decode(out.body).expect("a request that parses");
            let buckets = request.buckets_req.into_iter();
            let buckets = buckets.map(|b| (b.partition_id, b.bucket_id, b.keys)).collect();
            (request.table_id, None, buckets)
        }
        _ => {
            let request = fluss_proto::message::LookupRequest::decode(out.body)
                .expect("a request that parses");
            assert_eq!(request.insert_if_not_exists.is_some(), request.acks.is_some());
            let buckets = request.buckets_req.into_iter();
            let buckets = buckets.map(|b| (b.partition_id, b.bucket_id, b.keys)).collect();
            (request.table_id, request.acks.zip(request.timeout_ms), buckets)
        }
    };
    Asked { token, api: out.api, table, buckets, insert, deadline: out.deadline }
}

/// The answer of a server that has these values.
pub(super) fn answer(asked: &Asked, value: impl Fn(&Bytes) -> Option<Bytes>) -> Bytes {
    if asked.api == ApiKey::PrefixLookup {
        let list = |key: &Bytes| PbValueList { values: value(key).into_iter().collect() };
        let buckets = asked.buckets.iter().rev().map(|(partition_id, bucket_id, keys)| {
            PbPrefixLookupRespForBucket {
                partition_id: *partition_id,
                bucket_id: *bucket_id,
                error_code: None,
                error_message: None,
                value_lists: keys.iter().map(list).collect(),
            }
        });
        return PrefixLookupResponse { buckets_resp: buckets.collect() }.encode_to_vec().into();
    }
    let buckets =
        asked.buckets.iter().rev().map(|(partition_id, bucket_id, keys)| PbLookupRespForBucket {
            partition_id: *partition_id,
            bucket_id: *bucket_id,
            values: keys.iter().map(|key| PbValue { values: value(key) }).collect(),
            ..Default::default()
        });
    LookupResponse { buckets_resp: buckets.collect() }.encode_to_vec().into()
}

/// The answer of a server that refuses each of the buckets with this code.
pub(super) fn refusal(asked: &Asked, code: i32) -> Bytes {
    let buckets = asked.buckets.iter().map(|(partition_id, bucket_id, _)| PbLookupRespForBucket {
        partition_id: *partition_id,
        bucket_id: *bucket_id,
        error_code: Some(code),
        ..Default::default()
    });
    LookupResponse { buckets_resp: buckets.collect() }.encode_to_vec().into()
}
