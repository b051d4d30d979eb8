//! Exactly-once writes: which batch may travel under which stamp, and what the answers prove.
//!
//! A pure machine. Each bucket has a session of its own: a writer id and a window of at most
//! `max_in_flight` batches with consecutive sequences. A success proves all lower sequences too. A
//! batch keeps its stamp for as long as one copy of it could still be appended.
//!
//! Without idempotence the same calls keep batches unstamped, see `plain`.
//!
//! # Duties of the sender
//!
//! - After each input it asks [`IdempotenceManager::can_send`] for the bucket it was about, and for
//!   each [`Want::Ready`]; `Sendable::At` is the moment to ask again.
//! - A request holds at most one copy per bucket. Copies of a bucket leave on their connection in
//!   the order in which `pick` gave them.
//! - Each copy gets exactly one answer: per bucket entry, or the request's error for each of them,
//!   or `Lost` (connection closed, no answer in time, bucket missing, response unreadable). Second
//!   answers are counted and ignored.
//! - A popped batch belongs to the manager until [`IdempotenceManager::poll_done`] returns it, also
//!   when it loses its stamp. The deadlines of batches still in the bucket's queue are the queue's.

mod answer;
mod fired;
mod id;
mod mutation;
pub(crate) mod outcome;
mod pick;
mod plain;
mod session;
mod settle;
mod timers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use fluss_proto::ErrorCode;

pub(crate) use self::fired::Fired;
use self::outcome::Done;
use super::retry::RefreshReason;

use self::id::Ids;
pub(crate) use self::mutation::Mutation;
use self::session::Bucket;
use crate::backoff::BackoffConfig;
use crate::config::{Config, WriterConfig};
use crate::error::Error;
#[cfg(any(test, feature = "testing"))]
use crate::ids::ServerId;
#[cfg(test)]
use crate::ids::WriterId;
use crate::ids::{BatchId, BucketKey, ConnId};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// Settings of a manager.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IdempotenceConfig {
    /// Stamp batches at all.
    pub(crate) enabled: bool,
    /// Batches of a bucket without outcome at once.
    pub(crate) max_in_flight: usize,
    /// Resends of a batch after ambiguous or transient answers.
    pub(crate) retries: u32,
    /// Wait of a bucket after such answers.
    pub(crate) retry_backoff: BackoffConfig,
    /// Pause of a bucket under full storage pressure.
    pub(crate) max_throttle: Duration,
    /// A bucket idle for longer gets a new writer id.
    pub(crate) idle_rotate: Duration,
    /// How often a fatal answer is asked for again while the outcome is open.
    pub(crate) fatal_confirm: u32,
    /// Whether a commit proved by a later answer waits for the batch's own answer and its offset.
    pub(crate) track_offsets: bool,
    /// Limit of one request: how long a decision may wait for a probe or for metadata.
    pub(crate) request_deadline: Duration,
    /// From append to outcome; named in the error of a late batch.
    pub(crate) delivery_timeout: Duration,
    /// Wait between two writer ids of one bucket; doubles while nothing is committed.
    pub(crate) rotation_backoff: BackoffConfig,
    /// How long copies on a former leader's connection are waited for before it is closed.
    pub(crate) moved_grace: Duration,
    /// A rule broken on purpose, to prove that the checks notice.
    #[cfg(test)]
    pub(crate) mutation: Option<Mutation>,
}

impl IdempotenceConfig {
    /// The settings of a writer, `track_offsets` as decided for its kind of table.
    pub(crate) fn new(client: &Config, writer: &WriterConfig, track_offsets: bool) -> Self {
        Self {
            enabled: writer.idempotence,
            max_in_flight: writer.max_in_flight,
            retries: writer.retries,
            retry_backoff: writer.retry_backoff,
            max_throttle: writer.max_throttle,
            idle_rotate: writer.idle_rotate,
            fatal_confirm: writer.fatal_confirm,
            track_offsets,
            request_deadline: client.request_deadline,
            delivery_timeout: writer.delivery_timeout,
            rotation_backoff: BackoffConfig::new(
                // With jitter at least 100 ms.
                Duration::from_millis(125),
                Duration::from_secs(30),
            ),
            moved_grace: Duration::from_secs(3),
            #[cfg(test)]
            mutation: None,
        }
    }
}

/// What a batch's header says about its writer. `(-1, -1)` without idempotence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Stamp {
    /// The writer id.
    pub(crate) writer_id: i64,
    /// The batch sequence.
    pub(crate) sequence: i32,
}

impl Stamp {
    pub(crate) const NONE: Self = Self { writer_id: -1, sequence: -1 };
}

/// What a copy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// To get the batch written.
    Normal,
    /// To learn whether it, and so all before it, was written already.
    Probe,
}

/// Names one copy; an answer acts through it alone. It knows its place, so that nothing is kept for
/// copies whose answer never comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Token {
    bucket: BucketKey,
    batch: BatchId,
    stamp: Stamp,
    serial: u64,
}

