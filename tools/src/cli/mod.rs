//! The `fluss` command line.
//!
//! | room | what it holds |
//! |---|---|
//! | `spec`, `args`, `help` | the table of commands, and the arguments read by it |
//! | `settings`, `units`, `nearest`, `field_names` | settings by their Java names |
//! | `session`, `wait` | a client for one command; waiting that a signal ends |
//! | `row_in`, `json` | rows as JSON, in and out |
//! | `input`, `output`, `progress` | the three standard streams |
//! | `admin`, `create`, `describe`, `partition` | tables and what is around them |
//! | `produce`, `consume`, `lookup`, `scan` | rows |
//! | `demo` | a failing cluster and a proof |
//! | `failure` | how a command ends |

mod admin;
mod args;
mod consume;
mod create;
mod demo;
mod describe;
mod failure;
mod field_names;
mod help;
mod input;
mod json;
mod lookup;
mod nearest;
mod output;
mod partition;
mod perf;
mod produce;
mod progress;
mod row_in;
mod scan;
mod session;
mod settings;
mod snapshot;
mod spec;
mod units;
mod wait;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use args::{Args, Parsed};
use failure::{Failure, Result, Status};
use output::{Output, say};
pub use perf::cpu_time;
use session::Session;

/// Runs the command line of this process and answers its exit code.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::from(run(std::env::args_os().skip(1)))
}

fn run(arguments: impl Iterator<Item = OsString>) -> u8 {
    let result = args::parse(arguments).and_then(|parsed| match parsed {
        Parsed::Help(topic) => help::print(topic.as_deref()).map(|()| Status::Done),
        Parsed::Version => help::version().map(|()| Status::Done),
        Parsed::Run(args) => run_command(&args),
    });
    match result {
        Ok(Status::Done) => 0,
        Ok(Status::Partly) => 1,
        Err(failure) => {
            match &failure {
                Failure::OutputClosed => {}
                Failure::Usage(text) => say(&format!("{text}\nSee `fluss help`.")),
                other => say(&other.to_string()),
            }
            failure.exit_code()
        }
    }
}

fn run_command(args: &Args) -> Result<Status> {
    let open_rows = Arc::new(AtomicU64::new(0));
    let interrupted = interrupt_flag(&open_rows)?;
    if args.command.name == "demo" {
        // It brings its own cluster.
        return demo::run(args, &interrupted);
    }
    let work = prepare(args)?;
    let session = Session::open(args, interrupted, open_rows)?;
    let mut out = Output::new();
    let result = work(&session, &mut out).and_then(|status| match (status, out.flush()) {
        // What went wrong before weighs more than that nobody reads the rest.
        (Status::Partly, Err(Failure::OutputClosed)) => Ok(Status::Partly),
        (status, flushed) => flushed.map(|()| status),
    });
    session.close();
    result
}

/// The first signal raises the flag, and the command comes to a clean end: what was handed in is
/// waited for, within its delivery timeout. The second ends the process at once.
#[cfg(unix)]
fn interrupt_flag(open_rows: &Arc<AtomicU64>) -> Result<Arc<AtomicBool>> {
    let open_rows = Arc::clone(open_rows);
    let last_words = move || {
        let rows = match open_rows.load(Ordering::Relaxed) {
            0 => String::new(),
            open => format!("; rows handed in without an outcome, written or not: {open}"),
        };
        say(&format!("interrupted again: ended at once{rows}"));
    };
    crate::cluster::interrupt_flag_with(last_words)
        .map_err(|error| Failure::failed(format!("cannot listen to signals: {error}")))
}

/// Where there are no signals, the system ends the process by itself.
#[cfg(not(unix))]
fn interrupt_flag(_open_rows: &Arc<AtomicU64>) -> Result<Arc<AtomicBool>> {
    Ok(Arc::default())
}

/// What is left to do once the arguments were found to be sound.
type Work<'a> = Box<dyn FnOnce(&Session, &mut Output) -> Result<Status> + 'a>;

/// Checks the arguments before anything is connected.
fn prepare(args: &Args) -> Result<Work<'_>> {
    match args.command.name {
        "ping" => Ok(Box::new(admin::ping)),
        "databases" => Ok(Box::new(admin::databases)),
        "tables" => admin::tables(args),
        "create-database" => admin::create_database(args),
        "drop-database" => admin::drop_database(args),
        "create" => create::prepare(args),
        "drop" => admin::drop_table(args),
        "describe" => describe::prepare(args),
        "partitions" => partition::list(args),
        "create-partition" => partition::create(args),
        "drop-partition" => partition::drop(args),
        "offsets" => partition::offsets(args),
        "produce" => produce::prepare(args),
        "consume" => consume::prepare(args),
        "lookup" => lookup::prepare(args),
        "scan" => scan::prepare(args),
        "perf" => perf::prepare(args),
        other => Err(Failure::usage(format!("the command `{other}` cannot be run"))),
    }
}
