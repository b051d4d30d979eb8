//! Write requests on the wire, and what an answer says of each of their buckets.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fluss_proto::message::{
    PbProduceLogRespForBucket, PbPutKvRespForBucket, ProduceLogResponse, PutKvResponse,
};
use fluss_proto::segments::Segments;
use fluss_proto::write::{BucketBatch, ProduceLog, PutKv};
use fluss_proto::{ApiKey, ErrorCode};
use prost::Message;

use super::idempotence::{Answer, Token};
use super::sender::Entry;
use super::{Writer, WriterKind};
use crate::connection::Begun;
use crate::connection::request::RequestError;
use crate::error::Error;
use crate::ids::{BucketKey, ConnId, PartitionId, ServerId, TableId, WriterKey};
use crate::time::{Duration, Instant};

/// A request that was put together and is to be written now.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Its number in the table of write requests.
    pub(crate) token: u64,
    pub(crate) api: ApiKey,
    pub(crate) table: TableId,
    pub(crate) acks: i32,
    pub(crate) target_columns: Option<Vec<i32>>,
    pub(crate) merge_mode: Option<i32>,
    pub(crate) entries: Vec<Entry>,
}

/// A request without an answer.
#[derive(Debug)]
pub(crate) struct WriteRequest {
    pub(crate) writer: WriterKey,
    /// Where it went.
    pub(crate) server: ServerId,
    pub(crate) conn: ConnId,
    pub(crate) sent_at: Instant,
    bytes: u64,
    table: TableId,
    upsert: bool,
    copies: Vec<(BucketKey, Token)>,
}

/// The table of write requests.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    open: BTreeMap<u64, WriteRequest>,
    next: u64,
    /// Batches and their bytes in the open requests.
    pub(super) batches: usize,
    pub(super) bytes: u64,
}

impl Requests {
    pub(super) fn begin(
        &mut self,
        (key, writer): (WriterKey, &Writer),
        (server, conn): (ServerId, ConnId),
        now: Instant,
        table: TableId,
        entries: Vec<Entry>,
    ) -> Draft {
        let token = self.next;
        self.next += 1;
        let copies: Vec<_> = entries.iter().map(|e| (e.bucket, e.token)).collect();
        let bytes = entries.iter().map(|e| e.sealed.size() as u64).sum();
        let (api, target_columns, merge_mode) = match &writer.kind {
            WriterKind::Append => (ApiKey::ProduceLog, None, None),
            WriterKind::Upsert { target_columns, merge_mode } => {
                (ApiKey::PutKv, target_columns.clone(), *merge_mode)
            }
        };
        self.batches += copies.len();
        self.bytes += bytes;
        let request = WriteRequest {
            writer: key,
            server,
            conn,
            sent_at: now,
            bytes,
            table,
            upsert: api == ApiKey::PutKv,
            copies,
        };
        self.open.insert(token, request);
        let acks = writer.config.acks.wire();
        Draft { token, api, table, acks, target_columns, merge_mode, entries }
    }

