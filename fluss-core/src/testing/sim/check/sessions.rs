//! Sessions as they show inside: floors, waits between them, and that answers change only what they
//! are about.

use super::super::wire::Copy;
use super::{Checker, Concerns, Seen};
use crate::ids::{BucketKey, ConnId, WriterKey};
use crate::time::{Duration, Instant};
use crate::writer::idempotence::Window;

/// The shortest time between the beginnings of two sessions of a bucket.
const ROTATION: Duration = Duration::from_millis(100);

/// What that grows to while nothing is written: 30 s, of which jitter takes a fifth at most.
const ROTATION_MOST: Duration = Duration::from_secs(24);

/// What was seen of the buckets of all writers, in order. They are looked at in that order, so the
/// next one is mostly found without a search.
#[derive(Debug, Default)]
pub(super) struct AllSeen {
    list: Vec<((WriterKey, BucketKey), Seen)>,
    next: usize,
}

impl AllSeen {
    pub(super) fn get(&self, key: &(WriterKey, BucketKey)) -> Option<&Seen> {
        let at = self.list.binary_search_by_key(key, |(key, _)| *key).ok()?;
        self.list.get(at).map(|(_, seen)| seen)
    }

    /// Nothing was seen of a bucket that comes up for the first time.
    pub(super) fn of(&mut self, key: (WriterKey, BucketKey)) -> &mut Seen {
        let expected = self.list.get(self.next).is_some_and(|(next, _)| *next == key);
        let at = if expected {
            self.next
        } else {
            self.list.binary_search_by_key(&key, |(key, _)| *key).unwrap_or_else(|at| {
                self.list.insert(at, (key, Seen::default()));
                at
            })
        };
        self.next = if at + 1 < self.list.len() { at + 1 } else { 0 };
        &mut self.list[at].1
    }
}

impl Seen {
    /// Writer id and floor.
    pub(super) fn session(&self) -> Option<(i64, i64)> {
        self.window.and_then(|window| window.session)
    }

    pub(super) fn is_probing(&self) -> bool {
        self.window.is_some_and(|window| window.probing)
    }

    /// Whether a floor is what the answers so far make it.
    #[inline]
    fn is_proved(&self, session: Option<(i64, i64)>) -> bool {
        session.is_none_or(|(_, floor)| floor == self.proved)
    }

    /// A session begins; returns the moment before which it was not to.
    fn begin(&mut self, now: Instant) -> Instant {
        let wait = ROTATION.saturating_mul(1 << self.barren.saturating_sub(1).min(20));
        let last = self.began.replace(now);
        self.barren = self.barren.saturating_add(1);
        self.proved = 0;
        self.open.clear();
        last.map_or(Instant::ZERO, |last| last + wait.min(ROTATION_MOST))
    }

    /// A copy of the session got its answer, or will get none.
    pub(super) fn close(&mut self, sequence: i32, conn: ConnId) {
        if let Some(at) = self.open.iter().position(|open| *open == (sequence, conn)) {
            self.open.swap_remove(at);
        }
    }

    /// An answer proved this sequence of the session, and so all before it, written.
    pub(super) fn prove(&mut self, sequence: i32) {
        self.proved = self.proved.max(i64::from(sequence) + 1);
        self.barren = 0;
    }
}

impl Checker {
    pub(in crate::testing::sim) fn look(
        &mut self,
        writer: WriterKey,
        limit: usize,
        now: Instant,
        window: Window,
    ) {
        let bucket = window.bucket;
        let seen = self.seen.of((writer, bucket));
        if seen.window == Some(window) && seen.is_proved(window.session) {
            return;
        }
        let before = seen.window.replace(window);
        let old = before.and_then(|before| before.session);
        let leads = seen.learn_leader(window.leader);
        let put_off = seen.is_put_off(window.throttled_until);
        let same = window.session.zip(old).filter(|(new, old)| new.0 == old.0);
        seen.failed &= same.is_none_or(|(new, old)| new.1 <= old.1);
        let begun = window.session.filter(|_| same.is_none()).map(|(id, _)| (id, seen.begin(now)));
        let (proved, right) = (seen.proved, seen.is_proved(window.session));
        self.rule("I6", window.slots <= limit, || format!("{window:?} of {limit}"));
        self.rule("R22", leads, || format!("back to an older leader: {window:?}"));
        self.rule("R5", !put_off, || format!("put off by what is not its own: {window:?}"));
        if before != Some(window)
            && let Some(invariant) = self.forbids_change(writer, bucket)
        {
            self.rule(invariant, false, || {
                format!("changed by what is not its own: {before:?} {window:?}")
            });
        }
        if let Some((id, from)) = begun {
            let used = self.highest.contains_key(&(bucket, id));
            self.rule("I10", !used, || format!("a used writer id: {window:?}"));
            self.rule("I25", now >= from, || {
                format!("it begins before {} us: {window:?}", from.as_micros())
            });
        }
        self.rule("I12", right, || format!("the floor was proved to be {proved}: {window:?}"));
    }

    /// Whether a window is as it was looked at last, and what is proved of it, too.
    pub(in crate::testing::sim) fn has_seen(&self, writer: WriterKey, window: &Window) -> bool {
        let seen = self.seen.get(&(writer, window.bucket));
        let same = |seen: &Seen| seen.window == Some(*window) && seen.is_proved(window.session);
        self.broken.is_some() || seen.is_some_and(same)
    }

    /// The rule that lets nothing change in this bucket now.
    fn forbids_change(&self, writer: WriterKey, bucket: BucketKey) -> Option<&'static str> {
        let of_writer = |copy: &Copy| {
            let batch = self.batches.get(copy.payload as usize);
            batch.is_some_and(|batch| batch.writer == writer)
        };
        match &self.concerns {
            Concerns::Anyone => None,
            Concerns::Nobody => Some("I17"),
            Concerns::These(copies) => {
                let own = copies.iter().any(|copy| copy.bucket == bucket && of_writer(copy));
                (!own).then_some("I19")
            }
        }
    }

    /// A copy leaves: none of the session's batches without outcome is open on another connection.
    pub(super) fn check_connection(
        &mut self,
        conn: ConnId,
        key: (WriterKey, BucketKey),
        copy: &Copy,
    ) {
        let seen = self.seen.of(key);
        let floor = seen.session().map_or(0, |(_, floor)| floor);
        let elsewhere = |open: &&(i32, ConnId)| i64::from(open.0) >= floor && open.1 != conn;
        let elsewhere = seen.open.iter().find(elsewhere).copied();
        seen.open.push((copy.sequence, conn));
        self.rule("R16", elsewhere.is_none(), || {
            format!("on {conn} while {elsewhere:?} is open: {copy:?}")
        });
    }

    /// The simulation let this bucket be far advanced.
    pub(in crate::testing::sim) fn skipped(
        &mut self,
        writer: WriterKey,
        bucket: BucketKey,
        id: i64,
        next: i32,
    ) {
        self.highest.insert((bucket, id), next - 1);
        let seen = self.seen.of((writer, bucket));
        seen.proved = i64::from(next);
        if let Some(window) = &mut seen.window {
            window.session = Some((id, i64::from(next)));
        }
    }
}
