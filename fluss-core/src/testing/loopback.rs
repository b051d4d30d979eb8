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

use bytes::{Buf, Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::cluster::FakeCluster;
use crate::ids::{Address, ConnId, ServerId};
use crate::time::Instant;

/// What is read at once; smaller frames are copied out of it, larger ones are read in place.
const READ_BYTES: usize = 64 * 1024;
/// How long a reading thread tries to write an answer before it leaves that to the other thread.
const WRITE_PATIENCE: Duration = Duration::from_millis(20);
/// Answers written at once.
const WRITE_PIECES: usize = 64;
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

/// Bytes on their way into the socket.
#[derive(Debug, Default)]
struct Backlog {
    pieces: VecDeque<Bytes>,
}

impl Backlog {
    /// Writes once, as much as the socket takes.
    fn write(&mut self, mut stream: &TcpStream) -> io::Result<()> {
        let slices: Vec<IoSlice<'_>> =
            self.pieces.iter().take(WRITE_PIECES).map(|piece| IoSlice::new(piece)).collect();
        let mut written = stream.write_vectored(&slices)?;
        if written == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        while let Some(piece) = self.pieces.front_mut() {
            if written < piece.len() {
                piece.advance(written);
                break;
            }
            written -= piece.len();
            self.pieces.pop_front();
        }
        Ok(())
    }
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

fn is_slow(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// What comes next from a connection.
enum Next {
    Frame(Bytes),
    BadLength(i32),
    End,
}

/// Cuts the stream into frames. A large frame is read straight into the memory it stays in, and
/// that memory is used again when nobody kept the frame.
struct FrameReader<'a> {
    stream: &'a TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    spare: BytesMut,
}

impl<'a> FrameReader<'a> {
    fn new(stream: &'a TcpStream) -> Self {
        let buffer = vec![0; READ_BYTES];
        Self { stream, buffer, start: 0, end: 0, spare: BytesMut::new() }
    }

    fn next(&mut self, length_of: impl Fn([u8; 4]) -> Result<usize, i32>) -> io::Result<Next> {
        while self.end - self.start < 4 {
            if !self.fill()? {
                return Ok(Next::End);
            }
        }
        let mut head = [0; 4];
        head.copy_from_slice(&self.buffer[self.start..self.start + 4]);
        let length = match length_of(head) {
            Ok(length) => length,
            Err(announced) => return Ok(Next::BadLength(announced)),
        };
        self.start += 4;
        if length > READ_BYTES / 2 {
            return self.large(length).map(Next::Frame);
        }
        while self.end - self.start < length {
            if !self.fill()? {
                return Ok(Next::End);
            }
        }
        let frame = Bytes::copy_from_slice(&self.buffer[self.start..self.start + length]);
        self.start += length;
        Ok(Next::Frame(frame))
    }

    fn large(&mut self, length: usize) -> io::Result<Bytes> {
        let mut frame = std::mem::take(&mut self.spare);
        frame.resize(length, 0);
        let held = (self.end - self.start).min(length);
        frame[..held].copy_from_slice(&self.buffer[self.start..self.start + held]);
        self.start += held;
        self.stream.read_exact(&mut frame[held..])?;
        Ok(frame.freeze())
    }

    /// Whether another whole frame is in memory already.
    fn has_frame(&self) -> bool {
        let held = &self.buffer[self.start..self.end];
        held.first_chunk::<4>().is_some_and(|head| {
            usize::try_from(i32::from_be_bytes(*head)).is_ok_and(|length| held.len() >= 4 + length)
        })
    }

    fn reuse(&mut self, frame: Bytes) {
        if frame.len() > READ_BYTES / 2
            && let Ok(memory) = frame.try_into_mut()
        {
            self.spare = memory;
        }
    }

    /// Reads more; false at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        loop {
            match self.stream.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    self.end += read;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
#[path = "loopback_tests.rs"]
mod tests;
