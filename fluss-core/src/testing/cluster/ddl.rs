//! Making and dropping databases, tables and partitions.

use fluss_proto::message::{
    CreateDatabaseRequest, CreateDatabaseResponse, CreatePartitionRequest, CreatePartitionResponse,
    CreateTableRequest, CreateTableResponse, DropDatabaseRequest, DropDatabaseResponse,
    DropPartitionRequest, DropPartitionResponse, DropTableRequest, DropTableResponse,
    PbPartitionSpec, PbTablePath,
};
use serde_json::Value;
use std::collections::BTreeMap;

use super::api::code;
use super::catalog::{Bucket, Database, Descriptor, Leader, Table};
use super::kv::Kv;
use super::log::Log;
use super::names::{self, Named};
use super::{Answer, Failure, FakeCluster, Release, words};
use crate::ids::{BucketKey, PartitionId, ServerId, TableId, TablePath};
use crate::row::Schema;

/// Most buckets of a table or partition.
const MAX_BUCKETS: i64 = 4096;
/// The same before 1.0.
const MAX_BUCKETS_BEFORE: i64 = 128_000;

pub(super) fn path_of(path: &PbTablePath) -> TablePath {
    TablePath::new(&path.database_name, &path.table_name)
}

pub(super) fn no_table(path: &TablePath) -> Failure {
    Failure::new(code::TABLE_NOT_EXIST, words::table_is_missing(path))
}

pub(super) fn no_database(name: &str) -> Failure {
    Failure::new(code::DATABASE_NOT_EXIST, words::database_is_missing(name))
}

