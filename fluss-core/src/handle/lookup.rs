//! Looking up rows of primary-key tables.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use fluss_proto::message::{GetTableSchemaRequest, GetTableSchemaResponse};
use fluss_proto::{ApiKey, ErrorCode};

use super::fluss::pb_path;
use super::lookup_all::LookupAll;
use super::lookup_found::Found;
use super::lookup_insert;
use super::lookup_partition::{Finding, Tried, again, is_partition_gone, slow};
use super::lookup_plan::{Keys, Place, ValueDecoder, schema_id_of};
use super::pending::{Pending, Waiting};
use super::shared::Core;
use super::signal::lock;
use super::table::{Table, TableInfo};
use crate::command::Target;
use crate::config::Acks;
use crate::error::{Error, Result};
use crate::ids::{BucketKey, PartitionId};
use crate::lookup::{Ask, LookupKind};
use crate::output::CommandAnswer;
use crate::row::{OwnedRow, Row, Schema};
use crate::time::Duration;

/// Looks rows of a primary-key table up; made by [`Table::lookuper`]. Cheap to clone.
///
/// Lookups of all handles that go to one server share requests: a key that somebody waits for
/// leaves at once, and under load keys gather while earlier requests are on their way. Rows come
/// back with the columns of the table as it was opened, also those written before or after the
/// schema was changed.
///
/// A client has a budget for its lookups:
/// [`Config::lookup_limit`](crate::config::Config::lookup_limit) keys on their way, and
/// [`Config::lookup_memory_limit`](crate::config::Config::lookup_memory_limit) bytes of those and
/// of answers that have come and that nobody has taken. Beyond it a lookup waits in line, first
/// come, first served, and that is a part of the time it has; [`Lookuper::try_lookup`] does not
/// wait. Dropping a lookup, wherever it is, gives its place to the next one.
///
/// ```no_run
/// # async fn example(table: fluss_core::Table) -> fluss_core::Result<()> {
/// let lookuper = table.lookuper()?;
/// if let Some(row) = lookuper.lookup(&(42_i64,)).await? {
///     println!("{:?}", row.values());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Lookuper {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) table: Table,
    pub(super) whole: Keys,
    /// Why this table has no prefix lookups, if so.
    prefix: Result<Keys>,
    /// What is asked, for error texts, and how long an answer may take.
    what: Arc<str>,
    what_prefix: Arc<str>,
    pub(super) limit: Duration,
    /// For values of the schema with which the table was opened.
    own: ValueDecoder,
    own_id: Option<i16>,
    pub(super) caches: Mutex<Caches>,
}

#[derive(Debug, Default)]
pub(super) struct Caches {
    /// For all schemas but that with which the table was opened.
    decoders: BTreeMap<i16, Arc<ValueDecoder>>,
    pub(super) partitions: BTreeMap<Arc<str>, Partition>,
    /// Partitions that are asked for.
    pub(super) asked: BTreeMap<Arc<str>, Weak<Finding>>,
    /// The last question that found no partition of a name.
    pub(super) missing: BTreeMap<Arc<str>, u64>,
    /// How many questions for partitions have begun.
    pub(super) begun: u64,
}

/// A partition's id and number of buckets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partition {
    pub(super) id: PartitionId,
    pub(super) buckets: i32,
}

