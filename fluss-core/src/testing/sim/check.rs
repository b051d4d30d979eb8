//! The rules that must hold, whatever goes wrong, checked as it happens.
//!
//! The checker watches three places, none of which is the client's own bookkeeping: the stamps in
//! the bytes that leave, the batches that leaders take, and the outcomes that are reported. What
//! shows only inside (windows, floors) it reads after each step.

mod end;
mod leaders;
mod order;
mod outcomes;
mod sessions;
#[cfg(test)]
mod tests;
mod waits;

use std::collections::BTreeMap;

use crate::config::Acks;
use crate::ids::{BucketKey, CommandId, ConnId, LaneId, ServerId, WriterKey};
use crate::testing::cluster::Appended;
use crate::time::{Duration, Instant};
use crate::writer::idempotence::Window;

use super::clients::CLIENTS;
use super::wire::{self, Answer, Copy, Said, Sent};

pub(super) use waits::Patience;

use order::Orders;
use sessions::AllSeen;

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule's number in the module documentation, as `I3`.
    pub invariant: &'static str,
    /// What happened.
    pub text: String,
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Written,
    NotWritten,
    Unknown,
    /// Given up by the application before it was sealed.
    Abandoned,
}

/// A batch, by its number.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) writer: WriterKey,
    pub(super) lane: LaneId,
    pub(super) bucket: BucketKey,
    /// The client that has it.
    pub(super) client: usize,
    pub(super) idempotent: bool,
    pub(super) acks: Acks,
    /// Until then it may be delivered.
    pub(super) deadline: Instant,
    /// When it must have an outcome.
    pub(super) bound: Instant,
    /// It is to be told with its offset, if an answer has it in time.
    pub(super) asks_offset: bool,
    /// Pauses of the machine before it was opened, which are no excuse for it.
    pub(super) paused: Duration,
    /// Bytes of the budget it holds.
    pub(super) size: u64,
    pub(super) sealed: bool,
    pub(super) end: Option<End>,
    pub(super) patience: Patience,
    /// Before this moment no further copy of it may leave.
    again_at: Instant,
    /// Its present stamp.
    stamp: Option<(i64, i32)>,
    /// Copies under that stamp without an answer.
    open: u32,
    /// The connection of the last copy.
    conn: Option<ConnId>,
    /// A copy under that stamp ended without proof that it was refused.
    ambiguous: bool,
    /// The answer to a copy under that stamp said that it is written.
    answered: bool,
    /// First and last offset in the present log; more than one only without idempotence.
    places: Vec<(i64, i64)>,
    appended: bool,
    /// Taken from the log by a fault that loses what was acknowledged.
    lost: bool,
    /// Generation and floor when it was sent behind the floor last.
    sent_in: Option<(u64, i64)>,
}

impl Batch {
    pub(super) fn new(writer: WriterKey, lane: LaneId, bucket: BucketKey) -> Self {
        Self {
            writer,
            lane,
            bucket,
            client: 0,
            idempotent: true,
            acks: Acks::All,
            deadline: Instant::ZERO,
            bound: Instant::ZERO,
            asks_offset: false,
            paused: Duration::ZERO,
            size: 0,
            sealed: false,
            end: None,
            patience: Patience::default(),
            again_at: Instant::ZERO,
            stamp: None,
            open: 0,
            conn: None,
            ambiguous: false,
            answered: false,
            places: Vec::new(),
            appended: false,
            lost: false,
            sent_in: None,
        }
    }
}

/// A bucket of a writer, as seen last.
#[derive(Clone, Debug, Default)]
struct Seen {
    window: Option<Window>,
    began: Option<Instant>,
    /// Sessions in a row in which nothing was written, with the present one.
    barren: u32,
    /// One past the highest sequence of the session that an answer proved written.
    proved: i64,
    /// Copies of the session that have no answer.
    open: Vec<(i32, ConnId)>,
    /// Starts anew when the floor is sent.
    generation: u64,
    /// A copy was lost or refused since the floor moved.
    failed: bool,
    /// Before this moment the bucket is to be left alone.
    throttled_until: Instant,
    /// The same with what is asked of single batches: longer it is not put off.
    rests_until: Instant,
    /// The leader and the highest epoch it was told under.
    leader: Option<(ServerId, Option<i32>)>,
}

#[derive(Debug)]
struct OpenRequest {
    conn: ConnId,
    at: Instant,
    sent: Sent,
}

