//! Tables whose creation the server lost.
//!
//! The published server now and then overlooks the creation of a table, the more often the busier
//! the machine is: the table exists but never gets leaders. The way out is bounded, so that a
//! fault of ours cannot hide behind it: restart the coordinator, create the table again under
//! another name, count, and give up when it happens too often.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fluss_core::row::TableDescriptor;
use fluss_core::{Error, Fluss, Table};

use super::require::tally;
use super::{ClusterError, RealCluster};

/// Losses that are always accepted.
const FREE_LOSSES: usize = 5;
/// Above that, at most one table in this many may get lost.
const TABLES_PER_LOSS: usize = 10;
/// Names tried for one table.
const NAMES: usize = 4;
const PAUSE: Duration = Duration::from_millis(50);

/// Counts the tables made in a test run and those that the server lost. A run of several programs
/// adds them up in the file that `FLUSS_REAL_CLUSTER_TALLY` names, as `.ci/run` does.
///
/// A run fails once more than 5 tables, and more than one in ten of those made, got lost. It can
/// be a `static`.
///
/// ```no_run
/// use fluss_tools::cluster::{ClusterError, ClusterOptions, RealCluster, TableLosses};
///
/// static LOSSES: TableLosses = TableLosses::new();
///
/// # fn create_table(name: &str) -> Result<(), ClusterError> { Ok(()) }
/// let cluster = RealCluster::start(ClusterOptions::default())?;
/// let (name, ()) = LOSSES.make(
///     &cluster,
///     "orders",
///     |name| create_table(name),
///     |name, ()| cluster.has_leaders("fluss", name, None),
/// )?;
/// println!("the table is called {name}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TableLosses {
    counts: Mutex<Counts>,
    limit: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Counts {
    made: usize,
    lost: usize,
}

/// Too many tables got lost for that to be the known fault of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{lost} of {made} tables never got leaders: more than the server's known fault explains")]
pub struct TooManyLosses {
    /// Tables made, the lost ones included.
    pub made: usize,
    /// Tables lost.
    pub lost: usize,
}

/// Why [`TableLosses::make`] made no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError<E> {
    /// The caller's creation or leader check failed.
    #[error("the table {name} could not be made")]
    Caller {
        /// The name tried.
        name: String,
        /// What the caller's closure returned.
        source: E,
    },
    /// The coordinator did not come back.
    #[error("restart of the coordinator after a lost table")]
    Restart(#[source] ClusterError),
    /// This run has lost too many.
    #[error(transparent)]
    TooMany(#[from] TooManyLosses),
    /// The same table got lost under every name tried.
    #[error("the table {name} never got leaders, under {tried} names")]
    NeverLed {
        /// The name asked for.
        name: String,
        /// How many names were tried.
        tried: usize,
    },
}

impl Default for TableLosses {
    fn default() -> Self {
        Self::new()
    }
}

impl TableLosses {
    /// No table yet; a table without leaders after 10 s is lost.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_limit(Duration::from_secs(10))
    }

    /// The same with another time limit.
    #[must_use]
    pub const fn with_limit(limit: Duration) -> Self {
        Self { counts: Mutex::new(Counts { made: 0, lost: 0 }), limit }
    }

    /// Tables made so far, the lost ones included.
    #[must_use]
    pub fn made(&self) -> usize {
        self.counts().made
    }

    /// Tables lost so far.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.counts().lost
    }

    /// Counts a table as made, for callers who wait for leaders themselves.
    pub fn record_made(&self) {
        self.update(|counts| counts.made += 1);
    }

    /// Counts one of the tables made as lost.
    ///
    /// # Errors
    /// [`TooManyLosses`] when the run has to fail.
    pub fn record_lost(&self) -> Result<(), TooManyLosses> {
        let Counts { made, lost } = self.update(|counts| counts.lost += 1);
        if lost > FREE_LOSSES && lost * TABLES_PER_LOSS > made {
            return Err(TooManyLosses { made, lost });
        }
        Ok(())
    }

    /// Makes a table and waits until `has_leaders` says yes. Where that takes longer than the
    /// limit, restarts the coordinator and tries `name_2`, `name_3`, `name_4`. Returns the name
    /// that worked and what `create` returned for it.
    ///
    /// # Errors
    /// [`TableError`]. An error of a closure ends the attempt at once.
    pub fn make<T, E>(
        &self,
        cluster: &RealCluster,
        name: &str,
        mut create: impl FnMut(&str) -> Result<T, E>,
        has_leaders: impl FnMut(&str, &T) -> Result<bool, E>,
    ) -> Result<(String, T), TableError<E>> {
        // Whoever runs several test binaries counts over all of them.
        let create = |name: &str| {
            let table = create(name)?;
            tally("table made\n");
            Ok(table)
        };
        let restart = || {
            tally("table lost\n");
            cluster.restart_coordinator()
        };
        self.make_with(restart, name, create, has_leaders)
    }

    /// Makes the table `database.name` with a client and opens it, by calls that block; the rest is
    /// as with [`TableLosses::make`]. A partitioned table has no leaders to wait for: `probe` is
    /// the key and value of a partition that is made with it, and may be dropped afterwards.
    ///
    /// # Errors
    /// [`TableError`]; what the client says is told under [`TableError::Caller`].
    pub fn open(
        &self,
        cluster: &RealCluster,
        fluss: &Fluss,
        path: &str,
        descriptor: &TableDescriptor,
        probe: Option<(&str, &str)>,
    ) -> Result<Table, TableError<Error>> {
        let create = |path: &str| {
            fluss.admin().create_table(path, descriptor, false).wait()?;
            if let Some(values) = probe {
                // Where the server lost the table this fails, and its leaders never come.
                let _lost = fluss.admin().create_partition(path, &[values], false).wait();
            }
            fluss.table(path).wait()
        };
        let led = |_: &str, table: &Table| {
            let path = &table.info().path;
            match cluster.has_leaders(&path.database, &path.table, probe.map(|(_, value)| value)) {
                Err(_) if probe.is_some() => Ok(false),
                led => led.map_err(|e| Error::misuse(format!("asking for leaders: {e}"))),
            }
        };
        self.make(cluster, path, create, led).map(|(_, table)| table)
    }

    pub(super) fn make_with<T, E>(
        &self,
        mut restart: impl FnMut() -> Result<(), ClusterError>,
        name: &str,
        mut create: impl FnMut(&str) -> Result<T, E>,
        mut has_leaders: impl FnMut(&str, &T) -> Result<bool, E>,
    ) -> Result<(String, T), TableError<E>> {
        for attempt in 1..=NAMES {
            let tried = if attempt == 1 { name.to_owned() } else { format!("{name}_{attempt}") };
            let caller = |source| TableError::Caller { name: tried.clone(), source };
            let table = create(&tried).map_err(caller)?;
            self.record_made();
            let until = Instant::now() + self.limit;
            loop {
                if has_leaders(&tried, &table).map_err(caller)? {
                    return Ok((tried, table));
                }
                if Instant::now() >= until {
                    break;
                }
                std::thread::sleep(PAUSE);
            }
            self.record_lost()?;
            restart().map_err(TableError::Restart)?;
        }
        Err(TableError::NeverLed { name: name.to_owned(), tried: NAMES })
    }

    fn counts(&self) -> Counts {
        self.update(|_| {})
    }

    fn update(&self, change: impl FnOnce(&mut Counts)) -> Counts {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut counts);
        *counts
    }
}
