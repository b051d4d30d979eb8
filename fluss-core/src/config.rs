//! Settings of a client and of a writer, with their defaults and rules.

use std::sync::Arc;

use crate::backoff::BackoffConfig;
use crate::error::{Error, Result};
use crate::ids::Address;
use crate::time::Duration;

pub use crate::resolver::Resolver;
pub use crate::storage::{
    ObjectPart, Storage, StorageError, StorageErrorKind, StorageToken, Store,
};

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
    /// Wait between attempts to reach a server, above 0. Default 50 ms to 5 s.
    pub reconnect_backoff: BackoffConfig,
    /// Largest frame accepted from a server, in bytes. Default 256 MiB.
    pub max_frame_bytes: usize,
    /// Largest frame sent, in bytes. Default 100 MiB, the servers' default limit.
    pub max_request_bytes: usize,
    /// Shortest time between two metadata requests about the same thing, doubling up to a second
    /// while nothing changes; above 0. Default 50 ms.
    pub metadata_min_interval: Duration,
    /// Age at which the list of servers is asked for again. Default 5 min.
    pub metadata_max_age: Duration,
    /// Budget for rows handed in and without an outcome yet, in bytes. Default 64 MiB.
    pub memory_limit: u64,
    /// Limit of one question to the servers (opening a table, creating one, a lookup), with its
    /// retries. Default 60 s. A call that has to ask several things one after the other has this
    /// long for each: a lookup in a partition for the partition, the row and, once after a change
    /// of the schema, the schema; a scanner until it is built for partitions and offsets. A bounded
    /// scan gives a bucket up that it has asked for this long without a good answer.
    pub command_deadline: Duration,
    /// Lookup requests on their way to one server at once; keys that come meanwhile gather for the
    /// next one. At least 1. Default 4.
    pub lookup_in_flight: usize,
    /// Lookups on their way at once, over all handles: keys without an answer. What comes beyond
    /// that waits in line, first come, first served, within its
    /// [`command_deadline`](Self::command_deadline). At least 1. Default 65,536.
    pub lookup_limit: usize,
    /// Budget for lookups, in bytes: keys on their way, and answers that have come and that nobody
    /// has taken. What comes beyond that waits as with [`lookup_limit`](Self::lookup_limit). How
    /// large an answer is shows when it comes, so answers to what is on its way may exceed it; and
    /// where they fill it, lookups go one by one. At least 1024. Default 16 MiB.
    pub lookup_memory_limit: u64,
    /// Where host names lead. None (default): where the system says.
    pub resolver: Option<Resolver>,
    /// Who reads older segments of logs, which servers move to remote storage. None (default): what
    /// the adapter brings, which reads files of this machine. For S3 there is `S3Storage` in the
    /// feature `s3` of the adapters.
    pub store: Option<Store>,
    /// Seed of the jitter; adapters draw one. The same seed and inputs replay the same run.
    pub seed: u64,
}

/// Bytes that a write request needs beside each of its batches, at most.
const BESIDE_BATCH: usize = 256;
/// And for each column that a partial update names.
const PER_TARGET: usize = 8;
/// No batch can be larger, whatever the limit of requests.
const LARGEST_BATCH: usize = 1 << 30;

impl Config {
    /// Bytes of all batches of a request together at most: they have to fit with what stands there
    /// beside them. A server refuses a larger one however often it comes. `targets`: the columns
    /// that a partial update names.
    pub(crate) fn room_for(&self, batches: usize, targets: usize) -> usize {
        let beside = batches.saturating_mul(BESIDE_BATCH);
        let beside = targets.saturating_mul(PER_TARGET).saturating_add(beside);
        self.max_request_bytes.saturating_sub(beside)
    }

    /// Bytes of a batch at most, and so of a row: it has to fit into the budget, and into a request
    /// of its own.
    pub(crate) fn largest_batch(&self, targets: usize) -> usize {
        let budget = usize::try_from(self.memory_limit).unwrap_or(usize::MAX);
        self.room_for(1, targets).min(budget).min(LARGEST_BATCH)
    }

