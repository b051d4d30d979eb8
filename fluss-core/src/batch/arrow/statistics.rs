//! What a batch of version 1 says about its columns in front of its rows: how many values are null,
//! and the smallest and the largest of the others. Servers skip batches by it for readers that
//! filter.
//!
//! A bound that is too tight would hide rows, so whatever is not certain is left out: a bound that
//! is null while not all values are means "unknown". So it is for CHAR, where Java does it too, and
//! for texts longer than [`TEXT_BYTES`], which would make the block large.

use std::cmp::Ordering;

use super::bits::Validity;
use super::column::{Column, Values, Variable};
use super::convert::Unit;
use crate::row::{Schema, TypeKind, minimal_be};

/// The version of the block.
const VERSION: u8 = 1;
/// The longest text that is a bound, in bytes.
const TEXT_BYTES: usize = 128;
/// Texts up to this length stand in their slot.
const INLINE_BYTES: usize = 7;
/// Version, number of columns, and the lengths of the two rows.
const FIXED_BYTES: usize = 1 + 2 + 4 + 4;

/// The columns that statistics are kept of.
#[derive(Debug)]
pub(super) struct Statistics {
    columns: Vec<Kept>,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    /// The position in the schema.
    index: u16,
    bounds: Bounds,
}

/// How bounds of a column are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bounds {
    /// Only nulls are counted.
    None,
    /// In eight bytes.
    Word,
    /// A text.
    Text,
    /// A decimal of more than eight bytes.
    Wide,
    /// A point in time with nanoseconds.
    Nanos,
}

impl Bounds {
    /// None for types without statistics.
    fn of(kind: &TypeKind) -> Option<Self> {
        Some(match kind {
            TypeKind::Boolean
            | TypeKind::TinyInt
            | TypeKind::SmallInt
            | TypeKind::Int
            | TypeKind::BigInt
            | TypeKind::Float
            | TypeKind::Double
            | TypeKind::Date
            | TypeKind::Time(_)
            | TypeKind::Timestamp(0..=3)
            | TypeKind::TimestampLtz(0..=3)
            | TypeKind::Decimal { precision: 0..=18, .. } => Self::Word,
            TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_) => Self::Nanos,
            TypeKind::Decimal { .. } => Self::Wide,
            TypeKind::String => Self::Text,
            TypeKind::Char(_) => Self::None,
            _ => return None,
        })
    }

    /// The most bytes behind the slots of a row.
    fn variable_bytes(self) -> usize {
        match self {
            Self::None | Self::Word => 0,
            Self::Text => TEXT_BYTES,
            Self::Wide => 16,
            Self::Nanos => 8,
        }
    }
}

/// Whether statistics can be kept of a column of this type.
pub(in crate::batch) fn has_statistics(kind: &TypeKind) -> bool {
    Bounds::of(kind).is_some()
}

impl Statistics {
    /// Statistics of the columns at these positions, as far as their types have any. Positions of
    /// no column are left out.
    pub(super) fn new(schema: &Schema, columns: &[usize]) -> Self {
        let kept = columns.iter().filter_map(|&index| {
            let column = schema.columns().get(index)?;
            let bounds = Bounds::of(&column.data_type.kind)?;
            Some(Kept { index: u16::try_from(index).ok().filter(|i| *i < 1 << 15)?, bounds })
        });
        let mut columns: Vec<Kept> = kept.collect();
        columns.truncate(i16::MAX as usize);
        Self { columns }
    }

    /// The most bytes that the block can take.
    pub(super) fn max_bytes(&self) -> usize {
        let arity = self.columns.len();
        if arity == 0 {
            return 0;
        }
        let variable: usize = self.columns.iter().map(|kept| kept.bounds.variable_bytes()).sum();
        FIXED_BYTES + arity * 6 + 2 * (null_bytes(arity) + arity * 8 + variable)
    }

