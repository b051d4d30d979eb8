//! One writer handle's open batches: where rows are encoded, outside the core's lock.
//!
//! Each handle has a lane of its own, so two threads with a handle each never touch the same
//! columns. The lane's lock is taken once for a row or a run of rows; besides its owner only the
//! driver takes it, to seal a batch whose linger is over, and never waits for it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use fluss_proto::record::SealedBatch;

use super::cell::{BatchCell, Failures};
use super::shared::{Core, SealOnDemand, Shared, Wake};
use super::signal::lock;
use crate::batch::{BodyPool, Push};
use crate::error::{Error, Result, WriteError};
use crate::ids::{BatchId, BucketKey, LaneId};
use crate::output::BatchOutcome;
use crate::row::{Row, RowError};
use crate::writer::{Open, Reserve, WaiterId};

/// The bytes a batch reserves when it opens; it grows from there by doubling.
const FIRST_STEP: usize = 16 << 10;
/// Body buffers kept for the next batches of a lane.
const KEPT_BODIES: usize = 2;

/// What makes batches of a table: log batches or KV batches.
pub trait Format: Send + Sync + 'static {
    /// Encodes rows of one batch, and is used again for the next.
    type Builder: Send;

    /// A builder without rows.
    fn builder(&self) -> Result<Self::Builder>;

    /// The size of the batch as it would be sealed now, at most.
    fn size(builder: &Self::Builder) -> usize;

    /// The number of rows.
    fn rows(builder: &Self::Builder) -> u32;

    /// Buffers that routing and encoding use again for each row.
    type Scratch: Default + Send;

    /// Turns the rows into a batch and empties the builder.
    fn seal(&self, builder: &mut Self::Builder, body: Vec<u8>) -> Result<SealedBatch>;

    /// Forgets all rows.
    fn clear(builder: &mut Self::Builder);

    /// Routes and encodes a row into the batch of its bucket.
    fn put<R: Row + ?Sized>(
        &self,
        run: &mut Run<'_, Self>,
        op: Op,
        row: &R,
        granted: Option<WaiterId>,
    ) -> Result<Pushed>
    where
        Self: Sized;
}

/// What is to be done with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Append it to a log table.
    Append,
    /// Insert it, or replace the row with its key.
    Upsert,
    /// Delete the row with its key.
    Delete,
}

struct OpenBatch<B> {
    id: BatchId,
    cell: Arc<BatchCell>,
    reserved: usize,
    builder: B,
}

/// What the lane's lock guards.
pub(super) struct Slots<F: Format> {
    open: Vec<(BucketKey, Option<OpenBatch<F::Builder>>)>,
    /// A builder without a batch; one is enough for a lane that fills bucket after bucket.
    spare: Option<F::Builder>,
    bodies: BodyPool,
    scratch: F::Scratch,
    /// Rows taken so far.
    handed_in: u64,
    /// Whom to wake when the lock is released: a waker may poll in place, and what it polls may
    /// want this lane.
    wake: Wake,
}

/// See the module's text.
pub(crate) struct Lane<F: Format> {
    pub(crate) id: LaneId,
    shared: Arc<Shared>,
    format: Arc<F>,
    failures: Arc<Failures>,
    max_bytes: usize,
    memory_limit: u64,
    slots: Mutex<Slots<F>>,
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
    /// Into the batch of this cell, at this index.
    In(Arc<BatchCell>, u32),
    /// Nowhere yet: there is no memory; the grant of this waiter must be awaited.
    Wait(WaiterId),
}

/// The lane's lock, held for a run of rows. What the driver asked for meanwhile is done when it is
/// released.
pub struct Run<'a, F: Format> {
    lane: &'a Lane<F>,
    slots: Option<MutexGuard<'a, Slots<F>>>,
}

impl<F: Format> Lane<F> {
    pub(crate) fn new(
        id: LaneId,
        shared: Arc<Shared>,
        format: Arc<F>,
        failures: Arc<Failures>,
        max_bytes: usize,
    ) -> Self {
        let memory_limit = shared.with(|core, _| core.client.config().memory_limit);
        let slots = Slots {
            open: Vec::new(),
            spare: None,
            bodies: BodyPool::new(KEPT_BODIES, max_bytes.saturating_mul(2)),
            scratch: F::Scratch::default(),
            handed_in: 0,
            wake: Wake::default(),
        };
        Self {
            id,
            shared,
            format,
            failures,
            max_bytes,
            memory_limit,
            slots: Mutex::new(slots),
            asked: AtomicBool::new(false),
            asked_for: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    fn new_cell(&self, first: u64) -> BatchCell {
        BatchCell::new(Arc::clone(&self.shared), Arc::clone(&self.failures), first)
    }

    /// Lets go of the lock, then wakes whoever is to be woken.
    fn release(&self, mut slots: MutexGuard<'_, Slots<F>>) {
        let wake = std::mem::take(&mut slots.wake);
        drop(slots);
        self.shared.fire(wake);
    }

    pub(crate) fn run(&self) -> Run<'_, F> {
        Run { lane: self, slots: Some(lock(&self.slots)) }
    }

    /// Seals the open batch at this place and hands it to the core.
    fn seal_at(&self, slots: &mut Slots<F>, at: usize) {
        let Some(mut open) = slots.open[at].1.take() else { return };
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
            F::clear(&mut open.builder);
            slots.spare = Some(open.builder);
            return;
        }
        let body = slots.bodies.take(F::size(&open.builder));
        let sealed = self.format.seal(&mut open.builder, body);
        match sealed {
            Ok(sealed) => {
                self.shared.with_later(&mut slots.wake, |core, now| {
                    core.client.submit_batch(open.id, sealed, now);
                });
            }
            Err(error) => {
                // Nothing of it was handed to anybody: the rows are not written.
                let outcome = BatchOutcome::Failed(WriteError::NotWritten(error));
                self.shared.with_later(&mut slots.wake, |core, now| {
                    core.forget_batch(open.id);
                    core.client.abandon_batch(open.id, now);
                });
                open.cell.complete(outcome, &mut slots.wake.wakers);
                F::clear(&mut open.builder);
            }
        }
        slots.spare = Some(open.builder);
    }

