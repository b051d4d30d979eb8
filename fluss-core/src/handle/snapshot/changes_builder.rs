//! What to read of a table's state and changes, and from where.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::builder::SnapshotBuilder;
use super::changes::{Dropped, SnapshotChanges, SnapshotPosition};
use crate::error::{Error, Result};
use crate::handle::offsets::{OffsetSpec, list_offsets};
use crate::handle::pending::Pending;
use crate::handle::scan::places::{Partitions, is_partitioned};
use crate::handle::scan::policy::{Listener, ScanEvent};
use crate::handle::scan_builder::{DISCOVERY, check_discovery};
use crate::handle::table::Table;
use crate::ids::{BucketKey, PartitionId};
use crate::time::Duration;

/// A read of all rows and then of all changes that is being set up; see
/// [`Table::snapshot_then_changes`].
#[derive(Clone, Debug)]
#[must_use = "nothing is read until it is built"]
pub struct SnapshotChangesBuilder {
    states: SnapshotBuilder,
    positions: Option<BTreeMap<BucketKey, SnapshotPosition>>,
    bounded: bool,
    verify_always: bool,
    /// As it was set; None if it was not.
    discovery: Option<Option<Duration>>,
    listener: Listener,
}

impl Table {
    /// All rows of a primary-key table as they are now, and then every change after that, without a
    /// gap and without anything twice; see [`SnapshotChanges`].
    ///
    /// ```no_run
    /// # use fluss_core::{Result, SnapshotEvent, Table};
    /// # async fn f(table: Table) -> Result<()> {
    /// let mut reader = table.snapshot_then_changes().build().await?;
    /// while let Some(event) = reader.next_event().await? {
    ///     match event {
    ///         SnapshotEvent::StateBegins { bucket } => println!("forget all rows of {bucket}"),
    ///         SnapshotEvent::State(batch) => println!("{} rows", batch.num_rows()),
    ///         SnapshotEvent::StateEnds { bucket, offset } => println!("{bucket}: as of {offset}"),
    ///         SnapshotEvent::Changes(batch) => println!("{} changes", batch.num_rows()),
    ///         _ => {}
    ///     }
    ///     let checkpoint = reader.positions();
    ///     # drop(checkpoint);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn snapshot_then_changes(&self) -> SnapshotChangesBuilder {
        SnapshotChangesBuilder {
            states: self.snapshot(),
            positions: None,
            bounded: false,
            verify_always: false,
            discovery: None,
            listener: Listener::default(),
        }
    }
}

impl SnapshotChangesBuilder {
    /// These buckets and no others, each from where an earlier reader was: its
    /// [`positions`](SnapshotChanges::positions). With
    /// [`discover_partitions`](Self::discover_partitions) all buckets of the table: those without a
    /// position begin with their state, and positions in partitions that are gone are passed over.
    pub fn from_positions(
        mut self,
        positions: impl IntoIterator<Item = (BucketKey, SnapshotPosition)>,
    ) -> Self {
        self.positions = Some(positions.into_iter().collect());
        self
    }

    /// Until the end of each bucket's changelog as it is when the reader is built, or as it is when
    /// its state is read, if that is later. By default without end.
    pub fn bounded(mut self) -> Self {
        self.bounded = true;
        self
    }

