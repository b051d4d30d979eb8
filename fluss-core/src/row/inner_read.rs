//! ARRAY, MAP and ROW out of the binary row formats, from bytes that may be anything.
//!
//! Offsets within an array may point anywhere, also several to the same place, which could make a
//! few bytes mean very many values. No sound writer lets values overlap, so what is read is counted
//! against the length of the whole.

use super::compacted;
use super::datum::{Decimal, OwnedDatum, Timestamp};
use super::decode::{DecodeReason, bytes_of, take};
use super::indexed;
use super::inner::{INLINE, Inner, Part, Within, array_head, slot_width};
use super::slot::{COMPACT_DECIMAL, Slot, SlotKind, from_be};

type Read<T> = Result<T, DecodeReason>;

/// The values that a nested one may hold at every depth together: 256 MiB of them. A null takes a
/// bit in the bytes and as much memory as any value outside them.
const MAX_VALUES: usize = (256 << 20) / size_of::<OwnedDatum>();

/// Reads a nested value that takes all these bytes.
pub(super) fn read(inner: &Inner, bytes: &[u8], within: Within) -> Read<OwnedDatum> {
    Reader { within, left: bytes.len(), room: MAX_VALUES }.value(inner, bytes)
}

struct Reader {
    within: Within,
    /// Bytes that may still be read.
    left: usize,
    /// Values that may still be made of them.
    room: usize,
}

impl Reader {
    fn charge(&mut self, bytes: usize) -> Read<()> {
        self.left = self.left.checked_sub(bytes).ok_or(DecodeReason::Overlap)?;
        Ok(())
    }

    /// Room for so many values.
    fn values(&mut self, count: usize) -> Read<Vec<OwnedDatum>> {
        self.room = self.room.checked_sub(count).ok_or(DecodeReason::TooLarge)?;
        Ok(Vec::with_capacity(count))
    }

    fn value(&mut self, inner: &Inner, bytes: &[u8]) -> Read<OwnedDatum> {
        match inner {
            Inner::Array(part) => self.array(part, bytes).map(OwnedDatum::Array),
            Inner::Map { key, value } => self.map(key, value, bytes).map(OwnedDatum::Map),
            Inner::Row(parts) => match self.within {
                Within::Compacted => self.compacted(parts, bytes),
                Within::Indexed => self.indexed(parts, bytes),
            }
            .map(OwnedDatum::Row),
        }
    }

    fn map(
        &mut self,
        key: &Part,
        value: &Part,
        bytes: &[u8],
    ) -> Read<Vec<(OwnedDatum, OwnedDatum)>> {
        let mut rest = bytes;
        let length = i32::from_le_bytes(bytes_of(&mut rest)?);
        self.charge(4)?;
        let keys = take(&mut rest, usize::try_from(length).map_err(|_| DecodeReason::Length)?)?;
        let keys = self.array(key, keys)?;
        let values = self.array(value, rest)?;
        if keys.len() != values.len() {
            return Err(DecodeReason::Count);
        }
        Ok(keys.into_iter().zip(values).collect())
    }

    fn array(&mut self, part: &Part, bytes: &[u8]) -> Read<Vec<OwnedDatum>> {
        let mut rest = bytes;
        let count = i32::from_le_bytes(bytes_of(&mut rest)?);
        let count = usize::try_from(count).map_err(|_| DecodeReason::Count)?;
        let (head, width) = (array_head(count), slot_width(part.slot));
        // Counts have 31 bits and widths are at most 8.
        let fixed = head as u64 + count as u64 * width as u64;
        if fixed > bytes.len() as u64 {
            return Err(DecodeReason::Count);
        }
        self.charge(head + count * width)?;
        let mut items = self.values(count)?;
        for at in 0..count {
            let null = bytes[4 + at / 8] & (1 << (at % 8)) != 0;
            if part.slot.nullable && null {
                items.push(OwnedDatum::Null);
                continue;
            }
            let slot = head + at * width;
            items.push(self.element(part, bytes, &bytes[slot..slot + width])?);
        }
        Ok(items)
    }

    fn element(&mut self, part: &Part, array: &[u8], slot: &[u8]) -> Read<OwnedDatum> {
        if let Some(inner) = &part.inner {
            return self.value(inner, spilled(array, slot)?);
        }
        let mut fixed = slot;
        Ok(match part.slot.kind {
            SlotKind::Str | SlotKind::Char(_) => {
                let text = std::str::from_utf8(self.bytes(array, slot)?);
                OwnedDatum::Str(text.map_err(|_| DecodeReason::Utf8)?.to_owned())
            }
            SlotKind::Bytes | SlotKind::Binary(_) => {
                OwnedDatum::Bytes(self.bytes(array, slot)?.to_vec())
            }
            SlotKind::Decimal { precision, scale } => {
                let unscaled = if precision <= COMPACT_DECIMAL {
                    i128::from(i64::from_le_bytes(bytes_of(&mut fixed)?))
                } else {
                    let bytes = spilled(array, slot)?;
                    self.charge(bytes.len())?;
                    from_be(bytes).ok_or(DecodeReason::Decimal)?
                };
                OwnedDatum::Decimal(Decimal { unscaled, scale })
            }
            SlotKind::Timestamp { nanos: true } => {
                OwnedDatum::Timestamp(self.instant(array, slot)?)
            }
            SlotKind::TimestampLtz { nanos: true } => {
                OwnedDatum::TimestampLtz(self.instant(array, slot)?)
            }
            // All others stand in their slot as they stand in an INDEXED row.
            _ => indexed::read_value(part.slot, fixed, &mut Decimal::new(0, 0))?.into(),
        })
    }

