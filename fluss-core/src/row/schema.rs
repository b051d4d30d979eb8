//! Columns and schemas.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::types::{DataType, Field, TypeError, TypeKind};

/// Names that the server reserves for its own columns.
const RESERVED: [&str; 6] =
    ["__offset", "__timestamp", "__bucket", "_change_type", "_log_offset", "_commit_timestamp"];

/// The aggregation functions a column may have, as the server spells them.
const AGGREGATIONS: [&str; 14] = [
    "sum",
    "product",
    "max",
    "min",
    "last_value",
    "last_value_ignore_nulls",
    "first_value",
    "first_value_ignore_nulls",
    "listagg",
    "string_agg",
    "bool_and",
    "bool_or",
    "rbm32",
    "rbm64",
];

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// Its name, unique in the table.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// Free text.
    pub comment: Option<String>,
    /// The id the server gave it; None in a table not yet created.
    pub id: Option<i32>,
}

impl Column {
    /// A column without comment and id.
    pub fn new(name: impl Into<String>, data_type: DataType) -> Self {
        Self { name: name.into(), data_type, comment: None, id: None }
    }
}

/// How a column of a table with `table.merge-engine=aggregation` merges its values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AggFunction {
    /// The function's name, lower case with underscores: `sum`, `listagg`, ….
    pub name: String,
    /// Its parameters; only `delimiter` of `listagg` and `string_agg` is known today.
    pub parameters: Vec<(String, String)>,
}

impl AggFunction {
    /// A function without parameters. Upper case and hyphens are accepted.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_ascii_lowercase().replace('-', "_"), parameters: Vec::new() }
    }

    /// Whether the servers known today have this function; one read from a table may be newer.
    #[must_use]
    pub fn is_known(&self) -> bool {
        AGGREGATIONS.contains(&self.name.as_str())
    }

    /// Adds a parameter.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.push((key.into(), value.into()));
        self
    }
}

/// Why a schema is not a valid one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// A column name that is empty or only blanks.
    #[error("column {0} has a blank name: give it one")]
    BlankColumn(usize),
    /// The same column name twice.
    #[error("the column `{0}` is given twice: rename one of them")]
    DuplicateColumn(String),
    /// A name the server keeps for itself.
    #[error("the column name `{0}` is reserved by the server: choose another")]
    ReservedColumn(String),
    /// The type of a column is invalid.
    #[error("the type of column `{column}` is invalid")]
    Type {
        /// The column.
        column: String,
        /// What is wrong with its type.
        #[source]
        source: TypeError,
    },
    /// A list names a column that the schema lacks.
    #[error("the {list} names `{column}`, which is no column of the schema; it has: {columns}")]
    UnknownColumn {
        /// Which list.
        list: &'static str,
        /// The name.
        column: String,
        /// The columns there are.
        columns: String,
    },
    /// A list names a column twice.
    #[error("the {list} names `{column}` twice: remove one")]
    Repeated {
        /// Which list.
        list: &'static str,
        /// The name.
        column: String,
    },
    /// Some columns have ids and others do not.
    #[error("column `{0}` has no id while others have: give all columns an id or none")]
    MissingId(String),
    /// The same id twice among columns and nested fields.
    #[error("the field id {0} is used twice: column and nested field ids must be unique")]
    DuplicateId(i32),
    /// An id above the declared highest one.
    #[error("the field id {id} is above the schema's highest field id {highest}")]
    IdAboveHighest {
        /// The id.
        id: i32,
        /// The schema's claim.
        highest: i32,
    },
    /// An auto-increment column that cannot be one.
    #[error("`{column}` cannot be the auto-increment column: {reason}")]
    AutoIncrement {
        /// The column.
        column: String,
        /// Why not, and what to do.
        reason: &'static str,
    },
    /// An aggregation function that cannot be used.
    #[error("the aggregation `{function}` of column `{column}` is invalid: {reason}")]
    Aggregation {
        /// The column.
        column: String,
        /// The function.
        function: String,
        /// Why not, and what to do.
        reason: &'static str,
    },
    /// The JSON text is malformed or lacks something.
    #[error("the schema's JSON is invalid: {0}")]
    Json(String),
}

impl SchemaError {
    /// With the reason behind it, for errors that hold nothing but text.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Type { source, .. } => format!("{self}: {source}"),
            other => other.to_string(),
        }
    }
}

