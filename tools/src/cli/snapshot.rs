//! Settings of whoever reads the rows of primary-key tables as they are now.

use fluss_core::{SnapshotBuilder, SnapshotChangesBuilder};

use super::settings::ScannerSettings;

pub(crate) fn snapshot_settings(
    mut builder: SnapshotBuilder,
    settings: &ScannerSettings,
) -> SnapshotBuilder {
    if let Some(bytes) = settings.kv_fetch_bytes {
        builder = builder.fetch_bytes(bytes);
    }
    if let Some(rows) = settings.kv_max_rows {
        builder = builder.max_rows(rows);
    }
    if let Some(bytes) = settings.kv_max_state_bytes {
        builder = builder.max_state_bytes(bytes);
    }
    if let Some(bytes) = settings.buffer_limit {
        builder = builder.buffer_limit(bytes);
    }
    builder
}

pub(crate) fn changes_settings(
    mut builder: SnapshotChangesBuilder,
    settings: &ScannerSettings,
) -> SnapshotChangesBuilder {
    if let Some(bytes) = settings.kv_fetch_bytes {
        builder = builder.fetch_bytes(bytes);
    }
    if let Some(bytes) = settings.kv_max_state_bytes {
        builder = builder.max_state_bytes(bytes);
    }
    if let Some(bytes) = settings.buffer_limit {
        builder = builder.buffer_limit(bytes);
    }
    builder
}
