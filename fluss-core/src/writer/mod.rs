//! The write path: from an opened batch to the outcome of its rows.
//!
//! | room | what it decides |
//! |---|---|
//! | [`memory`] | who may open or grow a batch now, who waits |
//! | [`accumulator`] | when a batch must be sealed, when it has waited too long |
//! | [`partitions`] | which partitions exist, which must be created, under which ids |
//! | [`waiting`] | the batches whose partition has no id yet |
//! | [`bucket_queue`] | the order of a bucket's batches that were never sent |
//! | [`idempotence`] | what may be sent under which stamp, and what an answer proves |
//! | [`sender`] | which buckets go into the next request to a server |
//! | [`turns`] | which writers are looked at, and whose turn the next request is |
//! | [`news`] | what leaders that moved, servers out of reach, tables gone mean for batches |
//! | [`gauges`] | what can be seen from outside |
//! | [`requests`] | requests on the wire and what their answers say per bucket |

mod accumulator;
mod bucket_queue;
mod gauges;
pub(crate) mod idempotence;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod inside;
mod memory;
mod news;
mod partitions;
mod requests;
pub(crate) mod retry;
mod sender;
mod turns;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use fluss_proto::record::SealedBatch;

pub use accumulator::{Open, Reserve};
pub use memory::WaiterId;
pub use waiting::{OpenIn, PartitionPlace};

use accumulator::{Accumulator, Place, Times};
use bucket_queue::Rank;
use idempotence::outcome::{self, Outcome};
use idempotence::{IdempotenceConfig, IdempotenceManager, Want};
use partitions::Partitions;
use sender::Sender;

use crate::config::WriterConfig;
use crate::connection::request::RequestError;
use crate::cx::Cx;
use crate::error::{Attempt, Error, Result, WriteError};
use crate::ids::{BatchId, BucketKey, CommandId, ConnId, LaneId, ServerId, TablePath, WriterKey};
use crate::metrics::Latency;
use crate::output::{BatchOutcome, Counters, Event, TimerReason, Written};
use crate::time::{Duration, Instant};

/// How often buckets that were idle for long are forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(3600);

/// Payloads kept for the next batches, of all writers.
const KEPT_BODIES: usize = 4;

/// Connections whose server is remembered.
const KEPT_SERVERS: usize = 256;

/// What a writer writes; all clones of a handle share it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum WriterKind {
    /// Rows appended to a log table.
    Append,
    /// Upserts and deletes of a primary-key table.
    Upsert {
        /// Indexes of the columns a partial update writes; None for whole rows.
        target_columns: Option<Vec<i32>>,
        /// The merge mode's number on the wire; None leaves it to the server.
        merge_mode: Option<i32>,
    },
}

#[derive(Debug)]
struct Writer {
    path: TablePath,
    kind: WriterKind,
    config: WriterConfig,
    /// The number of buckets of its table, if it has no partitions.
    buckets: Option<i32>,
    sender: Sender,
    /// Handles that may still open batches.
    lanes: BTreeSet<LaneId>,
    /// Batches without an outcome, for flush.
    unfinished: BTreeSet<Rank>,
    /// Each with the id that the next batch had then.
    flushes: Vec<(BatchId, CommandId)>,
    /// Its entry among the timers.
    timer: Option<(Instant, TimerReason)>,
}

/// All writers of a client.
#[derive(Debug)]
pub(crate) struct Writers {
    accumulator: Accumulator,
    partitions: Partitions,
    writers: BTreeMap<WriterKey, Writer>,
    lanes: BTreeMap<LaneId, WriterKey>,
    /// Writer ids that this client was given.
    ids: BTreeSet<i64>,
    /// Writers to look at in the next update: the work of a step must not grow with the writers
    /// that have nothing to do with it.
    changed: BTreeSet<WriterKey>,
    /// When writers must be looked at.
    timers: BTreeSet<(Instant, TimerReason, WriterKey)>,
    /// Writers with something in line for a server; looked through when a request is built.
    ready: BTreeMap<ServerId, BTreeSet<WriterKey>>,
    next_key: u64,
    requests: requests::Requests,
    /// The writer whose turn it is in the next request, so that none starves.
    turn: u64,
    events: VecDeque<Event>,
    wishes: VecDeque<Wish>,
    closed: bool,
    /// The servers of the youngest connections that writes went out on.
    servers: BTreeMap<ConnId, ServerId>,
    /// Why a server could not be reached last; told with batches that were never sent.
    trouble: Option<Error>,
    /// What writers counted that are gone.
    ended_counters: Counters,
    /// Rules that decided something for writers that are gone.
    ended_fired: idempotence::Fired,
    /// Bodies of batches that are done, whose memory serves the next ones.
    bodies: Vec<Bytes>,
    next_tidy: Instant,
    /// When the last input came.
    now: Instant,
    /// From a write request to its answer.
    answer_latency: Latency,
    /// From the opening of a batch to its acknowledgement.
    delivery_latency: Latency,
}

