//! Databases, tables, partitions and where their buckets live.

use bytes::Bytes;
use fluss_proto::message::PbAclInfo;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

use super::decode::RowFormat;
use super::kv::Kv;
use super::log::Log;
use crate::ids::{BucketKey, TablePath};
use crate::row::Schema;
use crate::time::Instant;

/// A database.
#[derive(Clone, Debug)]
pub(super) struct Database {
    pub(super) json: Bytes,
    pub(super) created_ms: i64,
}

/// What a table is, as JSON, with what is asked for far more often than it changes.
#[derive(Clone, Debug)]
pub(super) struct Descriptor {
    value: Value,
    text: Bytes,
    /// The `table.*` properties in upper case, since values are matched without case.
    properties: BTreeMap<String, String>,
}

impl Descriptor {
    pub(super) fn new(value: Value) -> Self {
        let properties = value["properties"].as_object().into_iter().flatten();
        let upper = |(name, value): (&String, &Value)| {
            value.as_str().map(|value| (name.clone(), value.to_uppercase()))
        };
        let properties = properties.filter_map(upper).collect();
        Self { text: value.to_string().into(), value, properties }
    }

    pub(super) fn value(&self) -> &Value {
        &self.value
    }
}

/// A table. Its buckets are in the catalog's own map.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) id: i64,
    pub(super) path: TablePath,
    pub(super) schema_id: i32,
    pub(super) descriptor: Descriptor,
    pub(super) created_ms: i64,
    /// The number of buckets; partitions keep the one of the time when they were made.
    pub(super) buckets: i32,
    /// How often that number was changed.
    pub(super) epoch: i64,
    pub(super) replication: i32,
    pub(super) partition_keys: Vec<String>,
    pub(super) schema: Schema,
    /// The schemas before it, the one with id 1 first.
    pub(super) older: Vec<Schema>,
    /// Partition ids by name.
    pub(super) partitions: BTreeMap<String, i64>,
    /// How many blocks of values of the auto-increment column were given to buckets.
    pub(super) blocks: i64,
}

impl Table {
    pub(super) fn json(&self) -> Bytes {
        self.descriptor.text.clone()
    }

    /// The schema with this id.
    pub(super) fn schema_of(&self, id: i32) -> Option<&Schema> {
        let older = usize::try_from(id).ok().and_then(|id| self.older.get(id.checked_sub(1)?));
        older.or_else(|| (id == self.schema_id).then_some(&self.schema))
    }

    pub(super) fn partitioned(&self) -> bool {
        !self.partition_keys.is_empty()
    }

    /// The value of a `table.*` property in upper case.
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        self.descriptor.properties.get(name).map(String::as_str)
    }

    /// Whether clients of PUT_KV and the lookups in version 0 would put its keys together in
    /// another way: lake tables whose rows are placed by a part of their primary key.
    pub(super) fn has_other_keys(&self) -> bool {
        let format = self.property("table.kv.format-version").and_then(|text| text.parse().ok());
        let of_lake = self.property("table.datalake.format").is_some();
        if !of_lake || format < Some(2_i32) {
            return false;
        }
        let columns = self.schema.columns();
        let key = self.schema.primary_key().iter().filter_map(|&at| columns.get(at));
        let key = key.map(|column| column.name.as_str());
        let placed_by = self.descriptor.value["bucket_key"].as_array().into_iter().flatten();
        !key.filter(|name| !self.partition_keys.iter().any(|other| other == name))
            .eq(placed_by.filter_map(Value::as_str))
    }

    /// Its auto-increment column, and how many of its values a bucket draws at once.
    pub(super) fn numbered(&self) -> Option<(usize, i64)> {
        let column = self.schema.auto_increment()?;
        let length = self.property("table.auto-increment.cache-size");
        let length = length.and_then(|text| text.parse().ok()).unwrap_or(100_000);
        Some((column, length))
    }

    /// How rows of a primary-key table are sent and kept.
    pub(super) fn kv_format(&self) -> RowFormat {
        let named = self.property("table.kv.format");
        named.and_then(RowFormat::by_name).unwrap_or(RowFormat::Compacted)
    }
}

/// Who leads a bucket, as one server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) server: i32,
    pub(super) epoch: i32,
}

/// A bucket: leader, replicas, log and rows.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    pub(super) leader: Leader,
    /// The next offset at the time the leader became it.
    pub(super) leads_from: i64,
    /// What servers that have not heard of the latest move say, and until when.
    pub(super) stale: Option<(Leader, Instant)>,
    /// Leaders serve from here on.
    pub(super) serves_from: Instant,
    pub(super) replicas: Vec<i32>,
    /// Tablet servers with an in-sync replica, the leader included.
    pub(super) in_sync: BTreeSet<i32>,
    pub(super) log: Log,
    pub(super) kv: Option<Kv>,
    /// Rows of batches that were acknowledged or are held for their acknowledgement.
    pub(super) rows_appended: u64,
    /// Batches recognised as duplicates.
    pub(super) duplicates: u64,
}

/// All state that survives the loss of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalog {
    pub(super) databases: BTreeMap<String, Database>,
    pub(super) tables: BTreeMap<TablePath, Table>,
    pub(super) paths: BTreeMap<i64, TablePath>,
    pub(super) buckets: BTreeMap<BucketKey, Bucket>,
    pub(super) next_table_id: i64,
    pub(super) next_partition_id: i64,
    pub(super) next_writer_id: i64,
    pub(super) acls: Vec<PbAclInfo>,
}

impl Catalog {
    pub(super) fn table_by_id(&self, id: i64) -> Option<&Table> {
        self.tables.get(self.paths.get(&id)?)
    }

    pub(super) fn table_by_id_mut(&mut self, id: i64) -> Option<&mut Table> {
        self.tables.get_mut(self.paths.get(&id)?)
    }

    /// The table and partition name of a partition id.
    pub(super) fn partition(&self, id: i64) -> Option<(&Table, &str)> {
        self.tables.values().find_map(|table| {
            let (name, _) = table.partitions.iter().find(|(_, other)| **other == id)?;
            Some((table, name.as_str()))
        })
    }

    /// The number of buckets of a table or of one partition, if it is there.
    pub(super) fn bucket_count(&self, key: BucketKey) -> Option<i32> {
        let count = self.buckets_of(key.table.0, key.partition.map(|p| p.0)).count();
        i32::try_from(count).ok().filter(|count| *count > 0)
    }

    /// The buckets of a table or of one partition.
    pub(super) fn buckets_of(
        &self,
        table: i64,
        partition: Option<i64>,
    ) -> impl Iterator<Item = (&BucketKey, &Bucket)> {
        use crate::ids::{PartitionId, TableId};
        let key = |bucket| BucketKey {
            table: TableId(table),
            partition: partition.map(PartitionId),
            bucket,
        };
        self.buckets.range(key(i32::MIN)..=key(i32::MAX))
    }
}
