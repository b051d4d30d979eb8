//! The client: all machines, and the contract between them and an adapter.

mod drain;
mod transmit;
mod verbs;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use fluss_proto::segments::Segments;

use crate::command::Commands;
use crate::config::Config;
use crate::connection::Connections;
use crate::cx::Cx;
use crate::error::Result;
use crate::ids::{CommandId, ConnId, ReadId, TableId, TablePath, WriterKey};
use crate::lookup::Lookups;
use crate::metadata::{Cluster, Metadata};
use crate::metrics::Metrics;
use crate::output::{Action, CommandAnswer, Counters, Event, TimerReason, closed};
use crate::rng::Rng;
use crate::scanner::Scanners;
use crate::storage::StorageError;
use crate::time::{Duration, Instant};
use crate::writer::Writers;

/// A client of one cluster, without sockets, threads or a clock.
///
/// Its methods fall into four families, and whoever drives it follows this order:
///
/// * **inputs** `handle_*`: what happened on a socket, or that time has passed. Any number may be
///   called between two rounds of polling.
/// * **verbs** (`open_batch`, `subscribe`, `lookup`, …): what the application wants.
/// * **outputs** `poll_*`: after inputs or verbs, take all of [`Client::poll_action`] and
///   [`Client::poll_event`]; take [`Client::poll_transmit`] of a connection that was flushed, as
///   long as its socket can take bytes; then wait until [`Client::poll_timeout`]. Outputs are
///   queues: nothing is lost if they are polled late.
/// * **getters**.
///
/// A write gets its sequence number in `poll_transmit`, so that method must only be called for
/// bytes that go to the socket next.
#[derive(Debug)]
pub struct Client {
    config: Arc<Config>,
    rng: Rng,
    connections: Connections,
    metadata: Metadata,
    writers: Writers,
    scanners: Scanners,
    lookups: Lookups,
    commands: Commands,
    /// Where tables are that were opened and not dropped since.
    opened: BTreeMap<TableId, TablePath>,
    /// Writers that wait for a tablet server to ask for their ids.
    nameless: BTreeSet<WriterKey>,
    events: VecDeque<Event>,
    closing: Closing,
    /// Connections made, lost and failed.
    connection_counts: [u64; 3],
    /// Who waits for the end of a close.
    closers: Vec<CommandId>,
}

/// How far a close has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    Draining { until: Instant },
    Done,
}

impl Client {
    /// A client with these settings. It connects when there is something to do.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) with every rule the settings violate.
    pub fn new(config: Config) -> Result<Self> {
        config.validate()?;
        Ok(Self::with(config))
    }

    /// A client that was closed before it did anything.
    #[cfg(feature = "handle")]
    pub(crate) fn ended(config: Config) -> Self {
        let mut client = Self::with(config);
        client.abort(Instant::ZERO);
        client.events.clear();
        // Answers that the parent had when it was forked are in the child's copy, too.
        client.commands.number_apart();
        client
    }

    fn with(config: Config) -> Self {
        let rng = Rng::new(config.seed);
        Self {
            connections: Connections::new(&config),
            metadata: Metadata::new(&config),
            writers: Writers::new(config.memory_limit),
            scanners: Scanners::new(),
            lookups: Lookups::new(),
            commands: Commands::new(),
            opened: BTreeMap::new(),
            nameless: BTreeSet::new(),
            events: VecDeque::new(),
            closing: Closing::No,
            connection_counts: [0; 3],
            closers: Vec::new(),
            rng,
            config: Arc::new(config),
        }
    }

    // ----- inputs -----

    /// The TCP connection stands.
    pub fn handle_connected(&mut self, conn: ConnId, now: Instant) {
        self.step(now, |client, cx| client.connections.handle_connected(cx, conn));
    }

