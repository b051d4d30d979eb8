//! The text of a decimal.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use super::datum::Decimal;

/// A text that is no decimal number, or one beyond 38 digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no decimal number of at most 38 digits, like -12.30")]
pub struct ParseDecimalError(String);

impl Display for Decimal {
    /// Writes all digits, exactly `scale` of them after the point: `-12.30`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let scale = usize::from(self.scale);
        let digits = self.unscaled.unsigned_abs().to_string();
        let sign = if self.unscaled < 0 { "-" } else { "" };
        if scale == 0 {
            return write!(f, "{sign}{digits}");
        }
        let digits = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

impl FromStr for Decimal {
    type Err = ParseDecimalError;

    /// Reads `-12.30` or `1.5e3`; the scale is the number of digits after the point.
    fn from_str(text: &str) -> Result<Self, ParseDecimalError> {
        parse(text).ok_or_else(|| ParseDecimalError(super::error::shorten(text)))
    }
}

fn parse(text: &str) -> Option<Decimal> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut unscaled = 0_i128;
    for byte in whole.bytes().chain(fraction.bytes()) {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        unscaled = unscaled.checked_mul(10)?.checked_add(i128::from(digit))?;
    }
    let scale = i64::try_from(fraction.len()).ok()? - i64::from(exponent);
    if negative {
        unscaled = -unscaled;
    }
    match u8::try_from(scale) {
        Ok(scale) => Some(Decimal { unscaled, scale }),
        Err(_) if unscaled == 0 => Some(Decimal { unscaled, scale: 0 }),
        // A large exponent moves the point to the right: the digits become more.
        Err(_) => {
            let factor = 10_i128.checked_pow(u32::try_from(-scale).ok()?)?;
            Some(Decimal { unscaled: unscaled.checked_mul(factor)?, scale: 0 })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_print_and_read_back() {
        for (decimal, text) in [
            (Decimal::new(-1230, 2), "-12.30"),
            (Decimal::new(5, 3), "0.005"),
            (Decimal::new(-5, 1), "-0.5"),
            (Decimal::new(0, 2), "0.00"),
            (Decimal::new(42, 0), "42"),
            (Decimal::new(i128::MAX, 38), "1.70141183460469231731687303715884105727"),
        ] {
            assert_eq!(decimal.to_string(), text);
            assert_eq!(text.parse(), Ok(decimal));
        }
    }

    #[test]
    fn exponents_move_the_point() {
        for (text, decimal) in [
            ("1.5e3", Decimal::new(1500, 0)),
            ("1.5E-3", Decimal::new(15, 4)),
            ("0e99999", Decimal::new(0, 0)),
            ("+.5", Decimal::new(5, 1)),
            ("7.", Decimal::new(7, 0)),
        ] {
            assert_eq!(text.parse(), Ok(decimal), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let digits = "9".repeat(40);
        let refused = ["", ".", "-", "1e", "1e99999", "1x", "0x10", "1.2.3", "NaN", &digits];
        for text in refused {
            assert!(text.parse::<Decimal>().is_err(), "{text}");
        }
        assert!("1e-2147483648".parse::<Decimal>().is_err());
    }

    #[test]
    fn rounding_is_half_away_from_zero() {
        let rounded = |unscaled, scale, to| Decimal::new(unscaled, scale).rounded(to);
        assert_eq!(rounded(-125, 2, 1), Decimal::new(-13, 1));
        assert_eq!(rounded(124, 2, 1), Decimal::new(12, 1));
        assert_eq!(rounded(i128::MAX, 250, 0), Decimal::new(0, 0));
        assert_eq!(rounded(i128::MIN, 38, 0), Decimal::new(-2, 0));
    }

    #[test]
    fn rescaling_loses_nothing_or_refuses() {
        assert_eq!(Decimal::new(1230, 3).rescaled(2), Some(Decimal::new(123, 2)));
        assert_eq!(Decimal::new(1234, 3).rescaled(2), None);
        assert_eq!(Decimal::new(i128::MAX, 0).rescaled(1), None);
        assert_eq!(Decimal::new(0, 200).rescaled(2), Some(Decimal::new(0, 2)));
    }
}
