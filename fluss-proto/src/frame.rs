//! Cutting a byte stream into frames.
//!
//! Every frame, in both directions, is a big-endian `i32` with the number of bytes that follow,
//! and those bytes. [`FrameReader`] takes a stream in pieces of any size and gives back what
//! follows the length; [`crate::header`] and [`crate::request`] read it from there.

use std::collections::VecDeque;
use std::io::{self, Read};

use bytes::buf::Limit;
use bytes::{BufMut, Bytes};

use crate::header::{LENGTH_BYTES, MAX_LENGTH};

/// A sensible limit for [`FrameReader::new`]: 256 MiB. A response may hold a whole record batch on
/// top of what a fetch asked for, and a batch may be as large as a request, 100 MiB by default.
pub const DEFAULT_MAX_FRAME_BYTES: usize = 256 << 20;

/// Size of the space for frames that arrive together, in bytes. One read may bring many
/// acknowledgements; the start of a larger frame that comes with them is cheap to move.
const CHUNK: usize = 16 << 10;

/// How much memory is reserved when a large frame is announced, in bytes. Reserved memory that
/// nothing was written to costs address space only, and this covers any ordinary fetch, which
/// then is never moved. Of longer frames this much must arrive before more is reserved.
const EAGER: usize = 32 << 20;

/// How far ahead of the arrived bytes memory is filled with zeroes for readers that need it
/// initialised, in bytes. Small enough to stay in the cache until the data overwrites it.
const ZEROED_AHEAD: usize = 256 << 10;

/// The most that one call of [`FrameReader::read_from`] reads, in bytes.
const READ_BUDGET: usize = 1 << 20;

/// Bytes of the frames whose memory is remembered, to read the next ones into it: two large answers
/// to fetches, with what is around their batches.
const REMEMBERED: usize = 17 << 20;

/// Small frames in a row after which that memory is given back. An idle scanner has an empty answer
/// every half second.
const FORGOTTEN_AFTER: u32 = 32;

/// Why a stream cannot be cut into frames any further. The connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is above the limit.
    #[error(
        "the peer announced a frame of {length} bytes, but at most {limit} bytes are accepted; \
         raise the limit on the size of a frame, or ask for less at once"
    )]
    TooLarge {
        /// The announced bytes after the length field.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// The length is negative: the stream is damaged, or the peer speaks another protocol.
    #[error("the peer announced a frame of {length} bytes, so it speaks another protocol")]
    Negative {
        /// The announced length.
        length: i32,
    },
}

/// Memory that is filled from the front.
///
/// Readers that can write to uninitialised memory append to the vector, so that its length is
/// what has arrived. For the others the vector is extended with zeroes beforehand, and `filled`
/// says how much of it has arrived.
#[derive(Debug, Default)]
struct Space {
    data: Vec<u8>,
    filled: usize,
    appending: bool,
}

impl Space {
    /// Takes over what was appended since the last call.
    fn settle(&mut self) {
        if self.appending {
            self.filled = self.data.len();
            self.appending = false;
        }
    }

    /// Initialised memory behind the arrived bytes, up to `end`.
    fn zeroed(&mut self, end: usize) -> &mut [u8] {
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
        &mut self.data[self.filled..end]
    }

    /// The vector, cut to the arrived bytes, to append to up to `end`.
    fn appendable(&mut self, end: usize) -> Limit<&mut Vec<u8>> {
        let room = end - self.filled;
        self.data.truncate(self.filled);
        self.data.reserve_exact(room);
        self.appending = true;
        (&mut self.data).limit(room)
    }
}

/// The common space of frames that arrive together.
#[derive(Debug, Default)]
struct Chunk {
    space: Space,
    /// Where the first frame starts that was not taken.
    start: usize,
}

impl Chunk {
    fn untaken(&self) -> &[u8] {
        &self.space.data[self.start..self.space.filled]
    }

    /// Moves what was not taken to the front and returns how far the space may be filled.
    fn make_room(&mut self) -> usize {
        let filled = &mut self.space.filled;
        if self.start > 0 {
            self.space.data.copy_within(self.start..*filled, 0);
            *filled -= self.start;
            self.start = 0;
        }
        // A full chunk means that frames were not taken; it must not look like an ended stream.
        if *filled < CHUNK { CHUNK } else { *filled + CHUNK }
    }
}

