//! Readers that follow the log table while a round goes on, and whose waits are dropped all the
//! time.
//!
//! There is one on each runtime, through the proxy, with the client that also writes. No wait for a
//! batch lasts longer than 1 to 5 ms: then its future is dropped, on blocking threads it ends by
//! itself. Each record has to be handed out right behind the one before it in its bucket, from
//! offset 0 on; and what was handed out in the end has to be what an undisturbed scan finds when
//! all is over, which is held against the outcomes of the writers. In a round whose servers move
//! segments to remote storage, part of it has to come from there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use fluss_core::ids::BucketKey;
use fluss_core::rng::Rng;
use fluss_core::{Error, LogScanner, OffsetSpec, ScanBatch, Table};

use super::ChaosError;
use super::check::{Record, row_of_view};
use super::read;
use super::report::{Following, Report};
use super::runtimes::Runtime;

/// How long a wait for a batch lasts, in microseconds.
const SHORTEST: u64 = 1_000;
const LONGEST: u64 = 5_000;
/// Waits at the end, in which nothing more may come.
const WAITS_AT_THE_END: u32 = 20;
/// How long one who waits for segments to be moved looks for rows each time, and the time between.
const LOOK: Duration = Duration::from_millis(100);
/// How long a reader may take to the end once that is known, and how long it waits for segments to
/// be moved before it begins.
const PATIENCE: Duration = Duration::from_secs(60);

/// The ends of the log, for each bucket that is read.
type Ends = BTreeMap<BucketKey, i64>;

/// A reader at work.
pub(super) struct Follower {
    runtime: &'static str,
    /// Bytes that its client read from remote storage, if it has to.
    remote: Option<Arc<AtomicU64>>,
    /// It goes on until it is told an end and has reached that, or until this is dropped.
    ends: Sender<Ends>,
    /// What it has read, or why it could not begin.
    done: Receiver<Result<Followed, String>>,
}

/// What a reader that has to read from remote storage begins behind.
#[derive(Clone)]
pub(super) struct Moved {
    /// The table as somebody else sees it, who reads from there as well.
    table: Table,
    /// Bytes that came from there.
    seen: Arc<AtomicU64>,
}

impl Moved {
    /// With a client for this alone, so that what it reads is not counted as the reader's.
    pub(super) fn new(table: Table, seen: Arc<AtomicU64>) -> Self {
        Self { table, seen }
    }

    /// Waits until a reader from the beginning is sent to remote storage.
    fn wait(&self) -> Result<(), String> {
        let start = Instant::now();
        let failed = |error: Error| format!("waiting for segments to be moved: {error}");
        while self.seen.load(Ordering::Relaxed) == 0 {
            if start.elapsed() > PATIENCE {
                return Err(format!("no segment was moved within {} s", PATIENCE.as_secs()));
            }
            let mut scanner =
                self.table.scanner().from_earliest().build().wait().map_err(failed)?;
            scanner.next_batch().wait_timeout(LOOK).map_err(failed)?;
            thread::sleep(LOOK);
        }
        Ok(())
    }
}

/// What a reader has handed out.
struct Followed {
    records: Vec<Record>,
    /// Waits that were dropped.
    dropped: u64,
    began: Instant,
    time: Duration,
    /// The first thing that was wrong, after which it reads no more.
    wrong: Option<String>,
}

impl Follower {
    /// Begins to read the table from its beginning; where segments are moved, when they are. Then
    /// the bytes that it has from there are counted, too.
    pub(super) fn start(
        runtime: &Arc<dyn Runtime>,
        table: &Table,
        seed: u64,
        moved: Option<(Moved, Arc<AtomicU64>)>,
    ) -> Result<Self, ChaosError> {
        let (ends, until) = mpsc::channel();
        let (sender, done) = mpsc::channel();
        let (name, runtime, table) = (runtime.name(), Arc::clone(runtime), table.clone());
        let (moved, remote) = moved.unzip();
        thread::Builder::new().name(format!("{name}-reader")).spawn(move || {
            let reader = moved.map_or(Ok(()), |moved| moved.wait());
            let reader = reader.and_then(|()| Reader::open(runtime, &table));
            // Nobody listens any more after a failure.
            let _ = sender.send(reader.map(|reader| reader.run(&until, Rng::new(seed))));
        })?;
        Ok(Self { runtime: name, remote, ends, done })
    }
}

