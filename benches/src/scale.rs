//! Rows that are large in one way: many columns, deep nesting, long texts. What they cost has to
//! grow with their bytes and no faster.

use bytes::Bytes;
use fluss_core::batch::{
    ArrowBatchOptions, ArrowCompression, ArrowRows, LogBatchBuilder, LogDecoder, LogFormat, Push,
    record_batch,
};
use fluss_core::row::{
    Column, DataType, Decimal, Field, OwnedDatum, OwnedRow, RowLayout, Schema, Timestamp,
    compacted, indexed,
};
use fluss_proto::record::{Check, LogBatch, Stamp};

/// In which way rows are large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Large {
    /// So many columns.
    Columns,
    /// Values within values, so many levels.
    Levels,
    /// A text of so many KiB.
    Kibibytes,
}

impl Large {
    /// All ways, with a small and a large size of each.
    pub const ALL: [(Self, usize, usize); 3] =
        [(Self::Columns, 25, 200), (Self::Levels, 2, 10), (Self::Kibibytes, 64, 1024)];

    /// The schema of rows of this size.
    #[must_use]
    pub fn schema(self, size: usize) -> Schema {
        let columns = match self {
            Self::Columns => {
                (0..size).map(|at| column(at, KINDS[at % KINDS.len()].0.clone())).collect()
            }
            Self::Levels => vec![column(0, nested(size))],
            Self::Kibibytes => vec![column(0, DataType::STRING)],
        };
        Schema::new(columns, vec![])
    }

    /// A row of this size.
    #[must_use]
    pub fn row(self, size: usize, number: i64) -> OwnedRow {
        let values = match self {
            Self::Columns => {
                (0..size).map(|at| KINDS[at % KINDS.len()].1(number + at as i64)).collect()
            }
            Self::Levels => vec![nested_value(size, number)],
            Self::Kibibytes => {
                let text = format!("{number}{}", "x".repeat(size << 10));
                vec![OwnedDatum::Str(text)]
            }
        };
        OwnedRow::new(values)
    }
}

type Kind = (DataType, fn(i64) -> OwnedDatum);

const KINDS: [Kind; 8] = [
    (DataType::INT, |n| OwnedDatum::Int32(n as i32)),
    (DataType::STRING, |n| OwnedDatum::Str(format!("the value {n}"))),
    (DataType::BIGINT, OwnedDatum::Int64),
    (DataType::BOOLEAN, |n| OwnedDatum::Bool(n % 2 == 0)),
    (DataType::DOUBLE, |n| OwnedDatum::Float64(n as f64)),
    (DataType::decimal(20, 2), |n| OwnedDatum::Decimal(Decimal::new(n.into(), 2))),
    (DataType::timestamp(6), |n| OwnedDatum::Timestamp(Timestamp::from_micros(n))),
    (
        DataType::BYTES,
        |n| if n % 3 == 0 { OwnedDatum::Null } else { OwnedDatum::Bytes(vec![7; 9]) },
    ),
];

fn column(at: usize, data_type: DataType) -> Column {
    Column::new(format!("c{at}"), data_type)
}

fn nested(levels: usize) -> DataType {
    (0..levels).fold(DataType::INT, |inner, level| match level % 3 {
        0 => DataType::array(inner),
        1 => DataType::map(DataType::STRING, inner),
        _ => DataType::row(vec![Field::new("v", inner), Field::new("n", DataType::BIGINT)]),
    })
}

fn nested_value(levels: usize, number: i64) -> OwnedDatum {
    let leaf = OwnedDatum::Int32(number as i32);
    (0..levels).fold(leaf, |inner, level| match level % 3 {
        0 => OwnedDatum::Array(vec![inner]),
        1 => OwnedDatum::Map(vec![(OwnedDatum::Str("key".to_owned()), inner)]),
        _ => OwnedDatum::Row(vec![inner, OwnedDatum::Int64(number)]),
    })
}

/// How rows travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Rows, one by one, in a log batch and out again.
    Log(LogFormat),
    /// A record batch in an ARROW log batch and out again.
    Columns,
    /// Rows in the COMPACTED format of a primary-key table and out again.
    Compacted,
    /// In the INDEXED format.
    Indexed,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Log(LogFormat::Arrow),
        Self::Log(LogFormat::Indexed),
        Self::Log(LogFormat::Compacted),
        Self::Columns,
        Self::Compacted,
        Self::Indexed,
    ];
}

