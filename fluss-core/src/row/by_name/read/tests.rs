use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::*;
use crate::row::{ByName, DataType, Decimal, OwnedDatum, RowLayout, Timestamp, compacted};

fn schema(columns: &[(&str, DataType)]) -> Schema {
    let column = |(name, data_type): &(&str, DataType)| Column::new(*name, data_type.clone());
    Schema::new(columns.iter().map(column).collect(), vec![])
}

fn row_of(fields: &[(&str, DataType)]) -> DataType {
    let field = |(name, data_type): &(&str, DataType)| Field::new(*name, data_type.clone());
    DataType::row(fields.iter().map(field).collect())
}

/// A value of this type in a column `c`.
fn one<T: de::DeserializeOwned>(data_type: DataType, value: OwnedDatum) -> Result<T, String> {
    #[derive(Deserialize)]
    struct One<T> {
        c: T,
    }
    let row = OwnedRow::new(vec![value]);
    let read = row.to::<One<T>>(&schema(&[("c", data_type)]));
    read.map(|one| one.c).map_err(|error| error.to_string())
}

fn str(text: &str) -> OwnedDatum {
    OwnedDatum::Str(text.to_owned())
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Small,
    Large,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Place {
    city: String,
    at: (f64, f64),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Everything<'a> {
    note: Option<&'a str>,
    id: i32,
    kind: Kind,
    #[serde(with = "serde_bytes_free")]
    raw: Vec<u8>,
    price: Decimal,
    at: Timestamp,
    day: String,
    tags: Vec<Option<String>>,
    counts: BTreeMap<String, i64>,
    #[serde(borrow)]
    place: PlaceRef<'a>,
    ratio: f32,
    yes: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct PlaceRef<'a> {
    city: &'a str,
    at: (f64, f64),
}

/// Bytes as bytes, as `serde_bytes` does.
mod serde_bytes_free {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        <&[u8]>::deserialize(from).map(<[u8]>::to_vec)
    }
}