impl Lookuper {
    pub(crate) fn new(table: Table) -> Result<Self> {
        let info = table.info();
        if !info.has_primary_key() {
            return Err(Error::misuse(format!(
                "{} has no primary key, so its rows cannot be looked up; scan it",
                info.path
            )));
        }
        let whole = Keys::whole(info)?;
        let prefix = Keys::prefix(info);
        let own = ValueDecoder::new(info, info.schema().clone())?;
        let own_id = i16::try_from(info.schema_id).ok();
        let what = format!("LOOKUP {}", info.path).into();
        let what_prefix = format!("PREFIX_LOOKUP {}", info.path).into();
        let limit = table.fluss().config(|config| config.command_deadline);
        let caches = Mutex::default();
        let inner = Inner { table, whole, prefix, what, what_prefix, limit, own, own_id, caches };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The row with this key: the values of the primary key's columns, in key order. None if there
    /// is none, or no partition for it. Many are on their way at once if they are awaited or waited
    /// for after all were made: the first one is sent at the latest with the next call of any
    /// handle. Those behind it gather while a request is on its way to their server, until its
    /// answer comes, 256 have gathered, or one of them is awaited or waited for. Where the budget
    /// of lookups is used up, it waits in line for its place, also if nobody polls it.
    ///
    /// # Errors
    /// [`Error::Row`] for a key that does not fit, [`Error::Misuse`] for one that is larger than a
    /// request or than the budget, [`Error::Rejected`] with the server's code,
    /// [`Error::Unavailable`] without an answer within
    /// [`Config::command_deadline`](crate::config::Config::command_deadline); if it was in line all
    /// that time, with [`Error::LookupsFull`] as the last reason.
    ///
    /// # Cancel safety
    /// Dropping it at any time forgets the answer and gives its place away; a request that was sent
    /// is answered to nobody.
    pub fn lookup<R: Row + ?Sized>(&self, key: &R) -> Lookup<Option<OwnedRow>> {
        Lookup::start(&self.inner, LookupKind::Lookup, Ok(&self.inner.whole), key)
    }

    /// Like [`Lookuper::lookup`], but [`Error::LookupsFull`] instead of a place in line; the key
    /// stays with the caller. In a partition that was not looked for before, the partition is asked
    /// for first, and the lookup may have to wait after that.
    ///
    /// ```no_run
    /// # use fluss_core::{Error, Lookuper};
    /// # use std::collections::VecDeque;
    /// # fn example(lookuper: &Lookuper, keys: &[(i64,)]) -> fluss_core::Result<()> {
    /// let mut on_their_way = VecDeque::new();
    /// for key in keys {
    ///     loop {
    ///         match lookuper.try_lookup(key) {
    ///             Ok(lookup) => break on_their_way.push_back(lookup),
    ///             Err(Error::LookupsFull { .. }) => match on_their_way.pop_front() {
    ///                 Some(oldest) => println!("{:?}", oldest.wait()?),
    ///                 // Other handles have used the budget up.
    ///                 None => std::thread::yield_now(),
    ///             },
    ///             Err(error) => return Err(error),
    ///         }
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::LookupsFull`] with both limits and what is in use, [`Error::Row`] for a key that
    /// does not fit, [`Error::Misuse`] for one that is larger than the budget, [`Error::Closed`]
    /// after a close: then nothing was sent. The lookup itself ends as that of `lookup`.
    pub fn try_lookup<R: Row + ?Sized>(&self, key: &R) -> Result<Lookup<Option<OwnedRow>>> {
        Lookup::try_start(&self.inner, LookupKind::Lookup, Ok(&self.inner.whole), key)
    }

    /// Like [`Lookuper::lookup`], but the server makes a row where there is none, with null in the
    /// columns outside the key and new numbers in auto-increment columns.
    ///
    /// # Errors
    /// As `lookup`, and [`Error::Misuse`] if another column cannot be null, if the merge engine is
    /// `first_row` or `versioned`, or if the table is partitioned: no server up to 1.0 inserts a
    /// sound row there. Nothing is sent then.
    pub fn lookup_or_insert<R: Row + ?Sized>(&self, key: &R) -> Lookup<Option<OwnedRow>> {
        let table = &self.inner.table;
        let timeout = table.fluss().config(|c| c.ack_timeout);
        let kind = LookupKind::InsertIfNotExists { acks: Acks::All, timeout };
        let keys = lookup_insert::check(table.info()).map(|()| &self.inner.whole);
        Lookup::start(&self.inner, kind, keys, key)
    }

    /// All rows whose primary key begins with these values: those of the partition and bucket key
    /// columns, in the order of the primary key.
    ///
    /// # Errors
    /// As [`Lookuper::lookup`], and [`Error::Misuse`] if the bucket key is not a true prefix of the
    /// primary key without the partition columns.
    pub fn lookup_prefix<R: Row + ?Sized>(&self, prefix: &R) -> Lookup<Vec<OwnedRow>> {
        let keys = self.inner.prefix.as_ref().map_err(Error::clone);
        Lookup::start(&self.inner, LookupKind::Prefix, keys, prefix)
    }

    /// Like [`Lookuper::lookup_prefix`], but [`Error::LookupsFull`] instead of a place in line; the
    /// prefix stays with the caller.
    ///
    /// # Errors
    /// As [`Lookuper::try_lookup`] and [`Lookuper::lookup_prefix`].
    pub fn try_lookup_prefix<R: Row + ?Sized>(&self, prefix: &R) -> Result<Lookup<Vec<OwnedRow>>> {
        let keys = self.inner.prefix.as_ref().map_err(Error::clone);
        Lookup::try_start(&self.inner, LookupKind::Prefix, keys, prefix)
    }

    /// The rows of many keys, in their order; see [`Lookuper::lookup`]. All are sent at once.
    ///
    /// # Errors
    /// That of the first key without an answer.
    pub fn lookup_all<'r, R, I>(&self, keys: I) -> Pending<Vec<Option<OwnedRow>>>
    where
        R: Row + ?Sized + 'r,
        I: IntoIterator<Item = &'r R>,
    {
        Pending::new(self.inner.table.fluss(), LookupAll::start(&self.inner, keys))
    }

    /// The rows in values that came from this table.
    pub(super) async fn read(&self, values: &[Bytes]) -> Result<Vec<OwnedRow>> {
        self.inner.read(values).await
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.inner.table
    }
}

/// Rows on their way: await it, or [`Lookup::wait`] for it. Dropping it forgets the answer. A task
/// that takes hundreds of answers one after the other lets others of its thread run in between: now
/// and then an answer that has come is handed over at the next poll, for which the task is woken.
#[must_use = "the answer is lost unless it is awaited or waited for"]
pub struct Lookup<T> {
    inner: Arc<Inner>,
    state: State<T>,
}

/// Small, as many are kept by those who have many on their way.
enum State<T> {
    Failed(Box<Error>),
    /// On its way; with the key, if it must be possible to look for its partition again.
    Sent(Waiting, Option<Box<(LookupKind, Place, Tried)>>),
    /// Something has to be asked for before or after the lookup itself.
    Slow(Pin<Box<dyn Future<Output = Result<T>> + Send>>),
    Over,
}

impl<T> std::fmt::Debug for Lookup<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup").field("path", &self.inner.table.info().path).finish()
    }
}

impl<T: Found> Lookup<T> {
    /// The partition of the key turned out to be another one than was thought.
    pub(super) fn again(inner: &Arc<Inner>, place: Place, tried: Tried) -> Self {
        let state = State::Slow(again(inner, (LookupKind::Lookup, place), tried));
        Self { inner: Arc::clone(inner), state }
    }

    /// What an answer says, or a lookup that asks for what is needed to read it.
    pub(super) fn of_answer(
        inner: &Arc<Inner>,
        answer: CommandAnswer,
    ) -> Result<std::result::Result<T, Self>> {
        let found = T::read(answer, |value| inner.decode(value))?;
        Ok(found.map_err(|answer| {
            let state = State::Slow(read_later(inner, answer));
            Self { inner: Arc::clone(inner), state }
        }))
    }

    fn start<R: Row + ?Sized>(
        inner: &Arc<Inner>,
        kind: LookupKind,
        keys: Result<&Keys>,
        row: &R,
    ) -> Self {
        let state = match keys.and_then(|keys| keys.place(row).map_err(Error::Row)) {
            Err(error) => State::Failed(Box::new(error)),
            Ok(place) => inner.begin(kind, place),
        };
        Self { inner: Arc::clone(inner), state }
    }

    fn try_start<R: Row + ?Sized>(
        inner: &Arc<Inner>,
        kind: LookupKind,
        keys: Result<&Keys>,
        row: &R,
    ) -> Result<Self> {
        let place = keys?.place(row).map_err(Error::Row)?;
        let state = inner.try_begin(kind, place)?;
        Ok(Self { inner: Arc::clone(inner), state })
    }

    /// Blocks this thread until the answer is there, in line for the budget too; no longer than
    /// [`Config::command_deadline`](crate::config::Config::command_deadline) for each question.
    ///
    /// # Errors
    /// As the call that made it.
    pub fn wait(mut self) -> Result<T> {
        // Of many lookups on their way most have come when they are waited for.
        if matches!(&self.state, State::Sent(waiting, _) if waiting.is_told()) {
            let mut context = Context::from_waker(Waker::noop());
            // Once more if it gave way to a driver, which is on another thread.
            for _ in 0..2 {
                if let Poll::Ready(result) = Pin::new(&mut self).poll(&mut context) {
                    return result;
                }
            }
        }
        let shared = Arc::clone(self.inner.table.fluss().shared());
        shared.block_on(self)?
    }
}

impl<T: Found> Future for Lookup<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            let result = match &mut this.state {
                State::Sent(waiting, _) => {
                    ready!(waiting.poll(this.inner.table.fluss().shared(), cx.waker()))
                }
                State::Slow(future) => {
                    let result = ready!(future.as_mut().poll(cx));
                    this.state = State::Over;
                    return Poll::Ready(result);
                }
                State::Failed(_) | State::Over => Ok(CommandAnswer::Done),
            };
            let inner = &this.inner;
            match std::mem::replace(&mut this.state, State::Over) {
                State::Failed(error) => return Poll::Ready(Err(*error)),
                State::Sent(_, place) => match (result, place) {
                    (Err(error), Some(asked)) if Inner::looks_again(&error) => {
                        let (kind, place, tried) = *asked;
                        this.state = State::Slow(again(inner, (kind, place), tried));
                    }
                    (Err(error), _) => return Poll::Ready(Err(error)),
                    (Ok(answer), _) => match T::read(answer, |value| inner.decode(value))? {
                        Ok(found) => return Poll::Ready(Ok(found)),
                        Err(answer) => this.state = State::Slow(read_later(inner, answer)),
                    },
                },
                State::Slow(_) | State::Over => {
                    let text = "this lookup was polled after its end";
                    return Poll::Ready(Err(Error::misuse(text)));
                }
            }
        }
    }
}

impl<T> Drop for Lookup<T> {
    fn drop(&mut self) {
        if let State::Sent(waiting, _) = &self.state {
            waiting.give_up(self.inner.table.fluss().shared());
        }
    }
}

/// Values of a schema that has to be asked for.
fn read_later<T: Found>(
    inner: &Arc<Inner>,
    answer: CommandAnswer,
) -> Pin<Box<dyn Future<Output = Result<T>> + Send>> {
    let inner = Arc::clone(inner);
    Box::pin(async move { T::from_rows(inner.read(&T::values(answer)?).await?) })
}

impl Inner {
    pub(super) fn info(&self) -> &TableInfo {
        self.table.info()
    }

    /// Whether a key that was refused with this error may be in another partition than was thought,
    /// or in another bucket of it.
    pub(super) fn looks_again(error: &Error) -> bool {
        is_partition_gone(error) || error.code() == Some(ErrorCode::INVALID_BUCKET_ROUTING)
    }

    fn begin<T: Found>(self: &Arc<Self>, kind: LookupKind, place: Place) -> State<T> {
        if place.partition.is_none() {
            return match self.send(kind, &place, None) {
                Ok(waiting) => State::Sent(waiting, None),
                Err(error) => State::Failed(Box::new(error)),
            };
        }
        let (Some(partition), since) = self.known_partition(&place) else {
            return self.begin_slow(kind, place);
        };
        match self.send(kind, &place, Some(partition)) {
            Ok(waiting) => {
                let tried = Tried { partition: partition.id, since };
                State::Sent(waiting, Some(Box::new((kind, place, tried))))
            }
            Err(error) => State::Failed(Box::new(error)),
        }
    }

    fn begin_slow<T: Found>(self: &Arc<Self>, kind: LookupKind, place: Place) -> State<T> {
        let (_, since) = self.known_partition(&place);
        State::Slow(slow(self, (kind, place), since))
    }

    fn try_begin<T: Found>(self: &Arc<Self>, kind: LookupKind, place: Place) -> Result<State<T>> {
        let shared = self.table.fluss().shared();
        let (known, since) = self.known_partition(&place);
        let partition = match &place.partition {
            None => None,
            Some(_) => match known {
                None => {
                    let (what, length) = (self.what(kind), place.key.len());
                    let room = shared.with(|core, _| {
                        core.count_taken();
                        core.client.room_for_lookup(what, length)
                    });
                    room.map_err(|error| shared.explain(error))?;
                    return Ok(self.begin_slow(kind, place));
                }
                known => known,
            },
        };
        let ask = self.ask(kind, &place, partition)?;
        let begin = |core: &mut Core, now| {
            core.count_taken();
            core.client.try_ask(ask, now)
        };
        let waiting = Waiting::try_begin(shared, begin)?;
        let tried = partition.map(|partition| Tried { partition: partition.id, since });
        Ok(State::Sent(waiting, tried.map(|tried| Box::new((kind, place, tried)))))
    }

    pub(super) fn send(
        &self,
        kind: LookupKind,
        place: &Place,
        partition: Option<Partition>,
    ) -> Result<Waiting> {
        let ask = self.ask(kind, place, partition)?;
        let shared = self.table.fluss().shared();
        let gathered = Waiting::gather(shared, &ask);
        let ask = |core: &mut Core, now| core.client.ask(ask, now);
        Ok(gathered.unwrap_or_else(|| Waiting::begin(shared, ask)))
    }

    pub(super) fn what(&self, kind: LookupKind) -> &Arc<str> {
        if kind == LookupKind::Prefix { &self.what_prefix } else { &self.what }
    }

    /// The bucket of a key, and the number of buckets that it was chosen from.
    pub(super) fn bucket_of(
        &self,
        bucket_key: &[u8],
        partition: Option<Partition>,
    ) -> Result<(BucketKey, Option<i32>)> {
        let info = self.info();
        let buckets = partition.map_or_else(|| info.buckets(), |p| p.buckets);
        let bucket = self
            .whole
            .function
            .bucket_of(bucket_key, buckets.unsigned_abs())
            .and_then(|bucket| i32::try_from(bucket).ok())
            .ok_or_else(|| Error::misuse(format!("{}: the key is empty", info.path)))?;
        let key = BucketKey { table: info.id, partition: partition.map(|p| p.id), bucket };
        Ok((key, Some(buckets)))
    }

    fn ask<'a>(
        &'a self,
        kind: LookupKind,
        place: &'a Place,
        partition: Option<Partition>,
    ) -> Result<Ask<'a>> {
        let (bucket, buckets) = self.bucket_of(place.bucket_key(), partition)?;
        let (key, what, limit) = (&place.key, self.what(kind), self.limit);
        // One that changes something is sent whether anybody waits or not.
        let lazy = matches!(kind, LookupKind::Lookup | LookupKind::Prefix);
        Ok(Ask { kind, bucket, buckets, key, what, limit, lazy })
    }

    /// The row of a value; None if its schema is not known yet.
    fn decode(&self, value: &[u8]) -> Result<Option<OwnedRow>> {
        let id = schema_id_of(value)?;
        if self.own_id == Some(id) {
            return self.own.decode(value).map(Some);
        }
        let known = lock(&self.caches).decoders.get(&id).cloned();
        known.map(|decoder| decoder.decode(value)).transpose()
    }

    pub(super) async fn read(&self, values: &[Bytes]) -> Result<Vec<OwnedRow>> {
        let mut rows = Vec::with_capacity(values.len());
        for value in values {
            if let Some(row) = self.decode(value)? {
                rows.push(row);
                continue;
            }
            let id = schema_id_of(value)?;
            let decoder = Arc::new(self.fetch_schema(id).await?);
            rows.push(decoder.decode(value)?);
            lock(&self.caches).decoders.insert(id, decoder);
        }
        Ok(rows)
    }

    async fn fetch_schema(&self, id: i16) -> Result<ValueDecoder> {
        let info = self.info();
        let table_path = pb_path(&info.path);
        let request = GetTableSchemaRequest { table_path, schema_id: Some(i32::from(id)) };
        let what = format!("GET_TABLE_SCHEMA {} schema {id}", info.path);
        let (api, target) = (ApiKey::GetTableSchema, Target::AnyServer);
        let answer: GetTableSchemaResponse =
            self.table.fluss().call(api, &request, target, &what, true).await?;
        let schema = Schema::from_json(&answer.schema_json).map_err(|e| Error::Peer {
            server: "server".into(),
            what: format!("{what}: {}", e.to_text()).into(),
        })?;
        ValueDecoder::new(info, schema)
    }
}

#[cfg(test)]
#[path = "lookup_all_tests.rs"]
mod all_tests;
#[cfg(test)]
#[path = "lookup_budget_tests.rs"]
mod budget_tests;
#[cfg(test)]
#[path = "lookup_insert_tests.rs"]
mod insert_tests;
#[cfg(test)]
#[path = "lookup_partition_tests.rs"]
mod partition_tests;
#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
