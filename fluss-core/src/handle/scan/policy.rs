//! What a scanner does by itself about trouble, and how it tells.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::ids::{BucketKey, PartitionId};

/// What to do about a bucket whose position is not in its log: behind the end, or among records
/// that have expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnOutOfRange {
    /// The bucket stops with an error that tells the range; the default.
    #[default]
    Fail,
    /// It goes on with the earliest record there is.
    Earliest,
    /// It goes on with what comes.
    Latest,
}

/// What to do about a batch that is damaged: one whose checksum is wrong, or whose contents make no
/// sense.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnCorruptBatch {
    /// The bucket stops there with an error; the default.
    #[default]
    Fail,
    /// Its rows are passed over and reported as [`ScanEvent::BatchSkipped`]. Where the next batch
    /// begins cannot always be told; then the bucket stops all the same.
    Skip,
}

/// What a scanner did by itself; see [`ScanBuilder::on_event`](crate::ScanBuilder::on_event).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ScanEvent {
    /// A new partition is read from its earliest record on.
    PartitionFound {
        /// Its id.
        partition: PartitionId,
        /// The values of the partition columns, joined with `$`.
        name: Arc<str>,
    },
    /// A partition was dropped and is read no more.
    PartitionDropped {
        /// Its id.
        partition: PartitionId,
        /// The values of the partition columns, joined with `$`.
        name: Arc<str>,
    },
    /// A bucket goes on elsewhere, because its position was not in its log. Rows may be left out,
    /// or come again.
    PositionReset {
        /// The bucket.
        bucket: BucketKey,
        /// The offset it stood at.
        from: i64,
        /// The offset it goes on at.
        to: i64,
        /// The earliest offset and the end of the log.
        range: (i64, i64),
    },
    /// A damaged batch was passed over.
    BatchSkipped {
        /// The bucket.
        bucket: BucketKey,
        /// The first offset that was not handed out.
        from: i64,
        /// The offset that reading goes on at.
        to: i64,
        /// What was wrong.
        cause: Error,
    },
}

type Tell = dyn Fn(&ScanEvent) + Send + Sync;

/// Who is told.
#[derive(Clone, Default)]
pub(crate) struct Listener(Option<Arc<Tell>>);

impl Listener {
    pub(crate) fn new(listener: impl Fn(&ScanEvent) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    pub(crate) fn tell(&self, event: &ScanEvent) {
        match (&self.0, event) {
            (Some(listener), event) => listener(event),
            // Rows that are left out are not to go unnoticed.
            (None, ScanEvent::PositionReset { .. } | ScanEvent::BatchSkipped { .. }) => {
                log::warn!(target: "fluss", "{event:?}");
            }
            (None, event) => log::info!(target: "fluss", "{event:?}"),
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.0.is_some()).finish()
    }
}

/// How a scanner deals with trouble.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) out_of_range: OnOutOfRange,
    pub(crate) corrupt: OnCorruptBatch,
    pub(crate) listener: Listener,
}
