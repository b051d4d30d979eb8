//! How the suite runs a client on smol.

use std::future::Future;
use std::pin::Pin;

use fluss_core::testing::conformance::{Harness, Stop};
use fluss_smol::{Config, Fluss, Result};
use smol::LocalExecutor;

/// A harness.
pub(crate) struct Global;

impl Harness for Global {
    const BLOCKING_ALONE: bool = true;

    fn notice(text: &str) {
        notice(text);
    }

    fn new() -> Self {
        Self
    }

    fn start(&self, config: Config) -> Result<Fluss> {
        let (fluss, driver) = fluss_smol::connect_with(config)?;
        smol::spawn(driver).detach();
        Ok(fluss)
    }

    fn start_stoppable(&self, config: Config) -> Result<(Fluss, Stop)> {
        let (fluss, driver) = fluss_smol::connect_with(config)?;
        let task = smol::spawn(driver);
        Ok((fluss, Box::new(move || drop(task))))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        smol::block_on(future)
    }

    fn aside<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Pin<Box<dyn Future<Output = T>>> {
        Box::pin(smol::unblock(body))
    }
}

/// A harness.
pub(crate) struct OneThread(LocalExecutor<'static>);

impl Harness for OneThread {
    const BLOCKING_ALONE: bool = false;

    fn notice(text: &str) {
        notice(text);
    }

    fn new() -> Self {
        Self(LocalExecutor::new())
    }

    fn start(&self, config: Config) -> Result<Fluss> {
        let (fluss, driver) = fluss_smol::connect_with(config)?;
        self.0.spawn(driver).detach();
        Ok(fluss)
    }

    fn start_stoppable(&self, config: Config) -> Result<(Fluss, Stop)> {
        let (fluss, driver) = fluss_smol::connect_with(config)?;
        let task = self.0.spawn(driver);
        Ok((fluss, Box::new(move || drop(task))))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        smol::block_on(self.0.run(future))
    }

    fn aside<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Pin<Box<dyn Future<Output = T>>> {
        Box::pin(smol::unblock(body))
    }
}

fn notice(text: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
}
