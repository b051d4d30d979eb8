//! fluss-rs and this client, alternately, against the same server: CPU and wall time per row.
//!
//! Each run is a process of its own, and so is the server, which checks, counts and acknowledges
//! the writes and keeps nothing. Both sides get the same rows, batch size, linger, acks and batches
//! in flight; neither waits per row. What counts is user and system time of the whole client
//! process from the first row of the run to its last acknowledgement.
//!
//! `--main-job` is another comparison: wall time with default settings on a real cluster.

mod client;
mod compare;
mod main_job;
mod ours;
mod plan;
mod rows;
mod server;
mod tables;
mod theirs;

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
