//! Memory of columns that is given back while their lane waits, and had again for the next batch.
//!
//! It is had at once, as much as there was: buffers that grow by doubling leave their smaller
//! predecessors behind, and an allocator keeps those holes for the thread that made them. With
//! eight threads that waited for memory in turn, 14 MiB of the process were such holes.

use super::column::Column;

/// Values that a buffer keeps room for: one that is freed altogether and made anew leaves a hole,
/// too.
const KEPT: usize = 64;

/// A buffer, whatever is in it.
pub(super) trait Buffer {
    /// The values there is room for.
    fn capacity(&self) -> usize;

    /// Keeps room for so many values, and for those that are in it.
    fn shrink(&mut self, values: usize);

    /// Makes room for so many values in all.
    fn grow(&mut self, values: usize);
}

impl<T> Buffer for Vec<T> {
    fn capacity(&self) -> usize {
        self.capacity()
    }

    fn shrink(&mut self, values: usize) {
        self.shrink_to(values);
    }

    fn grow(&mut self, values: usize) {
        self.reserve_exact(values.saturating_sub(self.len()));
    }
}

/// The capacities that buffers had before they were shrunk; empty once they have them again.
#[derive(Debug, Default)]
pub(super) struct Shrunk(Vec<usize>);

impl Shrunk {
    /// Gives the memory back that no row is in.
    pub(super) fn shrink(&mut self, columns: &mut [Column]) {
        let first = self.0.is_empty();
        for column in columns {
            column.each_buffer(&mut |buffer| {
                if first {
                    self.0.push(buffer.capacity());
                }
                buffer.shrink(KEPT);
            });
        }
    }

    /// Makes room again for a batch as large as those before.
    pub(super) fn regrow(&mut self, columns: &mut [Column]) {
        let mut capacities = self.0.drain(..);
        for column in columns {
            column.each_buffer(&mut |buffer| {
                if let Some(capacity) = capacities.next() {
                    buffer.grow(capacity);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::DataType;

    fn capacities(columns: &mut [Column]) -> Vec<usize> {
        let mut all = Vec::new();
        for column in columns {
            column.each_buffer(&mut |buffer| all.push(buffer.capacity()));
        }
        all
    }

    #[test]
    fn buffers_have_again_what_each_of_them_had_once_and_after_any_number_of_waits() {
        let types = [DataType::BOOLEAN, DataType::BIGINT, DataType::STRING];
        let mut columns: Vec<Column> = types.iter().map(Column::new).collect();
        let mut next = 1000;
        for column in &mut columns {
            column.each_buffer(&mut |buffer| {
                buffer.grow(next);
                next += 100;
            });
        }
        let before = capacities(&mut columns);
        let mut shrunk = Shrunk::default();
        shrunk.shrink(&mut columns);
        shrunk.shrink(&mut columns);
        assert!(capacities(&mut columns).iter().all(|capacity| *capacity <= KEPT));
        shrunk.regrow(&mut columns);
        assert_eq!(capacities(&mut columns), before);
        columns.iter_mut().for_each(|column| column.each_buffer(&mut |b| b.shrink(0)));
        let small = capacities(&mut columns);
        shrunk.regrow(&mut columns);
        assert_eq!(capacities(&mut columns), small, "it was given once");
    }
}
