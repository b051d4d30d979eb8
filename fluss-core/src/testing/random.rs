//! Random schemas and rows, for tests of whatever carries rows from one place to another.
//!
//! The values are such that every format gives them back as they were: no more digits than a
//! type has, BINARY values of the length of their type, no zero bytes at the end of what
//! INDEXED rows pad with them.

use crate::rng::Rng;
use crate::row::{
    DataType, Datum, Decimal, Entries, Field, Items, OwnedDatum, OwnedRow, Schema, Timestamp,
    TypeKind, grain_of,
};

/// What random types are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The most columns of a schema, at least 1.
    pub columns: u64,
    /// How deep ARRAY, MAP and ROW may be nested; 0 for scalars only.
    pub depth: u32,
    /// Whether CHAR may be an element of an ARRAY or MAP; the published Java client and server cut
    /// such values in ARROW logs.
    pub nested_char: bool,
    /// Whether CHAR may be a column.
    pub char: bool,
}

impl Default for Shape {
    /// Up to 12 columns, 3 levels, and CHAR everywhere.
    fn default() -> Self {
        Self { columns: 12, depth: 3, nested_char: true, char: true }
    }
}

impl Shape {
    /// A schema of columns `c0`, `c1` and so on.
    pub fn schema(&self, rng: &mut Rng) -> Schema {
        let columns = 1 + rng.below(self.columns);
        let columns = (0..columns).map(|at| {
            let data_type = self.data_type(rng);
            crate::row::Column::new(format!("c{at}"), data_type)
        });
        Schema::new(columns.collect(), vec![])
    }

    /// A type, NOT NULL in one of three cases.
    pub fn data_type(&self, rng: &mut Rng) -> DataType {
        self.nested(rng, 0)
    }

    fn nested(&self, rng: &mut Rng, level: u32) -> DataType {
        let kinds = if level < self.depth { 19 } else { 16 };
        let kind = match rng.below(kinds) {
            16 => TypeKind::Array(Box::new(self.nested(rng, level + 1))),
            17 => {
                // A key with a single byte of values makes maps with equal keys.
                let key = loop {
                    let kind = self.scalar(rng, 1);
                    if !matches!(kind, TypeKind::Boolean | TypeKind::TinyInt) {
                        break kind.nullable().not_null();
                    }
                };
                TypeKind::Map(Box::new(key), Box::new(self.nested(rng, level + 1)))
            }
            18 => {
                let fields = 1 + rng.below(4);
                let field = |at| Field::new(format!("f{at}"), self.nested(rng, level + 1));
                TypeKind::Row((0..fields).map(field).collect())
            }
            _ => self.scalar(rng, level),
        };
        DataType { kind, nullable: !rng.one_in(3) }
    }

    fn scalar(&self, rng: &mut Rng, level: u32) -> TypeKind {
        let precision = rng.below(10) as u8;
        match rng.below(16) {
            0 => TypeKind::Boolean,
            1 => TypeKind::TinyInt,
            2 => TypeKind::SmallInt,
            3 => TypeKind::Int,
            4 => TypeKind::BigInt,
            5 => TypeKind::Float,
            6 => TypeKind::Double,
            7 => {
                let precision = 1 + rng.below(38) as u8;
                let scale = rng.below(u64::from(precision) + 1) as u8;
                TypeKind::Decimal { precision, scale }
            }
            8 if self.char && (level == 0 || self.nested_char) => {
                TypeKind::Char(1 + rng.below(12) as u32)
            }
            8 | 9 => TypeKind::String,
            10 => TypeKind::Binary(1 + rng.below(40) as u32),
            11 => TypeKind::Bytes,
            12 => TypeKind::Date,
            13 => TypeKind::Time(precision),
            14 => TypeKind::Timestamp(precision),
            _ => TypeKind::TimestampLtz(precision),
        }
    }
}

/// A row of the schema.
pub fn row(rng: &mut Rng, schema: &Schema) -> OwnedRow {
    schema.columns().iter().map(|column| value(rng, &column.data_type)).collect()
}

