//! One round: two tables, many writers, faults, and the comparison of what is there with what the
//! writers were told.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use fluss_core::rng::Rng;
use fluss_core::row::{DataType, Schema, TableDescriptor};
use fluss_core::{Error, Fluss, Table};
use fluss_embedded::Config;

use super::ChaosError;
use super::check::{self, Findings, Line};
use super::faults::Faults;
use super::follow::{self, Follower, Moved};
use super::plan::{Kind, Plan};
use super::proxy::{Proxy, Weather};
use super::read;
use super::remote::counted_files;
use super::report::Report;
use super::runtimes::{Handle, Runtime};
use super::truncation;
use super::write::{self, Progress, Work};
use crate::cluster::{RealCluster, TableLosses};

/// Threads of each runtime that write into each of the tables.
const THREADS: usize = 2;
/// Buckets of each table.
const BUCKETS: u32 = 4;
/// Time in which threads that should have ended do so, beyond every deadline.
const GRACE: Duration = Duration::from_secs(10);
/// Of a hundred rows so many have to end with an `Ok`.
const OK_PERCENT: u64 = 90;
/// From the creation of the tables to the first write. A new table's replicas fall out of sync for
/// a moment; the server never takes them back when its coordinator dies just then.
const SETTLING: Duration = Duration::from_secs(2);
/// How long the servers may name different leaders after the faults.
const AGREEMENT: Duration = Duration::from_secs(60);
/// How often a table with missing rows is read, and the time in between. A server that was paused
/// serves what it has until it learns that it leads no more; what is lost stays lost.
const READINGS: u32 = 3;
const BETWEEN_READINGS: Duration = Duration::from_secs(5);

/// What all rounds on one cluster share.
pub(super) struct Stage<'a> {
    pub(super) cluster: &'a RealCluster,
    pub(super) proxy: &'a Proxy,
    pub(super) losses: &'a TableLosses,
    pub(super) runtimes: &'a [Arc<dyn Runtime>],
}

/// The two tables of a round, by their names.
struct Names {
    log: String,
    keyed: String,
}

impl Names {
    fn both(&self) -> [&str; 2] {
        [&self.log, &self.keyed]
    }
}

/// The clients of a round, one for each runtime, and the lines their threads will bring.
struct Writers {
    clients: Vec<Fluss>,
    /// The readers beside them.
    followers: Vec<Follower>,
    lines: Receiver<(bool, Line)>,
    threads: usize,
    progress: Arc<Progress>,
    start: Instant,
}

/// Plays a round with about `rows` rows. `handed_in` becomes true before the first of them is
/// handed in.
pub(super) fn play(
    stage: &Stage<'_>,
    number: u64,
    plan: &Plan,
    rows: u64,
    handed_in: &mut bool,
) -> Result<Report, ChaosError> {
    let began = Instant::now();
    let cluster = stage.cluster;
    stage.proxy.set(Weather::default());
    stage.proxy.reseed(plan.seed);
    let harm = stage.proxy.harm();
    let marks = truncation::marks(cluster)?;
    let admin = client(&cluster.internal_bootstrap(), plan.seed)?;
    let names = make_tables(stage, &admin, number, plan)?;
    thread::sleep(SETTLING);
    let epochs = Faults::epochs(cluster, &names.both())?;

    let mut writers = start(stage, plan, &names, rows, handed_in)?;
    stage.proxy.set(plan.weather);
    let mut faults = Faults::new(cluster, stage.proxy, names.both(), plan.seed);
    faults.play(plan, writers.start)?;
    sleep_until(writers.start + plan.end());
    stage.proxy.set(Weather::default());
    let mut report = Report::new(number, plan, rows);
    let lines = collect(&writers, plan, &mut report);
    cluster.wait_until_ready()?;
    await_agreement(cluster, &names)?;

    if let Some([log, keyed_lines]) = lines {
        report.slowest =
            log.iter().chain(&keyed_lines).map(|l| l.slowest).max().unwrap_or_default();
        report.errors.extend(log.iter().chain(&keyed_lines).flat_map(|l| l.errors.iter().cloned()));
        let read = |keyed: bool| {
            let (name, lines) =
                if keyed { (&names.keyed, &keyed_lines) } else { (&names.log, &log) };
            let table = open(&admin, name)?;
            Ok((verify(&table, keyed, lines)?, table))
        };
        let mut findings = Findings::default();
        for keyed in [false, true] {
            let (found, table) = settled(read, keyed, &mut report)?;
            truncation::look(cluster, &marks, &table, &found.lost, &mut report)?;
            findings.add(found);
        }
        let followers = std::mem::take(&mut writers.followers);
        follow::finish(followers, &open(&admin, &names.log)?, faults.last_kill, &mut report)?;
        judge(&mut report, &findings, plan);
    }
    close(&writers, plan.kind, &mut report);
    report.harm = stage.proxy.harm().since(harm);
    report.deeds = faults.deeds;
    report.failovers = Faults::epochs(cluster, &names.both())?.saturating_sub(epochs);
    if report.failovers == 0 {
        report.problem("no bucket changed its leader, so the round showed nothing".to_owned());
    }
    if report.deeds.in_flight == Some(0) {
        report.problem("a leader went down that had no write to answer".to_owned());
    }
    drop_tables(&admin, &names);
    report.seconds = began.elapsed();
    Ok(report)
}

