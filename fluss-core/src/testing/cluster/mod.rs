//! The fake cluster: one coordinator, some tablet servers, virtual connections.
//!
//! ```
//! use fluss_core::ids::ServerId;
//! use fluss_core::testing::cluster::{ClusterOptions, FakeCluster};
//! use fluss_core::time::Instant;
//!
//! let mut cluster = FakeCluster::new(ClusterOptions::default());
//! let now = Instant::ZERO;
//! let conn = cluster.open(ServerId::Tablet(0)).expect("the server is up");
//! // API_VERSIONS, request id 0, client "fl" version "1"; in two pieces, as TCP may do.
//! let request = b"\0\0\0\x0f\x03\xe8\0\0\0\0\0\0\x0a\x02fl\x12\x011";
//! cluster.handle_bytes(conn, &request[..5], now);
//! cluster.handle_bytes(conn, &request[5..], now);
//! let answer = cluster.poll_output(conn).expect("an answer");
//! assert_eq!(answer[4..9], [0, 0, 0, 0, 0], "success, request id 0");
//! ```

mod acls;
mod alter;
mod api;
mod around;
mod batch;
mod catalog;
mod conn;
mod ddl;
mod decode;
mod describe;
mod dispatch;
mod faults;
mod fetch;
mod insert;
mod kv;
mod log;
mod lookup;
mod moves;
mod names;
mod options;
mod predicate;
mod projection;
mod properties;
mod put;
mod replicas;
mod rescale;
mod scan;
mod scan_kv;
mod shape;
#[cfg(test)]
mod tests;
mod tier;
mod token;
mod truth;
mod window;
mod words;
mod write;

pub use faults::{Fault, FaultKind, Faults, On};
pub use options::{Bug, ClusterOptions, Release, Rule};
pub use token::IssuedKeys;
pub use truth::{Appended, BucketTruth, LogRow, StoredBatch};

use bytes::{Buf, Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::ids::{Address, BucketKey, ConnId, ServerId};
use crate::time::Instant;
use api::code;
use catalog::{Catalog, Database};
use conn::{Conn, Request};
use fetch::Poll;
use write::HeldWrite;

/// An error answer: a code and a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    code: i32,
    message: String,
}