/// Whom a frame may concern.
#[derive(Debug)]
enum Concerns {
    Anyone,
    Nobody,
    /// The buckets of these copies.
    These(Vec<Copy>),
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Checker {
    pub(super) batches: Vec<Batch>,
    /// Batches without outcome.
    pub(super) unresolved: usize,
    /// Bytes that they hold of each client's budget.
    pub(super) memory: [u64; CLIENTS],
    stamps: BTreeMap<(BucketKey, i64, i32), u64>,
    highest: BTreeMap<(BucketKey, i64), i32>,
    acked: BTreeMap<(BucketKey, i64), i32>,
    seen: AllSeen,
    orders: Orders,
    open: Vec<OpenRequest>,
    concerns: Concerns,
    flushes: Vec<(CommandId, WriterKey, usize)>,
    /// Pauses of the machine so far, by which everything may be late.
    pub(super) paused: Duration,
    /// When all batches must have their outcomes, but for pauses.
    last_bound: Instant,
    pub(super) broken: Option<Violation>,
}

impl Checker {
    pub(super) fn new() -> Self {
        Self {
            batches: Vec::new(),
            unresolved: 0,
            memory: [0; CLIENTS],
            stamps: BTreeMap::new(),
            highest: BTreeMap::new(),
            acked: BTreeMap::new(),
            seen: AllSeen::default(),
            orders: Orders::default(),
            open: Vec::new(),
            concerns: Concerns::Anyone,
            flushes: Vec::new(),
            paused: Duration::ZERO,
            last_bound: Instant::ZERO,
            broken: None,
        }
    }

    pub(super) fn rule(
        &mut self,
        invariant: &'static str,
        holds: bool,
        text: impl FnOnce() -> String,
    ) {
        if !holds && self.broken.is_none() {
            self.broken = Some(Violation { invariant, text: text() });
        }
    }

    // ----- the application -----

    pub(super) fn opened(&mut self, batch: Batch) {
        self.last_bound = self.last_bound.max(batch.bound);
        self.memory[batch.client] += batch.size;
        self.unresolved += 1;
        self.batches.push(batch);
    }

    /// A batch's share of the budget changed.
    pub(super) fn resized(&mut self, batch: u64, size: u64, sealed: bool) {
        if let Some(entry) = self.batches.get_mut(batch as usize) {
            let held = &mut self.memory[entry.client];
            *held = *held - entry.size + size;
            entry.size = size;
            entry.sealed |= sealed;
        }
    }

    pub(super) fn is_over(&self, batch: u64) -> bool {
        self.batches.get(batch as usize).is_none_or(|b| b.end.is_some())
    }

    pub(super) fn abandoned(&mut self, batch: u64) {
        self.ended(batch as usize, End::Abandoned);
    }

    fn ended(&mut self, batch: usize, end: End) {
        if let Some(entry) = self.batches.get_mut(batch) {
            entry.end = Some(end);
            self.memory[entry.client] -= entry.size;
            self.unresolved -= 1;
        }
    }

    pub(super) fn flush(&mut self, command: CommandId, writer: WriterKey) {
        self.flushes.push((command, writer, self.batches.len()));
    }

    pub(super) fn flushes(&self) -> usize {
        self.flushes.len()
    }

    pub(super) fn flushed(&mut self, command: CommandId) {
        let Some(at) = self.flushes.iter().position(|f| f.0 == command) else {
            return self.rule("I23", false, || format!("flush {command} ended twice"));
        };
        let (_, writer, before) = self.flushes.swap_remove(at);
        let left = self.batches[..before].iter();
        let left = left.enumerate().find(|(_, b)| b.writer == writer && b.end.is_none());
        let left = left.map(|(batch, _)| batch);
        self.rule("I23", left.is_none(), || {
            format!("flush {command} ended before batch {}", left.unwrap_or_default())
        });
    }

    /// Nothing may be left once the last bound has passed.
    pub(super) fn check_bounds(&mut self, now: Instant) {
        let (left, bound) = (self.unresolved, self.last_bound + self.paused);
        self.rule("I5", left == 0 || now <= bound, || format!("{left} batches never end"));
    }

    // ----- the wire -----

    /// A request leaves. The windows were looked at just before.
    pub(super) fn transmitted(
        &mut self,
        (conn, server): (ConnId, ServerId),
        sent: Sent,
        at: Instant,
    ) {
        for (i, copy) in sent.copies.iter().enumerate() {
            self.check_waited(copy, server, at);
            self.transmitted_copy(conn, copy);
            let once = sent.copies[..i].iter().all(|other| other.bucket != copy.bucket);
            self.rule("I18", once && copy.alone, || format!("more than one batch: {sent:?}"));
        }
        self.open.push(OpenRequest { conn, at, sent });
    }

