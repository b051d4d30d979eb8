//! PRODUCE_LOG and PUT_KV: append, wait for the high watermark, answer all buckets at once.

use bytes::Bytes;
use fluss_proto::message::{
    LookupRequest, PbProduceLogRespForBucket, PbPutKvRespForBucket, ProduceLogRequest,
    ProduceLogResponse, PutKvRequest, PutKvResponse,
};
use prost::Message;
use std::collections::BTreeMap;
use std::time::Duration;

use super::api::code;
use super::batch::LogBatch;
use super::catalog::Bucket;
use super::conn::Outcome;
use super::dispatch::ReplyTo;
use super::log::Place;
use super::window::Verdict;
use super::{Answer, Appended, Bug, Failure, FakeCluster, Fault, Rule, Timer, bucket_error, words};
use crate::ids::{BucketKey, PartitionId, ServerId, TableId};
use crate::time::Instant;

/// A write that is answered once all its buckets are replicated.
#[derive(Debug)]
pub(super) struct HeldWrite {
    to: ReplyTo,
    server: i32,
    answering: Answering,
    deadline: Instant,
    applied: bool,
    buckets: Vec<HeldBucket>,
}

/// What a write was asked for by.
#[derive(Debug)]
pub(super) enum Answering {
    Produce,
    Put,
    /// A lookup that inserts what it does not find.
    Lookup(LookupRequest),
}

#[derive(Clone, Debug)]
pub(super) struct HeldBucket {
    pub(super) key: BucketKey,
    pub(super) result: Answer<Place>,
    settled: bool,
}

/// What a write request asks for besides its batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteRequest {
    pub(super) server: i32,
    pub(super) acks: i32,
    pub(super) table: i64,
    pub(super) timeout_ms: i32,
}

impl FakeCluster {
    pub(super) fn produce(&mut self, to: ReplyTo, server: ServerId, body: Bytes) {
        let Ok(request) = ProduceLogRequest::decode(body) else { return };
        // A second entry for a bucket replaces the first one, as in the server's map.
        let mut entries = BTreeMap::new();
        for b in request.buckets_req {
            let bucket = write_key(request.table_id, b.partition_id, b.bucket_id);
            entries.insert(bucket, (b.records, b.routing_bucket_count));
        }
        let write = WriteRequest {
            server: tablet(server),
            acks: request.acks,
            table: request.table_id,
            timeout_ms: request.timeout_ms,
        };
        self.write(to, write, entries, None);
    }

    pub(super) fn put(&mut self, to: ReplyTo, server: ServerId, version: i16, body: Bytes) {
        let Ok(request) = PutKvRequest::decode(body) else { return };
        let mut entries = BTreeMap::new();
        for b in request.buckets_req {
            let bucket = write_key(request.table_id, b.partition_id, b.bucket_id);
            entries.insert(bucket, (b.records, b.routing_bucket_count));
        }
        let write = WriteRequest {
            server: tablet(server),
            acks: request.acks,
            table: request.table_id,
            timeout_ms: request.timeout_ms,
        };
        let overwrite = request.agg_mode == Some(1);
        let columns = KvWrite { version, target_columns: request.target_columns, overwrite };
        self.write(to, write, entries, Some(&columns));
    }

    fn write(
        &mut self,
        to: ReplyTo,
        write: WriteRequest,
        entries: BTreeMap<BucketKey, (Bytes, Option<i32>)>,
        kv: Option<&KvWrite>,
    ) {
        if !matches!(write.acks, -1..=1) {
            let failure = Failure::new(code::INVALID_ACKS, words::invalid_acks(write.acks));
            return self.respond(to, Outcome::Refused(failure), false);
        }
        let version = kv.map_or(0, |kv| kv.version);
        let refusal = to.fault.and_then(|fault| fault.refusal(version));
        let mut buckets = Vec::with_capacity(entries.len());
        for (key, (records, by)) in entries {
            let keys = kv.map_or(Ok(()), |kv| self.knows_keys(write.server, kv.version, key));
            let routed = keys.and_then(|()| self.serves(write.server, key));
            let routed = routed.and_then(|()| self.routed(key, by));
            let result = match (refusal, kv) {
                (Some(code), _) => Err(Failure::new(code, "injected before the append")),
                _ if routed.is_err() => Err(routed.err().unwrap_or_else(|| unknown_bucket(key))),
                (None, None) => self.append_log(&write, key, records),
                (None, Some(kv)) => self.append_kv(&write, key, kv, &records),
            };
            buckets.push(HeldBucket::new(key, result));
        }
        if let Some(fault) = to.fault.filter(|_| refusal.is_some()) {
            self.faults.fired(fault);
        }
        let answering = if kv.is_some() { Answering::Put } else { Answering::Produce };
        self.hold(to, &write, buckets, answering);
    }

