use super::*;

/// A small generator of numbers; the seed stands in every failure.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Numbers of all magnitudes, not only huge ones.
    fn spread(&mut self) -> i64 {
        let shift = self.next() % 64;
        self.next().cast_signed() >> shift
    }
}

#[test]
fn dates_print_and_read_back() {
    for (days, text) in [
        (0, "1970-01-01"),
        (20_777, "2026-11-20"),
        (-719_162, "0001-01-01"),
        (-719_163, "+0000-12-31"),
        (-719_529, "-0001-12-31"),
        (2_932_896, "9999-12-31"),
        (2_932_897, "+10000-01-01"),
        (i32::MAX, "+5881580-07-11"),
        (i32::MIN, "-5877641-06-23"),
    ] {
        assert_eq!(format_date(days), text);
        assert_eq!(parse_date(text), Ok(days));
    }
}

#[test]
fn times_print_and_read_back() {
    for (millis, text) in
        [(0, "00:00:00"), (36_000_500, "10:00:00.5"), (86_399_999, "23:59:59.999")]
    {
        assert_eq!(format_time(millis), text);
        assert_eq!(parse_time(text), Ok(millis));
    }
    assert_eq!(parse_time("10:00:00.500000"), Ok(36_000_500));
}

#[test]
fn timestamps_print_and_read_back() {
    for (millis, nanos, text) in [
        (0, 0, "1970-01-01T00:00:00"),
        (-1, 999_999, "1969-12-31T23:59:59.999999999"),
        (1_795_168_800_000, 1_000, "2026-11-20T10:00:00.000001"),
        (1_795_168_800_120, 0, "2026-11-20T10:00:00.12"),
        (i64::MAX, 0, "+292278994-08-17T07:12:55.807"),
        (i64::MIN, 0, "-292275055-05-16T16:47:04.192"),
    ] {
        let timestamp = Timestamp { millis, nanos };
        assert_eq!(format_timestamp(timestamp), text);
        let zoned = format!("{text}Z");
        assert_eq!(format_timestamp_ltz(timestamp), zoned);
        assert_eq!(parse_timestamp(text), Ok(timestamp));
        assert_eq!(parse_timestamp_ltz(&zoned), Ok(timestamp));
    }
}

#[test]
fn other_texts_are_refused_with_an_example() {
    for text in [
        "",
        "2026",
        "2026-1-1",
        "2026-02-29",
        "2026-13-01",
        "10000-01-01",
        "-0000-01-01",
        "2026-11-20-1",
        "+99999999999-01-01",
        "2026-11-2x",
        "é026-11-20",
        "+5881580-07-12",
    ] {
        let error = parse_date(text).expect_err(text).to_string();
        assert!(error.contains("write it like 2026-11-20"), "{error}");
    }
    for text in [
        "",
        "24:00:00",
        "10:60:00",
        "10:00:60",
        "1:00:00",
        "10:00:00.",
        "10:00:00.0001",
        "10",
        "10:00",
    ] {
        assert!(parse_time(text).is_err(), "{text}");
    }
    for text in [
        "2026-11-20",
        "2026-11-20T",
        "2026-11-20T10:00:00Z",
        "2026-11-20T10:00",
        "2026-11-20 10:00:00",
        "2026-11-20t10:00:00",
        "2026-11-20T10:00:00.1234567890",
        "+292278994-08-17T07:12:55.808",
    ] {
        assert!(parse_timestamp(text).is_err(), "{text}");
    }
    for text in [
        "2026-11-20T10:00:00",
        "2026-11-20T10:00:00+1",
        "2026-11-20T11:00:00+01:00",
        "2026-11-20T10:00:00+00:00",
        "2026-11-20T10:00:00z",
        "2026-11-20T10:00:00+01:60",
        "Z",
        "ééé",
        "2026-11-20T10:00:00é1:00",
    ] {
        assert!(parse_timestamp_ltz(text).is_err(), "{text}");
    }
}

#[test]
fn whatever_is_printed_reads_back_the_same() {
    let seed = 0x5eed_0001;
    let mut numbers = Numbers(seed);
    for round in 0..20_000 {
        let at = format!("seed {seed:#x}, round {round}");
        let days = numbers.spread() as i32;
        assert_eq!(parse_date(&format_date(days)), Ok(days), "{at}");
        let millis = (numbers.next() % 86_400_000) as i32;
        assert_eq!(parse_time(&format_time(millis)), Ok(millis), "{at}");
        let nanos = [0, (numbers.next() % 1_000_000) as u32][(numbers.next() % 2) as usize];
        let point = Timestamp { millis: numbers.spread(), nanos };
        assert_eq!(parse_timestamp(&format_timestamp(point)), Ok(point), "{at}");
        assert_eq!(parse_timestamp_ltz(&format_timestamp_ltz(point)), Ok(point), "{at}");
        let double = f64::from_bits(numbers.next());
        let back = parse_f64(&format_f64(double)).expect(&at);
        assert!(back.to_bits() == double.to_bits() || back.is_nan() && double.is_nan(), "{at}");
        let float = f32::from_bits(numbers.next() as u32);
        let back = parse_f32(&format_f32(float)).expect(&at);
        assert!(back.to_bits() == float.to_bits() || back.is_nan() && float.is_nan(), "{at}");
        let unscaled = i128::from(numbers.spread()) * i128::from(numbers.spread());
        let decimal = super::super::Decimal::new(unscaled, (numbers.next() % 39) as u8);
        assert_eq!(decimal.to_string().parse(), Ok(decimal), "{at}");
    }
}

#[test]
fn any_text_is_refused_or_read_but_never_a_panic() {
    let seed = 0x5eed_0002;
    let mut numbers = Numbers(seed);
    let alphabet: Vec<char> = "0123456789-+:.TZ é".chars().collect();
    let mut read = 0;
    for _ in 0..50_000 {
        let mut text: Vec<char> = "2026-11-20T10:00:00.5Z".chars().collect();
        for _ in 0..numbers.next() % 4 {
            let at = (numbers.next() % text.len() as u64) as usize;
            text[at] = alphabet[(numbers.next() % alphabet.len() as u64) as usize];
        }
        text.truncate((numbers.next() % 30) as usize);
        let text: String = text.into_iter().collect();
        read += usize::from(parse_date(&text).is_ok());
        read += usize::from(parse_time(&text).is_ok());
        read += usize::from(parse_timestamp(&text).is_ok());
        read += usize::from(parse_timestamp_ltz(&text).is_ok());
    }
    assert!(read > 1_000, "seed {seed:#x}: only {read} texts were read at all");
}

#[test]
fn numbers_are_as_short_as_possible() {
    assert_eq!(format_f64(0.1), "0.1");
    assert_eq!(format_f32(0.1), "0.1");
    assert_eq!(format_f64(-0.0), "-0.0");
    assert_eq!(format_f64(1e300), "1e300");
    assert_eq!(format_f32(f32::NEG_INFINITY), "-Infinity");
    assert_eq!(format_f64(f64::NAN), "NaN");
    for text in ["inf", "nan", "1e999", "", "x"] {
        assert!(parse_f64(text).is_err() && parse_f32(text).is_err(), "{text}");
    }
    let beyond = |error: TextError| error.to_string().contains("within ±");
    assert!(parse_f32("1e39").is_err_and(beyond) && parse_f64("-1e309").is_err_and(beyond));
    assert!(!parse_f32("inf").is_err_and(beyond) && !parse_f64("1e").is_err_and(beyond));
}
