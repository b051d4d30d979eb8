//! One writer handle's open batches: where rows are encoded, outside the core's lock.
//!
//! Each handle has a lane of its own, so two threads with a handle each never touch the same
//! columns. The lane's lock is taken once for a row or a run of rows; besides its owner only the
//! driver takes it, to seal a batch whose linger is over, and never waits for it.

mod many;
mod open;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

pub(super) use many::{Many, Progress};

use super::cell::BatchCell;
use super::dead_letter::Letters;
use super::flush::Failures;
pub(super) use super::format::{Format, Op};
use super::shared::{Core, SealOnDemand, Shared, Wake};
use super::signal::{lock, lock_in};
use super::slots::{Home, OpenBatch, Places, Slot, Target};
use super::ticket::RunTicket;
use crate::batch::{BodyPool, Push};
use crate::error::{Error, Result, WriteError};
use crate::ids::{BatchId, LaneId};
use crate::output::BatchOutcome;
use crate::row::{Row, RowError};
use crate::writer::WaiterId;

/// The bytes a batch reserves when it opens; it grows from there by doubling.
const FIRST_STEP: usize = 16 << 10;
/// Body buffers kept for the next batches of a lane.
const KEPT_BODIES: usize = 2;

/// What the lane's lock guards.
struct Slots<F: Format> {
    places: Places<F::Builder>,
    /// The places of open batches.
    by_batch: HashMap<BatchId, usize>,
    /// A builder without a batch; one is enough for a lane that fills bucket after bucket.
    spare: Option<F::Builder>,
    bodies: BodyPool,
    /// Rows taken so far.
    handed_in: u64,
    /// Whom to wake when the lock is released: a waker may poll in place, and what it polls may
    /// want this lane.
    wake: Wake,
}

/// What the lane's lock guards: the batches, and beside them what rows are encoded in.
struct Guarded<F: Format> {
    slots: Slots<F>,
    scratch: F::Scratch,
}

/// See the module's text.
pub(crate) struct Lane<F: Format> {
    pub(crate) id: LaneId,
    pub(super) shared: Arc<Shared>,
    pub(super) format: Arc<F>,
    failures: Arc<Failures>,
    pub(super) letters: Letters,
    max_bytes: usize,
    memory_limit: u64,
    guarded: Mutex<Guarded<F>>,
    /// The thread that holds the lock while rows are put, by its number; 0 for none. Code of the
    /// application runs meanwhile (an iterator, a row), which may want the lane once more.
    holder: AtomicU64,
    /// The driver wanted to seal something while the lane was locked.
    asked: AtomicBool,
    asked_for: Mutex<Vec<BatchId>>,
}

impl<F: Format> std::fmt::Debug for Lane<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Where a row went.
#[derive(Debug)]
pub enum Pushed {
    /// Into a batch: its place in the lane (see [`Run::cell`]) and the row's index in it.
    In(usize, u32),
    /// Nowhere yet: there is no memory; the grant of this waiter must be awaited.
    Wait(WaiterId),
    /// Nowhere yet: its partition has another number of buckets than was thought, which the lane
    /// knows now, or must be asked for again. Only seen where rows are routed.
    Rebucketed,
}

/// What came of opening a batch.
enum Opened {
    Open,
    Wait(WaiterId),
    /// The partition has this number of buckets; None: its route leads nowhere any more.
    Elsewhere(Option<i32>),
}

/// The lane's lock, held for a run of rows. What the driver asked for meanwhile is done when it is
/// released.
pub struct Run<'a, F: Format> {
    lane: &'a Lane<F>,
    guarded: Option<MutexGuard<'a, Guarded<F>>>,
}

/// A lane's batches while its lock is held, apart from the scratch buffers.
pub(crate) struct Batches<'a, F: Format> {
    lane: &'a Lane<F>,
    slots: &'a mut Slots<F>,
}

