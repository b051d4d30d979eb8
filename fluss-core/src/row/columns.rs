//! Which columns a sink asks for, as rows see them that find their columns by name.

use super::error::{RowError, RowErrorKind};
use super::schema::{Column, Schema};

/// The columns that a [`RowSink`](super::RowSink) takes values for, in the order in which it takes
/// them.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    schema: &'a Schema,
    /// The ones asked for; None for all.
    chosen: Option<&'a [usize]>,
    /// Whether rows may have other columns of the schema as well.
    lenient: bool,
}

impl<'a> Columns<'a> {
    /// All columns of a schema.
    #[must_use]
    pub fn all(schema: &'a Schema) -> Self {
        Self { schema, chosen: None, lenient: false }
    }

    /// Some columns of a schema, by their indexes; another column is an error.
    #[must_use]
    pub fn only(self, chosen: &'a [usize]) -> Self {
        Self { chosen: Some(chosen), ..self }
    }

    /// Some columns of a schema, by their indexes; the others may be there and do not count.
    #[must_use]
    pub fn among(schema: &'a Schema, chosen: Option<&'a [usize]>) -> Self {
        Self { schema, chosen, lenient: true }
    }

    /// Their number.
    #[inline]
    #[must_use]
    pub fn count(&self) -> usize {
        self.chosen.map_or(self.schema.columns().len(), <[usize]>::len)
    }

    /// The column at this place, below [`count`](Self::count).
    #[inline]
    #[must_use]
    pub fn column(&self, at: usize) -> Option<&'a Column> {
        let index = match self.chosen {
            None => at,
            Some(chosen) => *chosen.get(at)?,
        };
        self.schema.columns().get(index)
    }

    /// The schema they are of.
    #[must_use]
    pub fn schema(&self) -> &'a Schema {
        self.schema
    }

    /// The place of the column with this name; None for one that does not count. `guess` is where
    /// it may well be.
    ///
    /// # Errors
    /// There is no such column, or it is none of those asked for.
    #[inline]
    pub fn find(&self, name: &str, guess: usize) -> Result<Option<usize>, RowError> {
        match self.column(guess) {
            Some(column) if column.name == name => Ok(Some(guess)),
            _ => self.search(name),
        }
    }

    fn search(&self, name: &str) -> Result<Option<usize>, RowError> {
        let Some(index) = self.schema.index_of(name) else { return Err(self.unknown(name)) };
        let Some(chosen) = self.chosen else { return Ok(Some(index)) };
        match chosen.iter().position(|chosen| *chosen == index) {
            None if !self.lenient => Err(self.unknown(name)),
            found => Ok(found),
        }
    }

    #[cold]
    fn unknown(&self, name: &str) -> RowError {
        let names: Vec<&str> =
            (0..self.count()).filter_map(|at| self.column(at)).map(|c| c.name.as_str()).collect();
        let (field, columns) = (super::error::shorten(name), names.join(", "));
        RowErrorKind::UnknownField { field, columns }.into()
    }

    /// The error that a row has no value for a column that must have one.
    #[cold]
    pub(super) fn missing(&self, at: usize) -> RowError {
        let Some(column) = self.column(at) else {
            return RowError::arity(self.count(), at);
        };
        let (column, expected) = (column.name.clone(), column.data_type.to_string());
        RowErrorKind::Missing { column, expected }.into()
    }

    /// Whether a row may leave this column out.
    #[inline]
    pub(super) fn may_lack(&self, at: usize) -> bool {
        self.column(at).is_some_and(|column| column.data_type.nullable)
    }
}

/// The error of a row by name for a sink that does not tell its columns.
#[cold]
pub(super) fn nameless() -> RowError {
    RowErrorKind::NotARow("the sink does not tell the names of its columns".to_owned()).into()
}
