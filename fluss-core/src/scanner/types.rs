//! What goes into a scanner and what comes out.

use std::sync::Arc;

use fluss_proto::record::LogBatch;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::filter::ServerFilter;
use crate::ids::{BucketKey, TableId, TablePath};
use crate::time::Duration;

/// The offset that stands for the earliest record there is; the server finds it.
pub const EARLIEST: i64 = -2;

/// Settings of one scanner.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ScannerOptions {
    /// The table.
    pub table: TableId,
    /// Its path, for error texts.
    pub path: TablePath,
    /// Cap of one answer, in bytes; a single larger batch still comes whole. Default 16 MiB.
    pub max_bytes: usize,
    /// Cap of one bucket's share of an answer, in bytes, and the amount of a bucket's data that
    /// may wait before it is left out of fetches. Default 1 MiB.
    pub max_bytes_per_bucket: usize,
    /// The server answers as soon as it has this many bytes. Default 1.
    pub min_bytes: usize,
    /// … or after this long, at most half of [`Config::request_deadline`]. Where there is
    /// `patience`, servers are asked to answer within half of what is left of it, so that one with
    /// nothing new is not taken for a silent one. Default 500 ms.
    pub max_wait: Duration,
    /// Budget for fetched data that was not taken yet, in bytes; single batches larger than a
    /// fetch may exceed it. Default 64 MiB.
    pub buffer_limit: u64,
    /// Positions of the columns that the server shall send, ascending; None (default) for all.
    /// Only ARROW logs can be projected by the server, and projected batches have no checksum that
    /// could be verified. Batches of older schemas that lack one of the columns come whole.
    pub projection: Option<Arc<[i32]>>,
    /// The schema whose columns the projection counts; 0 by default.
    pub projection_schema: i16,
    /// By which the server may leave batches out that hold no row of which it is true; None
    /// (default) for none. Only ARROW logs whose batches have statistics are filtered, by servers
    /// from 1.0 on; others send everything. So what comes has to be filtered again.
    pub filter: Option<ServerFilter>,
    /// For how long a bucket may be asked for without a good answer until it stops with an error:
    /// from the first question on, also while a fetch is on its way, and without the time in which
    /// nothing is wanted of it. Begins anew once where nobody looked at the sockets in between.
    /// None (default) for ever, as for a reader that follows its log.
    pub patience: Option<Duration>,
}

impl ScannerOptions {
    /// Defaults for this table.
    #[must_use]
    pub fn new(table: TableId, path: TablePath) -> Self {
        Self {
            table,
            path,
            max_bytes: 16 << 20,
            max_bytes_per_bucket: 1 << 20,
            min_bytes: 1,
            max_wait: Duration::from_millis(500),
            buffer_limit: 64 << 20,
            projection: None,
            projection_schema: 0,
            filter: None,
            patience: None,
        }
    }

    /// Checks all rules, also those between scanner and client.
    ///
    /// # Errors
    /// [`Error::Config`] with every violation.
    pub fn validate(&self, client: &Config) -> Result<()> {
        let mut problems = Vec::new();
        let mut rule = |ok: bool, text: &str| {
            if !ok {
                problems.push(text.to_owned());
            }
        };
        let wire = 1..=i32::MAX as usize;
        rule(wire.contains(&self.max_bytes), "max_bytes must be between 1 and 2147483647");
        rule(
            (1..=self.max_bytes).contains(&self.max_bytes_per_bucket),
            "max_bytes_per_bucket must be between 1 and max_bytes",
        );
        rule(
            (1..=self.max_bytes).contains(&self.min_bytes),
            "min_bytes must be between 1 and max_bytes",
        );
        rule(
            self.max_wait <= client.request_deadline / 2,
            "max_wait must not exceed half of request_deadline, else answers come too late",
        );
        rule(self.buffer_limit >= 1 << 10, "buffer_limit must be at least 1024");
        rule(
            self.projection
                .as_deref()
                .is_none_or(|p| p.first().is_some_and(|&i| i >= 0) && p.is_sorted_by(|a, b| a < b)),
            "a projection must name at least one column, ascending and none twice",
        );
        if problems.is_empty() { Ok(()) } else { Err(Error::Config(problems.into())) }
    }
}

