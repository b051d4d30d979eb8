//! Plays scripts to a cluster.

use bytes::Bytes;
use fluss_proto::message::*;
use prost::Message;

use super::data::Shape;
use super::must;
use super::normal::Symbols;
use super::step::{Batch, Fetch, Step, Table, To, Write, Writer};
use super::wire::{At, Got, Wire};
use super::{Group, Played, Script};

/// Looks at a table that is not there yet: 10 s and more on a real cluster.
const LOOKS: usize = 200;
/// A table id that nobody has.
const STRANGE_TABLE: i64 = 987_654_321;
/// Names tried for a table whose creation gets lost.
const NAMES: usize = 4;

/// Plays a group of scripts to a cluster and returns their answers. `tag` keeps the tables of
/// several runs on one cluster apart.
///
/// # Panics
/// If the cluster does not do what every script relies on: tables get leaders, servers come back.
pub fn play(group: &Group, tag: &str, wire: &mut dyn Wire) -> Vec<Played> {
    let mut players: Vec<Player<'_>> =
        group.scripts.iter().map(|script| Player::new(script, tag, wire)).collect();
    // All tables first: their leaders come while the others are made.
    for player in &mut players {
        player.create(wire);
    }
    loop {
        for player in &mut players {
            player.await_leaders(wire);
            player.until_restart(wire);
        }
        let stops: Vec<_> = players.iter().map(|player| player.restart()).collect();
        let Some(stop) = stops[0] else { break };
        assert!(stops.iter().all(|other| *other == Some(stop)), "a group restarts together");
        wire.restart(0, stop);
        for player in &mut players {
            player.skip_restart();
        }
    }
    players.into_iter().map(|player| player.played).collect()
}

struct Player<'a> {
    script: &'a Script,
    next: usize,
    symbols: Symbols,
    played: Played,
}

impl<'a> Player<'a> {
    fn new(script: &'a Script, tag: &str, wire: &dyn Wire) -> Self {
        let name = format!("{}_{tag}", script.name.replace(['/', '.'], "_"));
        let symbols = Symbols {
            shape: None,
            table_name: name,
            table: -2,
            writers: Vec::new(),
            addresses: wire.addresses(),
            started_ms: wire.now_ms(),
            now_ms: wire.now_ms(),
            leader: 0,
            projection: None,
        };
        let played = Played { name: script.name.clone(), lines: Vec::new() };
        Self { script, next: 0, symbols, played }
    }

    fn restart(&self) -> Option<super::step::Stop> {
        match self.script.steps.get(self.next) {
            Some(Step::Restart(stop)) => Some(*stop),
            _ => None,
        }
    }

    fn skip_restart(&mut self) {
        self.record("");
    }

    fn record(&mut self, answer: &str) {
        let step = super::text::short(&self.script.steps[self.next]);
        let step = step.strip_suffix("()").unwrap_or(&step).to_owned();
        self.played.lines.push((step, answer.to_owned()));
        self.next += 1;
    }

    fn path(&self) -> PbTablePath {
        let table_name = self.symbols.table_name.clone();
        PbTablePath { database_name: "fluss".into(), table_name }
    }

    /// The first step, if it makes a table.
    fn create(&mut self, wire: &mut dyn Wire) {
        if let Some(Step::Create(table)) = self.script.steps.first() {
            let table = table.clone();
            self.symbols.shape = Some(Shape::new(&table));
            let answer = self.ask_create(wire, false);
            self.record(&answer);
        }
    }

    fn ask_create(&mut self, wire: &mut dyn Wire, ignore_if_exists: bool) -> String {
        let shape = must("a table", self.symbols.shape.as_ref().ok_or("no shape"));
        let request = CreateTableRequest {
            table_path: self.path(),
            table_json: shape.json.clone().into(),
            ignore_if_exists,
        };
        self.ask(wire, At::Coordinator, 1005, 0, &request.encode_to_vec())
    }

    fn ask(&mut self, wire: &mut dyn Wire, at: At, api: i16, version: i16, body: &[u8]) -> String {
        let got = wire.call(at, api, version, body);
        self.symbols.now_ms = wire.now_ms();
        if api == 1026
            && let Got::Answer(body) = &got
        {
            let answer = InitWriterResponse::decode(body.clone());
            self.symbols.writers.push(must("a writer", answer).writer_id);
        }
        self.symbols.normal(api, got)
    }

