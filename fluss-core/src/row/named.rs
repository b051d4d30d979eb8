//! Rows whose values are given by the names of their columns.

use super::columns::{Columns, nameless};
use super::datum::{Datum, OwnedDatum};
use super::error::{RowError, RowErrorKind};
use super::{Row, RowSink, Schema};

/// Makes a row on the stack of names and values, each made by `Datum::from`.
///
/// A column that is not named is null. In an upsert of some columns the row names those; in a
/// delete or a lookup, columns outside the key do not count.
///
/// ```
/// use fluss_core::named_row;
/// use fluss_core::row::{DataType, RowLayout, Schema, compacted};
///
/// let schema = Schema::builder()
///     .column("id", DataType::INT)
///     .column("name", DataType::STRING)
///     .column("age", DataType::INT)
///     .build()?;
/// let layout = RowLayout::new(&schema);
/// let mut bytes = Vec::new();
/// compacted::encode(&layout, &named_row! { "name" => "a", "id" => 1 }, &mut bytes)?;
/// assert_eq!(compacted::decode(&layout, &bytes)?.datum(0).and_then(|id| id.as_i64()), Some(1));
///
/// let error = compacted::encode(&layout, &named_row! { "colour" => 7 }, &mut bytes).unwrap_err();
/// assert_eq!(error.to_string(), "there is no column for `colour`; there are: id, name, age");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! named_row {
    ($($name:expr => $value:expr),+ $(,)?) => {
        $crate::row::Named([$(($name, $crate::row::Datum::from($value))),+])
    };
}

/// A row of names and values, on the stack; made by [`named_row!`](crate::named_row).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Named<'a, const N: usize>(pub [(&'a str, Datum<'a>); N]);

impl<const N: usize> Row for Named<'_, N> {
    fn arity(&self) -> usize {
        N
    }

    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let columns = sink.columns().ok_or_else(nameless)?;
        for (at, (name, _)) in self.0.iter().enumerate() {
            columns.find(name, at)?;
            if self.0[..at].iter().any(|(earlier, _)| earlier == name) {
                let doubled = RowErrorKind::DoubledField((*name).to_owned());
                return Err(RowError::from(doubled).into());
            }
        }
        let mut guess = 0;
        for at in 0..columns.count() {
            let found = find_value(&self.0, sink, at, guess)?;
            match found {
                Some(index) => {
                    guess = index + 1;
                    sink.put(self.0[index].1)?;
                }
                None => sink.put(Datum::Null)?,
            }
        }
        Ok(())
    }
}

/// Which of the values belongs to the column at this place; None if it may be null.
#[inline]
fn find_value<S: RowSink>(
    values: &[(&str, Datum<'_>)],
    sink: &S,
    at: usize,
    guess: usize,
) -> Result<Option<usize>, RowError> {
    let columns = sink.columns().ok_or_else(nameless)?;
    let Some(column) = columns.column(at) else { return Ok(None) };
    if values.get(guess).is_some_and(|(name, _)| *name == column.name) {
        return Ok(Some(guess));
    }
    let found = values.iter().position(|(name, _)| *name == column.name);
    if found.is_none() && !columns.may_lack(at) {
        return Err(columns.missing(at));
    }
    Ok(found)
}

/// A row that is built column by column, by name, and used again for the next one; made by
/// [`Table::row`](crate::Table::row).
///
/// Columns that are not set are null. Texts and bytes are copied, into memory that is kept from row
/// to row: once it has grown, a row costs no allocation. In an upsert of some columns, those are
/// set; in a delete or a lookup, columns outside the key do not count.
///
/// ```
/// use fluss_core::row::{DataType, NamedRow, Schema};
///
/// let schema = Schema::builder()
///     .column("id", DataType::BIGINT.not_null())
///     .column("name", DataType::STRING)
///     .build()?;
/// let mut row = NamedRow::new(&schema);
/// for (id, name) in [(1_i64, "ada"), (2, "bob")] {
///     row.clear().set("id", id)?.set("name", name)?;
///     // writer.append(&row).await?;
/// }
/// let error = row.set("age", 36).unwrap_err();
/// assert_eq!(error.to_string(), "there is no column for `age`; there are: id, name");
/// let error = row.set("id", 3_i64).unwrap_err();
/// assert_eq!(error.to_string(), "the field `id` is there twice");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct NamedRow {
    schema: Schema,
    values: Vec<OwnedDatum>,
    set: Vec<bool>,
    /// The column that is likely the next one.
    guess: usize,
}

impl NamedRow {
    /// A row without values.
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        let columns = schema.columns().len();
        let values = vec![OwnedDatum::Null; columns];
        Self { schema: schema.clone(), values, set: vec![false; columns], guess: 0 }
    }

    /// Forgets all values and keeps their memory.
    pub fn clear(&mut self) -> &mut Self {
        self.set.fill(false);
        self.guess = 0;
        self
    }

    /// Sets a column. Whether the value fits its type is seen when the row is written.
    ///
    /// # Errors
    /// There is no such column, or it was set since the last [`clear`](Self::clear).
    pub fn set<'v>(
        &mut self,
        column: &str,
        value: impl Into<Datum<'v>>,
    ) -> Result<&mut Self, RowError> {
        let found = Columns::all(&self.schema).find(column, self.guess)?;
        let at = found.unwrap_or(self.values.len());
        let (Some(slot), Some(set)) = (self.values.get_mut(at), self.set.get_mut(at)) else {
            return Ok(self);
        };
        if *set {
            return Err(RowErrorKind::DoubledField(column.to_owned()).into());
        }
        assign(slot, value.into());
        *set = true;
        self.guess = at + 1;
        Ok(self)
    }

    /// The value of a column; None if it is not set, or there is none of that name.
    #[must_use]
    pub fn value(&self, column: &str) -> Option<Datum<'_>> {
        self.at(self.schema.index_of(column)?)
    }

    fn at(&self, index: usize) -> Option<Datum<'_>> {
        let set = self.set.get(index).copied().unwrap_or(false);
        self.values.get(index).filter(|_| set).map(OwnedDatum::as_datum)
    }
}

/// Takes a value over, into the memory of the one before where that is possible.
fn assign(slot: &mut OwnedDatum, value: Datum<'_>) {
    match (slot, value) {
        (OwnedDatum::Str(text), Datum::Str(value)) => {
            text.clear();
            text.push_str(value);
        }
        (OwnedDatum::Bytes(bytes), Datum::Bytes(value)) => {
            bytes.clear();
            bytes.extend_from_slice(value);
        }
        (slot, value) => *slot = value.into(),
    }
}

impl Row for NamedRow {
    fn arity(&self) -> usize {
        self.values.len()
    }

    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let columns = sink.columns().ok_or_else(nameless)?;
        for (at, column) in self.schema.columns().iter().enumerate() {
            if self.set[at] {
                columns.find(&column.name, at)?;
            }
        }
        for at in 0..columns.count() {
            let columns = sink.columns().ok_or_else(nameless)?;
            let Some(column) = columns.column(at) else { break };
            // Most often the sink's columns are those the row was made for.
            let index = match self.schema.columns().get(at) {
                Some(own) if own.name == column.name => Some(at),
                _ => self.schema.index_of(&column.name),
            };
            let datum = match index.and_then(|index| self.at(index)) {
                Some(datum) => datum,
                None if columns.may_lack(at) => Datum::Null,
                None => return Err(columns.missing(at).into()),
            };
            sink.put(datum)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "named_tests.rs"]
mod tests;
