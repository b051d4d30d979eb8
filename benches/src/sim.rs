//! A client and a fake cluster in one thread, without sockets: what the client itself costs.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant as Wall};

use bytes::{Buf, Bytes};
use fluss_core::config::{Config, WriterConfig};
use fluss_core::ids::{BucketKey, ConnId, LaneId, ServerId, TableId, TablePath};
use fluss_core::testing::cluster::FakeCluster;
use fluss_core::{
    Action, BatchOutcome, Client, Event, Instant, Metrics, Open, Reserve, Segments, WriterKind,
};
use fluss_proto::record::SealedBatch;

use crate::fake;

/// Rounds in which something must come of an input.
const PATIENCE: u32 = 1000;
/// What handles reserve for a batch at first; they double it as the batch grows.
const FIRST_STEP: u64 = 16 << 10;

/// The client, the cluster, and the connections between them.
#[derive(Debug)]
pub struct Sim {
    client: Client,
    cluster: FakeCluster,
    /// The cluster's name of each of the client's connections.
    links: BTreeMap<ConnId, ConnId>,
    now: Instant,
    lane: LaneId,
    table: TableId,
    /// The connection to the only tablet server.
    tablet: Option<ConnId>,
    /// The first batch is written.
    warm: bool,
    /// Stands for the lock that handles have around the client: taken for each verb.
    gate: Mutex<()>,
}

impl Sim {
    /// A client with a writer of the log table.
    ///
    /// # Panics
    /// If the client refuses its settings.
    #[must_use]
    pub fn new() -> Self {
        Self::with(WriterConfig::default())
    }

    /// The same with these settings of the writer.
    ///
    /// # Panics
    /// If the client refuses them.
    #[must_use]
    pub fn with(config: WriterConfig) -> Self {
        let cluster = fake::cluster(1);
        let path = TablePath::parse(fake::LOG).expect("a path");
        let table = cluster.table_id(&path).expect("the table");
        let address = cluster.address(ServerId::Coordinator).expect("a coordinator").clone();
        let mut client = Client::new(Config::with_addresses(vec![address])).expect("settings");
        let now = Instant::ZERO;
        client.watch_table(&path, table, now);
        let writer = client.open_writer(path, WriterKind::Append, config, now).expect("a writer");
        let lane = client.open_lane(writer).expect("a lane");
        Self {
            client,
            cluster,
            links: BTreeMap::new(),
            now,
            lane,
            table,
            tablet: None,
            warm: false,
            gate: Mutex::new(()),
        }
    }

    /// Takes the lock and gives it back, as handles do for each verb.
    fn gate(&self) {
        drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn bucket(&self) -> BucketKey {
        BucketKey { table: self.table, partition: None, bucket: 0 }
    }

    /// Does what the client asks for and hands it what comes back, until it wants nothing more.
    fn settle(&mut self) {
        for _ in 0..PATIENCE {
            let mut quiet = true;
            while let Some(action) = self.client.poll_action() {
                quiet = false;
                self.obey(action);
            }
            while let Some(server_side) = self.cluster.poll_ready() {
                let Some((&conn, _)) = self.links.iter().find(|(_, s)| **s == server_side) else {
                    continue;
                };
                while let Some(mut answer) = self.cluster.poll_output(server_side) {
                    quiet = false;
                    answer.advance(4);
                    self.client.handle_frame(conn, answer, self.now);
                }
                self.transmit(conn);
            }
            if quiet {
                match self.client.poll_timeout() {
                    Some((at, _)) if at <= self.now + Duration::from_millis(100) => {
                        self.now = at.max(self.now);
                        self.client.handle_timeout(self.now);
                    }
                    _ => return,
                }
            }
        }
    }

    fn obey(&mut self, action: Action) {
        match action {
            Action::Connect { conn, address } => {
                let is = |s: &ServerId| self.cluster.address(*s) == Some(&address);
                let server = self.cluster.servers().find(is).expect("a known address");
                let link = self.cluster.open(server).expect("a server that is up");
                if matches!(server, ServerId::Tablet(_)) {
                    self.tablet = Some(conn);
                }
                self.links.insert(conn, link);
                self.client.handle_connected(conn, self.now);
                self.transmit(conn);
            }
            Action::Flush { conn } => self.transmit(conn),
            Action::Disconnect { conn } => {
                if let Some(link) = self.links.remove(&conn) {
                    self.cluster.close(link);
                }
            }
            other => panic!("{other:?} has no meaning here"),
        }
    }

    fn transmit(&mut self, conn: ConnId) {
        while let Some(segments) = self.client.poll_transmit(conn, self.now) {
            self.deliver(conn, segments);
        }
    }

    fn deliver(&mut self, conn: ConnId, segments: Segments) {
        if let Some(link) = self.links.get(&conn) {
            let mut bytes = segments.into_bytes();
            bytes.advance(4);
            self.cluster.handle_frame(*link, bytes, self.now);
        }
    }

    /// What a monitoring system would ask for.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.client.metrics()
    }

