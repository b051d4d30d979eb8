//! What the rules remember of a run: which copies are open or in doubt, what answers proved, when
//! sessions began, and whether anything happened after which a batch may fail.

use std::collections::{BTreeMap, BTreeSet};

use super::world::World;
use crate::error::WriteError;
use crate::ids::{BatchId, BucketKey, ConnId};
use crate::time::{Duration, Instant};
use crate::writer::idempotence::outcome::Outcome;
use crate::writer::idempotence::session::Slot;
use crate::writer::idempotence::{Answer, Copy, Kind, Stamp, Token};
use crate::writer::retry::{Class, classify};

/// The shortest time between the beginnings of two sessions of a bucket.
const ROTATION: Duration = Duration::from_millis(100);
/// What that grows to while nothing is written: 30 s, of which jitter takes a fifth at most.
const ROTATION_MOST: Duration = Duration::from_secs(24);

/// What was seen of a bucket's sessions.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// Writer id and floor of the present one.
    session: Option<(i64, i64)>,
    began: Option<Instant>,
    /// Sessions in a row in which nothing was written, with the present one.
    barren: u32,
    /// One past its highest sequence that an answer proved written.
    proved: i64,
}

impl Seen {
    /// A session begins; returns the moment before which it was not to.
    fn begin(&mut self, now: Instant) -> Instant {
        let wait = ROTATION.saturating_mul(1 << self.barren.saturating_sub(1).min(20));
        let last = self.began.replace(now);
        self.barren = self.barren.saturating_add(1);
        self.proved = 0;
        last.map_or(Instant::ZERO, |last| last + wait.min(ROTATION_MOST))
    }
}

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    /// Copies without an answer, by their serial numbers.
    open: BTreeMap<u64, (ConnId, Copy)>,
    /// Stamps of which a copy ended without proof that it was refused.
    doubt: BTreeSet<(BatchId, Stamp)>,
    /// The last stamp of each batch.
    stamps: BTreeMap<BatchId, Stamp>,
    /// The bucket that each batch was handed in for.
    homes: BTreeMap<BatchId, BucketKey>,
    sessions: BTreeMap<BucketKey, Seen>,
    /// Something happened that not every batch can survive.
    pub(super) grave: bool,
}

impl Watch {
    pub(super) fn new(grave: bool) -> Self {
        Self { grave, ..Self::default() }
    }

    pub(super) fn handed_in(&mut self, batch: BatchId, key: BucketKey, deadline: Instant) {
        self.homes.insert(batch, key);
        self.grave |= deadline != Instant::FAR_FUTURE;
    }

    /// Copies without an answer.
    pub(super) fn open(&self) -> impl Iterator<Item = &Copy> {
        self.open.values().map(|(_, copy)| copy)
    }

    /// Whether nobody can tell if a copy of this batch is in the log, or will be.
    fn is_in_doubt(&self, batch: BatchId) -> bool {
        self.open().any(|copy| copy.batch == batch) || self.doubt.iter().any(|d| d.0 == batch)
    }

    /// Whether an answer to a later batch proved that this one is written.
    fn is_proved(&self, batch: BatchId) -> bool {
        let seen = self.homes.get(&batch).and_then(|key| self.sessions.get(key));
        let session = seen.and_then(|seen| Some((seen.session?.0, seen.proved)));
        let stamp = self.stamps.get(&batch);
        stamp.zip(session).is_some_and(|(stamp, (writer, proved))| {
            stamp.writer_id == writer && i64::from(stamp.sequence) < proved
        })
    }
}

impl World {
    /// An answer is about to be handed in. False if it is for no copy that waits for one.
    pub(super) fn answered(&mut self, token: Token, answer: &Answer) -> bool {
        let stamp = (token.batch, token.stamp);
        let waits = self.watch.open.get(&token.serial).is_some_and(|(_, c)| c.token == token);
        if waits {
            self.watch.open.remove(&token.serial);
        }
        let class = match answer {
            Answer::Written { .. } => Class::Committed,
            // A sequence seen before says nothing of a batch that has none.
            Answer::Rejected { code, .. } if code.0 == 32 && token.stamp == Stamp::NONE => {
                Class::Ambiguous
            }
            Answer::Rejected { code, .. } => classify(*code),
            Answer::Lost(_) => Class::Ambiguous,
            Answer::NotSent(_) => Class::NotSent,
        };
        match class {
            Class::Committed if self.sent.iter().any(|copy| copy.token == token) => {
                let seen = self.watch.sessions.entry(token.bucket).or_default();
                if seen.session.is_some_and(|(id, _)| id == token.stamp.writer_id) {
                    seen.proved = seen.proved.max(i64::from(token.stamp.sequence) + 1);
                    seen.barren = 0;
                }
            }
            Class::Ambiguous if waits => drop(self.watch.doubt.insert(stamp)),
            Class::RejectLimited(_) | Class::RejectFatal => self.watch.grave = true,
            _ => {}
        }
        if !matches!(class, Class::Committed | Class::Ambiguous) {
            // What a test has refused out of hand is not executed later.
            let refused = |copy: &Copy| copy.token == token;
            self.requests.retain(|_, r| r.found.is_some() || !r.copies.iter().any(refused));
        }
        waits
    }

