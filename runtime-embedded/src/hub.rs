//! Who drives a client whose callers block: a lone caller itself, otherwise the attendant.
//!
//! Handing an answer from thread to thread costs as much as half a round trip on loopback, so a
//! caller that is alone with the client takes the driver, sends its request, reads the answer and
//! lets go again. Where several callers block at the same time, a thread that serves all of them
//! with each system call is cheaper: the attendant, which also drives whenever nobody blocks. While
//! lone callers come one after the other it stands by, and it takes the driver back when none came
//! for [`GRACE`], or at once when somebody else needs it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Wake, Waker};
use std::thread;
use std::time::Instant as StdInstant;

use fluss_core::time::Duration;
use fluss_core::{Park, Signal};

use crate::driver::{EmbeddedDriver, Turn};
use crate::reactor::{Reactor, lock, this_thread};

/// How long the attendant leaves the driver to callers of which none has come.
const GRACE: Duration = Duration::from_millis(2);
/// How long the attendant keeps the driver after callers blocked at the same time.
const CROWD: Duration = Duration::from_millis(10);

/// Who drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    Free,
    Attendant,
    /// A blocked caller, as [`this_thread`], with the number of its waits, one within another.
    Caller {
        thread: usize,
        depth: u32,
    },
}

#[derive(Debug)]
struct Role {
    seat: Seat,
    /// Callers that sleep until somebody else brings their answer.
    blocked: Vec<Arc<Signal>>,
    /// Counts what callers did with the driver, so that the attendant sees whether they still do.
    uses: u64,
    /// The attendant sleeps until it is called.
    asleep: bool,
    crowded_until: Option<StdInstant>,
    ended: bool,
}

impl Role {
    fn is_crowded(&self) -> bool {
        self.crowded_until.is_some_and(|until| StdInstant::now() < until)
    }

    fn may_be_taken(&self) -> bool {
        self.seat == Seat::Free && !self.ended && self.blocked.is_empty() && !self.is_crowded()
    }

    fn is_mine(&self) -> bool {
        matches!(self.seat, Seat::Caller { thread, .. } if thread == this_thread())
    }
}

/// A driver that changes hands.
#[derive(Debug)]
pub(crate) struct Hub {
    reactor: Arc<Reactor>,
    role: Mutex<Role>,
    /// Locked by who has the seat only.
    driver: Mutex<Option<EmbeddedDriver>>,
    /// A lone caller asks the attendant for the driver.
    wanted: AtomicBool,
}

/// The hub as the client's way to wait.
#[derive(Debug)]
pub(crate) struct Seats(pub(crate) Arc<Hub>);

impl Hub {
    pub(crate) fn new(reactor: Arc<Reactor>) -> Arc<Self> {
        let role = Role {
            seat: Seat::Free,
            blocked: Vec::new(),
            uses: 0,
            asleep: false,
            crowded_until: None,
            ended: false,
        };
        Arc::new(Self {
            reactor,
            role: Mutex::new(role),
            driver: Mutex::new(None),
            wanted: AtomicBool::new(false),
        })
    }

    /// Hands over the driver and starts the attendant.
    pub(crate) fn start(self: &Arc<Self>, driver: EmbeddedDriver) -> io::Result<()> {
        *lock(&self.driver) = Some(driver);
        let hub = Arc::clone(self);
        match thread::Builder::new().name("fluss-driver".into()).spawn(move || hub.attend()) {
            Ok(attendant) => {
                self.reactor.set_attendant(attendant.thread().clone());
                Ok(())
            }
            Err(e) => {
                // The client refers to this hub and the driver to the client; this breaks the ring.
                self.finish();
                Err(e)
            }
        }
    }

    // ----- the attendant -----

    fn attend(&self) {
        let mut seen = None;
        loop {
            let mut role = lock(&self.role);
            if role.ended {
                return;
            }
            let unused = seen == Some(role.uses);
            seen = Some(role.uses);
            if role.seat == Seat::Free {
                if unused || self.reactor.is_woken() || !role.blocked.is_empty() {
                    role.seat = Seat::Attendant;
                    self.reactor.occupy(0);
                    drop(role);
                    self.serve();
                    // What was released for a caller is left to it for a while.
                    seen = None;
                    continue;
                }
            } else if unused {
                // A caller waits for long; it will call when it lets go.
                role.asleep = true;
                drop(role);
                thread::park();
                continue;
            }
            drop(role);
            thread::park_timeout(GRACE);
        }
    }

