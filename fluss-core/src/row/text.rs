//! Dates, times and numbers as text: `2026-11-20`, `23:59:59.5`, `2026-11-20T10:00:00Z`.
//!
//! The forms of the `fluss` command line. Printing is canonical: a fraction only if it is not zero
//! and without zeros at its end, years outside 0001 to 9999 with a sign and at least four digits.
//! Decimals have `Display` and `FromStr` of their own.

use std::fmt::{self, Write};

use super::calendar::{date_of, day_of};
use super::datum::Timestamp;

const DAY_MILLIS: i64 = 86_400_000;

/// A text that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}: write it like {example}")]
pub struct TextError {
    /// The text, cut to 64 characters.
    pub text: String,
    /// What it should be.
    pub what: &'static str,
    /// An example.
    pub example: &'static str,
}

/// A DATE, in days since 1970-01-01, as `2026-11-20`.
#[must_use]
pub fn format_date(days: i32) -> String {
    text_of(10, |out| write_date(out, i64::from(days)))
}

/// A TIME, in milliseconds of the day, as `10:00:00.5`. Milliseconds outside a day, which no sound
/// table holds, are taken within the day.
#[must_use]
pub fn format_time(millis: i32) -> String {
    text_of(12, |out| write_time(out, i64::from(millis).rem_euclid(DAY_MILLIS), 0))
}

/// A TIMESTAMP as `2026-11-20T10:00:00.000001`.
#[must_use]
pub fn format_timestamp(timestamp: Timestamp) -> String {
    text_of(30, |out| write_timestamp(out, timestamp))
}

/// A TIMESTAMP_LTZ in UTC, as `2026-11-20T10:00:00Z`.
#[must_use]
pub fn format_timestamp_ltz(timestamp: Timestamp) -> String {
    let mut out = format_timestamp(timestamp);
    out.push('Z');
    out
}

fn text_of(room: usize, write: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut out = String::with_capacity(room);
    // Writing to a String cannot fail.
    let _ = write(&mut out);
    out
}

pub(super) fn write_timestamp(out: &mut impl Write, timestamp: Timestamp) -> fmt::Result {
    write_date(out, timestamp.millis.div_euclid(DAY_MILLIS))?;
    out.write_char('T')?;
    write_time(out, timestamp.millis.rem_euclid(DAY_MILLIS), timestamp.nanos)
}

pub(super) fn write_date(out: &mut impl Write, days: i64) -> fmt::Result {
    let (year, month, day) = date_of(days);
    if (1..=9999).contains(&year) {
        write!(out, "{year:04}-{month:02}-{day:02}")
    } else {
        let sign = if year < 0 { '-' } else { '+' };
        write!(out, "{sign}{:04}-{month:02}-{day:02}", year.unsigned_abs())
    }
}

pub(super) fn write_time(out: &mut impl Write, millis: i64, nanos: u32) -> fmt::Result {
    let seconds = millis / 1000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    write!(out, "{hour:02}:{minute:02}:{second:02}")?;
    let mut fraction = millis % 1000 * 1_000_000 + i64::from(nanos);
    if fraction == 0 {
        return Ok(());
    }
    let mut digits = 9;
    while fraction % 10 == 0 {
        (fraction, digits) = (fraction / 10, digits - 1);
    }
    write!(out, ".{fraction:0digits$}")
}

/// Reads a DATE as days since 1970-01-01.
///
/// # Errors
/// No such date, or one that 32 bits of days cannot hold.
pub fn parse_date(text: &str) -> Result<i32, TextError> {
    date(text)
        .and_then(|days| i32::try_from(days).ok())
        .ok_or_else(|| error(text, "date", "2026-11-20"))
}

/// Reads a TIME as milliseconds of the day; digits below a millisecond must be zero.
///
/// # Errors
/// No such time of day.
pub fn parse_time(text: &str) -> Result<i32, TextError> {
    time(text)
        .filter(|(_, nanos)| *nanos == 0)
        .and_then(|(millis, _)| i32::try_from(millis).ok())
        .ok_or_else(|| error(text, "time of day with at most 3 decimal places", "23:59:59.123"))
}

/// Reads a TIMESTAMP; `T` stands between date and time.
///
/// # Errors
/// No such point in time, a time zone, or more than nine digits of a second's fraction.
pub fn parse_timestamp(text: &str) -> Result<Timestamp, TextError> {
    local(text)
        .ok_or_else(|| error(text, "timestamp without a time zone", "2026-11-20T10:00:00.123"))
}

