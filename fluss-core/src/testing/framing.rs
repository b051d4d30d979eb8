//! Frames out of a byte stream and into one, for the server's side of a connection.

use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};

/// What is read at once; smaller frames are copied out of it, larger ones are read in place.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// Answers written at once.
const WRITE_PIECES: usize = 64;

/// Bytes on their way into the socket.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    pub(super) pieces: VecDeque<Bytes>,
}

impl Backlog {
    /// Writes once, as much as the socket takes.
    pub(super) fn write(&mut self, mut stream: impl Write) -> io::Result<()> {
        let slices: Vec<IoSlice<'_>> =
            self.pieces.iter().take(WRITE_PIECES).map(|piece| IoSlice::new(piece)).collect();
        let mut written = stream.write_vectored(&slices)?;
        if written == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        while let Some(piece) = self.pieces.front_mut() {
            if written < piece.len() {
                piece.advance(written);
                break;
            }
            written -= piece.len();
            self.pieces.pop_front();
        }
        Ok(())
    }
}

pub(super) fn is_slow(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// What comes next from a connection.
pub(super) enum Next {
    Frame(Bytes),
    BadLength(i32),
    End,
}

/// Cuts the stream into frames. A large frame is read straight into the memory it stays in, and
/// that memory is used again when nobody kept the frame.
pub(super) struct FrameReader<R> {
    stream: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    spare: BytesMut,
}

impl<R: Read> FrameReader<R> {
    pub(super) fn new(stream: R) -> Self {
        let buffer = vec![0; READ_BYTES];
        Self { stream, buffer, start: 0, end: 0, spare: BytesMut::new() }
    }

    pub(super) fn next(
        &mut self,
        length_of: impl Fn([u8; 4]) -> Result<usize, i32>,
    ) -> io::Result<Next> {
        while self.end - self.start < 4 {
            if !self.fill()? {
                return Ok(Next::End);
            }
        }
        let mut head = [0; 4];
        head.copy_from_slice(&self.buffer[self.start..self.start + 4]);
        let length = match length_of(head) {
            Ok(length) => length,
            Err(announced) => return Ok(Next::BadLength(announced)),
        };
        self.start += 4;
        if length > READ_BYTES / 2 {
            return self.large(length).map(Next::Frame);
        }
        while self.end - self.start < length {
            if !self.fill()? {
                return Ok(Next::End);
            }
        }
        let frame = Bytes::copy_from_slice(&self.buffer[self.start..self.start + length]);
        self.start += length;
        Ok(Next::Frame(frame))
    }

    fn large(&mut self, length: usize) -> io::Result<Bytes> {
        let mut frame = std::mem::take(&mut self.spare);
        frame.resize(length, 0);
        let held = (self.end - self.start).min(length);
        frame[..held].copy_from_slice(&self.buffer[self.start..self.start + held]);
        self.start += held;
        self.stream.read_exact(&mut frame[held..])?;
        Ok(frame.freeze())
    }

    /// Whether another whole frame is in memory already.
    pub(super) fn has_frame(&self) -> bool {
        let held = &self.buffer[self.start..self.end];
        held.first_chunk::<4>().is_some_and(|head| {
            usize::try_from(i32::from_be_bytes(*head)).is_ok_and(|length| held.len() >= 4 + length)
        })
    }

    pub(super) fn reuse(&mut self, frame: Bytes) {
        if frame.len() > READ_BYTES / 2
            && let Ok(memory) = frame.try_into_mut()
        {
            self.spare = memory;
        }
    }

    /// Reads more; false at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        loop {
            match self.stream.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    self.end += read;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
/// Passes bytes on in pieces of at most so many, until one side ends.
pub(super) fn copy(mut from: impl Read, mut to: impl Write, piece: usize) {
    let mut buffer = vec![0; piece];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
}
