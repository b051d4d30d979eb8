//! Making and dropping databases, tables and partitions.

use fluss_proto::message::{
    CreateDatabaseRequest, CreateDatabaseResponse, CreatePartitionRequest, CreatePartitionResponse,
    CreateTableRequest, CreateTableResponse, DropDatabaseRequest, DropDatabaseResponse,
    DropPartitionRequest, DropPartitionResponse, DropTableRequest, DropTableResponse,
    PbPartitionSpec, PbTablePath,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::api::code;
use super::catalog::{Bucket, Database, Leader, Table};
use super::kv::Kv;
use super::log::Log;
use super::{Answer, Failure, FakeCluster, Release};
use crate::ids::{BucketKey, PartitionId, ServerId, TableId, TablePath};
use crate::row::Schema;

/// Most buckets of a table or partition.
const MAX_BUCKETS: i64 = 4096;
const NAME_LIMIT: usize = 200;

pub(super) fn path_of(path: &PbTablePath) -> TablePath {
    TablePath::new(&path.database_name, &path.table_name)
}

pub(super) fn no_table(path: &TablePath) -> Failure {
    Failure::new(code::TABLE_NOT_EXIST, format!("table {path} does not exist"))
}

pub(super) fn no_database(name: &str) -> Failure {
    Failure::new(code::DATABASE_NOT_EXIST, format!("database {name} does not exist"))
}

fn valid_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (1..=NAME_LIMIT).contains(&name.len()) && name.chars().all(allowed)
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
        if !valid_name(&name) || name.starts_with("__") {
            let message = format!("{name:?} is not a database name");
            return Err(Failure::new(code::INVALID_DATABASE, message));
        }
        if self.catalog.databases.contains_key(&name) {
            if request.ignore_if_exists {
                return Ok(CreateDatabaseResponse {});
            }
            let message = format!("database {name} exists");
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
        if !self.catalog.databases.contains_key(name) {
            return if request.ignore_if_not_exists {
                Ok(DropDatabaseResponse {})
            } else {
                Err(no_database(name))
            };
        }
        let paths: Vec<TablePath> =
            self.catalog.tables.keys().filter(|path| *path.database == **name).cloned().collect();
        if !paths.is_empty() && !request.cascade {
            let message = format!("database {name} has tables");
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
        if !valid_name(&path.table) || path.table.starts_with("__") || !valid_name(&path.database) {
            let message = format!("{path:?} is not a table path");
            return Err(Failure::new(code::INVALID_TABLE, message));
        }
        let table = self.plan_table(&path, &request.table_json)?;
        if !self.catalog.databases.contains_key(&*path.database) {
            return Err(no_database(&path.database));
        }
        if self.catalog.tables.contains_key(&path) {
            if request.ignore_if_exists {
                return Ok(CreateTableResponse {});
            }
            let message = format!("table {path} exists");
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
        let schema = Schema::from_json(descriptor["schema"].to_string().as_bytes())
            .map_err(|error| invalid(error.to_string()))?
            .with_field_ids();
        descriptor["schema"] =
            serde_json::from_str(&schema.to_json()).map_err(|error| invalid(error.to_string()))?;
        let partition_keys = strings(&descriptor["partition_key"]);
        let unknown = partition_keys.iter().find(|name| schema.index_of(name).is_none());
        if let Some(name) = unknown {
            return Err(invalid(format!("partition key {name} is not a column")));
        }
        set_bucket_key(&mut descriptor, &schema, &partition_keys)?;
        let buckets = descriptor["bucket_count"].as_i64();
        let buckets = buckets.unwrap_or(i64::from(self.options.default_buckets));
        if buckets <= 0 {
            return Err(invalid(format!("bucket count {buckets}")));
        }
        if buckets > MAX_BUCKETS {
            let message = format!("{buckets} buckets are more than {MAX_BUCKETS}");
            return Err(Failure::new(code::BUCKET_MAX_NUM, message));
        }
        descriptor["bucket_count"] = buckets.into();
        let replication = self.set_properties(&mut descriptor, &schema)?;
        Ok(Table {
            id: -1,
            path: path.clone(),
            schema_id: 1,
            descriptor,
            created_ms: self.now_ms(),
            buckets: i32::try_from(buckets).unwrap_or(i32::MAX),
            epoch: 0,
            replication,
            partition_keys,
            schema,
            older: Vec::new(),
            partitions: BTreeMap::new(),
        })
    }

    fn set_properties(&self, descriptor: &mut Value, schema: &Schema) -> Answer<i32> {
        if !descriptor["properties"].is_object() {
            descriptor["properties"] = json!({});
        }
        if !descriptor["custom_properties"].is_object() {
            descriptor["custom_properties"] = json!({});
        }
        let properties = &mut descriptor["properties"];
        let foreign = properties
            .as_object()
            .and_then(|map| map.keys().find(|name| !name.starts_with("table.")).cloned());
        if let Some(name) = foreign {
            let message = format!("{name:?} is not a table option");
            return Err(Failure::new(code::INVALID_CONFIG, message));
        }
        self.check_statistics(properties, schema)?;
        let factor = properties["table.replication.factor"].as_str().map(str::to_owned);
        let factor = factor.map_or(Ok(self.options.replication), |text| text.parse());
        let factor = factor.ok().filter(|&n| n > 0).ok_or_else(|| {
            Failure::new(code::INVALID_REPLICATION, "the replication factor must be above 0")
        })?;
        let alive = self.tablets().count();
        if usize::try_from(factor).is_ok_and(|factor| factor > alive) {
            let message = format!(
                "Replication factor: {factor} larger than available tablet servers: {alive}"
            );
            return Err(Failure::new(code::INVALID_REPLICATION, message));
        }
        properties["table.replication.factor"] = factor.to_string().into();
        if !schema.primary_key().is_empty() {
            if properties["table.kv.format-version"].is_null() {
                properties["table.kv.format-version"] = "2".into();
            }
            if properties["table.merge-engine"].is_string()
                && properties["table.delete.behavior"].is_null()
            {
                properties["table.delete.behavior"] = "IGNORE".into();
            }
        }
        Ok(factor)
    }

    /// Servers before 1.0 know nothing of statistics; the others keep them for log tables.
    fn check_statistics(&self, properties: &Value, schema: &Schema) -> Answer<()> {
        const NAME: &str = "table.statistics.columns";
        if properties[NAME].is_null() {
            return Ok(());
        }
        let message = if self.options.release < Release::V1_0 {
            format!(
                "'{NAME}' is not a recognized Fluss table property in the current cluster \
                 version. You may be using an older Fluss cluster that does not support this \
                 property."
            )
        } else if !schema.primary_key().is_empty() {
            format!("'{NAME}' is for log tables only")
        } else {
            return Ok(());
        };
        Err(Failure::new(code::INVALID_CONFIG, message))
    }

    fn tablets(&self) -> impl Iterator<Item = i32> + '_ {
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
        if self.remove_table(&path).is_none() && !request.ignore_if_not_exists {
            return Err(no_table(&path));
        }
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

    pub(super) fn create_partition(
        &mut self,
        request: &CreatePartitionRequest,
    ) -> Answer<CreatePartitionResponse> {
        let path = path_of(&request.table_path);
        let table = self.catalog.tables.get(&path).ok_or_else(|| no_table(&path))?;
        let name = partition_name(table, &request.partition_spec)?;
        if table.partitions.contains_key(&name) {
            if request.ignore_if_not_exists {
                return Ok(CreatePartitionResponse {});
            }
            let message = format!("partition {name} of {path} exists");
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
        let table = self.catalog.tables.get(&path).ok_or_else(|| no_table(&path))?;
        let name = partition_name(table, &request.partition_spec)?;
        if !self.remove_partition_at(&path, &name) && !request.ignore_if_not_exists {
            let message = format!("partition {name} of {path} does not exist");
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

/// The partition's name: its values in the order of the table's partition keys.
fn partition_name(table: &Table, spec: &PbPartitionSpec) -> Answer<String> {
    if !table.partitioned() {
        let message = format!("table {} is not partitioned", table.path);
        return Err(Failure::new(code::TABLE_NOT_PARTITIONED, message));
    }
    let invalid = |message: String| Failure::new(code::INVALID_PARTITION_SPEC, message);
    let given = &spec.partition_key_values;
    if given.len() != table.partition_keys.len() {
        return Err(invalid(format!("the spec must name {:?}", table.partition_keys)));
    }
    let value = |key: &String| {
        let pair = given.iter().find(|pair| pair.key == *key);
        let value = pair.map(|pair| pair.value.as_str()).filter(|value| valid_name(value));
        value.filter(|value| !value.starts_with("__"))
    };
    let values: Option<Vec<&str>> = table.partition_keys.iter().map(value).collect();
    values.map(|values| values.join("$")).ok_or_else(|| invalid(format!("spec {given:?}")))
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
    if !primary.is_empty()
        && let Some(name) = partition_keys.iter().find(|name| !primary.contains(name))
    {
        return Err(invalid(format!("partition key {name} is not in the primary key")));
    }
    let mut bucket_key = strings(&descriptor["bucket_key"]);
    if let Some(name) = bucket_key.iter().find(|name| partition_keys.contains(name)) {
        return Err(invalid(format!("bucket key {name} is a partition key")));
    }
    if bucket_key.is_empty() && !primary.is_empty() {
        bucket_key = primary.iter().filter(|n| !partition_keys.contains(n)).cloned().collect();
        if bucket_key.is_empty() {
            return Err(invalid("the primary key has nothing but partition keys".to_owned()));
        }
    }
    let known = |name: &String| {
        if primary.is_empty() { schema.index_of(name).is_some() } else { primary.contains(name) }
    };
    if let Some(name) = bucket_key.iter().find(|name| !known(name)) {
        return Err(invalid(format!("bucket key {name} is not allowed")));
    }
    descriptor["bucket_key"] = bucket_key.into();
    Ok(())
}
