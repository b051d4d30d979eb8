//! What goes wrong in a run, and when: drawn from the seed before the first row is written.

use fluss_core::ids::{BucketKey, ServerId};
use fluss_core::rng::Rng;
use fluss_core::testing::cluster::{FakeCluster, Fault, FaultKind, On};
use std::time::Duration;

use super::rows::{BUCKETS, Kind};

/// The parts of a run that must each have their faults.
pub(super) const PARTS: u64 = 10;
/// Batches of a run whose faults are those of a default run.
pub(super) const FULL: u64 = 2_500;
/// Tablet servers of the fake cluster.
pub(super) const SERVERS: u16 = 3;

/// How much must have gone wrong before a run proves anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Connections cut by the servers.
    pub(super) cuts: u64,
    /// Answers to applied writes that never arrived.
    pub(super) lost_answers: u64,
    /// Buckets that got another leader.
    pub(super) leader_moves: u64,
    /// Copies of batches that were not the first.
    pub(super) retries: u64,
}

/// A default run as a whole.
const WHOLE: Count = Count { cuts: 50, lost_answers: 50, leader_moves: 10, retries: 100 };
/// Each of its parts.
const PART: Count = Count { cuts: 3, lost_answers: 3, leader_moves: 1, retries: 5 };

impl Count {
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            cuts: self.cuts - earlier.cuts,
            lost_answers: self.lost_answers - earlier.lost_answers,
            leader_moves: self.leader_moves - earlier.leader_moves,
            retries: self.retries - earlier.retries,
        }
    }

    fn scaled(self, batches: u64) -> Self {
        let scale = |count: u64| count * batches.min(FULL) / FULL;
        Self {
            cuts: scale(self.cuts),
            lost_answers: scale(self.lost_answers),
            leader_moves: scale(self.leader_moves),
            retries: scale(self.retries),
        }
    }

    /// Says which numbers are below those of `least`.
    fn below(self, least: Self, place: &str) -> Vec<String> {
        let pairs = [
            (self.cuts, least.cuts, "cuts"),
            (self.lost_answers, least.lost_answers, "lost answers to applied writes"),
            (self.leader_moves, least.leader_moves, "leader moves"),
            (self.retries, least.retries, "retries"),
        ];
        let few = pairs.into_iter().filter(|(had, least, _)| had < least);
        few.map(|(had, least, what)| {
            format!("too quiet to prove anything: {had} {what} in {place}, at least {least} wanted")
        })
        .collect()
    }

    /// The least of each kind in a part.
    pub(super) fn fewest(marks: &[Self]) -> Self {
        let mut before = Self::default();
        let parts = marks.iter().map(|mark| mark.since(std::mem::replace(&mut before, *mark)));
        let least = parts.reduce(|a, b| Self {
            cuts: a.cuts.min(b.cuts),
            lost_answers: a.lost_answers.min(b.lost_answers),
            leader_moves: a.leader_moves.min(b.leader_moves),
            retries: a.retries.min(b.retries),
        });
        least.unwrap_or_default()
    }

    /// What is missing in a run of this many batches; `marks` has the counts at the end of each
    /// of its parts.
    pub(super) fn missing(marks: &[Self], batches: u64) -> Vec<String> {
        let total = marks.last().copied().unwrap_or_default();
        let mut missing = total.below(WHOLE.scaled(batches), "the run");
        if batches < FULL {
            // A part of a small run is over too soon for faults that have to meet a request.
            return missing;
        }
        let mut before = Self::default();
        for (part, mark) in marks.iter().enumerate() {
            let place = format!("part {} of {PARTS}", part + 1);
            missing.extend(mark.since(before).below(PART, &place));
            before = *mark;
        }
        missing
    }
}

/// Something that is done to the cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Deed {
    /// The next request of this kind meets this fault.
    Hit(On, Fault),
    /// Whatever is on the way to this server and back is cut.
    Cut(ServerId),
    /// A bucket gets another leader.
    Move(Kind, i32),
    /// A server restarts, cleanly or not.
    Restart(ServerId, bool),
}

/// A deed and its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    /// Once so many rows have an outcome.
    pub(super) at: u64,
    pub(super) deed: Deed,
}

/// The plan of a run with so many rows and batches.
pub(super) fn plan(seed: u64, rows: u64, batches: u64) -> Vec<Step> {
    let mut rng = Rng::new(seed);
    let mut steps = Vec::new();
    let batches = batches.min(FULL);
    for part in 0..PARTS {
        for (index, (per_run, draw)) in DEEDS.iter().enumerate() {
            // In a small run most parts have none of a kind, and not the same ones of every kind.
            let shift = index as u64 * 3 % PARTS;
            let done = |part: u64| (part * per_run * batches / FULL + shift) / PARTS;
            for _ in done(part)..done(part + 1) {
                // A part's deeds are over before the part is, also when they take a moment.
                let at = (part * 100 + 5 + rng.below(70)) * rows / (PARTS * 100);
                steps.push(Step { at, deed: draw(&mut rng) });
            }
        }
    }
    steps.sort_by_key(|step| step.at);
    steps
}

