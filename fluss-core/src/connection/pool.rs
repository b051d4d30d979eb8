//! One server: its address, its connection, what waits for it, and when it is tried again.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use fluss_proto::api::{NegotiatedVersions, UnsupportedApi};
use fluss_proto::header::RequestHeader;
use fluss_proto::segments::Segments;
use fluss_proto::{ApiKey, ErrorCode};

use super::ConnectionEvent;
use super::handshake::{Handshake, Step};
use super::inflight::{InFlight, Sent};
use super::outbox::{Outbox, Waiting};
use super::request::{Outgoing, Owner, Reply, RequestError};
use super::wire::{self, Answer};
use crate::backoff::Backoff;
use crate::cx::Cx;
use crate::error::Error;
use crate::ids::{Address, ConnId, ServerId};
use crate::output::{Action, TimerReason};
use crate::time::{Instant, earliest};

/// What all servers write to.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    pub(crate) actions: VecDeque<Action>,
    pub(crate) replies: VecDeque<Reply>,
    pub(crate) events: VecDeque<ConnectionEvent>,
    /// Answers that belonged to no open request.
    pub(crate) dropped_answers: u64,
    next_conn: u64,
}

impl Outputs {
    fn reply(&mut self, owner: Owner, result: Result<Bytes, RequestError>) {
        self.replies.push_back(Reply { owner, result });
    }

    fn not_sent(&mut self, owner: Owner, error: Error) {
        self.reply(owner, Err(RequestError::NotSent(error)));
    }

    fn lost(&mut self, owner: Owner, error: Error) {
        self.reply(owner, Err(RequestError::Lost(error)));
    }

    /// Takes back what was asked of the adapter for this connection; true when it never heard of
    /// it.
    fn forget(&mut self, conn: ConnId) -> bool {
        let mut unborn = false;
        self.actions.retain(|action| match action {
            Action::Connect { conn: c, .. } if *c == conn => {
                unborn = true;
                false
            }
            Action::Flush { conn: c } => *c != conn,
            _ => true,
        });
        unborn
    }
}

#[derive(Debug)]
enum Phase {
    Connecting,
    Handshake(Handshake),
    Ready(Box<NegotiatedVersions>),
}

#[derive(Debug)]
struct Connection {
    id: ConnId,
    phase: Phase,
    /// When it must be ready.
    deadline: Instant,
    inflight: InFlight,
    /// Frames that arrived.
    heard: u64,
    /// A flush was asked for and `poll_transmit` has not come to its end since.
    flushing: bool,
}

impl Connection {
    fn flush(&mut self, out: &mut Outputs) {
        if !self.flushing {
            self.flushing = true;
            out.actions.push_back(Action::Flush { conn: self.id });
        }
    }
}

/// How a connection came to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The socket is gone already.
    ByPeer,
    /// We give it up: the adapter must drop the socket.
    ByUs,
    /// As `ByUs`, and another attempt would end alike.
    Fatal,
}

/// Why a server is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retired {
    /// The client is closed.
    Closed,
    /// Metadata does not name it any more.
    LeftCluster,
}

/// One server and everything that waits for it.
#[derive(Debug)]
pub(crate) struct Server {
    id: ServerId,
    address: Address,
    /// `role host:port`.
    label: Arc<str>,
    outbox: Outbox,
    /// A machine has requests for it that are made only when they can be written.
    wanted: bool,
    conn: Option<Connection>,
    backoff: Backoff,
    /// No attempt before this.
    retry_at: Option<Instant>,
    /// Why the last attempt failed; None once it succeeded.
    failure: Option<Error>,
}

