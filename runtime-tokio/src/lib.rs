//! Apache Fluss client on tokio.
//!
//! ```no_run
//! use fluss_tokio::row;
//! use std::time::Duration;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let fluss = fluss_tokio::connect("127.0.0.1:9123").await?;
//! let table = fluss.table("shop.events").await?;
//! let writer = table.appender().linger(Duration::from_millis(5)).build()?;
//! let ticket = writer.append(&row![1_i64, "ada", 7, 0.5]).await?; // waits for memory only
//! let ack = ticket.await?; // waits for the servers
//! println!("bucket {}, offset {:?}", ack.bucket, ack.offset);
//! writer.flush().await?;
//! fluss.close(Duration::from_secs(10)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What runs where
//!
//! One task moves all bytes: the [`Driver`]. [`connect`] spawns it on the current runtime;
//! [`connect_with`] hands it to the caller, who may spawn it on any executor that polls it within a
//! tokio context, a `LocalSet` included. Names of servers are resolved, and segments of logs in
//! remote storage read, on tokio's threads for blocking calls. Nothing else runs behind the
//! caller's back, and there is no global state.
//!
//! Futures are for tasks. The blocking `wait` of handles and tickets is for threads that run no
//! tasks, those of `spawn_blocking` included: on a thread of the runtime it may keep the very
//! driver from running that it waits for, however many such threads there are, and then it never
//! ends.
//!
//! Rows are encoded by the caller that hands them in, and batches compressed by the caller that
//! fills them; one whose linger ends first is compressed by the driver, outside the core's lock.

mod net;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

pub use fluss_core::config::{self, Config};
pub use fluss_core::row;
pub use fluss_core::*;
#[cfg(feature = "s3")]
pub use fluss_storage_s3::S3Storage;

pub use net::{Driver, TokioNet};

/// Connects to a cluster by one or several `host:port` addresses and spawns the driver on the
/// current runtime.
///
/// # Errors
/// [`Error::Config`] for addresses that cannot be read; otherwise why no server could be reached
/// within one [`Config::connect_timeout`] for each bootstrap address, and a second.
///
/// # Panics
/// Outside a tokio runtime with I/O and time enabled.
pub async fn connect(bootstrap: &str) -> Result<Fluss> {
    let config = Config::new(bootstrap)?.seed(random_seed());
    start(config).await
}

/// Like [`connect`], with settings. [`Config::seed`] is used as it is.
///
/// # Errors
/// As [`connect`].
///
/// # Panics
/// Outside a tokio runtime with I/O and time enabled.
pub async fn start(config: Config) -> Result<Fluss> {
    let (fluss, driver) = connect_with(config)?;
    tokio::spawn(driver);
    fluss.ready().await?;
    Ok(fluss)
}

/// A client and its driver, which the caller has to poll, inside a tokio runtime. Nothing is sent
/// before that.
///
/// # Errors
/// [`Error::Config`] with every rule the settings violate.
pub fn connect_with(config: Config) -> Result<(Fluss, Driver)> {
    let clock = net::StdClock::start();
    let net = TokioNet::new(clock, &config);
    Fluss::new(config, net, clock, Sleep)
}

/// A seed for the client's jitter, from the standard library's random hash keys.
#[must_use]
pub fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
