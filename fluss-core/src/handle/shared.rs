//! The client behind one lock, and who is waiting for what.
//!
//! Locks are taken in one order: a lane, then the core, then a batch's cell or the answers that are
//! kept. Nothing is encoded or compressed under the core's lock, and wakers fire after it is
//! released.

mod asking;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::Waker;

use fluss_proto::segments::Segments;

use super::answers::{Kept, Runs};
use super::cell::BatchCell;
use super::dead_letter::Delivery;
use super::signal::{Park, block_on, lock};
use crate::by_id::ById;
use crate::client::Client;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::ids::{BatchId, CommandId, ConnId, LaneId, ScannerKey};
use crate::output::{Action, CommandAnswer, Event, NoteLevel};
use crate::time::{Duration, Instant};
use crate::writer::WaiterId;

/// What the client's lines in the log are told apart by.
const LOG_TARGET: &str = "fluss";

/// When a busy lane is asked again to seal a batch.
const BUSY_LANE: Duration = Duration::from_millis(1);

/// What the adapter knows of the world: the time on the client's line, and the process.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Instant;

    /// How long it is since 1970, where that is known; see
    /// [`Client::handle_unix_time`](crate::Client::handle_unix_time).
    fn since_1970(&self) -> Option<Duration> {
        None
    }

    /// The number of the process that asks, as of this moment. It changes only in the child of a
    /// fork, where the client is not to be touched: its threads are gone, its locks may be held by
    /// one of them, its sockets are the parent's.
    fn process(&self) -> u32;

    /// The thread that asks, by a number above 0 that no other living thread has. Handles tell by
    /// it that an application's code, which they run while they are locked, calls them again. Asked
    /// for with every row.
    fn thread(&self) -> u64;
}

/// Someone who holds open batches and can seal one when asked.
pub(crate) trait SealOnDemand: Send + Sync {
    /// Seals those of the batches that are still open here. False: the holder is busy, and does it
    /// when it is done.
    fn seal(&self, batches: &[BatchId]) -> bool;

    /// Deals the rows of a sealed batch out anew, among this number of buckets.
    fn reroute(&self, batch: BatchId, buckets: i32);
}

/// What the driver has heard of what was left for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// It has come since.
    Heard,
    /// Nobody has called it.
    Unsaid,
    /// It was called, and has not come yet.
    Made,
}

/// What the lock guards.
pub(crate) struct Core {
    pub(crate) client: Client,
    cells: HashMap<BatchId, Arc<BatchCell>>,
    holders: HashMap<LaneId, Weak<dyn SealOnDemand>>,
    /// Commands without an answer, and who waits for it.
    pub(super) commands: ById<Option<Waker>>,
    /// Answers that are to be handed over, and errors instead of some.
    pub(super) finished: Vec<(CommandId, CommandAnswer)>,
    pub(super) failed: Vec<(CommandId, Error)>,
    pub(super) kept: Arc<Mutex<Kept>>,
    /// Whoever takes an answer knows that lookups stand in line.
    pub(super) told_of_line: bool,
    pub(super) runs: Runs,
    /// Answers of runs that were taken since one came.
    pub(super) run_streak: usize,
    memory: HashMap<WaiterId, Option<Waker>>,
    scanners: HashMap<ScannerKey, Waker>,
    to_seal: Vec<(BatchId, LaneId)>,
    to_reroute: Vec<(BatchId, LaneId, i32)>,
    /// Batches whose lane was busy when it was asked, and when it is asked again.
    busy: Vec<(BatchId, LaneId)>,
    ask_again: Option<Instant>,
    /// What the driver's timer is set to.
    armed: Option<Instant>,
    call: Call,
    aborted: Option<&'static str>,
}

/// One client with everything its handles share.
pub(crate) struct Shared {
    core: Mutex<Core>,
    /// The core's.
    kept: Arc<Mutex<Kept>>,
    /// The process that made it.
    process: u32,
    /// What stands in for the core in the child of a fork: a client that is closed.
    stand_in: OnceLock<Mutex<Core>>,
    clock: Box<dyn Clock>,
    park: Box<dyn Park>,
    driver: Mutex<Option<Waker>>,
    turns: AtomicU64,
    config: Config,
    partial_writes: AtomicU64,
    max_frame_bytes: usize,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Wakers gathered under the lock, fired when dropped after it.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    pub(super) wakers: Vec<Waker>,
    /// Rows to give back: that is code of the application, too.
    pub(super) deliveries: Vec<Delivery>,
    driver: bool,
    /// Lines for the log: whoever receives them may do anything, so not under the lock.
    notes: Vec<(NoteLevel, Arc<str>)>,
}

impl Wake {
    /// Whether there is nobody to wake.
    pub(super) fn is_empty(&self) -> bool {
        !self.driver && self.wakes_nobody_else()
    }

