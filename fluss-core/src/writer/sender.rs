//! One writer's way out: which buckets can send where, and what goes into a request.
//!
//! A bucket is looked at again only when something about it changed: a batch was sealed, an answer
//! came, a wait ended, its leader became known. It then stands in the line of its leader, waits for
//! a time, for a leader or for a writer id, or has nothing to do. Building a request takes buckets
//! from the line, so the work per request grows with its batches, not with the table.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fluss_proto::record::{SealedBatch, Stamp};

use super::accumulator::Accumulator;
use super::bucket_queue::{BucketQueue, Rank};
use super::idempotence::{Fresh, FreshBatches, IdempotenceManager, Sendable, Token};
use crate::cx::Cx;
use crate::ids::{BucketKey, ConnId, ServerId, TableId};
use crate::metadata::{Cluster, Described};
use crate::time::Instant;

/// One bucket's part of a request.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) bucket: BucketKey,
    pub(crate) token: Token,
    pub(crate) sealed: SealedBatch,
    pub(crate) stamp: Stamp,
    /// The number of buckets its own was chosen from, as far as known.
    pub(crate) of: Option<i32>,
}

/// The sending side of one writer.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) manager: IdempotenceManager,
    queues: BTreeMap<BucketKey, BucketQueue>,
    /// Buckets to look at again, each once.
    changed: BTreeSet<BucketKey>,
    /// Buckets that can send now, in line for their leader.
    ready: BTreeMap<ServerId, VecDeque<BucketKey>>,
    /// The server in whose line a bucket stands.
    in_line: BTreeMap<BucketKey, ServerId>,
    timers: BTreeSet<(Instant, BucketKey)>,
    no_leader: BTreeSet<BucketKey>,
    no_id: BTreeSet<BucketKey>,
    /// Buckets that look for a newer leader before their session is given up.
    looking: BTreeSet<BucketKey>,
    /// Those of them to which the last news said nothing: they ask again.
    unanswered: BTreeSet<BucketKey>,
    /// The leaders as the manager was told last.
    told: BTreeMap<BucketKey, (ServerId, Option<i32>)>,
}

impl Sender {
    pub(crate) fn new(manager: IdempotenceManager) -> Self {
        Self {
            manager,
            queues: BTreeMap::new(),
            changed: BTreeSet::new(),
            ready: BTreeMap::new(),
            in_line: BTreeMap::new(),
            timers: BTreeSet::new(),
            no_leader: BTreeSet::new(),
            no_id: BTreeSet::new(),
            looking: BTreeSet::new(),
            unanswered: BTreeSet::new(),
            told: BTreeMap::new(),
        }
    }

    pub(crate) fn queue(&mut self, bucket: BucketKey) -> &mut BucketQueue {
        self.queues.entry(bucket).or_default()
    }

    /// The buckets that have batches which were never sent, for ends (table gone, close).
    pub(crate) fn queued(&self) -> Vec<(BucketKey, Rank)> {
        self.queues.iter().flat_map(|(b, q)| q.iter().map(|rank| (*b, rank))).collect()
    }

    /// Something about this bucket changed.
    pub(crate) fn touch(&mut self, bucket: BucketKey) {
        self.changed.insert(bucket);
    }

    /// Writer ids may be known now.
    pub(crate) fn touch_waiting_for_id(&mut self) {
        self.changed.append(&mut self.no_id);
    }

    /// Leaders that were asked for may not be known yet: who still needs one asks again.
    pub(crate) fn touch_without_leader(&mut self) {
        self.changed.append(&mut self.no_leader);
        self.changed.extend(&self.looking);
        self.unanswered.append(&mut self.looking);
    }

    /// Calls `act` with the manager, told whether the bucket has batches that were never sent, and
    /// looks at the bucket again afterwards.
    pub(crate) fn with_manager<R>(
        &mut self,
        bucket: BucketKey,
        act: impl FnOnce(&mut IdempotenceManager, bool) -> R,
    ) -> R {
        let has_fresh = self.queues.get(&bucket).is_some_and(|q| q.peek().is_some());
        let result = act(&mut self.manager, has_fresh);
        self.changed.insert(bucket);
        result
    }

