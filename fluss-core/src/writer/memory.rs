//! The budget for rows handed in: byte counters and a queue of waiters, nothing allocated on behalf
//! of rows.
//!
//! Bytes are reserved in a small step when a batch opens, in growing steps while it fills,
//! corrected when it is sealed and released when it is done. Whoever does not get its bytes at once
//! waits in line; the first in line is served before anybody behind it, also before newcomers whose
//! smaller wish would fit, so nobody starves.

use std::collections::VecDeque;

/// A place in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(pub u64);

#[derive(Debug)]
struct Waiter {
    id: WaiterId,
    needed: u64,
}

/// The limiter.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: u64,
    used: u64,
    next_waiter: u64,
    waiting: VecDeque<Waiter>,
    /// Served waiters that have not claimed their bytes yet; the bytes count as used.
    granted: Vec<Waiter>,
    announced: VecDeque<WaiterId>,
    /// Broken on purpose: what is waited for counts as used.
    #[cfg(test)]
    pub(super) counts_line: bool,
    /// Broken on purpose: whoever is first in line is forgotten when its turn comes.
    #[cfg(test)]
    pub(super) forgets_first: bool,
}

impl Memory {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit,
            used: 0,
            next_waiter: 0,
            waiting: VecDeque::new(),
            granted: Vec::new(),
            announced: VecDeque::new(),
            #[cfg(test)]
            counts_line: false,
            #[cfg(test)]
            forgets_first: false,
        }
    }

    pub(crate) fn used(&self) -> u64 {
        #[cfg(test)]
        if self.counts_line {
            return self.used + self.waiting.iter().map(|w| w.needed).sum::<u64>();
        }
        self.used
    }

    /// Whether these bytes would leave half of the budget free.
    pub(crate) fn is_ample(&self, bytes: u64) -> bool {
        self.waiting.is_empty() && self.used.saturating_add(bytes) <= self.limit / 2
    }

    /// How many stand in line.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What the first in line waits for.
    pub(crate) fn first_wish(&self) -> Option<u64> {
        self.waiting.front().map(|w| w.needed)
    }

    /// Takes the bytes if nobody is in line and they fit.
    pub(crate) fn try_reserve(&mut self, bytes: u64) -> bool {
        let fits = self.waiting.is_empty() && self.fits(bytes);
        if fits {
            self.used += bytes;
        }
        fits
    }

    /// Stands in line. A wish above the limit is cut to it: it is served when nothing else is in
    /// use, which is the most that can be done for it.
    pub(crate) fn wait(&mut self, bytes: u64) -> WaiterId {
        let id = WaiterId(self.next_waiter);
        self.next_waiter += 1;
        self.waiting.push_back(Waiter { id, needed: bytes.min(self.limit) });
        self.serve();
        id
    }

    /// The bytes of a served waiter, which now belong to the caller; None while it waits.
    pub(crate) fn claim(&mut self, id: WaiterId) -> Option<u64> {
        let at = self.granted.iter().position(|w| w.id == id)?;
        Some(self.granted.swap_remove(at).needed)
    }

    /// Leaves the line, or gives served bytes back; unknown waiters are ignored.
    pub(crate) fn cancel(&mut self, id: WaiterId) {
        if let Some(bytes) = self.claim(id) {
            self.release(bytes);
            return;
        }
        self.waiting.retain(|w| w.id != id);
        // The one behind may fit where this one did not.
        self.serve();
    }

    pub(crate) fn release(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.used, "{bytes} released of {} in use", self.used);
        self.used = self.used.saturating_sub(bytes);
        self.serve();
    }

    /// Corrects a reservation that turned out larger or smaller. Growing never waits: the bytes
    /// exist already.
    pub(crate) fn correct(&mut self, reserved: u64, real: u64) {
        if real >= reserved {
            self.used += real - reserved;
        } else {
            self.release(reserved - real);
        }
    }

    /// Sends everybody away who stands in line: they are told as if they were served, and find out
    /// that nothing was.
    pub(crate) fn turn_away(&mut self) {
        self.announced.extend(self.waiting.drain(..).map(|waiter| waiter.id));
    }

    /// The next waiter that was served and not told yet.
    pub(crate) fn poll_granted(&mut self) -> Option<WaiterId> {
        self.announced.pop_front()
    }

    fn fits(&self, bytes: u64) -> bool {
        self.used.checked_add(bytes).is_some_and(|sum| sum <= self.limit)
    }

    fn serve(&mut self) {
        while self.waiting.front().is_some_and(|first| self.fits(first.needed)) {
            let Some(first) = self.waiting.pop_front() else { break };
            #[cfg(test)]
            if self.forgets_first {
                continue;
            }
            self.used += first.needed;
            self.announced.push_back(first.id);
            self.granted.push(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn waiters_are_served_first_come_first_served() {
        let mut memory = Memory::new(100);
        assert!(memory.try_reserve(90));
        let big = memory.wait(50);
        let small = memory.wait(5);
        assert!(!memory.try_reserve(1), "a newcomer must not overtake the line");
        assert_eq!(memory.poll_granted(), None);
        memory.release(40);
        assert_eq!((memory.poll_granted(), memory.poll_granted()), (Some(big), None));
        assert_eq!((memory.claim(big), memory.claim(small)), (Some(50), None));
        memory.release(50);
        assert_eq!(memory.poll_granted(), Some(small));
    }

    #[test]
    fn leaving_the_line_lets_the_next_one_through_and_gives_served_bytes_back() {
        let mut memory = Memory::new(100);
        assert!(memory.try_reserve(60));
        let (big, small) = (memory.wait(80), memory.wait(30));
        memory.cancel(big);
        assert_eq!(memory.poll_granted(), Some(small));
        memory.cancel(small);
        memory.release(60);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn who_is_sent_away_is_told_and_has_nothing() {
        let mut memory = Memory::new(100);
        assert!(memory.try_reserve(90));
        let (first, second) = (memory.wait(50), memory.wait(5));
        memory.turn_away();
        assert_eq!((memory.poll_granted(), memory.poll_granted()), (Some(first), Some(second)));
        assert_eq!((memory.claim(first), memory.waiting(), memory.used()), (None, 0, 90));
        memory.cancel(second);
        assert_eq!(memory.used(), 90);
    }

    #[test]
    fn a_wish_above_the_limit_is_served_alone() {
        let mut memory = Memory::new(100);
        assert!(memory.try_reserve(1));
        let huge = memory.wait(1000);
        assert_eq!(memory.claim(huge), None);
        memory.release(1);
        assert_eq!(memory.claim(huge), Some(100));
    }

    #[test]
    fn any_order_of_calls_ends_at_zero_and_never_above_the_limit() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut memory = Memory::new(1000);
            let (mut held, mut waiters) = (Vec::new(), Vec::new());
            for _ in 0..200 {
                match rng.below(4) {
                    0 => {
                        let bytes = rng.below(400);
                        if memory.try_reserve(bytes) {
                            held.push(bytes);
                        } else {
                            waiters.push(memory.wait(bytes));
                        }
                    }
                    1 if !held.is_empty() => {
                        let at = rng.below(held.len() as u64) as usize;
                        memory.release(held.swap_remove(at));
                    }
                    2 if !waiters.is_empty() => {
                        let at = rng.below(waiters.len() as u64) as usize;
                        memory.cancel(waiters.swap_remove(at));
                    }
                    _ => {
                        waiters.retain(|w| match memory.claim(*w) {
                            Some(bytes) => {
                                held.push(bytes);
                                false
                            }
                            None => true,
                        });
                    }
                }
                assert!(memory.used() <= 1000, "seed {seed}");
            }
            waiters.into_iter().for_each(|w| memory.cancel(w));
            held.into_iter().for_each(|b| memory.release(b));
            assert_eq!((memory.used(), memory.first_wish()), (0, None), "seed {seed}");
        }
    }
}
