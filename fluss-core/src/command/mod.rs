//! Calls with one request and one answer: databases, tables, partitions, offsets, bucket scans.
//!
//! A call is sent to the coordinator, to any server, or to the leader of a bucket. It is sent again
//! while its deadline allows it and nothing speaks against it: it never left, or it may be repeated
//! without harm, or the server said that another one is responsible.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use fluss_proto::{ApiKey, ErrorCode};

use crate::backoff::{Backoff, BackoffConfig};
use crate::connection::request::{Outgoing, Owner, RequestError};
use crate::cx::Cx;
use crate::error::Error;
use crate::ids::{BucketKey, CommandId, ServerId};
use crate::metadata::{Cluster, Metadata};
use crate::output::{CommandAnswer, Event, TimerReason};
use crate::time::{Duration, Instant};

/// Who can answer a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// The coordinator.
    Coordinator,
    /// Any server.
    AnyServer,
    /// The leader of this bucket.
    Leader(BucketKey),
    /// This server and no other.
    Server(ServerId),
}

/// The error code inside a response body, if it holds one; given for calls whose errors do not come
/// as error frames.
pub type BodyError = fn(&[u8]) -> Option<(ErrorCode, String)>;

/// What is wrong with a response body, if anything.
pub type BodyCheck = fn(&[u8]) -> Result<(), String>;

/// A call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Call {
    /// The API.
    pub api: ApiKey,
    /// The encoded request.
    pub body: Bytes,
    /// Who can answer.
    pub target: Target,
    /// What is asked, for error texts: `CREATE_TABLE shop.events`.
    pub what: Arc<str>,
    /// Whether doing it twice is as good as once.
    pub repeatable: bool,
    /// From now to the answer, with all retries.
    pub limit: Duration,
    /// Finds errors in the response body.
    pub body_error: Option<BodyError>,
    /// The number of the request's field that takes the number of buckets its bucket was chosen
    /// from, which is known with the leader.
    pub routing: Option<u32>,
    /// Tells why a response body cannot be read, so that the error can name the server.
    pub check: Option<BodyCheck>,
    /// A code that says "later", besides those that are retriable anyway.
    pub later: Option<ErrorCode>,
}

impl Call {
    /// A call that may be repeated, with a limit of a minute.
    #[must_use]
    pub fn new(api: ApiKey, body: Bytes, target: Target, what: &str) -> Self {
        let limit = Duration::from_secs(60);
        let what = what.into();
        let (repeatable, body_error, routing, check, later) = (true, None, None, None, None);
        Self { api, body, target, what, repeatable, limit, body_error, routing, check, later }
    }

    /// Sets [`Call::check`]: the answer is this message.
    #[must_use]
    /// The body as it is sent: fields of a message may come in any order, also behind its end.
    fn body_for(&self, cluster: &Cluster) -> Bytes {
        let Target::Leader(bucket) = self.target else { return self.body.clone() };
        let known = cluster.bucket_count(bucket.table, bucket.partition);
        let (Some(field), Some(count)) = (self.routing, known) else { return self.body.clone() };
        let mut body = Vec::with_capacity(self.body.len() + 12);
        body.extend_from_slice(&self.body);
        prost::encoding::int32::encode(field, &count, &mut body);
        body.into()
    }

    /// Makes it an error of the call if the answer is none of this kind.
    pub fn answered_by<A: prost::Message + Default>(mut self) -> Self {
        self.check = Some(|body| {
            A::decode(body).map(drop).map_err(|e| format!("an answer that does not parse: {e}"))
        });
        self
    }
}

#[derive(Debug)]
struct Command {
    call: Call,
    deadline: Instant,
    backoff: Backoff,
    last: Option<Error>,
    /// What became of attempts at servers, for calls that any server can answer.
    heard: BTreeMap<ServerId, Error>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be sent as soon as a server is known.
    Due,
    /// To be sent again at this time.
    Waiting(Instant),
    /// On its way to this server.
    Sent(ServerId),
}

impl State {
    /// Who was asked, for error texts.
    fn server(self, cx: &Cx<'_>, metadata: &Metadata) -> Arc<str> {
        match self {
            Self::Sent(server) => metadata.label(cx, server).into(),
            Self::Due | Self::Waiting(_) => "server".into(),
        }
    }
}

