//! What a run did, and what many runs did together. A simulation in which nothing happens proves
//! nothing, so the sums have bounds of their own.

use std::fmt;

use crate::error::WriteError;
use crate::output::BatchOutcome;
use crate::testing::cluster::FaultKind;

use super::plan::{LONG_BATCHES, Plan};
use super::{Options, Profile};

macro_rules! things {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Something that goes wrong, or is out of the ordinary, besides the servers' own faults.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Oddity { $($(#[$doc])* $name,)* }

        impl Oddity {
            const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

things! {
    /// A request is cut within, by the network.
    CutUp,
    /// An answer is cut within, by the network.
    CutDown,
    /// A connection breaks.
    Reset,
    /// Requests of a connection that is gone arrive late.
    Zombie,
    /// A connection attempt is refused.
    ConnectRefused,
    /// All connections of a server are cut.
    CutAll,
    /// A server goes silent on all its connections.
    Silence,
    /// A leader moves.
    Move,
    /// The new leader of a bucket lacks what was not replicated.
    FailOver,
    /// A leader has moved, and metadata does not say so for a while.
    StaleMetadata,
    /// What was not replicated is gone with a leader.
    Truncated,
    /// With it went a batch that the leader alone had acknowledged, as was asked for.
    LostByLeader,
    /// A server stops and starts; one sequence per writer is remembered.
    RestartClean,
    /// A server dies and starts.
    RestartUnclean,
    /// Too few replicas are in sync.
    ShrinkInSync,
    /// A table is dropped and made again.
    Recreate,
    /// A table is dropped and comes back later.
    Drop,
    /// The machine pauses.
    Jump,
    /// Silence beyond the servers' memory.
    Idle,
    /// Sequences are about to run out.
    SkipSequences,
    /// An acknowledged batch is lost by the servers.
    LostAcknowledged,
    /// A batch is opened and handed in late.
    SlowSealer,
    /// Somebody waits for memory. No fault.
    MemoryWait,
    /// Somebody who waited for memory when the faults ended is served. No fault.
    LateMemory,
    /// A socket takes nothing for a while. No fault.
    SocketFull,
    /// A frame takes long. No fault.
    SlowFrame,
    /// Two clients write to the same buckets. No fault.
    TwoClients,
}

/// Whatever is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// See [`Oddity`].
    Odd(Oddity),
    /// A fault of the servers.
    Fault(FaultKind),
}

/// The faults of the servers that plans contain. `ExpireWriters` is not among them: writers are
/// forgotten by time, and no copy of theirs may be left then.
const FAULTS: [FaultKind; 26] = [
    FaultKind::CutRequest,
    FaultKind::LoseAnswer,
    FaultKind::CutAnswer,
    FaultKind::SwallowAnswer,
    FaultKind::DropRequest,
    FaultKind::DelayAnswer,
    FaultKind::DelayRequest,
    FaultKind::ErrorBefore,
    FaultKind::ErrorAfter,
    FaultKind::MoveLeader,
    FaultKind::MoveLeaderAfter,
    FaultKind::RestartClean,
    FaultKind::RestartUnclean,
    FaultKind::Throttle,
    FaultKind::Pressure,
    FaultKind::RecreateTable,
    FaultKind::GarbageBody,
    FaultKind::GarbageFrame,
    FaultKind::DuplicateAnswer,
    FaultKind::Silence,
    FaultKind::ForeignBucket,
    FaultKind::RepeatedBucket,
    FaultKind::MissingBucket,
    FaultKind::NegativeOffset,
    FaultKind::UnaskedAnswer,
    FaultKind::WriterId,
];

impl Thing {
    fn all() -> impl Iterator<Item = Self> {
        let odd = Oddity::ALL.iter().map(|odd| Self::Odd(*odd));
        odd.chain(FAULTS.iter().map(|kind| Self::Fault(*kind)))
    }

    fn bit(self) -> u64 {
        match self {
            Self::Odd(odd) => 1 << (odd as u32),
            Self::Fault(kind) => 1 << (32 + kind as u32),
        }
    }

    fn is_fault(self) -> bool {
        use Oddity::{LateMemory, MemoryWait, SlowFrame, SocketFull, TwoClients};
        !matches!(self, Self::Odd(MemoryWait | LateMemory | SocketFull | SlowFrame | TwoClients))
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Odd(odd) => write!(f, "{odd:?}"),
            Self::Fault(kind) => write!(f, "server {kind:?}"),
        }
    }
}

