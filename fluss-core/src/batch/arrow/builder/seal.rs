//! The end of an open batch: its columns become a body.

use arrow_ipc::{Buffer, FieldNode};
use fluss_proto::record::{LogFields, SealedBatch};

use super::ArrowBatchBuilder;
use crate::batch::BatchError;
use crate::batch::arrow::body::{Allowance, Body};
use crate::batch::arrow::compress::{Compressor, Packer};
use crate::batch::arrow::parts::Parts;
use crate::batch::arrow::{APPEND_ONLY, ipc};
use crate::batch::pool::fits;

impl ArrowBatchBuilder {
    /// Turns the rows into a batch whose payload is written into `body` (whose content is dropped,
    /// whose memory is used), and leaves the builder empty for the next batch. Long runs of values
    /// from record batches stay where they lie: the batch then has several pieces.
    ///
    /// `schema_id` is the id of the builder's schema; the server does not check it, and a wrong one
    /// makes the batch unreadable. Take `body` from a [`BodyPool`](crate::batch::BodyPool) with
    /// [`body_capacity`](Self::body_capacity), and give the first piece back once the batch is
    /// acknowledged: it is of that memory.
    ///
    /// # Errors
    /// The batch has no rows, or the compressor failed; then the rows are still there.
    pub fn seal(&mut self, schema_id: i16, body: Vec<u8>) -> Result<SealedBatch, BatchError> {
        self.seal_with(schema_id, |_| body)
    }

    /// Like [`seal`](Self::seal), but the buffer is asked for when it is known how many bytes will
    /// be in it: with compression that is after the work.
    pub(crate) fn seal_with(
        &mut self,
        schema_id: i16,
        buffer: impl FnOnce(usize) -> Vec<u8>,
    ) -> Result<SealedBatch, BatchError> {
        if self.half_written {
            self.settle();
        }
        if self.rows == 0 {
            return Err(BatchError::Empty);
        }
        let mut packer = match self.packer.take() {
            Some(packer) => packer,
            None => Packer::new(self.options.compression)?,
        };
        let raw = self.written_bytes();
        let mut buffer = Some(buffer);
        let memory = match buffer.take_if(|_| !self.packs()) {
            Some(buffer) => buffer(raw),
            None => std::mem::take(&mut packer.out),
        };
        let mut body = Body::new(memory, Allowance::of(self.size));
        if buffer.is_none() {
            body.written.reserve_exact(raw);
        }
        if let Some(statistics) = &self.statistics {
            statistics.write(&self.columns, self.rows, &mut body.written);
        }
        let start = body.len();
        let head = start + ipc::head_length(self.layout.metadata);
        body.pad(head);
        let (nodes, buffers) = self.write_buffers(head, &mut packer.compressor, &mut body)?;
        // All lengths are those of buffers in memory, below the limits of the options.
        let body_length = (body.len() - head) as i64;
        let metadata = self.metadata.build(self.rows as i64, body_length, &nodes, &buffers);
        if !ipc::write_head(&mut body.written[start..head], metadata) {
            let (got, expected) = (metadata.len(), self.layout.metadata);
            return Err(BatchError::Metadata { got, expected });
        }
        let rows = self.rows as u32;
        let fields = LogFields {
            schema_id,
            attributes: APPEND_ONLY,
            record_count: rows,
            last_offset_delta: rows - 1,
            // Far below the limits of the options.
            statistics_length: self.statistics.is_some().then_some(start as u32),
        };
        if let Some(buffer) = buffer {
            packer.out = body.written;
            // With compression there is nothing else.
            body.written = fitted(buffer(packer.out.len()), &packer.out);
        }
        self.packer = Some(packer);
        let sealed = SealedBatch::log_in_pieces(fields, body.finish())?;
        self.clear();
        Ok(sealed)
    }

    /// Turns the rows into a batch of which nothing is compressed, whatever its options say: for
    /// rows that are read back here, as they could not be sent.
    ///
    /// # Errors
    /// As for `seal`.
    pub(crate) fn seal_to_read(&mut self) -> Result<SealedBatch, BatchError> {
        let packer = self.packs().then(Packer::storing);
        let packer = std::mem::replace(&mut self.packer, packer);
        let sealed = self.seal_with(0, Vec::with_capacity);
        self.packer = packer;
        sealed
    }

    /// The size of the batch without what stays where it lies.
    pub(super) fn written_bytes(&self) -> usize {
        self.size - self.held.lent_bytes(Allowance::of(self.size))
    }

    fn write_buffers(
        &mut self,
        head: usize,
        compressor: &mut Compressor,
        body: &mut Body,
    ) -> Result<(Vec<FieldNode>, Vec<Buffer>), BatchError> {
        let mut parts = Parts {
            nodes: Vec::with_capacity(self.layout.nodes),
            buffers: Vec::with_capacity(self.layout.buffers),
            compressor,
            ones: &mut self.ones,
            held: &self.held,
            head,
            body,
        };
        if self.held.is_empty() {
            self.columns.iter().try_for_each(|column| parts.column(column, self.rows))?;
        } else {
            let mut columns = self.columns.iter().enumerate();
            columns.try_for_each(|(at, column)| parts.held_column(at, column, self.rows))?;
        }
        Ok((parts.nodes, parts.buffers))
    }
}

/// These bytes in this buffer, which is made to be of about their size.
fn fitted(mut buffer: Vec<u8>, bytes: &[u8]) -> Vec<u8> {
    buffer.clear();
    if !fits(buffer.capacity(), bytes.len()) {
        buffer.shrink_to(bytes.len());
        buffer.reserve_exact(bytes.len());
    }
    buffer.extend_from_slice(bytes);
    buffer
}
