//! Random conditions, and what they make of a row by the letter of the rules, value by value.

use std::cmp::Ordering;

use super::{Filter, Leaf, Node, Test, col};
use crate::rng::Rng;
use crate::row::{Datum, OwnedDatum, OwnedRow, Schema, TypeKind};
use crate::testing::random;

/// What a condition makes of a row: None for SQL's unknown.
pub(crate) fn naive(filter: &Filter, schema: &Schema, row: &OwnedRow) -> Option<bool> {
    match &filter.node {
        Node::Leaf(leaf) => {
            let place = schema.index_of(&leaf.column).expect("a column");
            let kind = &schema.columns()[place].data_type.kind;
            of_leaf(leaf, kind, row.values()[place].as_datum())
        }
        Node::And(parts) => {
            let parts: Vec<_> = parts.iter().map(|part| naive(part, schema, row)).collect();
            let known = parts.iter().all(Option::is_some);
            let false_one = parts.contains(&Some(false));
            if false_one { Some(false) } else { known.then_some(true) }
        }
        Node::Or(parts) => {
            let parts: Vec<_> = parts.iter().map(|part| naive(part, schema, row)).collect();
            let known = parts.iter().all(Option::is_some);
            if parts.contains(&Some(true)) { Some(true) } else { known.then_some(false) }
        }
        Node::TooDeep => panic!("too deep"),
    }
}

fn of_leaf(leaf: &Leaf, kind: &TypeKind, value: Datum<'_>) -> Option<bool> {
    let order = |literal: &OwnedDatum| compare(kind, value, literal.as_datum());
    let text = |literal: Option<&OwnedDatum>| {
        let (Datum::Str(text), Some(OwnedDatum::Str(part))) = (value, literal) else { panic!() };
        (text.to_owned(), part.clone())
    };
    let first = leaf.literals.first();
    let is_null = |literal: &OwnedDatum| *literal == OwnedDatum::Null;
    Some(match leaf.test {
        Test::IsNull => value.is_null(),
        Test::IsNotNull => !value.is_null(),
        Test::In | Test::NotIn => {
            if leaf.literals.is_empty() && !value.is_null() {
                return Some(leaf.test == Test::NotIn);
            }
            if value.is_null() {
                return None;
            }
            let mut known = leaf.literals.iter().filter(|literal| !is_null(literal));
            let found = known.any(|literal| order(literal).is_eq());
            if !found && leaf.literals.iter().any(is_null) {
                return None;
            }
            found == (leaf.test == Test::In)
        }
        _ if value.is_null() || first.is_none_or(is_null) => return None,
        Test::StartsWith => matches!(text(first), (text, part) if text.starts_with(&part)),
        Test::EndsWith => matches!(text(first), (text, part) if text.ends_with(&part)),
        Test::Contains => matches!(text(first), (text, part) if text.contains(&part)),
        test => {
            let order = order(first?);
            match test {
                Test::Equal => order == Ordering::Equal,
                Test::NotEqual => order != Ordering::Equal,
                Test::Less => order == Ordering::Less,
                Test::LessOrEqual => order != Ordering::Greater,
                Test::Greater => order == Ordering::Greater,
                _ => order != Ordering::Less,
            }
        }
    })
}