/// Reads a TIMESTAMP_LTZ, in UTC, as its `Z` says.
///
/// # Errors
/// No such point in time, no time zone, or another one than UTC.
pub fn parse_timestamp_ltz(text: &str) -> Result<Timestamp, TextError> {
    let utc = text.strip_suffix('Z').and_then(local);
    utc.ok_or_else(|| error(text, "timestamp with Z", "2026-11-20T10:00:00.123Z"))
}

#[cold]
fn error(text: &str, what: &'static str, example: &'static str) -> TextError {
    TextError { text: super::error::shorten(text), what, example }
}

fn date(text: &str) -> Option<i64> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let mut parts = unsigned.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let signed = unsigned.len() < text.len();
    let plausible = year.len() == 4 || signed && (4..=10).contains(&year.len());
    if !plausible || parts.next().is_some() {
        return None;
    }
    let year = i64::from(digits(year, year.len())?);
    // Year zero written as -0000 is no valid form.
    if negative && year == 0 {
        return None;
    }
    day_of(if negative { -year } else { year }, digits(month, 2)?, digits(day, 2)?)
}

/// Milliseconds of the day and nanoseconds within the millisecond.
fn time(text: &str) -> Option<(i64, u32)> {
    let (clock, fraction) = match text.split_once('.') {
        Some((clock, fraction)) if !fraction.is_empty() => (clock, fraction),
        Some(_) => return None,
        None => (text, ""),
    };
    let mut parts = clock.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (hour, minute, second) = (digits(hour, 2)?, digits(minute, 2)?, digits(second, 2)?);
    if hour > 23 || minute > 59 || second > 59 || fraction.len() > 9 {
        return None;
    }
    let mut nanos = if fraction.is_empty() { 0 } else { digits(fraction, fraction.len())? };
    for _ in fraction.len()..9 {
        nanos *= 10;
    }
    let seconds = i64::from(hour * 3600 + minute * 60 + second);
    Some((seconds * 1000 + i64::from(nanos / 1_000_000), nanos % 1_000_000))
}

fn local(text: &str) -> Option<Timestamp> {
    let (day, clock) = text.split_once('T')?;
    let (millis, nanos) = time(clock)?;
    // The day of the smallest number begins before it, so the sum is formed in 128 bits.
    let millis = i128::from(date(day)?) * i128::from(DAY_MILLIS) + i128::from(millis);
    Some(Timestamp { millis: i64::try_from(millis).ok()?, nanos })
}

/// A number of exactly this many decimal digits and nothing else.
fn digits(text: &str, length: usize) -> Option<u32> {
    let sound = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    if sound { text.parse().ok() } else { None }
}

/// A FLOAT as the shortest number that reads back the same, or `NaN`, `Infinity`, `-Infinity`.
#[must_use]
pub fn format_f32(value: f32) -> String {
    if value.is_finite() { format!("{value:?}") } else { format_f64(f64::from(value)) }
}

/// A DOUBLE as the shortest number that reads back the same, or `NaN`, `Infinity`, `-Infinity`.
#[must_use]
pub fn format_f64(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else {
        format!("{value:?}")
    }
}

/// Reads what [`format_f32`] writes, and every other number; it is rounded once, to 32 bits.
///
/// # Errors
/// No number, or a finite one beyond the type's range.
pub fn parse_f32(text: &str) -> Result<f32, TextError> {
    match text {
        "NaN" => Ok(f32::NAN),
        "Infinity" => Ok(f32::INFINITY),
        "-Infinity" => Ok(f32::NEG_INFINITY),
        _ => {
            let value: Option<f32> = text.parse().ok();
            let whats = ["FLOAT number", "FLOAT number within ±3.4028235e38"];
            value.filter(|value| value.is_finite()).ok_or_else(|| no_number(text, whats))
        }
    }
}

/// Reads what [`format_f64`] writes, and every other number.
///
/// # Errors
/// No number, or a finite one beyond the type's range.
pub fn parse_f64(text: &str) -> Result<f64, TextError> {
    match text {
        "NaN" => Ok(f64::NAN),
        "Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        _ => {
            let value: Option<f64> = text.parse().ok();
            let whats = ["DOUBLE number", "DOUBLE number within ±1.7976931348623157e308"];
            value.filter(|value| value.is_finite()).ok_or_else(|| no_number(text, whats))
        }
    }
}

/// What a text is not that gives no number within the type's range: a number, or within the range.
#[cold]
fn no_number(text: &str, [what, within]: [&'static str; 2]) -> TextError {
    // `inf` reads as a number as well, though nobody would call it one.
    let is_number = text.parse::<f64>().is_ok() && text.contains(|c: char| c.is_ascii_digit());
    error(text, if is_number { within } else { what }, "-1.5e3")
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
