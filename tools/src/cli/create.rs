//! `fluss create`: a table described by options.

use std::collections::BTreeMap;

use fluss_core::row::{AggFunction, Column, DataType, Schema, TableDescriptor};

use super::Work;
use super::args::Args;
use super::failure::{Failure, Result, Status};

pub(crate) fn prepare(args: &Args) -> Result<Work<'_>> {
    let table = args.table()?;
    let descriptor = descriptor(args)?;
    let ignore = args.has("if-not-exists");
    Ok(Box::new(move |session, _| {
        session.call(session.fluss.admin().create_table(table, &descriptor, ignore))?;
        Ok(Status::Done)
    }))
}

fn descriptor(args: &Args) -> Result<TableDescriptor> {
    let schema = schema(args)?;
    let wrong = |e: &dyn std::fmt::Display| Failure::usage(e.to_string());
    let names = |option: &'static str, list: &'static str| -> Result<Vec<usize>> {
        let names = args.list(option)?.unwrap_or_default();
        schema.indexes_of(list, &names).map_err(|e| wrong(&e))
    };
    let mut table = TableDescriptor::new(schema.clone());
    table.bucket_key = names("bucket-key", "bucket key")?;
    table.partition_key = names("partition-by", "partition key")?;
    table.bucket_count = args.number("buckets")?;
    table.comment = args.value("comment").map(str::to_owned);
    table.properties = properties(args, "property")?;
    table.custom_properties = properties(args, "custom-property")?;
    table.validate().map_err(|e| wrong(&e))?;
    Ok(table)
}

fn schema(args: &Args) -> Result<Schema> {
    let columns = args.values("column");
    if columns.is_empty() {
        return Err(Failure::usage("a table needs columns: --column 'NAME TYPE [NOT NULL]'"));
    }
    let columns: Vec<Column> = columns.iter().map(|text| column(text)).collect::<Result<_>>()?;
    let mut aggregations = aggregations(args)?;
    let mut builder = Schema::builder();
    for column in columns {
        let function = aggregations.remove(&column.name);
        builder = builder.push(column, function);
    }
    if let Some((column, _)) = aggregations.first_key_value() {
        return Err(Failure::usage(format!("--agg names `{column}`, which is no column")));
    }
    builder = builder.primary_key(args.list("primary-key")?.unwrap_or_default());
    if let Some(column) = args.value("auto-increment") {
        builder = builder.auto_increment(column);
    }
    builder.build().map_err(|error| match std::error::Error::source(&error) {
        Some(source) => Failure::usage(format!("{error}: {source}")),
        None => Failure::usage(error.to_string()),
    })
}

/// `NAME TYPE [NOT NULL]`; a name with blanks stands in backquotes.
fn column(text: &str) -> Result<Column> {
    let text = text.trim();
    let split = match text.strip_prefix('`') {
        Some(rest) => rest.split_once('`'),
        None => text.split_once(char::is_whitespace),
    };
    let (name, data_type) = split.filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
        Failure::usage(format!("--column wants 'NAME TYPE [NOT NULL]', not `{text}`"))
    })?;
    let data_type: DataType = data_type
        .trim()
        .parse()
        .map_err(|error| Failure::usage(format!("the column `{name}`: {error}")))?;
    Ok(Column::new(name, data_type))
}

/// `COLUMN=FUNCTION[(k=v[,k=v])]`. A value runs to the next comma or the last parenthesis, so the
/// delimiter of `listagg` may be a comma only if it is the last one's whole value.
fn aggregations(args: &Args) -> Result<BTreeMap<String, AggFunction>> {
    let mut found = BTreeMap::new();
    for text in args.values("agg") {
        let (column, function) = aggregation(text).ok_or_else(|| {
            Failure::usage(format!("--agg wants 'COLUMN=FUNCTION[(k=v)]', not `{text}`"))
        })?;
        if found.insert(column.clone(), function).is_some() {
            return Err(Failure::usage(format!("--agg names `{column}` twice")));
        }
    }
    Ok(found)
}