/// Columns, and which of them form the primary key. Cheap to clone.
///
/// ```
/// use fluss_core::row::{DataType, Schema};
///
/// let schema = Schema::builder()
///     .column("id", DataType::BIGINT.not_null())
///     .column("name", DataType::STRING)
///     .primary_key(["id"])
///     .build()
///     .unwrap();
/// assert_eq!(schema.index_of("name"), Some(1));
/// assert_eq!(schema.primary_key(), [0]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    inner: Arc<Inner>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    columns: Vec<Column>,
    primary_key: Vec<usize>,
    aggregations: Vec<Option<AggFunction>>,
    auto_increment: Option<usize>,
    highest_field_id: i32,
}

impl Schema {
    /// A schema of these columns; `primary_key` holds column indexes, empty for a log table. Names
    /// and types are taken as they are: [`Schema::builder`] checks them. Columns of the primary
    /// key become NOT NULL.
    ///
    /// # Panics
    /// If an index of the primary key is not an index of `columns`.
    #[must_use]
    pub fn new(mut columns: Vec<Column>, primary_key: Vec<usize>) -> Self {
        for &index in &primary_key {
            columns[index].data_type.nullable = false;
        }
        let mut highest_field_id = -1;
        walk_ids(&columns, &mut |id| highest_field_id = highest_field_id.max(id));
        let aggregations = vec![None; columns.len()];
        let inner =
            Inner { columns, primary_key, aggregations, auto_increment: None, highest_field_id };
        Self { inner: Arc::new(inner) }
    }

    /// Starts a schema column by column.
    #[must_use]
    pub fn builder() -> SchemaBuilder {
        SchemaBuilder::default()
    }

    /// The columns in order.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.inner.columns
    }

    /// Indexes of the primary key's columns in key order; empty for a log table.
    #[must_use]
    pub fn primary_key(&self) -> &[usize] {
        &self.inner.primary_key
    }

    /// The position of a column.
    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.inner.columns.iter().position(|column| column.name == name)
    }

    /// A column by its name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.inner.columns.iter().find(|column| column.name == name)
    }

    /// The positions of several columns, in the order given.
    ///
    /// # Errors
    /// [`SchemaError::UnknownColumn`], [`SchemaError::Repeated`]; `list` says in the message what
    /// the names are for ("bucket key", "projection").
    pub fn indexes_of<N: AsRef<str>>(
        &self,
        list: &'static str,
        names: &[N],
    ) -> Result<Vec<usize>, SchemaError> {
        let mut indexes = Vec::with_capacity(names.len().min(self.columns().len()));
        for name in names {
            let name = name.as_ref();
            let index = self.index_of(name).ok_or_else(|| SchemaError::UnknownColumn {
                list,
                column: name.to_owned(),
                columns: self.column_list(),
            })?;
            if indexes.contains(&index) {
                return Err(SchemaError::Repeated { list, column: name.to_owned() });
            }
            indexes.push(index);
        }
        Ok(indexes)
    }

    /// The aggregation function of a column, if it has one of its own.
    #[must_use]
    pub fn aggregation(&self, column: usize) -> Option<&AggFunction> {
        self.inner.aggregations.get(column)?.as_ref()
    }

    /// The column whose values the server makes, if there is one.
    #[must_use]
    pub fn auto_increment(&self) -> Option<usize> {
        self.inner.auto_increment
    }

    /// The highest id of a column or nested field ever used in this table; -1 before any was given.
    #[must_use]
    pub fn highest_field_id(&self) -> i32 {
        self.inner.highest_field_id
    }

    /// The schema with an id on every column and nested field: those that lack one get the next
    /// number in pre-order, as the server expects of whoever creates a table.
    #[must_use]
    pub fn with_field_ids(&self) -> Self {
        let mut inner = Inner::clone(&self.inner);
        let mut last = inner.highest_field_id;
        for column in &mut inner.columns {
            assign(&mut column.id, &mut column.data_type, &mut last);
        }
        inner.highest_field_id = last;
        Self { inner: Arc::new(inner) }
    }

    fn column_list(&self) -> String {
        let names: Vec<&str> = self.columns().iter().map(|c| c.name.as_str()).collect();
        names.join(", ")
    }
}

