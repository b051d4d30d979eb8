//! The leaders as the client was told of them, so that no copy goes to one of the past.

use super::Seen;
use crate::ids::ServerId;

impl Seen {
    /// Who leads, as nobody said otherwise since.
    pub(super) fn leader(&self) -> Option<ServerId> {
        self.leader.map(|(server, _)| server)
    }

    /// Takes the leader as the client has it now; false if that is older than what it had.
    #[inline]
    pub(super) fn learn_leader(&mut self, now: Option<(ServerId, Option<i32>)>) -> bool {
        if self.leader == now {
            return true;
        }
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
