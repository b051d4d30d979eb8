//! ARRAY, MAP and ROW in the binary row formats: their parts, and how they are written.
//!
//! An array has a count, null bits, a slot of fixed width for each element, and behind them what
//! does not fit a slot; a map is an array of keys and one of values. Both look the same in all row
//! formats; a row within a row has the format of the outer one. Depth is bounded by the type.

use super::compacted;
use super::datum::Datum;
use super::error::{RowError, describe};
use super::indexed;
use super::nested::{Entries, Items};
use super::slot::{Misfit, Rules, Slot, SlotKind, Stored, minimal_be};
use super::types::{DataType, TypeKind};

/// Bytes and texts up to this length stand in their slot.
pub(super) const INLINE: usize = 7;
/// What a decimal of more than 18 digits takes behind the slots.
const WIDE_DECIMAL: usize = 16;

/// The row format around a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    Compacted,
    Indexed,
}

/// A part of a nested type: an element, a key, a value or a field.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) slot: Slot,
    /// What it is made of, if it is nested itself.
    pub(super) inner: Option<Box<Inner>>,
}

/// What a nested type is made of.
#[derive(Clone, Debug)]
pub(super) enum Inner {
    Array(Part),
    Map { key: Part, value: Part },
    Row(Box<[Part]>),
}

impl Part {
    fn new(data_type: &DataType, rules: Rules) -> Self {
        let slot = Slot::new(data_type, rules);
        Self { slot, inner: Inner::new(data_type, rules).map(Box::new) }
    }

    /// A part that has its length beside it, and so no padding.
    fn sized(data_type: &DataType, rules: Rules) -> Self {
        let slot = Slot::new(data_type, Rules { solid: false, ..rules });
        Self { slot, ..Self::new(data_type, rules) }
    }
}

impl Inner {
    /// The parts of a type, None for a scalar.
    pub(super) fn new(data_type: &DataType, rules: Rules) -> Option<Self> {
        match &data_type.kind {
            TypeKind::Array(element) => Some(Self::Array(Part::sized(element, rules))),
            TypeKind::Map(key, value) => {
                let mut key = Part::sized(key, rules);
                key.slot.nullable = false;
                Some(Self::Map { key, value: Part::sized(value, rules) })
            }
            TypeKind::Row(fields) => {
                let part = |field: &super::Field| Part::new(&field.data_type, rules);
                Some(Self::Row(fields.iter().map(part).collect()))
            }
            _ => None,
        }
    }
}

/// A step from a value to one within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Element(usize),
    Key(usize),
    Value(usize),
    Field(usize),
}

/// What is wrong with a value within a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Null,
    Reason(&'static str),
}

/// A value within a nested one that was refused. The path is collected on the way out, so that the
/// values that fit pay nothing for it.
#[derive(Debug)]
pub(crate) struct Deep {
    /// Innermost first.
    steps: Vec<Step>,
    why: Why,
    value: String,
}

impl Deep {
    #[cold]
    pub(crate) fn new(why: Why, datum: Datum<'_>) -> Box<Self> {
        Box::new(Self { steps: Vec::new(), why, value: describe(datum) })
    }

    #[cold]
    fn misfit(misfit: Misfit, datum: Datum<'_>) -> Box<Self> {
        let why = if misfit == Misfit::Null { Why::Null } else { Why::Reason(misfit.reason()) };
        Self::new(why, datum)
    }

    #[cold]
    pub(crate) fn below(mut self: Box<Self>, step: Step) -> Box<Self> {
        self.steps.push(step);
        self
    }

    /// The error, which names the path from the column to the value.
    #[cold]
    pub(crate) fn error(&self, column: &str, data_type: &DataType) -> RowError {
        let (mut path, mut at) = (column.to_owned(), data_type);
        for step in self.steps.iter().rev() {
            let (text, below) = match (step, &at.kind) {
                (Step::Element(index), TypeKind::Array(element)) => {
                    (format!("[{index}]"), Some(&**element))
                }
                (Step::Key(index), TypeKind::Map(key, _)) => {
                    (format!("[{index}].key"), Some(&**key))
                }
                (Step::Value(index), TypeKind::Map(_, value)) => {
                    (format!("[{index}].value"), Some(&**value))
                }
                (Step::Field(index), TypeKind::Row(fields)) => match fields.get(*index) {
                    Some(field) => (format!(".{}", field.name), Some(&field.data_type)),
                    None => (format!(".{index}"), None),
                },
                _ => (String::new(), None),
            };
            path.push_str(&text);
            // The steps were made along this type.
            at = below.unwrap_or(at);
        }
        match self.why {
            Why::Null => RowError::null(&path, at),
            Why::Reason(reason) => RowError::within(path, self.value.clone(), at, reason),
        }
    }
}