type Draw = fn(&mut Rng) -> Deed;

/// How often each kind of deed is done in a default run, and how it is drawn.
const DEEDS: [(u64, Draw); 19] = [
    (80, |_| Deed::Hit(On::Write, Fault::LoseAnswer)),
    (50, |_| Deed::Hit(On::Write, Fault::CutAnswer)),
    (3, |_| Deed::Hit(On::Write, Fault::SwallowAnswer)),
    (60, |_| Deed::Hit(On::Write, Fault::CutRequest)),
    (40, |rng| Deed::Cut(tablet(rng))),
    (2, |_| Deed::Cut(ServerId::Coordinator)),
    (10, |_| Deed::Hit(On::Write, Fault::MoveLeader)),
    (10, |_| Deed::Hit(On::Write, Fault::MoveLeaderAfter)),
    (20, |rng| {
        let kind = Kind::BOTH[rng.below(2) as usize];
        Deed::Move(kind, rng.below(u64::from(BUCKETS)) as i32)
    }),
    (20, |rng| Deed::Hit(On::Write, Fault::DelayRequest(moment(rng)))),
    (20, |rng| Deed::Hit(On::Write, Fault::DelayAnswer(moment(rng)))),
    (10, |_| Deed::Hit(On::Write, Fault::DuplicateAnswer)),
    (10, |_| Deed::Hit(On::Write, Fault::ErrorBefore(NOT_LEADER))),
    (10, |_| Deed::Hit(On::Write, Fault::ErrorAfter(REQUEST_TIME_OUT))),
    (10, |_| Deed::Hit(On::Write, Fault::Throttle)),
    (5, |_| Deed::Hit(On::Metadata, Fault::CutRequest)),
    (5, |rng| Deed::Hit(On::Metadata, Fault::DelayAnswer(moment(rng)))),
    (5, |_| Deed::Hit(On::Handshake, Fault::CutAnswer)),
    (10, |rng| Deed::Restart(tablet(rng), rng.one_in(2))),
];

const NOT_LEADER: i32 = 12;
const REQUEST_TIME_OUT: i32 = 25;

fn tablet(rng: &mut Rng) -> ServerId {
    ServerId::Tablet(rng.below(u64::from(SERVERS)) as i32)
}

fn moment(rng: &mut Rng) -> Duration {
    Duration::from_millis(5 + rng.below(100))
}

/// Does what the plan says, and counts.
#[derive(Debug)]
pub(super) struct Chaos {
    steps: std::vec::IntoIter<Step>,
    tables: [fluss_core::ids::TableId; 2],
    cuts: u64,
    moves: u64,
}

impl Chaos {
    /// `tables`: the ids of the tables of [`Kind::BOTH`].
    pub(super) fn new(steps: Vec<Step>, tables: [fluss_core::ids::TableId; 2]) -> Self {
        Self { steps: steps.into_iter(), tables, cuts: 0, moves: 0 }
    }

    /// Whether there is something to do when so many rows have an outcome.
    pub(super) fn is_due(&self, settled: u64) -> bool {
        self.steps.as_slice().first().is_some_and(|step| step.at <= settled)
    }

    /// Does everything that is due.
    pub(super) fn act(&mut self, cluster: &mut FakeCluster, settled: u64) {
        while self.is_due(settled) {
            let Some(step) = self.steps.next() else { return };
            self.do_to(cluster, step.deed);
        }
    }

    fn do_to(&mut self, cluster: &mut FakeCluster, deed: Deed) {
        match deed {
            Deed::Hit(on, fault) => cluster.inject(on, 0, fault),
            Deed::Cut(server) => {
                self.cuts += cluster.conns_of(server).count() as u64;
                cluster.cut_connections(Some(server));
            }
            Deed::Move(kind, bucket) => {
                let table = self.tables[Kind::BOTH.iter().position(|k| *k == kind).unwrap_or(0)];
                let key = BucketKey { table, partition: None, bucket };
                self.moves += u64::from(cluster.move_leader(key, None).is_some());
            }
            Deed::Restart(server, clean) => {
                self.cuts += cluster.conns_of(server).count() as u64;
                cluster.restart(server, clean);
            }
        }
    }

    /// What has gone wrong so far.
    pub(super) fn count(&self, cluster: &FakeCluster, retries: u64) -> Count {
        let fired = |kind| cluster.faults().count(kind);
        Count {
            cuts: self.cuts + fired(FaultKind::CutRequest) + fired(FaultKind::CutAnswer),
            lost_answers: cluster.lost_write_answers(),
            leader_moves: self.moves
                + fired(FaultKind::MoveLeader)
                + fired(FaultKind::MoveLeaderAfter),
            retries,
        }
    }
}
