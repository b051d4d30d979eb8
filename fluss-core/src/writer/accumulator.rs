//! The batches of all writers between open and done: their memory, their linger, their deadlines.
//!
//! The accumulator knows sizes and times, never rows. It says when a batch should be sealed and
//! when it has waited too long; what is sent, and under which stamp, the sender and the
//! idempotence manager decide.

use std::collections::{BTreeSet, VecDeque};

use fluss_proto::record::SealedBatch;

use super::bucket_queue::Rank;
use super::memory::{Memory, WaiterId};
use crate::ids::{BatchId, BucketKey, ByOwnId, LaneId, PartitionId, PartitionKey, WriterKey};
use crate::time::{Duration, Instant};

/// What [`Client::open_batch`](crate::Client::open_batch) answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// The batch is open and has its place in the bucket's queue.
    Granted {
        /// Its id.
        batch: BatchId,
        /// The bytes reserved for it so far.
        reserved: u64,
    },
    /// The budget does not allow it now; the caller stands in line under this id.
    Wait(WaiterId),
}

/// How the bytes for a new batch are come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// Reserve bytes now, or stand in line.
    Now {
        /// What a batch starts with while the budget is at most half used.
        step: u64,
        /// What it gets at once when memory is short: a batch that starts small then would have to
        /// be sent small.
        full: u64,
    },
    /// Use what a served waiter was granted.
    Granted(WaiterId),
}

/// A batch that is not done.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) rank: Rank,
    pub(crate) writer: WriterKey,
    pub(crate) lane: LaneId,
    /// Where it goes; without the partition while it waits for its id.
    pub(crate) bucket: BucketKey,
    /// The partition whose id it waits for.
    pub(crate) waits: Option<Waits>,
    /// The number of buckets its own was chosen from, as far as known.
    pub(crate) of: Option<i32>,
    /// Bytes of the budget it holds.
    reserved: u64,
    /// When it was opened.
    pub(crate) opened: Instant,
    linger_at: Instant,
    /// When it must have an outcome.
    pub(crate) deadline: Instant,
    /// None while rows may still be added, or while the caller seals.
    pub(crate) sealed: Option<SealedBatch>,
    /// Whether its holder was asked to seal it; asked once.
    seal_asked: bool,
    /// Whether its holder was asked to deal its rows out anew.
    reroute_asked: bool,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Accumulator {
    memory: Memory,
    batches: ByOwnId<BatchId, Batch>,
    next_batch: u64,
    /// Open batches that nobody asked to seal so far, by the end of their linger.
    linger: BTreeSet<(Instant, BatchId)>,
    /// All batches by their delivery deadline.
    deadlines: BTreeSet<(Instant, BatchId)>,
    /// Bytes of batches that are sealed, hence on their way to an outcome.
    sealed_bytes: u64,
    /// Bytes of those among them that wait for their partition, which may never come.
    stuck_bytes: u64,
    /// Batches whose holder should seal them now.
    to_seal: VecDeque<(BatchId, LaneId)>,
}

