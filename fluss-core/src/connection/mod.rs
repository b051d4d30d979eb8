//! Connections to servers: one for each, made when something waits for it, remade when lost.
//!
//! A connection's life is connecting → negotiating versions → authenticating (when credentials
//! are set) → ready → gone. Small requests wait in their server's outbox until the socket takes
//! them; requests that are made only when they can be written (writes, fetches) are announced with
//! [`Connections::want_flush`] and registered with [`Connections::begin`]. Every request gets
//! exactly one [`Reply`]: an answer, a rejection, `Lost` once it was handed to a socket, else
//! `NotSent`, or `Unsupported` where this server never takes it.

mod handshake;
mod inflight;
mod outbox;
mod pool;
pub(crate) mod request;
#[cfg(test)]
mod testkit;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_nonsense;
#[cfg(test)]
mod tests_random;
mod wire;

use std::collections::BTreeMap;

use bytes::Bytes;
use fluss_proto::ApiKey;
use fluss_proto::segments::Segments;

use self::pool::{Outputs, Retired, Server};
use self::request::{Outgoing, Owner, Reply, RequestError};
use crate::config::Config;
use crate::cx::Cx;
use crate::error::Error;
use crate::ids::{Address, ConnId, ServerId};
use crate::output::{Action, TimerReason};
use crate::time::Instant;

/// Something that happened to a connection, for the parent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ConnectionEvent {
    /// Requests may be sent.
    Ready {
        /// The server.
        server: ServerId,
        /// Its connection.
        conn: ConnId,
    },
    /// A ready connection is gone; its requests were answered with `Lost`.
    Lost {
        /// The server.
        server: ServerId,
        /// The connection that was.
        conn: ConnId,
        /// Why.
        error: Error,
    },
    /// A connection could not be made, or its handshake failed. Another attempt follows after a
    /// backoff while anything waits, except after failures that would repeat themselves (wrong
    /// password, no version in common): then only for requests and wishes that come later.
    Failed {
        /// The server.
        server: ServerId,
        /// Why.
        error: Error,
    },
}

/// A late-bound request that has its place in the request table and must be written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    /// The id that goes into the header.
    pub(crate) request_id: i32,
    /// The version that goes into the header.
    pub(crate) version: i16,
}

/// All servers of a client and the connections to them.
#[derive(Debug)]
pub(crate) struct Connections {
    servers: BTreeMap<ServerId, Server>,
    by_conn: BTreeMap<ConnId, ServerId>,
    out: Outputs,
    closed: bool,
}

impl Connections {
    /// Knows the bootstrap addresses, as [`ServerId::Bootstrap`] with their index; connects to
    /// none.
    pub(crate) fn new(config: &Config) -> Self {
        let bootstrap = (0..=u16::MAX).zip(&config.bootstrap).map(|(index, address)| {
            let id = ServerId::Bootstrap(index);
            (id, Server::new(id, address.clone()))
        });
        Self {
            servers: bootstrap.collect(),
            by_conn: BTreeMap::new(),
            out: Outputs::default(),
            closed: false,
        }
    }

    /// Takes a small request; connects when needed. Requests to one server leave in the order in
    /// which they came in. They wait for a connection until their deadline, except those that any
    /// server can serve (metadata, writer ids): these come back as soon as a server cannot be
    /// reached. A server whose address is not known answers `NotSent` at once.
    pub(crate) fn enqueue(&mut self, cx: &mut Cx<'_>, server: ServerId, out: Outgoing) {
        match self.servers.get_mut(&server) {
            _ if self.closed => self.refuse(out.owner, Error::Closed("client")),
            Some(entry) => {
                entry.enqueue(cx, &mut self.out, out);
                self.index(server);
            }
            None => {
                let error = Error::Disconnected {
                    server: server.to_string().into(),
                    what: "its address is not known".into(),
                    sent: false,
                };
                self.refuse(out.owner, error);
            }
        }
    }

    fn refuse(&mut self, owner: Owner, error: Error) {
        self.out.replies.push_back(Reply { owner, result: Err(RequestError::NotSent(error)) });
    }

