//! Recorded scripts: what the real server answers to requests, and whether the fake cluster
//! answers the same.
//!
//! A [`Script`] is a list of requests. [`play`] sends them to a cluster and writes every answer
//! down as text, all fields of it. Ids of tables and writers, the servers' addresses and times are
//! mapped; everything else must be equal: error codes, what is said with them, offsets, batches
//! down to their bytes, rows, descriptors. The answers of the real server 0.9.1 are kept in
//! `tests/data/scripts.txt`, so that the fake is held to them without Java too.
//!
//! # Error messages
//!
//! They are compared word for word, with these rules and no other:
//!
//! - The id and the name of the script's table become `table`, ids of writers become their symbols.
//!   Table ids that a script makes up stay.
//! - The time a request names becomes `as asked`, one within the run `now`.
//! - The checksum of a batch, which the writer's id goes into, becomes `as sent in 0` where it is
//!   that of the request's first batch, and so on.
//! - Of a Java exception with the trace below it the trace is left out: it is about lines of the
//!   server's source. So all of the exception's own line stays.
//! - What follows `PooledSlicedByteBuf(` is left out: it describes the server's memory.
//!
//! All other numbers are compared: server ids, offsets, sequences, sizes.
//!
//! Scripts are played in groups, each to a cluster of its [`Kind`]. Restarts, deaths and the like
//! are events that all scripts of a group meet together, so that they take the time of one; what
//! the scripts of a kind need of the servers' settings is in `tests/scripts.rs`.
//!
//! # Error codes
//!
//! | code | where |
//! |---|---|
//! | 0, 14, 18, 19, 21, 31, 35, 57 | all over the scripts for one tablet server |
//! | 2 | `upserts/lake-by-a-part-of-the-key`, `lookups/pairs-of-a-lake`: version 0 of a request |
//! | −1 | `windows/damaged-magic`, `upserts/into-a-log-table`, `scans/log-table` and others |
//! | 4, 5, 6, 16 | `databases`: one that is missing, not empty, there already, badly named |
//! | 7, 8, 9 | `metadata`: a table that is gone or there already, a schema that never was |
//! | 7, 9, 15, 16 | `paths`: tables and databases that cannot be |
//! | 9 | `upserts/unknown-schema`: also a batch whose schema the table does not have |
//! | 12 | `replicas`: a follower or a former leader is asked |
//! | 15, 17, 39, 49 | `tables`: what a table cannot be made with |
//! | 20 | `lookups/in-a-log-table` |
//! | 25 | `replicas`: acks −1 while followers that count as in sync are frozen or dead |
//! | 29 | `replicas`: acks −1 when they no longer count; before that, a resend times out again |
//! | 31 | `expiry`: also from a writer that was silent for too long |
//! | 34 | `fetches/project-badly` |
//! | 36, 37, 42, 43 | `partitions`: missing, of no such table, there already, badly named |
//! | 36 | not of writes, which name partitions by id: an unknown one is answered with 21 |
//! | 38 | `fetches/offsets`: a time that is still to come |
//! | 46, 48 | `rights`: nobody is logged in, or a user to whom too little was granted |
//! | 46 | `logins`: wrong passwords, tokens and mechanisms |
//! | 56 | `tables/columns`: a column that is there already |
//! | 1 | does not occur: it goes to a connection that is gone by then |
//! | 3 | does not occur: a batch with damaged bytes is answered with 14 |
//! | 10, 11, 26 | do not occur: they need a broken disk |
//! | 13 | does not occur: nothing makes 0.9.1 answer it, however large a batch is |
//! | 28 | does not occur: see below |
//! | 32, 33 | do not occur: nothing makes 0.9.1 answer them |
//! | 44 | does not occur: clients make it, for a bucket without a leader |
//! | 70, 72 | do not occur: they need a full disk, and a release that knows the code |
//! | 74 | does not occur: only later releases have it |
//!
//! Code 28 is for a write that has been replicated, by too few. But the high watermark stands still
//! while too few are in sync, so a replica would have to be lost just between its last step and the
//! look at the waiting write.

mod catalog;
mod data;
mod naming;
mod normal;
mod play;
mod real_wire;
mod recording;
mod request;
pub mod step;
mod text;
mod wire;
mod words;

pub use catalog::{Kind, groups};
pub use play::play;
pub use real_wire::RealWire;
pub use recording::{difference, parse, render};
pub use step::USERS;
pub use wire::{At, FakeWire, Got, Wire};

use step::Step;

/// Requests and a name.
#[derive(Clone, Debug)]
pub struct Script {
    /// The kind and what it is about, as in `windows/gap`.
    pub name: String,
    /// The requests.
    pub steps: Vec<Step>,
}

/// Scripts that are played together: their restarts are the same.
#[derive(Clone, Debug)]
pub struct Group {
    /// The cluster they need.
    pub cluster: Kind,
    /// The scripts.
    pub scripts: Vec<Script>,
}

/// A script's answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// The script's name.
    pub name: String,
    /// Each step and what came back.
    pub lines: Vec<(String, String)>,
}

/// What must be so for a script to make sense.
fn must<T, E: std::fmt::Debug>(what: &str, result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error:?}"),
    }
}