impl<F: Format> Lane<F> {
    pub(crate) fn new(
        id: LaneId,
        shared: Arc<Shared>,
        format: Arc<F>,
        failures: Arc<Failures>,
        letters: Letters,
        max_bytes: usize,
    ) -> Self {
        let memory_limit = shared.with(|core, _| core.client.config().memory_limit);
        let slots = Slots {
            // Lanes begin at different buckets, so that few rows spread too.
            places: Places::new(id.0 as usize, format.spreads_rows()),
            by_batch: HashMap::new(),
            spare: None,
            bodies: BodyPool::new(KEPT_BODIES, max_bytes.saturating_mul(2)),
            handed_in: 0,
            wake: Wake::default(),
        };
        let guarded = Guarded { slots, scratch: F::Scratch::default() };
        Self {
            id,
            shared,
            format,
            failures,
            letters,
            max_bytes,
            memory_limit,
            guarded: Mutex::new(guarded),
            holder: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            asked_for: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    pub(super) fn new_cell(&self, first: u64) -> BatchCell {
        BatchCell::new(Arc::clone(&self.shared), Arc::clone(&self.failures), first)
    }

    /// Lets go of the lock, then wakes whoever is to be woken.
    #[inline]
    fn release(&self, mut guarded: MutexGuard<'_, Guarded<F>>) {
        if guarded.slots.wake.is_empty() {
            return;
        }
        let wake = std::mem::take(&mut guarded.slots.wake);
        drop(guarded);
        self.shared.fire(wake);
    }

    pub(crate) fn run(&self) -> Run<'_, F> {
        let guarded = match self.guarded.try_lock() {
            Ok(guarded) => Some(guarded),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => self.wait_for_lock(),
        };
        if guarded.is_some() {
            self.holder.store(self.shared.thread(), Ordering::Relaxed);
        }
        Run { lane: self, guarded }
    }

    /// The lock once it is free; None if that is never.
    #[cold]
    fn wait_for_lock(&self) -> Option<MutexGuard<'_, Guarded<F>>> {
        // In the child of a fork, a thread may have it that no longer exists. Or this one has it.
        let never = self.shared.is_foreign() || self.is_held_here();
        (!never).then(|| lock(&self.guarded))
    }

    /// Why a lock that is never to be had is not.
    #[cold]
    fn refusal(&self) -> Error {
        if self.shared.is_foreign() {
            return self.shared.explain(Error::Closed("writer"));
        }
        let what = "a row, or an iterator of rows, uses the handle that takes it; give it a clone \
                    of the handle";
        Error::misuse(what)
    }

    /// Why this very thread cannot have the lock, as far as it can be told without a wait for it.
    pub(crate) fn refusal_here(&self) -> Option<Error> {
        self.is_held_here().then(|| self.refusal())
    }

    /// Whether this very thread has the lock.
    fn is_held_here(&self) -> bool {
        self.holder.load(Ordering::Relaxed) == self.shared.thread()
    }

    /// Seals the open batch at this place and hands it to the core.
    fn seal_at(&self, slots: &mut Slots<F>, at: usize) {
        let partition = self.letters.is_wanted().then(|| slots.places.partition_at(at)).flatten();
        let slot = &mut slots.places.slots[at];
        let Some(mut open) = slot.open.take() else { return };
        slot.sealed = Some(Arc::clone(&open.cell));
        slots.by_batch.remove(&open.id);
        let rows = F::rows(&open.builder);
        if rows == 0 {
            self.shared.with_later(&mut slots.wake, |core, now| {
                core.forget_batch(open.id);
                core.client.abandon_batch(open.id, now);
            });
            slots.spare = Some(open.builder);
            return;
        }
        if open.cell.is_done() {
            // The core ended it, and its outcome is told.
            open.cell.count_late_rows();
            self.return_rows(slots, &mut open, partition);
            F::clear(&mut open.builder);
            slots.spare = Some(open.builder);
            return;
        }
        let sealed = self.format.seal(&mut open.builder, &mut slots.bodies);
        match sealed {
            Ok(sealed) => {
                open.cell.keep(self.letters.keep(&self.format, &sealed, partition));
                self.shared.with_later(&mut slots.wake, |core, now| {
                    core.client.submit_batch(open.id, sealed, now);
                });
            }
            Err(error) => {
                // Nothing of it was handed to anybody: the rows are not written.
                let outcome = BatchOutcome::Failed(WriteError::NotWritten(error.into()));
                self.shared.with_later(&mut slots.wake, |core, now| {
                    core.forget_batch(open.id);
                    core.client.abandon_batch(open.id, now);
                });
                open.cell.keep(self.letters.keep_open(&self.format, &mut open.builder, partition));
                open.cell.complete(outcome, &mut slots.wake);
                F::clear(&mut open.builder);
            }
        }
        // It may have ended while it was sealed, or while its last row was put.
        if open.cell.is_done() {
            open.cell.count_late_rows();
            slots.wake.deliveries.extend(open.cell.kept_too_late());
        }
        slots.spare = Some(open.builder);
    }

