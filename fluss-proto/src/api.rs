//! The APIs of the RPC interface, and which version of each a connection speaks.

use std::fmt;

use crate::message::ApiVersionsResponse;

/// The two kinds of server of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerType {
    /// Decides about databases, tables, partitions and the cluster.
    Coordinator,
    /// Stores buckets.
    TabletServer,
}

impl ServerType {
    /// The type of a number on the wire, or [`None`] for any other than 1 and 2.
    pub fn from_number(number: i32) -> Option<Self> {
        match number {
            1 => Some(Self::Coordinator),
            2 => Some(Self::TabletServer),
            _ => None,
        }
    }

    /// The number on the wire.
    pub fn number(self) -> i32 {
        match self {
            Self::Coordinator => 1,
            Self::TabletServer => 2,
        }
    }
}

impl fmt::Display for ServerType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coordinator => "coordinator",
            Self::TabletServer => "tablet server",
        })
    }
}

/// Which servers answer an API. A server drops any other request without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServedBy {
    /// The leading coordinator only.
    Coordinator,
    /// Tablet servers only.
    TabletServer,
    /// Both kinds.
    Both,
}

impl ServedBy {
    /// Whether servers of this type answer.
    pub fn includes(self, server: ServerType) -> bool {
        match self {
            Self::Coordinator => server == ServerType::Coordinator,
            Self::TabletServer => server == ServerType::TabletServer,
            Self::Both => true,
        }
    }
}

/// The server to send a request to, out of those that answer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The server at hand: the API belongs to the connection.
    AnyServer,
    /// Any live tablet server. Reads that both kinds answer go here, so that they work while the
    /// coordinator is down.
    AnyTabletServer,
    /// The tablet server that leads the addressed buckets.
    Leader,
    /// The coordinator.
    Coordinator,
}

/// The lowest and highest version of an API, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VersionRange {
    /// The lowest version.
    pub min: i16,
    /// The highest version.
    pub max: i16,
}

impl VersionRange {
    /// Whether the version lies in the range.
    pub fn contains(self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{} to {}", self.min, self.max)
        }
    }
}

/// One row of the table of APIs.
struct Row {
    api: ApiKey,
    number: i16,
    name: &'static str,
    versions: VersionRange,
    served_by: ServedBy,
    target: Target,
}