#[cfg(test)]
impl Token {
    /// The bucket the copy went to.
    pub(crate) const fn bucket(&self) -> BucketKey {
        self.bucket
    }

    /// The same in another bucket: what a server would name that mixes buckets up.
    pub(crate) const fn in_bucket(self, bucket: BucketKey) -> Self {
        Self { bucket, ..self }
    }

    /// The same of no batch, so of no copy that was ever sent.
    pub(crate) const fn of_nobody(self) -> Self {
        Self { batch: BatchId(u64::MAX), serial: u64::MAX, ..self }
    }
}

/// A copy to send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    /// The batch.
    pub(crate) batch: BatchId,
    /// What its header must say.
    pub(crate) stamp: Stamp,
    /// The copy's name.
    pub(crate) token: Token,
    /// What it is for.
    pub(crate) kind: Kind,
}

/// What became of a copy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// The server wrote it, now or earlier.
    Written {
        /// From `ProduceLog`.
        base_offset: Option<i64>,
        /// From `PutKv`.
        log_end_offset: Option<i64>,
        /// Storage pressure 0 to 1, from `PutKv`.
        pressure: Option<f32>,
    },
    /// The server answered with an error, for the entry or the whole request.
    Rejected {
        /// The code.
        code: ErrorCode,
        /// Its text.
        message: Arc<str>,
    },
    /// It may have reached the server, which did not answer usably.
    Lost(Error),
    /// Not one byte of it left the client.
    NotSent(Error),
}

/// A batch of a bucket's queue that was never stamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fresh {
    /// The batch.
    pub(crate) batch: BatchId,
    /// When it must have an outcome.
    pub(crate) deadline: Instant,
}

/// The queue of one bucket: sealed batches in the order they were handed in.
pub(crate) trait FreshBatches {
    /// Whether there is none.
    fn is_empty(&self) -> bool;
    /// Takes the first one; from then on it is the manager's.
    fn pop(&mut self) -> Option<Fresh>;
}

/// Whether `pick` would give a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sendable {
    /// Yes.
    Now,
    /// Not before this moment, unless an input changes it.
    At(Instant),
    /// Once there is a writer id; `want_writer_id` asks for one.
    NeedsWriterId,
    /// Not before some input.
    No,
}

/// What the manager asks its owner to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Want {
    /// Send one `InitWriter`; `handle_writer_id` takes its result.
    WriterId,
    /// Look the bucket up again; `handle_leader` or `handle_bucket_gone` takes the result.
    Refresh {
        /// The bucket.
        bucket: BucketKey,
        /// Why.
        reason: RefreshReason,
        /// The leader epoch known here, if any.
        epoch: Option<i32>,
    },
    /// Close this connection: copies on it keep a bucket from its new leader.
    CloseConnection {
        /// The connection.
        conn: ConnId,
        /// The bucket that waits.
        bucket: BucketKey,
    },
    /// Ask `can_send` for this bucket: something changed without an answer.
    Ready(BucketKey),
    /// Complete all batches of this bucket's queue as not written.
    FailQueued {
        /// The bucket.
        bucket: BucketKey,
        /// Why.
        error: Error,
    },
}

/// What happened so far. All counters only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Copies given out.
    pub(crate) copies: u64,
    /// Copies that were probes.
    pub(crate) probes: u64,
    /// Resends because of a sequence refused for its place.
    pub(crate) resends_sequence: u64,
    /// Resends after transient, throttled and limited rejections, and of copies not sent.
    pub(crate) resends_transient: u64,
    /// Resends after ambiguous answers.
    pub(crate) resends_ambiguous: u64,
    /// Resends to confirm a fatal answer.
    pub(crate) resends_confirm: u64,
    /// Batches proved written by a later one's answer.
    pub(crate) inferred_commits: u64,
    /// Sequence refusals of the lowest batch that were out of date.
    pub(crate) stale_refusals: u64,
    /// Sequence refusals of the lowest batch that were not.
    pub(crate) genuine_refusals: u64,
    /// Sessions ended: the server lost the writer's state.
    pub(crate) rotations_broken: u64,
    /// Sessions ended: a hole fences off what was behind it.
    pub(crate) rotations_fence: u64,
    /// Sessions ended: a batch's outcome cannot be known.
    pub(crate) rotations_unknown: u64,
    /// Sessions ended: idle for too long.
    pub(crate) rotations_idle: u64,
    /// Sessions ended: sequences used up.
    pub(crate) rotations_exhausted: u64,
    /// Batches reported as not written.
    pub(crate) not_written: u64,
    /// Batches reported as of unknown outcome.
    pub(crate) unknown: u64,
    /// Answers to copies that are closed already.
    pub(crate) orphan_answers: u64,
    /// Answers that contradict what was proved before. Anything but 0 is a defect here or an id
    /// given out twice by the cluster.
    pub(crate) invariant_violation: u64,
    /// The rules that decided something, for simulations: one that never fires is not tested.
    pub(crate) fired: Fired,
}

