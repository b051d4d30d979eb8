//! fluss-rs and this client, alternately, against the same server: CPU and wall time per row.
//!
//! Each run is a process of its own, and so is the server. For runs that write it checks, counts
//! and acknowledges and keeps nothing; for runs that read it keeps a table in memory. Both sides
//! get the same rows, batch size, linger, acks, batches in flight and sizes of fetches; neither
//! waits per row. What counts is user and system time of the whole client process from the first
//! row of the run to its last acknowledgement, or from the subscription to the last row read; for
//! lookups it is the time on the clock, and they go round among 4,096 keys: a server that has to
//! find a row among millions would be what is measured.
//!
//! `--main-job` is another comparison: wall time with default settings on a real cluster.

mod client;
mod compare;
mod main_job;
mod ours;
mod ours_read;
mod plan;
mod rows;
mod server;
mod tables;
mod theirs;
mod theirs_read;

use std::process::ExitCode;

/// Errors are shown to a person and never looked into.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let result = match std::env::args().nth(1).as_deref() {
        Some("server") => server::run(),
        Some("client") => client::run(),
        Some("--main-job") => main_job::run(),
        _ => compare::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fluss-versus: {error}");
            ExitCode::FAILURE
        }
    }
}
