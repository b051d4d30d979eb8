//! Rows of stored batches, for the oracle. Written apart from the client's own decoder, so that a
//! mistake there does not hide itself.

use arrow_ipc::{CompressionType, RecordBatch, root_as_message};
use fluss_proto::record::{ChangeType, LogBatch, LogRecords};
use std::io::Read;

use crate::row::{
    Decimal, OwnedDatum, OwnedRow, RowLayout, Schema, Timestamp, TypeKind, compacted,
};

/// Reads an Arrow message of scalar columns; an error says what is wrong.
pub(super) fn arrow_rows(schema: &Schema, message: &[u8]) -> Result<Vec<OwnedRow>, String> {
    let size = message.get(4..8).and_then(|size| size.try_into().ok()).map(u32::from_le_bytes);
    let size = size.ok_or("no Arrow prefix")? as usize;
    let metadata = message.get(8..8 + size).ok_or("the metadata is cut")?.to_vec();
    let body = &message[8 + size..];
    let metadata = root_as_message(&metadata).map_err(|error| error.to_string())?;
    let batch = metadata.header_as_record_batch().ok_or("no record batch")?;
    let rows = usize::try_from(batch.length()).map_err(|error| error.to_string())?;
    let mut values: Vec<Vec<OwnedDatum>> = vec![Vec::new(); rows];
    let mut next = 0;
    for column in schema.columns() {
        let kind = &column.data_type.kind;
        let count = match kind {
            TypeKind::Char(_) | TypeKind::String | TypeKind::Bytes => 3,
            TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_) => {
                return Err(format!("column {} is nested", column.name));
            }
            _ => 2,
        };
        let buffers: Result<Vec<Vec<u8>>, String> =
            (next..next + count).map(|at| inflated(&batch, body, at)).collect();
        let buffers = buffers?;
        next += count;
        for (at, row) in values.iter_mut().enumerate() {
            let valid = buffers[0].is_empty() || bit(&buffers[0], at).ok_or("validity is cut")?;
            let value = if valid { value(kind, &buffers, at) } else { Some(OwnedDatum::Null) };
            row.push(value.ok_or_else(|| format!("column {} is cut at row {at}", column.name))?);
        }
    }
    Ok(values.into_iter().map(OwnedRow::new).collect())
}

/// Reads the records of a COMPACTED log batch.
pub(super) fn compacted_rows(
    schema: &Schema,
    batch: &LogBatch,
) -> Result<Vec<(ChangeType, OwnedRow)>, String> {
    let layout = RowLayout::new(schema);
    let records: LogRecords = batch.records();
    let decode = |record: Result<fluss_proto::record::LogRecord, _>| {
        let record = record.map_err(|error: fluss_proto::record::RecordError| error.to_string())?;
        let row = compacted::decode(&layout, &record.row).map_err(|error| error.to_string())?;
        Ok((record.change_type, row))
    };
    records.map(decode).collect()
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
