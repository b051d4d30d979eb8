//! Finding the partitions of keys: asked for once for each name, whoever waits for it.
//!
//! A question that is on its way may have been answered by the server before a lookup began, and a
//! row that was written before that must be found. So what such a question finds is tried, but that
//! there is nothing is believed only where the question began after the lookup: questions are
//! numbered, and a lookup knows how many there were when it began.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker, ready};

use super::lookup::{Inner, Partition};
use super::lookup_found::Found;
use super::lookup_plan::Place;
use super::pending::CommandFuture;
use super::shared::Shared;
use super::signal::lock;
use crate::error::{Error, Result};
use crate::ids::PartitionId;
use crate::lookup::LookupKind;
use crate::row::partition::{has_fractions, same_name};
use crate::time::{Duration, Instant};

/// Names of partitions that were not there are forgotten beyond this many.
const MAX_MISSING: usize = 1000;
/// Who comes later does not join a question: when it ends without an answer, they would not have
/// had the time that is theirs.
const MAX_AGE: Duration = Duration::from_secs(1);

type Question = Pin<Box<dyn Future<Output = Result<Option<Partition>>> + Send>>;

/// A question for a partition. All who wait for it have it together, each may go, and whoever is
/// woken first takes the answer for all.
pub(super) struct Finding {
    /// Its number.
    begun: u64,
    at: Instant,
    state: Mutex<Asked>,
    /// Keys that are sent as soon as the partition is known, whoever learns it.
    keys: Mutex<Vec<Weak<Key>>>,
    bells: Arc<Bells>,
}

enum Asked {
    Open(Question),
    Told(Result<Option<Partition>>),
}

/// Who is to be woken. Apart from the question, which would otherwise keep itself alive: the client
/// has this while the question is on its way.
#[derive(Default)]
struct Bells(Mutex<Vec<Waker>>);

impl Bells {
    fn hang(&self, waker: &Waker) {
        let mut wakers = lock(&self.0);
        // One task often waits for many.
        if !wakers.last().is_some_and(|last| last.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }
}

impl Wake for Bells {
    fn wake(self: Arc<Self>) {
        let wakers = std::mem::take(&mut *lock(&self.0));
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl std::fmt::Debug for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Finding").finish_non_exhaustive()
    }
}

impl Finding {
    fn new(begun: u64, at: Instant, question: Question) -> Arc<Self> {
        let state = Mutex::new(Asked::Open(question));
        Arc::new(Self { begun, at, state, keys: Mutex::default(), bells: Arc::default() })
    }

    /// Whether it began after a lookup did, before which there were so many.
    pub(super) fn is_after(&self, since: u64) -> bool {
        self.begun > since
    }

    fn is_open(&self) -> bool {
        matches!(*lock(&self.state), Asked::Open(_))
    }

    pub(super) fn poll(&self, waker: Option<&Waker>) -> Poll<Result<Option<Partition>>> {
        if let Some(waker) = waker {
            self.bells.hang(waker);
        }
        let mut state = lock(&self.state);
        let question = match &mut *state {
            Asked::Told(answer) => return Poll::Ready(answer.clone()),
            Asked::Open(question) => question,
        };
        let bells = Waker::from(Arc::clone(&self.bells));
        let answer = ready!(question.as_mut().poll(&mut Context::from_waker(&bells)));
        if let Ok(Some(partition)) = &answer {
            let keys = std::mem::take(&mut *lock(&self.keys));
            keys.iter().filter_map(Weak::upgrade).for_each(|key| key.send(*partition));
        }
        // The question is dropped without the lock: it has the last word on what it holds.
        let question = std::mem::replace(&mut *state, Asked::Told(answer.clone()));
        drop(state);
        drop(question);
        bells.wake();
        Poll::Ready(answer)
    }
}

/// Waits for a partition.
struct Find(Arc<Finding>);

impl Future for Find {
    type Output = Result<Option<Partition>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(Some(cx.waker()))
    }
}

