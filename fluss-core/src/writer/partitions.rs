//! The partitions that writers name: whether each exists, under which id, and what to ask so that
//! both become known.
//!
//! A name that the picture of the cluster does not have is looked for in the list of the table's
//! partitions, for all names of a table that wait at once. What the list has, metadata is asked
//! for; what it has not is created, where the writers allow it: once, however many rows wait, and
//! only a few at a time. A refusal ends the rows that waited for it; the next ones ask again after
//! a pause that grows.

mod calls;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use fluss_proto::ErrorCode;
use fluss_proto::message::ListPartitionInfosResponse;

use self::calls::{TableEntry, create_call, list_call, listed, same_name};
use super::accumulator::Waits;
use crate::backoff::{Backoff, BackoffConfig};
use crate::command::Call;
use crate::cx::Cx;
use crate::error::Error;
use crate::ids::{BatchId, CommandId, PartitionId, PartitionKey, TableId, TablePath, WriterKey};
use crate::metadata::Cluster;
use crate::output::CommandAnswer;
use crate::table_info::TableInfo;
use crate::time::{Duration, Instant};

/// Creations on their way at once: the coordinator does one after the other.
const MAX_CREATIONS: usize = 16;
/// The pause after a refusal, or after a partition that was created was not there.
const PAUSE: BackoffConfig = BackoffConfig::new(Duration::from_millis(100), Duration::from_secs(5));
/// How often metadata may leave a partition out before the table itself is looked at.
const MISSES: u32 = 4;

/// How far the question for a partition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody has asked.
    Unknown,
    /// To be looked for in the table's list, or being looked for.
    Listing,
    /// It does not exist; whether it may be created is being decided.
    Missing,
    /// To be created.
    ToCreate,
    /// The coordinator was asked to create it.
    Creating,
    /// It exists; metadata is asked for its id and leaders.
    Exists,
    /// It has this id.
    Known(PartitionId),
    /// It is asked for again at this time, if anybody waits by then.
    Paused(Instant),
}

#[derive(Debug)]
struct Entry {
    table: TableId,
    name: Arc<str>,
    /// The name it exists under, which other clients may have chosen differently.
    actual: Arc<str>,
    state: State,
    /// Batches that wait for its id.
    waiting: BTreeSet<BatchId>,
    backoff: Backoff,
    /// Answers of metadata without it.
    misses: u32,
    /// Why it is not known yet.
    trouble: Option<Error>,
}

/// What a call is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// Which of these are in the list?
    List(TableId, BTreeSet<PartitionKey>),
    /// Create this one.
    Create(PartitionKey),
}

/// What is to be done with the batches that wait for a partition.
#[derive(Debug)]
pub(super) enum Decision {
    /// It has this id and so many buckets.
    Bind(PartitionKey, PartitionId, i32),
    /// They end with this error.
    Refuse(PartitionKey, Error),
    /// It does not exist: those that may not create it end with this error, then see
    /// [`Partitions::create`].
    Missing(PartitionKey, Error),
}

/// A question for metadata.
#[derive(Debug)]
pub(super) enum Question {
    Partition(TablePath, Arc<str>),
    Table(TablePath),
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    entries: BTreeMap<PartitionKey, Entry>,
    names: BTreeMap<(TableId, Arc<str>), PartitionKey>,
    ids: BTreeMap<PartitionId, PartitionKey>,
    tables: BTreeMap<TableId, TableEntry>,
    writers: BTreeMap<WriterKey, TableId>,
    next: u64,
    /// Partitions that somebody began to wait for.
    fresh: BTreeSet<PartitionKey>,
    to_list: BTreeSet<TableId>,
    to_create: VecDeque<PartitionKey>,
    creating: usize,
    /// Those in state `Exists`.
    existing: BTreeSet<PartitionKey>,
    calls: BTreeMap<CommandId, Purpose>,
    timers: BTreeSet<(Instant, PartitionKey)>,
    decisions: VecDeque<Decision>,
    questions: VecDeque<Question>,
}

