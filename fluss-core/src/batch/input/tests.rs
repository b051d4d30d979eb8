use std::sync::Arc;

use arrow_array::types::{Int8Type, Int32Type, Time64MicrosecondType};
use arrow_array::{
    ArrayRef, BinaryViewArray, Date64Array, Decimal64Array, DictionaryArray, Float32Array,
    Int8Array, Int16Array, Int32Array, Int64Array, LargeStringArray, ListArray, NullArray,
    RecordBatch, StringArray, StringViewArray, Time64MicrosecondArray, TimestampNanosecondArray,
    TimestampSecondArray, UInt8Array, UInt32Array, UInt64Array,
};

use super::{ArrowRows, ColumnsError};
use crate::row::{
    Column, DataType, Datum, OwnedDatum, Row, RowError, RowSink, Schema, Timestamp, TypeKind,
};

/// Collects what a row puts.
#[derive(Default)]
struct Collected(Vec<OwnedDatum>);

impl RowSink for Collected {
    type Error = RowError;

    fn put(&mut self, datum: Datum<'_>) -> Result<(), RowError> {
        self.0.push(datum.into());
        Ok(())
    }
}

fn schema(columns: &[(&str, TypeKind)]) -> Schema {
    let column = |(name, kind): &(&str, TypeKind)| {
        Column::new(*name, DataType { kind: kind.clone(), nullable: true })
    };
    Schema::new(columns.iter().map(column).collect(), vec![])
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<_> = columns
        .iter()
        .map(|(name, array)| arrow_schema::Field::new(*name, array.data_type().clone(), true))
        .collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(fields)), arrays).unwrap()
}

fn one(kind: TypeKind, array: ArrayRef) -> Result<Vec<OwnedDatum>, ColumnsError> {
    let rows = ArrowRows::new(&schema(&[("c", kind)]), &batch(vec![("c", array)]))?;
    let values = rows.iter().map(|row| {
        let mut collected = Collected::default();
        row.write(&mut collected).unwrap();
        assert_eq!((row.arity(), collected.0.len()), (1, 1));
        collected.0.remove(0)
    });
    Ok(values.collect())
}

/// The rows that are refused, and why.
fn refused(kind: TypeKind, array: ArrayRef) -> Vec<(usize, String)> {
    let rows = ArrowRows::new(&schema(&[("c", kind)]), &batch(vec![("c", array)])).unwrap();
    let one = |(at, row): (usize, super::ArrowRow<'_>)| {
        let written = row.write(&mut Collected::default());
        assert_eq!(rows.sound_from(at) == 0, written.is_err(), "columns stop where rows do");
        written.err().map(|error| (at, error.to_string()))
    };
    rows.iter().enumerate().filter_map(one).collect()
}

#[test]
fn columns_are_found_by_name_in_whatever_order_they_come() {
    let schema = schema(&[("id", TypeKind::BigInt), ("name", TypeKind::String)]);
    let name: ArrayRef = Arc::new(StringArray::from(vec![Some("ada"), None]));
    let id: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let rows = ArrowRows::new(&schema, &batch(vec![("name", name), ("id", id)])).unwrap();
    let mut all = Collected::default();
    assert_eq!(rows.iter().len(), 2);
    for row in &rows {
        row.write(&mut all).unwrap();
    }
    let text = OwnedDatum::Str("ada".into());
    assert_eq!(all.0, [OwnedDatum::Int64(1), text, OwnedDatum::Int64(2), OwnedDatum::Null]);
}

#[test]
fn a_missing_an_unknown_and_a_doubled_column_are_named() {
    let schema = schema(&[("id", TypeKind::BigInt), ("n", TypeKind::Int)]);
    let id: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let n: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let of = |columns| ArrowRows::new(&schema, &batch(columns)).unwrap_err().to_string();
    let missing = of(vec![("id", id.clone())]);
    assert!(missing.contains("no column `n`; it has: id"), "{missing}");
    let unknown = of(vec![("id", id.clone()), ("n", n.clone()), ("x", n.clone())]);
    assert!(unknown.contains("no column `x`; it has: id, n"), "{unknown}");
    let doubled = of(vec![("id", id.clone()), ("n", n.clone()), ("n", n)]);
    assert!(doubled.contains("`n` more than once"), "{doubled}");
    // Some columns only, in an order of their own.
    let batch = batch(vec![("id", id)]);
    assert_eq!(ArrowRows::of_columns(&schema, &[0], &batch).unwrap().len(), 1);
}