    fn seal_asked(&self, slots: &mut Slots<F>) {
        let asked = std::mem::take(&mut *lock(&self.asked_for));
        if asked.is_empty() {
            return;
        }
        // One look at the buckets for all of them: a linger often ends for many at once.
        let asked: HashSet<BatchId> = asked.into_iter().collect();
        for at in 0..slots.open.len() {
            if slots.open[at].1.as_ref().is_some_and(|open| asked.contains(&open.id)) {
                self.seal_at(slots, at);
            }
        }
    }
}

impl<F: Format> SealOnDemand for Lane<F> {
    fn seal(&self, batches: Vec<BatchId>) -> bool {
        lock(&self.asked_for).extend(batches);
        self.asked.store(true, Ordering::SeqCst);
        // A holder of the lock looks at `asked` after it let go; whoever comes second seals.
        let mut slots = match self.slots.try_lock() {
            Ok(slots) => slots,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        self.asked.store(false, Ordering::SeqCst);
        self.seal_asked(&mut slots);
        self.release(slots);
        true
    }
}

impl<F: Format> Drop for Run<'_, F> {
    fn drop(&mut self) {
        if let Some(slots) = self.slots.take() {
            self.lane.release(slots);
        }
        while self.lane.asked.swap(false, Ordering::SeqCst) {
            match self.lane.slots.try_lock() {
                Ok(mut slots) => {
                    self.lane.seal_asked(&mut slots);
                    self.lane.release(slots);
                }
                // Another owner has it, and will look when it lets go.
                Err(_) => {
                    self.lane.asked.store(true, Ordering::SeqCst);
                    if self.lane.slots.try_lock().is_err() {
                        return;
                    }
                }
            }
        }
    }
}

