//! Filters of FETCH_LOG as servers of the 1.0 line apply them: whole batches are left out by what
//! their statistics say. Whatever cannot be read or decided keeps a batch.

use std::cmp::Ordering;

use fluss_proto::message::{PbFetchLogReqForTable, PbLeafPredicate, PbLiteralValue, PbPredicate};
use fluss_proto::record::{Check, LogBatch};

use super::catalog::Table;
use super::log::Entry;
use crate::row::{Decimal, OwnedDatum as D, Schema, Timestamp, TypeKind};

/// A filter that the server understood.
#[derive(Debug)]
pub(super) enum Pruning {
    Leaf { column: i32, function: i32, literals: Vec<D> },
    All(Vec<Pruning>),
    Any(Vec<Pruning>),
}

/// What a batch says of one column.
#[derive(Debug)]
struct Told {
    rows: i64,
    nulls: i64,
    bounds: Option<(D, D)>,
}

impl Pruning {
    /// None where the server reads as if there were no filter.
    pub(super) fn new(table: &Table, request: &PbFetchLogReqForTable) -> Option<Self> {
        if table.property("table.log.format").is_some_and(|format| format != "ARROW") {
            return None;
        }
        let schema = table.schema_of(request.filter_schema_id?)?;
        Self::of(schema, request.filter_predicate.as_ref()?)
    }

