//! The invariants (§5 of the specification), named as there.

use std::fmt;

use super::Setup;
use super::client::{Client, End, View};
use super::network::{BatchNo, Reply, Sent};
use super::state::State;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) rule: &'static str,
    pub(super) text: String,
}

impl Broken {
    pub(super) fn new(rule: &'static str, text: String) -> Self {
        Self { rule, text }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.text)
    }
}

impl Setup {
    /// An invariant that was looked at; it is passed over where a search is after another one.
    fn rule(
        &self,
        holds: bool,
        name: &'static str,
        text: impl FnOnce() -> String,
    ) -> Result<(), Broken> {
        if holds {
            return Ok(());
        }
        let passed_over = self.only.is_some_and(|only| only != name);
        if passed_over { Ok(()) } else { Err(Broken::new(name, text())) }
    }
}

/// What the checks remember of the way to a state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Seen {
    pub(super) ends: Vec<Option<End>>,
    /// Batches with a copy of which nobody can tell whether it was appended, as bits.
    ambiguous: u32,
    /// Batches of which a copy was refused for good while another one was in doubt, as bits.
    met: u32,
    /// The newest stamp of each batch.
    stamp: Vec<Option<(i64, i32)>>,
    /// Highest sequence sent, and highest acknowledged, per bucket and writer.
    highest: Vec<(u8, i64, i64, i64)>,
    /// Writers of each bucket's sessions, in order.
    writers: Vec<Vec<i64>>,
    floors: Vec<Option<(i64, i64)>>,
    /// Faults so far after which a session may have to end.
    pub(super) grave: u8,
}

impl Seen {
    pub(super) fn new(setup: &Setup) -> Self {
        let n = usize::from(setup.batches);
        Self {
            ends: vec![None; n],
            ambiguous: 0,
            met: 0,
            stamp: vec![None; n],
            highest: Vec::new(),
            writers: vec![Vec::new(); setup.buckets],
            floors: vec![None; setup.buckets],
            grave: 0,
        }
    }

    /// The entry of a writer; sequences start where the search's session does.
    fn of(&mut self, setup: &Setup, bucket: u8, writer: i64) -> &mut (u8, i64, i64, i64) {
        let start = match setup.first_sequence {
            Some(floor) if writer == 6 => i64::from(floor) - 1,
            _ => -1,
        };
        let found = self.highest.iter().position(|h| (h.0, h.1) == (bucket, writer));
        let i = found.unwrap_or_else(|| {
            self.highest.push((bucket, writer, start, start));
            self.highest.len() - 1
        });
        &mut self.highest[i]
    }

    pub(super) fn answered(&mut self, copy: &Sent, reply: Reply) {
        if reply == Reply::Code(57) {
            self.met |= self.ambiguous & 1 << copy.batch;
        }
        if reply.is_ambiguous() {
            self.ambiguous |= 1 << copy.batch;
        }
        if let Reply::Written(_) = reply
            && let Some(h) =
                self.highest.iter_mut().find(|h| (h.0, h.1) == (copy.bucket, copy.writer))
        {
            h.3 = h.3.max(i64::from(copy.seq));
        }
    }
}