    fn transmitted_copy(&mut self, conn: ConnId, copy: &Copy) {
        let Copy { bucket, payload, writer_id, sequence, .. } = *copy;
        let stamp = (writer_id, sequence);
        let Some(batch) = self.batches.get_mut(payload as usize) else {
            return self.rule("I8", false, || format!("a batch nobody handed in: {copy:?}"));
        };
        let (home, end, idempotent) = (batch.bucket, batch.end, batch.idempotent);
        let (old, open, ambiguous) = (batch.stamp, batch.open, batch.ambiguous);
        batch.stamp = Some(stamp);
        batch.conn = Some(conn);
        let fresh = old.is_some_and(|old| old != stamp);
        if fresh {
            (batch.open, batch.sent_in) = (0, None);
            (batch.ambiguous, batch.answered) = (false, false);
        }
        batch.open += 1;
        let twice = idempotent && batch.open > 1;
        let key = (batch.writer, bucket);
        self.rule("I24", home == bucket, || format!("not its bucket, {home}: {copy:?}"));
        self.rule("I5", end.is_none(), || format!("sent after its end {end:?}: {copy:?}"));
        self.rule("I18", !twice, || format!("two open copies: {copy:?}"));
        if !idempotent {
            return self.rule("I20", stamp == (-1, -1), || format!("stamped: {copy:?}"));
        }
        self.rule("I20", writer_id >= 0 && sequence >= 0, || format!("not stamped: {copy:?}"));
        if let Some(old) = old.filter(|_| fresh) {
            let free = (open == 0 && !ambiguous) || self.is_fenced(bucket, old, stamp);
            self.rule("I11", free, || format!("stamped anew, was {old:?}: {copy:?}"));
        }
        self.check_stamp(copy);
        self.check_order(conn, key, copy);
        self.check_connection(conn, key, copy);
    }

    /// Whether a batch below this stamp was refused for good, so that this one never counts again.
    fn is_fenced(&self, bucket: BucketKey, old: (i64, i32), new: (i64, i32)) -> bool {
        let hole = |sequence: i32| {
            let below = self.stamps.get(&(bucket, old.0, sequence));
            let below = below.and_then(|payload| self.batches.get(*payload as usize));
            below.is_some_and(|b| b.end == Some(End::NotWritten))
        };
        // Windows hold five at most.
        new.0 != old.0 && (old.1.saturating_sub(5).max(0)..old.1).any(hole)
    }

    fn check_stamp(&mut self, copy: &Copy) {
        let Copy { bucket, payload, writer_id, sequence, .. } = *copy;
        let highest = self.highest.entry((bucket, writer_id)).or_insert(-1);
        let gap = sequence > highest.saturating_add(1);
        *highest = sequence.max(*highest);
        self.rule("I7", !gap, || format!("a gap before {copy:?}"));
        let other = self.stamps.insert((bucket, writer_id, sequence), payload);
        let Some(other) = other.filter(|other| *other != payload) else { return };
        // Who had it before must have lost it by refusals alone.
        let Some(batch) = self.batches.get(other as usize) else { return };
        let had = batch.stamp == Some((writer_id, sequence));
        let live = had && (batch.open > 0 || batch.ambiguous || !batch.places.is_empty());
        self.rule("I8", !live, || format!("the stamp of batch {other}: {copy:?}"));
    }

    fn check_order(&mut self, conn: ConnId, key: (WriterKey, BucketKey), copy: &Copy) {
        let sequence = copy.sequence;
        let seen = self.seen.of(key);
        let (writer, floor) = seen.session().unwrap_or((-1, -1));
        let probing = seen.is_probing();
        if i64::from(sequence) == floor {
            seen.generation += 1;
        }
        let at = (seen.generation, floor);
        self.rule("I9", writer == copy.writer_id, || format!("the session is {writer}: {copy:?}"));
        if probing || i64::from(sequence) == floor {
            return;
        }
        let ahead = |below: i32| {
            let payload = self.stamps.get(&(copy.bucket, copy.writer_id, below));
            let batch = payload.and_then(|payload| self.batches.get(*payload as usize));
            batch.is_some_and(|b| b.open > 0 && b.conn == Some(conn))
        };
        let floor = i32::try_from(floor).unwrap_or(i32::MAX);
        let ascending = (floor..sequence).all(ahead);
        self.rule("I21", ascending, || format!("not all below it are ahead of it: {copy:?}"));
        if let Some(batch) = self.batches.get_mut(copy.payload as usize) {
            let before = batch.sent_in.replace(at);
            self.rule("I16", before != Some(at), || format!("twice in a generation: {copy:?}"));
        }
    }

    /// When the oldest write under way on this connection left.
    pub(super) fn oldest_write(&self, conn: ConnId) -> Option<Instant> {
        let writes = self.open.iter().filter(|r| r.conn == conn && !r.sent.copies.is_empty());
        writes.map(|r| r.at).min()
    }

