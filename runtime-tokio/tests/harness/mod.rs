//! How the suite runs a client on tokio.

use std::future::Future;
use std::pin::Pin;

use fluss_core::testing::conformance::{Harness, Stop};
use fluss_tokio::{Config, Fluss, Result};
use tokio::runtime::{Builder, Runtime};

fn start(runtime: &Runtime, config: Config) -> Result<(Fluss, Stop)> {
    let (fluss, driver) = fluss_tokio::connect_with(config)?;
    let task = runtime.spawn(driver);
    Ok((fluss, Box::new(move || task.abort())))
}

fn aside<T: Send + 'static>(
    runtime: &Runtime,
    body: impl FnOnce() -> T + Send + 'static,
) -> Pin<Box<dyn Future<Output = T>>> {
    let task = runtime.spawn_blocking(body);
    Box::pin(async { task.await.expect("it does not panic") })
}

/// A harness.
pub(crate) struct CurrentThread(Runtime);

impl Harness for CurrentThread {
    const BLOCKING_ALONE: bool = false;

    fn notice(text: &str) {
        notice(text);
    }

    fn new() -> Self {
        Self(Builder::new_current_thread().enable_all().build().expect("a runtime"))
    }

    fn start(&self, config: Config) -> Result<Fluss> {
        start(&self.0, config).map(|(fluss, _)| fluss)
    }

    fn start_stoppable(&self, config: Config) -> Result<(Fluss, Stop)> {
        start(&self.0, config)
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    fn aside<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Pin<Box<dyn Future<Output = T>>> {
        aside(&self.0, body)
    }
}

/// A harness.
pub(crate) struct MultiThread(Runtime);

impl Harness for MultiThread {
    const BLOCKING_ALONE: bool = true;

    fn notice(text: &str) {
        notice(text);
    }

    fn new() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        Self(runtime.expect("a runtime"))
    }

    fn start(&self, config: Config) -> Result<Fluss> {
        start(&self.0, config).map(|(fluss, _)| fluss)
    }

    fn start_stoppable(&self, config: Config) -> Result<(Fluss, Stop)> {
        start(&self.0, config)
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    fn aside<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Pin<Box<dyn Future<Output = T>>> {
        aside(&self.0, body)
    }
}

fn notice(text: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
}
