//! A client for the length of a command.

use std::env;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use fluss_core::{Fluss, Table};

use super::args::Args;
use super::failure::{Failure, Result};
use super::output::say;
use super::settings::Settings;
use super::wait::{wait, wait_to_print};

/// How long a command waits for a clean end of its connections.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// A client, its settings, and the flag that a signal raises.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) fluss: Fluss,
    pub(crate) settings: Settings,
    pub(crate) interrupted: Arc<AtomicBool>,
    /// Rows handed in without an outcome; told when a second signal ends the process.
    pub(crate) open_rows: Arc<AtomicU64>,
    pub(crate) quiet: bool,
}

/// The settings that arguments and environment ask for; notes go to standard error.
pub(crate) fn settings(args: &Args) -> Result<Settings> {
    let from_environment = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let given = |option: &str, variable: &str| {
        args.value(option).map(str::to_owned).or_else(|| from_environment(variable))
    };
    let bootstrap = given("bootstrap", "FLUSS_BOOTSTRAP").ok_or_else(|| {
        Failure::usage("no servers given: use --bootstrap HOST:PORT or FLUSS_BOOTSTRAP")
    })?;
    let user = match (given("user", "FLUSS_USER"), given("password", "FLUSS_PASSWORD")) {
        (Some(user), Some(password)) => Some((user, password)),
        (None, None) => None,
        (Some(_), None) => return Err(Failure::usage("--user needs --password")),
        (None, Some(_)) => return Err(Failure::usage("--password needs --user")),
    };
    let (settings, notes) = Settings::new(&bootstrap, args.values("config"), user)?;
    notes.iter().for_each(|note| say(note));
    Ok(settings)
}

impl Session {
    /// Connects, until a signal comes.
    pub(crate) fn open(
        args: &Args,
        interrupted: Arc<AtomicBool>,
        open_rows: Arc<AtomicU64>,
    ) -> Result<Self> {
        let settings = settings(args)?;
        let config = settings.client.clone().seed(fluss_embedded::random_seed());
        let fluss = fluss_embedded::open(config)?;
        wait(fluss.ready(), &interrupted)??;
        Ok(Self { fluss, settings, interrupted, open_rows, quiet: args.has("quiet") })
    }

    /// Blocks until the future is done or a signal comes.
    pub(crate) fn wait<F: Future>(&self, future: F) -> Result<F::Output> {
        wait(future, &self.interrupted)
    }

    /// Like [`Session::wait`], for what is printed: also until nobody reads standard output.
    pub(crate) fn wait_to_print<F: Future>(&self, future: F) -> Result<F::Output> {
        wait_to_print(future, &self.interrupted)
    }

    /// Like [`Session::wait`], for what the client may answer with an error.
    pub(crate) fn call<T>(&self, future: impl Future<Output = fluss_core::Result<T>>) -> Result<T> {
        Ok(self.wait(future)??)
    }

    /// Opens a table.
    pub(crate) fn table(&self, path: &str) -> Result<Table> {
        self.call(self.fluss.table(path))
    }

    /// A line for people, unless they asked for none.
    pub(crate) fn summary(&self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }

    /// Ends the connections. What a failed end means was said by the command itself.
    pub(crate) fn close(&self) {
        let _ = self.fluss.close(CLOSE_LIMIT).wait();
    }
}
