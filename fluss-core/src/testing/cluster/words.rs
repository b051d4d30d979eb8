//! What server 0.9.1 says when it refuses something, to the word.
//!
//! Texts that begin with the name of a Java class are of exceptions that the server has no code
//! for. It sends the trace below them too, which the fake leaves out. What is said of a table's
//! properties is where they are checked.

use std::collections::BTreeSet;
use std::fmt;

use fluss_proto::message::PbKeyValue;

use super::acls::Resource;
use crate::ids::{BucketKey, TablePath};

/// A bucket as the server writes it.
struct Bucket(BucketKey);

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableBucket{{tableId={}, ", self.0.table.0)?;
        if let Some(partition) = self.0.partition {
            write!(f, "partitionId={}, ", partition.0)?;
        }
        write!(f, "bucket={}}}", self.0.bucket)
    }
}

/// A list as the server writes it.
struct List<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (at, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if at > 0 { ", " } else { "" })?;
        }
        f.write_str("]")
    }
}

// Connections and who is behind them.

/// For a frame whose length field says this: the server counts the field too.
pub(super) fn frame_too_long(length: i32, limit: usize) -> String {
    let length = u64::from(length.cast_unsigned()) + 4;
    format!(
        "org.apache.fluss.shaded.netty4.io.netty.handler.codec.TooLongFrameException: \
         Adjusted frame length exceeds {limit}: {length} - discarded"
    )
}

/// For a frame of so many bytes, without the length field, which a header does not fit into. The
/// server goes on with a description of its buffer.
pub(super) fn frame_too_short(length: usize) -> String {
    let (at, size) = match length {
        0..2 => (4, 2),
        2..4 => (6, 2),
        _ => (8, 4),
    };
    let end = 4 + length;
    format!(
        "java.lang.IndexOutOfBoundsException: readerIndex({at}) + length({size}) exceeds \
         writerIndex({end}): PooledSlicedByteBuf(ridx: {at}, widx: {end}, cap: {end}/{end})"
    )
}

pub(super) const NOT_AUTHENTICATED: &str = "The connection has not completed authentication yet. \
    This may be caused by a missing or incorrect configuration of 'client.security.protocol' on \
    the client side.";

const OPERATIONS: [&str; 9] =
    ["", "ANY", "ALL", "READ", "WRITE", "CREATE", "DROP", "ALTER", "DESCRIBE"];

fn operation_name(operation: i32) -> &'static str {
    usize::try_from(operation).ok().and_then(|at| OPERATIONS.get(at)).copied().unwrap_or("")
}

/// The space at the end is the server's.
pub(super) fn not_authorized(user: &str, operation: i32, resource: Resource<'_>) -> String {
    let operation = operation_name(operation);
    let (kind, name) = match resource {
        Resource::Cluster => ("CLUSTER", "fluss-cluster".to_owned()),
        Resource::Database(name) => ("DATABASE", name.to_owned()),
        Resource::Table(path) => ("TABLE", path.to_string()),
    };
    format!(
        "Principal FlussPrincipal{{name='{user}', type='User'}} have no authorization to operate \
         {operation} on resource Resource{{type={kind}, name='{name}'}} "
    )
}

/// For one bucket of a request that reads.
pub(super) fn no_permission(operation: i32, path: &TablePath) -> String {
    let operation = operation_name(operation);
    format!("No permission to {operation} table {} in database {}", path.table, path.database)
}

pub(super) fn none_writable(paths: &[TablePath]) -> String {
    if paths.is_empty() {
        return "The request of InitWriter requires non empty table paths for authorization."
            .to_owned();
    }
    format!("No WRITE permission among all the tables: {}", List(paths))
}

pub(super) const NO_AUTHORIZER: &str = "No Authorizer is configured.";

// Buckets.

pub(super) fn unknown_table(server: i32, table: i64) -> String {
    format!(
        "This server server-{server} does not know this table ID {table}. This may happen when \
         the table metadata cache in the server is not updated yet."
    )
}

pub(super) fn unknown_bucket(key: BucketKey) -> String {
    format!("Unknown table or bucket: {}", Bucket(key))
}

pub(super) fn not_leader(server: i32, key: BucketKey) -> String {
    format!("Leader not local for bucket {} on tabletServer {server}", Bucket(key))
}

// Writes.

pub(super) fn invalid_acks(acks: i32) -> String {
    format!("Invalid required acks: {acks}")
}

/// To a client that would put a key of this table together in the way of earlier releases.
pub(super) fn other_keys(version: i16, table: &TablePath) -> String {
    format!(
        "Client API version {version} is not supported for table '{table}'. This table uses new \
         key encoding strategy (kv format version 2). Please upgrade your Fluss client to a newer \
         version."
    )
}