    /// Gives back the rows of a batch that ended before it was sealed.
    #[cold]
    fn return_rows(
        &self,
        slots: &mut Slots<F>,
        open: &mut OpenBatch<F::Builder>,
        partition: Option<Arc<str>>,
    ) {
        open.cell.keep(self.letters.keep_open(&self.format, &mut open.builder, partition));
        slots.wake.deliveries.extend(open.cell.kept_too_late());
    }

    /// Forgets the partitions that nothing is open for.
    #[cold]
    fn sweep(&self, slots: &mut Slots<F>) {
        for at in 0..slots.places.slots.len() {
            // Batches that the core ended are open here until somebody looks.
            if slots.places.slots[at].open.as_ref().is_some_and(|open| open.cell.is_done()) {
                self.seal_at(slots, at);
            }
        }
        let now_at = slots.places.sweep();
        for at in slots.by_batch.values_mut() {
            // A place with an open batch stays.
            *at = now_at.get(*at).copied().flatten().unwrap_or(*at);
        }
    }

    fn seal_asked(&self, slots: &mut Slots<F>) {
        let asked = lock_in(&self.asked_for, || self.shared.is_foreign());
        let asked = asked.map(|mut asked| std::mem::take(&mut *asked)).unwrap_or_default();
        for batch in asked {
            if let Some(at) = slots.by_batch.get(&batch).copied() {
                self.seal_at(slots, at);
            }
        }
    }
}

impl<F: Format> SealOnDemand for Lane<F> {
    fn seal(&self, batches: &[BatchId]) -> bool {
        lock(&self.asked_for).extend(batches);
        self.asked.store(true, Ordering::SeqCst);
        let mut guarded = match self.guarded.try_lock() {
            Ok(guarded) => guarded,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        self.asked.store(false, Ordering::SeqCst);
        self.seal_asked(&mut guarded.slots);
        self.release(guarded);
        true
    }

    fn reroute(&self, batch: BatchId, buckets: i32) {
        self.deal_out(batch, buckets);
    }
}

impl<F: Format> Drop for Run<'_, F> {
    #[inline]
    fn drop(&mut self) {
        let Some(guarded) = self.guarded.take() else { return };
        self.lane.holder.store(0, Ordering::Relaxed);
        self.lane.release(guarded);
        // A plain load, as a read-modify-write for each row would cost as much as its columns. It
        // may miss a wish that comes this very moment; the driver then asks again.
        if self.lane.asked.load(Ordering::Relaxed) {
            self.lane.answer();
        }
    }
}

impl<F: Format> Lane<F> {
    /// Partitions that the lane remembers.
    #[cfg(test)]
    pub(super) fn routes(&self) -> usize {
        lock(&self.guarded).slots.places.routes()
    }

    /// Forgets that the driver asked, as if the wish had come in the wrong moment.
    #[cfg(test)]
    pub(super) fn overlook(&self) {
        self.asked.store(false, Ordering::SeqCst);
    }

    /// Seals what the driver asked for while the lane was locked.
    #[cold]
    fn answer(&self) {
        // If another owner has the lane, it looks when it lets go.
        if let Ok(mut guarded) = self.guarded.try_lock() {
            self.asked.store(false, Ordering::SeqCst);
            self.seal_asked(&mut guarded.slots);
            self.release(guarded);
        }
    }
}

