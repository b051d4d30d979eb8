//! A client's manager, a model of the cluster, the requests between them, and the rules that must
//! hold in every state. The same world serves scenarios driven by hand and random runs.

use std::collections::{BTreeMap, VecDeque};

use fluss_proto::ErrorCode;

use super::model::Replica;
use super::watch::Watch;
use crate::config::{Config, WriterConfig};
use crate::connection::request::RequestError;
use crate::cx::Cx;
use crate::error::{Error, WriteError};
use crate::ids::{BatchId, BucketKey, ConnId, ServerId, TableId, WriterId};
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::writer::idempotence::outcome::{Done, Outcome};
use crate::writer::idempotence::*;
use crate::writer::retry::{Class, RefreshReason, classify};

/// More copies than any bucket may send in a row.
const MANY: usize = 200;

/// The key of a test bucket.
pub(super) fn bucket(number: i32) -> BucketKey {
    BucketKey { table: TableId(1), partition: None, bucket: number }
}

/// The settings of the tests: no jitter worth mentioning, short waits.
pub(super) fn settings(max_in_flight: usize) -> IdempotenceConfig {
    let client = Config::new("a:1").expect("valid");
    let writer = WriterConfig { max_in_flight, ..WriterConfig::default() };
    IdempotenceConfig::new(&client, &writer, false)
}

/// A queue of batches that were never stamped.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue(pub(super) VecDeque<Fresh>);

impl FreshBatches for Queue {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn pop(&mut self) -> Option<Fresh> {
        self.0.pop_front()
    }
}

/// What the server found for one entry of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Appended at this offset, now or earlier; success once that is replicated.
    At(usize),
    Code(i32),
}

/// A request on its way there, being served, or with its response on its way back.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) conn: ConnId,
    pub(super) copies: Vec<Copy>,
    /// Per copy, once executed.
    pub(super) found: Option<Vec<Found>>,
    /// Codes to be given before the append.
    pub(super) before: BTreeMap<usize, i32>,
    /// Codes to be given although the append took place.
    pub(super) after: BTreeMap<usize, i32>,
}

/// A connection.
#[derive(Clone, Debug)]
pub(super) struct Conn {
    pub(super) node: i32,
    pub(super) open: bool,
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) manager: IdempotenceManager,
    pub(super) now: Instant,
    rng: Rng,
    client: Config,
    pub(super) queues: BTreeMap<BucketKey, Queue>,
    pub(super) replicas: BTreeMap<BucketKey, Replica>,
    /// The leader as the client knows it.
    pub(super) view: BTreeMap<BucketKey, i32>,
    pub(super) conns: BTreeMap<ConnId, Conn>,
    /// Requests in the order they were sent; answered or dropped ones are removed.
    pub(super) requests: BTreeMap<u64, Request>,
    /// The client expects an answer to these.
    pub(super) awaited: BTreeMap<u64, ()>,
    next_request: u64,
    pub(super) next_batch: u64,
    next_id: i64,
    pub(super) ids_asked: u32,
    pub(super) auto_id: bool,
    /// An id was asked for that nobody gave so far.
    pub(super) id_due: bool,
    pub(super) auto_replicate: bool,
    /// Whether metadata names leaders with their epochs.
    pub(super) tells_epochs: bool,
    pub(super) wants: Vec<Want>,
    pub(super) outcomes: BTreeMap<u64, (BucketKey, Outcome)>,
    pub(super) done: Vec<Done>,
    /// Payloads an acked-loss fault removed.
    pub(super) lost: Vec<u64>,
    pub(super) sent: Vec<Copy>,
    pub(super) watch: Watch,
    pub(super) highest: BTreeMap<(BucketKey, i64), i32>,
    pub(super) generation: BTreeMap<BucketKey, u64>,
    pub(super) sent_in: BTreeMap<(BatchId, Stamp), (u64, i64)>,
    /// The first rule that was broken.
    pub(super) broken: Option<String>,
    /// Rules are broken on purpose: whoever does that looks at `broken`.
    pub(super) let_off: bool,
}

