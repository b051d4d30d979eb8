//! Rows with times that Arrow cannot hold, on their way into tables of every format.

use super::testkit::Stage;
use super::ticket::Ticket;
use crate::error::Result;
use crate::row::{
    Column, DataType, Field, OwnedDatum, OwnedRow, Schema, TableDescriptor, Timestamp, TypeKind,
};

/// The farthest times that 64 bits of microseconds or nanoseconds reach.
const MICROS: [Timestamp; 2] = [
    Timestamp { millis: 9_223_372_036_854_775, nanos: 807_000 },
    Timestamp { millis: -9_223_372_036_854_776, nanos: 192_000 },
];
const NANOS: [Timestamp; 2] = [
    Timestamp { millis: 9_223_372_036_854, nanos: 775_807 },
    Timestamp { millis: -9_223_372_036_855, nanos: 224_192 },
];
/// And the next ones.
const BEYOND_MICROS: [Timestamp; 2] = [
    Timestamp { millis: 9_223_372_036_854_775, nanos: 808_000 },
    Timestamp { millis: -9_223_372_036_854_776, nanos: 191_000 },
];
const BEYOND_NANOS: [Timestamp; 2] = [
    Timestamp { millis: 9_223_372_036_854, nanos: 775_808 },
    Timestamp { millis: -9_223_372_036_855, nanos: 224_191 },
];
const ENDS: [Timestamp; 2] = [Timestamp::from_millis(i64::MAX), Timestamp::from_millis(i64::MIN)];

/// A type, the farthest times that it holds in Arrow, and some that it does not hold.
type Case = (DataType, Vec<Timestamp>, Vec<Timestamp>);

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for of in [DataType::timestamp as fn(u8) -> DataType, DataType::timestamp_ltz] {
        cases.push((of(3), ENDS.to_vec(), Vec::new()));
        cases.push((of(6), MICROS.to_vec(), [BEYOND_MICROS, ENDS].concat()));
        cases.push((of(9), NANOS.to_vec(), [BEYOND_NANOS, MICROS, ENDS].concat()));
    }
    cases
}

fn datum(data_type: &DataType, at: Timestamp) -> OwnedDatum {
    match data_type.kind {
        TypeKind::TimestampLtz(_) => OwnedDatum::TimestampLtz(at),
        _ => OwnedDatum::Timestamp(at),
    }
}

/// The format of the log, and that of the rows of a table with a key.
type Formats<'a> = (&'a str, Option<&'a str>);

type HandIn = Box<dyn Fn(&OwnedRow) -> Result<Ticket>>;

/// What the writer says to rows of a key and this value, in their order.
fn outcomes(data_type: DataType, formats: Formats<'_>, values: &[OwnedDatum]) -> Vec<String> {
    let columns = vec![Column::new("id", DataType::INT.not_null()), Column::new("at", data_type)];
    let key = formats.1.map(|_| 0).into_iter().collect();
    let mut descriptor = TableDescriptor::new(Schema::new(columns, key).with_field_ids());
    descriptor.properties.insert("table.log.format".to_owned(), formats.0.to_owned());
    if let Some(format) = formats.1 {
        descriptor.properties.insert("table.kv.format".to_owned(), format.to_owned());
    }
    let mut stage = Stage::new();
    let admin = stage.fluss.admin();
    stage.run(admin.create_table("fluss.times", &descriptor, false)).expect("a table");
    let opening = stage.fluss.table("fluss.times");
    let table = stage.run(opening).expect("it is there");
    let hand_in: HandIn = match formats.1 {
        Some(_) => {
            let writer = table.upserter().build().expect("a writer");
            Box::new(move |row| writer.try_upsert(row))
        }
        None => {
            let writer = table.appender().build().expect("a writer");
            Box::new(move |row| writer.try_append(row))
        }
    };
    let rows = values
        .iter()
        .enumerate()
        .map(|(id, value)| OwnedRow::new(vec![OwnedDatum::Int32(id as i32), value.clone()]));
    // All in one batch.
    let handed_in: Vec<_> = rows.map(|row| hand_in(&row)).collect();
    let outcome = |ticket| match ticket {
        Ok(ticket) => match stage.run(ticket) {
            Ok(_) => "written".to_owned(),
            Err(error) => format!("failed: {error}"),
        },
        Err(error) => format!("refused: {error}"),
    };
    handed_in.into_iter().map(outcome).collect()
}