type Written = Result<(), Box<Deep>>;

/// Bytes of an element's slot.
pub(super) fn slot_width(slot: Slot) -> usize {
    match slot.kind {
        SlotKind::Bool | SlotKind::I8 => 1,
        SlotKind::I16 => 2,
        SlotKind::I32 | SlotKind::F32 | SlotKind::Date | SlotKind::Time => 4,
        _ => 8,
    }
}

/// Bytes of an array's count and null bits.
pub(super) fn array_head(count: usize) -> usize {
    4 + count.div_ceil(32) * 4
}

/// Appends a nested value, without a length before it.
pub(super) fn write(inner: &Inner, datum: Datum<'_>, within: Within, out: &mut Vec<u8>) -> Written {
    match (inner, datum) {
        (Inner::Array(part), Datum::Array(items)) => {
            let list = List { part, count: items.count(), step: Step::Element };
            list.write(&|at| items.item(at), within, out)
        }
        (Inner::Map { key, value }, Datum::Map(entries)) => {
            write_map(key, value, entries, within, out)
        }
        (Inner::Row(parts), Datum::Row(items)) if items.count() != parts.len() => {
            Err(Deep::new(Why::Reason(FIELDS), datum))
        }
        (Inner::Row(parts), Datum::Row(items)) => match within {
            Within::Compacted => write_compacted(parts, items, out),
            Within::Indexed => write_indexed(parts, items, out),
        },
        _ => Err(Deep::misfit(Misfit::Type, datum)),
    }
}

/// A ROW with more or fewer values than its type has fields.
pub(crate) const FIELDS: &str = "give one value for each field of the type";

fn write_map(
    key: &Part,
    value: &Part,
    entries: &dyn Entries,
    within: Within,
    out: &mut Vec<u8>,
) -> Written {
    let (start, count) = (out.len(), entries.count());
    out.extend_from_slice(&[0; 4]);
    let keys = List { part: key, count, step: Step::Key };
    keys.write(&|at| entries.entry(at).0, within, out)?;
    let length = i32::try_from(out.len() - start - 4)
        .map_err(|_| Deep::misfit(Misfit::Size, Datum::Map(entries)))?;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    let values = List { part: value, count, step: Step::Value };
    values.write(&|at| entries.entry(at).1, within, out)
}

/// An array being written.
struct List<'a> {
    part: &'a Part,
    count: usize,
    step: fn(usize) -> Step,
}

impl List<'_> {
    fn write<'d>(
        &self,
        item: &dyn Fn(usize) -> Datum<'d>,
        within: Within,
        out: &mut Vec<u8>,
    ) -> Written {
        let (start, width) = (out.len(), slot_width(self.part.slot));
        let head = array_head(self.count);
        let size = head.saturating_add(self.count.saturating_mul(width));
        let count = i32::try_from(self.count).ok().filter(|_| size < MAX_ARRAY);
        let count =
            count.ok_or_else(|| Deep::new(Why::Reason(Misfit::Size.reason()), Datum::Null))?;
        out.extend_from_slice(&count.to_le_bytes());
        out.resize(start + size.next_multiple_of(8), 0);
        for at in 0..self.count {
            let datum = item(at);
            if !datum.is_null() {
                let slot = start + head + at * width;
                let written = write_element(self.part, datum, within, (start, slot), out);
                written.map_err(|deep| deep.below((self.step)(at)))?;
            } else if self.part.slot.nullable {
                out[start + 4 + at / 8] |= 1 << (at % 8);
            } else {
                return Err(Deep::new(Why::Null, datum).below((self.step)(at)));
            }
        }
        Ok(())
    }
}

/// No array may be larger; its offsets have 31 bits.
const MAX_ARRAY: usize = i32::MAX as usize;

/// Writes an element that is not null; `start` is where its array begins, `slot` where its slot is.
fn write_element(
    part: &Part,
    datum: Datum<'_>,
    within: Within,
    (start, slot): (usize, usize),
    out: &mut Vec<u8>,
) -> Written {
    let end = out.len();
    if let Some(inner) = &part.inner {
        write(inner, datum, within, out)?;
        let length = out.len() - end;
        return spill((start, slot), end, length, out)
            .map_err(|misfit| Deep::misfit(misfit, datum));
    }
    write_slot(part.slot, datum, (start, slot), out).map_err(|misfit| Deep::misfit(misfit, datum))
}