/// A batch as it came, checked in its header only: the payload was not touched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchedBatch {
    /// Where it was read.
    pub bucket: BucketKey,
    /// The batch; it may have no records, and it may begin before `start_offset`.
    pub batch: LogBatch,
    /// The first offset that was wanted; records before it are to be skipped.
    pub start_offset: i64,
    /// The position after this batch. Not to be derived from its records.
    pub next_offset: i64,
    /// The bucket's high watermark when the batch was read, where the server told it.
    pub high_watermark: Option<i64>,
    /// Whether it holds the columns of [`ScannerOptions::projection`] only. Its checksum is then
    /// that of the batch as it is stored, unless it has no records.
    pub projected: bool,
}

/// How much to take at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakeLimits {
    /// At most this many batches.
    pub max_batches: usize,
    /// No further batch once there are this many bytes; the first is always taken.
    pub max_bytes: usize,
}

impl Default for TakeLimits {
    fn default() -> Self {
        Self { max_batches: 64, max_bytes: 4 << 20 }
    }
}

/// What a scanner had.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Taken {
    /// Batches, in order within each bucket.
    pub batches: Vec<FetchedBatch>,
    /// Buckets that stopped, each told once and after all its batches. Such a bucket goes on when
    /// it is subscribed again.
    pub errors: Vec<ScanError>,
}

impl Taken {
    /// Whether there was nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.errors.is_empty()
    }
}

/// Why a bucket stopped. Subscribed again at this position, it goes on where it was; the other
/// buckets of the scanner are not concerned.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{bucket} at {}: {cause}{}", place(*position), range_text(range.as_ref()))]
#[non_exhaustive]
pub struct ScanError {
    /// The bucket.
    pub bucket: BucketKey,
    /// The offset of the first record that was not handed out; -2 for the earliest.
    pub position: i64,
    /// For a position out of range: earliest and latest offset, where they could be found out.
    pub range: Option<(i64, i64)>,
    /// What happened.
    pub cause: Box<Error>,
}

impl ScanError {
    /// A bucket that stopped here for this reason.
    #[must_use]
    pub fn new(bucket: BucketKey, position: i64, cause: Error) -> Self {
        Self { bucket, position, range: None, cause: Box::new(cause) }
    }
}

fn place(position: i64) -> String {
    if position == EARLIEST {
        "the earliest offset".to_owned()
    } else {
        format!("offset {position}")
    }
}

fn range_text(range: Option<&(i64, i64)>) -> String {
    range.map_or_else(String::new, |(earliest, latest)| {
        format!("; the log has offsets {earliest} to {latest} (exclusive)")
    })
}

/// How far a bucket was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BucketProgress {
    /// The next offset to be taken; -2 for the earliest, until something was fetched.
    pub position: i64,
    /// Offsets below it can be read, as last told by the server.
    pub high_watermark: Option<i64>,
    /// Bytes that were fetched and not taken.
    pub buffered_bytes: u64,
    /// Whether the bucket stopped because of an error.
    pub stopped: bool,
    /// Whether the bucket is paused.
    pub paused: bool,
}

impl BucketProgress {
    /// Offsets that can be read and were not taken, where the high watermark is known. While the
    /// position is [`EARLIEST`] nobody told where the log begins: it is counted from 0, and may be
    /// too large where older rows have expired.
    #[must_use]
    pub fn lag(&self) -> Option<u64> {
        let position = self.position.max(0);
        self.high_watermark.map(|hw| u64::try_from(hw.saturating_sub(position)).unwrap_or(0))
    }
}
