//! Events of scanners, kept for the conformance suite to look at.

use std::sync::{Arc, Mutex};

use super::policy::ScanEvent;
use super::waker::ScanWaker;
use crate::handle::signal::lock;

/// Keeps events; clones keep them in one place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Arc<Mutex<(Vec<ScanEvent>, Option<ScanWaker>)>>);

impl Recorder {
    /// What a scanner tells.
    pub(crate) fn listener(&self) -> impl Fn(&ScanEvent) + Send + Sync + 'static {
        let kept = Arc::clone(&self.0);
        move |event| {
            let waker = {
                let mut kept = lock(&kept);
                kept.0.push(event.clone());
                kept.1.clone()
            };
            waker.iter().for_each(ScanWaker::wake);
        }
    }

    /// From now on each event wakes.
    pub(crate) fn wake(&self, waker: ScanWaker) {
        lock(&self.0).1 = Some(waker);
    }

    /// The events so far.
    pub(crate) fn events(&self) -> Vec<ScanEvent> {
        lock(&self.0).0.clone()
    }
}
