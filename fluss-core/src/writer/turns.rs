//! Which writers have something to do: the work of a step must not grow with those that have not.

use super::sender::Wishes;
use super::{Wish, Writer, WriterKind, Writers, requests};
use crate::cx::Cx;
use crate::ids::{ConnId, ServerId, WriterKey};
use crate::metadata::Cluster;
use crate::output::TimerReason;

impl WriterKind {
    /// The number of columns that its requests name.
    fn targets(&self) -> usize {
        match self {
            Self::Upsert { target_columns: Some(columns), .. } => columns.len(),
            _ => 0,
        }
    }
}

impl Writers {
    /// A writer that is about to change, so that the next update looks at it.
    pub(super) fn changing(&mut self, key: WriterKey) -> Option<&mut Writer> {
        let writer = self.writers.get_mut(&key)?;
        self.changed.insert(key);
        Some(writer)
    }

    /// A connection can take bytes: builds the next request for it.
    pub(crate) fn poll_request(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        conn: ConnId,
    ) -> Option<requests::Draft> {
        while let Some(key) = self.next_in_turn(server) {
            self.turn = key.0 + 1;
            let Some(writer) = self.changing(key).filter(|w| w.sender.has_ready(server)) else {
                self.leave(server, key);
                continue;
            };
            let (most, more) = (writer.config.request_bytes, writer.config.batch_bytes);
            let targets = writer.kind.targets();
            let (mut table, mut size, mut entries) = (None, 0_usize, Vec::new());
            loop {
                let limit = most.min(cx.config.room_for(entries.len() + 1, targets));
                // The first one goes in any case, also if it is larger than a request should be.
                let room = match entries.is_empty() {
                    true => usize::MAX,
                    false if size.saturating_add(more) > limit => break,
                    false => limit - size,
                };
                let Some(writer) = self.writers.get_mut(&key) else { break };
                let target = (server, conn);
                match writer.sender.take(cx, target, room, &mut table, &self.accumulator) {
                    Some(entry) => {
                        size += entry.sealed.size();
                        entries.push(entry);
                    }
                    None => break,
                }
            }
            if let (Some(table), false) = (table, entries.is_empty())
                && let Some(writer) = self.writers.get(&key)
            {
                let owner = (key, writer);
                let draft = self.requests.begin(owner, (server, conn), cx.now, table, entries);
                self.note_server(conn, server);
                return Some(draft);
            }
        }
        None
    }

    /// The writer whose turn it is among those in line for a server.
    fn next_in_turn(&self, server: ServerId) -> Option<WriterKey> {
        let line = self.ready.get(&server)?;
        line.range(WriterKey(self.turn)..).next().or_else(|| line.first()).copied()
    }

    fn leave(&mut self, server: ServerId, key: WriterKey) {
        if let Some(line) = self.ready.get_mut(&server) {
            line.remove(&key);
        }
    }

    /// Looks at all buckets that changed. To be called after every round of inputs.
    pub(crate) fn update(
        &mut self,
        cx: &mut Cx<'_>,
        cluster: &Cluster,
        conn_of: impl Fn(ServerId) -> Option<ConnId>,
    ) {
        self.now = cx.now;
        self.settle_partitions(cx, cluster);
        while let Some(key) = self.changed.pop_first() {
            let Some(writer) = self.writers.get_mut(&key) else { continue };
            let mut out = Wishes::default();
            writer.sender.update(cx, cluster, &conn_of, &mut out);
            for server in out.servers {
                self.ready.entry(server).or_default().insert(key);
                self.wishes.push_back(Wish::Flush(server));
            }
            self.wishes.extend(out.leaders.into_iter().map(Wish::Leader));
            self.settle(key);
            self.rearm(key);
        }
    }

    /// Registers when a writer must be looked at next.
    fn rearm(&mut self, key: WriterKey) {
        let Some(writer) = self.writers.get_mut(&key) else { return };
        let retry = writer.sender.next_timer().map(|at| (at, TimerReason::Retry));
        let next = [retry, writer.sender.manager.poll_timeout()].into_iter().flatten().min();
        let old = std::mem::replace(&mut writer.timer, next);
        if old != next {
            if let Some((at, reason)) = old {
                self.timers.remove(&(at, reason, key));
            }
            self.timers.extend(next.map(|(at, reason)| (at, reason, key)));
        }
    }
}
