//! Values as JSON, in the canonical form that other tools compare byte for byte.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fluss_core::row::text;
use fluss_core::row::{DataType, Datum, OwnedRow, Schema, TypeKind};

/// Appends a JSON string.
pub(crate) fn push_text(out: &mut String, text: &str) {
    // `Value`'s text is that of the string alone; writing to a String cannot fail.
    let _ = write!(out, "{}", serde_json::Value::from(text));
}

/// The text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_text(&mut out, text);
    out
}

/// Writes rows of one schema as objects, keys in the order of its columns.
#[derive(Clone, Debug)]
pub(crate) struct RowWriter {
    /// `"name":` of each column, with the comma before it.
    keys: Vec<String>,
    types: Vec<DataType>,
}

impl RowWriter {
    pub(crate) fn new(schema: &Schema) -> Self {
        let all: Vec<usize> = (0..schema.columns().len()).collect();
        Self::of_columns(schema, &all)
    }

    /// A writer of the columns at these positions.
    pub(crate) fn of_columns(schema: &Schema, columns: &[usize]) -> Self {
        let (mut keys, mut types) = (Vec::new(), Vec::new());
        for column in columns.iter().filter_map(|index| schema.columns().get(*index)) {
            let comma = if keys.is_empty() { "{" } else { "," };
            keys.push(format!("{comma}{}:", quoted(&column.name)));
            types.push(column.data_type.clone());
        }
        Self { keys, types }
    }

    /// Appends the row; `value` tells the value of a column.
    pub(crate) fn push_row<'a, E>(
        &self,
        out: &mut String,
        mut value: impl FnMut(usize) -> Result<Datum<'a>, E>,
    ) -> Result<(), E> {
        for (column, key) in self.keys.iter().enumerate() {
            out.push_str(key);
            push_value(out, value(column)?, &self.types[column].kind);
        }
        out.push_str(if self.keys.is_empty() { "{}" } else { "}" });
        Ok(())
    }

    /// Appends a row that is at hand.
    pub(crate) fn push_owned(&self, out: &mut String, row: &OwnedRow) {
        self.push_with(out, |column| row.datum(column));
    }

    fn push_with<'a>(&self, out: &mut String, value: impl Fn(usize) -> Option<Datum<'a>>) {
        let value =
            |column| Ok::<_, std::convert::Infallible>(value(column).unwrap_or(Datum::Null));
        match self.push_row(out, value) {
            Ok(()) => {}
            Err(never) => match never {},
        }
    }
}

/// Appends a value of a column.
pub(crate) fn push_value(out: &mut String, datum: Datum<'_>, kind: &TypeKind) {
    match datum {
        Datum::Null => out.push_str("null"),
        Datum::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        Datum::Int8(value) => push_integer(out, i64::from(value)),
        Datum::Int16(value) => push_integer(out, i64::from(value)),
        Datum::Int32(value) => push_integer(out, i64::from(value)),
        Datum::Int64(value) => push_integer(out, value),
        Datum::Float32(value) => push_float(out, value.is_finite(), &text::format_f32(value)),
        Datum::Float64(value) => push_float(out, value.is_finite(), &text::format_f64(value)),
        Datum::Decimal(value) => {
            let scaled = match kind {
                TypeKind::Decimal { scale, .. } => value.rescaled(*scale).unwrap_or(*value),
                _ => *value,
            };
            let _ = write!(out, "\"{scaled}\"");
        }
        Datum::Str(value) => push_text(out, value),
        Datum::Bytes(value) => {
            out.push('"');
            STANDARD.encode_string(value, out);
            out.push('"');
        }
        Datum::Date(days) => push_plain(out, &text::format_date(days)),
        Datum::Time(millis) => push_plain(out, &text::format_time(millis)),
        Datum::Timestamp(value) => push_plain(out, &text::format_timestamp(value)),
        Datum::TimestampLtz(value) => push_plain(out, &text::format_timestamp_ltz(value)),
        nested => push_nested(out, nested, kind),
    }
}

