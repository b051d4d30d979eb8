//! Runs the tests against many changes of the code, all compiled into one binary.
//!
//! ```console
//! $ .ci/mutants --switched
//! ```
//!
//! cargo-mutants compiles the crate for each change. Here all of them are compiled once, each
//! behind a switch: an environment variable says which one is on. The tree is copied for that, and
//! nothing is changed in the tree itself. What does not compile is found by what the compiler says,
//! and taken out. What cannot be switched is compiled alone, one after another.
//!
//! `.ci/mutants` says which changes there are, as cargo-mutants lists them, and runs the tests. The
//! outcomes are written as cargo-mutants writes them. A run that was interrupted goes on when it is
//! started again on the same tree.

mod build;
mod change;
mod outcome;
mod rewrite;
mod run;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use build::{Built, Failure, Way, build};
use change::Change;
use outcome::{Outcome, Outcomes};
use rewrite::Rewritten;
use run::{Runner, Which};
use tree::Tree;

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// What `.ci/mutants` asks for.
struct Options {
    /// The output of `cargo mutants --list --json`.
    list: PathBuf,
    /// Where `mutants.out` goes.
    output: PathBuf,
    /// Where the copies of the tree go.
    work: PathBuf,
    /// How many changes are run at once.
    jobs: usize,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let usage = "use .ci/mutants --switched [--jobs N] [--output DIR] [...]";
        let mut given = BTreeMap::new();
        while let Some(name) = args.next() {
            let known = ["--list", "--output", "--work", "--jobs"].contains(&name.as_str());
            let value = args.next().filter(|_| known).ok_or_else(|| format!("{name}: {usage}"))?;
            given.insert(name, value);
        }
        let mut take = |name: &str| given.remove(name).ok_or_else(|| format!("{name}? {usage}"));
        Ok(Self {
            list: take("--list")?.into(),
            output: take("--output")?.into(),
            work: take("--work")?.into(),
            jobs: take("--jobs")?.parse().map_err(|e| format!("--jobs: {e}"))?,
        })
    }
}

fn run(options: &Options) -> Result<(), String> {
    let error = |path: &Path, e| format!("{}: {e}", path.display());
    let list = std::fs::read_to_string(&options.list).map_err(|e| error(&options.list, e))?;
    let changes = change::parse(&list)?;
    let Some(first) = changes.first() else { return Err("there are no changes".to_owned()) };
    let package = first.package.clone();
    if changes.iter().any(|change| change.package != package) {
        return Err("the changes are of several packages".to_owned());
    }
    let root = std::env::current_dir().map_err(|e| e.to_string())?;
    let tree = Tree::read(&root)?;
    let outcomes = Outcomes::open(&options.output, &tree.fingerprint(), &list)?;
    let mut session = Session {
        root,
        package,
        // 0 is for none of them.
        changes: (1..).zip(changes).collect(),
        tree,
        outcomes,
        copy: options.work.join("switched"),
        alone: options.work.join("alone"),
        jobs: options.jobs,
    };
    session.run()
}

struct Session {
    root: PathBuf,
    package: String,
    changes: BTreeMap<usize, Change>,
    tree: Tree,
    outcomes: Outcomes,
    /// The tree with all changes, of which none or one is on.
    copy: PathBuf,
    /// The tree with one change.
    alone: PathBuf,
    jobs: usize,
}

impl Session {
    fn run(&mut self) -> Result<(), String> {
        println!("{} changes", self.changes.len());
        let (tests, alone) = self.build_all()?;
        let open = |session: &Self, numbers: &[usize]| -> Vec<usize> {
            let open = |number: &usize| !session.outcomes.has(&session.changes[number].name);
            numbers.iter().copied().filter(open).collect()
        };
        let runner = self.runner(tests, &self.copy)?;
        if !self.outcomes.has_baseline() {
            println!("the tests without a change");
            let log = self.outcomes.log(0);
            if runner.run(0, Which::All, &log)? != Outcome::Missed {
                return Err(format!("they fail: see {}", log.display()));
            }
            self.outcomes.set_baseline()?;
        }
        let all: Vec<_> = self.changes.keys().copied().filter(|n| !alone.contains(n)).collect();
        for which in [Which::Fast, Which::All] {
            let left = open(self, &all);
            run::all(&runner, &left, which, self.jobs, &self.changes, &mut self.outcomes)?;
        }
        for number in open(self, &alone) {
            self.run_alone(number)?;
        }
        Ok(())
    }

