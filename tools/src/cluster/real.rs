//! The cluster itself: start, readiness, faults.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fluss_proto::message::{MetadataResponse, PbBucketMetadata, PbPhysicalTablePath};

use super::config::{self, Layout, Ports};
use super::place::{address, directory, layout, reserve};
use super::platform::Guard;
use super::ports::ReservedPort;
use super::process::{Java, Process};
use super::{ClusterError, ClusterOptions, Server, Unavailable, jars, probe};

/// Pause between two looks at something that is not there yet.
const PAUSE: Duration = Duration::from_millis(50);
/// Starts on other ports after a chosen one was taken by somebody else.
const ATTEMPTS: usize = 4;

/// A running Fluss cluster of real servers on loopback ports.
///
/// All methods take `&self`, so that threads can share one; those that start, stop or signal a
/// server wait for each other. Dropping the value kills all servers and deletes a temporary
/// directory; so does the end of this process, whatever ends it.
#[derive(Debug)]
pub struct RealCluster {
    options: ClusterOptions,
    layout: Layout,
    java: Java,
    // Processes are dropped, hence killed, before the guard deletes their directory.
    processes: Mutex<Processes>,
    guard: Guard,
}

/// Who leads a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// The bucket, counted from 0.
    pub bucket: i32,
    /// The id of the tablet server, if there is one.
    pub server: Option<usize>,
    /// Grows with each change of the leader; not every server says it.
    pub epoch: Option<i32>,
}

/// The servers in the order of their start.
#[derive(Debug, Default)]
struct Processes(Vec<Process>);

impl Drop for Processes {
    fn drop(&mut self) {
        for process in self.0.iter_mut().rev() {
            // It may have ended before; the guard's kill of the whole group follows anyway.
            let _ = process.kill();
        }
    }
}

impl RealCluster {
    /// Says whether this machine can run a cluster.
    ///
    /// # Errors
    /// [`Unavailable`] says what is missing.
    pub fn available() -> Result<(), Unavailable> {
        if cfg!(not(unix)) {
            return Err(Unavailable::Platform);
        }
        jars::java()?;
        jars::check()
    }

    /// Starts a cluster and waits until tables can be created.
    ///
    /// The first start on a machine fetches the server through Maven. After that it takes 5 to 12
    /// s on a quiet machine and at most [`ClusterOptions::limit`].
    ///
    /// # Errors
    /// [`ClusterError`]; whatever had been started is taken down again.
    pub fn start(options: ClusterOptions) -> Result<Self, ClusterError> {
        Self::start_on(options, reserve)
    }

    /// The same with another choice of the first ports to try.
    pub(super) fn start_on(
        options: ClusterOptions,
        choose: impl FnOnce(&ClusterOptions) -> Result<Vec<ReservedPort>, ClusterError>,
    ) -> Result<Self, ClusterError> {
        options.check()?;
        if cfg!(not(unix)) {
            return Err(Unavailable::Platform.into());
        }
        let program = jars::java()?;
        jars::check()?;
        let dir = directory(options.dir.as_deref())?;
        let scratch = options.dir.is_none().then_some(dir.as_path());
        let guard = Guard::new(scratch).map_err(|e| {
            // Nobody else would delete it; it is empty.
            let _ = scratch.map(fs::remove_dir);
            ClusterError::io("cannot start the guard (sh)", &e)
        })?;
        let java = Java { program, class_path: jars::class_path(&guard, &options)? };
        let reserved = choose(&options)?;
        let cluster = Self {
            layout: layout(dir, &options, &reserved),
            options,
            java,
            processes: Mutex::default(),
            guard,
        };
        cluster.boot_somewhere(reserved)
    }

    /// Starts everything on the reserved ports, or on others if one of them was taken by somebody
    /// else between our letting go and a server's taking it.
    fn boot_somewhere(mut self, mut reserved: Vec<ReservedPort>) -> Result<Self, ClusterError> {
        for _ in 1..ATTEMPTS {
            match self.boot(reserved) {
                Err(error) if error.is_port_conflict() => {}
                other => return other.map(|()| self),
            }
            self.clear()?;
            reserved = reserve(&self.options)?;
            self.layout = layout(self.layout.dir.clone(), &self.options, &reserved);
        }
        self.boot(reserved).map(|()| self)
    }

