//! What a seed means: the cluster, the settings, the work, and what goes wrong when.

use crate::backoff::BackoffConfig;
use crate::config::{Acks, Config, WriterConfig};
use crate::ids::ServerId;
use crate::rng::Rng;
use crate::testing::cluster::{ClusterOptions, Fault, On, Release};
use crate::time::{Duration, Instant};

use super::{Options, Profile};

/// How long a request may be held back or travel after its connection is gone. Far below the time
/// after which servers forget writers, as in a real network.
pub(super) const ZOMBIE: Duration = Duration::from_secs(8);

/// After this time of silence the simulated servers forget a writer. More than twice the time for
/// which a batch may be sent, as R15 asks, but for batches that must be written whatever happens.
pub(super) const EXPIRY: Duration = Duration::from_secs(60);

/// After this time of silence a bucket of a writer that watches it begins another session: early
/// enough for the copies of the session to come before [`EXPIRY`], as R18 asks.
pub(super) const IDLE_ROTATE: Duration = Duration::from_secs(10);

/// Batches of a long run, on average at least.
pub(super) const LONG_BATCHES: u64 = 10_000;

/// Tells the choice of nonsense from all others of a seed.
const NONSENSE: u64 = 0x6e6f_6e73_656e_7365;

/// The same for leaders that fail before others have what they acknowledged.
const UNREPLICATED: u64 = 0x756e_7265_706c_6963;

/// The same for refusals that come when nobody waits for them any more.
const LATE_REFUSALS: u64 = 0x6c61_7465_2072_6566;

/// The same for writer ids.
const WRITER_IDS: u64 = 0x7772_6974_6572_6964;

/// A table.
#[derive(Clone, Debug)]
pub(super) struct TablePlan {
    pub(super) kv: bool,
    pub(super) buckets: i32,
}

/// A writer: a table, settings, and how many handles share it.
#[derive(Clone, Debug)]
pub(super) struct WriterPlan {
    pub(super) table: usize,
    pub(super) lanes: u64,
    pub(super) config: WriterConfig,
    /// The client that has it.
    pub(super) client: usize,
}

/// Something that happens to the cluster or the network at a given time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// A bucket gets another leader.
    Move,
    /// The same, and the new leader lacks what was not replicated.
    FailOver,
    /// A server stops; it starts again after this time.
    Restart { clean: bool, down: Duration },
    /// A bucket has too few in-sync replicas for this time.
    ShrinkInSync(Duration),
    /// All connections of a server are cut.
    CutAll,
    /// One connection breaks.
    Reset,
    /// A server answers nothing any more on the connections it has.
    Silence,
    /// A table is dropped and made again.
    Recreate,
    /// A table is dropped; it comes back after this time.
    Drop(Duration),
    /// Nobody runs for this long: a paused machine.
    Jump(Duration),
    /// Nothing happens for longer than servers remember writers.
    Idle,
    /// Sequences of a bucket are about to run out.
    SkipSequences,
    /// A bucket loses its last acknowledged batch, as a lone replica may.
    LoseAcknowledged,
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All faults end, everything is flushed, then the client closes with nothing left.
    Flush,
    /// All faults end, then the client closes with this limit.
    Close(Duration),
    /// All faults end and all handles are dropped.
    Drop,
    /// The client aborts while everything is still going wrong.
    Abort,
}

/// What the network does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NetPlan {
    /// Shortest and longest way of a frame, in microseconds.
    pub(super) latency: (u64, u64),
    /// One frame in so many takes up to 300 ms more; 0 for never, as for all that follow.
    pub(super) slow: u64,
    /// One request in so many is cut within.
    pub(super) cut_up: u64,
    /// One answer in so many is cut within.
    pub(super) cut_down: u64,
    /// One piece of work in so many finds the socket full for a while.
    pub(super) full: u64,
    /// One connection attempt in so many is refused.
    pub(super) refuse: u64,
    /// One request in so many comes in two pieces.
    pub(super) split: u64,
}