#[test]
fn narrower_and_unsigned_integers_go_where_all_their_values_fit() {
    let ints = |array: ArrayRef, kind| one(kind, array).map(|values| values[0].as_datum().as_i64());
    let small = || Arc::new(Int8Array::from(vec![-5])) as ArrayRef;
    for kind in [TypeKind::TinyInt, TypeKind::SmallInt, TypeKind::Int, TypeKind::BigInt] {
        assert_eq!(ints(small(), kind), Ok(Some(-5)));
    }
    let unsigned = || Arc::new(UInt32Array::from(vec![u32::MAX])) as ArrayRef;
    assert_eq!(ints(unsigned(), TypeKind::BigInt), Ok(Some(u32::MAX.into())));
    let byte = Arc::new(UInt8Array::from(vec![200]));
    assert_eq!(ints(byte.clone(), TypeKind::SmallInt), Ok(Some(200)));
    assert_eq!(
        ints(byte, TypeKind::TinyInt).unwrap_err().to_string(),
        "column `c` of type TINYINT does not take an Arrow array of type UInt8"
    );
    for (array, kind) in [
        (unsigned(), TypeKind::Int),
        (Arc::new(Int16Array::from(vec![1])), TypeKind::TinyInt),
        (Arc::new(UInt64Array::from(vec![1])), TypeKind::BigInt),
        (Arc::new(Float32Array::from(vec![1.0])), TypeKind::Int),
        (Arc::new(StringArray::from(vec!["1"])), TypeKind::Int),
    ] {
        assert!(matches!(ints(array, kind), Err(ColumnsError::Type { .. })));
    }
}

#[test]
fn large_and_view_arrays_are_read_like_small_ones() {
    let text = |array: ArrayRef| one(TypeKind::String, array).unwrap();
    let expected = [OwnedDatum::Str("a".into()), OwnedDatum::Null, OwnedDatum::Str("bc".into())];
    let values = vec![Some("a"), None, Some("bc")];
    assert_eq!(text(Arc::new(StringArray::from(values.clone()))), expected);
    assert_eq!(text(Arc::new(LargeStringArray::from(values.clone()))), expected);
    assert_eq!(text(Arc::new(StringViewArray::from(values))), expected);
    let views = Arc::new(BinaryViewArray::from(vec![b"\x01\x02".as_slice()]));
    let bytes = [OwnedDatum::Bytes(vec![1, 2])];
    assert_eq!(one(TypeKind::Bytes, views.clone()).unwrap(), bytes);
    assert_eq!(one(TypeKind::Binary(2), views).unwrap(), bytes);
}

#[test]
fn a_dictionary_stands_for_its_values_nulls_on_either_side_included() {
    let values: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None]));
    let keys = Int8Array::from(vec![Some(0), Some(1), None, Some(0)]);
    let array = DictionaryArray::<Int8Type>::try_new(keys, values).unwrap();
    let x = || OwnedDatum::Str("x".into());
    let read = one(TypeKind::String, Arc::new(array)).unwrap();
    assert_eq!(read, [x(), OwnedDatum::Null, OwnedDatum::Null, x()]);
    let numbers: ArrayRef = Arc::new(Int16Array::from(vec![7]));
    let array = DictionaryArray::<Int32Type>::try_new(Int32Array::from(vec![0]), numbers).unwrap();
    assert_eq!(one(TypeKind::BigInt, Arc::new(array)).unwrap(), [OwnedDatum::Int16(7)]);
}

#[test]
fn times_come_in_any_unit_and_lose_nothing() {
    let micros = |value| Arc::new(Time64MicrosecondArray::from(vec![Some(value), None]));
    let read = one(TypeKind::Time(3), micros(1_500_000)).unwrap();
    assert_eq!(read, [OwnedDatum::Time(1_500), OwnedDatum::Null]);
    let lost = "column `c`: 1 us does not fit TIME(6): a TIME has no more than milliseconds";
    assert_eq!(refused(TypeKind::Time(6), micros(1)), [(0, lost.to_owned())]);
    assert_eq!(refused(TypeKind::Time(3), micros(86_400_000_000)).len(), 1);

    let nanos = |value: i64| TimestampNanosecondArray::from(vec![value]);
    let read = one(TypeKind::Timestamp(9), Arc::new(nanos(-1))).unwrap();
    assert_eq!(read, [OwnedDatum::Timestamp(Timestamp { millis: -1, nanos: 999_999 })]);
    let zoned = || Arc::new(nanos(5).with_timezone("+02:00")) as ArrayRef;
    let read = one(TypeKind::TimestampLtz(9), zoned()).unwrap();
    assert_eq!(read, [OwnedDatum::TimestampLtz(Timestamp { millis: 0, nanos: 5 })]);
    assert!(matches!(one(TypeKind::Timestamp(9), zoned()), Err(ColumnsError::Type { .. })));
    let beyond = Arc::new(TimestampSecondArray::from(vec![Some(1), None, Some(i64::MAX), Some(2)]));
    let rows: Vec<_> = refused(TypeKind::Timestamp(0), beyond).into_iter().map(|r| r.0).collect();
    assert_eq!(rows, [2], "the others are written");

    let day = |millis| Arc::new(Date64Array::from(vec![millis]));
    assert_eq!(one(TypeKind::Date, day(-86_400_000)).unwrap(), [OwnedDatum::Date(-1)]);
    assert_eq!(refused(TypeKind::Date, day(1)).len(), 1);
}

