//! Opening a lane's batches, and letting them grow.

use std::sync::Arc;

use super::{FIRST_STEP, Format, Lane, Opened, Slots};
use crate::error::Result;
use crate::handle::shared::{Core, Wake};
use crate::handle::slots::{Home, OpenBatch};
use crate::writer::{Open, OpenIn, Reserve, WaiterId};

impl<F: Format> Lane<F> {
    /// Opens a batch, or stands in line for its memory.
    pub(super) fn open(
        &self,
        slots: &mut Slots<F>,
        at: usize,
        hint: usize,
        granted: Option<WaiterId>,
    ) -> Result<Opened> {
        let mut builder = match slots.spare.take() {
            Some(builder) => builder,
            None => self.format.builder()?,
        };
        let home = slots.places.slots[at].home;
        let reserve = match granted {
            Some(waiter) => Reserve::Granted(waiter),
            None => self.wish(hint),
        };
        let handed_in = slots.handed_in;
        let opened = self.shared.with_later(&mut slots.wake, |core, now| {
            let open = match home {
                Home::Bucket(bucket) => {
                    core.client.open_batch(self.id, bucket, reserve, now).map(OpenIn::Open)
                }
                Home::Partition(place, _) => {
                    core.client.open_partition_batch(self.id, place, reserve, now)
                }
            }?;
            match open {
                OpenIn::Open(Open::Granted { batch: id, reserved }) => {
                    let cell = Arc::new(self.new_cell(handed_in));
                    core.watch_batch(id, Arc::clone(&cell));
                    let body = core.client.take_body();
                    Ok((Opened::Open, Some((id, reserved, cell, body))))
                }
                OpenIn::Open(Open::Wait(waiter)) => {
                    core.watch_memory(waiter);
                    Ok((Opened::Wait(waiter), None))
                }
                OpenIn::Buckets(buckets) => {
                    // The grant, if there was one, was given back.
                    Ok((Opened::Elsewhere(Some(buckets)), None))
                }
                OpenIn::Forgotten => Ok((Opened::Elsewhere(None), None)),
            }
        });
        match opened {
            Ok((done, Some((id, reserved, cell, body)))) => {
                if let Some(body) = body {
                    slots.bodies.give(body);
                }
                F::reserve(&mut builder, reserved as usize);
                slots.by_batch.insert(id, at);
                slots.places.slots[at].open =
                    Some(OpenBatch { id, cell, reserved: reserved as usize, builder });
                Ok(done)
            }
            Ok((done, None)) => {
                // Memory is short: what is kept for the next batch is not part of the budget, and
                // many lanes that wait would keep a lot of it.
                self.format.shrink(&mut builder);
                slots.spare = Some(builder);
                slots.bodies.clear();
                Ok(done)
            }
            Err(error) => {
                slots.spare = Some(builder);
                Err(self.shared.explain(error))
            }
        }
    }

    /// What a batch needs that opens for a row of about `hint` bytes.
    fn wish(&self, hint: usize) -> Reserve {
        // More than the whole budget would never be there without a wait.
        let step = (FIRST_STEP.min(self.max_bytes) as u64).min(self.memory_limit).max(hint as u64);
        Reserve::Now { step, full: self.full_step().max(step) }
    }

    /// What a batch reserves at once while memory is short. Small budgets are shared: nobody asks
    /// for more than a sixteenth.
    pub(crate) fn full_step(&self) -> u64 {
        let share = self.memory_limit / 16;
        let beside = Some(self.format.beside()).filter(|bytes| *bytes < share);
        (self.max_bytes as u64).min(share).max(1) + beside.unwrap_or(0)
    }

    /// Reserves more for a batch whose rows keep more memory alive than their size; false: seal it
    /// as it is.
    #[cold]
    pub(super) fn grow(&self, open: &mut OpenBatch<F::Builder>, wake: &mut Wake) -> bool {
        let (size, memory) = (F::size(&open.builder), F::memory(&open.builder));
        if self.reserve(open, memory, wake) {
            return true;
        }
        if memory == size {
            return false;
        }
        // Rows that are copied take no more than their size.
        F::let_go(&mut open.builder);
        size <= open.reserved || self.reserve(open, size, wake)
    }

    /// Reserves more, so that there are `size` bytes at least.
    pub(super) fn reserve(
        &self,
        open: &mut OpenBatch<F::Builder>,
        size: usize,
        wake: &mut Wake,
    ) -> bool {
        let target = (open.reserved * 2).clamp(size, self.max_bytes.max(size));
        let extra = target - open.reserved;
        let grow = |core: &mut Core, _| core.client.grow_batch(open.id, extra as u64);
        let granted = self.shared.with_later(wake, grow);
        if granted {
            open.reserved = target;
            F::reserve(&mut open.builder, target);
        }
        granted
    }
}
