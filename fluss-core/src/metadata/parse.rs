//! From a metadata response to a changed picture of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use fluss_proto::message::{
    MetadataResponse, PbBucketMetadata, PbPartitionMetadata, PbServerNode, PbTableMetadata,
};

use super::Described;
use super::cluster::{BucketMeta, Cluster, PartitionMeta, TableMeta};
use crate::ids::{Address, PartitionId, TableId, TablePath};

/// What a response said beyond the picture itself.
#[derive(Debug, Default)]
pub(super) struct Delta {
    /// Tables, and partitions of tables, whose buckets it described.
    pub(super) described: Described,
    /// Something differs from before.
    pub(super) changed: bool,
    /// Tables it described.
    pub(super) tables: BTreeSet<TablePath>,
    /// Tables and partitions whose description differs from before.
    pub(super) changed_tables: BTreeSet<TableId>,
    pub(super) changed_partitions: BTreeSet<PartitionId>,
    /// Tables that were made again: path, old id, new id.
    pub(super) replaced: Vec<(TablePath, TableId, TableId)>,
    /// Partitions that were made again under another id; the old ones.
    pub(super) replaced_partitions: Vec<Arc<PartitionMeta>>,
    /// Tables whose description makes no sense, and why.
    pub(super) broken: Vec<(TablePath, String)>,
    /// It names at least one tablet server. Without any, the server has only just started.
    pub(super) has_tablets: bool,
}

/// Works a response into the picture.
pub(super) fn apply(cluster: &mut Cluster, response: MetadataResponse) -> Delta {
    let mut delta = Delta { has_tablets: !response.tablet_servers.is_empty(), ..Delta::default() };
    if let Some(address) = response.coordinator_server.as_ref().and_then(address)
        && cluster.coordinator.as_ref() != Some(&address)
    {
        cluster.coordinator = Some(address);
        delta.changed = true;
    }
    if delta.has_tablets {
        let tablets: BTreeMap<i32, Address> = response
            .tablet_servers
            .iter()
            .filter_map(|node| Some((node.node_id, address(node)?)))
            .collect();
        delta.changed |= tablets != cluster.tablets;
        cluster.tablets = tablets;
    }
    if delta.changed {
        cluster.label_servers();
    }
    for table in response.table_metadata {
        apply_table(cluster, table, &mut delta);
    }
    for partition in response.partition_metadata {
        apply_partition(cluster, partition, &mut delta);
    }
    delta.changed |= !delta.changed_tables.is_empty() || !delta.changed_partitions.is_empty();
    if delta.changed {
        cluster.version += 1;
    }
    delta
}

/// None for a server that cannot be reached at what it calls its address.
fn address(node: &PbServerNode) -> Option<Address> {
    let port = u16::try_from(node.port).ok().filter(|port| *port != 0)?;
    (!node.host.is_empty()).then(|| Address { host: node.host.as_str().into(), port })
}

fn apply_table(cluster: &mut Cluster, table: PbTableMetadata, delta: &mut Delta) {
    let path = TablePath::new(&table.table_path.database_name, &table.table_path.table_name);
    let id = TableId(table.table_id);
    let known = cluster.tables.get(&path).cloned();
    // Ids only grow, so a lower one comes from a server that lags behind.
    if known.as_ref().is_some_and(|known| known.id > id) {
        delta.tables.insert(path);
        return;
    }
    let meta = match table_meta(&path, &table, known.as_deref()) {
        Ok(meta) => meta,
        Err(what) => return delta.broken.push((path, what)),
    };
    delta.tables.insert(path.clone());
    if let Some(old) = known.as_ref().filter(|old| old.id != id) {
        cluster.remove_table(old.id);
        delta.replaced.push((path.clone(), old.id, id));
    }
    if known.as_deref() != Some(&meta) {
        delta.changed_tables.insert(id);
        // An id under another path: the table was renamed.
        if let Some(old) = cluster.paths.insert(id, path.clone()).filter(|old| *old != path) {
            cluster.tables.remove(&old);
        }
        cluster.tables.insert(path, Arc::new(meta));
    }
    delta.described.insert((id, None));
    if apply_buckets(cluster, (id, None), &table.bucket_metadata) {
        delta.changed_tables.insert(id);
    }
}