    /// Whether no code of the application runs before the driver is woken.
    fn wakes_nobody_else(&self) -> bool {
        self.wakers.is_empty() && self.notes.is_empty() && self.deliveries.is_empty()
    }

    /// Writes the log and wakes those who wait, all but the driver.
    fn tell(self) {
        for (level, text) in self.notes {
            let level = match level {
                NoteLevel::Debug => log::Level::Debug,
                NoteLevel::Info => log::Level::Info,
                NoteLevel::Warn => log::Level::Warn,
            };
            log::log!(target: LOG_TARGET, level, "{text}");
        }
        // Before those who wait go on: they may count on it.
        self.deliveries.into_iter().for_each(Delivery::make);
        self.wakers.into_iter().for_each(Waker::wake);
    }
}

impl Shared {
    pub(crate) fn new(client: Client, clock: Box<dyn Clock>, park: Box<dyn Park>) -> Self {
        let max_frame_bytes = client.config().max_frame_bytes;
        let config = client.config().clone();
        let core = Core::new(client);
        Self {
            stand_in: OnceLock::new(),
            process: clock.process(),
            config,
            kept: Arc::clone(&core.kept),
            core: Mutex::new(core),
            clock,
            park,
            driver: Mutex::new(None),
            turns: AtomicU64::new(0),
            partial_writes: AtomicU64::new(0),
            max_frame_bytes,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(crate) fn since_1970(&self) -> Option<Duration> {
        self.clock.since_1970()
    }

    /// An error in the child of a fork, where this client must not be used.
    pub(crate) fn of_this_process(&self) -> Result<()> {
        if self.is_foreign() { Err(Error::Forked { owner: self.process }) } else { Ok(()) }
    }

    /// Whether this is the child of a fork. It costs a system call: asked for each batch and each
    /// call, not for each row.
    pub(crate) fn is_foreign(&self) -> bool {
        self.clock.process() != self.process
    }

    /// See [`Clock::thread`].
    #[inline]
    pub(super) fn thread(&self) -> u64 {
        self.clock.thread()
    }

    /// Why a handle is closed, in the child of a fork.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match error {
            Error::Closed(_) => self.of_this_process().err().unwrap_or(error),
            other => other,
        }
    }

