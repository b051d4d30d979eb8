//! Literals of one column, brought to its type.

use std::cmp::Ordering;

use fluss_proto::message::PbLiteralValue;

use crate::row::{Datum, Decimal, FRACTION, Timestamp, TypeKind, grain_of, minimal_be};

/// Milliseconds of a day.
const DAY: i32 = 86_400_000;
/// The largest precision at which requests have a decimal as an `i64`.
const COMPACT: u8 = 18;

const WRONG_TYPE: &str = "give a value of the column's type";
const RANGE: &str = "the number is out of the type's range";
const INEXACT: &str = "the type has no such number, only one near it";
const SCALE: &str = "it has more digits after the point than the type";
const PRECISION: &str = "it has more digits than the type";
const ZONE: &str = "give Datum::Timestamp for TIMESTAMP, Datum::TimestampLtz for the other";
const NANOS: &str = "the nanoseconds within a millisecond are 0 to 999999";
const TIME_OF_DAY: &str = "a time is 0 to 86399999 milliseconds of the day";

/// Literals as the values of the column are compared with them.
#[derive(Clone, Debug)]
pub(super) enum Literals {
    /// BOOLEAN, all integers, DATE, and TIME in milliseconds.
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    /// Digits at the scale of the column.
    Decimals(Vec<i128>),
    /// Texts and bytes.
    Bytes(Vec<Vec<u8>>),
    Instants(Vec<Timestamp>),
}

impl Literals {
    /// None yet; None for types that cannot be compared.
    pub(super) fn of(kind: &TypeKind) -> Option<Self> {
        Some(match kind {
            TypeKind::Boolean
            | TypeKind::TinyInt
            | TypeKind::SmallInt
            | TypeKind::Int
            | TypeKind::BigInt
            | TypeKind::Date
            | TypeKind::Time(_) => Self::Ints(Vec::new()),
            TypeKind::Float => Self::Floats(Vec::new()),
            TypeKind::Double => Self::Doubles(Vec::new()),
            TypeKind::Decimal { .. } => Self::Decimals(Vec::new()),
            TypeKind::Char(_) | TypeKind::String | TypeKind::Binary(_) | TypeKind::Bytes => {
                Self::Bytes(Vec::new())
            }
            TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_) => Self::Instants(Vec::new()),
            TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_) => return None,
        })
    }

    /// Takes a literal that is not null, and tells how a request has it.
    pub(super) fn push(
        &mut self,
        kind: &TypeKind,
        literal: Datum<'_>,
    ) -> Result<PbLiteralValue, &'static str> {
        let mut wire = PbLiteralValue { literal_type: code_of(kind), ..PbLiteralValue::default() };
        match self {
            Self::Ints(list) => {
                let value = int(kind, literal)?;
                match kind {
                    TypeKind::Boolean => wire.boolean_value = Some(value != 0),
                    TypeKind::BigInt | TypeKind::Date => wire.bigint_value = Some(value),
                    // It is in the range of the type.
                    _ => wire.int_value = Some(value as i32),
                }
                list.push(value);
            }
            Self::Floats(list) => {
                let value = float(literal)?;
                wire.float_value = Some(value);
                list.push(value);
            }
            Self::Doubles(list) => {
                let value = double(literal)?;
                wire.double_value = Some(value);
                list.push(value);
            }
            Self::Decimals(list) => {
                let TypeKind::Decimal { precision, scale } = *kind else { return Err(WRONG_TYPE) };
                let value = decimal(literal, precision, scale)?;
                match i64::try_from(value) {
                    Ok(compact) if precision <= COMPACT => wire.decimal_value = Some(compact),
                    _ => {
                        let (bytes, first) = minimal_be(value);
                        wire.decimal_bytes = Some(bytes[first..].to_vec().into());
                    }
                }
                list.push(value);
            }
            Self::Bytes(list) => match (kind, literal) {
                (TypeKind::Char(_) | TypeKind::String, Datum::Str(text)) => {
                    wire.string_value = Some(text.to_owned());
                    list.push(text.as_bytes().to_vec());
                }
                (TypeKind::Binary(_) | TypeKind::Bytes, Datum::Bytes(bytes)) => {
                    wire.binary_value = Some(bytes.to_vec().into());
                    list.push(bytes.to_vec());
                }
                _ => return Err(WRONG_TYPE),
            },
            Self::Instants(list) => {
                let value = instant(kind, literal)?;
                wire.timestamp_millis_value = Some(value.millis);
                // At most 999,999.
                wire.timestamp_nano_of_millis_value = Some(value.nanos as i32);
                list.push(value);
            }
        }
        Ok(wire)
    }

    /// Brings them into order, so that a value is found among them quickly.
    pub(super) fn sort(&mut self) {
        match self {
            Self::Ints(list) => list.sort_unstable(),
            Self::Floats(list) => list.sort_unstable_by(|a, b| order_f32(*a, *b)),
            Self::Doubles(list) => list.sort_unstable_by(|a, b| order_f64(*a, *b)),
            Self::Decimals(list) => list.sort_unstable(),
            Self::Bytes(list) => list.sort_unstable(),
            Self::Instants(list) => list.sort_unstable(),
        }
    }
}

