//! `fluss demo`: a million rows through a cluster that keeps failing, and the proof that each of
//! them is there exactly once.
//!
//! The cluster is the fake one of `fluss-core`, behind real TCP ports of the loopback interface.
//! Four threads write, two into a log table and two into a primary-key table, while connections are
//! cut in the middle of frames, answers to applied writes never arrive, leaders move, requests are
//! late and servers restart. Then the cluster heals and everything is read back through the client
//! and compared with what was acknowledged; the fake's own records are compared too.

mod pace;
mod plan;
mod read;
mod report;
mod rows;
#[cfg(test)]
mod tests;
mod verify;
mod write;

pub use report::Summary;

use fluss_core::testing::cluster::{Bug, ClusterOptions, FakeCluster, Faults};
use fluss_core::testing::loopback::{Loopback, LoopbackOptions};
use fluss_core::{Error, Fluss, Table};
use fluss_embedded::Config;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use plan::{Chaos, Count, PARTS};
use read::Early;
use report::Progress;
use rows::{Kind, Rows, WRITERS};
use verify::{Check, Findings};
use write::{Done, Handle, RUN, Shared, Work};

/// What a row takes in a batch, about, in bytes.
const ROW_BYTES: u64 = 48;
/// Shortest batch, in rows.
const BATCH_ROWS: u64 = 10;
/// How long a run may stand still before it counts as stuck. Longer than any outcome may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// From append to outcome, at most.
const DELIVERY: Duration = Duration::from_secs(60);

/// A lie of the fake server that the demo must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// It loses an acknowledged batch.
    Lose,
    /// It appends a batch twice.
    Double,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Rows to write, at least 1. Default 1,000,000.
    pub rows: u64,
    /// Seed of the rows and of everything that goes wrong. Default 0.
    pub seed: u64,
    /// Default none.
    pub lie: Option<Lie>,
    /// No progress on standard error. It is drawn only on a terminal in any case.
    pub quiet: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { rows: 1_000_000, seed: 0, lie: None, quiet: false }
    }
}

/// Why a demo could not be brought to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The fake cluster cannot open its ports, or no thread can be started.
    #[error("the fake cluster cannot start: {0}")]
    Start(#[from] io::Error),
    /// The client reported something that no fault of this run explains.
    #[error("seed {seed}: {what}: {error}")]
    Client {
        /// The seed of the run.
        seed: u64,
        /// What was being done.
        what: &'static str,
        /// What the client reported.
        error: Error,
    },
    /// Nothing moved for a long time, though everything has a deadline.
    #[error("seed {seed}: stuck {what}: {settled} of {rows} rows have an outcome")]
    Stuck {
        /// The seed of the run.
        seed: u64,
        /// What was being done.
        what: &'static str,
        /// Rows with an outcome.
        settled: u64,
        /// Rows of the run.
        rows: u64,
    },
    /// The caller wanted no more.
    #[error("interrupted")]
    Interrupted,
    /// A thread that writes panicked; its message is on standard error.
    #[error("seed {seed}: a writing thread panicked")]
    Panic {
        /// The seed of the run.
        seed: u64,
    },
}

/// Runs the demo. Ends early with [`DemoError::Interrupted`] once `interrupted` is set.
///
/// # Errors
/// [`DemoError`] if it cannot be brought to its end. A verification that fails is no error here:
/// [`Summary::passed`] tells.
pub fn run(options: &Options, interrupted: &AtomicBool) -> Result<Summary, DemoError> {
    Run::start(*options)?.finish(interrupted)
}

/// A run on its way.
struct Run {
    options: Options,
    seed: u64,
    started: Instant,
    rows: u64,
    batches: u64,
    fake: Arc<Loopback>,
    fluss: Fluss,
    tables: [Table; 2],
}