pub(super) const TIMED_OUT: &str = "The request time out.";

pub(super) fn too_few_in_sync(in_sync: &BTreeSet<i32>, acks: i32, key: BucketKey) -> String {
    let in_sync: Vec<i32> = in_sync.iter().copied().collect();
    format!(
        "The size of the current ISR {} is insufficient to satisfy the required acks {acks} for \
         table bucket {}.",
        List(&in_sync),
        Bucket(key)
    )
}

/// `offset` is the last one that the batch would have got.
pub(super) fn out_of_order(
    writer: i64,
    offset: i64,
    key: BucketKey,
    (incoming, last): (i32, i32),
) -> String {
    format!(
        "Out of order batch sequence for writer {writer} at offset {offset} in table-bucket {} : \
         {incoming} (incoming batch seq.), {last} (current batch seq.)",
        Bucket(key)
    )
}

pub(super) fn corrupt(stored_crc: i32, key: BucketKey) -> String {
    let crc = stored_crc.cast_unsigned();
    format!("Record is corrupt (stored crc = {crc}) in table bucket {}", Bucket(key))
}

pub(super) fn unknown_magic(magic: u8) -> String {
    format!("java.lang.IllegalArgumentException: Unsupported magic value {magic}")
}

pub(super) const NO_KV_TABLET: &str =
    "java.lang.NullPointerException: KvTablet for the replica to put kv records shouldn't be null.";

pub(super) fn unknown_schema(id: i16, latest: i32) -> String {
    format!("Invalid schema id: {id}, latest schema id: {latest}")
}

pub(super) const KEY_TOO_SHORT: &str = "java.lang.IndexOutOfBoundsException";

pub(super) fn field_not_set(field: &str) -> String {
    format!("java.lang.IllegalStateException: Field '{field}' is not set")
}

pub(super) fn numbers_among_targets(column: &str, index: usize) -> String {
    format!(
        "Auto-increment column [{column}] at index {index} must not be included in target columns."
    )
}

pub(super) fn numbers_without_targets(column: &str) -> String {
    format!(
        "The table contains an auto-increment column [{column}], but update target columns are not \
         explicitly specified. Please specify the update target columns and exclude the \
         auto-increment column from them."
    )
}

pub(super) const DELETES_DISABLED: &str =
    "Delete operations are disabled for this table. The table.delete.behavior is set to 'disable'.";

pub(super) fn negative_column(at: i32) -> String {
    format!("java.lang.IndexOutOfBoundsException: bitIndex < 0: {at}")
}

pub(super) fn key_not_among_targets(targets: &[&str], primary_key: &[&str]) -> String {
    format!(
        "The target write columns {} must contain the primary key columns {}.",
        List(targets),
        List(primary_key)
    )
}

pub(super) fn column_not_null(column: &str) -> String {
    format!(
        "Partial Update requires all columns except primary key to be nullable, but column \
         {column} is NOT NULL."
    )
}

/// `engine` in lower case.
pub(super) fn no_partial_update(engine: &str) -> String {
    format!(
        "java.lang.UnsupportedOperationException: Partial update is not supported for the \
         {engine} merge engine."
    )
}

// Reads.

pub(super) fn out_of_range(offset: i64, key: BucketKey, (start, end): (i64, i64)) -> String {
    format!(
        "Received request for offset {offset} for table bucket {}, but we only have log segments \
         from offset {start} up to {end}.",
        Bucket(key)
    )
}

pub(super) const EMPTY_PROJECTION: &str =
    "java.lang.IllegalStateException: Invalid metadata length";

/// For columns that do not ascend. The server looks at two neighbours, and for nothing in front of
/// the first one it has −1.
pub(super) fn unordered_projection(positions: &[i32]) -> String {
    let before = std::iter::once(&-1).chain(positions);
    let doubled = positions.iter().zip(before).find(|(at, before)| at <= before);
    let list = List(positions);
    match doubled {
        Some((at, before)) if at == before => {
            format!("The projection indexes should not contain duplicated fields, but is {list}")
        }
        _ => format!("The projection indexes should be in field order, but is {list}"),
    }
}

pub(super) fn projection_out_of_bounds(positions: &[i32], columns: usize) -> String {
    let list = List(positions);
    format!("Projected fields {list} is out of bound for schema with {columns} fields.")
}

pub(super) fn no_projection(path: &TablePath, format: &str) -> String {
    format!(
        "Column projection is only supported for ARROW format, but the table {path} is {format} \
         format."
    )
}

pub(super) fn no_primary_key(key: BucketKey) -> String {
    format!("the primary key table not exists for {}", Bucket(key))
}

pub(super) fn no_prefix_lookup(key: BucketKey) -> String {
    format!("Try to do prefix lookup on a non primary key table: {}", Bucket(key))
}

