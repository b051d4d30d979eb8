//! Why a row did not get an `Ok`: the outcome, its reason, and the attempts that led there.

use std::fmt;
use std::sync::Arc;

use fluss_proto::ErrorCode;

use super::Error;
use crate::ids::ServerId;
use crate::time::Duration;

/// Why a row did not get an `Ok`.
///
/// ```
/// use fluss_core::{Error, WriteError};
///
/// fn is_safe_to_repeat(error: &WriteError) -> bool {
///     for attempt in error.attempts() {
///         println!("{attempt}"); // after 31.2 ms, tablet server 1, sequence 7: ...
///     }
///     matches!(error, WriteError::NotWritten(_))
/// }
///
/// let error = WriteError::NotWritten(Error::Closed("client").into());
/// assert!(is_safe_to_repeat(&error) && error.code().is_none());
/// ```
///
/// # What an answer means
///
#[doc = include_str!("../writer/retry/verdicts.md")]
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The row is not in the log and never will be; it may be handed in again without risk.
    #[error("not written: {0}")]
    NotWritten(WriteFailure),
    /// The row is in the log at most once, possibly later than now; handing it in again may double
    /// it. Without idempotence it may be there more than once.
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(WriteFailure),
}

impl WriteError {
    /// The reason, whatever the outcome.
    #[must_use]
    pub fn cause(&self) -> &Error {
        &self.failure().error
    }

    /// The copies of the row's batch that did not end in success, oldest first; the last 8 of them.
    /// Empty for a row that was never sent.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        &self.failure().attempts
    }

    /// The server's code: that of the reason, or else of the last attempt that a server refused.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        self.cause().code().or_else(|| {
            self.attempts().iter().rev().find_map(|attempt| match &attempt.end {
                AttemptEnd::Rejected { code, .. } => Some(*code),
                AttemptEnd::Lost(_) | AttemptEnd::NotSent(_) => None,
            })
        })
    }

    fn failure(&self) -> &WriteFailure {
        match self {
            Self::NotWritten(failure) | Self::OutcomeUnknown(failure) => failure,
        }
    }

    /// The same outcome and reason with its attempts.
    pub(crate) fn with_attempts(self, attempts: Vec<Attempt>) -> Self {
        let with = |failure: WriteFailure| WriteFailure { attempts: attempts.into(), ..failure };
        match self {
            Self::NotWritten(failure) => Self::NotWritten(with(failure)),
            Self::OutcomeUnknown(failure) => Self::OutcomeUnknown(with(failure)),
        }
    }
}

/// The reason of a [`WriteError`] and what was tried before.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct WriteFailure {
    /// The reason.
    pub error: Error,
    /// See [`WriteError::attempts`].
    pub attempts: Arc<[Attempt]>,
}

impl From<Error> for WriteFailure {
    fn from(error: Error) -> Self {
        Self { error, attempts: Arc::default() }
    }
}

impl fmt::Display for WriteFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)?;
        // A server that says the same over and over is quoted once.
        for (index, run) in self.attempts.chunk_by(Attempt::is_like).enumerate() {
            f.write_str(if index == 0 { " (attempts: " } else { "; " })?;
            if let [first, .., last] = run {
                write!(f, "{} times from {:.1?} on, at last ", run.len(), first.after)?;
                last.fmt(f)?;
            } else {
                run.iter().try_for_each(|only| only.fmt(f))?;
            }
        }
        if self.attempts.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

/// A copy of a batch that was sent, or was to be sent, and did not end in success.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Attempt {
    /// When its end was learnt, counted from the moment the batch was opened for its first row.
    pub after: Duration,
    /// The server it went to; None where the connection is too long gone to be remembered.
    pub server: Option<ServerId>,
    /// The batch's sequence in that copy; None without idempotence.
    pub sequence: Option<i32>,
    /// How it ended.
    pub end: AttemptEnd,
}

impl Attempt {
    /// Whether the other one tells nothing new but its time.
    fn is_like(&self, other: &Self) -> bool {
        (self.server, self.sequence, &self.end) == (other.server, other.sequence, &other.end)
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {:.1?}", self.after)?;
        if let Some(server) = self.server {
            write!(f, ", {server}")?;
        }
        if let Some(sequence) = self.sequence {
            write!(f, ", sequence {sequence}")?;
        }
        write!(f, ": {}", self.end)
    }
}

/// How a copy of a batch ended that did not succeed.
#[derive(Clone, Debug, PartialEq)]
pub enum AttemptEnd {
    /// The server answered with a code.
    Rejected {
        /// The code as it came.
        code: ErrorCode,
        /// The server's text, or the code's usual one.
        message: Arc<str>,
    },
    /// No usable answer: the copy may or may not have been appended.
    Lost(Error),
    /// It never left the client.
    NotSent(Error),
}

impl fmt::Display for AttemptEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected { code, message } => write!(f, "{code}: {message}"),
            Self::Lost(error) => write!(f, "no answer: {error}"),
            Self::NotSent(error) => write!(f, "not sent: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(millis: u64, end: AttemptEnd) -> Attempt {
        let after = Duration::from_millis(millis);
        Attempt { after, server: Some(ServerId::Tablet(1)), sequence: Some(7), end }
    }

    #[test]
    fn the_chain_of_attempts_is_readable_and_tells_the_last_code() {
        let lost = Error::Disconnected {
            server: "tablet server a:1".into(),
            what: "closed by the server".into(),
            sent: true,
        };
        let refused =
            AttemptEnd::Rejected { code: ErrorCode(12), message: "not the leader".into() };
        let last = Error::Unavailable {
            what: "write to table 1 bucket 0".into(),
            after: Duration::from_secs(120),
            last: None,
        };
        let error = WriteError::OutcomeUnknown(last.into());
        assert_eq!((error.code(), error.attempts().len()), (None, 0));
        let chain = vec![
            attempt(2, refused.clone()),
            attempt(3, refused.clone()),
            attempt(5, refused),
            attempt(1500, AttemptEnd::Lost(lost)),
        ];
        let error = error.with_attempts(chain);
        assert_eq!(error.code(), Some(ErrorCode(12)));
        let text = error.to_string();
        for part in [
            "outcome unknown: write to table 1 bucket 0: no answer within 120000 ms",
            "(attempts: 3 times from 2.0ms on, at last after 5.0ms, tablet server 1, sequence 7: ",
            ": not the leader; after 1.5s, tablet server 1, sequence 7: no answer: ",
            "closed by the server)",
        ] {
            assert!(text.contains(part), "`{part}` is not in `{text}`");
        }
    }
}
