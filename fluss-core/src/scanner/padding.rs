//! CHAR values with zero bytes behind them.
//!
//! A server that makes an ARROW changelog of INDEXED rows copies the CHAR values of rows, and of
//! ROWs within them, with the zero bytes that fill them up. They belong to no value.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, MapArray, RecordBatch, StringArray, StructArray};
use arrow_schema::{ArrowError, DataType as ArrowType};

use crate::row::{Schema, TypeKind};

/// The columns without the zero bytes at the end of their CHAR values.
pub(super) fn without_padding(
    schema: &Schema,
    columns: RecordBatch,
) -> Result<RecordBatch, ArrowError> {
    if !schema.columns().iter().any(|column| has_char(&column.data_type.kind)) {
        return Ok(columns);
    }
    let arrays = schema.columns().iter().zip(columns.columns());
    let arrays = arrays.map(|(column, array)| trimmed(&column.data_type.kind, array));
    RecordBatch::try_new(columns.schema(), arrays.collect::<Result<_, _>>()?)
}

fn has_char(kind: &TypeKind) -> bool {
    match kind {
        TypeKind::Char(_) => true,
        TypeKind::Array(element) => has_char(&element.kind),
        TypeKind::Map(key, value) => has_char(&key.kind) || has_char(&value.kind),
        TypeKind::Row(fields) => fields.iter().any(|field| has_char(&field.data_type.kind)),
        _ => false,
    }
}

/// The array has been decoded as one of this type.
fn trimmed(kind: &TypeKind, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if !has_char(kind) {
        return Ok(Arc::clone(array));
    }
    let nulls = array.nulls().cloned();
    Ok(match (kind, array.data_type()) {
        (TypeKind::Array(element), ArrowType::List(field)) => {
            let list = array.as_list::<i32>();
            let (offsets, items) = (list.offsets().clone(), trimmed(&element.kind, list.values())?);
            Arc::new(ListArray::try_new(Arc::clone(field), offsets, items, nulls)?)
        }
        (TypeKind::Map(key, value), ArrowType::Map(field, sorted)) => {
            let map = array.as_map();
            let entries =
                vec![trimmed(&key.kind, map.keys())?, trimmed(&value.kind, map.values())?];
            let entries = StructArray::try_new(map.entries().fields().clone(), entries, None)?;
            let offsets = map.offsets().clone();
            Arc::new(MapArray::try_new(Arc::clone(field), offsets, entries, nulls, *sorted)?)
        }
        (TypeKind::Row(fields), ArrowType::Struct(arrow)) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            let columns = columns.map(|(field, column)| trimmed(&field.data_type.kind, column));
            let columns = columns.collect::<Result<_, _>>()?;
            Arc::new(StructArray::try_new(arrow.clone(), columns, nulls)?)
        }
        _ => {
            let texts = array.as_string::<i32>().iter();
            Arc::new(StringArray::from_iter(texts.map(|t| t.map(|t| t.trim_end_matches('\0')))))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{ArrowBatchBuilder, ArrowBatchOptions, LogDecoder, LogFormat};
    use crate::row;
    use crate::row::{DataType, Datum};
    use fluss_proto::record::{Check, LogBatch, Stamp};

    #[test]
    fn char_values_lose_their_zero_bytes_at_every_depth_and_others_keep_them() {
        let parse = |text: &str| text.parse::<DataType>().expect("a type");
        let schema = Schema::builder()
            .column("a", DataType::char(4))
            .column("b", DataType::STRING)
            .column("c", parse("ARRAY<ROW<d CHAR(4), e MAP<STRING, CHAR(2)>>>"))
            .build()
            .expect("a schema");
        let decode = |padded: bool| {
            let (x, empty) = if padded { ("x\0\0\0", "\0\0") } else { ("x", "") };
            let map = [("k\0", empty)];
            let inner = row![x, Datum::Map(&map)];
            let list = [Datum::Row(&inner), Datum::Null];
            let rows = [row![x, "y\0", Datum::Array(&list)], row![Datum::Null, "", Datum::Null]];
            let options = ArrowBatchOptions::default();
            let mut builder = ArrowBatchBuilder::new(schema.clone(), options).expect("options");
            rows.iter().for_each(|row| assert!(builder.try_push(row).is_ok()));
            let sealed = builder.seal(1, Vec::new()).expect("rows");
            let bytes = [&sealed.stamp(Stamp::NONE)[..], &sealed.payload()[..]].concat();
            let batch = LogBatch::new_checked(bytes.into(), Check::Crc).expect("a batch");
            let decoder = LogDecoder::new(LogFormat::Arrow, &schema, &[0, 1, 2]).expect("columns");
            decoder.decode(&batch).expect("a sound batch").0
        };
        assert_ne!(decode(true), decode(false));
        let cut = without_padding(&schema, decode(true)).expect("sound columns");
        assert_eq!(cut, decode(false));
    }
}
