//! The application: opens batches on several handles, seals them sooner or later, flushes, gives
//! up.

use bytes::{BufMut, Bytes, BytesMut};
use fluss_proto::record::{SealedBatch, push_kv_record};

use crate::error::WriteError;
use crate::ids::{BatchId, BucketKey, LaneId, TableId, TablePath, WriterKey};
use crate::output::BatchOutcome;
use crate::testing::cluster::FakeCluster;
use crate::time::{Duration, Instant};
use crate::writer::{Open, WaiterId, WriterKind};

use super::Options;
use super::check::{Batch, Patience};
use super::line::wish;
use super::plan::TablePlan;
use super::stats::Oddity;
use super::world::{Due, World};

/// A table as the application knows it.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) path: TablePath,
    /// Learnt anew when the old one is gone.
    pub(super) id: TableId,
    pub(super) kv: bool,
    pub(super) buckets: i32,
}

/// A handle of a writer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    pub(super) id: LaneId,
    pub(super) writer: usize,
}

/// A log table with one column, and a primary-key table whose changelog costs little.
const LOG: &str = r#"{"version":1,"schema":{"version":1,
    "columns":[{"name":"v","data_type":{"type":"BYTES"},"id":0}],"highest_field_id":0},
    "partition_key":[],"bucket_count":COUNT,"properties":{},"custom_properties":{}}"#;
const KV: &str = r#"{"version":1,"schema":{"version":1,
    "columns":[{"name":"k","data_type":{"type":"INTEGER","nullable":false},"id":0},
        {"name":"v","data_type":{"type":"BYTES"},"id":1}],
    "primary_key":["k"],"highest_field_id":1},"partition_key":[],"bucket_key":["k"],
    "bucket_count":COUNT,"properties":{"table.log.format":"COMPACTED"},"custom_properties":{}}"#;

fn descriptor(kv: bool, buckets: i32) -> String {
    (if kv { KV } else { LOG }).replacen("COUNT", &buckets.to_string(), 1)
}

pub(super) fn make_tables(cluster: &mut FakeCluster, plans: &[TablePlan]) -> Vec<Table> {
    let mut tables = Vec::with_capacity(plans.len());
    for (number, plan) in plans.iter().enumerate() {
        let path = TablePath::new("fluss", if number == 0 { "first" } else { "second" });
        let id = cluster.add_table(&path, &descriptor(plan.kv, plan.buckets));
        let id = id.unwrap_or_else(|e| unreachable!("a table of the plan: {e}"));
        tables.push(Table { path, id, kv: plan.kv, buckets: plan.buckets });
    }
    tables
}

/// Row count of a batch: mostly one, so that offsets and batches are not the same thing.
fn rows(batch: u64) -> u32 {
    if batch % 5 == 3 { 3 } else { 1 }
}

/// The bytes of a batch. They hold its number, and what it would cost to make real rows is saved.
fn sealed(batch: u64, kv: bool, stamped: bool) -> SealedBatch {
    let made = if kv {
        let mut records = Vec::with_capacity(48);
        let key = batch.to_be_bytes();
        // A compacted row: no null, key 0, eight bytes.
        let mut row = [0; 11];
        row[2] = 8;
        row[3..].copy_from_slice(&key);
        // Sometimes a delete of a key nobody wrote: a changelog batch without rows, to be known
        // by its stamp alone.
        let value = (batch % 11 != 7 || !stamped).then_some(&row[..]);
        push_kv_record(&mut records, &key, value).ok();
        SealedBatch::kv_v0(1, 0, 1, records.into())
    } else {
        let mut payload = BytesMut::with_capacity(16);
        payload.put_u64(batch ^ u64::MAX);
        payload.put_u64(batch);
        let rows = rows(batch);
        SealedBatch::log_v0(1, 1, rows, rows - 1, Bytes::from(payload))
    };
    made.unwrap_or_else(|error| unreachable!("a small batch: {error}"))
}

