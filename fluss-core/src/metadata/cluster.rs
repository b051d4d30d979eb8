//! What is known of the cluster: one immutable picture, replaced as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::ids::{Address, BucketKey, Labels, PartitionId, ServerId, TableId, TablePath};

/// A table as the last answer described it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TableMeta {
    /// Where it is found.
    pub path: TablePath,
    /// Its id; a table that was dropped and made again has another.
    pub id: TableId,
    /// The newest schema.
    pub schema_id: i32,
    /// The table descriptor as it came: JSON in UTF-8.
    pub descriptor_json: Bytes,
    /// The number of buckets of the table, or of partitions that do not say otherwise. None where
    /// the server did not tell and it must not be guessed.
    pub bucket_count: Option<i32>,
    /// Whether rows go to partitions.
    pub partitioned: bool,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it was last altered, in milliseconds since 1970.
    pub modified_ms: i64,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionMeta {
    /// Its id; a partition that was dropped and made again has another.
    pub id: PartitionId,
    /// The table.
    pub table: TableId,
    /// The values of its partition columns, joined with `$`.
    pub name: Arc<str>,
    /// Its own number of buckets, where the server tells it.
    pub bucket_count: Option<i32>,
}

/// Who leads a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BucketMeta {
    /// The bucket's number.
    pub bucket: i32,
    /// The tablet server that leads it; None while there is no leader.
    pub leader: Option<i32>,
    /// Counts changes of leadership, where servers tell it.
    pub epoch: Option<i32>,
}

/// The cluster as last seen. A snapshot never changes; ask for the newest one when
/// [`Cluster::version`] moved on.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Cluster {
    /// Grows with each answer that changed something.
    pub version: u64,
    /// Where the coordinator listens, if a server told.
    pub coordinator: Option<Address>,
    /// The tablet servers that are alive.
    pub tablets: BTreeMap<i32, Address>,
    pub(super) tables: BTreeMap<TablePath, Arc<TableMeta>>,
    pub(super) paths: BTreeMap<TableId, TablePath>,
    pub(super) partitions: BTreeMap<PartitionId, Arc<PartitionMeta>>,
    pub(super) partition_ids: BTreeMap<(TableId, Arc<str>), PartitionId>,
    /// How errors name the servers; written when these change, as every answer asks for it.
    labels: Arc<Labels>,
    /// Sorted by bucket; shared between snapshots, so that a new one costs a pointer for each.
    pub(super) buckets: BTreeMap<(TableId, Option<PartitionId>), Arc<[BucketMeta]>>,
    /// A rule broken on purpose: see `Mutation::OlderLeader`.
    #[cfg(test)]
    pub(super) believes_older: bool,
}

impl Cluster {
    /// Whether a leader with an older epoch is taken for a newer one; never outside tests.
    pub(super) const fn believes_older(&self) -> bool {
        #[cfg(test)]
        return self.believes_older;
        #[cfg(not(test))]
        false
    }

    /// Every server with a known address.
    #[must_use]
    pub fn servers(&self) -> BTreeMap<ServerId, Address> {
        let coordinator = self.coordinator.iter().map(|a| (ServerId::Coordinator, a.clone()));
        let tablets = self.tablets.iter().map(|(id, a)| (ServerId::Tablet(*id), a.clone()));
        coordinator.chain(tablets).collect()
    }

    /// How errors name the servers.
    pub(crate) fn labels(&self) -> &Arc<Labels> {
        &self.labels
    }

    /// The servers changed.
    pub(super) fn label_servers(&mut self) {
        let label = |(id, address): (ServerId, Address)| (id, format!("{id} {address}").into());
        self.labels = Arc::new(self.servers().into_iter().map(label).collect());
    }

    /// Whether this server is alive as far as known. Bootstrap addresses name no server.
    #[must_use]
    pub fn has_server(&self, server: ServerId) -> bool {
        match server {
            ServerId::Coordinator => self.coordinator.is_some(),
            ServerId::Tablet(id) => self.tablets.contains_key(&id),
            ServerId::Bootstrap(_) => false,
        }
    }

