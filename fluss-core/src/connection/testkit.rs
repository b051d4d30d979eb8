//! A hand-fed set of connections and the few bytes that a server needs to answer.

use bytes::{BufMut, Bytes, BytesMut};
use fluss_proto::ApiKey;
use fluss_proto::message::{
    ApiVersionsResponse, AuthenticateResponse, ErrorResponse, PbApiVersion,
};
use prost::Message;

use super::request::{Outgoing, Owner, Reply, RequestError};
use super::{ConnectionEvent, Connections};
use crate::config::Config;
use crate::cx::Cx;
use crate::error::Error;
use crate::ids::{Address, ConnId, ServerId};
use crate::output::Action;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

pub(super) const BOOT: ServerId = ServerId::Bootstrap(0);

/// A request as the server reads it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    pub(super) api: i16,
    pub(super) version: i16,
    pub(super) id: i32,
    pub(super) body: Bytes,
}

pub(super) struct Bench {
    pub(super) config: Config,
    pub(super) rng: Rng,
    pub(super) net: Connections,
    pub(super) now: Instant,
}

impl Bench {
    pub(super) fn new(bootstrap: &str) -> Self {
        Self::with(Config::new(bootstrap).expect("valid addresses"))
    }

    pub(super) fn with(config: Config) -> Self {
        let net = Connections::new(&config);
        Self { config, rng: Rng::new(1), net, now: Instant::ZERO }
    }

    pub(super) fn run<R>(&mut self, f: impl FnOnce(&mut Connections, &mut Cx<'_>) -> R) -> R {
        let mut cx = Cx { now: self.now, rng: &mut self.rng, config: &self.config };
        f(&mut self.net, &mut cx)
    }

    pub(super) fn ask(&mut self, server: ServerId, number: u64) {
        self.ask_as(server, Owner::Lookup(number), ApiKey::GetMetadata);
    }

    pub(super) fn ask_as(&mut self, server: ServerId, owner: Owner, api: ApiKey) {
        let deadline = self.now + self.config.request_deadline;
        let body = Bytes::from_static(b"body");
        self.run(|net, cx| net.enqueue(cx, server, Outgoing { api, body, owner, deadline }));
    }

    pub(super) fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.net.poll_action()).collect()
    }

    pub(super) fn replies(&mut self) -> Vec<Reply> {
        std::iter::from_fn(|| self.net.poll_reply()).collect()
    }

    pub(super) fn events(&mut self) -> Vec<ConnectionEvent> {
        std::iter::from_fn(|| self.net.poll_event()).collect()
    }

    /// The connection that the adapter is asked to make, and no other action.
    pub(super) fn connect_asked(&mut self) -> ConnId {
        match self.actions().as_slice() {
            [Action::Connect { conn, .. }] => *conn,
            other => panic!("expected one Connect, got {other:?}"),
        }
    }

    pub(super) fn connected(&mut self, conn: ConnId) {
        self.run(|net, cx| net.handle_connected(cx, conn));
        assert_eq!(self.actions(), [Action::Flush { conn }]);
    }

    /// Everything that can be written now, until there is nothing left.
    pub(super) fn written(&mut self, conn: ConnId) -> Vec<Request> {
        let mut all = Vec::new();
        while let Some(frame) = self.run(|net, cx| net.poll_transmit(cx, conn)) {
            all.push(read_request(&frame.into_bytes()));
        }
        all
    }

    pub(super) fn frame(&mut self, conn: ConnId, frame: Bytes) {
        self.run(|net, cx| net.handle_frame(cx, conn, frame));
    }

    /// Plays the whole handshake for whatever waits for this server; drops actions and events.
    pub(super) fn make_ready(&mut self, conn: ConnId, server_type: i32) {
        self.connected(conn);
        let hello = self.written(conn);
        assert_eq!(hello.len(), 1);
        self.frame(conn, success(hello[0].id, &versions(server_type)));
        if self.config.credentials.is_some() {
            let login = self.written(conn);
            let done = AuthenticateResponse { challenge: Some(Bytes::new()) };
            self.frame(conn, success(login[0].id, &done.encode_to_vec()));
        }
        self.actions();
        self.events();
    }

    /// A ready connection without requests.
    pub(super) fn ready(&mut self, server: ServerId) -> ConnId {
        self.run(|net, cx| net.want_flush(cx, server));
        let conn = self.connect_asked();
        self.make_ready(conn, if server == ServerId::Coordinator { 1 } else { 2 });
        assert!(self.written(conn).is_empty());
        assert!(self.net.is_ready(server));
        conn
    }

    pub(super) fn learn(&mut self, servers: &[(ServerId, u16)]) {
        let known = servers
            .iter()
            .map(|(id, port)| (*id, Address { host: "10.0.0.1".into(), port: *port }))
            .collect();
        self.run(|net, cx| net.set_servers(cx, &known));
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.run(|net, cx| net.handle_timeout(cx));
    }

    /// The error with which a handshake ended, which must have closed the connection.
    pub(super) fn failure(&mut self, conn: ConnId) -> Error {
        assert_eq!(self.actions(), [Action::Disconnect { conn }]);
        match self.events().as_slice() {
            [ConnectionEvent::Failed { error, .. }] => error.clone(),
            other => panic!("expected one failure, got {other:?}"),
        }
    }
}

pub(super) fn read_request(frame: &[u8]) -> Request {
    let length = i32::from_be_bytes(frame[..4].try_into().expect("length"));
    assert_eq!(length as usize, frame.len() - 4);
    Request {
        api: i16::from_be_bytes([frame[4], frame[5]]),
        version: i16::from_be_bytes([frame[6], frame[7]]),
        id: i32::from_be_bytes(frame[8..12].try_into().expect("id")),
        body: Bytes::copy_from_slice(&frame[12..]),
    }
}

pub(super) fn success(id: i32, body: &[u8]) -> Bytes {
    answer(0, Some(id), body)
}

pub(super) fn error(id: i32, code: i32, message: &str) -> Bytes {
    let body = ErrorResponse { error_code: code, error_message: Some(message.into()) };
    answer(1, Some(id), &body.encode_to_vec())
}

pub(super) fn answer(kind: u8, id: Option<i32>, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(kind);
    if let Some(id) = id {
        frame.put_i32(id);
    }
    frame.put_slice(body);
    frame.freeze()
}

/// What a server of release 0.9.1 offers, as far as the tests ask for it.
pub(super) fn versions(server_type: i32) -> Vec<u8> {
    let api = |api_key, max_version| PbApiVersion { api_key, min_version: 0, max_version };
    let both = vec![api(1000, 0), api(1007, 0), api(1012, 0), api(1038, 0)];
    let own = if server_type == 1 { vec![api(1005, 0)] } else { vec![api(1014, 0), api(1016, 1)] };
    let api_versions = [both, own].concat();
    ApiVersionsResponse { api_versions, server_type: Some(server_type) }.encode_to_vec()
}

pub(super) fn not_sent(reply: &Reply) -> Error {
    match &reply.result {
        Err(RequestError::NotSent(error)) => error.clone(),
        other => panic!("expected NotSent, got {other:?}"),
    }
}

pub(super) fn lost(reply: &Reply) -> Error {
    match &reply.result {
        Err(RequestError::Lost(error)) => error.clone(),
        other => panic!("expected Lost, got {other:?}"),
    }
}