impl Run {
    fn start(options: Options) -> Result<Self, DemoError> {
        let started = Instant::now();
        let (rows, seed) = (options.rows.max(1), options.seed);
        let batches = (rows / BATCH_ROWS).clamp(1, plan::FULL);
        let cluster = FakeCluster::new(ClusterOptions {
            seed,
            tablet_servers: plan::SERVERS,
            ..ClusterOptions::default()
        });
        let fake = Arc::new(Loopback::start(cluster, LoopbackOptions::default())?);
        let client = |what| move |error| DemoError::Client { seed, what, error };
        let config = Config::new(&fake.bootstrap_all().join(",")).map_err(client("settings"))?;
        let mut config = config
            .seed(seed)
            .memory_limit(8 << 20)
            .ack_timeout(Duration::from_millis(500))
            .request_deadline(Duration::from_secs(1));
        // Cuts are so frequent here that the usual waits would be most of the time.
        config.reconnect_backoff.initial = Duration::from_millis(10);
        config.reconnect_backoff.max = Duration::from_millis(200);
        let fluss = fluss_embedded::start(config).map_err(client("connecting"))?;
        let mut tables = Vec::new();
        for kind in Kind::BOTH {
            let descriptor = kind.descriptor().map_err(|error| Error::misuse(error.to_string()));
            let descriptor = descriptor.map_err(client("describing a table"))?;
            let created = fluss.admin().create_table(kind.table(), &descriptor, false).wait();
            created.map_err(client("creating a table"))?;
            tables.push(fluss.table(kind.table()).wait().map_err(client("opening a table"))?);
        }
        let tables = [tables[0].clone(), tables[1].clone()];
        Ok(Self { options, seed, started, rows, batches, fake, fluss, tables })
    }

    fn finish(self, interrupted: &AtomicBool) -> Result<Summary, DemoError> {
        let (done, marks) = self.write(interrupted)?;
        let written = self.started.elapsed();
        let findings = self.compare(&done, interrupted)?;
        self.summary(findings, done, &marks, written, interrupted)
    }

    /// Reads everything back and compares it with what was acknowledged.
    fn compare(&self, done: &[Done], interrupted: &AtomicBool) -> Result<Findings, DemoError> {
        // Faults that were planned and met no request must not come later.
        self.fake.with(|cluster| cluster.set_faults(Faults::new(self.seed)));
        let mut findings = Findings::default();
        for (kind, table) in Kind::BOTH.into_iter().zip(&self.tables) {
            let rows = Rows::new(kind, self.rows, self.seed);
            let mut check = Check::new(rows, done);
            let stopped = read::through_client(&mut check, table, interrupted);
            let stopped = stopped.map_err(|early| match early {
                Early::Interrupted => DemoError::Interrupted,
                Early::Client(error) => self.error("reading", error),
            })?;
            let found = check.finish();
            let mut check = Check::new(rows, done);
            read::from_the_servers(&mut check, &self.fake, table.info().id);
            let truth = check.finish();
            if let Some(complaint) = truth.differs_from(&found) {
                findings.wrong += 1;
                findings.complaints.push(format!("{}: {complaint}", kind.table()));
            }
            findings.add(found);
            findings.wrong += stopped.len() as u64;
            findings.complaints.extend(stopped);
        }
        Ok(findings)
    }

    fn summary(
        &self,
        mut findings: Findings,
        done: Vec<Done>,
        marks: &[Count],
        written: Duration,
        interrupted: &AtomicBool,
    ) -> Result<Summary, DemoError> {
        self.close(&mut findings)?;
        if interrupted.load(Ordering::SeqCst) {
            return Err(DemoError::Interrupted);
        }
        let mut problems = findings.complaints.clone();
        problems.extend(Count::missing(marks, self.batches));
        Ok(Summary {
            seed: self.seed,
            rows: self.rows,
            findings,
            count: marks.last().copied().unwrap_or_default(),
            fewest: Count::fewest(marks),
            problems,
            errors: done.into_iter().flat_map(|done| done.errors).collect(),
            written,
            elapsed: self.started.elapsed(),
        })
    }

    fn error(&self, what: &'static str, error: Error) -> DemoError {
        DemoError::Client { seed: self.seed, what, error }
    }

    /// Writes all rows while everything goes wrong. Also returns what had gone wrong at the end of
    /// each part of the run.
    fn write(&self, interrupted: &AtomicBool) -> Result<(Vec<Done>, Vec<Count>), DemoError> {
        let shared = Arc::new(Shared::default());
        let (sender, results) = mpsc::channel();
        for (kind, table) in Kind::BOTH.into_iter().zip(&self.tables) {
            let handles =
                self.handles(kind, table).map_err(|e| self.error("opening a writer", e))?;
            for (writer, handle) in (0..).zip(handles) {
                let rows = Rows::new(kind, self.rows, self.seed);
                let shared = Arc::clone(&shared);
                let work = Work::new(rows, writer, handle, self.window(), shared);
                let sender = sender.clone();
                // Not scoped: a thread that is stuck must not keep the report from being made.
                thread::Builder::new().name(format!("demo-{writer}")).spawn(move || {
                    // Nobody listens any more after a failure.
                    let _ = sender.send(work.run());
                })?;
            }
        }
        drop(sender);
        let steps = plan::plan(self.seed, self.rows, self.batches);
        let chaos = Chaos::new(steps, [self.tables[0].info().id, self.tables[1].info().id]);
        let watched = self.watch(chaos, &shared, &results, interrupted);
        shared.pace.stop();
        watched
    }

