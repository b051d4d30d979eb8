//! The threads that write, and what became of each row.

use fluss_core::{Ack, AppendWriter, Error, RunTicket, Ticket, UpsertWriter, WriteError};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use super::pace::Pace;
use super::rows::{Content, Rows};

/// What the client said about a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// No answer yet.
    Open,
    /// It is in this bucket: at this offset, or below it for an upsert; `None` where the client
    /// inferred the commit.
    Ok { bucket: i32, offset: Option<i64> },
    /// It is not in the table and never will be.
    NotWritten,
    /// Nobody can tell.
    Unknown,
}

/// A handle of a writer of one of the two tables.
#[derive(Debug)]
pub(super) enum Handle {
    Log(AppendWriter),
    Keyed(UpsertWriter),
}

impl Handle {
    /// Hands in one row.
    fn one(&self, content: &Content) -> Result<Ticket, Error> {
        match self {
            Self::Log(writer) => writer.append(&content.row()).wait(),
            Self::Keyed(writer) => writer.upsert(&content.row()).wait(),
        }
    }

    /// Hands in many rows in one call.
    fn many(&self, contents: &[Content]) -> Result<RunTicket, Error> {
        let rows = contents.iter().map(Content::row);
        match self {
            Self::Log(writer) => Ok(writer.append_all(rows).wait()?),
            Self::Keyed(writer) => Ok(writer.upsert_all(rows).wait()?),
        }
    }
}

enum Claim {
    One(Ticket),
    Many(RunTicket),
}

/// What the threads that write share with the one that watches.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Rows that have an outcome.
    pub(super) settled: AtomicU64,
    pub(super) pace: Pace,
}

/// One thread's work: its rows in order, some one by one, some in runs.
pub(super) struct Work {
    rows: Rows,
    handle: Handle,
    first: u64,
    outcomes: Vec<Outcome>,
    claims: VecDeque<(u64, Claim)>,
    /// Rows handed in and without an outcome, and how many there may be.
    open: u64,
    window: u64,
    shared: Arc<Shared>,
    errors: Vec<String>,
}

/// Rows of one call of `append_all`.
pub(super) const RUN: u64 = 64;
/// Errors kept for the report.
const ERRORS: usize = 5;

/// What a thread brings back.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) rows: Rows,
    pub(super) first: u64,
    pub(super) outcomes: Vec<Outcome>,
    /// What the first rows without an `Ok` met.
    pub(super) errors: Vec<String>,
}

impl Work {
    pub(super) fn new(
        rows: Rows,
        writer: u64,
        handle: Handle,
        window: u64,
        shared: Arc<Shared>,
    ) -> Self {
        let numbers = rows.of_writer(writer);
        let outcomes = vec![Outcome::Open; (numbers.end - numbers.start) as usize];
        Self {
            rows,
            handle,
            first: numbers.start,
            outcomes,
            claims: VecDeque::new(),
            open: 0,
            window,
            shared,
            errors: Vec::new(),
        }
    }

    /// Writes all rows, waits for all outcomes and closes the handle.
    pub(super) fn run(mut self) -> Result<Done, Error> {
        let end = self.first + self.outcomes.len() as u64;
        let mut next = self.first;
        let mut contents = Vec::new();
        while next < end {
            let count = RUN.min(end - next);
            if !self.shared.pace.take(count) {
                // The rows that are left stay open; nobody will look at them.
                break;
            }
            contents.clear();
            contents.extend((next..next + count).map(|row| self.rows.content(row)));
            // Every other run row by row: both ways must get through.
            if (next / RUN).is_multiple_of(2) {
                let ticket = self.handle.many(&contents)?;
                self.claims.push_back((next, Claim::Many(ticket)));
            } else {
                for (row, content) in (next..).zip(&contents) {
                    let ticket = self.handle.one(content)?;
                    self.claims.push_back((row, Claim::One(ticket)));
                }
            }
            next += count;
            self.open += count;
            self.collect();
            while self.open > self.window {
                self.wait();
            }
        }
        while next == end && !self.claims.is_empty() {
            self.wait();
        }
        let Self { rows, first, outcomes, errors, .. } = self;
        Ok(Done { rows, first, outcomes, errors })
    }

    /// Takes the outcomes that are there.
    fn collect(&mut self) {
        while let Some((row, claim)) = self.claims.pop_front() {
            match claim {
                Claim::One(ticket) => match ticket.outcome() {
                    Some(outcome) => self.note(row, 1, &outcome),
                    None => return self.claims.push_front((row, Claim::One(ticket))),
                },
                Claim::Many(mut ticket) => {
                    let polled =
                        Pin::new(&mut ticket).poll(&mut Context::from_waker(Waker::noop()));
                    let Poll::Ready(parts) = polled else {
                        return self.claims.push_front((row, Claim::Many(ticket)));
                    };
                    self.note_parts(row, &parts);
                }
            }
        }
    }

    /// Waits for the oldest outcome.
    fn wait(&mut self) {
        match self.claims.pop_front() {
            Some((row, Claim::One(ticket))) => {
                let outcome = ticket.wait();
                self.note(row, 1, &outcome);
            }
            Some((row, Claim::Many(ticket))) => {
                let parts = ticket.wait();
                self.note_parts(row, &parts);
            }
            None => {}
        }
        self.collect();
    }

    fn note_parts(&mut self, row: u64, parts: &[fluss_core::RunPart]) {
        for part in parts {
            self.note(row + part.rows.start, part.rows.end - part.rows.start, &part.outcome);
        }
    }

    /// The outcome of `count` consecutive rows.
    fn note(&mut self, row: u64, count: u64, outcome: &Result<Ack, WriteError>) {
        for at in 0..count {
            let outcome = match outcome {
                // An upsert's end is that of its batch, the same for all rows.
                Ok(ack) => Outcome::Ok {
                    bucket: ack.bucket,
                    offset: ack.log_end_offset.or(ack.offset.map(|first| first + at as i64)),
                },
                Err(WriteError::NotWritten(_)) => Outcome::NotWritten,
                Err(_) => Outcome::Unknown,
            };
            self.outcomes[(row - self.first + at) as usize] = outcome;
        }
        if let Err(error) = outcome
            && self.errors.len() < ERRORS
        {
            self.errors.push(format!("{} row {row}: {error}", self.rows.kind.table()));
        }
        self.open -= count;
        self.shared.settled.fetch_add(count, Ordering::Relaxed);
    }
}