struct Reader {
    runtime: Arc<dyn Runtime>,
    scanner: LogScanner,
    /// The offset that has to come next.
    next: BTreeMap<i32, i64>,
    records: Vec<Record>,
}

impl Reader {
    fn open(runtime: Arc<dyn Runtime>, table: &Table) -> Result<Self, String> {
        let scanner = table.scanner().from_earliest().build().wait();
        let scanner = scanner.map_err(|error| format!("opening a scanner: {error}"))?;
        Ok(Self { runtime, scanner, next: BTreeMap::new(), records: Vec::new() })
    }

    fn run(mut self, until: &Receiver<Ends>, mut rng: Rng) -> Followed {
        let began = Instant::now();
        let (mut ends, mut dropped, mut waits_left) = (None, 0, WAITS_AT_THE_END);
        let wrong = loop {
            match until.try_recv() {
                Ok(found) => ends = Some(found),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => break None,
            }
            let limit = Duration::from_micros(SHORTEST + rng.below(LONGEST - SHORTEST + 1));
            match self.runtime.next(&mut self.scanner, limit) {
                Ok(Some(batch)) => match self.add(&batch) {
                    Ok(None) => {}
                    Ok(Some(wrong)) => break Some(wrong),
                    Err(error) => break Some(error.to_string()),
                },
                Ok(None) => {
                    dropped += 1;
                    if ends.as_ref().is_some_and(|ends| self.has_reached(ends)) {
                        waits_left -= 1;
                    }
                }
                Err(error) => break Some(error.to_string()),
            }
            if waits_left == 0 {
                break None;
            }
        };
        Followed { records: self.records, dropped, began, time: began.elapsed(), wrong }
    }

    fn has_reached(&self, ends: &Ends) -> bool {
        ends.iter().all(|(key, end)| self.next.get(&key.bucket).copied().unwrap_or(0) >= *end)
    }

    /// What is wrong with the batch, if anything is.
    fn add(&mut self, batch: &ScanBatch) -> Result<Option<String>, Error> {
        let bucket = batch.bucket().bucket;
        let next = self.next.entry(bucket).or_default();
        for row in batch.rows()?.iter() {
            let offset = row.offset();
            if offset != *next {
                return Ok(Some(format!("offset {offset} of bucket {bucket} instead of {next}")));
            }
            *next += 1;
            let (change, row) = (row.change_type(), row_of_view(&row));
            self.records.push(Record { bucket, offset, change, row });
        }
        let position = self.scanner.positions().get(&batch.bucket());
        Ok((position != Some(next))
            .then(|| format!("a checkpoint at {position:?} of bucket {bucket} instead of {next}")))
    }
}

/// Lets all readers come to the end of the table, which nobody writes to any more, and compares
/// what they have read with what is there.
pub(super) fn finish(
    followers: Vec<Follower>,
    table: &Table,
    last_kill: Option<Instant>,
    report: &mut Report,
) -> Result<(), ChaosError> {
    if followers.is_empty() {
        return Ok(());
    }
    let failed = |error| ChaosError::Client { what: "reading a table undisturbed", error };
    let ends = table.offsets(OffsetSpec::Latest).wait().map_err(failed)?;
    let ends: Ends = ends.into_iter().map(|found| (found.bucket, found.offset)).collect();
    for follower in &followers {
        // One that has ended says why below.
        let _ = follower.ends.send(ends.clone());
    }
    let limit = Instant::now() + PATIENCE;
    let followed: Vec<_> = followers
        .into_iter()
        .map(|follower| (follower.runtime, follower.remote.clone(), follower.end(limit)))
        .collect();
    let undisturbed = in_order(read::records(table).map_err(failed)?);
    for (runtime, remote, followed) in followed {
        let followed = match followed {
            Some(Ok(followed)) => followed,
            Some(Err(why)) => {
                report.problem(format!("the reader on {runtime} did not begin: {why}"));
                continue;
            }
            None => {
                report.problem(format!("the reader on {runtime} is stuck in a wait"));
                continue;
            }
        };
        if last_kill.is_none_or(|kill| kill < followed.began) {
            report.problem(format!("no leader was killed while the reader on {runtime} read"));
        }
        let remote = remote.map(|bytes| bytes.load(Ordering::Relaxed));
        if remote == Some(0) {
            report.problem(format!("the reader on {runtime} got nothing from remote storage"));
        }
        report.followed.push(Following {
            runtime,
            remote_bytes: remote,
            records: followed.records.len() as u64,
            dropped_waits: followed.dropped,
            time: followed.time,
        });
        if let Err(why) = followed.judge(&undisturbed) {
            // What a server threw away, a reader may have got, and then something else.
            match report.excused {
                0 => report.problem(format!("the reader on {runtime}: {why}")),
                _ => report.notes.push(format!("the reader on {runtime}: {why}")),
            }
        }
    }
    Ok(())
}

