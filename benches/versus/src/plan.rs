//! What a run is to do, as both sides understand it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::Failure;

/// Size at which a batch is full, in bytes.
pub const BATCH_BYTES: usize = 2 << 20;
/// How long a batch waits for more rows.
pub const LINGER: Duration = Duration::from_millis(100);
/// Batches of a bucket on their way at once.
pub const IN_FLIGHT: usize = 5;
/// Memory for rows without an acknowledgement.
pub const MEMORY: usize = 64 << 20;
/// One row in so many keeps its ticket and is asked for its outcome.
pub const SAMPLE: u64 = 4096;
/// Rows of an Arrow record batch.
pub const ARROW_ROWS: usize = 8192;
/// Rows written and acknowledged before the measurement, so that leaders are known.
pub const WARM_UP: u64 = 100;
/// Bytes of a fetch, and of a bucket in it: what both clients ask for by default.
pub const FETCH_BYTES: usize = 16 << 20;
pub const FETCH_BYTES_PER_BUCKET: usize = 1 << 20;
/// Lookups on their way at once, on one handle, where one can have so many.
pub const LOOKUPS_IN_FLIGHT: usize = 1024;
/// Lookups go round among so many keys: among many more a server takes as long to find a row in its
/// memory as a client takes for all else, and it is the clients that are compared.
pub const LOOKUP_KEYS: u64 = 1 << 12;
/// Keys of a call with many of them; so many calls are on their way that all keys are as many as
/// those above.
pub const KEYS_OF_A_CALL: usize = 128;
/// Buckets of the tables.
pub const BUCKETS: i32 = 4;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $word),+ })
            }
        }

        impl FromStr for $name {
            type Err = Failure;

            fn from_str(word: &str) -> Result<Self, Failure> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    other => Err(format!("`{other}` is none of {:?}", [$($word),+]).into()),
                }
            }
        }
    };
}

words! {
    /// Who writes.
    Side {
        /// This client on tokio.
        Ours = "ours",
        /// This client on smol.
        Smol = "ours-smol",
        /// This client with its own thread and no runtime.
        Blocking = "ours-blocking",
        /// fluss-rs on a runtime of two threads.
        Theirs = "fluss-rs",
        /// fluss-rs on a runtime of one thread: for what reads, the thread that reads.
        TheirsAlone = "fluss-rs-alone",
    }
}

words! {
    /// How rows are handed in or read.
    Variant {
        /// Row by row into a log table.
        Append = "append",
        /// Many rows in one call; fluss-rs has no such call and appends row by row.
        AppendAll = "append-all",
        /// Arrow record batches into a log table.
        Batches = "batches",
        /// Row by row into a primary-key table.
        Upsert = "upsert",
        /// Many rows in one call; fluss-rs has no such call and upserts row by row.
        UpsertAll = "upsert-all",
        /// A log table as Arrow record batches, one column of which is looked at.
        ScanArrow = "scan-arrow",
        /// A log table row by row, of which each value is looked at.
        ScanRows = "scan-rows",
        /// Rows of a primary-key table by their keys, one by one and round and round.
        Lookups = "lookups",
        /// The same with many keys in one call; fluss-rs has no such call and looks up one by one.
        LookupAll = "lookup-all",
    }
}

impl Variant {
    /// How a table has to be filled before the run, for runs that read.
    pub fn filled_by(self) -> Option<Self> {
        match self {
            Self::ScanArrow | Self::ScanRows => Some(Self::AppendAll),
            Self::Lookups | Self::LookupAll => Some(Self::Upsert),
            _ => None,
        }
    }

    /// The rows of the table of a run that reads so many.
    pub fn stored(self, rows: u64) -> u64 {
        if self.looks_up() { rows.min(LOOKUP_KEYS) } else { rows }
    }

    /// Whether its table has a primary key.
    pub fn has_key(self) -> bool {
        matches!(self, Self::Upsert | Self::UpsertAll) || self.looks_up()
    }

    /// Times that fluss-rs has to cost more, if anything is asked for.
    pub fn bound(self, level: Level) -> Option<f64> {
        match (level, self) {
            (Level::Floor, Self::Append | Self::Upsert) => Some(4.0),
            (Level::Floor, Self::AppendAll) => Some(8.0),
            (Level::Floor, _) => None,
            (Level::Goal, Self::Append) => Some(7.0),
            (Level::Goal, Self::AppendAll) => Some(14.0),
            (Level::Goal, Self::Batches | Self::ScanArrow) => Some(2.0),
            (Level::Goal, Self::Upsert | Self::UpsertAll) => Some(8.0),
            (Level::Goal, Self::ScanRows) => Some(2.5),
            (Level::Goal, Self::Lookups | Self::LookupAll) => Some(3.0),
        }
    }

    /// Whether rows are looked up.
    pub fn looks_up(self) -> bool {
        matches!(self, Self::Lookups | Self::LookupAll)
    }
}

words! {
    /// How far apart the two have to be.
    Level {
        /// What no change may go below.
        Floor = "floor",
        /// What is aimed at.
        Goal = "goal",
    }
}

words! {
    /// The log's compression.
    Codec {
        /// None.
        None = "NONE",
        /// ZSTD, level 3.
        Zstd = "ZSTD",
        /// What the server takes if nothing is said.
        Default = "default",
    }
}

words! {
    /// The settings of both sides.
    Settings {
        /// The ones above, the same on both sides.
        Equal = "equal",
        /// Each side's own defaults.
        Own = "own",
    }
}

/// One client run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub side: Side,
    pub variant: Variant,
    pub threads: u64,
    /// Rows of all threads together.
    pub rows: u64,
    pub settings: Settings,
    pub bootstrap: String,
    pub table: String,
}

impl Plan {
    /// How much is read before the measurement. A scan is made once as a whole, so that what is
    /// measured is a row of a reader that runs, and not the memory that it touches for the first
    /// time.
    pub fn warm_up(&self) -> u64 {
        if self.variant.looks_up() { WARM_UP } else { self.rows }
    }
}

/// What a client run found.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// User and system time of the process, in nanoseconds.
    pub cpu: u64,
    /// In nanoseconds.
    pub wall: u64,
    /// User and system time of the server meanwhile, in nanoseconds, where it is one of ours.
    pub server: u64,
}

/// The key of a lookup, by its number.
pub fn key(lookup: u64) -> i64 {
    (lookup % LOOKUP_KEYS).cast_signed()
}