impl Accumulator {
    pub(crate) fn new(memory_limit: u64) -> Self {
        Self {
            memory: Memory::new(memory_limit),
            batches: ByOwnId::default(),
            next_batch: 0,
            linger: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            sealed_bytes: 0,
            stuck_bytes: 0,
            to_seal: VecDeque::new(),
        }
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Breaks the budget on purpose.
    #[cfg(test)]
    pub(crate) fn count_line(&mut self) {
        self.memory.counts_line = true;
    }

    /// Breaks the line for it on purpose.
    #[cfg(test)]
    pub(crate) fn forget_waiter(&mut self) {
        self.memory.forgets_first = true;
    }

    /// Bytes of sealed batches without an outcome.
    pub(crate) fn sealed_bytes(&self) -> u64 {
        self.sealed_bytes
    }

    /// Batches without an outcome.
    pub(crate) fn len(&self) -> usize {
        self.batches.len()
    }

    pub(crate) fn get(&self, batch: BatchId) -> Option<&Batch> {
        self.batches.get(&batch)
    }

    /// The id the next batch will get: every batch below it was opened before now.
    pub(crate) fn next_batch(&self) -> BatchId {
        BatchId(self.next_batch)
    }

    /// Opens a batch, or stands in line for its memory.
    pub(crate) fn open(&mut self, now: Instant, at: Place, times: Times, reserve: Reserve) -> Open {
        let granted = matches!(reserve, Reserve::Granted(_));
        let reserved = match reserve {
            Reserve::Now { step, full } => {
                let bytes = if self.memory.is_ample(full) { step } else { full };
                if !self.memory.try_reserve(bytes) {
                    let waiter = self.memory.wait(bytes);
                    self.relieve();
                    return Open::Wait(waiter);
                }
                bytes
            }
            Reserve::Granted(waiter) => match self.memory.claim(waiter) {
                Some(bytes) => bytes,
                None => return Open::Wait(waiter),
            },
        };
        let id = BatchId(self.next_batch);
        self.next_batch += 1;
        let batch = Batch {
            rank: Rank::of(id),
            writer: at.writer,
            lane: at.lane,
            bucket: at.bucket,
            waits: at.waits,
            of: at.of,
            reserved,
            opened: now,
            linger_at: now + times.linger,
            deadline: now + times.delivery,
            sealed: None,
            seal_asked: false,
            reroute_asked: false,
        };
        self.linger.insert((batch.linger_at, id));
        self.deadlines.insert((batch.deadline, id));
        self.batches.insert(id, batch);
        if granted {
            // What was released for it may have been the last that was under way, and others wait.
            self.relieve();
        }
        Open::Granted { batch: id, reserved }
    }

    /// Somebody is in line, and what is on its way will not release enough: then whatever is open
    /// must go, or nobody would ever be served. What waits for its partition is not on its way.
    fn relieve(&mut self) {
        let under_way = self.sealed_bytes - self.stuck_bytes;
        if self.memory.first_wish().is_some_and(|bytes| under_way < bytes) {
            self.seal_all();
        }
    }

    /// Reserves more for an open batch; false if the budget does not allow it, then the batch must
    /// be sealed as it is.
    pub(crate) fn grow(&mut self, batch: BatchId, extra: u64) -> bool {
        let open = self.batches.get_mut(&batch).filter(|entry| entry.sealed.is_none());
        let Some(entry) = open else { return false };
        let granted = self.memory.try_reserve(extra);
        if granted {
            entry.reserved += extra;
        }
        granted
    }

    /// The partition of a batch that waited for it has an id. None for a batch that does not wait.
    pub(crate) fn bind(
        &mut self,
        id: BatchId,
        to: PartitionId,
        (bucket, of): (i32, i32),
    ) -> Option<&Batch> {
        let batch = self.batches.get_mut(&id)?;
        batch.waits.take()?;
        if batch.sealed.is_some() {
            self.stuck_bytes -= batch.reserved;
        }
        batch.bucket = BucketKey { partition: Some(to), bucket, ..batch.bucket };
        batch.of = Some(of);
        Some(batch)
    }

    /// Notes whether the holder of a batch is asked to deal its rows out anew; true for a change.
    pub(crate) fn note_reroute(&mut self, id: BatchId, asked: bool) -> bool {
        let batch = self.batches.get_mut(&id);
        batch.is_some_and(|batch| std::mem::replace(&mut batch.reroute_asked, asked) != asked)
    }

    /// Puts sealed parts in the place of a batch, each into a bucket among `of` of a partition.
    /// They have its rank, its times and, together, its memory. None if it has ended.
    pub(crate) fn split(
        &mut self,
        id: BatchId,
        (to, of): (PartitionId, i32),
        parts: Vec<(i32, SealedBatch)>,
    ) -> Option<Vec<(Rank, BucketKey)>> {
        let whole = self.batches.remove(&id)?;
        self.linger.remove(&(whole.linger_at, id));
        self.deadlines.remove(&(whole.deadline, id));
        if whole.sealed.is_some() {
            self.sealed_bytes -= whole.reserved;
            if whole.waits.is_some() {
                self.stuck_bytes -= whole.reserved;
            }
        }
        let bytes = parts.iter().map(|(_, sealed)| sealed.memory() as u64).sum();
        self.memory.correct(whole.reserved, bytes);
        self.sealed_bytes += bytes;
        let part = |(bucket, sealed): (i32, SealedBatch)| {
            let id = BatchId(self.next_batch);
            self.next_batch += 1;
            let bucket = BucketKey { partition: Some(to), bucket, ..whole.bucket };
            self.deadlines.insert((whole.deadline, id));
            let batch = Batch {
                rank: whole.rank.of_part(id),
                bucket,
                waits: None,
                of: Some(of),
                reserved: sealed.memory() as u64,
                sealed: Some(sealed),
                ..whole
            };
            let rank = batch.rank;
            self.batches.insert(id, batch);
            (rank, bucket)
        };
        Some(parts.into_iter().map(part).collect())
    }

    /// Takes the sealed bytes of a batch; None if the batch is gone (expired, closed), or has its
    /// bytes: they may be on their way, and must not be others when they are sent again.
    pub(crate) fn seal(&mut self, id: BatchId, sealed: SealedBatch) -> Option<&Batch> {
        let batch = self.batches.get_mut(&id).filter(|batch| batch.sealed.is_none())?;
        self.linger.remove(&(batch.linger_at, id));
        let real = sealed.memory() as u64;
        self.memory.correct(batch.reserved, real);
        self.sealed_bytes += real;
        if batch.waits.is_some() {
            self.stuck_bytes += real;
        }
        batch.reserved = real;
        batch.sealed = Some(sealed);
        Some(batch)
    }

    /// Ends a batch that was not sealed. What was is on its way, and ends with its outcome.
    pub(crate) fn abandon(&mut self, id: BatchId) -> Option<Batch> {
        self.batches.get(&id).filter(|batch| batch.sealed.is_none())?;
        self.finish(id)
    }

    /// Ends a batch, whatever its state, and releases its memory; None if it ended before.
    pub(crate) fn finish(&mut self, id: BatchId) -> Option<Batch> {
        let batch = self.batches.remove(&id)?;
        self.linger.remove(&(batch.linger_at, id));
        self.deadlines.remove(&(batch.deadline, id));
        if batch.sealed.is_some() {
            self.sealed_bytes -= batch.reserved;
            if batch.waits.is_some() {
                self.stuck_bytes -= batch.reserved;
            }
        }
        self.memory.release(batch.reserved);
        self.relieve();
        Some(batch)
    }

    /// Leaves the line for memory.
    pub(crate) fn cancel_wait(&mut self, waiter: WaiterId) {
        self.memory.cancel(waiter);
        // Whoever is first now may wish for more.
        self.relieve();
    }

    pub(crate) fn poll_granted(&mut self) -> Option<WaiterId> {
        self.memory.poll_granted()
    }

    /// Nothing is opened any more: what is open is to be sealed, and who waits for memory need not.
    pub(crate) fn close(&mut self) {
        self.memory.turn_away();
        self.seal_all();
    }

    /// Asks for all open batches to be sealed.
    fn seal_all(&mut self) {
        let open: Vec<BatchId> = self.linger.iter().map(|(_, id)| *id).collect();
        open.into_iter().for_each(|id| self.ask_to_seal(id));
    }

    /// Asks for one batch to be sealed, once.
    pub(crate) fn ask_to_seal(&mut self, id: BatchId) {
        if let Some(batch) = self.batches.get_mut(&id)
            && batch.sealed.is_none()
            && !batch.seal_asked
        {
            batch.seal_asked = true;
            // Nobody needs to look at it again, neither the timer nor the next one out of memory.
            self.linger.remove(&(batch.linger_at, id));
            self.to_seal.push_back((id, batch.lane));
        }
    }

    pub(crate) fn poll_seal(&mut self) -> Option<(BatchId, LaneId)> {
        self.to_seal.pop_front()
    }

    /// Asks for batches whose linger is over to be sealed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, id)) = self.linger.first().copied().filter(|(at, _)| *at <= now) {
            self.linger.remove(&(at, id));
            self.ask_to_seal(id);
        }
    }

    /// The next batch whose delivery deadline is over; it is reported once.
    pub(crate) fn poll_expired(&mut self, now: Instant) -> Option<BatchId> {
        let (at, id) = self.deadlines.first().copied().filter(|(at, _)| *at <= now)?;
        self.deadlines.remove(&(at, id));
        Some(id)
    }

    pub(crate) fn next_linger(&self) -> Option<Instant> {
        self.linger.first().map(|(at, _)| *at)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }
}

