//! What the measurements share: the row, tables of it, a client next to a fake cluster.

pub mod fake;
pub mod handles;
pub mod local;
pub mod lookups;
pub mod scale;
pub mod sim;

use fluss_core::row::{DataType, Datum, Schema, Timestamp, TypeKind};

/// A name of 16 bytes.
pub const NAME: &str = "sixteen bytes ok";

/// The columns of all measurements: BIGINT, STRING of 16 bytes, INT, DOUBLE.
///
/// # Panics
/// Never: the schema is valid.
#[must_use]
pub fn schema(primary_key: bool) -> Schema {
    let builder = Schema::builder()
        .column("id", TypeKind::BigInt.nullable().not_null())
        .column("name", TypeKind::String.nullable())
        .column("a", TypeKind::Int.nullable())
        .column("b", TypeKind::Double.nullable());
    let builder = if primary_key { builder.primary_key(["id"]) } else { builder };
    builder.build().expect("a valid schema")
}

/// Row number `index` as a tuple, which writes itself without a `Datum`.
#[inline]
#[must_use]
pub fn tuple(index: u64) -> (i64, &'static str, i32, f64) {
    (index as i64, NAME, index as i32, index as f64 * 0.5)
}

/// Columns of types that come less often: TIMESTAMP_LTZ(3), TIMESTAMP(6), DATE, FLOAT, SMALLINT.
///
/// # Panics
/// Never: the schema is valid.
#[must_use]
pub fn times_schema() -> Schema {
    let builder = Schema::builder()
        .column("at", DataType::timestamp_ltz(3))
        .column("local", DataType::timestamp(6))
        .column("day", DataType::DATE)
        .column("share", DataType::FLOAT)
        .column("kind", DataType::SMALLINT);
    builder.build().expect("a valid schema")
}

/// Row number `index` of them.
#[inline]
#[must_use]
pub fn times(index: u64) -> [Datum<'static>; 5] {
    let time = Timestamp { millis: 1_700_000_000_000 + index as i64, nanos: 5_000 };
    [
        Datum::TimestampLtz(Timestamp { nanos: 0, ..time }),
        Datum::Timestamp(time),
        Datum::Date(index as i32),
        Datum::Float32(index as f32),
        Datum::Int16(index as i16),
    ]
}