fn table_meta(
    path: &TablePath,
    table: &PbTableMetadata,
    known: Option<&TableMeta>,
) -> Result<TableMeta, String> {
    let same = known.filter(|known| known.descriptor_json == table.table_json);
    let (count, partitioned, json) = match same {
        Some(known) => (known.bucket_count, known.partitioned, known.descriptor_json.clone()),
        None => {
            let (count, partitioned) = shape(&table.table_json)?;
            // A copy of its own: a slice would keep the whole frame alive.
            (count, partitioned, Bytes::copy_from_slice(&table.table_json))
        }
    };
    // Once the count of a partitioned table was altered, older partitions keep theirs.
    let altered = partitioned && table.bucket_count_epoch.is_some_and(|epoch| epoch > 0);
    Ok(TableMeta {
        path: path.clone(),
        id: TableId(table.table_id),
        schema_id: table.schema_id,
        descriptor_json: json,
        bucket_count: if altered {
            None
        } else {
            count.or_else(|| i32::try_from(table.bucket_metadata.len()).ok().filter(|n| *n > 0))
        },
        partitioned,
        created_ms: table.created_time,
        modified_ms: table.modified_time,
    })
}

/// The number of buckets and whether there are partitions, from the descriptor. Nothing else of it
/// is read here: rows of a table whose column types this client does not know cannot be written,
/// but that is to be told to who opens the table, with the column's name.
fn shape(json: &[u8]) -> Result<(Option<i32>, bool), String> {
    let value: serde_json::Value =
        serde_json::from_slice(json).map_err(|e| format!("its descriptor is no JSON: {e}"))?;
    let count = match value.get("bucket_count") {
        None | Some(serde_json::Value::Null) => None,
        Some(count) => {
            let number = count.as_i64().and_then(|n| i32::try_from(n).ok()).filter(|n| *n > 0);
            Some(number.ok_or_else(|| format!("its descriptor has {count} buckets"))?)
        }
    };
    let keys = value.get("partition_key").and_then(serde_json::Value::as_array);
    Ok((count, keys.is_some_and(|keys| !keys.is_empty())))
}

fn apply_partition(cluster: &mut Cluster, partition: PbPartitionMetadata, delta: &mut Delta) {
    let (id, table) = (PartitionId(partition.partition_id), TableId(partition.table_id));
    let meta = PartitionMeta {
        id,
        table,
        name: partition.partition_name.as_str().into(),
        bucket_count: partition.bucket_count.filter(|count| *count > 0),
    };
    let key = (table, Arc::clone(&meta.name));
    match cluster.partition_ids.get(&key).copied() {
        Some(old) if old > id => return,
        Some(old) if old < id => {
            if let Some(old) = cluster.partitions.get(&old) {
                delta.replaced_partitions.push(Arc::clone(old));
            }
            cluster.remove_partition(old);
        }
        _ => {}
    }
    if cluster.partitions.get(&id).is_none_or(|known| **known != meta) {
        cluster.partition_ids.insert(key.clone(), id);
        if let Some(old) = cluster.partitions.insert(id, Arc::new(meta)) {
            let old = (old.table, Arc::clone(&old.name));
            if old != key {
                cluster.partition_ids.remove(&old);
            }
        }
        delta.changed_partitions.insert(id);
    }
    delta.described.insert((table, Some(id)));
    if apply_buckets(cluster, (table, Some(id)), &partition.bucket_metadata) {
        delta.changed_partitions.insert(id);
    }
}

/// Replaces the buckets of a table or partition; true when something differs. A leader with a lower
/// epoch than the known one comes from a server that lags behind and is ignored; a bucket that is
/// left out has no leader now, but keeps its epoch.
fn apply_buckets(
    cluster: &mut Cluster,
    key: (TableId, Option<PartitionId>),
    buckets: &[PbBucketMetadata],
) -> bool {
    let old = cluster.buckets.get(&key);
    let mut merged: BTreeMap<i32, BucketMeta> = old
        .into_iter()
        .flat_map(|list| list.iter())
        .map(|known| (known.bucket, BucketMeta { leader: None, ..*known }))
        .collect();
    let known = |bucket: i32| {
        let list = old?;
        let index = list.binary_search_by_key(&bucket, |b| b.bucket).ok()?;
        list.get(index).copied()
    };
    for told in buckets {
        let bucket = told.bucket_id;
        let fresh = BucketMeta {
            bucket,
            leader: told.leader_id.filter(|leader| *leader >= 0),
            epoch: told.leader_epoch,
        };
        let older = |known: &BucketMeta| fresh.epoch.is_some() && fresh.epoch < known.epoch;
        let kept = match known(bucket) {
            Some(known) if older(&known) && !cluster.believes_older() => known,
            Some(known) => BucketMeta { epoch: fresh.epoch.or(known.epoch), ..fresh },
            None => fresh,
        };
        merged.insert(bucket, kept);
    }
    let list: Arc<[BucketMeta]> = merged.into_values().collect();
    if old.is_some_and(|old| **old == *list) || (old.is_none() && list.is_empty()) {
        return false;
    }
    cluster.buckets.insert(key, list);
    true
}
