//! Whether the tables hold what the client said, row by row.

use fluss_core::row::OwnedRow;
use fluss_proto::record::ChangeType;

use super::rows::{Content, Kind, Rows};
use super::write::{Done, Outcome};

/// Complaints kept for the report.
const KEPT: usize = 10;

/// What a check of all rows found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    pub(super) acked: u64,
    pub(super) not_written: u64,
    pub(super) unknown: u64,
    /// Acknowledged rows that are not there.
    pub(super) lost: u64,
    /// Rows that are there more than once.
    pub(super) doubled: u64,
    /// Everything else that must not be.
    pub(super) wrong: u64,
    /// The first complaints in words.
    pub(super) complaints: Vec<String>,
}

impl Findings {
    fn complain(&mut self, text: impl FnOnce() -> String) {
        if self.complaints.len() < KEPT {
            self.complaints.push(text());
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.acked += other.acked;
        self.not_written += other.not_written;
        self.unknown += other.unknown;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.wrong += other.wrong;
        let room = KEPT.saturating_sub(self.complaints.len());
        self.complaints.extend(other.complaints.into_iter().take(room));
    }

    /// How what the servers hold, which this is, differs from what was read of them. That a scan
    /// or a lookup went wrong is told by itself.
    pub(super) fn differs_from(&self, read: &Self) -> Option<String> {
        let outcomes = |f: &Self| (f.acked, f.not_written, f.unknown, f.lost, f.doubled);
        if outcomes(self) == outcomes(read) && (self.wrong == 0 || read.wrong > 0) {
            return None;
        }
        let text = |f: &Self| format!("{} lost, {} doubled, {} wrong", f.lost, f.doubled, f.wrong);
        let (truth, read) = (text(self), text(read));
        Some(format!("the servers hold other rows ({truth}) than the client reads ({read})"))
    }

    pub(super) fn is_clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.wrong == 0
    }
}

/// What has been seen of a row.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    times: u8,
    /// One time it was where its acknowledgement said.
    placed: bool,
}

/// Compares one table with the outcomes of its rows. Records are handed in bucket by bucket, in the
/// order of their offsets.
#[derive(Debug)]
pub(super) struct Check {
    rows: Rows,
    outcomes: Vec<Outcome>,
    seen: Vec<Seen>,
    /// For each key the row it has now.
    live: Vec<Option<u32>>,
    /// Buckets whose last record was a `-U`, and the key it was of.
    updating: Vec<(i32, u64)>,
    findings: Findings,
}

impl Check {
    pub(super) fn new(rows: Rows, done: &[Done]) -> Self {
        let mut outcomes = vec![Outcome::Open; rows.count as usize];
        for done in done.iter().filter(|done| done.rows.kind == rows.kind) {
            let first = done.first as usize;
            outcomes[first..first + done.outcomes.len()].copy_from_slice(&done.outcomes);
        }
        let seen = vec![Seen::default(); outcomes.len()];
        let live = match rows.kind {
            Kind::Log => Vec::new(),
            Kind::Keyed => vec![None; outcomes.len()],
        };
        let (updating, findings) = (Vec::new(), Findings::default());
        Self { rows, outcomes, seen, live, updating, findings }
    }

    /// A record of the table's log.
    pub(super) fn record(
        &mut self,
        bucket: i32,
        offset: i64,
        change: ChangeType,
        row: Option<&Content>,
    ) {
        let Some(number) = row.and_then(|content| self.rows.number(content)) else {
            let table = self.rows.kind.table();
            self.wrong(|| format!("{table} bucket {bucket} offset {offset} is foreign: {row:?}"));
            return;
        };
        if self.rows.kind == Kind::Keyed {
            self.change(bucket, offset, change, number);
        } else if change != ChangeType::Append {
            self.wrong(|| format!("row {number} is a {change:?} in a log table"));
        }
        if change == ChangeType::UpdateBefore {
            return;
        }
        let placed = match self.outcomes[number as usize] {
            Outcome::Ok { bucket: acked, offset: at } => {
                acked == bucket
                    && at.is_none_or(|at| match self.rows.kind {
                        Kind::Log => at == offset,
                        Kind::Keyed => offset < at,
                    })
            }
            _ => true,
        };
        let seen = &mut self.seen[number as usize];
        seen.times = seen.times.saturating_add(1);
        seen.placed |= placed;
    }

