//! Writers whose table gets columns while they live.
//!
//! A handle begins with the schema that its table had. A row that has more columns makes it look at
//! what the client knows of the table by now: with a newer schema it goes on in a lane of its own,
//! where rows of as many columns as before get null for the new ones. Until there is such a row,
//! nothing is different for any other.

use std::sync::Arc;

use arrow_array::RecordBatch;

use super::append::AppendFormat;
use super::lane::{Format, Op, Pushed, Run};
use super::table::{Table, TableInfo};
use super::ticket::Ticket;
use super::writer::WriterCore;
use crate::batch::ArrowRows;
use crate::error::{Error, Result};
use crate::row::{Columns, Datum, Row, RowErrorKind, RowSink, Schema, TableDescriptor};
use crate::writer::WaiterId;

/// Whether a row was refused for a column that the table may have by now.
pub(super) fn wants_more(error: &Error) -> bool {
    let Error::Row(error) = error else { return false };
    match error.kind() {
        RowErrorKind::Arity { expected, got } => got > expected,
        RowErrorKind::UnknownField { .. } => true,
        _ => false,
    }
}

/// Whether a schema is the other one with more columns behind, all of which may be null.
fn is_grown(new: &Schema, old: &Schema) -> bool {
    let (columns, before) = (new.columns(), old.columns());
    let same = |(new, old): (&crate::row::Column, &crate::row::Column)| {
        new.name == old.name && new.data_type == old.data_type
    };
    columns.len() > before.len()
        && columns.iter().zip(before).all(same)
        && columns[before.len()..].iter().all(|column| column.data_type.nullable)
        && new.primary_key() == old.primary_key()
}

impl<F: Format> WriterCore<F> {
    /// The one that takes rows now.
    #[inline]
    pub(super) fn newest(&self) -> &Self {
        match self.next.get() {
            None => self,
            Some(next) => next.last(),
        }
    }

    #[cold]
    fn last(&self) -> &Self {
        let mut last = self;
        while let Some(next) = last.next.get() {
            last = next;
        }
        last
    }

    /// A row that did not fit the schema this handle began with.
    #[cold]
    pub(super) fn put_grown<R: Row + ?Sized>(
        &self,
        op: Op,
        row: &R,
        granted: Option<WaiterId>,
        error: Error,
    ) -> Result<std::result::Result<Ticket, WaiterId>> {
        if wants_more(&error) && (self.next.get().is_some() || self.grow()) {
            if let Some(waiter) = granted {
                self.shared().with(|core, now| core.drop_memory(waiter, now));
            }
            return self.put_newest(op, row, None);
        }
        Err(self.lane().run().refuse(op, row, error))
    }

    /// A row for a table that has more columns than when this handle began.
    #[cold]
    pub(super) fn put_newest<R: Row + ?Sized>(
        &self,
        op: Op,
        row: &R,
        mut granted: Option<WaiterId>,
    ) -> Result<std::result::Result<Ticket, WaiterId>> {
        loop {
            let newest = self.newest();
            // Keys are what they were.
            let earlier = if op == Op::Delete { &[] } else { &*newest.earlier };
            let padded = Padded { row, earlier, columns: newest.format().columns(op).count() };
            let error = match newest.attempt(op, &padded, granted) {
                Ok(Some(put)) => return Ok(put),
                Ok(None) => continue,
                Err(error) => error,
            };
            let grown = || !std::ptr::eq(newest, self.newest()) || self.grow();
            if !wants_more(&error) || !grown() {
                return Err(newest.lane().run().refuse(op, row, error));
            }
            if let Some(waiter) = granted.take() {
                self.shared().with(|core, now| core.drop_memory(waiter, now));
            }
        }
    }

    /// None if this one is not the newest any more.
    fn attempt<R: Row + ?Sized>(
        &self,
        op: Op,
        row: &R,
        granted: Option<WaiterId>,
    ) -> Result<Option<std::result::Result<Ticket, WaiterId>>> {
        let mut run = self.lane().run();
        if self.next.get().is_some() {
            return Ok(None);
        }
        match self.format().put(&mut run, op, row, granted)? {
            Pushed::In(at, index) => Ok(Some(Ok(Ticket::new(Arc::clone(run.cell(at)?), index)))),
            Pushed::Wait(waiter) => Ok(Some(Err(waiter))),
            Pushed::Rebucketed => Err(Error::Closed("writer")),
        }
    }

    /// Goes on with the newest schema that is known of the table, in a lane of its own. False if
    /// none is known with more columns; then the table is asked for, which is done once however
    /// many rows wish for it.
    #[cold]
    pub(super) fn grow(&self) -> bool {
        let last = self.newest();
        let Some(next) = last.grown() else { return false };
        let mut run = last.lane().run();
        let left = last.go_on_with(&mut run, Box::new(next));
        drop(run);
        // Dropping a lane may wake somebody who wants this one.
        drop(left);
        last.next.get().is_some()
    }

