//! Settings of a client and of a writer, with their defaults and rules.

use std::sync::Arc;

use crate::backoff::BackoffConfig;
use crate::error::{Error, Result};
use crate::ids::Address;
use crate::time::Duration;

/// Name and password for SASL/PLAIN. `Debug` hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub user: Arc<str>,
    /// The password.
    pub password: Arc<str>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Settings of a client: connections, metadata, memory.
///
/// ```
/// use fluss_core::config::Config;
/// let config = Config::new("127.0.0.1:9123")?.memory_limit(16 << 20);
/// config.validate()?;
/// # Ok::<(), fluss_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The servers to ask first, coordinator or tablet servers. At least one.
    pub bootstrap: Vec<Address>,
    /// SASL/PLAIN; None (default) sends no authentication.
    pub credentials: Option<Credentials>,
    /// Limit for making one TCP connection, with name resolution and handshake. Default 10 s.
    pub connect_timeout: Duration,
    /// The client's own limit for one request; longer than `ack_timeout`. Default 40 s.
    pub request_deadline: Duration,
    /// What the server is told to wait at most for acknowledgements. Default 30 s.
    pub ack_timeout: Duration,
    /// Wait between attempts to reach a server. Default 50 ms to 5 s.
    pub reconnect_backoff: BackoffConfig,
    /// Largest frame accepted from a server, in bytes. Default 256 MiB.
    pub max_frame_bytes: usize,
    /// Largest frame sent, in bytes. Default 100 MiB, the servers' default limit.
    pub max_request_bytes: usize,
    /// Shortest time between two metadata requests about the same thing, doubling up to a second
    /// while nothing changes. Default 50 ms.
    pub metadata_min_interval: Duration,
    /// Age at which the list of servers is asked for again. Default 5 min.
    pub metadata_max_age: Duration,
    /// Budget for rows handed in and without an outcome yet, in bytes. Default 64 MiB.
    pub memory_limit: u64,
    /// Limit of a command as a whole (opening a table, creating one, a lookup), with its retries.
    /// Default 60 s.
    pub command_deadline: Duration,
    /// Lookup requests on their way to one server at once; keys that come meanwhile gather for the
    /// next one. At least 1. Default 4.
    pub lookup_in_flight: usize,
    /// Seed of the jitter; adapters draw one. The same seed and inputs replay the same run.
    pub seed: u64,
}

impl Config {
    /// Defaults with these bootstrap servers: `host:port`, several with commas, IPv6 in brackets.
    ///
    /// # Errors
    /// [`Error::Config`] naming each address that cannot be read.
    pub fn new(bootstrap: &str) -> Result<Self> {
        let mut problems = Vec::new();
        let mut addresses = Vec::new();
        for entry in bootstrap.split(',').map(str::trim).filter(|e| !e.is_empty()) {
            match parse_address(entry) {
                Some(address) => addresses.push(address),
                None => problems.push(format!(
                    "bootstrap address `{entry}` is not host:port \
                     (an IPv6 address goes in brackets)"
                )),
            }
        }
        if addresses.is_empty() && problems.is_empty() {
            problems.push("no bootstrap address given; expected host:port".to_owned());
        }
        if problems.is_empty() {
            Ok(Self::with_addresses(addresses))
        } else {
            Err(Error::Config(problems.into()))
        }
    }

    /// Defaults with these bootstrap servers.
    #[must_use]
    pub fn with_addresses(bootstrap: Vec<Address>) -> Self {
        Self {
            bootstrap,
            credentials: None,
            connect_timeout: Duration::from_secs(10),
            request_deadline: Duration::from_secs(40),
            ack_timeout: Duration::from_secs(30),
            reconnect_backoff: BackoffConfig::new(
                Duration::from_millis(50),
                Duration::from_secs(5),
            ),
            max_frame_bytes: 256 << 20,
            max_request_bytes: (100 << 20) - 4,
            metadata_min_interval: Duration::from_millis(50),
            metadata_max_age: Duration::from_secs(300),
            memory_limit: 64 << 20,
            command_deadline: Duration::from_secs(60),
            lookup_in_flight: 4,
            seed: 0,
        }
    }

