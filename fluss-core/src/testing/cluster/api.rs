//! API keys, error codes and the versions each kind of server offers.

use super::Release;

/// API keys. Kept apart from the client's own table, so that a mistake there shows.
pub(super) mod key {
    pub(crate) const API_VERSIONS: i16 = 1000;
    pub(crate) const CREATE_DATABASE: i16 = 1001;
    pub(crate) const DROP_DATABASE: i16 = 1002;
    pub(crate) const LIST_DATABASES: i16 = 1003;
    pub(crate) const DATABASE_EXISTS: i16 = 1004;
    pub(crate) const CREATE_TABLE: i16 = 1005;
    pub(crate) const DROP_TABLE: i16 = 1006;
    pub(crate) const GET_TABLE_INFO: i16 = 1007;
    pub(crate) const LIST_TABLES: i16 = 1008;
    pub(crate) const LIST_PARTITION_INFOS: i16 = 1009;
    pub(crate) const TABLE_EXISTS: i16 = 1010;
    pub(crate) const GET_TABLE_SCHEMA: i16 = 1011;
    pub(crate) const GET_METADATA: i16 = 1012;
    pub(crate) const PRODUCE_LOG: i16 = 1014;
    pub(crate) const FETCH_LOG: i16 = 1015;
    pub(crate) const PUT_KV: i16 = 1016;
    pub(crate) const LOOKUP: i16 = 1017;
    pub(crate) const LIST_OFFSETS: i16 = 1021;
    pub(crate) const GET_FILESYSTEM_SECURITY_TOKEN: i16 = 1025;
    pub(crate) const INIT_WRITER: i16 = 1026;
    pub(crate) const LIMIT_SCAN: i16 = 1033;
    pub(crate) const PREFIX_LOOKUP: i16 = 1034;
    pub(crate) const GET_DATABASE_INFO: i16 = 1035;
    pub(crate) const CREATE_PARTITION: i16 = 1036;
    pub(crate) const DROP_PARTITION: i16 = 1037;
    pub(crate) const AUTHENTICATE: i16 = 1038;
    pub(crate) const CREATE_ACLS: i16 = 1039;
    pub(crate) const DROP_ACLS: i16 = 1041;
    pub(crate) const ALTER_TABLE: i16 = 1044;
    pub(crate) const GET_TABLE_STATS: i16 = 1059;
    pub(crate) const SCAN_KV: i16 = 1061;
}

/// Error codes the fake answers with.
pub(super) mod code {
    pub(crate) const UNKNOWN: i32 = -1;
    pub(crate) const UNSUPPORTED_VERSION: i32 = 2;
    pub(crate) const DATABASE_NOT_EXIST: i32 = 4;
    pub(crate) const DATABASE_NOT_EMPTY: i32 = 5;
    pub(crate) const DATABASE_ALREADY_EXIST: i32 = 6;
    pub(crate) const TABLE_NOT_EXIST: i32 = 7;
    pub(crate) const TABLE_ALREADY_EXIST: i32 = 8;
    pub(crate) const SCHEMA_NOT_EXIST: i32 = 9;
    pub(crate) const KV_STORAGE: i32 = 11;
    pub(crate) const NOT_LEADER: i32 = 12;
    pub(crate) const CORRUPT_RECORD: i32 = 14;
    pub(crate) const INVALID_TABLE: i32 = 15;
    pub(crate) const INVALID_DATABASE: i32 = 16;
    pub(crate) const INVALID_REPLICATION: i32 = 17;
    pub(crate) const INVALID_ACKS: i32 = 18;
    pub(crate) const OFFSET_OUT_OF_RANGE: i32 = 19;
    pub(crate) const NOT_PRIMARY_KEY_TABLE: i32 = 20;
    pub(crate) const UNKNOWN_TABLE_OR_BUCKET: i32 = 21;
    pub(crate) const REQUEST_TIME_OUT: i32 = 25;
    pub(crate) const NOT_ENOUGH_REPLICAS_AFTER_APPEND: i32 = 28;
    pub(crate) const NOT_ENOUGH_REPLICAS: i32 = 29;
    pub(crate) const OUT_OF_ORDER_SEQUENCE: i32 = 31;
    pub(crate) const INVALID_PROJECTION: i32 = 34;
    pub(crate) const INVALID_TARGET_COLUMN: i32 = 35;
    pub(crate) const PARTITION_NOT_EXISTS: i32 = 36;
    pub(crate) const TABLE_NOT_PARTITIONED: i32 = 37;
    pub(crate) const INVALID_TIMESTAMP: i32 = 38;
    pub(crate) const INVALID_CONFIG: i32 = 39;
    pub(crate) const PARTITION_ALREADY_EXISTS: i32 = 42;
    pub(crate) const INVALID_PARTITION_SPEC: i32 = 43;
    pub(crate) const AUTHENTICATION: i32 = 46;
    pub(crate) const SECURITY_DISABLED: i32 = 47;
    pub(crate) const AUTHORIZATION: i32 = 48;
    pub(crate) const BUCKET_MAX_NUM: i32 = 49;
    pub(crate) const INVALID_ALTER_TABLE: i32 = 56;
    pub(crate) const DELETION_DISABLED: i32 = 57;
    pub(crate) const SCANNER_EXPIRED: i32 = 66;
    pub(crate) const UNKNOWN_SCANNER: i32 = 67;
    pub(crate) const INVALID_SCAN_REQUEST: i32 = 68;
    pub(crate) const TOO_MANY_SCANNERS: i32 = 69;
    pub(crate) const BACKPRESSURE: i32 = 72;
    pub(crate) const INVALID_BUCKET_ROUTING: i32 = 74;
}

