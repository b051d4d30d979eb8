//! Bitmaps that grow with the rows of a batch: BOOLEAN values, and which values are null.

use super::shrink::Buffer;

/// A bitmap, least significant bit first. Bits behind the last one are zero.
#[derive(Debug, Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    len: usize,
}

impl Bits {
    #[inline]
    pub(super) fn push(&mut self, bit: bool) {
        if self.len.is_multiple_of(8) {
            self.bytes.push(u8::from(bit));
        } else if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << (self.len & 7);
        }
        self.len += 1;
    }

    /// Replaces the content by this many ones.
    pub(super) fn fill_ones(&mut self, count: usize) {
        self.bytes.clear();
        self.bytes.resize(count.div_ceil(8), 0xff);
        self.len = count;
        self.clear_tail();
    }

    /// Forgets all bits from this index on.
    pub(super) fn truncate(&mut self, count: usize) {
        if count < self.len {
            self.bytes.truncate(count.div_ceil(8));
            self.len = count;
            self.clear_tail();
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn get(&self, index: usize) -> Option<bool> {
        let byte = self.bytes.get(index / 8).filter(|_| index < self.len)?;
        Some(byte & (1 << (index & 7)) != 0)
    }

    pub(super) fn buffer(&mut self) -> &mut dyn Buffer {
        &mut self.bytes
    }

    /// `push` only ever sets bits, so the rest of the last byte must stay zero.
    fn clear_tail(&mut self) {
        if !self.len.is_multiple_of(8)
            && let Some(last) = self.bytes.last_mut()
        {
            *last &= (1 << (self.len & 7)) - 1;
        }
    }
}

/// Which values of a column are not null. Most batches have columns without a single null, so
/// nothing is kept before the first one.
#[derive(Debug, Default)]
pub(super) struct Validity {
    bits: Bits,
    nulls: usize,
}

impl Validity {
    #[inline]
    pub(super) fn push_valid(&mut self) {
        if self.nulls != 0 {
            self.push_one();
        }
    }

    /// Kept out of the path of columns without nulls.
    #[inline(never)]
    fn push_one(&mut self) {
        self.bits.push(true);
    }

    /// Notes that the next values, so many, are not null.
    pub(super) fn push_valid_many(&mut self, count: usize) {
        if self.nulls != 0 {
            (0..count).for_each(|_| self.bits.push(true));
        }
    }

    /// Notes that the value of row `row` is null.
    pub(super) fn push_null(&mut self, row: usize) {
        if self.nulls == 0 {
            self.bits.fill_ones(row);
        }
        self.bits.push(false);
        self.nulls += 1;
    }

    /// Forgets the values from row `rows` on, so that at most `rows` are left.
    pub(super) fn roll_back(&mut self, rows: usize) {
        if self.nulls != 0 {
            let behind = rows..self.bits.len;
            self.nulls -= behind.filter(|at| self.bits.get(*at) == Some(false)).count();
            self.bits.truncate(rows);
        }
    }

    pub(super) fn clear(&mut self) {
        self.nulls = 0;
    }

    pub(super) fn buffer(&mut self) -> &mut dyn Buffer {
        if self.nulls == 0 {
            // What is in it is of an earlier batch.
            self.bits.truncate(0);
        }
        self.bits.buffer()
    }

    pub(super) fn nulls(&self) -> usize {
        self.nulls
    }

    /// The bitmap, or None when there is no null.
    pub(super) fn bitmap(&self) -> Option<&[u8]> {
        (self.nulls != 0).then(|| self.bits.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_valid(rows: usize) -> Validity {
        let mut validity = Validity::default();
        (0..rows).for_each(|_| validity.push_valid());
        validity
    }

    #[test]
    fn no_bit_is_kept_before_the_first_null() {
        let mut validity = of_valid(11);
        assert_eq!(validity.bitmap(), None);
        validity.push_null(11);
        validity.push_valid();
        assert_eq!(validity.bitmap(), Some(&[0xff, 0b0001_0111][..]));
        assert_eq!(validity.nulls(), 1);
    }

    #[test]
    fn taking_back_the_only_null_restores_the_state_without_bitmap() {
        let mut validity = of_valid(8);
        validity.push_null(8);
        validity.roll_back(8);
        assert_eq!(validity.bitmap(), None);
        validity.push_valid();
        validity.push_null(9);
        assert_eq!(validity.bitmap(), Some(&[0xff, 0b0000_0001][..]));
    }

    #[test]
    fn a_roll_back_leaves_no_stray_bits_and_counts_only_present_nulls() {
        let mut validity = of_valid(0);
        validity.push_null(0);
        validity.push_valid();
        validity.roll_back(1);
        validity.roll_back(1);
        assert_eq!((validity.nulls(), validity.bitmap()), (1, Some(&[0][..])));
        validity.push_null(1);
        assert_eq!((validity.nulls(), validity.bitmap()), (2, Some(&[0][..])));
    }
}
