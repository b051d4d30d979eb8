//! The headers of request and response frames.
//!
//! A frame here is what [`FrameReader`](crate::frame::FrameReader) returns: the bytes after the
//! length. All integers are big-endian.

use bytes::{Buf, Bytes};

/// The longest value of the length field: it is a signed 32-bit integer.
pub const MAX_LENGTH: usize = i32::MAX as usize;

/// The size of the length field that starts each frame on the wire.
pub const LENGTH_BYTES: usize = 4;

/// What precedes the body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestHeader {
    /// The number of the API, which may be one that [`crate::api::ApiKey`] does not know.
    pub api_key: i16,
    /// The version in which the body is to be understood.
    pub api_version: i16,
    /// Chosen by the client, unique among its unanswered requests on the connection.
    pub request_id: i32,
}

impl RequestHeader {
    /// The size on the wire, without the length field.
    pub const BYTES: usize = 8;

    /// The first twelve bytes of a request with a body of this size.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLong`] if the length field cannot express it.
    pub fn to_wire(self, body: usize) -> Result<[u8; LENGTH_BYTES + Self::BYTES], EncodeError> {
        let length = frame_length(Self::BYTES, body)?;
        let mut wire = [0; LENGTH_BYTES + Self::BYTES];
        wire[..4].copy_from_slice(&length.to_be_bytes());
        wire[4..6].copy_from_slice(&self.api_key.to_be_bytes());
        wire[6..8].copy_from_slice(&self.api_version.to_be_bytes());
        wire[8..].copy_from_slice(&self.request_id.to_be_bytes());
        Ok(wire)
    }

    /// Splits a request frame into its header and its body.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] if the frame is shorter than a header.
    pub fn split(mut frame: Bytes) -> Result<(Self, Bytes), DecodeError> {
        need(&frame, Self::BYTES)?;
        let header = Self {
            api_key: frame.get_i16(),
            api_version: frame.get_i16(),
            request_id: frame.get_i32(),
        };
        Ok((header, frame))
    }
}

/// What precedes the body of a response, and what the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResponseHeader {
    /// The body is the response message of the API of the request.
    Success {
        /// The id of the request that is answered.
        request_id: i32,
    },
    /// The body is an [`ErrorResponse`](crate::message::ErrorResponse) for one request.
    Error {
        /// The id of the request that is answered.
        request_id: i32,
    },
    /// The body is an [`ErrorResponse`](crate::message::ErrorResponse) for the connection: no
    /// unanswered request will be answered and the server closes the connection.
    ServerFailure,
}

impl ResponseHeader {
    const SUCCESS: u8 = 0;
    const ERROR: u8 = 1;
    const SERVER_FAILURE: u8 = 2;

    /// The request that is answered; [`None`] for a failure of the connection.
    pub fn request_id(self) -> Option<i32> {
        match self {
            Self::Success { request_id } | Self::Error { request_id } => Some(request_id),
            Self::ServerFailure => None,
        }
    }

    /// The size on the wire, without the length field.
    pub fn wire_bytes(self) -> usize {
        if self.request_id().is_some() { 5 } else { 1 }
    }

    /// Writes the header, without the length field.
    pub(crate) fn put(self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::Success { .. } => Self::SUCCESS,
            Self::Error { .. } => Self::ERROR,
            Self::ServerFailure => Self::SERVER_FAILURE,
        });
        if let Some(request_id) = self.request_id() {
            out.extend_from_slice(&request_id.to_be_bytes());
        }
    }

    /// Splits a response frame into its header and its body, which is not copied.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] or [`DecodeError::UnknownResponseKind`]. Both mean that the two
    /// sides no longer agree about the stream, so the connection must be closed.
    pub fn split(mut frame: Bytes) -> Result<(Self, Bytes), DecodeError> {
        need(&frame, 1)?;
        let kind = frame[0];
        if kind > Self::SERVER_FAILURE {
            return Err(DecodeError::UnknownResponseKind { kind });
        }
        if kind == Self::SERVER_FAILURE {
            frame.advance(1);
            return Ok((Self::ServerFailure, frame));
        }
        need(&frame, 5)?;
        frame.advance(1);
        let request_id = frame.get_i32();
        let header = if kind == Self::SUCCESS {
            Self::Success { request_id }
        } else {
            Self::Error { request_id }
        };
        Ok((header, frame))
    }
}

/// The value of the length field for a header and a body.
pub(crate) fn frame_length(header: usize, body: usize) -> Result<i32, EncodeError> {
    let length = header.saturating_add(body);
    i32::try_from(length).map_err(|_| EncodeError::TooLong { length })
}

