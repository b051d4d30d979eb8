//! What the two kinds of writers do in their own ways: make batches of rows.

use std::sync::Arc;

use fluss_proto::record::SealedBatch;

use super::lane::{Many, Progress, Pushed, Run};
use super::reroute::Rerouted;
use super::table::TableInfo;
use crate::batch::{BodyPool, Wanted};
use crate::error::Result;
use crate::row::{Columns, OwnedRow, Row};
use crate::writer::WaiterId;

/// What makes batches of a table: log batches or KV batches.
pub trait Format: Send + Sync + 'static {
    /// Encodes rows of one batch, and is used again for the next.
    type Builder: Send;

    /// The same for the table as it is now.
    fn renewed(&self, info: Arc<TableInfo>) -> Result<Self>
    where
        Self: Sized;

    /// A builder without rows.
    fn builder(&self) -> Result<Self::Builder>;

    /// Gives memory back that is no part of the budget: of a builder without rows, and of what the
    /// lanes share.
    fn shrink(&self, builder: &mut Self::Builder);

    /// The size of the batch as it would be sealed now, at most.
    fn size(builder: &Self::Builder) -> usize;

    /// The memory that its rows take, which may be more as long as they lie where they came from.
    fn memory(builder: &Self::Builder) -> usize {
        Self::size(builder)
    }

    /// The bytes that a batch takes beside its rows until it is sealed. They are reserved while
    /// memory is short, where the budget is large enough.
    fn beside(&self) -> u64 {
        0
    }

    /// Makes the memory that its rows take no more than their size.
    fn let_go(_builder: &mut Self::Builder) {}

    /// So many bytes of memory are reserved for the batch; a row that needs more is sent back.
    fn reserve(builder: &mut Self::Builder, bytes: usize);

    /// What was missing where a row was sent back for want of memory; None where batches are full.
    fn wanted(builder: &Self::Builder) -> Option<Wanted>;

    /// The number of rows.
    fn rows(builder: &Self::Builder) -> u32;

    /// Buffers that routing and encoding use again for each row.
    type Scratch: Default + Send;

    /// Turns the rows into a batch, in a buffer of these, and empties the builder.
    fn seal(&self, builder: &mut Self::Builder, bodies: &mut BodyPool) -> Result<SealedBatch>;

    /// Turns the rows into a batch for [`rows_of`](Self::rows_of) alone, whatever keeps them from
    /// being sent, and empties the builder.
    fn seal_to_read(builder: &mut Self::Builder) -> Result<SealedBatch>;

    /// Whether rows that may go to any bucket go to the next one each, and not batch by batch.
    fn spreads_rows(&self) -> bool {
        false
    }

    /// Deals the rows of a batch out anew, among this number of buckets of the partition.
    fn reroute(&self, sealed: &SealedBatch, partition: &str, buckets: i32) -> Result<Rerouted>
    where
        Self: Sized;

    /// Forgets all rows.
    fn clear(builder: &mut Self::Builder);

    /// The columns that rows have values of.
    fn columns(&self, op: Op) -> Columns<'_>;

    /// The rows of a batch for the partition with this name as they were handed in, and which of
    /// them are deletes.
    fn rows_of(
        &self,
        sealed: &SealedBatch,
        partition: Option<&str>,
    ) -> Result<Vec<(bool, OwnedRow)>>;

    /// Routes and encodes a row into the batch of its bucket.
    fn put<R: Row + ?Sized>(
        &self,
        run: &mut Run<'_, Self>,
        op: Op,
        row: &R,
        granted: Option<WaiterId>,
    ) -> Result<Pushed>
    where
        Self: Sized;

    /// Puts as many rows as can go in one behind the other, at most so many; what cannot comes back
    /// to be put by itself.
    fn put_many<I: Iterator<Item: Row>>(
        &self,
        run: &mut Run<'_, Self>,
        op: Op,
        rows: &mut I,
        most: usize,
        progress: &mut Progress,
    ) -> Many<I::Item>
    where
        Self: Sized;
}

/// What is to be done with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Append it to a log table.
    Append,
    /// Insert it, or replace the row with its key.
    Upsert,
    /// Delete the row with its key.
    Delete,
}
