use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use super::*;
use crate::row::{
    Column, DataType, Decimal, Field, OwnedDatum, OwnedRow, RowLayout, Schema, Timestamp, TypeKind,
    compacted,
};

fn schema(columns: &[(&str, DataType)]) -> Schema {
    let column = |(name, data_type): &(&str, DataType)| Column::new(*name, data_type.clone());
    Schema::new(columns.iter().map(column).collect(), vec![])
}

fn encoded(schema: &Schema, row: &impl Serialize) -> Result<Vec<OwnedDatum>, String> {
    let (layout, mut bytes) = (RowLayout::new(schema), Vec::new());
    compacted::encode(&layout, &ByName(row), &mut bytes).map_err(|error| error.to_string())?;
    Ok(compacted::decode(&layout, &bytes).map(OwnedRow::into_values).expect("what was encoded"))
}

/// What becomes of a value in a column `c` of this type.
fn one(data_type: DataType, value: impl Serialize) -> Result<OwnedDatum, String> {
    let row = BTreeMap::from([("c", value)]);
    encoded(&schema(&[("c", data_type)]), &row).map(|mut values| values.remove(0))
}

fn str(text: &str) -> OwnedDatum {
    OwnedDatum::Str(text.to_owned())
}

#[derive(Serialize)]
struct Order<'a> {
    id: i64,
    customer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    price: Decimal,
}

const ORDER: Order<'_> = Order { id: 7, customer: "ada", note: None, price: Decimal::new(5, 1) };

#[test]
fn fields_find_their_columns_in_every_order() {
    let columns = [
        ("id", DataType::BIGINT.not_null()),
        ("customer", DataType::STRING),
        ("note", DataType::STRING),
        ("price", DataType::decimal(9, 2)),
        ("more", DataType::INT),
    ];
    let values = [
        OwnedDatum::Int64(7),
        str("ada"),
        OwnedDatum::Null,
        OwnedDatum::Decimal(Decimal::new(50, 2)),
        OwnedDatum::Null,
    ];
    let mut order = [0, 1, 2, 3, 4];
    // All orders of five columns: swapping by Heap's rule.
    let mut counters = [0; 5];
    let mut at = 0;
    loop {
        let columns = order.map(|index| columns[index].clone());
        let expected = order.map(|index| values[index].clone());
        assert_eq!(encoded(&schema(&columns), &ORDER).unwrap(), expected, "{order:?}");
        while at < 5 && counters[at] >= at {
            counters[at] = 0;
            at += 1;
        }
        if at == 5 {
            break;
        }
        order.swap(at, if at % 2 == 0 { 0 } else { counters[at] });
        counters[at] += 1;
        at = 0;
    }
}

#[test]
fn what_does_not_fit_is_told_with_field_column_type_and_value() {
    let id = ("id", DataType::BIGINT.not_null());
    let error = encoded(&schema(&[id.clone(), ("customer", DataType::INT)]), &ORDER).unwrap_err();
    assert_eq!(
        error,
        "column `customer`: \"ada\" does not fit INT: give a value of the column's type"
    );
    let error = encoded(&schema(&[id.clone(), ("name", DataType::STRING)]), &ORDER).unwrap_err();
    assert_eq!(error, "there is no column for `customer`; there are: id, name");
    let all = [
        id,
        ("customer", DataType::STRING),
        ("price", DataType::decimal(9, 2)),
        ("must", DataType::INT.not_null()),
    ];
    let error = encoded(&schema(&all), &ORDER).unwrap_err();
    assert_eq!(
        error,
        "column `must`: the row has no value for it, and INT NOT NULL does not allow null"
    );
    let error = one(DataType::TINYINT, 200_u8).unwrap_err();
    assert!(error.contains("`c`: 200 does not fit TINYINT"), "{error}");
    let error = one(DataType::BIGINT, u64::MAX).unwrap_err();
    assert!(error.contains("`c`: 18446744073709551615 does not fit BIGINT"), "{error}");
    let error = one(DataType::DATE, "tomorrow").unwrap_err();
    assert_eq!(error, "column `c`: \"tomorrow\" does not fit DATE: write it like 2026-11-20");
    let error = one(DataType::timestamp(3), 5_i64).unwrap_err();
    assert!(error.contains("`c`: 5 does not fit TIMESTAMP(3)"), "{error}");
    let error = one(DataType::INT.not_null(), None::<i32>).unwrap_err();
    assert_eq!(error, "column `c`: INT NOT NULL does not allow null");
    for row in [serde_json::json!([1]), serde_json::json!("x"), serde_json::json!(null)] {
        let error = encoded(&schema(&[("c", DataType::INT)]), &row).unwrap_err();
        assert!(error.starts_with("no row: "), "{error}");
    }
}

