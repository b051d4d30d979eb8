use std::collections::{BTreeMap, VecDeque};

use super::bucket::{Bucket, Waiting};
use super::plan::Server;
use super::remote::Read;
use super::types::{BucketProgress, EARLIEST, ScanError, ScannerOptions, TakeLimits, Taken};
use super::{Leaders, Outputs};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::ids::{BucketKey, ScannerKey, ServerId};
use crate::output::Event;
use crate::time::Instant;

/// A fetch on its way.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) server: ServerId,
    /// When it was sent.
    pub(super) since: Instant,
    /// The buckets in it, with the generation of their subscription.
    pub(super) buckets: Vec<(BucketKey, u64)>,
    /// Bytes that the answer may have.
    pub(super) bytes: u64,
    /// An answer that brings nothing is not due before.
    pub(super) quiet_until: Instant,
}

/// A frame of which batches are waiting. All its memory stays until the last one is taken, so all
/// of it counts until then.
#[derive(Clone, Copy, Debug)]
struct Frame {
    bytes: u64,
    batches: usize,
    remote: bool,
}

/// The machine of one scanner.
#[derive(Debug)]
pub(super) struct Scanner {
    pub(super) options: ScannerOptions,
    pub(super) buckets: BTreeMap<BucketKey, Bucket>,
    pub(super) servers: BTreeMap<ServerId, Server>,
    pub(super) fetches: BTreeMap<u64, Fetch>,
    /// Reads from remote storage on their way, also those that nobody waits for any more.
    pub(super) reads: BTreeMap<u64, Read>,
    /// When the first of them may have taken too long.
    pub(super) read_timer: Option<Instant>,
    /// When it is looked next whether servers have been silent for too long.
    pub(super) patience_timer: Option<Instant>,
    frames: BTreeMap<u64, Frame>,
    /// Bytes of all frames.
    buffered: u64,
    /// Those from remote storage.
    buffered_remote: u64,
    /// The frames of the batches that were taken last: whoever took them works on them still.
    lent: Vec<u64>,
    /// Buckets with something to take; the first is next.
    ready: VecDeque<BucketKey>,
    /// Whether somebody was told of it and has not found it empty since.
    told: bool,
    /// Whether a position moved without a batch.
    pub(super) moved: bool,
    /// Counts subscriptions and answers with data.
    pub(super) count: u64,
}

impl Scanner {
    pub(super) fn new(options: ScannerOptions) -> Self {
        Self {
            options,
            buckets: BTreeMap::new(),
            servers: BTreeMap::new(),
            fetches: BTreeMap::new(),
            reads: BTreeMap::new(),
            read_timer: None,
            patience_timer: None,
            frames: BTreeMap::new(),
            buffered: 0,
            buffered_remote: 0,
            lent: Vec::new(),
            ready: VecDeque::new(),
            told: false,
            moved: false,
            count: 0,
        }
    }