    /// Forgets buckets that exist no more and have nothing left to send.
    pub(crate) fn forget(&mut self, gone: impl Fn(&BucketKey) -> bool) {
        self.queues.retain(|bucket, queue| !gone(bucket) || !queue.is_empty());
        let queues = &self.queues;
        self.told.retain(|bucket, _| queues.contains_key(bucket) || !gone(bucket));
    }

    /// Forgets what idle buckets were about; their leaders are told anew when they have something.
    pub(crate) fn forget_idle(&mut self, now: Instant) {
        self.manager.forget_idle(now);
        let manager = &self.manager;
        self.told.retain(|bucket, _| manager.knows(*bucket));
    }

    /// Buckets this writer has written to.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = BucketKey> + '_ {
        self.queues.keys().copied()
    }

    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(crate) fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        let queues = &self.queues;
        self.manager
            .handle_timeout(cx, |bucket| queues.get(&bucket).is_some_and(|q| q.peek().is_some()));
        while let Some((at, bucket)) = self.timers.first().copied().filter(|(at, _)| *at <= cx.now)
        {
            self.timers.remove(&(at, bucket));
            self.changed.insert(bucket);
        }
    }

    /// Tells the manager the leaders as metadata has them: those of what was just described, though
    /// it be nothing new, and those that are not what they were. Who looks for a newer leader is
    /// not to take an answer about another table for the end of that look.
    pub(crate) fn handle_metadata(
        &mut self,
        cx: &mut Cx<'_>,
        cluster: &Cluster,
        described: &Described,
    ) {
        // One with nothing to send is told when it has something: an answer must not cost a look at
        // each of ten thousand partitions.
        let busy = |(bucket, queue): &(&BucketKey, &BucketQueue)| {
            !queue.is_empty()
                || !self.manager.is_idle(**bucket)
                || self.in_line.contains_key(*bucket)
        };
        let buckets: Vec<BucketKey> =
            self.queues.iter().filter(busy).map(|(bucket, _)| *bucket).collect();
        for bucket in buckets {
            if let Some(leader @ (server, _)) = cluster.leader_at(bucket) {
                let told = self.told.insert(bucket, leader);
                if told != Some(leader) || described.contains(&(bucket.table, bucket.partition)) {
                    self.with_manager(bucket, |manager, fresh| {
                        manager.handle_leader(cx, bucket, leader, fresh)
                    });
                }
                // A former leader gets nothing more, also while copies that it has keep the bucket
                // from the new one: it would refuse what it gets, and say nothing that counts.
                if let Some(former) = self.in_line.get(&bucket).copied().filter(|s| *s != server) {
                    self.in_line.remove(&bucket);
                    self.drop_from_line(bucket, former);
                }
            } else if let Some(server) = self.in_line.remove(&bucket) {
                // Its leader is not alive any more; nobody would come to this line.
                self.drop_from_line(bucket, server);
                self.changed.insert(bucket);
            }
        }
        self.touch_without_leader();
    }

    /// Looks at the changed buckets. Reports servers with something to take, and buckets without a
    /// known leader.
    pub(crate) fn update(
        &mut self,
        cx: &mut Cx<'_>,
        cluster: &Cluster,
        conn_of: impl Fn(ServerId) -> Option<ConnId>,
        out: &mut Wishes,
    ) {
        while let Some(bucket) = self.changed.pop_first() {
            let leader = cluster.leader_at(bucket);
            let queue = self.queues.get(&bucket);
            let fresh = queue.is_some_and(|queue| queue.peek().is_some());
            // The manager knows a bucket's leader before the bucket's first copy leaves.
            if let Some(leader) = leader
                && self.told.get(&bucket) != Some(&leader)
            {
                self.told.insert(bucket, leader);
                self.manager.handle_leader(cx, bucket, leader, fresh);
            }
            if queue.is_some() {
                let server = leader.map(|(server, _)| server);
                let conn = server.and_then(&conn_of);
                let sendable = self.manager.can_send(cx.now, bucket, conn, fresh);
                if sendable == Sendable::NeedsWriterId {
                    self.manager.want_writer_id(cx, bucket);
                }
                self.place(bucket, sendable, server, out);
            }
            let asks = self.unanswered.remove(&bucket);
            if self.manager.is_looking(bucket) {
                self.looking.insert(bucket);
                if asks {
                    out.leaders.push(bucket);
                }
            }
        }
    }

    fn place(
        &mut self,
        bucket: BucketKey,
        sendable: Sendable,
        leader: Option<ServerId>,
        out: &mut Wishes,
    ) {
        match sendable {
            Sendable::No => {}
            Sendable::At(at) => {
                self.timers.insert((at, bucket));
            }
            Sendable::NeedsWriterId => {
                self.no_id.insert(bucket);
            }
            Sendable::Now => match leader {
                None => {
                    self.no_leader.insert(bucket);
                    out.leaders.push(bucket);
                }
                Some(server) => self.stand_in_line(bucket, server, out),
            },
        }
    }

    fn stand_in_line(&mut self, bucket: BucketKey, server: ServerId, out: &mut Wishes) {
        match self.in_line.insert(bucket, server) {
            Some(old) if old == server => {}
            Some(old) => {
                // The leader moved while the bucket stood in the old one's line.
                self.drop_from_line(bucket, old);
                self.ready.entry(server).or_default().push_back(bucket);
            }
            None => self.ready.entry(server).or_default().push_back(bucket),
        }
        out.servers.push(server);
    }

    fn drop_from_line(&mut self, bucket: BucketKey, server: ServerId) {
        if let Some(line) = self.ready.get_mut(&server) {
            line.retain(|b| *b != bucket);
        }
    }

    /// What the first batch of a bucket that was never sent waits for, for the text of an error.
    pub(crate) fn waits_for(&self, bucket: BucketKey) -> String {
        if self.no_leader.contains(&bucket) {
            "no leader of the bucket was known".to_owned()
        } else if self.no_id.contains(&bucket) {
            "no writer id was assigned".to_owned()
        } else if let Some(server) = self.in_line.get(&bucket) {
            format!("{server} took no request")
        } else {
            "rows before it had no outcome".to_owned()
        }
    }

    pub(crate) fn has_ready(&self, server: ServerId) -> bool {
        self.ready.get(&server).is_some_and(|line| !line.is_empty())
    }

    /// The buckets standing in the line of a server that cannot be reached look for their leader
    /// again.
    pub(crate) fn leave_line(&mut self, server: ServerId) -> Vec<BucketKey> {
        let left: Vec<BucketKey> = self.ready.remove(&server).unwrap_or_default().into();
        for bucket in &left {
            self.in_line.remove(bucket);
            self.no_leader.insert(*bucket);
        }
        left
    }

    /// The size of the largest batch that may be a bucket's next.
    fn largest_next(&self, bucket: BucketKey, accumulator: &Accumulator) -> usize {
        let fresh = self.queues.get(&bucket).and_then(BucketQueue::peek);
        let next = self.manager.unanswered(bucket).chain(fresh);
        let size = |batch| Some(accumulator.get(batch)?.sealed.as_ref()?.size());
        next.filter_map(size).max().unwrap_or(0)
    }

    /// Takes the next bucket's batch for a request to `server` with `room` bytes left. None when
    /// nobody stands in line, or the next batch does not fit.
    pub(crate) fn take(
        &mut self,
        cx: &mut Cx<'_>,
        (server, conn): (ServerId, ConnId),
        room: usize,
        table: &mut Option<TableId>,
        accumulator: &Accumulator,
    ) -> Option<Entry> {
        loop {
            let bucket = *self.ready.get(&server)?.front()?;
            if table.is_some_and(|t| t != bucket.table) {
                // One request names one table; this bucket goes with the next request.
                return None;
            }
            if room < usize::MAX && self.largest_next(bucket, accumulator) > room {
                // A row may be larger than batches are: it goes alone, with the next request.
                return None;
            }
            let line = self.ready.get_mut(&server)?;
            line.pop_front();
            self.in_line.remove(&bucket);
            let queue = self.queues.entry(bucket).or_default();
            let picked = self.manager.pick(cx, bucket, conn, &mut Queue { queue, accumulator });
            self.changed.insert(bucket);
            let Some(copy) = picked else { continue };
            if self.manager.crowds_requests() {
                self.ready.entry(server).or_default().push_front(bucket);
            }
            let batch = accumulator.get(copy.batch);
            let sealed = batch.and_then(|b| Some((b.sealed.clone()?, b.of)));
            debug_assert!(sealed.is_some(), "batch {} was picked before it was sealed", copy.batch);
            let Some((sealed, of)) = sealed else { continue };
            *table = Some(bucket.table);
            let stamp = Stamp { writer_id: copy.stamp.writer_id, sequence: copy.stamp.sequence };
            return Some(Entry { bucket, token: copy.token, sealed, stamp, of });
        }
    }
}

