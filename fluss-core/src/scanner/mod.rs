//! Log scanners: which buckets to fetch from which server, and what came.
//!
//! | room | what it decides |
//! |---|---|
//! | [`types`] | options, batches, errors, progress |
//! | [`bucket`] | one bucket: position, data waiting to be taken, when it may be fetched again |
//! | [`scanner`] | one scanner: byte budget, order of buckets, handing out |
//! | [`plan`] | what goes into the next fetch to a server |
//! | [`answer`] | what an answer means for each bucket |
//! | [`patience`] | when servers have been silent for too long |
//! | [`remote`] | records that servers moved to remote storage |
//! | [`token`] | the credentials for it, shared by all scanners |
//! | [`read`] | from batches to columns and rows, outside all locks |
//! | [`metadata_columns`] | columns that tell change type, offset and time |
//!
//! One fetch of a scanner is on its way to a server at a time, formed when the socket takes it.
//! Positions move only with batches that are taken, so nothing is lost whenever a caller gives up.

mod answer;
mod bucket;
mod metadata_columns;
mod padding;
mod patience;
mod plan;
mod read;
mod remote;
#[expect(clippy::module_inception, reason = "the machine of one scanner, next to that of all")]
mod scanner;
#[cfg(test)]
mod testkit;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_filter;
#[cfg(test)]
mod tests_patience;
#[cfg(test)]
mod tests_projection;
#[cfg(test)]
mod tests_random;
#[cfg(test)]
mod tests_remote;
#[cfg(test)]
mod tests_token;
mod token;
mod types;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

pub use metadata_columns::MetadataColumn;
pub(crate) use read::BatchReader;
pub use read::{ScanBatch, ScanRows};
pub use types::{
    BucketProgress, EARLIEST, FetchedBatch, ScanError, ScannerOptions, TakeLimits, Taken,
};

use scanner::Scanner;
use token::Tokens;

use crate::command::Call;
use crate::connection::request::{Outgoing, RequestError};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::ids::{BucketKey, CommandId, Labels, ReadId, ScannerKey, ServerId};
use crate::metadata::Cluster;
use crate::output::{CommandAnswer, Event, TimerReason};
use crate::storage::{ObjectPart, StorageError};
use crate::time::{Duration, Instant};
use crate::wish::ReadWish;

/// Who leads which bucket.
pub(crate) trait Leaders {
    /// The server to fetch this bucket from, if it is known.
    fn leader_of(&self, bucket: BucketKey) -> Option<ServerId>;

    /// The number of buckets of this one's table or partition, if it is known.
    fn buckets_beside(&self, _bucket: BucketKey) -> Option<i32> {
        None
    }

    /// How errors name the servers, as far as known.
    fn labels(&self) -> Arc<Labels> {
        Arc::default()
    }
}

impl Leaders for Cluster {
    fn leader_of(&self, bucket: BucketKey) -> Option<ServerId> {
        self.leader(bucket)
    }

    fn buckets_beside(&self, bucket: BucketKey) -> Option<i32> {
        self.bucket_count(bucket.table, bucket.partition)
    }

    fn labels(&self) -> Arc<Labels> {
        Arc::clone(Self::labels(self))
    }
}

impl<T: Leaders> Leaders for Arc<T> {
    fn leader_of(&self, bucket: BucketKey) -> Option<ServerId> {
        (**self).leader_of(bucket)
    }

    fn buckets_beside(&self, bucket: BucketKey) -> Option<i32> {
        (**self).buckets_beside(bucket)
    }

    fn labels(&self) -> Arc<Labels> {
        (**self).labels()
    }
}

/// What the scanners have for others.
#[derive(Debug, Default)]
struct Outputs {
    wishes: VecDeque<ReadWish>,
    events: VecDeque<Event>,
    timers: BTreeSet<(Instant, ScannerKey)>,
    /// When somebody wants to be told, whatever else happens.
    alarms: BTreeMap<ScannerKey, Instant>,
    /// Reads from remote storage to begin, or to give up.
    reads: VecDeque<(ReadId, Option<ObjectPart>)>,
    /// What they read with.
    tokens: Tokens,
    next_token: u64,
}

impl Outputs {
    /// A name for a fetch or a read.
    fn next_token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }
}

/// All scanners of a client.
#[derive(Debug, Default)]
pub(crate) struct Scanners {
    scanners: BTreeMap<ScannerKey, Scanner>,
    /// Scanners whose plans may have changed.
    dirty: BTreeSet<ScannerKey>,
    labels: Arc<Labels>,
    next_key: u64,
    out: Outputs,
    closed: Option<Error>,
}

impl Scanners {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    // ----- verbs -----

