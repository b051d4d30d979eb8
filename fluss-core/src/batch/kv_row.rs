//! From rows to the key and row bytes of a primary-key table.

use crate::row::compacted::CompactedWriter;
use crate::row::indexed::IndexedWriter;
use crate::row::key::{KeyEncoder, KeyFormat, KeyRules};
use crate::row::short::{ShortRecord, ShortRow};
use crate::row::{
    Columns, Datum, OwnedDatum, OwnedRow, Row, RowDecodeError, RowError, RowLayout, RowSink,
    Schema, compacted, indexed,
};

/// The format of the values in a primary-key table, its property `table.kv.format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvFormat {
    /// COMPACTED, the default.
    #[default]
    Compacted,
    /// INDEXED.
    Indexed,
}

/// Why rows of a table cannot be written in the way asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KvEncoderError {
    /// A log table.
    #[error("the table has no primary key: append rows to it, it takes no upserts or deletes")]
    NoPrimaryKey,
    /// All columns of the primary key are partition columns.
    #[error("the primary key has no column besides the partition columns: add one")]
    NoKeyBesidesPartition,
    /// A bucket key column outside the key.
    #[error("the bucket key column `{0}` is not part of the primary key without partition columns")]
    BucketKey(String),
    /// A column cannot be part of a key.
    #[error(transparent)]
    Key(#[from] RowError),
    /// A partial update without a column of the primary key.
    #[error("the columns to update lack `{0}` of the primary key: add it")]
    KeyMissing(String),
    /// A partial update of a column whose values the server makes.
    #[error("`{0}` is the auto-increment column, the server makes its values: leave it out")]
    AutoIncrement(String),
    /// A full update of a table with an auto-increment column.
    #[error("the server makes the values of `{0}`: name the columns to write, without that one")]
    OnlyPartial(String),
    /// A partial update of a table with a NOT NULL column outside the key.
    #[error("`{0}` is NOT NULL and outside the primary key, such a table takes only whole rows")]
    NotNullable(String),
    /// The same column twice among those to update.
    #[error("the columns to update name `{0}` twice: remove one")]
    Repeated(String),
}

/// Buffers in which rows are encoded, kept from row to row.
#[derive(Clone, Debug, Default)]
pub struct KvScratch {
    short: ShortRow,
    row: Vec<u8>,
    key: Vec<u8>,
    bucket: Vec<u8>,
    /// Where the key stands in the row, if its bytes are the same there.
    key_in_row: Option<(usize, usize)>,
    own_bucket_key: bool,
}

impl KvScratch {
    /// The key of the row encoded last.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self.key_in_row {
            Some((start, end)) => &self.row[start..end],
            None => &self.key,
        }
    }

    /// The bytes of the row encoded last; empty after a delete.
    #[inline]
    #[must_use]
    pub fn row(&self) -> &[u8] {
        &self.row
    }

    /// The bytes that place the row in a bucket; the key itself unless the table says otherwise.
    #[inline]
    #[must_use]
    pub fn bucket_key(&self) -> &[u8] {
        if self.own_bucket_key { &self.bucket } else { self.key() }
    }

    fn clear(&mut self) {
        self.row.clear();
        self.key.clear();
        self.bucket.clear();
        self.key_in_row = None;
    }
}

/// Turns rows of one table into key and row bytes, each row in one go and without allocating once
/// the scratch has grown.
///
/// ```
/// use fluss_core::batch::{KvFormat, KvRowEncoder, KvScratch};
/// use fluss_core::row::{DataType, Schema};
///
/// let schema = Schema::builder()
///     .column("id", DataType::INT)
///     .column("name", DataType::STRING)
///     .primary_key(["id"])
///     .build()?;
/// let encoder = KvRowEncoder::new(&schema, &[], &[], KvFormat::Compacted)?;
/// let mut scratch = KvScratch::default();
/// encoder.encode(&(1, "one"), &mut scratch)?;
/// assert_eq!(scratch.key(), [1]);
/// assert_eq!(scratch.row(), [0, 1, 3, b'o', b'n', b'e']);
/// encoder.encode_delete(&(2,), &mut scratch)?;
/// assert_eq!(scratch.key(), [2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct KvRowEncoder {
    layout: RowLayout,
    format: KvFormat,
    targets: Option<Targets>,
    /// The key from a row as upserts take it, and from the primary key's values alone.
    key: KeyEncoder,
    key_of_key: KeyEncoder,
    /// The same for the bucket key, where it is not the key.
    bucket: Option<(KeyEncoder, KeyEncoder)>,
    /// The first key column and the one after the last, if they stand together in key order.
    run: Option<(usize, usize)>,
    may_be_short: bool,
}

