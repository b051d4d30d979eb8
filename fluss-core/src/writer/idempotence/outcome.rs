//! How a batch ended, and the attempts that led there.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub(crate) use crate::error::AttemptEnd;
use crate::error::{Error, WriteError};
use crate::ids::{BatchId, BucketKey, ConnId};
use crate::time::{Duration, Instant};

/// What became of a batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// It is in the log, once.
    Written {
        /// Offset of the first row, from `ProduceLog`.
        base_offset: Option<i64>,
        /// Exclusive end in the changelog, from `PutKv`.
        log_end_offset: Option<i64>,
        /// True where only a later batch's answer proved the commit; there are no offsets then.
        inferred: bool,
    },
    /// It is not in the log, or nobody can tell.
    Failed(WriteError),
}

/// A batch that is over. The manager says so exactly once for each batch it took.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Done {
    /// The bucket.
    pub(crate) bucket: BucketKey,
    /// The batch.
    pub(crate) batch: BatchId,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// The copies that did not end in success, oldest first; the last 8 of them.
    pub(crate) attempts: Vec<Attempt>,
}

/// A copy that did not end in success.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attempt {
    /// When its end was learnt.
    pub(crate) at: Instant,
    /// The connection it travelled on.
    pub(crate) conn: ConnId,
    /// Its sequence; -1 without idempotence.
    pub(crate) sequence: i32,
    /// How it ended.
    pub(crate) end: AttemptEnd,
}

impl AttemptEnd {
    /// As an error of the batch.
    fn error(&self, bucket: BucketKey) -> Error {
        match self {
            Self::Rejected { code, message } => {
                Error::Rejected { what: what(bucket), code: *code, message: Arc::clone(message) }
            }
            Self::Lost(error) | Self::NotSent(error) => error.clone(),
        }
    }
}

fn what(bucket: BucketKey) -> Arc<str> {
    format!("write to {bucket}").into()
}

/// The error of a batch whose delivery timeout passed.
pub(super) fn timed_out(bucket: BucketKey, after: Duration, history: &History) -> Error {
    Error::Unavailable {
        what: what(bucket),
        after,
        last: history.last().map(|a| Box::new(a.end.error(bucket))),
    }
}

/// The error of the last attempt.
pub(super) fn last_error(bucket: BucketKey, after: Duration, history: &History) -> Error {
    match history.last() {
        Some(attempt) => attempt.end.error(bucket),
        None => timed_out(bucket, after, history),
    }
}

/// Attempts kept per batch.
const KEPT: usize = 8;

/// The last attempts of a batch. They are for people and never decide anything, so two states that
/// differ only here are equal.
#[derive(Clone, Debug, Default)]
pub(super) struct History(VecDeque<Attempt>);

impl History {
    pub(super) fn push(&mut self, attempt: Attempt) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(attempt);
    }

    fn last(&self) -> Option<&Attempt> {
        self.0.back()
    }

    pub(super) fn into_attempts(self) -> Vec<Attempt> {
        self.0.into()
    }
}

impl PartialEq for History {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for History {}

impl Hash for History {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
