//! Host names, on a thread of their own, as no system resolves them without blocking.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::task::Waker;
use std::thread;

use fluss_core::ids::Address;

use crate::reactor::{Reactor, lock};

type Answer = Mutex<Option<io::Result<Vec<SocketAddr>>>>;

/// Someone waits for the addresses of a name, as long as the answer's place exists.
#[derive(Debug)]
struct Question {
    address: Address,
    answer: Weak<Answer>,
}

/// The resolver thread. It starts with the first name that is no literal address and ends with the
/// client. Names are resolved one after the other; those nobody waits for any more are skipped.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    questions: Option<Sender<Question>>,
}

/// What is known of a name.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// All there is to know.
    Done(io::Result<Vec<SocketAddr>>),
    /// The thread will answer, and wake the driver.
    Waiting(Arc<Answer>),
}

impl Resolver {
    /// The addresses of a name, asked for anew. A literal address is its own answer.
    pub(crate) fn lookup(&mut self, address: &Address, reactor: &Arc<Reactor>) -> Lookup {
        if let Ok(ip) = address.host.parse() {
            return Lookup::Done(Ok(vec![SocketAddr::new(ip, address.port)]));
        }
        let questions = match &self.questions {
            Some(questions) => questions,
            None => match start(Arc::clone(reactor)) {
                Ok(questions) => self.questions.insert(questions),
                Err(e) => return Lookup::Done(Err(e)),
            },
        };
        let answer = Arc::new(Answer::default());
        let question = Question { address: address.clone(), answer: Arc::downgrade(&answer) };
        match questions.send(question) {
            Ok(()) => Lookup::Waiting(answer),
            Err(_) => Lookup::Done(Err(io::Error::other("the resolver thread has ended"))),
        }
    }
}

impl Lookup {
    /// The answer, once.
    pub(crate) fn take(&mut self) -> Option<io::Result<Vec<SocketAddr>>> {
        match self {
            Self::Done(answer) => Some(std::mem::replace(answer, Ok(Vec::new()))),
            Self::Waiting(answer) => lock(answer).take(),
        }
    }
}

fn start(reactor: Arc<Reactor>) -> io::Result<Sender<Question>> {
    let (sender, receiver) = channel();
    thread::Builder::new()
        .name("fluss-resolver".into())
        .spawn(move || serve(&receiver, reactor))?;
    Ok(sender)
}

fn serve(questions: &Receiver<Question>, reactor: Arc<Reactor>) {
    let waker = Waker::from(reactor);
    for question in questions {
        if question.answer.strong_count() == 0 {
            continue;
        }
        let Address { host, port, .. } = &question.address;
        let addresses = (&**host, *port).to_socket_addrs().map(Iterator::collect);
        if let Some(answer) = question.answer.upgrade() {
            *lock(&answer) = Some(addresses);
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

    #[test]
    fn literal_addresses_start_no_thread() {
        let reactor = Arc::new(Reactor::new().unwrap());
        let mut resolver = Resolver::default();
        for literal in ["127.0.0.1", "::1"] {
            let found = resolver.lookup(&address(literal), &reactor).take().unwrap().unwrap();
            assert_eq!(found, [SocketAddr::new(literal.parse().unwrap(), 9123)]);
        }
        assert!(resolver.questions.is_none());
    }

    #[test]
    fn an_answer_wakes_the_driver() {
        let reactor = Arc::new(Reactor::new().unwrap());
        reactor.look();
        let mut lookup = Resolver::default().lookup(&address("localhost"), &reactor);
        let found = loop {
            if let Some(found) = lookup.take() {
                break found.unwrap();
            }
            reactor.look();
            reactor.sleep(None, || false).unwrap();
        };
        assert!(found.iter().any(|a| a.ip().is_loopback() && a.port() == 9123), "{found:?}");
    }
}
