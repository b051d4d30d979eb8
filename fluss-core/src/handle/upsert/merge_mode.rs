//! Past the merge engine, or not.

use crate::error::{Error, Result};
use crate::handle::table::TableInfo;

/// How a row that is written meets the one that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MergeMode {
    /// As the table's merge engine and its delete behaviour say.
    #[default]
    Default,
    /// The row, or the columns written of it, takes the place of what is there, and a delete
    /// deletes, whatever the table says; to put a state back as it was. Servers before 0.9 do not
    /// know this mode and write as by default.
    Overwrite,
}

impl MergeMode {
    /// Refuses some columns of rows where servers merge whole rows only: they answer so late and so
    /// vaguely that the rows' outcome would be unknown.
    pub(super) fn check_partial(self, info: &TableInfo) -> Result<()> {
        let engine = info.descriptor.properties.get("table.merge-engine").map(String::as_str);
        let whole = |engine: &&str| ["first_row", "versioned"].contains(engine);
        let lower = engine.map(str::to_ascii_lowercase);
        match lower.as_deref().filter(whole) {
            Some(engine) if self == Self::Default => Err(Error::misuse(format!(
                "{}: with the merge engine {engine} rows are written whole; leave the columns to \
                 write out, and give a value for each column of the table",
                info.path
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::MergeMode;
    use crate::handle::testkit::Stage;
    use crate::row::{Column, DataType, Schema, TableDescriptor};

    /// What a writer of some columns of a table with this merge engine says when it is made.
    fn built(engine: Option<&str>, mode: MergeMode) -> Result<(), String> {
        let columns = vec![
            Column::new("id", DataType::INT.not_null()),
            Column::new("version", DataType::BIGINT),
            Column::new("text", DataType::STRING),
        ];
        let mut descriptor = TableDescriptor::new(Schema::new(columns, vec![0]).with_field_ids());
        let mut set = |name: &str, value: &str| {
            descriptor.properties.insert(name.to_owned(), value.to_owned());
        };
        if let Some(engine) = engine {
            set("table.merge-engine", engine);
            set("table.merge-engine.versioned.ver-column", "version");
        }
        let mut stage = Stage::new();
        let admin = stage.fluss.admin();
        stage.run(admin.create_table("fluss.merged", &descriptor, false)).expect("a table");
        let opening = stage.fluss.table("fluss.merged");
        let table = stage.run(opening).expect("it is there");
        assert!(table.upserter().merge_mode(mode).build().is_ok(), "whole rows: {engine:?}");
        let partial = table.upserter().columns(["id", "text"]).merge_mode(mode);
        partial.build().map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn some_columns_of_rows_that_are_merged_whole_are_refused_when_the_writer_is_made() {
        for engine in ["first_row", "versioned", "FIRST_ROW"] {
            let error = built(Some(engine), MergeMode::Default).expect_err(engine);
            let named = ["fluss.merged", &engine.to_ascii_lowercase(), "whole"];
            assert!(named.iter().all(|part| error.contains(part)), "{error}");
            assert_eq!(built(Some(engine), MergeMode::Overwrite), Ok(()));
        }
        assert_eq!(built(None, MergeMode::Default), Ok(()));
    }
}