/// Turns the table into the enum and the rows, so that each API is written down once.
macro_rules! apis {
    ($($(#[$doc:meta])+
       $api:ident = $number:literal, $name:literal, $min:literal..=$max:literal,
       $served_by:ident, $target:ident;)+) => {
        /// An API that clients use. APIs between servers are not listed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum ApiKey {
            $($(#[$doc])+ $api,)+
        }

        static TABLE: &[Row] = &[$(Row {
            api: ApiKey::$api,
            number: $number,
            name: $name,
            versions: VersionRange { min: $min, max: $max },
            served_by: ServedBy::$served_by,
            target: Target::$target,
        }),+];

        /// How many APIs there are.
        const COUNT: usize = [$($number),+].len();
    };
}

// A version states what the client understands, not only what it can encode. PRODUCE_LOG 1 and
// PUT_KV 3 promise writes to historical partitions, which this client does not make; PUT_KV 2
// promises to understand the storage backpressure error.
apis! {
    /// Asks which APIs the server offers, in which versions.
    ApiVersions = 1000, "API_VERSIONS", 0..=0, Both, AnyServer;
    /// Creates a database.
    CreateDatabase = 1001, "CREATE_DATABASE", 0..=0, Coordinator, Coordinator;
    /// Drops a database.
    DropDatabase = 1002, "DROP_DATABASE", 0..=0, Coordinator, Coordinator;
    /// Lists databases.
    ListDatabases = 1003, "LIST_DATABASES", 0..=0, Both, AnyTabletServer;
    /// Tells whether a database exists.
    DatabaseExists = 1004, "DATABASE_EXISTS", 0..=0, Both, AnyTabletServer;
    /// Creates a table.
    CreateTable = 1005, "CREATE_TABLE", 0..=0, Coordinator, Coordinator;
    /// Drops a table.
    DropTable = 1006, "DROP_TABLE", 0..=0, Coordinator, Coordinator;
    /// Describes a table.
    GetTableInfo = 1007, "GET_TABLE_INFO", 0..=0, Both, AnyTabletServer;
    /// Lists the tables of a database.
    ListTables = 1008, "LIST_TABLES", 0..=0, Both, AnyTabletServer;
    /// Lists the partitions of a table.
    ListPartitionInfos = 1009, "LIST_PARTITION_INFOS", 0..=0, Both, AnyTabletServer;
    /// Tells whether a table exists.
    TableExists = 1010, "TABLE_EXISTS", 0..=0, Both, AnyTabletServer;
    /// Reads one schema of a table.
    GetTableSchema = 1011, "GET_TABLE_SCHEMA", 0..=0, Both, AnyTabletServer;
    /// Reads the nodes of the cluster and where buckets live.
    GetMetadata = 1012, "GET_METADATA", 0..=0, Both, AnyTabletServer;
    /// Appends record batches to a log table.
    ProduceLog = 1014, "PRODUCE_LOG", 0..=0, TabletServer, Leader;
    /// Fetches record batches.
    FetchLog = 1015, "FETCH_LOG", 0..=0, TabletServer, Leader;
    /// Upserts and deletes rows of a primary-key table.
    PutKv = 1016, "PUT_KV", 0..=2, TabletServer, Leader;
    /// Looks rows up by primary key.
    Lookup = 1017, "LOOKUP", 0..=1, TabletServer, Leader;
    /// Finds the earliest or latest offset, or one by timestamp.
    ListOffsets = 1021, "LIST_OFFSETS", 0..=0, TabletServer, Leader;
    /// Finds the latest snapshots of a primary-key table.
    GetLatestKvSnapshots = 1023, "GET_LATEST_KV_SNAPSHOTS", 0..=0, Both, AnyTabletServer;
    /// Lists the files of a snapshot.
    GetKvSnapshotMetadata = 1024, "GET_KV_SNAPSHOT_METADATA", 0..=0, Both, AnyTabletServer;
    /// Obtains credentials for the remote file system.
    GetFileSystemSecurityToken = 1025, "GET_FILESYSTEM_SECURITY_TOKEN", 0..=0, Both,
        AnyTabletServer;
    /// Allocates a writer id.
    InitWriter = 1026, "INIT_WRITER", 0..=0, TabletServer, AnyTabletServer;
    /// Finds a snapshot in the data lake.
    GetLakeSnapshot = 1032, "GET_LAKE_SNAPSHOT", 0..=0, Both, AnyTabletServer;
    /// Reads a limited number of rows of a bucket.
    LimitScan = 1033, "LIMIT_SCAN", 0..=0, TabletServer, Leader;
    /// Looks rows up by a prefix of the primary key.
    PrefixLookup = 1034, "PREFIX_LOOKUP", 0..=1, TabletServer, Leader;
    /// Describes a database.
    GetDatabaseInfo = 1035, "GET_DATABASE_INFO", 0..=0, Both, AnyTabletServer;
    /// Creates a partition.
    CreatePartition = 1036, "CREATE_PARTITION", 0..=0, Coordinator, Coordinator;
    /// Drops a partition.
    DropPartition = 1037, "DROP_PARTITION", 0..=0, Coordinator, Coordinator;
    /// Carries one step of authentication.
    Authenticate = 1038, "AUTHENTICATE", 0..=0, Both, AnyServer;
    /// Adds access control entries.
    CreateAcls = 1039, "CREATE_ACLS", 0..=0, Coordinator, Coordinator;
    /// Lists access control entries.
    ListAcls = 1040, "LIST_ACLS", 0..=0, Both, Coordinator;
    /// Removes access control entries.
    DropAcls = 1041, "DROP_ACLS", 0..=0, Coordinator, Coordinator;
    /// Changes a table.
    AlterTable = 1044, "ALTER_TABLE", 0..=0, Coordinator, Coordinator;
    /// Lists the properties of the cluster.
    DescribeClusterConfigs = 1045, "DESCRIBE_CLUSTER_CONFIGS", 0..=0, Both, Coordinator;
    /// Changes properties of the cluster.
    AlterClusterConfigs = 1046, "ALTER_CLUSTER_CONFIGS", 0..=0, Coordinator, Coordinator;
    /// Tags tablet servers.
    AddServerTag = 1047, "ADD_SERVER_TAG", 0..=0, Coordinator, Coordinator;
    /// Removes a tag from tablet servers.
    RemoveServerTag = 1048, "REMOVE_SERVER_TAG", 0..=0, Coordinator, Coordinator;
    /// Starts to rebalance the cluster.
    Rebalance = 1049, "REBALANCE", 0..=0, Coordinator, Coordinator;
    /// Shows how far a rebalance is.
    ListRebalanceProgress = 1050, "LIST_REBALANCE_PROGRESS", 0..=0, Coordinator, Coordinator;
    /// Cancels a rebalance.
    CancelRebalance = 1051, "CANCEL_REBALANCE", 0..=0, Coordinator, Coordinator;
    /// Stores the offsets of a producer.
    RegisterProducerOffsets = 1053, "REGISTER_PRODUCER_OFFSETS", 0..=0, Coordinator, Coordinator;
    /// Reads the stored offsets of a producer.
    GetProducerOffsets = 1054, "GET_PRODUCER_OFFSETS", 0..=0, Coordinator, Coordinator;
    /// Deletes the stored offsets of a producer.
    DeleteProducerOffsets = 1055, "DELETE_PRODUCER_OFFSETS", 0..=0, Coordinator, Coordinator;
    /// Pins snapshots.
    AcquireKvSnapshotLease = 1056, "ACQUIRE_KV_SNAPSHOT_LEASE", 0..=0, Coordinator, Coordinator;
    /// Unpins snapshots of some buckets.
    ReleaseKvSnapshotLease = 1057, "RELEASE_KV_SNAPSHOT_LEASE", 0..=0, Coordinator, Coordinator;
    /// Unpins all snapshots of a lease.
    DropKvSnapshotLease = 1058, "DROP_KV_SNAPSHOT_LEASE", 0..=0, Coordinator, Coordinator;
    /// Counts the rows of buckets.
    GetTableStats = 1059, "GET_TABLE_STATS", 0..=0, TabletServer, Leader;
    /// Changes a database. Since 1.0.
    AlterDatabase = 1060, "ALTER_DATABASE", 0..=0, Coordinator, Coordinator;
    /// Scans a bucket of a primary-key table. Since 1.0.
    ScanKv = 1061, "SCAN_KV", 0..=0, TabletServer, Leader;
    /// Summarises the health of the cluster. Since 1.0.
    GetClusterHealth = 1062, "GET_CLUSTER_HEALTH", 0..=0, Both, Coordinator;
    /// Lists the remote log manifests of a table. Since 1.0.
    ListRemoteLogManifests = 1063, "LIST_REMOTE_LOG_MANIFESTS", 0..=0, Coordinator, Coordinator;
    /// Lists the retained and leased snapshots of a table. Since 1.0.
    ListKvSnapshots = 1064, "LIST_KV_SNAPSHOTS", 0..=0, Coordinator, Coordinator;
    /// Tags the tablet servers of racks. Since 1.0.
    AddServerTagByRack = 1065, "ADD_SERVER_TAG_BY_RACK", 0..=0, Coordinator, Coordinator;
    /// Removes a tag from the tablet servers of racks. Since 1.0.
    RemoveServerTagByRack = 1066, "REMOVE_SERVER_TAG_BY_RACK", 0..=0, Coordinator, Coordinator;
}

impl ApiKey {
    /// Every API, by ascending number.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        TABLE.iter().map(|row| row.api)
    }

    /// The API of a number on the wire, or [`None`] if it is not one for clients.
    pub fn from_number(number: i16) -> Option<Self> {
        let index = TABLE.binary_search_by_key(&number, |row| row.number).ok()?;
        Some(TABLE[index].api)
    }

    /// The number on the wire.
    pub fn number(self) -> i16 {
        self.row().number
    }

    /// The name, as servers and their documentation spell it.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The versions that this crate's users are expected to understand.
    pub fn versions(self) -> VersionRange {
        self.row().versions
    }

    /// Which servers answer.
    pub fn served_by(self) -> ServedBy {
        self.row().served_by
    }

    /// Which server to send it to.
    pub fn target(self) -> Target {
        self.row().target
    }

    fn row(self) -> &'static Row {
        // The enum and the rows come from one list, so the position is the discriminant.
        &TABLE[self as usize]
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.number())
    }
}

