//! Why a row was refused.

use super::{DataType, Datum, LargestValue, text};

/// A row that was not taken, and why. One pointer wide, so that the path on which every value fits
/// pays nothing for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct RowError(Box<RowErrorKind>);

/// The reasons behind a [`RowError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowErrorKind {
    /// The row has more or fewer values than there are columns: in the table, among those to write,
    /// or in the key.
    #[error("the row has {got} values, but {expected} columns want one")]
    Arity {
        /// Columns of the table, among those to write, or of the key.
        expected: usize,
        /// Values of the row. Of too many, encoders count only the first one too many; writers
        /// count all.
        got: usize,
    },
    /// A value does not fit its column.
    #[error("column `{column}`: {value} does not fit {expected}: {reason}")]
    Value {
        /// The column's name.
        column: String,
        /// The value, shortened when it is long.
        value: String,
        /// The column's type, as in SQL.
        expected: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Null in a column that does not allow it.
    #[error("column `{column}`: {expected} does not allow null")]
    Null {
        /// The column's name, or the path to the value within it.
        column: String,
        /// The column's type, as in SQL.
        expected: String,
    },
    /// A row by name has no value for a column that does not allow null.
    #[error("column `{column}`: the row has no value for it, and {expected} does not allow null")]
    Missing {
        /// The column's name.
        column: String,
        /// The column's type, as in SQL.
        expected: String,
    },
    /// A row by name has a field for which there is no column.
    #[error("there is no column for `{field}`; there are: {columns}")]
    UnknownField {
        /// The field's name, or the path to it within a column.
        field: String,
        /// The columns that may be written, or the fields of the column's type.
        columns: String,
    },
    /// A row by name has a field twice.
    #[error("the field `{0}` is there twice")]
    DoubledField(String),
    /// A field's own `Serialize` refused it.
    #[error("the field `{field}` cannot be serialized: {reason}")]
    Unserializable {
        /// The field's name, or the path to it within a column.
        field: String,
        /// What it says.
        reason: String,
    },
    /// What was handed in as a row is none.
    #[error("no row: {0}")]
    NotARow(String),
    /// A column that this encoding cannot hold.
    #[error("column `{column}` of type {data_type} is not supported here: {advice}")]
    Unsupported {
        /// The column's name.
        column: String,
        /// The column's type, as in SQL.
        data_type: String,
        /// What to do.
        advice: &'static str,
    },
    /// The encoded row contradicts the format of a record.
    #[error(transparent)]
    Record(#[from] fluss_proto::record::RecordError),
    /// The writer's own bucket assigner chose a bucket that does not exist.
    #[error("the bucket assigner chose bucket {bucket}, but they are 0 to {}", buckets - 1)]
    Bucket {
        /// The bucket chosen.
        bucket: u32,
        /// The number of buckets, at least 1.
        buckets: u32,
    },
    /// A prefix that is not the beginning of the keys that begin with its values.
    #[error(
        "in this table's keys, which follow Paimon, only short values can be looked up by prefix: \
         these need {size} bytes, at most {limit} are there; use `lookup`"
    )]
    Prefix {
        /// Bytes of the prefix.
        size: usize,
        /// Bytes that a prefix can have here.
        limit: usize,
    },
    /// The row alone is larger than a batch may be.
    #[error("the row needs {size} bytes, at most {limit} are allowed{}", named(.largest.as_ref()))]
    TooLarge {
        /// Bytes of the row in a batch of its own, at least.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
        /// Its largest value, where the row was at hand; writers always tell it.
        largest: Option<LargestValue>,
    },
}

fn named(largest: Option<&LargestValue>) -> String {
    largest.map_or_else(String::new, |LargestValue { column, bytes }| {
        format!("; its largest value is that of `{column}`, with {bytes} bytes")
    })
}

impl RowError {
    /// The reason.
    #[must_use]
    pub fn kind(&self) -> &RowErrorKind {
        &self.0
    }

    /// The reason, taken out.
    #[cfg(feature = "serde")]
    pub(super) fn into_kind(self) -> RowErrorKind {
        *self.0
    }

    /// A value that does not fit its column, for one of the reasons above the data's own type.
    #[cold]
    #[must_use]
    pub fn value(
        column: &str,
        value: Datum<'_>,
        expected: &DataType,
        reason: &'static str,
    ) -> Self {
        let (column, expected) = (column.to_owned(), expected.to_string());
        RowErrorKind::Value { column, value: describe(value), expected, reason }.into()
    }

    /// A value within a column that does not fit its part of the column's type.
    #[cold]
    pub(super) fn within(
        path: String,
        value: String,
        expected: &DataType,
        reason: &'static str,
    ) -> Self {
        let expected = expected.to_string();
        RowErrorKind::Value { column: path, value, expected, reason }.into()
    }

    /// Null in a NOT NULL column.
    #[cold]
    #[must_use]
    pub fn null(column: &str, expected: &DataType) -> Self {
        RowErrorKind::Null { column: column.to_owned(), expected: expected.to_string() }.into()
    }