/// What the writers want from the other machines.
#[derive(Debug, PartialEq)]
pub(crate) enum Wish {
    /// Something waits for this server's connection.
    Flush(ServerId),
    /// A bucket needs its leader.
    Leader(BucketKey),
    /// What is known of this bucket may be stale; with the leader epoch known.
    Refresh(BucketKey, Option<i32>),
    /// Copies on this connection must be given up.
    CloseConnection(ConnId, &'static str),
    /// A writer id is needed.
    WriterId(WriterKey),
    /// The id of this partition is needed.
    Partition(TablePath, Arc<str>),
    /// Is the table still the same?
    Table(TablePath),
}

impl Writers {
    pub(crate) fn new(memory_limit: u64) -> Self {
        Self {
            accumulator: Accumulator::new(memory_limit),
            partitions: Partitions::default(),
            writers: BTreeMap::new(),
            lanes: BTreeMap::new(),
            ids: BTreeSet::new(),
            changed: BTreeSet::new(),
            timers: BTreeSet::new(),
            ready: BTreeMap::new(),
            next_key: 0,
            requests: requests::Requests::default(),
            turn: 0,
            events: VecDeque::new(),
            wishes: VecDeque::new(),
            closed: false,
            servers: BTreeMap::new(),
            trouble: None,
            ended_counters: Counters::default(),
            ended_fired: idempotence::Fired::default(),
            bodies: Vec::new(),
            next_tidy: Instant::ZERO + TIDY_EVERY,
            now: Instant::ZERO,
            answer_latency: Latency::default(),
            delivery_latency: Latency::default(),
        }
    }

    /// A new writer, with its own sessions and writer ids.
    pub(crate) fn open_writer(
        &mut self,
        cx: &Cx<'_>,
        path: TablePath,
        kind: WriterKind,
        config: WriterConfig,
    ) -> Result<WriterKey> {
        config.validate(cx.config)?;
        self.check_open()?;
        let key = WriterKey(self.next_key);
        self.next_key += 1;
        let keyed = matches!(kind, WriterKind::Upsert { .. });
        let track_offsets = config.track_offsets.unwrap_or(keyed);
        let manager =
            IdempotenceManager::new(IdempotenceConfig::new(cx.config, &config, track_offsets));
        let writer = Writer {
            path,
            kind,
            config,
            buckets: None,
            sender: Sender::new(manager),
            lanes: BTreeSet::new(),
            unfinished: BTreeSet::new(),
            flushes: Vec::new(),
            timer: None,
        };
        self.writers.insert(key, writer);
        Ok(key)
    }

    /// A lane for one handle of a writer.
    pub(crate) fn open_lane(&mut self, writer: WriterKey) -> Result<LaneId> {
        self.check_open()?;
        let lane = LaneId(self.next_key);
        let entry = self.writers.get_mut(&writer).ok_or(Error::Closed("writer"))?;
        self.next_key += 1;
        entry.lanes.insert(lane);
        self.lanes.insert(lane, writer);
        Ok(lane)
    }

    /// The handle of this lane is gone. Its open batches are sealed and delivered; the writer ends
    /// when its last lane is gone and its last batch done.
    pub(crate) fn close_lane(&mut self, lane: LaneId) {
        let Some(key) = self.lanes.remove(&lane) else { return };
        self.seal_where(key, |b| b.lane == lane);
        if let Some(writer) = self.writers.get_mut(&key) {
            writer.lanes.remove(&lane);
        }
        self.retire(key);
    }

    /// Asks for open batches of a writer to be sealed.
    fn seal_where(&mut self, key: WriterKey, matches: impl Fn(&accumulator::Batch) -> bool) {
        let Some(writer) = self.writers.get(&key) else { return };
        for Rank { batch, .. } in &writer.unfinished {
            if self.accumulator.get(*batch).is_some_and(&matches) {
                self.accumulator.ask_to_seal(*batch);
            }
        }
    }

