//! Runs the tests against changes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use crate::change::Change;
use crate::outcome::{Outcome, Outcomes};
use crate::rewrite::VARIABLE;

/// The most that the tests may take on the clock, in seconds. It is for those that wait for ever;
/// those that are busy for ever run out of the CPU seconds that `.ci/mutants` gives them.
const LIMIT: &str = "3600";
/// How `timeout` says that the time was over.
const OVER: [i32; 2] = [124, 137];
/// How the tests of Rust say that one failed.
const FAILED: i32 = 101;

/// Which tests are run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those that notice most of the changes within a second or two.
    Fast,
    /// All of them.
    All,
}

/// One binary of tests.
pub(crate) struct Runner {
    /// `.ci/mutants`, which knows what to run first.
    pub(crate) script: PathBuf,
    /// The binary.
    pub(crate) tests: PathBuf,
    /// Where cargo would run it.
    pub(crate) package: PathBuf,
}

impl Runner {
    /// Runs it with this change on. Without one, `Missed` says that these tests pass.
    pub(crate) fn run(&self, number: usize, which: Which, log: &Path) -> Result<Outcome, String> {
        let error = |e| format!("{}: {e}", log.display());
        let output = File::create(log).map_err(error)?;
        let mut command = Command::new("timeout");
        if which == Which::Fast {
            command.env("FLUSS_MUTANTS_QUICK", "1");
        }
        let status = command
            .args(["--kill-after=10", LIMIT])
            .args([self.script.as_os_str(), "--run-tests".as_ref(), self.tests.as_os_str()])
            .env(VARIABLE, number.to_string())
            .current_dir(&self.package)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(error)?)
            .stderr(output)
            .status()
            .map_err(|e| format!("timeout: {e}"))?;
        let said = fs::read(log).map_err(error)?;
        outcome(status.code(), &String::from_utf8_lossy(&said))
            .ok_or_else(|| format!("the tests ended with {status}: see {}", log.display()))
    }
}

/// What it means how `.ci/mutants --run-tests` ended; none if no test decided that.
fn outcome(code: Option<i32>, said: &str) -> Option<Outcome> {
    match code? {
        0 => Some(Outcome::Missed),
        code if OVER.contains(&code) || said.contains("MUTANT OUT OF TIME: ") => {
            Some(Outcome::Timeout)
        }
        FAILED => Some(Outcome::Caught),
        // Out of memory, or of stack: the process ended itself by a signal.
        129.. => Some(Outcome::Caught),
        _ => None,
    }
}

/// Runs these changes, several at once, and writes down what comes of each. What the fast tests
/// miss is left to the others.
pub(crate) fn all(
    runner: &Runner,
    numbers: &[usize],
    which: Which,
    jobs: usize,
    changes: &BTreeMap<usize, Change>,
    outcomes: &mut Outcomes,
) -> Result<(), String> {
    let (left, outcomes) = (Mutex::new(numbers.iter().enumerate()), Mutex::new(outcomes));
    let work = || -> Result<(), String> {
        loop {
            let Some((at, &number)) = left.lock().map_err(poisoned)?.next() else {
                return Ok(());
            };
            let log = outcomes.lock().map_err(poisoned)?.log(number);
            let begin = Instant::now();
            let outcome = runner.run(number, which, &log)?;
            let name = &changes[&number].name;
            let said = if (outcome, which) == (Outcome::Missed, Which::Fast) {
                "not yet caught"
            } else {
                outcomes.lock().map_err(poisoned)?.add(name, outcome)?;
                outcome.name()
            };
            let took = begin.elapsed().as_secs_f32();
            println!("{}/{} {took:.1} s {said}: {name}", at + 1, numbers.len());
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(done) => done,
            Err(panic) => Err(poisoned(panic)),
        })
    })
}

fn poisoned<E>(_: E) -> String {
    "another thread panicked".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_decide() {
        let late = "running 3 tests\n..MUTANT OUT OF TIME: writer::\n";
        let cases = [
            (Some(0), "test result: ok", Some(Outcome::Missed)),
            (Some(101), "test result: FAILED", Some(Outcome::Caught)),
            (Some(134), "memory allocation of 9 bytes failed", Some(Outcome::Caught)),
            (Some(152), late, Some(Outcome::Timeout)),
            (Some(137), late, Some(Outcome::Timeout)),
            (Some(124), "", Some(Outcome::Timeout)),
            // Such as: there is no such binary.
            (Some(127), "not found", None),
            (Some(1), "", None),
            (None, "", None),
        ];
        for (code, said, expected) in cases {
            assert_eq!(outcome(code, said), expected, "{code:?} {said}");
        }
    }
}