    /// Waits until every bucket answers a fetch; makes the table again where its creation got lost.
    fn await_leaders(&mut self, wire: &mut dyn Wire) {
        let Some(Step::Create(table)) = self.script.steps.first() else { return };
        let table = table.clone();
        for name in 1..=NAMES {
            if (0..LOOKS).any(|_| {
                self.is_led(wire, &table) || {
                    wire.pause();
                    false
                }
            }) {
                return;
            }
            assert!(self.next <= 1 && wire.repair(), "{} has no leaders", self.symbols.table_name);
            self.symbols.table_name = format!("{}_{name}", self.symbols.table_name);
            self.ask_create(wire, false);
        }
        panic!("{} never got leaders", self.symbols.table_name);
    }

    fn is_led(&mut self, wire: &mut dyn Wire, table: &Table) -> bool {
        let request = MetadataRequest { table_path: vec![self.path()], ..Default::default() };
        let got = wire.call(At::Tablet(0), 1012, 0, &request.encode_to_vec());
        let Got::Answer(body) = got else { return false };
        let answer = must("metadata", MetadataResponse::decode(body));
        let Some(meta) = answer.table_metadata.first() else { return false };
        self.symbols.table = meta.table_id;
        let buckets = &meta.bucket_metadata;
        let leader = |bucket: i32| {
            let bucket = buckets.iter().find(|b| b.bucket_id == bucket);
            bucket.and_then(|b| b.leader_id).filter(|&id| id >= 0)
        };
        (0..table.buckets).all(|bucket| {
            let Some(leader) = leader(bucket) else { return false };
            if bucket == 0 {
                self.symbols.leader = leader;
            }
            let fetch = self.fetch_request(&super::step::fetch(0), Some(bucket));
            let got = wire.call(At::Tablet(leader as usize), 1015, 0, &fetch.encode_to_vec());
            let Got::Answer(body) = got else { return false };
            let answer = must("a fetch", FetchLogResponse::decode(body));
            answer.tables_resp[0].buckets_resp[0].error_code.unwrap_or(0) == 0
        })
    }

    fn until_restart(&mut self, wire: &mut dyn Wire) {
        while let Some(step) = self.script.steps.get(self.next) {
            if matches!(step, Step::Restart(_)) {
                return;
            }
            let answer = self.step(wire, step);
            self.record(&answer);
        }
    }

    fn leader(&self) -> At {
        At::Tablet(self.symbols.leader as usize)
    }

    fn at(&self, to: To) -> At {
        let servers = self.symbols.addresses.len() - 1;
        match to {
            To::Leader => self.leader(),
            To::Other => At::Tablet((self.symbols.leader as usize + 1) % servers),
        }
    }

    fn step(&mut self, wire: &mut dyn Wire, step: &Step) -> String {
        let leader = self.leader();
        let (api, at, body) = match step {
            Step::Create(_) | Step::Restart(_) => panic!("{} comes first only", self.script.name),
            Step::CreateAgain(_, ignore) => return self.ask_create(wire, *ignore),
            Step::Drop => {
                let ignore_if_not_exists = false;
                let request = DropTableRequest { table_path: self.path(), ignore_if_not_exists };
                (1006, At::Coordinator, request.encode_to_vec())
            }
            Step::Init => {
                let request = InitWriterRequest { table_path: vec![self.path()] };
                (1026, leader, request.encode_to_vec())
            }
            Step::Produce(write) => (1014, self.at(write.to), self.produce_body(write)),
            Step::Put(write) => (1016, self.at(write.to), self.put_body(write)),
            Step::Fetch(fetch) => {
                self.symbols.projection = fetch.projection.as_ref().map(|columns| {
                    columns.iter().filter_map(|&at| usize::try_from(at).ok()).collect()
                });
                (1015, self.at(fetch.to), self.fetch_request(fetch, None).encode_to_vec())
            }
            Step::Raw(api, bytes) => (*api, leader, bytes.to_vec()),
            Step::BadLength(length) => {
                let mut bytes = length.to_be_bytes().to_vec();
                bytes.resize(4 + usize::try_from(*length).unwrap_or(0), 0);
                let got = wire.send(leader, &bytes);
                return self.symbols.normal(0, got);
            }
            Step::KillFollowers => {
                let servers = self.symbols.addresses.len() - 1;
                let leader = self.symbols.leader as usize;
                (0..servers).filter(|id| *id != leader).for_each(|id| wire.kill(id));
                return String::new();
            }
            Step::AwaitShrink => {
                wire.shrink(self.symbols.table);
                return String::new();
            }
            other => self.read_body(other),
        };
        self.ask(wire, at, api, 0, &body)
    }

