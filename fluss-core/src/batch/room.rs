//! How large an open batch may become: what its settings say, and for the time being the memory
//! that was reserved for it.
//!
//! A row that needs more memory than was reserved is sent back before it takes it, so that a budget
//! is never exceeded by what was put already.

/// What a row needs that was sent back for want of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The size of the batch with the row in it.
    pub batch: usize,
    /// The size of a batch of the row alone.
    pub alone: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    max: usize,
    reserved: usize,
    /// The smaller one of both.
    end: usize,
    wanted: Option<Wanted>,
}

impl Room {
    /// A batch of at most this size, and all the memory there is.
    pub(super) fn new(max: usize) -> Self {
        Self { max, reserved: usize::MAX, end: max, wanted: None }
    }

    /// So much memory is reserved for the batch.
    pub(super) fn reserve(&mut self, bytes: usize) {
        *self = Self { reserved: bytes, end: bytes.min(self.max), ..Self::new(self.max) };
    }

    pub(super) fn reserved(&self) -> usize {
        self.reserved
    }

    /// A batch up to this size needs no further look.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Whether a batch may become this large by one more row. The first row may make it larger than
    /// batches are.
    pub(super) fn takes(&mut self, with_row: Wanted, first: bool) -> bool {
        let full = with_row.batch > self.max && !first;
        self.wanted = (!full && with_row.batch > self.reserved).then_some(with_row);
        !full && self.wanted.is_none()
    }

    /// Whether the row that was sent back last would fit if there were memory for it.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        self.wanted
    }

    pub(super) fn forget_wish(&mut self) {
        self.wanted = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(batch: usize) -> Wanted {
        Wanted { batch, alone: 10 }
    }

    #[test]
    fn a_row_is_sent_back_for_want_of_memory_or_as_the_batch_is_full() {
        let mut room = Room::new(100);
        assert!(room.takes(row(100), false) && room.takes(row(500), true));
        assert!(!room.takes(row(101), false));
        assert_eq!((room.wanted(), room.end()), (None, 100));
        room.reserve(50);
        assert_eq!(room.end(), 50);
        assert!(room.takes(row(50), false));
        assert!(!room.takes(row(51), false));
        assert_eq!(room.wanted(), Some(row(51)));
        assert!(!room.takes(row(500), true), "the first row needs its memory, too");
        assert_eq!(room.wanted(), Some(row(500)));
        assert!(!room.takes(row(101), false));
        assert_eq!(room.wanted(), None, "memory would not help");
        room.reserve(500);
        assert!(room.takes(row(500), true));
        assert_eq!(room.end(), 100);
    }
}
