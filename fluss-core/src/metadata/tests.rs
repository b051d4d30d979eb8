use bytes::Bytes;
use fluss_proto::message::{
    GetTableInfoResponse, ListPartitionInfosResponse, MetadataRequest, MetadataResponse,
    PbBucketMetadata, PbKeyValue, PbPartitionInfo, PbPartitionMetadata, PbPartitionSpec,
    PbServerNode, PbTableMetadata, PbTablePath,
};
use fluss_proto::{ApiKey, ErrorCode};
use prost::Message;

use super::*;
use crate::rng::Rng;

const PLAIN: &[u8] = br#"{"bucket_count":2,"partition_key":[]}"#;
const PARTITIONED: &[u8] = br#"{"bucket_count":4,"partition_key":["dt"]}"#;

struct Bench {
    config: Config,
    rng: Rng,
    m: Metadata,
    now: Instant,
}

/// What the machine asked, taken apart.
struct Question {
    server: ServerId,
    api: ApiKey,
    token: u64,
    deadline: Instant,
    tables: Vec<String>,
    names: Vec<String>,
    ids: Vec<i64>,
}

impl Bench {
    fn new(bootstrap: &str) -> Self {
        let config = Config::new(bootstrap).expect("valid");
        let m = Metadata::new(&config);
        Self { config, rng: Rng::new(1), m, now: Instant::ZERO }
    }

    /// Knows tablet servers 1 and 2.
    fn started() -> Self {
        let mut b = Self::new("boot:1");
        b.run(|m, cx| m.want_servers(cx));
        let q = b.asked();
        b.answer(&q, &cluster(&[1, 2]));
        b.events();
        b
    }

