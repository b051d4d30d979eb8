//! Seeded runs with faults, checked after every step.

use super::model::Replica;
use super::world::{Found, World, bucket, settings};
use crate::ids::{BucketKey, ConnId};
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::writer::idempotence::outcome::Outcome;
use crate::writer::idempotence::{Mutation, Sendable};

/// How many of each fault a run may have.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    close: u64,
    shrink: u64,
    transient: u64,
    after: u64,
    fatal: u64,
    give_up: u64,
    failover: u64,
    expiry: u64,
    acked_loss: u64,
}

impl Faults {
    fn draw(rng: &mut Rng) -> Self {
        let benign = Self {
            close: rng.below(4),
            shrink: rng.below(3),
            transient: rng.below(4),
            after: rng.below(4),
            failover: rng.below(3),
            ..Self::default()
        };
        match rng.below(4) {
            0 => benign,
            1 => Self { fatal: rng.below(4), ..benign },
            2 => {
                Self { fatal: rng.below(3), give_up: rng.below(4), expiry: rng.below(2), ..benign }
            }
            _ => Self { acked_loss: rng.below(2), fatal: rng.below(2), ..benign },
        }
    }

    /// Only faults after which each batch must succeed.
    fn benign(&self) -> bool {
        self.fatal + self.give_up + self.expiry + self.acked_loss == 0
    }
}

fn take(budget: &mut u64) -> bool {
    let some = *budget > 0;
    *budget = budget.saturating_sub(1);
    some
}

struct Run {
    world: World,
    rng: Rng,
    faults: Faults,
    to_append: u64,
}

const BUCKETS: i32 = 2;

impl Run {
    fn new(seed: u64, mutation: Option<Mutation>) -> Self {
        let mut rng = Rng::new(seed);
        let mut config = settings([1, 2, 3, 5][rng.below(4) as usize]);
        config.mutation = mutation;
        config.track_offsets = rng.one_in(3);
        let faults = Faults::draw(&mut rng);
        let mut world = World::new(config, BUCKETS, rng.next_u64());
        world.auto_replicate = rng.one_in(2);
        let to_append = 3 + rng.below(10);
        Self { world, rng, faults, to_append }
    }