/// Everything a seed decides beforehand.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) tables: Vec<TablePlan>,
    pub(super) writers: Vec<WriterPlan>,
    pub(super) cluster: ClusterOptions,
    /// Its bootstrap addresses are filled in with those of `bootstrap`.
    pub(super) client: Config,
    pub(super) bootstrap: Vec<ServerId>,
    pub(super) net: NetPlan,
    /// Batches to open.
    pub(super) batches: u64,
    /// Longest pause between two calls of the application, in microseconds.
    pub(super) pace: u64,
    /// One batch in so many is sealed late.
    pub(super) slow_sealer: u64,
    pub(super) faults: Vec<(On, u64, Fault)>,
    /// Faults that hit one upsert each, after so many of them.
    pub(super) planned: Vec<(u64, Fault)>,
    /// In order of time.
    pub(super) troubles: Vec<(Instant, Trouble)>,
    pub(super) end: End,
    /// Only faults after which each batch must succeed.
    pub(super) benign: bool,
}

impl Plan {
    /// The plan of a seed. The generator goes on into the run.
    pub(super) fn draw(rng: &mut Rng, options: &Options) -> Self {
        let long = options.profile == Profile::Long;
        let benign = rng.one_in(5);
        let cluster = cluster(rng, long);
        let tables = tables(rng, long);
        let client = client(rng);
        let bootstrap = bootstrap(rng, &cluster);
        let writers = writers(rng, long, benign, &tables, client.request_deadline);
        let batches = match options.batches {
            Some(batches) => batches,
            // Some are not opened after all, as there is no memory for them.
            None if long => LONG_BATCHES + LONG_BATCHES / 10,
            None => 12 + rng.below(19),
        };
        let pace = [2_000, 20_000, 60_000, 200_000][rng.below(4) as usize];
        let length = Duration::from_micros(batches * pace / 2);
        let end = match rng.below(8) {
            0 if !benign => End::Abort,
            1 if !benign => End::Close(Duration::from_millis(rng.below(5000))),
            2 => End::Close(Duration::from_secs(3600)),
            3 => End::Drop,
            _ => End::Flush,
        };
        Self {
            net: net(rng),
            faults: faults(rng, long, benign),
            planned: Vec::new(),
            troubles: troubles(rng, long.then_some(batches), benign, length),
            slow_sealer: [0, 6, 12][rng.below(3) as usize],
            tables,
            writers,
            cluster,
            client,
            bootstrap,
            batches,
            pace,
            end,
            benign,
        }
    }

    /// In one seed of three a server answers writes with what makes no sense. Drawn apart, so that
    /// the other seeds are what they would be without.
    pub(super) fn add_nonsense(&mut self, seed: u64, profile: Profile) {
        let mut rng = Rng::new(seed ^ NONSENSE);
        if !rng.one_in(3) {
            return;
        }
        let fault = match rng.below(5) {
            0 => Fault::ForeignBucket,
            1 => Fault::RepeatedBucket,
            2 => Fault::MissingBucket,
            3 => Fault::NegativeOffset,
            _ => Fault::UnaskedAnswer,
        };
        self.faults.push((On::Write, rarity(&mut rng, profile == Profile::Long), fault));
    }

    /// In one seed of sixteen a writer is content with the leader's word, and leaders fail while
    /// others are slow to have what they acknowledged.
    pub(super) fn add_unreplicated(&mut self, seed: u64) {
        let mut rng = Rng::new(seed ^ UNREPLICATED);
        if self.benign || !rng.one_in(16) {
            return;
        }
        let Some(writer) = self.writers.last_mut() else { return };
        writer.config.idempotence = false;
        writer.config.acks = Acks::Leader;
        self.cluster.replication_delay = Duration::from_millis(200);
        let length = self.batches * self.pace / 2;
        for _ in 0..3 {
            let at = Instant::from_micros(rng.below(length + 1));
            self.troubles.push((at, Trouble::FailOver));
        }
        self.troubles.sort_by_key(|(at, _)| *at);
    }

