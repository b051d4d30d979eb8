//! Names of partitions, made of the values of the partition columns.
//!
//! A partition is addressed by its name, so every client must write a value in the same way as
//! Java's. Nothing is escaped: a value with a character that names may not have is refused.

mod values;

use std::fmt::Write as _;

pub(crate) use values::values_of;

use super::calendar::date_of;
use super::datum::{Datum, Timestamp};
use super::error::RowError;
use super::java;
use super::key::chosen;
use super::types::{DataType, TypeKind};
use super::{Columns, Row, RowSink, Schema};

/// The longest value, in characters.
const MAX_LENGTH: usize = 200;
/// The longest name that a new partition can have, in bytes: with `-p` and the shortest id behind
/// it, it names a directory of the server, of which file systems allow 255. A server takes longer
/// ones, and then has no leader for them, ever.
const MAX_NAME: usize = 252;
const DAY_MILLIS: i64 = 86_400_000;

const NULL: &str = "a partition column cannot be null";
const WRONG_TYPE: &str = "give a value of the column's type";
const RANGE: &str = "the number is out of the type's range";
const TIME_OF_DAY: &str = "a time is 0 to 86399999 milliseconds of the day";
const YEAR: &str = "the year of a partition must be 1 to 9999";
const NAME: &str = "all values joined by $ would be a name of more than 252 characters, for which \
     servers cannot make a directory";
const CHARACTERS: &str =
    "a partition's value has 1 to 200 characters, only ASCII letters, digits, _ and -";

/// Names the partition that rows of one shape belong to.
///
/// ```
/// use fluss_core::row;
/// use fluss_core::row::partition::PartitionNamer;
/// use fluss_core::row::{DataType, Datum, Schema};
///
/// let schema = Schema::builder()
///     .column("id", DataType::BIGINT)
///     .column("dt", DataType::DATE)
///     .column("region", DataType::STRING)
///     .build()
///     .unwrap();
/// let namer = PartitionNamer::new(&schema, &[1, 2]).unwrap();
/// let mut name = String::new();
/// namer.name(&row![7, Datum::Date(20_235), "EU"], &mut name).unwrap();
/// assert_eq!(name, "2025-05-27$EU");
/// ```
#[derive(Clone, Debug)]
pub struct PartitionNamer {
    schema: Schema,
    /// Position among the values handed in, and in the schema.
    parts: Box<[(usize, usize)]>,
    arity: usize,
    /// The columns of those values; None for all in order.
    given: Option<Box<[usize]>>,
    ascending: bool,
    /// Whether the partitions may have to be created.
    create: bool,
}

impl PartitionNamer {
    /// Names partitions from full rows: one value for each column of the schema.
    ///
    /// # Errors
    /// A partition column has a type that partitions cannot have: DECIMAL, ARRAY, MAP or ROW.
    ///
    /// # Panics
    /// If a position is none of the schema's.
    pub fn new(schema: &Schema, partition_key: &[usize]) -> Result<Self, RowError> {
        let all: Vec<usize> = (0..schema.columns().len()).collect();
        Self::for_values(schema, partition_key, &all)
    }

    /// Names partitions from rows that hold the values of the columns `given`, in that order.
    ///
    /// # Errors
    /// A partition column is not given, or has a type that partitions cannot have.
    ///
    /// # Panics
    /// If a position is none of the schema's.
    pub fn for_values(
        schema: &Schema,
        partition_key: &[usize],
        given: &[usize],
    ) -> Result<Self, RowError> {
        let mut parts = Vec::with_capacity(partition_key.len());
        for &index in partition_key {
            let column = &schema.columns()[index];
            let refuse = |advice| RowError::unsupported(&column.name, &column.data_type, advice);
            let is_scalar = column.data_type.kind.is_scalar();
            if !is_scalar || matches!(column.data_type.kind, TypeKind::Decimal { .. }) {
                return Err(refuse("partition by a scalar column that is no DECIMAL"));
            }
            let position = given.iter().position(|&other| other == index);
            let position = position.ok_or_else(|| refuse("rows here must give its value, too"))?;
            parts.push((position, index));
        }
        let ascending = parts.is_sorted_by(|a, b| a.0 < b.0);
        let parts = parts.into_boxed_slice();
        let (arity, given) = (given.len(), chosen(schema, given));
        Ok(Self { schema: schema.clone(), parts, arity, given, ascending, create: false })
    }

