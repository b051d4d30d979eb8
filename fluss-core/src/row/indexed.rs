//! INDEXED rows: null bits, the lengths of the variable-length values, then the values.
//!
//! A fixed-length text or byte value is padded with zero bytes. Of a text they are stripped when it
//! is read; a BINARY value has the length of its type, zero bytes at its end included. Servers and
//! Java's readers strip those too, and so lose what belongs to the value.

use super::datum::{Datum, Decimal, OwnedDatum, OwnedRow, Timestamp};
use super::decode::{DecodeReason, RowDecodeError, bytes_of, take};
use super::error::RowError;
use super::inner::{self, Within};
use super::inner_read;
use super::slot::{COMPACT_DECIMAL, Misfit, Slot, SlotKind, Stored, from_be, minimal_be};
use super::{Columns, Row, RowLayout, RowSink};

/// Fixed lengths beyond this are refused: a single short value would be padded to that many bytes.
const MAX_FIXED: u32 = 64 << 20;

/// Appends one row to a buffer.
///
/// # Errors
/// What is wrong with the row; the buffer is then as it was.
pub fn encode<R: Row + ?Sized>(
    layout: &RowLayout,
    row: &R,
    out: &mut Vec<u8>,
) -> Result<(), RowError> {
    let start = out.len();
    let mut writer = IndexedWriter::new(layout, out);
    let result = row.write(&mut writer).and_then(|()| writer.finish());
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Whether values of the column carry a length of their own.
pub(super) fn is_variable(slot: Slot) -> bool {
    match slot.kind {
        SlotKind::Str | SlotKind::Bytes | SlotKind::Nested => true,
        SlotKind::Decimal { precision, .. } => precision > COMPACT_DECIMAL,
        _ => false,
    }
}

fn length_bytes(layout: &RowLayout) -> usize {
    4 * layout.slots.iter().filter(|slot| is_variable(**slot)).count()
}

/// The sink that writes one INDEXED row behind whatever its buffer holds.
#[derive(Debug)]
pub struct IndexedWriter<'a> {
    layout: &'a RowLayout,
    out: &'a mut Vec<u8>,
    start: usize,
    /// Where the next variable-length value's length goes.
    length_at: usize,
    column: usize,
}

impl<'a> IndexedWriter<'a> {
    /// Starts a row at the end of the buffer.
    #[must_use]
    pub fn new(layout: &'a RowLayout, out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        let length_at = start + layout.null_bytes();
        out.resize(length_at + length_bytes(layout), 0);
        Self { layout, out, start, length_at, column: 0 }
    }

    /// Ends the row.
    ///
    /// # Errors
    /// The row had too few values.
    pub fn finish(self) -> Result<(), RowError> {
        if self.column == self.layout.arity() {
            Ok(())
        } else {
            Err(self.layout.arity_error(self.column))
        }
    }

    /// Kept out of the path of flat rows.
    #[inline(never)]
    fn put_nested(&mut self, datum: Datum<'_>) -> Result<(), RowError> {
        let Some(inner) = self.layout.inner(self.column) else {
            return Err(self.layout.misfit(self.column, Misfit::Type, datum));
        };
        inner::write_measured(inner, datum, self.out, &mut self.length_at)
            .map_err(|deep| self.layout.deep(self.column, &deep))
    }
}

/// Appends one value that is not null; the length of a variable one goes to `length_at`.
pub(super) fn put_value(
    slot: Slot,
    datum: Datum<'_>,
    out: &mut Vec<u8>,
    length_at: &mut usize,
) -> Result<(), Misfit> {
    match slot.store(datum)? {
        Stored::U8(value) => out.push(value),
        Stored::I16(value) => out.extend_from_slice(&value.to_le_bytes()),
        Stored::I32(value) => out.extend_from_slice(&value.to_le_bytes()),
        Stored::I64(value) => out.extend_from_slice(&value.to_le_bytes()),
        Stored::F32(value) => out.extend_from_slice(&value.to_le_bytes()),
        Stored::F64(value) => out.extend_from_slice(&value.to_le_bytes()),
        Stored::Bytes(bytes) => match slot.kind {
            SlotKind::Char(width) | SlotKind::Binary(width) => {
                if width > MAX_FIXED || bytes.len() > width as usize {
                    return Err(Misfit::FixedLength);
                }
                let end = out.len() + width as usize;
                out.extend_from_slice(bytes);
                out.resize(end, 0);
            }
            _ => put_variable(bytes, out, length_at)?,
        },
        Stored::Wide(unscaled) => {
            let (bytes, start) = minimal_be(unscaled);
            put_variable(&bytes[start..], out, length_at)?;
        }
        Stored::Instant(millis, nanos) => {
            out.extend_from_slice(&millis.to_le_bytes());
            out.extend_from_slice(&nanos.to_le_bytes());
        }
    }
    Ok(())
}

