//! The launcher on machines that lack something, and where its jars come from.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fluss_tools::cluster::real_cluster_or_skip;

/// The test of this program that needs a real cluster.
const FETCHES: &str = "jars_are_fetched_once_and_other_jars_can_be_named";

/// A directory of its own for each test, deleted at the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("environment-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn dir(&self, name: &str) -> PathBuf {
        let dir = self.0.join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// A directory of programs with a `java` that runs and does nothing.
    fn programs(&self) -> PathBuf {
        let dir = self.dir("bin");
        let java = dir.join("java");
        fs::write(&java, "#!/bin/sh\nexit 0\n").unwrap();
        fs::set_permissions(&java, fs::Permissions::from_mode(0o755)).unwrap();
        dir
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fluss-cluster"));
    command.stdin(Stdio::null()).env_remove("FLUSS_SERVER_JARS");
    command
}

fn assert_fails(mut command: Command, code: i32, sentence: &str) -> Output {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(sentence), "{stderr}");
    assert!(output.stdout.is_empty(), "{output:?}");
    output
}

#[test]
fn without_java_a_sentence_says_so() {
    let place = Place::new("java");
    let mut with_home = command();
    with_home.env("JAVA_HOME", place.dir("no-jdk"));
    assert_fails(with_home, 1, "needs Java 11 or newer");
    let mut without_home = command();
    without_home.env_remove("JAVA_HOME").env("PATH", place.dir("empty"));
    assert_fails(without_home, 1, "install a JDK or set JAVA_HOME");
}

#[test]
fn without_maven_and_without_jars_a_sentence_says_so() {
    let place = Place::new("maven");
    let mut command = command();
    command
        .env_remove("JAVA_HOME")
        .env("PATH", format!("{}:/nowhere", place.programs().display()))
        .env("FLUSS_CLUSTER_CACHE", place.dir("cache"));
    assert_fails(command, 1, "install Maven (`mvn`)");
}

#[test]
fn a_failure_of_maven_is_quoted() {
    let place = Place::new("failing-maven");
    let maven = place.programs().join("mvn");
    fs::write(&maven, "#!/bin/sh\necho 'no route to anywhere'\nexit 3\n").unwrap();
    fs::set_permissions(&maven, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = command();
    command
        .env_remove("JAVA_HOME")
        .env("PATH", format!("{}:/bin:/usr/bin", place.programs().display()))
        .env("FLUSS_CLUSTER_CACHE", place.dir("cache"));
    command.stdin(Stdio::piped());
    assert_fails(command, 1, "no route to anywhere");
    let left = fs::read_dir(place.dir("cache")).unwrap().count();
    assert_eq!(left, 0, "something is left in the cache");
}

#[test]
fn a_directory_without_jars_is_refused() {
    let place = Place::new("jars");
    let fake_java = |jars: &Path| {
        let mut command = command();
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env_remove("JAVA_HOME")
            .env("PATH", format!("{}:{path}", place.programs().display()))
            .env("FLUSS_SERVER_JARS", jars);
        command
    };
    assert_fails(fake_java(&place.dir("empty")), 1, "no jar file can be found");
    assert_fails(fake_java(Path::new("/nowhere/jars")), 1, "/nowhere/jars");
}

#[test]
fn wrong_usage_is_told_from_failure() {
    for (arguments, sentence) in [
        (&["--tablet-servers", "many"][..], "many"),
        (&["--tablet-servers", "0"], "1 to 16 tablet servers"),
        (&["--set", "novalue"], "KEY=VALUE"),
        (&["--set", "data.dir=/x"], "data.dir"),
        (&["--frobnicate"], "--frobnicate"),
        (&["--dir", env!("CARGO_MANIFEST_DIR")], "is not empty"),
    ] {
        if arguments[0] == "--dir" && !real_cluster_or_skip("a_directory_in_use_is_refused") {
            continue;
        }
        let mut command = command();
        command.args(arguments);
        assert_fails(command, 2, sentence);
    }
    let help = command().arg("--help").output().unwrap();
    assert!(help.status.success());
    assert!(String::from_utf8_lossy(&help.stdout).contains("--until-eof"));
}

/// Starts a cluster that ends as soon as it runs, and says whether it got that far.
fn starts(mut command: Command, dir: &Path) {
    use std::io::{BufRead, BufReader};
    let mut child = command
        .args(["--until-eof", "--dir"])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(line.starts_with("{\"bootstrap\":["), "{line}");
    let log = fs::read_to_string(dir.join("logs").join("tablet-0.log")).unwrap();
    assert!(log.contains("Successfully start Netty server"), "{log}");
    assert!(dir.join("conf").join("tablet-0").join("server.yaml").is_file());
}

#[test]
fn jars_are_fetched_once_and_other_jars_can_be_named() {
    if !real_cluster_or_skip(FETCHES) {
        return;
    }
    let place = Place::new("fetch");
    let cache = place.dir("cache");
    let cached = |dir: &str| {
        let mut command = command();
        command.env("FLUSS_CLUSTER_CACHE", &cache);
        starts(command, &place.0.join(dir));
        let entries: Vec<_> = fs::read_dir(&cache).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(entries.len(), 1, "{entries:?}");
        let time = entries[0].metadata().unwrap().modified().unwrap();
        (entries[0].clone(), time)
    };
    let (jars, fetched) = cached("first");
    assert_eq!(cached("second"), (jars.clone(), fetched));

    // The server alone, as a newer one would come: the log binding is added.
    let other = place.dir("other");
    let server = fs::read_dir(&jars)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("fluss-server"))
        .unwrap();
    fs::hard_link(&server, other.join("server.jar")).unwrap();
    // The servers run in another directory than the one where relative paths lead on.
    let mut command = command();
    command.current_dir(&place.0);
    command.env("FLUSS_CLUSTER_CACHE", "cache").env("FLUSS_SERVER_JARS", "other");
    starts(command, &place.0.join("third"));
}

