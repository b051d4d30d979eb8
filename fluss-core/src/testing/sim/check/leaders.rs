//! That no copy goes to a leader of the past.

use super::super::wire::Copy;
use super::{Checker, Seen};
use crate::ids::ServerId;

impl Seen {
    /// Takes the leader as the client has it now; false if that is older than what it had.
    pub(super) fn learn_leader(&mut self, now: Option<(ServerId, Option<i32>)>) -> bool {
        let Some((_, epoch)) = now else { return true };
        let known = self.leader.and_then(|(_, epoch)| epoch);
        if epoch.is_some() && epoch < known {
            return false;
        }
        // Servers that tell no epoch tell who leads all the same.
        self.leader = now.map(|(server, _)| (server, epoch.or(known)));
        true
    }
}

impl Checker {
    /// A copy leaves for this server: nobody said after it did that another one leads.
    pub(super) fn check_leader(&mut self, copy: &Copy, server: ServerId) {
        let Some(batch) = self.batches.get(copy.payload as usize) else { return };
        let seen = self.seen.get(&(batch.writer, copy.bucket));
        let leader = seen.and_then(|seen| seen.leader);
        let leads = leader.is_none_or(|(leader, _)| leader == server);
        self.rule("R22", leads, || format!("to {server}, {leader:?} leads: {copy:?}"));
    }
}