impl<F: Format> Run<'_, F> {
    /// Puts a row into the open batch of a bucket, opening and sealing batches as needed.
    ///
    /// `push` is called again for the next batch when it answers [`Push::Full`]; `next` names the
    /// bucket of that batch. `granted` is a waiter whose memory was granted. `hint` is the row's
    /// size, roughly.
    pub(crate) fn push(
        &mut self,
        bucket: BucketKey,
        hint: usize,
        mut granted: Option<WaiterId>,
        next: impl FnMut() -> BucketKey,
        push: impl FnMut(&mut F::Builder) -> std::result::Result<Push, RowError>,
    ) -> Result<Pushed> {
        let pushed = self.push_or_wait(bucket, hint, &mut granted, next, push);
        if let (Some(unused), Some(slots)) = (granted, self.slots.as_deref_mut()) {
            // The row found a batch that another one had opened meanwhile, or did not fit at all.
            let shared = &self.lane.shared;
            shared.with_later(&mut slots.wake, |core, now| core.drop_memory(unused, now));
        }
        pushed
    }

    fn push_or_wait(
        &mut self,
        bucket: BucketKey,
        hint: usize,
        granted: &mut Option<WaiterId>,
        mut next: impl FnMut() -> BucketKey,
        mut push: impl FnMut(&mut F::Builder) -> std::result::Result<Push, RowError>,
    ) -> Result<Pushed> {
        let lane = self.lane;
        let Some(slots) = self.slots.as_deref_mut() else { return Err(Error::Closed("writer")) };
        let mut at = slots.place(bucket);
        if slots.open[at].1.as_ref().is_some_and(|open| open.cell.is_done()) {
            // It ended while it was open (close, table gone): this row is none of it.
            lane.seal_at(slots, at);
        }
        loop {
            if slots.open[at].1.is_none()
                && let Some(waiter) = lane.open(slots, at, hint, granted.take())?
            {
                return Ok(Pushed::Wait(waiter));
            }
            let Some(open) = &mut slots.open[at].1 else { continue };
            match push(&mut open.builder) {
                Ok(Push::Pushed(index)) => {
                    slots.handed_in += 1;
                    open.cell.set_rows(index + 1, slots.handed_in - 1);
                    let cell = Arc::clone(&open.cell);
                    if F::size(&open.builder) > open.reserved && !lane.grow(open, &mut slots.wake) {
                        lane.seal_at(slots, at);
                    }
                    return Ok(Pushed::In(cell, index));
                }
                Ok(Push::Full) => {
                    lane.seal_at(slots, at);
                    at = slots.place(next());
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

    /// Takes the scratch buffers out, to be put back when the row is done.
    pub(crate) fn take_scratch(&mut self) -> F::Scratch {
        self.slots.as_deref_mut().map(|s| std::mem::take(&mut s.scratch)).unwrap_or_default()
    }

    pub(crate) fn put_scratch(&mut self, scratch: F::Scratch) {
        if let Some(slots) = self.slots.as_deref_mut() {
            slots.scratch = scratch;
        }
    }

    /// Whether a batch is open for this bucket.
    pub(crate) fn is_open(&mut self, bucket: BucketKey) -> bool {
        self.slots.as_deref_mut().is_some_and(|s| {
            let at = s.place(bucket);
            s.open[at].1.is_some()
        })
    }

    /// Seals everything that is open.
    pub(crate) fn seal_all(&mut self) {
        if let Some(slots) = self.slots.as_deref_mut() {
            (0..slots.open.len()).for_each(|at| self.lane.seal_at(slots, at));
        }
    }
}

impl<F: Format> Slots<F> {
    fn place(&mut self, bucket: BucketKey) -> usize {
        // Buckets of an unpartitioned table stand at their own number: those below make room first.
        let guess = usize::try_from(bucket.bucket).unwrap_or(0);
        if bucket.partition.is_none() {
            for number in self.open.len()..=guess {
                self.open.push((BucketKey { bucket: number as i32, ..bucket }, None));
            }
        }
        if self.open.get(guess).is_some_and(|(key, _)| *key == bucket) {
            return guess;
        }
        if let Some(at) = self.open.iter().position(|(key, _)| *key == bucket) {
            return at;
        }
        self.open.push((bucket, None));
        self.open.len() - 1
    }
}

impl<F: Format> Lane<F> {
    /// Opens a batch; Some(waiter) if there is no memory for it.
    fn open(
        &self,
        slots: &mut Slots<F>,
        at: usize,
        hint: usize,
        granted: Option<WaiterId>,
    ) -> Result<Option<WaiterId>> {
        let builder = match slots.spare.take() {
            Some(builder) => builder,
            None => self.format.builder()?,
        };
        let bucket = slots.open[at].0;
        let reserve = match granted {
            Some(waiter) => Reserve::Granted(waiter),
            None => self.wish(hint),
        };
        let handed_in = slots.handed_in;
        let opened = self.shared.with_later(&mut slots.wake, |core, now| {
            let open = core.client.open_batch(self.id, bucket, reserve, now)?;
            match open {
                Open::Granted { batch: id, reserved } => {
                    let cell = Arc::new(self.new_cell(handed_in));
                    core.watch_batch(id, Arc::clone(&cell));
                    let body = core.client.take_body();
                    Ok(Ok((id, reserved, cell, body)))
                }
                Open::Wait(waiter) => {
                    core.watch_memory(waiter);
                    Ok(Err(waiter))
                }
            }
        });
        match opened {
            Ok(Ok((id, reserved, cell, body))) => {
                if let Some(body) = body {
                    slots.bodies.give(body);
                }
                slots.open[at].1 =
                    Some(OpenBatch { id, cell, reserved: reserved as usize, builder });
                Ok(None)
            }
            Ok(Err(waiter)) => {
                slots.spare = Some(builder);
                Ok(Some(waiter))
            }
            Err(error) => {
                slots.spare = Some(builder);
                Err(error)
            }
        }
    }

    /// What a batch needs that opens for a row of about `hint` bytes.
    fn wish(&self, hint: usize) -> Reserve {
        let step = FIRST_STEP.min(self.max_bytes).max(hint) as u64;
        Reserve::Now { step, full: self.full_step().max(step) }
    }

    /// What a batch reserves at once while memory is short. Small budgets are shared: nobody asks
    /// for more than a sixteenth.
    pub(crate) fn full_step(&self) -> u64 {
        (self.max_bytes as u64).min(self.memory_limit / 16).max(1)
    }

    /// Reserves more for a growing batch; false: seal it as it is.
    #[cold]
    fn grow(&self, open: &mut OpenBatch<F::Builder>, wake: &mut Wake) -> bool {
        let size = F::size(&open.builder);
        let target = (open.reserved * 2).clamp(size, self.max_bytes.max(size));
        let extra = target - open.reserved;
        let grow = |core: &mut Core, _| core.client.grow_batch(open.id, extra as u64);
        let granted = self.shared.with_later(wake, grow);
        if granted {
            open.reserved = target;
        }
        granted
    }
}
