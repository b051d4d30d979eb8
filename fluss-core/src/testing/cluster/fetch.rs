//! FETCH_LOG: reading below the high watermark, and waiting there.

use bytes::{Bytes, BytesMut};
use fluss_proto::message::{
    FetchLogRequest, FetchLogResponse, PbFetchLogReqForBucket, PbFetchLogReqForTable,
    PbFetchLogRespForBucket, PbFetchLogRespForTable, PbRemoteLogFetchInfo,
};
use prost::Message;
use std::time::Duration;

use super::api::code;
use super::conn::Outcome;
use super::dispatch::ReplyTo;
use super::log::{Entry, Log};
use super::predicate::Pruning;
use super::projection::Projection;
use super::put::compression;
use super::write::tablet;
use super::{Answer, Failure, FakeCluster, Fault, Rule, Timer, bucket_error, words};
use crate::ids::{BucketKey, ConnId, PartitionId, ServerId, TableId};

/// The offset that means: from the start.
const EARLIEST: i64 = -2;
/// The segments that one read with a filter looks at.
const SEGMENTS: usize = 16;
/// The wait when a request names least bytes but no wait.
const DEFAULT_WAIT_MS: i32 = 100;

/// A fetch that waits for data.
#[derive(Debug)]
pub(super) struct Poll {
    to: ReplyTo,
    server: i32,
    request: FetchLogRequest,
}

/// What a bucket has to read.
#[derive(Clone, Debug)]
enum Found {
    /// With the offset up to which a filter left everything out behind them.
    Records(Bytes, Option<i64>),
    /// It is in remote storage.
    Moved(PbRemoteLogFetchInfo),
}

/// What one pass over the buckets found.
#[derive(Debug, Default)]
struct Pass {
    answer: FetchLogResponse,
    readable: usize,
    served: bool,
    failed: bool,
    /// Whether a filter left something out at the end.
    passed: bool,
}

impl FakeCluster {
    pub(super) fn fetch(&mut self, to: ReplyTo, server: ServerId, body: Bytes) {
        let Ok(request) = FetchLogRequest::decode(body) else { return };
        let server = tablet(server);
        let injected = match to.fault {
            Some(Fault::ErrorBefore(code) | Fault::ErrorAfter(code)) => Some(code),
            _ => None,
        };
        if let Some(fault) = to.fault.filter(|_| injected.is_some()) {
            self.faults.fired(fault);
        }
        let pass = self.read(to.conn, server, &request, injected);
        let min_bytes = request.min_bytes.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let wait_ms = request.max_wait_ms.unwrap_or(DEFAULT_WAIT_MS);
        let waits =
            pass.served && !pass.failed && !pass.passed && pass.readable < min_bytes && wait_ms > 0;
        if !waits {
            return self.respond(to, Outcome::answer(&pass.answer), false);
        }
        let token = self.token();
        let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
        self.set_timer(self.now + wait, Timer::Fetch(token));
        self.polls.insert(token, Poll { to, server, request });
    }

    /// Answers a waiting fetch with what there is.
    pub(super) fn answer_poll(&mut self, token: u64) {
        let Some(poll) = self.polls.remove(&token) else { return };
        let pass = self.read(poll.to.conn, poll.server, &poll.request, None);
        self.respond(poll.to, Outcome::answer(&pass.answer), false);
    }

    /// A bucket has more to read: fetches that now have enough are answered.
    pub(super) fn wake_polls(&mut self, key: BucketKey) {
        let due: Vec<u64> = self
            .polls
            .iter()
            .filter(|(_, poll)| poll.names(key) && self.has_enough(poll))
            .map(|(token, _)| *token)
            .collect();
        due.into_iter().for_each(|token| self.answer_poll(token));
    }

    pub(super) fn forget_polls_of(&mut self, server: i32) {
        self.polls.retain(|_, poll| poll.server != server);
    }

    fn has_enough(&self, poll: &Poll) -> bool {
        let wanted = poll.request.min_bytes.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let mut readable = 0;
        for (table, bucket) in poll.buckets() {
            let Some(state) = self.catalog.buckets.get(&key_of(table, bucket)) else { continue };
            let end = self.visible_end(&state.log, poll.request.follower_server_id);
            let first = state.log.index_of(bucket.fetch_offset.max(0));
            for entry in state.log.entries.iter().skip(first) {
                if entry.next_offset() > end || readable >= wanted {
                    break;
                }
                readable += entry.batch.bytes.len();
            }
        }
        readable >= wanted
    }

