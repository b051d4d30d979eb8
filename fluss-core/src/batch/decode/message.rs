//! The Arrow message of a batch, checked and taken apart into nodes and buffers.

use arrow_buffer::Buffer;
use arrow_ipc::{BodyCompressionMethod, MetadataVersion, RecordBatch, root_as_message_with_opts};
use bytes::Bytes;
use flatbuffers::VerifierOptions;

use super::inflate::{Budget, Inflater};
use super::{DecodeError, DecodeLimits, Unpacker};

/// One column or nested field: how many values it has, and how many of them are null.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) length: usize,
    pub(super) nulls: usize,
}

/// The parts of a message, taken in the order of the schema.
pub(super) struct Message<'a> {
    nodes: std::vec::IntoIter<Node>,
    buffers: std::vec::IntoIter<Buffer>,
    inflater: Inflater<'a>,
    pub(super) budget: Budget,
}

/// How many nodes and buffers the schema asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) nodes: usize,
    pub(super) buffers: usize,
}

impl<'a> Message<'a> {
    /// Checks the message and cuts its body into buffers, without copying.
    pub(super) fn parse(
        bytes: &Bytes,
        rows: usize,
        expected: Counts,
        limits: &DecodeLimits,
        unpacker: &'a mut Unpacker,
    ) -> Result<Self, DecodeError> {
        let (metadata, rest) = split(bytes)?;
        let options = VerifierOptions {
            max_depth: 8,
            max_tables: 1024,
            max_apparent_size: metadata.len().saturating_mul(2),
            ignore_missing_null_terminator: true,
        };
        let message = root_as_message_with_opts(&options, metadata)
            .map_err(|error| DecodeError::message(format!("its metadata: {error}")))?;
        if !matches!(message.version(), MetadataVersion::V4 | MetadataVersion::V5) {
            return Err(DecodeError::message("its metadata version is neither V4 nor V5"));
        }
        let Some(batch) = message.header_as_record_batch() else {
            return Err(DecodeError::message("it is no record batch"));
        };
        let body_length = usize::try_from(message.bodyLength()).ok();
        let Some(body_length) = body_length.filter(|&length| length <= rest.len()) else {
            let (claimed, there) = (message.bodyLength(), rest.len());
            return Err(DecodeError::message(format!(
                "its body claims {claimed} bytes, {there} are there"
            )));
        };
        if usize::try_from(batch.length()).ok() != Some(rows) {
            return Err(DecodeError::message(format!(
                "it has {} rows, the batch {rows}",
                batch.length()
            )));
        }
        Ok(Self {
            nodes: nodes(&batch, expected.nodes)?.into_iter(),
            buffers: buffers(&batch, rest.slice(..body_length), expected.buffers)?.into_iter(),
            inflater: inflater(&batch, unpacker)?,
            budget: Budget::new(limits.max_batch_bytes),
        })
    }

    pub(super) fn next_node(&mut self) -> Result<Node, DecodeError> {
        self.nodes.next().ok_or_else(|| DecodeError::message("it has too few nodes"))
    }

    /// The next buffer, inflated.
    pub(super) fn next_buffer(&mut self, column: &str) -> Result<Buffer, DecodeError> {
        let missing = || DecodeError::message("it has too few buffers");
        let stored = self.buffers.next().ok_or_else(missing)?;
        self.inflater.inflate(stored, column, &mut self.budget)
    }

    /// Leaves out nodes and buffers of a column nobody wants; they are not inflated.
    pub(super) fn skip(&mut self, counts: Counts) {
        self.nodes.by_ref().take(counts.nodes).for_each(drop);
        self.buffers.by_ref().take(counts.buffers).for_each(drop);
    }
}

/// Metadata, and everything behind it.
fn split(bytes: &Bytes) -> Result<(&[u8], Bytes), DecodeError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(DecodeError::message(format!("it has only {} bytes", bytes.len())));
    };
    let (mark, length) = prefix.split_at(4);
    if mark != [0xff; 4] {
        return Err(DecodeError::message("it does not begin with the continuation mark"));
    }
    let length = i32::from_le_bytes([length[0], length[1], length[2], length[3]]);
    let end = usize::try_from(length).ok().filter(|&end| end <= rest.len());
    let Some(end) = end else {
        let there = rest.len();
        return Err(DecodeError::message(format!(
            "its metadata claims {length} bytes, {there} are there"
        )));
    };
    Ok((&rest[..end], bytes.slice(prefix.len() + end..)))
}

fn nodes(batch: &RecordBatch<'_>, expected: usize) -> Result<Vec<Node>, DecodeError> {
    let nodes = batch.nodes().ok_or_else(|| DecodeError::message("it has no nodes"))?;
    if nodes.len() != expected {
        let got = nodes.len();
        return Err(DecodeError::message(format!("it has {got} nodes, the schema {expected}")));
    }
    let node = |(index, node): (usize, &arrow_ipc::FieldNode)| {
        // Offsets of nested values have 32 bits, and so has the number of records.
        let length = i32::try_from(node.length()).ok().and_then(|n| usize::try_from(n).ok());
        let nulls = usize::try_from(node.null_count()).ok();
        match (length, nulls) {
            (Some(length), Some(nulls)) if nulls <= length => Ok(Node { length, nulls }),
            _ => {
                let (nulls, length) = (node.null_count(), node.length());
                Err(DecodeError::message(format!("node {index}: {nulls} nulls of {length} values")))
            }
        }
    };
    nodes.iter().enumerate().map(node).collect()
}

fn buffers(
    batch: &RecordBatch<'_>,
    body: Bytes,
    expected: usize,
) -> Result<Vec<Buffer>, DecodeError> {
    let buffers = batch.buffers().ok_or_else(|| DecodeError::message("it has no buffers"))?;
    if buffers.len() != expected || batch.variadicBufferCounts().is_some_and(|v| !v.is_empty()) {
        let got = buffers.len();
        return Err(DecodeError::message(format!("it has {got} buffers, the schema {expected}")));
    }
    let body = Buffer::from(body);
    let cut = |(index, buffer): (usize, &arrow_ipc::Buffer)| {
        let offset = usize::try_from(buffer.offset()).ok();
        let length = usize::try_from(buffer.length()).ok();
        let within = offset.zip(length).filter(|&(offset, length)| {
            offset.checked_add(length).is_some_and(|end| end <= body.len())
        });
        let Some((offset, length)) = within else {
            let (offset, length) = (buffer.offset(), buffer.length());
            let size = body.len();
            return Err(DecodeError::message(format!(
                "buffer {index} of {length} bytes at {offset} is not within the body of {size}"
            )));
        };
        Ok(body.slice_with_length(offset, length))
    };
    buffers.iter().enumerate().map(cut).collect()
}

fn inflater<'a>(
    batch: &RecordBatch<'_>,
    unpacker: &'a mut Unpacker,
) -> Result<Inflater<'a>, DecodeError> {
    // The table says whether there is compression; its codec has a default and may be left out.
    let Some(compression) = batch.compression() else { return Ok(Inflater::None) };
    if compression.method() != BodyCompressionMethod::BUFFER {
        return Err(DecodeError::message("it is compressed in an unknown way"));
    }
    Inflater::new(compression.codec(), unpacker)
}
