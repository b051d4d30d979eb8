//! Where the driver waits, and how it is woken.

use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Wake;
use std::thread::Thread;
use std::time::Duration;

use crate::sys::{Selector, Source};

/// Somebody drives and will look again before sleeping.
const DRIVING: u8 = 0;
/// There is something to do that nobody has looked at.
const WOKEN: u8 = 1;
/// Whoever drives sleeps in the selector, or a foreign loop on its descriptor.
const WAITING: u8 = 2;
/// Nobody drives.
const VACANT: u8 = 3;

/// Locks even if another thread panicked while it held the lock: what is guarded in this crate is
/// changed in single steps, so it is whole.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number for the current thread that no other living thread has.
pub(crate) fn this_thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

/// The selector and who sleeps in it. As a waker it wakes the driver, wherever that is; wake-ups
/// that come before it looks are one.
#[derive(Debug)]
pub(crate) struct Reactor {
    selector: Selector,
    state: AtomicU8,
    next_id: AtomicU64,
    /// The blocked caller that drives, as [`this_thread`]; 0: none does.
    caller: AtomicUsize,
    /// Another thread woke the driver while a blocked caller drove.
    foreign: AtomicBool,
    /// The thread that drives when no caller does.
    attendant: OnceLock<Thread>,
}

impl Reactor {
    /// A reactor that has something to do: the first turn.
    pub(crate) fn new() -> io::Result<Self> {
        let selector = Selector::new()?;
        selector.notify();
        Ok(Self {
            selector,
            state: AtomicU8::new(WOKEN),
            next_id: AtomicU64::new(0),
            caller: AtomicUsize::new(0),
            foreign: AtomicBool::new(false),
            attendant: OnceLock::new(),
        })
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn selector(&self) -> &Selector {
        &self.selector
    }

    // ----- sockets -----

    pub(crate) fn register(self: &Arc<Self>, stream: TcpStream) -> io::Result<Registered> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let source = Arc::new(Source::new(id, stream));
        self.selector.add(&source)?;
        Ok(Registered { source, reactor: Arc::clone(self) })
    }

    // ----- the one who drives -----

    /// Takes note of wake-ups; whoever calls this looks at everything afterwards. True if there
    /// were any.
    pub(crate) fn look(&self) -> bool {
        self.state.swap(DRIVING, Ordering::SeqCst) == WOKEN
    }

    /// Sleeps until sockets or wake-ups have news, `stop` holds or the time is over; not at all if
    /// there was a wake-up since [`Reactor::look`]. Tells how many sockets have news.
    pub(crate) fn sleep(
        &self,
        timeout: Option<Duration>,
        stop: impl FnOnce() -> bool,
    ) -> io::Result<usize> {
        // Whoever makes `stop` true looks at the state afterwards, so one of the two sees the
        // other.
        let timeout = if !self.settle() || stop() { Some(Duration::ZERO) } else { timeout };
        self.selector.wait(timeout)
    }

    /// From now on wake-ups go through the selector. False if there was one that nobody looked at.
    pub(crate) fn settle(&self) -> bool {
        self.exchange(DRIVING, WAITING)
    }

    /// Makes the selector's descriptor readable for the wake-up that is still to be looked at.
    pub(crate) fn remind(&self) {
        self.selector.notify();
    }

    /// Whether there is a wake-up that nobody has looked at.
    pub(crate) fn is_woken(&self) -> bool {
        self.state.load(Ordering::SeqCst) == WOKEN
    }

    /// Gets a driver that sleeps to look at its `stop` again.
    pub(crate) fn interrupt(&self) {
        if self.state.load(Ordering::SeqCst) == WAITING {
            self.selector.notify();
        }
    }

    // ----- changes of who drives -----

    /// This thread drives now: a blocked caller, by its number, or the attendant, as 0.
    pub(crate) fn occupy(&self, caller: usize) {
        self.caller.store(caller, Ordering::SeqCst);
        self.foreign.store(false, Ordering::SeqCst);
        self.exchange(VACANT, DRIVING);
    }

    /// Nobody drives now. False if there is a wake-up that nobody looked at.
    pub(crate) fn vacate(&self) -> bool {
        self.caller.store(0, Ordering::SeqCst);
        self.exchange(DRIVING, VACANT) || self.exchange(WAITING, VACANT)
    }

    /// Whether others than the caller that drives woke the driver since it took over.
    pub(crate) fn was_foreign(&self) -> bool {
        self.foreign.load(Ordering::SeqCst)
    }

    /// Whether this blocked caller drives.
    pub(crate) fn is_driven_by(&self, caller: usize) -> bool {
        self.caller.load(Ordering::SeqCst) == caller
    }

    pub(crate) fn set_attendant(&self, thread: Thread) {
        // There is one for the life of a client.
        let _ = self.attendant.set(thread);
    }

    /// Calls the thread that drives when no caller does.
    pub(crate) fn call_attendant(&self) {
        self.attendant.get().inspect(|t| t.unpark());
    }

    fn exchange(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

impl Wake for Reactor {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let caller = self.caller.load(Ordering::SeqCst);
        if caller != 0 && caller != this_thread() {
            self.foreign.store(true, Ordering::SeqCst);
        }
        match self.state.swap(WOKEN, Ordering::SeqCst) {
            WAITING => self.selector.notify(),
            VACANT => self.call_attendant(),
            _ => {}
        }
    }
}

/// A socket the selector knows, until it is dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) source: Arc<Source>,
    reactor: Arc<Reactor>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.reactor.selector.remove(&self.source);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::thread;

    use super::*;

    fn reactor() -> Arc<Reactor> {
        Arc::new(Reactor::new().unwrap())
    }

    #[test]
    fn the_first_look_finds_something_to_do() {
        let reactor = reactor();
        assert!(reactor.look());
        assert!(!reactor.look());
    }

    #[test]
    fn a_wake_up_after_the_look_prevents_the_sleep() {
        let reactor = reactor();
        reactor.look();
        Waker::from(Arc::clone(&reactor)).wake();
        assert_eq!(reactor.sleep(None, || false).unwrap(), 0);
        assert!(reactor.look());
    }

    #[test]
    fn a_wake_up_while_asleep_ends_the_sleep() {
        let reactor = reactor();
        reactor.look();
        let waker = Waker::from(Arc::clone(&reactor));
        // The closure runs when the state already says that the driver sleeps.
        reactor
            .sleep(None, || {
                waker.wake_by_ref();
                false
            })
            .unwrap();
        assert!(reactor.look());
    }

    #[test]
    fn wake_ups_of_other_threads_are_told_from_those_of_the_caller_that_drives() {
        let reactor = reactor();
        reactor.look();
        assert!(reactor.vacate());
        reactor.occupy(this_thread());
        let waker = Waker::from(Arc::clone(&reactor));
        waker.wake_by_ref();
        assert!(!reactor.was_foreign());
        thread::spawn(move || waker.wake()).join().unwrap();
        assert!(reactor.was_foreign());
        assert!(!reactor.vacate(), "the wake-up is still to be looked at");
    }
}
