use bytes::Bytes;

use super::RecordError;

/// Walks records that each begin with a 32-bit length, as all batches of this format have them.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    pub(super) what: &'static str,
    pub(super) bytes: Bytes,
    pub(super) at: usize,
    pub(super) left: u32,
    /// Smallest length a record may announce.
    pub(super) min: i32,
}

impl Cursor {
    /// The next record's content and its position. Once something was wrong nothing more comes.
    pub(super) fn advance(&mut self) -> Option<Result<(usize, Bytes), RecordError>> {
        let found = if self.left > 0 {
            self.content()
        } else if self.at < self.bytes.len() {
            let count = (self.bytes.len() - self.at) as u64;
            Err(RecordError::TrailingBytes { what: self.what, at: self.at, count })
        } else {
            return None;
        };
        match found {
            Ok(content) => {
                let at = self.at + 4;
                self.at = at + content.len();
                self.left -= 1;
                Some(Ok((at, content)))
            }
            Err(error) => {
                self.stop();
                Some(Err(error))
            }
        }
    }

    /// Ends the walk.
    pub(super) fn stop(&mut self) {
        self.left = 0;
        self.at = self.bytes.len();
    }

    /// Bounds on the records to come. The announced count is a peer's claim, so the upper bound is
    /// what the bytes can hold.
    pub(super) fn size_hint(&self) -> (usize, Option<usize>) {
        let rest = self.bytes.len() - self.at;
        // One item more than records fit may come: the error that ends the walk.
        let fit = rest / (4 + self.min.max(0) as usize);
        (0, Some((self.left as usize).min(fit) + 1))
    }

    fn content(&self) -> Result<Bytes, RecordError> {
        let rest = &self.bytes[self.at..];
        let Some((length, content)) = rest.split_first_chunk::<4>() else {
            return Err(RecordError::Truncated {
                what: self.what,
                at: self.at,
                needed: 4,
                available: rest.len() as u64,
            });
        };
        let value = i32::from_le_bytes(*length);
        if value < self.min || value as usize > content.len() {
            return Err(RecordError::OutOfRange {
                what: self.what,
                at: self.at,
                value: i64::from(value),
                min: i64::from(self.min),
                max: content.len() as i64,
            });
        }
        let start = self.at + 4;
        Ok(self.bytes.slice(start..start + value as usize))
    }
}

/// A record whose length is not known yet: its content is appended to the output, then
/// [`finish`](Self::finish) writes the length in front of it.
#[derive(Debug)]
#[must_use = "the record has no length until it is finished"]
pub struct OpenRecord {
    at: usize,
}

impl OpenRecord {
    pub(super) fn start(out: &mut Vec<u8>) -> Self {
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        Self { at }
    }

    /// Writes the length; returns the bytes the record takes, its length field included.
    ///
    /// # Errors
    /// When the content is longer than a 31-bit length can say; the record is then cut off again.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<usize, RecordError> {
        let start = self.at + 4;
        let Some(length) = out.len().checked_sub(start) else {
            return Err(RecordError::Misuse("the output was shortened while a record was open"));
        };
        let Ok(value) = i32::try_from(length) else {
            out.truncate(self.at);
            return Err(RecordError::TooLarge {
                what: "record",
                value: length as u64,
                max: i32::MAX as u64,
            });
        };
        out[self.at..start].copy_from_slice(&value.to_le_bytes());
        Ok(4 + length)
    }

    /// Removes what was written of the record.
    pub fn abandon(self, out: &mut Vec<u8>) {
        out.truncate(self.at);
    }
}