impl Failure {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What the cluster waits for.
#[derive(Clone, Debug)]
enum Timer {
    /// A delayed answer.
    Send(ConnId, Bytes),
    /// Requests that were held back.
    Resume(ConnId),
    /// A write whose acknowledgement has waited long enough.
    Write(u64),
    /// A fetch that has waited long enough.
    Fetch(u64),
    /// A bucket whose followers have caught up with this offset.
    Replicated(BucketKey, i64),
    /// A tablet server that has been away for so long that its followers are not in sync any more.
    Missed(i32),
}

#[derive(Clone, Debug)]
struct Server {
    address: Address,
    up: bool,
    /// Up, but its replicas fetch nothing.
    idle: bool,
    /// When its replicas are no longer in sync, while they fetch nothing.
    missed_at: Option<Instant>,
}

/// A Fluss cluster in memory. See the [module](self) for how to drive it.
#[derive(Debug)]
pub struct FakeCluster {
    options: ClusterOptions,
    servers: BTreeMap<ServerId, Server>,
    conns: BTreeMap<ConnId, Conn>,
    next_conn: u64,
    ready: BTreeSet<ConnId>,
    catalog: Catalog,
    faults: Faults,
    off: BTreeSet<Rule>,
    bugs: Vec<(u64, Bug)>,
    timers: BTreeMap<(Instant, u64), Timer>,
    next_token: u64,
    held_writes: BTreeMap<u64, HeldWrite>,
    polls: BTreeMap<u64, Poll>,
    now: Instant,
    requests: BTreeMap<i16, u64>,
    lost_writes: u64,
    offers: Option<Vec<(i16, i16)>>,
    /// The same for single servers.
    offers_of: BTreeMap<ServerId, Vec<(i16, i16)>>,
    /// What tablet servers and the coordinator offer without these, as an answer; empty so far.
    usual_offers: [BytesMut; 2],
    sessions: scan_kv::Sessions,
    journal: Option<VecDeque<Appended>>,
    /// Batches that came when their writer had just been forgotten for its age.
    forgotten: VecDeque<(BucketKey, i64, i32)>,
    /// What is sent in place of records.
    forged: BTreeMap<BucketKey, Bytes>,
    remote: tier::Remote,
    tokens: token::Tokens,
}

impl FakeCluster {
    /// A cluster with the database `fluss` and nothing in it.
    #[must_use]
    pub fn new(options: ClusterOptions) -> Self {
        let mut servers = BTreeMap::new();
        let ids = (0..options.tablet_servers.max(1)).map(|id| ServerId::Tablet(i32::from(id)));
        for (id, port) in std::iter::once(ServerId::Coordinator).chain(ids).zip(9123..) {
            let address = Address { host: Arc::from("127.0.0.1"), port };
            servers.insert(id, Server { address, up: true, idle: false, missed_at: None });
        }
        let mut catalog = Catalog::default();
        let json = Bytes::from_static(br#"{"version":1,"custom_properties":{}}"#);
        let database = Database { json, created_ms: options.epoch_ms };
        catalog.databases.insert("fluss".to_owned(), database);
        Self {
            faults: Faults::new(options.seed),
            options,
            servers,
            conns: BTreeMap::new(),
            next_conn: 0,
            ready: BTreeSet::new(),
            catalog,
            off: BTreeSet::new(),
            bugs: Vec::new(),
            timers: BTreeMap::new(),
            next_token: 0,
            held_writes: BTreeMap::new(),
            polls: BTreeMap::new(),
            now: Instant::ZERO,
            requests: BTreeMap::new(),
            lost_writes: 0,
            offers: None,
            offers_of: BTreeMap::new(),
            usual_offers: Default::default(),
            sessions: scan_kv::Sessions::default(),
            journal: None,
            forgotten: VecDeque::new(),
            forged: BTreeMap::new(),
            remote: tier::Remote::default(),
            tokens: token::Tokens::default(),
        }
    }

    /// The settings.
    #[must_use]
    pub fn options(&self) -> &ClusterOptions {
        &self.options
    }

    /// All servers, the coordinator first.
    pub fn servers(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.servers.keys().copied()
    }

    /// Where metadata says a server listens; `None` for a server that does not exist.
    #[must_use]
    pub fn address(&self, server: ServerId) -> Option<&Address> {
        self.servers.get(&server).map(|server| &server.address)
    }

    /// Changes what metadata says. Unknown servers are ignored.
    pub fn set_address(&mut self, server: ServerId, address: Address) {
        if let Some(entry) = self.servers.get_mut(&server) {
            entry.address = address;
        }
    }

    /// How many requests of each API key have arrived, dropped ones included.
    #[must_use]
    pub fn requests(&self) -> &BTreeMap<i16, u64> {
        &self.requests
    }

    /// Opens a connection; `None` if the server is down or does not exist.
    pub fn open(&mut self, server: ServerId) -> Option<ConnId> {
        self.servers.get(&server).filter(|server| server.up)?;
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        self.conns.insert(conn, Conn::new(server, self.options.users.is_empty()));
        Some(conn)
    }

    /// Bytes from the client. They may hold part of a frame or many frames.
    pub fn handle_bytes(&mut self, conn: ConnId, bytes: &[u8], now: Instant) {
        let limit = self.options.max_request_bytes;
        if let Some(state) = self.conns.get_mut(&conn).filter(|state| !state.closing) {
            state.input.extend_from_slice(bytes);
        }
        while let Some(state) = self.conns.get_mut(&conn).filter(|state| !state.closing) {
            match state.next_frame(limit) {
                Ok(Some(frame)) => self.handle_frame(conn, frame, now),
                Ok(None) => return,
                Err(length) => return self.handle_bad_length(conn, length, now),
            }
        }
    }

    /// The same; a whole frame that begins nothing and follows nothing is not copied.
    pub(crate) fn handle_piece(&mut self, conn: ConnId, mut piece: Bytes, now: Instant) {
        let limit = self.options.max_request_bytes;
        let idle = |state: &Conn| !state.closing && state.input.is_empty();
        if self.conns.get(&conn).is_some_and(idle) && conn::is_frame(&piece, limit) {
            piece.advance(4);
            self.handle_frame(conn, piece, now);
        } else {
            self.handle_bytes(conn, &piece, now);
        }
    }

    /// One whole frame, without its length field, as [`request_length`](Self::request_length)
    /// measured it. A frame shorter than a header is answered like a bad length.
    pub fn handle_frame(&mut self, conn: ConnId, frame: Bytes, now: Instant) {
        self.now = self.now.max(now);
        if frame.len() < conn::REQUEST_HEADER {
            let length = i32::try_from(frame.len()).unwrap_or_default();
            return self.handle_bad_length(conn, length, now);
        }
        let request = Request::read(frame);
        *self.requests.entry(request.api).or_insert(0) += 1;
        self.arrive(conn, request);
    }

    /// What the four length bytes of a request announce.
    ///
    /// # Errors
    /// The announced number, if a server refuses it: pass it to
    /// [`handle_bad_length`](Self::handle_bad_length).
    pub fn request_length(&self, head: [u8; 4]) -> Result<usize, i32> {
        conn::frame_length(head, self.options.max_request_bytes)
    }

    /// A frame of a forbidden length: the server says so and closes.
    pub fn handle_bad_length(&mut self, conn: ConnId, length: i32, now: Instant) {
        self.now = self.now.max(now);
        // What is too long is known at once, what is too short when it is there.
        let message = match usize::try_from(length) {
            Ok(length) if length < conn::REQUEST_HEADER => words::frame_too_short(length),
            _ => words::frame_too_long(length, self.options.max_request_bytes),
        };
        let failure = Failure::new(code::UNKNOWN, message);
        self.push(conn, conn::server_failure(&failure));
        self.cut(conn);
    }

    /// The client has closed the connection. Requests that are held back stay and are applied.
    pub fn close(&mut self, conn: ConnId) {
        if let Some(state) = self.conns.get_mut(&conn) {
            state.open = false;
            state.output.clear();
            if state.queue.is_empty() {
                self.conns.remove(&conn);
            }
        }
        self.ready.remove(&conn);
    }

    /// The next bytes for this connection's client.
    pub fn poll_output(&mut self, conn: ConnId) -> Option<Bytes> {
        self.conns.get_mut(&conn)?.output.pop_front()
    }

    /// Whether the transport must close this connection: the server is done with it and all its
    /// output has been taken.
    #[must_use]
    pub fn is_closed(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_none_or(|state| state.closing && state.output.is_empty())
    }

    /// A connection that has got output, or is to be closed, since it was last named here.
    pub fn poll_ready(&mut self) -> Option<ConnId> {
        self.ready.pop_first()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Does what is due. Too early or too often is fine.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > self.now {
                return;
            }
            match entry.remove() {
                Timer::Send(conn, bytes) => self.push(conn, bytes),
                Timer::Resume(conn) => self.resume(conn),
                Timer::Write(token) => self.write_timed_out(token),
                Timer::Fetch(token) => self.answer_poll(token),
                Timer::Replicated(bucket, offset) => self.replicated(bucket, offset),
                Timer::Missed(server) => self.missed(server),
            }
        }
    }

