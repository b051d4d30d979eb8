//! Lanes, where the keys of a bucket wait, and the servers they go to.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use super::request::{Kind, LookupKind};
use super::{GATHERED, Lookups, MAX_KEYS};
use crate::backoff::Backoff;
use crate::cx::Cx;
use crate::error::Error;
use crate::ids::{BucketKey, CommandId, PartitionId, ServerId, TableId};
use crate::time::Instant;
use crate::wish::ReadWish;

/// What lanes whose keys share a request have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) kind: Kind,
    pub(super) routing: Option<i32>,
    pub(super) table: TableId,
}

impl Group {
    pub(super) const fn lane(self, bucket: BucketKey) -> LaneKey {
        LaneKey { kind: self.kind, routing: self.routing, bucket }
    }

    const fn start(self) -> LaneKey {
        self.lane(BucketKey { table: self.table, partition: None, bucket: i32::MIN })
    }

    /// A lane behind all others of the group.
    pub(super) const fn end(self) -> LaneKey {
        let partition = Some(PartitionId(i64::MAX));
        self.lane(BucketKey { table: self.table, partition, bucket: i32::MAX })
    }
}

/// The name of a lane. The order keeps the lanes of a group together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneKey {
    kind: Kind,
    routing: Option<i32>,
    pub(super) bucket: BucketKey,
}

impl LaneKey {
    pub(super) fn new(kind: LookupKind, routing: Option<i32>, bucket: BucketKey) -> Self {
        Self { kind: kind.into(), routing, bucket }
    }

    const fn group(self) -> Group {
        Group { kind: self.kind, routing: self.routing, table: self.bucket.table }
    }
}

/// Where a lane stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing waits.
    #[default]
    Idle,
    /// Its leader is to be looked up.
    Unresolved,
    /// Nobody knows its leader; the next metadata may.
    Leaderless,
    /// Something failed; nothing is sent before this time.
    Paused(Instant),
    /// Its keys may go to this server.
    Ready(ServerId),
}

/// The keys of one bucket.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Keys to be sent, in the order in which they came, also after a failure.
    pub(super) waiting: VecDeque<CommandId>,
    pub(super) state: State,
    pub(super) backoff: Backoff,
    /// Why the last attempt failed, if it did.
    pub(super) last: Option<Error>,
    /// Requests on their way with keys of this lane.
    pub(super) in_flight: usize,
    /// Somebody waits for one of its keys, as far as is known.
    pub(super) awaited: bool,
    /// What is asked with its keys, for error texts.
    pub(super) what: Option<Arc<str>>,
}

impl Lane {
    /// What a key of this lane has to keep as its text: nothing, if the lane has the same.
    ///
    /// To count the handles of one text with each key would have two threads take turns at its
    /// memory.
    pub(super) fn text_of(&mut self, what: &Arc<str>) -> Option<Arc<str>> {
        let text = self.what.get_or_insert_with(|| Arc::clone(what));
        let usual = Arc::ptr_eq(text, what) || *text == *what;
        (!usual).then(|| Arc::clone(what))
    }

    /// A key waits to be sent. Ids ascend, so that one that comes back takes its old place.
    pub(super) fn wait(&mut self, id: CommandId) {
        if self.waiting.back().is_none_or(|last| *last < id) {
            self.waiting.push_back(id);
        } else if let Err(at) = self.waiting.binary_search(&id) {
            self.waiting.insert(at, id);
        }
    }

    /// False if it did not wait.
    pub(super) fn wait_no_more(&mut self, id: CommandId) -> bool {
        let at = self.waiting.binary_search(&id);
        at.is_ok_and(|at| self.waiting.remove(at).is_some())
    }

    pub(super) fn succeeded(&mut self) {
        self.backoff.reset();
        self.last = None;
    }
}

/// A server that has something to answer.
#[derive(Debug, Default)]
pub(super) struct Server {
    /// Lanes in state `Ready` with this server.
    pub(super) ready: BTreeSet<LaneKey>,
    /// Requests on their way.
    pub(super) in_flight: usize,
    /// Where the last request ended; the next begins behind it, so that all get their turn.
    pub(super) cursor: Option<LaneKey>,
    /// A flush is among the wishes.
    pub(super) wished: bool,
    /// A flush was wished for, and what waited then is not on its way yet.
    pub(super) called: bool,
}

