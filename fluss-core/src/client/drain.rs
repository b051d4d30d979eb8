//! Running the machines until none has anything for another.

use std::sync::Arc;

use fluss_proto::ErrorCode;

use super::{Client, Closing};
use crate::connection::ConnectionEvent;
use crate::connection::request::{Owner, Reply};
use crate::cx::Cx;
use crate::error::Error;
use crate::ids::{BucketKey, ServerId, TableId, TablePath};
use crate::metadata::MetadataEvent;
use crate::output::{Event, NoteLevel};
use crate::wish::ReadWish;
use crate::writer::Wish;

/// Machines that take turns.
const MACHINES: usize = 5;
/// Turns after which a drain must be over; more means that two machines keep each other busy.
const MAX_TURNS: usize = 1000 * MACHINES;

impl Client {
    /// The only place that knows all machines: passes what each has for the others, in a fixed
    /// order, until none had anything since its last turn.
    pub(super) fn drain(&mut self, cx: &mut Cx<'_>) {
        let mut quiet = 0;
        for turn in 0..MAX_TURNS {
            let busy = match turn % MACHINES {
                0 => self.drain_connections(cx),
                1 => self.drain_metadata(cx),
                2 => self.drain_writers(cx),
                3 => self.drain_readers(cx),
                _ => self.drain_commands(cx),
            };
            // Questions come up also in turns that bring nothing else.
            let busy = self.metadata.was_asked() || busy;
            quiet = if busy { 0 } else { quiet + 1 };
            if quiet == MACHINES {
                break;
            }
        }
        debug_assert!(quiet == MACHINES, "the machines keep each other busy");
        self.check_close(cx);
    }

    fn drain_connections(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut busy = false;
        while let Some(reply) = self.connections.poll_reply() {
            busy = true;
            self.route(cx, reply);
        }
        while let Some(event) = self.connections.poll_event() {
            busy = true;
            self.note_connection(&event);
            match event {
                ConnectionEvent::Ready { .. } => {}
                ConnectionEvent::Lost { server, .. } => self.metadata.note_trouble(cx, server),
                ConnectionEvent::Failed { server, error } => {
                    self.on_unreachable(cx, server, &error);
                }
            }
        }
        busy
    }

    /// Counts what happened to a connection, and tells whoever reads the log.
    fn note_connection(&mut self, event: &ConnectionEvent) {
        let (count, level, text) = match event {
            ConnectionEvent::Ready { server, .. } => {
                (0, NoteLevel::Debug, format!("connected to {server}"))
            }
            // Errors of a connection name their server.
            ConnectionEvent::Lost { error, .. } => (1, NoteLevel::Info, error.to_string()),
            ConnectionEvent::Failed { error, .. } => (2, NoteLevel::Warn, error.to_string()),
        };
        self.connection_counts[count] += 1;
        if self.closing != Closing::Done {
            self.events.push_back(Event::Note { level, text: text.into() });
        }
    }

    fn on_unreachable(&mut self, cx: &mut Cx<'_>, server: ServerId, error: &Error) {
        self.metadata.mark_unavailable(cx, server, error);
        self.writers.handle_unreachable(server, error);
        self.scanners.handle_unreachable(server, error);
        self.lookups.handle_unreachable(cx, server, error);
        self.commands.note_trouble(server, error);
    }

    /// Readers want something of a server that left the cluster. It may come back, or its buckets
    /// get other leaders: nobody but them would ask.
    fn on_absent(&mut self, cx: &mut Cx<'_>, server: ServerId) {
        self.scanners.handle_absent(cx, server);
        let what = "the server is not part of the cluster now".into();
        let error = Error::Disconnected { server: server.to_string().into(), what, sent: false };
        self.lookups.handle_unreachable(cx, server, &error);
    }

    /// Gives an answer to whoever asked.
    pub(super) fn route(&mut self, cx: &mut Cx<'_>, reply: Reply) {
        let Reply { owner, result } = reply;
        match owner {
            Owner::Metadata(token) => self.metadata.handle_reply(cx, token, result),
            Owner::InitWriter(writer) => self.writers.handle_writer_id(cx, writer, result),
            Owner::Write(token) => self.writers.handle_reply(cx, token, result),
            Owner::Fetch(scanner, token) => {
                self.scanners.handle_reply(cx, scanner, token, result);
            }
            Owner::Lookup(token) => self.lookups.handle_reply(cx, token, result),
            Owner::Command(command) => {
                self.commands.handle_reply(cx, &mut self.metadata, command, result);
            }
        }
    }

