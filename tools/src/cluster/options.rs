//! What a cluster shall look like.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::ClusterError;

/// Settings every cluster starts with unless [`ClusterOptions::set`] says otherwise, chosen so
/// that faults show within seconds instead of a minute.
///
/// | setting | here | server's default |
/// |---|---|---|
/// | `zookeeper.client.session-timeout` | 4s | 60s |
/// | `log.replica.max-lag-time` | 4s | 30s |
/// | `log.replica.fetch.wait-max-time` | 50ms | 500ms |
/// | `log.replica.high-watermark.checkpoint-interval` | 200ms | 5s |
/// | `default.replication.factor` | 1 | 1 |
/// | `default.bucket.number` | 1 | 1 |
/// | `zoo.tickTime` (milliseconds) | 500 | 2000 |
///
/// A killed server is noticed, and may come back, after the session timeout; ZooKeeper allows 2 to
/// 20 ticks, and on a busy machine sessions much shorter than this expire by themselves. A slow
/// follower leaves the in-sync replicas after the lag time. The wait time is what a write with
/// acks −1 to three replicas takes. A tablet server that is killed while it holds the only replica
/// loses acknowledged rows above its last checkpoint.
pub const DEFAULT_SETTINGS: &[(&str, &str)] = &[
    ("zookeeper.client.session-timeout", "4s"),
    ("log.replica.max-lag-time", "4s"),
    ("log.replica.fetch.wait-max-time", "50ms"),
    ("log.replica.high-watermark.checkpoint-interval", "200ms"),
    ("default.replication.factor", "1"),
    ("default.bucket.number", "1"),
    ("zoo.tickTime", "500"),
];

/// What the launcher decides by itself, because several processes must agree on it.
const RESERVED: &[&str] = &[
    "bind.listeners",
    "advertised.listeners",
    "data.dir",
    "internal.listener.name",
    "remote.data.dir",
    "security.protocol.map",
    "tablet-server.id",
    "zookeeper.address",
    "zoo.clientPort",
    "zoo.clientPortAddress",
    "zoo.dataDir",
];

/// The most tablet servers a launcher starts: more is a typing error on a test machine.
const MAX_TABLET_SERVERS: usize = 16;

/// Users of a cluster whose client listener asks for SASL/PLAIN.
///
/// The default has the super user `root` with password `rootpw`, and `alice` with password `apw`,
/// who may do nothing until she is granted something.
#[derive(Clone, PartialEq, Eq)]
pub struct Sasl {
    pub(super) users: BTreeMap<String, String>,
    pub(super) super_users: Vec<String>,
}

impl Default for Sasl {
    fn default() -> Self {
        Self { users: BTreeMap::new(), super_users: Vec::new() }
            .super_user("root", "rootpw")
            .user("alice", "apw")
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.users.keys().collect();
        f.debug_struct("Sasl")
            .field("users", &names)
            .field("super_users", &self.super_users)
            .finish_non_exhaustive()
    }
}

impl Sasl {
    /// Adds a user, or replaces the password of one.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.insert(name.to_owned(), password.to_owned());
        self
    }

    /// Adds a user who may do everything.
    #[must_use]
    pub fn super_user(mut self, name: &str, password: &str) -> Self {
        self.super_users.push(name.to_owned());
        self.user(name, password)
    }
}

/// Options of [`RealCluster::start`](super::RealCluster::start).
///
/// The default is one tablet server, no authentication, [`DEFAULT_SETTINGS`], a temporary
/// directory that is deleted at the end, and 90 s to become ready.
///
/// ```
/// use fluss_tools::cluster::ClusterOptions;
///
/// let options = ClusterOptions::default()
///     .tablet_servers(2)
///     .set("kv.snapshot.interval", "2s");
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    pub(super) tablet_servers: usize,
    pub(super) sasl: Option<Sasl>,
    pub(super) advertised: Vec<u16>,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) dir: Option<PathBuf>,
    pub(super) limit: Duration,
    cancel: Option<Arc<AtomicBool>>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        let settings = DEFAULT_SETTINGS.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Self {
            tablet_servers: 1,
            sasl: None,
            advertised: Vec::new(),
            settings: settings.collect(),
            dir: None,
            limit: Duration::from_secs(90),
            cancel: None,
        }
    }
}