pub(super) fn time_to_come(key: BucketKey, asked: i64, now: i64) -> String {
    format!(
        "Get offset error for table bucket {}, the fetch timestamp {asked} is larger than the \
         current timestamp {now}",
        Bucket(key)
    )
}

pub(super) const NO_TIME: &str = "java.lang.IllegalArgumentException: startTimestamp is not \
    present while list offset by timestamp.";

pub(super) fn offset_type(kind: i32) -> String {
    format!("java.lang.IllegalArgumentException: Invalid list offset type: {kind}")
}

/// By a listener that lets everybody in.
pub(super) fn other_protocol(protocol: &str) -> String {
    format!(
        "Authenticate protocol not match: protocol of server is 'PLAINTEXT' while protocol of \
         client is '{protocol}'"
    )
}

pub(super) fn other_mechanism(protocol: &str) -> String {
    format!("SASL server enables [PLAIN] while protocol of client is '{protocol}'")
}

/// For a mechanism that differs in case only, which the server notices later.
pub(super) fn no_such_mechanism(protocol: &str) -> String {
    format!(
        "java.lang.RuntimeException: java.lang.IllegalArgumentException: Unsupported mechanism: \
         {protocol}"
    )
}

/// The server stops counting at 4.
pub(super) fn other_tokens(count: usize) -> String {
    let count = count.min(4);
    format!("Invalid SASL/PLAIN response: expected 3 tokens, got {count}")
}

pub(super) const NO_USER: &str = "Authentication failed: username not specified";
pub(super) const NO_PASSWORD: &str = "Authentication failed: password not specified";
pub(super) const WRONG_PASSWORD: &str = "Authentication failed: Invalid username or password";
pub(super) const OTHER_IDENTITY: &str = "Authentication failed: Client requested an authorization \
    id that is different from username";

// Databases, tables, partitions.

/// `what` it is the name of, and the `reason`: one of those that follow.
pub(super) fn invalid_name(what: &str, name: &str, reason: &str) -> String {
    format!("{what} {name} is invalid: {reason}")
}

pub(super) const EMPTY_NAME: &str = "the empty string is not allowed";

pub(super) fn dots(name: &str) -> String {
    format!("'{name}' is not allowed")
}

pub(super) fn long_name(name: &str, limit: usize) -> String {
    format!("the length of '{name}' is longer than the max allowed length {limit}")
}

pub(super) fn odd_name(name: &str) -> String {
    format!("'{name}' contains one or more characters other than ASCII alphanumerics, '_' and '-'")
}

pub(super) fn reserved_name(prefix: &str) -> String {
    format!(
        "'{prefix}' is not allowed as prefix, since it is reserved for internal \
         databases/internal tables/internal partitions in Fluss server"
    )
}

/// The misspelling is ZooKeeper's.
pub(super) const ODD_CHARACTER: &str = "invalid charater";

pub(super) const SLASH_AT_END: &str = "Path must not end with / character";

pub(super) fn no_place(path: &str, reason: &str, at: usize) -> String {
    format!("Invalid path string \"{path}\" caused by {reason} @{at}")
}

/// What came of a name on its way to ZooKeeper; the reason is in the trace, which is left out.
fn failed(what: &str) -> String {
    format!("org.apache.fluss.exception.FlussRuntimeException: {what}")
}

pub(super) fn database_unseen() -> String {
    failed("Fail to check database exists or not")
}

pub(super) fn database_unread(name: &str) -> String {
    failed(&format!("Fail to get database '{name}'."))
}

pub(super) fn table_unseen(path: &TablePath) -> String {
    failed(&format!("Fail to check the table {path} exist or not."))
}

pub(super) fn table_unread(path: &TablePath) -> String {
    failed(&format!("Failed to get table '{path}'."))
}

pub(super) fn schema_unread(path: &TablePath, id: Option<i32>) -> String {
    failed(&match id {
        Some(id) => format!("Fail to get schema of {id} for table {path}"),
        None => format!("Failed to get latest schema id of table {path}"),
    })
}

/// `reason`: what ZooKeeper says.
pub(super) fn partition_unread(reason: &str) -> String {
    format!("java.lang.IllegalArgumentException: {reason}")
}

/// The same when a partition is to be made or dropped.
pub(super) fn partitions_unread(reason: &str) -> String {
    format!("java.lang.RuntimeException: {}", partition_unread(reason))
}

/// For a database that is to be changed or looked into.
pub(super) fn database_is_missing(name: &str) -> String {
    format!("Database {name} does not exist.")
}

/// For one that is to be described.
pub(super) fn database_is_unknown(name: &str) -> String {
    format!("Database '{name}' does not exist.")
}

pub(super) fn database_is_there(name: &str) -> String {
    format!("Database {name} already exists.")
}