    /// In one seed of sixteen the storage is under load behind holes: batches leave in a row, one
    /// is refused for good, the answer to the next one tells nothing, and so their session ends
    /// (R13) while two more are on their way, to be refused for the load. By chance alone such
    /// faults hardly ever hit neighbours in a bucket.
    pub(super) fn add_late_refusals(&mut self, seed: u64) {
        let mut rng = Rng::new(seed ^ LATE_REFUSALS);
        if self.benign || !self.tables.iter().any(|table| table.kv) || !rng.one_in(16) {
            return;
        }
        // Older servers have no code of its own for their load.
        self.cluster.release = Release::V1_0;
        self.pace = 2_000;
        self.writers.iter_mut().for_each(|writer| writer.config.max_in_flight = 5);
        for skip in [0, rng.below(8), 8 + rng.below(16)] {
            let refused = Fault::ErrorBefore(any_of(&mut rng, &FATAL[..5]));
            let open = Fault::ErrorBefore(any_of(&mut rng, &OPEN));
            let row = [refused, open, Fault::Throttle, Fault::Throttle];
            // Those that are due at once hit one request after the other.
            self.planned.extend(row.map(|fault| (skip, fault)));
        }
    }

    /// In one seed of eight the cluster gives out a writer id that is none, or one that it gave out
    /// before. Only a client that got both can tell, so not where there are two.
    pub(super) fn add_writer_ids(&mut self, seed: u64) {
        let mut rng = Rng::new(seed ^ WRITER_IDS);
        if rng.one_in(8) {
            let id = [-1, 0, 1, i64::MAX][rng.below(4) as usize];
            self.faults.push((On::InitWriter, 2 + rng.below(3), Fault::WriterId(id)));
        }
    }

    /// Another client has the same writers on the same tables.
    pub(super) fn add_second_client(&mut self) {
        let others = self.writers.iter().map(|writer| WriterPlan { client: 1, ..writer.clone() });
        let others: Vec<WriterPlan> = others.collect();
        self.writers.extend(others);
    }
}

fn cluster(rng: &mut Rng, long: bool) -> ClusterOptions {
    let tablet_servers = if long { 3 } else { [1, 2, 2, 3, 3][rng.below(5) as usize] };
    ClusterOptions {
        tablet_servers,
        release: if rng.one_in(2) { Release::V1_0 } else { Release::V0_9 },
        seed: rng.next_u64(),
        writer_expiry: EXPIRY,
        leader_delay: Duration::from_millis([0, 0, 40][rng.below(3) as usize]),
        replication_delay: Duration::from_millis([0, 1, 8, 60][rng.below(4) as usize]),
        metadata_lag: Duration::from_millis([0, 100, 1500][rng.below(3) as usize]),
        replication: i32::from(tablet_servers),
        ..ClusterOptions::default()
    }
}

fn tables(rng: &mut Rng, long: bool) -> Vec<TablePlan> {
    let kv = TablePlan { kv: true, buckets: 2 + rng.below(3) as i32 };
    let log = TablePlan { kv: false, buckets: 2 + rng.below(3) as i32 };
    match rng.below(3) {
        _ if long => vec![log, kv],
        0 => vec![TablePlan { buckets: 2, ..log }, TablePlan { buckets: 2, ..kv }],
        1 => vec![TablePlan { buckets: log.buckets + 1, ..log }],
        _ => vec![TablePlan { buckets: kv.buckets + 1, ..kv }],
    }
}

fn bootstrap(rng: &mut Rng, cluster: &ClusterOptions) -> Vec<ServerId> {
    let tablet = ServerId::Tablet(rng.below(cluster.tablet_servers.into()) as i32);
    match rng.below(3) {
        0 => vec![ServerId::Coordinator],
        1 => vec![tablet],
        _ => vec![ServerId::Coordinator, tablet],
    }
}

fn client(rng: &mut Rng) -> Config {
    let mut config = Config::with_addresses(Vec::new()).seed(rng.next_u64());
    let limit = 300 + rng.below(3000);
    config.request_deadline = Duration::from_millis(limit);
    config.ack_timeout = Duration::from_millis(limit * 3 / 4);
    config.connect_timeout = Duration::from_millis(200 + rng.below(2000));
    config.reconnect_backoff =
        BackoffConfig::new(Duration::from_millis(20), Duration::from_millis(50 + rng.below(1000)));
    config.memory_limit = if rng.one_in(6) { 1024 + rng.below(1024) } else { 64 << 20 };
    config
}

