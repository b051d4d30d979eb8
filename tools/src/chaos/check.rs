//! Whether the tables hold what the writers were told, row by row.
//!
//! A table is read as a list of [`Record`]s and held against the [`Line`]s: what each thread
//! handed in, in order, and what became of it. Rows whose outcome is unknown may be there or not,
//! and anywhere; everything else is fixed.

mod keyed;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use fluss_core::ChangeType;
use fluss_core::batch::RowView;
use fluss_core::row::{Datum, OwnedRow};

use super::runtimes::Op;
use crate::main_job::RowOf;

pub(super) use keyed::keyed;

/// Numbers between the first rows of two threads.
pub(super) const STRIDE: i64 = 1_000_000_000;
/// Complaints kept in words.
const KEPT: usize = 8;

/// What a thread was told of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing yet.
    Open,
    /// It is in this bucket: at this offset, or below it for an upsert; `None` where the client
    /// inferred the commit. It was told by this moment, in milliseconds since 1970.
    Ok { bucket: i32, offset: Option<i64>, by: u64 },
    /// It is not there and never will be.
    NotWritten,
    /// Nobody can tell.
    Unknown,
}

/// What one thread wrote through one handle, in order.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) ops: Vec<Op>,
    pub(super) told: Vec<Told>,
    /// The longest time from handing a row in to seeing its outcome.
    pub(super) slowest: Duration,
    /// What the first writes without an `Ok` met.
    pub(super) errors: Vec<String>,
}

/// A record that was read back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) bucket: i32,
    pub(super) offset: i64,
    pub(super) change: ChangeType,
    /// `None` for a row that none of our threads can have written.
    pub(super) row: Option<RowOf>,
}

/// A row that is not where it was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) bucket: i32,
    /// Its offset; of an upsert the highest that it can have.
    pub(super) offset: Option<i64>,
    /// It was acknowledged by then, in milliseconds since 1970.
    pub(super) by: u64,
}

/// What was found in one table or more.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    pub(super) ok: u64,
    pub(super) not_written: u64,
    pub(super) unknown: u64,
    /// Acknowledged rows that are not there.
    pub(super) lost: Vec<Lost>,
    /// Rows that are there more than once.
    pub(super) doubled: u64,
    /// Rows before an earlier one of the same thread and bucket.
    pub(super) disordered: u64,
    /// Rows at another place than they were acknowledged for.
    pub(super) misplaced: u64,
    /// Rows that are there although they were reported as not written.
    pub(super) untrue: u64,
    /// Everything else that must not be.
    pub(super) wrong: u64,
    /// The first complaints in words.
    pub(super) complaints: Vec<String>,
}

impl Findings {
    pub(super) fn rows(&self) -> u64 {
        self.ok + self.not_written + self.unknown
    }

    pub(super) fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.faults() == 0
    }

    /// Everything but lost rows.
    pub(super) fn faults(&self) -> u64 {
        self.doubled + self.disordered + self.misplaced + self.untrue + self.wrong
    }

    pub(super) fn add(&mut self, other: Self) {
        self.ok += other.ok;
        self.not_written += other.not_written;
        self.unknown += other.unknown;
        self.lost.extend(other.lost);
        self.doubled += other.doubled;
        self.disordered += other.disordered;
        self.misplaced += other.misplaced;
        self.untrue += other.untrue;
        self.wrong += other.wrong;
        let room = KEPT.saturating_sub(self.complaints.len());
        self.complaints.extend(other.complaints.into_iter().take(room));
    }

    fn complain(&mut self, text: impl FnOnce() -> String) {
        if self.complaints.len() < KEPT {
            self.complaints.push(text());
        }
    }

    pub(super) fn wrong(&mut self, text: impl FnOnce() -> String) {
        self.wrong += 1;
        self.complain(text);
    }

    fn tally(&mut self, lines: &[Line]) {
        for (op, told) in lines.iter().flat_map(|line| line.ops.iter().zip(&line.told)) {
            match told {
                Told::Ok { .. } => self.ok += 1,
                Told::NotWritten => self.not_written += 1,
                Told::Unknown => self.unknown += 1,
                Told::Open => self.wrong(|| format!("{op:?} never got an outcome")),
            }
        }
    }
}

/// The row with these values, if it can be one of ours.
pub(super) fn row_of<'a>(value: impl Fn(usize) -> Option<Datum<'a>>) -> Option<RowOf> {
    let [id, name, version, number] = [0, 1, 2, 3].map(value);
    match (id?, name?, version?, number?) {
        (Datum::Int64(id), Datum::Str(name), Datum::Int32(version), Datum::Float64(number)) => {
            let row = RowOf { id, version };
            (row.name() == name && row.b() == number).then_some(row)
        }
        _ => None,
    }
}

pub(super) fn row_of_view(view: &RowView<'_>) -> Option<RowOf> {
    row_of(|column| view.value(column).ok())
}

pub(super) fn row_of_owned(row: &OwnedRow) -> Option<RowOf> {
    row_of(|column| row.datum(column))
}

/// Checks a log table. Records come bucket by bucket in the order of their offsets, or mixed, as
/// long as each bucket's are in order.
pub(super) fn log(lines: &[Line], records: &[Record]) -> Findings {
    let mut findings = Findings::default();
    findings.tally(lines);
    let known: HashSet<i64> = lines.iter().flat_map(|line| &line.ops).map(|op| op.row.id).collect();
    let mut found: HashMap<i64, (i32, i64)> = HashMap::new();
    for record in records {
        let ours = record.row.filter(|row| known.contains(&row.id) && row.version == 0);
        match ours {
            Some(row) if record.change == ChangeType::Append => {
                if let Some(first) = found.insert(row.id, (record.bucket, record.offset)) {
                    findings.doubled += 1;
                    findings
                        .complain(|| format!("doubled: {row:?} is at {first:?} and {record:?}"));
                }
            }
            _ => findings.wrong(|| format!("foreign: {record:?}")),
        }
    }
    for line in lines {
        let mut last: HashMap<i32, i64> = HashMap::new();
        for (op, told) in line.ops.iter().zip(&line.told) {
            log_row(&mut findings, &mut last, op, *told, found.get(&op.row.id).copied());
        }
    }
    findings
}

/// One row of a log table; `last` has the offsets of the thread's last row in each bucket.
fn log_row(
    findings: &mut Findings,
    last: &mut HashMap<i32, i64>,
    op: &Op,
    told: Told,
    place: Option<(i32, i64)>,
) {
    let row = op.row;
    match (told, place) {
        (Told::Ok { bucket, offset, by }, None) => {
            findings.lost.push(Lost { bucket, offset, by });
            findings.complain(|| format!("lost: {row:?} was acknowledged as {told:?}"));
        }
        (Told::Ok { bucket, offset, .. }, Some((at, found))) => {
            if bucket != at || offset.is_some_and(|offset| offset != found) {
                findings.misplaced += 1;
                findings.complain(|| format!("misplaced: {row:?} is at {place:?}, not {told:?}"));
            }
            let before = last.insert(at, found);
            if before.is_some_and(|before| before > found) {
                findings.disordered += 1;
                findings.complain(|| {
                    format!("disordered: {row:?} is at {place:?}, an earlier row at {before:?}")
                });
            }
        }
        (Told::NotWritten, Some(_)) => {
            findings.untrue += 1;
            findings.complain(|| format!("untrue: {row:?} is at {place:?}, told not written"));
        }
        (Told::NotWritten, None) | (Told::Unknown | Told::Open, _) => {}
    }
}

#[cfg(test)]
mod tests;
