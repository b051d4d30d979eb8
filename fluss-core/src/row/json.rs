//! The JSON metadata of the protocol: types and schemas.
//!
//! Written by hand in the server's own key order, so that two clients' texts can be compared; read
//! with `serde_json`, unknown keys ignored.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::schema::{AggFunction, Column, Schema, SchemaError};
use super::types::{DataType, Field, TypeError, TypeKind, check_decimal, check_length, check_time};

/// A JSON object or array in the making.
pub(super) struct Writer {
    out: String,
    close: char,
    first: bool,
}

impl Writer {
    pub(super) fn object() -> Self {
        Self { out: "{".to_owned(), close: '}', first: true }
    }

    pub(super) fn array() -> Self {
        Self { out: "[".to_owned(), close: ']', first: true }
    }

    /// Writes a key, or in an array only the comma, and hands out the text to write the value to.
    fn slot(&mut self, key: Option<&str>) -> &mut String {
        if !std::mem::take(&mut self.first) {
            self.out.push(',');
        }
        if let Some(key) = key {
            push_text(&mut self.out, key);
            self.out.push(':');
        }
        &mut self.out
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        push_text(self.slot(Some(key)), value);
    }

    pub(super) fn number(&mut self, key: &str, value: i64) {
        // Writing to a String cannot fail.
        let _ = write!(self.slot(Some(key)), "{value}");
    }

    pub(super) fn raw(&mut self, key: &str, json: &str) {
        self.slot(Some(key)).push_str(json);
    }

    pub(super) fn item(&mut self, json: &str) {
        self.slot(None).push_str(json);
    }

    pub(super) fn texts<'a>(&mut self, key: &str, values: impl IntoIterator<Item = &'a str>) {
        let mut list = Self::array();
        for value in values {
            push_text(list.slot(None), value);
        }
        self.raw(key, &list.finish());
    }

    pub(super) fn map<'a>(
        &mut self,
        key: &str,
        entries: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) {
        let mut object = Self::object();
        for (name, value) in entries {
            object.text(name, value);
        }
        self.raw(key, &object.finish());
    }

    pub(super) fn finish(mut self) -> String {
        self.out.push(self.close);
        self.out
    }
}

fn push_text(out: &mut String, text: &str) {
    let _ = write!(out, "{}", Value::from(text));
}

/// An object being read; errors name the key.
pub(super) struct Reader<'a> {
    pub(super) object: &'a Map<String, Value>,
    what: &'a str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(value: &'a Value, what: &'a str) -> Result<Self, SchemaError> {
        let object = value.as_object().ok_or_else(|| {
            SchemaError::Json(format!("{what} must be an object, found {}", brief(value)))
        })?;
        Ok(Self { object, what })
    }

    /// A value that may be missing; null counts as missing.
    pub(super) fn optional(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn required(&self, key: &str) -> Result<&'a Value, SchemaError> {
        self.optional(key).ok_or_else(|| SchemaError::Json(format!("{} lacks `{key}`", self.what)))
    }

    pub(super) fn wrong(&self, key: &str, expected: &str, found: &Value) -> SchemaError {
        let what = self.what;
        SchemaError::Json(format!("`{key}` of {what} must be {expected}, found {}", brief(found)))
    }

    pub(super) fn text(&self, key: &str) -> Result<&'a str, SchemaError> {
        let value = self.required(key)?;
        value.as_str().ok_or_else(|| self.wrong(key, "a string", value))
    }

    pub(super) fn optional_text(&self, key: &str) -> Result<Option<String>, SchemaError> {
        match self.optional(key) {
            None => Ok(None),
            Some(_) => self.text(key).map(|text| Some(text.to_owned())),
        }
    }

    pub(super) fn integer(&self, key: &str) -> Result<i64, SchemaError> {
        let value = self.required(key)?;
        value.as_i64().ok_or_else(|| self.wrong(key, "an integer", value))
    }

    /// An id, where a missing or negative one means none.
    fn id(&self, key: &str) -> Result<Option<i32>, SchemaError> {
        let Some(value) = self.optional(key) else { return Ok(None) };
        let id = value.as_i64().and_then(|id| i32::try_from(id).ok());
        let id = id.ok_or_else(|| self.wrong(key, "a 32-bit integer", value))?;
        Ok((id >= 0).then_some(id))
    }

    pub(super) fn list(&self, key: &str) -> Result<&'a [Value], SchemaError> {
        let value = self.required(key)?;
        value.as_array().map(Vec::as_slice).ok_or_else(|| self.wrong(key, "a list", value))
    }

    /// A list of strings; missing means empty.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, SchemaError> {
        if self.optional(key).is_none() {
            return Ok(Vec::new());
        }
        let texts = self.list(key)?.iter().map(|item| {
            item.as_str().map(str::to_owned).ok_or_else(|| self.wrong(key, "strings", item))
        });
        texts.collect()
    }

    /// An object of strings; missing means empty.
    pub(super) fn map(&self, key: &str) -> Result<Vec<(String, String)>, SchemaError> {
        let Some(value) = self.optional(key) else { return Ok(Vec::new()) };
        let object = value.as_object().ok_or_else(|| self.wrong(key, "an object", value))?;
        let entries = object.iter().map(|(name, value)| match value.as_str() {
            Some(text) => Ok((name.clone(), text.to_owned())),
            None => Err(self.wrong(key, "an object of strings", value)),
        });
        entries.collect()
    }
}