    /// Has `next` take all rows from now on; it comes back if another thread was faster or the lane
    /// cannot be had.
    ///
    /// What was handed in before goes first: rows look for the next lane under the lock that is
    /// held here, so none can come into this lane behind the seal.
    fn go_on_with(&self, run: &mut Run<'_, F>, next: Box<Self>) -> Option<Box<Self>> {
        if self.next.get().is_some() || !run.hand_over(next.lane()) {
            return Some(next);
        }
        self.next.set(next).err()
    }

    /// One that writes the newest schema that is known of the table, if that has more columns.
    fn grown(&self) -> Option<Self> {
        let before = self.table().info();
        let known = self.shared().with(|core, now| {
            let known = core.client.cluster().table(&before.path).cloned();
            let newer = known.filter(|t| t.id == before.id && t.schema_id > before.schema_id);
            if newer.is_none() {
                core.client.watch_table(&before.path, before.id, now);
            }
            newer
        })?;
        let info = TableInfo {
            descriptor: TableDescriptor::from_json(&known.descriptor_json).ok()?,
            path: known.path.clone(),
            id: known.id,
            schema_id: known.schema_id,
            created_ms: known.created_ms,
            modified_ms: known.modified_ms,
        };
        if !is_grown(info.schema(), before.schema()) || info.wire_schema_id().is_err() {
            return None;
        }
        let table = Table::new(self.table().fluss().clone(), info);
        let format = self.format().renewed(Arc::clone(table.shared_info())).ok()?;
        let count = self.format().columns(Op::Upsert).count();
        if format.columns(Op::Upsert).count() == count {
            // It writes some columns only, which are the same.
            return None;
        }
        let earlier = self.earlier.iter().copied().chain([count]).collect();
        self.followed_by(table, format, earlier).ok()
    }

    /// Each lane of this handle, the first one first.
    fn lanes(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |one| one.next.get().map(|next| &**next))
    }

    /// Why this very thread can do nothing with the handle: it has one of its lanes. It is then the
    /// newest, and stays that, as nobody else can go on from it.
    pub(super) fn refusal(&self) -> Option<Error> {
        self.lanes().find_map(|one| one.lane().refusal_here())
    }

    /// Seals what is open, in every lane; the answer is why that cannot be done.
    pub(super) fn seal_lanes(&self) -> Option<Error> {
        self.lanes().find_map(|one| {
            let mut run = one.lane().run();
            run.seal_all();
            run.refusal()
        })
    }
}

impl WriterCore<AppendFormat> {
    /// The rows of a record batch, and who they fit; that one knows who takes them now. Columns
    /// that the table got since this handle began may be missing: they are null.
    pub(super) fn rows_of(&self, batch: &RecordBatch) -> (&Self, Result<ArrowRows>) {
        let newest = self.newest();
        if let Ok(rows) = newest.table().rows_of(batch) {
            return (newest, Ok(rows));
        }
        let fitting = || self.lanes().find_map(|one| Some((one, one.table().rows_of(batch).ok()?)));
        // A batch has the columns of one schema and no other: only one that has those of none known
        // makes the table be asked for.
        match fitting().or_else(|| self.grow().then(fitting).flatten()) {
            Some((one, rows)) => (one, Ok(rows)),
            None => (self.newest(), self.newest().table().rows_of(batch)),
        }
    }
}

/// A row that may have as many columns as its table had before.
struct Padded<'a, R: ?Sized> {
    row: &'a R,
    /// The numbers of columns that the table had.
    earlier: &'a [usize],
    columns: usize,
}

impl<R: Row + ?Sized> Row for Padded<'_, R> {
    fn arity(&self) -> usize {
        let arity = self.row.arity();
        if self.earlier.contains(&arity) { self.columns } else { arity }
    }

    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let mut counted = Counted { sink, count: 0 };
        self.row.write(&mut counted)?;
        let count = counted.count;
        if self.earlier.contains(&count) {
            (count..self.columns).try_for_each(|_| sink.put(Datum::Null))?;
        }
        Ok(())
    }
}

/// Counts the values that go into a sink.
struct Counted<'a, S> {
    sink: &'a mut S,
    count: usize,
}

impl<S: RowSink> RowSink for Counted<'_, S> {
    type Error = S::Error;

    #[inline]
    fn columns(&self) -> Option<Columns<'_>> {
        self.sink.columns()
    }

    #[inline]
    fn put(&mut self, datum: Datum<'_>) -> Result<(), S::Error> {
        self.count += 1;
        self.sink.put(datum)
    }

    #[inline]
    fn put_i32(&mut self, value: i32) -> Result<(), S::Error> {
        self.count += 1;
        self.sink.put_i32(value)
    }

    #[inline]
    fn put_i64(&mut self, value: i64) -> Result<(), S::Error> {
        self.count += 1;
        self.sink.put_i64(value)
    }

    #[inline]
    fn put_f64(&mut self, value: f64) -> Result<(), S::Error> {
        self.count += 1;
        self.sink.put_f64(value)
    }

    #[inline]
    fn put_str(&mut self, value: &str) -> Result<(), S::Error> {
        self.count += 1;
        self.sink.put_str(value)
    }

    #[inline]
    fn put_bytes(&mut self, value: &[u8]) -> Result<(), S::Error> {
        self.count += 1;
        self.sink.put_bytes(value)
    }
}

#[cfg(test)]
#[path = "grown_tests.rs"]
mod tests;
