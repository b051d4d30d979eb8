//! SCAN_KV: a bucket's rows as they were at one moment, in pieces, over a session.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fluss_proto::message::{PbScanReqForBucket, ScanKvRequest, ScanKvResponse};

use super::acls::operation;
use super::api::code;
use super::kv::{Row, value_batch};
use super::write::{tablet, unknown_bucket};
use super::{Answer, Failure, FakeCluster, Fault, bucket_error};
use crate::ids::{BucketKey, ConnId, PartitionId, ServerId, TableId};
use crate::time::Instant;

/// Sessions that a bucket and a server hold at most, and bytes of one answer.
const PER_BUCKET: usize = 8;
const PER_SERVER: usize = 200;
const MAX_BATCH: usize = 10 << 20;

/// The sessions of all servers.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    open: BTreeMap<Bytes, Session>,
    next: u64,
}

#[derive(Clone, Debug)]
struct Session {
    bucket: BucketKey,
    server: i32,
    /// The epoch of the leader that made it.
    epoch: i32,
    rows: VecDeque<Row>,
    next_call: i32,
    used: Instant,
}

impl Sessions {
    /// What a server forgets when it stops.
    pub(super) fn forget(&mut self, server: i32) {
        self.open.retain(|_, session| session.server != server);
    }

    /// The bucket that a session scans.
    pub(super) fn bucket(&self, id: &Bytes) -> Option<BucketKey> {
        self.open.get(id).map(|session| session.bucket)
    }
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(code::INVALID_SCAN_REQUEST, message)
}

impl FakeCluster {
    /// How many scan sessions are open, on all servers.
    #[must_use]
    pub fn scan_sessions(&self) -> usize {
        self.sessions.open.len()
    }

    /// Every error is told in the body, and ends the session that it concerns.
    pub(super) fn scan_kv(
        &mut self,
        conn: ConnId,
        server: ServerId,
        fault: Option<Fault>,
        request: &ScanKvRequest,
    ) -> Answer<ScanKvResponse> {
        let answer = match self.injected(fault) {
            Some(failure) => Err(failure),
            None => self.scanned(conn, tablet(server), request),
        };
        let ended = answer.as_ref().map_or(true, |answer| answer.has_more_results != Some(true));
        if let Some(id) = request.scanner_id.as_ref().filter(|_| ended) {
            self.sessions.open.remove(id);
        }
        answer.or_else(|failure| {
            let (error_code, error_message) = bucket_error(&Err(failure));
            Ok(ScanKvResponse { error_code, error_message, ..ScanKvResponse::default() })
        })
    }

    fn scanned(
        &mut self,
        conn: ConnId,
        server: i32,
        request: &ScanKvRequest,
    ) -> Answer<ScanKvResponse> {
        let (id, open) = (request.scanner_id.as_ref(), request.bucket_scan_req.as_ref());
        if request.close_scanner == Some(true) {
            return match id {
                Some(_) => Ok(ScanKvResponse::default()),
                None => Err(invalid("nothing to close is named")),
            };
        }
        let size = request.batch_size_bytes.and_then(|size| usize::try_from(size).ok());
        let size = size.filter(|size| *size > 0).ok_or_else(|| invalid("no batch size"))?;
        let call = request.call_seq_id.ok_or_else(|| invalid("no call number"))?;
        match (id, open) {
            (None, Some(open)) => self.open_scan(conn, server, open, call, size.min(MAX_BATCH)),
            (Some(id), None) => self.go_on(server, id, call, size.min(MAX_BATCH)),
            _ => Err(invalid("either a session or a bucket must be named")),
        }
    }

