//! What happens to servers: leaders move, servers stop, restart and change their addresses.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::catalog::{Bucket, Leader};
use super::write::tablet;
use super::{FakeCluster, Fault};
use crate::ids::{BucketKey, ConnId, ServerId, TableId, TablePath};

impl FakeCluster {
    /// Gives a bucket another leader and returns it: if none is named, the next server in turn, or
    /// with a [`replica_timeout`](super::ClusterOptions::replica_timeout) the first follower that
    /// is in sync and up. Held writes of the old leader are answered with 12; for
    /// [`metadata_lag`](super::ClusterOptions::metadata_lag) all servers but the new leader go on
    /// naming the old one. `None` if there is no such bucket or no other server is up.
    pub fn move_leader(&mut self, key: BucketKey, to: Option<i32>) -> Option<i32> {
        let up: Vec<i32> = self
            .servers
            .iter()
            .filter(|(id, server)| server.up && matches!(id, ServerId::Tablet(_)))
            .map(|(id, _)| tablet(*id))
            .collect();
        let now = self.now;
        let lag = self.options.metadata_lag;
        let bucket = self.catalog.buckets.get(&key)?;
        let old = bucket.leader;
        let follower = bucket
            .replicas
            .iter()
            .copied()
            .find(|&id| id != old.server && bucket.in_sync.contains(&id) && self.follows(id));
        let follower = follower.filter(|_| self.options.replica_timeout.is_some());
        let lost = !self.follows(old.server);
        let next = up.iter().copied().find(|&id| id > old.server);
        let server = to
            .filter(|id| up.contains(id))
            .or(follower)
            .or(next)
            .or(up.first().copied())
            .filter(|&id| id != old.server)?;
        let bucket = self.catalog.buckets.get_mut(&key)?;
        // A test may say that nobody is in sync, and not mean the next leader to be.
        let nobody = bucket.in_sync.is_empty();
        bucket.leader = Leader { server, epoch: old.epoch + 1 };
        bucket.leads_from = bucket.log.end;
        if self.options.replica_timeout.is_some() {
            bucket.log.change_leader(old.server, server);
        }
        bucket.stale = (!lag.is_zero()).then(|| (old, now + lag));
        if !bucket.replicas.contains(&server) {
            bucket.replicas.retain(|&id| id != old.server);
            bucket.in_sync.retain(|&id| id != old.server);
            bucket.replicas.insert(0, server);
        }
        if !nobody {
            bucket.in_sync.insert(server);
        }
        if lost {
            bucket.in_sync.remove(&old.server);
            bucket.log.roll_follower(old.server);
        }
        self.settle_writes();
        Some(server)
    }

    /// Moves every leader that this server has to other servers.
    pub fn move_leaders_away(&mut self, server: i32) {
        let led: Vec<BucketKey> = self
            .catalog
            .buckets
            .iter()
            .filter(|(_, bucket)| bucket.leader.server == server)
            .map(|(key, _)| *key)
            .collect();
        for key in led {
            self.move_leader(key, None);
        }
    }

    /// Stops and starts a server at once. Its connections are cut and what waited there is lost.
    /// After a clean stop each writer's last sequence is remembered, after an unclean one the last
    /// five, learnt from the log.
    pub fn restart(&mut self, server: ServerId, clean: bool) {
        self.halt(server, clean);
        for bucket in self.catalog.buckets.values_mut() {
            if ServerId::Tablet(bucket.leader.server) != server {
                continue;
            }
            if clean {
                bucket.log.writers.shrink();
            } else if !self.options.ack_only {
                bucket.log.rebuild();
                bucket.log.roll();
            }
            bucket.leads_from = bucket.log.end;
            // One epoch without a leader, one with the old one again.
            bucket.leader.epoch += 2;
        }
        self.start(server);
    }

    /// Kills a server: its connections are cut, new ones are refused, its leaders stay its own. Its
    /// followers stay in sync for [`replica_timeout`](super::ClusterOptions::replica_timeout).
    pub fn stop(&mut self, server: ServerId) {
        self.halt(server, false);
    }

    fn halt(&mut self, server: ServerId, clean: bool) {
        if let Some(entry) = self.servers.get_mut(&server) {
            entry.up = false;
        }
        let conns: Vec<ConnId> = self.conns_of(server).collect();
        for conn in conns {
            if let Some(state) = self.conns.get_mut(&conn) {
                state.queue.clear();
            }
            self.cut(conn);
        }
        if let ServerId::Tablet(id) = server {
            self.forget_writes_of(id);
            self.forget_polls_of(id);
            self.sessions.forget(id);
            let followed =
                |bucket: &&mut Bucket| bucket.leader.server != id && bucket.replicas.contains(&id);
            if !clean && self.options.replica_timeout.is_some() {
                let buckets = self.catalog.buckets.values_mut().filter(followed);
                buckets.for_each(|bucket| bucket.log.roll_follower(id));
            }
            self.miss(id);
        }
    }

