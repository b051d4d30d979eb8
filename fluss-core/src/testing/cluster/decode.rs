//! Rows of stored batches, for the oracle. Written apart from the client's own decoder, so that a
//! mistake there does not hide itself.

use arrow_ipc::{CompressionType, RecordBatch, root_as_message};
use fluss_proto::record::{ChangeType, LogBatch, LogRecords};
use std::io::Read;

use crate::row::{
    Decimal, OwnedDatum, OwnedRow, RowLayout, Schema, Timestamp, TypeKind, compacted, indexed,
};

/// Reads an Arrow message; an error says what is wrong.
pub(super) fn arrow_rows(schema: &Schema, message: &[u8]) -> Result<Vec<OwnedRow>, String> {
    let size = message.get(4..8).and_then(|size| size.try_into().ok()).map(u32::from_le_bytes);
    let size = size.ok_or("no Arrow prefix")? as usize;
    let metadata = message.get(8..8 + size).ok_or("the metadata is cut")?.to_vec();
    let body = &message[8 + size..];
    let metadata = root_as_message(&metadata).map_err(|error| error.to_string())?;
    let batch = metadata.header_as_record_batch().ok_or("no record batch")?;
    let rows = usize::try_from(batch.length()).map_err(|error| error.to_string())?;
    let mut values: Vec<Vec<OwnedDatum>> = vec![Vec::new(); rows];
    let mut arrow = Arrow { batch, body, next: 0 };
    for column in schema.columns() {
        let read = arrow.column(&column.data_type.kind, rows);
        let read = read.map_err(|error| format!("column {}: {error}", column.name))?;
        values.iter_mut().zip(read).for_each(|(row, value)| row.push(value));
    }
    Ok(values.into_iter().map(OwnedRow::new).collect())
}

/// The buffers of a message, taken one behind the other.
struct Arrow<'a> {
    batch: RecordBatch<'a>,
    body: &'a [u8],
    next: usize,
}

impl Arrow<'_> {
    fn buffer(&mut self) -> Result<Vec<u8>, String> {
        self.next += 1;
        inflated(&self.batch, self.body, self.next - 1)
    }

    /// This many values of a type, with whatever is inside them.
    fn column(&mut self, kind: &TypeKind, count: usize) -> Result<Vec<OwnedDatum>, String> {
        let validity = self.buffer()?;
        let mut values = match kind {
            TypeKind::Array(element) => {
                let ends = self.ends(count)?;
                let elements = self.column(&element.kind, total(&ends))?;
                dealt(elements, &ends).into_iter().map(OwnedDatum::Array).collect()
            }
            TypeKind::Map(key, value) => {
                let ends = self.ends(count)?;
                // The bitmap of the pairs, none of which is null.
                self.buffer()?;
                let keys = self.column(&key.kind, total(&ends))?;
                let entries = keys.into_iter().zip(self.column(&value.kind, total(&ends))?);
                dealt(entries.collect(), &ends).into_iter().map(OwnedDatum::Map).collect()
            }
            TypeKind::Row(fields) => {
                let mut rows = vec![Vec::with_capacity(fields.len()); count];
                for field in fields {
                    let column = self.column(&field.data_type.kind, count)?;
                    rows.iter_mut().zip(column).for_each(|(row, value)| row.push(value));
                }
                rows.into_iter().map(OwnedDatum::Row).collect()
            }
            scalar => {
                let more = matches!(scalar, TypeKind::Char(_) | TypeKind::String | TypeKind::Bytes);
                let mut buffers = vec![Vec::new(), self.buffer()?];
                if more {
                    buffers.push(self.buffer()?);
                }
                // What stands in the place of a null may be no value at all.
                let null = |at| bit(&validity, at) == Some(false);
                let read = (0..count).map(|at| match null(at) {
                    true => Ok(OwnedDatum::Null),
                    false => value(scalar, &buffers, at).ok_or(format!("cut at value {at}")),
                });
                read.collect::<Result<Vec<_>, String>>()?
            }
        };
        for (at, value) in values.iter_mut().enumerate() {
            if !validity.is_empty() && !bit(&validity, at).ok_or("its validity is cut")? {
                *value = OwnedDatum::Null;
            }
        }
        Ok(values)
    }

    /// Where each of this many lists ends.
    fn ends(&mut self, count: usize) -> Result<Vec<usize>, String> {
        let offsets = self.buffer()?;
        let end = |at| fixed(&offsets, at + 1).map(u32::from_le_bytes).map(|end| end as usize);
        let ends: Option<Vec<usize>> = (0..count).map(end).collect();
        ends.filter(|ends| ends.is_sorted()).ok_or_else(|| "its offsets are broken".into())
    }
}

fn total(ends: &[usize]) -> usize {
    ends.last().copied().unwrap_or(0)
}

fn dealt<T>(items: Vec<T>, ends: &[usize]) -> Vec<Vec<T>> {
    let mut items = items.into_iter();
    let starts = std::iter::once(&0).chain(ends);
    let list = |(start, end): (&usize, &usize)| items.by_ref().take(end - start).collect();
    starts.zip(ends).map(list).collect()
}

/// Reads the records of an INDEXED or COMPACTED log batch.
pub(super) fn record_rows(
    format: RowFormat,
    schema: &Schema,
    batch: &LogBatch,
) -> Result<Vec<(ChangeType, OwnedRow)>, String> {
    let layout = RowLayout::new(schema);
    let records: LogRecords = batch.records();
    let decode = |record: Result<fluss_proto::record::LogRecord, _>| {
        let record = record.map_err(|error: fluss_proto::record::RecordError| error.to_string())?;
        let row = format.decode(&layout, &record.row)?;
        Ok((record.change_type, row))
    };
    records.map(decode).collect()
}

