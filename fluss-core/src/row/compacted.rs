//! COMPACTED rows: null bits, then the values one after another without padding.
//!
//! The format of values in primary-key tables and, without the null bits, of their keys. Nothing
//! here allocates per row: the writer appends to a buffer of the caller's, the reader borrows.

use super::datum::{Datum, Decimal, OwnedDatum, OwnedRow, Timestamp};
use super::decode::{DecodeReason, RowDecodeError, bytes_of, take};
use super::error::RowError;
use super::inner::{self, Within};
use super::inner_read;
use super::slot::{COMPACT_DECIMAL, Misfit, Slot, SlotKind, Stored, from_be, minimal_be};
use super::{Columns, Row, RowLayout, RowSink};

/// Appends one row to a buffer.
///
/// ```
/// use fluss_core::row;
/// use fluss_core::row::{DataType, RowLayout, Schema, compacted};
///
/// let schema = Schema::builder()
///     .column("a", DataType::INT)
///     .column("b", DataType::STRING)
///     .build()
///     .unwrap();
/// let mut bytes = Vec::new();
/// compacted::encode(&RowLayout::new(&schema), &row![1, "a"], &mut bytes).unwrap();
/// assert_eq!(bytes, [0x00, 0x01, 0x01, b'a']);
/// ```
///
/// # Errors
/// What is wrong with the row; the buffer is then as it was.
#[inline]
pub fn encode<R: Row + ?Sized>(
    layout: &RowLayout,
    row: &R,
    out: &mut Vec<u8>,
) -> Result<(), RowError> {
    let start = out.len();
    let mut writer = CompactedWriter::new(layout, out);
    let result = row.write(&mut writer).and_then(|()| writer.finish());
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// The sink that writes one COMPACTED row behind whatever its buffer holds.
#[derive(Debug)]
pub struct CompactedWriter<'a> {
    layout: &'a RowLayout,
    out: &'a mut Vec<u8>,
    start: usize,
    column: usize,
}

impl<'a> CompactedWriter<'a> {
    /// Starts a row at the end of the buffer.
    #[inline]
    #[must_use]
    pub fn new(layout: &'a RowLayout, out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        out.resize(start + layout.null_bytes(), 0);
        Self { layout, out, start, column: 0 }
    }

    /// Ends the row.
    ///
    /// # Errors
    /// The row had too few values.
    #[inline]
    pub fn finish(self) -> Result<(), RowError> {
        if self.column == self.layout.arity() {
            Ok(())
        } else {
            Err(self.layout.arity_error(self.column))
        }
    }

    /// Bytes of the row so far, null bits included.
    #[inline]
    #[must_use]
    pub fn written(&self) -> usize {
        self.out.len() - self.start
    }

    #[cold]
    fn refuse(&self, misfit: Misfit, datum: Datum<'_>) -> RowError {
        self.layout.misfit(self.column, misfit, datum)
    }

    #[inline]
    fn slot(&self) -> Result<Slot, RowError> {
        match self.layout.slots.get(self.column) {
            Some(slot) => Ok(*slot),
            None => Err(self.layout.arity_error(self.column + 1)),
        }
    }

    /// Kept out of the path of flat rows.
    #[inline(never)]
    fn put_nested(&mut self, datum: Datum<'_>) -> Result<(), RowError> {
        let Some(inner) = self.layout.inner(self.column) else {
            return Err(self.refuse(Misfit::Type, datum));
        };
        inner::write_prefixed(inner, datum, self.out)
            .map_err(|deep| self.layout.deep(self.column, &deep))?;
        self.column += 1;
        Ok(())
    }

    fn put_null(&mut self, slot: Slot) -> Result<(), RowError> {
        if !slot.nullable {
            return Err(self.refuse(Misfit::Null, Datum::Null));
        }
        self.out[self.start + self.column / 8] |= 1 << (self.column % 8);
        self.column += 1;
        Ok(())
    }
}

impl RowSink for CompactedWriter<'_> {
    type Error = RowError;

    #[inline]
    fn columns(&self) -> Option<Columns<'_>> {
        Some(Columns::all(self.layout.schema()))
    }

    #[inline]
    fn put(&mut self, datum: Datum<'_>) -> Result<(), RowError> {
        let slot = self.slot()?;
        if datum.is_null() {
            return self.put_null(slot);
        }
        match put_value(slot, datum, self.out) {
            Ok(()) => {
                self.column += 1;
                Ok(())
            }
            Err(Misfit::Nested) => self.put_nested(datum),
            Err(misfit) => Err(self.refuse(misfit, datum)),
        }
    }
}