fn sleep_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}

fn failed(what: &'static str) -> impl Fn(Error) -> ChaosError {
    move |error| ChaosError::Client { what, error }
}

/// A client on the servers' own listeners, past the proxy.
fn client(bootstrap: &[String], seed: u64) -> Result<Fluss, ChaosError> {
    let config = Config::new(&bootstrap.join(",")).map_err(failed("settings"))?;
    fluss_embedded::start(config.seed(seed)).map_err(failed("connecting past the proxy"))
}

fn make_tables(
    stage: &Stage<'_>,
    admin: &Fluss,
    number: u64,
    plan: &Plan,
) -> Result<Names, ChaosError> {
    let make = |kind: &str, primary_key| {
        let builder = Schema::builder()
            .column("id", DataType::BIGINT.not_null())
            .column("name", DataType::STRING)
            .column("a", DataType::INT)
            .column("b", DataType::DOUBLE);
        let builder = if primary_key { builder.primary_key(["id"]) } else { builder };
        let schema =
            builder.build().map_err(|e| failed("a schema")(Error::misuse(e.to_string())))?;
        let mut description = TableDescriptor::new(schema);
        description.bucket_count = Some(BUCKETS);
        let name = format!("chaos_{kind}_{}_{number}", plan.kind);
        let made = stage.losses.make(
            stage.cluster,
            &name,
            |name| {
                let path = format!("fluss.{name}");
                admin.admin().create_table(&path, &description, false).wait()
            },
            |name, ()| {
                let asked = stage.cluster.has_leaders("fluss", name, None);
                asked.map_err(|error| Error::misuse(format!("asking for leaders: {error}")))
            },
        );
        made.map(|(name, ())| name).map_err(|error| ChaosError::Table(error.to_string()))
    };
    Ok(Names { log: make("log", false)?, keyed: make("keyed", true)? })
}

/// Dropping keeps the servers small; that it fails harms nobody.
fn drop_tables(admin: &Fluss, names: &Names) {
    for name in names.both() {
        let path = format!("fluss.{name}");
        if let Err(error) = admin.admin().drop_table(&path, true).wait() {
            eprintln!("the table {path} stays: {error}");
        }
    }
}