    /// Refuses values that a partition can have, but not a new one: those that begin with `__`.
    #[must_use]
    pub fn for_new(self) -> Self {
        Self { create: true, ..self }
    }

    /// Writes the partition's name, the values joined by `$`, into `out` in place of its content.
    ///
    /// # Errors
    /// The row has too few or too many values, or the value of a partition column is null, does
    /// not fit or has characters that names may not have.
    pub fn name<R: Row + ?Sized>(&self, row: &R, out: &mut String) -> Result<(), RowError> {
        out.clear();
        if self.ascending {
            return self.pass(row, &self.parts, out);
        }
        self.parts.chunks(1).try_for_each(|part| self.pass(row, part, out))
    }

    fn pass<R: Row + ?Sized>(
        &self,
        row: &R,
        parts: &[(usize, usize)],
        out: &mut String,
    ) -> Result<(), RowError> {
        let Self { schema, create, given, .. } = self;
        let given = given.as_deref();
        let mut picker = Picker { schema, given, create: *create, parts, out, position: 0 };
        row.write(&mut picker)?;
        if picker.position == self.arity {
            Ok(())
        } else {
            Err(RowError::arity(self.arity, picker.position))
        }
    }
}

struct Picker<'a> {
    schema: &'a Schema,
    given: Option<&'a [usize]>,
    create: bool,
    parts: &'a [(usize, usize)],
    out: &'a mut String,
    position: usize,
}

impl RowSink for Picker<'_> {
    type Error = RowError;

    #[inline]
    fn columns(&self) -> Option<Columns<'_>> {
        Some(Columns::among(self.schema, self.given))
    }

    fn put(&mut self, datum: Datum<'_>) -> Result<(), RowError> {
        if let Some((&(position, column), rest)) = self.parts.split_first()
            && position == self.position
        {
            if !self.out.is_empty() {
                self.out.push('$');
            }
            let column = &self.schema.columns()[column];
            let start = self.out.len();
            push_value(datum, &column.data_type, self.out)
                .and_then(|()| check_value(&self.out[start..], self.create))
                .and_then(|()| if self.create { check_name(self.out.len()) } else { Ok(()) })
                .map_err(|reason| {
                    RowError::value(&column.name, datum, &column.data_type, reason)
                })?;
            self.parts = rest;
        }
        self.position += 1;
        Ok(())
    }
}

/// Checks one value of a partition's name; `create` adds what holds only for new partitions.
///
/// # Errors
/// What names must look like.
pub fn check_value(value: &str, create: bool) -> Result<(), &'static str> {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if value.is_empty() || value.len() > MAX_LENGTH || !value.bytes().all(sound) {
        return Err(CHARACTERS);
    }
    if create && value.starts_with("__") {
        return Err("names that begin with __ are the server's own");
    }
    Ok(())
}

/// Checks the length of the whole name of a new partition.
///
/// # Errors
/// No server can keep it.
pub(crate) fn check_name(length: usize) -> Result<(), &'static str> {
    if length > MAX_NAME { Err(NAME) } else { Ok(()) }
}

/// Whether clients may write the same values of these columns differently: for numbers with a
/// fraction, different versions of Java write different digits.
pub(crate) fn has_fractions<'a>(mut types: impl Iterator<Item = &'a DataType>) -> bool {
    types.any(|t| matches!(t.kind, TypeKind::Float | TypeKind::Double))
}

