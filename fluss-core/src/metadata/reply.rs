//! What answers do to the picture and to the questions.

use std::sync::Arc;

use bytes::Bytes;
use fluss_proto::ErrorCode;
use fluss_proto::message::{GetTableInfoResponse, ListPartitionInfosResponse, MetadataResponse};
use prost::Message;

use super::ask::{self, Ask};
use super::cluster::{Cluster, PartitionMeta};
use super::parse::{self, Delta};
use super::refresh::Target;
use super::{MAX_CONTRADICTIONS, Metadata, MetadataEvent, PASS_OVER, ROUND_BACKOFF, missing};
use crate::cx::Cx;
use crate::error::Error;
use crate::ids::{PartitionId, ServerId, TableId, TablePath};

/// What an answer said.
enum Answer {
    Described(MetadataResponse),
    Exists(bool),
}

impl Metadata {
    pub(super) fn on_answer(&mut self, cx: &mut Cx<'_>, server: ServerId, ask: Ask, body: Bytes) {
        let parsed = match &ask {
            Ask::Describe(_) => MetadataResponse::decode(body).map(Answer::Described),
            Ask::CheckTable(..) => GetTableInfoResponse::decode(body).map(|_| Answer::Exists(true)),
            Ask::CheckPartition(_, target, _) => ListPartitionInfosResponse::decode(body)
                .map(|list| Answer::Exists(ask::lists(&list, target))),
        };
        match (parsed, ask) {
            (Err(e), ask) => {
                let what = format!("its answer to {} does not parse: {e}", ask.text());
                let error =
                    Error::Peer { server: self.label(cx, server).into(), what: what.into() };
                self.on_server_failed(cx, server, ask, error);
            }
            (Ok(Answer::Described(response)), Ask::Describe(targets)) => {
                self.on_described(cx, server, targets, response);
            }
            (Ok(Answer::Exists(true)), Ask::CheckTable(path, error)) => {
                self.on_contradiction(cx, Target::Table(path), error);
            }
            (Ok(Answer::Exists(true)), Ask::CheckPartition(_, target, error)) => {
                self.on_contradiction(cx, target, error);
            }
            (Ok(Answer::Exists(false)), Ask::CheckPartition(path, target, _)) => {
                let code = ErrorCode::PARTITION_NOT_EXISTS;
                let what = ask::text_of_partition(&path, &target);
                let error = missing(what, code, "the table does not list it");
                self.on_target_gone(target, error);
            }
            _ => {}
        }
    }

    fn on_described(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        targets: Vec<Target>,
        response: MetadataResponse,
    ) {
        // Copied only while somebody holds the old picture: an answer must not cost as much as all
        // that is known.
        let mut delta = parse::apply(Arc::make_mut(&mut self.cluster), response);
        self.report(cx, server, &delta);
        if !delta.has_tablets {
            let error = Error::Disconnected {
                server: self.label(cx, server).into(),
                what: "it knows no tablet server yet".into(),
                sent: true,
            };
            return self.on_server_failed(cx, server, Ask::Describe(targets), error);
        }
        self.on_success(cx);
        let min = cx.config.metadata_min_interval;
        self.refresh.settle(&Target::Servers, delta.changed, cx.now, min);
        let mut described = std::mem::take(&mut delta.described);
        for target in targets {
            match &target {
                Target::Servers => {}
                Target::Table(path) if delta.broken.iter().any(|(p, _)| p == path) => {
                    self.refresh.put_off(&target, cx.now);
                }
                // A table that its reader may not see is left out without a word.
                Target::Table(path) if !delta.tables.contains(path) => {
                    let code = ErrorCode::TABLE_NOT_EXIST;
                    let error = missing(ask::text_of(&target), code, "the answer left it out");
                    self.parts.push_back(Ask::CheckTable(path.clone(), error));
                }
                _ => {
                    let changed = self.changed(&target, &delta);
                    if self.refresh.settle(&target, changed, cx.now, min)
                        && let Some(place) = self.place_of(&target)
                    {
                        // Somebody asked after this question had left, and is not answered by it.
                        described.remove(&place);
                    }
                }
            }
        }
        self.described.append(&mut described);
    }

    fn place_of(&self, target: &Target) -> Option<(TableId, Option<PartitionId>)> {
        let table = |path| self.cluster.table(path).map(|table| table.id);
        match target {
            Target::Servers => None,
            Target::Table(path) => Some((table(path)?, None)),
            Target::PartitionName(path, name) => {
                let table = table(path)?;
                Some((table, Some(self.cluster.partition_by_name(table, name)?.id)))
            }
            Target::PartitionId(table, id) => Some((*table, Some(*id))),
        }
    }

