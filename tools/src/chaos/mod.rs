//! `fluss-chaos`: rounds of writing to a real cluster while its servers and connections fail, and
//! the proof that no writer was told a lie.
//!
//! Three tablet servers hold three replicas of everything, two of which a write needs. A
//! [proxy](Proxy) of ours stands between clients and servers. In each round four threads on each of
//! the three runtimes write, two into a log table and two into a primary-key table, while leaders
//! are killed, paused or stopped and connections cut. With the faults over, both tables are read
//! past the proxy and compared with the outcomes:
//!
//! * every row with an `Ok` is there exactly once, at its offset where it was told one, and in the
//!   order of its thread;
//! * no row that was reported as not written is there, and none with an unknown outcome twice;
//! * the changelog of each key follows from the outcomes, and lookups find what it ends with;
//! * at least 90 % of the rows have an `Ok`, and each outcome came within the delivery timeout, the
//!   request deadline and a second;
//! * at least one bucket changed its leader, and each leader that went down had writes in flight:
//!   requests that it had got and not answered.
//!
//! In rounds of the kind [`Kind::Reader`] all threads write into the log table, and a reader on
//! each runtime follows them through the proxy. Its waits for the next batch are dropped after 1 to
//! 5 ms, and still it has to hand out each record once and in the order of its bucket, while
//! leaders are killed and connections cut. In rounds of the kind [`Kind::Tiered`] servers move full
//! segments of 64 KiB to remote storage each second, and a reader begins when it is sent there:
//! each has to read some of its records from there, and to come from there to the live log.
//!
//! A lost row counts as the client's fault unless the log of the server that leads its bucket says
//! that it was truncated.
//!
//! A round before whose first row the cluster could not be started, or a server ended that nobody
//! had killed, is played once more with the same seed, on a new cluster. At most 3 of a hundred
//! rounds are, of fewer in proportion, but one; what goes beyond that fails. No round in which a
//! row was handed in is repeated. Each repetition is printed, and the sum at the end counts them
//! and quotes the last lines of the server's log.
//!
//! # What was run
//!
//! `fluss-chaos --rounds 100 --seed 9900`, optimised, beside compilers and the simulator on two
//! cores: 100 rounds, none failed, none repeated. Of 2,400,000 rows 2,388,861 had an `Ok`, 7,702
//! were not written and 3,437 unknown; none was lost, doubled or out of order. 416 changes of
//! leaders, 86 kills, 43 pauses, 20 stops, 13,185 cuts, 29,009 lost answers, 267 silences, 26,441
//! delays, 66,324 splits, 570 ids given up; each leader that went down had at least one write to
//! answer, and the slowest outcome took 16.6 s. `--kind expiry --rounds 2 --seed 9600`, of the
//! writers before: both right, all 48,000 rows `Ok`, 48 ids given up.
//!
//! `--kind reader --rounds 1 --rows 1000000 --seed 6`, not optimised: 1,000,002 rows, all `Ok`,
//! each handed out once and in order by each of the three readers, in 92 s with 6 kills, 26 changes
//! of leaders, 204 cuts and 8 silences; on tokio 13,749 waits were dropped, on smol 18,219, on
//! blocking threads 18,124.
//!
//! `--kind tiered --rounds 1 --rows 1000000 --seed 7`, likewise: 1,000,002 rows, all `Ok`, each
//! handed out once and in order by each reader, with 2 kills, 8 changes of leaders, 289 cuts and 8
//! silences; 130,128 to 1,230,392 bytes came from remote storage.

mod check;
mod faults;
mod follow;
mod plan;
mod proxy;
mod read;
mod remote;
mod repeat;
mod report;
mod round;
mod runtimes;
mod throughput;
mod truncation;
mod write;

pub use faults::Deeds;
pub use plan::Kind;
pub use proxy::{Harm, Proxy, Weather};
pub use report::{Following, HEAD, Report};
pub use throughput::{Throughput, throughput};

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fluss_core::Error;

use crate::cluster::{ClusterError, ClusterOptions, RealCluster, TableLosses, tally};
use plan::Plan;
use repeat::{BrokenOff, Played, Repeats};
use round::Stage;
use runtimes::Runtime;

/// Tablet servers of the cluster.
const TABLET_SERVERS: usize = 3;

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many rounds. Default 5.
    pub rounds: u64,
    /// Seed of the first round; each round has the next one. Default 0.
    pub seed: u64,
    /// The kinds of rounds, in turn. Default all but [`Kind::Expiry`], whose rounds take minutes,
    /// [`Kind::Reader`] and [`Kind::Tiered`], whose rounds want more rows.
    pub kinds: Vec<Kind>,
    /// Rows of a round, about. Default 24,000.
    pub rows: u64,
    /// A new or empty directory for data and logs of the servers, which is kept.
    pub dir: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        let left_out = |kind: &Kind| *kind == Kind::Expiry || kind.has_readers();
        let kinds = Kind::ALL.into_iter().filter(|kind| !left_out(kind)).collect();
        Self { rounds: 5, seed: 0, kinds, rows: 24_000, dir: None }
    }
}

