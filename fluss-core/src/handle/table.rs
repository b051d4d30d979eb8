//! A table and what is known of it.

use std::sync::Arc;

use fluss_proto::message::GetTableInfoResponse;

use super::append::AppendBuilder;
use super::fluss::Fluss;
use super::lookup::Lookuper;
use super::upsert::UpsertBuilder;
use crate::error::{Error, Result};
use crate::ids::{BucketKey, TableId, TablePath};
use crate::row::{Schema, TableDescriptor};

/// What the server told about a table when it was opened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TableInfo {
    /// Database and name.
    pub path: TablePath,
    /// The table's id.
    pub id: TableId,
    /// The id of its current schema.
    pub schema_id: i32,
    /// Schema, keys, buckets, properties.
    pub descriptor: TableDescriptor,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it was last changed, in milliseconds since 1970.
    pub modified_ms: i64,
}

impl TableInfo {
    pub(crate) fn read(path: TablePath, answer: &GetTableInfoResponse) -> Result<Self> {
        let descriptor =
            TableDescriptor::from_json(&answer.table_json).map_err(|e| Error::Peer {
                server: "server".into(),
                what: format!("the description of {path} does not parse: {e}").into(),
            })?;
        Ok(Self {
            path,
            id: TableId(answer.table_id),
            schema_id: answer.schema_id,
            descriptor,
            created_ms: answer.created_time,
            modified_ms: answer.modified_time,
        })
    }

    /// The columns and the primary key.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.descriptor.schema
    }

    /// Whether it has a primary key.
    #[must_use]
    pub fn has_primary_key(&self) -> bool {
        !self.schema().primary_key().is_empty()
    }

    /// Whether rows of this table can be written so far.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.descriptor.partition_key.is_empty() {
            return Ok(());
        }
        let text =
            format!("{} is partitioned; this client cannot write such tables yet", self.path);
        Err(Error::misuse(text))
    }

    /// The schema id as batches carry it.
    pub(crate) fn wire_schema_id(&self) -> Result<i16> {
        i16::try_from(self.schema_id).map_err(|_| {
            Error::misuse(format!(
                "{} has schema id {}, batches can name at most 32767",
                self.path, self.schema_id
            ))
        })
    }

    pub(crate) fn buckets(&self) -> i32 {
        self.descriptor.bucket_count.and_then(|n| i32::try_from(n).ok()).unwrap_or(1).max(1)
    }

    /// The names of the partition columns, in the order of the partition key.
    pub(crate) fn partition_columns(&self) -> Vec<String> {
        let columns = self.schema().columns();
        let key = self.descriptor.partition_key.iter();
        key.filter_map(|index| columns.get(*index)).map(|column| column.name.clone()).collect()
    }

    pub(crate) fn bucket(&self, bucket: i32) -> BucketKey {
        BucketKey { table: self.id, partition: None, bucket }
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
