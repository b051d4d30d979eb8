//! What can go wrong around a real cluster.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::Server;

/// Why no real cluster can run on this machine. The text says what is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The operating system has no process groups as Unix knows them.
    #[error("a real Fluss cluster needs Linux or macOS: the launcher uses Unix process groups")]
    Platform,
    /// No usable Java runtime.
    #[error(
        "a real Fluss cluster needs Java 11 or newer (17 recommended): `{tried}` cannot be run \
         ({reason}); install a JDK or set JAVA_HOME"
    )]
    NoJava {
        /// The program that was tried.
        tried: String,
        /// What the system said.
        reason: String,
    },
    /// The jars of the server are not there and Maven, which would fetch them, is missing.
    #[error(
        "a real Fluss cluster needs the jars of its server: install Maven (`mvn`), which fetches \
         them once, or name a directory of jars in FLUSS_SERVER_JARS"
    )]
    NoMaven,
    /// The directory named in `FLUSS_SERVER_JARS` is not usable.
    #[error("FLUSS_SERVER_JARS names {dir}, where no jar file can be found ({reason})")]
    NoJars {
        /// The directory as it was given.
        dir: String,
        /// Why it does not serve.
        reason: String,
    },
    /// Switched off by the environment.
    #[error("FLUSS_REAL_CLUSTER=off")]
    SwitchedOff,
}

/// Why a cluster did not start or did not do as told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// This machine cannot run one.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// An option that makes no cluster. Nothing was started.
    #[error("{0}")]
    InvalidOption(String),
    /// Maven could not fetch the jars. Nothing was started.
    #[error("Maven could not fetch the jars of the server ({status}):\n{output}")]
    Maven {
        /// How Maven ended.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// The operating system refused something.
    #[error("{what}: {reason}")]
    Io {
        /// What was being done.
        what: String,
        /// The kind of refusal.
        kind: io::ErrorKind,
        /// The system's words.
        reason: String,
    },
    /// A server ended although nobody asked it to. At the start, the others were taken down.
    #[error("the {server} ended by itself ({status}); the end of its log:\n{tail}")]
    Exited {
        /// Which one.
        server: Server,
        /// Its exit status.
        status: String,
        /// The last lines of its log.
        tail: String,
    },
    /// The time limit was reached.
    #[error("after {} s the cluster still waits: {missing}\n{logs}", .limit.as_secs())]
    NotReady {
        /// The limit.
        limit: Duration,
        /// What is missing.
        missing: String,
        /// The ends of the logs.
        logs: String,
    },
    /// The cluster refused a request that the launcher needs.
    #[error("{what} was refused with code {code}: {message}")]
    Refused {
        /// The request.
        what: String,
        /// The error code of the protocol.
        code: i32,
        /// The server's message.
        message: String,
    },
    /// A server did not speak the protocol as expected.
    #[error("{address} answered {what}")]
    Answer {
        /// Who was asked.
        address: String,
        /// What was wrong with the answer.
        what: String,
    },
    /// The flag given to [`ClusterOptions::cancelled_by`](super::ClusterOptions::cancelled_by)
    /// was raised; everything was taken down.
    #[error("interrupted while the cluster was starting")]
    Cancelled,
    /// A tablet server that the cluster does not have.
    #[error("there is no {server}: the cluster has {tablet_servers} tablet servers, from 0")]
    NoSuchServer {
        /// The one asked for.
        server: Server,
        /// How many there are.
        tablet_servers: usize,
    },
    /// The server is down, so that it cannot be stopped, paused or resumed. State is unchanged.
    #[error("the {0} is not running; restart it first")]
    NotRunning(Server),
    /// The server ignored SIGTERM and was then killed.
    #[error("the {server} did not end within {} s of SIGTERM and was killed", .limit.as_secs())]
    StopTimeout {
        /// Which one.
        server: Server,
        /// How long it had.
        limit: Duration,
    },
}

impl ClusterError {
    /// An operating system error with the sentence that says what was being done.
    pub(super) fn io(what: impl Into<String>, error: &io::Error) -> Self {
        Self::Io { what: what.into(), kind: error.kind(), reason: error.to_string() }
    }

    pub(super) fn path(verb: &str, path: &Path, error: &io::Error) -> Self {
        Self::io(format!("cannot {verb} {}", path.display()), error)
    }

    /// Whether another start on other ports may go well.
    pub(super) fn is_port_conflict(&self) -> bool {
        match self {
            Self::Exited { tail, .. } => {
                tail.contains("Address already in use") || tail.contains("BindException")
            }
            _ => false,
        }
    }
}