    fn drain_metadata(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut busy = false;
        while let Some(event) = self.metadata.poll_event() {
            busy = true;
            self.on_metadata(cx, event);
        }
        while let Some((server, request)) = self.metadata.poll_request(cx) {
            busy = true;
            self.connections.enqueue(cx, server, request);
        }
        busy
    }

    fn on_metadata(&mut self, cx: &mut Cx<'_>, event: MetadataEvent) {
        match event {
            MetadataEvent::Updated => {
                let cluster = Arc::clone(self.metadata.cluster());
                self.connections.set_servers(cx, &cluster.servers());
                let described = self.metadata.take_described();
                self.writers.handle_metadata(cx, &cluster, &described);
                self.scanners.handle_metadata(&*cluster);
                self.lookups.handle_metadata(&*cluster);
                self.commands.handle_metadata(&cluster);
            }
            MetadataEvent::TableGone { id, error, .. } => self.on_table_gone(cx, id, &error),
            MetadataEvent::TableFailed { path, error } => self.on_table_failed(cx, &path, &error),
            MetadataEvent::PartitionGone { table, id, error, .. } => {
                let is = |b: &BucketKey| b.table == table && b.partition == Some(id);
                self.writers.handle_gone(cx, is, &error);
                self.scanners.handle_gone(is, &error);
                self.lookups.handle_gone(is, &error);
                self.commands.handle_gone(is, &error);
                self.writers.handle_partition_gone(id);
            }
            MetadataEvent::PartitionFailed { path, name, error, .. } => {
                if let (Some(path), Some(name)) = (path, name) {
                    self.writers.handle_partition_failed(cx, (&path, &name), &error);
                }
                self.ask_again();
            }
            MetadataEvent::Unreachable { error } => {
                self.commands.handle_unreachable(&error);
                self.writers.note_trouble(&error);
            }
            // The new table comes with the old one's end.
            MetadataEvent::TableReplaced { .. } => {}
        }
    }

    fn on_table_gone(&mut self, cx: &mut Cx<'_>, id: TableId, error: &Error) {
        self.opened.remove(&id);
        self.end_table(cx, id, error);
        self.writers.handle_table_gone(id, error);
    }

    /// A table cannot be described. What metadata never saw of it was dropped before, or must not
    /// be seen; a server in trouble says neither.
    fn on_table_failed(&mut self, cx: &mut Cx<'_>, path: &TablePath, error: &Error) {
        let code = error.code();
        let trouble =
            code.is_some_and(|c| c == ErrorCode::UNKNOWN_SERVER_ERROR || c.info().is_none());
        let cluster = Arc::clone(self.metadata.cluster());
        let unseen = |(id, at): (&TableId, &TablePath)| {
            (at == path && cluster.table_by_id(*id).is_none()).then_some(*id)
        };
        let unseen: Vec<TableId> = self.opened.iter().filter_map(unseen).collect();
        for id in unseen {
            match code {
                _ if trouble => {}
                Some(ErrorCode::TABLE_NOT_EXIST | ErrorCode::DATABASE_NOT_EXIST) => {
                    self.on_table_gone(cx, id, error);
                }
                // Whoever comes later may see it.
                _ => self.end_table(cx, id, error),
            }
        }
        self.ask_again();
    }

    /// Something could not be looked up: who waits for a leader asks again.
    fn ask_again(&mut self) {
        let cluster = Arc::clone(self.metadata.cluster());
        self.writers.ask_again();
        self.scanners.handle_metadata(&*cluster);
        self.lookups.handle_metadata(&*cluster);
        self.commands.handle_metadata(&cluster);
    }

    /// Ends everything that needs this table.
    fn end_table(&mut self, cx: &mut Cx<'_>, id: TableId, error: &Error) {
        self.writers.handle_gone(cx, |b| b.table == id, error);
        self.scanners.handle_gone(|b| b.table == id, error);
        self.lookups.handle_gone(|b| b.table == id, error);
        self.commands.handle_gone(|b| b.table == id, error);
    }

