//! What the client asks its adapter to do, and what it reports.

use std::sync::Arc;

use crate::error::{Attempt, Error, Result, WriteError};
use crate::ids::{Address, BatchId, BucketKey, CommandId, ConnId, LaneId, ReadId, ScannerKey};
use crate::storage::ObjectPart;
use crate::writer::WaiterId;

/// Something the adapter must do; taken from [`Client::poll_action`](crate::Client::poll_action).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Resolve the host, connect, then call `handle_connected` or `handle_connect_failed`.
    Connect {
        /// The connection's name from now on.
        conn: ConnId,
        /// Where to; a name is resolved anew each time, and each of its addresses tried.
        address: Address,
    },
    /// Drop the socket, whatever its state; no `handle_closed` is needed.
    Disconnect {
        /// The connection.
        conn: ConnId,
    },
    /// Bytes are waiting: call `poll_transmit` until it is empty, as far as the socket takes them.
    Flush {
        /// The connection.
        conn: ConnId,
    },
    /// Read this part of an object in remote storage, then call
    /// [`handle_remote_read`](crate::Client::handle_remote_read).
    ReadRemote {
        /// The read's name from now on.
        read: ReadId,
        /// What to read.
        part: ObjectPart,
    },
    /// Nobody waits for this read any more; an answer is no harm.
    AbandonRemote {
        /// The read.
        read: ReadId,
    },
}

/// Something that happened; taken from [`Client::poll_event`](crate::Client::poll_event).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The holder of this open batch must seal and submit it now (linger, flush, memory, close).
    Seal {
        /// The batch.
        batch: BatchId,
        /// The lane that holds it.
        lane: LaneId,
    },
    /// The rows of this sealed batch were placed among another number of buckets than their
    /// partition turned out to have: its holder must deal them out anew, see
    /// [`Client::reroute_batch`](crate::Client::reroute_batch).
    Reroute {
        /// The batch.
        batch: BatchId,
        /// The lane that made it.
        lane: LaneId,
        /// The number of buckets that the partition has.
        buckets: i32,
    },
    /// A batch is done; sent exactly once for each batch that was opened and neither
    /// abandoned nor dealt out anew.
    BatchDone {
        /// The batch.
        batch: BatchId,
        /// What became of its rows, all alike.
        outcome: BatchOutcome,
    },
    /// A queued `open_batch` or `grow_batch` may be tried again.
    MemoryGranted {
        /// The waiter that is first in line now.
        waiter: WaiterId,
    },
    /// A flush or close asked for with this id is complete.
    FlushDone {
        /// The id.
        command: CommandId,
    },
    /// A command is done.
    CommandDone {
        /// The command.
        command: CommandId,
        /// Its answer.
        result: Result<CommandAnswer>,
    },
    /// A scanner has something to take: batches, or an error.
    ScanReady {
        /// The scanner.
        scanner: ScannerKey,
    },
    /// The client is closed: nothing will be sent any more.
    Closed,
    /// Something users may want in their log; never needed for correctness.
    Note {
        /// How much it matters.
        level: NoteLevel,
        /// The text.
        text: Arc<str>,
    },
}

impl Event {
    /// The end of this command, if this is it; for loops that wait for one thing.
    #[must_use]
    pub fn of_command(self, id: CommandId) -> Option<Result<CommandAnswer>> {
        match self {
            Self::CommandDone { command, result } if command == id => Some(result),
            _ => None,
        }
    }

    /// The end of this batch, if this is it.
    #[must_use]
    pub fn of_batch(self, id: BatchId) -> Option<Result<Written, WriteError>> {
        match self {
            Self::BatchDone { batch, outcome } if batch == id => Some(match outcome {
                BatchOutcome::Written(written) => Ok(written),
                BatchOutcome::Failed(error) => Err(error),
            }),
            _ => None,
        }
    }
}

/// How much a note matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoteLevel {
    /// For those who look into a problem.
    Debug,
    /// An event worth a line.
    Info,
    /// Something is wrong, with the cluster or the settings.
    Warn,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CommandAnswer {
    /// The body of the response, for the call that knows its type.
    Body(bytes::Bytes),
    /// Nothing to report but that it is done.
    Done,
    /// A lookup: the row as it came, schema id first; None where the key has none.
    Value(Option<bytes::Bytes>),
    /// A prefix lookup: the rows as they came, schema id first.
    Values(Vec<bytes::Bytes>),
    /// A close: the number of batches that had to be ended.
    Left(usize),
}

