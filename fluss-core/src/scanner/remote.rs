//! Records whose segments were moved to remote storage.
//!
//! Where a server has no records of its own for an offset, it names segments: files with batches
//! exactly as they were stored. They are read one after the other, a part at a time, by whoever
//! obeys [`Action::ReadRemote`](crate::Action::ReadRemote); behind the last one the live log is
//! fetched again, from the next offset on. A part that came short is gone on with where it ended.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use fluss_proto::message::{PbRemoteLogFetchInfo, PbRemoteLogSegment};
use fluss_proto::record::LogBatches;

use super::Outputs;
use super::answer::{FRAME_OVERHEAD, PATIENCE, fruitless, peer, size_of_cut_batch, unexplained};
use super::bucket::Bucket;
use super::plan::MIN_ANSWER;
use super::scanner::Scanner;
use super::token::{Access, Tokens};
use super::types::{EARLIEST, FetchedBatch};
use crate::batch::BatchError;
use crate::cx::Cx;
use crate::error::Error;
use crate::ids::{BucketKey, ReadId, ScannerKey};
use crate::storage::{ObjectPart, StorageError, StorageErrorKind, StorageToken, is_foreign};
use crate::time::Instant;

/// Reads of one scanner at once.
const MAX_READS: usize = 4;
/// Times in a row that a bucket may be sent to objects that are not there.
const MISSING: u32 = 3;

/// The segments that hold a bucket's next records.
#[derive(Debug)]
pub(super) struct Remote {
    /// Who named them.
    server: Arc<str>,
    dir: String,
    /// The first is being read.
    segments: VecDeque<PbRemoteLogSegment>,
    /// Bytes of the first segment that are done with.
    at: u64,
    /// Bytes behind them: the beginning of a batch.
    held: Bytes,
    /// The read on its way.
    reading: Option<u64>,
    /// The offset from which they were asked for.
    since: i64,
}

impl Remote {
    pub(super) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    pub(super) fn held_bytes(&self) -> u64 {
        self.held.len() as u64
    }

    /// The part to read next, of at most so many bytes unless a batch is larger.
    fn next_part(
        &self,
        cx: &Cx<'_>,
        usual: usize,
        token: Option<Arc<StorageToken>>,
    ) -> Option<ObjectPart> {
        let segment = self.segments.front()?;
        let from = self.at + self.held.len() as u64;
        let missing = size_of_cut_batch(&self.held).saturating_sub(self.held.len());
        let left = usize::try_from(size_of(segment).saturating_sub(from)).unwrap_or(usize::MAX);
        let (dir, id) = (self.dir.trim_end_matches('/'), &segment.remote_log_segment_id);
        let object = format!("{dir}/{id}/{:020}.log", segment.remote_log_start_offset);
        let len = usual.max(missing).min(left);
        Some(ObjectPart::new(object, from, len, cx.config.request_deadline).token(token))
    }

    /// Whether the first segment was read to its end, which is passed over then.
    fn ends_segment(&mut self) -> bool {
        let end = self.segments.front().map(size_of);
        if end.is_none_or(|end| self.at < end) {
            return false;
        }
        self.segments.pop_front();
        self.at = 0;
        true
    }
}

fn size_of(segment: &PbRemoteLogSegment) -> u64 {
    u64::try_from(segment.segment_size_in_bytes).unwrap_or(0)
}

/// A read on its way.
#[derive(Debug)]
pub(super) struct Read {
    bucket: BucketKey,
    generation: u64,
    part: ObjectPart,
    until: Instant,
}

