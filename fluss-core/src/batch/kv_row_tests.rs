use super::*;
use crate::row;
use crate::row::{DataType, SchemaBuilder, compacted, hash};

fn builder() -> SchemaBuilder {
    Schema::builder()
        .column("a", DataType::INT)
        .column("b", DataType::STRING)
        .column("c", DataType::BIGINT)
        .column("d", DataType::STRING)
}

fn schema(key: &[&str]) -> Schema {
    builder().primary_key(key.iter().copied()).build().expect("a schema")
}

fn whole(schema: &Schema, partition: &[usize], bucket: &[usize]) -> KvRowEncoder {
    KvRowEncoder::new(schema, partition, bucket, KvFormat::Compacted).expect("an encoder")
}

const ROW: (i32, &str, i64, &str) = (1, "bb", 300, "d");

#[test]
fn the_key_is_the_same_whichever_columns_it_has_and_wherever_it_comes_from() {
    for key in [&["a"][..], &["b", "c"], &["c", "a"], &["a", "c"], &["d"], &["a", "b", "c", "d"]] {
        let schema = schema(key);
        let mut expected = Vec::new();
        let plain = KeyEncoder::new(&schema, schema.primary_key()).expect("scalar columns");
        plain.encode(&ROW, &mut expected).expect("the row fits");
        let mut row = Vec::new();
        compacted::encode(&RowLayout::new(&schema), &ROW, &mut row).expect("the row fits");
        for format in [KvFormat::Compacted, KvFormat::Indexed] {
            let encoder = KvRowEncoder::new(&schema, &[], &[], format).expect("an encoder");
            let mut scratch = KvScratch::default();
            for _ in 0..2 {
                encoder.encode(&ROW, &mut scratch).expect("the row fits");
                assert_eq!(scratch.key(), expected, "{key:?} {format:?}");
                assert_eq!(scratch.bucket_key(), expected, "{key:?} {format:?}");
                if format == KvFormat::Compacted {
                    assert_eq!(scratch.row(), row, "{key:?}");
                }
                encoder.encode_delete_row(&ROW, &mut scratch).expect("the row fits");
                assert_eq!((scratch.key(), scratch.row()), (&expected[..], &[][..]));
            }
        }
    }
}

#[test]
fn a_delete_takes_key_values_in_key_order() {
    let encoder = whole(&schema(&["c", "a"]), &[], &[]);
    let mut scratch = KvScratch::default();
    encoder.encode_delete(&(300, 1), &mut scratch).expect("the key fits");
    assert_eq!(scratch.key(), [0xac, 0x02, 1]);
    let error = encoder.encode_delete(&(1,), &mut scratch);
    assert_eq!(error, Err(RowError::arity(2, 1)));
}

#[test]
fn partition_columns_are_no_part_of_the_key() {
    let encoder = whole(&schema(&["a", "b", "c"]), &[1], &[]);
    let mut scratch = KvScratch::default();
    encoder.encode(&ROW, &mut scratch).expect("the row fits");
    assert_eq!(scratch.key(), [1, 0xac, 0x02]);
    encoder.encode_delete(&(1, "bb", 300), &mut scratch).expect("the key fits");
    assert_eq!(scratch.key(), [1, 0xac, 0x02]);
}

#[test]
fn a_bucket_key_of_its_own_is_encoded_beside_the_key() {
    let encoder = whole(&schema(&["a", "c"]), &[], &[2]);
    let mut scratch = KvScratch::default();
    encoder.encode(&ROW, &mut scratch).expect("the row fits");
    assert_eq!((scratch.key(), scratch.bucket_key()), (&[1, 0xac, 2][..], &[0xac, 2][..]));
    assert_eq!(hash::bucket_of(scratch.bucket_key(), 7), Some(6));
    encoder.encode_delete(&(1, 300), &mut scratch).expect("the key fits");
    assert_eq!((scratch.key(), scratch.bucket_key()), (&[1, 0xac, 2][..], &[0xac, 2][..]));
}

