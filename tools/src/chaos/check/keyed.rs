//! The changelog of the primary-key table, and lookups in it.
//!
//! A key belongs to one thread, so its writes have an order. Where all of them have a known
//! outcome, its changelog is known to the letter: `+I`, or `-U` and `+U`, or `-D` for each write
//! that had an effect. A write with an unknown outcome may have been applied or not, and at another
//! time than the others; then the changelog must follow from itself, and from the rest.

use std::collections::HashMap;

use fluss_core::ChangeType;

use super::{Findings, Line, Lost, Record, Told};
use crate::chaos::runtimes::Op;
use crate::main_job::RowOf;

/// A change of a key, without its first half where it is an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    /// The version that was there before.
    old: Option<i32>,
    /// The version that is there afterwards.
    new: Option<i32>,
    bucket: i32,
    offset: i64,
}

/// Checks a primary-key table. Records come in the order of their offsets within each bucket;
/// `looked_up` has what a lookup found for keys, after all writes.
pub(in crate::chaos) fn keyed(
    lines: &[Line],
    records: &[Record],
    looked_up: &[(i64, Option<RowOf>)],
) -> Findings {
    let mut findings = Findings::default();
    findings.tally(lines);
    let mut writes: HashMap<i64, Vec<(Op, Told)>> = HashMap::new();
    for (op, told) in lines.iter().flat_map(|line| line.ops.iter().zip(&line.told)) {
        writes.entry(op.row.id).or_default().push((*op, *told));
    }
    let changes = changes(&mut findings, &writes, records);
    let none = Vec::new();
    let mut live: HashMap<i64, Option<i32>> = HashMap::new();
    for (key, writes) in &writes {
        let changes = changes.get(key).unwrap_or(&none);
        chain(&mut findings, *key, changes);
        each_write(&mut findings, writes, changes);
        if writes.iter().all(|(_, told)| matches!(told, Told::Ok { .. } | Told::NotWritten)) {
            exact(&mut findings, *key, writes, changes);
        } else {
            around_unknown(&mut findings, *key, writes, changes);
        }
        live.insert(*key, changes.last().and_then(|change| change.new));
    }
    for (key, found) in looked_up {
        let wanted = live.get(key).copied().flatten();
        if found.map(|row| (row.id, row.version)) != wanted.map(|version| (*key, version)) {
            findings.wrong(|| {
                format!("lookup: key {key} is {found:?}, its changelog ends with {wanted:?}")
            });
        }
    }
    findings
}

/// The changes of each key. The two halves of an update stand next to each other in their bucket.
fn changes(
    findings: &mut Findings,
    writes: &HashMap<i64, Vec<(Op, Told)>>,
    records: &[Record],
) -> HashMap<i64, Vec<Change>> {
    let mut changes: HashMap<i64, Vec<Change>> = HashMap::new();
    // The first half of an update, waiting for the second one, in each bucket.
    let mut half: HashMap<i32, (RowOf, i64)> = HashMap::new();
    for record in records {
        let (bucket, offset) = (record.bucket, record.offset);
        let Some(row) = record.row.filter(|row| writes.contains_key(&row.id)) else {
            findings.wrong(|| format!("foreign: {record:?}"));
            continue;
        };
        let before = half.remove(&bucket);
        let (old, new) = match (record.change, before) {
            (ChangeType::UpdateBefore, None) => {
                half.insert(bucket, (row, offset));
                continue;
            }
            (ChangeType::UpdateAfter, Some((old, at))) if old.id == row.id && at + 1 == offset => {
                (Some(old.version), Some(row.version))
            }
            (ChangeType::Insert, None) => (None, Some(row.version)),
            (ChangeType::Delete, None) => (Some(row.version), None),
            _ => {
                findings.wrong(|| format!("changelog: {record:?} cannot follow {before:?}"));
                continue;
            }
        };
        changes.entry(row.id).or_default().push(Change { old, new, bucket, offset });
    }
    for (bucket, half) in half {
        findings.wrong(|| format!("changelog: bucket {bucket} ends with half an update: {half:?}"));
    }
    changes
}

/// Each change must begin with what the one before it left.
fn chain(findings: &mut Findings, key: i64, changes: &[Change]) {
    let mut live = None;
    for change in changes {
        if change.old != live {
            findings.wrong(|| format!("changelog: key {key} has {live:?} before {change:?}"));
        }
        live = change.new;
    }
}

