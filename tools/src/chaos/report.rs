//! What came of a round, and of all of them.

use std::fmt::Write as _;
use std::time::Duration;

use super::ChaosError;
use super::faults::Deeds;
use super::plan::{Kind, Plan};
use super::proxy::Harm;

/// Errors of rows that are quoted.
const ERRORS: usize = 10;

/// What a reader did that followed the writers of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Following {
    /// The name of its runtime.
    pub runtime: &'static str,
    /// Records that it handed out.
    pub records: u64,
    /// Waits for the next batch that were dropped.
    pub dropped_waits: u64,
    /// Bytes that it had from remote storage, in rounds whose servers move segments there.
    pub remote_bytes: Option<u64>,
    /// How long it read.
    pub time: Duration,
}

/// What came of a round.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its number, from 1.
    pub number: u64,
    /// What it was about.
    pub kind: Kind,
    /// Its seed.
    pub seed: u64,
    /// Rows asked for, to play it again.
    asked: u64,
    /// Rows that are written.
    pub ok: u64,
    /// Rows reported as not written.
    pub not_written: u64,
    /// Rows of which the client could not tell.
    pub unknown: u64,
    /// Acknowledged rows that are not there.
    pub lost: u64,
    /// Lost rows that a server admits to have truncated.
    pub excused: u64,
    /// What was done to servers.
    pub deeds: Deeds,
    /// What was done to connections.
    pub harm: Harm,
    /// How often a bucket changed its leader.
    pub failovers: u64,
    /// Copies of batches that were not the first.
    pub retries: u64,
    /// Writer ids given up.
    pub rotations: u64,
    /// The longest time from handing a row in to its outcome.
    pub slowest: Duration,
    /// How long the round took.
    pub seconds: Duration,
    /// Why it failed; nothing if it did not.
    pub problems: Vec<String>,
    /// Rows and log lines that explain a problem.
    pub notes: Vec<String>,
    /// What the first rows without an `Ok` met.
    pub errors: Vec<String>,
    /// The readers that followed the writers.
    pub followed: Vec<Following>,
    /// Why it was played a second time: what servers did by themselves before its first row.
    pub repeated: Option<String>,
}

/// The head of the table whose lines are [`Report::line`].
pub const HEAD: &str = "\
round kind              seed    rows     ok not-w  unkn lost kill paus stop  cuts failo lost-an \
swal retries  ids in-fl  max s time s verdict";

impl Report {
    pub(super) fn new(number: u64, plan: &Plan, asked: u64) -> Self {
        Self {
            number,
            kind: plan.kind,
            seed: plan.seed,
            asked,
            ok: 0,
            not_written: 0,
            unknown: 0,
            lost: 0,
            excused: 0,
            deeds: Deeds::default(),
            harm: Harm::default(),
            failovers: 0,
            retries: 0,
            rotations: 0,
            slowest: Duration::ZERO,
            seconds: Duration::ZERO,
            problems: Vec::new(),
            notes: Vec::new(),
            errors: Vec::new(),
            followed: Vec::new(),
            repeated: None,
        }
    }

    /// A round that could not be played to its end.
    pub(super) fn broken_off(number: u64, plan: &Plan, asked: u64, why: &ChaosError) -> Self {
        let mut report = Self::new(number, plan, asked);
        report.problem(format!("broke off: {why}"));
        report
    }

    pub(super) fn problem(&mut self, text: String) {
        self.problems.push(text);
    }

