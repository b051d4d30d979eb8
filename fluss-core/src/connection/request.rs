//! Requests between the machines and the connections: what goes out, who gets the answer.

use bytes::Bytes;
use fluss_proto::{ApiKey, ErrorCode};
use std::sync::Arc;

use crate::error::Error;
use crate::ids::{CommandId, ScannerKey, WriterKey};
use crate::time::Instant;

/// Who gets the answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// The metadata machine; the number is its own token.
    Metadata(u64),
    /// The writer that wants an id.
    InitWriter(WriterKey),
    /// The sender; the number names the request in its table.
    Write(u64),
    /// A scanner; the number is its own token.
    Fetch(ScannerKey, u64),
    /// The lookup machine; the number is its own token.
    Lookup(u64),
    /// A command.
    Command(CommandId),
}

/// A small request that waits in an outbox until its connection can take it.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    /// The API; its version is negotiated per connection.
    pub(crate) api: ApiKey,
    /// The encoded protobuf body.
    pub(crate) body: Bytes,
    /// Who gets the answer.
    pub(crate) owner: Owner,
    /// When the request ends without an answer.
    pub(crate) deadline: Instant,
}

/// Exactly one of these comes back for every request that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// Who asked.
    pub(crate) owner: Owner,
    /// The response body (protobuf), sliced from its frame, or why there is none.
    pub(crate) result: Result<Bytes, RequestError>,
}

/// Why a request has no response body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RequestError {
    /// Not one byte of it was handed to a socket: no connection, or no time left.
    NotSent(Error),
    /// It may have reached the server: connection lost, or no answer in time.
    Lost(Error),
    /// The server answered with an error for the whole request.
    Rejected {
        /// The code.
        code: ErrorCode,
        /// The server's text, or the code's usual one.
        message: Arc<str>,
    },
    /// This server does not offer the API, or no version in common; nothing was sent.
    Unsupported(Error),
}
