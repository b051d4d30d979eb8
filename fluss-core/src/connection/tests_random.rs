//! Random lives of connections: whatever happens, every request gets exactly one reply, and the
//! reply tells the truth about whether the request was handed to a socket.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fluss_proto::ApiKey;

use super::request::{Outgoing, Owner, RequestError};
use super::testkit::*;
use crate::config::Config;
use crate::ids::{ConnId, ServerId};
use crate::output::Action;
use crate::time::Duration;

const SERVERS: [ServerId; 4] =
    [BOOT, ServerId::Bootstrap(1), ServerId::Tablet(1), ServerId::Coordinator];

/// What a socket of the adapter is up to.
#[derive(Default)]
struct Socket {
    connected: bool,
    /// Flush was asked for.
    flush: bool,
    /// Requests that the server holds.
    held: Vec<Request>,
}

struct World {
    b: Bench,
    sockets: BTreeMap<ConnId, Socket>,
    asked: u64,
    written: BTreeSet<u64>,
    answered: BTreeSet<u64>,
    answers: [u64; 3],
    seed: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut config = Config::new("a:1,b:2").expect("valid");
        if seed.is_multiple_of(3) {
            config = config.credentials("ada", "secret");
        }
        let mut b = Bench::with(config);
        b.rng = crate::rng::Rng::new(seed);
        Self {
            b,
            sockets: BTreeMap::new(),
            asked: 0,
            written: BTreeSet::new(),
            answered: BTreeSet::new(),
            answers: [0; 3],
            seed,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.b.rng.below(bound)
    }

    fn server(&mut self) -> ServerId {
        SERVERS[self.below(4) as usize]
    }

    fn owner(number: u64) -> Owner {
        match number % 3 {
            0 => Owner::Metadata(number),
            1 => Owner::Write(number),
            _ => Owner::Lookup(number),
        }
    }

    fn ask(&mut self) {
        self.asked += 1;
        let number = self.asked;
        let server = self.server();
        let deadline = self.b.now + Duration::from_millis(self.b.rng.below(20_000));
        let api = if number.is_multiple_of(7) { ApiKey::CreateTable } else { ApiKey::GetMetadata };
        let body = Bytes::copy_from_slice(&number.to_be_bytes());
        let out = Outgoing { api, body, owner: Self::owner(number), deadline };
        self.b.run(|net, cx| net.enqueue(cx, server, out));
    }

    fn socket(&mut self) -> Option<ConnId> {
        let count = self.sockets.len() as u64;
        let index = self.below(count) as usize;
        self.sockets.keys().nth(index).copied()
    }

    fn step(&mut self) {
        let conn = self.socket();
        match (self.below(12), conn) {
            (0..=2, _) => self.ask(),
            (3, _) => {
                let server = self.server();
                self.b.run(|net, cx| net.want_flush(cx, server));
            }
            (4, _) => {
                let most = if self.below(10) == 0 { 30_000_000 } else { 200_000 };
                let time = Duration::from_micros(self.below(most));
                self.b.pass(time);
            }
            (5, _) if self.below(6) == 0 => {
                let (coordinator, port) = (self.below(2) == 0, 1 + self.below(2) as u16);
                let tablet = (ServerId::Tablet(1), port);
                match (self.below(4), coordinator) {
                    (0, _) => self.b.learn(&[]),
                    (_, true) => self.b.learn(&[tablet, (ServerId::Coordinator, 9)]),
                    (_, false) => self.b.learn(&[tablet]),
                }
            }
            (5..=6, Some(conn)) => self.connect(conn),
            (7..=8, Some(conn)) => self.write(conn),
            (9..=10, Some(conn)) => self.answer(conn),
            (11, Some(conn)) if self.below(8) == 0 => {
                self.sockets.remove(&conn);
                self.b.run(|net, cx| net.handle_closed(cx, conn, "cut"));
            }
            _ => {}
        }
        self.check();
    }

    fn connect(&mut self, conn: ConnId) {
        if self.sockets[&conn].connected {
            return;
        }
        if self.below(4) == 0 {
            self.sockets.remove(&conn);
            self.b.run(|net, cx| net.handle_connect_failed(cx, conn, "refused"));
        } else {
            self.sockets.entry(conn).or_default().connected = true;
            self.b.run(|net, cx| net.handle_connected(cx, conn));
        }
    }

    /// Writes up to three frames; a flush is over only when there is nothing left.
    fn write(&mut self, conn: ConnId) {
        if !self.sockets[&conn].flush {
            return;
        }
        for _ in 0..3 {
            let Some(frame) = self.b.run(|net, cx| net.poll_transmit(cx, conn)) else {
                if self.below(4) == 0 {
                    self.write_late(conn);
                } else {
                    self.sockets.entry(conn).or_default().flush = false;
                }
                return;
            };
            let request = read_request(&frame.into_bytes());
            if let Ok(number) = <[u8; 8]>::try_from(&request.body[..]) {
                self.written.insert(u64::from_be_bytes(number));
            }
            self.sockets.entry(conn).or_default().held.push(request);
        }
    }

