//! Handles on a fake cluster, in one thread and without waiting: where nothing else can happen, the
//! clock moves on to the next timer.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use fluss_proto::frame::FrameReader;

use super::driver::{Driver, Net, RemoteRead, Socket};
use super::fluss::Fluss;
use super::shared::Clock;
use super::signal::{Signal, Sleep, lock};
use super::table::Table;
use crate::config::Config;
use crate::ids::{Address, ConnId, ServerId};
use crate::row::{DataType, Schema, TableDescriptor};
use crate::storage::ObjectPart;
use crate::testing::cluster::{ClusterOptions, FakeCluster};
use crate::time::{Duration, Instant};

/// A clock, whether this is the child of a fork, and how often a thread asked who it is.
#[derive(Clone, Default)]
struct TestClock(Arc<AtomicU64>, Arc<AtomicBool>, Arc<AtomicU64>);

impl Clock for TestClock {
    fn now(&self) -> Instant {
        Instant::from_micros(self.0.load(Ordering::Relaxed))
    }

    fn since_1970(&self) -> Option<Duration> {
        // As the servers have it.
        let epoch = u64::try_from(ClusterOptions::default().epoch_ms).ok()?;
        Some(Duration::from_millis(epoch) + (self.now() - Instant::ZERO))
    }

    fn process(&self) -> u32 {
        if self.1.load(Ordering::Relaxed) { 2 } else { 1 }
    }

    fn thread(&self) -> u64 {
        self.2.fetch_add(1, Ordering::SeqCst);
        thread_local!(static HERE: u8 = const { 0 });
        HERE.with(|here| std::ptr::from_ref(here).addr() as u64)
    }
}

/// When the servers stop: after so many bytes that they said, or that were said to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Never,
    /// They say no more. Connections stay, and new ones are accepted.
    Silent(u64),
    /// They say no more. Connections stay, and new ones hang while that goes on.
    Unreached(u64),
    /// They say no more. Connections end, and new ones are refused.
    Gone(u64),
    /// They take no more, so that writes never end, and answer what they took.
    Deaf(u64),
    /// What is said to them is taken and lost. Connections end, and new ones are refused.
    Lost(u64),
}

/// When servers stop, what they said so far, and what was said to them.
#[derive(Debug)]
struct Stop {
    cut: Cut,
    /// The one that stops, whose bytes alone count; None: all of them.
    server: Option<ServerId>,
    said: u64,
    told: u64,
}

/// One server's side of what is between it and the client.
#[derive(Clone)]
struct Wire {
    stop: Arc<Mutex<Stop>>,
    server: Option<ServerId>,
}

impl Wire {
    fn to(&self, server: ServerId) -> Self {
        Self { stop: Arc::clone(&self.stop), server: Some(server) }
    }

    /// What this server has to do with the end; None: nothing.
    fn stop(&self) -> Option<MutexGuard<'_, Stop>> {
        Some(lock(&self.stop)).filter(|stop| stop.server.is_none() || stop.server == self.server)
    }

    /// The bytes that still arrive, of these that a server says.
    fn pass(&self, bytes: &[u8]) -> usize {
        let Some(mut stop) = self.stop() else { return bytes.len() };
        let left = match stop.cut {
            Cut::Silent(at) | Cut::Unreached(at) | Cut::Gone(at) => at - stop.said,
            Cut::Never | Cut::Deaf(_) | Cut::Lost(_) => u64::MAX,
        };
        let count = left.min(bytes.len() as u64);
        stop.said += count;
        count as usize
    }

    /// The bytes that still arrive, of so many that a server is told.
    fn tell(&self, bytes: usize) -> usize {
        let Some(mut stop) = self.stop() else { return bytes };
        let left = match stop.cut {
            Cut::Deaf(at) | Cut::Lost(at) => at - stop.told,
            Cut::Never | Cut::Silent(_) | Cut::Unreached(_) | Cut::Gone(_) => u64::MAX,
        };
        let count = left.min(bytes as u64);
        stop.told += count;
        count as usize
    }

    fn is_silent(&self) -> bool {
        self.is_unreached() || self.stop().is_some_and(|stop| stop.cut == Cut::Silent(stop.said))
    }

    fn is_unreached(&self) -> bool {
        self.stop().is_some_and(|stop| stop.cut == Cut::Unreached(stop.said))
    }

    fn is_deaf(&self) -> bool {
        self.stop().is_some_and(|stop| stop.cut == Cut::Deaf(stop.told))
    }

    fn is_gone(&self) -> bool {
        self.stop().is_some_and(|stop| {
            stop.cut == Cut::Gone(stop.said) || stop.cut == Cut::Lost(stop.told)
        })
    }
}