    /// Rows of a thread that may wait for their outcome, so few that what is done to a part of the
    /// run is met in that part.
    fn window(&self) -> u64 {
        (self.rows / PARTS / 10 / WRITERS).max(200)
    }

    fn handles(&self, kind: Kind, table: &Table) -> Result<Vec<Handle>, Error> {
        let bytes = usize::try_from(self.rows * ROW_BYTES / self.batches).unwrap_or(1 << 20);
        let linger = Duration::from_millis(20);
        Ok(match kind {
            Kind::Log => {
                let builder = table.appender().batch_bytes(bytes.max(64)).linger(linger);
                let writer = builder.delivery_timeout(DELIVERY).build()?;
                (0..WRITERS).map(|_| Handle::Log(writer.clone())).collect()
            }
            Kind::Keyed => {
                let builder = table.upserter().batch_bytes(bytes.max(64)).linger(linger);
                let writer = builder.delivery_timeout(DELIVERY).build()?;
                (0..WRITERS).map(|_| Handle::Keyed(writer.clone())).collect()
            }
        })
    }

    /// Does harm while the threads write, until all of them are done.
    fn watch(
        &self,
        mut chaos: Chaos,
        shared: &Shared,
        results: &mpsc::Receiver<Result<Done, Error>>,
        interrupted: &AtomicBool,
    ) -> Result<(Vec<Done>, Vec<Count>), DemoError> {
        let mut progress = Progress::new(self.rows, self.options.quiet);
        let (mut done, mut marks) = (Vec::new(), Vec::new());
        let mut moved = (0, Instant::now());
        // More than the windows of all threads, so that they never wait for each other.
        let ahead = (Kind::BOTH.len() as u64 * WRITERS) * (self.window() + RUN) * 5 / 4;
        if let Some(lie) = self.options.lie {
            let bug = match lie {
                Lie::Lose => Bug::LoseAcknowledged,
                Lie::Double => Bug::DoubleAppend,
            };
            self.fake.with(|cluster| cluster.misbehave(self.batches / 3, bug));
        }
        loop {
            let now = shared.settled.load(Ordering::Relaxed);
            if now > moved.0 {
                moved = (now, Instant::now());
            } else if moved.1.elapsed() > PATIENCE {
                return Err(DemoError::Stuck {
                    seed: self.seed,
                    what: "writing",
                    settled: now,
                    rows: self.rows,
                });
            }
            if interrupted.load(Ordering::SeqCst) {
                return Err(DemoError::Interrupted);
            }
            if chaos.is_due(now) {
                self.fake.with(|cluster| chaos.act(cluster, now));
            }
            shared.pace.allow(now + ahead);
            while marks.len() < PARTS as usize
                && now >= self.rows * (marks.len() as u64 + 1) / PARTS
            {
                marks.push(self.count(&chaos));
            }
            if progress.is_due() {
                progress.draw(now, self.count(&chaos));
            }
            match results.recv_timeout(Duration::from_millis(1)) {
                Ok(result) => done.push(result.map_err(|e| self.error("writing", e))?),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if done.len() < Kind::BOTH.len() * WRITERS as usize {
            return Err(DemoError::Panic { seed: self.seed });
        }
        marks.resize(PARTS as usize, self.count(&chaos));
        Ok((done, marks))
    }

    fn count(&self, chaos: &Chaos) -> Count {
        let retries = self.fluss.counters().retries;
        self.fake.with(|cluster| chaos.count(cluster, retries))
    }

    /// Closes the client, which must have nothing left.
    fn close(&self, findings: &mut Findings) -> Result<(), DemoError> {
        let counters = self.fluss.counters();
        let left = self.fluss.close(Duration::from_secs(5)).wait();
        let left = left.map_err(|error| self.error("closing", error))?;
        let used = self.fluss.memory_used();
        if left > 0 || used > 0 || counters.invariant_violations > 0 {
            findings.wrong += 1;
            findings.complaints.push(format!(
                "after the end {left} batches and {used} bytes were left; {} answers contradicted \
                 what was proved",
                counters.invariant_violations
            ));
        }
        Ok(())
    }
}
