//! Numbers and times as Java's own classes print them, where the text decides about a place.
//!
//! Nothing here allocates: the text goes to whatever takes it, be it a name or a hash.

use std::fmt::{Arguments, LowerExp, Result, Write};

use super::calendar::date_of;
use super::datum::Timestamp;

const DAY_MILLIS: i64 = 86_400_000;

/// A number's text, which is always short.
#[derive(Default)]
struct Digits {
    bytes: [u8; 32],
    len: usize,
}

impl Digits {
    fn of(text: Arguments<'_>) -> Self {
        let mut digits = Self::default();
        // The longest has 24 characters.
        let _ = digits.write_fmt(text);
        digits
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl Write for Digits {
    fn write_str(&mut self, text: &str) -> Result {
        let end = self.len + text.len();
        let place = self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// A finite number as `Float.toString` and `Double.toString` write it since JDK 19, with `point`
/// for the point: the shortest digits that read back the same but two at least, and an exponent
/// outside 0.001 to 10,000,000. `digits` is the value in its own width.
pub(super) fn write_float(
    value: f64,
    digits: &impl LowerExp,
    point: char,
    out: &mut impl Write,
) -> Result {
    let shortest = Digits::of(format_args!("{digits:e}"));
    // With one digit Java takes the nearest number of two, which matters for the smallest ones.
    let text = if shortest.text().contains('.') {
        shortest
    } else {
        Digits::of(format_args!("{digits:.1e}"))
    };
    let (mantissa, exponent) = text.text().split_once('e').unwrap_or((text.text(), "0"));
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    out.write_str(sign)?;
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    if value != 0.0 && !(-3..7).contains(&exponent) {
        return write!(out, "{first}{point}{rest}E{exponent}");
    }
    let rest = rest.trim_end_matches('0');
    // The number of digits before the point; in -2 to 7 here.
    let whole = exponent + 1;
    if whole <= 0 {
        let first = first.trim_end_matches('0');
        let zeros = whole.unsigned_abs() as usize;
        return write!(out, "0{point}{:0<zeros$}{first}{rest}", "");
    }
    let before = whole as usize - 1;
    let (shown, after) = rest.split_at(before.min(rest.len()));
    let after = if after.is_empty() { "0" } else { after };
    write!(out, "{first}{shown:0<before$}{point}{after}")
}

/// A decimal number with exactly `scale` digits after the point, as `BigDecimal.toPlainString`.
pub(super) fn write_decimal(unscaled: i128, scale: u8, out: &mut impl Write) -> Result {
    let sign = if unscaled < 0 { "-" } else { "" };
    let (digits, width) = (unscaled.unsigned_abs(), usize::from(scale));
    match 10_u128.checked_pow(u32::from(scale)) {
        Some(one) if scale > 0 => {
            write!(out, "{sign}{}.{:0>width$}", digits / one, digits % one)
        }
        _ => write!(out, "{sign}{digits}"),
    }
}

/// A point in time as `LocalDateTime.toString`, or with `zone` as `Instant.toString`: the fraction
/// has 3, 6 or 9 digits or is left out, and without a zone so are the seconds of a whole minute.
pub(super) fn write_time(time: Timestamp, zone: bool, out: &mut impl Write) -> Result {
    let (year, month, day) = date_of(time.millis.div_euclid(DAY_MILLIS));
    let sign = match year {
        ..0 => "-",
        0..=9999 => "",
        _ => "+",
    };
    let seconds = time.millis.rem_euclid(DAY_MILLIS) / 1000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let nanos = time.millis.rem_euclid(1000) * 1_000_000 + i64::from(time.nanos);
    let year = year.unsigned_abs();
    write!(out, "{sign}{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}")?;
    if zone || second != 0 || nanos != 0 {
        write!(out, ":{second:02}")?;
    }
    if nanos % 1_000_000 == 0 {
        if nanos != 0 {
            write!(out, ".{:03}", nanos / 1_000_000)?;
        }
    } else if nanos % 1000 == 0 {
        write!(out, ".{:06}", nanos / 1000)?;
    } else {
        write!(out, ".{nanos:09}")?;
    }
    if zone { out.write_char('Z') } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(millis: i64, nanos: u32, zone: bool) -> String {
        let mut text = String::new();
        write_time(Timestamp { millis, nanos }, zone, &mut text).expect("a String takes it");
        text
    }

    #[test]
    fn times_are_written_as_java_does() {
        for (millis, nanos, local, instant) in [
            (0, 0, "1970-01-01T00:00", "1970-01-01T00:00:00Z"),
            (1_000, 0, "1970-01-01T00:00:01", "1970-01-01T00:00:01Z"),
            (60_001, 0, "1970-01-01T00:01:00.001", "1970-01-01T00:01:00.001Z"),
            (-1, 999_000, "1969-12-31T23:59:59.999999", "1969-12-31T23:59:59.999999Z"),
            (
                1_698_235_273_182,
                123_456,
                "2023-10-25T12:01:13.182123456",
                "2023-10-25T12:01:13.182123456Z",
            ),
            (253_402_300_800_000, 0, "+10000-01-01T00:00", "+10000-01-01T00:00:00Z"),
            (-62_198_755_200_000, 0, "-0001-01-01T00:00", "-0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(time(millis, nanos, false), local);
            assert_eq!(time(millis, nanos, true), instant);
        }
    }

    #[test]
    fn decimals_keep_the_digits_of_their_scale() {
        for (unscaled, scale, expected) in [
            (12_345, 2, "123.45"),
            (-5, 2, "-0.05"),
            (7, 0, "7"),
            (0, 3, "0.000"),
            (-1, 38, ALMOST),
        ] {
            let mut text = String::new();
            write_decimal(unscaled, scale, &mut text).expect("a String takes it");
            assert_eq!(text, expected);
        }
    }

    const ALMOST: &str = "-0.00000000000000000000000000000000000001";
}
