use super::super::hash::{bucket_of, fluss_hash};
use super::super::{DataType, Decimal, Timestamp};
use super::*;
use crate::row;

fn schema(types: &[&str]) -> Schema {
    let builder = types.iter().enumerate().fold(Schema::builder(), |builder, (index, text)| {
        let data_type: DataType = text.parse().expect("a type");
        builder.column(format!("c{index}"), data_type)
    });
    builder.build().expect("a schema")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares the key, its hash and its buckets among 3, 7 and 16.
fn check<R: Row>(types: &[&str], row: R, key: &str, hash: u32, buckets: [u32; 3]) {
    let schema = schema(types);
    let columns: Vec<usize> = (0..types.len()).collect();
    let encoder = KeyEncoder::new(&schema, &columns).expect("scalar columns");
    let mut bytes = Vec::new();
    encoder.encode(&row, &mut bytes).expect("the row fits");
    assert_eq!(hex(&bytes), key, "{types:?}");
    assert_eq!(fluss_hash(&bytes).cast_unsigned(), hash, "{types:?} {key}");
    assert_eq!([3, 7, 16].map(|n| bucket_of(&bytes, n)), buckets.map(Some), "{types:?} {key}");
}

#[test]
fn integer_keys_are_those_of_the_server() {
    for (value, key, hash, buckets) in [
        (0, "00", 0xd149_7b27, [2, 6, 8]),
        (1, "01", 0xe8f3_0d16, [0, 4, 12]),
        (127, "7f", 0x46a3_076d, [1, 2, 10]),
        (128, "8001", 0x660f_c139, [1, 2, 2]),
        (300, "ac02", 0xbe91_5344, [1, 6, 5]),
        (16_384, "808001", 0xb371_a21b, [0, 4, 6]),
        (-1, "ffffffff0f", 0x0008_b8cf, [0, 1, 10]),
        (i32::MAX, "ffffffff07", 0xddeb_c7a0, [0, 1, 14]),
        (i32::MIN, "8080808008", 0x702e_8c0b, [1, 5, 4]),
    ] {
        check(&["INT"], (value,), key, hash, buckets);
    }
    for (value, key, hash, buckets) in [
        (300, "ac02", 0xbe91_5344, [1, 6, 5]),
        (-1, "ffffffffffffffffff01", 0xa4d9_39c0, [2, 1, 7]),
        (i64::MAX, "ffffffffffffffff7f", 0xf182_803d, [0, 3, 9]),
        (i64::MIN, "80808080808080808001", 0x4955_8cc6, [1, 5, 15]),
        (-6_101_065_172_474_983_726, "d295fcd8ceb1aaaaab01", 0xb209_c72f, [1, 0, 11]),
    ] {
        check(&["BIGINT"], (value,), key, hash, buckets);
    }
    check(&["BOOLEAN"], (true,), "01", 0xe8f3_0d16, [0, 4, 12]);
    check(&["TINYINT"], (-1_i8,), "ff", 0x535b_391c, [0, 1, 9]);
    check(&["SMALLINT"], (10_i16,), "0a00", 0xc85e_33eb, [1, 5, 4]);
    check(&["SMALLINT"], (-2_i16,), "feff", 0xe353_7a3b, [0, 5, 3]);
}

#[test]
fn text_and_byte_keys_are_those_of_the_server() {
    for (text, key, hash, buckets) in [
        ("", "00", 0xd149_7b27, [2, 6, 8]),
        ("a", "0161", 0x9386_186d, [1, 0, 11]),
        ("é", "02c3a9", 0x24f8_ff37, [2, 5, 6]),
        ("user_id_42", "0a757365725f69645f3432", 0xf02f_d525, [0, 2, 15]),
    ] {
        check(&["STRING"], (text,), key, hash, buckets);
    }
    check(&["CHAR(5)"], ("ab",), "026162", 0x24b0_4992, [2, 5, 15]);
    check(&["BYTES"], (b"\xff\x00",), "02ff00", 0xe082_8882, [2, 6, 2]);
    check(&["BINARY(4)"], (b"\x01\x02",), "020102", 0x0224_b237, [2, 2, 1]);
}

#[test]
fn other_keys_are_those_of_the_server() {
    check(&["FLOAT"], (13.2_f32,), "33335341", 0x6f9e_ad34, [0, 2, 3]);
    check(&["DOUBLE"], (15.21,), "ec51b81e856b2e40", 0x865a_cb6e, [1, 0, 9]);
    check(&["DATE"], (Datum::Date(19_655),), "c79901", 0xc374_4fab, [0, 3, 4]);
    check(&["TIME"], (Datum::Time(34_200_000),), "c0b3a710", 0x6b39_1df5, [0, 6, 8]);
    for (data_type, unscaled, scale, key, hash, buckets) in [
        ("DECIMAL(5,2)", 9, 2, "09", 0x7472_b727, [2, 0, 11]),
        ("DECIMAL(18,2)", -100, 2, "9cffffffffffffffff01", 0x60e7_8f08, [1, 1, 6]),
        ("DECIMAL(20,0)", 10, 0, "010a", 0x6f69_dfb1, [0, 3, 15]),
        ("DECIMAL(20,0)", -1, 0, "01ff", 0x15a2_4c40, [0, 3, 3]),
        ("DECIMAL(20,2)", 12_800, 2, "023200", 0xab0b_87cd, [2, 6, 15]),
        (
            "DECIMAL(38,0)",
            10_i128.pow(38) - 1,
            0,
            "104b3b4ca85a86c47a098a223fffffffff",
            0x5923_e8ea,
            [0, 4, 9],
        ),
    ] {
        check(&[data_type], (Decimal::new(unscaled, scale),), key, hash, buckets);
    }
    let time = Timestamp { millis: 1_698_235_273_182, nanos: 456_000 };
    check(&["TIMESTAMP(3)"], (time,), "de9fd7b5b631", 0x0efa_312e, [1, 4, 13]);
    check(&["TIMESTAMP(6)"], (time,), "de9fd7b5b631c0ea1b", 0x2dd0_38ed, [2, 0, 3]);
}

#[test]
fn keys_of_several_columns_are_those_of_the_server() {
    check(&["INT", "BIGINT", "INT"], (1, 3_i64, 2), "010302", 0xfd92_890d, [0, 5, 5]);
    check(&["INT", "STRING"], (1, "a2"), "01026132", 0xf7f9_b285, [2, 4, 13]);
    let shop = ("shop", 7, 500_i64);
    check(&["STRING", "INT", "BIGINT"], shop, "0473686f7007f403", 0xbf98_7252, [0, 0, 6]);
    check(&["STRING"], ("shop",), "0473686f70", 0x3a40_809c, [2, 2, 12]);
}

#[test]
fn key_columns_are_picked_in_key_order_from_anywhere_in_the_row() {
    let schema = schema(&["INT", "STRING", "BIGINT"]);
    let encode = |columns: &[usize]| {
        let mut key = Vec::new();
        let encoder = KeyEncoder::new(&schema, columns).expect("scalar columns");
        encoder.encode(&(1, "x", 3_i64), &mut key).expect("the row fits");
        hex(&key)
    };
    assert_eq!(encode(&[2]), "03");
    assert_eq!(encode(&[0, 2]), "0103");
    assert_eq!(encode(&[2, 0, 1]), "03010178");
}

#[test]
fn a_key_can_be_encoded_from_key_values_alone() {
    let schema = schema(&["INT", "STRING", "BIGINT"]);
    let encoder = KeyEncoder::for_values(&schema, &[2, 0], &[0, 2]).expect("scalar columns");
    let mut key = vec![9];
    encoder.encode(&(1, 3), &mut key).expect("the row fits");
    assert_eq!(key, [9, 3, 1]);
    assert_eq!(encoder.encode(&(1,), &mut key), Err(RowError::arity(2, 1)));
    assert_eq!(encoder.encode(&(1, 2, 3), &mut key), Err(RowError::arity(2, 3)));
    assert_eq!(key, [9, 3, 1]);
}

#[test]
fn a_null_or_nested_key_column_is_refused() {
    let nullable = schema(&["INT", "ARRAY<INT>"]);
    let encoder = KeyEncoder::new(&nullable, &[0]).expect("a scalar column");
    let error = encoder.encode(&row![Datum::Null, Datum::Null], &mut Vec::new());
    let error = error.expect_err("null in a key").to_string();
    assert_eq!(error, "column `c0`: INT NOT NULL does not allow null");
    let error = KeyEncoder::new(&nullable, &[1]).expect_err("a nested key").to_string();
    assert!(error.contains("a key column must be a scalar"), "{error}");
}

#[path = "key_lake_tests.rs"]
mod lake;
