//! What differs between systems: waiting for many sockets, and connecting without blocking.
//!
//! Linux and Android wait with `epoll`, whose descriptor a foreign loop can wait on in turn. All
//! others use `poll`, which needs no more than sockets and therefore serves Unix and Windows alike.
//! Everything else in this crate is the same everywhere.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod epoll;
#[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
mod poll;
#[cfg(test)]
mod tests;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use epoll::Selector;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use poll::Selector;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// There may be bytes to read, or the end of the stream.
pub(crate) const READABLE: u8 = 1;
/// There may be room for bytes.
pub(crate) const WRITABLE: u8 = 2;
/// The peer will send no more, or the socket is broken: it stays readable.
pub(crate) const CLOSED: u8 = 4;

/// A socket and what the selector last said about it.
///
/// The flags are set by the selector and cleared by whoever found that the socket had nothing more
/// to give or take, so that a round over idle sockets costs no system call.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) id: u64,
    pub(crate) stream: TcpStream,
    ready: AtomicU8,
}

impl Source {
    pub(crate) fn new(id: u64, stream: TcpStream) -> Self {
        Self { id, stream, ready: AtomicU8::new(0) }
    }

    pub(crate) fn is(&self, flags: u8) -> bool {
        self.ready.load(Ordering::Acquire) & flags != 0
    }

    fn set(&self, flags: u8) {
        self.ready.fetch_or(flags, Ordering::AcqRel);
    }

    pub(crate) fn clear(&self, flags: u8) {
        self.ready.fetch_and(!flags, Ordering::AcqRel);
    }
}

/// Starts to connect. The socket is writable once it is known how that ended; `take_error` tells.
pub(crate) fn start_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, socket_flags(), None)?;
    #[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    // A request is one write, which must not wait for the acknowledgement of the one before.
    stream.set_nodelay(true)?;
    match rustix::net::connect(&stream, &address) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::WOULDBLOCK | Errno::INTR) => Ok(stream),
        Err(e) => Err(e.into()),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn socket_flags() -> SocketFlags {
    SocketFlags::CLOEXEC
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn socket_flags() -> SocketFlags {
    SocketFlags::empty()
}

/// The timeout in whole milliseconds, rounded up so that a loop never spins towards a deadline, and
/// at most a minute, which every system can express. Who waits longer waits again.
fn timespec(timeout: Option<Duration>) -> Option<Timespec> {
    let millis = timeout?.as_nanos().div_ceil(1_000_000).min(60_000);
    let millis = i64::try_from(millis).unwrap_or(60_000);
    let mut spec = Timespec { tv_sec: 0, tv_nsec: 0 };
    spec.tv_sec = millis / 1_000;
    // The field's type differs between systems; a value below 10^9 fits each of them.
    spec.tv_nsec = (millis % 1_000 * 1_000_000) as _;
    Some(spec)
}

/// An interrupted wait saw nothing; whoever waits looks again.
fn interrupted(e: Errno) -> io::Result<usize> {
    if e == Errno::INTR { Ok(0) } else { Err(e.into()) }
}
