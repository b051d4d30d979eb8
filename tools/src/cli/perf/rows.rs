//! Rows for measurements: made from a seed, of the table's schema.

use fluss_core::rng::Rng;
use fluss_core::row::{Decimal, Field, OwnedDatum, OwnedRow, Schema, Timestamp, TypeKind};

use super::super::failure::{Failure, Result};
use super::{MAX_STRING, Options};

/// Elements of each ARRAY, and entries of each MAP as far as there are so many different keys.
const ELEMENTS: u64 = 3;

/// Makes the row or key with a number.
#[derive(Clone, Debug)]
pub(super) struct RowMaker {
    columns: Vec<(TypeKind, bool)>,
    keys: u64,
    string_bytes: usize,
    seed: u64,
}

impl RowMaker {
    /// A maker of rows that consist of these columns. The columns of `key` hold the key's number,
    /// as far as their types can hold it; in a table without a key, the first column does.
    ///
    /// A column that wants longer texts than are made for measurements is an error.
    pub(super) fn new(
        schema: &Schema,
        columns: &[usize],
        key: &[usize],
        options: &Options,
    ) -> Result<Self> {
        let types = columns.iter().map(|index| {
            let column = &schema.columns()[*index];
            if let Some(length) = too_long(&column.data_type.kind) {
                let name = &column.name;
                return Err(Failure::failed(format!(
                    "the column `{name}` wants {length} bytes in a value: `fluss perf` makes \
                     {MAX_STRING} at most"
                )));
            }
            let numbered = key.contains(index) || (key.is_empty() && *index == 0);
            Ok((column.data_type.kind.clone(), numbered))
        });
        Ok(Self {
            columns: types.collect::<Result<_>>()?,
            keys: options.keys.unwrap_or(u64::MAX),
            string_bytes: options.string_bytes,
            seed: options.seed,
        })
    }

