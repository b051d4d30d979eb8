//! What a case works with: a runtime, a fake cluster, a table, and a book of what was promised.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::Harness;
use crate::Metrics;
use crate::config::Config;
use crate::error::WriteError;
use crate::handle::{Ack, AppendBuilder, AppendWriter, Fluss, RunPart, Table, Ticket};
use crate::ids::{BucketKey, ServerId, TableId, TablePath};
use crate::row::{DataType, OwnedDatum, Schema, TableDescriptor};
use crate::testing::cluster::{ClusterOptions, FakeCluster, Fault, On};
use crate::testing::loopback::{Loopback, LoopbackOptions, within};

/// No case takes nearly as long; one that does waits for something that never comes.
const CASE_LIMIT: Duration = Duration::from_secs(60);
/// For conditions; far above what a busy machine needs.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);
/// For waits that must end by something else.
pub(super) const NEVER: Duration = Duration::from_secs(3600);

/// The log table of every stage: `id BIGINT, text STRING`.
pub(super) const LOG: &str = "fluss.events";
/// Its primary-key table: the same columns, keyed by `id`.
pub(super) const TABLE: &str = "fluss.users";

pub(super) const PRODUCE_LOG: i16 = 1014;

/// What became of a row.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    Written(BucketKey, Option<i64>),
    NotWritten,
    Unknown,
}

/// See the module's text.
pub(super) struct Stage<H> {
    pub(super) harness: H,
    fake: Arc<Loopback>,
    clients: RefCell<Vec<Fluss>>,
    /// What is left in clients that may be gone by then.
    left: RefCell<Vec<Box<dyn Fn() -> Metrics>>>,
    book: RefCell<BTreeMap<i64, Fate>>,
}

impl<H: Harness> Stage<H> {
    /// Runs a case on a cluster with default settings.
    pub(super) fn run(case: impl AsyncFnOnce(&Self) + Send + 'static) {
        Self::run_with(ClusterOptions::default(), LoopbackOptions::default(), case);
    }

    /// Runs a case. Where the machine has no IPv6, a case that asks for it says so and ends.
    pub(super) fn run_with(
        cluster: ClusterOptions,
        loopback: LoopbackOptions,
        case: impl AsyncFnOnce(&Self) + Send + 'static,
    ) {
        within(CASE_LIMIT, move || {
            let mut cluster = FakeCluster::new(cluster);
            make_tables(&mut cluster);
            let fake = match Loopback::start(cluster, loopback) {
                Err(error) if loopback.ipv6 => {
                    H::notice(&format!("NOT RUN: this machine has no IPv6 ({error})\n"));
                    return;
                }
                started => started.expect("loopback ports"),
            };
            let stage = Self {
                harness: H::new(),
                fake: fake.into(),
                clients: RefCell::default(),
                left: RefCell::default(),
                book: RefCell::default(),
            };
            stage.harness.block_on(case(&stage));
            stage.verify();
        });
    }

    pub(super) fn fake(&self) -> &Loopback {
        &self.fake
    }

    /// The cluster, for what outlives a step of the case.
    pub(super) fn shared_fake(&self) -> Arc<Loopback> {
        Arc::clone(&self.fake)
    }

    /// Runs something that blocks, while the client runs.
    pub(super) fn aside<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Pin<Box<dyn Future<Output = T>>> {
        self.harness.aside(body)
    }

    /// Looks at the cluster, or changes it.
    pub(super) fn with<R>(&self, look: impl FnOnce(&mut FakeCluster) -> R) -> R {
        self.fake.with(look)
    }

    pub(super) fn inject(&self, on: On, skip: u64, fault: Fault) {
        self.with(|cluster| cluster.inject(on, skip, fault));
    }

    /// How many requests of this kind have arrived.
    pub(super) fn requests(&self, api: i16) -> u64 {
        self.with(|cluster| requests(cluster, api))
    }

    /// Waits until the cluster is like this, while the client runs.
    pub(super) async fn until(
        &self,
        what: &str,
        condition: impl Fn(&mut FakeCluster) -> bool + Send + 'static,
    ) {
        let fake = Arc::clone(&self.fake);
        let came = self.aside(move || fake.wait_for(PATIENCE, condition)).await;
        assert!(came, "waited in vain until {what}");
    }

