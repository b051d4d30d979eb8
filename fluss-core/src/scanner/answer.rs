//! What the answer to a fetch means for its buckets.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fluss_proto::ErrorCode;
use fluss_proto::error_code::ServerError;
use fluss_proto::message::{FetchLogResponse, PbFetchLogRespForBucket};
use fluss_proto::record::LogBatches;
use prost::Message;

use super::bucket::Bucket;
use super::remote::send_to_remote;
use super::scanner::{Fetch, Scanner};
use super::types::{FetchedBatch, ScannerOptions};
use crate::batch::BatchError;
use crate::connection::request::RequestError;
use crate::cx::Cx;
use crate::error::Error;
use crate::ids::{BucketKey, Labels, PartitionId, TableId, label_of};

/// Errors without an explanation, and answers without the data they announce, that are put up with
/// in a row.
pub(super) const PATIENCE: u32 = 10;
/// Room for headers around the largest batch.
pub(super) const FRAME_OVERHEAD: usize = 4 << 10;

type Asked = BTreeMap<BucketKey, u64>;

impl Scanner {
    pub(super) fn handle_reply(
        &mut self,
        cx: &mut Cx<'_>,
        token: u64,
        result: Result<Bytes, RequestError>,
        labels: &Labels,
    ) {
        let Some(Fetch { server, buckets, quiet_until, .. }) = self.fetches.remove(&token) else {
            return;
        };
        let entry = self.servers.entry(server).or_default();
        // Another one is on its way if this one was given up.
        let given_up = entry.in_flight != Some(token);
        if !given_up {
            entry.in_flight = None;
        }
        // Whoever was unsubscribed or subscribed anew meanwhile is not meant by this answer.
        let mut asked = Asked::new();
        for (key, generation) in buckets {
            if let Some(bucket) = self.buckets.get_mut(&key)
                && bucket.generation == generation
                && bucket.in_flight == Some(token)
            {
                bucket.in_flight = None;
                asked.insert(key, generation);
            }
        }
        match result {
            Ok(body) => {
                self.end_silences(server, |key| asked.contains_key(key));
                let quiet = self.read(cx, &label_of(labels, server), token, body, asked);
                let entry = self.servers.entry(server).or_default();
                if !given_up {
                    entry.answered(cx, quiet && cx.now < quiet_until);
                }
            }
            Err(error) => {
                if !given_up {
                    entry.failed(cx);
                }
                self.handle_failure(cx, error, asked);
            }
        }
    }

    /// The request as a whole brought nothing.
    fn handle_failure(&mut self, cx: &mut Cx<'_>, error: RequestError, asked: Asked) {
        for key in asked.into_keys() {
            let what = self.what(key);
            let Some(bucket) = self.buckets.get_mut(&key) else { continue };
            match &error {
                RequestError::NotSent(error @ (Error::Misuse(_) | Error::Closed(_))) => {
                    bucket.fail(error.clone());
                }
                // Once more would end alike, as where an answer is larger than frames may be.
                RequestError::Lost(error @ Error::Peer { .. }) => {
                    unexplained(cx, bucket, error.clone());
                }
                RequestError::NotSent(error) | RequestError::Lost(error) => {
                    refused(cx, bucket, error.clone());
                }
                RequestError::Rejected { code, message } => {
                    rejected(cx, bucket, what, *code, Arc::clone(message));
                }
                RequestError::Unsupported(error) => bucket.fail(error.clone()),
            }
            if bucket.error.is_some() {
                self.line_up(key);
            }
        }
    }

    fn what(&self, key: BucketKey) -> Arc<str> {
        let path = &self.options.path;
        match key.partition {
            Some(p) => format!("FETCH_LOG {path} partition {p} bucket {}", key.bucket).into(),
            None => format!("FETCH_LOG {path} bucket {}", key.bucket).into(),
        }
    }

