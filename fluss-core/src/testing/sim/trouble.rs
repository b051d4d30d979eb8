//! What happens to servers, tables and machines at the times of the plan.

use crate::ids::{BucketKey, ServerId};
use crate::time::Duration;

use super::plan::{EXPIRY, Trouble};
use super::stats::Oddity;
use super::world::{Due, World};

/// Sequences left before the last one, after a skip.
const LEFT: u64 = 4;

impl World {
    /// The next trouble of the plan.
    pub(super) fn trouble(&mut self) {
        let next = self.plan.troubles.get(self.next_trouble).copied();
        // A pause may bring the end of all faults forward.
        let Some((_, trouble)) = next.filter(|_| !self.healed) else { return };
        self.next_trouble += 1;
        self.watch.note(self.now, || format!("trouble: {trouble:?}"));
        self.strike(trouble);
        if let Some((at, _)) = self.plan.troubles.get(self.next_trouble) {
            let at = (*at).max(self.now);
            self.at(at, Due::Trouble);
        }
    }

    fn any_bucket(&mut self) -> Option<BucketKey> {
        let table = self.rng.below(self.tables.len() as u64) as usize;
        let table = self.cluster.table_id(&self.tables[table].path)?;
        let buckets: Vec<BucketKey> = self.cluster.buckets(table).collect();
        Some(buckets[self.rng.below(buckets.len() as u64) as usize])
    }

    fn any_server(&mut self) -> ServerId {
        // Tablet servers mostly; the coordinator is the last number.
        let tablets = u64::from(self.plan.cluster.tablet_servers);
        match self.rng.below(4 * tablets + 1) / 4 {
            server if server < tablets => ServerId::Tablet(server as i32),
            _ => ServerId::Coordinator,
        }
    }

