//! What is done to the servers during a round.

use std::thread;
use std::time::{Duration, Instant};

use fluss_core::rng::Rng;

use super::ChaosError;
use super::plan::{Act, Plan};
use super::proxy::Proxy;
use crate::cluster::{RealCluster, Server};

/// How long a kill waits for a leader that has writes to answer.
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
    /// The fewest write requests that a leader had got and not answered at the moment when it went
    /// down.
    pub in_flight: Option<u64>,
}

/// Does what a plan says.
pub(super) struct Faults<'a> {
    cluster: &'a RealCluster,
    /// Its first port is the coordinator's, the others are the tablet servers'.
    proxy: &'a Proxy,
    tables: [&'a str; 2],
    rng: Rng,
    /// The tablet server that is down or paused.
    victim: Option<usize>,
    coordinator_is_paused: bool,
    /// When the last tablet server was killed.
    pub(super) last_kill: Option<Instant>,
    pub(super) deeds: Deeds,
}

impl<'a> Faults<'a> {
    pub(super) fn new(
        cluster: &'a RealCluster,
        proxy: &'a Proxy,
        tables: [&'a str; 2],
        seed: u64,
    ) -> Self {
        Self {
            cluster,
            proxy,
            tables,
            rng: Rng::new(seed),
            victim: None,
            coordinator_is_paused: false,
            last_kill: None,
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
    pub(super) fn play(&mut self, plan: &Plan, start: Instant) -> Result<(), ChaosError> {
        for (at, act) in &plan.acts {
            thread::sleep((start + *at).saturating_duration_since(Instant::now()));
            self.act(*act)?;
        }
        Ok(())
    }

    fn act(&mut self, act: Act) -> Result<(), ChaosError> {
        let cluster = self.cluster;
        match act {
            Act::KillLeader => {
                let leader = self.leader()?;
                self.deeds.kills += 1;
                self.last_kill = Some(Instant::now());
                cluster.kill9(leader)?;
            }
            Act::StopLeader => {
                let leader = self.leader()?;
                self.deeds.stops += 1;
                cluster.stop(leader)?;
            }
            Act::PauseLeader => {
                let leader = self.leader()?;
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

    /// A running tablet server that leads a bucket, as soon as one has writes to answer.
    fn leader(&mut self) -> Result<usize, ChaosError> {
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
        leaders.rotate_left(usize::try_from(at).unwrap_or_default());
        let limit = Instant::now() + PATIENCE;
        let (leader, in_flight) = loop {
            let writes = |server: &usize| (*server, self.proxy.open_writes(1 + *server));
            let mut seen = leaders.iter().map(writes);
            if let Some(found) = seen.find(|(_, writes)| *writes > 0) {
                break found;
            }
            if Instant::now() > limit {
                break (leaders[0], 0);
            }
            thread::yield_now();
        };
        let fewest = self.deeds.in_flight.map_or(in_flight, |before| before.min(in_flight));
        self.deeds.in_flight = Some(fewest);
        self.victim = Some(leader);
        Ok(leader)
    }
}
