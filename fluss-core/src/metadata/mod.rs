//! What the client knows of the cluster, and how it keeps that up to date.
//!
//! Others say what they want to know; the machine asks for each thing once, one request at a time,
//! and not too often. A server that fails is passed over: tablet servers in random order first, the
//! bootstrap addresses in turn when no tablet server is left, then a pause. What was learned stays
//! through all of this. As one missing table fails a whole request, requests that fail are split
//! until the culprit is alone, and only a server's word that it does not exist ends it.

mod ask;
mod cluster;
mod parse;
mod refresh;
mod reply;
#[cfg(test)]
mod testkit;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_gone;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use fluss_proto::ErrorCode;

use self::ask::Ask;
pub use self::cluster::{BucketMeta, Cluster, PartitionMeta, TableMeta};
use self::refresh::{Refresh, Target};
use crate::backoff::{Backoff, BackoffConfig};
use crate::config::Config;
use crate::connection::request::{Outgoing, Owner, RequestError};
use crate::cx::Cx;
use crate::error::Error;
use crate::ids::{BucketKey, PartitionId, ServerId, TableId, TablePath};
use crate::output::TimerReason;
use crate::time::{Duration, Instant, earliest};

/// A metadata request is answered from memory; a server that takes longer is passed over.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// How long a server that failed is passed over although other servers call it alive.
const PASS_OVER: Duration = Duration::from_secs(10);
/// Pauses between rounds in which no server was of help.
const ROUND_BACKOFF: BackoffConfig =
    BackoffConfig::new(Duration::from_millis(100), Duration::from_secs(1));
/// How often a server may fail to describe what it says exists before that is reported.
const MAX_CONTRADICTIONS: u32 = 5;

/// News about the cluster.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum MetadataEvent {
    /// An answer was taken in. The picture may have changed (its version tells); who still lacks
    /// something must ask for it again.
    Updated,
    /// The table with this id does not exist any more. The path is None when it was never known.
    TableGone {
        /// Where it was.
        path: Option<TablePath>,
        /// Its id.
        id: TableId,
        /// The error with which everything that needs it ends.
        error: Error,
    },
    /// The table at this path was dropped and made again; follows the old one's `TableGone`.
    TableReplaced {
        /// The path.
        path: TablePath,
        /// The id it had.
        old: TableId,
        /// The id it has.
        new: TableId,
    },
    /// A table that was wanted cannot be described: it does not exist, a server forbids it or is in
    /// trouble. Who still lacks something of it must ask for it again; metadata sees to the pauses.
    TableFailed {
        /// The path.
        path: TablePath,
        /// Why.
        error: Error,
    },
    /// The partition with this id does not exist any more.
    PartitionGone {
        /// The table.
        table: TableId,
        /// Its name, if it was known.
        name: Arc<str>,
        /// Its id.
        id: PartitionId,
        /// The error with which everything that needs it ends.
        error: Error,
    },
    /// A partition that was wanted cannot be described; see `TableFailed`.
    PartitionFailed {
        /// The table, if its path is known.
        path: Option<TablePath>,
        /// The name, when it was asked for by name.
        name: Option<Arc<str>>,
        /// The id, when it was asked for by id.
        id: Option<PartitionId>,
        /// Why.
        error: Error,
    },
    /// No server was of any help in a whole round; the next begins after a pause.
    Unreachable {
        /// What each bootstrap server said.
        error: Error,
    },
}

/// Tables, and partitions of tables.
pub(crate) type Described = BTreeSet<(TableId, Option<PartitionId>)>;

/// A request that is on its way.
#[derive(Debug)]
struct Flight {
    token: u64,
    server: ServerId,
    ask: Ask,
}

/// The metadata machine.
#[derive(Debug)]
pub(crate) struct Metadata {
    cluster: Arc<Cluster>,
    refresh: Refresh,
    /// Parts of failed requests, to be asked next.
    parts: VecDeque<Ask>,
    flight: Option<Flight>,
    next_token: u64,
    /// Tablet servers that failed, and when.
    passed_over: BTreeMap<ServerId, Instant>,
    bootstrap_count: u16,
    max_age: Duration,
    /// The bootstrap address in use.
    bootstrap: u16,
    /// Bootstrap addresses that failed in this round.
    bootstrap_failures: u16,
    backoff: Backoff,
    paused_until: Option<Instant>,
    last_success: Option<Instant>,
    last_error: Option<Error>,
    /// What the bootstrap addresses said in this round, in order.
    round: Vec<Error>,
    events: VecDeque<MetadataEvent>,
    described: Described,
}