impl CommandAnswer {
    /// Bytes of the rows that a lookup found; 0 for other answers.
    #[cfg(feature = "handle")]
    pub(crate) fn row_bytes(&self) -> u64 {
        match self {
            Self::Value(Some(row)) => row.len() as u64,
            Self::Values(rows) => rows.iter().map(|row| row.len() as u64).sum(),
            Self::Value(None) | Self::Body(_) | Self::Done | Self::Left(_) => 0,
        }
    }
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum BatchOutcome {
    /// The rows are in the log.
    Written(Written),
    /// They are not, or nobody can tell.
    Failed(WriteError),
}

/// Where an acknowledged batch is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Written {
    /// The bucket.
    pub bucket: BucketKey,
    /// For appends: the offset of the batch's first row. None where the commit was inferred from a
    /// later answer.
    pub base_offset: Option<i64>,
    /// For upserts and deletes: the exclusive end of the batch in the changelog, as far as told.
    pub log_end_offset: Option<i64>,
    /// True where no answer of its own proved the commit.
    pub inferred: bool,
    /// None where the first copy was the one that succeeded, which is nearly always: then there is
    /// nothing to allocate and nothing to share.
    pub(crate) attempts: Option<Arc<[Attempt]>>,
}

impl Written {
    /// The copies that did not end in success before the batch was known to be written, oldest
    /// first; the last 8 of them.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        self.attempts.as_deref().unwrap_or_default()
    }
}

/// What a client counted since its start: numbers of things, which only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Copies of batches that were sent.
    pub copies: u64,
    /// Copies that were not a batch's first: the five numbers that follow together.
    pub retries: u64,
    /// Resends because the server refused a sequence for its place.
    pub resends_sequence: u64,
    /// Resends after answers that refuse a batch for the moment, and of copies that never left.
    pub resends_transient: u64,
    /// Resends of batches that may or may not have been appended.
    pub resends_ambiguous: u64,
    /// Resends to hear a fatal answer again.
    pub resends_confirm: u64,
    /// Copies sent to learn whether a batch was appended already.
    pub probes: u64,
    /// Batches proved written by a later batch's answer.
    pub inferred_commits: u64,
    /// Refusals of a bucket's lowest sequence that were out of date when they came.
    pub stale_refusals: u64,
    /// Refusals of a bucket's lowest sequence that were not.
    pub genuine_refusals: u64,
    /// Sessions of a bucket that were given up: the five numbers that follow together.
    pub rotations: u64,
    /// Sessions whose state the server had lost.
    pub rotations_broken: u64,
    /// Sessions left behind at a batch that was refused for good.
    pub rotations_fence: u64,
    /// Sessions left behind at a batch whose outcome cannot be known.
    pub rotations_unknown: u64,
    /// Sessions that were idle for longer than [`idle_rotate`](crate::config::WriterConfig).
    pub rotations_idle: u64,
    /// Sessions that had used up their sequences.
    pub rotations_exhausted: u64,
    /// Batches that ended as not written.
    pub not_written: u64,
    /// Batches that ended with an unknown outcome.
    pub unknown: u64,
    /// Answers that came after their request's deadline, or to no request.
    pub dropped_answers: u64,
    /// Answers to copies that were over already.
    pub orphan_answers: u64,
    /// Connections that were made, handshake included.
    pub connections_made: u64,
    /// Connections that were lost or given up after that.
    pub connections_lost: u64,
    /// Attempts to connect, or handshakes, that failed.
    pub connections_failed: u64,
    /// Answers that contradict what was proved. Anything but 0 is a defect of this client, or a
    /// cluster that gave out a writer id twice.
    pub invariant_violations: u64,
}

/// Why the client wants to be woken; returned by
/// [`Client::poll_timeout`](crate::Client::poll_timeout) so that a busy loop names its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TimerReason {
    /// A connection attempt, handshake or request reached its deadline.
    RequestDeadline,
    /// A connection may be tried again.
    Reconnect,
    /// Metadata may be asked for again.
    Metadata,
    /// A batch has lingered long enough.
    Linger,
    /// A bucket may send again after backoff or throttling.
    Retry,
    /// A batch reached its delivery timeout.
    Delivery,
    /// A fetch may be sent again.
    Fetch,
    /// A command reached its deadline or may be tried again.
    Command,
    /// Close reached its deadline.
    Close,
}

/// The reason for which a machine ended everything it had.
pub(crate) fn closed() -> Error {
    Error::Closed("client")
}