    /// Drives until a lone caller may do it, or the client is closed.
    fn serve(&self) {
        loop {
            let turn = match lock(&self.driver).as_mut() {
                Some(driver) => driver.run(None, || self.wanted.load(Ordering::SeqCst)).ok(),
                None => None,
            };
            if turn.is_none_or(|turn| turn == Turn::Closed) {
                return self.finish();
            }
            if self.wanted.load(Ordering::SeqCst) && self.release() {
                return;
            }
        }
    }

    /// Leaves the driver to the lone caller that asked for it. False if that does not fit now.
    fn release(&self) -> bool {
        let mut role = lock(&self.role);
        if role.blocked.len() != 1 || role.is_crowded() {
            self.wanted.store(false, Ordering::SeqCst);
            return false;
        }
        if !self.reactor.vacate() {
            // Another turn first.
            return false;
        }
        self.wanted.store(false, Ordering::SeqCst);
        role.seat = Seat::Free;
        role.uses += 1;
        let caller = role.blocked.pop();
        drop(role);
        caller.inspect(Wake::wake_by_ref);
        true
    }

    // ----- callers -----

    fn take(&self, role: &mut Role) {
        let thread = this_thread();
        role.seat = Seat::Caller { thread, depth: 1 };
        role.uses += 1;
        self.reactor.occupy(thread);
    }

    /// Drives until the signal is set or the time is over.
    fn drive(&self, signal: &Signal, limit: Option<Duration>) -> bool {
        let until = limit.and_then(|limit| StdInstant::now().checked_add(limit));
        loop {
            if signal.take() {
                return true;
            }
            let left = until.map(|until| until.saturating_duration_since(StdInstant::now()));
            if left == Some(Duration::ZERO) {
                return false;
            }
            let turn = match lock(&self.driver).as_mut() {
                Some(driver) => driver.run(left, || signal.is_set()).ok(),
                None => None,
            };
            if turn.is_none_or(|turn| turn == Turn::Closed) {
                self.finish();
                return signal.wait(left);
            }
        }
    }

    /// Sleeps until somebody else brought the answer, or leaves the driver to this caller.
    fn sleep(&self, mut role: MutexGuard<'_, Role>, signal: &Arc<Signal>) {
        role.blocked.push(Arc::clone(signal));
        if role.blocked.len() > 1 || matches!(role.seat, Seat::Caller { .. }) {
            role.crowded_until = Some(StdInstant::now() + CROWD);
        }
        match role.seat {
            Seat::Attendant if !role.is_crowded() => {
                self.wanted.store(true, Ordering::SeqCst);
                self.reactor.interrupt();
            }
            Seat::Free => self.reactor.call_attendant(),
            Seat::Attendant | Seat::Caller { .. } => {}
        }
    }

    /// The client is closed, or the system refuses to wait: nobody will drive any more. Dropping
    /// the driver gives everybody who still waits an end.
    fn finish(&self) {
        lock(&self.role).ended = true;
        let driver = lock(&self.driver).take();
        drop(driver);
        self.reactor.call_attendant();
    }
}

impl Park for Seats {
    fn begin(&self, signal: &Arc<Signal>) -> Waker {
        let hub = &self.0;
        let mut role = lock(&hub.role);
        if let Seat::Caller { thread, depth } = &mut role.seat
            && *thread == this_thread()
        {
            *depth += 1;
        } else if role.may_be_taken() {
            // Before the request is handed in, so that it wakes nobody.
            hub.take(&mut role);
        }
        Waker::from(Arc::new(Caller {
            signal: Arc::clone(signal),
            thread: this_thread(),
            reactor: Arc::clone(&hub.reactor),
        }))
    }

    fn park(&self, signal: &Arc<Signal>, limit: Option<Duration>) -> bool {
        let hub = &self.0;
        let mut role = lock(&hub.role);
        if role.may_be_taken() {
            hub.take(&mut role);
        }
        if role.is_mine() {
            drop(role);
            return hub.drive(signal, limit);
        }
        if !role.ended {
            hub.sleep(role, signal);
        } else {
            drop(role);
        }
        let set = signal.wait(limit);
        lock(&hub.role).blocked.retain(|other| !Arc::ptr_eq(other, signal));
        set
    }