/// How rows are encoded, in a KV store or in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowFormat {
    Compacted,
    Indexed,
}

impl RowFormat {
    /// The format with this name, as servers read it from a table's properties.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        match name {
            "COMPACTED" => Some(Self::Compacted),
            "INDEXED" => Some(Self::Indexed),
            _ => None,
        }
    }

    pub(super) fn decode(self, layout: &RowLayout, bytes: &[u8]) -> Result<OwnedRow, String> {
        let row = match self {
            Self::Compacted => compacted::decode(layout, bytes),
            Self::Indexed => indexed::decode(layout, bytes),
        };
        row.map_err(|error| error.to_string())
    }

    pub(super) fn encode(self, layout: &RowLayout, row: &OwnedRow) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let encoded = match self {
            Self::Compacted => compacted::encode(layout, row, &mut bytes),
            Self::Indexed => indexed::encode(layout, row, &mut bytes),
        };
        encoded.map(|()| bytes).map_err(|error| error.to_string())
    }
}

fn inflated(batch: &RecordBatch<'_>, body: &[u8], at: usize) -> Result<Vec<u8>, String> {
    let buffers = batch.buffers().filter(|buffers| at < buffers.len()).ok_or("too few buffers")?;
    let (offset, length) = (buffers.get(at).offset(), buffers.get(at).length());
    let range = usize::try_from(offset).ok().zip(usize::try_from(length).ok());
    let bytes = range.and_then(|(offset, length)| body.get(offset..offset.checked_add(length)?));
    let bytes = bytes.ok_or_else(|| format!("buffer {at} is outside the body"))?;
    let Some(compression) = batch.compression().filter(|_| !bytes.is_empty()) else {
        return Ok(bytes.to_vec());
    };
    let (prefix, packed) = bytes.split_first_chunk::<8>().ok_or("a buffer without its size")?;
    if i64::from_le_bytes(*prefix) == -1 {
        return Ok(packed.to_vec());
    }
    let mut out = Vec::new();
    let read = match compression.codec() {
        CompressionType::ZSTD => {
            zstd::stream::read::Decoder::new(packed).and_then(|mut zstd| zstd.read_to_end(&mut out))
        }
        _ => lz4_flex::frame::FrameDecoder::new(packed).read_to_end(&mut out),
    };
    read.map_err(|error| error.to_string())?;
    Ok(out)
}

fn bit(bytes: &[u8], at: usize) -> Option<bool> {
    bytes.get(at / 8).map(|byte| byte >> (at % 8) & 1 == 1)
}

fn fixed<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at * N..(at + 1) * N)?.try_into().ok()
}

fn variable(buffers: &[Vec<u8>], at: usize) -> Option<&[u8]> {
    let offset = |at| fixed(&buffers[1], at).map(u32::from_le_bytes);
    buffers[2].get(offset(at)? as usize..offset(at + 1)? as usize)
}

fn value(kind: &TypeKind, buffers: &[Vec<u8>], at: usize) -> Option<OwnedDatum> {
    let bytes = &buffers[1][..];
    let int32 = || fixed(bytes, at).map(i32::from_le_bytes);
    let int64 = || fixed(bytes, at).map(i64::from_le_bytes);
    Some(match *kind {
        TypeKind::Boolean => OwnedDatum::Bool(bit(bytes, at)?),
        TypeKind::TinyInt => OwnedDatum::Int8(fixed(bytes, at).map(i8::from_le_bytes)?),
        TypeKind::SmallInt => OwnedDatum::Int16(fixed(bytes, at).map(i16::from_le_bytes)?),
        TypeKind::Int => OwnedDatum::Int32(int32()?),
        TypeKind::BigInt => OwnedDatum::Int64(int64()?),
        TypeKind::Float => OwnedDatum::Float32(fixed(bytes, at).map(f32::from_le_bytes)?),
        TypeKind::Double => OwnedDatum::Float64(fixed(bytes, at).map(f64::from_le_bytes)?),
        TypeKind::Decimal { scale, .. } => {
            let unscaled = fixed(bytes, at).map(i128::from_le_bytes)?;
            OwnedDatum::Decimal(Decimal::new(unscaled, scale))
        }
        TypeKind::Char(_) | TypeKind::String => {
            OwnedDatum::Str(std::str::from_utf8(variable(buffers, at)?).ok()?.into())
        }
        TypeKind::Bytes => OwnedDatum::Bytes(variable(buffers, at)?.into()),
        TypeKind::Binary(length) => {
            let length = length as usize;
            OwnedDatum::Bytes(bytes.get(at * length..(at + 1) * length)?.into())
        }
        TypeKind::Date => OwnedDatum::Date(int32()?),
        TypeKind::Time(precision) => OwnedDatum::Time(match precision {
            0 => int32()?.checked_mul(1000)?,
            1..=3 => int32()?,
            4..=6 => i32::try_from(int64()? / 1000).ok()?,
            _ => i32::try_from(int64()? / 1_000_000).ok()?,
        }),
        TypeKind::Timestamp(precision) => OwnedDatum::Timestamp(timestamp(int64()?, precision)?),
        TypeKind::TimestampLtz(precision) => {
            OwnedDatum::TimestampLtz(timestamp(int64()?, precision)?)
        }
        TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_) => return None,
    })
}

fn timestamp(value: i64, precision: u8) -> Option<Timestamp> {
    Some(match precision {
        0 => Timestamp::from_millis(value.checked_mul(1000)?),
        1..=3 => Timestamp::from_millis(value),
        4..=6 => Timestamp::from_micros(value),
        _ => Timestamp::from_nanos(value),
    })
}