/// Why a connection cannot be used for an API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedApi {
    /// The server does not offer the API at all.
    #[error(
        "the server does not offer {api}; it is of an older release, or of the other kind of \
         server"
    )]
    NotOffered {
        /// The API.
        api: ApiKey,
    },
    /// The server offers the API in other versions only.
    #[error(
        "no common version of {api}: the client speaks {client}, the server {min} to {max}; \
         use a client of the server's release"
    )]
    NoCommonVersion {
        /// The API.
        api: ApiKey,
        /// The versions of the client.
        client: VersionRange,
        /// The lowest version of the server, as sent.
        min: i32,
        /// The highest version of the server, as sent.
        max: i32,
    },
}

impl UnsupportedApi {
    /// The API in question.
    pub fn api(&self) -> ApiKey {
        match self {
            Self::NotOffered { api } | Self::NoCommonVersion { api, .. } => *api,
        }
    }
}

/// What one connection may send: the answer of the server to [`ApiKey::ApiVersions`], compared
/// with the versions of this client.
///
/// The result belongs to one connection. Servers of a cluster may run different releases, and a
/// server may be upgraded between two connections to it.
///
/// ```
/// use fluss_proto::api::{ApiKey, NegotiatedVersions, ServerType};
/// use fluss_proto::message::{ApiVersionsResponse, PbApiVersion};
///
/// let put_kv = PbApiVersion { api_key: 1016, min_version: 0, max_version: 1 };
/// let answer = ApiVersionsResponse { api_versions: vec![put_kv], server_type: Some(2) };
/// let versions = NegotiatedVersions::negotiate(&answer);
/// assert_eq!(versions.version(ApiKey::PutKv), Ok(1));
/// assert_eq!(versions.server_type(), Some(ServerType::TabletServer));
///
/// let error = versions.version(ApiKey::ScanKv).unwrap_err();
/// assert!(error.to_string().starts_with("the server does not offer SCAN_KV (1061)"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegotiatedVersions {
    /// The lowest and highest version of the server, by position in the table.
    offered: [Option<(i32, i32)>; COUNT],
    server_type: Option<ServerType>,
}

