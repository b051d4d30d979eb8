//! A table that users hold.

use std::sync::Arc;

use arrow_array::RecordBatch;

use super::append::AppendBuilder;
use super::fluss::Fluss;
use super::lookup::Lookuper;
use super::upsert::UpsertBuilder;
use crate::batch::ArrowRows;
use crate::error::{Error, Result};
use crate::row::{DataType, NamedRow};
pub(crate) use crate::table_info::TableInfo;

/// What handles want to know beyond what is public.
impl TableInfo {
    /// The schema id as batches carry it.
    pub(crate) fn wire_schema_id(&self) -> Result<i16> {
        i16::try_from(self.schema_id).map_err(|_| {
            Error::misuse(format!(
                "{} has schema id {}, batches can name at most 32767",
                self.path, self.schema_id
            ))
        })
    }

    /// The names of the partition columns, in the order of the partition key.
    pub(crate) fn partition_columns(&self) -> Vec<String> {
        let columns = self.schema().columns();
        let key = self.descriptor.partition_key.iter();
        key.filter_map(|index| columns.get(*index)).map(|column| column.name.clone()).collect()
    }

    /// The types of the partition columns, in the order of the partition key.
    pub(crate) fn partition_types(&self) -> Vec<DataType> {
        let columns = self.schema().columns();
        let key = self.descriptor.partition_key.iter();
        key.filter_map(|index| columns.get(*index)).map(|column| column.data_type.clone()).collect()
    }
}

/// An open table. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Table {
    fluss: Fluss,
    info: Arc<TableInfo>,
}

impl Table {
    pub(crate) fn new(fluss: Fluss, info: TableInfo) -> Self {
        Self { fluss, info: Arc::new(info) }
    }

    /// What is known of the table.
    #[must_use]
    pub fn info(&self) -> &TableInfo {
        &self.info
    }

    pub(crate) fn shared_info(&self) -> &Arc<TableInfo> {
        &self.info
    }

    /// The client this table belongs to.
    #[must_use]
    pub fn fluss(&self) -> &Fluss {
        &self.fluss
    }

    /// A row to be built by the names of its columns, used again from row to row.
    ///
    /// ```no_run
    /// # async fn f(table: fluss_core::Table) -> fluss_core::Result<()> {
    /// let writer = table.appender().build()?;
    /// let mut row = table.row();
    /// for id in 0..1_000_i64 {
    ///     row.clear().set("name", "ada")?.set("id", id)?;
    ///     drop(writer.append(&row).await?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn row(&self) -> NamedRow {
        NamedRow::new(self.info.schema())
    }

    /// A writer that appends rows; for log tables.
    pub fn appender(&self) -> AppendBuilder {
        AppendBuilder::new(self.clone())
    }

    /// A writer that upserts and deletes rows; for primary-key tables.
    pub fn upserter(&self) -> UpsertBuilder {
        UpsertBuilder::new(self.clone())
    }

    /// The rows of an Arrow record batch, to be appended or upserted: its columns are found by
    /// their names and widened where nothing is lost; see [`ArrowRows`]. Nothing is sent yet.
    ///
    /// ```no_run
    /// # use fluss_core::{Result, Table};
    /// # async fn f(table: &Table, batch: arrow_array::RecordBatch) -> Result<()> {
    /// let rows = table.rows_of(&batch)?;
    /// let ticket = table.appender().build()?.append_all(&rows).await?;
    /// for part in ticket.await {
    ///     println!("rows {:?} of the batch: {:?}", part.rows, part.outcome);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Misuse`] names the column that is missing, unknown, there twice, or of a type that
    /// does not fit. A value that does not fit its column fails its row alone, in the ticket.
    pub fn rows_of(&self, batch: &RecordBatch) -> Result<ArrowRows> {
        ArrowRows::new(self.info.schema(), batch).map_err(|e| self.misfit(&e))
    }

    /// Like [`rows_of`](Self::rows_of) for rows of some columns, in the order of `names`: the key
    /// columns for deletes and lookups, the columns of a partial upsert.
    ///
    /// # Errors
    /// As `rows_of`, and [`Error::Misuse`] for a name that the table does not have.
    pub fn rows_of_columns<N: AsRef<str>>(
        &self,
        names: &[N],
        batch: &RecordBatch,
    ) -> Result<ArrowRows> {
        let schema = self.info.schema();
        let targets = schema.indexes_of("columns to write", names);
        let targets = targets.map_err(|e| self.misfit(&e))?;
        ArrowRows::of_columns(schema, &targets, batch).map_err(|e| self.misfit(&e))
    }

    fn misfit(&self, error: &dyn std::fmt::Display) -> Error {
        Error::misuse(format!("{}: {error}", self.info.path))
    }

    /// Reads rows by key; for primary-key tables.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a table without a primary key, or whose keys cannot be encoded (a data
    /// lake that is not known, or one that has no bucket for the type of a column).
    pub fn lookuper(&self) -> Result<Lookuper> {
        Lookuper::new(self.clone())
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
