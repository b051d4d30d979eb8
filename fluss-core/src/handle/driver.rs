//! The loop that all adapters share: it moves bytes between sockets and the client.
//!
//! An adapter brings three things ([`Net`]): connecting, a socket, and a timer. The loop decides
//! nothing about the protocol; it does what [`Client`](crate::Client) asks for. Reads and writes
//! happen outside the client's lock, and each turn does a bounded amount of work for each
//! connection before it yields, so that no connection and no other task starves.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use fluss_proto::frame::{FrameMemory, FrameReader};
use fluss_proto::segments::Segments;

use super::shared::Shared;
use crate::ids::{Address, ConnId, ReadId};
use crate::output::Action;
use crate::storage::{ObjectPart, StorageError, StorageErrorKind};
use crate::time::Instant;

/// Frames read from one connection before the others have their turn.
const READ_BUDGET: usize = 32;
/// Writes to one connection before the others have their turn.
const WRITE_BUDGET: usize = 32;
/// Pieces handed to one vectored write.
const MAX_SLICES: usize = 128;

/// What a read from remote storage ends with.
pub type RemoteRead = Pin<Box<dyn Future<Output = Result<Bytes, StorageError>> + Send>>;

/// A connected, non-blocking byte stream.
pub trait Socket: Unpin {
    /// Reads into the frame reader's buffer; 0 is the end of the stream.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut FrameReader,
    ) -> Poll<io::Result<usize>>;

    /// Writes some of the pieces.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;
}

/// What a runtime brings.
pub trait Net: Unpin {
    /// Its sockets.
    type Socket: Socket;

    /// Resolves the name anew, tries its addresses in turn and switches Nagle's algorithm off.
    fn connect(
        &mut self,
        address: Address,
    ) -> Pin<Box<dyn Future<Output = io::Result<Self::Socket>> + Send>>;

    /// Reads a part of an object in remote storage, by
    /// [`Config::store`](crate::config::Config::store) or else a store of its own, where blocking
    /// harms nobody. Without this method no remote storage can be read.
    fn read_remote(&mut self, part: ObjectPart) -> RemoteRead {
        let what = "this adapter reads no remote storage";
        let error = StorageError::new(&part, StorageErrorKind::Unsupported, what);
        Box::pin(std::future::ready(Err(error)))
    }

    /// The time on the client's line.
    fn now(&self) -> Instant;

    /// Ready when `at` has come; registers the wake-up otherwise. None: no timer.
    fn poll_timer(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()>;
}

enum State<S> {
    Connecting(Pin<Box<dyn Future<Output = io::Result<S>> + Send>>),
    Open { socket: S, reader: FrameReader, out: Option<Segments>, flush: bool },
}

struct Link<S> {
    conn: ConnId,
    state: State<S>,
}

/// Drives one client until it is closed. A future: spawn it, or poll it from a loop of your own.
///
/// Dropping it before its end aborts the client: rows without an outcome get a true one, waiting
/// callers an error.
pub struct Driver<N: Net> {
    shared: Arc<Shared>,
    net: N,
    links: Vec<Link<N::Socket>>,
    reads: Vec<(ReadId, RemoteRead)>,
    /// Where large answers were, for the next ones.
    memory: FrameMemory,
    turns: u64,
}

impl<N: Net> std::fmt::Debug for Driver<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("connections", &self.links.len()).finish_non_exhaustive()
    }
}

impl<N: Net> Driver<N> {
    pub(crate) fn new(shared: Arc<Shared>, net: N) -> Self {
        let (links, reads, memory) = (Vec::new(), Vec::new(), FrameMemory::default());
        let driver = Self { shared, net, links, reads, memory, turns: 0 };
        driver.pass_time(driver.net.now(), |_| ());
        driver
    }

    /// Tells the client what the clock on the wall says, which somebody may have set.
    fn pass_time(&self, now: Instant, act: impl FnOnce(&mut crate::Client)) {
        let since_1970 = self.shared.since_1970();
        self.shared.input(now, |client| {
            if let Some(time) = since_1970 {
                client.handle_unix_time(time, now);
            }
            act(client);
        });
    }

    /// How often the loop was entered; an idle client's loop is entered a few times a minute.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// What the runtime brought.
    pub fn net(&mut self) -> &mut N {
        &mut self.net
    }

    /// One round over everything. True if something moved and another round is worth it.
    fn round(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = self.shared.seal_what_is_due();
        moved |= self.shared.reroute_what_is_due();
        moved |= self.obey();
        let mut at = 0;
        while at < self.links.len() {
            match self.serve(at, cx) {
                Ok(progress) => {
                    moved |= progress;
                    at += 1;
                }
                Err(lost) => {
                    let link = self.links.swap_remove(at);
                    let now = self.net.now();
                    self.shared.input(now, |client| lost.tell(client, link.conn, now));
                    moved = true;
                }
            }
        }
        moved |= self.read_remote(cx);
        let due = self.shared.arm_timer();
        if self.net.poll_timer(cx, due).is_ready() {
            // Also when it fired early: the next round sets it again.
            moved = true;
            let now = self.net.now();
            if due.is_some_and(|at| at <= now) {
                self.pass_time(now, |client| client.handle_timeout(now));
            }
        }
        // What writing brought about (a refusal, room for a waiter) is nobody else's to notice.
        moved || self.shared.has_work()
    }