/// Appends an ARRAY as an array, a MAP as an array of pairs, and a ROW as an object.
fn push_nested(out: &mut String, datum: Datum<'_>, kind: &TypeKind) {
    match (datum, kind) {
        (Datum::Array(items), TypeKind::Array(element)) => {
            for at in 0..items.count() {
                out.push(if at == 0 { '[' } else { ',' });
                push_value(out, items.item(at), &element.kind);
            }
            out.push_str(if items.count() == 0 { "[]" } else { "]" });
        }
        (Datum::Map(entries), TypeKind::Map(key_type, value_type)) => {
            out.push('[');
            for at in 0..entries.count() {
                let (key, value) = entries.entry(at);
                out.push_str(if at == 0 { "[" } else { ",[" });
                push_value(out, key, &key_type.kind);
                out.push(',');
                push_value(out, value, &value_type.kind);
                out.push(']');
            }
            out.push(']');
        }
        (Datum::Row(values), TypeKind::Row(fields)) => {
            for (at, field) in fields.iter().enumerate().take(values.count()) {
                out.push(if at == 0 { '{' } else { ',' });
                push_text(out, &field.name);
                out.push(':');
                push_value(out, values.item(at), &field.data_type.kind);
            }
            out.push_str(if fields.is_empty() { "{}" } else { "}" });
        }
        // `Datum` may grow; what this command line cannot write yet must not look like a value.
        _ => out.push_str("null"),
    }
}

fn push_integer(out: &mut String, value: i64) {
    let _ = write!(out, "{value}");
}

/// JSON has no numbers for NaN and the infinities.
fn push_float(out: &mut String, finite: bool, text: &str) {
    if finite { out.push_str(text) } else { push_plain(out, text) }
}

/// A string without characters that need an escape.
fn push_plain(out: &mut String, text: &str) {
    out.push('"');
    out.push_str(text);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluss_core::row;
    use fluss_core::row::{Decimal, Timestamp};

    fn text(datum: Datum<'_>, data_type: DataType) -> String {
        let mut out = String::new();
        push_value(&mut out, datum, &data_type.kind);
        out
    }

    #[test]
    fn scalars_have_the_forms_that_other_tools_rely_on() {
        let time = Timestamp { millis: 1_763_632_800_000, nanos: 1_000 };
        let price = Decimal::new(-123, 1);
        for (found, expected) in [
            (text(Datum::Int64(i64::MIN), DataType::BIGINT), "-9223372036854775808"),
            (text(Datum::Float32(0.1), DataType::FLOAT), "0.1"),
            (text(Datum::Float64(f64::NAN), DataType::DOUBLE), "\"NaN\""),
            (text(Datum::Float32(f32::NEG_INFINITY), DataType::FLOAT), "\"-Infinity\""),
            (text(Datum::Float64(-0.0), DataType::DOUBLE), "-0.0"),
            (text(Datum::Decimal(&price), DataType::decimal(10, 2)), "\"-12.30\""),
            (text(Datum::Str("a\"\n\u{1f}é"), DataType::STRING), "\"a\\\"\\n\\u001fé\""),
            (text(Datum::Bytes(&[0, 255]), DataType::BYTES), "\"AP8=\""),
            (text(Datum::Date(-800_000), DataType::DATE), "\"-0221-09-04\""),
            (text(Datum::Time(1_500), DataType::time(3)), "\"00:00:01.5\""),
            (
                text(Datum::Timestamp(time), DataType::timestamp(6)),
                "\"2025-11-20T10:00:00.000001\"",
            ),
            (
                text(Datum::TimestampLtz(Timestamp::from_millis(0)), DataType::timestamp_ltz(3)),
                "\"1970-01-01T00:00:00Z\"",
            ),
            (text(Datum::Null, DataType::INT), "null"),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_row_keeps_the_order_of_the_schema() {
        let schema = Schema::builder()
            .column("z", DataType::INT)
            .column("a \"b\"", DataType::STRING)
            .build()
            .expect("a schema");
        let writer = RowWriter::new(&schema);
        let mut out = String::new();
        let row: OwnedRow = row![1, "x"].into_iter().map(Into::into).collect();
        writer.push_owned(&mut out, &row);
        assert_eq!(out, r#"{"z":1,"a \"b\"":"x"}"#);
    }
}
