//! Writers of the kind that a table wants.

use fluss_core::batch::record_batch;
use fluss_core::row::{OwnedRow, Schema};
use fluss_core::{AppendWriter, Interrupted, RunTicket, Table, Ticket, UpsertWriter};

use super::super::failure::{Failure, Result};
use super::super::session::Session;
use super::Options;

/// A run of rows, to its end or not.
pub(super) type HandedIn = std::result::Result<RunTicket, Interrupted>;

enum Kind {
    Append(AppendWriter),
    Upsert(UpsertWriter),
    Delete(UpsertWriter),
}

/// A writer, and the columns that its rows consist of.
pub(super) struct Writer {
    kind: Kind,
    columns: Vec<usize>,
    /// A table of these columns alone.
    schema: Schema,
}

impl Writer {
    pub(super) fn open(session: &Session, table: &Table, options: &Options) -> Result<Self> {
        let schema = table.info().schema();
        let (kind, columns) = open(session, table, options)?;
        let named = columns.iter().map(|index| schema.columns()[*index].clone()).collect();
        Ok(Self { kind, columns, schema: Schema::new(named, vec![]) })
    }

    pub(super) fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Hands a row in; waits for memory.
    pub(super) fn put(
        &self,
        session: &Session,
        row: &OwnedRow,
    ) -> Result<fluss_core::Result<Ticket>> {
        match &self.kind {
            Kind::Append(writer) => session.wait(writer.append(row)),
            Kind::Upsert(writer) => session.wait(writer.upsert(row)),
            Kind::Delete(writer) => session.wait(writer.delete(row)),
        }
    }

    /// Hands rows in as an Arrow record batch; waits for memory, whatever signals come.
    pub(super) fn put_batch(&self, rows: &[OwnedRow]) -> fluss_core::Result<HandedIn> {
        let batch = record_batch(&self.schema, rows)?;
        let of_table = |writer: &UpsertWriter| {
            let names: Vec<_> = self.schema.columns().iter().map(|c| c.name.as_str()).collect();
            writer.table().rows_of_columns(&names, &batch)
        };
        Ok(match &self.kind {
            Kind::Append(writer) => writer.append_batch(&batch).wait(),
            Kind::Upsert(writer) => writer.upsert_all(&of_table(writer)?).wait(),
            Kind::Delete(writer) => writer.delete_all(&of_table(writer)?).wait(),
        })
    }

    /// Like [`Writer::put`], whatever signals come.
    pub(super) fn put_at_last(&self, row: &OwnedRow) -> fluss_core::Result<Ticket> {
        match &self.kind {
            Kind::Append(writer) => writer.append(row).wait(),
            Kind::Upsert(writer) => writer.upsert(row).wait(),
            Kind::Delete(writer) => writer.delete(row).wait(),
        }
    }

    /// Sends what is open.
    pub(super) fn seal(&self) {
        // The outcomes are told by the tickets; dropping the wait cancels nothing.
        drop(match &self.kind {
            Kind::Append(writer) => writer.flush(),
            Kind::Upsert(writer) | Kind::Delete(writer) => writer.flush(),
        });
    }

    pub(super) fn is_append(&self) -> bool {
        matches!(self.kind, Kind::Append(_))
    }
}

fn open(session: &Session, table: &Table, options: &Options) -> Result<(Kind, Vec<usize>)> {
    let info = table.info();
    let schema = info.schema();
    let all = || (0..schema.columns().len()).collect();
    let config = session.settings.writer.clone();
    if !info.has_primary_key() {
        if options.delete || options.columns.is_some() || options.merge_mode.is_some() {
            let path = &info.path;
            return Err(Failure::failed(format!(
                "{path} has no primary key: --delete, --columns and --merge-mode are for tables \
                 with one"
            )));
        }
        return Ok((Kind::Append(table.appender().config(config).build()?), all()));
    }
    let mode = options.merge_mode.unwrap_or_default();
    let mut builder = table.upserter().config(config).merge_mode(mode);
    let mut columns = all();
    if let Some(names) = &options.columns {
        columns = schema
            .indexes_of("columns to write", names)
            .map_err(|e| Failure::failed(format!("{}: {e}", info.path)))?;
        builder = builder.columns(names.clone());
    }
    let writer = builder.build()?;
    Ok(match options.delete {
        true => (Kind::Delete(writer), schema.primary_key().to_vec()),
        false => (Kind::Upsert(writer), columns),
    })
}
