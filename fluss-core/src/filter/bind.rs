//! A condition on the columns of a table.

use fluss_proto::message::{PbCompoundPredicate, PbLeafPredicate, PbPredicate};
use prost::Message;

use super::literal::{Literals, null};
use super::{Filter, Leaf, MAX_DEPTH, Node, Test};
use crate::error::{Error, Result};
use crate::row::{Column, OwnedDatum, RowError, Schema, TypeKind};

/// The most bytes of a condition that go with each fetch.
const MAX_WIRE_BYTES: usize = 64 << 10;

/// A condition whose columns and literals fit a table.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(super) root: Branch,
    /// Positions in the table of the columns that are asked.
    columns: Vec<usize>,
    wire: Option<PbPredicate>,
}

#[derive(Clone, Debug)]
pub(super) enum Branch {
    Leaf(Question),
    And(Vec<Branch>),
    Or(Vec<Branch>),
}

/// What is asked of one column.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// Which of the columns that are asked.
    pub(super) column: usize,
    pub(super) kind: TypeKind,
    pub(super) test: Test,
    /// Those that are not null, in order.
    pub(super) literals: Literals,
    /// Whether it is true of no row, because of a literal that is null.
    pub(super) never: bool,
}

impl Filter {
    /// The condition on this table.
    ///
    /// # Errors
    /// [`Error::Misuse`] that names the column, and the literal, that does not fit.
    pub(crate) fn bind(&self, schema: &Schema) -> Result<Bound> {
        let mut columns = Vec::new();
        let (root, wire) = bind(self, schema, &mut columns)?;
        let wire = wire.filter(|wire| wire.encoded_len() <= MAX_WIRE_BYTES);
        Ok(Bound { root, columns, wire })
    }
}

impl Bound {
    /// Positions in the table of the columns that have to be there.
    pub(crate) fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// What servers are told of it, which is true of each row of which the condition is. None if
    /// there is nothing that they could leave out by it.
    pub(crate) fn wire(&self) -> Option<&PbPredicate> {
        self.wire.as_ref()
    }
}

/// Both for this client, and for servers as far as they can be told. The depth of a filter is
/// limited, so this ends.
fn bind(
    filter: &Filter,
    schema: &Schema,
    columns: &mut Vec<usize>,
) -> Result<(Branch, Option<PbPredicate>)> {
    let parts = match &filter.node {
        Node::Leaf(leaf) => return bind_leaf(leaf, schema, columns),
        Node::And(parts) | Node::Or(parts) => parts,
        Node::TooDeep => {
            return Err(Error::misuse(format!(
                "the filter is nested deeper than {MAX_DEPTH} levels of `and` and `or`"
            )));
        }
    };
    let bound = parts.iter().map(|part| bind(part, schema, columns));
    let (branches, wires): (Vec<Branch>, Vec<Option<PbPredicate>>) =
        bound.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    Ok(match &filter.node {
        // What they are not told of, they do not ask.
        Node::And(_) => {
            let told = wires.into_iter().flatten().collect();
            (Branch::And(branches), compound(0, told))
        }
        _ => {
            let told = wires.into_iter().collect::<Option<Vec<_>>>();
            (Branch::Or(branches), told.and_then(|told| compound(1, told)))
        }
    })
}

fn compound(function: i32, mut children: Vec<PbPredicate>) -> Option<PbPredicate> {
    if children.len() < 2 {
        return children.pop();
    }
    let compound = PbCompoundPredicate { function, children };
    Some(PbPredicate { r#type: 1, leaf: None, compound: Some(compound) })
}

fn bind_leaf(
    leaf: &Leaf,
    schema: &Schema,
    columns: &mut Vec<usize>,
) -> Result<(Branch, Option<PbPredicate>)> {
    let found = schema.indexes_of("filter", &[&leaf.column]);
    let found = found.map_err(|error| Error::misuse(error.to_string()))?;
    // One name has one place.
    let place = found.first().copied().unwrap_or_default();
    let column = &schema.columns()[place];
    let kind = &column.data_type.kind;
    let refused = |why: &str| {
        let (name, data_type) = (&column.name, &column.data_type);
        Error::misuse(format!("filter: column `{name}` of type {data_type}: {why}"))
    };
    let mut literals = Literals::of(kind)
        .ok_or_else(|| refused("a filter can ask scalar columns only, no ARRAY, MAP or ROW"))?;
    let is_text = matches!(kind, TypeKind::Char(_) | TypeKind::String);
    if matches!(leaf.test, Test::StartsWith | Test::EndsWith | Test::Contains) && !is_text {
        return Err(refused("starts_with, ends_with and contains are for CHAR and STRING"));
    }
    let (mut wire, mut has_null) = (Vec::with_capacity(leaf.literals.len()), false);
    for literal in &leaf.literals {
        if *literal == OwnedDatum::Null {
            has_null = true;
            wire.push(null(kind));
            continue;
        }
        let literal = literal.as_datum();
        wire.push(literals.push(kind, literal).map_err(|why| {
            let error = RowError::value(&column.name, literal, &column.data_type, why);
            Error::misuse(format!("filter: {error}"))
        })?);
    }
    literals.sort();
    let at = columns.iter().position(|known| *known == place).unwrap_or_else(|| {
        columns.push(place);
        columns.len() - 1
    });
    let never = has_null && leaf.test != Test::In;
    let (kind, test) = (kind.clone(), leaf.test);
    let wire = told(leaf, column).then(|| PbPredicate {
        r#type: 0,
        leaf: Some(PbLeafPredicate {
            function: test as i32,
            field_id: column.id.unwrap_or_default(),
            literals: wire,
        }),
        compound: None,
    });
    Ok((Branch::Leaf(Question { column: at, kind, test, literals, never }), wire))
}

/// Whether servers can be told: they know columns by their ids.
///
/// What texts begin with they compare in UTF-16, while the smallest and the largest text of a batch
/// are those in the order of bytes. The two differ beyond U+D7FF, and servers then leave out
/// batches that have such texts.
fn told(leaf: &Leaf, column: &Column) -> bool {
    let is_far = |literal: &OwnedDatum| {
        literal.as_datum().as_str().is_some_and(|text| text.chars().any(|c| c > '\u{d7ff}'))
    };
    column.id.is_some() && !(leaf.test == Test::StartsWith && leaf.literals.iter().any(is_far))
}
