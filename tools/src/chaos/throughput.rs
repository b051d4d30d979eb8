//! What cuts cost: rows a second with each connection cut every 2 s on average at a random byte,
//! against rows a second without.
//!
//! On the fake cluster, which only counts what it acknowledges, behind loopback ports and the
//! proxy. Times with and without cuts take turns, so that a busy machine slows both; everything
//! else is the same run of the same client.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fluss_core::ids::{Address, ServerId};
use fluss_core::row::{DataType, Schema, TableDescriptor};
use fluss_core::testing::cluster::{ClusterOptions, FakeCluster};
use fluss_core::testing::loopback::{Loopback, LoopbackOptions};
use fluss_core::{Error, Fluss, RunTicket};
use fluss_embedded::Config;

use super::ChaosError;
use super::proxy::{Harm, Proxy, Weather};
use super::runtimes::{self, Handle, Runtime};
use crate::main_job::RowOf;

/// The mean life of a connection.
const CUT_EVERY: Duration = Duration::from_secs(2);
/// With cuts, at least this part of the rows has to get through, in percent.
const LEAST_PERCENT: f64 = 80.0;
/// Times with and without cuts, each.
const TURNS: u32 = 4;
/// Before the first time.
const WARM_UP: Duration = Duration::from_secs(2);
const THREADS: i64 = 2;
const BUCKETS: u32 = 6;
const TABLE: &str = "fluss.throughput";
/// Rows of one call.
const RUN: i64 = 2048;
/// Calls of a thread whose outcomes are not known yet; memory is used up before that.
const CALLS: usize = 4096;

/// What one runtime managed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throughput {
    /// The name of the runtime.
    pub runtime: &'static str,
    /// Rows acknowledged in a second without cuts.
    pub undisturbed: f64,
    /// The same with cuts.
    pub with_cuts: f64,
    /// How long connections were being cut.
    pub cut_for: Duration,
    /// What was done to connections.
    pub harm: Harm,
    /// Copies of batches that were not the first.
    pub retries: u64,
    /// Rows acknowledged in all.
    pub rows: u64,
    /// Rows without an `Ok`.
    pub failed: u64,
    /// Rows the servers counted.
    pub counted: u64,
}

impl Throughput {
    /// How much got through with cuts, in percent of what did without.
    #[must_use]
    pub fn percent(&self) -> f64 {
        100.0 * self.with_cuts / self.undisturbed
    }

    /// The cuts of one connection in that time, on average, and one in the shortest run; there are
    /// several connections.
    fn least_cuts(&self) -> u64 {
        ((self.cut_for.as_secs_f64() / CUT_EVERY.as_secs_f64()) as u64).max(1)
    }

    /// Whether there were cuts enough and enough got through, nothing was lost and nothing doubled.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.percent() >= LEAST_PERCENT
            && self.harm.cuts >= self.least_cuts()
            && self.failed == 0
            && self.counted == self.rows
    }
}

impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {:.0} rows/s undisturbed, {:.0} with cuts: {:.1} % ({:.0} s with {} cuts and {} \
             lost answers; {} retries; {} rows acknowledged, {} counted by the servers, {} failed)",
            self.runtime,
            self.undisturbed,
            self.with_cuts,
            self.percent(),
            self.cut_for.as_secs_f64(),
            self.harm.cuts,
            self.harm.lost_answers,
            self.retries,
            self.rows,
            self.counted,
            self.failed,
        )
    }
}

/// Measures each runtime for `seconds` with cuts and as long without. Ends early once
/// `interrupted` is set.
///
/// # Errors
/// [`ChaosError`] if a port, a thread or a table cannot be had.
pub fn throughput(
    seconds: Duration,
    seed: u64,
    interrupted: &AtomicBool,
) -> Result<Vec<Throughput>, ChaosError> {
    let mut measured = Vec::new();
    for runtime in runtimes::all()? {
        if interrupted.load(Ordering::SeqCst) {
            break;
        }
        measured.push(measure(&Arc::from(runtime), seconds, seed, interrupted)?);
    }
    Ok(measured)
}

#[derive(Debug, Default)]
struct Counts {
    stop: AtomicBool,
    ok: AtomicU64,
    failed: AtomicU64,
}

