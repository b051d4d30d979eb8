use bytes::Bytes;

use super::batch_view::Extent;
use super::{Check, LogBatch, RecordError};

/// The log batches in the `records` bytes of a fetch answer, one after the other.
///
/// An incomplete batch at the end is normal: servers cut files at a byte limit. It is left out
/// without an error and fetched again from the next offset of the last whole batch. The iterator
/// ends after the first error.
///
/// ```
/// use bytes::Bytes;
/// use fluss_proto::record::{LogBatches, SealedBatch, Stamp};
///
/// let sealed = SealedBatch::log_v0(1, 1, 2, 1, Bytes::from_static(b"two rows"))?;
/// let batch = [&sealed.stamp(Stamp::NONE)[..], &sealed.payload()].concat();
/// let cut = [&batch[..], &batch[..20]].concat();
///
/// let mut batches = LogBatches::new(Bytes::from(cut));
/// assert_eq!(batches.next().transpose()?.map(|batch| batch.next_offset()), Some(2));
/// assert!(batches.next().is_none());
/// assert_eq!(batches.rest().len(), 20);
/// # Ok::<(), fluss_proto::record::RecordError>(())
/// ```
#[derive(Clone, Debug)]
pub struct LogBatches {
    bytes: Bytes,
    at: usize,
    check: Check,
    max_batch_size: usize,
    /// With positions: the offset wanted next, and whether a batch may begin before it.
    position: Option<Position>,
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Position {
    next: i64,
    // Only the first batch delivered may begin before the position: it contains it.
    strict: bool,
}

impl LogBatches {
    /// Reads `bytes` from the start; checks headers and not checksums, so that payloads are not
    /// touched.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self {
            bytes,
            at: 0,
            check: Check::Structure,
            max_batch_size: usize::MAX,
            position: None,
            ended: false,
        }
    }

    /// How far to check each batch; [`Check::Structure`] by default.
    #[must_use]
    pub fn check(mut self, check: Check) -> Self {
        self.check = check;
        self
    }

    /// Largest batch to accept, in bytes; everything that fits into the bytes by default. A larger
    /// one is an error even when it is incomplete, since waiting for it would never end.
    #[must_use]
    pub fn max_batch_size(mut self, bytes: usize) -> Self {
        self.max_batch_size = bytes;
        self
    }

    /// Leaves out batches that end before `offset`, and insists that the others follow each other.
    /// Gaps are allowed, since servers filter; overlaps are errors.
    #[must_use]
    pub fn starting_at(mut self, offset: i64) -> Self {
        self.position = Some(Position { next: offset, strict: false });
        self
    }

    /// Bytes read so far as whole batches.
    #[must_use]
    pub fn consumed(&self) -> usize {
        self.at
    }

    /// The bytes behind the last batch read: after the end, the incomplete batch.
    #[must_use]
    pub fn rest(&self) -> Bytes {
        self.bytes.slice(self.at..)
    }

    fn advance(&mut self) -> Result<Option<LogBatch>, RecordError> {
        loop {
            let rest = &self.bytes[self.at..];
            let Some(extent) = Extent::read(rest).map_err(|error| error.shifted(self.at))? else {
                return Ok(None);
            };
            let size = extent.size;
            if size > self.max_batch_size {
                return Err(RecordError::OutOfRange {
                    what: "size of a log batch",
                    at: self.at,
                    value: size as i64,
                    min: 0,
                    max: i64::try_from(self.max_batch_size).unwrap_or(i64::MAX),
                });
            }
            if size > rest.len() {
                return Ok(None);
            }
            let bytes = self.bytes.slice(self.at..self.at + size);
            let batch = extent
                .version()
                .and_then(|version| LogBatch::framed(bytes, version, self.check))
                .map_err(|error| error.shifted(self.at))?;
            let wanted = self.wanted(&batch)?;
            self.at += size;
            if wanted {
                return Ok(Some(batch));
            }
        }
    }

    fn wanted(&mut self, batch: &LogBatch) -> Result<bool, RecordError> {
        let Some(position) = &mut self.position else { return Ok(true) };
        if batch.next_offset() <= position.next {
            return Ok(false);
        }
        if position.strict && batch.base_offset() < position.next {
            return Err(RecordError::Overlap {
                at: self.at,
                base_offset: batch.base_offset(),
                expected: position.next,
            });
        }
        *position = Position { next: batch.next_offset(), strict: true };
        Ok(true)
    }
}

impl Iterator for LogBatches {
    type Item = Result<LogBatch, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.advance().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

impl std::iter::FusedIterator for LogBatches {}
