//! The request table of one connection: who waits for which answer, and until when.

use std::collections::{BTreeMap, BTreeSet};

use fluss_proto::ApiKey;

use super::request::Owner;
use crate::time::Instant;

/// A request that was handed to the socket and has no answer yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) api: ApiKey,
    pub(crate) owner: Owner,
    pub(crate) deadline: Instant,
    /// When its owner asked for it, so that an error can say how long it waited.
    pub(crate) since: Instant,
    /// How many frames had arrived when it was sent; unchanged at its deadline, the server has
    /// been silent all the while.
    pub(crate) heard: u64,
}

/// The request table. Requests are kept by their serial number, of which the request id on the
/// wire is the lower half: ids wrap, serial numbers do not, so a late answer can never be taken
/// for the answer to a newer request of this connection.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    sent: BTreeMap<u64, Sent>,
    deadlines: BTreeSet<(Instant, u64)>,
    /// Requests whose deadline passed: their answers may still come, once each.
    late: BTreeSet<u64>,
    issued: u64,
}

/// Overdue requests that are remembered; what is older than that has no answer any more.
const KEPT_LATE: usize = 4096;

impl InFlight {
    /// An id for a message that is not a request of an owner (handshake).
    pub(crate) fn next_id(&mut self) -> i32 {
        let serial = self.issued;
        self.issued += 1;
        serial as u32 as i32
    }

    /// Registers a request that is being written now; returns its id.
    pub(crate) fn register(&mut self, sent: Sent) -> i32 {
        self.sent.insert(self.issued, sent);
        self.deadlines.insert((sent.deadline, self.issued));
        self.next_id()
    }

    /// Takes the request that this answer belongs to; None for late and for invented ids.
    pub(crate) fn answered(&mut self, id: i32) -> Option<Sent> {
        let serial = self.serial_of(id)?;
        let sent = self.sent.remove(&serial)?;
        self.deadlines.remove(&(sent.deadline, serial));
        Some(sent)
    }

    /// The youngest serial number with this id.
    fn serial_of(&self, id: i32) -> Option<u64> {
        let age = (self.issued as u32).wrapping_sub(id as u32);
        let age = if age == 0 { 1 << 32 } else { u64::from(age) };
        self.issued.checked_sub(age)
    }

    /// Whether an answer to nobody's request is one that came late; true once for each.
    pub(crate) fn came_late(&mut self, id: i32) -> bool {
        self.serial_of(id).is_some_and(|serial| self.late.remove(&serial))
    }

    /// Takes one request whose deadline has passed. Its answer, should it come, belongs to nobody.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<Sent> {
        let (deadline, serial) = *self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.deadlines.pop_first();
        self.late.insert(serial);
        if self.late.len() > KEPT_LATE {
            self.late.pop_first();
        }
        self.sent.remove(&serial)
    }

    pub(crate) fn first_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Takes all, in the order in which they were sent.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Sent> + use<> {
        self.deadlines.clear();
        std::mem::take(&mut self.sent).into_values()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(number: u64, deadline: u64) -> Sent {
        Sent {
            api: ApiKey::GetMetadata,
            owner: Owner::Write(number),
            deadline: Instant::from_millis(deadline),
            since: Instant::ZERO,
            heard: 0,
        }
    }

    #[test]
    fn an_answer_is_matched_once_and_invented_ids_never() {
        let mut table = InFlight::default();
        let a = table.register(sent(1, 10));
        let b = table.register(sent(2, 10));
        assert!(table.answered(b + 1).is_none());
        assert!(table.answered(-1).is_none());
        assert_eq!(table.answered(b).map(|s| s.owner), Some(Owner::Write(2)));
        assert!(table.answered(b).is_none());
        assert_eq!(table.answered(a).map(|s| s.owner), Some(Owner::Write(1)));
        assert!(table.is_empty() && table.first_deadline().is_none());
    }

    #[test]
    fn ids_wrap_into_negatives_and_an_old_answer_does_not_meet_a_new_request() {
        let mut table = InFlight { issued: 0x7fff_ffff, ..InFlight::default() };
        assert_eq!(table.register(sent(1, 10)), i32::MAX);
        assert_eq!(table.register(sent(2, 10)), i32::MIN);
        assert_eq!(table.answered(i32::MIN).map(|s| s.owner), Some(Owner::Write(2)));
        table.issued = 1 << 32;
        assert_eq!(table.register(sent(3, 10)), 0);
        assert_eq!(table.answered(0).map(|s| s.owner), Some(Owner::Write(3)));
        assert!(table.answered(1).is_none(), "id 1 of the first round is over");
        assert_eq!(table.answered(i32::MAX).map(|s| s.owner), Some(Owner::Write(1)));
    }

    #[test]
    fn expired_requests_leave_in_the_order_of_their_deadlines() {
        let mut table = InFlight::default();
        for (number, deadline) in [(1, 30), (2, 10), (3, 20)] {
            table.register(sent(number, deadline));
        }
        let now = Instant::from_millis(20);
        assert_eq!(table.pop_expired(now).map(|s| s.owner), Some(Owner::Write(2)));
        assert_eq!(table.pop_expired(now).map(|s| s.owner), Some(Owner::Write(3)));
        assert!(table.pop_expired(now).is_none());
        assert_eq!(
            [0, 1, 1, 2, 3].map(|id| table.came_late(id)),
            [false, true, false, true, false]
        );
        assert_eq!(table.drain().count(), 1);
        assert!(table.first_deadline().is_none());
    }
}
