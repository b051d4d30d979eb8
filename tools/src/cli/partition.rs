//! Partitions, and the offsets of their buckets.

use std::collections::BTreeMap;

use fluss_core::ids::{BucketKey, PartitionId};
use fluss_core::{OffsetSpec, PartitionInfo, Table};

use super::Work;
use super::args::{Args, partition_pairs};
use super::failure::{Failure, Result, Status};
use super::json::quoted;
use super::session::Session;

pub(crate) fn list(args: &Args) -> Result<Work<'_>> {
    let table = args.table()?;
    Ok(Box::new(move |session, out| {
        for partition in session.call(session.fluss.admin().list_partitions(table))? {
            out.line(&plain(&partition))?;
        }
        Ok(Status::Done)
    }))
}

pub(crate) fn create(args: &Args) -> Result<Work<'_>> {
    let (table, values) = (args.table()?, partition_pairs(args.argument(1))?);
    Ok(Box::new(move |session, _| {
        session.call(session.fluss.admin().create_partition(table, &borrowed(&values), false))?;
        Ok(Status::Done)
    }))
}

pub(crate) fn drop(args: &Args) -> Result<Work<'_>> {
    let (table, values) = (args.table()?, partition_pairs(args.argument(1))?);
    Ok(Box::new(move |session, _| {
        session.call(session.fluss.admin().drop_partition(table, &borrowed(&values), false))?;
        Ok(Status::Done)
    }))
}