/// The server says that the records are in remote storage.
pub(super) fn send_to_remote(
    cx: &mut Cx<'_>,
    server: &Arc<str>,
    key: BucketKey,
    bucket: &mut Bucket,
    info: PbRemoteLogFetchInfo,
) {
    let mut first = true;
    let mut remote = Remote {
        server: Arc::clone(server),
        dir: info.remote_log_tablet_dir,
        segments: VecDeque::new(),
        at: 0,
        held: Bytes::new(),
        reading: None,
        since: bucket.fetch_offset,
    };
    let (mut next, mut sound) = (bucket.first_wanted(), true);
    for segment in info.remote_log_segments {
        let start = std::mem::take(&mut first).then_some(info.first_start_pos).flatten();
        if segment.remote_log_end_offset <= next {
            continue;
        }
        let start = u64::try_from(start.unwrap_or(0)).unwrap_or(u64::MAX);
        let is_first = remote.segments.is_empty();
        let follows =
            is_first && bucket.fetch_offset == EARLIEST || segment.remote_log_start_offset <= next;
        sound &= follows && segment.remote_log_start_offset >= 0 && start < size_of(&segment);
        next = segment.remote_log_end_offset;
        if is_first {
            remote.at = start;
        }
        remote.segments.push_back(segment);
    }
    if !sound || remote.segments.is_empty() {
        let offset = bucket.fetch_offset;
        let what = format!("{key}: segments in remote storage that do not hold offset {offset}");
        return unexplained(cx, bucket, peer(server, what));
    }
    bucket.succeeded();
    bucket.alone = false;
    bucket.needed = 0;
    bucket.remote = Some(Box::new(remote));
}

impl Scanner {
    /// Whether a bucket reads from remote storage, so that the live log has to leave it room.
    pub(super) fn is_remote(&self) -> bool {
        self.buckets.values().any(|bucket| bucket.remote.is_some())
    }

    /// Bytes from remote storage that are here or on their way.
    fn remote_bytes(&self) -> u64 {
        let reading: usize = self.reads.values().map(|read| read.part.len).sum();
        let remotes = self.buckets.values().filter_map(|bucket| bucket.remote.as_ref());
        let held: u64 = remotes.map(|remote| remote.held_bytes()).sum();
        self.buffered_remote() + reading as u64 + held
    }

    /// The largest part to read, but for larger batches.
    fn usual_part(&self) -> usize {
        let eighth = usize::try_from(self.options.buffer_limit / 8).unwrap_or(usize::MAX);
        self.options.max_bytes_per_bucket.min(eighth.max(MIN_ANSWER))
    }

    /// Reads what is due, as far as the budget allows. Half of it is for remote storage while the
    /// live log keeps within the other half; one read may always go.
    pub(super) fn read_remote(&mut self, cx: &mut Cx<'_>, key: ScannerKey, out: &mut Outputs) {
        let (share, half) = (self.share(), self.options.buffer_limit / 2);
        let mut due = Vec::new();
        for (name, bucket) in &self.buckets {
            let Some(remote) = &bucket.remote else { continue };
            if bucket.stopped || remote.is_reading() || bucket.waiting_bytes >= share {
                continue;
            }
            if bucket.not_before > cx.now {
                out.timers.insert((bucket.not_before, key));
                continue;
            }
            due.push((bucket.served, *name));
        }
        due.sort_unstable();
        let usual = self.usual_part();
        for (_, name) in due {
            let bytes = self.remote_bytes();
            let alone = self.reads.is_empty() && self.buffered_remote() == 0;
            let room = alone || bytes + usual as u64 <= half;
            if self.reads.len() >= MAX_READS || !room || self.live_bytes() > half {
                return;
            }
            let Access::Granted(access) = self.access(cx, key, name, out) else { continue };
            let token = out.next_token();
            let Some(bucket) = self.buckets.get_mut(&name) else { continue };
            let generation = bucket.generation;
            let Some(remote) = &mut bucket.remote else { continue };
            let Some(part) = remote.next_part(cx, usual, access) else { continue };
            remote.reading = Some(token);
            let until = cx.now + part.limit;
            out.reads.push_back((ReadId(token), Some(part.clone())));
            self.reads.insert(token, Read { bucket: name, generation, part, until });
        }
    }

    /// What a bucket reads its segments with. Those of this machine need nothing.
    fn access(
        &mut self,
        cx: &Cx<'_>,
        key: ScannerKey,
        name: BucketKey,
        out: &mut Outputs,
    ) -> Access {
        let Some(bucket) = self.buckets.get_mut(&name) else { return Access::Asked };
        if !bucket.remote.as_ref().is_some_and(|remote| is_foreign(&remote.dir)) {
            return Access::Granted(None);
        }
        let access = out.tokens.access(cx.now, key);
        match &access {
            Access::Granted(_) => {}
            Access::Asked => bucket.silence.begin(cx.now),
            Access::Later(error, at) => {
                without_token(cx, bucket, error, *at);
                if bucket.error.is_some() {
                    self.line_up(name);
                    self.tell(key, out);
                } else {
                    out.timers.insert((*at, key));
                }
            }
        }
        access
    }