/// Where a batch belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) writer: WriterKey,
    pub(crate) lane: LaneId,
    pub(crate) bucket: BucketKey,
    pub(crate) waits: Option<Waits>,
    pub(crate) of: Option<i32>,
}

/// What a batch waits for whose partition has no id yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    pub(crate) partition: PartitionKey,
    /// The number of buckets its own was chosen from.
    pub(crate) of: i32,
    /// Whether its rows belong into that bucket and no other.
    pub(crate) keyed: bool,
}

/// The waits of a batch, from its writer's settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) linger: Duration,
    pub(crate) delivery: Duration,
}

#[cfg(test)]
mod random_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TableId;

    pub(super) const TIMES: Times =
        Times { linger: Duration::from_millis(5), delivery: Duration::from_secs(1) };

    pub(super) fn place(lane: u64) -> Place {
        let bucket = BucketKey { table: TableId(1), partition: None, bucket: 0 };
        Place { writer: WriterKey(0), lane: LaneId(lane), bucket, waits: None, of: None }
    }

    pub(super) fn sealed(bytes: usize) -> SealedBatch {
        SealedBatch::kv_v0(1, 0, 1, vec![0; bytes].into()).expect("a valid batch")
    }

    fn open(acc: &mut Accumulator, now: Instant, bytes: u64) -> BatchId {
        match acc.open(now, place(0), TIMES, Reserve::Now { step: bytes, full: bytes }) {
            Open::Granted { batch, .. } => batch,
            Open::Wait(_) => panic!("{bytes} bytes were refused"),
        }
    }

    #[test]
    fn a_batch_is_asked_for_once_when_its_linger_ends_and_expires_once_at_its_deadline() {
        let mut acc = Accumulator::new(1000);
        let id = open(&mut acc, Instant::ZERO, 10);
        acc.handle_timeout(Instant::from_millis(4));
        assert_eq!(acc.poll_seal(), None);
        acc.handle_timeout(Instant::from_millis(5));
        acc.seal_all();
        assert_eq!((acc.poll_seal(), acc.poll_seal()), (Some((id, LaneId(0))), None));
        assert_eq!(acc.next_linger(), None);
        assert_eq!(acc.poll_expired(Instant::from_millis(999)), None);
        assert_eq!(acc.poll_expired(Instant::from_millis(1000)), Some(id));
        assert_eq!(acc.poll_expired(Instant::from_millis(1000)), None);
        assert!(acc.finish(id).is_some() && acc.finish(id).is_none());
        assert_eq!(acc.memory().used(), 0);
    }

    #[test]
    fn memory_follows_a_batch_from_the_first_step_to_its_end() {
        let mut acc = Accumulator::new(1000);
        let id = open(&mut acc, Instant::ZERO, 100);
        assert!(acc.grow(id, 200) && !acc.grow(id, 800));
        let batch = sealed(50);
        let size = batch.size() as u64;
        assert!(acc.seal(id, batch).is_some());
        assert_eq!(acc.memory().used(), size);
        acc.finish(id);
        assert_eq!(acc.memory().used(), 0);
        assert!(acc.seal(id, sealed(50)).is_none(), "a batch that ended takes no bytes");
    }

    #[test]
    fn a_batch_whose_partition_has_an_id_now_is_bound_to_it_once() {
        let mut acc = Accumulator::new(1000);
        let waits = Some(Waits { partition: PartitionKey(1), of: 3, keyed: false });
        let at = Place { waits, ..place(0) };
        let reserve = Reserve::Now { step: 10, full: 10 };
        let opened = acc.open(Instant::ZERO, at, TIMES, reserve);
        let Open::Granted { batch, .. } = opened else { panic!("{opened:?}") };
        let bound = acc.bind(batch, PartitionId(7), (2, 3)).expect("it waits");
        let to = BucketKey { table: TableId(1), partition: Some(PartitionId(7)), bucket: 2 };
        assert_eq!(bound.bucket, to);
        assert!(acc.bind(batch, PartitionId(8), (1, 3)).is_none(), "it is bound already");
        assert_eq!(acc.get(batch).map(|b| b.bucket), Some(to));
    }

    #[test]
    fn a_waiter_that_what_is_under_way_will_serve_disturbs_nobody() {
        for (missing, asked) in [(0, None), (1, Some((BatchId(1), LaneId(0))))] {
            let mut acc = Accumulator::new(1000);
            let first = open(&mut acc, Instant::ZERO, 500);
            open(&mut acc, Instant::ZERO, 300);
            let batch = sealed(400);
            let size = batch.size() as u64;
            acc.seal(first, batch);
            // What is free is too little, and what is sealed just enough, or not.
            let fill = 1000 - 300 - size;
            assert!(fill > 0 && acc.memory.try_reserve(fill));
            let reserve = Reserve::Now { step: 1, full: size + missing };
            assert!(matches!(acc.open(Instant::ZERO, place(1), TIMES, reserve), Open::Wait(_)));
            assert_eq!(acc.poll_seal(), asked);
        }
    }

    #[test]
    fn what_a_batch_has_taken_is_neither_replaced_nor_given_up() {
        let mut acc = Accumulator::new(1000);
        let id = open(&mut acc, Instant::ZERO, 10);
        assert!(acc.seal(id, sealed(100)).is_some());
        let held = (acc.memory().used(), acc.sealed_bytes);
        assert!(acc.seal(id, sealed(50)).is_none());
        assert!(acc.abandon(id).is_none());
        assert_eq!((acc.memory().used(), acc.sealed_bytes), held);
        acc.finish(id);
        assert_eq!((acc.memory().used(), acc.sealed_bytes), (0, 0));
    }

    #[test]
    fn what_waits_for_its_partition_is_not_counted_on_by_those_in_line_for_memory() {
        for (stuck, asked) in [(false, None), (true, Some((BatchId(1), LaneId(0))))] {
            let mut acc = Accumulator::new(1000);
            let waits = stuck.then_some(Waits { partition: PartitionKey(1), of: 1, keyed: false });
            let reserve = Reserve::Now { step: 500, full: 500 };
            acc.open(Instant::ZERO, Place { waits, ..place(0) }, TIMES, reserve);
            open(&mut acc, Instant::ZERO, 300);
            let first = BatchId(0);
            acc.seal(first, sealed(400));
            let fill = 1000 - acc.memory().used();
            assert!(acc.memory.try_reserve(fill));
            let reserve = Reserve::Now { step: 1, full: 100 };
            assert!(matches!(acc.open(Instant::ZERO, place(1), TIMES, reserve), Open::Wait(_)));
            assert_eq!(acc.poll_seal(), asked, "stuck: {stuck}");
            assert_eq!(acc.stuck_bytes > 0, stuck);
            acc.bind(first, PartitionId(7), (0, 1));
            assert_eq!(acc.stuck_bytes, 0);
            acc.finish(first);
            assert_eq!((acc.sealed_bytes, acc.stuck_bytes), (0, 0));
        }
    }

    #[test]
    fn who_is_asked_to_deal_a_batch_out_is_asked_again_only_after_an_answer() {
        let mut acc = Accumulator::new(1000);
        let id = open(&mut acc, Instant::ZERO, 10);
        assert!(acc.note_reroute(id, true), "nobody was asked before");
        assert!(!acc.note_reroute(id, true), "the answer is still to come");
        assert!(acc.note_reroute(id, false) && !acc.note_reroute(id, false));
        assert!(acc.note_reroute(id, true), "the answer came too late to be of use");
        acc.finish(id);
        assert!(!acc.note_reroute(id, true), "there is nothing to deal out any more");
    }

    #[test]
    fn parts_take_the_place_of_a_batch_with_its_deadline_and_its_memory() {
        let mut acc = Accumulator::new(10_000);
        let waits = Some(Waits { partition: PartitionKey(1), of: 1, keyed: true });
        let reserve = Reserve::Now { step: 500, full: 500 };
        acc.open(Instant::ZERO, Place { waits, ..place(0) }, TIMES, reserve);
        acc.seal(BatchId(0), sealed(400));
        let parts = vec![(2, sealed(300)), (0, sealed(200))];
        let size = parts.iter().map(|(_, sealed)| sealed.size() as u64).sum::<u64>();
        let behind = open(&mut acc, Instant::ZERO, 10);
        let split = acc.split(BatchId(0), (PartitionId(7), 3), parts).expect("it is there");
        let key = |bucket| BucketKey { partition: Some(PartitionId(7)), bucket, ..place(0).bucket };
        assert_eq!(split.iter().map(|(_, key)| *key).collect::<Vec<_>>(), [key(2), key(0)]);
        // Its rows were handed in before those of the batch that was opened meanwhile.
        let rank = |id| acc.get(id).map(|batch| batch.rank);
        assert!(split.iter().all(|(part, _)| rank(part.batch) == Some(*part)));
        assert!(split.iter().all(|(part, _)| part.batch > behind && Some(*part) < rank(behind)));
        acc.finish(behind);
        // The queue it is in is looked for by what it says itself, should it end unsent.
        for (rank, key) in &split {
            assert_eq!(
                acc.get(rank.batch).map(|part| (part.bucket, part.of)),
                Some((*key, Some(3)))
            );
        }
        assert_eq!((acc.memory().used(), acc.sealed_bytes, acc.stuck_bytes), (size, size, 0));
        assert!(
            acc.get(BatchId(0)).is_none()
                && acc.split(BatchId(0), (PartitionId(7), 3), vec![]).is_none()
        );
        let due = Instant::from_millis(1000);
        assert_eq!(acc.poll_expired(due), Some(split[0].0.batch));
        assert_eq!(acc.poll_expired(due), Some(split[1].0.batch));
        assert_eq!(acc.poll_expired(due), None);
        split.iter().for_each(|(rank, _)| drop(acc.finish(rank.batch)));
        assert_eq!((acc.memory().used(), acc.sealed_bytes), (0, 0));
    }

    #[test]
    fn a_waiter_makes_everything_open_go_and_is_served_by_what_ends() {
        let mut acc = Accumulator::new(100);
        let first = open(&mut acc, Instant::ZERO, 80);
        let reserve = Reserve::Now { step: 50, full: 50 };
        let Open::Wait(waiter) = acc.open(Instant::ZERO, place(1), TIMES, reserve) else {
            panic!("more was granted than there is")
        };
        assert_eq!(acc.poll_seal(), Some((first, LaneId(0))));
        acc.finish(first);
        assert_eq!(acc.poll_granted(), Some(waiter));
        let again = acc.open(Instant::ZERO, place(1), TIMES, Reserve::Granted(waiter));
        assert!(matches!(again, Open::Granted { reserved: 50, .. }));
        assert_eq!(acc.memory().used(), 50);
    }
}