impl World {
    pub(super) fn new(config: IdempotenceConfig, buckets: i32, seed: u64) -> Self {
        let keys = (0..buckets).map(bucket);
        let let_off = config.mutation.is_some();
        let grave = config.retries != u32::MAX;
        Self {
            manager: IdempotenceManager::new(config),
            now: Instant::from_millis(1),
            rng: Rng::new(seed),
            client: Config::new("a:1").expect("valid"),
            queues: keys.clone().map(|k| (k, Queue::default())).collect(),
            replicas: keys.clone().map(|k| (k, Replica::default())).collect(),
            view: keys.map(|k| (k, 0)).collect(),
            conns: BTreeMap::new(),
            requests: BTreeMap::new(),
            awaited: BTreeMap::new(),
            next_request: 0,
            next_batch: 0,
            next_id: 7,
            ids_asked: 0,
            auto_id: true,
            id_due: false,
            auto_replicate: true,
            tells_epochs: true,
            wants: Vec::new(),
            outcomes: BTreeMap::new(),
            done: Vec::new(),
            lost: Vec::new(),
            sent: Vec::new(),
            watch: Watch::new(grave),
            highest: BTreeMap::new(),
            generation: BTreeMap::new(),
            sent_in: BTreeMap::new(),
            broken: None,
            let_off,
        }
    }

