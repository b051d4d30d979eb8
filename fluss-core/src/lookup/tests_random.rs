//! Random runs: leaders move, connections break, servers refuse or say nonsense, callers lose
//! patience, and each key still ends exactly once and only with its own value.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fluss_proto::ErrorCode;

use super::testkit::{Asked, Bench, Map, answer, bucket, refusal};
use super::{LookupKind, MAX_KEYS};
use crate::config::Acks;
use crate::connection::request::RequestError;
use crate::error::Error;
use crate::ids::{BucketKey, CommandId, ServerId};
use crate::output::CommandAnswer;
use crate::rng::Rng;
use crate::time::Duration;
use crate::wish::ReadWish;

struct World {
    bench: Bench,
    rng: Rng,
    /// Who really leads; the picture in `bench.leaders` lags behind.
    truth: Map,
    flying: Vec<(ServerId, Asked)>,
    asked_for: BTreeMap<CommandId, (LookupKind, Bytes)>,
    ended: BTreeSet<CommandId>,
    /// Servers that were promised a flush, or whose flush is not at its end.
    flushing: BTreeSet<ServerId>,
    wants_metadata: bool,
    counter: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut bench = Bench::new();
        let mut rng = Rng::new(seed);
        bench.config.lookup_in_flight = 1 + rng.below(3) as usize;
        if rng.one_in(2) {
            // Keys have four bytes.
            bench.config.lookup_limit = 1 + rng.below(30) as usize;
            bench.config.lookup_memory_limit = 4 + rng.below(120);
        }
        let truth: Map = (0..2)
            .flat_map(|table| (0..4).map(move |b| bucket(table, b)))
            .map(|b| (b, ServerId::Tablet(rng.below(3) as i32)))
            .collect();
        Self {
            bench,
            rng,
            truth,
            flying: Vec::new(),
            asked_for: BTreeMap::new(),
            ended: BTreeSet::new(),
            flushing: BTreeSet::new(),
            wants_metadata: false,
            counter: 0,
        }
    }

    fn any_bucket(&mut self) -> BucketKey {
        bucket(self.rng.below(2) as i64, self.rng.below(4) as i32)
    }

    fn ask(&mut self) {
        let kind = match self.rng.below(3) {
            0 => LookupKind::Lookup,
            1 => LookupKind::Prefix,
            _ => LookupKind::InsertIfNotExists { acks: Acks::All, timeout: Duration::ZERO },
        };
        let bucket = self.any_bucket();
        let key = Bytes::from(self.counter.to_be_bytes().to_vec());
        self.counter += 1;
        let id = self.bench.ask_as(kind, bucket, &key);
        self.asked_for.insert(id, (kind, key));
    }

    fn serve_wishes(&mut self) {
        for wish in self.bench.wishes() {
            match wish {
                ReadWish::Flush(server) => {
                    self.flushing.insert(server);
                }
                ReadWish::Leader(_) => self.wants_metadata = true,
            }
        }
    }

    /// Only servers that were wished for are polled, so a forgotten wish shows as a stuck key.
    fn transmit(&mut self) {
        let Some(server) = self.flushing.first().copied() else { return };
        match self.bench.request(server) {
            Some(asked) => {
                assert!(asked.keys().len() <= MAX_KEYS);
                self.flying.push((server, asked));
                let flying = self.flying.iter().filter(|(s, _)| *s == server).count();
                assert!(flying <= self.bench.config.lookup_in_flight);
            }
            None => {
                self.flushing.remove(&server);
            }
        }
    }

    fn answer(&mut self) {
        if self.flying.is_empty() {
            return;
        }
        let index = self.rng.below(self.flying.len() as u64) as usize;
        let (server, asked) = self.flying.swap_remove(index);
        let lost = Error::Disconnected { server: "s".into(), what: "cut".into(), sent: true };
        let table = asked.table;
        let leads = |b: &(Option<i64>, i32, Vec<Bytes>)| {
            self.truth.get(&bucket(table, b.1)) == Some(&server)
        };
        let result = match self.rng.below(12) {
            0 => Err(RequestError::Lost(lost)),
            1 => Err(RequestError::NotSent(lost)),
            2 => Err(RequestError::Rejected { code: ErrorCode(12), message: "not me".into() }),
            3 => Ok(Bytes::from_static(b"\xff\xff\xff")),
            4 => Ok(refusal(&asked, 48)),
            _ if asked.buckets.iter().all(leads) => Ok(answer(&asked, |key| Some(key.clone()))),
            _ => Ok(refusal(&asked, 12)),
        };
        self.bench.reply(asked.token, result);
    }

    fn step(&mut self) {
        match self.rng.below(16) {
            0..=4 => self.ask(),
            5..=7 => self.transmit(),
            8..=10 => self.answer(),
            11 => self.bench.pass(Duration::from_millis(self.rng.below(60))),
            12 => {
                let (b, s) = (self.any_bucket(), ServerId::Tablet(self.rng.below(3) as i32));
                self.truth.insert(b, s);
            }
            13 if self.wants_metadata => self.take_metadata(),
            14 if self.rng.one_in(3) => {
                let id = CommandId(self.rng.below(u64::from(self.counter) + 1));
                self.bench.lookups.cancel(id);
                self.asked_for.remove(&id);
            }
            15 if self.rng.one_in(4) => {
                let server = ServerId::Tablet(self.rng.below(3) as i32);
                self.flushing.remove(&server);
                let what = "out of reach".into();
                let error = Error::Disconnected { server: "s".into(), what, sent: false };
                self.bench.run(|lookups, cx| lookups.handle_unreachable(cx, server, &error));
            }
            _ => {}
        }
        self.serve_wishes();
        self.collect();
        self.check_budget();
    }

    fn check_budget(&self) {
        let (config, gauges) = (&self.bench.config, self.bench.gauges());
        let (lookups, bytes, waiting) = gauges;
        assert!(lookups <= config.lookup_limit && bytes <= config.lookup_memory_limit);
        assert_eq!(lookups + waiting, self.asked_for.len(), "{gauges:?}");
        assert_eq!(bytes, 4 * lookups as u64);
        let has_room = lookups < config.lookup_limit && bytes + 4 <= config.lookup_memory_limit;
        // A cancelled key's place is taken with the next thing that happens.
        assert!(waiting == 0 || !has_room || self.bench.lookups.is_due(config), "{gauges:?}");
    }

    fn take_metadata(&mut self) {
        self.wants_metadata = false;
        self.bench.leaders = self.truth.clone();
        if self.rng.one_in(3) {
            let unknown = self.any_bucket();
            self.bench.leaders.remove(&unknown);
        }
        self.bench.metadata();
    }

    fn collect(&mut self) {
        for (id, result) in self.bench.done() {
            assert!(self.ended.insert(id), "{id} ended twice");
            let Some((kind, key)) = self.asked_for.remove(&id) else {
                panic!("{id} was cancelled and ended nevertheless")
            };
            match (kind, result) {
                (LookupKind::Prefix, Ok(CommandAnswer::Values(values))) => {
                    assert_eq!(values, [key]);
                }
                (LookupKind::Prefix, Ok(other)) => panic!("a prefix was answered with {other:?}"),
                (_, Ok(CommandAnswer::Value(value))) => assert_eq!(value, Some(key)),
                (_, Ok(other)) => panic!("a key was answered with {other:?}"),
                (_, Err(Error::Rejected { code, .. })) => assert_eq!(code, ErrorCode(48)),
                (_, Err(Error::Peer { .. } | Error::Unavailable { .. })) => {}
                (_, Err(other)) => panic!("an unexpected error: {other:?}"),
            }
        }
    }

    /// The world calms down: everything that is left must be answered, long before its deadline.
    fn finish(&mut self) {
        for _ in 0..10_000 {
            if self.asked_for.is_empty() && self.flying.is_empty() {
                break;
            }
            self.wants_metadata = false;
            self.bench.leaders = self.truth.clone();
            self.bench.metadata();
            self.serve_wishes();
            self.transmit();
            if let Some((_, asked)) = self.flying.pop() {
                self.bench.echo(&asked);
            }
            self.bench.pass(Duration::from_millis(1));
            self.serve_wishes();
            self.collect();
        }
        assert!(self.asked_for.is_empty(), "keys without an end: {:?}", self.asked_for);
        let lookups = &self.bench.lookups;
        assert!(lookups.keys.is_empty() && lookups.requests.is_empty());
        assert!(lookups.lanes.is_empty() && lookups.servers.is_empty());
        assert!(lookups.unresolved.is_empty() && lookups.pauses.is_empty());
        assert_eq!(lookups.poll_timeout(), None);
        assert_eq!(self.bench.gauges(), (0, 0, 0));
    }
}

#[test]
fn each_key_ends_exactly_once_with_its_own_value() {
    for seed in 0..200 {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..600 {
                world.step();
            }
            world.finish();
        });
        assert!(run.is_ok(), "failed with seed {seed}");
    }
}