#[test]
fn a_field_that_is_there_twice_or_that_refuses_itself_is_named() {
    #[derive(Serialize)]
    struct Twice {
        c: i32,
        #[serde(rename = "c")]
        again: i32,
    }
    let columns = schema(&[("c", DataType::INT)]);
    let error = encoded(&columns, &Twice { c: 1, again: 2 }).unwrap_err();
    assert_eq!(error, "the field `c` is there twice");
    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(ser::Error::custom("not today"))
        }
    }
    let error = one(DataType::INT, Refuses).unwrap_err();
    assert_eq!(error, "the field `c` cannot be serialized: not today");
    let error = one(DataType::array(DataType::INT), vec![Refuses]).unwrap_err();
    assert_eq!(error, "the field `c[0]` cannot be serialized: not today");
}

#[test]
fn a_row_that_is_another_one_at_every_look_ends() {
    struct Shy(std::cell::Cell<bool>);
    impl Serialize for Shy {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let names: &[&str] = if self.0.replace(true) { &[] } else { &["b", "a"] };
            serializer.collect_map(names.iter().map(|name| (name, 1)))
        }
    }
    let columns = schema(&[("a", DataType::INT), ("b", DataType::INT)]);
    let error = encoded(&columns, &Shy(std::cell::Cell::new(false))).unwrap_err();
    assert!(error.contains("others each time"), "{error}");
}

#[test]
fn texts_and_numbers_become_what_their_column_holds() {
    let point = Timestamp { millis: 1_500, nanos: 42_000 };
    let text = "1970-01-01T00:00:01.500042";
    assert_eq!(one(DataType::DATE, "1970-01-02"), Ok(OwnedDatum::Date(1)));
    assert_eq!(one(DataType::DATE, -1), Ok(OwnedDatum::Date(-1)));
    assert_eq!(one(DataType::time(3), "00:00:01.5"), Ok(OwnedDatum::Time(1_500)));
    assert_eq!(one(DataType::time(3), 1_500_u16), Ok(OwnedDatum::Time(1_500)));
    for data_type in [DataType::timestamp(9), DataType::timestamp(6)] {
        assert_eq!(one(data_type.clone(), text), Ok(OwnedDatum::Timestamp(point)));
        assert_eq!(one(data_type, point), Ok(OwnedDatum::Timestamp(point)));
    }
    let zoned = OwnedDatum::TimestampLtz(point);
    assert_eq!(one(DataType::timestamp_ltz(6), format!("{text}Z")), Ok(zoned.clone()));
    assert_eq!(one(DataType::timestamp_ltz(6), point), Ok(zoned));
    assert!(one(DataType::timestamp_ltz(6), text).is_err(), "no zone");
    let decimal = |unscaled| Ok(OwnedDatum::Decimal(Decimal::new(unscaled, 2)));
    assert_eq!(one(DataType::decimal(9, 2), "-12.3"), decimal(-1_230));
    assert_eq!(one(DataType::decimal(9, 2), Decimal::new(5, 0)), decimal(500));
    assert_eq!(one(DataType::decimal(9, 2), 5_u8), decimal(500));
    assert_eq!(
        one(DataType::decimal(38, 2), i128::from(u64::MAX)),
        decimal(i128::from(u64::MAX) * 100)
    );
    assert!(one(DataType::decimal(9, 2), "1.234").is_err(), "it would lose a digit");
    assert!(one(DataType::decimal(9, 2), 1.5).is_err(), "a DOUBLE is no DECIMAL");
    assert_eq!(one(DataType::STRING, 'é'), Ok(str("é")));
    #[derive(Serialize)]
    enum Colour {
        Red,
        Other(i32),
    }
    assert_eq!(one(DataType::STRING, Colour::Red), Ok(str("Red")));
    let error = one(DataType::STRING, Colour::Other(1)).unwrap_err();
    assert!(error.contains("\"Other\"") && error.contains("enum variant"), "{error}");
    // A text that was never one, longer than what is read on the stack.
    let long = "x".repeat(200);
    struct Shown<'a>(&'a str);
    impl Serialize for Shown<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(&format_args!("{}é", self.0))
        }
    }
    assert_eq!(one(DataType::STRING, Shown(&long)), Ok(str(&format!("{long}é"))));
    assert_eq!(one(DataType::STRING, Shown("x")), Ok(str("xé")));
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[test]
fn bytes_come_as_bytes_or_as_a_list() {
    let bytes = Ok(OwnedDatum::Bytes(vec![1, 200]));
    assert_eq!(one(DataType::BYTES, Bytes(&[1, 200])), bytes);
    assert_eq!(one(DataType::BYTES, vec![1_u8, 200]), bytes);
    assert_eq!(one(TypeKind::Binary(2).nullable(), [1_u8, 200]), bytes);
    let error = one(DataType::BYTES, vec![1, 300]).unwrap_err();
    assert_eq!(error, "column `c[1]`: 300 does not fit BYTES: a list of bytes has 0 to 255");
    assert!(one(DataType::BYTES, "text").is_err());
    assert!(one(DataType::STRING, Bytes(b"bytes")).is_err());
}