fn writers(
    rng: &mut Rng,
    long: bool,
    benign: bool,
    tables: &[TablePlan],
    request_deadline: Duration,
) -> Vec<WriterPlan> {
    let count = if long { 2 + rng.below(3) } else { 1 + rng.below(3) };
    // What must be written must have the time: thousands of batches may queue for a slow network.
    let patience = Duration::from_secs(if long { 20_000 } else { 200 });
    let patience = benign.then_some(patience);
    let mut writers: Vec<WriterPlan> = (0..count.max(tables.len() as u64))
        .map(|i| WriterPlan {
            table: i as usize % tables.len(),
            lanes: 1 + rng.below(3),
            config: writer(rng, patience, request_deadline),
            client: 0,
        })
        .collect();
    // Some seeds have a writer that promises less.
    if rng.one_in(6)
        && let Some(last) = writers.last_mut()
    {
        last.config.idempotence = false;
        last.config.acks = [Acks::None, Acks::Leader, Acks::All][rng.below(3) as usize];
    }
    writers
}

/// `patience`: batches must be written, and have so much more time than is needed.
fn writer(rng: &mut Rng, patience: Option<Duration>, request_deadline: Duration) -> WriterConfig {
    let linger = Duration::from_millis([0, 5, 40][rng.below(3) as usize]);
    // As little as is allowed, quite often.
    let more = [rng.below(300), rng.below(3_000), rng.below(15_000)][rng.below(3) as usize];
    let more = patience.unwrap_or(Duration::from_millis(more));
    let delivery_timeout = request_deadline + linger + more;
    let retries =
        if patience.is_some() || !rng.one_in(4) { u32::MAX } else { 1 + rng.below(6) as u32 };
    WriterConfig {
        linger,
        max_in_flight: [1, 2, 3, 5, 5][rng.below(5) as usize],
        retries,
        delivery_timeout,
        retry_backoff: BackoffConfig::new(
            Duration::from_millis(20),
            Duration::from_millis([50, 200, 1000][rng.below(3) as usize]),
        ),
        idle_rotate: [Duration::from_secs(24 * 3600), IDLE_ROTATE][rng.below(2) as usize],
        fatal_confirm: rng.below(3) as u32,
        track_offsets: [None, None, Some(false), Some(true)][rng.below(4) as usize],
        max_throttle: Duration::from_millis(100 + rng.below(1500)),
        request_bytes: if rng.one_in(3) { 64 } else { 10 << 20 },
        batch_bytes: 64,
        ..WriterConfig::default()
    }
}

fn net(rng: &mut Rng) -> NetPlan {
    let mut one_in =
        |chance: u64, n: u64| if rng.one_in(chance) { n / 2 + rng.below(n) } else { 0 };
    NetPlan {
        slow: one_in(2, 20),
        cut_up: one_in(2, 40),
        cut_down: one_in(2, 40),
        full: one_in(2, 10),
        refuse: one_in(3, 6),
        split: one_in(3, 6),
        latency: (50 + rng.below(300), [400, 3_000, 30_000][rng.below(3) as usize]),
    }
}

/// Refusals before an append after which the batch can still be written.
const SOFT: [i32; 6] = [29, 70, 72, 3, 14, 9];
/// Refusals for good.
const FATAL: [i32; 6] = [57, 48, 35, 13, 20, 2];
/// Codes that tell nothing about an append.
const OPEN: [i32; 9] = [12, 21, 26, 10, 11, 25, 28, 1, -1];

fn faults(rng: &mut Rng, long: bool, benign: bool) -> Vec<(On, u64, Fault)> {
    let mut drawn = Vec::new();
    let kinds = 2 + rng.below(5);
    for _ in 0..kinds {
        let rarity = rarity(rng, long);
        let (on, fault) = fault(rng, benign);
        drawn.push((on, rarity, fault));
    }
    drawn
}

fn rarity(rng: &mut Rng, long: bool) -> u64 {
    if long { 60 + rng.below(200) } else { 6 + rng.below(20) }
}

