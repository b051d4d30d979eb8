//! Many keys in one call: handed to the core together, and woken for once.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::answers::RunAnswer;
use super::lookup::{Inner, Lookup, Partition};
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
    placed: Vec<(usize, Place)>,
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
        let inner = &self.inner;
        let mut asked: Vec<(BucketKey, Option<i32>)> = Vec::new();
        for key in keys {
            let index = self.rows.len();
            let begun = inner.whole.place(key).map_err(Error::Row).and_then(|place| {
                let known: Option<Partition> = inner.known_partition(&place);
                match known {
                    None => self.apart.push((index, Lookup::of_place(inner, place))),
                    known => {
                        asked.push(inner.bucket_of(place.bucket_key(), known)?);
                        self.placed.push((index, place));
                    }
                }
                Ok(())
            });
            if let Err(error) = begun {
                self.failed = Some((index, error));
                break;
            }
            self.rows.push(None);
        }
        let asks =
            self.placed.iter().zip(&asked).map(|((_, place), (bucket, buckets))| {
                inner.ask_for(*bucket, *buckets, &place.key)
            });
        self.run = Some(run(inner, asks));
    }

    /// Notes an error; that of the first key counts.
    fn fail(&mut self, index: usize, error: Error) {
        if self.failed.as_ref().is_none_or(|(first, _)| index < *first) {
            self.failed = Some((index, error));
        }
    }

    fn take(&mut self, at: usize, result: Result<CommandAnswer>) {
        let index = self.placed.get(at).map_or(at, |(index, _)| *index);
        let read = match result {
            Ok(answer) => Lookup::<Option<OwnedRow>>::of_answer(&self.inner, answer),
            Err(error) => match self.placed.get(at) {
                Some((_, place)) if Inner::looks_again(&error) => {
                    Ok(Err(Lookup::again(&self.inner, place.clone())))
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
        while let Some((index, lookup)) = this.apart.last_mut() {
            let index = *index;
            let found = ready!(Pin::new(lookup).poll(cx));
            this.apart.pop();
            match found {
                Ok(row) => this.rows[index] = row,
                Err(error) => this.fail(index, error),
            }
        }
        match this.failed.take() {
            Some((_, error)) => Poll::Ready(Err(error)),
            None => Poll::Ready(Ok(std::mem::take(&mut this.rows))),
        }
    }
}