/// What one run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seed {
    /// Batches opened.
    pub batches: u64,
    /// Tablet servers.
    pub servers: u64,
    /// Buckets that batches were opened for, as `(table, bucket)`.
    pub buckets: Vec<(i64, i32)>,
    /// Faults that fired.
    pub faults: u64,
    /// The kinds of things that happened, a bit for each.
    things: u64,
    /// The rules of the writers that decided something: bit `n` for `Rn`.
    pub rules: u32,
    /// Batches that ended in success.
    pub written: u64,
    /// Those of them that a later answer proved.
    pub inferred: u64,
    /// Batches that ended as not written.
    pub not_written: u64,
    /// Batches of unknown outcome.
    pub unknown: u64,
    /// Copies sent.
    pub copies: u64,
    /// Only faults fired after which each batch must be written, and was.
    pub benign: bool,
    /// Virtual time that passed, in microseconds.
    pub micros: u64,
}

impl Seed {
    pub(super) fn new(plan: &Plan) -> Self {
        let servers = plan.cluster.tablet_servers.into();
        Self { servers, benign: plan.benign, ..Self::default() }
    }

    pub(super) fn count(&mut self, odd: Oddity) {
        self.counted(Thing::Odd(odd), 1);
    }

    pub(super) fn counted(&mut self, thing: Thing, times: u64) {
        self.things |= thing.bit();
        self.faults += if thing.is_fault() { times } else { 0 };
    }

    pub(super) fn has(&self, odd: Oddity) -> bool {
        self.things & Thing::Odd(odd).bit() != 0
    }

    pub(super) fn bucket(&mut self, table: i64, bucket: i32) {
        if !self.buckets.contains(&(table, bucket)) {
            self.buckets.push((table, bucket));
        }
    }

    pub(super) fn ended(&mut self, outcome: &BatchOutcome) {
        match outcome {
            BatchOutcome::Written(written) => {
                self.written += 1;
                self.inferred += u64::from(written.inferred);
            }
            BatchOutcome::Failed(WriteError::NotWritten(_)) => self.not_written += 1,
            BatchOutcome::Failed(WriteError::OutcomeUnknown(_)) => self.unknown += 1,
        }
    }
}

/// The rules that every long enough series of runs makes decide something.
const RULES: std::ops::RangeInclusive<u32> = 3..=22;

/// What many runs did.
#[derive(Clone, Debug)]
pub struct Totals {
    profile: Profile,
    /// Batches a seed that are asked for on average.
    least_batches: f64,
    /// Runs.
    pub seeds: u64,
    sums: Seed,
    buckets: u64,
    /// Runs in which at least two faults fired.
    troubled: u64,
    benign: u64,
    things: [u64; 64],
    rules: [u64; 32],
}

