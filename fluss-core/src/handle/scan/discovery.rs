//! Partitions that come and go while their table is read.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use fluss_proto::ErrorCode;

use super::LogScanner;
use super::policy::ScanEvent;
use crate::error::Result;
use crate::handle::admin::PartitionInfo;
use crate::scanner::ScanError;
use crate::time::{Duration, Instant};

type Listing = Pin<Box<dyn Future<Output = Result<Vec<PartitionInfo>>> + Send>>;

/// How new partitions are looked for.
pub(super) struct Discovery {
    interval: Duration,
    /// When they are asked for next.
    pub(super) next: Instant,
    /// From where the buckets of new partitions are read.
    start: i64,
    call: Option<Listing>,
}

impl Discovery {
    pub(super) fn new(interval: Duration, start: i64, now: Instant) -> Self {
        Self { interval, next: now + interval, start, call: None }
    }
}

impl LogScanner {
    /// Asks for the partitions when it is time, and reads the new ones. Never waits.
    ///
    /// # Errors
    /// Why there is no answer; they are asked for again after the interval.
    pub(super) fn discover(&mut self, cx: &mut Context<'_>) -> Result<()> {
        let shared = self.fluss.shared();
        let Some(discovery) = &mut self.discovery else { return Ok(()) };
        if discovery.call.is_none() {
            if shared.now() < discovery.next {
                return Ok(());
            }
            let (fluss, path) = (self.fluss.clone(), self.info.path.clone());
            let call = async move { fluss.list_partitions(&path, Vec::new()).await };
            discovery.call = Some(Box::pin(call));
        }
        let Some(call) = &mut discovery.call else { return Ok(()) };
        let Poll::Ready(listed) = call.as_mut().poll(cx) else { return Ok(()) };
        discovery.call = None;
        discovery.next = shared.now() + discovery.interval;
        let start = discovery.start;
        let new = self.partitions.learn(listed?, &self.info);
        for PartitionInfo { id: partition, name, .. } in new {
            let buckets: Vec<_> = self.partitions.buckets_of(&self.info, partition).collect();
            for bucket in buckets {
                self.read_from(bucket, start)?;
            }
            self.policy.listener.tell(&ScanEvent::PartitionFound { partition, name });
        }
        Ok(())
    }

    /// Whether a bucket's error only says that its partition was dropped: then the partition is
    /// read no more, and that is not the end of anything else.
    pub(super) fn drop_partition_of(&mut self, error: &ScanError) -> bool {
        let gone = error.cause.code() == Some(ErrorCode::PARTITION_NOT_EXISTS);
        let (Some(partition), true, Some(_)) = (error.bucket.partition, gone, &self.discovery)
        else {
            return false;
        };
        if self.unsubscribe_partition(partition) > 0 {
            let name: Arc<str> = self.partitions.name(partition);
            self.policy.listener.tell(&ScanEvent::PartitionDropped { partition, name });
        }
        true
    }

    /// When somebody who waits has to look for partitions.
    pub(super) fn alarm(&self) -> Option<Instant> {
        self.discovery.as_ref().filter(|d| d.call.is_none()).map(|discovery| discovery.next)
    }
}
