//! Batches for partitions: opened at once, whether the partition exists or not, and put into their
//! bucket's queue when it has an id.
//!
//! A batch that waits has its memory, its linger and its delivery deadline like any other. It
//! stands in nobody's way but that of its own partition's later batches.

use super::accumulator::{Open, Place, Reserve, Times, Waits};
use super::bucket_queue::Rank;
use super::partitions::{Decision, Question};
use super::{Wish, Writers};
use crate::command::Call;
use crate::cx::Cx;
use crate::error::{Error, Result, WriteError};
use crate::ids::{
    BatchId, BucketKey, CommandId, LaneId, PartitionId, PartitionKey, TableId, TablePath, WriterKey,
};
use crate::metadata::Cluster;
use crate::output::{BatchOutcome, CommandAnswer, Event};
use crate::table_info::TableInfo;
use fluss_proto::ErrorCode;
use fluss_proto::record::SealedBatch;
use std::sync::Arc;

/// Where a batch of a partitioned table belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionPlace {
    /// The partition.
    pub partition: PartitionKey,
    /// The bucket's number, from 0.
    pub bucket: i32,
    /// The number of buckets it was chosen from.
    pub of: i32,
    /// Whether its rows belong into this bucket and no other.
    pub keyed: bool,
}

/// What [`Client::open_partition_batch`](crate::Client::open_partition_batch) answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenIn {
    /// As for any batch.
    Open(Open),
    /// The partition has this number of buckets: choose the bucket again. A grant that was to be
    /// used was given back.
    Buckets(i32),
    /// The partition's key is known no more, as its name was of no use for long: ask for it by name
    /// again. A grant that was to be used was given back.
    Forgotten,
}

impl Writers {
    /// See [`Client::writer_table`](crate::Client::writer_table).
    pub(crate) fn writer_table(&mut self, key: WriterKey, info: &TableInfo) {
        let Some(writer) = self.writers.get_mut(&key) else { return };
        if info.descriptor.partition_key.is_empty() {
            writer.buckets = Some(info.buckets());
        } else {
            self.partitions.add_writer(key, info);
        }
    }

    /// See [`Client::writer_partition`](crate::Client::writer_partition).
    pub(crate) fn partition(
        &mut self,
        lane: LaneId,
        name: &str,
        cluster: &Cluster,
    ) -> Result<(PartitionKey, i32)> {
        self.check_open()?;
        let writer = self.lanes.get(&lane).ok_or(Error::Closed("writer"))?;
        let found = self.partitions.partition(*writer, name, cluster);
        found.ok_or_else(|| Error::misuse("this writer's table has no partitions"))
    }

    /// See [`Client::open_partition_batch`](crate::Client::open_partition_batch).
    pub(crate) fn open_partition_batch(
        &mut self,
        cx: &Cx<'_>,
        cluster: &Cluster,
        lane: LaneId,
        at: PartitionPlace,
        reserve: Reserve,
    ) -> Result<OpenIn> {
        let place = self.partitions.place(at.partition, cluster);
        if let Some((_, _, buckets)) = place
            && buckets != at.of
        {
            self.give_back(reserve);
            return Ok(OpenIn::Buckets(buckets));
        }
        let Some((table, partition, _)) = place else {
            self.give_back(reserve);
            self.check_open()?;
            let known = self.lanes.contains_key(&lane);
            return if known { Ok(OpenIn::Forgotten) } else { Err(Error::Closed("writer")) };
        };
        let bucket = BucketKey { table, partition, bucket: at.bucket };
        if partition.is_some() {
            let at = (bucket, Some(at.of));
            return self.open_routed(cx.now, lane, at, reserve).map(OpenIn::Open);
        }
        let open = self.check_open().map(|()| self.lanes.get(&lane).copied());
        let Ok(Some(key)) = open else {
            self.give_back(reserve);
            return open.and(Err(Error::Closed("writer")));
        };
        let writer = self.writers.get_mut(&key).ok_or(Error::Closed("writer"))?;
        let times =
            Times { linger: writer.config.linger, delivery: writer.config.delivery_timeout };
        let waits = Waits { partition: at.partition, of: at.of, keyed: at.keyed };
        let place = Place { writer: key, lane, bucket, waits: Some(waits), of: Some(at.of) };
        let open = self.accumulator.open(cx.now, place, times, reserve);
        if let Open::Granted { batch, .. } = open {
            writer.unfinished.insert(Rank::of(batch));
            self.partitions.wait(at.partition, batch);
        }
        Ok(OpenIn::Open(open))
    }