impl Server {
    /// The lanes whose turn it is, all of one group.
    pub(super) fn next_lanes(&self) -> Option<(Group, Vec<LaneKey>)> {
        let behind = self.cursor.and_then(|at| self.ready.range((Excluded(at), Unbounded)).next());
        let first = *behind.or_else(|| self.ready.first())?;
        let group = first.group();
        let rest = self.ready.range(first..=group.end());
        let lanes = rest.chain(self.ready.range(group.start()..first));
        Some((group, lanes.take(MAX_KEYS).copied().collect()))
    }

    /// Calls for a flush if keys wait and another request may be made. True: wish for it.
    pub(super) fn call(&mut self, cx: &Cx<'_>) -> bool {
        if self.ready.is_empty() || self.in_flight >= cx.config.lookup_in_flight {
            return false;
        }
        self.called = true;
        !std::mem::replace(&mut self.wished, true)
    }
}

/// Whether the keys of a lane may stay for the answer that forms the next request: nobody waits for
/// them yet, and they are few.
pub(super) fn gather(lane: &Lane, server: &Server, waiting: usize) -> bool {
    waiting < GATHERED && !lane.awaited && server.in_flight > 0
}

impl Lookups {
    /// Moves a lane into another state, with all places where the old one was noted.
    pub(super) fn enter(&mut self, key: LaneKey, state: State) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        match std::mem::replace(&mut lane.state, state) {
            State::Idle | State::Leaderless => {}
            State::Unresolved => {
                self.unresolved.remove(&key);
            }
            State::Paused(until) => {
                self.pauses.remove(&(until, key));
            }
            State::Ready(server) => {
                if let Some(entry) = self.servers.get_mut(&server) {
                    entry.ready.remove(&key);
                }
                self.prune_server(server);
            }
        }
        match state {
            State::Idle | State::Leaderless => {}
            State::Unresolved => {
                self.unresolved.insert(key);
            }
            State::Paused(until) => {
                self.pauses.insert((until, key));
            }
            State::Ready(server) => {
                self.servers.entry(server).or_default().ready.insert(key);
            }
        }
    }

    /// Asks for a flush if the server has keys waiting and may get another request.
    pub(super) fn wish_flush(&mut self, cx: &Cx<'_>, server: ServerId) {
        if self.servers.get_mut(&server).is_some_and(|entry| entry.call(cx)) {
            self.wishes.push_back(ReadWish::Flush(server));
        }
    }

    /// Asks for a flush, unless the keys of this lane may go on gathering.
    pub(super) fn wish_flush_of(&mut self, cx: &Cx<'_>, key: LaneKey, server: ServerId) {
        let (lane, entry) = (self.lanes.get(&key), self.servers.get(&server));
        let both = lane.zip(entry);
        if !both.is_some_and(|(lane, entry)| gather(lane, entry, self.waiting)) {
            self.wish_flush(cx, server);
        }
    }

    /// Somebody waits for this key now: it is not to gather with others any longer.
    pub(crate) fn urge(&mut self, cx: &Cx<'_>, id: CommandId) {
        let Some(key) = self.keys.get(id).filter(|key| key.waits).map(|key| key.lane) else {
            return;
        };
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.awaited = true;
            if let State::Ready(server) = lane.state {
                self.wish_flush(cx, server);
            }
        }
    }

    /// Whether a key only gathers with others, so that [`Lookups::urge`] would have an effect.
    #[cfg(feature = "handle")]
    pub(crate) fn is_gathering(&self, id: CommandId) -> bool {
        let key = self.keys.get(id).filter(|key| key.waits);
        key.and_then(|key| self.lanes.get(&key.lane)).is_some_and(|lane| !lane.awaited)
    }

    /// Forgets a lane without keys.
    pub(super) fn prune(&mut self, key: LaneKey) {
        if self.lanes.get(&key).is_some_and(|l| l.waiting.is_empty() && l.in_flight == 0) {
            self.enter(key, State::Idle);
            self.lanes.remove(&key);
        }
    }

    /// Forgets a server that has nothing to answer.
    pub(super) fn prune_server(&mut self, server: ServerId) {
        if self.servers.get(&server).is_some_and(|s| s.ready.is_empty() && s.in_flight == 0) {
            self.servers.remove(&server);
        }
    }
}
