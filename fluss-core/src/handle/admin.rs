//! Databases, tables, partitions, offsets, servers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fluss_proto::api::ApiKey;
use fluss_proto::message as pb;
use fluss_proto::message::{PbKeyValue, PbPartitionSpec, PbServerNode};
use prost::Message;

use super::fluss::{Fluss, parse_path, pb_path};
use super::offsets::{OffsetSpec, list_offsets};
use super::pending::Pending;
use super::table::TableInfo;
use crate::command::Target;
use crate::error::{Error, Result};
use crate::ids::{Address, BucketKey, PartitionId, ServerId, TablePath};
use crate::row::partition::{check_name, check_value};
use crate::row::{Column, TableDescriptor};

/// Makes, lists and drops things; made by [`Fluss::admin`]. Cheap to clone.
///
/// Every call ends within [`Config::command_deadline`](crate::config::Config::command_deadline),
/// with [`Error::Rejected`] and the server's code if a server refuses, and with
/// [`Error::Unavailable`] and the last reason if none answered until then. Changes are repeated
/// after a lost connection only if the call ignores that they are done already; else one that may
/// have reached the server ends with [`Error::Disconnected`].
///
/// ```no_run
/// # use fluss_core::row::{DataType, Schema, TableDescriptor};
/// # async fn example(fluss: fluss_core::Fluss) -> Result<(), Box<dyn std::error::Error>> {
/// let schema = Schema::builder().column("id", DataType::BIGINT).primary_key(["id"]).build()?;
/// let admin = fluss.admin();
/// admin.create_database("shop", true).await?;
/// admin.create_table("shop.users", &TableDescriptor::new(schema), true).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Admin {
    pub(super) fluss: Fluss,
}

/// A partition of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionInfo {
    /// Its id; a partition that was dropped and made again has another.
    pub id: PartitionId,
    /// The values of the partition columns, joined with `$`.
    pub name: Arc<str>,
    /// Partition columns and values, in the order of the partition key.
    pub values: Vec<(String, String)>,
    /// Its own number of buckets, where the server tells it.
    pub buckets: Option<i32>,
}

/// A server as the cluster lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// Role and, for tablet servers, number.
    pub server: ServerId,
    /// The number the server has among those of its role.
    pub node_id: i32,
    /// Where it listens.
    pub address: Address,
    /// Its rack, if it has one.
    pub rack: Option<String>,
}

impl Fluss {
    /// Databases, tables, partitions, offsets, servers.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin { fluss: self.clone() }
    }

    /// The partitions of a table that have these values; all of them for none.
    pub(super) async fn partitions_of(
        &self,
        info: &TableInfo,
        values: Vec<(String, String)>,
    ) -> Result<Vec<PartitionInfo>> {
        self.list_partitions(&info.path, values).await
    }

    pub(super) async fn list_partitions(
        &self,
        path: &TablePath,
        values: Vec<(String, String)>,
    ) -> Result<Vec<PartitionInfo>> {
        let request = pb::ListPartitionInfosRequest {
            table_path: pb_path(path),
            partial_partition_spec: (!values.is_empty()).then(|| spec(values)),
            include_system_partitions: None,
        };
        let what = format!("LIST_PARTITION_INFOS {path}");
        let (api, target) = (ApiKey::ListPartitionInfos, Target::AnyServer);
        let answer: pb::ListPartitionInfosResponse =
            self.call(api, &request, target, &what, true).await?;
        Ok(answer.partitions_info.into_iter().map(partition).collect())
    }

    pub(super) async fn list_servers(&self) -> Result<Vec<ServerInfo>> {
        let request = pb::MetadataRequest::default();
        let (api, target) = (ApiKey::GetMetadata, Target::AnyServer);
        let answer: pb::MetadataResponse =
            self.call(api, &request, target, "GET_METADATA", true).await?;
        let coordinator = answer.coordinator_server.into_iter();
        let coordinator = coordinator.map(|node| server(ServerId::Coordinator, node));
        let tablets = answer.tablet_servers.into_iter();
        let tablets = tablets.map(|node| server(ServerId::Tablet(node.node_id), node));
        let mut servers = coordinator.chain(tablets).collect::<Result<Vec<_>>>()?;
        servers.sort_by_key(|info| info.server);
        Ok(servers)
    }
}

fn server(server: ServerId, node: PbServerNode) -> Result<ServerInfo> {
    let port = u16::try_from(node.port).map_err(|_| Error::Peer {
        server: "server".into(),
        what: format!("it lists {server} at port {}", node.port).into(),
    })?;
    let address = Address { host: node.host.into(), port };
    Ok(ServerInfo { server, node_id: node.node_id, address, rack: node.rack })
}

