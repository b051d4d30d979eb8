//! Why a row was refused.

use std::fmt;

use super::{DataType, Datum, TypeKind};

/// A row that was not taken, and why. One pointer wide, so that the path on which every value fits
/// pays nothing for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct RowError(Box<RowErrorKind>);

/// The reasons behind a [`RowError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowErrorKind {
    /// The row has more or fewer values than the table has columns.
    #[error("the row has {got} values, the table has {expected} columns")]
    Arity {
        /// Columns of the table, or of the target columns.
        expected: usize,
        /// Values of the row; when it has too many, only the first one too many is counted.
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
        /// The column's name.
        column: String,
        /// The column's type, as in SQL.
        expected: String,
    },
    /// The row alone is larger than a batch may be.
    #[error("the row needs {size} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Bytes of the row in a batch of its own, at least.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
}

impl RowError {
    /// The reason.
    #[must_use]
    pub fn kind(&self) -> &RowErrorKind {
        &self.0
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
        let (column, expected) = (column.to_owned(), sql_name(expected));
        RowErrorKind::Value { column, value: describe(value), expected, reason }.into()
    }

    /// Null in a NOT NULL column.
    #[cold]
    #[must_use]
    pub fn null(column: &str, expected: &DataType) -> Self {
        RowErrorKind::Null { column: column.to_owned(), expected: sql_name(expected) }.into()
    }

    /// The wrong number of values.
    #[cold]
    #[must_use]
    pub fn arity(expected: usize, got: usize) -> Self {
        RowErrorKind::Arity { expected, got }.into()
    }

    /// A row that is too large by itself.
    #[cold]
    #[must_use]
    pub fn too_large(size: usize, limit: usize) -> Self {
        RowErrorKind::TooLarge { size, limit }.into()
    }
}

impl From<RowErrorKind> for RowError {
    fn from(kind: RowErrorKind) -> Self {
        Self(Box::new(kind))
    }
}

/// At most this many bytes of a value go into an error; a payload does not belong into a log file.
const SHOWN_BYTES: usize = 48;

fn describe(value: Datum<'_>) -> String {
    match value {
        Datum::Str(text) if text.len() > SHOWN_BYTES => {
            let end = (0..=SHOWN_BYTES).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
            format!("Str({:?}… of {} bytes)", &text[..end], text.len())
        }
        Datum::Bytes(bytes) if bytes.len() > SHOWN_BYTES / 2 => {
            format!("Bytes({:?}… of {} bytes)", &bytes[..SHOWN_BYTES / 2], bytes.len())
        }
        other => format!("{other:?}"),
    }
}

/// The SQL form of a type, for errors.
fn sql_name(data_type: &DataType) -> String {
    let mut name = String::new();
    // Writing into a string cannot fail.
    let _ = write_type(&mut name, data_type);
    name
}

fn write_type(out: &mut String, data_type: &DataType) -> fmt::Result {
    use fmt::Write as _;
    match &data_type.kind {
        TypeKind::Boolean => out.push_str("BOOLEAN"),
        TypeKind::TinyInt => out.push_str("TINYINT"),
        TypeKind::SmallInt => out.push_str("SMALLINT"),
        TypeKind::Int => out.push_str("INT"),
        TypeKind::BigInt => out.push_str("BIGINT"),
        TypeKind::Float => out.push_str("FLOAT"),
        TypeKind::Double => out.push_str("DOUBLE"),
        TypeKind::Decimal { precision, scale } => write!(out, "DECIMAL({precision}, {scale})")?,
        TypeKind::Char(length) => write!(out, "CHAR({length})")?,
        TypeKind::String => out.push_str("STRING"),
        TypeKind::Binary(length) => write!(out, "BINARY({length})")?,
        TypeKind::Bytes => out.push_str("BYTES"),
        TypeKind::Date => out.push_str("DATE"),
        TypeKind::Time(precision) => write!(out, "TIME({precision})")?,
        TypeKind::Timestamp(precision) => write!(out, "TIMESTAMP({precision})")?,
        TypeKind::TimestampLtz(precision) => write!(out, "TIMESTAMP_LTZ({precision})")?,
        TypeKind::Array(_) => out.push_str("ARRAY"),
        TypeKind::Map(..) => out.push_str("MAP"),
        TypeKind::Row(_) => out.push_str("ROW"),
    }
    if !data_type.nullable {
        out.push_str(" NOT NULL");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_column_value_and_expected_type() {
        let expected = DataType { kind: TypeKind::Binary(4), nullable: false };
        let error = RowError::value("b", Datum::Bytes(&[1, 2]), &expected, "it has 2 bytes");
        assert_eq!(
            error.to_string(),
            "column `b`: Bytes([1, 2]) does not fit BINARY(4) NOT NULL: it has 2 bytes"
        );
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let text = "é".repeat(100);
        let shown = describe(Datum::Str(&text));
        assert!(shown.len() < 100, "{shown}");
        assert!(shown.ends_with("… of 200 bytes)"), "{shown}");
    }

    #[test]
    fn the_error_is_one_pointer_wide() {
        assert_eq!(size_of::<Result<(), RowError>>(), size_of::<usize>());
    }
}