impl FakeCluster {
    /// Makes a database, if there is none of this name.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn add_database(&mut self, name: &str) -> Result<(), String> {
        let request = CreateDatabaseRequest {
            database_name: name.to_owned(),
            ignore_if_exists: true,
            database_json: None,
        };
        self.create_database(request).map(drop).map_err(|failure| failure.message)
    }

    /// Makes a table from its descriptor, as if the coordinator had been asked to.
    ///
    /// # Errors
    /// What is wrong with the path or the descriptor.
    pub fn add_table(&mut self, path: &TablePath, descriptor: &str) -> Result<TableId, String> {
        let request = CreateTableRequest {
            table_path: PbTablePath {
                database_name: path.database.to_string(),
                table_name: path.table.to_string(),
            },
            table_json: descriptor.to_owned().into(),
            ignore_if_exists: false,
        };
        self.create_table(&request).map_err(|failure| failure.message)?;
        self.table_id(path).ok_or_else(|| format!("{path} was not made"))
    }

    pub(super) fn create_database(
        &mut self,
        request: CreateDatabaseRequest,
    ) -> Answer<CreateDatabaseResponse> {
        let name = request.database_name;
        names::check_new(Named::Database, &name)?;
        if self.catalog.databases.contains_key(&name) {
            if request.ignore_if_exists {
                return Ok(CreateDatabaseResponse {});
            }
            let message = words::database_is_there(&name);
            return Err(Failure::new(code::DATABASE_ALREADY_EXIST, message));
        }
        let json = request.database_json.filter(|json| !json.is_empty());
        let json = json.unwrap_or_else(|| br#"{"version":1,"custom_properties":{}}"#[..].into());
        let database = Database { json, created_ms: self.now_ms() };
        self.catalog.databases.insert(name, database);
        Ok(CreateDatabaseResponse {})
    }

    pub(super) fn drop_database(
        &mut self,
        request: &DropDatabaseRequest,
    ) -> Answer<DropDatabaseResponse> {
        let name = &request.database_name;
        if !self.has_database(name)? {
            return if request.ignore_if_not_exists {
                Ok(DropDatabaseResponse {})
            } else {
                Err(no_database(name))
            };
        }
        let paths: Vec<TablePath> =
            self.catalog.tables.keys().filter(|path| *path.database == **name).cloned().collect();
        if !paths.is_empty() && !request.cascade {
            let message = words::database_has_tables(name);
            return Err(Failure::new(code::DATABASE_NOT_EMPTY, message));
        }
        for path in paths {
            self.remove_table(&path);
        }
        self.catalog.databases.remove(name);
        Ok(DropDatabaseResponse {})
    }

    pub(super) fn create_table(
        &mut self,
        request: &CreateTableRequest,
    ) -> Answer<CreateTableResponse> {
        let path = path_of(&request.table_path);
        names::check_path(&path)?;
        let table = self.plan_table(&path, &request.table_json)?;
        if !self.catalog.databases.contains_key(&*path.database) {
            return Err(no_database(&path.database));
        }
        if self.catalog.tables.contains_key(&path) {
            if request.ignore_if_exists {
                return Ok(CreateTableResponse {});
            }
            let message = words::table_is_there(&path);
            return Err(Failure::new(code::TABLE_ALREADY_EXIST, message));
        }
        self.insert_table(table);
        Ok(CreateTableResponse {})
    }

    /// Checks a descriptor and fills in what the coordinator adds.
    fn plan_table(&self, path: &TablePath, json: &[u8]) -> Answer<Table> {
        let invalid = |message: String| Failure::new(code::INVALID_TABLE, message);
        let mut descriptor: Value =
            serde_json::from_slice(json).map_err(|error| invalid(error.to_string()))?;
        let schema = Schema::from_value(&descriptor["schema"])
            .map_err(|error| invalid(error.to_string()))?
            .with_field_ids();
        descriptor["schema"] =
            serde_json::from_str(&schema.to_json()).map_err(|error| invalid(error.to_string()))?;
        let partition_keys = strings(&descriptor["partition_key"]);
        let unknown = partition_keys.iter().find(|name| schema.index_of(name).is_none());
        if let Some(name) = unknown {
            return Err(invalid(words::partition_key_is_missing(name)));
        }
        set_bucket_key(&mut descriptor, &schema, &partition_keys)?;
        let buckets = descriptor["bucket_count"].as_i64();
        let buckets = buckets.unwrap_or(i64::from(self.options.default_buckets));
        self.check_buckets(buckets)?;
        descriptor["bucket_count"] = buckets.into();
        let partitioned = !partition_keys.is_empty();
        let replication = self.set_properties(&mut descriptor, &schema, partitioned)?;
        Ok(Table {
            id: -1,
            path: path.clone(),
            schema_id: 1,
            descriptor: Descriptor::new(descriptor),
            created_ms: self.now_ms(),
            buckets: i32::try_from(buckets).unwrap_or(i32::MAX),
            epoch: 0,
            replication,
            partition_keys,
            schema,
            older: Vec::new(),
            partitions: BTreeMap::new(),
            blocks: 0,
        })
    }

    fn check_buckets(&self, count: i64) -> Answer<()> {
        let most = match self.options.release {
            Release::V0_9 => MAX_BUCKETS_BEFORE,
            Release::V1_0 => MAX_BUCKETS,
        };
        if count <= 0 {
            return Err(Failure::new(code::UNKNOWN, words::NO_BUCKETS));
        }
        if count > most {
            return Err(Failure::new(code::BUCKET_MAX_NUM, words::too_many_buckets(count, most)));
        }
        Ok(())
    }

    pub(super) fn tablets(&self) -> impl Iterator<Item = i32> + '_ {
        self.servers.iter().filter_map(|(id, server)| match id {
            ServerId::Tablet(id) if server.up => Some(*id),
            _ => None,
        })
    }

    /// Registers a planned table under a new id and gives its buckets leaders.
    pub(super) fn insert_table(&mut self, mut table: Table) -> i64 {
        let id = self.catalog.next_table_id;
        self.catalog.next_table_id += 1;
        table.id = id;
        table.created_ms = self.now_ms();
        table.partitions.clear();
        self.catalog.paths.insert(id, table.path.clone());
        if !table.partitioned() {
            self.insert_buckets(&table, None);
        }
        self.catalog.tables.insert(table.path.clone(), table);
        id
    }

    fn insert_buckets(&mut self, table: &Table, partition: Option<i64>) {
        let alive: Vec<i32> = self.tablets().collect();
        let first = self.catalog.buckets.len();
        for number in 0..table.buckets {
            let start = first + usize::try_from(number).unwrap_or(0);
            let replicas: Vec<i32> = (0..usize::try_from(table.replication).unwrap_or(1))
                .filter_map(|i| alive.get((start + i) % alive.len().max(1)).copied())
                .collect();
            let bucket = Bucket {
                leader: Leader { server: replicas.first().copied().unwrap_or(-1), epoch: 0 },
                leads_from: 0,
                stale: None,
                serves_from: self.now + self.options.leader_delay,
                in_sync: replicas.iter().copied().collect(),
                replicas,
                log: Log::default(),
                kv: (!table.schema.primary_key().is_empty()).then(Kv::default),
                rows_appended: 0,
                duplicates: 0,
            };
            let key = BucketKey {
                table: TableId(table.id),
                partition: partition.map(PartitionId),
                bucket: number,
            };
            self.catalog.buckets.insert(key, bucket);
        }
    }

    pub(super) fn drop_table(&mut self, request: &DropTableRequest) -> Answer<DropTableResponse> {
        let path = path_of(&request.table_path);
        if !self.has_table(&path)? && !request.ignore_if_not_exists {
            return Err(Failure::new(code::TABLE_NOT_EXIST, words::nothing_to_drop(&path)));
        }
        self.remove_table(&path);
        Ok(DropTableResponse {})
    }

    /// Takes a table and its buckets out; writes that wait there are answered with 21.
    pub(super) fn remove_table(&mut self, path: &TablePath) -> Option<Table> {
        let table = self.catalog.tables.remove(path)?;
        self.catalog.paths.remove(&table.id);
        self.catalog.buckets.retain(|key, _| key.table.0 != table.id);
        self.settle_writes();
        Some(table)
    }

    /// Whether there is a table, where servers find out no more than that.
    pub(super) fn has_table(&self, path: &TablePath) -> Answer<bool> {
        match names::no_place_for_table(path) {
            Some(_) => Err(Failure::new(code::UNKNOWN, words::table_unseen(path))),
            None => Ok(self.catalog.tables.contains_key(path)),
        }
    }

    /// The table of which a partition is to be made or dropped; `to` says which.
    fn partitioned_table(&self, path: &TablePath, to: &str) -> Answer<&Table> {
        if let Some(reason) = names::no_place_for_table(path) {
            return Err(Failure::new(code::UNKNOWN, words::partitions_unread(&reason)));
        }
        let table = self.catalog.tables.get(path).ok_or_else(|| no_table(path))?;
        if !table.partitioned() {
            return Err(Failure::new(code::TABLE_NOT_PARTITIONED, words::only_partitioned(to)));
        }
        Ok(table)
    }

    pub(super) fn create_partition(
        &mut self,
        request: &CreatePartitionRequest,
    ) -> Answer<CreatePartitionResponse> {
        let path = path_of(&request.table_path);
        let table = self.partitioned_table(&path, "create")?;
        let name = partition_name(table, &request.partition_spec, names::check_new)?;
        if table.partitions.contains_key(&name) {
            if request.ignore_if_not_exists {
                return Ok(CreatePartitionResponse {});
            }
            let message = words::partition_is_there(&qualified(table, &name), &path);
            return Err(Failure::new(code::PARTITION_ALREADY_EXISTS, message));
        }
        self.insert_partition(&path, name);
        Ok(CreatePartitionResponse {})
    }

    pub(super) fn insert_partition(&mut self, path: &TablePath, name: String) {
        let id = self.catalog.next_partition_id;
        let Some(table) = self.catalog.tables.get_mut(path) else { return };
        self.catalog.next_partition_id += 1;
        table.partitions.insert(name, id);
        // A copy without the partitions, which may be many.
        let partitions = std::mem::take(&mut table.partitions);
        let bare = table.clone();
        table.partitions = partitions;
        self.insert_buckets(&bare, Some(id));
    }

    pub(super) fn drop_partition(
        &mut self,
        request: &DropPartitionRequest,
    ) -> Answer<DropPartitionResponse> {
        let path = path_of(&request.table_path);
        let table = self.partitioned_table(&path, "drop")?;
        let name = partition_name(table, &request.partition_spec, names::check)?;
        let qualified = qualified(table, &name);
        if !self.remove_partition_at(&path, &name) && !request.ignore_if_not_exists {
            let message = words::partition_is_missing(&qualified, &path);
            return Err(Failure::new(code::PARTITION_NOT_EXISTS, message));
        }
        Ok(DropPartitionResponse {})
    }

    /// The name of a partition: its values, joined with `$`.
    #[must_use]
    pub fn partition_name(&self, id: PartitionId) -> Option<String> {
        self.catalog.partition(id.0).map(|(_, name)| name.to_owned())
    }

    /// Drops the partition with this name; false without one.
    pub fn remove_partition_at(&mut self, path: &TablePath, name: &str) -> bool {
        let table = self.catalog.tables.get_mut(path);
        let Some(id) = table.and_then(|table| table.partitions.remove(name)) else { return false };
        self.catalog.buckets.retain(|key, _| key.partition != Some(PartitionId(id)));
        self.settle_writes();
        true
    }
}

