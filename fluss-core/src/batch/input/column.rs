//! One column of a record batch, its type resolved once for all rows.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowDictionaryKeyType, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Int8Type,
    Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray,
    LargeBinaryArray, LargeStringArray, StringArray, StringViewArray,
};
use arrow_buffer::{ArrowNativeType, ScalarBuffer};
use arrow_schema::{DataType as ArrowType, TimeUnit};

use super::ColumnsError;
use super::nested;
use crate::row::{DataType, Datum, Decimal, OwnedDatum, RowSink, Timestamp, TypeKind};

/// Milliseconds of a day.
const DAY_MILLIS: i64 = 86_400_000;

/// Where the values of a column are.
#[derive(Clone, Debug)]
pub(in crate::batch) enum Source {
    /// Nothing but nulls.
    Null,
    Bool(BooleanArray),
    Int8(ScalarBuffer<i8>),
    Int16(ScalarBuffer<i16>),
    Int32(ScalarBuffer<i32>),
    Int64(ScalarBuffer<i64>),
    UInt8(ScalarBuffer<u8>),
    UInt16(ScalarBuffer<u16>),
    UInt32(ScalarBuffer<u32>),
    Float32(ScalarBuffer<f32>),
    Float64(ScalarBuffer<f64>),
    /// `Datum` borrows its decimals, so they are laid out once for the batch.
    Decimal(Vec<Decimal>),
    Text(StringArray),
    LargeText(LargeStringArray),
    TextView(StringViewArray),
    Bytes(BinaryArray),
    LargeBytes(LargeBinaryArray),
    BytesView(BinaryViewArray),
    Fixed(FixedSizeBinaryArray),
    Date(ScalarBuffer<i32>),
    Time(Vec<i32>),
    Timestamp(ScalarBuffer<i64>, TimeUnit),
    TimestampLtz(ScalarBuffer<i64>, TimeUnit),
    /// Keys into the values of a dictionary.
    Dictionary(Vec<u32>, Box<Source>),
    /// ARRAY, MAP or ROW.
    Nested(Vec<OwnedDatum>),
}

/// An array whose type holds values that the column does not take.
#[derive(Clone, Copy, Debug)]
pub(super) struct WrongType;

impl WrongType {
    pub(super) fn at(self, column: &str, expected: &DataType, got: &ArrowType) -> ColumnsError {
        let (column, expected) = (column.to_owned(), expected.to_string());
        ColumnsError::Type { column, expected, got: got.to_string() }
    }
}

/// A value that no row can hold.
#[derive(Clone, Debug)]
pub(super) struct Bad {
    pub(super) row: usize,
    pub(super) value: String,
    pub(super) reason: &'static str,
}