impl Partitions {
    /// The table of this writer is partitioned.
    pub(super) fn add_writer(&mut self, writer: WriterKey, info: &TableInfo) {
        if self.writers.insert(writer, info.id).is_some() {
            return;
        }
        let table = self.tables.entry(info.id).or_insert_with(|| TableEntry::new(info));
        table.writers += 1;
    }

    /// A writer ended. With the last one of a table, its partitions are forgotten.
    pub(super) fn writer_gone(&mut self, writer: WriterKey) {
        let Some(id) = self.writers.remove(&writer) else { return };
        let Some(table) = self.tables.get_mut(&id) else { return };
        table.writers -= 1;
        if table.writers > 0 {
            return;
        }
        self.tables.remove(&id);
        self.to_list.remove(&id);
        let keys: Vec<PartitionKey> = self
            .names
            .range((id, "".into())..)
            .take_while(|(k, _)| k.0 == id)
            .map(|(_, v)| *v)
            .collect();
        for key in keys {
            self.forget(key);
        }
    }

    fn forget(&mut self, key: PartitionKey) {
        let Some(entry) = self.entries.remove(&key) else { return };
        self.names.remove(&(entry.table, entry.name));
        self.existing.remove(&key);
        self.fresh.remove(&key);
        match entry.state {
            State::Known(id) => drop(self.ids.remove(&id)),
            State::Paused(at) => drop(self.timers.remove(&(at, key))),
            _ => {}
        }
    }

    /// The partition of the writer's table with this name, and its number of buckets, or what it
    /// most likely will be. None for a writer without partitions.
    pub(super) fn partition(
        &mut self,
        writer: WriterKey,
        name: &str,
        cluster: &Cluster,
    ) -> Option<(PartitionKey, i32)> {
        let table = *self.writers.get(&writer)?;
        let name: Arc<str> = name.into();
        let key = *self.names.entry((table, Arc::clone(&name))).or_insert_with(|| {
            let key = PartitionKey(self.next);
            self.next += 1;
            let entry = Entry {
                table,
                actual: Arc::clone(&name),
                name,
                state: State::Unknown,
                waiting: BTreeSet::new(),
                backoff: Backoff::default(),
                misses: 0,
                trouble: None,
            };
            self.entries.insert(key, entry);
            key
        });
        Some((key, self.buckets(key, cluster)))
    }

    fn buckets(&self, key: PartitionKey, cluster: &Cluster) -> i32 {
        let Some(entry) = self.entries.get(&key) else { return 1 };
        let usual = self.tables.get(&entry.table).map_or(1, |table| table.buckets);
        let known = match entry.state {
            State::Known(id) => Some(id),
            _ => cluster.partition_by_name(entry.table, &entry.actual).map(|p| p.id),
        };
        known.and_then(|id| cluster.bucket_count(entry.table, Some(id))).unwrap_or(usual).max(1)
    }

    /// The table, the id if it is known, and the number of buckets.
    pub(super) fn place(
        &mut self,
        key: PartitionKey,
        cluster: &Cluster,
    ) -> Option<(TableId, Option<PartitionId>, i32)> {
        let entry = self.entries.get_mut(&key)?;
        let table = entry.table;
        // What waits already keeps its place before what comes.
        let first = entry.waiting.is_empty();
        if first
            && entry.state == State::Unknown
            && let Some(known) = cluster.partition_by_name(table, &entry.actual)
        {
            entry.state = State::Known(known.id);
            self.ids.insert(known.id, key);
        }
        let id = match entry.state {
            State::Known(id) if first => Some(id),
            _ => None,
        };
        Some((table, id, self.buckets(key, cluster)))
    }