    /// The connection could not be made; `reason` for people.
    pub fn handle_connect_failed(&mut self, conn: ConnId, reason: &str, now: Instant) {
        self.step(now, |client, cx| client.connections.handle_connect_failed(cx, conn, reason));
    }

    /// The socket is gone: end of stream, or an error, told in `reason`.
    pub fn handle_closed(&mut self, conn: ConnId, reason: &str, now: Instant) {
        self.step(now, |client, cx| client.connections.handle_closed(cx, conn, reason));
    }

    /// A whole frame arrived, without its length prefix. Large bodies are sliced, not copied.
    pub fn handle_frame(&mut self, conn: ConnId, frame: Bytes, now: Instant) {
        self.step(now, |client, cx| client.connections.handle_frame(cx, conn, frame));
    }

    /// The bytes on this connection are no frames (a length out of bounds); it is given up.
    pub fn handle_protocol_error(&mut self, conn: ConnId, reason: &str, now: Instant) {
        self.step(now, |client, cx| client.connections.handle_protocol_error(cx, conn, reason));
    }

    /// A read from remote storage has ended, with at most the bytes that were wanted.
    pub fn handle_remote_read(
        &mut self,
        read: ReadId,
        result: Result<Bytes, StorageError>,
        now: Instant,
    ) {
        self.step(now, |client, cx| client.scanners.handle_read(cx, read, &result));
    }

    /// It is so long since 1970. Never needed: with it, tokens for remote storage are renewed
    /// before they expire, without it when the storage denies them. To be told at the start, and
    /// now and then again, as clocks are set and hosts sleep.
    pub fn handle_unix_time(&mut self, since_1970: Duration, now: Instant) {
        self.scanners.handle_unix_time(since_1970, now);
    }