/// A frame with an allocation of its own, into which it is read directly.
#[derive(Debug)]
struct Large {
    space: Space,
    length: usize,
}

impl Large {
    fn new(length: usize, arrived: &[u8], memory: Option<Vec<u8>>) -> Self {
        let mut data = memory.unwrap_or_default();
        data.reserve_exact(length.min(EAGER));
        data.extend_from_slice(arrived);
        Self { space: Space { filled: data.len(), data, appending: false }, length }
    }

    /// Makes room for more bytes if some are missing and returns how far the memory reaches.
    fn reserve(&mut self) -> usize {
        let Space { data, filled, .. } = &mut self.space;
        if *filled == data.capacity() && *filled < self.length {
            // What has arrived warrants as much again.
            data.reserve_exact((*filled).max(EAGER).min(self.length - *filled));
        }
        data.capacity().min(self.length)
    }
}

/// Where the last large frames of all readers of a client are, 17 MiB of them at most.
///
/// One that nobody holds any more gives its memory to the next, which spares the system from
/// clearing pages over and over while data streams in. Some small frames in a row make it forget
/// them, so that nothing is kept where no data streams.
#[derive(Debug, Default)]
pub struct FrameMemory {
    /// The first byte of each, which keeps all of it, and its capacity; the oldest first.
    frames: VecDeque<(Bytes, usize)>,
    bytes: usize,
    /// Small frames since the last large one.
    small: u32,
}

impl FrameMemory {
    fn add(&mut self, frame: &Bytes, capacity: usize) {
        self.small = 0;
        if capacity > REMEMBERED {
            return;
        }
        self.bytes += capacity;
        self.frames.push_back((frame.slice(..1), capacity));
        while self.bytes > REMEMBERED {
            let Some((_, capacity)) = self.frames.pop_front() else { break };
            self.bytes -= capacity;
        }
    }

    /// Empty memory for a frame of this length, if there is some that is not far larger.
    fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        let fits = |(frame, capacity): &(Bytes, usize)| {
            (length..=length.saturating_mul(2)).contains(capacity) && frame.is_unique()
        };
        // The last one is likeliest to be in a cache still.
        let at = self.frames.iter().rposition(fits)?;
        let (frame, capacity) = self.frames.remove(at)?;
        self.bytes -= capacity;
        let mut memory = Vec::from(frame);
        memory.clear();
        // Should it have come in another way than it went, it is not what was promised.
        (memory.capacity() >= length).then_some(memory)
    }

    /// A small frame came; where only such come, nothing is kept.
    fn small_frame(&mut self) {
        self.small = self.small.saturating_add(1);
        if self.small > FORGOTTEN_AFTER && !self.frames.is_empty() {
            *self = Self::default();
        }
    }
}

/// Cuts a byte stream into frames, without IO of its own.
///
/// There are three ways to feed it, all of which write to the memory that the frame keeps:
///
/// - [`buf_mut`](Self::buf_mut) for readers that append to a [`BufMut`], such as `read_buf` of
///   tokio. Nothing is initialised in vain, so it is the cheapest.
/// - [`read_from`](Self::read_from) for a [`Read`].
/// - [`buffer`](Self::buffer) and [`advance`](Self::advance) for readers that fill a slice.
///
/// After each read, take frames with [`next_frame`](Self::next_frame) until there are none. A
/// reader that never does that only makes the buffer grow.
///
/// # Memory
///
/// Small frames are cut out of a common space of 16 KiB, so that one read can bring many; each is
/// copied to an allocation of its own size. A frame that does not fit there gets one allocation of
/// its exact size as soon as its length is known, and the rest of it is read into that. Above
/// 32 MiB the allocation starts at 32 MiB and doubles as bytes arrive, so that an announced length
/// alone never claims more. With a [`FrameMemory`] a large frame is read into the memory of an
/// earlier one that was dropped.
///
/// ```
/// use fluss_proto::frame::{DEFAULT_MAX_FRAME_BYTES, FrameReader};
///
/// let mut frames = FrameReader::new(DEFAULT_MAX_FRAME_BYTES);
/// let mut stream: &[u8] = b"\0\0\0\x02hi\0\0\0\x05wor";
/// frames.read_from(&mut stream)?;
/// assert_eq!(frames.next_frame()?.as_deref(), Some(&b"hi"[..]));
/// assert_eq!(frames.next_frame()?, None);
/// frames.buffer()[..2].copy_from_slice(b"ld");
/// frames.advance(2);
/// assert_eq!(frames.next_frame()?.as_deref(), Some(&b"world"[..]));
/// assert!(frames.is_between_frames());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FrameReader {
    max_frame_bytes: usize,
    chunk: Chunk,
    /// The frame that is being read directly. While there is one, the chunk is empty.
    large: Option<Large>,
    /// A large frame that is complete but was not taken, with the size of its memory; it comes
    /// before what is in the chunk.
    finished: Option<(Bytes, usize)>,
    failed: Option<FrameError>,
}