    /// Rows handed in that have an outcome.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.ok + self.not_written + self.unknown
    }

    /// Whether nothing was wrong.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.problems.is_empty()
    }

    /// Its line of the table.
    #[must_use]
    pub fn line(&self) -> String {
        let mut verdict = match (self.passed(), self.excused) {
            (true, 0) => "ok".to_owned(),
            (true, lost) => format!("ok, {lost} rows lost by the servers"),
            (false, _) => "FAILED".to_owned(),
        };
        if self.passed() && self.repeated.is_some() {
            verdict.push_str(", when it was repeated");
        }
        format!(
            "{:>5} {:<11} {:>10} {:>7} {:>6} {:>5} {:>5} {:>4} {:>4} {:>4} {:>4} {:>5} {:>5} {:>7} \
             {:>4} {:>7} {:>4} {:>5} {:>6.1} {:>6.0} {verdict}",
            self.number,
            self.kind,
            self.seed,
            self.rows(),
            self.ok,
            self.not_written,
            self.unknown,
            self.lost,
            self.deeds.kills,
            self.deeds.pauses,
            self.deeds.stops,
            self.harm.cuts,
            self.failovers,
            self.harm.lost_answers,
            self.harm.swallowed,
            self.retries,
            self.rotations,
            self.deeds.in_flight.unwrap_or_default(),
            self.slowest.as_secs_f64(),
            self.seconds.as_secs_f64(),
        )
    }

    /// Further lines: what readers did, what was wrong, why, and how to play the round again; empty
    /// for a round without readers and without a fault.
    #[must_use]
    pub fn details(&self) -> String {
        let mut text = String::new();
        for Following { runtime, records, dropped_waits, remote_bytes, time } in &self.followed {
            let _ = write!(
                text,
                "\n      the reader on {runtime} handed out {records} records in {:.1} s; \
                 {dropped_waits} waits were dropped",
                time.as_secs_f64()
            );
            if let Some(bytes) = remote_bytes {
                let _ = write!(text, "; {bytes} bytes came from remote storage");
            }
        }
        for problem in &self.problems {
            let _ = write!(text, "\n      {problem}");
        }
        for note in &self.notes {
            let _ = write!(text, "\n        {note}");
        }
        if !self.passed() {
            for error in self.errors.iter().take(ERRORS) {
                let _ = write!(text, "\n        {error}");
            }
            let Self { kind, seed, asked, .. } = self;
            let _ = write!(
                text,
                "\n      again: fluss-chaos --rounds 1 --seed {seed} --kind {kind} --rows {asked}"
            );
        }
        text
    }
}

/// The sum of all rounds, as text, and why rounds were repeated.
pub(super) fn summary(reports: &[Report]) -> String {
    let sum = |of: &dyn Fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let slowest = reports.iter().map(|report| report.slowest).max().unwrap_or_default();
    let mut text = format!(
        "{} rounds, {} failed, {} repeated: {} rows, {} ok, {} not written, {} unknown, {} lost \
         ({} by the servers); {} kills, {} pauses, {} stops, {} failovers, {} cuts, {} lost \
         answers, {} silences, {} delays, {} splits, {} retries, {} ids given up; slowest outcome \
         {:.1} s",
        reports.len(),
        reports.iter().filter(|report| !report.passed()).count(),
        reports.iter().filter(|report| report.repeated.is_some()).count(),
        sum(&Report::rows),
        sum(&|r| r.ok),
        sum(&|r| r.not_written),
        sum(&|r| r.unknown),
        sum(&|r| r.lost),
        sum(&|r| r.excused),
        sum(&|r| r.deeds.kills),
        sum(&|r| r.deeds.pauses),
        sum(&|r| r.deeds.stops),
        sum(&|r| r.failovers),
        sum(&|r| r.harm.cuts),
        sum(&|r| r.harm.lost_answers),
        sum(&|r| r.harm.swallowed),
        sum(&|r| r.harm.delays),
        sum(&|r| r.harm.splits),
        sum(&|r| r.retries),
        sum(&|r| r.rotations),
        slowest.as_secs_f64(),
    );
    let (read, dropped) = reports
        .iter()
        .flat_map(|report| &report.followed)
        .fold((0, 0), |(records, dropped), reader| {
            (records + reader.records, dropped + reader.dropped_waits)
        });
    if read > 0 {
        let _ = write!(text, "; readers handed out {read} records, {dropped} waits dropped");
    }
    for report in reports {
        if let Report { number, repeated: Some(why), .. } = report {
            let _ = write!(text, "\n      round {number} was repeated before its first row: {why}");
        }
    }
    text
}