    /// Time passed. Early and repeated calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.step(now, |client, cx| {
            client.connections.handle_timeout(cx);
            client.metadata.handle_timeout(cx);
            client.writers.handle_timeout(cx);
            client.scanners.handle_timeout(cx);
            client.lookups.handle_timeout(cx);
            client.commands.handle_timeout(cx, &client.metadata);
        });
    }

    // ----- outputs -----

    /// The next thing to do for the adapter.
    pub fn poll_action(&mut self) -> Option<Action> {
        if let Some(action) = self.connections.poll_action() {
            return Some(action);
        }
        let (read, part) = self.scanners.poll_read()?;
        Some(match part {
            Some(part) => Action::ReadRemote { read, part },
            None => Action::AbandonRemote { read },
        })
    }

    /// Bytes for a connection whose socket can take them; None when nothing waits.
    pub fn poll_transmit(&mut self, conn: ConnId, now: Instant) -> Option<Segments> {
        self.transmit(conn, now)
    }

    /// When to call [`Client::handle_timeout`], and why. None: only when something else happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, TimerReason)> {
        let close = match self.closing {
            Closing::Draining { until } => Some((until, TimerReason::Close)),
            Closing::No | Closing::Done => None,
        };
        [
            self.connections.poll_timeout(),
            self.metadata.poll_timeout(),
            self.writers.poll_timeout(),
            self.scanners.poll_timeout(),
            self.lookups.poll_timeout(),
            self.commands.poll_timeout(),
            close,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.lookups.has_found() {
            self.lookups.end_found(&mut self.events);
        }
        self.events.pop_front()
    }

    /// Moves what lookups found behind this, which is cheaper than an event for each. Taken before
    /// [`Client::poll_event`], it is told nowhere else.
    #[cfg(feature = "handle")]
    pub(crate) fn take_found(&mut self, into: &mut Vec<(CommandId, CommandAnswer)>) {
        self.lookups.take_found(into);
    }

    // ----- getters -----

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What is known of the cluster; a snapshot that never changes.
    #[must_use]
    pub fn cluster(&self) -> &Arc<Cluster> {
        self.metadata.cluster()
    }

    /// Whether [`Client::poll_action`] or [`Client::poll_event`] has something.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.events.is_empty()
            || self.lookups.has_found()
            || self.connections.has_action()
            || self.scanners.has_read()
    }

    /// Bytes of the memory budget in use.
    #[must_use]
    pub fn memory_used(&self) -> u64 {
        self.writers.memory_used()
    }

    /// Batches handed in that have no outcome yet.
    #[must_use]
    pub fn unfinished_batches(&self) -> usize {
        self.writers.unfinished()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut counters = self.writers.counters();
        counters.dropped_answers = self.connections.dropped_answers();
        [counters.connections_made, counters.connections_lost, counters.connections_failed] =
            self.connection_counts;
        counters
    }

    /// Counters, gauges and latencies as they are now.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let mut metrics = Metrics { counters: self.counters(), ..Metrics::default() };
        self.writers.measure(&mut metrics);
        metrics.memory_limit = self.config.memory_limit;
        self.lookups.measure(&self.config, &mut metrics);
        metrics.connections = self.connections.ready();
        metrics
    }

    /// Whether the client is closed for good.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closing == Closing::Done
    }

    /// Whether the client has not given this connection up.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn uses(&self, conn: ConnId) -> bool {
        self.connections.server_of(conn).is_some()
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn writers(&self) -> &Writers {
        &self.writers
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn writers_mut(&mut self) -> &mut Writers {
        &mut self.writers
    }

    #[cfg(test)]
    pub(crate) fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    // ----- close -----

    /// Takes no more rows, delivers what is there, and ends what is left at `until` with a true
    /// outcome. The command's answer is the number of batches that were left;
    /// [`Event::Closed`] follows.
    pub fn close(&mut self, until: Instant, now: Instant) -> CommandId {
        let command = self.commands.next_id();
        match self.closing {
            Closing::No => {
                self.closing = Closing::Draining { until };
                self.closers.push(command);
            }
            // Whoever closes again waits for the same end; the earliest limit counts.
            Closing::Draining { until: earlier } => {
                self.closing = Closing::Draining { until: until.min(earlier) };
                self.closers.push(command);
            }
            Closing::Done => {
                let result = Ok(CommandAnswer::Left(0));
                self.events.push_back(Event::CommandDone { command, result });
            }
        }
        self.step(now, |client, _| client.writers.begin_close());
        command
    }

    /// Ends everything now: rows that may have been written end `OutcomeUnknown`, all others
    /// `NotWritten`. Returns the number of batches that were ended.
    pub fn abort(&mut self, now: Instant) -> usize {
        let mut left = 0;
        self.step(now, |client, cx| left = client.end(cx));
        left
    }

    fn end(&mut self, cx: &mut Cx<'_>) -> usize {
        let closing = std::mem::replace(&mut self.closing, Closing::Done);
        if closing == Closing::Done {
            return 0;
        }
        let error = closed();
        let left = self.writers.abort(cx, &error);
        self.scanners.abort(&error);
        self.lookups.abort(&error);
        self.commands.abort(&error);
        self.connections.close_all(cx);
        self.drain(cx);
        for command in std::mem::take(&mut self.closers) {
            let result = Ok(CommandAnswer::Left(left));
            self.events.push_back(Event::CommandDone { command, result });
        }
        self.events.push_back(Event::Closed);
        left
    }

    /// Runs one input or verb with its context, then all machines until nothing is left to do.
    fn step<R>(&mut self, now: Instant, act: impl FnOnce(&mut Self, &mut Cx<'_>) -> R) -> R {
        // The context borrows the generator and the settings while the machines are borrowed too,
        // so both leave the client for the time of the step.
        let mut rng = std::mem::replace(&mut self.rng, Rng::new(0));
        let config = Arc::clone(&self.config);
        let mut cx = Cx { now, rng: &mut rng, config: &config };
        let result = act(self, &mut cx);
        self.drain(&mut cx);
        self.rng = rng;
        result
    }
}