struct TestNet {
    cluster: Arc<Mutex<FakeCluster>>,
    clock: TestClock,
    armed: Option<Instant>,
    wire: Wire,
    /// When slow reads from remote storage end.
    slow: BTreeSet<Instant>,
}

impl TestNet {
    /// The next thing that time brings about.
    fn next(&mut self) -> Option<Instant> {
        let now = self.clock.now();
        self.slow.retain(|at| *at > now);
        self.armed.into_iter().chain(self.slow.first().copied()).min()
    }
}

struct TestSocket {
    cluster: Arc<Mutex<FakeCluster>>,
    clock: TestClock,
    conn: ConnId,
    wire: Wire,
}

impl Net for TestNet {
    type Socket = TestSocket;

    fn connect(
        &mut self,
        address: Address,
    ) -> Pin<Box<dyn Future<Output = io::Result<TestSocket>> + Send>> {
        let (cluster, clock, wire) =
            (Arc::clone(&self.cluster), self.clock.clone(), self.wire.clone());
        // Whoever lets time pass polls the driver then.
        Box::pin(poll_fn(move |_| {
            let shared = Arc::clone(&cluster);
            let mut cluster = lock(&cluster);
            let server = cluster.servers().find(|s| cluster.address(*s) == Some(&address));
            let server = server.filter(|_| !address.host.ends_with(".invalid"));
            let reached = server.map(|server| wire.to(server)).filter(|wire| !wire.is_gone());
            if reached.as_ref().is_some_and(Wire::is_unreached) {
                return Poll::Pending;
            }
            let opened = reached.and_then(|wire| Some((cluster.open(wire.server?)?, wire)));
            let clock = clock.clone();
            let socket =
                opened.map(|(conn, wire)| TestSocket { cluster: shared, clock, conn, wire });
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            Poll::Ready(socket.ok_or_else(refused))
        }))
    }

