//! The bodies of requests about databases, partitions and users.

use bytes::Bytes;
use fluss_proto::message::*;
use prost::Message;

use super::must;
use super::normal::Symbols;
use super::step::{Name, Pairs, Step};
use super::wire::At;

/// A partition id that nobody has.
const STRANGE_PARTITION: i64 = 987_654_321;

impl Symbols {
    fn name(&self, name: Name) -> String {
        match name {
            Name::Own(end) => format!("{}{end}", self.table_name),
            Name::Plain(name) => name.to_owned(),
        }
    }

    pub(super) fn path_of(&self, database: Name, table: Name) -> PbTablePath {
        PbTablePath { database_name: self.name(database), table_name: self.name(table) }
    }

    /// API key, server and body, if the step is one of these.
    pub(super) fn naming(&self, step: &Step, leader: At) -> Option<(i16, At, Vec<u8>)> {
        let (api, body) = match step {
            Step::CreateDatabase(name, ignore) => {
                let request = CreateDatabaseRequest {
                    database_name: self.name(*name),
                    ignore_if_exists: *ignore,
                    database_json: None,
                };
                (1001, request.encode_to_vec())
            }
            Step::DropDatabase(name, ignore, cascade) => {
                let request = DropDatabaseRequest {
                    database_name: self.name(*name),
                    ignore_if_not_exists: *ignore,
                    cascade: *cascade,
                };
                (1002, request.encode_to_vec())
            }
            Step::DatabaseExists(name) => {
                let request = DatabaseExistsRequest { database_name: self.name(*name) };
                (1004, request.encode_to_vec())
            }
            Step::DatabaseInfo(name) => {
                let request = GetDatabaseInfoRequest { database_name: self.name(*name) };
                (1035, request.encode_to_vec())
            }
            Step::Tables(name) => {
                let request = ListTablesRequest { database_name: self.name(*name) };
                (1008, request.encode_to_vec())
            }
            Step::AddColumn(name, kind, nullable) => {
                (1044, self.add_column(name, kind, *nullable).encode_to_vec())
            }
            other => return self.of_partition(other, leader),
        };
        Some((api, At::Coordinator, body))
    }

    fn of_partition(&self, step: &Step, leader: At) -> Option<(i16, At, Vec<u8>)> {
        let table_path = self.path();
        Some(match step {
            Step::CreatePartition(pairs, ignore_if_not_exists) => {
                let (partition_spec, ignore_if_not_exists) = (spec(pairs), *ignore_if_not_exists);
                let request =
                    CreatePartitionRequest { table_path, partition_spec, ignore_if_not_exists };
                (1036, At::Coordinator, request.encode_to_vec())
            }
            Step::DropPartition(pairs, ignore_if_not_exists) => {
                let (partition_spec, ignore_if_not_exists) = (spec(pairs), *ignore_if_not_exists);
                let request =
                    DropPartitionRequest { table_path, partition_spec, ignore_if_not_exists };
                (1037, At::Coordinator, request.encode_to_vec())
            }
            Step::Partitions(pairs) => {
                let request = ListPartitionInfosRequest {
                    table_path,
                    partial_partition_spec: (!pairs.is_empty()).then(|| spec(pairs)),
                    ..Default::default()
                };
                (1009, At::Coordinator, request.encode_to_vec())
            }
            Step::PartitionMetadata(name) => {
                let path = PbPhysicalTablePath {
                    database_name: table_path.database_name,
                    table_name: table_path.table_name,
                    partition_name: name.map(str::to_owned),
                };
                let request = MetadataRequest { partitions_path: vec![path], ..Default::default() };
                (1012, leader, request.encode_to_vec())
            }
            Step::PartitionMetadataStranger => {
                let partitions_id = vec![STRANGE_PARTITION];
                let request = MetadataRequest { partitions_id, ..Default::default() };
                (1012, leader, request.encode_to_vec())
            }
            Step::Login(protocol, token) => {
                let token = Bytes::from_static(token.as_bytes());
                let request = AuthenticateRequest { protocol: (*protocol).to_owned(), token };
                (1038, leader, request.encode_to_vec())
            }
            _ => return None,
        })
    }

    fn add_column(&self, name: &str, kind: &str, nullable: bool) -> AlterTableRequest {
        let data_type: fluss_core::row::DataType = must("a type", kind.parse());
        let data_type = if nullable { data_type } else { data_type.not_null() };
        let column = PbAddColumn {
            column_name: name.to_owned(),
            data_type_json: data_type.to_json().into(),
            ..Default::default()
        };
        AlterTableRequest {
            table_path: self.path(),
            add_columns: vec![column],
            ..Default::default()
        }
    }
}

fn spec(pairs: Pairs) -> PbPartitionSpec {
    let pair = |(key, value): &(&str, &str)| PbKeyValue {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
    };
    PbPartitionSpec { partition_key_values: pairs.iter().map(pair).collect() }
}
