//! Rows and keys as they come in: a JSON object a line.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fluss_core::row::text::{self, TextError};
use fluss_core::row::{
    Column, DataType, Decimal, Field, OwnedDatum, OwnedRow, Schema, Timestamp, TypeKind,
};
use serde_json::value::RawValue;

use super::failure::Problem;

/// Reads JSON objects as rows of certain columns.
///
/// Numbers are taken from the text itself, so that 64-bit integers and decimals keep all digits
/// and a FLOAT is rounded once.
#[derive(Clone, Debug)]
pub(crate) struct RowReader {
    columns: Vec<Column>,
    positions: BTreeMap<String, usize>,
    /// The table's other columns.
    others: BTreeSet<String>,
    /// What these columns are, as errors call it.
    role: &'static str,
    /// Whether fields that are no column are passed over.
    lenient: bool,
}

impl RowReader {
    /// A reader of rows that consist of the columns at these positions, in this order. A `lenient`
    /// one passes over other fields, as keys may come with the row around them.
    pub(crate) fn new(schema: &Schema, columns: &[usize], lenient: bool) -> Self {
        let columns: Vec<Column> =
            columns.iter().filter_map(|index| schema.columns().get(*index)).cloned().collect();
        let positions: BTreeMap<String, usize> = columns
            .iter()
            .enumerate()
            .map(|(index, column)| (column.name.clone(), index))
            .collect();
        let names = schema.columns().iter().map(|column| &column.name);
        let others = names.filter(|name| !positions.contains_key(*name)).cloned();
        let others = others.collect();
        Self { columns, positions, others, role: "of --columns", lenient }
    }

    /// Tells whoever gives another column what these ones are, "of the key" for instance.
    pub(crate) fn called(self, role: &'static str) -> Self {
        Self { role, ..self }
    }

    /// The row in this line; a missing field is null.
    pub(crate) fn read(&self, line: &[u8]) -> Result<OwnedRow, Problem> {
        let fields: BTreeMap<Cow<'_, str>, &RawValue> =
            serde_json::from_slice(line).map_err(|error| {
                Problem::invalid_json(format!("the line is no JSON object: {error}"))
            })?;
        self.refuse_repeated(line, fields.len())?;
        let mut values = vec![OwnedDatum::Null; self.columns.len()];
        for (name, value) in fields {
            match self.positions.get(&*name) {
                Some(index) => {
                    let Column { name, data_type, .. } = &self.columns[*index];
                    values[*index] = read_value(&Place::Column(name), data_type, value.get())?;
                }
                None if self.lenient => {}
                None => return Err(self.unknown(&name)),
            }
        }
        Ok(OwnedRow::new(values))
    }

    /// Whoever names a field twice means one of its values, and nobody can tell which.
    fn refuse_repeated(&self, line: &[u8], distinct: usize) -> Result<(), Problem> {
        let fields = FieldNames { object: line, at: 0, depth: 0 };
        if fields.clone().count() == distinct {
            return Ok(());
        }
        let counts = |name: &String| !self.lenient || self.positions.contains_key(name);
        fields.repeated(counts).map_or(Ok(()), |name| {
            let name = shorten(&name);
            Err(Problem::does_not_fit(format!("the field `{name}` is there twice: give it once")))
        })
    }

    fn unknown(&self, name: &str) -> Problem {
        let columns: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).collect();
        let (other, role) = (self.others.contains(name), self.role);
        let (name, columns) = (shorten(name), columns.join(", "));
        Problem::does_not_fit(match other {
            true => format!("the column `{name}` is none {role}: those are {columns}"),
            false => format!("the field `{name}` is no column: there are {columns}"),
        })
    }
}

/// The names of a JSON object's own fields, quoted as they stand in its text, which is sound.
#[derive(Clone)]
struct FieldNames<'a> {
    object: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Iterator for FieldNames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut string = None;
        while let Some(byte) = self.object.get(self.at) {
            let at = self.at;
            self.at += 1;
            match byte {
                b'"' => {
                    while *self.object.get(self.at)? != b'"' {
                        self.at += if self.object[self.at] == b'\\' { 2 } else { 1 };
                    }
                    self.at += 1;
                    string = Some(&self.object[at..self.at]);
                }
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                // Only a name has a colon behind it.
                b':' if self.depth == 1 => return string,
                _ => {}
            }
        }
        None
    }
}

