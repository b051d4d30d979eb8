//! Which rows of a log are wanted.
//!
//! | room | what it holds |
//! |---|---|
//! | [`bind`] | columns found by name, literals brought to their types |
//! | [`literal`] | literals of one type |
//! | [`judge`] | which rows of decoded columns pass |

mod bind;
mod judge;
mod literal;
#[cfg(test)]
pub(crate) mod testkit;
#[cfg(test)]
mod tests;

pub(crate) use bind::Bound;

use std::sync::Arc;

use fluss_proto::message::PbPredicate;

use crate::error::{Error, Result};
use crate::row::{Datum, OwnedDatum, Schema};

/// How deep conditions may be nested. Ends of an `and` within an `and` are one level, and so are
/// those of an `or` within an `or`. Messages that are nested far deeper are refused by whoever
/// decodes them.
const MAX_DEPTH: usize = 32;

/// A condition on the values of a row, for [`ScanBuilder::filter`](crate::ScanBuilder::filter).
///
/// ```
/// use fluss_core::{Filter, col};
///
/// let large = col("amount").gt(1000).and(col("city").is_in(["Ulm", "Bonn"]));
/// let odd = col("amount").is_null().or(col("note").contains("test"));
/// let wanted: Filter = large.or(odd);
/// # drop(wanted);
/// ```
///
/// Columns are named as in the table, also those that the scan leaves out. A literal is whatever
/// `row!` takes. It must be a value that the column can hold, and is brought to the column's type:
/// any integer or floating-point number for which that loses nothing, integers also for DECIMAL.
/// The lengths of CHAR and BINARY do not count. ARRAY, MAP and ROW columns have no conditions.
///
/// **Null.** As in SQL, a comparison with null is neither true nor false, and a row is wanted only
/// if the whole condition is true. So a null in the row passes `is_null` and nothing else, not even
/// `ne` or `not_in`; and a literal that is null makes `eq` and its like pass no row, and `not_in`
/// too, while `is_in` goes by its other literals. `is_in` of nothing passes no row, `not_in` of
/// nothing those that are not null.
///
/// **Order.** Numbers and times by their value, false before true, texts and bytes by their bytes,
/// unsigned, one by one. FLOAT and DOUBLE are ordered as `Double.compare` of Java does it, which is
/// how servers compare: NaN equals itself and is above all numbers, and -0.0 is below 0.0 and not
/// equal to it. A TIME has milliseconds, whatever its column says.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a condition does nothing until a scan is built with it"]
pub struct Filter {
    node: Node,
    depth: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Leaf(Leaf),
    And(Vec<Filter>),
    Or(Vec<Filter>),
    /// More than [`MAX_DEPTH`] levels, which are not kept.
    TooDeep,
}

#[derive(Clone, Debug, PartialEq)]
struct Leaf {
    column: String,
    test: Test,
    literals: Vec<OwnedDatum>,
}

/// What a column's value is asked, with the numbers that requests have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Equal = 0,
    NotEqual = 1,
    Less = 2,
    LessOrEqual = 3,
    Greater = 4,
    GreaterOrEqual = 5,
    IsNull = 6,
    IsNotNull = 7,
    StartsWith = 8,
    Contains = 9,
    EndsWith = 10,
    In = 11,
    NotIn = 12,
}

impl Filter {
    /// What servers can be told of it, of a table with this schema and its id; None if there is
    /// nothing that they could leave out by it. What they send is to be filtered all the same.
    ///
    /// # Errors
    /// [`Error::Misuse`] that names the column, and the value, that does not fit, or for a negative
    /// id.
    pub fn for_servers(&self, schema: &Schema, id: i16) -> Result<Option<ServerFilter>> {
        let bound = self.bind(schema)?;
        bound.wire().map(|predicate| ServerFilter::new(predicate.clone(), id)).transpose()
    }

    /// Both conditions.
    pub fn and(self, other: Self) -> Self {
        Self::joined(
            self,
            other,
            |node| match node {
                Node::And(parts) => Ok(parts),
                other => Err(other),
            },
            Node::And,
        )
    }

    /// At least one of the conditions.
    pub fn or(self, other: Self) -> Self {
        Self::joined(
            self,
            other,
            |node| match node {
                Node::Or(parts) => Ok(parts),
                other => Err(other),
            },
            Node::Or,
        )
    }

    /// Asked instead of compared, which takes longer the more there is to compare.
    fn is_too_deep(&self) -> bool {
        matches!(self.node, Node::TooDeep)
    }