/// The columns a partial update writes.
#[derive(Clone, Debug)]
struct Targets {
    columns: Box<[usize]>,
    /// Positions in `columns` in schema order; None if that is the order they are in.
    reorder: Option<Box<[usize]>>,
}

impl KvRowEncoder {
    /// An encoder for whole rows. `partition_key` and `bucket_key` are column positions; an empty
    /// bucket key is the primary key without the partition columns.
    ///
    /// # Errors
    /// The table has no primary key, or its keys are invalid, or it has an auto-increment column:
    /// such a table takes partial rows only, see [`partial`](Self::partial).
    pub fn new(
        schema: &Schema,
        partition_key: &[usize],
        bucket_key: &[usize],
        format: KvFormat,
    ) -> Result<Self, KvEncoderError> {
        if let Some(index) = schema.auto_increment() {
            return Err(KvEncoderError::OnlyPartial(name(schema, index)));
        }
        let all: Vec<usize> = (0..schema.columns().len()).collect();
        Self::build(schema, partition_key, bucket_key, format, &all)
    }

    /// An encoder for partial rows: each has one value for each of the `targets`, in that order.
    /// The other columns are encoded as null and left alone by the server, which learns the
    /// targets from the request.
    ///
    /// # Errors
    /// As for [`new`](Self::new); or the targets lack a key column or hold the auto-increment
    /// column, or a column outside the key is NOT NULL.
    pub fn partial(
        schema: &Schema,
        partition_key: &[usize],
        bucket_key: &[usize],
        format: KvFormat,
        targets: &[usize],
    ) -> Result<Self, KvEncoderError> {
        check_targets(schema, targets)?;
        let mut encoder = Self::build(schema, partition_key, bucket_key, format, targets)?;
        let reorder = if targets.is_sorted_by(|a, b| a < b) {
            None
        } else {
            let mut order: Box<[usize]> = (0..targets.len()).collect();
            order.sort_unstable_by_key(|&position| targets[position]);
            Some(order)
        };
        encoder.targets = Some(Targets { columns: targets.into(), reorder });
        Ok(encoder)
    }

    fn build(
        schema: &Schema,
        partition_key: &[usize],
        bucket_key: &[usize],
        format: KvFormat,
        given: &[usize],
    ) -> Result<Self, KvEncoderError> {
        let primary = schema.primary_key();
        if primary.is_empty() {
            return Err(KvEncoderError::NoPrimaryKey);
        }
        let physical: Vec<usize> =
            primary.iter().copied().filter(|column| !partition_key.contains(column)).collect();
        let (Some(&first), Some(&last)) = (physical.first(), physical.last()) else {
            return Err(KvEncoderError::NoKeyBesidesPartition);
        };
        if let Some(&column) = bucket_key.iter().find(|column| !physical.contains(column)) {
            return Err(KvEncoderError::BucketKey(name(schema, column)));
        }
        let both = |columns: &[usize]| -> Result<(KeyEncoder, KeyEncoder), RowError> {
            let of_row = KeyEncoder::for_values(schema, columns, given)?;
            Ok((of_row, KeyEncoder::for_values(schema, columns, primary)?))
        };
        let (key, key_of_key) = both(&physical)?;
        let bucket = if bucket_key.is_empty() || bucket_key == physical {
            None
        } else {
            Some(both(bucket_key)?)
        };
        let together = physical.is_sorted_by(|a, b| a + 1 == *b);
        let run = (together && format == KvFormat::Compacted).then_some((first, last + 1));
        let layout = RowLayout::new(schema);
        let may_be_short = layout.may_be_short();
        Ok(Self { layout, format, targets: None, key, key_of_key, bucket, run, may_be_short })
    }