/// The partition's name: its values in the order of the table's partition keys. `check` is what
/// each value has to pass.
fn partition_name(
    table: &Table,
    spec: &PbPartitionSpec,
    check: fn(Named, &str) -> Answer<()>,
) -> Answer<String> {
    let invalid = |message: String| Failure::new(code::INVALID_PARTITION_SPEC, message);
    let given = names::values_of(spec);
    if given.len() != table.partition_keys.len() {
        return Err(invalid(words::other_partition_keys(&table.path)));
    }
    let value = |key: &String| {
        given.get(key.as_str()).copied().ok_or_else(|| {
            let shown = names::shown(spec);
            invalid(words::partition_key_not_given(&shown, key, &table.path))
        })
    };
    let values: Vec<&str> = table.partition_keys.iter().map(value).collect::<Answer<_>>()?;
    values.iter().try_for_each(|value| check(Named::PartitionValue, value))?;
    Ok(values.join("$"))
}

/// A partition's name with the keys.
fn qualified(table: &Table, name: &str) -> String {
    let pairs = table.partition_keys.iter().zip(name.split('$'));
    pairs.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("/")
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// A primary-key table without a bucket key gets its physical primary key.
fn set_bucket_key(
    descriptor: &mut Value,
    schema: &Schema,
    partition_keys: &[String],
) -> Answer<()> {
    let invalid = |message: String| Failure::new(code::INVALID_TABLE, message);
    let names = schema.primary_key().iter().filter_map(|&at| schema.columns().get(at));
    let primary: Vec<String> = names.map(|column| column.name.clone()).collect();
    if !primary.is_empty() && partition_keys.iter().any(|name| !primary.contains(name)) {
        return Err(invalid(words::partition_key_not_primary(partition_keys, &primary)));
    }
    let mut bucket_key = strings(&descriptor["bucket_key"]);
    if bucket_key.iter().any(|name| partition_keys.contains(name)) {
        return Err(invalid(words::bucket_key_in_partition_key(&bucket_key, partition_keys)));
    }
    if bucket_key.is_empty() && !primary.is_empty() {
        bucket_key = primary.iter().filter(|n| !partition_keys.contains(n)).cloned().collect();
        if bucket_key.is_empty() {
            return Err(invalid(words::nothing_but_partition_keys(&primary, partition_keys)));
        }
    }
    if primary.is_empty() {
        if let Some(name) = bucket_key.iter().find(|name| schema.index_of(name).is_none()) {
            return Err(invalid(words::bucket_key_is_missing(name)));
        }
    } else if bucket_key.iter().any(|name| !primary.contains(name)) {
        let message = words::bucket_key_not_primary(&primary, partition_keys, &bucket_key);
        return Err(invalid(message));
    }
    descriptor["bucket_key"] = bucket_key.into();
    Ok(())
}
