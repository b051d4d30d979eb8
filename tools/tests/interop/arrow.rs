//! Values of Arrow columns as texts, in the words of [`text`](super::text).

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};

use super::text::hex;

/// The columns of a row of the record batch, with blanks between them and the entries of maps in
/// the order of their texts.
pub(crate) fn row(batch: &RecordBatch, columns: usize, at: usize) -> String {
    let cells: Vec<String> = batch.columns()[..columns].iter().map(|c| cell(c, at)).collect();
    cells.join(" ")
}

/// The value at this place of a column.
fn cell(array: &ArrayRef, at: usize) -> String {
    if array.is_null(at) {
        return "~".to_owned();
    }
    nested(array, at).or_else(|| time(array, at)).unwrap_or_else(|| scalar(array, at))
}

fn nested(array: &ArrayRef, at: usize) -> Option<String> {
    let all =
        |items: &ArrayRef| -> Vec<String> { (0..items.len()).map(|at| cell(items, at)).collect() };
    if let Some(list) = array.as_list_opt::<i32>() {
        return Some(format!("[{}]", all(&list.value(at)).join(",")));
    }
    if let Some(map) = array.as_map_opt() {
        let entries = map.value(at);
        let (keys, values) = (all(entries.column(0)), all(entries.column(1)));
        let entry = |(key, value): (String, String)| key + ":" + &value;
        let mut entries: Vec<String> = keys.into_iter().zip(values).map(entry).collect();
        entries.sort_unstable();
        return Some(format!("{{{}}}", entries.join(",")));
    }
    let fields = array.as_struct_opt()?.columns().iter().map(|field| cell(field, at));
    Some(format!("({})", fields.collect::<Vec<_>>().join(",")))
}

/// TIME as milliseconds of the day, TIMESTAMP as milliseconds and what is beyond them.
fn time(array: &ArrayRef, at: usize) -> Option<String> {
    macro_rules! value {
        ($of:ty) => {
            array.as_primitive_opt::<$of>().map(|array| i64::from(array.value(at)))
        };
    }
    let whole = |value: i64, parts: i64| {
        assert_eq!(value % parts, 0, "no column of ours has parts of a millisecond in a TIME");
        Some((value / parts).to_string())
    };
    if let Some(seconds) = value!(Time32SecondType) {
        return whole(seconds * 1_000, 1);
    }
    let of_day = [
        (value!(Time32MillisecondType), 1),
        (value!(Time64MicrosecondType), 1_000),
        (value!(Time64NanosecondType), 1_000_000),
    ];
    if let Some((value, parts)) = of_day.into_iter().find_map(|(value, p)| Some((value?, p))) {
        return whole(value, parts);
    }
    let moments = [
        (value!(TimestampMillisecondType), 1),
        (value!(TimestampMicrosecondType), 1_000),
        (value!(TimestampNanosecondType), 1_000_000),
    ];
    let moment = moments.into_iter().find_map(|(value, parts)| Some((value?, parts)));
    let (value, parts) = moment.or_else(|| Some((value!(TimestampSecondType)? * 1_000, 1)))?;
    let nanos = value.rem_euclid(parts) * (1_000_000 / parts);
    Some(format!("{}.{nanos}", value.div_euclid(parts)))
}

fn scalar(array: &ArrayRef, at: usize) -> String {
    macro_rules! number {
        ($($of:ty),*) => {
            $(if let Some(array) = array.as_primitive_opt::<$of>() {
                return array.value(at).to_string();
            })*
        };
    }
    number!(Int8Type, Int16Type, Int32Type, Int64Type, Date32Type);
    if let Some(array) = array.as_boolean_opt() {
        return if array.value(at) { "t" } else { "f" }.to_owned();
    }
    if let Some(array) = array.as_primitive_opt::<Float32Type>() {
        return format!("{:08x}", array.value(at).to_bits());
    }
    if let Some(array) = array.as_primitive_opt::<Float64Type>() {
        return format!("{:016x}", array.value(at).to_bits());
    }
    if let Some(array) = array.as_primitive_opt::<Decimal128Type>() {
        return format!("{}/{}", array.value(at), array.scale());
    }
    if let Some(array) = array.as_string_opt::<i32>() {
        return format!("s{}", hex(array.value(at).as_bytes()));
    }
    if let Some(array) = array.as_binary_opt::<i32>() {
        return format!("x{}", hex(array.value(at)));
    }
    match array.as_fixed_size_binary_opt() {
        Some(array) => format!("x{}", hex(array.value(at))),
        None => panic!("a column without texts: {array:?}"),
    }
}

#[cfg(test)]
mod tests {
    use fluss_core::batch::record_batch;
    use fluss_core::rng::Rng;
    use fluss_core::row::{OwnedRow, Schema};
    use fluss_core::testing::random::{self, Shape};

    use super::super::{arrow, text};

    #[test]
    fn a_row_has_the_same_text_as_the_row_of_its_record_batch() {
        let mut rng = Rng::new(7);
        let types = [
            "TIME(0)",
            "TIME(3)",
            "TIME(6)",
            "TIME(9)",
            "TIMESTAMP(0)",
            "TIMESTAMP(3)",
            "TIMESTAMP_LTZ(6)",
            "TIMESTAMP(9)",
            "MAP<STRING, ROW<a DECIMAL(9, 2), b BINARY(3)>>",
            "ARRAY<MAP<INT, DOUBLE>>",
            "BOOLEAN",
            "FLOAT",
            "BYTES",
        ];
        let typed = types.iter().enumerate().fold(Schema::builder(), |schema, (at, of)| {
            schema.column(format!("c{at}"), of.parse().expect("a type"))
        });
        let shape = Shape { columns: 12, ..Shape::default() };
        let mut schemas = vec![typed.build().expect("a schema")];
        schemas.extend((0..40).map(|_| shape.schema(&mut rng)));
        for schema in schemas {
            let columns = schema.columns();
            let mut row_of = || -> OwnedRow {
                columns.iter().map(|c| random::value(&mut rng, &c.data_type)).collect()
            };
            let rows: Vec<OwnedRow> = (0..20).map(|_| row_of()).collect();
            let batch = record_batch(&schema, &rows).expect("the rows fit");
            for (at, row) in rows.iter().enumerate() {
                assert_eq!(arrow::row(&batch, columns.len(), at), text::row(row, true));
            }
        }
    }
}
