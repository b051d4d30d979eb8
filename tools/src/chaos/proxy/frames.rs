//! Where frames begin in a stream of bytes, and what their first bytes say.

/// A frame begins with four bytes of length, which do not count themselves.
const LENGTH: usize = 4;

/// Follows one direction of a connection; `N` bytes of each frame are kept, its length included.
#[derive(Debug)]
pub(super) struct Frames<const N: usize> {
    head: [u8; N],
    have: usize,
    /// Bytes of the present frame that are still to come, once its head is complete.
    rest: u64,
}

impl<const N: usize> Frames<N> {
    pub(super) fn new() -> Self {
        Self { head: [0; N], have: 0, rest: 0 }
    }

    /// Reads on. Calls `each` for every frame whose head is complete now, with the place in `chunk`
    /// where it begins, 0 if it began earlier. A frame shorter than its head has zeros there.
    pub(super) fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(usize, &[u8; N])) {
        let (mut at, mut start) = (0, 0);
        while at < chunk.len() {
            if self.rest > 0 {
                let skip = usize::try_from(self.rest).unwrap_or(usize::MAX).min(chunk.len() - at);
                self.rest -= skip as u64;
                at += skip;
                continue;
            }
            if self.have == 0 {
                start = at;
            }
            self.head[self.have] = chunk[at];
            self.have += 1;
            at += 1;
            if self.have < LENGTH {
                continue;
            }
            let body = u64::from(u32::from_be_bytes([
                self.head[0],
                self.head[1],
                self.head[2],
                self.head[3],
            ]));
            let known = (self.have - LENGTH) as u64;
            if self.have == N || known == body {
                self.head[self.have..].fill(0);
                each(start, &self.head);
                self.rest = body - known;
                self.have = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_the_stream_is_cut() {
        let mut stream = Vec::new();
        let frames: [&[u8]; 4] = [b"abcdefgh", b"", b"xy", b"0123456789"];
        for body in frames {
            stream.extend((body.len() as u32).to_be_bytes());
            stream.extend(body);
        }
        for piece in 1..=stream.len() {
            let mut parser = Frames::<8>::new();
            let mut found = Vec::new();
            for (nth, chunk) in stream.chunks(piece).enumerate() {
                parser.feed(chunk, |at, head| found.push((nth * piece + at, *head)));
            }
            let heads: Vec<&[u8]> = found.iter().map(|(_, head)| &head[4..]).collect();
            assert_eq!(heads, [&b"abcd"[..], b"\0\0\0\0", b"xy\0\0", b"0123"], "{piece}");
            // A frame that began in an earlier piece is told at the beginning of its last.
            for ((at, _), begin) in found.iter().zip([0, 12, 16, 22]) {
                assert!(*at >= begin && *at < begin + 8, "{piece}: {at} for {begin}");
            }
        }
    }
}