    /// A scanner without subscriptions.
    ///
    /// # Errors
    /// [`Error::Config`] for options against the rules, [`Error::Closed`] after a close.
    pub(crate) fn open_scanner(
        &mut self,
        cx: &Cx<'_>,
        options: ScannerOptions,
    ) -> Result<ScannerKey> {
        if let Some(error) = &self.closed {
            return Err(error.clone());
        }
        options.validate(cx.config)?;
        let key = ScannerKey(self.next_key);
        self.next_key += 1;
        self.scanners.insert(key, Scanner::new(options));
        Ok(key)
    }

    /// Reads this bucket from this offset on ([`EARLIEST`] for all there is). What was known of it
    /// before, data and errors included, is forgotten.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a bucket of another table or an offset that is none,
    /// [`Error::Closed`] if the scanner is gone.
    pub(crate) fn subscribe(
        &mut self,
        key: ScannerKey,
        bucket: BucketKey,
        offset: i64,
    ) -> Result<()> {
        let scanner = self.scanner(key)?;
        scanner.subscribe(bucket, offset)?;
        self.dirty.insert(key);
        Ok(())
    }

    /// Stops reading this bucket and drops what was fetched of it.
    pub(crate) fn unsubscribe(&mut self, key: ScannerKey, bucket: BucketKey) {
        if let Some(scanner) = self.scanners.get_mut(&key) {
            scanner.unsubscribe(bucket);
            self.dirty.insert(key);
        }
    }

    /// Stops a bucket at this position, because what was taken of it from there on turned out to
    /// be unusable. It goes on when it is subscribed again.
    pub(crate) fn stop(&mut self, key: ScannerKey, bucket: BucketKey, position: i64) {
        if let Some(scanner) = self.scanners.get_mut(&key) {
            scanner.stop(bucket, position);
            self.dirty.insert(key);
        }
    }

    /// Reports the scanner at this time, or not any more.
    pub(crate) fn set_alarm(&mut self, key: ScannerKey, at: Option<Instant>) {
        if self.scanners.contains_key(&key)
            && let Some(at) = at
        {
            self.out.alarms.insert(key, at);
            self.out.timers.insert((at, key));
        } else {
            self.out.alarms.remove(&key);
        }
    }

    /// Forgets a scanner and all its data.
    pub(crate) fn close_scanner(&mut self, key: ScannerKey) {
        self.out.alarms.remove(&key);
        if let Some(mut scanner) = self.scanners.remove(&key) {
            scanner.drop_reads(&mut self.out);
        }
        self.dirty.remove(&key);
    }

    /// Takes what is there, the buckets in turn, a batch at a time. Positions move with what is
    /// taken and with nothing else. What is taken counts as buffered until the next call.
    ///
    /// # Errors
    /// [`Error::Closed`] if the scanner or the client is closed.
    pub(crate) fn take(&mut self, key: ScannerKey, limits: TakeLimits) -> Result<Taken> {
        let scanner = self.scanner(key)?;
        let before = scanner.buffered();
        let taken = scanner.take(limits);
        if !taken.is_empty() || scanner.buffered() != before {
            self.dirty.insert(key);
        }
        Ok(taken)
    }

    /// How far a bucket was read; None if it is not subscribed.
    #[cfg(feature = "handle")]
    pub(crate) fn trouble(&self, key: ScannerKey, bucket: BucketKey) -> Option<Error> {
        self.scanners.get(&key)?.trouble(bucket)
    }

    pub(crate) fn progress(&self, key: ScannerKey, bucket: BucketKey) -> Option<BucketProgress> {
        self.scanners.get(&key)?.progress(bucket)
    }

    /// Bytes of fetched frames of which something was not taken, or was taken last.
    pub(crate) fn buffered(&self, key: ScannerKey) -> u64 {
        self.scanners.get(&key).map_or(0, Scanner::buffered)
    }

    fn scanner(&mut self, key: ScannerKey) -> Result<&mut Scanner> {
        match self.scanners.get_mut(&key) {
            Some(scanner) => Ok(scanner),
            None => Err(self.closed.clone().unwrap_or(Error::Closed("scanner"))),
        }
    }

    // ----- inputs -----

    /// Looks what the scanners with news need. Called after anything happened, cheap if nothing
    /// did.
    pub(crate) fn update(&mut self, cx: &mut Cx<'_>, leaders: &impl Leaders) {
        while let Some(key) = self.dirty.pop_first() {
            if let Some(scanner) = self.scanners.get_mut(&key) {
                scanner.update(cx, key, leaders, &mut self.out);
            }
        }
    }

    /// Leaders may have changed.
    pub(crate) fn handle_metadata(&mut self, leaders: &impl Leaders) {
        self.labels = leaders.labels();
        for (key, scanner) in &mut self.scanners {
            scanner.handle_metadata(leaders);
            self.dirty.insert(*key);
        }
    }

    /// A server cannot be reached; its buckets may have moved.
    pub(crate) fn handle_unreachable(&mut self, server: ServerId, error: &Error) {
        for (key, scanner) in &mut self.scanners {
            if scanner.handle_unreachable(server, error) {
                self.dirty.insert(*key);
            }
        }
    }