    /// True if it brings nothing, neither data nor errors.
    fn read(
        &mut self,
        cx: &mut Cx<'_>,
        server: &Arc<str>,
        frame: u64,
        body: Bytes,
        mut asked: Asked,
    ) -> bool {
        let bytes = body.len() as u64;
        let answer = match FetchLogResponse::decode(body) {
            Ok(answer) => answer,
            Err(error) => {
                let what = format!("an answer to FETCH_LOG that does not parse: {error}");
                self.fail_all(&asked, &peer(server, what));
                return false;
            }
        };
        let (mut batches, mut quiet) = (0, true);
        for table in answer.tables_resp {
            for part in table.buckets_resp {
                let key = BucketKey {
                    table: TableId(table.table_id),
                    partition: part.partition_id.map(PartitionId),
                    bucket: part.bucket_id,
                };
                // What was not asked for, or comes twice, is nobody's.
                if asked.remove(&key).is_some() {
                    let (added, nothing) = self.read_bucket(cx, server, frame, key, part);
                    batches += added;
                    quiet &= nothing;
                }
            }
        }
        self.charge(frame, bytes, batches);
        quiet &= asked.is_empty();
        for key in asked.into_keys() {
            let Some(bucket) = self.buckets.get_mut(&key) else { continue };
            let what = format!("an answer to FETCH_LOG that leaves out {key}, which was asked for");
            unexplained(cx, bucket, peer(server, what));
            if bucket.error.is_some() {
                self.line_up(key);
            }
        }
        quiet
    }

    fn fail_all(&mut self, asked: &Asked, error: &Error) {
        for key in asked.keys() {
            if let Some(bucket) = self.buckets.get_mut(key) {
                bucket.fail(error.clone());
                self.line_up(*key);
            }
        }
    }

    /// Returns how many batches of this frame wait now, and whether nothing at all came.
    fn read_bucket(
        &mut self,
        cx: &mut Cx<'_>,
        server: &Arc<str>,
        frame: u64,
        key: BucketKey,
        mut part: PbFetchLogRespForBucket,
    ) -> (usize, bool) {
        let (what, count) = (self.what(key), self.next_count());
        let Some(bucket) = self.buckets.get_mut(&key) else { return (0, true) };
        let before = (bucket.waiting.len(), bucket.position);
        match ServerError::check(part.error_code, part.error_message.as_deref()) {
            Err(error) => {
                let text = error.message.unwrap_or_else(|| usual_text(error.code).to_owned());
                rejected(cx, bucket, what, error.code, text.into());
            }
            Ok(()) => match part.remote_log_fetch_info.take() {
                Some(info) => {
                    if part.high_watermark.is_some() {
                        bucket.high_watermark = part.high_watermark;
                    }
                    send_to_remote(cx, server, key, bucket, info);
                }
                None => read_records(cx, server, frame, (key, bucket), part, &self.options),
            },
        }
        let added = bucket.waiting.len() - before.0;
        if added > 0 {
            bucket.served = count;
        }
        self.moved |= bucket.position != before.1;
        let quiet = (bucket.waiting.len(), bucket.position) == before
            && bucket.error.is_none()
            && bucket.remote.is_none()
            && bucket.not_before <= cx.now;
        if bucket.is_ready() {
            self.line_up(key);
        }
        (added, quiet)
    }
}

fn read_records(
    cx: &mut Cx<'_>,
    server: &Arc<str>,
    frame: u64,
    (key, bucket): (BucketKey, &mut Bucket),
    part: PbFetchLogRespForBucket,
    options: &ScannerOptions,
) {
    bucket.succeeded();
    if part.high_watermark.is_some() {
        bucket.high_watermark = part.high_watermark;
    }
    let (start, needed) = (bucket.fetch_offset, bucket.needed);
    let mut batches = LogBatches::new(part.records.unwrap_or_default())
        .max_batch_size(cx.config.max_frame_bytes.saturating_sub(FRAME_OVERHEAD))
        .starting_at(bucket.first_wanted());
    let end = bucket.high_watermark.filter(|_| options.filter.is_some());
    let mut beyond = false;
    for batch in &mut batches {
        match batch {
            Ok(batch) if end.is_some_and(|end| batch.base_offset() >= end) => {
                // Where a filter leaves a whole segment out, servers go on in the next one,
                // whatever is replicated of it. All before this batch was looked at.
                beyond = true;
                break;
            }
            Ok(batch) => {
                let fetched = FetchedBatch {
                    bucket: key,
                    start_offset: bucket.first_wanted(),
                    next_offset: batch.next_offset(),
                    high_watermark: bucket.high_watermark,
                    projected: bucket.projected,
                    batch,
                };
                // Columns are only ever added, so what follows is no older.
                let batch = &fetched.batch;
                let older = batch.schema_id() < options.projection_schema;
                bucket.whole &= older || batch.record_count() == 0;
                bucket.push(fetched, frame);
            }
            Err(error) => {
                let size = size_of_cut_batch(&batches.rest());
                let larger = size > cx.config.max_frame_bytes.saturating_sub(FRAME_OVERHEAD);
                let error = if larger {
                    larger_than_frames(cx, server, size)
                } else {
                    Error::Batch(BatchError::Record(error))
                };
                return bucket.fail(error);
            }
        }
    }
    bucket.needed = if beyond { 0 } else { size_of_cut_batch(&batches.rest()) };
    if let Some(end) = part.filtered_end_offset.max(end.filter(|_| beyond)) {
        bucket.skip_to(bucket.high_watermark.map_or(end, |hw| end.min(hw)));
    }
    let whole_batches = bucket.projected || options.filter.is_some();
    bucket.alone = whole_batches && bucket.fetch_offset == start && bucket.has_more();
    if bucket.fetch_offset != start {
        bucket.progressed();
    } else if bucket.has_more() && bucket.needed <= needed {
        fruitless(cx, server, key, bucket);
    }
}