/// Why a round could not be played to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChaosError {
    /// The servers did not do what they were asked to.
    #[error("the cluster: {0}")]
    Cluster(#[from] ClusterError),
    /// A table could not be made or has no leaders.
    #[error("a table: {0}")]
    Table(String),
    /// The client failed where nothing was wrong, or before its deadline.
    #[error("{what}: {error}")]
    Client {
        /// What was being done.
        what: &'static str,
        /// What the client reported.
        error: Error,
    },
    /// A port, a thread or a file could not be had, or the output not be written.
    #[error("the system: {0}")]
    Io(#[from] io::Error),
}

/// Plays all rounds and writes their table to `out` as it grows. Ends early once `interrupted` is
/// set. Whether a round failed says its report, and whether it is what came of a repetition.
///
/// # Errors
/// [`ChaosError`] if no cluster can be started or `out` cannot be written. A round that cannot be
/// played to its end fails, and the next one gets a new cluster.
pub fn run(
    options: &Options,
    interrupted: &AtomicBool,
    out: &mut dyn Write,
) -> Result<Vec<Report>, ChaosError> {
    let runtimes: Vec<Arc<dyn Runtime>> = runtimes::all()?.into_iter().map(Arc::from).collect();
    let kinds = options.kinds.iter().cycle();
    let plans = kinds
        .zip(0..options.rounds)
        .map(|(kind, n)| Plan::new(*kind, options.seed + n, options.rows));
    let mut plans: Vec<(u64, Plan)> = (1..).zip(plans).collect();
    // Rounds whose servers have the same settings share a cluster.
    plans.sort_by_key(|(_, plan)| plan.kind.server_settings());
    let mut repeats = Repeats::new(options.rounds);
    let mut reports = Vec::new();
    let mut place: Option<Place> = None;
    let mut fatal = None;
    writeln!(out, "{HEAD}")?;
    for (number, plan) in &plans {
        if interrupted.load(Ordering::SeqCst) || fatal.is_some() {
            break;
        }
        let attempt = |again| {
            let dir = format!("from-round-{number}{}", if again { "-again" } else { "" });
            once(&mut place, &runtimes, options, (*number, plan), &dir).map_err(|broken| {
                let stop = interrupted.load(Ordering::SeqCst);
                if stop { broken.interrupted() } else { broken }
            })
        };
        let tell = |cause: &str, error: &ChaosError| -> Result<(), ChaosError> {
            tally("round repeated\n");
            let Plan { kind, seed, .. } = plan;
            writeln!(
                out,
                "{number:>5} {kind:<11} {seed:>10} is repeated, as {cause}\n      {error}"
            )?;
            out.flush().map_err(ChaosError::from)
        };
        let fail = |error: &ChaosError| Report::broken_off(*number, plan, options.rows, error);
        let played = repeats.play(attempt, tell, fail)?;
        writeln!(out, "{}{}", played.report.line(), played.report.details())?;
        out.flush()?;
        let Played { report, fatal: end } = played;
        reports.push(report);
        fatal = end;
    }
    writeln!(out, "{}", report::summary(&reports))?;
    fatal.map_or(Ok(reports), Err)
}

/// Plays a round once, on the cluster that is there or on a new one, whose files are in `dir`.
fn once(
    place: &mut Option<Place>,
    runtimes: &[Arc<dyn Runtime>],
    options: &Options,
    (number, plan): (u64, &Plan),
    dir: &str,
) -> Result<Report, BrokenOff> {
    let settings = plan.kind.server_settings();
    let found = match place.take().filter(|place| place.settings == settings) {
        Some(place) => place,
        None => Place::new(settings, options, dir).map_err(BrokenOff::at_start)?,
    };
    let mut handed_in = false;
    match round::play(&found.stage(runtimes), number, plan, options.rows, &mut handed_in) {
        Ok(report) => {
            *place = Some(found);
            Ok(report)
        }
        Err(error) => Err(BrokenOff::on_the_way(error, handed_in, found.cluster.check())),
    }
}

/// A cluster behind a proxy.
struct Place {
    settings: &'static [(&'static str, &'static str)],
    // Dropped first: its connections end before their servers do.
    proxy: Proxy,
    cluster: RealCluster,
    losses: TableLosses,
}

impl Place {
    fn new(
        settings: &'static [(&'static str, &'static str)],
        options: &Options,
        name: &str,
    ) -> Result<Self, ChaosError> {
        let proxy = Proxy::open(1 + TABLET_SERVERS, options.seed)?;
        let mut wanted = ClusterOptions::replicated().advertise(proxy.ports());
        for (key, value) in settings {
            wanted = wanted.set(key, value);
        }
        if let Some(dir) = &options.dir {
            wanted = wanted.dir(dir.join(name));
        }
        let cluster = RealCluster::start(wanted)?;
        proxy.aim(&cluster.bootstrap());
        Ok(Self { settings, proxy, cluster, losses: TableLosses::new() })
    }

    fn stage<'a>(&'a self, runtimes: &'a [Arc<dyn Runtime>]) -> Stage<'a> {
        Stage { cluster: &self.cluster, proxy: &self.proxy, losses: &self.losses, runtimes }
    }
}
