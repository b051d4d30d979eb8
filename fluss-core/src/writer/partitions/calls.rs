//! What writers tell and ask about the partitions of a table.

use std::collections::BTreeSet;

use bytes::Bytes;
use fluss_proto::ApiKey;
use fluss_proto::message::{
    CreatePartitionRequest, CreatePartitionResponse, ListPartitionInfosRequest,
    ListPartitionInfosResponse, PbKeyValue, PbPartitionSpec, PbTablePath,
};
use prost::Message;

use crate::command::{Call, Target};
use crate::error::Error;
use crate::ids::{PartitionKey, TablePath};
use crate::output::CommandAnswer;
use crate::row::DataType;
use crate::row::partition::has_fractions;
use crate::table_info::TableInfo;

/// A table whose partitions writers name.
#[derive(Debug)]
pub(super) struct TableEntry {
    pub(super) path: TablePath,
    columns: Vec<(String, DataType)>,
    /// The bucket count of partitions that do not say otherwise.
    pub(super) buckets: i32,
    pub(super) writers: usize,
    /// Partitions to look for in its list.
    pub(super) wanted: BTreeSet<PartitionKey>,
    pub(super) listing: bool,
    /// It was dropped.
    pub(super) gone: Option<Error>,
}

impl TableEntry {
    pub(super) fn new(info: &TableInfo) -> Self {
        let columns = info.schema().columns();
        let key = info.descriptor.partition_key.iter().filter_map(|index| columns.get(*index));
        Self {
            path: info.path.clone(),
            columns: key.map(|c| (c.name.clone(), c.data_type.clone())).collect(),
            buckets: info.buckets(),
            writers: 0,
            wanted: BTreeSet::new(),
            listing: false,
            gone: None,
        }
    }

    /// Whether clients may write the same value differently.
    pub(super) fn has_floats(&self) -> bool {
        has_fractions(self.columns.iter().map(|(_, data_type)| data_type))
    }

    pub(super) fn types(&self) -> Vec<DataType> {
        self.columns.iter().map(|(_, data_type)| data_type.clone()).collect()
    }

    fn spec(&self, name: &str) -> PbPartitionSpec {
        let pairs = self.columns.iter().zip(name.split('$'));
        let pair = |((key, _), value): (&(String, DataType), &str)| PbKeyValue {
            key: key.clone(),
            value: value.to_owned(),
        };
        PbPartitionSpec { partition_key_values: pairs.map(pair).collect() }
    }

    /// The name that these values make; None if one is missing.
    pub(super) fn name_of(&self, spec: &PbPartitionSpec) -> Option<String> {
        let value = |(column, _): &(String, DataType)| {
            let mut pairs = spec.partition_key_values.iter();
            pairs.find(|pair| pair.key == *column).map(|pair| pair.value.as_str())
        };
        let values: Option<Vec<&str>> = self.columns.iter().map(value).collect();
        Some(values?.join("$"))
    }

    fn wire_path(&self) -> PbTablePath {
        PbTablePath {
            database_name: self.path.database.to_string(),
            table_name: self.path.table.to_string(),
        }
    }
}

/// Asks for the list of partitions: all of them, or the one with the name `only`.
pub(super) fn list_call(table: &TableEntry, only: Option<&str>) -> Call {
    let only = only.filter(|_| !table.has_floats());
    let request = ListPartitionInfosRequest {
        table_path: table.wire_path(),
        partial_partition_spec: only.map(|name| table.spec(name)),
        include_system_partitions: None,
    };
    let what = format!("LIST_PARTITION_INFOS {}", table.path);
    let body: Bytes = request.encode_to_vec().into();
    Call::new(ApiKey::ListPartitionInfos, body, Target::AnyServer, &what)
        .answered_by::<ListPartitionInfosResponse>()
}

/// Asks for a partition, also if it exists already.
pub(super) fn create_call(table: &TableEntry, name: &str) -> Call {
    let request = CreatePartitionRequest {
        table_path: table.wire_path(),
        partition_spec: table.spec(name),
        // The field is misnamed: no error if the partition exists.
        ignore_if_not_exists: true,
    };
    let what = format!("CREATE_PARTITION {name} of {}", table.path);
    let body: Bytes = request.encode_to_vec().into();
    Call::new(ApiKey::CreatePartition, body, Target::Coordinator, &what)
        .answered_by::<CreatePartitionResponse>()
}

/// The list in an answer.
pub(super) fn listed(answer: CommandAnswer) -> Result<ListPartitionInfosResponse, Error> {
    let CommandAnswer::Body(body) = answer else {
        return Err(Error::misuse("LIST_PARTITION_INFOS: an answer without a body"));
    };
    ListPartitionInfosResponse::decode(body).map_err(|e| Error::misuse(e.to_string()))
}
