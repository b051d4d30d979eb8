//! Which buckets a scanner reads, changed under way.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::LogScanner;
use super::places::{Partitions, ends_of, is_partitioned, without_earliest};
use crate::error::{Error, Result};
use crate::ids::{BucketKey, PartitionId};

type Offsets = BTreeMap<BucketKey, i64>;

/// What was found out about buckets that are to be read.
struct Found {
    partitions: Partitions,
    starts: Offsets,
    ends: Option<Offsets>,
}

impl LogScanner {
    /// Reads these buckets too, each from its offset on ([`EARLIEST`](crate::EARLIEST) for all that
    /// there is). Buckets that are read already go on at that offset, as with [`seek`](Self::seek).
    /// In a bounded scan they end as the others do: where their log ends now, at the scan's time,
    /// or at the offset that was given for them when the scanner was built.
    ///
    /// Of a bucket that is named twice, the last offset counts.
    ///
    /// All or none of them are subscribed; dropping the future before its end changes nothing.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a bucket that the table, or its partition, does not have, or an offset
    /// that is none; those of [`Table::offsets`](crate::Table::offsets) where offsets or partitions
    /// have to be asked for.
    pub fn subscribe(
        &mut self,
        buckets: impl IntoIterator<Item = (BucketKey, i64)>,
    ) -> Subscribe<'_> {
        Subscribe { wanted: buckets.into_iter().collect(), call: None, scanner: self }
    }

    /// Stops reading a bucket and drops what was fetched of it. False if it was not read.
    pub fn unsubscribe(&mut self, bucket: BucketKey) -> bool {
        let was_read = self.positions.remove(&bucket).is_some();
        self.forget(bucket);
        self.paused.remove(&bucket);
        self.refused.remove(&bucket);
        self.beyond.remove(&bucket);
        if let Some(ends) = &mut self.ends {
            ends.remove(&bucket);
        }
        self.fluss.shared().with(|core, now| core.client.unsubscribe(self.key, bucket, now));
        was_read
    }

    /// Stops reading all buckets of a partition; the number of those that were read. The partition
    /// is not found as a new one later.
    pub fn unsubscribe_partition(&mut self, partition: PartitionId) -> usize {
        let of_it = |key: &&BucketKey| key.partition == Some(partition);
        let buckets: Vec<BucketKey> = self.positions.keys().filter(of_it).copied().collect();
        buckets.iter().filter(|bucket| self.unsubscribe(**bucket)).count()
    }

    /// Stops fetching a bucket and handing out its rows, until [`resume`](Self::resume). What was
    /// fetched ahead of its position is dropped and fetched again then, so a paused bucket takes
    /// nothing of the buffer away from the others. Without effect on one that is paused already.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a bucket this scanner does not read.
    pub fn pause(&mut self, bucket: BucketKey) -> Result<()> {
        let position = self.position_of(bucket)?;
        if self.is_at_end(bucket) || !self.paused.insert(bucket) {
            return Ok(());
        }
        self.forget(bucket);
        self.fluss
            .shared()
            .with(|core, now| core.client.stop_bucket(self.key, bucket, position, now));
        Ok(())
    }

    /// Goes on with a paused bucket where it was. Without effect on one that is not paused.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a bucket this scanner does not read.
    pub fn resume(&mut self, bucket: BucketKey) -> Result<()> {
        let position = self.position_of(bucket)?;
        if !self.paused.contains(&bucket) {
            return Ok(());
        }
        self.read_from(bucket, position)?;
        self.paused.remove(&bucket);
        Ok(())
    }

    /// The buckets that are paused.
    pub fn paused(&self) -> impl Iterator<Item = BucketKey> + '_ {
        self.paused.iter().copied()
    }

    /// Goes on at another offset of a bucket ([`EARLIEST`](crate::EARLIEST) for the earliest), also
    /// of one that stopped because of an error. A bounded scan keeps its end, and leaves alone a
    /// bucket that has reached it. A paused bucket stays paused.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a bucket this scanner does not read, or an offset that is none.
    pub fn seek(&mut self, bucket: BucketKey, offset: i64) -> Result<()> {
        self.position_of(bucket)?;
        if self.is_at_end(bucket) {
            return Ok(());
        }
        self.refused.remove(&bucket);
        self.read_from(bucket, offset)?;
        if self.paused.contains(&bucket) {
            self.fluss
                .shared()
                .with(|core, now| core.client.stop_bucket(self.key, bucket, offset, now));
        }
        Ok(())
    }

    /// Fetches a bucket from here on, and forgets what was known of it.
    pub(super) fn read_from(&mut self, bucket: BucketKey, offset: i64) -> Result<()> {
        self.fluss
            .shared()
            .with(|core, now| core.client.subscribe(self.key, bucket, offset, now))?;
        self.forget(bucket);
        let end = self.ends.as_ref().and_then(|ends| ends.get(&bucket)).copied();
        if let Some(end) = end {
            self.has_to_read(bucket, offset, end);
        }
        self.positions.insert(bucket, offset);
        Ok(())
    }

    fn position_of(&self, bucket: BucketKey) -> Result<i64> {
        let position = self.positions.get(&bucket).copied();
        position.ok_or_else(|| Error::misuse(format!("{bucket} is not read by this scanner")))
    }

    /// Whether a bounded scan is done with this bucket.
    fn is_at_end(&self, bucket: BucketKey) -> bool {
        self.ends.as_ref().is_some_and(|ends| !ends.contains_key(&bucket))
    }

    fn apply(&mut self, found: Found) -> Result<()> {
        self.partitions = found.partitions;
        for (bucket, start) in found.starts {
            self.paused.remove(&bucket);
            self.read_from(bucket, start)?;
            let end = found.ends.as_ref().and_then(|ends| ends.get(&bucket)).copied();
            if let (Some(ends), Some(end)) = (&mut self.ends, end) {
                ends.insert(bucket, end);
                if !self.has_to_read(bucket, start, end) {
                    self.advance(bucket, start);
                }
            }
        }
        Ok(())
    }

    /// Asks what has to be known before these buckets are read.
    fn look_up(&self, starts: Offsets) -> impl Future<Output = Result<Found>> + Send + use<> {
        let (fluss, info) = (self.fluss.clone(), Arc::clone(&self.info));
        let (mut partitions, until) = (self.partitions.clone(), self.until.clone());
        async move {
            let unknown = |key: &BucketKey| !partitions.knows(key);
            if is_partitioned(&info) && starts.keys().any(unknown) {
                partitions = Partitions::list(&fluss, &info).await?;
            }
            partitions.check(&info, starts.keys())?;
            let Some(until) = until else {
                return Ok(Found { partitions, starts, ends: None });
            };
            let keys: Vec<BucketKey> = starts.keys().copied().collect();
            let ends = ends_of(&fluss, &info, &keys, &until).await?;
            let starts = without_earliest(&fluss, &info, starts).await?;
            Ok(Found { partitions, starts, ends: Some(ends) })
        }
    }
}

