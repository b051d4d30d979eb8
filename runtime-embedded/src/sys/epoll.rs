//! Waiting with `epoll`.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};

use super::{CLOSED, READABLE, Source, WRITABLE, interrupted, timespec};
use crate::reactor::lock;

/// Events taken with one system call; more are taken with the next.
const EVENTS: usize = 64;
/// The wake-up's name; sockets count from 0.
const WAKE: u64 = u64::MAX;

/// Waits for many sockets and a wake-up. Edge-triggered: a change is told once.
#[derive(Debug)]
pub(crate) struct Selector {
    epoll: OwnedFd,
    wake: OwnedFd,
    sources: Mutex<BTreeMap<u64, Arc<Source>>>,
}

impl Selector {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Each write is an edge of its own, so the counter never has to be read.
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, wake, sources: Mutex::new(BTreeMap::new()) })
    }

    pub(crate) fn add(&self, source: &Arc<Source>) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &source.stream, EventData::new_u64(source.id), flags)?;
        lock(&self.sources).insert(source.id, Arc::clone(source));
        Ok(())
    }

    pub(crate) fn remove(&self, source: &Source) {
        // Fails only if it was never added; closing the socket would remove it as well.
        let _ = epoll::delete(&self.epoll, &source.stream);
        lock(&self.sources).remove(&source.id);
    }

    /// Waits until a socket is ready, a wake-up comes or the time is over. Tells how many sockets
    /// have news.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<usize> {
        let mut space = [MaybeUninit::<Event>::uninit(); EVENTS];
        let timeout = timespec(timeout);
        let events = match epoll::wait(&self.epoll, &mut space, timeout.as_ref()) {
            Ok((events, _)) => events,
            Err(e) => return interrupted(e),
        };
        let sources = lock(&self.sources);
        let mut count = 0;
        for event in events {
            let (flags, data) = (event.flags, event.data);
            if let Some(source) = sources.get(&data.u64()) {
                source.set(ready(flags));
                count += 1;
            }
        }
        Ok(count)
    }

    /// Ends a wait, now or the next one.
    pub(crate) fn notify(&self) {
        // A counter that is full has been noticed by nobody yet, so it still does its duty.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl AsFd for Selector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

fn ready(flags: EventFlags) -> u8 {
    let mut ready = 0;
    if flags.contains(EventFlags::IN) {
        ready |= READABLE;
    }
    if flags.contains(EventFlags::OUT) {
        ready |= WRITABLE;
    }
    if flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
        ready |= READABLE | WRITABLE | CLOSED;
    }
    ready
}