    /// Writes one batch and takes the time of what would happen under the client's lock: open,
    /// more memory as handles ask for it, submit, transmit with the checksum combined, the answer,
    /// and the polls in between.
    ///
    /// # Panics
    /// If the batch is not acknowledged.
    pub fn batch(&mut self, sealed: SealedBatch) -> Duration {
        let bucket = self.bucket();
        let start = Wall::now();
        let out = self.measured_hand_in(bucket, sealed);
        let Some(conn) = self.tablet.filter(|_| self.warm) else {
            // The first batch: leaders, the writer id and the connection are still to come.
            self.settle();
            assert!(self.acknowledged(), "the first batch");
            self.warm = true;
            return Duration::ZERO;
        };
        let mut spent = start.elapsed();
        let segments = out.expect("the request");
        self.deliver(conn, segments);
        let answer = self.answer(conn);
        let start = Wall::now();
        let done = self.measured_answer(conn, answer);
        spent += start.elapsed();
        assert!(done, "the batch was acknowledged");
        spent
    }

    /// The client's work from a sealed batch to the request. A function of its own, as the tool
    /// that counts instructions finds it by its name.
    #[inline(never)]
    fn measured_hand_in(&mut self, bucket: BucketKey, sealed: SealedBatch) -> Option<Segments> {
        let (now, reserve) = (self.now, Reserve::Now { step: FIRST_STEP, full: FIRST_STEP });
        self.gate();
        let open = self.client.open_batch(self.lane, bucket, reserve, now).expect("open");
        std::hint::black_box((self.client.has_output(), self.client.poll_timeout()));
        let Open::Granted { batch, mut reserved } = open else { panic!("there is memory") };
        while reserved < sealed.size() as u64 {
            self.gate();
            assert!(self.client.grow_batch(batch, reserved), "there is memory");
            reserved *= 2;
        }
        self.gate();
        self.client.submit_batch(batch, sealed, now);
        std::hint::black_box((self.client.has_output(), self.client.poll_timeout()));
        let conn = self.tablet.filter(|_| self.warm)?;
        self.gate();
        let action = self.client.poll_action();
        assert!(matches!(action, Some(Action::Flush { .. })), "{action:?}");
        self.gate();
        self.client.poll_transmit(conn, now)
    }

    /// The client's work from an answer to the outcome.
    #[inline(never)]
    fn measured_answer(&mut self, conn: ConnId, answer: Bytes) -> bool {
        let now = self.now;
        self.gate();
        self.client.handle_frame(conn, answer, now);
        let done = self.acknowledged();
        self.gate();
        std::hint::black_box((self.client.poll_transmit(conn, now), self.client.take_body()));
        done
    }

    fn answer(&mut self, conn: ConnId) -> Bytes {
        let link = self.links[&conn];
        while self.cluster.poll_ready().is_some() {}
        let mut answer = self.cluster.poll_output(link).expect("an answer");
        answer.advance(4);
        answer
    }

    fn acknowledged(&mut self) -> bool {
        let mut done = false;
        while let Some(event) = self.client.poll_event() {
            done |= matches!(event, Event::BatchDone { outcome: BatchOutcome::Written(_), .. });
        }
        done
    }
}

impl Default for Sim {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Sim;
    use crate::{schema, tuple};
    use fluss_core::batch::{ArrowBatchBuilder, ArrowBatchOptions};

    #[test]
    fn batch_after_batch_is_acknowledged_in_one_exchange() {
        let mut builder = ArrowBatchBuilder::new(schema(false), ArrowBatchOptions::default())
            .expect("valid options");
        builder.try_push(&tuple(0)).expect("a row of the table");
        let sealed = builder.seal(1, Vec::new()).expect("a row to seal");
        let mut sim = Sim::new();
        for _ in 0..20 {
            sim.batch(sealed.clone());
        }
    }
}