fn put_variable(bytes: &[u8], out: &mut Vec<u8>, length_at: &mut usize) -> Result<(), Misfit> {
    let length = i32::try_from(bytes.len()).map_err(|_| Misfit::Size)?;
    out[*length_at..*length_at + 4].copy_from_slice(&length.to_le_bytes());
    *length_at += 4;
    out.extend_from_slice(bytes);
    Ok(())
}

impl RowSink for IndexedWriter<'_> {
    type Error = RowError;

    fn columns(&self) -> Option<Columns<'_>> {
        Some(Columns::all(self.layout.schema()))
    }

    fn put(&mut self, datum: Datum<'_>) -> Result<(), RowError> {
        let Some(&slot) = self.layout.slots.get(self.column) else {
            return Err(self.layout.arity_error(self.column + 1));
        };
        if datum.is_null() {
            if !slot.nullable {
                return Err(self.layout.misfit(self.column, Misfit::Null, datum));
            }
            self.out[self.start + self.column / 8] |= 1 << (self.column % 8);
        } else {
            match put_value(slot, datum, self.out, &mut self.length_at) {
                Ok(()) => {}
                Err(Misfit::Nested) => self.put_nested(datum)?,
                Err(misfit) => return Err(self.layout.misfit(self.column, misfit, datum)),
            }
        }
        self.column += 1;
        Ok(())
    }
}

/// Reads one INDEXED row, column by column, from bytes that may be anything.
#[derive(Debug)]
pub struct IndexedReader<'a> {
    layout: &'a RowLayout,
    nulls: &'a [u8],
    lengths: &'a [u8],
    rest: &'a [u8],
    column: usize,
    /// Where a decimal lives while its datum is borrowed.
    decimal: Decimal,
    /// Likewise an ARRAY, MAP or ROW.
    nested: OwnedDatum,
}

impl<'a> IndexedReader<'a> {
    /// Starts at the first column.
    ///
    /// # Errors
    /// The bytes are too short for null bits and lengths.
    pub fn new(layout: &'a RowLayout, bytes: &'a [u8]) -> Result<Self, RowDecodeError> {
        let mut rest = bytes;
        let corrupt = |reason| RowDecodeError { column: 0, reason };
        let nulls = take(&mut rest, layout.null_bytes()).map_err(corrupt)?;
        let lengths = take(&mut rest, length_bytes(layout)).map_err(corrupt)?;
        let (decimal, nested) = (Decimal::new(0, 0), OwnedDatum::Null);
        Ok(Self { layout, nulls, lengths, rest, column: 0, decimal, nested })
    }

    /// The next column's value; None after the last one.
    ///
    /// # Errors
    /// The bytes are no such value, or bytes are left after the last column.
    pub fn next_datum(&mut self) -> Result<Option<Datum<'_>>, RowDecodeError> {
        let column = self.column;
        let Some(&slot) = self.layout.slots.get(column) else {
            if self.rest.is_empty() {
                return Ok(None);
            }
            return Err(RowDecodeError { column, reason: DecodeReason::Trailing });
        };
        self.column += 1;
        if slot.nullable && self.nulls[column / 8] & (1 << (column % 8)) != 0 {
            return Ok(Some(Datum::Null));
        }
        let corrupt = |reason| RowDecodeError { column, reason };
        let bytes = take_value(slot, &mut self.rest, &mut self.lengths).map_err(corrupt)?;
        if let Some(inner) = self.layout.inner(column) {
            self.nested = inner_read::read(inner, bytes, Within::Indexed).map_err(corrupt)?;
            return Ok(Some(self.nested.as_datum()));
        }
        read_value(slot, bytes, &mut self.decimal).map(Some).map_err(corrupt)
    }

    /// The next column's value, owned.
    fn next_owned(&mut self) -> Result<Option<OwnedDatum>, RowDecodeError> {
        let nested = self.layout.inner(self.column).is_some();
        let read = self.next_datum()?;
        if nested && read.is_some_and(|datum| !datum.is_null()) {
            return Ok(Some(std::mem::replace(&mut self.nested, OwnedDatum::Null)));
        }
        Ok(read.map(OwnedDatum::from))
    }
}

