//! What the simulator reads from the wire, on its own account: the client's word is what is tested.

use bytes::Bytes;
use fluss_proto::ApiKey;
use fluss_proto::message::{
    ErrorResponse, ProduceLogRequest, ProduceLogResponse, PutKvRequest, PutKvResponse,
};
use prost::Message;

use crate::ids::{BucketKey, PartitionId, TableId};

/// A request as it left.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) id: i32,
    pub(super) api: i16,
    /// Of a write request.
    pub(super) copies: Vec<Copy>,
}

/// A batch in a write request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) bucket: BucketKey,
    /// What it carries: the number of the batch.
    pub(super) payload: u64,
    pub(super) writer_id: i64,
    pub(super) sequence: i32,
    /// The entry holds this batch and nothing else.
    pub(super) alone: bool,
}

fn le<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|b| b.try_into().ok()).unwrap_or([0xff; N])
}

fn payload(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(le(bytes, at))
}

/// The payload of a log batch with rows, or of a changelog batch.
pub(super) fn last_payload(batch: &[u8]) -> u64 {
    batch.last_chunk().map_or(u64::MAX, |tail| u64::from_be_bytes(*tail))
}

/// Reads a frame that the client sends; its length field comes first.
pub(super) fn sent(frame: &Bytes) -> Sent {
    let api = i16::from_be_bytes([frame[4], frame[5]]);
    let id = i32::from_be_bytes([frame[8], frame[9], frame[10], frame[11]]);
    let body = frame.slice(12..);
    let copies = if api == ApiKey::ProduceLog.number() {
        let request = ProduceLogRequest::decode(body).unwrap_or_default();
        let entries = request.buckets_req.iter();
        entries
            .map(|e| log_copy(bucket(request.table_id, e.partition_id, e.bucket_id), &e.records))
            .collect()
    } else if api == ApiKey::PutKv.number() {
        let request = PutKvRequest::decode(body).unwrap_or_default();
        let entries = request.buckets_req.iter();
        entries
            .map(|e| kv_copy(bucket(request.table_id, e.partition_id, e.bucket_id), &e.records))
            .collect()
    } else {
        Vec::new()
    };
    Sent { id, api, copies }
}

fn bucket(table: i64, partition: Option<i64>, bucket: i32) -> BucketKey {
    BucketKey { table: TableId(table), partition: partition.map(PartitionId), bucket }
}

fn log_copy(bucket: BucketKey, batch: &[u8]) -> Copy {
    let length = i32::from_le_bytes(le(batch, 8));
    Copy {
        bucket,
        payload: last_payload(batch),
        writer_id: i64::from_le_bytes(le(batch, 32)),
        sequence: i32::from_le_bytes(le(batch, 40)),
        alone: usize::try_from(length).is_ok_and(|length| length + 12 == batch.len()),
    }
}

fn kv_copy(bucket: BucketKey, batch: &[u8]) -> Copy {
    let length = i32::from_le_bytes(le(batch, 0));
    Copy {
        bucket,
        // Behind the header come the record's length, the key's, and the key.
        payload: payload(batch, 33),
        writer_id: i64::from_le_bytes(le(batch, 12)),
        sequence: i32::from_le_bytes(le(batch, 20)),
        alone: usize::try_from(length).is_ok_and(|length| length + 4 == batch.len()),
    }
}

/// What an answer says of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Committed,
    /// This copy was not appended and never will be.
    Refused,
    /// Anything else, also no answer.
    Open,
}

impl Said {
    /// What a code proves, after the server's rules; not after the client's table.
    fn of(code: Option<i32>) -> Self {
        match code.unwrap_or(0) {
            0 | 32 => Self::Committed,
            2 | 3 | 9 | 13 | 14 | 18 | 20 | 29 | 31 | 33 | 35 | 46 | 48 | 57 | 70 | 72 | 74 => {
                Self::Refused
            }
            _ => Self::Open,
        }
    }
}

/// The answer to a write request.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// The same for all its copies.
    All(Said),
    /// By partition and bucket.
    Each(Vec<(Option<i64>, i32, Said)>),
}

impl Answer {
    pub(super) fn to(&self, bucket: BucketKey) -> Said {
        let at = (bucket.partition.map(|p| p.0), bucket.bucket);
        match self {
            Self::All(said) => *said,
            Self::Each(parts) => parts
                .iter()
                .find(|(partition, bucket, _)| (*partition, *bucket) == at)
                .map_or(Said::Open, |part| part.2),
        }
    }
}

/// The request that a frame from a server answers; None for a frame that answers nothing.
pub(super) fn answers(frame: &Bytes) -> Option<i32> {
    let id = frame.get(1..5)?.try_into().ok().map(i32::from_be_bytes)?;
    (frame[0] <= 1).then_some(id)
}

/// Reads the answer to a write request, a frame without its length.
pub(super) fn answer(frame: &Bytes, api: i16) -> Answer {
    let body = frame.slice(5..);
    if frame[0] == 1 {
        let code = ErrorResponse::decode(body).map_or(-1, |e| e.error_code);
        return Answer::All(Said::of(Some(code)));
    }
    // A success with a negative offset acknowledges nothing.
    let said = |code: Option<i32>, offset: Option<i64>| match Said::of(code) {
        Said::Committed if offset.is_some_and(|o| o < 0) => Said::Open,
        said => said,
    };
    if api == ApiKey::PutKv.number() {
        let Ok(answer) = PutKvResponse::decode(body) else { return Answer::All(Said::Open) };
        let parts = answer.buckets_resp.iter();
        let part =
            parts.map(|p| (p.partition_id, p.bucket_id, said(p.error_code, p.log_end_offset)));
        Answer::Each(part.collect())
    } else {
        let Ok(answer) = ProduceLogResponse::decode(body) else { return Answer::All(Said::Open) };
        let parts = answer.buckets_resp.iter();
        let part = parts.map(|p| (p.partition_id, p.bucket_id, said(p.error_code, p.base_offset)));
        Answer::Each(part.collect())
    }
}
