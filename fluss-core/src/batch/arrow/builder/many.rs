//! Rows of a run, a stretch of them at a time.

use std::ops::ControlFlow;

use super::{ArrowBatchBuilder, Layout, MAX_ROWS};
use crate::batch::Push;
use crate::batch::arrow::stretch::{Aside, COLUMNS, ROWS, Stretch, StretchWriter};
use crate::row::Row;

/// Fewer rows than these are not worth a stretch.
const MIN_STRETCH: usize = 16;

/// Counts rows into the batch when it is dropped: also those in front of one whose code panics.
struct Taken<'a> {
    rows: &'a mut usize,
    variable: &'a mut usize,
    size: &'a mut usize,
    layout: Layout,
    count: usize,
    /// Of their strings, byte arrays and elements.
    bytes: usize,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.rows += self.count;
        *self.variable += self.bytes;
        *self.size = self.layout.size(*self.rows, *self.variable);
    }
}

impl ArrowBatchBuilder {
    /// Takes rows until there are so many of them, or no more. A row that does not fit into the
    /// batch or its columns comes back; [`try_push`](Self::try_push) tells which, and why.
    #[inline]
    pub(crate) fn push_many<R: Row>(
        &mut self,
        rows: &mut impl Iterator<Item = R>,
        most: usize,
    ) -> Option<R> {
        let until = self.rows + most;
        while self.rows < until {
            let most = (until - self.rows).min(ROWS);
            let alone = match self.spare_behind(most) {
                Some(spare) => match self.push_stretch(rows, most, spare) {
                    ControlFlow::Continue(None) => continue,
                    ControlFlow::Continue(alone) => alone,
                    ControlFlow::Break(()) => None,
                },
                None => rows.next(),
            };
            let row = alone?;
            if !matches!(self.try_push(&row), Ok(Push::Pushed(_))) {
                return Some(row);
            }
        }
        None
    }

    /// The bytes that the strings of so many rows may have, if a stretch of them surely fits into
    /// the batch otherwise.
    fn spare_behind(&self, rows: usize) -> Option<usize> {
        if rows < MIN_STRETCH || self.columns.len() > COLUMNS || self.rows + ROWS > MAX_ROWS {
            return None;
        }
        let size = self.layout.size(self.rows + ROWS, self.variable);
        let spare = self.room.end().checked_sub(size)?;
        // At the end of a batch no stretch is begun that strings like those before would stop.
        let product = |a: usize, b: usize| a as u64 * b as u64;
        (product(spare, self.rows) >= product(self.variable, rows)).then_some(spare)
    }

    /// Takes so many rows. What stops it is the end of the rows, or one that has to go in alone.
    fn push_stretch<R: Row>(
        &mut self,
        rows: &mut impl Iterator<Item = R>,
        most: usize,
        spare: usize,
    ) -> ControlFlow<(), Option<R>> {
        if self.half_written || !self.held.is_empty() {
            self.settle();
        }
        self.half_written = true;
        let mut stretches = [const { Stretch::None }; COLUMNS];
        for (at, (to, column)) in stretches.iter_mut().zip(&mut self.columns).enumerate() {
            *to = Stretch::new(column, self.slow & (1 << at) != 0);
        }
        let schema = &self.schema;
        let stretches = &mut stretches[..schema.columns().len()];
        let (first, slow) = (self.rows, &mut self.slow);
        let mut aside = Aside { schema, first, limit: spare, slow, failed: false };
        let Self { rows: count, variable, size, layout, .. } = self;
        let mut taken = Taken { rows: count, variable, size, layout: *layout, count: 0, bytes: 0 };
        let stopped = loop {
            if taken.count >= most {
                break ControlFlow::Continue(None);
            }
            let Some(row) = rows.next() else { break ControlFlow::Break(()) };
            let mut writer = StretchWriter::new(stretches, &mut aside, taken.count, taken.bytes);
            let written = row.write(&mut writer).is_ok();
            match writer.finish().filter(|_| written) {
                Some(bytes) => taken.bytes = bytes,
                None => break ControlFlow::Continue(Some(row)),
            }
            taken.count += 1;
        };
        let whole = taken.count == ROWS;
        drop(taken);
        if whole {
            self.half_written = false;
        } else {
            self.roll_back();
        }
        stopped
    }
}

#[cfg(test)]
#[path = "many_tests.rs"]
mod tests;