fn measure(
    runtime: &Arc<dyn Runtime>,
    seconds: Duration,
    seed: u64,
    interrupted: &AtomicBool,
) -> Result<Throughput, ChaosError> {
    let failed = |what| move |error: Error| ChaosError::Client { what, error };
    let options = ClusterOptions { ack_only: true, seed, ..ClusterOptions::default() };
    let fake = Loopback::start(FakeCluster::new(options), LoopbackOptions::default())?;
    let proxy = in_front_of(&fake, seed)?;
    let config = Config::new(&proxy.addresses().join(",")).map_err(failed("settings"))?;
    let fluss = runtime.start(config.seed(seed)).map_err(failed("connecting"))?;
    let handle = open(&fluss).map_err(failed("making a table"))?;

    let counts = Arc::new(Counts::default());
    let mut threads = Vec::new();
    for thread in 0..THREADS {
        let (claims, claimed) = mpsc::sync_channel(CALLS);
        let (waiting, shared) = (Arc::clone(runtime), Arc::clone(&counts));
        threads.push(spawn(move || settle(&*waiting, &claimed, &shared))?);
        let (writing, shared, handle) = (Arc::clone(runtime), Arc::clone(&counts), handle.clone());
        threads.push(spawn(move || write(&*writing, thread, &handle, &claims, &shared))?);
    }
    drop(handle);
    thread::sleep(WARM_UP);
    let (mut rates, mut cut_for) = ([(0, Duration::ZERO); 2], Duration::ZERO);
    for turn in 0..2 * TURNS {
        let cuts = turn % 2 == 1;
        let cut_every = cuts.then_some(CUT_EVERY);
        proxy.set(Weather { cut_every, ..Weather::default() });
        let (start, before) = (Instant::now(), counts.ok.load(Ordering::SeqCst));
        while start.elapsed() < seconds / TURNS && !interrupted.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(20));
        }
        let rows = counts.ok.load(Ordering::SeqCst) - before;
        let rate = &mut rates[usize::from(cuts)];
        *rate = (rate.0 + rows, rate.1 + start.elapsed());
        cut_for = rates[1].1;
    }
    proxy.set(Weather::default());
    counts.stop.store(true, Ordering::SeqCst);
    for thread in threads {
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
    let [undisturbed, with_cuts] = rates.map(|(rows, time)| rows as f64 / time.as_secs_f64());
    let retries = fluss.counters().retries;
    fluss.close(Duration::from_secs(10)).wait().map_err(failed("closing"))?;
    Ok(Throughput {
        runtime: runtime.name(),
        undisturbed,
        with_cuts,
        cut_for,
        harm: proxy.harm(),
        retries,
        rows: counts.ok.load(Ordering::SeqCst),
        failed: counts.failed.load(Ordering::SeqCst),
        counted: fake.with(|cluster| cluster.rows_appended()),
    })
}

/// A proxy whose ports the fake cluster tells its clients.
fn in_front_of(fake: &Loopback, seed: u64) -> Result<Proxy, ChaosError> {
    let servers: Vec<ServerId> = fake.with(|cluster| cluster.servers().collect());
    let targets = fake.bootstrap_all();
    let proxy = Proxy::open(servers.len(), seed)?;
    proxy.aim(&targets);
    fake.with(|cluster| {
        for (server, port) in servers.into_iter().zip(proxy.ports()) {
            cluster.set_address(server, Address { host: "127.0.0.1".into(), port });
        }
    });
    Ok(proxy)
}

fn open(fluss: &Fluss) -> Result<Handle, Error> {
    let schema = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("name", DataType::STRING)
        .column("a", DataType::INT)
        .column("b", DataType::DOUBLE)
        .build()
        .map_err(|error| Error::misuse(error.to_string()))?;
    let mut descriptor = TableDescriptor::new(schema);
    descriptor.bucket_count = Some(BUCKETS);
    // More bytes on the way are harder on cut connections.
    let codec = ("table.log.arrow.compression.type".to_owned(), "NONE".to_owned());
    descriptor.properties.extend([codec]);
    fluss.admin().create_table(TABLE, &descriptor, false).wait()?;
    Ok(Handle::Log(fluss.table(TABLE).wait()?.appender().build()?))
}

fn spawn(body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, ChaosError> {
    Ok(thread::Builder::new().name("throughput".to_owned()).spawn(body)?)
}

/// Hands rows in as fast as memory allows.
fn write(
    runtime: &dyn Runtime,
    thread: i64,
    handle: &Handle,
    claims: &SyncSender<RunTicket>,
    counts: &Counts,
) {
    let mut next = thread;
    let mut rows = Vec::new();
    while !counts.stop.load(Ordering::SeqCst) {
        rows.clear();
        // Numbers stay below those whose text is longer than a row's.
        rows.extend(
            (0..RUN).map(|n| RowOf { id: (next + n * THREADS) % 1_000_000_000, version: 0 }),
        );
        next += RUN * THREADS;
        let ticket = match runtime.put_all(handle, &rows) {
            Ok(ticket) => ticket,
            Err(early) => {
                counts.failed.fetch_add(rows.len() as u64 - early.handed_in, Ordering::SeqCst);
                *early.ticket
            }
        };
        if claims.send(ticket).is_err() {
            return;
        }
    }
}

fn settle(runtime: &dyn Runtime, claimed: &Receiver<RunTicket>, counts: &Counts) {
    while let Ok(ticket) = claimed.recv() {
        for part in runtime.run(ticket) {
            let counter = if part.outcome.is_ok() { &counts.ok } else { &counts.failed };
            counter.fetch_add(part.rows.end - part.rows.start, Ordering::SeqCst);
        }
    }
}
