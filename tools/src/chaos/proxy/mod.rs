//! A proxy of loopback ports between clients and servers that mistreats connections.
//!
//! Each server has a port of ours in front of it, which the cluster tells to clients as the
//! server's address. A connection is two threads, one for each direction. What they do to it is
//! the [`Weather`], which can change at any time, and the seed:
//!
//! * *cut*: after some time, at a random byte of what passes at that moment;
//! * *lost answer*: the answer to a write is kept and the connection cut just before it;
//! * *swallow*: from some time on, answers vanish and the connection stays open;
//! * *delay*: a piece waits before it goes on;
//! * *split*: a piece goes on in many small ones.

mod frames;
mod link;

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fluss_core::rng::Rng;

use link::Link;

/// What happens to connections. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// A connection is cut after this time on average, at a random byte.
    pub cut_every: Option<Duration>,
    /// A connection's answers vanish after this time on average.
    pub swallow_every: Option<Duration>,
    /// Of this many answers to writes one is lost; 0 for none.
    pub lose_answer_one_in: u64,
    /// Of this many pieces one is delayed; 0 for none.
    pub delay_one_in: u64,
    /// By up to this time.
    pub delay_max: Duration,
    /// Of this many pieces one is split; 0 for none.
    pub split_one_in: u64,
}

/// What a proxy did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Harm {
    /// Connections made to servers.
    pub connections: u64,
    /// Connections cut, those before a lost answer included.
    pub cuts: u64,
    /// Answers to writes that a server gave and the client never got.
    pub lost_answers: u64,
    /// Connections whose answers began to vanish.
    pub swallowed: u64,
    /// Pieces delayed.
    pub delays: u64,
    /// Pieces split.
    pub splits: u64,
}

impl Harm {
    /// What was done since an earlier look.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            connections: self.connections - before.connections,
            cuts: self.cuts - before.cuts,
            lost_answers: self.lost_answers - before.lost_answers,
            swallowed: self.swallowed - before.swallowed,
            delays: self.delays - before.delays,
            splits: self.splits - before.splits,
        }
    }
}

/// Listening ports in front of servers. Dropping it closes ports and connections.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    ports: Vec<Port>,
}

#[derive(Debug)]
struct Port {
    address: SocketAddr,
    target: Arc<Mutex<String>>,
    thread: Option<JoinHandle<()>>,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    weather: Mutex<Weather>,
    /// Grows with each change of the weather, which then applies to open connections too.
    change: AtomicU64,
    stopped: AtomicBool,
    rng: Mutex<Rng>,
    links: Mutex<Vec<Weak<Link>>>,
    harm: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    cuts: AtomicU64,
    lost_answers: AtomicU64,
    swallowed: AtomicU64,
    delays: AtomicU64,
    splits: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Proxy {
    /// Opens `ports` free ports, which lead nowhere yet, in calm weather.
    ///
    /// # Errors
    /// A port cannot be opened.
    pub fn open(ports: usize, seed: u64) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            weather: Mutex::default(),
            change: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            rng: Mutex::new(Rng::new(seed)),
            links: Mutex::default(),
            harm: Counts::default(),
        });
        let mut proxy = Self { shared, ports: Vec::new() };
        for port in 0..ports {
            let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let address = socket.local_addr()?;
            let target = Arc::new(Mutex::new(String::new()));
            let (shared, aim) = (Arc::clone(&proxy.shared), Arc::clone(&target));
            let thread = thread::Builder::new()
                .name("proxy-accept".to_owned())
                .spawn(move || shared.accept(port, &socket, &aim))?;
            proxy.ports.push(Port { address, target, thread: Some(thread) });
        }
        Ok(proxy)
    }

    /// Passes new connections on to these addresses, in the order of the ports.
    pub fn aim(&self, targets: &[String]) {
        for (port, target) in self.ports.iter().zip(targets) {
            target.clone_into(&mut lock(&port.target));
        }
    }

    /// Where it listens, as `host:port`.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.ports.iter().map(|port| port.address.to_string()).collect()
    }

    /// The numbers of its ports.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        self.ports.iter().map(|port| port.address.port()).collect()
    }

    /// Changes the weather, for open connections too.
    pub fn set(&self, weather: Weather) {
        *lock(&self.shared.weather) = weather;
        self.shared.change.fetch_add(1, Ordering::SeqCst);
    }

    /// From now on chance comes from this seed.
    pub fn reseed(&self, seed: u64) {
        *lock(&self.shared.rng) = Rng::new(seed);
    }

    /// Write requests that came through a port, the first is 0, on connections that still stand,
    /// and that the server behind it has not answered.
    #[must_use]
    pub fn open_writes(&self, port: usize) -> u64 {
        let links = lock(&self.shared.links);
        links.iter().filter_map(Weak::upgrade).map(|link| link.open_writes(port)).sum()
    }

    /// What was done so far.
    #[must_use]
    pub fn harm(&self) -> Harm {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.shared.harm;
        Harm {
            connections: of(&counts.connections),
            cuts: of(&counts.cuts),
            lost_answers: of(&counts.lost_answers),
            swallowed: of(&counts.swallowed),
            delays: of(&counts.delays),
            splits: of(&counts.splits),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for port in &mut self.ports {
            // Only a connection wakes a thread that accepts; that it fails does not matter.
            let _ = TcpStream::connect(port.address);
            if let Some(thread) = port.thread.take() {
                // A panic of that thread has been printed already.
                let _ = thread.join();
            }
        }
        lock(&self.shared.links).drain(..).filter_map(|link| link.upgrade()).for_each(|l| l.end());
    }
}

impl Shared {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn accept(self: &Arc<Self>, port: usize, socket: &TcpListener, target: &Mutex<String>) {
        while let Ok((client, _)) = socket.accept() {
            if self.is_stopped() {
                return;
            }
            let target = lock(target).clone();
            let shared = Arc::clone(self);
            let serve = move || {
                // A server that is down is what the client is to see: a connection that closes.
                if let Ok(server) = TcpStream::connect(&*target) {
                    Link::run(&shared, port, client, server);
                } else {
                    let _ = client.shutdown(Shutdown::Both);
                }
            };
            // A connection that finds no thread is dropped, which the client sees as a cut.
            let _ = thread::Builder::new().name("proxy".to_owned()).spawn(serve);
        }
    }

    fn keep(&self, link: &Arc<Link>) {
        let mut links = lock(&self.links);
        links.retain(|link| link.strong_count() > 0);
        links.push(Arc::downgrade(link));
    }
}

#[cfg(test)]
mod tests;
