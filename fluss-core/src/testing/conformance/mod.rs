//! The conformance suite: what every adapter has to pass, over real sockets.
//!
//! An adapter says how it starts a client and runs a future ([`Harness`]), and
//! `fluss_core::conformance!(MyHarness);` in its `tests/conformance.rs` makes a test of each case.
//!
//! Each case starts a fake cluster on loopback ports and ends with a look at what that cluster
//! really holds: every acknowledged row exactly once at its offset, no row that was reported as not
//! written, no byte of the memory budget in use. Cases wait for conditions, not for time.

pub mod close;
pub mod connect;
pub mod deliver;
pub mod filter;
pub mod idle;
mod list;
pub mod lookup;
pub mod memory;
pub mod misuse;
pub mod partition;
pub mod peers;
pub mod reading;
pub mod routing;
pub mod rows;
pub mod scan;
pub mod snapshot;
mod stage;
pub mod subscribe;
pub mod tiered;
pub mod trouble;

use std::pin::Pin;

use crate::config::Config;
use crate::error::Result;
use crate::handle::Fluss;

/// Drops a client's driver, whatever it is doing.
pub type Stop = Box<dyn FnOnce() + Send>;

/// How a runtime runs a client.
pub trait Harness: 'static {
    /// Whether the driver makes progress while all threads of a test block outside
    /// [`Harness::block_on`]; false where the thread in `block_on` is the only one that drives.
    const BLOCKING_ALONE: bool;

    /// A fresh runtime.
    fn new() -> Self;

    /// A client whose driver runs. Does not wait for a server.
    ///
    /// # Errors
    /// What the adapter reports.
    fn start(&self, config: Config) -> Result<Fluss>;

    /// A client, and what drops its driver.
    ///
    /// # Errors
    /// What the adapter reports.
    fn start_stoppable(&self, config: Config) -> Result<(Fluss, Stop)>;

    /// Tells that a case was not run, past what shows the output of failed tests only.
    fn notice(text: &str);

    /// Runs a future to its end on this thread.
    fn block_on<F: Future>(&self, future: F) -> F::Output;

    /// Runs something that blocks on a thread where it may, beginning at once.
    fn aside<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Pin<Box<dyn Future<Output = T>>>;
}