/// Takes the bytes of one value off the front of `rest`, and its length off that of `lengths` if it
/// has one.
pub(super) fn take_value<'a>(
    slot: Slot,
    rest: &mut &'a [u8],
    lengths: &mut &'a [u8],
) -> Result<&'a [u8], DecodeReason> {
    if !is_variable(slot) {
        return take(rest, width(slot));
    }
    let length = i32::from_le_bytes(bytes_of(lengths)?);
    take(rest, usize::try_from(length).map_err(|_| DecodeReason::Length)?)
}

/// Reads a scalar out of its bytes; a decimal is left in `decimal` and borrowed from there.
pub(super) fn read_value<'d, 'a: 'd>(
    slot: Slot,
    bytes: &'a [u8],
    decimal: &'d mut Decimal,
) -> Result<Datum<'d>, DecodeReason> {
    let mut fixed = bytes;
    Ok(match slot.kind {
        SlotKind::Bool => Datum::Bool(bytes_of::<1>(&mut fixed)? != [0]),
        SlotKind::I8 => Datum::Int8(i8::from_le_bytes(bytes_of(&mut fixed)?)),
        SlotKind::I16 => Datum::Int16(i16::from_le_bytes(bytes_of(&mut fixed)?)),
        SlotKind::I32 => Datum::Int32(i32::from_le_bytes(bytes_of(&mut fixed)?)),
        SlotKind::I64 => Datum::Int64(i64::from_le_bytes(bytes_of(&mut fixed)?)),
        SlotKind::F32 => Datum::Float32(f32::from_le_bytes(bytes_of(&mut fixed)?)),
        SlotKind::F64 => Datum::Float64(f64::from_le_bytes(bytes_of(&mut fixed)?)),
        SlotKind::Date => Datum::Date(i32::from_le_bytes(bytes_of(&mut fixed)?)),
        SlotKind::Time => Datum::Time(i32::from_le_bytes(bytes_of(&mut fixed)?)),
        SlotKind::Str => Datum::Str(text(bytes)?),
        SlotKind::Char(_) => Datum::Str(text(strip(bytes))?),
        SlotKind::Bytes => Datum::Bytes(bytes),
        SlotKind::Binary(_) => Datum::Bytes(bytes),
        SlotKind::Decimal { precision, scale } => {
            let unscaled = if precision <= COMPACT_DECIMAL {
                i128::from(i64::from_le_bytes(bytes_of(&mut fixed)?))
            } else {
                from_be(bytes).ok_or(DecodeReason::Decimal)?
            };
            *decimal = Decimal { unscaled, scale };
            Datum::Decimal(decimal)
        }
        SlotKind::Timestamp { nanos } => Datum::Timestamp(timestamp(fixed, nanos)?),
        SlotKind::TimestampLtz { nanos } => Datum::TimestampLtz(timestamp(fixed, nanos)?),
        SlotKind::Nested => return Err(DecodeReason::Nested),
    })
}

/// Reads a whole row into values of its own.
///
/// # Errors
/// As [`IndexedReader::next_datum`].
pub fn decode(layout: &RowLayout, bytes: &[u8]) -> Result<OwnedRow, RowDecodeError> {
    let mut reader = IndexedReader::new(layout, bytes)?;
    let mut values = Vec::with_capacity(layout.arity());
    while let Some(value) = reader.next_owned()? {
        values.push(value);
    }
    Ok(OwnedRow::new(values))
}

/// Bytes of a value of a column that has no length of its own.
fn width(slot: Slot) -> usize {
    match slot.kind {
        SlotKind::Bool | SlotKind::I8 => 1,
        SlotKind::I16 => 2,
        SlotKind::I32 | SlotKind::F32 | SlotKind::Date | SlotKind::Time => 4,
        SlotKind::Timestamp { nanos: true } | SlotKind::TimestampLtz { nanos: true } => 12,
        SlotKind::Char(width) | SlotKind::Binary(width) => width as usize,
        _ => 8,
    }
}

