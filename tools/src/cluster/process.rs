//! One Java process: started, watched, signalled.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::config::Layout;
use super::platform::{self, Guard};
use super::{ClusterError, Server};

/// How much of a log is quoted.
const TAIL_BYTES: u64 = 4096;
const TAIL_LINES: usize = 25;

/// A clean stop takes a tablet server 4 to 7 s.
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// What all processes share.
#[derive(Debug)]
pub(super) struct Java {
    pub(super) program: PathBuf,
    pub(super) class_path: OsString,
}

#[derive(Debug)]
pub(super) struct Process {
    server: Server,
    log: PathBuf,
    /// Where the log of the present run begins: what an earlier one said explains nothing.
    begin: u64,
    child: Option<Child>,
    paused: bool,
}

impl Process {
    pub(super) fn new(server: Server, layout: &Layout) -> Self {
        Self { server, log: layout.log(server), begin: 0, child: None, paused: false }
    }

    pub(super) fn server(&self) -> Server {
        self.server
    }

    /// Starts the process; its output goes to the end of its log.
    pub(super) fn start(
        &mut self,
        java: &Java,
        layout: &Layout,
        guard: &Guard,
    ) -> Result<(), ClusterError> {
        let open = || -> io::Result<(File, File, u64)> {
            let log = fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
            let copy = log.try_clone()?;
            let length = log.metadata()?.len();
            Ok((log, copy, length))
        };
        let (out, err, length) = open().map_err(|e| ClusterError::path("open", &self.log, &e))?;
        let mut command = command(self.server, java, layout);
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let child = guard
            .spawn(&mut command)
            .map_err(|e| ClusterError::io(format!("cannot start the {}", self.server), &e))?;
        self.child = Some(child);
        self.begin = length;
        self.paused = false;
        Ok(())
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// An error if the process ended although nobody asked it to.
    pub(super) fn check(&mut self) -> Result<(), ClusterError> {
        let Some(child) = &mut self.child else { return Ok(()) };
        let status = match child.try_wait() {
            Ok(None) => return Ok(()),
            Ok(Some(status)) => status.to_string(),
            Err(error) => error.to_string(),
        };
        self.child = None;
        Err(ClusterError::Exited { server: self.server, status, tail: self.tail() })
    }

    /// SIGKILL; returns once the process is gone.
    pub(super) fn kill(&mut self) -> Result<(), ClusterError> {
        let Some(mut child) = self.child.take() else {
            return Err(ClusterError::NotRunning(self.server));
        };
        child.kill().and_then(|()| child.wait()).map_err(|e| self.signal_error(&e))?;
        Ok(())
    }

    /// SIGTERM; returns once the process has ended. A frozen process goes on first, as it could
    /// not end otherwise.
    pub(super) fn stop(&mut self) -> Result<(), ClusterError> {
        if self.paused {
            self.resume()?;
        }
        let Some(child) = &mut self.child else {
            return Err(ClusterError::NotRunning(self.server));
        };
        let until = Instant::now() + STOP_LIMIT;
        let ended = platform::terminate(child).and_then(|()| {
            loop {
                if child.try_wait()?.is_some() {
                    return Ok(true);
                }
                if Instant::now() >= until {
                    return Ok(false);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        match ended {
            Ok(true) => {
                self.child = None;
                Ok(())
            }
            Ok(false) => {
                self.kill()?;
                Err(ClusterError::StopTimeout { server: self.server, limit: STOP_LIMIT })
            }
            Err(error) => Err(self.signal_error(&error)),
        }
    }

    pub(super) fn pause(&mut self) -> Result<(), ClusterError> {
        self.signal(platform::pause)?;
        self.paused = true;
        Ok(())
    }

    pub(super) fn resume(&mut self) -> Result<(), ClusterError> {
        self.signal(platform::resume)?;
        self.paused = false;
        Ok(())
    }

    fn signal(&self, send: impl Fn(&Child) -> io::Result<()>) -> Result<(), ClusterError> {
        let child = self.child.as_ref().ok_or(ClusterError::NotRunning(self.server))?;
        send(child).map_err(|error| self.signal_error(&error))
    }

    fn signal_error(&self, error: &io::Error) -> ClusterError {
        ClusterError::io(format!("cannot signal the {}", self.server), error)
    }

    /// The end of the log.
    pub(super) fn tail(&self) -> String {
        tail(&self.log, self.begin)
            .unwrap_or_else(|error| format!("({}: {error})", self.log.display()))
    }
}

fn command(server: Server, java: &Java, layout: &Layout) -> Command {
    let (class, heap) = match server {
        Server::ZooKeeper => (
            "org.apache.fluss.shaded.zookeeper3.org.apache.zookeeper.server.quorum.QuorumPeerMain",
            "-Xmx64m",
        ),
        Server::Coordinator => {
            ("org.apache.fluss.server.coordinator.CoordinatorServer", "-Xmx128m")
        }
        Server::Tablet(_) => ("org.apache.fluss.server.tablet.TabletServer", "-Xmx256m"),
    };
    let mut log4j = OsString::from("-Dlog4j2.configurationFile=");
    log4j.push(layout.log4j());
    let mut command = Command::new(&java.program);
    command
        .arg(heap)
        // Start fast and stay small: these servers live for seconds.
        .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        // Without it the first write to a changelog in Arrow format fails on newer Java versions.
        .arg("--add-opens=java.base/java.nio=ALL-UNNAMED")
        .arg(log4j)
        .arg("-cp")
        .arg(&java.class_path)
        .arg(class);
    let conf = layout.conf_dir(server);
    match server {
        Server::ZooKeeper => command.arg(conf.join("zoo.cfg")),
        _ => command.arg("--configDir").arg(conf),
    };
    command.current_dir(&layout.dir);
    command
}

fn tail(path: &Path, begin: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(begin.max(length.saturating_sub(TAIL_BYTES))))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(last_lines(&String::from_utf8_lossy(&bytes)))
}

/// The last lines of a text.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_quoted() {
        let text: String = (0..40).map(|i| format!("line {i}\n")).collect();
        let tail = last_lines(&text);
        assert!(tail.starts_with("line 15\n"), "{tail}");
        assert!(tail.ends_with("line 39"), "{tail}");
        assert_eq!(last_lines("one"), "one");
    }
}