/// Whether two names of partitions with these columns have the same values.
pub(crate) fn same_name(types: &[DataType], a: &str, b: &str) -> bool {
    let mut pairs = types.iter().zip(a.split('$').zip(b.split('$')));
    a == b || pairs.all(|(data_type, (a, b))| same_value(data_type, a, b))
}

/// Whether two texts in names stand for the same value.
fn same_value(data_type: &DataType, a: &str, b: &str) -> bool {
    let number = |text: &str| text.replace('_', ".");
    a == b
        || match data_type.kind {
            TypeKind::Float => {
                let bits = |text| number(text).parse::<f32>().ok().map(f32::to_bits);
                bits(a).is_some_and(|bits_of_a| bits(b) == Some(bits_of_a))
            }
            TypeKind::Double => {
                let bits = |text| number(text).parse::<f64>().ok().map(f64::to_bits);
                bits(a).is_some_and(|bits_of_a| bits(b) == Some(bits_of_a))
            }
            _ => false,
        }
}

/// Appends one value as it stands in a partition's name.
fn push_value(
    datum: Datum<'_>,
    data_type: &DataType,
    out: &mut String,
) -> Result<(), &'static str> {
    use TypeKind as K;
    // Writing to a String cannot fail.
    match (&data_type.kind, datum) {
        (_, Datum::Null) => return Err(NULL),
        (K::String | K::Char(_), Datum::Str(text)) => out.push_str(text),
        (K::Boolean, Datum::Bool(value)) => out.push_str(if value { "true" } else { "false" }),
        (K::Bytes | K::Binary(_), Datum::Bytes(bytes)) => {
            if bytes.len() > MAX_LENGTH {
                return Err(CHARACTERS);
            }
            for byte in bytes {
                let _ = write!(out, "{byte:02x}");
            }
        }
        (K::TinyInt | K::SmallInt | K::Int | K::BigInt, _) => {
            let value = datum.as_i64().ok_or(WRONG_TYPE)?;
            let bits = match data_type.kind {
                K::TinyInt => 8,
                K::SmallInt => 16,
                K::Int => 32,
                _ => 64,
            };
            if value != value << (64 - bits) >> (64 - bits) {
                return Err(RANGE);
            }
            let _ = write!(out, "{value}");
        }
        (K::Date, Datum::Date(days)) => {
            let (year, month, day) = date_of(i64::from(days));
            let _ = write!(out, "{year:04}-{month:02}-{day:02}");
        }
        (K::Time(_), Datum::Time(millis)) => {
            if !(0..DAY_MILLIS).contains(&i64::from(millis)) {
                return Err(TIME_OF_DAY);
            }
            push_clock(i64::from(millis), out);
            let _ = write!(out, "_{:03}", millis % 1000);
        }
        (K::Float, Datum::Float32(value)) => push_float(f64::from(value), &value, out),
        (K::Double, Datum::Float64(value)) => push_float(value, &value, out),
        (K::Double, Datum::Float32(value)) => {
            let value = f64::from(value);
            push_float(value, &value, out);
        }
        (K::Timestamp(_), Datum::Timestamp(value))
        | (K::TimestampLtz(_), Datum::TimestampLtz(value)) => push_timestamp(value, out)?,
        _ => return Err(WRONG_TYPE),
    }
    Ok(())
}

/// `HH-mm-ss`
fn push_clock(millis_of_day: i64, out: &mut String) {
    let seconds = millis_of_day / 1000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let _ = write!(out, "{hour:02}-{minute:02}-{second:02}");
}

