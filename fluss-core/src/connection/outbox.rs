//! Small requests that wait for a usable connection to one server.

use std::collections::{BTreeMap, BTreeSet};

use super::request::Outgoing;
use crate::time::Instant;

/// A request of which no byte was handed to a socket.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) out: Outgoing,
    /// When it was handed in.
    pub(crate) since: Instant,
}

/// A queue in order of arrival, with an eye on deadlines.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: BTreeMap<u64, Waiting>,
    deadlines: BTreeSet<(Instant, u64)>,
    next: u64,
}

impl Outbox {
    pub(crate) fn push(&mut self, out: Outgoing, since: Instant) {
        self.deadlines.insert((out.deadline, self.next));
        self.waiting.insert(self.next, Waiting { out, since });
        self.next += 1;
    }

    /// Takes the request that has waited longest.
    pub(crate) fn pop(&mut self) -> Option<Waiting> {
        let (number, waiting) = self.waiting.pop_first()?;
        self.deadlines.remove(&(waiting.out.deadline, number));
        Some(waiting)
    }

    /// Takes one request whose deadline has passed.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<Waiting> {
        let (deadline, number) = *self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.deadlines.pop_first();
        self.waiting.remove(&number)
    }

    /// Takes all requests for which `wanted` holds, in order.
    pub(crate) fn take_if(&mut self, wanted: impl Fn(&Outgoing) -> bool) -> Vec<Waiting> {
        let numbers: Vec<u64> =
            self.waiting.iter().filter(|(_, w)| wanted(&w.out)).map(|(n, _)| *n).collect();
        let mut taken = Vec::with_capacity(numbers.len());
        for number in numbers {
            if let Some(waiting) = self.waiting.remove(&number) {
                self.deadlines.remove(&(waiting.out.deadline, number));
                taken.push(waiting);
            }
        }
        taken
    }

    pub(crate) fn first_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fluss_proto::ApiKey;

    use super::*;
    use crate::connection::request::Owner;

    fn out(number: u64, deadline: u64) -> Outgoing {
        Outgoing {
            api: ApiKey::GetMetadata,
            body: Bytes::new(),
            owner: Owner::Lookup(number),
            deadline: Instant::from_millis(deadline),
        }
    }

    #[test]
    fn requests_leave_in_order_and_the_expired_ones_by_deadline() {
        let mut outbox = Outbox::default();
        for (number, deadline) in [(1, 50), (2, 10), (3, 20), (4, 40)] {
            outbox.push(out(number, deadline), Instant::ZERO);
        }
        let number = |w: Option<Waiting>| w.map(|w| w.out.owner);
        assert_eq!(number(outbox.pop()), Some(Owner::Lookup(1)));
        assert_eq!(number(outbox.pop_expired(Instant::from_millis(10))), Some(Owner::Lookup(2)));
        assert!(outbox.pop_expired(Instant::from_millis(19)).is_none());
        assert_eq!(outbox.take_if(|o| o.owner == Owner::Lookup(3)).len(), 1);
        assert_eq!(outbox.first_deadline(), Some(Instant::from_millis(40)));
        assert_eq!(number(outbox.pop()), Some(Owner::Lookup(4)));
        assert!(outbox.is_empty() && outbox.first_deadline().is_none());
    }
}
