//! Which buckets there are, where reading them begins and where it ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::handle::admin::PartitionInfo;
use crate::handle::fluss::Fluss;
use crate::handle::offsets::{OffsetSpec, list_offsets};
use crate::handle::table::TableInfo;
use crate::ids::{BucketKey, PartitionId};
use crate::scanner::EARLIEST;

/// Where a bounded scan ends; exclusive.
#[derive(Clone, Debug)]
pub(crate) enum Until {
    At(OffsetSpec),
    Offsets(BTreeMap<BucketKey, i64>),
    /// The ends of the logs, which were asked for before.
    Ends(BTreeMap<BucketKey, i64>),
}

impl Until {
    /// Whether what lies behind an end lies behind the log, as far as was known when it was asked
    /// for.
    pub(super) fn is_end_of_log(&self) -> bool {
        matches!(self, Self::At(OffsetSpec::Latest) | Self::Ends(_))
    }
}

/// The partitions that were seen, with their numbers of buckets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Partitions(BTreeMap<PartitionId, (Arc<str>, i32)>);

impl Partitions {
    /// Those that a table has now; none for a table without.
    pub(crate) async fn list(fluss: &Fluss, info: &TableInfo) -> Result<Self> {
        let mut found = Self::default();
        if is_partitioned(info) {
            found.learn(fluss.list_partitions(&info.path, Vec::new()).await?, info);
        }
        Ok(found)
    }

    /// Takes in a listing; answers the partitions that were not known.
    pub(super) fn learn(
        &mut self,
        listed: Vec<PartitionInfo>,
        info: &TableInfo,
    ) -> Vec<PartitionInfo> {
        let new = |partition: &PartitionInfo| !self.0.contains_key(&partition.id);
        let new: Vec<PartitionInfo> = listed.into_iter().filter(new).collect();
        for partition in &new {
            let buckets = partition.buckets.unwrap_or_else(|| info.buckets()).max(0);
            self.0.insert(partition.id, (Arc::clone(&partition.name), buckets));
        }
        new
    }

    /// Only the partitions of these buckets; the others are taken for new.
    pub(crate) fn of_buckets(mut self, keys: &[BucketKey]) -> Self {
        self.0.retain(|id, _| keys.iter().any(|key| key.partition == Some(*id)));
        self
    }

    /// Whether the number of buckets beside this one is known.
    pub(super) fn knows(&self, key: &BucketKey) -> bool {
        key.partition.is_none_or(|partition| self.0.contains_key(&partition))
    }

    pub(crate) fn name(&self, partition: PartitionId) -> Arc<str> {
        self.0.get(&partition).map_or_else(|| "?".into(), |(name, _)| Arc::clone(name))
    }

    /// The buckets of a partition; none if it is not known.
    pub(super) fn buckets_of(
        &self,
        info: &TableInfo,
        partition: PartitionId,
    ) -> impl Iterator<Item = BucketKey> {
        let (count, first) = (self.0.get(&partition).map_or(0, |(_, n)| *n), info.bucket(0));
        let partition = Some(partition);
        (0..count).map(move |bucket| BucketKey { partition, bucket, ..first })
    }

    /// All buckets of the table.
    pub(crate) fn buckets(&self, info: &TableInfo) -> Vec<BucketKey> {
        if !is_partitioned(info) {
            return (0..info.buckets()).map(|n| info.bucket(n)).collect();
        }
        self.0.keys().flat_map(|partition| self.buckets_of(info, *partition)).collect()
    }

    /// Refuses what is no bucket of the table. Whether a partition that was not listed exists is
    /// found out when it is read.
    pub(crate) fn check<'a>(
        &self,
        info: &TableInfo,
        keys: impl IntoIterator<Item = &'a BucketKey>,
    ) -> Result<()> {
        for key in keys {
            let (of, count) = match key.partition.and_then(|id| self.0.get(&id)) {
                Some((name, count)) => (format!("partition {name} of {}", info.path), *count),
                None if key.partition.is_some() => (info.path.to_string(), i32::MAX),
                None => (info.path.to_string(), info.buckets()),
            };
            let fits = key.table == info.id
                && key.partition.is_some() == is_partitioned(info)
                && (0..count).contains(&key.bucket);
            if !fits {
                let count = if count == i32::MAX { info.buckets() } else { count };
                return Err(Error::misuse(format!(
                    "{key} is no bucket of {of} (table {}, {count} buckets)",
                    info.id
                )));
            }
        }
        Ok(())
    }
}

pub(crate) fn is_partitioned(info: &TableInfo) -> bool {
    !info.descriptor.partition_key.is_empty()
}

/// The ends of these buckets.
pub(crate) async fn ends_of(
    fluss: &Fluss,
    info: &TableInfo,
    keys: &[BucketKey],
    until: &Until,
) -> Result<BTreeMap<BucketKey, i64>> {
    let offsets = match until {
        Until::At(at) => return list_offsets(fluss, info, keys, *at).await,
        Until::Offsets(offsets) | Until::Ends(offsets) => offsets,
    };
    let end = |key: &BucketKey| match offsets.get(key) {
        Some(end) if *end >= 0 => Ok((*key, *end)),
        Some(end) => Err(Error::misuse(format!("{key}: {end} is no offset to read up to"))),
        None => Err(Error::misuse(format!(
            "{key} has no offset to read up to; give one for every bucket that is read"
        ))),
    };
    keys.iter().map(end).collect()
}

/// The end of a log whose records all expired is reached by no fetch from its earliest offset, so a
/// bounded scan begins at true offsets.
pub(crate) async fn without_earliest(
    fluss: &Fluss,
    info: &TableInfo,
    mut starts: BTreeMap<BucketKey, i64>,
) -> Result<BTreeMap<BucketKey, i64>> {
    let unknown: Vec<_> =
        starts.iter().filter(|(_, at)| **at == EARLIEST).map(|(key, _)| *key).collect();
    starts.extend(list_offsets(fluss, info, &unknown, OffsetSpec::Earliest).await?);
    Ok(starts)
}