/// No answer could bring such a batch.
fn larger_than_frames(cx: &Cx<'_>, server: &Arc<str>, size: usize) -> Error {
    let limit = cx.config.max_frame_bytes;
    peer(
        server,
        format!(
            "the batch has {size} bytes, and frames, which hold {FRAME_OVERHEAD} bytes beside it, \
             have at most {limit} bytes; raise the limit on the size of a frame"
        ),
    )
}

/// The size of the batch that did not fit into the answer; 0 if it cannot be told.
pub(super) fn size_of_cut_batch(rest: &[u8]) -> usize {
    // base offset: 8 bytes, length of what follows: 4 bytes
    let length = rest.get(8..12).and_then(|b| b.try_into().ok()).map_or(0, i32::from_le_bytes);
    usize::try_from(length).map_or(0, |length| if length == 0 { 0 } else { length + 12 })
}

/// Nothing came although the high watermark says that something is there. It may be that other
/// buckets used up the answer; if it goes on, the offset can be reached by no fetch.
pub(super) fn fruitless(cx: &mut Cx<'_>, server: &Arc<str>, key: BucketKey, bucket: &mut Bucket) {
    bucket.fruitless += 1;
    match bucket.fruitless {
        // In the next request all that is sure to come will fit.
        1 => return,
        2..=PATIENCE => return bucket.retry(cx),
        _ => {}
    }
    let hw = bucket.high_watermark.unwrap_or_default();
    let offset = bucket.fetch_offset;
    bucket.fail(peer(
        server,
        format!(
            "{key} has records up to offset {hw} (exclusive), but {PATIENCE} fetches from offset \
             {offset} brought none; it may exist in the lake only"
        ),
    ));
}

/// An error that may go away by itself, but not for ever.
pub(super) fn unexplained(cx: &mut Cx<'_>, bucket: &mut Bucket, error: Error) {
    bucket.unexplained += 1;
    if bucket.unexplained > PATIENCE { bucket.fail(error) } else { refused(cx, bucket, error) }
}

fn rejected(
    cx: &mut Cx<'_>,
    bucket: &mut Bucket,
    what: Arc<str>,
    code: ErrorCode,
    message: Arc<str>,
) {
    let error = Error::Rejected { what, code, message };
    match code {
        ErrorCode::UNKNOWN_SERVER_ERROR => unexplained(cx, bucket, error),
        // An old leader, or one that does not know yet that it leads.
        ErrorCode::FENCED_LEADER_EPOCH_EXCEPTION => refused(cx, bucket, error),
        // Stored batches that are older than a column. What is asked for whole is not refused so.
        ErrorCode::INVALID_COLUMN_PROJECTION if bucket.projected => bucket.whole = true,
        // The stored bytes are damaged: the next fetch reads the same ones.
        ErrorCode::CORRUPT_MESSAGE | ErrorCode::CORRUPT_RECORD_EXCEPTION => bucket.fail(error),
        _ if code.is_retriable() => refused(cx, bucket, error),
        _ => bucket.fail(error),
    }
}

fn refused(cx: &mut Cx<'_>, bucket: &mut Bucket, error: Error) {
    bucket.last = Some(error);
    bucket.retry_elsewhere(cx);
}

fn usual_text(code: ErrorCode) -> &'static str {
    code.info().map_or("no explanation", |info| info.meaning)
}

pub(super) fn peer(server: &Arc<str>, what: String) -> Error {
    Error::Peer { server: Arc::clone(server), what: what.into() }
}