    /// A changelog must be one `+I` for a new key and `-U +U` for a known one.
    fn change(&mut self, bucket: i32, offset: i64, change: ChangeType, number: u64) {
        let key = self.rows.content(number).id as usize;
        let was = self.live[key];
        let updated = self.updating.iter().position(|(of, _)| *of == bucket);
        let updated = updated.map(|at| self.updating.swap_remove(at).1);
        let fits = match change {
            ChangeType::Insert => was.is_none() && updated.is_none(),
            ChangeType::UpdateBefore => was == Some(number as u32) && updated.is_none(),
            ChangeType::UpdateAfter => was.is_some() && updated == Some(key as u64),
            _ => false,
        };
        if !fits {
            let table = self.rows.kind.table();
            self.wrong(|| {
                format!(
                    "{table} bucket {bucket} offset {offset}: {change:?} of key {key} does not \
                     follow from what was before it"
                )
            });
        }
        if change == ChangeType::UpdateBefore {
            self.updating.push((bucket, key as u64));
        } else {
            self.live[key] = Some(number as u32);
        }
    }

    /// The number of keys that may have been written; they are numbered from 0, with gaps.
    pub(super) fn keys(&self) -> usize {
        self.live.len()
    }

    /// What a lookup of this key found.
    pub(super) fn looked_up(&mut self, key: i64, found: Option<&OwnedRow>) {
        let live = usize::try_from(key).ok().and_then(|key| self.live.get(key).copied().flatten());
        let wanted = live.map(|number| self.rows.content(u64::from(number)));
        let got = found.and_then(|row| Content::read(|column| row.datum(column)));
        if got != wanted || found.is_some() != got.is_some() {
            self.wrong(|| format!("key {key} is {found:?}, its changelog says {wanted:?}"));
        }
    }

    /// Something else that must not be.
    pub(super) fn wrong(&mut self, text: impl FnOnce() -> String) {
        self.findings.wrong += 1;
        self.findings.complain(text);
    }

    /// The verdict on every row.
    pub(super) fn finish(mut self) -> Findings {
        let table = self.rows.kind.table();
        for (number, (outcome, seen)) in self.outcomes.iter().zip(&self.seen).enumerate() {
            let findings = &mut self.findings;
            let times = seen.times;
            match outcome {
                Outcome::Ok { .. } => findings.acked += 1,
                Outcome::NotWritten => findings.not_written += 1,
                Outcome::Unknown => findings.unknown += 1,
                Outcome::Open => {
                    findings.wrong += 1;
                    findings.complain(|| format!("{table} row {number} never got an outcome"));
                }
            }
            match outcome {
                Outcome::Ok { .. } if times == 0 => {
                    findings.lost += 1;
                    findings.complain(|| format!("{table} row {number} is lost: {outcome:?}"));
                }
                Outcome::NotWritten if times > 0 => {
                    findings.wrong += 1;
                    findings.complain(|| {
                        format!("{table} row {number} is there {times} times, though not written")
                    });
                }
                _ if times > 1 => {
                    findings.doubled += 1;
                    findings.complain(|| format!("{table} row {number} is there {times} times"));
                }
                Outcome::Ok { .. } if !seen.placed => {
                    findings.wrong += 1;
                    findings.complain(|| {
                        format!(
                            "{table} row {number} is not where it was acknowledged: {outcome:?}"
                        )
                    });
                }
                _ => {}
            }
        }
        self.findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_client_differ_in_rows_and_not_in_how_they_were_read() {
        let sound = Findings { acked: 3, ..Findings::default() };
        let lost = Findings { acked: 3, lost: 1, ..Findings::default() };
        let stuck = Findings { wrong: 1, ..lost.clone() };
        assert_eq!(lost.differs_from(&stuck), None);
        assert_eq!(sound.differs_from(&sound), None);
        for (truth, read) in [(&lost, &sound), (&sound, &lost), (&stuck, &lost)] {
            assert!(truth.differs_from(read).is_some_and(|text| text.contains("1 lost")));
        }
    }
}
