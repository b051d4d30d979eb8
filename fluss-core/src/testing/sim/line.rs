//! The line for memory: who stands in it, who leaves it, and that nobody is forgotten there.
//!
//! A batch that finds no memory is not opened; its caller waits, borrowing its handle meanwhile.
//! It is served in its turn, it leaves by a timeout of its own or as it is dropped, or the client
//! is closed and says so. None of this ends with the faults.

use std::collections::BTreeMap;

use crate::ids::LaneId;
use crate::writer::{Reserve, WaiterId};

use super::plan::End;
use super::stats::Oddity;
use super::world::{Due, World};

/// What a batch asks for: at first, and at once while memory is short.
const STEP: u64 = 64;
const FULL: u64 = 256;

/// The callers of one client that stand in line, with the lane and the bucket of each.
pub(super) type Line = BTreeMap<WaiterId, (LaneId, i32)>;

/// How a batch comes by its memory; `waiter`: its caller was told that it is served.
pub(super) fn wish(waiter: Option<WaiterId>) -> Reserve {
    waiter.map_or(Reserve::Now { step: STEP, full: FULL }, Reserve::Granted)
}

impl World {
    /// A caller stands in line now. One in four does not wait for as long as it takes.
    pub(super) fn stand_in_line(&mut self, waiter: WaiterId, lane: LaneId, bucket: i32) {
        self.watch.note(self.now, || format!("{waiter:?} waits for memory: lane {lane}"));
        self.seed.count(Oddity::MemoryWait);
        self.lines[self.client.of_waiter(waiter)].insert(waiter, (lane, bucket));
        if self.rng.one_in(4) {
            let wait = self.pause(3_000_000);
            self.after(wait, Due::LeaveLine(waiter));
        }
    }

    /// Whether anybody waits for memory.
    pub(super) fn is_line_empty(&self) -> bool {
        self.lines.iter().all(Line::is_empty)
    }

    /// Somebody's time is over, if it still waits.
    pub(super) fn leave_line(&mut self, waiter: WaiterId) {
        if self.lines[self.client.of_waiter(waiter)].remove(&waiter).is_some() {
            self.watch.note(self.now, || format!("{waiter:?} leaves the line"));
            self.client.cancel_wait(waiter, self.now);
            self.drop_free_lanes();
        }
    }

    /// The first one drops what it waits with.
    pub(super) fn first_leaves_line(&mut self) {
        if let Some(waiter) = self.lines.iter().find_map(|line| line.keys().next().copied()) {
            self.leave_line(waiter);
        }
    }

    /// A handle is dropped with all that waits on it.
    pub(super) fn lane_leaves_line(&mut self, lane: LaneId) {
        let here = self.lines.iter().flatten().filter(|(_, (waits, _))| *waits == lane);
        let here: Vec<WaiterId> = here.map(|(waiter, _)| *waiter).collect();
        here.into_iter().for_each(|waiter| self.leave_line(waiter));
    }

    /// Somebody is told that it has its memory, or that the client is closed: it finds out which by
    /// opening its batch.
    pub(super) fn granted(&mut self, waiter: WaiterId) {
        self.watch.note(self.now, || format!("{waiter:?} is told"));
        let line = &mut self.lines[self.client.of_waiter(waiter)];
        let ahead = line.keys().next().copied().filter(|first| *first < waiter);
        let stood = line.remove(&waiter);
        self.check.rule("I22", stood.is_some(), || format!("{waiter:?} is served, out of line"));
        self.check.rule("I22", ahead.is_none(), || {
            format!("{waiter:?} is served before {:?}", ahead.unwrap_or(waiter))
        });
        let Some((id, bucket)) = stood else { return };
        if self.healed && !self.closing {
            self.seed.count(Oddity::LateMemory);
        }
        if let Some(lane) = self.lanes.iter().find(|lane| lane.id == id).copied() {
            self.open_batch(lane, bucket, Some(waiter));
        }
        self.drop_free_lanes();
    }

    /// When all handles are to be dropped: those on which nobody waits.
    pub(super) fn drop_free_lanes(&mut self) {
        if !self.healed || self.plan.end != End::Drop {
            return;
        }
        let waits = |lane: LaneId| {
            self.lines.iter().any(|line| line.values().any(|(waits, _)| *waits == lane))
        };
        let free: Vec<LaneId> =
            self.lanes.iter().map(|lane| lane.id).filter(|id| !waits(*id)).collect();
        self.lanes.retain(|lane| !free.contains(&lane.id));
        for lane in free {
            self.watch.note(self.now, || format!("lane {lane} is dropped"));
            self.client.close_lane(lane, self.now);
        }
    }

    /// Nobody waits for bytes that are free, nor for a client that is closed. Batches end within
    /// their bounds, so everybody's turn comes.
    pub(super) fn check_line(&mut self) {
        let (limit, closed) = (self.plan.client.memory_limit, self.closing || self.over);
        for (who, line) in self.lines.iter().enumerate() {
            let Some(first) = line.keys().next() else { continue };
            let used = self.check.memory[who];
            self.check.rule("I22", used + FULL > limit, || {
                format!("{first:?} still waits, although {used} bytes of {limit} are in use")
            });
            self.check.rule("I22", !closed, || format!("{first:?} waits for a closed client"));
        }
    }
}