    /// Encodes keys as these rules say, instead of as a table without a data lake has them.
    ///
    /// # Errors
    /// The lake has no bytes for the type of a key column, or takes one column only.
    pub fn with_keys(self, rules: &KeyRules) -> Result<Self, KvEncoderError> {
        let (key, key_of_key) = (self.key, self.key_of_key);
        let bucket = match self.bucket {
            None if rules.key == rules.bucket_key => None,
            None => Some((key.clone(), key_of_key.clone())),
            other => other,
        };
        let in_bucket = |(of_row, of_key): (KeyEncoder, KeyEncoder)| {
            let of_row = of_row.with_format(rules.bucket_key)?;
            Ok::<_, RowError>((of_row, of_key.with_format(rules.bucket_key)?))
        };
        Ok(Self {
            key: key.with_format(rules.key)?,
            key_of_key: key_of_key.with_format(rules.key)?,
            bucket: bucket.map(in_bucket).transpose()?,
            run: self.run.filter(|_| rules.key == KeyFormat::Compacted),
            ..self
        })
    }

    /// Takes only what Arrow can hold: BINARY values of their type's length, and times that fit 64
    /// bits in their column's unit. Where the changelog is kept in Arrow, the server cannot apply
    /// other BINARY values and answers the whole batch with an unknown error, and it lets other
    /// times go round and writes down another one without a word. A changelog of rows holds all,
    /// but whoever reads it as columns finds no place for them there.
    #[must_use]
    pub(crate) fn within_arrow(mut self) -> Self {
        self.layout = self.layout.within_arrow();
        self
    }

    /// Takes no BINARY value that ends in a zero byte, as a table with INDEXED rows and an ARROW
    /// changelog needs it: the server takes the zero bytes for padding, has then too few for Arrow,
    /// and answers the whole batch with an unknown error, again and again.
    #[must_use]
    pub(crate) fn with_solid_binary(mut self) -> Self {
        self.layout = self.layout.with_solid_binary();
        self
    }

    /// Takes no CHAR or BINARY value longer than its type, and no fraction of a second finer than
    /// it, as whoever writes to a table wants it.
    #[must_use]
    pub(crate) fn strict(mut self) -> Self {
        self.layout = self.layout.strict();
        self
    }