    fn strike(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Move => {
                let Some(bucket) = self.any_bucket() else { return };
                if self.move_leader(bucket) {
                    self.seed.count(Oddity::Move);
                }
            }
            Trouble::FailOver => self.fail_over(),
            Trouble::Restart { clean, down } => self.restart(clean, down),
            Trouble::ShrinkInSync(time) => {
                let Some(bucket) = self.any_bucket() else { return };
                self.cluster.set_in_sync(bucket, 0);
                self.seed.count(Oddity::ShrinkInSync);
                self.after(time, Due::InSync(bucket));
            }
            Trouble::CutAll => {
                let server = self.any_server();
                self.cluster.cut_connections(Some(server));
                self.seed.count(Oddity::CutAll);
            }
            Trouble::Reset => {
                if let Some(link) = self.any_link() {
                    self.seed.count(Oddity::Reset);
                    self.break_off(link);
                }
            }
            Trouble::Silence => {
                let server = self.any_server();
                if !self.links_of(server).is_empty() {
                    self.seed.count(Oddity::Silence);
                    self.cluster.silence(server);
                }
            }
            Trouble::Recreate => {
                let table = self.rng.below(self.tables.len() as u64) as usize;
                let id = self.cluster.table_id(&self.tables[table].path);
                if id.is_some_and(|id| self.cluster.recreate_table(id)) {
                    self.seed.count(Oddity::Recreate);
                }
            }
            Trouble::Drop(time) => {
                let table = self.rng.below(self.tables.len() as u64) as usize;
                let path = self.tables[table].path.clone();
                if self.cluster.remove_table_at(&path) {
                    self.seed.count(Oddity::Drop);
                    self.after(time, Due::Restore(table));
                }
            }
            Trouble::Jump(time) => {
                self.seed.count(Oddity::Jump);
                self.check.paused += time;
                self.now = self.later(time);
            }
            Trouble::Idle | Trouble::SkipSequences => {
                self.silence_wanted = Some((trouble, 40));
                self.is_silence_wanted();
            }
            Trouble::LoseAcknowledged => self.lose_acknowledged(),
        }
    }

    fn move_leader(&mut self, bucket: BucketKey) -> bool {
        let moved = self.cluster.move_leader(bucket, None).is_some();
        if moved && !self.plan.cluster.metadata_lag.is_zero() {
            self.seed.count(Oddity::StaleMetadata);
        }
        moved
    }

    fn fail_over(&mut self) {
        let Some(bucket) = self.any_bucket() else { return };
        if self.move_leader(bucket) {
            self.seed.count(Oddity::FailOver);
            self.forget_unreplicated(bucket);
        }
    }

    fn forget_unreplicated(&mut self, bucket: BucketKey) {
        self.see_appends();
        let Some(truth) = self.cluster.truth(bucket) else { return };
        if truth.high_watermark < truth.log_end {
            self.seed.count(Oddity::Truncated);
            self.cluster.truncate_log(bucket, truth.high_watermark);
            if self.check.truncated(bucket, truth.high_watermark, false) {
                self.seed.count(Oddity::LostByLeader);
            }
        }
    }

    fn restart(&mut self, clean: bool, down: Duration) {
        let server = self.any_server();
        self.cluster.restart(server, clean);
        self.seed.count(if clean { Oddity::RestartClean } else { Oddity::RestartUnclean });
        if !clean && let ServerId::Tablet(id) = server {
            for table in 0..self.tables.len() {
                let Some(table) = self.cluster.table_id(&self.tables[table].path) else { continue };
                let buckets: Vec<BucketKey> = self.cluster.buckets(table).collect();
                for bucket in buckets {
                    if self.cluster.truth(bucket).is_some_and(|truth| truth.leader == id) {
                        self.forget_unreplicated(bucket);
                    }
                }
            }
        }
        if !down.is_zero() {
            self.cluster.stop(server);
            self.after(down, Due::Start(server));
        }
    }

    /// Whether the application still waits for a moment in which nothing is under way; what needs
    /// that moment happens when it comes.
    pub(super) fn is_silence_wanted(&mut self) -> bool {
        let Some((trouble, tries)) = self.silence_wanted.take() else { return false };
        if self.is_idle() {
            match trouble {
                Trouble::SkipSequences => self.skip_sequences(),
                _ => self.idle(),
            }
            return false;
        }
        self.silence_wanted = (tries > 0).then(|| (trouble, tries - 1));
        tries > 0
    }

    /// Silence for so long that servers forget writers; only when nothing is under way, as copies
    /// must not outlive the writers' state.
    fn idle(&mut self) {
        self.seed.count(Oddity::Idle);
        self.now = self.later(EXPIRY + Duration::from_secs(30));
    }

    /// Billions of batches at once; only when nothing is under way, as no copy lives that long.
    fn skip_sequences(&mut self) {
        let mut sessions = Vec::new();
        self.client.look_inside(|writer, _, window| {
            if let Some((id, floor)) = window.session.filter(|_| window.slots == 0)
                && floor > 0
                && floor < 1 << 30
            {
                sessions.push((writer, window.bucket, id));
            }
        });
        if sessions.is_empty() {
            return;
        }
        let (writer, bucket, id) = sessions[self.rng.below(sessions.len() as u64) as usize];
        let next = i32::MAX - self.rng.below(LEFT) as i32;
        if self.client.skip_sequences(writer, bucket, next) {
            self.cluster.skip_sequences(bucket, id, next - 1);
            self.seed.count(Oddity::SkipSequences);
            self.check.skipped(writer, bucket, id, next);
        }
    }

    fn lose_acknowledged(&mut self) {
        self.see_appends();
        let Some(bucket) = self.any_bucket() else { return };
        let Some(last) = self.cluster.log(bucket).last() else { return };
        self.seed.count(Oddity::LostAcknowledged);
        self.cluster.truncate_log(bucket, last.base_offset);
        self.check.truncated(bucket, last.base_offset, true);
    }

    /// What leaders took so far is known before their logs are cut.
    fn see_appends(&mut self) {
        while let Some(append) = self.cluster.poll_append() {
            self.check.appended(&append);
        }
    }
}
