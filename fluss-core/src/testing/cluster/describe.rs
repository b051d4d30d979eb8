//! Calls that only read: metadata, lists, table descriptions.

use fluss_proto::message::{
    DatabaseExistsRequest, DatabaseExistsResponse, GetDatabaseInfoRequest, GetDatabaseInfoResponse,
    GetTableInfoRequest, GetTableInfoResponse, GetTableSchemaRequest, GetTableSchemaResponse,
    ListDatabasesRequest, ListDatabasesResponse, ListPartitionInfosRequest,
    ListPartitionInfosResponse, ListTablesRequest, ListTablesResponse, MetadataRequest,
    MetadataResponse, PbBucketMetadata, PbDatabaseSummary, PbKeyValue, PbPartitionInfo,
    PbPartitionMetadata, PbPartitionSpec, PbServerNode, PbTableMetadata, PbTablePath,
    TableExistsRequest, TableExistsResponse,
};

use super::acls::{Resource, operation};
use super::api::code;
use super::catalog::{Bucket, Table};
use super::ddl::{no_database, no_table, path_of};
use super::names;
use super::{Answer, Failure, FakeCluster, Release, words};
use crate::ids::{BucketKey, ConnId, PartitionId, ServerId, TableId, TablePath};

impl FakeCluster {
    pub(super) fn list_databases(
        &mut self,
        conn: ConnId,
        request: ListDatabasesRequest,
    ) -> Answer<ListDatabasesResponse> {
        let seen = |name: &str| self.may(conn, operation::DESCRIBE, Resource::Database(name));
        if request.include_summary != Some(true) {
            let names = self.catalog.databases.keys().filter(|name| seen(name));
            let database_name = names.cloned().collect();
            return Ok(ListDatabasesResponse { database_name, database_summary: Vec::new() });
        }
        let summary = |(name, database): (&String, &super::catalog::Database)| PbDatabaseSummary {
            database_name: name.clone(),
            created_time: database.created_ms,
            table_count: i32::try_from(self.tables_of(name).count()).unwrap_or(i32::MAX),
        };
        let databases = self.catalog.databases.iter().filter(|(name, _)| seen(name));
        let database_summary = databases.map(summary).collect();
        Ok(ListDatabasesResponse { database_name: Vec::new(), database_summary })
    }