    /// A machine has late-bound requests for this server: a flush is asked for as soon as its
    /// connection is ready, which is made when needed. The wish outlives failed attempts and lost
    /// connections, and ends with that flush, with a failure that would repeat itself, or with the
    /// server leaving the cluster. False for a server that is not in the cluster now.
    pub(crate) fn want_flush(&mut self, cx: &mut Cx<'_>, server: ServerId) -> bool {
        if self.closed {
            return true;
        }
        let Some(entry) = self.servers.get_mut(&server) else { return false };
        entry.want_flush(cx, &mut self.out);
        self.index(server);
        true
    }

    /// The cluster as metadata knows it. Connections to servers that vanished or moved are closed;
    /// what waited for one that vanished comes back as `NotSent`. Bootstrap connections that are
    /// idle are given up once there are other servers to ask.
    pub(crate) fn set_servers(&mut self, cx: &mut Cx<'_>, known: &BTreeMap<ServerId, Address>) {
        if self.closed {
            return;
        }
        let mut ids: Vec<ServerId> = self.servers.keys().copied().collect();
        ids.extend(known.keys().filter(|id| !self.servers.contains_key(id)));
        for id in ids {
            let bootstrap = matches!(id, ServerId::Bootstrap(_));
            match (self.servers.get_mut(&id), known.get(&id)) {
                (Some(_), _) if bootstrap && known.is_empty() => {}
                (Some(server), _) if bootstrap => server.drop_idle(&mut self.out),
                (Some(server), Some(address)) if server.address() != address => {
                    server.relocate(cx, &mut self.out, address);
                }
                (Some(server), None) => {
                    server.retire(cx, &mut self.out, Retired::LeftCluster);
                    self.servers.remove(&id);
                }
                (None, Some(address)) if !bootstrap => {
                    self.servers.insert(id, Server::new(id, address.clone()));
                }
                _ => {}
            }
            self.index(id);
        }
    }

    /// Whether requests can be sent to this server right now.
    pub(crate) fn is_ready(&self, server: ServerId) -> bool {
        self.conn_of(server).is_some()
    }

    /// The server at the other end of a connection that is being made or in use.
    pub(crate) fn server_of(&self, conn: ConnId) -> Option<ServerId> {
        self.by_conn.get(&conn).copied()
    }

    /// The server's connection, if it is ready.
    pub(crate) fn conn_of(&self, server: ServerId) -> Option<ConnId> {
        self.servers.get(&server)?.ready_conn()
    }

    /// Connections that requests can go over.
    pub(crate) fn ready(&self) -> usize {
        self.servers.values().filter(|server| server.versions().is_some()).count()
    }

    /// Answers that belonged to no open request: late, or invented by the server.
    pub(crate) fn dropped_answers(&self) -> u64 {
        self.out.dropped_answers
    }

    /// The adapter's socket is connected.
    pub(crate) fn handle_connected(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        self.with(cx, conn, |server, _, out| server.handle_connected(out));
    }

    /// The adapter could not connect.
    pub(crate) fn handle_connect_failed(&mut self, cx: &mut Cx<'_>, conn: ConnId, reason: &str) {
        self.with(cx, conn, |server, cx, out| server.handle_gone(cx, out, reason));
    }

    /// The socket was closed, by the server or by an IO error.
    pub(crate) fn handle_closed(&mut self, cx: &mut Cx<'_>, conn: ConnId, reason: &str) {
        self.with(cx, conn, |server, cx, out| server.handle_gone(cx, out, reason));
    }

    /// A frame without its length. The body of an answer is a slice of it, never a copy.
    pub(crate) fn handle_frame(&mut self, cx: &mut Cx<'_>, conn: ConnId, frame: Bytes) {
        self.with(cx, conn, |server, cx, out| server.handle_frame(cx, out, frame));
    }

    /// The bytes cannot be cut into frames, for this reason (a length out of bounds).
    pub(crate) fn handle_protocol_error(&mut self, cx: &mut Cx<'_>, conn: ConnId, reason: &str) {
        self.with(cx, conn, |server, cx, out| server.handle_protocol_error(cx, out, reason));
    }