/// What looking at the buckets brought up.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) servers: Vec<ServerId>,
    pub(crate) leaders: Vec<BucketKey>,
}

/// One bucket's queue, as the idempotence manager sees it.
struct Queue<'a> {
    queue: &'a mut BucketQueue,
    accumulator: &'a Accumulator,
}

impl FreshBatches for Queue<'_> {
    fn is_empty(&self) -> bool {
        self.queue.peek().is_none()
    }

    fn pop(&mut self) -> Option<Fresh> {
        let batch = self.queue.pop()?;
        let deadline = self.accumulator.get(batch).map_or(Instant::ZERO, |b| b.deadline);
        Some(Fresh { batch, deadline })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, WriterConfig};
    use crate::error::Error;
    use crate::ids::{BatchId, LaneId, WriterId, WriterKey};
    use crate::rng::Rng;
    use crate::time::Duration;
    use crate::writer::accumulator::{Open, Place, Reserve, Times};
    use crate::writer::idempotence::{Answer, IdempotenceConfig};
    use fluss_proto::ErrorCode;

    const TABLE: TableId = TableId(1);

    /// A sender without idempotence.
    fn plain(client: &Config) -> Sender {
        let writer = WriterConfig { idempotence: false, ..WriterConfig::default() };
        let config = IdempotenceConfig::new(client, &writer, false);
        Sender::new(IdempotenceManager::new(config))
    }

    fn look(
        sender: &mut Sender,
        cx: &mut Cx<'_>,
        cluster: &Cluster,
    ) -> (Vec<ServerId>, Vec<BucketKey>) {
        let mut out = Wishes::default();
        sender.update(cx, cluster, |_| None, &mut out);
        (out.servers, out.leaders)
    }

    /// A sealed batch of this bucket in its queue.
    fn queue(sender: &mut Sender, accumulator: &mut Accumulator, bucket: BucketKey) {
        let at = Place { writer: WriterKey(0), lane: LaneId(0), bucket, waits: None, of: Some(2) };
        let times = Times { linger: Duration::ZERO, delivery: Duration::from_secs(60) };
        let reserve = Reserve::Now { step: 1, full: 1 };
        let opened = accumulator.open(Instant::from_millis(1), at, times, reserve);
        let Open::Granted { batch, .. } = opened else { panic!("{opened:?}") };
        let sealed = SealedBatch::kv_v0(1, 0, 1, vec![0; 9].into()).expect("a valid batch");
        accumulator.seal(batch, sealed);
        sender.queue(bucket).open(Rank::of(batch), LaneId(0));
        sender.queue(bucket).seal(batch);
        sender.touch(bucket);
    }

    #[test]
    fn a_bucket_with_a_copy_under_way_learns_of_its_new_leader_at_once_and_an_idle_one_does_not() {
        let client = Config::new("a:1").expect("valid");
        let (mut sender, mut accumulator) = (plain(&client), Accumulator::new(1000));
        let mut rng = Rng::new(1);
        let cx = &mut Cx { now: Instant::from_millis(1), rng: &mut rng, config: &client };
        let key = |bucket| BucketKey { table: TABLE, partition: None, bucket };
        let (busy, idle) = (key(0), key(1));
        let (first, second) = (ServerId::Tablet(1), ServerId::Tablet(2));
        queue(&mut sender, &mut accumulator, busy);
        assert_eq!(look(&mut sender, cx, &Cluster::led_by(busy, 1, true)).0, [first]);
        let at = (first, ConnId(1));
        let entry =
            sender.take(cx, at, usize::MAX, &mut None, &accumulator).expect("it is in line");
        assert_eq!(entry.bucket, busy);
        look(&mut sender, cx, &Cluster::led_by(busy, 1, true));
        assert!(sender.queue(busy).is_empty() && sender.changed.is_empty());
        // What was said of another table is no news; what was said of this one is, though it be
        // the same.
        let described = Described::from([(TABLE, None)]);
        let same = Cluster::led_by(busy, 1, true);
        sender.handle_metadata(cx, &same, &Described::from([(TableId(2), None)]));
        assert!(sender.changed.is_empty(), "{:?}", sender.changed);
        sender.handle_metadata(cx, &same, &described);
        assert!(sender.changed.contains(&busy));
        look(&mut sender, cx, &same);
        let leader = |sender: &Sender| {
            let window = sender.manager.windows().find(|window| window.bucket == busy);
            window.and_then(|window| window.leader).map(|(server, _)| server)
        };
        assert_eq!(leader(&sender), Some(first));
        // The first leader may never answer: how long it has is counted from here.
        sender.handle_metadata(cx, &Cluster::led_by(busy, 2, true), &Described::new());
        assert_eq!(leader(&sender), Some(second));
        look(&mut sender, cx, &Cluster::led_by(busy, 2, true));
        // One of ten thousand partitions that were written to once.
        sender.queue(idle);
        sender.handle_metadata(cx, &Cluster::led_by(idle, 1, true), &described);
        assert!(sender.changed.is_empty(), "{:?}", sender.changed);
        assert!(sender.manager.windows().all(|window| window.bucket == busy));
    }

    #[test]
    fn a_bucket_that_was_forgotten_for_being_idle_learns_its_leader_again() {
        let client = Config::new("a:1").expect("valid");
        let mut sender = plain(&client);
        let mut rng = Rng::new(1);
        let cx = &mut Cx { now: Instant::from_millis(1), rng: &mut rng, config: &client };
        let bucket = BucketKey { table: TABLE, partition: None, bucket: 0 };
        let cluster = Cluster::led_by(bucket, 1, true);
        let leads = |sender: &Sender| sender.manager.windows().any(|w| w.leader.is_some());
        sender.queue(bucket);
        sender.touch(bucket);
        look(&mut sender, cx, &cluster);
        assert!(leads(&sender));
        cx.now = cx.now + Duration::from_secs(100 * 3600);
        let busy = BucketKey { bucket: 1, ..bucket };
        let led = Cluster::led_by(busy, 1, true);
        let mut accumulator = Accumulator::new(1000);
        queue(&mut sender, &mut accumulator, busy);
        look(&mut sender, cx, &led);
        sender.take(cx, (ServerId::Tablet(1), ConnId(1)), usize::MAX, &mut None, &accumulator);
        sender.forget_idle(cx.now);
        assert!(sender.manager.windows().all(|window| window.bucket == busy));
        assert_eq!(sender.told.keys().copied().collect::<Vec<_>>(), [busy]);
        // Else nobody would notice, once it has a copy under way, that it has moved.
        sender.touch(bucket);
        look(&mut sender, cx, &cluster);
        assert!(leads(&sender));
    }

    /// A sender whose only batch was lost and then refused for its sequence, so that it looks for a
    /// newer leader before it gives the batch up.
    fn in_doubt(cx: &mut Cx<'_>, client: &Config, bucket: BucketKey) -> Sender {
        let config = IdempotenceConfig::new(client, &WriterConfig::default(), false);
        let mut sender = Sender::new(IdempotenceManager::new(config));
        let mut accumulator = Accumulator::new(1000);
        let led = Cluster::led_by(bucket, 1, true);
        queue(&mut sender, &mut accumulator, bucket);
        look(&mut sender, cx, &led);
        sender.manager.handle_writer_id(cx, Ok(WriterId(7)));
        sender.touch_waiting_for_id();
        let refused = Answer::Rejected { code: ErrorCode(31), message: "".into() };
        for (conn, answer) in [(1, Answer::Lost(Error::Closed("test"))), (2, refused)] {
            sender.touch(bucket);
            look(&mut sender, cx, &led);
            let at = (ServerId::Tablet(1), ConnId(conn));
            let entry = sender.take(cx, at, usize::MAX, &mut None, &accumulator).expect("sent");
            sender.with_manager(bucket, |m, fresh| m.handle_answer(cx, entry.token, answer, fresh));
            cx.now = cx.now + Duration::from_secs(2);
        }
        look(&mut sender, cx, &led);
        sender
    }

    #[test]
    fn a_look_for_a_newer_leader_that_found_none_is_asked_for_again_with_the_next_news() {
        let client = Config::new("a:1").expect("valid");
        let mut rng = Rng::new(1);
        let cx = &mut Cx { now: Instant::from_millis(1), rng: &mut rng, config: &client };
        let bucket = BucketKey { table: TABLE, partition: None, bucket: 0 };
        let (alive, dead) = (Cluster::led_by(bucket, 1, true), Cluster::led_by(bucket, 1, false));
        let mut sender = in_doubt(cx, &client, bucket);
        assert!(sender.manager.is_looking(bucket));
        let described = Described::from([(TABLE, None)]);
        // Nobody leads, then all that is heard is that the server is back, then nothing at all.
        sender.handle_metadata(cx, &dead, &described);
        assert_eq!(look(&mut sender, cx, &dead), (vec![], vec![bucket]));
        assert_eq!(look(&mut sender, cx, &dead), (vec![], vec![]), "asked already");
        sender.handle_metadata(cx, &alive, &Described::new());
        assert_eq!(look(&mut sender, cx, &alive), (vec![], vec![bucket]));
        sender.touch_without_leader();
        assert_eq!(look(&mut sender, cx, &alive), (vec![], vec![bucket]));
        assert_eq!(sender.manager.poll_done(), None);
        sender.handle_metadata(cx, &alive, &described);
        look(&mut sender, cx, &alive);
        assert!(!sender.manager.is_looking(bucket) && sender.manager.poll_done().is_some());
        sender.touch_without_leader();
        assert_eq!(look(&mut sender, cx, &alive), (vec![], vec![]));
    }

    #[test]
    fn a_bucket_in_line_for_a_server_that_vanishes_looks_for_its_leader_again() {
        let client = Config::new("a:1").expect("valid");
        let mut sender = plain(&client);
        let mut rng = Rng::new(1);
        let cx = &mut Cx { now: Instant::from_millis(1), rng: &mut rng, config: &client };
        let bucket = BucketKey { table: TABLE, partition: None, bucket: 0 };
        let (alive, dead) = (Cluster::led_by(bucket, 1, true), Cluster::led_by(bucket, 1, false));

        sender.queue(bucket).open(Rank::of(BatchId(0)), LaneId(0));
        sender.queue(bucket).seal(BatchId(0));
        sender.touch(bucket);
        assert_eq!(look(&mut sender, cx, &alive), (vec![ServerId::Tablet(1)], vec![]));
        assert_eq!(sender.waits_for(bucket), "tablet server 1 took no request");
        sender.handle_metadata(cx, &dead, &Described::new());
        assert_eq!(look(&mut sender, cx, &dead), (vec![], vec![bucket]));
        assert_eq!(sender.waits_for(bucket), "no leader of the bucket was known");
        assert!(!sender.has_ready(ServerId::Tablet(1)));
        sender.handle_metadata(cx, &alive, &Described::new());
        assert_eq!(look(&mut sender, cx, &alive), (vec![ServerId::Tablet(1)], vec![]));
    }
}
