//! A scanner without a network: requests are read, answers fed by hand.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fluss_proto::ApiKey;
use fluss_proto::message::{
    FetchLogRequest, FetchLogResponse, PbFetchLogRespForBucket, PbFetchLogRespForTable,
    PbRemoteLogFetchInfo, PbRemoteLogSegment,
};
use fluss_proto::record::{SealedBatch, Stamp, write_append_position};
use prost::Message;

use super::{Leaders, ScannerOptions, Scanners, TakeLimits, Taken};
use crate::command::Call;
use crate::config::Config;
use crate::connection::request::{Owner, RequestError};
use crate::cx::Cx;
use crate::ids::{BucketKey, CommandId, ReadId, ScannerKey, ServerId, TableId, TablePath};
use crate::output::Event;
use crate::rng::Rng;
use crate::storage::{ObjectPart, StorageError};
use crate::time::{Duration, Instant};
use crate::wish::ReadWish;

pub(super) const S1: ServerId = ServerId::Tablet(1);
pub(super) const S2: ServerId = ServerId::Tablet(2);

pub(super) fn bucket(number: i32) -> BucketKey {
    BucketKey { table: TableId(7), partition: None, bucket: number }
}

impl Leaders for BTreeMap<BucketKey, ServerId> {
    fn leader_of(&self, bucket: BucketKey) -> Option<ServerId> {
        self.get(&bucket).copied()
    }
}

/// A stored batch of `rows` records at this offset; `gap` offsets more than it has records.
pub(super) fn batch(base: i64, rows: u32, gap: u32, payload: usize) -> Vec<u8> {
    let delta = (rows + gap).max(1) - 1;
    let payload = Bytes::from(vec![base as u8; payload]);
    let sealed = SealedBatch::log_v0(1, 1, rows, delta, payload).expect("fits");
    let mut bytes = [&sealed.stamp(Stamp::NONE)[..], &sealed.payload()].concat();
    write_append_position(&mut bytes, base, 1000, 0).expect("a header");
    bytes
}

pub(super) fn part(number: i32, hw: i64, records: &[u8]) -> PbFetchLogRespForBucket {
    PbFetchLogRespForBucket {
        bucket_id: number,
        high_watermark: Some(hw),
        records: Some(Bytes::copy_from_slice(records)),
        ..PbFetchLogRespForBucket::default()
    }
}

pub(super) fn failed(number: i32, code: i32) -> PbFetchLogRespForBucket {
    PbFetchLogRespForBucket {
        bucket_id: number,
        error_code: Some(code),
        ..PbFetchLogRespForBucket::default()
    }
}

/// Segments with offsets from, to (exclusive) and bytes, the first of them from a place on.
pub(super) fn moved(
    number: i32,
    hw: i64,
    first_at: i32,
    segments: &[(i64, i64, usize)],
) -> PbFetchLogRespForBucket {
    let segment = |&(start, end, size): &(i64, i64, usize)| PbRemoteLogSegment {
        remote_log_segment_id: format!("s{start}"),
        remote_log_start_offset: start,
        remote_log_end_offset: end,
        segment_size_in_bytes: i32::try_from(size).expect("small"),
        ..PbRemoteLogSegment::default()
    };
    PbFetchLogRespForBucket {
        bucket_id: number,
        high_watermark: Some(hw),
        remote_log_fetch_info: Some(PbRemoteLogFetchInfo {
            remote_log_tablet_dir: format!("/remote/{number}"),
            partition_name: None,
            remote_log_segments: segments.iter().map(segment).collect(),
            first_start_pos: Some(first_at),
        }),
        ..PbFetchLogRespForBucket::default()
    }
}

/// How such a segment is named.
pub(super) fn object(number: i32, start: i64) -> String {
    format!("/remote/{number}/s{start}/{start:020}.log")
}

pub(super) fn answer(parts: Vec<PbFetchLogRespForBucket>) -> Bytes {
    let table = PbFetchLogRespForTable { table_id: 7, buckets_resp: parts };
    FetchLogResponse { tables_resp: vec![table] }.encode_to_vec().into()
}

/// A fetch that was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) server: ServerId,
    pub(super) key: ScannerKey,
    pub(super) token: u64,
    pub(super) request: FetchLogRequest,
    pub(super) deadline: Instant,
}

impl Sent {
    /// Bucket numbers and offsets, in the order of the request.
    pub(super) fn asked(&self) -> Vec<(i32, i64)> {
        let buckets = self.request.tables_req[0].buckets_req.iter();
        buckets.map(|b| (b.bucket_id, b.fetch_offset)).collect()
    }

    pub(super) fn limits(&self) -> Vec<(i32, i32)> {
        let buckets = self.request.tables_req[0].buckets_req.iter();
        buckets.map(|b| (b.bucket_id, b.max_fetch_bytes)).collect()
    }
}

pub(super) struct Bench {
    pub(super) scanners: Scanners,
    pub(super) now: Instant,
    pub(super) rng: Rng,
    pub(super) config: Config,
    pub(super) leaders: BTreeMap<BucketKey, ServerId>,
    /// Buckets whose leaders were asked for.
    pub(super) wishes: Vec<BucketKey>,
    /// Servers whose connections were asked to call.
    pub(super) flushes: BTreeSet<ServerId>,
    pub(super) ready: usize,
    /// Reads from remote storage that were asked for and not given up.
    pub(super) reads: Vec<(ReadId, ObjectPart)>,
    /// Calls that were asked for.
    pub(super) calls: Vec<(CommandId, Call)>,
    next_call: u64,
}

