//! Names for things: ids given by the server, and ids the client gives to its own parts.

use core::net::SocketAddr;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(/// A connection of this client; never reused.
    ConnId(u64));
id!(/// A batch of this client, in the order in which batches were opened; never reused.
    BatchId(u64));
id!(/// A writer of this client (all clones of one handle); never reused.
    WriterKey(u64));
id!(/// A lane: one handle's own series of open batches within a writer.
    LaneId(u64));
id!(/// A log scanner of this client.
    ScannerKey(u64));
id!(/// A read from remote storage; never reused.
    ReadId(u64));
id!(/// A command (lookup, admin call, table opening) of this client.
    CommandId(u64));
id!(/// The id a server gave to a table; a re-created table has another.
    TableId(i64));
id!(/// The id a server gave to a partition.
    PartitionId(i64));
id!(/// A partition that writers name: its values in a table, whether a partition with them exists
    /// or not. Given by [`Client::writer_partition`](crate::Client::writer_partition).
    PartitionKey(u64));
id!(/// The id under which a server keeps a writer's sequences. Not negative.
    WriterId(i64));

/// Hashes ids that a client gives out itself, one after the other: nobody can choose them so that
/// they collide. Neighbours stay neighbours, as they come and go together and share cache lines
/// then. A map tells those that have to share a place apart by seven bits, the highest ones of a
/// word: they are mixed, so that ids that come at regular distances differ there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnIds(u64);

impl Hasher for OwnIds {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        // The highest of 64 bits, and of 32.
        const MIXED: u64 = 0x7f << 57 | 0x7f << 25;
        let number = self.0 ^ number;
        self.0 = number ^ (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) & MIXED);
    }
}

/// Things by ids of the client's own.
pub(crate) type ByOwnId<K, V> = HashMap<K, V, BuildHasherDefault<OwnIds>>;

/// One bucket of a table or partition: what a leader leads and a batch goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketKey {
    /// The table.
    pub table: TableId,
    /// The partition, for partitioned tables.
    pub partition: Option<PartitionId>,
    /// The bucket's number, from 0.
    pub bucket: i32,
}

impl fmt::Display for BucketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.partition {
            Some(p) => write!(f, "table {} partition {p} bucket {}", self.table, self.bucket),
            None => write!(f, "table {} bucket {}", self.table, self.bucket),
        }
    }
}

/// A server of the cluster. Coordinator and tablet servers number themselves separately, so the
/// number alone names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerId {
    /// The coordinator.
    Coordinator,
    /// The tablet server with this id.
    Tablet(i32),
    /// The bootstrap address with this index; which role it has is not known yet.
    Bootstrap(u16),
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinator => f.write_str("coordinator"),
            Self::Tablet(id) => write!(f, "tablet server {id}"),
            Self::Bootstrap(index) => write!(f, "bootstrap address {index}"),
        }
    }
}

/// How errors name servers: `role host:port`.
pub(crate) type Labels = BTreeMap<ServerId, Arc<str>>;

/// The server's label, or its role alone.
pub(crate) fn label_of(labels: &Labels, server: ServerId) -> Arc<str> {
    labels.get(&server).map_or_else(|| server.to_string().into(), Arc::clone)
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A host name, an IPv4 address, or an IPv6 address without brackets.
    pub host: Arc<str>,
    /// The TCP port.
    pub port: u16,
}

impl Address {
    /// The address itself, if its host is a literal IP address and no name.
    #[must_use]
    pub fn literal(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.host.parse().ok()?, self.port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Database and table name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TablePath {
    /// The database.
    pub database: Arc<str>,
    /// The table.
    pub table: Arc<str>,
}

impl TablePath {
    /// The path of `table` in `database`.
    #[must_use]
    pub fn new(database: &str, table: &str) -> Self {
        Self { database: database.into(), table: table.into() }
    }

    /// Reads `database.table`; None without exactly one dot between two names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (database, table) = text.split_once('.')?;
        (!database.is_empty() && !table.is_empty() && !table.contains('.'))
            .then(|| Self::new(database, table))
    }
}

impl fmt::Display for TablePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}