    /// A batch waits for the partition's id.
    pub(super) fn wait(&mut self, key: PartitionKey, batch: BatchId) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.waiting.insert(batch);
        if entry.state == State::Unknown {
            self.fresh.insert(key);
        }
    }

    /// A batch ended.
    pub(super) fn leave(&mut self, batch: BatchId, waits: Option<Waits>) {
        if let Some(entry) = waits.and_then(|waits| self.entries.get_mut(&waits.partition)) {
            entry.waiting.remove(&batch);
        }
    }

    /// The batches that wait for a partition, in the order in which they were opened.
    pub(super) fn waiting(&self, key: PartitionKey) -> Vec<BatchId> {
        self.entries.get(&key).map_or_else(Vec::new, |e| e.waiting.iter().copied().collect())
    }

    /// All partitions that somebody waits for.
    pub(super) fn waited_for(&self) -> Vec<PartitionKey> {
        let waited = self.entries.iter().filter(|(_, entry)| !entry.waiting.is_empty());
        waited.map(|(key, _)| *key).collect()
    }

    /// What the partition is, for error texts, and why it is not known yet.
    pub(super) fn tell(&self, key: PartitionKey) -> (String, Option<Error>) {
        let Some(entry) = self.entries.get(&key) else { return (String::new(), None) };
        let path = self.tables.get(&entry.table).map(|table| table.path.to_string());
        let text = format!("partition {} of table {}", entry.name, path.unwrap_or_default());
        (text, entry.trouble.clone())
    }

    // ----- what to ask -----

    /// Looks at the partitions that somebody began to wait for.
    pub(super) fn update(&mut self, cluster: &Cluster) {
        while let Some(key) = self.fresh.pop_first() {
            self.start(key, cluster);
        }
    }

    fn start(&mut self, key: PartitionKey, cluster: &Cluster) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let Some(table) = self.tables.get_mut(&entry.table) else { return };
        if let Some(error) = &table.gone {
            entry.state = State::Unknown;
            return self.decisions.push_back(Decision::Refuse(key, error.clone()));
        }
        if let Some(known) = cluster.partition_by_name(entry.table, &entry.actual) {
            let id = known.id;
            return self.known(key, id, cluster);
        }
        entry.state = State::Listing;
        table.wanted.insert(key);
        if !table.listing {
            self.to_list.insert(entry.table);
        }
    }

    fn known(&mut self, key: PartitionKey, id: PartitionId, cluster: &Cluster) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.state = State::Known(id);
        entry.misses = 0;
        entry.trouble = None;
        entry.backoff.reset();
        self.ids.insert(id, key);
        self.existing.remove(&key);
        let buckets = self.buckets(key, cluster);
        self.decisions.push_back(Decision::Bind(key, id, buckets));
    }

    /// The next call to make.
    pub(super) fn poll_call(&mut self, cx: &Cx<'_>) -> Option<(Purpose, Call)> {
        while let Some(id) = self.to_list.pop_first() {
            let Some(table) = self.tables.get_mut(&id) else { continue };
            let mut wanted = std::mem::take(&mut table.wanted);
            wanted.retain(|key| self.entries.get_mut(key).is_some_and(Entry::is_needed));
            let Some(first) = wanted.first().and_then(|key| self.entries.get(key)) else {
                continue;
            };
            table.listing = true;
            let mut call = list_call(table, (wanted.len() == 1).then_some(&*first.name));
            call.limit = cx.config.command_deadline;
            return Some((Purpose::List(id, wanted), call));
        }
        while self.creating < MAX_CREATIONS
            && let Some(key) = self.to_create.pop_front()
        {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            if entry.state != State::ToCreate || !entry.is_needed() {
                continue;
            }
            let Some(table) = self.tables.get(&entry.table) else { continue };
            entry.state = State::Creating;
            self.creating += 1;
            let mut call = create_call(table, &entry.name);
            call.limit = cx.config.command_deadline;
            return Some((Purpose::Create(key), call));
        }
        None
    }

    /// The call is on its way under this number.
    pub(super) fn called(&mut self, command: CommandId, purpose: Purpose) {
        self.calls.insert(command, purpose);
    }

    pub(super) fn owns(&self, command: CommandId) -> bool {
        self.calls.contains_key(&command)
    }

    pub(super) fn poll_decision(&mut self) -> Option<Decision> {
        self.decisions.pop_front()
    }

    pub(super) fn poll_question(&mut self) -> Option<Question> {
        self.questions.pop_front()
    }

    // ----- answers -----

    pub(super) fn handle_call(
        &mut self,
        cx: &mut Cx<'_>,
        command: CommandId,
        result: Result<CommandAnswer, Error>,
    ) {
        match self.calls.remove(&command) {
            None => {}
            Some(Purpose::Create(key)) => {
                self.creating -= 1;
                if self.entries.get(&key).is_some_and(|entry| entry.state == State::Creating) {
                    match result {
                        Ok(_) => self.exists(key),
                        Err(error) => self.failed(cx, key, error),
                    }
                }
            }
            Some(Purpose::List(id, wanted)) => {
                if let Some(table) = self.tables.get_mut(&id) {
                    table.listing = false;
                    if !table.wanted.is_empty() {
                        self.to_list.insert(id);
                    }
                }
                match result.and_then(listed) {
                    Ok(list) => self.on_list(id, wanted, &list),
                    Err(error) => {
                        wanted.into_iter().for_each(|key| self.failed(cx, key, error.clone()));
                    }
                }
            }
        }
    }

    fn on_list(
        &mut self,
        id: TableId,
        wanted: BTreeSet<PartitionKey>,
        list: &ListPartitionInfosResponse,
    ) {
        let Some(table) = self.tables.get(&id) else { return };
        let listed = list.partitions_info.iter();
        let names: BTreeSet<String> =
            listed.filter_map(|info| table.name_of(&info.partition_spec)).collect();
        let (by_value, types) = (table.has_floats(), table.types());
        for key in wanted {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            if entry.state != State::Listing {
                continue;
            }
            let found = if names.contains(&*entry.name) {
                Some(Arc::clone(&entry.name))
            } else if by_value {
                let same = |name: &&String| same_name(&types, name, &entry.name);
                names.iter().find(same).map(|name| name.as_str().into())
            } else {
                None
            };
            match found {
                Some(name) => {
                    entry.actual = name;
                    self.exists(key);
                }
                None => {
                    entry.state = State::Missing;
                    entry.actual = Arc::clone(&entry.name);
                    let error = self.missing(key);
                    self.decisions.push_back(Decision::Missing(key, error));
                }
            }
        }
    }

    fn missing(&self, key: PartitionKey) -> Error {
        Error::Rejected {
            what: self.tell(key).0.into(),
            code: ErrorCode::PARTITION_NOT_EXISTS,
            message: "it does not exist, and this writer may not create it: set \
                      dynamic_partition_creation (client.writer.dynamic-create-partition.enabled) \
                      to true, or create the partition first"
                .into(),
        }
    }

    /// Nobody who waits for a missing partition objects to its creation.
    pub(super) fn create(&mut self, cx: &mut Cx<'_>, key: PartitionKey) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.state != State::Missing {
            return;
        }
        if entry.waiting.is_empty() {
            return self.pause(cx, key);
        }
        entry.state = State::ToCreate;
        self.to_create.push_back(key);
    }

    fn exists(&mut self, key: PartitionKey) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let Some(table) = self.tables.get(&entry.table) else { return };
        entry.state = State::Exists;
        entry.misses = 0;
        self.existing.insert(key);
        let name = Arc::clone(&entry.actual);
        self.questions.push_back(Question::Partition(table.path.clone(), name));
    }

    /// A call failed. A server's refusal ends what waits; anything else is tried again, as long as
    /// rows may wait.
    fn failed(&mut self, cx: &mut Cx<'_>, key: PartitionKey, error: Error) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        match error {
            Error::Unavailable { .. } | Error::Disconnected { .. } | Error::Peer { .. } => {
                entry.trouble = Some(error);
            }
            error => {
                entry.trouble = None;
                self.decisions.push_back(Decision::Refuse(key, error));
            }
        }
        self.pause(cx, key);
    }

    fn pause(&mut self, cx: &mut Cx<'_>, key: PartitionKey) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let at = cx.now + entry.backoff.next(PAUSE, cx.rng);
        entry.state = State::Paused(at);
        self.existing.remove(&key);
        self.timers.insert((at, key));
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, key)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, key));
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            if entry.state == State::Paused(at) {
                entry.state = State::Unknown;
                if !entry.waiting.is_empty() {
                    self.fresh.insert(key);
                }
            }
        }
    }

    /// The picture of the cluster changed, or was confirmed.
    pub(super) fn handle_metadata(&mut self, cluster: &Cluster) {
        let existing: Vec<PartitionKey> = self.existing.iter().copied().collect();
        for key in existing {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            let Some(table) = self.tables.get_mut(&entry.table) else { continue };
            if let Some(known) = cluster.partition_by_name(entry.table, &entry.actual) {
                let id = known.id;
                self.known(key, id, cluster);
                continue;
            }
            if !entry.is_needed() {
                self.existing.remove(&key);
                continue;
            }
            entry.misses += 1;
            let path = table.path.clone();
            if entry.misses.is_multiple_of(MISSES) {
                self.questions.push_back(Question::Table(path.clone()));
            }
            let name = Arc::clone(&entry.actual);
            self.questions.push_back(Question::Partition(path, name));
        }
    }

    /// Metadata cannot describe a partition that existed a moment ago.
    pub(super) fn handle_failed(
        &mut self,
        cx: &mut Cx<'_>,
        (path, name): (&TablePath, &str),
        error: &Error,
    ) {
        let is = |entry: &Entry| &*entry.actual == name;
        let found: Vec<PartitionKey> = self
            .existing
            .iter()
            .copied()
            .filter(|key| {
                self.entries.get(key).is_some_and(|entry| {
                    is(entry) && self.tables.get(&entry.table).is_some_and(|t| t.path == *path)
                })
            })
            .collect();
        for key in found {
            if error.code() == Some(ErrorCode::PARTITION_NOT_EXISTS) {
                // Dropped again, or not there yet: the list knows.
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.trouble = Some(error.clone());
                }
                self.pause(cx, key);
            } else {
                self.failed(cx, key, error.clone());
            }
        }
    }

    /// The partition with this id exists no more.
    pub(super) fn handle_partition_gone(&mut self, id: PartitionId) {
        if let Some(entry) = self.ids.remove(&id).and_then(|key| self.entries.get_mut(&key)) {
            entry.state = State::Unknown;
            entry.actual = Arc::clone(&entry.name);
        }
    }

    /// The table with this id exists no more: nothing waits for its partitions any longer.
    pub(super) fn handle_table_gone(&mut self, id: TableId, error: &Error) {
        let Some(table) = self.tables.get_mut(&id) else { return };
        table.gone = Some(error.clone());
        for (key, entry) in &mut self.entries {
            if entry.table != id {
                continue;
            }
            if !entry.waiting.is_empty() {
                self.decisions.push_back(Decision::Refuse(*key, error.clone()));
            }
            match entry.state {
                State::Known(id) => drop(self.ids.remove(&id)),
                State::Paused(at) => drop(self.timers.remove(&(at, *key))),
                _ => {}
            }
            entry.state = State::Unknown;
            self.existing.remove(key);
        }
    }
}

impl Entry {
    /// Whether anybody still waits for it; else it is asked for when somebody does again.
    fn is_needed(&mut self) -> bool {
        if self.waiting.is_empty() {
            self.state = State::Unknown;
        }
        !self.waiting.is_empty()
    }
}