    /// Answers a write as soon as the acknowledgements that it asks for are there.
    pub(super) fn hold(
        &mut self,
        to: ReplyTo,
        write: &WriteRequest,
        buckets: Vec<HeldBucket>,
        answering: Answering,
    ) {
        let timeout = Duration::from_millis(u64::try_from(write.timeout_ms).unwrap_or(0));
        let held = HeldWrite {
            to,
            server: write.server,
            answering,
            deadline: self.now + timeout,
            applied: buckets.iter().any(|bucket| bucket.result.is_ok()),
            buckets,
        };
        self.hold_or_answer(held, write.acks);
    }

    fn hold_or_answer(&mut self, mut held: HeldWrite, acks: i32) {
        if held.applied && held.to.fault == Some(Fault::MoveLeaderAfter) {
            let moved = held.buckets.iter().find(|bucket| bucket.result.is_ok());
            let moved = moved.map(|bucket| bucket.key);
            if moved.is_some_and(|key| self.move_leader(key, None).is_some()) {
                self.faults.fired(Fault::MoveLeaderAfter);
            }
        }
        if acks == -1 && !self.settle(&mut held) {
            let token = self.token();
            self.set_timer(held.deadline, Timer::Write(token));
            self.held_writes.insert(token, held);
            return;
        }
        self.answer_write(held);
    }

    /// Sees which buckets have been decided; true when all have.
    fn settle(&self, held: &mut HeldWrite) -> bool {
        let min = self.options.min_in_sync;
        for waiting in held.buckets.iter_mut().filter(|bucket| !bucket.settled) {
            let Ok(place) = &waiting.result else { continue };
            let refused = match self.catalog.buckets.get(&waiting.key) {
                None => Some(unknown_bucket(waiting.key)),
                Some(bucket) if bucket.leader.server != held.server => {
                    Some(not_leader(held.server, waiting.key))
                }
                Some(bucket) if bucket.log.high_watermark <= place.last_offset => continue,
                Some(bucket) if bucket.in_sync.len() < min => {
                    // No words of a server are known: see the scripts' table of codes.
                    let message = "appended to too few in-sync replicas";
                    Some(Failure::new(code::NOT_ENOUGH_REPLICAS_AFTER_APPEND, message))
                }
                Some(_) => None,
            };
            waiting.settled = true;
            if let Some(failure) = refused
                && (failure.code != code::NOT_LEADER || self.enforces(Rule::LeaderCheck))
            {
                waiting.result = Err(failure);
            }
        }
        held.buckets.iter().all(|bucket| bucket.settled)
    }

    /// Looks at all held writes again after something has changed.
    pub(super) fn settle_writes(&mut self) {
        let mut held_writes = std::mem::take(&mut self.held_writes);
        let mut decided = Vec::new();
        for (token, held) in &mut held_writes {
            if self.settle(held) {
                decided.push(*token);
            }
        }
        self.held_writes = held_writes;
        for token in decided {
            if let Some(held) = self.held_writes.remove(&token) {
                self.answer_write(held);
            }
        }
    }

    pub(super) fn write_timed_out(&mut self, token: u64) {
        let Some(mut held) = self.held_writes.remove(&token) else { return };
        self.settle(&mut held);
        for bucket in held.buckets.iter_mut().filter(|bucket| !bucket.settled) {
            bucket.result = Err(Failure::new(code::REQUEST_TIME_OUT, words::TIMED_OUT));
        }
        self.answer_write(held);
    }

    /// Held writes that came over a server that has gone: nobody answers them.
    pub(super) fn forget_writes_of(&mut self, server: i32) {
        self.held_writes.retain(|_, held| held.server != server);
    }

    fn answer_write(&mut self, mut held: HeldWrite) {
        if let Some(fault @ Fault::ErrorAfter(code)) = held.to.fault
            && held.applied
        {
            self.faults.fired(fault);
            for bucket in held.buckets.iter_mut().filter(|bucket| bucket.result.is_ok()) {
                bucket.result = Err(Failure::new(code, "injected after the append"));
            }
        }
        if let Some(fault) = held.to.fault
            && held.talk_nonsense(fault)
        {
            self.faults.fired(fault);
        }
        let pressure = match held.to.fault {
            Some(fault @ Fault::Pressure(pressure)) if matches!(held.answering, Answering::Put) => {
                self.faults.fired(fault);
                Some(pressure)
            }
            _ => None,
        };
        let outcome = match &held.answering {
            Answering::Put => {
                let buckets_resp = held.buckets.iter().map(|b| b.put_answer(pressure)).collect();
                Outcome::answer(&PutKvResponse { buckets_resp })
            }
            Answering::Produce => {
                let buckets_resp = held.buckets.iter().map(HeldBucket::produce_answer).collect();
                Outcome::answer(&ProduceLogResponse { buckets_resp })
            }
            Answering::Lookup(request) => {
                Outcome::Answer(self.insert_answer(request, &held.buckets))
            }
        };
        // A copy of what is in the log already has no effect that an answer could be lost of.
        let is_new = |place: &Place| !place.duplicate;
        let applied = held.buckets.iter().any(|b| b.result.as_ref().is_ok_and(is_new));
        self.respond(held.to, outcome, applied);
    }

