//! Short COMPACTED rows, written into a fixed number of bytes with room for a head in front.
//!
//! Most rows of primary-key tables are a few numbers and short texts. Written here they need one
//! look at the room for each value and none at a buffer that may have to grow, and what a batch has
//! in front of each row is put there without moving it. Whatever does not fit, because it is long
//! or because it is wrong, goes the general way, which has the words for it.

use super::datum::Datum;
use super::error::RowError;
use super::slot::{Slot, SlotKind, Stored, minimal_be};
use super::{Columns, Row, RowLayout, RowSink};

/// Bytes for a row and what stands in front of it.
const ROOM: usize = 512;
/// Bytes in front of the row.
const HEAD: usize = 80;
/// The longest number of variable length.
const LONGEST: usize = 10;
/// Numbers below this have at most eight bytes.
const EIGHT_BYTES: u64 = 1 << 56;

/// Where rows are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShortRow {
    /// [`ROOM`] of them, once there was a row.
    bytes: Vec<u8>,
}

/// A row that was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShortRecord<'a> {
    /// The record of a KV batch that holds the row and its key.
    pub(crate) record: &'a [u8],
    pub(crate) key: &'a [u8],
}

impl ShortRow {
    /// Writes a row whose key are the columns from the first to before the second of `run`. None if
    /// it is none of those that go here.
    #[inline]
    pub(crate) fn write<R: Row + ?Sized>(
        &mut self,
        layout: &RowLayout,
        run: (usize, usize),
        row: &R,
    ) -> Option<ShortRecord<'_>> {
        if self.bytes.len() != ROOM {
            self.bytes.resize(ROOM, 0);
        }
        let bytes = self.bytes.first_chunk_mut::<ROOM>()?;
        let at = HEAD + layout.null_bytes();
        if at > ROOM {
            return None;
        }
        if at <= HEAD + 8 {
            // What is too much of it is overwritten.
            bytes[HEAD..HEAD + 8].fill(0);
        } else {
            bytes[HEAD..at].fill(0);
        }
        let slots = &*layout.slots;
        let mut writer = Writer { layout, slots, bytes, at, column: 0, run, key: (at, at) };
        if row.write(&mut writer).is_err() || writer.column != slots.len() {
            return None;
        }
        let (end, key) = (writer.at, writer.key);
        // The record: its length behind this field, the key's length, the key, the row.
        let length = key.1 - key.0;
        if length >= 0x80 || length > HEAD - 5 {
            return None;
        }
        let start = HEAD - 5 - length;
        bytes[start..start + 4].copy_from_slice(&((end - start - 4) as u32).to_le_bytes());
        bytes[start + 4] = length as u8;
        put_key(bytes, key.0, length);
        let (record, key) = (bytes.get(start..end)?, bytes.get(key.0..key.1)?);
        Some(ShortRecord { record, key })
    }
}

/// Copies the key to right in front of the row.
#[inline]
fn put_key(bytes: &mut [u8; ROOM], from: usize, length: usize) {
    let to = HEAD - length;
    if length >= 16 || from > ROOM - 16 {
        return bytes.copy_within(from..from + length, to);
    }
    // In one go, with what stands behind it left as it is.
    let sixteen = |at: usize| bytes[at..].first_chunk().map_or(0, |it| u128::from_le_bytes(*it));
    let (key, there) = (sixteen(from), sixteen(to));
    let mask = (1_u128 << (8 * length)) - 1;
    bytes[to..to + 16].copy_from_slice(&((key & mask) | (there & !mask)).to_le_bytes());
}

impl RowLayout {
    /// Whether the values of all columns can be those of a short row.
    pub(crate) fn may_be_short(&self) -> bool {
        let wide = |slot: &Slot| matches!(slot.kind, SlotKind::Nested);
        !self.slots.iter().any(wide)
    }
}

/// A value that does not go here.
#[derive(Debug)]
struct Other;

impl From<RowError> for Other {
    fn from(_: RowError) -> Self {
        Self
    }
}

struct Writer<'a> {
    layout: &'a RowLayout,
    slots: &'a [Slot],
    bytes: &'a mut [u8; ROOM],
    /// Where the next value goes; at most [`ROOM`].
    at: usize,
    column: usize,
    run: (usize, usize),
    key: (usize, usize),
}

