//! The remote storage of a fake cluster, as clients read it.

use std::sync::Arc;

use bytes::Bytes;

use super::loopback::Loopback;
use crate::storage::{ObjectPart, Storage, StorageError, StorageErrorKind, Store};

struct Remote(Arc<Loopback>);

impl Storage for Remote {
    fn read(&self, part: &ObjectPart) -> Result<Bytes, StorageError> {
        let (time, read) = self.0.with(|cluster| cluster.read_object(part));
        if time > part.limit {
            return Err(StorageError::new(
                part,
                StorageErrorKind::Unavailable,
                "no answer in time",
            ));
        }
        // Whatever else is slow shows with the clock of a test alone.
        read
    }
}

/// Reads what was moved to remote storage with
/// [`move_to_remote`](super::cluster::FakeCluster::move_to_remote), for
/// [`Config::store`](crate::config::Config::store).
#[must_use]
pub fn store_of(fake: &Arc<Loopback>) -> Store {
    Store::new(Remote(Arc::clone(fake)))
}