    fn run<R>(&mut self, f: impl FnOnce(&mut Metadata, &mut Cx<'_>) -> R) -> R {
        f(&mut self.m, &mut Cx { now: self.now, rng: &mut self.rng, config: &self.config })
    }

    fn ask(&mut self) -> Option<Question> {
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

    fn asked(&mut self) -> Question {
        let question = self.ask().expect("a question");
        assert!(self.ask().is_none(), "one question at a time");
        question
    }

    fn answer(&mut self, q: &Question, message: &impl Message) {
        let body = Bytes::from(message.encode_to_vec());
        self.run(|m, cx| m.handle_reply(cx, q.token, Ok(body)));
    }

    fn reject(&mut self, q: &Question, code: i32) {
        let error = RequestError::Rejected { code: ErrorCode(code), message: "because".into() };
        self.run(|m, cx| m.handle_reply(cx, q.token, Err(error)));
    }

    fn fail(&mut self, q: &Question) {
        let what = format!("cannot connect to {}", q.server);
        let error = RequestError::NotSent(Error::misuse(what));
        self.run(|m, cx| m.handle_reply(cx, q.token, Err(error)));
    }

    fn events(&mut self) -> Vec<MetadataEvent> {
        std::iter::from_fn(|| self.m.poll_event()).collect()
    }

    fn want(&mut self, name: &str) {
        let path = path(name);
        self.run(|m, cx| m.want_table(cx, &path));
    }

    /// Moves to the next moment at which there is something to do.
    fn wait(&mut self) -> Duration {
        let (at, reason) = self.m.poll_timeout().expect("a timer");
        assert_eq!(reason, TimerReason::Metadata);
        let waited = at - self.now;
        self.now = self.now.max(at);
        self.run(|m, cx| m.handle_timeout(cx));
        waited
    }
}

fn path(name: &str) -> TablePath {
    TablePath::new("shop", name)
}

fn node(id: i32) -> PbServerNode {
    PbServerNode { node_id: id, host: format!("h{id}"), port: 9000 + id, ..Default::default() }
}

fn cluster(tablets: &[i32]) -> MetadataResponse {
    MetadataResponse {
        coordinator_server: Some(node(100)),
        tablet_servers: tablets.iter().map(|id| node(*id)).collect(),
        ..Default::default()
    }
}

fn bucket(bucket: i32, leader: i32, epoch: Option<i32>) -> PbBucketMetadata {
    PbBucketMetadata {
        bucket_id: bucket,
        leader_id: (leader != 0).then_some(leader),
        leader_epoch: epoch,
        ..Default::default()
    }
}

fn table(name: &str, id: i64, json: &[u8], buckets: Vec<PbBucketMetadata>) -> MetadataResponse {
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

fn partition(table: i64, name: &str, id: i64, leader: i32) -> MetadataResponse {
    let partition = PbPartitionMetadata {
        table_id: table,
        partition_name: name.into(),
        partition_id: id,
        bucket_metadata: vec![bucket(0, leader, Some(1))],
        bucket_count: Some(8),
    };
    MetadataResponse { partition_metadata: vec![partition], ..cluster(&[1, 2]) }
}

fn key(table: i64, bucket: i32) -> BucketKey {
    BucketKey { table: TableId(table), partition: None, bucket }
}

#[test]
fn the_first_question_goes_to_a_bootstrap_address_and_its_answer_names_the_servers() {
    let mut b = Bench::new("dead:1,alive:2");
    assert!(b.ask().is_none() && b.m.poll_timeout().is_none(), "nobody wants anything");
    b.run(|m, cx| m.want_servers(cx));
    assert_eq!(b.m.poll_timeout(), Some((Instant::ZERO, TimerReason::Metadata)));
    let q = b.asked();
    assert_eq!((q.server, q.api), (ServerId::Bootstrap(0), ApiKey::GetMetadata));
    assert_eq!(q.deadline, Instant::from_millis(10_000), "silence is not waited out for long");
    b.fail(&q);
    let q = b.asked();
    assert_eq!(q.server, ServerId::Bootstrap(1), "the next address, at once");
    b.answer(&q, &cluster(&[1, 2]));
    assert_eq!(b.events(), [MetadataEvent::Updated]);
    let servers = b.m.cluster().servers();
    assert_eq!(servers[&ServerId::Coordinator].to_string(), "h100:9100");
    assert_eq!(servers[&ServerId::Tablet(2)].to_string(), "h2:9002");
    assert!(matches!(b.run(|m, cx| m.any_tablet(cx)), ServerId::Tablet(1 | 2)));
}

#[test]
fn a_round_without_help_is_reported_and_the_next_begins_after_a_growing_pause() {
    let mut b = Bench::new("a:1,b:2");
    b.run(|m, cx| m.want_servers(cx));
    let mut pauses = Vec::new();
    for _ in 0..5 {
        for _ in 0..2 {
            let q = b.asked();
            b.fail(&q);
        }
        let events = b.events();
        let [MetadataEvent::Unreachable { error }] = &events[..] else { panic!("{events:?}") };
        assert!(error.to_string().contains("cannot connect to bootstrap"), "{error}");
        assert!(b.ask().is_none());
        pauses.push(b.wait());
    }
    assert!(pauses[0] >= Duration::from_millis(80) && pauses[1] > pauses[0], "{pauses:?}");
    assert!(pauses[4] <= Duration::from_millis(1200), "{pauses:?}");
    assert!(b.m.last_error().is_some() && !b.m.is_bootstrapped());
}

#[test]
fn when_all_tablet_servers_are_gone_the_bootstrap_addresses_help_and_tables_stay_known() {
    let mut b = Bench::started();
    b.want("events");
    let q = b.asked();
    b.answer(&q, &table("events", 7, PLAIN, vec![bucket(0, 1, Some(3)), bucket(1, 2, Some(3))]));
    assert_eq!(b.m.cluster().leader(key(7, 0)), Some(ServerId::Tablet(1)));
    b.now = Instant::from_millis(5000);
    b.run(|m, cx| m.want_leader(cx, key(7, 0), Some(3)));
    let mut asked = Vec::new();
    for _ in 0..3 {
        let q = b.asked();
        asked.push(q.server);
        if q.server == ServerId::Bootstrap(0) {
            assert!(b.m.cluster().table(&path("events")).is_some(), "tables stay");
            let buckets = vec![bucket(0, 5, Some(4)), bucket(1, 6, Some(4))];
            let moved = MetadataResponse {
                tablet_servers: vec![node(5), node(6)],
                ..table("events", 7, PLAIN, buckets)
            };
            b.answer(&q, &moved);
        } else {
            b.fail(&q);
        }
    }
    asked.sort();
    let all = [ServerId::Tablet(1), ServerId::Tablet(2), ServerId::Bootstrap(0)];
    assert_eq!(asked, all, "each server once, the bootstrap address last");
    assert_eq!(b.m.cluster().leader(key(7, 1)), Some(ServerId::Tablet(6)));
}

#[test]
fn a_server_that_failed_is_passed_over_for_a_while_though_others_call_it_alive() {
    let mut b = Bench::started();
    let error = Error::misuse("connection refused");
    b.run(|m, cx| m.mark_unavailable(cx, ServerId::Tablet(1), &error));
    for _ in 0..20 {
        b.now = b.now + Duration::from_millis(400);
        b.run(|m, cx| m.want_servers(cx));
        if let Some(q) = b.ask() {
            assert_eq!(q.server, ServerId::Tablet(2));
            b.answer(&q, &cluster(&[1, 2]));
        }
    }
    b.now = b.now + Duration::from_secs(20);
    b.run(|m, cx| m.want_servers(cx));
    let q = b.asked();
    b.answer(&q, &cluster(&[1, 2]));
    let picks: std::collections::BTreeSet<ServerId> =
        (0..50).map(|_| b.run(|m, cx| m.any_tablet(cx))).collect();
    assert_eq!(picks.len(), 2, "back in use");
}

#[test]
fn the_same_wish_is_asked_once_and_keeps_its_distance_while_nothing_changes() {
    let mut b = Bench::started();
    b.want("events");
    b.want("events");
    let q = b.asked();
    assert_eq!(q.tables, ["shop.events"]);
    let same = table("events", 7, PLAIN, vec![bucket(0, 0, None)]);
    b.answer(&q, &same);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        b.want("events");
        b.want("events");
        assert!(b.ask().is_none(), "not at once again");
        pauses.push(b.wait().as_millis());
        let q = b.asked();
        b.answer(&q, &same);
    }
    assert_eq!(pauses, [50, 50, 100, 200, 400, 800, 1000]);
    b.want("events");
    b.wait();
    let q = b.asked();
    b.answer(&q, &table("events", 7, PLAIN, vec![bucket(0, 1, None)]));
    b.want("events");
    assert!(b.wait() <= Duration::from_secs(1));
    let q = b.asked();
    b.answer(&q, &same);
    b.want("events");
    assert_eq!(b.wait().as_millis(), 50, "news shorten the distance");
    b.now = b.now + Duration::from_secs(60);
    let q = b.asked();
    b.answer(&q, &same);
    b.now = b.now + Duration::from_secs(60);
    b.want("events");
    assert!(b.ask().is_some(), "the first attempt after a rest is immediate");
}

#[test]
fn a_wish_while_the_request_is_on_its_way_is_asked_again_unless_the_answer_brings_news() {
    let leaderless = table("events", 7, PLAIN, vec![bucket(0, 0, None)]);
    for (second, again) in
        [(leaderless.clone(), true), (table("events", 7, PLAIN, vec![bucket(0, 1, None)]), false)]
    {
        let mut b = Bench::started();
        b.want("events");
        let q = b.asked();
        b.answer(&q, &leaderless);
        b.now = Instant::from_millis(500);
        b.want("events");
        let q = b.asked();
        b.want("events");
        b.answer(&q, &second);
        b.now = Instant::from_millis(900);
        assert_eq!(b.ask().is_some(), again);
    }
}

#[test]
fn a_refused_request_is_split_until_the_missing_table_stands_alone() {
    let mut b = Bench::started();
    for name in ["a", "b", "gone", "c", "d"] {
        b.want(name);
    }
    let (mut described, mut requests) = (Vec::new(), 0);
    while let Some(q) = b.ask() {
        requests += 1;
        match q.api {
            ApiKey::GetTableInfo => b.reject(&q, 7),
            _ if q.tables.contains(&"shop.gone".to_owned()) => b.reject(&q, -1),
            _ => {
                let tables = q.tables.iter().enumerate().flat_map(|(i, name)| {
                    let id = described.len() as i64 + i as i64;
                    table(&name[5..], id, PLAIN, vec![]).table_metadata
                });
                let response =
                    MetadataResponse { table_metadata: tables.collect(), ..cluster(&[1, 2]) };
                described.extend(q.tables.clone());
                b.answer(&q, &response);
            }
        }
    }
    described.sort();
    assert_eq!(described, ["shop.a", "shop.b", "shop.c", "shop.d"]);
    assert!(requests <= 8, "{requests} requests");
    let failed: Vec<MetadataEvent> =
        b.events().into_iter().filter(|e| *e != MetadataEvent::Updated).collect();
    let [MetadataEvent::TableFailed { path: p, error }] = &failed[..] else { panic!("{failed:?}") };
    assert_eq!((p, error.code()), (&path("gone"), Some(ErrorCode::TABLE_NOT_EXIST)));
    assert!(error.to_string().contains("table shop.gone"), "{error}");
}

#[test]
fn a_known_table_is_gone_only_after_a_server_said_so() {
    let mut b = Bench::started();
    b.want("events");
    let q = b.asked();
    b.answer(&q, &table("events", 7, PLAIN, vec![bucket(0, 1, None)]));
    b.events();
    b.now = Instant::from_millis(5000);
    b.want("events");
    let q = b.asked();
    b.reject(&q, -1);
    assert!(b.m.cluster().table(&path("events")).is_some() && b.events().is_empty());
    let check = b.asked();
    assert_eq!(check.api, ApiKey::GetTableInfo);
    b.answer(&check, &GetTableInfoResponse { table_id: 7, ..Default::default() });
    assert!(b.events().is_empty(), "it exists: the server is in trouble, ask again");
    b.wait();
    let q = b.asked();
    b.reject(&q, -1);
    let check = b.asked();
    b.reject(&check, 7);
    let events = b.events();
    assert!(
        matches!(&events[..], [MetadataEvent::Updated, MetadataEvent::TableGone { id, path: Some(p), .. }]
            if *id == TableId(7) && *p == path("events")),
        "{events:?}"
    );
    assert!(b.m.cluster().table_by_id(TableId(7)).is_none());
    assert!(b.m.cluster().leader(key(7, 0)).is_none());
    b.run(|m, cx| m.want_leader(cx, key(7, 0), None));
    assert!(matches!(&b.events()[..], [MetadataEvent::TableGone { path: None, .. }]));
}

#[test]
fn a_server_that_keeps_contradicting_itself_is_reported_in_the_end() {
    let mut b = Bench::started();
    b.want("events");
    let mut rounds = 0;
    let error = loop {
        let Some(q) = b.ask() else {
            b.wait();
            continue;
        };
        match q.api {
            ApiKey::GetTableInfo => b.answer(&q, &GetTableInfoResponse::default()),
            _ => b.reject(&q, -1),
        }
        rounds += 1;
        if let Some(MetadataEvent::TableFailed { error, .. }) = b.events().pop() {
            break error;
        }
        assert!(rounds < 50);
    };
    assert_eq!(error.code(), Some(ErrorCode::UNKNOWN_SERVER_ERROR));
    assert!(b.ask().is_none(), "the wish is over");
}

#[test]
fn a_table_left_out_of_the_answer_is_looked_into() {
    let mut b = Bench::started();
    b.want("secret");
    let q = b.asked();
    b.answer(&q, &cluster(&[1, 2]));
    let check = b.asked();
    assert_eq!(check.api, ApiKey::GetTableInfo);
    b.reject(&check, 48);
    let events = b.events();
    let Some(MetadataEvent::TableFailed { error, .. }) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(error.code(), Some(ErrorCode(48)));
}

#[test]
fn a_table_made_again_replaces_the_old_one_and_an_older_answer_does_not_bring_it_back() {
    let mut b = Bench::started();
    let mut next = |b: &mut Bench, id, leader| {
        b.now = b.now + Duration::from_secs(5);
        b.want("events");
        let q = b.asked();
        b.answer(&q, &table("events", id, PLAIN, vec![bucket(0, leader, None)]));
        b.events()
    };
    next(&mut b, 7, 1);
    let events = next(&mut b, 9, 2);
    let [
        MetadataEvent::TableGone { id, error, .. },
        MetadataEvent::TableReplaced { old, new, .. },
        MetadataEvent::Updated,
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*id, *old, *new), (TableId(7), TableId(7), TableId(9)));
    assert!(error.to_string().contains("was 7 and is 9"), "{error}");
    assert_eq!(b.m.cluster().bucket(key(7, 0)), None);
    assert_eq!(next(&mut b, 7, 1), [MetadataEvent::Updated]);
    assert_eq!(b.m.cluster().table(&path("events")).map(|t| t.id), Some(TableId(9)));
    assert_eq!(b.m.cluster().leader(key(9, 0)), Some(ServerId::Tablet(2)));
}

#[test]
fn leader_epochs_never_go_backwards() {
    let mut b = Bench::started();
    let mut next = |buckets: Vec<PbBucketMetadata>| {
        b.now = b.now + Duration::from_secs(5);
        b.want("events");
        let q = b.asked();
        b.answer(&q, &table("events", 7, PLAIN, buckets));
        let bucket = b.m.cluster().bucket(key(7, 0)).copied().expect("known");
        (bucket.leader, bucket.epoch)
    };
    assert_eq!(next(vec![bucket(0, 1, Some(4))]), (Some(1), Some(4)));
    assert_eq!(next(vec![bucket(0, 2, Some(3))]), (Some(1), Some(4)), "a lagging server");
    assert_eq!(next(vec![bucket(0, 0, Some(3))]), (Some(1), Some(4)), "even without a leader");
    assert_eq!(next(vec![bucket(0, 2, Some(5))]), (Some(2), Some(5)));
    assert_eq!(next(vec![bucket(0, -1, Some(5))]), (None, Some(5)), "no leader just now");
    assert_eq!(next(vec![bucket(0, 1, None)]), (Some(1), Some(5)), "a server without epochs");
    assert_eq!(next(vec![]), (None, Some(5)), "left out");
    assert_eq!(next(vec![bucket(0, 2, Some(4))]), (None, Some(5)), "and still not backwards");
}

#[test]
fn a_leader_that_is_newer_than_the_stale_one_needs_no_question() {
    let mut b = Bench::started();
    b.want("events");
    let q = b.asked();
    b.answer(&q, &table("events", 7, PLAIN, vec![bucket(0, 1, Some(4)), bucket(1, 9, Some(4))]));
    b.now = Instant::from_millis(5000);
    b.run(|m, cx| m.want_leader(cx, key(7, 0), Some(3)));
    assert!(b.ask().is_none());
    assert_eq!(b.m.cluster().leader(key(7, 1)), None, "server 9 is not alive");
    b.run(|m, cx| m.want_leader(cx, key(7, 1), None));
    assert_eq!(b.asked().tables, ["shop.events"]);
}

#[test]
fn partitions_are_asked_with_their_table_and_found_by_name_and_id() {
    let mut b = Bench::started();
    let events = path("events");
    b.run(|m, cx| m.want_partition(cx, &events, "2026"));
    let q = b.asked();
    assert_eq!((q.tables.len(), q.names.as_slice()), (1, &["2026".to_owned()][..]));
    let response = MetadataResponse {
        partition_metadata: partition(7, "2026", 70, 1).partition_metadata,
        ..table("events", 7, PARTITIONED, vec![])
    };
    b.answer(&q, &response);
    let cluster = b.m.cluster().clone();
    let found = cluster.partition_by_name(TableId(7), "2026").expect("known");
    assert_eq!(found.id, PartitionId(70));
    assert_eq!(cluster.bucket_count(TableId(7), Some(PartitionId(70))), Some(8), "its own");
    assert_eq!(cluster.bucket_count(TableId(7), None), Some(4));
    assert!(cluster.table(&events).expect("known").partitioned);

    b.now = Instant::from_millis(5000);
    let bucket = BucketKey { partition: Some(PartitionId(70)), ..key(7, 0) };
    assert_eq!(cluster.leader(bucket), Some(ServerId::Tablet(1)));
    b.run(|m, cx| m.want_leader(cx, bucket, Some(1)));
    let q = b.asked();
    assert_eq!((q.tables.as_slice(), q.ids), (&["shop.events".to_owned()][..], vec![70]));
}

#[test]
fn a_partition_is_gone_only_when_its_table_does_not_list_it() {
    let pair = |value: &str| PbKeyValue { key: "k".into(), value: value.into() };
    let listed = |names: &[(&str, &str, i64)]| ListPartitionInfosResponse {
        partitions_info: names
            .iter()
            .map(|(a, b, id)| PbPartitionInfo {
                partition_id: *id,
                partition_spec: PbPartitionSpec { partition_key_values: vec![pair(a), pair(b)] },
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let mut b = Bench::started();
    let events = path("events");
    b.run(|m, cx| m.want_partition(cx, &events, "eu$2026"));
    let q = b.asked();
    let response = MetadataResponse {
        partition_metadata: partition(7, "eu$2026", 70, 1).partition_metadata,
        ..table("events", 7, PARTITIONED, vec![])
    };
    b.answer(&q, &response);
    b.events();
    b.now = Instant::from_millis(5000);
    b.run(|m, cx| m.want_partition_id(cx, TableId(7), PartitionId(70)));
    b.run(|m, cx| m.want_partition(cx, &events, "us$2026"));
    let q = b.asked();
    b.reject(&q, 36);
    let mut lists = 0;
    while let Some(q) = b.ask() {
        match q.api {
            ApiKey::ListPartitionInfos => {
                lists += 1;
                b.answer(&q, &listed(&[("us", "2026", 71)]));
            }
            _ => b.reject(&q, 36),
        }
    }
    assert_eq!(lists, 2);
    let events = b.events();
    assert!(
        matches!(&events[..], [MetadataEvent::Updated, MetadataEvent::PartitionGone { id, name, .. }]
            if *id == PartitionId(70) && &**name == "eu$2026"),
        "the other one is listed, so it is asked for again: {events:?}"
    );
    assert!(b.m.cluster().partition(PartitionId(70)).is_none());
    b.wait();
    assert_eq!(b.asked().names, ["us$2026"]);
}

#[test]
fn a_partition_made_again_reports_the_old_one_gone() {
    let mut b = Bench::started();
    let events = path("events");
    for (id, gone) in [(70, 0), (75, 1), (70, 0)] {
        b.now = b.now + Duration::from_secs(5);
        b.run(|m, cx| m.want_partition(cx, &events, "2026"));
        let q = b.asked();
        b.answer(&q, &partition(7, "2026", id, 1));
        let events = b.events();
        let count = events
            .iter()
            .filter(|e| matches!(e, MetadataEvent::PartitionGone { id, .. } if id.0 == 70))
            .count();
        assert_eq!(count, gone, "{events:?}");
    }
    let partition = b.m.cluster().partition_by_name(TableId(7), "2026").expect("known");
    assert_eq!(partition.id, PartitionId(75), "ids only grow");
}

#[test]
fn a_server_without_tablet_servers_is_only_starting() {
    let mut b = Bench::new("a:1");
    b.run(|m, cx| m.want_servers(cx));
    let q = b.asked();
    b.answer(&q, &cluster(&[]));
    assert!(b.m.cluster().coordinator.is_some());
    let events = b.events();
    let Some(MetadataEvent::Unreachable { error }) = events.last() else { panic!("{events:?}") };
    assert!(
        error.to_string().contains("bootstrap server a:1: it knows no tablet server"),
        "{error}"
    );
    b.wait();
    let q = b.asked();
    b.answer(&q, &cluster(&[1]));
    assert!(b.m.is_bootstrapped() && b.m.last_error().is_none());
}

#[test]
fn answers_that_make_no_sense_send_the_question_elsewhere_or_fail_their_table() {
    let mut b = Bench::new("a:1,b:2");
    b.want("events");
    let q = b.asked();
    b.run(|m, cx| m.handle_reply(cx, q.token, Ok(Bytes::from_static(b"\xff\xff"))));
    let error = b.m.last_error().cloned().expect("an error");
    assert!(matches!(error, Error::Peer { .. }));
    assert!(error.to_string().contains("bootstrap server a:1"), "{error}");
    for (json, text) in [(&b"{"[..], "no JSON"), (br#"{"bucket_count":-3}"#, "-3 buckets")] {
        b.want("events");
        let q = b.asked();
        assert_eq!(q.tables, ["shop.events"]);
        b.answer(&q, &table("events", 7, json, vec![]));
        let events = b.events();
        let Some(MetadataEvent::TableFailed { error, .. }) = events.first() else {
            panic!("{events:?}")
        };
        let error = error.to_string();
        assert!(error.contains(text) && error.contains("shop.events"), "{error}");
    }
}

#[test]
fn a_standby_coordinator_a_closed_door_and_a_retriable_error_send_the_question_on() {
    for code in [65, 46, 44, 1] {
        let mut b = Bench::new("a:1,b:2");
        b.want("events");
        let q = b.asked();
        b.reject(&q, code);
        let q = b.asked();
        assert_eq!((q.server, q.tables.len()), (ServerId::Bootstrap(1), 1), "code {code}");
        b.reject(&q, code);
        let events = b.events();
        let [MetadataEvent::Unreachable { error }] = &events[..] else { panic!("{events:?}") };
        assert_eq!(error.code(), Some(ErrorCode(code)));
    }
}

#[test]
fn an_old_list_of_servers_is_asked_for_again() {
    let mut b = Bench::started();
    assert_eq!(b.wait(), b.config.metadata_max_age);
    let q = b.asked();
    assert!(q.tables.is_empty());
    b.answer(&q, &cluster(&[1, 2]));
    assert_eq!(b.wait(), b.config.metadata_max_age, "idle: one request in five minutes");
}

#[test]
fn answers_to_questions_that_are_over_change_nothing() {
    let mut b = Bench::started();
    b.want("events");
    let q = b.asked();
    b.answer(&q, &table("events", 7, PLAIN, vec![]));
    b.events();
    let version = b.m.cluster().version;
    b.answer(&q, &table("events", 8, PLAIN, vec![]));
    assert_eq!((b.m.cluster().version, b.events().len()), (version, 0));
}
