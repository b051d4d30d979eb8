//! What came of each change, in the files that cargo-mutants writes.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A test failed.
    Caught,
    /// None did.
    Missed,
    /// A part of the tests took many times what it should.
    Timeout,
    /// It does not compile.
    Unviable,
}

impl Outcome {
    /// All there are.
    pub(crate) const ALL: [Self; 4] = [Self::Caught, Self::Missed, Self::Timeout, Self::Unviable];

    /// The name of its file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Missed => "missed",
            Self::Timeout => "timeout",
            Self::Unviable => "unviable",
        }
    }
}

/// The outcomes of a run so far.
pub(crate) struct Outcomes {
    dir: PathBuf,
    done: BTreeSet<String>,
}

/// The tree that the outcomes are of.
const TREE: &str = "tree.txt";
/// There once the tests have passed without a change.
const BASELINE: &str = "baseline.txt";

impl Outcomes {
    /// Goes on where a run on the same tree ended; another one is put aside, as cargo-mutants does.
    pub(crate) fn open(dir: &Path, fingerprint: &str, list: &str) -> Result<Self, String> {
        let error = |e| format!("{}: {e}", dir.display());
        let same = fs::read_to_string(dir.join(TREE)).is_ok_and(|old| old == fingerprint);
        if !same && dir.exists() {
            let old = dir.with_extension("out.old");
            if old.exists() {
                fs::remove_dir_all(&old).map_err(error)?;
            }
            fs::rename(dir, old).map_err(error)?;
        }
        fs::create_dir_all(dir.join("log")).map_err(error)?;
        fs::write(dir.join("mutants.json"), list).map_err(error)?;
        fs::write(dir.join(TREE), fingerprint).map_err(error)?;
        let mut done = BTreeSet::new();
        for outcome in Outcome::ALL {
            let path = dir.join(outcome.name()).with_extension("txt");
            OpenOptions::new().create(true).append(true).open(&path).map_err(error)?;
            let text = fs::read_to_string(&path).map_err(error)?;
            done.extend(text.lines().map(str::to_owned));
        }
        Ok(Self { dir: dir.to_owned(), done })
    }

    /// Whether this change has an outcome.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.done.contains(name)
    }

    /// Whether this change was found not to compile.
    pub(crate) fn is_unviable(&self, name: &str) -> bool {
        let path = self.dir.join(Outcome::Unviable.name()).with_extension("txt");
        fs::read_to_string(path).is_ok_and(|text| text.lines().any(|line| line == name))
    }

    /// Writes down what came of a change.
    pub(crate) fn add(&mut self, name: &str, outcome: Outcome) -> Result<(), String> {
        let path = self.dir.join(outcome.name()).with_extension("txt");
        let file = OpenOptions::new().append(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(format!("{name}\n").as_bytes()));
        written.map_err(|e| format!("{}: {e}", path.display()))?;
        self.done.insert(name.to_owned());
        Ok(())
    }

    /// Whether the tests passed without a change.
    pub(crate) fn has_baseline(&self) -> bool {
        self.dir.join(BASELINE).exists()
    }

    /// They did.
    pub(crate) fn set_baseline(&self) -> Result<(), String> {
        let path = self.dir.join(BASELINE);
        fs::write(&path, "").map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Where the output of a change's tests goes; 0 is none.
    pub(crate) fn log(&self, number: usize) -> PathBuf {
        self.dir.join("log").join(format!("{number}.txt"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_on_with_the_same_tree_and_begins_anew_with_another() {
        let dir = crate::scratch("outcomes").join("mutants.out");
        let mut outcomes = Outcomes::open(&dir, "one", "[]").expect("a directory");
        for (outcome, name) in Outcome::ALL.into_iter().zip(["a", "b", "c", "d"]) {
            outcomes.add(name, outcome).expect("a file");
        }
        outcomes.set_baseline().expect("a file");
        let outcomes = Outcomes::open(&dir, "one", "[]").expect("a directory");
        assert!(["a", "b", "c", "d"].iter().all(|name| outcomes.has(name)));
        assert!(!outcomes.has("e") && outcomes.is_unviable("d") && !outcomes.is_unviable("a"));
        assert!(outcomes.has_baseline());

        let outcomes = Outcomes::open(&dir, "two", "[]").expect("a directory");
        assert!(!outcomes.has("a") && !outcomes.has_baseline());
        let old = dir.with_file_name("mutants.out.old");
        assert_eq!(fs::read_to_string(old.join("caught.txt")).ok().as_deref(), Some("a\n"));
        fs::remove_dir_all(dir.parent().expect("a parent")).expect("it goes away");
    }
}
