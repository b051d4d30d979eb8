//! Sockets and time of the standard library, as the driver needs them.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, Read, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Instant as StdInstant, SystemTime};

use fluss_core::config::{Config, ObjectPart, Resolver, StorageError, Store};
use fluss_core::ids::Address;
use fluss_core::time::{Duration, Instant};
use fluss_core::{Clock, FrameReader, Net, RemoteRead, Socket};

use crate::reactor::{Reactor, Registered, this_thread};
use crate::sys::{CLOSED, READABLE, WRITABLE, start_connect};
use crate::work::{Answer, Threads, answered};

/// Where the addresses of a name will be.
type Lookup = Answer<io::Result<Vec<SocketAddr>>>;

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

    fn since_1970(&self) -> Option<Duration> {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()
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
    resolver: Resolver,
    /// The resolver thread, which starts with the first name that is no literal address. Names are
    /// resolved one after the other.
    names: Threads,
    store: Store,
    /// More reads at once wait for their turn.
    storage: Threads,
    /// The timer: when the driver wants to be polled again.
    pub(crate) due: Option<Instant>,
}

impl EmbeddedNet {
    pub(crate) fn new(clock: StdClock, reactor: Arc<Reactor>, config: &Config) -> Self {
        let files = || Store::of_files(|path| std::fs::File::open(path));
        Self {
            clock,
            reactor,
            resolver: config.resolver.clone().unwrap_or_else(system),
            names: Threads::new("fluss-resolver", 1),
            store: config.store.clone().unwrap_or_else(files),
            storage: Threads::new("fluss-storage", 3),
            due: None,
        }
    }

    /// The addresses of a name, asked for anew. A literal address is its own answer.
    fn lookup(&mut self, address: Address) -> io::Result<Lookup> {
        if let Some(literal) = address.literal() {
            return Ok(Arc::new(Mutex::new(Some(Ok(vec![literal])))));
        }
        let resolver = self.resolver.clone();
        self.names.run(&self.reactor, move || resolver.resolve(&address))
    }
}

/// The resolver of the system.
fn system() -> Resolver {
    Resolver::new(|server| (&*server.host, server.port).to_socket_addrs().map(Iterator::collect))
}

impl Net for EmbeddedNet {
    type Socket = EmbeddedSocket;

    fn connect(
        &mut self,
        address: Address,
    ) -> Pin<Box<dyn Future<Output = io::Result<EmbeddedSocket>> + Send>> {
        Box::pin(connect(self.lookup(address), Arc::clone(&self.reactor)))
    }

    fn read_remote(&mut self, part: ObjectPart) -> RemoteRead {
        let (store, wanted) = (self.store.clone(), part.clone());
        let read = self.storage.run(&self.reactor, move || store.read(&wanted));
        let failed = move |e| Err(StorageError::from_io(&part, &e));
        Box::pin(async { answered(read).await.unwrap_or_else(failed) })
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn poll_timer(&mut self, _: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        self.due = at;
        if at.is_some_and(|at| at <= self.clock.now()) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Tries the addresses of a name in turn.
async fn connect(asked: io::Result<Lookup>, reactor: Arc<Reactor>) -> io::Result<EmbeddedSocket> {
    let found = answered(asked).await??;
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
    let refused = source.stream.take_error()?;
    refused.map_or(Ok(EmbeddedSocket { registered }), Err)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::lock;

    fn net() -> EmbeddedNet {
        let reactor = Arc::new(Reactor::new().unwrap());
        EmbeddedNet::new(StdClock::start(), reactor, &Config::new("localhost:1").unwrap())
    }

    fn address(host: &str) -> Address {
        Address { host: host.into(), port: 9123 }
    }

    #[test]
    fn literal_addresses_start_no_thread() {
        let mut net = net();
        for literal in ["127.0.0.1", "::1"] {
            let found = net.lookup(address(literal)).unwrap();
            let found = lock(&found).take().unwrap().unwrap();
            assert_eq!(found, [SocketAddr::new(literal.parse().unwrap(), 9123)]);
        }
        assert_eq!(net.names.started(), 0);
    }

    #[test]
    fn an_answer_wakes_the_driver() {
        let mut net = net();
        net.reactor.look();
        let answer = net.lookup(address("localhost")).unwrap();
        let found = loop {
            if let Some(found) = lock(&answer).take() {
                break found.unwrap();
            }
            net.reactor.look();
            net.reactor.sleep(None, || false).unwrap();
        };
        assert!(found.iter().any(|a| a.ip().is_loopback() && a.port() == 9123), "{found:?}");
        assert_eq!((net.names.started(), net.storage.started()), (1, 0));
    }
}
