//! Frames as the connections see them: a request made, an answer taken apart.

use std::sync::Arc;

use bytes::Bytes;
use fluss_proto::header::{DecodeError, RequestHeader, ResponseHeader};
use fluss_proto::request::decode_error;
use fluss_proto::segments::Segments;
use fluss_proto::{ApiKey, ErrorCode};

/// An answer, its body still a slice of the frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Success {
        id: i32,
        body: Bytes,
    },
    Rejected {
        id: i32,
        code: ErrorCode,
        message: Arc<str>,
    },
    /// An error for this request that cannot be read.
    Unreadable {
        id: i32,
        what: String,
    },
    /// The server gives up the connection.
    ServerFailure {
        code: ErrorCode,
        message: Arc<str>,
    },
}

impl Answer {
    pub(crate) fn id(&self) -> Option<i32> {
        match self {
            Self::Success { id, .. } | Self::Rejected { id, .. } | Self::Unreadable { id, .. } => {
                Some(*id)
            }
            Self::ServerFailure { .. } => None,
        }
    }
}

/// Takes a frame (without its length) apart. The text says what is wrong with it.
pub(crate) fn answer(frame: Bytes) -> Result<Answer, String> {
    let (header, body) = ResponseHeader::split(frame).map_err(|e| text(&e))?;
    Ok(match header {
        ResponseHeader::Success { request_id } => Answer::Success { id: request_id, body },
        ResponseHeader::Error { request_id: id } => match error_of(body) {
            Ok((code, message)) => Answer::Rejected { id, code, message },
            Err(what) => Answer::Unreadable { id, what },
        },
        ResponseHeader::ServerFailure => {
            let (code, message) = error_of(body)?;
            Answer::ServerFailure { code, message }
        }
    })
}

fn error_of(body: Bytes) -> Result<(ErrorCode, Arc<str>), String> {
    let error = decode_error(body).map_err(|e| text(&e))?;
    // A body of no bytes at all reads like this, too: as if what was asked had been done.
    if error.code.is_none() {
        return Err("an error without a code".to_owned());
    }
    let usual = || error.code.info().map_or("no text", |info| info.meaning);
    let message = error.message.as_deref().filter(|m| !m.is_empty()).unwrap_or_else(usual);
    Ok((error.code, message.into()))
}

/// The error with its cause, as it is the cause that says what is wrong with a body.
fn text(error: &DecodeError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// A request as one frame with its length; the body is not copied. None above 2 GiB.
pub(crate) fn request(api: ApiKey, version: i16, id: i32, body: Bytes) -> Option<Segments> {
    let header = RequestHeader { api_key: api.number(), api_version: version, request_id: id };
    let prefix = header.to_wire(body.len()).ok()?;
    let mut frame = Segments::from(Bytes::copy_from_slice(&prefix));
    frame.push(body);
    Some(frame)
}