/// Runs a test of this program that needs a real cluster, as somebody with nothing but Rust does.
fn without_a_cluster(place: &Place, path: &str, mode: Option<&str>) -> (Output, String) {
    let tally = place.0.join("tally");
    let _ = fs::remove_file(&tally);
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args([FETCHES, "--exact"])
        .env_remove("JAVA_HOME")
        .env_remove("FLUSS_SERVER_JARS")
        .env_remove("FLUSS_REAL_CLUSTER")
        .env("PATH", path)
        .env("FLUSS_CLUSTER_CACHE", place.dir("cache"))
        .env("FLUSS_REAL_CLUSTER_TALLY", &tally);
    if let Some(mode) = mode {
        child.env("FLUSS_REAL_CLUSTER", mode);
    }
    let output = child.output().unwrap();
    (output, fs::read_to_string(tally).unwrap_or_default())
}

#[test]
fn what_needs_a_real_cluster_says_loudly_that_it_did_not_run_and_fails_where_it_must_run() {
    let place = Place::new("loudly");
    let empty = place.dir("empty").display().to_string();
    let java_alone = format!("{}:/nowhere", place.programs().display());
    let cases = [(&empty, "needs Java 11 or newer"), (&java_alone, "install Maven (`mvn`)")];
    for (path, reason) in cases {
        let (output, tally) = without_a_cluster(&place, path, None);
        let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        // Nothing but the notice: the test passes, and what it prints itself is kept from view.
        assert!(output.status.success() && out.contains("1 passed"), "{out}{err}");
        let notice = err.trim().strip_prefix(&format!("*** NOT RUN: {FETCHES}: "));
        let notice = notice.and_then(|notice| notice.strip_suffix(" ***"));
        assert!(notice.is_some_and(|notice| notice.contains(reason)), "{err}");
        assert_eq!(tally, format!("skipped {FETCHES}\n"));

        let (output, tally) = without_a_cluster(&place, path, Some("required"));
        let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        assert!(!output.status.success() && out.contains("1 failed"), "{out}{err}");
        let demand = format!("{FETCHES} needs a real cluster, which FLUSS_REAL_CLUSTER=required");
        assert!(out.contains(&demand) && out.contains(reason), "{out}{err}");
        assert_eq!(tally, "");
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let (output, tally) = without_a_cluster(&place, &path, Some("off"));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{output:?}");
    let notice = format!("*** NOT RUN: {FETCHES}: FLUSS_REAL_CLUSTER=off ***");
    assert_eq!((err.trim(), tally), (&*notice, format!("skipped {FETCHES}\n")));
}