    fn give_back(&mut self, reserve: Reserve) {
        if let Reserve::Granted(waiter) = reserve {
            self.accumulator.cancel_wait(waiter);
        }
    }

    /// Does what was decided about partitions.
    pub(super) fn settle_partitions(&mut self, cx: &mut Cx<'_>, cluster: &Cluster) {
        self.partitions.update(cluster);
        while let Some(decision) = self.partitions.poll_decision() {
            match decision {
                Decision::Bind(key, id, buckets) => self.bind(key, id, buckets),
                Decision::Refuse(key, error) => self.refuse_waiting(key, &error, |_| true),
                Decision::Missing(key, error) => {
                    self.refuse_waiting(key, &error, |w| !w.config.dynamic_partition_creation);
                    self.partitions.create(cx, key);
                }
            }
        }
        while let Some(question) = self.partitions.poll_question() {
            self.wishes.push_back(match question {
                Question::Partition(path, name) => Wish::Partition(path, name),
                Question::Table(path) => Wish::Table(path),
            });
        }
    }

    /// The partition has an id: what waited for it stands in its buckets' queues now.
    ///
    /// A batch whose rows were placed by another number of buckets is dealt out anew first, if the
    /// number is a multiple of that one: a bucket's rows are then from one bucket of before, in
    /// whose order they stay. All that were opened after it wait for that.
    fn bind(&mut self, key: PartitionKey, id: PartitionId, buckets: i32) {
        for batch in self.partitions.waiting(key) {
            let Some(entry) = self.accumulator.get(batch) else { continue };
            let Some(waits) = entry.waits else { continue };
            if waits.keyed && waits.of != buckets {
                let (lane, sealed) = (entry.lane, entry.sealed.is_some());
                if buckets % waits.of.max(1) != 0 || !self.lanes.contains_key(&lane) {
                    // Rows of several buckets would meet in one, in an order that nobody knows; or
                    // nobody is left who knows the rows.
                    self.refuse_route(batch, waits, buckets);
                } else if !sealed {
                    return self.accumulator.ask_to_seal(batch);
                } else {
                    if self.accumulator.note_reroute(batch, true) {
                        self.events.push_back(Event::Reroute { batch, lane, buckets });
                    }
                    return;
                }
                continue;
            }
            let number = entry.bucket.bucket % buckets;
            let Some(bound) = self.accumulator.bind(batch, id, (number, buckets)) else { continue };
            let (writer, lane, bucket) = (bound.writer, bound.lane, bound.bucket);
            let rank = bound.rank;
            let sealed = bound.sealed.is_some();
            self.partitions.leave(batch, Some(waits));
            if let Some(writer) = self.changing(writer) {
                let queue = writer.sender.queue(bucket);
                queue.open(rank, lane);
                if sealed {
                    queue.seal(batch);
                    writer.sender.touch(bucket);
                }
            }
        }
    }

    /// Ends a batch whose rows were placed among another number of buckets than there are.
    fn refuse_route(&mut self, batch: BatchId, waits: Waits, buckets: i32) {
        let error = Error::Rejected {
            what: self.partitions.tell(waits.partition).0.into(),
            code: ErrorCode::INVALID_BUCKET_ROUTING,
            message: format!(
                "it has {buckets} buckets, but the row's was chosen from {}; hand it in again",
                waits.of
            )
            .into(),
        };
        self.finish(batch, BatchOutcome::Failed(WriteError::NotWritten(error.into())));
    }

    /// See [`Client::batch_to_reroute`](crate::Client::batch_to_reroute).
    pub(crate) fn batch_to_reroute(&self, batch: BatchId) -> Option<(SealedBatch, Arc<str>)> {
        let entry = self.accumulator.get(batch)?;
        let name = self.partitions.name(entry.waits?.partition)?;
        Some((entry.sealed.clone()?, name))
    }