    /// Does what the client asked for.
    fn obey(&mut self) -> bool {
        let mut moved = false;
        while let Some(action) = self.shared.poll_action() {
            moved = true;
            match action {
                Action::Connect { conn, address } => {
                    let state = State::Connecting(self.net.connect(address));
                    self.links.push(Link { conn, state });
                }
                Action::Disconnect { conn } => self.links.retain(|l| l.conn != conn),
                Action::Flush { conn } => {
                    for link in self.links.iter_mut().filter(|l| l.conn == conn) {
                        if let State::Open { flush, .. } = &mut link.state {
                            *flush = true;
                        }
                    }
                }
                Action::ReadRemote { read, part } => {
                    self.reads.push((read, self.net.read_remote(part)));
                }
                Action::AbandonRemote { read } => self.reads.retain(|(other, _)| *other != read),
            }
        }
        moved
    }

    /// Hands in what was read from remote storage.
    fn read_remote(&mut self, cx: &mut Context<'_>) -> bool {
        let before = self.reads.len();
        let (shared, net) = (&self.shared, &self.net);
        self.reads.retain_mut(|(read, reading)| match reading.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(result) => {
                let now = net.now();
                shared.input(now, |client| client.handle_remote_read(*read, result, now));
                false
            }
        });
        self.reads.len() < before
    }

    fn serve(&mut self, at: usize, cx: &mut Context<'_>) -> Result<bool, Lost> {
        let link = &mut self.links[at];
        if let State::Connecting(connecting) = &mut link.state {
            return match connecting.as_mut().poll(cx) {
                Poll::Pending => Ok(false),
                Poll::Ready(Err(e)) => Err(Lost::NotConnected(e.to_string())),
                Poll::Ready(Ok(socket)) => {
                    let reader = FrameReader::new(self.shared.max_frame_bytes());
                    link.state = State::Open { socket, reader, out: None, flush: true };
                    let (conn, now) = (link.conn, self.net.now());
                    self.shared.input(now, |client| client.handle_connected(conn, now));
                    Ok(true)
                }
            };
        }
        let moved = self.write(at, cx)?;
        Ok(self.read(at, cx)? | moved)
    }

    fn write(&mut self, at: usize, cx: &mut Context<'_>) -> Result<bool, Lost> {
        let Link { conn, state } = &mut self.links[at];
        let State::Open { socket, out, flush, .. } = state else { return Ok(false) };
        let mut moved = false;
        for _ in 0..WRITE_BUDGET {
            if out.is_none() {
                if !*flush {
                    return Ok(moved);
                }
                *out = self.shared.poll_transmit(*conn, self.net.now());
            }
            let Some(segments) = out else {
                *flush = false;
                return Ok(moved);
            };
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = segments.chunks_vectored(&mut slices);
            match socket.poll_write(cx, &slices[..count]) {
                Poll::Pending => return Ok(moved),
                Poll::Ready(Ok(0)) => return Err(Lost::Closed("the socket takes no bytes".into())),
                Poll::Ready(Ok(n)) => {
                    moved = true;
                    if n < slices[..count].iter().map(|slice| slice.len()).sum() {
                        self.shared.count_partial_write();
                    }
                    segments.advance(n);
                    if segments.remaining() == 0 {
                        *out = None;
                    }
                }
                Poll::Ready(Err(e)) => return Err(Lost::Closed(e.to_string())),
            }
        }
        Ok(true)
    }

    fn read(&mut self, at: usize, cx: &mut Context<'_>) -> Result<bool, Lost> {
        let Link { conn, state } = &mut self.links[at];
        let State::Open { socket, reader, .. } = state else { return Ok(false) };
        let mut moved = false;
        for _ in 0..READ_BUDGET {
            match socket.poll_read(cx, reader) {
                Poll::Pending => return Ok(moved),
                Poll::Ready(Ok(0)) => return Err(Lost::Closed("closed by the server".into())),
                Poll::Ready(Err(e)) => return Err(Lost::Closed(e.to_string())),
                Poll::Ready(Ok(_)) => moved = true,
            }
            let (conn, now) = (*conn, self.net.now());
            loop {
                match reader.next_frame_in(&mut self.memory) {
                    Ok(None) => break,
                    Ok(Some(frame)) => {
                        self.shared.input(now, |client| client.handle_frame(conn, frame, now));
                    }
                    Err(e) => return Err(Lost::NoFrames(e.to_string())),
                }
            }
        }
        Ok(moved)
    }
}

impl<N: Net> Future for Driver<N> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.shared.is_foreign() {
            // The sockets are the parent's.
            return Poll::Ready(());
        }
        this.turns += 1;
        this.shared.count_turn();
        this.shared.register_driver(cx.waker());
        // A few rounds per turn: what one round brings, the next often can send.
        for _ in 0..4 {
            if !this.round(cx) {
                if this.shared.is_closed() && !this.shared.has_output() {
                    return Poll::Ready(());
                }
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<N: Net> Drop for Driver<N> {
    fn drop(&mut self) {
        if self.shared.is_foreign() {
            // Closing the sockets here could take the parent's out of a selector that both share.
            std::mem::forget(std::mem::take(&mut self.links));
            std::mem::forget(std::mem::take(&mut self.reads));
            return;
        }
        self.shared.abort(self.net.now(), "its driver was dropped");
    }
}

/// How a connection ended.
enum Lost {
    NotConnected(String),
    Closed(String),
    NoFrames(String),
}

impl Lost {
    fn tell(&self, client: &mut crate::Client, conn: ConnId, now: Instant) {
        match self {
            Self::NotConnected(reason) => client.handle_connect_failed(conn, reason, now),
            Self::Closed(reason) => client.handle_closed(conn, reason, now),
            Self::NoFrames(reason) => client.handle_protocol_error(conn, reason, now),
        }
    }
}
