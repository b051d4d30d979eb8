//! The error codes of a server, as one table.

use std::fmt;

/// What the client knows wrongly, judged by the code: what to refresh before it tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refresh {
    /// Nothing; the error says nothing about metadata.
    Nothing,
    /// The node list, and the tables and partitions of the request.
    Nodes,
    /// The table or partition whose bucket was addressed.
    Table,
    /// The partition: it is gone and must leave the cache.
    Partition,
    /// The address of the coordinator.
    Coordinator,
    /// The bucket count of the table or partition; the rows must be routed again.
    BucketCount,
}

/// One row of the table of error codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorInfo {
    /// The code.
    pub code: ErrorCode,
    /// The name of the code, as servers and their documentation spell it.
    pub name: &'static str,
    /// What the code means; this text stands in for an error without a message.
    pub meaning: &'static str,
    /// Whether the same request may succeed when it is sent again.
    pub retriable: bool,
    /// What to refresh first.
    pub refresh: Refresh,
}

/// An error code as a server sends it.
///
/// Codes that this table lacks, from a newer server, keep their number: [`ErrorCode::info`] is
/// [`None`] for them and they count as neither retriable nor a reason to refresh, like
/// [`ErrorCode::UNKNOWN_SERVER_ERROR`].
///
/// ```
/// use fluss_proto::error_code::ErrorCode;
///
/// let code = ErrorCode(12);
/// assert_eq!(code, ErrorCode::NOT_LEADER_OR_FOLLOWER);
/// assert!(code.is_retriable() && code.needs_metadata_refresh());
/// assert_eq!(code.to_string(), "NOT_LEADER_OR_FOLLOWER (12)");
/// assert_eq!(ErrorCode(4711).to_string(), "unknown error code 4711");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub i32);

impl ErrorCode {
    /// Every known code, ascending and without gaps.
    pub const TABLE: &'static [ErrorInfo] = TABLE;

    /// The row of this code, or [`None`] for a code that is not known.
    pub fn info(self) -> Option<&'static ErrorInfo> {
        let lowest = Self::UNKNOWN_SERVER_ERROR.0;
        let index = usize::try_from(i64::from(self.0) - i64::from(lowest)).ok()?;
        TABLE.get(index)
    }

    /// Whether the code means success.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Whether the same request may succeed when it is sent again.
    ///
    /// A few codes that are not retriable have rules of their own: the sequence errors 31 to 33 of
    /// idempotent writers, 51 while authenticating, 65 (ask the new coordinator), 69 when opening
    /// a scan and 74 (route the rows again).
    pub fn is_retriable(self) -> bool {
        self.info().is_some_and(|info| info.retriable)
    }

    /// What to refresh before trying again.
    pub fn refresh(self) -> Refresh {
        self.info().map_or(Refresh::Nothing, |info| info.refresh)
    }

    /// Whether the code shows that any cached metadata is outdated.
    pub fn needs_metadata_refresh(self) -> bool {
        self.refresh() != Refresh::Nothing
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.info() {
            Some(info) => write!(f, "{} ({})", info.name, self.0),
            None => write!(f, "unknown error code {}", self.0),
        }
    }
}

/// An error that a server reported, for a whole request or for one bucket of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// The code.
    pub code: ErrorCode,
    /// The text of the server; [`None`] stands for the meaning of the code.
    pub message: Option<String>,
}

impl ServerError {
    /// Reads the pair of fields in which responses report errors: `Ok` if the code is absent or
    /// zero.
    ///
    /// # Errors
    ///
    /// The error that the pair describes.
    ///
    /// ```
    /// use fluss_proto::error_code::{ErrorCode, ServerError};
    ///
    /// assert_eq!(ServerError::check(Some(0), None), Ok(()));
    /// let error = ServerError::check(Some(21), None).unwrap_err();
    /// assert_eq!(error.code, ErrorCode::UNKNOWN_TABLE_OR_BUCKET_EXCEPTION);
    /// ```
    pub fn check(code: Option<i32>, message: Option<&str>) -> Result<(), Self> {
        match code {
            None | Some(0) => Ok(()),
            Some(code) => Err(Self { code: ErrorCode(code), message: message.map(str::to_owned) }),
        }
    }
}

