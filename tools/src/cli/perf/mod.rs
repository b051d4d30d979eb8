//! `fluss perf`: how fast rows are written, read and looked up.

mod meter;
mod read;
mod rows;
mod write;

use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use fluss_core::Table;

use super::Work;
use super::args::Args;
use super::failure::{Failure, Result, Status};
use super::output::say;
use super::session::Session;
use meter::Measured;
pub use meter::cpu_time;

/// The longest text or binary value, in bytes.
const MAX_STRING: usize = 16 << 20;

/// What is measured, and with how much.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    rows: u64,
    threads: u64,
    /// Rows handed in by one call; None hands them in one by one.
    bulk: Option<u64>,
    /// Rows of the Arrow record batches that are handed in instead of rows.
    arrow: Option<u64>,
    /// Keys in use; None makes all keys different.
    keys: Option<u64>,
    in_flight: usize,
    string_bytes: usize,
    seed: u64,
    warmup: u64,
}

pub(crate) fn prepare(args: &Args) -> Result<Work<'_>> {
    let run: fn(&Session, &Table, &Options) -> Result<Measured> = match args.argument(0) {
        "produce" => write::run,
        "consume" => read::consume,
        "lookup" => read::lookup,
        other => {
            let text = format!("`fluss perf` knows produce, consume and lookup, not `{other}`");
            return Err(Failure::usage(text));
        }
    };
    let path = args.table_at(1)?;
    let options = Options::read(args)?;
    idle_options(args).for_each(|(option, why)| {
        let what = args.argument(0);
        say(&format!("--{option} is accepted and has no effect on `fluss perf {what}`, {why}"));
    });
    Ok(Box::new(move |session, out| {
        let table = session.table(path)?;
        let measured = run(session, &table, &options)?;
        out.line(&measured.json())?;
        // A signal that came after the last row has ended nothing early.
        if measured.rows < options.rows && session.interrupted.load(Ordering::Relaxed) {
            out.flush()?;
            return Err(Failure::Interrupted);
        }
        Ok(Status::of(measured.errors == 0))
    }))
}

/// A thread. The system may have no more of them.
fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    thread::Builder::new().spawn(work).map_err(|error| {
        Failure::failed(format!("cannot start a thread: {error}; fewer --threads may do"))
    })
}

/// The options that were given and have no effect on what is measured, and why. All measurements
/// take the same options; whoever gives one in vain is told so.
fn idle_options(args: &Args) -> impl Iterator<Item = (&'static str, &'static str)> {
    const ONE_SCANNER: &str = "which reads with one scanner";
    const NO_ROWS: &str = "which makes no rows";
    let idle: &[(&str, &str)] = match args.argument(0) {
        "produce" => &[("in-flight", "which hands in as much as fits into the memory budget")],
        "consume" => &[
            ("threads", ONE_SCANNER),
            ("bulk", NO_ROWS),
            ("arrow", "which reads Arrow columns anyway"),
            ("keys", NO_ROWS),
            ("in-flight", ONE_SCANNER),
            ("string-bytes", NO_ROWS),
            ("seed", NO_ROWS),
        ],
        // Keys are made of their numbers, the same from every seed as where rows are written: a
        // seed is not in vain there.
        "lookup" => &[
            ("bulk", "which looks keys up one by one"),
            ("arrow", "which looks keys up one by one"),
        ],
        _ => &[],
    };
    idle.iter().copied().filter(|(option, _)| args.has(option))
}

impl Options {
    fn read(args: &Args) -> Result<Self> {
        let positive = |name: &'static str| args.positive(name);
        let rows =
            positive("rows")?.ok_or_else(|| Failure::usage("`fluss perf` needs --rows N"))?;
        if args.has("bulk") && args.has("arrow") {
            return Err(Failure::usage("--bulk and --arrow exclude each other"));
        }
        let in_flight = positive("in-flight")?.unwrap_or(1);
        let string_bytes = args.number("string-bytes")?.unwrap_or(16);
        if string_bytes > MAX_STRING {
            return Err(Failure::usage(format!(
                "--string-bytes is {MAX_STRING} at most: many rows are in memory at once, and each \
                 of them has to fit into a request"
            )));
        }
        let warmup = args.number("warmup")?.unwrap_or(0);
        if rows.checked_add(warmup).is_none() {
            return Err(Failure::usage(format!(
                "--rows and --warmup come to more than {} together, and rows have no number beyond",
                u64::MAX
            )));
        }
        Ok(Self {
            rows,
            threads: positive("threads")?.unwrap_or(1).min(rows),
            bulk: positive("bulk")?,
            arrow: positive("arrow")?,
            keys: positive("keys")?,
            in_flight: usize::try_from(in_flight).unwrap_or(usize::MAX),
            string_bytes,
            seed: args.number("seed")?.unwrap_or(0),
            warmup,
        })
    }

    /// The numbers of the rows that a thread works on, out of `total` from `first` on.
    fn share(&self, thread: u64, first: u64, total: u64) -> std::ops::Range<u64> {
        let at = |thread: u64| {
            first + (u128::from(total) * u128::from(thread) / u128::from(self.threads)) as u64
        };
        at(thread)..at(thread + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_all_rows_without_gaps() {
        let options = Options {
            rows: 10,
            threads: 3,
            bulk: None,
            arrow: None,
            keys: None,
            in_flight: 1,
            string_bytes: 16,
            seed: 0,
            warmup: 0,
        };
        let shares: Vec<_> = (0..3).map(|thread| options.share(thread, 5, 10)).collect();
        assert_eq!(shares, [5..8, 8..11, 11..15]);
    }
}
