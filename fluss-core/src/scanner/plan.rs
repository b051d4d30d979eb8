//! What goes into the next fetch to a server, and when it may go.

use std::collections::{BTreeMap, BTreeSet};

use fluss_proto::ApiKey;
use fluss_proto::message::{FetchLogRequest, PbFetchLogReqForBucket, PbFetchLogReqForTable};
use prost::Message;

use super::answer::FRAME_OVERHEAD;
use super::bucket::Bucket;
use super::scanner::{Fetch, Scanner};
use super::{Leaders, Outputs};
use crate::backoff::{Backoff, BackoffConfig};
use crate::connection::request::{Outgoing, Owner};
use crate::cx::Cx;
use crate::filter::ServerFilter;
use crate::ids::{BucketKey, ScannerKey, ServerId};
use crate::time::{Duration, Instant, earliest};
use crate::wish::ReadWish;

/// Waits after a fetch that got no answer.
const RETRY: BackoffConfig = BackoffConfig::new(Duration::from_millis(20), Duration::from_secs(2));
/// While a bucket is left out of fetches because it has data waiting, the server is asked not to
/// wait for data of the others: that would lock the bucket out once its data is taken. They are
/// asked for at this interval instead, which grows until something is taken.
const PROBE: BackoffConfig =
    BackoffConfig::new(Duration::from_millis(20), Duration::from_millis(500));
/// Answers in a row that bring nothing although the server was asked to wait for something, and
/// that are put up with before it is asked less often.
const HASTY: u32 = 3;
/// However small the budget, an answer may have this many bytes.
pub(super) const MIN_ANSWER: usize = 1 << 10;

/// A server as one scanner sees it.
#[derive(Debug, Default)]
pub(super) struct Server {
    /// The fetch on its way.
    pub(super) in_flight: Option<u64>,
    /// Whether its connection was asked to call for a request and has not done so yet.
    pub(super) flush_wanted: bool,
    /// Whether it owes an answer, or a connection to send something.
    pub(super) asked: bool,
    backoff: Backoff,
    not_before: Instant,
    /// Answers in a row that brought nothing before their time.
    hasty: u32,
    probe: Backoff,
    probe_at: Instant,
}

impl Server {
    /// `hasty`: it brought nothing, and the server was to wait for longer.
    pub(super) fn answered(&mut self, cx: &mut Cx<'_>, hasty: bool) {
        self.hasty = if hasty { self.hasty.saturating_add(1) } else { 0 };
        match self.hasty > HASTY {
            true => self.failed(cx),
            false => self.backoff.reset(),
        }
    }

    /// Something was taken: what waited may soon be fetched again.
    pub(super) fn drained(&mut self) {
        self.probe.reset();
        self.probe_at = Instant::ZERO;
    }

    pub(super) fn failed(&mut self, cx: &mut Cx<'_>) {
        self.not_before = cx.now + self.backoff.next(RETRY, cx.rng);
    }
}

/// What a server's buckets are like at this moment.
#[derive(Clone, Copy, Debug, Default)]
struct Summary {
    /// Buckets that can be fetched.
    due: usize,
    /// Whether one of them has data for sure.
    more: bool,
    /// Whether one of the others has too much data waiting.
    full: bool,
    /// When the first backoff ends.
    next: Option<Instant>,
}

impl Summary {
    fn add(&mut self, bucket: &Bucket, share: u64, now: Instant) {
        if bucket.waiting_bytes >= share {
            self.full = true;
        } else if bucket.not_before > now {
            self.next = earliest(self.next, Some(bucket.not_before));
        } else {
            self.due += 1;
            self.more |= bucket.has_more();
        }
    }

    /// When a fetch may go, if nothing else happens.
    fn time(&self, server: &Server, now: Instant) -> Option<Instant> {
        if server.in_flight.is_some() {
            return None;
        }
        let probe = if self.full && !self.more { server.probe_at } else { now };
        let due = (self.due > 0).then_some(probe);
        earliest(due, self.next).map(|at| at.max(server.not_before))
    }
}

impl Scanner {
    /// The part of the budget for what waits of the live log, and again for what is on its way:
    /// half of it, or a quarter where remote storage is read as well.
    fn live_part(&self) -> u64 {
        self.options.buffer_limit.div_ceil(if self.is_remote() { 4 } else { 2 })
    }

