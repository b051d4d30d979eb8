//! The bytes of a batch in the making: most are written, some stay where they lie.
//!
//! A long run of values of a record batch is not copied into the body. It is sent from the buffer
//! that it lies in, which the sealed batch keeps until it is acknowledged. What these buffers hold
//! beyond the runs is bounded, and told to whoever accounts for the memory of the batch.

use arrow_buffer::Buffer;
use bytes::Bytes;
use fluss_proto::record::Payload;

/// A run of fewer bytes is copied: its place in the list of pieces, and in the list that the socket
/// takes, would cost as much.
const MIN_LENT: usize = 4 << 10;

/// Buffers may hold one in so many bytes of a batch's size beyond their runs: enough for the first
/// and the last of several record batches, which the batches before and behind have parts of.
const MAX_SURPLUS: usize = 4;

/// What the buffers of a batch may hold beyond its bytes. Runs use it up in the order in which they
/// come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance(usize);

impl Allowance {
    /// That of a batch of this size.
    pub(super) fn of(size: usize) -> Self {
        Self(size / MAX_SURPLUS)
    }

    /// Whether these bytes stay where they lie.
    pub(super) fn lends(&mut self, bytes: &Buffer) -> bool {
        let lends = bytes.len() >= MIN_LENT && surplus(bytes) <= self.0;
        if lends {
            self.0 -= surplus(bytes);
        }
        lends
    }
}

/// What a buffer holds beyond these bytes of it. What a foreign allocator keeps with it is not
/// known: the buffer is all of it that counts.
fn surplus(bytes: &Buffer) -> usize {
    bytes.capacity().saturating_sub(bytes.len())
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Body {
    /// What is written. The beginning always is.
    pub(super) written: Vec<u8>,
    /// Where among the bytes that are written each piece belongs, in order.
    lent: Vec<(usize, Bytes)>,
    lent_bytes: usize,
    surplus: usize,
    allowance: Allowance,
}

impl Body {
    /// An empty one, in this memory.
    pub(super) fn new(mut memory: Vec<u8>, allowance: Allowance) -> Self {
        memory.clear();
        Self { written: memory, lent: Vec::new(), lent_bytes: 0, surplus: 0, allowance }
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.written.len() + self.lent_bytes
    }

    /// Appends bytes, which are copied if they are few or their buffer holds too much else.
    pub(super) fn put(&mut self, bytes: Buffer) {
        if !self.allowance.lends(&bytes) {
            self.written.extend_from_slice(&bytes);
            return;
        }
        self.lent_bytes += bytes.len();
        self.surplus += surplus(&bytes);
        self.lent.push((self.written.len(), bytes.into()));
    }

    /// Appends zeros until there are this many bytes.
    pub(super) fn pad(&mut self, len: usize) {
        self.written.resize(len - self.lent_bytes, 0);
    }

    /// All of it. The first piece is a part of what was written.
    pub(super) fn finish(self) -> Payload {
        let written = Bytes::from(self.written);
        let mut pieces = Vec::with_capacity(2 * self.lent.len() + 1);
        let mut from = 0;
        for (at, bytes) in self.lent {
            if at > from {
                pieces.push(written.slice(from..at));
            }
            pieces.push(bytes);
            from = at;
        }
        if from < written.len() {
            pieces.push(written.slice(from..));
        }
        Payload::in_pieces(pieces, self.surplus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last bytes of a buffer.
    fn end(capacity: usize, len: usize) -> Buffer {
        Buffer::from_vec(vec![7_u8; capacity]).slice_with_length(capacity - len, len)
    }

    #[test]
    fn long_runs_are_lent_until_their_buffers_hold_too_much_else() {
        let mut allowance = Allowance::of(100_000);
        assert!(allowance.lends(&end(MIN_LENT, MIN_LENT)));
        assert!(!allowance.lends(&end(MIN_LENT - 1, MIN_LENT - 1)), "few bytes");
        assert!(!allowance.lends(&end(35_001, 10_000)), "a slice of much more");
        assert!(allowance.lends(&end(30_000, 10_000)));
        assert!(!allowance.lends(&end(15_001, 10_000)), "5,000 bytes are left");
        assert!(allowance.lends(&end(15_000, 10_000)) && allowance.lends(&end(9_000, 9_000)));
        assert!(!allowance.lends(&end(9_001, 9_000)));
    }

    #[test]
    fn pieces_come_in_the_order_in_which_they_were_put() {
        let run = |byte: u8| Buffer::from_vec(vec![byte; MIN_LENT]);
        let mut body = Body::new(vec![9; 100], Allowance::of(0));
        body.written.extend_from_slice(b"head");
        let addresses = [1, 2, 3].map(|byte| {
            let run = run(byte);
            let address = run.as_ptr();
            body.put(run);
            if byte == 2 {
                body.put(Buffer::from_vec(vec![0_u8; 5]));
            }
            address
        });
        assert_eq!(body.len(), 4 + 3 * MIN_LENT + 5);
        body.pad(3 * MIN_LENT + 16);
        let payload = body.finish();
        assert_eq!((payload.len(), payload.surplus()), (3 * MIN_LENT + 16, 0));
        let pieces = payload.pieces();
        let lengths: Vec<usize> = pieces.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [4, MIN_LENT, MIN_LENT, 5, MIN_LENT, 7]);
        assert_eq!([1, 2, 4].map(|at| pieces[at].as_ptr()), addresses);
        let runs = [vec![1; MIN_LENT], vec![2; MIN_LENT], vec![0; 5], vec![3; MIN_LENT]];
        assert!(payload.to_bytes() == [b"head", &runs.concat()[..], &[0; 7]].concat());
    }

    #[test]
    fn what_a_buffer_holds_beyond_the_run_counts_as_memory() {
        let mut body = Body::new(Vec::new(), Allowance::of(8_000));
        body.put(end(32_000, 31_000));
        body.put(end(32_000, 30_000));
        body.put(end(32_000, 31_500));
        let payload = body.finish();
        let pieces: Vec<usize> = payload.pieces().iter().map(Bytes::len).collect();
        assert_eq!((pieces, payload.surplus()), (vec![31_000, 30_000, 31_500], 1_500));
    }
}