    fn write_late(&mut self, conn: ConnId) {
        let number = self.asked + 1;
        let deadline = self.b.now + Duration::from_millis(self.b.rng.below(20_000));
        let owner = Self::owner(number);
        let begun = self.b.run(|net, cx| net.begin(cx, conn, ApiKey::GetMetadata, owner, deadline));
        if let Ok(begun) = begun {
            self.asked = number;
            self.written.insert(number);
            let request =
                Request { api: 1012, version: 0, id: begun.request_id, body: Bytes::new() };
            self.sockets.entry(conn).or_default().held.push(request);
        }
    }

    fn answer(&mut self, conn: ConnId) {
        let held = self.sockets[&conn].held.len() as u64;
        if held == 0 || self.below(5) == 0 {
            return;
        }
        let index = self.below(held) as usize;
        let Some(socket) = self.sockets.get_mut(&conn) else { return };
        let request = socket.held.remove(index);
        let frame = match (self.below(40), request.api) {
            (0, _) => answer(2, None, b"\x08\x05"),
            (1, _) => answer(9, None, b"nonsense"),
            (2, _) => success(request.id.wrapping_add(3), b""),
            (3, 1038) => error(request.id, 51, "later"),
            (4, _) => error(request.id, 46, "no"),
            (5, 1000) => success(request.id, &versions(3 - self.role(conn))),
            (_, 1000) => success(request.id, &versions(self.role(conn))),
            (6..=9, _) => error(request.id, 1, "trouble"),
            _ => success(request.id, b""),
        };
        self.b.frame(conn, frame.clone());
        if self.below(10) == 0 {
            self.b.frame(conn, frame);
        }
    }

    fn role(&self, conn: ConnId) -> i32 {
        match self.b.net.server_of(conn) {
            Some(ServerId::Coordinator) => 1,
            _ => 2,
        }
    }

    /// Carries out the actions and looks at every reply.
    fn check(&mut self) {
        let seed = self.seed;
        for action in self.b.actions() {
            match action {
                Action::Connect { conn, .. } => {
                    assert!(self.sockets.insert(conn, Socket::default()).is_none(), "seed {seed}");
                }
                Action::Flush { conn } => {
                    let socket = self.sockets.get_mut(&conn).expect("a live connection");
                    assert!(socket.connected, "seed {seed}: flush before connected");
                    socket.flush = true;
                }
                Action::Disconnect { conn } => {
                    assert!(self.sockets.remove(&conn).is_some(), "seed {seed}: {conn} unknown");
                }
                other => panic!("seed {seed}: {other:?} is not of connections"),
            }
        }
        self.b.events();
        for reply in self.b.replies() {
            let number = match reply.owner {
                Owner::Metadata(n) | Owner::Write(n) | Owner::Lookup(n) => n,
                other => panic!("seed {seed}: {other:?} never asked"),
            };
            assert!(self.answered.insert(number), "seed {seed}: {number} answered twice");
            let written = self.written.contains(&number);
            let (kind, sent) = match &reply.result {
                Ok(_) | Err(RequestError::Rejected { .. }) => (0, true),
                Err(RequestError::Lost(_)) => (1, true),
                Err(RequestError::NotSent(_) | RequestError::Unsupported(_)) => (2, false),
            };
            self.answers[kind] += 1;
            assert_eq!(written, sent, "seed {seed}: {number} {:?}", reply.result);
        }
        for (_, socket) in self.sockets.iter().filter(|(_, s)| !s.connected) {
            assert!(!socket.flush && socket.held.is_empty(), "seed {seed}");
        }
    }
}

#[test]
fn every_request_gets_exactly_one_reply_that_tells_whether_it_was_sent() {
    let mut answers = [0; 3];
    for seed in 0..300 {
        let mut world = World::new(seed);
        world.b.learn(&[(ServerId::Tablet(1), 1), (ServerId::Coordinator, 9)]);
        for _ in 0..1500 {
            world.step();
        }
        if seed.is_multiple_of(2) {
            world.b.run(|net, cx| net.close_all(cx));
            world.check();
            assert!(world.sockets.is_empty(), "seed {seed}: sockets left after close");
        } else {
            // Nobody asks any more and nobody answers: deadlines end all that is left, and then
            // nothing keeps the client awake but wishes to write.
            for _ in 0..40 {
                world.b.pass(Duration::from_secs(1));
                world.check();
            }
        }
        let all: BTreeSet<u64> = (1..=world.asked).collect();
        assert_eq!(world.answered, all, "seed {seed}: requests without a reply");
        for (sum, part) in answers.iter_mut().zip(world.answers) {
            *sum += part;
        }
    }
    assert!(answers.iter().all(|n| *n > 5_000), "the test reaches every end: {answers:?}");
}

#[test]
fn the_same_seed_replays_the_same_run() {
    let run = |seed| {
        let mut world = World::new(seed);
        for _ in 0..500 {
            world.step();
        }
        (world.answers, world.b.now, world.asked)
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}
