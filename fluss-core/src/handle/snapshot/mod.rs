//! The rows of primary-key tables as they are now, all of them, and what changes after that.
//!
//! | room | what it holds |
//! |---|---|
//! | [`builder`] | what to read, and the limits |
//! | [`reader`] | several buckets on their way, rows handed out bucket after bucket |
//! | [`bucket`] | one bucket, by the best way that its server has |
//! | [`session`] | SCAN_KV: a session with a server of the 1.0 line |
//! | [`replay`] | the state that a changelog leads to, for older servers |
//! | [`changes`] | the state of each bucket, then every change after it |
//! | [`batch`] | what is handed out |

mod batch;
mod bucket;
mod builder;
mod changes;
mod changes_builder;
#[cfg(test)]
mod changes_tests;
mod reader;
mod replay;
mod session;
#[cfg(test)]
mod testkit;
#[cfg(test)]
mod tests;

pub use batch::{SnapshotBatch, SnapshotRows};
pub use builder::SnapshotBuilder;
pub use changes::{NextSnapshotEvent, SnapshotChanges, SnapshotEvent, SnapshotPosition};
pub use changes_builder::SnapshotChangesBuilder;
pub use reader::{NextSnapshotBatch, SnapshotReader};