/// A key that waits for its partition takes room of the budget, as it would on its way.
struct Seeker {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Seeker {
    fn new(shared: &Arc<Shared>, bytes: usize) -> Self {
        shared.with(|core, _| core.client.seek_partition(bytes));
        Self { shared: Arc::clone(shared), bytes }
    }
}

impl Drop for Seeker {
    fn drop(&mut self) {
        let bytes = self.bytes;
        self.shared.with(|core, _| core.client.end_seeking(bytes));
    }
}

/// A key that waits for its partition.
struct Key {
    inner: Arc<Inner>,
    kind: LookupKind,
    place: Place,
    state: Mutex<KeyState>,
}

enum KeyState {
    Seeking(#[expect(dead_code, reason = "it takes room while it is there")] Seeker),
    Sent(Result<CommandFuture>),
    Taken,
}

impl Key {
    /// Sends the key to its partition, unless that was done.
    fn send(&self, partition: Partition) {
        let mut state = lock(&self.state);
        if let KeyState::Seeking(_) = &*state {
            // Its room is free before it takes its place.
            *state = KeyState::Taken;
            let waiting = self.inner.send(self.kind, &self.place, Some(partition));
            let shared = self.inner.table.fluss().shared();
            *state = KeyState::Sent(waiting.map(|waiting| CommandFuture::new(shared, waiting)));
        }
    }

    /// What was sent, by itself or together with others.
    fn take_sent(&self, partition: Partition) -> Result<CommandFuture> {
        self.send(partition);
        match std::mem::replace(&mut *lock(&self.state), KeyState::Taken) {
            KeyState::Sent(sent) => sent,
            KeyState::Seeking(_) | KeyState::Taken => Err(Error::Closed("lookup")),
        }
    }