    fn any<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.rng.below(from.len() as u64) as usize].clone())
    }

    fn any_bucket(&mut self) -> i32 {
        // Mostly one bucket, so that its window fills.
        i32::from(self.rng.one_in(4))
    }

    fn step(&mut self) {
        match self.rng.below(20) {
            0..3 => self.append(),
            3..7 => self.send(),
            7..11 => self.execute(),
            11..15 => self.deliver(),
            15 => self.replicate(),
            16 => self.view(),
            17 => self.world.pass(Duration::from_millis(30)),
            _ => self.fault(),
        }
    }

    fn append(&mut self) {
        if take(&mut self.to_append) {
            let deadline = if take_one_in(&mut self.rng, &mut self.faults.give_up) {
                self.world.now + Duration::from_millis(self.rng.below(400))
            } else {
                Instant::FAR_FUTURE
            };
            let number = self.any_bucket();
            self.world.append_until(number, deadline);
        }
    }

    fn send(&mut self) {
        let first = self.any_bucket();
        let mut keys = vec![bucket(first)];
        if self.rng.one_in(2) {
            keys.push(bucket(1 - first));
        }
        for key in &keys {
            if self.world.sendable(*key) == Sendable::NeedsWriterId {
                self.world.call(|m, cx| m.want_writer_id(cx, *key));
            }
        }
        self.world.send(&keys);
    }

    /// The first request of some connection, dead or alive, is executed, or dropped if dead.
    fn execute(&mut self) {
        let conns: Vec<ConnId> = self.world.conns.keys().copied().collect();
        let Some(conn) = self.any(&conns) else { return };
        let head = self
            .world
            .requests
            .iter()
            .find(|(_, r)| r.conn == conn && r.found.is_none())
            .map(|(id, _)| *id);
        let Some(id) = head else { return };
        if !self.world.conns[&conn].open && self.rng.one_in(3) {
            self.world.requests.remove(&id);
            return;
        }
        let request = self.world.requests.get_mut(&id).expect("found");
        let i = self.rng.below(request.copies.len() as u64) as usize;
        if self.rng.one_in(4) && take(&mut self.faults.transient) {
            request.before.insert(i, [29, 72, 70, 9][self.rng.below(4) as usize]);
        } else if self.rng.one_in(4) && take(&mut self.faults.after) {
            request.after.insert(i, [25, 28, -1, 26, 10][self.rng.below(5) as usize]);
        } else if self.rng.one_in(3) && take(&mut self.faults.fatal) {
            request.before.insert(i, [57, 48, 35][self.rng.below(3) as usize]);
        }
        self.world.execute(id);
        if !self.world.conns[&conn].open {
            self.world.requests.remove(&id);
        }
    }

    fn deliver(&mut self) {
        let ready: Vec<u64> =
            self.world.requests.keys().copied().filter(|id| self.world.answerable(*id)).collect();
        if let Some(id) = self.any(&ready) {
            let token = self.world.requests[&id].copies[0].token;
            self.world.deliver(id);
            if self.rng.one_in(8) {
                // A second answer must not matter unless it is a truthful success.
                let state = self.world.manager.buckets.clone();
                let code = [31, 72][self.rng.below(2) as usize];
                self.world.answer(token, super::world::rejected(code));
                let same = state == self.world.manager.buckets;
                self.world.rule(same, || "I17: a second answer changed something".into());
            }
        }
    }

    fn replicate(&mut self) {
        for replica in self.world.replicas.values_mut() {
            replica.hw = replica.log.len();
        }
    }

    fn view(&mut self) {
        self.world.confirm();
        let number = self.any_bucket();
        let replica = &self.world.replicas[&bucket(number)];
        let (leader, epoch) = (replica.leader, replica.epoch);
        self.world.lead(number, leader, Some(epoch));
    }

    fn fault(&mut self) {
        let number = self.any_bucket();
        let key = bucket(number);
        match self.rng.below(6) {
            0 | 1 => {
                let open: Vec<ConnId> =
                    self.world.conns.iter().filter(|(_, c)| c.open).map(|(id, _)| *id).collect();
                if let Some(conn) = self.any(&open)
                    && take(&mut self.faults.close)
                {
                    self.world.close(conn);
                }
            }
            2 => {
                if take(&mut self.faults.shrink) {
                    self.replica(key).shrink();
                }
            }
            3 => {
                if take(&mut self.faults.failover) {
                    self.fail_over(key);
                }
            }
            4 => self.expire(key),
            _ => self.lose(key),
        }
    }

    fn replica(&mut self, key: BucketKey) -> &mut Replica {
        self.world.replicas.get_mut(&key).expect("known")
    }

    fn fail_over(&mut self, key: BucketKey) {
        let shrink = self.rng.one_in(2);
        let room = {
            let replica = self.replica(key);
            (replica.log.len() - replica.hw) as u64
        };
        let kept = self.rng.below(room + 1) as usize;
        let replica = self.replica(key);
        let end = replica.hw + kept;
        replica.truncate(end);
        replica.hw = end;
        replica.leader = 1 - replica.leader;
        replica.epoch += 1;
        if shrink {
            replica.shrink();
        }
        self.void(key);
    }

    /// Answers of a former leader to what it appended but could not replicate.
    fn void(&mut self, key: BucketKey) {
        for request in self.world.requests.values_mut() {
            let Some(found) = &mut request.found else { continue };
            for (copy, found) in request.copies.iter().zip(found) {
                if copy.token.bucket() == key && matches!(found, Found::At(_)) {
                    *found = Found::Code(12);
                }
            }
        }
    }

    /// Only where no copy of the writer is left anywhere, as the deadlines guarantee.
    fn expire(&mut self, key: BucketKey) {
        let Some(id) = self.world.manager.writer_id(key) else { return };
        let under_way =
            self.world.requests.values().any(|r| {
                r.copies.iter().any(|c| c.token.bucket() == key && c.stamp.writer_id == id.0)
            });
        let state = &self.world.manager.buckets[&key];
        let open = state.slots.iter().any(|s| s.open.is_some() || s.ambiguous);
        if !under_way && !open && take(&mut self.faults.expiry) {
            self.replica(key).expire(id.0);
        }
    }

    fn lose(&mut self, key: BucketKey) {
        let replica = self.replica(key);
        let Some(last) = replica.log.last().copied() else { return };
        let end = replica.log.len() - 1;
        if take(&mut self.faults.acked_loss) {
            self.replica(key).truncate(end);
            self.world.lost.push(last.payload);
            self.void(key);
        }
    }

    fn run(mut self) -> Result<World, String> {
        let benign = self.faults.benign();
        let mut steps = 0;
        while steps < 160 && self.world.broken.is_none() {
            self.step();
            steps += 1;
        }
        self.world.drain();
        self.world.check_end();
        if benign {
            let failed =
                self.world.done.iter().find(|d| !matches!(d.outcome, Outcome::Written { .. }));
            let text = failed.map(|d| format!("I15: {d:?}"));
            self.world.rule(text.is_none(), || text.unwrap_or_default());
        }
        // Who breaks rules on purpose looks at what is found.
        self.world.let_off = true;
        match self.world.broken.take() {
            None => Ok(self.world),
            Some(text) => Err(text),
        }
    }
}