    /// Addresses for a client to ask first: the coordinator, then all tablet servers. With SASL
    /// these are the listeners that ask for it.
    #[must_use]
    pub fn bootstrap(&self) -> Vec<String> {
        self.addresses(|ports| ports.client)
    }

    /// The same for the open listeners that the servers use among themselves. Requests there are
    /// not authorized; without SASL they are those of [`bootstrap`](Self::bootstrap).
    #[must_use]
    pub fn internal_bootstrap(&self) -> Vec<String> {
        self.addresses(|ports| ports.internal)
    }

    /// The client address of the coordinator.
    #[must_use]
    pub fn coordinator(&self) -> String {
        address(self.layout.coordinator.client)
    }

    /// The client addresses of the tablet servers, in the order of their ids, which count from 0.
    #[must_use]
    pub fn tablet_servers(&self) -> Vec<String> {
        self.layout.tablets.iter().map(|ports| address(ports.client)).collect()
    }

    /// A command that runs Java with the server's class path, without any cluster; to be given what
    /// it should run. The first call on a machine fetches the server through Maven.
    ///
    /// # Errors
    /// [`ClusterError`] if there is no Java, or no jars to be had.
    pub fn java_alone() -> Result<Command, ClusterError> {
        let program = jars::java()?;
        jars::check()?;
        let failed = |e: std::io::Error| ClusterError::io("cannot start the guard (sh)", &e);
        let guard = Guard::new(None).map_err(failed)?;
        let class_path = jars::class_path(&guard, &ClusterOptions::default())?;
        let mut command = Command::new(program);
        command.arg("-cp").arg(class_path);
        Ok(command)
    }

    /// A command that runs Java with the server's class path; to be given what it should run.
    #[must_use]
    pub fn java(&self) -> Command {
        let mut command = Command::new(&self.java.program);
        command.arg("-cp").arg(&self.java.class_path);
        command
    }

    /// The same with the jars of the published Java client, which are fetched through Maven the
    /// first time. It needs `--add-opens=java.base/java.nio=ALL-UNNAMED`.
    ///
    /// # Errors
    /// [`ClusterError::Maven`] and what else keeps jars from being fetched.
    pub fn java_client(&self) -> Result<Command, ClusterError> {
        let mut command = Command::new(&self.java.program);
        command.arg("-cp").arg(jars::client_class_path(&self.guard, &self.options)?);
        Ok(command)
    }