    /// Time has passed. Early and repeated calls change nothing.
    pub(crate) fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        if self.poll_timeout().is_none_or(|(at, _)| at > cx.now) {
            return;
        }
        let ids: Vec<ServerId> = self.servers.keys().copied().collect();
        for id in ids {
            if let Some(server) = self.servers.get_mut(&id) {
                server.handle_timeout(cx, &mut self.out);
            }
            self.index(id);
        }
    }

    /// What the adapter must do next.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.out.actions.pop_front()
    }

    /// The next message of the handshake or request of the outbox, as one frame with its length.
    pub(crate) fn poll_transmit(&mut self, cx: &mut Cx<'_>, conn: ConnId) -> Option<Segments> {
        let server = self.servers.get_mut(self.by_conn.get(&conn)?)?;
        server.poll_transmit(cx, &mut self.out)
    }

    /// Registers a request that is being written right now, after `poll_transmit` returned None
    /// here.
    ///
    /// # Errors
    /// The connection is not ready, or the server does not offer the API.
    pub(crate) fn begin(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        api: ApiKey,
        owner: Owner,
        deadline: Instant,
    ) -> Result<Begun, RequestError> {
        let not_ready = || RequestError::NotSent(Error::misuse(format!("{conn} is not ready")));
        let server = self.by_conn.get(&conn).and_then(|id| self.servers.get_mut(id));
        let server = server.ok_or_else(not_ready)?;
        match server.register(api, owner, deadline, cx.now).ok_or_else(not_ready)? {
            Ok((request_id, version)) => Ok(Begun { request_id, version }),
            Err(reason) => Err(RequestError::Unsupported(server.unsupported(api, &reason))),
        }
    }

    /// Forgets a request that began and could not be put together: it is not written.
    pub(crate) fn withdraw(&mut self, conn: ConnId, begun: Begun) {
        let server = self.by_conn.get(&conn).and_then(|id| self.servers.get_mut(id));
        if let Some(server) = server {
            server.withdraw(begun.request_id);
        }
    }

    /// The version in which this API is spoken on a ready connection.
    #[cfg(test)]
    pub(crate) fn version(&self, conn: ConnId, api: ApiKey) -> Option<i16> {
        self.servers.get(&self.server_of(conn)?)?.versions()?.version(api).ok()
    }

    /// Whether there is something to do for the adapter.
    pub(crate) fn has_action(&self) -> bool {
        !self.out.actions.is_empty()
    }

    /// The next answer.
    pub(crate) fn poll_reply(&mut self) -> Option<Reply> {
        self.out.replies.pop_front()
    }

    /// The next thing that happened.
    pub(crate) fn poll_event(&mut self) -> Option<ConnectionEvent> {
        self.out.events.pop_front()
    }

    /// When `handle_timeout` has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, TimerReason)> {
        self.servers.values().filter_map(Server::timeout).min()
    }

    /// Gives up a connection for this reason: its requests are lost, what waits goes to the next
    /// one.
    pub(crate) fn close(&mut self, cx: &mut Cx<'_>, conn: ConnId, reason: &str) {
        self.with(cx, conn, |server, cx, out| server.close(cx, out, reason));
    }

    /// Ends every connection; every request is answered with [`Error::Closed`].
    pub(crate) fn close_all(&mut self, cx: &mut Cx<'_>) {
        self.closed = true;
        for server in self.servers.values_mut() {
            server.retire(cx, &mut self.out, Retired::Closed);
        }
        self.by_conn.clear();
    }

    fn with(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        input: impl FnOnce(&mut Server, &mut Cx<'_>, &mut Outputs),
    ) {
        let Some(id) = self.server_of(conn) else { return };
        if let Some(server) = self.servers.get_mut(&id) {
            input(server, cx, &mut self.out);
        }
        self.index(id);
    }

    /// Keeps the way from connection to server in step after an input to this server.
    fn index(&mut self, id: ServerId) {
        let conn = self.servers.get(&id).and_then(Server::conn_id);
        if conn.is_some_and(|conn| self.by_conn.contains_key(&conn)) {
            return;
        }
        self.by_conn.retain(|_, server| *server != id);
        if let Some(conn) = conn {
            self.by_conn.insert(conn, id);
        }
    }
}
