//! Threads and sockets for tests: what stands between a client and the fake cluster, or in its
//! place.
//!
//! With [`loopback`](super::loopback) the only place of this crate outside the handles that names
//! sockets and threads.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `body` on a thread of its own and passes its panic on.
///
/// # Panics
/// If `body` does, or has not ended within `limit`.
pub fn within(limit: Duration, body: impl FnOnce() + Send + 'static) {
    let (ended, end) = mpsc::channel();
    let thread = thread::spawn(move || {
        // Sent also while a panic unwinds.
        let _ended = SendOnDrop(ended);
        body();
    });
    let in_time = end.recv_timeout(limit).is_ok();
    assert!(in_time, "not done within {} s: something waits for ever", limit.as_secs());
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

struct SendOnDrop(mpsc::Sender<()>);

impl Drop for SendOnDrop {
    fn drop(&mut self) {
        // Nobody listens any more when the time was over.
        let _ = self.0.send(());
    }
}

/// The result of a thread, as a future.
#[derive(Debug)]
pub struct Aside<T> {
    state: Arc<Mutex<(Option<Waker>, bool)>>,
    thread: Option<JoinHandle<T>>,
}

/// Runs something that blocks on a thread of its own.
///
/// Awaiting it passes on a panic of that thread.
pub fn aside<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Aside<T> {
    struct Done(Arc<Mutex<(Option<Waker>, bool)>>);
    impl Drop for Done {
        fn drop(&mut self) {
            let mut state = lock(&self.0);
            state.1 = true;
            let waker = state.0.take();
            drop(state);
            waker.into_iter().for_each(Waker::wake);
        }
    }
    let state = Arc::new(Mutex::new((None, false)));
    let done = Done(Arc::clone(&state));
    let thread = thread::spawn(move || {
        let _done = done;
        body()
    });
    Aside { state, thread: Some(thread) }
}

impl<T> Unpin for Aside<T> {}

impl<T> Future for Aside<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        {
            let mut state = lock(&self.state);
            if !state.1 {
                state.0 = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        // It has nothing left to do but to end.
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(value)) => Poll::Ready(value),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Poll::Pending,
        }
    }
}

/// An address of this machine at which nobody listens.
///
/// # Errors
/// No port can be opened at all.
pub fn dead_address() -> io::Result<String> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(socket.local_addr()?.to_string())
}

/// The addresses that `localhost` has, each at this port.
///
/// # Errors
/// The name cannot be resolved.
pub fn localhost(port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(("localhost", port).to_socket_addrs()?.collect())
}

/// A listening port that does something to each connection, on a thread of its own.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    closed: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl Port {
    /// Listens on a free port of `127.0.0.1`.
    ///
    /// # Errors
    /// No port can be opened.
    pub fn open(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> io::Result<Self> {
        Self::open_at((Ipv4Addr::LOCALHOST, 0).into(), serve)
    }

    /// Listens at this address.
    ///
    /// # Errors
    /// The port is taken, or there is no such address.
    pub fn open_at(
        address: SocketAddr,
        serve: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let socket = TcpListener::bind(address)?;
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
        Ok(Self { address, closed, streams, thread: Some(thread) })
    }

    /// A port whose server says these bytes as soon as it has heard anything, and then nothing.
    ///
    /// # Errors
    /// No port can be opened.
    pub fn saying(bytes: Vec<u8>) -> io::Result<Self> {
        Self::open(move |mut stream| {
            let mut heard = [0; 4096];
            let mut said = false;
            while stream.read(&mut heard).is_ok_and(|read| read > 0) {
                // A client that has gone already is no failure of this server.
                if !said && stream.write_all(&bytes).is_err() {
                    return;
                }
                said = true;
            }
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        for stream in lock(&self.streams).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Only a connection wakes a thread that accepts; that it fails does not matter.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
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
        Self::open_at((Ipv4Addr::LOCALHOST, 0).into(), target, piece)
    }

    /// Listens at this address.
    ///
    /// # Errors
    /// The port is taken, or there is no such address.
    pub fn open_at(address: SocketAddr, target: &str, piece: usize) -> io::Result<Self> {
        let target = Arc::new(Mutex::new(target.to_owned()));
        let of = Arc::clone(&target);
        let port = Port::open_at(address, move |stream| {
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

fn pass(mut from: &TcpStream, mut to: &TcpStream, piece: usize) {
    let mut buffer = vec![0; piece];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
