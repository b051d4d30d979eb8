//! Names of databases, tables and partition values: what servers take, and what they say of the
//! others, which some of their calls hand on to ZooKeeper unseen.

use std::collections::BTreeMap;

use fluss_proto::message::PbPartitionSpec;

use super::api::code;
use super::{Failure, words};
use crate::ids::TablePath;

const LIMIT: usize = 200;
const RESERVED: &str = "__";

/// What a name is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Database,
    Table,
    PartitionValue,
}

/// Refuses what is not made of the allowed characters.
pub(super) fn check(what: Named, name: &str) -> Result<(), Failure> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let reason = match name {
        "" => words::EMPTY_NAME.to_owned(),
        "." | ".." => words::dots(name),
        _ if name.encode_utf16().count() > LIMIT => words::long_name(name, LIMIT),
        _ if !name.chars().all(allowed) => words::odd_name(name),
        _ => return Ok(()),
    };
    Err(refused(what, name, &reason))
}

/// Refuses names that servers keep to themselves, too.
pub(super) fn check_new(what: Named, name: &str) -> Result<(), Failure> {
    check(what, name)?;
    match name.starts_with(RESERVED) {
        true => Err(refused(what, name, &words::reserved_name(RESERVED))),
        false => Ok(()),
    }
}

/// The same for both names of a table.
pub(super) fn check_path(path: &TablePath) -> Result<(), Failure> {
    check_new(Named::Database, &path.database)?;
    check_new(Named::Table, &path.table)
}

fn refused(what: Named, name: &str, reason: &str) -> Failure {
    let (code, what) = match what {
        Named::Database => (code::INVALID_DATABASE, "Database name"),
        Named::Table => (code::INVALID_TABLE, "Table name"),
        Named::PartitionValue => (code::INVALID_PARTITION_SPEC, "The partition value"),
    };
    Failure::new(code, words::invalid_name(what, name, reason))
}

/// What ZooKeeper says of a database's place, if it cannot be one.
pub(super) fn no_place_for_database(name: &str) -> Option<String> {
    no_place(&format!("/metadata/databases/{name}"))
}

/// What ZooKeeper says of a table's place, if it cannot be one.
pub(super) fn no_place_for_table(path: &TablePath) -> Option<String> {
    no_place(&format!("/metadata/databases/{}/tables/{}", path.database, path.table))
}

/// What ZooKeeper says of a partition's place, if it cannot be one.
pub(super) fn no_place_for_partition(path: &TablePath, name: &str) -> Option<String> {
    let TablePath { database, table } = path;
    no_place(&format!("/metadata/databases/{database}/tables/{table}/partitions/{name}"))
}

/// ZooKeeper's rules for paths, which it counts in UTF-16.
fn no_place(path: &str) -> Option<String> {
    if path.ends_with('/') {
        return Some(words::SLASH_AT_END.to_owned());
    }
    let units: Vec<u16> = path.encode_utf16().collect();
    let is = |at: usize, c: char| units.get(at) == Some(&(c as u16));
    let ends = |at: usize| at + 1 == units.len() || is(at + 1, '/');
    let reason = |at: usize| {
        let one_dot = is(at - 1, '/') && ends(at);
        let two_dots = at > 1 && is(at - 1, '.') && is(at - 2, '/') && ends(at);
        Some(match units[at] {
            0 => "null character not allowed",
            0x2f if is(at - 1, '/') => "empty node name specified",
            0x2e if one_dot || two_dots => "relative paths not allowed",
            0x01..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff => words::ODD_CHARACTER,
            _ => return None,
        })
    };
    let (at, reason) = (1..units.len()).find_map(|at| Some((at, reason(at)?)))?;
    Some(words::no_place(path, reason, at))
}

/// The values of a partition by their keys. Of a key named twice the last value counts.
pub(super) fn values_of(spec: &PbPartitionSpec) -> BTreeMap<&str, &str> {
    let pairs = spec.partition_key_values.iter();
    pairs.map(|pair| (pair.key.as_str(), pair.value.as_str())).collect()
}

/// Keys and values in the order in which servers show them, that of a Java `HashMap`.
pub(super) fn shown(spec: &PbPartitionSpec) -> Vec<String> {
    let values = values_of(spec);
    let mut keys: Vec<&str> = Vec::with_capacity(values.len());
    for pair in &spec.partition_key_values {
        if !keys.contains(&pair.key.as_str()) {
            keys.push(&pair.key);
        }
    }
    // Grown at three quarters; those in one place stay in the order in which they came.
    let places = (keys.len() * 4).div_ceil(3).next_power_of_two().max(16);
    keys.sort_by_key(|key| java_hash(key) as usize & (places - 1));
    keys.into_iter().map(|key| format!("{key}={}", values[key])).collect()
}

fn java_hash(text: &str) -> u32 {
    let add = |hash: u32, unit: u16| hash.wrapping_mul(31).wrapping_add(unit.into());
    let hash = text.encode_utf16().fold(0, add);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluss_proto::message::PbKeyValue;

    /// Cases beyond those of the scripts, by the source of ZooKeeper 3.8.
    #[test]
    fn places_that_cannot_be_are_refused_where_the_first_fault_is() {
        for (path, reason) in [
            ("/a/b", None),
            ("/a.b/..c/.d/e..", None),
            ("/a/.../b", None),
            ("/a//b", Some("empty node name specified @3")),
            ("/a/./b", Some("relative paths not allowed @3")),
            ("/a/..", Some("relative paths not allowed @4")),
            ("/a\u{0}", Some("null character not allowed @2")),
            ("/é\u{7f}", Some("invalid charater @2")),
            ("/🌊", Some("invalid charater @1")),
        ] {
            let said =
                reason.map(|reason| format!("Invalid path string \"{path}\" caused by {reason}"));
            assert_eq!(no_place(path), said, "{path}");
        }
    }

    #[test]
    fn keys_are_shown_in_the_order_of_their_hashes() {
        let pair = |(key, value): (&str, &str)| PbKeyValue { key: key.into(), value: value.into() };
        let show = |pairs: &[(&str, &str)]| {
            shown(&PbPartitionSpec {
                partition_key_values: pairs.iter().copied().map(pair).collect(),
            })
        };
        // As server 0.9.1 showed them.
        let said = show(&[("zeta", "1"), ("p", "2"), ("c", "3"), ("a", "4")]);
        assert_eq!(said, ["zeta=1", "p=2", "a=4", "c=3"]);
        let said = show(&[("zzz", "1"), ("yyy", "2"), ("alpha", "3"), ("b", "4")]);
        assert_eq!(said, ["b=4", "alpha=3", "yyy=2", "zzz=1"]);
        assert_eq!(show(&[("d", "y"), ("q", "2"), ("a", "x")]), ["q=2", "a=x", "d=y"]);
        assert_eq!(show(&[("b", "x"), ("a", "y"), ("b", "z")]), ["a=y", "b=z"]);
    }
}
