//! SCAN_KV: a server keeps a bucket's rows as they are at one moment, and gives them away piece by
//! piece.
//!
//! A piece cannot be asked for twice, and any error ends the session: what goes wrong is told to
//! the caller, who can only begin again, with the rows of another moment.

use std::sync::Arc;

use bytes::Bytes;
use fluss_proto::error_code::ServerError;
use fluss_proto::message::{PbScanReqForBucket, ScanKvRequest, ScanKvResponse};
use fluss_proto::record::{ValueBatch, Values};
use fluss_proto::{ApiKey, ErrorCode};
use prost::Message;

use crate::command::{Call, Target};
use crate::error::{Error, Result};
use crate::handle::fluss::{Fluss, decode};
use crate::handle::pending::CommandFuture;
use crate::handle::shared::Core;
use crate::ids::{BucketKey, TablePath};
use crate::time::Duration;

/// For an answer that nobody waits for.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// What an opened scan begins with.
pub(super) struct Opened {
    /// None: that is all.
    pub(super) session: Option<Session>,
    pub(super) values: Option<Values>,
    /// The changelog offset of the moment.
    pub(super) log_offset: Option<i64>,
}

/// An open session. Dropped before its end, it is closed, as far as the server can be reached.
pub(super) struct Session {
    fluss: Fluss,
    what: Arc<str>,
    bucket: BucketKey,
    id: Bytes,
    calls: i32,
    fetch_bytes: i32,
    open: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

/// Begins a scan of a bucket, which ends by itself after `limit` rows. `of` is the number of
/// buckets beside it, where it is known.
///
/// # Errors
/// [`Error::Unsupported`] by a server without such scans. Too many open sessions are waited for.
pub(super) async fn open(
    fluss: &Fluss,
    path: &TablePath,
    bucket: BucketKey,
    of: Option<i32>,
    fetch_bytes: i32,
    limit: Option<u64>,
) -> Result<Opened> {
    let (table, partition) = (bucket.table, bucket.partition);
    let known = |core: &mut Core, _| core.client.cluster().bucket_count(table, partition);
    let request = ScanKvRequest {
        bucket_scan_req: Some(PbScanReqForBucket {
            table_id: bucket.table.0,
            partition_id: bucket.partition.map(|partition| partition.0),
            bucket_id: bucket.bucket,
            limit: limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX)),
            routing_bucket_count: fluss.shared().with(known).or(of),
        }),
        call_seq_id: Some(0),
        batch_size_bytes: Some(fetch_bytes),
        ..ScanKvRequest::default()
    };
    let what: Arc<str> = match bucket.partition {
        Some(p) => format!("SCAN_KV {path} partition {p} bucket {}", bucket.bucket).into(),
        None => format!("SCAN_KV {path} bucket {}", bucket.bucket).into(),
    };
    let mut call = call(fluss, &request, bucket, &what);
    call.body_error = Some(body_error);
    call.later = Some(ErrorCode::TOO_MANY_SCANNERS);
    let answer: ScanKvResponse = decode(CommandFuture::start(fluss.shared(), call).await?, &what)?;
    let session = match (&answer.scanner_id, answer.has_more_results == Some(true)) {
        (_, false) => None,
        (Some(id), true) => Some(Session {
            fluss: fluss.clone(),
            what: Arc::clone(&what),
            bucket,
            id: id.clone(),
            calls: 0,
            fetch_bytes,
            open: true,
        }),
        (None, true) => {
            return Err(nonsense(&what, "more rows are announced, and no session to ask for them"));
        }
    };
    Ok(Opened { session, log_offset: answer.log_offset, values: values(&what, answer)? })
}

impl Session {
    /// The next rows, and whether there are more.
    ///
    /// # Errors
    /// Those after which [`is_lost`] tells that the session is over, and others.
    pub(super) async fn next(&mut self) -> Result<(Option<Values>, bool)> {
        self.calls = self.calls.wrapping_add(1);
        let request = ScanKvRequest {
            scanner_id: Some(self.id.clone()),
            call_seq_id: Some(self.calls),
            batch_size_bytes: Some(self.fetch_bytes),
            ..ScanKvRequest::default()
        };
        let mut call = call(&self.fluss, &request, self.bucket, &self.what);
        // The server counts: what it may have seen must not be asked for again.
        call.repeatable = false;
        let answer = CommandFuture::start(self.fluss.shared(), call).await;
        if let Err(Error::Rejected { .. }) = &answer {
            self.open = false;
        }
        let answer: ScanKvResponse = decode(answer?, &self.what)?;
        if let Some((code, message)) = error_of(&answer) {
            self.open = false;
            let (what, message) = (Arc::clone(&self.what), message.into());
            return Err(Error::Rejected { what, code, message });
        }
        self.open = answer.has_more_results == Some(true);
        let more = self.open;
        Ok((values(&self.what, answer)?, more))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let request = ScanKvRequest {
            scanner_id: Some(self.id.clone()),
            close_scanner: Some(true),
            ..ScanKvRequest::default()
        };
        let mut call = call(&self.fluss, &request, self.bucket, &self.what);
        call.limit = CLOSE_LIMIT;
        // Nobody hears the answer.
        self.fluss.shared().with(|core, now| core.client.call(call, now));
    }
}

