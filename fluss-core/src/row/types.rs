//! Column types.

/// A column type: what it holds, and whether it may be null.
///
/// `DataType::BIGINT`, `DataType::decimal(10, 2)` and their like are nullable; `not_null()` makes
/// them NOT NULL. The SQL text parses and prints:
///
/// ```
/// use fluss_core::row::DataType;
///
/// let parsed: DataType = "decimal(10, 2) not null".parse().unwrap();
/// assert_eq!(parsed, DataType::decimal(10, 2).not_null());
/// assert_eq!(parsed.to_string(), "DECIMAL(10, 2) NOT NULL");
/// ```
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
    /// `ARRAY<element>`
    Array(Box<DataType>),
    /// `MAP<key, value>`
    Map(Box<DataType>, Box<DataType>),
    /// `ROW<fields>`
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

impl Field {
    /// A field without comment and id.
    pub fn new(name: impl Into<String>, data_type: DataType) -> Self {
        Self { name: name.into(), data_type, comment: None, id: None }
    }
}

/// The parameters of a type are out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypeError {
    /// A DECIMAL precision outside 1 to 38.
    #[error("DECIMAL precision {0} is out of range: use 1 to 38")]
    DecimalPrecision(i64),
    /// A DECIMAL scale outside 0 to its precision.
    #[error("DECIMAL scale {scale} is out of range: use 0 to the precision, {precision}")]
    DecimalScale {
        /// The precision it has to fit.
        precision: u8,
        /// The scale found.
        scale: i64,
    },
    /// A TIME or TIMESTAMP precision outside 0 to 9.
    #[error("{root} precision {precision} is out of range: use 0 to 9 digits")]
    TimePrecision {
        /// The type's name.
        root: &'static str,
        /// The precision found.
        precision: i64,
    },
    /// A CHAR or BINARY length outside 1 to 2,147,483,647.
    #[error("{root} length {length} is out of range: use 1 to 2147483647")]
    Length {
        /// The type's name.
        root: &'static str,
        /// The length found.
        length: i64,
    },
    /// A blank field name in a ROW.
    #[error("a ROW field has a blank name: give it one")]
    BlankField,
    /// The same field name twice in a ROW.
    #[error("the ROW field `{0}` is given twice: rename one of them")]
    DuplicateField(String),
    /// A MAP whose key may be null.
    #[error("a MAP key must be NOT NULL: add NOT NULL to the key's type")]
    NullableMapKey,
}

impl TypeKind {
    /// This type, null allowed.
    #[must_use]
    pub fn nullable(self) -> DataType {
        DataType { kind: self, nullable: true }
    }

    /// Whether the type has no parts: everything but ARRAY, MAP and ROW.
    #[must_use]
    pub fn is_scalar(&self) -> bool {
        !matches!(self, Self::Array(_) | Self::Map(..) | Self::Row(_))
    }
}

impl DataType {
    /// BOOLEAN
    pub const BOOLEAN: Self = Self { kind: TypeKind::Boolean, nullable: true };
    /// TINYINT
    pub const TINYINT: Self = Self { kind: TypeKind::TinyInt, nullable: true };
    /// SMALLINT
    pub const SMALLINT: Self = Self { kind: TypeKind::SmallInt, nullable: true };
    /// INT
    pub const INT: Self = Self { kind: TypeKind::Int, nullable: true };
    /// BIGINT
    pub const BIGINT: Self = Self { kind: TypeKind::BigInt, nullable: true };
    /// FLOAT
    pub const FLOAT: Self = Self { kind: TypeKind::Float, nullable: true };
    /// DOUBLE
    pub const DOUBLE: Self = Self { kind: TypeKind::Double, nullable: true };
    /// STRING
    pub const STRING: Self = Self { kind: TypeKind::String, nullable: true };
    /// BYTES
    pub const BYTES: Self = Self { kind: TypeKind::Bytes, nullable: true };
    /// DATE
    pub const DATE: Self = Self { kind: TypeKind::Date, nullable: true };

    /// DECIMAL(precision, scale); precision 1 to 38, scale 0 to precision.
    #[must_use]
    pub const fn decimal(precision: u8, scale: u8) -> Self {
        Self { kind: TypeKind::Decimal { precision, scale }, nullable: true }
    }

    /// CHAR(length)
    #[must_use]
    pub const fn char(length: u32) -> Self {
        Self { kind: TypeKind::Char(length), nullable: true }
    }

