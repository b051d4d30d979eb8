//! The driver, turn by turn.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant as StdInstant;

use fluss_core::time::{Duration, Instant};
use fluss_core::{Clock as _, Driver};

use crate::net::{EmbeddedNet, StdClock};
use crate::reactor::Reactor;

/// What a turn left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Turn {
    /// Nothing to do until the descriptor is readable or [`EmbeddedDriver::next_deadline`] comes.
    Idle,
    /// More to do than a turn should take: turn again soon. The descriptor is readable.
    More,
    /// The client is closed, and further turns do nothing.
    Closed,
}

/// Moves the bytes of one client, one [`turn`](EmbeddedDriver::turn) at a time, in a loop of the
/// caller's own.
///
/// On Linux and Android it has a descriptor (`AsFd`, `AsRawFd`) for `poll`, `epoll` and the like:
/// when it is readable, or [`EmbeddedDriver::next_deadline`] has come, call `turn` with a timeout
/// of zero. It becomes readable for whatever needs a turn: sockets, calls to handles on this or
/// other threads, resolved names. It says nothing until the first turn was made but that one is
/// due.
///
/// The thread that turns must not block in a `wait` on a handle, as nobody would turn then; use
/// [`EmbeddedDriver::block_on`] there. Other threads may.
///
/// Dropping it before its end aborts the client: rows without an outcome get a true one, waiting
/// callers an error.
#[derive(Debug)]
pub struct EmbeddedDriver {
    driver: Driver<EmbeddedNet>,
    reactor: Arc<Reactor>,
    waker: Waker,
    clock: StdClock,
    due: Option<Instant>,
    closed: bool,
}

impl EmbeddedDriver {
    pub(crate) fn new(driver: Driver<EmbeddedNet>, reactor: Arc<Reactor>, clock: StdClock) -> Self {
        let waker = Waker::from(Arc::clone(&reactor));
        Self { driver, reactor, waker, clock, due: None, closed: false }
    }

    /// Does what there is to do; if there is nothing, first waits for it, at most this long. None
    /// waits as long as it takes, zero not at all.
    ///
    /// # Errors
    /// What the system says when it cannot wait for sockets. A broken connection is no error here:
    /// the client connects again.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<Turn> {
        let turn = self.run(timeout, || false)?;
        if turn != Turn::Closed && !self.reactor.settle() {
            self.reactor.remind();
            return Ok(Turn::More);
        }
        Ok(turn)
    }

    /// When the next turn is due even if the descriptor stays silent. None: then none is.
    #[must_use]
    pub fn next_deadline(&self) -> Option<StdInstant> {
        if self.closed {
            return None;
        }
        if self.reactor.is_woken() {
            return Some(StdInstant::now());
        }
        self.clock.to_std(self.due?)
    }

    /// Turns until the future is ready, on this thread alone: for opening tables and the like
    /// before the loop runs, and for programs without any other thread.
    ///
    /// # Errors
    /// As [`EmbeddedDriver::turn`], and if the client is closed while the future waits for
    /// something else.
    pub fn block_on<F: Future>(&mut self, future: F) -> io::Result<F::Output> {
        let mut future = pin!(future);
        let waker = self.waker.clone();
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                // What the future left to do is done by the next turn, which is due.
                self.waker.wake_by_ref();
                return Ok(output);
            }
            if self.closed {
                return Err(io::Error::other("the client is closed and the future not ready"));
            }
            self.turn(None)?;
        }
    }

    /// How often the loop between sockets and client was entered.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.driver.turns()
    }

    /// A turn that also ends when `stop` holds; whoever makes it hold interrupts the reactor.
    pub(crate) fn run(
        &mut self,
        timeout: Option<Duration>,
        stop: impl FnOnce() -> bool,
    ) -> io::Result<Turn> {
        if self.closed || (self.reactor.look() | self.is_due()) && self.poll().is_ready() {
            return Ok(Turn::Closed);
        }
        let left = self.due.map(|at| at - self.clock.now());
        let timeout = match (timeout, left) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let events = self.reactor.sleep(timeout, stop)?;
        let news = self.reactor.look() | (events > 0) | self.is_due();
        if news && self.poll().is_ready() {
            return Ok(Turn::Closed);
        }
        Ok(if self.reactor.is_woken() { Turn::More } else { Turn::Idle })
    }

    fn is_due(&self) -> bool {
        self.due.is_some_and(|at| at <= self.clock.now())
    }

    fn poll(&mut self) -> Poll<()> {
        let polled = Pin::new(&mut self.driver).poll(&mut Context::from_waker(&self.waker));
        self.closed = polled.is_ready();
        self.due = self.driver.net().due;
        polled
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod descriptor {
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

    use super::EmbeddedDriver;

    impl AsFd for EmbeddedDriver {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.reactor.selector().as_fd()
        }
    }

    impl AsRawFd for EmbeddedDriver {
        fn as_raw_fd(&self) -> RawFd {
            self.as_fd().as_raw_fd()
        }
    }
}