    fn read_remote(&mut self, part: ObjectPart) -> RemoteRead {
        let (time, result) = lock(&self.cluster).read_object(&part);
        let (clock, at) = (self.clock.clone(), self.clock.now() + time);
        self.slow.insert(at);
        let mut result = Some(result);
        // Whoever lets time pass polls the driver then.
        Box::pin(poll_fn(move |_| match result.take_if(|_| at <= clock.now()) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }))
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn poll_timer(&mut self, _: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        self.armed = at;
        match at {
            Some(at) if at <= self.clock.now() => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

impl Socket for TestSocket {
    fn poll_read(
        &mut self,
        _: &mut Context<'_>,
        reader: &mut FrameReader,
    ) -> Poll<io::Result<usize>> {
        let mut cluster = lock(&self.cluster);
        if self.wire.is_silent() {
            return Poll::Pending;
        }
        if self.wire.is_gone() {
            return Poll::Ready(Ok(0));
        }
        match cluster.poll_output(self.conn) {
            Some(bytes) => {
                let heard = self.wire.pass(&bytes);
                let mut rest = &bytes[..heard];
                while !rest.is_empty() {
                    reader.read_from(&mut rest)?;
                }
                Poll::Ready(Ok(heard))
            }
            None if cluster.is_closed(self.conn) => Poll::Ready(Ok(0)),
            None => Poll::Pending,
        }
    }

    fn poll_write(
        &mut self,
        _: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let now = self.clock.now();
        let mut cluster = lock(&self.cluster);
        if self.wire.is_deaf() {
            return Poll::Pending;
        }
        let mut taken = 0;
        for piece in pieces {
            let told = self.wire.tell(piece.len());
            cluster.handle_bytes(self.conn, &piece[..told], now);
            taken += if self.wire.is_gone() { piece.len() } else { told };
        }
        Poll::Ready(Ok(taken))
    }
}

impl Drop for TestSocket {
    fn drop(&mut self) {
        lock(&self.cluster).close(self.conn);
    }
}

/// A client of a fake cluster.
pub(super) struct Stage {
    pub(super) fluss: Fluss,
    cluster: Arc<Mutex<FakeCluster>>,
    clock: TestClock,
    driver: Driver<TestNet>,
    wire: Wire,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self::with(ClusterOptions::default())
    }

    pub(super) fn with(options: ClusterOptions) -> Self {
        Self::configured(options, |config| config)
    }

    pub(super) fn configured(
        options: ClusterOptions,
        settings: impl FnOnce(Config) -> Config,
    ) -> Self {
        let cluster = FakeCluster::new(options);
        let address = cluster.address(ServerId::Coordinator).expect("there is one").clone();
        let cluster = Arc::new(Mutex::new(cluster));
        let clock = TestClock::default();
        let stop = Stop { cut: Cut::Never, server: None, said: 0, told: 0 };
        let wire = Wire { stop: Arc::new(Mutex::new(stop)), server: None };
        let net = TestNet {
            cluster: Arc::clone(&cluster),
            clock: clock.clone(),
            armed: None,
            wire: wire.clone(),
            slow: BTreeSet::new(),
        };
        let config = settings(Config::with_addresses(vec![address]));
        let made = Fluss::new(config, net, clock.clone(), Sleep);
        let (fluss, driver) = made.expect("sound settings");
        Self { fluss, cluster, clock, driver, wire }
    }

    /// Does something to the cluster.
    pub(super) fn cluster<R>(&self, act: impl FnOnce(&mut FakeCluster) -> R) -> R {
        act(&mut lock(&self.cluster))
    }

    /// Whether a text names a tablet server with its address.
    pub(super) fn names_a_server(&self, text: &str) -> bool {
        self.cluster(|cluster| {
            let named = |server: ServerId| {
                let address = cluster.address(server);
                address.is_some_and(|address| text.contains(&format!("{server} {address}")))
            };
            cluster.servers().any(named)
        })
    }

    /// Cuts the servers off; bytes count from now on.
    pub(super) fn cut(&mut self, cut: Cut) {
        *lock(&self.wire.stop) = Stop { cut, server: None, said: 0, told: 0 };
    }

    /// Cuts one server off, and leaves the others alone; its bytes count from now on.
    pub(super) fn cut_one(&mut self, server: ServerId, cut: Cut) {
        *lock(&self.wire.stop) = Stop { cut, server: Some(server), said: 0, told: 0 };
    }

    /// Bytes that arrived of those that the servers said, or the one of [`Stage::cut_one`].
    pub(super) fn said(&self) -> u64 {
        lock(&self.wire.stop).said
    }

    /// Bytes that arrived of those that were said to them.
    pub(super) fn told(&self) -> u64 {
        lock(&self.wire.stop).told
    }

    /// The time.
    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Runs a future to its end.
    pub(super) fn run<F: Future>(&mut self, future: F) -> F::Output {
        let signal = Arc::new(Signal::default());
        let waker = Waker::from(Arc::clone(&signal));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        for _ in 0..100_000 {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            let over = Pin::new(&mut self.driver).poll(&mut context).is_ready();
            if signal.take() {
                continue;
            }
            assert!(!over, "the driver ended before the future");
            self.wait();
        }
        panic!("the future comes to no end");
    }

    /// Polls a future once, without the driver.
    pub(super) fn poll<F: Future + Unpin>(&self, future: &mut F) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Lets the driver do all it can do now; true when it is over.
    pub(super) fn settle(&mut self) -> bool {
        let signal = Arc::new(Signal::default());
        let waker = Waker::from(Arc::clone(&signal));
        for _ in 0..10_000 {
            if Pin::new(&mut self.driver).poll(&mut Context::from_waker(&waker)).is_ready() {
                return true;
            }
            if !signal.take() {
                return false;
            }
        }
        panic!("the driver keeps itself busy");
    }

    /// Polls the driver once, which calls this one from now on.
    pub(super) fn poll_driver(&mut self, waker: &Waker) {
        let polled = Pin::new(&mut self.driver).poll(&mut Context::from_waker(waker));
        assert!(polled.is_pending(), "the driver ended");
    }

    /// How often a thread had or wanted a lane: it asks who it is when it has or awaits its lock.
    pub(super) fn lane_locks(&self) -> u64 {
        self.clock.2.load(Ordering::SeqCst)
    }

    /// Lets time pass for client and cluster, in steps no longer than the next timer.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.clock.now() + time;
        while self.clock.now() < until && !self.settle() {
            let mut cluster = lock(&self.cluster);
            let timers = [self.driver.net().next(), cluster.poll_timeout(), Some(until)];
            let next = timers.into_iter().flatten().min().unwrap_or(until);
            let now = next.max(self.clock.now() + Duration::from_micros(1)).min(until);
            self.clock.0.store(now.as_micros(), Ordering::Relaxed);
            cluster.handle_timeout(now);
        }
        self.settle();
    }

    /// Like [`Stage::pass`], but as on a runtime the driver runs only when `calls` is fired, as its
    /// wakers do, when its timer ends, or when a server did something.
    pub(super) fn pass_called(&mut self, time: Duration, calls: &Arc<Signal>) {
        let until = self.clock.now() + time;
        let waker = Waker::from(Arc::clone(calls));
        self.fluss.shared().register_driver(&waker);
        for _ in 0..10_000 {
            while calls.take() {
                self.poll_driver(&waker);
            }
            if self.clock.now() >= until {
                return;
            }
            let mut cluster = lock(&self.cluster);
            let (timer, servers) = (self.driver.net().next(), cluster.poll_timeout());
            let next = [timer, servers, Some(until)].into_iter().flatten().min().unwrap_or(until);
            let now = next.max(self.clock.now());
            self.clock.0.store(now.as_micros(), Ordering::Relaxed);
            cluster.handle_timeout(now);
            if [timer, servers].into_iter().flatten().any(|at| at <= now) {
                waker.wake_by_ref();
            }
        }
        panic!("the driver keeps itself busy");
    }

    /// From here on this is the child of a fork, or the parent again.
    pub(super) fn fork(&self, child: bool) {
        self.clock.1.store(child, Ordering::Relaxed);
    }

    /// Drops the driver; what is left is the handle.
    pub(super) fn into_fluss(self) -> Fluss {
        self.fluss.clone()
    }

    /// Nothing can happen now: lets time pass until something can.
    fn wait(&mut self) {
        let mut cluster = lock(&self.cluster);
        let next = [self.driver.net().next(), cluster.poll_timeout()].into_iter().flatten().min();
        let next = next.expect("the future waits for nothing that could happen");
        let now = next.max(self.clock.now());
        self.clock.0.store(now.as_micros(), Ordering::Relaxed);
        cluster.handle_timeout(now);
    }
}

/// The table `shop.events` of a new cluster: `id BIGINT, text STRING`.
pub(super) fn events(stage: &mut Stage, buckets: u32) -> Table {
    let schema = Schema::builder()
        .column("id", DataType::BIGINT)
        .column("text", DataType::STRING)
        .build()
        .expect("a sound schema");
    let mut table = TableDescriptor::new(schema);
    table.bucket_count = Some(buckets);
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    stage.run(admin.create_table("shop.events", &table, false)).expect("a table");
    let opening = stage.fluss.table("shop.events");
    stage.run(opening).expect("it is there")
}

/// The table `shop.users` of a new cluster: `id BIGINT` as its key, `name STRING`, one bucket.
pub(super) fn users(stage: &mut Stage) -> Table {
    let schema = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("name", DataType::STRING)
        .primary_key(["id"])
        .build()
        .expect("a sound schema");
    let mut table = TableDescriptor::new(schema);
    table.bucket_count = Some(1);
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    stage.run(admin.create_table("shop.users", &table, false)).expect("a table");
    let opening = stage.fluss.table("shop.users");
    stage.run(opening).expect("it is there")
}

/// Whatever was done to a log: the sequences of a writer id in it are 0, 1, 2 and so on, each once
/// and in order.
fn check_sequences(cluster: &FakeCluster) {
    let mut next = BTreeMap::new();
    for (bucket, writer, sequence) in cluster.stamps().filter(|(_, writer, _)| *writer != -1) {
        let expected = next.entry((bucket, writer)).or_insert(0);
        assert_eq!(sequence, *expected, "{bucket}: a sequence of writer id {writer}");
        *expected += 1;
    }
}

/// Whatever a test did: when its client is aborted, no byte of the budget is in use, no rule of
/// idempotence was broken, and no log has a batch twice or lacks one between others.
impl Drop for Stage {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.fork(false);
            self.fluss.shared().abort(self.clock.now(), "the test is over");
            let left = self.fluss.metrics();
            assert_eq!(left.memory_used, 0, "bytes of the budget at the end");
            let lookups = (left.lookups, left.lookup_waiters, left.lookup_memory_used);
            assert_eq!(lookups, (0, 0, 0), "lookups, and bytes of their budget, at the end");
            assert_eq!(left.counters.invariant_violations, 0, "commits of what was taken back");
            check_sequences(&lock(&self.cluster));
        }
    }
}
