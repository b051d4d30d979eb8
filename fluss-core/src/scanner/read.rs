//! From fetched batches to columns and rows, on the caller's thread.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::SchemaRef;
use arrow_select::filter::filter_record_batch;
use fluss_proto::record::{ChangeType, ChangeTypes, LogBatch};

use super::metadata_columns::{MetadataColumn, with_metadata};
use super::padding::without_padding;
use super::types::{FetchedBatch, ScanError};
use crate::batch::{
    DecodeError, LogDecoder, LogFormat, LogRows, RowView, Unpacker, arrow_schema_of,
};
use crate::error::{Error, Result};
use crate::filter::Bound;
use crate::ids::BucketKey;
use crate::row::{Column, Schema};

/// Some rows of one bucket, as columns and as rows.
#[derive(Clone, Debug)]
pub struct ScanBatch {
    bucket: BucketKey,
    schema: Schema,
    batch: LogBatch,
    columns: RecordBatch,
    change_types: ChangeTypes,
    /// The rows that were asked for, among those of `columns` and `change_types`.
    rows: Range<usize>,
    /// The places in the batch of the rows of `columns`, where a filter left some out.
    kept: Option<Arc<[u32]>>,
    high_watermark: Option<i64>,
}

impl ScanBatch {
    /// Where the rows are stored.
    #[must_use]
    pub fn bucket(&self) -> BucketKey {
        self.bucket
    }

    /// Offset of the first row. The others follow without gaps, unless the scan has a
    /// [filter](crate::ScanBuilder::filter); see [`offset`](Self::offset).
    #[must_use]
    pub fn base_offset(&self) -> i64 {
        self.batch.base_offset() + self.place(0)
    }

    /// Offset of the row with this index; None beyond the last row.
    #[must_use]
    pub fn offset(&self, row: usize) -> Option<i64> {
        (row < self.rows.len()).then(|| self.batch.base_offset() + self.place(row))
    }

    /// The place in its batch of one of the rows.
    fn place(&self, row: usize) -> i64 {
        let at = self.rows.start + row;
        let kept = self.kept.as_ref().and_then(|kept| kept.get(at));
        kept.map_or(at as i64, |place| i64::from(*place))
    }

    /// Number of rows, at least 1.
    #[must_use]
    pub fn num_rows(&self) -> usize {
        self.rows.len()
    }

    /// The rows' columns, and behind them the metadata columns that were asked for with
    /// [`ScanBuilder::with_metadata_columns`](crate::ScanBuilder::with_metadata_columns). Shares
    /// the memory of this batch.
    #[must_use]
    pub fn record_batch(&self) -> RecordBatch {
        self.columns.slice(self.rows.start, self.rows.len())
    }

    /// What the table's columns are.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// What the row with this index did to its table; None beyond the last row.
    #[must_use]
    pub fn change_type(&self, row: usize) -> Option<ChangeType> {
        (row < self.rows.len()).then(|| self.change_types.get(self.rows.start + row)).flatten()
    }

    /// Whether every row is an append, as in all log tables.
    #[must_use]
    pub fn is_append_only(&self) -> bool {
        self.change_types.is_append_only()
    }

    /// When the server stored the rows, in milliseconds since 1970.
    #[must_use]
    pub fn timestamp(&self) -> i64 {
        self.batch.commit_timestamp()
    }

    /// The bucket's high watermark when the rows were fetched, where the server told it.
    #[must_use]
    pub fn high_watermark(&self) -> Option<i64> {
        self.high_watermark
    }

    /// The rows one by one.
    ///
    /// # Errors
    /// [`Error::Scan`] with bucket and offset for values that Arrow has and the table's types have
    /// not, such as a time of day beyond midnight.
    pub fn rows(&self) -> Result<ScanRows> {
        let changes = self.change_types.clone();
        let rows = LogRows::new(&self.schema, &self.columns, &self.batch, changes);
        let rows = rows.map_err(|error| {
            Error::Scan(ScanError::new(self.bucket, self.base_offset(), error.into()))
        })?;
        Ok(ScanRows { rows: rows.kept(self.kept.clone()), range: self.rows.clone() })
    }
}

impl ScanBatch {
    /// Leaves the other rows out.
    fn keep(&mut self, passed: &BooleanArray) -> Result<()> {
        let (start, count) = (self.rows.start, passed.true_count());
        // A batch counts its rows with 31 bits.
        let places = passed.values().set_indices().map(|at| (start + at) as u32);
        let places: Arc<[u32]> = places.collect();
        let columns = self.columns.slice(start, self.rows.len());
        self.columns = filter_record_batch(&columns, passed)
            .map_err(|error| Error::misuse(format!("rows that a filter wants: {error}")))?;
        if !self.change_types.is_append_only() {
            let changes = places.iter().filter_map(|at| self.change_types.get(*at as usize));
            self.change_types = changes.collect();
        }
        (self.rows, self.kept) = (0..count, Some(places));
        Ok(())
    }
}

