//! Column types and schemas.

use std::sync::Arc;

/// A column type: what it holds, and whether it may be null.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DataType {
    /// What the type holds.
    pub kind: TypeKind,
    /// Whether null is allowed.
    pub nullable: bool,
}

/// The types of a Fluss table, without nullability.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TypeKind {
    /// BOOLEAN
    Boolean,
    /// TINYINT, 8 bits signed
    TinyInt,
    /// SMALLINT, 16 bits signed
    SmallInt,
    /// INT, 32 bits signed
    Int,
    /// BIGINT, 64 bits signed
    BigInt,
    /// FLOAT, IEEE 754 single
    Float,
    /// DOUBLE, IEEE 754 double
    Double,
    /// DECIMAL(precision, scale), precision 1 to 38
    Decimal {
        /// All digits
        precision: u8,
        /// Digits after the point
        scale: u8,
    },
    /// CHAR(n), n characters
    Char(u32),
    /// STRING
    String,
    /// BINARY(n), n bytes
    Binary(u32),
    /// BYTES
    Bytes,
    /// DATE
    Date,
    /// TIME(p), p digits of a second's fraction
    Time(u8),
    /// TIMESTAMP(p)
    Timestamp(u8),
    /// TIMESTAMP_LTZ(p)
    TimestampLtz(u8),
    /// ARRAY<element>
    Array(Box<DataType>),
    /// MAP<key, value>
    Map(Box<DataType>, Box<DataType>),
    /// ROW<fields>
    Row(Vec<Field>),
}

/// A field of a ROW type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// Free text.
    pub comment: Option<String>,
    /// The id the server gave it; None in a table not yet created.
    pub id: Option<i32>,
}

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

/// Columns, and which of them form the primary key. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    inner: Arc<Inner>,
}

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    columns: Vec<Column>,
    primary_key: Vec<usize>,
}

impl Schema {
    /// A schema of these columns; `primary_key` holds column indexes, empty for a log table.
    #[must_use]
    pub fn new(columns: Vec<Column>, primary_key: Vec<usize>) -> Self {
        Self { inner: Arc::new(Inner { columns, primary_key }) }
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
}