fn partition(info: pb::PbPartitionInfo) -> PartitionInfo {
    let pairs = info.partition_spec.partition_key_values.into_iter();
    let values: Vec<(String, String)> = pairs.map(|pair| (pair.key, pair.value)).collect();
    let names: Vec<&str> = values.iter().map(|(_, value)| value.as_str()).collect();
    let name = names.join("$").into();
    PartitionInfo { id: PartitionId(info.partition_id), name, values, buckets: info.bucket_count }
}

fn spec(values: Vec<(String, String)>) -> PbPartitionSpec {
    let pairs = values.into_iter().map(|(key, value)| PbKeyValue { key, value });
    PbPartitionSpec { partition_key_values: pairs.collect() }
}

/// Databases.
impl Admin {
    /// Makes a database.
    ///
    /// # Errors
    /// [`Error::Rejected`] with code 6 if it exists and that is not to be ignored.
    pub fn create_database(&self, name: &str, ignore_if_exists: bool) -> Pending<()> {
        let request = pb::CreateDatabaseRequest {
            database_name: name.to_owned(),
            ignore_if_exists,
            database_json: None,
        };
        let what = format!("CREATE_DATABASE {name}");
        self.change(ApiKey::CreateDatabase, request, what, ignore_if_exists)
    }

    /// Drops a database.
    ///
    /// # Errors
    /// [`Error::Rejected`] with code 4 if there is none and that is not to be ignored, with code 5
    /// if it holds tables and they are not to be dropped too (`cascade`).
    pub fn drop_database(&self, name: &str, ignore_if_absent: bool, cascade: bool) -> Pending<()> {
        let request = pb::DropDatabaseRequest {
            database_name: name.to_owned(),
            ignore_if_not_exists: ignore_if_absent,
            cascade,
        };
        let what = format!("DROP_DATABASE {name}");
        self.change(ApiKey::DropDatabase, request, what, ignore_if_absent)
    }

    /// The names of all databases this user may see, sorted.
    ///
    /// # Errors
    /// Those of every call of [`Admin`].
    pub fn list_databases(&self) -> Pending<Vec<String>> {
        self.ask(
            ApiKey::ListDatabases,
            pb::ListDatabasesRequest { include_summary: None },
            "LIST_DATABASES".to_owned(),
            |answer: pb::ListDatabasesResponse| sorted(answer.database_name),
        )
    }

    /// Whether there is a database of this name that this user may see.
    ///
    /// # Errors
    /// Those of every call of [`Admin`].
    pub fn database_exists(&self, name: &str) -> Pending<bool> {
        self.ask(
            ApiKey::DatabaseExists,
            pb::DatabaseExistsRequest { database_name: name.to_owned() },
            format!("DATABASE_EXISTS {name}"),
            |answer: pb::DatabaseExistsResponse| answer.exists,
        )
    }
}

/// Tables.
impl Admin {
    /// Makes the table `database.table`.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a description no server accepts; [`Error::Rejected`] with code 8 if
    /// the table exists and that is not to be ignored, with code 4 if the database does not.
    pub fn create_table(
        &self,
        path: &str,
        table: &TableDescriptor,
        ignore_if_exists: bool,
    ) -> Pending<()> {
        let path = parse_path(path).and_then(|path| match table.validate() {
            Ok(()) => Ok(path),
            Err(e) => Err(Error::misuse(format!("{path}: {e}"))),
        });
        let path = match path {
            Ok(path) => path,
            Err(error) => return self.fail(error),
        };
        let request = pb::CreateTableRequest {
            table_path: pb_path(&path),
            table_json: table.to_json().into(),
            ignore_if_exists,
        };
        let what = format!("CREATE_TABLE {path}");
        self.change(ApiKey::CreateTable, request, what, ignore_if_exists)
    }

    /// Adds columns to the table `database.table`, behind those it has. Rows written before have
    /// null there; writers that are open go on, see
    /// [`AppendWriter::with_current_schema`](super::AppendWriter::with_current_schema).
    ///
    /// # Errors
    /// [`Error::Misuse`] for no column at all, one that does not allow null or is given twice;
    /// [`Error::Rejected`] with code 7 if there is no such table, with -1 if it has such a column.
    pub fn add_columns(&self, path: &str, columns: &[Column]) -> Pending<()> {
        let path = parse_path(path).and_then(|path| match check_new(columns) {
            None => Ok(path),
            Some(problem) => Err(Error::misuse(format!("{path}: {problem}"))),
        });
        let path = match path {
            Ok(path) => path,
            Err(error) => return self.fail(error),
        };
        let column = |column: &Column| pb::PbAddColumn {
            column_name: column.name.clone(),
            data_type_json: column.data_type.to_json().into(),
            comment: column.comment.clone(),
            column_position_type: LAST,
            ..pb::PbAddColumn::default()
        };
        let request = pb::AlterTableRequest {
            table_path: pb_path(&path),
            add_columns: columns.iter().map(column).collect(),
            ..pb::AlterTableRequest::default()
        };
        self.change(ApiKey::AlterTable, request, format!("ALTER_TABLE {path}"), false)
    }