impl<C: Client> State<C> {
    /// I7, I8, I11, I18, I20 and the order on a connection (I21), for a copy about to be sent.
    pub(super) fn check_copy(&mut self, copy: &Sent, conn: u8) -> Result<(), Broken> {
        self.setup
            .rule(copy.writer >= 0 && copy.seq >= 0, "I20", || format!("{copy} has no stamp"))?;
        let setup = std::sync::Arc::clone(&self.setup);
        let sequence = i64::from(copy.seq);
        let entry = self.seen.of(&setup, copy.bucket, copy.writer);
        self.setup.rule(sequence <= entry.2 + 1, "I7", || format!("a gap before {copy}"))?;
        entry.2 = entry.2.max(sequence);
        let twin = |c: &Sent| {
            (c.bucket, c.writer, c.seq) == (copy.bucket, copy.writer, copy.seq)
                && c.batch != copy.batch
        };
        let twin = self.copies().find(|c| twin(c)).copied();
        self.setup.rule(twin.is_none(), "I8", || {
            format!("{copy}, but there is a {}", twin.unwrap_or(*copy))
        })?;
        let replica = &self.replicas[usize::from(copy.bucket)];
        let stamp = (copy.writer, copy.seq);
        let other = replica.log.iter().find(|e| (e.writer, e.seq) == stamp);
        let other = other.filter(|e| e.batch != copy.batch).copied();
        self.setup.rule(other.is_none(), "I8", || format!("{copy}, but the log has {other:?}"))?;
        self.check_restamped(copy)?;
        let open = self.conns.iter().filter(|c| c.open).flat_map(|c| c.queue.iter().flatten());
        let answered = self.responses.iter().flat_map(|r| r.entries.iter().map(|(c, _)| c));
        let same = |c: &&Sent| c.batch == copy.batch && (c.writer, c.seq) == stamp;
        let twice = open.chain(answered).find(same).copied();
        self.setup.rule(twice.is_none(), "I18", || format!("{copy} has an open copy already"))?;
        let old = self.seen.stamp[usize::from(copy.batch)].replace(stamp);
        if old != Some(stamp) {
            self.seen.met &= !(1 << copy.batch);
        }
        self.check_order(copy, conn)
    }

    /// I11: what was stamped differently before can never be appended under the old stamp.
    fn check_restamped(&self, copy: &Sent) -> Result<(), Broken> {
        let replica = &self.replicas[usize::from(copy.bucket)];
        let stamp = (copy.writer, copy.seq);
        let lost = replica.lost & (1 << copy.batch) != 0;
        let log = replica.log.iter().find(|e| e.batch == copy.batch);
        let old = log.filter(|e| (e.writer, e.seq) != stamp && !lost);
        self.setup.rule(old.is_none(), "I11", || format!("{copy}, but the log has {old:?}"))?;
        let of = |c: &Sent, writer: i64, seq: i32| {
            (c.bucket, c.writer, c.seq) == (copy.bucket, writer, seq)
        };
        let old = self.unexecuted().find(|c| {
            let other = c.batch == copy.batch && (c.writer, c.seq) != stamp;
            let hole = |h: i32| {
                !replica.has_stamp(c.writer, h) && !self.unexecuted().any(|d| of(d, c.writer, h))
            };
            // A sequence below that nobody will ever append fences it off.
            other && !(0..c.seq).any(hole)
        });
        self.setup.rule(old.is_none(), "I11", || {
            format!("{copy}, but {} may be appended", old.unwrap_or(copy))
        })
    }

    /// Lower batches have open copies that were sent before, on the same connection.
    fn check_order(&self, copy: &Sent, conn: u8) -> Result<(), Broken> {
        let Some(view) = self.client.view(usize::from(copy.bucket)) else { return Ok(()) };
        if copy.probe {
            return Ok(());
        }
        let below = view.slots.iter().take_while(|(batch, _)| *batch != copy.batch);
        for (batch, open) in below {
            let behind = open.is_some_and(|(_, c)| c == conn);
            self.setup.rule(behind, "I21", || format!("{copy} overtakes b{batch}"))?;
        }
        Ok(())
    }

    /// I1, I3, I8, when the server took a copy.
    pub(super) fn check_append(
        &self,
        copy: &Sent,
        reply: Reply,
        appended: bool,
        had: bool,
    ) -> Result<(), Broken> {
        self.setup
            .rule(!(appended && had), "I1", || format!("{copy} is in the log a second time"))?;
        let end = self.seen.ends[usize::from(copy.batch)];
        let false_end = appended && end == Some(End::NotWritten);
        self.setup.rule(!false_end, "I3", || {
            format!("{copy} is appended after it was called not written")
        })?;
        let log = &self.replicas[usize::from(copy.bucket)].log;
        let taken_for = match reply {
            Reply::Written(at) => log.get(usize::from(at)).filter(|e| e.batch != copy.batch),
            _ => None,
        };
        self.setup.rule(taken_for.is_none(), "I8", || {
            format!("the server takes {copy} for {taken_for:?}")
        })
    }

