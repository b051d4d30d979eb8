//! Questions as requests.

use std::collections::BTreeSet;

use bytes::Bytes;
use fluss_proto::ApiKey;
use fluss_proto::message::{
    GetTableInfoRequest, ListPartitionInfosRequest, ListPartitionInfosResponse, MetadataRequest,
    PbPhysicalTablePath, PbTablePath,
};
use prost::Message;

use super::cluster::Cluster;
use super::refresh::Target;
use crate::error::Error;
use crate::ids::TablePath;

/// One question to a server.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ask {
    /// Describe these.
    Describe(Vec<Target>),
    /// Does this table exist? It could not be described for this reason.
    CheckTable(TablePath, Error),
    /// Does this table list this partition? It could not be described for this reason.
    CheckPartition(TablePath, Target, Error),
}

impl Ask {
    /// The request's API and body.
    pub(super) fn encode(&self, cluster: &Cluster) -> (ApiKey, Bytes) {
        match self {
            Self::Describe(targets) => {
                (ApiKey::GetMetadata, describe(targets, cluster).encode_to_vec().into())
            }
            Self::CheckTable(path, _) => {
                let request = GetTableInfoRequest { table_path: wire_path(path) };
                (ApiKey::GetTableInfo, request.encode_to_vec().into())
            }
            Self::CheckPartition(path, ..) => {
                let request = ListPartitionInfosRequest {
                    table_path: wire_path(path),
                    ..ListPartitionInfosRequest::default()
                };
                (ApiKey::ListPartitionInfos, request.encode_to_vec().into())
            }
        }
    }

    /// What is asked, for the text of an error.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Describe(targets) => match targets.as_slice() {
                [target] => format!("metadata of {}", text_of(target)),
                targets => format!("metadata of {} tables and partitions", targets.len()),
            },
            Self::CheckTable(path, _) => format!("table {path}"),
            Self::CheckPartition(path, target, _) => text_of_partition(path, target),
        }
    }
}

/// What a target is, for the text of an error.
pub(super) fn text_of(target: &Target) -> String {
    match target {
        Target::Servers => "the cluster".to_owned(),
        Target::Table(path) => format!("table {path}"),
        Target::PartitionName(path, name) => format!("partition {name} of table {path}"),
        Target::PartitionId(table, id) => format!("partition with id {id} of table id {table}"),
    }
}

/// What a partition is of which the table's name is known.
pub(super) fn text_of_partition(path: &TablePath, target: &Target) -> String {
    match target {
        Target::PartitionId(_, id) => format!("partition with id {id} of table {path}"),
        target => text_of(target),
    }
}

fn describe(targets: &[Target], cluster: &Cluster) -> MetadataRequest {
    let mut tables = BTreeSet::new();
    let mut request = MetadataRequest::default();
    for target in targets {
        match target {
            Target::Servers => {}
            Target::Table(path) => {
                tables.insert(path.clone());
            }
            Target::PartitionName(path, name) => {
                // The answer names a partition's table by its id only.
                if cluster.table(path).is_none() {
                    tables.insert(path.clone());
                }
                request.partitions_path.push(PbPhysicalTablePath {
                    database_name: path.database.to_string(),
                    table_name: path.table.to_string(),
                    partition_name: Some(name.to_string()),
                });
            }
            Target::PartitionId(table, id) => {
                // A server that has not cached the id looks for it in the tables of the request.
                tables.extend(cluster.table_by_id(*table).map(|table| table.path.clone()));
                request.partitions_id.push(id.0);
            }
        }
    }
    request.table_path = tables.iter().map(wire_path).collect();
    request
}

fn wire_path(path: &TablePath) -> PbTablePath {
    PbTablePath { database_name: path.database.to_string(), table_name: path.table.to_string() }
}

/// Whether this partition is in the list.
pub(super) fn lists(list: &ListPartitionInfosResponse, target: &Target) -> bool {
    list.partitions_info.iter().any(|info| match target {
        Target::PartitionId(_, id) => info.partition_id == id.0,
        Target::PartitionName(_, name) => {
            let pairs = &info.partition_spec.partition_key_values;
            let values: Vec<&str> = pairs.iter().map(|pair| pair.value.as_str()).collect();
            values.join("$") == **name
        }
        Target::Servers | Target::Table(_) => false,
    })
}
