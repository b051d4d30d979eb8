//! `fluss describe`: what a table is, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fluss_core::TableInfo;
use fluss_core::row::TableDescriptor;

use super::Work;
use super::args::Args;
use super::failure::{Result, Status};
use super::json::quoted;

pub(crate) fn prepare(args: &Args) -> Result<Work<'_>> {
    let (table, as_json) = (args.table()?, args.has("json"));
    Ok(Box::new(move |session, out| {
        let info = session.call(session.fluss.admin().table_info(table))?;
        if as_json {
            out.line(&json(&info))?;
        } else {
            text(&info).lines().try_for_each(|line| out.line(line))?;
        }
        Ok(Status::Done)
    }))
}

fn names(table: &TableDescriptor, columns: &[usize]) -> Vec<String> {
    let columns = columns.iter().filter_map(|index| table.schema.columns().get(*index));
    columns.map(|column| column.name.clone()).collect()
}

fn json(info: &TableInfo) -> String {
    let table = &info.descriptor;
    let list = |columns: &[usize]| {
        let names: Vec<String> = names(table, columns).iter().map(|name| quoted(name)).collect();
        format!("[{}]", names.join(","))
    };
    let map = |entries: &BTreeMap<String, String>| {
        let entries: Vec<String> =
            entries.iter().map(|(k, v)| format!("{}:{}", quoted(k), quoted(v))).collect();
        format!("{{{}}}", entries.join(","))
    };
    let null = || "null".to_owned();
    format!(
        concat!(
            r#"{{"id":{},"schema_id":{},"schema":{},"bucket_key":{},"buckets":{},"#,
            r#""partition_by":{},"properties":{},"custom_properties":{},"comment":{}}}"#
        ),
        info.id,
        info.schema_id,
        table.schema.to_json(),
        list(&table.effective_bucket_key()),
        table.bucket_count.map_or_else(null, |count| count.to_string()),
        list(&table.partition_key),
        map(&table.properties),
        map(&table.custom_properties),
        table.comment.as_deref().map_or_else(null, quoted),
    )
}

fn text(info: &TableInfo) -> String {
    let table = &info.descriptor;
    let mut out = format!("{}  (id {}, schema {})\n", info.path, info.id, info.schema_id);
    // Writing to a String cannot fail.
    if let Some(comment) = &table.comment {
        let _ = writeln!(out, "{comment}");
    }
    let columns = table.schema.columns();
    let width = columns.iter().map(|column| column.name.chars().count()).max().unwrap_or(0);
    out.push('\n');
    for (index, column) in columns.iter().enumerate() {
        let _ = write!(out, "  {:width$}  {}", column.name, column.data_type);
        if table.schema.primary_key().contains(&index) {
            out.push_str("  PRIMARY KEY");
        }
        if let Some(function) = table.schema.aggregation(index) {
            let _ = write!(out, "  {}", function.name);
        }
        if table.schema.auto_increment() == Some(index) {
            out.push_str("  AUTO INCREMENT");
        }
        if let Some(comment) = &column.comment {
            let _ = write!(out, "  {comment}");
        }
        out.push('\n');
    }
    out.push('\n');
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "{name:17} {value}");
        }
    };
    line("primary key", &names(table, table.schema.primary_key()).join(", "));
    line("bucket key", &names(table, &table.effective_bucket_key()).join(", "));
    line("buckets", &table.bucket_count.map(|count| count.to_string()).unwrap_or_default());
    line("partitioned by", &names(table, &table.partition_key).join(", "));
    for (key, value) in &table.properties {
        line("property", &format!("{key} = {value}"));
    }
    for (key, value) in &table.custom_properties {
        line("custom property", &format!("{key} = {value}"));
    }
    out
}
