//! What can go wrong, sorted by whose fault it is and what state remains.
//!
//! | family | meaning | state afterwards |
//! |---|---|---|
//! | [`Error::Misuse`], [`Error::Config`] | the caller broke the contract | unchanged |
//! | [`Error::Row`] | a row does not fit its table | that row is over, unsent; others go on |
//! | [`Error::Batch`] | rows cannot be put into a batch | those rows are over, unsent |
//! | [`Error::Rejected`] | a server answered with an error code | that request is over |
//! | [`Error::Unsupported`] | nothing can be agreed on with a server | that request is over |
//! | [`Error::NoServer`] | none of the servers is of use | that request is over |
//! | [`Error::Peer`] | a server sent bytes that make no sense | the connection is replaced |
//! | [`Error::Disconnected`] | a connection was not made or was lost | that request is over |
//! | [`Error::Decode`], [`Error::Scan`] | fetched bytes make no sense; a bucket ended | it stops |
//! | [`Error::Storage`] | an object in remote storage cannot be read | its bucket stops |
//! | [`Error::Unavailable`] | a deadline passed or nobody could be reached | that request is over |
//! | [`Error::Full`] | the memory budget is used up (`try_` calls only) | unchanged |
//! | [`Error::LookupsFull`] | too many lookups at once (`try_` calls only) | unchanged |
//! | [`Error::Closed`] | the client or the handle was closed | – |
//! | [`Error::Forked`] | the handle belongs to the parent of this process | the parent's is whole |
//!
//! After all but the last two the client goes on.

mod write;

use std::sync::Arc;

use fluss_proto::ErrorCode;

use crate::batch::{BatchError, DecodeError};
use crate::row::RowError;
use crate::scanner::ScanError;
use crate::storage::StorageError;
use crate::time::Duration;

pub use write::{Attempt, AttemptEnd, WriteError, WriteFailure};

/// Any error of the client. Cheap to clone; comparable, so that tests can assert exact values.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller asked for something that cannot be; the text says what and what to do instead.
    #[error("{0}")]
    Misuse(Arc<str>),

    /// Settings that contradict the rules; all violations, not the first.
    #[error("invalid settings: {}", .0.join("; "))]
    Config(Arc<[String]>),

    /// A row that does not fit its table, with the column and the value.
    #[error(transparent)]
    Row(#[from] RowError),

    /// A batch that cannot be encoded or decoded.
    #[error(transparent)]
    Batch(#[from] BatchError),

    /// A fetched batch that cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),

    /// An object in remote storage that could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),

    /// A bucket of a scanner stopped.
    #[error(transparent)]
    Scan(#[from] ScanError),

    /// A server answered with an error code.
    #[error("{what}: the server answered {code}: {message}")]
    Rejected {
        /// What was asked, for people: `CREATE_TABLE shop.events`.
        what: Arc<str>,
        /// The code as it came, also if this client does not know it.
        code: ErrorCode,
        /// The server's text, or the code's usual one.
        message: Arc<str>,
    },

    /// A server and this client have no version of an API in common, so that nothing was asked.
    #[error("{server}: no API version in common: {what}")]
    Unsupported {
        /// The server, as `role host:port`.
        server: Arc<str>,
        /// Which API, and what both sides speak.
        what: Arc<str>,
    },

    /// None of the servers to ask is of use; what each of them said.
    #[error("no server is of use: {}", each_text(.0))]
    NoServer(Arc<[Error]>),

    /// A server sent something that is no answer of a Fluss server.
    #[error("{server}: {what}")]
    Peer {
        /// The server, as `role host:port`.
        server: Arc<str>,
        /// What was wrong with its bytes.
        what: Arc<str>,
    },

    /// Nobody answered in time.
    #[error("{what}: no answer within {} ms{}", after.as_millis(), last_text(last.as_deref()))]
    Unavailable {
        /// What was waited for.
        what: Arc<str>,
        /// The limit that passed.
        after: Duration,
        /// The last reason for which an attempt failed, when there was one.
        last: Option<Box<Error>>,
    },

    /// A connection could not be made or was lost, and the request may not be repeated.
    #[error("{server}: {what}")]
    Disconnected {
        /// The server, as `role host:port`.
        server: Arc<str>,
        /// What happened to the connection.
        what: Arc<str>,
        /// Whether the request may have reached the server.
        sent: bool,
    },

    /// The memory budget does not allow it now; nothing was taken.
    #[error("the memory budget is used up: {needed} bytes needed, {used} of {limit} in use")]
    Full {
        /// Bytes asked for.
        needed: u64,
        /// Bytes in use.
        used: u64,
        /// The limit (`client.writer.buffer.memory-size`).
        limit: u64,
    },

    /// The budget of lookups does not allow another one now; nothing was sent.
    #[error(
        "the budget of lookups is used up: {lookups} of {max_lookups} on their way, {used} of \
         {limit} bytes in use, {needed} more needed"
    )]
    LookupsFull {
        /// Lookups on their way.
        lookups: usize,
        /// How many may be ([`Config::lookup_limit`](crate::config::Config::lookup_limit)).
        max_lookups: usize,
        /// Bytes of the key.
        needed: u64,
        /// Bytes in use: keys on their way, and answers that nobody has taken.
        used: u64,
        /// How many may be
        /// ([`Config::lookup_memory_limit`](crate::config::Config::lookup_memory_limit)).
        limit: u64,
    },

    /// The client was made before this process was forked off, and belongs to its parent.
    #[error(
        "this client belongs to process {owner}: neither its threads nor its connections outlive a \
         fork; make one of its own in this process"
    )]
    Forked {
        /// The process that made it.
        owner: u32,
    },

    /// The client, or this handle, was closed.
    #[error("the {0} is closed")]
    Closed(&'static str),
}