    /// Runs a future to its end on this thread.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> Result<F::Output> {
        self.of_this_process()?;
        let output = block_on(&*self.park, &*self.clock, future, None);
        output.ok_or(Error::Closed("client"))
    }

    /// Runs a future on this thread for at most this long; None if that was not enough.
    pub(crate) fn block_for<F: Future>(
        &self,
        future: F,
        limit: Duration,
    ) -> Result<Option<F::Output>> {
        self.of_this_process()?;
        Ok(block_on(&*self.park, &*self.clock, future, Some(limit)))
    }

    /// Runs a verb on the client and passes on what it brought about.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Core, Instant) -> R) -> R {
        let mut wake = Wake::default();
        let result = self.with_later(&mut wake, act);
        self.fire(wake);
        result
    }

    /// Has the driver look for something to do.
    pub(crate) fn call_driver(&self) {
        let driver = lock(&self.driver).clone();
        if let Some(waker) = driver {
            waker.wake();
        }
    }

    /// Like [`Shared::with`], for callers that hold a lock: whom to wake is gathered, and
    /// [`Shared::fire`] is called when the lock is released.
    pub(super) fn with_later<R>(
        &self,
        wake: &mut Wake,
        act: impl FnOnce(&mut Core, Instant) -> R,
    ) -> R {
        self.with_core(wake, |core, now, wake| {
            let result = act(core, now);
            core.pass_on(now, wake);
            result
        })
    }

    fn with_core<R>(
        &self,
        wake: &mut Wake,
        act: impl FnOnce(&mut Core, Instant, &mut Wake) -> R,
    ) -> R {
        if self.is_foreign() {
            // Nobody is woken: there is no driver in this process.
            let now = self.clock.now();
            return act(&mut lock(self.stand_in()), now, &mut Wake::default());
        }
        self.with_own_core(wake, act)
    }

    /// [`Shared::with_core`] for callers that know that this is no child of a fork.
    fn with_own_core<R>(
        &self,
        wake: &mut Wake,
        act: impl FnOnce(&mut Core, Instant, &mut Wake) -> R,
    ) -> R {
        let now = self.clock.now();
        act(&mut lock(&self.core), now, wake)
    }

    #[cold]
    fn stand_in(&self) -> &Mutex<Core> {
        self.stand_in.get_or_init(|| Mutex::new(Core::new(Client::ended(self.config.clone()))))
    }

    pub(super) fn fire(&self, wake: Wake) {
        let to_driver = wake.driver;
        wake.tell();
        if to_driver {
            self.call_driver();
        }
    }

    // ----- the driver's side -----

    /// An input from the driver, which looks for outputs by itself afterwards.
    pub(crate) fn input(&self, now: Instant, act: impl FnOnce(&mut Client)) {
        let mut wake = Wake::default();
        {
            let mut core = lock(&self.core);
            act(&mut core.client);
            core.pass_on(now, &mut wake);
        }
        wake.tell();
    }

    pub(crate) fn poll_action(&self) -> Option<Action> {
        lock(&self.core).client.poll_action()
    }

    pub(crate) fn poll_transmit(&self, conn: ConnId, now: Instant) -> Option<Segments> {
        let mut wake = Wake::default();
        let segments = {
            let mut core = lock(&self.core);
            let segments = core.client.poll_transmit(conn, now);
            core.pass_on(now, &mut wake);
            segments
        };
        wake.tell();
        segments
    }

    /// The deadline to sleep until; remembered, so that a handle that brings an earlier one knows
    /// that it must wake the driver.
    pub(crate) fn arm_timer(&self) -> Option<Instant> {
        let mut core = lock(&self.core);
        let due = core.client.poll_timeout().map(|(at, _)| at);
        core.armed = due.into_iter().chain(core.ask_again).min();
        core.armed
    }

    /// The driver has come: it seals the batches that are due. The holder of a lane that is busy
    /// this moment seals them when it is done; should it have missed the wish, it is asked again
    /// after a moment.
    pub(crate) fn seal_what_is_due(&self) -> bool {
        let now = self.clock.now();
        let due: Vec<(LaneId, Arc<dyn SealOnDemand>, Vec<BatchId>)> = {
            let mut core = lock(&self.core);
            core.call = Call::Heard;
            let mut due = std::mem::take(&mut core.to_seal);
            if core.ask_again.is_some_and(|at| at <= now) {
                core.ask_again = None;
                due.append(&mut core.busy);
            }
            let mut lanes: BTreeMap<LaneId, Vec<BatchId>> = BTreeMap::new();
            for (batch, lane) in due {
                lanes.entry(lane).or_default().push(batch);
            }
            let holder = |lane| core.holders.get(&lane).and_then(Weak::upgrade);
            lanes.into_iter().filter_map(|(lane, b)| Some((lane, holder(lane)?, b))).collect()
        };
        let mut moved = false;
        for (lane, holder, batches) in due {
            if holder.seal(&batches) {
                moved = true;
            } else {
                let mut core = lock(&self.core);
                core.busy.extend(batches.into_iter().map(|batch| (batch, lane)));
                core.ask_again = Some(now + BUSY_LANE);
            }
        }
        moved
    }

    /// Has the batches dealt out anew whose rows are on their way to other buckets than they belong
    /// into; true if there were any.
    pub(crate) fn reroute_what_is_due(&self) -> bool {
        let due = std::mem::take(&mut lock(&self.core).to_reroute);
        let moved = !due.is_empty();
        for (batch, lane, buckets) in due {
            let holder = lock(&self.core).holders.get(&lane).and_then(Weak::upgrade);
            match holder {
                Some(holder) => holder.reroute(batch, buckets),
                None => drop(
                    self.with(|core, now| core.client.reroute_batch(batch, buckets, None, now)),
                ),
            }
        }
        moved
    }

    pub(crate) fn register_driver(&self, waker: &Waker) {
        let mut driver = lock(&self.driver);
        if !driver.as_ref().is_some_and(|w| w.will_wake(waker)) {
            *driver = Some(waker.clone());
        }
    }

    pub(crate) fn count_turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    pub(crate) fn count_partial_write(&self) {
        self.partial_writes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn partial_writes(&self) -> u64 {
        self.partial_writes.load(Ordering::Relaxed)
    }

    pub(crate) fn max_frame_bytes(&self) -> usize {
        self.max_frame_bytes
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.core).client.is_closed()
    }

    /// Whether the driver has something to do at once.
    pub(crate) fn has_work(&self) -> bool {
        let core = lock(&self.core);
        core.client.has_output() || !core.to_seal.is_empty()
    }

    pub(crate) fn has_output(&self) -> bool {
        lock(&self.core).client.has_output()
    }

    /// Ends everything now. Rows that are still encoded nowhere but in a lane count too.
    pub(crate) fn abort(&self, now: Instant, why: &'static str) {
        if self.is_foreign() {
            return;
        }
        let mut wake = Wake { driver: true, ..Wake::default() };
        {
            let mut core = lock(&self.core);
            if core.client.is_closed() {
                return;
            }
            let rows: u64 = core.cells.values().map(|c| u64::from(c.rows())).sum();
            let batches = core.client.abort(now);
            core.aborted = Some(why);
            if batches > 0 {
                let text = format!("{why}: {batches} batches with {rows} rows had no outcome yet");
                wake.notes.push((NoteLevel::Warn, text.into()));
            }
            core.pass_on(now, &mut wake);
        }
        self.fire(wake);
    }
}