impl World {
    pub(super) fn open_writers(&mut self, options: &Options) {
        for table in &self.tables {
            self.client.watch_table(&table.path, table.id, self.now);
        }
        for (number, plan) in self.plan.writers.clone().into_iter().enumerate() {
            let table = &self.tables[plan.table];
            let kind = if table.kv {
                WriterKind::Upsert { target_columns: None, merge_mode: None }
            } else {
                WriterKind::Append
            };
            let path = table.path.clone();
            let opened = self.client.open_writer(plan.client, path, kind, plan.config, self.now);
            let writer = opened.unwrap_or_else(|e| unreachable!("settings of the plan: {e}"));
            options.mutate(&mut self.client, writer);
            self.writers.push(writer);
            for _ in 0..plan.lanes {
                self.open_lane(number);
            }
        }
    }

    fn open_lane(&mut self, writer: usize) {
        if let Ok(id) = self.client.open_lane(self.writers[writer]) {
            self.lanes.push(Lane { id, writer });
        }
    }

    fn any_lane(&mut self) -> Lane {
        self.lanes[self.rng.below(self.lanes.len() as u64) as usize]
    }

    /// One call of the application, and when the next one comes.
    pub(super) fn app_step(&mut self) {
        if self.is_silence_wanted() {
            return self.after(Duration::from_millis(100), Due::App);
        }
        match self.rng.below(40) {
            0 => {
                let lane = self.any_lane();
                let writer = self.writers[lane.writer];
                self.watch.note(self.now, || format!("flush of writer {writer}"));
                let command = self.client.flush(writer, self.now);
                self.check.flush(command, writer);
            }
            1 => self.swap_lane(),
            2 => self.first_leaves_line(),
            _ => {
                let burst = if self.rng.one_in(4) { 1 + self.rng.below(6) } else { 1 };
                for _ in 0..burst.min(self.to_open) {
                    self.to_open -= 1;
                    let lane = self.any_lane();
                    let table = self.plan.writers[lane.writer].table;
                    let bucket = self.rng.below(self.tables[table].buckets as u64) as i32;
                    self.open_batch(lane, bucket, None);
                }
            }
        }
        if self.to_open > 0 {
            let pace = self.plan.pace;
            let wait = self.pause(pace);
            self.after(wait, Due::App);
        } else {
            // Whatever is planned happens before the end.
            let last = self.plan.troubles.last().map_or(self.now, |(at, _)| *at).max(self.now);
            let wait = self.pause(500_000);
            self.at(last + wait, Due::Heal);
        }
    }

    /// Opens a batch, or stands in line; `waiter`: it stood there, and is told that it was served.
    pub(super) fn open_batch(&mut self, lane: Lane, number: i32, waiter: Option<WaiterId>) {
        let plan = &self.plan.writers[lane.writer];
        let client = plan.client;
        let (config, table) = (plan.config.clone(), &self.tables[plan.table]);
        let kv = table.kv;
        let bucket = BucketKey { table: table.id, partition: None, bucket: number };
        match self.client.open_batch(lane.id, bucket, wish(waiter), self.now) {
            Ok(Open::Granted { batch, reserved }) => {
                let limit = self.plan.client.request_deadline;
                let mut entry = Batch::new(self.writers[lane.writer], lane.id, bucket);
                entry.client = client;
                entry.idempotent = config.idempotence;
                entry.acks = config.acks;
                entry.patience = Patience::new(&config, limit);
                entry.asks_offset = config.track_offsets.unwrap_or(kv);
                entry.deadline = self.now + config.delivery_timeout;
                entry.bound = entry.deadline + limit + Duration::from_secs(1);
                entry.paused = self.check.paused;
                entry.size = reserved;
                let expected = self.check.batches.len() as u64;
                self.check.rule("I5", batch.0 == expected, || format!("{batch} for {expected}"));
                self.check.opened(entry);
                self.seed.bucket(bucket.table.0, number);
                self.watch
                    .note(self.now, || format!("batch {batch} opens: lane {}, {bucket}", lane.id));
                self.plan_submit(batch.0);
            }
            Ok(Open::Wait(again)) => {
                let fresh = waiter.is_none();
                self.check.rule("I22", fresh, || format!("{again:?} is served, and has nothing"));
                self.stand_in_line(again, lane.id, number);
            }
            Err(error) => {
                let closed = self.closing || self.over;
                self.check.rule("I5", closed, || format!("open_batch: {error}"));
            }
        }
    }

