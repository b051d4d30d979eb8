use super::super::super::TableDescriptor;
use super::super::super::hash::BucketFunction;
use super::super::super::{OwnedDatum, OwnedRow};
use super::*;

/// The key in a lake's format, and its buckets among 3, 7 and 16.
fn lake_key<R: Row>(format: KeyFormat, types: &[&str], row: &R) -> (String, [u32; 3]) {
    let schema = schema(types);
    let columns: Vec<usize> = (0..types.len()).collect();
    let encoder = KeyEncoder::new(&schema, &columns).and_then(|e| e.with_format(format));
    let encoder = encoder.expect("columns the lake takes");
    let mut bytes = vec![0xab];
    encoder.encode(row, &mut bytes).expect("the row fits");
    assert_eq!(bytes.remove(0), 0xab, "what was there before");
    let function = match format {
        KeyFormat::Compacted => BucketFunction::Fluss,
        KeyFormat::Paimon => BucketFunction::Paimon,
        KeyFormat::Iceberg => BucketFunction::Iceberg,
        KeyFormat::Hudi => BucketFunction::Hudi,
    };
    (hex(&bytes), [3, 7, 16].map(|n| function.bucket_of(&bytes, n).expect("a key with a bucket")))
}

#[test]
fn paimon_keys_are_those_of_the_server() {
    let time = Timestamp { millis: 1000, nanos: 1 };
    let decimal = Decimal::new(10, 0);
    for (types, row, bytes, buckets) in [
        (&["INT"][..], row![42], "00000000000000002a00000000000000", [0, 1, 5]),
        (
            &["STRING"],
            row!["this_is_a_long_string"],
            "00000000000000001500000010000000746869735f69735f615f6c6f6e675f737472696e67000000",
            [1, 0, 8],
        ),
        (
            &["STRING"],
            row!["abcdefgh"],
            "000000000000000008000000100000006162636465666768",
            [2, 2, 2],
        ),
        (&["STRING"], row![""], "00000000000000000000000000000080", [0, 5, 7]),
        (&["STRING"], row![Datum::Null], "00010000000000000000000000000000", [2, 3, 0]),
        (&["BIGINT"], row![-1_i64], "0000000000000000ffffffffffffffff", [1, 0, 0]),
        (&["SMALLINT"], row![-2_i16], "0000000000000000feff000000000000", [1, 6, 3]),
        (&["BOOLEAN"], row![true], "00000000000000000100000000000000", [1, 5, 14]),
        (
            &["DECIMAL(20,0)"],
            row![Datum::Decimal(&decimal)],
            "000000000000000001000000100000000a000000000000000000000000000000",
            [2, 5, 3],
        ),
        (
            &["TIMESTAMP(6)"],
            row![Datum::Timestamp(time)],
            "00000000000000000100000010000000e803000000000000",
            [0, 5, 10],
        ),
    ] {
        let found = lake_key(KeyFormat::Paimon, types, &row);
        assert_eq!(found, (bytes.to_owned(), buckets), "{types:?}");
    }
    let two = "000000000000000007000000000000006869000000000082";
    let found = lake_key(KeyFormat::Paimon, &["INT", "STRING"], &(7, "hi"));
    assert_eq!(found, (two.to_owned(), [0, 5, 3]));
    let aligned = "000000000000000007000000000000000b000000200000002a0000000000000068656c6c6f20776f\
                   726c640000000000";
    let found = lake_key(KeyFormat::Paimon, &["INT", "STRING", "BIGINT"], &(7, "hello world", 42));
    assert_eq!(found.0, aligned);
}

