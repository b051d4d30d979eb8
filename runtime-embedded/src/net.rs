//! Sockets and time of the standard library, as the driver needs them.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant as StdInstant;

use fluss_core::config::Resolver;
use fluss_core::ids::Address;
use fluss_core::time::{Duration, Instant};
use fluss_core::{Clock, FrameReader, Net, Socket};

use crate::reactor::{Reactor, Registered, lock, this_thread};
use crate::resolve::{Lookup, Names};
use crate::sys::{CLOSED, READABLE, WRITABLE, start_connect};

/// The monotonic clock, read from the client's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StdClock {
    start: StdInstant,
}

impl StdClock {
    pub(crate) fn start() -> Self {
        Self { start: StdInstant::now() }
    }

    pub(crate) fn to_std(self, at: Instant) -> Option<StdInstant> {
        self.start.checked_add(Duration::from_micros(at.as_micros()))
    }
}

impl Clock for StdClock {
    fn now(&self) -> Instant {
        let micros = self.start.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn process(&self) -> u32 {
        std::process::id()
    }

    fn thread(&self) -> u64 {
        this_thread() as u64
    }
}

/// Non-blocking sockets of the standard library. Whoever drives looks at all of them in each turn,
/// so none of them keeps a waker.
#[derive(Debug)]
pub struct EmbeddedNet {
    clock: StdClock,
    reactor: Arc<Reactor>,
    names: Names,
    /// The timer: when the driver wants to be polled again.
    due: Option<Instant>,
}

impl EmbeddedNet {
    pub(crate) fn new(clock: StdClock, reactor: Arc<Reactor>, resolver: Option<Resolver>) -> Self {
        Self { clock, reactor, names: Names::new(resolver), due: None }
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }
}

impl Net for EmbeddedNet {
    type Socket = EmbeddedSocket;

    fn connect(
        &mut self,
        address: Address,
    ) -> Pin<Box<dyn Future<Output = io::Result<EmbeddedSocket>> + Send>> {
        Box::pin(connect(self.names.lookup(address, &self.reactor), Arc::clone(&self.reactor)))
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn poll_timer(&mut self, _: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        self.due = at;
        match at {
            Some(at) if at <= self.clock.now() => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

/// Tries the addresses of a name in turn.
async fn connect(lookup: Lookup, reactor: Arc<Reactor>) -> io::Result<EmbeddedSocket> {
    let found = poll_fn(|_| lock(&lookup).take().map_or(Poll::Pending, Poll::Ready)).await?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in found {
        match open(&reactor, address).await {
            Ok(socket) => return Ok(socket),
            Err(e) => last = e,
        }
    }
    Err(last)
}

async fn open(reactor: &Arc<Reactor>, address: SocketAddr) -> io::Result<EmbeddedSocket> {
    let registered = reactor.register(start_connect(address)?)?;
    let source = &registered.source;
    poll_fn(|_| if source.is(WRITABLE) { Poll::Ready(()) } else { Poll::Pending }).await;
    match source.stream.take_error()? {
        None => Ok(EmbeddedSocket { registered }),
        Some(e) => Err(e),
    }
}

/// A TCP connection.
#[derive(Debug)]
pub struct EmbeddedSocket {
    registered: Registered,
}

impl Socket for EmbeddedSocket {
    fn poll_read(
        &mut self,
        _: &mut Context<'_>,
        reader: &mut FrameReader,
    ) -> Poll<io::Result<usize>> {
        let source = &self.registered.source;
        while source.is(READABLE) {
            let mut tap = Tap { stream: &source.stream, empty: false };
            let result = reader.read_from(&mut tap);
            // After a closing nothing new is told, so only the end of the stream is trusted then.
            if tap.empty && !source.is(CLOSED) {
                source.clear(READABLE);
            }
            match result {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => source.clear(READABLE),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
        Poll::Pending
    }

    fn poll_write(
        &mut self,
        _: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let source = &self.registered.source;
        while source.is(WRITABLE) {
            match (&source.stream).write_vectored(pieces) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => source.clear(WRITABLE),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
        Poll::Pending
    }
}

/// Reads, and notices when the socket has no more: a read that does not fill its space emptied the
/// socket, which saves the system call that would only say so.
struct Tap<'a> {
    stream: &'a TcpStream,
    empty: bool,
}

impl Read for Tap<'_> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        if self.empty {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = self.stream.read(space)?;
        self.empty = n > 0 && n < space.len();
        Ok(n)
    }
}