pub(super) fn database_has_tables(name: &str) -> String {
    format!("Database {name} is not empty.")
}

/// When a table is looked up; the quotes are missing when it is to be dropped.
pub(super) fn table_is_missing(path: &TablePath) -> String {
    format!("Table '{path}' does not exist.")
}

pub(super) fn nothing_to_drop(path: &TablePath) -> String {
    format!("Table {path} does not exist.")
}

pub(super) fn table_is_there(path: &TablePath) -> String {
    format!("Table {path} already exists.")
}

pub(super) fn schema_is_missing(path: &TablePath, id: i32) -> String {
    format!("Schema for table {path} with schema id {id} does not exist.")
}

pub(super) fn no_metadata(paths: &[TablePath]) -> String {
    failed(&format!("Failed to get tables '{}'.", List(paths)))
}

pub(super) const NO_PARTITION_NAME: &str = "java.lang.NullPointerException";

pub(super) fn no_metadata_of_partition(path: &TablePath, name: &str) -> String {
    format!("Table partition '{path}(p={name})' does not exist.")
}

pub(super) fn no_metadata_of_partition_id(id: i64) -> String {
    format!("The partition id '{id}' does not exist or you don't have permission to access it.")
}

/// For keys that the table is not partitioned by, once it has a partition.
pub(super) fn no_such_partitions(path: &TablePath, spec: &[PbKeyValue]) -> String {
    let pairs = spec.iter().map(|pair| format!("{}={}", pair.key, pair.value));
    let spec = pairs.collect::<Vec<_>>().join("/");
    failed(&format!("Fail to list partitions for table: {path}, partitionSpec: {spec}."))
}

/// `name`: each key with its value, as in `dt=today/region=1`.
pub(super) fn partition_is_missing(name: &str, path: &TablePath) -> String {
    format!("Partition '{name}' does not exist for table {path}")
}

pub(super) fn partition_is_there(name: &str, path: &TablePath) -> String {
    format!("Partition '{name}' already exists for table {path}")
}

pub(super) fn not_partitioned(path: &TablePath) -> String {
    format!("Table '{path}' is not a partitioned table.")
}

/// `to`: create or drop.
pub(super) fn only_partitioned(to: &str) -> String {
    format!("Only partitioned table support {to} partition.")
}

pub(super) fn other_partition_keys(path: &TablePath) -> String {
    format!("PartitionSpec size is not equal to partition keys size for partitioned table {path}.")
}

pub(super) fn partition_key_not_given(spec: &[String], key: &str, path: &TablePath) -> String {
    let spec = spec.join(", ");
    format!(
        "PartitionSpec PartitionSpec{{{{{spec}}}}} does not contain partition key '{key}' for \
         partitioned table {path}."
    )
}

pub(super) fn column_is_there(name: &str) -> String {
    format!("Column {name} already exists.")
}

pub(super) fn new_column_not_null(name: &str) -> String {
    format!("java.lang.IllegalArgumentException: Column {name} must be nullable.")
}

pub(super) const NO_BUCKETS: &str = "org.apache.fluss.exception.InvalidBucketsException: Number \
    of buckets must be larger than 0.";

pub(super) fn too_many_buckets(count: i64, most: i64) -> String {
    format!("Bucket count {count} exceeds the maximum limit {most}.")
}

pub(super) fn partition_key_is_missing(name: &str) -> String {
    format!("Partition key '{name}' does not exist in the schema.")
}

pub(super) fn partition_key_not_primary(partition_keys: &[String], primary: &[String]) -> String {
    format!(
        "Partitioned Primary Key Table requires partition key {} is a subset of the primary key \
         {}.",
        List(partition_keys),
        List(primary)
    )
}

pub(super) fn bucket_key_in_partition_key(key: &[String], partition_keys: &[String]) -> String {
    let partition_keys = List(partition_keys);
    let key = List(key);
    format!("Bucket key {key} shouldn't include any column in partition keys {partition_keys}.")
}

pub(super) fn nothing_but_partition_keys(primary: &[String], partition_keys: &[String]) -> String {
    format!(
        "Primary Key constraint {} should not be same with partition fields {}.",
        List(primary),
        List(partition_keys)
    )
}

pub(super) fn bucket_key_is_missing(name: &str) -> String {
    format!("Bucket key '{name}' does not exist in the schema.")
}

pub(super) fn bucket_key_not_primary(
    primary: &[String],
    partition_keys: &[String],
    key: &[String],
) -> String {
    format!(
        "Bucket keys must be a subset of primary keys excluding partition keys for primary-key \
         tables. The primary keys are {}, the partition keys are {}, but the user-defined bucket \
         keys are {}.",
        List(primary),
        List(partition_keys),
        List(key)
    )
}