impl Core {
    fn new(client: Client) -> Self {
        Self {
            client,
            cells: HashMap::new(),
            holders: HashMap::new(),
            commands: ById::default(),
            finished: Vec::new(),
            failed: Vec::new(),
            kept: Arc::default(),
            told_of_line: false,
            runs: Runs::new(),
            run_streak: 0,
            memory: HashMap::new(),
            scanners: HashMap::new(),
            to_seal: Vec::new(),
            to_reroute: Vec::new(),
            busy: Vec::new(),
            ask_again: None,
            armed: None,
            call: Call::Heard,
            aborted: None,
        }
    }

    /// Registers who gets the outcome of a batch.
    pub(crate) fn watch_batch(&mut self, batch: BatchId, cell: Arc<BatchCell>) {
        self.cells.insert(batch, cell);
    }

    pub(crate) fn forget_batch(&mut self, batch: BatchId) {
        self.cells.remove(&batch);
    }

    /// Takes the place of a batch's outcome away, if that is to be.
    pub(crate) fn take_cell_if(&mut self, batch: BatchId, take: bool) -> Option<Arc<BatchCell>> {
        if take { self.cells.remove(&batch) } else { None }
    }

    pub(crate) fn add_holder(&mut self, lane: LaneId, holder: Weak<dyn SealOnDemand>) {
        self.holders.insert(lane, holder);
    }

    pub(crate) fn remove_holder(&mut self, lane: LaneId) {
        self.holders.remove(&lane);
    }

    /// Registers for the grant of memory; true if it was granted already.
    pub(crate) fn poll_memory(&mut self, waiter: WaiterId, waker: &Waker) -> bool {
        match self.memory.get_mut(&waiter) {
            Some(slot) => {
                replace_waker(slot, waker);
                false
            }
            None => true,
        }
    }

    pub(crate) fn watch_memory(&mut self, waiter: WaiterId) {
        self.memory.insert(waiter, None);
    }

    pub(crate) fn drop_memory(&mut self, waiter: WaiterId, now: Instant) {
        self.memory.remove(&waiter);
        self.client.cancel_wait(waiter, now);
    }

    pub(crate) fn watch_scanner(&mut self, scanner: ScannerKey, waker: &Waker) {
        self.scanners.insert(scanner, waker.clone());
    }

    pub(crate) fn drop_scanner(&mut self, scanner: ScannerKey) {
        self.scanners.remove(&scanner);
    }

    /// Turns events into outcomes, and notes whether the driver has something to do.
    fn pass_on(&mut self, now: Instant, wake: &mut Wake) {
        loop {
            self.finish_found(wake);
            while let Some(event) = self.client.poll_event() {
                self.on_event(event, wake);
            }
            self.hand_over();
            if !self.client.has_due_lookups() {
                break;
            }
            self.client.serve_lookups(now);
        }
        wake.driver |= self.client.has_output() || !self.to_seal.is_empty();
        if let Some((at, _)) = self.client.poll_timeout() {
            wake.driver |= self.armed.is_none_or(|armed| at < armed);
        }
    }

    fn on_event(&mut self, event: Event, wake: &mut Wake) {
        match event {
            Event::Seal { batch, lane } => self.to_seal.push((batch, lane)),
            Event::Reroute { batch, lane, buckets } => {
                self.to_reroute.push((batch, lane, buckets));
                wake.driver = true;
            }
            Event::BatchDone { batch, outcome } => {
                if let Some(cell) = self.cells.remove(&batch) {
                    cell.complete(outcome, wake);
                }
            }
            Event::MemoryGranted { waiter } => {
                wake.wakers.extend(self.memory.remove(&waiter).flatten());
            }
            Event::FlushDone { command } => {
                self.finish_command(command, Ok(CommandAnswer::Done), wake);
            }
            Event::CommandDone { command, result } => self.finish_command(command, result, wake),
            Event::ScanReady { scanner } => wake.wakers.extend(self.scanners.remove(&scanner)),
            Event::Closed => {
                wake.driver = true;
                self.end_all_waits(wake);
            }
            Event::Note { level, text } => wake.notes.push((level, text)),
        }
    }

    /// The client is closed: whoever waits looks again and finds that out.
    fn end_all_waits(&mut self, wake: &mut Wake) {
        let memory = std::mem::take(&mut self.memory);
        wake.wakers.extend(memory.into_values().flatten());
        let scanners = std::mem::take(&mut self.scanners);
        wake.wakers.extend(scanners.into_values());
        self.end_commands(wake);
    }
}

pub(super) fn replace_waker(slot: &mut Option<Waker>, waker: &Waker) {
    if !slot.as_ref().is_some_and(|w| w.will_wake(waker)) {
        *slot = Some(waker.clone());
    }
}
