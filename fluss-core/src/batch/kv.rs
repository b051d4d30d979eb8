//! Batches of upserts and deletes for one bucket of a primary-key table.

use fluss_proto::record::{KV_V0, SealedBatch, kv_record_size, push_kv_record};

use super::ahead::Ahead;
use super::pool::{KEPT_BYTES, finish};
use super::room::{Room, Wanted};
use super::{BatchError, Push};
use crate::row::RowError;

/// Batches may not exceed this, whatever the options say; far below what the format's lengths hold.
const MAX_BYTES: usize = 1 << 30;

/// Limits of a KV batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvBatchOptions {
    /// Bytes at which a batch is full, header included; default 2 MiB, at most 1 GiB. The first
    /// record of a batch may exceed it.
    pub max_bytes: usize,
    /// The largest single record, header of its batch included; default 64 MiB, at most 1 GiB.
    pub max_row_bytes: usize,
}

impl Default for KvBatchOptions {
    fn default() -> Self {
        Self { max_bytes: 2 << 20, max_row_bytes: 64 << 20 }
    }
}

impl KvBatchOptions {
    /// Whether a record of this key and row fits a batch of its own.
    ///
    /// # Errors
    /// It exceeds `max_row_bytes`; with both numbers.
    #[inline]
    pub fn check(&self, key: &[u8], row: &[u8]) -> Result<(), RowError> {
        self.check_record(kv_record_size(key.len(), Some(row.len())))
    }

    /// Whether a record of this many bytes fits a batch of its own.
    #[inline]
    pub(crate) fn check_record(&self, bytes: usize) -> Result<(), RowError> {
        let alone = KV_V0.header_size + bytes;
        if alone > self.max_row_bytes {
            return Err(RowError::too_large(alone, self.max_row_bytes));
        }
        Ok(())
    }
}

/// An open batch: records are copied in one behind the other as they will be sent.
///
/// The builder outlives its batches: [`seal`](Self::seal) takes the memory for the next one.
///
/// ```
/// use fluss_core::batch::{KvBatchBuilder, KvBatchOptions, Push};
///
/// let mut builder = KvBatchBuilder::new(KvBatchOptions::default(), Vec::new())?;
/// assert_eq!(builder.try_push_upsert(&[1], &[0, 1, 3, b'o', b'n', b'e'])?, Push::Pushed(0));
/// assert_eq!(builder.try_push_delete(&[2])?, Push::Pushed(1));
/// assert_eq!(builder.size_in_bytes(), 46);
/// let sealed = builder.seal(1, Vec::new())?;
/// assert_eq!((sealed.size(), sealed.record_count()), (46, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct KvBatchBuilder {
    options: KvBatchOptions,
    room: Room,
    records: Vec<u8>,
    ahead: Ahead,
    count: u32,
}

impl KvBatchBuilder {
    /// A builder that collects into `buffer`, whose content is dropped.
    ///
    /// # Errors
    /// A limit is 0 or above 1 GiB, or a row may be smaller than a batch.
    pub fn new(options: KvBatchOptions, mut buffer: Vec<u8>) -> Result<Self, BatchError> {
        let smallest = KV_V0.header_size + kv_record_size(1, None);
        for (what, value, min) in [
            ("max_bytes", options.max_bytes, 1),
            ("max_row_bytes", options.max_row_bytes, smallest.max(options.max_bytes)),
        ] {
            if value < min || value > MAX_BYTES {
                return Err(BatchError::Limit { what, value, min, max: MAX_BYTES });
            }
        }
        buffer.clear();
        let room = Room::new(options.max_bytes);
        Ok(Self { options, room, records: buffer, ahead: Ahead::default(), count: 0 })
    }

    /// Takes an upsert of an encoded row.
    ///
    /// [`Push::Full`] means that the batch has records already and would exceed `max_bytes`.
    ///
    /// # Errors
    /// The record alone exceeds `max_row_bytes`, or the row has no bytes, which would make it a
    /// delete. The batch is as it was before.
    #[inline]
    pub fn try_push_upsert(&mut self, key: &[u8], row: &[u8]) -> Result<Push, RowError> {
        self.push(key, Some(row))
    }

    /// Takes a delete.
    ///
    /// # Errors
    /// The record alone exceeds `max_row_bytes`.
    #[inline]
    pub fn try_push_delete(&mut self, key: &[u8]) -> Result<Push, RowError> {
        self.push(key, None)
    }

    /// Takes a record as it will be sent.
    #[inline]
    pub(crate) fn try_push_record(&mut self, record: &[u8]) -> Result<Push, RowError> {
        if !self.has_room(record.len())? {
            return Ok(Push::Full);
        }
        self.ahead.reach(&mut self.records, record.len());
        self.records.extend_from_slice(record);
        Ok(self.counted())
    }

    #[inline]
    fn push(&mut self, key: &[u8], row: Option<&[u8]>) -> Result<Push, RowError> {
        let size = kv_record_size(key.len(), row.map(<[u8]>::len));
        if !self.has_room(size)? {
            return Ok(Push::Full);
        }
        self.ahead.reach(&mut self.records, size);
        push_kv_record(&mut self.records, key, row)?;
        Ok(self.counted())
    }

    /// Whether a record of so many bytes may be put into this batch.
    #[inline]
    fn has_room(&mut self, size: usize) -> Result<bool, RowError> {
        if self.size_in_bytes() + size <= self.room.end() { Ok(true) } else { self.beyond(size) }
    }