impl NegotiatedVersions {
    /// What a connection may send before the server has answered: version 0 of
    /// [`ApiKey::ApiVersions`] and nothing else.
    pub fn before_handshake() -> Self {
        let mut offered = [None; COUNT];
        offered[ApiKey::ApiVersions as usize] = Some((0, 0));
        Self { offered, server_type: None }
    }

    /// Reads the answer of the server. APIs that the client does not know are skipped; if the
    /// answer names an API twice, the last entry counts.
    pub fn negotiate(answer: &ApiVersionsResponse) -> Self {
        let mut offered = [None; COUNT];
        for entry in &answer.api_versions {
            let known = i16::try_from(entry.api_key).ok().and_then(ApiKey::from_number);
            if let Some(api) = known {
                offered[api as usize] = Some((entry.min_version, entry.max_version));
            }
        }
        Self { offered, server_type: answer.server_type.and_then(ServerType::from_number) }
    }

    /// The version to send with every request of the API: the highest that both sides speak.
    ///
    /// # Errors
    ///
    /// [`UnsupportedApi`] if there is none. Such a request must not be sent, because the server
    /// would not answer it.
    pub fn version(&self, api: ApiKey) -> Result<i16, UnsupportedApi> {
        let Some((min, max)) = self.offered[api as usize] else {
            return Err(UnsupportedApi::NotOffered { api });
        };
        let client = api.versions();
        let highest = max.min(i32::from(client.max));
        if highest < min.max(i32::from(client.min)) {
            return Err(UnsupportedApi::NoCommonVersion { api, client, min, max });
        }
        // Lies within the range of the client, whose bounds are of this type.
        i16::try_from(highest).map_err(|_| UnsupportedApi::NoCommonVersion {
            api,
            client,
            min,
            max,
        })
    }

    /// Whether the server offers the API, in whatever version. Some features have no version of
    /// their own and are told by the presence of an API of the same release.
    pub fn offers(&self, api: ApiKey) -> bool {
        self.offered[api as usize].is_some()
    }

    /// The type the server says it is; [`None`] if it does not say or the number is not known.
    pub fn server_type(&self) -> Option<ServerType> {
        self.server_type
    }
}

#[cfg(test)]
#[path = "api_tests.rs"]
mod tests;