impl Server {
    pub(crate) fn new(id: ServerId, address: Address) -> Self {
        let label = label(id, &address);
        Self {
            id,
            address,
            label,
            outbox: Outbox::default(),
            wanted: false,
            conn: None,
            backoff: Backoff::default(),
            retry_at: None,
            failure: None,
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn conn_id(&self) -> Option<ConnId> {
        self.conn.as_ref().map(|c| c.id)
    }

    /// The connection, once requests may be sent on it.
    pub(crate) fn ready_conn(&self) -> Option<ConnId> {
        self.versions().and(self.conn_id())
    }

    pub(crate) fn versions(&self) -> Option<&NegotiatedVersions> {
        match self.conn.as_ref().map(|c| &c.phase) {
            Some(Phase::Ready(versions)) => Some(versions),
            _ => None,
        }
    }

    /// No request waits or is open, and no machine wants to make one.
    pub(crate) fn is_idle(&self) -> bool {
        !self.wanted
            && self.outbox.is_empty()
            && self.conn.as_ref().is_none_or(|c| c.inflight.is_empty() && !c.flushing)
    }

    pub(crate) fn enqueue(&mut self, cx: &mut Cx<'_>, out: &mut Outputs, request: Outgoing) {
        if request.body.len() + RequestHeader::BYTES > cx.config.max_request_bytes {
            let error = Error::misuse(format!(
                "a {} request of {} bytes exceeds max_request_bytes ({}); make it smaller",
                request.api.name(),
                request.body.len(),
                cx.config.max_request_bytes
            ));
            return out.not_sent(request.owner, error);
        }
        if let (Some(error), Some(at)) = (&self.failure, self.retry_at)
            && at > cx.now
            && self.conn.is_none()
            && any_server_will_do(request.owner)
        {
            return out.not_sent(request.owner, error.clone());
        }
        self.outbox.push(request, cx.now);
        self.advance(cx, out);
    }

    pub(crate) fn want_flush(&mut self, cx: &mut Cx<'_>, out: &mut Outputs) {
        self.wanted = true;
        self.advance(cx, out);
    }

    /// Connects or asks for a flush when something waits and that is possible now.
    fn advance(&mut self, cx: &mut Cx<'_>, out: &mut Outputs) {
        if !self.wanted && self.outbox.is_empty() {
            return;
        }
        match &mut self.conn {
            Some(conn) => {
                if matches!(conn.phase, Phase::Ready(_)) {
                    self.wanted = false;
                    conn.flush(out);
                }
            }
            None if self.retry_at.is_none_or(|at| at <= cx.now) => {
                let id = ConnId(out.next_conn);
                out.next_conn += 1;
                self.retry_at = None;
                self.conn = Some(Connection {
                    id,
                    phase: Phase::Connecting,
                    deadline: cx.now + cx.config.connect_timeout,
                    inflight: InFlight::default(),
                    heard: 0,
                    flushing: false,
                });
                let address = self.address.clone();
                out.actions.push_back(Action::Connect { conn: id, address });
            }
            None => {}
        }
    }

    pub(crate) fn handle_connected(&mut self, out: &mut Outputs) {
        if let Some(conn) = &mut self.conn
            && matches!(conn.phase, Phase::Connecting)
        {
            conn.phase = Phase::Handshake(Handshake::new());
            conn.flush(out);
        }
    }

    /// The socket could not be made, or is gone.
    pub(crate) fn handle_gone(&mut self, cx: &mut Cx<'_>, out: &mut Outputs, reason: &str) {
        let Some(conn) = &self.conn else { return };
        let what = match &conn.phase {
            Phase::Connecting => format!("cannot connect: {reason}"),
            Phase::Handshake(h) => format!(
                "the connection ended before {} was answered ({reason}); \
                 is this the port of a Fluss server?",
                h.stage()
            ),
            Phase::Ready(_) => format!("the connection was lost: {reason}"),
        };
        let sent = matches!(conn.phase, Phase::Ready(_));
        let error = self.disconnected(&what, sent);
        self.end(cx, out, error, End::ByPeer);
    }

    /// Its bytes cannot be cut into frames.
    pub(crate) fn handle_protocol_error(
        &mut self,
        cx: &mut Cx<'_>,
        out: &mut Outputs,
        reason: &str,
    ) {
        let hint = match self.conn.as_ref().map(|c| &c.phase) {
            Some(Phase::Ready(_)) => "",
            _ => "; is this the port of a Fluss server?",
        };
        self.violation(cx, out, &format!("{reason}{hint}"));
    }

    fn violation(&mut self, cx: &mut Cx<'_>, out: &mut Outputs, what: &str) {
        self.end(cx, out, Error::Peer { server: self.label.clone(), what: what.into() }, End::ByUs);
    }

    pub(crate) fn handle_frame(&mut self, cx: &mut Cx<'_>, out: &mut Outputs, frame: Bytes) {
        let Some(conn) = &mut self.conn else { return };
        conn.heard += 1;
        let answer = match wire::answer(frame) {
            Ok(answer) => answer,
            Err(what) => return self.handle_protocol_error(cx, out, &what),
        };
        if let Answer::ServerFailure { code, message } = &answer {
            return self.violation(
                cx,
                out,
                &format!("it gave up the connection: {code}: {message}"),
            );
        }
        match &mut conn.phase {
            Phase::Connecting => {}
            Phase::Handshake(handshake) => {
                let step = handshake.handle_answer(cx, self.id, &self.label, answer);
                self.on_step(cx, out, step);
            }
            Phase::Ready(_) => self.on_answer(cx, out, answer),
        }
    }

    fn on_step(&mut self, cx: &mut Cx<'_>, out: &mut Outputs, step: Step) {
        let Some(conn) = &mut self.conn else { return };
        match step {
            Step::Wait => {}
            Step::Send => conn.flush(out),
            Step::Ready(versions) => {
                conn.phase = Phase::Ready(versions);
                self.backoff.reset();
                self.failure = None;
                out.events.push_back(ConnectionEvent::Ready { server: self.id, conn: conn.id });
                self.advance(cx, out);
            }
            Step::Failed { error, fatal } => {
                self.end(cx, out, error, if fatal { End::Fatal } else { End::ByUs });
            }
        }
    }

    fn on_answer(&mut self, cx: &mut Cx<'_>, out: &mut Outputs, answer: Answer) {
        let (Some(conn), Some(id)) = (&mut self.conn, answer.id()) else { return };
        let Some(sent) = conn.inflight.answered(id) else {
            out.dropped_answers += 1;
            if !conn.inflight.came_late(id) {
                self.violation(cx, out, &format!("an answer to request {id}, twice or unasked"));
            }
            return;
        };
        let result = match answer {
            Answer::Success { body, .. } => Ok(body),
            Answer::Rejected { code, message, .. } => {
                let closed_door =
                    code == ErrorCode::AUTHENTICATE_EXCEPTION && cx.config.credentials.is_none();
                let message = if closed_door {
                    format!("{} wants credentials and none are set: {message}", self.label).into()
                } else {
                    message
                };
                Err(RequestError::Rejected { code, message })
            }
            Answer::Unreadable { what, .. } => Err(RequestError::Lost(Error::Peer {
                server: self.label.clone(),
                what: format!("its answer to {}: {what}", sent.api.name()).into(),
            })),
            Answer::ServerFailure { .. } => return,
        };
        out.reply(sent.owner, result);
    }

    pub(crate) fn handle_timeout(&mut self, cx: &mut Cx<'_>, out: &mut Outputs) {
        self.expire_attempt(cx, out);
        self.expire_inflight(cx, out);
        while let Some(Waiting { out: request, since }) = self.outbox.pop_expired(cx.now) {
            let error = self.overdue(request.api, since, request.deadline, self.failure.clone());
            out.not_sent(request.owner, error);
        }
        self.advance(cx, out);
    }

    /// Ends an attempt that takes too long; ends the pause before another login.
    fn expire_attempt(&mut self, cx: &mut Cx<'_>, out: &mut Outputs) {
        let Some(conn) = &mut self.conn else { return };
        let (what, last) = match &mut conn.phase {
            Phase::Ready(_) => return,
            Phase::Connecting => (format!("connecting to {}", self.label), None),
            Phase::Handshake(h) => {
                if conn.deadline > cx.now {
                    let step = h.handle_timeout(cx.now);
                    return self.on_step(cx, out, step);
                }
                (format!("{} at {}", h.stage(), self.label), h.last_error().cloned())
            }
        };
        if conn.deadline <= cx.now {
            let after = cx.config.connect_timeout;
            let error = Error::Unavailable { what: what.into(), after, last: last.map(Box::new) };
            self.end(cx, out, error, End::ByUs);
        }
    }

    fn expire_inflight(&mut self, cx: &mut Cx<'_>, out: &mut Outputs) {
        let mut end = None;
        while let Some(conn) = &mut self.conn {
            let Some(sent) = conn.inflight.pop_expired(cx.now) else { break };
            let silent = conn.heard == sent.heard;
            let error = self.overdue(sent.api, sent.since, sent.deadline, None);
            out.lost(sent.owner, error.clone());
            // A write that may still be executed must not be overtaken by its own retry, and a
            // server that says nothing at all is not worth waiting for.
            if silent || matches!(sent.owner, Owner::Write(_)) {
                end = Some(error);
            }
        }
        if let Some(error) = end {
            let error = self.disconnected(&format!("closed, as it did not answer: {error}"), true);
            self.end(cx, out, error, End::ByUs);
        }
    }

    pub(crate) fn poll_transmit(&mut self, cx: &Cx<'_>, out: &mut Outputs) -> Option<Segments> {
        let conn = self.conn.as_mut()?;
        let frame = match &mut conn.phase {
            Phase::Connecting => None,
            Phase::Handshake(handshake) => handshake.transmit(cx, || conn.inflight.next_id()),
            Phase::Ready(_) => self.transmit_waiting(cx, out),
        };
        if frame.is_none()
            && let Some(conn) = &mut self.conn
        {
            conn.flushing = false;
        }
        frame
    }

    fn transmit_waiting(&mut self, cx: &Cx<'_>, out: &mut Outputs) -> Option<Segments> {
        while let Some(Waiting { out: request, since }) = self.outbox.pop() {
            let Outgoing { api, body, owner, deadline } = request;
            if deadline <= cx.now {
                let error = self.overdue(api, since, deadline, None);
                out.not_sent(owner, error);
            } else {
                match self.register(api, owner, deadline, since)? {
                    Ok((id, version)) => return wire::request(api, version, id, body),
                    Err(reason) => {
                        let error = self.unsupported(api, &reason);
                        out.reply(owner, Err(RequestError::Unsupported(error)));
                    }
                }
            }
        }
        None
    }

    pub(crate) fn unsupported(&self, api: ApiKey, reason: &UnsupportedApi) -> Error {
        let what = format!("{}: {reason}", api.name()).into();
        Error::Unsupported { server: self.label.clone(), what }
    }

    /// Gives a request its place in the request table. None without a ready connection.
    pub(crate) fn register(
        &mut self,
        api: ApiKey,
        owner: Owner,
        deadline: Instant,
        since: Instant,
    ) -> Option<Result<(i32, i16), UnsupportedApi>> {
        let conn = self.conn.as_mut()?;
        let Phase::Ready(versions) = &conn.phase else { return None };
        let version = match versions.version(api) {
            Ok(version) => version,
            Err(reason) => return Some(Err(reason)),
        };
        // The adapter polls on until there is nothing left; if the connection is lost before that,
        // the maker of this request may have more of them.
        conn.flushing = true;
        let heard = conn.heard;
        Some(Ok((conn.inflight.register(Sent { api, owner, deadline, since, heard }), version)))
    }

    /// Forgets a request of which nothing is written. The adapter does not come back for it.
    pub(crate) fn withdraw(&mut self, id: i32) {
        let Some(conn) = &mut self.conn else { return };
        conn.inflight.answered(id);
        conn.flushing = false;
    }

    pub(crate) fn timeout(&self) -> Option<(Instant, TimerReason)> {
        let mut deadline = self.outbox.first_deadline();
        let mut retry = None;
        match &self.conn {
            None if self.wanted || !self.outbox.is_empty() => retry = self.retry_at,
            None => {}
            Some(conn) => match &conn.phase {
                Phase::Ready(_) => deadline = earliest(deadline, conn.inflight.first_deadline()),
                Phase::Connecting => deadline = earliest(deadline, Some(conn.deadline)),
                Phase::Handshake(handshake) => {
                    deadline = earliest(deadline, Some(conn.deadline));
                    retry = handshake.pause();
                }
            },
        }
        let deadline = deadline.map(|at| (at, TimerReason::RequestDeadline));
        let retry = retry.map(|at| (at, TimerReason::Reconnect));
        [deadline, retry].into_iter().flatten().min()
    }

    /// The server lives elsewhere now: what was sent is lost, what waits goes to the new address.
    pub(crate) fn relocate(&mut self, cx: &mut Cx<'_>, out: &mut Outputs, address: &Address) {
        self.close(cx, out, &format!("the server moved to {address}"));
        self.address = address.clone();
        self.label = label(self.id, address);
        self.backoff.reset();
        self.retry_at = None;
        self.failure = None;
        self.advance(cx, out);
    }

    /// Gives up the connection for this reason; what waits goes to the next one.
    pub(crate) fn close(&mut self, cx: &mut Cx<'_>, out: &mut Outputs, reason: &str) {
        self.end(cx, out, self.disconnected(reason, true), End::ByUs);
    }

    /// Gives up the connection and everything that waits.
    pub(crate) fn retire(&mut self, cx: &mut Cx<'_>, out: &mut Outputs, reason: Retired) {
        let error = |sent| match reason {
            Retired::Closed => Error::Closed("client"),
            Retired::LeftCluster => {
                self.disconnected("the server is no longer part of the cluster", sent)
            }
        };
        let (sent, waiting) = (error(true), error(false));
        self.fail_waiting(out, &waiting, |_| true);
        self.end(cx, out, sent, End::ByUs);
        self.wanted = false;
    }

    /// Drops an idle connection without a word to anybody.
    pub(crate) fn drop_idle(&mut self, out: &mut Outputs) {
        if self.is_idle()
            && let Some(conn) = self.conn.take()
            && !out.forget(conn.id)
        {
            out.actions.push_back(Action::Disconnect { conn: conn.id });
        }
    }

    /// The one way in which a connection ends: its requests are answered, the next attempt is
    /// planned, the parent is told.
    fn end(&mut self, cx: &mut Cx<'_>, out: &mut Outputs, error: Error, end: End) {
        let idle = self.is_idle();
        let Some(mut conn) = self.conn.take() else { return };
        if !out.forget(conn.id) && end != End::ByPeer {
            out.actions.push_back(Action::Disconnect { conn: conn.id });
        }
        for sent in conn.inflight.drain() {
            out.lost(sent.owner, error.clone());
        }
        if matches!(conn.phase, Phase::Ready(_)) {
            // Servers close idle connections as a matter of course; that is no failure to wait for.
            self.wanted |= conn.flushing;
            self.retry_at = (!idle).then(|| self.next_retry(cx));
            out.events.push_back(ConnectionEvent::Lost { server: self.id, conn: conn.id, error });
            return;
        }
        self.retry_at = Some(self.next_retry(cx));
        self.failure = Some(error.clone());
        if end == End::Fatal {
            self.wanted = false;
            self.fail_waiting(out, &error, |_| true);
        } else {
            self.fail_waiting(out, &error, is_better_off_elsewhere);
        }
        out.events.push_back(ConnectionEvent::Failed { server: self.id, error });
    }

    fn next_retry(&mut self, cx: &mut Cx<'_>) -> Instant {
        cx.now + self.backoff.next(cx.config.reconnect_backoff, cx.rng)
    }

    fn fail_waiting(&mut self, out: &mut Outputs, error: &Error, which: impl Fn(Owner) -> bool) {
        for waiting in self.outbox.take_if(|o| which(o.owner)) {
            out.not_sent(waiting.out.owner, error.clone());
        }
    }

    fn disconnected(&self, what: &str, sent: bool) -> Error {
        Error::Disconnected { server: self.label.clone(), what: what.into(), sent }
    }

    fn overdue(
        &self,
        api: ApiKey,
        since: Instant,
        deadline: Instant,
        last: Option<Error>,
    ) -> Error {
        Error::Unavailable {
            what: format!("{} at {}", api.name(), self.label).into(),
            after: deadline.saturating_since(since),
            last: last.map(Box::new),
        }
    }
}

/// Requests that any server can serve need not wait for the next attempt to reach this one.
fn any_server_will_do(owner: Owner) -> bool {
    matches!(owner, Owner::Metadata(_) | Owner::InitWriter(_))
}

/// After a failed attempt these also go back to their makers, who look for a server anew: what any
/// server can serve goes to the next one, what only one can serve may find that it has moved.
fn is_better_off_elsewhere(owner: Owner) -> bool {
    any_server_will_do(owner) || matches!(owner, Owner::Command(_))
}

fn label(id: ServerId, address: &Address) -> Arc<str> {
    match id {
        ServerId::Bootstrap(_) => format!("bootstrap server {address}").into(),
        _ => format!("{id} {address}").into(),
    }
}
