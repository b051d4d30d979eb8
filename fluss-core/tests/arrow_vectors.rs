//! Every ARROW vector decoded and compared, and every damaged one refused.

use std::path::PathBuf;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use bytes::Bytes;
use fluss_core::batch::{ArrowDecoder, DecodeError, DecodeLimits, FromColumn, LogRows};
use fluss_core::row;
use fluss_core::row::{Column, Datum, Decimal, Field, Schema, Timestamp, TypeKind};
use fluss_proto::record::{ChangeType, Check, LogBatch, RecordError};

fn vector(name: &str) -> Bytes {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../fluss-proto/tests/vectors")
        .join(format!("{name}.hex"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let digits = text.trim();
    let byte = |i| u8::from_str_radix(&digits[i..i + 2], 16).expect("hex digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn batch(name: &str, check: Check) -> LogBatch {
    LogBatch::new_checked(vector(name), check).expect("an intact header")
}

fn schema(columns: &[(&str, TypeKind)]) -> Schema {
    let column = |(name, kind): &(&str, TypeKind)| Column::new(*name, kind.clone().nullable());
    Schema::new(columns.iter().map(column).collect(), vec![])
}

fn a_and_b() -> Schema {
    schema(&[("a", TypeKind::Int), ("b", TypeKind::String)])
}

fn only_a() -> Schema {
    schema(&[("a", TypeKind::Int)])
}

fn values(rows: &LogRows, column: usize) -> Vec<Datum<'_>> {
    rows.iter().map(|row| row.value(column).expect("a scalar")).collect()
}

fn changes(rows: &LogRows) -> Vec<ChangeType> {
    rows.iter().map(|row| row.change_type()).collect()
}

#[test]
fn appended_rows_come_back_from_every_version() {
    for name in [
        "log_v0_arrow_append",
        "log_v1_arrow_append_nostats",
        "log_v1_arrow_append_stats",
        "log_v1_arrow_append_stats_stored",
        "log_v2_arrow_append_nostats",
    ] {
        let batch = batch(&format!("generated/{name}"), Check::Crc);
        let rows = ArrowDecoder::new(&a_and_b()).decode_rows(&batch).unwrap();
        assert_eq!(values(&rows, 0), [1, 2, 3].map(Datum::Int32), "{name}");
        assert_eq!(values(&rows, 1), [Datum::Str("a"), Datum::Null, Datum::Str("ccc")], "{name}");
        assert_eq!(changes(&rows), [ChangeType::Append; 3], "{name}");
    }
}

#[test]
fn a_stored_batch_has_offsets_and_a_timestamp() {
    let batch = batch("generated/log_v1_arrow_append_stats_stored", Check::Crc);
    let rows = ArrowDecoder::new(&a_and_b()).decode_rows(&batch).unwrap();
    let offsets: Vec<_> = rows.iter().map(|row| (row.offset(), row.timestamp())).collect();
    assert_eq!(offsets, [1000, 1001, 1002].map(|offset| (offset, 1_761_955_200_000)));
    let later: Vec<_> = rows.iter_from(1002).map(|row| row.value(0)).collect();
    assert_eq!(later, [Ok(Datum::Int32(3))]);
    assert_eq!((rows.iter_from(-1).len(), rows.iter_from(i64::MAX).len()), (3, 0));
}

#[test]
fn a_changelog_tells_what_happened_to_each_row() {
    use ChangeType::{Delete, Insert, UpdateAfter, UpdateBefore};
    let decoder = ArrowDecoder::new(&a_and_b());
    let rows = decoder.decode_rows(&batch("generated/log_v0_arrow_changelog", Check::Crc)).unwrap();
    assert_eq!(changes(&rows), [Insert, UpdateBefore, UpdateAfter, Delete]);
    assert_eq!(values(&rows, 1), ["x", "x", "y", "y"].map(Datum::Str));

    let batch = batch("generated/log_v2_arrow_changelog_stats", Check::Crc);
    let rows = decoder.decode_rows(&batch).unwrap();
    assert_eq!(changes(&rows), [Insert, UpdateBefore, UpdateAfter]);
    assert_eq!(values(&rows, 0), [1, 2, 3].map(Datum::Int32));
}

#[test]
fn a_batch_projected_by_the_server_decodes_with_the_projected_schema() {
    let batch = batch("generated/log_v1_arrow_projected_col1", Check::Structure);
    let schema = schema(&[("b", TypeKind::String)]);
    let rows = ArrowDecoder::new(&schema).decode_rows(&batch).unwrap();
    assert_eq!(values(&rows, 0), [Datum::Str("a"), Datum::Null, Datum::Str("ccc")]);
}

#[test]
fn a_local_projection_decodes_the_wanted_columns_in_the_wanted_order() {
    let batch = batch("generated/log_v0_arrow_append", Check::Crc);
    let swapped = ArrowDecoder::with_projection(&a_and_b(), &[1, 0]).unwrap();
    let rows = swapped.decode_rows(&batch).unwrap();
    let row = rows.row(2).unwrap();
    assert_eq!(row.value(0), Ok(Datum::Str("ccc")));
    assert_eq!(row.value_of("a"), Ok(Datum::Int32(3)));
    assert!(row.value(2).is_err() && row.value_of("c").is_err());
    let none = ArrowDecoder::with_projection(&a_and_b(), &[]).unwrap();
    assert_eq!(none.decode(&batch).unwrap().num_rows(), 3);
    let error = ArrowDecoder::with_projection(&a_and_b(), &[2]).unwrap_err();
    assert_eq!(error, DecodeError::NoColumn { index: 2, columns: 2 });
    let error = ArrowDecoder::with_projection(&a_and_b(), &[1, 1]).unwrap_err();
    assert_eq!(error, DecodeError::RepeatedColumn { index: 1 });
}

#[test]
fn compressed_bodies_are_inflated() {
    for name in ["generated/log_v0_arrow_zstd", "generated/log_v0_arrow_lz4"] {
        let rows = ArrowDecoder::new(&only_a()).decode_rows(&batch(name, Check::Crc)).unwrap();
        assert_eq!(values(&rows, 0), vec![Datum::Int32(7); 100], "{name}");
    }
}

#[test]
fn an_empty_batch_has_no_rows() {
    for name in ["generated/log_v0_empty", "generated/log_v1_empty", "generated/log_v2_empty"] {
        let rows = ArrowDecoder::new(&a_and_b()).decode_rows(&batch(name, Check::Crc)).unwrap();
        assert!(rows.is_empty() && rows.row(0).is_none(), "{name}");
    }
}

/// All values of a column as this type; what cannot be had is None.
fn as_type<'a, T: FromColumn<'a>>(rows: &'a LogRows, column: usize) -> Vec<Option<T>> {
    rows.iter().map(|row| row.get(column).ok()).collect()
}

#[test]
fn values_come_as_the_types_of_rust_that_fit_and_as_no_others() {
    let batch = batch("generated/log_v0_arrow_all_types", Check::Crc);
    let rows = ArrowDecoder::new(&all_types_schema()).decode_rows(&batch).unwrap();
    for (column, (name, kind, first, third)) in all_types(&DECIMALS).into_iter().enumerate() {
        let some = |pick: fn(Datum<'_>) -> bool| match pick(first) {
            true => 2,
            false => 0,
        };
        let count = |had: usize, wanted: usize| assert_eq!(had, wanted, "{name}");
        macro_rules! check {
            ($type:ty, $pattern:pat) => {
                let had = as_type::<$type>(&rows, column);
                count(had.iter().flatten().count(), some(|datum| matches!(datum, $pattern)));
            };
        }
        check!(bool, Datum::Bool(_));
        check!(i8, Datum::Int8(_));
        check!(i16, Datum::Int16(_));
        check!(i32, Datum::Int32(_) | Datum::Date(_) | Datum::Time(_));
        check!(i64, Datum::Int64(_));
        check!(f32, Datum::Float32(_));
        check!(f64, Datum::Float64(_));
        check!(&str, Datum::Str(_));
        check!(&[u8], Datum::Bytes(_));
        check!(Decimal, Datum::Decimal(_));
        check!(Timestamp, Datum::Timestamp(_) | Datum::TimestampLtz(_));
        let all = [Some(first), Some(Datum::Null), Some(third)];
        assert_eq!(as_type::<Datum<'_>>(&rows, column), all, "{name}");
        match kind {
            TypeKind::Time(_) => {
                let (Datum::Time(a), Datum::Time(b)) = (first, third) else { panic!("{name}") };
                assert_eq!(as_type::<i32>(&rows, column), [Some(a), None, Some(b)], "{name}");
            }
            TypeKind::String => {
                let whole = [Some(Some("hello")), Some(None), Some(Some(""))];
                assert_eq!(as_type::<Option<&str>>(&rows, column), whole);
                let error = rows.row(1).unwrap().get::<&str>(column).unwrap_err().to_string();
                assert_eq!(error, "column `c_str` is null; take it as Option<&str>");
                let error = rows.row(0).unwrap().get::<i64>(column).unwrap_err().to_string();
                assert_eq!(error, "column `c_str` is STRING, which cannot be had as i64");
            }
            _ => {}
        }
    }
    let error = rows.row(0).unwrap().get::<i64>(99).unwrap_err();
    assert_eq!(error.to_string(), "column 99 does not exist, the row has 27");
}

/// The columns of the all-types vector with the values of its first and third row; the second one
/// holds nulls only.
fn all_types<'a>(
    decimals: &'a [Decimal; 4],
) -> Vec<(&'static str, TypeKind, Datum<'a>, Datum<'a>)> {
    use Datum as D;
    use TypeKind as T;
    let at = |millis, nanos| Timestamp { millis, nanos };
    let time = D::Time(34_200_123);
    let last = D::Time(86_399_999);
    let moment = 1_698_235_273_182;
    let [dec5, dec20, low5, low20] = decimals;
    vec![
        ("c_bool", T::Boolean, D::Bool(true), D::Bool(false)),
        ("c_i8", T::TinyInt, D::Int8(2), D::Int8(i8::MIN)),
        ("c_i16", T::SmallInt, D::Int16(10), D::Int16(i16::MIN)),
        ("c_i32", T::Int, D::Int32(100), D::Int32(i32::MIN)),
        ("c_i64", T::BigInt, D::Int64(-6_101_065_172_474_983_726), D::Int64(i64::MAX)),
        ("c_f32", T::Float, D::Float32(1.5), D::Float32(-0.0)),
        ("c_f64", T::Double, D::Float64(15.25), D::Float64(-2.5)),
        ("c_str", T::String, D::Str("hello"), D::Str("")),
        ("c_char", T::Char(2), D::Str("1"), D::Str("ab")),
        ("c_bytes", T::Bytes, D::Bytes(b"20"), D::Bytes(&[])),
        ("c_bin4", T::Binary(4), D::Bytes(&[1, 2, 3, 4]), D::Bytes(&[0, 0, 0, 0xff])),
        ("c_dec5", T::Decimal { precision: 5, scale: 2 }, D::Decimal(dec5), D::Decimal(low5)),
        ("c_dec20", T::Decimal { precision: 20, scale: 0 }, D::Decimal(dec20), D::Decimal(low20)),
        ("c_date", T::Date, D::Date(19_655), D::Date(-1)),
        ("c_time0", T::Time(0), D::Time(34_200_000), D::Time(0)),
        ("c_time3", T::Time(3), time, last),
        ("c_time6", T::Time(6), time, last),
        ("c_time9", T::Time(9), time, last),
        (
            "c_ts0",
            T::Timestamp(0),
            D::Timestamp(at(1_698_235_273_000, 0)),
            D::Timestamp(at(-1000, 0)),
        ),
        ("c_ts3", T::Timestamp(3), D::Timestamp(at(moment, 0)), D::Timestamp(at(-1, 0))),
        (
            "c_ts6",
            T::Timestamp(6),
            D::Timestamp(at(moment, 456_000)),
            D::Timestamp(at(-1, 999_000)),
        ),
        (
            "c_ts9",
            T::Timestamp(9),
            D::Timestamp(at(moment, 456_789)),
            D::Timestamp(at(-1, 999_999)),
        ),
        ("c_ltz3", T::TimestampLtz(3), D::TimestampLtz(at(moment, 0)), D::TimestampLtz(at(-1, 0))),
        (
            "c_ltz6",
            T::TimestampLtz(6),
            D::TimestampLtz(at(moment, 456_000)),
            D::TimestampLtz(at(-1, 999_000)),
        ),
    ]
}

const DECIMALS: [Decimal; 4] = [
    Decimal::new(9, 2),
    Decimal::new(10, 0),
    Decimal::new(-99_999, 2),
    Decimal::new(-99_999_999_999_999_999_999, 0),
];

fn all_types_schema() -> Schema {
    use TypeKind as T;
    let map = T::Map(Box::new(T::Int.nullable().not_null()), Box::new(T::String.nullable()));
    let row =
        T::Row(vec![Field::new("u1", T::Int.nullable()), Field::new("u2", T::String.nullable())]);
    let nested = [("c_arr", T::Array(Box::new(T::Int.nullable()))), ("c_map", map), ("c_row", row)];
    let scalar = all_types(&DECIMALS).into_iter().map(|(name, kind, ..)| (name, kind));
    schema(&scalar.chain(nested).collect::<Vec<_>>())
}

#[test]
fn all_types_come_back_as_rows() {
    let batch = batch("generated/log_v0_arrow_all_types", Check::Crc);
    let rows = ArrowDecoder::new(&all_types_schema()).decode_rows(&batch).unwrap();
    assert_eq!(rows.len(), 3);
    for (column, (name, _, first, third)) in all_types(&DECIMALS).into_iter().enumerate() {
        assert_eq!(values(&rows, column), [first, Datum::Null, third], "{name}");
    }
    let zero = rows.row(2).and_then(|row| row.value(5).ok()?.as_f64()).unwrap();
    assert!(zero.is_sign_negative());
    let map = vec![(0, None), (1, Some("1"))];
    let (full, empty) = (row![123, "Test"], row![None::<i32>, "x"]);
    for (name, first, third) in [
        ("c_arr", Datum::Array(&[Some(1), None, Some(3)]), Datum::Array(&[None::<i32>; 0])),
        ("c_map", Datum::Map(&map), Datum::Map(&[(0, ""); 0])),
        ("c_row", Datum::Row(&full), Datum::Row(&empty)),
    ] {
        let found = rows.iter().map(|row| row.value_of(name).unwrap()).collect::<Vec<_>>();
        assert_eq!(found, [first, Datum::Null, third], "{name}");
    }
}

#[test]
fn nested_columns_come_back_as_arrow() {
    let batch = batch("generated/log_v0_arrow_all_types", Check::Crc);
    let columns = ArrowDecoder::new(&all_types_schema()).decode(&batch).unwrap();
    let list = columns.column_by_name("c_arr").unwrap().as_list::<i32>();
    let first = list.value(0);
    let first: Vec<_> = first.as_primitive::<Int32Type>().iter().collect();
    assert_eq!(first, [Some(1), None, Some(3)]);
    assert!(list.is_null(1) && list.value(2).is_empty());

    let map = columns.column_by_name("c_map").unwrap().as_map();
    let keys: Vec<_> = map.keys().as_primitive::<Int32Type>().iter().collect();
    let texts: Vec<_> = map.values().as_string::<i32>().iter().collect();
    assert_eq!((keys, texts), (vec![Some(0), Some(1)], vec![None, Some("1")]));
    assert!(map.is_null(1) && map.value_length(2) == 0);

    let row = columns.column_by_name("c_row").unwrap().as_struct();
    let u1 = row.column(0).as_primitive::<Int32Type>();
    let u2 = row.column(1).as_string::<i32>();
    assert_eq!((u1.value(0), u2.value(0)), (123, "Test"));
    assert!(row.is_null(1) && u1.is_null(2));
    assert_eq!(u2.value(2), "x");
}

#[test]
fn every_damaged_batch_is_refused() {
    for (name, expected) in [
        ("arrow_no_continuation", "continuation mark"),
        ("arrow_metadata_len", "metadata claims 2147483632 bytes"),
        ("arrow_body_len", "body claims 1099511627776 bytes"),
        ("arrow_buffer_oob", "not within the body"),
        ("arrow_offsets_decreasing", "column `b`"),
        ("arrow_node_length", "99 values, 3 are expected"),
        ("arrow_null_count", "99 nulls of 3 values"),
        ("record_count_mismatch", "it has 3 rows, the batch 4"),
    ] {
        for check in [Check::Crc, Check::Structure] {
            let batch = batch(&format!("hostile/{name}"), check);
            let error = ArrowDecoder::new(&a_and_b()).decode(&batch).unwrap_err();
            assert!(error.is_corrupt(), "{name}: {error}");
            assert!(error.to_string().contains(expected), "{name}: {error}");
        }
    }
}

#[test]
fn a_claimed_size_beyond_the_limit_is_refused_before_memory_is_asked_for() {
    let decoder = ArrowDecoder::new(&only_a());
    let limit = DecodeLimits::default().max_batch_bytes as u64;
    let error = decoder.decode(&batch("hostile/zstd_claimed_size", Check::Crc)).unwrap_err();
    assert_eq!(error, DecodeError::TooLarge { needed: 1 << 40, limit });
    let intact = batch("generated/log_v0_arrow_zstd", Check::Crc);
    let tight = decoder.clone().with_limits(DecodeLimits { max_batch_bytes: 399 });
    let error = tight.decode(&intact).unwrap_err();
    assert_eq!(error, DecodeError::TooLarge { needed: 400, limit: 399 });
    let enough = decoder.with_limits(DecodeLimits { max_batch_bytes: 400 });
    assert_eq!(enough.decode(&intact).unwrap().num_rows(), 100);
}

#[test]
fn an_unknown_change_type_is_refused() {
    let batch = batch("hostile/change_type_9", Check::Crc);
    let error = ArrowDecoder::new(&a_and_b()).decode_rows(&batch).unwrap_err();
    assert!(
        matches!(error, DecodeError::Record(RecordError::ChangeType { code: 9, .. })),
        "{error}"
    );
}

/// Replaces every byte of every payload by several others. Whatever comes out must be an error, or
/// rows that can be read.
#[test]
fn no_single_damaged_byte_leads_to_a_panic() {
    let limits = DecodeLimits { max_batch_bytes: 1 << 20 };
    let mut refused = 0;
    for (name, schema) in [
        ("log_v0_arrow_append", a_and_b()),
        ("log_v0_arrow_changelog", a_and_b()),
        ("log_v0_arrow_zstd", only_a()),
        ("log_v0_arrow_lz4", only_a()),
        ("log_v0_arrow_all_types", all_types_schema()),
    ] {
        let intact = vector(&format!("generated/{name}"));
        let decoder = ArrowDecoder::new(&schema).with_limits(limits);
        for at in 48..intact.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, intact[at] ^ 1, intact[at].wrapping_add(8)] {
                let mut bytes = intact.to_vec();
                bytes[at] = value;
                let batch = LogBatch::new_checked(bytes.into(), Check::Structure).unwrap();
                match decoder.decode_rows(&batch) {
                    Ok(rows) => rows.iter().for_each(|row| {
                        (0..schema.columns().len()).for_each(|i| drop(row.value(i)));
                    }),
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(refused > 1_000, "only {refused} damaged batches were noticed");
}

#[test]
fn every_vector_that_the_crate_of_the_protocol_leaves_to_this_one_is_named_by_a_test() {
    let read = |path: &str| {
        let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let tests = ["arrow_vectors", "row_vectors", "statistics"];
    let tests: String = tests.iter().map(|name| read(&format!("tests/{name}.rs"))).collect();
    let table = read("../fluss-proto/tests/vectors.rs");
    let (_, table) = table.split_once("const CHECKED_IN_CORE").expect("the second table");
    let (table, _) = table.split_once("];").expect("its end");
    let names: Vec<&str> = table.split('"').skip(1).step_by(2).collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        let stem = name.rsplit('/').next().and_then(|name| name.strip_suffix(".hex"));
        let stem = stem.expect("a name of a file");
        // In the tables of tests without folder and ending, else with both.
        let quoted = [format!("\"{stem}\""), format!("/{stem}\""), format!("{stem}.hex")];
        assert!(quoted.iter().any(|name| tests.contains(name)), "{name} has no test");
    }
}
