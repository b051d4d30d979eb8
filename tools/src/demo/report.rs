//! What is shown: a line of progress, and the result.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::plan::Count;
use super::verify::Findings;

/// How often the line of progress changes.
const REDRAW: Duration = Duration::from_millis(100);
/// Characters of the bar.
const BAR: u64 = 30;

/// A line on standard error, if that is a terminal.
#[derive(Debug)]
pub(super) struct Progress {
    rows: u64,
    shown: bool,
    drawn: Option<Instant>,
}

impl Progress {
    pub(super) fn new(rows: u64, quiet: bool) -> Self {
        Self { rows, shown: !quiet && io::stderr().is_terminal(), drawn: None }
    }

    pub(super) fn is_due(&self) -> bool {
        self.shown && self.drawn.is_none_or(|at| at.elapsed() >= REDRAW)
    }

    pub(super) fn draw(&mut self, settled: u64, count: Count) {
        self.drawn = Some(Instant::now());
        let full = (settled * BAR / self.rows) as usize;
        let bar = format!("{}{}", "#".repeat(full), "-".repeat(BAR as usize - full));
        let Count { cuts, lost_answers, leader_moves, retries } = count;
        // Without a terminal to write to, there is nobody to tell.
        let _ = write!(
            io::stderr(),
            "\r[{bar}] {settled}/{} rows, {cuts} cuts, {lost_answers} answers lost, \
             {leader_moves} leader moves, {retries} retries",
            self.rows
        );
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = writeln!(io::stderr());
        }
    }
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Summary {
    pub(super) seed: u64,
    pub(super) rows: u64,
    pub(super) findings: Findings,
    pub(super) count: Count,
    pub(super) fewest: Count,
    pub(super) problems: Vec<String>,
    pub(super) errors: Vec<String>,
    pub(super) written: Duration,
    pub(super) elapsed: Duration,
}

impl Summary {
    /// Whether every row is where it must be, and enough went wrong for that to mean something.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.findings.is_clean() && self.problems.is_empty()
    }

    /// The seed, which repeats the same faults.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What is wrong, the first of each kind.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The result as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Findings { acked, not_written, unknown, lost, doubled, .. } = self.findings;
        let Count { cuts, lost_answers, leader_moves, retries } = self.count;
        format!(
            "{{\"rows\":{},\"acked\":{acked},\"not_written\":{not_written},\
             \"unknown\":{unknown},\"lost\":{lost},\"doubled\":{doubled},\"retries\":{retries},\
             \"faults\":{{\"cuts\":{cuts},\"lost_answers\":{lost_answers},\
             \"leader_moves\":{leader_moves}}},\"seconds\":{:.3}}}",
            self.rows,
            self.elapsed.as_secs_f64()
        )
    }

    /// A few lines for people: the seed, the time, what is wrong.
    #[must_use]
    pub fn to_text(&self) -> String {
        let verdict = if self.passed() {
            "every acknowledged row is there exactly once"
        } else {
            "the verification FAILED"
        };
        let Count { cuts, lost_answers, leader_moves, retries } = self.fewest;
        let mut text = format!(
            "seed {}: {verdict} ({:.1} s of writing, {:.1} s in all)\n\
             every tenth of the run had at least {cuts} cuts, {lost_answers} lost answers, \
             {leader_moves} leader moves, {retries} retries\n",
            self.seed,
            self.written.as_secs_f64(),
            self.elapsed.as_secs_f64()
        );
        for line in self.problems.iter().chain(&self.errors) {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}