fn assign(id: &mut Option<i32>, data_type: &mut DataType, last: &mut i32) {
    if id.is_none() {
        *last = last.saturating_add(1);
        *id = Some(*last);
    }
    assign_nested(data_type, last);
}

fn assign_nested(data_type: &mut DataType, last: &mut i32) {
    match &mut data_type.kind {
        TypeKind::Array(element) => assign_nested(element, last),
        TypeKind::Map(key, value) => {
            assign_nested(key, last);
            assign_nested(value, last);
        }
        TypeKind::Row(fields) => {
            for Field { id, data_type, .. } in fields {
                assign(id, data_type, last);
            }
        }
        _ => {}
    }
}

fn walk_ids(columns: &[Column], seen: &mut impl FnMut(i32)) {
    for column in columns {
        if let Some(id) = column.id {
            seen(id);
        }
        walk_nested_ids(&column.data_type, seen);
    }
}

fn walk_nested_ids(data_type: &DataType, seen: &mut impl FnMut(i32)) {
    match &data_type.kind {
        TypeKind::Array(element) => walk_nested_ids(element, seen),
        TypeKind::Map(key, value) => {
            walk_nested_ids(key, seen);
            walk_nested_ids(value, seen);
        }
        TypeKind::Row(fields) => {
            for field in fields {
                if let Some(id) = field.id {
                    seen(id);
                }
                walk_nested_ids(&field.data_type, seen);
            }
        }
        _ => {}
    }
}

/// Builds a [`Schema`]; see there for an example.
#[derive(Clone, Debug, Default)]
pub struct SchemaBuilder {
    columns: Vec<Column>,
    aggregations: Vec<Option<AggFunction>>,
    primary_key: Vec<String>,
    auto_increment: Option<String>,
    highest_field_id: Option<i32>,
    stored: bool,
}

impl SchemaBuilder {
    /// Accepts what a server already stores although it is of no use in a new table.
    pub(super) fn stored(mut self) -> Self {
        self.stored = true;
        self
    }

    /// Adds a column.
    #[must_use]
    pub fn column(self, name: impl Into<String>, data_type: DataType) -> Self {
        self.push(Column::new(name, data_type), None)
    }

    /// Adds a column with all its parts, and its aggregation function if it has one.
    #[must_use]
    pub fn push(mut self, column: Column, aggregation: Option<AggFunction>) -> Self {
        self.columns.push(column);
        self.aggregations.push(aggregation);
        self
    }

    /// Gives the column added last a comment; without a column it does nothing.
    #[must_use]
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        if let Some(column) = self.columns.last_mut() {
            column.comment = Some(comment.into());
        }
        self
    }

    /// Gives the column added last an aggregation function; without a column it does nothing.
    #[must_use]
    pub fn aggregation(mut self, function: AggFunction) -> Self {
        if let Some(last) = self.aggregations.last_mut() {
            *last = Some(function);
        }
        self
    }

    /// Names the columns of the primary key in key order; they become NOT NULL.
    #[must_use]
    pub fn primary_key<I: IntoIterator<Item: Into<String>>>(mut self, names: I) -> Self {
        self.primary_key = names.into_iter().map(Into::into).collect();
        self
    }

    /// Names the column whose values the server makes.
    #[must_use]
    pub fn auto_increment(mut self, name: impl Into<String>) -> Self {
        self.auto_increment = Some(name.into());
        self
    }

    /// Sets the highest field id ever used; by default the highest there is.
    #[must_use]
    pub fn highest_field_id(mut self, id: i32) -> Self {
        self.highest_field_id = Some(id);
        self
    }

    /// Checks everything and makes the schema.
    ///
    /// # Errors
    /// What is wrong with the columns, the first problem found.
    pub fn build(self) -> Result<Schema, SchemaError> {
        check_columns(&self.columns, self.stored)?;
        let schema = Schema::new(self.columns, Vec::new());
        let primary_key = schema.indexes_of("primary key", &self.primary_key)?;
        let highest = check_ids(&schema, self.highest_field_id)?;
        let auto_increment = match self.auto_increment {
            Some(name) => Some(check_auto_increment(&schema, &primary_key, &name, self.stored)?),
            None => None,
        };
        let mut inner = Inner::clone(&schema.inner);
        for &index in &primary_key {
            inner.columns[index].data_type.nullable = false;
        }
        for (index, function) in self.aggregations.iter().enumerate() {
            if let Some(function) = function
                && !self.stored
            {
                check_aggregation(&inner.columns[index], function, primary_key.contains(&index))?;
            }
        }
        inner.primary_key = primary_key;
        inner.aggregations = self.aggregations;
        inner.auto_increment = auto_increment;
        inner.highest_field_id = highest;
        Ok(Schema { inner: Arc::new(inner) })
    }
}