/// The places at which a version was written.
fn places(changes: &[Change], version: i32) -> impl Iterator<Item = &Change> {
    changes.iter().filter(move |change| change.new == Some(version))
}

/// Every upsert is there as often as its outcome says, and where it says.
fn each_write(findings: &mut Findings, writes: &[(Op, Told)], changes: &[Change]) {
    for (op, told) in writes.iter().filter(|(op, _)| !op.delete) {
        let row = op.row;
        let mut places = places(changes, row.version);
        let place = places.next();
        if let Some(second) = places.next() {
            findings.doubled += 1;
            findings.complain(|| format!("doubled: {row:?} is at {place:?} and {second:?}"));
        }
        match (told, place) {
            (Told::Ok { bucket, offset, by }, None) => {
                // What it was told is where its batch ends.
                let offset = offset.map(|end| end - 1);
                findings.lost.push(Lost { bucket: *bucket, offset, by: *by });
                findings.complain(|| format!("lost: {row:?} was acknowledged as {told:?}"));
            }
            (Told::Ok { bucket, offset, .. }, Some(at))
                if *bucket != at.bucket || offset.is_some_and(|end| at.offset >= end) =>
            {
                findings.misplaced += 1;
                findings.complain(|| format!("misplaced: {row:?} is at {at:?}, not {told:?}"));
            }
            (Told::NotWritten, Some(at)) => {
                findings.untrue += 1;
                findings.complain(|| format!("untrue: {row:?} is at {at:?}, told not written"));
            }
            _ => {}
        }
    }
}

/// All outcomes of the key are known, hence its changelog.
fn exact(findings: &mut Findings, key: i64, writes: &[(Op, Told)], changes: &[Change]) {
    let mut live = None;
    let mut wanted = Vec::new();
    for (op, _) in writes.iter().filter(|(_, told)| matches!(told, Told::Ok { .. })) {
        let new = (!op.delete).then_some(op.row.version);
        // The deletion of a row that is not there leaves no record.
        if live.is_some() || new.is_some() {
            wanted.push((live, new));
        }
        live = new;
    }
    let found: Vec<_> = changes.iter().map(|change| (change.old, change.new)).collect();
    if found != wanted {
        findings.disordered += 1;
        findings.complain(|| format!("changelog: key {key} has {found:?}, not {wanted:?}"));
    }
}

/// Some outcomes of the key are unknown: what the others still say.
fn around_unknown(findings: &mut Findings, key: i64, writes: &[(Op, Told)], changes: &[Change]) {
    let is_ok = |told: &Told| matches!(told, Told::Ok { .. });
    let sure: Vec<i32> = writes
        .iter()
        .filter(|(op, told)| is_ok(told) && !op.delete)
        .map(|w| w.0.row.version)
        .collect();
    let found = changes.iter().filter_map(|change| change.new).filter(|v| sure.contains(v));
    if !found.is_sorted() {
        findings.disordered += 1;
        findings.complain(|| format!("disordered: key {key} has {changes:?}"));
    }
    let may_delete =
        writes.iter().filter(|(op, told)| op.delete && *told != Told::NotWritten).count();
    let deleted = changes.iter().filter(|change| change.new.is_none()).count();
    if deleted > may_delete {
        findings.wrong(|| format!("changelog: key {key} was deleted too often: {changes:?}"));
    }
    // A deletion comes after an upsert; where both are sure, the row goes before the next sure one
    // comes.
    for pair in writes.windows(2) {
        let [(upsert, first), (delete, second)] = pair else { continue };
        if upsert.delete || !delete.delete || !is_ok(first) || !is_ok(second) {
            continue;
        }
        let written = changes.iter().position(|c| c.new == Some(upsert.row.version));
        let Some(written) = written else { continue };
        let mut after = changes[written + 1..].iter();
        let next_sure = |c: &&Change| c.new.is_some_and(|v| sure.contains(&v));
        if !after.by_ref().take_while(|c| !next_sure(c)).any(|c| c.new.is_none()) {
            findings.wrong(|| format!("lost: {delete:?} had no effect: {changes:?}"));
        }
    }
}
