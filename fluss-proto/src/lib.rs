//! Wire format of Apache Fluss: frames, messages, record batches and error codes.
//!
//! This crate turns values into bytes and bytes into values. It has no sockets, no clock and no
//! state beyond a partial frame; `fluss-core` decides what to send and what an answer means.
//!
//! # Layers
//!
//! A connection is a byte stream in each direction. From the stream upwards:
//!
//! | Module | Knows |
//! |---|---|
//! | [`frame`] | where one frame ends and the next begins, and how long a frame may be |
//! | [`header`] | which API is called, which request is answered, and whether with success |
//! | [`request`] | which messages belong to which API; whole requests out, whole responses in |
//! | [`message`] | the fields of each message, generated from `proto/fluss_api.proto` |
//! | [`record`] | the record batches that travel in `bytes` fields of messages |
//!
//! Beside them, [`api`] lists the APIs and finds the version that both sides speak,
//! [`error_code`] lists the error codes and what they ask of a client, and [`write`](mod@write)
//! encodes the two requests that carry batches without copying the batches, as [`segments`] for a
//! vectored write. [`server`] is the other side of [`request`], for fake servers in tests.
//!
//! # From a request to its answer
//!
//! A client asks a tablet server for a writer id. The server is played by hand here.
//!
//! ```
//! use fluss_proto::api::ApiKey;
//! use fluss_proto::frame::{DEFAULT_MAX_FRAME_BYTES, FrameReader};
//! use fluss_proto::header::{RequestHeader, ResponseHeader};
//! use fluss_proto::message::{InitWriterRequest, InitWriterResponse, PbTablePath};
//! use fluss_proto::request::{decode_response_body, encode_request};
//! use fluss_proto::server;
//!
//! // Encode. The id is ours to choose; the version comes from `NegotiatedVersions`.
//! let table = PbTablePath { database_name: "fluss".into(), table_name: "orders".into() };
//! let request = InitWriterRequest { table_path: vec![table] };
//! let to_server = encode_request(42, 0, &request)?;
//!
//! // The server cuts the stream into frames and looks at the header.
//! let mut frames = FrameReader::new(DEFAULT_MAX_FRAME_BYTES);
//! frames.read_from(&mut &to_server[..])?;
//! let frame = frames.next_frame()?.expect("the whole request has arrived");
//! let (header, body) = RequestHeader::split(frame)?;
//! assert_eq!(ApiKey::from_number(header.api_key), Some(ApiKey::InitWriter));
//! assert_eq!(server::decode_request::<InitWriterRequest>(body)?, request);
//! let answer = InitWriterResponse { writer_id: 7 };
//! let to_client = server::encode_response::<InitWriterRequest>(header.request_id, &answer)?;
//!
//! // The client gets the answer in two reads.
//! let mut frames = FrameReader::new(DEFAULT_MAX_FRAME_BYTES);
//! let (first, second) = to_client.split_at(6);
//! frames.read_from(&mut &first[..])?;
//! assert_eq!(frames.next_frame()?, None);
//! frames.read_from(&mut &second[..])?;
//! let frame = frames.next_frame()?.expect("the whole response has arrived");
//!
//! // Answers come in any order: the id tells which request this is, and only that tells which
//! // message to decode.
//! let (header, body) = ResponseHeader::split(frame)?;
//! assert_eq!(header.request_id(), Some(42));
//! let result = decode_response_body::<InitWriterRequest>(header, body)?;
//! assert_eq!(result.map(|response| response.writer_id), Ok(7));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a peer can do
//!
//! Bytes from a peer never cause a panic, and memory is claimed only for bytes that have arrived:
//! a frame that is announced but not sent costs reserved address space at most (see
//! [`frame::FrameReader`]). A decoded message may take more memory than its frame, because an
//! empty nested message takes two bytes on the wire and up to a few hundred in memory; the limit
//! on the size of a frame bounds that too.
//!
//! Errors are of three kinds, with different consequences. A [`frame::FrameError`], and a
//! [`header::DecodeError`] that
//! [is fatal](header::DecodeError::is_fatal_for_connection), end the connection. Any other
//! `DecodeError` fails one request. An [`error_code::ServerError`] is an answer like any other,
//! and its code tells what to do next.

pub mod api;
pub mod error_code;
pub mod frame;
pub mod header;
pub mod message;
pub mod record;
pub mod request;
pub mod segments;
pub mod server;
pub mod write;

pub use api::ApiKey;
pub use error_code::ErrorCode;