impl RowFilter {
    /// Which of these rows are wanted; None if all are.
    fn judge(&self, columns: &RecordBatch, rows: &Range<usize>) -> Result<Option<BooleanArray>> {
        let arrays = self.places.iter().filter_map(|place| columns.columns().get(*place));
        let arrays: Vec<ArrayRef> =
            arrays.map(|array| array.slice(rows.start, rows.len())).collect();
        let passed = self.bound.judge(&arrays, rows.len()).map_err(Error::misuse)?;
        let passed = BooleanArray::new(passed, None);
        Ok((passed.true_count() < rows.len()).then_some(passed))
    }
}

/// The rows of a [`ScanBatch`].
#[derive(Clone, Debug)]
pub struct ScanRows {
    rows: LogRows,
    range: Range<usize>,
}

impl ScanRows {
    /// The rows in order, each with its offset and change type; nothing is copied.
    pub fn iter(&self) -> impl Iterator<Item = RowView<'_>> {
        self.range.clone().filter_map(|index| self.rows.row(index))
    }

    /// The rows in order as structs, see [`RowView::to`]. One that does not fit is an error in its
    /// place, and the others follow.
    #[cfg(feature = "serde")]
    pub fn deserialize<'a, T: serde_core::Deserialize<'a>>(
        &'a self,
    ) -> impl Iterator<Item = Result<T, crate::row::RowReadError>> + use<'a, T> {
        self.range.clone().filter_map(|index| self.rows.row(index)).map(|row| row.to())
    }
}

/// How batches of one stored schema become rows of the table as it was opened.
#[derive(Debug)]
struct Mapping {
    decoder: LogDecoder,
    /// For each wanted column its place in the decoded ones; None where the stored schema had no
    /// such column yet.
    places: Vec<Option<usize>>,
    /// Whether what is decoded is what is wanted.
    same: bool,
}

impl Mapping {
    fn new(decoder: LogDecoder, places: Vec<Option<usize>>, wanted: &SchemaRef) -> Self {
        let same = decoder.arrow_schema() == wanted
            && places.iter().enumerate().all(|(i, place)| *place == Some(i));
        Self { decoder, places, same }
    }
}

/// Which rows are wanted.
#[derive(Debug)]
struct RowFilter {
    bound: Bound,
    /// For each of its columns the place among the decoded ones.
    places: Vec<usize>,
}

/// Reads fetched batches of a table.
#[derive(Debug)]
pub(crate) struct BatchReader {
    /// What is decoded: the wanted columns, and behind them those that only the filter asks.
    decoded: Schema,
    arrow: SchemaRef,
    /// What comes out, without metadata columns.
    schema: Schema,
    filter: Option<RowFilter>,
    metadata: Vec<MetadataColumn>,
    /// With the metadata columns.
    out: SchemaRef,
    format: LogFormat,
    /// Whether CHAR columns come with the zero bytes they were padded with.
    padded: bool,
    mappings: BTreeMap<i16, Mapping>,
    /// The columns of the stored schema that servers send, ascending; None for all.
    projection: Option<Arc<[i32]>>,
    /// The same for batches of these columns only.
    projected: BTreeMap<i16, Mapping>,
    /// One for all batches, whatever their schema: they are read one after the other.
    unpacker: Unpacker,
}

impl BatchReader {
    /// A reader of these columns of the table, in this order, whose log has this format and is
    /// stored with `schema` and this id unless told otherwise.
    pub(crate) fn new(
        format: LogFormat,
        schema: &Schema,
        schema_id: i16,
        columns: &[usize],
    ) -> Result<Self> {
        let wanted: Vec<Column> =
            columns.iter().filter_map(|i| schema.columns().get(*i)).cloned().collect();
        let wanted = Schema::new(wanted, vec![]);
        let decoder = LogDecoder::new(format, schema, columns)?;
        let places = (0..columns.len()).map(Some).collect();
        let arrow = arrow_schema_of(&wanted);
        let mapping = Mapping::new(decoder, places, &arrow);
        let mappings = BTreeMap::from([(schema_id, mapping)]);
        let (metadata, out) = (Vec::new(), Arc::clone(&arrow));
        Ok(Self {
            decoded: wanted.clone(),
            arrow,
            schema: wanted,
            filter: None,
            metadata,
            out,
            format,
            padded: false,
            mappings,
            projection: None,
            projected: BTreeMap::new(),
            unpacker: Unpacker::default(),
        })
    }

