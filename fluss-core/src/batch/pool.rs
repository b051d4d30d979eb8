//! Memory of sealed batches, kept for the next ones.

use bytes::{Bytes, BytesMut};

/// What a buffer may have beyond twice the bytes in it.
const SPARE: usize = 64 << 10;

/// What a buffer keeps that gives its memory back. One that is freed altogether and made anew
/// leaves holes.
pub(super) const KEPT_BYTES: usize = 1024;

/// Whether a buffer is large enough for so many bytes, and no waste.
pub(super) fn fits(capacity: usize, bytes: usize) -> bool {
    (bytes..=bytes.saturating_mul(2).saturating_add(SPARE)).contains(&capacity)
}

/// What was written into a buffer, which `next` takes the place of. A few bytes in a large buffer
/// are copied out of it, and it stays.
pub(super) fn finish(buffer: &mut Vec<u8>, next: Vec<u8>) -> Bytes {
    if fits(buffer.capacity(), buffer.len()) {
        return std::mem::replace(buffer, next).into();
    }
    let bytes = Bytes::copy_from_slice(buffer);
    buffer.clear();
    bytes
}

/// A bounded stock of body buffers.
///
/// A batch of 2 MB in fresh memory costs more in page faults than in copying, so the buffer of an
/// acknowledged batch goes back here. The buffer given last is taken first: it is the one most
/// likely still in the processor's cache.
#[derive(Debug)]
pub struct BodyPool {
    free: Vec<Vec<u8>>,
    max_buffers: usize,
    max_buffer_bytes: usize,
}

impl BodyPool {
    /// A pool that keeps at most `max_buffers` buffers, none of them above `max_buffer_bytes`.
    #[must_use]
    pub fn new(max_buffers: usize, max_buffer_bytes: usize) -> Self {
        Self { free: Vec::new(), max_buffers, max_buffer_bytes }
    }

    /// An empty buffer with at least this capacity, and not far more: what is beyond the batch in
    /// it stays in memory as long as the batch, and a budget counts only the batch.
    #[must_use]
    pub fn take(&mut self, capacity: usize) -> Vec<u8> {
        let fits = |buffer: &Vec<u8>| fits(buffer.capacity(), capacity);
        match self.free.iter().rposition(fits) {
            Some(at) => self.free.remove(at),
            None => {
                if self.free.len() >= self.max_buffers && !self.free.is_empty() {
                    // Batches have another size now, and so will what comes back.
                    self.free.remove(0);
                }
                Vec::with_capacity(capacity)
            }
        }
    }

    /// Takes back the body of a batch that is done, if nothing else holds a part of it. Returns
    /// whether its memory was kept.
    pub fn give(&mut self, body: Bytes) -> bool {
        if self.free.len() >= self.max_buffers {
            return false;
        }
        let Ok(mut body) = body.try_into_mut() else { return false };
        body.clear();
        self.keep(body)
    }

    fn keep(&mut self, body: BytesMut) -> bool {
        let buffer = Vec::from(body);
        let keep = buffer.capacity() > 0 && buffer.capacity() <= self.max_buffer_bytes;
        if keep {
            self.free.push(buffer);
        }
        keep
    }

    /// Frees all buffers.
    pub fn clear(&mut self) {
        self.free.clear();
    }

    /// The number of buffers ready to be taken.
    #[must_use]
    pub fn available(&self) -> usize {
        self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_body_comes_back() {
        let mut pool = BodyPool::new(2, 1 << 20);
        let mut buffer = pool.take(1000);
        buffer.extend_from_slice(b"payload");
        let address = buffer.as_ptr();
        let capacity = buffer.capacity();
        let body = Bytes::from(buffer);
        let part = body.slice(3..);
        drop(body);
        assert!(pool.give(part), "the last handle gives the memory back");
        let again = pool.take(10);
        assert_eq!((again.as_ptr(), again.capacity(), again.len()), (address, capacity, 0));
    }

    #[test]
    fn a_small_batch_gets_no_large_buffer_and_sizes_that_no_longer_come_are_forgotten() {
        let mut pool = BodyPool::new(2, 1 << 20);
        assert!(pool.give(Bytes::from(vec![0; 500_000])));
        assert!(pool.give(Bytes::from(vec![0; 600_000])));
        let small = pool.take(1000);
        assert_eq!((small.capacity(), pool.available()), (1000, 1));
        assert_eq!(pool.take(500_000).capacity(), 600_000, "the older one went");
        assert!(fits(64 << 10, 0) && !fits((64 << 10) + 1, 0) && !fits(9, 10));
    }

    #[test]
    fn a_body_still_in_use_is_left_alone() {
        let mut pool = BodyPool::new(2, 1 << 20);
        let body = Bytes::from(vec![1, 2, 3]);
        let other = body.clone();
        assert!(!pool.give(body));
        assert_eq!((pool.available(), &other[..]), (0, &[1, 2, 3][..]));
    }

    #[test]
    fn the_stock_is_bounded_in_number_and_size() {
        let mut pool = BodyPool::new(1, 100);
        assert!(!pool.give(Bytes::from(vec![0; 101])));
        assert!(pool.give(Bytes::from(vec![0; 100])));
        assert!(!pool.give(Bytes::from(vec![0; 100])));
        assert_eq!(pool.available(), 1);
        pool.clear();
        assert_eq!(pool.available(), 0);
    }
}