#[test]
fn a_struct_comes_back_as_it_was_written() {
    let at = row_of(&[("x", DataType::DOUBLE), ("y", DataType::DOUBLE)]);
    let place = row_of(&[("at", at), ("city", DataType::STRING)]);
    let schema = schema(&[
        ("id", DataType::INT),
        ("kind", DataType::STRING),
        ("raw", DataType::BYTES),
        ("price", DataType::decimal(9, 2)),
        ("at", DataType::timestamp_ltz(6)),
        ("day", DataType::DATE),
        ("tags", DataType::array(DataType::STRING)),
        ("counts", DataType::map(DataType::STRING, DataType::BIGINT)),
        ("place", place),
        ("ratio", DataType::FLOAT),
        ("yes", DataType::BOOLEAN),
        ("note", DataType::STRING),
    ]);
    let layout = RowLayout::new(&schema);
    for note in [None, Some("fragile")] {
        let all = Everything {
            note,
            id: -7,
            kind: Kind::Large,
            raw: vec![0, 255, 3],
            price: Decimal::new(-1230, 2),
            at: Timestamp { millis: -1, nanos: 999_000 },
            day: "2026-11-21".into(),
            tags: vec![Some("new".into()), None],
            counts: BTreeMap::from([("a".into(), 1), ("b".into(), i64::MIN)]),
            place: PlaceRef { city: "Ulm", at: (48.4, 9.99) },
            ratio: 0.5,
            yes: true,
        };
        let mut bytes = Vec::new();
        compacted::encode(&layout, &ByName(&all), &mut bytes).expect("it fits");
        let row = compacted::decode(&layout, &bytes).expect("what was encoded");
        assert_eq!(row.to::<Everything<'_>>(&schema), Ok(all));
    }
}

#[test]
fn each_type_of_column_fits_what_is_promised() {
    let time = OwnedDatum::Time(36_000_500);
    assert_eq!(one(DataType::time(3), time.clone()), Ok("10:00:00.5".to_owned()));
    assert_eq!(one(DataType::time(3), time), Ok(36_000_500_i64));
    assert_eq!(one(DataType::DATE, OwnedDatum::Date(-1)), Ok(-1_i16));
    assert_eq!(one(DataType::DATE, OwnedDatum::Date(-1)), Ok("1969-12-31".to_owned()));
    assert_eq!(one(DataType::BIGINT, OwnedDatum::Int64(200)), Ok(200_u8));
    assert_eq!(one(DataType::BIGINT, OwnedDatum::Int64(200)), Ok(200_i128));
    assert_eq!(one(DataType::BIGINT, OwnedDatum::Null), Ok(()));
    assert_eq!(one(DataType::STRING, str("x")), Ok('x'));
    let price = OwnedDatum::Decimal(Decimal::new(i128::MIN / 10, 38));
    let text = Decimal::new(i128::MIN / 10, 38).to_string();
    assert_eq!(one(DataType::decimal(38, 38), price), Ok(text));
    let point = Timestamp { millis: 1, nanos: 20 };
    let zoned = OwnedDatum::TimestampLtz(point);
    let text = "1970-01-01T00:00:00.00100002Z".to_owned();
    assert_eq!(one(DataType::timestamp_ltz(9), zoned), Ok(text));
    assert_eq!(one(DataType::STRING, str("1970-01-01T00:00:00.00100002")), Ok(point));
    assert_eq!(one(DataType::BYTES, OwnedDatum::Bytes(vec![1, 2])), Ok(vec![1_u8, 2]));
    let map = OwnedDatum::Map(vec![(OwnedDatum::Int32(1), str("one"))]);
    let map_type = DataType::map(DataType::INT, DataType::STRING);
    assert_eq!(one(map_type.clone(), map.clone()), Ok(HashMap::from([(1_u8, "one".to_owned())])));
    assert_eq!(one(map_type, map), Ok(vec![(1_i64, "one".to_owned())]));
    let any = one::<serde_json::Value>(
        DataType::array(DataType::INT),
        OwnedDatum::Array(vec![OwnedDatum::Int32(1), OwnedDatum::Null]),
    );
    assert_eq!(any, Ok(serde_json::json!([1, null])));
}

#[test]
fn what_does_not_fit_is_told_with_its_column() {
    let wrong = one::<i32>(DataType::BIGINT, OwnedDatum::Int64(1 << 40)).expect_err("too large");
    assert!(wrong.starts_with("column `c`: ") && wrong.contains("1099511627776"), "{wrong}");
    let wrong = one::<i32>(DataType::INT, OwnedDatum::Null).expect_err("null");
    assert!(wrong.contains("column `c`") && wrong.contains("null"), "{wrong}");
    let wrong = one::<Kind>(DataType::STRING, str("huge")).expect_err("no variant");
    assert!(wrong.contains("column `c`") && wrong.contains("huge"), "{wrong}");
    let list = OwnedDatum::Array(vec![str("a"), OwnedDatum::Null]);
    let wrong = one::<Vec<String>>(DataType::array(DataType::STRING), list).expect_err("null");
    assert!(wrong.starts_with("column `c[1]`: "), "{wrong}");
    let place = row_of(&[("city", DataType::INT), ("at", DataType::INT)]);
    let row = OwnedDatum::Row(vec![OwnedDatum::Int32(1), OwnedDatum::Int32(1)]);
    let wrong = one::<Place>(place, row).expect_err("no text");
    assert!(wrong.starts_with("column `c.city`: "), "{wrong}");
}

#[test]
fn values_are_not_cut_to_fit_a_field() {
    let ints = || OwnedDatum::Array((1..4).map(OwnedDatum::Int32).collect());
    let of_ints = || DataType::array(DataType::INT);
    assert_eq!(one::<[i32; 3]>(of_ints(), ints()), Ok([1, 2, 3]));
    assert_eq!(one::<(i32, i32, i32)>(of_ints(), ints()), Ok((1, 2, 3)));
    let place = || row_of(&[("x", DataType::INT), ("y", DataType::INT)]);
    let both = || OwnedDatum::Row(vec![OwnedDatum::Int32(1), OwnedDatum::Int32(2)]);
    assert_eq!(one::<(i32, i32)>(place(), both()), Ok((1, 2)));
    let bytes = || OwnedDatum::Bytes(vec![1, 2]);
    let cut = [
        one::<[i32; 2]>(of_ints(), ints()).unwrap_err(),
        one::<(i32, i32)>(of_ints(), ints()).unwrap_err(),
        one::<(i32,)>(place(), both()).unwrap_err(),
        one::<[u8; 1]>(DataType::BYTES, bytes()).unwrap_err(),
    ];
    for error in cut {
        assert!(error.contains("`c`") && error.contains("length"), "{error}");
    }
}

#[test]
fn columns_and_fields_that_do_not_meet() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Some {
        b: i32,
        missing: Option<i32>,
        #[serde(default)]
        usual: i32,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        b: i32,
    }
    let schema = schema(&[("a", DataType::INT), ("b", DataType::INT)]);
    let row = OwnedRow::new(vec![OwnedDatum::Int32(1), OwnedDatum::Int32(2)]);
    assert_eq!(row.to(&schema), Ok(Some { b: 2, missing: None, usual: 0 }));
    assert_eq!(row.to(&schema), Ok((1_i64, 2_i64)));
    assert_eq!(row.to(&schema), Ok(BTreeMap::from([("a", 1), ("b", 2)])));
    let error = row.to::<Strict>(&schema).expect_err("a column too many");
    assert!(error.to_string().contains("`a`"), "{error}");
    let place = row.to::<Place>(&schema).expect_err("no such columns");
    assert!(place.to_string().contains("`city`") && place.reason().contains("a, b"), "{place}");
    assert_eq!(place.column(), "");
    let error = row.to::<i32>(&schema).expect_err("a row is no number");
    assert!(error.to_string().contains("map"), "{error}");
}
