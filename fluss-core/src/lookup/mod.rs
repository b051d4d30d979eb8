//! Lookups: from a key to its row, many keys in one request.
//!
//! A key waits in the lane of its bucket. A lane whose leader is known is ready, and when that
//! server's socket can take a request, [`Lookups::poll_request`] puts the keys of all its ready
//! lanes of one table into one. So a key alone leaves at once, and under load keys gather while
//! earlier requests are on their way: those that nobody waits for yet behind the first one, others
//! behind as many as may be. Lookups change nothing, and inserting a missing row twice is as good
//! as once, so whatever goes wrong on the way is tried again until the key's deadline.
//!
//! How many keys are on their way at once is bounded by a budget; beyond it they wait in line, see
//! [`budget`].

mod answers;
mod budget;
#[cfg(test)]
mod budget_tests;
#[cfg(test)]
mod gather_tests;
mod key;
mod lane;
mod request;
#[cfg(test)]
mod testkit;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_random;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use self::budget::Budget;
use self::key::{Deadlines, KeyBytes};
use self::lane::{Group, Lane, LaneKey, Server, State};
pub(crate) use self::request::Ask;
pub use self::request::{LookupKind, LookupRequest};
use crate::backoff::BackoffConfig;
use crate::by_id::ById;
use crate::connection::request::{Outgoing, Owner};
use crate::cx::Cx;
use crate::error::Error;
use crate::ids::{BucketKey, CommandId, Labels, ServerId};
use crate::metadata::Cluster;
use crate::output::{CommandAnswer, Event, TimerReason};
use crate::time::{Duration, Instant};
use crate::wish::ReadWish;

/// Keys of one request at most: where more wait, a server works on some while the client reads the
/// answers to others. With all of them in one, the two would only take turns.
const MAX_KEYS: usize = 256;
/// Keys that nobody waits for gather up to this many while a request is on its way to their server:
/// a request costs as much as tens of keys, and each of them would be one of its own where the
/// caller is slower than the server.
const GATHERED: usize = MAX_KEYS;
/// Bytes of keys in one request at most; a single longer key still goes alone.
const MAX_BYTES: usize = 1 << 20;
/// Waits of a bucket after failures.
const BACKOFF: BackoffConfig =
    BackoffConfig::new(Duration::from_millis(20), Duration::from_secs(1));

/// Who leads which bucket.
pub(crate) trait Leaders {
    /// The leader of a bucket, if it has one that is alive.
    fn leader(&self, bucket: BucketKey) -> Option<ServerId>;

    /// How errors name the servers, as far as known.
    fn labels(&self) -> Arc<Labels> {
        Arc::default()
    }
}

impl Leaders for Cluster {
    fn leader(&self, bucket: BucketKey) -> Option<ServerId> {
        // The method of the snapshot itself, not this one.
        Self::leader(self, bucket)
    }

    fn labels(&self) -> Arc<Labels> {
        Arc::clone(Self::labels(self))
    }
}

impl<L: Leaders + ?Sized> Leaders for Arc<L> {
    fn leader(&self, bucket: BucketKey) -> Option<ServerId> {
        (**self).leader(bucket)
    }

    fn labels(&self) -> Arc<Labels> {
        (**self).labels()
    }
}

/// A key without an answer.
#[derive(Debug)]
struct Key {
    lane: LaneKey,
    bytes: KeyBytes,
    limit: Duration,
    deadline: Instant,
    /// It is among those that wait in its lane.
    waits: bool,
}

impl Key {
    #[inline]
    fn new(cx: &Cx<'_>, lane: LaneKey, ask: &Ask<'_>, waits: bool) -> Self {
        let (bytes, limit, deadline) = (ask.key.into(), ask.limit, cx.now + ask.limit);
        Self { lane, bytes, limit, deadline, waits }
    }
}

/// A request on its way.
#[derive(Debug)]
struct Sent {
    server: ServerId,
    group: Group,
    /// The keys of each bucket, in the order of the request. Some may have ended meanwhile.
    buckets: Vec<(BucketKey, Vec<CommandId>)>,
}