fn check_columns(columns: &[Column], stored: bool) -> Result<(), SchemaError> {
    let mut names = BTreeSet::new();
    for (index, column) in columns.iter().enumerate() {
        if column.name.trim().is_empty() {
            return Err(SchemaError::BlankColumn(index));
        }
        if !stored && RESERVED.contains(&column.name.as_str()) {
            return Err(SchemaError::ReservedColumn(column.name.clone()));
        }
        if !names.insert(column.name.as_str()) {
            return Err(SchemaError::DuplicateColumn(column.name.clone()));
        }
        column
            .data_type
            .validate()
            .map_err(|source| SchemaError::Type { column: column.name.clone(), source })?;
    }
    Ok(())
}

fn check_ids(schema: &Schema, claimed: Option<i32>) -> Result<i32, SchemaError> {
    let columns = schema.columns();
    if columns.iter().any(|c| c.id.is_some())
        && let Some(column) = columns.iter().find(|c| c.id.is_none())
    {
        return Err(SchemaError::MissingId(column.name.clone()));
    }
    let mut seen = BTreeSet::new();
    let mut twice = None;
    walk_ids(columns, &mut |id| {
        if !seen.insert(id) {
            twice = twice.or(Some(id));
        }
    });
    if let Some(id) = twice {
        return Err(SchemaError::DuplicateId(id));
    }
    let found = schema.highest_field_id();
    match claimed {
        Some(highest) if highest < found => Err(SchemaError::IdAboveHighest { id: found, highest }),
        Some(highest) => Ok(highest),
        None => Ok(found),
    }
}

fn check_auto_increment(
    schema: &Schema,
    primary_key: &[usize],
    name: &str,
    stored: bool,
) -> Result<usize, SchemaError> {
    let index = schema.indexes_of("auto-increment column", &[name])?[0];
    let data_type = &schema.columns()[index].data_type;
    let reason = if primary_key.is_empty() {
        "only a table with a primary key can have one"
    } else if primary_key.contains(&index) {
        "it is part of the primary key"
    } else if !matches!(data_type.kind, TypeKind::Int | TypeKind::BigInt) {
        "its type must be INT or BIGINT"
    } else if !data_type.nullable && !stored {
        "no row could ever be written while it is NOT NULL; declare it nullable"
    } else {
        return Ok(index);
    };
    Err(SchemaError::AutoIncrement { column: name.to_owned(), reason })
}

fn check_aggregation(
    column: &Column,
    function: &AggFunction,
    in_key: bool,
) -> Result<(), SchemaError> {
    use TypeKind as K;
    let kind = &column.data_type.kind;
    let text = matches!(kind, K::String | K::Char(_));
    let numeric = matches!(
        kind,
        K::TinyInt | K::SmallInt | K::Int | K::BigInt | K::Float | K::Double | K::Decimal { .. }
    );
    let time = matches!(kind, K::Date | K::Time(_) | K::Timestamp(_) | K::TimestampLtz(_));
    let fits = match function.name.as_str() {
        "sum" | "product" => numeric,
        "max" | "min" => numeric || text || time,
        "listagg" | "string_agg" => text,
        "bool_and" | "bool_or" => matches!(kind, K::Boolean),
        "rbm32" | "rbm64" => matches!(kind, K::Bytes),
        _ => true,
    };
    let reason = if !function.is_known() {
        "no server knows it; use sum, product, max, min, last_value, first_value, listagg, \
         bool_and, bool_or, rbm32 or rbm64"
    } else if in_key {
        "a column of the primary key cannot be aggregated; remove the function"
    } else if !fits {
        "the function does not work on the column's type"
    } else {
        return Ok(());
    };
    Err(SchemaError::Aggregation {
        column: column.name.clone(),
        function: function.name.clone(),
        reason,
    })
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