    fn tables_of<'a>(&'a self, database: &'a str) -> impl Iterator<Item = &'a Table> + 'a {
        self.catalog.tables.values().filter(move |table| *table.path.database == *database)
    }

    pub(super) fn database_exists(
        &mut self,
        request: &DatabaseExistsRequest,
    ) -> Answer<DatabaseExistsResponse> {
        Ok(DatabaseExistsResponse { exists: self.has_database(&request.database_name)? })
    }

    /// Whether there is a database, where servers find out no more than that.
    pub(super) fn has_database(&self, name: &str) -> Answer<bool> {
        match names::no_place_for_database(name) {
            Some(_) => Err(Failure::new(code::UNKNOWN, words::database_unseen())),
            None => Ok(self.catalog.databases.contains_key(name)),
        }
    }

    pub(super) fn database_info(
        &mut self,
        request: &GetDatabaseInfoRequest,
    ) -> Answer<GetDatabaseInfoResponse> {
        let name = &request.database_name;
        if names::no_place_for_database(name).is_some() {
            return Err(Failure::new(code::UNKNOWN, words::database_unread(name)));
        }
        let database = self.catalog.databases.get(name).ok_or_else(|| {
            Failure::new(code::DATABASE_NOT_EXIST, words::database_is_unknown(name))
        })?;
        Ok(GetDatabaseInfoResponse {
            database_json: database.json.clone(),
            created_time: database.created_ms,
            modified_time: database.created_ms,
        })
    }

    fn table_at(&self, path: &PbTablePath) -> Answer<&Table> {
        let path = path_of(path);
        if names::no_place_for_table(&path).is_some() {
            return Err(Failure::new(code::UNKNOWN, words::table_unread(&path)));
        }
        self.catalog.tables.get(&path).ok_or_else(|| no_table(&path))
    }

    fn remote_data_dir(&self) -> Option<String> {
        (self.options.release >= Release::V1_0).then(|| "/fake/remote".to_owned())
    }

    pub(super) fn table_info(
        &mut self,
        request: &GetTableInfoRequest,
    ) -> Answer<GetTableInfoResponse> {
        let table = self.table_at(&request.table_path)?;
        Ok(GetTableInfoResponse {
            table_id: table.id,
            schema_id: table.schema_id,
            table_json: table.json(),
            created_time: table.created_ms,
            modified_time: table.created_ms,
            remote_data_dir: self.remote_data_dir(),
            bucket_count_epoch: rescaled(table),
        })
    }

    pub(super) fn table_schema(
        &mut self,
        request: &GetTableSchemaRequest,
    ) -> Answer<GetTableSchemaResponse> {
        let path = path_of(&request.table_path);
        if names::no_place_for_table(&path).is_some() {
            let message = words::schema_unread(&path, request.schema_id);
            return Err(Failure::new(code::UNKNOWN, message));
        }
        // A table that is not there has no schema, its latest one being 0.
        let table = self.catalog.tables.get(&path);
        let schema_id = request.schema_id.or(table.map(|table| table.schema_id)).unwrap_or(0);
        let schema = table.and_then(|table| table.schema_of(schema_id)).ok_or_else(|| {
            let message = words::schema_is_missing(&path, schema_id);
            Failure::new(code::SCHEMA_NOT_EXIST, message)
        })?;
        Ok(GetTableSchemaResponse { schema_id, schema_json: schema.to_json().into() })
    }

    pub(super) fn list_tables(
        &mut self,
        conn: ConnId,
        request: &ListTablesRequest,
    ) -> Answer<ListTablesResponse> {
        let name = &request.database_name;
        if !self.has_database(name)? {
            return Err(no_database(name));
        }
        let seen =
            |table: &&Table| self.may(conn, operation::DESCRIBE, Resource::Table(&table.path));
        let tables = self.tables_of(name).filter(seen);
        let table_name = tables.map(|table| table.path.table.to_string()).collect();
        Ok(ListTablesResponse { table_name })
    }

    pub(super) fn table_exists(
        &mut self,
        request: &TableExistsRequest,
    ) -> Answer<TableExistsResponse> {
        Ok(TableExistsResponse { exists: self.has_table(&path_of(&request.table_path))? })
    }

    pub(super) fn list_partitions(
        &mut self,
        request: &ListPartitionInfosRequest,
    ) -> Answer<ListPartitionInfosResponse> {
        let table = self.table_at(&request.table_path)?;
        if !table.partitioned() {
            let message = words::not_partitioned(&table.path);
            return Err(Failure::new(code::TABLE_NOT_PARTITIONED, message));
        }
        let wanted = request.partial_partition_spec.as_ref();
        let wanted = wanted.map_or(&[][..], |spec| &spec.partition_key_values[..]);
        // Partitions are looked at one by one, so without any nobody notices.
        let strange = |pair: &PbKeyValue| !table.partition_keys.contains(&pair.key);
        if !table.partitions.is_empty() && wanted.iter().any(strange) {
            let message = words::no_such_partitions(&table.path, wanted);
            return Err(Failure::new(code::UNKNOWN, message));
        }
        let infos = table.partitions.iter().map(|(name, id)| {
            let values = table.partition_keys.iter().zip(name.split('$'));
            let pair = |(key, value): (&String, &str)| PbKeyValue {
                key: key.clone(),
                value: value.to_owned(),
            };
            PbPartitionInfo {
                partition_id: *id,
                partition_spec: PbPartitionSpec {
                    partition_key_values: values.map(pair).collect(),
                },
                remote_data_dir: self.remote_data_dir(),
                bucket_count: self.own_buckets(table, *id),
            }
        });
        let fits = |info: &PbPartitionInfo| {
            wanted.iter().all(|pair| info.partition_spec.partition_key_values.contains(pair))
        };
        let partitions_info = infos.filter(fits).collect();
        Ok(ListPartitionInfosResponse { partitions_info, system_partitions_included: None })
    }

    pub(super) fn metadata(
        &mut self,
        conn: ConnId,
        server: ServerId,
        request: &MetadataRequest,
    ) -> Answer<MetadataResponse> {
        let mut answer = MetadataResponse {
            coordinator_server: self.node(ServerId::Coordinator),
            ..Default::default()
        };
        for id in self.servers.keys().filter(|id| **id != ServerId::Coordinator) {
            answer.tablet_servers.extend(self.node(*id).filter(|_| self.is_up(*id)));
        }
        let seen = |path: &TablePath| self.may(conn, operation::DESCRIBE, Resource::Table(path));
        let wanted: Vec<TablePath> =
            request.table_path.iter().map(path_of).filter(|path| seen(path)).collect();
        for path in &wanted {
            // Unlike all other calls, this one has no code of its own for a missing table.
            let table = self.catalog.tables.get(path);
            let missing = || Failure::new(code::UNKNOWN, words::no_metadata(&wanted));
            let table = table.ok_or_else(missing)?;
            answer.table_metadata.push(self.table_metadata(server, table));
        }
        for wanted in &request.partitions_path {
            let path = TablePath::new(&wanted.database_name, &wanted.table_name);
            if !seen(&path) {
                continue;
            }
            let Some(name) = &wanted.partition_name else {
                return Err(Failure::new(code::UNKNOWN, words::NO_PARTITION_NAME));
            };
            if let Some(reason) = names::no_place_for_partition(&path, name) {
                return Err(Failure::new(code::UNKNOWN, words::partition_unread(&reason)));
            }
            let table = self.catalog.tables.get(&path);
            let found = table.and_then(|table| Some((table, table.partitions.get(name)?)));
            let (table, id) =
                found.ok_or_else(|| no_partition(words::no_metadata_of_partition(&path, name)))?;
            answer.partition_metadata.push(self.partition_metadata(server, table, name, *id));
        }
        for id in &request.partitions_id {
            let (table, name) = self
                .catalog
                .partition(*id)
                .filter(|(table, _)| seen(&table.path))
                .ok_or_else(|| no_partition(words::no_metadata_of_partition_id(*id)))?;
            answer.partition_metadata.push(self.partition_metadata(server, table, name, *id));
        }
        Ok(answer)
    }

    /// Whether the server accepts connections.
    #[must_use]
    pub fn is_up(&self, server: ServerId) -> bool {
        self.servers.get(&server).is_some_and(|server| server.up)
    }

    fn node(&self, id: ServerId) -> Option<PbServerNode> {
        let server = self.servers.get(&id)?;
        Some(PbServerNode {
            node_id: if let ServerId::Tablet(id) = id { id } else { 0 },
            host: server.address.host.to_string(),
            port: server.address.port.into(),
            listeners: None,
            rack: None,
        })
    }

    fn table_metadata(&self, server: ServerId, table: &Table) -> PbTableMetadata {
        PbTableMetadata {
            table_path: PbTablePath {
                database_name: table.path.database.to_string(),
                table_name: table.path.table.to_string(),
            },
            table_id: table.id,
            schema_id: table.schema_id,
            table_json: table.json(),
            bucket_metadata: self.buckets_metadata(server, table.id, None),
            created_time: table.created_ms,
            modified_time: table.created_ms,
            remote_data_dir: self.remote_data_dir(),
            bucket_count_epoch: rescaled(table),
        }
    }

    /// The number of a partition's buckets, where the table was rescaled.
    fn own_buckets(&self, table: &Table, id: i64) -> Option<i32> {
        rescaled(table)?;
        let (table, partition) = (TableId(table.id), Some(PartitionId(id)));
        self.catalog.bucket_count(BucketKey { table, partition, bucket: 0 })
    }

    fn partition_metadata(
        &self,
        server: ServerId,
        table: &Table,
        name: &str,
        id: i64,
    ) -> PbPartitionMetadata {
        PbPartitionMetadata {
            table_id: table.id,
            partition_name: name.to_owned(),
            partition_id: id,
            bucket_metadata: self.buckets_metadata(server, table.id, Some(id)),
            bucket_count: self.own_buckets(table, id),
        }
    }

    fn buckets_metadata(
        &self,
        asked: ServerId,
        table: i64,
        partition: Option<i64>,
    ) -> Vec<PbBucketMetadata> {
        let describe = |(key, bucket): (&BucketKey, &Bucket)| {
            let leader = match bucket.stale {
                // Only the new leader itself knows at once.
                Some((old, until))
                    if self.now < until && asked != ServerId::Tablet(bucket.leader.server) =>
                {
                    old
                }
                _ => bucket.leader,
            };
            PbBucketMetadata {
                bucket_id: key.bucket,
                leader_id: Some(leader.server).filter(|&id| id >= 0),
                replica_id: bucket.replicas.clone(),
                leader_epoch: self.options.leader_epochs.then_some(leader.epoch),
                bucket_epoch: None,
                isr: Vec::new(),
            }
        };
        self.catalog.buckets_of(table, partition).map(describe).collect()
    }
}

/// How often the number of buckets was changed, as servers say it that know of such tables.
fn rescaled(table: &Table) -> Option<i64> {
    Some(table.epoch).filter(|epoch| *epoch > 0)
}

fn no_partition(message: String) -> Failure {
    Failure::new(code::PARTITION_NOT_EXISTS, message)
}
