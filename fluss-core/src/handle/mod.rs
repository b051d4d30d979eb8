//! The handles users hold, the same on every runtime.
//!
//! A handle locks the client for the length of a step, never for the length of a wait, and needs
//! nothing of a runtime but wakers. Everything that waits is a future, and each future can also be
//! waited for by a blocked thread (`wait`).
//!
//! | room | what it holds |
//! |---|---|
//! | [`shared`] | the client behind its lock, and who waits for what |
//! | [`driver`] | the loop between sockets and client that all adapters share |
//! | [`lane`], [`slots`] | a writer handle's open batches, and which of them a row goes to |
//! | [`append`], [`upsert`] | the writers |
//! | [`format`] | what they make batches with |
//! | [`dead_letter`] | rows that did not make it, given back |
//! | [`assign`], [`reroute`] | which bucket a row goes to, and what if there are others |
//! | [`scan`], [`scan_builder`] | the log scanner |
//! | [`snapshot`] | all rows of a table as they are now, and the changes after that |
//! | [`offsets`] | where logs begin and end |
//! | [`lookup`], [`limit_scan`] | reading rows by key, and as they are now |
//! | [`admin`], [`servers`] | databases, tables, partitions; the servers themselves |
//! | [`ticket`], [`pending`], [`answers`] | what is being waited for |

#[cfg(test)]
mod abuse_tests;
mod admin;
mod answers;
mod append;
#[cfg(test)]
mod arrow_fit_tests;
mod assign;
#[cfg(test)]
mod beyond_end_tests;
mod cell;
#[cfg(test)]
mod cut_off_calls_tests;
#[cfg(test)]
mod cut_off_memory_tests;
#[cfg(test)]
mod cut_off_one_tests;
#[cfg(test)]
mod cut_off_tests;
mod dead_letter;
mod driver;
#[cfg(test)]
mod filter_tests;
mod flush;
#[cfg(test)]
mod flush_tests;
mod fluss;
#[cfg(test)]
mod fork_tests;
mod format;
mod grown;
mod hand_in;
mod hand_in_batch;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod in_doubt_tests;
mod lane;
#[cfg(test)]
mod large_tests;
#[cfg(test)]
mod leaderless_tests;
#[cfg(test)]
mod lent_tests;
mod limit_scan;
#[cfg(test)]
mod linger_tests;
mod lookup;
mod lookup_all;
mod lookup_found;
mod lookup_insert;
mod lookup_partition;
mod lookup_plan;
#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod metrics_tests;
#[cfg(test)]
mod nonsense_tests;
mod offsets;
#[cfg(test)]
mod out_of_range_tests;
#[cfg(test)]
mod outcome_tests;
mod packers;
#[cfg(test)]
mod partition_tests;
mod pending;
#[cfg(test)]
mod projection_tests;
mod reroute;
#[cfg(test)]
mod rescale_tests;
#[cfg(test)]
mod routing_tests;
mod scan;
mod scan_builder;
#[cfg(test)]
mod scan_random_tests;
mod servers;
mod shared;
mod signal;
#[cfg(test)]
mod silent_scan_tests;
mod slots;
mod snapshot;
#[cfg(test)]
mod stamp_tests;
#[cfg(test)]
mod statistics_tests;
mod table;
#[cfg(test)]
mod testkit;
mod ticket;
#[cfg(test)]
mod token_tests;
mod upsert;
#[cfg(test)]
mod write_tests;
mod writer;

pub use admin::{Admin, PartitionInfo, ServerInfo};
pub use append::{AppendAll, AppendBuilder, AppendWriter};
pub use assign::{BucketAssigner, RowToAssign};
pub use dead_letter::DeadLetter;
pub use driver::{Driver, Net, RemoteRead, Socket};
pub use flush::{FailedRows, Flush, FlushError};
pub use fluss::Fluss;
pub use hand_in::{HandIn, HandInAll, Interrupted};
pub use hand_in_batch::AppendBatch;
pub use lookup::{Lookup, Lookuper};
pub use lookup_found::Found;
pub use offsets::{BucketOffset, OffsetSpec};
pub use pending::Pending;
pub use scan::policy::{OnCorruptBatch, OnOutOfRange, ScanEvent};
#[cfg(feature = "testing")]
pub(crate) use scan::recorder::Recorder;
pub use scan::{LogScanner, NextBatch, ScanRecordBatches, ScanWaker, Subscribe};
pub use scan_builder::ScanBuilder;
pub use servers::{ApiRange, Ping};
pub use shared::Clock;
pub use signal::{Park, Signal, Sleep};
pub use snapshot::{
    NextSnapshotBatch, NextSnapshotEvent, SnapshotBatch, SnapshotBuilder, SnapshotChanges,
    SnapshotChangesBuilder, SnapshotEvent, SnapshotPosition, SnapshotReader, SnapshotRows,
};
pub use table::Table;
pub use ticket::{Ack, RunFailures, RunPart, RunTicket, Ticket};
pub use upsert::{MergeMode, UpsertAll, UpsertBuilder, UpsertWriter};
