//! Values of a primary-key table, as scans of its rows bring them, become columns.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::records::{StoredRows, finish, too_large};
use super::{DecodeError, DecodeLimits};
use crate::batch::arrow::column::{Column as Growing, Refusal};
use crate::batch::arrow::nested::Room;
use crate::batch::arrow_schema_of;
use crate::error::{Error, Result};
use crate::row::{Column, Datum, RowLayout, Schema};

/// What the columns of one batch may take before more rows go into another one, in bytes.
const BATCH_BYTES: usize = 64 << 20;
/// The most rows of one batch.
const BATCH_ROWS: usize = 1 << 16;

/// Reads rows that were stored with one or several schemas as columns of the table as it was
/// opened: columns are the same if they have the same id, without ids if they have the same name.
#[derive(Clone, Debug)]
pub(crate) struct ValueReader {
    /// The wanted columns.
    schema: Schema,
    arrow: SchemaRef,
    indexed: bool,
    stored: BTreeMap<i16, Stored>,
    /// Bytes of a row without what is of varying length.
    unit: usize,
}

#[derive(Clone, Debug)]
struct Stored {
    rows: StoredRows,
    /// Wanted columns that this schema has not.
    missing: Vec<usize>,
}

impl ValueReader {
    /// A reader of these columns, which are some of the table's, of COMPACTED or INDEXED rows. It
    /// knows no stored schema yet.
    pub(crate) fn new(table: &Schema, columns: &[usize], indexed: bool) -> Self {
        let columns = columns.iter().filter_map(|index| table.columns().get(*index)).cloned();
        let schema = Schema::new(columns.collect(), vec![]);
        let arrow = arrow_schema_of(&schema);
        let growing = schema.columns().iter().map(|column| Growing::new(&column.data_type));
        let unit = growing.map(|column| column.unit()).sum();
        Self { schema, arrow, indexed, stored: BTreeMap::new(), unit }
    }

    /// The columns that come out.
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The most rows to read at once.
    pub(crate) fn max_rows(&self) -> usize {
        (BATCH_BYTES / self.unit.max(1)).clamp(1, BATCH_ROWS)
    }

    /// Whether rows of this schema can be read.
    pub(crate) fn knows(&self, schema_id: i16) -> bool {
        self.stored.contains_key(&schema_id)
    }

    /// Learns a schema that rows were stored with.
    ///
    /// # Errors
    /// [`Error::Misuse`] if a column had another type.
    pub(crate) fn learn(&mut self, schema_id: i16, stored: &Schema) -> Result<()> {
        let mut places = vec![None; stored.columns().len()];
        let mut missing = Vec::new();
        for (place, wanted) in self.schema.columns().iter().enumerate() {
            let same = |column: &Column| match (column.id, wanted.id) {
                (Some(a), Some(b)) => a == b,
                _ => column.name == wanted.name,
            };
            let Some(index) = stored.columns().iter().position(same) else {
                missing.push(place);
                continue;
            };
            let column = &stored.columns()[index];
            if column.data_type.kind != wanted.data_type.kind {
                return Err(Error::misuse(format!(
                    "column `{}` was {} when rows of schema {schema_id} were written and is {} \
                     now; open the table with that schema to read them",
                    wanted.name, column.data_type, wanted.data_type
                )));
            }
            places[index] = Some(place);
        }
        let rows = StoredRows { layout: RowLayout::new(stored), indexed: self.indexed, places };
        self.stored.insert(schema_id, Stored { rows, missing });
        Ok(())
    }

