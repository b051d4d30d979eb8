//! The fake cluster behind real TCP ports of the loopback interface.
//!
//! The one file of this crate that names sockets, threads, a clock and locks. Each server has a
//! port and a thread that accepts; each connection a thread that reads and answers, and one that
//! writes what others cause (long polls, delayed answers) or what the client is slow to take.
//!
//! ```
//! use fluss_core::testing::cluster::{ClusterOptions, FakeCluster};
//! use fluss_core::testing::loopback::{Loopback, LoopbackOptions};
//!
//! let cluster = FakeCluster::new(ClusterOptions::default());
//! let fake = Loopback::start(cluster, LoopbackOptions::default())?;
//! assert!(fake.bootstrap().starts_with("127.0.0.1:"));
//! assert_eq!(fake.with(|cluster| cluster.rows_appended()), 0);
//! # Ok::<(), std::io::Error>(())
//! ```

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::cluster::FakeCluster;
use super::framing::{Backlog, FrameReader, Next, copy, is_slow};
use crate::ids::{Address, ConnId, ServerId};
use crate::time::Instant;

/// How long a reading thread tries to write an answer before it leaves that to the other thread.
const WRITE_PATIENCE: Duration = Duration::from_millis(20);
/// The longest sleep of the thread that keeps the time.
const IDLE: Duration = Duration::from_secs(1);

/// Settings of a [`Loopback`].
#[derive(Clone, Copy, Debug, Default)]
pub struct LoopbackOptions {
    /// Listen on `::1` instead of `127.0.0.1`. Default off.
    pub ipv6: bool,
}

/// A fake cluster that listens. Dropping it closes all ports and connections.
#[derive(Debug)]
pub struct Loopback {
    shared: Arc<Shared>,
    timer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    cluster: Mutex<FakeCluster>,
    /// Wakes the time keeper; goes with the lock of the cluster.
    timer: Condvar,
    /// Wakes those who wait for something to happen in the cluster; goes with its lock.
    changed: Condvar,
    /// When the time keeper wakes by itself, in microseconds.
    wakes_at: AtomicU64,
    started: std::time::Instant,
    listeners: Mutex<BTreeMap<ServerId, Listener>>,
    peers: Mutex<BTreeMap<ConnId, Arc<Peer>>>,
    ipv6: bool,
    stopped: AtomicBool,
}

