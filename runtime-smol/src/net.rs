//! Sockets, names and timers of async-io, as the driver needs them.

use std::future::Future;
use std::io::{self, IoSlice, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant as StdInstant;

use async_io::{Async, Timer};
use fluss_core::ids::Address;
use fluss_core::time::{Duration, Instant};
use fluss_core::{Clock, FrameReader, Net, Socket};

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

    fn process(&self) -> u32 {
        std::process::id()
    }
}

/// What async-io brings to the driver.
#[derive(Debug)]
pub struct SmolNet {
    clock: StdClock,
    /// One timer, set anew only when the deadline changes.
    timer: Option<(Instant, Timer)>,
}

impl SmolNet {
    pub(crate) fn new(clock: StdClock) -> Self {
        Self { clock, timer: None }
    }
}

/// Resolves a name on smol's pool for blocking calls; a literal address needs no pool.
async fn resolve(address: &Address) -> io::Result<Vec<SocketAddr>> {
    let port = address.port;
    if let Ok(ip) = address.host.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let host = address.host.to_string();
    smol::unblock(move || (host.as_str(), port).to_socket_addrs().map(Iterator::collect)).await
}

impl Net for SmolNet {
    type Socket = SmolSocket;

    fn connect(
        &mut self,
        address: Address,
    ) -> Pin<Box<dyn Future<Output = io::Result<SmolSocket>> + Send>> {
        Box::pin(async move {
            let mut last = io::Error::new(
                io::ErrorKind::NotFound,
                format!("the name {} has no address", address.host),
            );
            for address in resolve(&address).await? {
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