impl Metadata {
    /// Knows nothing but how many bootstrap addresses there are; asks for nothing by itself.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            cluster: Arc::default(),
            refresh: Refresh::default(),
            parts: VecDeque::new(),
            flight: None,
            next_token: 0,
            passed_over: BTreeMap::new(),
            bootstrap_count: u16::try_from(config.bootstrap.len()).unwrap_or(u16::MAX),
            max_age: config.metadata_max_age,
            bootstrap: 0,
            bootstrap_failures: 0,
            backoff: Backoff::default(),
            paused_until: None,
            last_success: None,
            last_error: None,
            round: Vec::new(),
            events: VecDeque::new(),
            described: Described::new(),
        }
    }

    /// Breaks a rule: who says last who leads is right, however old that is.
    #[cfg(test)]
    pub(crate) fn believe_older(&mut self) {
        Arc::make_mut(&mut self.cluster).believes_older = true;
    }

    /// Whose buckets were described since the last call.
    pub(crate) fn take_described(&mut self) -> Described {
        std::mem::take(&mut self.described)
    }

    /// The newest picture.
    pub(crate) fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Whether something was wanted since the last look that nobody wanted before.
    pub(crate) fn was_asked(&mut self) -> bool {
        self.refresh.was_asked()
    }

    /// The list of servers is wanted.
    pub(crate) fn want_servers(&mut self, cx: &Cx<'_>) {
        self.want(cx, Target::Servers);
    }

    /// A table is wanted; `Updated` or `TableFailed` follows.
    pub(crate) fn want_table(&mut self, cx: &Cx<'_>, path: &TablePath) {
        self.want(cx, Target::Table(path.clone()));
    }

    /// A partition is wanted by its name; `Updated` or `PartitionFailed` follows. A partition that
    /// was made just now can be missing from the picture after `Updated`: want it again.
    pub(crate) fn want_partition(&mut self, cx: &Cx<'_>, path: &TablePath, name: &str) {
        self.want(cx, Target::PartitionName(path.clone(), name.into()));
    }

    /// The leader of a bucket is wanted: there is none, or the known one turned out to be wrong.
    /// `stale_epoch` is the epoch under which it was wrong, if known; a newer one in the picture
    /// needs no question. For a table that is not known, `TableGone` follows at once.
    pub(crate) fn want_leader(&mut self, cx: &Cx<'_>, key: BucketKey, stale_epoch: Option<i32>) {
        let newer = self
            .cluster
            .bucket(key)
            .is_some_and(|bucket| stale_epoch.is_some() && bucket.epoch > stale_epoch);
        if newer && self.cluster.leader(key).is_some() {
            return;
        }
        match (key.partition, self.cluster.table_by_id(key.table)) {
            (Some(id), _) => self.want(cx, Target::PartitionId(key.table, id)),
            (None, Some(table)) => {
                let path = table.path.clone();
                self.want(cx, Target::Table(path));
            }
            (None, None) => {
                let error = missing(
                    format!("table with id {}", key.table),
                    ErrorCode::TABLE_NOT_EXIST,
                    "it was dropped",
                );
                self.events.push_back(MetadataEvent::TableGone {
                    path: None,
                    id: key.table,
                    error,
                });
            }
        }
    }

    fn want(&mut self, cx: &Cx<'_>, target: Target) {
        self.refresh.want(target, cx.now, cx.config.metadata_min_interval);
    }

    /// A server to ask what any server can tell: a tablet server that is alive as far as known, in
    /// random order, else the bootstrap address whose turn it is.
    pub(crate) fn any_tablet(&self, cx: &mut Cx<'_>) -> ServerId {
        self.usable_tablet(cx).unwrap_or(ServerId::Bootstrap(self.bootstrap))
    }

    fn usable_tablet(&self, cx: &mut Cx<'_>) -> Option<ServerId> {
        let usable = || {
            let ids = self.cluster.tablets.keys().map(|id| ServerId::Tablet(*id));
            ids.filter(|id| !self.passed_over.contains_key(id))
        };
        let count = usable().count() as u64;
        usable().nth(cx.rng.below(count) as usize)
    }

    /// A server that is a tablet server for sure, for what a coordinator cannot answer; rather one
    /// that was not passed over. None as long as none is known.
    pub(crate) fn known_tablet(&self, cx: &mut Cx<'_>) -> Option<ServerId> {
        let first = || self.cluster.tablets.keys().next().map(|id| ServerId::Tablet(*id));
        self.usable_tablet(cx).or_else(first)
    }

    /// All servers there are to ask: the bootstrap addresses, and the tablet servers as far as
    /// known.
    pub(crate) fn every_server(&self) -> impl Iterator<Item = ServerId> + '_ {
        let bootstrap = (0..self.bootstrap_count).map(ServerId::Bootstrap);
        bootstrap.chain(self.cluster.tablets.keys().map(|id| ServerId::Tablet(*id)))
    }

    /// Why the last question had no answer, if the last one had none.
    pub(crate) fn last_error(&self) -> Option<&Error> {
        self.last_error.as_ref()
    }

    /// A connection to this server could not be made: it is passed over, and the list of servers is
    /// wanted, as it may have moved.
    pub(crate) fn mark_unavailable(&mut self, cx: &Cx<'_>, server: ServerId, error: &Error) {
        self.last_error = Some(error.clone());
        // A bootstrap address is left when a question fails there, which is reported separately.
        if !matches!(server, ServerId::Bootstrap(_)) {
            self.passed_over.insert(server, cx.now);
            self.want_servers(cx);
        }
    }

    /// A connection to this server was lost: if it is gone for good, others know.
    pub(crate) fn note_trouble(&mut self, cx: &Cx<'_>, server: ServerId) {
        if !matches!(server, ServerId::Bootstrap(_)) {
            self.want_servers(cx);
        }
    }

    /// The next question and whom to ask. At most one is on its way at any time.
    pub(crate) fn poll_request(&mut self, cx: &mut Cx<'_>) -> Option<(ServerId, Outgoing)> {
        if self.flight.is_some() || self.paused_until.is_some_and(|until| until > cx.now) {
            return None;
        }
        self.paused_until = None;
        let ask = self.parts.pop_front().or_else(|| {
            let due = self.refresh.take_due(cx.now);
            (!due.is_empty()).then_some(Ask::Describe(due))
        })?;
        self.refresh.prune(cx.now);
        let server = self.any_tablet(cx);
        let (api, body) = ask.encode(&self.cluster);
        let token = self.next_token;
        self.next_token += 1;
        self.flight = Some(Flight { token, server, ask });
        let deadline = cx.now + cx.config.request_deadline.min(REQUEST_LIMIT);
        Some((server, Outgoing { api, body, owner: Owner::Metadata(token), deadline }))
    }

    /// The answer to the question with this token.
    pub(crate) fn handle_reply(
        &mut self,
        cx: &mut Cx<'_>,
        token: u64,
        result: Result<Bytes, RequestError>,
    ) {
        let Some(Flight { server, ask, .. }) = self.flight.take_if(|f| f.token == token) else {
            return;
        };
        match result {
            Ok(body) => self.on_answer(cx, server, ask, body),
            Err(RequestError::Rejected { code, message }) => {
                let error = Error::Rejected { what: ask.text().into(), code, message };
                // These say something about the server, not about what was asked of it.
                if code.is_retriable()
                    || code == ErrorCode::AUTHENTICATE_EXCEPTION
                    || code == ErrorCode::NOT_COORDINATOR_LEADER_EXCEPTION
                    || code == ErrorCode::UNSUPPORTED_VERSION
                {
                    self.on_server_failed(cx, server, ask, error);
                } else {
                    self.on_rejected(cx, server, ask, error);
                }
            }
            Err(
                RequestError::NotSent(error)
                | RequestError::Lost(error)
                | RequestError::Unsupported(error),
            ) => self.on_server_failed(cx, server, ask, error),
        }
    }

    /// The list of servers is asked for again when it is old.
    pub(crate) fn handle_timeout(&mut self, cx: &Cx<'_>) {
        if self.old_at().is_some_and(|at| at <= cx.now) {
            self.want_servers(cx);
        }
    }

    /// When the list of servers is to be asked for because of its age. Once it stands in the queue,
    /// that has a time of its own: an age in the past would keep the driver busy until then.
    fn old_at(&self) -> Option<Instant> {
        let idle = self.flight.is_none() && self.parts.is_empty();
        let idle = idle && !self.refresh.is_queued(&Target::Servers);
        self.last_success.filter(|_| idle).map(|at| at + self.max_age)
    }

    /// When `handle_timeout` and `poll_request` have something to do.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, TimerReason)> {
        if self.flight.is_some() {
            return None;
        }
        let part = (!self.parts.is_empty()).then_some(Instant::ZERO);
        let ask = earliest(part, self.refresh.next());
        let ask = ask.map(|at| at.max(self.paused_until.unwrap_or(at)));
        let at = earliest(ask, self.old_at())?;
        Some((at, TimerReason::Metadata))
    }

    /// The next thing that happened.
    pub(crate) fn poll_event(&mut self) -> Option<MetadataEvent> {
        self.events.pop_front()
    }
}

fn missing(what: String, code: ErrorCode, why: &str) -> Error {
    Error::Rejected { what: what.into(), code, message: why.into() }
}