    /// Authenticates with SASL/PLAIN.
    #[must_use]
    pub fn credentials(mut self, user: &str, password: &str) -> Self {
        self.credentials = Some(Credentials { user: user.into(), password: password.into() });
        self
    }

    /// Sets [`Config::memory_limit`], in bytes.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Sets [`Config::request_deadline`].
    #[must_use]
    pub fn request_deadline(mut self, limit: Duration) -> Self {
        self.request_deadline = limit;
        self
    }

    /// Sets [`Config::ack_timeout`].
    #[must_use]
    pub fn ack_timeout(mut self, limit: Duration) -> Self {
        self.ack_timeout = limit;
        self
    }

    /// Sets [`Config::connect_timeout`].
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Sets [`Config::command_deadline`].
    #[must_use]
    pub fn command_deadline(mut self, limit: Duration) -> Self {
        self.command_deadline = limit;
        self
    }

    /// Sets [`Config::lookup_in_flight`].
    #[must_use]
    pub fn lookup_in_flight(mut self, requests: usize) -> Self {
        self.lookup_in_flight = requests;
        self
    }

    /// Sets [`Config::seed`].
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Checks all rules.
    ///
    /// # Errors
    /// [`Error::Config`] with every violation.
    pub fn validate(&self) -> Result<()> {
        let mut problems = Vec::new();
        let mut rule = |ok: bool, text: &str| {
            if !ok {
                problems.push(text.to_owned());
            }
        };
        rule(!self.bootstrap.is_empty(), "at least one bootstrap address is needed");
        rule(!self.connect_timeout.is_zero(), "connect_timeout must be above 0");
        rule(!self.command_deadline.is_zero(), "command_deadline must be above 0");
        rule(
            self.request_deadline > self.ack_timeout,
            "request_deadline must be longer than ack_timeout, else answers come too late",
        );
        rule(self.max_frame_bytes >= 1 << 10, "max_frame_bytes must be at least 1024");
        rule(
            (1 << 10..=i32::MAX as usize).contains(&self.max_request_bytes),
            "max_request_bytes must be between 1024 and 2147483647",
        );
        rule(self.lookup_in_flight > 0, "lookup_in_flight must be at least 1");
        rule(self.memory_limit >= 1 << 10, "memory_limit must be at least 1024");
        rule(
            self.reconnect_backoff.initial <= self.reconnect_backoff.max,
            "reconnect_backoff.initial must not exceed its max",
        );
        if let Some(c) = &self.credentials {
            rule(
                !c.user.is_empty() && !c.password.is_empty(),
                "user and password must not be empty",
            );
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Config(problems.into())) }
    }
}

fn parse_address(text: &str) -> Option<Address> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:")?,
        None => text.rsplit_once(':').filter(|(host, _)| !host.contains(':'))?,
    };
    let port: u16 = port.parse().ok().filter(|p| *p != 0)?;
    (!host.is_empty()).then(|| Address { host: host.into(), port })
}

/// How many replicas must have a row before the server acknowledges it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// The server answers without promising anything. An `Ok` may be lost with the leader.
    None,
    /// The leader has it. An `Ok` may be lost with the leader.
    Leader,
    /// All in-sync replicas have it; the only choice with idempotence. Default.
    #[default]
    All,
}

