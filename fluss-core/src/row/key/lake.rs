//! Keys as data lakes hash them, so that a bucket holds the same rows here and there.

use std::fmt::Write as _;

use super::super::RowError;
use super::super::datum::{Datum, Timestamp};
use super::super::inner::write_slot;
use super::super::java::{write_decimal, write_float, write_time};
use super::super::slot::{Misfit, Slot, SlotKind, Stored, minimal_be};
use super::{KeyFormat, Part, Schema};

/// What stands for null in a Hudi key of one column; in one of several, such texts are refused.
const HUDI_NULL: &str = "__null__";
const HUDI_EMPTY: &str = "__empty__";

/// A key under way.
pub(super) enum LakeKey {
    /// A Paimon row that begins here.
    Paimon {
        start: usize,
    },
    Iceberg,
    Hudi {
        hash: JavaHash,
        alone: bool,
    },
}

impl LakeKey {
    pub(super) fn begin(format: KeyFormat, columns: usize, out: &mut Vec<u8>) -> Self {
        match format {
            KeyFormat::Paimon => {
                let start = out.len();
                out.resize(start + paimon_fixed(columns), 0);
                Self::Paimon { start }
            }
            KeyFormat::Hudi => Self::Hudi { hash: JavaHash(1), alone: columns == 1 },
            // Compacted keys are written elsewhere.
            KeyFormat::Iceberg | KeyFormat::Compacted => Self::Iceberg,
        }
    }

    /// Takes the value of the `index`-th of so many columns.
    pub(super) fn put(
        &mut self,
        (index, columns): (usize, usize),
        slot: Slot,
        datum: Datum<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Misfit> {
        if datum.is_null() && (!slot.nullable || matches!(self, Self::Iceberg)) {
            return Err(Misfit::Null);
        }
        match self {
            Self::Paimon { start } if datum.is_null() => {
                // The first 8 bits are the row's kind.
                out[*start + (index + 8) / 8] |= 1 << (index % 8);
                Ok(())
            }
            Self::Paimon { start } => {
                let at = *start + null_words(columns) + 8 * index;
                write_slot(slot, datum, (*start, at), out)
            }
            Self::Iceberg => put_iceberg(slot, datum, out),
            Self::Hudi { hash, alone } => {
                let mut value = JavaHash(0);
                put_hudi(slot, datum, *alone, &mut value)?;
                hash.add(value.0);
                Ok(())
            }
        }
    }

    pub(super) fn finish(self, out: &mut Vec<u8>) {
        if let Self::Hudi { hash, .. } = self {
            out.extend_from_slice(&hash.0.to_be_bytes());
        }
    }
}

/// Bytes of the row kind and the null bits of a Paimon row.
fn null_words(columns: usize) -> usize {
    (columns + 8).div_ceil(64) * 8
}

/// Bytes of a Paimon row before what does not fit the columns' slots.
pub(super) fn paimon_fixed(columns: usize) -> usize {
    null_words(columns) + 8 * columns
}

/// Refuses columns that the lake has no hash for.
pub(super) fn check(format: KeyFormat, schema: &Schema, parts: &[Part]) -> Result<(), RowError> {
    use SlotKind as K;
    for (at, part) in parts.iter().enumerate() {
        let advice = match (format, part.slot.kind) {
            (KeyFormat::Iceberg, _) if at > 0 => "with Iceberg a bucket key has one column",
            (KeyFormat::Iceberg, K::Bool | K::I8 | K::I16 | K::TimestampLtz { .. }) => {
                "Iceberg has no bucket for this type, choose another column for the bucket key"
            }
            (KeyFormat::Hudi, K::Binary(_) | K::Bytes) => {
                "Hudi has no bucket for this type, choose another column for the bucket key"
            }
            _ => continue,
        };
        let column = &schema.columns()[part.column];
        return Err(RowError::unsupported(&column.name, &column.data_type, advice));
    }
    Ok(())
}

/// The bytes that Iceberg's bucket transform hashes.
fn put_iceberg(slot: Slot, datum: Datum<'_>, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let stored = slot.store(datum)?;
    let long = |value: i64| value.to_le_bytes();
    match (stored, datum) {
        // With microseconds, whatever the column's precision.
        (_, Datum::Timestamp(Timestamp { millis, nanos })) => {
            let micros = millis.wrapping_mul(1000).wrapping_add(i64::from(nanos / 1000));
            out.extend_from_slice(&long(micros));
        }
        (Stored::I32(value), Datum::Time(_)) => {
            out.extend_from_slice(&long(i64::from(value) * 1000));
        }
        (Stored::I32(value), _) => out.extend_from_slice(&long(i64::from(value))),
        (Stored::I64(unscaled), _) if matches!(slot.kind, SlotKind::Decimal { .. }) => {
            let (bytes, first) = minimal_be(i128::from(unscaled));
            out.extend_from_slice(&bytes[first..]);
        }
        (Stored::Wide(unscaled), _) => {
            let (bytes, first) = minimal_be(unscaled);
            out.extend_from_slice(&bytes[first..]);
        }
        (Stored::I64(value), _) => out.extend_from_slice(&long(value)),
        (Stored::F32(value), _) => out.extend_from_slice(&value.to_le_bytes()),
        (Stored::F64(value), _) => out.extend_from_slice(&value.to_le_bytes()),
        (Stored::Bytes([]), _) => return Err(Misfit::EmptyKey),
        (Stored::Bytes(bytes), _) => out.extend_from_slice(bytes),
        // Columns of such types were refused.
        (Stored::U8(_) | Stored::I16(_) | Stored::Instant(..), _) => return Err(Misfit::Type),
    }
    Ok(())
}

/// Java's hash of a text, and of a list of such.
#[derive(Clone, Copy, Debug)]
pub(super) struct JavaHash(i32);

impl JavaHash {
    fn add(&mut self, next: i32) {
        self.0 = self.0.wrapping_mul(31).wrapping_add(next);
    }
}

impl std::fmt::Write for JavaHash {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        text.encode_utf16().for_each(|unit| self.add(i32::from(unit)));
        Ok(())
    }
}