const BACKOFF: BackoffConfig =
    BackoffConfig::new(Duration::from_millis(50), Duration::from_secs(1));

/// All calls without an answer.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    commands: BTreeMap<CommandId, Command>,
    next: u64,
    /// Commands in state `Due`.
    due: BTreeSet<CommandId>,
    /// Due commands that need a server which is not known yet.
    stuck: BTreeSet<CommandId>,
    timers: BTreeSet<(Instant, CommandId)>,
    /// Numbers that stand for a moment and nothing else.
    alarms: BTreeMap<CommandId, Instant>,
    events: VecDeque<Event>,
    /// The client is closed; nobody would ever answer.
    closed: Option<Error>,
}

impl Commands {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The id that the next command gets.
    #[cfg(feature = "handle")]
    pub(crate) fn upcoming_id(&self) -> CommandId {
        CommandId(self.next)
    }

    /// Numbers what follows apart from all that another client ever will.
    #[cfg(feature = "handle")]
    pub(crate) fn number_apart(&mut self) {
        self.next = 1 << 63;
    }

    /// A number for something that reports its end as an event.
    pub(crate) fn next_id(&mut self) -> CommandId {
        let id = CommandId(self.next);
        self.next += 1;
        id
    }

    pub(crate) fn start(&mut self, cx: &Cx<'_>, call: Call) -> CommandId {
        let id = self.next_id();
        if let Some(error) = &self.closed {
            let result = Err(error.clone());
            self.events.push_back(Event::CommandDone { command: id, result });
            return id;
        }
        let deadline = cx.now + call.limit;
        self.timers.insert((deadline, id));
        self.due.insert(id);
        let backoff = Backoff::default();
        let (last, heard, state) = (None, BTreeMap::new(), State::Due);
        let command = Command { call, deadline, backoff, last, heard, state };
        self.commands.insert(id, command);
        id
    }

    /// A command that is done when so much time has passed.
    pub(crate) fn alarm(&mut self, cx: &Cx<'_>, after: Duration) -> CommandId {
        let (id, at) = (self.next_id(), cx.now + after);
        if let Some(error) = &self.closed {
            let result = Err(error.clone());
            self.events.push_back(Event::CommandDone { command: id, result });
            return id;
        }
        self.timers.insert((at, id));
        self.alarms.insert(id, at);
        id
    }

    /// Nobody waits for this command any more. What was sent may still happen.
    pub(crate) fn cancel(&mut self, id: CommandId) {
        self.remove(id);
        if let Some(at) = self.alarms.remove(&id) {
            self.timers.remove(&(at, id));
        }
    }

    fn remove(&mut self, id: CommandId) -> Option<Command> {
        let command = self.commands.remove(&id)?;
        self.due.remove(&id);
        self.stuck.remove(&id);
        self.timers.remove(&(command.deadline, id));
        if let State::Waiting(at) = command.state {
            self.timers.remove(&(at, id));
        }
        Some(command)
    }

    fn done(&mut self, id: CommandId, result: Result<CommandAnswer, Error>) {
        if self.remove(id).is_some() {
            self.events.push_back(Event::CommandDone { command: id, result });
        }
    }

    /// The next request to send, or a bucket whose leader is needed for one.
    pub(crate) fn poll_request(
        &mut self,
        cx: &mut Cx<'_>,
        metadata: &mut Metadata,
    ) -> Option<Result<(ServerId, Outgoing), BucketKey>> {
        while let Some(id) = self.due.pop_first() {
            let Some(command) = self.commands.get_mut(&id) else { continue };
            let server = match command.call.target {
                Target::AnyServer => {
                    let heard = |server: &ServerId| command.heard.contains_key(server);
                    let server = metadata.any_tablet(cx);
                    let other = || metadata.every_server().find(|server| !heard(server));
                    if heard(&server) { other().unwrap_or(server) } else { server }
                }
                Target::Coordinator if metadata.cluster().coordinator.is_some() => {
                    ServerId::Coordinator
                }
                Target::Coordinator => {
                    self.stuck.insert(id);
                    metadata.want_servers(cx);
                    continue;
                }
                Target::Server(server) if metadata.cluster().has_server(server) => server,
                Target::Server(_) => {
                    self.stuck.insert(id);
                    metadata.want_servers(cx);
                    continue;
                }
                Target::Leader(bucket) => match metadata.cluster().leader(bucket) {
                    Some(server) => server,
                    None => {
                        self.stuck.insert(id);
                        return Some(Err(bucket));
                    }
                },
            };
            command.state = State::Sent(server);
            let limit = cx.now + cx.config.request_deadline;
            let request = Outgoing {
                api: command.call.api,
                body: command.call.body_for(metadata.cluster()),
                owner: Owner::Command(id),
                deadline: limit.min(command.deadline),
            };
            return Some(Ok((server, request)));
        }
        None
    }