impl Acks {
    /// The number on the wire.
    #[must_use]
    pub const fn wire(self) -> i32 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// Settings of one writer (all clones of one handle).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct WriterConfig {
    /// How long a batch may wait for more rows. Zero sends at once. Default 100 ms.
    pub linger: Duration,
    /// Size at which a batch is full, in bytes before compression. Default 2 MiB.
    pub batch_bytes: usize,
    /// Cap of one write request over all its buckets, in bytes; a single larger batch still goes
    /// alone. Default 10 MiB.
    pub request_bytes: usize,
    /// See [`Acks`]. Default all.
    pub acks: Acks,
    /// Stamps batches so that the server drops copies. Default on; off, retries may double rows.
    pub idempotence: bool,
    /// Batches of a bucket without an outcome on their way at once, 1 to 5. Default 5.
    pub max_in_flight: usize,
    /// Resends of a batch after answers that leave its outcome open or reject it for the moment.
    /// Default unlimited within `delivery_timeout`.
    pub retries: u32,
    /// From append to outcome, at most. Default 120 s, at most 24 h.
    pub delivery_timeout: Duration,
    /// Wait between attempts of a bucket. Default 20 ms to 1 s.
    pub retry_backoff: BackoffConfig,
    /// A bucket idle for longer gets a new writer id. Default 24 h; must be below the server's
    /// expiry (7 d by default).
    pub idle_rotate: Duration,
    /// How often a fatal answer is asked for again while an earlier copy may have been appended.
    /// Default 2.
    pub fatal_confirm: u32,
    /// The window in which a bucket is left alone after the server said its storage is under full
    /// pressure. Default 3 s.
    pub max_throttle: Duration,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(100),
            batch_bytes: 2 << 20,
            request_bytes: 10 << 20,
            acks: Acks::All,
            idempotence: true,
            max_in_flight: 5,
            retries: u32::MAX,
            delivery_timeout: Duration::from_secs(120),
            retry_backoff: BackoffConfig::new(Duration::from_millis(20), Duration::from_secs(1)),
            idle_rotate: Duration::from_secs(24 * 3600),
            fatal_confirm: 2,
            max_throttle: Duration::from_secs(3),
        }
    }
}

impl WriterConfig {
    /// Checks all rules, also those between writer and client.
    ///
    /// # Errors
    /// [`Error::Config`] with every violation.
    pub fn validate(&self, client: &Config) -> Result<()> {
        let day = Duration::from_secs(24 * 3600);
        let mut problems = Vec::new();
        let mut rule = |ok: bool, text: &str| {
            if !ok {
                problems.push(text.to_owned());
            }
        };
        rule(
            !self.idempotence || self.acks == Acks::All,
            "idempotence needs acks all; set acks to all or turn idempotence off",
        );
        rule(
            !self.idempotence || self.retries >= 1,
            "idempotence needs at least 1 retry; raise retries or turn idempotence off",
        );
        rule(
            (1..=5).contains(&self.max_in_flight),
            "max_in_flight must be 1 to 5, as the server remembers 5 batches",
        );
        rule(self.batch_bytes >= 64, "batch_bytes must be at least 64");
        rule(self.request_bytes >= 64, "request_bytes must be at least 64");
        rule(
            self.request_bytes <= client.max_request_bytes,
            "request_bytes must not exceed max_request_bytes",
        );
        rule(self.delivery_timeout <= day, "delivery_timeout must be at most 24 h");
        rule(
            self.delivery_timeout >= self.linger,
            "delivery_timeout must not be shorter than linger",
        );
        rule(
            self.idle_rotate > Duration::ZERO && self.idle_rotate <= day * 3,
            "idle_rotate must be above 0 and at most 3 days, as servers forget writers after 7",
        );
        rule(
            self.retry_backoff.initial <= self.retry_backoff.max,
            "retry_backoff.initial must not exceed its max",
        );
        if problems.is_empty() { Ok(()) } else { Err(Error::Config(problems.into())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_all_bad_ones_named() {
        let config = Config::new("a:1, [::1]:9123,").expect("valid");
        assert_eq!(config.bootstrap[1].to_string(), "[::1]:9123");
        let Err(Error::Config(problems)) = Config::new("a,b:0,::1:5") else {
            panic!("three bad addresses were accepted")
        };
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(Config::new("").is_err());
    }

    #[test]
    fn every_violation_is_reported_at_once() {
        let client = Config::new("a:1").expect("valid");
        assert_eq!(WriterConfig::default().validate(&client), Ok(()));
        let bad = WriterConfig {
            acks: Acks::Leader,
            max_in_flight: 6,
            retries: 0,
            ..WriterConfig::default()
        };
        let Err(Error::Config(problems)) = bad.validate(&client) else {
            panic!("contradictions were accepted")
        };
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(client.ack_timeout(Duration::from_secs(50)).validate().is_err());
    }

    #[test]
    fn the_password_never_shows_in_debug_output() {
        let config = Config::new("a:1").expect("valid").credentials("ada", "secret");
        assert!(!format!("{config:?}").contains("secret"));
    }
}
