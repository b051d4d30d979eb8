//! The largest value of a row that is too large.

use super::error::{RowError, RowErrorKind};
use super::{Columns, Datum, Row, RowSink};

/// Values within values are looked at this far down, which is deeper than types go.
const MAX_DEPTH: u32 = 32;

/// The largest value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LargestValue {
    /// Its column.
    pub column: String,
    /// Its bytes, without what an encoding adds.
    pub bytes: usize,
}

impl RowError {
    /// Names the largest value of the row, if the row is refused for its size, and counts all of
    /// its values, if it has too many.
    #[cold]
    pub(crate) fn of_row<R: Row + ?Sized>(self, columns: Columns<'_>, row: &R) -> Self {
        if let RowErrorKind::Arity { expected, got } = *self.kind() {
            let got = if got > expected { got.max(row.arity()) } else { got };
            return RowErrorKind::Arity { expected, got }.into();
        }
        let RowErrorKind::TooLarge { size, limit, .. } = *self.kind() else { return self };
        let mut sizes = Sizes { columns, next: 0, largest: None };
        // What it says is told already.
        let _ = row.write(&mut sizes);
        let largest = sizes.largest.and_then(|(at, bytes)| {
            columns.column(at).map(|column| LargestValue { column: column.name.clone(), bytes })
        });
        RowErrorKind::TooLarge { size, limit, largest }.into()
    }
}

/// Looks for the first of the largest values, fitting or not.
struct Sizes<'a> {
    columns: Columns<'a>,
    next: usize,
    largest: Option<(usize, usize)>,
}

impl RowSink for Sizes<'_> {
    type Error = RowError;

    fn columns(&self) -> Option<Columns<'_>> {
        Some(self.columns)
    }

    fn put(&mut self, datum: Datum<'_>) -> Result<(), RowError> {
        let bytes = bytes_of(datum, MAX_DEPTH);
        if self.largest.is_none_or(|(_, most)| bytes > most) {
            self.largest = Some((self.next, bytes));
        }
        self.next += 1;
        Ok(())
    }
}

fn bytes_of(datum: Datum<'_>, depth: u32) -> usize {
    let Some(depth) = depth.checked_sub(1) else { return 0 };
    match datum {
        Datum::Null => 0,
        Datum::Bool(_) | Datum::Int8(_) => 1,
        Datum::Int16(_) => 2,
        Datum::Int32(_) | Datum::Float32(_) | Datum::Date(_) | Datum::Time(_) => 4,
        Datum::Int64(_) | Datum::Float64(_) | Datum::Timestamp(_) | Datum::TimestampLtz(_) => 8,
        Datum::Decimal(_) => 16,
        Datum::Str(text) => text.len(),
        Datum::Bytes(bytes) => bytes.len(),
        Datum::Array(items) | Datum::Row(items) => {
            let sizes = (0..items.count()).map(|at| bytes_of(items.item(at), depth));
            sizes.fold(0, usize::saturating_add)
        }
        Datum::Map(entries) => {
            let both = |at| {
                let (key, value) = entries.entry(at);
                bytes_of(key, depth).saturating_add(bytes_of(value, depth))
            };
            (0..entries.count()).map(both).fold(0, usize::saturating_add)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row;
    use crate::row::{Column, DataType, Schema};

    #[test]
    fn the_largest_value_is_named_with_its_bytes_at_every_depth() {
        let schema = Schema::builder()
            .column("id", DataType::BIGINT)
            .column("text", DataType::STRING)
            .column("list", DataType::array(DataType::STRING))
            .build()
            .expect("a schema");
        let texts = vec!["0123456789", "0123456789"];
        let error = RowError::too_large(90, 80);
        let named =
            |row: &[Datum<'_>; 3]| error.clone().of_row(Columns::all(&schema), row).to_string();
        let all = "the row needs 90 bytes, at most 80 are allowed";
        assert_eq!(error.to_string(), all);
        assert_eq!(
            named(&row![1_i64, "0123456789abcdef", &texts]),
            format!("{all}; its largest value is that of `list`, with 20 bytes")
        );
        assert_eq!(
            named(&row![1_i64, "0123456789abcdefghijk", &texts]),
            format!("{all}; its largest value is that of `text`, with 21 bytes")
        );
        let other = RowError::arity(3, 2);
        assert_eq!(other.clone().of_row(Columns::all(&schema), &row![1_i64]), other);
    }

    #[test]
    fn all_values_of_a_row_with_too_many_are_counted() {
        let schema = Schema::new(vec![Column::new("id", DataType::INT)], vec![]);
        let too_many = RowError::from(RowErrorKind::Arity { expected: 1, got: 2 });
        let told = too_many.of_row(Columns::all(&schema), &(1_i32, 2_i32, 3_i32, 4_i32));
        assert_eq!(told.kind(), &RowErrorKind::Arity { expected: 1, got: 4 });
        // Of one that writes fewer than it says to have.
        let too_few = RowError::from(RowErrorKind::Arity { expected: 2, got: 1 });
        let told = too_few.clone().of_row(Columns::all(&schema), &(1_i32, 2_i32));
        assert_eq!(told, too_few);
    }
}