impl Writer<'_> {
    /// The slot of the next value.
    #[inline]
    fn slot(&mut self) -> Result<Slot, Other> {
        if self.column == self.run.0 {
            self.key.0 = self.at;
        }
        self.slots.get(self.column).copied().ok_or(Other)
    }

    /// The value is written.
    #[inline]
    fn done(&mut self) -> Result<(), Other> {
        self.column += 1;
        if self.column == self.run.1 {
            self.key.1 = self.at;
        }
        Ok(())
    }

    #[inline]
    fn raw(&mut self, value: &[u8]) -> Result<(), Other> {
        let end = self.at + value.len();
        self.bytes.get_mut(self.at..end).ok_or(Other)?.copy_from_slice(value);
        self.at = end;
        Ok(())
    }

    /// Seven bits a byte, lowest first.
    #[inline]
    fn varint(&mut self, value: u64) -> Result<(), Other> {
        if value >= EIGHT_BYTES {
            return self.long_varint(value);
        }
        let room = self.bytes.get_mut(self.at..self.at + LONGEST).ok_or(Other)?;
        let room = room.first_chunk_mut::<8>().ok_or(Other)?;
        // Each group of seven bits moves to its byte, half of them at a time.
        let value = (value & 0x0fff_ffff) | (value & 0x00ff_ffff_f000_0000) << 4;
        let value = (value & 0x0000_3fff_0000_3fff) | (value & 0x0fff_c000_0fff_c000) << 2;
        let value = (value & 0x007f_007f_007f_007f) | (value & 0x3f80_3f80_3f80_3f80) << 1;
        let bytes = (64 - (value | 1).leading_zeros()).div_ceil(8);
        // All bytes but the last say that there are more.
        let more = 0x0080_8080_8080_8080 & !(u64::MAX << (8 * (bytes - 1)));
        *room = (value | more).to_le_bytes();
        self.at += bytes as usize;
        Ok(())
    }

    #[inline(never)]
    fn long_varint(&mut self, mut value: u64) -> Result<(), Other> {
        let room = self.bytes.get_mut(self.at..self.at + LONGEST).ok_or(Other)?;
        for byte in room {
            self.at += 1;
            *byte = value as u8 | 0x80;
            value >>= 7;
            if value == 0 {
                *byte &= 0x7f;
                break;
            }
        }
        Ok(())
    }

    /// A value that fails leaves nothing behind, as a row may go on after it.
    #[inline]
    fn text(&mut self, value: &[u8]) -> Result<(), Other> {
        let before = self.at;
        self.varint(value.len() as u64)?;
        let put = self.raw(value);
        if put.is_err() {
            self.at = before;
        }
        put
    }

    fn null(&mut self, slot: Slot) -> Result<(), Other> {
        if !slot.nullable {
            return Err(Other);
        }
        let byte = self.bytes.get_mut(HEAD + self.column / 8).ok_or(Other)?;
        *byte |= 1 << (self.column % 8);
        self.done()
    }

    /// Any value but the most common ones.
    #[inline(never)]
    fn any(&mut self, datum: Datum<'_>) -> Result<(), Other> {
        let slot = self.slot()?;
        if datum.is_null() {
            return self.null(slot);
        }
        match slot.store(datum).map_err(|_| Other)? {
            Stored::U8(value) => self.raw(&[value])?,
            Stored::I16(value) => self.raw(&value.to_le_bytes())?,
            Stored::I32(value) => self.varint(u64::from(value.cast_unsigned()))?,
            Stored::I64(value) => self.varint(value.cast_unsigned())?,
            Stored::F32(value) => self.raw(&value.to_le_bytes())?,
            Stored::F64(value) => self.raw(&value.to_le_bytes())?,
            Stored::Bytes(value) => self.text(value)?,
            Stored::Wide(unscaled) => {
                let (bytes, start) = minimal_be(unscaled);
                self.text(&bytes[start..])?;
            }
            Stored::Instant(millis, nanos) => {
                let before = self.at;
                self.varint(millis.cast_unsigned())?;
                let rest = self.varint(u64::from(nanos.cast_unsigned()));
                if rest.is_err() {
                    self.at = before;
                }
                rest?;
            }
        }
        self.done()
    }
}

impl RowSink for Writer<'_> {
    type Error = Other;

    #[inline]
    fn columns(&self) -> Option<Columns<'_>> {
        Some(Columns::all(self.layout.schema()))
    }

    #[inline]
    fn put(&mut self, datum: Datum<'_>) -> Result<(), Other> {
        self.any(datum)
    }

    #[inline]
    fn put_i32(&mut self, value: i32) -> Result<(), Other> {
        if self.slot()?.kind != SlotKind::I32 {
            return self.any(Datum::Int32(value));
        }
        self.varint(u64::from(value.cast_unsigned()))?;
        self.done()
    }

    #[inline]
    fn put_i64(&mut self, value: i64) -> Result<(), Other> {
        if self.slot()?.kind != SlotKind::I64 {
            return self.any(Datum::Int64(value));
        }
        self.varint(value.cast_unsigned())?;
        self.done()
    }

    #[inline]
    fn put_f64(&mut self, value: f64) -> Result<(), Other> {
        if self.slot()?.kind != SlotKind::F64 {
            return self.any(Datum::Float64(value));
        }
        self.raw(&value.to_le_bytes())?;
        self.done()
    }

    #[inline]
    fn put_str(&mut self, value: &str) -> Result<(), Other> {
        if self.slot()?.kind != SlotKind::Str {
            return self.any(Datum::Str(value));
        }
        self.text(value.as_bytes())?;
        self.done()
    }

    #[inline]
    fn put_bytes(&mut self, value: &[u8]) -> Result<(), Other> {
        if self.slot()?.kind != SlotKind::Bytes {
            return self.any(Datum::Bytes(value));
        }
        self.text(value)?;
        self.done()
    }
}

#[cfg(test)]
#[path = "short_tests.rs"]
mod tests;