/// All lookups without an answer.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    keys: ById<Key>,
    /// What is asked with keys, for error texts, unless it is what is always asked of their lane.
    /// Beside the keys, which stay small that way.
    texts: BTreeMap<CommandId, Arc<str>>,
    /// Those that wait in their lanes.
    waiting: usize,
    lanes: BTreeMap<LaneKey, Lane>,
    servers: BTreeMap<ServerId, Server>,
    requests: BTreeMap<u64, Sent>,
    labels: Arc<Labels>,
    next_token: u64,
    /// Lanes in state `Unresolved`.
    unresolved: BTreeSet<LaneKey>,
    /// Lanes in state `Paused`, by the end of the pause.
    pauses: BTreeSet<(Instant, LaneKey)>,
    deadlines: Deadlines,
    budget: Budget,
    wishes: VecDeque<ReadWish>,
    /// What was found, apart from the events: most of what happens here.
    found: Vec<(CommandId, CommandAnswer)>,
    events: VecDeque<Event>,
    closed: Option<Error>,
}

impl Lookups {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Takes a key; exactly one [`Event::CommandDone`] with this id follows, unless it is
    /// cancelled.
    pub(crate) fn lookup(&mut self, cx: &mut Cx<'_>, id: CommandId, ask: Ask<'_>) {
        if let Err(error) = self.check(cx.config, ask.what, ask.key.len()) {
            self.events.push_back(Event::CommandDone { command: id, result: Err(error) });
            return;
        }
        let key = LaneKey::new(ask.kind, ask.buckets, ask.bucket);
        let length = ask.key.len();
        if self.budget.would_wait(cx.config, length) {
            return self.stand_in_line(cx, id, key, &ask);
        }
        let what = self.lanes.entry(key).or_default().text_of(ask.what);
        self.texts.extend(what.map(|what| (id, what)));
        self.insert(id, Key::new(cx, key, &ask, false));
        self.admit(cx, id, key, length, ask.lazy);
    }

    #[inline]
    fn insert(&mut self, id: CommandId, key: Key) {
        self.deadlines.insert(key.deadline, id);
        self.keys.insert(id, key);
    }

    fn stand_in_line(&mut self, cx: &Cx<'_>, id: CommandId, lane: LaneKey, ask: &Ask<'_>) {
        // There may be no lane that knows the text.
        self.texts.insert(id, Arc::clone(ask.what));
        self.insert(id, Key::new(cx, lane, ask, false));
        self.budget.stand_in_line(id);
    }

    /// [`Lookups::lookup`] of a key that would wait where others do and bring nothing about by
    /// itself: a request to its server is to be made already; as many are on their way to it as may
    /// be, and the next answer forms another one; it gathers with others; or the budget is used up.
    /// None: it is no such key, and nothing was done.
    pub(crate) fn join(
        &mut self,
        cx: &Cx<'_>,
        ask: &Ask<'_>,
        next_id: impl FnOnce() -> CommandId,
    ) -> Option<CommandId> {
        let length = ask.key.len();
        if self.closed.is_some() || length > budget::longest_key(cx.config) {
            return None;
        }
        let key = LaneKey::new(ask.kind, ask.buckets, ask.bucket);
        if self.budget.would_wait(cx.config, length) {
            let id = next_id();
            self.stand_in_line(cx, id, key, ask);
            return Some(id);
        }
        let lane = self.lanes.get_mut(&key)?;
        let State::Ready(server) = lane.state else { return None };
        let entry = self.servers.get_mut(&server)?;
        let gathers = ask.lazy && lane::gather(lane, entry, self.waiting + 1);
        if !gathers && !entry.called && entry.in_flight < cx.config.lookup_in_flight {
            return None;
        }
        let id = next_id();
        self.budget.take(length);
        lane.wait(id);
        lane.awaited |= !ask.lazy;
        self.waiting += 1;
        if !gathers && entry.call(cx) {
            self.wishes.push_back(ReadWish::Flush(server));
        }
        if let Some(what) = lane.text_of(ask.what) {
            self.texts.insert(id, what);
        }
        self.insert(id, Key::new(cx, key, ask, true));
        Some(id)
    }