    fn open_scan(
        &mut self,
        conn: ConnId,
        server: i32,
        request: &PbScanReqForBucket,
        call: i32,
        size: usize,
    ) -> Answer<ScanKvResponse> {
        let key = BucketKey {
            table: TableId(request.table_id),
            partition: request.partition_id.map(PartitionId),
            bucket: request.bucket_id,
        };
        if call != 0 {
            return Err(invalid(format!("the first call has the number {call}")));
        }
        self.authorize_table(conn, operation::READ, request.table_id)?;
        self.serves(server, key)?;
        self.routed(key, request.routing_bucket_count)?;
        let bucket = self.catalog.buckets.get(&key).ok_or_else(|| unknown_bucket(key))?;
        let Some(kv) = &bucket.kv else {
            let message = format!("{key} is of a table without primary key");
            return Err(Failure::new(code::NOT_PRIMARY_KEY_TABLE, message));
        };
        let limit = request.limit.and_then(|limit| usize::try_from(limit).ok());
        let limit = limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let mut rows: VecDeque<Row> = kv.first(limit).cloned().collect();
        let (epoch, log_offset) = (bucket.leader.epoch, Some(bucket.log.high_watermark));
        self.expire_sessions();
        let count = |of: &dyn Fn(&Session) -> bool| {
            self.sessions.open.values().filter(|session| of(session)).count()
        };
        if count(&|s| s.bucket == key) >= PER_BUCKET || count(&|s| s.server == server) >= PER_SERVER
        {
            return Err(Failure::new(code::TOO_MANY_SCANNERS, format!("{key} is being scanned")));
        }
        if rows.is_empty() {
            let has_more_results = Some(false);
            return Ok(ScanKvResponse { has_more_results, log_offset, ..Default::default() });
        }
        let records = Some(piece(&mut rows, size));
        let has_more_results = Some(!rows.is_empty());
        let scanner_id = Bytes::from(format!("{:032x}", self.sessions.next));
        self.sessions.next += 1;
        if !rows.is_empty() {
            let used = self.now;
            let session = Session { bucket: key, server, epoch, rows, next_call: 1, used };
            self.sessions.open.insert(scanner_id.clone(), session);
        }
        let scanner_id = Some(scanner_id);
        Ok(ScanKvResponse {
            scanner_id,
            has_more_results,
            records,
            log_offset,
            ..Default::default()
        })
    }

    fn go_on(&mut self, server: i32, id: &Bytes, call: i32, size: usize) -> Answer<ScanKvResponse> {
        let now = self.now;
        let ttl = self.options.scan_ttl;
        let session = self.sessions.open.get_mut(id).filter(|session| session.server == server);
        let Some(session) = session else {
            return Err(Failure::new(code::UNKNOWN_SCANNER, "there is no such session"));
        };
        if now - session.used >= ttl {
            return Err(Failure::new(code::SCANNER_EXPIRED, "the session was idle for too long"));
        }
        let bucket = self.catalog.buckets.get(&session.bucket);
        let leader = bucket.ok_or_else(|| unknown_bucket(session.bucket))?.leader;
        if (leader.server, leader.epoch) != (server, session.epoch) {
            let message = format!("tablet server {server} leads {} no more", session.bucket);
            return Err(Failure::new(code::NOT_LEADER, message));
        }
        if call != session.next_call {
            return Err(invalid(format!("call {call} instead of {}", session.next_call)));
        }
        session.next_call += 1;
        session.used = now;
        let records = Some(piece(&mut session.rows, size));
        let has_more_results = Some(!session.rows.is_empty());
        let scanner_id = Some(id.clone());
        Ok(ScanKvResponse { scanner_id, has_more_results, records, ..Default::default() })
    }

    fn expire_sessions(&mut self) {
        let (now, ttl) = (self.now, self.options.scan_ttl);
        self.sessions.open.retain(|_, session| now - session.used < ttl);
    }
}

/// The next rows: at least one, and no more than fit.
fn piece(rows: &mut VecDeque<Row>, size: usize) -> Bytes {
    let mut taken: Vec<Row> = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.front()
        && (taken.is_empty() || bytes + row.bytes.len() + 6 <= size)
    {
        bytes += row.bytes.len() + 6;
        taken.extend(rows.pop_front());
    }
    value_batch(taken.iter())
}
