//! What a user of a crate compiles.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The crates compiled for a user of one package, that package included.
#[derive(Debug)]
pub(crate) struct Tree(BTreeSet<String>);

impl Tree {
    /// With default features, on this platform, without what is for tests only.
    pub(crate) fn of(root: &Path, package: &str) -> Self {
        Self::with(root, package, &[])
    }

    /// The same with features.
    pub(crate) fn with(root: &Path, package: &str, features: &[&str]) -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["tree", "--locked", "--package", package, "--edges", "normal"])
            .args(["--prefix", "none", "--format", "{p}"])
            .args(features.iter().flat_map(|feature| ["--features", feature]))
            .current_dir(root)
            .output()
            .expect("cargo can be started");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo tree of {package}: {errors}");
        // "name v1.2.3 (a note)": the same crate in two versions is two crates to compile.
        let name_and_version = |line: &str| line.split(" (").next().unwrap_or(line).to_owned();
        let lines = String::from_utf8_lossy(&output.stdout);
        Self(lines.lines().map(name_and_version).collect())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|entry| entry.split(' ').next() == Some(name))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