#[test]
fn a_partial_row_is_spread_over_the_columns_in_any_order() {
    let schema = schema(&["a"]);
    let mut expected = Vec::new();
    let null = Datum::Null;
    let full = row![1, null, 300_i64, null];
    compacted::encode(&RowLayout::new(&schema), &full, &mut expected).expect("the row fits");
    let mut scratch = KvScratch::default();
    for (targets, row) in [(&[0, 2][..], (1, 300)), (&[2, 0], (300, 1))] {
        let encoder = KvRowEncoder::partial(&schema, &[], &[], KvFormat::Compacted, targets);
        let encoder = encoder.expect("an encoder");
        encoder.encode(&row, &mut scratch).expect("the row fits");
        assert_eq!((scratch.key(), scratch.row()), (&[1][..], &expected[..]), "{targets:?}");
        assert_eq!(encoder.targets(), Some(targets));
        let few = encoder.encode(&(1,), &mut scratch);
        assert_eq!(few, Err(RowError::arity(2, 1)), "{targets:?}");
        let many = encoder.encode(&(1, 2, 3), &mut scratch);
        assert_eq!(many, Err(RowError::arity(2, 3)), "{targets:?}");
    }
}

#[test]
fn what_cannot_be_written_is_refused_before_the_first_row() {
    let new = |schema: &Schema, partition: &[usize], bucket: &[usize]| {
        let encoder = KvRowEncoder::new(schema, partition, bucket, KvFormat::Compacted);
        encoder.expect_err("must be refused")
    };
    let partial = |schema: &Schema, targets: &[usize]| {
        let encoder = KvRowEncoder::partial(schema, &[], &[], KvFormat::Compacted, targets);
        encoder.expect_err("must be refused")
    };
    let column = |name: &str| name.to_owned();
    let keyed = schema(&["a", "b"]);
    assert_eq!(new(&schema(&[]), &[], &[]), KvEncoderError::NoPrimaryKey);
    assert_eq!(new(&keyed, &[0, 1], &[]), KvEncoderError::NoKeyBesidesPartition);
    assert_eq!(new(&keyed, &[], &[3]), KvEncoderError::BucketKey(column("d")));
    assert_eq!(partial(&keyed, &[0]), KvEncoderError::KeyMissing(column("b")));
    assert_eq!(partial(&keyed, &[0, 1, 0]), KvEncoderError::Repeated(column("a")));
    let counted = builder().primary_key(["a"]).auto_increment("c").build().expect("a schema");
    assert_eq!(new(&counted, &[], &[]), KvEncoderError::OnlyPartial(column("c")));
    assert_eq!(partial(&counted, &[0, 2]), KvEncoderError::AutoIncrement(column("c")));
    let strict = builder().column("e", DataType::INT.not_null()).primary_key(["a"]);
    let strict = strict.build().expect("a schema");
    assert_eq!(partial(&strict, &[0, 1]), KvEncoderError::NotNullable(column("e")));
}

#[test]
fn a_refused_row_names_its_column() {
    let encoder = whole(&schema(&["a"]), &[], &[]);
    let mut scratch = KvScratch::default();
    let error = encoder.encode(&row![Datum::Null, "b", 1, "d"], &mut scratch);
    assert_eq!(error, Err(RowError::null("a", &DataType::INT.not_null())));
}

#[test]
fn a_strict_encoder_refuses_values_beyond_their_types() {
    use crate::row::{DataType, Timestamp, TypeKind};
    let schema = Schema::builder()
        .column("id", DataType::INT)
        .column("at", DataType::timestamp(3))
        .column("c", DataType::char(2))
        .column("b", TypeKind::Binary(2).nullable())
        .primary_key(["id"])
        .build()
        .expect("a schema");
    let fine = Timestamp { millis: 1, nanos: 1 };
    for format in [KvFormat::Compacted, KvFormat::Indexed] {
        let encoder = KvRowEncoder::new(&schema, &[], &[], format).expect("an encoder").strict();
        let mut scratch = KvScratch::default();
        for (row, told) in [
            (crate::row![1, fine, "a", b"bb"], "`at`: 1970-01-01T00:00:00.001000001"),
            (crate::row![1, Timestamp::from_millis(1), "abc", b"bb"], "`c`: \"abc\""),
            (crate::row![1, Timestamp::from_millis(1), "ab", b"bbb"], "`b`: a value of 3 bytes"),
        ] {
            let error = encoder.encode(&row, &mut scratch).expect_err(told).to_string();
            assert!(error.contains(told), "{error}");
        }
        let fits = crate::row![1, Timestamp::from_millis(1), "ab", b"bb"];
        encoder.encode(&fits, &mut scratch).expect("it fits");
    }
}