    /// Starts a stopped server.
    pub fn start(&mut self, server: ServerId) {
        if let Some(entry) = self.servers.get_mut(&server) {
            entry.up = true;
        }
        if let ServerId::Tablet(id) = server {
            self.rejoin(id);
        }
    }

    /// Cuts all connections to a server, or to all servers.
    pub fn cut_connections(&mut self, server: Option<ServerId>) {
        let conns: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, conn)| server.is_none_or(|server| conn.server == server))
            .map(|(id, _)| *id)
            .collect();
        for conn in conns {
            self.cut(conn);
        }
    }

    /// Lets these users in with these passwords, or everybody if there are none; connections that
    /// there are stay as they are.
    pub fn set_users(&mut self, users: Vec<(String, String)>) {
        self.options.users = users;
    }

    /// Makes a server, on all connections it has now, read everything and answer nothing.
    pub fn silence(&mut self, server: ServerId) {
        for conn in self.conns.values_mut().filter(|conn| conn.server == server) {
            conn.silent = true;
        }
        self.faults.fired(Fault::Silence);
    }

    /// Connections to this server that the server has not given up.
    pub fn conns_of(&self, server: ServerId) -> impl Iterator<Item = ConnId> + '_ {
        let of = move |(id, conn): (&ConnId, &super::Conn)| {
            (conn.server == server && !conn.closing).then_some(*id)
        };
        self.conns.iter().filter_map(of)
    }

    /// Forgets the writers of a bucket, as after a long silence; false without such a bucket.
    pub fn expire_writers(&mut self, key: BucketKey) -> bool {
        let Some(bucket) = self.catalog.buckets.get_mut(&key) else { return false };
        bucket.log.writers.clear();
        true
    }

    /// Cuts the log of a bucket at `end` and learns its writers anew: an unclean leader with less
    /// than its predecessor. Acknowledged rows may be lost that way.
    pub fn truncate_log(&mut self, key: BucketKey, end: i64) {
        if let Some(bucket) = self.catalog.buckets.get_mut(&key) {
            bucket.log.truncate(end);
            if let Some(kv) = &mut bucket.kv {
                kv.take_back(bucket.log.end);
            }
        }
    }

    /// Damages the stored batch that holds this offset: a bit of its last byte. False if there is
    /// none.
    pub fn damage_log(&mut self, key: BucketKey, offset: i64) -> bool {
        let Some(bucket) = self.catalog.buckets.get_mut(&key) else { return false };
        let at = bucket.log.index_of(offset);
        let Some(entry) = bucket.log.entries.get_mut(at) else { return false };
        let mut bytes = entry.batch.bytes.to_vec();
        let Some(last) = bytes.last_mut() else { return false };
        *last ^= 1;
        entry.batch.bytes = bytes.into();
        true
    }

    /// From now on whoever reads this bucket, its log or its rows, is sent these bytes, whatever is
    /// stored; offsets and high watermark stay those of its log.
    pub fn forge_records(&mut self, key: BucketKey, bytes: Bytes) {
        self.forged.insert(key, bytes);
    }

    /// Drops the table with this id and makes it again, empty, under another id, with partitions
    /// of the same names; false without such a table.
    pub fn recreate_table(&mut self, table: TableId) -> bool {
        let Some(path) = self.catalog.paths.get(&table.0).cloned() else { return false };
        let Some(old) = self.remove_table(&path) else { return false };
        let names: BTreeSet<String> = old.partitions.keys().cloned().collect();
        let id = self.insert_table(old);
        for name in names {
            self.insert_partition(&path, name);
        }
        id >= 0
    }

    /// Drops the table at this path; false without one.
    pub fn remove_table_at(&mut self, path: &TablePath) -> bool {
        self.remove_table(path).is_some()
    }

    /// Lets the log of a bucket begin at this offset, as when what came before has expired;
    /// segments in remote storage that end before it are gone.
    pub fn expire_log(&mut self, key: BucketKey, start: i64) {
        if let Some(bucket) = self.catalog.buckets.get_mut(&key) {
            let start = start.min(bucket.log.high_watermark).max(bucket.log.start);
            bucket.log.start = start;
            bucket.log.moved.retain(|segment| segment.end > start);
        }
    }

    /// Lets a writer's last batch in a bucket have had this sequence, as if it had written that
    /// many before; false for a writer the bucket does not know.
    pub fn skip_sequences(&mut self, key: BucketKey, writer_id: i64, last: i32) -> bool {
        let bucket = self.catalog.buckets.get_mut(&key);
        bucket.is_some_and(|bucket| bucket.log.writers.skip(writer_id, last))
    }

    /// The id of a table; it changes when the table is made again.
    #[must_use]
    pub fn table_id(&self, path: &TablePath) -> Option<TableId> {
        self.catalog.tables.get(path).map(|table| TableId(table.id))
    }
}