#[test]
fn iceberg_keys_are_those_of_the_server() {
    fn check<R: Row>(data_type: &str, row: R, bytes: &str, buckets: [u32; 3]) {
        let found = lake_key(KeyFormat::Iceberg, &[data_type], &row);
        assert_eq!(found, (bytes.to_owned(), buckets), "{data_type}");
    }
    check("INT", (34,), "2200000000000000", [1, 1, 3]);
    check("BIGINT", (34,), "2200000000000000", [1, 1, 3]);
    check("DECIMAL(4,2)", (Decimal::new(1420, 2),), "058c", [1, 3, 3]);
    check("DATE", (Datum::Date(17_486),), "4e44000000000000", [1, 6, 10]);
    check("TIME", (Datum::Time(81_068_000),), "008307e012000000", [1, 2, 3]);
    let time = |nanos| Timestamp { millis: 1_510_871_468_000, nanos };
    check("TIMESTAMP(6)", (time(0),), "00c3262d215e0500", [2, 5, 7]);
    check("TIMESTAMP(6)", (time(1000),), "01c3262d215e0500", [0, 1, 6]);
    check("STRING", ("iceberg",), "69636562657267", [0, 4, 9]);
    check("BYTES", (b"\x00\x01\x02\x03",), "00010203", [1, 3, 9]);
    check("INT", (-1,), "ffffffffffffffff", [1, 5, 8]);
    check("FLOAT", (1.0_f32,), "0000803f", [0, 6, 0]);
    check("DOUBLE", (1.0,), "000000000000f03f", [0, 5, 15]);
}

#[test]
fn hudi_keys_are_those_of_the_server() {
    fn check<R: Row>(types: &[&str], row: R, bytes: &str, buckets: [u32; 3]) {
        let found = lake_key(KeyFormat::Hudi, types, &row);
        assert_eq!(found, (bytes.to_owned(), buckets), "{types:?}");
    }
    check(&["INT"], (42,), "0000069d", [1, 6, 13]);
    check(&["BIGINT"], (1_234_567_890_123_456_789_i64,), "572e5819", [0, 3, 9]);
    check(&["STRING"], ("Hello Hudi - Fluss this side!",), "9661f22b", [2, 2, 11]);
    check(&["DECIMAL(10,2)"], (Decimal::new(12_345, 2),), "5675efdc", [2, 5, 12]);
    check(&["INT", "STRING"], (12_345, "cn-north"), "90843711", [1, 6, 1]);
    check(&["STRING"], row![Datum::Null], "f0582fa6", [2, 5, 6]);
    check(&["INT", "STRING"], row![42, Datum::Null], "0000cd03", [1, 4, 3]);
    let time = Timestamp { millis: 1_698_235_273_182, nanos: 123_456 };
    check(&["TIMESTAMP(6)"], (time,), "1ec6d1f2", [1, 6, 2]);
    let time = Datum::TimestampLtz(Timestamp::from_millis(1_700_000_000_000));
    check(&["TIMESTAMP_LTZ(6)"], (time,), "b799e16b", [0, 3, 11]);
}

#[test]
fn lake_keys_are_in_key_order_from_anywhere_in_the_row() {
    let schema = schema(&["STRING", "INT"]);
    for format in [KeyFormat::Paimon, KeyFormat::Hudi] {
        let encoder = KeyEncoder::new(&schema, &[1, 0]).and_then(|e| e.with_format(format));
        let mut key = Vec::new();
        encoder.expect("columns the lake takes").encode(&("hi", 7), &mut key).expect("it fits");
        assert_eq!(hex(&key), lake_key(format, &["INT", "STRING"], &(7, "hi")).0, "{format:?}");
    }
}