    /// Drops the table `database.table`.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a text that is no table path; [`Error::Rejected`] with code 7 if there
    /// is no such table and that is not to be ignored.
    pub fn drop_table(&self, path: &str, ignore_if_absent: bool) -> Pending<()> {
        let path = match parse_path(path) {
            Ok(path) => path,
            Err(error) => return self.fail(error),
        };
        let table_path = pb_path(&path);
        let request = pb::DropTableRequest { table_path, ignore_if_not_exists: ignore_if_absent };
        self.change(ApiKey::DropTable, request, format!("DROP_TABLE {path}"), ignore_if_absent)
    }

    /// The names of a database's tables that this user may see, sorted.
    ///
    /// # Errors
    /// [`Error::Rejected`] with code 4 if there is no such database.
    pub fn list_tables(&self, database: &str) -> Pending<Vec<String>> {
        self.ask(
            ApiKey::ListTables,
            pb::ListTablesRequest { database_name: database.to_owned() },
            format!("LIST_TABLES {database}"),
            |answer: pb::ListTablesResponse| sorted(answer.table_name),
        )
    }

    /// Whether there is a table `database.table` that this user may see.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a text that is no table path.
    pub fn table_exists(&self, path: &str) -> Pending<bool> {
        let path = match parse_path(path) {
            Ok(path) => path,
            Err(error) => return self.fail(error),
        };
        self.ask(
            ApiKey::TableExists,
            pb::TableExistsRequest { table_path: pb_path(&path) },
            format!("TABLE_EXISTS {path}"),
            |answer: pb::TableExistsResponse| answer.exists,
        )
    }

    /// What the table `database.table` is now.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a text that is no table path; [`Error::Rejected`] with code 7 if there
    /// is no such table.
    pub fn table_info(&self, path: &str) -> Pending<TableInfo> {
        let (path, fluss) = (parse_path(path), self.fluss.clone());
        Pending::new(&self.fluss, async move { fluss.table_info(&path?).await })
    }
}

/// Partitions and offsets.
impl Admin {
    /// The offsets of some buckets of a table, or of a partition of it; of all of them if `buckets`
    /// is empty. [`Table::offsets`](super::Table::offsets) asks for those of all partitions.
    ///
    /// # Errors
    /// The first error of a bucket.
    pub fn list_offsets(
        &self,
        table: &TableInfo,
        partition: Option<PartitionId>,
        buckets: &[i32],
        at: OffsetSpec,
    ) -> Pending<BTreeMap<i32, i64>> {
        let mut buckets = buckets.to_vec();
        if buckets.is_empty() {
            buckets = (0..table.buckets()).collect();
        }
        let (fluss, info) = (self.fluss.clone(), table.clone());
        Pending::new(&self.fluss, async move {
            fluss.shared().with(|core, now| core.client.watch_table(&info.path, info.id, now));
            let keys = buckets.into_iter().map(|n| BucketKey { partition, ..info.bucket(n) });
            let keys: BTreeSet<BucketKey> = keys.collect();
            let keys: Vec<BucketKey> = keys.into_iter().collect();
            let offsets = list_offsets(&fluss, &info, &keys, at).await?;
            Ok(offsets.into_iter().map(|(key, offset)| (key.bucket, offset)).collect())
        })
    }

    /// The partitions of the table `database.table`.
    ///
    /// # Errors
    /// [`Error::Rejected`] with code 37 for a table that is not partitioned, with code 7 if there
    /// is no such table.
    pub fn list_partitions(&self, path: &str) -> Pending<Vec<PartitionInfo>> {
        let (path, fluss) = (parse_path(path), self.fluss.clone());
        Pending::new(&self.fluss, async move { fluss.list_partitions(&path?, Vec::new()).await })
    }

    /// Makes a partition; `values` are the partition columns with their values.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a column that is no partition column, or lacking; [`Error::Rejected`]
    /// with code 42 if the partition exists and that is not to be ignored.
    pub fn create_partition(
        &self,
        path: &str,
        values: &[(&str, &str)],
        ignore_if_exists: bool,
    ) -> Pending<()> {
        self.partition(path, values, true, move |admin, path, partition_spec| {
            let what = format!("CREATE_PARTITION {path}");
            let request = pb::CreatePartitionRequest {
                table_path: pb_path(path),
                partition_spec,
                ignore_if_not_exists: ignore_if_exists,
            };
            admin.change(ApiKey::CreatePartition, request, what, ignore_if_exists)
        })
    }

