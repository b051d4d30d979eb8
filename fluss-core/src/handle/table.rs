//! A table that users hold.

use std::sync::Arc;

use super::append::AppendBuilder;
use super::fluss::Fluss;
use super::lookup::Lookuper;
use super::upsert::UpsertBuilder;
use crate::error::{Error, Result};
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

    /// A writer that appends rows; for log tables.
    pub fn appender(&self) -> AppendBuilder {
        AppendBuilder::new(self.clone())
    }

    /// A writer that upserts and deletes rows; for primary-key tables.
    pub fn upserter(&self) -> UpsertBuilder {
        UpsertBuilder::new(self.clone())
    }

    /// Reads rows by key; for primary-key tables.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a table without a primary key, or whose keys follow a data lake.
    pub fn lookuper(&self) -> Result<Lookuper> {
        Lookuper::new(self.clone())
    }
}
