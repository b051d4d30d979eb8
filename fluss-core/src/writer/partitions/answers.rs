//! What answers and news mean for partitions that somebody waits for.

use std::collections::BTreeSet;
use std::sync::Arc;

use fluss_proto::ErrorCode;
use fluss_proto::message::ListPartitionInfosResponse;

use super::calls::listed;
use super::{Decision, Entry, MISSES, PAUSE, Partitions, Purpose, Question, State};
use crate::cx::Cx;
use crate::error::Error;
use crate::ids::{CommandId, PartitionId, PartitionKey, TableId, TablePath};
use crate::metadata::Cluster;
use crate::output::CommandAnswer;
use crate::row::partition::same_name;
use crate::time::Instant;

impl Partitions {
    pub(in crate::writer) fn handle_call(
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
    pub(in crate::writer) fn create(&mut self, cx: &mut Cx<'_>, key: PartitionKey) {
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
        self.rest(key);
    }

    pub(in crate::writer) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(in crate::writer) fn handle_timeout(&mut self, now: Instant) {
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
    pub(in crate::writer) fn handle_metadata(&mut self, cluster: &Cluster) {
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
    pub(in crate::writer) fn handle_failed(
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
    pub(in crate::writer) fn handle_partition_gone(&mut self, id: PartitionId) {
        let key = self.ids.remove(&id);
        if let Some(entry) = key.and_then(|key| self.entries.get_mut(&key)) {
            entry.state = State::Unknown;
            entry.actual = Arc::clone(&entry.name);
            if let Some(key) = key.filter(|_| !entry.waiting.is_empty()) {
                self.fresh.insert(key);
            }
        }
        if let Some(key) = key {
            self.rest(key);
        }
    }

    /// The table with this id exists no more: nothing waits for its partitions any longer.
    pub(in crate::writer) fn handle_table_gone(&mut self, id: TableId, error: &Error) {
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