    fn append_log(
        &mut self,
        write: &WriteRequest,
        key: BucketKey,
        mut records: Bytes,
    ) -> Answer<Place> {
        self.serves(write.server, key)?;
        self.enough_in_sync(write, key)?;
        let check_crc = self.enforces(Rule::ChecksumCheck);
        let mut batches = Vec::with_capacity(1);
        let release = self.options.release;
        while let Some(batch) = LogBatch::split(&mut records, key, release, check_crc)? {
            batches.push(batch);
        }
        self.append(key, batches)
    }

    fn enough_in_sync(&self, write: &WriteRequest, key: BucketKey) -> Answer<()> {
        let Some(bucket) = self.catalog.buckets.get(&key).filter(|_| write.acks == -1) else {
            return Ok(());
        };
        if bucket.in_sync.len() >= self.options.min_in_sync {
            return Ok(());
        }
        let message = words::too_few_in_sync(&bucket.in_sync, write.acks, key);
        Err(Failure::new(code::NOT_ENOUGH_REPLICAS, message))
    }

    pub(super) fn check_write(&self, write: &WriteRequest, key: BucketKey) -> Answer<()> {
        self.serves(write.server, key)?;
        self.enough_in_sync(write, key)
    }

    /// Validates and appends batches of one entry. One duplicate among them and the whole entry is
    /// taken for a duplicate, as the server does.
    pub(super) fn append(&mut self, key: BucketKey, batches: Vec<LogBatch>) -> Answer<Place> {
        let now_ms = self.now_ms();
        let expiry = i64::try_from(self.options.writer_expiry.as_millis()).unwrap_or(i64::MAX);
        let Some(bucket) = self.catalog.buckets.get_mut(&key) else {
            return Err(unknown_bucket(key));
        };
        for batch in &batches {
            if bucket.log.writers.expire(batch.writer_id, now_ms, expiry) && self.journal.is_some()
            {
                self.forgotten.push_back((key, batch.writer_id, batch.sequence));
            }
            if let Verdict::Duplicate(stamp) = bucket.log.judge(batch, &self.off) {
                bucket.duplicates += 1;
                let place = bucket.log.duplicate(stamp, &self.off);
                if let Some(journal) = &mut self.journal {
                    journal.push_back(Appended::new(key, batch, place));
                }
                return Ok(place);
            }
        }
        let mut place: Option<Place> = None;
        for batch in batches {
            if let Verdict::OutOfOrder { last } = bucket.log.judge(&batch, &self.off) {
                let offset = bucket.log.end + i64::from(batch.last_offset_delta);
                let sequences = (batch.sequence, last);
                let message = words::out_of_order(batch.writer_id, offset, key, sequences);
                return Err(Failure::new(code::OUT_OF_ORDER_SEQUENCE, message));
            }
            let bug = next_bug(&mut self.bugs);
            let keep = !self.options.ack_only && bug != Some(Bug::LoseAcknowledged);
            let entry = self.journal.is_some().then(|| batch.clone());
            let next = append_one(bucket, batch, now_ms, keep, bug);
            if let (Some(journal), Some(batch)) = (&mut self.journal, entry) {
                journal.push_back(Appended::new(key, &batch, next));
            }
            place = Some(Place {
                base_offset: place.map_or(next.base_offset, |p| p.base_offset),
                ..next
            });
        }
        self.advance(key);
        // Without a batch there is nothing to wait for, and no offset either.
        Ok(place.unwrap_or(Place { base_offset: -1, last_offset: -1, duplicate: false }))
    }

    /// Whether this server answers for the bucket: 21 if there is none, 12 if another one leads.
    pub(super) fn serves(&self, server: i32, key: BucketKey) -> Answer<()> {
        let bucket = self.catalog.buckets.get(&key).ok_or_else(|| unknown_bucket(key))?;
        let leads = bucket.leader.server == server && bucket.serves_from <= self.now;
        if leads || !self.enforces(Rule::LeaderCheck) {
            return Ok(());
        }
        Err(not_leader(server, key))
    }