    /// I10, I12, I25: the session of a bucket as it is now.
    pub(super) fn check_session(&mut self, key: BucketKey, session: Option<(i64, i64)>) {
        let now = self.now;
        let seen = self.watch.sessions.entry(key).or_default();
        let old = std::mem::replace(&mut seen.session, session);
        let Some((id, floor)) = session else { return };
        if old == session && floor == seen.proved {
            return;
        }
        *self.generation.entry(key).or_default() += 1;
        let again = |(old, reached): (i64, i64)| old == id && (floor > 0 || reached == 0);
        let begins = !old.is_some_and(again);
        let from = if begins { seen.begin(now) } else { Instant::ZERO };
        let proved = seen.proved;
        let used = begins && self.highest.contains_key(&(key, id));
        self.rule(!used, || format!("I10: {key} had the id {id} before"));
        self.rule(now >= from, || format!("I25: a session of {key} begins too soon: {now:?}"));
        self.rule(floor == proved, || {
            format!("I12: the floor of {key} is {floor}, answers proved {proved}")
        });
    }

    /// I5, I9, I11, I18, I21, I24 and R16, for a copy that leaves.
    pub(super) fn check_leaving(&mut self, key: BucketKey, conn: ConnId, copy: &Copy) {
        let home = self.watch.homes.get(&copy.batch).copied();
        let own = home == Some(key) && copy.token.bucket() == key;
        self.rule(own, || format!("I24: handed in for {home:?}, sent to {key}: {copy:?}"));
        let ended = self.outcomes.contains_key(&copy.batch.0);
        self.rule(!ended, || format!("I5: sent after its end: {copy:?}"));
        if self.manager.config.enabled {
            self.check_stamp(key, copy);
            self.check_place(key, conn, copy);
        }
        self.watch.stamps.insert(copy.batch, copy.stamp);
        self.watch.open.insert(copy.token.serial, (conn, *copy));
    }

    fn check_stamp(&mut self, key: BucketKey, copy: &Copy) {
        let twice = self.watch.open().any(|c| (c.batch, c.stamp) == (copy.batch, copy.stamp));
        self.rule(!twice, || format!("I18: two open copies: {copy:?}"));
        let bucket = &self.manager.buckets[&key];
        let session = bucket.session.map_or((-1, -1), |s| (s.id.0, s.floor));
        let of_slot = |(at, slot): (usize, &Slot)| {
            let stamp = (session.0, session.1 + at as i64);
            let own = slot.held.batch == copy.batch;
            let sent = self.watch.stamps.get(&slot.held.batch).filter(|_| !own);
            let sent = sent.or(own.then_some(&copy.stamp));
            sent.is_none_or(|s| (s.writer_id, i64::from(s.sequence)) == stamp)
        };
        let alike = bucket.slots.iter().enumerate().all(of_slot);
        self.rule(alike, || format!("I9: not all of {session:?} in a row: {copy:?}"));
        let old = self.watch.stamps.get(&copy.batch).copied();
        if let Some(old) = old.filter(|old| *old != copy.stamp) {
            let open = self.watch.open().any(|c| (c.batch, c.stamp) == (copy.batch, old));
            let free = !open && !self.watch.doubt.contains(&(copy.batch, old));
            let fenced = self.is_fenced(key, old, copy.stamp);
            self.rule(free || fenced, || format!("I11: stamped anew, was {old:?}: {copy:?}"));
        }
    }

    /// Whether a batch below this stamp was refused for good, so that it never counts again.
    fn is_fenced(&self, key: BucketKey, old: Stamp, new: Stamp) -> bool {
        let hole = |(batch, stamp): (&BatchId, &Stamp)| {
            let (home, outcome) = match self.outcomes.get(&batch.0) {
                Some((home, outcome)) => (*home, outcome),
                None => return false,
            };
            home == key
                && stamp.writer_id == old.writer_id
                && stamp.sequence < old.sequence
                && matches!(outcome, Outcome::Failed(WriteError::NotWritten(_)))
        };
        new.writer_id != old.writer_id && self.watch.stamps.iter().any(hole)
    }

    /// Lower batches have open copies that were sent before it on its connection, and nothing of
    /// the session is open on another one.
    fn check_place(&mut self, key: BucketKey, conn: ConnId, copy: &Copy) {
        let floor = self.manager.buckets[&key].session.map_or(0, |s| s.floor);
        let of_session = |c: &Copy| {
            c.token.bucket() == key
                && c.stamp.writer_id == copy.stamp.writer_id
                && i64::from(c.stamp.sequence) >= floor
        };
        let open = self.watch.open.values().filter(|(_, c)| of_session(c));
        let elsewhere = open.clone().any(|(other, _)| *other != conn);
        let below = open.filter(|(_, c)| c.stamp.sequence < copy.stamp.sequence).count();
        let ahead = i64::from(copy.stamp.sequence) - floor == below as i64;
        self.rule(!elsewhere, || format!("R16: open on another connection, too: {copy:?}"));
        self.rule(ahead || copy.kind == Kind::Probe, || {
            format!("I21: not all below it are ahead of it: {copy:?}")
        });
    }

    /// I14, when a batch ends as of unknown outcome.
    pub(super) fn check_unknown(&mut self, batch: BatchId) {
        let (doubt, proved) = (self.watch.is_in_doubt(batch), self.watch.is_proved(batch));
        self.rule(doubt, || format!("I14: every copy of {batch} was refused"));
        self.rule(!proved, || format!("I14: a later answer proved {batch}"));
    }

    /// Lets the next batch of an idle bucket have this sequence, as if all before had been written;
    /// false if it is not idle.
    pub(super) fn skip_sequences(&mut self, key: BucketKey, next: i32) -> bool {
        let skipped = self.manager.skip_sequences(key, next);
        if skipped
            && let Some(seen) = self.watch.sessions.get_mut(&key)
            && let Some((id, floor)) = &mut seen.session
        {
            (*floor, seen.proved) = (next.into(), next.into());
            self.highest.insert((key, *id), next - 1);
            let id = *id;
            self.replicas.get_mut(&key).expect("known").set_last(id, next - 1);
        }
        skipped
    }
}