    /// Waits until so many requests of this kind have arrived.
    pub(super) async fn until_requests(&self, api: i16, count: u64) {
        self.until("requests arrive", move |cluster| requests(cluster, api) >= count).await;
    }

    /// Settings for this cluster, with deadlines that do not end by themselves.
    pub(super) fn config(&self) -> Config {
        config(&self.fake.bootstrap())
    }

    /// A client whose budget must be unused at the end.
    pub(super) fn client(&self) -> Fluss {
        self.client_with(self.config())
    }

    pub(super) fn client_with(&self, config: Config) -> Fluss {
        let fluss = self.harness.start(config).expect("a client");
        self.watch(&fluss);
        fluss
    }

    /// Looks at this client at the end, and keeps it until then.
    pub(super) fn watch(&self, fluss: &Fluss) {
        self.watch_what_is_left(fluss);
        self.clients.borrow_mut().push(fluss.clone());
    }

    /// Looks at what is left of this client at the end, and lets the case drop it.
    pub(super) fn watch_what_is_left(&self, fluss: &Fluss) {
        let shared = Arc::clone(fluss.shared());
        let look = move || shared.with(|core, _| core.metrics());
        self.left.borrow_mut().push(Box::new(look));
    }

    /// A new client's writer of the log table.
    pub(super) async fn writer(&self) -> AppendWriter {
        self.writer_with(self.config(), |builder| builder).await
    }

    pub(super) async fn writer_with(
        &self,
        config: Config,
        set: impl FnOnce(AppendBuilder) -> AppendBuilder,
    ) -> AppendWriter {
        let table = self.client_with(config).table(LOG).await.expect("the table exists");
        set(table.appender().linger(Duration::ZERO)).build().expect("a writer")
    }

    pub(super) fn table_id(&self, name: &str) -> TableId {
        let path = TablePath::parse(name).expect("a path");
        self.with(|cluster| cluster.table_id(&path)).expect("the table exists")
    }

    /// The only bucket of the log table.
    pub(super) fn bucket(&self) -> BucketKey {
        BucketKey { table: self.table_id(LOG), partition: None, bucket: 0 }
    }

    /// The server that leads the log table's bucket.
    pub(super) fn leader(&self) -> ServerId {
        let truth = self.with(|cluster| cluster.truth(self.bucket_of(cluster)));
        ServerId::Tablet(truth.expect("the bucket exists").leader)
    }

    fn bucket_of(&self, cluster: &FakeCluster) -> BucketKey {
        let path = TablePath::parse(LOG).expect("a path");
        let table = cluster.table_id(&path).expect("the table exists");
        BucketKey { table, partition: None, bucket: 0 }
    }

    /// From here on the leader answers nothing on the connections it has, until
    /// [`Stage::let_go`].
    pub(super) fn hold(&self) {
        let leader = self.leader();
        self.with(|cluster| cluster.silence(leader));
    }

    /// Cuts all connections: on new ones the servers answer.
    pub(super) fn let_go(&self) {
        self.with(|cluster| cluster.cut_connections(None));
    }

    // ----- the book -----

    /// Writes down what a ticket of the log table said.
    pub(super) fn note(&self, id: i64, outcome: &Result<Ack, WriteError>) {
        let fate = match outcome {
            Ok(ack) => {
                let bucket = BucketKey {
                    table: self.table_id(LOG),
                    partition: ack.partition,
                    bucket: ack.bucket,
                };
                Fate::Written(bucket, ack.offset)
            }
            Err(WriteError::NotWritten(_)) => Fate::NotWritten,
            Err(WriteError::OutcomeUnknown(_)) => Fate::Unknown,
        };
        let before = self.book.borrow_mut().insert(id, fate);
        assert_eq!(before, None, "row {id} has two outcomes");
    }

    /// Writes down that a row was never handed in.
    pub(super) fn note_never(&self, id: i64) {
        let cause = crate::Error::misuse("never handed in");
        self.note(id, &Err(WriteError::NotWritten(cause.into())));
    }

    /// Awaits a ticket that must be acknowledged, and writes it down.
    pub(super) async fn acked(&self, id: i64, ticket: Ticket) -> Ack {
        let outcome = ticket.await;
        self.note(id, &outcome);
        outcome.unwrap_or_else(|error| panic!("row {id}: {error}"))
    }

