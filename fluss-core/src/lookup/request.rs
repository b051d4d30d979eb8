//! What is looked up, and the bytes of requests and answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fluss_proto::error_code::ServerError;
use fluss_proto::message::{LookupResponse, PrefixLookupResponse};
use fluss_proto::{ApiKey, ErrorCode};
use prost::Message;
use prost::encoding::{
    self, WireType, encode_key, encode_varint, encoded_len_varint, int32, int64,
};

use crate::config::Acks;
use crate::ids::{BucketKey, CommandId, PartitionId, TableId, TablePath};
use crate::output::CommandAnswer;
use crate::time::Duration;

/// What is wanted for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LookupKind {
    /// The row of a primary key; answered with [`CommandAnswer::Value`].
    Lookup,
    /// All rows whose primary key begins with these bytes, the encoded bucket key; answered with
    /// [`CommandAnswer::Values`].
    Prefix,
    /// The row of a primary key, which the server makes when there is none; answered with
    /// [`CommandAnswer::Value`]. Columns outside the key are null or generated.
    InsertIfNotExists {
        /// How many replicas must have a new row before the answer.
        acks: Acks,
        /// How long the server waits for them at most.
        timeout: Duration,
    },
}

/// A key to look up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LookupRequest {
    /// What is wanted.
    pub kind: LookupKind,
    /// The table, for error texts.
    pub path: TablePath,
    /// The bucket of the key.
    pub bucket: BucketKey,
    /// The number of buckets with which [`LookupRequest::bucket`] was computed, if the server is
    /// to check it. Default none.
    pub buckets: Option<i32>,
    /// The encoded key.
    pub key: Bytes,
    /// What is asked, for error texts: `LOOKUP shop.users`.
    pub what: Arc<str>,
    /// From now to the answer, with all retries.
    pub limit: Duration,
}

impl LookupRequest {
    /// A request with a limit of a minute and the usual text for errors.
    #[must_use]
    pub fn new(kind: LookupKind, path: TablePath, bucket: BucketKey, key: Bytes) -> Self {
        let what = match kind {
            LookupKind::Lookup | LookupKind::InsertIfNotExists { .. } => format!("LOOKUP {path}"),
            LookupKind::Prefix => format!("PREFIX_LOOKUP {path}"),
        };
        let limit = Duration::from_secs(60);
        Self { kind, path, bucket, buckets: None, key, what: what.into(), limit }
    }

    pub(crate) fn ask(&self) -> Ask<'_> {
        let Self { kind, bucket, buckets, limit, .. } = *self;
        Ask { kind, bucket, buckets, key: &self.key, what: &self.what, limit, lazy: false }
    }
}

/// A key to look up, of which nothing has to be kept for the call: [`LookupRequest`] by reference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) kind: LookupKind,
    pub(crate) bucket: BucketKey,
    pub(crate) buckets: Option<i32>,
    pub(crate) key: &'a [u8],
    pub(crate) what: &'a Arc<str>,
    pub(crate) limit: Duration,
    /// Nobody waits for the answer before [`Lookups::urge`](super::Lookups::urge) says so.
    pub(crate) lazy: bool,
}

/// What all keys of one request have in common, apart from the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Lookup,
    Prefix,
    Insert { acks: i32, timeout_ms: i32 },
}

impl From<LookupKind> for Kind {
    fn from(kind: LookupKind) -> Self {
        match kind {
            LookupKind::Lookup => Self::Lookup,
            LookupKind::Prefix => Self::Prefix,
            LookupKind::InsertIfNotExists { acks, timeout } => Self::Insert {
                acks: acks.wire(),
                timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
            },
        }
    }
}

impl Kind {
    pub(super) const fn api(self) -> ApiKey {
        match self {
            Self::Lookup | Self::Insert { .. } => ApiKey::Lookup,
            Self::Prefix => ApiKey::PrefixLookup,
        }
    }
}

