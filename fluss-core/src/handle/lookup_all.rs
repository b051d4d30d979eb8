//! Many keys in one call: handed to the core together, and woken for once.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::answers::RunAnswer;
use super::lookup::{Inner, Lookup, Partition};
use super::lookup_partition::{Finding, Tried};
use super::lookup_plan::Place;
use super::pending::RunFuture;
use crate::error::{Error, Result};
use crate::ids::BucketKey;
use crate::lookup::{Ask, LookupKind};
use crate::output::CommandAnswer;
use crate::row::{OwnedRow, Row};

/// The rows of many keys, in their order.
pub(super) struct LookupAll {
    inner: Arc<Inner>,
    rows: Vec<Option<OwnedRow>>,
    run: Option<RunFuture>,
    /// In partitioned tables: which key each one of the run is, and where it was looked for.
    placed: Vec<(usize, Place, Tried)>,
    /// How many questions for partitions had begun when the call was made.
    since: u64,
    /// Keys whose partitions are asked for, and the questions for those.
    unknown: Vec<(usize, Place)>,
    finding: BTreeMap<Arc<str>, Arc<Finding>>,
    /// Keys that need more than one question, by their positions.
    apart: Vec<(usize, Lookup<Option<OwnedRow>>)>,
    /// The first key without an answer, and why it has none.
    failed: Option<(usize, Error)>,
    taken: Vec<RunAnswer>,
}

impl LookupAll {
    pub(super) fn start<'r, R, I>(inner: &Arc<Inner>, keys: I) -> Self
    where
        R: Row + ?Sized + 'r,
        I: IntoIterator<Item = &'r R>,
    {
        let mut all = Self {
            inner: Arc::clone(inner),
            rows: Vec::new(),
            run: None,
            placed: Vec::new(),
            since: inner.questions(),
            unknown: Vec::new(),
            finding: BTreeMap::new(),
            apart: Vec::new(),
            failed: None,
            taken: Vec::new(),
        };
        let keys = keys.into_iter();
        if inner.table.info().descriptor.partition_key.is_empty() {
            all.start_whole(keys);
        } else {
            all.start_in_partitions(keys);
        }
        all
    }

    /// Keys of a table without partitions lie one behind the other until the core has them.
    fn start_whole<'r, R: Row + ?Sized + 'r>(&mut self, keys: impl Iterator<Item = &'r R>) {
        let inner = &self.inner;
        let (mut bytes, mut bucket_key, mut asked) = (Vec::new(), Vec::new(), Vec::new());
        for key in keys {
            let start = bytes.len();
            let bucket = inner.whole.append(key, &mut bytes, &mut bucket_key);
            let bucket = bucket.map_err(Error::Row).and_then(|own| {
                let bucket_key = if own { &bucket_key } else { &bytes[start..] };
                inner.bucket_of(bucket_key, None)
            });
            match bucket {
                Ok((bucket, buckets)) => asked.push((bucket, buckets, start..bytes.len())),
                Err(error) => {
                    self.failed = Some((asked.len(), error));
                    break;
                }
            }
        }
        self.rows.resize(asked.len(), None);
        let asks = asked.iter().filter_map(|(bucket, buckets, key)| {
            Some(inner.ask_for(*bucket, *buckets, bytes.get(key.clone())?))
        });
        self.run = Some(run(inner, asks));
    }

    fn start_in_partitions<'r, R: Row + ?Sized + 'r>(&mut self, keys: impl Iterator<Item = &'r R>) {
        let mut known = Vec::new();
        for key in keys {
            let index = self.rows.len();
            match self.inner.whole.place(key) {
                Ok(place) => match self.inner.known_partition(&place) {
                    (Some(partition), _) => known.push((index, place, partition)),
                    (None, _) => self.seek(index, place),
                },
                Err(error) => {
                    self.failed = Some((index, Error::Row(error)));
                    break;
                }
            }
            self.rows.push(None);
        }
        self.start_in_known(known);
    }

    /// Has the partition of a key asked for, once for all keys in it.
    fn seek(&mut self, index: usize, place: Place) {
        if let Some(name) = &place.partition
            && !self.finding.contains_key(name)
        {
            self.finding.insert(Arc::clone(name), self.inner.finding(name, 0));
        }
        self.unknown.push((index, place));
    }

