//! Durations and sizes as settings write them: `5ms`, `1 min`, `64mb`.

use std::time::Duration;

/// A duration; a number alone is in milliseconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let nanos: u64 = match unit.as_str() {
        "ns" | "nano" | "nanos" | "nanosecond" | "nanoseconds" => 1,
        "us" | "µs" | "micro" | "micros" | "microsecond" | "microseconds" => 1_000,
        "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1_000_000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000_000,
        "m" | "min" | "minute" | "minutes" => 60_000_000_000,
        "h" | "hour" | "hours" => 3_600_000_000_000,
        "d" | "day" | "days" => 86_400_000_000_000,
        _ => return Err(not_a(text, "duration", "5ms, 30s, 2min or 24h")),
    };
    let parsed = number.parse::<u64>().ok().and_then(|number| number.checked_mul(nanos));
    let nanos = parsed.ok_or_else(|| not_a(text, "duration", "5ms, 30s, 2min or 24h"))?;
    Ok(Duration::from_nanos(nanos))
}

/// A number of bytes; units are binary.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let shift = match unit.as_str() {
        "" | "b" | "bytes" => 0,
        "k" | "kb" | "kibibytes" => 10,
        "m" | "mb" | "mebibytes" => 20,
        "g" | "gb" | "gibibytes" => 30,
        "t" | "tb" | "tebibytes" => 40,
        _ => return Err(not_a(text, "size", "64mb, 128kb or 1048576")),
    };
    let parsed = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    parsed.ok_or_else(|| not_a(text, "size", "64mb, 128kb or 1048576"))
}

/// The digits at the front and the unit behind them.
fn split(text: &str) -> (&str, String) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim().to_lowercase())
}

fn not_a(text: &str, what: &str, example: &str) -> String {
    format!("`{text}` is no {what}: write it like {example}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_as_the_java_client_reads_them() {
        assert_eq!(parse_duration("5ms"), Ok(Duration::from_millis(5)));
        assert_eq!(parse_duration(" 2 min "), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("250"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1d"), Ok(Duration::from_secs(86_400)));
        assert_eq!(parse_size("64mb"), Ok(64 << 20));
        assert_eq!(parse_size("128 KB"), Ok(128 << 10));
        assert_eq!(parse_size("7"), Ok(7));
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in ["", "ms", "-5ms", "5 fortnights", "1.5s", "99999999999999d"] {
            let error = parse_duration(text).expect_err(text);
            assert!(error.contains("30s"), "{error}");
        }
        for text in ["", "mb", "-1", "5q", "99999999999999tb"] {
            let error = parse_size(text).expect_err(text);
            assert!(error.contains("64mb"), "{error}");
        }
    }
}