    /// Replaces the faults that come by chance and those planned; the counts go on.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults.replace(faults);
    }

    /// The faults and what has fired.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Lets a fault hit one request once, after `skip` requests of the kind.
    pub fn inject(&mut self, on: On, skip: u64, fault: Fault) {
        self.faults.plan(on, skip, fault);
    }

    /// Ends all faults by chance.
    pub fn heal(&mut self) {
        self.faults.heal();
        self.disturb_remote(0, 0);
    }

    /// Switches a rule of the server off, for tests of tests.
    pub fn switch_off(&mut self, rule: Rule) {
        self.off.insert(rule);
    }

    /// Makes the fake lie once, at the first new batch after `skip` new batches.
    pub fn misbehave(&mut self, skip: u64, bug: Bug) {
        self.bugs.push((skip, bug));
    }

    fn enforces(&self, rule: Rule) -> bool {
        !self.off.contains(&rule)
    }

    /// Wall clock in milliseconds since 1970.
    fn now_ms(&self) -> i64 {
        let elapsed = i64::try_from(self.now.as_micros() / 1000).unwrap_or(i64::MAX);
        self.options.epoch_ms.saturating_add(elapsed)
    }

    fn set_timer(&mut self, at: Instant, timer: Timer) {
        self.next_token += 1;
        self.timers.insert((at, self.next_token), timer);
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    /// Hands bytes to a connection whose client is still there.
    fn push(&mut self, conn: ConnId, bytes: Bytes) {
        let Some(state) = self.conns.get_mut(&conn) else { return };
        if state.open && !state.closing && !state.silent {
            state.output.push_back(bytes);
            self.ready.insert(conn);
        }
    }

    /// The server closes the connection after what it has already written.
    fn cut(&mut self, conn: ConnId) {
        if let Some(state) = self.conns.get_mut(&conn) {
            state.closing = true;
            self.ready.insert(conn);
        }
    }
}

/// The body of an answer to a bucket: absent code and text on success.
fn bucket_error(result: &Result<(), Failure>) -> (Option<i32>, Option<String>) {
    match result {
        Ok(()) => (None, None),
        Err(failure) => (Some(failure.code), Some(failure.message.clone())),
    }
}

/// Shorthand of the handlers.
type Answer<T> = Result<T, Failure>;