    fn plan_submit(&mut self, batch: u64) {
        let slow = self.plan.slow_sealer;
        let wait = match self.rng.below(8) {
            _ if self.rng.one_in(slow) => {
                self.seed.count(Oddity::SlowSealer);
                let most = if self.plan.benign { 900_000 } else { 6_000_000 };
                self.pause(most)
            }
            // It waits until it is asked for.
            0 if slow == 0 => return,
            1 => self.pause(50_000),
            2 if !self.plan.benign && self.rng.one_in(4) => return self.abandon(batch),
            3 => {
                if self.client.grow_batch(BatchId(batch), 32) {
                    let size = self.check.batches[batch as usize].size + 32;
                    self.check.resized(batch, size, false);
                }
                Duration::ZERO
            }
            _ => Duration::ZERO,
        };
        if wait.is_zero() {
            self.submit(batch);
        } else {
            self.after(wait, Due::Submit(batch));
        }
    }

    fn abandon(&mut self, batch: u64) {
        self.watch.note(self.now, || format!("batch {batch} is abandoned"));
        self.client.abandon_batch(BatchId(batch), self.now);
        self.check.abandoned(batch);
    }

    pub(super) fn asked_to_seal(&mut self, batch: u64) {
        let slow = self.plan.slow_sealer;
        let most = if self.rng.one_in(slow) { 800_000 } else { 300 };
        let wait = self.pause(most);
        self.after(wait, Due::Submit(batch));
    }

    /// Hands the bytes of a batch in.
    pub(super) fn submit(&mut self, batch: u64) {
        let Some(entry) = self.check.batches.get(batch as usize) else { return };
        if entry.sealed {
            return;
        }
        let sealed = sealed(batch, self.kind_of(entry.writer), entry.idempotent);
        if !self.check.is_over(batch) {
            self.check.resized(batch, sealed.size() as u64, true);
        }
        self.watch.note(self.now, || format!("batch {batch} is handed in"));
        self.client.submit_batch(BatchId(batch), sealed, self.now);
    }

    fn kind_of(&self, writer: WriterKey) -> bool {
        let at = self.writers.iter().position(|w| *w == writer).unwrap_or(0);
        self.tables[self.plan.writers[at].table].kv
    }

    /// A handle is dropped, another one made.
    fn swap_lane(&mut self) {
        let at = self.rng.below(self.lanes.len() as u64) as usize;
        let lane = self.lanes[at];
        self.lane_leaves_line(lane.id);
        self.open_lane(lane.writer);
        self.lanes.swap_remove(at);
        self.watch.note(self.now, || format!("lane {} is closed", lane.id));
        self.client.close_lane(lane.id, self.now);
    }

    /// An application that is told that its table is gone looks for the new one.
    pub(super) fn learn_table(&mut self, outcome: &BatchOutcome) {
        let BatchOutcome::Failed(WriteError::NotWritten(_) | WriteError::OutcomeUnknown(_)) =
            outcome
        else {
            return;
        };
        for at in 0..self.tables.len() {
            let Some(id) = self.cluster.table_id(&self.tables[at].path) else { continue };
            if id != self.tables[at].id && !self.over {
                self.tables[at].id = id;
                let path = self.tables[at].path.clone();
                self.client.watch_table(&path, id, self.now);
            }
        }
    }

    /// A dropped table is made again, under another id.
    pub(super) fn restore(&mut self, table: usize) {
        let Table { path, kv, buckets, .. } = &self.tables[table];
        if self.cluster.add_table(path, &descriptor(*kv, *buckets)).is_err() {
            // Too few servers are up for its replicas.
            self.after(Duration::from_millis(50), Due::Restore(table));
        }
    }

    /// The moment of the last planned trouble has passed and nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.check.unresolved == 0 && self.is_quiet()
    }

    pub(super) fn later(&self, wait: Duration) -> Instant {
        self.now + wait
    }
}