/// What the manager tells its owner.
#[derive(Clone, Debug, Default)]
struct Sink {
    done: VecDeque<Done>,
    wants: VecDeque<Want>,
    counters: Counters,
}

impl Sink {
    fn want(&mut self, want: Want) {
        // Five copies of one lost connection ask for the same thing in a row.
        if self.wants.back() != Some(&want) {
            self.wants.push_back(want);
        }
    }
}

/// What the steps of one bucket need from outside it.
struct Env<'a> {
    config: &'a IdempotenceConfig,
    sink: &'a mut Sink,
    now: Instant,
    rng: &'a mut Rng,
    key: BucketKey,
}

/// The machine of one writer and all its clones.
#[derive(Clone, Debug)]
pub(crate) struct IdempotenceManager {
    config: IdempotenceConfig,
    buckets: BTreeMap<BucketKey, Bucket>,
    ids: Ids,
    timers: BTreeSet<(Instant, BucketKey)>,
    sink: Sink,
    next_serial: u64,
    closed: bool,
}

impl IdempotenceManager {
    /// A manager without sessions.
    pub(crate) fn new(config: IdempotenceConfig) -> Self {
        Self {
            config,
            buckets: BTreeMap::new(),
            ids: Ids::default(),
            timers: BTreeSet::new(),
            sink: Sink::default(),
            next_serial: 0,
            closed: false,
        }
    }

    /// The next batch that is over.
    pub(crate) fn poll_done(&mut self) -> Option<Done> {
        self.sink.done.pop_front()
    }

    /// The next request to the owner.
    pub(crate) fn poll_want(&mut self) -> Option<Want> {
        self.sink.wants.pop_front()
    }

    /// Whether a request may take more than one batch of a bucket; never outside tests.
    pub(crate) fn crowds_requests(&self) -> bool {
        self.config.crowds_requests()
    }

    /// What happened so far.
    pub(crate) fn counters(&self) -> &Counters {
        &self.sink.counters
    }

    /// Breaks a rule from now on.
    #[cfg(test)]
    pub(crate) fn mutate(&mut self, mutation: Mutation) {
        self.config.mutation = Some(mutation);
    }

    /// The writer id of a bucket's session.
    #[cfg(test)]
    pub(crate) fn writer_id(&self, bucket: BucketKey) -> Option<WriterId> {
        self.buckets.get(&bucket)?.session.map(|s| s.id)
    }
}

/// For simulations: they look, and skip what would take too long.
#[cfg(any(test, feature = "testing"))]
impl IdempotenceManager {
    /// The buckets with their sessions, in order.
    pub(crate) fn windows(&self) -> impl Iterator<Item = Window> + '_ {
        self.buckets.iter().map(|(key, bucket)| Window {
            bucket: *key,
            session: bucket.session.map(|s| (s.id.0, s.floor)),
            slots: bucket.slots.len(),
            probing: bucket.genuine.is_some()
                || bucket.slots.front().is_some_and(|s| s.doomed.is_some()),
            leader: bucket.leader,
            throttled_until: bucket.throttle_until,
            backs_off_until: bucket.backoff_until,
            returned: bucket.returned.len(),
            late: bucket.late.len(),
        })
    }

    /// The most batches of a bucket under way; None without idempotence.
    pub(crate) fn window_limit(&self) -> Option<usize> {
        self.config.enabled.then_some(self.config.max_in_flight)
    }

    /// Lets the next batch of an idle bucket have this sequence.
    pub(crate) fn skip_sequences(&mut self, key: BucketKey, next: i32) -> bool {
        let bucket = self.buckets.get_mut(&key).filter(|b| b.is_idle());
        let session = bucket.and_then(|b| b.session.as_mut());
        session.map(|s| s.floor = i64::from(next)).is_some()
    }
}

/// What a simulation sees of a bucket.
#[cfg(any(test, feature = "testing"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) bucket: BucketKey,
    /// Writer id and floor.
    pub(crate) session: Option<(i64, i64)>,
    /// Stamped batches without outcome.
    pub(crate) slots: usize,
    /// Copies behind the floor are probes now.
    pub(crate) probing: bool,
    /// Its leader and epoch, as told last.
    pub(crate) leader: Option<(ServerId, Option<i32>)>,
    /// Until then it is left alone for the load of the storage.
    pub(crate) throttled_until: Instant,
    /// Until then it is left alone after a failure.
    pub(crate) backs_off_until: Instant,
    /// Batches that lost their stamp.
    pub(crate) returned: usize,
    /// Batches known to be written that wait for their offset.
    pub(crate) late: usize,
}

#[cfg(test)]
mod tests;
