//! The partitions that writers name: whether each exists, under which id, and what to ask so that
//! both become known.
//!
//! A name that the picture of the cluster does not have is looked for in the list of the table's
//! partitions, for all names of a table that wait at once. What the list has, metadata is asked
//! for; what it has not is created, where the writers allow it: once, however many rows wait, and
//! only a few at a time. A refusal ends the rows that waited for it; the next ones ask again after
//! a pause that grows.

mod answers;
mod calls;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use self::calls::{TableEntry, create_call, list_call};
use super::accumulator::Waits;
use crate::backoff::{Backoff, BackoffConfig};
use crate::command::Call;
use crate::cx::Cx;
use crate::error::Error;
use crate::ids::{BatchId, CommandId, PartitionId, PartitionKey, TableId, TablePath, WriterKey};
use crate::metadata::Cluster;
use crate::table_info::TableInfo;
use crate::time::{Duration, Instant};

/// Creations on their way at once: the coordinator does one after the other.
const MAX_CREATIONS: usize = 16;
/// The pause after a refusal, or after a partition that was created was not there.
const PAUSE: BackoffConfig = BackoffConfig::new(Duration::from_millis(100), Duration::from_secs(5));
/// Names remembered that no partition has, as it was refused, dropped or never asked for: what is
/// known of them is when to ask again. Beyond that the one that came first is forgotten.
const KEPT_IDLE: usize = 1000;
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
    /// Its number of buckets, where it has an id.
    buckets: i32,
    /// Batches that wait for its id.
    waiting: BTreeSet<BatchId>,
    backoff: Backoff,
    /// Answers of metadata without it.
    misses: u32,
    /// Why it is not known yet.
    trouble: Option<Error>,
    /// Whether it stands among those that may be forgotten.
    idle: bool,
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
    /// Entries without a partition, in the order in which they became so; some may have one again,
    /// or be gone.
    idle: VecDeque<PartitionKey>,
}

impl Partitions {
    /// The table of this writer is partitioned.
    pub(super) fn add_writer(&mut self, writer: WriterKey, info: &TableInfo) {
        if self.writers.insert(writer, info.id).is_some() {
            return;
        }
        let table = self.tables.entry(info.id).or_insert_with(|| TableEntry::new(info));
        table.writers += 1;
        // The latest picture of the table is the best guess for partitions to come.
        table.buckets = info.buckets();
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
                buckets: 1,
                waiting: BTreeSet::new(),
                backoff: Backoff::default(),
                misses: 0,
                trouble: None,
                idle: false,
            };
            self.entries.insert(key, entry);
            key
        });
        self.rest(key);
        Some((key, self.buckets(key, cluster)))
    }

    /// Notes that a name may have no partition, and forgets the oldest of such. Whoever holds its
    /// key learns so when a batch is to be opened, and asks by name again.
    fn rest(&mut self, key: PartitionKey) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.is_idle() && !entry.idle {
            entry.idle = true;
            self.idle.push_back(key);
        }
        while self.idle.len() > KEPT_IDLE
            && let Some(oldest) = self.idle.pop_front()
        {
            let Some(entry) = self.entries.get_mut(&oldest) else { continue };
            entry.idle = false;
            if entry.is_idle() && oldest != key {
                self.forget(oldest);
            }
        }
    }

    /// Names remembered, of all tables.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.entries.len()
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
        if let Some(waits) = waits {
            self.rest(waits.partition);
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
            self.decisions.push_back(Decision::Refuse(key, error.clone()));
            return self.rest(key);
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
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.buckets = buckets;
        }
        self.decisions.push_back(Decision::Bind(key, id, buckets));
    }

    /// What waits for a partition with an id may go on, as what stood before it has.
    pub(super) fn go_on(&mut self, key: PartitionKey) {
        if let Some((id, buckets)) = self.bound(key)
            && self.entries.get(&key).is_some_and(|entry| !entry.waiting.is_empty())
        {
            self.decisions.push_back(Decision::Bind(key, id, buckets));
        }
    }

    /// The id and the number of buckets of a partition that has one.
    pub(super) fn bound(&self, key: PartitionKey) -> Option<(PartitionId, i32)> {
        let entry = self.entries.get(&key)?;
        match entry.state {
            State::Known(id) => Some((id, entry.buckets)),
            _ => None,
        }
    }

    /// The name of a partition.
    pub(super) fn name(&self, key: PartitionKey) -> Option<Arc<str>> {
        self.entries.get(&key).map(|entry| Arc::clone(&entry.name))
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
}

impl Entry {
    /// Whether nothing is lost with it but an answer that nobody waits for, or the time of the next
    /// question.
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !matches!(self.state, State::Known(_))
    }

    /// Whether anybody still waits for it; else it is asked for when somebody does again.
    fn is_needed(&mut self) -> bool {
        if self.waiting.is_empty() {
            self.state = State::Unknown;
        }
        !self.waiting.is_empty()
    }
}
