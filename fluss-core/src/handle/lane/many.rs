//! Rows of a run that go into open batches, one right behind the other.
//!
//! Where no key places them, most rows of a run go where the one before went and need nothing but
//! their encoding. What has to be known of them all, their number above all, is noted once when the
//! batch is left. Where a key does, neighbours go to different batches, which are open mostly.

use std::ops::ControlFlow;

use super::{Batches, Format, Pushed};
use crate::batch::Push;
use crate::handle::slots::{OpenBatch, Slot, Target};
use crate::handle::ticket::RunTicket;
use crate::ids::BucketKey;
use crate::row::RowError;

/// A run of rows: how many were handed in so far, and the claim to their outcomes.
#[derive(Debug, Default)]
pub struct Progress {
    pub(crate) ticket: RunTicket,
    pub(crate) taken: u64,
}

/// How putting many rows ended.
#[derive(Debug)]
pub enum Many<R> {
    /// There are no more.
    Ended,
    /// As many as asked for are in their batch.
    Taken,
    /// This one was taken from the iterator and is still to be put, as a single row.
    Left(R),
}

impl<R> Many<R> {
    /// Puts rows, at most so many, until there is one that `put` does not take.
    #[inline]
    pub(crate) fn put(
        rows: &mut impl Iterator<Item = R>,
        most: usize,
        mut put: impl FnMut(&R) -> bool,
    ) -> Self {
        let mut left = most;
        let stopped = rows.take(most).try_for_each(|row| {
            if !put(&row) {
                return ControlFlow::Break(row);
            }
            left -= 1;
            ControlFlow::Continue(())
        });
        match stopped {
            ControlFlow::Continue(()) if left > 0 => Self::Ended,
            ControlFlow::Continue(()) => Self::Taken,
            ControlFlow::Break(row) => Self::Left(row),
        }
    }

    /// Puts none of them.
    pub(crate) fn none(rows: &mut impl Iterator<Item = R>) -> Self {
        rows.next().map_or(Self::Ended, Self::Left)
    }
}

/// Notes rows when it is dropped: also those in front of one whose code panics.
struct Noted<'a, F: Format> {
    open: &'a mut OpenBatch<F::Builder>,
    hint: &'a mut u32,
    handed_in: &'a mut u64,
    progress: &'a mut Progress,
    /// Rows that were in the batch before.
    before: u32,
}

impl<F: Format> Drop for Noted<'_, F> {
    fn drop(&mut self) {
        let Self { open, hint, handed_in, progress, before } = self;
        let rows = F::rows(&open.builder);
        let count = rows.saturating_sub(*before);
        if count > 0 {
            **handed_in += u64::from(count);
            open.cell.set_rows(rows, **handed_in - 1);
            progress.ticket.push(hint, count, &open.cell, rows - 1);
            progress.taken += u64::from(count);
        }
    }
}

impl<F: Format> Batches<'_, F> {
    /// Puts the next row of a run into the batch of its bucket, in a table without partitions, if
    /// one is open and takes it. A row for which this is false goes the general way.
    #[inline]
    pub(crate) fn push_next(
        &mut self,
        bucket: BucketKey,
        progress: &mut Progress,
        push: impl FnOnce(&mut F::Builder) -> Result<Push, RowError>,
    ) -> bool {
        let Self { lane, slots } = self;
        let at = slots.places.place(Target::Bucket(bucket), false);
        let Some(Slot { open: Some(open), hint, .. }) = slots.places.slots.get_mut(at) else {
            return false;
        };
        if open.cell.is_done() {
            return false;
        }
        let Ok(Push::Pushed(index)) = push(&mut open.builder) else { return false };
        open.cell.set_rows(index + 1, slots.handed_in);
        slots.handed_in += 1;
        progress.ticket.push(hint, 1, &open.cell, index);
        progress.taken += 1;
        if F::memory(&open.builder) > open.reserved && !lane.grow(open, &mut slots.wake) {
            lane.seal_at(slots, at);
        }
        true
    }

    /// Puts a row into the batch that takes rows for any bucket, if one is open and takes it. A row
    /// for which this is None goes the general way, which has an answer to everything.
    #[inline]
    pub(crate) fn push_any(
        &mut self,
        push: impl FnOnce(&mut F::Builder) -> Result<Push, RowError>,
    ) -> Option<Pushed> {
        let Self { lane, slots } = self;
        let at = slots.places.open_for_any()?;
        let open = slots.places.slots[at].open.as_mut()?;
        if open.cell.is_done() {
            return None;
        }
        let Ok(Push::Pushed(index)) = push(&mut open.builder) else { return None };
        open.cell.set_rows(index + 1, slots.handed_in);
        slots.handed_in += 1;
        if F::memory(&open.builder) > open.reserved && !lane.grow(open, &mut slots.wake) {
            lane.seal_at(slots, at);
        }
        Some(Pushed::In(at, index))
    }

    /// Puts rows into the batch that takes rows for any bucket, if one is open, at most so many. A
    /// row for which there is no such batch, that does not fit into it or is wrong comes back.
    #[inline]
    pub(crate) fn push_many<R, I: Iterator<Item = R>>(
        &mut self,
        rows: &mut I,
        most: usize,
        progress: &mut Progress,
        push: impl FnOnce(&mut F::Builder, &mut I, usize) -> Option<R>,
    ) -> Many<R> {
        let Self { slots, .. } = self;
        let Some(at) = slots.places.open_for_any() else { return Many::none(rows) };
        let slot = &mut slots.places.slots[at];
        let Slot { open: Some(open), hint, .. } = slot else { return Many::none(rows) };
        if open.cell.is_done() {
            return Many::none(rows);
        }
        let handed_in = &mut slots.handed_in;
        let before = F::rows(&open.builder);
        let noted = Noted::<F> { open, hint, handed_in, progress, before };
        let left = push(&mut noted.open.builder, rows, most);
        let count = F::rows(&noted.open.builder) - before;
        drop(noted);
        match left {
            Some(row) => Many::Left(row),
            None if (count as usize) < most => Many::Ended,
            None => Many::Taken,
        }
    }
}

#[cfg(test)]
#[path = "many_tests.rs"]
mod tests;