    /// A server is not part of the cluster now; its buckets may have moved, or it comes back.
    pub(crate) fn handle_absent(&mut self, cx: &mut Cx<'_>, server: ServerId) {
        for (key, scanner) in &mut self.scanners {
            if scanner.handle_absent(cx, server) {
                self.dirty.insert(*key);
            }
        }
    }

    /// These buckets do not exist any more.
    pub(crate) fn handle_gone(&mut self, gone: impl Fn(&BucketKey) -> bool, error: &Error) {
        for (key, scanner) in &mut self.scanners {
            if scanner.handle_gone(&gone, error) {
                scanner.tell(*key, &mut self.out);
                self.dirty.insert(*key);
            }
        }
    }

    /// The answer to a fetch, or why there is none.
    pub(crate) fn handle_reply(
        &mut self,
        cx: &mut Cx<'_>,
        key: ScannerKey,
        token: u64,
        result: Result<Bytes, RequestError>,
    ) {
        if let Some(scanner) = self.scanners.get_mut(&key) {
            scanner.handle_reply(cx, token, result, &self.labels);
            scanner.tell(key, &mut self.out);
            self.dirty.insert(key);
        }
    }

    /// A read from remote storage has ended.
    pub(crate) fn handle_read(
        &mut self,
        cx: &mut Cx<'_>,
        read: ReadId,
        result: &Result<Bytes, StorageError>,
    ) {
        for (key, scanner) in &mut self.scanners {
            if scanner.handle_read(cx, read.0, result, &mut self.out.tokens) {
                scanner.tell(*key, &mut self.out);
                self.dirty.insert(*key);
                return;
            }
        }
    }

    /// It is so long since 1970.
    pub(crate) fn handle_unix_time(&mut self, since_1970: Duration, now: Instant) {
        self.out.tokens.set_unix_time(since_1970, now);
    }

    /// Whether a call was made for scanners.
    pub(crate) fn owns_call(&self, command: CommandId) -> bool {
        self.out.tokens.owns_call(command)
    }

    /// The answer to the call for a token, or why there is none.
    pub(crate) fn handle_call(&mut self, cx: &mut Cx<'_>, result: Result<CommandAnswer>) {
        self.dirty.append(&mut self.out.tokens.handle_call(cx, result));
    }

    /// Time passed.
    pub(crate) fn handle_timeout(&mut self, cx: &Cx<'_>) {
        while let Some((at, key)) = self.out.timers.first().copied()
            && at <= cx.now
        {
            self.out.timers.pop_first();
            if self.out.alarms.get(&key).is_some_and(|at| *at <= cx.now) {
                self.out.alarms.remove(&key);
                self.out.events.push_back(Event::ScanReady { scanner: key });
            }
            if self.scanners.contains_key(&key) {
                self.dirty.insert(key);
            }
        }
    }

    /// Ends everything; whoever takes gets this error.
    pub(crate) fn abort(&mut self, error: &Error) {
        for scanner in std::mem::take(&mut self.scanners).into_keys() {
            self.out.events.push_back(Event::ScanReady { scanner });
        }
        self.dirty.clear();
        self.out.timers.clear();
        self.out.alarms.clear();
        self.out.wishes.clear();
        self.out.reads.clear();
        self.out.tokens = Tokens::default();
        self.closed = Some(error.clone());
    }

    // ----- outputs -----

    /// The next fetch for a server whose connection can take it. Each scanner has at most one per
    /// server on its way, so this ends.
    pub(crate) fn poll_request(&mut self, cx: &mut Cx<'_>, server: ServerId) -> Option<Outgoing> {
        let mut found = None;
        for (key, scanner) in &mut self.scanners {
            if !scanner.heard_flush(server) {
                continue;
            }
            if found.is_some() {
                // It is considered at the next call; should that not come, it has to ask again.
                self.dirty.insert(*key);
                continue;
            }
            found = scanner.poll_request(cx, *key, server, self.out.next_token + 1);
            if found.is_none() {
                self.dirty.insert(*key);
            }
        }
        self.out.next_token += u64::from(found.is_some());
        found
    }

    pub(crate) fn poll_wish(&mut self) -> Option<ReadWish> {
        self.out.wishes.pop_front()
    }

    /// The next call that scanners need; `start` gives it its number.
    pub(crate) fn poll_call(&mut self, cx: &Cx<'_>, start: impl FnOnce(Call) -> CommandId) -> bool {
        self.out.tokens.poll_call(cx, start)
    }

    /// A read from remote storage to begin, or without a part to give up.
    pub(crate) fn poll_read(&mut self) -> Option<(ReadId, Option<ObjectPart>)> {
        self.out.reads.pop_front()
    }

    pub(crate) fn has_read(&self) -> bool {
        !self.out.reads.is_empty()
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.out.events.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<(Instant, TimerReason)> {
        self.out.timers.first().map(|(at, _)| (*at, TimerReason::Fetch))
    }
}
