//! Values in the units and widths of their Arrow columns.
//!
//! A value that is finer than its column, or whose converted form does not fit, is refused, never
//! rounded or wrapped. Only what is read from a log of rows, where it is stored like that, is
//! rounded down, also before 1970.

use crate::row::{Datum, Decimal, FRACTION, TIMESTAMP_RANGE, Timestamp, grain_of};

/// Milliseconds of a day.
const DAY_MILLIS: i32 = 86_400_000;

/// The resolution of a TIME or TIMESTAMP column, which follows from its precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::batch) enum Unit {
    Second,
    Millisecond,
    Microsecond,
    Nanosecond,
}

impl Unit {
    pub(in crate::batch) fn of_precision(precision: u8) -> Self {
        match precision {
            0 => Self::Second,
            1..=3 => Self::Millisecond,
            4..=6 => Self::Microsecond,
            _ => Self::Nanosecond,
        }
    }
}

/// The resolution of a column, and the nanoseconds of the last digit that its values may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::batch) struct Grain {
    unit: Unit,
    nanos: u32,
}

impl Grain {
    pub(in crate::batch) fn of_precision(precision: u8) -> Self {
        Self { unit: Unit::of_precision(precision), nanos: grain_of(precision) }
    }

    pub(in crate::batch) fn unit(self) -> Unit {
        self.unit
    }
}

pub(super) const INTEGER: &str = "the column takes integers";
pub(super) const INTEGER_RANGE: &str = "the value is out of the type's range";
pub(super) const WRONG_TYPE: &str = "the value has another type than the column";
const DECIMAL_PRECISION: &str = "the value has more digits than the column's precision";
const DECIMAL_SCALE: &str = "digits after the point would be lost";
const TIME_OF_DAY: &str = "a time of day is 0 to 86,399,999 milliseconds";
const NANOS: &str = "nanos must be 0 to 999,999, the part below a millisecond";

/// The value as an integer, whichever integer type it has.
pub(super) fn integer(datum: Datum<'_>) -> Result<i64, &'static str> {
    match datum {
        Datum::Int8(value) => Ok(value.into()),
        Datum::Int16(value) => Ok(value.into()),
        Datum::Int32(value) => Ok(value.into()),
        Datum::Int64(value) => Ok(value),
        _ => Err(INTEGER),
    }
}

/// The value as an integer of the column's width.
pub(super) fn narrow<T: TryFrom<i64>>(datum: Datum<'_>) -> Result<T, &'static str> {
    T::try_from(integer(datum)?).map_err(|_| INTEGER_RANGE)
}

/// The unscaled value with the column's scale; exact or refused.
pub(super) fn decimal(value: Decimal, precision: u8, scale: u8) -> Result<i128, &'static str> {
    let unscaled = if value.scale <= scale {
        pow10(scale - value.scale)
            .and_then(|factor| value.unscaled.checked_mul(factor))
            .ok_or(DECIMAL_PRECISION)?
    } else if value.unscaled == 0 {
        0
    } else {
        let divisor = pow10(value.scale - scale).ok_or(DECIMAL_SCALE)?;
        if value.unscaled % divisor != 0 {
            return Err(DECIMAL_SCALE);
        }
        value.unscaled / divisor
    };
    match pow10(precision) {
        Some(bound) if unscaled.unsigned_abs() < bound.unsigned_abs() => Ok(unscaled),
        _ => Err(DECIMAL_PRECISION),
    }
}

/// `10^exponent`, None beyond 128 bits.
fn pow10(exponent: u8) -> Option<i128> {
    10_i128.checked_pow(exponent.into())
}

/// Milliseconds of a day as seconds or milliseconds.
pub(super) fn time32(millis: i32, grain: Grain) -> Result<i32, &'static str> {
    refuse_finer(Timestamp::from_millis(millis.into()), grain)?;
    floor_time32(millis, grain)
}

/// Milliseconds of a day as microseconds or nanoseconds; they are finer than any value.
pub(super) fn time64(millis: i32, grain: Grain) -> Result<i64, &'static str> {
    match grain.unit {
        _ if !(0..DAY_MILLIS).contains(&millis) => Err(TIME_OF_DAY),
        Unit::Microsecond => Ok(i64::from(millis) * 1_000),
        _ => Ok(i64::from(millis) * 1_000_000),
    }
}

/// A point in time in the column's unit.
pub(super) fn timestamp(value: Timestamp, grain: Grain) -> Result<i64, &'static str> {
    refuse_finer(value, grain)?;
    floor_timestamp(value, grain)
}

#[inline]
fn refuse_finer(value: Timestamp, grain: Grain) -> Result<(), &'static str> {
    if value.is_finer_than(grain.nanos) { Err(FRACTION) } else { Ok(()) }
}

