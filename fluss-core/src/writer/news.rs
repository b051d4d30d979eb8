//! What the rest of the client tells the writers: where leaders are, who is out of reach, what is
//! gone.

use super::{Wish, Writers};
use crate::cx::Cx;
use crate::error::{Error, WriteError};
use crate::ids::{BucketKey, ServerId, WriterKey};
use crate::metadata::Cluster;
use crate::output::BatchOutcome;

impl Writers {
    /// The picture of the cluster changed: leaders may be known, or may have moved.
    pub(crate) fn handle_metadata(&mut self, cx: &mut Cx<'_>, cluster: &Cluster) {
        let keys: Vec<WriterKey> = self.writers.keys().copied().collect();
        for key in keys {
            if let Some(writer) = self.changing(key) {
                writer.sender.handle_metadata(cx, cluster);
            }
            self.settle(key);
        }
    }

    /// Why nothing can be sent; told with batches that were never sent.
    pub(crate) fn note_trouble(&mut self, error: &Error) {
        self.trouble = Some(error.clone());
    }

    /// A server cannot be reached: whoever stands in its line looks for another leader.
    pub(crate) fn handle_unreachable(&mut self, server: ServerId, error: &Error) {
        self.note_trouble(error);
        for writer in self.writers.values_mut() {
            let left = writer.sender.leave_line(server);
            self.wishes.extend(left.into_iter().map(|b| Wish::Refresh(b, None)));
        }
    }

    /// A table or partition is gone: all its batches end.
    pub(crate) fn handle_gone(
        &mut self,
        cx: &mut Cx<'_>,
        gone: impl Fn(&BucketKey) -> bool,
        error: &Error,
    ) {
        let keys: Vec<WriterKey> = self.writers.keys().copied().collect();
        for key in keys {
            let Some(writer) = self.changing(key) else { continue };
            for bucket in writer.sender.buckets().filter(|b| gone(b)).collect::<Vec<_>>() {
                writer.sender.with_manager(bucket, |manager, _| {
                    manager.handle_bucket_gone(cx, bucket, error);
                });
            }
            self.settle(key);
            self.fail_queued(key, &gone, error);
        }
    }

    pub(super) fn fail_queued(
        &mut self,
        key: WriterKey,
        which: impl Fn(&BucketKey) -> bool,
        error: &Error,
    ) {
        let queued = self.writers.get(&key).map(|w| w.sender.queued()).unwrap_or_default();
        for (bucket, batch) in queued.into_iter().filter(|(bucket, _)| which(bucket)) {
            if let Some(writer) = self.changing(key) {
                writer.sender.queue(bucket).remove(batch);
                writer.sender.touch(bucket);
            }
            self.finish(batch, BatchOutcome::Failed(WriteError::NotWritten(error.clone().into())));
        }
    }
}
