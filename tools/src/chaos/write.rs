//! The threads that write, at a steady pace, and the ones that watch for the outcomes.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fluss_core::rng::Rng;
use fluss_core::{Ack, RunTicket, Ticket, WriteError};

use super::check::{Line, STRIDE, Told};
use super::runtimes::{Handle, Op, Runtime};
use crate::main_job::RowOf;

/// How often a thread hands rows in.
const BEAT: Duration = Duration::from_millis(5);
/// The most rows of one call.
const RUN: usize = 32;
/// Errors kept for the report.
const ERRORS: usize = 3;
/// Writes for each key of the primary-key table, on average.
const WRITES_PER_KEY: u64 = 4;
/// One write in this many that could be the deletion of a row is one.
const DELETE_ONE_IN: u64 = 6;

/// What a thread is to write: rows of the log table, one after another.
pub(super) fn log_script(thread: i64, rows: u64) -> Vec<Op> {
    let first = thread * STRIDE;
    let row = |n| RowOf { id: first + n, version: 0 };
    (0..rows.cast_signed()).map(|n| Op { row: row(n), delete: false }).collect()
}

/// What a thread is to write: keys of its own, some of them again, some deleted in between. The
/// version of a row counts the writes of its key.
pub(super) fn keyed_script(thread: i64, rows: u64, rng: &mut Rng) -> Vec<Op> {
    let keys = (rows / WRITES_PER_KEY).max(1);
    // The last write of each key: its version, and whether it was a deletion.
    let mut last: HashMap<i64, (i32, bool)> = HashMap::new();
    let mut op = |_| {
        let id = thread * STRIDE + rng.below(keys).cast_signed();
        let (version, delete) = match last.get(&id) {
            Some((version, deleted)) => (version + 1, !deleted && rng.one_in(DELETE_ONE_IN)),
            None => (0, false),
        };
        last.insert(id, (version, delete));
        Op { row: RowOf { id, version }, delete }
    };
    (0..rows).map(&mut op).collect()
}

/// When rows are handed in: evenly over these spans, in time since the start.
pub(super) type Bursts = Vec<(Duration, Duration)>;

/// How many of `rows` are due at this time.
fn due(bursts: &Bursts, rows: usize, now: Duration) -> usize {
    let total: Duration = bursts.iter().map(|(from, to)| to.saturating_sub(*from)).sum();
    let gone: Duration = bursts.iter().map(|(from, to)| now.min(*to).saturating_sub(*from)).sum();
    if gone >= total {
        return rows;
    }
    (rows as f64 * gone.as_secs_f64() / total.as_secs_f64()) as usize
}

/// What all threads of a round share.
#[derive(Debug, Default)]
pub(super) struct Progress {
    handed_in: AtomicU64,
    settled: AtomicU64,
}

impl Progress {
    /// Rows without an outcome at this moment.
    pub(super) fn in_flight(&self) -> u64 {
        let settled = self.settled.load(Ordering::SeqCst);
        self.handed_in.load(Ordering::SeqCst).saturating_sub(settled)
    }
}

enum Claim {
    One(Ticket),
    Many(RunTicket),
    /// The handle refused the row.
    Refused(String),
}

/// Writes whose outcomes are awaited: the first one's index, and when they were handed in.
struct Claimed {
    index: usize,
    rows: usize,
    since: Instant,
    claim: Claim,
}

/// One thread's work.
pub(super) struct Work {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) handle: Handle,
    pub(super) script: Vec<Op>,
    pub(super) bursts: Bursts,
    pub(super) start: Instant,
    pub(super) progress: Arc<Progress>,
}

impl Work {
    /// Starts two threads, one that writes and one that waits; `done` gets what came of it. They
    /// are not joined: one that is stuck must not keep the report from being made.
    pub(super) fn spawn(
        self,
        name: &str,
        done: impl FnOnce(Line) + Send + 'static,
    ) -> io::Result<()> {
        let (claims, claimed) = mpsc::channel();
        let told = vec![Told::Open; self.script.len()];
        let watch = Watch {
            runtime: Arc::clone(&self.runtime),
            line: Line {
                ops: self.script.clone(),
                told,
                slowest: Duration::ZERO,
                errors: Vec::new(),
            },
            progress: Arc::clone(&self.progress),
        };
        thread::Builder::new().name(format!("{name}-watch")).spawn(move || {
            done(watch.run(&claimed));
        })?;
        thread::Builder::new().name(name.to_owned()).spawn(move || self.run(&claims))?;
        Ok(())
    }

    fn run(self, claims: &Sender<Claimed>) {
        let mut next = 0;
        while next < self.script.len() {
            let due = due(&self.bursts, self.script.len(), self.start.elapsed());
            while next < due {
                let until = due.min(next + RUN);
                self.hand_in(next..until, claims);
                next = until;
            }
            thread::sleep(BEAT);
        }
    }

