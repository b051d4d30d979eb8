//! Whether a test that needs a real cluster runs on this machine.

use std::env;
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
/// If no cluster can run here and `FLUSS_REAL_CLUSTER=required` is set, or if the tally cannot be
/// written.
#[must_use]
pub fn real_cluster_or_skip(test: &str) -> bool {
    let mode = env::var("FLUSS_REAL_CLUSTER").unwrap_or_default();
    let available = match mode.as_str() {
        "off" => Err(Unavailable::SwitchedOff),
        _ => RealCluster::available(),
    };
    let line = match decide(test, available, mode == "required") {
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
