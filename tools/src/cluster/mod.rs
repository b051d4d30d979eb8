//! A real Fluss cluster for tests: ZooKeeper, a coordinator and tablet servers from the published
//! jars, on free loopback ports, gone when the test is.
//!
//! ```no_run
//! use fluss_tools::cluster::{ClusterOptions, RealCluster};
//!
//! let cluster = RealCluster::start(ClusterOptions::replicated())?;
//! println!("{}", cluster.bootstrap().join(","));
//! cluster.kill9(0)?;             // tablet server 0 is gone at once
//! cluster.restart(0)?;           // and back, with its data and its address
//! cluster.wait_until_ready()?;
//! # Ok::<(), fluss_tools::cluster::ClusterError>(())
//! ```
//!
//! It needs Java 11 or newer and, the first time, Maven. A test begins with
//! [`real_cluster_or_skip`], which says loudly that the test did not run where they are missing.
//!
//! Tests of one binary may share a cluster in a `static`: it is not dropped then, but taken down
//! with the process all the same.
//!
//! # Environment
//!
//! | variable | meaning |
//! |---|---|
//! | `FLUSS_REAL_CLUSTER` | `required`: a test that cannot run fails; `off`: no test runs |
//! | `FLUSS_REAL_CLUSTER_TALLY` | a file to which each test adds `ran NAME` or `skipped NAME` |
//! | `FLUSS_SERVER_JARS` | a directory of other server jars |
//! | `FLUSS_CLUSTER_CACHE` | for fetched jars, default `fluss-cluster` in the user's cache |
//! | `JAVA_HOME` | the Java to use, else `java` of the path |
//!
//! With any other value of `FLUSS_REAL_CLUSTER`, a typo say, each test that needs a cluster fails.
//!
//! Where other server jars lack a log binding, the published one is added, as the server says
//! nothing without it.
//!
//! # What tests have to know about the server
//!
//! * A leader in the metadata may still refuse writes for 0.1 to 1 s. Clients retry.
//! * Now and then the server loses the creation of a table, which then never gets leaders:
//!   [`TableLosses`] is the bounded way around that.
//! * With one replica, a kill loses acknowledged rows above the last high-watermark checkpoint
//!   (200 ms in [`DEFAULT_SETTINGS`]). Tests that must not see that use
//!   [`ClusterOptions::replicated`].
//! * Node ids do not identify a server: the coordinator and tablet server 0 both have id 0.

mod config;
mod error;
mod jars;
mod losses;
mod options;
mod place;
#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "other.rs")]
mod platform;
mod ports;
mod probe;
mod process;
mod real;
mod require;

#[cfg(test)]
mod tests;

use std::fmt;

pub use error::{ClusterError, Unavailable};
pub use losses::{TableError, TableLosses, TooManyLosses};
pub use options::{ClusterOptions, DEFAULT_SETTINGS, Sasl};
pub(crate) use platform::is_output_closed;
pub use platform::{Parent, interrupt_flag, interrupt_flag_with};
pub use real::{Leader, RealCluster};
pub use require::real_cluster_or_skip;
pub(crate) use require::tally;

/// One process of a cluster. A bare number means the tablet server with that id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Server {
    /// ZooKeeper.
    ZooKeeper,
    /// The coordinator.
    Coordinator,
    /// A tablet server, by its id, which counts from 0.
    Tablet(usize),
}

impl Server {
    /// The name in paths.
    fn file_stem(self) -> String {
        match self {
            Self::ZooKeeper => "zookeeper".to_owned(),
            Self::Coordinator => "coordinator".to_owned(),
            Self::Tablet(i) => format!("tablet-{i}"),
        }
    }
}

impl From<usize> for Server {
    fn from(tablet: usize) -> Self {
        Self::Tablet(tablet)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZooKeeper => f.write_str("ZooKeeper"),
            Self::Coordinator => f.write_str("coordinator"),
            Self::Tablet(i) => write!(f, "tablet server {i}"),
        }
    }
}
