//! Sans-IO core of an Apache Fluss client.

pub mod backoff;
pub mod batch;
mod client;
pub mod command;
pub mod config;
mod connection;
mod cx;
pub mod error;
#[cfg(feature = "handle")]
mod handle;
pub mod ids;
mod lookup;
mod metadata;
mod output;
pub mod rng;
pub mod row;
mod scanner;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
mod wish;
mod writer;

pub use fluss_proto::frame::FrameReader;
pub use fluss_proto::segments::Segments;
pub use fluss_proto::{ApiKey, ErrorCode};

pub use client::Client;
pub use error::{Error, Result, WriteError};
#[cfg(feature = "handle")]
pub use handle::*;
pub use lookup::{LookupKind, LookupRequest};
pub use metadata::{BucketMeta, Cluster, PartitionMeta, TableMeta};
pub use output::{Action, BatchOutcome, CommandAnswer, Counters, Event, TimerReason, Written};
pub use scanner::{
    BucketProgress, EARLIEST, FetchedBatch, ScanError, ScannerOptions, TakeLimits, Taken,
};
pub use time::Instant;
pub use writer::{Open, Reserve, WaiterId, WriterKind};
