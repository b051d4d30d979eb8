//! Rows and keys as they come in: a JSON object a line.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fluss_core::row::text::{self, TextError};
use fluss_core::row::{Column, Decimal, OwnedDatum, OwnedRow, Schema, TypeKind};
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
    /// Whether fields that are no column are passed over.
    lenient: bool,
}

impl RowReader {
    /// A reader of rows that consist of the columns at these positions, in this order. A `lenient`
    /// one passes over other fields, as keys may come with the row around them.
    pub(crate) fn new(schema: &Schema, columns: &[usize], lenient: bool) -> Self {
        let columns: Vec<Column> =
            columns.iter().filter_map(|index| schema.columns().get(*index)).cloned().collect();
        let positions = columns
            .iter()
            .enumerate()
            .map(|(index, column)| (column.name.clone(), index))
            .collect();
        Self { columns, positions, lenient }
    }

    /// The row in this line; a missing field is null.
    pub(crate) fn read(&self, line: &[u8]) -> Result<OwnedRow, Problem> {
        let fields: BTreeMap<Cow<'_, str>, &RawValue> =
            serde_json::from_slice(line).map_err(|error| {
                Problem::invalid_json(format!("the line is no JSON object: {error}"))
            })?;
        let mut values = vec![OwnedDatum::Null; self.columns.len()];
        for (name, value) in fields {
            match self.positions.get(&*name) {
                Some(index) => values[*index] = read_value(&self.columns[*index], value.get())?,
                None if self.lenient => {}
                None => return Err(self.unknown(&name)),
            }
        }
        Ok(OwnedRow::new(values))
    }

    fn unknown(&self, name: &str) -> Problem {
        let columns: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).collect();
        let columns = columns.join(", ");
        Problem::does_not_fit(format!("the field `{name}` is no column: there are {columns}"))
    }
}

/// Whether a line counts: an empty one is passed over.
pub(crate) fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

fn read_value(column: &Column, raw: &str) -> Result<OwnedDatum, Problem> {
    if raw == "null" {
        return Ok(OwnedDatum::Null);
    }
    let misfit = |expected: &str| {
        let (name, data_type) = (&column.name, &column.data_type);
        let found = shorten(raw);
        Problem::does_not_fit(format!(
            "column `{name}`: {found} does not fit {data_type}: give {expected}"
        ))
    };
    let number = || is_number(raw).then_some(raw);
    let string =
        || raw.starts_with('"').then(|| serde_json::from_str::<String>(raw).ok()).flatten();
    let bad =
        |error: TextError| Problem::does_not_fit(format!("column `{}`: {error}", column.name));
    Ok(match &column.data_type.kind {
        TypeKind::Boolean => match raw {
            "true" => OwnedDatum::Bool(true),
            "false" => OwnedDatum::Bool(false),
            _ => return Err(misfit("true or false")),
        },
        TypeKind::TinyInt | TypeKind::SmallInt | TypeKind::Int | TypeKind::BigInt => {
            let value = number().and_then(|raw| raw.parse().ok());
            OwnedDatum::Int64(value.ok_or_else(|| misfit("a whole number within its range"))?)
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
        TypeKind::Time(_) => {
            let text = string().ok_or_else(|| misfit("a string like \"10:00:00.5\""))?;
            OwnedDatum::Time(text::parse_time(&text).map_err(bad)?)
        }
        TypeKind::Timestamp(_) => {
            let text = string().ok_or_else(|| misfit("a string like \"2026-11-20T10:00:00\""))?;
            OwnedDatum::Timestamp(text::parse_timestamp(&text).map_err(bad)?)
        }
        TypeKind::TimestampLtz(_) => {
            let text = string().ok_or_else(|| misfit("a string like \"2026-11-20T10:00:00Z\""))?;
            OwnedDatum::TimestampLtz(text::parse_timestamp_ltz(&text).map_err(bad)?)
        }
        _ => return Err(misfit("null, as nested values cannot be written yet")),
    })
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
            r#""c12":"2026-11-20T10:00:00.123456789","c13":"1969-12-31T23:59:59.999999Z"}"#
        );
        let row = reader(false).read(line.as_bytes()).expect("a sound row");
        let mut out = String::new();
        RowWriter::new(&schema()).push_owned(&mut out, &row);
        assert_eq!(out, line);
    }

    #[test]
    fn the_order_of_fields_is_free_and_missing_ones_are_null() {
        let row = reader(false).read(br#"{ "c7" : "x", "c0":false }"#).expect("a sound row");
        assert_eq!(row.values()[0], OwnedDatum::Bool(false));
        assert_eq!(row.values()[7], OwnedDatum::Str("x".to_owned()));
        assert_eq!(row.values().iter().filter(|v| **v == OwnedDatum::Null).count(), 12);
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
    }
}
