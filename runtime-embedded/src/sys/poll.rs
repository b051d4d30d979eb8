//! Waiting with `poll`, for systems without `epoll`.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::{CLOSED, READABLE, Source, WRITABLE, interrupted, timespec};
use crate::reactor::lock;

/// Waits for many sockets and a wake-up.
#[derive(Debug)]
pub(crate) struct Selector {
    /// Connected to itself: a portable way to end a wait from another thread.
    wake: UdpSocket,
    sources: Mutex<BTreeMap<u64, Arc<Source>>>,
}

impl Selector {
    pub(crate) fn new() -> io::Result<Self> {
        let wake = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        wake.connect(wake.local_addr()?)?;
        wake.set_nonblocking(true)?;
        Ok(Self { wake, sources: Mutex::new(BTreeMap::new()) })
    }

    pub(crate) fn add(&self, source: &Arc<Source>) -> io::Result<()> {
        lock(&self.sources).insert(source.id, Arc::clone(source));
        Ok(())
    }

    pub(crate) fn remove(&self, source: &Source) {
        lock(&self.sources).remove(&source.id);
    }

    /// Waits until a socket is ready, a wake-up comes or the time is over. Tells how many sockets
    /// have news.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<usize> {
        let sources: Vec<Arc<Source>> = lock(&self.sources).values().cloned().collect();
        let mut fds = vec![PollFd::new(&self.wake, PollFlags::IN)];
        fds.extend(sources.iter().map(|s| PollFd::new(&s.stream, wanted(s))));
        if let Err(e) = poll(&mut fds, timespec(timeout).as_ref()) {
            return interrupted(e);
        }
        let woken = fds.first().is_some_and(|fd| !fd.revents().is_empty());
        let mut count = 0;
        for (source, fd) in sources.iter().zip(fds.iter().skip(1)) {
            if !fd.revents().is_empty() {
                source.set(ready(fd.revents()));
                count += 1;
            }
        }
        if woken {
            let mut space = [0; 8];
            while self.wake.recv(&mut space).is_ok() {}
        }
        Ok(count)
    }

    /// Ends a wait, now or the next one.
    pub(crate) fn notify(&self) {
        // A full buffer holds wake-ups that nobody has noticed yet, which is all that is needed.
        let _ = self.wake.send(&[1]);
    }
}

/// Only what is not known yet, as `poll` repeats what it said until somebody acts on it.
fn wanted(source: &Source) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, !source.is(READABLE));
    flags.set(PollFlags::OUT, !source.is(WRITABLE));
    flags
}

fn ready(flags: PollFlags) -> u8 {
    let mut ready = 0;
    if flags.contains(PollFlags::IN) {
        ready |= READABLE;
    }
    if flags.contains(PollFlags::OUT) {
        ready |= WRITABLE;
    }
    if flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
        ready |= READABLE | WRITABLE | CLOSED;
    }
    ready
}