    /// Compiles all changes that compile, and says which cannot be switched.
    fn build_all(&mut self) -> Result<(PathBuf, Vec<usize>), String> {
        loop {
            let files = self.rewrite()?;
            let mut tree = self.tree.clone();
            let top = format!("{}/lib.rs", self.sources()?);
            let lib = format!("{}\nmod {};\n", tree.text(&top)?, rewrite::MODULE);
            tree.put(&top, lib);
            tree.put(&format!("{}/{}.rs", self.sources()?, rewrite::MODULE), rewrite::module());
            for (path, file) in &files {
                tree.put(path, file.text.clone());
            }
            tree.write(&self.copy)?;
            let arms: usize = files.values().map(|file| file.arms.len()).sum();
            println!("building with {arms} of them behind the switch");
            match build(&self.copy, &self.package, Way::Together)? {
                Built::Tests(tests) => {
                    let alone = files.into_values().flat_map(|file| file.alone).collect();
                    return Ok((tests, alone));
                }
                Built::Errors(failures) => {
                    let broken = blame(&files, &failures)?;
                    println!("{} of them do not compile", broken.len());
                    for number in broken {
                        self.outcomes.add(&self.changes[&number].name, Outcome::Unviable)?;
                    }
                }
            }
        }
    }

    /// The files with their changes, but for those that are known not to compile.
    fn rewrite(&self) -> Result<BTreeMap<String, Rewritten>, String> {
        let mut files: BTreeMap<&str, Vec<(usize, &Change)>> = BTreeMap::new();
        for (&number, change) in &self.changes {
            if !self.outcomes.is_unviable(&change.name) {
                files.entry(&change.file).or_default().push((number, change));
            }
        }
        let rewrite = |(path, changes): (&str, Vec<_>)| {
            let file = rewrite::switched(self.tree.text(path)?, &changes)?;
            Ok((path.to_owned(), file))
        };
        files.into_iter().map(rewrite).collect()
    }

    fn run_alone(&mut self, number: usize) -> Result<(), String> {
        let change = &self.changes[&number];
        println!("alone: {}", change.name);
        let source = self.tree.text(&change.file)?;
        let changed = change.apply(source, 0..source.len())?;
        let mut tree = self.tree.clone();
        tree.put(&change.file, changed);
        tree.write(&self.alone)?;
        let outcome = match build(&self.alone, &self.package, Way::Alone)? {
            Built::Errors(_) => Outcome::Unviable,
            Built::Tests(tests) => {
                let log = self.outcomes.log(number);
                self.runner(tests, &self.alone)?.run(number, Which::All, &log)?
            }
        };
        println!("{}: {}", outcome.name(), change.name);
        self.outcomes.add(&change.name, outcome)
    }

    /// The directory of the package's sources.
    fn sources(&self) -> Result<&str, String> {
        let files = self.changes.values().map(|change| change.file.as_str());
        let mut sources = files.filter_map(|file| file.find("src/").map(|at| &file[..at + 3]));
        sources.next().ok_or_else(|| "the changes are not in src/".to_owned())
    }

    fn runner(&self, tests: PathBuf, copy: &Path) -> Result<Runner, String> {
        let package = copy.join(self.sources()?.trim_end_matches("src"));
        Ok(Runner { script: self.root.join(".ci/mutants"), tests, package })
    }
}

/// Which changes the compiler complains about.
fn blame(
    files: &BTreeMap<String, Rewritten>,
    failures: &[Failure],
) -> Result<BTreeSet<usize>, String> {
    let mut broken = BTreeSet::new();
    for failure in failures {
        let arm = failure.places.iter().find_map(|(path, line)| {
            files.get(path)?.arms.iter().find(|arm| arm.lines.contains(line))
        });
        let arm = arm.ok_or_else(|| format!("not because of a change:\n{}", failure.text))?;
        broken.insert(arm.number);
    }
    Ok(broken)
}

/// A directory for a test.
#[cfg(test)]
fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("fluss-mutants-{}-{name}", std::process::id()));
    if dir.exists() {
        std::fs::remove_dir_all(&dir).expect("it goes away");
    }
    std::fs::create_dir_all(&dir).expect("a directory");
    dir
}
