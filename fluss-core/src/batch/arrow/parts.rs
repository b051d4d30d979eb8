//! The body of a batch: its columns' buffers, one behind the other, each with its description.

use arrow_ipc::{Buffer, FieldNode};

use super::bits::Validity;
use super::body::Body;
use super::column::{Column, Values, end_of};
use super::compress::Compressor;
use super::held::Held;
use super::ipc;
use crate::batch::BatchError;

/// Nodes and buffers in the making.
pub(super) struct Parts<'a> {
    pub(super) nodes: Vec<FieldNode>,
    pub(super) buffers: Vec<Buffer>,
    pub(super) compressor: &'a mut Compressor,
    pub(super) ones: &'a mut Vec<u8>,
    pub(super) held: &'a Held,
    pub(super) head: usize,
    pub(super) body: &'a mut Body,
}

impl Parts<'_> {
    /// Writes a column of this many values, and behind it those within it.
    pub(super) fn column(&mut self, column: &Column, length: usize) -> Result<(), BatchError> {
        self.node(length, &column.validity)?;
        let (values, data) = column.buffers();
        values.into_iter().chain(data).try_for_each(|buffer| self.buffer(buffer))?;
        match &column.values {
            Values::List { offsets, element } => self.column(element, end_of(offsets)),
            Values::Map { offsets, key, value } => {
                let entries = end_of(offsets);
                self.node(entries, &Validity::default())?;
                self.column(key, entries)?;
                self.column(value, entries)
            }
            Values::Struct(fields) => {
                fields.iter().try_for_each(|field| self.column(field, length))
            }
            _ => Ok(()),
        }
    }

    /// Writes a flat column of a batch without compression, with the values that are held behind
    /// its own.
    pub(super) fn held_column(
        &mut self,
        at: usize,
        column: &Column,
        length: usize,
    ) -> Result<(), BatchError> {
        self.node(length, &column.validity)?;
        let held = self.held;
        let (values, data) = column.buffers();
        let end = data.map_or(0, <[u8]>::len);
        self.buffer_with(values.unwrap_or_default(), |body| held.put_values(at, end, body))?;
        match data {
            Some(data) => self.buffer_with(data, |body| held.put_data(at, body)),
            None => Ok(()),
        }
    }

    fn node(&mut self, length: usize, validity: &Validity) -> Result<(), BatchError> {
        self.nodes.push(FieldNode::new(length as i64, validity.nulls() as i64));
        if let Some(bitmap) = validity.bitmap() {
            return self.buffer(bitmap);
        }
        // Java readers expect the bitmap even when nothing is null.
        let mut ones = std::mem::take(self.ones);
        bitmap_of_ones(&mut ones, length);
        let written = self.buffer(&ones);
        *self.ones = ones;
        written
    }

    fn buffer(&mut self, buffer: &[u8]) -> Result<(), BatchError> {
        self.buffer_with(buffer, |_| {})
    }

    /// Writes a buffer, and behind it what else belongs to it, as it is.
    fn buffer_with(
        &mut self,
        buffer: &[u8],
        rest: impl FnOnce(&mut Body),
    ) -> Result<(), BatchError> {
        let start = self.body.len();
        self.compressor.append(buffer, &mut self.body.written)?;
        rest(self.body);
        let offset = (start - self.head) as i64;
        self.buffers.push(Buffer::new(offset, (self.body.len() - start) as i64));
        // Statistics may stand in front of the message, at whatever length.
        let length = (self.body.len() - self.head).next_multiple_of(ipc::ALIGNMENT);
        self.body.pad(self.head + length);
        Ok(())
    }
}

/// The bitmap of a column without nulls.
fn bitmap_of_ones(ones: &mut Vec<u8>, rows: usize) {
    ones.clear();
    ones.resize(rows.div_ceil(8), 0xff);
    if !rows.is_multiple_of(8)
        && let Some(last) = ones.last_mut()
    {
        *last = (1 << (rows & 7)) - 1;
    }
}