impl Totals {
    /// No runs yet.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        let Options { profile, batches, .. } = *options;
        let least_batches = match (profile, batches) {
            (Profile::Short, None) => 20.0,
            (Profile::Long, None) => LONG_BATCHES as f64,
            // Some find no memory.
            (_, Some(batches)) => batches as f64 * 0.9,
        };
        let (sums, things, rules) = (Seed::default(), [0; 64], [0; 32]);
        let (seeds, buckets, troubled, benign) = (0, 0, 0, 0);
        Self { profile, least_batches, seeds, sums, buckets, troubled, benign, things, rules }
    }

    /// Adds a run.
    pub fn add(&mut self, seed: &Seed) {
        self.seeds += 1;
        self.buckets += seed.buckets.len() as u64;
        self.troubled += u64::from(seed.faults >= 2);
        self.benign += u64::from(seed.benign);
        for (bit, count) in self.things.iter_mut().enumerate() {
            *count += seed.things >> bit & 1;
        }
        for (bit, count) in self.rules.iter_mut().enumerate() {
            *count += u64::from(seed.rules >> bit & 1);
        }
        let sums = &mut self.sums;
        sums.batches += seed.batches;
        sums.servers += seed.servers;
        sums.faults += seed.faults;
        sums.written += seed.written;
        sums.inferred += seed.inferred;
        sums.not_written += seed.not_written;
        sums.unknown += seed.unknown;
        sums.copies += seed.copies;
        sums.micros += seed.micros;
    }

    /// Adds other runs.
    pub fn join(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.buckets += other.buckets;
        self.troubled += other.troubled;
        self.benign += other.benign;
        for (sum, more) in self.things.iter_mut().zip(other.things) {
            *sum += more;
        }
        for (sum, more) in self.rules.iter_mut().zip(other.rules) {
            *sum += more;
        }
        let (sums, more) = (&mut self.sums, &other.sums);
        sums.batches += more.batches;
        sums.servers += more.servers;
        sums.faults += more.faults;
        sums.written += more.written;
        sums.inferred += more.inferred;
        sums.not_written += more.not_written;
        sums.unknown += more.unknown;
        sums.copies += more.copies;
        sums.micros += more.micros;
    }

    fn average(&self, sum: u64) -> f64 {
        sum as f64 / self.seeds.max(1) as f64
    }

    fn thing(&self, thing: Thing) -> u64 {
        self.things[thing.bit().trailing_zeros() as usize]
    }

    /// What is missing for these runs to be worth anything: averages, and kinds of faults and rules
    /// that came up in less than one run of a thousand.
    #[must_use]
    pub fn shortcomings(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut least = |what: String, is: f64, bound: f64| {
            if is < bound {
                found.push(format!("{what}: {is:.3}, at least {bound} is asked for"));
            }
        };
        least("batches a seed".into(), self.average(self.sums.batches), self.least_batches);
        least("servers a seed".into(), self.average(self.sums.servers), 2.0);
        least("buckets a seed".into(), self.average(self.buckets), 3.0);
        least("faults a seed".into(), self.average(self.sums.faults), 4.0);
        least("share of seeds with 2 faults".into(), self.average(self.troubled), 0.9);
        // Each at all, in few seeds; in many, one seed in a thousand.
        let bound = (self.seeds as f64 / 1000.0).floor().max(1.0);
        for rule in RULES {
            least(format!("seeds with rule R{rule}"), self.rules[rule as usize] as f64, bound);
        }
        for thing in Thing::all() {
            least(format!("seeds with {thing}"), self.thing(thing) as f64, bound);
        }
        found
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, sums, .. } = self;
        writeln!(f, "{seeds} seeds of the {:?} profile, on average a seed:", self.profile)?;
        for (what, sum) in [
            ("batches", sums.batches),
            ("copies", sums.copies),
            ("written", sums.written),
            ("  inferred", sums.inferred),
            ("not written", sums.not_written),
            ("unknown", sums.unknown),
            ("servers", sums.servers),
            ("buckets", self.buckets),
            ("faults fired", sums.faults),
            ("virtual seconds", sums.micros / 1_000_000),
        ] {
            writeln!(f, "  {what:<16} {:>10.3}", self.average(sum))?;
        }
        writeln!(
            f,
            "{:.2} % of the seeds fired 2 faults or more",
            self.average(self.troubled) * 100.0
        )?;
        writeln!(f, "{} seeds had only faults after which all is written", self.benign)?;
        writeln!(f, "seeds in which a rule decided something:")?;
        for rule in RULES {
            writeln!(f, "  R{rule:<15} {:>10}", self.rules[rule as usize])?;
        }
        writeln!(f, "seeds in which something happened:")?;
        for thing in Thing::all() {
            writeln!(f, "  {:<24} {:>10}", thing.to_string(), self.thing(thing))?;
        }
        Ok(())
    }
}