    /// The table at this path.
    #[must_use]
    pub fn table(&self, path: &TablePath) -> Option<&Arc<TableMeta>> {
        self.tables.get(path)
    }

    /// The table with this id.
    #[must_use]
    pub fn table_by_id(&self, id: TableId) -> Option<&Arc<TableMeta>> {
        self.tables.get(self.paths.get(&id)?)
    }

    /// All tables that were asked for so far.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableMeta>> {
        self.tables.values()
    }

    /// The partition with this id.
    #[must_use]
    pub fn partition(&self, id: PartitionId) -> Option<&Arc<PartitionMeta>> {
        self.partitions.get(&id)
    }

    /// The partition of a table with this name.
    #[must_use]
    pub fn partition_by_name(&self, table: TableId, name: &str) -> Option<&Arc<PartitionMeta>> {
        self.partitions.get(self.partition_ids.get(&(table, name.into()))?)
    }

    /// All buckets of a table or partition, in order; empty while they are not known.
    #[must_use]
    pub fn buckets(&self, table: TableId, partition: Option<PartitionId>) -> &[BucketMeta] {
        self.buckets.get(&(table, partition)).map_or(&[], |list| list)
    }

    /// One bucket.
    #[must_use]
    pub fn bucket(&self, key: BucketKey) -> Option<&BucketMeta> {
        let list = self.buckets(key.table, key.partition);
        let index = list.binary_search_by_key(&key.bucket, |b| b.bucket).ok()?;
        list.get(index)
    }

    /// The leader of a bucket, if it has one that is alive.
    #[must_use]
    pub fn leader(&self, key: BucketKey) -> Option<ServerId> {
        self.leader_at(key).map(|(server, _)| server)
    }

    /// The same with its epoch, where servers tell it.
    pub(crate) fn leader_at(&self, key: BucketKey) -> Option<(ServerId, Option<i32>)> {
        let &BucketMeta { leader, epoch, .. } = self.bucket(key)?;
        let leader = leader.filter(|leader| self.tablets.contains_key(leader))?;
        Some((ServerId::Tablet(leader), epoch))
    }

    /// The number of buckets over which rows of this table or partition are spread: the
    /// partition's own, else the table's. None while it is not known.
    #[must_use]
    pub fn bucket_count(&self, table: TableId, partition: Option<PartitionId>) -> Option<i32> {
        let own = partition.and_then(|id| self.partition(id)?.bucket_count);
        own.or_else(|| self.table_by_id(table)?.bucket_count)
    }

    /// A cluster with one tablet server, alive or not, that leads this bucket.
    #[cfg(test)]
    pub(crate) fn led_by(key: BucketKey, server: i32, alive: bool) -> Self {
        let meta = BucketMeta { bucket: key.bucket, leader: Some(server), epoch: Some(0) };
        let address = Address { host: "a".into(), port: 1 };
        Self {
            tablets: alive.then_some((server, address)).into_iter().collect(),
            buckets: BTreeMap::from([((key.table, key.partition), Arc::from([meta]))]),
            ..Self::default()
        }
    }

    /// Forgets a table with all that belongs to it.
    pub(super) fn remove_table(&mut self, id: TableId) {
        if let Some(path) = self.paths.remove(&id) {
            self.tables.remove(&path);
        }
        self.partitions.retain(|_, p| p.table != id);
        self.partition_ids.retain(|(table, _), _| *table != id);
        self.buckets.retain(|(table, _), _| *table != id);
    }

    /// Forgets a partition.
    pub(super) fn remove_partition(&mut self, id: PartitionId) {
        if let Some(partition) = self.partitions.remove(&id) {
            let key = (partition.table, Arc::clone(&partition.name));
            if self.partition_ids.get(&key) == Some(&id) {
                self.partition_ids.remove(&key);
            }
            self.buckets.remove(&(partition.table, Some(id)));
        }
    }
}