impl<F: Format> Run<'_, F> {
    /// Why nothing can be done with the lane, if that is so.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.guarded.is_none().then(|| self.lane.refusal())
    }

    /// The scratch buffers, and the batches to put into what was encoded there.
    #[inline]
    pub(crate) fn parts(&mut self) -> Result<(&mut F::Scratch, Batches<'_, F>)> {
        let Some(guarded) = self.guarded.as_deref_mut() else {
            return Err(self.lane.refusal());
        };
        let Guarded { slots, scratch } = guarded;
        Ok((scratch, Batches { lane: self.lane, slots }))
    }

    /// Where the outcome of the row appears that was pushed last at this place.
    #[inline]
    pub(crate) fn cell(&self, at: usize) -> Result<&Arc<BatchCell>> {
        let slot = self.guarded.as_deref().and_then(|guarded| guarded.slots.places.slots.get(at));
        match slot {
            Some(Slot { open: Some(open), .. }) => Ok(&open.cell),
            Some(Slot { sealed: Some(sealed), .. }) => Ok(sealed),
            // Not made in advance: it would have to be dropped with every row.
            _ => Err(Error::Closed("writer")),
        }
    }

    /// Tells a run's ticket of the rows that were pushed last at this place: so many, the last one
    /// with this index.
    #[inline]
    pub(crate) fn note(
        &mut self,
        at: usize,
        count: u32,
        last: u32,
        ticket: &mut RunTicket,
    ) -> Result<()> {
        let slots = self.guarded.as_deref_mut().map(|guarded| &mut guarded.slots.places.slots);
        match slots.and_then(|slots| slots.get_mut(at)) {
            Some(Slot { open: Some(OpenBatch { cell, .. }), hint, .. })
            | Some(Slot { sealed: Some(cell), hint, .. }) => ticket.push(hint, count, cell, last),
            _ => return Err(Error::Closed("writer")),
        }
        Ok(())
    }

    /// Gives back a row that was refused, when the lock is released. The answer is the error with
    /// what the row has to say about it.
    #[cold]
    pub(crate) fn refuse<R: Row + ?Sized>(&mut self, op: Op, row: &R, error: Error) -> Error {
        let Error::Row(error) = error else { return error };
        let lane = self.lane;
        let error = Error::Row(error.of_row(lane.format.columns(op), row));
        if let Some(guarded) = self.guarded.as_deref_mut() {
            let delivery = lane.letters.refuse(&*lane.format, op, row, &error);
            guarded.slots.wake.deliveries.extend(delivery);
        }
        error
    }

    /// Counts a row of a run that was refused: nobody but its ticket and flush knows of it, where a
    /// row by itself has its error at once.
    #[cold]
    pub(crate) fn count_refused(&mut self, error: &Error) {
        if let Some(guarded) = self.guarded.as_deref_mut() {
            self.lane.failures.refused(guarded.slots.handed_in, error);
            guarded.slots.handed_in += 1;
        }
    }

    /// Seals everything that is open.
    pub(crate) fn seal_all(&mut self) {
        if let Some(guarded) = self.guarded.as_deref_mut() {
            let slots = &mut guarded.slots;
            (0..slots.places.slots.len()).for_each(|at| self.lane.seal_at(slots, at));
        }
    }

    /// Ends the lane: what is open is sealed, no memory is kept for further rows, and the next
    /// lane, which nobody else knows yet, counts its rows on from here. False if nothing can be
    /// done with this one.
    #[cold]
    pub(crate) fn hand_over(&mut self, next: &Lane<F>) -> bool {
        self.seal_all();
        let Some(guarded) = self.guarded.as_deref_mut() else { return false };
        let slots = &mut guarded.slots;
        slots.spare = None;
        slots.bodies.clear();
        lock(&next.guarded).slots.handed_in = slots.handed_in;
        true
    }
}