    fn retire(&mut self, key: WriterKey) {
        let done = self
            .writers
            .get(&key)
            .is_some_and(|w| w.lanes.is_empty() && w.unfinished.is_empty() && w.flushes.is_empty());
        if done && let Some(writer) = self.writers.remove(&key) {
            self.partitions.writer_gone(key);
            if let Some((at, reason)) = writer.timer {
                self.timers.remove(&(at, reason, key));
            }
            self.ended_fired.join(writer.sender.manager.counters().fired);
            let sum = std::mem::take(&mut self.ended_counters);
            self.ended_counters = gauges::add(sum, writer.sender.manager.counters());
        }
    }

    fn check_open(&self) -> Result<()> {
        if self.closed { Err(Error::Closed("client")) } else { Ok(()) }
    }

    /// See [`Client::open_batch`](crate::Client::open_batch).
    pub(crate) fn open_batch(
        &mut self,
        now: Instant,
        lane: LaneId,
        bucket: BucketKey,
        reserve: Reserve,
    ) -> Result<Open> {
        self.open_routed(now, lane, (bucket, None), reserve)
    }

    /// The same with the number of buckets that this one was chosen from; None: the writer's own.
    fn open_routed(
        &mut self,
        now: Instant,
        lane: LaneId,
        (bucket, of): (BucketKey, Option<i32>),
        reserve: Reserve,
    ) -> Result<Open> {
        let open = self.check_open().map(|()| self.lanes.get(&lane).copied());
        let Ok(Some(key)) = open else {
            if let Reserve::Granted(waiter) = reserve {
                self.accumulator.cancel_wait(waiter);
            }
            return open.and(Err(Error::Closed("writer")));
        };
        let writer = self.writers.get_mut(&key).ok_or(Error::Closed("writer"))?;
        let times =
            Times { linger: writer.config.linger, delivery: writer.config.delivery_timeout };
        let of = of.or(writer.buckets);
        let place = Place { writer: key, lane, bucket, waits: None, of };
        let open = self.accumulator.open(now, place, times, reserve);
        if let Open::Granted { batch, .. } = open {
            let rank = Rank::of(batch);
            writer.sender.queue(bucket).open(rank, lane);
            writer.unfinished.insert(rank);
        }
        Ok(open)
    }

    pub(crate) fn grow_batch(&mut self, batch: BatchId, extra: u64) -> bool {
        self.accumulator.grow(batch, extra)
    }

    pub(crate) fn cancel_wait(&mut self, waiter: WaiterId) {
        self.accumulator.cancel_wait(waiter);
    }

    pub(crate) fn submit_batch(&mut self, batch: BatchId, sealed: SealedBatch) {
        let Some(entry) = self.accumulator.seal(batch, sealed) else { return };
        let (key, bucket) = (entry.writer, entry.bucket);
        if let Some(waits) = entry.waits {
            // It gets its place in a queue when its partition has an id; that it was sealed may be
            // what was waited for.
            return self.partitions.go_on(waits.partition);
        }
        let Some(writer) = self.changing(key) else { return };
        writer.sender.queue(bucket).seal(batch);
        writer.sender.touch(bucket);
    }

    /// Gives an opened batch up: it was never filled, or its rows could not be encoded.
    pub(crate) fn abandon_batch(&mut self, batch: BatchId) {
        let Some(ended) = self.accumulator.abandon(batch) else { return };
        self.partitions.leave(batch, ended.waits);
        if let Some(waits) = ended.waits {
            self.partitions.go_on(waits.partition);
        }
        if let Some(writer) = self.changing(ended.writer) {
            if ended.waits.is_none() {
                writer.sender.queue(ended.bucket).remove(ended.rank);
                writer.sender.touch(ended.bucket);
            }
            writer.unfinished.remove(&ended.rank);
        }
        self.check_flushes(ended.writer);
    }

    /// Seals what is open and reports [`Event::FlushDone`] when all batches opened before now are
    /// done.
    pub(crate) fn flush(&mut self, writer: WriterKey, command: CommandId) {
        self.seal_where(writer, |_| true);
        let watermark = self.accumulator.next_batch();
        match self.writers.get_mut(&writer) {
            Some(entry) => entry.flushes.push((watermark, command)),
            None => self.events.push_back(Event::FlushDone { command }),
        }
        self.check_flushes(writer);
    }