    /// The schema of the rows.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        self.layout.schema()
    }

    /// The columns a partial encoder writes; None if it writes whole rows.
    #[must_use]
    pub fn targets(&self) -> Option<&[usize]> {
        self.targets.as_ref().map(|targets| &*targets.columns)
    }

    /// Reads an encoded row back: the values as they were handed in, those of the targets only if
    /// there are any.
    ///
    /// # Errors
    /// The bytes are no such row.
    pub(crate) fn decode(&self, row: &[u8]) -> Result<OwnedRow, RowDecodeError> {
        let values = match self.format {
            KvFormat::Compacted => compacted::decode(&self.layout, row)?,
            KvFormat::Indexed => indexed::decode(&self.layout, row)?,
        };
        let Some(targets) = &self.targets else { return Ok(values) };
        let value = |at: &usize| values.values().get(*at).cloned().unwrap_or(OwnedDatum::Null);
        Ok(targets.columns.iter().map(value).collect())
    }

    /// Encodes an upsert as the record that stands for it in a batch, if it is a short one whose
    /// bucket its key decides. Nothing of the scratch is of use otherwise.
    #[inline]
    pub(crate) fn encode_short<'a, R: Row + ?Sized>(
        &self,
        row: &R,
        scratch: &'a mut KvScratch,
    ) -> Option<ShortRecord<'a>> {
        if !self.may_be_short || self.bucket.is_some() || self.targets.is_some() {
            return None;
        }
        scratch.short.write(&self.layout, self.run?, row)
    }

    /// Encodes an upsert: [`KvScratch::key`], [`KvScratch::row`] and [`KvScratch::bucket_key`].
    ///
    /// # Errors
    /// What is wrong with the row. The scratch then holds nothing of use.
    pub fn encode<R: Row + ?Sized>(
        &self,
        row: &R,
        scratch: &mut KvScratch,
    ) -> Result<(), RowError> {
        scratch.clear();
        match self.format {
            KvFormat::Compacted => {
                let writer = CompactedWriter::new(&self.layout, &mut scratch.row);
                let run = self.run.unwrap_or((usize::MAX, usize::MAX));
                let mut marked = Marked { writer, column: 0, run, bytes: (0, 0) };
                self.write(row, &mut marked)?;
                if self.run.is_some() {
                    scratch.key_in_row = Some(marked.bytes);
                }
                marked.writer.finish()?;
            }
            KvFormat::Indexed => {
                let mut writer = IndexedWriter::new(&self.layout, &mut scratch.row);
                self.write(row, &mut writer)?;
                writer.finish()?;
            }
        }
        if scratch.key_in_row.is_none() {
            self.key.encode(row, &mut scratch.key)?;
        }
        scratch.own_bucket_key = self.bucket.is_some();
        match &self.bucket {
            Some((encoder, _)) => encoder.encode(row, &mut scratch.bucket),
            None => Ok(()),
        }
    }

    /// Encodes a delete from the values of the primary key's columns, in key order:
    /// [`KvScratch::key`] and [`KvScratch::bucket_key`]. Look-ups need the same bytes.
    ///
    /// # Errors
    /// What is wrong with the key. The scratch then holds nothing of use.
    pub fn encode_delete<R: Row + ?Sized>(
        &self,
        key: &R,
        scratch: &mut KvScratch,
    ) -> Result<(), RowError> {
        scratch.clear();
        self.key_of_key.encode(key, &mut scratch.key)?;
        scratch.own_bucket_key = self.bucket.is_some();
        match &self.bucket {
            Some((_, encoder)) => encoder.encode(key, &mut scratch.bucket),
            None => Ok(()),
        }
    }

    /// Encodes a delete of a row as [`encode`](Self::encode) takes it; only its key counts.
    ///
    /// # Errors
    /// What is wrong with the row. The scratch then holds nothing of use.
    pub fn encode_delete_row<R: Row + ?Sized>(
        &self,
        row: &R,
        scratch: &mut KvScratch,
    ) -> Result<(), RowError> {
        scratch.clear();
        self.key.encode(row, &mut scratch.key)?;
        scratch.own_bucket_key = self.bucket.is_some();
        match &self.bucket {
            Some((encoder, _)) => encoder.encode(row, &mut scratch.bucket),
            None => Ok(()),
        }
    }

    /// Puts all columns of the schema, null where the row has no value.
    #[inline]
    fn write<R, S>(&self, row: &R, sink: &mut S) -> Result<(), RowError>
    where
        R: Row + ?Sized,
        S: RowSink<Error = RowError>,
    {
        match &self.targets {
            None => row.write(sink),
            Some(targets) => targets.write(self.layout.arity(), row, sink),
        }
    }
}

impl Targets {
    fn write<R, S>(&self, arity: usize, row: &R, sink: &mut S) -> Result<(), RowError>
    where
        R: Row + ?Sized,
        S: RowSink<Error = RowError>,
    {
        let mut spread = Spread { sink, column: 0, wanted: 0, seen: 0, targets: &self.columns };
        let Some(order) = &self.reorder else {
            row.write(&mut spread)?;
            return spread.finish(arity);
        };
        // Rare: the targets are not in the schema's order. A pass for each needs no memory.
        for &wanted in order {
            spread = Spread { wanted, seen: 0, ..spread };
            row.write(&mut Only(&mut spread))?;
            if spread.seen != self.columns.len() {
                return Err(RowError::arity(self.columns.len(), spread.seen));
            }
        }
        spread.pad(arity)
    }
}

/// Puts the values of a partial row at the places of their columns, null between them.
struct Spread<'a, S> {
    sink: &'a mut S,
    column: usize,
    /// The position of the next value to take.
    wanted: usize,
    seen: usize,
    targets: &'a [usize],
}

impl<S: RowSink<Error = RowError>> Spread<'_, S> {
    fn pad(&mut self, until: usize) -> Result<(), RowError> {
        while self.column < until {
            self.sink.put(Datum::Null)?;
            self.column += 1;
        }
        Ok(())
    }

    fn finish(&mut self, arity: usize) -> Result<(), RowError> {
        if self.seen != self.targets.len() {
            return Err(RowError::arity(self.targets.len(), self.seen));
        }
        self.pad(arity)
    }

    fn take(&mut self, datum: Datum<'_>) -> Result<(), RowError> {
        let Some(&target) = self.targets.get(self.wanted) else {
            return Err(RowError::arity(self.targets.len(), self.seen + 1));
        };
        self.pad(target)?;
        self.sink.put(datum)?;
        self.column += 1;
        Ok(())
    }
}