/// Starts a client on each runtime and all its threads. `handed_in` is true once one may run.
fn start(
    stage: &Stage<'_>,
    plan: &Plan,
    names: &Names,
    rows: u64,
    handed_in: &mut bool,
) -> Result<Writers, ChaosError> {
    let mut rng = Rng::new(plan.seed);
    let bootstrap = stage.proxy.addresses().join(",");
    let mut handles = Vec::new();
    let (mut clients, mut followers) = (Vec::new(), Vec::new());
    let moved = match plan.kind {
        Kind::Tiered => Some(moved(stage, plan, &names.log)?),
        _ => None,
    };
    for runtime in stage.runtimes {
        let config =
            plan.settings.client(&bootstrap, rng.next_u64()).map_err(failed("settings"))?;
        let (store, remote) = counted_files();
        let config = config.store(store);
        let fluss = runtime.start(config).map_err(failed("connecting"))?;
        let open = |name: &str| fluss.table(&format!("fluss.{name}")).wait();
        let (log, keyed) = (open(&names.log), open(&names.keyed));
        let (log, keyed) =
            (log.map_err(failed("opening a table"))?, keyed.map_err(failed("opening a table"))?);
        if plan.kind.has_readers() {
            let moved = moved.clone().map(|moved| (moved, remote));
            followers.push(Follower::start(runtime, &log, rng.next_u64(), moved)?);
        }
        let log = log.appender().config(plan.settings.writer()).build();
        let keyed = keyed.upserter().config(plan.settings.writer()).build();
        let log = Handle::Log(log.map_err(failed("opening a writer"))?);
        let keyed = Handle::Keyed(keyed.map_err(failed("opening a writer"))?);
        let keyed = (!plan.kind.has_readers()).then_some(keyed);
        for handle in [log].into_iter().chain(keyed) {
            // Clones are lanes of one writer: each thread has an order of its own.
            handles.extend((0..THREADS).map(|_| (Arc::clone(runtime), handle.clone())));
        }
        clients.push(fluss);
    }
    // A round begins with all its servers.
    stage.cluster.check()?;
    *handed_in = true;
    let each = rows.div_ceil(handles.len() as u64).max(1);
    let progress = Arc::new(Progress::default());
    let (start, threads) = (Instant::now(), handles.len());
    let (sender, lines) = mpsc::channel();
    for (thread, (runtime, handle)) in (0..).zip(handles) {
        let keyed = matches!(handle, Handle::Keyed(_));
        let script = match keyed {
            false => write::log_script(thread, each),
            true => write::keyed_script(thread, each, &mut rng),
        };
        let name = format!("{}-{thread}", runtime.name());
        let bursts = plan.bursts.clone();
        let progress = Arc::clone(&progress);
        let work = Work { runtime, handle, script, bursts, start, progress };
        let sender = sender.clone();
        work.spawn(&name, move |line| {
            // Nobody listens any more after a failure.
            let _ = sender.send((keyed, line));
        })?;
    }
    Ok(Writers { clients, followers, lines, threads, progress, start })
}

/// What tells readers that segments were moved, past the proxy.
fn moved(stage: &Stage<'_>, plan: &Plan, name: &str) -> Result<Moved, ChaosError> {
    let (store, seen) = counted_files();
    let bootstrap = stage.cluster.internal_bootstrap().join(",");
    let config = plan.settings.client(&bootstrap, plan.seed).map_err(failed("settings"))?;
    let fluss = fluss_embedded::start(config.store(store)).map_err(failed("connecting"))?;
    Ok(Moved::new(open(&fluss, name)?, seen))
}

/// Waits for all threads; the lines of the log table and of the primary-key table, in no order.
fn collect(writers: &Writers, plan: &Plan, report: &mut Report) -> Option<[Vec<Line>; 2]> {
    let limit = writers.start + plan.end() + plan.settings.bound() + GRACE;
    let mut lines = [Vec::new(), Vec::new()];
    for _ in 0..writers.threads {
        let wait = limit.saturating_duration_since(Instant::now());
        let Ok((keyed, line)) = writers.lines.recv_timeout(wait) else {
            let open = writers.progress.in_flight();
            report.problem(format!("stuck: {open} rows never got an outcome"));
            return None;
        };
        lines[usize::from(keyed)].push(line);
    }
    Some(lines)
}