/// Whether the rest of a session cannot be had any more, while a new one may do.
pub(super) fn is_lost(error: &Error) -> bool {
    match error {
        Error::Rejected { code, .. } => matches!(
            *code,
            ErrorCode::NOT_LEADER_OR_FOLLOWER
                | ErrorCode::LEADER_NOT_AVAILABLE_EXCEPTION
                | ErrorCode::UNKNOWN_TABLE_OR_BUCKET_EXCEPTION
                | ErrorCode::SCANNER_EXPIRED
                | ErrorCode::UNKNOWN_SCANNER_ID
                | ErrorCode::INVALID_SCAN_REQUEST
        ),
        Error::Disconnected { .. } | Error::Unavailable { .. } => true,
        _ => false,
    }
}

fn call(fluss: &Fluss, request: &ScanKvRequest, bucket: BucketKey, what: &str) -> Call {
    let body = request.encode_to_vec().into();
    let mut call = Call::new(ApiKey::ScanKv, body, Target::Leader(bucket), what);
    call.limit = fluss.config(|config| config.command_deadline);
    call.check = Some(check);
    call
}

fn error_of(answer: &ScanKvResponse) -> Option<(ErrorCode, String)> {
    let error = ServerError::check(answer.error_code, answer.error_message.as_deref()).err()?;
    let usual = || error.code.info().map_or("no explanation", |info| info.meaning).to_owned();
    let text = error.message.clone().filter(|text| !text.is_empty());
    Some((error.code, text.unwrap_or_else(usual)))
}

fn body_error(body: &[u8]) -> Option<(ErrorCode, String)> {
    error_of(&ScanKvResponse::decode(body).ok()?)
}

fn check(body: &[u8]) -> Result<(), String> {
    let answer = ScanKvResponse::decode(body);
    let answer = answer.map_err(|error| format!("an answer that does not parse: {error}"))?;
    read(answer.records).map(drop)
}

fn read(records: Option<Bytes>) -> Result<Option<Values>, String> {
    let Some(records) = records.filter(|records| !records.is_empty()) else { return Ok(None) };
    let batch = ValueBatch::new_checked(records);
    let batch = batch.map_err(|error| format!("rows that cannot be read: {error}"))?;
    Ok((batch.record_count() > 0).then(|| batch.values()))
}

fn values(what: &str, answer: ScanKvResponse) -> Result<Option<Values>> {
    read(answer.records).map_err(|why| nonsense(what, &why))
}

pub(super) fn nonsense(what: &str, why: &str) -> Error {
    Error::Peer { server: "server".into(), what: format!("{what}: {why}").into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_make_no_sense_are_told_from_errors_and_from_rows() {
        let answer = |records: &[u8]| ScanKvResponse {
            records: Some(Bytes::copy_from_slice(records)),
            ..ScanKvResponse::default()
        };
        let none = [5, 0, 0, 0, 0, 0, 0, 0, 0];
        for empty in [ScanKvResponse::default(), answer(&[]), answer(&none)] {
            assert!(values("it", empty.clone()).expect("no rows").is_none());
            assert_eq!(check(&empty.encode_to_vec()), Ok(()));
        }
        for records in [&[1][..], &[5, 0, 0, 0, 9, 0, 0, 0, 0], &[6, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(check(&answer(records).encode_to_vec()).is_err(), "{records:?}");
            assert!(values("it", answer(records)).is_err(), "{records:?}");
        }
        assert!(check(&[0xff]).is_err());
        let refused = ScanKvResponse {
            error_code: Some(66),
            error_message: Some(String::new()),
            ..ScanKvResponse::default()
        };
        let (code, text) = body_error(&refused.encode_to_vec()).expect("an error");
        assert_eq!(code, ErrorCode::SCANNER_EXPIRED);
        assert!(!text.is_empty());
    }
}