fn need(frame: &Bytes, needed: usize) -> Result<(), DecodeError> {
    if frame.len() < needed {
        return Err(DecodeError::Truncated { needed, present: frame.len() });
    }
    Ok(())
}

/// Why a message cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The frame is longer than the protocol can express.
    #[error(
        "a frame of {length} bytes does not fit the protocol, which ends at {MAX_LENGTH} bytes; \
         split the request"
    )]
    TooLong {
        /// The bytes after the length field.
        length: usize,
    },
    /// A field needs a newer version of the API. An older server would skip the field and store
    /// the rows in the wrong place.
    #[error(
        "{field} needs version {needed} of {api}, but the connection speaks version {version}; \
         the server must be upgraded"
    )]
    NeedsVersion {
        /// The API.
        api: crate::api::ApiKey,
        /// The field.
        field: &'static str,
        /// The first version that knows the field.
        needed: i16,
        /// The version of the connection.
        version: i16,
    },
}

/// Why a frame cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The frame ends within its header. The connection must be closed.
    #[error("the frame has {present} bytes, but its header needs {needed}")]
    Truncated {
        /// The size of the header.
        needed: usize,
        /// The size of the frame.
        present: usize,
    },
    /// The first byte of a response is none of the known kinds. The connection must be closed.
    #[error("the response is of unknown kind {kind}; known are 0, 1 and 2")]
    UnknownResponseKind {
        /// The first byte.
        kind: u8,
    },
    /// The body is not the expected message. Frames after it can still be read, so that only this
    /// request has failed.
    #[error("the body is no valid {message}")]
    Body {
        /// The name of the expected message.
        message: &'static str,
        /// What the protobuf decoder says.
        source: prost::DecodeError,
    },
}

impl DecodeError {
    /// Whether the stream itself is broken, so that nothing after the frame can be trusted.
    pub fn is_fatal_for_connection(&self) -> bool {
        !matches!(self, Self::Body { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_header_survives_the_round_trip() {
        for (api_key, api_version, request_id) in
            [(1000, 0, 0), (-1, -3, i32::MIN), (i16::MAX, i16::MIN, -1)]
        {
            let header = RequestHeader { api_key, api_version, request_id };
            let mut wire = Bytes::copy_from_slice(&header.to_wire(3).unwrap());
            assert_eq!(wire.get_i32(), 11);
            assert_eq!(RequestHeader::split(wire), Ok((header, Bytes::new())));
        }
    }

    #[test]
    fn a_body_that_the_length_field_cannot_express_is_refused() {
        let header = RequestHeader { api_key: 1, api_version: 0, request_id: 0 };
        assert!(header.to_wire(MAX_LENGTH - 8).is_ok());
        assert_eq!(
            header.to_wire(MAX_LENGTH - 7),
            Err(EncodeError::TooLong { length: MAX_LENGTH + 1 })
        );
        assert!(header.to_wire(usize::MAX).is_err());
    }

    #[test]
    fn every_kind_of_response_header_survives_the_round_trip() {
        for header in [
            ResponseHeader::Success { request_id: 7 },
            ResponseHeader::Error { request_id: -7 },
            ResponseHeader::ServerFailure,
        ] {
            let mut wire = Vec::new();
            header.put(&mut wire);
            assert_eq!(wire.len(), header.wire_bytes());
            wire.push(0xAA);
            let body = Bytes::from_static(&[0xAA]);
            assert_eq!(ResponseHeader::split(wire.into()), Ok((header, body)));
        }
    }

    #[test]
    fn truncated_headers_are_refused() {
        for length in 0..8 {
            let frame = Bytes::from(vec![0; length]);
            assert_eq!(
                RequestHeader::split(frame.clone()),
                Err(DecodeError::Truncated { needed: 8, present: length })
            );
            if length < 5 {
                let needed = if length == 0 { 1 } else { 5 };
                let error = ResponseHeader::split(frame).unwrap_err();
                assert_eq!(error, DecodeError::Truncated { needed, present: length });
                assert!(error.is_fatal_for_connection());
            }
        }
    }

    #[test]
    fn unknown_kinds_are_refused_however_long_the_frame_is() {
        for kind in 3..=u8::MAX {
            let error = Err(DecodeError::UnknownResponseKind { kind });
            assert_eq!(ResponseHeader::split(Bytes::from(vec![kind])), error);
            assert_eq!(ResponseHeader::split(Bytes::from(vec![kind; 9])), error);
        }
    }
}