/// A value in an error message, cut to a readable length.
fn brief(value: &Value) -> String {
    super::error::shorten(&value.to_string())
}

pub(super) fn parse(bytes: &[u8]) -> Result<Value, SchemaError> {
    serde_json::from_slice(bytes).map_err(|error| SchemaError::Json(error.to_string()))
}

impl DataType {
    /// The type as JSON of the protocol, `{"type":"BIGINT","nullable":false}`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = Writer::object();
        json.text("type", root(&self.kind));
        if !self.nullable {
            json.raw("nullable", "false");
        }
        match &self.kind {
            TypeKind::Char(n) | TypeKind::Binary(n) => json.number("length", i64::from(*n)),
            TypeKind::Decimal { precision, scale } => {
                json.number("precision", i64::from(*precision));
                json.number("scale", i64::from(*scale));
            }
            TypeKind::Time(p) | TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p) => {
                json.number("precision", i64::from(*p));
            }
            TypeKind::Array(element) => json.raw("element_type", &element.to_json()),
            TypeKind::Map(key, value) => {
                json.raw("key_type", &key.to_json());
                json.raw("value_type", &value.to_json());
            }
            TypeKind::Row(fields) => {
                let mut list = Writer::array();
                for field in fields {
                    list.item(&field_json(field));
                }
                json.raw("fields", &list.finish());
            }
            _ => {}
        }
        json.finish()
    }

    /// Reads the JSON of the protocol.
    ///
    /// # Errors
    /// [`SchemaError::Json`] for malformed text; [`SchemaError::Type`] for invalid parameters.
    pub fn from_json(bytes: &[u8]) -> Result<Self, SchemaError> {
        type_from(&parse(bytes)?)
    }
}

fn field_json(field: &Field) -> String {
    let mut json = Writer::object();
    json.text("name", &field.name);
    json.raw("field_type", &field.data_type.to_json());
    if let Some(comment) = &field.comment {
        json.text("description", comment);
    }
    json.number("field_id", i64::from(field.id.unwrap_or(-1)));
    json.finish()
}

