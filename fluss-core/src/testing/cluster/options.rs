//! How a fake cluster is set up, and which of its rules can be switched off.

use std::time::Duration;

/// Which server release the fake imitates where releases differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// 0.9.0 and 0.9.1: no statistics (batch magic 1), no back-pressure code, no `SCAN_KV`.
    #[default]
    V0_9,
    /// The 1.0 line.
    V1_0,
}

/// Settings of a [`FakeCluster`](super::FakeCluster). Start from `Default` and change fields.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Tablet servers, numbered from 0. Default 3, at least 1.
    pub tablet_servers: u16,
    /// The release to imitate. Default 0.9.
    pub release: Release,
    /// Seed of everything the fake decides by chance. Default 0.
    pub seed: u64,
    /// Wall clock, in milliseconds since 1970, at `Instant::ZERO`. Default 1,760,000,000,000.
    pub epoch_ms: i64,
    /// Largest request, the length field included, in bytes. Default 100 MiB.
    pub max_request_bytes: usize,
    /// Users and passwords. Empty (the default) means that no authentication is asked for.
    pub users: Vec<(String, String)>,
    /// Users that may do everything, where others may do what access control entries allow. `None`
    /// (the default) means that everybody may do everything.
    pub super_users: Option<Vec<String>>,
    /// How long the sequences of a silent writer are kept. Default 7 days.
    pub writer_expiry: Duration,
    /// Time from the creation of a table or partition until its leaders serve. Default 0.
    pub leader_delay: Duration,
    /// Time from an append until the high watermark covers it. Default 0.
    pub replication_delay: Duration,
    /// Time until a follower whose server is down, or does not follow, is no longer in sync; until
    /// then the high watermark waits for it. `None` (the default) means that nobody waits for
    /// followers, and that it does not matter who of them is there.
    pub replica_timeout: Option<Duration>,
    /// How long other servers name the old leader after a move. Default 0.
    pub metadata_lag: Duration,
    /// Whether leaders are named with their epochs, which older servers leave out. Default on.
    pub leader_epochs: bool,
    /// Buckets of a table whose descriptor names no number. Default 1.
    pub default_buckets: i32,
    /// Replicas of a table whose descriptor names no number. Default 1.
    pub replication: i32,
    /// In-sync replicas below which writes with acks -1 are refused. Default 1.
    pub min_in_sync: usize,
    /// How long a session of SCAN_KV lives without a call. Default 10 min.
    pub scan_ttl: Duration,
    /// Writes are checked, counted and acknowledged, but not kept. For measurements. Default off.
    pub ack_only: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            tablet_servers: 3,
            release: Release::default(),
            seed: 0,
            epoch_ms: 1_760_000_000_000,
            max_request_bytes: 100 << 20,
            users: Vec::new(),
            super_users: None,
            writer_expiry: Duration::from_secs(7 * 24 * 3600),
            leader_delay: Duration::ZERO,
            replication_delay: Duration::ZERO,
            replica_timeout: None,
            metadata_lag: Duration::ZERO,
            leader_epochs: true,
            default_buckets: 1,
            replication: 1,
            min_in_sync: 1,
            scan_ttl: Duration::from_secs(600),
            ack_only: false,
        }
    }
}

/// A rule of the server that a test can switch off to prove that its checks notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A sequence among a writer's last five is recognised as a duplicate.
    WindowCheck,
    /// A sequence that does not follow the last one is refused with 31.
    SequenceContinuity,
    /// A duplicate is answered with the offsets of the first append.
    DuplicateOffsets,
    /// Only the leader of a bucket serves it; others answer 12.
    LeaderCheck,
    /// An upsert looks for the old row and writes -U +U when there is one.
    OldValueLookup,
    /// A log batch with a wrong checksum is refused with 14.
    ChecksumCheck,
    /// A client reads nothing at or above the high watermark.
    HighWatermark,
}

impl Rule {
    /// All rules, for tests that switch them off one by one.
    pub const ALL: [Self; 7] = [
        Self::WindowCheck,
        Self::SequenceContinuity,
        Self::DuplicateOffsets,
        Self::LeaderCheck,
        Self::OldValueLookup,
        Self::ChecksumCheck,
        Self::HighWatermark,
    ];

    /// The rule with this name, as in `window-check`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }

    /// The rule's name, as in `window-check`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WindowCheck => "window-check",
            Self::SequenceContinuity => "sequence-continuity",
            Self::DuplicateOffsets => "duplicate-offsets",
            Self::LeaderCheck => "leader-check",
            Self::OldValueLookup => "old-value-lookup",
            Self::ChecksumCheck => "checksum-check",
            Self::HighWatermark => "high-watermark",
        }
    }
}

/// A lie that the fake tells once, so that a test can show that its checks would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A batch is acknowledged but not kept.
    LoseAcknowledged,
    /// A batch is appended twice and acknowledged once.
    DoubleAppend,
}