fn text(bytes: &[u8]) -> Result<&str, DecodeReason> {
    std::str::from_utf8(bytes).map_err(|_| DecodeReason::Utf8)
}

/// Without the zero bytes at the end.
fn strip(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &bytes[..end]
}

fn timestamp(mut bytes: &[u8], nanos: bool) -> Result<Timestamp, DecodeReason> {
    let millis = i64::from_le_bytes(bytes_of(&mut bytes)?);
    let nanos = if nanos { i32::from_le_bytes(bytes_of(&mut bytes)?) } else { 0 };
    match u32::try_from(nanos) {
        Ok(nanos) if nanos < 1_000_000 => Ok(Timestamp { millis, nanos }),
        _ => Err(DecodeReason::Nanos),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DataType, Schema};
    use super::*;
    use crate::row;

    fn layout(types: &[&str]) -> RowLayout {
        let builder = types.iter().enumerate().fold(Schema::builder(), |builder, (index, text)| {
            let data_type: DataType = text.parse().expect("a type");
            builder.column(format!("c{index}"), data_type)
        });
        RowLayout::new(&builder.build().expect("a schema"))
    }

    fn check<R: Row>(types: &[&str], row: R, expected: &str) {
        let layout = layout(types);
        let mut bytes = Vec::new();
        encode(&layout, &row, &mut bytes).expect("the row fits");
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected, "{types:?}");
        let decoded = decode(&layout, &bytes).expect("what was written reads back");
        let mut again = Vec::new();
        encode(&layout, &decoded, &mut again).expect("what was read writes again");
        assert_eq!(again, bytes, "{types:?}");
        for end in 0..bytes.len() {
            assert!(decode(&layout, &bytes[..end]).is_err(), "cut after {end} bytes");
        }
    }

    #[test]
    fn rows_are_those_of_the_server() {
        check(&["INT", "STRING"], (1, "a"), "00010000000100000061");
        check(
            &["INT", "STRING", "BIGINT"],
            (1, None::<&str>, 5_i64),
            "0200000000010000000500000000000000",
        );
        check(&["INT", "INT"], (None::<i32>, 2), "0102000000");
        let texts = (None::<&str>, "bb", "c");
        check(&["STRING"; 3], texts, "01020000000100000000000000626263");
        check(
            &["STRING", "CHAR(4)", "BINARY(3)", "BYTES", "DECIMAL(20,0)", "TIMESTAMP(6)"],
            (
                "a",
                "ab",
                b"\x01\x02",
                b"\xff",
                Decimal::new(10, 0),
                Timestamp { millis: 1000, nanos: 1 },
            ),
            concat!("000100000001000000010000006161620000010200ff0a", "e80300000000000001000000"),
        );
    }

    #[test]
    fn a_text_longer_than_its_fixed_length_is_refused() {
        let error = encode(&layout(&["CHAR(2)"]), &("äb",), &mut Vec::new());
        let error = error.expect_err("three bytes").to_string();
        assert!(error.contains("longer than the fixed length"), "{error}");
        let huge = layout(&["CHAR(2147483647)"]);
        assert!(encode(&huge, &("a",), &mut Vec::new()).is_err(), "not padded to 2 GiB");
    }

    #[test]
    fn hostile_lengths_give_typed_errors() {
        let strings = layout(&["STRING"]);
        for (length, reason) in [(-1, DecodeReason::Length), (i32::MAX, DecodeReason::Truncated)] {
            let bytes = [&[0][..], &length.to_le_bytes()].concat();
            assert_eq!(decode(&strings, &bytes).map_err(|e| e.reason), Err(reason));
        }
        assert_eq!(
            decode(&layout(&["CHAR(2147483647)"]), &[0]),
            Err(RowDecodeError { column: 0, reason: DecodeReason::Truncated })
        );
        let row = row![Datum::Null];
        let mut bytes = Vec::new();
        encode(&strings, &row, &mut bytes).expect("null fits");
        assert_eq!(bytes, [1, 0, 0, 0, 0]);
    }
}