impl Source {
    /// The values of `array` for a column of this type. Those that no row can hold go to `bad`, in
    /// the order of their rows.
    pub(super) fn new(
        kind: &TypeKind,
        array: &ArrayRef,
        bad: &mut Vec<Bad>,
    ) -> Result<Self, WrongType> {
        if let ArrowType::Null = array.data_type() {
            return Ok(Self::Null);
        }
        if let ArrowType::Dictionary(..) = array.data_type() {
            return Self::dictionary(kind, array, bad);
        }
        match kind {
            TypeKind::Boolean if *array.data_type() == ArrowType::Boolean => {
                Ok(Self::Bool(array.as_boolean().clone()))
            }
            TypeKind::TinyInt => Self::integer(array, 8),
            TypeKind::SmallInt => Self::integer(array, 16),
            TypeKind::Int => Self::integer(array, 32),
            TypeKind::BigInt => Self::integer(array, 64),
            TypeKind::Float | TypeKind::Double => Self::float(kind, array),
            TypeKind::Decimal { .. } => Self::decimal(array),
            TypeKind::Char(_) | TypeKind::String => match array.data_type() {
                ArrowType::Utf8 => Ok(Self::Text(array.as_string().clone())),
                ArrowType::LargeUtf8 => Ok(Self::LargeText(array.as_string().clone())),
                ArrowType::Utf8View => Ok(Self::TextView(array.as_string_view().clone())),
                _ => Err(WrongType),
            },
            TypeKind::Binary(_) | TypeKind::Bytes => match array.data_type() {
                ArrowType::Binary => Ok(Self::Bytes(array.as_binary().clone())),
                ArrowType::LargeBinary => Ok(Self::LargeBytes(array.as_binary().clone())),
                ArrowType::BinaryView => Ok(Self::BytesView(array.as_binary_view().clone())),
                ArrowType::FixedSizeBinary(_) => {
                    Ok(Self::Fixed(array.as_fixed_size_binary().clone()))
                }
                _ => Err(WrongType),
            },
            TypeKind::Date => Self::date(array, bad),
            TypeKind::Time(_) => Self::time(array, bad),
            TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_) => Self::timestamp(kind, array, bad),
            TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_) => {
                nested::values(kind, array, bad).map(Self::Nested)
            }
            TypeKind::Boolean => Err(WrongType),
        }
    }

    /// Integers whose every value a column of `bits` bits can hold.
    fn integer(array: &ArrayRef, bits: u8) -> Result<Self, WrongType> {
        Ok(match array.data_type() {
            ArrowType::Int8 => Self::Int8(scalars(array)),
            ArrowType::Int16 if bits >= 16 => Self::Int16(scalars(array)),
            ArrowType::Int32 if bits >= 32 => Self::Int32(scalars(array)),
            ArrowType::Int64 if bits >= 64 => Self::Int64(scalars(array)),
            ArrowType::UInt8 if bits >= 16 => Self::UInt8(scalars(array)),
            ArrowType::UInt16 if bits >= 32 => Self::UInt16(scalars(array)),
            ArrowType::UInt32 if bits >= 64 => Self::UInt32(scalars(array)),
            _ => return Err(WrongType),
        })
    }

    fn float(kind: &TypeKind, array: &ArrayRef) -> Result<Self, WrongType> {
        match (array.data_type(), kind) {
            (ArrowType::Float32, _) => Ok(Self::Float32(scalars(array))),
            (ArrowType::Float64, TypeKind::Double) => Ok(Self::Float64(scalars(array))),
            _ => Err(WrongType),
        }
    }

    fn decimal(array: &ArrayRef) -> Result<Self, WrongType> {
        let (unscaled, scale): (Vec<i128>, i8) = match array.data_type() {
            ArrowType::Decimal32(_, scale) => {
                let values = array.as_primitive::<Decimal32Type>().values();
                (values.iter().map(|&value| value.into()).collect(), *scale)
            }
            ArrowType::Decimal64(_, scale) => {
                let values = array.as_primitive::<Decimal64Type>().values();
                (values.iter().map(|&value| value.into()).collect(), *scale)
            }
            ArrowType::Decimal128(_, scale) => {
                (array.as_primitive::<Decimal128Type>().values().to_vec(), *scale)
            }
            _ => return Err(WrongType),
        };
        // A negative scale stands for zeros that are not written down.
        let scale = u8::try_from(scale).map_err(|_| WrongType)?;
        Ok(Self::Decimal(unscaled.into_iter().map(|v| Decimal::new(v, scale)).collect()))
    }

    fn date(array: &ArrayRef, bad: &mut Vec<Bad>) -> Result<Self, WrongType> {
        match array.data_type() {
            ArrowType::Date32 => Ok(Self::Date(scalars(array))),
            ArrowType::Date64 => {
                let values = array.as_primitive::<Date64Type>().values();
                let days = |millis: i64| {
                    let day = i32::try_from(millis.div_euclid(DAY_MILLIS)).ok();
                    day.filter(|_| millis.rem_euclid(DAY_MILLIS) == 0).ok_or("it is no whole day")
                };
                Ok(Self::Date(each(array, values, "ms", days, bad).into()))
            }
            _ => Err(WrongType),
        }
    }

    /// Times as milliseconds of the day, as rows have them.
    fn time(array: &ArrayRef, bad: &mut Vec<Bad>) -> Result<Self, WrongType> {
        let (values, unit): (Vec<i64>, _) = match array.data_type() {
            ArrowType::Time32(unit) => {
                (scalars::<i32>(array).iter().map(|&value| value.into()).collect(), *unit)
            }
            ArrowType::Time64(unit) => (scalars::<i64>(array).to_vec(), *unit),
            _ => return Err(WrongType),
        };
        let (multiple, part, name) = match unit {
            TimeUnit::Second => (1_000, 1, "s"),
            TimeUnit::Millisecond => (1, 1, "ms"),
            TimeUnit::Microsecond => (1, 1_000, "us"),
            TimeUnit::Nanosecond => (1, 1_000_000, "ns"),
        };
        let millis = |value: i64| {
            if value % part != 0 {
                return Err("a TIME has no more than milliseconds");
            }
            let millis = (value / part).checked_mul(multiple);
            let millis = millis.filter(|millis| (0..DAY_MILLIS).contains(millis));
            // Below the milliseconds of a day, which fit.
            millis.map(|millis| millis as i32).ok_or("it is no time of the day")
        };
        Ok(Self::Time(each(array, &values, name, millis, bad)))
    }

    fn timestamp(kind: &TypeKind, array: &ArrayRef, bad: &mut Vec<Bad>) -> Result<Self, WrongType> {
        let ArrowType::Timestamp(unit, zone) = array.data_type() else { return Err(WrongType) };
        let values: ScalarBuffer<i64> = scalars(array);
        if *unit == TimeUnit::Second {
            let millis = |seconds: i64| {
                seconds.checked_mul(1_000).map(drop).ok_or("it is beyond 64 bits of milliseconds")
            };
            each(array, &values, "s", millis, bad);
        }
        match kind {
            // A moment has no local time until somebody says where.
            TypeKind::Timestamp(_) if zone.is_some() => Err(WrongType),
            TypeKind::Timestamp(_) => Ok(Self::Timestamp(values, *unit)),
            // Without a zone it is what the scanner's own batches hold: UTC.
            _ => Ok(Self::TimestampLtz(values, *unit)),
        }
    }

    fn dictionary(
        kind: &TypeKind,
        array: &ArrayRef,
        bad: &mut Vec<Bad>,
    ) -> Result<Self, WrongType> {
        let ArrowType::Dictionary(key, _) = array.data_type() else { return Err(WrongType) };
        match key.as_ref() {
            ArrowType::Int8 => Self::keyed::<Int8Type>(kind, array, bad),
            ArrowType::Int16 => Self::keyed::<Int16Type>(kind, array, bad),
            ArrowType::Int32 => Self::keyed::<Int32Type>(kind, array, bad),
            ArrowType::Int64 => Self::keyed::<Int64Type>(kind, array, bad),
            ArrowType::UInt8 => Self::keyed::<UInt8Type>(kind, array, bad),
            ArrowType::UInt16 => Self::keyed::<UInt16Type>(kind, array, bad),
            ArrowType::UInt32 => Self::keyed::<UInt32Type>(kind, array, bad),
            ArrowType::UInt64 => Self::keyed::<UInt64Type>(kind, array, bad),
            _ => Err(WrongType),
        }
    }

    fn keyed<K: ArrowDictionaryKeyType>(
        kind: &TypeKind,
        array: &ArrayRef,
        bad: &mut Vec<Bad>,
    ) -> Result<Self, WrongType> {
        let dictionary = array.as_dictionary::<K>();
        let mut of_values = Vec::new();
        let values = Self::new(kind, dictionary.values(), &mut of_values)?;
        if !of_values.is_empty() {
            for (row, key) in dictionary.keys().iter().enumerate() {
                let key = key.map(ArrowNativeType::as_usize);
                if let Some(found) = of_values.iter().find(|bad| Some(bad.row) == key) {
                    bad.push(Bad { row, ..found.clone() });
                }
            }
        }
        // A key of a null is not looked at; all others are below the number of values, which the
        // array has checked, and a dictionary beyond 2^32 values does not fit any batch.
        let keys = dictionary.keys().values().iter();
        let keys = keys.map(|key| u32::try_from(key.as_usize()).unwrap_or(0)).collect();
        Ok(Self::Dictionary(keys, Box::new(values)))
    }

    /// Puts the value of a row that is not null there.
    #[inline]
    pub(super) fn put<S: RowSink>(&self, row: usize, sink: &mut S) -> Result<(), S::Error> {
        match self {
            Self::Int32(values) => sink.put_i32(values[row]),
            Self::Int64(values) => sink.put_i64(values[row]),
            Self::Float64(values) => sink.put_f64(values[row]),
            Self::Text(values) => sink.put_str(values.value(row)),
            Self::Bytes(values) => sink.put_bytes(values.value(row)),
            other => sink.put(other.datum(row)),
        }
    }

    /// The value of a row that is not null there.
    pub(in crate::batch) fn datum(&self, row: usize) -> Datum<'_> {
        match self {
            Self::Null => Datum::Null,
            Self::Bool(values) => Datum::Bool(values.value(row)),
            Self::Int8(values) => Datum::Int8(values[row]),
            Self::Int16(values) => Datum::Int16(values[row]),
            Self::Int32(values) => Datum::Int32(values[row]),
            Self::Int64(values) => Datum::Int64(values[row]),
            Self::UInt8(values) => Datum::Int16(values[row].into()),
            Self::UInt16(values) => Datum::Int32(values[row].into()),
            Self::UInt32(values) => Datum::Int64(values[row].into()),
            Self::Float32(values) => Datum::Float32(values[row]),
            Self::Float64(values) => Datum::Float64(values[row]),
            Self::Decimal(values) => Datum::Decimal(&values[row]),
            Self::Text(values) => Datum::Str(values.value(row)),
            Self::LargeText(values) => Datum::Str(values.value(row)),
            Self::TextView(values) => Datum::Str(values.value(row)),
            Self::Bytes(values) => Datum::Bytes(values.value(row)),
            Self::LargeBytes(values) => Datum::Bytes(values.value(row)),
            Self::BytesView(values) => Datum::Bytes(values.value(row)),
            Self::Fixed(values) => Datum::Bytes(values.value(row)),
            Self::Date(values) => Datum::Date(values[row]),
            Self::Time(values) => Datum::Time(values[row]),
            Self::Timestamp(values, unit) => Datum::Timestamp(moment(values[row], *unit)),
            Self::TimestampLtz(values, unit) => Datum::TimestampLtz(moment(values[row], *unit)),
            Self::Dictionary(keys, values) => values.datum(keys[row] as usize),
            Self::Nested(values) => values[row].as_datum(),
        }
    }
}