    /// BINARY(length)
    #[must_use]
    pub const fn binary(length: u32) -> Self {
        Self { kind: TypeKind::Binary(length), nullable: true }
    }

    /// TIME(precision), 0 to 9 digits.
    #[must_use]
    pub const fn time(precision: u8) -> Self {
        Self { kind: TypeKind::Time(precision), nullable: true }
    }

    /// TIMESTAMP(precision), 0 to 9 digits.
    #[must_use]
    pub const fn timestamp(precision: u8) -> Self {
        Self { kind: TypeKind::Timestamp(precision), nullable: true }
    }

    /// TIMESTAMP_LTZ(precision), 0 to 9 digits.
    #[must_use]
    pub const fn timestamp_ltz(precision: u8) -> Self {
        Self { kind: TypeKind::TimestampLtz(precision), nullable: true }
    }

    /// `ARRAY<element>`
    #[must_use]
    pub fn array(element: Self) -> Self {
        TypeKind::Array(Box::new(element)).nullable()
    }

    /// `MAP<key, value>`; the key is made NOT NULL, as every client does.
    #[must_use]
    pub fn map(key: Self, value: Self) -> Self {
        TypeKind::Map(Box::new(key.not_null()), Box::new(value)).nullable()
    }

    /// `ROW<fields>`
    #[must_use]
    pub fn row(fields: Vec<Field>) -> Self {
        TypeKind::Row(fields).nullable()
    }

    /// The same type without null.
    #[must_use]
    pub fn not_null(mut self) -> Self {
        self.nullable = false;
        self
    }

    /// Checks the parameters of this type and of all types inside it.
    ///
    /// # Errors
    /// The first parameter that is out of range.
    pub fn validate(&self) -> Result<(), TypeError> {
        match &self.kind {
            TypeKind::Decimal { precision, scale } => {
                check_decimal(i64::from(*precision), i64::from(*scale)).map(|_| ())
            }
            TypeKind::Char(n) => check_length("CHAR", i64::from(*n)).map(|_| ()),
            TypeKind::Binary(n) => check_length("BINARY", i64::from(*n)).map(|_| ()),
            TypeKind::Time(p) => check_time("TIME", i64::from(*p)).map(|_| ()),
            TypeKind::Timestamp(p) => check_time("TIMESTAMP", i64::from(*p)).map(|_| ()),
            TypeKind::TimestampLtz(p) => check_time("TIMESTAMP_LTZ", i64::from(*p)).map(|_| ()),
            TypeKind::Array(element) => element.validate(),
            TypeKind::Map(key, _) if key.nullable => Err(TypeError::NullableMapKey),
            TypeKind::Map(key, value) => key.validate().and_then(|()| value.validate()),
            TypeKind::Row(fields) => validate_fields(fields),
            _ => Ok(()),
        }
    }
}

fn validate_fields(fields: &[Field]) -> Result<(), TypeError> {
    let mut names = std::collections::BTreeSet::new();
    for field in fields {
        if field.name.trim().is_empty() {
            return Err(TypeError::BlankField);
        }
        if !names.insert(field.name.as_str()) {
            return Err(TypeError::DuplicateField(field.name.clone()));
        }
        field.data_type.validate()?;
    }
    Ok(())
}

pub(super) fn check_decimal(precision: i64, scale: i64) -> Result<TypeKind, TypeError> {
    let p = u8::try_from(precision)
        .ok()
        .filter(|p| (1..=38).contains(p))
        .ok_or(TypeError::DecimalPrecision(precision))?;
    let scale = u8::try_from(scale)
        .ok()
        .filter(|s| *s <= p)
        .ok_or(TypeError::DecimalScale { precision: p, scale })?;
    Ok(TypeKind::Decimal { precision: p, scale })
}

pub(super) fn check_time(root: &'static str, precision: i64) -> Result<u8, TypeError> {
    u8::try_from(precision)
        .ok()
        .filter(|p| *p <= 9)
        .ok_or(TypeError::TimePrecision { root, precision })
}

pub(super) fn check_length(root: &'static str, length: i64) -> Result<u32, TypeError> {
    u32::try_from(length)
        .ok()
        .filter(|n| (1..=i32::MAX.unsigned_abs()).contains(n))
        .ok_or(TypeError::Length { root, length })
}