    /// The same where servers may leave out all but these columns of `stored`, which are ascending.
    pub(crate) fn with_projection(
        mut self,
        schema_id: i16,
        stored: &Schema,
        columns: Arc<[i32]>,
    ) -> Result<Self> {
        self.projection = Some(columns);
        self.learn_projected(schema_id, stored)?;
        Ok(self)
    }

    /// The same for the rows only that this filter wants. Of the columns, the first ones come out,
    /// so many; those of the filter are at these places.
    pub(crate) fn with_filter(self, bound: Bound, places: Vec<usize>, wanted: usize) -> Self {
        let columns = self.decoded.columns().iter().take(wanted).cloned().collect();
        let schema = Schema::new(columns, vec![]);
        let out = arrow_schema_of(&schema);
        Self { schema, out, filter: Some(RowFilter { bound, places }), ..self }
    }

    /// Whether rows may be left out.
    pub(crate) fn is_filtered(&self) -> bool {
        self.filter.is_some()
    }

    /// The same with these columns behind those of the table.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the table has a column of the same name.
    pub(crate) fn with_metadata(self, columns: &[MetadataColumn]) -> Result<Self> {
        let out = with_metadata(&self.out, columns)?;
        Ok(Self { metadata: columns.to_vec(), out, ..self })
    }

    /// The same for an ARROW changelog that a server made of INDEXED rows.
    pub(crate) fn of_padded_rows(self) -> Self {
        Self { padded: self.format == LogFormat::Arrow, ..self }
    }

    /// What comes out, without metadata columns.
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// What record batches have, metadata columns included.
    pub(crate) fn arrow_schema(&self) -> &SchemaRef {
        &self.out
    }

    /// Whether batches with this schema can be read.
    pub(crate) fn knows(&self, schema_id: i16) -> bool {
        self.mappings.contains_key(&schema_id)
    }

    /// Learns another schema of the table. Columns are the same if they have the same id, whatever
    /// their names; without ids, if they have the same name.
    ///
    /// # Errors
    /// [`Error::Misuse`] if a column changed its type.
    pub(crate) fn learn(&mut self, schema_id: i16, stored: &Schema) -> Result<()> {
        let mapping = self.mapping(schema_id, stored)?;
        self.learn_projected(schema_id, stored)?;
        self.mappings.insert(schema_id, mapping);
        Ok(())
    }

    fn learn_projected(&mut self, schema_id: i16, stored: &Schema) -> Result<()> {
        let Some(places) = &self.projection else { return Ok(()) };
        let column = |place: &i32| stored.columns().get(usize::try_from(*place).ok()?).cloned();
        // Servers refuse to project batches that lack one of the columns.
        let Some(columns) = places.iter().map(column).collect::<Option<Vec<_>>>() else {
            return Ok(());
        };
        let mapping = self.mapping(schema_id, &Schema::new(columns, vec![]))?;
        self.projected.insert(schema_id, mapping);
        Ok(())
    }

    /// How batches with these columns become rows of the table.
    fn mapping(&self, schema_id: i16, stored: &Schema) -> Result<Mapping> {
        let mut found = Vec::new();
        let mut places = Vec::with_capacity(self.decoded.columns().len());
        for wanted in self.decoded.columns() {
            let same = |column: &Column| match (column.id, wanted.id) {
                (Some(a), Some(b)) => a == b,
                _ => column.name == wanted.name,
            };
            let Some(index) = stored.columns().iter().position(same) else {
                places.push(None);
                continue;
            };
            let column = &stored.columns()[index];
            if column.data_type.kind != wanted.data_type.kind {
                return Err(Error::misuse(format!(
                    "column `{}` was {} when batches of schema {schema_id} were written and is {} \
                     now; open the table with that schema to read them",
                    wanted.name, column.data_type, wanted.data_type
                )));
            }
            places.push(Some(found.len()));
            found.push(index);
        }
        let decoder = LogDecoder::new(self.format, stored, &found)?;
        Ok(Mapping::new(decoder, places, &self.arrow))
    }

