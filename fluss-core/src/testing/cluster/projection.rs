//! Column projection of ARROW batches as the server does it: buffers are copied as they are, the
//! metadata is built anew, the checksum stays that of the whole batch.

use arrow_ipc::{
    BodyCompressionBuilder, Buffer, CompressionType, FieldNode, MessageBuilder, MessageHeader,
    MetadataVersion, RecordBatchBuilder, root_as_message,
};
use bytes::{BufMut, BytesMut};
use flatbuffers::FlatBufferBuilder;
use std::ops::Range;

use super::api::code;
use super::catalog::Table;
use super::log::Entry;
use super::{Answer, Failure, words};
use crate::batch::ArrowCompression;
use crate::row::TypeKind;

const CONTINUATION: [u8; 4] = [0xff; 4];
const PREFIX: usize = 8;

/// The nodes and buffers of the columns that were asked for.
#[derive(Clone, Debug)]
pub(super) struct Projection {
    nodes: Vec<Range<usize>>,
    buffers: Vec<Range<usize>>,
    /// The table's, whatever the batch says: that is why writers must use it.
    codec: Option<CompressionType>,
    /// The first schema that has all of the columns.
    since: i32,
}

impl Projection {
    /// Columns by position, strictly ascending.
    pub(super) fn new(
        table: &Table,
        positions: &[i32],
        compression: ArrowCompression,
    ) -> Answer<Self> {
        let codec = match compression {
            ArrowCompression::None => None,
            ArrowCompression::Lz4Frame => Some(CompressionType::LZ4_FRAME),
            ArrowCompression::Zstd { .. } => Some(CompressionType::ZSTD),
        };
        let invalid = |message| Failure::new(code::INVALID_PROJECTION, message);
        let ascend = positions.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascend || positions.first().is_some_and(|&first| first < 0) {
            return Err(invalid(words::unordered_projection(positions)));
        }
        let (mut node, mut buffer) = (0, 0);
        let mut spans = Vec::with_capacity(table.schema.columns().len());
        for column in table.schema.columns() {
            let (first_node, first_buffer) = (node, buffer);
            count(&column.data_type.kind, &mut node, &mut buffer);
            spans.push((first_node..node, first_buffer..buffer));
        }
        let span = |position: &i32| spans.get(usize::try_from(*position).ok()?).cloned();
        let chosen: Option<Vec<_>> = positions.iter().map(span).collect();
        let (nodes, buffers) = chosen
            .ok_or_else(|| invalid(words::projection_out_of_bounds(positions, spans.len())))?
            .into_iter()
            .unzip();
        let last = positions.last().and_then(|last| usize::try_from(*last).ok()).unwrap_or(0);
        let has_all = |id: &i32| table.schema_of(*id).is_some_and(|s| s.columns().len() > last);
        let since = (1..=table.schema_id).find(has_all).unwrap_or(table.schema_id);
        Ok(Self { nodes, buffers, codec, since })
    }