    /// Hands rows in: every other time in one call where the writes allow it.
    fn hand_in(&self, range: std::ops::Range<usize>, claims: &Sender<Claimed>) {
        let ops = &self.script[range.clone()];
        let send = |index, rows, claim| {
            self.progress.handed_in.fetch_add(rows as u64, Ordering::SeqCst);
            // Nobody listens any more after a failure.
            let _ = claims.send(Claimed { index, rows, since: Instant::now(), claim });
        };
        if range.start.is_multiple_of(2) && ops.iter().all(|op| !op.delete) {
            let rows: Vec<RowOf> = ops.iter().map(|op| op.row).collect();
            return match self.runtime.put_all(&self.handle, &rows) {
                Ok(ticket) => send(range.start, rows.len(), Claim::Many(ticket)),
                Err(early) => {
                    let taken = early.handed_in as usize;
                    send(range.start, taken, Claim::Many(*early.ticket));
                    let refused = Claim::Refused(early.error.to_string());
                    send(range.start + taken, rows.len() - taken, refused);
                }
            };
        }
        for (index, op) in range.zip(ops) {
            let claim = match self.runtime.put(&self.handle, *op) {
                Ok(ticket) => Claim::One(ticket),
                Err(error) => Claim::Refused(error.to_string()),
            };
            send(index, 1, claim);
        }
    }
}

/// Waits for outcomes in the order in which the rows were handed in. So a row may seem slower than
/// it was, by waiting for an older one, but none beyond its bound unless some row was.
struct Watch {
    runtime: Arc<dyn Runtime>,
    line: Line,
    progress: Arc<Progress>,
}

impl Watch {
    fn run(mut self, claimed: &Receiver<Claimed>) -> Line {
        while let Ok(Claimed { index, rows, since, claim }) = claimed.recv() {
            match claim {
                Claim::One(ticket) => {
                    let outcome = self.runtime.ticket(ticket);
                    self.note(index, 1, &outcome);
                }
                Claim::Many(ticket) => {
                    for part in self.runtime.run(ticket) {
                        let (from, to) = (part.rows.start as usize, part.rows.end as usize);
                        self.note(index + from, to - from, &part.outcome);
                    }
                }
                Claim::Refused(error) => {
                    self.line.told[index..index + rows].fill(Told::NotWritten);
                    self.error(index, &format!("refused: {error}"));
                }
            }
            self.line.slowest = self.line.slowest.max(since.elapsed());
            self.progress.settled.fetch_add(rows as u64, Ordering::SeqCst);
        }
        self.line
    }

    /// The outcome of consecutive rows; appended ones have consecutive offsets.
    fn note(&mut self, index: usize, rows: usize, outcome: &Result<Ack, WriteError>) {
        let by = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let by = u64::try_from(by).unwrap_or(u64::MAX);
        for at in 0..rows {
            self.line.told[index + at] = match outcome {
                Ok(ack) => Told::Ok {
                    bucket: ack.bucket,
                    offset: ack.log_end_offset.or(ack.offset.map(|first| first + at as i64)),
                    by,
                },
                Err(WriteError::NotWritten(_)) => Told::NotWritten,
                Err(_) => Told::Unknown,
            };
        }
        if let Err(error) = outcome {
            self.error(index, &error.to_string());
        }
    }

    fn error(&mut self, index: usize, error: &str) {
        if self.line.errors.len() < ERRORS {
            self.line.errors.push(format!("{:?}: {error}", self.line.ops[index]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_due_evenly_over_all_spans_and_not_in_between() {
        let second = Duration::from_secs;
        let bursts = vec![(second(1), second(3)), (second(10), second(12))];
        let due = |at| due(&bursts, 400, second(at));
        assert_eq!(
            [0, 1, 2, 3, 9, 10, 11, 12, 99].map(due),
            [0, 0, 100, 200, 200, 200, 300, 400, 400]
        );
    }

    #[test]
    fn keyed_writes_count_their_keys_versions_and_never_begin_with_a_deletion() {
        let script = keyed_script(3, 1000, &mut Rng::new(1));
        let mut last: HashMap<i64, Op> = HashMap::new();
        for op in &script {
            let before = last.insert(op.row.id, *op);
            assert_eq!(op.row.version, before.map_or(0, |before| before.row.version + 1));
            assert!(!op.delete || before.is_some_and(|before| !before.delete), "{op:?}");
        }
        assert!(script.iter().any(|op| op.delete) && last.len() > 200, "{}", last.len());
        assert!(script.iter().all(|op| op.row.id / STRIDE == 3));
    }
}