impl FieldNames<'_> {
    /// The first name that is there twice, of those that count.
    fn repeated(self, counts: impl Fn(&String) -> bool) -> Option<String> {
        let mut seen = BTreeSet::new();
        let mut names = self.filter_map(|raw| serde_json::from_slice::<String>(raw).ok());
        names.find(|name| counts(name) && !seen.insert(name.clone()))
    }
}

/// Whether a line counts: an empty one is passed over.
pub(crate) fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

/// Where a value stands in its row, as errors name it: `lines[2].price`.
enum Place<'a> {
    Column(&'a str),
    Element(&'a Place<'a>, usize),
    Key(&'a Place<'a>, usize),
    Value(&'a Place<'a>, usize),
    Field(&'a Place<'a>, &'a str),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column(name) => f.write_str(name),
            Self::Element(list, at) => write!(f, "{list}[{at}]"),
            Self::Key(map, at) => write!(f, "{map}[{at}].key"),
            Self::Value(map, at) => write!(f, "{map}[{at}].value"),
            Self::Field(row, name) => write!(f, "{row}.{name}"),
        }
    }
}

fn read_value(place: &Place<'_>, data_type: &DataType, raw: &str) -> Result<OwnedDatum, Problem> {
    if raw == "null" {
        return Ok(OwnedDatum::Null);
    }
    let misfit = |expected: &str| {
        let found = shorten(raw);
        Problem::does_not_fit(format!(
            "column `{place}`: {found} does not fit {data_type}: give {expected}"
        ))
    };
    let number = || is_number(raw).then_some(raw);
    let string =
        || raw.starts_with('"').then(|| serde_json::from_str::<String>(raw).ok()).flatten();
    let bad = |error: TextError| Problem::does_not_fit(format!("column `{place}`: {error}"));
    Ok(match &data_type.kind {
        TypeKind::Boolean => match raw {
            "true" => OwnedDatum::Bool(true),
            "false" => OwnedDatum::Bool(false),
            _ => return Err(misfit("true or false")),
        },
        TypeKind::TinyInt | TypeKind::SmallInt | TypeKind::Int | TypeKind::BigInt => {
            let value = number().and_then(|raw| raw.parse().ok());
            OwnedDatum::Int64(
                value.ok_or_else(|| misfit("a whole number within its range, digits only"))?,
            )
        }
        TypeKind::Float => {
            let text = float_text(raw).ok_or_else(|| misfit("a number or \"NaN\""))?;
            OwnedDatum::Float32(text::parse_f32(text).map_err(bad)?)
        }
        TypeKind::Double => {
            let text = float_text(raw).ok_or_else(|| misfit("a number or \"NaN\""))?;
            OwnedDatum::Float64(text::parse_f64(text).map_err(bad)?)
        }
        TypeKind::Decimal { .. } => {
            let text = number().map(str::to_owned).or_else(string);
            let value = text.and_then(|text| text.parse::<Decimal>().ok());
            OwnedDatum::Decimal(value.ok_or_else(|| misfit("a decimal number like \"-12.30\""))?)
        }
        TypeKind::Char(_) | TypeKind::String => {
            OwnedDatum::Str(string().ok_or_else(|| misfit("a string"))?)
        }
        TypeKind::Binary(_) | TypeKind::Bytes => {
            let bytes = string().and_then(|text| STANDARD.decode(text).ok());
            OwnedDatum::Bytes(bytes.ok_or_else(|| misfit("a string in base64, padded"))?)
        }
        TypeKind::Date => {
            let text = string().ok_or_else(|| misfit("a string like \"2026-11-20\""))?;
            OwnedDatum::Date(text::parse_date(&text).map_err(bad)?)
        }
        kind @ (TypeKind::Time(_) | TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_)) => {
            let text = string().ok_or_else(|| {
                misfit("a string like \"10:00:00.5\" or \"2026-11-20T10:00:00\", as its type says")
            })?;
            let (value, point, digits) = read_point(kind, &text).map_err(bad)?;
            check_fraction(point, digits).map_err(|limit| misfit(&limit))?;
            value
        }
        TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_) => {
            let expected = "an array, an array of [key, value] pairs for MAP, an object for ROW";
            read_nested(place, data_type, raw).unwrap_or_else(|| Err(misfit(expected)))?
        }
        _ => return Err(misfit("null, this command line does not know the type")),
    })
}