    pub(super) fn next_count(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    pub(super) fn buffered(&self) -> u64 {
        self.buffered
    }

    /// Why the last fetch of a bucket brought nothing, if it failed.
    pub(super) fn trouble(&self, bucket: BucketKey) -> Option<Error> {
        self.buckets.get(&bucket)?.last.clone()
    }

    pub(super) fn buffered_remote(&self) -> u64 {
        self.buffered_remote
    }

    /// Bytes of the live log that are here or may be on their way.
    pub(super) fn live_bytes(&self) -> u64 {
        let coming: u64 = self.fetches.values().map(|fetch| fetch.bytes).sum();
        self.buffered - self.buffered_remote + coming
    }

    pub(super) fn progress(&self, bucket: BucketKey) -> Option<BucketProgress> {
        self.buckets.get(&bucket).map(Bucket::progress)
    }

    pub(super) fn subscribe(&mut self, bucket: BucketKey, offset: i64) -> Result<()> {
        if bucket.table != self.options.table || bucket.bucket < 0 {
            let path = &self.options.path;
            return Err(Error::misuse(format!("{bucket} is no bucket of {path}")));
        }
        if offset < 0 && offset != EARLIEST {
            return Err(Error::misuse(format!(
                "{bucket}: {offset} is no offset; use one from 0 on, or {EARLIEST} for the earliest"
            )));
        }
        self.unsubscribe(bucket);
        let generation = self.next_count();
        // It is served after those that wait already.
        let fresh = Bucket::new(generation, offset, generation, self.options.patience);
        self.buckets.insert(bucket, fresh);
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self, bucket: BucketKey) {
        if let Some(old) = self.buckets.remove(&bucket) {
            self.ready.retain(|b| *b != bucket);
            self.release(old.waiting);
        }
    }

    pub(super) fn stop(&mut self, bucket: BucketKey, position: i64) {
        let generation = self.next_count();
        if let Some(old) = self.buckets.get_mut(&bucket) {
            let mut stopped = Bucket::new(generation, position, generation, None);
            stopped.stopped = true;
            stopped.high_watermark = old.high_watermark;
            let old = std::mem::replace(old, stopped);
            self.ready.retain(|b| *b != bucket);
            self.release(old.waiting);
        }
    }

    fn release(&mut self, batches: impl IntoIterator<Item = Waiting>) {
        batches.into_iter().for_each(|batch| self.release_one(batch.frame));
    }

    fn release_one(&mut self, id: u64) {
        let Some(frame) = self.frames.get_mut(&id) else { return };
        frame.batches -= 1;
        if frame.batches == 0 {
            self.buffered -= frame.bytes;
            if frame.remote {
                self.buffered_remote -= frame.bytes;
            }
            self.frames.remove(&id);
        }
    }

    /// Charges a frame of which so many batches wait.
    pub(super) fn charge(&mut self, frame: u64, bytes: u64, batches: usize) {
        if batches > 0 {
            self.frames.insert(frame, Frame { bytes, batches, remote: false });
            self.buffered += bytes;
        }
    }

    /// The same for a part of an object in remote storage.
    pub(super) fn charge_remote(&mut self, part: u64, bytes: u64, batches: usize) {
        if batches > 0 {
            self.frames.insert(part, Frame { bytes, batches, remote: true });
            self.buffered += bytes;
            self.buffered_remote += bytes;
        }
    }

    /// Puts a bucket in line for being taken if it was not.
    pub(super) fn line_up(&mut self, bucket: BucketKey) {
        if !self.ready.contains(&bucket) {
            self.ready.push_back(bucket);
        }
    }

    pub(super) fn take(&mut self, limits: TakeLimits) -> Taken {
        for frame in std::mem::take(&mut self.lent) {
            self.release_one(frame);
        }
        let mut taken = Taken::default();
        let mut bytes = 0;
        while taken.batches.len() < limits.max_batches.max(1)
            && (bytes < limits.max_bytes || taken.batches.is_empty())
        {
            let Some(key) = self.ready.pop_front() else { break };
            let Some(bucket) = self.buckets.get_mut(&key) else { continue };
            let batch = bucket.pop();
            if batch.is_none()
                && let Some(error) = bucket.error.take()
            {
                taken.errors.push(ScanError::new(key, bucket.position, error));
            }
            if bucket.is_ready() {
                self.ready.push_back(key);
            }
            if let Some(batch) = batch {
                bytes += batch.fetched.batch.size();
                taken.batches.push(batch.fetched);
                self.lent.push(batch.frame);
            }
        }
        if !taken.batches.is_empty() {
            self.servers.values_mut().for_each(Server::drained);
        }
        self.moved = false;
        self.told &= !self.ready.is_empty();
        taken
    }

    /// Reports that there is something to take, once until somebody looked.
    pub(super) fn tell(&mut self, key: ScannerKey, out: &mut Outputs) {
        if !self.told && (self.moved || !self.ready.is_empty()) {
            self.told = true;
            out.events.push_back(Event::ScanReady { scanner: key });
        }
    }

    pub(super) fn handle_metadata(&mut self, leaders: &impl Leaders) {
        for (key, bucket) in &mut self.buckets {
            // Without a leader the one known last is tried: it may be known again there first.
            if let Some(leader) = leaders.leader_of(*key) {
                bucket.leader = Some(leader);
                bucket.of = leaders.buckets_beside(*key);
            }
        }
        for server in self.servers.values_mut() {
            server.flush_wanted = false;
        }
    }

    /// True if it concerns this scanner.
    pub(super) fn handle_unreachable(&mut self, server: ServerId, error: &Error) -> bool {
        for bucket in self.buckets.values_mut().filter(|b| b.leader == Some(server)) {
            // Remote storage is read without it.
            if bucket.remote.is_none() {
                bucket.last = Some(error.clone());
            }
            bucket.leader = None;
            bucket.stale = true;
        }
        match self.servers.get_mut(&server) {
            Some(entry) => {
                entry.flush_wanted = false;
                true
            }
            None => false,
        }
    }

    /// True if it concerns this scanner. Its buckets pause, as what is known of them may still name
    /// this server.
    pub(super) fn handle_absent(&mut self, cx: &mut Cx<'_>, server: ServerId) -> bool {
        let of_it = |bucket: &&mut Bucket| bucket.leader == Some(server) && bucket.is_idle();
        self.buckets.values_mut().filter(of_it).for_each(|bucket| bucket.retry_elsewhere(cx));
        self.servers.get_mut(&server).map(|entry| entry.flush_wanted = false).is_some()
    }

    /// True if it concerns this scanner.
    pub(super) fn handle_gone(&mut self, gone: impl Fn(&BucketKey) -> bool, error: &Error) -> bool {
        let mut hit = Vec::new();
        for (key, bucket) in &mut self.buckets {
            if !bucket.stopped && gone(key) {
                bucket.fail(error.clone());
                hit.push(*key);
            }
        }
        hit.iter().for_each(|key| self.line_up(*key));
        !hit.is_empty()
    }
}