    /// Gives up reads that take too long.
    pub(super) fn give_reads_up(&mut self, cx: &mut Cx<'_>, out: &mut Outputs) {
        let late = self.reads.iter().filter(|(_, read)| read.until <= cx.now);
        let late: Vec<u64> = late.map(|(token, _)| *token).collect();
        for token in late {
            let Some(read) = self.reads.remove(&token) else { continue };
            out.reads.push_back((ReadId(token), None));
            if let Some(bucket) = self.reader_of(&read, token) {
                let what = Arc::clone(&read.part.object);
                let last = bucket.last.take().map(Box::new);
                let error = Error::Unavailable { what, after: read.part.limit, last };
                bucket.last = Some(error);
                bucket.retry(cx);
            }
        }
    }

    /// Sees to it that reads are given up in time: with one timer for all of them, as most end long
    /// before.
    pub(super) fn time_reads(&mut self, now: Instant, key: ScannerKey, out: &mut Outputs) {
        if self.read_timer.is_none_or(|at| at <= now) {
            self.read_timer = self.reads.values().map(|read| read.until).min();
            out.timers.extend(self.read_timer.map(|at| (at, key)));
        }
    }

    /// Nobody waits for these reads any more.
    pub(super) fn drop_reads(&mut self, out: &mut Outputs) {
        out.reads.extend(self.reads.keys().map(|token| (ReadId(*token), None)));
        self.reads.clear();
    }

    /// The bucket that this read was for, if it waits for it still.
    fn reader_of(&mut self, read: &Read, token: u64) -> Option<&mut Bucket> {
        let bucket = self.buckets.get_mut(&read.bucket)?;
        let remote = bucket.remote.as_mut()?;
        if bucket.generation != read.generation || remote.reading != Some(token) {
            return None;
        }
        remote.reading = None;
        Some(bucket)
    }

    /// A read has ended. False if it is none of this scanner.
    pub(super) fn handle_read(
        &mut self,
        cx: &mut Cx<'_>,
        token: u64,
        result: &Result<Bytes, StorageError>,
        tokens: &mut Tokens,
    ) -> bool {
        let Some(read) = self.reads.remove(&token) else { return false };
        if let Err(error) = result
            && error.kind == StorageErrorKind::Denied
            && is_foreign(&read.part.object)
        {
            tokens.deny(cx, read.part.token.as_ref(), error);
        }
        let (key, count) = (read.bucket, self.next_count());
        let Some(bucket) = self.reader_of(&read, token) else { return true };
        let before = (bucket.waiting.len(), bucket.position);
        let bytes = match result {
            Ok(bytes) => read_part(cx, (key, &mut *bucket), &read.part, bytes.clone(), token),
            Err(error) => {
                storage_failed(cx, bucket, error.clone());
                0
            }
        };
        let added = bucket.waiting.len() - before.0;
        if added > 0 {
            bucket.served = count;
        }
        let (moved, ready) = (bucket.position != before.1, bucket.is_ready());
        self.charge_remote(token, bytes, added);
        self.moved |= moved;
        if ready {
            self.line_up(key);
        }
        true
    }
}

/// Takes what came of a part; the answer is the bytes that waiting batches keep alive.
fn read_part(
    cx: &mut Cx<'_>,
    (key, bucket): (BucketKey, &mut Bucket),
    part: &ObjectPart,
    mut bytes: Bytes,
    token: u64,
) -> u64 {
    bytes.truncate(part.len);
    if bytes.is_empty() {
        let what = format!("it ends at byte {}, and the server told of more", part.from);
        let error = StorageError::new(part, StorageErrorKind::Unavailable, what);
        put_up_with(cx, bucket, error);
        return 0;
    }
    bucket.succeeded();
    let Some(mut remote) = bucket.remote.take() else { return 0 };
    let before = bucket.fetch_offset;
    if !remote.held.is_empty() {
        let mut joined = BytesMut::with_capacity(remote.held.len() + bytes.len());
        joined.extend_from_slice(&remote.held);
        joined.extend_from_slice(&bytes);
        bytes = joined.freeze();
    }
    let mut batches = LogBatches::new(bytes.clone())
        .max_batch_size(cx.config.max_frame_bytes.saturating_sub(FRAME_OVERHEAD))
        .starting_at(bucket.first_wanted());
    for batch in &mut batches {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                bucket.fail(Error::Batch(BatchError::Record(error)));
                return bytes.len() as u64;
            }
        };
        // Servers leave nothing out here, so a gap would be lost rows.
        if bucket.fetch_offset != EARLIEST && batch.base_offset() > bucket.fetch_offset {
            bucket.fail(gap(part, bucket.fetch_offset, batch.base_offset()));
            return bytes.len() as u64;
        }
        let fetched = FetchedBatch {
            bucket: key,
            start_offset: bucket.first_wanted(),
            next_offset: batch.next_offset(),
            high_watermark: bucket.high_watermark,
            projected: false,
            batch,
        };
        bucket.push(fetched, token);
        bucket.missing = 0;
    }
    if bucket.fetch_offset != before {
        bucket.progressed();
    }
    remote.at += batches.consumed() as u64;
    // In memory of its own, as it would keep all of the part alive.
    remote.held = Bytes::copy_from_slice(&batches.rest());
    go_on(cx, (key, bucket), part, remote);
    bytes.len() as u64
}