/// Milliseconds of a day as seconds or milliseconds, rounded down.
pub(super) fn floor_time32(millis: i32, grain: Grain) -> Result<i32, &'static str> {
    match grain.unit {
        _ if !(0..DAY_MILLIS).contains(&millis) => Err(TIME_OF_DAY),
        Unit::Second => Ok(millis / 1000),
        _ => Ok(millis),
    }
}

/// A point in time in the column's unit, rounded down.
pub(super) fn floor_timestamp(value: Timestamp, grain: Grain) -> Result<i64, &'static str> {
    if value.nanos > 999_999 {
        return Err(NANOS);
    }
    let nanos = i64::from(value.nanos);
    let scaled = |factor: i64, below: i64| {
        // A time just before the smallest representable one must not overflow on the way, so the
        // sum is formed in 128 bits.
        i64::try_from(i128::from(value.millis) * i128::from(factor) + i128::from(below))
            .map_err(|_| TIMESTAMP_RANGE)
    };
    match grain.unit {
        Unit::Second => Ok(value.millis.div_euclid(1000)),
        Unit::Millisecond => Ok(value.millis),
        Unit::Microsecond => scaled(1_000, nanos / 1_000),
        Unit::Nanosecond => scaled(1_000_000, nanos),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_is_rescaled_only_when_nothing_is_lost() {
        let dec = |unscaled, scale| Decimal { unscaled, scale };
        assert_eq!(decimal(dec(15, 1), 5, 2), Ok(150));
        assert_eq!(decimal(dec(-1500, 3), 5, 2), Ok(-150));
        assert_eq!(decimal(dec(1501, 3), 5, 2), Err(DECIMAL_SCALE));
        assert_eq!(decimal(dec(99_999, 2), 5, 2), Ok(99_999));
        assert_eq!(decimal(dec(100_000, 2), 5, 2), Err(DECIMAL_PRECISION));
        assert_eq!(decimal(dec(i128::MIN, 0), 38, 0), Err(DECIMAL_PRECISION));
        assert_eq!(decimal(dec(1, 0), 38, 38), Err(DECIMAL_PRECISION));
        assert_eq!(decimal(dec(0, 255), 38, 0), Ok(0));
        assert_eq!(decimal(dec(1, 255), 38, 0), Err(DECIMAL_SCALE));
    }

    fn grain(precision: u8) -> Grain {
        Grain::of_precision(precision)
    }

    #[test]
    fn times_before_1970_that_are_read_round_down() {
        let at = |millis, nanos| Timestamp { millis, nanos };
        assert_eq!(floor_timestamp(at(-1, 0), grain(0)), Ok(-1));
        assert_eq!(floor_timestamp(at(-1, 999_000), grain(6)), Ok(-1));
        assert_eq!(floor_timestamp(at(-1, 999_999), grain(6)), Ok(-1));
        assert_eq!(floor_timestamp(at(-1, 999_999), grain(9)), Ok(-1));
    }

    #[test]
    fn a_fraction_finer_than_the_column_is_refused() {
        // 0.123456789 s before 1970-01-01T00:00:01.
        let of = |digits: i64| Timestamp::from_nanos(1_000_000_000 - digits);
        for precision in 0..=9 {
            let last = i64::from(grain_of(precision));
            assert!(timestamp(of(last), grain(precision)).is_ok(), "{precision}");
            let finer = timestamp(of(last / 10), grain(precision));
            let expected = if precision == 9 { Ok(1_000_000_000) } else { Err(FRACTION) };
            assert_eq!(finer, expected, "{precision}");
        }
        assert_eq!(time32(1_000, grain(0)), Ok(1));
        assert_eq!(time32(1_100, grain(0)), Err(FRACTION));
        assert_eq!(time32(1_110, grain(1)), Err(FRACTION));
        assert_eq!(time32(1_111, grain(3)), Ok(1_111));
        assert_eq!(floor_time32(1_111, grain(0)), Ok(1));
    }

    #[test]
    fn a_time_beyond_the_unit_is_refused() {
        let at = |millis, nanos| Timestamp { millis, nanos };
        assert_eq!(timestamp(at(i64::MAX, 0), grain(9)), Err(TIMESTAMP_RANGE));
        assert_eq!(floor_timestamp(at(0, 1_000_000), grain(3)), Err(NANOS));
        let lowest = at(-9_223_372_036_855, 224_192);
        assert_eq!(timestamp(lowest, grain(9)), Ok(i64::MIN));
    }

    #[test]
    fn a_time_of_day_stays_within_the_day() {
        assert_eq!(floor_time32(86_399_999, grain(0)), Ok(86_399));
        assert_eq!(time32(86_400_000, grain(3)), Err(TIME_OF_DAY));
        assert_eq!(time64(-1, grain(9)), Err(TIME_OF_DAY));
    }
}