    /// These buckets exist no more: calls that wait for a leader of one end with this error.
    pub(crate) fn handle_gone(&mut self, gone: impl Fn(&BucketKey) -> bool, error: &Error) {
        let commands = &self.commands;
        let is_gone = |id: &CommandId| match commands.get(id).map(|command| command.call.target) {
            Some(Target::Leader(bucket)) => gone(&bucket),
            _ => false,
        };
        let ids: Vec<CommandId> = self.stuck.iter().copied().filter(is_gone).collect();
        for id in ids {
            self.done(id, Err(error.clone()));
        }
    }

    pub(crate) fn handle_metadata(&mut self, _cluster: &Cluster) {
        self.due.append(&mut self.stuck);
    }

    pub(crate) fn handle_reply(
        &mut self,
        cx: &mut Cx<'_>,
        metadata: &mut Metadata,
        id: CommandId,
        result: Result<Bytes, RequestError>,
    ) {
        let Some(command) = self.commands.get_mut(&id) else { return };
        let call = &command.call;
        let verdict = match result {
            Ok(body) => match call.body_error.and_then(|find| find(&body)) {
                None => {
                    let unread = call.check.and_then(|check| check(&body).err());
                    let result = match unread {
                        None => Ok(CommandAnswer::Body(body)),
                        Some(why) => Err(Error::Peer {
                            server: command.state.server(cx, metadata),
                            what: format!("{}: {why}", call.what).into(),
                        }),
                    };
                    return self.done(id, result);
                }
                Some((code, message)) => rejected(call, code, message.into()),
            },
            Err(RequestError::Rejected { code, message }) => rejected(call, code, message),
            Err(RequestError::NotSent(error)) => match command.state {
                State::Sent(server) if call.target == Target::AnyServer => {
                    command.heard.insert(server, error);
                    command.verdict(metadata)
                }
                _ => Verdict { again: !error.is_final(), error, refresh: true },
            },
            Err(RequestError::Lost(error)) => {
                Verdict { again: call.repeatable, error, refresh: true }
            }
            Err(RequestError::Unsupported(error)) => {
                Verdict { again: false, error, refresh: false }
            }
        };
        let target = call.target;
        if !verdict.again {
            return self.done(id, Err(verdict.error));
        }
        if verdict.refresh {
            match target {
                Target::Leader(bucket) => metadata.want_leader(cx, bucket, None),
                Target::Coordinator | Target::AnyServer | Target::Server(_) => {
                    metadata.want_servers(cx);
                }
            }
        }
        self.wait(cx, id, verdict.error);
    }

    fn wait(&mut self, cx: &mut Cx<'_>, id: CommandId, error: Error) {
        let Some(command) = self.commands.get_mut(&id) else { return };
        let at = cx.now + command.backoff.next(BACKOFF, cx.rng);
        command.last = Some(error);
        command.state = State::Waiting(at);
        self.timers.insert((at, id));
    }

