//! What the reading machines want from the others.

use crate::ids::{BucketKey, ServerId};

/// A wish of a scanner or of the lookups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadWish {
    /// Something waits for this server's connection.
    Flush(ServerId),
    /// The leader of this bucket is needed, or what is known of it is stale.
    Leader(BucketKey),
}
