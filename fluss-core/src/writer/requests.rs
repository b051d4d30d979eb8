//! Write requests on the wire, and what an answer says of each of their buckets.

use std::collections::HashMap;
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
use crate::ids::{BucketKey, PartitionId, TableId, WriterKey};
use crate::time::Duration;

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
    table: TableId,
    upsert: bool,
    copies: Vec<(BucketKey, Token)>,
}

/// The table of write requests.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    open: HashMap<u64, WriteRequest>,
    next: u64,
}

impl Requests {
    pub(super) fn begin(
        &mut self,
        key: WriterKey,
        writer: &Writer,
        table: TableId,
        entries: Vec<Entry>,
    ) -> Draft {
        let token = self.next;
        self.next += 1;
        let copies = entries.iter().map(|e| (e.bucket, e.token)).collect();
        let (api, target_columns, merge_mode) = match &writer.kind {
            WriterKind::Append => (ApiKey::ProduceLog, None, None),
            WriterKind::Upsert { target_columns, merge_mode } => {
                (ApiKey::PutKv, target_columns.clone(), *merge_mode)
            }
        };
        let upsert = api == ApiKey::PutKv;
        self.open.insert(token, WriteRequest { writer: key, table, upsert, copies });
        let acks = writer.config.acks.wire();
        Draft { token, api, table, acks, target_columns, merge_mode, entries }
    }

    pub(super) fn end(&mut self, token: u64) -> Option<WriteRequest> {
        self.open.remove(&token)
    }
}

/// One bucket's part of an answer.
struct Part {
    partition: Option<i64>,
    bucket: i32,
    answer: Answer,
}

impl WriteRequest {
    /// The answer for each copy of the request, exactly one per copy.
    ///
    /// Buckets that were not asked for are ignored, of two parts for a bucket the first counts, and
    /// a copy without a part is as good as unanswered.
    pub(super) fn answers(
        self,
        result: Result<Bytes, RequestError>,
    ) -> Vec<(BucketKey, Token, Answer)> {
        let parts = match result {
            Ok(body) => self.parts(body),
            Err(e) => Err(e),
        };
        let parts = match parts {
            Ok(parts) => parts,
            Err(e) => {
                let all = |(bucket, token)| (bucket, token, whole_request(&e));
                return self.copies.into_iter().map(all).collect();
            }
        };
        let mut answers: HashMap<(Option<PartitionId>, i32), Answer> = HashMap::new();
        for part in parts {
            let at = (part.partition.map(PartitionId), part.bucket);
            answers.entry(at).or_insert(part.answer);
        }
        let missing = || {
            let what = format!("the answer for table {} leaves this bucket out", self.table);
            Answer::Lost(Error::misuse(what))
        };
        self.copies
            .into_iter()
            .map(|(bucket, token)| {
                let answer = answers.remove(&(bucket.partition, bucket.bucket));
                (bucket, token, answer.unwrap_or_else(missing))
            })
            .collect()
    }

    fn parts(&self, body: Bytes) -> Result<Vec<Part>, RequestError> {
        let broken = |e: prost::DecodeError| {
            RequestError::Lost(Error::misuse(format!("a write answer that does not parse: {e}")))
        };
        let parts = if self.upsert {
            let answer = PutKvResponse::decode(body).map_err(broken)?;
            answer.buckets_resp.into_iter().map(Part::from).collect()
        } else {
            let answer = ProduceLogResponse::decode(body).map_err(broken)?;
            answer.buckets_resp.into_iter().map(Part::from).collect()
        };
        Ok(parts)
    }
}

impl From<PbPutKvRespForBucket> for Part {
    fn from(p: PbPutKvRespForBucket) -> Self {
        let answer = rejected(p.error_code, p.error_message)
            .or_else(|| nonsense(p.log_end_offset))
            .unwrap_or(Answer::Written {
                base_offset: None,
                log_end_offset: p.log_end_offset,
                pressure: p.pressure,
            });
        Self { partition: p.partition_id, bucket: p.bucket_id, answer }
    }
}

impl From<PbProduceLogRespForBucket> for Part {
    fn from(p: PbProduceLogRespForBucket) -> Self {
        let answer = rejected(p.error_code, p.error_message)
            .or_else(|| nonsense(p.base_offset))
            .unwrap_or(Answer::Written {
                base_offset: p.base_offset,
                log_end_offset: None,
                pressure: None,
            });
        Self { partition: p.partition_id, bucket: p.bucket_id, answer }
    }
}

/// A success with a negative offset acknowledges nothing: the real server answers so for a batch
/// that reached it cut short, of which it appended no row.
fn nonsense(offset: Option<i64>) -> Option<Answer> {
    let offset = offset.filter(|o| *o < 0)?;
    let what = format!("a write answer with offset {offset}: the server read no whole batch");
    Some(Answer::Lost(Error::misuse(what)))
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
        RequestError::NotSent(e) | RequestError::Unsupported(e) => Answer::NotSent(e.clone()),
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
    fn a_success_with_a_negative_offset_acknowledges_nothing() {
        let log = PbProduceLogRespForBucket { base_offset: Some(-1), ..Default::default() };
        assert!(matches!(Part::from(log).answer, Answer::Lost(_)));
        let kv = PbPutKvRespForBucket { log_end_offset: Some(-5), ..Default::default() };
        assert!(matches!(Part::from(kv).answer, Answer::Lost(_)));
        let good = PbProduceLogRespForBucket { base_offset: Some(0), ..Default::default() };
        assert!(matches!(Part::from(good).answer, Answer::Written { base_offset: Some(0), .. }));
    }
}