    fn check_flushes(&mut self, key: WriterKey) {
        let Some(writer) = self.writers.get_mut(&key) else { return };
        let first = writer.unfinished.first().copied();
        let events = &mut self.events;
        writer.flushes.retain(|(watermark, command)| {
            let done = first.is_none_or(|first| !first.is_before(*watermark));
            if done {
                events.push_back(Event::FlushDone { command: *command });
            }
            !done
        });
        self.retire(key);
    }

    /// The body of a batch that is done. The one that ended last is the one most likely still in
    /// the processor's cache.
    pub(crate) fn take_body(&mut self) -> Option<Bytes> {
        self.bodies.pop()
    }

    pub(crate) fn memory_used(&self) -> u64 {
        self.accumulator.memory().used()
    }

    /// Batches without an outcome, of all writers.
    pub(crate) fn unfinished(&self) -> usize {
        self.accumulator.len()
    }

    // ----- inputs from the other machines -----

    /// The answer to a write request.
    pub(crate) fn handle_reply(
        &mut self,
        cx: &mut Cx<'_>,
        token: u64,
        result: Result<Bytes, RequestError>,
    ) {
        let Some(request) = self.requests.end(token) else { return };
        self.now = cx.now;
        if result.is_ok() {
            self.answer_latency.record(cx.now.saturating_since(request.sent_at));
        }
        let (key, conn) = (request.writer, request.conn);
        let answers = request.answers(result);
        if answers.nonsense {
            let reason = "an answer to a write made no sense";
            self.wishes.push_back(Wish::CloseConnection(conn, reason));
        }
        if let Some(writer) = self.changing(key) {
            for (bucket, copy, answer) in answers.copies {
                writer.sender.with_manager(bucket, |manager, fresh| {
                    manager.handle_answer(cx, copy, answer, fresh);
                });
            }
        }
        self.settle(key);
    }

    pub(crate) fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        self.now = cx.now;
        self.accumulator.handle_timeout(cx.now);
        if cx.now >= self.next_tidy {
            self.next_tidy = cx.now + TIDY_EVERY;
            self.writers.values_mut().for_each(|w| w.sender.forget_idle(cx.now));
        }
        // The update that follows registers the next timers, so this loop ends.
        while let Some(&(at, reason, key)) = self.timers.first().filter(|(at, ..)| *at <= cx.now) {
            self.timers.remove(&(at, reason, key));
            if let Some(writer) = self.changing(key) {
                writer.timer = None;
                writer.sender.handle_timeout(cx);
            }
            self.settle(key);
        }
        self.partitions.handle_timeout(cx.now);
        while let Some(batch) = self.accumulator.poll_expired(cx.now) {
            self.expire(batch);
        }
    }

    /// A batch reached its delivery deadline. Never sent, it ends here; once sent, the manager
    /// decides what can be said of it.
    fn expire(&mut self, batch: BatchId) {
        let Some(entry) = self.accumulator.get(batch) else { return };
        let (key, bucket, rank) = (entry.writer, entry.bucket, entry.rank);
        if let Some(waits) = entry.waits {
            return self.expire_waiting(batch, key, waits);
        }
        let Some(writer) = self.changing(key) else { return };
        if writer.sender.queue(bucket).remove(rank) {
            let after = writer.config.delivery_timeout;
            let reason = writer.sender.waits_for(bucket);
            let what = format!("delivery to {} bucket {} ({reason})", writer.path, bucket.bucket);
            let what = what.into();
            writer.sender.touch(bucket);
            let last = self.trouble.clone().map(Box::new);
            let error = Error::Unavailable { what, after, last };
            self.finish(batch, BatchOutcome::Failed(WriteError::NotWritten(error.into())));
        }
    }

    /// No more appends. What is open is sealed.
    pub(crate) fn begin_close(&mut self) {
        self.closed = true;
        self.accumulator.close();
    }

    /// Ends everything with a true outcome; returns the number of batches ended.
    pub(crate) fn abort(&mut self, cx: &mut Cx<'_>, error: &Error) -> usize {
        self.closed = true;
        let left = self.unfinished();
        let keys: Vec<WriterKey> = self.writers.keys().copied().collect();
        for key in keys {
            if let Some(writer) = self.changing(key) {
                writer.sender.manager.abort(cx, error);
            }
            self.settle(key);
            self.fail_queued(key, |_| true, error);
        }
        self.fail_waiting(error);
        left
    }