#[test]
fn small_decimals_and_columns_of_nulls_are_taken() {
    let array = Decimal64Array::from(vec![1230]).with_precision_and_scale(10, 2).unwrap();
    let kind = TypeKind::Decimal { precision: 20, scale: 4 };
    let read = one(kind.clone(), Arc::new(array)).unwrap();
    assert_eq!(read, [OwnedDatum::Decimal(crate::row::Decimal::new(1230, 2))]);
    assert_eq!(one(kind, Arc::new(NullArray::new(1))).unwrap(), [OwnedDatum::Null]);
}

#[test]
fn a_slice_of_a_batch_yields_its_own_rows() {
    let array: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4)]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c", "d"]));
    let whole = batch(vec![("c", array), ("t", text)]);
    let schema = schema(&[("c", TypeKind::BigInt), ("t", TypeKind::String)]);
    let rows = ArrowRows::new(&schema, &whole.slice(1, 2)).unwrap();
    let mut all = Collected::default();
    rows.iter().for_each(|row| row.write(&mut all).unwrap());
    let text = |text: &str| OwnedDatum::Str(text.into());
    assert_eq!(all.0, [OwnedDatum::Null, text("b"), OwnedDatum::Int64(3), text("c")]);
}

#[test]
fn a_slice_of_lists_looks_at_no_element_of_the_rest() {
    // The first list has a time that no row could hold.
    let lists = [vec![Some(1)], vec![Some(2_000), None], vec![], vec![Some(3_000)]];
    let lists = lists.map(Some);
    let whole: ArrayRef =
        Arc::new(ListArray::from_iter_primitive::<Time64MicrosecondType, _, _>(lists));
    let element = DataType { kind: TypeKind::Time(3), nullable: true };
    let kind = TypeKind::Array(Box::new(element));
    let bad: Vec<_> = refused(kind.clone(), Arc::clone(&whole)).into_iter().map(|r| r.0).collect();
    assert_eq!(bad, [0]);
    let list = OwnedDatum::Array;
    let expected = [list(vec![OwnedDatum::Time(2), OwnedDatum::Null]), list(vec![])];
    assert_eq!(one(kind, whole.slice(1, 2)).unwrap(), expected);
}

#[test]
fn a_bad_element_is_told_with_the_row_of_its_list() {
    let times = [vec![Some(1_000), Some(2_000)], vec![], vec![Some(3_000), None, Some(1)]];
    let whole: ArrayRef =
        Arc::new(ListArray::from_iter_primitive::<Time64MicrosecondType, _, _>(times.map(Some)));
    let element = DataType { kind: TypeKind::Time(3), nullable: true };
    let kind = TypeKind::Array(Box::new(element));
    for (array, row) in [(Arc::clone(&whole), 2), (whole.slice(1, 2), 1)] {
        let [(told, _)] = refused(kind.clone(), array).try_into().unwrap();
        assert_eq!(told, row);
    }
}

#[test]
fn a_bad_value_of_a_dictionary_is_told_with_each_row_that_has_it() {
    let values: ArrayRef = Arc::new(Time64MicrosecondArray::from(vec![1_000, 1]));
    let keys = Int8Array::from(vec![Some(0), Some(1), None, Some(1)]);
    let array = Arc::new(DictionaryArray::<Int8Type>::try_new(keys, values).unwrap());
    let rows: Vec<_> = refused(TypeKind::Time(3), array).into_iter().map(|r| r.0).collect();
    assert_eq!(rows, [1, 3]);
}