fn root(kind: &TypeKind) -> &'static str {
    match kind {
        TypeKind::Boolean => "BOOLEAN",
        TypeKind::TinyInt => "TINYINT",
        TypeKind::SmallInt => "SMALLINT",
        TypeKind::Int => "INTEGER",
        TypeKind::BigInt => "BIGINT",
        TypeKind::Float => "FLOAT",
        TypeKind::Double => "DOUBLE",
        TypeKind::Decimal { .. } => "DECIMAL",
        TypeKind::Char(_) => "CHAR",
        TypeKind::String => "STRING",
        TypeKind::Binary(_) => "BINARY",
        TypeKind::Bytes => "BYTES",
        TypeKind::Date => "DATE",
        TypeKind::Time(_) => "TIME_WITHOUT_TIME_ZONE",
        TypeKind::Timestamp(_) => "TIMESTAMP_WITHOUT_TIME_ZONE",
        TypeKind::TimestampLtz(_) => "TIMESTAMP_WITH_LOCAL_TIME_ZONE",
        TypeKind::Array(_) => "ARRAY",
        TypeKind::Map(..) => "MAP",
        TypeKind::Row(_) => "ROW",
    }
}

/// The depth of the JSON bounds this recursion: the parser refuses more than 128 levels.
fn type_from(value: &Value) -> Result<DataType, SchemaError> {
    let json = Reader::new(value, "a type")?;
    let invalid =
        |source: TypeError| SchemaError::Type { column: String::from("(in JSON)"), source };
    let kind = match json.text("type")? {
        "BOOLEAN" => TypeKind::Boolean,
        "TINYINT" => TypeKind::TinyInt,
        "SMALLINT" => TypeKind::SmallInt,
        "INTEGER" => TypeKind::Int,
        "BIGINT" => TypeKind::BigInt,
        "FLOAT" => TypeKind::Float,
        "DOUBLE" => TypeKind::Double,
        "STRING" => TypeKind::String,
        "BYTES" => TypeKind::Bytes,
        "DATE" => TypeKind::Date,
        "DECIMAL" => {
            check_decimal(json.integer("precision")?, json.integer("scale")?).map_err(invalid)?
        }
        "CHAR" => TypeKind::Char(check_length("CHAR", json.integer("length")?).map_err(invalid)?),
        "BINARY" => {
            TypeKind::Binary(check_length("BINARY", json.integer("length")?).map_err(invalid)?)
        }
        "TIME_WITHOUT_TIME_ZONE" => {
            TypeKind::Time(check_time("TIME", json.integer("precision")?).map_err(invalid)?)
        }
        "TIMESTAMP_WITHOUT_TIME_ZONE" => TypeKind::Timestamp(
            check_time("TIMESTAMP", json.integer("precision")?).map_err(invalid)?,
        ),
        "TIMESTAMP_WITH_LOCAL_TIME_ZONE" => TypeKind::TimestampLtz(
            check_time("TIMESTAMP_LTZ", json.integer("precision")?).map_err(invalid)?,
        ),
        "ARRAY" => TypeKind::Array(Box::new(type_from(json.required("element_type")?)?)),
        "MAP" => TypeKind::Map(
            Box::new(type_from(json.required("key_type")?)?.not_null()),
            Box::new(type_from(json.required("value_type")?)?),
        ),
        "ROW" => {
            let fields = json.list("fields")?.iter().map(field_from);
            TypeKind::Row(fields.collect::<Result<_, _>>()?)
        }
        other => {
            let other = super::error::shorten(other);
            return Err(SchemaError::Json(format!("the type `{other}` is unknown")));
        }
    };
    let nullable = match json.optional("nullable") {
        None => true,
        Some(value) => value.as_bool().ok_or_else(|| json.wrong("nullable", "a boolean", value))?,
    };
    Ok(DataType { kind, nullable })
}

fn field_from(value: &Value) -> Result<Field, SchemaError> {
    let json = Reader::new(value, "a field")?;
    Ok(Field {
        name: json.text("name")?.to_owned(),
        data_type: type_from(json.required("field_type")?)?,
        comment: json.optional_text("description")?,
        id: json.id("field_id")?,
    })
}