    /// Applies what the manager of a writer decided.
    fn settle(&mut self, key: WriterKey) {
        while let Some(done) = self.writers.get_mut(&key).and_then(|w| w.sender.manager.poll_done())
        {
            let attempts = self.attempts(done.batch, &done.attempts);
            let outcome = match done.outcome {
                Outcome::Written { base_offset, log_end_offset, inferred } => {
                    let attempts = (!attempts.is_empty()).then(|| attempts.into());
                    let bucket = done.bucket;
                    BatchOutcome::Written(Written {
                        bucket,
                        base_offset,
                        log_end_offset,
                        inferred,
                        attempts,
                    })
                }
                Outcome::Failed(error) => BatchOutcome::Failed(error.with_attempts(attempts)),
            };
            self.finish(done.batch, outcome);
        }
        while let Some(want) = self.writers.get_mut(&key).and_then(|w| w.sender.manager.poll_want())
        {
            self.on_want(key, want);
        }
    }

    /// A batch's attempts as the application sees them: times counted from its opening, servers
    /// instead of connections.
    fn attempts(&self, batch: BatchId, attempts: &[outcome::Attempt]) -> Vec<Attempt> {
        let [_, ..] = attempts else { return Vec::new() };
        let opened = self.accumulator.get(batch).map_or(Instant::ZERO, |b| b.opened);
        let tell = |a: &outcome::Attempt| Attempt {
            after: a.at.saturating_since(opened),
            server: self.servers.get(&a.conn).copied(),
            sequence: (a.sequence >= 0).then_some(a.sequence),
            end: a.end.clone(),
        };
        attempts.iter().map(tell).collect()
    }

    /// Notes where a connection goes, for the attempts on it.
    fn note_server(&mut self, conn: ConnId, server: ServerId) {
        self.servers.insert(conn, server);
        if self.servers.len() > KEPT_SERVERS {
            self.servers.pop_first();
        }
    }

    fn on_want(&mut self, key: WriterKey, want: Want) {
        match want {
            Want::WriterId => self.wishes.push_back(Wish::WriterId(key)),
            Want::Refresh { bucket, epoch, .. } => {
                self.wishes.push_back(Wish::Refresh(bucket, epoch));
            }
            Want::CloseConnection { conn, .. } => {
                let reason = "a bucket on it has moved to another leader";
                self.wishes.push_back(Wish::CloseConnection(conn, reason));
            }
            Want::Ready(bucket) => {
                if let Some(writer) = self.changing(key) {
                    writer.sender.touch(bucket);
                }
            }
            Want::FailQueued { bucket, error } => self.fail_queued(key, |b| *b == bucket, &error),
        }
    }

    fn finish(&mut self, batch: BatchId, outcome: BatchOutcome) {
        let Some(ended) = self.accumulator.finish(batch) else { return };
        self.partitions.leave(batch, ended.waits);
        if let Some(waits) = ended.waits {
            self.partitions.go_on(waits.partition);
        }
        if let Some(sealed) = ended.sealed
            && self.bodies.len() < KEPT_BODIES
        {
            self.bodies.extend(sealed.pieces().first().cloned());
        }
        if let BatchOutcome::Written(_) = &outcome {
            self.delivery_latency.record(self.now.saturating_since(ended.opened));
        }
        self.events.push_back(Event::BatchDone { batch, outcome });
        if let Some(writer) = self.writers.get_mut(&ended.writer) {
            writer.unfinished.remove(&ended.rank);
        }
        self.check_flushes(ended.writer);
    }

    // ----- outputs -----

    pub(crate) fn poll_wish(&mut self) -> Option<Wish> {
        self.wishes.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        if let Some((batch, lane)) = self.accumulator.poll_seal() {
            return Some(Event::Seal { batch, lane });
        }
        if let Some(waiter) = self.accumulator.poll_granted() {
            return Some(Event::MemoryGranted { waiter });
        }
        self.events.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<(Instant, TimerReason)> {
        let linger = self.accumulator.next_linger().map(|at| (at, TimerReason::Linger));
        let delivery = self.accumulator.next_deadline().map(|at| (at, TimerReason::Delivery));
        let writers = self.timers.first().map(|(at, reason, _)| (*at, *reason));
        let partitions = self.partitions.next_timer().map(|at| (at, TimerReason::Retry));
        [linger, delivery, writers, partitions].into_iter().flatten().min()
    }
}