    /// Writes the projected batch; an empty one is copied.
    pub(super) fn write(&self, entry: &Entry, out: &mut BytesMut) -> Answer<()> {
        let batch = &entry.batch;
        if batch.count == 0 {
            batch.write(entry.base_offset, entry.timestamp, out);
            return Ok(());
        }
        if i32::from(batch.schema_id) < self.since {
            let message = format!("schema {} lacks a column", batch.schema_id);
            return Err(Failure::new(code::INVALID_PROJECTION, message));
        }
        let broken = || Failure::new(code::UNKNOWN, "the Arrow message does not parse");
        let header = if batch.magic == 0 { 48 } else { 52 + usize::from(batch.magic == 2) * 4 };
        let types = if batch.append_only { 0 } else { usize::try_from(batch.count).unwrap_or(0) };
        let payload = batch.bytes.get(batch.body_at..).ok_or_else(broken)?;
        let (types, message) = payload.split_at_checked(types).ok_or_else(broken)?;
        let start = out.len();
        batch.write(entry.base_offset, entry.timestamp, out);
        out.truncate(start + header);
        if batch.magic > 0 {
            out[start + header - 4..].copy_from_slice(&[0; 4]);
        }
        out.put_slice(types);
        if self.message(message, out).is_none() {
            out.truncate(start);
            return Err(broken());
        }
        let length = i32::try_from(out.len() - start - 12).map_err(|_| broken())?;
        out[start + 8..start + 12].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    fn message(&self, message: &[u8], out: &mut BytesMut) -> Option<()> {
        let (head, rest) = message.split_at_checked(PREFIX)?;
        let size = u32::from_le_bytes(head[4..].try_into().ok()?);
        let (metadata, body) = rest.split_at_checked(usize::try_from(size).ok()?)?;
        // The reader refuses metadata that is not aligned, as it rarely is within a frame.
        let metadata = metadata.to_vec();
        let metadata = root_as_message(&metadata).ok()?;
        let batch = metadata.header_as_record_batch().filter(|_| head[..4] == CONTINUATION)?;
        let (nodes, buffers) = (batch.nodes()?, batch.buffers()?);
        let body = body.get(..usize::try_from(metadata.bodyLength()).ok()?)?;
        let mut chosen_nodes: Vec<FieldNode> = Vec::new();
        for span in &self.nodes {
            for at in span.clone() {
                chosen_nodes.push(*(at < nodes.len()).then(|| nodes.get(at))?);
            }
        }
        let mut chosen_buffers = Vec::new();
        let mut pieces = Vec::new();
        let mut length = 0_i64;
        for at in self.buffers.iter().cloned().flatten() {
            let buffer = (at < buffers.len()).then(|| buffers.get(at))?;
            let from = usize::try_from(buffer.offset()).ok()?;
            let next = (at + 1 < buffers.len()).then(|| buffers.get(at + 1).offset());
            let to = next.map_or(Some(body.len()), |offset| usize::try_from(offset).ok())?;
            let piece = body.get(from..to)?;
            chosen_buffers.push(Buffer::new(length, buffer.length()));
            length += i64::try_from(piece.len()).ok()?;
            pieces.push(piece);
        }
        let rows = batch.length();
        let metadata = metadata_of(rows, &chosen_nodes, &chosen_buffers, self.codec, length);
        out.put_slice(&CONTINUATION);
        out.put_u32_le(u32::try_from(metadata.len()).ok()?);
        out.put_slice(&metadata);
        pieces.into_iter().for_each(|piece| out.put_slice(piece));
        Some(())
    }
}

fn metadata_of(
    rows: i64,
    nodes: &[FieldNode],
    buffers: &[Buffer],
    codec: Option<CompressionType>,
    body_length: i64,
) -> Vec<u8> {
    let mut fbb = FlatBufferBuilder::new();
    let nodes = fbb.create_vector(nodes);
    let buffers = fbb.create_vector(buffers);
    let compression = codec.map(|codec| {
        let mut builder = BodyCompressionBuilder::new(&mut fbb);
        builder.add_codec(codec);
        builder.finish()
    });
    let mut builder = RecordBatchBuilder::new(&mut fbb);
    builder.add_length(rows);
    builder.add_nodes(nodes);
    builder.add_buffers(buffers);
    if let Some(compression) = compression {
        builder.add_compression(compression);
    }
    let batch = builder.finish();
    let mut builder = MessageBuilder::new(&mut fbb);
    builder.add_header_type(MessageHeader::RecordBatch);
    builder.add_header(batch.as_union_value());
    builder.add_version(MetadataVersion::V5);
    builder.add_bodyLength(body_length);
    let message = builder.finish();
    fbb.finish(message, None);
    let mut bytes = fbb.finished_data().to_vec();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// Adds the nodes and buffers that a column of this type takes.
fn count(kind: &TypeKind, nodes: &mut usize, buffers: &mut usize) {
    *nodes += 1;
    match kind {
        TypeKind::Char(_) | TypeKind::String | TypeKind::Bytes => *buffers += 3,
        TypeKind::Array(element) => {
            *buffers += 2;
            count(&element.kind, nodes, buffers);
        }
        TypeKind::Map(key, value) => {
            *buffers += 3;
            *nodes += 1;
            count(&key.kind, nodes, buffers);
            count(&value.kind, nodes, buffers);
        }
        TypeKind::Row(fields) => {
            *buffers += 1;
            for field in fields {
                count(&field.data_type.kind, nodes, buffers);
            }
        }
        _ => *buffers += 2,
    }
}
