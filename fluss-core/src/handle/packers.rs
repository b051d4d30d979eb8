//! What batches are compressed with, handed from lane to lane of a writer: there are as many as
//! lanes compress at a time, and as each takes megabytes, not as many as there are lanes.

use std::sync::Mutex;

use super::signal::lock;
use crate::batch::Packer;

/// Those kept for the next batches: more are hardly ever at work at once.
const KEPT: usize = 16;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Packers(Mutex<Vec<Packer>>);

impl Packers {
    pub(super) fn take(&self) -> Option<Packer> {
        lock(&self.0).pop()
    }

    /// Frees them but for one: a lane waits for memory, and while lanes wait they are granted some,
    /// and compress, one after the other.
    pub(super) fn spare(&self) {
        lock(&self.0).truncate(1);
    }

    pub(super) fn keep(&self, packer: Option<Packer>) {
        let mut kept = lock(&self.0);
        if kept.len() < KEPT {
            kept.extend(packer);
        }
    }
}
