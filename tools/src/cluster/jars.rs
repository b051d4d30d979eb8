//! Java, Maven and the jars of the server.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use super::platform::Guard;
use super::process::last_lines;
use super::{ClusterError, ClusterOptions, Unavailable};

const POM: &str = include_str!("../../pom/pom.xml");

/// A directory of jars to use instead of the published server.
pub(super) const SERVER_JARS: &str = "FLUSS_SERVER_JARS";
/// Where fetched jars are kept.
const CACHE: &str = "FLUSS_CLUSTER_CACHE";

/// The `java` that will be used, after a look whether it runs.
pub(super) fn java() -> Result<PathBuf, Unavailable> {
    let program = match env::var_os("JAVA_HOME") {
        Some(home) if !home.is_empty() => absolute(home.into()).join("bin").join("java"),
        _ => PathBuf::from("java"),
    };
    let no_java =
        |reason: String| Unavailable::NoJava { tried: program.display().to_string(), reason };
    let status = Command::new(&program)
        .arg("-version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|error| no_java(error.to_string()))?;
    if status.success() { Ok(program) } else { Err(no_java(status.to_string())) }
}

/// The servers run in a directory of their own, where a relative path would lead elsewhere.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// What can be fetched, each into a directory of its own: both jars hold classes of the same
/// names, the client's with everything that it needs.
#[derive(Clone, Copy, Debug)]
enum Artifact {
    Server,
    Client,
}

impl Artifact {
    /// The property of the `pom.xml`.
    fn name(self) -> &'static str {
        match self {
            Self::Server => "fluss-server",
            Self::Client => "fluss-client",
        }
    }

    /// The directory for the jars that the embedded `pom.xml` names. Another `pom.xml` gets another
    /// directory; the directory appears complete or not at all.
    fn cache(self) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        POM.hash(&mut hasher);
        let name = match self {
            Self::Server => "server-jars",
            Self::Client => "client-jars",
        };
        cache_root().join(format!("{name}-{:016x}", hasher.finish()))
    }
}

/// Whether jars are there or can be fetched.
pub(super) fn check() -> Result<(), Unavailable> {
    match env::var_os(SERVER_JARS) {
        Some(dir) => foreign_jars(Path::new(&dir)).map(drop),
        None if Artifact::Server.cache().is_dir() => Ok(()),
        None => maven().map(drop),
    }
}

/// The class path of the server, fetched through Maven if need be.
pub(super) fn class_path(
    guard: &Guard,
    options: &ClusterOptions,
) -> Result<OsString, ClusterError> {
    let Some(dir) = env::var_os(SERVER_JARS) else {
        return Ok(all_in(&fetched(guard, options, Artifact::Server)?));
    };
    let dir = absolute(dir.into());
    let mut path = all_in(&dir);
    if !foreign_jars(&dir)?.has_log_binding {
        // Without a binding the server says nothing at all. The published jars have one; the
        // server of that directory comes too, but later in the path, where it is never read.
        path.push(":");
        let jars = fetched(guard, options, Artifact::Server)?;
        for name in jar_names(&jars).map_err(|error| ClusterError::path("read", &jars, &error))? {
            if name.starts_with("log4j-") || name.starts_with("slf4j-") {
                path.push(jars.join(name));
                path.push(":");
            }
        }
    }
    Ok(path)
}

/// The class path of the published Java client, fetched through Maven if need be. A directory of
/// other server jars does not change it.
pub(super) fn client_class_path(
    guard: &Guard,
    options: &ClusterOptions,
) -> Result<OsString, ClusterError> {
    Ok(all_in(&fetched(guard, options, Artifact::Client)?))
}

struct ForeignJars {
    has_log_binding: bool,
}

fn foreign_jars(dir: &Path) -> Result<ForeignJars, Unavailable> {
    let no_jars = |reason: String| Unavailable::NoJars { dir: dir.display().to_string(), reason };
    let names = jar_names(dir).map_err(|error| no_jars(error.to_string()))?;
    if names.is_empty() {
        return Err(no_jars("it holds none".to_owned()));
    }
    let has_log_binding =
        names.iter().any(|n| n.starts_with("log4j-slf4j") || n.contains("logback"));
    Ok(ForeignJars { has_log_binding })
}

fn jar_names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".jar") {
            names.push(name);
        }
    }
    Ok(names)
}

/// Java's own wildcard: all jars of a directory.
fn all_in(dir: &Path) -> OsString {
    dir.join("*").into_os_string()
}

fn maven() -> Result<PathBuf, Unavailable> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|dir| dir.join("mvn"))
        .find(|program| program.is_file())
        .ok_or(Unavailable::NoMaven)
}

fn cache_root() -> PathBuf {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root = set(CACHE)
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("fluss-cluster")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache").join("fluss-cluster")))
        .unwrap_or_else(|| env::temp_dir().join("fluss-cluster"));
    absolute(root)
}

fn fetched(
    guard: &Guard,
    options: &ClusterOptions,
    artifact: Artifact,
) -> Result<PathBuf, ClusterError> {
    let target = artifact.cache();
    if target.is_dir() {
        return Ok(target);
    }
    let maven = maven()?;
    let work = target.with_extension(format!("part-{}", std::process::id()));
    let run = |command: &mut Command| run(guard, options, command);
    let result = fetch(&maven, &work, &target, artifact, run);
    // Left over where the fetch failed or where another process was faster.
    let _ = fs::remove_dir_all(&work);
    result.map(|()| target)
}

fn fetch(
    maven: &Path,
    work: &Path,
    target: &Path,
    artifact: Artifact,
    run: impl Fn(&mut Command) -> Result<ExitStatus, ClusterError>,
) -> Result<(), ClusterError> {
    fs::create_dir_all(work).map_err(|error| ClusterError::path("create", work, &error))?;
    let pom = work.join("pom.xml");
    fs::write(&pom, POM).map_err(|error| ClusterError::path("write", &pom, &error))?;
    let log = work.join("log");
    let output = File::create(&log).map_err(|error| ClusterError::path("create", &log, &error))?;
    let jars = work.join("jars");
    let mut output_directory = OsString::from("-DoutputDirectory=");
    output_directory.push(&jars);
    let mut command = Command::new(maven);
    command
        .args([OsStr::new("-q"), OsStr::new("-B"), OsStr::new("-f"), pom.as_os_str()])
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-Dfluss.artifact={}", artifact.name()))
        .arg(output_directory)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(Stdio::null());
    let status = run(&mut command)?;
    let complete = jar_names(&jars).is_ok_and(|names| !names.is_empty());
    if !status.success() || !complete {
        let text = fs::read(&log).unwrap_or_default();
        let output = last_lines(&String::from_utf8_lossy(&text));
        return Err(ClusterError::Maven { status: status.to_string(), output });
    }
    match fs::rename(&jars, target) {
        Err(_) if target.is_dir() => Ok(()),
        other => other.map_err(|error| ClusterError::path("create", target, &error)),
    }
}

/// Runs Maven, which is a Java process as well, and a long one the first time: it is guarded like
/// the servers, and gives way to an interruption.
fn run(
    guard: &Guard,
    options: &ClusterOptions,
    command: &mut Command,
) -> Result<ExitStatus, ClusterError> {
    let failed = |error: io::Error| ClusterError::io("cannot run mvn", &error);
    let mut child = guard.spawn(command).map_err(failed)?;
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(status);
        }
        if options.cancelled() {
            // Its own children fall with the guard's group a moment later.
            child.kill().and_then(|()| child.wait()).map_err(failed)?;
            return Err(ClusterError::Cancelled);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