fn open(admin: &Fluss, name: &str) -> Result<Table, ChaosError> {
    admin.table(&format!("fluss.{name}")).wait().map_err(failed("opening a table to read it"))
}

/// Waits until all tablet servers name the same leaders.
fn await_agreement(cluster: &RealCluster, names: &Names) -> Result<(), ChaosError> {
    let limit = Instant::now() + AGREEMENT;
    for name in names.both() {
        loop {
            let leaders = cluster.leaders_everywhere("fluss", name)?;
            let led = leaders.iter().flatten().all(|leader| leader.server.is_some());
            if led && leaders.windows(2).all(|two| two[0] == two[1]) {
                break;
            }
            if Instant::now() > limit {
                let text = format!("the servers do not agree who leads {name}: {leaders:?}");
                return Err(ChaosError::Table(text));
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}

/// Reads a table and compares it with what its writers were told.
fn verify(table: &Table, keyed: bool, lines: &[Line]) -> Result<Findings, ChaosError> {
    let records = read::records(table).map_err(failed("reading a table"))?;
    if !keyed {
        return Ok(check::log(lines, &records));
    }
    let looked_up = read::lookups(table, lines).map_err(failed("lookups"))?;
    Ok(check::keyed(lines, &records, &looked_up))
}

/// Reads until no row is missing, or long enough to call it lost. Says so where once was not
/// enough.
fn settled<T>(
    read: impl Fn(bool) -> Result<(Findings, T), ChaosError>,
    keyed: bool,
    report: &mut Report,
) -> Result<(Findings, T), ChaosError> {
    let mut found = read(keyed)?;
    for _ in 1..READINGS {
        if found.0.lost.is_empty() {
            break;
        }
        let missing = found.0.lost.len();
        thread::sleep(BETWEEN_READINGS);
        found = read(keyed)?;
        let still = found.0.lost.len();
        report.notes.push(format!(
            "{missing} rows were missing when they were read, {still} of them {} s later",
            BETWEEN_READINGS.as_secs()
        ));
    }
    Ok(found)
}

fn judge(report: &mut Report, findings: &Findings, plan: &Plan) {
    report.ok = findings.ok;
    report.not_written = findings.not_written;
    report.unknown = findings.unknown;
    report.lost = findings.lost.len() as u64;
    if findings.faults() > 0 || report.lost > report.excused {
        report.problem(format!(
            "{} lost ({} of them by the servers), {} doubled, {} out of order, {} misplaced, {} \
             there though not written, {} otherwise wrong",
            report.lost,
            report.excused,
            findings.doubled,
            findings.disordered,
            findings.misplaced,
            findings.untrue,
            findings.wrong
        ));
    }
    if !findings.is_clean() {
        report.notes.extend(findings.complaints.iter().cloned());
    }
    let rows = findings.rows();
    if findings.ok * 100 < rows * OK_PERCENT {
        report.problem(format!("only {} of {rows} rows are written", findings.ok));
    }
    let bound = plan.settings.bound();
    if report.slowest > bound {
        report.problem(format!("an outcome took {:?}, at most {bound:?} is right", report.slowest));
    }
}

/// Closes the clients, which must have nothing left.
fn close(writers: &Writers, kind: Kind, report: &mut Report) {
    let mut idle = 0;
    for client in &writers.clients {
        let counters = client.counters();
        idle += counters.rotations_idle;
        report.retries += counters.retries;
        report.rotations += counters.rotations;
        let left = client.close(Duration::from_secs(5)).wait();
        let used = client.memory_used();
        if left != Ok(0) || used > 0 || counters.invariant_violations > 0 {
            report.problem(format!(
                "after the end: close said {left:?}, {used} bytes held, {counters:?}"
            ));
        }
    }
    if kind == Kind::Expiry && idle == 0 {
        report.problem("no writer gave up an id that servers forget soon".to_owned());
    }
}