/// Rows of one size, ready to travel.
#[derive(Debug)]
pub struct Load {
    schema: Schema,
    rows: Vec<OwnedRow>,
}

impl Load {
    /// So many rows.
    #[must_use]
    pub fn new(large: Large, size: usize, rows: usize) -> Self {
        let rows = (0..rows as i64).map(|number| large.row(size, number)).collect();
        Self { schema: large.schema(size), rows }
    }

    /// Lets the rows travel and looks at each value that arrives. Answers the bytes that stood for
    /// them on the way.
    ///
    /// # Panics
    /// If something does not arrive.
    #[inline(never)]
    #[must_use]
    pub fn measured_trip(&self, way: Way) -> usize {
        match way {
            Way::Log(format) => self.through_log(format, |builder, rows| {
                for row in rows {
                    assert!(matches!(builder.try_push(row), Ok(Push::Pushed(_))), "a row fits");
                }
            }),
            Way::Columns => {
                let batch = record_batch(&self.schema, &self.rows).expect("the rows fit");
                let rows = ArrowRows::new(&self.schema, &batch).expect("its own columns");
                self.through_log(LogFormat::Arrow, |builder, _| push_columns(builder, &rows))
            }
            Way::Compacted => self.through_rows(compacted::encode, compacted::decode),
            Way::Indexed => self.through_rows(indexed::encode, indexed::decode),
        }
    }

    fn through_log(
        &self,
        format: LogFormat,
        push: impl Fn(&mut LogBatchBuilder, &[OwnedRow]),
    ) -> usize {
        let options = ArrowBatchOptions {
            max_bytes: 64 << 20,
            max_row_bytes: 64 << 20,
            compression: ArrowCompression::None,
        };
        let mut builder =
            LogBatchBuilder::new(format, self.schema.clone(), options).expect("sound options");
        push(&mut builder, &self.rows);
        let sealed = builder.seal(1, Vec::new()).expect("rows to seal");
        let wire = [&sealed.stamp(Stamp::NONE)[..], &sealed.payload()[..]].concat();
        let size = wire.len();
        let batch = LogBatch::new_checked(Bytes::from(wire), Check::Crc).expect("a sound batch");
        let columns: Vec<usize> = (0..self.schema.columns().len()).collect();
        let decoder = LogDecoder::new(format, &self.schema, &columns).expect("all columns");
        let read = decoder.decode_rows(&batch).expect("what was written reads back");
        assert_eq!(read.len(), self.rows.len(), "rows");
        for row in read.iter() {
            for column in &columns {
                let value = row.value(*column).expect("a column");
                std::hint::black_box(OwnedDatum::from(value));
            }
        }
        size
    }

    fn through_rows<E: std::fmt::Debug, D: std::fmt::Debug>(
        &self,
        encode: impl Fn(&RowLayout, &OwnedRow, &mut Vec<u8>) -> Result<(), E>,
        decode: impl Fn(&RowLayout, &[u8]) -> Result<OwnedRow, D>,
    ) -> usize {
        let layout = RowLayout::new(&self.schema);
        let mut bytes = Vec::new();
        let mut size = 0;
        for row in &self.rows {
            bytes.clear();
            encode(&layout, row, &mut bytes).expect("the row fits");
            size += bytes.len();
            let read = decode(&layout, &bytes).expect("what was written reads back");
            assert_eq!(read.values().len(), row.values().len(), "columns");
            std::hint::black_box(read);
        }
        size
    }
}

/// All rows of a record batch, by column where their types allow it.
fn push_columns(builder: &mut LogBatchBuilder, rows: &ArrowRows) {
    let mut at = 0;
    while at < rows.len() {
        let taken = builder.extend(rows, at);
        if taken == 0 {
            let row = rows.row(at).expect("a row");
            assert!(matches!(builder.try_push(&row), Ok(Push::Pushed(_))), "a row fits");
        }
        at += taken.max(1);
    }
}