impl ClusterOptions {
    /// Three tablet servers, three replicas of every bucket, two of them needed for a write with
    /// acks −1.
    #[must_use]
    pub fn replicated() -> Self {
        Self::default()
            .tablet_servers(3)
            .set("default.replication.factor", "3")
            .set("log.replica.min-in-sync-replicas-number", "2")
    }

    /// How many tablet servers, 1 to 16; default 1.
    #[must_use]
    pub fn tablet_servers(mut self, count: usize) -> Self {
        self.tablet_servers = count;
        self
    }

    /// Makes the client listener ask for SASL/PLAIN, with the authorizer on. The servers talk to
    /// each other on a second, open listener, which is not authorized at all and so serves tests
    /// as a back door: [`internal_bootstrap`](super::RealCluster::internal_bootstrap).
    #[must_use]
    pub fn sasl(mut self, sasl: Sasl) -> Self {
        self.sasl = Some(sasl);
        self
    }

    /// Makes the servers tell clients other ports of the loopback interface than they listen on:
    /// the coordinator's, then those of the tablet servers. Whatever listens there has to pass the
    /// connections on to [`bootstrap`](super::RealCluster::bootstrap), in that order. The servers
    /// and the launcher use a second listener without detours, which tests may use as well:
    /// [`internal_bootstrap`](super::RealCluster::internal_bootstrap).
    #[must_use]
    pub fn advertise(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.advertised = ports.into_iter().collect();
        self
    }

    /// Whether clients and servers come in through different ports.
    pub(super) fn has_two_listeners(&self) -> bool {
        self.sasl.is_some() || !self.advertised.is_empty()
    }

    /// Sets a setting of the servers, in the names of `server.yaml`. A key that begins with `zoo.`
    /// goes to ZooKeeper's own file without that prefix. The last value counts.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Where configuration, data and logs go; the directory must be new or empty and is kept.
    /// Without it, a temporary one is used, which is deleted at the end.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// How long a start or restart may take; default 90 s.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Gives up the start, with [`ClusterError::Cancelled`], once `flag` is true.
    #[must_use]
    pub fn cancelled_by(mut self, flag: Arc<AtomicBool>) -> Self {
        self.cancel = Some(flag);
        self
    }

    pub(super) fn cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    /// Refuses what cannot become a cluster before anything is started.
    pub(super) fn check(&self) -> Result<(), ClusterError> {
        if !(1..=MAX_TABLET_SERVERS).contains(&self.tablet_servers) {
            return Err(ClusterError::InvalidOption(format!(
                "a cluster has 1 to {MAX_TABLET_SERVERS} tablet servers, not {}",
                self.tablet_servers
            )));
        }
        if !self.advertised.is_empty() && self.advertised.len() != 1 + self.tablet_servers {
            return Err(ClusterError::InvalidOption(format!(
                "{} tablet servers and a coordinator cannot advertise {} ports; name one for each",
                self.tablet_servers,
                self.advertised.len()
            )));
        }
        for (key, value) in &self.settings {
            check_setting(key, value)?;
        }
        if let Some(sasl) = &self.sasl {
            for (name, password) in &sasl.users {
                check_user(name, password)?;
            }
        }
        Ok(())
    }
}

fn check_setting(key: &str, value: &str) -> Result<(), ClusterError> {
    if RESERVED.contains(&key) {
        return Err(ClusterError::InvalidOption(format!(
            "the setting {key} is chosen by the launcher and cannot be set"
        )));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if key.is_empty() || !key.chars().all(plain) {
        return Err(ClusterError::InvalidOption(format!(
            "{key:?} is no name of a setting (letters, digits, '.', '-', '_')"
        )));
    }
    if value.contains('#') {
        return Err(ClusterError::InvalidOption(format!(
            "the value of the setting {key} contains a `#`, where a comment would begin; the \
             server cannot be given it: {value:?}"
        )));
    }
    if value.chars().any(char::is_control) {
        return Err(ClusterError::InvalidOption(format!(
            "the value of the setting {key} contains a control character: {value:?}"
        )));
    }
    Ok(())
}

fn check_user(name: &str, password: &str) -> Result<(), ClusterError> {
    // Both end up in one line of JAAS configuration, whose quoting is not worth imitating.
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let quotable = |c: char| !c.is_control() && !matches!(c, '"' | '\\' | '#');
    if name.is_empty() || !name.chars().all(word) || !password.chars().all(quotable) {
        return Err(ClusterError::InvalidOption(format!(
            "user {name:?}: a name has letters, digits and '_', a password no quote, backslash or #"
        )));
    }
    Ok(())
}
