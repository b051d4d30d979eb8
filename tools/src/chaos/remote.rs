//! Remote storage whose reads are counted: a directory that servers and readers share.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fluss_embedded::config::{ObjectPart, Storage, StorageError, Store};

struct Counted {
    files: Store,
    bytes: Arc<AtomicU64>,
}

impl Storage for Counted {
    fn read(&self, part: &ObjectPart) -> Result<Bytes, StorageError> {
        let bytes = self.files.read(part)?;
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// Files, as clients read them anyway, and how many bytes came of them.
pub(super) fn counted_files() -> (Store, Arc<AtomicU64>) {
    let bytes = Arc::<AtomicU64>::default();
    let files = Store::of_files(|path| File::open(path));
    (Store::new(Counted { files, bytes: Arc::clone(&bytes) }), bytes)
}