impl Schema {
    /// The schema as JSON of the protocol, with an id for every column and nested field
    /// ([`Schema::with_field_ids`]).
    #[must_use]
    pub fn to_json(&self) -> String {
        let schema = self.with_field_ids();
        let mut columns = Writer::array();
        for (index, column) in schema.columns().iter().enumerate() {
            columns.item(&column_json(column, schema.aggregation(index)));
        }
        let name = |index: usize| schema.columns()[index].name.as_str();
        let mut json = Writer::object();
        json.number("version", 1);
        json.raw("columns", &columns.finish());
        if !schema.primary_key().is_empty() {
            json.texts("primary_key", schema.primary_key().iter().map(|&index| name(index)));
        }
        if let Some(index) = schema.auto_increment() {
            json.texts("auto_increment_column", [name(index)]);
        }
        json.number("highest_field_id", i64::from(schema.highest_field_id()));
        json.finish()
    }

    /// Reads the JSON of the protocol.
    ///
    /// # Errors
    /// [`SchemaError::Json`] for malformed text, otherwise what is wrong with the schema itself.
    pub fn from_json(bytes: &[u8]) -> Result<Self, SchemaError> {
        schema_from(&parse(bytes)?)
    }

    /// The same of JSON that was read already.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn from_value(value: &Value) -> Result<Self, SchemaError> {
        schema_from(value)
    }
}

fn column_json(column: &Column, function: Option<&AggFunction>) -> String {
    let mut json = Writer::object();
    json.text("name", &column.name);
    json.raw("data_type", &column.data_type.to_json());
    if let Some(comment) = &column.comment {
        json.text("comment", comment);
    }
    if let Some(function) = function {
        let mut agg = Writer::object();
        agg.text("type", &function.name);
        if !function.parameters.is_empty() {
            let entries = function.parameters.iter();
            agg.map("parameters", entries.map(|(key, value)| (key.as_str(), value.as_str())));
        }
        json.raw("agg_function", &agg.finish());
    }
    json.number("id", i64::from(column.id.unwrap_or(-1)));
    json.finish()
}

fn column_from(
    json: &Reader<'_>,
    name: &str,
) -> Result<(Column, Option<AggFunction>), SchemaError> {
    let data_type = type_from(json.required("data_type")?)?;
    let function = match json.optional("agg_function") {
        None => None,
        Some(value) => {
            let json = Reader::new(value, "an agg_function")?;
            let mut function = AggFunction::new(json.text("type")?);
            function.parameters = json.map("parameters")?;
            Some(function)
        }
    };
    let comment = json.optional_text("comment")?;
    let id = json.id("id")?;
    Ok((Column { name: name.to_owned(), data_type, comment, id }, function))
}

pub(super) fn schema_from(value: &Value) -> Result<Schema, SchemaError> {
    let json = Reader::new(value, "the schema")?;
    let mut builder = Schema::builder().stored();
    for column in json.list("columns")? {
        let json = Reader::new(column, "a column")?;
        let name = json.text("name")?;
        let (column, function) = column_from(&json, name).map_err(|error| match error {
            SchemaError::Type { source, .. } => {
                SchemaError::Type { column: name.to_owned(), source }
            }
            SchemaError::Json(why) => {
                let name = super::error::shorten(name);
                SchemaError::Json(format!("column `{name}`: {why}"))
            }
            other => other,
        })?;
        builder = builder.push(column, function);
    }
    builder = builder.primary_key(json.texts("primary_key")?);
    let mut auto_increment = json.texts("auto_increment_column")?.into_iter();
    if let Some(name) = auto_increment.next() {
        builder = builder.auto_increment(name);
    }
    if let Some(second) = auto_increment.next() {
        let list = "auto-increment column";
        return Err(SchemaError::Repeated { list, column: second });
    }
    if let Some(highest) = json.id("highest_field_id")? {
        builder = builder.highest_field_id(highest);
    }
    builder.build()
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