impl<F: Format> Batches<'_, F> {
    /// The route to the partition with this name, and its number of buckets.
    #[inline]
    pub(crate) fn route(&mut self, name: &str) -> Result<(usize, i32)> {
        match self.slots.places.route(name) {
            Some(found) => Ok(found),
            None => self.new_route(name),
        }
    }

    #[cold]
    fn new_route(&mut self, name: &str) -> Result<(usize, i32)> {
        let Self { lane, slots } = self;
        if slots.places.is_crowded() {
            lane.sweep(slots);
        }
        let ask = |core: &mut Core, now| core.client.writer_partition(lane.id, name, now);
        let (key, buckets) = lane
            .shared
            .with_later(&mut slots.wake, ask)
            .map_err(|error| lane.shared.explain(error))?;
        slots.places.add_route(name, key, buckets);
        slots.places.route(name).ok_or(Error::Closed("writer"))
    }

    /// Puts a row into a partition's batch. `bucket` chooses the bucket from so many; None: any.
    #[inline]
    pub(crate) fn push_to_partition(
        &mut self,
        name: &str,
        bucket: impl Fn(i32) -> std::result::Result<Option<i32>, RowError>,
        hint: usize,
        mut granted: Option<WaiterId>,
        mut push: impl FnMut(&mut F::Builder) -> std::result::Result<Push, RowError>,
    ) -> Result<Pushed> {
        loop {
            let (route, buckets) = self.route(name)?;
            let target = Target::Partition { route, bucket: bucket(buckets)? };
            match self.push(target, hint, granted.take(), &mut push)? {
                // Its number of buckets is known now, or it is looked for again.
                Pushed::Rebucketed => {}
                pushed => return Ok(pushed),
            }
        }
    }

    /// Puts a row into the open batch of its bucket, opening and sealing batches as needed.
    ///
    /// `push` is called again for the next batch when it answers [`Push::Full`]. `granted` is a
    /// waiter whose memory was granted. `hint` is the row's size, roughly.
    #[inline]
    pub(crate) fn push(
        &mut self,
        target: Target,
        hint: usize,
        granted: Option<WaiterId>,
        push: impl FnMut(&mut F::Builder) -> std::result::Result<Push, RowError>,
    ) -> Result<Pushed> {
        match granted {
            // Almost always. The result is not looked at on its way, as copying it costs as much
            // as several columns.
            None => self.push_or_wait(target, hint, &mut None, push),
            Some(_) => self.push_granted(target, hint, granted, push),
        }
    }

    #[cold]
    fn push_granted(
        &mut self,
        target: Target,
        hint: usize,
        mut granted: Option<WaiterId>,
        push: impl FnMut(&mut F::Builder) -> std::result::Result<Push, RowError>,
    ) -> Result<Pushed> {
        let pushed = self.push_or_wait(target, hint, &mut granted, push);
        if let Some(unused) = granted {
            // The row found a batch that another one had opened meanwhile, or did not fit at all.
            let give_back = |core: &mut Core, now| core.drop_memory(unused, now);
            self.lane.shared.with_later(&mut self.slots.wake, give_back);
        }
        pushed
    }

    #[inline]
    fn push_or_wait(
        &mut self,
        target: Target,
        mut hint: usize,
        granted: &mut Option<WaiterId>,
        mut push: impl FnMut(&mut F::Builder) -> std::result::Result<Push, RowError>,
    ) -> Result<Pushed> {
        let Self { lane, slots } = self;
        let mut at = slots.places.place(target, granted.is_some());
        if slots.places.slots[at].open.as_ref().is_some_and(|open| open.cell.is_done()) {
            // It ended while it was open (close, table gone): this row is none of it.
            lane.seal_at(slots, at);
        }
        loop {
            let Some(open) = &mut slots.places.slots[at].open else {
                match lane.open(slots, at, hint, granted.take())? {
                    Opened::Open => continue,
                    Opened::Wait(waiter) => return Ok(Pushed::Wait(waiter)),
                    Opened::Elsewhere(buckets) => {
                        if let Home::Partition(_, route) = slots.places.slots[at].home {
                            match buckets {
                                Some(buckets) => slots.places.rebucket(route, buckets),
                                None => slots.places.drop_route(route),
                            }
                        }
                        return Ok(Pushed::Rebucketed);
                    }
                }
            };
            let before = F::rows(&open.builder);
            match push(&mut open.builder) {
                Ok(Push::Pushed(index)) => {
                    // One row, or a run of them of which this is the last.
                    slots.handed_in += u64::from(index + 1 - before);
                    open.cell.set_rows(index + 1, slots.handed_in - 1);
                    let needed = F::memory(&open.builder);
                    if needed > open.reserved && !lane.grow(open, &mut slots.wake) {
                        lane.seal_at(slots, at);
                    }
                    return Ok(Pushed::In(at, index));
                }
                Ok(Push::Full) => {
                    if let Some(wanted) = F::wanted(&open.builder) {
                        if lane.reserve(open, wanted.batch, &mut slots.wake) {
                            continue;
                        }
                        hint = hint.max(wanted.alone);
                    }
                    lane.seal_at(slots, at);
                    at = slots.places.place(target, false);
                }
                Err(error) => {
                    if F::rows(&open.builder) == 0 {
                        // Opened for this row alone.
                        lane.seal_at(slots, at);
                    }
                    return Err(Error::Row(error));
                }
            }
        }
    }
}
