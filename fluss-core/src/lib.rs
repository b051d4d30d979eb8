//! Sans-IO core of an Apache Fluss client.

pub mod backoff;
pub mod batch;
pub mod config;
mod connection;
mod cx;
pub mod error;
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

pub use error::{Error, Result, WriteError};
pub use lookup::{LookupKind, LookupRequest};
pub use metadata::{BucketMeta, Cluster, PartitionMeta, TableMeta};
pub use output::{Action, BatchOutcome, CommandAnswer, Event, TimerReason, Written};
pub use scanner::{
    BucketProgress, EARLIEST, FetchedBatch, ScanError, ScannerOptions, TakeLimits, Taken,
};