    /// Whether the budget allows another fetch.
    fn has_room(&self) -> bool {
        let remote = if self.is_remote() { self.buffered_remote() } else { 0 };
        self.buffered() - remote < self.live_part()
    }

    pub(super) fn share(&self) -> u64 {
        self.options.max_bytes_per_bucket as u64
    }

    pub(super) fn update(
        &mut self,
        cx: &mut Cx<'_>,
        key: ScannerKey,
        leaders: &impl Leaders,
        out: &mut Outputs,
    ) {
        let share = self.share();
        self.give_reads_up(cx, out);
        self.lose_patience(cx.now, key, leaders, out);
        self.read_remote(cx, key, out);
        self.time_reads(cx.now, key, out);
        let room = self.has_room();
        let mut summaries: BTreeMap<ServerId, Summary> = BTreeMap::new();
        for (name, bucket) in self.buckets.iter_mut().filter(|(_, b)| b.is_idle()) {
            if bucket.leader.is_none() {
                bucket.leader = leaders.leader_of(*name);
                bucket.of = leaders.buckets_beside(*name);
            }
            if !room || bucket.waiting_bytes >= share {
                bucket.silence.rest(cx.now);
            } else if bucket.leader.is_none() {
                bucket.silence.begin(cx.now);
            }
            let (ask, again) = bucket.wants_leader(cx);
            if ask {
                out.wishes.push_back(ReadWish::Leader(*name));
            }
            out.timers.extend(again.map(|at| (at, key)));
            if let Some(server) = bucket.leader {
                summaries.entry(server).or_default().add(bucket, share, cx.now);
            }
        }
        if room {
            self.call(cx.now, key, summaries, out);
        }
        self.time_patience(cx.now, key, out);
    }

    /// Has the connections to servers call that can be asked for something.
    fn call(
        &mut self,
        now: Instant,
        key: ScannerKey,
        mut summaries: BTreeMap<ServerId, Summary>,
        out: &mut Outputs,
    ) {
        for id in self.remote_leaders() {
            summaries.entry(id).or_default().full = true;
        }
        for (id, summary) in summaries {
            let server = self.servers.entry(id).or_default();
            let time = summary.time(server, now);
            server.asked = server.in_flight.is_some() || time.is_some_and(|at| at <= now);
            match time {
                Some(at) if at <= now && server.flush_wanted => {}
                Some(at) if at <= now => {
                    server.flush_wanted = true;
                    out.wishes.push_back(ReadWish::Flush(id));
                }
                Some(at) => drop(out.timers.insert((at, key))),
                None => {}
            }
        }
        self.begin_silences(now);
    }

    /// Leaders of buckets that come back to them behind what they read from remote storage.
    fn remote_leaders(&self) -> impl Iterator<Item = ServerId> {
        let remote = self.buckets.values().filter(|bucket| bucket.remote.is_some());
        remote.filter_map(|bucket| bucket.leader)
    }

    /// The connection calls for requests. False if this scanner has nothing to do with the server.
    pub(super) fn heard_flush(&mut self, server: ServerId) -> bool {
        self.servers.get_mut(&server).map(|s| s.flush_wanted = false).is_some()
    }

    pub(super) fn poll_request(
        &mut self,
        cx: &mut Cx<'_>,
        key: ScannerKey,
        id: ServerId,
        token: u64,
    ) -> Option<Outgoing> {
        let share = self.share();
        let full = self.remote_leaders().any(|leader| leader == id);
        let mut summary = Summary { full, ..Summary::default() };
        let mut due = Vec::new();
        for (name, bucket) in &self.buckets {
            if bucket.is_idle() && bucket.leader == Some(id) {
                let before = summary.due;
                summary.add(bucket, share, cx.now);
                if summary.due > before {
                    due.push((!bucket.has_more(), bucket.served, *name));
                }
            }
        }
        let server = self.servers.get(&id)?;
        if due.is_empty() || !self.has_room() || summary.time(server, cx.now)? > cx.now {
            return None;
        }
        // Buckets with data first, among them the one that waited longest.
        due.sort_unstable();
        Some(self.build(cx, (key, id, token), &due, summary))
    }