    fn changed(&self, target: &Target, delta: &Delta) -> bool {
        let table = |path| self.cluster.table(path).map(|table| table.id);
        match target {
            Target::Servers => delta.changed,
            Target::Table(path) => table(path).is_some_and(|t| delta.changed_tables.contains(&t)),
            Target::PartitionName(path, name) => table(path)
                .and_then(|table| self.cluster.partition_by_name(table, name))
                .is_some_and(|partition| delta.changed_partitions.contains(&partition.id)),
            Target::PartitionId(_, id) => delta.changed_partitions.contains(id),
        }
    }

    /// Tells what an answer said.
    fn report(&mut self, cx: &Cx<'_>, server: ServerId, delta: &Delta) {
        for (path, old, new) in &delta.replaced {
            let error = missing(
                format!("table {path}"),
                ErrorCode::TABLE_NOT_EXIST,
                &format!("it was dropped and made again: its id was {old} and is {new}"),
            );
            let (path, old, new) = (path.clone(), *old, *new);
            let gone = MetadataEvent::TableGone { path: Some(path.clone()), id: old, error };
            self.events.push_back(gone);
            self.events.push_back(MetadataEvent::TableReplaced { path, old, new });
        }
        for partition in &delta.replaced_partitions {
            let error = missing(
                format!("partition {}", partition.name),
                ErrorCode::PARTITION_NOT_EXISTS,
                "it was dropped and made again",
            );
            self.partition_gone(&partition.clone(), error);
        }
        for (path, what) in &delta.broken {
            let error = Error::Peer {
                server: self.label(cx, server).into(),
                what: format!("table {path}: {what}").into(),
            };
            self.events.push_back(MetadataEvent::TableFailed { path: path.clone(), error });
        }
        self.events.push_back(MetadataEvent::Updated);
    }

    fn on_success(&mut self, cx: &Cx<'_>) {
        self.last_success = Some(cx.now);
        self.last_error = None;
        self.bootstrap_failures = 0;
        self.round.clear();
        self.backoff.reset();
        self.passed_over.retain(|_, since| cx.now.saturating_since(*since) < PASS_OVER);
    }