impl Bench {
    pub(super) fn new(leaders: &[(i32, ServerId)]) -> Self {
        Self {
            scanners: Scanners::new(),
            now: Instant::from_millis(1000),
            rng: Rng::new(3),
            config: Config::new("host:1").expect("valid"),
            leaders: leaders.iter().map(|(b, s)| (bucket(*b), *s)).collect(),
            wishes: Vec::new(),
            flushes: BTreeSet::new(),
            ready: 0,
            reads: Vec::new(),
            calls: Vec::new(),
            next_call: 0,
        }
    }

    pub(super) fn options() -> ScannerOptions {
        ScannerOptions::new(TableId(7), TablePath::new("shop", "events"))
    }

    /// One input, and the drain that follows.
    pub(super) fn run<R>(&mut self, act: impl FnOnce(&mut Scanners, &mut Cx<'_>) -> R) -> R {
        let mut cx = Cx { now: self.now, rng: &mut self.rng, config: &self.config };
        let result = act(&mut self.scanners, &mut cx);
        for round in 0.. {
            assert!(round < 100, "the scanners keep themselves busy");
            self.scanners.update(&mut cx, &self.leaders);
            let mut idle = true;
            while let Some(wish) = self.scanners.poll_wish() {
                idle = false;
                match wish {
                    ReadWish::Leader(bucket) => self.wishes.push(bucket),
                    ReadWish::Flush(server) => drop(self.flushes.insert(server)),
                }
            }
            let (calls, next) = (&mut self.calls, &mut self.next_call);
            while self.scanners.poll_call(&cx, |call| {
                *next += 1;
                calls.push((CommandId(*next), call));
                CommandId(*next)
            }) {
                idle = false;
            }
            while let Some((read, part)) = self.scanners.poll_read() {
                self.reads.retain(|(other, _)| *other != read);
                self.reads.extend(part.map(|part| (read, part)));
            }
            while let Some(event) = self.scanners.poll_event() {
                assert!(matches!(event, Event::ScanReady { .. }));
                self.ready += 1;
            }
            if idle {
                break;
            }
        }
        result
    }

    pub(super) fn open(&mut self, options: ScannerOptions, at: &[(i32, i64)]) -> ScannerKey {
        self.run(|s, cx| {
            let key = s.open_scanner(cx, options).expect("valid options");
            for (number, offset) in at {
                s.subscribe(key, bucket(*number), *offset).expect("valid");
            }
            key
        })
    }

    /// The next fetch to a server, if it was announced and there is one.
    pub(super) fn poll(&mut self, server: ServerId) -> Option<Sent> {
        let announced = self.flushes.remove(&server);
        let sent = self.run(|s, cx| s.poll_request(cx, server))?;
        assert!(announced, "a request that nobody was told of");
        assert_eq!(sent.api, ApiKey::FetchLog);
        let Owner::Fetch(key, token) = sent.owner else { panic!("{:?}", sent.owner) };
        let request = FetchLogRequest::decode(sent.body).expect("a request");
        assert_eq!(request.follower_server_id, -1);
        Some(Sent { server, key, token, request, deadline: sent.deadline })
    }

    pub(super) fn fetch(&mut self, server: ServerId) -> Sent {
        self.poll(server).expect("a fetch")
    }

    pub(super) fn take_wishes(&mut self) -> Vec<BucketKey> {
        std::mem::take(&mut self.wishes)
    }

    pub(super) fn reply(&mut self, sent: &Sent, parts: Vec<PbFetchLogRespForBucket>) {
        self.result(sent, Ok(answer(parts)));
    }

    pub(super) fn result(&mut self, sent: &Sent, result: Result<Bytes, RequestError>) {
        self.run(|s, cx| s.handle_reply(cx, sent.key, sent.token, result));
    }

    /// The only read on its way: object, first byte, number of bytes.
    pub(super) fn read(&self) -> (String, u64, usize) {
        let [(_, part)] = &self.reads[..] else { panic!("{:?}", self.reads) };
        (part.object.to_string(), part.from, part.len)
    }

    /// Ends the first read that was asked for.
    pub(super) fn end_read(&mut self, result: Result<Bytes, StorageError>) {
        let (read, _) = self.reads.remove(0);
        self.run(|s, cx| s.handle_read(cx, read, &result));
    }

    pub(super) fn take(&mut self, key: ScannerKey) -> Taken {
        self.take_at_most(key, TakeLimits { max_batches: usize::MAX, max_bytes: usize::MAX })
    }

    pub(super) fn take_at_most(&mut self, key: ScannerKey, limits: TakeLimits) -> Taken {
        self.run(|s, _| s.take(key, limits)).expect("an open scanner")
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.run(|s, cx| s.handle_timeout(cx));
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        self.scanners.poll_timeout().map(|(at, _)| at)
    }

    pub(super) fn position(&self, key: ScannerKey, number: i32) -> i64 {
        self.scanners.progress(key, bucket(number)).expect("subscribed").position
    }
}

/// Bucket and base offset of each batch.
pub(super) fn places(taken: &Taken) -> Vec<(i32, i64)> {
    taken.batches.iter().map(|b| (b.bucket.bucket, b.batch.base_offset())).collect()
}