    /// What is asked with this key.
    fn text_of(&self, id: CommandId, key: &Key) -> Arc<str> {
        let of_lane = || self.lanes.get(&key.lane)?.what.as_ref();
        self.texts.get(&id).or_else(of_lane).cloned().unwrap_or_default()
    }

    /// A key goes on its way.
    fn admit(&mut self, cx: &Cx<'_>, id: CommandId, key: LaneKey, length: usize, lazy: bool) {
        self.budget.take(length);
        let lane = self.lanes.entry(key).or_default();
        lane.wait(id);
        lane.awaited |= !lazy;
        if let Some(key) = self.keys.value_mut(id) {
            key.waits = true;
            self.waiting += 1;
        }
        match lane.state {
            State::Idle => self.enter(key, State::Unresolved),
            State::Ready(server) => self.wish_flush_of(cx, key, server),
            State::Unresolved | State::Leaderless | State::Paused(_) => {}
        }
    }

    /// Lets go whom there is room for, and finds the leaders that are needed now.
    pub(crate) fn update(&mut self, cx: &Cx<'_>, leaders: &impl Leaders) {
        self.serve(cx);
        while let Some(key) = self.unresolved.first().copied() {
            match leaders.leader(key.bucket) {
                Some(server) => {
                    self.enter(key, State::Ready(server));
                    self.wish_flush_of(cx, key, server);
                }
                None => {
                    self.enter(key, State::Leaderless);
                    self.wishes.push_back(ReadWish::Leader(key.bucket));
                }
            }
        }
    }

    /// Metadata was taken in: leaders may have been found or may have changed.
    pub(crate) fn handle_metadata(&mut self, leaders: &impl Leaders) {
        self.labels = leaders.labels();
        let stale = |(key, lane): (&LaneKey, &Lane)| match lane.state {
            State::Leaderless => Some(*key),
            State::Ready(server) => (leaders.leader(key.bucket) != Some(server)).then_some(*key),
            State::Idle | State::Unresolved | State::Paused(_) => None,
        };
        let stale: Vec<LaneKey> = self.lanes.iter().filter_map(stale).collect();
        for key in stale {
            self.enter(key, State::Unresolved);
        }
    }

    pub(crate) fn poll_wish(&mut self) -> Option<ReadWish> {
        let wish = self.wishes.pop_front()?;
        if let ReadWish::Flush(server) = wish
            && let Some(entry) = self.servers.get_mut(&server)
        {
            entry.wished = false;
        }
        Some(wish)
    }

    /// The next request for a server whose socket can take it now.
    pub(crate) fn poll_request(&mut self, cx: &Cx<'_>, server: ServerId) -> Option<Outgoing> {
        let entry = self.servers.get_mut(&server)?;
        if !entry.called || entry.in_flight >= cx.config.lookup_in_flight {
            return None;
        }
        let (group, lanes) = entry.next_lanes()?;
        entry.in_flight += 1;
        let mut room = Room { keys: MAX_KEYS, bytes: MAX_BYTES };
        let mut sent = Sent { server, group, buckets: Vec::new() };
        let mut keys = request::Keys::default();
        let mut deadline = cx.now;
        let mut served = group.end();
        for key in lanes {
            let ids = self.take_keys(key, &mut room, &mut keys, &mut deadline);
            if !ids.is_empty() {
                keys.end_bucket(key.bucket);
                served = key;
                sent.buckets.push((key.bucket, ids));
            }
            if self.lanes.get(&key).is_some_and(|lane| lane.waiting.is_empty()) {
                self.enter(key, State::Idle);
            }
            if room.is_full() {
                break;
            }
        }
        if let Some(entry) = self.servers.get_mut(&server) {
            entry.cursor = Some(if room.is_full() { served } else { group.end() });
            entry.called = !entry.ready.is_empty();
        }
        let body = request::encode(group.kind, group.routing, group.table, &keys);
        let token = self.next_token;
        self.next_token += 1;
        self.requests.insert(token, sent);
        Some(Outgoing {
            api: group.kind.api(),
            body,
            owner: Owner::Lookup(token),
            deadline: deadline.min(cx.now + cx.config.request_deadline),
        })
    }

