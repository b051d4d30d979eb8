//! Looking up rows of primary-key tables.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use fluss_proto::message::{GetTableSchemaRequest, GetTableSchemaResponse};
use fluss_proto::{ApiKey, ErrorCode};

use super::fluss::pb_path;
use super::lookup_found::Found;
use super::lookup_insert;
use super::lookup_plan::{Keys, Place, ValueDecoder, schema_id_of};
use super::pending::{CommandFuture, Pending};
use super::shared::Core;
use super::signal::lock;
use super::table::{Table, TableInfo};
use crate::command::Target;
use crate::config::Acks;
use crate::error::{Error, Result};
use crate::ids::{BucketKey, PartitionId};
use crate::lookup::{LookupKind, LookupRequest};
use crate::output::CommandAnswer;
use crate::row::partition::{has_fractions, same_name};
use crate::row::{OwnedRow, Row, Schema};
use crate::time::Duration;

/// Looks rows of a primary-key table up; made by [`Table::lookuper`]. Cheap to clone.
///
/// Lookups of all handles that go to one server share requests: a key alone leaves at once, and
/// under load keys gather while earlier requests are on their way. Rows come back with the columns
/// of the table as it was opened, also those written before or after the schema was changed.
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
struct Inner {
    table: Table,
    whole: Keys,
    /// Why this table has no prefix lookups, if so.
    prefix: Result<Keys>,
    /// What is asked, for error texts, and how long an answer may take.
    what: Arc<str>,
    what_prefix: Arc<str>,
    limit: Duration,
    caches: Mutex<Caches>,
}

#[derive(Debug, Default)]
struct Caches {
    decoders: BTreeMap<i16, Arc<ValueDecoder>>,
    partitions: BTreeMap<Arc<str>, Partition>,
}