/// Buckets that are about to be read; see [`LogScanner::subscribe`]. Dropping it before its end
/// changes nothing.
#[must_use = "nothing is read until it is awaited or waited for"]
pub struct Subscribe<'a> {
    scanner: &'a mut LogScanner,
    wanted: Offsets,
    call: Option<Pin<Box<dyn Future<Output = Result<Found>> + Send>>>,
}

impl std::fmt::Debug for Subscribe<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscribe").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl Subscribe<'_> {
    /// Blocks this thread until the buckets are subscribed.
    ///
    /// # Errors
    /// As for [`LogScanner::subscribe`].
    pub fn wait(self) -> Result<()> {
        let shared = Arc::clone(self.scanner.fluss.shared());
        shared.block_on(self)?
    }
}

impl Future for Subscribe<'_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let wanted = &mut this.wanted;
        for (bucket, offset) in wanted.iter() {
            if *offset < 0 && *offset != crate::EARLIEST {
                let text = format!("{bucket}: {offset} is no offset to read from");
                return Poll::Ready(Err(Error::misuse(text)));
            }
        }
        let scanner = &*this.scanner;
        let call =
            this.call.get_or_insert_with(|| Box::pin(scanner.look_up(std::mem::take(wanted))));
        let found = ready!(call.as_mut().poll(cx));
        Poll::Ready(found.and_then(|found| this.scanner.apply(found)))
    }
}