    pub(super) fn row(&self, number: u64) -> OwnedRow {
        let key = number % self.keys;
        let mut rng = Rng::new(self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let value = |(kind, numbered): &(TypeKind, bool)| {
            let bits = if *numbered { key } else { rng.next_u64() };
            self.value(kind, bits, *numbered)
        };
        self.columns.iter().map(value).collect()
    }

    fn value(&self, kind: &TypeKind, bits: u64, numbered: bool) -> OwnedDatum {
        let length = |fixed: Option<u32>| fixed.map_or(self.string_bytes, |n| n as usize);
        match kind {
            TypeKind::Boolean => OwnedDatum::Bool(bits & 1 == 1),
            TypeKind::TinyInt => OwnedDatum::Int8(bits as i8),
            TypeKind::SmallInt => OwnedDatum::Int16(bits as i16),
            TypeKind::Int => OwnedDatum::Int32(bits as i32),
            TypeKind::BigInt => OwnedDatum::Int64(bits as i64),
            // 24 bits are exact in both.
            TypeKind::Float => OwnedDatum::Float32((bits & 0xFF_FFFF) as f32),
            TypeKind::Double => OwnedDatum::Float64((bits & 0xF_FFFF_FFFF) as f64 / 16.0),
            TypeKind::Decimal { precision, scale } => {
                let limit = 10_u128.pow(u32::from(*precision));
                OwnedDatum::Decimal(Decimal::new((u128::from(bits) % limit) as i128, *scale))
            }
            TypeKind::Char(n) => OwnedDatum::Str(letters(bits, length(Some(*n)), numbered)),
            TypeKind::String => OwnedDatum::Str(letters(bits, length(None), numbered)),
            TypeKind::Binary(n) => {
                OwnedDatum::Bytes(letters(bits, length(Some(*n)), numbered).into_bytes())
            }
            TypeKind::Bytes => {
                OwnedDatum::Bytes(letters(bits, length(None), numbered).into_bytes())
            }
            TypeKind::Date => OwnedDatum::Date((bits % 40_000) as i32),
            TypeKind::Time(_) => OwnedDatum::Time((bits % 86_400) as i32 * 1000),
            TypeKind::Timestamp(_) => OwnedDatum::Timestamp(seconds(bits)),
            TypeKind::TimestampLtz(_) => OwnedDatum::TimestampLtz(seconds(bits)),
            TypeKind::Array(element) => {
                let mut rng = Rng::new(bits);
                let item = |_| self.value(&element.kind, rng.next_u64(), false);
                OwnedDatum::Array((0..ELEMENTS).map(item).collect())
            }
            TypeKind::Map(key, of) => OwnedDatum::Map(self.entries(&key.kind, &of.kind, bits)),
            TypeKind::Row(fields) => {
                let mut rng = Rng::new(bits);
                let field =
                    |field: &Field| self.value(&field.data_type.kind, rng.next_u64(), false);
                OwnedDatum::Row(fields.iter().map(field).collect())
            }
            // A type of later servers, of which nothing is known.
            _ => OwnedDatum::Null,
        }
    }

    fn entries(&self, key: &TypeKind, of: &TypeKind, bits: u64) -> Vec<(OwnedDatum, OwnedDatum)> {
        let mut rng = Rng::new(bits);
        let mut entries: Vec<(OwnedDatum, OwnedDatum)> = Vec::new();
        for _ in 0..ELEMENTS {
            let key = self.value(key, rng.next_u64(), false);
            let value = self.value(of, rng.next_u64(), false);
            if !entries.iter().any(|(other, _)| *other == key) {
                entries.push((key, value));
            }
        }
        entries
    }
}

fn seconds(bits: u64) -> Timestamp {
    Timestamp::from_millis((bits % 4_000_000_000) as i64 * 1000)
}

/// The length of a CHAR or BINARY within the type that is longer than what is made.
fn too_long(kind: &TypeKind) -> Option<u32> {
    match kind {
        TypeKind::Char(n) | TypeKind::Binary(n) => Some(*n).filter(|n| *n as usize > MAX_STRING),
        TypeKind::Array(element) => too_long(&element.kind),
        TypeKind::Map(key, of) => too_long(&key.kind).or_else(|| too_long(&of.kind)),
        TypeKind::Row(fields) => fields.iter().find_map(|field| too_long(&field.data_type.kind)),
        _ => None,
    }
}

/// A key's number in digits, or letters from random bits, of this length.
fn letters(bits: u64, length: usize, numbered: bool) -> String {
    if numbered {
        // Not by a width of the format, which ends at 65,535.
        let digits = bits.to_string();
        let digits = &digits[digits.len().saturating_sub(length)..];
        let mut text = "0".repeat(length - digits.len());
        text.push_str(digits);
        return text;
    }
    let mut rng = Rng::new(bits);
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let mut bits = rng.next_u64();
        for _ in 0..(length - text.len()).min(12) {
            text.push(char::from(b'a' + (bits % 26) as u8));
            bits /= 26;
        }
    }
    text
}

/// The bytes of a row's values, without what an encoding adds.
pub(super) fn row_bytes(row: &OwnedRow) -> u64 {
    row.values().iter().map(value_bytes).sum()
}