    /// The wrong number of values.
    #[cold]
    #[must_use]
    pub fn arity(expected: usize, got: usize) -> Self {
        RowErrorKind::Arity { expected, got }.into()
    }

    /// A column that an encoding cannot hold.
    #[cold]
    #[must_use]
    pub fn unsupported(column: &str, data_type: &DataType, advice: &'static str) -> Self {
        let (column, data_type) = (column.to_owned(), data_type.to_string());
        RowErrorKind::Unsupported { column, data_type, advice }.into()
    }

    /// A row that is too large by itself.
    #[cold]
    #[must_use]
    pub fn too_large(size: usize, limit: usize) -> Self {
        RowErrorKind::TooLarge { size, limit, largest: None }.into()
    }
}

impl From<RowErrorKind> for RowError {
    fn from(kind: RowErrorKind) -> Self {
        Self(Box::new(kind))
    }
}

impl From<fluss_proto::record::RecordError> for RowError {
    fn from(error: fluss_proto::record::RecordError) -> Self {
        RowErrorKind::Record(error).into()
    }
}

/// At most this many bytes of a value go into an error; a payload does not belong into a log file.
const SHOWN_BYTES: usize = 48;

/// A value as a person would write it; of bytes only their number, which is what does not fit.
pub(super) fn describe(value: Datum<'_>) -> String {
    match value {
        Datum::Null => "null".to_owned(),
        Datum::Bool(value) => value.to_string(),
        Datum::Int8(value) => value.to_string(),
        Datum::Int16(value) => value.to_string(),
        Datum::Int32(value) => value.to_string(),
        Datum::Int64(value) => value.to_string(),
        Datum::Float32(value) => text::format_f32(value),
        Datum::Float64(value) => text::format_f64(value),
        Datum::Decimal(value) => value.to_string(),
        Datum::Array(items) => format!("an ARRAY of {} elements", items.count()),
        Datum::Map(entries) => format!("a MAP of {} entries", entries.count()),
        Datum::Row(fields) => format!("a ROW of {} fields", fields.count()),
        Datum::Str(text) if text.len() > SHOWN_BYTES => {
            let end = (0..=SHOWN_BYTES).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
            format!("{:?}… of {} bytes", &text[..end], text.len())
        }
        Datum::Str(text) => format!("{text:?}"),
        Datum::Bytes(bytes) if bytes.len() == 1 => "a value of 1 byte".to_owned(),
        Datum::Bytes(bytes) => format!("a value of {} bytes", bytes.len()),
        Datum::Date(days) => text::format_date(days),
        // What does not fit may lie outside the day.
        Datum::Time(millis) => format!("a time of {millis} ms"),
        Datum::Timestamp(value) if value.nanos < 1_000_000 => text::format_timestamp(value),
        Datum::TimestampLtz(value) if value.nanos < 1_000_000 => text::format_timestamp_ltz(value),
        Datum::Timestamp(value) | Datum::TimestampLtz(value) => {
            format!("{} ms and {} ns", value.millis, value.nanos)
        }
    }
}

/// The first 64 characters, the last of them an ellipsis when something is missing.
pub(super) fn shorten(text: &str) -> String {
    const SHOWN: usize = 64;
    if text.chars().nth(SHOWN).is_none() {
        return text.to_owned();
    }
    text.chars().take(SHOWN - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::super::TypeKind;
    use super::*;

    #[test]
    fn an_error_names_column_value_and_expected_type() {
        let expected = DataType { kind: TypeKind::Binary(4), nullable: false };
        let error = RowError::value("b", Datum::Bytes(&[1, 2]), &expected, "it has 2 bytes");
        assert_eq!(
            error.to_string(),
            "column `b`: a value of 2 bytes does not fit BINARY(4) NOT NULL: it has 2 bytes"
        );
    }

    #[test]
    fn values_look_as_a_person_writes_them() {
        use crate::row::{Decimal, Timestamp};
        let price = Decimal::new(-12_345, 2);
        let point = Timestamp { millis: 1, nanos: 0 };
        for (datum, text) in [
            (Datum::Int8(-5), "-5"),
            (Datum::Int64(i64::MIN), "-9223372036854775808"),
            (Datum::Float32(0.1), "0.1"),
            (Datum::Decimal(&price), "-123.45"),
            (Datum::Bytes(&[7]), "a value of 1 byte"),
            (Datum::Str("a\"b"), r#""a\"b""#),
            (Datum::Date(0), "1970-01-01"),
            (Datum::Time(-1), "a time of -1 ms"),
            (Datum::TimestampLtz(point), "1970-01-01T00:00:00.001Z"),
            (Datum::Timestamp(Timestamp { millis: 1, nanos: 1_000_000 }), "1 ms and 1000000 ns"),
        ] {
            assert_eq!(describe(datum), text);
        }
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let text = "é".repeat(100);
        let shown = describe(Datum::Str(&text));
        assert!(shown.len() < 100, "{shown}");
        assert!(shown.ends_with("… of 200 bytes"), "{shown}");
    }

    #[test]
    fn the_error_is_one_pointer_wide() {
        assert_eq!(size_of::<Result<(), RowError>>(), size_of::<usize>());
    }
}
