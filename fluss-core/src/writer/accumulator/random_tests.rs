//! Random lives of batches against a model that only adds up.

use std::collections::BTreeMap;

use super::tests::{TIMES, place, sealed};
use super::*;
use crate::rng::Rng;

const LIMIT: u64 = 2000;

/// What is known of a batch from outside.
#[derive(Clone, Copy)]
struct Known {
    bytes: u64,
    opened: Instant,
    sealed: bool,
    asked: bool,
    expired: bool,
}

/// The accumulator and what it should be.
struct Run {
    acc: Accumulator,
    rng: Rng,
    now: Instant,
    batches: BTreeMap<BatchId, Known>,
    opened: u64,
    /// What those in line wish for, in order.
    line: Vec<(WaiterId, u64)>,
    /// Served, not claimed.
    granted: BTreeMap<WaiterId, u64>,
}

impl Run {
    fn new(seed: u64) -> Self {
        Self {
            acc: Accumulator::new(LIMIT),
            rng: Rng::new(seed),
            now: Instant::from_millis(1),
            batches: BTreeMap::new(),
            opened: 0,
            line: Vec::new(),
            granted: BTreeMap::new(),
        }
    }

    fn any_batch(&mut self) -> Option<BatchId> {
        let ids: Vec<BatchId> = self.batches.keys().copied().collect();
        (!ids.is_empty()).then(|| ids[self.rng.below(ids.len() as u64) as usize])
    }

    /// The sum that the budget must show: batches without an outcome, and what was granted.
    fn held(&self) -> u64 {
        self.batches.values().map(|b| b.bytes).chain(self.granted.values().copied()).sum()
    }

    fn open(&mut self, reserve: Reserve) {
        let line = self.line.len();
        let held = self.held();
        match self.acc.open(self.now, place(0), TIMES, reserve) {
            Open::Granted { batch, reserved } => {
                assert_eq!(batch, BatchId(self.opened));
                match reserve {
                    Reserve::Now { step, full } => {
                        let ample = line == 0 && held + full <= LIMIT / 2;
                        assert_eq!(reserved, if ample { step } else { full });
                        assert_eq!(line, 0, "a newcomer overtook the line");
                    }
                    Reserve::Granted(waiter) => {
                        assert_eq!(self.granted.remove(&waiter), Some(reserved));
                    }
                }
                self.opened += 1;
                let known = Known {
                    bytes: reserved,
                    opened: self.now,
                    sealed: false,
                    asked: false,
                    expired: false,
                };
                self.batches.insert(batch, known);
            }
            Open::Wait(waiter) => {
                let Reserve::Now { full, .. } = reserve else { panic!("a grant was not kept") };
                assert!(line > 0 || held + full > LIMIT, "{full} bytes fit beside {held}");
                self.line.push((waiter, full));
                self.check_relief();
            }
        }
    }

    fn grow(&mut self) {
        let Some(id) = self.any_batch() else { return };
        let extra = self.rng.below(200);
        let open = !self.batches[&id].sealed;
        let fits = open && self.line.is_empty() && self.held() + extra <= LIMIT;
        assert_eq!(self.acc.grow(id, extra), fits);
        if let Some(known) = self.batches.get_mut(&id).filter(|_| fits) {
            known.bytes += extra;
        }
    }

    fn seal(&mut self) {
        let Some(id) = self.any_batch().filter(|id| !self.batches[id].sealed) else { return };
        let batch = sealed(self.rng.below(600) as usize);
        let size = batch.size() as u64;
        assert_eq!(self.acc.seal(id, batch).map(|b| b.bucket), Some(place(0).bucket));
        if let Some(known) = self.batches.get_mut(&id) {
            (known.bytes, known.sealed) = (size, true);
        }
    }

    fn finish(&mut self) {
        let Some(id) = self.any_batch() else { return };
        self.batches.remove(&id);
        assert!(self.acc.finish(id).is_some() && self.acc.get(id).is_none());
        self.check_relief();
    }

    fn leave(&mut self) {
        if !self.line.is_empty() {
            let at = self.rng.below(self.line.len() as u64) as usize;
            let (waiter, _) = self.line.remove(at);
            self.acc.cancel_wait(waiter);
        } else if let Some((waiter, _)) = self.granted.pop_first() {
            self.acc.cancel_wait(waiter);
        }
        self.check_relief();
    }

