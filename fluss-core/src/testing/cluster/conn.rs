//! One connection as the server sees it: frames in, frames out.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use std::collections::VecDeque;

use fluss_proto::message::ErrorResponse;

use super::Failure;
use super::faults::Fault;
use crate::ids::ServerId;
use crate::time::Instant;

const SUCCESS: u8 = 0;
const ERROR: u8 = 1;
const SERVER_FAILURE: u8 = 2;
/// API key, version and request id in front of the body of a request.
pub(super) const REQUEST_HEADER: usize = 8;
/// Length, type and request id in front of the body of an answer.
const HEAD: usize = 9;

/// A request as read from its frame.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) api: i16,
    pub(super) version: i16,
    pub(super) id: i32,
    pub(super) body: Bytes,
    pub(super) fault: Option<Fault>,
}

impl Request {
    /// Reads a frame without its length field; at least the header is there.
    pub(super) fn read(mut frame: Bytes) -> Self {
        let (api, version, id) = (frame.get_i16(), frame.get_i16(), frame.get_i32());
        Self { api, version, id, body: frame, fault: None }
    }
}

/// What a request led to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A success frame whose head is still blank.
    Answer(BytesMut),
    /// An error frame.
    Refused(Failure),
    /// No answer, now or later.
    Dropped,
}

impl Outcome {
    /// An answer to be filled, with room for its head.
    pub(super) fn empty() -> BytesMut {
        BytesMut::zeroed(HEAD)
    }

    pub(super) fn answer(message: &impl Message) -> Self {
        Self::Answer(Self::encode(message))
    }

    /// An answer whose head is still blank.
    pub(super) fn encode(message: &impl Message) -> BytesMut {
        // A fetched answer is large; encoded behind room for its head it is copied once less.
        let mut frame = BytesMut::with_capacity(HEAD + message.encoded_len());
        frame.put_bytes(0, HEAD);
        message.encode_raw(&mut frame);
        frame
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) server: ServerId,
    /// Bytes of an unfinished frame.
    pub(super) input: BytesMut,
    pub(super) output: VecDeque<Bytes>,
    /// The client is still there.
    pub(super) open: bool,
    /// The server is done with it: the transport closes once the output is written.
    pub(super) closing: bool,
    pub(super) authenticated: bool,
    /// Who the client is, once authenticated.
    pub(super) user: String,
    pub(super) silent: bool,
    /// Requests held back, and until when.
    pub(super) queue: VecDeque<Request>,
    pub(super) held_until: Option<Instant>,
}

impl Conn {
    pub(super) fn new(server: ServerId, authenticated: bool) -> Self {
        Self {
            server,
            input: BytesMut::new(),
            output: VecDeque::new(),
            open: true,
            closing: false,
            authenticated,
            user: "ANONYMOUS".to_owned(),
            silent: false,
            queue: VecDeque::new(),
            held_until: None,
        }
    }

    /// Takes the next whole frame out of the input. An error is a length that must not be.
    pub(super) fn next_frame(&mut self, limit: usize) -> Result<Option<Bytes>, i32> {
        let Some(head) = self.input.first_chunk::<4>() else { return Ok(None) };
        let length = frame_length(*head, limit)?;
        if self.input.len() < 4 + length {
            self.input.reserve(4 + length - self.input.len());
            return Ok(None);
        }
        self.input.advance(4);
        Ok(Some(self.input.split_to(length).freeze()))
    }
}

/// The length of a request frame behind its length field, or the value that is not allowed. A frame
/// too short for a header is refused only once it is there, as servers do.
pub(super) fn frame_length(head: [u8; 4], limit: usize) -> Result<usize, i32> {
    let announced = i32::from_be_bytes(head);
    usize::try_from(announced).ok().filter(|&length| length + 4 <= limit).ok_or(announced)
}

/// Whether these bytes are one request, all of it, of a length that is allowed.
pub(super) fn is_frame(bytes: &[u8], limit: usize) -> bool {
    let length = bytes.first_chunk().and_then(|head| frame_length(*head, limit).ok());
    length.is_some_and(|length| length + 4 == bytes.len())
}

fn frame(kind: u8, id: Option<i32>, body: &[u8]) -> Bytes {
    let length = 1 + id.map_or(0, |_| 4) + body.len();
    let mut out = BytesMut::with_capacity(4 + length);
    out.put_i32(i32::try_from(length).unwrap_or(i32::MAX));
    out.put_u8(kind);
    if let Some(id) = id {
        out.put_i32(id);
    }
    out.put_slice(body);
    out.freeze()
}

/// Fills in the head of an answer.
pub(super) fn success(id: i32, mut frame: BytesMut) -> Bytes {
    let length = i32::try_from(frame.len() - 4).unwrap_or(i32::MAX);
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame[4] = SUCCESS;
    frame[5..HEAD].copy_from_slice(&id.to_be_bytes());
    frame.freeze()
}

/// A well-formed frame with a body that is no message.
pub(super) fn rubbish(id: i32) -> Bytes {
    frame(SUCCESS, Some(id), &[0xff; 12])
}

pub(super) fn refused(id: i32, failure: &Failure) -> Bytes {
    frame(ERROR, Some(id), &failure.body())
}

pub(super) fn server_failure(failure: &Failure) -> Bytes {
    frame(SERVER_FAILURE, None, &failure.body())
}

pub(super) fn nonsense(id: i32) -> Bytes {
    frame(9, Some(id), b"not a frame type of this protocol")
}

impl Failure {
    fn body(&self) -> Vec<u8> {
        let error_message = (!self.message.is_empty()).then(|| self.message.clone());
        ErrorResponse { error_code: self.code, error_message }.encode_to_vec()
    }
}
