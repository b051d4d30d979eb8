//! The kinds of rounds: what goes wrong when, and the client's settings meanwhile.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use fluss_core::config::WriterConfig;
use fluss_core::rng::Rng;
use fluss_embedded::Config;

use super::proxy::Weather;
use super::write::Bursts;

/// What a round is about. Every kind makes at least one bucket change its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A leader is killed (SIGKILL) and started again.
    Kill,
    /// A leader is paused (SIGSTOP) for longer than its session lasts, and goes on.
    Pause,
    /// A leader is stopped in good order and started again.
    Restart,
    /// The coordinator is killed, paused or stopped, then a leader is killed; both come back.
    Coordinator,
    /// Everything at once: bad weather on the network, and a leader killed twice.
    Storm,
    /// The client's deadlines are so short that some rows do not make it while a leader is down.
    Deadline,
    /// Servers forget writers after 120 s; a leader is killed, and the writers pause for so long
    /// that they have to change their ids, or that servers have forgotten them.
    Expiry,
    /// All rows go into the log table, and a reader on each runtime follows them whose waits are
    /// dropped every few milliseconds; a leader is killed every 12 s.
    Reader,
    /// The same with servers that move segments to remote storage as soon as they are full, which
    /// is soon. The readers begin when the first are gone from where they were.
    Tiered,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Kill,
        Self::Pause,
        Self::Restart,
        Self::Coordinator,
        Self::Storm,
        Self::Deadline,
        Self::Expiry,
        Self::Reader,
        Self::Tiered,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Restart => "restart",
            Self::Coordinator => "coordinator",
            Self::Storm => "storm",
            Self::Deadline => "deadline",
            Self::Expiry => "expiry",
            Self::Reader => "reader",
            Self::Tiered => "tiered",
        }
    }

    /// Settings of the servers that this kind needs besides the usual ones. Rounds with the same
    /// settings share a cluster.
    pub(super) const fn server_settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Expiry => &[
                ("server.writer-id.expiration-time", "120s"),
                ("server.writer-id.expiration-check-interval", "1s"),
            ],
            Self::Tiered => &[
                ("log.segment.file-size", "64kb"),
                ("log.index.file-size", "16kb"),
                ("remote.log.task-interval-duration", "1s"),
            ],
            _ => &[],
        }
    }

    /// Whether readers follow the log table, which then gets all rows.
    pub(super) const fn has_readers(self) -> bool {
        matches!(self, Self::Reader | Self::Tiered)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == text);
        kind.ok_or_else(|| format!("{text:?} is no kind of round; there are {}", known()))
    }
}

/// Something done to the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Kills a tablet server that leads a bucket, with writes in flight.
    KillLeader,
    /// Stops one in good order.
    StopLeader,
    /// Freezes one.
    PauseLeader,
    /// Lets the frozen one go on.
    Resume,
    /// Starts the tablet server that is down.
    Revive,
    KillCoordinator,
    PauseCoordinator,
    StopCoordinator,
    /// Starts the coordinator again, or lets it go on.
    ReviveCoordinator,
}

/// One round.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    pub(super) seed: u64,
    pub(super) bursts: Bursts,
    /// In the order of their times since the start.
    pub(super) acts: Vec<(Duration, Act)>,
    pub(super) weather: Weather,
    pub(super) settings: Settings,
}

/// The client's time limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) delivery_timeout: Duration,
    pub(super) request_deadline: Duration,
    pub(super) ack_timeout: Duration,
    pub(super) idle_rotate: Duration,
}

impl Settings {
    /// The time within which every row must have its outcome.
    pub(super) fn bound(&self) -> Duration {
        self.delivery_timeout + self.request_deadline + Duration::from_secs(1)
    }

    pub(super) fn client(&self, bootstrap: &str, seed: u64) -> fluss_core::Result<Config> {
        let config = Config::new(bootstrap)?.seed(seed);
        Ok(config.request_deadline(self.request_deadline).ack_timeout(self.ack_timeout))
    }

    pub(super) fn writer(&self) -> WriterConfig {
        let mut config = WriterConfig::default();
        config.linger = Duration::from_millis(20);
        config.delivery_timeout = self.delivery_timeout;
        config.idle_rotate = self.idle_rotate;
        config
    }
}