    pub(crate) fn handle_timeout(&mut self, cx: &Cx<'_>, metadata: &Metadata) {
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= cx.now) {
            self.timers.remove(&(at, id));
            if self.alarms.remove(&id).is_some() {
                let result = Ok(CommandAnswer::Done);
                self.events.push_back(Event::CommandDone { command: id, result });
            }
            let Some(command) = self.commands.get_mut(&id) else { continue };
            if at >= command.deadline {
                let what = &command.call.what;
                let what = match command.state {
                    State::Sent(server) => {
                        format!("{what} at {}", metadata.label(cx, server)).into()
                    }
                    State::Due | State::Waiting(_) if command.is_leaderless(metadata) => {
                        format!("{what}, of which no leader is known").into()
                    }
                    State::Due | State::Waiting(_) => Arc::clone(what),
                };
                let last = command.all_heard().or_else(|| command.last.take());
                let last = last.or_else(|| metadata.last_error().cloned());
                let (after, last) = (command.call.limit, last.map(Box::new));
                let error = Error::Unavailable { what, after, last };
                self.done(id, Err(error));
            } else if command.state == State::Waiting(at) {
                command.state = State::Due;
                self.due.insert(id);
            }
        }
    }

    /// A server cannot be reached. What is on its way there goes on waiting for it, but if it waits
    /// in vain the reason is known.
    pub(crate) fn note_trouble(&mut self, server: ServerId, error: &Error) {
        for command in self.commands.values_mut().filter(|c| c.state == State::Sent(server)) {
            command.last = Some(error.clone());
            if command.call.target == Target::AnyServer {
                command.heard.insert(server, error.clone());
            }
        }
    }

    /// No server can be reached. An error of one of them that another attempt will not cure (a
    /// wrong password, no version in common) ends what waits for a server to be known.
    pub(crate) fn handle_unreachable(&mut self, error: &Error) {
        if error.is_final() {
            for id in std::mem::take(&mut self.stuck) {
                self.done(id, Err(error.clone()));
            }
        }
    }

    pub(crate) fn abort(&mut self, error: &Error) {
        self.closed = Some(error.clone());
        while let Some(id) = self.commands.first_key_value().map(|(id, _)| *id) {
            self.done(id, Err(error.clone()));
        }
        for (command, at) in std::mem::take(&mut self.alarms) {
            self.timers.remove(&(at, command));
            self.events.push_back(Event::CommandDone { command, result: Err(error.clone()) });
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<(Instant, TimerReason)> {
        self.timers.first().map(|(at, _)| (*at, TimerReason::Command))
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

impl Command {
    /// What to do after the servers that were tried have been heard. A server of which no attempt
    /// can make a better one ends the call only when there is no other left to try.
    fn verdict(&self, metadata: &Metadata) -> Verdict {
        let hopeless = self.heard.values().any(Error::is_final)
            && metadata.every_server().all(|server| self.heard.contains_key(&server));
        let error = self.all_heard().unwrap_or(Error::Closed("client"));
        Verdict { again: !hopeless, error, refresh: true }
    }

    /// Whether it waits for a bucket's leader, and nobody knows one.
    fn is_leaderless(&self, metadata: &Metadata) -> bool {
        match self.call.target {
            Target::Leader(bucket) => metadata.cluster().leader(bucket).is_none(),
            Target::Coordinator | Target::AnyServer | Target::Server(_) => false,
        }
    }

    fn all_heard(&self) -> Option<Error> {
        Error::of_servers(self.heard.values().cloned().collect())
    }
}

/// What to do about a failed attempt.
struct Verdict {
    again: bool,
    error: Error,
    refresh: bool,
}

fn rejected(call: &Call, code: ErrorCode, message: Arc<str>) -> Verdict {
    let error = Error::Rejected { what: Arc::clone(&call.what), code, message };
    // "Not me" and "not yet" prove that nothing was done; other retriable codes may follow a
    // change, so only calls that may be repeated are.
    let elsewhere = matches!(
        code,
        ErrorCode::NOT_LEADER_OR_FOLLOWER
            | ErrorCode::LEADER_NOT_AVAILABLE_EXCEPTION
            | ErrorCode::NOT_COORDINATOR_LEADER_EXCEPTION
    );
    let unknown_bucket = code == ErrorCode::UNKNOWN_TABLE_OR_BUCKET_EXCEPTION
        && matches!(call.target, Target::Leader(_));
    let later = call.later == Some(code);
    let again = elsewhere || unknown_bucket || later || (call.repeatable && code.is_retriable());
    Verdict { again, error, refresh: true }
}