fn take_one_in(rng: &mut Rng, budget: &mut u64) -> bool {
    rng.one_in(3) && take(budget)
}

fn runs() -> u64 {
    std::env::var("FLUSS_IDEMPOTENCE_RUNS").ok().and_then(|v| v.parse().ok()).unwrap_or(20_000)
}

fn first_seed() -> u64 {
    std::env::var("FLUSS_IDEMPOTENCE_SEED").ok().and_then(|v| v.parse().ok()).unwrap_or(1)
}

#[test]
fn no_run_with_faults_doubles_loses_or_reorders_a_batch() {
    let mut total = crate::writer::idempotence::Counters::default();
    for seed in first_seed()..first_seed() + runs() {
        match Run::new(seed, None).run() {
            Ok(world) => add(&mut total, world.manager.counters()),
            Err(text) => panic!("seed {seed}: {text}"),
        }
    }
    println!("{total:#?}");
    // A run that never reaches a rule proves nothing about it.
    assert!(total.probes > 0 && total.genuine_refusals > 0 && total.stale_refusals > 0);
    assert!(total.inferred_commits > 0 && total.unknown > 0 && total.not_written > 0);
    assert!(total.rotations_broken > 0 && total.rotations_fence > 0);
    assert!(total.rotations_unknown > 0 && total.resends_confirm > 0);
}

fn add(
    total: &mut crate::writer::idempotence::Counters,
    run: &crate::writer::idempotence::Counters,
) {
    total.copies += run.copies;
    total.probes += run.probes;
    total.genuine_refusals += run.genuine_refusals;
    total.stale_refusals += run.stale_refusals;
    total.inferred_commits += run.inferred_commits;
    total.unknown += run.unknown;
    total.not_written += run.not_written;
    total.rotations_broken += run.rotations_broken;
    total.rotations_fence += run.rotations_fence;
    total.rotations_unknown += run.rotations_unknown;
    total.resends_confirm += run.resends_confirm;
    total.resends_sequence += run.resends_sequence;
    total.resends_transient += run.resends_transient;
    total.resends_ambiguous += run.resends_ambiguous;
    total.orphan_answers += run.orphan_answers;
}

/// The rules that broke first, over some runs with a broken manager.
fn violations(mutation: Mutation, runs: u64) -> Vec<String> {
    (1..runs).filter_map(|seed| Run::new(seed, Some(mutation)).run().err()).collect()
}

#[test]
fn the_checks_notice_when_batches_that_may_be_appended_lose_their_stamp() {
    let found = violations(Mutation::RestampAmbiguous, 1000);
    assert!(found.iter().any(|text| text.starts_with("I1") || text.starts_with("I3")), "{found:?}");
}

#[test]
fn the_checks_notice_when_a_hole_is_closed_over_open_copies() {
    let found = violations(Mutation::InPlaceWithoutWaiting, 1000);
    let named = |text: &String| ["I1:", "I3", "I8", "I11"].iter().any(|i| text.starts_with(i));
    assert!(found.iter().any(named), "{found:?}");
}

#[test]
fn the_checks_notice_when_refused_batches_are_resent_without_a_gate() {
    let found = violations(Mutation::NoGenerationGate, 1000);
    assert!(found.iter().any(|text| text.starts_with("I16")), "{found:?}");
}

#[test]
fn the_checks_notice_when_a_refusal_of_a_closed_copy_puts_its_bucket_off() {
    let found = violations(Mutation::OldRefusalThrottles, 1000);
    assert!(found.iter().any(|text| text.starts_with("I17")), "{found:?}");
}
