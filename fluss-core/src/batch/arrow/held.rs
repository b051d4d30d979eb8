//! Rows of record batches that an open batch holds where they lie, until it is sealed.
//!
//! Copied into the columns of the batch, and from there into its body, each value would move twice.
//! Held by reference it moves once, or not at all: a long run whose buffer holds little else is
//! sent from there (see [`body`](super::body)). Only runs for which that is one copy of memory for
//! each column are held: columns of the same type, without nulls, of a batch that is not
//! compressed. Rows that keep much more than themselves alive (few of them, or a slice of something
//! large) are copied at once. What the others keep alive beyond themselves is bounded, and told to
//! whoever accounts for the memory of the batch.
//!
//! A record batch is let go of when the batch is sealed; buffers that are sent from where they lie,
//! when it is acknowledged. They keep no more beyond their runs than was counted until then.

use std::ops::Range;

use arrow_buffer::{ArrowNativeType, Buffer, NullBuffer, ScalarBuffer};

use super::body::{Allowance, Body};
use super::column::{Column, Values};
use super::extend::{ends, has_null, span};
use crate::batch::ArrowRows;
use crate::batch::input::Source;

/// A run of fewer bytes is copied, unless it follows one that is held.
const MIN_HELD: usize = 8 << 10;

/// Runs of rows, in the order in which they were taken.
#[derive(Debug, Default)]
pub(super) struct Held {
    runs: Vec<(ArrowRows, Range<usize>)>,
    /// Bytes of the rows as they will be sealed, without bitmaps: they have none themselves.
    bytes: usize,
    /// Bytes of all record batches that they keep alive. One that has several runs counts as often.
    kept: usize,
}

/// How much may be kept alive.
#[derive(Clone, Copy, Debug)]
pub(super) struct MaxKept {
    /// By one record batch, in bytes.
    pub(super) each: usize,
    /// By all of them.
    pub(super) all: usize,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    #[cfg(test)]
    pub(super) fn rows(&self) -> usize {
        self.runs.iter().map(|(_, range)| range.len()).sum()
    }

    /// Bytes that are kept alive beyond those of the rows themselves.
    pub(super) fn surplus(&self) -> usize {
        self.kept.saturating_sub(self.bytes)
    }

    /// Holds these rows of `bytes` bytes, if they are such that it pays and no more is kept alive
    /// with them than may be.
    pub(super) fn take(
        &mut self,
        columns: &[Column],
        rows: &ArrowRows,
        range: Range<usize>,
        bytes: usize,
        max: MaxKept,
    ) -> bool {
        let fits = |(to, (from, nulls)): (&Column, &(Source, Option<NullBuffer>))| {
            to.values.is_same(from) && !has_null(nulls.as_ref(), &range)
        };
        if !columns.iter().zip(rows.columns()).all(fits) {
            return false;
        }
        let count = range.len();
        match self.runs.last_mut() {
            Some((last, held)) if last.is(rows) && held.end == range.start => held.end = range.end,
            _ if bytes < MIN_HELD => return false,
            _ => match rows.kept_bytes() {
                Some(kept) if kept <= max.each && self.kept + kept <= max.all => {
                    self.kept += kept;
                    self.runs.push((rows.clone(), range));
                }
                _ => return false,
            },
        }
        let bitmaps = columns.len() * count.div_ceil(8);
        self.bytes += bytes.saturating_sub(bitmaps);
        true
    }

    /// Copies all runs behind what the columns have. Bitmaps know of the rows already.
    pub(super) fn settle(&mut self, columns: &mut [Column]) {
        for (rows, range) in self.runs.drain(..) {
            for (to, (from, _)) in columns.iter_mut().zip(rows.columns()) {
                to.values.copy(from, range.clone());
            }
        }
        self.clear();
    }

    pub(super) fn clear(&mut self) {
        self.runs.clear();
        (self.bytes, self.kept) = (0, 0);
    }