#[test]
fn what_a_lake_has_no_bucket_for_is_refused_by_name() {
    use KeyFormat::{Hudi, Iceberg};
    for (format, types) in [
        (Iceberg, &["BOOLEAN"][..]),
        (Iceberg, &["TINYINT"]),
        (Iceberg, &["SMALLINT"]),
        (Iceberg, &["TIMESTAMP_LTZ(3)"]),
        (Iceberg, &["INT", "INT"]),
        (Hudi, &["BYTES"]),
        (Hudi, &["INT", "BINARY(4)"]),
    ] {
        let schema = schema(types);
        let columns: Vec<usize> = (0..types.len()).collect();
        let encoder = KeyEncoder::new(&schema, &columns).expect("scalar columns");
        let error = encoder.with_format(format).expect_err("no bucket").to_string();
        let last = format!("column `c{}`", types.len() - 1);
        assert!(error.contains(&last), "{types:?}: {error}");
    }
    let refused = |format, types: &[&str], row: &[Datum<'_>]| {
        let schema = schema(types);
        let columns: Vec<usize> = (0..types.len()).collect();
        let encoder = KeyEncoder::new(&schema, &columns).and_then(|e| e.with_format(format));
        let mut out = vec![1];
        let row: OwnedRow = row.iter().map(|datum| OwnedDatum::from(*datum)).collect();
        let error = encoder.expect("columns the lake takes").encode(&row, &mut out);
        assert_eq!(out, [1]);
        error.expect_err("refused").to_string()
    };
    let error = refused(Iceberg, &["STRING"], &row![""]);
    assert!(error.contains("cannot be empty"), "{error}");
    let error = refused(Iceberg, &["STRING"], &row![Datum::Null]);
    assert!(error.contains("does not allow null"), "{error}");
    for text in ["a,b", "__null__", "__empty__"] {
        let error = refused(Hudi, &["STRING", "INT"], &row![text, 1]);
        assert!(error.contains("no comma"), "{error}");
    }
    let error = refused(Hudi, &["INT NOT NULL", "INT"], &row![Datum::Null, 1]);
    assert!(error.contains("does not allow null"), "{error}");
}

#[test]
fn properties_choose_the_encoding_of_keys() {
    let rules = |primary: bool, bucket: &[usize], lake: Option<&str>, version: Option<&str>| {
        let schema = Schema::builder().column("a", DataType::INT).column("b", DataType::INT);
        let schema = if primary { schema.primary_key(["a", "b"]) } else { schema };
        let mut table = TableDescriptor::new(schema.build().expect("a schema"));
        table.bucket_key = bucket.to_vec();
        let property = |name: &str, value: Option<&str>| {
            value.map(|value| (name.to_owned(), value.to_owned()))
        };
        table.properties.extend(property("table.datalake.format", lake));
        table.properties.extend(property("table.kv.format-version", version));
        KeyRules::of(&table).map(|rules| (rules.key, rules.bucket_key, rules.function))
    };
    use {BucketFunction as B, KeyFormat as K};
    let plain = (K::Compacted, K::Compacted, B::Fluss);
    for (lake, all) in [("paimon", (K::Paimon, B::Paimon)), ("Iceberg", (K::Iceberg, B::Iceberg))] {
        let (format, function) = all;
        for (bucket, version, key) in [
            (&[][..], None, format),
            (&[0][..], None, format),
            (&[0], Some("1"), format),
            (&[], Some("2"), format),
            (&[0, 1], Some("2"), format),
            (&[1, 0], Some("2"), K::Compacted),
            (&[0], Some("2"), K::Compacted),
        ] {
            let found = rules(true, bucket, Some(lake), version);
            assert_eq!(found, Ok((key, format, function)), "{lake} {bucket:?} {version:?}");
        }
        // Of a log table the version says nothing.
        let found = rules(false, &[0], Some(lake), Some("9"));
        assert_eq!(found, Ok((K::Compacted, format, function)));
    }
    for version in [None, Some("1"), Some("2"), Some("3")] {
        let hudi = (K::Compacted, K::Hudi, B::Hudi);
        assert_eq!(rules(true, &[], Some("HUDI"), version), Ok(hudi), "{version:?}");
    }
    for lake in [None, Some("lance"), Some("LANCE")] {
        assert_eq!(rules(true, &[0], lake, Some("2")), Ok(plain));
        let error = rules(true, &[0], lake, Some("3")).expect_err("unknown").to_string();
        assert!(error.contains("table.kv.format-version=3"), "{error}");
    }
    let error = rules(true, &[], Some("delta"), None).expect_err("unknown").to_string();
    assert!(error.contains("table.datalake.format=delta"), "{error}");
}
