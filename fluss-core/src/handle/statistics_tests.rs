//! Log tables whose batches tell statistics of their columns.

use fluss_proto::record::{Check, LogBatch, LogVersion};

use super::table::Table;
use super::testkit::Stage;
use crate::error::Result;
use crate::row;
use crate::row::{DataType, Datum, OwnedDatum, Schema, TableDescriptor};
use crate::testing::cluster::{ClusterOptions, Fault, On, Release};

const STATISTICS: &str = "table.statistics.columns";

fn open(stage: &mut Stage, name: &str, keyed: bool, properties: &[(&str, &str)]) -> Result<Table> {
    let schema = Schema::builder().column("a", DataType::INT).column("b", DataType::STRING);
    let schema = if keyed { schema.primary_key(["a"]) } else { schema };
    let mut table = TableDescriptor::new(schema.build().expect("a sound schema"));
    for (key, value) in properties {
        table.properties.insert((*key).to_owned(), (*value).to_owned());
    }
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true))?;
    let path = format!("shop.{name}");
    stage.run(admin.create_table(&path, &table, false))?;
    let opening = stage.fluss.table(&path);
    stage.run(opening)
}

fn stage(release: Release) -> Stage {
    Stage::with(ClusterOptions { release, ..ClusterOptions::default() })
}

/// Version and length of the statistics of each batch in the table's one bucket.
fn stored(stage: &Stage, table: &Table) -> Vec<(LogVersion, usize)> {
    let bucket = table.info().bucket(0);
    let logs: Vec<_> = stage.cluster(|c| c.log(bucket).map(|batch| batch.bytes).collect());
    let read = |bytes| LogBatch::new_checked(bytes, Check::Crc).expect("a sound batch");
    logs.into_iter().map(read).map(|batch| (batch.version(), batch.statistics().len())).collect()
}

#[test]
fn the_property_chooses_version_1_and_the_format_and_the_columns_the_statistics() {
    let mut stage = stage(Release::V1_0);
    let none = (LogVersion::V0, 0);
    for (name, properties, expected) in [
        ("plain", &[][..], none),
        ("all", &[(STATISTICS, "*")], (LogVersion::V1, 71)),
        ("one", &[(STATISTICS, "a")], (LogVersion::V1, 49)),
        ("nothing", &[(STATISTICS, "")], (LogVersion::V1, 0)),
        ("rows", &[(STATISTICS, "*"), ("table.log.format", "INDEXED")], none),
    ] {
        let table = open(&mut stage, name, false, properties).expect("a table");
        let writer = table.appender().build().expect("a writer");
        let tickets = [row![1, "a"], row![2, Datum::Null], row![3, "ccc"]]
            .map(|row| writer.try_append(&row).expect("room"));
        // Sent three times, the batch is what it was.
        stage.cluster(|c| c.inject(On::Write, 0, Fault::CutRequest));
        stage.cluster(|c| c.inject(On::Write, 1, Fault::LoseAnswer));
        for (offset, ticket) in (0..).zip(tickets) {
            assert_eq!(stage.run(ticket).expect("written").offset, Some(offset), "{name}");
        }
        let found = stored(&stage, &table);
        assert!(found.iter().all(|batch| *batch == expected), "{name}: {found:?}");
        assert!(!found.is_empty(), "{name}");
    }
}

#[test]
fn rows_behind_statistics_are_read_whole_and_under_a_projection() {
    let mut stage = stage(Release::V1_0);
    let table = open(&mut stage, "all", false, &[(STATISTICS, "b,a")]).expect("a table");
    let writer = table.appender().build().expect("a writer");
    let rows: Vec<_> = (0..100).map(|a| row![a, "text of some length"]).collect();
    drop(stage.run(writer.append_all(&rows)).expect("room"));
    assert_eq!(stage.run(writer.flush()), Ok(()));
    for (columns, expected) in [(&["a", "b"][..], 2), (&["b"][..], 1)] {
        let building = table.scanner().columns(columns.iter().copied()).bounded().build();
        let mut scanner = stage.run(building).expect("a scanner");
        let mut seen = 0;
        while let Some(batch) = stage.run(scanner.next_batch()).expect("a batch that decodes") {
            for view in batch.rows().expect("rows").iter() {
                assert_eq!(view.schema().columns().len(), expected);
                let text = OwnedDatum::from(view.value_of("b").expect("the column"));
                assert_eq!(text, OwnedDatum::Str("text of some length".to_owned()));
                seen += 1;
            }
        }
        assert_eq!(seen, 100, "{columns:?}");
    }
}

#[test]
fn servers_without_statistics_and_tables_with_a_key_do_not_take_the_property() {
    for (release, keyed) in [(Release::V0_9, false), (Release::V1_0, true)] {
        let refused = open(&mut stage(release), "all", keyed, &[(STATISTICS, "*")]);
        let error = refused.expect_err("nobody keeps statistics of it");
        assert_eq!(error.code().map(|code| code.0), Some(39), "{error}");
        assert!(error.to_string().contains(STATISTICS), "{error}");
    }
}
