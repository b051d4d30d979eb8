//! The first messages of a connection: which versions both sides know, then who we are.

use bytes::Bytes;
use fluss_proto::api::{NegotiatedVersions, ServerType};
use fluss_proto::message::{
    ApiVersionsRequest, ApiVersionsResponse, AuthenticateRequest, AuthenticateResponse,
};
use fluss_proto::segments::Segments;
use fluss_proto::{ApiKey, ErrorCode};
use prost::Message;

use super::wire::{self, Answer};
use crate::backoff::{Backoff, BackoffConfig};
use crate::config::Credentials;
use crate::cx::Cx;
use crate::error::Error;
use crate::ids::ServerId;
use crate::time::{Duration, Instant};

/// Waits between attempts when a server asks to authenticate again later (error 51).
const AUTH_BACKOFF: BackoffConfig =
    BackoffConfig::new(Duration::from_millis(100), Duration::from_secs(5));

const NO_FLUSS: &str = "is this the port of a Fluss server?";

/// What the handshake wants after an answer.
#[derive(Debug)]
pub(crate) enum Step {
    /// There is another message to send.
    Send,
    /// Nothing until a timer or an answer.
    Wait,
    /// Done: requests may be sent.
    Ready(Box<NegotiatedVersions>),
    /// The connection is of no use; when `fatal`, another attempt would end alike.
    Failed { error: Error, fatal: bool },
}

#[derive(Debug)]
enum State {
    Greet,
    AwaitVersions(i32),
    Authenticate,
    AwaitLogin(i32),
    Paused(Instant),
}

/// The handshake of one connection.
#[derive(Debug)]
pub(crate) struct Handshake {
    state: State,
    versions: Box<NegotiatedVersions>,
    backoff: Backoff,
    last: Option<Error>,
}