fn any_of(rng: &mut Rng, codes: &[i32]) -> i32 {
    codes[rng.below(codes.len() as u64) as usize]
}

fn fault(rng: &mut Rng, benign: bool) -> (On, Fault) {
    let on = [On::Write, On::Write, On::Write, On::Any][rng.below(4) as usize];
    let after = OPEN[rng.below(9) as usize];
    let delay = Duration::from_millis(rng.below(4) * rng.below(500));
    match rng.below(25) {
        0 => (on, Fault::CutRequest),
        1 | 2 => (on, Fault::LoseAnswer),
        3 => (on, Fault::CutAnswer),
        4 => (on, Fault::SwallowAnswer),
        5 => (on, Fault::DropRequest),
        6 => (on, Fault::DelayAnswer(delay)),
        7 => (On::Write, Fault::DelayRequest(delay + ZOMBIE.mul_f64(0.3))),
        8 | 9 => (On::Write, Fault::ErrorAfter(after)),
        // Limited refusals count as fatal when they persist.
        10 if benign => (On::Write, Fault::ErrorBefore(any_of(rng, &SOFT[..3]))),
        10 => (On::Write, Fault::ErrorBefore(any_of(rng, &SOFT))),
        11 => (On::Write, Fault::ErrorBefore(any_of(rng, &OPEN))),
        12 | 13 if benign => (On::Write, Fault::ErrorBefore(29)),
        12 | 13 => (On::Write, Fault::ErrorBefore(any_of(rng, &FATAL))),
        14 => (On::Write, Fault::MoveLeader),
        15 => (On::Write, Fault::MoveLeaderAfter),
        16 => (On::Write, Fault::RestartClean),
        17 => (On::Write, Fault::RestartUnclean),
        18 => (On::Write, Fault::Throttle),
        19 => (On::Write, Fault::Pressure(rng.below(100) as f32 / 100.0)),
        20 => (on, Fault::GarbageBody),
        21 => (on, Fault::GarbageFrame),
        22 => (on, Fault::DuplicateAnswer),
        23 => (on, Fault::Silence),
        _ if benign => (On::InitWriter, Fault::ErrorBefore(-1)),
        _ => match rng.below(3) {
            0 => (On::InitWriter, Fault::ErrorBefore(any_of(rng, &[-1, 48, 1, 25]))),
            1 => (On::InitWriter, Fault::LoseAnswer),
            _ => (On::Write, Fault::RecreateTable),
        },
    }
}

/// A handful, or one for so many batches of a long run.
fn troubles(
    rng: &mut Rng,
    long: Option<u64>,
    benign: bool,
    length: Duration,
) -> Vec<(Instant, Trouble)> {
    let count = match long {
        Some(batches) => 5 + batches / 50 + rng.below(1 + batches / 16),
        None => 1 + rng.below(6),
    };
    let micros = length.as_micros() as u64;
    let mut drawn: Vec<(Instant, Trouble)> = (0..count)
        .map(|_| (Instant::from_micros(rng.below(micros + 1)), trouble(rng, benign)))
        .collect();
    drawn.sort_by_key(|(at, _)| *at);
    drawn
}

fn trouble(rng: &mut Rng, benign: bool) -> Trouble {
    let down = Duration::from_millis(rng.below(5) * rng.below(400));
    match rng.below(if benign { 12 } else { 21 }) {
        0 | 1 => Trouble::Move,
        2 | 3 => Trouble::FailOver,
        4 => Trouble::Restart { clean: true, down },
        5 => Trouble::Restart { clean: false, down },
        6 => Trouble::ShrinkInSync(down),
        7 => Trouble::CutAll,
        8 | 9 => Trouble::Reset,
        10 => Trouble::Silence,
        11 => Trouble::Jump(down),
        12 => Trouble::Recreate,
        13 => Trouble::Drop(down),
        14 | 15 => Trouble::Idle,
        16 | 17 => Trouble::SkipSequences,
        18 => Trouble::LoseAcknowledged,
        _ => Trouble::Jump(down * 2),
    }
}
