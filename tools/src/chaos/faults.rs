//! What is done to the servers during a round.

use std::thread;
use std::time::{Duration, Instant};

use fluss_core::rng::Rng;

use super::ChaosError;
use super::plan::{Act, Plan};
use super::write::Progress;
use crate::cluster::{RealCluster, Server};

/// How long a kill waits for writes to be in flight.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deeds {
    /// Servers killed, the coordinator included.
    pub kills: u64,
    /// Servers paused.
    pub pauses: u64,
    /// Servers stopped in good order.
    pub stops: u64,
    /// The fewest rows in flight at the moment when a leader went down.
    pub in_flight: Option<u64>,
}

/// Does what a plan says.
pub(super) struct Faults<'a> {
    cluster: &'a RealCluster,
    tables: [&'a str; 2],
    rng: Rng,
    /// The tablet server that is down or paused.
    victim: Option<usize>,
    coordinator_is_paused: bool,
    pub(super) deeds: Deeds,
}

impl<'a> Faults<'a> {
    pub(super) fn new(cluster: &'a RealCluster, tables: [&'a str; 2], seed: u64) -> Self {
        Self {
            cluster,
            tables,
            rng: Rng::new(seed),
            victim: None,
            coordinator_is_paused: false,
            deeds: Deeds::default(),
        }
    }

    /// The sum of the leader epochs of all buckets, which grows with each change of a leader.
    pub(super) fn epochs(cluster: &RealCluster, tables: &[&str]) -> Result<u64, ChaosError> {
        let mut sum = 0;
        for table in tables {
            for leader in cluster.leaders("fluss", table)? {
                sum += u64::try_from(leader.epoch.unwrap_or_default()).unwrap_or_default();
            }
        }
        Ok(sum)
    }

    /// Does everything in its time.
    pub(super) fn play(
        &mut self,
        plan: &Plan,
        start: Instant,
        progress: &Progress,
    ) -> Result<(), ChaosError> {
        for (at, act) in &plan.acts {
            thread::sleep((start + *at).saturating_duration_since(Instant::now()));
            self.act(*act, progress)?;
        }
        Ok(())
    }

    fn act(&mut self, act: Act, progress: &Progress) -> Result<(), ChaosError> {
        let cluster = self.cluster;
        match act {
            Act::KillLeader => {
                let leader = self.leader(progress)?;
                self.deeds.kills += 1;
                cluster.kill9(leader)?;
            }
            Act::StopLeader => {
                let leader = self.leader(progress)?;
                self.deeds.stops += 1;
                cluster.stop(leader)?;
            }
            Act::PauseLeader => {
                let leader = self.leader(progress)?;
                self.deeds.pauses += 1;
                cluster.pause(leader)?;
            }
            Act::Resume => {
                self.victim.take().map_or(Ok(()), |server| cluster.resume(server))?;
            }
            Act::Revive => {
                self.victim.take().map_or(Ok(()), |server| cluster.restart(server))?;
            }
            Act::KillCoordinator => {
                self.deeds.kills += 1;
                cluster.kill9(Server::Coordinator)?;
            }
            Act::PauseCoordinator => {
                self.deeds.pauses += 1;
                cluster.pause(Server::Coordinator)?;
                self.coordinator_is_paused = true;
            }
            Act::StopCoordinator => {
                self.deeds.stops += 1;
                cluster.stop(Server::Coordinator)?;
            }
            Act::ReviveCoordinator if self.coordinator_is_paused => {
                cluster.resume(Server::Coordinator)?;
                self.coordinator_is_paused = false;
            }
            Act::ReviveCoordinator => cluster.restart(Server::Coordinator)?,
        }
        Ok(())
    }

    /// A running tablet server that leads a bucket; returns when rows are in flight.
    fn leader(&mut self, progress: &Progress) -> Result<usize, ChaosError> {
        let mut leaders = Vec::new();
        for table in self.tables {
            leaders.extend(self.cluster.leaders("fluss", table)?.iter().filter_map(|l| l.server));
        }
        leaders.retain(|server| matches!(self.cluster.process_id(*server), Ok(Some(_))));
        leaders.sort_unstable();
        leaders.dedup();
        if leaders.is_empty() {
            return Err(ChaosError::Table("no running server leads a bucket".to_owned()));
        }
        let at = self.rng.below(leaders.len() as u64);
        let leader = leaders[usize::try_from(at).unwrap_or_default()];
        let limit = Instant::now() + PATIENCE;
        while progress.in_flight() == 0 && Instant::now() < limit {
            thread::yield_now();
        }
        let in_flight = progress.in_flight();
        let fewest = self.deeds.in_flight.map_or(in_flight, |before| before.min(in_flight));
        self.deeds.in_flight = Some(fewest);
        self.victim = Some(leader);
        Ok(leader)
    }
}
