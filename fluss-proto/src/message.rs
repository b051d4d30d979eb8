//! The protobuf messages of the RPC interface.
//!
//! The types are generated from `proto/fluss_api.proto`, which also carries their documentation.
//! Three things hold for all of them:
//!
//! - A field that is [`None`] is absent on the wire, which is not the same as zero: servers write
//!   zeroes, and most absent fields have a meaning of their own, given at the field.
//! - A field that the schema requires is always written, also when it is zero or empty. A server
//!   drops a request that lacks one without an answer.
//! - Every `bytes` field is [`bytes::Bytes`]: decoded from a frame held as `Bytes`, it is a slice
//!   of that frame and costs no copy.
//!
//! ```
//! use bytes::Bytes;
//! use fluss_proto::message::{PbFetchLogRespForBucket, PbTablePath};
//! use prost::Message;
//!
//! let path = PbTablePath { database_name: "fluss".into(), table_name: "orders".into() };
//! assert_eq!(path.encode_to_vec(), b"\x0a\x05fluss\x12\x06orders");
//!
//! let frame = Bytes::from_static(b"\x10\x03\x42\x04rows");
//! let bucket = PbFetchLogRespForBucket::decode(frame.clone())?;
//! let records = bucket.records.expect("field 8 was present");
//! assert_eq!(bucket.bucket_id, 3);
//! assert_eq!(records.as_ptr(), frame[4..].as_ptr());
//! # Ok::<(), prost::DecodeError>(())
//! ```

// Generated text keeps the shape that the generator gives it, so that it can be compared.
#[rustfmt::skip]
#[allow(missing_docs, clippy::all, reason = "generated code")]
mod generated;

pub use generated::*;