    /// Writes the block for these columns, which have `rows` values each.
    pub(super) fn write(&self, columns: &[Column], rows: usize, out: &mut Vec<u8>) {
        let arity = self.columns.len();
        if arity == 0 {
            return;
        }
        out.push(VERSION);
        // At most as many columns as an i16 counts, and at most 2^24 rows.
        out.extend_from_slice(&(arity as i16).to_le_bytes());
        for kept in &self.columns {
            out.extend_from_slice(&kept.index.to_le_bytes());
        }
        for kept in &self.columns {
            let nulls = columns[usize::from(kept.index)].validity.nulls();
            out.extend_from_slice(&(nulls as i32).to_le_bytes());
        }
        let bounds: Vec<(Bound<'_>, Bound<'_>)> = self
            .columns
            .iter()
            .map(|kept| match kept.bounds {
                Bounds::None => (Bound::Unknown, Bound::Unknown),
                of => bounds(&columns[usize::from(kept.index)], of, rows),
            })
            .collect();
        write_row(out, bounds.iter().map(|(min, _)| *min));
        write_row(out, bounds.iter().map(|(_, max)| *max));
    }
}

/// The bytes in front of the slots: a byte of nothing and a bit for each column.
fn null_bytes(arity: usize) -> usize {
    (arity + 63 + 8) / 64 * 8
}

/// A bound of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound<'a> {
    /// No value, or none that is certain or small enough.
    Unknown,
    Word(u64),
    Text(&'a [u8]),
    Wide(i128),
    Time {
        millis: i64,
        nanos: u32,
    },
}

/// Writes the length of a row in the ALIGNED format, and the row.
fn write_row<'a>(out: &mut Vec<u8>, bounds: impl ExactSizeIterator<Item = Bound<'a>>) {
    let arity = bounds.len();
    let length_at = out.len();
    let start = length_at + 4;
    let slots = start + null_bytes(arity);
    out.resize(slots + arity * 8, 0);
    for (at, bound) in bounds.enumerate() {
        // An offset is that of a small row.
        let offset = ((out.len() - start) as u64) << 32;
        let slot = match bound {
            Bound::Unknown => {
                let bit = 8 + at;
                out[start + bit / 8] |= 1 << (bit % 8);
                0
            }
            Bound::Word(word) => word,
            Bound::Text(text) if text.len() <= INLINE_BYTES => {
                let mut slot = [0; 8];
                slot[..text.len()].copy_from_slice(text);
                slot[7] = 0x80 | text.len() as u8;
                u64::from_le_bytes(slot)
            }
            Bound::Text(text) => {
                out.extend_from_slice(text);
                out.resize(out.len() + (text.len().next_multiple_of(8) - text.len()), 0);
                offset | text.len() as u64
            }
            Bound::Wide(unscaled) => {
                let (bytes, first) = minimal_be(unscaled);
                let bytes = &bytes[first..];
                out.extend_from_slice(bytes);
                out.resize(out.len() + 16 - bytes.len(), 0);
                offset | bytes.len() as u64
            }
            Bound::Time { millis, nanos } => {
                out.extend_from_slice(&millis.to_le_bytes());
                offset | u64::from(nanos)
            }
        };
        let slot_at = slots + at * 8;
        out[slot_at..slot_at + 8].copy_from_slice(&slot.to_le_bytes());
    }
    let length = (out.len() - start) as i32;
    out[length_at..start].copy_from_slice(&length.to_le_bytes());
}

/// The smallest and the largest value.
fn bounds(column: &Column, of: Bounds, rows: usize) -> (Bound<'_>, Bound<'_>) {
    let nulls = &column.validity;
    let found = match &column.values {
        Values::Bool(bits) => {
            let values = (0..rows).map(|at| bits.get(at) == Some(true));
            extremes(values, nulls, Ord::cmp).map(|pair| both(pair, |v| word(u64::from(v))))
        }
        Values::Int8(values) => plain(values, nulls, |v| word(u64::from(v as u8))),
        Values::Int16(values) => plain(values, nulls, |v| word(u64::from(v as u16))),
        Values::Int32(values) | Values::Date(values) => plain(values, nulls, word_of_i32),
        Values::Int64(values) => plain(values, nulls, |v| word(v as u64)),
        Values::Float32(values) => {
            let order = |a: &f32, b: &f32| java_order(*a, *b, f32::is_nan, f32::total_cmp);
            extremes(values.iter().copied(), nulls, order)
                .map(|pair| both(pair, |v| word(u64::from(v.to_bits()))))
        }
        Values::Float64(values) => {
            let order = |a: &f64, b: &f64| java_order(*a, *b, f64::is_nan, f64::total_cmp);
            extremes(values.iter().copied(), nulls, order)
                .map(|pair| both(pair, |v| word(v.to_bits())))
        }
        Values::Decimal { unscaled, .. } if of == Bounds::Wide => {
            plain(unscaled, nulls, Bound::Wide)
        }
        // Eighteen digits fit.
        Values::Decimal { unscaled, .. } => plain(unscaled, nulls, |v| word(v as i64 as u64)),
        Values::Text(texts) => {
            let values = (0..rows).map(|at| text(texts, at));
            extremes(values, nulls, Ord::cmp).map(|pair| both(pair, bound_of_text))
        }
        Values::Time32(values, grain) => plain(values, nulls, |v| match grain.unit() {
            Unit::Second => word_of_i32(v.saturating_mul(1000)),
            _ => word_of_i32(v),
        }),
        // Milliseconds of a day.
        Values::Time64(values, grain) => plain(values, nulls, |v| match grain.unit() {
            Unit::Microsecond => word_of_i32((v / 1_000) as i32),
            _ => word_of_i32((v / 1_000_000) as i32),
        }),
        Values::Timestamp(values, grain) | Values::TimestampLtz(values, grain) => {
            plain(values, nulls, |v| time(v, grain.unit()))
        }
        _ => None,
    };
    match found {
        Some(pair) if pair.0 != Bound::Unknown && pair.1 != Bound::Unknown => pair,
        _ => (Bound::Unknown, Bound::Unknown),
    }
}