    fn visible_end(&self, log: &Log, follower: i32) -> i64 {
        if follower >= 0 || !self.enforces(Rule::HighWatermark) {
            log.end
        } else {
            log.high_watermark
        }
    }

    fn read(
        &self,
        conn: ConnId,
        server: i32,
        request: &FetchLogRequest,
        injected: Option<i32>,
    ) -> Pass {
        let mut pass = Pass::default();
        let mut budget = usize::try_from(request.max_bytes).unwrap_or(0);
        for table in &request.tables_req {
            let readable = self.may_read(conn, table.table_id);
            let mut buckets_resp = Vec::with_capacity(table.buckets_req.len());
            for bucket in &table.buckets_req {
                let read = match injected {
                    Some(code) => Err(Failure::new(code, "injected")),
                    None => readable.clone().and_then(|()| {
                        let whole = pass.readable == 0;
                        self.read_bucket(server, request, table, bucket, (budget, whole))
                    }),
                };
                let (error_code, error_message) = bucket_error(&read.clone().map(drop));
                if let Some(code) = error_code {
                    pass.failed |=
                        !matches!(code, code::NOT_LEADER | code::UNKNOWN_TABLE_OR_BUCKET);
                }
                let (found, high_watermark) = read.ok().unzip();
                let (records, filtered_end_offset, remote_log_fetch_info) = match found {
                    Some(Found::Records(records, end)) => {
                        pass.served = true;
                        pass.passed |= end.is_some_and(|end| end > bucket.fetch_offset.max(0));
                        (Some(records), end, None)
                    }
                    Some(Found::Moved(info)) => (None, None, Some(info)),
                    None => (None, None, None),
                };
                let len = records.as_ref().map_or(0, Bytes::len);
                pass.readable += len;
                budget = budget.saturating_sub(len);
                buckets_resp.push(PbFetchLogRespForBucket {
                    partition_id: bucket.partition_id,
                    bucket_id: bucket.bucket_id,
                    error_code,
                    error_message,
                    high_watermark,
                    log_start_offset: high_watermark.map(|_| 0),
                    records,
                    remote_log_fetch_info,
                    filtered_end_offset,
                    ..Default::default()
                });
            }
            let table_id = table.table_id;
            pass.answer.tables_resp.push(PbFetchLogRespForTable { table_id, buckets_resp });
        }
        pass
    }

    /// Records from the fetch offset on, and the high watermark. `limit`: bytes left in the answer
    /// and whether the first batch comes whole in any case.
    fn read_bucket(
        &self,
        server: i32,
        request: &FetchLogRequest,
        table: &PbFetchLogReqForTable,
        bucket: &PbFetchLogReqForBucket,
        limit: (usize, bool),
    ) -> Answer<(Found, i64)> {
        let key = key_of(table, bucket);
        if request.follower_server_id < 0 {
            self.serves(server, key)?;
            self.routed(key, bucket.routing_bucket_count)?;
        }
        let state = self.catalog.buckets.get(&key);
        let state = state.ok_or_else(|| super::write::unknown_bucket(key))?;
        let projection = match table.projection_pushdown_enabled {
            true => Some(self.projection(table)?),
            false => None,
        };
        let log = &state.log;
        let from = if bucket.fetch_offset == EARLIEST { log.start } else { bucket.fetch_offset };
        if !(log.start..=log.end).contains(&from) {
            let message = words::out_of_range(from, key, (log.start, log.end));
            return Err(Failure::new(code::OFFSET_OUT_OF_RANGE, message));
        }
        if let Some(forged) = self.forged.get(&key) {
            return Ok((Found::Records(forged.clone(), None), log.high_watermark));
        }
        if let Some(info) = log.moved_from(from, self.remote_dir(key)) {
            return Ok((Found::Moved(info), log.high_watermark));
        }
        let end = self.visible_end(log, request.follower_server_id);
        let (left, whole) = limit;
        let budget = usize::try_from(bucket.max_fetch_bytes).unwrap_or(0).min(left);
        let meta = self.catalog.table_by_id(table.table_id);
        let meta = meta.filter(|_| self.options.release >= super::Release::V1_0);
        let pruning = meta.and_then(|meta| Some((meta, Pruning::new(meta, table)?)));
        let found = match pruning {
            Some((meta, pruning)) => {
                let drops = |entry: &Entry| pruning.drops(meta, entry);
                let (records, passed) = collect_filtered(
                    log,
                    (from, end),
                    (budget, whole),
                    projection.as_ref(),
                    drops,
                )?;
                Found::Records(records, passed)
            }
            None => {
                let records = collect(log, from, end, budget, whole, projection.as_ref())?;
                Found::Records(records, None)
            }
        };
        Ok((found, log.high_watermark))
    }