impl From<crate::message::ErrorResponse> for ServerError {
    fn from(body: crate::message::ErrorResponse) -> Self {
        Self { code: ErrorCode(body.error_code), message: body.error_message }
    }
}

impl From<ServerError> for crate::message::ErrorResponse {
    fn from(error: ServerError) -> Self {
        Self { error_code: error.code.0, error_message: error.message }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code.fmt(f)?;
        let default = self.code.info().map(|info| info.meaning);
        match self.message.as_deref().filter(|message| !message.is_empty()).or(default) {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ServerError {}

/// Turns the table into the constants and the rows, so that each code is written down once.
macro_rules! error_codes {
    ($($name:ident = $code:literal, $retry:ident, $refresh:ident, $meaning:literal;)+) => {
        impl ErrorCode {
            $(#[doc = concat!($meaning, ".")] pub const $name: Self = Self($code);)+
        }

        static TABLE: &[ErrorInfo] = &[$(ErrorInfo {
            code: ErrorCode::$name,
            name: stringify!($name),
            meaning: $meaning,
            retriable: error_codes!(@$retry),
            refresh: Refresh::$refresh,
        }),+];
    };
    (@retry) => { true };
    (@final) => { false };
}

error_codes! {
    UNKNOWN_SERVER_ERROR = -1, final, Nothing,
        "unexpected error in the server";
    NONE = 0, final, Nothing,
        "success";
    NETWORK_EXCEPTION = 1, retry, Nodes,
        "the connection was lost";
    UNSUPPORTED_VERSION = 2, final, Nothing,
        "the API or its version is not supported, or the table format is newer than the request";
    CORRUPT_MESSAGE = 3, retry, Nothing,
        "the message is corrupt: checksum, size or a null key";
    DATABASE_NOT_EXIST = 4, final, Nothing,
        "the database does not exist";
    DATABASE_NOT_EMPTY = 5, final, Nothing,
        "the database still holds tables";
    DATABASE_ALREADY_EXIST = 6, final, Nothing,
        "the database exists already";
    TABLE_NOT_EXIST = 7, final, Nothing,
        "the table does not exist";
    TABLE_ALREADY_EXIST = 8, final, Nothing,
        "the table exists already";
    SCHEMA_NOT_EXIST = 9, retry, Nothing,
        "the schema id is not known to the server yet";
    LOG_STORAGE_EXCEPTION = 10, retry, Nothing,
        "the log storage failed";
    KV_STORAGE_EXCEPTION = 11, retry, Nothing,
        "the key-value storage failed, or is overloaded and the request version cannot be told so";
    NOT_LEADER_OR_FOLLOWER = 12, retry, Table,
        "the server is not the leader of the bucket";
    RECORD_TOO_LARGE_EXCEPTION = 13, final, Nothing,
        "the record batch is larger than the server accepts";
    CORRUPT_RECORD_EXCEPTION = 14, retry, Nothing,
        "the record batch is corrupt";
    INVALID_TABLE_EXCEPTION = 15, final, Nothing,
        "the table definition or operation is not valid";
    INVALID_DATABASE_EXCEPTION = 16, final, Nothing,
        "the database name is not valid";
    INVALID_REPLICATION_FACTOR = 17, final, Nothing,
        "more replicas are asked for than there are tablet servers";
    INVALID_REQUIRED_ACKS = 18, final, Nothing,
        "acks must be -1, 0 or 1";
    LOG_OFFSET_OUT_OF_RANGE_EXCEPTION = 19, final, Nothing,
        "the fetch offset is neither local nor remote any more";
    NON_PRIMARY_KEY_TABLE_EXCEPTION = 20, final, Nothing,
        "the operation needs a table with a primary key";
    UNKNOWN_TABLE_OR_BUCKET_EXCEPTION = 21, retry, Table,
        "the server does not know the table or bucket, perhaps not yet";
    INVALID_UPDATE_VERSION_EXCEPTION = 22, final, Nothing,
        "the update version is not valid (between servers)";
    INVALID_COORDINATOR_EXCEPTION = 23, final, Nothing,
        "the coordinator is not valid (between servers)";
    FENCED_LEADER_EPOCH_EXCEPTION = 24, final, Nothing,
        "the leader epoch is fenced";
    REQUEST_TIME_OUT = 25, retry, Nothing,
        "the wait for replicas expired; the data may be or become visible";
    STORAGE_EXCEPTION = 26, retry, Nothing,
        "the replica is offline on that server";
    OPERATION_NOT_ATTEMPTED_EXCEPTION = 27, final, Nothing,
        "the operation was not attempted";
    NOT_ENOUGH_REPLICAS_AFTER_APPEND_EXCEPTION = 28, retry, Nothing,
        "appended, but too few replicas are in sync";
    NOT_ENOUGH_REPLICAS_EXCEPTION = 29, retry, Nothing,
        "not appended, too few replicas are in sync";
    SECURITY_TOKEN_EXCEPTION = 30, final, Nothing,
        "the security token could not be obtained";
    OUT_OF_ORDER_SEQUENCE_EXCEPTION = 31, final, Nothing,
        "the batch sequence of the writer has a gap";
    DUPLICATE_SEQUENCE_EXCEPTION = 32, final, Nothing,
        "the batch was written before";
    UNKNOWN_WRITER_ID_EXCEPTION = 33, final, Nothing,
        "the server no longer knows the writer id";
    INVALID_COLUMN_PROJECTION = 34, final, Nothing,
        "the projected columns are not valid, or the log format is not Arrow";
    INVALID_TARGET_COLUMN = 35, final, Nothing,
        "the columns of the partial update are not valid";
    PARTITION_NOT_EXISTS = 36, final, Partition,
        "the partition does not exist";
    TABLE_NOT_PARTITIONED_EXCEPTION = 37, final, Nothing,
        "the table is not partitioned";
    INVALID_TIMESTAMP_EXCEPTION = 38, final, Nothing,
        "the timestamp lies in the future of the server";
    INVALID_CONFIG_EXCEPTION = 39, final, Nothing,
        "the configuration is not valid";
    LAKE_STORAGE_NOT_CONFIGURED_EXCEPTION = 40, final, Nothing,
        "the lake storage is not configured";
    KV_SNAPSHOT_NOT_EXIST = 41, final, Nothing,
        "the snapshot does not exist or cannot be read";
    PARTITION_ALREADY_EXISTS = 42, final, Nothing,
        "the partition exists already";
    PARTITION_SPEC_INVALID_EXCEPTION = 43, final, Nothing,
        "the partition spec is not valid";
    LEADER_NOT_AVAILABLE_EXCEPTION = 44, retry, Table,
        "the leader is not available";
    PARTITION_MAX_NUM_EXCEPTION = 45, final, Nothing,
        "the table has as many partitions as it may have";
    AUTHENTICATE_EXCEPTION = 46, final, Nothing,
        "authentication failed or has not happened";
    SECURITY_DISABLED_EXCEPTION = 47, final, Nothing,
        "no authorizer is configured on the server";
    AUTHORIZATION_EXCEPTION = 48, final, Nothing,
        "the user lacks the permission";
    BUCKET_MAX_NUM_EXCEPTION = 49, final, Nothing,
        "the table has as many buckets as it may have";
    FENCED_TIERING_EPOCH_EXCEPTION = 50, final, Nothing,
        "the tiering epoch is fenced (tiering service)";
    RETRIABLE_AUTHENTICATE_EXCEPTION = 51, final, Nothing,
        "authentication failed for now; try again on the same connection";
    INVALID_SERVER_RACK_INFO_EXCEPTION = 52, final, Nothing,
        "the rack information of the server is not valid";
    LAKE_SNAPSHOT_NOT_EXIST = 53, final, Nothing,
        "the lake snapshot does not exist";
    LAKE_TABLE_ALREADY_EXIST = 54, final, Nothing,
        "the lake table exists already";
    INELIGIBLE_REPLICA_EXCEPTION = 55, final, Nothing,
        "the replica is not eligible (between servers)";
    INVALID_ALTER_TABLE_EXCEPTION = 56, final, Nothing,
        "the change of the table is not valid";
    DELETION_DISABLED_EXCEPTION = 57, final, Nothing,
        "the table forbids deletes";
    SERVER_NOT_EXIST_EXCEPTION = 58, final, Nothing,
        "the server does not exist";
    SEVER_TAG_ALREADY_EXIST_EXCEPTION = 59, final, Nothing,
        "the server has that tag already";
    SEVER_TAG_NOT_EXIST_EXCEPTION = 60, final, Nothing,
        "the server does not have that tag";
    REBALANCE_FAILURE_EXCEPTION = 61, final, Nothing,
        "rebalancing failed";
    NO_REBALANCE_IN_PROGRESS_EXCEPTION = 62, final, Nothing,
        "no rebalance is in progress";
    INVALID_PRODUCER_ID_EXCEPTION = 63, final, Nothing,
        "the producer id is not valid";
    CONFIG_EXCEPTION = 64, final, Nothing,
        "the dynamic configuration was rejected";
    NOT_COORDINATOR_LEADER_EXCEPTION = 65, final, Coordinator,
        "a standby coordinator answered; nothing was executed";
    SCANNER_EXPIRED = 66, final, Nothing,
        "the scan session expired or the leader moved; restart the scan";
    UNKNOWN_SCANNER_ID = 67, final, Nothing,
        "the scan session is unknown; restart the scan";
    INVALID_SCAN_REQUEST = 68, final, Nothing,
        "the scan request is not valid; the session is closed";
    TOO_MANY_SCANNERS = 69, final, Nothing,
        "too many scan sessions are open";
    DISK_WRITE_LOCKED = 70, retry, Nothing,
        "the disk of the server is too full for writes";
    INSUFFICIENT_KV_LEADER_REPLICA_CAPACITY = 71, final, Nothing,
        "the cluster has no capacity for more key-value leaders";
    STORAGE_BACKPRESSURE_EXCEPTION = 72, retry, Nothing,
        "the storage is overloaded; slow down for this bucket";
    HISTORICAL_PARTITION_THROTTLED = 73, retry, Nothing,
        "the historical partition is overloaded; back off";
    INVALID_BUCKET_ROUTING = 74, final, BucketCount,
        "the bucket was computed with an outdated bucket count";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_no_gaps_and_every_code_finds_its_own_row() {
        let first = i64::from(TABLE[0].code.0);
        for (expected, info) in (first..).zip(TABLE) {
            assert_eq!(i64::from(info.code.0), expected);
            assert_eq!(info.code.info(), Some(info));
        }
        assert_eq!(TABLE.len(), 76);
        assert_eq!(ErrorCode::INVALID_BUCKET_ROUTING.0, 74);
    }

    #[test]
    fn the_retriable_codes_are_those_of_the_protocol() {
        let retriable: Vec<i32> =
            TABLE.iter().filter(|info| info.retriable).map(|info| info.code.0).collect();
        assert_eq!(retriable, [1, 3, 9, 10, 11, 12, 14, 21, 25, 26, 28, 29, 44, 70, 72, 73]);
    }

    #[test]
    fn codes_that_tell_of_outdated_metadata_say_what_to_refresh() {
        let refreshing: Vec<_> = TABLE
            .iter()
            .filter(|info| info.refresh != Refresh::Nothing)
            .map(|info| (info.code.0, info.refresh))
            .collect();
        assert_eq!(
            refreshing,
            [
                (1, Refresh::Nodes),
                (12, Refresh::Table),
                (21, Refresh::Table),
                (36, Refresh::Partition),
                (44, Refresh::Table),
                (65, Refresh::Coordinator),
                (74, Refresh::BucketCount),
            ]
        );
    }

    #[test]
    fn unknown_codes_keep_their_number() {
        for number in [i32::MIN, -2, 75, i32::MAX] {
            let code = ErrorCode(number);
            assert_eq!(code.info(), None);
            assert!(!code.is_retriable() && !code.needs_metadata_refresh());
            assert_eq!(code.to_string(), format!("unknown error code {number}"));
        }
    }

    #[test]
    fn an_error_without_a_text_shows_the_meaning_of_its_code() {
        let mut error = ServerError { code: ErrorCode::TABLE_NOT_EXIST, message: None };
        assert_eq!(error.to_string(), "TABLE_NOT_EXIST (7): the table does not exist");
        error.message = Some("no table db.t".to_owned());
        assert_eq!(error.to_string(), "TABLE_NOT_EXIST (7): no table db.t");
        error.code = ErrorCode(999);
        error.message = None;
        assert_eq!(error.to_string(), "unknown error code 999");
    }
}