/// Rows a second of a round with readers, and the seconds that it takes at least and at most.
const READER_ROWS: u64 = 12_500;
const READER_TIMES: (u64, u64) = (8, 240);
/// Kills in a round whose servers move segments away. Server 0.9.1 does not survive many: of four
/// rounds with a kill every 12 s for 80 s, each ended with a tablet server that could not be
/// started again, as it met an `OutOfOrderSequenceException` where it recovered a log. It is as in
/// apache/fluss#4012: a follower that is so far behind that its leader has moved the segments which
/// it needs begins anew, and leaves old segments where the next start finds them.
const TIERED_KILLS: usize = 2;
/// Such a round is long enough for the second kill, which comes when segments were moved.
const TIERED_SHORTEST: u64 = 24;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A time between two numbers of milliseconds.
fn between(rng: &mut Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(from + rng.below(to - from))
}

impl Plan {
    /// The round of this kind and of about so many rows that the seed gives.
    pub(super) fn new(kind: Kind, seed: u64, rows: u64) -> Self {
        let mut rng = Rng::new(seed ^ (kind as u64) << 56);
        let first = between(&mut rng, 1500, 3000);
        let mut acts = Vec::new();
        let mut bursts = vec![(seconds(0), seconds(11))];
        let mut weather = drizzle();
        let mut settings = Settings {
            delivery_timeout: seconds(60),
            request_deadline: seconds(8),
            ack_timeout: seconds(5),
            idle_rotate: seconds(24 * 3600),
        };
        match kind {
            Kind::Kill => down(&mut acts, &mut rng, first, Act::KillLeader),
            Kind::Restart => down(&mut acts, &mut rng, first, Act::StopLeader),
            Kind::Pause => {
                bursts[0].1 = seconds(13);
                acts.push((first, Act::PauseLeader));
                // Longer than the session of the server, which lasts 4 s.
                acts.push((first + between(&mut rng, 7000, 10_000), Act::Resume));
            }
            Kind::Coordinator => {
                bursts[0].1 = seconds(14);
                let how = [Act::KillCoordinator, Act::PauseCoordinator, Act::StopCoordinator];
                acts.push((first - seconds(1), how[rng.below(3) as usize]));
                acts.push((first, Act::KillLeader));
                acts.push((first + between(&mut rng, 500, 2500), Act::ReviveCoordinator));
                acts.push((first + between(&mut rng, 4000, 7000), Act::Revive));
            }
            Kind::Storm => {
                bursts[0].1 = seconds(20);
                weather = storm();
                down(&mut acts, &mut rng, first, Act::KillLeader);
                down(&mut acts, &mut rng, first + seconds(10), Act::KillLeader);
            }
            Kind::Deadline => {
                bursts[0].1 = seconds(40);
                settings = Settings {
                    delivery_timeout: seconds(4),
                    request_deadline: seconds(2),
                    ack_timeout: seconds(1),
                    ..settings
                };
                down(&mut acts, &mut rng, first, Act::KillLeader);
                let second = first + seconds(18);
                acts.push((second, Act::PauseLeader));
                acts.push((second + between(&mut rng, 2500, 6000), Act::Resume));
            }
            Kind::Expiry => {
                settings = Settings {
                    delivery_timeout: seconds(50),
                    request_deadline: seconds(20),
                    ack_timeout: seconds(10),
                    idle_rotate: seconds(60),
                };
                down(&mut acts, &mut rng, first, Act::KillLeader);
                // Below and above the time after which servers forget a writer.
                let idle = [62, 100, 118, 124, 135][rng.below(5) as usize];
                let again = seconds(11 + idle);
                bursts.push((again, again + seconds(8)));
                let second = again + between(&mut rng, 500, 1500);
                down(&mut acts, &mut rng, second, Act::KillLeader);
            }
            Kind::Reader | Kind::Tiered => {
                bursts[0].1 = again_and_again(&mut acts, &mut rng, first, kind, rows);
            }
        }
        Self { kind, seed, bursts, acts, weather, settings }
    }