    /// The directory of configuration (`conf`), logs (`logs`) and data.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.layout.dir
    }

    /// The log of a server, standard output and error of all its starts.
    ///
    /// # Errors
    /// [`ClusterError::NoSuchServer`].
    pub fn log(&self, server: impl Into<Server>) -> Result<PathBuf, ClusterError> {
        let server = server.into();
        self.index(server).map(|_| self.layout.log(server))
    }

    /// The id of the process, none if it is down.
    ///
    /// # Errors
    /// [`ClusterError::NoSuchServer`].
    pub fn process_id(&self, server: impl Into<Server>) -> Result<Option<u32>, ClusterError> {
        self.with(server.into(), |process| Ok(process.id()))
    }

    /// Kills a server (SIGKILL) and returns when it is gone.
    ///
    /// # Errors
    /// [`ClusterError::NotRunning`], [`ClusterError::NoSuchServer`].
    pub fn kill9(&self, server: impl Into<Server>) -> Result<(), ClusterError> {
        self.with(server.into(), Process::kill)
    }

    /// Stops a server (SIGTERM) and returns when it has ended, which takes a tablet server 4 to 7
    /// s. A paused server is resumed first.
    ///
    /// # Errors
    /// [`ClusterError::NotRunning`], [`ClusterError::NoSuchServer`];
    /// [`ClusterError::StopTimeout`] after 40 s, when it is killed.
    pub fn stop(&self, server: impl Into<Server>) -> Result<(), ClusterError> {
        self.with(server.into(), Process::stop)
    }

    /// Freezes a server (SIGSTOP): it still accepts connections, but answers nothing.
    ///
    /// # Errors
    /// [`ClusterError::NotRunning`], [`ClusterError::NoSuchServer`].
    pub fn pause(&self, server: impl Into<Server>) -> Result<(), ClusterError> {
        self.with(server.into(), Process::pause)
    }

    /// Lets a frozen server go on (SIGCONT).
    ///
    /// # Errors
    /// [`ClusterError::NotRunning`], [`ClusterError::NoSuchServer`].
    pub fn resume(&self, server: impl Into<Server>) -> Result<(), ClusterError> {
        self.with(server.into(), Process::resume)
    }

    /// Starts a server again with its data and its address, and returns when its ports are open;
    /// a running one is stopped first as by [`stop`](Self::stop).
    ///
    /// After a kill, a server acts only once its old ZooKeeper session has ended (4 s unless set
    /// otherwise): [`wait_until_ready`](Self::wait_until_ready) waits for that.
    ///
    /// # Errors
    /// [`ClusterError::Exited`] if it does not come up, [`ClusterError::NotReady`] if that takes
    /// too long, [`ClusterError::NoSuchServer`].
    pub fn restart(&self, server: impl Into<Server>) -> Result<(), ClusterError> {
        let server = server.into();
        let until = Instant::now() + self.options.limit;
        self.with(server, |process| {
            if process.id().is_some() {
                process.stop()?;
            }
            process.start(&self.java, &self.layout, &self.guard)
        })?;
        self.await_ports(&[server], until)
    }

    /// Stops the coordinator if it runs, starts it again and waits until it creates tables.
    ///
    /// # Errors
    /// As [`restart`](Self::restart) and [`wait_until_ready`](Self::wait_until_ready).
    pub fn restart_coordinator(&self) -> Result<(), ClusterError> {
        self.restart(Server::Coordinator)?;
        self.wait_until_ready()
    }

    /// Waits until every tablet server that runs knows the coordinator and all the others, and
    /// until the coordinator would put a table on all of them. A paused server counts as running;
    /// at least one has to run.
    ///
    /// # Errors
    /// [`ClusterError::NotReady`] after [`ClusterOptions::limit`], [`ClusterError::Exited`] when a
    /// server ends meanwhile.
    pub fn wait_until_ready(&self) -> Result<(), ClusterError> {
        self.await_ready(Instant::now() + self.options.limit)
    }

    /// Reports servers that ended although nobody asked them to, each once.
    ///
    /// # Errors
    /// [`ClusterError::Exited`] for the first one found.
    pub fn check(&self) -> Result<(), ClusterError> {
        self.lock().0.iter_mut().try_for_each(Process::check)
    }

    /// Whether every bucket of a table, or of one partition of it (values joined with `$`), has a
    /// leader according to the first tablet server that answers. It says false while the table or
    /// the partition has no buckets. A leader in the metadata may refuse requests for another
    /// moment: clients retry.
    ///
    /// # Errors
    /// [`ClusterError::Refused`] if the cluster does not know the table; [`ClusterError::Io`] if
    /// no tablet server answers.
    pub fn has_leaders(
        &self,
        database: &str,
        table: &str,
        partition: Option<&str>,
    ) -> Result<bool, ClusterError> {
        let path = physical_path(database, table, partition);
        let has_leaders = |answer| {
            let buckets = probe::buckets(&answer, &path);
            !buckets.is_empty() && buckets.iter().all(|b| b.leader_id.is_some_and(|id| id >= 0))
        };
        self.ask_tablets(&path).map(has_leaders)
    }

    /// The leaders of a table's buckets, as the first tablet server that answers knows them.
    ///
    /// # Errors
    /// As [`has_leaders`](Self::has_leaders).
    pub fn leaders(&self, database: &str, table: &str) -> Result<Vec<Leader>, ClusterError> {
        let path = physical_path(database, table, None);
        self.ask_tablets(&path).map(|answer| leaders_in(&answer, &path))
    }

    /// The same, as every tablet server by itself knows them. After a pause a server takes seconds
    /// to learn that it leads no more, and serves meanwhile what it has.
    ///
    /// # Errors
    /// As [`has_leaders`](Self::has_leaders), also if a single tablet server does not answer.
    pub fn leaders_everywhere(
        &self,
        database: &str,
        table: &str,
    ) -> Result<Vec<Vec<Leader>>, ClusterError> {
        let path = physical_path(database, table, None);
        let ask = |ports: &Ports| probe::metadata(ports.internal, Some(&path));
        let answers = self.layout.tablets.iter().map(ask);
        answers.map(|answer| Ok(leaders_in(&answer?, &path))).collect()
    }

    fn ask_tablets(&self, path: &PbPhysicalTablePath) -> Result<MetadataResponse, ClusterError> {
        let mut answer = Ok(MetadataResponse::default());
        for ports in &self.layout.tablets {
            answer = probe::metadata(ports.internal, Some(path));
            if !matches!(answer, Err(ClusterError::Io { .. })) {
                break;
            }
        }
        answer
    }

    fn addresses(&self, port: impl Fn(&Ports) -> u16) -> Vec<String> {
        let servers = std::iter::once(&self.layout.coordinator).chain(&self.layout.tablets);
        servers.map(|ports| address(port(ports))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Processes> {
        // A panic elsewhere leaves each process as it was, so the list can be used further.
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(
        &self,
        server: Server,
        act: impl FnOnce(&mut Process) -> Result<T, ClusterError>,
    ) -> Result<T, ClusterError> {
        let index = self.index(server)?;
        act(&mut self.lock().0[index])
    }

    fn index(&self, server: Server) -> Result<usize, ClusterError> {
        let tablet_servers = self.layout.tablets.len();
        match server {
            Server::ZooKeeper => Ok(0),
            Server::Coordinator => Ok(1),
            Server::Tablet(i) if i < tablet_servers => Ok(2 + i),
            Server::Tablet(_) => Err(ClusterError::NoSuchServer { server, tablet_servers }),
        }
    }

    /// Starts everything on the reserved ports.
    fn boot(&self, reserved: Vec<ReservedPort>) -> Result<(), ClusterError> {
        let until = Instant::now() + self.options.limit;
        let servers: Vec<_> = [Server::ZooKeeper, Server::Coordinator]
            .into_iter()
            .chain((0..self.layout.tablets.len()).map(Server::Tablet))
            .collect();
        self.write_files(&servers)?;
        *self.lock() =
            Processes(servers.iter().map(|server| Process::new(*server, &self.layout)).collect());
        let mut reserved = reserved;
        // ZooKeeper's is the first; the others stay ours until it is up.
        let rest = reserved.split_off(1);
        drop(reserved);
        self.launch(&servers[..1])?;
        self.await_ports(&servers[..1], until)?;
        drop(rest);
        self.launch(&servers[1..])?;
        self.await_ports(&servers[1..], until)?;
        self.await_ready(until)
    }

    fn launch(&self, servers: &[Server]) -> Result<(), ClusterError> {
        servers.iter().try_for_each(|server| {
            self.with(*server, |p| p.start(&self.java, &self.layout, &self.guard))
        })
    }

    fn write_files(&self, servers: &[Server]) -> Result<(), ClusterError> {
        let write = |path: PathBuf, text: &str| {
            let parent = path.parent().map_or(Ok(()), fs::create_dir_all);
            parent
                .and_then(|()| fs::write(&path, text))
                .map_err(|e| ClusterError::path("write", &path, &e))
        };
        write(self.layout.log4j(), config::LOG4J)?;
        for server in servers {
            let dir = self.layout.conf_dir(*server);
            match server {
                Server::ZooKeeper => {
                    let text = config::zoo_cfg(&self.layout, &self.options);
                    write(dir.join("zoo.cfg"), &text)?;
                }
                _ => {
                    let text = config::server_yaml(&self.layout, &self.options, *server);
                    write(dir.join("server.yaml"), &text)?;
                }
            }
            // Creates the directory of the logs, and keeps what an earlier attempt said.
            let log = self.layout.log(*server);
            if !log.exists() {
                write(log, "")?;
            }
        }
        Ok(())
    }

    /// Takes down what a failed attempt started and deletes its data.
    fn clear(&self) -> Result<(), ClusterError> {
        *self.lock() = Processes::default();
        for dir in self.layout.data_dirs() {
            if dir.exists() {
                fs::remove_dir_all(&dir).map_err(|e| ClusterError::path("delete", &dir, &e))?;
            }
        }
        Ok(())
    }

    fn await_ports(&self, servers: &[Server], until: Instant) -> Result<(), ClusterError> {
        for server in servers {
            let ports = self.layout.ports(*server);
            for port in [ports.internal, ports.client] {
                self.poll(until, || match probe::is_open(port) {
                    true => Ok(None),
                    false => Ok(Some(format!("the {server} does not listen on port {port}"))),
                })?;
            }
        }
        Ok(())
    }

    fn await_ready(&self, until: Instant) -> Result<(), ClusterError> {
        let running: Vec<u16> = {
            let processes = self.lock();
            let up = processes.0.iter().filter(|p| p.id().is_some());
            up.filter(|p| matches!(p.server(), Server::Tablet(_)))
                .map(|p| self.layout.ports(p.server()).internal)
                .collect()
        };
        let mut expected: Vec<i32> = running.iter().map(|port| i32::from(*port)).collect();
        expected.sort_unstable();
        let coordinator = self.layout.coordinator.internal;
        for port in &running {
            self.poll(until, || Ok(missing_in_metadata(*port, coordinator, &expected)))?;
        }
        self.poll(until, || probe::missing_for_tables(coordinator, running.len()))?;
        // An answer may have come from somebody else at the port of a server that gave up.
        self.check()
    }

    /// Looks again and again until nothing is missing, a server ends, the start is cancelled or
    /// the time is over.
    fn poll(
        &self,
        until: Instant,
        mut missing: impl FnMut() -> Result<Option<String>, ClusterError>,
    ) -> Result<(), ClusterError> {
        loop {
            let Some(missing) = missing()? else { return Ok(()) };
            self.check()?;
            if self.options.cancelled() {
                return Err(ClusterError::Cancelled);
            }
            if Instant::now() >= until {
                let limit = self.options.limit;
                return Err(ClusterError::NotReady { limit, missing, logs: self.tails() });
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn tails(&self) -> String {
        let processes = self.lock();
        let tails = processes.0.iter();
        tails.map(|p| format!("--- log of the {}:\n{}\n", p.server(), p.tail())).collect()
    }
}

fn leaders_in(answer: &MetadataResponse, path: &PbPhysicalTablePath) -> Vec<Leader> {
    let leader = |bucket: &PbBucketMetadata| Leader {
        bucket: bucket.bucket_id,
        server: bucket.leader_id.and_then(|id| usize::try_from(id).ok()),
        epoch: bucket.leader_epoch,
    };
    let mut leaders: Vec<_> = probe::buckets(answer, path).into_iter().map(leader).collect();
    leaders.sort_unstable_by_key(|leader| leader.bucket);
    leaders
}

fn physical_path(database: &str, table: &str, partition: Option<&str>) -> PbPhysicalTablePath {
    PbPhysicalTablePath {
        database_name: database.to_owned(),
        table_name: table.to_owned(),
        partition_name: partition.map(str::to_owned),
    }
}

/// What the metadata of the tablet server at `port` still lacks. Ports identify servers, as the
/// coordinator and tablet server 0 have the same id.
fn missing_in_metadata(port: u16, coordinator: u16, expected: &[i32]) -> Option<String> {
    let answer = match probe::metadata(port, None) {
        Ok(answer) => answer,
        Err(error) => return Some(error.to_string()),
    };
    if answer.coordinator_server.is_none_or(|node| node.port != i32::from(coordinator)) {
        return Some(format!("{} does not know the coordinator", address(port)));
    }
    let mut known: Vec<i32> = answer.tablet_servers.iter().map(|node| node.port).collect();
    known.sort_unstable();
    let same = known == expected;
    (!same).then(|| {
        format!("{} knows tablet servers on ports {known:?}, not {expected:?}", address(port))
    })
}