    fn end(&self) {
        let hub = &self.0;
        let mut role = lock(&hub.role);
        match &mut role.seat {
            Seat::Caller { thread, depth } if *thread == this_thread() => *depth -= 1,
            _ => return,
        }
        if !matches!(role.seat, Seat::Caller { depth: 0, .. }) {
            return;
        }
        role.seat = Seat::Free;
        role.uses += 1;
        let foreign = hub.reactor.was_foreign();
        let idle = hub.reactor.vacate();
        let asleep = std::mem::take(&mut role.asleep);
        let needed = foreign || !idle || asleep || role.ended || !role.blocked.is_empty();
        drop(role);
        if needed {
            hub.reactor.call_attendant();
        }
    }
}

/// Wakes a blocked caller, also while it sleeps in the selector.
struct Caller {
    signal: Arc<Signal>,
    thread: usize,
    reactor: Arc<Reactor>,
}

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.signal.wake_by_ref();
        if self.reactor.is_driven_by(self.thread) {
            self.reactor.interrupt();
        }
    }
}

#[cfg(test)]
mod tests {
    use fluss_core::Fluss;
    use fluss_core::config::Config;
    use fluss_core::testing::cluster::{ClusterOptions, FakeCluster};
    use fluss_core::testing::loopback::{Loopback, LoopbackOptions};

    use super::*;

    /// A client whose hub has no attendant.
    fn unattended(fake: &Loopback) -> (Fluss, Arc<Hub>) {
        let reactor = Arc::new(Reactor::new().unwrap());
        let hub = Hub::new(Arc::clone(&reactor));
        let config = Config::new(&fake.bootstrap()).unwrap();
        let (fluss, driver) = crate::build(config, reactor, Seats(Arc::clone(&hub))).unwrap();
        *lock(&hub.driver) = Some(driver);
        (fluss, hub)
    }

    fn fake() -> Loopback {
        let cluster = FakeCluster::new(ClusterOptions::default());
        Loopback::start(cluster, LoopbackOptions::default()).unwrap()
    }

    #[test]
    fn a_lone_caller_needs_no_other_thread() {
        let fake = fake();
        let (fluss, hub) = unattended(&fake);
        for _ in 0..3 {
            fluss.ready().wait().unwrap();
            assert_eq!(lock(&hub.role).seat, Seat::Free);
        }
        hub.finish();
    }

    #[test]
    fn two_callers_at_once_call_the_attendant_and_a_lone_one_gets_the_driver_back() {
        let fake = fake();
        let (fluss, hub) = unattended(&fake);
        // Another caller has the seat and drives nothing; this one can only sleep.
        let signal = Arc::new(Signal::default());
        let seats = Seats(Arc::clone(&hub));
        let waker = seats.begin(&signal);
        assert!(lock(&hub.role).is_mine());
        let other = thread::spawn({
            let fluss = fluss.clone();
            move || fluss.ready().wait()
        });
        while lock(&hub.role).blocked.is_empty() {
            thread::yield_now();
        }
        assert!(lock(&hub.role).is_crowded());
        let driver = lock(&hub.driver).take().expect("it was never taken");
        hub.start(driver).unwrap();
        seats.end();
        other.join().unwrap().unwrap();
        drop(waker);
        // The crowd is gone after a while, and lone callers drive again.
        while lock(&hub.role).seat != Seat::Free {
            fluss.ready().wait().unwrap();
        }
        assert!(!lock(&hub.role).is_crowded());
    }

    #[test]
    fn a_signal_set_by_another_thread_wakes_the_caller_that_drives() {
        let fake = fake();
        let (_fluss, hub) = unattended(&fake);
        let signal = Arc::new(Signal::default());
        let seats = Seats(Arc::clone(&hub));
        let waker = seats.begin(&signal);
        let other = thread::spawn(move || waker.wake());
        // Nothing else would end this.
        assert!(seats.park(&signal, None));
        other.join().unwrap();
        assert!(!seats.park(&signal, Some(Duration::from_millis(1))));
        seats.end();
        hub.finish();
    }
}