    fn projection(&self, table: &PbFetchLogReqForTable) -> Answer<Projection> {
        let invalid = |message: String| Failure::new(code::INVALID_PROJECTION, message);
        let meta = self.catalog.table_by_id(table.table_id);
        let meta = meta.ok_or_else(|| invalid("the table is gone".to_owned()))?;
        let format = meta.property("table.log.format");
        if let Some(format) = format.filter(|format| *format != "ARROW") {
            return Err(invalid(words::no_projection(&meta.path, format)));
        }
        if table.projected_fields.is_empty() {
            let code = match self.options.release {
                super::Release::V0_9 => code::UNKNOWN,
                super::Release::V1_0 => code::INVALID_PROJECTION,
            };
            return Err(Failure::new(code, words::EMPTY_PROJECTION));
        }
        Projection::new(meta, &table.projected_fields, compression(meta))
    }
}

/// A raw slice of the log: whole batches until the budget is used up, the last one cut there. A
/// projection yields whole batches only, as real servers do.
fn collect(
    log: &Log,
    from: i64,
    end: i64,
    budget: usize,
    whole: bool,
    projection: Option<&Projection>,
) -> Answer<Bytes> {
    let mut out = BytesMut::new();
    let mut first = 0;
    for entry in log.segment(from) {
        if entry.next_offset() > end || (out.len() >= budget && !(whole && out.is_empty())) {
            break;
        }
        match projection {
            None => {
                out.reserve(entry.batch.bytes.len());
                entry.batch.write(entry.base_offset, entry.timestamp, &mut out);
            }
            Some(projection) => {
                let before = out.len();
                projection.write(entry, &mut out)?;
                if out.len() > budget && !(whole && before == 0) {
                    out.truncate(before);
                    break;
                }
            }
        }
        if first == 0 {
            first = out.len();
        }
    }
    let least = if whole { first } else { 0 };
    out.truncate(budget.max(least));
    Ok(out.freeze())
}

/// Whole batches without those that a filter drops, and up to where it dropped them behind the last
/// one. Where it drops all of a segment, real servers go on in the next one: with whatever is
/// there, replicated or not, and without one with the end of the log.
fn collect_filtered(
    log: &Log,
    (from, end): (i64, i64),
    (budget, whole): (usize, bool),
    projection: Option<&Projection>,
    drops: impl Fn(&Entry) -> bool,
) -> Answer<(Bytes, Option<i64>)> {
    let mut out = BytesMut::new();
    let (mut at, mut passed) = (from, None);
    if from >= end {
        return Ok((out.freeze(), None));
    }
    for _ in 0..SEGMENTS {
        let entries = log.segment(at);
        let Some(last) = entries.last() else { return Ok((out.freeze(), Some(log.end))) };
        let is_end = entries[0].base_offset < end && end <= last.next_offset();
        for entry in entries.iter().filter(|entry| !is_end || entry.next_offset() <= end) {
            let full = out.len() >= budget && !(whole && out.is_empty());
            if drops(entry) || projection.is_some() && entry.batch.count == 0 {
                passed = Some(entry.next_offset());
                continue;
            }
            let before = out.len();
            match projection {
                _ if full => {}
                None => entry.batch.write(entry.base_offset, entry.timestamp, &mut out),
                Some(projection) => projection.write(entry, &mut out)?,
            }
            if full || out.len() > budget && !(whole && before == 0) {
                out.truncate(before);
                return Ok((out.freeze(), None));
            }
            passed = None;
        }
        at = last.next_offset();
        if !out.is_empty() {
            break;
        }
    }
    Ok((out.freeze(), passed))
}

impl Poll {
    fn buckets(&self) -> impl Iterator<Item = (&PbFetchLogReqForTable, &PbFetchLogReqForBucket)> {
        let tables = self.request.tables_req.iter();
        tables.flat_map(|table| table.buckets_req.iter().map(move |bucket| (table, bucket)))
    }

    fn names(&self, key: BucketKey) -> bool {
        self.buckets().any(|(table, bucket)| key_of(table, bucket) == key)
    }
}

fn key_of(table: &PbFetchLogReqForTable, bucket: &PbFetchLogReqForBucket) -> BucketKey {
    BucketKey {
        table: TableId(table.table_id),
        partition: bucket.partition_id.map(PartitionId),
        bucket: bucket.bucket_id,
    }
}