    /// The leader of a bucket is needed. A table that was just opened may not be known to metadata
    /// yet, which is no sign that it was dropped.
    fn want_leader(&mut self, cx: &mut Cx<'_>, bucket: BucketKey, stale_epoch: Option<i32>) {
        let cluster = self.metadata.cluster();
        if cluster.table_by_id(bucket.table).is_none()
            && let Some(path) = self.opened.get(&bucket.table)
            && cluster.table(path).is_none()
        {
            self.metadata.want_table(cx, path);
        } else {
            self.metadata.want_leader(cx, bucket, stale_epoch);
        }
    }

    fn drain_writers(&mut self, cx: &mut Cx<'_>) -> bool {
        let connections = &self.connections;
        self.writers.update(cx, self.metadata.cluster(), |server| connections.conn_of(server));
        let mut busy = false;
        while let Some(wish) = self.writers.poll_wish() {
            busy = true;
            match wish {
                Wish::Flush(server) => drop(self.connections.want_flush(cx, server)),
                Wish::Leader(bucket) => self.want_leader(cx, bucket, None),
                Wish::Refresh(bucket, epoch) => self.want_leader(cx, bucket, epoch),
                Wish::CloseConnection(conn, reason) => self.connections.close(cx, conn, reason),
                Wish::WriterId(writer) => drop(self.nameless.insert(writer)),
                Wish::Partition(path, name) => self.metadata.want_partition(cx, &path, &name),
                Wish::Table(path) => self.metadata.want_table(cx, &path),
            }
        }
        let commands = &mut self.commands;
        while self.writers.poll_call(cx, |call| commands.start(cx, call)) {
            busy = true;
        }
        busy |= self.drain_nameless(cx);
        while let Some(event) = self.writers.poll_event() {
            busy = true;
            self.events.push_back(event);
        }
        busy
    }

    /// Writer ids come from tablet servers only, and a bootstrap address may be the coordinator's:
    /// the question waits until a tablet server is known.
    fn drain_nameless(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.nameless.is_empty() {
            return false;
        }
        let Some(server) = self.metadata.known_tablet(cx) else {
            self.metadata.want_servers(cx);
            return false;
        };
        for writer in std::mem::take(&mut self.nameless) {
            if let Some(request) = self.writers.init_writer_request(cx, writer) {
                self.connections.enqueue(cx, server, request);
            }
        }
        true
    }

    fn drain_readers(&mut self, cx: &mut Cx<'_>) -> bool {
        let cluster = &**self.metadata.cluster();
        self.scanners.update(cx, cluster);
        self.lookups.update(cx, cluster);
        let mut busy = false;
        while let Some(wish) = self.scanners.poll_wish().or_else(|| self.lookups.poll_wish()) {
            busy = true;
            match wish {
                ReadWish::Flush(server) => {
                    if !self.connections.want_flush(cx, server) {
                        self.on_absent(cx, server);
                    }
                }
                ReadWish::Leader(bucket) => self.want_leader(cx, bucket, None),
            }
        }
        let commands = &mut self.commands;
        while self.scanners.poll_call(cx, |call| commands.start(cx, call)) {
            busy = true;
        }
        while let Some(event) = self.scanners.poll_event() {
            busy = true;
            self.events.push_back(event);
        }
        busy | self.lookups.move_events(&mut self.events)
    }

    fn drain_commands(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut busy = false;
        while let Some(out) = self.commands.poll_request(cx, &mut self.metadata) {
            busy = true;
            match out {
                Ok((server, request)) => self.connections.enqueue(cx, server, request),
                Err(bucket) => self.want_leader(cx, bucket, None),
            }
        }
        while let Some(event) = self.commands.poll_event() {
            busy = true;
            match event {
                Event::CommandDone { command, result } if self.writers.owns_call(command) => {
                    self.writers.handle_call(cx, command, result);
                }
                Event::CommandDone { command, result } if self.scanners.owns_call(command) => {
                    self.scanners.handle_call(cx, result);
                }
                event => self.events.push_back(event),
            }
        }
        busy
    }

    fn check_close(&mut self, cx: &mut Cx<'_>) {
        if let Closing::Draining { until } = self.closing
            && (self.writers.unfinished() == 0 || cx.now >= until)
        {
            self.end(cx);
        }
    }
}
