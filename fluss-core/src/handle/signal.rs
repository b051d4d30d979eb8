//! Waiting without a runtime: a waker that a blocked caller sleeps on.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Wake, Waker};

use super::shared::Clock;
use crate::time::Duration;

/// Locks even if another thread panicked while it held the lock: what is guarded here is changed in
/// single steps, so it is whole.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Like [`lock`], but None where the lock is never free again: in the child of a fork, if a thread
/// that is not there any more had it.
pub(crate) fn lock_in<'a, T: ?Sized>(
    mutex: &'a Mutex<T>,
    is_child: impl FnOnce() -> bool,
) -> Option<MutexGuard<'a, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => (!is_child()).then(|| lock(mutex)),
    }
}

/// A flag that can be waited for; waking sets it.
#[derive(Debug, Default)]
pub struct Signal {
    fired: Mutex<Fired>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Fired {
    set: bool,
    /// Threads that sleep until it is set. To call one takes a system call, also where none is:
    /// who drives the client himself sets it without.
    asleep: u32,
}

impl Signal {
    /// Whether it was set since the last [`Signal::take`].
    #[must_use]
    pub fn is_set(&self) -> bool {
        lock(&self.fired).set
    }

    /// Resets it and tells whether it was set.
    pub fn take(&self) -> bool {
        std::mem::take(&mut lock(&self.fired).set)
    }

    /// Blocks until it is set, at most this long, and resets it. False if the time passed.
    pub fn wait(&self, limit: Option<Duration>) -> bool {
        let mut guard = lock(&self.fired);
        guard.asleep += 1;
        let mut guard = match limit {
            None => self
                .changed
                .wait_while(guard, |fired| !fired.set)
                .unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                self.changed
                    .wait_timeout_while(guard, limit, |fired| !fired.set)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        guard.asleep -= 1;
        std::mem::take(&mut guard.set)
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let is_awaited = {
            let mut fired = lock(&self.fired);
            fired.set = true;
            fired.asleep > 0
        };
        if is_awaited {
            self.changed.notify_one();
        }
    }
}

/// How a blocked caller passes the time; adapters with a loop of their own drive it meanwhile.
///
/// One wait is `begin`, any number of `park`, and `end`, all on the same thread. Waits may be
/// nested: what is waited for can run code of the application, which may wait again.
pub trait Park: Send + Sync {
    /// A caller is about to look at what it may have to wait for, or to start it. Answers the waker
    /// to look with, which sets the signal.
    fn begin(&self, signal: &Arc<Signal>) -> Waker {
        Waker::from(Arc::clone(signal))
    }

    /// Returns when the signal is set (and resets it), or a little after `limit` passed: then
    /// false. May return true early.
    fn park(&self, signal: &Arc<Signal>, limit: Option<Duration>) -> bool;

    /// The wait is over, or was given up.
    fn end(&self) {}
}

/// Ends a wait, also one whose future panics.
struct Ending<'a>(&'a dyn Park);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Sleeps on the signal; somebody else drives the client.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sleep;

impl Park for Sleep {
    fn park(&self, signal: &Arc<Signal>, limit: Option<Duration>) -> bool {
        signal.wait(limit)
    }
}

/// Runs a future to its end on this thread. None: `limit` passed, however often it was woken.
pub(crate) fn block_on<F: Future>(
    park: &dyn Park,
    clock: &dyn Clock,
    future: F,
    limit: Option<Duration>,
) -> Option<F::Output> {
    let signal = Arc::new(Signal::default());
    let waker = park.begin(&signal);
    let _ending = Ending(park);
    let until = limit.map(|limit| clock.now() + limit);
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = until.map(|until| until.saturating_since(clock.now()));
        if left.is_some_and(|left| left.is_zero()) {
            return None;
        }
        park.park(&signal, left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::time::Instant;

    /// Time that passes in steps of a millisecond, one for each wait.
    #[derive(Default)]
    struct Steps(AtomicU64);

    impl Clock for Steps {
        fn now(&self) -> Instant {
            Instant::from_millis(self.0.load(Ordering::Relaxed))
        }

        fn process(&self) -> u32 {
            1
        }

        fn thread(&self) -> u64 {
            1
        }
    }

    impl Park for &Steps {
        fn park(&self, _: &Arc<Signal>, limit: Option<Duration>) -> bool {
            assert!(limit.is_some_and(|limit| limit <= Duration::from_millis(10)), "{limit:?}");
            let waits = self.0.fetch_add(1, Ordering::Relaxed);
            assert!(waits < 10, "it waits on");
            // As if somebody had woken it for nothing.
            true
        }
    }

    #[test]
    fn a_wait_with_a_limit_ends_in_time_however_often_it_is_woken_for_nothing() {
        let steps = Steps::default();
        let never = std::future::pending::<()>();
        let waited = block_on(&&steps, &steps, never, Some(Duration::from_millis(10)));
        assert_eq!((waited, steps.0.load(Ordering::Relaxed)), (None, 10));
    }

    #[test]
    fn a_wake_before_the_wait_is_not_lost() {
        let signal = Arc::new(Signal::default());
        Waker::from(Arc::clone(&signal)).wake();
        assert!(signal.wait(None));
        assert!(!signal.is_set());
    }
}