    fn pass(&mut self) {
        self.now = self.now + Duration::from_millis(self.rng.below(400));
        self.acc.handle_timeout(self.now);
        self.take_news();
        let idle = |b: &&Known| !b.sealed && !b.asked && b.opened + TIMES.linger <= self.now;
        assert_eq!(self.batches.values().filter(idle).count(), 0, "lingers for too long");
        while let Some(id) = self.acc.poll_expired(self.now) {
            let known = self.batches.get_mut(&id).expect("a batch without an outcome");
            assert!(known.opened + TIMES.delivery <= self.now && !known.expired);
            known.expired = true;
        }
        for known in self.batches.values() {
            assert!(known.expired || known.opened + TIMES.delivery > self.now);
        }
    }

    fn step(&mut self) {
        let wish = 50 + self.rng.below(500);
        match self.rng.below(9) {
            0..=2 => self.open(Reserve::Now { step: wish / 4, full: wish }),
            3 => self.grow(),
            4 => self.seal(),
            5 => self.finish(),
            6 => self.leave(),
            7 => self.pass(),
            _ => {
                if let Some(waiter) = self.granted.keys().next().copied() {
                    self.open(Reserve::Granted(waiter));
                }
            }
        }
        self.take_news();
    }

    /// Who was served, in the order of the line; who is asked to seal, each once.
    fn take_news(&mut self) {
        while let Some(waiter) = self.acc.poll_granted() {
            // One that left meanwhile was told as well.
            if let Some(at) = self.line.iter().position(|(id, _)| *id == waiter) {
                assert_eq!(at, 0, "somebody behind was served first");
                let (_, bytes) = self.line.remove(0);
                self.granted.insert(waiter, bytes);
            }
        }
        while let Some((id, lane)) = self.acc.poll_seal() {
            assert_eq!(lane, LaneId(0));
            if let Some(known) = self.batches.get_mut(&id) {
                assert!(!known.asked, "{id} is asked twice");
                known.asked = true;
            }
        }
    }

    fn check(&self) {
        let acc = &self.acc;
        assert_eq!(acc.memory().used(), self.held());
        assert_eq!((acc.len(), acc.next_batch()), (self.batches.len(), BatchId(self.opened)));
        assert_eq!(acc.memory().waiting(), self.line.len());
        assert_eq!(acc.memory().first_wish(), self.line.first().map(|(_, bytes)| *bytes));
        let sealed: u64 = self.batches.values().filter(|b| b.sealed).map(|b| b.bytes).sum();
        assert_eq!(acc.sealed_bytes(), sealed);
        for (id, known) in &self.batches {
            let batch = acc.get(*id).expect("it has no outcome");
            assert_eq!((batch.opened, batch.sealed.is_some()), (known.opened, known.sealed));
        }
        let open = || self.batches.values().filter(|b| !b.sealed && !b.asked);
        assert_eq!(acc.next_linger(), open().map(|b| b.opened + TIMES.linger).min());
        let waiting = self.batches.values().filter(|b| !b.expired);
        assert_eq!(acc.next_deadline(), waiting.map(|b| b.opened + TIMES.delivery).min());
    }

    /// Whoever is first in line now is served by what is under way, or everything open must go.
    fn check_relief(&mut self) {
        self.take_news();
        let sealed: u64 = self.batches.values().filter(|b| b.sealed).map(|b| b.bytes).sum();
        let idle = self.batches.values().filter(|b| !b.sealed && !b.asked).count();
        if let Some((_, wish)) = self.line.first() {
            assert!(sealed >= *wish || idle == 0, "{wish} bytes are waited for, {idle} idle");
        }
    }
}

#[test]
fn permits_are_what_batches_without_an_outcome_take_after_every_step() {
    for seed in 0..150 {
        let mut run = Run::new(seed);
        let steps = std::panic::AssertUnwindSafe(|| {
            for _ in 0..150 {
                run.step();
                run.check();
            }
            while !(run.line.is_empty() && run.granted.is_empty()) {
                run.leave();
                run.take_news();
            }
            while !run.batches.is_empty() {
                run.finish();
            }
            assert_eq!(run.acc.memory().used(), 0);
        });
        if let Err(panic) = std::panic::catch_unwind(steps) {
            println!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