fn borrowed(values: &[(String, String)]) -> Vec<(&str, &str)> {
    values.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// `k=v/k=v`
fn plain(partition: &PartitionInfo) -> String {
    let values: Vec<String> =
        partition.values.iter().map(|(key, value)| format!("{key}={value}")).collect();
    values.join("/")
}

/// `{"k":"v"}`
fn object(partition: &PartitionInfo) -> String {
    let values: Vec<String> = partition
        .values
        .iter()
        .map(|(key, value)| format!("{}:{}", quoted(key), quoted(value)))
        .collect();
    format!("{{{}}}", values.join(","))
}

/// The partitions of a table by id, as JSON objects.
#[derive(Debug)]
pub(crate) struct Partitions {
    path: String,
    partitioned: bool,
    names: BTreeMap<PartitionId, String>,
}

impl Partitions {
    pub(crate) fn new(table: &Table) -> Self {
        let info = table.info();
        let partitioned = !info.descriptor.partition_key.is_empty();
        Self { path: info.path.to_string(), partitioned, names: BTreeMap::new() }
    }

    /// Whether the table has partitions at all.
    pub(crate) fn any(&self) -> bool {
        self.partitioned
    }

    /// The partition as JSON; `null` without partitions, and for one that is gone by now.
    pub(crate) fn json(&mut self, session: &Session, id: Option<PartitionId>) -> Result<&str> {
        let Some(id) = id else { return Ok("null") };
        if !self.names.contains_key(&id) {
            let listed = session.call(session.fluss.admin().list_partitions(&self.path))?;
            self.names.extend(listed.iter().map(|partition| (partition.id, object(partition))));
        }
        // A partition that is gone has no name any more; it is looked for once.
        Ok(self.names.entry(id).or_insert_with(|| "null".to_owned()))
    }
}

/// The partition `k=v/k=v` of a table.
pub(crate) fn find(
    session: &Session,
    table: &Table,
    values: &[(String, String)],
) -> Result<PartitionInfo> {
    let path = table.info().path.to_string();
    if let Some(wrong) = misnamed(&path, &partition_columns(table), values) {
        return Err(Failure::failed(wrong));
    }
    let listed = session.call(session.fluss.admin().list_partitions(&path))?;
    let count = listed.len();
    let wanted: BTreeMap<&String, &String> = values.iter().map(|(k, v)| (k, v)).collect();
    let fits = |partition: &PartitionInfo| {
        let found: BTreeMap<&String, &String> =
            partition.values.iter().map(|(k, v)| (k, v)).collect();
        found == wanted
    };
    listed.into_iter().find(fits).ok_or_else(|| {
        let text: Vec<String> = values.iter().map(|(k, v)| format!("{k}={v}")).collect();
        Failure::failed(format!(
            "{path} has no partition {}; it has {count}, which `fluss partitions {path}` lists",
            text.join("/")
        ))
    })
}

/// The names of the partition columns, in the order of the partition key.
fn partition_columns(table: &Table) -> Vec<&str> {
    let columns = table.info().schema().columns();
    let key = table.info().descriptor.partition_key.iter();
    key.filter_map(|index| columns.get(*index)).map(|column| column.name.as_str()).collect()
}

/// What is wrong with the columns of a partition, if anything is: a partition has one value for
/// each.
fn misnamed(path: &str, columns: &[&str], values: &[(String, String)]) -> Option<String> {
    if columns.is_empty() {
        return Some(format!("{path} has no partitions: leave --partition out"));
    }
    let form: Vec<String> = columns.iter().map(|column| format!("{column}=VALUE")).collect();
    let form = form.join("/");
    if let Some((unknown, _)) = values.iter().find(|(key, _)| !columns.contains(&key.as_str())) {
        return Some(format!("{path} is not partitioned by `{unknown}`: write --partition {form}"));
    }
    let missing = columns.iter().find(|column| !values.iter().any(|(key, _)| key == *column))?;
    Some(format!("--partition has no value for `{missing}` of {path}: write --partition {form}"))
}

/// The buckets of the table, or of one of its partitions.
pub(crate) fn buckets(
    session: &Session,
    table: &Table,
    partition: Option<&[(String, String)]>,
) -> Result<Vec<BucketKey>> {
    let mut keys = session.call(table.buckets())?;
    if let Some(values) = partition {
        let id = find(session, table, values)?.id;
        keys.retain(|key| key.partition == Some(id));
    }
    Ok(keys)
}

/// `earliest`, `latest` or milliseconds since 1970.
pub(crate) fn offset_spec(option: &str, text: &str) -> Result<OffsetSpec> {
    match text {
        "earliest" => Ok(OffsetSpec::Earliest),
        "latest" => Ok(OffsetSpec::Latest),
        _ => text.parse().ok().filter(|millis| *millis >= 0).map(OffsetSpec::Timestamp).ok_or_else(
            || {
                Failure::usage(format!(
                    "--{option} wants earliest, latest or milliseconds since 1970, not `{text}`"
                ))
            },
        ),
    }
}

pub(crate) fn offsets(args: &Args) -> Result<Work<'_>> {
    let path = args.table()?;
    let at = offset_spec("at", args.value("at").unwrap_or("latest"))?;
    let wanted = args.value("partition").map(partition_pairs).transpose()?;
    Ok(Box::new(move |session, out| {
        let table = session.table(path)?;
        let mut partitions = Partitions::new(&table);
        let keys = buckets(session, &table, wanted.as_deref())?;
        let mut of_partition: BTreeMap<Option<PartitionId>, Vec<i32>> = BTreeMap::new();
        for key in keys {
            of_partition.entry(key.partition).or_default().push(key.bucket);
        }
        for (id, buckets) in of_partition {
            let admin = session.fluss.admin();
            let offsets = session.call(admin.list_offsets(table.info(), id, &buckets, at))?;
            let name = partitions.json(session, id)?;
            for (bucket, offset) in offsets {
                out.line(&format!(
                    r#"{{"partition":{name},"bucket":{bucket},"offset":{offset}}}"#
                ))?;
            }
        }
        Ok(Status::Done)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_told_which_columns_it_wants() {
        let pairs = |text: &str| -> Vec<(String, String)> { partition_pairs(text).expect("pairs") };
        let wrong = |columns: &[&str], text: &str| misnamed("shop.sales", columns, &pairs(text));
        assert_eq!(wrong(&["dt", "region"], "region=eu/dt=1"), None);
        for (columns, text, parts) in [
            (&[][..], "dt=1", &["shop.sales", "no partitions"][..]),
            (&["dt"], "day=1", &["shop.sales", "`day`", "--partition dt=VALUE"]),
            (&["dt"], "dt=1/region=eu", &["`region`", "--partition dt=VALUE"]),
            (&["dt", "region"], "dt=1", &["`region`", "--partition dt=VALUE/region=VALUE"]),
        ] {
            let told = wrong(columns, text).expect("it is wrong");
            assert!(parts.iter().all(|part| told.contains(part)), "{text}: {told}");
        }
    }

    #[test]
    fn places_in_a_log_are_words_or_times() {
        assert_eq!(offset_spec("at", "earliest").expect("ok"), OffsetSpec::Earliest);
        assert_eq!(offset_spec("at", "latest").expect("ok"), OffsetSpec::Latest);
        assert_eq!(offset_spec("at", "17").expect("ok"), OffsetSpec::Timestamp(17));
        for text in ["", "-1", "soon", "1.5"] {
            assert!(offset_spec("at", text).is_err(), "{text}");
        }
    }
}