impl<S: RowSink<Error = RowError>> RowSink for Spread<'_, S> {
    type Error = RowError;

    fn columns(&self) -> Option<Columns<'_>> {
        self.sink.columns().map(|columns| columns.only(self.targets))
    }

    fn put(&mut self, datum: Datum<'_>) -> Result<(), RowError> {
        self.take(datum)?;
        self.wanted += 1;
        self.seen += 1;
        Ok(())
    }
}

/// Takes one value of the row and lets the others pass.
struct Only<'a, 'b, S>(&'a mut Spread<'b, S>);

impl<S: RowSink<Error = RowError>> RowSink for Only<'_, '_, S> {
    type Error = RowError;

    fn columns(&self) -> Option<Columns<'_>> {
        self.0.columns()
    }

    fn put(&mut self, datum: Datum<'_>) -> Result<(), RowError> {
        if self.0.seen == self.0.wanted {
            self.0.take(datum)?;
        }
        self.0.seen += 1;
        Ok(())
    }
}

/// A compacted writer that remembers where the key's columns begin and end.
struct Marked<'a> {
    writer: CompactedWriter<'a>,
    column: usize,
    run: (usize, usize),
    bytes: (usize, usize),
}

impl Marked<'_> {
    #[inline]
    fn around(
        &mut self,
        put: impl FnOnce(&mut CompactedWriter<'_>) -> Result<(), RowError>,
    ) -> Result<(), RowError> {
        if self.column == self.run.0 {
            self.bytes.0 = self.writer.written();
        }
        put(&mut self.writer)?;
        self.column += 1;
        if self.column == self.run.1 {
            self.bytes.1 = self.writer.written();
        }
        Ok(())
    }
}

impl RowSink for Marked<'_> {
    type Error = RowError;

    #[inline]
    fn columns(&self) -> Option<Columns<'_>> {
        self.writer.columns()
    }

    #[inline]
    fn put(&mut self, datum: Datum<'_>) -> Result<(), RowError> {
        self.around(|writer| writer.put(datum))
    }

    #[inline]
    fn put_i32(&mut self, value: i32) -> Result<(), RowError> {
        self.around(|writer| writer.put_i32(value))
    }

    #[inline]
    fn put_i64(&mut self, value: i64) -> Result<(), RowError> {
        self.around(|writer| writer.put_i64(value))
    }

    #[inline]
    fn put_f64(&mut self, value: f64) -> Result<(), RowError> {
        self.around(|writer| writer.put_f64(value))
    }

    #[inline]
    fn put_str(&mut self, value: &str) -> Result<(), RowError> {
        self.around(|writer| writer.put_str(value))
    }

    #[inline]
    fn put_bytes(&mut self, value: &[u8]) -> Result<(), RowError> {
        self.around(|writer| writer.put_bytes(value))
    }
}

fn name(schema: &Schema, column: usize) -> String {
    schema.columns()[column].name.clone()
}

fn check_targets(schema: &Schema, targets: &[usize]) -> Result<(), KvEncoderError> {
    let primary = schema.primary_key();
    if let Some(&column) = primary.iter().find(|column| !targets.contains(column)) {
        return Err(KvEncoderError::KeyMissing(name(schema, column)));
    }
    for (at, column) in targets.iter().enumerate() {
        if targets[..at].contains(column) {
            return Err(KvEncoderError::Repeated(name(schema, *column)));
        }
    }
    for (index, column) in schema.columns().iter().enumerate() {
        if schema.auto_increment() == Some(index) {
            if targets.contains(&index) {
                return Err(KvEncoderError::AutoIncrement(column.name.clone()));
            }
        } else if !column.data_type.nullable && !primary.contains(&index) {
            return Err(KvEncoderError::NotNullable(column.name.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "kv_row_tests.rs"]
mod tests;