/// A partition's id and number of buckets.
#[derive(Clone, Copy, Debug)]
struct Partition {
    id: PartitionId,
    buckets: i32,
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
        let mut caches = Caches::default();
        if let Ok(id) = i16::try_from(info.schema_id) {
            caches.decoders.insert(id, Arc::new(own));
        }
        let what = format!("LOOKUP {}", info.path).into();
        let what_prefix = format!("PREFIX_LOOKUP {}", info.path).into();
        let limit = table.fluss().config(|config| config.command_deadline);
        let caches = Mutex::new(caches);
        let inner = Inner { table, whole, prefix, what, what_prefix, limit, caches };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The row with this key: the values of the primary key's columns, in key order. None if there
    /// is none, or no partition for it. Many are on their way at once if they are awaited or waited
    /// for after all were made: each is sent at the latest with the next call of any handle, the
    /// last one when it is awaited or waited for. Where the budget of lookups is used up, it waits
    /// in line for its place, also if nobody polls it.
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
    /// As `lookup`, and [`Error::Misuse`] if another column cannot be null, or if the table is
    /// partitioned: no server up to 1.0 inserts a sound row there. Nothing is sent then.
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
        let lookups: Vec<_> = keys.into_iter().map(|key| self.lookup(key)).collect();
        Pending::new(self.inner.table.fluss(), async move {
            let mut rows = Vec::with_capacity(lookups.len());
            for lookup in lookups {
                rows.push(lookup.await?);
            }
            Ok(rows)
        })
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

/// Rows on their way: await it, or [`Lookup::wait`] for it. Dropping it forgets the answer.
#[must_use = "the answer is lost unless it is awaited or waited for"]
pub struct Lookup<T> {
    inner: Arc<Inner>,
    state: State<T>,
}

enum State<T> {
    Failed(Error),
    /// On its way; with the key, if it must be possible to look for its partition again.
    Sent(CommandFuture, Option<(LookupKind, Place)>),
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
    fn start<R: Row + ?Sized>(
        inner: &Arc<Inner>,
        kind: LookupKind,
        keys: Result<&Keys>,
        row: &R,
    ) -> Self {
        let state = match keys.and_then(|keys| keys.place(row).map_err(Error::Row)) {
            Err(error) => State::Failed(error),
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
        if matches!(&self.state, State::Sent(future, _) if future.is_told()) {
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(result) = Pin::new(&mut self).poll(&mut context) {
                return result;
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
                State::Sent(future, _) => ready!(Pin::new(future).poll(cx)),
                State::Slow(future) => {
                    let result = ready!(future.as_mut().poll(cx));
                    this.state = State::Over;
                    return Poll::Ready(result);
                }
                State::Failed(_) | State::Over => Ok(CommandAnswer::Done),
            };
            let inner = &this.inner;
            match std::mem::replace(&mut this.state, State::Over) {
                State::Failed(error) => return Poll::Ready(Err(error)),
                State::Sent(_, place) => match (result, place) {
                    (Err(error), Some((kind, place)))
                        if is_partition_gone(&error) || is_rescaled(&error) =>
                    {
                        this.state = State::Slow(slow(inner, kind, place, true));
                    }
                    (Err(error), _) => return Poll::Ready(Err(error)),
                    (Ok(answer), _) => {
                        let values = T::values(answer)?;
                        match inner.read_known(&values) {
                            Some(rows) => return Poll::Ready(rows.and_then(T::from_rows)),
                            None => this.state = State::Slow(read_later(inner, values)),
                        }
                    }
                },
                State::Slow(_) | State::Over => {
                    let text = "this lookup was polled after its end";
                    return Poll::Ready(Err(Error::misuse(text)));
                }
            }
        }
    }
}

fn is_partition_gone(error: &Error) -> bool {
    error.code() == Some(ErrorCode::PARTITION_NOT_EXISTS)
}

/// Its partition has another number of buckets than was thought.
fn is_rescaled(error: &Error) -> bool {
    error.code() == Some(ErrorCode::INVALID_BUCKET_ROUTING)
}

/// A lookup whose partition has to be found first.
fn slow<T: Found>(
    inner: &Arc<Inner>,
    kind: LookupKind,
    place: Place,
    forget: bool,
) -> Pin<Box<dyn Future<Output = Result<T>> + Send>> {
    let inner = Arc::clone(inner);
    Box::pin(async move {
        let name = place.partition.clone().unwrap_or_else(|| "".into());
        if forget {
            lock(&inner.caches).partitions.remove(&name);
        }
        let Some(partition) = inner.find_partition(&name).await? else {
            return T::from_rows(Vec::new());
        };
        let sent = match inner.send(kind, &place, Some(partition)) {
            Ok(future) => future.await,
            Err(error) => Err(error),
        };
        match sent {
            Err(error) if is_partition_gone(&error) => {
                lock(&inner.caches).partitions.remove(&name);
                T::from_rows(Vec::new())
            }
            Err(error) => Err(error),
            Ok(answer) => T::from_rows(inner.read(&T::values(answer)?).await?),
        }
    })
}

/// Values of a schema that has to be asked for.
fn read_later<T: Found>(
    inner: &Arc<Inner>,
    values: Vec<Bytes>,
) -> Pin<Box<dyn Future<Output = Result<T>> + Send>> {
    let inner = Arc::clone(inner);
    Box::pin(async move { T::from_rows(inner.read(&values).await?) })
}

impl Inner {
    fn info(&self) -> &TableInfo {
        self.table.info()
    }

    fn begin<T: Found>(self: &Arc<Self>, kind: LookupKind, place: Place) -> State<T> {
        let Some(name) = &place.partition else {
            return match self.send(kind, &place, None) {
                Ok(future) => State::Sent(future, None),
                Err(error) => State::Failed(error),
            };
        };
        let known = lock(&self.caches).partitions.get(name).copied();
        match known.map(|partition| self.send(kind, &place, Some(partition))) {
            Some(Ok(future)) => State::Sent(future, Some((kind, place))),
            Some(Err(error)) => State::Failed(error),
            None => State::Slow(slow(self, kind, place, false)),
        }
    }