    /// Drops a partition.
    ///
    /// # Errors
    /// [`Error::Misuse`] as [`Admin::create_partition`]; [`Error::Rejected`] with code 36 if there
    /// is no such partition and that is not to be ignored.
    pub fn drop_partition(
        &self,
        path: &str,
        values: &[(&str, &str)],
        ignore_if_absent: bool,
    ) -> Pending<()> {
        self.partition(path, values, false, move |admin, path, partition_spec| {
            let what = format!("DROP_PARTITION {path}");
            let request = pb::DropPartitionRequest {
                table_path: pb_path(path),
                partition_spec,
                ignore_if_not_exists: ignore_if_absent,
            };
            admin.change(ApiKey::DropPartition, request, what, ignore_if_absent)
        })
    }

    /// Puts the values in the order of the partition key, then makes the call. Values that a new
    /// partition cannot have are refused before it is `made`.
    fn partition(
        &self,
        path: &str,
        values: &[(&str, &str)],
        made: bool,
        call: impl FnOnce(&Self, &TablePath, PbPartitionSpec) -> Pending<()> + Send + 'static,
    ) -> Pending<()> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let values: Vec<(String, String)> = values.iter().map(owned).collect();
        let (path, admin) = (parse_path(path), self.clone());
        Pending::new(&self.fluss, async move {
            let info = admin.fluss.table_info(&path?).await?;
            let values = in_key_order(&info, values)?;
            for (column, value) in values.iter().filter(|_| made) {
                check_value(value, true).map_err(|reason| {
                    let column = format!("the partition column `{column}`");
                    Error::misuse(format!("{}: {column} cannot be {value:?}: {reason}", info.path))
                })?;
            }
            let length = values.iter().map(|(_, value)| value.len() + 1).sum::<usize>();
            check_name(length.saturating_sub(1)).or_else(|reason| match made {
                true => Err(Error::misuse(format!("{}: {reason}", info.path))),
                false => Ok(()),
            })?;
            let spec = spec(values);
            call(&admin, &info.path, spec).await
        })
    }
}

/// Behind the last column: the only place servers know.
const LAST: i32 = 0;

/// Why no server would add these columns.
fn check_new(columns: &[Column]) -> Option<String> {
    if columns.is_empty() {
        return Some("name a column to add".to_owned());
    }
    let mut names = BTreeSet::new();
    let twice = columns.iter().find(|column| !names.insert(&column.name));
    if let Some(column) = twice {
        return Some(format!("the new column `{}` is given twice", column.name));
    }
    let column = columns.iter().find(|column| !column.data_type.nullable)?;
    let (name, data_type) = (&column.name, &column.data_type);
    Some(format!("the new column `{name}` is {data_type}, but rows that are there have null in it"))
}

fn in_key_order(info: &TableInfo, values: Vec<(String, String)>) -> Result<Vec<(String, String)>> {
    let columns = info.partition_columns();
    if columns.is_empty() {
        return Err(Error::misuse(format!("{}: the table has no partitions", info.path)));
    }
    let given: BTreeSet<&str> = values.iter().map(|(key, _)| key.as_str()).collect();
    let wanted: BTreeSet<&str> = columns.iter().map(String::as_str).collect();
    if given != wanted || values.len() != columns.len() {
        let given: Vec<&str> = values.iter().map(|(key, _)| key.as_str()).collect();
        return Err(Error::misuse(format!(
            "{}: a partition needs a value for each of ({}), given are ({})",
            info.path,
            columns.join(", "),
            given.join(", ")
        )));
    }
    let mut values: BTreeMap<String, String> = values.into_iter().collect();
    let take = |column: String| values.remove(&column).map(|value| (column, value));
    Ok(columns.into_iter().filter_map(take).collect())
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names
}

impl Admin {
    fn fail<T: Send + 'static>(&self, error: Error) -> Pending<T> {
        Pending::new(&self.fluss, std::future::ready(Err(error)))
    }

    /// A change, made by the coordinator.
    fn change<Q: Message + 'static>(
        &self,
        api: ApiKey,
        request: Q,
        what: String,
        repeatable: bool,
    ) -> Pending<()> {
        let fluss = self.fluss.clone();
        Pending::new(&self.fluss, async move {
            // The answers to changes have no fields.
            let target = Target::Coordinator;
            let _: pb::CreateTableResponse =
                fluss.call(api, &request, target, &what, repeatable).await?;
            Ok(())
        })
    }

    /// A question that any server can answer.
    fn ask<Q: Message + 'static, A: Message + Default, T: Send + 'static>(
        &self,
        api: ApiKey,
        request: Q,
        what: String,
        read: impl FnOnce(A) -> T + Send + 'static,
    ) -> Pending<T> {
        let fluss = self.fluss.clone();
        Pending::new(&self.fluss, async move {
            let answer = fluss.call(api, &request, Target::AnyServer, &what, true).await?;
            Ok(read(answer))
        })
    }
}

#[cfg(test)]
#[path = "admin_tests.rs"]
mod tests;