    #[cold]
    fn beyond(&mut self, size: usize) -> Result<bool, RowError> {
        let alone = KV_V0.header_size + size;
        if alone > self.options.max_row_bytes {
            return Err(RowError::too_large(alone, self.options.max_row_bytes));
        }
        let with_row = Wanted { batch: self.size_in_bytes() + size, alone };
        Ok(self.room.takes(with_row, self.count == 0))
    }

    /// Gives the memory back that no record is in.
    pub(crate) fn shrink(&mut self) {
        self.records.shrink_to(KEPT_BYTES);
    }

    /// So many bytes of memory are reserved for the open batch: a record that needs more is sent
    /// back with [`Push::Full`], and [`wanted`](Self::wanted) tells how much.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.room.reserve(bytes);
    }

    /// What was missing where a record was sent back for want of memory.
    pub(crate) fn wanted(&self) -> Option<Wanted> {
        self.room.wanted()
    }

    #[inline]
    fn counted(&mut self) -> Push {
        let index = self.count;
        // A record has at least five bytes and a batch at most 2^30, so this cannot overflow.
        self.count += 1;
        Push::Pushed(index)
    }

    /// The number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The size of the batch if it were sealed now, header included.
    #[must_use]
    pub fn size_in_bytes(&self) -> usize {
        KV_V0.header_size + self.records.len()
    }

    /// Forgets all records and keeps the memory.
    pub fn clear(&mut self) {
        self.records.clear();
        self.count = 0;
    }

    /// Ends the batch and computes its checksum. The next one is collected into `next`, whose
    /// content is dropped and whose memory is used.
    ///
    /// # Errors
    /// The batch has no records.
    pub fn seal(&mut self, schema_id: i16, mut next: Vec<u8>) -> Result<SealedBatch, BatchError> {
        if self.count == 0 {
            return Err(BatchError::Empty);
        }
        next.clear();
        let records = finish(&mut self.records, next);
        let count = std::mem::take(&mut self.count);
        self.ahead.restart();
        Ok(SealedBatch::kv_v0(schema_id, 0, count, records)?)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use fluss_proto::record::{Check, KvBatch, Stamp};

    fn builder(max_bytes: usize, max_row_bytes: usize) -> KvBatchBuilder {
        let options = KvBatchOptions { max_bytes, max_row_bytes };
        KvBatchBuilder::new(options, vec![1; 10]).expect("the limits work")
    }

    #[test]
    fn a_batch_is_full_at_its_size_limit_and_not_before() {
        let mut builder = builder(28 + 16, 100);
        assert_eq!(builder.try_push_upsert(b"a", b"12"), Ok(Push::Pushed(0)));
        assert_eq!(builder.size_in_bytes(), 36);
        assert_eq!(builder.try_push_upsert(b"a", b"123"), Ok(Push::Full));
        assert_eq!(builder.try_push_upsert(b"a", b"12"), Ok(Push::Pushed(1)));
        assert_eq!(builder.try_push_delete(b"a"), Ok(Push::Full));
        assert_eq!((builder.len(), builder.size_in_bytes()), (2, 44));
    }

    #[test]
    fn the_first_record_may_exceed_the_batch_but_not_the_row_limit() {
        let mut builder = builder(40, 60);
        assert_eq!(builder.try_push_upsert(b"a", &[1; 26]), Ok(Push::Pushed(0)));
        assert_eq!(builder.try_push_upsert(b"a", &[1; 26]), Ok(Push::Full));
        let error = builder.try_push_upsert(b"a", &[1; 27]);
        assert_eq!(error, Err(RowError::too_large(61, 60)));
        assert_eq!(builder.len(), 1);
    }

    #[test]
    fn a_sealed_batch_reads_back_and_the_builder_starts_anew() {
        let mut builder = builder(1000, 1000);
        assert_eq!(builder.seal(1, Vec::new()).err(), Some(BatchError::Empty));
        builder.try_push_upsert(b"k", b"row").expect("it fits");
        builder.try_push_delete(b"d").expect("it fits");
        let next = Vec::with_capacity(64);
        let address = next.as_ptr();
        let sealed = builder.seal(7, next).expect("two records");
        assert!(builder.is_empty());
        assert_eq!((builder.records.as_ptr(), builder.size_in_bytes()), (address, 28));
        let head = sealed.stamp(Stamp { writer_id: 5, sequence: 6 });
        let wire = Bytes::from([&head[..], &sealed.payload()[..]].concat());
        let batch = KvBatch::new_checked(wire, Check::Crc).expect("a sound batch");
        assert_eq!((batch.schema_id(), batch.record_count()), (7, 2));
        let records: Vec<_> = batch.records().map(|r| r.expect("a sound record")).collect();
        assert_eq!(
            (&records[0].key[..], records[0].row.as_deref()),
            (&b"k"[..], Some(&b"row"[..]))
        );
        assert_eq!((&records[1].key[..], records[1].row.as_deref()), (&b"d"[..], None));
    }

    #[test]
    fn an_empty_row_is_refused_because_it_would_delete() {
        let mut builder = builder(1000, 1000);
        assert!(builder.try_push_upsert(b"k", b"").is_err());
        assert_eq!((builder.len(), builder.size_in_bytes()), (0, 28));
    }

    #[test]
    fn limits_that_cannot_work_are_refused() {
        for (max_bytes, max_row_bytes) in [(0, 100), (100, 50), (100, MAX_BYTES + 1)] {
            let options = KvBatchOptions { max_bytes, max_row_bytes };
            assert!(KvBatchBuilder::new(options, Vec::new()).is_err(), "{options:?}");
        }
    }
}