    fn of(schema: &Schema, predicate: &PbPredicate) -> Option<Self> {
        match (predicate.r#type, &predicate.leaf, &predicate.compound) {
            (0, Some(leaf), _) => Self::leaf(schema, leaf),
            (1, _, Some(compound)) => {
                let parts = compound.children.iter().map(|child| Self::of(schema, child));
                let parts = parts.collect::<Option<Vec<_>>>()?;
                match compound.function {
                    0 => Some(Self::All(parts)),
                    1 => Some(Self::Any(parts)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn leaf(schema: &Schema, leaf: &PbLeafPredicate) -> Option<Self> {
        let column = schema.columns().iter().find(|column| column.id == Some(leaf.field_id))?;
        let kind = &column.data_type.kind;
        let literals = leaf.literals.iter().map(|literal| literal_of(kind, literal));
        let literals = literals.collect::<Option<Vec<_>>>()?;
        let fits = match leaf.function {
            6 | 7 => literals.is_empty(),
            8..=10 => literals.len() == 1 && matches!(kind, TypeKind::Char(_) | TypeKind::String),
            0..=5 => literals.len() == 1,
            11 | 12 => true,
            _ => false,
        };
        let (column, function) = (leaf.field_id, leaf.function);
        fits.then_some(Self::Leaf { column, function, literals })
    }

    /// Whether a batch holds no row that passes, as far as its statistics tell.
    pub(super) fn drops(&self, table: &Table, entry: &Entry) -> bool {
        let Some(schema) = table.schema_of(entry.batch.schema_id.into()) else { return false };
        let batch = LogBatch::new_checked(entry.stamped(), Check::Structure);
        let Ok(batch) = batch else { return false };
        let (block, rows) = (batch.statistics(), i64::from(entry.batch.count));
        !block.is_empty() && !self.may_pass(&|id| told(schema, &block, rows, id))
    }

    fn may_pass(&self, told: &dyn Fn(i32) -> Option<Told>) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.may_pass(told)),
            Self::Any(parts) => parts.iter().any(|part| part.may_pass(told)),
            Self::Leaf { column, function, literals } => {
                told(*column).is_none_or(|told| told.may_pass(*function, literals))
            }
        }
    }
}

impl Told {
    fn may_pass(&self, function: i32, literals: &[D]) -> bool {
        match function {
            6 => return self.nulls > 0,
            7 => return self.nulls < self.rows,
            _ if self.nulls == self.rows => return false,
            0..=5 | 8..=10 if literals == [D::Null] => return false,
            _ => {}
        }
        let Some((min, max)) = &self.bounds else { return true };
        let least = |literal: &D| compare(min, literal);
        let most = |literal: &D| compare(max, literal);
        let only = |literal: &D| least(literal).is_eq() && most(literal).is_eq();
        let within = |literal: &D| least(literal).is_le() && most(literal).is_ge();
        match (function, literals) {
            (0, [literal]) => within(literal),
            (1, [literal]) => !only(literal),
            (2, [literal]) => least(literal).is_lt(),
            (3, [literal]) => least(literal).is_le(),
            (4, [literal]) => most(literal).is_gt(),
            (5, [literal]) => most(literal).is_ge(),
            (8, [D::Str(text)]) => {
                begins(min, text, Ordering::is_le) && begins(max, text, Ordering::is_ge)
            }
            (11, _) => literals.iter().any(|literal| *literal != D::Null && within(literal)),
            (12, _) => !literals.iter().any(|literal| *literal == D::Null || only(literal)),
            _ => true,
        }
    }
}

/// Java compares texts by their UTF-16, whatever order they were found by.
fn begins(bound: &D, text: &str, or: fn(Ordering) -> bool) -> bool {
    let D::Str(bound) = bound else { return true };
    bound.starts_with(text) || or(bound.encode_utf16().cmp(text.encode_utf16()))
}

fn compare(left: &D, right: &D) -> Ordering {
    let float = |a: f64, b: f64| match (a.is_nan(), b.is_nan()) {
        (false, false) => a.total_cmp(&b),
        (a, b) => a.cmp(&b),
    };
    match (left, right) {
        (D::Bool(a), D::Bool(b)) => a.cmp(b),
        (D::Int64(a), D::Int64(b)) => a.cmp(b),
        (D::Float64(a), D::Float64(b)) => float(*a, *b),
        (D::Decimal(a), D::Decimal(b)) => a.unscaled.cmp(&b.unscaled),
        (D::Str(a), D::Str(b)) => a.as_bytes().cmp(b.as_bytes()),
        (D::Timestamp(a), D::Timestamp(b)) => a.cmp(b),
        // Both are made below, of one column.
        _ => Ordering::Equal,
    }
}

/// A literal of this column: whole numbers, dates and times in 64 bits, and floats doubled.
fn literal_of(kind: &TypeKind, literal: &PbLiteralValue) -> Option<D> {
    let (code, value) = match kind {
        TypeKind::Boolean => (0, literal.boolean_value.map(D::Bool)),
        TypeKind::TinyInt => (1, literal.int_value.map(whole)),
        TypeKind::SmallInt => (2, literal.int_value.map(whole)),
        TypeKind::Int => (3, literal.int_value.map(whole)),
        TypeKind::BigInt => (4, literal.bigint_value.map(whole)),
        TypeKind::Float => (5, literal.float_value.map(|value| D::Float64(value.into()))),
        TypeKind::Double => (6, literal.double_value.map(D::Float64)),
        TypeKind::Char(_) => (7, literal.string_value.clone().map(D::Str)),
        TypeKind::String => (8, literal.string_value.clone().map(D::Str)),
        TypeKind::Decimal { precision, scale } => {
            let unscaled = match precision {
                0..=18 => literal.decimal_value.map(i128::from),
                _ => literal.decimal_bytes.as_deref().and_then(big),
            };
            (9, unscaled.map(|unscaled| D::Decimal(Decimal::new(unscaled, *scale))))
        }
        TypeKind::Date => (10, literal.bigint_value.map(whole)),
        TypeKind::Time(_) => (11, literal.int_value.map(whole)),
        TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_) => {
            let nanos = literal.timestamp_nano_of_millis_value.and_then(|n| u32::try_from(n).ok());
            let time = literal.timestamp_millis_value.zip(nanos);
            let time = time.map(|(millis, nanos)| D::Timestamp(Timestamp { millis, nanos }));
            (if matches!(kind, TypeKind::Timestamp(_)) { 12 } else { 13 }, time)
        }
        TypeKind::Binary(_) => (14, literal.binary_value.as_ref().map(|b| D::Bytes(b.to_vec()))),
        TypeKind::Bytes => (15, literal.binary_value.as_ref().map(|b| D::Bytes(b.to_vec()))),
        TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_) => return None,
    };
    let twin = match code {
        7 => 8,
        8 => 7,
        14 => 15,
        15 => 14,
        other => other,
    };
    if literal.literal_type != code && literal.literal_type != twin {
        return None;
    }
    if literal.is_null { Some(D::Null) } else { value }
}