    /// Bytes that are not copied when the batch is sealed: of the runs in the order in which they
    /// are put.
    pub(super) fn lent_bytes(&self, mut allowance: Allowance) -> usize {
        let columns = self.runs.first().map_or(0, |(rows, _)| rows.columns().len());
        let runs = (0..columns).flat_map(|column| self.sources(column));
        let buffers = runs.flat_map(|(from, range)| [values(from, &range), data(from, &range)]);
        buffers.flatten().filter(|bytes| allowance.lends(bytes)).map(|bytes| bytes.len()).sum()
    }

    /// Appends the values of a column, or the ends of its values, which begin at `end`.
    pub(super) fn put_values(&self, column: usize, end: usize, body: &mut Body) {
        let mut end = end as i32;
        for (source, range) in self.sources(column) {
            match source {
                Source::Text(from) => put_ends(ends(from, range), &mut end, &mut body.written),
                Source::Bytes(from) => put_ends(ends(from, range), &mut end, &mut body.written),
                _ => values(source, &range).into_iter().for_each(|values| body.put(values)),
            }
        }
    }

    /// Appends the bytes of a column's strings.
    pub(super) fn put_data(&self, column: usize, body: &mut Body) {
        let data = self.sources(column).filter_map(|(source, range)| data(source, &range));
        data.for_each(|data| body.put(data));
    }

    fn sources(&self, column: usize) -> impl Iterator<Item = (&Source, Range<usize>)> {
        self.runs.iter().filter_map(move |(rows, range)| {
            rows.columns().get(column).map(|(source, _)| (source, range.clone()))
        })
    }
}

/// The values of a run of fixed width, where they lie.
fn values(source: &Source, range: &Range<usize>) -> Option<Buffer> {
    fn part<T: ArrowNativeType>(from: &ScalarBuffer<T>, range: &Range<usize>) -> Buffer {
        from.slice(range.start, range.len()).into_inner()
    }
    // `is_same` has seen that there are no others.
    Some(match source {
        Source::Int8(from) => part(from, range),
        Source::Int16(from) => part(from, range),
        Source::Int32(from) | Source::Date(from) => part(from, range),
        Source::Int64(from) => part(from, range),
        Source::Float32(from) => part(from, range),
        Source::Float64(from) => part(from, range),
        _ => return None,
    })
}

/// The bytes of a run of strings, where they lie.
fn data(source: &Source, range: &Range<usize>) -> Option<Buffer> {
    let (from, span) = match source {
        Source::Text(from) => (from.values(), span(from, range.clone())),
        Source::Bytes(from) => (from.values(), span(from, range.clone())),
        _ => return None,
    };
    Some(from.slice_with_length(span.start, span.len()))
}

/// Appends where values end, as if the first began at `end`, which becomes the end of the last.
fn put_ends(ends: &[i32], end: &mut i32, body: &mut Vec<u8>) {
    let [start, ends @ ..] = ends else { return };
    let from = body.len();
    body.resize(from + size_of_val(ends), 0);
    let (to, _) = body[from..].as_chunks_mut::<4>();
    for (to, value) in to.iter_mut().zip(ends) {
        *to = (value - start + *end).to_le_bytes();
    }
    if let Some(last) = ends.last() {
        *end += last - start;
    }
}

impl Values {
    /// Whether values of this source are copied as they are.
    fn is_same(&self, source: &Source) -> bool {
        matches!(
            (self, source),
            (Self::Int8(_), Source::Int8(_))
                | (Self::Int16(_), Source::Int16(_))
                | (Self::Int32(_), Source::Int32(_))
                | (Self::Int64(_), Source::Int64(_))
                | (Self::Float32(_), Source::Float32(_))
                | (Self::Float64(_), Source::Float64(_))
                | (Self::Date(_), Source::Date(_))
                | (Self::Bytes(_), Source::Bytes(_))
        ) || matches!((self, source), (Self::Text(to), Source::Text(_)) if !to.is_limited())
    }
}

#[cfg(test)]
#[path = "held_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "lent_tests.rs"]
mod lent_tests;