    /// Text or bytes: in the slot if they are short.
    fn bytes<'a>(&mut self, array: &'a [u8], slot: &'a [u8]) -> Read<&'a [u8]> {
        if slot[INLINE] & 0x80 != 0 {
            let length = usize::from(slot[INLINE] & 0x7f);
            return slot[..INLINE].get(..length).ok_or(DecodeReason::Truncated);
        }
        let bytes = spilled(array, slot)?;
        self.charge(bytes.len())?;
        Ok(bytes)
    }

    fn instant(&mut self, array: &[u8], slot: &[u8]) -> Read<Timestamp> {
        let (offset, nanos) = halves(slot)?;
        let mut bytes = array.get(offset..).ok_or(DecodeReason::Truncated)?;
        let millis = i64::from_le_bytes(bytes_of(&mut bytes)?);
        self.charge(8)?;
        match u32::try_from(nanos) {
            Ok(nanos) if nanos < 1_000_000 => Ok(Timestamp { millis, nanos }),
            _ => Err(DecodeReason::Nanos),
        }
    }

    fn compacted(&mut self, parts: &[Part], bytes: &[u8]) -> Read<Vec<OwnedDatum>> {
        let mut rest = bytes;
        let nulls = take(&mut rest, parts.len().div_ceil(8))?;
        self.charge(nulls.len())?;
        let mut fields = self.values(parts.len())?;
        for (at, part) in parts.iter().enumerate() {
            let before = rest.len();
            fields.push(match &part.inner {
                _ if is_null(part.slot, nulls, at) => OwnedDatum::Null,
                Some(inner) => {
                    let bytes = compacted::read_bytes(&mut rest)?;
                    self.charge(before - rest.len() - bytes.len())?;
                    self.value(inner, bytes)?
                }
                None => {
                    let mut decimal = Decimal::new(0, 0);
                    let value = compacted::read_value(part.slot, &mut rest, &mut decimal)?.into();
                    self.charge(before - rest.len())?;
                    value
                }
            });
        }
        if rest.is_empty() { Ok(fields) } else { Err(DecodeReason::Trailing) }
    }

    fn indexed(&mut self, parts: &[Part], bytes: &[u8]) -> Read<Vec<OwnedDatum>> {
        let mut rest = bytes;
        let nulls = take(&mut rest, parts.len().div_ceil(8))?;
        let variable = parts.iter().filter(|part| indexed::is_variable(part.slot)).count();
        let mut lengths = take(&mut rest, 4 * variable)?;
        self.charge(nulls.len() + lengths.len())?;
        let mut fields = self.values(parts.len())?;
        for (at, part) in parts.iter().enumerate() {
            if is_null(part.slot, nulls, at) {
                fields.push(OwnedDatum::Null);
                continue;
            }
            let bytes = indexed::take_value(part.slot, &mut rest, &mut lengths)?;
            fields.push(match &part.inner {
                Some(inner) => self.value(inner, bytes)?,
                None => {
                    self.charge(bytes.len())?;
                    indexed::read_value(part.slot, bytes, &mut Decimal::new(0, 0))?.into()
                }
            });
        }
        if rest.is_empty() { Ok(fields) } else { Err(DecodeReason::Trailing) }
    }
}

fn is_null(slot: Slot, nulls: &[u8], at: usize) -> bool {
    // The bit counts for nothing where null is not allowed.
    slot.nullable && nulls[at / 8] & (1 << (at % 8)) != 0
}

/// Offset and length, or what stands in the length's place.
fn halves(slot: &[u8]) -> Read<(usize, i32)> {
    let mut rest = slot;
    let low = i32::from_le_bytes(bytes_of(&mut rest)?);
    let offset = i32::from_le_bytes(bytes_of(&mut rest)?);
    Ok((usize::try_from(offset).map_err(|_| DecodeReason::Length)?, low))
}

/// What a slot points to.
fn spilled<'a>(array: &'a [u8], slot: &[u8]) -> Read<&'a [u8]> {
    let (offset, length) = halves(slot)?;
    let length = usize::try_from(length).map_err(|_| DecodeReason::Length)?;
    let mut rest = array.get(offset..).ok_or(DecodeReason::Truncated)?;
    take(&mut rest, length)
}
