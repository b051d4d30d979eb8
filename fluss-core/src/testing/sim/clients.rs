//! The clients of a run, one or two, seen as one: their names for things are made different from
//! each other, and what they hold is added up.
//!
//! A lone client keeps its names, so nothing here shows in most runs. Two clients share nothing but
//! the cluster; each has its own connections, writer ids and memory.

use bytes::Bytes;
use fluss_proto::record::SealedBatch;
use fluss_proto::segments::Segments;

use crate::client::Client;
use crate::config::{Config, WriterConfig};
use crate::error::Result;
use crate::ids::{BatchId, BucketKey, CommandId, ConnId, LaneId, TableId, TablePath, WriterKey};
use crate::output::{Action, Event, TimerReason};
use crate::time::Instant;
use crate::writer::idempotence::Window;
use crate::writer::{Open, Reserve, WaiterId, WriterKind};

/// As many at most.
pub(super) const CLIENTS: usize = 2;

/// A client, and what is known of it until its next input.
#[derive(Debug)]
struct Own {
    client: Client,
    /// It had an input since its windows were looked at.
    changed: bool,
    /// Its timer, unless it had an input since it was asked.
    timer: Option<Option<(Instant, TimerReason)>>,
}

impl Own {
    /// The client, to be given an input. Whatever is seen of it may be different afterwards.
    fn input(&mut self) -> &mut Client {
        (self.changed, self.timer) = (true, None);
        &mut self.client
    }

    fn timer(&mut self) -> Option<(Instant, TimerReason)> {
        let client = &self.client;
        let ask = || client.poll_timeout().filter(|_| !client.is_closed());
        let timer = *self.timer.get_or_insert_with(ask);
        debug_assert_eq!(timer, ask(), "the timer changed without an input");
        timer
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Clients {
    clients: Vec<Own>,
    /// Which client opened a batch, and what it calls it.
    batches: Vec<(usize, BatchId)>,
    /// The other way round.
    numbers: Vec<Vec<u64>>,
    closed: usize,
}

impl Clients {
    pub(super) fn new(config: &Config, count: usize) -> Self {
        let made = (0..count).map(|who| {
            let seed = config.seed.wrapping_add(who as u64);
            let client = Client::new(config.clone().seed(seed))
                .unwrap_or_else(|error| unreachable!("a plan with bad settings: {error}"));
            Own { client, changed: true, timer: None }
        });
        let clients = made.collect();
        Self { clients, batches: Vec::new(), numbers: vec![Vec::new(); count], closed: 0 }
    }

    pub(super) fn count(&self) -> usize {
        self.clients.len()
    }

    // ----- names -----

    /// A client's own name for something, as everybody's.
    fn all(&self, who: usize, own: u64) -> u64 {
        own * self.clients.len() as u64 + who as u64
    }

    /// The client behind a name, and its own name.
    fn own(&self, name: u64) -> (usize, u64) {
        let count = self.clients.len() as u64;
        ((name % count) as usize, name / count)
    }

    fn on(&mut self, conn: ConnId) -> (&mut Client, ConnId) {
        let (who, own) = self.own(conn.0);
        (self.clients[who].input(), ConnId(own))
    }

    fn with_batch(&mut self, batch: BatchId) -> Option<(&mut Client, BatchId)> {
        let (who, own) = *self.batches.get(batch.0 as usize)?;
        Some((self.clients[who].input(), own))
    }

    // ----- the network -----

    pub(super) fn handle_connected(&mut self, conn: ConnId, now: Instant) {
        let (client, conn) = self.on(conn);
        client.handle_connected(conn, now);
    }

    pub(super) fn handle_connect_failed(&mut self, conn: ConnId, reason: &str, now: Instant) {
        let (client, conn) = self.on(conn);
        client.handle_connect_failed(conn, reason, now);
    }

    pub(super) fn handle_closed(&mut self, conn: ConnId, reason: &str, now: Instant) {
        let (client, conn) = self.on(conn);
        client.handle_closed(conn, reason, now);
    }

    pub(super) fn handle_frame(&mut self, conn: ConnId, frame: Bytes, now: Instant) {
        let (client, conn) = self.on(conn);
        client.handle_frame(conn, frame, now);
    }

    pub(super) fn poll_transmit(&mut self, conn: ConnId, now: Instant) -> Option<Segments> {
        let (client, conn) = self.on(conn);
        client.poll_transmit(conn, now)
    }

    /// Whether the connection was not given up.
    pub(super) fn uses(&self, conn: ConnId) -> bool {
        let (who, own) = self.own(conn.0);
        self.clients[who].client.uses(ConnId(own))
    }

    pub(super) fn poll_action(&mut self) -> Option<Action> {
        let count = self.clients.len();
        let mut polled = (0..count).map(|who| (who, self.clients[who].client.poll_action()));
        let (who, action) = polled.find_map(|(who, action)| Some((who, action?)))?;
        Some(match action {
            Action::Connect { conn, address } => {
                Action::Connect { conn: ConnId(self.all(who, conn.0)), address }
            }
            Action::Disconnect { conn } => {
                Action::Disconnect { conn: ConnId(self.all(who, conn.0)) }
            }
            Action::Flush { conn } => Action::Flush { conn: ConnId(self.all(who, conn.0)) },
            other @ (Action::ReadRemote { .. } | Action::AbandonRemote { .. }) => other,
        })
    }

    // ----- time and news -----

    pub(super) fn poll_timeout(&mut self) -> Option<(Instant, TimerReason)> {
        self.clients.iter_mut().filter_map(Own::timer).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for own in &mut self.clients {
            if own.timer().is_some_and(|(at, _)| at <= now) {
                own.input().handle_timeout(now);
            }
        }
    }

    /// What happened; of the ends of clients only the last.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        loop {
            let count = self.clients.len();
            let mut polled = (0..count).map(|who| (who, self.clients[who].client.poll_event()));
            let (who, event) = polled.find_map(|(who, event)| Some((who, event?)))?;
            if event == Event::Closed {
                self.closed += 1;
                if self.closed < count {
                    continue;
                }
            }
            return Some(self.named(who, event));
        }
    }