    /// A frame is about to be handed to the client. True if it makes no sense, so that it must cost
    /// the connection.
    pub(super) fn answered(&mut self, conn: ConnId, frame: &bytes::Bytes, now: Instant) -> bool {
        self.concerns = Concerns::Anyone;
        let Some(id) = wire::answers(frame) else { return true };
        let Some(at) = self.open.iter().position(|r| r.conn == conn && r.sent.id == id) else {
            // An answer to what was never asked, or the second one to what was.
            self.concerns = Concerns::Nobody;
            return true;
        };
        let request = self.open.swap_remove(at);
        if request.sent.copies.is_empty() {
            return false;
        }
        let answer = wire::answer(frame, &request.sent);
        self.close_copies(&request, &answer, now);
        let costs = answer.costs_the_connection(&request.sent);
        self.concerns = Concerns::These(request.sent.copies);
        costs
    }

    /// A frame was handed to the client. `costs`: it makes no sense; `used`: its connection still
    /// is in use.
    pub(super) fn heard(&mut self, conn: ConnId, costs: bool, used: bool) {
        self.rule("I17", !(costs && used), || format!("{conn} stays after nonsense"));
        if !used {
            // An answer that makes no sense costs the connection, with all copies on it.
            self.anything_may_change();
        }
    }

    fn close_copies(&mut self, request: &OpenRequest, answer: &Answer, now: Instant) {
        for copy in &request.sent.copies {
            let part = answer.to(copy.bucket);
            let said = part.said;
            self.close_copy(copy, request.conn, part, now);
            let Some(batch) = self.batches.get_mut(copy.payload as usize) else { continue };
            let current = batch.stamp == Some((copy.writer_id, copy.sequence));
            if current {
                batch.open = batch.open.saturating_sub(1);
                batch.ambiguous |= said == Said::Open;
                batch.answered |= said == Said::Committed;
            }
            if said != Said::Committed || !batch.idempotent {
                continue;
            }
            let orphan = !current && batch.end.is_none();
            self.rule("I11", !orphan, || format!("committed under its former stamp: {copy:?}"));
            let acked = self.acked.entry((copy.bucket, copy.writer_id)).or_insert(-1);
            *acked = copy.sequence.max(*acked);
        }
    }

    /// The client has no use for this connection any more, or is about to learn of its end.
    pub(super) fn disconnected(&mut self, conn: ConnId, now: Instant) {
        self.concerns = Concerns::Anyone;
        let mut at = 0;
        while at < self.open.len() {
            if self.open[at].conn == conn {
                let request = self.open.swap_remove(at);
                self.close_copies(&request, &Answer::All(Said::Open), now);
            } else {
                at += 1;
            }
        }
    }

    /// What follows comes from no frame.
    pub(super) fn anything_may_change(&mut self) {
        self.concerns = Concerns::Anyone;
    }

    pub(super) fn check_memory(&mut self, client: usize, used: u64) {
        let memory = self.memory[client];
        self.rule("I22", used == memory, || format!("{used} bytes are held for {memory}"));
    }

    // ----- the servers -----

    pub(super) fn appended(&mut self, append: &Appended) {
        let stamp = (append.writer_id, append.sequence);
        let payload = if append.rows > 0 {
            wire::last_payload(&append.bytes)
        } else {
            // A changelog without rows has nothing but its stamp to know it by.
            self.stamps.get(&(append.bucket, stamp.0, stamp.1)).copied().unwrap_or(u64::MAX)
        };
        let place = (append.base_offset, append.last_offset);
        let Some(batch) = self.batches.get_mut(payload as usize) else {
            return self.rule("I8", false, || format!("an unknown batch: {append:?}"));
        };
        let (end, idempotent) = (batch.end, batch.idempotent);
        if append.duplicate {
            let own = batch.places.contains(&place);
            return self.rule("I8", own, || {
                format!("batch {payload} is swallowed by another batch at {place:?}, {stamp:?}")
            });
        }
        let again = !batch.places.is_empty() && idempotent;
        batch.places.push(place);
        batch.appended = true;
        self.rule("I1", !again, || format!("batch {payload} is appended twice, now {stamp:?}"));
        self.rule("I3", end != Some(End::NotWritten), || {
            format!("batch {payload} is appended after its end, {stamp:?}")
        });
    }

    /// The log of a bucket ends here now. `acknowledged`: by a fault that loses what it may not.
    /// True if a batch is gone that was told as written on its leader's word alone.
    pub(super) fn truncated(&mut self, bucket: BucketKey, end: i64, acknowledged: bool) -> bool {
        let mut told = false;
        self.orders.truncated(bucket, end);
        for batch in self.batches.iter_mut().filter(|b| b.bucket == bucket) {
            let before = batch.places.len();
            batch.places.retain(|(_, last)| *last < end);
            let lost = batch.places.len() < before;
            batch.lost |= acknowledged && lost;
            told |= lost && batch.acks == Acks::Leader && batch.end == Some(End::Written);
        }
        told
    }
}
