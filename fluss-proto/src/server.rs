//! Requests and responses as a server sees them, for fake servers in tests.
//!
//! ```
//! use fluss_proto::api::ApiKey;
//! use fluss_proto::message::{InitWriterRequest, InitWriterResponse};
//! use fluss_proto::request::{decode_response, encode_request};
//! use fluss_proto::{header::RequestHeader, server};
//!
//! let wire = encode_request(5, 0, &InitWriterRequest::default())?;
//! let (header, body) = RequestHeader::split(wire.slice(4..))?;
//! assert_eq!(ApiKey::from_number(header.api_key), Some(ApiKey::InitWriter));
//! let _request: InitWriterRequest = server::decode_request(body)?;
//!
//! let answer = InitWriterResponse { writer_id: 77 };
//! let wire = server::encode_response::<InitWriterRequest>(header.request_id, &answer)?;
//! let response = decode_response::<InitWriterRequest>(wire.slice(4..))?;
//! assert_eq!(response.header.request_id(), Some(5));
//! assert_eq!(response.result, Ok(answer));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use bytes::Bytes;
use prost::Message;

use crate::error_code::ServerError;
use crate::header::{DecodeError, EncodeError, LENGTH_BYTES, ResponseHeader, frame_length};
use crate::message::ErrorResponse;
use crate::request::{Request, decode_message};

/// Decodes the body of a request whose header was split off with
/// [`RequestHeader::split`](crate::header::RequestHeader::split).
///
/// It does not notice a missing required field, which a real server answers with silence.
///
/// # Errors
///
/// [`DecodeError::Body`] if the body is not the expected message.
pub fn decode_request<R: Request>(body: Bytes) -> Result<R, DecodeError> {
    decode_message(body)
}

/// A successful answer on the wire.
///
/// # Errors
///
/// [`EncodeError::TooLong`] if it exceeds the 2 GiB of the protocol.
pub fn encode_response<R: Request>(
    request_id: i32,
    response: &R::Response,
) -> Result<Bytes, EncodeError> {
    encode(ResponseHeader::Success { request_id }, response)
}

/// An error for one request on the wire.
///
/// # Errors
///
/// [`EncodeError::TooLong`] if it exceeds the 2 GiB of the protocol.
pub fn encode_error(request_id: i32, error: ServerError) -> Result<Bytes, EncodeError> {
    encode(ResponseHeader::Error { request_id }, &ErrorResponse::from(error))
}

/// A failure of the connection on the wire; a server closes the connection after it.
///
/// # Errors
///
/// [`EncodeError::TooLong`] if it exceeds the 2 GiB of the protocol.
pub fn encode_server_failure(error: ServerError) -> Result<Bytes, EncodeError> {
    encode(ResponseHeader::ServerFailure, &ErrorResponse::from(error))
}

fn encode(header: ResponseHeader, body: &impl Message) -> Result<Bytes, EncodeError> {
    let length = frame_length(header.wire_bytes(), body.encoded_len())?;
    let size = LENGTH_BYTES + header.wire_bytes() + body.encoded_len();
    let mut wire = Vec::with_capacity(size);
    wire.extend_from_slice(&length.to_be_bytes());
    header.put(&mut wire);
    body.encode_raw(&mut wire);
    Ok(wire.into())
}
