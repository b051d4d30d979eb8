//! Rows of record batches that an open batch holds where they lie, until it is sealed.
//!
//! Copied into the columns of the batch, and from there into its body, each value would move twice.
//! Held by reference it moves once. Only runs for which that is one copy of memory for each column
//! are held: columns of the same type, without nulls, of a batch that is not compressed. Rows that
//! keep much more than themselves alive (few of them, or a slice of something large) are copied at
//! once. What the others keep alive beyond themselves is bounded, and told to whoever accounts for
//! the memory of the batch.

use std::ops::Range;

use arrow_buffer::{ArrowNativeType, NullBuffer, ScalarBuffer, ToByteSlice};

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
    /// Bytes of the rows as they will be sealed.
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
        self.bytes += bytes;
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

    /// Appends the values of a column, or the ends of its values, which begin at `end`.
    pub(super) fn put_values(&self, column: usize, end: usize, body: &mut Vec<u8>) {
        let mut end = end as i32;
        for (source, range) in self.sources(column) {
            match source {
                Source::Int8(from) => put(from, range, body),
                Source::Int16(from) => put(from, range, body),
                Source::Int32(from) => put(from, range, body),
                Source::Int64(from) => put(from, range, body),
                Source::Float32(from) => put(from, range, body),
                Source::Float64(from) => put(from, range, body),
                Source::Date(from) => body.extend_from_slice(from[range].to_byte_slice()),
                Source::Text(from) => put_ends(ends(from, range), &mut end, body),
                Source::Bytes(from) => put_ends(ends(from, range), &mut end, body),
                // `is_same` has seen that there are no others.
                _ => {}
            }
        }
    }

    /// Appends the bytes of a column's strings.
    pub(super) fn put_data(&self, column: usize, body: &mut Vec<u8>) {
        for (source, range) in self.sources(column) {
            match source {
                Source::Text(from) => body.extend_from_slice(&from.value_data()[span(from, range)]),
                Source::Bytes(from) => {
                    body.extend_from_slice(&from.value_data()[span(from, range)]);
                }
                _ => {}
            }
        }
    }

    fn sources(&self, column: usize) -> impl Iterator<Item = (&Source, Range<usize>)> {
        self.runs.iter().filter_map(move |(rows, range)| {
            rows.columns().get(column).map(|(source, _)| (source, range.clone()))
        })
    }
}

fn put<T: ArrowNativeType>(from: &ScalarBuffer<T>, range: Range<usize>, body: &mut Vec<u8>) {
    body.extend_from_slice(from[range].to_byte_slice());
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
