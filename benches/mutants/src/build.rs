//! Builds the tests of one library.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// What came of a build.
#[derive(Debug)]
pub(crate) enum Built {
    /// The tests.
    Tests(PathBuf),
    /// Why it does not compile.
    Errors(Vec<Failure>),
}

/// One message of the compiler.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Files and lines that it is about, the first ones most.
    pub(crate) places: Vec<(String, usize)>,
    /// As the compiler shows it.
    pub(crate) text: String,
}

/// How to build. Dependencies are optimised as for any heavy test, and so are there already.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// All changes at once, for tests that run hundreds of times.
    Together,
    /// One change, for tests that run once: as `[profile.mutants]` does it.
    Alone,
}

impl Way {
    /// What differs from the profile, for the package of the changes.
    fn settings(self) -> &'static [&'static str] {
        match self {
            // More takes longer to compile than the tests get faster.
            Self::Together => &["opt-level=1", "debug=false"],
            Self::Alone => &["opt-level=0", "debug=false", "codegen-units=256"],
        }
    }
}

/// Builds the tests of a package's library in this tree.
pub(crate) fn build(tree: &Path, package: &str, way: Way) -> Result<Built, String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["test", "--no-run", "--locked", "--lib", "--profile", "heavy", "--quiet"])
        .args(["--package", package, "--message-format", "json"])
        .current_dir(tree)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    for setting in way.settings() {
        cargo.arg("--config").arg(format!("profile.heavy.package.{package}.{setting}"));
    }
    cargo.env("CARGO_INCREMENTAL", if matches!(way, Way::Alone) { "1" } else { "0" });
    let mut child = cargo.spawn().map_err(|e| format!("cargo: {e}"))?;
    let stdout = child.stdout.take().ok_or("cargo has no output")?;
    let (mut tests, mut failures) = (None, Vec::new());
    for line in BufReader::new(stdout).lines() {
        let line = line.map_err(|e| format!("cargo: {e}"))?;
        let Ok(said) = serde_json::from_str::<Value>(&line) else { continue };
        tests = executable(&said).or(tests);
        failures.extend(failure(&said));
    }
    let status = child.wait().map_err(|e| format!("cargo: {e}"))?;
    match tests {
        Some(tests) if status.success() => Ok(Built::Tests(tests)),
        _ if !failures.is_empty() => Ok(Built::Errors(failures)),
        _ => Err(format!("cargo ended with {status}")),
    }
}

fn executable(said: &Value) -> Option<PathBuf> {
    said["executable"].as_str().map(PathBuf::from)
}

fn failure(said: &Value) -> Option<Failure> {
    let message = &said["message"];
    if message["level"] != "error" {
        return None;
    }
    let mut places = Vec::new();
    let spans = message["spans"].as_array().map_or(&[][..], Vec::as_slice);
    for primary in [true, false] {
        for span in spans.iter().filter(|span| span["is_primary"] == primary) {
            let mut span = span;
            // A macro's own lines, then those that use it.
            while let (Some(file), Some(line)) =
                (span["file_name"].as_str(), span["line_start"].as_u64())
            {
                places.push((file.to_owned(), line as usize));
                span = &span["expansion"]["span"];
            }
        }
    }
    let text = message["rendered"].as_str().unwrap_or_default().to_owned();
    // The sum at the end is about no place.
    (!places.is_empty()).then_some(Failure { places, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_first_what_it_is_about() {
        let span = |line: u64, primary: bool, expansion: Value| {
            serde_json::json!({
                "file_name": format!("{line}.rs"), "line_start": line, "is_primary": primary,
                "expansion": expansion,
            })
        };
        let used = serde_json::json!({ "span": span(3, false, Value::Null) });
        let spans = [span(1, false, Value::Null), span(2, true, used)];
        let mut said = serde_json::json!({
            "reason": "compiler-message",
            "message": { "level": "error", "rendered": "no!", "spans": spans },
        });
        let found = failure(&said).expect("a failure");
        let place = |line: usize| (format!("{line}.rs"), line);
        let places = vec![place(2), place(3), place(1)];
        assert_eq!(found, Failure { places, text: "no!".to_owned() });

        said["message"]["level"] = "warning".into();
        assert_eq!(failure(&said), None);
        said["message"] = serde_json::json!({ "level": "error", "spans": [] });
        assert_eq!(failure(&said), None, "the number of errors");
    }
}
