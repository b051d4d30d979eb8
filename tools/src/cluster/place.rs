//! Where a cluster lives: its directory and its ports.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};

use super::config::{HOST, Layout, Ports};
use super::ports::{self, ReservedPort};
use super::{ClusterError, ClusterOptions};

pub(super) fn address(port: u16) -> String {
    format!("{HOST}:{port}")
}

/// A number that two launchers do not share.
pub(super) fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The directory to use, created.
pub(super) fn directory(wanted: Option<&Path>) -> Result<PathBuf, ClusterError> {
    let dir = match wanted {
        Some(dir) => dir.to_owned(),
        None => std::env::temp_dir().join(format!("fluss-cluster-{:016x}", chance())),
    };
    let dir = std::path::absolute(&dir).map_err(|e| ClusterError::path("find", &dir, &e))?;
    // What follows a `#` would be a comment there, and the data lie in another directory.
    let unfit = |c: char| c.is_control() || matches!(c, '#' | '\\');
    if dir.to_str().is_none_or(|text| text.chars().any(unfit)) {
        return Err(ClusterError::InvalidOption(format!(
            "the directory {} has a name that no configuration file can hold: take one without \
             '#', backslash and control characters",
            dir.display()
        )));
    }
    fs::create_dir_all(&dir).map_err(|e| ClusterError::path("create", &dir, &e))?;
    let mut entries = fs::read_dir(&dir).map_err(|e| ClusterError::path("read", &dir, &e))?;
    if entries.next().is_some() {
        return Err(ClusterError::InvalidOption(format!(
            "the directory {} is not empty; name a new or empty one",
            dir.display()
        )));
    }
    Ok(dir)
}

/// ZooKeeper's port, then those of the coordinator and of the tablet servers.
pub(super) fn reserve(options: &ClusterOptions) -> Result<Vec<ReservedPort>, ClusterError> {
    let listeners = if options.has_two_listeners() { 2 } else { 1 };
    ports::reserve(1 + listeners * (1 + options.tablet_servers))
        .map_err(|e| ClusterError::io("cannot find free ports", &e))
}

pub(super) fn layout(dir: PathBuf, options: &ClusterOptions, reserved: &[ReservedPort]) -> Layout {
    let mut numbers = reserved.iter().map(ReservedPort::number);
    let mut next = || numbers.next().unwrap_or_default();
    let zookeeper = next();
    let mut listeners = || {
        let internal = next();
        let client = if options.has_two_listeners() { next() } else { internal };
        Ports { internal, client }
    };
    let coordinator = listeners();
    let tablets = (0..options.tablet_servers).map(|_| listeners()).collect();
    // Should somebody else's ZooKeeper answer at our port, neither cluster may see the other.
    let root = format!("/fluss-{:016x}", chance());
    Layout { dir, root, zookeeper, coordinator, tablets }
}