/// Goes on with the segment, the next one, or the live log.
fn go_on(
    cx: &mut Cx<'_>,
    (key, bucket): (BucketKey, &mut Bucket),
    part: &ObjectPart,
    mut remote: Box<Remote>,
) {
    let end = remote.segments.front().map_or(0, size_of);
    if remote.at < end && remote.at + remote.held_bytes() >= end {
        let what = format!("it ends at byte {end}, within a batch that begins at {}", remote.at);
        return bucket.fail(StorageError::new(part, StorageErrorKind::Unavailable, what).into());
    }
    if !remote.ends_segment() {
        bucket.remote = Some(remote);
        return;
    }
    let next = bucket.first_wanted();
    while remote.segments.front().is_some_and(|segment| segment.remote_log_end_offset <= next) {
        remote.segments.pop_front();
    }
    // Where the next one begins later, the server is asked who has what lies between.
    let follows = |segment: &PbRemoteLogSegment| segment.remote_log_start_offset <= next;
    if remote.segments.front().is_some_and(follows) {
        bucket.remote = Some(remote);
    } else if bucket.fetch_offset == remote.since {
        fruitless(cx, &remote.server, key, bucket);
    }
}

fn gap(part: &ObjectPart, wanted: i64, found: i64) -> Error {
    let what = format!("offsets {wanted} to {found} (exclusive) are missing in it");
    StorageError::new(part, StorageErrorKind::Unavailable, what).into()
}

fn storage_failed(cx: &mut Cx<'_>, bucket: &mut Bucket, error: StorageError) {
    match error.kind {
        StorageErrorKind::NotFound => {
            bucket.missing += 1;
            if bucket.missing > MISSING {
                return bucket.fail(error.into());
            }
            // It may have expired or been moved since the server told of it.
            bucket.remote = None;
            bucket.last = Some(error.into());
            bucket.retry(cx);
        }
        StorageErrorKind::Denied => put_up_with(cx, bucket, error),
        StorageErrorKind::Unsupported => bucket.fail(error.into()),
        StorageErrorKind::Unavailable => {
            bucket.last = Some(error.into());
            bucket.retry(cx);
        }
    }
}

/// There is no token of use; the servers are asked again at this time.
fn without_token(cx: &Cx<'_>, bucket: &mut Bucket, error: &Error, at: Instant) {
    match error {
        // They would say the same again.
        Error::Unsupported { .. } | Error::Closed(_) => return bucket.fail(error.clone()),
        // Out of reach, as they may be for any question.
        Error::Unavailable { .. } | Error::Disconnected { .. } | Error::NoServer(_) => {}
        // Counted when it was denied.
        Error::Storage(_) => {}
        _ => {
            bucket.unexplained += 1;
            if bucket.unexplained > PATIENCE {
                return bucket.fail(error.clone());
            }
        }
    }
    bucket.silence.trouble(cx.now);
    bucket.not_before = at;
    bucket.last = Some(error.clone());
}

/// An error that may go away by itself, but not for ever.
fn put_up_with(cx: &mut Cx<'_>, bucket: &mut Bucket, error: StorageError) {
    bucket.unexplained += 1;
    if bucket.unexplained > PATIENCE {
        return bucket.fail(error.into());
    }
    bucket.last = Some(error.into());
    bucket.retry(cx);
}