/// A value of one of the types that have a fraction of a second, the point in time it is, and the
/// decimal places that its column takes.
fn read_point(kind: &TypeKind, text: &str) -> Result<(OwnedDatum, Timestamp, u8), TextError> {
    Ok(match kind {
        TypeKind::Timestamp(digits) => {
            let point = text::parse_timestamp(text)?;
            (OwnedDatum::Timestamp(point), point, *digits)
        }
        TypeKind::TimestampLtz(digits) => {
            let point = text::parse_timestamp_ltz(text)?;
            (OwnedDatum::TimestampLtz(point), point, *digits)
        }
        other => {
            let millis = text::parse_time(text)?;
            let digits = if let TypeKind::Time(digits) = other { *digits } else { 3 };
            (OwnedDatum::Time(millis), Timestamp::from_millis(millis.into()), digits)
        }
    })
}

/// A column takes so many decimal places of a second; what is finer would be cut off without a
/// word, so it is an error that says what to give instead.
fn check_fraction(point: Timestamp, digits: u8) -> Result<(), String> {
    let nanos = point.millis.rem_euclid(1000) * 1_000_000 + i64::from(point.nanos);
    let unit = 10_i64.pow(9_u32.saturating_sub(u32::from(digits)));
    match (nanos % unit, digits) {
        (0, _) => Ok(()),
        (_, 0) => Err("whole seconds".to_owned()),
        (_, 1) => Err("at most 1 decimal place of a second".to_owned()),
        _ => Err(format!("at most {digits} decimal places of a second")),
    }
}

/// A nested value; None if it has not the shape of its type.
fn read_nested(
    place: &Place<'_>,
    data_type: &DataType,
    raw: &str,
) -> Option<Result<OwnedDatum, Problem>> {
    Some(match &data_type.kind {
        TypeKind::Array(element) => {
            let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
            let item = |(at, item): (usize, &&RawValue)| {
                read_value(&Place::Element(place, at), element, item.get())
            };
            let items: Result<_, _> = items.iter().enumerate().map(item).collect();
            items.map(OwnedDatum::Array)
        }
        TypeKind::Map(key, value) => {
            let entries: Vec<(&RawValue, &RawValue)> = serde_json::from_str(raw).ok()?;
            let entry = |(at, entry): (usize, &(&RawValue, &RawValue))| {
                let read_key = read_value(&Place::Key(place, at), key, entry.0.get())?;
                Ok((read_key, read_value(&Place::Value(place, at), value, entry.1.get())?))
            };
            let entries: Result<_, _> = entries.iter().enumerate().map(entry).collect();
            entries.map(OwnedDatum::Map)
        }
        TypeKind::Row(fields) => {
            let given: BTreeMap<_, _> = serde_json::from_str(raw).ok()?;
            let names = FieldNames { object: raw.as_bytes(), at: 0, depth: 0 };
            if names.clone().count() != given.len() {
                let name = names.repeated(|_| true).unwrap_or_default();
                let name = shorten(&name);
                let text =
                    format!("column `{place}`: the field `{name}` is there twice: give it once");
                return Some(Err(Problem::does_not_fit(text)));
            }
            read_fields(place, fields, given)
        }
        _ => return None,
    })
}

/// The fields of a ROW; a missing one is null.
fn read_fields(
    place: &Place<'_>,
    fields: &[Field],
    mut given: BTreeMap<Cow<'_, str>, &RawValue>,
) -> Result<OwnedDatum, Problem> {
    let mut values = Vec::with_capacity(fields.len());
    for field in fields {
        values.push(match given.remove(field.name.as_str()) {
            Some(raw) => {
                read_value(&Place::Field(place, &field.name), &field.data_type, raw.get())?
            }
            None => OwnedDatum::Null,
        });
    }
    match given.first_key_value() {
        None => Ok(OwnedDatum::Row(values)),
        Some((name, _)) => {
            let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            let names = names.join(", ");
            let text = format!("column `{place}`: `{name}` is no field of the ROW: {names} are");
            Err(Problem::does_not_fit(text))
        }
    }
}