    fn named(&self, who: usize, event: Event) -> Event {
        // An id nobody gave out is found out as one that belongs to no batch.
        let number = |own: BatchId| {
            BatchId(self.numbers[who].get(own.0 as usize).copied().unwrap_or(u64::MAX))
        };
        match event {
            Event::Seal { batch, lane } => {
                Event::Seal { batch: number(batch), lane: LaneId(self.all(who, lane.0)) }
            }
            Event::Reroute { batch, lane, buckets } => {
                let lane = LaneId(self.all(who, lane.0));
                Event::Reroute { batch: number(batch), lane, buckets }
            }
            Event::BatchDone { batch, outcome } => {
                Event::BatchDone { batch: number(batch), outcome }
            }
            Event::MemoryGranted { waiter } => {
                Event::MemoryGranted { waiter: WaiterId(self.all(who, waiter.0)) }
            }
            Event::FlushDone { command } => {
                Event::FlushDone { command: CommandId(self.all(who, command.0)) }
            }
            other => other,
        }
    }

    // ----- what applications do -----

    pub(super) fn watch_table(&mut self, path: &TablePath, id: TableId, now: Instant) {
        self.clients.iter_mut().for_each(|own| own.input().watch_table(path, id, now));
    }

    pub(super) fn open_writer(
        &mut self,
        who: usize,
        path: TablePath,
        kind: WriterKind,
        config: WriterConfig,
        now: Instant,
    ) -> Result<WriterKey> {
        let own = self.clients[who].input().open_writer(path, kind, config, now)?;
        Ok(WriterKey(self.all(who, own.0)))
    }

    /// The number of the client in whose line this one stands.
    pub(super) fn of_waiter(&self, waiter: WaiterId) -> usize {
        self.own(waiter.0).0
    }

    /// The client that has this writer.
    #[cfg(test)]
    pub(super) fn of_writer(&mut self, writer: WriterKey) -> (&mut Client, WriterKey) {
        let (who, own) = self.own(writer.0);
        (self.clients[who].input(), WriterKey(own))
    }

    pub(super) fn open_lane(&mut self, writer: WriterKey) -> Result<LaneId> {
        let (who, own) = self.own(writer.0);
        let lane = self.clients[who].input().open_lane(WriterKey(own))?;
        Ok(LaneId(self.all(who, lane.0)))
    }

    pub(super) fn close_lane(&mut self, lane: LaneId, now: Instant) {
        let (who, own) = self.own(lane.0);
        self.clients[who].input().close_lane(LaneId(own), now);
    }