impl FrameReader {
    /// A reader at the start of a stream. It refuses frames with more than this many bytes after
    /// the length field; above 2 GiB, the end of the protocol, the limit is never reached.
    pub fn new(max_frame_bytes: usize) -> Self {
        Self {
            max_frame_bytes: max_frame_bytes.min(MAX_LENGTH),
            chunk: Chunk::default(),
            large: None,
            finished: None,
            failed: None,
        }
    }

    /// Initialised memory to read into, never empty. Tell with [`advance`](Self::advance) how
    /// much of it was filled.
    pub fn buffer(&mut self) -> &mut [u8] {
        self.settle();
        match &mut self.large {
            Some(large) => {
                let end = large.reserve().min(large.space.filled + ZEROED_AHEAD);
                large.space.zeroed(end)
            }
            None => {
                let end = self.chunk.make_room();
                self.chunk.space.zeroed(end)
            }
        }
    }

    /// Tells that the first `n` bytes of the last [`buffer`](Self::buffer) were filled.
    ///
    /// # Panics
    ///
    /// If `n` exceeds the size of that buffer.
    pub fn advance(&mut self, n: usize) {
        let space = self.space();
        assert!(
            n <= space.data.len() - space.filled,
            "advance({n}) goes beyond the buffer; pass what was read into FrameReader::buffer()"
        );
        space.filled += n;
    }

    /// Memory to append to, with room for at least one byte. What was appended counts as read;
    /// do not call [`advance`](Self::advance) for it.
    pub fn buf_mut(&mut self) -> Limit<&mut Vec<u8>> {
        self.settle();
        match &mut self.large {
            Some(large) => {
                let end = large.reserve();
                large.space.appendable(end)
            }
            None => {
                let end = self.chunk.make_room();
                self.chunk.space.appendable(end)
            }
        }
    }

    /// Reads from `reader` and returns how many bytes came; 0 means the end of the stream.
    ///
    /// Between frames and for small ones it reads once. In the middle of a large frame it reads
    /// until the end of the frame, the end of the stream, 1 MiB, or until the reader would block.
    ///
    /// # Errors
    ///
    /// The error of the reader, unless bytes came before it would have blocked or timed out. Bytes
    /// that came before an error are kept.
    pub fn read_from(&mut self, reader: &mut impl Read) -> io::Result<usize> {
        self.settle();
        let Some(large) = &mut self.large else {
            let n = reader.read(self.buffer())?;
            self.advance(n);
            return Ok(n);
        };
        let before = large.space.filled;
        let end = large.reserve().min(before + READ_BUDGET);
        let room = (end - before) as u64;
        // Appending to a vector is how a `Read` writes to memory that was not initialised.
        let outcome = reader.take(room).read_to_end(large.space.appendable(end).into_inner());
        large.space.settle();
        let arrived = large.space.filled - before;
        match outcome {
            Err(error) if arrived == 0 || !is_pause(&error) => Err(error),
            _ => Ok(arrived),
        }
    }