    /// The rows of a batch from the wanted offset on and before `end`. None if there are none. The
    /// checksum is verified, except where a server left columns out: it is not that of what is
    /// left, whose structure is looked at all the same.
    ///
    /// # Errors
    /// [`Error::Decode`] for a damaged batch, [`Error::Misuse`] for a schema that is not known.
    pub(crate) fn read(
        &mut self,
        fetched: &FetchedBatch,
        end: Option<i64>,
    ) -> Result<Option<ScanBatch>> {
        let batch = &fetched.batch;
        // Without records, a batch is sent as it is stored.
        let projected = fetched.projected && batch.record_count() > 0;
        if !projected {
            batch.verify_checksum().map_err(DecodeError::from)?;
        }
        let count = batch.record_count() as usize;
        // Offsets were checked to be sensible, so the differences do not overflow.
        let index = |offset: i64| {
            usize::try_from(offset.saturating_sub(batch.base_offset())).unwrap_or(0).min(count)
        };
        let rows = index(fetched.start_offset)..end.map_or(count, index);
        if rows.is_empty() {
            return Ok(None);
        }
        let id = batch.schema_id();
        let mappings = if projected { &self.projected } else { &self.mappings };
        let mapping = mappings.get(&id).ok_or_else(|| match projected {
            true => DecodeError::message(format!("schema {id} lacks a column of it")).into(),
            false => Error::misuse(format!("schema {id} of the table is not known")),
        })?;
        let (columns, change_types) = mapping.decoder.decode_with(batch, &mut self.unpacker)?;
        let mut columns = self.columns(mapping, columns, id, count)?;
        if self.padded {
            columns = without_padding(&self.decoded, columns)
                .map_err(|error| Error::misuse(format!("CHAR columns: {error}")))?;
        }
        let passed = match &self.filter {
            Some(filter) => filter.judge(&columns, &rows)?,
            None => None,
        };
        if passed.as_ref().is_some_and(|passed| passed.true_count() == 0) {
            return Ok(None);
        }
        let wanted = self.schema.columns().len();
        if wanted < columns.num_columns() || !self.metadata.is_empty() {
            columns = self.finished(&columns, wanted, batch, &change_types)?;
        }
        let mut found = ScanBatch {
            bucket: fetched.bucket,
            schema: self.schema.clone(),
            columns,
            change_types,
            batch: batch.clone(),
            rows,
            kept: None,
            high_watermark: fetched.high_watermark,
        };
        if let Some(passed) = passed {
            found.keep(&passed)?;
        }
        Ok(Some(found))
    }