/// Appends one value that is not null; the same bytes stand in rows and in keys.
#[inline]
pub(super) fn put_value(slot: Slot, datum: Datum<'_>, out: &mut Vec<u8>) -> Result<(), Misfit> {
    match slot.store(datum)? {
        Stored::U8(value) => out.push(value),
        Stored::I16(value) => out.extend_from_slice(&value.to_le_bytes()),
        Stored::I32(value) => put_varint(out, u64::from(value.cast_unsigned())),
        Stored::I64(value) => put_varint(out, value.cast_unsigned()),
        Stored::F32(value) => out.extend_from_slice(&value.to_le_bytes()),
        Stored::F64(value) => out.extend_from_slice(&value.to_le_bytes()),
        Stored::Bytes(bytes) => {
            let length = i32::try_from(bytes.len()).map_err(|_| Misfit::FixedLength)?;
            put_varint(out, u64::from(length.cast_unsigned()));
            out.extend_from_slice(bytes);
        }
        Stored::Wide(unscaled) => {
            let (bytes, start) = minimal_be(unscaled);
            // One to sixteen bytes, so the length is a single byte.
            out.push((16 - start) as u8);
            out.extend_from_slice(&bytes[start..]);
        }
        Stored::Instant(millis, nanos) => {
            put_varint(out, millis.cast_unsigned());
            put_varint(out, u64::from(nanos.cast_unsigned()));
        }
    }
    Ok(())
}

#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    let mut bytes = [0_u8; 10];
    let mut length = 0;
    while value >= 0x80 {
        bytes[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    bytes[length] = value as u8;
    // A copy of a fixed length is a few instructions, one of a variable length is a call.
    let end = out.len() + length + 1;
    out.extend_from_slice(&bytes);
    out.truncate(end);
}

/// Reads one COMPACTED row, column by column, from bytes that may be anything.
#[derive(Debug)]
pub struct CompactedReader<'a> {
    layout: &'a RowLayout,
    nulls: &'a [u8],
    rest: &'a [u8],
    column: usize,
    /// Where a decimal lives while its datum is borrowed.
    decimal: Decimal,
    /// Likewise an ARRAY, MAP or ROW.
    nested: OwnedDatum,
}

impl<'a> CompactedReader<'a> {
    /// Starts at the first column.
    ///
    /// # Errors
    /// The bytes are too short for the null bits.
    pub fn new(layout: &'a RowLayout, bytes: &'a [u8]) -> Result<Self, RowDecodeError> {
        let Some((nulls, rest)) = bytes.split_at_checked(layout.null_bytes()) else {
            return Err(RowDecodeError { column: 0, reason: DecodeReason::Truncated });
        };
        let decimal = Decimal::new(0, 0);
        Ok(Self { layout, nulls, rest, column: 0, decimal, nested: OwnedDatum::Null })
    }

    /// The next column's value; None after the last one.
    ///
    /// # Errors
    /// The bytes are no such value, or bytes are left after the last column. Reading on after an
    /// error gives whatever the bytes say, never a panic.
    pub fn next_datum(&mut self) -> Result<Option<Datum<'_>>, RowDecodeError> {
        let column = self.column;
        let Some(&slot) = self.layout.slots.get(column) else {
            if self.rest.is_empty() {
                return Ok(None);
            }
            return Err(RowDecodeError { column, reason: DecodeReason::Trailing });
        };
        self.column += 1;
        // The bit counts for nothing in a column that cannot be null.
        if slot.nullable && self.is_null(column) {
            return Ok(Some(Datum::Null));
        }
        let corrupt = |reason| RowDecodeError { column, reason };
        if let Some(inner) = self.layout.inner(column) {
            let read = read_bytes(&mut self.rest)
                .and_then(|bytes| inner_read::read(inner, bytes, Within::Compacted));
            self.nested = read.map_err(corrupt)?;
            return Ok(Some(self.nested.as_datum()));
        }
        read_value(slot, &mut self.rest, &mut self.decimal).map(Some).map_err(corrupt)
    }

    fn is_null(&self, column: usize) -> bool {
        self.nulls[column / 8] & (1 << (column % 8)) != 0
    }
}

/// Reads a whole row into values of its own.
///
/// # Errors
/// As [`CompactedReader::next_datum`].
pub fn decode(layout: &RowLayout, bytes: &[u8]) -> Result<OwnedRow, RowDecodeError> {
    let Some((nulls, mut rest)) = bytes.split_at_checked(layout.null_bytes()) else {
        return Err(RowDecodeError { column: 0, reason: DecodeReason::Truncated });
    };
    let mut values = Vec::with_capacity(layout.arity());
    // Most columns are of the types that stand here: what is read as a datum first is moved several
    // times more.
    for (column, slot) in layout.slots.iter().enumerate() {
        if slot.nullable && nulls[column / 8] & (1 << (column % 8)) != 0 {
            values.push(OwnedDatum::Null);
            continue;
        }
        let corrupt = |reason| RowDecodeError { column, reason };
        values.push(match slot.kind {
            SlotKind::I32 => OwnedDatum::Int32(read_i32(&mut rest).map_err(corrupt)?),
            SlotKind::I64 => OwnedDatum::Int64(read_i64(&mut rest).map_err(corrupt)?),
            SlotKind::F64 => {
                OwnedDatum::Float64(f64::from_le_bytes(bytes_of(&mut rest).map_err(corrupt)?))
            }
            SlotKind::Str => {
                let text = std::str::from_utf8(read_bytes(&mut rest).map_err(corrupt)?);
                OwnedDatum::Str(text.map_err(|_| corrupt(DecodeReason::Utf8))?.to_owned())
            }
            _ => {
                let (value, behind) = read_other(layout, (column, *slot), rest).map_err(corrupt)?;
                rest = behind;
                value
            }
        });
    }
    if !rest.is_empty() {
        let column = layout.arity();
        return Err(RowDecodeError { column, reason: DecodeReason::Trailing });
    }
    Ok(OwnedRow::new(values))
}

