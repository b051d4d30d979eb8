//! Tables as Arrow sees them.

use std::sync::Arc;

use arrow_schema::{DataType as ArrowType, Field as ArrowField, Fields, SchemaRef, TimeUnit};

use super::arrow::convert::Unit;
use crate::row::{DataType, Schema, TypeKind};

/// The Arrow schema of a table's columns.
///
/// TIMESTAMP and TIMESTAMP_LTZ both become timestamps without a time zone, as in the batches of all
/// Fluss clients. The decimals, lengths and lists that Arrow cannot hold do not occur: a BINARY is
/// at most 2^31 - 1 bytes long, a precision at most 38.
#[must_use]
pub fn arrow_schema_of(schema: &Schema) -> SchemaRef {
    let fields: Fields =
        schema.columns().iter().map(|column| field(&column.name, &column.data_type)).collect();
    Arc::new(arrow_schema::Schema::new(fields))
}

fn field(name: &str, data_type: &DataType) -> ArrowField {
    ArrowField::new(name, arrow_type_of(&data_type.kind), data_type.nullable)
}

/// The Arrow type of a column type.
#[must_use]
pub fn arrow_type_of(kind: &TypeKind) -> ArrowType {
    match kind {
        TypeKind::Boolean => ArrowType::Boolean,
        TypeKind::TinyInt => ArrowType::Int8,
        TypeKind::SmallInt => ArrowType::Int16,
        TypeKind::Int => ArrowType::Int32,
        TypeKind::BigInt => ArrowType::Int64,
        TypeKind::Float => ArrowType::Float32,
        TypeKind::Double => ArrowType::Float64,
        // A scale is at most the precision, at most 38.
        TypeKind::Decimal { precision, scale } => ArrowType::Decimal128(*precision, *scale as i8),
        TypeKind::Char(_) | TypeKind::String => ArrowType::Utf8,
        TypeKind::Binary(length) => {
            ArrowType::FixedSizeBinary(i32::try_from(*length).unwrap_or(i32::MAX))
        }
        TypeKind::Bytes => ArrowType::Binary,
        TypeKind::Date => ArrowType::Date32,
        TypeKind::Time(precision) => match Unit::of_precision(*precision) {
            unit @ (Unit::Second | Unit::Millisecond) => ArrowType::Time32(time_unit(unit)),
            unit => ArrowType::Time64(time_unit(unit)),
        },
        TypeKind::Timestamp(precision) | TypeKind::TimestampLtz(precision) => {
            ArrowType::Timestamp(time_unit(Unit::of_precision(*precision)), None)
        }
        TypeKind::Array(element) => ArrowType::List(Arc::new(field("element", element))),
        TypeKind::Map(key, value) => {
            let key = ArrowField::new("key", arrow_type_of(&key.kind), false);
            let entries = ArrowType::Struct(Fields::from(vec![key, field("value", value)]));
            ArrowType::Map(Arc::new(ArrowField::new("entries", entries, false)), false)
        }
        TypeKind::Row(fields) => {
            ArrowType::Struct(fields.iter().map(|f| field(&f.name, &f.data_type)).collect())
        }
    }
}

fn time_unit(unit: Unit) -> TimeUnit {
    match unit {
        Unit::Second => TimeUnit::Second,
        Unit::Millisecond => TimeUnit::Millisecond,
        Unit::Microsecond => TimeUnit::Microsecond,
        Unit::Nanosecond => TimeUnit::Nanosecond,
    }
}

/// The column type that an Arrow field can be written to without loss, or None if there is none.
///
/// Unsigned integers, for instance, have no counterpart. A timestamp with a time zone is a
/// TIMESTAMP_LTZ: Arrow stores such values in UTC.
#[must_use]
pub fn data_type_of(arrow: &ArrowField) -> Option<DataType> {
    let kind = match arrow.data_type() {
        ArrowType::Boolean => TypeKind::Boolean,
        ArrowType::Int8 => TypeKind::TinyInt,
        ArrowType::Int16 => TypeKind::SmallInt,
        ArrowType::Int32 => TypeKind::Int,
        ArrowType::Int64 => TypeKind::BigInt,
        ArrowType::Float32 => TypeKind::Float,
        ArrowType::Float64 => TypeKind::Double,
        ArrowType::Decimal128(precision, scale) => {
            TypeKind::Decimal { precision: *precision, scale: u8::try_from(*scale).ok()? }
        }
        ArrowType::Utf8 => TypeKind::String,
        ArrowType::Binary => TypeKind::Bytes,
        ArrowType::FixedSizeBinary(length) => TypeKind::Binary(u32::try_from(*length).ok()?),
        ArrowType::Date32 => TypeKind::Date,
        ArrowType::Time32(unit) | ArrowType::Time64(unit) => TypeKind::Time(precision(*unit)),
        ArrowType::Timestamp(unit, None) => TypeKind::Timestamp(precision(*unit)),
        ArrowType::Timestamp(unit, Some(_)) => TypeKind::TimestampLtz(precision(*unit)),
        ArrowType::List(element) => TypeKind::Array(Box::new(data_type_of(element)?)),
        ArrowType::Map(entries, _) => {
            let ArrowType::Struct(fields) = entries.data_type() else { return None };
            let [key, value] = fields.as_ref() else { return None };
            TypeKind::Map(Box::new(data_type_of(key)?), Box::new(data_type_of(value)?))
        }
        ArrowType::Struct(fields) => {
            let row = |f: &Arc<ArrowField>| {
                Some(crate::row::Field::new(f.name().as_str(), data_type_of(f)?))
            };
            TypeKind::Row(fields.iter().map(row).collect::<Option<_>>()?)
        }
        _ => return None,
    };
    Some(DataType { kind, nullable: arrow.is_nullable() })
}

fn precision(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Column, Field};

    #[test]
    fn a_type_with_an_arrow_counterpart_comes_back() {
        let scalars = [
            TypeKind::Boolean,
            TypeKind::TinyInt,
            TypeKind::SmallInt,
            TypeKind::Int,
            TypeKind::BigInt,
            TypeKind::Float,
            TypeKind::Double,
            TypeKind::Decimal { precision: 38, scale: 38 },
            TypeKind::String,
            TypeKind::Binary(7),
            TypeKind::Bytes,
            TypeKind::Date,
            TypeKind::Time(0),
            TypeKind::Time(3),
            TypeKind::Time(6),
            TypeKind::Time(9),
            TypeKind::Timestamp(0),
            TypeKind::Timestamp(9),
        ];
        for kind in scalars {
            let of = |nullable| DataType { kind: kind.clone(), nullable };
            let nested = DataType::row(vec![
                Field::new("a", DataType::array(of(false))),
                Field::new("m", DataType::map(of(false), of(true)).not_null()),
            ]);
            for data_type in [of(true), of(false), nested] {
                let schema = Schema::new(vec![Column::new("c", data_type.clone())], vec![]);
                let arrow = arrow_schema_of(&schema);
                assert_eq!(data_type_of(arrow.field(0)), Some(data_type));
            }
        }
    }

    #[test]
    fn the_time_zone_decides_between_the_timestamp_types() {
        let zoned = ArrowType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let of = |arrow| data_type_of(&ArrowField::new("t", arrow, true)).map(|t| t.kind);
        assert_eq!(of(zoned), Some(TypeKind::TimestampLtz(6)));
        assert_eq!(of(ArrowType::UInt8), None);
        assert_eq!(
            arrow_type_of(&TypeKind::TimestampLtz(6)),
            arrow_type_of(&TypeKind::Timestamp(6))
        );
    }
}