    fn joined(
        left: Self,
        right: Self,
        parts_of: fn(Node) -> std::result::Result<Vec<Self>, Node>,
        join: fn(Vec<Self>) -> Node,
    ) -> Self {
        let deep = left.is_too_deep() || right.is_too_deep();
        let (mut parts, mut depth) = (Vec::new(), 0);
        for side in [left, right] {
            let below = side.depth;
            match parts_of(side.node) {
                Ok(more) => {
                    depth = depth.max(below);
                    // Most chains grow at their end.
                    if parts.is_empty() {
                        parts = more;
                    } else {
                        parts.extend(more);
                    }
                }
                Err(node) => {
                    depth = depth.max(below + 1);
                    parts.push(Self { node, depth: below });
                }
            }
        }
        let deep = deep || depth > MAX_DEPTH;
        Self { node: if deep { Node::TooDeep } else { join(parts) }, depth }
    }
}

/// What servers are told of a [`Filter`], for
/// [`ScannerOptions::filter`](crate::ScannerOptions::filter): true of each row of which the filter
/// is.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerFilter {
    predicate: Arc<PbPredicate>,
    schema: i16,
}

impl ServerFilter {
    /// `schema` is the id of the schema whose column ids the predicate names.
    pub(crate) fn new(predicate: PbPredicate, schema: i16) -> Result<Self> {
        if schema < 0 {
            return Err(Error::misuse(format!("a filter: {schema} is the id of no schema")));
        }
        Ok(Self { predicate: Arc::new(predicate), schema })
    }

    /// As a request has it, with the id of its schema.
    pub(crate) fn wire(&self) -> (PbPredicate, i32) {
        ((*self.predicate).clone(), self.schema.into())
    }
}

/// A column of which something is asked; see [`col`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a column alone is no condition"]
pub struct FilterColumn(String);

/// The column of this name, for a [`Filter`].
pub fn col(name: impl Into<String>) -> FilterColumn {
    FilterColumn(name.into())
}

impl FilterColumn {
    fn leaf(self, test: Test, literals: Vec<OwnedDatum>) -> Filter {
        Filter { node: Node::Leaf(Leaf { column: self.0, test, literals }), depth: 0 }
    }

    fn compare<'a>(self, test: Test, literal: impl Into<Datum<'a>>) -> Filter {
        self.leaf(test, vec![literal.into().into()])
    }

    fn list<'a, L: Into<Datum<'a>>>(
        self,
        test: Test,
        literals: impl IntoIterator<Item = L>,
    ) -> Filter {
        self.leaf(test, literals.into_iter().map(|literal| literal.into().into()).collect())
    }

    fn text(self, test: Test, text: impl Into<String>) -> Filter {
        self.leaf(test, vec![OwnedDatum::Str(text.into())])
    }

    /// It equals this value.
    pub fn eq<'a>(self, literal: impl Into<Datum<'a>>) -> Filter {
        self.compare(Test::Equal, literal)
    }

    /// It is another value than this one, and not null.
    pub fn ne<'a>(self, literal: impl Into<Datum<'a>>) -> Filter {
        self.compare(Test::NotEqual, literal)
    }

    /// It is less than this value.
    pub fn lt<'a>(self, literal: impl Into<Datum<'a>>) -> Filter {
        self.compare(Test::Less, literal)
    }

    /// It is this value or less.
    pub fn le<'a>(self, literal: impl Into<Datum<'a>>) -> Filter {
        self.compare(Test::LessOrEqual, literal)
    }

    /// It is greater than this value.
    pub fn gt<'a>(self, literal: impl Into<Datum<'a>>) -> Filter {
        self.compare(Test::Greater, literal)
    }

    /// It is this value or greater.
    pub fn ge<'a>(self, literal: impl Into<Datum<'a>>) -> Filter {
        self.compare(Test::GreaterOrEqual, literal)
    }

    /// It is null.
    pub fn is_null(self) -> Filter {
        self.leaf(Test::IsNull, Vec::new())
    }

    /// It is not null.
    pub fn is_not_null(self) -> Filter {
        self.leaf(Test::IsNotNull, Vec::new())
    }

    /// It is one of these values.
    pub fn is_in<'a, L: Into<Datum<'a>>>(self, literals: impl IntoIterator<Item = L>) -> Filter {
        self.list(Test::In, literals)
    }

    /// It is none of these values, and not null.
    pub fn not_in<'a, L: Into<Datum<'a>>>(self, literals: impl IntoIterator<Item = L>) -> Filter {
        self.list(Test::NotIn, literals)
    }

    /// Its text begins with this one, byte for byte; of CHAR and STRING columns.
    pub fn starts_with(self, text: impl Into<String>) -> Filter {
        self.text(Test::StartsWith, text)
    }

    /// Its text ends with this one; of CHAR and STRING columns.
    pub fn ends_with(self, text: impl Into<String>) -> Filter {
        self.text(Test::EndsWith, text)
    }

    /// Its text has this one in it; of CHAR and STRING columns.
    pub fn contains(self, text: impl Into<String>) -> Filter {
        self.text(Test::Contains, text)
    }
}
