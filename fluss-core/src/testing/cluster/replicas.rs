//! Followers: who of them is in sync, and how far the high watermark goes.
//!
//! A follower has what its leader has, [`replication_delay`](super::ClusterOptions) later, unless
//! its server is down or has been told not to follow. Then the high watermark of its buckets stands
//! still until it is no longer in sync, for which
//! [`replica_timeout`](super::ClusterOptions::replica_timeout) has to go by. Without that setting
//! followers are a number that only [`set_in_sync`](FakeCluster::set_in_sync) changes.

use super::{FakeCluster, Timer};
use crate::ids::{BucketKey, ServerId};

impl FakeCluster {
    /// Lets the replicas on this tablet server fetch nothing more from their leaders, like those of
    /// a frozen process. The server still answers requests.
    pub fn stop_following(&mut self, server: i32) {
        if let Some(entry) = self.servers.get_mut(&ServerId::Tablet(server)) {
            entry.idle = true;
            self.miss(server);
        }
    }

    /// Ends [`stop_following`](Self::stop_following): the replicas catch up and are in sync again.
    pub fn follow_again(&mut self, server: i32) {
        if let Some(entry) = self.servers.get_mut(&ServerId::Tablet(server)) {
            entry.idle = false;
            self.rejoin(server);
        }
    }

    /// Says how many replicas of a bucket are in sync, the leader's first. Fewer than
    /// [`min_in_sync`](super::ClusterOptions::min_in_sync) stop the high watermark.
    pub fn set_in_sync(&mut self, key: BucketKey, count: usize) {
        let Some(bucket) = self.catalog.buckets.get_mut(&key) else { return };
        let leader = bucket.leader.server;
        let others = bucket.replicas.iter().copied().filter(|id| *id != leader);
        bucket.in_sync = std::iter::once(leader).chain(others).take(count).collect();
        self.catch_up(key);
    }

    /// A tablet server has gone down or has stopped following.
    pub(super) fn miss(&mut self, server: i32) {
        let Some(timeout) = self.options.replica_timeout else { return };
        if timeout.is_zero() {
            return self.leave(server);
        }
        let until = self.now + timeout;
        if let Some(entry) = self.servers.get_mut(&ServerId::Tablet(server)) {
            entry.missed_at.get_or_insert(until);
            self.set_timer(until, Timer::Missed(server));
        }
    }

    /// A tablet server may have been away for too long.
    pub(super) fn missed(&mut self, server: i32) {
        let missed_at = self.servers.get(&ServerId::Tablet(server)).and_then(|s| s.missed_at);
        if missed_at.is_some_and(|at| at <= self.now) {
            self.leave(server);
        }
    }

    /// The followers on this tablet server are not in sync any more.
    fn leave(&mut self, server: i32) {
        self.change_in_sync(server, |in_sync| in_sync.remove(&server));
    }

    /// A tablet server is back: its followers catch up where there is a leader.
    pub(super) fn rejoin(&mut self, server: i32) {
        if self.options.replica_timeout.is_none() || !self.follows(server) {
            return;
        }
        if let Some(entry) = self.servers.get_mut(&ServerId::Tablet(server)) {
            entry.missed_at = None;
        }
        self.change_in_sync(server, |in_sync| in_sync.insert(server));
    }

    fn change_in_sync(
        &mut self,
        server: i32,
        mut change: impl FnMut(&mut std::collections::BTreeSet<i32>) -> bool,
    ) {
        let mut changed = Vec::new();
        for (key, bucket) in &mut self.catalog.buckets {
            let leader = bucket.leader.server;
            let led = self.servers.get(&ServerId::Tablet(leader)).is_some_and(|s| s.up);
            if led && leader != server && bucket.replicas.contains(&server) {
                change(&mut bucket.in_sync);
                changed.push(*key);
            }
        }
        changed.into_iter().for_each(|key| self.catch_up(key));
    }

    /// Whether the replicas on this tablet server fetch from their leaders.
    pub(super) fn follows(&self, server: i32) -> bool {
        self.options.replica_timeout.is_none() || self.is_following(server)
    }

    fn is_following(&self, server: i32) -> bool {
        self.servers.get(&ServerId::Tablet(server)).is_some_and(|server| server.up && !server.idle)
    }

    /// The in-sync followers that are there have all there is.
    pub(super) fn catch_up(&mut self, key: BucketKey) {
        if let Some(end) = self.catalog.buckets.get(&key).map(|bucket| bucket.log.end) {
            self.replicated(key, end);
        }
    }

    /// Moves the high watermark after an append, at once or when the followers have it.
    pub(super) fn advance(&mut self, key: BucketKey) {
        let Some(bucket) = self.catalog.buckets.get(&key) else { return };
        let end = bucket.log.end;
        if self.options.replication_delay.is_zero() {
            self.replicated(key, end);
        } else {
            self.set_timer(self.now + self.options.replication_delay, Timer::Replicated(key, end));
        }
    }

    /// The followers that follow have everything below `offset`.
    pub(super) fn replicated(&mut self, key: BucketKey, offset: i64) {
        let Some(bucket) = self.catalog.buckets.get(&key) else { return };
        let offset = offset.min(bucket.log.end);
        let leader = bucket.leader.server;
        let enough = bucket.in_sync.len() >= self.options.min_in_sync;
        let all = bucket.in_sync.iter().all(|id| *id == leader || self.follows(*id));
        if !enough || !all || bucket.log.high_watermark >= offset {
            return;
        }
        if let Some(bucket) = self.catalog.buckets.get_mut(&key) {
            bucket.log.high_watermark = offset;
            if let Some(kv) = &mut bucket.kv {
                kv.show(offset);
            }
        }
        if !self.held_writes.is_empty() {
            self.settle_writes();
        }
        if !self.polls.is_empty() {
            self.wake_polls(key);
        }
    }
}