fn whole(value: impl Into<i64>) -> D {
    D::Int64(value.into())
}

fn big(bytes: &[u8]) -> Option<i128> {
    let first = *bytes.first().filter(|_| bytes.len() <= 16)?;
    let sign = if first & 0x80 == 0 { 0 } else { -1 };
    Some(bytes.iter().fold(sign, |sum, byte| sum << 8 | i128::from(*byte)))
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// What a statistics block says of the column with this id; None if nothing.
fn told(schema: &Schema, block: &[u8], rows: i64, id: i32) -> Option<Told> {
    let place = schema.columns().iter().position(|column| column.id == Some(id))?;
    let arity = usize::try_from(i16::from_le_bytes(number(block, 1)?)).ok()?;
    let index = |at: usize| number(block, 3 + at * 2).map(i16::from_le_bytes);
    let at = (0..arity).find(|at| index(*at).is_some_and(|i| i as usize == place))?;
    let nulls = i32::from_le_bytes(number(block, 3 + arity * 2 + at * 4)?).into();
    let row = |start: usize| {
        let length = usize::try_from(i32::from_le_bytes(number(block, start)?)).ok()?;
        block.get(start + 4..start + 4 + length)
    };
    let min = row(3 + arity * 6)?;
    let max = row(3 + arity * 6 + 4 + min.len())?;
    let kind = &schema.columns()[place].data_type.kind;
    let bound = |row| bound(kind, row, arity, at);
    Some(Told { rows, nulls, bounds: bound(min).zip(bound(max)) })
}

/// A value of a row in the ALIGNED format.
fn bound(kind: &TypeKind, row: &[u8], arity: usize, at: usize) -> Option<D> {
    if row.get((8 + at) / 8)? & (1 << ((8 + at) % 8)) != 0 {
        return None;
    }
    let slot = u64::from_le_bytes(number(row, (arity + 71) / 64 * 8 + at * 8)?);
    let (place, length) = ((slot >> 32) as usize, (slot & 0xffff_ffff) as usize);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok().map(D::Str);
    Some(match kind {
        TypeKind::Boolean => D::Bool(slot == 1),
        TypeKind::TinyInt => whole(slot as i8),
        TypeKind::SmallInt => whole(slot as i16),
        TypeKind::Int | TypeKind::Date | TypeKind::Time(_) => whole(slot as i32),
        TypeKind::BigInt => whole(slot as i64),
        TypeKind::Float => D::Float64(f32::from_bits(slot as u32).into()),
        TypeKind::Double => D::Float64(f64::from_bits(slot)),
        TypeKind::Timestamp(0..=3) | TypeKind::TimestampLtz(0..=3) => {
            D::Timestamp(Timestamp::from_millis(slot as i64))
        }
        TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_) => {
            let millis = i64::from_le_bytes(number(row, place)?);
            D::Timestamp(Timestamp { millis, nanos: length as u32 })
        }
        TypeKind::Decimal { precision: 0..=18, scale } => {
            D::Decimal(Decimal::new((slot as i64).into(), *scale))
        }
        TypeKind::Decimal { scale, .. } => {
            D::Decimal(Decimal::new(big(row.get(place..place + length)?)?, *scale))
        }
        TypeKind::Char(_) | TypeKind::String if slot >> 63 == 1 => {
            let inline = slot.to_le_bytes();
            text(inline.get(..usize::from(inline[7] & 0x7f))?)?
        }
        TypeKind::Char(_) | TypeKind::String => text(row.get(place..place + length)?)?,
        _ => return None,
    })
}