    pub(super) fn open_batch(
        &mut self,
        lane: LaneId,
        bucket: BucketKey,
        reserve: Reserve,
        now: Instant,
    ) -> Result<Open> {
        let (who, own) = self.own(lane.0);
        let reserve = match reserve {
            Reserve::Granted(waiter) => Reserve::Granted(WaiterId(self.own(waiter.0).1)),
            now => now,
        };
        match self.clients[who].input().open_batch(LaneId(own), bucket, reserve, now)? {
            Open::Granted { batch, reserved } => {
                let number = self.batches.len() as u64;
                let expected = self.numbers[who].len() as u64;
                self.batches.push((who, batch));
                self.numbers[who].push(number);
                // One that is not the next of its client is none the checker knows either.
                let batch = if batch.0 == expected { number } else { u64::MAX };
                Ok(Open::Granted { batch: BatchId(batch), reserved })
            }
            Open::Wait(waiter) => Ok(Open::Wait(WaiterId(self.all(who, waiter.0)))),
        }
    }

    pub(super) fn grow_batch(&mut self, batch: BatchId, extra: u64) -> bool {
        self.with_batch(batch).is_some_and(|(client, batch)| client.grow_batch(batch, extra))
    }

    pub(super) fn abandon_batch(&mut self, batch: BatchId, now: Instant) {
        if let Some((client, batch)) = self.with_batch(batch) {
            client.abandon_batch(batch, now);
        }
    }

    pub(super) fn submit_batch(&mut self, batch: BatchId, sealed: SealedBatch, now: Instant) {
        if let Some((client, batch)) = self.with_batch(batch) {
            client.submit_batch(batch, sealed, now);
        }
    }

    pub(super) fn cancel_wait(&mut self, waiter: WaiterId, now: Instant) {
        let (who, own) = self.own(waiter.0);
        self.clients[who].input().cancel_wait(WaiterId(own), now);
    }

    pub(super) fn flush(&mut self, writer: WriterKey, now: Instant) -> CommandId {
        let (who, own) = self.own(writer.0);
        let command = self.clients[who].input().flush(WriterKey(own), now);
        CommandId(self.all(who, command.0))
    }

    pub(super) fn close(&mut self, until: Instant, now: Instant) {
        for own in &mut self.clients {
            own.input().close(until, now);
        }
    }

    /// Ends them all; returns how many batches were left.
    pub(super) fn abort(&mut self, now: Instant) -> usize {
        self.clients.iter_mut().map(|own| own.input().abort(now)).sum()
    }

    // ----- what is seen of them -----

    fn iter(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().map(|own| &own.client)
    }

    pub(super) fn memory_used(&self) -> u64 {
        self.iter().map(Client::memory_used).sum()
    }

    pub(super) fn memory_used_by(&self, who: usize) -> u64 {
        self.clients[who].client.memory_used()
    }

    pub(super) fn unfinished_batches(&self) -> usize {
        self.iter().map(Client::unfinished_batches).sum()
    }

    pub(super) fn invariant_violations(&self) -> u64 {
        self.iter().map(|client| client.counters().invariant_violations).sum()
    }

    pub(super) fn copies(&self) -> u64 {
        self.iter().map(|client| client.counters().copies).sum()
    }

    pub(super) fn fired_rules(&self) -> u32 {
        self.iter().fold(0, |rules, client| rules | client.fired_rules())
    }

    /// Shows all windows.
    pub(super) fn look_inside(&self, mut see: impl FnMut(WriterKey, usize, Window)) {
        for (who, client) in self.iter().enumerate() {
            client.look_inside(|writer, limit, window| {
                see(WriterKey(self.all(who, writer.0)), limit, window);
            });
        }
    }

    /// Shows the windows of the clients that had an input since this was asked last; those of the
    /// others are as they were.
    pub(super) fn look_at_changed(&mut self, mut see: impl FnMut(WriterKey, usize, Window)) {
        let count = self.clients.len() as u64;
        for (who, own) in (0..).zip(&mut self.clients) {
            if std::mem::take(&mut own.changed) {
                own.client.look_inside(|writer, limit, window| {
                    see(WriterKey(writer.0 * count + who), limit, window);
                });
            }
        }
    }

    pub(super) fn skip_sequences(
        &mut self,
        writer: WriterKey,
        bucket: BucketKey,
        next: i32,
    ) -> bool {
        let (who, own) = self.own(writer.0);
        self.clients[who].input().skip_sequences(WriterKey(own), bucket, next)
    }
}