impl Handshake {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Greet,
            versions: Box::new(NegotiatedVersions::before_handshake()),
            backoff: Backoff::default(),
            last: None,
        }
    }

    /// What it is waiting for, for the text of an error.
    pub(crate) fn stage(&self) -> &'static str {
        match self.state {
            State::Greet | State::AwaitVersions(_) => "API_VERSIONS",
            _ => "AUTHENTICATE",
        }
    }

    /// Why the server did not let us in so far.
    pub(crate) fn last_error(&self) -> Option<&Error> {
        self.last.as_ref()
    }

    /// The message to send now, if any; `next_id` is used up only then.
    pub(crate) fn transmit(
        &mut self,
        cx: &Cx<'_>,
        next_id: impl FnOnce() -> i32,
    ) -> Option<Segments> {
        match self.state {
            State::Greet => {
                let id = next_id();
                self.state = State::AwaitVersions(id);
                let request = ApiVersionsRequest {
                    client_software_name: env!("CARGO_PKG_NAME").to_owned(),
                    client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
                };
                let body = request.encode_to_vec().into();
                wire::request(ApiKey::ApiVersions, 0, id, body)
            }
            State::Authenticate => {
                let credentials = cx.config.credentials.as_ref()?;
                let version = self.versions.version(ApiKey::Authenticate).ok()?;
                let id = next_id();
                self.state = State::AwaitLogin(id);
                let request = AuthenticateRequest {
                    // The server compares the mechanism's name letter by letter.
                    protocol: "PLAIN".to_owned(),
                    token: plain_token(credentials),
                };
                let body = request.encode_to_vec().into();
                wire::request(ApiKey::Authenticate, version, id, body)
            }
            State::AwaitVersions(_) | State::AwaitLogin(_) | State::Paused(_) => None,
        }
    }

    /// The moment at which the next attempt to authenticate is due.
    pub(crate) fn pause(&self) -> Option<Instant> {
        match self.state {
            State::Paused(until) => Some(until),
            _ => None,
        }
    }

    /// Ends a pause that is over.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Step {
        match self.state {
            State::Paused(until) if until <= now => {
                self.state = State::Authenticate;
                Step::Send
            }
            _ => Step::Wait,
        }
    }

    pub(crate) fn handle_answer(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        label: &str,
        answer: Answer,
    ) -> Step {
        let (awaited, id) = match (&self.state, answer.id()) {
            (State::AwaitVersions(awaited) | State::AwaitLogin(awaited), Some(id)) => {
                (*awaited, id)
            }
            _ => return Step::Wait,
        };
        if awaited != id {
            let what = format!("answered request {id} where {awaited} was asked; {NO_FLUSS}");
            return failed(peer(label, &what));
        }
        match (&self.state, answer) {
            (State::AwaitVersions(_), Answer::Success { body, .. }) => {
                self.on_versions(cx, server, label, &body)
            }
            (State::AwaitVersions(_), Answer::Rejected { code, message, .. }) => {
                let fatal = matches!(
                    code,
                    ErrorCode::UNSUPPORTED_VERSION | ErrorCode::AUTHENTICATE_EXCEPTION
                );
                let what = format!("API_VERSIONS at {label}");
                Step::Failed { error: rejected(what, code, &message), fatal }
            }
            (State::AwaitLogin(_), Answer::Success { body, .. }) => self.on_login(label, &body),
            (State::AwaitLogin(_), Answer::Rejected { code, message, .. }) => {
                self.on_login_rejected(cx, label, code, &message)
            }
            (_, Answer::Unreadable { what, .. }) => {
                failed(peer(label, &format!("its answer to {}: {what}", self.stage())))
            }
            _ => Step::Wait,
        }
    }

    fn on_versions(&mut self, cx: &Cx<'_>, server: ServerId, label: &str, body: &[u8]) -> Step {
        let response = match ApiVersionsResponse::decode(body) {
            Ok(response) => response,
            Err(e) => {
                let what = format!("its API_VERSIONS answer does not parse ({e}); {NO_FLUSS}");
                return failed(peer(label, &what));
            }
        };
        *self.versions = NegotiatedVersions::negotiate(&response);
        if let Some(error) = wrong_role(server, label, self.versions.server_type()) {
            return failed(error);
        }
        let login = cx.config.credentials.is_some();
        // Every server of every release offers metadata: without it nothing at all would work.
        for (needed, api) in [(true, ApiKey::GetMetadata), (login, ApiKey::Authenticate)] {
            if let Err(unsupported) = self.versions.version(api)
                && needed
            {
                let what = unsupported.to_string().into();
                let error = Error::Unsupported { server: label.into(), what };
                return Step::Failed { error, fatal: true };
            }
        }
        if login {
            self.state = State::Authenticate;
            Step::Send
        } else {
            Step::Ready(self.versions.clone())
        }
    }

    /// PLAIN is complete with the first success, whether or not an empty challenge came with it.
    fn on_login(&mut self, label: &str, body: &[u8]) -> Step {
        match AuthenticateResponse::decode(body) {
            Ok(_) => Step::Ready(self.versions.clone()),
            Err(e) => failed(peer(label, &format!("its AUTHENTICATE answer does not parse ({e})"))),
        }
    }

    fn on_login_rejected(
        &mut self,
        cx: &mut Cx<'_>,
        label: &str,
        code: ErrorCode,
        message: &str,
    ) -> Step {
        let user = cx.config.credentials.as_ref().map_or("", |c| &*c.user);
        let error = rejected(format!("authentication as `{user}` at {label}"), code, message);
        if code != ErrorCode::RETRIABLE_AUTHENTICATE_EXCEPTION {
            return Step::Failed { error, fatal: true };
        }
        self.last = Some(error);
        self.state = State::Paused(cx.now + self.backoff.next(AUTH_BACKOFF, cx.rng));
        Step::Wait
    }
}

/// No authorization identity, the user, the password, each after a zero byte (RFC 4616).
fn plain_token(credentials: &Credentials) -> Bytes {
    let (user, password) = (credentials.user.as_bytes(), credentials.password.as_bytes());
    [b"\0", user, b"\0", password].concat().into()
}

/// Addresses can be handed to other servers while metadata still names the old ones.
fn wrong_role(server: ServerId, label: &str, is: Option<ServerType>) -> Option<Error> {
    let expected = match server {
        ServerId::Coordinator => ServerType::Coordinator,
        ServerId::Tablet(_) => ServerType::TabletServer,
        ServerId::Bootstrap(_) => return None,
    };
    let is = is.filter(|is| *is != expected)?;
    Some(peer(label, &format!("a {is} answers where metadata named a {expected}")))
}

fn failed(error: Error) -> Step {
    Step::Failed { error, fatal: false }
}

fn peer(label: &str, what: &str) -> Error {
    Error::Peer { server: label.into(), what: what.into() }
}

fn rejected(what: String, code: ErrorCode, message: &str) -> Error {
    Error::Rejected { what: what.into(), code, message: message.into() }
}
