//! What a leader remembers of a writer: its last five sequences in one bucket.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Rule;

/// Sequences kept in memory for each writer and bucket.
const WINDOW: usize = 5;

/// One remembered append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) sequence: i32,
    pub(super) base_offset: i64,
    pub(super) last_offset: i64,
    pub(super) timestamp: i64,
}

/// What a stamped batch is to the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Append,
    Duplicate(Stamp),
    OutOfOrder { last: i32 },
}

/// The writers of one bucket.
#[derive(Clone, Debug, Default)]
pub(super) struct Writers {
    states: BTreeMap<i64, VecDeque<Stamp>>,
}

impl Writers {
    /// Judges a batch. The payload is never compared.
    pub(super) fn judge(&self, writer: i64, sequence: i32, off: &BTreeSet<Rule>) -> Verdict {
        if writer == -1 {
            return Verdict::Append;
        }
        let window = self.states.get(&writer);
        if let Some(window) = window.filter(|_| !off.contains(&Rule::WindowCheck))
            && let Some(stamp) = window.iter().find(|stamp| stamp.sequence == sequence)
        {
            return Verdict::Duplicate(*stamp);
        }
        let last = window.and_then(VecDeque::back).map_or(-1, |stamp| stamp.sequence);
        let follows = i64::from(sequence) == i64::from(last) + 1;
        if follows || (last == i32::MAX && sequence == 0) || off.contains(&Rule::SequenceContinuity)
        {
            Verdict::Append
        } else {
            Verdict::OutOfOrder { last }
        }
    }

    /// Remembers an append.
    pub(super) fn push(&mut self, writer: i64, stamp: Stamp) {
        if writer == -1 {
            return;
        }
        let window = self.states.entry(writer).or_default();
        if window.len() == WINDOW {
            window.pop_front();
        }
        window.push_back(stamp);
    }

    /// Forgets this writer if it has been silent for longer than `expiry_ms`; true if it had.
    pub(super) fn expire(&mut self, writer: i64, now_ms: i64, expiry_ms: i64) -> bool {
        let last = self.states.get(&writer).and_then(VecDeque::back);
        let over = last.is_some_and(|stamp| now_ms - stamp.timestamp > expiry_ms);
        if over {
            self.states.remove(&writer);
        }
        over
    }

    /// Lets the last sequence of this writer have been this one; false if it is not known.
    pub(super) fn skip(&mut self, writer: i64, last: i32) -> bool {
        let Some(window) = self.states.get_mut(&writer) else { return false };
        window.drain(..window.len() - 1);
        window.iter_mut().for_each(|stamp| stamp.sequence = last);
        true
    }

    /// Forgets everyone, as after a long silence.
    pub(super) fn clear(&mut self) {
        self.states.clear();
    }

    /// What a snapshot keeps: the last sequence of each writer.
    pub(super) fn shrink(&mut self) {
        for window in self.states.values_mut() {
            window.drain(..window.len() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(sequence: i32) -> Stamp {
        let offset = i64::from(sequence) * 10;
        Stamp { sequence, base_offset: offset, last_offset: offset + 9, timestamp: 1000 }
    }

    fn filled(upto: i32) -> Writers {
        let mut writers = Writers::default();
        (0..=upto).for_each(|sequence| writers.push(7, stamp(sequence)));
        writers
    }

    fn judge(writers: &Writers, sequence: i32) -> Verdict {
        writers.judge(7, sequence, &BTreeSet::new())
    }

    #[test]
    fn the_last_five_are_duplicates_and_older_ones_are_out_of_order() {
        let writers = filled(7);
        for sequence in 3..=7 {
            assert_eq!(judge(&writers, sequence), Verdict::Duplicate(stamp(sequence)));
        }
        assert_eq!(judge(&writers, 2), Verdict::OutOfOrder { last: 7 });
        assert_eq!(judge(&writers, 9), Verdict::OutOfOrder { last: 7 });
        assert_eq!(judge(&writers, -1), Verdict::OutOfOrder { last: 7 });
        assert_eq!(judge(&writers, 8), Verdict::Append);
    }

    #[test]
    fn an_unknown_writer_starts_at_zero_and_the_last_sequence_wraps_to_zero() {
        let mut writers = Writers::default();
        assert_eq!(judge(&writers, 0), Verdict::Append);
        assert_eq!(judge(&writers, 1), Verdict::OutOfOrder { last: -1 });
        writers.push(7, Stamp { sequence: i32::MAX, ..stamp(0) });
        assert_eq!(judge(&writers, 0), Verdict::Append);
        assert_eq!(judge(&writers, i32::MIN), Verdict::OutOfOrder { last: i32::MAX });
    }

    #[test]
    fn a_snapshot_keeps_one_and_expiry_none() {
        let mut writers = filled(7);
        writers.shrink();
        assert_eq!(judge(&writers, 7), Verdict::Duplicate(stamp(7)));
        assert_eq!(judge(&writers, 6), Verdict::OutOfOrder { last: 7 });
        writers.expire(7, 1010, 10);
        assert_eq!(judge(&writers, 8), Verdict::Append, "ten is not more than ten");
        writers.expire(7, 1011, 10);
        assert_eq!(judge(&writers, 8), Verdict::OutOfOrder { last: -1 });
    }

    #[test]
    fn rules_can_be_switched_off() {
        let writers = filled(7);
        let off = BTreeSet::from([Rule::WindowCheck]);
        assert_eq!(writers.judge(7, 7, &off), Verdict::OutOfOrder { last: 7 });
        let off = BTreeSet::from([Rule::SequenceContinuity]);
        assert_eq!(writers.judge(7, 99, &off), Verdict::Append);
    }
}