    /// The requests that read.
    fn read_body(&self, step: &Step) -> (i16, At, Vec<u8>) {
        let at = self.leader();
        let table_id = self.symbols.table;
        let path = self.path();
        match step {
            Step::Lookup(bucket, keys) => {
                let shape = must("a table", self.symbols.shape.as_ref().ok_or("no shape"));
                let keys = keys.iter().map(|(a, b)| shape.key(*a, b)).collect();
                (1017, at, lookup(table_id, *bucket, keys))
            }
            Step::LookupBytes(bucket, key) => {
                (1017, at, lookup(table_id, *bucket, vec![Bytes::from_static(key)]))
            }
            Step::LookupStranger => (1017, at, lookup(STRANGE_TABLE, 0, vec![Bytes::new()])),
            Step::Prefix(bucket, keys) => {
                let shape = must("a table", self.symbols.shape.as_ref().ok_or("no shape"));
                let keys = keys.iter().map(|a| shape.prefix(*a)).collect();
                let entry =
                    PbPrefixLookupReqForBucket { bucket_id: *bucket, keys, ..Default::default() };
                let request = PrefixLookupRequest { table_id, buckets_req: vec![entry] };
                (1034, at, request.encode_to_vec())
            }
            Step::Scan(bucket_id, limit) => {
                let (bucket_id, limit) = (*bucket_id, *limit);
                let request = LimitScanRequest { table_id, bucket_id, limit, ..Default::default() };
                (1033, at, request.encode_to_vec())
            }
            Step::Offsets(kind, buckets, ago) => {
                let request = ListOffsetsRequest {
                    follower_server_id: -1,
                    offset_type: *kind,
                    table_id,
                    bucket_id: buckets.clone(),
                    start_timestamp: ago.map(|ago| self.symbols.now_ms + ago),
                    ..Default::default()
                };
                (1021, at, request.encode_to_vec())
            }
            Step::Metadata => {
                let request = MetadataRequest { table_path: vec![path], ..Default::default() };
                (1012, at, request.encode_to_vec())
            }
            Step::MetadataStranger => {
                let table_name = "nobody_made_it".to_owned();
                let path = PbTablePath { table_name, ..path };
                let request = MetadataRequest { table_path: vec![path], ..Default::default() };
                (1012, at, request.encode_to_vec())
            }
            Step::Info => {
                let request = GetTableInfoRequest { table_path: path };
                (1007, At::Coordinator, request.encode_to_vec())
            }
            Step::Schema(schema_id) => {
                let request = GetTableSchemaRequest { table_path: path, schema_id: *schema_id };
                (1011, At::Coordinator, request.encode_to_vec())
            }
            _ => {
                let request = TableExistsRequest { table_path: path };
                (1010, At::Coordinator, request.encode_to_vec())
            }
        }
    }

    fn writer(&self, batch: &Batch) -> i64 {
        match batch.writer {
            Writer::None => -1,
            Writer::Got(index) => {
                *must("a writer", self.symbols.writers.get(index).ok_or("no Init before"))
            }
        }
    }

    fn table_of(&self, stranger: bool) -> i64 {
        if stranger { STRANGE_TABLE } else { self.symbols.table }
    }

    fn produce_body(&self, write: &Write) -> Vec<u8> {
        let shape = must("a table", self.symbols.shape.as_ref().ok_or("no shape"));
        let entry = |batch: &Batch| PbProduceLogReqForBucket {
            partition_id: write.partition,
            bucket_id: batch.bucket,
            records: shape.log_batch(batch, self.writer(batch)),
            ..Default::default()
        };
        let request = ProduceLogRequest {
            acks: write.acks,
            table_id: self.table_of(write.stranger),
            timeout_ms: write.timeout_ms,
            buckets_req: write.batches.iter().map(entry).collect(),
        };
        request.encode_to_vec()
    }

    fn put_body(&self, write: &Write) -> Vec<u8> {
        let shape = must("a table", self.symbols.shape.as_ref().ok_or("no shape"));
        let entry = |batch: &Batch| PbPutKvReqForBucket {
            partition_id: write.partition,
            bucket_id: batch.bucket,
            records: shape.kv_batch(batch, self.writer(batch)),
            ..Default::default()
        };
        let request = PutKvRequest {
            acks: write.acks,
            table_id: self.table_of(write.stranger),
            timeout_ms: write.timeout_ms,
            target_columns: write.targets.clone(),
            buckets_req: write.batches.iter().map(entry).collect(),
            agg_mode: None,
        };
        request.encode_to_vec()
    }

    fn fetch_request(&self, fetch: &Fetch, bucket: Option<i32>) -> FetchLogRequest {
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
}

fn lookup(table_id: i64, bucket_id: i32, keys: Vec<Bytes>) -> Vec<u8> {
    let entry = PbLookupReqForBucket { bucket_id, keys, ..Default::default() };
    let request = LookupRequest { table_id, buckets_req: vec![entry], ..Default::default() };
    request.encode_to_vec()
}
