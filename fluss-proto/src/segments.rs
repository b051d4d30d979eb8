//! Bytes for a socket, in pieces that were never copied together.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// A list of byte strings to be written one after the other.
///
/// It is a [`Buf`], whose methods are what a socket needs: [`remaining`](Buf::remaining), the
/// bytes not yet written; [`chunks_vectored`](Buf::chunks_vectored), the pieces for one vectored
/// write; and [`advance`](Buf::advance), to be called with what the write accepted.
///
/// ```
/// use std::io::{IoSlice, Write};
///
/// use bytes::{Buf, Bytes};
/// use fluss_proto::segments::Segments;
///
/// let mut segments = Segments::from(Bytes::from_static(b"head"));
/// segments.push(Bytes::from_static(b"payload"));
///
/// let mut socket = Vec::new();
/// while segments.has_remaining() {
///     let mut slices = [IoSlice::new(&[]); 16];
///     let used = segments.chunks_vectored(&mut slices);
///     let written = socket.write_vectored(&slices[..used])?;
///     segments.advance(written);
/// }
/// assert_eq!(socket, b"headpayload");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Segments {
    /// None of them is empty.
    parts: VecDeque<Bytes>,
    remaining: usize,
}

impl Segments {
    /// Nothing to write.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes at the end.
    pub fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.remaining += part.len();
            self.parts.push_back(part);
        }
    }

    /// Adds everything of another list at the end.
    pub fn append(&mut self, other: Self) {
        self.remaining += other.remaining;
        self.parts.extend(other.parts);
    }

    /// Whether everything was written.
    pub fn is_empty(&self) -> bool {
        self.remaining == 0
    }

    /// The number of pieces that are left.
    pub fn count(&self) -> usize {
        self.parts.len()
    }

    /// The pieces that are left, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.parts.iter()
    }

    /// What is left as one byte string. This copies unless there is only one piece.
    pub fn into_bytes(mut self) -> Bytes {
        self.copy_to_bytes(self.remaining)
    }
}

impl From<Bytes> for Segments {
    fn from(part: Bytes) -> Self {
        let mut segments = Self::new();
        segments.push(part);
        segments
    }
}

/// Two lists are equal if the same bytes are left, however they are cut.
impl PartialEq for Segments {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |list: &Self| list.clone().into_bytes();
        self.remaining == other.remaining && bytes(self) == bytes(other)
    }
}

impl Eq for Segments {}

impl Buf for Segments {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let used = self.parts.len().min(slices.len());
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(part);
        }
        used
    }

    /// # Panics
    ///
    /// If `n` is more than what remains.
    fn advance(&mut self, mut n: usize) {
        assert!(
            n <= self.remaining,
            "advance({n}) goes beyond the {} bytes that remain; pass what the write accepted",
            self.remaining
        );
        self.remaining -= n;
        while let Some(front) = self.parts.front_mut() {
            if n < front.len() {
                front.advance(n);
                return;
            }
            n -= front.len();
            self.parts.pop_front();
        }
    }

    fn copy_to_bytes(&mut self, n: usize) -> Bytes {
        if let Some(front) = self.parts.front_mut().filter(|front| n <= front.len()) {
            let taken = front.slice(..n);
            self.advance(n);
            return taken;
        }
        assert!(n <= self.remaining, "cannot copy {n} bytes out of {}", self.remaining);
        let mut taken = BytesMut::with_capacity(n);
        let mut left = n;
        while left > 0 {
            let part = self.chunk();
            let step = part.len().min(left);
            taken.extend_from_slice(&part[..step]);
            self.advance(step);
            left -= step;
        }
        taken.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Segments {
        let mut segments = Segments::from(Bytes::from_static(b"abc"));
        segments.push(Bytes::new());
        segments.push(Bytes::from_static(b"d"));
        segments.append(Segments::from(Bytes::from_static(b"efgh")));
        segments
    }

    #[test]
    fn every_partial_write_leaves_the_right_rest() {
        for n in 0..=8 {
            let mut segments = example();
            segments.advance(n);
            assert_eq!(segments.remaining(), 8 - n);
            assert_eq!(segments.is_empty(), n == 8);
            assert!(segments.iter().all(|part| !part.is_empty()));
            assert_eq!(segments.into_bytes(), b"abcdefgh"[n..]);
        }
    }

    #[test]
    fn a_vectored_write_gets_as_many_pieces_as_it_has_room_for() {
        let segments = example();
        assert_eq!(segments.count(), 3);
        for room in 0..5 {
            let mut slices = vec![IoSlice::new(&[]); room];
            let used = segments.chunks_vectored(&mut slices);
            assert_eq!(used, room.min(3));
            let parts = [&b"abc"[..], b"d", b"efgh"];
            assert!(slices[..used].iter().zip(parts).all(|(slice, part)| **slice == *part));
        }
    }

    #[test]
    fn copying_takes_across_pieces_and_shares_within_one() {
        let mut segments = example();
        let address = segments.chunk().as_ptr();
        assert_eq!(segments.copy_to_bytes(2).as_ptr(), address);
        assert_eq!(segments.copy_to_bytes(4), b"cdef"[..]);
        assert_eq!(segments.into_bytes(), b"gh"[..]);
        assert_eq!(Segments::new().copy_to_bytes(0), Bytes::new());
    }

    #[test]
    fn equality_ignores_how_the_bytes_are_cut() {
        assert_eq!(example(), Segments::from(Bytes::from_static(b"abcdefgh")));
        assert_ne!(example(), Segments::from(Bytes::from_static(b"abcdefgx")));
        assert_ne!(example(), Segments::new());
    }

    #[test]
    #[should_panic(expected = "goes beyond the 8 bytes that remain")]
    fn advancing_beyond_the_end_is_refused() {
        example().advance(9);
    }
}