    /// Makes it a key that waits once more.
    fn seek(&self) {
        let shared = self.inner.table.fluss().shared();
        *lock(&self.state) = KeyState::Seeking(Seeker::new(shared, self.place.key.len()));
    }
}

/// Where a key was looked for, before which so many questions for partitions had begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried {
    pub(super) partition: PartitionId,
    pub(super) since: u64,
}

/// A lookup whose partition has to be found first; the question for it begins at once.
pub(super) fn slow<T: Found>(
    inner: &Arc<Inner>,
    (kind, place): (LookupKind, Place),
    since: u64,
) -> Pin<Box<dyn Future<Output = Result<T>> + Send>> {
    slow_from(inner, (kind, place), since, 0)
}

/// The same for a key that was refused where it was looked for.
pub(super) fn again<T: Found>(
    inner: &Arc<Inner>,
    (kind, place): (LookupKind, Place),
    tried: Tried,
) -> Pin<Box<dyn Future<Output = Result<T>> + Send>> {
    if let Some(name) = &place.partition {
        inner.forget_partition(name, tried.partition);
    }
    slow_from(inner, (kind, place), tried.since, tried.since + 1)
}

fn slow_from<T: Found>(
    inner: &Arc<Inner>,
    (kind, place): (LookupKind, Place),
    since: u64,
    least: u64,
) -> Pin<Box<dyn Future<Output = Result<T>> + Send>> {
    let name = place.partition.clone().unwrap_or_else(|| "".into());
    let state = Mutex::new(KeyState::Taken);
    let key = Arc::new(Key { inner: Arc::clone(inner), kind, place, state });
    let mut finding = inner.find_for(&name, least, &key);
    Box::pin(async move {
        let inner = &key.inner;
        loop {
            let found = Find(Arc::clone(&finding)).await?;
            let believed = finding.is_after(since);
            if let Some(partition) = found {
                let answer = match key.take_sent(partition) {
                    Ok(sent) => sent.await,
                    Err(error) => Err(error),
                };
                match answer {
                    Ok(answer) => return T::from_rows(inner.read(&T::values(answer)?).await?),
                    Err(error) if Inner::looks_again(&error) => {
                        inner.forget_partition(&name, partition.id);
                        if believed && !is_partition_gone(&error) {
                            return Err(error);
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
            // Others may have asked since, for as good a reason.
            if believed || inner.is_missing(&name, since) {
                return T::from_rows(Vec::new());
            }
            finding = inner.find_for(&name, since + 1, &key);
        }
    })
}

pub(super) fn is_partition_gone(error: &Error) -> bool {
    error.code() == Some(fluss_proto::ErrorCode::PARTITION_NOT_EXISTS)
}

impl Inner {
    /// The partition of a key, if it is known, and how many questions had begun by now.
    pub(super) fn known_partition(&self, place: &Place) -> (Option<Partition>, u64) {
        let caches = lock(&self.caches);
        let known = place.partition.as_ref().and_then(|name| caches.partitions.get(name));
        (known.copied(), caches.begun)
    }

    pub(super) fn questions(&self) -> u64 {
        lock(&self.caches).begun
    }

    /// The question for a partition: one that is on its way and has at least this number, or a new
    /// one, which begins.
    pub(super) fn finding(self: &Arc<Self>, name: &Arc<str>, least: u64) -> Arc<Finding> {
        let now = self.table.fluss().shared().now();
        let asked = lock(&self.caches).asked.get(name).and_then(Weak::upgrade);
        let joins = |asked: &Arc<Finding>| {
            let age = now.saturating_since(asked.at);
            asked.begun >= least && age < MAX_AGE && asked.is_open()
        };
        // A question takes the caches while it is polled, so they are not held here.
        if let Some(finding) = asked.filter(joins) {
            return finding;
        }
        let (inner, wanted) = (Arc::clone(self), Arc::clone(name));
        let mut caches = lock(&self.caches);
        caches.begun += 1;
        let begun = caches.begun;
        let question = Box::pin(async move {
            let found = inner.find_partition(&wanted).await;
            if let Ok(None) = found {
                inner.note_missing(&wanted, begun);
            }
            found
        });
        let finding = Finding::new(begun, now, question);
        caches.asked.retain(|_, finding| finding.strong_count() > 0);
        caches.asked.insert(Arc::clone(name), Arc::downgrade(&finding));
        drop(caches);
        // An answer that is there already waits for whoever asks next.
        let _ = finding.poll(None);
        finding
    }

    /// The same for a key that is sent when the partition is known.
    fn find_for(self: &Arc<Self>, name: &Arc<str>, least: u64, key: &Arc<Key>) -> Arc<Finding> {
        key.seek();
        let finding = self.finding(name, least);
        lock(&finding.keys).push(Arc::downgrade(key));
        finding
    }

    /// A question found no such partition.
    fn note_missing(&self, name: &Arc<str>, begun: u64) {
        let mut caches = lock(&self.caches);
        if caches.missing.len() >= MAX_MISSING {
            caches.missing.clear();
        }
        let latest = caches.missing.entry(Arc::clone(name)).or_default();
        *latest = begun.max(*latest);
    }

    /// Whether a question that began after a lookup did found no such partition.
    fn is_missing(&self, name: &Arc<str>, since: u64) -> bool {
        lock(&self.caches).missing.get(name).is_some_and(|begun| *begun > since)
    }

    /// A partition turned out to be gone, or to be another one than was thought.
    fn forget_partition(&self, name: &Arc<str>, id: PartitionId) {
        let mut caches = lock(&self.caches);
        if caches.partitions.get(name).is_some_and(|known| known.id == id) {
            caches.partitions.remove(name);
        }
    }

    /// Asks the server, and not what is known: that may be what a lookup found to be wrong.
    async fn find_partition(&self, name: &Arc<str>) -> Result<Option<Partition>> {
        let info = self.info();
        let columns = info.partition_columns();
        let types = info.partition_types();
        let values = match has_fractions(types.iter()) {
            // It may be there under a name with other digits.
            true => Vec::new(),
            false => columns.into_iter().zip(name.split('$').map(str::to_owned)).collect(),
        };
        let found = match self.table.fluss().partitions_of(info, values).await {
            Ok(list) => {
                let exact = list.iter().position(|partition| *partition.name == **name);
                let same = || list.iter().position(|p| same_name(&types, &p.name, name));
                exact.or_else(same).and_then(|at| list.into_iter().nth(at))
            }
            Err(error) if is_partition_gone(&error) => None,
            Err(error) => return Err(error),
        };
        let found = found.map(|partition| Partition {
            id: partition.id,
            buckets: partition.buckets.unwrap_or_else(|| info.buckets()).max(1),
        });
        if let Some(partition) = found {
            lock(&self.caches).partitions.insert(Arc::clone(name), partition);
        }
        Ok(found)
    }
}
