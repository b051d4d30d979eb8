//! The core of an Apache Fluss client: all of the protocol, none of the I/O.
//!
//! [Apache Fluss](https://fluss.apache.org) is streaming storage: log tables, to which rows are
//! appended, and primary-key tables, whose rows are upserted, deleted and looked up. Tables are
//! split in buckets; each bucket has a leader among the tablet servers. This crate decides what to
//! say to which server and what an answer means. It opens no socket, starts no thread and reads no
//! clock: an adapter does that, of which `fluss-tokio`, `fluss-smol` and `fluss-embedded` are
//! three. Most applications depend on one of those and never name this crate.
//!
//! # Two ways in
//!
//! **Handles** (feature `handle`, on by default): [`Fluss`], [`Table`], [`AppendWriter`],
//! [`UpsertWriter`], tickets. One set of types for all runtimes. Everything that waits is a future
//! and has a `wait` for blocked threads.
//!
//! **[`Client`]**, for an event loop of your own: inputs go in with the time, actions, bytes and
//! events come out. The four families of its methods, and the order in which to call them, are told
//! on the type.
//!
//! # How a row travels
//!
//! 1. `append` encodes the row into the open batch of a bucket, on the caller's thread, under a
//!    lock that nobody else wants: each clone of a writer has batches of its own.
//! 2. A batch that is full, or has lingered, is sealed: compressed and checksummed, on the caller's
//!    thread or the driver's, never under the client's lock. The client gets a handful of numbers
//!    and a reference to the bytes.
//! 3. When the leader's socket can take bytes, the client puts sealed batches into a request, gives
//!    each its sequence and writes writer id and sequence into the 48 bytes of its header. The
//!    payload is not touched again; the checksum is combined.
//! 4. The answer proves what became of the batch, and of the batches before it. Each row ends
//!    exactly once: `Ok` with its place, or [`WriteError::NotWritten`], or
//!    [`WriteError::OutcomeUnknown`].
//!
//! # What is promised
//!
//! With the defaults (idempotence on, acks from all in-sync replicas): no acknowledged row is lost,
//! no row is written twice, no row is left without an outcome, and every wait has an end. Where
//! exactly-once cannot be known, as when every answer was lost until the deadline, the outcome says
//! so.
//!
//! # Determinism
//!
//! The client's only sources of change are its inputs. Time is an argument, chance comes from
//! [`Config::seed`](config::Config::seed), and nothing iterates over a hash map: the same inputs
//! give the same outputs, byte for byte. The feature `testing` brings a fake cluster with the same
//! property.
//!
//! # Rooms
//!
//! | room | what it holds |
//! |---|---|
//! | `client` | the machines under one roof, and the contract with adapters |
//! | `connection` | handshake, requests and their deadlines, reconnecting |
//! | `metadata` | what is known of the cluster, what to ask and when |
//! | `writer` | memory, open and sealed batches, idempotence, requests |
//! | `scanner`, `lookup`, [`command`] | fetches, lookups, calls with one request and one answer |
//! | [`mod@row`], [`mod@batch`] | rows and schemas; Arrow and key-value batches |
//! | `filter` | which rows a scan wants |
//! | [`metrics`] | what can be seen from outside |
//! | `handle` | what users hold |
//! | `testing` | the fake cluster, the simulator |
#![doc = ""]
#![doc = include_str!("features.md")]

pub mod backoff;
pub mod batch;
mod by_id;
mod client;
pub mod command;
pub mod config;
mod connection;
mod cx;
pub mod error;
mod filter;
#[cfg(feature = "handle")]
mod handle;
pub mod ids;
mod lookup;
mod metadata;
pub mod metrics;
mod output;
mod resolver;
pub mod rng;
pub mod row;
mod scanner;
mod storage;
mod table_info;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
mod wish;
mod writer;

pub use fluss_proto::frame::FrameReader;
pub use fluss_proto::record::ChangeType;
pub use fluss_proto::segments::Segments;
pub use fluss_proto::{ApiKey, ErrorCode};

pub use client::Client;
pub use error::{Attempt, AttemptEnd, Error, Result, WriteError, WriteFailure};
pub use filter::{Filter, FilterColumn, ServerFilter, col};
#[cfg(feature = "handle")]
pub use handle::*;
pub use lookup::{LookupKind, LookupRequest};
pub use metadata::{BucketMeta, Cluster, PartitionMeta, TableMeta};
pub use metrics::{Latency, Metrics};
pub use output::{
    Action, BatchOutcome, CommandAnswer, Counters, Event, NoteLevel, TimerReason, Written,
};
pub use scanner::{
    BucketProgress, EARLIEST, FetchedBatch, MetadataColumn, ScanBatch, ScanError, ScanRows,
    ScannerOptions, TakeLimits, Taken,
};

pub use table_info::TableInfo;
pub use time::Instant;
pub use writer::{Open, OpenIn, PartitionPlace, Reserve, WaiterId, WriterKind};