    pub(super) fn rule(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(text());
        }
    }

    /// Calls the manager with a context and takes its outputs.
    pub(super) fn call<R>(
        &mut self,
        f: impl FnOnce(&mut IdempotenceManager, &mut Cx<'_>) -> R,
    ) -> R {
        let mut cx = Cx { now: self.now, rng: &mut self.rng, config: &self.client };
        let result = f(&mut self.manager, &mut cx);
        self.outputs();
        result
    }

    fn outputs(&mut self) {
        while let Some(done) = self.manager.poll_done() {
            self.completed(done);
        }
        while let Some(want) = self.manager.poll_want() {
            match want {
                Want::WriterId => {
                    self.ids_asked += 1;
                    self.id_due = true;
                    if self.auto_id {
                        self.give_id();
                    }
                }
                Want::FailQueued { bucket, ref error } => {
                    let failed = WriteError::NotWritten(error.clone().into());
                    let queue = std::mem::take(&mut self.queues.entry(bucket).or_default().0);
                    for fresh in queue {
                        let outcome = Outcome::Failed(failed.clone());
                        let batch = fresh.batch;
                        self.completed(Done { bucket, batch, outcome, attempts: Vec::new() });
                    }
                    self.wants.push(want);
                }
                want => self.wants.push(want),
            }
        }
        self.check_state();
    }

    pub(super) fn give_id(&mut self) {
        let id = WriterId(self.next_id);
        self.next_id += 1;
        self.id_due = false;
        self.call(|m, cx| m.handle_writer_id(cx, Ok(id)));
    }

    pub(super) fn fail_id(&mut self, error: RequestError) {
        self.id_due = false;
        self.watch.grave |= matches!(error, RequestError::Rejected { .. });
        self.call(|m, cx| m.handle_writer_id(cx, Err(error)));
    }

    /// Hands a batch in; its payload is its number.
    pub(super) fn append(&mut self, number: i32) -> u64 {
        self.append_until(number, Instant::FAR_FUTURE)
    }

    pub(super) fn append_until(&mut self, number: i32, deadline: Instant) -> u64 {
        let batch = BatchId(self.next_batch);
        self.next_batch += 1;
        self.watch.handed_in(batch, bucket(number), deadline);
        let queue = self.queues.entry(bucket(number)).or_default();
        queue.0.push_back(Fresh { batch, deadline });
        batch.0
    }

    /// The open connection to the leader the client knows; made when missing.
    pub(super) fn conn_to(&mut self, key: BucketKey) -> ConnId {
        let node = self.view[&key];
        if let Some((id, _)) = self.conns.iter().find(|(_, c)| c.open && c.node == node) {
            return *id;
        }
        let id = ConnId(self.conns.len() as u64);
        self.conns.insert(id, Conn { node, open: true });
        id
    }

    /// What `can_send` says about a bucket.
    pub(super) fn sendable(&mut self, key: BucketKey) -> Sendable {
        let conn = self.conn_to(key);
        let has_fresh = !self.queues[&key].is_empty();
        self.manager.can_send(self.now, key, Some(conn), has_fresh)
    }

    /// The next copy of a bucket, in no request yet.
    fn pick(&mut self, key: BucketKey) -> Option<Copy> {
        let conn = self.conn_to(key);
        let before = self.sendable(key);
        let mut queue = std::mem::take(self.queues.get_mut(&key).expect("known"));
        let copy = self.call(|m, cx| m.pick(cx, key, conn, &mut queue));
        // A failed id may have emptied the queue meanwhile; it was empty here then.
        let mut now = std::mem::replace(self.queues.get_mut(&key).expect("known"), queue);
        self.queues.get_mut(&key).expect("known").0.append(&mut now.0);
        if let Some(copy) = copy {
            self.rule(before == Sendable::Now, || format!("can_send said {before:?}: {copy:?}"));
            self.check_copy(key, conn, &copy);
        } else if before == Sendable::Now {
            self.rule(false, || format!("can_send said Now, pick gave nothing in {key}"));
        }
        copy
    }

    /// Sends the next copy of each of these buckets in one request.
    pub(super) fn send(&mut self, keys: &[BucketKey]) -> Option<u64> {
        let conn = self.conn_to(*keys.first()?);
        let mut copies = Vec::new();
        for key in keys {
            if self.conn_to(*key) == conn
                && let Some(copy) = self.pick(*key)
            {
                copies.push(copy);
            }
        }
        if copies.is_empty() {
            return None;
        }
        let id = self.next_request;
        self.next_request += 1;
        let request =
            Request { conn, copies, found: None, before: BTreeMap::new(), after: BTreeMap::new() };
        self.requests.insert(id, request);
        self.awaited.insert(id, ());
        Some(id)
    }

    /// Sends all a bucket may send, one request per copy.
    pub(super) fn send_all(&mut self, number: i32) -> Vec<u64> {
        self.send_all_of(bucket(number))
    }

    fn send_all_of(&mut self, key: BucketKey) -> Vec<u64> {
        if self.sendable(key) == Sendable::NeedsWriterId {
            self.call(|m, cx| m.want_writer_id(cx, key));
        }
        let sent: Vec<u64> = std::iter::from_fn(|| self.send(&[key])).take(MANY).collect();
        assert!(sent.len() < MANY, "I16: the bucket sends without end");
        sent
    }

    /// The server executes a request that arrived.
    pub(super) fn execute(&mut self, id: u64) {
        let Some(mut request) = self.requests.remove(&id) else { return };
        let node = self.conns[&request.conn].node;
        let mut found = Vec::new();
        for (i, copy) in request.copies.iter().enumerate() {
            let key = copy.token.bucket();
            let replica = self.replicas.get_mut(&key).expect("known");
            let result = if replica.leader != node {
                Found::Code(12)
            } else if let Some(code) = request.before.get(&i) {
                // A server that says so has forgotten the writer.
                self.watch.grave |= classify(ErrorCode(*code)) == Class::RejectSeq;
                Found::Code(*code)
            } else {
                let (had, length) = (replica.has(copy.batch.0), replica.log.len());
                match replica.append(copy.stamp, copy.batch.0) {
                    Ok(at) => {
                        if self.auto_replicate {
                            replica.hw = replica.log.len();
                        }
                        let again = had && replica.log.len() > length;
                        let same = replica.log.get(at).is_none_or(|e| e.payload == copy.batch.0);
                        self.appended(copy, again, same);
                        request.after.get(&i).map_or(Found::At(at), |code| Found::Code(*code))
                    }
                    Err(code) => Found::Code(code),
                }
            };
            found.push(result);
        }
        request.found = Some(found);
        self.requests.insert(id, request);
    }

    /// Whether every success of an executed request is replicated.
    pub(super) fn answerable(&self, id: u64) -> bool {
        let request = &self.requests[&id];
        request.found.as_ref().is_some_and(|found| {
            found.iter().zip(&request.copies).all(|(found, copy)| match found {
                Found::At(at) => self.replicas[&copy.token.bucket()].hw > *at,
                Found::Code(_) => true,
            })
        })
    }

    /// Delivers the response of an executed request.
    pub(super) fn deliver(&mut self, id: u64) {
        let Some(request) = self.requests.remove(&id) else { return };
        let wanted = self.awaited.remove(&id).is_some();
        let found = request.found.clone().expect("executed");
        if !wanted {
            return;
        }
        for (copy, found) in request.copies.iter().zip(found) {
            let answer = match found {
                Found::At(at) => written(at as i64),
                Found::Code(code) => rejected(code),
            };
            self.answer(copy.token, answer);
        }
    }

    /// Does something to one bucket that no other may notice.
    fn alone<R>(&mut self, key: BucketKey, act: impl FnOnce(&mut Self) -> R) -> R {
        let others = |w: &Self| {
            let mut states = w.manager.buckets.clone();
            states.remove(&key);
            states
        };
        let before = others(self);
        let result = act(self);
        let after = others(self);
        self.rule(before == after, || format!("I19: {key} changed another bucket"));
        result
    }

    /// Hands one answer in.
    pub(super) fn answer(&mut self, token: Token, answer: Answer) {
        let key = token.bucket();
        let waited = self.answered(token, &answer);
        let has_fresh = !self.queues[&key].is_empty();
        // Any input lets the manager decide what it can; what no copy waits for does no more.
        let proves = matches!(answer, Answer::Written { .. });
        let expected = (!waited && !proves).then(|| {
            let (mut manager, mut rng) = (self.manager.clone(), self.rng.clone());
            let mut cx = Cx { now: self.now, rng: &mut rng, config: &self.client };
            manager.handle_answer(&mut cx, token.of_nobody(), rejected(31), has_fresh);
            manager.buckets
        });
        self.alone(key, |w| {
            let mut cx = Cx { now: w.now, rng: &mut w.rng, config: &w.client };
            w.manager.handle_answer(&mut cx, token, answer, has_fresh);
        });
        let same = expected.is_none_or(|expected| expected == self.manager.buckets);
        self.rule(same, || format!("I17: an answer to the closed {token:?} changed something"));
        self.outputs();
    }

    /// A bucket's table or partition is gone.
    pub(super) fn gone(&mut self, key: BucketKey, error: &Error) {
        self.watch.grave = true;
        self.alone(key, |w| w.call(|m, cx| m.handle_bucket_gone(cx, key, error)));
    }

    /// The writer is given up.
    pub(super) fn abort(&mut self, error: &Error) {
        self.watch.grave = true;
        self.call(|m, cx| m.abort(cx, error));
    }

    /// Executes and answers a request.
    pub(super) fn serve(&mut self, id: u64) {
        self.execute(id);
        self.deliver(id);
    }

    /// The server refuses entry 0 of a request before it looks at the sequence.
    pub(super) fn refuse(&mut self, id: u64, code: i32) {
        self.requests.get_mut(&id).expect("sent").before.insert(0, code);
        self.serve(id);
    }

    /// The server fails entry 0 of a request although it appended it.
    pub(super) fn fail_after(&mut self, id: u64, code: i32) {
        self.requests.get_mut(&id).expect("sent").after.insert(0, code);
        self.serve(id);
    }

    /// The connection breaks: its requests stay with the server, their answers are gone.
    pub(super) fn close(&mut self, conn: ConnId) {
        self.conns.get_mut(&conn).expect("known").open = false;
        let ids: Vec<u64> =
            self.awaited.keys().copied().filter(|id| self.requests[id].conn == conn).collect();
        for id in ids {
            self.awaited.remove(&id);
            let request = &self.requests[&id];
            let tokens: Vec<Token> = request.copies.iter().map(|c| c.token).collect();
            if request.found.is_some() {
                self.requests.remove(&id);
            }
            for token in tokens {
                self.answer(token, lost());
            }
        }
    }

    /// Breaks the connection a request was sent on.
    pub(super) fn close_of(&mut self, id: u64) {
        self.close(self.requests[&id].conn);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        let queues = self.queues.clone();
        self.call(|m, cx| {
            m.handle_timeout(cx, |key| queues.get(&key).is_some_and(|q| !q.is_empty()));
        });
    }

    /// Long enough for each retry wait.
    pub(super) fn wait(&mut self) {
        self.pass(Duration::from_secs(4));
    }

    pub(super) fn lead(&mut self, number: i32, node: i32, epoch: Option<i32>) -> bool {
        self.lead_of(bucket(number), node, epoch)
    }

    fn lead_of(&mut self, key: BucketKey, node: i32, epoch: Option<i32>) -> bool {
        let has_fresh = !self.queues[&key].is_empty();
        let leader = (ServerId::Tablet(node), epoch);
        // Without epochs nobody can tell who leads no more.
        self.watch.grave |= epoch.is_none();
        let taken =
            self.alone(key, |w| w.call(|m, cx| m.handle_leader(cx, key, leader, has_fresh)));
        if taken {
            self.view.insert(key, node);
        }
        taken
    }

    /// The leader of a bucket as the cluster names it.
    fn look_up(&mut self, key: BucketKey) {
        let replica = &self.replicas[&key];
        let (leader, epoch) = (replica.leader, self.tells_epochs.then_some(replica.epoch));
        self.lead_of(key, leader, epoch);
    }

    /// Answers the looks for a newer leader with what the cluster has.
    pub(super) fn confirm(&mut self) {
        for want in std::mem::take(&mut self.wants) {
            if let Want::Refresh { bucket, reason: RefreshReason::Confirm, .. } = want {
                self.look_up(bucket);
            }
        }
    }

    /// Serves everything without faults until nothing moves any more.
    pub(super) fn drain(&mut self) {
        for _ in 0..400 {
            let keys: Vec<BucketKey> = self.queues.keys().copied().collect();
            for replica in self.replicas.values_mut() {
                replica.hw = replica.log.len();
            }
            for key in &keys {
                self.look_up(*key);
                self.send_all_of(*key);
            }
            let ids: Vec<u64> = self.requests.keys().copied().collect();
            for id in ids {
                if self.requests.get(&id).is_some_and(|r| r.found.is_none()) {
                    self.execute(id);
                }
                for replica in self.replicas.values_mut() {
                    replica.hw = replica.log.len();
                }
                self.deliver(id);
            }
            self.confirm();
            let idle = self.manager.buckets.values().all(|b| b.is_idle())
                && self.queues.values().all(Queue::is_empty)
                && self.requests.is_empty();
            if idle || self.broken.is_some() {
                return;
            }
            self.wait();
        }
        self.rule(false, || "I16: the drain does not end".into());
    }

    /// A letter per batch: o written with offset, i inferred, n not written, u unknown, - open.
    pub(super) fn results(&self) -> String {
        (0..self.next_batch)
            .map(|batch| match self.outcomes.get(&batch).map(|(_, outcome)| outcome) {
                Some(Outcome::Written { inferred: false, .. }) => 'o',
                Some(Outcome::Written { inferred: true, .. }) => 'i',
                Some(Outcome::Failed(WriteError::NotWritten(_))) => 'n',
                Some(Outcome::Failed(WriteError::OutcomeUnknown(_))) => 'u',
                None => '-',
            })
            .collect()
    }

    /// The payloads in the log of a bucket.
    pub(super) fn log(&self, number: i32) -> Vec<u64> {
        self.replicas[&bucket(number)].log.iter().map(|e| e.payload).collect()
    }

    /// The stamps sent, in order, for all buckets.
    pub(super) fn stamps(&self) -> Vec<(i64, i32)> {
        self.sent.iter().map(|c| (c.stamp.writer_id, c.stamp.sequence)).collect()
    }
}

pub(super) fn written(offset: i64) -> Answer {
    Answer::Written { base_offset: Some(offset), log_end_offset: Some(offset + 1), pressure: None }
}

pub(super) fn rejected(code: i32) -> Answer {
    Answer::Rejected { code: ErrorCode(code), message: "told so".into() }
}

pub(super) fn lost() -> Answer {
    Answer::Lost(broken())
}

pub(super) fn broken() -> Error {
    Error::Disconnected {
        server: "tablet server 0".into(),
        what: "connection lost".into(),
        sent: true,
    }
}