/// The body of a request for these keys of one table.
pub(super) fn encode<'a>(
    kind: Kind,
    routing: Option<i32>,
    table: TableId,
    buckets: &[(BucketKey, Vec<CommandId>)],
    bytes_of: impl Fn(&CommandId) -> &'a [u8],
) -> Bytes {
    // The messages have the keys in memory of their own; here they go straight to their places.
    let routing_tag = if kind == Kind::Prefix { 4 } else { 5 };
    let length_of = |bucket: &BucketKey, ids: &[CommandId]| {
        let keys = ids.iter().map(|id| {
            let length = bytes_of(id).len();
            1 + encoded_len_varint(length as u64) + length
        });
        bucket.partition.map_or(0, |id| int64::encoded_len(1, &id.0))
            + int32::encoded_len(2, &bucket.bucket)
            + keys.sum::<usize>()
            + routing.map_or(0, |count| int32::encoded_len(routing_tag, &count))
    };
    let lengths: Vec<usize> = buckets.iter().map(|(bucket, ids)| length_of(bucket, ids)).collect();
    // What is not the buckets themselves: at most a tag and a varint of ten bytes for each number.
    let room = lengths.iter().map(|length| 11 + length).sum::<usize>() + 4 * 11;
    let mut out = Vec::with_capacity(room);
    int64::encode(1, &table.0, &mut out);
    for ((bucket, ids), length) in buckets.iter().zip(lengths) {
        encode_key(2, WireType::LengthDelimited, &mut out);
        encode_varint(length as u64, &mut out);
        if let Some(partition) = bucket.partition {
            int64::encode(1, &partition.0, &mut out);
        }
        int32::encode(2, &bucket.bucket, &mut out);
        for id in ids {
            let key = bytes_of(id);
            encode_key(3, WireType::LengthDelimited, &mut out);
            encode_varint(key.len() as u64, &mut out);
            out.extend_from_slice(key);
        }
        if let Some(count) = routing {
            int32::encode(routing_tag, &count, &mut out);
        }
    }
    if let Kind::Insert { acks, timeout_ms } = kind {
        encoding::bool::encode(3, &true, &mut out);
        int32::encode(4, &acks, &mut out);
        int32::encode(5, &timeout_ms, &mut out);
    }
    out.into()
}

/// What a server says of one bucket: an answer for each of its keys, or an error for all.
pub(super) type BucketAnswer = Result<Vec<CommandAnswer>, (ErrorCode, Arc<str>)>;

/// The answers by bucket; of two for one bucket the last counts. An error is a text for people.
pub(super) fn decode(
    kind: Kind,
    table: TableId,
    body: Bytes,
) -> Result<BTreeMap<BucketKey, BucketAnswer>, String> {
    let unreadable = |e| format!("a {} answer that does not parse: {e}", kind.api());
    let key = |partition: Option<i64>, bucket| BucketKey {
        table,
        partition: partition.map(PartitionId),
        bucket,
    };
    let mut answers = BTreeMap::new();
    if kind == Kind::Prefix {
        let response = PrefixLookupResponse::decode(body).map_err(unreadable)?;
        for b in response.buckets_resp {
            let lists = b.value_lists.into_iter().map(|list| CommandAnswer::Values(list.values));
            let answer = check(b.error_code, b.error_message.as_deref()).map(|()| lists.collect());
            answers.insert(key(b.partition_id, b.bucket_id), answer);
        }
    } else {
        let response = LookupResponse::decode(body).map_err(unreadable)?;
        for b in response.buckets_resp {
            let values = b.values.into_iter().map(|value| CommandAnswer::Value(value.values));
            let answer = check(b.error_code, b.error_message.as_deref()).map(|()| values.collect());
            answers.insert(key(b.partition_id, b.bucket_id), answer);
        }
    }
    Ok(answers)
}

fn check(code: Option<i32>, message: Option<&str>) -> Result<(), (ErrorCode, Arc<str>)> {
    ServerError::check(code, message).map_err(|error| {
        let usual = || error.code.info().map_or("no text", |info| info.meaning);
        let text = error.message.as_deref().filter(|m| !m.is_empty()).unwrap_or_else(usual);
        (error.code, text.into())
    })
}