/// The values of an array of fixed width, whatever its logical type.
fn scalars<T: ArrowNativeType>(array: &ArrayRef) -> ScalarBuffer<T> {
    let data = array.to_data();
    ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len())
}

/// Converts every value that is not null; a null, and one that cannot be converted, becomes the
/// default.
fn each<U: Default>(
    array: &ArrayRef,
    values: &[i64],
    unit: &str,
    convert: impl Fn(i64) -> Result<U, &'static str>,
    bad: &mut Vec<Bad>,
) -> Vec<U> {
    let one = |(row, &value): (usize, &i64)| match array.is_null(row) {
        true => U::default(),
        false => convert(value).unwrap_or_else(|reason| {
            bad.push(Bad { row, value: format!("{value} {unit}"), reason });
            U::default()
        }),
    };
    values.iter().enumerate().map(one).collect()
}

/// The point in time; seconds that overflow were found when the column was looked at.
fn moment(value: i64, unit: TimeUnit) -> Timestamp {
    match unit {
        TimeUnit::Second => Timestamp::from_millis(value.saturating_mul(1_000)),
        TimeUnit::Millisecond => Timestamp::from_millis(value),
        TimeUnit::Microsecond => Timestamp::from_micros(value),
        TimeUnit::Nanosecond => Timestamp::from_nanos(value),
    }
}