    fn build(
        &mut self,
        cx: &mut Cx<'_>,
        (key, id, token): (ScannerKey, ServerId, u64),
        due: &[(bool, u64, BucketKey)],
        summary: Summary,
    ) -> Outgoing {
        // More than a frame holds would end the connection with the answer unread.
        let frame = cx.config.max_frame_bytes.saturating_sub(FRAME_OVERHEAD).max(1);
        let cap = self.answer_cap().min(frame);
        let usual = self.options.max_bytes_per_bucket.min(cap);
        let (mut total, mut at_once) = (0, summary.full);
        let mut asked = [Vec::new(), Vec::new()];
        let buckets = Vec::with_capacity(due.len());
        let now = cx.now;
        let mut fetch = Fetch { server: id, since: now, buckets, bytes: 0, quiet_until: now };
        // A bucket in backoff must not be locked out by a longer wait for the others.
        let mut wait = summary.next.map_or(self.options.max_wait, |at| at - now);
        wait = wait.min(self.options.max_wait);
        for (empty, _, name) in due {
            let Some(bucket) = self.buckets.get_mut(name) else { continue };
            let bytes = if bucket.alone { cap } else { usual.max(bucket.needed) };
            if !empty {
                // What is sure to come must fit, so that the server's order of buckets, which
                // nobody promised, never lets one of them go short.
                if total > 0 && total + bytes > cap {
                    at_once = true;
                    continue;
                }
                total += bytes;
            }
            bucket.in_flight = Some(token);
            bucket.silence.begin(now);
            wait = bucket.silence.left(now).map_or(wait, |left| wait.min(left / 2));
            bucket.projected = self.options.projection.is_some() && !bucket.whole;
            fetch.buckets.push((*name, bucket.generation));
            asked[usize::from(bucket.projected)].push(PbFetchLogReqForBucket {
                partition_id: name.partition.map(|p| p.0),
                bucket_id: name.bucket,
                fetch_offset: bucket.fetch_offset,
                max_fetch_bytes: wire(bytes),
                routing_bucket_count: bucket.of,
            });
        }
        let wait = (!at_once).then_some(wait);
        fetch.bytes = cap.max(total) as u64;
        fetch.quiet_until = now + wait.unwrap_or_default() / 2;
        self.fetches.insert(token, fetch);
        if let Some(server) = self.servers.get_mut(&id) {
            server.in_flight = Some(token);
            if summary.full && !summary.more {
                server.probe_at = cx.now + server.probe.next(PROBE, cx.rng);
            }
        }
        let request = self.request(asked, cap.max(total), wait);
        Outgoing {
            api: ApiKey::FetchLog,
            body: request.encode_to_vec().into(),
            owner: Owner::Fetch(key, token),
            deadline: cx.now + cx.config.request_deadline,
        }
    }

    fn request(
        &self,
        [whole, projected]: [Vec<PbFetchLogReqForBucket>; 2],
        max_bytes: usize,
        wait: Option<Duration>,
    ) -> FetchLogRequest {
        let options = &self.options;
        let millis =
            |wait: Duration| i32::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        let fields = options.projection.as_deref().unwrap_or_default();
        let filter = options.filter.as_ref().map(ServerFilter::wire);
        let (predicate, schema) = filter.unzip();
        let table = |buckets, fields: &[i32]| PbFetchLogReqForTable {
            table_id: options.table.0,
            projection_pushdown_enabled: !fields.is_empty(),
            projected_fields: fields.to_vec(),
            buckets_req: buckets,
            filter_predicate: predicate.clone(),
            filter_schema_id: schema,
        };
        let tables = [table(whole, &[]), table(projected, fields)];
        FetchLogRequest {
            follower_server_id: -1,
            max_bytes: wire(max_bytes),
            tables_req: tables.into_iter().filter(|table| !table.buckets_req.is_empty()).collect(),
            max_wait_ms: wait.map(millis),
            min_bytes: wait.map(|_| wire(options.min_bytes)),
            read_preference: None,
        }
    }

    /// The largest answer that all leaders can give at once within half of the budget.
    fn answer_cap(&self) -> usize {
        let leaders: BTreeSet<_> = self.buckets.values().filter_map(|b| b.leader).collect();
        let half = usize::try_from(self.live_part()).unwrap_or(usize::MAX);
        let max = self.options.max_bytes;
        (half / leaders.len().max(1)).clamp(MIN_ANSWER.min(max), max)
    }
}

fn wire(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}
