//! What scripts need of a cluster, and the connections to a fake one.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fluss_core::ids::{ConnId, ServerId};
use fluss_core::testing::cluster::FakeCluster;
use fluss_core::time::Instant;
use fluss_proto::message::{AuthenticateRequest, ErrorResponse};
use prost::Message;

use super::must;
use super::step::{Event, Stop, USERS};

/// Longer than any answer takes.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(8);

/// A server: the coordinator or a tablet server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The coordinator.
    Coordinator,
    /// A tablet server.
    Tablet(usize),
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub enum Got {
    /// A success frame.
    Answer(Bytes),
    /// An error frame.
    Refused(ErrorResponse),
    /// A frame about the connection.
    Failure(ErrorResponse),
    /// Nothing: the server closed the connection.
    Closed,
    /// Nothing, for longer than any answer takes.
    Silence,
}

/// A cluster that scripts are played to.
pub trait Wire {
    /// The requests from here on come from this user, where the cluster asks who one is.
    fn act_as(&mut self, user: &'static str);

    /// Sends one request and waits for its answer.
    fn call(&mut self, at: At, api: i16, version: i16, body: &[u8]) -> Got {
        self.send(at, &framed(api, version, body))
    }

    /// Sends bytes and waits for a frame.
    fn send(&mut self, at: At, bytes: &[u8]) -> Got;

    /// Sends bytes that may not be a whole frame, and takes what comes back within a moment.
    fn begin(&mut self, at: At, bytes: &[u8]) -> Option<Got>;

    /// Host and port of all servers, the coordinator first.
    fn addresses(&self) -> Vec<(String, i32)>;

    /// The wall clock of the servers, in milliseconds since 1970.
    fn now_ms(&self) -> i64;

    /// Lets something happen to the cluster, whose tables are led by this tablet server.
    fn event(&mut self, event: Event, leader: usize);

    /// Lets time go by before another look at something that is not there yet.
    fn pause(&mut self);

    /// Counts a table that has been made.
    fn made(&mut self);

    /// Counts the loss, and repairs a cluster that has lost the creation of a table; false if it
    /// cannot.
    fn repair(&mut self) -> bool;
}

/// A whole request.
fn framed(api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let length = must("a short request", i32::try_from(8 + body.len()));
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend_from_slice(&api.to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&7_i32.to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

/// The request by which a user says who they are; none for somebody without a password.
pub(super) fn login(user: &str) -> Option<Vec<u8>> {
    let (_, password) = USERS.iter().find(|(name, _)| *name == user)?;
    let token = format!("\0{user}\0{password}").into();
    let request = AuthenticateRequest { protocol: "PLAIN".to_owned(), token };
    Some(framed(1038, 0, &request.encode_to_vec()))
}

/// The tablet servers that do not lead.
pub(super) fn followers(servers: usize, leader: usize) -> impl Iterator<Item = usize> {
    (0..servers).filter(move |id| *id != leader)
}

/// Reads a frame without its length field.
pub(super) fn read(frame: &Bytes) -> Got {
    let error = |at: usize| must("an error body", ErrorResponse::decode(frame.slice(at..)));
    match frame.first() {
        Some(0) => Got::Answer(frame.slice(5..)),
        Some(1) => Got::Refused(error(5)),
        Some(2) => Got::Failure(error(1)),
        other => panic!("a frame of type {other:?}"),
    }
}

/// A fake cluster, without sockets.
#[derive(Debug)]
pub struct FakeWire {
    cluster: FakeCluster,
    user: &'static str,
    conns: Vec<(ServerId, &'static str, ConnId)>,
    now: Instant,
}

impl FakeWire {
    /// Plays to this cluster.
    #[must_use]
    pub fn new(cluster: FakeCluster) -> Self {
        Self { cluster, user: USERS[0].0, conns: Vec::new(), now: Instant::ZERO }
    }

    fn conn(&mut self, at: At) -> Option<ConnId> {
        let server = match at {
            At::Coordinator => ServerId::Coordinator,
            At::Tablet(id) => tablet(id),
        };
        let user = self.user;
        let cluster = &mut self.cluster;
        self.conns.retain(|(.., conn)| !cluster.is_closed(*conn));
        let known = self.conns.iter().find(|(id, who, _)| *id == server && *who == user);
        if let Some((.., conn)) = known {
            return Some(*conn);
        }
        let conn = cluster.open(server)?;
        if let Some(login) = login(user).filter(|_| !cluster.options().users.is_empty()) {
            cluster.handle_bytes(conn, &login, self.now);
            let answer = must("an answer", cluster.poll_output(conn).ok_or(user));
            assert!(matches!(read(&answer.slice(4..)), Got::Answer(_)), "{user} is not let in");
        }
        self.conns.push((server, user, conn));
        Some(conn)
    }

    fn output(&mut self, conn: ConnId, answer: &mut BytesMut) {
        while let Some(bytes) = self.cluster.poll_output(conn) {
            answer.extend_from_slice(&bytes);
        }
    }
}

fn tablet(id: usize) -> ServerId {
    ServerId::Tablet(id as i32)
}

impl Wire for FakeWire {
    fn act_as(&mut self, user: &'static str) {
        self.user = user;
    }

    fn send(&mut self, at: At, bytes: &[u8]) -> Got {
        let Some(conn) = self.conn(at) else { return Got::Closed };
        self.now = self.now + Duration::from_millis(1);
        let patience = self.now + ANSWER_LIMIT;
        self.cluster.handle_timeout(self.now);
        self.cluster.handle_bytes(conn, bytes, self.now);
        let mut answer = BytesMut::new();
        loop {
            self.output(conn, &mut answer);
            if answer.len() > 4 {
                return read(&answer.freeze().slice(4..));
            }
            if self.cluster.is_closed(conn) {
                return Got::Closed;
            }
            let next = self.cluster.poll_timeout().filter(|at| *at <= patience);
            let Some(at) = next else {
                // The answer may still come, and must not be taken for that to another request.
                self.cluster.close(conn);
                self.conns.retain(|(.., other)| *other != conn);
                return Got::Silence;
            };
            self.now = self.now.max(at);
            self.cluster.handle_timeout(self.now);
        }
    }

    fn begin(&mut self, at: At, bytes: &[u8]) -> Option<Got> {
        let Some(conn) = self.conn(at) else { return Some(Got::Closed) };
        self.cluster.handle_bytes(conn, bytes, self.now);
        let mut answer = BytesMut::new();
        self.output(conn, &mut answer);
        (answer.len() > 4).then(|| read(&answer.freeze().slice(4..)))
    }

    fn addresses(&self) -> Vec<(String, i32)> {
        let addresses = self.cluster.servers().filter_map(|id| self.cluster.address(id));
        addresses.map(|address| (address.host.to_string(), i32::from(address.port))).collect()
    }

    fn now_ms(&self) -> i64 {
        self.cluster.options().epoch_ms + (self.now.as_micros() / 1000) as i64
    }

    fn event(&mut self, event: Event, leader: usize) {
        let cluster = &mut self.cluster;
        let followers = followers(cluster.servers().count() - 1, leader);
        match event {
            Event::Restart(stop) => cluster.restart(tablet(leader), stop == Stop::Clean),
            Event::PauseFollowers => followers.for_each(|id| cluster.stop_following(id as i32)),
            Event::ResumeFollowers => followers.for_each(|id| cluster.follow_again(id as i32)),
            Event::KillFollowers => followers.for_each(|id| cluster.stop(tablet(id))),
            Event::MissFollowers => {}
            Event::StartFollowers => followers.for_each(|id| cluster.start(tablet(id))),
            Event::KillLeader => {
                cluster.stop(tablet(leader));
                cluster.move_leaders_away(leader as i32);
            }
            Event::StartFormer => {
                let down: Vec<_> = cluster.servers().filter(|id| !cluster.is_up(*id)).collect();
                down.into_iter().for_each(|id| cluster.start(id));
            }
        }
    }

    fn pause(&mut self) {
        self.now = self.now + Duration::from_millis(50);
        self.cluster.handle_timeout(self.now);
    }

    fn made(&mut self) {}

    fn repair(&mut self) -> bool {
        false
    }
}