    /// Defaults with these bootstrap servers: `host:port`, several with commas, IPv6 in brackets.
    ///
    /// # Errors
    /// [`Error::Config`] naming each address that cannot be read.
    pub fn new(bootstrap: &str) -> Result<Self> {
        let mut problems = Vec::new();
        let mut addresses = Vec::new();
        for entry in bootstrap.split(',').map(str::trim).filter(|e| !e.is_empty()) {
            match parse_address(entry) {
                Ok(address) => addresses.push(address),
                Err(why) => problems.push(format!("bootstrap address `{entry}` {why}")),
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
            lookup_limit: 1 << 16,
            lookup_memory_limit: 16 << 20,
            resolver: None,
            store: None,
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

    /// Sets [`Config::lookup_limit`].
    #[must_use]
    pub fn lookup_limit(mut self, lookups: usize) -> Self {
        self.lookup_limit = lookups;
        self
    }

    /// Sets [`Config::lookup_memory_limit`], in bytes.
    #[must_use]
    pub fn lookup_memory_limit(mut self, bytes: u64) -> Self {
        self.lookup_memory_limit = bytes;
        self
    }

    /// Sets [`Config::store`].
    #[must_use]
    pub fn store(mut self, store: Store) -> Self {
        self.store = Some(store);
        self
    }

    /// Sets [`Config::resolver`].
    #[must_use]
    pub fn resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = Some(resolver);
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
            &format!(
                "request_deadline {:?} is not longer than ack_timeout {:?}: the client would give \
                 up before the server has to answer; raise request_deadline or lower ack_timeout",
                self.request_deadline, self.ack_timeout
            ),
        );
        rule(self.max_frame_bytes >= 1 << 10, "max_frame_bytes must be at least 1024");
        rule(
            (1 << 10..=i32::MAX as usize).contains(&self.max_request_bytes),
            "max_request_bytes must be between 1024 and 2147483647",
        );
        rule(self.lookup_in_flight > 0, "lookup_in_flight must be at least 1");
        rule(
            self.lookup_limit > 0,
            "lookup_limit 0: no lookup could ever go; set it to at least 1",
        );
        rule(self.lookup_memory_limit >= 1 << 10, "lookup_memory_limit must be at least 1024");
        rule(self.memory_limit >= 1 << 10, "memory_limit must be at least 1024");
        rule(
            is_pause(self.metadata_min_interval),
            "metadata_min_interval 0: a bucket without a leader would be asked for without a \
             pause; set it above 0",
        );
        rule(
            is_pause(self.reconnect_backoff.initial),
            "reconnect_backoff.initial 0: servers that refuse connections would be called without \
             a pause; set it above 0",
        );
        rule(
            self.reconnect_backoff.initial <= self.reconnect_backoff.max,
            "reconnect_backoff.initial must not exceed its max, as waits only grow: lower the one \
             or raise the other",
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

/// Whether time passes meanwhile: the client counts it in microseconds.
fn is_pause(wait: Duration) -> bool {
    wait.as_micros() > 0
}

fn parse_address(text: &str) -> std::result::Result<Address, &'static str> {
    const FORM: &str = "is not host:port (an IPv6 address goes in brackets)";
    let parts = match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:"),
        None => text.rsplit_once(':').filter(|(host, _)| !host.contains(':')),
    };
    let (host, port) = parts.filter(|(host, _)| !host.is_empty()).ok_or(FORM)?;
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(FORM);
    }
    let port = port.parse().ok().filter(|port| *port != 0);
    let port: u16 = port.ok_or("has a port out of range: ports are 1 to 65535")?;
    Ok(Address { host: host.into(), port })
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

/// Where rows go in a table without a bucket key. Buckets are taken in turn, whether or not their
/// leaders are known; a row for one without waits in its batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoKeyAssigner {
    /// Rows fill one bucket's batch, then the next bucket's: few batches, full ones. Default.
    #[default]
    Sticky,
    /// Each row goes to the next bucket: even buckets, more and smaller batches.
    RoundRobin,
}

/// Batches of a bucket that a server remembers of a writer.
const MAX_IN_FLIGHT: usize = 5;
/// Batches of a bucket that may be looked through for each answer.
const MAX_PLAIN_IN_FLIGHT: usize = 1000;

/// Settings of one writer (all clones of one handle).
///
/// What contradicts itself is refused when the writer is built, all of it at once:
///
/// ```
/// use fluss_core::Error;
/// use fluss_core::config::{Acks, Config, WriterConfig};
/// let client = Config::new("127.0.0.1:9123")?;
/// let mut writer = WriterConfig::default();
/// writer.acks = Acks::Leader;
/// writer.retries = 0;
/// let Err(Error::Config(problems)) = writer.validate(&client) else { panic!() };
/// assert_eq!(problems.len(), 2);
/// # Ok::<(), fluss_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct WriterConfig {
    /// How long a batch may wait for more rows. Zero sends at once. Default 100 ms.
    pub linger: Duration,
    /// Size at which a batch is full, in bytes before compression. Default 2 MiB. One that fills a
    /// request of the client or its budget is full there, however much larger this is.
    pub batch_bytes: usize,
    /// Cap of one write request over all its buckets, in bytes; a single larger batch still goes
    /// alone. Default 10 MiB.
    pub request_bytes: usize,
    /// See [`Acks`]. Default all.
    pub acks: Acks,
    /// Stamps batches so that the server drops copies. Default on; off, retries may double rows.
    pub idempotence: bool,
    /// Batches of a bucket without an outcome on their way at once: 1 to 5, as servers remember 5;
    /// without idempotence 1 to 1,000, of which more than 1 lets retries change the order.
    /// Default 5.
    pub max_in_flight: usize,
    /// Resends of a batch after answers that leave its outcome open or reject it for the moment.
    /// Default unlimited within `delivery_timeout`.
    pub retries: u32,
    /// After this time a row is not sent again; it has its outcome at most
    /// [`Config::request_deadline`] and a second later. At least `linger` and the request deadline
    /// together, at most 24 h. Default 120 s.
    pub delivery_timeout: Duration,
    /// Wait between attempts of a bucket, above 0. Default 20 ms to 1 s.
    pub retry_backoff: BackoffConfig,
    /// A bucket idle for longer gets a new writer id. Default 24 h; must be below the server's
    /// expiry (7 d by default).
    pub idle_rotate: Duration,
    /// How often a fatal answer is asked for again while an earlier copy may have been appended.
    /// Default 2.
    pub fatal_confirm: u32,
    /// Whether a row that the answer to a later batch proves written waits for the answer to its
    /// own batch, and so for its offset, as long as that may still come. Off, it is told at once,
    /// without an offset. `None` (default): on for primary-key tables, off for log tables.
    pub track_offsets: Option<bool>,
    /// Whether a row for a partition that does not exist creates it; off, such rows are not written
    /// (code 36). Default on.
    pub dynamic_partition_creation: bool,
    /// Where rows go in a table without a bucket key. Default [`NoKeyAssigner::Sticky`].
    pub no_key_assigner: NoKeyAssigner,
    /// The window in which a bucket is left alone after the server said its storage is under full
    /// pressure, above 0. Default 3 s, at most 24 h.
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
            track_offsets: None,
            dynamic_partition_creation: true,
            no_key_assigner: NoKeyAssigner::Sticky,
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
        let mut problems = Vec::new();
        self.check_promises(client, &mut problems);
        self.check_in_flight(&mut problems);
        let mut rule = |ok: bool, text: &str| {
            if !ok {
                problems.push(text.to_owned());
            }
        };
        rule(self.batch_bytes >= 64, "batch_bytes must be at least 64");
        rule(self.request_bytes >= 64, "request_bytes must be at least 64");
        rule(
            self.request_bytes <= client.max_request_bytes,
            "request_bytes must not exceed max_request_bytes of the client, or no request could be \
             filled: lower the one or raise the other",
        );
        rule(
            is_pause(self.max_throttle),
            "max_throttle 0: what a server refuses for its load would be sent again without a \
             pause; set it above 0",
        );
        rule(
            is_pause(self.retry_backoff.initial),
            "retry_backoff.initial 0: what a server refuses for now would be sent again without a \
             pause; set it above 0",
        );
        rule(
            self.retry_backoff.initial <= self.retry_backoff.max,
            "retry_backoff.initial must not exceed its max, as waits only grow: lower the one or \
             raise the other",
        );
        if problems.is_empty() { Ok(()) } else { Err(Error::Config(problems.into())) }
    }

    /// How many batches of a bucket may be under way.
    fn check_in_flight(&self, problems: &mut Vec<String>) {
        let mut rule = |ok: bool, text: std::fmt::Arguments<'_>| {
            if !ok {
                problems.push(text.to_string());
            }
        };
        let (in_flight, on) = (self.max_in_flight, self.idempotence);
        rule(
            !on || in_flight <= MAX_IN_FLIGHT,
            format_args!(
                "max_in_flight {in_flight} with idempotence on is above the limit of \
                 {MAX_IN_FLIGHT}: a server remembers the last {MAX_IN_FLIGHT} batches of a writer \
                 in a bucket; set it to 1 to {MAX_IN_FLIGHT} or turn idempotence off"
            ),
        );
        rule(
            in_flight >= 1,
            format_args!("max_in_flight 0: nothing could ever be sent; set it to at least 1"),
        );
        rule(
            on || in_flight <= MAX_PLAIN_IN_FLIGHT,
            format_args!(
                "max_in_flight {in_flight} is above the limit of {MAX_PLAIN_IN_FLIGHT}: the work \
                 for each answer grows with what is under way; set it to 1 to \
                 {MAX_PLAIN_IN_FLIGHT}, and batch_bytes higher for more data on its way"
            ),
        );
    }

    /// What exactly-once and a true outcome in time depend on; each violation with its reason and
    /// the way out.
    fn check_promises(&self, client: &Config, problems: &mut Vec<String>) {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let mut rule = |ok: bool, text: std::fmt::Arguments<'_>| {
            if !ok {
                problems.push(text.to_string());
            }
        };
        let (acks, on) = (self.acks, self.idempotence);
        rule(
            !on || acks == Acks::All,
            format_args!(
                "acks {} with idempotence on: what one replica acknowledges can be lost with it, \
                 and the sequences with it; set acks to all or turn idempotence off",
                acks.wire()
            ),
        );
        rule(
            !on || self.retries >= 1,
            format_args!(
                "retries 0 with idempotence on: a lost answer could never be cleared up; set \
                 retries to at least 1 or turn idempotence off"
            ),
        );
        let (delivery, least) =
            (self.delivery_timeout, self.linger.saturating_add(client.request_deadline));
        rule(
            delivery >= least,
            format_args!(
                "delivery_timeout {delivery:?} is below linger + request_deadline ({:?} + {:?}): \
                 a row's time would be over before its first answer has to come; set it to at \
                 least {least:?}, or lower linger or request_deadline",
                self.linger, client.request_deadline
            ),
        );
        rule(
            delivery <= DAY,
            format_args!(
                "delivery_timeout {delivery:?} is above 24 h: servers forget silent writers after \
                 days, and a retry must come long before; set it to at most 24 h"
            ),
        );
        rule(
            self.max_throttle <= DAY,
            format_args!(
                "max_throttle {:?} is above 24 h: no row waits that long; set it to a few seconds",
                self.max_throttle
            ),
        );
        rule(
            self.idle_rotate > Duration::ZERO && self.idle_rotate <= DAY * 3,
            format_args!(
                "idle_rotate {:?} must be above 0 and at most 3 days, as servers forget writers \
                 after 7",
                self.idle_rotate
            ),
        );
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