fn aggregation(text: &str) -> Option<(String, AggFunction)> {
    let (column, function) = text.split_once('=')?;
    let (name, parameters) = match function.split_once('(') {
        Some((name, rest)) => (name, rest.trim_end().strip_suffix(')')?),
        None => (function, ""),
    };
    let (column, name) = (column.trim(), name.trim());
    if column.is_empty() || name.is_empty() {
        return None;
    }
    let mut function = AggFunction::new(&name.to_lowercase());
    let mut rest = parameters;
    while !rest.trim().is_empty() {
        let (key, value) = rest.split_once('=')?;
        let (value, next) = match value.split_once(',') {
            // A comma before the next `k=` separates; any other belongs to the value.
            Some((value, next)) if next.contains('=') => (value, next),
            _ => (value, ""),
        };
        function = function.with(key.trim(), value);
        rest = next;
    }
    Some((column.to_owned(), function))
}

fn properties(args: &Args, option: &str) -> Result<BTreeMap<String, String>> {
    let mut properties = BTreeMap::new();
    for pair in args.values(option) {
        let (key, value) = match pair.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => (key.trim(), value.trim()),
            _ => return Err(Failure::usage(format!("--{option} wants KEY=VALUE, not `{pair}`"))),
        };
        if properties.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Failure::usage(format!("--{option} names `{key}` twice")));
        }
    }
    Ok(properties)
}

#[cfg(test)]
mod tests {
    use super::super::args::{Parsed, parse};
    use super::*;
    use std::ffi::OsString;

    fn described(words: &[&str]) -> Result<TableDescriptor> {
        let all = ["create", "shop.events"].iter().chain(words).map(OsString::from);
        match parse(all) {
            Ok(Parsed::Run(args)) => descriptor(&args),
            other => panic!("{words:?}: {other:?}"),
        }
    }

    fn refused(words: &[&str]) -> String {
        match described(words) {
            Err(failure @ Failure::Usage(_)) => failure.to_string(),
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn a_table_with_everything_is_described() {
        let table = described(&[
            "--column=id BIGINT NOT NULL",
            "--column",
            "dt STRING",
            "--column=`odd name` DECIMAL(10, 2) NOT NULL",
            "--column=total BIGINT",
            "--column=names STRING",
            "--primary-key=id,dt",
            "--bucket-key=id",
            "--buckets=3",
            "--partition-by=dt",
            "--agg=total=SUM",
            "--agg=names=listagg(delimiter=,)",
            "--property=table.merge-engine=aggregation",
            "--custom-property=owner=team a",
            "--comment=orders",
        ])
        .expect("a sound table");
        assert_eq!(table.schema.primary_key(), [0, 1]);
        assert_eq!((table.bucket_key, table.bucket_count), (vec![0], Some(3)));
        assert_eq!(table.schema.columns()[2].name, "odd name");
        assert_eq!(table.schema.aggregation(3), Some(&AggFunction::new("sum")));
        let listagg = AggFunction::new("listagg").with("delimiter", ",");
        assert_eq!(table.schema.aggregation(4), Some(&listagg));
        assert_eq!(table.custom_properties["owner"], "team a");
        assert_eq!(table.comment.as_deref(), Some("orders"));
    }

    #[test]
    fn several_parameters_of_an_aggregation_are_told_apart() {
        let (column, function) = aggregation("a=listagg(delimiter=;, x=1)").expect("sound");
        assert_eq!(column, "a");
        assert_eq!(function, AggFunction::new("listagg").with("delimiter", ";").with("x", "1"));
        for text in ["a", "=sum", "a=", "a=sum(", "a=sum(x)"] {
            assert_eq!(aggregation(text), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_a_table_is_wrong_usage() {
        assert!(refused(&[]).contains("--column"));
        assert!(refused(&["--column=id"]).contains("NAME TYPE"));
        assert!(refused(&["--column=id NUMBER"]).contains("`id`"));
        assert!(refused(&["--column=id DECIMAL(60,2)"]).contains("60"));
        assert!(refused(&["--column=a INT", "--primary-key=b"]).contains("`b`"));
        assert!(refused(&["--column=a INT", "--buckets=0"]).contains("buckets"));
        assert!(refused(&["--column=a INT", "--property=x=1"]).contains("`x`"));
        assert!(refused(&["--column=a INT", "--property=x"]).contains("KEY=VALUE"));
        assert!(refused(&["--column=a INT", "--agg=b=sum"]).contains("`b`"));
        let twice =
            ["--column=a INT", "--property=table.log.ttl=1d", "--property=table.log.ttl=2d"];
        assert!(refused(&twice).contains("`table.log.ttl` twice"));
        let unused =
            ["--column=a INT NOT NULL", "--column=b INT", "--primary-key=a", "--agg=b=sum"];
        assert!(refused(&unused).contains("table.merge-engine=aggregation"));
    }
}
