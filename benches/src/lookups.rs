//! Lookups through the handles on one thread, whose server is a function call (see
//! [`crate::local`]): what they cost does not depend on how threads happen to take turns.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use fluss_core::batch::{KvBatchBuilder, KvBatchOptions, KvFormat, KvRowEncoder, KvScratch};
use fluss_core::ids::TablePath;
use fluss_core::row::OwnedRow;
use fluss_core::testing::cluster::FakeCluster;
use fluss_core::{Driver, Fluss, Lookup, Lookuper, Pending, Sleep};
use fluss_proto::message::{PbPutKvReqForBucket, PutKvRequest};
use fluss_proto::record::Stamp;

use crate::local::{self, Called, Local};
use crate::{fake, schema, tuple};

const BUCKETS: u32 = 4;
/// Lookups on their way at once.
const IN_FLIGHT: usize = 1024;
/// Keys of a run.
const RUN: usize = 128;
/// Keys that are there. Among far more the server would mostly wait for its memory.
const KEYS: u64 = 1 << 12;

/// A client with a table of its keys.
pub struct Lookups {
    driver: Driver<Local>,
    called: Arc<Called>,
    lookuper: Lookuper,
    next: u64,
}

impl Default for Lookups {
    fn default() -> Self {
        Self::new()
    }
}

impl Lookups {
    /// A client that knows its leaders.
    ///
    /// # Panics
    /// If the fake cluster refuses something.
    #[must_use]
    pub fn new() -> Self {
        let mut cluster = fake::stored(BUCKETS);
        fill(&mut cluster);
        let (config, net, clock) = local::parts(cluster);
        let (fluss, mut driver) = Fluss::new(config, net, clock, Sleep).expect("sound settings");
        let called = Arc::default();
        let table = drive(&mut driver, &called, fluss.table(fake::KEYED)).expect("the table");
        let lookuper = table.lookuper().expect("it has keys");
        let mut lookups = Self { driver, called, lookuper, next: 0 };
        lookups.one_by_one(IN_FLIGHT);
        lookups
    }

    fn key(&mut self) -> (i64,) {
        self.next = (self.next + 1) % KEYS;
        (self.next.cast_signed(),)
    }

    /// So many lookups, each of its own, as many on their way as may be.
    ///
    /// # Panics
    /// If a row is not there.
    pub fn one_by_one(&mut self, count: usize) {
        let mut waiting: VecDeque<Lookup<Option<OwnedRow>>> = VecDeque::new();
        for made in 0..count + IN_FLIGHT {
            if made >= IN_FLIGHT.min(count)
                && let Some(oldest) = waiting.pop_front()
            {
                let row = drive(&mut self.driver, &self.called, oldest).expect("an answer");
                assert_eq!(row.expect("a row").values().len(), 4);
            }
            if made < count {
                let key = self.key();
                waiting.push_back(self.lookuper.lookup(&key));
            }
        }
    }

    /// So many lookups, many of them in a call, as many on their way as may be.
    ///
    /// # Panics
    /// If a row is not there.
    pub fn in_runs(&mut self, count: usize) {
        let mut waiting: VecDeque<Pending<Vec<Option<OwnedRow>>>> = VecDeque::new();
        let runs = count / RUN;
        for made in 0..runs + IN_FLIGHT / RUN {
            if made >= (IN_FLIGHT / RUN).min(runs)
                && let Some(oldest) = waiting.pop_front()
            {
                let rows = drive(&mut self.driver, &self.called, oldest).expect("answers");
                let there = rows.iter().flatten().filter(|row| row.values().len() == 4);
                assert_eq!(there.count(), RUN);
            }
            if made < runs {
                let keys: Vec<_> = (0..RUN).map(|_| self.key()).collect();
                waiting.push_back(self.lookuper.lookup_all(&keys));
            }
        }
    }
}

/// Turns the driver when it is called, until the future is done.
fn drive<F: Future>(driver: &mut Driver<Local>, called: &Arc<Called>, future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::clone(called));
    loop {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        called.0.store(false, Ordering::Relaxed);
        let turned = Pin::new(&mut *driver).poll(&mut Context::from_waker(&waker));
        assert!(turned.is_pending(), "the client is open");
    }
}

/// Stores all keys, in every bucket: wherever one is looked for, it is there.
fn fill(cluster: &mut FakeCluster) {
    let schema = schema(true);
    let encoder = KvRowEncoder::new(&schema, &[], &[], KvFormat::Compacted).expect("a key");
    let builder = KvBatchBuilder::new(KvBatchOptions::default(), Vec::new());
    let (mut builder, mut scratch) = (builder.expect("sound options"), KvScratch::default());
    for key in 0..KEYS {
        encoder.encode(&tuple(key), &mut scratch).expect("a row");
        builder.try_push_upsert(scratch.key(), scratch.row()).expect("it fits");
    }
    let sealed = builder.seal(1, Vec::new()).expect("rows");
    let batch = [&sealed.stamp(Stamp::NONE)[..], &sealed.payload()[..]].concat();
    let bucket = |bucket_id| PbPutKvReqForBucket {
        bucket_id,
        records: batch.clone().into(),
        ..Default::default()
    };
    let path = TablePath::parse(fake::KEYED).expect("a path");
    let request = PutKvRequest {
        acks: 1,
        table_id: cluster.table_id(&path).expect("the table").0,
        timeout_ms: 10_000,
        buckets_req: (0..BUCKETS.cast_signed()).map(bucket).collect(),
        ..Default::default()
    };
    local::store(cluster, &request);
}

#[cfg(test)]
mod tests {
    use super::Lookups;

    #[test]
    fn what_is_looked_up_is_there() {
        let mut lookups = Lookups::new();
        for count in [1, 10, 5000] {
            lookups.one_by_one(count);
            lookups.in_runs(count);
        }
    }
}
