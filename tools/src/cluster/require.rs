//! Whether a test that needs a real cluster runs on this machine.

use std::env;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write;

use super::{RealCluster, Unavailable};

/// Says whether the test of this name can run. If not, it prints that loudly, past the capture of
/// test output, and the test should return at once:
///
/// ```no_run
/// use fluss_tools::cluster::real_cluster_or_skip;
///
/// # fn rows_survive_a_restart() {
/// if !real_cluster_or_skip("rows_survive_a_restart") {
///     return;
/// }
/// # }
/// ```
///
/// With `FLUSS_REAL_CLUSTER_TALLY` naming a file, a line is added to it, so that a run can count.
///
/// # Panics
/// If no cluster can run here and `FLUSS_REAL_CLUSTER=required` is set, if that variable has a
/// value that means nothing, or if the tally cannot be written.
#[must_use]
pub fn real_cluster_or_skip(test: &str) -> bool {
    let mode = match Mode::of(env::var_os("FLUSS_REAL_CLUSTER").as_deref()) {
        Ok(mode) => mode,
        Err(message) => panic!("{test}: {message}"),
    };
    let available = match mode {
        Mode::Off => Err(Unavailable::SwitchedOff),
        Mode::WherePossible | Mode::Required => RealCluster::available(),
    };
    let line = match decide(test, available, mode == Mode::Required) {
        Decision::Run => format!("ran {test}\n"),
        Decision::Skip(notice) => {
            // The macros would print into the capture, which nobody reads for a test that passes.
            let _ = std::io::stderr().write_all(notice.as_bytes());
            format!("skipped {test}\n")
        }
        Decision::Fail(message) => panic!("{message}"),
    };
    tally(&line);
    line.starts_with("ran")
}

/// Adds a line to the tally of a run, if it keeps one.
///
/// # Panics
/// If it cannot be written: a run that counts must not count too little.
pub(crate) fn tally(line: &str) {
    if let Some(path) = env::var_os("FLUSS_REAL_CLUSTER_TALLY").filter(|path| !path.is_empty()) {
        let mut options = OpenOptions::new();
        let written = options.create(true).append(true).open(&path);
        if let Err(error) = written.and_then(|mut file| file.write_all(line.as_bytes())) {
            panic!("FLUSS_REAL_CLUSTER_TALLY: cannot write {}: {error}", path.display());
        }
    }
}

/// What the environment asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The tests run where they can.
    WherePossible,
    /// A test that cannot run fails.
    Required,
    /// No test runs.
    Off,
}

impl Mode {
    /// What a value of `FLUSS_REAL_CLUSTER` means. One that means nothing is an error: taken for
    /// none, a `required` with a typo would let every test pass without a cluster.
    pub(super) fn of(value: Option<&OsStr>) -> Result<Self, String> {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            return Ok(Self::WherePossible);
        };
        match value.to_str() {
            Some("required") => Ok(Self::Required),
            Some("off") => Ok(Self::Off),
            _ => Err(format!(
                "FLUSS_REAL_CLUSTER is {value:?}, which means nothing: set it to `required` (a \
                 test that cannot run fails) or `off` (no test runs), or leave it unset or empty \
                 (tests run where they can)"
            )),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Run,
    Skip(String),
    Fail(String),
}

pub(super) fn decide(test: &str, available: Result<(), Unavailable>, required: bool) -> Decision {
    match available {
        Ok(()) => Decision::Run,
        Err(reason) if required => Decision::Fail(format!(
            "{test} needs a real cluster, which FLUSS_REAL_CLUSTER=required demands: {reason}"
        )),
        Err(reason) => Decision::Skip(format!("\n*** NOT RUN: {test}: {reason} ***\n")),
    }
}