#[derive(Serialize)]
struct Place {
    zip: i32,
    city: String,
}

fn place() -> DataType {
    DataType::row(vec![
        Field::new("city", DataType::STRING.not_null()),
        Field::new("zip", DataType::INT),
    ])
}

#[test]
fn lists_maps_and_structs_become_what_their_column_is_made_of() {
    let ulm = || Place { zip: 89_073, city: "Ulm".into() };
    let row = OwnedDatum::Row(vec![str("Ulm"), OwnedDatum::Int32(89_073)]);
    assert_eq!(one(place(), ulm()), Ok(row.clone()));
    assert_eq!(one(place(), ("Ulm", 89_073)), Ok(row.clone()), "by position");
    assert_eq!(one(place(), serde_json::json!({"zip": 89_073, "city": "Ulm"})), Ok(row.clone()));
    let some = OwnedDatum::Row(vec![str("Ulm"), OwnedDatum::Null]);
    assert_eq!(one(place(), serde_json::json!({"city": "Ulm"})), Ok(some));
    let list = OwnedDatum::Array(vec![row.clone(), OwnedDatum::Null]);
    assert_eq!(one(DataType::array(place()), vec![Some(ulm()), None]), Ok(list));
    let map = DataType::map(DataType::STRING, DataType::array(DataType::DATE));
    let dates = OwnedDatum::Array(vec![OwnedDatum::Date(0)]);
    let entries = OwnedDatum::Map(vec![(str("first"), dates)]);
    let given = BTreeMap::from([("first", vec!["1970-01-01"])]);
    assert_eq!(one(map.clone(), &given), Ok(entries.clone()));
    assert_eq!(one(map, vec![("first", ["1970-01-01"])]), Ok(entries), "a list of pairs");
    let empty = OwnedDatum::Array(vec![]);
    assert_eq!(one(DataType::array(DataType::INT), Vec::<i32>::new()), Ok(empty));
}