fn is_number(raw: &str) -> bool {
    raw.starts_with(|c: char| c == '-' || c.is_ascii_digit())
}

/// The text of a number, or one of the three that JSON has no numbers for.
fn float_text(raw: &str) -> Option<&str> {
    match raw {
        "\"NaN\"" => Some("NaN"),
        "\"Infinity\"" => Some("Infinity"),
        "\"-Infinity\"" => Some("-Infinity"),
        _ => is_number(raw).then_some(raw),
    }
}

/// A value in an error message; a payload does not belong there.
fn shorten(raw: &str) -> Cow<'_, str> {
    const SHOWN: usize = 48;
    match raw.char_indices().nth(SHOWN) {
        None => raw.into(),
        Some((end, _)) => format!("{}…", &raw[..end]).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::json::RowWriter;
    use fluss_core::row::DataType;

    /// A column of each scalar type, c0 and so on.
    fn schema() -> Schema {
        let types = [
            DataType::BOOLEAN,
            DataType::TINYINT,
            DataType::BIGINT,
            DataType::FLOAT,
            DataType::DOUBLE,
            DataType::decimal(38, 4),
            DataType::char(3),
            DataType::STRING,
            DataType::binary(2),
            DataType::BYTES,
            DataType::DATE,
            DataType::time(3),
            DataType::timestamp(9),
            DataType::timestamp_ltz(6),
            DataType::time(0),
            DataType::timestamp(1),
        ];
        let builder = types
            .into_iter()
            .enumerate()
            .fold(Schema::builder(), |builder, (n, t)| builder.column(format!("c{n}"), t));
        builder.build().expect("a schema")
    }

    fn reader(lenient: bool) -> RowReader {
        let schema = schema();
        let all: Vec<usize> = (0..schema.columns().len()).collect();
        RowReader::new(&schema, &all, lenient)
    }

    #[test]
    fn a_row_in_canonical_form_comes_back_byte_for_byte() {
        let line = concat!(
            r#"{"c0":true,"c1":-128,"c2":9223372036854775807,"c3":0.1,"#,
            r#""c4":1.7976931348623157e308,"#,
            r#""c5":"-1234567890123456789012345678901234.5000","c6":"äöü","c7":"tab\tquote\"","#,
            r#""c8":"AQI=","c9":"","c10":"+12345-01-31","c11":"23:59:59.123","#,
            r#""c12":"2026-11-20T10:00:00.123456789","c13":"1969-12-31T23:59:59.999999Z","#,
            r#""c14":"10:00:00","c15":"2026-11-20T10:00:00.1"}"#
        );
        let row = reader(false).read(line.as_bytes()).expect("a sound row");
        let mut out = String::new();
        RowWriter::new(&schema()).push_owned(&mut out, &row);
        assert_eq!(out, line);
    }

    #[test]
    fn nested_values_come_back_byte_for_byte() {
        let order: DataType = "ROW<at TIMESTAMP(3), lines ARRAY<ROW<n INT, tags ARRAY<STRING>>>, \
                               notes MAP<STRING, ARRAY<DECIMAL(5, 2)>>>"
            .parse()
            .expect("a type");
        let schema = Schema::builder().column("o", order).build().expect("a schema");
        let reader = RowReader::new(&schema, &[0], false);
        for line in [
            concat!(
                r#"{"o":{"at":"2026-11-20T10:00:00","lines":[{"n":1,"tags":["a",null]},null,"#,
                r#"{"n":null,"tags":[]}],"notes":[["x",["1.00","-2.50"]],["y",null]]}}"#
            ),
            r#"{"o":{"at":null,"lines":[],"notes":[]}}"#,
            r#"{"o":null}"#,
        ] {
            let row = reader.read(line.as_bytes()).expect("a sound row");
            let mut out = String::new();
            RowWriter::new(&schema).push_owned(&mut out, &row);
            assert_eq!(out, line);
        }
        for (line, expected) in [
            (r#"{"o":{"lines":[{"n":1},{"n":"x"}]}}"#, "column `o.lines[1].n`: \"x\" does not fit"),
            (r#"{"o":{"notes":[["x",["1.00",7e]]]}}"#, "the line is no JSON object"),
            (r#"{"o":{"notes":[["x"]]}}"#, "column `o.notes`: [[\"x\"]] does not fit MAP<"),
            (r#"{"o":{"notes":[[5,null]]}}"#, "column `o.notes[0].key`: 5 does not fit STRING"),
            (r#"{"o":{"notes":[["x",[true]]]}}"#, "column `o.notes[0].value[0]`: true does not"),
            (r#"{"o":{"nope":1}}"#, "column `o`: `nope` is no field of the ROW: at, lines, notes"),
            (r#"{"o":[]}"#, "an object for ROW"),
            (
                r#"{"o":{"lines":[{"n":1,"tags":[],"n":2}]}}"#,
                "`o.lines[0]`: the field `n` is there twice",
            ),
        ] {
            let problem = reader.read(line.as_bytes()).expect_err(line);
            assert!(problem.message.contains(expected), "{line}: {}", problem.message);
        }
    }

    #[test]
    fn the_order_of_fields_is_free_and_missing_ones_are_null() {
        let row = reader(false).read(br#"{ "c7" : "x", "c0":false }"#).expect("a sound row");
        assert_eq!(row.values()[0], OwnedDatum::Bool(false));
        assert_eq!(row.values()[7], OwnedDatum::Str("x".to_owned()));
        assert_eq!(row.values().iter().filter(|v| **v == OwnedDatum::Null).count(), 14);
    }

    #[test]
    fn a_decimal_may_be_a_number_and_keeps_all_digits() {
        let row = reader(false).read(br#"{"c5":12345678901234567890.12}"#).expect("a sound row");
        let expected = Decimal::new(1_234_567_890_123_456_789_012, 2);
        assert_eq!(row.values()[5], OwnedDatum::Decimal(expected));
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_column_and_value() {
        for (line, parts) in [
            (r#"{"c0":1}"#, ["`c0`", "true or false"]),
            (r#"{"c2":9223372036854775808}"#, ["`c2`", "9223372036854775808"]),
            (r#"{"c2":1.5}"#, ["`c2`", "whole number"]),
            (r#"{"c2":"1"}"#, ["`c2`", "\"1\""]),
            (r#"{"c4":"1.5"}"#, ["`c4`", "\"1.5\""]),
            (r#"{"c3":1e39}"#, ["`c3`", "1e39"]),
            (r#"{"c5":"1,5"}"#, ["`c5`", "1,5"]),
            (r#"{"c7":5}"#, ["`c7`", "a string"]),
            (r#"{"c9":"AQ"}"#, ["`c9`", "base64"]),
            (r#"{"c10":"2026-02-30"}"#, ["`c10`", "2026-02-30"]),
            (r#"{"c13":"2026-11-20T10:00:00"}"#, ["`c13`", "with Z"]),
            (r#"{"c13":"2026-11-20T11:00:00+01:00"}"#, ["`c13`", "with Z"]),
            (r#"{"c12":"2026-11-20T10:00:00Z"}"#, ["`c12`", "without a time zone"]),
            (r#"{"c12":"2026-11-20 10:00:00"}"#, ["`c12`", "2026-11-20T10:00:00.123"]),
            (r#"{"c11":"10:00"}"#, ["`c11`", "23:59:59.123"]),
            (r#"{"c11":"10:00:00.0001"}"#, ["`c11`", "at most 3 decimal places"]),
            (r#"{"c14":"10:00:00.5"}"#, ["`c14`: \"10:00:00.5\"", "TIME(0): give whole seconds"]),
            (r#"{"c13":"2026-11-20T10:00:00.0000001Z"}"#, ["`c13`", "at most 6 decimal places"]),
            (r#"{"c15":"1969-12-31T23:59:59.99"}"#, ["`c15`", "at most 1 decimal place of"]),
            (r#"{"c2":1e3}"#, ["`c2`", "digits only"]),
            (r#"{"c2":1.0}"#, ["`c2`", "digits only"]),
            (r#"{"c7":"x","c2":1,"c7":null}"#, ["`c7`", "twice"]),
            (r#"{"a\"b":1,"c2":{"x":[1,2]},"a\"b":2}"#, ["`a\"b`", "twice"]),
            (r#"{"nope":1}"#, ["`nope`", "c0, c1"]),
        ] {
            let problem = reader(false).read(line.as_bytes()).expect_err(line);
            assert_eq!((problem.code, problem.name), (None, "ROW_DOES_NOT_FIT"), "{line}");
            for part in parts {
                assert!(problem.message.contains(part), "{line}: {}", problem.message);
            }
        }
        for line in ["", "[]", "1", "{\"c0\":true", "{\"c0\":true} x", "{\"c7\":\"\u{1}\"}"] {
            let problem = reader(false).read(line.as_bytes()).expect_err(line);
            assert_eq!(problem.name, "INVALID_JSON", "{line}");
        }
        assert!(reader(true).read(br#"{"nope":1}"#).is_ok());
        assert!(reader(true).read(br#"{"nope":1,"c0":true,"nope":1}"#).is_ok());
        assert!(reader(true).read(br#"{"c0":true,"c0":true}"#).is_err());
    }

    #[test]
    fn a_column_that_is_not_asked_for_is_told_from_one_that_is_not_there() {
        let reader = RowReader::new(&schema(), &[0, 2], false);
        let of_key = reader.clone().called("of the key");
        for (reader, field, expected) in [
            (&reader, "c1", "the column `c1` is none of --columns: those are c0, c2"),
            (&of_key, "c1", "the column `c1` is none of the key: those are c0, c2"),
            (&of_key, "nope", "the field `nope` is no column: there are c0, c2"),
        ] {
            let line = format!("{{\"{field}\":1}}");
            let problem = reader.read(line.as_bytes()).expect_err("it is not taken");
            assert_eq!(problem.message, expected);
        }
    }

    #[test]
    fn a_long_name_is_shortened_in_the_error() {
        let name = "n".repeat(1000);
        for line in [format!("{{\"{name}\":1}}"), format!("{{\"{name}\":1,\"{name}\":2}}")] {
            let problem = reader(false).read(line.as_bytes()).expect_err("no column");
            assert!(problem.message.len() < 300, "{}", problem.message);
        }
    }

    #[test]
    fn zeros_behind_a_fraction_say_nothing_and_are_taken() {
        let line = br#"{"c11":"10:00:00.500000","c13":"2026-11-20T10:00:00.123456000Z"}"#;
        let row = reader(false).read(line).expect("a sound row");
        assert_eq!(row.values()[11], OwnedDatum::Time(36_000_500));
    }

    #[test]
    fn numbers_of_all_forms_of_json_are_read_and_rounded_once() {
        let double = |text: &str| {
            let line = format!("{{\"c4\":{text}}}");
            let row = reader(false).read(line.as_bytes()).expect(text);
            let OwnedDatum::Float64(value) = row.values()[4] else { panic!("{text}: {row:?}") };
            let mut out = String::new();
            RowWriter::new(&schema()).push_owned(&mut out, &row);
            (
                value,
                out.split("\"c4\":").nth(1).and_then(|o| o.split(',').next()).map(str::to_owned),
            )
        };
        for (text, value, canonical) in [
            ("0", 0.0_f64, "0.0"),
            ("-0", -0.0, "-0.0"),
            ("-0.0", -0.0, "-0.0"),
            ("1E5", 1e5, "100000.0"),
            ("1e+5", 1e5, "100000.0"),
            ("0.00005", 5e-5, "5e-5"),
            ("10000000000000000", 1e16, "1e16"),
            ("4.9e-324", f64::from_bits(1), "5e-324"),
            ("1e-400", 0.0, "0.0"),
            ("\"-Infinity\"", f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            let (found, printed) = double(text);
            assert_eq!(found.to_bits(), value.to_bits(), "{text}");
            assert_eq!(printed.as_deref(), Some(canonical), "{text}");
            assert_eq!(double(canonical).0.to_bits(), value.to_bits(), "{canonical}");
        }
    }
}