    fn try_begin<T: Found>(self: &Arc<Self>, kind: LookupKind, place: Place) -> Result<State<T>> {
        let shared = self.table.fluss().shared();
        let partition = match &place.partition {
            None => None,
            Some(name) => match lock(&self.caches).partitions.get(name).copied() {
                None => {
                    let (what, length) = (self.what(kind), place.key.len());
                    let room = shared.with(|core, _| core.client.room_for_lookup(what, length));
                    room.map_err(|error| shared.explain(error))?;
                    return Ok(State::Slow(slow(self, kind, place, false)));
                }
                known => known,
            },
        };
        let request = self.request(kind, &place, partition)?;
        let begin = |core: &mut Core, now| core.client.try_lookup(request, now);
        let future = CommandFuture::try_watch_untold(shared, begin)?;
        Ok(State::Sent(future, partition.map(|_| (kind, place))))
    }

    fn send(
        &self,
        kind: LookupKind,
        place: &Place,
        partition: Option<Partition>,
    ) -> Result<CommandFuture> {
        let request = self.request(kind, place, partition)?;
        Ok(CommandFuture::watch_untold(self.table.fluss().shared(), |core, now| {
            core.client.lookup(request, now)
        }))
    }

    fn what(&self, kind: LookupKind) -> &Arc<str> {
        if kind == LookupKind::Prefix { &self.what_prefix } else { &self.what }
    }

    fn request(
        &self,
        kind: LookupKind,
        place: &Place,
        partition: Option<Partition>,
    ) -> Result<LookupRequest> {
        let info = self.info();
        let buckets = partition.map_or_else(|| info.buckets(), |p| p.buckets);
        let function = self.whole.function;
        let bucket = function
            .bucket_of(&place.bucket_key, buckets.unsigned_abs())
            .and_then(|bucket| i32::try_from(bucket).ok())
            .ok_or_else(|| Error::misuse(format!("{}: the key is empty", info.path)))?;
        let key = BucketKey { table: info.id, partition: partition.map(|p| p.id), bucket };
        Ok(LookupRequest {
            kind,
            path: info.path.clone(),
            bucket: key,
            buckets: Some(buckets),
            key: place.key.clone(),
            what: Arc::clone(self.what(kind)),
            limit: self.limit,
        })
    }

    async fn find_partition(&self, name: &Arc<str>) -> Result<Option<Partition>> {
        if let Some(partition) = lock(&self.caches).partitions.get(name) {
            return Ok(Some(*partition));
        }
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

    /// The rows, if the schemas of all are known; else None.
    fn read_known(&self, values: &[Bytes]) -> Option<Result<Vec<OwnedRow>>> {
        let mut rows = Vec::with_capacity(values.len());
        let mut last: Option<(i16, Arc<ValueDecoder>)> = None;
        for value in values {
            let id = match schema_id_of(value) {
                Ok(id) => id,
                Err(error) => return Some(Err(error)),
            };
            if last.as_ref().is_none_or(|(known, _)| *known != id) {
                last = Some((id, Arc::clone(lock(&self.caches).decoders.get(&id)?)));
            }
            let Some((_, decoder)) = &last else { return None };
            match decoder.decode(value) {
                Ok(row) => rows.push(row),
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(rows))
    }

    async fn read(&self, values: &[Bytes]) -> Result<Vec<OwnedRow>> {
        for value in values {
            let id = schema_id_of(value)?;
            if !lock(&self.caches).decoders.contains_key(&id) {
                let decoder = Arc::new(self.fetch_schema(id).await?);
                lock(&self.caches).decoders.insert(id, decoder);
            }
        }
        self.read_known(values).unwrap_or_else(|| Ok(Vec::new()))
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
            what: format!("{what}: {e}").into(),
        })?;
        ValueDecoder::new(info, schema)
    }
}

#[cfg(test)]
#[path = "lookup_budget_tests.rs"]
mod budget_tests;
#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