    /// Whether a client that speaks this version puts the keys of the bucket's table together as
    /// they have to be. Each server with a replica looks at that before it is asked who leads.
    pub(super) fn knows_keys(&self, server: i32, version: i16, key: BucketKey) -> Answer<()> {
        // Since version 1 there is one way.
        if version > 0 {
            return Ok(());
        }
        let bucket = self.catalog.buckets.get(&key);
        let there =
            bucket.is_some_and(|b| b.leader.server == server || b.replicas.contains(&server));
        match self.catalog.table_by_id(key.table.0).filter(|table| there && table.has_other_keys())
        {
            Some(table) => {
                let message = words::other_keys(version, &table.path);
                Err(Failure::new(code::UNSUPPORTED_VERSION, message))
            }
            None => Ok(()),
        }
    }
}

/// What a PUT_KV request says about all its batches.
#[derive(Clone, Debug)]
pub(super) struct KvWrite {
    pub(super) version: i16,
    pub(super) target_columns: Vec<i32>,
    /// Past the merge engine and the delete behaviour. Other modes than 1 are the default.
    pub(super) overwrite: bool,
}

impl HeldBucket {
    pub(super) fn new(key: BucketKey, result: Answer<Place>) -> Self {
        Self { key, settled: result.is_err(), result }
    }

    fn produce_answer(&self) -> PbProduceLogRespForBucket {
        let (error_code, error_message) = bucket_error(&self.result.clone().map(drop));
        PbProduceLogRespForBucket {
            partition_id: self.key.partition.map(|p| p.0),
            bucket_id: self.key.bucket,
            error_code,
            error_message,
            base_offset: self.result.as_ref().ok().map(|place| place.base_offset),
            original_partition_name: None,
        }
    }

    fn put_answer(&self, pressure: Option<f32>) -> PbPutKvRespForBucket {
        let (error_code, error_message) = bucket_error(&self.result.clone().map(drop));
        PbPutKvRespForBucket {
            partition_id: self.key.partition.map(|p| p.0),
            bucket_id: self.key.bucket,
            error_code,
            error_message,
            log_end_offset: self.result.as_ref().ok().map(|place| place.last_offset + 1),
            pressure: pressure.filter(|_| self.result.is_ok()),
            original_partition_name: None,
        }
    }
}

impl Appended {
    fn new(bucket: BucketKey, batch: &LogBatch, place: Place) -> Self {
        Self {
            bucket,
            writer_id: batch.writer_id,
            sequence: batch.sequence,
            rows: batch.count,
            base_offset: place.base_offset,
            last_offset: place.last_offset,
            duplicate: place.duplicate,
            bytes: batch.bytes.clone(),
        }
    }
}

impl HeldWrite {
    /// Makes the answer one that no server gives. False if the fault is of another kind.
    fn talk_nonsense(&mut self, fault: Fault) -> bool {
        let Some(first) = self.buckets.first().cloned() else { return false };
        match fault {
            Fault::ForeignBucket => {
                let key = BucketKey { bucket: first.key.bucket + 1000, ..first.key };
                self.buckets.push(HeldBucket { key, ..first });
            }
            Fault::RepeatedBucket => self.buckets.push(first),
            Fault::MissingBucket => drop(self.buckets.remove(0)),
            Fault::NegativeOffset => {
                for place in self.buckets.iter_mut().filter_map(|b| b.result.as_mut().ok()) {
                    (place.base_offset, place.last_offset) = (-1, -2);
                }
            }
            _ => return false,
        }
        true
    }
}

fn append_one(
    bucket: &mut Bucket,
    batch: LogBatch,
    now_ms: i64,
    keep: bool,
    bug: Option<Bug>,
) -> Place {
    bucket.rows_appended += u64::try_from(batch.count).unwrap_or(0);
    let again =
        (bug == Some(Bug::DoubleAppend)).then(|| LogBatch { writer_id: -1, ..batch.clone() });
    let place = bucket.log.append(batch, now_ms, keep);
    if let Some(batch) = again {
        bucket.log.append(batch, now_ms, keep);
    }
    place
}

/// The bug whose turn it is with this batch.
fn next_bug(bugs: &mut Vec<(u64, Bug)>) -> Option<Bug> {
    let due = bugs.iter().position(|(skip, _)| *skip == 0);
    for (skip, _) in bugs.iter_mut() {
        *skip = skip.saturating_sub(1);
    }
    due.map(|at| bugs.remove(at).1)
}

fn write_key(table: i64, partition: Option<i64>, bucket: i32) -> BucketKey {
    BucketKey { table: TableId(table), partition: partition.map(PartitionId), bucket }
}

pub(super) fn unknown_bucket(key: BucketKey) -> Failure {
    Failure::new(code::UNKNOWN_TABLE_OR_BUCKET, words::unknown_bucket(key))
}

fn not_leader(server: i32, key: BucketKey) -> Failure {
    Failure::new(code::NOT_LEADER, words::not_leader(server, key))
}

/// The number of a tablet server; the coordinator leads nothing.
pub(super) fn tablet(server: ServerId) -> i32 {
    match server {
        ServerId::Tablet(id) => id,
        _ => -1,
    }
}