fn value_bytes(value: &OwnedDatum) -> u64 {
    match value {
        OwnedDatum::Bool(_) | OwnedDatum::Int8(_) => 1,
        OwnedDatum::Int16(_) => 2,
        OwnedDatum::Int32(_) | OwnedDatum::Float32(_) => 4,
        OwnedDatum::Date(_) | OwnedDatum::Time(_) => 4,
        OwnedDatum::Int64(_) | OwnedDatum::Float64(_) => 8,
        OwnedDatum::Timestamp(_) | OwnedDatum::TimestampLtz(_) => 8,
        OwnedDatum::Decimal(_) => 16,
        OwnedDatum::Str(text) => text.len() as u64,
        OwnedDatum::Bytes(bytes) => bytes.len() as u64,
        OwnedDatum::Array(values) | OwnedDatum::Row(values) => values.iter().map(value_bytes).sum(),
        OwnedDatum::Map(entries) => {
            entries.iter().map(|(key, value)| value_bytes(key) + value_bytes(value)).sum()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluss_core::row::DataType;

    fn maker(keys: Option<u64>) -> RowMaker {
        let schema = Schema::builder()
            .column("id", DataType::BIGINT)
            .column("name", DataType::STRING)
            .column("price", DataType::decimal(4, 1))
            .primary_key(["id"])
            .build()
            .expect("a schema");
        let options = Options {
            rows: 1,
            threads: 1,
            bulk: None,
            arrow: None,
            keys,
            in_flight: 1,
            string_bytes: 20,
            seed: 7,
            warmup: 0,
        };
        RowMaker::new(&schema, &[0, 1, 2], &[0], &options).expect("short texts")
    }

    #[test]
    fn nested_columns_have_values_at_every_depth() {
        let maker = maker(None);
        let of = |text: &str, bits| {
            let data_type: DataType = text.parse().expect("a type");
            maker.value(&data_type.kind, bits, false)
        };
        let OwnedDatum::Array(items) = of("ARRAY<ROW<a INT, b MAP<STRING, BIGINT>>>", 5) else {
            panic!("an array")
        };
        assert_eq!(items.len(), 3);
        assert_ne!(items[0], items[1]);
        let OwnedDatum::Row(fields) = &items[0] else { panic!("a row") };
        let OwnedDatum::Map(entries) = &fields[1] else { panic!("a map") };
        assert_eq!((fields.len(), entries.len()), (2, 3));
        assert_eq!(value_bytes(&items[0]), 4 + 3 * (20 + 8));
        assert_eq!(of("ARRAY<INT>", 5), of("ARRAY<INT>", 5));
        for bits in 0..50 {
            let OwnedDatum::Map(entries) = of("MAP<BOOLEAN, INT>", bits) else { panic!("a map") };
            assert!((1..=2).contains(&entries.len()), "keys are there once");
        }
    }

    #[test]
    fn a_type_is_too_long_at_any_depth() {
        let of = |text: &str| too_long(&text.parse::<DataType>().expect("a type").kind);
        for fits in ["CHAR(16777216)", "BINARY(16777216)", "STRING", "ARRAY<ROW<a CHAR(5)>>"] {
            assert_eq!(of(fits), None, "{fits}");
        }
        for long in ["CHAR(16777217)", "ARRAY<MAP<INT, ROW<a INT, b BINARY(16777217)>>>"] {
            assert_eq!(of(long), Some(16_777_217), "{long}");
        }
    }

    #[test]
    fn rows_follow_from_seed_and_number_and_keys_come_in_turn() {
        let rows = maker(Some(3));
        assert_eq!(rows.row(5), rows.row(5));
        assert_ne!(rows.row(5), rows.row(8));
        assert_eq!(rows.row(5).values()[0], OwnedDatum::Int64(2));
        assert_eq!(rows.row(8).values()[0], OwnedDatum::Int64(2));
        assert_eq!(maker(None).row(8).values()[0], OwnedDatum::Int64(8));
        assert_eq!(row_bytes(&rows.row(0)), 8 + 20 + 16);
        let OwnedDatum::Decimal(price) = rows.row(1).values()[2] else { panic!("a decimal") };
        assert!((0..10_000).contains(&price.unscaled));
    }

    #[test]
    fn a_key_as_text_has_the_length_asked_for() {
        assert_eq!(letters(42, 5, true), "00042");
        assert_eq!(letters(123_456, 3, true), "456");
        assert_eq!(letters(7, 0, true), "");
        let long = letters(123_456, 70_000, true);
        assert!(long.len() == 70_000 && long.ends_with("00123456"));
        assert_eq!(letters(9, 30, false).len(), 30);
    }
}