    /// A server refused what was asked, because of what was asked.
    pub(super) fn on_rejected(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        ask: Ask,
        error: Error,
    ) {
        let code = error.code().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR);
        let no_table = code == ErrorCode::TABLE_NOT_EXIST || code == ErrorCode::DATABASE_NOT_EXIST;
        match ask {
            Ask::Describe(mut targets) => {
                let named = targets.len();
                targets.retain(|target| *target != Target::Servers);
                if targets.len() < named && named > 1 {
                    self.refresh.retry(&Target::Servers, cx.now, cx.config.metadata_min_interval);
                }
                match targets.len() {
                    0 => {
                        let ask = Ask::Describe(vec![Target::Servers]);
                        self.on_server_failed(cx, server, ask, error);
                    }
                    1 => {
                        let checks = targets.pop().map(|t| self.isolated(cx, t, code, error));
                        self.parts.extend(checks.flatten());
                    }
                    n => {
                        let rest = targets.split_off(n / 2);
                        self.parts.push_front(Ask::Describe(rest));
                        self.parts.push_front(Ask::Describe(targets));
                    }
                }
            }
            Ask::CheckTable(path, _) if no_table => {
                self.on_target_gone(Target::Table(path), error);
            }
            Ask::CheckTable(path, _) => self.on_target_failed(cx, Target::Table(path), error),
            Ask::CheckPartition(path, target, _) => {
                if no_table {
                    self.on_target_gone(Target::Table(path), error.clone());
                }
                self.on_target_failed(cx, target, error);
            }
        }
    }

    /// One thing alone was refused: what to ask in order to find out whether it exists.
    fn isolated(
        &mut self,
        cx: &Cx<'_>,
        target: Target,
        code: ErrorCode,
        error: Error,
    ) -> Option<Ask> {
        let unclear = [
            ErrorCode::UNKNOWN_SERVER_ERROR,
            ErrorCode::TABLE_NOT_EXIST,
            ErrorCode::DATABASE_NOT_EXIST,
            ErrorCode::PARTITION_NOT_EXISTS,
        ];
        if !unclear.contains(&code) {
            self.on_target_failed(cx, target, error);
            return None;
        }
        match (&target, self.path_of(&target)) {
            (Target::Table(_), Some(path)) => Some(Ask::CheckTable(path, error)),
            (_, Some(path)) => Some(Ask::CheckPartition(path, target, error)),
            // Without the table's path there is nobody to ask but the same servers again.
            (_, None) if code == ErrorCode::PARTITION_NOT_EXISTS => {
                self.on_target_gone(target, error);
                None
            }
            (_, None) => {
                self.on_contradiction(cx, target, error);
                None
            }
        }
    }

    /// A server says that something exists and yet cannot describe it.
    fn on_contradiction(&mut self, cx: &Cx<'_>, target: Target, error: Error) {
        let failures = self.refresh.retry(&target, cx.now, cx.config.metadata_min_interval);
        if failures > MAX_CONTRADICTIONS {
            self.on_target_failed(cx, target, error);
        }
    }

    fn on_target_gone(&mut self, target: Target, error: Error) {
        self.refresh.forget(&target);
        match &target {
            Target::Servers => {}
            Target::Table(path) => match self.cluster.table(path).map(|table| table.id) {
                Some(id) => {
                    self.change(|cluster| cluster.remove_table(id));
                    let path = Some(path.clone());
                    self.events.push_back(MetadataEvent::TableGone { path, id, error });
                }
                None => self.tell_failed(target, error),
            },
            Target::PartitionName(..) | Target::PartitionId(..) => {
                match self.partition_of(&target) {
                    Some(partition) => {
                        self.change(|cluster| cluster.remove_partition(partition.id));
                        self.partition_gone(&partition, error.clone());
                    }
                    None => self.unknown_partition_gone(target, error),
                }
            }
        }
    }

    fn partition_gone(&mut self, partition: &PartitionMeta, error: Error) {
        self.events.push_back(MetadataEvent::PartitionGone {
            table: partition.table,
            name: Arc::clone(&partition.name),
            id: partition.id,
            error,
        });
    }

    /// Who asks for a partition by its id knows it from before it was dropped, which may have been
    /// told when nobody asked.
    fn unknown_partition_gone(&mut self, target: Target, error: Error) {
        match target {
            Target::PartitionId(table, id) => {
                let name = Arc::default();
                self.events.push_back(MetadataEvent::PartitionGone { table, name, id, error });
            }
            other => self.tell_failed(other, error),
        }
    }

    fn change(&mut self, f: impl FnOnce(&mut Cluster)) {
        let cluster = Arc::make_mut(&mut self.cluster);
        f(cluster);
        cluster.version += 1;
        self.events.push_back(MetadataEvent::Updated);
    }

    /// It may exist and cannot be described now.
    fn on_target_failed(&mut self, cx: &Cx<'_>, target: Target, error: Error) {
        self.refresh.put_off(&target, cx.now);
        self.tell_failed(target, error);
    }

    fn tell_failed(&mut self, target: Target, error: Error) {
        let event = match target {
            Target::Servers => MetadataEvent::Unreachable { error },
            Target::Table(path) => MetadataEvent::TableFailed { path, error },
            Target::PartitionName(path, name) => MetadataEvent::PartitionFailed {
                path: Some(path),
                name: Some(name),
                id: None,
                error,
            },
            Target::PartitionId(table, id) => MetadataEvent::PartitionFailed {
                path: self.cluster.table_by_id(table).map(|table| table.path.clone()),
                name: None,
                id: Some(id),
                error,
            },
        };
        self.events.push_back(event);
    }

    /// A server was of no help: the same question goes to the next one, and when there is none
    /// left, it waits.
    pub(super) fn on_server_failed(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        ask: Ask,
        error: Error,
    ) {
        self.parts.push_front(ask);
        self.last_error = Some(error.clone());
        match server {
            ServerId::Bootstrap(_) => {
                self.bootstrap = (self.bootstrap + 1) % self.bootstrap_count.max(1);
                self.bootstrap_failures += 1;
                self.round.push(error);
            }
            _ => {
                self.passed_over.insert(server, cx.now);
            }
        }
        if self.bootstrap_failures >= self.bootstrap_count {
            self.bootstrap_failures = 0;
            self.passed_over.clear();
            self.paused_until = Some(cx.now + self.backoff.next(ROUND_BACKOFF, cx.rng));
            if let Some(error) = Error::of_servers(std::mem::take(&mut self.round)) {
                self.events.push_back(MetadataEvent::Unreachable { error });
            }
        }
    }

    fn path_of(&self, target: &Target) -> Option<TablePath> {
        match target {
            Target::Servers => None,
            Target::Table(path) | Target::PartitionName(path, _) => Some(path.clone()),
            Target::PartitionId(table, _) => Some(self.cluster.table_by_id(*table)?.path.clone()),
        }
    }

    fn partition_of(&self, target: &Target) -> Option<Arc<PartitionMeta>> {
        match target {
            Target::PartitionName(path, name) => {
                let table = self.cluster.table(path)?.id;
                self.cluster.partition_by_name(table, name).cloned()
            }
            Target::PartitionId(_, id) => self.cluster.partition(*id).cloned(),
            _ => None,
        }
    }

    pub(crate) fn label(&self, cx: &Cx<'_>, server: ServerId) -> String {
        let address = match server {
            ServerId::Bootstrap(index) => cx.config.bootstrap.get(usize::from(index)),
            ServerId::Coordinator => self.cluster.coordinator.as_ref(),
            ServerId::Tablet(id) => self.cluster.tablets.get(&id),
        };
        match (server, address) {
            (ServerId::Bootstrap(_), Some(address)) => format!("bootstrap server {address}"),
            (_, Some(address)) => format!("{server} {address}"),
            (_, None) => server.to_string(),
        }
    }
}