/// What is left is handed back, not changed in place: whoever calls it has it in registers.
#[inline(never)]
fn read_other<'a>(
    layout: &RowLayout,
    (column, slot): (usize, Slot),
    mut rest: &'a [u8],
) -> Result<(OwnedDatum, &'a [u8]), DecodeReason> {
    let value = match layout.inner(column) {
        Some(inner) => inner_read::read(inner, read_bytes(&mut rest)?, Within::Compacted)?,
        None => read_value(slot, &mut rest, &mut Decimal::new(0, 0))?.into(),
    };
    Ok((value, rest))
}

/// Takes one value off the front of `rest`; a decimal is left in `decimal` and borrowed from there.
pub(super) fn read_value<'d, 'a: 'd>(
    slot: Slot,
    rest: &mut &'a [u8],
    decimal: &'d mut Decimal,
) -> Result<Datum<'d>, DecodeReason> {
    Ok(match slot.kind {
        SlotKind::Bool => Datum::Bool(take(rest, 1)?[0] != 0),
        SlotKind::I8 => Datum::Int8(i8::from_le_bytes(bytes_of(rest)?)),
        SlotKind::I16 => Datum::Int16(i16::from_le_bytes(bytes_of(rest)?)),
        SlotKind::I32 => Datum::Int32(read_i32(rest)?),
        SlotKind::I64 => Datum::Int64(read_i64(rest)?),
        SlotKind::F32 => Datum::Float32(f32::from_le_bytes(bytes_of(rest)?)),
        SlotKind::F64 => Datum::Float64(f64::from_le_bytes(bytes_of(rest)?)),
        SlotKind::Date => Datum::Date(read_i32(rest)?),
        SlotKind::Time => Datum::Time(read_i32(rest)?),
        SlotKind::Str | SlotKind::Char(_) => {
            let text = std::str::from_utf8(read_bytes(rest)?).map_err(|_| DecodeReason::Utf8)?;
            Datum::Str(text)
        }
        SlotKind::Bytes | SlotKind::Binary(_) => Datum::Bytes(read_bytes(rest)?),
        SlotKind::Decimal { precision, scale } => {
            let unscaled = if precision <= COMPACT_DECIMAL {
                i128::from(read_i64(rest)?)
            } else {
                from_be(read_bytes(rest)?).ok_or(DecodeReason::Decimal)?
            };
            *decimal = Decimal { unscaled, scale };
            Datum::Decimal(decimal)
        }
        SlotKind::Timestamp { nanos } => Datum::Timestamp(read_timestamp(rest, nanos)?),
        SlotKind::TimestampLtz { nanos } => Datum::TimestampLtz(read_timestamp(rest, nanos)?),
        SlotKind::Nested => return Err(DecodeReason::Nested),
    })
}

fn read_timestamp(rest: &mut &[u8], nanos: bool) -> Result<Timestamp, DecodeReason> {
    let millis = read_i64(rest)?;
    let nanos = if nanos { read_i32(rest)? } else { 0 };
    match u32::try_from(nanos) {
        Ok(nanos) if nanos < 1_000_000 => Ok(Timestamp { millis, nanos }),
        _ => Err(DecodeReason::Nanos),
    }
}

#[inline]
pub(super) fn read_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], DecodeReason> {
    let length = usize::try_from(read_i32(rest)?).map_err(|_| DecodeReason::Length)?;
    take(rest, length)
}

/// A number of so many bytes at most; most have one or two.
#[inline]
fn read_number(rest: &[u8], most: u32) -> Result<(u64, &[u8]), DecodeReason> {
    match rest {
        [first @ ..0x80, behind @ ..] => Ok((u64::from(*first), behind)),
        [first, second @ ..0x80, behind @ ..] => {
            Ok((u64::from(*first & 0x7f) | u64::from(*second) << 7, behind))
        }
        _ => read_long(rest, most),
    }
}

#[inline(never)]
fn read_long(mut rest: &[u8], most: u32) -> Result<(u64, &[u8]), DecodeReason> {
    let mut value = 0_u64;
    for at in 0..most {
        let byte = take(&mut rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok((value, rest));
        }
    }
    Err(DecodeReason::Varint)
}

#[inline]
fn read_i32(rest: &mut &[u8]) -> Result<i32, DecodeReason> {
    let (value, behind) = read_number(rest, 5)?;
    *rest = behind;
    // Bits beyond the 32nd are dropped, as every reader of the format does.
    Ok((value as u32).cast_signed())
}

#[inline]
fn read_i64(rest: &mut &[u8]) -> Result<i64, DecodeReason> {
    let (value, behind) = read_number(rest, 10)?;
    *rest = behind;
    Ok(value.cast_signed())
}

#[cfg(test)]
#[path = "compacted_tests.rs"]
mod tests;