    /// The rows as columns; each comes with the id of its schema, which must be known.
    ///
    /// # Errors
    /// [`Error::Decode`] for damaged rows, and for rows that take more than 256 MiB together.
    pub(crate) fn read<'a>(
        &self,
        rows: impl Iterator<Item = (i16, &'a [u8])>,
    ) -> Result<RecordBatch> {
        let columns = self.schema.columns().iter();
        let mut columns: Vec<Growing> = columns.map(|c| Growing::new(&c.data_type)).collect();
        let limit = DecodeLimits::default().max_batch_bytes.min(i32::MAX as usize);
        let mut room = Room::new(0, limit).padding();
        let mut count = 0;
        for (schema_id, row) in rows {
            let stored = self.stored.get(&schema_id).ok_or_else(|| {
                Error::misuse(format!("schema {schema_id} of the table is not known"))
            })?;
            room.take(self.unit).map_err(|_| too_large(&room, limit))?;
            stored.rows.read(row, count, &mut columns, &mut room, limit)?;
            for place in &stored.missing {
                columns[*place].put_deep(count, Datum::Null, &mut room).map_err(|refusal| {
                    let name = &self.schema.columns()[*place].name;
                    let what = match refusal {
                        Refusal::TooLarge => return too_large(&room, limit),
                        _ => format!(
                            "rows of schema {schema_id} have no such column, and the type does not \
                             allow null"
                        ),
                    };
                    DecodeError::column(name, what)
                })?;
            }
            count += 1;
        }
        Ok(finish(columns, count, &self.arrow)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{DataType, compacted, indexed};
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;

    fn column(name: &str, id: i32, data_type: DataType) -> Column {
        Column { id: Some(id), ..Column::new(name, data_type) }
    }

    fn schemas() -> (Schema, Schema) {
        let id = || column("id", 0, DataType::BIGINT.not_null());
        let old = Schema::new(vec![id(), column("gone", 1, DataType::INT)], vec![0]);
        let text = column("text", 2, DataType::STRING);
        (old, Schema::new(vec![id(), text], vec![0]))
    }

    fn row(schema: &Schema, row: &impl crate::row::Row, is_indexed: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let layout = RowLayout::new(schema);
        match is_indexed {
            true => indexed::encode(&layout, row, &mut bytes).expect("fits"),
            false => compacted::encode(&layout, row, &mut bytes).expect("fits"),
        }
        bytes
    }

    #[test]
    fn rows_of_several_schemas_go_into_one_batch() {
        let (old, new) = schemas();
        for is_indexed in [false, true] {
            let mut reader = ValueReader::new(&new, &[1, 0], is_indexed);
            reader.learn(1, &old).expect("fits");
            reader.learn(2, &new).expect("fits");
            assert!(reader.knows(2) && !reader.knows(3));
            let rows = [
                (1, row(&old, &(1_i64, 7), is_indexed)),
                (2, row(&new, &(2_i64, "b"), is_indexed)),
                (1, row(&old, &(3_i64, 9), is_indexed)),
            ];
            let batch = reader.read(rows.iter().map(|(id, row)| (*id, &row[..]))).expect("rows");
            assert_eq!(batch.column(1).as_primitive::<Int64Type>().values(), &[1, 2, 3]);
            let texts: Vec<_> = batch.column(0).as_string::<i32>().iter().collect();
            assert_eq!(texts, [None, Some("b"), None]);
        }
    }

    #[test]
    fn damaged_rows_unknown_schemas_and_other_types_are_errors() {
        let (old, new) = schemas();
        let mut reader = ValueReader::new(&new, &[0, 1], false);
        reader.learn(2, &new).expect("fits");
        let whole = row(&new, &(2_i64, "b"), false);
        for end in 0..whole.len() {
            let error = reader.read([(2, &whole[..end])].into_iter()).expect_err("cut");
            assert!(matches!(error, Error::Decode(_)), "{error}");
        }
        assert!(reader.read([(1, &whole[..])].into_iter()).is_err());
        let other = Schema::new(vec![column("id", 0, DataType::INT)], vec![]);
        assert!(reader.learn(3, &other).is_err());
        let mut strict = ValueReader::new(
            &Schema::new(vec![column("n", 5, DataType::INT.not_null())], vec![]),
            &[0],
            false,
        );
        strict.learn(1, &old).expect("no such column");
        let error = strict.read([(1, &row(&old, &(1_i64, 7), false)[..])].into_iter());
        assert!(error.expect_err("no value").to_string().contains("`n`"));
    }
}