/// Keys that both kinds of server list, those of the coordinator, those of tablet servers; the
/// internal ones too, as real servers list them.
const BOTH: [i16; 18] = [
    1000, 1003, 1004, 1007, 1008, 1009, 1010, 1011, 1012, 1023, 1024, 1025, 1032, 1035, 1038, 1040,
    1062, 1045,
];
const COORDINATOR: [i16; 31] = [
    1001, 1002, 1005, 1006, 1020, 1022, 1027, 1030, 1036, 1037, 1039, 1041, 1042, 1043, 1044, 1046,
    1047, 1048, 1049, 1050, 1051, 1052, 1053, 1054, 1055, 1056, 1057, 1058, 1060, 1063, 1064,
];
const TABLET: [i16; 14] =
    [1013, 1014, 1015, 1016, 1017, 1018, 1019, 1021, 1026, 1028, 1029, 1031, 1033, 1034];
const TABLET_LATE: [i16; 2] = [1059, 1061];

/// What an API_VERSIONS answer lists: key and highest version; the lowest is always 0.
pub(super) fn versions(coordinator: bool, release: Release) -> Vec<(i16, i16)> {
    let own: Vec<i16> = if coordinator {
        COORDINATOR.to_vec()
    } else {
        TABLET.into_iter().chain(TABLET_LATE).collect()
    };
    BOTH.into_iter()
        .chain(own)
        .filter(|&api| release >= Release::V1_0 || api < 1060)
        .filter(|&api| coordinator || api != 1045)
        .map(|api| (api, highest(api, release)))
        .collect()
}

fn highest(api: i16, release: Release) -> i16 {
    match (api, release) {
        (key::PUT_KV, Release::V0_9) => 1,
        (key::PUT_KV, Release::V1_0) => 2,
        (key::LOOKUP | key::PREFIX_LOOKUP, _) => 1,
        _ => 0,
    }
}

/// Whether the fake serves this API on this kind of server; others are dropped without an answer.
pub(super) fn served(api: i16, coordinator: bool, release: Release) -> bool {
    use key::*;
    match api {
        API_VERSIONS
        | AUTHENTICATE
        | LIST_DATABASES
        | DATABASE_EXISTS
        | GET_TABLE_INFO
        | LIST_TABLES
        | LIST_PARTITION_INFOS
        | TABLE_EXISTS
        | GET_TABLE_SCHEMA
        | GET_METADATA
        | GET_FILESYSTEM_SECURITY_TOKEN
        | GET_DATABASE_INFO => true,
        CREATE_DATABASE | DROP_DATABASE | CREATE_TABLE | DROP_TABLE | CREATE_PARTITION
        | DROP_PARTITION | CREATE_ACLS | DROP_ACLS | ALTER_TABLE => coordinator,
        PRODUCE_LOG | FETCH_LOG | PUT_KV | LOOKUP | LIST_OFFSETS | INIT_WRITER | LIMIT_SCAN
        | PREFIX_LOOKUP | GET_TABLE_STATS => !coordinator,
        SCAN_KV => !coordinator && release >= Release::V1_0,
        _ => false,
    }
}