/// The text that Hudi hashes for a column.
fn put_hudi(slot: Slot, datum: Datum<'_>, alone: bool, out: &mut JavaHash) -> Result<(), Misfit> {
    if datum.is_null() {
        // Among others a null has the hash 0.
        if alone {
            let _ = out.write_str(HUDI_NULL);
        }
        return Ok(());
    }
    let stored = slot.store(datum)?;
    // Hashing cannot fail.
    let _ = match (stored, datum) {
        (_, Datum::Timestamp(time)) => write_time(time, false, out),
        (_, Datum::TimestampLtz(time)) => write_time(time, true, out),
        (_, Datum::Bool(value)) => write!(out, "{value}"),
        (_, Datum::Str(text)) => {
            if !alone && (text.contains(',') || text == HUDI_NULL || text == HUDI_EMPTY) {
                return Err(Misfit::HudiText);
            }
            out.write_str(text)
        }
        (Stored::F32(value), _) => hash_float(f64::from(value), &value, out),
        (Stored::F64(value), _) => hash_float(value, &value, out),
        (Stored::U8(value), _) => write!(out, "{}", value.cast_signed()),
        (Stored::I16(value), _) => write!(out, "{value}"),
        (Stored::I32(value), _) => write!(out, "{value}"),
        (Stored::I64(value), _) => match slot.kind {
            SlotKind::Decimal { scale, .. } => write_decimal(i128::from(value), scale, out),
            _ => write!(out, "{value}"),
        },
        (Stored::Wide(value), _) => match slot.kind {
            SlotKind::Decimal { scale, .. } => write_decimal(value, scale, out),
            _ => return Err(Misfit::Type),
        },
        (Stored::Bytes(_) | Stored::Instant(..), _) => return Err(Misfit::Type),
    };
    Ok(())
}

fn hash_float(
    value: f64,
    digits: &impl std::fmt::LowerExp,
    out: &mut JavaHash,
) -> std::fmt::Result {
    if value.is_nan() {
        out.write_str("NaN")
    } else if value.is_infinite() {
        out.write_str(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        write_float(value, digits, '.', out)
    }
}