    /// As [`SnapshotBuilder::columns`], for state and changes.
    pub fn columns<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.states = self.states.columns(names);
        self
    }

    /// As [`ScanBuilder::verify_always`](crate::ScanBuilder::verify_always), for the changes:
    /// servers send all columns of the changelog also where only some are wanted. Default false.
    ///
    /// A changelog that is replayed for the state is read whole and verified in any case; rows that
    /// servers send by themselves (SCAN_KV, LIMIT_SCAN) have no checksums.
    ///
    /// ```
    /// # use fluss_core::{Result, SnapshotChanges, Table};
    /// # async fn prices(table: &Table) -> Result<SnapshotChanges> {
    /// table.snapshot_then_changes().columns(["id", "price"]).verify_always(true).build().await
    /// # }
    /// ```
    pub fn verify_always(mut self, always: bool) -> Self {
        self.verify_always = always;
        self
    }

    /// How often new partitions are looked for, once all states were told; None for never. Of each
    /// of their buckets an empty state is told, and then every change; a partition whose changelog
    /// does not begin at offset 0 any more when it is found is an error. Partitions that are
    /// dropped are read no more, without an error, and told by [`on_event`](Self::on_event): a
    /// state that had begun has no end then.
    ///
    /// Default 10 s for readers without an end of all buckets of a partitioned table, and never for
    /// others.
    pub fn discover_partitions(mut self, interval: Option<Duration>) -> Self {
        self.discovery = Some(interval);
        self
    }

    /// As [`ScanBuilder::on_event`](crate::ScanBuilder::on_event), for the changes, and for
    /// partitions that are dropped before their state was told.
    pub fn on_event(mut self, listener: impl Fn(&ScanEvent) + Send + Sync + 'static) -> Self {
        self.listener = Listener::new(listener);
        self
    }

    /// As [`SnapshotBuilder::buckets`].
    pub fn buckets(mut self, buckets: impl IntoIterator<Item = BucketKey>) -> Self {
        self.states = self.states.buckets(buckets);
        self
    }

    /// As [`SnapshotBuilder::partitions`].
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = PartitionId>) -> Self {
        self.states = self.states.partitions(partitions);
        self
    }

    /// As [`SnapshotBuilder::fetch_bytes`].
    pub fn fetch_bytes(mut self, bytes: usize) -> Self {
        self.states = self.states.fetch_bytes(bytes);
        self
    }

    /// As [`SnapshotBuilder::buffer_limit`], of the state and then of the changes.
    pub fn buffer_limit(mut self, bytes: u64) -> Self {
        self.states = self.states.buffer_limit(bytes);
        self
    }

    /// As [`SnapshotBuilder::buckets_at_once`].
    pub fn buckets_at_once(mut self, buckets: usize) -> Self {
        self.states = self.states.buckets_at_once(buckets);
        self
    }

    /// As [`SnapshotBuilder::max_state_bytes`].
    pub fn max_state_bytes(mut self, bytes: u64) -> Self {
        self.states = self.states.max_state_bytes(bytes);
        self
    }

    /// Asks for the buckets, and for the ends of their changelogs. Rows are asked for when the
    /// first ones are wanted.
    ///
    /// # Errors
    /// Those of [`SnapshotBuilder::build`] and [`Table::offsets`]; [`Error::Misuse`] where new
    /// partitions are to be looked for and there can be none.
    pub fn build(self) -> Pending<SnapshotChanges> {
        let fluss = self.states.table.fluss().clone();
        Pending::new(&fluss, self.open())
    }

    async fn open(mut self) -> Result<SnapshotChanges> {
        if let Some(positions) = &self.positions {
            if self.states.buckets.is_some() {
                return Err(Error::misuse("either buckets are chosen, or positions are"));
            }
            let info = self.states.table.info();
            Partitions::default().check(info, positions.keys())?;
            if !matches!(self.discovery, Some(Some(_))) {
                self.states.buckets = Some(positions.keys().copied().collect());
            }
        }
        let discovery = self.discovery_interval()?;
        let (keys, partitions) = self.states.keys().await?;
        let mut positions: BTreeMap<BucketKey, SnapshotPosition> =
            keys.iter().map(|key| (*key, SnapshotPosition::State)).collect();
        for (key, position) in self.positions.iter().flatten() {
            if let SnapshotPosition::Offset(offset @ ..=-1) = position {
                return Err(Error::misuse(format!("{key}: {offset} is no offset")));
            }
            if let Some(at) = positions.get_mut(key) {
                *at = *position;
            }
        }
        let of_state = |key: &&BucketKey| positions.get(key) == Some(&SnapshotPosition::State);
        let left: Vec<BucketKey> = keys.iter().filter(of_state).copied().collect();
        let mut states = self.states.reader(&left, true)?;
        if discovery.is_some() {
            states.leave_dropped();
        }
        let table = &self.states.table;
        let ends = match self.bounded {
            true => {
                let (fluss, info) = (table.fluss(), table.info());
                Some(list_offsets(fluss, info, &keys, OffsetSpec::Latest).await?)
            }
            false => None,
        };
        let mut scanner = table
            .scanner()
            .buffer_limit(self.states.buffer_limit)
            .verify_always(self.verify_always);
        if let Some(names) = &self.states.columns {
            scanner = scanner.columns(names.clone());
        }
        let found = Arc::new(AtomicBool::new(false));
        let (heard, listener) = (Arc::clone(&found), self.listener.clone());
        let scanner = scanner.discover_partitions(discovery).new_partitions_from(0);
        let scanner = scanner.on_event(move |event| {
            if let ScanEvent::PartitionFound { .. } = event {
                heard.store(true, Ordering::Relaxed);
            }
            listener.tell(event);
        });
        let dropped = Dropped { listener: self.listener, partitions };
        Ok(SnapshotChanges::new((states, dropped), positions, scanner, (ends, found)))
    }

    fn discovery_interval(&self) -> Result<Option<Duration>> {
        let partitioned = is_partitioned(self.states.table.info());
        let chosen = self.states.buckets.is_some() || self.states.partitions.is_some();
        if let Some(Some(_)) = self.discovery {
            check_discovery(self.bounded, partitioned, chosen)?;
        }
        Ok(match self.discovery {
            Some(interval) => interval,
            None => (partitioned && !self.bounded && !chosen).then_some(DISCOVERY),
        })
    }
}