/// Writes a scalar into its slot, and what does not fit there behind the row or array that begins
/// at `start`.
pub(super) fn write_slot(
    slot: Slot,
    datum: Datum<'_>,
    (start, at): (usize, usize),
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let end = out.len();
    let mut put = |bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    match slot.store(datum)? {
        Stored::U8(value) => put(&[value]),
        Stored::I16(value) => put(&value.to_le_bytes()),
        Stored::I32(value) => put(&value.to_le_bytes()),
        Stored::I64(value) => put(&value.to_le_bytes()),
        Stored::F32(value) => put(&value.to_le_bytes()),
        Stored::F64(value) => put(&value.to_le_bytes()),
        Stored::Bytes(bytes) if bytes.len() <= INLINE => {
            put(bytes);
            out[at + INLINE] = 0x80 | bytes.len() as u8;
        }
        Stored::Bytes(bytes) => {
            out.extend_from_slice(bytes);
            return spill((start, at), end, bytes.len(), out);
        }
        Stored::Wide(unscaled) => {
            let (bytes, first) = minimal_be(unscaled);
            out.extend_from_slice(&bytes[first..]);
            out.resize(end + WIDE_DECIMAL, 0);
            return spill((start, at), end, bytes.len() - first, out);
        }
        Stored::Instant(millis, nanos) => {
            out.extend_from_slice(&millis.to_le_bytes());
            // Nanoseconds within a millisecond stand where others have their length.
            return spill((start, at), end, nanos.unsigned_abs() as usize, out);
        }
    }
    Ok(())
}

/// Pads what was written at `at`, and says in the slot where it is.
fn spill(
    (start, slot): (usize, usize),
    at: usize,
    length: usize,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    out.resize(start + (out.len() - start).next_multiple_of(8), 0);
    let (Ok(offset), Ok(length)) = (i32::try_from(at - start), i32::try_from(length)) else {
        return Err(Misfit::Size);
    };
    out[slot..slot + 4].copy_from_slice(&length.to_le_bytes());
    out[slot + 4..slot + 8].copy_from_slice(&offset.to_le_bytes());
    Ok(())
}

fn write_compacted(parts: &[Part], items: &dyn Items, out: &mut Vec<u8>) -> Written {
    let start = out.len();
    out.resize(start + parts.len().div_ceil(8), 0);
    for (at, part) in parts.iter().enumerate() {
        let datum = items.item(at);
        let written = match &part.inner {
            _ if datum.is_null() => null_bit(part, start + at / 8, at, out),
            Some(inner) => write_prefixed(inner, datum, out),
            None => compacted::put_value(part.slot, datum, out)
                .map_err(|misfit| Deep::misfit(misfit, datum)),
        };
        written.map_err(|deep| deep.below(Step::Field(at)))?;
    }
    Ok(())
}

fn null_bit(part: &Part, byte: usize, at: usize, out: &mut [u8]) -> Written {
    if !part.slot.nullable {
        return Err(Deep::new(Why::Null, Datum::Null));
    }
    out[byte] |= 1 << (at % 8);
    Ok(())
}

/// Appends a nested value as a COMPACTED row has it, behind its length.
pub(super) fn write_prefixed(inner: &Inner, datum: Datum<'_>, out: &mut Vec<u8>) -> Written {
    let start = out.len();
    write(inner, datum, Within::Compacted, out)?;
    let length = out.len() - start;
    let prefix = i32::try_from(length).map_err(|_| Deep::misfit(Misfit::Size, datum))?;
    // The length is known only now, and its own length depends on it.
    compacted::put_varint(out, u64::from(prefix.cast_unsigned()));
    out[start..].rotate_left(length);
    Ok(())
}

fn write_indexed(parts: &[Part], items: &dyn Items, out: &mut Vec<u8>) -> Written {
    let start = out.len();
    let mut length_at = start + parts.len().div_ceil(8);
    let variable = parts.iter().filter(|part| indexed::is_variable(part.slot)).count();
    out.resize(length_at + 4 * variable, 0);
    for (at, part) in parts.iter().enumerate() {
        let datum = items.item(at);
        let written = match &part.inner {
            _ if datum.is_null() => null_bit(part, start + at / 8, at, out),
            Some(inner) => write_measured(inner, datum, out, &mut length_at),
            None => indexed::put_value(part.slot, datum, out, &mut length_at)
                .map_err(|misfit| Deep::misfit(misfit, datum)),
        };
        written.map_err(|deep| deep.below(Step::Field(at)))?;
    }
    Ok(())
}

/// Appends a nested value as an INDEXED row has it, its length in the row's list.
pub(super) fn write_measured(
    inner: &Inner,
    datum: Datum<'_>,
    out: &mut Vec<u8>,
    length_at: &mut usize,
) -> Written {
    let start = out.len();
    write(inner, datum, Within::Indexed, out)?;
    let length = i32::try_from(out.len() - start);
    let length = length.map_err(|_| Deep::misfit(Misfit::Size, datum))?;
    out[*length_at..*length_at + 4].copy_from_slice(&length.to_le_bytes());
    *length_at += 4;
    Ok(())
}

#[cfg(test)]
#[path = "inner_tests.rs"]
mod tests;