    /// I17 and I19, after an answer.
    pub(super) fn check_answer(
        &mut self,
        before: &C,
        copy: &Sent,
        reply: Reply,
    ) -> Result<(), Broken> {
        let bucket = usize::from(copy.bucket);
        for other in (0..self.setup.buckets).filter(|b| *b != bucket) {
            let same = self.client.same(before, other);
            self.setup
                .rule(same, "I19", || format!("the answer to {copy} changed bucket {other}"))?;
        }
        if matches!(reply, Reply::Written(_)) {
            return Ok(());
        }
        if let Some(view) = before.view(bucket) {
            let open = |s: &(BatchNo, Option<(u32, u8)>)| s.1.is_some_and(|o| o.0 == copy.serial);
            let own = view.slots.iter().any(open);
            // Any input lets the client decide what it can; what no copy waits for does no more.
            let mut expected = before.clone();
            let strange = Sent { batch: BatchNo::MAX, serial: u32::MAX, ..*copy };
            expected.answer(&strange, Reply::Code(31), &self.queues[bucket]);
            let same = self.client.same(&expected, bucket);
            self.setup.rule(own || same || self.setup.track_offsets, "I17", || {
                format!("{reply:?} to the closed {copy} changed something")
            })?;
            let mut again = self.client.clone();
            again.answer(copy, reply, &self.queues[bucket]);
            let same = again.same(&self.client, bucket);
            self.setup
                .rule(same, "I17", || format!("a second answer to {copy} changed something"))?;
        }
        Ok(())
    }

    /// I2, I3, I5, I13, I14, I15, when a batch ends.
    pub(super) fn finish(&mut self, batch: BatchNo, end: End) -> Result<(), Broken> {
        self.note(|| format!("b{batch} ends: {end:?}"));
        let old = self.seen.ends[usize::from(batch)].replace(end);
        self.setup.rule(old.is_none(), "I5", || format!("b{batch} ended before, as {old:?}"))?;
        let replica = &self.replicas[self.setup.bucket_of(batch)];
        let bit = 1u32 << batch;
        match end {
            End::Ok { offset, inferred } => {
                let here = replica.has(batch) || replica.lost & bit != 0;
                let name = if inferred { "I13" } else { "I2" };
                self.setup.rule(here, name, || {
                    format!("b{batch} is called written and is not in the log")
                })?;
                let at = offset.and_then(|at| replica.log.get(usize::from(at)));
                let own = at.is_none_or(|e| e.batch == batch) || replica.lost != 0;
                self.setup.rule(own, "I2", || format!("b{batch} is not at {offset:?}"))
            }
            End::NotWritten => {
                let never = replica.ever & bit == 0;
                self.setup.rule(never, "I3", || {
                    format!("b{batch} is called not written and was appended")
                })?;
                self.check_benign(batch, end)
            }
            End::Unknown => {
                let open = self.copies().any(|c| c.batch == batch)
                    || self.setup.faults.abort > 0
                    || self.seen.ambiguous & bit != 0;
                self.setup.rule(open, "I14", || format!("every copy of b{batch} was refused"))?;
                let proved = self.seen.stamp[usize::from(batch)].is_some_and(|(writer, seq)| {
                    let bucket = self.setup.bucket_of(batch) as u8;
                    let of = |h: &&(u8, i64, i64, i64)| (h.0, h.1) == (bucket, writer);
                    self.seen.highest.iter().find(of).is_some_and(|h| h.3 >= i64::from(seq))
                });
                self.setup.rule(!proved, "I14", || format!("a later answer proves b{batch}"))?;
                self.check_benign(batch, end)?;
                let told = !self.setup.faults.are_told() || self.has_met(batch);
                self.setup.rule(told, "I15", || {
                    format!("b{batch} is unknown though nothing in doubt was refused for good")
                })
            }
        }
    }

    /// Whether a fatal answer met a batch in doubt in the session of this one. It need not have
    /// been this one: R14 gives up all that is in doubt with a doomed floor, and R11 a floor in
    /// doubt once the batch above that could have proved it was refused for good.
    fn has_met(&self, batch: BatchNo) -> bool {
        let session = |batch: BatchNo| {
            let stamp = self.seen.stamp[usize::from(batch)];
            stamp.map(|(writer, _)| (self.setup.bucket_of(batch), writer))
        };
        let mut met = (0..self.setup.batches).filter(|other| self.seen.met & 1 << other != 0);
        met.any(|other| session(other) == session(batch))
    }