    /// Writes down what became of a run whose rows have the ids from `first` on.
    pub(super) fn note_run(&self, first: i64, parts: &[RunPart]) {
        for part in parts {
            for row in part.rows.clone() {
                let mut outcome = part.outcome.clone();
                if let Ok(ack) = &mut outcome {
                    let within = i64::try_from(row - part.rows.start).expect("small");
                    ack.offset = ack.offset.map(|offset| offset + within);
                }
                self.note(first + i64::try_from(row).expect("small"), &outcome);
            }
        }
    }

    /// The ids in the log table, in order of bucket and offset.
    pub(super) fn ids(&self) -> Vec<i64> {
        self.rows().into_iter().map(|(id, ..)| id).collect()
    }

    fn rows(&self) -> Vec<(i64, BucketKey, i64)> {
        let table = self.table_id(LOG);
        self.with(|cluster| {
            let buckets: Vec<BucketKey> = cluster.buckets(table).collect();
            let mut all = Vec::new();
            for bucket in buckets {
                for row in cluster.rows(bucket).expect("rows that decode") {
                    let OwnedDatum::Int64(id) = row.values.values()[0] else {
                        panic!("{:?} has no id", row.values)
                    };
                    all.push((id, bucket, row.offset));
                }
            }
            all
        })
    }

    /// Compares what was promised with what the cluster holds.
    fn verify(&self) {
        let mut found: BTreeMap<i64, Vec<(BucketKey, i64)>> = BTreeMap::new();
        for (id, bucket, offset) in self.rows() {
            found.entry(id).or_default().push((bucket, offset));
        }
        for (id, fate) in &*self.book.borrow() {
            let places = found.get(id).map_or(&[][..], Vec::as_slice);
            let true_to_it = match (fate, places) {
                (Fate::Written(bucket, offset), [(at, place)]) => {
                    bucket == at && offset.is_none_or(|offset| offset == *place)
                }
                (Fate::NotWritten, places) => places.is_empty(),
                (Fate::Unknown, places) => places.len() <= 1,
                _ => false,
            };
            assert!(true_to_it, "row {id} was reported as {fate:?} and is at {places:?}");
        }
        for (id, places) in found {
            assert!(places.len() == 1, "row {id} is there more than once: {places:?}");
        }
        for look in &*self.left.borrow() {
            let left = look();
            assert_eq!(left.memory_used, 0, "bytes of the memory budget in use");
            let lookups = (left.lookups, left.lookup_waiters, left.lookup_memory_used);
            assert_eq!(lookups, (0, 0, 0), "lookups left, and bytes of their budget");
            assert_eq!(left.counters.invariant_violations, 0);
        }
    }
}

/// Settings with deadlines far away.
pub(super) fn config(bootstrap: &str) -> Config {
    Config::new(bootstrap)
        .expect("addresses")
        .ack_timeout(PATIENCE)
        .request_deadline(PATIENCE + Duration::from_secs(1))
        .connect_timeout(PATIENCE)
        .command_deadline(PATIENCE)
}

pub(super) fn requests(cluster: &FakeCluster, api: i16) -> u64 {
    cluster.requests().get(&api).copied().unwrap_or(0)
}

fn make_tables(cluster: &mut FakeCluster) {
    let columns = Schema::builder().column("id", DataType::BIGINT).column("text", DataType::STRING);
    let keyed = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("text", DataType::STRING)
        .primary_key(["id"]);
    for (path, schema) in [(LOG, columns), (TABLE, keyed)] {
        let mut table = TableDescriptor::new(schema.build().expect("a schema"));
        table.bucket_count = Some(1);
        let codec = ("table.log.arrow.compression.type", "NONE");
        table.properties.insert(codec.0.to_owned(), codec.1.to_owned());
        let path = TablePath::parse(path).expect("a path");
        cluster.add_table(&path, &table.to_json()).expect("a table");
    }
}

/// Polls a future once.
pub(super) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// Awaits both, side by side on one task.
pub(super) async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut done_a, mut done_b) = (None, None);
    std::future::poll_fn(move |cx| {
        if done_a.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(cx)
        {
            done_a = Some(output);
        }
        if done_b.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(cx)
        {
            done_b = Some(output);
        }
        match (done_a.take(), done_b.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (done_a, done_b) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}

/// The primary-key table of a new client.
pub(super) async fn keyed_table<H: Harness>(stage: &Stage<H>) -> Table {
    stage.client().table(TABLE).await.expect("the table exists")
}