    /// Moves keys of a lane into a request, as many as there is room for.
    fn take_keys(
        &mut self,
        key: LaneKey,
        room: &mut Room,
        keys: &mut request::Keys,
        deadline: &mut Instant,
    ) -> Vec<CommandId> {
        let Some(lane) = self.lanes.get_mut(&key) else { return Vec::new() };
        let mut ids = Vec::with_capacity(lane.waiting.len().min(room.keys));
        while let Some(id) = lane.waiting.front().copied() {
            if let Some(key) = self.keys.value_mut(id) {
                if !room.take(key.bytes.len()) {
                    break;
                }
                keys.push(key.bytes.as_slice());
                *deadline = key.deadline.max(*deadline);
                key.waits = false;
                self.waiting -= 1;
                ids.push(id);
            }
            lane.waiting.pop_front();
        }
        lane.awaited &= !lane.waiting.is_empty();
        lane.in_flight += usize::from(!ids.is_empty());
        ids
    }

    /// Sends nothing for a bucket for a while, and asks who leads it.
    fn pause(&mut self, cx: &mut Cx<'_>, key: LaneKey) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        let until = cx.now + lane.backoff.next(BACKOFF, cx.rng);
        self.enter(key, State::Paused(until));
        self.wishes.push_back(ReadWish::Leader(key.bucket));
    }

    /// A server cannot be reached: what waits for it looks for its leader anew after a pause, or
    /// ends if another attempt would end alike.
    pub(crate) fn handle_unreachable(&mut self, cx: &mut Cx<'_>, server: ServerId, error: &Error) {
        let Some(entry) = self.servers.get_mut(&server) else { return };
        entry.called = false;
        let lanes: Vec<LaneKey> = entry.ready.iter().copied().collect();
        for key in lanes {
            if error.is_final() {
                self.end_waiting(key, error);
            } else if let Some(lane) = self.lanes.get_mut(&key) {
                lane.last = Some(error.clone());
                self.pause(cx, key);
            }
        }
    }

    /// These buckets exist no more: their keys end with this error, also those on their way.
    pub(crate) fn handle_gone(&mut self, gone: impl Fn(&BucketKey) -> bool, error: &Error) {
        let lanes: Vec<LaneKey> =
            self.lanes.keys().filter(|key| gone(&key.bucket)).copied().collect();
        for key in lanes {
            self.end_waiting(key, error);
        }
        let buckets = self.requests.values().flat_map(|sent| &sent.buckets);
        let ids: Vec<CommandId> =
            buckets.filter(|(bucket, _)| gone(bucket)).flat_map(|(_, ids)| ids).copied().collect();
        let in_line = self
            .budget
            .line()
            .filter(|id| self.keys.get(*id).is_some_and(|key| gone(&key.lane.bucket)));
        let ids: Vec<CommandId> = ids.into_iter().chain(in_line).collect();
        for id in ids {
            self.done(id, Err(error.clone()));
        }
    }

    fn end_waiting(&mut self, key: LaneKey, error: &Error) {
        while let Some(id) = self.lanes.get(&key).and_then(|lane| lane.waiting.front().copied()) {
            self.done(id, Err(error.clone()));
        }
    }

    pub(crate) fn handle_timeout(&mut self, cx: &Cx<'_>) {
        let taken = self.budget.taken();
        while let Some((at, id)) = self.deadlines.first().filter(|(at, _)| *at <= cx.now) {
            let Some(key) = self.keys.get(id) else {
                self.deadlines.remove(at, id, &self.keys);
                continue;
            };
            let last = match self.budget.is_in_line(id) {
                true => Some(taken.full(cx.config, key.bytes.len())),
                false => self.lanes.get(&key.lane).and_then(|lane| lane.last.clone()),
            };
            let mut what = self.text_of(id, key);
            let lane = self.lanes.get(&key.lane);
            if last.is_none() && lane.is_some_and(|lane| lane.state == State::Leaderless) {
                what = format!("{what}, of which no leader is known").into();
            }
            let (after, last) = (key.limit, last.map(Box::new));
            let error = Error::Unavailable { what, after, last };
            self.done(id, Err(error));
        }
        while let Some((_, key)) = self.pauses.first().copied().filter(|(at, _)| *at <= cx.now) {
            self.enter(key, State::Unresolved);
        }
    }