/// A literal that is null, as a request has it.
pub(super) fn null(kind: &TypeKind) -> PbLiteralValue {
    let literal_type = code_of(kind);
    PbLiteralValue { literal_type, is_null: true, ..PbLiteralValue::default() }
}

/// The number that requests have for a type; those that cannot be compared have none.
fn code_of(kind: &TypeKind) -> i32 {
    match kind {
        TypeKind::Boolean => 0,
        TypeKind::TinyInt => 1,
        TypeKind::SmallInt => 2,
        TypeKind::Int => 3,
        TypeKind::BigInt => 4,
        TypeKind::Float => 5,
        TypeKind::Double => 6,
        TypeKind::Char(_) => 7,
        TypeKind::String => 8,
        TypeKind::Decimal { .. } => 9,
        TypeKind::Date => 10,
        TypeKind::Time(_) => 11,
        TypeKind::Timestamp(_) => 12,
        TypeKind::TimestampLtz(_) => 13,
        TypeKind::Binary(_) => 14,
        TypeKind::Bytes => 15,
        TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_) => -1,
    }
}

fn int(kind: &TypeKind, literal: Datum<'_>) -> Result<i64, &'static str> {
    let bits = match (kind, literal) {
        (TypeKind::Boolean, Datum::Bool(value)) => return Ok(i64::from(value)),
        (TypeKind::Date, Datum::Date(days)) => return Ok(i64::from(days)),
        (TypeKind::Time(_), Datum::Time(millis)) if !(0..DAY).contains(&millis) => {
            return Err(TIME_OF_DAY);
        }
        (TypeKind::Time(precision), Datum::Time(millis)) => {
            let finer =
                Timestamp::from_millis(i64::from(millis)).is_finer_than(grain_of(*precision));
            return if finer { Err(FRACTION) } else { Ok(i64::from(millis)) };
        }
        (TypeKind::TinyInt, _) => 8,
        (TypeKind::SmallInt, _) => 16,
        (TypeKind::Int, _) => 32,
        (TypeKind::BigInt, _) => 64,
        _ => return Err(WRONG_TYPE),
    };
    let value = literal.as_i64().ok_or(WRONG_TYPE)?;
    let (low, high) = (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits));
    if (low..=high).contains(&value) { Ok(value) } else { Err(RANGE) }
}

fn float(literal: Datum<'_>) -> Result<f32, &'static str> {
    match literal {
        Datum::Float32(value) => Ok(value),
        Datum::Float64(value) => {
            let near = value as f32;
            let same = near.is_nan() && value.is_nan() || f64::from(near) == value;
            if same { Ok(near) } else { Err(INEXACT) }
        }
        other => {
            let value = other.as_i64().ok_or(WRONG_TYPE)?;
            // In 128 bits, as the largest i64 becomes 2^63.
            let near = value as f32;
            if near as i128 == i128::from(value) { Ok(near) } else { Err(INEXACT) }
        }
    }
}

fn double(literal: Datum<'_>) -> Result<f64, &'static str> {
    match literal {
        Datum::Float64(value) => Ok(value),
        Datum::Float32(value) => Ok(f64::from(value)),
        other => {
            let value = other.as_i64().ok_or(WRONG_TYPE)?;
            let near = value as f64;
            if near as i128 == i128::from(value) { Ok(near) } else { Err(INEXACT) }
        }
    }
}

fn decimal(literal: Datum<'_>, precision: u8, scale: u8) -> Result<i128, &'static str> {
    let value = match literal {
        Datum::Decimal(value) => *value,
        other => Decimal::new(i128::from(other.as_i64().ok_or(WRONG_TYPE)?), 0),
    };
    let why = if scale < value.scale { SCALE } else { PRECISION };
    let unscaled = value.rescaled(scale).ok_or(why)?.unscaled;
    let limit = 10_u128.checked_pow(u32::from(precision));
    if limit.is_some_and(|limit| unscaled.unsigned_abs() >= limit) {
        return Err(PRECISION);
    }
    Ok(unscaled)
}

fn instant(kind: &TypeKind, literal: Datum<'_>) -> Result<Timestamp, &'static str> {
    let (precision, value) = match (kind, literal) {
        (TypeKind::Timestamp(precision), Datum::Timestamp(value))
        | (TypeKind::TimestampLtz(precision), Datum::TimestampLtz(value)) => (*precision, value),
        (_, Datum::Timestamp(_) | Datum::TimestampLtz(_)) => return Err(ZONE),
        _ => return Err(WRONG_TYPE),
    };
    if value.nanos > 999_999 {
        return Err(NANOS);
    }
    if value.is_finer_than(grain_of(precision)) {
        return Err(FRACTION);
    }
    Ok(value)
}

/// As Java compares: zeros differ, each NaN is the same and above all numbers.
#[inline]
pub(super) fn order_f32(a: f32, b: f32) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.total_cmp(&b),
        (a, b) => a.cmp(&b),
    }
}

/// The same for wider ones.
#[inline]
pub(super) fn order_f64(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.total_cmp(&b),
        (a, b) => a.cmp(&b),
    }
}