    fn check_benign(&self, batch: BatchNo, end: End) -> Result<(), Broken> {
        let benign = self.setup.faults.are_benign();
        self.setup.rule(!benign, "I15", || {
            format!("b{batch} ends as {end:?} though nothing grave happened")
        })
    }

    /// What must hold in every state.
    pub(super) fn check(&mut self) -> Result<(), Broken> {
        self.setup
            .rule(!self.client.alarm(), "I11", || "the client counted a contradiction".into())?;
        self.check_logs()?;
        for bucket in 0..self.setup.buckets {
            if let Some(view) = self.client.view(bucket) {
                self.check_session(bucket, &view)?;
            }
        }
        Ok(())
    }

    /// I1, I2, I4.
    fn check_logs(&self) -> Result<(), Broken> {
        for replica in &self.replicas {
            // What was called not written and is here counts, too.
            let told = |b: BatchNo| self.seen.ends[usize::from(b)];
            let known = |b: BatchNo| told(b).is_some_and(|end| end != End::Unknown);
            let mut last = None;
            for entry in replica.log.iter().filter(|e| known(e.batch)) {
                let bit = 1u32 << entry.batch;
                if replica.lost & bit != 0 {
                    continue;
                }
                self.setup.rule(last < Some(entry.batch), "I4", || {
                    format!("b{} lies behind {last:?}", entry.batch)
                })?;
                last = Some(entry.batch);
            }
        }
        for (batch, end) in self.seen.ends.iter().enumerate() {
            let replica = &self.replicas[self.setup.bucket_of(batch as u8)];
            let gone = !replica.has(batch as u8) && replica.lost & (1 << batch) == 0;
            let lost = gone && matches!(end, Some(End::Ok { .. }));
            self.setup.rule(!lost, "I2", || format!("b{batch} was called written and is gone"))?;
        }
        Ok(())
    }

    /// I6, I9, I10, I12, I17, I25.
    fn check_session(&mut self, bucket: usize, view: &View) -> Result<(), Broken> {
        let limit = self.setup.in_flight;
        self.setup
            .rule(view.slots.len() <= limit, "I6", || format!("{} unresolved", view.slots.len()))?;
        let writers = &mut self.seen.writers[bucket];
        if writers.last() != Some(&view.writer) {
            let again = writers.contains(&view.writer);
            self.setup
                .rule(!again, "I10", || format!("bucket {bucket} had {} before", view.writer))?;
            writers.push(view.writer);
            let allowed = 1
                + usize::from(self.seen.grave)
                + usize::from(self.setup.faults.idle)
                + usize::from(self.setup.first_sequence.is_some());
            let count = writers.len();
            self.setup
                .rule(count <= allowed, "I25", || format!("the {count}. writer id of a bucket"))?;
        }
        let floor = self.seen.floors[bucket].replace((view.writer, view.floor));
        if let Some((writer, floor)) = floor
            && writer == view.writer
        {
            let anew = view.floor == 0 && floor > 0;
            self.setup
                .rule(!anew, "I10", || format!("{writer} begins again in bucket {bucket}"))?;
            self.setup
                .rule(floor <= view.floor, "I12", || format!("the floor fell to {}", view.floor))?;
        }
        let setup = std::sync::Arc::clone(&self.setup);
        let acked = self.seen.of(&setup, bucket as u8, view.writer).3;
        self.setup.rule(view.floor == acked + 1, "I12", || {
            format!("the floor is {}, acknowledged is {acked}", view.floor)
        })?;
        for (i, (batch, open)) in view.slots.iter().enumerate() {
            let Some((serial, _)) = open else { continue };
            let copy = self.copies().find(|c| c.serial == *serial).copied();
            let sequence = view.floor + i as i64;
            let own = copy.is_none_or(|c| {
                c.batch == *batch && c.writer == view.writer && i64::from(c.seq) == sequence
            });
            self.setup.rule(own, "I9", || format!("b{batch} at {sequence} waits for {copy:?}"))?;
        }
        Ok(())
    }

    /// I5, where nothing can happen any more.
    pub(super) fn check_end(&self) -> Result<(), Broken> {
        let open = self.seen.ends.iter().position(Option::is_none);
        self.setup.rule(open.is_none(), "I5", || format!("b{} never ends", open.unwrap_or(0)))
    }
}
