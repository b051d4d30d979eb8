//! What is looked up, and the bytes of requests and answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fluss_proto::error_code::ServerError;
use fluss_proto::message::{LookupResponse, PbLookupRespForBucket, PrefixLookupResponse};
use fluss_proto::{ApiKey, ErrorCode};
use prost::Message;
use prost::encoding::{
    self, DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, int32,
    int64,
};

use crate::config::Acks;
use crate::ids::{BucketKey, PartitionId, TableId, TablePath};
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

/// The keys of a request, encoded as they are taken: the messages have each in memory of its own.
#[derive(Debug, Default)]
pub(super) struct Keys {
    bytes: Vec<u8>,
    /// Where the keys of each bucket end.
    buckets: Vec<(BucketKey, usize)>,
}

impl Keys {
    pub(super) fn push(&mut self, key: &[u8]) {
        encode_key(3, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(key.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(key);
    }

    /// The keys since the bucket before are of this one.
    pub(super) fn end_bucket(&mut self, bucket: BucketKey) {
        self.buckets.push((bucket, self.bytes.len()));
    }

    fn buckets(&self) -> impl Iterator<Item = (&BucketKey, &[u8])> {
        let mut start = 0;
        self.buckets.iter().map(move |(bucket, end)| {
            let keys = self.bytes.get(start..*end).unwrap_or_default();
            start = *end;
            (bucket, keys)
        })
    }
}

/// The body of a request for these keys of one table.
pub(super) fn encode(kind: Kind, routing: Option<i32>, table: TableId, keys: &Keys) -> Bytes {
    let routing_tag = if kind == Kind::Prefix { 4 } else { 5 };
    // What is not keys: at most a tag and a varint of ten bytes for each number.
    let room = keys.bytes.len() + (keys.buckets.len() + 1) * 4 * 11;
    let mut out = Vec::with_capacity(room);
    int64::encode(1, &table.0, &mut out);
    for (bucket, keys) in keys.buckets() {
        let length = bucket.partition.map_or(0, |id| int64::encoded_len(1, &id.0))
            + int32::encoded_len(2, &bucket.bucket)
            + keys.len()
            + routing.map_or(0, |count| int32::encoded_len(routing_tag, &count));
        encode_key(2, WireType::LengthDelimited, &mut out);
        encode_varint(length as u64, &mut out);
        if let Some(partition) = bucket.partition {
            int64::encode(1, &partition.0, &mut out);
        }
        int32::encode(2, &bucket.bucket, &mut out);
        out.extend_from_slice(keys);
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
    let mut answers = BTreeMap::new();
    if kind == Kind::Prefix {
        let response = PrefixLookupResponse::decode(body).map_err(unreadable)?;
        for b in response.buckets_resp {
            let lists = b.value_lists.into_iter().map(|list| CommandAnswer::Values(list.values));
            let answer = check(b.error_code, b.error_message.as_deref()).map(|()| lists.collect());
            answers.insert(bucket_key(table, b.partition_id, b.bucket_id), answer);
        }
    } else if let Some(answers) = decode_plain(table, &body) {
        return Ok(answers);
    } else {
        let response = LookupResponse::decode(body).map_err(unreadable)?;
        for b in response.buckets_resp {
            let values = b.values.into_iter().map(|value| CommandAnswer::Value(value.values));
            let answer = check(b.error_code, b.error_message.as_deref()).map(|()| values.collect());
            answers.insert(bucket_key(table, b.partition_id, b.bucket_id), answer);
        }
    }
    Ok(answers)
}

fn bucket_key(table: TableId, partition: Option<i64>, bucket: i32) -> BucketKey {
    BucketKey { table, partition: partition.map(PartitionId), bucket }
}

/// The field of the buckets in an answer and of the bytes in a value, and that of the values.
const FIRST: u8 = 1 << 3 | 2;
const VALUES: u8 = 5 << 3 | 2;

/// The answers of a LOOKUP in the form in which everybody writes them, without a message for each
/// value. None: it has to be read as messages, if it can be read at all.
fn decode_plain(table: TableId, body: &Bytes) -> Option<BTreeMap<BucketKey, BucketAnswer>> {
    let mut answers = BTreeMap::new();
    let mut rest = &body[..];
    while !rest.is_empty() {
        let mut bucket = part(&mut rest, FIRST)?;
        let mut head = PbLookupRespForBucket::default();
        let mut values = Vec::new();
        while let Some(first) = bucket.first() {
            if *first == VALUES {
                let mut value = part(&mut bucket, VALUES)?;
                let bytes = match value.is_empty() {
                    true => None,
                    false => Some(part(&mut value, FIRST)?),
                };
                if !value.is_empty() {
                    return None;
                }
                values.push(CommandAnswer::Value(bytes.map(|bytes| body.slice_ref(bytes))));
                continue;
            }
            let (field, wire) = decode_key(&mut bucket).ok()?;
            if field == u32::from(VALUES >> 3) || wire == WireType::StartGroup {
                return None;
            }
            head.merge_field(field, wire, &mut bucket, DecodeContext::default()).ok()?;
        }
        let answer = check(head.error_code, head.error_message.as_deref()).map(|()| values);
        answers.insert(bucket_key(table, head.partition_id, head.bucket_id), answer);
    }
    Some(answers)
}

/// The bytes of a field with a length, if that is what is next.
fn part<'a>(rest: &mut &'a [u8], field: u8) -> Option<&'a [u8]> {
    let (first, behind) = rest.split_first()?;
    *rest = behind;
    let length = match (*first == field).then_some(behind.first()?)? {
        // Most are short.
        short @ ..0x80 => {
            *rest = behind.get(1..)?;
            usize::from(*short)
        }
        _ => usize::try_from(decode_varint(rest).ok()?).ok()?,
    };
    let (part, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(part)
}

fn check(code: Option<i32>, message: Option<&str>) -> Result<(), (ErrorCode, Arc<str>)> {
    ServerError::check(code, message).map_err(|error| {
        let usual = || error.code.info().map_or("no text", |info| info.meaning);
        let text = error.message.as_deref().filter(|m| !m.is_empty()).unwrap_or_else(usual);
        (error.code, text.into())
    })
}

#[cfg(test)]
mod tests {
    use fluss_proto::message::PbValue;

    use super::*;
    use crate::rng::Rng;

    const TABLE: TableId = TableId(3);

    fn answer(rng: &mut Rng) -> LookupResponse {
        let value = |rng: &mut Rng| PbValue {
            values: (!rng.one_in(4)).then(|| vec![7; rng.below(200) as usize].into()),
        };
        let bucket = |rng: &mut Rng| PbLookupRespForBucket {
            partition_id: rng.one_in(3).then(|| rng.below(5) as i64),
            bucket_id: rng.below(4) as i32,
            error_code: rng.one_in(4).then(|| rng.below(40) as i32),
            error_message: rng.one_in(4).then(|| "no".to_owned()),
            values: (0..rng.below(6)).map(|_| value(rng)).collect(),
            original_partition_name: rng.one_in(8).then(|| "eu".to_owned()),
        };
        LookupResponse { buckets_resp: (0..rng.below(5)).map(|_| bucket(rng)).collect() }
    }

    fn as_messages(body: Bytes) -> Option<BTreeMap<BucketKey, BucketAnswer>> {
        let buckets = LookupResponse::decode(body).ok()?.buckets_resp.into_iter().map(|b| {
            let values = b.values.into_iter().map(|value| CommandAnswer::Value(value.values));
            let answer = check(b.error_code, b.error_message.as_deref());
            (bucket_key(TABLE, b.partition_id, b.bucket_id), answer.map(|()| values.collect()))
        });
        Some(buckets.collect())
    }

    #[test]
    fn answers_are_read_as_the_messages_they_are_whatever_their_bytes_say() {
        let mut rng = Rng::new(5);
        let (mut plain, mut damaged) = (0, 0);
        for round in 0..20_000 {
            let mut bytes = answer(&mut rng).encode_to_vec();
            let sound = rng.one_in(2);
            if !sound && !bytes.is_empty() {
                for _ in 0..=rng.below(3) {
                    let at = rng.below(bytes.len() as u64) as usize;
                    bytes[at] = rng.below(256) as u8;
                }
                bytes.truncate(bytes.len() - rng.below(3).min(bytes.len() as u64 - 1) as usize);
            }
            let body = Bytes::from(bytes);
            let expected = as_messages(body.clone());
            let read = decode_plain(TABLE, &body);
            assert!(read.is_none() || read == expected, "round {round}: {body:?}");
            assert!(read.is_some() || !sound, "round {round}: {body:?}");
            assert_eq!(decode(Kind::Lookup, TABLE, body).ok(), expected, "round {round}");
            plain += u32::from(read.is_some());
            damaged += u32::from(expected.is_none());
        }
        assert!(plain > 10_000 && damaged > 1_000, "{plain} {damaged}");
    }
}