    /// See [`Client::reroute_batch`](crate::Client::reroute_batch).
    pub(crate) fn reroute_batch(
        &mut self,
        batch: BatchId,
        of: i32,
        parts: Option<Vec<(i32, SealedBatch)>>,
    ) -> Vec<BatchId> {
        let Some(entry) = self.accumulator.get(batch) else { return Vec::new() };
        let (key, lane, whole) = (entry.writer, entry.lane, entry.rank);
        let Some(waits) = entry.waits else { return Vec::new() };
        let bound = self.partitions.bound(waits.partition).filter(|(_, buckets)| *buckets == of);
        let Some((id, buckets)) = bound else {
            // It was dropped and made again meanwhile, or will be: then its holder is asked again.
            self.accumulator.note_reroute(batch, false);
            self.partitions.go_on(waits.partition);
            return Vec::new();
        };
        let sound = |parts: &Vec<(i32, SealedBatch)>| {
            parts.iter().all(|(bucket, _)| (0..buckets).contains(bucket))
        };
        let split = parts
            .filter(sound)
            .map(|parts| self.accumulator.split(batch, (id, buckets), parts).unwrap_or_default());
        let Some(split) = split else {
            self.refuse_route(batch, waits, buckets);
            return Vec::new();
        };
        self.partitions.leave(batch, Some(waits));
        if let Some(writer) = self.changing(key) {
            writer.unfinished.remove(&whole);
            for (part, bucket) in &split {
                writer.unfinished.insert(*part);
                let queue = writer.sender.queue(*bucket);
                queue.open(*part, lane);
                queue.seal(part.batch);
                writer.sender.touch(*bucket);
            }
        }
        self.check_flushes(key);
        self.partitions.go_on(waits.partition);
        split.into_iter().map(|(part, _)| part.batch).collect()
    }

    fn refuse_waiting(
        &mut self,
        key: PartitionKey,
        error: &Error,
        which: impl Fn(&super::Writer) -> bool,
    ) {
        for batch in self.partitions.waiting(key) {
            let writer = self.accumulator.get(batch).and_then(|b| self.writers.get(&b.writer));
            if writer.is_some_and(&which) {
                let error = WriteError::NotWritten(error.clone().into());
                self.finish(batch, BatchOutcome::Failed(error));
            }
        }
    }

    /// Ends everything that waits for a partition.
    pub(super) fn fail_waiting(&mut self, error: &Error) {
        for key in self.partitions.waited_for() {
            self.refuse_waiting(key, error, |_| true);
        }
    }

    /// A batch reached its delivery deadline before its partition had an id.
    pub(super) fn expire_waiting(&mut self, batch: BatchId, writer: WriterKey, waits: Waits) {
        let Some(writer) = self.writers.get(&writer) else { return };
        let after = writer.config.delivery_timeout;
        let (text, trouble) = self.partitions.tell(waits.partition);
        let last = trouble.or_else(|| self.trouble.clone()).map(Box::new);
        let error = Error::Unavailable { what: format!("delivery to {text}").into(), after, last };
        self.finish(batch, BatchOutcome::Failed(WriteError::NotWritten(error.into())));
    }

    // ----- calls to servers -----

    /// The next call that partitions need; `start` gives it its number.
    pub(crate) fn poll_call(&mut self, cx: &Cx<'_>, start: impl FnOnce(Call) -> CommandId) -> bool {
        let Some((purpose, call)) = self.partitions.poll_call(cx) else { return false };
        let command = start(call);
        self.partitions.called(command, purpose);
        true
    }

    /// Whether a call was made for partitions.
    pub(crate) fn owns_call(&self, command: CommandId) -> bool {
        self.partitions.owns(command)
    }

    pub(crate) fn handle_call(
        &mut self,
        cx: &mut Cx<'_>,
        command: CommandId,
        result: Result<CommandAnswer>,
    ) {
        self.partitions.handle_call(cx, command, result);
    }

    // ----- news -----

    pub(crate) fn handle_partition_failed(
        &mut self,
        cx: &mut Cx<'_>,
        partition: (&TablePath, &str),
        error: &Error,
    ) {
        self.partitions.handle_failed(cx, partition, error);
    }

    pub(crate) fn handle_partition_gone(&mut self, id: PartitionId) {
        self.partitions.handle_partition_gone(id);
    }

    pub(crate) fn handle_table_gone(&mut self, id: TableId, error: &Error) {
        self.partitions.handle_table_gone(id, error);
    }
}
