//! Rows whose times an ARROW changelog cannot hold.

use super::testkit::Stage;
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

/// What the writer says to rows of a key and this value, in their order.
fn outcomes(data_type: DataType, formats: (&str, &str), values: &[OwnedDatum]) -> Vec<String> {
    let columns = vec![Column::new("id", DataType::INT.not_null()), Column::new("at", data_type)];
    let mut descriptor = TableDescriptor::new(Schema::new(columns, vec![0]).with_field_ids());
    for (name, format) in [("table.log.format", formats.0), ("table.kv.format", formats.1)] {
        descriptor.properties.insert(name.to_owned(), format.to_owned());
    }
    let mut stage = Stage::new();
    let admin = stage.fluss.admin();
    stage.run(admin.create_table("fluss.times", &descriptor, false)).expect("a table");
    let opening = stage.fluss.table("fluss.times");
    let table = stage.run(opening).expect("it is there");
    let writer = table.upserter().build().expect("a writer");
    let rows = values
        .iter()
        .enumerate()
        .map(|(id, value)| OwnedRow::new(vec![OwnedDatum::Int32(id as i32), value.clone()]));
    // All in one batch.
    let handed_in: Vec<_> = rows.map(|row| writer.try_upsert(&row)).collect();
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
fn a_time_that_an_arrow_changelog_cannot_hold_is_refused_alone_and_by_its_column() {
    for kv_format in ["COMPACTED", "INDEXED"] {
        for (data_type, fitting, beyond) in cases() {
            let values: Vec<_> =
                fitting.iter().chain(&beyond).map(|at| datum(&data_type, *at)).collect();
            let found = outcomes(data_type.clone(), ("ARROW", kv_format), &values);
            for (at, outcome) in found.iter().enumerate() {
                let what = format!("{data_type} {kv_format}, {:?}: {outcome}", values[at]);
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
        let found = outcomes(data_type, ("ARROW", "COMPACTED"), &values);
        assert_eq!(found[0], "written", "{path}");
        let named = ["refused: ", path, "does not fit 64 bits"];
        assert!(named.iter().all(|part| found[1].contains(part)), "{path}: {}", found[1]);
    }
}

#[test]
fn a_changelog_of_rows_holds_all_times() {
    for (data_type, fitting, beyond) in cases() {
        let values: Vec<_> =
            fitting.iter().chain(&beyond).map(|at| datum(&data_type, *at)).collect();
        let found = outcomes(data_type.clone(), ("COMPACTED", "COMPACTED"), &values);
        assert!(found.iter().all(|outcome| outcome == "written"), "{data_type}: {found:?}");
    }
}
