//! Times beyond what Arrow can hold, as servers write them down.

use crate::row::{OwnedDatum, OwnedRow, Schema, Timestamp, TypeKind};

/// The row as it stands in an Arrow changelog: a time that does not fit the 64 bits of its column's
/// unit goes round, without a word.
pub(super) fn gone_round(schema: &Schema, row: OwnedRow) -> OwnedRow {
    let kinds = schema.columns().iter().map(|column| &column.data_type.kind);
    OwnedRow::new(kinds.zip(row.into_values()).map(|(kind, value)| datum(kind, value)).collect())
}

fn datum(kind: &TypeKind, value: OwnedDatum) -> OwnedDatum {
    use {OwnedDatum as D, TypeKind as K};
    match (kind, value) {
        (K::Timestamp(precision), D::Timestamp(at)) => D::Timestamp(time(*precision, at)),
        (K::TimestampLtz(precision), D::TimestampLtz(at)) => D::TimestampLtz(time(*precision, at)),
        (K::Array(element), D::Array(items)) => {
            D::Array(items.into_iter().map(|item| datum(&element.kind, item)).collect())
        }
        (K::Map(key, value), D::Map(entries)) => {
            let both = |(k, v)| (datum(&key.kind, k), datum(&value.kind, v));
            D::Map(entries.into_iter().map(both).collect())
        }
        (K::Row(fields), D::Row(values)) => {
            let fields = fields.iter().zip(values);
            D::Row(fields.map(|(field, value)| datum(&field.data_type.kind, value)).collect())
        }
        (_, value) => value,
    }
}

fn time(precision: u8, at: Timestamp) -> Timestamp {
    let sum = |per_milli, rest: u32| at.millis.wrapping_mul(per_milli).wrapping_add(rest.into());
    match precision {
        0..=3 => at,
        4..=6 => Timestamp::from_micros(sum(1_000, at.nanos / 1_000)),
        _ => Timestamp::from_nanos(sum(1_000_000, at.nanos)),
    }
}
