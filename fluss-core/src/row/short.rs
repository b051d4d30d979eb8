//! Short COMPACTED rows, written into a fixed number of bytes with room for a head in front.
//!
//! Most rows of primary-key tables are a few numbers and short texts. Written here they need one
//! look at the room for each value and none at a buffer that may have to grow, and what a batch has
//! in front of each row is put there without moving it. Whatever does not fit, because it is long
//! or because it is wrong, goes the general way, which has the words for it.

use super::datum::Datum;
use super::error::RowError;
use super::hash::{self, KeyHash};
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
/// Numbers below this have at most four bytes.
const FOUR_BYTES: u64 = 1 << 28;

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
    /// What places the row where its bucket key is its key.
    pub(crate) hash: KeyHash,
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
        let cursor = Cursor { at, column: 0, key: (at, at), hash: KeyHash::default() };
        let mut writer = Writer { layout, slots, bytes: &mut *bytes, cursor, run };
        let written = row.write(&mut writer);
        let Cursor { at: end, column, key, hash } = writer.cursor;
        if written.is_err() || column != slots.len() {
            return None;
        }
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
        Some(ShortRecord { record, key, hash })
    }
}

/// Copies the key to right in front of the row.
#[inline]
fn put_key(bytes: &mut [u8; ROOM], from: usize, length: usize) {
    let to = HEAD - length;
    if length >= 8 || from > ROOM - 8 {
        return bytes.copy_within(from..from + length, to);
    }
    // In one go, with what stands behind it left as it is.
    let eight = |at: usize| bytes[at..].first_chunk().map_or(0, |it| u64::from_le_bytes(*it));
    let (key, there) = (eight(from), eight(to));
    let mask = (1_u64 << (8 * length)) - 1;
    bytes[to..to + 8].copy_from_slice(&((key & mask) | (there & !mask)).to_le_bytes());
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

/// Where a writer is.
#[derive(Clone, Copy)]
struct Cursor {
    /// Where the next value goes; at most [`ROOM`].
    at: usize,
    column: usize,
    /// Where the key's columns begin and end.
    key: (usize, usize),
    hash: KeyHash,
}

/// Nothing gets a reference to it but what becomes part of its caller: all of it would have to lie
/// in memory else, and each value wait for what the one before has stored.
struct Writer<'a, 'b> {
    layout: &'a RowLayout,
    slots: &'a [Slot],
    bytes: &'b mut [u8; ROOM],
    cursor: Cursor,
    run: (usize, usize),
}

/// Bytes behind the ones there are.
#[inline(always)]
fn raw(bytes: &mut [u8; ROOM], at: usize, value: &[u8]) -> Result<usize, Other> {
    let end = at + value.len();
    bytes.get_mut(at..end).ok_or(Other)?.copy_from_slice(value);
    Ok(end)
}

/// Seven bits a byte, lowest first. The answer is where it ends.
#[inline(always)]
fn varint(bytes: &mut [u8; ROOM], at: usize, value: u64) -> Result<usize, Other> {
    if value >= FOUR_BYTES {
        return longer_varint(bytes, at, value);
    }
    let room = bytes.get_mut(at..at + 4).ok_or(Other)?;
    let room = room.first_chunk_mut::<4>().ok_or(Other)?;
    // Each group of seven bits moves to its byte, half of them at a time.
    let value = value as u32;
    let value = (value & 0x3fff) | (value & 0x0fff_c000) << 2;
    let value = (value & 0x007f_007f) | (value & 0x3f80_3f80) << 1;
    // All bytes but the last say that there are more.
    let last = (value | 1).ilog2() / 8;
    let more = 0x0080_8080 & ((1 << (8 * last)) - 1);
    *room = (value | more).to_le_bytes();
    Ok(at + last as usize + 1)
}

#[inline(never)]
fn longer_varint(bytes: &mut [u8; ROOM], at: usize, value: u64) -> Result<usize, Other> {
    if value >= EIGHT_BYTES {
        return long_varint(bytes, at, value);
    }
    let room = bytes.get_mut(at..at + LONGEST).ok_or(Other)?;
    let room = room.first_chunk_mut::<8>().ok_or(Other)?;
    let value = (value & 0x0fff_ffff) | (value & 0x00ff_ffff_f000_0000) << 4;
    let value = (value & 0x0000_3fff_0000_3fff) | (value & 0x0fff_c000_0fff_c000) << 2;
    let value = (value & 0x007f_007f_007f_007f) | (value & 0x3f80_3f80_3f80_3f80) << 1;
    let last = (value | 1).ilog2() / 8;
    let more = 0x0080_8080_8080_8080 & ((1 << (8 * last)) - 1);
    *room = (value | more).to_le_bytes();
    Ok(at + last as usize + 1)
}

#[inline(never)]
fn long_varint(bytes: &mut [u8; ROOM], mut at: usize, mut value: u64) -> Result<usize, Other> {
    let room = bytes.get_mut(at..at + LONGEST).ok_or(Other)?;
    for byte in room {
        at += 1;
        *byte = value as u8 | 0x80;
        value >>= 7;
        if value == 0 {
            *byte &= 0x7f;
            break;
        }
    }
    Ok(at)
}

#[inline(always)]
fn text(bytes: &mut [u8; ROOM], at: usize, value: &[u8]) -> Result<usize, Other> {
    if value.len() < 0x80 {
        // Most texts, whose length is a byte of its own.
        *bytes.get_mut(at).ok_or(Other)? = value.len() as u8;
        return raw(bytes, at + 1, value);
    }
    let at = varint(bytes, at, value.len() as u64)?;
    raw(bytes, at, value)
}

/// Any value but the most common ones, for this slot, which is that of this column.
#[inline(never)]
fn any(
    bytes: &mut [u8; ROOM],
    at: usize,
    (slot, column): (Slot, usize),
    datum: Datum<'_>,
) -> Result<usize, Other> {
    if datum.is_null() {
        if !slot.nullable {
            return Err(Other);
        }
        let byte = bytes.get_mut(HEAD + column / 8).ok_or(Other)?;
        *byte |= 1 << (column % 8);
        return Ok(at);
    }
    match slot.store(datum).map_err(|_| Other)? {
        Stored::U8(value) => raw(bytes, at, &[value]),
        Stored::I16(value) => raw(bytes, at, &value.to_le_bytes()),
        Stored::I32(value) => varint(bytes, at, u64::from(value.cast_unsigned())),
        Stored::I64(value) => varint(bytes, at, value.cast_unsigned()),
        Stored::F32(value) => raw(bytes, at, &value.to_le_bytes()),
        Stored::F64(value) => raw(bytes, at, &value.to_le_bytes()),
        Stored::Bytes(value) => text(bytes, at, value),
        Stored::Wide(unscaled) => {
            let (value, start) = minimal_be(unscaled);
            text(bytes, at, &value[start..])
        }
        Stored::Instant(millis, nanos) => {
            let at = varint(bytes, at, millis.cast_unsigned())?;
            varint(bytes, at, u64::from(nanos.cast_unsigned()))
        }
    }
}

/// The hash of the key. It takes each of its steps from the one before, which is as long as half
/// of a row takes: begun when the key is there, it is done by the time the other columns are.
#[inline(never)]
fn hash_of(bytes: &[u8; ROOM], (from, to): (usize, usize)) -> KeyHash {
    hash::of_key(bytes.get(from..to).unwrap_or_default())
}

impl Writer<'_, '_> {
    /// The slot of the next value.
    #[inline(always)]
    fn slot(&mut self) -> Result<Slot, Other> {
        if self.cursor.column == self.run.0 {
            self.cursor.key.0 = self.cursor.at;
        }
        self.slots.get(self.cursor.column).copied().ok_or(Other)
    }

    /// The value is written up to here. One that failed leaves nothing behind, as a row may go on
    /// after it.
    #[inline(always)]
    fn done(&mut self, end: Result<usize, Other>) -> Result<(), Other> {
        self.cursor.at = end?;
        self.cursor.column += 1;
        if self.cursor.column == self.run.1 {
            self.cursor.key.1 = self.cursor.at;
            self.cursor.hash = hash_of(self.bytes, self.cursor.key);
        }
        Ok(())
    }

    #[inline(always)]
    fn any(&mut self, slot: Slot, datum: Datum<'_>) -> Result<(), Other> {
        let end = any(self.bytes, self.cursor.at, (slot, self.cursor.column), datum);
        self.done(end)
    }
}

impl RowSink for Writer<'_, '_> {
    type Error = Other;

    #[inline]
    fn columns(&self) -> Option<Columns<'_>> {
        Some(Columns::all(self.layout.schema()))
    }

    #[inline(always)]
    fn put(&mut self, datum: Datum<'_>) -> Result<(), Other> {
        let slot = self.slot()?;
        self.any(slot, datum)
    }

    #[inline(always)]
    fn put_i32(&mut self, value: i32) -> Result<(), Other> {
        let slot = self.slot()?;
        if slot.kind != SlotKind::I32 {
            return self.any(slot, Datum::Int32(value));
        }
        let end = varint(self.bytes, self.cursor.at, u64::from(value.cast_unsigned()));
        self.done(end)
    }

    #[inline(always)]
    fn put_i64(&mut self, value: i64) -> Result<(), Other> {
        let slot = self.slot()?;
        if slot.kind != SlotKind::I64 {
            return self.any(slot, Datum::Int64(value));
        }
        let end = varint(self.bytes, self.cursor.at, value.cast_unsigned());
        self.done(end)
    }

    #[inline(always)]
    fn put_f64(&mut self, value: f64) -> Result<(), Other> {
        let slot = self.slot()?;
        if slot.kind != SlotKind::F64 {
            return self.any(slot, Datum::Float64(value));
        }
        let end = raw(self.bytes, self.cursor.at, &value.to_le_bytes());
        self.done(end)
    }

    #[inline(always)]
    fn put_str(&mut self, value: &str) -> Result<(), Other> {
        let slot = self.slot()?;
        if slot.kind != SlotKind::Str {
            return self.any(slot, Datum::Str(value));
        }
        let end = text(self.bytes, self.cursor.at, value.as_bytes());
        self.done(end)
    }

    #[inline(always)]
    fn put_bytes(&mut self, value: &[u8]) -> Result<(), Other> {
        let slot = self.slot()?;
        if slot.kind != SlotKind::Bytes {
            return self.any(slot, Datum::Bytes(value));
        }
        let end = text(self.bytes, self.cursor.at, value);
        self.done(end)
    }
}

#[cfg(test)]
#[path = "short_tests.rs"]
mod tests;
