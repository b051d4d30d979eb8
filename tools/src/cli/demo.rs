//! `fluss demo`.

use std::sync::atomic::AtomicBool;

use super::args::Args;
use super::failure::{Failure, Result, Status};
use super::output::{Output, say};
use crate::demo::{self, DemoError, Lie, Options};

/// Runs the demo and prints what came of it.
pub(crate) fn run(args: &Args, interrupted: &AtomicBool) -> Result<Status> {
    let options = options(args)?;
    if !options.quiet {
        // Said first, so that a run that does not end can be repeated.
        say(&format!("demo with --seed {}", options.seed));
    }
    let summary = demo::run(&options, interrupted).map_err(|error| match error {
        DemoError::Interrupted => Failure::Interrupted,
        other => Failure::failed(other.to_string()),
    })?;
    if !options.quiet || !summary.passed() {
        summary.to_text().lines().for_each(say);
    }
    let mut out = Output::new();
    let printed = out.line(&summary.to_json()).and_then(|()| out.flush());
    match summary.passed() {
        true => printed.map(|()| Status::Done),
        // That nobody reads it makes the failure no success.
        false => Ok(Status::Partly),
    }
}

fn options(args: &Args) -> Result<Options> {
    // It brings its own cluster and its own client settings; what would change nothing is refused.
    for name in ["bootstrap", "user", "password", "config"] {
        if args.has(name) {
            let text = format!("--{name} has no meaning here: the demo brings its own cluster");
            return Err(Failure::usage(text));
        }
    }
    let rows = args.number("rows")?.unwrap_or(Options::default().rows);
    if !(1..=u64::from(u32::MAX)).contains(&rows) {
        return Err(Failure::usage(format!("--rows wants 1 to {}", u32::MAX)));
    }
    let lie = match (args.has("lose-row"), args.has("double-row")) {
        (false, false) => None,
        (true, false) => Some(Lie::Lose),
        (false, true) => Some(Lie::Double),
        (true, true) => {
            return Err(Failure::usage("--lose-row and --double-row exclude each other"));
        }
    };
    let seed = args.number("seed")?.unwrap_or_else(fluss_embedded::random_seed);
    Ok(Options { rows, seed, lie, quiet: args.has("quiet") })
}