#[test]
fn a_time_that_arrow_cannot_hold_is_refused_alone_and_by_its_column() {
    let formats = [
        ("ARROW", Some("COMPACTED")),
        ("ARROW", Some("INDEXED")),
        ("COMPACTED", Some("COMPACTED")),
        ("ARROW", None),
        ("INDEXED", None),
        ("COMPACTED", None),
    ];
    for formats in formats {
        for (data_type, fitting, beyond) in cases() {
            let values: Vec<_> =
                fitting.iter().chain(&beyond).map(|at| datum(&data_type, *at)).collect();
            let found = outcomes(data_type.clone(), formats, &values);
            for (at, outcome) in found.iter().enumerate() {
                let what = format!("{data_type} {formats:?}, {:?}: {outcome}", values[at]);
                if at < fitting.len() {
                    assert_eq!(outcome, "written", "{what}");
                    continue;
                }
                let named = ["refused: ", "`at`", "does not fit 64 bits"];
                assert!(named.iter().all(|part| outcome.contains(part)), "{what}");
            }
        }
    }
}

#[test]
fn a_time_within_a_nested_value_is_looked_at_too() {
    let time = DataType::timestamp(9);
    let value = |at| datum(&time, at);
    let field = Field::new("v", time.clone());
    type Nest<'a> = (DataType, &'a str, fn(OwnedDatum) -> OwnedDatum);
    let nests: [Nest<'_>; 3] = [
        (DataType::array(time.clone()), "at[0]", |v| OwnedDatum::Array(vec![v])),
        (DataType::row(vec![field]), "at.v", |v| OwnedDatum::Row(vec![v])),
        (DataType::map(DataType::INT, time.clone()), "at", |v| {
            OwnedDatum::Map(vec![(OwnedDatum::Int32(1), v)])
        }),
    ];
    for (data_type, path, nest) in nests {
        let values = [nest(value(NANOS[0])), nest(value(BEYOND_NANOS[0]))];
        let found = outcomes(data_type, ("ARROW", Some("COMPACTED")), &values);
        assert_eq!(found[0], "written", "{path}");
        let named = ["refused: ", path, "does not fit 64 bits"];
        assert!(named.iter().all(|part| found[1].contains(part)), "{path}: {}", found[1]);
    }
}

#[test]
fn a_binary_value_that_the_server_would_cut_is_refused_alone() {
    let bytes = |last: u8| OwnedDatum::Bytes(vec![1, 0, last]);
    let binary = DataType::binary(3);
    let field = || vec![Field::new("v", binary.clone())];
    type Nest = (DataType, Option<&'static str>, fn(OwnedDatum) -> OwnedDatum);
    // Elements have their length beside them, fields and columns are padded.
    let nests: [Nest; 4] = [
        (binary.clone(), Some("`at`"), |v| v),
        (DataType::row(field()), Some("at.v"), |v| OwnedDatum::Row(vec![v])),
        (DataType::array(DataType::row(field())), Some("at[0].v"), |v| {
            OwnedDatum::Array(vec![OwnedDatum::Row(vec![v])])
        }),
        (DataType::array(binary.clone()), None, |v| OwnedDatum::Array(vec![v])),
    ];
    for (data_type, refused, nest) in nests {
        let values = [nest(bytes(1)), nest(bytes(0)), nest(bytes(2))];
        let found = outcomes(data_type.clone(), ("ARROW", Some("INDEXED")), &values);
        assert_eq!((found[0].as_str(), found[2].as_str()), ("written", "written"), "{data_type}");
        match refused {
            None => assert_eq!(found[1], "written", "{data_type}"),
            Some(path) => {
                let named = ["refused: ", path, "zero byte"];
                let named = named.iter().all(|part| found[1].contains(part));
                assert!(named, "{data_type}: {}", found[1]);
            }
        }
        for formats in [("ARROW", "COMPACTED"), ("COMPACTED", "INDEXED")] {
            let found = outcomes(data_type.clone(), (formats.0, Some(formats.1)), &values);
            assert_eq!(found[1], "written", "{data_type} {formats:?}");
        }
    }
}
