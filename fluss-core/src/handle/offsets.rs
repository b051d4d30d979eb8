//! Where logs begin and end.

use std::collections::BTreeMap;
use std::sync::Arc;

use fluss_proto::error_code::ServerError;
use fluss_proto::message::{ListOffsetsRequest, ListOffsetsResponse};
use fluss_proto::{ApiKey, ErrorCode};
use prost::Message;

use super::fluss::{Fluss, decode};
use super::pending::{CommandFuture, Pending};
use super::scan::places::Partitions;
use super::table::{Table, TableInfo};
use crate::command::{Call, Target};
use crate::error::{Error, Result};
use crate::ids::BucketKey;

/// Which offset of a bucket is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffsetSpec {
    /// That of the earliest record there is.
    Earliest,
    /// The end of what can be read: the high watermark.
    Latest,
    /// That of the first record stored at this time or later, in milliseconds since 1970; without
    /// one, and for times in the server's future, the latest.
    Timestamp(i64),
}

/// An offset in a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BucketOffset {
    /// The bucket.
    pub bucket: BucketKey,
    /// The offset.
    pub offset: i64,
}

impl Table {
    /// All buckets of the table; of a partitioned one, those of the partitions it has now.
    ///
    /// # Errors
    /// Those of [`Admin::list_partitions`](super::Admin::list_partitions); none for other tables.
    pub fn buckets(&self) -> Pending<Vec<BucketKey>> {
        let table = self.clone();
        Pending::new(self.fluss(), async move { buckets(table.fluss(), table.info()).await })
    }

    /// An offset of every bucket, in the order of [`Table::buckets`], asked of the leaders.
    ///
    /// # Errors
    /// [`Error::Rejected`] when a server refuses, [`Error::Unavailable`] when a bucket has no
    /// leader within [`Config::command_deadline`](crate::config::Config::command_deadline).
    pub fn offsets(&self, at: OffsetSpec) -> Pending<Vec<BucketOffset>> {
        let table = self.clone();
        Pending::new(self.fluss(), async move {
            let keys = buckets(table.fluss(), table.info()).await?;
            let found = list_offsets(table.fluss(), table.info(), &keys, at).await?;
            Ok(found.into_iter().map(|(bucket, offset)| BucketOffset { bucket, offset }).collect())
        })
    }
}

pub(crate) async fn buckets(fluss: &Fluss, info: &TableInfo) -> Result<Vec<BucketKey>> {
    let mut keys = Partitions::list(fluss, info).await?.buckets(info);
    keys.sort_unstable();
    Ok(keys)
}

/// Asks the leader of each bucket, all at once.
pub(crate) async fn list_offsets(
    fluss: &Fluss,
    info: &TableInfo,
    buckets: &[BucketKey],
    at: OffsetSpec,
) -> Result<BTreeMap<BucketKey, i64>> {
    let ask = |bucket: &BucketKey, at| {
        let call = offset_call(fluss, info, *bucket, at);
        let what = Arc::clone(&call.what);
        (*bucket, what, CommandFuture::start(fluss.shared(), call))
    };
    let calls: Vec<_> = buckets.iter().map(|bucket| ask(bucket, at)).collect();
    let mut offsets = BTreeMap::new();
    let mut future = Vec::new();
    for (bucket, what, call) in calls {
        match call.await {
            Ok(body) => drop(offsets.insert(bucket, read_offset(body, &what)?)),
            // This moment may lie in the future of a server whose clock is behind.
            Err(error) if error.code() == Some(ErrorCode::INVALID_TIMESTAMP_EXCEPTION) => {
                future.push(ask(&bucket, OffsetSpec::Latest));
            }
            Err(error) => return Err(error),
        }
    }
    for (bucket, what, call) in future {
        offsets.insert(bucket, read_offset(call.await?, &what)?);
    }
    Ok(offsets)
}

fn offset_call(fluss: &Fluss, info: &TableInfo, bucket: BucketKey, at: OffsetSpec) -> Call {
    let (offset_type, start_timestamp) = match at {
        OffsetSpec::Earliest => (0, None),
        OffsetSpec::Latest => (1, None),
        OffsetSpec::Timestamp(millis) => (2, Some(millis)),
    };
    let request = ListOffsetsRequest {
        follower_server_id: -1,
        offset_type,
        table_id: bucket.table.0,
        partition_id: bucket.partition.map(|p| p.0),
        bucket_id: vec![bucket.bucket],
        start_timestamp,
        routing_bucket_count: None,
    };
    let what = match bucket.partition {
        Some(p) => format!("LIST_OFFSETS {} partition {p} bucket {}", info.path, bucket.bucket),
        None => format!("LIST_OFFSETS {} bucket {}", info.path, bucket.bucket),
    };
    let body = request.encode_to_vec().into();
    let mut call = Call::new(ApiKey::ListOffsets, body, Target::Leader(bucket), &what);
    call.limit = fluss.config(|c| c.command_deadline);
    call.body_error = Some(body_error);
    call.routing = Some(7);
    call.check = Some(check);
    call
}

/// The error of the one bucket that was asked for.
fn body_error(body: &[u8]) -> Option<(ErrorCode, String)> {
    let answer = ListOffsetsResponse::decode(body).ok()?;
    let part = answer.buckets_resp.first()?;
    let error = ServerError::check(part.error_code, part.error_message.as_deref()).err()?;
    let usual = || error.code.info().map_or("no explanation", |info| info.meaning).to_owned();
    Some((error.code, error.message.clone().unwrap_or_else(usual)))
}

fn check(body: &[u8]) -> Result<(), String> {
    let answer = ListOffsetsResponse::decode(body)
        .map_err(|e| format!("an answer that does not parse: {e}"))?;
    let offset = answer.buckets_resp.first().and_then(|part| part.offset);
    offset.map(drop).ok_or_else(|| "an answer without an offset".to_owned())
}

fn read_offset(answer: crate::CommandAnswer, what: &str) -> Result<i64> {
    let answer: ListOffsetsResponse = decode(answer, what)?;
    answer.buckets_resp.first().and_then(|part| part.offset).ok_or_else(|| Error::Peer {
        server: "server".into(),
        what: format!("{what}: an answer without an offset").into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluss_proto::message::PbListOffsetsRespForBucket;

    fn answer(part: PbListOffsetsRespForBucket) -> bytes::Bytes {
        ListOffsetsResponse { buckets_resp: vec![part] }.encode_to_vec().into()
    }

    #[test]
    fn errors_inside_answers_are_found_and_missing_offsets_too() {
        let refused = PbListOffsetsRespForBucket {
            error_code: Some(12),
            ..PbListOffsetsRespForBucket::default()
        };
        let (code, text) = body_error(&answer(refused)).expect("an error");
        assert_eq!(code, ErrorCode::NOT_LEADER_OR_FOLLOWER);
        assert!(!text.is_empty());
        let empty = answer(PbListOffsetsRespForBucket::default());
        assert_eq!(body_error(&empty), None);
        assert!(read_offset(crate::CommandAnswer::Body(empty), "it").is_err());
        let good = PbListOffsetsRespForBucket { offset: Some(5), ..Default::default() };
        assert_eq!(read_offset(crate::CommandAnswer::Body(answer(good)), "it"), Ok(5));
    }
}