/// A value of the type; null in one of four cases where the type allows it.
pub fn value(rng: &mut Rng, data_type: &DataType) -> OwnedDatum {
    if data_type.nullable && rng.one_in(4) {
        return OwnedDatum::Null;
    }
    match &data_type.kind {
        TypeKind::Boolean => OwnedDatum::Bool(rng.one_in(2)),
        TypeKind::TinyInt => OwnedDatum::Int8(integer(rng, 8) as i8),
        TypeKind::SmallInt => OwnedDatum::Int16(integer(rng, 16) as i16),
        TypeKind::Int => OwnedDatum::Int32(integer(rng, 32) as i32),
        TypeKind::BigInt => OwnedDatum::Int64(integer(rng, 64)),
        // Every NaN has the bits that Java gives it.
        TypeKind::Float => {
            let value = f32::from_bits(bits(rng) as u32);
            OwnedDatum::Float32(if value.is_nan() { f32::NAN } else { value })
        }
        TypeKind::Double => {
            let value = f64::from_bits(bits(rng));
            OwnedDatum::Float64(if value.is_nan() { f64::NAN } else { value })
        }
        TypeKind::Decimal { precision, scale } => {
            OwnedDatum::Decimal(decimal(rng, *precision, *scale))
        }
        TypeKind::Char(length) => OwnedDatum::Str(text(rng, *length as usize)),
        TypeKind::String => {
            let limit = pick(rng, &[0, 3, 7, 8, 30, 120]);
            OwnedDatum::Str(text(rng, limit))
        }
        TypeKind::Binary(length) => OwnedDatum::Bytes(bytes(rng, *length as usize)),
        TypeKind::Bytes => {
            let length = pick(rng, &[0, 1, 7, 8, 60]);
            OwnedDatum::Bytes(bytes(rng, length))
        }
        TypeKind::Date => OwnedDatum::Date(integer(rng, 32) as i32),
        TypeKind::Time(precision) => {
            let millis = (grain_of(*precision) / 1_000_000).max(1);
            let count = rng.below(u64::from(86_400_000 / millis)) as u32;
            OwnedDatum::Time((count * millis) as i32)
        }
        TypeKind::Timestamp(precision) => OwnedDatum::Timestamp(timestamp(rng, *precision)),
        TypeKind::TimestampLtz(precision) => OwnedDatum::TimestampLtz(timestamp(rng, *precision)),
        TypeKind::Array(element) => {
            let count = pick(rng, &[0, 1, 2, 5]);
            OwnedDatum::Array((0..count).map(|_| value(rng, element)).collect())
        }
        TypeKind::Map(key, of) => {
            let mut entries: Vec<(OwnedDatum, OwnedDatum)> = Vec::new();
            for _ in 0..pick(rng, &[0, 1, 2, 5]) {
                let key = value(rng, key);
                let known = |entry: &(OwnedDatum, _)| same(entry.0.as_datum(), key.as_datum());
                if !entries.iter().any(known) {
                    entries.push((key, value(rng, of)));
                }
            }
            OwnedDatum::Map(entries)
        }
        TypeKind::Row(fields) => {
            OwnedDatum::Row(fields.iter().map(|field| value(rng, &field.data_type)).collect())
        }
    }
}

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.below(from.len() as u64) as usize]
}

fn integer(rng: &mut Rng, bits: u32) -> i64 {
    let (low, high) = (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits));
    match rng.below(5) {
        0 => low,
        1 => high,
        2 => rng.below(3) as i64 - 1,
        _ => (rng.next_u64() as i64) >> (64 - bits),
    }
}

/// Bits of any number, now and then of zero.
fn bits(rng: &mut Rng) -> u64 {
    if rng.one_in(10) { 0 } else { rng.next_u64() }
}

fn decimal(rng: &mut Rng, precision: u8, scale: u8) -> Decimal {
    let bound = 10_i128.pow(u32::from(precision));
    let random = (i128::from(rng.next_u64() as i64) << 64) | i128::from(rng.next_u64());
    let unscaled = match rng.below(4) {
        0 => bound - 1,
        1 => 1 - bound,
        _ => random % bound,
    };
    Decimal::new(unscaled, scale)
}

/// A text of at most `limit` bytes.
fn text(rng: &mut Rng, limit: usize) -> String {
    let letters = ["a", "Z", " ", "\"", "é", "水", "🌊", "\n"];
    let mut text = String::new();
    for _ in 0..rng.below(limit as u64 + 1) {
        let letter = pick(rng, &letters);
        if text.len() + letter.len() <= limit {
            text.push_str(letter);
        }
    }
    text
}

fn bytes(rng: &mut Rng, length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
    if let Some(last) = bytes.last_mut() {
        *last |= 1;
    }
    bytes
}

/// A point in time that a column of this precision holds without loss, in every format.
fn timestamp(rng: &mut Rng, precision: u8) -> Timestamp {
    let grain = i64::from(grain_of(precision));
    let whole = |value: i64, grain: i64| value / grain * grain;
    match precision {
        0..=3 => Timestamp::from_millis(whole(integer(rng, 60), grain / 1_000_000)),
        4..=6 => Timestamp::from_micros(whole(integer(rng, 64), grain / 1_000)),
        _ => Timestamp::from_nanos(whole(integer(rng, 64), grain)),
    }
}

/// Whether two values are the same to the bit: zeros differ by sign, and NaN equals itself.
#[must_use]
pub fn same(left: Datum<'_>, right: Datum<'_>) -> bool {
    match (left, right) {
        (Datum::Float32(left), Datum::Float32(right)) => left.to_bits() == right.to_bits(),
        (Datum::Float64(left), Datum::Float64(right)) => left.to_bits() == right.to_bits(),
        (Datum::Array(left), Datum::Array(right)) | (Datum::Row(left), Datum::Row(right)) => {
            same_items(left, right)
        }
        (Datum::Map(left), Datum::Map(right)) => same_entries(left, right),
        (left, right) => left == right,
    }
}

fn same_items(left: &dyn Items, right: &dyn Items) -> bool {
    left.count() == right.count() && (0..left.count()).all(|at| same(left.item(at), right.item(at)))
}

fn same_entries(left: &dyn Entries, right: &dyn Entries) -> bool {
    let equal = |at| {
        let ((key, value), (other_key, other)) = (left.entry(at), right.entry(at));
        same(key, other_key) && same(value, other)
    };
    left.count() == right.count() && (0..left.count()).all(equal)
}