    pub(super) fn end(&mut self, token: u64) -> Option<WriteRequest> {
        let ended = self.open.remove(&token)?;
        self.batches -= ended.copies.len();
        self.bytes -= ended.bytes;
        Some(ended)
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

/// What an answer says.
#[derive(Debug)]
pub(super) struct Answers {
    /// Of each copy of the request, exactly one answer.
    pub(super) copies: Vec<(BucketKey, Token, Answer)>,
    /// The server said something that makes no sense: its connection is not to be trusted.
    pub(super) nonsense: bool,
}

/// One bucket's part of an answer.
struct Part {
    partition: Option<i64>,
    bucket: i32,
    /// What it says, or why that cannot be.
    answer: Result<Answer, String>,
}

impl WriteRequest {
    /// The answer for each copy of the request.
    ///
    /// An answer that cannot be read, names a bucket that was not asked for, or one of them twice,
    /// or a negative offset is no evidence at all: all its copies are as good as unanswered. One
    /// that leaves a bucket out says nothing about that bucket's copy.
    pub(super) fn answers(self, result: Result<Bytes, RequestError>) -> Answers {
        let body = match result {
            Ok(body) => body,
            Err(error) => return self.all(false, &whole_request(&error)),
        };
        let answers = match self.parts(body).and_then(|parts| self.check(parts)) {
            Ok(answers) => answers,
            Err(what) => return self.all(true, &self.broken(&what)),
        };
        let mut nonsense = false;
        let mut copies = Vec::with_capacity(self.copies.len());
        for (&(bucket, token), answer) in self.copies.iter().zip(answers) {
            nonsense |= answer.is_none();
            let missing = || self.broken(&format!("it leaves {bucket} out"));
            copies.push((bucket, token, answer.unwrap_or_else(missing)));
        }
        Answers { copies, nonsense }
    }

    fn all(&self, nonsense: bool, answer: &Answer) -> Answers {
        let copies = self.copies.iter().map(|(bucket, token)| (*bucket, *token, answer.clone()));
        Answers { copies: copies.collect(), nonsense }
    }

    fn broken(&self, what: &str) -> Answer {
        let server = self.server.to_string().into();
        let what = format!("its answer to a write to table {}: {what}", self.table).into();
        Answer::Lost(Error::Peer { server, what })
    }

    fn parts(&self, body: Bytes) -> Result<Vec<Part>, String> {
        let parts = if self.upsert {
            let answer = PutKvResponse::decode(body).map_err(|e| e.to_string())?;
            answer.buckets_resp.into_iter().map(Part::from).collect()
        } else {
            let answer = ProduceLogResponse::decode(body).map_err(|e| e.to_string())?;
            answer.buckets_resp.into_iter().map(Part::from).collect()
        };
        Ok(parts)
    }

    /// For each copy its part, if the parts can be an answer to this request.
    fn check(&self, parts: Vec<Part>) -> Result<Vec<Option<Answer>>, String> {
        let copies = self.copies.iter().enumerate();
        let mut places: Vec<_> = copies.map(|(i, (bucket, _))| (place(bucket), i)).collect();
        places.sort_unstable();
        // Of several copies of one bucket, which tests send, the first has the answer.
        places.dedup_by_key(|(place, _)| *place);
        let mut answers = vec![None; self.copies.len()];
        for part in parts {
            let answer = part.answer?;
            let place = (part.partition.map(PartitionId), part.bucket);
            let found = places.binary_search_by_key(&place, |(place, _)| *place);
            let slot = found.ok().and_then(|at| answers.get_mut(places[at].1));
            let Some(slot) = slot else {
                return Err(format!("it names bucket {}, which was not asked for", part.bucket));
            };
            if slot.replace(answer).is_some() {
                return Err(format!("it names bucket {} twice", part.bucket));
            }
        }
        Ok(answers)
    }
}

/// A bucket within the table of a request.
type Place = (Option<PartitionId>, i32);

fn place(bucket: &BucketKey) -> Place {
    (bucket.partition, bucket.bucket)
}

impl From<PbPutKvRespForBucket> for Part {
    fn from(p: PbPutKvRespForBucket) -> Self {
        let written = Answer::Written {
            base_offset: None,
            log_end_offset: p.log_end_offset,
            pressure: p.pressure,
        };
        let rejected = rejected(p.error_code, p.error_message);
        let answer = rejected.map_or_else(|| sensible(p.log_end_offset, written), Ok);
        Self { partition: p.partition_id, bucket: p.bucket_id, answer }
    }
}

impl From<PbProduceLogRespForBucket> for Part {
    fn from(p: PbProduceLogRespForBucket) -> Self {
        let written =
            Answer::Written { base_offset: p.base_offset, log_end_offset: None, pressure: None };
        let rejected = rejected(p.error_code, p.error_message);
        let placed = || match p.base_offset {
            Some(_) => sensible(p.base_offset, written),
            // Servers say of whatever they appended where it is.
            None => Err("a success without an offset".to_owned()),
        };
        let answer = rejected.map_or_else(placed, Ok);
        Self { partition: p.partition_id, bucket: p.bucket_id, answer }
    }
}

/// Offsets above it leave no room for the rows of a batch behind its first one.
const LAST_OFFSET: i64 = i64::MAX - u32::MAX as i64;

/// A success with a negative offset acknowledges nothing: the real server answers so for a batch
/// that reached it cut short, of which it appended no row. Nor does one with an offset that no log
/// can have.
fn sensible(offset: Option<i64>, written: Answer) -> Result<Answer, String> {
    match offset.filter(|offset| !(0..=LAST_OFFSET).contains(offset)) {
        Some(offset) => Err(format!("a success at offset {offset}")),
        None => Ok(written),
    }
}

fn rejected(code: Option<i32>, message: Option<String>) -> Option<Answer> {
    let code = ErrorCode(code.filter(|c| *c != 0)?);
    let usual = || code.info().map_or("", |i| i.meaning);
    let message = message.map_or_else(|| usual().into(), Into::into);
    Some(Answer::Rejected { code, message })
}

fn whole_request(error: &RequestError) -> Answer {
    match error {
        RequestError::Rejected { code, message } => {
            Answer::Rejected { code: *code, message: Arc::clone(message) }
        }
        // As a server would say that knows the API in no version it is asked in: for good. To send
        // it again at once, as what was lost before it was sent, would go on without end.
        RequestError::Unsupported(e) => {
            let message = e.to_string().into();
            Answer::Rejected { code: ErrorCode::UNSUPPORTED_VERSION, message }
        }
        RequestError::NotSent(e) => Answer::NotSent(e.clone()),
        RequestError::Lost(e) => Answer::Lost(e.clone()),
    }
}

impl Draft {
    /// The request's bytes: the batches' payloads by reference, their headers stamped just now.
    pub(crate) fn encode(&self, begun: Begun, ack_timeout: Duration) -> Result<Segments, Error> {
        let buckets: Vec<BucketBatch<'_>> = self
            .entries
            .iter()
            .map(|e| BucketBatch {
                partition_id: e.bucket.partition.map(|p| p.0),
                routing_bucket_count: e.of,
                ..BucketBatch::new(e.bucket.bucket, &e.sealed, e.stamp)
            })
            .collect();
        let timeout_ms = i32::try_from(ack_timeout.as_millis()).unwrap_or(i32::MAX);
        let (acks, table_id, buckets) = (self.acks, self.table.0, &buckets[..]);
        let encoded = match self.api {
            ApiKey::PutKv => {
                let target_columns = self.target_columns.as_deref().unwrap_or(&[]);
                let agg_mode = self.merge_mode;
                PutKv { acks, table_id, timeout_ms, target_columns, buckets, agg_mode }
                    .encode(begun.request_id, begun.version)
            }
            _ => ProduceLog { acks, table_id, timeout_ms, buckets }
                .encode(begun.request_id, begun.version),
        };
        encoded.map_err(|e| Error::misuse(format!("{}: {e}", self.api)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_with_an_offset_that_no_log_has_acknowledges_nothing() {
        for offset in [-1, -5, i64::MIN, i64::MAX, LAST_OFFSET + 1] {
            let log = PbProduceLogRespForBucket { base_offset: Some(offset), ..Default::default() };
            assert!(Part::from(log).answer.is_err(), "{offset}");
            let end = Some(offset);
            let kv = PbPutKvRespForBucket { log_end_offset: end, ..Default::default() };
            assert!(Part::from(kv).answer.is_err(), "{offset}");
        }
        assert!(Part::from(PbProduceLogRespForBucket::default()).answer.is_err());
        let good = PbProduceLogRespForBucket { base_offset: Some(0), ..Default::default() };
        let good = Part::from(good).answer;
        assert!(matches!(good, Ok(Answer::Written { base_offset: Some(0), .. })));
    }
}