    /// Waits for the partitions, then asks for the keys in them. A partition that is not there has
    /// no rows.
    fn poll_unknown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut found = BTreeMap::new();
        for (name, finding) in &mut self.finding {
            let mut answer = ready!(finding.poll(Some(cx.waker())));
            if matches!(answer, Ok(None)) && !finding.is_after(self.since) {
                *finding = self.inner.finding(name, self.since + 1);
                answer = ready!(finding.poll(Some(cx.waker())));
            }
            found.insert(Arc::clone(name), answer);
        }
        self.finding.clear();
        let mut known = Vec::new();
        for (index, place) in std::mem::take(&mut self.unknown) {
            match place.partition.as_ref().and_then(|name| found.get(name)) {
                Some(Ok(Some(partition))) => known.push((index, place, *partition)),
                Some(Err(error)) => self.fail(index, error.clone()),
                Some(Ok(None)) | None => {}
            }
        }
        self.start_in_known(known);
        Poll::Ready(())
    }

    fn start_in_known(&mut self, known: Vec<(usize, Place, Partition)>) {
        let inner = &self.inner;
        let mut asked: Vec<(BucketKey, Option<i32>)> = Vec::new();
        self.placed = Vec::with_capacity(known.len());
        let mut failed = None;
        for (index, place, partition) in known {
            match inner.bucket_of(place.bucket_key(), Some(partition)) {
                Ok(bucket) => {
                    asked.push(bucket);
                    let tried = Tried { partition: partition.id, since: self.since };
                    self.placed.push((index, place, tried));
                }
                Err(error) => failed = failed.or(Some((index, error))),
            }
        }
        let asks =
            self.placed.iter().zip(&asked).map(|((_, place, _), (bucket, buckets))| {
                inner.ask_for(*bucket, *buckets, &place.key)
            });
        self.run = Some(run(inner, asks));
        if let Some((index, error)) = failed {
            self.fail(index, error);
        }
    }

    /// Notes an error; that of the first key counts.
    fn fail(&mut self, index: usize, error: Error) {
        if self.failed.as_ref().is_none_or(|(first, _)| index < *first) {
            self.failed = Some((index, error));
        }
    }

    fn take(&mut self, at: usize, result: Result<CommandAnswer>) {
        let index = self.placed.get(at).map_or(at, |(index, ..)| *index);
        let read = match result {
            Ok(answer) => Lookup::<Option<OwnedRow>>::of_answer(&self.inner, answer),
            Err(error) => match self.placed.get(at) {
                Some((_, place, tried)) if Inner::looks_again(&error) => {
                    Ok(Err(Lookup::again(&self.inner, place.clone(), *tried)))
                }
                _ => Err(error),
            },
        };
        match read {
            Ok(Ok(row)) => {
                if let Some(slot) = self.rows.get_mut(index) {
                    *slot = row;
                }
            }
            Ok(Err(more)) => self.apart.push((index, more)),
            Err(error) => self.fail(index, error),
        }
    }
}

fn run<'a>(inner: &Inner, asks: impl Iterator<Item = Ask<'a>>) -> RunFuture {
    let shared = inner.table.fluss().shared();
    RunFuture::start(shared, |core, now| core.client.ask_all(asks, now))
}

impl Inner {
    fn ask_for<'a>(&'a self, bucket: BucketKey, buckets: Option<i32>, key: &'a [u8]) -> Ask<'a> {
        let kind = LookupKind::Lookup;
        Ask { kind, bucket, buckets, key, what: self.what(kind), limit: self.limit, lazy: false }
    }
}

impl Future for LookupAll {
    type Output = Result<Vec<Option<OwnedRow>>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if let Some(run) = &mut this.run {
                let mut taken = std::mem::take(&mut this.taken);
                let polled = run.poll(cx, &mut taken);
                for (at, result) in taken.drain(..) {
                    this.take(at, result);
                }
                this.taken = taken;
                ready!(polled)?;
                this.run = None;
            }
            if this.unknown.is_empty() {
                break;
            }
            // Their partitions were asked for meanwhile.
            ready!(this.poll_unknown(cx));
        }
        let mut at = 0;
        while let Some((index, lookup)) = this.apart.get_mut(at) {
            let index = *index;
            let Poll::Ready(found) = Pin::new(lookup).poll(cx) else {
                at += 1;
                continue;
            };
            drop(this.apart.swap_remove(at));
            match found {
                Ok(row) => this.rows[index] = row,
                Err(error) => this.fail(index, error),
            }
        }
        if !this.apart.is_empty() {
            return Poll::Pending;
        }
        match this.failed.take() {
            Some((_, error)) => Poll::Ready(Err(error)),
            None => Poll::Ready(Ok(std::mem::take(&mut this.rows))),
        }
    }
}