    /// Nobody waits for this key any more. Ids of other commands are passed over.
    pub(crate) fn cancel(&mut self, id: CommandId) {
        self.remove(id);
    }

    /// Ends all keys, and those that come later.
    pub(crate) fn abort(&mut self, error: &Error) {
        // With the events from here on, as nothing may come behind the client's last one.
        let mut events = std::mem::take(&mut self.events);
        self.end_found(&mut events);
        self.events = events;
        while let Some(id) = self.keys.first() {
            self.done(id, Err(error.clone()));
        }
        self.requests.clear();
        self.lanes.clear();
        self.servers.clear();
        self.wishes.clear();
        self.closed = Some(error.clone());
    }

    /// Moves what was found behind this; nothing is told of it elsewhere.
    pub(crate) fn take_found(&mut self, into: &mut Vec<(CommandId, CommandAnswer)>) {
        if into.is_empty() {
            std::mem::swap(into, &mut self.found);
        } else {
            into.append(&mut self.found);
        }
    }

    /// Moves an event for each that was found behind those.
    pub(crate) fn end_found(&mut self, into: &mut VecDeque<Event>) {
        let event = |(command, answer)| Event::CommandDone { command, result: Ok(answer) };
        into.extend(self.found.drain(..).map(event));
    }

    pub(crate) fn has_found(&self) -> bool {
        !self.found.is_empty()
    }

    /// Moves all events behind those, but for what was found; false if there are none.
    pub(crate) fn move_events(&mut self, into: &mut VecDeque<Event>) -> bool {
        let any = !self.events.is_empty();
        if into.is_empty() {
            std::mem::swap(into, &mut self.events);
        } else {
            into.append(&mut self.events);
        }
        any
    }

    pub(crate) fn poll_timeout(&self) -> Option<(Instant, TimerReason)> {
        let deadline = self.deadlines.first().map(|(at, _)| at);
        let pause = self.pauses.first().map(|(at, _)| *at);
        let at = crate::time::earliest(deadline, pause)?;
        Some((at, TimerReason::Command))
    }

    fn done(&mut self, id: CommandId, result: Result<CommandAnswer, Error>) {
        if self.remove(id) {
            self.events.push_back(Event::CommandDone { command: id, result });
        }
    }

    fn remove(&mut self, id: CommandId) -> bool {
        let taken = self.take(id);
        if taken {
            self.deadlines.tidy(&self.keys);
        }
        taken
    }

    /// [`Lookups::remove`], but for [`Deadlines::tidy`].
    fn take(&mut self, id: CommandId) -> bool {
        let seen = |key: &Key| (key.deadline, key.bytes.len(), key.waits.then_some(key.lane));
        let Some((deadline, length, lane)) = self.keys.remove_with(id, seen) else { return false };
        self.deadlines.remove_early(deadline, id);
        if !self.texts.is_empty() {
            self.texts.remove(&id);
        }
        if self.budget.leave(id, length) {
            return true;
        }
        let Some(key) = lane else { return true };
        self.waiting -= 1;
        if let Some(lane) = self.lanes.get_mut(&key)
            && lane.wait_no_more(id)
            && lane.waiting.is_empty()
        {
            self.enter(key, State::Idle);
            self.prune(key);
        }
        true
    }
}

/// What still fits into a request.
#[derive(Debug)]
struct Room {
    keys: usize,
    bytes: usize,
}

impl Room {
    fn is_full(&self) -> bool {
        self.keys == 0 || self.bytes == 0
    }

    /// False: no room, and none from now on. The first key always fits.
    fn take(&mut self, len: usize) -> bool {
        if self.is_full() {
            return false;
        }
        if len > self.bytes && self.keys < MAX_KEYS {
            self.bytes = 0;
            return false;
        }
        self.keys -= 1;
        self.bytes = self.bytes.saturating_sub(len);
        true
    }
}
