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
    /// This copy was not appended and never will be, for a reason that may pass.
    RefusedForNow,
    /// The same, for the storage's load.
    Throttled,
    /// The same, for its sequence.
    OutOfSequence,
    /// The same, for good.
    Refused,
    /// Anything else, also no answer.
    Open,
}

impl Said {
    /// What a code proves, after the server's rules; not after the client's table.
    fn of(code: Option<i32>) -> Self {
        match code.unwrap_or(0) {
            0 | 32 => Self::Committed,
            3 | 9 | 14 | 29 | 70 => Self::RefusedForNow,
            72 => Self::Throttled,
            31 | 33 => Self::OutOfSequence,
            2 | 13 | 18 | 20 | 35 | 46 | 48 | 57 | 74 => Self::Refused,
            _ => Self::Open,
        }
    }
}

/// What an answer says of one bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    at: (Option<i64>, i32),
    pub(super) said: Said,
    /// Of the storage, from 0 to 1.
    pub(super) pressure: f64,
    /// An offset that no row can have.
    absurd: bool,
}

impl Part {
    fn new(at: (Option<i64>, i32), code: Option<i32>, offset: Option<i64>, p: Option<f32>) -> Self {
        let said = Said::of(code);
        let absurd = said == Said::Committed && offset.is_some_and(|offset| offset < 0);
        Self { at, said, pressure: p.map_or(0.0, f64::from), absurd }
    }
}

/// The answer to a write request.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// The same for all its copies.
    All(Said),
    /// None to this request: it says nothing, and who gave it is not to be trusted.
    Nonsense,
    /// Of each bucket what it says.
    Each(Vec<Part>),
}

impl Answer {
    pub(super) fn to(&self, bucket: BucketKey) -> Part {
        let at = (bucket.partition.map(|p| p.0), bucket.bucket);
        let open = Part { at, said: Said::Open, pressure: 0.0, absurd: false };
        match self {
            Self::All(said) => Part { said: *said, ..open },
            Self::Nonsense => open,
            Self::Each(parts) => parts.iter().find(|part| part.at == at).copied().unwrap_or(open),
        }
    }

    /// Whether a server that says so is not to be trusted any more.
    pub(super) fn costs_the_connection(&self, request: &Sent) -> bool {
        match self {
            Self::All(_) => false,
            Self::Nonsense => true,
            Self::Each(parts) => parts.len() < request.copies.len(),
        }
    }

    /// The parts, if they can be an answer to this request: each for a bucket that was asked for,
    /// none twice, no offset below zero.
    fn each(parts: Vec<Part>, request: &Sent) -> Self {
        let asked = |part: &Part| {
            request
                .copies
                .iter()
                .any(|c| (c.bucket.partition.map(|p| p.0), c.bucket.bucket) == part.at)
        };
        let twice = |(i, part): (usize, &Part)| parts[..i].iter().any(|other| other.at == part.at);
        let absurd = parts.iter().any(|part| part.absurd || !asked(part));
        if absurd || parts.iter().enumerate().any(twice) {
            Self::Nonsense
        } else {
            Self::Each(parts)
        }
    }
}

/// The request that a frame from a server answers; None for a frame that answers nothing.
pub(super) fn answers(frame: &Bytes) -> Option<i32> {
    let id = frame.get(1..5)?.try_into().ok().map(i32::from_be_bytes)?;
    (frame[0] <= 1).then_some(id)
}

/// Reads the answer to a write request, a frame without its length.
pub(super) fn answer(frame: &Bytes, request: &Sent) -> Answer {
    let body = frame.slice(5..);
    if frame[0] == 1 {
        let code = ErrorResponse::decode(body).map_or(-1, |e| e.error_code);
        return Answer::All(Said::of(Some(code)));
    }
    let parts = if request.api == ApiKey::PutKv.number() {
        let Ok(answer) = PutKvResponse::decode(body) else { return Answer::Nonsense };
        let parts = answer.buckets_resp.iter().map(|p| {
            Part::new((p.partition_id, p.bucket_id), p.error_code, p.log_end_offset, p.pressure)
        });
        parts.collect()
    } else {
        let Ok(answer) = ProduceLogResponse::decode(body) else { return Answer::Nonsense };
        let parts = answer
            .buckets_resp
            .iter()
            .map(|p| Part::new((p.partition_id, p.bucket_id), p.error_code, p.base_offset, None));
        parts.collect()
    };
    Answer::each(parts, request)
}
