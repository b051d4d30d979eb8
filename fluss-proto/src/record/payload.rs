use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::checksum::crc32c_append;

/// Everything behind the header of a batch that is to be sent: one piece of memory, or several that
/// were never copied together. Cloning shares them.
#[derive(Clone)]
pub struct Payload {
    pieces: Pieces,
    len: usize,
    surplus: usize,
}

#[derive(Clone)]
enum Pieces {
    One(Bytes),
    Several(Arc<[Bytes]>),
}

impl Payload {
    /// The bytes of these pieces, one behind the other.
    ///
    /// `surplus` is what the pieces keep in memory beyond their own bytes, as those of something
    /// larger do. It counts as memory of the batch: see
    /// [`SealedBatch::memory`](super::SealedBatch::memory).
    ///
    /// ```
    /// use bytes::Bytes;
    /// use fluss_proto::record::Payload;
    ///
    /// let pieces = vec![Bytes::from_static(b"two "), Bytes::from_static(b"pieces")];
    /// let payload = Payload::in_pieces(pieces, 0);
    /// assert_eq!((payload.len(), payload.pieces().len()), (10, 2));
    /// assert_eq!(payload.to_bytes(), b"two pieces"[..]);
    /// ```
    #[must_use]
    pub fn in_pieces(pieces: Vec<Bytes>, surplus: usize) -> Self {
        let len = pieces.iter().map(Bytes::len).sum();
        let pieces = match <[Bytes; 1]>::try_from(pieces) {
            Ok([only]) => Pieces::One(only),
            Err(pieces) => Pieces::Several(pieces.into()),
        };
        Self { pieces, len, surplus }
    }

    /// The pieces, in order.
    #[must_use]
    pub fn pieces(&self) -> &[Bytes] {
        match &self.pieces {
            Pieces::One(only) => std::slice::from_ref(only),
            Pieces::Several(pieces) => pieces,
        }
    }

    /// Bytes of all pieces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the pieces keep in memory beyond their own bytes.
    #[must_use]
    pub fn surplus(&self) -> usize {
        self.surplus
    }

    /// All bytes as one byte string. This copies unless there is only one piece.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match &self.pieces {
            Pieces::One(only) => only.clone(),
            Pieces::Several(pieces) => pieces.concat().into(),
        }
    }

    /// The CRC-32C of all bytes.
    pub(super) fn crc32c(&self) -> u32 {
        self.pieces().iter().fold(0, |crc, piece| crc32c_append(crc, piece))
    }
}

impl From<Bytes> for Payload {
    fn from(piece: Bytes) -> Self {
        Self { len: piece.len(), pieces: Pieces::One(piece), surplus: 0 }
    }
}

impl fmt::Debug for Payload {
    // It may be megabytes; the sizes are enough.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pieces = self.pieces().len();
        f.debug_struct("Payload").field("len", &self.len).field("pieces", &pieces).finish()
    }
}