fn compare(kind: &TypeKind, value: Datum<'_>, literal: Datum<'_>) -> Ordering {
    match (value, literal) {
        (Datum::Bool(a), Datum::Bool(b)) => a.cmp(&b),
        (Datum::Str(a), Datum::Str(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Datum::Bytes(a), Datum::Bytes(b)) => a.cmp(b),
        (Datum::Date(a), Datum::Date(b)) | (Datum::Time(a), Datum::Time(b)) => a.cmp(&b),
        (Datum::Timestamp(a), Datum::Timestamp(b))
        | (Datum::TimestampLtz(a), Datum::TimestampLtz(b)) => {
            (a.millis, a.nanos).cmp(&(b.millis, b.nanos))
        }
        (Datum::Decimal(a), b) => {
            let TypeKind::Decimal { scale, .. } = *kind else { panic!("{kind:?}") };
            let wanted = match (b, b.as_i64()) {
                (Datum::Decimal(b), _) => b.rescaled(scale).expect("it fits").unscaled,
                (_, whole) => i128::from(whole.expect("a number")) * 10_i128.pow(u32::from(scale)),
            };
            a.unscaled.cmp(&wanted)
        }
        (Datum::Float32(_) | Datum::Float64(_), b) => {
            let number = |datum: Datum<'_>| {
                let whole = datum.as_i64().map(|value| value as f64);
                datum.as_f64().or(whole).expect("a number")
            };
            java(number(value), number(b))
        }
        (a, b) => a.as_i64().expect("an integer").cmp(&b.as_i64().expect("an integer")),
    }
}

/// `Double.compare`, as its documentation has it.
fn java(a: f64, b: f64) -> Ordering {
    if a < b {
        return Ordering::Less;
    }
    if a > b {
        return Ordering::Greater;
    }
    let bits = |value: f64| match value.is_nan() {
        true => 0x7ff8_0000_0000_0000_i64,
        false => value.to_bits() as i64,
    };
    bits(a).cmp(&bits(b))
}

/// A condition on scalar columns of the schema, with literals near the values of these rows.
pub(crate) fn random_filter(
    rng: &mut Rng,
    schema: &Schema,
    rows: &[OwnedRow],
    levels: u32,
) -> Option<Filter> {
    if levels > 0 && rng.one_in(2) {
        let both = rng.one_in(2);
        let mut filter = random_filter(rng, schema, rows, levels - 1)?;
        for _ in 0..=rng.below(2) {
            let more = random_filter(rng, schema, rows, levels - 1)?;
            filter = if both { filter.and(more) } else { filter.or(more) };
        }
        return Some(filter);
    }
    let scalars = schema.columns().iter().enumerate();
    let scalars: Vec<usize> =
        scalars.filter(|(_, c)| c.data_type.kind.is_scalar()).map(|(at, _)| at).collect();
    let place = *scalars.get(rng.below(scalars.len().max(1) as u64) as usize)?;
    let column = &schema.columns()[place];
    let data_type = crate::row::DataType { nullable: false, ..column.data_type.clone() };
    let literal = |rng: &mut Rng| {
        let row = (!rows.is_empty()).then(|| &rows[rng.below(rows.len() as u64) as usize]);
        match row.map(|row| row.values()[place].clone()) {
            Some(value) if value != OwnedDatum::Null && !rng.one_in(3) => value,
            _ if rng.one_in(10) => OwnedDatum::Null,
            _ => random::value(rng, &data_type),
        }
    };
    let name = col(&column.name);
    let is_text = matches!(data_type.kind, TypeKind::Char(_) | TypeKind::String);
    Some(match rng.below(if is_text { 14 } else { 10 }) {
        0 => name.eq(&literal(rng)),
        1 => name.ne(&literal(rng)),
        2 => name.lt(&literal(rng)),
        3 => name.le(&literal(rng)),
        4 => name.gt(&literal(rng)),
        5 => name.ge(&literal(rng)),
        6 => name.is_null(),
        7 => name.is_not_null(),
        8 | 9 => {
            let list: Vec<_> = (0..rng.below(6)).map(|_| literal(rng)).collect();
            if rng.one_in(2) { name.is_in(&list) } else { name.not_in(&list) }
        }
        what => {
            let text = match literal(rng) {
                OwnedDatum::Str(text) => text,
                _ => "a".to_owned(),
            };
            let ends: Vec<usize> =
                (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
            let mut end = || ends[rng.below(ends.len() as u64) as usize];
            let (a, b) = (end(), end());
            match what {
                10 | 11 => name.starts_with(&text[..a]),
                12 => name.ends_with(&text[a..]),
                _ => name.contains(&text[a.min(b)..a.max(b)]),
            }
        }
    })
}
