//! The configuration files of the processes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::options::ClusterOptions;
use super::{Sasl, Server};

/// The only address servers bind to.
pub(super) const HOST: &str = "127.0.0.1";

/// Ports of one server; both are the same where there is only one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    /// The open listener, used by the servers and by the launcher.
    pub(super) internal: u16,
    /// The one clients use.
    pub(super) client: u16,
}

/// Where everything is: directories and ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    /// The node of ZooKeeper below which the cluster keeps everything.
    pub(super) root: String,
    pub(super) zookeeper: u16,
    pub(super) coordinator: Ports,
    pub(super) tablets: Vec<Ports>,
}

impl Layout {
    pub(super) fn conf_dir(&self, server: Server) -> PathBuf {
        self.dir.join("conf").join(server.file_stem())
    }

    pub(super) fn log(&self, server: Server) -> PathBuf {
        self.dir.join("logs").join(format!("{}.log", server.file_stem()))
    }

    pub(super) fn log4j(&self) -> PathBuf {
        self.dir.join("conf").join("log4j2.properties")
    }

    /// What a failed start leaves behind and the next attempt must not find.
    pub(super) fn data_dirs(&self) -> Vec<PathBuf> {
        let mut dirs = vec![self.dir.join("zk"), self.dir.join("remote")];
        dirs.extend((0..self.tablets.len()).map(|i| self.data_dir(i)));
        dirs
    }

    fn data_dir(&self, tablet: usize) -> PathBuf {
        self.dir.join(format!("data-{tablet}"))
    }

    pub(super) fn ports(&self, server: Server) -> Ports {
        match server {
            Server::ZooKeeper => Ports { internal: self.zookeeper, client: self.zookeeper },
            Server::Coordinator => self.coordinator,
            Server::Tablet(i) => self.tablets[i],
        }
    }
}

/// Log to the console, which is a file kept for each process.
pub(super) const LOG4J: &str = "\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss,SSS} (%d{UNIX_MILLIS}) %-5p %c{1} - %m%n%throwable
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
";

/// `zoo.cfg`, with the settings whose names begin with `zoo.`.
pub(super) fn zoo_cfg(layout: &Layout, options: &ClusterOptions) -> String {
    let mut text = format!(
        "dataDir={}\nclientPort={}\nclientPortAddress={HOST}\nmaxClientCnxns=0\n\
         admin.enableServer=false\n",
        display(&layout.dir.join("zk")),
        layout.zookeeper
    );
    for (key, value) in &options.settings {
        if let Some(key) = key.strip_prefix("zoo.") {
            let _ = writeln!(text, "{key}={value}");
        }
    }
    text
}

/// `server.yaml` of the coordinator or a tablet server. A server ignores options that are meant
/// for the other kind, so both get the same block.
pub(super) fn server_yaml(layout: &Layout, options: &ClusterOptions, server: Server) -> String {
    let ports = layout.ports(server);
    let mut lines = vec![
        ("zookeeper.address", format!("{HOST}:{}", layout.zookeeper)),
        ("zookeeper.path.root", layout.root.clone()),
        ("remote.data.dir", display(&layout.dir.join("remote"))),
    ];
    if let Server::Tablet(i) = server {
        lines.push(("tablet-server.id", i.to_string()));
        lines.push(("data.dir", display(&layout.data_dir(i))));
    }
    if options.has_two_listeners() {
        lines.extend(listener_lines(options, server, ports));
    } else {
        lines.push(("bind.listeners", format!("FLUSS://{HOST}:{}", ports.client)));
    }
    if let Some(sasl) = &options.sasl {
        lines.extend(sasl_lines(sasl));
    }
    lines.retain(|(key, _)| !options.settings.contains_key(*key));
    let mut text = String::new();
    for (key, value) in lines {
        let _ = writeln!(text, "{key}: {value}");
    }
    for (key, value) in options.settings.iter().filter(|(key, _)| !key.starts_with("zoo.")) {
        let _ = writeln!(text, "{key}: {value}");
    }
    text
}

/// An open listener for the servers and one for clients.
fn listener_lines(
    options: &ClusterOptions,
    server: Server,
    ports: Ports,
) -> Vec<(&'static str, String)> {
    let security = if options.sasl.is_some() { "SASL" } else { "PLAINTEXT" };
    let mut lines = vec![
        (
            "bind.listeners",
            format!("INTERNAL://{HOST}:{},CLIENT://{HOST}:{}", ports.internal, ports.client),
        ),
        ("internal.listener.name", "INTERNAL".to_owned()),
        ("security.protocol.map", format!("INTERNAL:PLAINTEXT,CLIENT:{security}")),
    ];
    let index = if let Server::Tablet(i) = server { 1 + i } else { 0 };
    if let Some(port) = options.advertised.get(index) {
        lines.push(("advertised.listeners", format!("CLIENT://{HOST}:{port}")));
    }
    lines
}

fn sasl_lines(sasl: &Sasl) -> Vec<(&'static str, String)> {
    let mut jaas =
        String::from("org.apache.fluss.security.auth.sasl.plain.PlainLoginModule required");
    for (name, password) in &sasl.users {
        let _ = write!(jaas, " user_{name}=\"{password}\"");
    }
    jaas.push(';');
    let supers: Vec<_> = sasl.super_users.iter().map(|name| format!("User:{name}")).collect();
    vec![
        ("security.sasl.enabled.mechanisms", "PLAIN".to_owned()),
        ("security.sasl.plain.jaas.config", jaas),
        ("authorizer.enabled", "true".to_owned()),
        ("super.users", supers.join(";")),
    ]
}

/// Directories were checked to be UTF-8 when they were chosen.
fn display(path: &Path) -> String {
    path.display().to_string()
}