fn word<'a>(word: u64) -> Bound<'a> {
    Bound::Word(word)
}

/// Values of fewer than eight bytes have zeros behind them, whatever their sign.
fn word_of_i32<'a>(value: i32) -> Bound<'a> {
    Bound::Word(u64::from(value as u32))
}

fn bound_of_text(text: &[u8]) -> Bound<'_> {
    if text.len() > TEXT_BYTES { Bound::Unknown } else { Bound::Text(text) }
}

fn time<'a>(value: i64, unit: Unit) -> Bound<'a> {
    let split = |per_milli: i64, nanos: i64| Bound::Time {
        millis: value.div_euclid(per_milli),
        nanos: (value.rem_euclid(per_milli) * nanos) as u32,
    };
    match unit {
        Unit::Second => {
            value.checked_mul(1000).map_or(Bound::Unknown, |millis| word(millis as u64))
        }
        Unit::Millisecond => word(value as u64),
        Unit::Microsecond => split(1_000, 1_000),
        Unit::Nanosecond => split(1_000_000, 1),
    }
}

fn text(texts: &Variable, at: usize) -> &[u8] {
    // Offsets were made from lengths.
    &texts.data[texts.offsets[at] as usize..texts.offsets[at + 1] as usize]
}

/// As Java compares: zeros differ, each NaN is the same and above all numbers.
fn java_order<T>(a: T, b: T, is_nan: fn(T) -> bool, total: fn(&T, &T) -> Ordering) -> Ordering
where
    T: Copy,
{
    match (is_nan(a), is_nan(b)) {
        (false, false) => total(&a, &b),
        (a, b) => a.cmp(&b),
    }
}

fn plain<'a, T: Copy + Ord>(
    values: &[T],
    nulls: &Validity,
    bound: impl Fn(T) -> Bound<'a>,
) -> Option<(Bound<'a>, Bound<'a>)> {
    extremes(values.iter().copied(), nulls, Ord::cmp).map(|pair| both(pair, bound))
}

fn both<'a, T>((min, max): (T, T), bound: impl Fn(T) -> Bound<'a>) -> (Bound<'a>, Bound<'a>) {
    (bound(min), bound(max))
}

/// The smallest and the largest of the values that are not null, of equal ones the first.
fn extremes<T: Copy>(
    values: impl Iterator<Item = T>,
    nulls: &Validity,
    order: impl Fn(&T, &T) -> Ordering,
) -> Option<(T, T)> {
    let bitmap = nulls.bitmap();
    let valid = |at: usize| bitmap.is_none_or(|bits| bits[at / 8] & (1 << (at % 8)) != 0);
    let mut values = values.enumerate().filter(|(at, _)| valid(*at)).map(|(_, value)| value);
    let first = values.next()?;
    Some(values.fold((first, first), |(min, max), value| {
        let min = if order(&value, &min) == Ordering::Less { value } else { min };
        let max = if order(&value, &max) == Ordering::Greater { value } else { max };
        (min, max)
    }))
}
