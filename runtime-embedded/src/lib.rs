//! Apache Fluss client without a runtime: blocking calls, or a `turn` for a loop of your own.
//!
//! ```no_run
//! use fluss_embedded::row;
//! use std::time::Duration;
//!
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let fluss = fluss_embedded::connect("127.0.0.1:9123")?;
//! let table = fluss.table("shop.events").wait()?;
//! let writer = table.appender().linger(Duration::from_millis(5)).build()?;
//! let ticket = writer.append(&row![1_i64, "ada", 7, 0.5]).wait()?; // waits for memory only
//! let ack = ticket.wait()?; // waits for the servers
//! println!("bucket {}, offset {:?}", ack.bucket, ack.offset);
//! writer.flush().wait()?;
//! fluss.close(Duration::from_secs(10)).wait()?;
//! # Ok(())
//! # }
//! ```
//!
//! # What runs where
//!
//! [`connect`] starts one thread, `fluss-driver`, which ends with the client. It moves the bytes
//! while nobody blocks and when several callers block at once. A caller that is alone moves them
//! itself, which saves handing the answer from thread to thread. Blocking calls need no runtime and
//! disturb none: they work on any thread, a worker of an async runtime included, which then does
//! nothing else meanwhile. The futures of the handles can be awaited as well, on any executor.
//!
//! [`connect_with`] starts no thread. It hands out the [`EmbeddedDriver`], and nothing happens but
//! in its [`turn`](EmbeddedDriver::turn):
//!
//! ```no_run
//! use fluss_embedded::{Config, Turn};
//! use std::time::Duration;
//!
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::new("127.0.0.1:9123")?.seed(fluss_embedded::random_seed());
//! let (fluss, mut driver) = fluss_embedded::connect_with(config)?;
//! let table = driver.block_on(fluss.table("shop.events"))??;
//! println!("{} is open", table.info().path);
//! while driver.turn(Some(Duration::from_millis(10)))? != Turn::Closed {
//!     // Whatever else the loop does.
//! }
//! # Ok(())
//! # }
//! ```
//!
//! In both cases the first address that is a host name, not a literal IP address, starts a thread
//! `fluss-resolver`, as no system resolves names without blocking. It ends with the driver. Names
//! are resolved again for each connection, and all their addresses tried. Where a scanner reads
//! segments of a log in remote storage, up to three threads `fluss-storage` start, which end with
//! the driver, too.
//!
//! Rows are encoded by the caller that hands them in, and batches compressed by the caller that
//! fills them; one whose linger ends first is compressed by the driver, outside the core's lock.
//! There is no global state.

mod driver;
mod hub;
mod net;
mod reactor;
mod sys;
mod work;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::sync::Arc;

pub use fluss_core::config::{self, Config};
pub use fluss_core::row;
pub use fluss_core::*;
#[cfg(feature = "s3")]
pub use fluss_storage_s3::S3Storage;

pub use driver::{EmbeddedDriver, Turn};
pub use net::{EmbeddedNet, EmbeddedSocket};

use hub::{Hub, Seats};
use reactor::Reactor;

/// Connects to a cluster by one or several `host:port` addresses. Blocks until a server answered.
///
/// # Errors
/// [`Error::Config`] for addresses that cannot be read; otherwise why no server could be reached
/// within one [`Config::connect_timeout`] for each bootstrap address, and a second.
pub fn connect(bootstrap: &str) -> Result<Fluss> {
    start(Config::new(bootstrap)?.seed(random_seed()))
}

/// Like [`connect`], with settings. [`Config::seed`] is used as it is.
///
/// # Errors
/// As [`connect`].
pub fn start(config: Config) -> Result<Fluss> {
    let fluss = open(config)?;
    fluss.ready().wait()?;
    Ok(fluss)
}

/// Like [`start`], without waiting for a server: nothing is sent before the first call.
///
/// # Errors
/// [`Error::Config`] with every rule the settings violate; [`Error::Misuse`] if the process may not
/// open more descriptors or threads.
pub fn open(config: Config) -> Result<Fluss> {
    let reactor = Arc::new(Reactor::new().map_err(no_resources)?);
    let hub = Hub::new(Arc::clone(&reactor));
    let (fluss, driver) = build(config, reactor, Seats(Arc::clone(&hub)))?;
    hub.start(driver).map_err(no_resources)?;
    Ok(fluss)
}

/// A client and its driver, which the caller has to [`turn`](EmbeddedDriver::turn). Nothing is sent
/// before that.
///
/// # Errors
/// [`Error::Config`] with every rule the settings violate; [`Error::Misuse`] if the process may not
/// open more descriptors.
pub fn connect_with(config: Config) -> Result<(Fluss, EmbeddedDriver)> {
    let reactor = Arc::new(Reactor::new().map_err(no_resources)?);
    build(config, reactor, Sleep)
}

fn build(
    config: Config,
    reactor: Arc<Reactor>,
    park: impl Park + 'static,
) -> Result<(Fluss, EmbeddedDriver)> {
    let clock = net::StdClock::start();
    let net = EmbeddedNet::new(clock, Arc::clone(&reactor), &config);
    let (fluss, driver) = Fluss::new(config, net, clock, park)?;
    Ok((fluss, EmbeddedDriver::new(driver, reactor, clock)))
}

fn no_resources(e: io::Error) -> Error {
    Error::misuse(format!(
        "the system denies the client a descriptor or a thread: {e}; \
         raise the limits of the process"
    ))
}

/// A seed for the client's jitter, from the standard library's random hash keys.
#[must_use]
pub fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