    /// When the last row is handed in.
    pub(super) fn end(&self) -> Duration {
        self.bursts.last().map_or(Duration::ZERO, |(_, end)| *end)
    }
}

/// A leader goes down and comes back 2 to 6 s later.
fn down(acts: &mut Vec<(Duration, Act)>, rng: &mut Rng, at: Duration, how: Act) {
    acts.push((at, how));
    acts.push((at + between(rng, 2000, 6000), Act::Revive));
}

/// A leader is killed every 12 s while so many rows are written; answers how long that takes.
fn again_and_again(
    acts: &mut Vec<(Duration, Act)>,
    rng: &mut Rng,
    first: Duration,
    kind: Kind,
    rows: u64,
) -> Duration {
    let (kills, shortest) = match kind {
        Kind::Tiered => (TIERED_KILLS, TIERED_SHORTEST),
        _ => (usize::MAX, READER_TIMES.0),
    };
    let end = seconds((rows / READER_ROWS).clamp(shortest, READER_TIMES.1));
    let mut at = first;
    for kill in 0..kills {
        if kill > 0 && at + seconds(8) >= end {
            break;
        }
        down(acts, rng, at, Act::KillLeader);
        at += seconds(12);
    }
    end
}

/// Bad enough that each fault comes a few times in a round.
fn drizzle() -> Weather {
    Weather {
        cut_every: Some(seconds(5)),
        swallow_every: Some(seconds(60)),
        lose_answer_one_in: 100,
        delay_one_in: 50,
        delay_max: Duration::from_millis(100),
        split_one_in: 20,
    }
}

fn storm() -> Weather {
    Weather {
        cut_every: Some(Duration::from_millis(1500)),
        swallow_every: Some(seconds(15)),
        lose_answer_one_in: 20,
        delay_one_in: 10,
        delay_max: Duration::from_millis(300),
        split_one_in: 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_takes_a_leader_down_while_rows_are_written_and_brings_all_back() {
        for (kind, seed) in Kind::ALL.into_iter().flat_map(|kind| (0..50).map(move |s| (kind, s))) {
            let plan = Plan::new(kind, seed, 20_000 * seed);
            assert!(plan.acts.is_sorted_by_key(|(at, _)| *at), "{plan:?}");
            let count = |acts: &[Act]| plan.acts.iter().filter(|(_, a)| acts.contains(a)).count();
            let down = [Act::KillLeader, Act::StopLeader];
            assert_eq!(count(&down), count(&[Act::Revive]), "{plan:?}");
            assert_eq!(count(&[Act::PauseLeader]), count(&[Act::Resume]), "{plan:?}");
            let leader = [Act::KillLeader, Act::StopLeader, Act::PauseLeader];
            assert!(count(&leader) > 0, "{plan:?}");
            for (at, act) in plan.acts.iter().filter(|(_, act)| leader.contains(act)) {
                let writing = |(from, to): &(Duration, Duration)| from < at && at < to;
                assert!(plan.bursts.iter().any(writing), "{act:?} at {at:?}: {plan:?}");
            }
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert!("kil".parse::<Kind>().is_err());
    }

    #[test]
    fn a_round_with_readers_is_as_long_as_its_rows_and_kills_as_often() {
        for (rows, time, kills) in [(1, 8, 1), (50_000, 8, 1), (1_000_000, 80, 6)] {
            let plan = Plan::new(Kind::Reader, 3, rows);
            let found = plan.acts.iter().filter(|(_, act)| *act == Act::KillLeader).count();
            assert_eq!((plan.end(), found), (seconds(time), kills), "{rows} rows");
        }
    }

    #[test]
    fn a_round_with_moved_segments_kills_twice_however_few_its_rows_are() {
        for (seed, rows) in (0..50).flat_map(|seed| [(seed, 1), (seed, 1_000_000)]) {
            let plan = Plan::new(Kind::Tiered, seed, rows);
            let kills = plan.acts.iter().filter(|(_, act)| *act == Act::KillLeader);
            let kills: Vec<Duration> = kills.map(|(at, _)| *at).collect();
            assert!(kills.len() == 2 && kills[1] > seconds(13), "{plan:?}");
            assert!(kills[1] + seconds(8) < plan.end(), "{plan:?}");
        }
    }
}