    /// The frames of `reader`, for a thread that does nothing but wait for them. The last item is
    /// the error of the reader, [`io::ErrorKind::UnexpectedEof`] at the end of the stream, or
    /// [`io::ErrorKind::InvalidData`] for a refused length.
    ///
    /// ```
    /// use fluss_proto::frame::FrameReader;
    ///
    /// let mut frames = FrameReader::new(100).frames_of(&b"\0\0\0\x02hi\0\0"[..]);
    /// assert_eq!(&frames.next().unwrap().unwrap()[..], b"hi");
    /// assert!(frames.next().unwrap().is_err());
    /// assert!(frames.next().is_none());
    /// ```
    pub fn frames_of<R: Read>(self, reader: R) -> Frames<R> {
        Frames { reader: self, source: Some(reader) }
    }

    /// The next complete frame, without its length field, or [`None`] until more bytes are read.
    ///
    /// # Errors
    ///
    /// [`FrameError`] as soon as a refused length has arrived, and at every later call.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        self.next_frame_in(&mut FrameMemory::default())
    }

    /// Like [`next_frame`](Self::next_frame); memory of large frames is taken from there when it
    /// can be, and remembered there.
    ///
    /// # Errors
    ///
    /// As for [`next_frame`](Self::next_frame).
    pub fn next_frame_in(&mut self, memory: &mut FrameMemory) -> Result<Option<Bytes>, FrameError> {
        self.settle();
        if let Some(error) = self.failed {
            return Err(error);
        }
        if let Some((frame, capacity)) = self.finished.take() {
            memory.add(&frame, capacity);
            return Ok(Some(frame));
        }
        if self.large.is_some() {
            return Ok(None);
        }
        let Some((length, arrived)) = self.chunk.untaken().split_first_chunk::<LENGTH_BYTES>()
        else {
            return Ok(None);
        };
        let length = match check_length(i32::from_be_bytes(*length), self.max_frame_bytes) {
            Ok(length) => length,
            Err(error) => {
                self.failed = Some(error);
                return Err(error);
            }
        };
        if let Some(frame) = arrived.get(..length) {
            let frame = Bytes::copy_from_slice(frame);
            memory.small_frame();
            self.chunk.start += LENGTH_BYTES + length;
            return Ok(Some(frame));
        }
        if LENGTH_BYTES + length > CHUNK {
            self.large = Some(Large::new(length, arrived, memory.take(length)));
            self.chunk.start = self.chunk.space.filled;
        }
        Ok(None)
    }

    /// Whether the stream may end here: every byte that was read belongs to a frame that was
    /// taken.
    pub fn is_between_frames(&mut self) -> bool {
        self.settle();
        self.large.is_none() && self.finished.is_none() && self.chunk.untaken().is_empty()
    }

    fn space(&mut self) -> &mut Space {
        match &mut self.large {
            Some(large) => &mut large.space,
            None => &mut self.chunk.space,
        }
    }

    /// Takes over what was appended, and puts a complete large frame aside.
    fn settle(&mut self) {
        self.space().settle();
        if let Some(large) = self.large.take_if(|large| large.space.filled == large.length) {
            let capacity = large.space.data.capacity();
            self.finished = Some((large.space.data.into(), capacity));
        }
    }
}

/// Whether a reader with this error may have more later.
fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn check_length(length: i32, limit: usize) -> Result<usize, FrameError> {
    let length = usize::try_from(length).map_err(|_| FrameError::Negative { length })?;
    if length > limit {
        return Err(FrameError::TooLarge { length, limit });
    }
    Ok(length)
}

/// The frames of a reader that blocks; see [`FrameReader::frames_of`].
#[derive(Debug)]
pub struct Frames<R> {
    reader: FrameReader,
    /// None after the end.
    source: Option<R>,
}

impl<R: Read> Frames<R> {
    fn read(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            match self.reader.next_frame() {
                Ok(Some(frame)) => return Some(Ok(frame)),
                Ok(None) => {}
                Err(error) => return Some(Err(io::Error::new(io::ErrorKind::InvalidData, error))),
            }
            match self.reader.read_from(self.source.as_mut()?) {
                Ok(0) => return Some(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl<R: Read> Iterator for Frames<R> {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        self.source.as_ref()?;
        let frame = self.read();
        if !matches!(frame, Some(Ok(_))) {
            self.source = None;
        }
        frame
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
