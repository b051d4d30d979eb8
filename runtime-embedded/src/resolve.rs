//! Host names, on a thread of their own, as no system resolves them without blocking.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::thread;

use fluss_core::config::Resolver;
use fluss_core::ids::Address;

use crate::reactor::{Reactor, lock};

type Answer = io::Result<Vec<SocketAddr>>;

/// Where the answer will be, once.
pub(crate) type Lookup = Arc<Mutex<Option<Answer>>>;

/// The resolver thread. It starts with the first name that is no literal address and ends with the
/// client. Names are resolved one after the other; those nobody waits for any more are skipped.
#[derive(Debug)]
pub(crate) struct Names {
    resolver: Resolver,
    questions: Option<Sender<(Address, Lookup)>>,
}

impl Names {
    /// Asks this resolver, or the system's.
    pub(crate) fn new(resolver: Option<Resolver>) -> Self {
        let system = || {
            Resolver::new(|server| {
                (&*server.host, server.port).to_socket_addrs().map(Iterator::collect)
            })
        };
        Self { resolver: resolver.unwrap_or_else(system), questions: None }
    }

    /// The addresses of a name, asked for anew; the answer wakes the driver. A literal address is
    /// its own answer.
    pub(crate) fn lookup(&mut self, address: Address, reactor: &Arc<Reactor>) -> Lookup {
        let lookup = Lookup::default();
        let known = match address.literal() {
            Some(literal) => Some(Ok(vec![literal])),
            None => self.ask(address, Arc::clone(&lookup), reactor).err().map(Err),
        };
        if known.is_some() {
            *lock(&lookup) = known;
        }
        lookup
    }

    fn ask(&mut self, address: Address, to: Lookup, reactor: &Arc<Reactor>) -> io::Result<()> {
        if self.questions.is_none() {
            let (sender, questions) = channel();
            let (resolver, waker) = (self.resolver.clone(), Waker::from(Arc::clone(reactor)));
            thread::Builder::new()
                .name("fluss-resolver".into())
                .spawn(move || serve(&questions, &resolver, &waker))?;
            self.questions = Some(sender);
        }
        let sent = self.questions.as_ref().map(|questions| questions.send((address, to)));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(io::Error::other("the resolver thread has ended")),
        }
    }
}

fn serve(questions: &Receiver<(Address, Lookup)>, resolver: &Resolver, waker: &Waker) {
    for (address, lookup) in questions {
        if Arc::strong_count(&lookup) > 1 {
            let answer = resolver.resolve(&address);
            *lock(&lookup) = Some(answer);
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str) -> Address {
        Address { host: host.into(), port: 9123 }
    }

    fn take(lookup: &Lookup) -> Option<Answer> {
        lock(lookup).take()
    }

    #[test]
    fn literal_addresses_start_no_thread() {
        let reactor = Arc::new(Reactor::new().unwrap());
        let mut names = Names::new(None);
        for literal in ["127.0.0.1", "::1"] {
            let found = take(&names.lookup(address(literal), &reactor)).unwrap().unwrap();
            assert_eq!(found, [SocketAddr::new(literal.parse().unwrap(), 9123)]);
        }
        assert!(names.questions.is_none());
    }

    #[test]
    fn an_answer_wakes_the_driver() {
        let reactor = Arc::new(Reactor::new().unwrap());
        reactor.look();
        let lookup = Names::new(None).lookup(address("localhost"), &reactor);
        let found = loop {
            if let Some(found) = take(&lookup) {
                break found.unwrap();
            }
            reactor.look();
            reactor.sleep(None, || false).unwrap();
        };
        assert!(found.iter().any(|a| a.ip().is_loopback() && a.port() == 9123), "{found:?}");
    }
}