fn push_timestamp(value: Timestamp, out: &mut String) -> Result<(), &'static str> {
    if value.nanos > 999_999 {
        return Err("the nanoseconds within a millisecond are 0 to 999999");
    }
    let (year, month, day) = date_of(value.millis.div_euclid(DAY_MILLIS));
    if !(1..=9999).contains(&year) {
        return Err(YEAR);
    }
    let _ = write!(out, "{year:04}-{month:02}-{day:02}-");
    let millis = value.millis.rem_euclid(DAY_MILLIS);
    push_clock(millis, out);
    let _ = write!(out, "_{:03}{:06}", millis % 1000, value.nanos);
    out.truncate(out.trim_end_matches('0').len());
    Ok(())
}

/// A number as Java's `toString` writes it, with `_` for the point and shorter names for what is
/// not finite.
fn push_float(value: f64, digits: &impl std::fmt::LowerExp, out: &mut String) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "Inf" } else { "-Inf" });
    } else {
        // Writing to a String cannot fail.
        let _ = java::write_float(value, digits, '_', out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row;

    fn name(data_type: &str, datum: Datum<'_>) -> String {
        let data_type: DataType = data_type.parse().expect("a type");
        let mut out = String::new();
        match push_value(datum, &data_type, &mut out).and_then(|()| check_value(&out, false)) {
            Ok(()) => out,
            Err(reason) => format!("refused: {reason}"),
        }
    }

    #[test]
    fn times_are_named_as_java_names_them() {
        for (millis, nanos, expected) in [
            (1_748_662_955_428, 99_988, "2025-05-31-03-42-35_428099988"),
            (1_748_662_955_428, 0, "2025-05-31-03-42-35_428"),
            (1_748_662_955_000, 99_988, "2025-05-31-03-42-35_000099988"),
            (1_748_662_955_000, 0, "2025-05-31-03-42-35_"),
            (-1_748_662_955_428, 99_988, "1914-08-03-20-17-24_572099988"),
            (1_748_662_955_400, 0, "2025-05-31-03-42-35_4"),
            (1_748_662_955_420, 0, "2025-05-31-03-42-35_42"),
            (1_748_662_955_428, 100_000, "2025-05-31-03-42-35_4281"),
        ] {
            let time = Timestamp { millis, nanos };
            assert_eq!(name("TIMESTAMP(3)", Datum::Timestamp(time)), expected);
            assert_eq!(name("TIMESTAMP_LTZ(9)", Datum::TimestampLtz(time)), expected);
        }
        for (days, expected) in [(20_235, "2025-05-27"), (0, "1970-01-01"), (-1, "1969-12-31")] {
            assert_eq!(name("DATE", Datum::Date(days)), expected);
        }
        assert_eq!(name("TIME", Datum::Time(5_402_199)), "01-30-02_199");
        assert_eq!(name("TIME", Datum::Time(0)), "00-00-00_000");
    }

    #[test]
    fn numbers_are_named_as_java_names_them() {
        for (value, expected) in [
            (1.0_f32, "1_0"),
            (100_000.0, "100000_0"),
            (1e7, "1_0E7"),
            (9_999_999.0, "9999999_0"),
            (1e-5, "1_0E-5"),
            (1e-3, "0_001"),
            (9.99e-4, "9_99E-4"),
            (-0.0, "-0_0"),
            (0.0, "0_0"),
            (5.73, "5_73"),
            (-123.456, "-123_456"),
            (f32::MIN_POSITIVE, "1_1754944E-38"),
            (f32::from_bits(1), "1_4E-45"),
            (f32::MAX, "3_4028235E38"),
            (f32::NAN, "NaN"),
            (f32::INFINITY, "Inf"),
            (f32::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(name("FLOAT", Datum::Float32(value)), expected);
        }
        for (value, expected) in [
            (1.23e-4, "1_23E-4"),
            (1e21, "1_0E21"),
            (0.1, "0_1"),
            (5e-324, "4_9E-324"),
            (0.012, "0_012"),
            (1_234_567.25, "1234567_25"),
        ] {
            assert_eq!(name("DOUBLE", Datum::Float64(value)), expected);
        }
        assert_eq!(name("SMALLINT", Datum::Int16(-32_760)), "-32760");
        assert_eq!(name("BIGINT", Datum::Int8(7)), "7");
        assert_eq!(name("BIGINT", Datum::Int64(i64::MIN)), "-9223372036854775808");
    }

    #[test]
    fn texts_bytes_and_booleans_are_named_as_they_are() {
        assert_eq!(name("STRING", Datum::Str("US")), "US");
        assert_eq!(name("BOOLEAN", Datum::Bool(true)), "true");
        let bytes = [0x10, 0x20, 0x30, 0x40, 0x50, 0xff];
        assert_eq!(name("BYTES", Datum::Bytes(&bytes)), "1020304050ff");
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        let long = "x".repeat(201);
        for (data_type, datum, part) in [
            ("STRING", Datum::Str(""), "1 to 200 characters"),
            ("STRING", Datum::Str("a b"), "1 to 200 characters"),
            ("STRING", Datum::Str("a$b"), "1 to 200 characters"),
            ("STRING", Datum::Str("é"), "1 to 200 characters"),
            ("STRING", Datum::Str(&long), "1 to 200 characters"),
            ("STRING", Datum::Int32(1), "value of the column's type"),
            ("TINYINT", Datum::Int32(128), "out of the type's range"),
            ("INT", Datum::Null, "cannot be null"),
            ("TIME", Datum::Time(-1), "milliseconds of the day"),
            ("TIMESTAMP", Datum::Timestamp(Timestamp::from_millis(i64::MAX)), "1 to 9999"),
        ] {
            let found = name(data_type, datum);
            assert!(found.starts_with("refused") && found.contains(part), "{datum:?}: {found}");
        }
        assert!(check_value("__x", true).is_err());
        assert!(check_value("__x", false).is_ok());
    }

    #[test]
    fn a_new_partition_has_a_name_that_names_a_directory() {
        let schema = Schema::builder().column("a", DataType::STRING).column("b", DataType::STRING);
        let schema = schema.build().expect("a schema");
        let namer = PartitionNamer::new(&schema, &[0, 1]).expect("names can be made");
        let [long, fits, beyond] = [200, 51, 52].map(|length| "x".repeat(length));
        let mut out = String::new();
        assert_eq!(namer.name(&row![&*long, &*beyond], &mut out), Ok(()), "it may be there");
        let namer = namer.for_new();
        assert_eq!(namer.name(&row![&*long, &*fits], &mut out), Ok(()));
        let error = namer.name(&row![&*long, &*beyond], &mut out).expect_err("too long");
        assert!(error.to_string().contains("`b`") && error.to_string().contains("252"), "{error}");
    }

    #[test]
    fn values_are_joined_in_key_order() {
        let schema = Schema::builder()
            .column("region", DataType::STRING)
            .column("n", DataType::INT)
            .column("dt", DataType::STRING)
            .column("d", DataType::decimal(5, 2))
            .build()
            .expect("a schema");
        let mut out = "old".to_owned();
        let row = row!["US", 5, "2024-01-15", Datum::Null];
        for (key, expected) in [(&[2, 0][..], "2024-01-15$US"), (&[0, 1], "US$5"), (&[1], "5")] {
            let namer = PartitionNamer::new(&schema, key).expect("names can be made");
            namer.name(&row, &mut out).expect("a sound name");
            assert_eq!(out, expected);
        }
        let namer = PartitionNamer::for_values(&schema, &[0], &[1, 0]).expect("given");
        namer.name(&(5, "EU"), &mut out).expect("a sound name");
        assert_eq!(out, "EU");
        assert_eq!(namer.name(&(5,), &mut out), Err(RowError::arity(2, 1)));
        assert!(PartitionNamer::new(&schema, &[3]).is_err(), "no DECIMAL");
        assert!(PartitionNamer::for_values(&schema, &[0], &[1]).is_err(), "not given");
    }
}
