//! Sockets, names and timers of tokio, as the driver needs them.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Instant as StdInstant, SystemTime};

use fluss_core::config::{Config, ObjectPart, Resolver, StorageError, Store};
use fluss_core::ids::Address;
use fluss_core::time::{Duration, Instant};
use fluss_core::{Clock, FrameReader, Net, RemoteRead, Socket};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// The driver on tokio.
pub type Driver = fluss_core::Driver<TokioNet>;

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

/// What tokio brings to the driver.
#[derive(Debug)]
pub struct TokioNet {
    clock: StdClock,
    resolver: Resolver,
    store: Store,
    /// One timer, set anew only when the deadline changes.
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl TokioNet {
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

/// Resolves a name on tokio's threads for blocking calls; a literal address needs none.
async fn resolve(address: Address, resolver: Resolver) -> io::Result<Vec<SocketAddr>> {
    match address.literal() {
        Some(literal) => Ok(vec![literal]),
        None => tokio::task::spawn_blocking(move || resolver.resolve(&address)).await?,
    }
}

impl Net for TokioNet {
    type Socket = TokioSocket;

    fn connect(
        &mut self,
        address: Address,
    ) -> Pin<Box<dyn Future<Output = io::Result<TokioSocket>> + Send>> {
        let found = resolve(address, self.resolver.clone());
        Box::pin(async move {
            // Tries the addresses in turn.
            let stream = TcpStream::connect(&*found.await?).await?;
            stream.set_nodelay(true)?;
            Ok(TokioSocket { stream })
        })
    }

    fn read_remote(&mut self, part: ObjectPart) -> RemoteRead {
        let store = self.store.clone();
        Box::pin(async move {
            let failed = part.clone();
            let read = tokio::task::spawn_blocking(move || store.read(&part)).await;
            read.unwrap_or_else(|error| Err(StorageError::from_io(&failed, &error.into())))
        })
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
            Some((set, sleep)) => {
                sleep.as_mut().reset(when.into());
                *set = at;
            }
            None => self.timer = Some((at, Box::pin(tokio::time::sleep_until(when.into())))),
        }
        let Some((_, sleep)) = &mut self.timer else { return Poll::Pending };
        ready!(sleep.as_mut().poll(cx));
        self.timer = None;
        Poll::Ready(())
    }
}

/// A TCP connection.
#[derive(Debug)]
pub struct TokioSocket {
    stream: TcpStream,
}

impl Socket for TokioSocket {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut FrameReader,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read_buf(&mut reader.buf_mut()) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write_vectored(pieces) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }
}