impl Follower {
    /// What came of it; none if it does not even stop when it is told to.
    fn end(self, limit: Instant) -> Option<Result<Followed, String>> {
        let Self { ends, done, .. } = self;
        match done.recv_timeout(limit.saturating_duration_since(Instant::now())) {
            Ok(followed) => return Some(followed),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => drop(ends),
        }
        done.recv_timeout(Duration::from_secs(1)).ok()
    }
}

impl Followed {
    fn judge(self, undisturbed: &[Record]) -> Result<(), String> {
        if let Some(wrong) = self.wrong {
            return Err(format!("{wrong}, after {} records", self.records.len()));
        }
        if self.dropped == 0 {
            return Err("no wait was dropped, so it showed nothing".to_owned());
        }
        let found = in_order(self.records);
        let differs = found.iter().zip(undisturbed).find(|(found, there)| found != there);
        match differs {
            Some((found, there)) => Err(format!("it read {found:?}, there is {there:?}")),
            None if found.len() == undisturbed.len() => Ok(()),
            None => Err(format!("it read {} of {} records", found.len(), undisturbed.len())),
        }
    }
}

/// The records bucket by bucket. Within a bucket they stay as they came.
fn in_order(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by_key(|record| record.bucket);
    records
}

#[cfg(test)]
mod tests {
    use fluss_core::ChangeType;

    use super::*;
    use crate::main_job::RowOf;

    fn records(places: &[(i32, i64)]) -> Vec<Record> {
        let record = |(bucket, offset): &(i32, i64)| Record {
            bucket: *bucket,
            offset: *offset,
            change: ChangeType::Append,
            row: Some(RowOf { id: 10 * *offset + i64::from(*bucket), version: 0 }),
        };
        places.iter().map(record).collect()
    }

    fn judge(records: Vec<Record>, dropped: u64) -> Result<(), String> {
        let (began, time) = (Instant::now(), Duration::ZERO);
        let followed = Followed { records, dropped, began, time, wrong: None };
        followed.judge(&self::records(&[(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]))
    }

    #[test]
    fn a_reader_has_to_have_read_all_there_is_once_and_in_the_order_of_each_bucket() {
        let sound = [(1, 0), (0, 0), (0, 1), (1, 1), (0, 2)];
        assert_eq!(judge(records(&sound), 3), Ok(()));
        assert!(judge(records(&sound), 0).is_err(), "without a wait that was dropped");
        for at in 0..sound.len() {
            let mut lost = sound.to_vec();
            lost.remove(at);
            assert!(judge(records(&lost), 3).is_err(), "without {:?}", sound[at]);
            let mut doubled = sound.to_vec();
            doubled.insert(at, sound[at]);
            assert!(judge(records(&doubled), 3).is_err(), "{:?} twice", sound[at]);
            let mut other = records(&sound);
            other[at].row = None;
            assert!(judge(other, 3).is_err(), "{:?} is not one of ours", sound[at]);
        }
        let mut disordered = sound;
        disordered.swap(1, 2);
        assert!(judge(records(&disordered), 3).is_err());
    }
}
