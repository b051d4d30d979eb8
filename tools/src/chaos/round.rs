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
use super::plan::Plan;
use super::proxy::{Proxy, Weather};
use super::read;
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
    lines: Receiver<(bool, Line)>,
    threads: usize,
    progress: Arc<Progress>,
    start: Instant,
}

/// Plays a round with about `rows` rows.
pub(super) fn play(
    stage: &Stage<'_>,
    number: u64,
    plan: &Plan,
    rows: u64,
) -> Result<Report, ChaosError> {
    let began = Instant::now();
    let cluster = stage.cluster;
    stage.proxy.set(Weather::default());
    stage.proxy.reseed(plan.seed);
    let harm = stage.proxy.harm();
    let marks = truncation::marks(cluster)?;
    let admin = client(&cluster.internal_bootstrap(), plan.seed)?;
    let names = make_tables(stage, &admin, number, plan)?;
    let epochs = Faults::epochs(cluster, &names.both())?;

    let writers = start(stage, plan, &names, rows)?;
    stage.proxy.set(plan.weather);
    let mut faults = Faults::new(cluster, names.both(), plan.seed);
    faults.play(plan, writers.start, &writers.progress)?;
    sleep_until(writers.start + plan.end());
    stage.proxy.set(Weather::default());
    let mut report = Report::new(number, plan, rows);
    let lines = collect(&writers, plan, &mut report);
    cluster.wait_until_ready()?;

    if let Some([log, keyed]) = lines {
        report.slowest = log.iter().chain(&keyed).map(|l| l.slowest).max().unwrap_or_default();
        report.errors.extend(log.iter().chain(&keyed).flat_map(|l| l.errors.iter().cloned()));
        let mut findings = verify_log(&admin, &names, &log, &marks, cluster, &mut report)?;
        findings.add(verify_keyed(&admin, &names, &keyed, &marks, cluster, &mut report)?);
        judge(&mut report, &findings, plan);
    }
    close(&writers, &mut report);
    report.harm = stage.proxy.harm().since(harm);
    report.deeds = faults.deeds;
    report.failovers = Faults::epochs(cluster, &names.both())?.saturating_sub(epochs);
    if report.failovers == 0 {
        report.problem("no bucket changed its leader, so the round showed nothing".to_owned());
    }
    if report.deeds.in_flight == Some(0) {
        report.problem("nothing was in flight when a leader went down".to_owned());
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

/// Starts a client on each runtime and all its threads.
fn start(stage: &Stage<'_>, plan: &Plan, names: &Names, rows: u64) -> Result<Writers, ChaosError> {
    let mut rng = Rng::new(plan.seed);
    let bootstrap = stage.proxy.addresses().join(",");
    let mut handles = Vec::new();
    let mut clients = Vec::new();
    for runtime in stage.runtimes {
        let config =
            plan.settings.client(&bootstrap, rng.next_u64()).map_err(failed("settings"))?;
        let fluss = runtime.start(config).map_err(failed("connecting"))?;
        let open = |name: &str| fluss.table(&format!("fluss.{name}")).wait();
        let (log, keyed) = (open(&names.log), open(&names.keyed));
        let (log, keyed) =
            (log.map_err(failed("opening a table"))?, keyed.map_err(failed("opening a table"))?);
        let log = log.appender().config(plan.settings.writer()).build();
        let keyed = keyed.upserter().config(plan.settings.writer()).build();
        let log = Handle::Log(log.map_err(failed("opening a writer"))?);
        let keyed = Handle::Keyed(keyed.map_err(failed("opening a writer"))?);
        for handle in [log, keyed] {
            // Clones are lanes of one writer: each thread has an order of its own.
            handles.extend((0..THREADS).map(|_| (Arc::clone(runtime), handle.clone())));
        }
        clients.push(fluss);
    }
    let each = (rows / handles.len() as u64).max(1);
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
    Ok(Writers { clients, lines, threads, progress, start })
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

fn verify_log(
    admin: &Fluss,
    names: &Names,
    lines: &[Line],
    marks: &truncation::Marks,
    cluster: &RealCluster,
    report: &mut Report,
) -> Result<Findings, ChaosError> {
    let table = open(admin, &names.log)?;
    let records = read::records(&table).map_err(failed("reading the log table"))?;
    let findings = check::log(lines, &records);
    truncation::look(cluster, marks, &table, &findings.lost, report)?;
    Ok(findings)
}

fn verify_keyed(
    admin: &Fluss,
    names: &Names,
    lines: &[Line],
    marks: &truncation::Marks,
    cluster: &RealCluster,
    report: &mut Report,
) -> Result<Findings, ChaosError> {
    let table = open(admin, &names.keyed)?;
    let records = read::records(&table).map_err(failed("reading the changelog"))?;
    let looked_up = read::lookups(&table, lines).map_err(failed("lookups"))?;
    let findings = check::keyed(lines, &records, &looked_up);
    truncation::look(cluster, marks, &table, &findings.lost, report)?;
    Ok(findings)
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
fn close(writers: &Writers, report: &mut Report) {
    for client in &writers.clients {
        let counters = client.counters();
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
}