#[test]
fn what_is_wrong_within_a_value_is_told_by_its_path() {
    let list = DataType::array(place());
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let error = |value: &str| one(list.clone(), json(value)).unwrap_err();
    assert_eq!(
        error(r#"[{"city": "Ulm"}, {"city": "Bonn", "zap": 1}]"#),
        "there is no column for `c[1].zap`; there are: city, zip"
    );
    assert_eq!(
        error(r#"[{"zip": 1}]"#),
        "column `c[0].city`: the row has no value for it, and STRING NOT NULL does not allow null"
    );
    assert!(error("[{}]").contains("`c[0].city`"));
    let misfit = error(r#"[{"city": "Ulm", "zip": "x"}]"#);
    assert!(misfit.starts_with("column `c[0].zip`: \"x\" does not fit INT"), "{misfit}");
    let date = one(DataType::array(DataType::DATE), vec!["never"]).unwrap_err();
    assert!(date.starts_with("column `c[0]`: \"never\" does not fit DATE"), "{date}");
    let map = DataType::map(DataType::INT, DataType::DATE);
    let value = one(map.clone(), BTreeMap::from([(1, "never")])).unwrap_err();
    assert!(value.starts_with("column `c[0].value`: \"never\""), "{value}");
    let key = one(map, BTreeMap::from([("x", "1970-01-01")])).unwrap_err();
    assert!(key.starts_with("column `c[0].key`: \"x\" does not fit INT"), "{key}");
    assert!(one(place(), ("Ulm", 1, 2)).unwrap_err().contains("ROW of 3 fields"));
    let none = one(place(), Vec::<i32>::new()).unwrap_err();
    assert!(none.contains("ROW of 0 fields"), "an empty list names no fields: {none}");
    let numbers = one(place(), BTreeMap::from([(1, 2)])).unwrap_err();
    assert!(numbers.contains("`c`") && numbers.contains("texts"), "{numbers}");
    let huge = one(DataType::decimal(38, 0), u128::MAX).unwrap_err();
    assert!(huge.contains(&u128::MAX.to_string()) && huge.contains("`c`"), "{huge}");
    let single = one(DataType::map(DataType::INT, DataType::INT), vec![(1,)]).unwrap_err();
    assert!(single.contains("`c[0]`") && single.contains("pairs"), "{single}");
    assert!(one(DataType::INT, vec![1]).unwrap_err().contains("`c`: \"a list\""));
    assert!(one(DataType::STRING, Place { zip: 1, city: String::new() }).is_err());
}

#[test]
fn flattened_structs_and_wrappers_are_rows_too() {
    #[derive(Serialize)]
    struct Inner {
        b: i32,
    }
    #[derive(Serialize)]
    struct Outer {
        a: i32,
        #[serde(flatten)]
        inner: Inner,
    }
    #[derive(Serialize)]
    struct Wrapped(Outer);
    let columns = schema(&[("b", DataType::INT), ("a", DataType::INT)]);
    let row = Wrapped(Outer { a: 1, inner: Inner { b: 2 } });
    let expected = [OwnedDatum::Int32(2), OwnedDatum::Int32(1)];
    assert_eq!(encoded(&columns, &row).unwrap(), expected);
    assert_eq!(encoded(&columns, &Some(&row)).unwrap(), expected);
}

#[test]
fn a_wide_row_has_all_its_columns() {
    let names: Vec<String> = (0..600).map(|n| format!("c{n}")).collect();
    let columns: Vec<_> = names.iter().map(|name| (name.as_str(), DataType::INT)).collect();
    let row: BTreeMap<&str, i32> = (0..).zip(&names).map(|(n, name)| (&**name, n)).collect();
    let values = encoded(&schema(&columns), &row).unwrap();
    assert!(values.iter().zip(0..).all(|(value, n)| *value == OwnedDatum::Int32(n)));
}

#[test]
fn the_value_types_have_texts_of_their_own() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Both {
        at: Timestamp,
        price: Decimal,
    }
    let both = Both { at: Timestamp { millis: 1, nanos: 1 }, price: Decimal::new(-1230, 2) };
    let text = serde_json::to_string(&both).unwrap();
    assert_eq!(text, r#"{"at":"1970-01-01T00:00:00.001000001","price":"-12.30"}"#);
    assert_eq!(serde_json::from_str::<Both>(&text).unwrap(), both);
    let zoned: Timestamp = serde_json::from_str(r#""1970-01-01T00:00:00.001000001Z""#).unwrap();
    assert_eq!(zoned, both.at);
    assert!(serde_json::from_str::<Timestamp>(r#""yesterday""#).is_err());
    assert!(serde_json::from_str::<Decimal>("true").is_err());
}
