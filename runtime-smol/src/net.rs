//! Sockets, names and timers of async-io, as the driver needs them.

use std::future::Future;
use std::io::{self, IoSlice, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Instant as StdInstant, SystemTime};

use async_io::{Async, Timer};
use fluss_core::config::{Config, ObjectPart, Resolver, Store};
use fluss_core::ids::Address;
use fluss_core::time::{Duration, Instant};
use fluss_core::{Clock, FrameReader, Net, RemoteRead, Socket};

/// The driver on smol.
pub type Driver = fluss_core::Driver<SmolNet>;

/// The monotonic clock, read from the client's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StdClock {
    start: StdInstant,
}

impl StdClock {
    pub(crate) fn start() -> Self {
        Self { start: StdInstant::now() }
    }

    fn to_std(self, at: Instant) -> Option<StdInstant> {
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
        thread_local!(static HERE: u8 = const { 0 });
        HERE.with(|here| std::ptr::from_ref(here).addr() as u64)
    }
}

/// What async-io brings to the driver.
#[derive(Debug)]
pub struct SmolNet {
    clock: StdClock,
    resolver: Resolver,
    store: Store,
    /// One timer, set anew only when the deadline changes.
    timer: Option<(Instant, Timer)>,
}

impl SmolNet {
    pub(crate) fn new(clock: StdClock, config: &Config) -> Self {
        let resolver = config.resolver.clone().unwrap_or_else(system);
        let store = config.store.clone().unwrap_or_else(files);
        Self { clock, resolver, store, timer: None }
    }
}

/// The resolver of the system.
fn system() -> Resolver {
    Resolver::new(|server| (&*server.host, server.port).to_socket_addrs().map(Iterator::collect))
}

/// The files of this machine.
fn files() -> Store {
    Store::of_files(|path| std::fs::File::open(path))
}

/// Resolves a name on smol's pool for blocking calls; a literal address needs no pool.
async fn resolve(address: Address, resolver: Resolver) -> io::Result<Vec<SocketAddr>> {
    match address.literal() {
        Some(literal) => Ok(vec![literal]),
        None => smol::unblock(move || resolver.resolve(&address)).await,
    }
}

impl Net for SmolNet {
    type Socket = SmolSocket;

    fn connect(
        &mut self,
        address: Address,
    ) -> Pin<Box<dyn Future<Output = io::Result<SmolSocket>> + Send>> {
        let found = resolve(address, self.resolver.clone());
        Box::pin(async move {
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for address in found.await? {
                match Async::<TcpStream>::connect(address).await {
                    Ok(stream) => {
                        stream.get_ref().set_nodelay(true)?;
                        return Ok(SmolSocket { stream });
                    }
                    Err(e) => last = e,
                }
            }
            Err(last)
        })
    }

    fn read_remote(&mut self, part: ObjectPart) -> RemoteRead {
        let store = self.store.clone();
        Box::pin(smol::unblock(move || store.read(&part)))
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        let Some((at, when)) = at.and_then(|at| Some((at, self.clock.to_std(at)?))) else {
            self.timer = None;
            return Poll::Pending;
        };
        match &mut self.timer {
            Some((set, _)) if *set == at => {}
            Some((set, timer)) => {
                timer.set_at(when);
                *set = at;
            }
            None => self.timer = Some((at, Timer::at(when))),
        }
        let Some((_, timer)) = &mut self.timer else { return Poll::Pending };
        ready!(Pin::new(timer).poll(cx));
        self.timer = None;
        Poll::Ready(())
    }
}

/// A TCP connection.
#[derive(Debug)]
pub struct SmolSocket {
    stream: Async<TcpStream>,
}

impl Socket for SmolSocket {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut FrameReader,
    ) -> Poll<io::Result<usize>> {
        loop {
            match reader.read_from(&mut self.stream.get_ref()) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            ready!(self.stream.poll_readable(cx))?;
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.stream.get_ref().write_vectored(pieces) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            ready!(self.stream.poll_writable(cx))?;
        }
    }
}