    /// The first columns, so many, and behind them the metadata columns.
    fn finished(
        &self,
        columns: &RecordBatch,
        wanted: usize,
        batch: &LogBatch,
        changes: &ChangeTypes,
    ) -> Result<RecordBatch> {
        let rows = columns.num_rows();
        let metadata = self.metadata.iter().map(|column| column.array(batch, changes, rows));
        let all = columns.columns().iter().take(wanted).cloned().chain(metadata).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.out), all, &options)
            .map_err(|error| Error::misuse(format!("metadata columns: {error}")))
    }

    fn columns(
        &self,
        mapping: &Mapping,
        decoded: RecordBatch,
        id: i16,
        rows: usize,
    ) -> Result<RecordBatch> {
        if mapping.same {
            return Ok(decoded);
        }
        let column = |(place, field): (&Option<usize>, &arrow_schema::FieldRef)| -> ArrayRef {
            match place {
                Some(place) => Arc::clone(decoded.column(*place)),
                None => new_null_array(field.data_type(), rows),
            }
        };
        let columns = mapping.places.iter().zip(self.arrow.fields()).map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.arrow), columns, &options).map_err(
            |error| Error::misuse(format!("rows of schema {id} do not fit the table: {error}")),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{ArrowBatchBuilder, ArrowBatchOptions};
    use crate::ids::TableId;
    use crate::row::{DataType, TypeKind};
    use crate::scanner::testkit::bucket;
    use arrow_array::Int32Array;
    use arrow_array::cast::AsArray;
    use fluss_proto::record::{Stamp, write_append_position};

    fn column(name: &str, id: i32, kind: TypeKind) -> Column {
        Column { id: Some(id), ..Column::new(name, DataType { kind, nullable: true }) }
    }

    fn old_schema() -> Schema {
        let columns = vec![column("a", 0, TypeKind::Int), column("b", 1, TypeKind::String)];
        Schema::new(columns, vec![])
    }

    /// A batch of schema 1 with `a` counting from `base`, stored at `base`.
    fn stored(base: i64, rows: i32, start: i64) -> FetchedBatch {
        let mut builder =
            ArrowBatchBuilder::new(old_schema(), ArrowBatchOptions::default()).expect("a builder");
        for i in 0..rows {
            builder.try_push(&(base as i32 + i, "x")).expect("fits");
        }
        let sealed = builder.seal(1, Vec::new()).expect("rows");
        let mut bytes = [&sealed.stamp(Stamp::NONE)[..], &sealed.payload()].concat();
        write_append_position(&mut bytes, base, 5000, 0).expect("a header");
        let check = fluss_proto::record::Check::Structure;
        let batch = LogBatch::new_checked(bytes.into(), check).expect("a batch");
        FetchedBatch {
            bucket: bucket(2),
            start_offset: start,
            next_offset: batch.next_offset(),
            high_watermark: Some(99),
            projected: false,
            batch,
        }
    }

    fn ints(batch: &ScanBatch, column: usize) -> Vec<i32> {
        let columns = batch.record_batch();
        let array: &Int32Array = columns.column(column).as_primitive();
        array.values().to_vec()
    }

    #[test]
    fn rows_before_the_start_and_from_the_end_on_are_cut_off() {
        let mut reader =
            BatchReader::new(LogFormat::Arrow, &old_schema(), 1, &[0, 1]).expect("columns");
        let batch = reader.read(&stored(10, 5, 12), Some(14)).expect("good").expect("rows");
        assert_eq!((batch.base_offset(), batch.num_rows(), ints(&batch, 0)), (12, 2, vec![12, 13]));
        assert_eq!((batch.bucket(), batch.timestamp()), (bucket(2), 5000));
        assert_eq!(batch.change_type(1), Some(ChangeType::Append));
        assert_eq!(batch.change_type(2), None);
        let rows = batch.rows().expect("good");
        let seen: Vec<_> = rows.iter().map(|r| r.offset()).collect();
        assert_eq!(seen, [12, 13]);
        assert!(reader.read(&stored(10, 5, 12), Some(11)).expect("good").is_none());
    }

    #[test]
    fn a_flipped_bit_anywhere_is_an_error() {
        let mut reader =
            BatchReader::new(LogFormat::Arrow, &old_schema(), 1, &[0, 1]).expect("columns");
        let mut fetched = stored(0, 5, 0);
        let mut bytes = fetched.batch.bytes().to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 4;
        let check = fluss_proto::record::Check::Structure;
        fetched.batch = LogBatch::new_checked(bytes.into(), check).expect("a header");
        let error = reader.read(&fetched, None).expect_err("damaged");
        assert!(error.to_string().contains("checksum"), "{error}");
    }

    #[test]
    fn metadata_columns_of_the_name_of_a_column_are_refused_by_name() {
        // Servers refuse such columns in tables that are made now.
        let columns = vec![column("_log_offset", 0, TypeKind::Int), column("b", 1, TypeKind::Int)];
        let schema = Schema::new(columns, vec![]);
        let reader = |columns: &[usize]| {
            BatchReader::new(LogFormat::Arrow, &schema, 1, columns).expect("ok")
        };
        let error = reader(&[0, 1]).with_metadata(&MetadataColumn::ALL).expect_err("it is there");
        assert!(error.to_string().contains("`_log_offset`"), "{error}");
        let others = [MetadataColumn::ChangeType, MetadataColumn::Timestamp];
        assert!(reader(&[0, 1]).with_metadata(&others).is_ok());
        assert!(reader(&[1]).with_metadata(&MetadataColumn::ALL).is_ok(), "it is not read");
    }

    #[test]
    fn columns_of_older_schemas_are_found_by_id_and_missing_ones_are_null() {
        let columns = vec![
            column("renamed", 0, TypeKind::Int),
            column("b", 1, TypeKind::String),
            column("new", 2, TypeKind::Int),
        ];
        let mut reader =
            BatchReader::new(LogFormat::Arrow, &Schema::new(columns, vec![]), 2, &[2, 0])
                .expect("ok");
        assert!(!reader.knows(1));
        assert!(reader.read(&stored(0, 3, 0), None).is_err());
        reader.learn(1, &old_schema()).expect("compatible");
        let batch = reader.read(&stored(0, 3, 0), None).expect("good").expect("rows");
        assert_eq!(batch.record_batch().column(0).null_count(), 3);
        assert_eq!(ints(&batch, 1), [0, 1, 2]);
        assert_eq!(batch.record_batch().schema().field(1).name(), "renamed");
        assert_eq!(batch.bucket().table, TableId(7));

        let changed = Schema::new(vec![column("renamed", 0, TypeKind::BigInt)], vec![]);
        let mut reader = BatchReader::new(LogFormat::Arrow, &changed, 2, &[0]).expect("ok");
        let error = reader.learn(1, &old_schema()).expect_err("another type");
        assert!(error.to_string().contains("`renamed`"), "{error}");
    }
}
