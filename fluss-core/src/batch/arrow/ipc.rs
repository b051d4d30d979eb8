//! The Arrow message around the buffers of a batch: continuation mark, metadata, body.

use arrow_ipc::{
    BodyCompressionBuilder, BodyCompressionMethod, Buffer, CompressionType, FieldNode,
    MessageBuilder, MessageHeader, MetadataVersion, RecordBatchBuilder,
};
use flatbuffers::FlatBufferBuilder;

/// Every buffer and every body starts at a multiple of this.
pub(super) const ALIGNMENT: usize = 8;

/// Continuation mark and metadata length.
const PREFIX: usize = 8;

/// Writes the metadata. The order in which fields are added is the one of Arrow's Java writer,
/// which makes the bytes equal to those of the server's own clients.
pub(super) struct MetadataWriter {
    fbb: FlatBufferBuilder<'static>,
    codec: Option<CompressionType>,
}

impl std::fmt::Debug for MetadataWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetadataWriter").field("codec", &self.codec).finish_non_exhaustive()
    }
}

impl MetadataWriter {
    pub(super) fn new(codec: Option<CompressionType>) -> Self {
        Self { fbb: FlatBufferBuilder::new(), codec }
    }

    /// The length of the metadata for this many nodes and buffers, padding included. It depends on
    /// nothing else, so room for it can be left before the buffers are written.
    pub(super) fn length(&mut self, nodes: usize, buffers: usize) -> usize {
        let nodes = vec![FieldNode::new(1, 0); nodes];
        let buffers = vec![Buffer::new(0, 8); buffers];
        let length = self.build(1, 8, &nodes, &buffers).len();
        length.next_multiple_of(ALIGNMENT)
    }

    /// The metadata of a batch, without padding.
    pub(super) fn build(
        &mut self,
        rows: i64,
        body_length: i64,
        nodes: &[FieldNode],
        buffers: &[Buffer],
    ) -> &[u8] {
        let fbb = &mut self.fbb;
        fbb.reset();
        let nodes = fbb.create_vector(nodes);
        let buffers = fbb.create_vector(buffers);
        let compression = self.codec.map(|codec| {
            let mut builder = BodyCompressionBuilder::new(fbb);
            builder.add_method(BodyCompressionMethod::BUFFER);
            builder.add_codec(codec);
            builder.finish()
        });
        let mut batch = RecordBatchBuilder::new(fbb);
        batch.add_length(rows);
        batch.add_nodes(nodes);
        batch.add_buffers(buffers);
        if let Some(compression) = compression {
            batch.add_compression(compression);
        }
        let batch = batch.finish().as_union_value();
        let mut message = MessageBuilder::new(fbb);
        message.add_header_type(MessageHeader::RecordBatch);
        message.add_header(batch);
        message.add_version(MetadataVersion::V5);
        message.add_bodyLength(body_length);
        let message = message.finish();
        fbb.finish(message, None);
        fbb.finished_data()
    }
}

/// The size of a message before its body: prefix and metadata.
pub(super) fn head_length(metadata_length: usize) -> usize {
    PREFIX + metadata_length
}

/// Fills in the room left for the head of a message. False if the metadata does not fit into it.
pub(super) fn write_head(head: &mut [u8], metadata: &[u8]) -> bool {
    let length = head.len().saturating_sub(PREFIX);
    let Some((prefix, room)) = head.split_at_mut_checked(PREFIX) else { return false };
    if metadata.len() > room.len() {
        return false;
    }
    prefix[..4].fill(0xff);
    // The metadata is some 16 bytes per column and buffer.
    prefix[4..].copy_from_slice(&(length as u32).to_le_bytes());
    room[..metadata.len()].copy_from_slice(metadata);
    true
}