fn last_text(last: Option<&Error>) -> String {
    last.map(|e| format!(" (last: {e})")).unwrap_or_default()
}

fn each_text(errors: &[Error]) -> String {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// The result of most calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A [`Error::Misuse`] with this text.
    #[must_use]
    pub fn misuse(text: impl Into<Arc<str>>) -> Self {
        Self::Misuse(text.into())
    }

    /// The error's name as the command line prints it: the server's name of the code, or one of
    /// the client's own names.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Misuse(_) => "MISUSE",
            Self::Config(_) => "INVALID_SETTINGS",
            Self::Row(_) => "ROW_DOES_NOT_FIT",
            Self::Batch(_) | Self::Decode(_) => "INVALID_BATCH",
            Self::Storage(_) => "REMOTE_STORAGE",
            Self::Scan(error) => error.cause.name(),
            Self::Rejected { code, .. } => code.info().map_or("UNKNOWN_CODE", |i| i.name),
            Self::Unsupported { .. } => "NO_VERSION_IN_COMMON",
            Self::NoServer(errors) => same(errors, Self::name).unwrap_or("NO_SERVER"),
            Self::Peer { .. } => "PROTOCOL_VIOLATION",
            Self::Unavailable { .. } => "DEADLINE_EXCEEDED",
            Self::Disconnected { .. } => "DISCONNECTED",
            Self::Full { .. } => "MEMORY_FULL",
            Self::LookupsFull { .. } => "LOOKUPS_FULL",
            Self::Closed(_) | Self::Forked { .. } => "CLOSED",
        }
    }

    /// The server's code, when a server made the error.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Scan(error) => error.cause.code(),
            Self::Rejected { code, .. } => Some(*code),
            Self::NoServer(errors) => same(errors, Self::code).flatten(),
            _ => None,
        }
    }

    /// The errors of several servers as one; each is told.
    pub(crate) fn of_servers(mut errors: Vec<Self>) -> Option<Self> {
        match errors.len() {
            0 | 1 => errors.pop(),
            _ => Some(Self::NoServer(errors.into())),
        }
    }

    /// Whether another attempt at the same servers would end alike, as far as one can tell; of
    /// several, whether that is so for one that answered.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Rejected { .. }
            | Self::Unsupported { .. }
            | Self::Misuse(_)
            | Self::Config(_)
            | Self::Closed(_) => true,
            Self::NoServer(errors) => errors.iter().any(Self::is_final),
            _ => false,
        }
    }
}

/// What all errors have in common.
fn same<T: PartialEq>(errors: &[Error], of: impl Fn(&Error) -> T) -> Option<T> {
    let first = of(errors.first()?);
    errors.iter().all(|error| of(error) == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_several_servers_are_all_told() {
        let refused = |server: &str, code| Error::Rejected {
            what: format!("authentication at {server}").into(),
            code: ErrorCode(code),
            message: "no".into(),
        };
        let other =
            Error::Disconnected { server: "b:2".into(), what: "refused".into(), sent: false };
        let both = Error::of_servers(vec![refused("a:1", 46), other.clone()]).expect("two");
        assert!(both.to_string().contains("a:1") && both.to_string().contains("b:2"), "{both}");
        assert_eq!((both.code(), both.name(), both.is_final()), (None, "NO_SERVER", true));
        let alike = Error::of_servers(vec![refused("a:1", 46), refused("b:2", 46)]).expect("two");
        assert_eq!((alike.code(), alike.is_final()), (Some(ErrorCode(46)), true));
        assert_eq!(Error::of_servers(vec![other.clone()]), Some(other));
        assert_eq!(Error::of_servers(Vec::new()), None);
    }
}
