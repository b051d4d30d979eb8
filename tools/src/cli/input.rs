//! Standard input, read by a thread of its own so that nobody waits for it who has other work.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::failure::{Failure, Result};
use super::row_in::is_blank;

/// Rows handed over at once, at most.
pub(crate) const CHUNK_LINES: usize = 1024;
/// Bytes handed over at once; a single longer line still goes whole.
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks that may wait.
const CHUNKS: usize = 2;
/// The longest line; no batch could hold the row.
const MAX_LINE: u64 = 1 << 28;

/// A line that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Counted from 1, empty lines left out.
    pub(crate) row: u64,
    /// As it came, without the line feed.
    pub(crate) bytes: Vec<u8>,
}

/// What there is to read.
#[derive(Debug)]
pub(crate) enum Next {
    Lines(Vec<Line>),
    /// Nothing came in time.
    Quiet,
    End,
}

/// The lines of standard input.
#[derive(Debug)]
pub(crate) struct Lines {
    chunks: Receiver<io::Result<Vec<Line>>>,
}

impl Lines {
    /// Starts to read. The thread ends with the input, or with the process.
    pub(crate) fn of_stdin() -> Result<Self> {
        let (sender, chunks) = sync_channel(CHUNKS);
        thread::Builder::new()
            .name("fluss-input".to_owned())
            .spawn(move || read(io::stdin(), &sender))
            .map_err(|e| Failure::failed(format!("cannot start a thread for the input: {e}")))?;
        Ok(Self { chunks })
    }

    /// The next lines, if there are some within this time.
    pub(crate) fn next(&self, limit: Duration) -> Result<Next> {
        match self.chunks.recv_timeout(limit) {
            Ok(Ok(lines)) => Ok(Next::Lines(lines)),
            Ok(Err(error)) => Err(Failure::failed(format!("cannot read standard input: {error}"))),
            Err(RecvTimeoutError::Timeout) => Ok(Next::Quiet),
            Err(RecvTimeoutError::Disconnected) => Ok(Next::End),
        }
    }
}

/// Hands lines over as soon as reading on would block, and when there are many.
fn read(input: impl Read, sender: &SyncSender<io::Result<Vec<Line>>>) {
    let mut input = BufReader::with_capacity(256 << 10, input);
    let (mut lines, mut bytes, mut row) = (Vec::new(), 0, 0);
    loop {
        let mut line = Vec::new();
        let read = (&mut input).take(MAX_LINE).read_until(b'\n', &mut line);
        let ended = match read {
            Ok(length) => length == 0,
            Err(error) => {
                // The lines read before are rows all the same.
                let _ = sender.send(Ok(std::mem::take(&mut lines)));
                let _ = sender.send(Err(error));
                return;
            }
        };
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() as u64 == MAX_LINE {
            let _ = sender.send(Ok(std::mem::take(&mut lines)));
            let text = format!("row {} is longer than {MAX_LINE} bytes", row + 1);
            let _ = sender.send(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
            return;
        }
        if !is_blank(&line) {
            row += 1;
            bytes += line.len();
            lines.push(Line { row, bytes: line });
        }
        let full = lines.len() >= CHUNK_LINES || bytes >= CHUNK_BYTES;
        // A buffer with a whole line in it can be read on without blocking.
        let would_block = !input.buffer().contains(&b'\n');
        if (ended || full || would_block) && !lines.is_empty() {
            bytes = 0;
            if sender.send(Ok(std::mem::take(&mut lines))).is_err() {
                return;
            }
        }
        if ended {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: impl Read) -> Vec<io::Result<Vec<Line>>> {
        let (sender, receiver) = sync_channel(100);
        read(input, &sender);
        drop(sender);
        receiver.into_iter().collect()
    }

    #[test]
    fn empty_lines_do_not_count_and_the_last_needs_no_line_feed() {
        let found = lines(&b"{}\n\n  \r\n{\"a\":1}"[..]);
        let all: Vec<Line> = found.into_iter().flat_map(|chunk| chunk.expect("read")).collect();
        let line = |row, bytes: &[u8]| Line { row, bytes: bytes.to_vec() };
        assert_eq!(all, [line(1, b"{}"), line(2, b"{\"a\":1}")]);
    }

    /// Gives out a piece with each call.
    struct Pieces(Vec<&'static [u8]>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            let piece = self.0.remove(0);
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    #[test]
    fn a_line_is_handed_over_before_the_next_one_is_waited_for() {
        let found = lines(Pieces(vec![b"1\n2\n", b"3", b"\n4\n"]));
        let sizes: Vec<_> = found.iter().map(|c| c.as_ref().map(Vec::len).ok()).collect();
        assert_eq!(sizes, [Some(2), Some(2), Some(0), None]);
    }
}