/// The accepting thread of a server and how to end it.
#[derive(Debug)]
struct Listener {
    address: SocketAddr,
    closed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Peer {
    conn: ConnId,
    stream: TcpStream,
    /// What the socket did not take yet; its lock orders the writes.
    backlog: Mutex<Backlog>,
    wanted: Mutex<Wanted>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Wanted {
    write: bool,
    gone: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panicking test must not hide its message behind a poisoned lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Loopback {
    /// Opens a port for each server of the cluster and starts serving.
    ///
    /// # Errors
    /// A port cannot be opened, for example because the machine has no IPv6.
    pub fn start(cluster: FakeCluster, options: LoopbackOptions) -> io::Result<Self> {
        let servers: Vec<ServerId> = cluster.servers().collect();
        let shared = Arc::new(Shared {
            cluster: Mutex::new(cluster),
            timer: Condvar::new(),
            changed: Condvar::new(),
            wakes_at: AtomicU64::new(0),
            started: std::time::Instant::now(),
            listeners: Mutex::new(BTreeMap::new()),
            peers: Mutex::new(BTreeMap::new()),
            ipv6: options.ipv6,
            stopped: AtomicBool::new(false),
        });
        let keeper = Arc::clone(&shared);
        let timer = thread::Builder::new()
            .name("fake-timer".to_owned())
            .spawn(move || keeper.keep_time())?;
        let loopback = Self { shared, timer: Some(timer) };
        for server in servers {
            loopback.shared.listen(server, 0)?;
        }
        Ok(loopback)
    }

    /// The coordinator's `host:port`, which serves as a bootstrap address.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.address(ServerId::Coordinator).map(|address| address.to_string()).unwrap_or_default()
    }

    /// The addresses of all servers, the coordinator first.
    #[must_use]
    pub fn bootstrap_all(&self) -> Vec<String> {
        self.with(|cluster| {
            let addresses = cluster.servers().filter_map(|server| cluster.address(server));
            addresses.map(ToString::to_string).collect()
        })
    }

    /// Where a server listens, or listened before it was stopped.
    #[must_use]
    pub fn address(&self, server: ServerId) -> Option<Address> {
        self.with(|cluster| cluster.address(server).cloned())
    }

    /// Looks at the cluster or does something to it, while it serves. Do not call back into this
    /// `Loopback` from within.
    pub fn with<R>(&self, look: impl FnOnce(&mut FakeCluster) -> R) -> R {
        let mut cluster = lock(&self.shared.cluster);
        cluster.handle_timeout(self.shared.now());
        let result = look(&mut cluster);
        self.shared.after(cluster, None);
        result
    }

    /// Blocks until `condition` holds, looking again after each change of the cluster; false if it
    /// does not hold within `limit`.
    pub fn wait_for(
        &self,
        limit: Duration,
        mut condition: impl FnMut(&mut FakeCluster) -> bool,
    ) -> bool {
        let cluster = lock(&self.shared.cluster);
        let waited =
            self.shared.changed.wait_timeout_while(cluster, limit, |cluster| !condition(cluster));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Stops a server: connections cut, port closed. Its leaders stay its own until they are moved.
    pub fn stop_server(&self, server: ServerId) {
        self.with(|cluster| cluster.stop(server));
        self.shared.unlisten(server);
    }

    /// Starts a stopped server on the port it had.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start_server(&self, server: ServerId) -> io::Result<()> {
        let port = self.address(server).map_or(0, |address| address.port);
        self.with(|cluster| cluster.start(server));
        self.shared.unlisten(server);
        self.shared.listen(server, port)
    }

    /// Gives all servers new ports and cuts all connections: what a client meets when every server
    /// has been replaced. Bootstrap addresses from before are dead afterwards.
    ///
    /// # Errors
    /// A port cannot be opened.
    pub fn replace_all_servers(&self) -> io::Result<()> {
        let servers: Vec<ServerId> = self.with(|cluster| cluster.servers().collect());
        for server in servers {
            // The new port is opened while the old one is, so that it is another one.
            let old = lock(&self.shared.listeners).remove(&server);
            self.shared.listen(server, 0)?;
            if let Some(old) = old {
                old.close();
            }
        }
        self.with(|cluster| cluster.cut_connections(None));
        Ok(())
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        lock(&self.shared.peers).len()
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let listeners = std::mem::take(&mut *lock(&self.shared.listeners));
        listeners.into_values().for_each(Listener::close);
        let peers = std::mem::take(&mut *lock(&self.shared.peers));
        peers.into_values().for_each(|peer| peer.end());
        {
            let _cluster = lock(&self.shared.cluster);
            self.shared.timer.notify_all();
        }
        if let Some(timer) = self.timer.take() {
            // A panic of that thread has been printed already.
            let _ = timer.join();
        }
    }
}

impl Listener {
    fn close(mut self) {
        self.closed.store(true, Ordering::SeqCst);
        // Only a connection wakes a thread that accepts; that it fails does not matter.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn listen(self: &Arc<Self>, server: ServerId, port: u16) -> io::Result<()> {
        let address: SocketAddr = match self.ipv6 {
            true => (Ipv6Addr::LOCALHOST, port).into(),
            false => (Ipv4Addr::LOCALHOST, port).into(),
        };
        let socket = TcpListener::bind(address)?;
        let address = socket.local_addr()?;
        let host = address.ip().to_string().into();
        lock(&self.cluster).set_address(server, Address { host, port: address.port() });
        let closed = Arc::new(AtomicBool::new(false));
        let (shared, flag) = (Arc::clone(self), Arc::clone(&closed));
        let thread = thread::Builder::new()
            .name(format!("fake {server}"))
            .spawn(move || shared.accept(server, &socket, &flag))?;
        let listener = Listener { address, closed, thread: Some(thread) };
        lock(&self.listeners).insert(server, listener);
        Ok(())
    }

    fn unlisten(&self, server: ServerId) {
        let listener = lock(&self.listeners).remove(&server);
        if let Some(listener) = listener {
            listener.close();
        }
    }

    fn accept(self: &Arc<Self>, server: ServerId, socket: &TcpListener, closed: &AtomicBool) {
        while let Ok((stream, _)) = socket.accept() {
            if closed.load(Ordering::SeqCst) {
                return;
            }
            // A connection that cannot be served is dropped, which the client sees as a cut.
            if let Some(peer) = self.welcome(server, stream) {
                let (shared, reading) = (Arc::clone(self), Arc::clone(&peer));
                let reader = thread::Builder::new().name("fake-read".to_owned());
                let started = reader.spawn(move || shared.read(&reading)).is_ok();
                let (shared, writing) = (Arc::clone(self), Arc::clone(&peer));
                let writer = thread::Builder::new().name("fake-write".to_owned());
                if !started || writer.spawn(move || shared.write_behind(&writing)).is_err() {
                    self.leave(&peer);
                }
            }
        }
    }

    fn welcome(&self, server: ServerId, stream: TcpStream) -> Option<Arc<Peer>> {
        stream.set_nodelay(true).ok()?;
        stream.set_write_timeout(Some(WRITE_PATIENCE)).ok()?;
        let conn = lock(&self.cluster).open(server)?;
        let peer = Arc::new(Peer {
            conn,
            stream,
            backlog: Mutex::new(Backlog::default()),
            wanted: Mutex::new(Wanted::default()),
            wake: Condvar::new(),
        });
        lock(&self.peers).insert(conn, Arc::clone(&peer));
        if self.stopped.load(Ordering::SeqCst) {
            self.leave(&peer);
            return None;
        }
        Some(peer)
    }

    /// Reads requests until the connection ends.
    fn read(&self, peer: &Peer) {
        let mut frames = FrameReader::new(&peer.stream);
        loop {
            let limit = |head| lock(&self.cluster).request_length(head);
            match frames.next(limit) {
                Ok(Next::Frame(frame)) => {
                    let mut cluster = lock(&self.cluster);
                    cluster.handle_frame(peer.conn, frame.clone(), self.now());
                    if frames.has_frame() {
                        // Its answer goes out together with the next one's.
                        drop(cluster);
                    } else {
                        self.after(cluster, Some(peer));
                    }
                    frames.reuse(frame);
                }
                Ok(Next::BadLength(length)) => {
                    let mut cluster = lock(&self.cluster);
                    cluster.handle_bad_length(peer.conn, length, self.now());
                    self.after(cluster, Some(peer));
                    break;
                }
                Ok(Next::End) | Err(_) => break,
            }
        }
        self.leave(peer);
    }

    /// The client is gone, or we are done with it.
    fn leave(&self, peer: &Peer) {
        lock(&self.cluster).close(peer.conn);
        lock(&self.peers).remove(&peer.conn);
        peer.end();
    }

    /// After every change of the cluster: tell whoever has something to do now. The thread that
    /// read a request writes the answers of its own connection itself.
    fn after(&self, mut cluster: MutexGuard<'_, FakeCluster>, own: Option<&Peer>) {
        let mut mine = false;
        let mut others = Vec::new();
        while let Some(conn) = cluster.poll_ready() {
            if own.is_some_and(|peer| peer.conn == conn) {
                mine = true;
            } else {
                others.push(conn);
            }
        }
        let due = cluster.poll_timeout().map_or(u64::MAX, Instant::as_micros);
        if due < self.wakes_at.load(Ordering::SeqCst) {
            self.timer.notify_all();
        }
        self.changed.notify_all();
        drop(cluster);
        if !others.is_empty() {
            let peers = lock(&self.peers);
            others.iter().filter_map(|conn| peers.get(conn)).for_each(|peer| peer.want_write());
        }
        if let Some(peer) = own.filter(|_| mine)
            && !self.flush(peer)
        {
            peer.want_write();
        }
    }

    /// Writes what there is for this connection; false if the socket takes no more for now.
    fn flush(&self, peer: &Peer) -> bool {
        let mut backlog = lock(&peer.backlog);
        loop {
            let closed = {
                let mut cluster = lock(&self.cluster);
                while let Some(bytes) = cluster.poll_output(peer.conn) {
                    backlog.pieces.push_back(bytes);
                }
                cluster.is_closed(peer.conn)
            };
            if backlog.pieces.is_empty() {
                if closed {
                    peer.end();
                }
                return true;
            }
            match backlog.write(&peer.stream) {
                Ok(()) => {}
                Err(error) if is_slow(&error) => return false,
                Err(_) => {
                    backlog.pieces.clear();
                    peer.end();
                    return true;
                }
            }
        }
    }

    /// Writes what the reading thread did not.
    fn write_behind(&self, peer: &Peer) {
        loop {
            {
                let mut wanted = lock(&peer.wanted);
                while !wanted.write && !wanted.gone {
                    wanted = peer.wake.wait(wanted).unwrap_or_else(PoisonError::into_inner);
                }
                if wanted.gone {
                    return;
                }
                wanted.write = false;
            }
            while !self.flush(peer) {
                if lock(&peer.wanted).gone {
                    return;
                }
            }
        }
    }

    fn keep_time(&self) {
        let mut cluster = lock(&self.cluster);
        while !self.stopped.load(Ordering::SeqCst) {
            let now = self.now();
            let due = cluster.poll_timeout();
            if due.is_some_and(|due| due <= now) {
                cluster.handle_timeout(now);
                self.wakes_at.store(0, Ordering::SeqCst);
                self.after(cluster, None);
                cluster = lock(&self.cluster);
                continue;
            }
            let wait = due.map_or(IDLE, |due| due.saturating_since(now).min(IDLE));
            self.wakes_at.store((now + wait).as_micros(), Ordering::SeqCst);
            let woken = self.timer.wait_timeout(cluster, wait);
            cluster = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Peer {
    fn want_write(&self) {
        lock(&self.wanted).write = true;
        self.wake.notify_one();
    }

    fn end(&self) {
        // It may be closed already, which is what is wanted.
        let _ = self.stream.shutdown(Shutdown::Both);
        lock(&self.wanted).gone = true;
        self.wake.notify_one();
    }
}

/// Runs `body` on a thread of its own and passes its panic on.
///
/// # Panics
/// If `body` does, or has not ended within `limit`.
pub fn within(limit: Duration, body: impl FnOnce() + Send + 'static) {
    let (running, end) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        // Dropped also while a panic unwinds.
        let _running = running;
        body();
    });
    let in_time = end.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Disconnected);
    assert!(in_time, "not done within {} s: something waits for ever", limit.as_secs());
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A port that accepts nothing and has no room for another connection: who connects waits.
///
/// # Errors
/// No port can be opened, or the system lets everybody in.
pub fn full_port() -> io::Result<TcpListener> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = socket.local_addr()?;
    // A connection stays in line also when it was closed.
    for _ in 0..10_000 {
        match TcpStream::connect_timeout(&address, 10 * WRITE_PATIENCE) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(socket),
            connected => drop(connected?),
        }
    }
    Err(io::Error::other("everybody is let in"))
}

/// A listening port that does something to each connection, on a thread of its own.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    listener: Option<Listener>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Port {
    /// Listens on a free port of `127.0.0.1`.
    ///
    /// # Errors
    /// No port can be opened.
    pub fn open(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = socket.local_addr()?;
        let closed = Arc::new(AtomicBool::new(false));
        let streams = Arc::new(Mutex::new(Vec::new()));
        let (flag, kept) = (Arc::clone(&closed), Arc::clone(&streams));
        let serve = Arc::new(serve);
        let thread = thread::spawn(move || {
            while let Ok((stream, _)) = socket.accept() {
                if flag.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(copy) = stream.try_clone() {
                    lock(&kept).push(copy);
                }
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(stream));
            }
        });
        let listener = Some(Listener { address, closed, thread: Some(thread) });
        Ok(Self { address, listener, streams })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.listener.take().into_iter().for_each(Listener::close);
        for stream in lock(&self.streams).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A port that passes everything on to another one, which may change while it runs.
#[derive(Debug)]
pub struct Relay {
    target: Arc<Mutex<String>>,
    port: Port,
}

impl Relay {
    /// Listens on a free port and passes up to `piece` bytes at once on to `target`.
    ///
    /// # Errors
    /// No port can be opened.
    pub fn open(target: &str, piece: usize) -> io::Result<Self> {
        let target = Arc::new(Mutex::new(target.to_owned()));
        let of = Arc::clone(&target);
        let port = Port::open(move |stream| {
            let target = lock(&of).clone();
            // Without a target the connection is closed, which is what the client is to see.
            if let Ok(server) = TcpStream::connect(&*target) {
                pass_both(&stream, &server, piece);
            }
            let _ = stream.shutdown(Shutdown::Both);
        })?;
        Ok(Self { target, port })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Passes new connections on to another address. Those that are open stay.
    pub fn aim(&self, target: &str) {
        target.clone_into(&mut lock(&self.target));
    }
}

fn pass_both(client: &TcpStream, server: &TcpStream, piece: usize) {
    let back = (server.try_clone(), client.try_clone());
    if let (Ok(from), Ok(to)) = back {
        thread::spawn(move || pass(&from, &to, piece));
    }
    pass(client, server, piece);
}

fn pass(from: &TcpStream, to: &TcpStream, piece: usize) {
    copy(from, to, piece);
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
#[path = "loopback_tests.rs"]
mod tests;
